"""The numbers of a comparison as the book's results explorer reads them: each run's metrics, paired by split and seed.

The scripts ``results_plot.js`` and ``results_explorer.js`` in ``book/_static`` draw them.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from helpers import statistics
from helpers.figures.style import style

FORMAT = 1


def explorer_data(rows, title: str, *, described: str = "") -> dict[str, Any]:
    """A part of a study, in JSON's types.

    Parameters
    ----------
    rows : DataFrame
        Of one study and part, as :func:`helpers.tables.together` puts them.
    title : str
        What the menu calls it.
    described : str
        A sentence below the plot: the data set and its licence, say.

    Returns
    -------
    dict
        ``objectives`` (name, colour, marker), ``classes``, ``metrics`` (column, label, better: 1, -1 or 0), ``units``
        ([split, seed] each), ``n_images`` of each class, and ``values[class][column][objective]``: means over images,
        one for each unit, null where there is none. ``undefined[class][column][objective]``, where any value is: how
        many values of images and runs are undefined and left out of the means, and of how many.
        ``paired[class][column][objective][reference]``, where undefined values make it another than the difference of
        the two means: for each unit the mean difference over the images on which both are defined, or null.

    Raises
    ------
    ValueError
        No rows, or none with a known metric.
    """
    metrics = [m for m in statistics.metrics_of(rows) if rows[m].notna().any()] if len(rows) else []
    if not metrics:
        raise ValueError(f"{len(rows)} rows and no metric in them; expected the rows of a study's runs")
    objectives, classes = (list(dict.fromkeys(rows[c])) for c in ("objective", "class"))
    units = sorted({(int(s), int(k)) for s, k in zip(rows["split"], rows["seed"], strict=True)})
    means = rows.groupby(["class", "objective", "split", "seed"])[metrics].mean()

    def value(name, column, objective, unit):
        key = (name, objective, *unit)
        return _rounded(means.at[key, column]) if key in means.index else None

    return {
        "format": FORMAT,
        "title": title,
        "described": described,
        "objectives": [{"name": o, "colour": style(o)[0], "marker": style(o)[1]} for o in objectives],
        "classes": classes,
        "metrics": [
            {
                "column": m,
                "label": statistics.label(m, reading=bool(statistics.split_metric(m)[1])),
                "better": _better(m),
            }
            for m in metrics
        ],
        "units": [list(unit) for unit in units],
        "n_images": {name: int(rows.loc[rows["class"] == name, "image"].nunique()) for name in classes},
        "values": {
            name: {m: {o: [value(name, m, o, unit) for unit in units] for o in objectives} for m in metrics}
            for name in classes
        },
        "undefined": (undefined := _undefined(rows, metrics)),
        "paired": _paired(rows, undefined, units),
    }


def _undefined(rows, metrics: Sequence[str]) -> dict[str, dict[str, dict[str, list[int]]]]:
    """``[class][column][objective]`` -> undefined values of images and runs, and all; where there is none, nothing."""
    found: dict[str, dict[str, dict[str, list[int]]]] = {}
    for name, own in rows.groupby("class", sort=False):
        for column in metrics:
            values = own.groupby("objective", sort=False)[column]
            counts = {o: [int(v.isna().sum()), len(v)] for o, v in values}
            if any(left for left, _ in counts.values()):
                found.setdefault(name, {})[column] = counts
    return found


def _paired(rows, undefined: dict, units: Sequence[tuple[int, int]]) -> dict:
    """``[class][column][objective][reference]`` -> differences of each unit, where those of means are not paired."""
    found: dict = {}
    for name, columns in undefined.items():
        own = rows[rows["class"] == name]
        for column in columns:
            images = own.pivot_table(column, ["split", "seed", "image"], "objective", sort=False, dropna=False)
            for objective, reference in itertools.permutations(images, 2):
                pair = images[[objective, reference]]
                if pair[objective].isna().equals(pair[reference].isna()):
                    continue
                means = [p.groupby(["split", "seed"]).mean().reindex(units) for p in (pair, pair.dropna())]
                plain, both = (m[objective] - m[reference] for m in means)
                if not np.allclose(plain, both, rtol=0, atol=1e-9, equal_nan=True):
                    values = [_rounded(value) for value in both]
                    found.setdefault(name, {}).setdefault(column, {}).setdefault(objective, {})[reference] = values
    return found


def _better(metric: str) -> int:
    return statistics.METRICS[statistics.split_metric(metric)[0]][1]


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
