"""Zarr volumes of any origin: found with their spacing, read as grey in [0, 1]; results written as OME-NGFF 0.5."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from helpers.blocks import Box

# nm in one of the units that NGFF names (those of UDUNITS-2 that anybody uses for a microscope)
UNITS = {"angstrom": 0.1, "nanometer": 1.0, "micrometer": 1e3, "millimeter": 1e6}


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
    """

    name: str
    array: Any
    lead: int
    n_channels: int
    reduce: int
    axes: str
    spacing: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the spatial axes, in voxels as read (reduced)."""
        native = self.array.shape[-len(self.axes) :]
        return (*native[:-2], native[-2] // self.reduce, native[-1] // self.reduce)

    def read(self, box: Box, where: str = "") -> np.ndarray:
        """Grey in [0, 1] of a box, float32, shape (K, *box).

        uint8 is divided by 255, uint16 by 65535; floating point must be in [0, 1] already.

        Raises
        ------
        ValueError
            NaN, infinity or a number outside [0, 1], with ``where`` and the first such voxel.
        """
        n = self.reduce
        native = (*box[:-2], *(slice(s.start * n, s.stop * n) for s in box[-2:]))
        several = self.array.ndim > self.lead + len(box)
        values = np.asarray(self.array[(*(0,) * self.lead, *(slice(None),) * several, *native)])
        values = values if several else values[None]
        if values.dtype.kind == "f":
            self._check(values, box, where)
        scale = float(np.iinfo(values.dtype).max) if values.dtype.kind == "u" else 1.0
        if n == 1:
            return (values / scale).astype(np.float32) if scale > 1 else values.astype(np.float32)
        wide = np.uint32 if values.dtype.kind == "u" else np.float64
        rows = sum(values[..., i::n, :].astype(wide) for i in range(n))
        total = sum(rows[..., j::n] for j in range(n))
        return (total / (scale * n * n)).astype(np.float32)

    def _check(self, values: np.ndarray, box: Box, where: str) -> None:
        bad = ~((values >= 0) & (values <= 1))  # NaN compares false
        if bad.any():
            first = np.argwhere(bad)[0][1:]
            steps = (1,) * (len(box) - 2) + (self.reduce,) * 2
            voxel = [int(s.start * r + f) for s, r, f in zip(box, steps, first, strict=True)]
            raise ValueError(
                f"{self.name} holds {values[bad][0]!s} at voxel {voxel}, in {where or 'the box read'}: floating point "
                "images must lie in [0, 1] everywhere; repair them, or rescale them first"
            )


def open_volume(
    path: str | Path, spacing: Sequence[float] | None = None, *, reduce: int = 1, level: int = 0, n_channels: int = 1
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

    Raises
    ------
    FileNotFoundError
        No Zarr there.
    ValueError
        No spacing, or axes, type, channels or sizes that cannot be used; the message says what was found.
    """
    import zarr

    try:
        node = zarr.open(str(path), mode="r")
    except (FileNotFoundError, ValueError, KeyError, NotADirectoryError) as error:
        raise FileNotFoundError(f"{path} is no Zarr array or group ({error})") from error
    image, key = (node, None) if isinstance(node, zarr.Group) else _image_of(Path(path))
    metadata = _multiscale(image) if image is not None else None
    if isinstance(node, zarr.Group):
        if metadata is None:
            inside = ", ".join(sorted(name for name, _ in node.members())) or "nothing"
            raise ValueError(f"{path} is a Zarr group without an OME image; it holds {inside}: name one of these")
        if not 0 <= level < len(metadata["datasets"]):
            raise ValueError(f"level is {level}; {path} has {len(metadata['datasets'])} resolutions, from 0")
        key = metadata["datasets"][level]["path"]
        node = node[key]
    axes, found = ("zyx"[-node.ndim :], None) if metadata is None else _axes_and_scale(path, metadata, key)
    if metadata is None and node.ndim not in (2, 3):
        raise ValueError(f"{path} is a plain array of {node.ndim} axes; expected 2 (yx) or 3 (zyx), or an OME-Zarr")
    if spacing is None and found is None:
        raise ValueError(f"{path} does not say its spacing in nm; give it: --spacing {','.join(['18.4'] * len(axes))}")
    return _checked(path, node, axes, tuple(found if spacing is None else spacing), reduce, n_channels)


def _multiscale(group) -> dict | None:
    """The first multiscale image of a group, whichever version its metadata are of."""
    attributes = dict(group.attrs)
    found = attributes.get("ome", attributes).get("multiscales")
    return None if not found else found[0] | {"where": group}


def _image_of(path: Path):
    """The image that an array is a resolution of, and by which path; (None, None) where it stands alone."""
    import zarr

    for parent in list(path.absolute().parents)[:3]:
        try:
            group = zarr.open_group(str(parent), mode="r")
        except (FileNotFoundError, ValueError, KeyError):
            continue
        key = path.absolute().relative_to(parent).as_posix()
        if (metadata := _multiscale(group)) and key in [d["path"] for d in metadata["datasets"]]:
            return group, key
    return None, None


def _axes_and_scale(path, metadata: dict, key: str) -> tuple[str, tuple[float, ...] | None]:
    axes = [a if isinstance(a, dict) else {"name": a} for a in metadata.get("axes", ())]
    names = "".join(str(a.get("name")) for a in axes)
    if names not in ("yx", "zyx", "cyx", "czyx", "tyx", "tzyx", "tcyx", "tczyx"):
        raise ValueError(
            f"{path} has axes {[a.get('name') for a in axes]!r}; expected yx or zyx, with t and c before them or not"
        )
    spatial = names.lstrip("tc")
    entry = next(d for d in metadata["datasets"] if d["path"] == key)
    scale = np.ones(len(axes))
    steps = [*entry.get("coordinateTransformations", ()), *metadata.get("coordinateTransformations", ())]
    scales = [step["scale"] for step in steps if step.get("type") == "scale"]
    for one in scales:
        scale = scale * np.asarray(one, float)
    units = [a.get("unit") for a in axes[-len(spatial) :]]
    unknown = [unit for unit in units if unit is not None and unit not in UNITS]
    if unknown:
        raise ValueError(f"{path} has the unit {unknown[0]!r}; expected one of {', '.join(UNITS)}, or --spacing in nm")
    if not scales or None in units:
        return names, None
    return names, tuple(float(s) * UNITS[u] for s, u in zip(scale[-len(spatial) :], units, strict=True))


def _checked(path, array, names: str, spacing: tuple, reduce: int, n_channels: int) -> Volume:
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
    return Volume(str(path), array, lead, n_channels, reduce, axes, tuple(map(float, spacing)))


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
