"""Images of a store, whole in memory or read window by window, for data that do not fit there."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import count, product
from math import prod
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
MEMO = 2**23  # bytes up to which an array keeps the window read last
_numbers = count()  # names of arrays in the cache: never used twice, so that nothing stale is found


class Chunks:
    """Reads single chunks of an array of our own stores, straight from the shard they lie in.

    Zarr takes about a millisecond for any read, most of it not for the data; crops read many small chunks. Same
    layout, same decompressor: a shard is its chunks, then 16 bytes for each (offset, length) and a checksum of these;
    without shards a file is a chunk. An array that is laid out otherwise is read by Zarr.
    """

    def __init__(self, array):
        self.array, self.number, self._tables = array, next(_numbers), {}
        self.shape, self.chunks, self.dtype = array.shape, array.chunks, array.dtype  # Zarr looks each up anew
        codecs = array.metadata.to_dict()["codecs"]
        outer = codecs[0]["configuration"] if array.shards else {"codecs": codecs, "index_location": "end"}
        inner = [c["name"] for c in outer["codecs"]]
        self._direct = inner == ["bytes", "zstd"] and array.dtype.newbyteorder("<") == array.dtype
        self._direct &= outer["index_location"] == "end"
        self._root = str(Path(array.store.root) / array.path / "c") if self._direct else None
        self._per = tuple(s // c for s, c in zip(array.shards, array.chunks, strict=True)) if array.shards else None

    def read(self, index: tuple[int, ...]) -> np.ndarray:
        """The chunk at this place of the grid; one at the array's end is as short as the array."""
        corner = [i * c for i, c in zip(index, self.chunks, strict=True)]
        if not self._direct:
            box = tuple(slice(k, k + c) for k, c in zip(corner, self.chunks, strict=True))
            return np.ascontiguousarray(self.array[box])
        from numcodecs.zstd import decompress

        shard = tuple(i // n for i, n in zip(index, self._per, strict=True)) if self._per else index
        with open("/".join([self._root, *map(str, shard)]), "rb", buffering=0) as file:
            if self._per and shard not in self._tables:
                length = 16 * prod(self._per)
                file.seek(-length - 4, os.SEEK_END)
                self._tables[shard] = np.frombuffer(file.read(length), "<u8").reshape(*self._per, 2)
            if self._per:
                place = tuple(i % n for i, n in zip(index, self._per, strict=True))
                offset, length = map(int, self._tables[shard][place])
                file.seek(offset)
                packed = file.read(length)
            else:
                packed = file.read()
        whole = np.frombuffer(decompress(packed), self.dtype).reshape(self.chunks)
        inside = tuple(slice(min(c, n - k)) for k, c, n in zip(corner, self.chunks, self.shape, strict=True))
        return np.ascontiguousarray(whole[inside])


class Stored:
    """Raw, masks or annotated of an image in a store, shaped as in `helpers.datasets.Image`, read when sliced.

    ``stored[:, 10:20, 30:40]`` is a NumPy array; so is ``np.asarray(stored)``, all of it. Slices have no steps, and
    the first is ``:``.

    Parameters
    ----------
    arrays : sequence of Chunks
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
    trim : bool
        Leave out the last rows and columns where `reduce` does not divide the sides; else that is refused.
    """

    def __init__(
        self,
        arrays: Sequence,
        how: Callable,
        dtype,
        reduce: int = 1,
        section: int | None = None,
        cache: Cache = CACHE,
        trim: bool = False,
    ):
        self._arrays, self._how, self._section, self._cache, self._trim = tuple(arrays), how, section, cache, trim
        self._reduce, self.dtype, self._last = reduce, np.dtype(dtype), (None, None)
        first = self._arrays[0].array
        self._channels = first.shape[0] if first.metadata.dimension_names[0] == "c" else None
        spatial = first.shape[self._channels is not None :][section is not None :]
        if not trim:
            store.check_reduce(reduce, spatial[-2:])
        lead = len(self._arrays) if self._channels is None else self._channels
        self.shape = (lead, *spatial[:-2], *(n // reduce for n in spatial[-2:]))
        self.ndim = len(self.shape)

    def take(self, index: Sequence[int]) -> Stored:
        """The same of some of the classes."""
        if list(index) == list(range(len(self._arrays))):
            return self
        arrays = [self._arrays[i] for i in index]
        return Stored(arrays, self._how, self.dtype, self._reduce, self._section, self._cache, self._trim)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, window) -> np.ndarray:
        window = window if isinstance(window, tuple) else (window,)
        last, result = self._last
        if last == window:  # what is known is made of the masks that were just read
            return result.copy()
        if any(not isinstance(w, slice) or w.step not in (None, 1) for w in window) or window[:1] != (slice(None),):
            raise TypeError(f"{window!r}: expected (:, first:last, …), slices without steps; np.asarray reads it all")
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
        result = self._how(whole if self.dtype != bool else whole.view(bool), r)
        self._last = (window, result.copy()) if result.nbytes < MEMO else (None, None)
        return result

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        whole = self[(slice(None),)]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def _read(self, chunks, ranges):
        if self._channels is not None:
            ranges = [(0, self._channels), *ranges]
        out = np.empty([max(b - a, 0) for a, b in ranges], chunks.dtype)
        if not out.size:
            return out
        which = [range(a // c, -(-b // c)) for (a, b), c in zip(ranges, chunks.chunks, strict=True)]
        for index in product(*which):
            chunk = self._cache.get((chunks.number, index), lambda index=index: chunks.read(index))
            target, source = [], []
            for (a, b), i, c, n in zip(ranges, index, chunks.chunks, chunk.shape, strict=True):
                first, last = max(a, i * c), min(b, i * c + n)
                target.append(slice(first - a, last - a))
                source.append(slice(first - i * c, last - i * c))
            out[tuple(target)] = chunk[tuple(source)]
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
    path: Path,
    volume: str,
    classes: Sequence[str],
    sections: Sequence[int],
    reduce: int,
    lazy: bool = False,
    trim: bool = False,
) -> Iterator[tuple]:
    """As `read_image`, of each of some sections of a volume: pictures in 2-D; `trim` as in `Stored`."""
    if lazy:
        arrays = _open(path, volume, classes)
        for z in sections:
            yield _stored(arrays, len(classes), reduce, z, trim)
    elif len(sections):
        *arrays, _ = store.read_sections(path, volume, classes, sections)
        height, width = (side - side % reduce if trim else side for side in arrays[0].shape[1:])
        raw, masks, annotated = (array[..., :height, :width] for array in arrays)
        for z in range(len(sections)):
            yield store.reduce_image(raw[z][None], masks[z], annotated[z], reduce)


def _open(path, volume, classes):
    kinds = [f"{kind}/{c}" for kind in ("labels", "annotated") for c in classes]
    return [Chunks(array) for array in store.open_arrays(path, volume, ["raw", *kinds])]


def _stored(arrays, n, reduce, section, trim=False):
    return (
        Stored(arrays[:1], store.reduce_raw, np.float32, reduce, section, trim=trim),
        Stored(arrays[1 : 1 + n], store.reduce_masks, bool, reduce, section, trim=trim),
        Stored(arrays[1 + n :], store.reduce_annotated, bool, reduce, section, trim=trim),
    )
