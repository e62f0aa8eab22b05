"""Questions with a reference each: the same answers as SciPy's, neighbourhood by neighbourhood."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from helpers import statistics

QUESTIONS = {
    "voting": ("consensus", "own"),
    "beyond smoothing": ("consensus", "boxed"),
    "none": ("consensus", "absent"),
}


@pytest.fixture
def table():
    """Three readings, of which `own` belongs to no neighbourhood; eight seeds, two images."""
    rng = np.random.default_rng(0)
    parts = []
    for neighbourhood, reading in (("none", "own"), *itertools.product(("square 3", "disc 5"), ("consensus", "boxed"))):
        for seed, image in itertools.product(range(8), "ab"):
            row = {"reading": reading, "neighbourhood": neighbourhood, "class": "mito", "split": 0, "seed": seed}
            parts.append(row | {"image": image, "iou_tuned": rng.normal(0.7 + 0.1 * (reading == "consensus"), 0.02)})
    return pd.DataFrame(parts).assign(study="s", dataset="d", subset="test")


def means(table, reading, neighbourhood):
    own = table[(table["reading"] == reading) & (table["neighbourhood"] == neighbourhood)]
    return own.groupby("seed")["iou_tuned"].mean().to_numpy()


def test_each_neighbourhood_is_answered_by_a_paired_t_interval_over_seeds(table):
    units, answers, unanswered = statistics.ask(table, "iou_tuned", QUESTIONS)
    assert list(zip(answers["class"], answers["objective"], strict=True)) == list(
        itertools.product(("voting", "beyond smoothing"), ("square 3", "disc 5"))
    )
    assert unanswered == ["none: no rows of absent"] and set(answers["reference"]) == {statistics.SECOND}
    for row in answers.itertuples():
        title, name = answers.loc[row.Index, "class"], row.objective
        other = ("own", "none") if title == "voting" else ("boxed", name)
        difference = means(table, "consensus", name) - means(table, *other)
        assert row.difference == pytest.approx(difference.mean())
        low, high = stats.t.interval(0.95, 7, difference.mean(), stats.sem(difference))
        assert (row.low, row.high) == pytest.approx((low, high))
        mine = units[(units["class"] == title) & (units["objective"] == name)]
        assert mine.sort_values("seed")["difference"].to_numpy() == pytest.approx(difference)
        said = f"{name} {difference.mean():+.3f} (95 % interval {low:+.3f} to {high:+.3f}, n = 8 seeds, corrected p = "
        assert said in statistics.answer(answers, title)
    assert statistics.answer(answers, "another") == "no answer"
    assert (answers["n_comparisons"] == 2).all(), "each question is a family of its own"


def test_a_neighbourhood_or_a_seed_with_one_side_alone_is_left_out(table):
    gone = (table["neighbourhood"] == "disc 5") & (table["reading"] == "boxed")
    late = (table["seed"] == 7) & (table["reading"] == "own")
    _, answers, _ = statistics.ask(table[~gone & ~late], "iou_tuned", QUESTIONS)
    assert answers.groupby("class")["objective"].agg(list).to_dict() == {
        "voting": ["square 3", "disc 5"],
        "beyond smoothing": ["square 3"],
    }
    few = answers[answers["class"] == "voting"]
    assert few["low"].isna().all() and set(few["reason"]) == {"7 seeds; an interval needs 8"}


def test_answers_as_a_table_to_read(table):
    """Hand-worked: seven equal differences and one that is larger; a question that lacks a neighbourhood; few seeds."""
    reading, disc = table["reading"], table["neighbourhood"] == "disc 5"
    value = 0.7 + 0.1 * (reading == "consensus") + 0.08 * ((reading == "consensus") & (table["seed"] == 7))
    table = table.assign(iou_tuned=value)[~(disc & (reading == "boxed")) & ~(disc & (table["seed"] > 1))]
    questions = {title: QUESTIONS[title] for title in ("beyond smoothing", "voting")}
    crossed = statistics.crossed(statistics.ask(table, "iou_tuned", questions)[1])
    half = 2.3646243 * 0.01  # t of 7 degrees of freedom; the standard error of (0, ..., 0, 0.08) is 0.01
    told = f"better: +0.110 ({0.11 - half:+.3f} to {0.11 + half:+.3f}), p\xa0=\xa0{2 / 2**8:.3f}"
    assert crossed.to_dict("records") == [
        {"question": "beyond smoothing", "square 3": told, "disc 5": ""},
        {"question": "voting", "square 3": told, "disc 5": "+0.100, no interval"},
    ]
    assert statistics.crossed(pd.DataFrame()).empty


def test_nothing_to_answer(table):
    units, answers, unanswered = statistics.ask(table, "iou_tuned", {"q": ("x", "y")})
    assert answers.empty and units.empty and unanswered == ["q: no rows of x and y"]
    apart = table[(table["reading"] == "boxed") == (table["neighbourhood"] == "disc 5")]
    assert statistics.ask(apart, "iou_tuned", {"q": ("boxed", "consensus")})[2] == [
        "q: no neighbourhood has rows of both"
    ]


def test_several_classes_are_named(table):
    both = pd.concat([table, table.assign(**{"class": "syn"})])
    _, answers, _ = statistics.ask(both, "iou_tuned", {"voting": ("consensus", "own")})
    assert sorted(answers["objective"]) == ["mito, disc 5", "mito, square 3", "syn, disc 5", "syn, square 3"]
