"""An objective against the reference: interval, exact test, correction, verdict."""

import numpy as np

from helpers.statistics.pooling import OVERLAP, POOLED, collapsed, pooled
from helpers.statistics.table import METRICS, paired_differences, per_seed, split_metric
from helpers.statistics.words import MINIMUM_SEEDS, counted_units, p_text

VERDICTS = ("better", "worse", "equivalent", "undecided")
MARGIN = 0.02
MAXIMUM_EXACT = 40  # units whose sign flips are all counted: two halves of 2^20 sums


def compare(
    table,
    metric: str,
    reference: str = "bce",
    margin: float = MARGIN,
    level: float = 0.95,
    *,
    missing: str = "error",
):
    """Every objective against the reference, on one metric that was named before it was looked at.

    Per unit (see the module's description), the paired difference is averaged over images; over units follow a t
    interval (with splits: of these splits, its variance that within them, two seeds of each at least) and an exact
    sign-flip test (two-sided, of the mean, over all 2^n flips), whose p values are corrected by :func:`holm` over all
    rows of the result that have one. The verdict:

    - *equivalent* where the whole interval lies inside ±margin;
    - else *better* or *worse* where the interval excludes 0 and the corrected p is under 1 - level;
    - else *undecided*, as it is wherever there are fewer than 8 units: then there is no interval.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of one study, data set and subset.
    metric : str
        A column with a direction, as in METRICS.
    margin : float
        Largest difference that does not matter, in units of the metric.
    level : float
        Of the interval; the tests are held to 1 - level.
    missing : str
        As in :func:`paired_differences`.

    Returns
    -------
    DataFrame with a row for each objective (but the reference) and class, and the columns metric, reference,
    objective, class, n_seeds, n_splits, n_units, n_images (judged by a unit, at most), n_undefined (pairs without a
    value), difference (mean over units), low, high, p, p_holm, n_comparisons, margin, level, verdict, reason,
    collapsed and collapsed_reference (runs that :func:`collapsed` counts; NaN where counts are not in the table).

    Raises
    ------
    ValueError
        As :func:`paired_differences`; a metric without direction; a margin or level out of range.

    References
    ----------
    .. [1] Holm (1979), A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6, 65-70.
    """
    import pandas as pd

    direction = METRICS[split_metric(metric)[0]][1]
    if not direction:
        raise ValueError(f"{metric} has no better side: neither more nor less of it is good; compare another metric")
    if not 0 <= margin < np.inf:
        raise ValueError(f"margin is {margin!r}; expected a number of at least 0, in units of {metric}")
    if not 0.5 < level < 1:
        raise ValueError(f"level is {level!r}; expected a number between 0.5 and 1, such as 0.95")
    differences = paired_differences(table, metric, reference, missing=missing)
    gone = _collapses(table, metric)
    result = []
    for (objective, name), units in differences.groupby(["objective", "class"], sort=False):
        values = units["difference"].dropna().to_numpy()
        counted = units[units["difference"].notna()]
        low, high, p = np.nan, np.nan, np.nan
        if len(values) >= MINIMUM_SEEDS and counted.groupby("split").size().min() >= 2:
            low, high = t_interval(values, level, counted["split"].to_numpy())
            p = _sign_flip(values) if len(values) <= MAXIMUM_EXACT else np.nan
        result.append(
            {
                "metric": metric,
                "reference": reference,
                "objective": objective,
                "class": name,
                "n_seeds": counted["seed"].nunique(),
                "n_splits": counted["split"].nunique(),
                "n_units": len(values),
                "n_images": int(units["n_images"].max()),
                "n_undefined": int(units["n_undefined"].sum()),
                "difference": values.mean() if len(values) else np.nan,
                "low": low,
                "high": high,
                "p": p,
                "margin": margin,
                "level": level,
                "collapsed": gone.get((objective, name), np.nan),
                "collapsed_reference": gone.get((reference, name), np.nan),
            }
        )
    columns = "metric reference objective class n_seeds n_splits n_units n_images n_undefined difference low high p"
    columns = [*columns.split(), "p_holm", "n_comparisons", "margin", "level", "verdict", "reason"]
    result = pd.DataFrame(result, columns=[*columns, "collapsed", "collapsed_reference"])
    result["p_holm"] = holm(result)
    result["n_comparisons"] = int(result["p"].notna().sum())
    judged = [_verdict(row, direction) for _, row in result.iterrows()]
    result["verdict"], result["reason"] = [v for v, _ in judged], [r for _, r in judged]
    return result


def tally(comparison) -> str:
    """How many rows have each verdict: "1 better, 0 worse, 2 equivalent, 0 undecided"."""
    verdicts = list(comparison["verdict"]) if len(comparison) else []
    return ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS)


def holm(table):
    """The column ``p`` corrected by Holm's step-down over all rows that have one; NaN stays NaN.

    The k-th smallest of m values is multiplied by m - k + 1; none falls below an earlier one, none exceeds 1.
    """
    p = table["p"].dropna().astype(float).sort_values(kind="stable")
    raised = (p * np.arange(len(p), 0, -1)).cummax().clip(upper=1)
    return raised.reindex(table.index)


