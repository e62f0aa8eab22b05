"""One Zarr store per data set, with OME-NGFF 0.5 metadata: written whole or not at all, checked, read.

Layout of ``<prepared>/<data set>.zarr`` (Zarr v3):

- ``/``: what the data set is, and the hashes of the files that it was made from;
- ``/<volume>``: an NGFF image (a volume, a stack of sections or one picture) whose array is ``raw``, of axes zyx,
  yx, or with a channel axis before them;
- ``/<volume>/labels/<class>`` and ``/<volume>/annotated/<class>``: NGFF images of 0 and 1, arrays ``0``;
- ``/<volume>/labels/<name>`` of instances, where a data set has them: an NGFF image of their numbers.

Arrays are cut into small chunks, which training crops are read by (`helpers.datasets.windows`), in shards: few files.
"""

import json
import os
import time
from collections.abc import Callable
from math import ceil, prod
from pathlib import Path

import numpy as np

from helpers.datasets.fetch import aside, cache_folder
from helpers.datasets.transfer import NoRoom, require_room

LAYOUT = 2  # a store of another layout is written anew


def prepared_folder() -> Path:
    """Where stores are: the environment variable HELPERS_PREPARED, else ``prepared`` in the user's cache."""
    if os.environ.get("HELPERS_PREPARED"):
        return Path(os.environ["HELPERS_PREPARED"]).expanduser().absolute()
    return cache_folder() / "prepared"


def reduce_raw(raw: np.ndarray, reduce: int) -> np.ndarray:
    """Mean of each block of `reduce` × `reduce` pixels of the last two axes, float32.

    Integers are divided by the largest of their type, so that 1 is white; floats are taken as they are.
    """
    white = np.iinfo(raw.dtype).max if raw.dtype.kind == "u" else 1.0
    total = _total(raw, reduce, int(white) if raw.dtype.kind == "u" else None)
    return (total / (white * float(reduce * reduce))).astype(np.float32)


def reduce_masks(masks: np.ndarray, reduce: int) -> np.ndarray:
    """Whether more than half of each block is in the mask, bool."""
    return masks.copy() if reduce == 1 else _total(masks, reduce) > reduce * reduce // 2


def reduce_annotated(annotated: np.ndarray, reduce: int) -> np.ndarray:
    """Whether all of each block is annotated, bool."""
    return annotated.copy() if reduce == 1 else _total(annotated, reduce) == reduce * reduce


