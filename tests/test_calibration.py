"""The logistic fit and the reliability against scikit-learn, and against bins filled by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from helpers.calibration import LINKS, Logistic, Reliability, fit_logistic, regressor, reliability


def everywhere(arrays):
    return [np.ones(a.shape, bool) for a in arrays]


def test_regressors_are_the_networks_own_numbers():
    z = np.linspace(-8, 8, 33)
    np.testing.assert_allclose(regressor(expit(z), "logit"), z, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(regressor(np.tanh(z), "atanh"), z, rtol=1e-6, atol=1e-12)
    np.testing.assert_array_equal(regressor(z, "identity"), z)


def test_regressors_are_finite_and_ordered_to_the_ends():
    for link, ends in {"logit": (0, 1), "atanh": (-1, 1)}.items():
        z = regressor(np.linspace(*ends, 101, dtype=np.float32), link)
        assert np.isfinite(z).all() and (np.diff(z) > 0).all()
        assert z[-1] == pytest.approx(-z[0]) == pytest.approx(np.log(2**24 - 1) / (1 if link == "logit" else 2))
        just_outside = np.float32(ends[1]) + np.float32(1e-7)  # what rounding does to a mean of votes
        assert regressor(np.array([just_outside]), link) == z[-1]


def test_scores_that_do_not_fit_their_link_are_refused():
    with pytest.raises(ValueError, match=r"1 of 2 scores do not fit the link 'logit', the first of them -0.5"):
        regressor(np.array([0.5, -0.5]), "logit")
    with pytest.raises(ValueError, match=r"the first of them 1.5; expected scores in \[-1, 1\]"):
        regressor(np.array([0.5, 1.5]), "atanh")
    for link in LINKS:
        with pytest.raises(ValueError, match="2 of 2 scores"):
            regressor(np.array([np.nan, np.inf]), link)
    with pytest.raises(ValueError, match="link is 'probit'; expected one of logit, atanh, identity"):
        regressor(np.zeros(1), "probit")


def against_scikit_learn(x, y):
    """Slope and intercept from Platt's soft targets as weighted pairs of hard ones, without regularisation."""
    n1, n0 = int(y.sum()), int((~y).sum())
    t = np.where(y, (n1 + 1) / (n1 + 2), 1 / (n0 + 2))
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=200)
    doubled = np.concatenate((x, x))[:, None]
    model.fit(doubled, np.repeat([1, 0], x.size), sample_weight=np.concatenate((t, 1 - t)))
    return model.coef_[0, 0], model.intercept_[0]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**20), st.sampled_from(LINKS), st.floats(-3, 3), st.floats(0.01, 30))
def test_the_fit_is_scikit_learns(seed, link, shift, scale):
    rng = np.random.default_rng(seed)
    z = rng.normal(shift, scale, 400)
    y = z + rng.normal(0, scale, z.size) > shift + scale
    scores = {"logit": expit(z), "atanh": np.tanh(z), "identity": z}[link]
    y[:2] = True, False
    known = rng.random(z.size) > 0.3
    known[:2] = True
    cut = (slice(0, 150), slice(150, None))
    fit = fit_logistic([scores[c] for c in cut], [y[c] for c in cut], [known[c] for c in cut], link)
    slope, intercept = against_scikit_learn(regressor(scores, link)[known], y[known])
    assert fit.slope == pytest.approx(slope, rel=1e-4, abs=1e-6)
    assert fit.intercept == pytest.approx(intercept, rel=1e-4, abs=1e-4)
    x = fit.slope * regressor(scores, link) + fit.intercept
    np.testing.assert_allclose(fit(scores), 1 / (1 + np.exp(-x)), rtol=1e-9)


def test_a_separable_class_has_a_finite_fit():
    score = np.array([-1.0, -0.5, 0.5, 1.0])
    fit = fit_logistic([score], [score > 0], everywhere([score]), "identity")
    # by symmetry the intercept is 0; mean probability of each side meets Platt's targets 3/4 and 1/4 in the gradient
    assert fit.intercept == pytest.approx(0, abs=1e-9)
    p = fit(score)
    assert (score * (p - np.array([0.25, 0.25, 0.75, 0.75]))).sum() == pytest.approx(0, abs=1e-9)
    assert 0 < fit.slope < 5


