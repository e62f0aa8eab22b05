"""A loss as one pixel feels it: its value and its gradient against the logit, and maps of both on an image.

What a loss does is decided by its gradient at each pixel. For losses that are means over pixels that is a function of
the pixel's own logit; overlap losses (Dice, Tversky, Lovasz) look at all pixels together, so the pixel is given a
surrounding here, the same for every loss, and everything is multiplied by the number of pixels: then the losses, and
the class weights within their normalisation, can be compared.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from helpers.objectives import Objective
from helpers.surfaces.batches import as_probability
from helpers.surfaces.runs import Run


@dataclass(frozen=True)
class Surrounding:
    """The pixels around the one that is looked at.

    Attributes
    ----------
    pixels : int
        How many there are, that one included.
    foreground : float
        Share of true pixels among them.
    logit : float
        The others' logits: +logit where true, -logit where false.
    """

    pixels: int = 1000
    foreground: float = 0.1
    logit: float = 1.0

    def __post_init__(self):
        if not (isinstance(self.pixels, int) and self.pixels >= 2):
            raise ValueError(f"pixels is {self.pixels!r}; expected a whole number of at least 2")
        if not 0 < self.foreground < 1 or not 1 <= round(self.pixels * self.foreground) < self.pixels:
            raise ValueError(
                f"foreground is {self.foreground!r} of {self.pixels} pixels; expected a share that leaves at least one "
                "true and one false pixel"
            )
        if not math.isfinite(self.logit):
            raise ValueError(f"logit is {self.logit!r}; expected a finite number")


@dataclass(frozen=True, eq=False)
class Curve:
    """A loss of one pixel against its logit.

    Attributes
    ----------
    truth : bool
    logits, loss, gradient : float64 arrays of one shape
        The loss is how far, times the number of pixels, it lies above its least value over the pixel's logits (those
        given, +-30, and the target itself); the gradient is the number of pixels times the derivative by the pixel's
        logit, as autograd has it.
    others : bool
        Does it depend on the other pixels' logits?
    """

    truth: bool
    logits: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray
    others: bool


def logit_curves(
    objective: Objective,
    logits: Sequence[float],
    *,
    surrounding: Surrounding | None = None,
    targets: tuple[float, float] = (1.0, 0.0),
) -> tuple[Curve, Curve]:
    """The curves of a true and of a false pixel.

    Parameters
    ----------
    objective : Objective
        Of one channel per class.
    logits : sequence of float
        The network's output at the pixel, finite.
    surrounding : Surrounding, optional
    targets : pair of float
        What the target is on foreground and background: 1 and 0 for one-hot; for a distance, that at a chosen depth.

    Raises
    ------
    ValueError
        An objective of several channels, or that needs several classes; logits that are not finite.
    """
    logits = np.asarray(logits, np.float64)
    if logits.ndim != 1 or not logits.size or not np.isfinite(logits).all():
        raise ValueError("logits are empty, not in one row or not finite; expected a sequence of finite numbers")
    if objective.channels(2) != 1:
        raise ValueError(
            f"{objective.name} has {objective.channels(2)} channels for each class: no single logit to follow"
        )
    around = surrounding or Surrounding()
    return tuple(_curve(objective, logits, truth, around, targets) for truth in (True, False))


def loss_map(objective: Objective, output: Tensor, target: Tensor, weight: Tensor) -> np.ndarray:
    """Each pixel's share in the loss, whose weighted mean over the pixels is the loss itself.

    L + W dL/dw_i, where w_i is the pixel's weight and W their sum. For a mean over pixels that is the pixel's own
    loss; for overlap losses it is what the pixel adds, which can be negative, and the mean is the loss but for their
    smoothing term, which has no pixel.

    Parameters
    ----------
    output, target, weight : float tensors, shape (B, 1, *S)
        Of one class.

    Returns
    -------
    float64 array, shape (B, 1, *S); NaN where the weight is 0.

    Raises
    ------
    ValueError
        Several channels; no weight; a loss that hides the weights from autograd (Lovasz sorts them away).
    """
    if output.shape[1] != 1:
        raise ValueError(f"output has {output.shape[1]} channels; a loss map is of one class with one channel")
    weight = weight.detach().double().requires_grad_()
    total = weight.detach().sum()
    if not total > 0:
        raise ValueError("no pixel has a weight: there is no loss to share out")
    loss = objective.compare(output.detach().double(), target.double(), weight)
    slope = torch.autograd.grad(loss, weight, allow_unused=True)[0] if loss.requires_grad else None
    if slope is None or (not slope.any() and float(loss.detach()) > 0 and _uneven(output, target)):
        raise ValueError(f"{objective.name} gives no share of a pixel: its dependence on the weights is hidden")
    share = loss.detach() + total * slope
    return torch.where(weight.detach() > 0, share, math.nan).numpy()


@dataclass(frozen=True, eq=False)
class Moment:
    """One image at one step of a training: float arrays (Y, X).

    Attributes
    ----------
    step : int
    confidence : probability given to the true class; NaN where that is not known, or the score no probability
    loss : :func:`loss_map` of the run's objective; NaN where it has no weight; None where it has no such map
    """

    step: int
    confidence: np.ndarray
    loss: np.ndarray | None

    def cut(self, window: tuple[slice, ...]) -> "Moment":
        """The same of a window of the image."""
        return Moment(self.step, self.confidence[window], None if self.loss is None else self.loss[window])


def fullest_window(mask: np.ndarray, size: int) -> tuple[slice, ...]:
    """The window with the most foreground, of ``size`` pixels a side (less where the image is smaller).

    Parameters
    ----------
    mask : bool array, shape (Y, X)
    size : int

    Raises
    ------
    ValueError
        A size under 1; a mask without foreground.
    """
    if not (isinstance(size, int) and size >= 1):
        raise ValueError(f"size is {size!r}; expected a whole number of at least 1 pixel")
    if not mask.any():
        raise ValueError("the mask has no foreground: no window has the most of it; choose another image")
    sides = [min(size, length) for length in mask.shape]
    sums = np.pad(mask.astype(np.int64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    height, width = sides
    count = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    corner = np.unravel_index(count.argmax(), count.shape)
    return tuple(slice(int(start), int(start) + side) for start, side in zip(corner, sides, strict=True))


def maps_through_training(run: Run, image, class_name: str, steps: Sequence[int]) -> list[Moment]:
    """Confidence and loss at every pixel of one image, at some checkpoints of a run.

    Parameters
    ----------
    image : helpers.datasets.Image
        One of the run's data set, in 2-D.
    class_name : str
        One of the run's classes.

    Raises
    ------
    ValueError
        A class or a step that the run does not have; an image that is not 2-D.
    """
    if class_name not in run.classes:
        raise ValueError(f"class is {class_name!r}; the run has {', '.join(run.classes)}")
    if image.raw.ndim != 3:
        raise ValueError(f"image {image.name} has {image.raw.ndim - 1} axes; expected 2 (take a section)")
    from helpers.inference import predict

    c, objective = run.classes.index(class_name), run.objective
    labels = [torch.from_numpy(np.ascontiguousarray(a))[None] for a in (image.masks, image.annotated, image.known)]
    target, weight = objective.encode(*labels, image.spacing)
    single = objective.channels(2) == 1 and bool(weight[:, c].any())
    found = []
    for step in steps:
        network = run.at(step)
        empty = np.full(image.raw.shape[1:], np.nan)
        if not run.finite(step):
            found.append(Moment(step, empty, empty if single else None))
            continue
        output = predict(network, image.raw)
        probability = as_probability(objective.decode(output), objective)
        if probability is None:
            confidence = empty
        else:
            p = probability[0, c].double().numpy()
            confidence = np.where(image.known[c], np.where(image.masks[c], p, 1 - p), np.nan)
        loss = None
        if single:
            try:
                loss = loss_map(objective, *(t[:, c : c + 1] for t in (output, target, weight)))[0, 0]
            except ValueError as error:
                if "gives no share" not in str(error):
                    raise
        found.append(Moment(step, confidence, loss))
    return found


def _curve(objective, logits, truth: bool, around: Surrounding, targets) -> Curve:
    here = -1 if truth else 0  # the last pixel is true, the first is false
    true = round(around.pixels * around.foreground)
    inside = torch.arange(around.pixels) >= around.pixels - true
    target = torch.where(inside, targets[0], targets[1]).double()[None, None]
    weight = torch.ones_like(target)

    def measure(z: float, others: float) -> tuple[float, float]:
        output = torch.where(inside, others, -others).double()[None, None]
        output[..., here] = z
        output.requires_grad_()
        loss = objective.compare(output, target, weight)
        slope = torch.autograd.grad(loss, output)[0][..., here]
        return around.pixels * float(loss.detach()), around.pixels * float(slope)

    least = min(measure(z, around.logit)[0] for z in (-30.0, 30.0, targets[0 if truth else 1], *logits))
    found = np.array([measure(z, around.logit) for z in logits])
    elsewhere = np.array([measure(z, around.logit + 1) for z in logits])
    scale = np.abs(found[:, 1]).max()
    others = bool(np.abs(found[:, 1] - elsewhere[:, 1]).max() > 1e-9 * max(scale, 1e-12))
    return Curve(truth, logits, found[:, 0] - least, found[:, 1], others)


def _uneven(output: Tensor, target: Tensor) -> bool:
    """Do the pixels differ at all? Where they do not, all shares are alike and no slope is right."""
    return bool((output != output.flatten()[0]).any() or (target != target.flatten()[0]).any())
