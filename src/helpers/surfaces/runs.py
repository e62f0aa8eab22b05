"""A finished run and its checkpoints: the network, its weights at every saved step, and the data it was trained on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from helpers import checkpoints, datasets, models, objectives
from helpers.objectives import Objective

PATTERN = "step-*.pt"
TASK = ("objective", "options", "classes", "dataset", "reduce")  # what a run cannot be read without


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run.

    Attributes
    ----------
    folder : Path
    parameters : dict
        Of its ``parameters.json``; empty where there is none.
    model : dict
        What built the network.
    objective : Objective
        With the run's options.
    classes : tuple of str
    dataset : str
    reduce, split : int
    network : nn.Module
        On the CPU, in evaluation mode; it holds whatever :meth:`at` put there last.
    steps : tuple of int
        Of the checkpoints, ascending.
    weights : tuple of float32 tensors, each of shape (P,)
        All trainable parameters in the network's order, one vector for each step.
    buffers : tuple of dict
        What is not trained (the running statistics of a normalisation), for each step.
    """

    folder: Path
    parameters: Mapping[str, Any]
    model: Mapping[str, Any]
    objective: Objective
    classes: tuple[str, ...]
    dataset: str
    reduce: int
    split: int
    network: nn.Module
    steps: tuple[int, ...]
    weights: tuple[Tensor, ...]
    buffers: tuple[Mapping[str, Tensor], ...]

    def index(self, step: int) -> int:
        """Position of a step among the checkpoints; ValueError, with those there are, if it is none of them."""
        if step not in self.steps:
            raise ValueError(f"step {step} has no checkpoint in {self.folder}; there are {_listed(self.steps)}")
        return self.steps.index(step)

    def at(self, step: int) -> nn.Module:
        """The network as it was at a step, in evaluation mode."""
        index = self.index(step)
        set_weights(self.network, self.weights[index])
        set_buffers(self.network, self.buffers[index])
        return self.network.eval()

    def finite(self, step: int) -> bool:
        """Are all weights and statistics of this step finite?"""
        index = self.index(step)
        values = [self.weights[index], *self.buffers[index].values()]
        return all(bool(torch.isfinite(v).all()) for v in values if v.is_floating_point())

    @cached_property
    def data(self) -> datasets.Dataset:
        """Training and validation images; the test block stays closed."""
        return datasets.load(self.dataset, self.classes, reduce=self.reduce, split=self.split)


def load_run(folder: str | Path) -> Run:
    """Read a run's folder: ``parameters.json`` and ``checkpoints/step-NNNNNN.pt``.

    Raises
    ------
    FileNotFoundError
        No such folder, or no checkpoint in it; the message says how to make them.
    ValueError
        A file that is no checkpoint; checkpoints of differing networks or tasks.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; expected that of a finished run, such as runs/NAME")
    paths = sorted((folder / "checkpoints").glob(PATTERN))
    if not paths:
        raise FileNotFoundError(
            f"no checkpoint {PATTERN} in {folder / 'checkpoints'}: run notebooks/train.ipynb, which saves one at each "
            "power of two of the steps and at the last, or give training.train a folder"
        )
    record = folder / "parameters.json"
    parameters = json.loads(record.read_text()) if record.is_file() else {}
    found = sorted(map(read_checkpoint, paths), key=lambda one: one["step"])
    first = found[0]
    network = models.build(**first["model"])
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    for one in found:
        for part in ("model", "task"):
            if one[part] != first[part]:
                raise ValueError(
                    f"the checkpoints of {folder} are of differing runs: {part} of step {one['step']} is {one[part]}, "
                    f"and of step {first['step']} {first[part]}; give each run a folder of its own"
                )
        there = {name: tuple(tensor.shape) for name, tensor in one["network"].items()}
        if there != shapes:
            name = next(n for n in sorted(there.keys() | shapes.keys()) if there.get(n) != shapes.get(n))
            raise ValueError(
                f"the checkpoints of {folder} are of differing networks: {name} has shape {there.get(name)} at step "
                f"{one['step']}, expected {shapes.get(name)}; give each run a folder of its own"
            )
    trained = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    task = first["task"]
    return Run(
        folder=folder,
        parameters=parameters,
        model=first["model"],
        objective=objectives.get(task["objective"], **task["options"]),
        classes=tuple(task["classes"]),
        dataset=task["dataset"],
        reduce=task["reduce"],
        split=parameters.get("split", 0),
        network=network.eval(),
        steps=tuple(one["step"] for one in found),
        weights=tuple(torch.cat([one["network"][name].float().flatten() for name in trained]) for one in found),
        buffers=tuple({n: t for n, t in one["network"].items() if n not in trained} for one in found),
    )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of a network that :func:`helpers.models.build` knows, with a task that says what it was trained on.

    Raises
    ------
    ValueError
        As :func:`helpers.checkpoints.load`; a network of one's own; a task that lacks something.
    """
    found = checkpoints.load(path)
    if found["model"] is None:
        raise ValueError(f"{path} is of a network that models.build does not know; planes need one that it builds")
    missing = [key for key in TASK if key not in found["task"]]
    if missing:
        raise ValueError(
            f"{path} does not say its {', '.join(missing)}; train it with notebooks/train.ipynb, or give "
            f"training.train a task with {', '.join(TASK)}"
        )
    return found


def set_weights(network: nn.Module, vector: Tensor) -> None:
    """Copy a vector of all trainable parameters, in the network's order, into it."""
    start = 0
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.copy_(vector[start : start + parameter.numel()].view_as(parameter))
                start += parameter.numel()
    if start != vector.numel():
        raise ValueError(f"{vector.numel()} weights for a network of {start}")


def set_buffers(network: nn.Module, buffers: Mapping[str, Tensor]) -> None:
    """Copy what is not trained into the network."""
    own = network.state_dict()
    with torch.no_grad():
        for name, tensor in buffers.items():
            own[name].copy_(tensor)


def _listed(steps: tuple[int, ...]) -> str:
    return ", ".join(map(str, steps))
