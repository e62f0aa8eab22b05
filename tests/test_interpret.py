"""Confidence through training of a study: the runs of an index, means over seeds, words, figures, the notebook."""

import functools
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from test_analysis import glued, texts
from test_notebooks import papermill, printed
from test_surfaces import edit

from helpers import datasets, figures, inference, judging, models, objectives, pixel_view, runs, statistics, surfaces
from helpers import training as trainings
from helpers.figures import confidence as confidence_figures
from helpers.statistics import training_words as words
from helpers.surfaces import study

CLASSES = ("mitochondria",)
# The study's name -> loss and options, as in a study's file.
OBJECTIVES = {
    "bce": ("bce", {}),
    "bce_weight_5": ("bce", {"positive_weight": 5.0}),
    "focal_1": ("focal", {"gamma": 1.0}),
    "focal_5": ("focal", {"gamma": 5.0}),
    "focal_detached": ("focal_detached", {"gamma": 2.0}),
    "dice": ("dice", {}),
}
SEEDS = (0, 1)


@pytest.fixture(scope="module", autouse=True)
def one_phantom():
    """The phantom is computed once for all these tests, not at each load."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load", functools.cache(datasets.load))
        yield


def write_run(folder, loss, options, seed, steps=4):
    """A run's folder as the training notebook writes it, of a few steps."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    objective = objectives.get(loss, **options)
    data = datasets.load("phantom", CLASSES, reduce=16, test=True)
    network = models.build("unet", 1, 1, width=2, depth=2)
    task = {"objective": loss, "options": dict(objective.options), "classes": list(CLASSES)}
    task |= {"dataset": "phantom", "reduce": 16}
    schedule = trainings.Schedule(steps, 2, 16, 0.02)
    settings = {"folder": folder / "checkpoints", "task": task, "seed": seed, "log": lambda line: None}
    trainings.train(network, objective, data.train, schedule, **settings)
    truth = judging.ground("phantom", CLASSES, 16, 0, True)
    found = {role: inference.read(network.eval(), objective, getattr(data, role))[0] for role in ("validation", "test")}
    runs.write_arrays(folder / "scores.npz", found, truth)
    options = {"gamma": 2.0, "positive_weight": 1.0} | options
    record = {"loss": loss, "seed": seed, "study": "pool", "split": 0, "dataset": "phantom", "reduce": 16, "test": True}
    record |= {"classes": ",".join(CLASSES), "network": "unet", "width": 2, "depth": 2, "steps": steps} | options
    record |= {"learning_rate": 0.02, "code": "made"}
    facts = {"options": dict(objective.options), "scale": {"natural_cut": 0.5, "published_cut": None, "link": "logit"}}
    facts |= {"n_weights": network.n_weights, "threads": 1, "device": "cpu", "commit": "made", "code_hash": "made"}
    facts |= {"learning_rate": 0.02, "seconds": 1.0}
    for name, content in {"parameters": record, "run": facts}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    runs.judge(folder)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """``runs/`` with every objective and seed, and the index of a part of a study."""
    folder, lines = tmp_path_factory.mktemp("pool"), ["run,objective"]
    for name, (loss, options) in OBJECTIVES.items():
        for seed in SEEDS:
            write_run(folder / "runs" / f"r-{name}-{seed}", loss, options, seed)
            lines.append(f"r-{name}-{seed},{name}")
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def own(pool, tmp_path):
    return shutil.copytree(pool, tmp_path / "own")


@pytest.fixture(scope="module")
def table(pool):
    members, _ = surfaces.read_index(pool / "index.csv", pool / "runs")
    return surfaces.tabulate(members, processes=1, log=lambda line: None)


@pytest.fixture(scope="module")
def blind(pool):
    return surfaces.blind(datasets.load("phantom", CLASSES, reduce=16))


def rewrite(path, change):
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


# ---- the index


def test_an_index_gives_its_runs_in_order_and_nothing_is_missing(pool):
    members, missing = surfaces.read_index(pool / "index.csv", pool / "runs")
    assert [m.objective for m in members] == [name for name in OBJECTIVES for _ in SEEDS] and missing == []
    assert members[3].unit == (0, 1) and members[3].parameters["positive_weight"] == 5


