"""The tidy table: one row for each class and image of a run. Everything downstream reads rows only."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from helpers.metrics import counts

CUTS = ("natural", "tuned")
METRICS = ("iou", "dice", "accuracy", "area_ratio")
_COUNTS = ("true_positive", "false_positive", "false_negative", "true_negative")
# What a row is about. No two rows of a table agree in all of these.
KEY = ("study", "dataset", "objective", "options", "class", "image", "split", "subset", "seed")
COLUMNS = (
    *KEY,
    "learning_rate",
    "steps",
    "cut",  # the tuned one; the natural cut belongs to the objective
    *(f"{value}_{cut}" for cut in CUTS for value in (*METRICS, *_COUNTS)),
    "parameters",  # all of the run's, as JSON
    "n_weights",
    "threads",
    "device",
    "commit",
    "code_hash",
    "seconds",
)


def score_rows(
    scores: Sequence[np.ndarray],
    images: Sequence,
    classes: Sequence[str],
    natural_cut: float | None,
    tuned_cuts: Mapping[str, float],
    **run,
) -> list[dict]:
    """One row for each class and image.

    Parameters
    ----------
    scores : sequence of float arrays, shape (C, *S)
        One per image; foreground where greater than the cut.
    images : sequence of helpers.datasets.Image
    classes : sequence of str
    natural_cut : float or None
    tuned_cuts : mapping
        Class -> cut chosen on validation; NaN where none could be chosen.
    **run
        The row's other columns, the same for all rows.

    Returns
    -------
    List of dictionaries with the keys COLUMNS. Images without a known voxel of a class give no row for it. Metrics
    at a cut that does not exist are NaN, its counts None.
    """
    rows = []
    for image, score in zip(images, scores, strict=True):
        for index, name in enumerate(classes):
            if not image.known[index].any():
                continue
            row = run | {"class": name, "image": image.name, "cut": tuned_cuts[name]}
            for label, cut in zip(CUTS, (natural_cut, tuned_cuts[name]), strict=True):
                usable = cut is not None and not np.isnan(cut)
                result = counts(score[index] > cut, image.masks[index], image.known[index]) if usable else None
                for metric in METRICS:
                    row[f"{metric}_{label}"] = getattr(result, metric) if usable else float("nan")
                for count in _COUNTS:
                    row[f"{count}_{label}"] = getattr(result, count) if usable else None
            rows.append({column: row[column] for column in COLUMNS})
    return rows


def options_text(options: Mapping) -> str:
    """Options as one canonical text, for a cell of the table."""
    return json.dumps(dict(options), sort_keys=True)


def write_table(rows: Iterable[Mapping], path: Path) -> None:
    """CSV, written aside and then renamed."""
    import pandas as pd

    aside = path.with_name(f".{path.name}.partial")
    pd.DataFrame(list(rows), columns=list(COLUMNS)).to_csv(aside, index=False)
    os.replace(aside, path)


def read_tables(paths: Sequence[Path]):
    """The rows of several runs as one pandas DataFrame.

    Raises
    ------
    ValueError
        No file; a file with missing columns; rows that stand twice (the same run read from two files, or two runs
        that differ in nothing a row records); rows made by different versions of the code, which must not be mixed.
    """
    import pandas as pd

    if not paths:
        raise ValueError("no table to read; expected at least one rows.csv of a finished run")
    tables = []
    for path in paths:
        table = pd.read_csv(path)
        missing = [column for column in COLUMNS if column not in table]
        if missing:
            raise ValueError(f"{path} lacks the columns {', '.join(missing)}; run it again with this version")
        tables.append(table)
    table = pd.concat(tables, ignore_index=True)
    twice = table[table.duplicated(list(KEY))]
    if len(twice):
        first = {column: twice.iloc[0][column] for column in KEY}
        raise ValueError(f"{len(twice)} rows stand twice, the first for {first}; expected each once")
    versions = sorted(table["code_hash"].unique())
    if len(versions) > 1:
        raise ValueError(f"rows of {len(versions)} code versions ({', '.join(versions)}); run the stale ones again")
    return table
