"""The analysis notebook on made studies: whole, and partial in every way that has a name."""

import json
import shutil

import nbformat
import numpy as np
import pandas as pd
import pytest
from made_study import make_study
from test_notebooks import papermill, printed


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("whole"))


def analyse(root, folder, *arguments):
    call = [
        "-p",
        "study",
        "made",
        "-p",
        "runs",
        "runs",
        "-p",
        "index",
        "",
        "-p",
        "output",
        "results",
        "-p",
        "crop",
        "32",
    ]
    return papermill(folder, root / "notebooks/analysis.ipynb", "analysis.ipynb", *call, *arguments)


def glued(path):
    outputs = (o for c in nbformat.read(path, 4).cells for o in c.get("outputs", ()))
    books = (o.metadata.get("scrapbook") for o in outputs if o.output_type == "display_data")
    return {book["name"] for book in books if book}


def texts(path):
    """What figures say to those who cannot see them, and their captions."""
    outputs = (o for c in nbformat.read(path, 4).cells for o in c.get("outputs", ()))
    return " ".join(o.data.get("text/html", "") for o in outputs if o.output_type == "display_data")


def test_a_whole_study_gives_every_figure_table_and_number(root, whole):
    result = analyse(root, whole)
    assert result.returncode == 0, result.stderr[-3000:]
    files = {path.name for path in (whole / "results").iterdir()}
    names = "comparison differences cuts cuts-membranes reliability reliability-membranes"
    names += " curves panels panels-membranes"
    assert {f"{name}.{kind}" for name in names.split() for kind in ("png", "svg")} <= files
    tables = ("rows", "summary", "means", "levels", "differences", "comparison", "verdicts", "trivial", "trivial_means")
    assert {f"{name}.csv" for name in tables} <= files
    comparison = pd.read_csv(whole / "results/comparison.csv")
    assert len(comparison) == 3 * 2 and set(comparison["n_units"]) == {8} and comparison["low"].notna().all()
    means = pd.read_csv(whole / "results/means.csv")
    assert {"voi", "instance_f1", "ece_fitted", "iou_published"} <= set(means.columns)
    said = printed(whole / "analysis.ipynb")
    assert "nothing is missing" in said and "95 % interval" in said and "n = 8 seeds, corrected p" in said
    assert {"sentence", "caveat", "verdicts", "n_seeds", "spacing_nm", "seconds_total"} <= glued(
        whole / "analysis.ipynb"
    )
    shown = texts(whole / "analysis.ipynb")
    for row in comparison.itertuples():
        assert f"{row.objective} {row.difference:+.3f} against bce" in shown, "the alt text has the number"
    assert shown.count("n = 8 seeds") >= 5, "captions say n"


@pytest.mark.slow
def test_another_primary_metric_and_reference_where_less_is_better(root, whole):
    result = analyse(root, whole, "-p", "primary", "voi", "-p", "reference", "dice", "-p", "margin", "0.05")
    assert result.returncode == 0, result.stderr[-3000:]
    comparison = pd.read_csv(whole / "results/comparison.csv")
    assert set(comparison["reference"]) == {"dice"} and set(comparison["margin"]) == {0.05}
    assert "mean variation of information of mitochondria was" in printed(whole / "analysis.ipynb")


def test_a_partial_study_says_what_is_missing_and_shows_the_rest(root, whole, tmp_path):
    """Runs, seeds, a class, columns, scores and histories that are not there."""
    runs = tmp_path / "runs"
    shutil.copytree(whole / "runs", runs, ignore=lambda f, names: [n for n in names if n.endswith(("seed6", "seed7"))])
    shutil.rmtree(runs / "dice-seed5")
    for path in runs.glob("*/rows.csv"):
        rows = pd.read_csv(path)
        rows[[c for c in rows if c.startswith(("voi", "iou_published", "ece"))]] = np.nan
        if "signed" in path.parent.name:
            rows = rows[rows["class"] == "mitochondria"]
        if path.parent.name == "tanh_distance-seed1":
            rows = rows.iloc[2:]
        rows.to_csv(path, index=False)
    (runs / "bce-seed0" / "scores.npz").unlink()
    (runs / "bce-seed1" / "history.json").unlink()
    listed = pd.DataFrame({"run": [*sorted(p.name for p in runs.iterdir()), "dice-seed5"]})
    listed.assign(objective=listed["run"].str.split("-").str[0]).to_csv(tmp_path / "runs.csv", index=False)
    result = analyse(root, tmp_path, "-p", "index", "runs.csv")
    assert result.returncode == 0, result.stderr[-3000:]
    said = printed(tmp_path / "analysis.ipynb")
    for missing in (
        "missing: run dice-seed5",
        "missing: dice, split 0, seed 5: no rows of mitochondria",
        "missing: signed_distance, split 0, seed 3: no rows of membranes",
        "missing: column voi: no value",
        "missing: iou_published: no published cut in these rows",
        "left out: tanh_distance, mitochondria, 0, 1: 1 images without a pair",
        "no scores of bce-seed0 for the pictures",
        "missing: history.json of bce-seed1",
        "(6 seeds; an interval needs 8)",
    ):
        assert missing in said, missing
    names = {path.name for path in (tmp_path / "results").glob("*.png")}
    assert {"comparison.png", "differences.png", "curves.png", "panels.png", "panels-membranes.png"} <= names


