"""Occupancy votes read in every way: against SciPy, scikit-learn and each other, and a run judged from its network."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, jaccard_score, roc_auc_score

from helpers import inference, judging, models, objectives, occupancy, postprocess, targets
from helpers.occupancy import BOXED, CONSENSUS, OWN, PLAIN, Neighbourhood

KERNELS = [(1, "square"), (3, "square"), (5, "square"), (5, "disc"), (7, "disc")]


def lov(kernel=3, shape="square"):
    return objectives.get("lov", kernel=kernel, shape=shape, vote=True)


@pytest.mark.parametrize(("kernel", "shape"), KERNELS)
@pytest.mark.parametrize("dims", [2, 3])
def test_a_box_filter_is_scipys_mean_over_the_neighbours_inside_the_image(kernel, shape, dims):
    score = np.random.default_rng(0).random((2, 3, *(9, 11, 10)[:dims]))
    found = occupancy.box_filter(torch.from_numpy(score), targets.offsets(kernel, dims, shape)).numpy()
    foot = np.zeros((kernel,) * dims)
    for offset in targets.offsets(kernel, dims, shape):
        foot[tuple(o + kernel // 2 for o in offset)] = 1
    for mine, one in zip(found.reshape(-1, *score.shape[2:]), score.reshape(-1, *score.shape[2:]), strict=True):
        total, count = (ndimage.correlate(a, foot, mode="constant") for a in (one, np.ones_like(one)))
        np.testing.assert_allclose(mine, total / count, rtol=1e-12)
        if shape == "square":
            uniform = [ndimage.uniform_filter(a, kernel, mode="constant") for a in (one, np.ones_like(one))]
            np.testing.assert_allclose(mine, uniform[0] / uniform[1], rtol=1e-10)


@pytest.mark.parametrize(("kernel", "shape"), KERNELS)
def test_the_consensus_of_perfect_votes_is_the_mask_whatever_votes_are_missing(kernel, shape):
    rng = np.random.default_rng(1)
    masks = torch.from_numpy(rng.random((1, 2, 12, 15)) < 0.4)
    target, weight = targets.local_occupancy(masks, torch.ones_like(masks), targets.offsets(kernel, 2, shape))
    votes = torch.where(weight > 0, target, torch.nan)  # what nobody may use
    for share in (0.0, 0.3, 0.8, 1.0):
        reading = occupancy.consensus(votes, lov(kernel, shape), share, rng)
        voted = ~np.isnan(reading.score)
        assert (reading.score == masks[0].numpy())[voted].all() and not reading.spread[voted].any()
        assert voted.all() or share, "a voxel votes for itself, so all are voted on as long as no vote is missing"


def test_dropping_no_vote_is_the_consensus_and_dropping_all_but_one_is_that_vote():
    votes = torch.rand((1, 2 * 9, 8, 7), generator=torch.Generator().manual_seed(0))
    offsets = targets.offsets(3, 2)
    mean, spread = postprocess.consensus(votes, offsets)
    whole = occupancy.consensus(votes, lov(), 0.0)
    assert (whole.score == mean[0].numpy()).all() and (whole.spread == spread[0].numpy()).all()
    one = occupancy.consensus(votes, lov(), 1.0, np.random.default_rng(5))
    (k,) = occupancy.kept_votes(9, 1.0, np.random.default_rng(5))
    shifted = np.full((2, 8, 7), np.nan)
    for y, x in np.ndindex(8, 7):
        v, u = y - offsets[k][0], x - offsets[k][1]
        if 0 <= v < 8 and 0 <= u < 7:
            shifted[:, y, x] = votes[0, [k, 9 + k], v, u]
    np.testing.assert_allclose(one.score, shifted, rtol=1e-6)


def test_more_missing_votes_are_the_same_and_more():
    kept = [set(occupancy.kept_votes(25, s, np.random.default_rng(3))) for s in (0, 0.2, 0.5, 0.9, 1)]
    assert [len(k) for k in kept] == [25, 20, 12, 2, 1]
    assert all(more > fewer for more, fewer in zip(kept, kept[1:], strict=False))
    with pytest.raises(ValueError, match="share of missing votes is 1.5"):
        occupancy.kept_votes(9, 1.5, np.random.default_rng(0))


def test_the_own_channel_and_the_consensus_are_of_one_output():
    output = torch.randn((1, 9, 6, 6), generator=torch.Generator().manual_seed(2))
    own, voted = occupancy.readings(output, lov(), ())
    centre = targets.offsets(3, 2).index((0, 0))
    assert (own.name, voted.name) == (OWN, CONSENSUS) and {own.neighbourhood, voted.neighbourhood} == {"square 3"}
    np.testing.assert_allclose(own.score[0], torch.sigmoid(output[0, centre]), rtol=1e-6)
    np.testing.assert_allclose(voted.score, objectives.get("lov", kernel=3).decode(output)[0], rtol=1e-6)
    alone = occupancy.readings(output[:, :1], lov(1), ())
    assert [r.name for r in alone] == [OWN], "one voter is its own consensus"


def test_noise_is_as_large_as_asked_and_grey_stays_grey():
    raw = np.full((1, 200, 200), 0.5, np.float32)
    noisy = occupancy.with_noise(raw, 0.1, np.random.default_rng(0))
    assert noisy.dtype == np.float32 and (noisy - raw).std() == pytest.approx(0.1, rel=0.02)
    assert abs((noisy - raw).mean()) < 0.002
    assert occupancy.with_noise(raw, 5, np.random.default_rng(0)).min() == 0
    with pytest.raises(ValueError, match="noise is -1"):
        occupancy.with_noise(raw, -1, np.random.default_rng(0))


@pytest.mark.parametrize("digits", [1, 8])
def test_auroc_is_scikit_learns_ties_included(digits):
    rng = np.random.default_rng(digits)
    positive = rng.random(500) < 0.2
    value = (rng.random(500) + 0.4 * positive).round(digits)
    assert occupancy.auroc(value, positive) == pytest.approx(roc_auc_score(positive, value), abs=1e-12)
    assert np.isnan(occupancy.auroc(value, np.ones(500, bool)))
    with pytest.raises(ValueError, match="1 of 3 values are NaN"):
        occupancy.auroc(np.array([0, np.nan, 1]), np.array([True, False, True]))


def test_error_by_share_counts_every_voxel_once_in_the_order_of_its_uncertainty():
    rng = np.random.default_rng(0)
    doubt = rng.random(1000)
    wrong = rng.random(1000) < doubt**2
    parts = occupancy.error_by_share(doubt, wrong, 5)
    order = np.argsort(doubt)
    for part, own in zip(parts, np.split(order, 5), strict=True):
        assert part["count"] == 200 and part["wrong"] == wrong[own].sum()
        assert part["error"] == wrong[own].mean() and part["uncertainty_mean"] == pytest.approx(doubt[own].mean())
    tied = occupancy.error_by_share(np.array([0.0] * 7 + [1.0] * 3), np.arange(10) > 6, 4)
    assert [p["count"] for p in tied] == [7, 0, 0, 3] and tied[0]["error"] == 0 and tied[3]["error"] == 1
    assert np.isnan(tied[1]["error"])


# --- a run


@pytest.fixture
def truth(discs):
    pairs = [tuple(judging._truth(discs(seed), ("disc",), (), None, 1) for seed in pair) for pair in ((0, 1), (2, 3))]
    return judging.Ground(("disc",), (), *pairs, "test")


def network(channels):
    torch.manual_seed(0)
    return models.build("unet", 1, channels, dims=2, width=2, depth=2).eval()


RUN = {"study": "s", "part": "p", "dataset": "d", "objective": "o", "split": 0, "network": "unet", "depth": 2}
RUN |= {"learning_rate": 0.1, "steps": 1, "commit": "c", "code_hash": "h", "seed": 4}


def test_rows_of_an_occupancy_network(truth):
    net = network(9)
    rows, shares = occupancy.judge(net, lov(), truth, noise=[0.2], dropped=[0.5], **RUN)
    assert all(tuple(row) == occupancy.COLUMNS for row in rows) and len(rows) == 2 * (2 + 2 + 1)
    clean = {(r["reading"], r["image"]): r for r in rows if not r["noise"] and not r["dropped"]}
    for position, t in enumerate(truth.judged):
        score = lov().decode(inference.predict(net, t.image.raw))[0, 0].numpy()
        row, mask = clean[CONSENSUS, t.image.name], t.image.masks[0]
        assert row["iou_tuned"] == pytest.approx(jaccard_score(mask.ravel(), (score > row["cut"]).ravel()))
        doubt = -np.abs(score - row["cut"]).ravel()
        wrong = ((score > row["cut"]) != mask).ravel()
        assert row["auroc_closeness"] == pytest.approx(roc_auc_score(wrong, doubt), abs=1e-3)
        assert np.isnan(clean[OWN, t.image.name]["auroc_spread"]) and 0 <= row["auroc_spread"] <= 1
        assert row["n_unvoted"] == 0 and position in (0, 1)
    cuts = {reading: {r["cut"] for r in rows if r["reading"] == reading} for reading in (OWN, CONSENSUS)}
    assert len(cuts[OWN]) == len(cuts[CONSENSUS]) == 1, "noise and missing votes meet the cut tuned without them"
    assert {s["uncertainty"] for s in shares} == {"spread", "closeness"}
    spread = [s for s in shares if s["uncertainty"] == "spread"]
    assert sum(s["count"] for s in spread) == 2 * 48**2
    scores = [occupancy.readings(inference.predict(net, t.image.raw), lov(), ())[1] for t in truth.validation]
    cut = cuts[CONSENSUS].pop()
    doubts = np.concatenate([s.spread[0].ravel() for s in scores])
    wrong = np.concatenate(
        [((s.score > cut) != t.image.masks).ravel() for s, t in zip(scores, truth.validation, strict=True)]
    )
    chance = LogisticRegression(C=np.inf, tol=1e-10).fit(doubts[:, None] / doubts.std(), wrong)
    for t in truth.judged:
        seen = occupancy.readings(inference.predict(net, t.image.raw), lov(), ())[1]
        p = chance.predict_proba(seen.spread.reshape(-1, 1) / doubts.std())[:, 1]
        error = (seen.score > cut) != t.image.masks
        row = clean[CONSENSUS, t.image.name]
        assert row["brier_spread"] == pytest.approx(brier_score_loss(error.ravel(), p), rel=1e-3)
        bins = np.minimum((p * 15).astype(int), 14)
        gaps = [abs((p - error.ravel())[bins == b].sum()) for b in range(15)]
        assert row["ece_spread"] == pytest.approx(sum(gaps) / error.size, abs=1e-3)
    assert sum(s["wrong"] for s in spread) == sum(
        clean[CONSENSUS, t.image.name][f"{kind}_tuned"]
        for t in truth.judged
        for kind in ("false_positive", "false_negative")
    )


def test_rows_of_the_control_and_that_only_validation_decides_its_cuts(truth):
    net, around = network(1), [Neighbourhood(3, "square"), Neighbourhood(5, "disc")]
    rows, _ = occupancy.judge(net, objectives.get("bce"), truth, around=around, noise=[0.1], dropped=[0.5], **RUN)
    readings = {(r["reading"], r["neighbourhood"]) for r in rows}
    assert readings == {(PLAIN, "none"), (BOXED, "square 3"), (BOXED, "disc 5")}
    assert len(rows) == 2 * 3 * 2 and not any(r["dropped"] for r in rows)
    scores = [
        occupancy.readings(inference.predict(net, t.image.raw), objectives.get("bce"), around) for t in truth.validation
    ]
    for i, reading in enumerate(scores[0]):
        cut = postprocess.best_cut(
            [s[i].score[0] for s in scores], [t.image.masks[0] for t in truth.validation],
            [t.image.known[0] for t in truth.validation],
        )  # fmt: skip
        mine = {r["cut"] for r in rows if (r["reading"], r["neighbourhood"]) == reading[:2]}
        assert mine == {cut}
    again, _ = occupancy.judge(net, objectives.get("bce"), truth, around=around, noise=[0.1], **RUN)
    np.testing.assert_equal(again, rows)


def test_voxels_without_a_vote_are_counted_and_are_background(truth):
    rows, _ = occupancy.judge(network(9), lov(), truth, dropped=[1.0], **RUN)
    lost = [r for r in rows if r["dropped"]]
    (k,) = occupancy.kept_votes(9, 1.0, np.random.default_rng(RUN["seed"]))
    oy, ox = targets.offsets(3, 2)[k]
    assert (oy, ox) != (0, 0)
    assert {r["n_unvoted"] for r in lost} == {48**2 - (48 - abs(oy)) * (48 - abs(ox))}
    assert all(
        sum(r[f"{c}_tuned"] for c in ("true_positive", "false_positive", "false_negative", "true_negative")) == 48**2
        for r in lost
    )


def test_a_class_without_foreground_on_validation_has_rows_without_numbers(truth, discs):
    empty = [judging._truth(discs(9), ("disc",), (), None, 1)]
    empty[0].image.masks[:] = False
    ground = judging.Ground(("disc",), (), tuple(empty), truth.judged, "test")
    rows, shares = occupancy.judge(network(9), lov(), ground, **RUN)
    assert len(rows) == 4 and all(np.isnan(r["cut"]) and np.isnan(r["iou_tuned"]) for r in rows) and not shares
