"""The phantom with objects of one shape alone: discs, tubes, sheets or trees, of equal area (2-D).

Cells, membranes, dark cells and texture are those of `helpers.phantom`, the same in all four for the same seed, and
so is the kind of noise; only the geometry of the objects differs. Their areas are drawn from one distribution, and so
are their grey values, which do not depend on the depth: a rim would make thin objects darker than thick ones. Dark
cells are as dark as the objects, and dense-core vesicles darker; neither has a label.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from helpers.phantom import (
    Phantom,
    Rng,
    _around,
    _Canvas,
    _consecutive,
    _exposed,
    _field,
    _Grid,
    _Shape,
    _streams,
    _tissue,
    _unit,
    _vesicles,
    _within,
)

CLASSES = ("membranes", "objects")
EXCLUDES: dict[str, tuple[str, ...]] = {"membranes": ("objects",), "objects": ("membranes",)}
#: shape -> half its thickness in nm; None where it follows from the area.
RADIUS = {"discs": None, "tubes": 27.0, "sheets": 16.5, "trees": 21.0}

GAP = 32.0  # nm of cytoplasm kept around an object: at 18.4 nm per pixel no two of them touch
STEP = 20.0  # nm between the points of a path
TRIES = 4  # at one place, before another is sought
PLACES = 60  # refused in a row before the field is left as it is
RETREATS = 6  # out of dead ends, of one limb
#: shape -> standard deviation and bound of the turn at a step, radians: tubes meander, sheets only bend.
TURN = {"tubes": (0.28, 0.6), "sheets": (0.10, 0.25), "trees": (0.20, 0.45)}


def make(
    kind: str,
    shape: Sequence[int] = (256, 256),
    spacing: float | Sequence[float] | None = None,
    seed: int = 0,
    *,
    fraction: float = 0.06,
    area: float = 32000.0,
    cell_diameter: float = 480.0,
) -> Phantom:
    """Synthetic electron microscopy with objects of one shape; the same arguments give the same bytes.

    Parameters
    ----------
    kind : ``"discs"``, ``"tubes"`` (curved, 54 nm wide), ``"sheets"`` (sections of bent lamellae, 33 nm thick) or
        ``"trees"`` (42 nm wide, with three branches).
    shape, spacing, seed : as of `helpers.phantom.make`, in 2-D.
    fraction : of the field, in [0, 1], that the objects aim at; drawing stops early where no room is left.
    area : nm², median of an object's; they spread by about 15 %.
    cell_diameter : nm, as of `helpers.phantom.make`; larger than there, so that the objects fit.

    Returns
    -------
    Phantom
        With the classes `CLASSES`, which exclude each other. An instance of objects is one drawn object.

    Raises
    ------
    ValueError
        For an unknown kind, three dimensions, pixels too large for the thinnest shape, or a number out of range.
    """
    if kind not in RADIUS:
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join(RADIUS)}: choose one of these shapes.")
    shape, spacing = _field(shape, spacing)
    if len(shape) != 2:
        raise ValueError(f"shape is {shape}, expected 2 sizes (y, x): {kind} are drawn in 2-D alone.")
    finest = math.sqrt(2) * min(r for r in RADIUS.values() if r)
    if max(spacing) > finest:
        raise ValueError(
            f"spacing is {spacing}, expected at most {finest:.1f} nm: sheets would fall to pieces between the "
            "pixels, and the four shapes are to be compared. Reduce less."
        )
    _within(0, 1, fraction=fraction)
    _within(1, math.inf, cell_diameter=cell_diameter)
    least = math.ceil(max(_least_area(k) for k in RADIUS))  # the same for all, so that they can be compared
    _within(least, math.inf, area=area)

    grid, streams = _Grid(shape, spacing), _streams(seed, "objects")
    canvas, instances, dark = _tissue(streams, grid, cell_diameter, 34.0, 0.15)
    cytoplasm = canvas.room
    canvas.room = np.where(dark, np.minimum(cytoplasm, 0), cytoplasm)  # objects would not be seen in dark cells
    instances["objects"] = canvas.fill(_objects(streams["objects"], canvas, kind, area), fraction, 0.97)[grid.middle]
    canvas.room = np.where(dark, cytoplasm, canvas.room)
    canvas.fill(_vesicles(streams["dense"], canvas, 32.0, 34, 34, 1), 0.004, 0.97)
    raw = _exposed(streams["noise"], grid, canvas.grey, 1.0, 10.0, 10.0, 300.0)
    instances = {c: _consecutive(instances[c]) for c in CLASSES}
    return Phantom(raw, {c: i > 0 for c, i in instances.items()}, instances, spacing)


def _objects(rng: Rng, canvas: _Canvas, kind: str, area: float) -> Iterator[_Shape]:
    """Objects of one shape. The next size is drawn once this one has found its place, so that no size is favoured."""
    sizes, places, grain = rng.spawn(3)
    grain = canvas.grid.noise(grain, 40)
    radius = RADIUS[kind]
    size, base = area * _around(sizes, 0.15, 0.3), 100 + 12 * sizes.standard_normal()
    least, refused = _least_area(kind), 0
    for c, own in canvas.places(places, GAP + (radius or math.sqrt(area / math.pi))):
        if refused == PLACES:
            return
        if not _inside(canvas, c, radius or math.sqrt(size / math.pi)):
            continue
        refused += 1
        for _ in range(1 if radius is None else TRIES):
            if radius is None:
                r = math.sqrt(size / math.pi)
                path = c[None] if canvas.grid.at(canvas.room, c) > r + GAP else None
            else:
                r, path = radius, _grown(own, canvas, kind, c, max(size, least))
            if path is None:
                continue
            yield _Shape(path, r, lambda d, x, q, a=base: a + 11 * canvas.grid.at(grain, x), wobble=0.06)
            if canvas.grid.at(canvas.room, path[0]) < 0:  # it was drawn
                refused = 0
                size, base = area * _around(sizes, 0.15, 0.3), 100 + 12 * sizes.standard_normal()
                break


def _least_area(kind: str) -> float:
    """nm² of the smallest object of which the shape can be seen: a trunk and branches of some widths."""
    return (RADIUS[kind] or 0.0) ** 2 * (32 if kind == "trees" else 16)


def _limbs(own: Rng, kind: str, area: float) -> list[float]:
    """Lengths (nm) of the trunk and, of a tree, its three branches, that together cover `area`."""
    r = RADIUS[kind]
    if kind != "trees":
        return [(area - math.pi * r**2) / (2 * r)]
    # A branch starts in the middle of the trunk, which covers its first r, and ends in half a disc.
    total = (area - math.pi * r**2 - 3 * (math.pi / 2 - 2) * r**2) / (2 * r)
    share = np.array([0.46, 0.18, 0.18, 0.18]) * own.uniform(0.85, 1.15, 4)
    return (total * share / share.sum()).tolist()


def _grown(own: Rng, canvas: _Canvas, kind: str, start: np.ndarray, area: float) -> np.ndarray | None:
    """(P, 2) path in nm of a tube, sheet or tree from `start`, or None where it does not fit.

    A path walks back through each branch, so that one polyline is the whole tree.
    """
    radius, (trunk, *branches) = RADIUS[kind], _limbs(own, kind, area)
    points, along = start[None], np.zeros((1, 1))
    grown = _limb(own, canvas, kind, points, along, 0, _unit(own.standard_normal(2)), trunk)
    if grown is None:
        return None
    points, along = grown
    n, path = len(points), list(range(len(points)))
    for place, length in zip((0.22, 0.5, 0.78), branches, strict=False):
        roots = np.rint((place + own.uniform(-0.07, 0.07, 24)) * (n - 1)).astype(int)
        angles = own.choice([-1, 1], 24) * own.uniform(0.8, 1.3, 24)
        ahead = _unit(points[roots + 1] - points[roots - 1])
        aims = np.concatenate([_turned(a, angles[i : i + 1]) for i, a in enumerate(ahead)])
        far = np.stack([points[roots] + part * length * aims for part in (0.5, 1)])
        clear = (canvas.grid.at(canvas.room, far) > radius + GAP).all(0)  # seen from its root, is there room?
        for i in np.flatnonzero(clear)[:TRIES]:
            root = int(roots[i])
            grown = _limb(own, canvas, kind, points, along, root, aims[i], length)
            if grown is not None:
                break
        else:
            return None
        first, (points, along) = len(points), grown
        branch = list(range(first, len(points)))
        at = path.index(root)
        path[at : at + 1] = [root, *branch, *branch[-2::-1], root]
    return points[path]


def _inside(canvas: _Canvas, points: np.ndarray, radius: float) -> np.ndarray:
    """Are discs of this radius around points (..., 2) wholly in the field? No object is cut off by its edge."""
    margin = radius + canvas.grid.spacing
    return ((points > margin) & (points < canvas.grid.extent - margin)).all(-1)


def _turned(direction: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """(len(angles), 2) the direction turned by each."""
    c, s = np.cos(angles), np.sin(angles)
    return np.stack([c * direction[0] - s * direction[1], s * direction[0] + c * direction[1]], 1)


def _limb(
    own: Rng,
    canvas: _Canvas,
    kind: str,
    points: np.ndarray,
    along: np.ndarray,
    root: int,
    direction: np.ndarray,
    length: float,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Grow a limb of `length` nm from point `root`, where there is room and it does not come back to itself.

    points : (P, 2) of what is grown so far; along : (P, P) distances between them, nm, along the object.
    """
    radius, (sd, most) = RADIUS[kind], TURN[kind]
    count, bend = max(round(length / STEP), 1), 0.0
    directions = [direction]  # on arrival at the root and at each point after it
    step, last, first, retreats = length / count, root, len(points), 0
    while len(points) < first + count:
        bend = 0.8 * bend + 0.6 * sd * own.standard_normal()  # a limb goes on turning as it does
        angles = np.clip(bend + np.array([0, -1, 1, -2, 2, -3, 3]) * own.uniform(0.5, 1) * sd, -most, most)
        turns = _turned(direction, angles)
        tips = points[last] + step * turns
        room, ahead = canvas.grid.at(canvas.room, np.stack([tips, tips + 3 * STEP * turns]))
        from_here = along[last] + step
        far = np.flatnonzero(from_here > 5 * radius + GAP)
        apart = np.linalg.norm(tips[:, None] - points[far], axis=-1).min(1, initial=np.inf)
        free = (room > radius + GAP) & (apart > 2 * radius + GAP) & _inside(canvas, tips, radius)
        if not free.any():  # a dead end: back by some steps, and another way from there
            retreats += 1
            if len(points) == first or retreats > RETREATS:
                return None
            kept = max(len(points) - 3 * retreats, first)
            points, along, last = points[:kept], along[:kept, :kept], kept - 1 if kept > first else root
            bend, direction = 0.0, directions[kept - first]
            continue
        # The straightest of those that lead on, else the one with the most room ahead.
        good = np.flatnonzero(free & (ahead > radius + GAP))
        best = good[0] if len(good) else np.where(free, ahead, -np.inf).argmax()
        bend, direction = angles[best], turns[best]
        directions = [*directions[: len(points) - first + 1], direction]
        points = np.concatenate([points, tips[best][None]])
        more = np.zeros(np.add(along.shape, 1))
        more[:-1, :-1], more[-1, :-1], more[:-1, -1] = along, from_here, from_here
        along = more
        last = len(points) - 1
    return points, along
