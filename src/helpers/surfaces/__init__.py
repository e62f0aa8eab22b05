"""Loss landscapes along a training: planes through the weights, every loss and common metrics on them, curvature.

:func:`compute` makes a Zarr store from a finished run's folder and a :class:`Plan`; :func:`read` gives it back.
:func:`through_training` tabulates how right and how sure the run was at every checkpoint, :func:`tabulate` does so for
the runs of a study. What is drawn, and how, is in ``figures.surfaces``, ``figures.confidence`` and ``surface_viewer``.
"""

from helpers.surfaces.batches import METRICS, FixedBatch, choose_losses, fixed_batch
from helpers.surfaces.confidence import blind, through_training
from helpers.surfaces.curvature import Curvature, curvature
from helpers.surfaces.planes import (
    Plane,
    filter_normalised,
    path_plane,
    principal_directions,
    project,
    random_directions,
    random_plane,
)
from helpers.surfaces.reading import best_points, grid_values, sentences
from helpers.surfaces.runs import Run, load_run
from helpers.surfaces.store import Surface, Surfaces, compute, read
from helpers.surfaces.study import Member, read_index, rows_of, tabulate
from helpers.surfaces.work import PLANES, Plan, Work, row_values

__all__ = [
    "METRICS",
    "PLANES",
    "Curvature",
    "FixedBatch",
    "Member",
    "Plan",
    "Plane",
    "Run",
    "Surface",
    "Surfaces",
    "Work",
    "best_points",
    "blind",
    "choose_losses",
    "compute",
    "curvature",
    "filter_normalised",
    "fixed_batch",
    "grid_values",
    "load_run",
    "path_plane",
    "principal_directions",
    "project",
    "random_directions",
    "random_plane",
    "read",
    "read_index",
    "row_values",
    "rows_of",
    "sentences",
    "tabulate",
    "through_training",
]
