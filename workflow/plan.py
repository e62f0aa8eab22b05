"""What a study still has to do, and how long that takes: python workflow/plan.py STUDY [CORES]

Run beside a study, it tells how far that is. Times are those of the executed notebooks that are there already, of the
same kind where there are any (data set, objective, steps), with all that a run does beside training. Runs of another
version of the training code are to do again, and published results of another are named as stale.
"""

import csv
import json
import statistics
import sys
from collections.abc import Iterable, Set
from pathlib import Path

from study import Run, Study, read_study

BUILD = Path("build")


def main(name: str, cores: int = 2) -> None:
    try:
        study = read_study(name, BUILD / name / "rates.csv")
    except ValueError as error:
        sys.exit(str(error))
    durations = {path.stem: seconds for path in sorted((BUILD / "runs").glob("*.ipynb")) if (seconds := took(path))}
    print("\n".join(lines(study, durations, cores, outdated(study, BUILD / "runs", durations))))
    print("\n".join(stale(study, Path("book/results"))))


def lines(study: Study, durations: dict[str, float], cores: int, old: Set[str] = frozenset()) -> Iterable[str]:
    """One line for each part, and the sum.

    Parameters
    ----------
    durations : dict
        Seconds of every finished run, by its id.
    cores : int
        Runs side by side.
    old : set, optional
        Finished runs that are to do again.
    """
    done = durations.keys() - old
    every = {run.id: run for part in study.parts for run in (*part.searches, *part.runs)}
    known = [(run, durations[id_]) for id_, run in every.items() if id_ in durations]
    for part in study.parts:
        for what, runs in (("searches", part.searches), ("runs", part.runs)):
            if asked := {run.id for run in runs}:
                yield f"{part.name}: {len(asked & done)} of {len(asked)} {what} are there"
    if not study.searched:
        yield "the runs are known when the learning rates are found"
    asked = [run.id for part in study.parts for run in part.runs]
    if len(asked) > len(set(asked)):
        yield f"{len(asked) - len(set(asked))} runs are in several parts, and run once"
    todo = [run for id_, run in every.items() if id_ not in done]
    again = f", {len(old)} of them again, as they are of another version of the code" if old else ""
    seconds = [expected(run, known) for run in todo]
    left = "how long that takes is known once the first of every kind is finished"
    if None not in seconds:
        left = f"about {sum(seconds) / cores / 60:.0f} min on {cores} cores, analyses and the book aside"
    yield f"{len(todo)} to do{again}; {left}" if todo else "nothing to do but analyses and the book"


def outdated(study: Study, runs: Path, finished: Iterable[str]) -> set[str]:
    """Those of a study's finished runs that another version of the training code made: Snakemake trains them again."""
    from helpers import own_loss

    every = {run.id: run.parameters for part in study.parts for run in (*part.searches, *part.runs)}
    there = every.keys() & set(finished)
    return {id_ for id_ in there if made_by(runs / id_) != own_loss.code(every[id_]["dataset"], every[id_]["loss"])}


def made_by(folder: Path) -> str | None:
    """The code that a run recorded; None where it has left no record."""
    path = folder / "parameters.json"
    return json.loads(path.read_text()).get("code") if path.is_file() else None


def stale(study: Study, results: Path) -> Iterable[str]:
    """One line for each part whose published rows are of another version of the training code than this one."""
    from helpers.notebook import code_hash

    for part in study.parts:
        path = results / study.name / part.name / "rows.csv"
        if path.is_file():
            with path.open(newline="") as file:
                versions = sorted({row["code_hash"] for row in csv.DictReader(file)})
            if versions != [this := code_hash(part.dataset)]:
                of = ", ".join(versions)
                yield f"stale: the published rows of {part.name} are of training code {of}; this is {this}"


def expected(run: Run, known: list[tuple[Run, float]]) -> float | None:
    """Median seconds of the finished runs of the same data, objective and steps; else of any, by their steps."""
    kind = ("dataset", "loss", "steps", "learning_rate")
    alike = [s for other, s in known if all(other.parameters.get(k) == run.parameters.get(k) for k in kind)]
    if alike:
        return statistics.median(alike)
    steps = run.parameters.get("steps")
    same = [s for other, s in known if other.parameters.get("steps") == steps]
    return statistics.median(same) if same else None


def took(path: Path) -> float | None:
    """Seconds that an executed notebook took; None where it does not say."""
    try:
        return json.loads(path.read_text())["metadata"]["papermill"]["duration"]
    except (KeyError, TypeError, ValueError):
        return None


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
