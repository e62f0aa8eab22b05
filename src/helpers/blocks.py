"""A volume in blocks: their grid, the record of those that are done, and labels that agree across their borders."""

import errno
import itertools
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Box = tuple[slice, ...]


@dataclass(frozen=True)
class Grid:
    """Blocks of one size that cover a volume; those at its end are cut.

    Attributes
    ----------
    shape, block : tuple of int
        Of the volume and of a block, in voxels per axis.
    """

    shape: tuple[int, ...]
    block: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of blocks along each axis."""
        return tuple(-(-n // b) for n, b in zip(self.shape, self.block, strict=True))

    def __len__(self) -> int:
        return int(np.prod(self.counts))

    def box(self, index: int) -> Box:
        """The voxels of block ``index`` (in raster order)."""
        corner = np.unravel_index(index, self.counts)
        ends = zip(corner, self.block, self.shape, strict=True)
        return tuple(slice(int(c) * b, min((int(c) + 1) * b, n)) for c, b, n in ends)

    def share(self, job: int, jobs: int) -> range:
        """The blocks of job 1 ... jobs: runs of neighbours, each block in one job.

        Raises
        ------
        ValueError
            No such job.
        """
        if not 1 <= job <= jobs:
            raise ValueError(f"job is {job}/{jobs}; expected 1/{jobs} to {jobs}/{jobs}")
        return range(len(self) * (job - 1) // jobs, len(self) * job // jobs)

    def neighbours(self, index: int, axes: Sequence[int]) -> Iterator[int]:
        """Blocks after ``index`` that touch it at a face, an edge or a corner, along these axes alone."""
        corner = np.array(np.unravel_index(index, self.counts))
        steps = [(-1, 0, 1) if axis in axes else (0,) for axis in range(len(self.shape))]
        for step in itertools.product(*steps):
            there = corner + step
            if step > (0,) * len(step) and (there >= 0).all() and (there < self.counts).all():
                yield int(np.ravel_multi_index(there, self.counts))

    def describe(self, index: int) -> str:
        """For messages: which block, and its voxels."""
        return f"block {index} (voxels {', '.join(f'{s.start}:{s.stop}' for s in self.box(index))})"


def grow(box: Box, margin: Sequence[int], shape: Sequence[int]) -> Box:
    """A box with a margin on all sides, cut where the volume ends."""
    return tuple(slice(max(s.start - m, 0), min(s.stop + m, n)) for s, m, n in zip(box, margin, shape, strict=True))


def meet(one: Box, other: Box) -> Box:
    """What two boxes have in common."""
    return tuple(slice(max(s.start, t.start), min(s.stop, t.stop)) for s, t in zip(one, other, strict=True))


def within(inner: Box, outer: Box) -> Box:
    """Where ``inner`` lies in an array that holds ``outer``."""
    return tuple(slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True))


class Record:
    """Which blocks of a stage are done, kept in a folder: lines added to one file for each job.

    A line is added after the block's voxels are written, so that a process killed at any moment loses the block in
    flight alone. Every line begins and ends with a line break: what a full disk cuts off never reads as a block.
    """

    def __init__(self, folder: Path, stage: str, job: int = 1, jobs: int = 1):
        self.folder, self.stage = folder, stage
        self.path = folder / f"{stage}-{job}of{jobs}.txt"

    def done(self, n_blocks: int) -> np.ndarray:
        """bool array, one entry a block: done by whatever job."""
        found = np.zeros(n_blocks, bool)
        for path in self.folder.glob(f"{self.stage}-*.txt"):
            with path.open() as lines:
                for line in lines:
                    if (match := re.fullmatch(r"(\d+) done\n", line)) and int(match[1]) < n_blocks:
                        found[int(match[1])] = True
        return found

    def add(self, index: int) -> None:
        """One write call, at the file's end."""
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        line = f"\n{index} done\n".encode()
        try:
            if os.write(file, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        finally:
            os.close(file)


def work(
    grid: Grid,
    record: Record,
    indices: Sequence[int],
    do: Callable[[int], None],
    *,
    workers: int = 1,
    log: Callable[[str], None] = print,
) -> int:
    """Do the blocks that are not done, in ``workers`` threads, and record each; returns how many were done now.

    The first error stops all: blocks in flight are finished, no other is begun, and the error is raised. So does an
    exception in the calling thread, such as one raised by a signal.
    """
    done = record.done(len(grid))
    todo = iter([index for index in indices if not done[index]])
    wanted = sum(1 for index in indices if not done[index])
    skipped = len(indices) - wanted
    if skipped:
        log(f"{record.stage}: {skipped} of {len(indices)} blocks were done before")
    lock, stop, finished = threading.Lock(), threading.Event(), 0

    def drain() -> None:
        nonlocal finished
        while not stop.is_set():
            with lock:
                index = next(todo, None)
            if index is None:
                return
            try:
                do(index)
                with lock:
                    record.add(index)
                    finished += 1
                    if finished == wanted or finished * 10 // wanted > (finished - 1) * 10 // wanted:
                        log(f"{record.stage}: {finished} of {wanted} blocks")
            except BaseException:
                stop.set()
                raise

    if workers == 1:
        drain()
        return finished
    # No pool of the standard library's: a signal's exception while it starts a thread makes it forget that thread, and
    # the block in flight there would end after this function has. Here no block is begun before all threads stand.
    gate, ended, errors = threading.Event(), [threading.Event() for _ in range(workers)], []

    def serve(end: threading.Event) -> None:
        gate.wait()
        try:
            drain()
        except BaseException as error:
            errors.append(error)
        finally:
            end.set()

    try:
        for end in ended:
            threading.Thread(target=serve, args=(end,)).start()
        gate.set()
        for end in ended:
            while not end.wait(0.2):  # a signal that comes just before a wait is noted after it
                pass
    except BaseException:
        stop.set()
        begun = gate.is_set()
        gate.set()
        for end in ended if begun else ():
            end.wait()
        raise
    if errors:
        raise errors[0]
    return finished


# --- labels across borders


@dataclass(frozen=True)
class Fragments:
    """The labelled pieces of one block.

    Attributes
    ----------
    labels : int32 array
        Of the block's voxels; 1 ... n_core, 0 for background.
    n_core, n : int
        Pieces inside the block, and with those that only its neighbours hold (n_core + 1 ... n).
    where, label : int64 and int32 arrays
        Index (raveled, in the volume) and label of each labelled voxel in the block's shell: its outermost layer, and
        the first layer of its neighbours as this block sees it.
    """

    labels: np.ndarray
    n_core: int
    n: int
    where: np.ndarray
    label: np.ndarray


def fragments(labels: np.ndarray, window: Box, core: Box, axes: Sequence[int], shape: Sequence[int]) -> Fragments:
    """Cut a block out of the labels of its window.

    Parameters
    ----------
    labels : int array
        Of the window: the block and what surrounds it.
    window, core : box
        Of the window and of the block, in the volume.
    axes : sequence of int
        Along which blocks are linked.
    shape : sequence of int
        Of the volume.
    """
    beyond = grow(core, [int(axis in axes) for axis in range(len(shape))], shape)
    around, inner = labels[within(beyond, window)], within(core, beyond)
    if not around.any():
        blank = np.zeros([s.stop - s.start for s in core], np.int32)
        return Fragments(blank, 0, 0, np.zeros(0, np.int64), np.zeros(0, np.int32))
    inside = np.unique(around[inner])
    inside = inside[inside > 0]
    others = np.setdiff1d(np.unique(around), inside)
    old = np.concatenate(([0], inside, others[others > 0]))
    order = np.argsort(old)
    around = order[np.searchsorted(old[order], around)].astype(np.int32)
    shell = np.ones(around.shape, bool)
    hollow = list(inner)
    for axis in axes:
        start, stop = inner[axis].start, inner[axis].stop
        first, last = core[axis].start == 0, core[axis].stop == shape[axis]  # nothing is linked where the volume ends
        hollow[axis] = slice(start + (not first), max(stop - (not last), start))
    shell[tuple(hollow)] = False
    points = np.nonzero(shell & (around > 0))
    corner = [s.start for s in beyond]
    where = np.ravel_multi_index([p + c for p, c in zip(points, corner, strict=True)], shape).astype(np.int64)
    return Fragments(np.ascontiguousarray(around[inner]), len(inside), len(old) - 1, where, around[points])


def link(
    grid: Grid,
    counts: np.ndarray,
    shell: Callable[[int], tuple[np.ndarray, np.ndarray]],
    axes: Sequence[int],
    *,
    any_overlap: bool = False,
) -> np.ndarray:
    """Ids of the volume's objects from the fragments of its blocks, by union-find over what two blocks both see.

    Two blocks that touch both label the two layers of voxels at their border. A fragment of the one and a fragment of
    the other are the same object where they share more than half of those voxels of the smaller one.

    Parameters
    ----------
    counts : int array, shape (blocks, 2)
        ``n_core`` and ``n`` of each block.
    shell : callable
        Block -> ``where, label`` of its :class:`Fragments`.
    any_overlap : bool
        One shared voxel is enough: right for connected components, whose pieces can share a voxel only where they are
        one, and then exact for objects of any size.

    Returns
    -------
    int64 array, shape (1 + sum of n,)
        ``ids[offset + label]`` is the id, 1, 2, 3 ... without a gap, in the order of blocks; ``offset`` is the number
        of fragments of the blocks before. ``ids[0]`` is 0.

    Notes
    -----
    An object that lies, with a voxel around it, in the window of every block that it touches is cut alike by all of
    them and comes out as from the whole volume at once. Of a larger object the blocks may have different views: where
    these disagree at a border, its pieces there are united, or stay apart where none shares half of another.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first = np.concatenate(([0], np.cumsum(counts[:, 1])))
    one, other = [], []
    for index in np.nonzero(counts[:, 1])[0]:
        mine = None
        for neighbour in grid.neighbours(int(index), axes):
            if not counts[neighbour, 1]:
                continue
            mine = shell(int(index)) if mine is None else mine
            pairs = _same(*_both_see(grid, int(index), neighbour, axes, mine, shell(neighbour)), any_overlap)
            one.append(first[index] + pairs[0])
            other.append(first[neighbour] + pairs[1])
    total = int(first[-1])
    one, other = (np.concatenate(x) if x else np.zeros(0, np.int64) for x in (one, other))
    edges = coo_array((np.ones(len(one), bool), (one, other)), shape=(total + 1, total + 1))
    component = connected_components(edges, directed=False)[1]
    held = np.zeros(total + 1, bool)  # fragments with voxels of their own: the rest are other blocks' to count
    for index in np.nonzero(counts[:, 0])[0]:
        held[first[index] + 1 : first[index] + counts[index, 0] + 1] = True
    ids = np.zeros(total + 1, np.int64)
    components, earliest = np.unique(component[held], return_index=True)
    ranks = np.zeros(total + 1, np.int64)
    ranks[components[np.argsort(earliest)]] = np.arange(1, len(components) + 1)
    ids[held] = ranks[component[held]]
    return ids


def _both_see(grid, index, neighbour, axes, mine, theirs):
    """The voxels of both shells that lie in reach of both blocks, in the order of their places."""
    margin = [int(axis in axes) for axis in range(len(grid.shape))]
    a, b = (grow(grid.box(i), margin, grid.shape) for i in (index, neighbour))
    common = meet(a, b)
    cut = []
    for where, label in (mine, theirs):
        places = np.unravel_index(where, grid.shape)
        inside = np.ones(len(where), bool)
        for place, side in zip(places, common, strict=True):
            inside &= (place >= side.start) & (place < side.stop)
        cut.append((where[inside], label[inside]))
    return cut


def _same(mine, theirs, any_overlap: bool) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of labels that are one object."""
    _, i, j = np.intersect1d(mine[0], theirs[0], assume_unique=True, return_indices=True)
    pairs, shared = np.unique(np.stack((mine[1][i], theirs[1][j])), axis=1, return_counts=True)
    if not any_overlap and pairs.size:
        size_one, size_other = np.bincount(mine[1]), np.bincount(theirs[1])
        smaller = np.minimum(size_one[pairs[0]], size_other[pairs[1]])
        pairs = pairs[:, 2 * shared > smaller]
    return pairs[0].astype(np.int64), pairs[1].astype(np.int64)
