"""Data sets with labels: what exists, and one way to load any of it.

A data set is one module of this folder with four functions, entered in ``_SOURCES``:

- ``about() -> dict``: its ``title``, ``classes``, ``excludes``, ``source``, ``licence``, ``citation``, and where
  they differ from the defaults: ``boundaries`` (none), ``reduce`` (1: the reduction when none is asked for),
  ``unit`` (``"nm"``; ``"pixel"`` where the size of a pixel is not known), ``pictures`` (True; False where its
  pictures may not be shown), ``spacing`` (what must be said of the spacing);
- ``source_hashes() -> dict``: path of each published file -> its hash;
- ``prepare(progress) -> Path | None``: download, verify and store, whatever of it is still to be done;
- ``read(reduce, split, test, lazy) -> dict`` from ``"train"``, ``"validation"`` and ``"test"`` to lists of
  ``(name, raw, masks, annotated, spacing)``, shaped as in `Image`, with all classes of the data set;
- and, where it has numbered objects beyond its masks, ``instances(objects, role, split)``: see `instances`.

A data set with parameters of its own has ``PARAMETERS``, from their names to their defaults; its ``prepare`` and
``read`` take those that concern them, by name.

A name that is a path is a folder of the reader's own: `helpers.datasets.folder` says how it is laid out.

Importing this package needs numpy alone.
"""

import difflib
import inspect
import operator
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from helpers.datasets import cellmap, cem1500k, drishti, fib25, mitolab, synthetic, urocell, vnc
from helpers.datasets.fetch import downloads_folder
from helpers.datasets.folder import Folder
from helpers.datasets.store import prepared_folder, reduce_image
from helpers.datasets.windows import Derived, Stored

__all__ = [
    "Dataset",
    "Image",
    "Piece",
    "about",
    "choose_parameters",
    "classes",
    "downloads_folder",
    "instances",
    "known_voxels",
    "load",
    "names",
    "prepare",
    "prepared_folder",
    "reduce_image",
    "source_hashes",
]

_SOURCES = {
    "vnc": vnc,
    "fib25": fib25,
    "drishti": drishti,
    "urocell": urocell,
    "mitolab": mitolab,
    "cem1500k": cem1500k,
    "cellmap": cellmap,
    "phantom": synthetic,
    **{f"phantom-{kind}": synthetic.Shaped(kind) for kind in ("discs", "tubes", "sheets", "trees")},
}


@dataclass(frozen=True, eq=False)
class Image:
    """One labelled image (or volume); S is its spatial shape, C the number of classes.

    Attributes
    ----------
    name : str
        Where it is from: ``"stack1/07"`` is section 7 of volume ``stack1``.
    raw : (K, *S) float32
        Intensities in [0, 1]; K = 1 for electron microscopy, 3 for colour.
    masks : (C, *S) bool
        Classes in the order of ``Dataset.classes``; they may overlap.
    annotated : (C, *S) bool
        Where the presence and the absence of the class were drawn.
    known : (C, *S) bool
        ``annotated``, or labelled as a class that excludes this one (a true negative).
    spacing : tuple of float
        Nanometres per voxel along each axis of S (`Dataset.unit`).

    In a data set loaded lazily, the four arrays are read when sliced (`helpers.datasets.windows.Stored`).
    """

    name: str
    raw: np.ndarray
    masks: np.ndarray
    annotated: np.ndarray
    known: np.ndarray
    spacing: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images of one data set in their three roles, with what must be said of them when they are used.

    Attributes
    ----------
    boundaries : tuple of str
        Those of its classes that are boundaries between objects (membranes): the objects are the connected
        components of what they leave.
    unit : str
        Of the images' spacing: "nm", or "pixel" where it is not known.
    pictures : bool
        Whether its pictures may be shown.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    train: tuple[Image, ...]
    validation: tuple[Image, ...]
    test: tuple[Image, ...]
    source: str
    licence: str
    citation: str
    boundaries: tuple[str, ...] = ()
    unit: str = "nm"
    pictures: bool = True


class Piece(NamedTuple):
    """Numbered objects of consecutive images of a stack, or of one image.

    Attributes
    ----------
    images : tuple of str
        Names of the images that it covers, in the order of its first axis.
    labels : (len(images), *S) or S unsigned integers
        Objects in native pixels, numbered from 1; 0 where none is known.
    spacing : tuple of float
        Per axis of `labels`.
    """

    images: tuple[str, ...]
    labels: np.ndarray
    spacing: tuple[float, ...]


