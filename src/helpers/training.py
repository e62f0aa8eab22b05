"""The training loop: random crops of labelled images, one objective, one network, a history and checkpoints."""

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from helpers.augment import AFFINE_REACH, Batch, augment
from helpers.crops import Crops
from helpers.objectives import Objective


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: ``steps`` batches of ``batch`` square crops of ``patch`` voxels, one-cycle learning rate.

    ``learning_rate`` is the cycle's maximum.
    """

    steps: int = 600
    batch: int = 4
    patch: int = 128
    learning_rate: float = 3e-3

    def __post_init__(self):
        for name in ("steps", "batch", "patch"):
            value = getattr(self, name)
            if not (isinstance(value, int) and value >= 1):
                raise ValueError(f"{name} is {value!r}; expected a whole number of at least 1")
        if not 0 < self.learning_rate < np.inf:
            raise ValueError(f"learning_rate is {self.learning_rate!r}; expected a positive number such as 3e-3")


def choose_device(name: str = "auto") -> torch.device:
    """ "auto" is CUDA where there is one, else the CPU; any other name is taken as it is, or refused."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device is {name!r}; expected auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {name!r}, but torch sees no CUDA device here; use auto or cpu")
    return device


def seed_everything(seed: int, threads: int) -> None:
    """One seed for every generator and a fixed number of CPU threads: sums come out in the same order each time."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed is {seed!r}; expected a whole number from 0 to {2**32 - 1}")
    if threads < 1:
        raise ValueError(f"threads is {threads!r}; expected a whole number of at least 1")
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - for libraries that draw from NumPy's global generator
    torch.set_num_threads(threads)


def train(
    network: nn.Module,
    objective: Objective,
    images: Sequence,
    schedule: Schedule,
    *,
    seed: int = 0,
    device: str = "auto",
    augmentation: str = "flips",
    folder: Path | None = None,
    lines: int = 10,
    monitor: Callable[[nn.Module], dict[str, float]] | None = None,
    log: Callable[[str], None] = print,
) -> list[dict[str, float]]:
    """Train the network in place; one printed line per interval.

    Parameters
    ----------
    network : nn.Module
        With attribute ``divisor``; its output has ``objective.channels`` channels per class.
    objective : Objective
    images : sequence of helpers.datasets.Image
    schedule : Schedule
    seed : int
        Of the crops and augmentations.
    folder : Path, optional
        Checkpoints ``step-000600.pt`` go there at log-spaced steps (1, 2, 4, ... and the last), each with the
        network's weights and the step.
    lines : int
        Number of intervals.
    monitor : callable, optional
        Called with the network, in evaluation mode, at the end of each interval; what it returns joins the history.
        Its time is not counted.

    Returns
    -------
    One dictionary per interval: step, loss (mean over the interval), unweighted (share of the interval's batches
    without any weight), seconds (of training, so far), and what the monitor said.
    """
    if schedule.patch % network.divisor:
        raise ValueError(
            f"patch is {schedule.patch}; this network halves it {network.depth} times and needs a multiple of "
            f"{network.divisor}"
        )
    device = choose_device(device)
    spacing = _common_spacing(images)
    if augmentation != "none" and spacing[-1] != spacing[-2]:
        raise ValueError(f"spacing is {spacing}; turning needs pixels that are square in-plane (augmentation none)")
    margin = objective.halo(spacing)
    whole = margin is None  # the target looks across the whole image: encode each once, and crop the target
    if whole and augmentation == "affine":
        raise ValueError(f'augmentation is "affine"; {objective.name} needs whole images: use "flips" or "none"')

    def encode(batch: Batch) -> tuple[Tensor, Tensor]:
        return objective.encode(batch.masks, batch.annotated, batch.known, spacing)

    if whole:
        margin = (0,) * len(spacing)
    elif augmentation == "affine":  # what a rotated and shrunk crop shows comes from further out, for every objective
        margin = tuple(m + math.ceil(AFFINE_REACH * schedule.patch) for m in margin)
    crops = Crops(images, schedule.patch, margin, encode if whole else None)
    generator = torch.Generator().manual_seed(seed)
    network.to(device, memory_format=torch.channels_last if network.dims == 2 else torch.contiguous_format).train()
    optimizer = torch.optim.AdamW(network.parameters(), schedule.learning_rate)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, schedule.learning_rate, total_steps=schedule.steps)
    ends = {round(schedule.steps * (i + 1) / lines) for i in range(lines)} - {0} | {schedule.steps}
    saves = {2**k for k in range(schedule.steps.bit_length())} | {schedule.steps}
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    history, interval, seconds, start = [], [], 0.0, time.perf_counter()

    for step in range(1, schedule.steps + 1):
        batch = crops.draw(schedule.batch, generator)
        batch = augment(type(batch)(*(tensor.to(device) for tensor in batch)), augmentation, generator)
        encoded = (batch.target, batch.weight) if whole else encode(batch)
        target, weight = map(crops.cut, encoded)
        output = network(crops.cut(batch.raw))
        loss = objective.compare(output, target, weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        cycle.step()
        interval.append((loss.detach(), weight.any()))

        if step in ends or step in saves:
            seconds += time.perf_counter() - start
            if step in saves and folder is not None:
                save_checkpoint(folder / f"step-{step:06d}.pt", network, step)
            if step in ends:
                loss, weighted = (torch.stack(column).float() for column in zip(*interval, strict=True))
                entry = {"step": step, "loss": float(loss.mean()), "unweighted": 1 - float(weighted.mean())}
                entry["seconds"] = seconds
                if monitor is not None:
                    network.eval()
                    entry |= monitor(network)
                    network.train()
                history.append(entry)
                interval = []
                log(_line(entry, schedule.steps))
            start = time.perf_counter()
    network.eval()
    return history


def save_checkpoint(path: Path, network: nn.Module, step: int) -> None:
    """Written aside, then renamed: a checkpoint is whole or not there."""
    aside = path.with_suffix(".partial")
    torch.save({"step": step, "network": network.state_dict()}, aside)
    os.replace(aside, path)


def load_checkpoint(path: Path, network: nn.Module) -> int:
    """Load a checkpoint's weights into the network; returns its step."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict(state["network"])
    return state["step"]


def _common_spacing(images: Sequence) -> tuple[float, ...]:
    if not images:
        raise ValueError("no image to train on: the training split is empty")
    spacings = {tuple(image.spacing) for image in images}
    if len(spacings) > 1:
        raise ValueError(f"images of different spacings {sorted(spacings)}; expected one, in nm")
    return spacings.pop()


def _line(entry: dict[str, float], steps: int) -> str:
    extra = "".join(
        f"  {key} {value:.3f}" for key, value in entry.items() if key not in ("step", "loss", "unweighted", "seconds")
    )
    if entry["unweighted"]:
        extra += f"  batches without labels {entry['unweighted']:.0%}"
    return f"step {entry['step']:>5}/{steps}  loss {entry['loss']:.4f}{extra}  ({entry['seconds']:.1f} s)"