def test_what_an_index_lacks_is_said_in_words(own):
    shutil.rmtree(own / "runs" / "r-dice-1")
    shutil.rmtree(own / "runs" / "r-focal_5-0" / "checkpoints")
    (own / "runs" / "r-bce-0" / "run.json").unlink()  # still training
    members, missing = surfaces.read_index(own / "index.csv", own / "runs")
    assert missing == [
        "run r-bce-0 (bce)",
        "checkpoints of run r-focal_5-0 (focal_5)",
        "run r-dice-1 (dice)",
        "bce, split 0, seed 0",
        "focal_5, split 0, seed 0",
        "dice, split 0, seed 1",
    ]
    assert len(members) == 2 * len(OBJECTIVES) - 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: (f / "index.csv").write_text("run,loss\na,b\n"), "lacks the columns objective; it has run, loss"),
        (lambda f: (f / "index.csv").write_text("run,objective\na,b\na,c\n"), "names run a twice"),
        (lambda f: (f / "index.csv").write_text("run,objective\n../a,b\n"), "names run '../a'; expected the name of"),
        (lambda f: (f / "index.csv").write_text("run,objective\na,b\n"), "none of the 1 runs of .* is finished"),
        (
            lambda f: rewrite(f / "runs/r-dice-0/parameters.json", lambda p: p.update(steps=9, width=4)),
            "differ in more than their objective .width: 2 in r-bce-0, 4 in r-dice-0; steps: 4 in",
        ),
        (
            lambda f: rewrite(f / "runs/r-focal_5-1/parameters.json", lambda p: p.update(gamma=4.0)),
            "runs of focal_5 are not of one objective .gamma: 5.0 in r-focal_5-0, 4.0 in r-focal_5-1",
        ),
        (
            lambda f: rewrite(f / "runs/r-focal_5-1/parameters.json", lambda p: p.update(learning_rate=0.1)),
            "runs of focal_5 are not of one objective .learning_rate: 0.02 in r-focal_5-0, 0.1 in r-focal_5-1",
        ),
        (
            lambda f: rewrite(f / "runs/r-dice-1/parameters.json", lambda p: p.update(seed=0)),
            "r-dice-0 and r-dice-1 are both of dice, split 0, seed 0",
        ),
        (
            lambda f: rewrite(f / "runs/r-dice-1/run.json", lambda p: p.update(code_hash="new")),
            "runs of 2 code versions .made, new.; run the stale ones again",
        ),
    ],
)
def test_an_index_that_cannot_be_compared_is_refused(own, change, says):
    change(own)
    with pytest.raises(ValueError, match=says):
        surfaces.read_index(own / "index.csv", own / "runs")


def test_no_index_says_what_is_expected(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="no index .*none.csv; expected a CSV with the columns run and objective"
    ):
        surfaces.read_index(tmp_path / "none.csv", tmp_path)


# ---- the table


def test_every_run_is_tabulated_under_the_studys_names_and_only_once(own, table, monkeypatch):
    for path in own.glob("runs/*/confidence_*.csv"):
        path.unlink()
    members = surfaces.read_index(own / "index.csv", own / "runs")[0][1:5]
    computed = []

    def counted(folder, **options):
        computed.append(folder.name)
        return surfaces.through_training(folder, **options)

    monkeypatch.setattr(study, "through_training", counted)

    def again(**options):
        computed.clear()
        return surfaces.tabulate(members, processes=1, log=lambda line: None, **options)

    found = again()
    assert computed == [m.run for m in members] == list(dict.fromkeys(found["run"]))
    expected = table[table["run"].isin([m.run for m in members])].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected)
    names = found.groupby("objective")["loss"].unique().map(list).to_dict()
    assert names == {"bce": ["bce"], "bce_weight_5": ["bce"], "focal_1": ["focal"]}
    alone = surfaces.through_training(members[3].folder)
    mine = found[found["run"] == members[3].run]
    np.testing.assert_allclose(mine["ece"], alone["ece"], rtol=1e-12)
    pd.testing.assert_frame_equal(again(), found)
    assert computed == [], "what was computed is computed again"
    edit(own / "runs" / "r-focal_1-0", 2, lambda checkpoint: checkpoint["network"]["head.bias"].add_(1))
    (own / "runs" / "r-bce-1" / "confidence_validation.csv").write_text("run,objective\n")
    changed = again()
    assert sorted(computed) == ["r-bce-1", "r-focal_1-0"] and not changed.equals(found)
    again(subset="train")
    assert len(computed) == len(members)
    monkeypatch.setattr(study, "modules_hash", lambda names: "another version")
    again(subset="train")
    assert len(computed) == len(members)


