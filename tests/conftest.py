"""What the tests share: tiny images, and the repository's root."""

from pathlib import Path

import numpy as np
import pytest

from helpers.datasets import Image


@pytest.fixture(scope="session")
def root() -> Path:
    return Path(__file__).parent.parent


@pytest.fixture
def discs():
    """Function of a seed -> an image of bright discs on noise: learnable in a few steps."""

    def make(seed: int, size: int = 48, annotated: bool = True) -> Image:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:size, :size]
        mask = np.zeros((size, size), bool)
        for cy, cx in rng.uniform(6, size - 6, (3, 2)):
            mask |= np.hypot(y - cy, x - cx) < 5
        raw = (0.3 + 0.4 * mask + rng.normal(0, 0.1, mask.shape)).astype(np.float32)
        full = np.full((1, size, size), annotated)
        return Image(f"disc/{seed}", raw[None], mask[None], full, full, (10.0, 10.0))

    return make
