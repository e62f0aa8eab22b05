"""Differences, intervals, tests and verdicts: against numbers worked by hand, SciPy, and simulation."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from helpers import statistics

ABOUT = {"study": "s", "dataset": "d", "subset": "test"}


def small_table():
    """Two objectives, two seeds, two images; numbers that can be added in the head."""
    iou = {("bce", 0): (0.5, 0.7), ("bce", 1): (0.6, 0.8), ("dist", 0): (0.4, 0.9), ("dist", 1): (0.5, 0.5)}
    return pd.DataFrame(
        [
            ABOUT | {
                "objective": o, "class": "c", "split": 0, "seed": s,
                "image": f"i{n}", "iou_tuned": v, "iou_natural": v / 2,
                "true_positive_tuned": 10, "false_positive_tuned": 5, "false_negative_tuned": 5,
            }
            for (o, s), values in iou.items()
            for n, v in enumerate(values)
        ]
    )  # fmt: skip


def table_of(differences, metric="iou_tuned", base=0.5, classes=None, splits=1):
    """Rows in which each objective differs from bce by the given number for each seed, on each of two images."""
    rows = []
    for objective, values in ({"bce": np.zeros(max(map(len, differences.values())))} | differences).items():
        for unit, value in enumerate(values):
            for image, wobble in (("a", 0.05), ("b", -0.03)):
                where = {"class": "c", "split": unit % splits, "seed": unit // splits, "image": image}
                rows.append(ABOUT | {"objective": objective, **where, metric: base + 0.1 * unit + wobble + value})
    return pd.DataFrame(rows)


# --- by hand


def test_means_and_paired_differences_by_hand():
    table = small_table()
    means = statistics.per_seed(table, "iou_tuned").set_index(["objective", "seed"])["iou_tuned"]
    assert means.to_dict() == pytest.approx({("bce", 0): 0.6, ("bce", 1): 0.7, ("dist", 0): 0.65, ("dist", 1): 0.5})
    differences = statistics.paired_differences(table, "iou_tuned")
    assert differences["difference"].tolist() == pytest.approx([0.05, -0.2])
    summary = statistics.summary(table, "iou").set_index("objective")
    assert summary["pooled"].tolist() == pytest.approx([0.5, 0.5])
    assert summary.loc["dist", "difference"] == pytest.approx(-0.075)
    assert summary.loc["bce", ["mean", "min", "max", "natural"]].tolist() == pytest.approx([0.65, 0.6, 0.7, 0.325])
    assert np.isnan(summary.loc["bce", "difference"])
    assert "published" not in summary
    assert statistics.summary(table.assign(iou_published=0.1), "iou")["published"].tolist() == pytest.approx([0.1, 0.1])
    assert statistics.summary(table, "iou", None)["difference"].isna().all()


def test_few_seeds_give_points_and_say_why_there_is_no_interval():
    table = small_table()
    comparison = statistics.compare(table, "iou_tuned")
    row = comparison.iloc[0]
    assert (row["verdict"], row["reason"]) == ("undecided", "2 seeds; an interval needs 8")
    assert np.isnan(row[["low", "high", "p", "p_holm"]].astype(float)).all()
    assert (row["n_seeds"], row["n_images"], row["n_comparisons"]) == (2, 2, 0)
    text = statistics.sentence(table, "iou_tuned", comparison)
    assert text == (
        "At the cut tuned on validation, mean IoU of c was 0.650 for bce (0.600 to 0.700); 0.575 for dist (0.500 to "
        "0.650), -0.075 against bce (2 seeds; an interval needs 8)."
    )
    assert statistics.caveat(comparison) == (
        "2 seeds give points and no interval (8 are needed): preliminary, no ranking."
    )
    nothing = comparison.iloc[:0]
    assert "0.650 for bce (0.600 to 0.700); 0.575 for dist (" in statistics.sentence(table, "iou_tuned", nothing)
    assert statistics.caveat(nothing) == "Nothing could be compared with a reference: no ranking."
    with pytest.raises(ValueError, match="but the comparison is of iou_tuned"):
        statistics.sentence(table, "iou_natural", comparison)
    one = table[table["seed"] == 0]
    assert statistics.caveat(statistics.compare(one, "iou_tuned")).startswith("1 seed gives points and no interval")
    assert "0.650 for dist, +0.050 against bce (1 seed;" in statistics.sentence(
        one, "iou_tuned", statistics.compare(one, "iou_tuned")
    )


def test_undefined_values_are_counted_not_averaged():
    table = small_table()
    table.loc[0, "iou_tuned"] = np.nan
    row = statistics.per_seed(table, "iou_tuned").iloc[0]
    assert (row["iou_tuned"], row["n_images"], row["n_undefined"]) == (0.7, 2, 1)
    differences = statistics.paired_differences(table, "iou_tuned").set_index("seed")
    assert differences.loc[0, "difference"] == pytest.approx(0.2) and differences.loc[0, "n_undefined"] == 1
    assert statistics.compare(table, "iou_tuned")["n_undefined"].item() == 1
    table["iou_tuned"] = np.nan
    nothing = statistics.compare(table, "iou_tuned")
    assert nothing["n_units"].item() == 0 and nothing["verdict"].item() == "undecided"
    assert "undefined for bce; undefined for dist" in statistics.sentence(table, "iou_tuned", nothing)


def test_a_collapse_is_counted_beside_the_verdict():
    table = small_table()
    gone = (table["objective"] == "dist") & (table["seed"] == 1)
    table.loc[gone, ["true_positive_tuned", "false_positive_tuned", "false_negative_tuned"]] = 0, 0, 15
    assert statistics.summary(table, "iou").set_index("objective")["collapsed"].to_dict() == {"bce": 0, "dist": 1}
    row = statistics.compare(table, "iou_tuned").iloc[0]
    assert (row["collapsed"], row["collapsed_reference"]) == (1, 0)
    without = statistics.compare(table.drop(columns="true_positive_tuned"), "iou_tuned").iloc[0]
    assert np.isnan(without["collapsed"]), "without counts nobody knows"


def test_classes_are_never_averaged_together():
    table = small_table()
    both = pd.concat([table, table.assign(**{"class": "d", "iou_tuned": 0.1})])
    summary = statistics.summary(both, "iou")
    means = summary.set_index(["objective", "class"])["mean"].to_dict()
    assert means == pytest.approx({("bce", "c"): 0.65, ("bce", "d"): 0.1, ("dist", "c"): 0.575, ("dist", "d"): 0.1})
    assert summary["seeds"].tolist() == [2] * 4
    comparison = statistics.compare(both, "iou_tuned")
    assert comparison["class"].tolist() == ["c", "d"]
    assert statistics.sentence(both, "iou_tuned", comparison).count("At the cut tuned") == 2


def test_pooled_metrics_add_counts_and_no_missing_count_poisons_them():
    table = small_table()
    table["n_true"], table["n_predicted"], table["n_matched"] = 4, 6.0, 3
    f1 = statistics.pooled(table, "instance_f1").set_index(["objective", "seed"])["pooled"]
    assert f1.tolist() == pytest.approx([2 * 6 / (8 + 12)] * 4)
    assert statistics.pooled(table, "instance_recall")["pooled"].tolist() == pytest.approx([0.75] * 4)
    table.loc[0, ["true_positive_tuned", "false_positive_tuned", "false_negative_tuned"]] = [np.nan, 1000, 1000]
    iou = statistics.pooled(table)
    assert iou["pooled"].tolist() == pytest.approx([0.5] * 4)
    right = statistics.pooled(table.assign(true_negative_tuned=[30, 10] * 4), "accuracy")
    assert right["pooled"].tolist() == pytest.approx([(10 + 10) / (20 + 10)] + [(20 + 40) / (40 + 40)] * 3)
    assert iou["n_undefined"].tolist() == [1, 0, 0, 0] and iou["n_images"].tolist() == [2] * 4
    table[["true_positive_tuned", "false_positive_tuned", "false_negative_tuned"]] = 0
    f1_metrics = ("instance_precision", "instance_recall", "instance_f1")
    assert statistics.pooled(table)["pooled"].isna().all(), "nothing in truth and prediction is undefined"
    with pytest.raises(ValueError, match="metric is 'ece'; from counts can be pooled iou, dice"):
        statistics.pooled(table, "ece")
    assert list(statistics.pooled_means(table)) == ["objective", "class", "iou", "dice", *list(f1_metrics)]


# --- intervals and tests


@pytest.mark.parametrize("n", [8, 9, 13])
def test_interval_and_sign_flips_agree_with_scipy(n):
    values = np.random.default_rng(n).normal(0.02, 0.05, n)
    row = statistics.compare(table_of({"dice": values}), "iou_tuned").iloc[0]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert row[["difference", "low", "high"]].tolist() == pytest.approx([values.mean(), *expected])
    exact = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert row["p"] == pytest.approx(exact.pvalue, abs=1e-12)
    assert exact.null_distribution.size == 2**n


@given(st.lists(st.integers(-5, 5), min_size=8, max_size=11))
@settings(max_examples=60, deadline=None)
def test_sign_flips_count_ties_as_brute_force_does(values):
    """Small integers tie often; in tenths, sums that are equal on paper differ in the last bit."""
    from helpers.statistics.comparison import _sign_flip

    signs = 1 - 2 * ((np.arange(2 ** len(values))[:, None] >> np.arange(len(values))) & 1)
    sums = np.abs(signs @ np.array(values))
    assert _sign_flip(np.array(values) / 10) == (sums >= abs(sum(values))).mean()


def test_many_seeds_are_still_exact_and_beyond_that_it_is_said():
    from helpers.statistics.comparison import _sign_flip

    assert _sign_flip(np.ones(30)) == 2 / 2**30
    # of 20 equal steps the sum is the binomial's: SciPy's exact sign test
    steps = np.r_[np.ones(15), -np.ones(5)]
    assert _sign_flip(steps) == pytest.approx(stats.binomtest(15, 20).pvalue, rel=1e-12)
    values = np.random.default_rng(0).normal(0.3, 0.05, 41)
    row = statistics.compare(table_of({"dice": values}), "iou_tuned").iloc[0]
    assert row["verdict"] == "undecided" and "beyond 40 units no exact test is made" in row["reason"]


def test_holm_by_hand():
    """Of .01, .04, .03, .005: .005·4 = .02, .01·3 = .03, .03·2 = .06, and .04·1 may not fall below .06."""
    table = pd.DataFrame({"p": [0.01, 0.04, np.nan, 0.03, 0.005]}, index=list("abcde"))
    corrected = statistics.holm(table)
    assert corrected.dropna().to_dict() == pytest.approx({"a": 0.03, "b": 0.06, "d": 0.06, "e": 0.02})
    assert np.isnan(corrected["c"]), "what was not tested is corrected for nothing"
    assert statistics.holm(pd.DataFrame({"p": [0.7, 0.6]})).tolist() == [1, 1]
    assert statistics.holm(pd.DataFrame({"p": []})).empty


SPREAD = np.array([-1.0, 1, -1, 1, -0.5, 0.5, 0, 0])


@pytest.mark.parametrize(
    ("values", "metric", "verdict", "reason"),
    [
        (0.001 + 0.003 * SPREAD, "iou_tuned", "equivalent", "the 95 % interval lies within ±0.02"),
        (np.zeros(8), "iou_tuned", "equivalent", "lies within"),
        (0.01 + 0.001 * SPREAD, "iou_tuned", "equivalent", "lies within"),  # not 0, and does not matter
        (0.1 + 0.02 * SPREAD, "iou_tuned", "better", "the 95 % interval excludes 0 and corrected p = 0.008"),
        (-0.1 + 0.02 * SPREAD, "iou_tuned", "worse", "excludes 0"),
        (0.1 + 0.02 * SPREAD, "voi", "worse", "excludes 0"),
        (-0.1 + 0.02 * SPREAD, "ece_raw", "better", "excludes 0"),
        (0.01 + 0.05 * SPREAD, "iou_tuned", "undecided", "the 95 % interval includes 0 and reaches beyond ±0.02"),
    ],
)
def test_the_four_verdicts(values, metric, verdict, reason):
    row = statistics.compare(table_of({"dice": values}, metric), metric).iloc[0]
    assert row["verdict"] == verdict and reason in row["reason"]


def test_a_verdict_waits_for_the_corrected_p_and_says_when_none_could_do():
    """With 8 seeds p cannot be under 2/256; seven comparisons make that .055."""
    sure = 0.1 + 0.02 * SPREAD
    six = statistics.compare(table_of({f"o{k}": sure for k in range(6)}), "iou_tuned")
    assert set(six["verdict"]) == {"better"} and six["p_holm"].max() == pytest.approx(6 * 2 / 256)
    seven = statistics.compare(table_of({f"o{k}": sure for k in range(7)}), "iou_tuned")
    assert set(seven["verdict"]) == {"undecided"}
    assert "over 7 comparisons, 8 units cannot reach less than 0.055 (9 could)" in seven["reason"].iloc[0]
    nine = {f"o{k}": np.r_[sure, 0.1] for k in range(7)}
    assert set(statistics.compare(table_of(nine), "iou_tuned")["verdict"]) == {"better"}


def test_splits_crossed_with_seeds_are_units_of_their_own_and_said_so():
    row = statistics.compare(table_of({"dice": 0.1 + 0.02 * SPREAD}, splits=2), "iou_tuned").iloc[0]
    assert (row["n_units"], row["n_seeds"], row["n_splits"], row["verdict"]) == (8, 4, 2, "better")
    assert "n = 8 units (4 seeds in 2 splits)" in statistics.difference_text(row)


def test_a_comparison_as_a_table_to_read_and_its_tally():
    table = table_of({"dist": np.full(8, 0.1) + 0.01 * (-1) ** np.arange(8), "same": np.zeros(3)})
    table = table.assign(true_positive_tuned=0, false_positive_tuned=0, false_negative_tuned=9)
    found = statistics.compare(table, "iou_tuned", missing="drop")
    half = 2.3646243 * 0.01 / np.sqrt(7)
    assert statistics.in_words(found).to_dict("records") == [
        {"objective": "dist", "class": "c", "n": 8, "difference": "+0.100", "95 % interval": f"{0.1 - half:+.3f} to "
         f"{0.1 + half:+.3f}", "corrected p": "0.008", "verdict": "better", "collapsed": "8"},
        {"objective": "same", "class": "c", "n": 3, "difference": "+0.000", "95 % interval": "none",
         "corrected p": "none", "verdict": "undecided", "collapsed": "3"},
    ]  # fmt: skip
    assert statistics.tally(found) == "1 better, 0 worse, 0 equivalent, 1 undecided"
    assert statistics.in_words(pd.DataFrame()).empty


def test_sentence_and_caveat_of_a_full_study():
    table = table_of({"dice": 0.1 + 0.02 * SPREAD, "hinge": 0.001 * SPREAD})
    comparison = statistics.compare(table, "iou_tuned")
    text = statistics.sentence(table, "iou_tuned", comparison)
    assert "+0.100 against bce (95 % interval +0.087 to +0.113, n = 8 seeds, corrected p = 0.016: better)" in text
    assert "hinge" in text and ": equivalent)" in text
    caveat = statistics.caveat(comparison)
    assert (
        "95 % t intervals and exact sign-flip tests over 8 seeds, with Holm's correction over 2 comparisons" in caveat
    )
    assert "±0.02" in caveat and "nothing is claimed of a population" in caveat
    fewer = table[~((table["objective"] == "hinge") & (table["seed"] > 2))]
    partial = statistics.compare(fewer, "iou_tuned", missing="drop")
    assert "1 comparison with fewer than 8 units (the fewest: 3 seeds) without an interval" in statistics.caveat(
        partial
    )


# --- simulation: seeds and images crossed, through the whole of compare


def simulated(effect, n_seeds=8, repetitions=1500, n_images=4, seed=0):
    """Each class is a repetition. Image effects are shared by the objectives; seeds, and pairs of both, are not."""
    rng = np.random.default_rng(seed)
    shape = (repetitions, n_seeds, n_images)
    image, shared = rng.normal(0, 0.1, (repetitions, 1, n_images)), rng.normal(0, 0.05, (repetitions, n_seeds, 1))
    parts = []
    index = np.indices(shape).reshape(3, -1)
    for objective, mean in {"bce": 0.6, "dice": 0.6 + effect}.items():
        own, noise = rng.normal(0, 0.03, (repetitions, n_seeds, 1)), rng.normal(0, 0.02, shape)
        columns = dict(zip(("class", "seed", "image"), index, strict=True))
        values = (mean + image + shared + own + noise).ravel()
        parts.append(pd.DataFrame(ABOUT | {"objective": objective, "split": 0, **columns, "iou_tuned": values}))
    return pd.concat(parts)


def test_the_interval_covers_as_it_says_and_a_null_is_rejected_at_its_rate():
    table = simulated(effect=0.01)
    comparison = statistics.compare(table, "iou_tuned")
    covered = (comparison["low"] <= 0.01) & (0.01 <= comparison["high"])
    assert 0.93 <= covered.mean() <= 0.97
    null = statistics.compare(simulated(effect=0.0, seed=1), "iou_tuned")
    # p is a multiple of 2/256, so the exact test's rate is 12/256 = .047; 1500 repetitions have an error of .0055
    assert abs((null["p"] < 0.05).mean() - 12 / 256) < 2.5 * 0.0055
    # the contrast that the unit is about: rows taken for replicates cover far less
    wide = table.pivot(index=["class", "seed", "image"], columns="objective", values="iou_tuned")
    rows = (wide["dice"] - wide["bce"]).to_numpy().reshape(1500, -1)
    low, high = stats.ttest_1samp(rows, 0, axis=1).confidence_interval(0.95)
    assert ((low <= 0.01) & (0.01 <= high)).mean() < 0.85


def test_with_splits_the_interval_covers_the_mean_of_these_splits():
    """Splits differ in their effect by as much as seeds do; what is asked is their mean, and no population's."""
    rng, repetitions, splits, seeds = np.random.default_rng(2), 1500, 3, 4
    shape = (repetitions, splits, seeds)
    effect = 0.01 + rng.normal(0, 0.03, (repetitions, splits, 1))
    index = dict(zip(("class", "split", "seed"), np.indices(shape).reshape(3, -1), strict=True))
    values = {"bce": np.zeros(shape), "dice": effect + rng.normal(0, 0.03, shape)}
    parts = [ABOUT | {"objective": o, **index, "image": "i", "iou_tuned": v.ravel()} for o, v in values.items()]
    comparison = statistics.compare(pd.concat(map(pd.DataFrame, parts)), "iou_tuned")
    true = effect.mean((1, 2))[comparison["class"].astype(int)]
    assert 0.93 <= ((comparison["low"] <= true) & (true <= comparison["high"])).mean() <= 0.97
    assert set(comparison["n_units"]) == {12} and "for these splits" in statistics.caveat(comparison)
    # by hand: one of them, its variance pooled within splits
    one = values["dice"][0]
    half = stats.t.ppf(0.975, 9) * np.sqrt(one.var(axis=1, ddof=1).mean() / 12)
    row = comparison[comparison["class"] == 0].iloc[0]
    assert (row["low"], row["high"]) == pytest.approx((one.mean() - half, one.mean() + half))


