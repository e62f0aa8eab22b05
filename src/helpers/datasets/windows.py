"""Images of a store, whole in memory or read window by window, for data that do not fit there."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from helpers.datasets import store


class Cache:
    """The chunks used last, decoded, of all arrays together: at most `size` bytes of them."""

    def __init__(self, size: int = 2**29):
        self.size, self.held, self._chunks, self._lock = size, 0, OrderedDict(), threading.Lock()

    def get(self, key, read: Callable[[], np.ndarray]) -> np.ndarray:
        """The chunk of this key; `read` fetches one that is not held."""
        with self._lock:
            if key in self._chunks:
                self._chunks.move_to_end(key)
                return self._chunks[key]
        chunk = read()
        with self._lock:
            if key not in self._chunks:
                self._chunks[key] = chunk
                self.held += chunk.nbytes
            while self.held > self.size and len(self._chunks) > 1:
                self.held -= self._chunks.popitem(last=False)[1].nbytes
        return chunk

    def clear(self) -> None:
        """Forget every chunk."""
        with self._lock:
            self._chunks.clear()
            self.held = 0


CACHE = Cache()


class Stored:
    """Raw, masks or annotated of an image in a store, shaped as in `helpers.datasets.Image`, read when sliced.

    ``stored[:, 10:20, 30:40]`` is a NumPy array; so is ``np.asarray(stored)``, all of it. Slices have no steps, and
    the first is ``:``.

    Parameters
    ----------
    arrays : sequence of zarr arrays
        One for each class, or raw alone (with or without a channel axis).
    how : callable
        Reduction in-plane, of `helpers.datasets.store`: ``reduce_raw``, ``reduce_masks`` or ``reduce_annotated``.
    dtype : dtype
        Of the result.
    reduce : int
        Block size of the reduction.
    section : int, optional
        The section shown of a stack; the image is then 2-D.
    cache : Cache
    """

    def __init__(
        self, arrays: Sequence, how: Callable, dtype, reduce: int = 1, section: int | None = None, cache=CACHE
    ):
        self._arrays, self._how, self._section, self._cache = tuple(arrays), how, section, cache
        self._reduce, self.dtype = reduce, np.dtype(dtype)
        first = self._arrays[0]
        self._channels = first.shape[0] if first.metadata.dimension_names[0] == "c" else None
        spatial = first.shape[self._channels is not None :][section is not None :]
        store.check_reduce(reduce, spatial[-2:])
        lead = len(self._arrays) if self._channels is None else self._channels
        self.shape = (lead, *spatial[:-2], *(n // reduce for n in spatial[-2:]))
        self.ndim = len(self.shape)

    def take(self, index: Sequence[int]) -> Stored:
        """The same of some of the classes."""
        arrays = [self._arrays[i] for i in index]
        return Stored(arrays, self._how, self.dtype, self._reduce, self._section, self._cache)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, window) -> np.ndarray:
        window = window if isinstance(window, tuple) else (window,)
        if any(not isinstance(w, slice) or w.step not in (None, 1) for w in window) or window[:1] != (slice(None),):
            raise IndexError(f"{window!r}: expected (:, first:last, …), slices without steps; np.asarray reads it all")
        ranges = [
            w.indices(n)[:2] for w, n in zip(window[1:] + (slice(None),) * self.ndim, self.shape[1:], strict=False)
        ]
        r = self._reduce
        native = [*ranges[:-2], *((a * r, b * r) for a, b in ranges[-2:])]
        if self._section is not None:
            native = [(self._section, self._section + 1), *native]
        parts = [self._read(array, native) for array in self._arrays]
        whole = parts[0] if self._channels is not None else np.stack(parts)
        if self._section is not None:
            whole = whole[:, 0]
        return self._how(whole if self.dtype != bool else whole > 0, r)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        whole = self[(slice(None),)]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def _read(self, array, ranges):
        if self._channels is not None:
            ranges = [(0, self._channels), *ranges]
        out = np.empty([max(b - a, 0) for a, b in ranges], array.dtype)
        if not out.size:
            return out
        which = [range(a // c, -(-b // c)) for (a, b), c in zip(ranges, array.chunks, strict=True)]
        for index in product(*which):
            corner = [i * c for i, c in zip(index, array.chunks, strict=True)]
            box = tuple(slice(k, k + c) for k, c in zip(corner, array.chunks, strict=True))
            chunk = self._cache.get(
                (str(array.store), array.path, index), lambda box=box: np.ascontiguousarray(array[box])
            )
            inside = [(max(a, k), min(b, k + n)) for (a, b), k, n in zip(ranges, corner, chunk.shape, strict=True)]
            target = tuple(slice(x - a, y - a) for (x, y), (a, _) in zip(inside, ranges, strict=True))
            out[target] = chunk[tuple(slice(x - k, y - k) for (x, y), k in zip(inside, corner, strict=True))]
        return out


class Derived:
    """What a function makes of the same window of other arrays, when sliced."""

    def __init__(self, function: Callable, sources: Sequence, shape: tuple[int, ...], dtype):
        self._function, self._sources = function, tuple(sources)
        self.shape, self.ndim, self.dtype = tuple(shape), len(shape), np.dtype(dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, window) -> np.ndarray:
        return self._function(*(source[window] for source in self._sources))

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        whole = self[(slice(None),)]
        return whole if dtype is None else whole.astype(dtype, copy=False)


def read_image(path: Path, volume: str, classes: Sequence[str], reduce: int, lazy: bool = False) -> tuple:
    """Raw, masks and annotated of one picture or volume, as `helpers.datasets.Image` has them.

    Parameters
    ----------
    path : Path
        The store.
    volume : str
        The picture's or volume's name in it.
    classes : sequence of str
        Those to read.
    reduce : int
        Block size of the reduction in-plane.
    lazy : bool
        As `Stored`, else in memory.
    """
    if lazy:
        return _stored(_open(path, volume, classes), len(classes), reduce, None)
    return store.reduce_image(*store.read_volume(path, volume, classes), reduce)


def read_stack(
    path: Path, volume: str, classes: Sequence[str], sections: Sequence[int], reduce: int, lazy: bool = False
) -> Iterator[tuple]:
    """As `read_image`, of each of some sections of a volume: pictures in 2-D."""
    if lazy:
        arrays = _open(path, volume, classes)
        for z in sections:
            yield _stored(arrays, len(classes), reduce, z)
    elif len(sections):
        raw, masks, annotated, _ = store.read_sections(path, volume, classes, sections)
        for z in range(len(sections)):
            yield store.reduce_image(raw[z][None], masks[z], annotated[z], reduce)


def _open(path, volume, classes):
    kinds = [f"{kind}/{c}" for kind in ("labels", "annotated") for c in classes]
    return store.open_arrays(path, volume, ["raw", *kinds])


def _stored(arrays, n, reduce, section):
    return (
        Stored(arrays[:1], store.reduce_raw, np.float32, reduce, section),
        Stored(arrays[1 : 1 + n], store.reduce_masks, bool, reduce, section),
        Stored(arrays[1 + n :], store.reduce_annotated, bool, reduce, section),
    )
