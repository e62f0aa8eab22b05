"""(output, target, weight) -> scalar: how far a network's output is from its target, where the target counts.

Outputs are logits: each loss activates them itself. All tensors have shape ``(B, C, *S)``. Every loss is, per class,
the weighted mean over batch and space, then the mean over the classes that have any weight; it is 0, with a zero
gradient, where none has. A NaN or an infinity in the output raises: no weight may hide it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def bce(output: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Binary cross entropy -[t ln s(z) + (1-t) ln(1-s(z))] of a logit z, s the logistic function.

    Parameters
    ----------
    output : float tensor, shape (B, C, *S)
        Logits.
    target : float tensor, same shape
        In [0, 1].
    weight : float tensor, same shape
        Non-negative.

    Returns
    -------
    Scalar tensor, in nats.
    """
    check(output, target, weight)
    return weighted_mean(F.binary_cross_entropy_with_logits(output, target, reduction="none"), weight)


def tanh_mse(output: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Squared error (t - tanh z)^2 of a target in [-1, 1]; the tanh bounds what a linear head cannot.

    Parameters and shapes as in :func:`bce`. Returns a scalar tensor.
    """
    check(output, target, weight)
    return weighted_mean((torch.tanh(output) - target).square(), weight)


def hot_distance(output: Tensor, target: Tensor, weight: Tensor, balance: float = 1.0) -> Tensor:
    """BCE of the one-hot half plus ``balance`` times the tanh MSE of the distance half.

    Parameters
    ----------
    output, target, weight : float tensors, shape (B, 2C, *S)
        The first C channels are one-hot, the last C tanh distances. Each half is divided by its own sum of weights:
        weights count once (the published implementation multiplies both sides by the weight, squaring it).
    balance : float
        Non-negative.

    Returns
    -------
    Scalar tensor.
    """
    check(output, target, weight)
    if output.shape[1] % 2:
        raise ValueError(f"output has {output.shape[1]} channels; hot_distance needs two per class, an even number")
    if not balance >= 0:
        raise ValueError(f"balance is {balance!r}; expected a number >= 0")
    half = output.shape[1] // 2
    hot = bce(output[:, :half], target[:, :half], weight[:, :half])
    return hot + balance * tanh_mse(output[:, half:], target[:, half:], weight[:, half:])


def weighted_mean(loss: Tensor, weight: Tensor) -> Tensor:
    """Per class sum(w l) / sum(w) over batch and space, then the mean over classes with any weight.

    Parameters
    ----------
    loss, weight : float tensors, shape (B, C, *S)

    Returns
    -------
    Scalar tensor; 0, still differentiable, where no class has weight.
    """
    axes = (0, *range(2, loss.ndim))
    total = weight.sum(axes)
    present = total > 0
    per_class = (weight * loss).sum(axes) / torch.where(present, total, 1.0)
    return per_class.sum() / present.sum().clamp(min=1)


def check(output: Tensor, target: Tensor, weight: Tensor) -> None:
    """ValueError unless the shapes agree, the output is finite and no weight is negative."""
    if output.ndim < 3 or not output.shape == target.shape == weight.shape:
        raise ValueError(
            f"output has shape {tuple(output.shape)}, target {tuple(target.shape)}, weight {tuple(weight.shape)}; "
            "expected one shape (B, C, *S)"
        )
    if not torch.isfinite(output).all():
        bad = int((~torch.isfinite(output)).sum())
        raise ValueError(
            f"output has {bad} values that are NaN or infinite of {output.numel()}: the training diverged; "
            "expected finite logits (try a smaller learning_rate)"
        )
    if weight.numel() and not weight.min() >= 0:
        raise ValueError(f"weight has the value {float(weight.min())!r}; expected numbers >= 0")
