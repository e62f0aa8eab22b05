"""What a finished run's folder says to whoever applies its network: checkpoint, objective, cuts and seed heights."""

import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from helpers import inference, objectives


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network and what it was trained for.

    Attributes
    ----------
    path : path
        Of the checkpoint.
    network : nn.Module
        In evaluation mode.
    objective : helpers.objectives.Objective
    classes, boundaries : tuple of str
        All classes, and those that are boundaries between objects.
    channels : int
        Output channels of all classes together.
    step : int
    task, model : mapping
        As in the checkpoint.
    """

    path: Path
    network: nn.Module
    objective: objectives.Objective
    classes: tuple[str, ...]
    boundaries: tuple[str, ...]
    channels: int
    step: int
    task: Mapping[str, Any]
    model: Mapping[str, Any]

    @property
    def unit(self) -> str:
        """Of the training's spacing, and so of distances and seed heights: "nm", or "pixel" where it knew no size."""
        return self.task.get("unit", "nm")

    @property
    def sha256(self) -> str:
        """Of the checkpoint's file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def read_trained(run: Path, checkpoint: Path | None, boundaries: Sequence[str] | None, device: torch.device) -> Trained:
    """The network of a run, fit to be applied block by block.

    Parameters
    ----------
    run : path
        A finished run's folder.
    checkpoint : path, optional
        Another one than the run's last.
    boundaries : sequence of str, optional
        Instead of those that the checkpoint names.
    device : torch.device

    Raises
    ------
    FileNotFoundError
        No checkpoint there.
    ValueError
        A checkpoint that is damaged, of another objective, of other classes, or of a network that blocks would change;
        a damaged parameters.json.
    """
    path = Path(checkpoint) if checkpoint else _last_checkpoint(run)
    network, account = inference.load_network(path, device)
    inference.check_blockwise(network)
    task, model = account["task"], account["model"]
    objective = _objective(run, path, task)
    classes = tuple(task["classes"])
    channels = objective.channels(network.dims) * len(classes)
    if model["out_channels"] != channels:
        raise ValueError(
            f"{path} has {model['out_channels']} output channels; {objective.name} of {', '.join(classes)} has "
            f"{channels}: it is a checkpoint of another objective or other classes"
        )
    boundaries = tuple(task.get("boundaries", ()) if boundaries is None else boundaries)
    if unknown := [name for name in boundaries if name not in classes]:
        raise ValueError(f"boundaries name {unknown[0]!r}; the network's classes are {', '.join(classes)}")
    return Trained(path, network, objective, classes, boundaries, channels, account["step"], task, model)


def _last_checkpoint(run: Path) -> Path:
    found = sorted((run / "checkpoints").glob("step-*.pt"))
    if not found:
        raise FileNotFoundError(f"{run} has no checkpoints/step-NNNNNN.pt; expected the folder of a finished run")
    return found[-1]


def _objective(run: Path, path: Path, task: Mapping) -> objectives.Objective:
    missing = [key for key in ("objective", "options", "classes", "spacing") if key not in task]
    if missing:
        raise ValueError(f"{path} does not say its {', '.join(missing)}: it was not written by the training notebook")
    record = run / "parameters.json"
    if record.is_file():
        said = _read_object(record, "copy the run's folder again").get("loss", task["objective"])
        if said != task["objective"]:
            raise ValueError(f"{path} is a checkpoint of {task['objective']}; the run {run} is one of {said}")
    return objectives.get(task["objective"], **task["options"])


def read_choices(
    run: Path, trained: Trained, cut: str | float | Sequence[float], seed_height: float | None, instances: bool
) -> tuple[dict[str, float], dict[str, float]]:
    """Each class's cut and, where instances are asked for, its seed height in the run's unit (nm, or pixels).

    Parameters
    ----------
    run : path
    trained : Trained
    cut : str, float or sequence of float
        "tuned" (as decoding.json has it), "natural" (the objective's own), or numbers, one for all classes or one each.
    seed_height : float, optional
        In the run's unit, instead of decoding.json's.
    instances : bool

    Raises
    ------
    FileNotFoundError, ValueError
        No decoding.json where it is needed, or a damaged one, or a cut or a height that is no number; what to give
        instead.
    """
    classes = trained.classes
    needed = ["cut"] * (cut == "tuned") + ["seed_height_nm"] * (instances and seed_height is None)
    chosen = _decoding_file(run, classes, needed) if needed else {}
    cuts = _cuts(cut, trained.objective, classes, chosen)
    if not instances:
        return cuts, {}
    heights = {c: chosen[c]["seed_height_nm"] if seed_height is None else seed_height for c in classes}
    return cuts, {c: _height(height, c, trained.unit) for c, height in heights.items()}


GIVE = {"cut": "cut (natural, or numbers)", "seed_height_nm": "seed_height"}  # instead of what decoding.json says


def _decoding_file(run: Path, classes: Sequence[str], needed: Sequence[str]) -> dict[str, dict]:
    path = run / "decoding.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{run} has no decoding.json with what was chosen on validation; give cut (natural, or numbers) and "
            "seed_height (or instances none)"
        )
    chosen = _read_object(path, f"give {' and '.join(GIVE[key] for key in needed)} instead")
    missing = [name for name in classes if name not in chosen]
    if missing:
        raise ValueError(f"{path} has nothing for class {missing[0]!r}; it has {', '.join(chosen)}")
    for name, key in itertools.product(classes, needed):
        value = chosen[name].get(key) if isinstance(chosen[name], dict) else None
        if not isinstance(value, (int, float)):
            raise ValueError(f"{path} has {value!r} as {key} of class {name!r}; expected a number: give {GIVE[key]}")
    return chosen


def _read_object(path: Path, advice: str) -> dict[str, Any]:
    """A JSON object; ValueError, with the file and what to do, where it is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is torn or is no JSON ({error}); {advice}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a {type(found).__name__}; expected an object: {advice}")
    return found


def _cuts(cut, objective, classes, chosen) -> dict[str, float]:
    if cut == "tuned":
        values = [chosen[name]["cut"] for name in classes]
    elif cut == "natural":
        values = [objective.natural_cut] * len(classes)
    else:
        values = list(cut) if isinstance(cut, (list, tuple)) else [cut]
        values = values * len(classes) if len(values) == 1 else values
    if len(values) != len(classes):
        raise ValueError(f"{len(values)} cuts for {len(classes)} classes; expected one for all, or one each")
    for name, value in zip(classes, values, strict=True):
        if isinstance(value, str) or value is None or not math.isfinite(value):
            raise ValueError(
                f"the {cut if isinstance(cut, str) else 'given'} cut of {name} is {value!r}; expected a number: give "
                "one (cut)"
            )
    return dict(zip(classes, map(float, values), strict=True))


def _height(value, name: str, unit: str) -> float:
    height = float("nan") if value is None else float(value)
    if not height >= 0:
        expected = "pixels" if unit == "pixel" else "nm"
        raise ValueError(f"seed height of {name} is {value!r}; expected {expected}, 0 to inf: give seed_height")
    return height