def summary(table, metric: str, reference: str | None = "bce", *, missing: str = "error"):
    """One row for each objective and class: its metric at the tuned cut, over the units.

    With a reference of None, no difference is computed.

    Returns
    -------
    DataFrame with the columns objective, class, mean, min, max (over units, of the mean over images), natural (the mean
    at the natural cut), published (at the published one, if the table has it), pooled (of counts added over images,
    mean over units; NaN for metrics that have no such counts), difference (mean paired difference to the reference; NaN
    for the reference), seeds, undefined (images without a value) and collapsed (runs that :func:`collapsed` counts).
    """
    groups = ["objective", "class"]
    tuned = per_seed(table, f"{metric}_tuned")
    grouped = tuned.groupby(groups, sort=False)
    result = grouped[f"{metric}_tuned"].agg(["mean", "min", "max"])
    for cut in ("natural", "published"):
        column = f"{metric}_{cut}"
        if column in table and (cut == "natural" or table[column].notna().any()):
            result[cut] = per_seed(table, column).groupby(groups)[column].mean()
    result["pooled"] = pooled(table, metric).groupby(groups)["pooled"].mean() if metric in POOLED else np.nan
    result["difference"] = np.nan
    if reference is not None:
        differences = paired_differences(table, f"{metric}_tuned", reference, missing=missing)
        result["difference"] = differences.groupby(groups)["difference"].mean()
    result["seeds"] = grouped["seed"].nunique()
    result["undefined"] = grouped["n_undefined"].sum()
    for cut, column in {
        "tuned": "collapsed",
        "natural": "collapsed natural",
        "published": "collapsed published",
    }.items():
        if f"{OVERLAP[0]}_{cut}" in table:
            gone = collapsed(table, cut).groupby(groups)["collapsed"].sum(min_count=1)
            result[column] = gone.astype("Int64")
    return result.reset_index()


def t_interval(values: np.ndarray, level: float, splits: np.ndarray | None = None) -> tuple[float, float]:
    """Student's interval of the mean over units, for the splits that there are; of no width where all values agree.

    Splits are not drawn from a population that is asked about, so what lies between them is no error: the variance is
    pooled within them, with as many degrees of freedom as units less splits.
    """
    from scipy import stats

    splits = np.zeros(len(values)) if splits is None else splits
    within = [values[splits == split] - values[splits == split].mean() for split in np.unique(splits)]
    freedom = len(values) - len(within)
    half = stats.t.ppf(0.5 + level / 2, freedom) * np.sqrt((np.concatenate(within) ** 2).sum() / freedom / len(values))
    return values.mean() - half, values.mean() + half


def _sign_flip(values: np.ndarray) -> float:
    """Share of all 2^n sign flips whose sum is at least as far from 0; exact, counted from two halves' sums."""
    tolerance = 1e-9 * np.abs(values).sum()  # sums that are equal on paper
    bar = abs(values.sum()) - tolerance
    if bar <= 0:
        return 1.0
    sums = []
    for part in np.array_split(values, 2):
        half = np.zeros(1)
        for value in part:
            half = np.concatenate((half + value, half - value))
        sums.append(half)
    first, second = sums[0], np.sort(sums[1])
    above = (len(second) - np.searchsorted(second, bar - first)).sum()
    return float(2 * above / 2 ** len(values))


def _verdict(row, direction: int) -> tuple[str, str]:
    """One of VERDICTS, and why."""
    n, alpha = row["n_units"], 1 - row["level"]
    if n < MINIMUM_SEEDS:
        return "undecided", f"{counted_units(row)}; an interval needs {MINIMUM_SEEDS}"
    if np.isnan(row["low"]):
        return "undecided", f"{counted_units(row)}; an interval needs two seeds of every split"
    interval = f"the {100 * row['level']:g} % interval"
    if -row["margin"] <= row["low"] and row["high"] <= row["margin"]:
        return "equivalent", f"{interval} lies within ±{row['margin']:g}"
    if row["low"] <= 0 <= row["high"]:
        return "undecided", f"{interval} includes 0 and reaches beyond ±{row['margin']:g}"
    if np.isnan(row["p"]):
        return "undecided", f"{interval} excludes 0, but beyond {MAXIMUM_EXACT} units no exact test is made"
    if row["p_holm"] < alpha - 1e-12:
        verdict = "better" if direction * row["difference"] > 0 else "worse"
        return verdict, f"{interval} excludes 0 and corrected {p_text(row['p_holm'])}"
    reason = f"{interval} excludes 0, but corrected {p_text(row['p_holm'])}"
    least = row["n_comparisons"] * 2.0 ** (1 - n)
    if least >= alpha:
        needed = int(np.floor(np.log2(row["n_comparisons"] / alpha) + 1e-9)) + 2
        reason += (
            f": over {row['n_comparisons']} comparisons, {n} units cannot reach less than {least:.2g} ({needed} could)"
        )
    return "undecided", reason


def _collapses(table, metric: str) -> dict:
    """(objective, class) -> collapsed runs, at the metric's cut or the tuned one; empty without counts."""
    reading = split_metric(metric)[1]
    cut = reading if reading in ("natural", "published") else "tuned"
    if not {f"{count}_{cut}" for count in OVERLAP} <= set(table.columns):
        return {}
    gone = collapsed(table, cut).groupby(["objective", "class"])["collapsed"]
    return gone.sum(min_count=1).to_dict()
