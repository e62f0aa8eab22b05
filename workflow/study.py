"""A study's file, read and checked before anything runs, and the runs that it asks for.

A study has parts. A part compares objectives with one another, on one data set and over the same seeds: it becomes one
table and one analysis. Its runs are named by what decides them, so that studies share those that are the same.
"""

import csv
import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from checks import (
    SEARCH,
    Loader,
    Wrong,
    analysis_of,
    check_mapping,
    check_parameters,
    check_run,
    check_search,
    check_seeds,
    defaults,
    is_name,
    names_in,
    notebooks_of,
    objectives_of,
    takes,
)

FOLDER = Path("studies")
KEYS = {"study", "announcement", "parts"}
# Of a part; the first three it must have. A study of one part may say them itself, without ``parts``.
PART_KEYS = ("objectives", "seeds", "parameters", "vary", "search", "reference", "primary", "margin", "classes")
PART_KEYS += ("notebooks", "show")
MAIN = "main"  # the part of a study that has but one
RATE_COLUMNS = ("part", "objective", "learning_rate", "at_edge", "scores", "collapsed", "diverged", "seconds", "run")


@dataclass(frozen=True)
class Run:
    """One execution of the training notebook.

    Attributes
    ----------
    id : str
        Name of its folder: what one reads first, and a hash of all parameters.
    objective : str
        The study's name for what is compared.
    parameters : dict
        Of the notebook, but for ``output`` and those at their default.
    """

    id: str
    objective: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """What one analysis compares.

    Attributes
    ----------
    name : str
    runs : tuple of Run
    searches : tuple of Run
        That find the learning rate of each objective first, some of them the same run; empty where it is given.
    dataset, classes : str
    analysis : dict
        Parameters of the analysis notebook that differ from its defaults.
    notebooks : dict
        Further notebooks to execute, with parameters of theirs.
    shown : tuple of Run
        Runs that readers see as pages.
    """

    name: str
    runs: tuple[Run, ...]
    searches: tuple[Run, ...]
    dataset: str
    classes: str
    analysis: Mapping[str, Any] = field(default_factory=dict)
    notebooks: Mapping[str, Mapping] = field(default_factory=dict)
    shown: tuple[Run, ...] = ()


@dataclass(frozen=True)
class Study:
    """A checked study; ``parts`` without runs where learning rates are still to be searched for (``searched``)."""

    name: str
    announcement: str
    parts: tuple[Part, ...]
    searched: bool


def read_study(name: str, rates: Path | None = None) -> Study:
    """The study of that name, from ``studies/NAME.yml``.

    Parameters
    ----------
    name : str
    rates : path, optional
        The table of learning rates that its searches found (``workflow/rates.py``). Where it does not exist, parts
        with searches have no runs yet.

    Raises
    ------
    ValueError
        No such study; a key that is missing or unknown; an objective, data set, class, parameter or combination that
        does not exist. The message names the file, its line where it has one, and what it may say.
    """
    names = sorted(path.stem for path in FOLDER.glob("*.yml"))
    if name not in names:
        raise ValueError(f"study is {name!r}; expected one of {', '.join(names)} (the files in {FOLDER}/)")
    if not is_name(name):
        raise ValueError(f"study is {name!r}; expected a file whose name has letters, digits and _ alone")
    path = FOLDER / f"{name}.yml"
    text = path.read_text()
    try:
        said = yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from error
    try:
        return _study(name, said, _read_rates(rates))
    except Wrong as wrong:
        line = wrong.line(text)
        where = f"{path}, line {line}" if line else str(path)
        raise ValueError(f"{where}: {wrong}") from None


def _study(name: str, said: Any, rates: Mapping[tuple[str, str], float] | None) -> Study:
    hint = f"see {FOLDER}/quick.yml for what a study says"
    if not isinstance(said, dict):
        raise Wrong(f"holds {said!r}; {hint}")
    if "parts" not in said:
        own = {key: said.pop(key) for key in PART_KEYS if key in said}
        said = said | ({"parts": {MAIN: own}} if own else {})
    for key in sorted(KEYS):
        if key not in said:
            raise Wrong(f"there is no {key!r}; {hint}")
    if unknown := [key for key in said if key not in KEYS]:
        raise Wrong(f"the unknown key {unknown[0]!r}; a study says {', '.join(sorted(KEYS))}", unknown[0])
    if said["study"] != name:
        raise Wrong(f"study is {said['study']!r}; expected the file's own name, {name!r}", "study")
    if not (isinstance(said["parts"], dict) and said["parts"]):
        raise Wrong(f"parts is {said['parts']!r}; expected names, each with what a part says; {hint}", "parts")
    parts = []
    for part, own in said["parts"].items():
        if not is_name(part):
            raise Wrong(f"the part {part!r}; expected a name of letters, digits and _", part)
        parts.append(_part(part, own, rates, hint, said["parts"]))
    searched = rates is not None or not any(part.searches for part in parts)
    return Study(name, said["announcement"] or "", tuple(parts), searched)