def test_a_separable_class_of_many_voxels():
    rng = np.random.default_rng(0)
    score = rng.random(100_000).astype(np.float32)
    score[(score > 0.4) & (score < 0.6)] = 0.0
    fit = fit_logistic([score], [score > 0.5], everywhere([score]), "logit")
    assert fit.defined and fit.slope > 1
    assert reliability(fit(score), score > 0.5).brier < 1e-4


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**20), st.integers(2, 400), st.floats(-6, 6))
def test_two_scores_get_the_mean_target_of_each(seed, size, exponent):
    """With two values to tell apart, a slope and an intercept fit both shares exactly."""
    rng = np.random.default_rng(seed)
    high, mask = rng.random((2, size)) > rng.random((2, 1))
    high[:2] = mask[:2] = True, False
    n1, n0 = mask.sum(), (~mask).sum()
    targets = np.where(mask, (n1 + 1) / (n1 + 2), 1 / (n0 + 2))
    score = high * 10.0**exponent
    p = fit_logistic([score], [mask], everywhere([score]), "identity")(score)
    for side in (high, ~high):
        np.testing.assert_allclose(p[side], targets[side].mean(), rtol=1e-7)


def test_a_rare_class_at_the_ends_of_the_scores():
    score = np.zeros(500_000, np.float32)
    score[:50] = 1
    mask = score > 0
    fit = fit_logistic([score], [mask], everywhere([score]), "logit")
    p = fit(score)
    assert p[0] == pytest.approx(51 / 52) and p[-1] == pytest.approx(1 / (500_000 - 50 + 2), rel=1e-6)


def test_the_scale_and_origin_of_scores_do_not_matter():
    rng = np.random.default_rng(1)
    score = rng.normal(size=3000)
    mask = score + rng.normal(size=3000) > 1
    one = fit_logistic([score], [mask], everywhere([score]), "identity")
    moved = 1e6 + 1e3 * score
    other = fit_logistic([moved], [mask], everywhere([score]), "identity")
    np.testing.assert_allclose(one(score), other(moved), rtol=1e-6)


def test_a_fit_of_what_is_calibrated_changes_little():
    rng = np.random.default_rng(2)
    p = rng.random(200_000)
    fit = fit_logistic([p], [rng.random(p.size) < p], everywhere([p]), "logit")
    assert fit.slope == pytest.approx(1, abs=0.03) and fit.intercept == pytest.approx(0, abs=0.03)


def test_a_class_that_is_absent_or_everywhere_has_no_fit():
    score = np.linspace(0.1, 0.9, 5)
    for mask in (np.zeros(5, bool), np.ones(5, bool)):
        fit = fit_logistic([score], [mask], everywhere([score]), "logit")
        assert not fit.defined and math.isnan(fit.slope) and np.isnan(fit(score)).all()
    nothing_known = fit_logistic([score], [score > 0.5], [np.zeros(5, bool)], "logit")
    assert not nothing_known.defined


def test_scores_that_are_all_alike_say_the_share_of_foreground():
    score, mask = np.full(8, 0.3), np.arange(8) < 2
    fit = fit_logistic([score], [mask], everywhere([score]), "logit")
    assert fit.slope == 0
    # 2 voxels at 3/4 and 6 at 1/8
    np.testing.assert_allclose(fit(score), (2 * 3 / 4 + 6 / 8) / 8)


def test_a_fit_refuses_labels_that_do_not_fit():
    score, mask = np.zeros(3), np.zeros(3, bool)
    with pytest.raises(TypeError, match="mask has dtype float64"):
        fit_logistic([score], [score], [mask], "identity")
    with pytest.raises(ValueError, match=r"known has shape \(4,\) and score \(3,\)"):
        fit_logistic([score], [mask], [np.ones(4, bool)], "identity")
    with pytest.raises(ValueError, match="argument 3 is shorter"):
        fit_logistic([score, score], [mask, mask], [mask], "identity")


def test_bins_by_hand():
    p = np.array([0.0, 0.05, 0.5, 0.52, 0.96, 1.0, 1.0])
    y = np.array([0, 1, 0, 1, 1, 1, 0], bool)
    found = reliability(p, y)
    bins = {0: (2, 1, 0.05), 7: (2, 1, 1.02), 14: (3, 2, 2.96)}  # of width 1/15: 0.5 and 0.52 lie in 7/15 … 8/15
    for b in range(15):
        count, positives, total = bins.get(b, (0, 0, 0))
        assert (found.counts[b], found.positives[b]) == (count, positives)
        assert found.sums[b] == pytest.approx(total)
    assert found.ece == pytest.approx((abs(0.05 - 1) + abs(1.02 - 1) + abs(2.96 - 2)) / 7)
    assert found.mce == pytest.approx(0.95 / 2)
    assert found.brier == pytest.approx((0.95**2 + 0.5**2 + 0.48**2 + 0.04**2 + 1) / 7)
    assert found.confidence_foreground == pytest.approx((0.05 + 0.52 + 0.96 + 1) / 4)
    assert found.confidence_background == pytest.approx((1 + 0.5 + 0) / 3)
    mean, share, count = found.curve()
    assert count.tolist() == [2, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 3]
    np.testing.assert_allclose(mean[[0, 7, 14]], [0.025, 0.51, 2.96 / 3])
    np.testing.assert_allclose(share[[0, 7, 14]], [0.5, 0.5, 2 / 3])
    assert np.isnan(mean[1]) and np.isnan(share[1])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**20), st.integers(1, 300), st.sampled_from([np.float32, np.float64]))
