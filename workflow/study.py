"""A study's file, read and checked before anything runs."""

from pathlib import Path

import yaml

FOLDER = Path("studies")
KEYS = ("study", "announcement", "objectives", "seeds", "parameters")
# Set by the workflow itself, run by run.
OWN = ("study", "loss", "seed", "test", "output")


def read_study(name: str) -> dict:
    """The study of that name, from ``studies/NAME.yml``.

    Raises
    ------
    ValueError
        No such study; a key that is missing or unknown; an objective, data set, class or parameter that does not
        exist. The message names the file and what it may say.
    """
    names = sorted(path.stem for path in FOLDER.glob("*.yml"))
    if name not in names:
        raise ValueError(f"study is {name!r}; expected one of {', '.join(names)} (the files in {FOLDER}/)")
    path = FOLDER / f"{name}.yml"
    study = yaml.safe_load(path.read_text())
    if not isinstance(study, dict):
        raise ValueError(f"{path} holds {study!r}; see {FOLDER}/quick.yml for what a study says")
    for key in KEYS:
        if key not in study:
            raise ValueError(f"{path} has no {key!r}; see {FOLDER}/quick.yml for what a study says")
    for key in study:
        if key not in KEYS:
            raise ValueError(f"{path} has the unknown key {key!r}; a study says {', '.join(KEYS)}")
    if study["study"] != name:
        raise ValueError(f"study of {path} is {study['study']!r}; expected the file's own name, {name!r}")
    # A list of objectives, or one with nothing behind it, is short for no parameters of its own.
    if isinstance(study["objectives"], list):
        study["objectives"] = dict.fromkeys(study["objectives"])
    study["objectives"] = {objective: own or {} for objective, own in (study["objectives"] or {}).items()}
    _check(study, path)
    return study


def _check(study: dict, path: Path) -> None:
    from papermill.inspection import inspect_notebook

    from helpers import datasets, objectives

    seeds = study["seeds"]
    if not (seeds and all(type(s) is int for s in seeds) and len(set(seeds)) == len(seeds)):
        raise ValueError(f"seeds of {path}: expected a list of different whole numbers, not {seeds!r}")
    takes = {n: p["inferred_type_name"] for n, p in inspect_notebook("notebooks/train.ipynb").items() if n not in OWN}
    if not study["objectives"]:
        raise ValueError(f"objectives of {path}: expected at least one of {', '.join(objectives.names())}")
    for name, own in study["objectives"].items():
        if name not in objectives.names():
            raise ValueError(f"objective {name!r} of {path}: expected one of {', '.join(objectives.names())}")
        _check_parameters(own, takes, path)
    _check_parameters(study["parameters"], takes, path)
    data = study["parameters"].get("dataset", "phantom")
    try:
        classes = datasets.classes(data)  # of a folder too: its files are looked at, and no pixel is read
    except ValueError as error:
        raise ValueError(f"dataset of {path}: {error}") from error
    for name in study["parameters"].get("classes", "mitochondria").split(","):
        if name.strip() not in classes:
            raise ValueError(f"class {name.strip()!r} of {path}: {data} has {', '.join(classes) or 'no labels'}")


def _check_parameters(parameters: dict, takes: dict[str, str], path: Path) -> None:
    for name, value in parameters.items():
        if name not in takes:
            raise ValueError(f"parameter {name!r} of {path}: notebooks/train.ipynb takes {', '.join(takes)}")
        kind = type(value).__name__
        if kind != takes[name] and (kind, takes[name]) != ("int", "float"):
            hint = " (YAML reads 1e-3 as text: write 1.0e-3)" if takes[name] == "float" else ""
            raise ValueError(f"{name} of {path} is {value!r}, of type {kind}; expected {takes[name]}{hint}")
