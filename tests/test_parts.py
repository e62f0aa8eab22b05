"""The notebooks of single parts of studies, on made runs: whole, and with runs that are missing."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
from made_part import make_boundaries, make_fib25, make_network, make_shapes, make_shares, write_index
from made_study import make_study
from test_analysis import glued, texts
from test_notebooks import papermill, printed


def analyse(root, folder, name, *arguments, **environment):
    call = ["-p", "runs", "runs", "-p", "index", "part/runs.csv", "-p", "output", "results"]
    result = papermill(folder, root / f"notebooks/{name}.ipynb", f"{name}.ipynb", *call, *arguments, **environment)
    assert result.returncode == 0, result.stderr[-3000:]
    return printed(folder / f"{name}.ipynb")


def keys_of(root, page, notebook):
    """What a page of results glues from a notebook."""
    found = set(re.findall(rf"runs/{notebook}\.ipynb::(\w+)", (root / f"book/results/{page}.md").read_text()))
    assert found, f"{page}.md reads nothing from {notebook}"
    return found


def files(folder):
    return {path.name for path in (folder / "results").iterdir()}


@pytest.fixture(scope="module")
def occupancy(tmp_path_factory):
    """Eight seeds of bce and a neighbourhood of three, fewer of a disc, one with nobody to vote."""
    folder = tmp_path_factory.mktemp("occupancy")
    names = {}
    for seed in range(8):
        for name, loss, more in (
            ("bce", "bce", {}),
            ("lov_3", "lov", {}),
            ("lov_disc", "lov", {"kernel": 5, "shape": "disc"}),
            ("lov_1", "lov", {"kernel": 1}),
        ):
            if seed < 8 - 6 * (name in ("lov_disc", "lov_1")):
                make_network(folder / "runs" / f"{name}-{seed}", loss, seed, **more)
                names[f"{name}-{seed}"] = name
    write_index(folder / "part" / "runs.csv", names | {"lov_7-0": "lov_7"})
    return folder


@pytest.mark.slow
def test_occupancy_answers_its_questions_and_says_what_is_missing(root, occupancy):
    said = analyse(root, occupancy, "occupancy", "-p", "study", "made", "-y", "noise: [0.1]", "-p", "bins", "5")
    rows = pd.read_csv(occupancy / "results/readings.csv")
    readings = (
        rows[(rows["noise"] == 0) & (rows["dropped"] == 0)].groupby(["reading", "neighbourhood"])["seed"].nunique()
    )
    assert readings.to_dict() == {
        ("bce", "none"): 8,
        ("smoothed bce", "square 3"): 8,
        ("smoothed bce", "disc 5"): 8,
        ("own channel", "square 3"): 8,
        ("consensus", "square 3"): 8,
        ("own channel", "disc 5"): 2,
        ("consensus", "disc 5"): 2,
        ("own channel", "square 1"): 2,
    }
    assert set(rows["study"]) == {"made"} and set(rows["part"]) == {"vnc"}
    comparison = pd.read_csv(occupancy / "results/questions.csv").set_index(["class", "objective"])
    assert comparison.loc[("consensus against smoothed bce", "square 3"), "n_units"] == 8
    assert comparison.loc["consensus against smoothed bce", "low"].notna().to_dict() == {
        "square 3": True,
        "disc 5": False,
    }
    # trained on the same masks from the same start, a neighbourhood of one is bce
    alone = comparison.loc[("own channel against bce", "square 1")]
    assert alone["difference"] == 0 and alone["n_units"] == 2
    assert "missing: run lov_7-0 of lov_7" in said and "missing: lov_disc: no run of split 0, seed 5" in said
    assert "(2 seeds; an interval needs 8)" in said and "95 % interval" in said
    names = "questions readings_levels noise dropped spread map"
    assert {f"{name}.{kind}" for name in names.split() for kind in ("png", "svg")} <= files(occupancy)
    shown = texts(occupancy / "occupancy.ipynb")
    row = comparison.loc[("consensus against own channel", "square 3")]
    assert f"square 3 {row['difference']:+.3f} against the second named" in shown, "the alt text has the number"
    assert keys_of(root, "occupancy", "occupancy-vnc-occupancy") <= glued(occupancy / "occupancy.ipynb")
    page = (root / "book/results/occupancy.md").read_text()
    own = set(re.findall(r"^:file: occupancy/vnc/(\w+\.csv)", page, re.M)) - {"summary.csv"}  # of all runs alike
    assert len(own) == 6 and own <= files(occupancy)
    levels = pd.read_csv(occupancy / "results/noise_verdicts.csv", index_col="question")
    assert list(levels.index[-2:]) == ["noise 0.1", "averaged over the levels"] and levels["square 3"].notna().all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keep", "says"),
    [
        ("bce", "consensus against smoothed bce: no rows of consensus and smoothed bce"),
        ("lov_3", "own channel against bce: no rows of bce"),
    ],
)
def test_occupancy_of_one_condition_goes_through(root, occupancy, tmp_path, keep, says):
    for seed in range(2):
        shutil.copytree(occupancy / "runs" / f"{keep}-{seed}", tmp_path / "runs" / f"{keep}-{seed}")
    shutil.rmtree(tmp_path / "runs" / f"{keep}-1" / "checkpoints")
    write_index(tmp_path / "part" / "runs.csv", {f"{keep}-{seed}": keep for seed in range(2)})
    said = analyse(root, tmp_path, "occupancy")
    assert f"unanswered: {says}" in said and "no checkpoints/step-NNNNNN.pt" in said


@pytest.fixture(scope="module")
def fib25(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fib25")
    make_fib25(folder / "prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELPERS_PREPARED", str(folder / "prepared"))
        for loss, noise in (("bce", 0.05), ("tanh_distance", 0.5)):
            make_boundaries(folder / "runs" / f"{loss}-0", loss, 0, noise)
    names = {"bce-0": "bce", "tanh_distance-0": "tanh_distance", "hot_distance-0": "hot_distance"}
    write_index(folder / "part" / "runs.csv", names)
    return folder


def test_neurons_are_judged_in_three_dimensions_beside_their_ceiling(root, fib25):
    said = analyse(root, fib25, "neurons", HELPERS_PREPARED=str(fib25 / "prepared"))
    rows = pd.read_csv(fib25 / "results/neurons.csv").set_index(["objective", "truth"])
    bounds = pd.read_csv(fib25 / "results/neurons_bounds.csv").set_index(["objective", "truth"])
    assert len(rows) == 4 and len(bounds) == 4
    good, noisy = (rows.loc[(name, "numbered"), "voi"] for name in ("bce", "tanh_distance"))
    assert bounds.loc[("true boundaries", "numbered"), "voi"] <= good < noisy
    assert bounds.loc[("no boundary", "numbered"), "voi_split"] == 0
    assert (rows["voi"] - rows["voi_split"] - rows["voi_merge"]).abs().max() < 1e-9
    assert "missing: run hot_distance-0 of hot_distance" in said
    assert "1 seed gives points and no interval (8 are needed)" in said
    assert {f"{name}.{kind}" for name in ("neurons_voi", "neurons") for kind in ("png", "svg")} <= files(fib25)
    assert {"sentence", "caveat", "ceiling_voi", "n_pieces"} <= glued(fib25 / "neurons.ipynb")


@pytest.fixture(scope="module")
def losses(tmp_path_factory):
    folder = make_study(tmp_path_factory.mktemp("losses"), seeds=2, objectives=("bce", "dice"), study="made")
    names = {f"{o}-seed{s}": name for o, name in (("bce", "logistic"), ("dice", "dice_squared")) for s in range(2)}
    write_index(folder / "part" / "runs.csv", names | {"l1-seed0": "l1"})
    return folder


def test_ours_stand_beside_the_published_means(root, losses):
    said = analyse(root, losses, "published")
    long = pd.read_csv(losses / "results/summary_long.csv")
    assert len(long) == 4 * 3 * 2 * 3, "runs x images x classes x cuts"
    wide = pd.read_csv(losses / "results/summary_wide.csv")
    assert len(wide) == 4 * 3 * 3 and {"membranes_F_score", "mitochondria_RAND"} <= set(wide)
    beside = pd.read_csv(losses / "results/beside.csv").set_index(["objective", "class"])
    own = long.query("classic_loss == 'logistic' and label == 'membranes' and cut == 'natural'")["F_score"]
    row = beside.loc[("logistic", "membranes")]
    assert (row["natural cut"], row["natural cut SD"]) == pytest.approx((own.mean(), own.std()), abs=1e-4)
    assert row["natural cut n"] == 6 and row["published"] == 0.922 and row["perfect mask"] == 1
    assert (
        np.isnan(beside.loc[("square", "synapses"), "natural cut"])
        and beside.loc[("square", "synapses"), "published"] == 0.406
    )
    assert "missing: run l1-seed0 of l1" in said and "missing: square: published, and no run of it" in said
    assert "missing: class synapses: published, and not in these runs" in said
    assert "2 seeds give points and no interval (8 are needed)" in said
    figures = ("beside_script", "beside_natural", "beside_tuned", "published_differences")
    assert {f"{name}.{kind}" for name in figures for kind in ("png", "svg")} <= files(losses)
    assert keys_of(root, "losses", "losses-vnc-published") <= glued(losses / "published.ipynb")
    source = (root / "notebooks/analysis.ipynb").read_text()
    for part in ("vnc", "membranes", "depth_unet", "depth_resnet"):
        assert all(f'\\"{key}\\":' in source for key in keys_of(root, "losses", f"losses-{part}"))


def read_together(root, folder, parts):
    call = ["-p", "results", "made", "-p", "parts", parts, "-p", "named", "0.0625", "-p", "output", "results"]
    result = papermill(folder, root / "notebooks/sparse.ipynb", "sparse.ipynb", *call)
    assert result.returncode == 0, result.stderr[-3000:]
    return printed(folder / "sparse.ipynb")


def helped(loss, others, fraction, seed):
    """Other classes' blocks help hot_distance at a sixteenth, by 0.05 and 0.07 in turn; one run there collapses."""
    if (loss, others, fraction, seed) == ("bce", "own", 0.0625, 3):
        return 0.0
    return (
        0.5 + 0.01 * seed + (0.06 + 0.01 * (-1) ** seed) * ((loss, others, fraction) == ("hot_distance", "own", 0.0625))
    )


