"""What a study still has to do, and how long that takes: python workflow/plan.py STUDY [CORES]

Run beside a study, it tells how far that is. Times are those of the executed notebooks that are there already, of the
same kind where there are any (data set, objective, steps), with all that a run does beside training.
"""

import json
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path

from study import Run, Study, read_study

BUILD = Path("build")


def main(name: str, cores: int = 2) -> None:
    try:
        study = read_study(name, BUILD / name / "rates.csv")
    except ValueError as error:
        sys.exit(str(error))
    durations = {path.stem: seconds for path in sorted((BUILD / "runs").glob("*.ipynb")) if (seconds := took(path))}
    print("\n".join(lines(study, durations, cores)))


def lines(study: Study, durations: dict[str, float], cores: int) -> Iterable[str]:
    """One line for each part, and the sum.

    Parameters
    ----------
    durations : dict
        Seconds of every finished run, by its id.
    cores : int
        Runs side by side.
    """
    known = [
        (run, durations[run.id]) for part in study.parts for run in (*part.runs, *part.searches) if run.id in durations
    ]
    every: dict[str, float | None] = {}
    for part in study.parts:
        for what, runs in (("searches", part.searches), ("runs", part.runs)):
            unique = {run.id: run for run in runs}
            todo = [run for id_, run in unique.items() if id_ not in durations]
            every |= {run.id: expected(run, known) for run in todo if run.id not in every}
            if unique:
                there = len(unique) - len(todo)
                yield f"{part.name}: {there} of {len(unique)} {what} are there, {span(todo, every, cores)}"
    if not study.searched:
        yield "the runs are known when the learning rates are found"
    shared = [run.id for part in study.parts for run in part.runs]
    if len(shared) > len(set(shared)):
        yield f"{len(shared) - len(set(shared))} runs are shared by parts and run once"
    yield f"in all {len(every)} to do, {total(every.values(), cores)} on {cores} cores, analyses and book aside"


def expected(run: Run, known: list[tuple[Run, float]]) -> float | None:
    """Median seconds of the finished runs of the same data, objective and steps; else of any, by their steps."""
    kind = ("dataset", "loss", "steps", "learning_rate")
    alike = [s for other, s in known if all(other.parameters.get(k) == run.parameters.get(k) for k in kind)]
    if alike:
        return statistics.median(alike)
    steps = run.parameters.get("steps")
    same = [s for other, s in known if other.parameters.get("steps") == steps]
    return statistics.median(same) if same else None


def span(todo: list[Run], every: dict[str, float | None], cores: int) -> str:
    return total([every[run.id] for run in todo], cores) if todo else "none to do"


def total(seconds: Iterable[float | None], cores: int) -> str:
    seconds = list(seconds)
    if not seconds:
        return "nothing left"
    if None in seconds:
        return f"{len(seconds)} to do; how long is known once the first of their kind is finished"
    return f"about {sum(seconds) / cores / 60:.0f} min left"


def took(path: Path) -> float | None:
    """Seconds that an executed notebook took; None where it does not say."""
    try:
        return json.loads(path.read_text())["metadata"]["papermill"]["duration"]
    except (KeyError, ValueError):
        return None


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
