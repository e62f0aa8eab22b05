"""Whole images through a network."""

import numpy as np
import pytest
import torch
from torch import nn

from helpers import inference, models, objectives
from helpers.inference import predict


def test_any_size_is_answered_at_its_own_size():
    network = models.UNet(1, 2, width=2, depth=3).eval()
    for shape in ((16, 16), (17, 30), (5, 64), (3, 3)):
        assert predict(network, np.random.default_rng(0).random((1, *shape), np.float32)).shape == (1, 2, *shape)


def test_padding_does_not_touch_what_fits():
    network = models.UNet(1, 1, width=2, depth=2).eval()
    raw = np.random.default_rng(0).random((1, 16, 16), np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(raw)[None])
    assert torch.equal(predict(network, raw), expected)


def test_training_mode_is_refused():
    with pytest.raises(ValueError, match="training mode"):
        predict(models.UNet(1, 1), np.zeros((1, 16, 16), np.float32))


@pytest.mark.parametrize(("dims", "depth"), [(2, 1), (2, 2), (2, 3), (3, 1)])
def test_an_impulse_reaches_just_as_far_as_is_computed(dims, depth):
    """All weights positive and an impulse that wins every maximum: nothing cancels, nothing hides."""
    network = models.UNet(1, 1, dims=dims, width=1, depth=depth).double().eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.abs_()
    size = {1: 48, 2: 96, 3: 192}[depth]
    raw, furthest = torch.full((1, 1, *(size,) * dims), 0.6, dtype=torch.float64), 0
    with torch.no_grad():
        before = network(raw)
        for phase in range(network.divisor):
            place = size // 2 + phase
            raw[(..., *(place,) * dims)] += 100
            changed = (network(raw) != before)[0, 0].nonzero()
            raw[(..., *(place,) * dims)] -= 100
            furthest = max(furthest, int((changed - place).abs().max()))
    assert network.reach == (furthest,) * dims
    assert all(h >= furthest and h % network.divisor == 0 for h in inference.halo_of(network))


@pytest.mark.parametrize(("reach", "halo"), [((22, 12), (24, 12)), ((21, 13), (24, 16)), ((0, 4), (0, 4))])
def test_the_halo_is_the_networks_own_reach_in_steps_of_its_divisor(reach, halo):
    class Told(models.UNet):
        reach = None

    network = Told(1, 1, width=2, depth=2)
    network.reach = reach
    assert inference.halo_of(network) == halo


@pytest.mark.parametrize(
    "norm", [nn.GroupNorm(1, 2), nn.InstanceNorm2d(2), nn.BatchNorm2d(2, track_running_stats=False)]
)
def test_what_normalises_by_what_it_sees_is_refused(norm):
    network = models.UNet(1, 1, width=2, depth=1).eval()
    inference.check_blockwise(network)
    network.down[0][1] = norm.eval()
    with pytest.raises(ValueError, match=rf"layer down.0.1 is {type(norm).__name__}, which normalises by what it sees"):
        inference.check_blockwise(network)


@pytest.mark.parametrize("norm", models.NORMS)
@pytest.mark.parametrize("name", models.names())
def test_networks_made_here_are_refused_just_where_they_say_so(name, norm):
    network = models.build(name, 1, 1, width=2, depth=1, norm=norm).eval()
    if network.blockwise:
        inference.check_blockwise(network)
    else:
        with pytest.raises(ValueError, match="which normalises by what it sees"):
            inference.check_blockwise(network)


@pytest.mark.parametrize(("dims", "depth"), [(2, 1), (2, 2), (3, 1)])
def test_a_network_that_reflects_takes_every_size_but_those_named(dims, depth):
    """Too small is what torch itself cannot reflect, and nothing else."""
    network = models.build("resnet", 1, 1, dims=dims, depth=depth, width=1, blocks=1, variant="cyclegan").eval()
    for side in range(1, 4 * network.divisor):
        size = (16, *(side,) * (dims - 1))
        padded = [s + -s % network.divisor for s in size]
        try:
            network(torch.zeros(1, 1, *padded))
        except RuntimeError:
            with pytest.raises(
                ValueError, match=f"too small: .* at least {network.divisor + 1} voxels along each axis"
            ):
                predict(network, np.zeros((1, *size), np.float32))
        else:
            assert predict(network, np.zeros((1, *size), np.float32)).shape == (1, 1, *size)


def test_a_network_that_says_it_is_not_blockwise_is_believed():
    class Told(models.UNet):
        blockwise = False

    network = Told(1, 1, width=2, depth=1).eval()
    with pytest.raises(ValueError, match="Told says that its answer depends on the block"):
        inference.check_blockwise(network)
    with pytest.raises(ValueError, match="training mode"):
        inference.check_blockwise(network.train())


@pytest.mark.parametrize(
    ("name", "options", "reach", "bounds"),
    [
        ("bce", {}, 0, (0.0, 1.0)),
        ("square", {}, 0, (-1.0, 1.0)),
        ("softmax", {}, 0, (0.0, 1.0)),
        ("signed_distance", {}, 0, None),
        ("hot_distance", {}, 0, (0.0, 1.0)),
        ("lov", {"kernel": 3}, 1, (0.0, 1.0)),
        ("lov", {"kernel": 7, "shape": "disc"}, 3, (0.0, 1.0)),
        ("lov", {"kernel": 5, "vote": False}, 0, (0.0, 1.0)),
    ],
)
@pytest.mark.parametrize("dims", [2, 3])
def test_how_far_a_decode_looks_is_measured(name, options, reach, bounds, dims):
    objective = objectives.get(name, **options)
    found = inference.probe(objective.decode, 2 * objective.channels(dims), dims)
    assert found == inference.Decoding((reach,) * dims, 2, bounds)


def test_a_decode_that_looks_at_the_whole_image_is_refused():
    with pytest.raises(ValueError, match="looks further than 16 voxels"):
        inference.probe(lambda output: output - output.mean(), 1, 2)
