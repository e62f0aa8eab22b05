"""Partial labels from full ones: which classes count as annotated in which part of which image.

The unit of annotation is a *unit*: a square (or cube) of an image, of `block` voxels' side, or a whole image. Functions
take images and return images of the same raw data, whose ``masks``, ``annotated`` and ``known`` hold no more than what
an annotator of those units would have drawn: a mask that nobody drew is gone, so that nothing can learn from it by
mistake. Choices come from a seed alone, and are nested: with the same seed, what a smaller fraction annotates is part
of what a larger one does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from helpers.datasets import Dataset, Image, about, known_voxels

OTHERS = ("discarded", "own", "negatives")
ANNOTATED = ("all", *OTHERS)


def training_images(
    data: Dataset, annotated: str, share: float, target: str, *, block: int, seed: int
) -> tuple[Image, ...]:
    """What a training sees of a data set: its training images, or the annotated blocks of them.

    Parameters
    ----------
    data : Dataset
    annotated : str
        "all": every class in every block that is annotated (`label_fraction`); else what the blocks of other classes
        than `target` are used for, one class a block (`one_class_each`).
    share : float
        Of the blocks, how many are annotated; with one class a block, of those of `target`.
    target : str
        The class that is asked about; it matters with one class a block only.
    block : int
        Side of a block in voxels.
    seed : int

    Returns
    -------
    tuple of Image
        ``data.train`` itself where everything is annotated, else as `annotated_units` gives them.

    Raises
    ------
    ValueError
        An option out of range, or nothing left that is annotated.
    """
    if annotated not in ANNOTATED:
        raise ValueError(f"annotated is {annotated!r}; expected one of {', '.join(ANNOTATED)}")
    if annotated == "all" and share == 1:
        return data.train
    settings = {"excludes": about(data.name)["excludes"], "block": block, "seed": seed}
    if annotated == "all":
        images = label_fraction(data.train, data.classes, share, **settings)
    else:
        images = one_class_each(
            data.train, data.classes, others=annotated, target=target, target_fraction=share, **settings
        )
    if not (found := annotated_units(images, block)):
        raise ValueError(f"share is {share!r}: no block is annotated, so there is nothing to learn from")
    return found


def units(images: Sequence[Image], block: int | None) -> Iterator[tuple[int, tuple[slice, ...]]]:
    """Index of the image and window of each unit, in order; units at the far ends are smaller where need be.

    Parameters
    ----------
    images : sequence of Image
    block : int or None
        Side of a unit in voxels, along every axis; None for whole images.
    """
    if block is not None and (not isinstance(block, int) or block < 1):
        raise ValueError(f"block is {block!r}; expected a side in voxels, or None for whole images")
    for number, image in enumerate(images):
        shape = image.masks.shape[1:]
        sides = [block or n for n in shape]
        for corner in np.ndindex(*(-(-n // side) for n, side in zip(shape, sides, strict=True))):
            first = [i * side for i, side in zip(corner, sides, strict=True)]
            window = (slice(f, min(f + side, n)) for f, side, n in zip(first, sides, shape, strict=True))
            yield number, tuple(window)


def label_fraction(
    images: Sequence[Image],
    classes: Sequence[str],
    fraction: float | Mapping[str, float],
    *,
    excludes: Mapping[str, Sequence[str]] | None = None,
    block: int | None = 64,
    seed: int = 0,
) -> tuple[Image, ...]:
    """Annotate a share of the units.

    Parameters
    ----------
    images : sequence of Image
        Fully or partly labelled; what is not annotated stays so.
    classes : sequence of str
        Names of their classes, in order (``Dataset.classes``).
    fraction : float or mapping from class to float
        Share of the units that is annotated, for all classes (a unit has all or none of them) or for each its own
        (the units of a class with a smaller share are among those of one with a larger). It is rounded to whole
        units; above 0 it is one unit at least.
    excludes : mapping, optional
        Class -> classes that share no voxel with it (``about(name)["excludes"]``), for the true negatives in
        ``known``; none by default.
    block : int or None
        Side of a unit in voxels; None for whole images.
    seed : int
        Of the order in which units are annotated.

    Returns
    -------
    tuple of Image

    Examples
    --------
    A tenth of the labels: ``label_fraction(data.train, data.classes, 0.1, excludes=about("vnc")["excludes"])``.
    """
    shares = dict(fraction) if isinstance(fraction, Mapping) else dict.fromkeys(classes, fraction)
    _check_classes(shares, classes)
    missing = [c for c in classes if c not in shares]
    if missing:
        raise ValueError(f"fraction says nothing of {', '.join(missing)}; expected a share for each class")
    every = list(units(images, block))
    order = np.random.default_rng(seed).permutation(len(every))
    drawn = _nothing(images)
    for k, one in enumerate(classes):
        for unit in order[: _count(shares[one], len(every), f"fraction of {one}")]:
            number, window = every[unit]
            drawn[number][(k, *window)] = True
    return _reduced(images, drawn, classes, excludes or {}, negatives=True)


def one_class_each(
    images: Sequence[Image],
    classes: Sequence[str],
    *,
    others: str,
    target: str | None = None,
    fraction: float = 1.0,
    target_fraction: float = 1.0,
    excludes: Mapping[str, Sequence[str]] | None = None,
    block: int | None = 64,
    seed: int = 0,
) -> tuple[Image, ...]:
    """Annotate each unit for one class alone, classes in equal numbers, and say what the others' units are used for.

    Parameters
    ----------
    images, classes, excludes, block, seed
        As in `label_fraction`.
    others : str
        What a unit that was annotated for another class than `target` is used for:

        - ``"discarded"``: nothing; only the units of `target` are annotated;
        - ``"own"``: its own class, and nothing else;
        - ``"negatives"``: its own class, and where that is labelled and excludes another, a true negative of the
          other.
    target : str, optional
        The class that is asked about; needed for ``"discarded"``.
    fraction : float
        Share of all units that is annotated at all; the same unit has the same class whatever the share.
    target_fraction : float
        Share of the units of `target` among those that stays annotated, rounded as in `label_fraction`; the units of
        the other classes all stay.
    """
    if others not in OTHERS:
        raise ValueError(f"others is {others!r}; expected one of {', '.join(OTHERS)}")
    if others == "discarded" and target is None:
        raise ValueError('others is "discarded", but no target is said; expected the class that is asked about')
    if target is None and target_fraction != 1:
        raise ValueError(f"target_fraction is {target_fraction!r}, but no target is said; expected the class it is of")
    if target is not None:
        _check_classes([target], classes)
    every = list(units(images, block))
    rng = np.random.default_rng(seed)
    order, turn = rng.permutation(len(every)), rng.permutation(len(classes))
    mine = {k: [] for k in range(len(classes))}
    for place, unit in enumerate(order[: _count(fraction, len(every), "fraction")]):
        mine[int(turn[place % len(classes)])].append(every[unit])
    drawn = _nothing(images)
    for k, windows in mine.items():
        if classes[k] == target:
            windows = windows[: _count(target_fraction, len(windows), "target_fraction")]
        elif others == "discarded":
            windows = []
        for number, window in windows:
            drawn[number][(k, *window)] = True
    return _reduced(images, drawn, classes, excludes or {}, negatives=others == "negatives")


def annotated_units(images: Sequence[Image], block: int | None = 64) -> tuple[Image, ...]:
    """Each unit in which something is known as an image of its own, named after its corner: ``"i/3@64,0"``.

    So a training draws no crop without labels, and sees nothing beyond what was annotated, as with crops that were
    annotated one by one. Each class's units are drawn alike often, whatever their number: those of a class with fewer
    annotated units stand several times in what is returned, in whole copies as near to that as can be.
    """
    found: dict[tuple[bool, ...], list[Image]] = {}
    for number, window in units(images, block):
        image, where = images[number], (slice(None), *window)
        if not image.known[where].any():
            continue
        annotated = np.asarray(image.annotated[where])
        of = tuple(annotated.reshape(len(annotated), -1).any(1).tolist())
        name = f"{image.name}@{','.join(str(w.start) for w in window)}"
        masks, known = (np.asarray(labels[where]) for labels in (image.masks, image.known))
        found.setdefault(of, []).append(Image(name, image.raw[where], masks, annotated, known, image.spacing))
    most = max(map(len, found.values()), default=0)
    return tuple(unit for mine in found.values() for unit in mine * max(round(most / len(mine)), 1))


def annotate_only(
    images: Sequence[Image],
    classes: Sequence[str],
    drawn: Mapping[str, Sequence[str]],
    *,
    excludes: Mapping[str, Sequence[str]] | None = None,
) -> tuple[Image, ...]:
    """Annotate the classes that are named for each image; an image that is not named has none.

    Parameters
    ----------
    images, classes, excludes
        As in `label_fraction`.
    drawn : mapping from image name to classes
        Such as ``{"stack1/03": ["mitochondria"]}``.
    """
    names = [image.name for image in images]
    unknown = [name for name in drawn if name not in names]
    if unknown:
        raise ValueError(f"no image {unknown[0]!r}; there are {', '.join(names[:10])}{', …' if names[10:] else ''}")
    where = _nothing(images)
    for image, mine in zip(images, where, strict=True):
        wanted = drawn.get(image.name, ())
        _check_classes(wanted, classes)
        for one in wanted:
            mine[list(classes).index(one)] = True
    return _reduced(images, where, classes, excludes or {}, negatives=True)


def _nothing(images):
    return [np.zeros(image.masks.shape, bool) for image in images]


def _reduced(images, drawn, classes, excludes, negatives):
    result = []
    for image, where in zip(images, drawn, strict=True):
        annotated = np.asarray(image.annotated) & where
        masks = np.asarray(image.masks) & annotated
        known = known_voxels(masks, annotated, classes, excludes) if negatives else annotated.copy()
        result.append(replace(image, masks=masks, annotated=annotated, known=known))
    return tuple(result)


def _count(fraction, of, what):
    if not 0 <= fraction <= 1:
        raise ValueError(f"{what} is {fraction!r}; expected a share from 0 to 1")
    return max(round(fraction * of), 1) if fraction else 0


def _check_classes(wanted, classes):
    for one in wanted:
        if one not in classes:
            raise ValueError(f"no class {one!r}; there are {', '.join(classes)}")
