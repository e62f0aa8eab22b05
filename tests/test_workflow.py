"""The engine: a study from its first notebook to its book, and what a change makes it do again."""

import contextlib
import json
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from conftest import snakemake

from helpers import tables


def planned(folder, *arguments):
    """Rules of the jobs that would run, without running them."""
    result = snakemake(folder, "--config", "study=tiny", "--dry-run", "--quiet", "rules", *arguments)
    assert result.returncode == 0, result.stderr
    lines = (line.split() for line in (result.stdout + result.stderr).splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit()}


@contextlib.contextmanager
def edited(path, change):
    """A file changed, and put back whatever happens."""
    before = path.read_text()
    path.write_text(change(before))
    try:
        yield
    finally:
        path.write_text(before)


def test_a_study_ends_in_one_table_and_a_book(tiny_study):
    table = pd.read_csv(tiny_study / "build/tiny/results/rows.csv")
    assert list(table.columns) == list(tables.COLUMNS)
    assert len(table) == 3 * 3  # objectives x test images
    assert set(table["subset"]) == {"test"} and set(table["study"]) == {"tiny"}
    assert (tiny_study / "build/tiny/book/_build/html/index.html").is_file()
    summary = pd.read_csv(tiny_study / "build/tiny/results/summary.csv")
    assert summary["objective"].tolist() == ["bce", "tanh_distance", "hot_distance"]


def test_finished_runs_are_not_run_again_and_a_changed_figure_or_judge_trains_nothing(tiny_study):
    assert planned(tiny_study) == {}
    helpers = tiny_study / "src" / "helpers"
    for name, again in {
        "figures/style": {"download", "targets", "analysis", "assemble", "book", "all"},
        "judging": {"analysis", "assemble", "book", "all"},
        "losses": {"targets", "train", "analysis", "assemble", "book", "all"},
    }.items():
        with edited(helpers / f"{name}.py", lambda source: source + "# changed\n"):
            assert planned(tiny_study).keys() - {"total"} == again, name
    assert planned(tiny_study) == {}, "an edit taken back reruns nothing"


def test_adding_a_seed_runs_that_seed_alone(tiny_study):
    with edited(tiny_study / "studies" / "tiny.yml", lambda text: text.replace("seeds: [0]", "seeds: [0, 1]")):
        assert planned(tiny_study)["train"] == 3


@pytest.mark.slow
def test_parameters_of_one_objective_and_any_number_reach_the_notebook(tiny_study):
    study = tiny_study / "studies" / "own.yml"
    text = (tiny_study / "studies" / "tiny.yml").read_text().replace("study: tiny", "study: own")
    own = "{bce: {learning_rate: 1.0e-5, positive_weight: 2.0}, focal: {gamma: 1.0}}"
    study.write_text(text.replace("[bce, tanh_distance, hot_distance]", own))
    result = snakemake(tiny_study, "--config", "study=own")
    assert result.returncode == 0, result.stderr[-3000:]
    rows = pd.read_csv(tiny_study / "build/own/results/rows.csv").groupby("objective").first()
    assert rows.loc["bce", "learning_rate"] == 1e-5 and rows.loc["focal", "learning_rate"] == 3e-3
    assert json.loads(rows.loc["bce", "options"])["positive_weight"] == 2.0
    assert json.loads(rows.loc["focal", "options"])["gamma"] == 1.0
    pages = tiny_study / "build/own/book/_build/html/runs"
    assert (pages / "focal.html").is_file() and not (pages / "tanh_distance.html").exists()


