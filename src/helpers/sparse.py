"""Sparse labels: the parts of a study that differ in the share annotated, read together, and what is asked of them.

A condition is a loss and a use of the blocks that were annotated for other classes than the target, as
:mod:`helpers.partial` has them. Within a share conditions are paired: the same seed has the same blocks annotated.
"""

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from helpers import datasets, index, partial, statistics, tables

LOSSES = ("bce", "tanh_distance", "hot_distance")  # in the order in which they are shown; others follow


def condition(loss: str, others: str) -> str:
    """What a study compares, in words: "hot_distance, own"."""
    return f"{loss}, {others}"


def share_name(fraction: float) -> str:
    """ "share 1/16" of 0.0625."""
    return f"share {Fraction(fraction).limit_denominator(1000)}"


def _question(one: tuple[str, str], other: tuple[str, str]) -> tuple[str, tuple[str, str]]:
    second = other[1] if one[0] == other[0] else condition(*other)
    return f"{condition(*one)} against {second}", (condition(*one), condition(*other))


# Title -> the two conditions, as :func:`helpers.statistics.ask` takes them. Written before any result was seen: does a
# loss learn from the blocks of other classes, and is that more than another loss makes of the same labels?
QUESTIONS: Mapping[str, tuple[str, str]] = dict(
    [
        _question(("hot_distance", "own"), ("hot_distance", "discarded")),
        _question(("hot_distance", "negatives"), ("hot_distance", "discarded")),
        _question(("bce", "own"), ("bce", "discarded")),
        _question(("bce", "negatives"), ("bce", "discarded")),
        _question(("tanh_distance", "own"), ("tanh_distance", "discarded")),
        _question(("hot_distance", "own"), ("bce", "discarded")),
        _question(("hot_distance", "own"), ("bce", "own")),
        _question(("hot_distance", "own"), ("tanh_distance", "own")),
        _question(("hot_distance", "negatives"), ("bce", "negatives")),
    ]
)
FIRST = next(iter(QUESTIONS))  # the study's own question


def read_parts(results: str | Path, parts: Sequence[str]):
    """The rows of several parts of a study as one table, and in words what it lacks.

    Parameters
    ----------
    results, parts
        As ``helpers.index.read_parts`` takes them.

    Returns
    -------
    rows : DataFrame
        One row for each run and image, of the target alone: the columns of ``helpers.tables.COLUMNS``, and part,
        ``loss``, ``others`` (one of ``helpers.partial.OTHERS``), ``condition`` (:func:`condition`), ``fraction``
        (of the target's blocks, in (0, 1]) and ``share`` (its name). Sorted by fraction, the largest first, then as
        the conditions are shown.
    missing : list of str
        Parts without a table, objectives that are no condition, conditions that lack runs which others have.

    Raises
    ------
    ValueError
        No part with a table, or none with a condition; parts of different data sets or targets; two parts of the same
        share; what :func:`helpers.tables.together` refuses.
    """
    (tables_of, missing), found = index.read_parts(results, parts), []
    for part, rows in tables_of.items():
        rows = _described(rows.assign(part=part))
        known = rows["others"].isin(partial.OTHERS)
        for objective, others in rows.loc[~known, ["objective", "others"]].drop_duplicates().itertuples(index=False):
            missing.append(f"{objective} of part {part}: annotated is {others!r}, not one class a block; left out")
        found += [rows[known]] if known.any() else []
    if not found:
        raise ValueError(f"no part of {', '.join(parts)} has rows of sparse labels in {results}; run the study first")
    rows = tables.together(found, (*(name for name in tables.KEY if name != "objective"), "condition", "fraction"))
    for column in ("dataset", "target"):
        if rows[column].nunique() > 1:
            raise ValueError(f"parts are of the {column} {', '.join(rows[column].unique())}; expected one of them")
    rows = rows[rows["class"] == rows["target"]].drop(columns="target")
    if rows.empty:
        raise ValueError(f"no row of the target in {', '.join(parts)}; analyse its class")
    losses = list(dict.fromkeys([*LOSSES, *rows["loss"]]))
    rows = rows.assign(a=-rows["fraction"], b=rows["loss"].map(losses.index), c=rows["others"].map(_place))
    rows = rows.sort_values(["a", "b", "c", "split", "seed", "image"]).drop(columns=["a", "b", "c"])
    return rows.reset_index(drop=True), missing + statistics.lacking(rows, "share", "condition")


def levels(rows, metric: str):
    """Mean over images of each run, as :func:`helpers.figures.against` draws it.

    Returns
    -------
    DataFrame with the columns panel (the loss), line (what the other classes' blocks are used for), split, seed, x (the
    fraction annotated) and value (NaN where the metric is undefined on every image).
    """
    about = rows[["condition", "share", "loss", "others", "fraction"]].drop_duplicates()
    units = statistics.per_seed(_as_compared(rows), metric)
    units = units.rename(columns={"objective": "condition", "class": "share", metric: "value"}).merge(about, sort=False)
    units = units.rename(columns={"loss": "panel", "others": "line", "fraction": "x"})
    return units[["panel", "line", "split", "seed", "x", "value"]]


