"""Figures show what the tables say, readably: styles, crops, dots, texts that do not overlap."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from PIL import Image

from helpers import figures, objectives, statistics
from helpers.figures import words

OKABE_ITO = {"#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def overlapping(figure):
    """Pairs of texts that share pixels, those without text left out."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    texts = [t for t in figure.findobj(plt.Text) if t.get_visible() and t.get_text().strip()]
    ticks = [t for axis in figure.axes for t in _hidden_ticks(axis)]
    texts = [t for t in texts if not any(t is hidden for hidden in ticks)]
    corners = [_corners(t, renderer) for t in texts]
    return [
        (a.get_text(), b.get_text())
        for (a, p), (b, q) in itertools.combinations(zip(texts, corners, strict=True), 2)
        if _polygons_meet(p, q)
    ]


def _hidden_ticks(axis):
    """Labels of ticks outside the limits, which matplotlib does not draw."""
    for each in (axis.xaxis, axis.yaxis):
        low, high = sorted(each.get_view_interval())
        for tick in (*each.get_major_ticks(), *each.get_minor_ticks()):
            if not low - 1e-9 <= tick.get_loc() <= high + 1e-9:
                yield tick.label1


def _corners(text, renderer):
    """The text's box as four corners, turned as the text is."""
    turned = text.get_rotation()
    if turned % 90 == 0:
        (x0, y0), (x1, y1) = text.get_window_extent(renderer).get_points()
        return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    text.set_rotation(0)
    (x0, y0), (x1, y1) = text.get_window_extent(renderer).get_points()
    text.set_rotation(turned)
    anchor, angle = text.get_transform().transform(text.get_position()), np.deg2rad(turned)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]) - anchor) @ turn.T + anchor


def _polygons_meet(p, q):
    """Separating axes of two convex polygons, a pixel of touching allowed."""
    for polygon in (p, q):
        for edge in np.roll(polygon, -1, 0) - polygon:
            normal = np.array([-edge[1], edge[0]]) / (np.hypot(*edge) or 1)
            a, b = p @ normal, q @ normal
            if a.max() <= b.min() + 1 or b.max() <= a.min() + 1:
                return False
    return True


def study(names=("bce", "dice", "tanh_distance"), seeds=8, classes=("mitochondria", "membranes"), spread=0.01):
    """Rows of that many objectives, each a little apart from bce."""
    rng = np.random.default_rng(0)
    rows = []
    for k, (objective, name, seed) in enumerate(itertools.product(names, classes, range(seeds))):
        for image in "ab":
            value = 0.7 + 0.02 * (k % 5) * (objective != "bce") + rng.normal(0, spread)
            rows.append(
                {"study": "s", "dataset": "d", "subset": "test", "objective": objective, "class": name, "split": 0}
                | {"seed": seed, "image": image, "iou_tuned": value, "iou_natural": value - 0.05}
                | {"true_positive_tuned": 80, "false_positive_tuned": 10, "false_negative_tuned": 10}
            )
    return pd.DataFrame(rows)


def compared(table):
    return statistics.paired_differences(table, "iou_tuned"), statistics.compare(table, "iou_tuned")


def through_training(names):
    """Two runs of each objective at three moments, one ahead of the other by a half."""
    rows = [
        {"objective": o, "split": 0, "seed": seed, "run": f"{o}-{seed}", "step": step, "value": seed / 2 + k / 4}
        for o in names for seed in (0, 1) for k, step in enumerate((10, 20, 30))
    ]  # fmt: skip
    return pd.DataFrame(rows)


# --- style


def test_every_objective_has_a_colour_and_marker_of_its_own():
    names = [*objectives.names(), *figures.TRIVIAL]
    styles = [figures.style(name) for name in names]
    assert len(names) == 24 and len(set(styles)) == len(names)
    assert set(figures.STYLES) == set(objectives.names())
    assert {to_hex(tint) for tint, _ in figures.STYLES.values()} <= OKABE_ITO
    assert {figures.colour(name) for name in figures.TRIVIAL} == {"#7F7F7F"}
    own = figures.style("my_losses:soft_iou")
    assert own == figures.style("my_losses:soft_iou") and own[1] not in {marker for _, marker in styles}


