"""The engine: a study from its first notebook to its book, and what a change makes it do again."""

import json

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


def test_a_study_ends_in_one_table_and_a_book(tiny_study):
    table = pd.read_csv(tiny_study / "build/tiny/results/rows.csv")
    assert list(table.columns) == list(tables.COLUMNS)
    assert len(table) == 3 * 3  # objectives x test images
    assert set(table["subset"]) == {"test"} and set(table["study"]) == {"tiny"}
    assert (tiny_study / "build/tiny/book/_build/html/index.html").is_file()
    summary = pd.read_csv(tiny_study / "build/tiny/results/summary.csv")
    assert summary["objective"].tolist() == ["bce", "tanh_distance", "hot_distance"]


def test_finished_runs_are_not_run_again_and_a_changed_figure_trains_nothing(tiny_study):
    assert planned(tiny_study) == {}
    helpers = tiny_study / "src" / "helpers"
    for name, again in {
        "figures": {"analysis", "assemble", "book", "all"},
        "losses": {"targets", "train", "analysis", "assemble", "book", "all"},
    }.items():
        source = (helpers / f"{name}.py").read_text()
        (helpers / f"{name}.py").write_text(source + "# changed\n")
        assert planned(tiny_study).keys() - {"total"} == again
        (helpers / f"{name}.py").write_text(source)
    assert planned(tiny_study) == {}, "an edit taken back reruns nothing"


def test_adding_a_seed_runs_that_seed_alone(tiny_study):
    study = tiny_study / "studies" / "tiny.yml"
    text = study.read_text()
    study.write_text(text.replace("seeds: [0]", "seeds: [0, 1]"))
    assert planned(tiny_study)["train"] == 3
    study.write_text(text)


def test_a_failed_notebook_is_kept_aside_and_named(tiny_study):
    study = tiny_study / "studies" / "broken.yml"
    study.write_text((tiny_study / "studies" / "tiny.yml").read_text().replace("patch: 32", "patch: 33"))
    study.write_text(
        study.read_text().replace("study: tiny", "study: broken").replace("[bce, tanh_distance, hot_distance]", "[bce]")
    )
    result = snakemake(tiny_study, "--config", "study=broken")
    assert result.returncode != 0
    assert "patch is 33; this network halves it 3 times and needs a multiple of 8" in result.stderr
    failed = tiny_study / "build/broken/runs/bce-seed0.ipynb.failed"
    assert "patch is 33" in json.dumps(json.loads(failed.read_text()))
    assert not failed.with_suffix("").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "study is 'nothing'; expected one of"),
        ("study: nothing\n", "studies/nothing.yml has no 'announcement'"),
        ("OBJECTIVE", "objective 'dise' of studies/nothing.yml: expected one of bce, tanh_distance, hot_distance"),
        ("PARAMETER", "parameter 'stepps' of studies/nothing.yml: notebooks/train.ipynb takes dataset, classes"),
        ("SEEDS", "seeds of studies/nothing.yml: expected a list of different whole numbers"),
    ],
)
def test_a_study_that_cannot_run_says_so_before_anything_runs(project_copy, text, says):
    study = project_copy / "studies" / "nothing.yml"
    tiny = (project_copy / "studies" / "tiny.yml").read_text().replace("study: tiny", "study: nothing")
    changes = {
        "OBJECTIVE": tiny.replace("[bce,", "[dise,"),
        "PARAMETER": tiny.replace("steps:", "stepps:"),
        "SEEDS": tiny.replace("seeds: [0]", "seeds: [0, 0]"),
    }
    if text is not None:
        study.write_text(changes.get(text, text))
    result = snakemake(project_copy, "--config", "study=nothing")
    study.unlink(missing_ok=True)
    assert result.returncode != 0 and says in result.stderr + result.stdout
