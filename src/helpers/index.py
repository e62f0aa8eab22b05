"""The runs of a part of a study, named by an index with the condition of each; and the rows of whole parts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers import tables

COLUMNS = ("run", "objective")
RECORDS = ("parameters", "run")  # the files that tell a finished run's folder


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes
    ----------
    name : str
        Of its folder.
    objective : str
        The study's own name for its condition.
    folder : path
    parameters, facts : mapping
        Its parameters.json and run.json, as ``notebooks/train.ipynb`` writes them.
    """

    name: str
    objective: str
    folder: Path
    parameters: Mapping[str, Any]
    facts: Mapping[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        """Of its network, in the order of its scores."""
        return tuple(name.strip() for name in self.parameters["classes"].split(","))

    @property
    def seed(self) -> int:
        return self.parameters["seed"]


def read_index(index: str | Path, runs: str | Path) -> tuple[list[Run], list[str]]:
    """The finished runs of an index, and in words what it names beyond them.

    Parameters
    ----------
    index : path
        CSV with the columns ``run`` (name of a folder) and ``objective``.
    runs : path
        Folder that holds the runs' folders.

    Returns
    -------
    runs : list of Run
        In the order of the index.
    missing : list of str
        One entry for each run that is not finished.

    Raises
    ------
    FileNotFoundError
        No index there.
    ValueError
        An index without those columns, or that names a run twice; no finished run; runs of different versions of the
        code, data, classes, resolution or subset, which must not be mixed.
    """
    import pandas as pd

    index, runs = Path(index), Path(runs)
    if not index.is_file():
        raise FileNotFoundError(f"no index {index}; expected a CSV with the columns {', '.join(COLUMNS)}")
    table = pd.read_csv(index, dtype=str, keep_default_na=False)
    if lacking := [column for column in COLUMNS if column not in table]:
        raise ValueError(f"{index} lacks the column {lacking[0]}; expected {', '.join(COLUMNS)}")
    if table["run"].duplicated().any():
        raise ValueError(
            f"{index} names the run {table['run'][table['run'].duplicated()].iloc[0]} twice; expected once"
        )
    found, missing = [], []
    for name, objective in table[list(COLUMNS)].itertuples(index=False):
        lacking = [record for record in RECORDS if not (runs / name / f"{record}.json").is_file()]
        if lacking:
            missing.append(f"run {name} of {objective}: no {lacking[0]}.json in {runs / name}")
        else:
            records = [json.loads((runs / name / f"{record}.json").read_text()) for record in RECORDS]
            found.append(Run(name, objective, runs / name, *records))
    if not found:
        raise ValueError(f"no run of {index} is finished in {runs}; run the study first")
    _check_alike(found, index)
    return found, missing


def read_parts(results: str | Path, parts: Sequence[str]):
    """The rows of several parts of a study, and in words which parts have none.

    Parameters
    ----------
    results : path
        The study's folder, with a table ``PART/analysis/rows.csv`` of each part.
    parts : sequence of str

    Returns
    -------
    rows : dict of DataFrame
        By part, in the order given, as :func:`helpers.tables.read_table` reads them.
    missing : list of str
    """
    paths = {part: Path(results) / part / "analysis" / "rows.csv" for part in parts}
    rows = {part: tables.read_table(path) for part, path in paths.items() if path.is_file()}
    return rows, [f"part {part}: no {path}" for part, path in paths.items() if part not in rows]


def _check_alike(runs: list[Run], index: Path) -> None:
    for name in ("dataset", "classes", "reduce", "test"):
        values = {run.parameters[name]: run.name for run in runs}
        if len(values) > 1:
            (one, first), (other, second) = list(values.items())[:2]
            raise ValueError(
                f"{index} mixes runs of {name} {one!r} ({first}) and {other!r} ({second}); expected one of them"
            )
    versions = {run.facts["code_hash"]: run.name for run in runs}
    if len(versions) > 1:
        named = ", ".join(f"{version} ({name})" for version, name in versions.items())
        raise ValueError(f"{index} mixes runs of {len(versions)} code versions: {named}; run the stale ones again")
