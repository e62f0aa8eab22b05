"""What adds up over images and is divided once: pooled metrics, collapses, reliability."""

from collections.abc import Sequence

import numpy as np

from helpers.statistics.table import UNIT, require

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
