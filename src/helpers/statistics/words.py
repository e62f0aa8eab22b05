"""Comparisons in words, every number from a table that :func:`helpers.statistics.compare` made."""

import numpy as np

from helpers.statistics.table import READINGS, label, per_seed, split_metric

MINIMUM_SEEDS = 8  # units; fewer give points and no interval


def counted_units(row) -> str:
    """ "3 seeds", or, where splits are crossed with them, "6 units (3 seeds in 2 splits)"; of a row of compare."""
    n, seeds, splits = int(row["n_units"]), int(row["n_seeds"]), int(row["n_splits"])
    if splits > 1:
        return f"{n} units ({plural(seeds, 'seed')} in {splits} splits)"
    return plural(n, "seed")


def difference_text(row) -> str:
    """A row of :func:`compare` in words: difference, interval, n, corrected p, verdict; or why there is no interval."""
    if np.isnan(row["difference"]):
        return f"no difference to {row['reference']} is defined"
    text = f"{row['difference']:+.3f} against {row['reference']}"
    if np.isnan(row["low"]):
        return f"{text} ({row['reason']})"
    test = f", corrected {p_text(row['p_holm'])}" if not np.isnan(row["p_holm"]) else ""
    interval = f"{100 * row['level']:g} % interval {row['low']:+.3f} to {row['high']:+.3f}"
    return f"{text} ({interval}, n = {counted_units(row)}{test}: {row['verdict']})"


def sentence(table, metric: str, comparison) -> str:
    """The comparison in plain text, a sentence for each class, of the rows and of what :func:`compare` made of them.

    Means and their range over units for every objective; the difference with its interval, n, corrected p and verdict
    for all but the reference, or the reason why there is no interval. Where the comparison has no row (one objective,
    no reference), means alone. No ranking.
    """
    rows = {} if comparison.empty else {(r["objective"], r["class"]): r for _, r in comparison.iterrows()}
    if rows and set(comparison["metric"]) != {metric}:
        raise ValueError(f"metric is {metric!r}, but the comparison is of {comparison['metric'].iloc[0]}; expected one")
    where = READINGS[split_metric(metric)[1] or "tuned"]
    sentences = []
    for name, units in per_seed(table, metric).groupby("class", sort=False):
        parts = []
        for objective, values in units.groupby("objective", sort=False)[metric]:
            text = f"{values.mean():.3f} for {objective}"
            if values.count() > 1:
                text += f" ({values.min():.3f} to {values.max():.3f})"
            if (objective, name) in rows:
                text += f", {difference_text(rows[objective, name])}"
            parts.append(text if values.count() else f"undefined for {objective}")
        sentences.append(f"{where.capitalize()}, mean {label(metric)} of {name} was {'; '.join(parts)}.")
    return " ".join(sentences)


def in_words(comparison):
    """The rows that :func:`compare` made as a table to read: objective, class, n, difference, "95 % interval",
    corrected p, verdict, collapsed, all of them text but n; without columns where there is no row."""
    import pandas as pd

    def told(row):
        interval = "none" if np.isnan(row["low"]) else f"{row['low']:+.3f} to {row['high']:+.3f}"
        return {
            "objective": row["objective"],
            "class": row["class"],
            "n": row["n_units"],
            "difference": f"{row['difference']:+.3f}",
            f"{100 * row['level']:g} % interval": interval,
            "corrected p": "none" if np.isnan(row["p_holm"]) else p_text(row["p_holm"]).removeprefix("p ").lstrip("= "),
            "verdict": row["verdict"],
            "collapsed": "unknown" if np.isnan(row["collapsed"]) else f"{row['collapsed']:.0f}",
        }

    return pd.DataFrame([told(row) for _, row in comparison.iterrows()])


def caveat(comparison, judged: str = "One data set was judged") -> str:
    """What the number of units allows to be said; of the rows that :func:`compare` made, and of what was judged."""
    if comparison.empty:
        return "Nothing could be compared with a reference: no ranking."
    fewest, most = (comparison.sort_values("n_units").iloc[i] for i in (0, -1))
    if most["n_units"] < MINIMUM_SEEDS:
        gives = "gives points" if most["n_units"] == 1 else "give points"
        return f"{counted_units(most)} {gives} and no interval ({MINIMUM_SEEDS} are needed): preliminary, no ranking."
    number = int(most["n_comparisons"])
    over = "for one comparison" if number == 1 else f"with Holm's correction over {number} comparisons"
    text = (
        f"{100 * most['level']:g} % t intervals and exact sign-flip tests over {counted_units(most)}, {over} of one "
        f"metric; equivalent means an interval within ±{most['margin']:g}. {judged}: nothing is claimed of a "
        "population."
    )
    alpha, units = 1 - most["level"], int(most["n_units"])
    if number * 2.0 ** (1 - units) >= alpha:
        text += f" Over so many comparisons no p of {units} units can be low enough to call one better or worse."
    if most["n_splits"] > 1:
        text += " Intervals are for these splits, which share images: they hold seeds apart, not specimens."
    few = int((comparison["n_units"] < MINIMUM_SEEDS).sum())
    if few:
        text += (
            f" {plural(few, 'comparison')} with fewer than {MINIMUM_SEEDS} units (the fewest: {counted_units(fewest)})"
        )
        text += " without an interval."
    return text


def p_text(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def plural(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
