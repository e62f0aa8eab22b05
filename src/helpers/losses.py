"""(output, target, weight) -> scalar: how far a network's output is from its target, where the target counts.

Outputs are logits: each loss activates them itself. All tensors have shape ``(B, C, *S)``. Targets are one-hot, 0 or 1
for every class apart (``y = 2t - 1`` where a formula wants signs), except for the regressions at the end. Every loss
is, per class, the weighted mean over batch and space, then the mean over the classes that have any weight; overlap
losses pool their sums over batch and space the same way. It is 0, with a zero gradient, where no class has weight; what
has no weight gets a gradient of exactly 0, and its label changes nothing. A NaN or an infinity in the output raises: no
weight may hide it.

Two parameters recur. ``class_weights``, one number >= 0 per class, are the shares of the classes in the mean over
classes (None: all alike). ``positive_weight``, one number >= 0 or one per class, multiplies the weight of foreground
voxels, in the numerator and in the normalisation.

Everything here is torch. kornia's Dice, focal, Tversky and Lovasz losses take no weight per voxel (an ignored label at
most), average over images where these pool, want a softmax over exclusive classes (the binary focal loss excepted,
which is right per voxel), and training must not need kornia; tests compare with them where they agree.
"""

import math
from collections.abc import Sequence
from numbers import Real

import torch
import torch.nn.functional as F
from torch import Tensor

DICE_EPSILON = 1.0  # so that a class without foreground still has a gradient; Tversky's is half of it


def bce(
    output: Tensor,
    target: Tensor,
    weight: Tensor,
    *,
    class_weights: Sequence[float] | None = None,
    positive_weight: float | Sequence[float] = 1.0,
) -> Tensor:
    """Binary cross entropy -[t ln s(z) + (1-t) ln(1-s(z))] of a logit z, s the logistic function [1]_.

    Parameters
    ----------
    output : float tensor, shape (B, C, *S)
        Logits.
    target : float tensor, same shape
        In [0, 1].
    weight : float tensor, same shape
        Non-negative.
    class_weights : sequence of C floats, optional
        Shares of the classes in the mean over classes; all alike by default.
    positive_weight : float, or sequence of C floats
        Multiplies the weight where the target is 1; w (1 + (positive_weight - 1) t) in general.

    Returns
    -------
    Scalar tensor, in nats.

    Raises
    ------
    ValueError
        Shapes that differ, all named; NaN or infinite output or target; negative or infinite weights; class_weights or
        positive_weight of the wrong number or negative.

    References
    ----------
    .. [1] Cox 1958, doi:10.1111/j.2517-6161.1958.tb00292.x
    """
    check(output, target, weight)
    weight = _emphasise(weight, target, positive_weight)
    return weighted_mean(_cross_entropy(output, target), weight, class_weights)


def softmax(
    output: Tensor,
    target: Tensor,
    weight: Tensor,
    *,
    order: Sequence[int] | None = None,
    positive_weight: float | Sequence[float] = 1.0,
) -> Tensor:
    """Cross entropy over C exclusive classes and the background, whose logit is 0 [1]_.

    -ln of exp(z_label) / (1 + sum over c of exp(z_c)), with 1 in the numerator where no class is present. With one
    class that is :func:`bce`.

    Parameters
    ----------
    output, target, weight : float tensors, shape (B, C, *S)
        As in :func:`bce`; the target is exactly 0 or 1 where it has weight.
    order : sequence of C ints, optional
        The classes by precedence, the first wins where several are present. Without it such voxels are refused.
    positive_weight : float, or sequence of C floats
        Multiplies the weight of the voxels labelled with a class (the background's factor is 1), as torch's
        ``cross_entropy(weight=...)``. There are no class_weights: a voxel has one distribution, not a loss per class.

    Returns
    -------
    Scalar tensor, in nats: per class the mean of the voxels' losses weighted by that class's weight, then the mean over
    classes. Where all classes have the same weights, that is the mean over voxels.

    Raises
    ------
    ValueError
        As :func:`bce`; several classes at one voxel without an order; a target that is neither 0 nor 1; an order that
        does not name every class once.

    Notes
    -----
    A class without weight at a voxel leaves that voxel's softmax. What is known is still used: known absence lowers a
    class against the background, known presence raises it against the background and the classes known to be absent.
    What is unknown gets no gradient at all, and with nothing unknown this is the textbook's loss.

    References
    ----------
    .. [1] Ronneberger et al. 2015, doi:10.1007/978-3-319-24574-4_28
    """
    check(output, target, weight)
    _check_binary(target, weight)
    present = (weight > 0) & (target > 0)
    classes = output.shape[1]
    if order is None:
        order = range(classes)
        several = int((present.sum(1) > 1).sum())
        if several:
            raise ValueError(
                f"{several} voxels belong to several classes, and softmax needs exclusive ones; "
                f"give order, the {classes} class indices with the winner first, or use bce"
            )
    elif sorted(order) != list(range(classes)):
        raise ValueError(f"order is {list(order)}; expected each class index from 0 to {classes - 1} once")
    label = torch.zeros_like(present[:, 0], dtype=torch.long)
    for c in reversed(order):
        label = torch.where(present[:, c], c + 1, label)
    logits = torch.cat((torch.zeros_like(output[:, :1]), output.masked_fill(weight == 0, -math.inf)), 1)
    loss = F.cross_entropy(logits, label, reduction="none")
    if positive_weight != 1:
        factors = _per_class("positive_weight", positive_weight, weight)
        weight = weight * torch.cat((factors.new_ones(1), factors))[label].unsqueeze(1)
    return weighted_mean(loss.unsqueeze(1), weight)


