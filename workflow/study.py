"""A study's file, read and checked before anything runs, and the runs that it asks for.

A study has parts. A part compares objectives with one another, on one data set and over the same seeds: it becomes one
table and one analysis. Its runs are named by what decides them, so that studies share those that are the same.
"""

import ast
import csv
import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path("studies")
TRAIN = "notebooks/train.ipynb"
KEYS = {"study", "announcement", "parts"}
# Of a part; the first three it must have. A study of one part may say them itself, without ``parts``.
PART_KEYS = ("objectives", "seeds", "parameters", "vary", "search", "reference", "primary", "margin", "classes")
PART_KEYS += ("notebooks", "show")
MAIN = "main"  # the part of a study that has but one
# Set by the workflow itself, run by run.
OWN = ("seed", "test", "output")
SEARCH = {"learning_rate": 0.0, "steps": 10, "seed": 0, "test": False}  # three trainings of 300 steps, and next to none
RATE_COLUMNS = ("part", "objective", "learning_rate", "at_edge", "scores", "seconds", "run")


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
    path = FOLDER / f"{name}.yml"
    text = path.read_text()
    try:
        said = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from error
    try:
        return _study(name, said, _read_rates(rates))
    except _Wrong as wrong:
        line = next((i for i, row in enumerate(text.splitlines(), 1) if _names(row, wrong.word)), None)
        where = f"{path}, line {line}" if line else str(path)
        raise ValueError(f"{where}: {wrong}") from None


class _Wrong(Exception):
    """A fault in a study's file, and the word by which its line is found."""

    def __init__(self, message: str, word: Any = None):
        super().__init__(message)
        self.word = word


def _names(row: str, word: Any) -> bool:
    row = row.split("#")[0]
    return word is not None and any(str(word) == piece.strip("'\"") for piece in _pieces(row))


def _pieces(row: str) -> list[str]:
    for sign in "[]{},":
        row = row.replace(sign, " ")
    return [piece.removesuffix(":") for piece in row.split()]


def _study(name: str, said: Any, rates: Mapping[tuple[str, str], float] | None) -> Study:
    hint = f"see {FOLDER}/quick.yml for what a study says"
    if not isinstance(said, dict):
        raise _Wrong(f"holds {said!r}; {hint}")
    if "parts" not in said:
        own = {key: said.pop(key) for key in PART_KEYS if key in said}
        said = said | ({"parts": {MAIN: own}} if own else {})
    for key in sorted(KEYS):
        if key not in said:
            raise _Wrong(f"there is no {key!r}; {hint}")
    if unknown := [key for key in said if key not in KEYS]:
        raise _Wrong(f"the unknown key {unknown[0]!r}; a study says {', '.join(sorted(KEYS))}", unknown[0])
    if said["study"] != name:
        raise _Wrong(f"study is {said['study']!r}; expected the file's own name, {name!r}", "study")
    if not (isinstance(said["parts"], dict) and said["parts"]):
        raise _Wrong(f"parts is {said['parts']!r}; expected names, each with what a part says; {hint}", "parts")
    parts = []
    for part, own in said["parts"].items():
        if not (isinstance(part, str) and part.replace("_", "").isalnum()):
            raise _Wrong(f"the part {part!r}; expected a name of letters, digits and _", part)
        parts.append(_part(part, own, rates, hint))
    searched = rates is not None or not any(part.searches for part in parts)
    return Study(name, said["announcement"] or "", tuple(parts), searched)


