"""What a surface shows: losses and common metrics of one fixed batch, all from one pass of the network."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from helpers import objectives
from helpers.augment import Batch
from helpers.crops import Crops
from helpers.metrics import counts
from helpers.objectives import Objective
from helpers.surfaces.runs import Run

METRICS = {"IoU": "higher", "cross_entropy": "lower"}  # which way is better
SUBSETS = ("train", "validation")
_OFFERED = ("bce", "dice", "focal", "lovasz")  # beside the run's own, where the channels fit


@dataclass(frozen=True, eq=False)
class FixedBatch:
    """Crops of a run's images, with the target of every loss on them.

    Attributes
    ----------
    raw : float tensor, shape (B, K, *S)
    masks, known : bool tensors, shape (B, C, *S)
    losses : dict
        Name -> function of the network's output, shape (B, channels, *S), a scalar tensor.
    objective : Objective
        The run's own, which says how an output is read.
    """

    raw: Tensor
    masks: Tensor
    known: Tensor
    losses: Mapping[str, Callable[[Tensor], Tensor]]
    objective: Objective

    @property
    def quantities(self) -> tuple[str, ...]:
        """Names of what :meth:`measure` gives: the losses, then METRICS."""
        return (*self.losses, *METRICS)

    def measure(self, output: Tensor) -> np.ndarray:
        """Every loss, then IoU and cross entropy of the score, float64 of shape (quantities,).

        All NaN where the output is not finite. IoU is that of the run's own score at its natural cut, pooled over the
        batch and averaged over the classes that are there; cross entropy, in nats, takes that score as a probability,
        scores in [-1, 1] as (score + 1) / 2, and is averaged over known voxels, then classes. Both are NaN for scores
        without a natural cut or a bound.
        """
        if not bool(torch.isfinite(output).all()):
            return np.full(len(self.quantities), np.nan)
        return np.array([*(float(loss(output)) for loss in self.losses.values()), *self.metrics(output)])

    def metrics(self, output: Tensor) -> tuple[float, float]:
        """IoU and cross entropy of the score, as in :meth:`measure`."""
        score = self.objective.decode(output)
        return self._iou(score, self.objective.natural_cut), self._cross_entropy(score)

    def _iou(self, score: Tensor, cut: float | None) -> float:
        if cut is None:
            return math.nan
        found = []
        for c in range(self.masks.shape[1]):
            if bool(self.known[:, c].any()):
                predicted, truth, known = (t[:, c].numpy() for t in (score > cut, self.masks, self.known))
                found.append(counts(predicted, truth, known).iou)
        found = [iou for iou in found if not math.isnan(iou)]
        return sum(found) / len(found) if found else math.nan

    def _cross_entropy(self, score: Tensor) -> float:
        p = as_probability(score, self.objective)
        if p is None:
            return math.nan
        p = p.double().clamp(2.0**-24, 1 - 2.0**-24)  # the last step of a float32 below 1
        loss = torch.where(self.known, -torch.where(self.masks, p, 1 - p).log(), 0.0)
        axes = (0, *range(2, loss.ndim))
        size = self.known.sum(axes)
        return float((loss.sum(axes)[size > 0] / size[size > 0]).mean())


def as_probability(score: Tensor, objective: Objective) -> Tensor | None:
    """Scores in [0, 1] as they are, in [-1, 1] as (score + 1) / 2; None for scores without such a bound."""
    if objective.link == "identity":
        return None
    return score if objective.link == "logit" else (score + 1) / 2


def choose_losses(run: Run, wanted: Sequence[str] = ()) -> dict[str, Objective]:
    """Objectives that can be evaluated on this run's network: the same number of output channels.

    Parameters
    ----------
    wanted : sequence of str
        Each a name, or a name and options, as in ``"focal gamma=5"``. Empty: the run's own, then bce, dice, focal and
        lovasz where they fit. The run's own name alone has the run's own options.

    Raises
    ------
    ValueError
        An unknown loss or option; one that needs other channels than the network has (those that fit are named).
    """
    dims, channels, classes = run.network.dims, run.network.out_channels, len(run.classes)

    def fits(objective: Objective) -> bool:
        return objective.channels(dims) * classes == channels

    own = run.objective.name
    chosen = {}
    for text in wanted or (own, *(name for name in _OFFERED if name != own and fits(objectives.get(name)))):
        name, options = parse_loss(text)
        objective = run.objective if name == own and not options else objectives.get(name, **options)
        if not fits(objective):
            fitting = [n for n in objectives.names() if fits(objectives.get(n))]
            raise ValueError(
                f"loss {text!r} needs {objective.channels(dims) * classes} output channels, and the network of "
                f"{run.folder} has {channels}; those that fit: {', '.join(fitting) or own}"
            )
        chosen[text] = objective
    return chosen


def parse_loss(text: str) -> tuple[str, dict[str, Any]]:
    """A name and its options of text as ``"focal gamma=5"``; values are JSON, or text where they are not."""
    name, *pairs = text.split()
    options = {}
    for pair in pairs:
        option, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"loss is {text!r}; expected a name and options, as in 'focal gamma=5'")
        try:
            options[option] = json.loads(value)
        except json.JSONDecodeError:
            options[option] = value
    return name, options


def fixed_batch(
    run: Run,
    losses: Mapping[str, Objective],
    *,
    crops: int = 4,
    patch: int = 128,
    seed: int = 0,
    subset: str = "train",
) -> FixedBatch:
    """Crops at random places of a run's images, the same for the same seed, without augmentation.

    Every loss sees the same pixels: each makes its target from a window larger by its own halo, or from whole images.

    Raises
    ------
    ValueError
        A subset that is not one of SUBSETS (the test block stays closed); a patch that the network cannot take or that
        is larger than an image; a batch without a voxel of some class, or without weight for some loss.
    """
    if subset not in SUBSETS:
        raise ValueError(f"subset is {subset!r}; expected one of {', '.join(SUBSETS)} (the test block stays closed)")
    if patch % run.network.divisor:
        raise ValueError(f"patch is {patch}; this network needs a multiple of {run.network.divisor}")
    if not (isinstance(crops, int) and crops >= 1):
        raise ValueError(f"crops is {crops!r}; expected a whole number of at least 1")
    images = getattr(run.data, subset)
    spacing = images[0].spacing

    def drawn(margin: tuple[int, ...], encode: Callable | None = None):
        source = Crops(images, patch, margin, encode)  # the same seed, the same places, whatever the margin
        return source.draw(crops, torch.Generator().manual_seed(seed)), source.cut

    plain, _ = drawn((0,) * len(spacing))
    for c, name in enumerate(run.classes):
        if not bool((plain.masks[:, c] & plain.known[:, c]).any()):
            raise ValueError(
                f"the batch of {crops} crops with seed {seed} has no voxel of {name}: its surface would say nothing; "
                "choose another seed, or more or larger crops"
            )
    functions = {}
    for name, objective in losses.items():

        def encode(batch: Batch, objective: Objective = objective) -> tuple[Tensor, Tensor]:
            return objective.encode(batch.masks, batch.annotated, batch.known, spacing)

        margin = objective.halo(spacing)
        batch, cut = drawn(margin or (0,) * len(spacing), encode if margin is None else None)
        if not torch.equal(cut(batch.raw), plain.raw):
            raise RuntimeError(f"the crops of {name} are not those of the others")
        encoded = (batch.target, batch.weight) if margin is None else encode(batch)
        target, weight = (cut(tensor).contiguous() for tensor in encoded)
        if not bool(weight.any()):
            raise ValueError(f"no voxel of the batch has a weight for {name}; choose another seed, or more crops")

        def loss(output: Tensor, objective=objective, target=target, weight=weight) -> Tensor:
            return objective.compare(output, target, weight)

        functions[name] = loss
    return FixedBatch(plain.raw.contiguous(), plain.masks, plain.known, functions, run.objective)
