"""Loss landscapes along a training: planes through the weights, every loss and common metrics on them, curvature.

:func:`compute` makes a Zarr store from a finished run's folder and a :class:`Plan`; :func:`read` gives it back.
:func:`through_training` tabulates how right and how sure the run was at every checkpoint. What is drawn, and how, is
in ``figures.surfaces`` and ``surface_viewer``.
"""

from helpers.surfaces.batches import METRICS, FixedBatch, choose_losses, fixed_batch
from helpers.surfaces.confidence import through_training
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
from helpers.surfaces.runs import Run, load_run
from helpers.surfaces.store import Surface, Surfaces, compute, read
from helpers.surfaces.work import PLANES, Plan, Work, row_values

__all__ = [
    "METRICS",
    "PLANES",
    "Curvature",
    "FixedBatch",
    "Plan",
    "Plane",
    "Run",
    "Surface",
    "Surfaces",
    "Work",
    "choose_losses",
    "compute",
    "curvature",
    "filter_normalised",
    "fixed_batch",
    "load_run",
    "path_plane",
    "principal_directions",
    "project",
    "random_directions",
    "random_plane",
    "read",
    "row_values",
    "through_training",
]
