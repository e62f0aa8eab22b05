"""The engine: a study from its first notebook to its book, and what a change makes it do again."""

import contextlib
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import snakemake
from study import read_study

from helpers import tables


def planned(folder, *arguments):
    """Rules of the jobs that would run, without running them."""
    result = snakemake(folder, "--config", "study=tiny", "--dry-run", "--quiet", "rules", *arguments)
    assert result.returncode == 0, result.stderr
    assert "Exception" not in result.stderr + result.stdout  # one that is printed and passed over, too
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
    table = pd.read_csv(tiny_study / "build/tiny/main/analysis/rows.csv")
    assert list(table.columns) == list(tables.COLUMNS)
    assert len(table) == 3 * 3  # objectives x test images
    assert set(table["subset"]) == {"test"} and set(table["study"]) == {"tiny"}
    assert (tiny_study / "build/tiny/book/_build/html/index.html").is_file()
    summary = pd.read_csv(tiny_study / "build/tiny/main/analysis/summary.csv")
    assert summary["objective"].tolist() == ["bce", "tanh_distance", "hot_distance"]


def test_finished_runs_are_not_run_again_and_a_changed_figure_or_judge_trains_nothing(tiny_study):
    assert planned(tiny_study) == {}
    helpers = tiny_study / "src" / "helpers"
    for name, again in {
        "figures/style": {"notebook", "analysis", "assemble", "book", "all"},
        "judging": {"notebook", "analysis", "assemble", "book", "all"},
        "losses": {"notebook", "train", "analysis", "assemble", "book", "all"},
    }.items():
        with edited(helpers / f"{name}.py", lambda source: source + "# changed\n"):
            assert planned(tiny_study).keys() - {"total"} == again, name
    assert planned(tiny_study) == {}, "an edit taken back reruns nothing"


def test_adding_a_seed_runs_that_seed_alone(tiny_study):
    with edited(tiny_study / "studies" / "tiny.yml", lambda text: text.replace("seeds: [0]", "seeds: [0, 1]")):
        assert planned(tiny_study)["train"] == 3


@pytest.fixture
def study(tiny_study):
    """Function of a name and a text -> the study of that name, for as long as the test lasts."""
    made = []

    def make(name, text):
        made.append(tiny_study / "studies" / f"{name}.yml")
        made[-1].write_text(text)
        return tiny_study

    yield make
    for path in made:
        path.unlink()


SMALL = "{dataset: phantom, classes: mitochondria, steps: 6, batch: 2, patch: 32, reduce: 16, width: 2, threads: 1}"


def test_runs_that_two_studies_share_are_run_once(study):
    """Whatever the studies call them, and whether they say a default or not."""
    named = "objectives: {masks: {loss: bce, gamma: 2.0}, both: {loss: hot_distance}}\nreference: masks"
    folder = study("other", f"study: other\nannouncement: ''\n{named}\nseeds: [0, 1]\nparameters: {SMALL}\n")
    assert planned(folder, "--config", "study=other")["train"] == 2, "of four runs, those of seed 0 are there"


LOSS = "def half(output, target, weight):\n    return output.mean() / 2\n"
OWN = "{dataset: own_images, classes: foreground, steps: 6, patch: 8, threads: 1}"


def put_image(path, grey):
    path.parent.mkdir(parents=True, exist_ok=True)
    pytest.importorskip("PIL.Image").fromarray(np.full((8, 8), grey, np.uint8)).save(path)


