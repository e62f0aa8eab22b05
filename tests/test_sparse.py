"""Parts of sparse labels read together: numbers worked by hand, and what is missing or does not belong."""

import numpy as np
import pandas as pd
import pytest
from made_part import CONDITIONS, make_shares

from helpers import sparse, statistics

SHARES = {"one": 1.0, "four": 0.25, "sixteen": 0.0625}
PARTS = tuple(SHARES)


def value(loss, others, fraction, seed):
    """Half of the pixels, a little more for later seeds. At a sixteenth the other classes' blocks give hot_distance
    0.05 and 0.07 in turn; one run of bce collapses there."""
    if (loss, others, fraction, seed) == ("bce", "own", 0.0625, 3):
        return 0.0
    helped = (loss, others, fraction) == ("hot_distance", "own", 0.0625)
    return 0.5 + 0.01 * seed + (0.06 + 0.01 * (-1) ** seed) * helped


@pytest.fixture
def study(tmp_path):
    make_shares(tmp_path, SHARES, value)
    return tmp_path


def ask(rows, named=0.0):
    return sparse.ask(rows, "iou_tuned", named=named)


def test_names():
    assert sparse.condition("bce", "own") == "bce, own"
    assert [sparse.share_name(x) for x in (1.0, 0.25, 0.0625, 0.3)] == [
        "share 1",
        "share 1/4",
        "share 1/16",
        "share 3/10",
    ]
    assert sparse.FIRST == "hot_distance, own against discarded" and len(sparse.QUESTIONS) == 9
    assert sparse.QUESTIONS["hot_distance, own against bce, discarded"] == ("hot_distance, own", "bce, discarded")


def test_rows_of_the_parts_are_in_the_order_in_which_they_are_shown(study):
    rows, missing = sparse.read_parts(study, [*PARTS[::-1], "one"])
    assert missing == [] and len(rows) == 3 * 8 * 8 * 2
    assert list(dict.fromkeys(rows["share"])) == ["share 1", "share 1/4", "share 1/16"]
    assert list(dict.fromkeys(rows["condition"])) == [sparse.condition(*pair) for pair in CONDITIONS]
    assert set(rows.loc[rows["part"] == "sixteen", "fraction"]) == {0.0625}


def test_the_named_comparison_by_hand(study):
    """Eight seeds, all better: 2 of 256 flips are as far, times three shares. Standard error 0.01 / sqrt 7."""
    _, comparison, unanswered = ask(sparse.read_parts(study, PARTS)[0])
    row = comparison.set_index(["class", "objective"]).loc[(sparse.FIRST, "share 1/16")]
    assert unanswered == [] and len(comparison) == 9 * 3
    assert (row["difference"], row["p"], row["p_holm"]) == pytest.approx((0.06, 2 / 256, 6 / 256))
    half = 2.3646243 * 0.01 / np.sqrt(7)
    assert (row["low"], row["high"]) == pytest.approx((0.06 - half, 0.06 + half))
    others = comparison[comparison["class"] == sparse.FIRST].set_index("objective")["verdict"]
    assert others.to_dict() == {"share 1": "equivalent", "share 1/4": "equivalent", "share 1/16": "better"}
    said = "share 1/16 +0.060 (95 % interval +0.051 to +0.069, n = 8 seeds, corrected p = 0.023: better)"
    assert sparse.named_answer(comparison, 0.0625) == said
    assert sparse.named_answer(comparison).startswith("share 1 +0.000") and sparse.named_answer(comparison).endswith(
        said
    )
    assert sparse.named_answer(comparison, 0.5) == "no answer"
    assert statistics.tally(comparison[comparison["class"] == sparse.FIRST]) == (
        "1 better, 0 worse, 2 equivalent, 0 undecided"
    )


def test_the_named_comparison_is_a_family_of_its_own(study):
    rows, _ = sparse.read_parts(study, PARTS)
    _, apart, _ = ask(rows, named=0.0625)
    _, together, _ = ask(rows)
    assert list(zip(apart["class"], apart["objective"], strict=True)) == list(
        zip(together["class"], together["objective"], strict=True)
    )
    row = apart.set_index(["class", "objective"]).loc[(sparse.FIRST, "share 1/16")]
    assert row["p_holm"] == row["p"] == pytest.approx(2 / 256) and row["n_comparisons"] == 1
    first = apart["class"] == sparse.FIRST
    assert apart.loc[first & (apart["objective"] != "share 1/16"), "n_comparisons"].tolist() == [2, 2]
    pd.testing.assert_frame_equal(apart[~first], together[~first])
    for wrong in (-0.1, 16):
        with pytest.raises(ValueError, match="expected a fraction above 0 and up to 1, or 0 where none was named"):
            ask(rows, named=wrong)


