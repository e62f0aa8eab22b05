"""What is computed from rows alone: means of runs, paired differences, pooled counts, curves."""

import json
from collections.abc import Sequence

import numpy as np

UNIT = ["objective", "class", "split", "seed"]
PAIR = ["class", "split", "seed", "image"]

# Column without its cut -> what people call it, and +1 where more is better, -1 where less is, 0 where neither.
METRICS = {
    "iou": ("IoU", 1),
    "dice": ("Dice", 1),
    "accuracy": ("accuracy", 1),
    "area_ratio": ("area ratio", 0),
    "instance_precision": ("instance precision", 1),
    "instance_recall": ("instance recall", 1),
    "instance_f1": ("instance F1", 1),
    "panoptic_quality": ("panoptic quality", 1),
    "adapted_rand_f_skimage": ("adapted Rand F (skimage's rule)", 1),
    "adapted_rand_f_snemi": ("adapted Rand F (SNEMI's rule)", 1),
    "voi": ("variation of information", -1),
    "voi_split": ("VOI, splits", -1),
    "voi_merge": ("VOI, merges", -1),
    "ece": ("expected calibration error", -1),
    "mce": ("maximum calibration error", -1),
    "brier": ("Brier score", -1),
    "confidence_foreground": ("confidence on foreground", 1),
    "confidence_background": ("confidence on background", 1),
    "auroc": ("AUROC", 1),
}
READINGS = {
    "natural": "at the natural cut",
    "tuned": "at the cut tuned on validation",
    "published": "at the published cut",
    "raw": "before the logistic fit",
    "fitted": "after the logistic fit",
}


def split_metric(metric: str) -> tuple[str, str]:
    """``iou_tuned`` -> ("iou", "tuned"); the reading is "" for a column that has none.

    Raises
    ------
    ValueError
        No metric of that name is known; the message lists those that are.
    """
    stem, _, reading = metric.rpartition("_")
    stem, reading = (stem, reading) if reading in READINGS else (metric, "")
    if stem not in METRICS:
        raise ValueError(
            f"metric is {metric!r}; expected one of {', '.join(METRICS)}, most of them with a reading behind an "
            f"underscore ({', '.join(READINGS)}), such as iou_tuned"
        )
    return stem, reading


def label(metric: str, *, reading: bool = False) -> str:
    """What people call the metric of a column; on request with its cut or fit, such as "IoU at the natural cut"."""
    stem, how = split_metric(metric)
    return METRICS[stem][0] + (f" {READINGS[how or 'tuned']}" if reading else "")


def metrics_of(table) -> list[str]:
    """The table's columns that hold a metric of METRICS, in their order."""
    readings = ("", *(f"_{reading}" for reading in READINGS))
    every = {stem + reading for stem in METRICS for reading in readings}
    return [column for column in table if column in every]


def check(table, metric: str) -> None:
    """Refuse what cannot be compared.

    Raises
    ------
    ValueError
        No rows; no such column, or text in it; infinite values; rows of several studies, data sets or subsets; rows
        that stand twice, or an objective with several sets of options (the first is named).
    """
    require(table, metric)
    for column in ("dataset", "subset", "study"):
        if column in table and table[column].nunique() != 1:
            raise ValueError(f"rows of {sorted(table[column].unique())} in column {column}; expected one of them")
    if table[metric].dtype.kind not in "iuf":
        raise ValueError(f"column {metric} holds {table[metric].dtype}; expected numbers, NaN where undefined")
    if np.isinf(table[metric]).any():
        row = table[np.isinf(table[metric])].iloc[0]
        raise ValueError(f"{metric} is infinite for {named(row, [*UNIT, 'image'])}; expected NaN where undefined")
    twice = table[table.duplicated([*UNIT, "image"])]
    if len(twice):
        first = named(twice.iloc[0], [*UNIT, "image"])
        raise ValueError(
            f"{len(twice)} rows stand twice, the first for {first}; expected each once (an objective with several "
            "sets of options, or runs of several depths, are compared one set at a time)"
        )


def per_seed(table, metric: str):
    """Mean of a metric over the images of each run.

    Returns
    -------
    DataFrame with the columns objective, class, split, seed, the metric, ``n_images`` and ``n_undefined`` (images
    on which the metric is NaN; they are left out of the mean, which is NaN where nothing is left).
    """
    check(table, metric)
    groups = table.groupby(UNIT, sort=False)[metric]
    result = groups.mean().to_frame()
    result["n_images"] = groups.size()
    result["n_undefined"] = groups.size() - groups.count()
    return result.reset_index()


