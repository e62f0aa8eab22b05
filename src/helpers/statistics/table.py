"""What is computed from rows alone: means of runs, paired differences, curves."""

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


def named(row, columns: Sequence[str]) -> str:
    return ", ".join(f"{column} {row[column]}" for column in columns)


def require(table, column: str) -> None:
    if column not in table:
        raise ValueError(f"metric is {column!r}; expected a column of the table, such as iou_tuned")
    if table.empty:
        raise ValueError("the table has no rows")