def reduce_image(raw: np.ndarray, masks: np.ndarray, annotated: np.ndarray, reduce: int):
    """Reduce an image in-plane (its last two axes) by blocks of `reduce` × `reduce` pixels.

    Parameters
    ----------
    raw : (K, *S) uint8 or uint16
        Intensities, the largest of the type the brightest.
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
    check_reduce(reduce, raw.shape[-2:])
    return reduce_raw(raw, reduce), reduce_masks(masks, reduce), reduce_annotated(annotated, reduce)


def check_reduce(reduce: int, size: tuple[int, int]) -> None:
    """Refuse a `reduce` that does not divide images of this height and width, naming those that do."""
    height, width = size
    if reduce < 1 or height % reduce or width % reduce:
        divisors = [r for r in range(1, 33) if height % r == 0 and width % r == 0]
        raise ValueError(
            f"reduce is {reduce}, which does not divide images of {height} × {width} pixels; "
            f"choose a common divisor of the two: {', '.join(map(str, divisors))}"
        )


def _total(array, reduce, largest=1):
    """Sums of blocks, in the smallest unsigned type that holds those of values up to `largest`; None: float64."""
    dtype = np.min_scalar_type(largest * reduce * reduce) if largest else np.float64
    if reduce == 1:
        return array.astype(dtype)
    rows = sum(array[..., i::reduce, :].astype(dtype) for i in range(reduce))
    return sum(rows[..., j::reduce] for j in range(reduce))


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
            ordered = dict(sorted(hashes.items()))  # not as downloads happened to end
            attributes = {"name": path.stem, **about, "layout": LAYOUT, "sha256": ordered}
            fill(zarr.create_group(partial / "new", zarr_format=3, attributes=attributes))
            _into_place(partial, path, hashes)
    except NoRoom:
        raise
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


def blocks(shape: tuple[int, ...], largest: int = 2**26) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Chunks and shards for an array of spatial axes: what crops read by, and what lies in one file.

    Chunks are squares of 256 pixels of one section, or cubes of 64 voxels where there are sections enough to want
    them; shards are whole sections or volumes, of up to `largest` voxels.
    """
    edge = (64,) * 3 if len(shape) == 3 and shape[0] > 64 else ((1,) if len(shape) == 3 else ()) + (256, 256)
    chunks = tuple(min(e, n) for e, n in zip(edge, shape, strict=True))
    shards = [ceil(n / c) * c for n, c in zip(shape, chunks, strict=True)]
    if chunks[0] == 1 and len(shape) == 3:
        shards[0] = 1
    while prod(shards) > largest and max(shards) > max(chunks):
        axis = int(np.argmax([s // c for s, c in zip(shards, chunks, strict=True)]))
        shards[axis] = ceil(shards[axis] // chunks[axis] / 2) * chunks[axis]
    return chunks, tuple(shards)


def write_volume(
    root, name: str, raw, masks: dict, annotated: dict, *, axes, scale, chunks=None, instances=None, unit="nanometer"
) -> None:
    """Write one volume, stack or picture into the root group of a store.

    Parameters
    ----------
    root : zarr.Group
        Root of the store.
    name : str
        Of the volume; it may hold slashes.
    raw : uint8 or uint16 array
        Intensities, of spatial shape S or (K, *S).
    masks, annotated : dict from class to array of bool
        Each of shape S.
    axes : str
        One letter per spatial axis, such as ``"zyx"``.
    scale : tuple of float
        Size of a voxel along each.
    chunks : tuple of int, optional
        Of every array, one number per axis of S, each chunk its own file; by default chunks in shards (`blocks`).
    instances : dict from name to array of unsigned integers, optional
        Objects numbered from 1, of shape S; 0 is none of them.
    unit : str or None
        Of `scale`; None where the size of a pixel is not known.

    Raises
    ------
    OSError
        There is surely no room for it: less than half of what its intensities take. The message says how much is
        missing.
    """
    from zarr.codecs import ZstdCodec

    raw = np.ascontiguousarray(raw)
    require_room(Path(root.store.root), raw.nbytes // 2, "HELPERS_PREPARED")  # intensities compress to more than that
    chunks, shards = (chunks, None) if chunks else blocks(raw.shape[-len(axes) :])
    space = {"type": "space", **({"unit": unit} if unit else {})}

    def image(path, array, data, **more):
        lead = data.shape[: data.ndim - len(axes)]  # channels, all of them in each chunk
        multiscale = {
            "name": path.rsplit("/", 1)[-1],
            "axes": [{"name": "c", "type": "channel"}] * len(lead) + [{"name": axis, **space} for axis in axes],
            "datasets": [
                {
                    "path": array,
                    "coordinateTransformations": [{"type": "scale", "scale": [1.0] * len(lead) + list(scale)}],
                }
            ],
        }
        ome = {"version": "0.5", "multiscales": [multiscale], **more}
        root.create_group(path, attributes={"ome": ome}).create_array(
            array,
            data=data,
            chunks=(*lead, *chunks),
            shards=shards and (*lead, *shards),
            dimension_names=["c"] * len(lead) + list(axes),
            compressors=ZstdCodec(level=3, checksum=True),
            config={"write_empty_chunks": True},  # so that a chunk that is not there is damage, not background
        )

    image(name, "raw", raw)
    labels = [*masks, *(instances or {})]
    root.create_group(f"{name}/labels", attributes={"ome": {"version": "0.5", "labels": labels}})
    root.create_group(f"{name}/annotated")
    white = {"label-value": 1, "rgba": [255, 255, 255, 255]}
    source = {"version": "0.5", "source": {"image": "../../"}}
    for one, mask in masks.items():
        data = np.ascontiguousarray(mask, np.uint8)
        image(f"{name}/labels/{one}", "0", data, **{"image-label": {**source, "colors": [white]}})
    for one, numbers in (instances or {}).items():
        image(f"{name}/labels/{one}", "0", np.ascontiguousarray(numbers), **{"image-label": source})
    for one, where in annotated.items():
        image(f"{name}/annotated/{one}", "0", np.ascontiguousarray(where, np.uint8))


def open_arrays(path: Path, volume: str, kinds) -> list:
    """Arrays of a volume: ``"raw"``, ``"labels/<class>"``, ``"annotated/<class>"``; each complete on disk.

    Raises
    ------
    ValueError
        Part of the store is missing. (Zarr alone would read zeros.)
    """
    import zarr

    try:
        group = zarr.open_group(path, mode="r")[volume]
        arrays = [group[kind if kind == "raw" else f"{kind}/0"] for kind in kinds]
        for array in arrays:
            if array.nchunks_initialized != array.nchunks:
                raise KeyError(f"{array.nchunks - array.nchunks_initialized} chunks of {array.path}")
    except (KeyError, FileNotFoundError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged ({error}). Remove it, to prepare it anew") from error
    return arrays


def read_volume(path: Path, volume: str, classes, window=()) -> tuple:
    """Read a volume, or a window of it.

    Parameters
    ----------
    path : Path
        The store.
    volume : str
        Its name.
    classes : sequence of str
        Those wanted, C of them.
    window : tuple of slice
        Along the spatial axes S; all of it by default.

    Returns
    -------
    raw : (K, *S) uint8 or uint16
        Intensities.
    masks, annotated : (C, *S) bool
        Of the given classes.

    Raises
    ------
    ValueError
        Part of the store is missing, or it was replaced meanwhile.
    """
    try:
        before = path.stat().st_ino
        kinds = ["raw", *(f"{kind}/{c}" for kind in ("labels", "annotated") for c in classes)]
        raw, *drawn = open_arrays(path, volume, kinds)
        spatial = raw.ndim if "c" not in raw.metadata.dimension_names else raw.ndim - 1
        raw = np.asarray(raw[(..., *window, *(slice(None),) * (spatial - len(window)))])
        raw = raw[None] if raw.ndim == spatial else raw
        drawn = [np.asarray(array[tuple(window)]) > 0 for array in drawn]
        masks, annotated = np.stack(drawn[: len(classes)]), np.stack(drawn[len(classes) :])
        if path.stat().st_ino != before:
            raise ValueError(f"{path} was replaced while it was read; load it again")
    except FileNotFoundError as error:
        raise ValueError(f"{path} is damaged ({error}). Remove it, to prepare it anew") from error
    return raw, masks, annotated


def read_instances(path: Path, volume: str, name: str, window=()) -> np.ndarray:
    """Numbered objects of a volume, or of a window of it; 0 is none."""
    (array,) = open_arrays(path, volume, [f"labels/{name}"])
    return np.asarray(array[tuple(window)])


def read_scale(path: Path, volume: str) -> tuple[float, ...]:
    """Size of a voxel along each spatial axis of a volume."""
    import zarr

    multiscale = zarr.open_group(path, mode="r")[volume].attrs["ome"]["multiscales"][0]
    scale = multiscale["datasets"][0]["coordinateTransformations"][0]["scale"]
    return tuple(s for s, axis in zip(scale, multiscale["axes"], strict=True) if axis["type"] == "space")


def read_attributes(path: Path) -> dict:
    """What the store says of its data set."""
    return json.loads((path / "zarr.json").read_text(encoding="utf-8"))["attributes"]


def read_sections(path: Path, volume: str, classes, sections) -> tuple:
    """Read sections of a volume, that is indices along its first axis; T of them, of shape S.

    Returns
    -------
    raw : (T, *S) uint8
        Intensities of the one channel.
    masks, annotated : (T, C, *S) bool
        Of the given classes.
    scale : tuple of float
        Size of a voxel along each axis of the volume.

    Raises
    ------
    ValueError
        As `read_volume`.
    """
    sections = list(sections)
    first, last = min(sections), max(sections)
    raw, masks, annotated = read_volume(path, volume, classes, (slice(first, last + 1),))
    rows = [z - first for z in sections]
    masks, annotated = masks.swapaxes(0, 1)[rows], annotated.swapaxes(0, 1)[rows]
    return raw[0][rows], masks, annotated, read_scale(path, volume)


def count_sections(path: Path, volume: str) -> int:
    """Length of a volume's first axis."""
    import zarr

    return zarr.open_array(path / volume / "raw", mode="r").shape[0]
