"""Does a difference change from one set of images to another? Differences between paired differences."""

from collections.abc import Mapping

from helpers.statistics.comparison import MARGIN, compare
from helpers.statistics.table import paired_differences


def interaction(parts: Mapping[str, "object"], metric: str, reference: str, base: str, *, margin: float = MARGIN):
    """How each objective's difference to the reference differs between each part and a base part.

    That a difference is told from zero in one part and not in another does not say that the two differ; this asks that
    [1]_. Units are paired by split and seed, which decide the initial weights and the order of crops; images are
    averaged within each part.

    Parameters
    ----------
    parts : mapping
        Name -> rows of one study as :func:`helpers.statistics.compare` takes them, each of one data set.
    metric : str
        A column with a direction.
    reference : str
        Objective that the differences are to.
    base : str
        Name of the part that the others are set against.
    margin : float
        Largest difference between two differences that does not matter, in units of the metric.

    Returns
    -------
    units, comparison : DataFrames
        As :func:`paired_differences` and :func:`compare` make them: the column ``objective`` holds the part, ``class``
        the objective (with its class, where there are several), ``reference`` the base. "Better" says that the
        objective gains more, or loses less, in that part than in the base. All rows are one family for Holm. n_images
        and n_undefined are of that part's own differences (one mean for each unit enters here), and collapsed counts
        the runs of both objectives there, collapsed_reference those in the base.

    Raises
    ------
    ValueError
        The base is none of the parts; what :func:`paired_differences` refuses.

    References
    ----------
    .. [1] Gelman and Stern (2006), The difference between "significant" and "not significant" is not itself
       statistically significant, Am. Stat. 60, 328-331, doi:10.1198/000313006X152649.
    """
    import pandas as pd

    if base not in parts:
        raise ValueError(f"base is {base!r}; expected one of the parts, {', '.join(parts)}")
    rows, about = [], {}
    for name, table in parts.items():
        units = paired_differences(table, metric, reference, missing="drop")
        named = units["class"].nunique() > 1
        title = units["objective"] + (", " + units["class"] if named else "")
        own = units[["split", "seed"]].assign(objective=name, image="all", **{"class": title})
        rows.append(own.assign(**{metric: units["difference"]}))
        for _, row in compare(table, metric, reference, missing="drop").iterrows():
            about[name, row["objective"] + (f", {row['class']}" if named else "")] = row
    settings = {"reference": base, "missing": "drop"}
    together = pd.concat(rows, ignore_index=True)
    result = compare(together, metric, margin=margin, **settings)
    here = [about[part, title] for part, title in zip(result["objective"], result["class"], strict=True)]
    there = [about[base, title] for title in result["class"]]
    for column in ("n_images", "n_undefined"):
        result[column] = [int(row[column]) for row in here]
    result["collapsed"] = [row["collapsed"] + row["collapsed_reference"] for row in here]
    result["collapsed_reference"] = [row["collapsed"] + row["collapsed_reference"] for row in there]
    return paired_differences(together, metric, **settings), result
