"""Seeded synthetic electron microscopy, 2-D and 3-D, whose labels are exact.

`make` draws neuropil: cells with irregular outlines, membranes between them, and inside them mitochondria
with cristae, tubes, sheets and vesicles; also what a network must learn to pass over (dark cells, dark
cytoplasm, dense-core vesicles, synaptic densities). Every length is in nanometres. A shape is a signed
distance, from which both its label (distance < 0) and its grey values follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse
from scipy.spatial import cKDTree

CLASSES = ("membranes", "mitochondria", "tubes", "sheets", "vesicles")
#: class -> the classes that share no voxel with it: here, all the others.
EXCLUDES: dict[str, tuple[str, ...]] = {c: tuple(o for o in CLASSES if o != c) for c in CLASSES}
#: class -> fraction of the field that `make` aims at. Membranes follow from the cells.
DENSITY = {"mitochondria": 0.06, "tubes": 0.015, "sheets": 0.015, "vesicles": 0.012}

CLEARANCE = 12.0  # nm of cytoplasm kept around an organelle
SPREAD = 0.7  # standard deviation of the logarithm of cell sizes
SITES = 4  # a cell is a chain of at most so many sites of the diagram: neurites are long
PATIENCE = 60  # candidates refused in a row before a class is left as it is

Box = tuple[slice, ...]
Rng = np.random.Generator


@dataclass(frozen=True)
class Phantom:
    """One synthetic image and its truth.

    raw : (*S) uint8. masks : class -> (*S) bool. spacing : nm per axis.
    instances : class -> (*S) int32, 0 the background, ids 1..n without a gap.
    `masks[c] == (instances[c] > 0)` for every class c.
    """

    raw: np.ndarray
    masks: dict[str, np.ndarray]
    instances: dict[str, np.ndarray]
    spacing: tuple[float, ...]


class _Grid:
    """Voxel centres in nm; `fine` of them per voxel and axis, so that thick sections can be averaged."""

    def __init__(self, shape: Sequence[int], spacing: Sequence[float]):
        # An odd number: the middle of a voxel is then the middle of one of its parts.
        self.fine = [min(2 * round((s / min(spacing) - 1) / 2) + 1, 7) for s in spacing]
        self.extent = np.multiply(shape, spacing)
        self.shape = tuple(np.multiply(shape, self.fine).tolist())
        self.spacing = np.divide(spacing, self.fine)
        self.axes = [(np.arange(n) + 0.5) * s for n, s in zip(self.shape, self.spacing, strict=True)]
        self.pixel = float(self.spacing.min())
        self.middle = tuple(slice(f // 2, None, f) for f in self.fine)  # of each voxel

    def noise(self, rng: Rng, scale: float) -> np.ndarray:
        """Smooth noise of unit variance: normal values on a lattice of `scale` nm, cubic B-splines between.

        The lattice lies in the world, so the same seed gives the same field at any spacing.
        """
        out = rng.standard_normal([math.ceil(e / scale) + 4 for e in self.extent])
        for axis, x in enumerate(self.axes):
            cell, t = np.divmod(x / scale, 1.0)
            w = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 1 + 3 * t * (1 + t - t**2), t**3], 1) / 6
            columns = cell.astype(int)[:, None] + np.arange(4)
            rows = np.arange(0, w.size + 1, 4)
            weights = sparse.csr_matrix((w.ravel(), columns.ravel(), rows), (len(x), out.shape[axis]))
            out = np.moveaxis(out, axis, 0)
            flat = weights @ out.reshape(len(out), -1)
            out = np.moveaxis(flat.reshape(len(x), *out.shape[1:]), 0, axis)
        return out / 0.4794 ** (out.ndim / 2)  # 0.4794: mean sum of the squared weights of one axis

    def at(self, array: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Values of `array` at points (..., D) in nm; outside, those of the nearest voxel."""
        index = np.clip((points / self.spacing).astype(int), 0, np.subtract(self.shape, 1))
        return array[tuple(np.moveaxis(index, -1, 0))]

    def box(self, low: np.ndarray, high: np.ndarray) -> Box:
        """Slices of the voxels between two corners in nm."""
        first = np.clip(np.floor(low / self.spacing), 0, self.shape).astype(int)
        last = np.clip(np.ceil(high / self.spacing) + 1, first, self.shape).astype(int)
        return tuple(map(slice, first.tolist(), last.tolist()))

    def points(self, box: Box) -> np.ndarray:
        """(*box, D) coordinates in nm."""
        return np.stack(np.meshgrid(*[x[b] for x, b in zip(self.axes, box, strict=True)], indexing="ij"), -1)


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def _around(rng: Rng, sd: float, most: float) -> float:
    """A factor around 1, log-normal and cut off at exp(±most)."""
    return math.exp(min(max(sd * rng.standard_normal(), -most), most))


