"""What applying a run to a volume takes, checked before anything is computed, and the answer for one block."""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from helpers import inference, notebook, objectives
from helpers.blocks import Box, Grid, grow, within
from helpers.claims import settings_of
from helpers.devices import choose_device
from helpers.sizes import WINDOW, bytes_per_voxel, choose_block, chunk_of, multiple, window_voxels
from helpers.trained import Trained, read_choices, read_trained
from helpers.volumes import Volume, open_volume

# What a volume's answer depends on: a store is gone on with by the same code alone.
CODE = (
    "application",
    "apply",
    "blocks",
    "inference",
    "instances",
    "models",
    "objectives",
    "planning",
    "postprocess",
    "sizes",
    "targets",
    "trained",
    "volumes",
)
FACTOR = 2  # by which the spacing may differ from the training's
BLANK = 4  # blank windows whose answers are kept, at most
LABEL_BYTES = 80  # of a window's voxel, about: cutting instances takes 56 to 60, the rest is read and given
LABEL_BLOCK, LABEL_OVERLAP = {"volume": 96, "sections": 1024}, {"volume": 32, "sections": 128}


@dataclass(eq=False)
class Plan:
    """Everything that decides the result (``settings``, JSON values), and what it takes to compute a block.

    Attributes
    ----------
    network, objective, decoding, volume
        See :mod:`helpers.inference`, :mod:`helpers.objectives` and :mod:`helpers.volumes`.
    classes, boundaries : tuple of str
        All classes, and those that are boundaries between objects.
    spacing : tuple of float
        Along the volume's axes, for distances and seed heights: the volume's in nm; of a run that was trained in
        pixels, the training's.
    cuts, seed_heights : dict from class to float
        Foreground is where the score is greater than the cut; nm, or pixels, as the spacing.
    scores, mode : str
        "float32", "uint8" or "none"; instances by "volume", "sections" or "none".
    grid, chunk, label_grid, label_chunk
        Blocks, and the chunks inside them, of predict and of label.
    overlap : tuple of int
        Voxels around a block, per axis and side, in which its instances are cut.
    batch : int
        Sections at once through a 2-D network.
    windows : int
        Windows that are cut into instances at once, at most.
    blank : dict
        Answers of windows that hold one grey alone.
    """

    network: nn.Module
    objective: objectives.Objective
    decoding: inference.Decoding
    volume: Volume
    spacing: tuple[float, ...]
    classes: tuple[str, ...]
    boundaries: tuple[str, ...]
    cuts: Mapping[str, float]
    seed_heights: Mapping[str, float]
    scores: str
    mode: str
    grid: Grid
    chunk: tuple[int, ...]
    label_grid: Grid
    label_chunk: tuple[int, ...]
    overlap: tuple[int, ...]
    batch: int
    windows: int
    labeller: Callable | None
    settings: dict[str, Any]
    provenance: dict[str, Any]
    blank: dict[tuple, tuple] = field(default_factory=dict)

    @property
    def has_distance(self) -> bool:
        """Whether the network's own distance seeds the instances."""
        return self.mode != "none" and self.objective.decode_distance is not None

    @property
    def linked_axes(self) -> tuple[int, ...]:
        """Axes along which instances go from block to block."""
        every = tuple(range(len(self.volume.shape)))
        return every[-2:] if self.mode == "sections" else every

    def exact_components(self, name: str) -> bool:
        """Whether instances are connected components, which any shared voxel links."""
        return self.labeller is None and math.isinf(self.seed_heights[name])

    def decode_box(self, box: Box, where: str) -> tuple[np.ndarray, np.ndarray | None]:
        """Scores, and distances where the network tells them, of a box: float32, (C, *box).

        The network sees the box, what decoding looks at beyond it, and its own halo; where the volume ends, it sees
        what it would see of the whole volume.
        """
        network, dims = self.network, self.network.dims
        lead, divisor = len(box) - dims, network.divisor
        inner = grow(box, (*(0,) * lead, *self.decoding.reach), self.volume.shape)
        window, halo = list(inner), inference.halo_of(network)
        for axis, h in enumerate(halo, lead):
            end = multiple(self.volume.shape[axis], divisor)
            window[axis] = slice(
                max(inner[axis].start // divisor * divisor - h, 0),
                min(multiple(inner[axis].stop, divisor) + h, end),
            )
        raw = self._read(tuple(window), where)
        answer, inside = within(inner, window)[lead:], within(box, inner)[lead:]
        if (raw == raw.flat[0]).all():  # blank, as much of many volumes is: computed once for each kind of window
            kind = (float(raw.flat[0]), raw.shape, str(answer), str(inside))
            found = self.blank.get(kind) or self._decode(raw, box, answer, inside, where)
            if len(self.blank) >= BLANK and kind not in self.blank:
                self.blank.clear()
            self.blank[kind] = found
            return found
        return self._decode(raw, box, answer, inside, where)

    def _decode(self, raw, box: Box, answer: Box, inside: Box, where: str) -> tuple[np.ndarray, np.ndarray | None]:
        """Scores and distances of a box from what the network sees of it, (K, *window)."""
        network, lead = self.network, len(box) - self.network.dims
        raw = np.moveaxis(raw, 0, 1) if lead else raw[None]
        wants = [self.objective.decode]
        if self.has_distance:
            wants.append(partial(self.objective.decode_distance, spacing=self.spacing[lead:]))
        found = [np.empty((len(self.classes), *(s.stop - s.start for s in box)), np.float32) for _ in wants]
        for first in range(0, len(raw), self.batch):
            output = inference.run(network, np.ascontiguousarray(raw[first : first + self.batch]))[(..., *answer)]
            if not torch.isfinite(output).all():
                raise ValueError(f"the network's output is NaN or infinite in {where} of {self.volume.name}")
            for decode, into in zip(wants, found, strict=True):
                piece = decode(output)[(..., *inside)].numpy()
                if lead:
                    into[:, first : first + self.batch] = np.moveaxis(piece, 0, 1)
                else:
                    into[:] = piece[0]
        return found[0], found[1] if self.has_distance else None

    def _read(self, window: Box, where: str) -> np.ndarray:
        """Grey of a window that may reach into the padding at the volume's end, as `inference.predict` pads it."""
        dims, size = self.network.dims, self.volume.shape
        short, mode = inference.padding(size[-dims:], self.network.divisor)
        sources = [np.pad(np.arange(n), (0, s), mode=mode) for n, s in zip(size[-dims:], short, strict=True)]
        sources = [np.arange(n) for n in size[:-dims]] + sources
        wanted = [source[s] for source, s in zip(sources, window, strict=True)]
        box = tuple(slice(int(w.min()), int(w.max()) + 1) for w in wanted)
        raw = self.volume.read(box, where)
        for axis, (places, s) in enumerate(zip(wanted, box, strict=True), 1):
            if len(places) != raw.shape[axis] or s.stop - s.start != len(places) or (np.diff(places) != 1).any():
                raw = raw.take(places - s.start, axis=axis)
        return raw

    def label_window(self, name: str, mask: np.ndarray, distance: np.ndarray | None) -> np.ndarray:
        """Instances of one class in a window, section by section where the plan says so."""
        if self.mode != "sections" or mask.ndim == 2:
            return self._label(name, mask, distance, self.spacing)
        labels, count = np.zeros(mask.shape, np.int32), 0
        for z, section in enumerate(mask):
            one = self._label(name, section, None if distance is None else distance[z], self.spacing[1:])
            labels[z] = np.where(one > 0, one + count, 0)
            count += int(one.max(initial=0))
        return labels

    def _label(self, name, mask, distance, spacing):
        if self.labeller is not None:
            return self.labeller(mask, distance, spacing)
        from helpers import instances

        height = self.seed_heights[name]
        if name in self.boundaries:  # a mask is a score that is cut at one half; it is filled when ids are known
            return instances.neurons(mask.astype(np.float32), 0.5, spacing, height, fill=False)
        return instances.instances(mask, distance, height, spacing) if mask.any() else np.zeros(mask.shape, np.int32)

    def fill(self, ids: np.ndarray) -> np.ndarray:
        """Each voxel without an id gets that of the nearest one with, section by section where the plan says so."""
        from scipy.ndimage import distance_transform_edt

        if self.mode == "sections" and ids.ndim == 3:
            return np.stack([self._fill(section, self.spacing[1:], distance_transform_edt) for section in ids])
        return self._fill(ids, self.spacing, distance_transform_edt)

    def _fill(self, ids, spacing, transform):
        if ids.all() or not ids.any():
            return ids
        return ids[tuple(transform(ids == 0, sampling=spacing, return_distances=False, return_indices=True))]


def make_plan(
    run: str | Path,
    source: str | Path,
    output: str | Path,
    *,
    checkpoint: str | Path | None = None,
    spacing: Sequence[float] | None = None,
    any_spacing: bool = False,
    reduce: int = 1,
    level: int = 0,
    white: float | None = None,
    cut: str | float | Sequence[float] = "tuned",
    seed_height: float | None = None,
    scores: str = "float32",
    instances: str | None = None,
    boundaries: Sequence[str] | None = None,
    overlap: int | None = None,
    block: Sequence[int] | None = None,
    memory: int = 600,
    device: str = "auto",
    label: Callable | None = None,
    log: Callable[[str], None] = print,
) -> Plan:
    """Load the network, open the volume, and see that they fit each other and the options.

    Parameters
    ----------
    checkpoint : path, optional
        Another one than the run's last.
    spacing : sequence of float, optional
        nm per voxel as stored, along the spatial axes, where the volume does not say it, or says it wrongly.
    any_spacing : bool
        Allow a spacing that differs by more than a factor of 2 from the training's, or that cannot be compared with it
        because the training knew no pixel size (unit "pixel" of the checkpoint's task). Then distances and seed
        heights are in pixels as the training's were, sections that lie apart from a 2-D network count as one, and the
        volume's nm are written to the output alone.
    reduce, level, white
        As in :func:`helpers.volumes.open_volume`.
    cut : str, float or sequence of float
        "tuned" (decoding.json), "natural" (the objective's own), or numbers, one for all classes or one each.
    seed_height : float, optional
        nm (pixels where the run was trained in pixels), instead of decoding.json's; infinity: instances are connected
        components.
    scores : str
        "float32", "uint8" (the score's bounds are 0 and 255), or "none".
    instances : str, optional
        "volume", "sections" or "none"; by default sections for 2-D networks (as they are judged), volume for 3-D ones.
    boundaries : sequence of str, optional
        Classes whose instances are what they leave (membranes: neurons); by default those that the checkpoint names.
    overlap : int, optional
        Voxels around a block, along every linked axis, in which its instances are cut: 32 in volumes, 128 in sections.
        Objects shorter than this by two voxels come out as from the whole volume at once.
    block : sequence of int, optional
        Voxels, multiples of the network's divisor; by default what ``memory`` allows.
    memory : int
        MB that the network's layers may take, about; and then what is cut into instances at once.
    device : str
        "auto", "cpu", "cuda" or "cuda:N".

    Raises
    ------
    ValueError, FileNotFoundError
        What does not fit, and what to do.
    FileExistsError
        The output was begun with another volume.
    """
    if not 0 < memory < math.inf:
        raise ValueError(f"memory is {memory!r}; expected MB, more than 0")
    run, there = Path(run), settings_of(Path(output)) or {}
    trained = read_trained(run, Path(checkpoint) if checkpoint else None, boundaries, _device(device))
    network, objective, classes, task = trained.network, trained.objective, trained.classes, trained.task
    decoding = inference.probe(objective.decode, trained.channels, network.dims)
    volume = open_volume(
        source, spacing, reduce=reduce, level=level, n_channels=trained.model["in_channels"], white=white
    )
    if len(volume.axes) < network.dims:
        raise ValueError(f"{source} is a 2-D image; the network is 3-D and needs a volume (axes zyx)")
    measured = _spacing_of_distances(volume, trained, any_spacing)
    identity = {"content": volume.content, "shape": list(volume.array.shape), "type": str(volume.array.dtype)}
    if there.get("input", identity) != identity:
        raise FileExistsError(
            f"{output} was begun with another volume, or level, than {source} ({there['input']} there, {identity} "
            "here); choose another output, delete that one, or give its own volume"
        )

    if scores not in ("float32", "uint8", "none"):
        raise ValueError(f"scores is {scores!r}; expected float32, uint8 or none")
    if scores == "uint8" and decoding.bounds is None:
        raise ValueError(f"scores is 'uint8', but the scores of {objective.name} have no bounds; choose float32")
    mode = instances or ("sections" if network.dims == 2 else "volume")
    if mode not in ("volume", "sections", "none"):
        raise ValueError(f"instances is {mode!r}; expected volume, sections or none")
    cuts, heights = read_choices(run, trained, cut, seed_height, mode != "none")

    halo = inference.halo_of(network)
    if block is None and (begun := there.get("block")) and len(begun) == len(volume.shape):
        block = begun
    inference.check_size(network, volume.shape[-network.dims :])
    each = bytes_per_voxel(network) * (2 if network.dims == 2 else 1) / 1e6  # MB; of 2-D networks two at once
    block, batch = choose_block(
        volume.shape, network.dims, halo, network.divisor, min(memory / each, WINDOW[network.dims]), block
    )
    takes = each * window_voxels(volume.shape, network.dims, halo, network.divisor, block)
    if takes > 1.5 * memory:
        log(
            f"memory: about {takes:.0f} MB for the network's layers, more than the {memory:g} asked for: an answer "
            f"depends on {' x '.join(map(str, halo))} voxels around it, and smaller blocks would be nearly all halo"
        )
    side, wide = LABEL_BLOCK.get(mode, 96), LABEL_OVERLAP.get(mode, 0) if overlap is None else overlap
    if wide < 1 and mode != "none":
        raise ValueError(f"overlap is {wide}; expected at least 1 voxel")
    sections = mode == "sections" and len(volume.shape) == 3
    label_block = tuple(
        min(8 if sections and axis == 0 else side, multiple(n, 32)) for axis, n in enumerate(volume.shape)
    )
    overlaps = tuple(0 if sections and axis == 0 else wide for axis in range(len(volume.shape)))
    settings = {
        "checkpoint": trained.sha256,
        "step": trained.step,
        "objective": task["objective"],
        "options": dict(objective.options),
        "classes": list(classes),
        "input": identity,
        "spacing": list(volume.spacing),
        "reduce": reduce,
        "level": level,
        "white": volume.white,
        "cuts": cuts,
        f"seed_heights_{trained.unit}": {c: "inf" if math.isinf(h) else h for c, h in heights.items()},
        "scores": scores,
        "instances": mode,
        "boundaries": list(trained.boundaries),
        "overlap": list(overlaps),
        "block": list(block),
        "labels": "own" if label is not None else "helpers.instances",
        "code": notebook.modules_hash(CODE),
    }
    provenance = {"commit": notebook.commit(), "training": dict(task), "model": dict(trained.model)}
    provenance |= {"run": run.name, "source": Path(source).name}
    log(f"{objective.name} of {', '.join(classes)}, step {trained.step}; cuts {cuts}")
    log(f"{volume.shape} voxels of {' x '.join(f'{s:g}' for s in volume.spacing)} nm; blocks of {tuple(block)}")
    if trained.unit == "pixel":
        log(f"{run} was trained in pixels: distances and seed heights ({heights or 'none'}) are in pixels, not nm")
    return Plan(
        network=network,
        objective=objective,
        decoding=decoding,
        volume=volume,
        spacing=measured,
        classes=classes,
        boundaries=trained.boundaries,
        cuts=cuts,
        seed_heights=heights,
        scores=scores,
        mode=mode,
        grid=Grid(volume.shape, tuple(block)),
        chunk=chunk_of(block, network.dims),
        label_grid=Grid(volume.shape, label_block),
        label_chunk=chunk_of(label_block, 2 if sections else 3),
        overlap=overlaps,
        batch=batch,
        windows=max(1, int(memory * 1e6 / LABEL_BYTES / _window_voxels(label_block, overlaps, volume.shape, sections))),
        labeller=label,
        settings=json.loads(json.dumps(settings)),
        provenance=json.loads(json.dumps(provenance)),
    )


def _window_voxels(block: Sequence[int], overlap: Sequence[int], shape: Sequence[int], sections: bool) -> int:
    """Voxels that are cut into instances in one piece, at most: a block and its overlap, or one section of them."""
    sides = [min(b + 2 * o, n) for b, o, n in zip(block, overlap, shape, strict=True)]
    return math.prod(sides[1:] if sections else sides)


def _device(name: str) -> torch.device:
    """As :func:`helpers.devices.choose_device`, of the devices alone that this package runs on."""
    if not (known := re.fullmatch("auto|cpu|cuda(?::([0-9]+))?", str(name))):
        raise ValueError(f"device is {name!r}; expected auto, cpu, cuda or cuda:N")
    device = choose_device(name)
    if device.type == "cuda" and int(known[1] or 0) >= (there := torch.cuda.device_count()):  # torch takes 256 as 0
        raise ValueError(
            f"device is {name!r}, but torch sees {there} CUDA devices here: expected cuda:0 to cuda:{there - 1}"
        )
    return device


def _spacing_of_distances(volume: Volume, trained: Trained, any_spacing: bool) -> tuple[float, ...]:
    """Per axis of the volume, in the unit of the run's seed heights; ValueError where it is too far from the run's."""
    dims = trained.network.dims
    mine, theirs = volume.spacing[-dims:], tuple(trained.task["spacing"])[-dims:]
    told = f"{volume.name} has voxels of {' x '.join(f'{m:g}' for m in mine)} nm, the training had "
    if trained.unit == "pixel":
        if not any_spacing:
            raise ValueError(
                f"{told}pixels of no known size, with which these cannot be compared: distances and seed heights of "
                "this run are in pixels; --any-spacing goes on with pixels for both"
            )
        return (*(1.0,) * (len(volume.spacing) - dims), *map(float, theirs))
    ratios = [m / t for m, t in zip(mine, theirs, strict=True)]
    if not any_spacing and not all(1 / FACTOR <= r <= FACTOR for r in ratios):
        fits = round(1 / ratios[-1])
        advice = f"--reduce {fits * volume.reduce} makes it fit, or " if fits > 1 else ""
        raise ValueError(f"{told}{' x '.join(f'{t:g}' for t in theirs)} nm; {advice}--any-spacing goes on all the same")
    return volume.spacing