@pytest.fixture
def own(project_copy, tmp_path, monkeypatch):
    """A study of a loss and of images of a reader's own, with a search: its files stand as if all had been run.

    A function of nothing -> rules of the jobs that would run again.
    """
    monkeypatch.chdir(project_copy)
    monkeypatch.setenv("HELPERS_PREPARED", str(tmp_path / "prepared"))
    head = 'study: own_files\nannouncement: ""\nparts:\n'
    part = "{{objectives: {{half: {{loss: 'own_losses:half'}}}}, reference: half, seeds: [0], parameters: {}{}}}"
    text = head + f"  one: {part.format(OWN, ', notebooks: [download]')}\n  two: {part.format(OWN, ', search: {}')}\n"
    made = {"studies/own_files.yml": text, "own_losses.py": LOSS}
    for name, content in made.items():
        (project_copy / name).write_text(content)
    for i in range(2):
        put_image(project_copy / f"own_images/images/{i}.png", 100 + i)
        put_image(project_copy / f"own_images/masks/{i}.png", 255 * i)
    every = [run.id for part in read_study("own_files").parts for run in (*part.runs, *part.searches)]
    assert len(every) == 2
    wanted = [f"build/runs/{id_}.ipynb" for id_ in every] + ["build/own_files/one/notebooks/download.ipynb"]
    files = [f"build/runs/{id_}/{name}" for id_ in every for name in ("run.json", "history.json", "scores.npz")]
    for name in (*wanted, *files, "build/data/own_images.ready"):
        (project_copy / name).parent.mkdir(parents=True, exist_ok=True)
        (project_copy / name).touch()
    (project_copy / "build/own_files/one/download").mkdir()
    call = ("--config", "study=own_files", "stage=rates", "--")
    touched = snakemake(project_copy, "--touch", "--forceall", *call, *wanted)
    assert touched.returncode == 0, touched.stderr[-3000:]
    yield lambda: planned(project_copy, *call, *wanted)
    for name in made:
        (project_copy / name).unlink()
    for name in ("own_images", "build/own_files", *(f"build/runs/{id_}" for id_ in every)):
        shutil.rmtree(project_copy / name)
    for name in ("build/data/own_images.ready", *wanted[:2]):
        (project_copy / name).unlink()


def test_a_changed_loss_of_ones_own_is_trained_and_searched_for_again(own, project_copy):
    assert own() == {}
    with edited(project_copy / "own_losses.py", lambda source: source.replace("/ 2", "/ 3")):
        again = own()
    assert again.keys() - {"total"} == {"train"} and again["train"] == 2, "the run and the search"


def test_a_changed_mask_of_ones_own_is_prepared_shown_and_trained_again(own, project_copy):
    """Also where another study, or the search, has prepared the images by then."""
    put_image(project_copy / "own_images/masks/0.png", 255)
    again = own()
    assert again.keys() - {"total"} == {"prepare", "train", "notebook"} and again["train"] == 2
    call = ("--config", "study=own_files", "stage=rates", "--", "build/data/own_images.ready")
    prepared = snakemake(project_copy, *call)
    assert prepared.returncode == 0, prepared.stderr[-3000:]
    again = own()
    assert again.keys() - {"total"} == {"train", "notebook"} and again["train"] == 2


@pytest.mark.slow
def test_learning_rates_are_searched_for_first_shared_and_used(study):
    """Two parts: the second varies what the search leaves at one value."""
    head = "study: searched\nannouncement: 'A search.'\nparts:\n"
    part = "{{objectives: [bce, dice], search: {{}}, seeds: [0], parameters: {}{}}}"
    text = head + f"  one: {part.format(SMALL, '')}\n  two: {part.format(SMALL, ', vary: {split: [0, 1]}')}\n"
    folder = study("searched", text)
    early = snakemake(folder, "--config", "study=searched", "--dry-run")
    assert early.returncode != 0
    assert "the learning rates of study searched are not searched yet" in early.stdout + early.stderr
    assert planned(folder, "--config", "study=searched", "stage=rates", "--", "rates")["train"] == 2, "shared by parts"
    result = snakemake(folder, "--config", "study=searched", "stage=rates", "--", "rates")
    assert result.returncode == 0, result.stderr[-3000:]
    rates = pd.read_csv(folder / "build/searched/rates.csv")
    assert rates[["part", "objective"]].values.tolist() == [[p, o] for p in ("one", "two") for o in ("bce", "dice")]
    for row in rates.itertuples():
        scores = dict(map(float, pair.split(":")) for pair in row.scores.split())
        assert list(scores) == [1e-3, 3e-3, 1e-2]
        passed = [float(rate) for rate in str(row.collapsed).split() if rate != "nan"]
        kept = {rate: score for rate, score in scores.items() if rate not in passed} or scores
        assert kept[row.learning_rate] == max(kept.values())
    assert rates["seconds"].gt(0).all(), "what the search cost"
    result = snakemake(folder, "--config", "study=searched")
    assert result.returncode == 0, result.stderr[-3000:]
    rows = pd.read_csv(folder / "build/searched/two/analysis/rows.csv")
    assert set(rows["split"]) == {0, 1}
    chosen = rates[rates["part"] == "two"].set_index("objective")["learning_rate"]
    assert all(row.learning_rate == chosen[row.objective] for row in rows.itertuples())
    assert planned(folder, "--config", "study=searched") == {}
    book = folder / "build/searched/book/_build/html"
    assert (book / "results/searched.html").is_file() and (book / "runs/searched-two.html").is_file()
    assert (folder / "build/searched/pages/results/searched/rates.csv").is_file()
    # A part that is added finds the rates that are there, and nothing is searched for again.
    added = text + f"  three: {part.format(SMALL, ', vary: {split: [0, 1]}')}\n"
    (folder / "studies/searched.yml").write_text(added)
    again = planned(folder, "--config", "study=searched", "stage=rates", "--", "rates")
    assert again.keys() - {"total"} == {"rates"}