def test_one_seed_of_many_splits_says_nothing_of_seeds():
    row = statistics.compare(table_of({"dice": 0.1 + 0.02 * SPREAD}, splits=8), "iou_tuned").iloc[0]
    assert np.isnan(row["low"]) and row["verdict"] == "undecided"
    assert row["reason"] == "8 units (1 seed in 8 splits); an interval needs two seeds of every split"


def test_corrected_nulls_are_rarely_called_and_a_planted_effect_is_found():
    """Families of three nulls: a false better or worse in at most one in twenty of them."""
    calls = []
    for family in range(150):
        rng = np.random.default_rng(family)
        table = table_of({f"o{k}": rng.normal(0, 0.05, 8) for k in range(3)})
        calls.append(statistics.compare(table, "iou_tuned")["verdict"].isin(["better", "worse"]).any())
    assert np.mean(calls) <= 0.05 + 2 * 0.018
    found = statistics.compare(simulated(effect=-0.08, n_seeds=10, repetitions=200), "iou_tuned")
    assert (found["difference"] < 0).all() and (found["p"] < 0.05).mean() > 0.95
    one = statistics.compare(simulated(effect=-0.08, n_seeds=10, repetitions=1), "iou_tuned")
    assert one["verdict"].tolist() == ["worse"]
    same = statistics.compare(simulated(effect=0, n_seeds=60, repetitions=30, n_images=2), "iou_tuned", margin=0.03)
    assert (same["verdict"] == "equivalent").mean() > 0.9