def approx_ce(
    output: Tensor, target: Tensor, weight: Tensor, *, class_weights: Sequence[float] | None = None
) -> Tensor:
    """Cross entropy with ln x replaced by its expansion (x-1) - (x-1)^2/2, so that its slope is at most 2 [1]_.

    Where p = s(z) is .01 and t is 1, this is 1.48 and cross entropy 4.61. Parameters, returns and errors as in
    :func:`bce`.

    References
    ----------
    .. [1] Published as "approx" in github.com/MarvinLavechin/daem, on (tanh + 1)/2 where this has s(z).
    """
    check(output, target, weight)
    p = torch.sigmoid(output)
    q = 1 - p
    return weighted_mean(target * (q + q.square() / 2) + (1 - target) * (p + p.square() / 2), weight, class_weights)


def dice(output: Tensor, target: Tensor, weight: Tensor, *, class_weights: Sequence[float] | None = None) -> Tensor:
    """Soft Dice loss 1 - (2 sum(w p t) + e) / (sum(w p) + sum(w t) + e), p = s(z), e = 1 [1]_.

    The sums run over batch and space, for every class apart. Parameters, returns (without unit, in [0, 1]) and errors
    as in :func:`bce`; scaling all weights is not without effect, because e does not scale.

    References
    ----------
    .. [1] Drozdzal et al. 2016, doi:10.1007/978-3-319-46976-8_19
    """
    check(output, target, weight)
    return _overlap(output, target, weight, 0.5, 0.5, class_weights)


def hinge(output: Tensor, target: Tensor, weight: Tensor, *, class_weights: Sequence[float] | None = None) -> Tensor:
    """max(0, 1 - y z), y = 2t - 1 in {-1, +1}: no gradient beyond the margin of 1 [1]_.

    Parameters, returns (without unit) and errors as in :func:`bce`. What the published comparison calls "hinge" is
    :func:`l1`.

    References
    ----------
    .. [1] Cortes and Vapnik 1995, doi:10.1007/BF00994018
    """
    check(output, target, weight)
    return weighted_mean((1 - _signs(target) * output).clamp(min=0), weight, class_weights)


def square(output: Tensor, target: Tensor, weight: Tensor, *, class_weights: Sequence[float] | None = None) -> Tensor:
    """(y - tanh z)^2, y = 2t - 1 in {-1, +1} [1]_.

    Parameters, returns (without unit) and errors as in :func:`bce`.

    References
    ----------
    .. [1] Published as "square" in github.com/MarvinLavechin/daem
    """
    return tanh_mse(output, _signs(target), weight, class_weights=class_weights)


def l1(output: Tensor, target: Tensor, weight: Tensor, *, class_weights: Sequence[float] | None = None) -> Tensor:
    """|y - tanh z|, y = 2t - 1 in {-1, +1}: what the published comparison calls "hinge" [1]_.

    Parameters, returns (without unit) and errors as in :func:`bce`.

    References
    ----------
    .. [1] Published as "hinge" in github.com/MarvinLavechin/daem
    """
    check(output, target, weight)
    return weighted_mean((_signs(target) - torch.tanh(output)).abs(), weight, class_weights)


