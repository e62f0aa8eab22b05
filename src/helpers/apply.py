"""Apply a trained network to a Zarr volume of any size: ``python -m helpers.apply RUN IN.zarr OUT.zarr``.

Stages, each block by block and each resumed where it was left: *predict* writes scores and masks; *label* cuts the
masks of each block and what surrounds it into instances; *link* finds which of these are the same object; *relabel*
writes their ids. Several jobs share predict and label (``--job 3/16``, then ``--job 3/16 --step label``); the last
step, ``--finish``, does what is left of labelling and the rest.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from helpers import planning
from helpers.application import Application

Label = Callable[[np.ndarray, np.ndarray | None, tuple[float, ...]], np.ndarray]


def apply_run(
    run: str | Path,
    source: str | Path,
    output: str | Path,
    *,
    job: tuple[int, int] = (1, 1),
    step: str = "all",
    workers: int = 0,
    threads: int = 0,
    device: str = "auto",
    label: Label | None = None,
    log: Callable[[str], None] = print,
    **options: Any,
) -> Path:
    """Apply a run's network to a volume; a second call with the same settings goes on where the first was stopped.

    Parameters
    ----------
    run : path
        A finished run's folder, with ``checkpoints`` and ``decoding.json``.
    source, output : path
        A Zarr image or array, and the store to write: OME-NGFF 0.5, with ``scores/<class>``, ``masks/<class>`` and
        ``instances/<class>``.
    job : (int, int)
        Which part of how many; predict and label alone.
    step : str
        "all", "predict", "label", or "finish" (all that is not done but predict).
    workers : int
        Blocks at once, in threads; 0: two for 2-D networks and one for 3-D ones. Memory grows with it.
    threads : int
        CPU threads in all; 0: as torch is set.
    device : str
        "auto", "cpu", "cuda" or "cuda:N".
    label : callable, optional
        (foreground, distance or None, spacing) -> integer labels, instead of :mod:`helpers.instances`; both in nm, or
        in pixels where the run was trained on images without a pixel size.
    options
        As in :func:`helpers.planning.make_plan`: ``spacing``, ``reduce``, ``cut``, ``scores``, ``instances``, ...

    Returns
    -------
    The output store.

    Raises
    ------
    ValueError
        Something of the run, the volume or the options does not fit the rest; the message names it.
    FileExistsError
        The output is something else, or was begun with other settings, each of which is named.
    OSError
        The disk is full, say: what was finished is kept, and the same command goes on.
    """
    if step not in ("all", "predict", "label", "finish"):
        raise ValueError(f"step is {step!r}; expected all, predict, label or finish")
    if job[1] > 1 and step in ("all", "finish"):
        raise ValueError(f"job {job[0]}/{job[1]} with step {step}: jobs share predict and label alone")
    if not 1 <= job[0] <= job[1]:
        n = max(job[1], 1)
        raise ValueError(f"job is {job[0]}/{job[1]}; expected 1/{n} to {n}/{n}")
    for name, count, means in (
        ("workers", workers, "the network's own number"),
        ("threads", threads, "as torch is set"),
    ):
        if count < 0:
            raise ValueError(f"{name} is {count!r}; expected 1 or more, or 0: {means}")
    plan = planning.make_plan(run, source, output, device=device, label=label, log=log, **options)
    workers = workers or (2 if plan.network.dims == 2 else 1)
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, (threads or before) // workers))
    try:
        application = Application(plan, Path(output), log)
        if application.complete:
            log(f"{output} is complete: nothing to do")
        else:
            application.advance(step, job, workers)
    finally:
        torch.set_num_threads(before)
    return Path(output)


# --- the command


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m helpers.apply RUN IN.zarr OUT.zarr``; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.apply", description="Apply a trained network to a Zarr volume, block by block."
    )
    parser.add_argument("run", help="a finished run's folder")
    parser.add_argument("source", metavar="IN.zarr", help="OME-Zarr image (or an image inside a store), or Zarr array")
    parser.add_argument("output", metavar="OUT.zarr", help="OME-Zarr store to write, or to go on with")
    add = parser.add_argument
    add("--checkpoint", help="another checkpoint than the run's last")
    add("--spacing", type=_numbers, help="nm per voxel as stored, such as 18.4,18.4; where the metadata lack it")
    add(
        "--any-spacing",
        action="store_true",
        help="allow a spacing more than a factor 2 from the training's, or a run trained in pixels (heights too)",
    )
    add("--reduce", type=_whole, default=1, help="average N x N pixels in-plane first")
    add("--level", type=_whole, default=0, help="resolution of a multi-scale image")
    add("--white", type=_number, help="grey value that counts as 1, such as 4095; default: the largest of the type")
    add("--cut", type=_cut, default="tuned", help="tuned, natural, or a number (or one for each class: 0.4,0.5)")
    add(
        "--seed-height",
        type=_number,
        help="of instances, in nm (of a run trained in pixels: in pixels); inf: connected components",
    )
    add("--scores", default="float32", choices=("float32", "uint8", "none"), help="how scores are written")
    add("--instances", choices=("volume", "sections", "none"), help="default: sections of 2-D networks, else volume")
    add("--boundaries", type=lambda text: text.split(","), help="classes whose instances are what they leave")
    add("--overlap", type=_whole, help="voxels around a block in which its instances are cut")
    add("--block", type=_sizes, help="size of a block, such as 96,96,96")
    add("--memory", type=_number, default=600, help="MB that the network's layers may take, about")
    add("--workers", type=_whole, default=0, help="blocks at once; 0: two of 2-D networks, one of 3-D ones")
    add("--threads", type=_whole, default=0, help="CPU threads in all; 0: torch's default")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--job", type=_job, default=(1, 1), metavar="K/N", help="part K of N, of predict or label")
    add("--step", choices=("all", "predict", "label"), help="default: all; with --job, predict")
    add("--finish", action="store_true", help="the last step, when all jobs are done")
    given = vars(parser.parse_args(arguments))
    finish, step = given.pop("finish"), given.pop("step")
    if finish and (step or given["job"] != (1, 1)):
        parser.error("--finish is a step of its own: it takes neither --step nor --job")
    step = "finish" if finish else step or ("predict" if given["job"][1] > 1 else "all")
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        apply_run(step=step, **given)
    except (ValueError, OSError) as error:
        print(f"helpers.apply: {error}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _stop(number: int, frame: Any) -> None:
    """Blocks in flight are finished and recorded, then the process ends with the status of its signal."""
    raise SystemExit(128 + number)


def read_cut(text: str) -> str | tuple[float, ...]:
    """A cut as it is typed: tuned, natural, or numbers with commas between.

    Raises
    ------
    ValueError
        Neither of these.
    """
    try:
        return text if text in ("tuned", "natural") else tuple(map(float, text.split(",")))
    except ValueError:
        raise ValueError(f"cut is {text!r}; expected tuned, natural, or numbers such as 0.5 or 0.4,0.6") from None


def _typed(read: Callable[[str], Any], expected: str) -> Callable[[str], Any]:
    """What argparse reads an option with: its errors say what was expected."""

    def typed(text: str) -> Any:
        try:
            return read(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is given; expected {expected}") from None

    return typed


def _several(read: Callable[[str], Any]) -> Callable[[str], tuple]:
    return lambda text: tuple(map(read, text.split(",")))


def _part(text: str) -> tuple[int, int]:
    job, _, jobs = text.partition("/")
    return int(job), int(jobs)


_number = _typed(float, "a number")
_numbers = _typed(_several(float), "numbers with commas between, such as 18.4,18.4")
_whole = _typed(int, "a whole number")
_sizes = _typed(_several(int), "whole numbers with commas between, such as 96,96,96")
_cut = _typed(read_cut, "tuned, natural, or numbers such as 0.5 or 0.4,0.6")
_job = _typed(_part, "a part of how many, such as 3/16")


if __name__ == "__main__":
    sys.exit(main())
