"""Confidence through the training of a study's runs: the runs of an index, each tabulated once.

An index is a CSV with the columns ``run``, the name of a run's folder, and ``objective``, the study's own name for what
it was trained with (``focal_5``, say), which is the objective's name in every table made here.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from helpers import tables
from helpers.files import write_whole
from helpers.notebook import modules_hash
from helpers.surfaces.confidence import through_training
from helpers.surfaces.runs import PATTERN

# What makes the numbers of a table. With a change in any of these it is computed again.
CODE = (
    *("calibration", "checkpoints", "datasets", "inference", "metrics", "models", "objectives", "phantom"),
    *("phantom_shapes", "postprocess", "surfaces/batches", "surfaces/confidence", "surfaces/runs", "tables"),
)
# What all runs of a comparison have in common, and what alone the runs of one objective may differ in.
_COMMON = ("dataset", "classes", "reduce", "network", "width", "depth", "blocks", "norm", "steps", "batch", "patch")
_FREE = {"seed", "split", "study", "test", "device", "threads", "output", "code"}


@dataclass(frozen=True)
class Member:
    """A finished run of a study.

    Attributes
    ----------
    run, objective : str
        As the index has them.
    folder : Path
    parameters, facts : dict
        Of its ``parameters.json`` and ``run.json``.
    """

    run: str
    objective: str
    folder: Path
    parameters: Mapping[str, Any]
    facts: Mapping[str, Any]

    @property
    def unit(self) -> tuple[int, int]:
        """Split and seed."""
        return self.parameters["split"], self.parameters["seed"]


def read_index(index: str | Path, runs: str | Path) -> tuple[list[Member], list[str]]:
    """The finished runs of an index, in its order, and in words what is missing: runs, checkpoints, seeds.

    Parameters
    ----------
    index : path
        CSV with the columns ``run`` and ``objective``.
    runs : path
        Folder of the runs' folders.

    Raises
    ------
    FileNotFoundError
        No such index.
    ValueError
        An index without these columns; one that names a run twice, no folder's name, or no run that is finished;
        runs of unlike data, networks or lengths, or one objective whose runs differ in more than seed and split (what
        differs is named); two runs of one objective, split and seed; runs of different versions of the code.
    """
    import pandas as pd

    index, runs = Path(index), Path(runs)
    if not index.is_file():
        raise FileNotFoundError(f"no index {index}; expected a CSV with the columns run and objective, as a study has")
    table = pd.read_csv(index, dtype=str, keep_default_na=False)
    if lacking := [column for column in ("run", "objective") if column not in table]:
        raise ValueError(f"{index} lacks the columns {', '.join(lacking)}; it has {', '.join(table)}")
    if len(twice := table.loc[table["run"].duplicated(), "run"]):
        raise ValueError(f"{index} names run {twice.iloc[0]} twice; expected each once")
    if odd := [run for run in table["run"] if Path(run).name != run]:
        raise ValueError(f"{index} names run {odd[0]!r}; expected the name of a folder in {runs}")
    members, missing = [], []
    for run, objective in zip(table["run"], table["objective"], strict=True):
        folder = runs / run
        records = [folder / name for name in ("parameters.json", "run.json")]
        if not all(record.is_file() for record in records):
            missing.append(f"run {run} ({objective})")
        elif not any((folder / "checkpoints").glob(PATTERN)):
            missing.append(f"checkpoints of run {run} ({objective})")
        else:
            members.append(Member(run, objective, folder, *(json.loads(record.read_text()) for record in records)))
    if not members:
        raise ValueError(f"none of the {len(table)} runs of {index} is finished in {runs}; run the study first")
    _check_alike(members)
    units = list(dict.fromkeys(member.unit for member in members))
    for objective in dict.fromkeys(table["objective"]):
        there = {member.unit for member in members if member.objective == objective}
        missing += [f"{objective}, split {s}, seed {n}" for s, n in units if (s, n) not in there]
    return members, missing


def tabulate(
    members: Sequence[Member],
    *,
    subset: str = "validation",
    processes: int | None = None,
    log: Callable[[str], None] = print,
):
    """:func:`through_training` of many runs.

    Parameters
    ----------
    members : sequence of Member
        Each keeps its table in its folder, as ``confidence_SUBSET.csv``: what is there, of the same checkpoints and
        code, is not computed again.
    subset : str
    processes : int, optional
        How many compute at once, with a thread each; as many as there are CPU cores if None. 1 computes here.
    log : callable
        Gets a line for about each tenth of what is computed.

    Returns
    -------
    pandas.DataFrame with the columns of :func:`through_training` and ``run``; ``objective`` is the index's, and
    ``loss`` the registry's.
    """
    import pandas as pd

    kept = {member.run: member.folder / f"confidence_{subset}.csv" for member in members}
    made_by = {member.run: _made_by(member) for member in members}
    found = {run: _kept(path, made_by[run]) for run, path in kept.items()}
    stale = [member for member in members if found[member.run] is None]
    log(f"{len(members) - len(stale)} of {len(members)} runs were tabulated before")
    start, every = time.perf_counter(), max(1, len(stale) // 10)
    for number, (member, table) in enumerate(_computed(stale, subset, processes or len(os.sched_getaffinity(0))), 1):
        table = table.assign(made_by=made_by[member.run])
        write_whole(kept[member.run], table.to_csv(index=False).encode())
        found[member.run] = _kept(kept[member.run], made_by[member.run])
        if number % every == 0 or number == len(stale):
            log(f"{number}/{len(stale)} runs  ({time.perf_counter() - start:.1f} s)")
    parts = [
        found[m.run].assign(run=m.run, loss=found[m.run]["objective"], objective=m.objective).drop(columns="made_by")
        for m in members
    ]
    return pd.concat(parts, ignore_index=True)


def _check_alike(members: Sequence[Member]) -> None:
    def differing(a: Member, b: Member, names: Iterable[str]) -> list[str]:
        both = [(name, a.parameters.get(name), b.parameters.get(name)) for name in names]
        return [f"{name}: {one!r} in {a.run}, {other!r} in {b.run}" for name, one, other in both if one != other]

    first, of_objective, of_unit = members[0], {}, {}
    for member in members:
        if found := differing(first, member, _COMMON):
            raise ValueError(f"runs that differ in more than their objective ({'; '.join(found)}): compare them apart")
        like = of_objective.setdefault(member.objective, member)
        if found := differing(like, member, sorted((like.parameters.keys() | member.parameters.keys()) - _FREE)):
            raise ValueError(f"runs of {member.objective} are not of one objective ({'; '.join(found)})")
        other = of_unit.setdefault((member.objective, *member.unit), member)
        if other is not member:
            split, seed = member.unit
            raise ValueError(f"{other.run} and {member.run} are both of {member.objective}, split {split}, seed {seed}")
    versions = sorted({str(member.facts["code_hash"]) for member in members})
    if len(versions) > 1:
        raise ValueError(f"runs of {len(versions)} code versions ({', '.join(versions)}); run the stale ones again")


def _made_by(member: Member) -> str:
    digest = hashlib.sha256(f"{modules_hash(CODE)} {member.parameters['split']}".encode())
    for path in sorted((member.folder / "checkpoints").glob(PATTERN)):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _kept(path: Path, made_by: str):
    """A run's table; None where there is none of this making."""
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype={"made_by": str})
    except (FileNotFoundError, pd.errors.EmptyDataError, pd.errors.ParserError):
        return None
    return table if "made_by" in table and set(table["made_by"]) == {made_by} else None


def _computed(members: Sequence[Member], subset: str, processes: int):
    if processes == 1 or len(members) < 2:
        for member in members:
            yield member, through_training(member.folder, subset=subset)
        return
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from multiprocessing import get_context

    with ProcessPoolExecutor(min(processes, len(members)), get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        jobs = {pool.submit(through_training, member.folder, subset=subset): member for member in members}
        for job in as_completed(jobs):
            yield jobs[job], job.result()


def rows_of(members: Sequence[Member], study: str) -> tuple[Any, list[str]]:
    """Rows of the runs, judged again where another version judged them, with the index's names for the objectives.

    Returns
    -------
    rows : pandas.DataFrame
        As :mod:`helpers.tables` describes them; empty where no run has scores.
    missing : list of str
    """
    import pandas as pd

    from helpers.runs import collect

    scored = [member for member in members if (member.folder / "scores.npz").is_file()]
    missing = [f"scores of run {member.run} ({member.objective})" for member in members if member not in scored]
    if not scored:
        return pd.DataFrame(columns=list(tables.COLUMNS)), missing
    named = [member.objective for member in scored]
    return collect([member.folder for member in scored], study=study, objectives=named)[0], missing
