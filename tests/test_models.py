"""The U-Net: sizes counted by hand, and nothing that looks across the image."""

import pytest
import torch

from helpers import models


def test_weights_counted_by_hand():
    # width 1, depth 1, 1 -> 1 channel: level 0: 9 + 9, level 1: 18 + 36, up: 27 + 9, head 1 + 1; BatchNorm 2 a channel
    network = models.UNet(1, 1, width=1, depth=1)
    assert network.n_weights == (9 + 9) + (18 + 36) + (27 + 9) + 2 + 2 * (1 + 1 + 2 + 2 + 1 + 1)
    assert models.UNet(1, 1).n_weights == pytest.approx(120_000, rel=0.03)


@pytest.mark.parametrize(("dims", "shape"), [(2, (24, 16)), (3, (8, 16, 8))])
def test_output_has_the_inputs_size(dims, shape):
    network = models.UNet(3, 5, dims=dims, width=2, depth=2)
    assert network.divisor == 4
    assert network(torch.rand(2, 3, *shape)).shape == (2, 5, *shape)


def test_the_answer_in_evaluation_does_not_depend_on_the_rest_of_the_batch_or_far_away():
    torch.manual_seed(0)
    network = models.UNet(1, 1, width=2, depth=1)
    network(torch.rand(4, 1, 32, 32))
    network.eval()
    image = torch.rand(1, 1, 64, 64)
    changed = image.clone()
    changed[..., 40:] = 0  # the receptive field of depth 1 spans under 20 pixels
    alone, batch = network(image), network(torch.cat((image, changed)))
    assert torch.allclose(alone[0], batch[0], atol=1e-6)
    assert torch.allclose(alone[0, :, :, :20], batch[1, :, :, :20], atol=1e-6)
    assert not torch.allclose(alone[0, :, :, 44:], batch[1, :, :, 44:], atol=1e-3)


def test_bad_arguments_and_sizes_are_named():
    with pytest.raises(ValueError, match="dims is 4"):
        models.UNet(1, 1, dims=4)
    with pytest.raises(ValueError, match="width is 0"):
        models.UNet(1, 1, width=0)
    with pytest.raises(ValueError, match=r"\(20, 16\).*multiples of 8"):
        models.UNet(1, 1)(torch.rand(1, 1, 20, 16))
