"""Runs through their training: means over seeds at every checkpoint, the end, and paired differences there.

Of tables as :func:`helpers.surfaces.tabulate` makes them: one row for each run, class and checkpoint, pooled over
images.
"""

from collections.abc import Sequence

import numpy as np

from helpers.statistics.comparison import t_interval
from helpers.statistics.pooling import COLLAPSE
from helpers.statistics.table import UNIT, named, require
from helpers.statistics.words import MINIMUM_SEEDS

THROUGH = ("accuracy", "iou", "confidence_foreground", "confidence_background", "ece")
_COLUMNS = ["n", "mean", "low", "high", "least", "greatest", "undefined"]


def over_seeds(table, measures: Sequence[str] = THROUGH, by: Sequence[str] = ("objective", "class", "step")):
    """Mean of each measure over the units (split and seed), with a 95 % t interval where there are at least 8.

    Returns
    -------
    DataFrame with the columns of ``by``, measure, n (units with a value), mean, low, high (NaN for fewer than 8),
    least, greatest and ``undefined`` (units without a value, which are in no mean), in the order of the table.

    Raises
    ------
    ValueError
        A measure that is no column; units that stand twice.
    """
    import pandas as pd

    _check(table, measures, [*by, "split", "seed"])
    rows = []
    for key, units in table.groupby(list(by), sort=False):
        for measure in measures:
            row = dict(zip(by, key, strict=True)) | {"measure": measure} | _levels(units[measure])
            rows.append(row)
    return pd.DataFrame(rows, columns=[*by, "measure", *_COLUMNS])


def at_the_end(table):
    """The rows of each run's last checkpoint, and ``collapsed``: area under 5 % or over 20 times the true one?"""
    last = table.groupby([*UNIT], sort=False)["step"].transform("max")
    rows = table[table["step"] == last]
    area = rows["area_ratio"]
    gone = (area < COLLAPSE[0]) | (area > COLLAPSE[1])
    return rows.assign(collapsed=gone.astype(float).where(area.notna())).reset_index(drop=True)


def against(end, measures: Sequence[str] = THROUGH, reference: str = "bce"):
    """Paired differences to the reference at the end: means over units with a 95 % t interval where there are 8.

    The intervals stand each for itself: nothing is corrected for their number, and no verdict follows.

    Parameters
    ----------
    end : DataFrame
        Of :func:`at_the_end`.

    Returns
    -------
    DataFrame as :func:`over_seeds` with the columns objective, class, measure, ...; empty where the reference has no
    row. A unit that only one side has is left out.
    """
    import pandas as pd

    _check(end, measures, UNIT)
    pair = ["class", "split", "seed"]
    base = end.loc[end["objective"] == reference, [*pair, *measures]]
    others = end.loc[end["objective"] != reference, [*UNIT, *measures]]
    both = others.merge(base, on=pair, suffixes=("", "_reference"))
    rows = []
    for (objective, name), units in both.groupby(["objective", "class"], sort=False):
        for measure in measures:
            found = _levels(units[measure] - units[f"{measure}_reference"])
            rows.append({"objective": objective, "class": name, "measure": measure} | found)
    return pd.DataFrame(rows, columns=["objective", "class", "measure", *_COLUMNS])


def first_above(levels, measure: str, bar: float = 0.5):
    """For each objective and class the first step at which the mean of a measure is above a bar; NaN for never.

    Parameters
    ----------
    levels : DataFrame
        Of :func:`over_seeds`, by objective, class and step.
    """
    mine = levels[levels["measure"] == measure]
    reached = mine["step"].where(mine["mean"] > bar)
    return reached.groupby([mine["objective"], mine["class"]], sort=False).min().rename("step").reset_index()


def _levels(values) -> dict[str, float]:
    there = values.dropna().to_numpy(float)
    found = dict.fromkeys(_COLUMNS, np.nan) | {"n": len(there), "undefined": len(values) - len(there)}
    if len(there):
        found |= {"mean": there.mean(), "least": there.min(), "greatest": there.max()}
    if len(there) >= MINIMUM_SEEDS:
        found["low"], found["high"] = t_interval(there, 0.95)
    return found


def _check(table, measures: Sequence[str], key: Sequence[str]) -> None:
    for column in (*measures, *key):
        require(table, column)
    twice = table[table.duplicated([*key])]
    if len(twice):
        raise ValueError(
            f"{len(twice)} rows stand twice, the first for {named(twice.iloc[0], key)}; expected each once"
        )
