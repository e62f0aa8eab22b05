"""Phantom: made electron microscopy of `helpers.phantom` as a data set; nothing to download, the truth known.

Images show the field of view of a VNC section, 1024 × 1024 pixels at 4.6 nm. Reduced by r they are made at
1024/r pixels of 4.6·r nm, not made larger and then reduced. `Shaped` is the same with objects of one shape alone.
"""

from functools import lru_cache

import numpy as np

FIELD, SPACING = 1024, 4.6  # pixels, nm
IMAGES = {"train": 8, "validation": 3, "test": 3}
SPLITS = 5


def about() -> dict:
    """What the data set is; its classes are the phantom's."""
    from helpers import phantom

    return {
        "title": "Phantom (synthetic electron microscopy)",
        "classes": list(phantom.CLASSES),
        "excludes": {c: list(others) for c, others in phantom.EXCLUDES.items()},
        "made": True,
        "boundaries": [c for c in phantom.CLASSES if c == "membranes"],
        "reduce": 4,
        "source": "helpers.phantom, made when loaded",
        "licence": "CC BY 4.0",
        "citation": "made by this paper's package",
    }


def prepare(progress: bool = True) -> None:
    """Nothing: the phantom is made when it is loaded."""


def source_hashes() -> dict[str, str]:
    """No published file stands behind the phantom."""
    return {}


def seeds(split: int) -> dict[str, list[int]]:
    """Seeds of the images by role: 100·split + 0…7, 8…10 and 11…13. No two splits or roles share one.

    Raises
    ------
    ValueError
        There is no such split.
    """
    if split not in range(SPLITS):
        raise ValueError(f"split is {split!r}; the phantom has {SPLITS} splits, 0 to {SPLITS - 1}")
    first, by_role = 100 * split, {}
    for role, count in IMAGES.items():
        by_role[role] = list(range(first, first + count))
        first += count
    return by_role


def read(reduce: int, split: int, test: bool) -> dict[str, list]:
    """Images of one split, as `helpers.datasets` describes; those for testing only if asked for."""
    return _images("", reduce, split, test)


class Shaped:
    """`helpers.phantom_shapes` as a source of `helpers.datasets`: the phantom's field, images, splits and seeds.

    Parameters
    ----------
    kind : str
        Shape of the objects, one of `helpers.phantom_shapes.RADIUS`.
    """

    def __init__(self, kind: str):
        self.kind = kind

    def about(self) -> dict:
        """What the data set is; like the phantom but for its classes and title."""
        from helpers import phantom_shapes

        return {
            **about(),
            "title": f"Phantom of {self.kind} (synthetic electron microscopy)",
            "classes": list(phantom_shapes.CLASSES),
            "excludes": {c: list(others) for c, others in phantom_shapes.EXCLUDES.items()},
            "boundaries": [c for c in phantom_shapes.CLASSES if c == "membranes"],
            "source": "helpers.phantom_shapes, made when loaded",
        }

    def prepare(self, progress: bool = True) -> None:
        """Nothing, as of the phantom."""

    def source_hashes(self) -> dict[str, str]:
        """No published file stands behind it."""
        return {}

    def read(self, reduce: int, split: int, test: bool) -> dict[str, list]:
        """Images of one split, as `helpers.datasets` describes; those for testing only if asked for."""
        return _images(self.kind, reduce, split, test)


def _images(kind: str, reduce: int, split: int, test: bool) -> dict[str, list]:
    by_role = seeds(split)
    if FIELD % reduce:
        raise ValueError(f"reduce is {reduce}, which does not divide the phantom's {FIELD} pixels; choose 1, 2, 4")
    shape, spacing = (FIELD // reduce,) * 2, (SPACING * reduce,) * 2
    parts = {role: [] for role in by_role}
    for role, numbers in by_role.items():
        for seed in numbers if test or role != "test" else ():
            raw, masks = _made(kind, shape, spacing, seed)
            name = f"phantom{'-' * bool(kind)}{kind}/{seed:03d}"
            # copies: what a caller does to its images is not seen by the next
            parts[role].append((name, raw[None].astype(np.float32) / 255, masks.copy(), np.ones_like(masks), spacing))
    return parts


@lru_cache(maxsize=64)  # training and judging both load them, and a phantom of trees takes seconds
def _made(kind: str, shape: tuple[int, ...], spacing: tuple[float, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Raw (*S) uint8 and masks (C, *S) bool; a kind of "" is the phantom with all its organelles."""
    if kind:
        from helpers import phantom_shapes as source

        made = source.make(kind, shape, spacing, seed)
    else:
        from helpers import phantom as source

        made = source.make(shape, spacing, seed)
    return np.asarray(made.raw), np.stack([np.asarray(made.masks[c], bool) for c in source.CLASSES])
