"""Confidence through training in words, every number from tables that :mod:`helpers.statistics.training` made."""

import json
from collections.abc import Mapping, Sequence

import numpy as np

from helpers.statistics.table import METRICS
from helpers.statistics.training import THROUGH, at_the_end, first_above, over_seeds
from helpers.statistics.words import MINIMUM_SEEDS, plural

DIGITS = {"accuracy": 4, "ece": 4}  # of the others 3
CAVEAT = (
    "The intervals are t intervals over seeds, each for itself: nothing is corrected for their number, no objective is "
    "called better, and one data set says nothing of a population."
)


def number(measure: str, value: float, *, signed: bool = False) -> str:
    """A value with the digits of its measure; "undefined" for NaN."""
    return f"{value:{'+' if signed else ''}.{DIGITS.get(measure, 3)}f}" if np.isfinite(value) else "undefined"


def level(measure: str, row, *, signed: bool = False) -> str:
    """A row of means: the mean with its interval in brackets or, of fewer than 8 units, with the range."""
    text = number(measure, row["mean"], signed=signed)
    ends = ("low", "high") if np.isfinite(row["low"]) else ("least", "greatest")
    if row["n"] < 2:
        return text
    return f"{text} ({' to '.join(number(measure, row[end], signed=signed) for end in ends)})"


def brackets(levels) -> str:
    """What :func:`level` has in its brackets, of these rows."""
    enough = levels["low"].notna()
    few = f"least to greatest of fewer than {MINIMUM_SEEDS} seeds, which give no interval"
    if enough.all():
        return "95 % t interval over seeds"
    return f"95 % t interval over seeds; of those without one, {few}" if enough.any() else few


def units_text(levels) -> str:
    """ "n = 8 seeds", or of objectives with unlike numbers of them "n = 2 to 8 seeds"."""
    least, most = int(levels["n"].min()), int(levels["n"].max())
    return f"n = {plural(most, 'seed')}" if least == most else f"n = {least} to {most} seeds"


def caveat(levels) -> str:
    """What the number of seeds allows to be said."""
    most = int(levels["n"].max())
    if most < MINIMUM_SEEDS:
        gives = "gives points" if most == 1 else "give points"
        return f"{plural(most, 'seed')} {gives} and no interval ({MINIMUM_SEEDS} are needed): preliminary, no ranking."
    few = sorted(set(levels.loc[levels["low"].isna(), "objective"]))
    lacking = f" Fewer than {MINIMUM_SEEDS} seeds and no interval: {', '.join(few)}." if few else ""
    return CAVEAT + lacking


def wide(levels, measures: Sequence[str] = THROUGH, *, signed: bool = False):
    """Means by objective (rows) and measure (columns) as text, for a table in a page."""
    import pandas as pd

    rows = []
    for (objective, name), own in levels.groupby(["objective", "class"], sort=False):
        found = {row["measure"]: row for _, row in own.iterrows()}
        texts = {METRICS[m][0]: level(m, found[m], signed=signed) for m in measures}
        rows.append({"objective": objective, "class": name, "n": int(own["n"].max())} | texts)
    return pd.DataFrame(rows)


def sentences(table, blind, name: str, reference: str = "bce") -> dict[str, str]:
    """One class in words; one text for each of

    ``answer`` (how far the objectives are apart at the end, in each measure), ``accuracy`` (beside what an empty mask
    scores), ``iou`` (and collapses), ``confidence`` (on foreground and background), ``options`` (what a factor or an
    exponent does to it), ``calibration`` and ``training`` (when foreground becomes likelier than not).

    Parameters
    ----------
    table : DataFrame
        Of :func:`helpers.surfaces.tabulate`.
    blind : DataFrame
        Of :func:`helpers.surfaces.blind`.
    name : str
        The class.
    """
    mine = table[table["class"] == name]
    end = at_the_end(mine)
    levels = over_seeds(end, by=("objective", "class"))
    means = {measure: rows.set_index("objective") for measure, rows in levels.groupby("measure")}
    trivial = blind[blind["class"] == name].set_index("objective")
    there = ", ".join(f"{_spread(means[m], m)} in {METRICS[m][0]}" for m in THROUGH)
    return {
        "answer": f"At the end of training the means of {plural(levels['objective'].nunique(), 'objective')} on {name} "
        f"differed by up to {there}.",
        "accuracy": _accuracy(means["accuracy"], trivial, name),
        "iou": _iou(means["iou"], end, name),
        "confidence": "Mean confidence "
        + " and ".join(
            f"on the {where} ranged from {_range(means[f'confidence_{where}'], f'confidence_{where}')}"
            for where in ("foreground", "background")
        )
        + _of_reference(means, reference)
        + ".",
        "options": _options(mine, means),
        "calibration": f"ECE ranged from {_range(means['ece'], 'ece')}; a constant prediction, the share of {name} "
        f"everywhere, has {number('ece', trivial.loc['base_rate', 'ece'])}, background everywhere "
        f"{number('ece', trivial.loc['all_background', 'ece'])}.",
        "training": _training(mine),
    }


