"""Judging a run: what is chosen on validation, and rows that agree with metrics computed apart."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from skimage.metrics import adapted_rand_error, variation_of_information
from sklearn.metrics import brier_score_loss, f1_score, jaccard_score

from helpers import judging, runs, statistics, tables
from helpers.judging import Scale

SCALE = Scale(natural_cut=0.5, published_cut=0.62, link="logit")
RUN = (
    dict.fromkeys(("network", "depth"), 0)
    | dict.fromkeys(
        ("study", "dataset", "objective", "options", "split", "seed", "learning_rate", "steps", "parameters"), 0
    )
    | dict.fromkeys(("n_weights", "threads", "device", "commit", "code_hash", "judge_hash", "seconds"), 0)
)


@pytest.fixture
def truth(discs):
    """Two images for validation and two to be judged, of one class of discs."""
    members = [tuple(judging._truth(discs(seed), ("disc",), (), None, 1) for seed in pair) for pair in ((0, 1), (2, 3))]
    return judging.Ground(("disc",), (), *members, "test")


def noisy(truths, seed=0):
    """Scores that follow the truth, as probabilities."""
    rng = np.random.default_rng(seed)
    return [(0.25 + 0.4 * t.image.masks + 0.12 * rng.normal(size=t.image.masks.shape)).clip(0.01, 0.99) for t in truths]


def judged(truth, scale=SCALE, distances=None):
    validation, scores = noisy(truth.validation), noisy(truth.judged, 1)
    readings = judging.choose(truth, scale, validation, distances and distances[0])
    return readings, scores, *judging.rows(truth, scale, readings, scores, distances and distances[1], **RUN)


def test_rows_agree_with_other_libraries(truth):
    readings, scores, rows, _ = judged(truth)
    assert [row["image"] for row in rows] == ["disc/2", "disc/3"] and all(tuple(r) == tables.COLUMNS for r in rows)
    cuts = {"natural": 0.5, "tuned": readings["disc"].cut, "published": 0.62}
    for row, score, t in zip(rows, scores, truth.judged, strict=True):
        mask = t.image.masks[0].ravel()
        for label, cut in cuts.items():
            assert row[f"iou_{label}"] == pytest.approx(jaccard_score(mask, score.ravel() > cut))
            assert row[f"dice_{label}"] == pytest.approx(f1_score(mask, score.ravel() > cut))
        assert row["brier_raw"] == pytest.approx(brier_score_loss(mask, score.ravel()))
        assert row["brier_fitted"] < row["brier_raw"] and row["ece_fitted"] < row["ece_raw"]
        labels = judging.segment(score[0], row["cut"], row["seed_height_nm"], t.image.spacing)
        assert row["n_true"] == ndimage.label(t.image.masks[0], np.ones((3, 3)))[1]
        assert row["n_predicted"] == labels.max() >= row["n_matched"] > 0
        assert row["adapted_rand_f_skimage"] == pytest.approx(1 - adapted_rand_error(t.objects[0], labels)[0])
        assert row["voi"] == pytest.approx(row["voi_split"] + row["voi_merge"])


def test_pooled_values_are_those_of_one_image_with_the_objects_of_all(truth):
    """Against scikit-image on the images side by side, every object with an id of its own."""
    readings, scores, rows, _ = judged(truth)
    maps = [
        (t.objects[0], judging.segment(s[0], readings["disc"].cut, readings["disc"].seed_height_nm, t.image.spacing))
        for s, t in zip(scores, truth.judged, strict=True)
    ]
    beside = [np.concatenate([a, np.where(b > 0, b + a.max(), 0)]) for a, b in zip(*maps, strict=True)]
    # the predicted background of each image is a segment of its own, as its objects are
    beside[1][48:][beside[1][48:] == 0] = beside[1].max() + 1
    means = statistics.pooled_means(pd.DataFrame(rows)).iloc[0]
    assert means["adapted_rand_f_skimage"] == pytest.approx(1 - adapted_rand_error(*beside)[0])
    split, merge = variation_of_information(beside[0], beside[1], ignore_labels=(0,))
    assert (means["voi_split"], means["voi_merge"], means["voi"]) == pytest.approx((split, merge, split + merge))
    # brute force: every pair of objects
    overlaps, counts = 0.0, [0, 0]
    for true, predicted in maps:
        found = [[map_ == k for k in range(1, map_.max() + 1)] for map_ in (true, predicted)]
        counts = [n + len(masks) for n, masks in zip(counts, found, strict=True)]
        ious = [(a & b).sum() / (a | b).sum() for a in found[0] for b in found[1]]
        overlaps += sum(iou for iou in ious if iou > 0.5)
    assert means["panoptic_quality"] == pytest.approx(2 * overlaps / sum(counts))
    both = predicted_pairs = true_pairs = 0
    for true, predicted in maps:
        inside = true > 0
        alone = (inside & (predicted == 0)).sum()
        true_pairs += sum((true == i).sum() ** 2 for i in range(1, true.max() + 1))
        for j in range(1, predicted.max() + 1):
            predicted_pairs += (inside & (predicted == j)).sum() ** 2
            both += sum(((true == i) & (predicted == j)).sum() ** 2 for i in range(1, true.max() + 1))
        both, predicted_pairs = both + alone, predicted_pairs + alone
    assert means["adapted_rand_f_snemi"] == pytest.approx(2 * both / (predicted_pairs + true_pairs))


def test_only_validation_decides_how_scores_are_read(truth):
    readings, *_ = judged(truth)
    swapped = judging.Ground(truth.classes, (), truth.validation, truth.validation, "validation")
    assert judging.choose(swapped, SCALE, noisy(truth.validation), None) == readings


def test_the_curve_adds_up_to_the_row(truth):
    *_, rows, curves = judged(truth)
    for row in rows:
        mine = [c for c in curves if c["image"] == row["image"] and c["kind"] == "fitted"]
        assert all(tuple(c) == tables.CURVE_COLUMNS for c in mine)
        total = sum(c["count"] for c in mine)
        assert total == 48**2
        ece = sum(c["count"] * abs(c["probability"] - c["positive"]) for c in mine) / total
        assert row["ece_fitted"] == pytest.approx(ece)


def test_unbounded_scores_have_no_raw_probability_and_may_have_no_cut(truth):
    *_, rows, _ = judged(truth, Scale(None, None, "identity"))
    for row in rows:
        assert np.isnan(row["iou_natural"]) and np.isnan(row["iou_published"]) and row["iou_tuned"] > 0
        assert np.isnan(row["ece_raw"]) and row["ece_fitted"] >= 0 and row["true_positive_natural"] is None


def test_a_class_without_foreground_on_validation_is_counted_as_undefined(truth):
    for t in truth.validation:
        t.image.masks[:] = False
    readings, scores, rows, _ = judged(truth)
    assert np.isnan(readings["disc"].cut)
    for row in rows:
        assert np.isnan([row["iou_tuned"], row["instance_f1"], row["voi"], row["ece_fitted"]]).all()
        assert row["iou_natural"] > 0


def test_an_image_where_nothing_is_known_gives_no_row(truth):
    truth.judged[0].image.known[:] = False
    *_, rows, _ = judged(truth)
    assert [row["image"] for row in rows] == ["disc/3"]


def test_a_predicted_distance_parts_what_the_mask_joins():
    """Two discs that touch: one component of the mask; a distance with two tops makes two objects of it."""
    y, x = np.mgrid[:24, :40]
    to = np.maximum(9 - np.hypot(y - 12, x - 12), 9 - np.hypot(y - 12, x - 27)) * 10
    mask = to > 0
    image = SimpleNamespace(spacing=(10.0, 10.0))
    assert judging.segment(mask * 1.0, 0.5, np.inf, image.spacing).max() == 1
    assert judging.segment(mask * 1.0, 0.5, 5.0, image.spacing, to).max() == 2


def test_trivial_predictors(truth):
    rows = judging.trivial_rows(truth, study="s", dataset="d", split=0)
    by = {(r["objective"], r["image"]): r for r in rows}
    for t in truth.judged:
        share = t.image.masks.mean()
        nothing, all_, grown = (
            by[name, t.image.name] for name in ("all_background", "all_foreground", "dilated_truth")
        )
        assert nothing["iou_tuned"] == 0 and nothing["accuracy_tuned"] == pytest.approx(1 - share)
        assert nothing["brier_raw"] == pytest.approx(share) and nothing["instance_f1"] == 0
        assert all_["iou_tuned"] == pytest.approx(share) and all_["n_predicted"] == 1
        reach = ndimage.distance_transform_edt(~t.image.masks[0]) <= 2
        assert grown["iou_tuned"] == pytest.approx(share / reach.mean())


def test_boundaries_are_judged_by_what_they_part_at_native_pixels(discs):
    """A grid of lines, twice finer than the image: a perfect prediction leaves only what the reduction lost."""
    fine = np.zeros((1, 48, 48), bool)
    fine[:, ::16] = fine[:, 1::16] = fine[..., ::16] = fine[..., 1::16] = True
    coarse = fine[:, ::2, ::2]
    known = np.ones_like(fine)
    image, native = (
        SimpleNamespace(name="i", masks=m, known=known[:, : m.shape[1], : m.shape[1]], spacing=(s, s))
        for m, s in ((coarse, 20.0), (fine, 10.0))
    )
    t = judging._truth(image, ("lines",), ("lines",), native, 2)
    assert t.objects[0].shape == (48, 48) and t.objects[0].max() == 9 and t.factor == (2,)
    truth = judging.Ground(("lines",), ("lines",), (t,), (t,), "test")
    scores = [np.where(coarse, 0.9, 0.1)]
    readings = judging.choose(truth, SCALE, scores, None)
    (row,), _ = judging.rows(truth, SCALE, readings, scores, None, **RUN)
    assert row["voi"] == pytest.approx(0, abs=1e-9) and row["n_true"] == row["n_matched"] == 9
    scores[0][:, :, 8] = 0.1  # a line that is missed joins three pairs of squares
    (row,), _ = judging.rows(truth, SCALE, readings, scores, None, **RUN)
    assert row["voi_merge"] > 0.3 > row["voi_split"]


def test_native_boundaries_are_cut_to_what_the_reduction_kept():
    """33 pixels a side, reduced by 2: the reduced image has 16, and the 33rd row and column are of no one."""
    fine = np.zeros((1, 33, 33), bool)
    fine[:, 16:18] = True
    known = np.ones_like(fine)
    native = SimpleNamespace(name="i", masks=fine, known=known, spacing=(10.0, 10.0))
    coarse = fine[:, :32:2, :32:2]
    image = SimpleNamespace(name="i", masks=coarse, known=known[:, :16, :16], spacing=(20.0, 20.0))
    t = judging._truth(image, ("lines",), ("lines",), native, 2)
    assert t.objects[0].shape == (32, 32) and t.known[0].shape == (32, 32) and t.objects[0].max() == 2
    truth = judging.Ground(("lines",), ("lines",), (t,), (t,), "test")
    scores = [np.where(coarse, 0.9, 0.1)]
    readings = judging.choose(truth, SCALE, scores, None)
    (row,), _ = judging.rows(truth, SCALE, readings, scores, None, **RUN)
    assert row["n_true"] == row["n_matched"] == 2


def test_boundaries_are_no_ways_through_what_is_not_known_and_trivial_predictors_are_filled_alike():
    grid = np.zeros((1, 32, 32), bool)
    grid[:, ::8] = grid[..., ::8] = True
    known = np.ones_like(grid)
    known[:, 14:18] = False  # a band in which boundaries were not drawn
    drawn = grid & known
    image = SimpleNamespace(name="i", masks=drawn, known=known, spacing=(10.0, 10.0))
    t = judging._truth(image, ("lines",), ("lines",), None, 1)
    assert t.objects[0].max() == 16, "each square is an object, those above and below the band apart"
    truth = judging.Ground(("lines",), ("lines",), (t,), (t,), "test")
    thin = SimpleNamespace(name="i", masks=grid, known=np.ones_like(grid), spacing=(10.0, 10.0))
    whole = judging._truth(thin, ("lines",), ("lines",), None, 1)
    truth = judging.Ground(("lines",), ("lines",), (whole,), (whole,), "test")
    rows = {r["objective"]: r for r in judging.trivial_rows(truth, study="s", dataset="d", split=0)}
    assert rows["dilated_truth"]["voi"] == pytest.approx(0, abs=1e-9), "thickness merges nothing"


def test_only_probabilities_are_judged_raw(truth):
    *_, rows, _ = judged(truth, Scale(0.0, None, "atanh"))
    assert all(np.isnan(row["ece_raw"]) and row["ece_fitted"] >= 0 for row in rows)
    readings, scores, *_ = judged(truth)
    scores[0][0, 0, 0] = 5.0
    with pytest.raises(ValueError, match="outside|do not fit"):
        judging.rows(truth, SCALE, readings, scores, None, **RUN)


@pytest.fixture
def folder(tmp_path):
    """A run's folder as the training notebook leaves it, on the tiny phantom."""

    def make(seed=0):
        place = tmp_path / f"run-{seed}"
        place.mkdir()
        p = {"study": "s", "dataset": "phantom", "loss": "bce", "classes": "mitochondria", "reduce": 16, "split": 0}
        p |= {"test": True, "seed": seed, "learning_rate": 0.1, "steps": 3, "network": "unet", "depth": 3}
        (place / "parameters.json").write_text(json.dumps(p))
        facts = {"options": {}, "scale": {"natural_cut": 0.5, "published_cut": None, "link": "logit"}}
        facts |= {
            "learning_rate": 0.1,
            "n_weights": 1,
            "threads": 1,
            "device": "cpu",
            "commit": "c",
            "code_hash": "h",
            "seconds": 1.0,
        }
        (place / "run.json").write_text(json.dumps(facts))
        truth = judging.ground("phantom", ("mitochondria",), 16, 0, True)
        scores = {"validation": noisy(truth.validation, seed), "test": noisy(truth.judged, seed)}
        runs.write_arrays(place / "scores.npz", scores, truth)
        return place

    return make


