"""The training loop: random crops of labelled images, one objective, one network, a history and checkpoints.

One network on one device. Many runs share a cluster through the workflow's engine, a device each; one run on several
devices is out of scope. Training imports torch, NumPy and SciPy alone.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from helpers import checkpoints
from helpers.devices import choose_device, choose_precision, seed_everything
from helpers.objectives import Objective
from helpers.schedules import Schedule
from helpers.steps import Diverged, Run
from helpers.termination import Interrupted, Termination

__all__ = [
    "Diverged",
    "Interrupted",
    "Run",
    "Schedule",
    "choose_device",
    "choose_precision",
    "seed_everything",
    "train",
]

COLLAPSED_AREAS = (0.05, 20.0)  # predicted area over the truth's beyond which a run has collapsed
_NOT_MONITORED = ("step", "loss", "unweighted", "seconds", "area_ratio", "collapsed")


def train(
    network: nn.Module,
    objective: Objective,
    images: Sequence,
    schedule: Schedule,
    *,
    seed: int = 0,
    device: str = "auto",
    augmentation: str = "flips",
    precision: str = "float32",
    compiled: bool = False,
    folder: Path | None = None,
    task: Mapping[str, Any] | None = None,
    keep_seconds: float = 30.0,
    keep_steps: int | None = None,
    lines: int = 10,
    monitor: Callable[[nn.Module], dict[str, float]] | None = None,
    log: Callable[[str], None] = print,
) -> list[dict[str, float]]:
    """Train the network in place; one printed line per interval.

    Parameters
    ----------
    network : nn.Module
        With attributes ``divisor`` and ``dims``; its output has ``objective.channels`` channels per class.
    objective : Objective
    images : sequence of helpers.datasets.Image
    schedule : Schedule
    seed : int
        Of the crops and augmentations.
    precision : str
        As :func:`choose_precision`; the network alone, loss and weights are float32.
    compiled : bool
        Compile the network first (torch.compile): minutes, for long runs on a GPU.
    folder : Path, optional
        Checkpoints go there: ``step-000600.pt`` at log-spaced steps (1, 2, 4, ... and the last), with the weights;
        ``resume.pt`` with everything, every ``keep_seconds`` of training (and every ``keep_steps`` steps, if given).
        A run that finds its ``resume.pt`` there goes on from it: with the same number of threads on the same machine,
        bit by bit to the result of a run that was never interrupted (the seconds aside).
    task : mapping, optional
        What the network is trained for, in JSON's types; goes into the checkpoints.
    lines : int
        Number of intervals.
    monitor : callable, optional
        Called with the network, in evaluation mode, at the end of each interval; what it returns joins the history.
        Its time is not counted. Its ``area_ratio`` (predicted area over the truth's) replaces that of the last batch.

    Returns
    -------
    One dictionary per interval: step, loss (mean over the interval), unweighted (share of the interval's batches
    without any weight), seconds (of training, so far), area_ratio (at the natural cut, of the interval's last batch
    and of the class farthest from 1; NaN where there is no cut or no truth), collapsed (1 where that is below 0.05 or
    above 20 or the output is constant, else 0), and what the monitor said.

    Raises
    ------
    Interrupted
        SIGTERM came (or, in a notebook, the process that runs it went away) and ``folder`` was given: after the step
        in progress the state was kept there.
    ValueError
        Parameters, images or a checkpoint that do not fit; :class:`Diverged`.
    MemoryError
        The batch does not fit.
    """
    run = Run(
        network,
        objective,
        images,
        schedule,
        seed=seed,
        device=device,
        augmentation=augmentation,
        precision=precision,
        compiled=compiled,
    )
    run.identity |= {"lines": lines}
    ends = {round(schedule.steps * (i + 1) / lines) for i in range(lines)} - {0} | {schedule.steps}
    saves = {2**k for k in range(schedule.steps.bit_length())} | {schedule.steps}
    kept = None
    if folder is not None:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / checkpoints.RESUME
        if kept.exists():
            other = run.restore(kept)
            log(f"goes on at step {run.step}" + (f", but not bit by bit ({other})" if other else ""))
            for entry in run.history:
                log(_line(entry, schedule.steps))
    start = last_kept = time.perf_counter()
    with Termination(active=kept is not None) as termination:
        while run.step < schedule.steps:
            run.advance()
            now = time.perf_counter()
            keeping = kept is not None and (
                termination.requested
                or now - last_kept >= keep_seconds
                or (keep_steps is not None and run.step % keep_steps == 0)
                or run.step == schedule.steps
            )
            if keeping or run.step in ends or run.step in saves:
                run.seconds += now - start
                if run.step in ends:
                    run.history.append(_entry(run, monitor))
                    log(_line(run.history[-1], schedule.steps))
                if folder is not None and run.step in saves:
                    whole = checkpoints.of_network(network, run.step, task)
                    checkpoints.save(folder / f"step-{run.step:06d}.pt", whole)
                if keeping:
                    checkpoints.save(kept, checkpoints.of_network(network, run.step, task) | run.state())
                    last_kept = time.perf_counter()
                    if termination.requested and run.step < schedule.steps:
                        break
                start = time.perf_counter()
    if termination.requested:
        raise Interrupted(
            f"training was told to end ({termination.reason}) at step {run.step} of {schedule.steps}; its state is in "
            f"{kept}: start the same run again and it goes on from there"
        )
    network.eval()
    return run.history


def _entry(run: Run, monitor: Callable[[nn.Module], dict[str, float]] | None) -> dict[str, float]:
    entry = run.close_interval()
    if monitor is not None:
        run.network.eval()
        entry |= {name: float(value) for name, value in monitor(run.network).items()}
        run.network.train()
    if _shrunk_or_grown(entry):
        entry["collapsed"] = 1.0
    return entry


def _shrunk_or_grown(entry: Mapping[str, float]) -> bool:
    low, high = COLLAPSED_AREAS
    return entry["area_ratio"] < low or entry["area_ratio"] > high  # never where it is NaN


def _line(entry: dict[str, float], steps: int) -> str:
    extra = "".join(f"  {key} {value:.3f}" for key, value in entry.items() if key not in _NOT_MONITORED)
    if entry["unweighted"]:
        extra += f"  batches without labels {entry['unweighted']:.0%}"
    if entry["collapsed"]:
        area = f"predicted area {entry['area_ratio']:.2g} of the truth's"
        extra += f"  COLLAPSED: {area if _shrunk_or_grown(entry) else 'output constant'}"
    return f"step {entry['step']:>5}/{steps}  loss {entry['loss']:.4f}{extra}  ({entry['seconds']:.1f} s)"
