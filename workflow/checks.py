"""What a study's file may say, checked before anything runs; a fault knows the word by which its line is found."""

import ast
import json
import math
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

TRAIN = "notebooks/train.ipynb"
# Set by the workflow itself, run by run.
OWN = ("seed", "test", "output")
# What the search for a learning rate is run with: three trainings of 300 steps, and next to none after them.
SEARCH = {"learning_rate": 0.0, "steps": 10, "seed": 0, "test": False}


class Wrong(Exception):
    """A fault in a study's file.

    Parameters
    ----------
    message : str
    word : optional
        What stands in the line that is at fault.
    """

    def __init__(self, message: str, word: Any = None):
        super().__init__(message)
        self.word = word

    def line(self, text: str) -> int | None:
        """Number of the first line of the file that holds the word."""
        for number, row in enumerate(text.splitlines(), 1):
            pieces = re.sub(r"[\[\]{},]", " ", row.split("#")[0]).split()
            if self.word is not None and str(self.word) in [p.removesuffix(":").strip("'\"") for p in pieces]:
                return number
        return None


class Loader(yaml.SafeLoader):
    """YAML in which no key stands twice: of two, the first would be forgotten without a word."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


@cache
def declared(notebook: str) -> dict[str, tuple[str, Any]]:
    """Parameter -> type and default, of a notebook's parameters cell."""
    cells = json.loads(Path("notebooks", f"{notebook}.ipynb").read_text())["cells"]
    cell = next(c for c in cells if "parameters" in c["metadata"].get("tags", ()))
    nodes = ast.parse("".join(cell["source"])).body
    return {n.target.id: (ast.unparse(n.annotation), ast.literal_eval(n.value)) for n in nodes}


def takes(notebook: str) -> dict[str, str]:
    """Parameter -> type, of a notebook."""
    return {name: kind for name, (kind, _) in declared(notebook).items()}


def defaults() -> dict[str, Any]:
    """Parameter -> default, of the training notebook."""
    return {name: default for name, (_, default) in declared("train").items()}


def names_in(text: Any) -> list[str]:
    """What a parameter names, with commas between."""
    return [name.strip() for name in str(text).split(",")]


def is_name(text: Any) -> bool:
    """Names become parts of file names and of tables."""
    return isinstance(text, str) and bool(re.fullmatch(r"[A-Za-z0-9_]+", text))


def check_mapping(what: str, said: Any, part: str) -> None:
    if not isinstance(said, dict):
        raise Wrong(f"{what} of part {part} is {said!r}; expected names, each with a value, or {{}}", what)


def objectives_of(said: Any, part: str) -> dict[str, dict]:
    """Name -> what it sets for itself. A list, or a name with nothing behind it, is short for nothing."""
    if isinstance(said, list) and said:
        said = dict.fromkeys(map(str, said))
    if not (isinstance(said, dict) and said):
        listed = ", ".join(registry())
        raise Wrong(f"objectives of part {part} is {said!r}; expected names, of {listed} or with a loss", "objectives")
    for objective, own in said.items():
        if not is_name(objective):
            raise Wrong(f"the objective {objective!r}; expected a name of letters, digits and _", objective)
        check_mapping(objective, own or {}, part)
        if other := [key for key in own or {} if key in takes("train") and key not in own_keys()]:
            raise Wrong(
                f"{objective} sets {other[0]!r} for itself; objectives of a part may differ in "
                f"{', '.join(own_keys())}; set the rest for the whole part",
                other[0],
            )
    return {objective: own or {} for objective, own in said.items()}


def own_keys() -> tuple[str, ...]:
    """Parameters that objectives of one part may differ in: loss, its options, learning rate, length and labels."""
    from helpers import objectives

    return ("loss", "learning_rate", "steps", "annotated", "share", "target", *objectives.OPTIONS)


def registry() -> list[str]:
    from helpers import objectives

    return objectives.names()


def check_seeds(seeds: Any) -> None:
    whole = isinstance(seeds, list) and seeds and all(type(s) is int and s >= 0 for s in seeds)
    if not (whole and len(set(seeds)) == len(seeds)):
        raise Wrong(f"seeds: expected a list of different whole numbers, not {seeds!r}", "seeds")


def check_search(said: Any, part: str) -> None:
    check_mapping("search", said, part)
    if fixed := [key for key in said if key in SEARCH]:
        raise Wrong(f"search sets {fixed[0]!r}, which is the same for every search: leave it out", fixed[0])
    check_parameters(said, part)


