"""The networks: sizes counted by hand, receptive fields found by impulses, nothing that looks across the image."""

import pytest
import torch
from torch import nn

from helpers import models


def test_weights_of_the_unet_counted_by_hand():
    # width 1, depth 1, 1 -> 1 channel: level 0: 9 + 9, level 1: 18 + 36, up: 27 + 9, head 1 + 1; BatchNorm 2 a channel
    network = models.UNet(1, 1, width=1, depth=1)
    assert network.n_weights == (9 + 9) + (18 + 36) + (27 + 9) + 2 + 2 * (1 + 1 + 2 + 2 + 1 + 1)
    assert models.UNet(1, 1).n_weights == 122_321
    # without normalisation each convolution has a bias instead of BatchNorm's two numbers
    assert models.UNet(1, 1, width=1, depth=1, norm="none").n_weights == network.n_weights - (1 + 1 + 2 + 2 + 1 + 1)


def test_weights_of_the_published_resnet_counted_by_hand():
    # 7-wide 1 -> 32, halvings 32 -> 64 -> 128, 9 x 2 convolutions of 128, 4-wide doublings, 7-wide 32 -> 1; no bias
    blocks = 9 * 2 * (9 * 128 * 128 + 2 * 128)
    doublings = 16 * 128 * 64 + 2 * 64 + 16 * 64 * 32 + 2 * 32
    assert models.ResNet(1, 1).n_weights == 49 * 32 + 9 * 32 * 64 + 9 * 64 * 128 + blocks + doublings + 49 * 32
    assert sum(isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)) for m in models.ResNet(1, 1).modules()) == 24


def test_weights_of_resnet_9blocks_as_published_for_pix2pix():
    # width 64, 3 -> 3 channels, BatchNorm: the source's own print of its size is 11.383 M
    network = models.ResNet(3, 3, width=64, variant="cyclegan")
    assert round(network.n_weights / 1e6, 3) == 11.383


@pytest.mark.parametrize("norm", models.NORMS)
@pytest.mark.parametrize(
    ("name", "dims", "shape"),
    [("unet", 2, (24, 16)), ("unet", 3, (8, 16, 8)), ("resnet", 2, (24, 16)), ("resnet", 3, (8, 16, 8))],
)
def test_output_has_the_inputs_size_and_the_arguments_build_it_again(name, dims, shape, norm):
    network = models.build(name, 3, 5, dims=dims, width=2, depth=2, norm=norm)
    assert network.divisor == 4
    assert network(torch.rand(2, 3, *shape)).shape == (2, 5, *shape)
    again = models.build(**network.arguments)
    assert again.arguments == network.arguments
    again.load_state_dict(network.state_dict())
    assert network.blockwise == again.blockwise == (norm in ("batch", "none"))


NETWORKS = [
    models.UNet(1, 1, width=1, depth=1),
    models.UNet(1, 1, width=1, depth=3, norm="none"),
    models.UNet(1, 1, width=1, depth=1, dims=3),
    models.ResNet(1, 1, width=1, depth=1, blocks=1),
    models.ResNet(1, 1, width=1, depth=2, blocks=2),
    models.ResNet(1, 1, width=1, depth=2, blocks=1, variant="cyclegan"),
    models.ResNet(1, 1, width=1, depth=1, blocks=1, dims=3, variant="cyclegan"),
]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: f"{n.name}-{n.dims}d-{n.depth}-{getattr(n, 'variant', '')}")
@pytest.mark.parametrize("axis", [-1, -2, -3])
def test_an_impulse_shows_the_true_receptive_field(network, axis):
    """With positive weights nothing cancels: the answer changes exactly where it depends on the changed voxel."""
    if -axis > network.dims:
        pytest.skip("the network has no such axis")
    network = network.double().eval()
    for weight in network.parameters():
        nn.init.constant_(weight, 0.5)
    extent = 2 * (max(network.reach) + network.divisor)
    extent += -extent % network.divisor
    size = [network.divisor * 2] * network.dims
    size[axis] = extent
    flat = torch.ones(1, 1, *size, dtype=torch.float64)
    with torch.no_grad():
        before = network(flat)
        changed = torch.empty(extent, extent, dtype=torch.bool)  # [impulse, answer]
        for impulse in range(extent):
            raw = flat.clone()
            where = [slice(0, 1)] * (network.dims + 2)
            where[axis] = impulse
            raw[tuple(where)] = 1e6
            moved = (network(raw) != before).movedim(axis, -1).flatten(0, -2).any(0)
            changed[impulse] = moved
    middle = range(max(network.reach), extent - max(network.reach))
    widths, reaches = [], []
    for position in middle:
        seen = changed[:, position].nonzero().flatten().tolist()
        assert (seen[0], seen[-1]) == network.sees(position) and len(seen) == seen[-1] - seen[0] + 1
        widths.append(len(seen))
        reaches.append(max(position - seen[0], seen[-1] - position))
    assert len(middle) >= network.divisor
    assert network.receptive_field == (max(widths),) * network.dims
    assert network.reach == (max(reaches),) * network.dims


@pytest.mark.parametrize("norm", models.NORMS)
@pytest.mark.parametrize("name", models.names())
def test_only_a_blockwise_network_ignores_what_lies_beyond_its_reach(name, norm):
    torch.manual_seed(0)
    small = {"blocks": 1} if name == "resnet" else {}
    network = models.build(name, 1, 1, width=2, depth=1, norm=norm, **small)
    for _ in range(3):
        network(torch.rand(4, 1, 32, 32))
    network.eval()
    image = torch.rand(1, 1, 64, 64)
    changed = image.clone()
    changed[..., 40:] = 0
    with torch.no_grad():
        alone, batch = network(image), network(torch.cat((image, changed)))
    assert torch.allclose(alone[0], batch[0], atol=1e-6), "the rest of the batch never matters"
    beyond = 40 - network.reach[-1]
    same = torch.allclose(alone[0, :, :, :beyond], batch[1, :, :, :beyond], atol=1e-6)
    assert same == network.blockwise
    assert not torch.allclose(alone[0, :, :, 44:], batch[1, :, :, 44:], atol=1e-4)


def test_bad_arguments_and_sizes_are_named():
    with pytest.raises(ValueError, match="dims is 4"):
        models.UNet(1, 1, dims=4)
    with pytest.raises(ValueError, match="width is 0"):
        models.UNet(1, 1, width=0)
    with pytest.raises(ValueError, match="blocks is 2.5"):
        models.ResNet(1, 1, blocks=2.5)
    with pytest.raises(ValueError, match="norm is 'layer'; expected one of batch, instance, group, none"):
        models.UNet(1, 1, norm="layer")
    with pytest.raises(ValueError, match="variant is 'other'"):
        models.ResNet(1, 1, variant="other")
    with pytest.raises(ValueError, match="network is 'u-net'; .*did you mean 'unet'"):
        models.build("u-net", 1, 1)
    with pytest.raises(ValueError, match="unet has no argument 'blocks'; its arguments: dims, width, depth, norm"):
        models.build("unet", 1, 1, blocks=3)
    with pytest.raises(ValueError, match=r"\(20, 16\).*multiples of 8"):
        models.UNet(1, 1)(torch.rand(1, 1, 20, 16))
    with pytest.raises(ValueError, match=r"input of shape \(1, 2, 16, 16\); this network takes \(batch, 1, y, x\)"):
        models.UNet(1, 1)(torch.rand(1, 2, 16, 16))