@pytest.mark.slow
def test_several_processes_tabulate_the_same(own, table):
    members = surfaces.read_index(own / "index.csv", own / "runs")[0][:2]
    for member in members:
        (member.folder / "confidence_validation.csv").unlink(missing_ok=True)
    lines = []
    found = surfaces.tabulate(members, processes=2, log=lines.append)
    expected = table[table["run"].isin([m.run for m in members])]
    pd.testing.assert_frame_equal(found, expected.reset_index(drop=True), rtol=1e-6)
    assert lines[0] == "0 of 2 runs were tabulated before" and lines[-1].startswith("2/2 runs")


def test_the_tables_key_covers_what_makes_it():
    """Every module of the package that the numbers come through, but for those that only store, load or train."""
    import subprocess
    import sys

    code = "import sys, helpers.surfaces.confidence; print(sorted(m for m in sys.modules if m.startswith('helpers.')))"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    names = {m.removeprefix("helpers.").replace(".", "/") for m in eval(imported)}
    names = {n.partition("/")[0] if not n.startswith("surfaces/") else n for n in names} - {"surfaces"}
    other = {"augment", "crops", "files", "losses", "notebook", "targets"}  # of trainings, and of files
    other |= {f"surfaces/{n}" for n in ("curvature", "planes", "reading", "store", "study", "work")}
    # the phantom is imported where it is made
    assert names - other | {"phantom", "phantom_shapes"} == set(study.CODE)


def test_answers_that_look_at_no_image_are_worked_by_hand(blind):
    images = datasets.load("phantom", CLASSES, reduce=16).validation
    truth = np.concatenate([image.masks[0][image.known[0]] for image in images])
    share = truth.mean()
    found = blind.set_index("objective")
    assert set(found["share"]) == {share} and 0 < share < 1 and set(found["known"]) == {truth.size}
    assert found["accuracy"].tolist() == pytest.approx([1 - share, share, 1 - share])
    assert found.loc["all_background", "iou"] == 0 and found.loc["all_foreground", "iou"] == pytest.approx(share)
    assert found["ece"].tolist() == pytest.approx([share, 1 - share, 0], abs=1e-12)
    assert found.loc["base_rate", ["confidence_foreground", "confidence_background"]].tolist() == pytest.approx(
        [share, 1 - share]
    )
    with pytest.raises(ValueError, match="subset is 'test'; expected one of train, validation"):
        surfaces.blind(datasets.load("phantom", CLASSES, reduce=16), subset="test")


# ---- over seeds


def made(values, step=(1, 2), objective="bce", measure="iou", **columns):
    """A table of runs: a row of values for each seed, a column for each step."""
    rows = [
        {"objective": objective, "class": "a", "split": 0, "seed": seed, "step": s, measure: value, "area_ratio": 1.0}
        for seed, row in enumerate(values)
        for s, value in zip(step, row, strict=True)
    ]
    return pd.DataFrame(rows).assign(**columns)


def test_means_over_seeds_have_scipys_t_interval_from_eight_on_and_none_below():
    values = np.random.default_rng(0).random((9, 2))
    found = statistics.over_seeds(made(values), ["iou"])
    for k, row in found.iterrows():
        low, high = stats.ttest_1samp(values[:, k], 0).confidence_interval(0.95)
        assert (row["mean"], row["low"], row["high"]) == pytest.approx((values[:, k].mean(), low, high))
        assert (row["least"], row["greatest"], row["n"]) == (values[:, k].min(), values[:, k].max(), 9)
    few = statistics.over_seeds(made(values[:7]), ["iou"])
    assert few["low"].isna().all() and few["n"].tolist() == [7, 7] and few["mean"].notna().all()
    values[0, 1] = np.nan  # a diverged run: in no mean, and said
    some = statistics.over_seeds(made(values), ["iou"])
    assert some["n"].tolist() == [9, 8] and some["undefined"].tolist() == [0, 1]
    assert some["mean"].iloc[1] == pytest.approx(values[1:, 1].mean())
    with pytest.raises(ValueError, match="1 rows stand twice, the first for objective bce, class a, step 2"):
        statistics.over_seeds(pd.concat([made(values), made(values).iloc[1:2]]), ["iou"])
    with pytest.raises(ValueError, match="'sharpness'; expected a column"):
        statistics.over_seeds(made(values), ["sharpness"])


