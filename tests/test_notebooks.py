"""The notebooks, executed as a reader would: papermill from the root, from notebooks/, through a pipe."""

import json
import os
import subprocess
import sys

import nbformat
import numpy as np
import pytest
from papermill.inspection import inspect_notebook
from PIL import Image

from helpers import notebook

NAMES = [
    "analysis",
    "apply",
    "download",
    "interpret",
    "neurons",
    "occupancy",
    "published",
    "shapes",
    "sparse",
    "surfaces",
    "targets",
    "train",
]
TINY = ["-p", "steps", "4", "-p", "batch", "2", "-p", "patch", "32", "-p", "reduce", "16", "-p", "width", "2"]


def papermill(folder, *arguments, **environment):
    """papermill in a folder; no data but what the environment names."""
    clean = {k: v for k, v in os.environ.items() if k != "HELPERS_DATA"} | {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    command = ["papermill", "--no-progress-bar", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=clean | environment)


def printed(path):
    """All that an executed notebook printed."""
    cells = nbformat.read(path, 4).cells
    outputs = (o for c in cells if c.cell_type == "code" for o in c.outputs)
    return "".join(o.text for o in outputs if o.output_type == "stream")


@pytest.mark.parametrize("name", NAMES)
def test_sources_are_stripped_portable_and_explained(root, name):
    source = json.loads((root / "notebooks" / f"{name}.ipynb").read_text())
    nbformat.validate(source)
    assert source["metadata"]["kernelspec"]["name"] == "python3"
    cells = source["cells"]
    assert 15 <= len(cells) <= 32
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    assert sum("parameters" in cell["metadata"].get("tags", []) for cell in code) == 1
    assert "notebook.print_provenance(" in "".join(code[-1]["source"])
    # a sentence before each cell says why; a figure or a table may follow the cell that computes it
    runs = "".join("c" if cell["cell_type"] == "code" else "m" for cell in cells)
    assert "ccc" not in runs and runs.startswith("m")


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_has_a_type_and_a_line_of_help(root, name):
    for parameter in inspect_notebook(str(root / "notebooks" / f"{name}.ipynb")).values():
        assert parameter["inferred_type_name"] in ("str", "int", "float", "bool", "list"), parameter
        assert len(parameter["help"]) > 5, parameter


def test_the_command_of_the_readme_and_the_same_digits_again(root, tmp_path):
    """Executed once, then re-run by nbval, which compares all that was printed."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "runs"]
    assert subprocess.run(listed, cwd=root, capture_output=True, text=True).stdout, (
        "a clone has no folder for the output"
    )
    result = papermill(tmp_path, root / "notebooks/train.ipynb", "bce.ipynb", "-p", "loss", "bce", *TINY)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "rows in runs/phantom-bce-seed0-" in printed(tmp_path / "bce.ipynb")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", "bce.ipynb"]
    command += ["--nbval-sanitize-with", root / "tests/nbval_sanitize.cfg", "--nbval-cell-timeout", "120"]
    command += ["--nbval-current-env", "-c", os.devnull, "--rootdir", "."]
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0 and "passed" in again.stdout, again.stdout[-3000:]

    # and it is a test that can fail: another seed prints other numbers
    changed = (tmp_path / "bce.ipynb").read_text().replace("seed: int = 0", "seed: int = 1")
    (tmp_path / "bce.ipynb").write_text(changed)
    other = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert other.returncode == 1 and "step" in other.stdout


def test_through_a_pipe_it_shows_the_notebook_and_changes_nothing(root, tmp_path):
    source = root / "notebooks" / "train.ipynb"
    before = source.read_bytes()
    short = " ".join(TINY)
    line = f"papermill {source} -p loss bce {short} | head -c 1000"
    result = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert result.stdout.lstrip().startswith("{") and '"cells"' in result.stdout
    assert source.read_bytes() == before


@pytest.mark.slow
def test_it_runs_from_the_notebooks_folder_too(root, project_copy):
    result = papermill(project_copy / "notebooks", "train.ipynb", "out.ipynb", "-p", "loss", "tanh_distance", *TINY)
    assert result.returncode == 0, result.stderr[-2000:]
    assert (project_copy / "notebooks" / "runs").is_dir()
    (project_copy / "notebooks" / "out.ipynb").unlink()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-p", "los", "dice"], "unknown parameter 'los' (did you mean 'loss'?)"),
        (["-p", "loss", "bse"], "loss is 'bse'; expected one of bce, logistic, softmax"),
        (["-p", "dataset", "vcn"], "unknown data set 'vcn'; there are vnc, "),
        (["-p", "classes", "nuclei"], "has no class 'nuclei'; it has membranes, mitochondria"),
        (["-p", "steps", "many"], "steps is 'many', of type str; expected int"),
        (["-p", "patch", "512"], "patch is 512, larger than image phantom/000 of size (64, 64)"),
        (["-p", "patch", "36"], "patch is 36; this network needs a multiple of 8"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)  # each starts a notebook
            for case in (
                (["-p", "split", "9"], "split is 9; the phantom has 5 splits"),
                (["-p", "balance", "2.0"], "balance is set to 2.0, but bce has no such option"),
                (["-p", "device", "gpu"], "device is 'gpu'; expected auto, cpu, cuda or cuda:N"),
                (["-p", "threads", "0"], "threads is 0; expected a whole number of at least 1"),
                (["-p", "seed", "-1"], "seed is -1; expected a whole number from 0"),
                (["-p", "loss", "mine:iou"], "loss is 'mine:iou', but there is no mine.py in"),
                (["-p", "output", "file/run"], "output file/run cannot be written"),
                (["-p", "output", "thesis"], "output thesis exists and is not the folder of a run"),
                (["-p", "dataset", "vnc"], "-p dataset phantom"),
            )
        ),
    ],
)
def test_bad_input_stops_the_notebook_with_a_clear_error_and_leaves_nothing(root, tmp_path, arguments, says):
    (tmp_path / "file").write_text("")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years")
    offline = {"HELPERS_DATA": str(tmp_path / "none"), "HELPERS_PREPARED": str(tmp_path / "prepared")}
    offline |= {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    result = papermill(tmp_path, root / "notebooks/train.ipynb", "out.ipynb", *TINY, *arguments, **offline)
    assert result.returncode != 0
    assert says in result.stderr, result.stderr[-1500:]
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years"
    assert not list(tmp_path.glob("runs/*/rows.csv"))


def test_the_extend_pages_own_loss_runs_from_a_file_beside_the_notebook(root, tmp_path):
    page = (root / "book" / "extend.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    code = code.replace("epsilon=1.0", "epsilon=1.0, gamma=0.75")  # the notebook's own gamma is 2
    (tmp_path / "my_losses.py").write_text(code)
    call = [root / "notebooks/train.ipynb", "mine.ipynb", *TINY, "-p", "output", "mine"]
    result = papermill(tmp_path, *call, "-p", "loss", "my_losses:soft_iou")
    assert result.returncode == 0, result.stderr[-2000:]
    assert "my_losses:soft_iou" in (tmp_path / "mine" / "rows.csv").read_text()
    options = json.loads((tmp_path / "mine" / "run.json").read_text())["options"]
    assert options == {"epsilon": 1.0, "gamma": 0.75}, "its own defaults"
    assert "One minus the soft intersection over union" in printed(tmp_path / "mine.ipynb")
    (tmp_path / "my_losses.py").write_text(code.replace("epsilon=1.0", "epsilon=2.0"))
    changed = papermill(tmp_path, *call, "-p", "loss", "my_losses:soft_iou")
    assert "holds a run of other parameters (code: " in changed.stderr, "another loss is another run"


@pytest.mark.slow
def test_a_folder_is_named_by_its_last_part_and_is_what_is_in_it(root, tmp_path):
    """Five images of 64 pixels a side; of the validation image the mask may be missing."""
    rng = np.random.default_rng(0)
    cells = tmp_path / "my data" / "cells"
    for kind in ("images", "masks"):
        (cells / kind).mkdir(parents=True)
    for k in range(5):
        mask = np.zeros((64, 64), np.uint8)
        mask[20:44, 10 + 4 * k : 34 + 4 * k] = 255
        Image.fromarray(mask).save(cells / "masks" / f"{k}.png")
        Image.fromarray((mask // 2 + rng.integers(0, 60, mask.shape)).astype(np.uint8)).save(
            cells / "images" / f"{k}.png"
        )
    (cells / "dataset.json").write_text('{"absent": "unknown"}')
    call = [root / "notebooks/train.ipynb", "out.ipynb", *TINY, "-p", "reduce", "1", "-p", "classes", "foreground"]
    call += ["-p", "dataset", "my data/cells/"]  # as a shell completes it
    prepared = {"HELPERS_PREPARED": str(tmp_path / "prepared")}
    result = papermill(tmp_path, *call, **prepared)
    assert result.returncode == 0, result.stderr[-2000:]
    (first,) = (tmp_path / "runs").glob("*/rows.csv")
    assert first.parent.name.startswith("cells-bce-seed0-")
    split = [line for line in printed(tmp_path / "out.ipynb").splitlines() if line.startswith("validation")][0]
    validation = split.split()[1].split("/")[-1].removesuffix(".png")
    (cells / "masks" / f"{validation}.png").unlink()
    result = papermill(tmp_path, *call, **prepared)
    assert "no validation image of my data/cells/ is annotated for foreground" in result.stderr, result.stderr[-1500:]
    assert len(list((tmp_path / "runs").glob("*/rows.csv"))) == 1, "and nothing was trained"


@pytest.mark.slow
def test_a_class_that_is_nowhere_and_several_classes_go_through_to_the_figures(root, tmp_path):
    """Synapses at 294 nm per pixel vanish by majority; no cut can be chosen, and the analysis says so."""
    classes = ["-p", "classes", "vesicles,mitochondria", "-p", "test", "True"]
    call = [
        root / "notebooks/train.ipynb",
        "out.ipynb",
        *TINY,
        *classes,
        "-p",
        "reduce",
        "32",
        "-p",
        "output",
        "runs/one",
    ]
    (tmp_path / "runs").mkdir()
    result = papermill(tmp_path, *call, "-p", "patch", "16")
    assert result.returncode == 0, result.stderr[-2000:]
    analysis = ["-p", "study", "odd", "-p", "runs", "runs", "-p", "index", "", "-p", "output", "results"]
    result = papermill(tmp_path, root / "notebooks/analysis.ipynb", "analysis.ipynb", *analysis)
    assert result.returncode == 0, result.stderr[-2000:]
    summary = (tmp_path / "results" / "summary.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in summary[1:]] == [["bce", "vesicles"], ["bce", "mitochondria"]]


@pytest.fixture
def own_folder(tmp_path):
    """Seven colour images of a reader's own, with masks, without a pixel size."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / "mine" / kind).mkdir(parents=True)
    for i in range(7):
        mask = np.zeros((64, 96), bool)
        mask[10 : 30 + i, 20:50] = True
        raw = rng.integers(0, 120, (64, 96, 3), dtype=np.uint8) + 100 * mask[..., None].astype(np.uint8)
        Image.fromarray(raw).save(tmp_path / "mine" / "images" / f"cell{i}.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "mine" / "masks" / f"cell{i}.png")
    return tmp_path / "mine"


@pytest.mark.slow
def test_a_folder_of_ones_own_goes_through_every_notebook(root, tmp_path, own_folder):
    prepared = {"HELPERS_PREPARED": str(tmp_path / "prepared")}
    data, one = ["-p", "dataset", "mine"], ["-p", "class_name", "foreground", "-p", "patch", "48"]
    result = papermill(tmp_path, root / "notebooks/download.ipynb", "download.ipynb", *data, **prepared)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "distances are in pixels" in printed(tmp_path / "download.ipynb")
    targets = [root / "notebooks/targets.ipynb", "targets.ipynb", *data, *one]
    result = papermill(tmp_path, *targets, **prepared)
    assert result.returncode != 0 and "the size of a pixel of mine is not known" in result.stderr
    (own_folder / "dataset.json").write_text('{"spacing": 8}')
    result = papermill(tmp_path, *targets, **prepared)
    assert result.returncode == 0, result.stderr[-2000:]
    short = [*TINY[:9], "-p", "width", "2", "-p", "classes", "foreground", "-p", "output", "run"]
    result = papermill(tmp_path, root / "notebooks/train.ipynb", "train.ipynb", *data, *short, **prepared)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "mine" in (tmp_path / "run" / "rows.csv").read_text()


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("download", ["-p", "by", "image"], "by is set to 'image', but data set 'phantom' has no such parameter"),
        ("download", ["-p", "dataset", "mine"], "mine has no images/; expected images/ and masks/ in it"),
        ("targets", ["-p", "patch", "2000"], "phantom are of (256, 256) pixels and patch is 2000; expected two axes"),
        ("targets", ["-p", "class_name", "nuclei"], "data set 'phantom' has no class 'nuclei'; it has membranes"),
    ],
)
def test_bad_input_of_the_notebooks_of_data_is_named(root, tmp_path, name, arguments, says):
    (tmp_path / "mine").mkdir()
    result = papermill(tmp_path, root / f"notebooks/{name}.ipynb", "out.ipynb", *arguments)
    assert result.returncode != 0 and says in result.stderr, result.stderr[-1500:]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-p", "metric", "voi"], "metric is 'voi'; expected one of iou, dice, accuracy"),
        (["-p", "runs", "nowhere"], "there is no nowhere in"),
        (["-p", "runs", ".", "-p", "index", "nowhere.csv"], "there is no nowhere.csv in"),
        (["-p", "study", "nothing", "-p", "runs", ".", "-p", "index", ""], "no run of study 'nothing' in"),
    ],
)
def test_bad_input_of_the_analysis_is_named(root, tmp_path, arguments, says):
    result = papermill(tmp_path, root / "notebooks/analysis.ipynb", "out.ipynb", *arguments)
    assert result.returncode != 0 and says in result.stderr, result.stderr[-1500:]


@pytest.mark.slow
def test_an_existing_output_of_other_parameters_is_never_mixed(root, tmp_path):
    call = [root / "notebooks/train.ipynb", "out.ipynb", *TINY, "-p", "output", "mine"]
    assert papermill(tmp_path, *call).returncode == 0
    before = (tmp_path / "mine" / "rows.csv").read_bytes()
    result = papermill(tmp_path, *call, "-p", "seed", "5")
    assert result.returncode != 0 and "holds a run of other parameters (seed: 0 there, 5 now)" in result.stderr
    assert (tmp_path / "mine" / "rows.csv").read_bytes() == before


def test_the_code_in_a_row_is_the_code_that_ran(tiny_study):
    rows = next((tiny_study / "build/runs").glob("*-bce-seed0-*/rows.csv")).read_text()
    assert notebook.code_hash("phantom") in rows and notebook.commit() in rows