def test_shares_are_read_together_and_what_is_missing_is_said(root, tmp_path):
    make_shares(tmp_path / "made", {"one": 1.0, "sixteen": 0.0625}, helped)
    path = tmp_path / "made/sixteen/analysis/rows.csv"
    rows = pd.read_csv(path)
    rows[(rows["objective"] != "tanh_distance_own") | (rows["seed"] < 7)].to_csv(path, index=False)
    said = read_together(root, tmp_path, "one, four, sixteen")
    assert "missing: part four: no made/four/analysis/rows.csv" in said
    assert "missing: share 1/16, tanh_distance, own: no run of split 0, seed 7" in said
    assert "collapsed: 1 of 8 runs of bce, own at share 1/16" in said
    assert "share 1: 32 blocks; share 1/16: 2 blocks" in said
    named = "share 1/16 +0.060 (95 % interval +0.051 to +0.069, n = 8 seeds, corrected p = 0.008: better)"
    assert "hot_distance, own against discarded: share 1 +0.000 (95 % interval +0.000 to +0.000, n = 8" in said
    assert said.count(named) == 2, "the one that was named is a family of one; it is said once more at the end"
    assert said.count(named.replace("0.008", "0.016")) == 1, "of two shares: against bce"
    crossed = pd.read_csv(tmp_path / "results/sparse_instances_crossed.csv", index_col="question")["share 1/16"]
    better = crossed[crossed == "better: +0.060 (+0.051 to +0.069), p\xa0=\xa00.016"]
    assert list(better.index) == ["hot_distance, own against discarded", "hot_distance, own against bce, discarded"]
    assert "tanh_distance, own against discarded: share 1 +0.000" in said and "(7 seeds; an interval needs 8)" in said
    verdicts = pd.read_csv(tmp_path / "results/sparse_verdicts.csv")
    assert verdicts.loc[verdicts["standing"] == "primary", ["share", "verdict"]].values.tolist() == [
        ["share 1/16", "better"]
    ]
    shown = texts(tmp_path / "sparse.ipynb")
    assert "hot_distance, own: 0.595, 0.535" in shown and "share 1/16 +0.060 against the second named" in shown
    page = (root / "book/results/partial.md").read_text()
    parts = set(re.findall(r"runs/partial-(\w+)-sparse\.ipynb", page))
    assert "phantom_1" in parts
    for part in parts:
        assert keys_of(root, "partial", f"partial-{part}-sparse") <= glued(tmp_path / "sparse.ipynb")
        wanted = set(re.findall(rf"partial/{part}/(sparse_\w+\.\w+)", page))
        assert wanted and wanted <= files(tmp_path)
        source = (root / "notebooks/analysis.ipynb").read_text()
        assert all(f'\\"{key}\\":' in source for key in keys_of(root, "partial", f"partial-{part}"))


