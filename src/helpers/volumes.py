"""Zarr volumes of any origin: found with their spacing, read as grey in [0, 1]; results written as OME-NGFF 0.5."""

import hashlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from helpers.blocks import Box, Grid

# nm in one of the units that NGFF names (those of UDUNITS-2 that anybody uses for a microscope)
UNITS = {"angstrom": 0.1, "nanometer": 1.0, "micrometer": 1e3, "millimeter": 1e6}
DIM = 1 / 8  # of white: 16-bit images that are no brighter have fewer bits, as `helpers.datasets.folder` takes it
LOOKED_AT, READ, NOT_BLANK = 2**28, 256, 64  # bytes, chunks and chunks with contents that `look_over` reads, at most
# what zarr raises for what is not there, is no Zarr, or has damaged metadata
_NOT_ZARR = (FileNotFoundError, NotADirectoryError, AttributeError, KeyError, TypeError, ValueError)


@dataclass(frozen=True)
class Volume:
    """An image volume on disk, read piece by piece.

    Attributes
    ----------
    name : str
        What was opened, for messages and provenance.
    array : zarr.Array
    lead : int
        Axes of the array before the spatial ones that have length 1 (time, a single channel) and are dropped.
    n_channels : int
        1, or the length of a channel axis just before the spatial axes.
    reduce : int
        Every block of reduce x reduce pixels in-plane (the last two axes) is read as its mean.
    axes : str
        Spatial axes: "yx" or "zyx".
    spacing : tuple of float
        nm per voxel along each of them, as read (reduced).
    white : float
        The stored number that is read as 1.
    content : str
        By which it is told from other volumes, wherever it lies (`look_over`).
    """

    name: str
    array: Any
    lead: int
    n_channels: int
    reduce: int
    axes: str
    spacing: tuple[float, ...]
    white: float
    content: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the spatial axes, in voxels as read (reduced)."""
        native = self.array.shape[-len(self.axes) :]
        return (*native[:-2], native[-2] // self.reduce, native[-1] // self.reduce)

    def read(self, box: Box, where: str = "") -> np.ndarray:
        """Grey in [0, 1] of a box, float32, shape (K, *box).

        What is stored is divided by `white`.

        Raises
        ------
        ValueError
            NaN, infinity or a number outside [0, white], with ``where`` and the first such voxel; a chunk that cannot
            be read, with its file.
        """
        n = self.reduce
        native = (*box[:-2], *(slice(s.start * n, s.stop * n) for s in box[-2:]))
        several = self.array.ndim > self.lead + len(box)
        values = _stored(self.array, (*(0,) * self.lead, *(slice(None),) * several, *native), where)
        values = values if several else values[None]
        if self.white != _largest(values.dtype) or values.dtype.kind == "f":
            self._check(values, box, where)
        if n == 1:
            return (values if self.white == 1 else values / self.white).astype(np.float32)
        wide = np.uint32 if values.dtype.kind == "u" else np.float64
        rows = sum(values[..., i::n, :].astype(wide) for i in range(n))
        total = sum(rows[..., j::n] for j in range(n))
        return (total / (self.white * n * n)).astype(np.float32)

    def _check(self, values: np.ndarray, box: Box, where: str) -> None:
        bad = ~((values >= 0) & (values <= self.white))  # NaN compares false
        if bad.any():
            first = np.argwhere(bad)[0][1:]
            steps = (1,) * (len(box) - 2) + (self.reduce,) * 2
            voxel = [int(s.start * r + f) for s, r, f in zip(box, steps, first, strict=True)]
            kind = "floating point images" if values.dtype.kind == "f" else "greys"
            raise ValueError(
                f"{self.name} holds {values[bad][0]!s} at voxel {voxel}, in {where or 'the box read'}: {kind} must lie "
                f"in [0, {self.white:g}] everywhere; repair or rescale them first, or say what is white: --white"
            )


def open_volume(
    path: str | Path,
    spacing: Sequence[float] | None = None,
    *,
    reduce: int = 1,
    level: int = 0,
    n_channels: int = 1,
    white: float | None = None,
) -> Volume:
    """Open an OME-Zarr image (0.4 or 0.5), or a plain Zarr array.

    Parameters
    ----------
    path : path
        Of an image (a group with ``multiscales``) or of an array, at any depth inside a store.
    spacing : sequence of float, optional
        nm per voxel as stored, along the spatial axes. Needed where the metadata have none; replaces theirs.
    reduce : int
        In-plane reduction, as in `helpers.datasets.load`.
    level : int
        Which resolution of an image.
    n_channels : int
        How many the network takes.
    white : float, optional
        The stored number that counts as 1; by default the largest of the type, and 1 of floating point.

    Raises
    ------
    FileNotFoundError
        No Zarr there.
    ValueError
        No spacing; 16 bits of which no more than an eighth seems to be used, without `white`; axes, type, channels or
        sizes that cannot be used; or damage: metadata that lack something, an array that is not there, a chunk that
        cannot be read. The message names the file and says what was found.
    """
    import zarr

    try:
        node = zarr.open(str(path), mode="r")
    except _NOT_ZARR as error:
        raise FileNotFoundError(f"{path} is no Zarr array or group ({error})") from error
    image, key = (node, None) if isinstance(node, zarr.Group) else _image_of(Path(path))
    metadata = _multiscale(image, path) if image is not None else None
    if isinstance(node, zarr.Group):
        if metadata is None:
            inside = ", ".join(sorted(name for name, _ in node.members())) or "nothing"
            raise ValueError(f"{path} is a Zarr group without an OME image; it holds {inside}: name one of these")
        if not 0 <= level < len(metadata["datasets"]):
            raise ValueError(f"level is {level}; {path} has {len(metadata['datasets'])} resolutions, from 0")
        key = metadata["datasets"][level]["path"]
        node = _resolution(node, key, path, level)
    elif level:
        raise ValueError(f"level is {level}, but {path} is one array; a level is one of the resolutions of an image")
    axes, found = ("zyx"[-node.ndim :], None) if metadata is None else _axes_and_scale(path, metadata, key)
    if metadata is None and node.ndim not in (2, 3):
        raise ValueError(f"{path} is a plain array of {node.ndim} axes; expected 2 (yx) or 3 (zyx), or an OME-Zarr")
    if spacing is None and found is None:
        raise ValueError(f"{path} does not say its spacing in nm; give it: --spacing {','.join(['18.4'] * len(axes))}")
    spacing = tuple(found if spacing is None else spacing)
    return _checked(path, node, axes, spacing, reduce, n_channels, white)


def look_over(array) -> tuple[str, float]:
    """Twelve hex digits that tell an array from others of its shape, and the brightest number found in it.

    Both are of chunks that are spread evenly, in an order that shape and chunks alone decide: until 64 were found that
    are not blank, or 256 in all, or 256 MB. Of smaller arrays that is every voxel; where larger ones differ nowhere in
    those chunks, they have the same digits.

    Parameters
    ----------
    array : zarr.Array

    Raises
    ------
    ValueError
        One of those chunks cannot be read; the message names its file.
    """
    grid = Grid(array.shape, array.chunks)
    digest, brightest, read, filled = hashlib.sha256(f"{array.shape} {array.dtype}".encode()), 0.0, 0, 0
    step = max(round(len(grid) * (math.sqrt(5) - 1) / 2), 1)  # the golden section: any first few are far apart
    while math.gcd(step, len(grid)) > 1:
        step += 1
    for k in range(min(len(grid), READ)):
        box = grid.box((len(grid) // 2 + k * step) % len(grid))
        values = np.ascontiguousarray(_stored(array, box, f"voxels {', '.join(f'{s.start}:{s.stop}' for s in box)}"))
        digest.update(values)
        brightest, read = max(brightest, float(values.max())), read + values.nbytes
        filled += bool((values != values.flat[0]).any())
        if read >= LOOKED_AT or filled >= NOT_BLANK:
            break
    return digest.hexdigest()[:12], brightest


def _stored(array, box: tuple, where: str) -> np.ndarray:
    """What is stored in a box (an index or a slice for each axis); ValueError, with the file, where it is damaged."""
    try:
        return np.asarray(array[box])
    except MemoryError:
        raise
    except Exception as error:  # each codec has errors of its own
        file = str(array.store_path).removeprefix("file://") + _broken_chunk(array, box)
        raise ValueError(f"{file} cannot be read, in {where or 'the box read'}: {error!r}; restore it") from error


def _broken_chunk(array, box: tuple) -> str:
    """By which path below the array's the first chunk of a box lies that cannot be read; "" where all can."""
    spans = [range(n)[s] if isinstance(s, slice) else range(s, s + 1) for s, n in zip(box, array.shape, strict=True)]
    sizes, files = array.chunks, array.shards or array.chunks
    for corner in itertools.product(*(range(r.start // n, -(-r.stop // n)) for r, n in zip(spans, sizes, strict=True))):
        try:
            array[tuple(slice(k * n, k * n + n) for k, n in zip(corner, sizes, strict=True))]
        except Exception:
            place = tuple(k * n // m for k, n, m in zip(corner, sizes, files, strict=True))
            return f"/{array.metadata.encode_chunk_key(place)}"
    return ""


def _resolution(group, key: str, path, level: int):
    """The array that an image's metadata name as a resolution; ValueError where it is not there."""
    import zarr

    try:
        node = group[key]
        problem = "" if isinstance(node, zarr.Array) else "it is a group"
    except _NOT_ZARR as error:
        problem = repr(error)
    if problem:
        raise ValueError(
            f"{path} has no array {key!r} that can be read ({problem}), though its metadata name it as resolution "
            f"{level}; restore it, or choose another level"
        )
    return node


def _multiscale(group, path) -> dict | None:
    """The first multiscale image of a group, of either version of its metadata; ValueError where they lack paths."""
    attributes = dict(group.attrs)
    try:
        found = attributes.get("ome", attributes).get("multiscales")
        if not found:
            return None
        datasets = [one | {"path": str(one["path"])} for one in found[0]["datasets"]]
        return found[0] | {"datasets": datasets, "axes": list(found[0].get("axes", ()))}
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} has OME metadata that cannot be used ({error!r}); expected multiscales with axes and datasets, "
            "each with a path: repair them, or give one of its arrays, and --spacing"
        ) from error


def _image_of(path: Path):
    """The image that an array is a resolution of, and by which path; (None, None) where it stands alone."""
    import zarr

    for parent in list(path.absolute().parents)[:3]:
        try:
            group = zarr.open_group(str(parent), mode="r")
            metadata = _multiscale(group, parent)
        except _NOT_ZARR:
            continue
        key = path.absolute().relative_to(parent).as_posix()
        if metadata and key in [d["path"] for d in metadata["datasets"]]:
            return group, key
    return None, None


def _axes_and_scale(path, metadata: dict, key: str) -> tuple[str, tuple[float, ...] | None]:
    axes = [a if isinstance(a, dict) else {"name": a} for a in metadata["axes"]]
    names = "".join(str(a.get("name")) for a in axes)
    if names not in ("yx", "zyx", "cyx", "czyx", "tyx", "tzyx", "tcyx", "tczyx"):
        raise ValueError(
            f"{path} has axes {[a.get('name') for a in axes]!r}; expected yx or zyx, with t and c before them or not"
        )
    spatial = names.lstrip("tc")
    entry = next(d for d in metadata["datasets"] if d["path"] == key)
    try:
        steps = [*entry.get("coordinateTransformations", ()), *metadata.get("coordinateTransformations", ())]
        scales = [np.asarray(step["scale"], float) for step in steps if step.get("type") == "scale"]
        scale = np.stack([np.ones(len(axes)), *scales]).prod(0)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} has coordinateTransformations that cannot be used ({error!r}); expected scales of {len(axes)} "
            "numbers: repair them"
        ) from error
    units = [a.get("unit") for a in axes[-len(spatial) :]]
    unknown = [unit for unit in units if unit is not None and unit not in UNITS]
    if unknown:
        raise ValueError(f"{path} has the unit {unknown[0]!r}; expected one of {', '.join(UNITS)}, or --spacing in nm")
    if not scales or None in units:
        return names, None
    return names, tuple(float(s) * UNITS[u] for s, u in zip(scale[-len(spatial) :], units, strict=True))