def _part(name: str, said: Any, rates: Mapping | None, hint: str, parts: Iterable[str]) -> Part:
    if not isinstance(said, dict):
        raise Wrong(f"part {name} holds {said!r}; {hint}", name)
    for key in PART_KEYS[:3]:
        if key not in said:
            raise Wrong(f"part {name} has no {key!r}; {hint}", name)
    if unknown := [key for key in said if key not in PART_KEYS]:
        raise Wrong(f"part {name} has the unknown key {unknown[0]!r}; it may say {', '.join(PART_KEYS)}", unknown[0])
    seeds, shared, vary = said["seeds"], said["parameters"], said.get("vary", {})
    for what, mapping in {"parameters": shared, "vary": vary}.items():
        check_mapping(what, mapping, name)
    objectives = objectives_of(said["objectives"], name)
    check_seeds(seeds)
    if "search" in said:
        check_search(said["search"], name)
    for parameter, values in vary.items():
        if not (isinstance(values, list) and values and len(set(map(str, values))) == len(values)):
            raise Wrong(f"vary {parameter} is {values!r}; expected a list of different values", parameter)
    grid = [dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values())]
    runs, searches = [], []
    for objective, own in objectives.items():
        settings = {"loss": objective} | shared | own
        for chosen in grid:
            check_parameters(settings | chosen, name)
            check_run(settings | chosen)
        if "search" in said:
            search = settings | grid[0] | said["search"] | SEARCH
            check_run(search)
            searches.append(_run(objective, search))
            if rates is None:
                continue
            if (name, objective) not in rates:
                raise Wrong(f"no learning rate was found for {objective} of part {name}: search again", objective)
            settings["learning_rate"] = rates[name, objective]
        made = ({"seed": seed, "test": True} | chosen for chosen in grid for seed in seeds)
        runs += [_run(objective, settings | each) for each in made]
    twice = {run.id for run in runs if sum(run.id == other.id for other in runs) > 1}
    if twice:
        alike = [run.objective for run in runs if run.id in twice]
        raise Wrong(f"part {name} has the same run twice, as {' and '.join(dict.fromkeys(alike))}", alike[-1])
    shown = said.get("show", [])
    if not isinstance(shown, list):
        raise Wrong(f"show is {shown!r}; expected a list of the part's objectives", "show")
    for objective in shown:
        if objective not in objectives:
            raise Wrong(f"show names {objective!r}; part {name} compares {', '.join(objectives)}", objective)
    first = {objective: next((r for r in runs if r.objective == objective), None) for objective in shown}
    full = defaults() | shared
    return Part(
        name=name,
        runs=tuple(runs),
        searches=tuple(searches),
        dataset=full["dataset"],
        classes=full["classes"],
        analysis=analysis_of(said, objectives, name),
        notebooks=notebooks_of(said.get("notebooks", {}), name, parts),
        shown=tuple(run for run in first.values() if run),
    )


def _run(objective: str, parameters: Mapping[str, Any]) -> Run:
    full = defaults() | dict(parameters)
    full = {k: float(v) if isinstance(defaults()[k], float) else v for k, v in full.items() if k != "output"}
    digest = hashlib.sha256(json.dumps(full, sort_keys=True).encode()).hexdigest()[:10]
    data = Path(full["dataset"]).name
    given = {k: v for k, v in full.items() if v != defaults()[k] or k in ("loss", "dataset", "seed")}
    return Run(f"{data}-{full['loss'].replace(':', '.')}-seed{full['seed']}-{digest}", objective, given)


def _read_rates(path: Path | None) -> dict[tuple[str, str], float] | None:
    if path is None or not path.exists():
        return None
    with path.open(newline="") as file:
        return {(row["part"], row["objective"]): float(row["learning_rate"]) for row in csv.DictReader(file)}


def parts_read(part: Part, notebook: str) -> list[str]:
    """The parts whose rows a notebook of a part reads: those that it is told, else the part itself."""
    return names_in(part.notebooks[notebook].get("parts", part.name))


def arguments_of(notebook: str, study: Study, part: Part, build: Path, own: Mapping[str, Any]) -> dict[str, Any]:
    """What the workflow tells a notebook of a part: of the usual parameters those that it takes, and its own."""
    folder = build / study.name / part.name
    first = part.runs[0]
    full = defaults() | dict(first.parameters)
    usual = {
        "study": study.name,
        "part": part.name,
        "parts": part.name,
        "results": str(build / study.name),
        "runs": str(build / "runs"),
        "index": str(folder / "runs.csv"),
        "run": str(build / "runs" / first.id),
        "output": str(folder / notebook),
        "class_name": names_in(full["classes"])[0],
        **{name: full[name] for name in ("dataset", "reduce", "split", "patch", "scale_nm")},
    }
    return {name: value for name, value in usual.items() if name in takes(notebook)} | dict(own)
