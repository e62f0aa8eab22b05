"""One Zarr store per data set, with OME-NGFF 0.5 metadata: written whole or not at all, checked, read.

Layout of ``<prepared>/<data set>.zarr`` (Zarr v3):

- ``/``: what the data set is, and the hashes of the files that it was made from;
- ``/<volume>``: an NGFF image whose array is ``raw``;
- ``/<volume>/labels/<class>`` and ``/<volume>/annotated/<class>``: NGFF images of 0 and 1, arrays ``0``.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from helpers.datasets.fetch import aside, cache_folder

LAYOUT = 1  # a store of another layout is written anew


def prepared_folder() -> Path:
    """Where stores are: the environment variable HELPERS_PREPARED, else ``prepared`` in the user's cache."""
    if os.environ.get("HELPERS_PREPARED"):
        return Path(os.environ["HELPERS_PREPARED"]).expanduser().absolute()
    return cache_folder() / "prepared"


def reduce_image(raw: np.ndarray, masks: np.ndarray, annotated: np.ndarray, reduce: int):
    """Reduce an image in-plane (its last two axes) by blocks of `reduce` × `reduce` pixels.

    Parameters
    ----------
    raw : (K, *S) uint8
        Intensities, 255 the brightest.
    masks, annotated : (C, *S) bool
        As in `helpers.datasets.Image`.
    reduce : int
        Block size; it must divide the last two axes.

    Returns
    -------
    raw : (K, *S') float32
        Mean of each block, in [0, 1].
    masks : (C, *S') bool
        More than half of the block.
    annotated : (C, *S') bool
        All of the block.

    Raises
    ------
    ValueError
        Where `reduce` does not divide the image.
    """
    height, width = raw.shape[-2:]
    if reduce < 1 or height % reduce or width % reduce:
        raise ValueError(
            f"reduce is {reduce}, which does not divide images of {height} × {width} pixels; "
            f"choose a common divisor of the two, such as 1, 2 or 4"
        )

    def total(array, dtype):
        rows = sum(array[..., i::reduce, :].astype(dtype) for i in range(reduce))
        return sum(rows[..., j::reduce] for j in range(reduce))

    area = reduce * reduce
    small = (total(raw, np.uint32) / (255.0 * area)).astype(np.float32)
    return small, 2 * total(masks, np.uint32) > area, total(annotated, np.uint32) == area


def is_current(path: Path, hashes: dict[str, str]) -> bool:
    """Whether `path` is a store of this layout that was made from files with these hashes.

    Raises
    ------
    ValueError
        There is something else at `path`.
    """
    if not path.exists():
        return False
    try:
        attributes = json.loads((path / "zarr.json").read_text(encoding="utf-8"))["attributes"]
        return attributes["layout"] == LAYOUT and attributes["sha256"] == hashes
    except (OSError, ValueError, KeyError, TypeError) as error:
        time.sleep(0.01)  # where another process is replacing it, let it finish
        if not path.exists():
            return False
        if isinstance(error, FileNotFoundError) and (path / "zarr.json").exists():
            return is_current(path, hashes)
        raise ValueError(
            f"{path} is not a store that this package wrote ({error!r}): remove it or move it away, or set "
            "HELPERS_PREPARED to another folder"
        ) from error


def write(path: Path, about: dict, hashes: dict[str, str], fill: Callable) -> None:
    """Write a store aside and rename it to `path`.

    A store that is out of date (`is_current`) is replaced. Where two processes write at once, the later one
    finds the work done and drops its own. Killed, it leaves a ``.….partial`` that the next call removes.

    Parameters
    ----------
    path : Path
        ``<prepared>/<data set>.zarr``.
    about : dict
        Attributes of the root: JSON types alone.
    hashes : dict
        SHA-256 of the source files.
    fill : callable
        Called with the root group, to write the volumes (`write_volume`).

    Raises
    ------
    OSError
        The folder cannot be written to.
    """
    import zarr

    try:
        with aside(path.parent, path.name) as partial:
            attributes = {"name": path.stem, **about, "layout": LAYOUT, "sha256": hashes}
            fill(zarr.create_group(partial / "new", zarr_format=3, attributes=attributes))
            _into_place(partial, path, hashes)
    except OSError as error:
        raise OSError(
            f"cannot write {path.name} to {path.parent}: {error}. Set HELPERS_PREPARED to a folder that can "
            "be written to and has room"
        ) from error


