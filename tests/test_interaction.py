"""Differences between differences, against SciPy's interval and a sign-flip count by hand."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from helpers import statistics

ORDER = ["bce", "tanh_distance", "hot_distance"]


def rows_of(part, values, images="ab"):
    """Rows of one part; values: objective -> one mean for each seed. Images lie a tenth above and below it."""
    rows = []
    for objective, means in values.items():
        for (seed, mean), (k, image) in itertools.product(enumerate(means), enumerate(images)):
            row = {"objective": objective, "class": "objects", "split": 0, "seed": seed, "image": part + image}
            rows.append(row | {"iou_tuned": mean + 0.1 * (-1) ** k})
    return pd.DataFrame(rows).assign(study="s", dataset=part, subset="test")


@pytest.fixture
def parts():
    """Gains differ from seed to seed, alike in both parts, and the rows of the second are in another order of seeds."""
    rng = np.random.default_rng(0)
    base, own = rng.normal(0.6, 0.03, 8), rng.normal(0, 0.05, 8)
    discs = {"bce": base, "tanh_distance": base + 0.01 + own, "hot_distance": base - 0.01 + own}
    gains = {"tanh_distance": own + rng.normal(0.11, 0.01, 8), "hot_distance": own}
    tubes = {"bce": base / 2} | {name: base / 2 + gain for name, gain in gains.items()}
    shuffled = rows_of("tubes", tubes).sample(frac=1, random_state=0)
    return {
        "discs": rows_of("discs", discs),
        "tubes": shuffled.sort_values("objective", key=lambda c: c.map(ORDER.index)),
    }


def means(table, objective):
    return table[table["objective"] == objective].groupby("seed")["iou_tuned"].mean().to_numpy()


def test_it_is_the_paired_interval_of_one_difference_less_the_other(parts):
    units, found = statistics.interaction(parts, "iou_tuned", "bce", "discs", margin=0.02)
    assert list(zip(found["objective"], found["class"], strict=True)) == [
        ("tubes", "tanh_distance"),
        ("tubes", "hot_distance"),
    ]
    for row in found.itertuples():
        name = found.loc[row.Index, "class"]
        gains = {part: means(table, name) - means(table, "bce") for part, table in parts.items()}
        expected = gains["tubes"] - gains["discs"]
        low, high = (
            stats.t.interval(0.95, 7, expected.mean(), stats.sem(expected)) if expected.std() > 1e-9 else (0.01,) * 2
        )
        assert (row.difference, row.low, row.high) == pytest.approx((expected.mean(), low, high))
        own = units[units["class"] == name].sort_values("seed")
        assert own["difference"].to_numpy() == pytest.approx(expected)
    first, second = found.itertuples()
    assert first.verdict == "better" and first.p == pytest.approx(2 / 2**8), "all eight seeds on one side"
    assert first.p_holm == pytest.approx(2 * first.p) and first.reference == "discs"
    assert second.verdict == "equivalent" and second.difference == pytest.approx(0.01), "of no width: paired by seed"
    assert second.low == pytest.approx(second.high) and (found["n_images"] == 2).all()


def test_collapses_of_both_objectives_are_counted_in_the_part_and_in_the_base(parts):
    counts = {"true_positive": 80, "false_positive": 0, "false_negative": 20, "true_negative": 900}
    for name, table in parts.items():
        gone = (table["seed"] == 0) & (table["objective"].isin(["bce", "hot_distance"])) & (name == "tubes")
        values = {
            f"{key}_tuned": np.where(gone, 0 if key == "true_positive" else number, number)
            for key, number in counts.items()
        }
        parts[name] = table.assign(**values)
    _, found = statistics.interaction(parts, "iou_tuned", "bce", "discs")
    assert found.set_index("class")["collapsed"].to_dict() == {"tanh_distance": 1, "hot_distance": 2}
    assert (found["collapsed_reference"] == 0).all()


def test_a_seed_that_a_part_lacks_is_left_out_and_too_few_give_no_interval(parts):
    less = parts["tubes"].query("not (seed == 3 and objective == 'hot_distance')")
    _, found = statistics.interaction(parts | {"tubes": less}, "iou_tuned", "bce", "discs")
    assert found.set_index("class")["n_units"].to_dict() == {"tanh_distance": 8, "hot_distance": 7}
    assert found.set_index("class").loc["hot_distance", "verdict"] == "undecided"
    assert np.isnan(found.set_index("class").loc["hot_distance", "low"])


def test_a_base_that_is_no_part_is_named(parts):
    with pytest.raises(ValueError, match="base is 'sheets'; expected one of the parts, discs, tubes"):
        statistics.interaction(parts, "iou_tuned", "bce", "sheets")