@pytest.mark.slow
def test_parameters_of_one_objective_and_any_number_reach_the_notebook(tiny_study):
    study = tiny_study / "studies" / "own.yml"
    text = (tiny_study / "studies" / "tiny.yml").read_text().replace("study: tiny", "study: own")
    text = text.replace("show: [bce, hot_distance]", "show: [focal]")
    own = "{bce: {learning_rate: 1.0e-5, positive_weight: 2.0}, focal: {gamma: 1.0}}"
    study.write_text(text.replace("[bce, tanh_distance, hot_distance]", own))
    result = snakemake(tiny_study, "--config", "study=own")
    assert result.returncode == 0, result.stderr[-3000:]
    rows = pd.read_csv(tiny_study / "build/own/main/analysis/rows.csv").groupby("objective").first()
    assert rows.loc["bce", "learning_rate"] == 1e-5 and rows.loc["focal", "learning_rate"] == 3e-3
    assert json.loads(rows.loc["bce", "options"])["positive_weight"] == 2.0
    assert json.loads(rows.loc["focal", "options"])["gamma"] == 1.0
    pages = tiny_study / "build/own/book/_build/html/runs"
    assert (pages / "own-main-run-focal.html").is_file() and not (pages / "own-main-run-bce.html").exists()


def test_publishing_puts_the_study_into_the_book_and_refuses_a_quick_one(tiny_study, tmp_path):
    refused = snakemake(tiny_study, "--config", "study=tiny", "--", "publish")
    assert refused.returncode != 0 and "not published: this study says of itself 'A tiny run.'" in refused.stderr
    book, readme = tmp_path / "book", tmp_path / "README.md"
    readme.write_text(
        "a\n<!-- verdicts tiny/main -->\nold\n<!-- end -->\nb\n<!-- verdicts x/main -->\nc\n<!-- end -->\n"
    )
    shutil.copytree(tiny_study / "book", book, ignore=shutil.ignore_patterns("_build"))
    before = {path.name for path in (book / "runs").iterdir()}
    command = [
        sys.executable,
        "workflow/assemble.py",
        str(book),
        "--study",
        "tiny",
        "--results",
        "build/tiny",
        "--parts",
        "main",
    ]
    run = next((tiny_study / "build/runs").glob("phantom-bce-seed0-*.ipynb"))
    for _ in range(2):  # a second time changes nothing
        subprocess.run([*command, "--readme", readme, "--runs", f"{run}=main-bce"], cwd=tiny_study, check=True)
    lines, verdicts = (
        readme.read_text().splitlines(),
        (tiny_study / "build/tiny/main/analysis/verdicts.csv").read_text(),
    )
    assert lines[:2] == ["a", "<!-- verdicts tiny/main -->"] and lines[-4:] == [
        "b",
        "<!-- verdicts x/main -->",
        "c",
        "<!-- end -->",
    ]
    shown = [line.strip("| ").split(" | ") for line in (lines[2], *lines[4:6])]
    assert shown == [row.split(",") for row in verdicts.splitlines()] and lines[6] == "<!-- end -->"
    made = {path.name for path in (book / "runs").iterdir()} - before
    assert made == {f"tiny-main{name}.ipynb" for name in ("", "-download", "-targets", "-run-bce")}
    results = tiny_study / "build/tiny/main/analysis"
    assert (book / "results/tiny/main/rows.csv").read_bytes() == (results / "rows.csv").read_bytes()
    for kind in ("explorer", "errors"):
        held = json.loads(re.search(">(.*)</script>", (book / f"results/{kind}_data.html").read_text())[1])
        assert sum(part["title"].startswith("tiny, main: ") for part in held) == 1, "once, however often"
    assert "../runs/tiny-main.ipynb::sentence" in (book / "results/tiny.md").read_text()
    (chapter,) = (
        c
        for p in yaml.safe_load((book / "_toc.yml").read_text())["parts"]
        for c in p["chapters"]
        if c["file"] == "results/tiny"
    )
    assert [section["file"] for section in chapter["sections"]] == [
        f"runs/tiny-main{name}" for name in ("", "-download", "-targets", "-run-bce")
    ]
    headings = [json.loads(p.read_text())["cells"][0]["source"][0] for p in (book / "runs").glob("tiny-*.ipynb")]
    assert len(set(headings)) == len(headings)