def cut_sentences(read, name: str, images: str) -> dict[str, str]:
    """One class at two cuts and before and after the logistic fit, in words: ``cut`` and ``fit``.

    Parameters
    ----------
    read : DataFrame
        Of :func:`helpers.statistics.over_seeds`, with the measures iou_natural, iou_tuned, ece_raw and ece_fitted.
    name : str
        The class.
    images : str
        Which were judged, such as "4 test images".

    Where a measure of an objective is undefined (a natural cut that it has not), the text says so.
    """
    means = {m: rows.set_index("objective") for m, rows in read[read["class"] == name].groupby("measure")}

    def range_of(measure: str, digits: str) -> str:
        own = means.get(measure, read.iloc[:0].set_index("objective"))
        lacking = sorted(set(read.loc[read["class"] == name, "objective"]) - set(own["mean"].dropna().index))
        return _range(own, digits) + (f" (undefined for {', '.join(lacking)})" if lacking else "")

    cuts = [f"{range_of(f'iou_{cut}', 'iou')} at the {cut} cut" for cut in ("natural", "tuned")]
    fits = [range_of(f"ece_{what}", "ece") for what in ("raw", "fitted")]
    return {
        "cut": f"On the {images} mean IoU of {name} ranged from {cuts[0]}, and from {cuts[1]}.",
        "fit": f"On the {images} ECE of {name} ranged from {fits[0]}, and after a logistic fit on validation from "
        f"{fits[1]}.",
    }


def _spread(means, measure: str) -> str:
    return number(measure, means["mean"].max() - means["mean"].min())


def _range(means, measure: str) -> str:
    """ "0.123 (bce) to 0.456 (dice)"."""
    known = means["mean"].dropna()
    if known.empty:
        return "undefined"
    return " to ".join(f"{number(measure, known[o])} ({o})" for o in (known.idxmin(), known.idxmax()))


def _accuracy(means, trivial, name: str) -> str:
    empty, share = trivial.loc["all_background", "accuracy"], trivial.loc["all_background", "share"]
    known = means.dropna(subset=["mean"])
    bound = "low" if known["low"].notna().any() else "mean"
    above = int((known[bound] > empty).sum())
    what = "95 % intervals lay wholly" if bound == "low" else "means lay"
    return (
        f"{share:.2%} of the known pixels are {name}, so an empty mask has an accuracy of {number('accuracy', empty)}. "
        f"The objectives' mean accuracies ranged from {_range(means, 'accuracy')}; {above} of {len(known)} {what} "
        "above the empty mask's."
    )


def _iou(means, end, name: str) -> str:
    known = end["collapsed"].notna()
    gone = end[known & (end["collapsed"] == 1)].groupby("objective", sort=False).size()
    listed = f" ({', '.join(f'{count} of {objective}' for objective, count in gone.items())})" if len(gone) else ""
    diverged = int((~end["finite"].astype(bool)).sum())
    text = (
        f"IoU at the natural cut ranged from {_range(means, 'iou')}; {gone.sum()} of {plural(len(end), 'run')} had "
        f"collapsed{listed}: an area of {name} under a twentieth of the true one, or over twenty times it."
    )
    return text + (f" {plural(diverged, 'run')} had diverged." if diverged else "")


def _of_reference(means: Mapping, reference: str) -> str:
    both = [means[f"confidence_{where}"] for where in ("foreground", "background")]
    if reference not in both[0].index:
        return ""
    values = [number("confidence", m.loc[reference, "mean"]) for m in both]
    return f"; {reference} gave {values[0]} and {values[1]}"


def _options(table, means: Mapping) -> str:
    """For every loss that was trained with several values of one option: what that does to confidence and IoU."""
    texts = []
    said = table[["objective", "loss", "options"]].drop_duplicates()
    for loss, rows in said.groupby("loss", sort=False):
        parsed = {o: json.loads(text) for o, text in zip(rows["objective"], rows["options"], strict=True)}
        keys = {key for options in parsed.values() for key in options}
        varied = [k for k in sorted(keys) if len({json.dumps(options.get(k)) for options in parsed.values()}) > 1]
        numbers = all(isinstance(options.get(k), int | float) for options in parsed.values() for k in varied)
        if len(varied) != 1 or not numbers:
            continue
        order = sorted(parsed, key=lambda o: parsed[o][varied[0]])
        values = ", ".join(f"{parsed[o][varied[0]]:g}" for o in order)
        parts = [
            f"{METRICS[m][0]} was {', '.join(number(m, means[m].loc[o, 'mean']) for o in order)}"
            for m in ("confidence_foreground", "confidence_background", "iou", "ece")
        ]
        texts.append(f"With {loss}'s {varied[0]} at {values}, {'; '.join(parts)}.")
    return " ".join(texts) or "No option was varied."


def _training(table) -> str:
    first = first_above(over_seeds(table), "confidence_foreground")
    reached = first.dropna(subset=["step"]).sort_values("step", kind="stable")
    never = list(first.loc[first["step"].isna(), "objective"])
    start = table["step"].min()  # above it from the first checkpoint on, which is not to have learnt it
    parts = [
        f"{'already ' if step == start else ''}at step {step:.0f} for {', '.join(rows['objective'])}"
        for step, rows in reached.groupby("step")
    ]
    text = f"Mean confidence on the foreground first passed one half {'; '.join(parts)}" if parts else ""
    if never:
        text += f"{'; never' if parts else 'Mean confidence on the foreground never passed one half'} for "
        text += ", ".join(never)
    return text + "."