def test_publishing_puts_the_study_into_the_book_and_the_readme_and_refuses_a_quick_one(tiny_study, tmp_path):
    refused = snakemake(tiny_study, "--config", "study=tiny", "--", "publish")
    assert refused.returncode != 0 and "not published: this study says of itself 'A tiny run.'" in refused.stderr
    results = tiny_study / "build/tiny/results"
    book, readme = tmp_path / "book", tmp_path / "README.md"
    shutil.copytree(tiny_study / "book", book)
    readme.write_text("before\n<!-- results:start -->\nold\n<!-- results:end -->\nafter\n")
    command = [sys.executable, "workflow/assemble.py", "--results", results, "--readme", readme, book]
    command += ["build/tiny/notebooks/analysis.ipynb", "build/tiny/runs/bce-seed0.ipynb=bce.ipynb"]
    subprocess.run(command, cwd=tiny_study, check=True)
    lines = readme.read_text().splitlines()
    verdicts = (results / "verdicts.csv").read_text().splitlines()
    assert lines[0] == "before" and lines[-1] == "after" and "old" not in lines
    assert [line.strip("| ").split(" | ") for line in (lines[2], lines[4])] == [row.split(",") for row in verdicts[:2]]
    assert sorted(path.name for path in (book / "runs").iterdir()) == ["analysis.ipynb", "bce.ipynb"]
    contents = (book / "_toc.yml").read_text()
    assert "runs/bce" in contents and "runs/tanh_distance" not in contents


def test_a_failed_notebook_is_kept_aside_and_named(tiny_study):
    study = tiny_study / "studies" / "broken.yml"
    study.write_text((tiny_study / "studies" / "tiny.yml").read_text().replace("patch: 32", "patch: 33"))
    study.write_text(
        study.read_text().replace("study: tiny", "study: broken").replace("[bce, tanh_distance, hot_distance]", "[bce]")
    )
    result = snakemake(tiny_study, "--config", "study=broken")
    assert result.returncode != 0
    assert "patch is 33; this network needs a multiple of 8" in result.stderr
    failed = tiny_study / "build/broken/runs/bce-seed0.ipynb.failed"
    assert "patch is 33" in json.dumps(json.loads(failed.read_text()))
    assert not failed.with_suffix("").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "study is 'nothing'; expected one of"),
        ("study: nothing\n", "studies/nothing.yml has no 'announcement'"),
        ("OBJECTIVE", "objective 'dise' of studies/nothing.yml: expected one of bce, logistic"),
        ("PARAMETER", "parameter 'stepps' of studies/nothing.yml: notebooks/train.ipynb takes dataset, classes"),
        ("TYPE", "steps of studies/nothing.yml is 'many', of type str; expected int"),
        (
            "RATE",
            "learning_rate of studies/nothing.yml is '1e-3', of type str; expected float (YAML reads 1e-3 as text",
        ),
        ("- a list\n", "studies/nothing.yml holds ['a list']"),
        ("", "studies/nothing.yml holds None"),
        ("DATASET", "dataset of studies/nothing.yml: unknown data set 'phantm'; there are vnc, fib25"),
        ("FOLDER", "dataset of studies/nothing.yml: no folder some/where"),
        ("CLASS", "class 'nuclei' of studies/nothing.yml: phantom has membranes, mitochondria"),
        ("UNLABELLED", "class 'mitochondria' of studies/nothing.yml: cem1500k has no labels"),
        ("SEEDS", "seeds of studies/nothing.yml: expected a list of different whole numbers"),
    ],
)
def test_a_study_that_cannot_run_says_so_before_anything_runs(project_copy, text, says):
    study = project_copy / "studies" / "nothing.yml"
    tiny = (project_copy / "studies" / "tiny.yml").read_text().replace("study: tiny", "study: nothing")
    changes = {
        "OBJECTIVE": tiny.replace("[bce,", "[dise,"),
        "PARAMETER": tiny.replace("steps:", "stepps:"),
        "TYPE": tiny.replace("steps: 6", "steps: many"),
        "RATE": tiny.replace("[bce, tanh_distance, hot_distance]", "{bce: {learning_rate: 1e-3}}"),
        "DATASET": tiny.replace("dataset: phantom", "dataset: phantm"),
        "FOLDER": tiny.replace("dataset: phantom", "dataset: some/where"),
        "CLASS": tiny.replace("classes: mitochondria", "classes: nuclei"),
        "UNLABELLED": tiny.replace("dataset: phantom", "dataset: cem1500k"),
        "SEEDS": tiny.replace("seeds: [0]", "seeds: [0, 0]"),
    }
    if text is not None:
        study.write_text(changes.get(text, text))
    result = snakemake(project_copy, "--config", "study=nothing")
    study.unlink(missing_ok=True)
    assert result.returncode != 0 and says in result.stderr + result.stdout