def test_a_failed_notebook_is_kept_aside_and_named(tiny_study, study):
    text = f"study: broken\nannouncement: ''\nobjectives: [bce]\nseeds: [0]\nparameters: {SMALL}\n"
    study("broken", text.replace("patch: 32", "patch: 33"))
    result = snakemake(tiny_study, "--config", "study=broken")
    assert result.returncode != 0
    assert "patch is 33; this network needs a multiple of 8" in result.stderr
    assert "cell 17 ('def of_class(i, found):') raised ValueError: patch is 33" in result.stderr
    (failed,) = (tiny_study / "build/runs").glob("*.ipynb.failed")
    assert "patch is 33" in json.dumps(json.loads(failed.read_text()))
    assert not failed.with_suffix("").exists()


def test_a_notebook_that_reads_parts_together_waits_for_all_of_them(project_copy):
    """And a part that there is not stops it before anything runs."""
    path = project_copy / "studies" / "shares.yml"
    part = "{{objectives: [bce], seeds: [0], parameters: {}{}}}"
    own, call = 'notebooks: {sparse: {parts: "first,second", named: 0.25}}', ("--config", "study=shares", "--dry-run")
    first, second = part.format(SMALL, f", {own}"), part.format(SMALL.replace("steps: 6", "steps: 7"), "")
    text = f"study: shares\nannouncement: ''\nparts:\n  first: {first}\n  second: {second}\n"
    try:
        path.write_text(text)
        result = snakemake(project_copy, *call, "--printshellcmds")
        path.write_text(text.replace('"first,second"', '"first,third"'))
        refused = snakemake(project_copy, *call)
    finally:
        path.unlink()
    assert result.returncode == 0, result.stderr[-3000:]
    jobs = (result.stdout + result.stderr).split("rule ")
    (job,) = (n for n, text in enumerate(jobs) if text.startswith("notebook:") and "notebooks/sparse.ipynb" in text)
    rows = [f"build/shares/{name}/analysis/rows.csv" for name in ("first", "second")]
    inputs = jobs[job].split("output:")[0]
    assert all(row in inputs for row in rows) and "build/shares/first/sparse" in jobs[job].split("output:")[1]
    assert sum(text.startswith("analysis:") for text in jobs[:job]) == 2, "it comes after both"
    told = ("-r parts first,second", "-r results build/shares", "-y '{named: 0.25}'")
    assert all(each in jobs[job] for each in told)
    says = "studies/shares.yml, line 4: parts of notebook sparse names 'third'; this study has first, second"
    assert refused.returncode != 0 and says in refused.stdout + refused.stderr


def test_a_study_that_cannot_run_says_so_before_anything_runs(study):
    text = f"study: nothing\nannouncement: ''\nobjectives: [bce, dise]\nseeds: [0]\nparameters: {SMALL}\n"
    result = snakemake(study("nothing", text), "--config", "study=nothing")
    assert result.returncode != 0
    assert "studies/nothing.yml, line 3: objective 'dise' of part main: expected one of bce" in result.stderr
