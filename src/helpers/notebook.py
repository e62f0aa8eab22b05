"""What the paper's notebooks share: strict parameters, glue, figures with alt text, provenance."""

import ast
import base64
import difflib
import functools
import hashlib
import html
import importlib.metadata
import json
import math
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_STARTED = time.time()
_TYPES = {"str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict}
# What a training imports, whatever its data (`datasets.code` adds what reads those): a change in any of these can
# change a result, a changed caption cannot.
CODE = (
    "augment",
    "checkpoints",
    "crops",
    "devices",
    "files",
    "inference",
    "losses",
    "metrics",
    "models",
    "objectives",
    "partial",
    "postprocess",
    "schedules",
    "steps",
    "targets",
    "termination",
    "training",
    "tuning",
)


def parameters(cells: Sequence[str], values: Mapping[str, Any]) -> SimpleNamespace:
    """The notebook's parameters, each of the declared type; called as ``parameters(In, globals())``.

    papermill only warns about a name that no notebook declares and runs the default; here it is an error.

    Parameters
    ----------
    cells : sequence of str
        Sources of the cells executed so far (IPython's ``In``).
    values : mapping
        The notebook's globals.

    Raises
    ------
    ValueError
        A parameter that is set but not declared; the message lists the declared ones.
    TypeError
        A value of another type than declared.
    """
    declared, given = {}, injected(cells)
    for source in cells:
        try:
            body = ast.parse(source).body
        except SyntaxError:  # a cell with an IPython command
            continue
        if body and all(isinstance(node, ast.AnnAssign) for node in body):
            declared = {node.target.id: ast.unparse(node.annotation) for node in body}
    if not declared:  # nbval keeps no history of cells; it re-runs what was checked, and types can still be checked
        declared = {n: getattr(t, "__name__", t) for n, t in values.get("__annotations__", {}).items()}
    if not declared:
        raise ValueError("no parameters cell was run; expected one of lines `name: type = value  # help`")
    for name in sorted(given - declared.keys()):
        close = difflib.get_close_matches(name, declared, 1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(f"unknown parameter {name!r}{hint}; this notebook takes {', '.join(declared)}")
    result = {}
    for name, kind in declared.items():
        value, expected = values[name], _TYPES[kind.partition("[")[0]]
        if expected is float and type(value) is int:
            value = float(value)
        if type(value) is not expected:
            raise TypeError(f"{name} is {value!r}, of type {type(value).__name__}; expected {kind}")
        result[name] = value
    return SimpleNamespace(**result)


def injected(cells: Sequence[str]) -> set[str]:
    """The parameters that papermill was given, of the sources of the cells so far (IPython's ``In``)."""
    given: set[str] = set()
    for source in cells:
        if source.startswith("# Parameters"):
            nodes = ast.parse(source).body
            given = {t.id for node in nodes if isinstance(node, ast.Assign) for t in node.targets}
    return given


def number(name: str, text: str, expected: str) -> float:
    """The number above 0 that a parameter's text says; ValueError, with what was expected, where it says none."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(f"{name} is {text!r}; expected {expected}")
    return value


def existing(path: str | Path) -> Path:
    """A folder or file, seen from the working directory or, for a notebook opened in notebooks/, from the one above.

    Raises
    ------
    FileNotFoundError
        It is in neither place.
    """
    for place in (Path(path), Path("..", path)):
        if place.exists():
            return place
    raise FileNotFoundError(
        f"there is no {path} in {Path.cwd()} or above it; run a study first: make study STUDY=quick"
    )


def glue(name: str, value: Any) -> None:
    """Store a number or text in the notebook for the book's prose, as ``myst_nb.glue`` does with display=False.

    NumPy scalars become Python's, so that the book can format them.
    """
    from IPython.display import display

    value = value.item() if hasattr(value, "item") else value
    prefix = "application/papermill.record/"
    display(
        {f"{prefix}text/plain": repr(value)},
        raw=True,
        metadata={"scrapbook": {"name": name, "mime_prefix": prefix}},
    )


def show(path: Path, alt: str, caption: str = "") -> None:
    """Show a saved PNG with its alternative text and a caption, whatever displays the notebook."""
    from IPython.display import display

    if not alt.strip():
        raise ValueError(f"figure {path} has no alt text; say in a sentence what it shows")
    data = base64.b64encode(Path(path).read_bytes()).decode()
    figure = f'<img src="data:image/png;base64,{data}" alt="{html.escape(alt, quote=True)}" style="max-width:100%">'
    if caption:
        figure += f"<figcaption>{html.escape(caption)}</figcaption>"
    display({"text/html": f"<figure>{figure}</figure>", "text/plain": f"[figure: {alt}]"}, raw=True)


@functools.cache
def commit() -> str:
    """Commit of the package's source: from its repository (with "-dirty" where files differ), else from pip's record.

    "unknown" where neither says.
    """
    here = Path(__file__).parent
    try:
        inside = _git(here, "ls-files", "--error-unmatch", Path(__file__).name)
        head = _git(here, "rev-parse", "HEAD") if inside else ""
        return head + ("-dirty" if _git(here, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        pass
    try:
        record = importlib.metadata.distribution("hot-or-distance").read_text("direct_url.json")
        return json.loads(record or "{}").get("vcs_info", {}).get("commit_id", "unknown")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def code_hash(dataset: str | None = None) -> str:
    """:func:`modules_hash` of what a training imports and, of a data set, of what reads it.

    What only another data set needs is not in it: no training is stale for a change there.
    """
    from helpers import datasets

    return modules_hash(CODE + (() if dataset is None else datasets.code(dataset)))


@functools.cache
def modules_hash(names: tuple[str, ...]) -> str:
    """First 12 hex digits of the SHA-256 over modules of this package."""
    here, digest = Path(__file__).parent, hashlib.sha256()
    for name in names:
        path = here / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path.with_name(f"{path.name}.py")]:
            digest.update(str(file.relative_to(here)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def provenance(dataset: str | None = None) -> dict[str, str]:
    """Commit, code (:func:`code_hash`), versions, hardware and seconds since the import, for a notebook's last cell."""
    packages = ("torch", "numpy", "scipy", "zarr", "matplotlib")
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "commit": commit(),
        "code": code_hash(dataset),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
        "processor": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads used",
        "gpu": device,
        "system": platform.system(),
        "seconds": f"{time.time() - _STARTED:.1f}",
    }


def print_provenance(dataset: str | None = None) -> None:
    """One line for each entry of :func:`provenance`."""
    for name, value in provenance(dataset).items():
        print(f"{name:<11}{value}")


def _git(folder: Path, *arguments: str) -> str:
    result = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return result.stdout.strip()
