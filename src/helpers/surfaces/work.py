"""A plan of surfaces, and the work that it is: a run made ready, its batch and planes, and how a row is computed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from helpers.surfaces import batches, planes
from helpers.surfaces.curvature import curvature
from helpers.surfaces.runs import load_run, set_buffers, set_weights

PLANES = ("random", "pca")
Task = tuple[str, int, int]  # which array, moment, row


@dataclass(frozen=True)
class Plan:
    """What to compute. Two runs with equal plans can be compared point by point.

    Weights move on a plane; what is not trained, a normalisation's running statistics, stays that of the moment.

    Attributes
    ----------
    losses : tuple of str
        As :func:`helpers.surfaces.choose_losses` takes them.
    moments : tuple of int
        Steps of checkpoints; empty for five, spread over the path (its first and last among them).
    planes : tuple of str
        Of PLANES.
    resolution : int
        Points along each axis of a plane, odd.
    radius : float
        Half side of the random planes, in units of the filters' own lengths.
    margin : float
        Around the path on its own plane, as a share of the path's size.
    crops, patch, subset, batch_seed
        The fixed batch, as in :func:`helpers.surfaces.fixed_batch`.
    seed : int
        Of the random directions.
    eigenvalues : int
        How many of the Hessian's largest to find for the run's own loss, at each moment; 0 for none.
    """

    losses: tuple[str, ...] = ()
    moments: tuple[int, ...] = ()
    planes: tuple[str, ...] = PLANES
    resolution: int = 41
    radius: float = 1.0
    margin: float = 0.25
    crops: int = 4
    patch: int = 128
    subset: str = "train"
    batch_seed: int = 0
    seed: int = 0
    eigenvalues: int = 3

    def __post_init__(self):
        planes.check_grid(self.resolution)
        unknown = [name for name in self.planes if name not in PLANES]
        if unknown or not self.planes or len(set(self.planes)) < len(self.planes):
            raise ValueError(f"planes is {self.planes!r}; expected one or more of {', '.join(PLANES)}, each once")


class Work:
    """A run with everything a plan needs made ready: batch, planes, and the function that a row is made of."""

    def __init__(self, folder: str | Path, plan: Plan):
        self.plan, self.run = plan, load_run(folder)
        run = self.run
        self.moments = tuple(run.index(step) for step in plan.moments or spread(run.steps))
        losses = batches.choose_losses(run, plan.losses)
        self.batch = batches.fixed_batch(
            run, losses, crops=plan.crops, patch=plan.patch, seed=plan.batch_seed, subset=plan.subset
        )
        self.planes = {}
        for name in plan.planes:
            if name == "random":
                options = {"resolution": plan.resolution, "radius": plan.radius, "seed": plan.seed}
                self.planes[name] = planes.random_plane(run.network, run.weights, self.moments, **options)
            else:
                options = {"resolution": plan.resolution, "margin": plan.margin}
                self.planes[name] = planes.path_plane(run.weights, self.moments, **options)
        if run.network.dims == 2:
            run.network.to(memory_format=torch.channels_last)
            self.batch = replace(self.batch, raw=self.batch.raw.contiguous(memory_format=torch.channels_last))
        self.own = run.objective.name if run.objective.name in losses else None

    def tasks(self) -> list[Task]:
        """All that is to be computed: rows of planes, then the curvature of each moment."""
        rows = [
            (name, m, row)
            for name in self.planes
            for m in range(len(self.moments))
            for row in range(self.plan.resolution)
        ]
        return rows + [("curvature", m, 0) for m in range(len(self.moments)) if self.plan.eigenvalues]

    def compute(self, task: Task) -> np.ndarray:
        """(quantities, n) of a row of a plane, or (eigenvalues + 2,) of a moment's curvature."""
        name, m, row = task
        set_buffers(self.run.network, self.run.buffers[self.moments[m]])
        base = self.run.weights[self.moments[m]]
        if name == "curvature":
            return self._curvature(base)
        plane = self.planes[name]
        if plane.centre[m, 0] < 0 or not self.run.finite(self.run.steps[self.moments[m]]):
            return np.full((len(self.batch.quantities), self.plan.resolution), np.nan)
        x, y = plane.x[m] - plane.origin[m, 0], float(plane.y[m, row] - plane.origin[m, 1])
        return row_values(self.at, base, plane.directions[m], x, y)

    def at(self, weights: Tensor) -> np.ndarray:
        """All quantities of the fixed batch at these weights and the network's present buffers."""
        with torch.inference_mode():
            set_weights(self.run.network, weights)
            return self.batch.measure(self.run.network(self.batch.raw))

    def along_the_path(self) -> np.ndarray:
        """(quantities, T): at every checkpoint, with its own buffers."""
        values = []
        for weights, buffers in zip(self.run.weights, self.run.buffers, strict=True):
            set_buffers(self.run.network, buffers)
            values.append(self.at(weights))
        return np.stack(values, 1)

    def _curvature(self, base: Tensor) -> np.ndarray:
        empty = np.full(self.plan.eigenvalues + 2, np.nan)
        if not bool(torch.isfinite(base).all()):
            return empty
        set_weights(self.run.network, base)
        parameters = [p for p in self.run.network.parameters() if p.requires_grad]
        loss = next(iter(self.batch.losses.values())) if self.own is None else self.batch.losses[self.own]
        try:
            found = curvature(lambda: loss(self.run.network(self.batch.raw)), parameters, largest=self.plan.eigenvalues)
        except ValueError as error:
            if "not finite" in str(error) or "diverged" in str(error):
                return empty
            raise
        return np.array([*found.largest, found.smallest, found.gradient_norm])


def row_values(
    function: Callable[[Tensor], Sequence[float]], base: Tensor, directions: Tensor, x: Iterable[float], y: float
) -> np.ndarray:
    """function(base + y d2 + x d1) at every x, shape (quantities, n); at x = y = 0 it is function(base), exactly."""
    start = torch.add(base, directions[1], alpha=float(y))
    return np.stack([np.asarray(function(torch.add(start, directions[0], alpha=float(a)))) for a in x], -1)


def spread(steps: Sequence[int], number: int = 5) -> tuple[int, ...]:
    """Some of the steps, evenly by position, the first and the last among them."""
    if len(steps) <= number:
        return tuple(steps)
    return tuple(steps[round(i * (len(steps) - 1) / (number - 1))] for i in range(number))