def unpaired(table, reference: str = "bce"):
    """What a comparison lacks: one row for each class, split, seed and image that one side of a pair has alone.

    Returns
    -------
    DataFrame with the columns objective, class, split, seed, image and ``lacking`` (the objective that has no row
    there: the reference's name, or the objective's own).

    Raises
    ------
    ValueError
        No row of the reference.
    """
    import pandas as pd

    base = table.loc[table["objective"] == reference, PAIR]
    if base.empty:
        raise ValueError(f"no row of {reference!r}, the reference of every difference; run it, or choose another")
    parts = []
    for objective, rows in table[table["objective"] != reference].groupby("objective", sort=False):
        both = rows[PAIR].merge(base, how="outer", indicator="lacking")
        alone = both[both["lacking"] != "both"]
        lacking = np.where(alone["lacking"] == "left_only", reference, objective)
        parts.append(alone.assign(objective=objective, lacking=lacking))
    columns = [*UNIT, "image", "lacking"]
    return pd.concat(parts)[columns].reset_index(drop=True) if parts else pd.DataFrame(columns=columns)


def lacking(table, within: str, side: str) -> list[str]:
    """Runs that one value of `side` lacks within one of `within`, of the units that any has anywhere; in words.

    Parameters
    ----------
    table : DataFrame
        With the columns split and seed, and the two named (part and objective, say).

    Returns
    -------
    list of str
        "tubes, bce: no run of split 0, seed 3", or "tubes, bce: no run" where there is none at all.
    """
    units = sorted(set(zip(table["split"], table["seed"], strict=True)))
    told = []
    for place in dict.fromkeys(table[within]):
        for name in dict.fromkeys(table[side]):
            own = table[(table[within] == place) & (table[side] == name)]
            mine = set(zip(own["split"], own["seed"], strict=True))
            gaps = [f" of split {a}, seed {b}" for a, b in units if (a, b) not in mine] if mine else [""]
            told += [f"{place}, {name}: no run{gap}" for gap in gaps]
    return told


def paired_differences(table, metric: str, reference: str = "bce", *, missing: str = "error"):
    """Per unit, the mean over images of the difference to the reference on the same image.

    Parameters
    ----------
    missing : str
        ``error``: rows without a pair are refused. ``drop``: a unit of an objective that lacks any pair is left out
        whole, because a mean over fewer images is another quantity; :func:`unpaired` names what was left out.

    Returns
    -------
    DataFrame with the columns objective, class, split, seed, difference, ``n_images`` and ``n_undefined`` (images
    where either side is NaN; left out of the mean); the reference itself is left out.

    Raises
    ------
    ValueError
        What :func:`check` refuses; no row of the reference; rows without a pair (named).
    """
    if missing not in ("error", "drop"):
        raise ValueError(f"missing is {missing!r}; expected error or drop")
    check(table, metric)
    _check_alike(table, reference)
    alone = unpaired(table, reference)
    if len(alone) and missing == "error":
        first = alone.iloc[0]
        raise ValueError(
            f"{len(alone)} rows without a pair between {first['objective']} and {reference}, first "
            f"{named(first, PAIR)}, which {first['lacking']} lacks; run what is missing, or leave those seeds out"
        )
    rows = table.loc[table["objective"] != reference, [*UNIT, "image", metric]]
    if len(alone):
        rows = rows.merge(alone[UNIT].drop_duplicates(), how="left", indicator="whole")
        rows = rows[rows["whole"] == "left_only"]
    base = table.loc[table["objective"] == reference, [*PAIR, metric]]
    rows = rows.merge(base, on=PAIR, suffixes=("", "_reference"))
    groups = rows.assign(difference=rows[metric] - rows[f"{metric}_reference"]).groupby(UNIT, sort=False)["difference"]
    result = groups.mean().to_frame()
    result["n_images"] = groups.size()
    result["n_undefined"] = groups.size() - groups.count()
    return result.reset_index()


def _check_alike(table, reference: str) -> None:
    """What is compared differs in its objective, and perhaps in its learning rate, which is a nuisance."""
    for column in ("network", "depth", "steps"):
        if column in table and table[column].notna().any():
            mine = set(table.loc[table["objective"] == reference, column])
            for objective, rows in table.groupby("objective", sort=False):
                if mine and set(rows[column]) != mine:
                    raise ValueError(
                        f"{column} is {sorted(set(rows[column]))} in the rows of {objective} and {sorted(mine)} in "
                        f"those of {reference}; expected the same: compare runs that differ in their objective alone"
                    )


