"""Alternative texts, every number from the table that its figure shows."""

from collections.abc import Iterable, Mapping

import numpy as np

from helpers.statistics import difference_text

MANY = 10  # objectives; a text that names each is read to its end up to here


def listing(parts: Iterable[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    *most, last = list(parts) or ["nothing"]
    return f"{', '.join(most)} and {last}" if most else last


def of_levels(per_seed: Mapping[str, "object"], metric_label: str) -> str:
    """For :func:`helpers.figures.comparison`: each panel's means and ranges; of many objectives, the extremes."""
    parts = []
    for title, table in per_seed.items():
        values = table.groupby("objective", sort=False)["value"]
        means = values.mean().dropna()
        if len(means) > MANY:
            low, high = means.idxmin(), means.idxmax()
            said = f"means of {len(means)} from {means[low]:.3f} ({low}) to {means[high]:.3f} ({high})"
        else:
            said = ", ".join(f"{o} {_range(v)}" for o, v in values)
        parts.append(f"{title}: {said}.")
    return f"Dots of {metric_label} for each run, a column for each objective. {' '.join(parts)}"


def of_differences(comparison) -> str:
    """For :func:`helpers.figures.differences`: every difference with its interval and verdict, class by class."""
    parts = []
    for name, rows in comparison.groupby("class", sort=False):
        texts = [f"{row['objective']} {difference_text(row)}" for _, row in rows.iterrows()]
        parts.append(f"{name}: {'; '.join(texts)}.")
    return f"Dots of each seed's difference to {comparison['reference'].iloc[0]}. {' '.join(parts)}"


def of_cuts(values, metric_label: str) -> str:
    """For :func:`helpers.figures.cuts`: each objective's mean at each cut."""
    from helpers.figures.results import CUTS

    there = [cut for cut in CUTS if cut in values]
    parts = []
    for objective, rows in values.groupby("objective", sort=False):
        means = rows[there].mean()
        parts.append(f"{objective}: " + ", ".join(f"{CUTS[cut]} {_number(means[cut])}" for cut in there))
    return f"Mean {metric_label} of the same outputs at different cuts. {'; '.join(parts)}."


def of_curves(table, metric_label: str) -> str:
    """For :func:`helpers.figures.curves`: each objective's mean at its first and its last moment."""
    parts = []
    for objective, rows in table.groupby("objective", sort=False):
        means = rows.groupby("step")["value"].mean()
        parts.append(
            f"{objective} from {_number(means.iloc[0])} at step {means.index[0]} to {_number(means.iloc[-1])} at step "
            f"{means.index[-1]}"
        )
    return f"{metric_label} through training, a panel for each objective, means over runs: {'; '.join(parts)}."


def of_reliability(pooled) -> str:
    """For :func:`helpers.figures.reliability`: how far each curve is from the diagonal, weighted by voxels."""
    parts = []
    for objective, rows in pooled.groupby("objective", sort=False):
        gaps = []
        for kind, own in rows.groupby("kind", sort=False):
            gap = np.average(np.abs(own["probability"] - own["positive"]), weights=own["count"])
            gaps.append(f"{kind} {gap:.3f}")
        parts.append(f"{objective} {', '.join(gaps)}")
    return f"Reliability curves; mean distance from the diagonal: {'; '.join(parts)}."


def of_depth(fits, x: str, metric_label: str) -> str:
    """For :func:`helpers.figures.depth_curve`: where each parabola peaks."""
    parts = []
    for _, row in fits.iterrows():
        peak = f"peak at {row['peak']:.1f}" if np.isfinite(row["peak"]) else "no peak within what was run"
        parts.append(f"{row['objective']}, {row['class']}: {row['reason'] or peak}")
    return f"{metric_label} against {x}, with a quadratic fit for each objective. {'; '.join(parts)}."


def of_panels(crop, name: str) -> str:
    """For :func:`helpers.figures.panels` of a :class:`helpers.figures.Crop`: who errs how much in it."""
    shares = listing(f"{objective} {share:.1%}" for objective, share in crop.shares.items())
    return (
        f"A crop of {crop.image}: image, truth of {name}, score and errors of each objective. Wrong pixels: {shares}."
    )


def of_against(table, xlabel: str, ylabel: str) -> str:
    """For :func:`helpers.figures.against`: the means of each line, from the least x to the greatest."""
    means = table.groupby(["panel", "line", "x"], sort=False)["value"].mean().unstack("x").sort_index(axis=1)
    said = "; ".join(f"{panel}, {line}: {', '.join(map(_number, row))}" for (panel, line), row in means.iterrows())
    low, high = means.columns.min(), means.columns.max()
    return f"Lines of {ylabel} against {xlabel}, from {low:g} to {high:g}. Means: {said}."


def _number(value: float) -> str:
    return "none" if np.isnan(value) else f"{value:.3f}"


def _range(values) -> str:
    if not values.count():
        return "none"
    return _number(values.mean()) + (f" ({values.min():.3f} to {values.max():.3f})" if values.count() > 1 else "")
