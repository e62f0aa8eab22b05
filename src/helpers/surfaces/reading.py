"""What surfaces say in numbers and in words: where each loss is lowest, and how right the network is there."""

import numpy as np

from helpers.surfaces.store import Surfaces

METRIC = "IoU"


def best_points(found: Surfaces, plane: str, moment: int = -1):
    """For each quantity the best point of the grid at one moment, and what the metric is there.

    Parameters
    ----------
    plane : str
        One of those computed.
    moment : int
        Position among the moments; the last by default.

    Returns
    -------
    pandas.DataFrame with a row for each quantity: quantity, ``checkpoint`` (the value there), ``best`` (lowest of a
    loss, highest of IoU, over the finite points), x and y of that point, ``away`` (steps of the grid from the
    checkpoint to it along the farther axis), ``iou`` (the IoU there) and ``iou_best`` (the grid's highest). NaN where
    no point is finite, or the checkpoint is not.
    """
    import pandas as pd

    surface, rows = found.planes[plane], []
    i, j = surface.centre[moment]
    metric = surface.values[moment, found.quantities.index(METRIC)]
    highest = np.nanmax(metric, initial=-np.inf)
    for q, name in enumerate(found.quantities):
        values = surface.values[moment, q]
        row = dict.fromkeys(("checkpoint", "best", "x", "y", "away", "iou"), np.nan)
        row |= {"quantity": name, "iou_best": highest if np.isfinite(highest) else np.nan}
        if i >= 0:
            row["checkpoint"] = values[j, i]
        if np.isfinite(values).any():
            signed = np.where(np.isfinite(values), values if found.better[name] == "lower" else -values, np.inf)
            b, a = np.unravel_index(signed.argmin(), values.shape)
            row |= {"best": values[b, a], "x": surface.x[moment, a], "y": surface.y[moment, b], "iou": metric[b, a]}
            row["away"] = max(abs(a - i), abs(b - j)) if i >= 0 else np.nan
        rows.append(row)
    columns = ["quantity", "checkpoint", "best", "x", "y", "away", "iou", "iou_best"]
    return pd.DataFrame(rows)[columns]


def grid_values(found: Surfaces):
    """Every point of every plane: a DataFrame with plane, step, x, y, and a column for each quantity."""
    import pandas as pd

    tables = []
    for name, surface in found.planes.items():
        for m, step in enumerate(found.steps):
            y, x = np.meshgrid(surface.y[m], surface.x[m], indexing="ij")
            values = dict(zip(found.quantities, surface.values[m].reshape(len(found.quantities), -1), strict=True))
            tables.append(pd.DataFrame({"plane": name, "step": step, "x": x.ravel(), "y": y.ravel(), **values}))
    return pd.concat(tables, ignore_index=True)


def sentences(found: Surfaces) -> dict[str, str]:
    """The surfaces in words, every number from them; one text for each of

    ``path`` (how much of its variance lies on the planes), ``descent`` (what training did to the run's own loss and to
    IoU), ``minima`` (each loss's lowest point on the first plane at the last moment), ``curvature`` and ``missing``
    (points that are not finite).
    """
    first, last = found.steps[0], found.steps[-1]
    names = {"random": "random directions", "pca": "the path's own first two directions"}
    shares = [f"{s.explained[-1].sum():.1%} lies along {names[name]}" for name, s in found.planes.items()]
    own, metric = (found.path_values[found.quantities.index(q)] for q in (found.quantities[0], METRIC))
    ends = [found.path_steps.index(step) for step in (first, last)]
    said = {
        "path": f"Of the variance of the path over its {len(found.path_steps)} checkpoints {' and '.join(shares)}.",
        "descent": f"From step {first} to step {last} {found.quantities[0]} went from {own[ends[0]]:.3g} to "
        f"{own[ends[1]]:.3g} on the fixed batch, and IoU from {metric[ends[0]]:.3f} to {metric[ends[1]]:.3f}.",
        "minima": _minima(found),
        "curvature": _curvature(found),
    }
    lost = sum(int((~np.isfinite(s.values).any(1)).sum()) for s in found.planes.values())
    total = sum(s.values[:, 0].size for s in found.planes.values())
    said["missing"] = f"{lost} of {total} points are not finite." if lost else f"All {total} points are finite."
    return said


def _minima(found: Surfaces) -> str:
    plane = "pca" if "pca" in found.planes else next(iter(found.planes))
    table = best_points(found, plane)
    if not np.isfinite(table["best"]).any():
        return f"At step {found.steps[-1]} no point of the plane is finite."
    parts = []
    for row in table[~table["quantity"].isin([METRIC, "cross_entropy"])].itertuples():
        where = "at the checkpoint" if row.away == 0 else f"{row.away:.0f} steps of the grid away"
        parts.append(f"{row.quantity} is lowest {where} ({row.best:.3g}; IoU {row.iou:.3f} there)")
    where = {"random": "random directions", "pca": "the path's directions"}[plane]
    return (
        f"At step {found.steps[-1]}, on the plane of {where}, {', '.join(parts)}; the highest IoU of the grid is "
        f"{table['iou_best'].iloc[0]:.3f}."
    )


def _curvature(found: Surfaces) -> str:
    if not found.eigenvalues.shape[1]:
        return "The curvature was not computed."
    ends = [
        f"{e[0]:.3g} (smallest {s:.3g}, gradient's length {g:.3g}) at step {step}"
        for step, e, s, g in zip(found.steps, found.eigenvalues, found.smallest, found.gradient_norm, strict=True)
    ]
    return f"The largest eigenvalue of the Hessian was {', '.join(ends)}."
