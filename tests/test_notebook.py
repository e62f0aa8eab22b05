"""Strict parameters, glue that the book can read, figures with alt text, provenance."""

import base64
import re
import subprocess
import sys

import numpy as np
import pytest
from IPython.utils.capture import capture_output

from helpers import notebook, runs

CELL = """loss: str = "bce"  # objective
steps: int = 600  # batches
rate: float = 0.1  # maximum
test: bool = False  # open it
"""
DEFAULTS = {"loss": "bce", "steps": 600, "rate": 0.1, "test": False}


def test_declared_parameters_come_back_typed():
    found = notebook.parameters(["", "%pip install x", CELL], DEFAULTS | {"rate": 1, "other": 3})
    assert vars(found) == DEFAULTS | {"rate": 1.0} and type(found.rate) is float


@pytest.mark.parametrize(
    ("injected", "values", "error", "says"),
    [
        (
            'los = "dice"',
            {"los": "dice"},
            ValueError,
            r"unknown parameter 'los' \(did you mean 'loss'\?\).*loss, steps",
        ),
        ("steps = 1e3", {"steps": 1e3}, TypeError, "steps is 1000.0, of type float; expected int"),
        ('steps = "ten"', {"steps": "ten"}, TypeError, "steps is 'ten', of type str; expected int"),
        ("loss = 3", {"loss": 3}, TypeError, "loss is 3, of type int; expected str"),
        ("test = 1", {"test": 1}, TypeError, "test is 1, of type int; expected bool"),
        ("steps = True", {"steps": True}, TypeError, "steps is True, of type bool; expected int"),
        ('rate = "0.1"', {"rate": "0.1"}, TypeError, "rate is '0.1'"),
    ],
)
def test_unknown_names_and_wrong_types_are_refused(injected, values, error, says):
    with pytest.raises(error, match=says):
        notebook.parameters([CELL, f"# Parameters\n{injected}\n"], DEFAULTS | values)


def test_without_a_history_of_cells_the_annotations_say_what_is_declared():
    values = DEFAULTS | {"__annotations__": {"loss": str, "steps": int, "rate": float, "test": bool}}
    assert vars(notebook.parameters([], values)) == DEFAULTS
    with pytest.raises(TypeError, match="steps is 'ten'"):
        notebook.parameters([], values | {"steps": "ten"})


def test_without_a_parameters_cell_it_says_so():
    with pytest.raises(ValueError, match="no parameters cell"):
        notebook.parameters(["import os"], {})


def test_glue_is_what_myst_nb_reads():
    from IPython.core.interactiveshell import InteractiveShell
    from myst_nb import glue

    InteractiveShell.instance()
    pairs = []
    for function in (notebook.glue, lambda n, v: glue(n, v, display=False)):
        with capture_output() as captured:
            function("iou", 0.25)
        pairs.append((captured.outputs[0].data, captured.outputs[0].metadata))
    assert pairs[0] == pairs[1]
    with capture_output() as captured:
        notebook.glue("n", np.int64(3))
    assert list(captured.outputs[0].data.values()) == ["3"]


def test_a_figure_carries_its_alt_text_and_caption(tmp_path):
    from IPython.core.interactiveshell import InteractiveShell

    InteractiveShell.instance()
    path = tmp_path / "a.png"
    path.write_bytes(b"png")
    with capture_output() as captured:
        notebook.show(path, 'A "curve" <falling>', caption="n = 3 & more")
    data = captured.outputs[0].data
    assert 'alt="A &quot;curve&quot; &lt;falling&gt;"' in data["text/html"]
    assert "<figcaption>n = 3 &amp; more</figcaption>" in data["text/html"]
    assert base64.b64encode(b"png").decode() in data["text/html"] and "curve" in data["text/plain"]
    with pytest.raises(ValueError, match="no alt text"):
        notebook.show(path, " ")


def test_provenance_names_the_commit_the_code_and_the_versions(root):
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True).stdout.strip()
    found = notebook.provenance()
    assert found["commit"] in (head, f"{head}-dirty")
    assert re.fullmatch("[0-9a-f]{12}", found["code"])
    import torch

    assert found["torch"] == torch.__version__


def test_the_code_hash_covers_what_a_training_imports():
    code = (
        "import sys, helpers.training, helpers.models, helpers.inference, helpers.postprocess; "
        "import helpers.metrics, helpers.datasets, helpers.phantom_shapes; "
        "print(sorted({m.split('.')[1] for m in sys.modules if m.startswith('helpers.')}))"
    )
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert set(eval(imported)) - {"notebook"} == set(notebook.CODE)


def test_the_judges_hash_covers_what_makes_rows():
    code = "import sys, helpers.runs; print(sorted({m.split('.')[1] for m in sys.modules if m.startswith('helpers.')}))"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    apart = {"notebook", "files", "outputs"}  # how files are written makes no other number
    made = {"phantom", "phantom_shapes"}  # imported where they are made
    assert set(eval(imported)) - apart | made == set(runs.CODE)


def test_training_needs_torch_numpy_and_scipy_alone():
    heavy = ("kornia", "zarr", "pooch", "pandas", "matplotlib", "seaborn", "IPython", "skimage")
    code = f"import sys, helpers.training, helpers.inference; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