COLLAPSE = (0.05, 20)  # predicted over true area, outside of which a run has collapsed
OVERLAP = ("true_positive", "false_positive", "false_negative")
BY_CUT = (*OVERLAP, "true_negative")
INSTANCES = ("n_matched", "n_predicted", "n_true")
# Metric -> counts, numerator's weights and denominator's weights.
POOLED = {
    "iou": (OVERLAP, (1, 0, 0), (1, 1, 1)),
    "dice": (OVERLAP, (2, 0, 0), (2, 1, 1)),
    "accuracy": (BY_CUT, (1, 0, 0, 1), (1, 1, 1, 1)),
    "instance_precision": (INSTANCES, (1, 0, 0), (0, 1, 0)),
    "instance_recall": (INSTANCES, (1, 0, 0), (0, 0, 1)),
    "instance_f1": (INSTANCES, (2, 0, 0), (0, 1, 1)),
    "panoptic_quality": (("matched_iou", "n_predicted", "n_true"), (2, 0, 0), (0, 1, 1)),
    **{
        f"adapted_rand_f_{rule}": (
            tuple(f"rand_{pairs}_{rule}" for pairs in ("both", "predicted", "true")),
            (2, 0, 0),
            (0, 1, 1),
        )
        for rule in ("skimage", "snemi")
    },
    # of images whose objects are not the same, the entropies are means weighted by the voxels that they are of
    **{voi: ((f"bits_{voi}", "voi_voxels"), (1, 0), (0, 1)) for voi in ("voi", "voi_split", "voi_merge")},
}


def pooled(table, metric: str = "iou", cut: str = "tuned"):
    """A metric of each run from what adds up over its images, as if they were one image whose objects are all distinct.

    Parameters
    ----------
    table : DataFrame
    metric : str
        A key of POOLED: IoU, Dice, accuracy, the metrics of matched objects, adapted Rand, variation of information.
    cut : str
        Of IoU, Dice and accuracy; instances are those at the tuned cut.

    Returns
    -------
    DataFrame with the columns objective, class, split, seed, ``pooled`` (NaN where the counts leave it undefined),
    ``n_images`` and ``n_undefined`` (images without counts, as where no cut could be chosen; nothing is added for
    them).
    """
    if metric not in POOLED:
        raise ValueError(f"metric is {metric!r}; from counts can be pooled {', '.join(POOLED)}")
    counts, above, below = POOLED[metric]
    columns = [f"{count}_{cut}" if count in BY_CUT else count for count in counts]
    if columns[0] == f"bits_{metric}":
        require(table, metric)
        require(table, "voi_voxels")
        table = table.assign(**{columns[0]: table[metric] * table["voi_voxels"]})
    sums, rows = _sums(table, columns)
    result = (sums @ np.array(above) / (sums @ np.array(below)).replace(0, np.nan)).rename("pooled").to_frame()
    result["n_images"] = rows.groupby(UNIT, sort=False).size()
    result["n_undefined"] = rows[columns].isna().any(axis=1).groupby([rows[c] for c in UNIT], sort=False).sum()
    return result.reset_index()


def pooled_means(table, cut: str = "tuned"):
    """:func:`pooled` of every metric whose counts the table has, as means over runs: objective, class, and a column
    for each metric."""
    import pandas as pd

    found = {}
    for metric, (counts, _, _) in POOLED.items():
        needed = [f"{count}_{cut}" if count in BY_CUT else count.removeprefix("bits_") for count in counts]
        if all(column in table for column in needed):
            values = pooled(table, metric, cut)
            found[metric] = values.groupby(["objective", "class"], sort=False)["pooled"].mean()
    return pd.DataFrame(found).reset_index()


def collapsed(table, cut: str = "tuned"):
    """Runs whose predicted area, summed over images, is under 5 % or over 20 times the truth's, or is everything.

    Returns
    -------
    DataFrame with the columns objective, class, split, seed, collapsed (1 or 0; NaN where there is no such cut).
    """
    columns = [f"{count}_{cut}" for count in (*OVERLAP, "true_negative") if f"{count}_{cut}" in table]
    sums, _ = _sums(table, columns)
    both, false, missed = (sums[f"{count}_{cut}"] for count in OVERLAP)
    predicted, true = both + false, both + missed
    gone = (predicted < COLLAPSE[0] * true) | (predicted > COLLAPSE[1] * true)
    if f"true_negative_{cut}" in sums:  # of a constant score the best cut may leave everything
        gone |= missed + sums[f"true_negative_{cut}"] == 0
    return gone.astype(float).where(predicted.notna()).rename("collapsed").reset_index()


