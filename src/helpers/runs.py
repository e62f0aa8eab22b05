"""A run's folder: the scores it keeps, and its rows, which can be made of them again at any time.

So a change in how runs are judged trains nothing.
"""

import json
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from helpers import datasets, tables
from helpers.files import write_whole
from helpers.judging import Ground, Scale, choose, ground, rows
from helpers.notebook import modules_hash
from helpers.outputs import write_scores

# What makes numbers of scores. With a change in any of these a run's rows are made again from its scores.
CODE = ("calibration", "instances", "judging", "metrics", "partitions", "postprocess", "runs", "tables")
SINGLE = "single"  # the study of a run by itself; a study that reads its rows writes its own name there


def judge_hash(dataset: str) -> str:
    """:func:`helpers.notebook.modules_hash` of what judges, and of what reads the data set."""
    return modules_hash(CODE + datasets.code(dataset))


def judge(folder: str | Path) -> tuple[list[dict], list[dict]]:
    """Make the rows of a run's folder and write them there: rows.csv, reliability.csv, decoding.json.

    Parameters
    ----------
    folder : path
        With parameters.json, run.json, scores.npz and, where the network predicts distances, distances.npz, as
        ``notebooks/train.ipynb`` writes them.

    Returns
    -------
    rows, curves : list of dict
    """
    folder = Path(folder)
    parameters, facts = (json.loads((folder / name).read_text()) for name in ("parameters.json", "run.json"))
    classes = tuple(name.strip() for name in parameters["classes"].split(","))
    truth = ground(parameters["dataset"], classes, *(parameters[name] for name in ("reduce", "split", "test")))
    scale = Scale(**facts["scale"])
    scores, distances = (_arrays(folder / f"{name}.npz", truth) for name in ("scores", "distances"))
    if scores is None:
        raise FileNotFoundError(f"{folder} has no scores.npz: nothing to judge; run the training again")
    readings = choose(truth, scale, scores[0], distances and distances[0])
    found, curves = rows(
        truth,
        scale,
        readings,
        scores[1],
        distances and distances[1],
        study=SINGLE,
        dataset=parameters["dataset"],
        objective=parameters["loss"],
        options=tables.options_text(facts["options"]),
        split=parameters["split"],
        seed=parameters["seed"],
        learning_rate=parameters["learning_rate"] or facts["learning_rate"],  # 0: the run has searched for one
        steps=parameters["steps"],
        network=parameters["network"],
        depth=parameters["blocks" if parameters["network"] == "resnet" else "depth"],
        parameters=tables.options_text(parameters),
        judge_hash=judge_hash(parameters["dataset"]),
        **{name: facts[name] for name in ("n_weights", "threads", "device", "commit", "code_hash", "seconds")},
    )
    chosen = {
        name: {
            "cut": reading.cut,
            "platt": [reading.logistic.slope, reading.logistic.intercept],
            "seed_height_nm": reading.seed_height_nm,
        }
        for name, reading in readings.items()
    }
    write_whole(folder / "decoding.json", (json.dumps(chosen, indent=1) + "\n").encode())
    tables.write_table(curves, folder / "reliability.csv", tables.CURVE_COLUMNS)
    tables.write_table(found, folder / "rows.csv")  # the last: where it is of this judge, so are the others
    return found, curves


def collect(
    folders: Sequence[Path],
    processes: int | None = None,
    *,
    study: str = SINGLE,
    objectives: Sequence[str] | None = None,
) -> tuple[Any, Any]:
    """Rows and reliability curves of many runs; those that another version judged are judged again first.

    Parameters
    ----------
    folders : sequence of path
    processes : int, optional
        How many judge at once; as many as there are CPU cores that this process may use if None.
    study : str
        The rows' column ``study``.
    objectives : sequence of str, optional
        For each folder the rows' column ``objective``, where a study has names of its own for what it compares, such
        as two units of one distance; the registry's names by default.

    Returns
    -------
    rows, curves : pandas.DataFrame
        As :func:`helpers.tables.together` puts them.
    """
    stale = [folder for folder in folders if not _is_current(Path(folder))]
    if len(stale) > 1 and (processes := processes or len(os.sched_getaffinity(0))) > 1:
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        with ProcessPoolExecutor(min(processes, len(stale)), get_context("spawn")) as pool:
            list(pool.map(judge, stale))
    else:
        for folder in stale:
            judge(folder)

    def read(name: str, columns: Sequence[str]) -> list:
        read = [tables.read_table(Path(folder) / name, columns).assign(study=study) for folder in folders]
        if objectives is None:
            return read
        return [table.assign(objective=own) for table, own in zip(read, objectives, strict=True)]

    curves = read("reliability.csv", tables.CURVE_COLUMNS)
    return tables.together(read("rows.csv", tables.COLUMNS)), tables.together(curves, (*tables.KEY, "kind", "bin"))


def _is_current(folder: Path) -> bool:
    try:
        table = tables.read_table(folder / "rows.csv")
        tables.read_table(folder / "reliability.csv", tables.CURVE_COLUMNS)
    except (FileNotFoundError, ValueError):
        return False
    return len(table) > 0 and set(table["judge_hash"]) == {judge_hash(table["dataset"].iloc[0])}


def _arrays(path: Path, truth: Ground) -> tuple[list, list] | None:
    """Of a run's file, the arrays of the validation and of the judged images, in their order."""
    if not path.exists():
        return None
    roles = (("validation", truth.validation), (truth.subset, truth.judged))
    try:
        with np.load(path) as stored:
            return tuple([stored[f"{role}/{t.image.name}"] for t in truths] for role, truths in roles)
    except (KeyError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} does not hold what its run says ({error}); run the training again") from error


def write_arrays(path: Path, arrays: Mapping[str, Iterable], truth: Ground) -> None:
    """Write scores or distances as :func:`judge` reads them: role -> one array for each of its images, in order."""
    images = {"validation": truth.validation, truth.subset: truth.judged}
    named = {
        f"{role}/{t.image.name}": array
        for role, members in arrays.items()
        for t, array in zip(images[role], members, strict=True)
    }
    write_scores(path, named)