def _checked(path, array, names: str, spacing: tuple, reduce: int, n_channels: int, white: float | None) -> Volume:
    axes = names.lstrip("tc")
    if len(names) != array.ndim:
        raise ValueError(f"{path} has {array.ndim} axes, but its metadata name {names!r}")
    if len(spacing) != len(axes) or not all(0 < s < math.inf for s in spacing):
        raise ValueError(f"spacing is {spacing!r}; expected {len(axes)} positive numbers in nm, one for each of {axes}")
    if array.dtype not in (np.uint8, np.uint16, np.float16, np.float32, np.float64):
        raise ValueError(f"{path} is of type {array.dtype}; expected uint8, uint16, or floating point in [0, 1]")
    lengths = dict(zip(names, array.shape, strict=True))
    if lengths.get("t", 1) != 1:
        raise ValueError(f"{path} has {lengths['t']} time points; expected one: give one of them as an array")
    if lengths.get("c", 1) != n_channels:
        raise ValueError(f"{path} has {lengths.get('c', 1)} channels; the network takes {n_channels}")
    if not all(array.shape):
        raise ValueError(f"{path} is empty: its shape is {array.shape}")
    if reduce < 1 or array.shape[-2] % reduce or array.shape[-1] % reduce:
        raise ValueError(
            f"reduce is {reduce}, which does not divide images of {array.shape[-2]} x {array.shape[-1]} pixels; "
            "choose a common divisor of the two, such as 1, 2 or 4"
        )
    spacing = (*spacing[:-2], *(s * reduce for s in spacing[-2:]))
    lead = len(names) - len(axes) - (n_channels > 1)
    most = _largest(array.dtype)
    if white is not None and not 0 < white <= (np.finfo(np.float32).max if array.dtype.kind == "f" else most):
        raise ValueError(f"white is {white!r}; expected a grey value above 0 that {path}, {array.dtype}, can hold")
    content, brightest = look_over(array)
    if white is None and array.dtype == np.uint16 and brightest <= DIM * most:
        likely = 2 ** int(brightest).bit_length() - 1
        raise ValueError(
            f"{path} is of 16 bits, and the brightest voxel looked at is {brightest:.0f}, {brightest / most:.2%} of "
            f"white; if the images have fewer bits than their type, say the grey value that is white: --white "
            f"{likely if likely > 255 else 4095}, and else --white {most:.0f}"
        )
    white = float(most if white is None else white)
    return Volume(str(path), array, lead, n_channels, reduce, axes, tuple(map(float, spacing)), white, content)


