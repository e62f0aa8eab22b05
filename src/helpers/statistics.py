"""Comparisons of objectives on a tidy table. The unit of replication is the seed (of one split)."""

UNIT = ["objective", "class", "split", "seed"]
MINIMUM_SEEDS = 8  # fewer give points and no interval


def per_seed(table, metric: str):
    """Mean of a metric over the images of each run.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows as in :mod:`helpers.tables`, of one data set and one subset.
    metric : str
        A column, such as ``iou_tuned``.

    Returns
    -------
    DataFrame with the columns objective, class, split, seed, the metric, ``n_images`` and ``n_undefined`` (images
    on which the metric is NaN; they are left out of the mean).
    """
    _require(table, metric)
    for column in ("dataset", "subset", "study"):
        if table[column].nunique() != 1:
            raise ValueError(f"rows of {sorted(table[column].unique())} in column {column}; expected one of them")
    groups = table.groupby(UNIT, sort=False)[metric]
    result = groups.mean().to_frame()
    result["n_images"] = groups.size()
    result["n_undefined"] = groups.size() - groups.count()
    return result.reset_index()


def paired_differences(table, metric: str, reference: str = "bce"):
    """Per seed, the mean over images of the difference to the reference on the same image.

    Returns
    -------
    DataFrame with the columns objective, class, split, seed, difference; the reference itself is left out.

    Raises
    ------
    ValueError
        No row of the reference, or images that one side of a pair lacks (named).
    """
    _require(table, metric)
    keys = ["class", "split", "seed", "image"]
    base = table[table["objective"] == reference].set_index(keys)[metric]
    if base.empty:
        raise ValueError(f"no row of {reference!r}, the reference of every difference")
    parts = []
    for objective, rows in table[table["objective"] != reference].groupby("objective", sort=False):
        values = rows.set_index(keys)[metric]
        alone = values.index.symmetric_difference(base.index)
        if len(alone):
            raise ValueError(f"{len(alone)} rows without a pair between {objective} and {reference}, first {alone[0]}")
        difference = (values - base).groupby(level=["class", "split", "seed"], sort=False).mean()
        parts.append(difference.rename("difference").reset_index().assign(objective=objective))
    import pandas as pd

    columns = [*UNIT, "difference"]
    return pd.concat(parts)[columns].reset_index(drop=True) if parts else pd.DataFrame(columns=columns)


def _counts(table):
    """True positives, false positives and false negatives of each run at the tuned cut, added over images."""
    names = ["true_positive_tuned", "false_positive_tuned", "false_negative_tuned"]
    for name in names:
        _require(table, name)
    return (table.groupby(UNIT, sort=False)[name].sum() for name in names)


def _require(table, metric: str) -> None:
    if metric not in table:
        raise ValueError(f"metric is {metric!r}; expected a column of the table, such as iou_tuned")
    if table.empty:
        raise ValueError("the table has no rows")


def summary(table, metric: str, reference: str = "bce"):
    """One row for each objective and class: its metric at the tuned cut, over the seeds.

    Returns
    -------
    DataFrame with the columns objective, class, mean, min, max (over seeds, of the mean over images), natural (the mean
    at the natural cut), pooled (IoU of the counts added over images, mean over seeds), difference (mean paired
    difference to the reference; NaN for the reference), seeds, undefined (images without a value) and collapsed (runs
    that :func:`collapsed` counts).
    """
    groups = ["objective", "class"]
    tuned, natural = per_seed(table, f"{metric}_tuned"), per_seed(table, f"{metric}_natural")
    differences = paired_differences(table, f"{metric}_tuned", reference)
    grouped = tuned.groupby(groups, sort=False)
    result = grouped[f"{metric}_tuned"].agg(["mean", "min", "max"])
    result["natural"] = natural.groupby(groups)[f"{metric}_natural"].mean()
    result["pooled"] = pooled_iou(table).groupby(groups)["pooled"].mean()
    result["difference"] = differences.groupby(groups)["difference"].mean()
    result["seeds"] = grouped["seed"].nunique()
    result["undefined"] = grouped["n_undefined"].sum()
    result["collapsed"] = collapsed(table).groupby(groups)["collapsed"].sum()
    return result.reset_index()


def pooled_iou(table):
    """IoU of each run at the tuned cut, of counts added over images; columns objective, class, split, seed, pooled."""
    tp, fp, fn = _counts(table)
    return (tp / (tp + fp + fn)).rename("pooled").reset_index()


def collapsed(table):
    """Runs whose predicted area, summed over images at the tuned cut, is under 5 % or over 20 times the truth's.

    Returns
    -------
    DataFrame with the columns objective, class, split, seed, collapsed (bool).
    """
    tp, fp, fn = _counts(table)
    predicted, true = tp + fp, tp + fn
    return ((predicted < 0.05 * true) | (predicted > 20 * true)).rename("collapsed").reset_index()


def sentence(summary, label: str, reference: str) -> str:
    """The comparison in one sentence of plain text for each class, numbers included, without any ranking."""
    sentences = []
    for name, rows in summary.groupby("class", sort=False):
        parts = []
        for _, row in rows.iterrows():
            text = f"{row['mean']:.3f} for {row['objective']}"
            if row["seeds"] > 1:
                text += f" ({row['min']:.3f} to {row['max']:.3f})"
            if row["objective"] != reference:
                text += f", {row['difference']:+.3f} against {reference}"
            parts.append(text)
        sentences.append(f"With the cut tuned on validation, mean {label} of {name} was {'; '.join(parts)}.")
    return " ".join(sentences)


def caveat(n_seeds: int) -> str:
    """What that number of seeds allows to be said."""
    seeds = "One seed gives" if n_seeds == 1 else f"{n_seeds} seeds give"
    if n_seeds < MINIMUM_SEEDS:
        return f"{seeds} points and no interval ({MINIMUM_SEEDS} are needed): preliminary, no ranking."
    return f"{seeds} enough for an interval; none is computed here yet: preliminary, no ranking."