def names() -> list[str]:
    """Names of the data sets that `load` takes."""
    return list(_SOURCES)


def about(name: str) -> dict:
    """What data set `name` is, as its module says it, with the defaults filled in."""
    return {"boundaries": [], "reduce": 1, "unit": "nm", "pictures": True, "made": False, **_source(name).about()}


def classes(name: str) -> tuple[str, ...]:
    """Classes of data set `name`, in the order of its masks."""
    return tuple(_source(name).about()["classes"])


def choose_parameters(name: str, offered: Mapping[str, Any]) -> dict[str, Any]:
    """Of the parameters that a notebook offers to every data set, those of this one that are not at their default.

    Raises
    ------
    ValueError
        A parameter that this data set does not have is set to something else than its default elsewhere: it would be
        ignored, and the data would not be what they seem.
    """
    mine = _parameters(name)
    every = {key: default for source in _SOURCES.values() for key, default in getattr(source, "PARAMETERS", {}).items()}
    chosen = {key: value for key, value in offered.items() if value != every[key]}
    return _known_parameters(name, mine, chosen)


def prepare(name: str, *, progress: bool = True, **parameters: Any) -> Path | None:
    """Download and verify data set `name` and write its Zarr store; a second call finds all of it done.

    Parameters
    ----------
    name : str
        One of `names`, or the path of a folder (`helpers.datasets.folder`).
    progress : bool
        Report downloads on stderr: a bar on a terminal, else a few lines.
    **parameters
        Those that the data set has: ``mitolab`` takes ``pixel_size``, ``cem1500k`` ``confirm``, ``cellmap`` ``crops``
        and ``classes``; each is described in its module.

    Returns
    -------
    Path or None
        The store in `prepared_folder`; None for a data set that is computed and needs no preparation, and for
        ``cem1500k``, which has no labels and stays an archive.

    Raises
    ------
    ValueError
        Unknown name or parameter, or a file whose bytes are not the published ones.
    OSError
        The server does not answer (ConnectionError), there is no room, or a folder cannot be written to.
    """
    source = _source(name)
    return source.prepare(progress, **_taken_by(source.prepare, _known_parameters(name, _parameters(name), parameters)))


def source_hashes(name: str) -> dict[str, str]:
    """Hash of each published file of data set `name`, by its path; empty where nothing is published.

    SHA-256, but for ``git:`` and 40 digits where a file's git blob hash is what is published.
    """
    return _source(name).source_hashes()


def load(
    name: str,
    classes: tuple[str, ...] | None = None,
    *,
    reduce: int | None = None,
    split: int = 0,
    test: bool = False,
    lazy: bool = False,
    **parameters: Any,
) -> Dataset:
    """Images of data set `name`, prepared first where that is still to be done.

    Parameters
    ----------
    name : str
        One of `names`, or the path of a folder (`helpers.datasets.folder`).
    classes : sequence of str, optional
        Classes wanted, in this order; by default all of the data set's. ``known`` heeds the others even so.
    reduce : int
        Block size of the reduction in-plane: raw is the mean over reduce × reduce blocks, a mask their
        majority, annotated all of it; the in-plane spacing grows by the same factor. By default the data set's
        own: 4 for ``vnc`` and the phantoms, else 1.
    split : int
        Which of the data set's fixed splits into training, validation and test.
    test : bool
        Open the test images too. Only a study does; otherwise ``Dataset.test`` is empty.
    lazy : bool
        Leave the images in the store, to be read window by window, as `helpers.crops` does: for data that do not
        fit in memory.
    **parameters
        As of `prepare`, and ``by`` of ``mitolab``. Without any, a store that is there is taken as it was prepared.

    Raises
    ------
    ValueError
        An unknown data set, class, split or parameter, a `reduce` that does not divide the images, or a data set
        without labels.
    OSError
        See `prepare`.
    """
    source, own = _source(name), _known_parameters(name, _parameters(name), parameters)
    if _taken_by(source.prepare, own):
        prepare(name, **own)
    said = about(name)
    if not said["classes"]:
        raise ValueError(f"data set {name!r} has no labels, so there is nothing to load: {said['title']}")
    every, chosen = tuple(said["classes"]), _chosen(name, said["classes"], classes)
    reduce, split = _whole("reduce", said["reduce"] if reduce is None else reduce), _whole("split", split)
    if reduce < 1:
        raise ValueError(f"reduce is {reduce}; expected 1 (native pixels) or more")
    if lazy and "lazy" not in inspect.signature(source.read).parameters:
        raise ValueError(f"lazy is True, but data set {name!r} is made in memory; load it without lazy")
    index = [every.index(c) for c in chosen]
    roles = {"train": (), "validation": (), "test": ()}
    read = source.read(reduce, split, test, **({"lazy": True} if lazy else {}), **_taken_by(source.read, own))
    for role, parts in read.items():
        roles[role] = tuple(_image(*part, every, index, said["excludes"]) for part in parts)
    for role, images in roles.items():
        if not images and (role != "test" or (test and role in read)):
            raise ValueError(f"split {split} of data set {name!r} has no {role} images; choose another split")
    kept = {key: said[key] for key in ("title", "source", "licence", "citation", "unit", "pictures")}
    boundaries = tuple(c for c in chosen if c in said["boundaries"])
    return Dataset(name=name, classes=chosen, boundaries=boundaries, **kept, **roles)


