"""The search takes the best rate, and says so where the best is no answer."""

import math

import pytest

from helpers import models, objectives, training, tuning


def given(scores):
    """A training that gives these scores; None diverges, a negative score has collapsed."""

    def run(learning_rate, steps, seed):
        score = scores[learning_rate]
        if score is None:
            raise training.Diverged("step 3: the loss is nan")
        return {"score": score, "collapsed": score <= 0}

    return run


def test_the_best_of_real_trainings_on_discs(discs):
    seen = []

    def run(learning_rate, steps, seed):
        seen.append((learning_rate, steps, seed))
        training.seed_everything(seed, 1)
        plan = training.Schedule(steps, 2, 32, learning_rate)
        network = models.UNet(1, 1, width=4, depth=2)
        history = training.train(
            network, objectives.get("bce"), [discs(s) for s in range(3)], plan, device="cpu", log=lambda line: None
        )
        return {"score": -history[-1]["loss"], "collapsed": history[-1]["collapsed"]}

    found = tuning.learning_rate(run, (1e-2, 1e-6), steps=30, seed=5)
    assert seen == [(1e-6, 30, 5), (1e-2, 30, 5)]
    assert found.best == 1e-2 and found.at_edge and not found.collapsed and not found.tied
    assert found.table[1]["score"] > found.table[0]["score"] and found.table[0]["seconds"] > 0


def test_ties_go_to_the_smaller_rate_and_are_told():
    found = tuning.learning_rate(given({1e-3: 0.70, 3e-3: 0.80, 1e-2: 0.80}))
    assert found.best == 3e-3 and found.tied == (3e-3, 1e-2) and not found.at_edge
    assert "tied: 0.003, 0.01" in str(found)
    wide = tuning.learning_rate(given({1e-3: 0.795, 3e-3: 0.80, 1e-2: 0.7}), tolerance=0.01)
    assert wide.best == 1e-3 and wide.tied == (1e-3, 3e-3) and wide.at_edge and "try rates beyond" in str(wide)


def test_divergence_and_collapse_are_rows_of_the_table_and_never_win():
    found = tuning.learning_rate(given({1e-3: 0.2, 3e-3: 0.0, 1e-2: None}))
    assert found.best == 1e-3 and not found.collapsed
    assert [row["collapsed"] for row in found.table] == [False, True, False]
    assert math.isnan(found.table[2]["score"]) and found.table[2]["diverged"] == "step 3: the loss is nan"
    lost = tuning.learning_rate(given({1e-3: -0.2, 3e-3: -0.1, 1e-2: None}))
    assert lost.best == 3e-3 and lost.collapsed and "every training collapsed" in str(lost)
    blank = tuning.learning_rate(lambda **_: {"score": math.nan, "collapsed": True}, (1e-3, 1e-2))
    assert blank.best == 1e-3 and blank.collapsed and blank.tied == (1e-3, 1e-2)
    with pytest.raises(ValueError, match="every training diverged"):
        tuning.learning_rate(given(dict.fromkeys(tuning.RATES)))


def test_other_errors_are_not_swallowed():
    def broken(**_):
        raise ValueError("no image to train on")

    with pytest.raises(ValueError, match="no image to train on"):
        tuning.learning_rate(broken)


def test_bad_input_is_named():
    for rates in ((), (1e-3, -1), (1e-3, 1e-3)):
        with pytest.raises(ValueError, match="rates are"):
            tuning.learning_rate(given({}), rates)
    with pytest.raises(ValueError, match="steps is 0"):
        tuning.learning_rate(given({}), steps=0)
    with pytest.raises(ValueError, match="tolerance is -1"):
        tuning.learning_rate(given({}), tolerance=-1)
    with pytest.raises(ValueError, match="score at learning rate 0.001 is nan"):
        tuning.learning_rate(lambda **_: math.nan)