def test_reliability_is_scikit_learns(seed, size, dtype):
    rng = np.random.default_rng(seed)
    p, y = rng.random(size).astype(dtype), rng.random(size) > 0.6
    found = reliability(p, y)
    assert found.brier == pytest.approx(brier_score_loss(y, p.astype(float), labels=[False, True]))
    mean, share, count = found.curve()
    if 0 < y.sum() < size:  # scikit-learn wants both classes
        true, predicted = calibration_curve(y, p.astype(float), n_bins=15)
        np.testing.assert_allclose(share[count > 0], true)
        np.testing.assert_allclose(mean[count > 0], predicted)
        weights = count[count > 0] / size
        assert found.ece == pytest.approx((weights * np.abs(true - predicted)).sum())
        assert found.mce == pytest.approx(np.abs(true - predicted).max())
    assert found.ece <= found.mce + 1e-12


@given(st.integers(0, 2**20))
def test_images_add_up_and_known_is_the_cut_out(seed):
    rng = np.random.default_rng(seed)
    p, (y, known) = rng.random(60), rng.random((2, 60)) > 0.4
    known[[0, 59]] = True
    found = reliability(p, y, known)
    assert found == reliability(p[known], y[known])
    parts = [reliability(p[c], y[c], known[c]) for c in (slice(0, 20), slice(20, 60))]
    pooled = sum(parts, Reliability.nothing())
    assert (pooled.counts, pooled.positives) == (found.counts, found.positives)
    np.testing.assert_allclose(pooled.sums, found.sums)
    for name in ("ece", "mce", "brier", "confidence_foreground", "confidence_background"):
        assert getattr(pooled, name) == pytest.approx(getattr(found, name), nan_ok=True)


@given(st.integers(0, 2**20))
def test_a_perfect_probability_is_perfectly_calibrated(seed):
    y = np.random.default_rng(seed).random(50) > 0.5
    y[:2] = True, False
    found = reliability(y.astype(np.float32), y)
    assert (found.ece, found.mce, found.brier) == (0, 0, 0)
    assert (found.confidence_foreground, found.confidence_background) == (1, 1)


def test_undefined_is_nan():
    found = reliability(np.array([0.2, 0.4]), np.zeros(2, bool))
    assert math.isnan(found.confidence_foreground) and found.confidence_background == pytest.approx(0.7)
    nothing = Reliability.nothing()
    assert all(math.isnan(getattr(nothing, name)) for name in ("ece", "mce", "brier", "confidence_background"))


def test_probabilities_that_are_none_are_named():
    y = np.array([True, False])
    with pytest.raises(ValueError, match=r"1 of 2 probabilities are NaN or outside \[0, 1\], the first of them -3"):
        reliability(np.array([-3.0, 0.5]), y)
    with pytest.raises(ValueError, match="2 of 2 probabilities"):
        reliability(np.array([np.nan, 1.0001]), y)
    with pytest.raises(ValueError, match="the first of them nan"):
        reliability(Logistic(math.nan, math.nan, "logit")(np.array([0.1, 0.5])), y)
    assert reliability(np.array([np.nan, 0.5]), y, ~y).brier == 0.25  # what is not known is not looked at


def test_labels_that_do_not_fit_are_named():
    p, y = np.array([0.5, 0.5]), np.array([True, False])
    with pytest.raises(TypeError, match="truth has dtype float64"):
        reliability(p, p)
    with pytest.raises(ValueError, match=r"truth has shape \(2,\) and probability \(3,\)"):
        reliability(np.zeros(3), y)
    with pytest.raises(ValueError, match="no voxel is known"):
        reliability(p, y, np.zeros(2, bool))


@pytest.mark.parametrize("seed", range(12))
def test_newton_ends_where_the_loss_has_no_more_digits(seed):
    """Steps shrink to the rounding of the loss before they shrink to that of the parameters: that is the end."""
    rng = np.random.default_rng(seed)
    truth = rng.random(4096 * 3) < 0.06
    score = (0.25 + 0.4 * truth + 0.12 * rng.normal(size=truth.shape)).clip(0.01, 0.99)
    fit = fit_logistic([score], [truth], [np.ones_like(truth)], "logit")
    assert fit(score).mean() == pytest.approx(truth.mean(), abs=1e-3)