def test_a_saved_figure_is_white_where_a_dark_page_would_shine_through(tmp_path):
    path = figures.save(figures.differences(*compared(study()), "IoU"), tmp_path / "deep" / "a.png")
    picture = np.asarray(Image.open(path).convert("RGBA"))
    assert (picture[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all() and (picture[..., 3] == 255).all()
    svg = path.with_suffix(".svg").read_text()
    again = figures.save(figures.differences(*compared(study()), "IoU"), tmp_path / "b.png")
    assert again.with_suffix(".svg").read_text() == svg, "the same table gives the same bytes"


# --- the hardest crop


@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_the_hardest_crop_is_what_brute_force_finds(seed, size, n):
    rng = np.random.default_rng(seed)
    images = {"a": (7, 9), "b": (3, 5, 6)}
    truths = {name: rng.random(shape) < 0.5 for name, shape in images.items()}
    known = {name: rng.random(shape) < 0.7 for name, shape in images.items()}
    found = {f"o{k}": {name: rng.random(shape) < 0.5 for name, shape in images.items()} for k in range(n)}
    best = -1
    for name, shape in images.items():
        sides = (1,) * (len(shape) - 2) + tuple(min(size, s) for s in shape[-2:])
        for corner in np.ndindex(*(s - w + 1 for s, w in zip(shape, sides, strict=True))):
            window = tuple(slice(c, c + w) for c, w in zip(corner, sides, strict=True))
            where = known[name][window]
            if where.mean() >= 0.5:
                shares = [(found[o][name] != truths[name])[window][where].mean() for o in found]
                best = max(best, np.mean(shares))
    if best < 0:
        with pytest.raises(ValueError, match="is half known"):
            figures.hardest_crops(found, truths, known, size)
        return
    (crop,) = figures.hardest_crops(found, truths, known, size)
    assert crop.share == pytest.approx(best)
    where = known[crop.image][crop.window]
    for o, share in crop.shares.items():
        assert share == pytest.approx((found[o][crop.image] != truths[crop.image])[crop.window][where].mean())
    every = figures.hardest_crops(found, truths, known, size, 5)
    assert every[0] == crop and [c.share for c in every] == sorted((c.share for c in every), reverse=True)
    alone = [{i: t} for i, t in truths.items() if i in {c.image for c in every}]
    assert {c.image: c.share for c in every} == {
        next(iter(t)): figures.hardest_crops(found, t, known, size)[0].share for t in alone
    }, "one of each image"


def test_the_choice_favours_no_objective():
    """One objective errs everywhere on the left, two on the right: the right is harder, in whatever order."""
    truth = np.zeros((8, 20), bool)
    left, right = truth.copy(), truth.copy()
    left[:, :8], right[:, 12:] = True, True
    known = {"i": ~truth}
    for order in itertools.permutations([("a", left), ("b", right), ("c", right)]):
        (crop,) = figures.hardest_crops({o: {"i": f} for o, f in order}, {"i": truth}, known, 8)
        assert crop.window == (slice(0, 8), slice(12, 20)) and crop.share == pytest.approx(2 / 3)
        assert crop.shares == {"a": 0, "b": 1, "c": 1}
        assert "a 0.0%" in words.of_panels(crop, "vesicles")


def test_crops_that_cannot_be_chosen_are_named():
    truth = {"i": np.zeros((4, 4), bool)}
    with pytest.raises(ValueError, match="no objective's prediction"):
        figures.hardest_crops({}, truth, truth, 2)
    with pytest.raises(ValueError, match="size is 0; expected a side of at least 1"):
        figures.hardest_crops({"bce": truth}, truth, truth, 0)
    with pytest.raises(ValueError, match="bce has no prediction of i"):
        figures.hardest_crops({"bce": {}}, truth, truth, 2)
    with pytest.raises(ValueError, match=r"\(3, 3\) of bce and \(4, 4\) of the truth"):
        figures.hardest_crops({"bce": {"i": np.zeros((3, 3), bool)}}, truth, truth, 2)
    with pytest.raises(ValueError, match="no window of 2 voxels is half known in i"):
        figures.hardest_crops({"bce": truth}, truth, truth, 2)


def test_panels_show_score_and_errors_of_each_objective_and_count_known_pixels_alone():
    rng = np.random.default_rng(0)
    raw, truth = rng.random((16, 16)), rng.random((16, 16)) < 0.3
    known = np.ones_like(truth)
    known[:, 8:] = False
    results = {o: (rng.random((16, 16)), 0.5) for o in list(objectives.names())[:6]} | {"nothing": (raw, np.nan)}
    figure = figures.panels(raw, truth, results, title="i", bar=10.0, known=known)
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles[:5] == ["i", "bce: score", "logistic: score", "softmax: score", "truth outlined"], "two even rows"
    wrong = ((results["bce"][0] > 0.5) != truth)[:, :8].mean()
    assert f"bce: {wrong:.1%} wrong" in titles
    assert f"nothing: {truth[:, :8].mean():.1%} wrong" in titles, "without a cut nothing is foreground"
    assert not overlapping(figure)


# --- tables as figures


def test_differences_show_every_seed_the_interval_and_the_verdict():
    table = study()
    units, comparison = compared(table)
    figure = figures.differences(units, comparison, "IoU")
    dots = sum(len(line.get_xdata()) for line in figure.axes[0].lines if line.get_markersize() == 4.5)
    assert dots == 2 * 8
    shown = [t.get_text() for t in figure.axes[0].texts]
    expected = comparison.loc[comparison["class"] == "mitochondria", "verdict"].tolist()
    assert shown == expected
    bars = [c.get_segments()[0][:, 0].tolist() for c in figure.axes[0].collections]
    first = comparison.iloc[0]
    assert [first["low"], first["high"]] == pytest.approx(bars[0])
    assert not overlapping(figure)
    alt = words.of_differences(comparison)
    assert f"{first['low']:+.3f} to {first['high']:+.3f}" in alt and "n = 8 seeds" in alt


def test_few_seeds_show_points_and_no_interval_and_a_collapse_is_named():
    table = study(seeds=3)
    gone = (table["objective"] == "dice") & (table["seed"] == 0)
    table.loc[gone, ["true_positive_tuned", "false_positive_tuned", "iou_tuned"]] = [0, 0, 0.0]
    units, comparison = compared(table)
    figure = figures.differences(units, comparison, "IoU", higher_is_better=False)
    assert figure.axes[0].texts[0].get_text() == "3 seeds: no interval\n1 collapsed"
    assert "← better" in figure.axes[0].get_xlabel() and "logarithmic beyond ±0.05" in figure.axes[0].get_xlabel()
    assert not overlapping(figure)


@pytest.mark.parametrize("count", [3, 21])
def test_no_labels_overlap_however_many_objectives(count):
    names = objectives.names()[:count]
    table = study(names, classes=("mitochondria",))
    trivial = {"all_background": 0.0, "all_foreground": 0.1, "dilated_truth": float("nan")}
    levels = table.rename(columns={"iou_tuned": "tuned", "iou_natural": "natural"}).assign(published=np.nan)
    levels = levels.groupby(["objective", "split", "seed"], sort=False)[["published", "natural", "tuned"]].mean()
    levels = levels.reset_index()
    panels = {f"mitochondria, {c} cut": levels.rename(columns={c: "value"}) for c in ("natural", "tuned")}
    rng = np.random.default_rng(0)
    bins = pd.DataFrame(
        [
            {"objective": o, "kind": k, "seed": s, "bin": b, "count": 10, "probability": (b + 0.5) / 15,
             "positive": min(1, max(0, (b + 0.5) / 15 + rng.normal(0, 0.1)))}
            for o in names for k in ("raw", "fitted") for s in range(2) for b in range(15)
        ]
    )  # fmt: skip
    course = through_training(names)
    deep = pd.concat([table.assign(depth=d, iou_tuned=table["iou_tuned"] - 0.02 * (d - 3) ** 2) for d in (2, 3, 4)])
    made = {
        "differences": figures.differences(*compared(table), "IoU"),
        "comparison": figures.comparison(panels, "IoU", {"mitochondria, tuned cut": trivial}),
        "cuts": figures.cuts(levels, "IoU", trivial),
        "reliability": figures.reliability(
            statistics.pooled_reliability(bins, ("objective", "kind")),
            statistics.pooled_reliability(bins, ("objective", "kind", "seed")),
        ),
        "curves": figures.curves(course, "validation IoU"),
        "depth": figures.depth_curve(*statistics.depth_curve(deep, "iou_tuned"), "depth", "iou_tuned", "IoU"),
    }
    for name, figure in made.items():
        assert not overlapping(figure), name
        assert figure.get_facecolor() == (1, 1, 1, 1), name


def test_the_check_for_overlapping_labels_can_fail():
    figure, axis = plt.subplots()
    axis.set_xticks([0.5, 0.51], ["one label", "another label"])
    assert overlapping(figure) == [("one label", "another label")]


def test_curves_have_a_panel_for_each_objective_with_every_run_their_mean_and_the_first_objectives_mean():
    course = through_training(["bce", "dice"])
    course = course[~((course["run"] == "dice-1") & (course["step"] == 30))]  # killed before its last step
    figure = figures.curves(course, "validation IoU")
    first, second = ([line.get_ydata().tolist() for line in axis.lines] for axis in figure.axes)
    assert first == [[0.0, 0.25, 0.5], [0.5, 0.75, 1.0], [0.25, 0.5, 0.75]]
    assert second == [[0.0, 0.25, 0.5], [0.5, 0.75], [0.25, 0.5, 0.75], [0.25, 0.5]], "no mean of one run alone"
    assert [axis.get_title() for axis in figure.axes] == ["bce", "dice"]
    said = words.of_curves(course[course["objective"] == "bce"], "IoU")
    assert "bce from 0.250 at step 10 to 0.750 at step 30" in said


def test_cuts_side_by_side_join_the_same_run_and_say_where_there_is_none():
    values = pd.DataFrame(
        {"objective": ["bce"] * 2 + ["distance"] * 2, "split": 0, "seed": [0, 1] * 2, "published": [0.1, 0.2, 0.0, 0.1],
         "natural": [0.6, 0.7, np.nan, np.nan], "tuned": [0.65, 0.75, 0.5, 0.6]}
    )  # fmt: skip
    figure = figures.cuts(values, "IoU", {"all_background": 0.0, "dilated_truth": 0.4})
    first = [line.get_ydata().tolist() for line in figure.axes[0].lines if len(line.get_ydata()) == 3]
    assert first == [[0.1, 0.6, 0.65], [0.2, 0.7, 0.75]]
    assert [t.get_text() for t in figure.axes[1].texts] == ["none"]
    labels = [t.get_text() for t in figure.legends[0].get_texts()]
    assert labels == ["one seed", "mean over seeds", "all background", "dilated truth"]
    assert "distance: as published 0.050, natural none, tuned 0.550" in words.of_cuts(values, "IoU")


def test_a_metric_that_is_nowhere_defined_still_makes_a_figure():
    """No run has a value: the figure says none, and numpy warns of nothing."""
    nothing = pd.DataFrame({"objective": ["bce", "dice"], "split": 0, "seed": 0, "natural": np.nan, "tuned": np.nan})
    figure = figures.cuts(nothing, "IoU")
    assert [t.get_text() for t in figure.axes[0].texts] == ["none", "none"]
    figure = figures.comparison({"tuned": nothing.rename(columns={"tuned": "value"})}, "IoU")
    assert [t.get_text() for t in figure.axes[0].texts] == ["none", "none"]
    empty = study().assign(iou_tuned=np.nan)
    figure = figures.differences(*compared(empty), "IoU")
    assert figure.axes[0].texts[0].get_text() == "0 seeds: no interval"


def test_alt_texts_are_made_of_the_data():
    levels = {"tuned cut": pd.DataFrame({"objective": ["bce", "bce", "dice"], "value": [0.5, 0.7, np.nan]})}
    assert "tuned cut: bce 0.600 (0.500 to 0.700), dice none." in words.of_levels(levels, "IoU")
    many = pd.DataFrame({"objective": [f"o{k}" for k in range(12)], "value": np.arange(12) / 20})
    assert "means of 12 from 0.000 (o0) to 0.550 (o11)" in words.of_levels({"tuned": many}, "IoU")
    bins = pd.DataFrame(
        {"objective": "bce", "kind": ["raw", "raw"], "bin": [0, 1], "count": [30, 10], "probability": [0.0, 0.5],
         "positive": [0.1, 0.9]}
    )  # fmt: skip
    assert "bce raw 0.175" in words.of_reliability(bins), "(30·0.1 + 10·0.4) / 40"
    fits = pd.DataFrame({"objective": ["a", "b"], "class": "c", "peak": [2.5, np.nan], "reason": ["", "1 levels of x"]})
    text = words.of_depth(fits, "depth", "IoU")
    assert "a, c: peak at 2.5; b, c: 1 levels of x" in text
    assert words.listing(["a", "b", "c"]) == "a, b and c" and words.listing([]) == "nothing"


def test_runs_against_a_logarithmic_share_are_dots_and_lines_stand_aside():
    rows = [
        {"panel": panel, "line": line, "split": 0, "seed": seed, "x": x, "value": x / 2 + 0.1 * k + 0.01 * seed}
        for panel, lines in (("bce", "ab"), ("hot", "abc"))
        for k, line in enumerate(lines)
        for seed in range(3)
        for x in (1.0, 0.0625)
    ]
    figure = figures.against(pd.DataFrame(rows), "share", "IoU", ticks={1.0: "1", 0.0625: "1/16"})
    assert [a.get_xscale() for a in figure.axes] == ["log"] * 2 and not overlapping(figure)
    assert sorted(t.get_text() for t in figure.axes[1].get_xticklabels()) == ["1", "1/16"]
    dots = [line for line in figure.axes[1].lines if line.get_linestyle() == "None"]
    means = [line for line in figure.axes[1].lines if line.get_linestyle() != "None"]
    assert len(dots) == 3 * 3 and len(means) == 3
    assert means[1].get_xdata().tolist() == [0.0625, 1] and means[0].get_ydata() == pytest.approx([0.04125, 0.51])
    assert {tuple(line.get_xdata()) for line in dots} == {tuple(line.get_xdata()) for line in means}
    assert len({tuple(line.get_xdata()) for line in means}) == 3, "a place for each line"
    said = words.of_against(pd.DataFrame(rows), "share", "IoU")
    assert said.startswith("Lines of IoU against share, from 0.0625 to 1. Means: bce, a: 0.041, 0.510; bce, b: ")
    plain = figures.against(pd.DataFrame(rows), "share", "IoU")
    assert plain.axes[0].get_xscale() == "linear" and len(plain.axes[0].lines) == 2 * 3 + 3


# --- what was there before


def test_errors_and_overlays_colour_the_pixels_they_mean():
    truth = np.array([[True, True, False, False]])
    found = np.array([[True, False, True, False]])
    picture = figures.errors(found, truth, np.zeros((1, 4)))
    assert to_hex(picture[0, 2]) == figures.FALSE_POSITIVE.lower() and to_hex(picture[0, 1]) == "#0072b2"
    assert (picture[0, [0, 3]] == 0.35).all()
    tinted, used = figures.overlay(np.zeros((1, 4)), truth[None], ["c"])
    assert list(used) == ["c"] and tinted[0, 0].any() and not tinted[0, 3].any()