def _largest(dtype) -> float:
    """White where nothing else is said."""
    return float(np.iinfo(dtype).max) if np.dtype(dtype).kind == "u" else 1.0


def create_image(root, path: str, dtype, grid, chunk: Sequence[int], axes: str, spacing: Sequence[float], label=False):
    """A single-resolution NGFF 0.5 image ``path`` in the group ``root``: array ``0``, one shard for each block.

    A shard is written whole or not at all, and by the one block that it holds. ``label``: with the metadata of a label
    image. Chunks of background are written too, so that a missing one is damage.
    """
    from zarr.codecs import ZstdCodec

    multiscale = {
        "name": path.rsplit("/", 1)[-1],
        "axes": [{"name": axis, "type": "space", "unit": "nanometer"} for axis in axes],
        "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": list(spacing)}]}],
    }
    more = {"image-label": {"version": "0.5"}} if label else {}
    group = root.create_group(path, attributes={"ome": {"version": "0.5", "multiscales": [multiscale], **more}})
    return group.create_array(
        "0",
        shape=grid.shape,
        dtype=dtype,
        chunks=tuple(chunk),
        shards=grid.block,
        dimension_names=list(axes),
        compressors=ZstdCodec(level=1, checksum=True),
        config={"write_empty_chunks": True},
    )
