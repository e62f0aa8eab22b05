"""Whole images through a network."""

import numpy as np
import pytest
import torch

from helpers import models
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
