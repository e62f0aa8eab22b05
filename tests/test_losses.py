"""Losses against torch, kornia, brute force, hand-worked numbers, finite differences and what must not matter."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from helpers import losses

LOV = partial(losses.local_occupancy, neighbours=2)
ALL = {  # name -> function, kind of target
    "bce": (losses.bce, "one-hot"),
    "softmax": (losses.softmax, "exclusive"),
    "softmax in order": (partial(losses.softmax, order=(1, 0)), "one-hot"),
    "approx_ce": (losses.approx_ce, "one-hot"),
    "dice": (losses.dice, "one-hot"),
    "hinge": (losses.hinge, "one-hot"),
    "square": (losses.square, "one-hot"),
    "l1": (losses.l1, "one-hot"),
    "focal": (losses.focal, "one-hot"),
    "focal, small gamma": (partial(losses.focal, gamma=0.3), "one-hot"),
    "focal_detached": (losses.focal_detached, "one-hot"),
    "tversky": (losses.tversky, "one-hot"),
    "lovasz": (losses.lovasz, "one-hot"),
    "bce_dice": (losses.bce_dice, "one-hot"),
    "dice_focal": (partial(losses.dice_focal, balance=0.5), "one-hot"),
    "dice_squared": (losses.dice_squared, "one-hot"),
    "softmax_published": (losses.softmax_published, "one-hot"),
    "local_occupancy": (LOV, "neighbours"),
    "mse": (losses.mse, "real"),
    "tanh_mse": (losses.tanh_mse, "real"),
    "hot_distance": (partial(losses.hot_distance, balance=2.0), "halves"),
}
COUPLED = {"softmax", "softmax in order", "dice_squared", "softmax_published"}  # not a mean over classes
PER_CLASS = [name for name in ALL if name not in COUPLED]
OVERLAP = {"dice", "tversky", "bce_dice", "dice_focal"}  # their epsilon does not scale with the weights
FLAT = {"hinge", "lovasz", "softmax_published"}  # some voxels with weight have no gradient
LABELS = [name for name, (_, kind) in ALL.items() if kind in ("one-hot", "exclusive")]
every_loss = pytest.mark.parametrize("name", ALL)


def example(name, classes=2, dtype=torch.float64, seed=0):
    """The loss and its output, target, 0/1 weight: two images of 5 x 4 voxels."""
    generator = torch.Generator().manual_seed(seed)
    function, kind = ALL[name]
    shape = (2, classes * (2 if kind in ("neighbours", "halves") else 1), 5, 4)
    output = torch.randn(shape, generator=generator, dtype=dtype)
    real = 2 * torch.rand(shape, generator=generator, dtype=dtype) - 1
    target = (real > 0).to(dtype)
    if kind == "exclusive":
        target = target * (target.cumsum(1) == 1)
    if kind == "real":
        target = real
    if kind == "halves":
        target = torch.cat((target[:, :classes], real[:, classes:]), 1)
    weight = (torch.rand(shape, generator=generator) > 0.4).to(dtype)
    return function, output.requires_grad_(), target, weight


def of_classes(name, classes, chosen):
    """Channels of the chosen classes, in that order."""
    channels = {"halves": 2, "neighbours": 2}.get(ALL[name][1], 1) * classes
    index = torch.arange(channels).view(-1, classes)  # part-major: halves, or one channel per class
    if ALL[name][1] == "neighbours":
        return torch.arange(channels).view(classes, -1)[chosen].flatten()
    return index[:, chosen].flatten()


def one(*values):
    """One class, one voxel per value."""
    return torch.tensor([float(value) for value in values], dtype=torch.float64).reshape(1, 1, -1)


def gradient_of(function, output, target, weight, **options):
    output = output.detach().requires_grad_()
    return torch.autograd.grad(function(output, target, weight, **options), output)[0]


# Numbers worked by hand


def test_bce_by_hand():
    z = math.log(0.2 / 0.8)  # sigmoid(z) = 0.2
    assert losses.bce(one(z), one(1), one(1)).item() == pytest.approx(-math.log(0.2))
    assert losses.bce(one(z), one(0), one(1)).item() == pytest.approx(-math.log(0.8))
    assert losses.bce(one(0), one(1), one(1)).item() == pytest.approx(math.log(2))


def test_approximate_cross_entropy_by_hand():
    z = math.log(0.01 / 0.99)
    assert losses.bce(one(z), one(1), one(1)).item() == pytest.approx(4.61, abs=0.01)
    assert losses.approx_ce(one(z), one(1), one(1)).item() == pytest.approx(0.99 + 0.99**2 / 2)  # 1.48
    assert losses.approx_ce(one(-z), one(0), one(1)).item() == pytest.approx(0.99 + 0.99**2 / 2)


def test_the_slope_of_approximate_cross_entropy_is_at_most_two():
    z = torch.linspace(-12, 12, 101, dtype=torch.float64).reshape(1, 1, -1)
    p = torch.sigmoid(z)
    for label, expected in ((1, -(2 - p)), (0, 1 + p)):  # of -ln x, it is -1/x
        slope = 101 * gradient_of(losses.approx_ce, z, torch.full_like(z, label), torch.ones_like(z)) / (p * (1 - p))
        torch.testing.assert_close(slope, expected)
        assert slope.abs().max() <= 2


def test_dice_and_tversky_by_hand():
    z, t = one(0, 0, math.log(3)), one(1, 0, 1)  # p = 1/2, 1/2, 3/4
    assert losses.dice(z, t, one(1, 1, 1)).item() == pytest.approx(1 - (2 * 1.25 + 1) / (1.75 + 2 + 1))
    assert losses.dice(z, t, one(1, 0, 2)).item() == pytest.approx(1 - (2 * 2 + 1) / (2 + 3 + 1))
    loss = losses.tversky(z, t, one(1, 1, 1), alpha=0.25, beta=2)
    assert loss.item() == pytest.approx(1 - 1.75 / (1.25 + 0.25 * 0.5 + 2 * 0.75 + 0.5))


def test_hinge_square_and_l1_by_hand():
    z, t = one(math.atanh(0.5), math.atanh(0.5)), one(1, 0)
    assert losses.square(z, t, one(1, 1)).item() == pytest.approx((0.5**2 + 1.5**2) / 2)
    assert losses.l1(z, t, one(3, 1)).item() == pytest.approx((3 * 0.5 + 1.5) / 4)
    assert losses.hinge(one(0.25, 3, -0.5), one(1, 1, 1), one(1, 1, 1)).item() == pytest.approx((0.75 + 0 + 1.5) / 3)
    assert losses.hinge(one(0.25, -3), one(0, 0), one(1, 1)).item() == pytest.approx(1.25 / 2)


@pytest.mark.parametrize(("function", "slope"), [(losses.focal, -0.298), (losses.focal_detached, -0.125)])
def test_the_gradient_of_the_focal_loss_at_zero(function, slope):
    assert function(one(0), one(1), one(1), gamma=2).item() == pytest.approx(math.log(2) / 4)
    assert gradient_of(function, one(0), one(1), one(1), gamma=2).item() == pytest.approx(slope, abs=5e-4)


def test_squared_dice_by_hand_sums_over_the_whole_batch():
    z = torch.tensor([[[0.5], [0.0]], [[-0.25], [0.8]]], dtype=torch.float64).atanh()  # 2 images, 2 classes
    t, w = torch.tensor([[[1.0], [0.0]], [[0.0], [0.0]]]), torch.tensor([[[1.0], [1.0]], [[2.0], [0.0]]])
    # overlap 1/2 + 0 + 2/4; squares 1/4 + 0 + 2/16, and 4 labels
    assert losses.dice_squared(z, t.double(), w.double()).item() == pytest.approx(1 - 2 * 1 / (0.375 + 4))


def test_published_softmax_by_hand():
    z = torch.tensor([[[0.5], [-0.5]]], dtype=torch.float64).atanh()  # logits 3/4 and 1/4
    alone = math.log(1 + math.exp(-0.5)), math.log(1 + math.exp(0.5))
    for labels, expected in (((1, 0), alone[0]), ((0, 1), alone[1]), ((1, 1), sum(alone)), ((0, 0), 0)):
        t = torch.tensor(labels, dtype=torch.float64).reshape(1, 2, 1)
        assert losses.softmax_published(z, t, torch.ones_like(t)).item() == pytest.approx(expected)


def test_regressions_by_hand():
    assert losses.tanh_mse(one(math.atanh(0.5)), one(-0.25), one(1)).item() == pytest.approx(0.75**2)
    assert losses.mse(one(-3, 2), one(1, 2.5), one(1, 3)).item() == pytest.approx((16 + 3 * 0.25) / 4)


def test_each_class_is_its_own_weighted_mean_and_classes_count_alike():
    loss = torch.tensor([[[1.0, 3.0], [10.0, 20.0]]])  # (1, 2 classes, 2 voxels)
    weight = torch.tensor([[[1.0, 1.0], [0.0, 4.0]]])
    assert losses.weighted_mean(loss, weight).item() == pytest.approx((2 + 20) / 2)
    assert losses.weighted_mean(loss, weight, [3, 1]).item() == pytest.approx((3 * 2 + 20) / 4)
    assert losses.weighted_mean(loss, weight, [0, 0]).item() == 0
    weight = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])  # a class without weight does not count as zero
    assert losses.weighted_mean(loss, weight).item() == pytest.approx(2)
    assert losses.weighted_mean(loss, weight, [3, 1]).item() == pytest.approx(2)


def test_hot_distance_counts_weights_once():
    # weights 2 and 1/2 with errors of 1: the published product of weighted sides gives (4 + 1/4) / 2 = 2.125
    output = torch.zeros(1, 2, 2)
    target = torch.tensor([[[0.5, 0.5], [1.0, 1.0]]])
    weight = torch.tensor([[[0.0, 0.0], [2.0, 0.5]]])
    assert losses.hot_distance(output, target, weight).item() == pytest.approx(1.0)


def test_compound_losses_are_the_sum_of_their_parts():
    _, output, target, weight = example("hot_distance")
    halves = (
        losses.bce(output[:, :2], target[:, :2], weight[:, :2]),
        losses.tanh_mse(output[:, 2:], target[:, 2:], weight[:, 2:]),
    )
    loss = losses.hot_distance(output, target, weight, balance=3.0)
    assert loss.item() == pytest.approx((halves[0] + 3 * halves[1]).item())
    _, *data = example("bce")
    bce, dice, focal = losses.bce(*data), losses.dice(*data), losses.focal(*data, gamma=1)
    assert losses.bce_dice(*data, balance=3).item() == pytest.approx((bce + 3 * dice).item())
    assert losses.dice_focal(*data, balance=3, gamma=1).item() == pytest.approx((dice + 3 * focal).item())


def test_neighbours_of_a_class_are_pooled_by_what_is_valid():
    _, output, target, weight = example("local_occupancy", classes=3)
    loss = F.binary_cross_entropy_with_logits(output, target, weight, reduction="none").view(2, 3, 2, 5, 4)
    expected = loss.sum((0, 2, 3, 4)) / weight.view(2, 3, 2, 5, 4).sum((0, 2, 3, 4))
    assert LOV(output, target, weight).item() == pytest.approx(expected.mean().item())


# Against torch, kornia and brute force


def test_positive_weight_is_a_factor_on_the_foreground():
    _, output, target, weight = example("bce")
    per_class = []
    for c, factor in enumerate((3.0, 0.5)):
        z, t, w = (tensor[:, c] for tensor in (output, target, weight))
        weighted = F.binary_cross_entropy_with_logits(z, t, w, pos_weight=torch.tensor(factor), reduction="sum")
        per_class.append(weighted / (w * torch.where(t == 1, factor, 1.0)).sum())
    loss = losses.bce(output, target, weight, positive_weight=[3.0, 0.5])
    assert loss.item() == pytest.approx(sum(per_class).item() / 2)
    both = losses.bce(output, target, weight, positive_weight=3.0)
    assert both.item() == losses.bce(output, target, weight, positive_weight=[3.0, 3.0]).item()


def test_softmax_is_torchs_cross_entropy_with_a_background_of_zero():
    _, output, target, weight = example("softmax", classes=3)
    label = torch.where(target.sum(1) == 0, 0, target.argmax(1) + 1)
    known = weight[:, :1].expand_as(weight)  # all classes known, or none
    logits, ignored = F.pad(output, (0, 0, 0, 0, 1, 0)), torch.where(known[:, 0] == 1, label, -100)
    assert losses.softmax(output, target, known).item() == pytest.approx(F.cross_entropy(logits, ignored).item())
    factors = torch.tensor([1, 0.5, 2, 3], dtype=torch.float64)
    expected = F.cross_entropy(logits, ignored, factors)
    loss = losses.softmax(output, target, known, positive_weight=[0.5, 2, 3])
    assert loss.item() == pytest.approx(expected.item())


@pytest.mark.parametrize("positive_weight", [1.0, 4.0])
def test_softmax_of_one_class_is_bce(positive_weight):
    _, output, target, weight = example("bce")
    z, t, w = output[:, :1], target[:, :1], 1.5 * weight[:, :1]
    options = {"positive_weight": positive_weight}
    assert losses.softmax(z, t, w, **options).item() == pytest.approx(losses.bce(z, t, w, **options).item(), rel=1e-14)
    gradients = [gradient_of(f, z, t, w, **options) for f in (losses.softmax, losses.bce)]
    torch.testing.assert_close(*gradients)


def test_softmax_uses_what_is_known_of_each_voxel():
    _, output, target, weight = example("softmax", classes=3)
    kept = torch.cat((torch.ones_like(weight[:, :1]), weight), 1) > 0
    z = F.pad(output, (0, 0, 0, 0, 1, 0)).exp() * kept
    t = torch.cat((1 - (target * weight).sum(1, keepdim=True), target * weight), 1)
    voxel = -(t * (z / z.sum(1, keepdim=True)).clamp(min=1e-300).log()).sum(1, keepdim=True)
    expected = ((weight * voxel).sum((0, 2, 3)) / weight.sum((0, 2, 3))).mean()
    assert losses.softmax(output, target, weight).item() == pytest.approx(expected.item())


def test_softmax_refuses_overlapping_classes_unless_told_an_order():
    z = torch.tensor([[[1.0], [2.0], [3.0]]])
    both, first, last = (torch.tensor(t).reshape(1, 3, 1) for t in ((1.0, 0, 1), (1.0, 0, 0), (0, 0, 1.0)))
    w = torch.ones(1, 3, 1)
    with pytest.raises(ValueError, match="1 voxels belong to several classes"):
        losses.softmax(z, both, w)
    assert torch.equal(losses.softmax(z, both, w, order=(0, 1, 2)), losses.softmax(z, first, w))
    assert torch.equal(losses.softmax(z, both, w, order=(1, 2, 0)), losses.softmax(z, last, w))
    unknown = torch.tensor([1.0, 1, 0]).reshape(1, 3, 1)  # where one of them is not known they do not overlap
    assert torch.equal(losses.softmax(z, both, unknown), losses.softmax(z, first, unknown))
    for order in ((0, 1), (0, 1, 1), (1, 2, 3)):
        with pytest.raises(ValueError, match="expected each class index from 0 to 2 once"):
            losses.softmax(z, both, w, order=order)


def test_focal_is_kornias_without_its_alpha():
    reference = pytest.importorskip("kornia.losses").binary_focal_loss_with_logits
    _, output, target, weight = example("focal")
    expected = losses.weighted_mean(reference(output, target, alpha=None, gamma=1.5), weight)
    torch.testing.assert_close(losses.focal(output, target, weight, gamma=1.5), expected)
    torch.testing.assert_close(
        gradient_of(losses.focal, output, target, weight, gamma=1.5), torch.autograd.grad(expected, output)[0]
    )


def test_focal_with_gamma_zero_is_bce():
    _, *data = example("focal")
    for function in (losses.focal, losses.focal_detached):
        assert torch.equal(function(*data, gamma=0), losses.bce(*data))
        assert torch.equal(gradient_of(function, *data, gamma=0), gradient_of(losses.bce, *data))


def test_the_detached_factor_is_a_constant():
    _, output, target, weight = example("focal")
    assert torch.equal(losses.focal_detached(output, target, weight), losses.focal(output, target, weight))
    factor = (target - torch.sigmoid(output.detach())).square()

    def reference(z, t, w):
        return losses.weighted_mean(factor * F.softplus((1 - 2 * t) * z), w)

    expected = gradient_of(reference, output, target, weight)
    torch.testing.assert_close(gradient_of(losses.focal_detached, output, target, weight), expected)


def test_hinge_is_torchs_ranking_loss_against_zero():
    _, output, target, weight = example("hinge")
    loss = F.margin_ranking_loss(output, torch.zeros_like(output), 2 * target - 1, margin=1, reduction="none")
    torch.testing.assert_close(losses.hinge(output, target, weight), losses.weighted_mean(loss, weight))


def test_tversky_of_two_halves_is_dice():
    _, output, target, weight = example("dice")
    weight = 1.7 * weight
    p, axes = torch.sigmoid(output), (0, 2, 3)
    fraction = (2 * (weight * p * target).sum(axes) + 1) / ((weight * p).sum(axes) + (weight * target).sum(axes) + 1)
    for loss in (losses.dice(output, target, weight), losses.tversky(output, target, weight, alpha=0.5, beta=0.5)):
        torch.testing.assert_close(loss, 1 - fraction.mean())


def choquet(error, inside, weight):
    """Lovasz extension by its definition: the integral over u in (0, 1) of the Jaccard loss of {error > u}."""
    levels = sorted({0.0, *error.tolist()})
    total = 0.0
    for low, high in zip(levels, levels[1:], strict=False):
        wrong = error > (low + high) / 2
        union = weight[inside | wrong].sum()
        total += (high - low) * float(1 - weight[inside & ~wrong].sum() / union)
    return total


@pytest.mark.parametrize("seed", range(5))
def test_lovasz_is_the_extension_of_the_jaccard_loss(seed):
    _, output, target, weight = example("lovasz", seed=seed)
    output = output.detach().round(decimals=1)  # with ties
    weight = weight * (1 + torch.arange(40).view(2, 1, 5, 4) % 3)
    target[:, 1] *= seed > 0  # once without any foreground
    expected = []
    for c in range(2):
        z, t, w = (tensor[:, c].flatten() for tensor in (output, target, weight))
        expected.append(
            choquet(torch.where(t == 1, 1 - torch.sigmoid(z), torch.sigmoid(z))[w > 0], t[w > 0] == 1, w[w > 0])
        )
    assert losses.lovasz(output, target, weight).item() == pytest.approx(sum(expected) / 2)


def test_lovasz_is_kornias_of_two_exclusive_classes():
    reference = pytest.importorskip("kornia.losses").lovasz_softmax_loss
    _, output, target, _ = example("lovasz")
    z, t = output[:1, :1], target[:1, :1]  # one image: kornia takes images apart
    ones = torch.ones_like(t)
    loss = (losses.lovasz(z, t, ones) + losses.lovasz(-z, 1 - t, ones)) / 2
    assert loss.item() == pytest.approx(reference(torch.cat((0 * z, z), 1), t[:, 0].long()).item())


def test_lovasz_of_a_hard_prediction_is_one_minus_its_iou():
    z, t = one(40, 40, 40, -40, -40), one(1, 1, 0, 1, 0)
    assert losses.lovasz(z, t, one(1, 1, 1, 1, 1)).item() == pytest.approx(1 - 2 / 4)
    assert losses.lovasz(z, t, one(1, 1, 0, 1, 1)).item() == pytest.approx(1 - 2 / 3)


# What holds for every loss


@pytest.mark.parametrize("name", [name for name in ALL if name != "focal_detached"])
def test_gradients_are_finite_differences(name):
    function, output, target, weight = example(name)
    assert torch.autograd.gradcheck(lambda z: function(z, target, 1.5 * weight), (output,))


@every_loss
def test_what_has_no_weight_changes_neither_loss_nor_gradient_by_a_bit(name):
    function, output, target, weight = example(name, dtype=torch.float32)
    loss = function(output, target, weight)
    gradient = torch.autograd.grad(loss, output)[0]
    assert (gradient[weight == 0] == 0).all() and gradient.any()
    assert name in FLAT or (gradient[weight > 0] != 0).all()
    for wrong in (1 - target, torch.full_like(target, 7.5)):
        again = function(output, torch.where(weight == 0, wrong, target), weight)
        assert torch.equal(loss, again) and torch.equal(gradient, torch.autograd.grad(again, output)[0])


@every_loss
def test_without_any_weight_the_loss_is_zero_with_a_zero_gradient(name):
    function, output, target, weight = example(name)
    loss = function(output, target, torch.zeros_like(weight))
    assert loss.item() == 0 and loss.shape == ()
    assert (torch.autograd.grad(loss, output)[0] == 0).all()


@pytest.mark.parametrize("name", [name for name in ALL if name not in OVERLAP])
def test_scaling_the_weights_changes_nothing(name):
    function, output, target, weight = example(name)
    assert function(output, target, weight).item() == pytest.approx(function(output, target, 7 * weight).item())


@every_loss
def test_a_weight_of_two_is_a_voxel_twice(name):
    function, output, target, weight = example(name)
    more = weight[:, :1].expand_as(weight)
    twice = function(
        *(torch.cat(pair, 2) for pair in ((output, output), (target, target), (torch.ones_like(more), more)))
    )
    assert function(output, target, 1 + more).item() == pytest.approx(twice.item())


@every_loss
def test_the_batch_is_pooled_and_space_may_have_three_axes(name):
    function, *data = example(name)
    pooled = [tensor.transpose(0, 1).reshape(1, tensor.shape[1], 5, 4, 2) for tensor in data]
    assert function(*data).item() == pytest.approx(function(*pooled).item())


@pytest.mark.parametrize("name", [name for name in ALL if name != "softmax in order"])
def test_the_order_of_classes_changes_nothing(name):
    function, *data = example(name, classes=3)
    index = of_classes(name, 3, [2, 0, 1])
    assert function(*data).item() == pytest.approx(function(*(tensor[:, index] for tensor in data)).item())


@pytest.mark.parametrize("name", PER_CLASS)
def test_class_weights_are_shares_in_the_mean_over_classes(name):
    function, *data = example(name)
    alone = [function(*(tensor[:, of_classes(name, 2, [c])] for tensor in data)).item() for c in range(2)]
    assert function(*data).item() == pytest.approx(sum(alone) / 2)
    assert function(*data, class_weights=[3, 1]).item() == pytest.approx((3 * alone[0] + alone[1]) / 4)
    assert function(*data, class_weights=(0, 2.5)).item() == pytest.approx(alone[1])
    for bad in ([1], [1, 2, 3], [1, -1], [1, math.nan]):
        with pytest.raises(ValueError, match="class_weights is .*expected 2 numbers >= 0"):
            function(*data, class_weights=bad)


@pytest.mark.parametrize("name", [name for name in LABELS if name != "softmax_published"])
def test_a_perfect_prediction_costs_nothing(name):
    function, _, target, weight = example(name)
    if name == "softmax in order":
        target = target * (target.cumsum(1) == 1)
    assert function(80 * target - 40, target, weight).item() == pytest.approx(0, abs=1e-12)


@every_loss
def test_extreme_logits_keep_loss_and_gradient_finite(name):
    function, output, target, weight = example(name, dtype=torch.float32)
    output = (1e4 * output.detach().sign()).requires_grad_()
    loss = function(output, target, weight)
    assert torch.isfinite(loss) and torch.isfinite(torch.autograd.grad(loss, output)[0]).all()


@pytest.mark.parametrize("name", [*sorted(OVERLAP), "lovasz"])
def test_a_class_without_foreground_still_has_a_gradient(name):
    function, output, target, weight = example(name)
    assert gradient_of(function, output, torch.zeros_like(target), weight).any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@every_loss
def test_the_device_changes_nothing(name):
    function, *data = example(name, dtype=torch.float32)
    loss = function(*(tensor.cuda() for tensor in data))
    assert loss.is_cuda and loss.item() == pytest.approx(function(*data).item(), rel=1e-5)


# Bad input


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@every_loss
def test_a_nan_raises_even_where_it_has_no_weight(name, bad):
    function, *data = example(name)
    output, target, weight = (tensor.detach().clone() for tensor in data)
    weight[0, 0, 0, 0] = 0
    for tensor, said in ((output, "output has"), (target, "target has")):
        kept = tensor[0, 0, 0, 0].item()
        tensor[0, 0, 0, 0] = bad
        with pytest.raises(ValueError, match=f"{said} 1 values that are NaN or infinite"):
            function(output, target, weight)
        tensor[0, 0, 0, 0] = kept


def test_infinities_that_cancel_are_found_and_a_sum_that_overflows_is_no_error():
    both = one(math.inf, -math.inf)
    with pytest.raises(ValueError, match="output has 2 values"):
        losses.bce(both, one(0, 0), one(1, 1))
    huge = torch.full((1, 1, 2), 3e38)
    assert losses.bce(huge, torch.ones_like(huge), torch.ones_like(huge)).item() == 0


@every_loss
def test_bad_shapes_and_weights_are_named(name):
    function, output, target, weight = example(name)
    with pytest.raises(ValueError, match=r"target \(2, 1, 5, 4\), weight .*expected one shape"):
        function(output, target[:, :1], weight)
    for value in (-1.0, math.nan, math.inf):
        weight[1, 1, 2, 2] = value
        with pytest.raises(ValueError, match=f"weight has the value {value}"):
            function(output, target, weight)


@pytest.mark.parametrize("name", ["softmax", "lovasz"])
def test_labels_between_zero_and_one_are_refused_where_they_make_no_sense(name):
    function, output, target, weight = example(name)
    with pytest.raises(ValueError, match="target has the value 0.5; expected 0 or 1"):
        function(output, target + 0.5 - target, weight)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("focal", "gamma", -1),
        ("focal_detached", "gamma", math.nan),
        ("dice_focal", "gamma", math.inf),
        ("dice_focal", "balance", -1),
        ("bce_dice", "balance", -1),
        ("hot_distance", "balance", -1),
        ("tversky", "alpha", -0.1),
        ("tversky", "beta", math.nan),
        ("bce", "positive_weight", -2),
        ("bce", "positive_weight", [1, 2, 3]),
        ("softmax", "positive_weight", [1]),
    ],
)
def test_bad_options_are_named(name, option, value):
    function, *data = example(name)
    with pytest.raises(ValueError, match=f"{option} is "):
        function(*data, **{option: value})


def test_channels_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="3 channels; hot_distance"):
        losses.hot_distance(*[torch.ones(1, 3, 2, 2)] * 3)
    with pytest.raises(ValueError, match="3 channels; expected 2 neighbours"):
        LOV(*[torch.ones(1, 3, 2, 2)] * 3)
    with pytest.raises(ValueError, match="1 class"):
        losses.softmax_published(*[torch.ones(1, 1, 2, 2)] * 3)