def test_a_run_is_judged_again_only_when_the_judge_has_changed(folder, monkeypatch):
    places = [folder(0), folder(1)]
    first, curves = runs.collect(places, processes=1)
    assert set(first["subset"]) == {"test"} and len(first) == 6 and len(curves)
    assert set(json.loads((places[0] / "decoding.json").read_text())) == {"mitochondria"}
    monkeypatch.setattr(runs, "judge", lambda folder: pytest.fail(f"{folder} was judged again"))
    again, _ = runs.collect(places, processes=1)
    assert again.equals(first)
    monkeypatch.undo()
    monkeypatch.setattr(runs, "judge_hash", lambda dataset: "another")
    changed, _ = runs.collect(places, processes=1)
    assert set(changed["judge_hash"]) == {"another"}
    assert changed.drop(columns="judge_hash").equals(first.drop(columns="judge_hash"))


def test_a_lost_curve_is_made_again_and_a_study_names_what_it_compares(folder):
    places = [folder(0), folder(1)]
    first, curves = runs.collect(places, processes=1)
    (places[0] / "reliability.csv").unlink()
    again, same = runs.collect(places, processes=1, study="mine", objectives=["a", "b"])
    assert set(first["study"]) == {"single"} and set(again["study"]) == {"mine"} == set(same["study"])
    assert again.groupby("objective").size().to_dict() == {"a": 3, "b": 3} and len(same) == len(curves)
    named = ["study", "objective"]
    assert same.drop(columns=named).equals(curves.drop(columns=named))


def test_scores_that_are_torn_or_of_other_images_name_their_run(folder):
    place = folder()
    whole = (place / "scores.npz").read_bytes()
    (place / "scores.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="run-0/scores.npz does not hold what its run says .*run the training again"):
        runs.collect([place])
    np.savez(place / "scores.npz", **{"validation/elsewhere": np.zeros((1, 4, 4))})
    with pytest.raises(ValueError, match="run-0/scores.npz does not hold what its run says .*phantom/008"):
        runs.collect([place])


def test_runs_without_scores_are_named(folder):
    place = folder()
    (place / "scores.npz").unlink()
    with pytest.raises(FileNotFoundError, match="run-0 has no scores.npz"):
        runs.collect([place])
