"""The learning rate of each objective, from a few short trainings judged on validation.

The learning rate is a nuisance, not a factor: every objective gets the same search, with the same rates, steps and
seed, before a study.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from helpers.training import Diverged

RATES = (1e-3, 3e-3, 1e-2)
STEPS = 300


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes
    ----------
    best : float
        The rate to use.
    table : list of dict
        One row per rate: learning_rate, steps, seed, score (NaN where the training diverged), collapsed, diverged
        (the message, or empty), seconds.
    tied : tuple of float
        Rates whose score is as good as the best one's, the best one among them where there are several; else empty.
    at_edge : bool
        The best rate is the smallest or the largest tried: a wider search may find a better one.
    collapsed : bool
        Every training that did not diverge had collapsed: the best is only the best of those.
    """

    best: float
    table: list[dict[str, Any]]
    tied: tuple[float, ...]
    at_edge: bool
    collapsed: bool

    def __str__(self) -> str:
        lines = [f"learning rate {self.best:g}, of {len(self.table)} tried for {self.table[0]['steps']} steps"]
        for row in self.table:
            note = row["diverged"] or ("collapsed" if row["collapsed"] else "")
            lines.append(f"  {row['learning_rate']:<8g} score {row['score']:.4f}  {note}".rstrip())
        if self.tied:
            lines.append(f"  tied: {', '.join(f'{rate:g}' for rate in self.tied)}; the smallest is taken")
        if self.collapsed:
            lines.append("  every training collapsed: this rate is no answer")
        elif self.at_edge:
            lines.append("  the best is the last on its side: try rates beyond it")
        return "\n".join(lines)


def learning_rate(
    run: Callable[..., Mapping[str, Any] | float],
    rates: Sequence[float] = RATES,
    *,
    steps: int = STEPS,
    seed: int = 0,
    tolerance: float = 0.0,
    log: Callable[[str], None] | None = None,
) -> Search:
    """Train once with each rate, and take the one with the highest validation score.

    Parameters
    ----------
    run : callable
        ``run(learning_rate=..., steps=..., seed=...)`` makes a network, trains it and returns its score on validation
        (larger is better), or a mapping with ``score`` and ``collapsed`` (as the last entry of a training's history).
    rates : sequence of float
        Positive, each once.
    steps, seed : int
        The same for every rate.
    tolerance : float
        Scores that are less than this below the best one count as tied; the smallest tied rate is taken, the safer one
        for a longer training.
    log : callable, optional
        Called with a line after each training.

    Returns
    -------
    Search. A training that diverged has no score; one that collapsed is taken only where nothing else is left.

    Raises
    ------
    ValueError
        Rates that are no positive numbers, or repeated; every training diverged; a score that is infinite, or NaN
        from a training that did not collapse.
    """
    rates = tuple(rates)
    if not rates or not all(0 < rate < math.inf for rate in rates) or len(set(rates)) < len(rates):
        raise ValueError(f"rates are {rates!r}; expected positive numbers, each once, such as {RATES}")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps is {steps!r}; expected a whole number of at least 1")
    if not 0 <= tolerance < math.inf:
        raise ValueError(f"tolerance is {tolerance!r}; expected a number >= 0 in the score's own unit")
    table = [_try(run, rate, steps, seed, log) for rate in sorted(rates)]
    finished = [row for row in table if not row["diverged"]]
    if not finished:
        raise ValueError(f"every training diverged, with rates {sorted(rates)}; try smaller ones")
    candidates = [row for row in finished if not row["collapsed"]]
    collapsed = not candidates
    candidates = candidates or finished
    top = max((row["score"] for row in candidates if not math.isnan(row["score"])), default=math.nan)
    tied = [row["learning_rate"] for row in candidates if row["score"] >= top - tolerance or math.isnan(top)]
    edges = (min(rates), max(rates)) if len(rates) > 1 else ()
    return Search(tied[0], table, tuple(tied) if len(tied) > 1 else (), tied[0] in edges, collapsed)


def _try(run: Callable, rate: float, steps: int, seed: int, log: Callable | None) -> dict[str, Any]:
    row = {"learning_rate": rate, "steps": steps, "seed": seed, "score": math.nan, "collapsed": False, "diverged": ""}
    start = time.perf_counter()
    try:
        found = run(learning_rate=rate, steps=steps, seed=seed)
    except Diverged as error:
        row["diverged"] = str(error)
    else:
        found = found if isinstance(found, Mapping) else {"score": found}
        row["score"], row["collapsed"] = float(found["score"]), bool(found.get("collapsed", False))
        if math.isinf(row["score"]) or (math.isnan(row["score"]) and not row["collapsed"]):
            raise ValueError(f"the score at learning rate {rate:g} is {row['score']}; expected a finite number")
    row["seconds"] = time.perf_counter() - start
    if log is not None:
        log(f"learning rate {rate:g}: score {row['score']:.4f}" + (" (collapsed)" if row["collapsed"] else ""))
    return row
