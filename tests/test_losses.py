"""Losses against hand-worked numbers, finite differences and what must not matter."""

import math

import pytest
import torch

from helpers import losses

ALL = {"bce": (losses.bce, 1), "tanh_mse": (losses.tanh_mse, 1), "hot_distance": (losses.hot_distance, 2)}


def example(channels, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 2 * channels, 5, 4)
    output = torch.randn(shape, generator=generator, dtype=dtype)
    target = torch.rand(shape, generator=generator, dtype=dtype)
    weight = (torch.rand(shape, generator=generator) > 0.4).to(dtype)
    return output.requires_grad_(), target, weight


def one(value):
    return torch.tensor(float(value)).reshape(1, 1, 1)


def test_bce_by_hand():
    z = math.log(0.2 / 0.8)  # sigmoid(z) = 0.2
    assert losses.bce(one(z), one(1), one(1)).item() == pytest.approx(-math.log(0.2))
    assert losses.bce(one(z), one(0), one(1)).item() == pytest.approx(-math.log(0.8))
    assert losses.bce(one(0), one(1), one(1)).item() == pytest.approx(math.log(2))


def test_tanh_mse_by_hand():
    assert losses.tanh_mse(one(math.atanh(0.5)), one(-0.25), one(1)).item() == pytest.approx(0.75**2)


def test_each_class_is_its_own_weighted_mean_and_classes_count_alike():
    loss = torch.tensor([[[1.0, 3.0], [10.0, 20.0]]])  # (1, 2 classes, 2 voxels)
    weight = torch.tensor([[[1.0, 1.0], [0.0, 4.0]]])
    assert losses.weighted_mean(loss, weight).item() == pytest.approx((2 + 20) / 2)
    weight = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])  # a class without weight does not count as zero
    assert losses.weighted_mean(loss, weight).item() == pytest.approx(2)


def test_hot_distance_counts_weights_once():
    # weights 2 and 1/2 with errors of 1: the published product of weighted sides gives (4 + 1/4) / 2 = 2.125
    output = torch.zeros(1, 2, 2)
    target = torch.tensor([[[0.5, 0.5], [1.0, 1.0]]])
    weight = torch.tensor([[[0.0, 0.0], [2.0, 0.5]]])
    assert losses.hot_distance(output, target, weight).item() == pytest.approx(1.0)


def test_hot_distance_is_the_sum_of_its_halves():
    output, target, weight = example(2)
    halves = (
        losses.bce(output[:, :2], target[:, :2], weight[:, :2]),
        losses.tanh_mse(output[:, 2:], target[:, 2:], weight[:, 2:]),
    )
    total = losses.hot_distance(output, target, weight, balance=3.0)
    assert total.item() == pytest.approx((halves[0] + 3 * halves[1]).item())


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_finite_differences(name):
    function, channels = ALL[name]
    output, target, weight = example(channels)
    assert torch.autograd.gradcheck(lambda x: function(x, target, weight), (output,))


@pytest.mark.parametrize("name", ALL)
def test_what_has_no_weight_changes_neither_loss_nor_gradient_by_a_bit(name):
    function, channels = ALL[name]
    output, target, weight = example(channels, dtype=torch.float32)
    loss = function(output, target, weight)
    gradient = torch.autograd.grad(loss, output)[0]
    assert (gradient[weight == 0] == 0).all() and (gradient[weight > 0] != 0).all()
    other = torch.where(weight == 0, 1 - target, target)
    again = function(output, other, weight)
    assert torch.equal(loss, again) and torch.equal(gradient, torch.autograd.grad(again, output)[0])


@pytest.mark.parametrize("name", ALL)
def test_without_any_weight_the_loss_is_zero_with_a_zero_gradient(name):
    function, channels = ALL[name]
    output, target, weight = example(channels)
    loss = function(output, target, torch.zeros_like(weight))
    assert loss.item() == 0
    assert (torch.autograd.grad(loss, output)[0] == 0).all()


@pytest.mark.parametrize("name", ALL)
def test_scaling_the_weights_changes_nothing(name):
    function, channels = ALL[name]
    output, target, weight = example(channels)
    assert function(output, target, weight).item() == pytest.approx(function(output, target, 7 * weight).item())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("name", ALL)
def test_a_nan_raises_even_where_it_has_no_weight(name, bad):
    function, channels = ALL[name]
    output, target, weight = (t.detach().clone() for t in example(channels))
    weight[0, 0, 0, 0] = 0
    output[0, 0, 0, 0] = bad
    with pytest.raises(ValueError, match="1 values that are NaN or infinite"):
        function(output, target, weight)


@pytest.mark.parametrize("name", ALL)
def test_bad_shapes_and_weights_are_named(name):
    function, channels = ALL[name]
    output, target, weight = example(channels)
    with pytest.raises(ValueError, match="expected one shape"):
        function(output, target[:, :1], weight)
    with pytest.raises(ValueError, match="weight has the value -1.0"):
        function(output, target, weight - 1)
    with pytest.raises(ValueError, match="weight has the value nan"):
        function(output, target, weight * math.nan)


def test_hot_distance_refuses_an_odd_number_of_channels_and_a_negative_balance():
    with pytest.raises(ValueError, match="3 channels"):
        losses.hot_distance(*[torch.ones(1, 3, 2, 2)] * 3)
    with pytest.raises(ValueError, match="balance is -1"):
        losses.hot_distance(*[torch.ones(1, 2, 2, 2)] * 3, balance=-1)