def test_one_comparison_is_primary_and_the_others_explore(study):
    _, comparison, _ = ask(sparse.read_parts(study, PARTS)[0])
    table = sparse.verdicts(comparison, 0.0625)
    (primary,) = table[table["standing"] == "primary"].to_dict("records")
    assert primary == {
        "standing": "primary",
        "question": sparse.FIRST,
        "share": "share 1/16",
        "n": 8,
        "difference": "+0.060",
        "95 % interval": "+0.051 to +0.069",
        "corrected p": "0.023",
        "verdict": "better",
        "collapsed": "0 / 0",
    }
    assert set(table["standing"]) == {"primary", "explores"} and len(table) == 27
    against = table.set_index(["question", "share"])["collapsed"]
    assert against["bce, own against discarded", "share 1/16"] == "1 / 0"
    assert against["hot_distance, own against bce, own", "share 1/16"] == "0 / 1"
    assert set(sparse.verdicts(comparison)["standing"]) == {"explores"}
    assert sparse.verdicts(pd.DataFrame()).empty and sparse.named_answer(pd.DataFrame(), 0.0625) == "no answer"
    assert statistics.tally(pd.DataFrame()) == "0 better, 0 worse, 0 equivalent, 0 undecided"


def test_levels_and_the_summary_by_hand(study):
    """Of 0.5, 0.51 … 0.57 the mean is 0.535, and 0.06 more at a sixteenth: the images' 0.05 up and down is gone."""
    rows, _ = sparse.read_parts(study, PARTS)
    levels = sparse.levels(rows, "iou_tuned")
    assert len(levels) == 3 * 8 * 8 and list(dict.fromkeys(levels["panel"])) == list(sparse.LOSSES)
    own = levels[(levels["panel"] == "hot_distance") & (levels["line"] == "own")].groupby("x")["value"].mean()
    assert own.to_dict() == pytest.approx({0.0625: 0.595, 0.25: 0.535, 1.0: 0.535})
    summary = sparse.summary(rows, ["iou_tuned", "instance_f1"]).set_index(["loss", "others", "share"])
    row = summary.loc[("hot_distance", "own", "share 1/16")]
    assert row[["IoU", "least IoU", "greatest IoU"]].tolist() == pytest.approx([0.595, 0.56, 0.63])
    assert row["instance F1"] == pytest.approx(0.595) and row["runs"] == 8 and row["collapsed"] == 0
    gone = summary.loc[("bce", "own", "share 1/16")]
    assert gone["collapsed"] == 1 and gone["IoU"] == pytest.approx((8 * 0.535 - 0.53) / 8) and gone["least IoU"] == 0
    assert sparse.collapses(summary.reset_index()) == "1 of 8 runs of bce, own at share 1/16"
    assert sparse.collapses(summary.query("loss != 'bce'").reset_index()) == "none of 120 runs"


def test_what_is_missing_is_named_and_the_rest_is_read(tmp_path):
    make_shares(tmp_path, {"one": 1.0, "four": 0.25}, value)
    path = tmp_path / "four" / "analysis" / "rows.csv"
    rows = pd.read_csv(path)
    gone = (rows["objective"] == "bce_own") | ((rows["objective"] == "hot_distance_own") & (rows["seed"] == 5))
    whole = rows[rows["objective"] == "bce_discarded"].assign(objective="whole")
    whole["parameters"] = whole["parameters"].str.replace("discarded", "all")
    pd.concat([rows[~gone], whole]).to_csv(path, index=False)
    found, missing = sparse.read_parts(tmp_path, PARTS)
    assert missing == [
        f"part sixteen: no {tmp_path}/sixteen/analysis/rows.csv",
        "whole of part four: annotated is 'all', not one class a block; left out",
        "share 1/4, bce, own: no run",
        "share 1/4, hot_distance, own: no run of split 0, seed 5",
    ]
    assert len(found) == (2 * 64 - 9) * 2 and "whole" not in set(found["objective"])
    _, comparison, _ = ask(found)
    answers = comparison.set_index(["class", "objective"])
    assert answers.loc[(sparse.FIRST, "share 1/4"), "reason"] == "7 seeds; an interval needs 8"
    assert ("bce, own against discarded", "share 1/4") not in answers.index


def test_parts_that_do_not_belong_together_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no part of one has rows of sparse labels"):
        sparse.read_parts(tmp_path, ["one"])
    more = {"seeds": 1, "conditions": CONDITIONS[:1]}
    make_shares(tmp_path, {"one": 1.0, "again": 1.0}, value, **more)
    make_shares(tmp_path, {"vnc": 0.25}, value, dataset="vnc", **more)
    make_shares(tmp_path, {"tubes": 0.25}, value, target="tubes", **more)
    make_shares(tmp_path, {"stale": 0.25}, value, code_hash="other", **more)
    for other, says in {
        "again": "2 rows stand twice",
        "vnc": "parts are of the dataset phantom, vnc; expected one of them",
        "tubes": "parts are of the target mitochondria, tubes; expected one of them",
        "stale": "rows of 2 code versions",
    }.items():
        with pytest.raises(ValueError, match=says):
            sparse.read_parts(tmp_path, ["one", other])
    with pytest.raises(ValueError, match="no row of the target in tubes; analyse its class"):
        sparse.read_parts(tmp_path, ["tubes"])


def test_blocks_of_the_target_are_counted_as_the_training_has_them():
    """Eight phantoms of 16 blocks each, a quarter of them the target's."""
    told = {"dataset": "phantom", "classes": "mitochondria,tubes,sheets,vesicles", "reduce": 4, "split": 0, "seed": 0}
    told |= {"target": "mitochondria", "block": 64}
    assert [sparse.blocks(told | {"share": share}) for share in SHARES.values()] == [32, 8, 2]
