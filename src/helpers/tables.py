"""The tidy table: one row for each class and image of a run. Everything downstream reads rows only."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from helpers.files import write_whole

CUTS = ("natural", "tuned", "published")
METRICS = ("iou", "dice", "accuracy", "area_ratio")
COUNTS = ("true_positive", "false_positive", "false_negative", "true_negative")
INSTANCES = (
    *("n_true", "n_predicted", "n_matched", "instance_precision", "instance_recall", "instance_f1"),
    *("panoptic_quality", "adapted_rand_f_skimage", "adapted_rand_f_snemi", "voi_split", "voi_merge", "voi"),
    # what adds up over images, for pooled values
    *("matched_iou", "voi_voxels"),
    *(f"rand_{pairs}_{rule}" for rule in ("skimage", "snemi") for pairs in ("both", "predicted", "true")),
)
CALIBRATION = ("ece", "mce", "brier", "confidence_foreground", "confidence_background")
FITS = ("raw", "fitted")
# What a row is about. No two rows of a table agree in all of these.
KEY = (
    *("study", "dataset", "objective", "options", "class", "image", "split", "subset", "seed"),
    *("network", "depth", "learning_rate", "steps"),
)
COLUMNS = (
    *KEY,
    "cut",  # the tuned one; the natural and the published cut belong to the objective
    "seed_height_nm",
    *(f"{value}_{cut}" for cut in CUTS for value in (*METRICS, *COUNTS)),
    *INSTANCES,
    *(f"{value}_{fit}" for fit in FITS for value in CALIBRATION),
    "parameters",  # all of the run's, as JSON
    "n_weights",
    "threads",
    "device",
    "commit",
    "code_hash",  # of what the training imports
    "judge_hash",  # of what made numbers of its scores
    "seconds",
)
TEXT = (
    *("study", "dataset", "objective", "options", "class", "image", "subset", "network", "kind"),
    *("parameters", "device", "commit", "code_hash", "judge_hash"),
)
# A reliability curve in rows: one for each bin with voxels in it.
CURVE_COLUMNS = (*KEY, "kind", "bin", "count", "probability", "positive")


def options_text(options: Mapping) -> str:
    """Options as one canonical text, for a cell of the table."""
    return json.dumps(dict(options), sort_keys=True)


def write_table(rows: Iterable[Mapping], path: Path, columns: Sequence[str] = COLUMNS) -> None:
    """CSV, whole or not at all. OSError as :func:`helpers.files.write_whole`."""
    import pandas as pd

    write_whole(path, pd.DataFrame(list(rows), columns=list(columns)).to_csv(index=False).encode())


def read_table(path: Path, columns: Sequence[str] = COLUMNS):
    """One table as a pandas DataFrame.

    Raises
    ------
    ValueError
        Columns are missing.
    """
    import pandas as pd

    # A class may be called 1 or NA, and a hash may have digits alone: only what is a number is read as one.
    table = pd.read_csv(path, dtype=dict.fromkeys(TEXT, str), keep_default_na=False, na_values=[""])
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}; run it again with this version")
    return table


def together(tables: Sequence, key: Sequence[str] = KEY):
    """The rows of several runs as one pandas DataFrame.

    Parameters
    ----------
    tables : sequence of DataFrame
    key : sequence of str
        Columns in all of which no two rows agree.

    Raises
    ------
    ValueError
        No table; rows that stand twice (the same run read from two files, or two runs that differ in nothing a row
        records); rows made by different versions of the code, which must not be mixed.
    """
    import pandas as pd

    if not tables:
        raise ValueError("no table to read; expected at least one rows.csv of a finished run")
    table = pd.concat(tables, ignore_index=True)
    twice = table[table.duplicated(list(key))]
    if len(twice):
        first = {column: twice.iloc[0][column] for column in key}
        raise ValueError(f"{len(twice)} rows stand twice, the first for {first}; expected each once")
    for column in ("code_hash", "judge_hash"):
        versions = sorted(table[column].unique()) if column in table else ()
        if len(versions) > 1:
            raise ValueError(f"rows of {len(versions)} code versions ({', '.join(versions)}); run the stale ones again")
    return table