def instances(name: str, objects: str, role: str, *, split: int = 0) -> tuple[Piece, ...]:
    """Numbered objects of the images of one role in native pixels, for judging in 3-D what was segmented in 2-D.

    Parameters
    ----------
    name : str
        Data set: ``"fib25"`` has ``"neurons"`` and ``"urocell"`` has ``"mitochondria"``.
    objects : str
        Which of them.
    role : str
        ``"train"``, ``"validation"`` or ``"test"``; asking for ``"test"`` opens the test block.
    split : int
        As in `load`.

    Returns
    -------
    tuple of Piece
        One for each run of consecutive sections, or for each volume.

    Raises
    ------
    ValueError
        The data set has no such objects; an unknown role or split.
    """
    source = _source(name)
    offered = tuple(getattr(source, "INSTANCES", ()))
    if objects not in offered:
        raise ValueError(f"data set {name!r} has no numbered {objects!r}; it has {', '.join(offered) or 'none'}")
    if role not in ("train", "validation", "test"):
        raise ValueError(f"role is {role!r}; expected train, validation or test")
    return tuple(Piece(*piece) for piece in source.instances(objects, role, _whole("split", split)))


def _image(name, raw, masks, annotated, spacing, every, index, excludes):
    """One `Image` with the classes of `index`, in memory or, where the arrays are `Stored`, left where they are."""
    spacing = tuple(float(s) for s in spacing)
    if not isinstance(masks, Stored):
        known = known_voxels(masks, annotated, every, excludes)[index]
        return Image(name, raw, masks[index], annotated[index], known, spacing)
    chosen = annotated.take(index)
    known = chosen
    if any(excludes.values()):
        shape = (len(index), *masks.shape[1:])
        known = Derived(lambda m, a: known_voxels(m, a, every, excludes)[index], (masks, annotated), shape, bool)
    return Image(name, raw, masks.take(index), chosen, known, spacing)


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
    if isinstance(name, str) and name in _SOURCES:
        return _SOURCES[name]
    path = Path(name).expanduser() if isinstance(name, (str, os.PathLike)) and str(name) else None
    if path is not None and path.is_dir():
        return Folder(path)
    if path is not None and len(path.parts) > 1:
        raise ValueError(f"no folder {name!s} (seen from {Path.cwd()}); expected one as helpers.datasets.folder says")
    near = difflib.get_close_matches(str(name), _SOURCES, 1, 0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown data set {name!r}; there are {', '.join(_SOURCES)}, or the path of a folder.{hint}")


def _parameters(name):
    """Parameters that data set `name` has of its own, with their defaults."""
    return dict(getattr(_source(name), "PARAMETERS", {}))


def _known_parameters(name, mine, given):
    for key, value in given.items():
        if key not in mine:
            raise ValueError(
                f"{key} is set to {value!r}, but data set {name!r} has no such parameter (its parameters: "
                f"{', '.join(mine) or 'none'}); leave {key} out, or choose another data set"
            )
    return dict(given)


def _taken_by(function, given):
    takes = inspect.signature(function).parameters
    return {key: value for key, value in given.items() if key in takes}


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
