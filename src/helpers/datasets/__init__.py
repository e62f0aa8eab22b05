"""Data sets with labels: what exists, and one way to load any of it.

A data set is one module of this folder with four functions, entered in ``_SOURCES``:

- ``about() -> dict``: its ``title``, ``classes``, ``excludes``, ``source``, ``licence``, ``citation``;
- ``source_hashes() -> dict``: path of each published file -> its SHA-256;
- ``prepare(progress) -> Path | None``: download, verify and store, whatever of it is still to be done;
- ``read(reduce, split, test) -> dict`` from ``"train"``, ``"validation"`` and ``"test"`` to lists of
  ``(name, raw, masks, annotated, spacing)``, shaped as in `Image`, with all classes of the data set.

Importing this package needs numpy alone.
"""

import difflib
import operator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.datasets import synthetic, vnc
from helpers.datasets.fetch import downloads_folder
from helpers.datasets.store import prepared_folder, reduce_image

__all__ = [
    "Dataset",
    "Image",
    "classes",
    "downloads_folder",
    "known_voxels",
    "load",
    "names",
    "prepare",
    "prepared_folder",
    "reduce_image",
    "source_hashes",
]

_SOURCES = {"vnc": vnc, "phantom": synthetic}


@dataclass(frozen=True, eq=False)
class Image:
    """One labelled image (or volume); S is its spatial shape, C the number of classes.

    Attributes
    ----------
    name : str
        Where it is from: ``"stack1/07"`` is section 7 of volume ``stack1``.
    raw : (K, *S) float32
        Intensities in [0, 1]; K = 1 for electron microscopy.
    masks : (C, *S) bool
        Classes in the order of ``Dataset.classes``; they may overlap.
    annotated : (C, *S) bool
        Where the presence and the absence of the class were drawn.
    known : (C, *S) bool
        ``annotated``, or labelled as a class that excludes this one (a true negative).
    spacing : tuple of float
        Nanometres per voxel along each axis of S.
    """

    name: str
    raw: np.ndarray
    masks: np.ndarray
    annotated: np.ndarray
    known: np.ndarray
    spacing: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images of one data set in their three roles, with what must be said of them when they are used."""

    name: str
    title: str
    classes: tuple[str, ...]
    train: tuple[Image, ...]
    validation: tuple[Image, ...]
    test: tuple[Image, ...]
    source: str
    licence: str
    citation: str


def names() -> list[str]:
    """Names of the data sets that `load` takes."""
    return list(_SOURCES)


def classes(name: str) -> tuple[str, ...]:
    """Classes of data set `name`, in the order of its masks."""
    return tuple(_source(name).about()["classes"])


def prepare(name: str, *, progress: bool = True) -> Path | None:
    """Download and verify data set `name` and write its Zarr store; a second call finds all of it done.

    Parameters
    ----------
    name : str
        One of `names`.
    progress : bool
        Report downloads on stderr: a bar on a terminal, else a few lines.

    Returns
    -------
    Path or None
        The store in `prepared_folder`; None for a data set that is computed and needs no preparation.

    Raises
    ------
    ValueError
        Unknown name, or a file whose bytes are not the published ones.
    OSError
        The server does not answer (ConnectionError), or a folder cannot be written to.
    """
    return _source(name).prepare(progress)


def source_hashes(name: str) -> dict[str, str]:
    """SHA-256 of each published file of data set `name`, by its path; empty where nothing is published."""
    return _source(name).source_hashes()


def load(
    name: str,
    classes: tuple[str, ...] | None = None,
    *,
    reduce: int = 4,
    split: int = 0,
    test: bool = False,
) -> Dataset:
    """Images of data set `name`, prepared first where that is still to be done.

    Parameters
    ----------
    name : str
        One of `names`.
    classes : sequence of str, optional
        Classes wanted, in this order; by default all of the data set's. ``known`` heeds the others even so.
    reduce : int
        Block size of the reduction in-plane: raw is the mean over reduce × reduce blocks, a mask their
        majority, annotated all of it; the in-plane spacing grows by the same factor.
    split : int
        Which of the data set's fixed splits into training, validation and test.
    test : bool
        Open the test images too. Only a study does; otherwise ``Dataset.test`` is empty.

    Raises
    ------
    ValueError
        An unknown data set, class or split, or a `reduce` that does not divide the images.
    OSError
        See `prepare`.
    """
    source = _source(name)
    about = source.about()
    every, chosen = tuple(about["classes"]), _chosen(name, about["classes"], classes)
    reduce, split = _whole("reduce", reduce), _whole("split", split)
    if reduce < 1:
        raise ValueError(f"reduce is {reduce}; expected 1 (native pixels) or more")
    index = [every.index(c) for c in chosen]
    roles = {"train": (), "validation": (), "test": ()}
    for role, parts in source.read(reduce, split, test).items():
        roles[role] = tuple(
            Image(
                name=part,
                raw=raw,
                masks=masks[index],
                annotated=annotated[index],
                known=known_voxels(masks, annotated, every, about["excludes"])[index],
                spacing=tuple(float(s) for s in spacing),
            )
            for part, raw, masks, annotated, spacing in parts
        )
    for role, images in roles.items():
        if not images and (test or role != "test"):
            raise ValueError(f"split {split} of data set {name!r} has no {role} images; choose another split")
    said = {key: about[key] for key in ("title", "source", "licence", "citation")}
    return Dataset(name=name, classes=chosen, **said, **roles)


def known_voxels(masks: np.ndarray, annotated: np.ndarray, classes, excludes) -> np.ndarray:
    """Where the presence or absence of each class is known, (C, *S) bool.

    A voxel labelled as a class that excludes c is a true negative for c, whatever was annotated for c there.

    Parameters
    ----------
    masks, annotated : (C, *S) bool
        All classes of the data set, in the order of `classes`.
    classes : sequence of str
        Their names.
    excludes : dict from str to sequence of str
        Classes that cannot share a voxel; read both ways.
    """
    known = annotated.copy()
    for i, one in enumerate(classes):
        for j, other in enumerate(classes):
            if i != j and (other in excludes.get(one, ()) or one in excludes.get(other, ())):
                known[i] |= masks[j]
    return known


def _source(name):
    if name not in _SOURCES:
        near = difflib.get_close_matches(str(name), _SOURCES, 1, 0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown data set {name!r}; there are {', '.join(_SOURCES)}.{hint}")
    return _SOURCES[name]


def _chosen(name, every, wanted):
    if wanted is None:
        return tuple(every)
    wanted = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    for one in wanted:
        if one not in every:
            near = difflib.get_close_matches(str(one), every, 1, 0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"data set {name!r} has no class {one!r}; it has {', '.join(every)}.{hint}")
    if not wanted or len(set(wanted)) < len(wanted):
        raise ValueError(f"classes are {wanted!r}; expected one or more of {', '.join(every)}, each once")
    return wanted


def _whole(what, value):
    try:
        return operator.index(value)
    except TypeError:
        raise ValueError(f"{what} is {value!r}; expected a whole number") from None