@pytest.mark.slow
def test_a_study_has_names_of_its_own_for_what_it_compares_and_chooses_classes(root, whole, tmp_path):
    """The same loss under two names, which a table by the registry's names would refuse as the same rows twice."""
    shutil.copytree(whole / "runs" / "bce-seed0", tmp_path / "runs" / "bce-seed0")
    shutil.copytree(whole / "runs" / "bce-seed0", tmp_path / "runs" / "again")
    (tmp_path / "runs.csv").write_text("run,objective\nagain,other\nbce-seed0,first\n")
    named = ["-p", "index", "runs.csv", "-p", "reference", "first", "-p", "classes", "membranes", "-p", "part", "one"]
    result = analyse(root, tmp_path, *named)
    assert result.returncode == 0, result.stderr[-3000:]
    rows = pd.read_csv(tmp_path / "results/rows.csv")
    assert rows["objective"].unique().tolist() == ["first", "other"] and set(rows["class"]) == {"membranes"}
    comparison = pd.read_csv(tmp_path / "results/comparison.csv")
    assert comparison["objective"].tolist() == ["other"] and comparison["difference"].tolist() == [0]
    refused = analyse(root, tmp_path, *named, "-p", "classes", "nuclei")
    assert "classes is 'nuclei'; these runs have mitochondria, membranes" in refused.stderr


@pytest.mark.slow
def test_unequal_lengths_are_compared_on_purpose_alone(root, whole, tmp_path):
    shutil.copytree(whole / "runs" / "bce-seed0", tmp_path / "runs" / "bce-seed0")
    shutil.copytree(whole / "runs" / "bce-seed0", tmp_path / "runs" / "longer")
    rows = pd.read_csv(tmp_path / "runs/longer/rows.csv")
    rows.assign(steps=4 * rows["steps"]).to_csv(tmp_path / "runs/longer/rows.csv", index=False)
    (tmp_path / "runs.csv").write_text("run,objective\nbce-seed0,first\nlonger,longer\n")
    named = ["-p", "index", "runs.csv", "-p", "reference", "first"]
    assert "in the rows of longer and" in analyse(root, tmp_path, *named).stderr
    result = analyse(root, tmp_path, *named, "-p", "unequal", "steps")
    assert result.returncode == 0, result.stderr[-3000:]
    shown = pd.read_csv(tmp_path / "results/rows.csv")
    assert shown.groupby("objective")["steps"].first().pipe(lambda steps: steps["longer"] == 4 * steps["first"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keep", "arguments", "says"),
    [
        (("dice-seed0",), (), "no comparison: the objectives are dice, the reference bce"),
        (("bce-seed0", "dice-seed0"), (), "(1 seed; an interval needs 8)"),
        (("bce-seed0", "dice-seed0"), ("-p", "primary", "voi_tuned"), "these rows have no value of voi_tuned"),
    ],
)
def test_single_seeds_and_objectives_go_through(root, whole, tmp_path, keep, arguments, says):
    for name in keep:
        shutil.copytree(whole / "runs" / name, tmp_path / "runs" / name)
    result = analyse(root, tmp_path, *arguments)
    assert result.returncode == 0, result.stderr[-3000:]
    assert says in printed(tmp_path / "analysis.ipynb")
    assert "no ranking" in printed(tmp_path / "analysis.ipynb")


@pytest.mark.slow
def test_a_study_of_depths_gets_its_curve(root, whole, tmp_path):
    for depth in (2, 3, 4):
        for name in ("bce-seed0", "bce-seed1", "dice-seed0", "dice-seed1"):
            folder = tmp_path / "runs" / f"{name}-{depth}"
            shutil.copytree(whole / "runs" / name, folder)
            record = json.loads((folder / "parameters.json").read_text()) | {"depth": depth}
            (folder / "parameters.json").write_text(json.dumps(record))
            rows = pd.read_csv(folder / "rows.csv").assign(parameters=json.dumps(record), depth=depth)
            rows["iou_tuned"] = 0.7 - 0.05 * (depth - 3) ** 2
            rows.to_csv(folder / "rows.csv", index=False)
            curves = pd.read_csv(folder / "reliability.csv").assign(depth=depth)
            curves.to_csv(folder / "reliability.csv", index=False)
    result = analyse(root, tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    fits = pd.read_csv(tmp_path / "results/depth.csv")
    assert fits["peak"].tolist() == pytest.approx([3] * 4) and (tmp_path / "results/depth.png").is_file()
    assert len(pd.read_csv(tmp_path / "results/comparison.csv")) == 2, "compared at one depth alone"
    assert "of the depths 2, 3, 4, levels and verdicts are at 2" in printed(tmp_path / "analysis.ipynb")
    assert not (tmp_path / "results/explorer.json").exists(), "the explorer compares objectives alone"


def test_an_unknown_primary_metric_is_named(root, whole):
    result = analyse(root, whole, "-p", "primary", "sharpness")
    assert result.returncode != 0 and "metric is 'sharpness'; expected one of iou, dice" in result.stderr
