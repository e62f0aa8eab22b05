"""The published way to score, against its formula written out, and its table against the definitions'."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from skimage.measure import label

from helpers import published
from helpers.index import Run


def by_hand(truth_mask, mask, boundary):
    """The published script's sums as its formula has them, on scikit-image's components; voxel by voxel."""
    one, other = (label(m, background=int(boundary)) for m in (truth_mask, mask))
    p = np.zeros((one.max() + 1, other.max() + 1))
    np.add.at(p, (one.ravel(), other.ravel()), 1)
    n, lost = one.size, p[1:, 0].sum()
    a, b = p[1:].sum(1), p[1:, 1:].sum(0)
    sums = (a**2).sum(), (b**2).sum() + lost / n, (p[1:, 1:] ** 2).sum() + lost / n
    precision, recall = sums[2] / sums[1], sums[2] / sums[0]
    f = 2 * precision * recall / (precision + recall)
    return {
        "RAND": 1 - (sums[0] + sums[1] - 2 * sums[2]) / n**2,
        "precision": precision,
        "recall": recall,
        "F_score": f,
    }


def blobs(seed, share=0.4):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((60, 70)), 3)
    return noise > np.quantile(noise, 1 - share)


@pytest.mark.parametrize("boundary", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_mask_is_scored_as_the_published_script_does(boundary, seed):
    truth = blobs(seed)
    mask = truth ^ (blobs(seed + 10, 0.1))
    objects = published.objects(truth, boundary)
    found = published.score(mask, objects, boundary, np.ones_like(truth))
    expected = by_hand(truth, mask, boundary)
    # The script loses all but a trace of the voxels that the prediction leaves out; the difference is bounded.
    bound = 2 * objects.max() / np.count_nonzero(objects)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=bound), name
    assert found["adapted_RAND_error"] == 1 - found["F_score"]
    whole = published.score(truth, objects, boundary, np.ones_like(truth))
    assert whole["F_score"] == 1 and whole["RAND"] == 1


def test_objects_hang_together_by_diagonals_membranes_part_what_they_leave():
    mask = np.eye(4, dtype=bool)
    assert published.objects(mask, False).max() == 1
    assert published.objects(mask, True).max() == 1, "a diagonal membrane leaks, as it did"
    assert published.objects(np.zeros((3, 3), bool), False).max() == 0


def test_a_reduced_mask_is_scored_in_native_pixels():
    truth = np.kron(blobs(0), np.ones((2, 2), bool)).astype(bool)
    found = published.score(blobs(0), published.objects(truth, False), False, np.ones_like(truth))
    assert found["F_score"] == 1
    nothing = published.score(blobs(0), np.zeros(truth.shape, np.int32), False, np.ones_like(truth))
    assert all(math.isnan(v) for v in nothing.values())


def test_the_scripts_cut_takes_every_pixel_that_is_not_black():
    tanh = np.array([-1, -0.9999, 2 / 255.5 - 1 - 1e-6, 2 / 255.5 - 1 + 1e-6, 0, 1])
    assert published.as_written(tanh, "atanh").tolist() == [0, 0, 0, 1, 127, 255]
    assert published.as_written((tanh + 1) / 2, "logit").tolist() == [0, 0, 0, 1, 127, 255]
    with pytest.raises(ValueError, match="link is 'identity'; expected logit or atanh"):
        published.as_written(tanh, "identity")


def test_the_table_is_the_one_of_the_definitions():
    table = published.read_table()
    assert len(table) == 18 and set(table["class"]) == {"membranes", "mitochondria", "synapses"}
    mean = table.pivot(index="objective", columns="class", values="mean")
    assert mean.loc["l1"].to_dict() == {"membranes": 0.933, "mitochondria": 0.295, "synapses": 0.0}
    assert mean["membranes"].idxmax() == "l1" and mean["mitochondria"].idxmax() == "logistic"
    assert mean["synapses"].idxmax() == "softmax_published" and (table["n"] == 12).all()
    assert table["sd"].isna().sum() == 2 and table.loc[table["sd"].isna(), "mean"].eq(0).all()


CLASSES = ("membranes", "mitochondria")


@pytest.fixture
def made(tmp_path):
    """A run whose scores are the truth's masks, of the phantom."""
    members = published.truths("phantom", CLASSES, 16, 0, True)
    run = tmp_path / "run"
    run.mkdir()
    scores = {f"test/{t.image}": (0.002 + 0.9 * t.masks).astype(np.float32) for t in members}
    np.savez(run / "scores.npz", **scores)
    (run / "decoding.json").write_text(json.dumps({"membranes": {"cut": 0.5}, "mitochondria": {"cut": math.nan}}))
    parameters = {"dataset": "phantom", "classes": ",".join(CLASSES), "test": True, "split": 0, "seed": 5}
    return Run("run", "logistic", run, parameters, {"scale": {"link": "logit", "natural_cut": 0.5}}), members


def test_rows_of_a_run(made):
    run, members = made
    long = pd.DataFrame(published.rows(run, 7, members))
    assert tuple(long.columns) == published.LONG and set(long["run"]) == {7} and set(long["seed"]) == {5}
    assert len(long) == len(members) * (3 + 2), "no cut was chosen for mitochondria"
    assert (long["F_score"] == 1).all(), "0.002 is written as black"
    assert long["sample"].tolist()[:5] == [0] * 5 and long["image"].nunique() == len(members)
    bounds = pd.DataFrame(published.bounds("phantom", CLASSES, members))
    assert len(bounds) == 3 * 2 * len(members)
    f = bounds.groupby("predictor")["F_score"]
    assert (f.min()["perfect mask"] == 1).all()
    for row in bounds.query("predictor != 'perfect mask'").itertuples():
        t = next(t for t in members if t.image == row.image)
        sizes = np.bincount(t.objects[CLASSES.index(row.label)].ravel())[1:].astype(float)
        together, all_voxels = (sizes**2).sum(), sizes.sum()
        if (row.predictor == "all foreground") == (row.label == "mitochondria"):  # one object of everything
            expected = 2 * together / (together + all_voxels**2)
        else:  # no object: every voxel alone
            expected = 2 * all_voxels / (all_voxels + together)
        assert row.F_score == pytest.approx(expected)
    wide = published.wide(long)
    assert len(wide) == len(members) * 3
    assert list(wide.columns[:5]) == ["classic_loss", "run", "sample", "cut", "membranes_RAND"]
    assert wide.loc[wide["cut"] == "tuned", "mitochondria_F_score"].isna().all()
    one = long[(long["label"] == "membranes") & (long["cut"] == "script") & (long["sample"] == 1)]
    assert wide[(wide["cut"] == "script") & (wide["sample"] == 1)]["membranes_recall"].item() == one["recall"].item()