def test_the_end_is_each_runs_own_last_step_and_collapses_are_counted():
    table = made([[0.1, 0.2], [0.3, 0.4]])
    longer = made([[0.1, 0.5]], step=(1, 8), objective="dice", area_ratio=[1.0, 0.04])
    end = statistics.at_the_end(pd.concat([table, longer], ignore_index=True))
    assert end["iou"].tolist() == [0.2, 0.4, 0.5] and end["step"].tolist() == [2, 2, 8]
    assert end["collapsed"].tolist() == [0, 0, 1]
    areas = [0.05, 20.0, 20.1, np.nan]
    gone = statistics.at_the_end(made([[0.1]] * 4, step=(1,), area_ratio=areas))["collapsed"]
    assert gone.tolist()[:3] == [0, 0, 1] and np.isnan(gone.iloc[3])


def test_differences_are_paired_by_seed_with_an_interval_of_their_own():
    rng = np.random.default_rng(1)
    base, other = rng.random((8, 1)), rng.random((9, 1))
    table = pd.concat([made(base, (1,)), made(other, (1,), "dice")], ignore_index=True)
    found = statistics.against(statistics.at_the_end(table), ["iou"])
    low, high = stats.ttest_rel(other[:8, 0], base[:, 0]).confidence_interval(0.95)
    assert len(found) == 1 and found.loc[0, ["n", "objective"]].tolist() == [8, "dice"]
    assert (found["mean"].iloc[0], found["low"].iloc[0], found["high"].iloc[0]) == pytest.approx(
        ((other[:8] - base).mean(), low, high)
    )
    assert statistics.against(statistics.at_the_end(made(base, (1,))), ["iou"]).empty
    assert statistics.against(statistics.at_the_end(table), ["iou"], "lovasz").empty


def test_the_step_at_which_a_mean_passes_a_bar():
    table = pd.concat(
        [made([[0.2, 0.4, 0.9], [0.4, 0.8, 0.9]], (1, 2, 4)), made([[0.1, 0.2, 0.5]], (1, 2, 4), "dice")],
        ignore_index=True,
    )
    found = statistics.first_above(statistics.over_seeds(table, ["iou"]), "iou").set_index("objective")["step"]
    assert found["bce"] == 2 and np.isnan(found["dice"])


# ---- words


def test_every_number_of_the_sentences_is_in_the_table(table, blind):
    said = words.sentences(table, blind, "mitochondria")
    end = statistics.at_the_end(table)
    means = end.groupby("objective", sort=False)[list(statistics.THROUGH)].mean()
    lowest, highest = means["confidence_foreground"].idxmin(), means["confidence_foreground"].idxmax()
    expected = f"{means['confidence_foreground'].min():.3f} ({lowest}) to {means['confidence_foreground'].max():.3f} "
    assert f"on the foreground ranged from {expected}({highest})" in said["confidence"]
    assert f"bce gave {means.loc['bce', 'confidence_foreground']:.3f} and " in said["confidence"]
    apart = means["ece"].max() - means["ece"].min()
    assert f"means of 6 objectives on mitochondria differed by up to" in said["answer"]  # noqa: F541
    assert f"{apart:.4f} in expected calibration error" in said["answer"]
    share = blind["share"].iloc[0]
    assert f"{share:.2%} of the known pixels are mitochondria" in said["accuracy"]
    above = (means["accuracy"] > 1 - share).sum()
    assert f"accuracy of {1 - share:.4f}" in said["accuracy"] and f"{above} of 6 means lay above" in said["accuracy"]
    assert f"{int(end['collapsed'].sum())} of 12 runs had collapsed" in said["iou"]
    weights = [means.loc[name, "confidence_foreground"] for name in ("bce", "bce_weight_5")]
    assert f"With bce's positive_weight at 1, 5, confidence on foreground was {weights[0]:.3f}, " in said["options"]
    assert "With focal's gamma at 1, 5, " in said["options"] and "dice" not in said["options"]
    numbers = re.findall(r"\d+\.\d+", " ".join(said.values()))
    assert len(numbers) > 20 and "nan" not in " ".join(said.values())