def _part(name: str, said: Any, rates: Mapping | None, hint: str) -> Part:
    if not isinstance(said, dict):
        raise _Wrong(f"part {name} holds {said!r}; {hint}", name)
    for key in PART_KEYS[:3]:
        if key not in said:
            raise _Wrong(f"part {name} has no {key!r}; {hint}", name)
    if unknown := [key for key in said if key not in PART_KEYS]:
        raise _Wrong(f"part {name} has the unknown key {unknown[0]!r}; it may say {', '.join(PART_KEYS)}", unknown[0])
    objectives, seeds, shared = said["objectives"], said["seeds"], said["parameters"] or {}
    # A list of objectives, or one with nothing behind it, is short for no parameters of its own.
    if isinstance(objectives, list):
        objectives = dict.fromkeys(objectives)
    objectives = {objective: own or {} for objective, own in (objectives or {}).items()}
    _check_seeds(seeds)
    vary = said.get("vary") or {}
    for parameter, values in vary.items():
        if not (isinstance(values, list) and values and len(set(map(str, values))) == len(values)):
            raise _Wrong(f"vary {parameter} is {values!r}; expected a list of different values", parameter)
    grid = [dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values())]
    search = said.get("search")
    runs, searches = [], []
    if not objectives:
        raise _Wrong(f"part {name} has no objective; expected at least one of {', '.join(_registry())}", "objectives")
    for objective, own in objectives.items():
        settings = {"loss": objective} | shared | own
        for chosen in grid:
            _check_parameters(settings | chosen, name)
        _check_data(settings | grid[0])
        if search is not None:
            _check_parameters(search, name)
            searches.append(_run(objective, settings | grid[0] | search | SEARCH))
            if rates is None:
                continue
            if (name, objective) not in rates:
                raise _Wrong(f"no learning rate was found for {objective} of part {name}: search again", objective)
            settings["learning_rate"] = rates[name, objective]
        made = ({"seed": seed, "test": True} | chosen for chosen in grid for seed in seeds)
        runs += [_run(objective, settings | each) for each in made]
    twice = {run.id for run in runs if sum(run.id == other.id for other in runs) > 1}
    if twice:
        alike = [run.objective for run in runs if run.id in twice]
        raise _Wrong(f"part {name} has the same run twice, as {' and '.join(dict.fromkeys(alike))}", alike[-1])
    shown = said.get("show", [])
    shown = list(objectives)[:1] if shown is None else shown
    for objective in shown:
        if objective not in objectives:
            raise _Wrong(f"show names {objective!r}; part {name} compares {', '.join(objectives)}", objective)
    first = {objective: next((r for r in runs if r.objective == objective), None) for objective in shown}
    full = _defaults() | shared
    return Part(
        name=name,
        runs=tuple(runs),
        searches=tuple(searches),
        dataset=full["dataset"],
        classes=full["classes"],
        analysis=_analysis(name, said, objectives),
        notebooks=_notebooks(name, said.get("notebooks")),
        shown=tuple(run for run in first.values() if run),
    )


def _run(objective: str, parameters: Mapping[str, Any]) -> Run:
    full = _defaults() | dict(parameters)
    full = {k: float(v) if isinstance(_defaults()[k], float) else v for k, v in full.items() if k != "output"}
    digest = hashlib.sha256(json.dumps(full, sort_keys=True).encode()).hexdigest()[:10]
    data = Path(full["dataset"]).name
    given = {k: v for k, v in full.items() if v != _defaults()[k] or k in ("loss", "dataset", "seed")}
    return Run(f"{data}-{full['loss'].replace(':', '.')}-seed{full['seed']}-{digest}", objective, given)


def _analysis(name: str, said: Mapping, objectives: Mapping) -> dict[str, Any]:
    analysis = {key: said[key] for key in ("reference", "primary", "margin", "classes") if key in said}
    if "reference" in analysis and analysis["reference"] not in objectives:
        reference = analysis["reference"]
        raise _Wrong(f"reference is {reference!r}; part {name} compares {', '.join(objectives)}", reference)
    if "primary" in analysis:
        from helpers import statistics

        try:
            statistics.split_metric(analysis["primary"])
        except ValueError as error:
            raise _Wrong(f"primary: {error}", analysis["primary"]) from None
    return analysis


def _notebooks(name: str, said: Any) -> dict[str, dict]:
    wanted = dict.fromkeys(said) if isinstance(said, list) else dict(said or {})
    for notebook, own in wanted.items():
        path = Path("notebooks", f"{notebook}.ipynb")
        if not path.is_file():
            there = ", ".join(sorted(p.stem for p in path.parent.glob("*.ipynb")))
            raise _Wrong(f"part {name} wants the notebook {notebook!r}; there are {there}", notebook)
        wanted[notebook] = own or {}
        for key in wanted[notebook]:
            if key not in takes(notebook):
                listed = ", ".join(takes(notebook))
                raise _Wrong(f"parameter {key!r} of notebook {notebook}: it takes {listed}", key)
    return wanted


