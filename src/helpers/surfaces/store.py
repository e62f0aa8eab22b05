"""Surfaces of a run: planned, computed row by row, kept as Zarr, read again.

The store is filled aside, in ``NAME.partial``, and renamed when nothing is missing. Whoever starts the same plan again
goes on where it stopped; several jobs can fill one store (``part``). Its layout: ``steps`` (M moments) and ``path``
(``steps`` of all T checkpoints, ``values`` there, quantities x T), ``curvature`` (M x (eigenvalues, smallest,
gradient norm)), and for each plane ``values`` (M x quantities x rows x columns), ``x``, ``y``, ``centre``, ``path``
and ``explained`` as in :class:`helpers.surfaces.planes.Plane`. ``done`` beside ``values`` says which rows are there, so
that NaN can mean what it says: the network's output was not finite.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from helpers import datasets
from helpers.notebook import modules_hash
from helpers.surfaces import batches
from helpers.surfaces.work import Plan, Task, Work

FORMAT = 1
# What makes the numbers, beside what reads the run's data set. A store of another version of these is refused.
CODE = (
    *("augment", "checkpoints", "crops", "losses", "metrics", "models", "objectives", "postprocess", "targets"),
    *("surfaces/batches", "surfaces/curvature", "surfaces/planes", "surfaces/runs", "surfaces/work"),
)


@dataclass(frozen=True, eq=False)
class Surface:
    """One kind of plane, as stored; attributes as in :class:`helpers.surfaces.planes.Plane`, and
    ``values``, float64 of shape (M, quantities, n, n), rows along y and columns along x."""

    name: str
    x: np.ndarray
    y: np.ndarray
    centre: np.ndarray
    path: np.ndarray
    explained: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class Surfaces:
    """All surfaces of a run.

    Attributes
    ----------
    quantities : tuple of str
        The losses, then the metrics.
    better : dict
        Quantity -> "lower" or "higher".
    steps, path_steps : tuples of int
        The M moments, and all T checkpoints.
    path_values : float64 array, shape (quantities, T)
        At the checkpoints themselves. A checkpoint lies beside a plane, not on it, so these are not the plane's.
    eigenvalues : float64 array, shape (M, k)
        Largest of the Hessian of the run's own loss, descending.
    smallest, gradient_norm : float64 arrays, shape (M,)
    planes : dict
        Name -> Surface.
    about : dict
        The plan and what it was computed on.
    """

    quantities: tuple[str, ...]
    better: dict[str, str]
    steps: tuple[int, ...]
    path_steps: tuple[int, ...]
    path_values: np.ndarray
    eigenvalues: np.ndarray
    smallest: np.ndarray
    gradient_norm: np.ndarray
    planes: dict[str, Surface]
    about: dict[str, Any]


def compute(
    folder: str | Path,
    output: str | Path,
    plan: Plan | None = None,
    *,
    processes: int = 1,
    part: tuple[int, int] = (0, 1),
    log: Callable[[str], None] = print,
) -> Path | None:
    """Compute a run's surfaces; what was computed before is kept.

    Parameters
    ----------
    folder : path
        Of the run.
    output : path
        The Zarr store to make, such as ``surfaces.zarr``.
    plan : Plan, optional
    processes : int
        1 computes here, with torch's threads; more start processes of one thread each. A script that asks for more
        needs the usual ``if __name__ == "__main__":``.
    part : (k, n)
        Every n-th task from the k-th on: n jobs with k = 0, ..., n - 1 and one output fill one store together.

    Returns
    -------
    The store; None where other parts have yet to come.

    Raises
    ------
    FileExistsError
        The output, finished or not, is of another run, another plan or another version of the package (of the modules
        that make its numbers, `CODE` and the data set's; a store that does not say its version is of another).
    FileNotFoundError, ValueError
        As :func:`helpers.surfaces.load_run`, :func:`fixed_batch`, :func:`choose_losses` and the planes.
    """
    output, plan = Path(output), plan or Plan()
    k, n = part
    if not (0 <= k < n):
        raise ValueError(f"part is {part!r}; expected (k, n) with k from 0 to n - 1")
    if processes < 1:
        raise ValueError(f"processes is {processes!r}; expected a whole number of at least 1")
    work = Work(folder, plan)
    about = _about(work)
    if output.exists():
        _same_plan(output, about)
        log(f"{output} is there already, of the same run and plan")
        return output
    aside = _open_aside(output, work, about)
    mine = _missing(aside, work.tasks()[k::n])
    start, every = time.perf_counter(), max(1, len(mine) // 10)
    for number, (task, values) in enumerate(_computed(work, mine, processes), 1):
        _write(aside, task, values)
        if number % every == 0 or number == len(mine):
            log(f"{number}/{len(mine)} rows  ({time.perf_counter() - start:.0f} s)")
    if aside.exists() and (missing := _missing(aside, work.tasks())):
        log(f"{len(missing)} rows are still missing: the other parts have yet to come")
        return None
    try:
        os.rename(aside, output)
    except FileNotFoundError:
        if not output.exists():  # else another part was the last to finish, at the same time
            raise
    return output


def read(path: str | Path) -> Surfaces:
    """A finished store.

    Raises
    ------
    FileNotFoundError
        There is none, or it is not finished (the message says how many rows are missing).
    """
    import zarr

    path = Path(path)
    if not path.exists():
        if _aside(path).exists():
            raise FileNotFoundError(f"{path} is not finished; compute the same plan again, and it goes on from there")
        raise FileNotFoundError(f"no surfaces in {path}; make them with helpers.surfaces.compute")
    group = zarr.open_group(path, mode="r")
    about = dict(group.attrs)
    quantities = tuple(about["quantities"])
    measured = group["curvature"][:] if "curvature" in group else np.full((len(about["steps"]), 2), np.nan)
    return Surfaces(
        quantities=quantities,
        better={name: batches.METRICS.get(name, "lower") for name in quantities},
        steps=tuple(about["steps"]),
        path_steps=tuple(about["path_steps"]),
        path_values=group["path_values"][:],
        eigenvalues=measured[:, :-2],
        smallest=measured[:, -2],
        gradient_norm=measured[:, -1],
        planes={
            name: Surface(name, *(group[f"{name}/{array}"][:] for array in _ARRAYS), group[f"{name}/values"][:])
            for name in about["plan"]["planes"]
        },
        about=about,
    )


_ARRAYS = ("x", "y", "centre", "path", "explained")


def _about(work: Work) -> dict[str, Any]:
    """What decides the values, in JSON's types."""
    digest = hashlib.sha256()
    for weights in work.run.weights:
        digest.update(weights.numpy().tobytes())
    about = {
        "format": FORMAT,
        "code": modules_hash(CODE + datasets.code(work.run.dataset)),
        "plan": asdict(work.plan),
        "quantities": work.batch.quantities,
        "steps": [work.run.steps[m] for m in work.moments],
        "path_steps": work.run.steps,
        "objective": work.run.objective.name,
        "options": dict(work.run.objective.options),
        "dataset": work.run.dataset,
        "classes": work.run.classes,
        "weights": digest.hexdigest()[:16],
    }
    return json.loads(json.dumps(about))


def _same_plan(path: Path, about: dict[str, Any]) -> None:
    import zarr

    try:
        there = dict(zarr.open_group(path, mode="r").attrs)
    except (OSError, ValueError, KeyError) as error:
        raise FileExistsError(f"{path} exists and is no store of surfaces; choose another output") from error
    flat = [one | {f"plan.{k}": v for k, v in one.pop("plan", {}).items()} for one in (dict(there), dict(about))]
    differing = [
        f"{key}: {flat[0].get(key)!r} there, {flat[1].get(key)!r} now"
        for key in sorted(flat[0].keys() | flat[1].keys())
        if flat[0].get(key) != flat[1].get(key)
    ]
    if differing:
        raise FileExistsError(
            f"{path} holds other surfaces ({'; '.join(differing)}); choose another output, or delete it"
        )


def _aside(output: Path) -> Path:
    return output.with_name(f".{output.name}.partial")


def _open_aside(output: Path, work: Work, about: dict[str, Any]) -> Path:
    """The unfinished store; made whole under a name of its own first, because parts may start at the same time."""
    aside = _aside(output)
    if not aside.exists():
        output.parent.mkdir(parents=True, exist_ok=True)
        mine = aside.with_name(f"{aside.name}.{os.getpid()}")
        try:
            _create(mine, work, about)
            os.rename(mine, aside)
        except OSError:
            if not aside.exists():
                raise
        finally:
            shutil.rmtree(mine, ignore_errors=True)
    _same_plan(aside, about)
    return aside


def _create(path: Path, work: Work, about: dict[str, Any]) -> None:
    import zarr

    group = zarr.open_group(path, mode="w", attributes=about)
    group["path_values"] = work.along_the_path()
    moments, quantities, n = len(work.moments), len(work.batch.quantities), work.plan.resolution
    make = partial(group.create_array, fill_value=np.nan, dtype="float64")
    if work.plan.eigenvalues:
        columns = work.plan.eigenvalues + 2
        make("curvature", shape=(moments, columns), chunks=(1, columns))
        group.create_array("curvature_done", shape=(moments, 1), chunks=(1, 1), dtype="bool")
    for name, plane in work.planes.items():
        for array in _ARRAYS:
            group[f"{name}/{array}"] = getattr(plane, array)
        make(f"{name}/values", shape=(moments, quantities, n, n), chunks=(1, quantities, 1, n))
        group.create_array(f"{name}/done", shape=(moments, n), chunks=(1, 1), dtype="bool")


def _places(task: Task) -> tuple[str, str, tuple, tuple]:
    """Names of the arrays of values and of what is done, and where in them."""
    name, m, row = task
    if name == "curvature":
        return "curvature", "curvature_done", (m,), (m, 0)
    return f"{name}/values", f"{name}/done", (m, slice(None), row), (m, row)


def _write(path: Path, task: Task, values: np.ndarray) -> None:
    import zarr

    array, done, where, mark = _places(task)
    group = zarr.open_group(path, mode="r+")
    group[array][where] = values
    group[done][mark] = True  # after the values: a row is whole or to be done again


def _missing(path: Path, tasks: Sequence[Task]) -> list[Task]:
    import zarr

    group, marks, missing = zarr.open_group(path, mode="r"), {}, []
    for task in tasks:
        _, done, _, mark = _places(task)
        if done not in marks:
            marks[done] = group[done][:]
        if not marks[done][mark]:
            missing.append(task)
    return missing


def _computed(work: Work, tasks: Sequence[Task], processes: int) -> Iterable[tuple[Task, np.ndarray]]:
    if processes == 1 or len(tasks) < 2:
        for task in tasks:
            yield task, work.compute(task)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(processes, get_context("spawn"), _start, (work.run.folder, work.plan)) as pool:
        yield from zip(tasks, pool.map(_compute, tasks), strict=True)


_WORK: Work  # of a worker process


def _start(folder: Path, plan: Plan) -> None:
    global _WORK
    torch.set_num_threads(1)
    _WORK = Work(folder, plan)


def _compute(task: Task) -> np.ndarray:
    return _WORK.compute(task)