def test_the_cut_in_words_is_that_of_the_table():
    measures = {"iou_natural": (0.1, 0.5), "iou_tuned": (0.6, 0.55), "ece_raw": (0.2, 0.1), "ece_fitted": (0.012, 0.01)}
    rows = [
        {"objective": o, "class": "synapses", "measure": m, "mean": v}
        for m, values in measures.items()
        for o, v in zip(("bce", "dice"), values, strict=True)
    ]
    said = words.cut_sentences(pd.DataFrame(rows), "synapses", "4 test images")
    assert said["cut"] == (
        "On the 4 test images mean IoU of synapses ranged from 0.100 (bce) to 0.500 (dice) at the natural cut, and "
        "from 0.550 (dice) to 0.600 (bce) at the tuned cut."
    )
    assert said["fit"] == (
        "On the 4 test images ECE of synapses ranged from 0.1000 (dice) to 0.2000 (bce), and after a logistic fit on "
        "validation from 0.0100 (dice) to 0.0120 (bce)."
    )
    table = pd.DataFrame(
        [*rows, {"objective": "distance", "class": "synapses", "measure": "iou_natural", "mean": np.nan}]
    )
    said = words.cut_sentences(table, "synapses", "1 test image")["cut"]
    assert "from 0.100 (bce) to 0.500 (dice) (undefined for distance) at the natural cut, and from 0.550 " in said
    assert "ranged from undefined, and after" in words.cut_sentences(table, "membranes", "1 test image")["fit"]


def test_words_for_when_foreground_becomes_likely():
    def of(values, name):
        return made(values, (1, 2, 4), name, "confidence_foreground").assign(accuracy=1, iou=1, ece=0.0)

    table = pd.concat([of([[0.1, 0.6, 0.9]], "bce"), of([[0.7, 0.2, 0.1]], "dice"), of([[0.1] * 3], "lovasz")])
    table = table.assign(confidence_background=1.0).reset_index(drop=True)
    text = "Mean confidence on the foreground "
    assert words._training(table) == (
        f"{text}first passed one half already at step 1 for dice; at step 2 for bce; never for lovasz."
    )
    assert words._training(table[table["objective"] == "lovasz"]) == f"{text}never passed one half for lovasz."


def test_levels_say_what_their_brackets_hold():
    eight = statistics.over_seeds(made(np.linspace(0.4, 0.6, 8)[:, None], (1,)), ["iou"], ("objective", "class"))
    row = eight.iloc[0]
    assert words.level("iou", row) == f"0.500 ({row['low']:.3f} to {row['high']:.3f})"
    assert words.brackets(eight) == "95 % t interval over seeds" and words.units_text(eight) == "n = 8 seeds"
    assert words.caveat(eight) == words.CAVEAT
    two = statistics.over_seeds(made([[0.4], [0.6]], (1,), "dice"), ["iou"], ("objective", "class"))
    assert words.level("iou", two.iloc[0], signed=True) == "+0.500 (+0.400 to +0.600)"
    assert "which give no interval" in words.brackets(two) and "of those without one" in words.brackets(
        both := pd.concat([eight, two])
    )
    assert words.units_text(both) == "n = 2 to 8 seeds" and "no interval: dice." in words.caveat(both)
    assert words.caveat(two) == "2 seeds give points and no interval (8 are needed): preliminary, no ranking."
    one = statistics.over_seeds(made([[0.4]], (1,)), ["iou"], ("objective", "class"))
    assert words.level("iou", one.iloc[0]) == "0.400" and words.caveat(one).startswith("1 seed gives points")
    none = statistics.over_seeds(made([[np.nan]], (1,)), ["iou"], ("objective", "class"))
    assert words.level("iou", none.iloc[0]) == "undefined"


# ---- windows and figures


def test_the_fullest_window_against_brute_force():
    rng = np.random.default_rng(0)
    for shape, size in (((9, 13), 4), ((5, 8), 6), ((3, 3), 9)):
        mask = rng.random(shape) < 0.2
        window = pixel_view.fullest_window(mask, size)
        height, width = (min(size, n) for n in shape)
        counts = [
            mask[y : y + height, x : x + width].sum()
            for y in range(shape[0] - height + 1)
            for x in range(shape[1] - width + 1)
        ]
        assert mask[window].shape == (height, width) and mask[window].sum() == max(counts)
    with pytest.raises(ValueError, match="no foreground"):
        pixel_view.fullest_window(np.zeros((4, 4), bool), 2)
    with pytest.raises(ValueError, match="size is 0"):
        pixel_view.fullest_window(mask, 0)