def turned(shape, objective, seed):
    """tanh_distance gains 0.03 on discs and 0.08 on tubes, hot_distance 0.01 everywhere."""
    gain = {"bce": 0.0, "hot_distance": 0.01, "tanh_distance": 0.08 if shape == "tubes" else 0.03}[objective]
    return 0.5 + 0.01 * seed + gain + 0.005 * (-1) ** seed * (objective == "tanh_distance") * (shape == "tubes")


@pytest.mark.slow
def test_shapes_are_read_together_and_a_turn_is_a_difference_of_differences(root, tmp_path):
    make_shapes(tmp_path / "made", ("discs", "tubes"), turned)
    rest = ["-p", "results", "made", "-p", "parts", "discs, tubes, sheets", "-p", "output", "results"]
    result = papermill(tmp_path, root / "notebooks/shapes.ipynb", "shapes.ipynb", *rest)
    assert result.returncode == 0, result.stderr[-3000:]
    said = printed(tmp_path / "shapes.ipynb")
    assert "missing: part sheets: no made/sheets/analysis/rows.csv" in said
    gains = pd.read_csv(tmp_path / "results/shapes_gains_verdicts.csv", index_col="question")
    assert gains.loc["tanh_distance against bce", "discs"].startswith("better: +0.030 (+0.030 to +0.030), p")
    turns = pd.read_csv(tmp_path / "results/shapes_turns.csv").set_index("class")
    assert turns["difference"].to_dict() == pytest.approx({"tanh_distance": 0.05, "hot_distance": 0})
    assert turns["verdict"].to_dict() == {"tanh_distance": "better", "hot_distance": "equivalent"}
    assert set(turns["objective"]) == {"tubes"} and set(turns["reference"]) == {"discs"}
    relative = pd.read_csv(tmp_path / "results/shapes_relative.csv").set_index("class")["difference"]

    def left(shape, objective):  # what is left to gain on each of two images, and the mean of its logarithm
        return np.mean([np.log(1 - turned(shape, objective, seed) - b) for seed in range(8) for b in (0.05, -0.05)])

    for o in ("tanh_distance", "hot_distance"):
        expected = left("tubes", "bce") - left("tubes", o) - left("discs", "bce") + left("discs", o)
        assert relative[o] == pytest.approx(expected)
    page = (root / "book/results/shapes.md").read_text()
    assert keys_of(root, "shapes", "shapes-discs-shapes") <= glued(tmp_path / "shapes.ipynb")
    wanted = set(re.findall(r"shapes/discs/(shapes_\w+\.\w+)", page))
    assert len(wanted) > 8 and wanted <= files(tmp_path)
    source = (root / "notebooks/neurons.ipynb").read_text()
    assert all(f'\\"{key}\\":' in source for key in keys_of(root, "shapes", "shapes-fib25-neurons"))