# --- depth curves and reliability


def test_the_parabola_of_a_depth_curve_is_found_with_its_peak():
    rows = [
        ABOUT | {
            "objective": o, "class": "c", "split": 0, "seed": s, "image": i, "iou_tuned": 0.7 - 0.02 * (d - peak) ** 2,
            "parameters": json.dumps({"depth": d}),
        }
        for o, peak in {"bce": 3.0, "dice": 9.0}.items() for s in range(2) for i in "ab" for d in (1, 2, 4, 5)
    ]  # fmt: skip
    table = statistics.with_parameter(pd.DataFrame(rows), "depth")
    points, fits = statistics.depth_curve(table, "iou_tuned")
    assert len(points) == 2 * 2 * 4
    fit = fits.set_index("objective")
    assert fit.loc["bce", ["constant", "slope", "square"]].tolist() == pytest.approx([0.7 - 0.18, 0.12, -0.02])
    assert fit.loc["bce", "peak"] == pytest.approx(3) and np.isnan(fit.loc["dice", "peak"]), "outside what was run"
    noisy = table.assign(iou_tuned=table["iou_tuned"] + np.random.default_rng(0).normal(0, 0.05, len(table)))
    points, fits = statistics.depth_curve(noisy, "iou_tuned")
    own = points[points["objective"] == "bce"]
    expected = np.polyfit(own["depth"].to_numpy(), own["iou_tuned"].to_numpy(), 2)
    assert fits.iloc[0][["square", "slope", "constant"]].tolist() == pytest.approx(expected.tolist())
    _, few = statistics.depth_curve(table[table["depth"] < 3], "iou_tuned")
    assert few["reason"].tolist() == ["2 levels of depth; a parabola needs 3"] * 2 and few["peak"].isna().all()
    with pytest.raises(ValueError, match="where depth is 1: 16 rows stand twice"):
        statistics.depth_curve(pd.concat([table[table["depth"] == 1]] * 3), "iou_tuned")
    with pytest.raises(ValueError, match="no parameter 'width' in the rows of bce"):
        statistics.with_parameter(table, "width")