def _sums(table, columns: Sequence[str]):
    """Counts of each run added over the images that have all of them, in double precision; and the table."""
    for column in columns:
        require(table, column)
    rows = table.assign(**{c: table[c].astype(float) for c in columns})
    whole = rows[columns].notna().all(axis=1)
    return rows[columns].where(whole, axis=0).groupby([rows[c] for c in UNIT], sort=False).sum(min_count=1), rows


def with_parameter(table, name: str):
    """The rows with a column more: a parameter of their runs, such as ``depth``, from the column ``parameters``."""
    values = table["parameters"].map(lambda text: json.loads(text).get(name))
    if values.isna().any():
        raise ValueError(f"no parameter {name!r} in the rows of {table.loc[values.isna(), 'objective'].iloc[0]}")
    return table.assign(**{name: values})


def depth_curve(table, metric: str, x: str = "depth"):
    """How a metric depends on a number that runs differ in, with a quadratic by least squares for each objective.

    Parameters
    ----------
    table : DataFrame
        Rows with that column (see :func:`with_parameter`); one run for each objective, class, split, seed and x.

    Returns
    -------
    points, fits : DataFrames
        Means over images: the columns of UNIT, x and the metric. Coefficients: objective, class, ``constant``,
        ``slope``, ``square``, ``peak`` (the x of the parabola's maximum; NaN where it has none between the least and
        the greatest x), ``n_points``, ``n_levels``, ``rms`` (residual) and ``reason`` (why there is no fit: fewer than
        three levels of x).
    """
    import pandas as pd

    require(table, metric)
    require(table, x)
    for level, rows in table.groupby(x):
        try:
            check(rows, metric)
        except ValueError as error:
            raise ValueError(f"where {x} is {level}: {error}") from None
    points = table.groupby([*UNIT, x], sort=False)[metric].mean().dropna().reset_index()
    fits = []
    for (objective, name), own in points.groupby(["objective", "class"], sort=False):
        at, values = own[x].to_numpy(float), own[metric].to_numpy(float)
        levels = len(np.unique(at))
        fit = {"objective": objective, "class": name, "n_points": len(own), "n_levels": levels, "reason": ""}
        if levels < 3:
            fit["reason"] = f"{levels} levels of {x}; a parabola needs 3"
        else:
            curve = np.polynomial.Polynomial.fit(at, values, 2)
            fit |= dict(zip(("constant", "slope", "square"), curve.convert().coef, strict=True))
            fit["rms"] = float(np.sqrt(np.mean((curve(at) - values) ** 2)))
            peak = -fit["slope"] / (2 * fit["square"]) if fit["square"] < 0 else np.nan
            fit["peak"] = peak if at.min() <= peak <= at.max() else np.nan
        fits.append(fit)
    columns = ["objective", "class", "constant", "slope", "square", "peak", "n_points", "n_levels", "rms", "reason"]
    return points, pd.DataFrame(fits, columns=columns)


def pooled_reliability(table, by: Sequence[str] = ("objective", "class", "kind")):
    """Reliability over images and seeds: per bin, counts added, and the two means weighted by them.

    Parameters
    ----------
    table : DataFrame
        Columns objective, class, kind, seed, bin, count (voxels), probability (their mean probability) and positive
        (the share of them that is foreground).
    by : sequence of str
        What stays apart; add ``seed`` for a curve of each.

    Returns
    -------
    DataFrame with the columns of `by`, bin, count, probability, positive; empty bins are left out.
    """
    for column in (*by, "bin", "count", "probability", "positive"):
        require(table, column)
    table = table[table["count"] > 0]
    for column in ("probability", "positive"):
        if not table[column].between(-1e-9, 1 + 1e-9).all():
            bad = table.loc[~table[column].between(-1e-9, 1 + 1e-9), column].iloc[0]
            raise ValueError(f"{column} of a bin is {bad}; expected a mean over its voxels, in [0, 1]")
    weighted = table.assign(**{c: table[c] * table["count"] for c in ("probability", "positive")})
    result = weighted.groupby([*by, "bin"], sort=False)[["count", "probability", "positive"]].sum().reset_index()
    result[["probability", "positive"]] = result[["probability", "positive"]].div(result["count"], axis=0)
    return result


def named(row, columns: Sequence[str]) -> str:
    return ", ".join(f"{column} {row[column]}" for column in columns)


def require(table, column: str) -> None:
    if column not in table:
        raise ValueError(f"metric is {column!r}; expected a column of the table, such as iou_tuned")
    if table.empty:
        raise ValueError("the table has no rows")