def focal(
    output: Tensor,
    target: Tensor,
    weight: Tensor,
    *,
    gamma: float = 2.0,
    class_weights: Sequence[float] | None = None,
) -> Tensor:
    """-(1 - p_t)^gamma ln p_t, p_t the probability s(z) or 1 - s(z) given to what is there [1]_.

    The gradient runs through both factors (-0.298 at z = 0, t = 1, gamma = 2), and there is no hidden alpha.

    Parameters
    ----------
    output, target, weight, class_weights
        As in :func:`bce`; the target is 0 or 1.
    gamma : float
        Non-negative; 0 gives :func:`bce`.

    Returns
    -------
    Scalar tensor, in nats. Errors as in :func:`bce`, and a negative gamma.

    References
    ----------
    .. [1] Lin et al. 2017, doi:10.1109/ICCV.2017.324
    """
    check(output, target, weight)
    return weighted_mean(_missing(output, target, gamma) * _cross_entropy(output, target), weight, class_weights)


def focal_detached(
    output: Tensor,
    target: Tensor,
    weight: Tensor,
    *,
    gamma: float = 2.0,
    class_weights: Sequence[float] | None = None,
) -> Tensor:
    """:func:`focal` as published code has it: the same value, but (1 - p_t)^gamma is a constant to the gradient.

    The gradient at z = 0, t = 1, gamma = 2 is -0.125 where the focal loss [1]_ has -0.298. Parameters, returns and
    errors as in :func:`focal`.

    References
    ----------
    .. [1] Lin et al. 2017, doi:10.1109/ICCV.2017.324
    """
    check(output, target, weight)
    factor = _missing(output.detach(), target, gamma)
    return weighted_mean(factor * _cross_entropy(output, target), weight, class_weights)


def tversky(
    output: Tensor,
    target: Tensor,
    weight: Tensor,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    class_weights: Sequence[float] | None = None,
) -> Tensor:
    """1 - (TP + e) / (TP + alpha FP + beta FN + e), e = 1/2 [1]_.

    TP = sum(w p t), FP = sum(w p (1-t)), FN = sum(w (1-p) t), p = s(z), over batch and space, for every class apart.

    Parameters
    ----------
    output, target, weight, class_weights
        As in :func:`bce`.
    alpha, beta : float
        Non-negative: what false positives and false negatives cost. Both 1/2 gives :func:`dice`; the defaults are
        those the authors found best for small objects.

    Returns
    -------
    Scalar tensor, without unit, in [0, 1]. Errors as in :func:`bce`, and a negative alpha or beta.

    References
    ----------
    .. [1] Salehi et al. 2017, doi:10.1007/978-3-319-67389-9_44
    """
    check(output, target, weight)
    _check_option("alpha", alpha)
    _check_option("beta", beta)
    return _overlap(output, target, weight, alpha, beta, class_weights)


def lovasz(output: Tensor, target: Tensor, weight: Tensor, *, class_weights: Sequence[float] | None = None) -> Tensor:
    """Lovasz extension of the Jaccard loss, at the errors \\|t - s(z)\\| of each class [1]_.

    Parameters and errors as in :func:`bce`; the target is exactly 0 or 1 where it has weight, ValueError otherwise.

    Returns
    -------
    Scalar tensor, without unit, in [0, 1]. It is 1 - IoU where all probabilities are 0 or 1.

    Notes
    -----
    Errors of the voxels that have weight, of the whole batch, are sorted from the largest; each is multiplied by what
    its voxel adds to the loss 1 - w(G - M)/w(G + M) of a set M of wrong voxels (G: the foreground) that holds all those
    before it. A weight of 2 counts as two voxels. A class without any foreground has the largest error for its loss.
    The paper has a softmax over exclusive classes for s(z); classes may overlap here.

    References
    ----------
    .. [1] Berman et al. 2018, doi:10.1109/CVPR.2018.00464
    """
    check(output, target, weight)
    _check_binary(target, weight)
    target, weight = target.transpose(0, 1).flatten(1), weight.transpose(0, 1).flatten(1)
    error = (target - torch.sigmoid(output).transpose(0, 1).flatten(1)).abs()
    # What has no weight is sorted behind everything else, whatever its label, and then counts as no error.
    error, rank = torch.where(weight > 0, error, -1.0).sort(dim=1, descending=True)
    with torch.no_grad():  # float64: differences of sums over all voxels
        inside = (weight * target).double().gather(1, rank)
        outside = weight.double().gather(1, rank) - inside
        foreground = inside.sum(1, keepdim=True)
        rest = foreground - inside.cumsum(1)
        union = foreground + outside.cumsum(1)
        jaccard = 1 - rest / torch.where(union > 0, union, 1.0)
        step = torch.diff(jaccard, dim=1, prepend=torch.zeros_like(foreground)).to(error.dtype)
    return _mean_over_classes((error.clamp(min=0) * step).sum(1), weight.sum(1) > 0, class_weights)