def check_parameters(parameters: Mapping, part: str) -> None:
    """Names and types, and that the loss has the options that are set."""
    from helpers import objectives

    types = takes("train")
    for name, value in parameters.items():
        if name in OWN or name not in types:
            listed = ", ".join(n for n in types if n not in OWN)
            raise Wrong(f"parameter {name!r} of part {part}: {TRAIN} takes {listed}", name)
        kind = type(value).__name__
        if kind != types[name] and (kind, types[name]) != ("int", "float"):
            hint = " (YAML reads 1e-3 as text: write 1.0e-3)" if types[name] == "float" else ""
            raise Wrong(f"{name} is {value!r}, of type {kind}; expected {types[name]}{hint}", name)
    loss = parameters.get("loss")
    if loss is None:
        return
    if ":" not in loss and loss not in registry():
        raise Wrong(f"objective {loss!r} of part {part}: expected one of {', '.join(registry())}", loss)
    try:
        objectives.choose_options(loss, {k: v for k, v in parameters.items() if k in objectives.OPTIONS})
    except ValueError as error:
        raise Wrong(str(error), loss) from None


def check_run(parameters: Mapping) -> None:
    """Values that the training notebook would refuse, as far as that can be known without the images."""
    from helpers import datasets, models, partial, training

    full = defaults() | dict(parameters)
    try:
        classes = datasets.classes(full["dataset"])  # of a folder too: its files are looked at, and no pixel is read
    except ValueError as error:
        raise Wrong(f"dataset: {error}", full["dataset"]) from None
    trained = names_in(full["classes"])
    for name in trained:
        if name not in classes:
            listed = ", ".join(classes) or "no labels"
            raise Wrong(f"class {name!r}: {full['dataset']} has {listed}", name)
    if full["target"] and full["target"] not in trained:
        raise Wrong(f"target is {full['target']!r}; expected one of {', '.join(trained)}", full["target"])
    if full["target"] and full["annotated"] == "all":
        told = f"target is {full['target']!r}, and annotated is 'all', where no class is apart"
        raise Wrong(f'{told}; leave target empty (in a search: target: "")', "target")
    try:
        training.Schedule(
            *(full["steps"], full["batch"], full["patch"], full["learning_rate"] or 1.0),
            shape=full["schedule"],
            clip=full["clip"] or None,
            balance=full["foreground"],
        )
    except ValueError as error:
        raise Wrong(str(error), str(error).partition(" ")[0]) from None
    for key, known in {"network": models.names(), "annotated": partial.ANNOTATED}.items():
        if full[key] not in known:
            raise Wrong(f"{key} is {full[key]!r}; expected one of {', '.join(known)}", full[key])
    for key, least in {"split": 0, "reduce": 0, "threads": 1, "width": 1, "depth": 1, "blocks": 1}.items():
        if full[key] < least:
            raise Wrong(f"{key} is {full[key]}; expected a whole number from {least}", key)


def analysis_of(said: Mapping, objectives: Mapping, part: str) -> dict[str, Any]:
    """Parameters of the analysis notebook that a part sets."""
    from helpers import statistics

    analysis = {key: said[key] for key in ("reference", "primary", "margin", "classes") if key in said}
    reference = analysis.get("reference", declared("analysis")["reference"][1])
    if len(objectives) > 1 and reference not in objectives:
        raise Wrong(f"reference is {reference!r}; part {part} compares {', '.join(objectives)}", reference)
    if "primary" in analysis:
        try:
            stem, _ = statistics.split_metric(analysis["primary"])
        except ValueError as error:
            raise Wrong(f"primary: {error}", analysis["primary"]) from None
        if not statistics.METRICS[stem][1]:
            raise Wrong(f"primary is {analysis['primary']!r}, of which neither more nor less is better", "primary")
    if "margin" in analysis:
        margin = analysis["margin"]
        if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 <= margin < math.inf:
            raise Wrong(f"margin is {margin!r}; expected a number of at least 0, in the primary metric", "margin")
        analysis["margin"] = float(margin)
    if any("steps" in own for own in objectives.values()):
        analysis["unequal"] = "steps"  # on purpose, then
    trained = names_in((defaults() | said["parameters"])["classes"])
    for one in names_in(analysis.get("classes", trained[0])):
        if one not in trained:
            raise Wrong(f"classes names {one!r}; part {part} trains on {', '.join(trained)}", "classes")
    return analysis


def notebooks_of(said: Any, part: str, parts: Iterable[str]) -> dict[str, dict]:
    """Further notebooks of a part -> parameters that it sets for them; `parts` are all that the study has."""
    wanted = dict.fromkeys(said) if isinstance(said, list) else said
    check_mapping("notebooks", wanted, part)
    for notebook, own in wanted.items():
        path = Path("notebooks", f"{notebook}.ipynb")
        if not path.is_file():
            there = ", ".join(sorted(p.stem for p in path.parent.glob("*.ipynb")))
            raise Wrong(f"part {part} wants the notebook {notebook!r}; there are {there}", notebook)
        check_mapping(notebook, own or {}, part)
        for key in own or {}:
            if key not in takes(notebook):
                listed = ", ".join(takes(notebook))
                raise Wrong(f"parameter {key!r} of notebook {notebook}: it takes {listed}", key)
        for name in names_in((own or {}).get("parts", part)):
            if name not in parts:
                listed = ", ".join(parts)
                word = name if is_name(name) else notebook
                raise Wrong(f"parts of notebook {notebook} names {name!r}; this study has {listed}", word)
    return {notebook: own or {} for notebook, own in wanted.items()}