def summary(rows, metrics: Sequence[str]):
    """One row for each condition and share: its runs, each metric over them, and how many have collapsed.

    Returns
    -------
    DataFrame with the columns loss, others, share, runs, for each metric the means "IoU", "least IoU" and "greatest
    IoU" (of means over images; under the metric's label), and collapsed (as :func:`helpers.statistics.collapsed` counts
    at the tuned cut; missing where there is none).
    """
    keys = ["loss", "others", "share"]
    result = rows.groupby(keys, sort=False)[["split", "seed"]].apply(lambda own: len(own.drop_duplicates()))
    result = result.rename("runs").to_frame()
    for metric in metrics:
        name = statistics.label(metric)
        values = levels(rows, metric).assign(share=lambda table: table["x"].map(share_name))
        values = values.groupby(["panel", "line", "share"], sort=False)["value"].agg(["mean", "min", "max"])
        result[[name, f"least {name}", f"greatest {name}"]] = values.reindex(result.index).to_numpy()
    gone = statistics.collapsed(_as_compared(rows)).groupby(["objective", "class"])["collapsed"].sum(min_count=1)
    result = result.reset_index()
    result["collapsed"] = [gone[condition(row.loss, row.others), row.share] for row in result.itertuples()]
    return result.astype({"collapsed": "Int64"})


def ask(rows, metric: str, *, named: float = 0.0, margin: float = statistics.MARGIN):
    """:func:`helpers.statistics.ask` of QUESTIONS, within each share.

    Parameters
    ----------
    rows : DataFrame
        Of :func:`read_parts`.
    named : float
        Fraction at which FIRST was named beforehand; 0 for none. That one comparison is a family of its own: how often
        the others explore does not enter its p value.

    Returns
    -------
    differences, comparison, unanswered

    Raises
    ------
    ValueError
        A fraction out of [0, 1].
    """
    import pandas as pd

    if not 0 <= named <= 1:
        raise ValueError(f"named is {named!r}; expected a fraction above 0 and up to 1, or 0 where none was named")
    settings = {"side": "condition", "within": "share", "margin": margin}
    differences, comparison, unanswered = statistics.ask(rows, metric, QUESTIONS, **settings)
    if named and len(comparison):
        apart = rows["share"] == share_name(named)
        first = [
            statistics.ask(own, metric, {FIRST: QUESTIONS[FIRST]}, **settings)[1] for own in (rows[apart], rows[~apart])
        ]
        order = dict.fromkeys(rows["share"])
        first = pd.concat([part for part in first if len(part)] or [comparison.iloc[:0]])
        first = first.sort_values("objective", key=lambda names: names.map(list(order).index), kind="stable")
        comparison = pd.concat([first, comparison[comparison["class"] != FIRST]], ignore_index=True)
    return differences, comparison, unanswered


def verdicts(comparison, named: float = 0.0):
    """The answers of :func:`helpers.statistics.ask` to QUESTIONS as a table to read.

    Parameters
    ----------
    comparison : DataFrame
    named : float
        Fraction at which FIRST was named beforehand; 0 for none.

    Returns
    -------
    DataFrame with the columns standing ("primary", or "explores"), question, share, and n, difference, interval,
    corrected p, verdict as :func:`helpers.statistics.in_words` has them; collapsed holds the runs of the one condition
    and, behind a stroke, of the other. Without columns where nothing was answered.
    """
    table = statistics.in_words(comparison).rename(columns={"class": "question", "objective": "share"})
    if table.empty:
        return table
    primary = (table["question"] == FIRST) & (table["share"] == (share_name(named) if named else ""))
    table["collapsed"] += [f" / {number:.0f}" for number in comparison["collapsed_reference"]]
    table.insert(0, "share", table.pop("share"))
    table.insert(0, "question", table.pop("question"))
    table.insert(0, "standing", primary.map({True: "primary", False: "explores"}))
    return table


def named_answer(comparison, named: float = 0.0) -> str:
    """The answer to FIRST in words, at the fraction that was named beforehand; without one (0), at every share."""
    if named and len(comparison):
        comparison = comparison[comparison["objective"] == share_name(named)]
    return statistics.answer(comparison, FIRST)


def collapses(table) -> str:
    """What has collapsed, in words, of a :func:`summary`: "2 of 9 runs of bce, own at share 1/16", or "none"."""
    gone = table[table["collapsed"].fillna(0) > 0]
    said = (
        f"{row.collapsed} of {row.runs} runs of {condition(row.loss, row.others)} at {row.share}"
        for row in gone.itertuples()
    )
    return "; ".join(said) or f"none of {table['runs'].sum()} runs"


def blocks(parameters: Mapping) -> int:
    """How many blocks are annotated for the target in a training with these parameters; its data set is loaded."""
    names = tuple(name.strip() for name in parameters["classes"].split(","))
    more = {"reduce": parameters["reduce"] or None, "split": parameters["split"], "test": False}
    data = datasets.load(parameters["dataset"], names, **more)
    share, target, block = (parameters[name] for name in ("share", "target", "block"))
    seen = partial.training_images(data, "discarded", share, target, block=block, seed=parameters["seed"])
    return len({image.name for image in seen})


def _described(rows):
    """Rows with what their runs' parameters say of the labels."""
    told = [json.loads(text) for text in rows["parameters"]]
    target = [own["target"] or own["classes"].split(",")[0].strip() for own in told]
    rows = rows.assign(loss=[own["loss"] for own in told], others=[own["annotated"] for own in told], target=target)
    rows["condition"] = [condition(*pair) for pair in zip(rows["loss"], rows["others"], strict=True)]
    rows["fraction"] = [float(own["share"]) for own in told]
    return rows.assign(share=rows["fraction"].map(share_name))


def _place(others: str) -> int:
    return partial.OTHERS.index(others)


def _as_compared(rows):
    """The condition as the objective, the share as the class."""
    return rows.assign(objective=rows["condition"], **{"class": rows["share"]})