def test_reliability_is_pooled_by_counts():
    bins = pd.DataFrame(
        {
            "objective": "bce", "class": "c", "kind": "raw", "seed": [0, 1, 1], "bin": [3, 3, 4],
            "count": [10, 30, 0], "probability": [0.2, 0.24, np.nan], "positive": [0.0, 0.4, np.nan],
        }
    )  # fmt: skip
    result = statistics.pooled_reliability(bins)
    assert result[["bin", "count"]].values.tolist() == [[3, 40]]
    assert result[["probability", "positive"]].iloc[0].tolist() == pytest.approx([0.23, 0.3])
    assert len(statistics.pooled_reliability(bins, ("objective", "class", "kind", "seed"))) == 2
    with pytest.raises(ValueError, match=r"positive of a bin is 7\.0; expected a mean"):
        statistics.pooled_reliability(bins.assign(positive=7.0))


# --- bad input


def test_missing_pairs_and_wrong_columns_are_named():
    table = small_table()
    with pytest.raises(ValueError, match=r"1 rows without a pair between dist and bce, first .*image i1, which dist"):
        statistics.paired_differences(table.drop(index=7), "iou_tuned")
    with pytest.raises(ValueError, match="image i0, which bce lacks"):
        statistics.compare(table.drop(index=0), "iou_tuned")
    alone = statistics.unpaired(table.drop(index=7))
    assert alone[["objective", "seed", "image", "lacking"]].values.tolist() == [["dist", 1, "i1", "dist"]]
    kept = statistics.paired_differences(table.drop(index=7), "iou_tuned", missing="drop")
    assert kept["seed"].tolist() == [0], "a seed without all of its images is left out whole"
    with pytest.raises(ValueError, match="missing is 'ignore'"):
        statistics.paired_differences(table, "iou_tuned", missing="ignore")
    with pytest.raises(ValueError, match="no row of 'dice'"):
        statistics.paired_differences(table, "iou_tuned", "dice")
    with pytest.raises(ValueError, match="metric is 'iuo'"):
        statistics.per_seed(table, "iuo")
    with pytest.raises(ValueError, match="no rows"):
        statistics.per_seed(table.iloc[:0], "iou_tuned")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"subset": ["test"] * 7 + ["validation"]}, r"\['test', 'validation'\] in column subset"),
        ({"dataset": ["d"] * 7 + ["e"]}, r"\['d', 'e'\] in column dataset"),
        ({"study": ["s"] * 7 + ["t"]}, r"\['s', 't'\] in column study"),
        ({"image": "i0"}, "4 rows stand twice, the first for objective bce, class c, split 0, seed 0, image i0"),
        ({"iou_tuned": "high"}, "column iou_tuned holds .*; expected numbers"),
        ({"iou_tuned": [0.5] * 7 + [np.inf]}, "infinite for objective dist, class c, split 0, seed 1, image i1"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, says):
    with pytest.raises(ValueError, match=says):
        statistics.compare(small_table().assign(**change), "iou_tuned")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"metric": "area_ratio_tuned"}, "area_ratio_tuned has no better side"),
        ({"metric": "sharpness"}, "metric is 'sharpness'; expected one of iou, dice"),
        ({"metric": "iou_tuned", "margin": -1}, "margin is -1"),
        ({"metric": "iou_tuned", "level": 95}, "level is 95; expected a number between"),
    ],
)
def test_arguments_that_make_no_sense_are_named(arguments, says):
    with pytest.raises(ValueError, match=says):
        statistics.compare(small_table().assign(area_ratio_tuned=1.0), **arguments)


