"""One training step after another: crops, targets, network, loss, update, and all that a checkpoint must hold."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from helpers import checkpoints
from helpers.augment import AFFINE_REACH, Batch, augment
from helpers.crops import Crops
from helpers.devices import choose_device, choose_precision, is_out_of_memory
from helpers.objectives import Objective
from helpers.schedules import Schedule, make_rate, sides_of

_CONSTANT = 1e-3  # logits that differ by less, over a whole batch, say nothing


class Diverged(ValueError):
    """The output or the loss is NaN or infinite."""


class Run:
    """One training in progress: all that a step needs, and all that a checkpoint must hold.

    Parameters as :func:`train`. ``step`` counts the steps done; ``history`` has an entry for each closed interval.
    """

    def __init__(
        self,
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
    ):
        self.network, self.objective, self.schedule, self.augmentation = network, objective, schedule, augmentation
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self.spacing = _common_spacing(images)
        _check_fit(network, objective, images, schedule)
        if augmentation != "none" and self.spacing[-1] != self.spacing[-2]:
            raise ValueError(f"spacing is {self.spacing}; turning needs square in-plane pixels (augmentation none)")
        margin = objective.halo(self.spacing)
        self.whole = margin is None  # the target looks across the whole image: encode each once, and crop the target
        if self.whole and augmentation == "affine":
            raise ValueError(f'augmentation is "affine"; {objective.name} needs whole images: use "flips" or "none"')
        if self.whole:
            margin = (0,) * len(self.spacing)
        elif augmentation == "affine":  # a turned and shrunk crop shows what lies further out, for every objective
            sides = sides_of(schedule.patch, len(self.spacing))
            margin = tuple(m + math.ceil(AFFINE_REACH * side) for m, side in zip(margin, sides, strict=True))
        self.crops = Crops(
            images, schedule.patch, margin, self._encode if self.whole else None, balance=schedule.balance
        )
        self.generator = torch.Generator().manual_seed(seed)
        network.to(self.device, memory_format=_layout(network.dims, self.device))
        network.train()
        self.forward = torch.compile(network) if compiled else network
        self.optimizer = torch.optim.AdamW(network.parameters(), schedule.learning_rate)
        self.rate = make_rate(self.optimizer, schedule)
        self.step, self.history, self.seconds, self.interval = 0, [], 0.0, []
        self.last: tuple[Tensor, ...] = ()
        # What must be the same to go on with a run, and what must be for that to be exact.
        self.identity = json.loads(
            json.dumps(
                dataclasses.asdict(schedule)
                | {"objective": objective.name, "options": dict(objective.options), "seed": seed}
                | {"augmentation": augmentation, "precision": self.precision, "spacing": self.spacing}
                | {"images": [image.name for image in images], "model": getattr(network, "arguments", None)},
                default=repr,
            )
        )
        self.machine = {
            "torch": str(torch.__version__),
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type,
            "compiled": compiled,
        }

    def advance(self) -> None:
        """One step: crops, augmentation, targets, network, loss, gradient, update.

        Raises
        ------
        Diverged
            The output or the loss is NaN or infinite; the message has the step and what to try.
        MemoryError
            The batch does not fit; the message has a smaller one to try.
        """
        try:
            self._advance()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise MemoryError(
                f"step {self.step + 1} ran out of memory: {self._smaller()} ({_first_line(error)})"
            ) from error
        self.step += 1

    def close_interval(self) -> dict[str, float]:
        """The history's next entry, from the steps since the last one, and whether they look collapsed."""
        losses, weighted = (torch.stack(column).float() for column in zip(*self.interval, strict=True))
        self.interval = []
        output, labels = self.last[0], self.last[1:]
        axes = (0, *range(2, output.ndim))
        constant = float((output.amax(axes) - output.amin(axes)).min()) < _CONSTANT
        area = _area_ratio(self.objective, output, *labels) if labels else math.nan
        entry = {"step": self.step, "loss": float(losses.mean()), "unweighted": 1 - float(weighted.mean())}
        return entry | {"seconds": self.seconds, "area_ratio": area, "collapsed": float(constant)}

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` needs to go on as if nothing had happened."""
        columns = [torch.stack(column) for column in zip(*self.interval, strict=True)]
        return {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.rate.state_dict(),
            "generators": checkpoints.generator_states(self.generator, self.device),
            "history": self.history,
            "interval": columns,
            "seconds": self.seconds,
            "run": self.identity,
            "machine": self.machine,
        }

    def restore(self, path: Path) -> str:
        """Go on from a checkpoint of the same run; returns what of the machine is another, empty where nothing is.

        Raises
        ------
        ValueError
            The checkpoint is of another run (each difference is named), or as :func:`helpers.checkpoints.load`.
        """
        found = checkpoints.load(path, resume=True)
        if other := checkpoints.differences(found["run"], self.identity):
            raise ValueError(f"{path} is of another run ({other}); delete it to start anew, or choose another folder")
        self.network.load_state_dict(found["network"])
        self.optimizer.load_state_dict(found["optimizer"])
        self.rate.load_state_dict(found["schedule"])
        checkpoints.set_generator_states(found["generators"], self.generator, self.device)
        self.step, self.history, self.seconds = found["step"], found["history"], found["seconds"]
        self.interval = list(zip(*(column.to(self.device).unbind() for column in found["interval"]), strict=True))
        return checkpoints.differences(found["machine"], self.machine)

    def _advance(self) -> None:
        batch = self.crops.draw(self.schedule.batch, self.generator)
        if not math.isfinite(float(batch.raw.sum())):
            raise ValueError(
                f"step {self.step + 1}: a crop has values that are NaN or infinite; expected greys in [0, 1]"
            )
        batch = augment(type(batch)(*map(self._moved, batch)), self.augmentation, self.generator)
        encoded = (batch.target, batch.weight) if self.whole else self._encode(batch)
        target, weight = map(self.crops.cut, encoded)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            output = self.forward(self.crops.cut(batch.raw))
        output = output.float()
        try:
            loss = self.objective.compare(output, target, weight)
        except ValueError as error:
            if torch.isfinite(output).all():
                raise ValueError(f"step {self.step + 1}: {error}") from error
            raise Diverged(f"step {self.step + 1}: {error}; {self._gentler()}") from error
        if not math.isfinite(value := loss.item()):
            raise Diverged(f"step {self.step + 1}: the loss is {value}; {self._gentler()}")
        self.optimizer.zero_grad()
        loss.backward()
        if self.schedule.clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.schedule.clip)
        self.optimizer.step()
        self.rate.step()
        self.interval.append((loss.detach(), weight.any()))
        labels = () if self.whole else (self.crops.cut(batch.masks), self.crops.cut(batch.known))
        self.last = (output.detach(), *labels)

    def _encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.objective.encode(batch.masks, batch.annotated, batch.known, self.spacing)

    def _moved(self, tensor: Tensor) -> Tensor:
        if self.device.type != "cuda":
            return tensor.to(self.device)
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def _gentler(self) -> str:
        tried = "" if self.schedule.clip else ", gradient clipping (clip=1.0)"
        tried += ", precision float32" if self.precision == "bf16" else ""
        return f"try a smaller learning_rate (its maximum is {self.schedule.learning_rate:g}){tried}"

    def _smaller(self) -> str:
        batch, patch = self.schedule.batch, self.schedule.patch
        if batch > 1:
            return f"batch is {batch} crops of {patch} voxels; try batch {batch // 2}"
        divisor = self.network.divisor
        sides = [max(divisor, side // 2 // divisor * divisor) for side in sides_of(patch, len(self.spacing))]
        return f"batch is 1 crop of {patch} voxels; try patch {sides[0] if isinstance(patch, int) else sides}"


def _area_ratio(objective: Objective, output: Tensor, masks: Tensor, known: Tensor) -> float:
    """Predicted over true area, of the class farthest from 1; NaN where there is no natural cut or no truth."""
    if objective.natural_cut is None:
        return math.nan
    axes = (0, *range(2, output.ndim))
    predicted = ((objective.decode(output) > objective.natural_cut) & known).sum(axes)
    true = (masks & known).sum(axes)
    ratios = [p / t for p, t in zip(predicted.tolist(), true.tolist(), strict=True) if t]
    return max(ratios, key=lambda ratio: abs(math.log(ratio)) if ratio else math.inf, default=math.nan)


def _check_fit(network: nn.Module, objective: Objective, images: Sequence, schedule: Schedule) -> None:
    """ValueError unless network, objective, images and patch go together."""
    dims = len(images[0].raw.shape) - 1
    if network.dims != dims:
        raise ValueError(f"the network is {network.dims}-D, and image {images[0].name} is {dims}-D")
    if any(side % network.divisor for side in sides_of(schedule.patch, dims)):
        raise ValueError(f"patch is {schedule.patch}; this network needs a multiple of {network.divisor}")
    grey, classes = images[0].raw.shape[0], images[0].masks.shape[0]
    needed = {"in_channels": grey, "out_channels": objective.channels(network.dims) * classes}
    for name, number in needed.items():
        if getattr(network, name, number) != number:
            raise ValueError(
                f"the network has {name} {getattr(network, name)}; {objective.name} needs {number} on images of {grey} "
                f"channel(s) with {classes} class(es)"
            )
    for image in images:
        if not isinstance(image.raw, np.ndarray):
            continue  # on disk, larger than memory: each crop is looked at instead
        if bad := image.raw.size - int(np.isfinite(image.raw).sum()):
            raise ValueError(f"image {image.name} has {bad} values that are NaN or infinite of {image.raw.size}")


def _layout(dims: int, device: torch.device) -> torch.memory_format:
    """Channels last, where convolutions are the faster for it: not in 3-D on a CPU."""
    if dims == 2:
        return torch.channels_last
    return torch.channels_last_3d if device.type == "cuda" else torch.contiguous_format


def _common_spacing(images: Sequence) -> tuple[float, ...]:
    if not images:
        raise ValueError("no image to train on: the training split is empty")
    spacings = {tuple(image.spacing) for image in images}
    if len(spacings) > 1:
        raise ValueError(f"images of different spacings {sorted(spacings)}; expected one, in nm")
    return spacings.pop()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