def bce_dice(
    output: Tensor,
    target: Tensor,
    weight: Tensor,
    *,
    balance: float = 1.0,
    class_weights: Sequence[float] | None = None,
) -> Tensor:
    """:func:`bce` plus ``balance`` (a number >= 0) times :func:`dice` [1]_.

    Parameters and errors as there.

    References
    ----------
    .. [1] Ma et al. 2021, doi:10.1016/j.media.2021.102035
    """
    _check_option("balance", balance)
    parts = [part(output, target, weight, class_weights=class_weights) for part in (bce, dice)]
    return parts[0] + balance * parts[1]


def dice_focal(
    output: Tensor,
    target: Tensor,
    weight: Tensor,
    *,
    balance: float = 1.0,
    gamma: float = 2.0,
    class_weights: Sequence[float] | None = None,
) -> Tensor:
    """:func:`dice` plus ``balance`` (a number >= 0) times :func:`focal` [1]_.

    Parameters and errors as there.

    References
    ----------
    .. [1] Ma et al. 2021, doi:10.1016/j.media.2021.102035
    """
    _check_option("balance", balance)
    overlap = dice(output, target, weight, class_weights=class_weights)
    return overlap + balance * focal(output, target, weight, gamma=gamma, class_weights=class_weights)


def dice_squared(output: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """1 - 2 sum(w y o) / (sum(w o^2) + sum(w y^2)), o = tanh z, y = 2t - 1 in {-1, +1}, over the whole batch [1]_ [2]_.

    One sum over batch, space and classes, as published, so a class counts by its weight. Background that is found
    counts as overlap. Parameters and errors as in :func:`bce`. Returns a scalar tensor, without unit, in [0, 2].

    Notes
    -----
    The published code also clips the coefficient to [0, 1], which stops all learning where prediction and labels
    disagree on more than half; this has a gradient there.

    References
    ----------
    .. [1] Published as "dice" in github.com/MarvinLavechin/daem
    .. [2] Milletari et al. 2016, doi:10.1109/3DV.2016.79, have the squares, of probabilities.
    """
    check(output, target, weight)
    o, y = torch.tanh(output), _signs(target)
    size = (weight * (o.square() + y.square())).sum()
    counts = size > 0
    coefficient = 2 * (weight * y * o).sum() / torch.where(counts, size, 1.0)
    return torch.where(counts, 1 - coefficient, 0.0)


def softmax_published(output: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """-sum over classes of t ln q, q the softmax over classes of (tanh z + 1)/2, without a background class [1]_.

    Logits within [0, 1] keep q below e/(e + C - 1), so the loss never reaches 0; a voxel of no class has a loss of 0
    whatever the output, and one of several classes the sum of theirs.

    Parameters
    ----------
    output, target, weight : float tensors, shape (B, C, *S)
        As in :func:`bce`. A class without weight at a voxel leaves that voxel's softmax, as in :func:`softmax`.

    Returns
    -------
    Scalar tensor, in nats, the mean over voxels as in :func:`softmax`.

    Raises
    ------
    ValueError
        As :func:`bce`; a single class, whose softmax is 1 everywhere: there is nothing to learn.

    Notes
    -----
    TensorFlow's kernel, which the published code ran on, takes q - t for the gradient, which is not this loss's
    gradient where a voxel has no class or several. This is the loss as defined, with its own gradient.

    References
    ----------
    .. [1] Published as "softmax" in github.com/MarvinLavechin/daem
    """
    check(output, target, weight)
    if output.shape[1] < 2:
        raise ValueError("output has 1 class, whose softmax is 1 everywhere; softmax_published needs two or more")
    known = weight > 0
    logits = ((torch.tanh(output) + 1) / 2).masked_fill(~known, -1e4)  # exp is 0, and finite where nothing is known
    loss = -(torch.where(known, target, 0.0) * F.log_softmax(logits, 1)).sum(1, keepdim=True)
    return weighted_mean(loss, weight)


def local_occupancy(
    output: Tensor,
    target: Tensor,
    weight: Tensor,
    *,
    neighbours: int,
    class_weights: Sequence[float] | None = None,
) -> Tensor:
    """:func:`bce` over the valid neighbours: all neighbours of a class are pooled, each that has weight counts alike.

    Parameters
    ----------
    output, target, weight : float tensors, shape (B, C K, *S)
        Class-major: channel c K + k is neighbour k of class c. The weight is 0 where a neighbour is not valid.
    neighbours : int
        K.
    class_weights : sequence of C floats, optional
        As in :func:`bce`.

    Returns
    -------
    Scalar tensor, in nats. Errors as in :func:`bce`, and channels that are not a multiple of K.
    """
    check(output, target, weight)
    if neighbours < 1 or output.shape[1] % neighbours:
        raise ValueError(f"output has {output.shape[1]} channels; expected {neighbours} neighbours for each class")
    grouped = (tensor.unflatten(1, (-1, neighbours)) for tensor in (output, target, weight))
    return bce(*grouped, class_weights=class_weights)


def mse(output: Tensor, target: Tensor, weight: Tensor, *, class_weights: Sequence[float] | None = None) -> Tensor:
    """Squared error (t - z)^2 of an unbounded target, in the square of its unit (50 nm for distances).

    Parameters and errors as in :func:`bce`, except that output and target are any finite numbers. Returns a scalar
    tensor.
    """
    check(output, target, weight)
    return weighted_mean((output - target).square(), weight, class_weights)


def tanh_mse(output: Tensor, target: Tensor, weight: Tensor, *, class_weights: Sequence[float] | None = None) -> Tensor:
    """Squared error (t - tanh z)^2 of a target in [-1, 1]; the tanh bounds what a linear head cannot [1]_.

    Parameters and errors as in :func:`bce`, with a target in [-1, 1]. Returns a scalar tensor, without unit.

    References
    ----------
    .. [1] Heinrich et al. 2018, doi:10.1007/978-3-030-00934-2_36
    """
    check(output, target, weight)
    return weighted_mean((torch.tanh(output) - target).square(), weight, class_weights)


def hot_distance(
    output: Tensor,
    target: Tensor,
    weight: Tensor,
    *,
    balance: float = 1.0,
    class_weights: Sequence[float] | None = None,
) -> Tensor:
    """BCE of the one-hot half plus ``balance`` times the tanh MSE of the distance half [1]_.

    Parameters
    ----------
    output, target, weight : float tensors, shape (B, 2C, *S)
        The first C channels are one-hot, the last C tanh distances. Each half is divided by its own sum of weights:
        weights count once (the published implementation multiplies both sides by the weight, squaring it).
    balance : float
        Non-negative.
    class_weights : sequence of C floats, optional
        As in :func:`bce`, for both halves.

    Returns
    -------
    Scalar tensor. Errors as in :func:`bce`, and an odd number of channels or a negative balance.

    References
    ----------
    .. [1] Zouinkhi, Rhoades and Weigel 2024, Hot-Distance
    """
    check(output, target, weight)
    if output.shape[1] % 2:
        raise ValueError(f"output has {output.shape[1]} channels; hot_distance needs two per class, an even number")
    _check_option("balance", balance)
    hot, far = zip(*(tensor.chunk(2, 1) for tensor in (output, target, weight)), strict=True)
    return bce(*hot, class_weights=class_weights) + balance * tanh_mse(*far, class_weights=class_weights)


def weighted_mean(loss: Tensor, weight: Tensor, class_weights: Sequence[float] | None = None) -> Tensor:
    """Per class sum(w l) / sum(w) over batch and space, then the mean over classes with any weight.

    Parameters
    ----------
    loss, weight : float tensors, shape (B, C, *S)
        The loss may have one channel for all classes.
    class_weights : sequence of C floats, optional
        Shares of the classes in their mean; all alike by default.

    Returns
    -------
    Scalar tensor; 0, still differentiable, where no class has weight.
    """
    axes = (0, *range(2, loss.ndim))
    total = weight.sum(axes)
    present = total > 0
    return _mean_over_classes((weight * loss).sum(axes) / torch.where(present, total, 1.0), present, class_weights)


def check(output: Tensor, target: Tensor, weight: Tensor) -> None:
    """ValueError unless the shapes agree, output and target are finite and no weight is negative or infinite."""
    if output.ndim < 3 or not output.shape == target.shape == weight.shape:
        raise ValueError(
            f"output has shape {tuple(output.shape)}, target {tuple(target.shape)}, weight {tuple(weight.shape)}; "
            "expected one shape (B, C, *S)"
        )
    if not output.numel():
        return
    # NaN and infinity survive a sum, so a finite one clears every value, in a tenth of the time of isfinite; and the
    # four numbers come from the device in one transfer.
    numbers = torch.stack((output.detach().sum(), target.sum(), *weight.aminmax())).tolist()
    if not math.isfinite(numbers[0]) and (bad := _count_not_finite(output)):
        raise ValueError(
            f"output has {bad} values that are NaN or infinite of {output.numel()}: the training diverged; "
            "expected finite logits (try a smaller learning_rate)"
        )
    if not math.isfinite(numbers[1]) and (bad := _count_not_finite(target)):
        raise ValueError(
            f"target has {bad} values that are NaN or infinite of {target.numel()}; "
            "expected finite numbers, also where the weight is 0"
        )
    for value in numbers[2:]:
        if not 0 <= value < math.inf:
            raise ValueError(f"weight has the value {value!r}; expected numbers >= 0")


def _mean_over_classes(per_class: Tensor, present: Tensor, class_weights: Sequence[float] | None) -> Tensor:
    share = present.to(per_class.dtype)
    if class_weights is not None:
        share = share * _per_class("class_weights", class_weights, share)
    total = share.sum()
    return (share * per_class).sum() / torch.where(total > 0, total, 1.0)


def _overlap(output, target, weight, alpha, beta, class_weights) -> Tensor:
    axes = (0, *range(2, output.ndim))
    predicted = weight * torch.sigmoid(output)
    hit = (predicted * target).sum(axes)
    excess, missed = predicted.sum(axes) - hit, (weight * target).sum(axes) - hit
    epsilon = DICE_EPSILON / 2
    score = (hit + epsilon) / (hit + alpha * excess + beta * missed + epsilon)
    return _mean_over_classes(1 - score, weight.sum(axes) > 0, class_weights)


def _cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(output, target, reduction="none")


def _missing(output: Tensor, target: Tensor, gamma: float) -> Tensor:
    """(1 - p_t)^gamma by way of its logarithm: finite, and so is its gradient, for every logit and gamma."""
    _check_option("gamma", gamma)
    return (gamma * F.logsigmoid(-_signs(target) * output)).exp()


def _signs(target: Tensor) -> Tensor:
    return 2 * target - 1


def _emphasise(weight: Tensor, target: Tensor, positive_weight: float | Sequence[float]) -> Tensor:
    if positive_weight == 1:
        return weight
    factors = _per_class("positive_weight", positive_weight, weight).view(-1, *(1,) * (weight.ndim - 2))
    return weight * (1 + (factors - 1) * target)


def _per_class(name: str, values: float | Sequence[float], like: Tensor) -> Tensor:
    """One number per class, on the device of ``like``, which has one entry (or channel, its axis 1) per class."""
    classes = like.shape[0] if like.ndim == 1 else like.shape[1]
    numbers = [values] * classes if isinstance(values, Real) else list(values)
    if len(numbers) != classes or not all(0 <= number < math.inf for number in numbers):
        raise ValueError(f"{name} is {values!r}; expected {classes} numbers >= 0, one per class")
    return like.new_tensor(numbers)


def _check_option(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} is {value!r}; expected a number >= 0")


def _check_binary(target: Tensor, weight: Tensor) -> None:
    other = (weight > 0) & (target != 0) & (target != 1)
    if other.any():
        raise ValueError(f"target has the value {float(target[other][0])!r}; expected 0 or 1, one-hot")


def _count_not_finite(tensor: Tensor) -> int:
    return int((~torch.isfinite(tensor)).sum())