def test_a_collapse_is_counted_at_each_cut_and_unknown_where_there_is_none():
    table = small_table().assign(true_negative_tuned=80)
    for count in ("true_positive", "false_positive", "false_negative"):
        table[f"{count}_natural"] = table[f"{count}_tuned"].where(table["objective"] == "bce")
    gone = (table["objective"] == "dist") & (table["seed"] == 1)
    table.loc[gone, ["true_positive_tuned", "false_positive_tuned", "false_negative_tuned"]] = 15, 85, 0
    table.loc[gone, "true_negative_tuned"] = 0  # everything, at less than 20 times the area
    summary = statistics.summary(table.assign(iou_natural=table["iou_tuned"]), "iou").set_index("objective")
    assert summary["collapsed"].to_dict() == {"bce": 0, "dist": 1}
    assert summary.loc["bce", "collapsed natural"] == 0 and pd.isna(summary.loc["dist", "collapsed natural"])


def test_runs_that_differ_in_more_than_the_objective_are_not_compared():
    table = small_table().assign(steps=600)
    table.loc[table["objective"] == "dist", "steps"] = 10
    with pytest.raises(ValueError, match=r"steps is \[10\] in the rows of dist and \[600\] in those of bce"):
        statistics.paired_differences(table, "iou_tuned")