def _into_place(partial, path, hashes):
    for attempt in range(10):
        try:
            return os.rename(partial / "new", path)
        except OSError:
            if not path.exists() and attempt == 9:
                raise
        if is_current(path, hashes):
            return None
        try:
            os.rename(path, partial / f"old{attempt}")
        except FileNotFoundError:
            pass  # another process has just moved it away
    raise OSError(f"other processes keep replacing {path}")


def write_volume(root, name: str, raw, masks: dict, annotated: dict, *, axes, scale, chunks) -> None:
    """Write one volume into the root group of a store.

    Parameters
    ----------
    root : zarr.Group
        Root of the store.
    name : str
        Of the volume.
    raw : uint8 array
        Intensities.
    masks, annotated : dict from class to array of bool
        Each of the shape of `raw`.
    axes : str
        One letter per axis, such as ``"zyx"``.
    scale : tuple of float
        Nanometres per voxel, per axis.
    chunks : tuple of int
        Of every array.
    """
    from zarr.codecs import ZstdCodec

    scales = [{"type": "scale", "scale": list(scale)}]
    spatial = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in axes]

    def image(path, array, data, **more):
        multiscale = {
            "name": path.rsplit("/", 1)[-1],
            "axes": spatial,
            "datasets": [{"path": array, "coordinateTransformations": scales}],
        }
        ome = {"version": "0.5", "multiscales": [multiscale], **more}
        root.create_group(path, attributes={"ome": ome}).create_array(
            array,
            data=np.ascontiguousarray(data, np.uint8),
            chunks=chunks,
            dimension_names=list(axes),
            compressors=ZstdCodec(level=3, checksum=True),
            config={"write_empty_chunks": True},  # so that a chunk that is not there is damage, not background
        )

    image(name, "raw", raw)
    root.create_group(f"{name}/labels", attributes={"ome": {"version": "0.5", "labels": list(masks)}})
    root.create_group(f"{name}/annotated")
    white = {"label-value": 1, "rgba": [255, 255, 255, 255]}
    label = {"image-label": {"version": "0.5", "colors": [white], "source": {"image": "../../"}}}
    for one, mask in masks.items():
        image(f"{name}/labels/{one}", "0", mask, **label)
    for one, where in annotated.items():
        image(f"{name}/annotated/{one}", "0", where)


def read_sections(path: Path, volume: str, classes, sections) -> tuple:
    """Read sections of a volume, that is indices along its first axis; T of them, of shape S.

    Returns
    -------
    raw : (T, *S) uint8
        Intensities.
    masks, annotated : (T, C, *S) bool
        Of the given classes.
    scale : tuple of float
        Nanometres per voxel along each axis of the volume.

    Raises
    ------
    ValueError
        Part of the store is missing, or it was replaced meanwhile. (Zarr alone would read zeros.)
    """
    import zarr

    try:
        before = path.stat().st_ino
        group = zarr.open_group(path, mode="r")[volume]
        paths = ["raw", *(f"{kind}/{c}/0" for kind in ("labels", "annotated") for c in classes)]
        arrays = [group[p] for p in paths]
        for array in arrays:
            if array.nchunks_initialized != array.nchunks:
                raise KeyError(f"{array.nchunks - array.nchunks_initialized} chunks of {array.path}")
        raw, *drawn = (np.stack([array[z] for z in sections]) for array in arrays)
        if path.stat().st_ino != before:
            raise ValueError(f"{path} was replaced while it was read; load it again")
    except (KeyError, FileNotFoundError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged ({error}). Remove it, to prepare it anew") from error
    masks, annotated = np.stack(drawn[: len(classes)], 1) > 0, np.stack(drawn[len(classes) :], 1) > 0
    dataset = group.attrs["ome"]["multiscales"][0]["datasets"][0]
    return raw, masks, annotated, tuple(dataset["coordinateTransformations"][0]["scale"])


def count_sections(path: Path, volume: str) -> int:
    """Length of a volume's first axis."""
    import zarr

    return zarr.open_array(path / volume / "raw", mode="r").shape[0]