def test_families_are_the_losses_whose_names_begin_alike():
    losses = {name: loss for name, (loss, _) in OBJECTIVES.items()}
    assert confidence_figures.families(losses, "bce") == {
        "bce": ["bce_weight_5"], "focal": ["focal_1", "focal_5", "focal_detached"], "dice": ["dice"]
    }  # fmt: skip
    assert confidence_figures.families({"bce": "bce"}, "bce") == {"bce": []}


def test_curves_show_every_run_and_its_mean(table):
    levels = statistics.over_seeds(table)
    losses = {name: loss for name, (loss, _) in OBJECTIVES.items()}
    groups = confidence_figures.families(losses, "bce")
    figure = confidence_figures.through_training(table, levels, groups, "bce", {"accuracy": 0.9})
    axes = np.array(figure.axes).reshape(len(statistics.THROUGH), len(groups))
    lines = axes[1, 1].get_lines()  # IoU of the focal family: 4 objectives of 2 runs and a mean each
    assert len(lines) == 4 * 3
    own = levels[(levels["objective"] == "focal_5") & (levels["measure"] == "iou")]
    assert any(np.array_equal(line.get_ydata(), own["mean"]) for line in lines)
    run = table[(table["objective"] == "focal_5") & (table["seed"] == 1)]
    assert any(np.array_equal(line.get_ydata(), run["iou"]) for line in lines)
    accuracy = axes[0, 1].get_lines()
    drawn = 1 - levels[(levels["objective"] == "focal_5") & (levels["measure"] == "accuracy")]["mean"]
    assert any(np.allclose(line.get_ydata(), drawn) for line in accuracy if len(line.get_ydata()) == len(drawn))
    assert any(np.allclose(line.get_ydata(), 0.1) for line in accuracy), "the empty mask"
    looks = {line.get_label(): (line.get_color(), line.get_linestyle()) for line in accuracy}
    mine = [looks[name] for name in ("bce", "focal_1", "focal_5", "focal_detached")]
    assert len(set(mine)) == 4 and mine[3][1] != mine[1][1] == mine[2][1]
    assert all(axis.get_xscale() == "log" for axis in axes.flat)


def test_the_end_shows_every_run(table):
    end = statistics.at_the_end(table)
    levels = statistics.over_seeds(end, by=("objective", "class"))
    figure = confidence_figures.at_the_end(end, levels, list(OBJECTIVES), {"accuracy": 0.9})
    iou = figure.axes[1]
    dots = [line.get_xdata() for line in iou.get_lines() if line.get_marker() == "o"]
    assert [sorted(d) for d in dots] == [sorted(end.loc[end["objective"] == o, "iou"]) for o in OBJECTIVES]


def test_maps_side_by_side_stay_on_one_scale_where_they_mean_the_same(pool, tmp_path):
    maps, image = {}, datasets.load("phantom", CLASSES, reduce=16).validation[0]
    for name in ("bce", "dice"):
        run = surfaces.load_run(pool / "runs" / f"r-{name}-0")
        maps[name] = pixel_view.maps_through_training(run, image, "mitochondria", (1, 4))
    window = pixel_view.fullest_window(image.masks[0], 32)
    maps = {name: [moment.cut(window) for moment in seen] for name, seen in maps.items()}
    assert maps["bce"][0].confidence.shape == image.masks[0][window].shape
    shown = {}
    for what in ("confidence", "loss"):
        arguments = (image.raw[0][window], image.masks[0][window], maps, what)
        figure = confidence_figures.maps_side_by_side(*arguments, bar=image.spacing[-1])
        pictures = [axis.get_images()[0] for axis in figure.axes if axis.get_images()]
        shown[what] = [picture.get_clim() for picture in pictures if picture.get_cmap().name in ("cividis", "magma")]
        figures.save(figure, tmp_path / f"{what}.png")
    assert set(shown["confidence"][:2] + shown["confidence"][2:4]) == {(0, 1)}
    assert shown["loss"][0] == shown["loss"][1] != shown["loss"][2]


# ---- the notebook