def _sites(rng: Rng, extent: np.ndarray, diameter: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres (n, D), radii (n) and cell ids (n) of a packing of mixed discs, large ones first."""
    d, margin = len(extent), 2 * diameter
    size = extent + 2 * margin
    ball = math.pi if d == 2 else 4 / 3 * math.pi
    # Many thin neurites, and a few thick ones that fill most of the field.
    n = int(1.5 * size.prod() / (ball * (diameter / 2) ** d * math.exp((d * SPREAD) ** 2 / 2))) + 12
    radii = np.sort(diameter / 2 * np.exp(np.clip(SPREAD * rng.standard_normal(n), -1.0, 1.9)))[::-1]
    centre, radius, cell = np.empty((n * SITES, d)), np.empty(n * SITES), np.empty(n * SITES, int)
    count = 0
    for i, r in enumerate(radii.tolist()):
        tries, others = rng.random((16, d)) * size - margin, count  # a chain may overlap itself
        direction, turns = _unit(rng.standard_normal(d)), 0.4 * rng.standard_normal((SITES, d))
        for turn in turns[: rng.integers(1, SITES + 1)]:
            apart = ((tries[:, None] - centre[:others]) ** 2).sum(-1) - 0.81 * (r + radius[:others]) ** 2
            free = np.flatnonzero(apart.min(1, initial=np.inf) > 0)
            if not len(free):
                break
            centre[count], radius[count], cell[count] = tries[free[0]], r, i
            direction = _unit(direction + turn)
            tries = (centre[count] + 1.3 * r * direction)[None]
            count += 1
    return centre[:count], radius[:count], cell[:count]


def _cells(rng: Rng, grid: _Grid, diameter: float, dark: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per voxel: cell id and distance (nm) to the nearest other cell. Per id: is it dark?

    A power diagram in warped coordinates.
    """
    centre, radius, cell = _sites(rng, grid.extent, diameter)
    is_dark = rng.random(cell.max() + 1) < dark
    radius = radius * np.where(is_dark[cell], 0.5, 1)  # glia give way, and fill what the others leave
    x = grid.points(tuple(slice(None) for _ in grid.shape))
    for scale, amplitude in ((3.0, 0.6), (1.0, 0.17), (0.4, 0.05)):  # slow bends, then ruffles
        for axis in range(x.shape[-1]):
            x[..., axis] += diameter * amplitude * grid.noise(rng, diameter * scale)
    # |x-c|² - r² orders sites as does the distance to (c, sqrt(R² - r²)) in one dimension more.
    tree = cKDTree(np.column_stack([centre, np.sqrt(radius.max() ** 2 - radius**2)]))
    x = np.column_stack([x.reshape(-1, x.shape[-1]), np.zeros(x[..., 0].size)])
    power, near = tree.query(x, k=np.arange(1, min(SITES + 1, len(centre)) + 1))
    row, own = np.arange(len(near)), near[:, 0]
    other = np.argmax(cell[near] != cell[own][:, None], axis=1)  # the nearest site of another cell
    gap = np.linalg.norm(centre[near[row, other]] - centre[own], axis=1)
    distance = (power[row, other] ** 2 - power[:, 0] ** 2) / (2 * np.maximum(gap, 1e-9))
    distance[other == 0] = 1e6  # there is no other cell
    return cell[own].reshape(grid.shape), distance.reshape(grid.shape), is_dark


@dataclass
class _Shape:
    """What to draw: a polyline with a radius or, given a `normal`, a bent disc of that half thickness."""

    path: np.ndarray  # (P, D) nm
    radius: float
    shade: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # (distance, points, ripple) -> grey
    wobble: float = 0.0
    normal: np.ndarray | None = None
    reach: float = 0.0
    bend: float = 0.0

    def distance(self, grid: _Grid, box: Box, x: np.ndarray, ripple: np.ndarray) -> np.ndarray:
        """Signed distance (nm) at the points x of a box, negative inside."""
        if self.normal is not None:
            v = x - self.path[0]
            h = v @ self.normal
            q = np.sqrt(np.maximum((v**2).sum(-1) - h**2, 0))
            h = (h - 0.5 * self.bend * q**2) / np.sqrt(1 + (self.bend * q) ** 2) + self.wobble * ripple
            return np.maximum(np.abs(h) - self.radius, q - self.reach)
        out, pad = np.full(x.shape[:-1], 1e4), 1.4 * self.radius + 2 * CLEARANCE + grid.spacing
        for a, b in zip(self.path, self.path[1:] if len(self.path) > 1 else self.path, strict=False):
            near = grid.box(np.minimum(a, b) - pad, np.maximum(a, b) + pad)
            near = tuple(slice(n.start - o.start, n.stop - o.start) for n, o in zip(near, box, strict=True))
            v, along = x[near] - a, b - a
            t = np.clip(v @ along / max(along @ along, 1e-9), 0, 1)
            out[near] = np.minimum(out[near], np.linalg.norm(v - t[..., None] * along, axis=-1))
        return out - self.radius * (1 + self.wobble * ripple)


@dataclass
class _Canvas:
    """Grey values, and the room left (nm to the nearest membrane or organelle), while drawing."""

    grid: _Grid
    grey: np.ndarray
    room: np.ndarray
    ripple: np.ndarray

    def draw(self, s: _Shape, keep: float, most: float) -> tuple[Box, np.ndarray] | None:
        """Draw where there is room. None, and nothing drawn, if under `keep` fits or over `most` voxels."""
        pad = max(1.4 * s.radius, s.reach) + 2 * CLEARANCE + self.grid.spacing
        box = self.grid.box(s.path.min(0) - pad, s.path.max(0) + pad)
        x, ripple, every = self.grid.points(box), self.ripple[box], np.ones((3,) * len(box))
        whole = s.distance(self.grid, box, x, ripple)
        distance = np.maximum(whole, CLEARANCE - self.room[box])
        pieces, n = ndimage.label(distance < 0, every)
        sizes = np.bincount(pieces.ravel(), minlength=2)[1:]
        if not n or sizes.max() < keep * (whole < 0).sum() or sizes.max() > most:
            return None
        mask = pieces == 1 + sizes.argmax()
        # Of the voxels partly covered, draw those beside the piece that is kept.
        mine = ndimage.binary_dilation(mask, every) & ((pieces == 0) | mask)
        cover = np.where(mine, np.clip(0.5 - distance / self.grid.pixel, 0, 1), 0)
        self.grey[box] += cover * (s.shade(distance, x, ripple) - self.grey[box])
        self.room[box] = np.minimum(self.room[box], np.where(mine, distance, np.maximum(distance, 0)))
        return box, mask

    def fill(self, shapes: Iterator[_Shape], fraction: float, keep: float) -> np.ndarray:
        """Draw shapes until `fraction` of the field is theirs; their instances, int32."""
        instances, todo, refused, n = np.zeros(self.grid.shape, np.int32), fraction * self.room.size, 0, 0
        while todo > 0 and refused < PATIENCE and (shape := next(shapes, None)) is not None:
            if (drawn := self.draw(shape, keep, 2 * todo)) is None:
                refused += 1
                continue
            box, mask = drawn
            n, refused, todo = n + 1, 0, todo - mask.sum()
            instances[box][mask] = n
        return instances

    def places(self, rng: Rng, need: float) -> Iterator[tuple[np.ndarray, Rng]]:
        """Random points (nm) with room around them, each with a generator of its own.

        What is drawn at a place then does not depend on how many were refused before, hence not on spacing.
        """
        for _ in range(20):
            points = rng.random((2000, len(self.grid.extent))) * self.grid.extent
            seeds = rng.integers(2**63, size=len(points))
            for i in np.flatnonzero(self.grid.at(self.room, points) > need):
                if self.grid.at(self.room, points[i]) > need:  # not taken in the meantime
                    yield points[i], np.random.default_rng(seeds[i])


def _inner(distance: np.ndarray, rim: float) -> np.ndarray:
    """0 in a rim of `rim` nm inside the surface, 1 deeper."""
    return np.clip((-distance - rim) / 8.0, 0, 1)


def _mitochondria(rng: Rng, canvas: _Canvas, radius: float, elongation: float) -> Iterator[_Shape]:
    pixel = canvas.grid.pixel  # what a voxel cannot resolve, it averages: hence the sincs
    for c, own in canvas.places(rng, 0.55 * radius):
        r = radius * _around(own, 0.25, 0.45)
        half = r * max(elongation * _around(own, 0.35, 0.7) - 1, 0)
        u, v = _unit(own.standard_normal((2, 12, len(c))))
        t = np.linspace(-1, 1, 5)[:, None, None] * half
        paths = c + t * u + 0.35 * t**2 / max(half, r) * v
        room = canvas.grid.at(canvas.room, paths).min(0)
        best = room.argmax()  # lie along the cell
        if room[best] < 0.6 * r:
            continue
        grey, amplitude = 86 + 13 * own.standard_normal(), 21 + 8 * own.standard_normal()
        period = own.uniform(48, 70)
        wave = 2 * math.pi / period * _unit(u[best] + 0.5 * own.standard_normal(len(c)))
        amplitude *= np.sinc(pixel / period)
        pair = 22 * np.sinc(min(pixel / 17, 1))

        def shade(d, x, ripple, c=c, wave=wave, grey=grey, amplitude=amplitude, pair=pair):
            # Cristae, neither straight nor all complete; around them two membranes, 17 nm apart.
            cristae = np.cos((x - c) @ wave + 1.8 * ripple) * np.clip(1 + 0.6 * ripple, 0, 1.6)
            double = np.where(d > -26, np.cos(2 * math.pi * d / 17), 0)
            return grey + amplitude * cristae * _inner(d, 20) - 26 * (1 - _inner(d, 14)) - pair * double

        yield _Shape(paths[:, best], r, shade, wobble=0.10)


def _tubes(rng: Rng, canvas: _Canvas, radius: float) -> Iterator[_Shape]:
    for c, own in canvas.places(rng, radius + CLEARANCE):
        steps, k, length = 14, 8, own.uniform(300, 900)
        direction = 0.22 * own.standard_normal((steps, k, len(c)))
        direction[0] = own.standard_normal((k, len(c)))
        for i in range(steps):
            direction[i] = _unit(direction[i] + (direction[i - 1] if i else 0))
        paths = c + np.cumsum(direction, 0) * length / steps
        free = np.logical_and.accumulate(canvas.grid.at(canvas.room, paths) > radius + CLEARANCE).sum(0)
        best, dark, lumen = free.argmax(), *([52, 140] + 11 * own.standard_normal(2))
        if free[best] > 4:
            path = paths[: free[best], best]
            yield _Shape(path, radius, lambda d, x, q, a=dark, b=lumen: a + (b - a) * _inner(d, 10))


def _sheets(rng: Rng, canvas: _Canvas, thickness: float) -> Iterator[_Shape]:
    for c, own in canvas.places(rng, 2 * thickness):
        normal, reach, bend = (
            _unit(own.standard_normal(len(c))),
            own.uniform(130, 330),
            own.uniform(-1.6, 1.6),
        )
        dark, pitch = 66 + 10 * own.standard_normal(), thickness + 2.2 * CLEARANCE
        for i in range(own.integers(1, 4)):  # cisternae in a stack
            yield _Shape(
                (c + i * pitch * normal)[None],
                thickness / 2,
                lambda d, x, q, a=dark: a + 30 * _inner(d, 8),
                wobble=6.0,
                normal=normal,
                reach=reach * own.uniform(0.7, 1),
                bend=bend / reach,
            )


def _vesicles(rng: Rng, canvas: _Canvas, radius: float, rim: float, lumen: float, n: int) -> Iterator[_Shape]:
    """In clusters of up to n."""
    for c, own in canvas.places(rng, 1.6 * radius):
        count, spread = own.integers(1 + n // 4, n + 1), own.uniform(1.5, 3.5) * radius * (n > 1)
        for p in c + spread * own.standard_normal((count, len(c))):
            size = radius * _around(own, 0.1, 0.2)
            yield _Shape(p[None], size, lambda d, x, q: rim + (lumen - rim) * _inner(d, 9))


def _field(shape: Sequence[int], spacing: float | Sequence[float] | None) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Shape and spacing of `make`, checked; the spacing one number per axis."""
    shape = tuple(np.ravel(shape).tolist())
    d = len(shape)
    if d not in (2, 3) or any(n != int(n) or n < 1 for n in shape):
        raise ValueError(f"shape is {shape}, expected 2 or 3 whole numbers of at least 1: pass (y, x) or (z, y, x).")
    spacing = {2: 18.4, 3: 16.0}[d] if spacing is None else spacing
    spacing = (float(spacing),) * d if np.ndim(spacing) == 0 else tuple(map(float, spacing))
    if len(spacing) != d or not all(0 < s < math.inf for s in spacing):
        raise ValueError(f"spacing is {spacing}, expected {d} positive numbers for shape {shape}: pass nm per voxel.")
    return shape, spacing


def _streams(seed: int, *more: str) -> dict[str, Rng]:
    """A generator for each class and step; those of `more` come after them and change none."""
    names = (*CLASSES, "cells", "dense", "texture", "noise", *more)
    return dict(zip(names, np.random.default_rng(seed).spawn(len(names)), strict=True))


def _tissue(
    streams: Mapping[str, Rng], grid: _Grid, cell_diameter: float, membrane_thickness: float, dark_cells: float
) -> tuple[_Canvas, dict[str, np.ndarray], np.ndarray]:
    """Cells and membranes, ready to be drawn in; the instances of membranes; per voxel: is its cell dark?"""
    cell, distance, dark = _cells(streams["cells"], grid, cell_diameter, dark_cells)

    rng = streams["texture"]
    base = np.where(dark, 88, 172) + 13 * rng.standard_normal(len(dark))
    grain = rng.uniform(0.5, 1.4, len(dark))
    grey = 9 * grid.noise(rng, 70) - 36 * np.maximum(grid.noise(rng, 27) - 0.2, -0.5)
    grey = base[cell] + grain[cell] * grey - 40 * np.clip(grid.noise(rng, 300) - 1, 0, 1)

    # Where a section cuts a membrane at a slant it is wider and fainter.
    rng = streams["membranes"]
    slant = 0.7 * np.clip(grid.noise(rng, 260) - 0.4, 0, 1.5)
    room = distance - membrane_thickness / 2 * (1 + slant)
    if membrane_thickness:
        grey += np.clip(0.5 - room / grid.pixel, 0, 1) * (30 + 26 * slant - grey)
        # Synaptic densities: dark smears on a membrane that end in cytoplasm.
        grey -= 110 * np.clip(grid.noise(rng, 110) - 2, 0, 1) * np.exp(-np.maximum(room, 0) / 35)
    membranes = ndimage.label((room < 0)[grid.middle], np.ones((3,) * room.ndim))[0]
    canvas = _Canvas(grid, grey, room, grid.noise(streams["cells"], 120))
    return canvas, {"membranes": membranes}, dark[cell]


def _exposed(
    rng: Rng, grid: _Grid, grey: np.ndarray, contrast: float, staining: float, blur_nm: float, electrons: float
) -> np.ndarray:
    """uint8 image of the grey values, as the microscope makes it; the arguments are `make`'s."""
    grey = 132 + contrast * (grey - 132) + staining * grid.noise(rng, 1000)
    grey = ndimage.gaussian_filter(grey, blur_nm / grid.spacing)
    grey = grey.reshape([n for size, fine in zip(grid.shape, grid.fine, strict=True) for n in (size // fine, fine)])
    grey = np.clip(grey.mean(tuple(range(1, grey.ndim, 2))), 0, 255)  # a thick section
    if electrons < math.inf:
        grey = rng.poisson(grey * (electrons / 255)) * (255 / electrons)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def make(
    shape: Sequence[int] = (256, 256),
    spacing: float | Sequence[float] | None = None,
    seed: int = 0,
    *,
    density: Mapping[str, float] | None = None,
    cell_diameter: float = 190.0,
    membrane_thickness: float = 34.0,
    mitochondrion_radius: float = 125.0,
    elongation: float = 1.6,
    tube_radius: float = 27.0,
    sheet_thickness: float = 30.0,
    vesicle_radius: float = 36.0,
    dark_cells: float = 0.15,
    dense_core: float = 0.004,
    contrast: float = 1.0,
    staining: float = 10.0,
    blur_nm: float = 10.0,
    electrons: float = 300.0,
) -> Phantom:
    """Synthetic electron microscopy with exact labels; as many dimensions as `shape` has.

    The same arguments give the same bytes. Lengths are physical: another spacing over the same field of view
    shows much the same tissue. Along an axis that is coarser than the finest one, grey values are averaged
    over the voxel (a thick section), and the labels are those of its middle.

    Parameters
    ----------
    shape : 2 or 3 sizes in voxels, (y, x) or (z, y, x).
    spacing : nm per axis, or one number for all; by default 18.4 in 2-D and 16 in 3-D.
    seed : of the generator that everything is drawn from. Each class has a stream of its own.
    density : class -> fraction of the field in [0, 1] to aim at; what is not named stays as in `DENSITY`.
        Drawing stops early where no room is left. Membranes follow from the cells and their thickness.
    cell_diameter : nm, median of the packing; sizes range from a third of it to six times, and cells may be
        up to four times as long as wide.
    membrane_thickness : nm, from one cytoplasm to the next; 0 leaves the membranes out.
    mitochondrion_radius, tube_radius, vesicle_radius : nm, median. sheet_thickness : nm.
    elongation : length over width of a mitochondrion, median, at least 1.
    dark_cells : fraction of the cells whose cytoplasm is as dark as a mitochondrion.
    dense_core : fraction of the field given to dense-core vesicles, which have no label.
    contrast : factor on the grey values about their middle, before noise.
    staining : standard deviation, in grey values, of uneven staining over about a micrometre.
    blur_nm : standard deviation of the Gaussian blur, nm.
    electrons : per voxel of the brightest grey value; fewer is noisier, `inf` has no shot noise.

    Returns
    -------
    Phantom
        Every class of `CLASSES` excludes every other (`EXCLUDES`): no voxel carries two labels. An instance
        of mitochondria, tubes, sheets and vesicles is one drawn object; with isotropic spacing it is
        connected (diagonals count). Those of membranes are the connected components of their mask.

    Raises
    ------
    ValueError
        For a shape or spacing of the wrong length or not positive, a fraction outside [0, 1], a class that
        cannot be given a density, or a length or factor out of range.
    """
    knobs = locals().copy()
    shape, spacing = _field(shape, spacing)
    if unknown := sorted(set(density or ()) - set(DENSITY)):
        raise ValueError(
            f"density names {', '.join(map(repr, unknown))}, expected {', '.join(DENSITY)}: correct the "
            "name (for membranes, set cell_diameter and membrane_thickness instead)."
        )
    density = DENSITY | dict(density or {})
    fractions = {f"density[{c!r}]": v for c, v in density.items()}
    _within(0, 1, **fractions, dark_cells=dark_cells, dense_core=dense_core)
    _within(0, math.inf, **{k: knobs[k] for k in ("membrane_thickness", "contrast", "staining", "blur_nm")})
    lengths = ("cell_diameter", "mitochondrion_radius", "tube_radius", "sheet_thickness", "vesicle_radius")
    _within(1, math.inf, **{k: knobs[k] for k in (*lengths, "elongation", "electrons")})

    grid = _Grid(shape, spacing)
    streams = _streams(seed)
    canvas, instances = _tissue(streams, grid, cell_diameter, membrane_thickness, dark_cells)[:2]
    shapes = {  # and how much of each must fit; in this order, the roomiest first
        "mitochondria": (
            _mitochondria(streams["mitochondria"], canvas, mitochondrion_radius, elongation),
            0.72,
        ),
        "sheets": (_sheets(streams["sheets"], canvas, sheet_thickness), 0.7),
        "tubes": (_tubes(streams["tubes"], canvas, tube_radius), 0.8),
        "vesicles": (_vesicles(streams["vesicles"], canvas, vesicle_radius, 48, 160, 29), 0.97),
    }
    for name, (kind, keep) in shapes.items():
        instances[name] = canvas.fill(kind, density[name], keep)[grid.middle]
    canvas.fill(_vesicles(streams["dense"], canvas, 0.9 * vesicle_radius, 34, 34, 1), dense_core, 0.97)

    raw = _exposed(streams["noise"], grid, canvas.grey, contrast, staining, blur_nm, electrons)
    instances = {c: _consecutive(instances[c]) for c in CLASSES}
    return Phantom(raw, {c: i > 0 for c, i in instances.items()}, instances, spacing)


def _consecutive(labels: np.ndarray) -> np.ndarray:
    """Ids 1..n in their order: an object between the middles of two thick sections leaves a gap."""
    return np.searchsorted(np.unique(labels[labels > 0]), labels, side="right").astype(np.int32)


def _within(low: float, high: float, /, **values: float) -> None:
    for name, value in values.items():
        if not low <= value <= high:
            expected = f"a number in [{low}, {high}]" if high < math.inf else f"a number of at least {low}"
            raise ValueError(f"{name} is {value!r}, expected {expected}: pass another value.")