@pytest.mark.slow
def test_one_part_of_one_condition_goes_through(root, tmp_path):
    make_shares(tmp_path / "made", {"one": 1.0}, helped, seeds=1, conditions=[("bce", "own")])
    said = read_together(root, tmp_path, "one")
    assert "unanswered: hot_distance, own against discarded: no rows of hot_distance, own and" in said
    assert "no question can be answered: no sparse_questions" in said and "no answer" in said
    assert {"sparse_levels.png", "sparse_instances.png", "sparse_verdicts.csv"} <= files(tmp_path)
    make_shares(tmp_path / "made", {"two": 0.25}, helped, seeds=2)
    assert "(2 seeds; an interval needs 8)" in read_together(root, tmp_path, "two")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["occupancy", "neurons", "published"])
def test_a_part_without_any_finished_run_is_an_error(root, tmp_path, name):
    (tmp_path / "runs").mkdir()
    write_index(tmp_path / "part" / "runs.csv", {"a": "bce"})
    call = ["-p", "runs", "runs", "-p", "index", "part/runs.csv", "-p", "output", "results"]
    result = papermill(tmp_path, root / f"notebooks/{name}.ipynb", "out.ipynb", *call)
    assert (
        result.returncode != 0 and "no run of part/runs.csv is finished in runs; run the study first" in result.stderr
    )