def _check_seeds(seeds: Any) -> None:
    if not (isinstance(seeds, list) and seeds and all(type(s) is int for s in seeds) and len(set(seeds)) == len(seeds)):
        raise _Wrong(f"seeds: expected a list of different whole numbers, not {seeds!r}", "seeds")


def _check_parameters(parameters: Mapping, part: str) -> None:
    from helpers import objectives

    types = takes("train")
    for name, value in parameters.items():
        if name in OWN or name not in types:
            listed = ", ".join(n for n in types if n not in OWN)
            raise _Wrong(f"parameter {name!r} of part {part}: {TRAIN} takes {listed}", name)
        kind = type(value).__name__
        if kind != types[name] and (kind, types[name]) != ("int", "float"):
            hint = " (YAML reads 1e-3 as text: write 1.0e-3)" if types[name] == "float" else ""
            raise _Wrong(f"{name} is {value!r}, of type {kind}; expected {types[name]}{hint}", name)
    loss = parameters.get("loss")
    if loss is not None and ":" not in loss and loss not in _registry():
        raise _Wrong(f"objective {loss!r} of part {part}: expected one of {', '.join(_registry())}", loss)
    offered = {k: v for k, v in parameters.items() if k in objectives.OPTIONS}
    if loss in _registry():
        try:
            objectives.choose_options(loss, offered)
        except ValueError as error:
            raise _Wrong(str(error), loss) from None


def _check_data(parameters: Mapping) -> None:
    from helpers import datasets

    full = _defaults() | dict(parameters)
    try:
        classes = datasets.classes(full["dataset"])  # of a folder too: its files are looked at, and no pixel is read
    except ValueError as error:
        raise _Wrong(f"dataset: {error}", full["dataset"]) from None
    for name in full["classes"].split(","):
        if name.strip() not in classes:
            listed = ", ".join(classes) or "no labels"
            raise _Wrong(f"class {name.strip()!r}: {full['dataset']} has {listed}", name.strip())


def _registry() -> list[str]:
    from helpers import objectives

    return objectives.names()


@cache
def _declared(notebook: str) -> dict[str, tuple[str, Any]]:
    """Parameter -> type and default, of the notebook's parameters cell."""
    cells = json.loads(Path("notebooks", f"{notebook}.ipynb").read_text())["cells"]
    cell = next(c for c in cells if "parameters" in c["metadata"].get("tags", ()))
    nodes = ast.parse("".join(cell["source"])).body
    return {n.target.id: (ast.unparse(n.annotation), ast.literal_eval(n.value)) for n in nodes}


def takes(notebook: str) -> dict[str, str]:
    """Parameter -> type, of a notebook."""
    return {name: kind for name, (kind, _) in _declared(notebook).items()}


def _defaults() -> dict[str, Any]:
    return {name: default for name, (_, default) in _declared("train").items()}


def _read_rates(path: Path | None) -> dict[tuple[str, str], float] | None:
    if path is None or not path.exists():
        return None
    with path.open(newline="") as file:
        return {(row["part"], row["objective"]): float(row["learning_rate"]) for row in csv.DictReader(file)}


def arguments_of(notebook: str, study: Study, part: Part, build: Path, own: Mapping[str, Any]) -> dict[str, Any]:
    """What the workflow tells a notebook of a part: of the usual parameters those that it takes, and its own."""
    folder = build / study.name / part.name
    first = part.runs[0]
    full = _defaults() | dict(first.parameters)
    usual = {
        "study": study.name,
        "part": part.name,
        "runs": str(build / "runs"),
        "index": str(folder / "runs.csv"),
        "run": str(build / "runs" / first.id),
        "output": str(folder / notebook),
        "class_name": full["classes"].split(",")[0].strip(),
        **{name: full[name] for name in ("dataset", "reduce", "split", "patch", "scale_nm")},
    }
    return {name: value for name, value in usual.items() if name in takes(notebook)} | dict(own)