def interpret(root, folder, *arguments):
    call = ["-p", "study", "tiny", "-p", "part", "made", "-p", "runs", "runs", "-p", "index", "index.csv"]
    call += ["-p", "output", "results", "-p", "processes", "1", "-p", "crop", "32", "-y", "shown: [bce, dice]"]
    return papermill(
        folder, root / "notebooks/interpret.ipynb", "interpret.ipynb", *call, *arguments, OMP_NUM_THREADS="1"
    )


def test_the_notebook_on_a_study_that_is_not_whole_says_so_and_shows_the_rest(root, own):
    shutil.rmtree(own / "runs" / "r-focal_5-1")
    (own / "runs" / "r-dice-1" / "scores.npz").unlink()
    result = interpret(root, own)
    assert result.returncode == 0, result.stderr[-3000:]
    files = {path.name for path in (own / "results").iterdir()}
    drawn = ("confidence_curves", "confidence_end", "maps_confidence", "maps_loss")
    assert {f"{name}.{kind}" for name in drawn for kind in ("png", "svg")} <= files
    tabled = ("blind", "through_training", "levels", "end", "differences", "cuts")
    tabled += ("end_table", "differences_table", "cuts_table")
    assert {f"confidence_{name}.csv" for name in tabled} <= files
    assert all(name.startswith(("confidence_", "maps_")) for name in files), "the analysis of the part has other names"
    said = printed(own / "interpret.ipynb")
    for text in (
        "missing: run r-focal_5-1 (focal_5)",
        "missing: focal_5, split 0, seed 1",
        "missing: scores of run r-dice-1 (dice)",
        "of 11 runs were tabulated before",
        "2 seeds give points and no interval",
    ):
        assert text in said, text
    sentences = {f"sentence_{n}" for n in "answer accuracy iou confidence options calibration training cut fit".split()}
    named = {"caveat", "share", "units", "missing", "n_runs", "commit_of_analysis"}
    assert sentences | named <= glued(own / "interpret.ipynb")
    shown = texts(own / "interpret.ipynb")
    assert shown.count("<img") == 4 and shown.count("n = 1 to 2 seeds") == 2 and "n = 1; an illustration" in shown
    end = pd.read_csv(own / "results/confidence_end_table.csv")
    assert end["objective"].tolist() == list(OBJECTIVES)
    assert end.loc[end["objective"] != "focal_5", "accuracy"].str.contains(r"^0\.\d{4} \(").all()
    cuts = pd.read_csv(own / "results/confidence_cuts.csv")
    rows = pd.concat([pd.read_csv(p) for p in sorted((own / "runs").glob("r-bce-[01]/rows.csv"))])
    mine = cuts[(cuts["objective"] == "bce") & (cuts["measure"] == "iou_tuned")]["mean"].iloc[0]
    assert mine == pytest.approx(rows.groupby("seed")["iou_tuned"].mean().mean())


@pytest.mark.slow
def test_the_notebook_on_a_whole_study_and_without_its_reference(root, own):
    result = interpret(root, own, "-y", "shown: []")
    assert result.returncode == 0, result.stderr[-3000:]
    assert "nothing is missing" in printed(own / "interpret.ipynb")
    for seed in SEEDS:
        shutil.rmtree(own / "runs" / f"r-bce-{seed}")
    result = interpret(root, own, "-y", "shown: []")
    assert result.returncode == 0, result.stderr[-3000:]
    said = printed(own / "interpret.ipynb")
    for text in (
        "missing: run r-bce-0 (bce)",
        "missing: bce, the reference: nothing is compared with it",
        "10 of 10 runs were tabulated before",
        "nothing is compared: the objectives are bce_weight_5, focal_1",
    ):
        assert text in said, text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-p", "index", "none.csv"], "there is no none.csv in"),
        (["-p", "subset", "test"], "subset is 'test'; expected one of train, validation (the test block stays closed)"),
        (["-y", "shown: [focal_9]"], "shown has 'focal_9'; expected some of bce, bce_weight_5"),
        (["-p", "indx", "a"], "unknown parameter 'indx' (did you mean 'index'?)"),
    ],
)
@pytest.mark.slow
def test_bad_input_of_the_notebook_is_named(root, own, arguments, says):
    result = interpret(root, own, *arguments)
    assert result.returncode != 0 and says in result.stderr, result.stderr[-1500:]
