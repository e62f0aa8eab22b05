"""The tidy table: what a row holds, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from helpers import statistics, tables


def row_of(**change):
    return dict.fromkeys(tables.COLUMNS, 0) | {"image": "a", "code_hash": "h", "judge_hash": "j"} | change


def test_written_and_read_back(tmp_path):
    tables.write_table([row_of(), row_of(image="b")], tmp_path / "a.csv")
    tables.write_table([row_of(seed=1)], tmp_path / "b.csv")
    table = tables.read_tables([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert len(table) == 3 and list(table.columns) == list(tables.COLUMNS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "b.csv"]


def test_what_must_not_be_mixed_is_refused(tmp_path):
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    tables.write_table([row_of(), row_of(image="b")], a)
    tables.write_table([row_of(), row_of(image="b")], b)
    with pytest.raises(ValueError, match="2 rows stand twice.*'image': 'a'"):
        tables.read_tables([a, b])
    for column in ("code_hash", "judge_hash"):
        tables.write_table([row_of(seed=1, **{column: "other"})], b)
        with pytest.raises(ValueError, match="2 code versions"):
            tables.read_tables([a, b])
    b.write_text("study,dataset\n1,2\n")
    with pytest.raises(ValueError, match="lacks the columns objective"):
        tables.read_tables([a, b])
    with pytest.raises(ValueError, match="no table"):
        tables.read_tables([])


def small_table():
    """Two objectives, two seeds, two images; numbers that can be added in the head."""
    iou = {("bce", 0): (0.5, 0.7), ("bce", 1): (0.6, 0.8), ("dist", 0): (0.4, 0.9), ("dist", 1): (0.5, 0.5)}
    return pd.DataFrame(
        [
            {
                "study": "s", "dataset": "d", "subset": "test", "objective": o, "class": "c", "split": 0, "seed": s,
                "image": f"i{n}", "iou_tuned": v, "iou_natural": v / 2,
                "true_positive_tuned": 10, "false_positive_tuned": 5, "false_negative_tuned": 5,
            }
            for (o, s), values in iou.items()
            for n, v in enumerate(values)
        ]
    )  # fmt: skip


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
    text = statistics.sentence(statistics.summary(table, "iou"), "IoU", "bce")
    assert (
        "mean IoU of c was 0.650 for bce (0.600 to 0.700); 0.575 for dist (0.500 to 0.650), -0.075 against bce." in text
    )
    assert "no interval" in statistics.caveat(2) and "no ranking" in statistics.caveat(2)


def test_undefined_values_are_counted_not_averaged():
    table = small_table()
    table.loc[0, "iou_tuned"] = np.nan
    row = statistics.per_seed(table, "iou_tuned").iloc[0]
    assert (row["iou_tuned"], row["n_images"], row["n_undefined"]) == (0.7, 2, 1)


def test_a_collapse_is_counted():
    table = small_table()
    gone = (table["objective"] == "dist") & (table["seed"] == 1)
    table.loc[gone, ["true_positive_tuned", "false_positive_tuned", "false_negative_tuned"]] = 0, 0, 15
    assert statistics.summary(table, "iou").set_index("objective")["collapsed"].to_dict() == {"bce": 0, "dist": 1}


def test_classes_are_never_averaged_together():
    table = small_table()
    both = pd.concat([table, table.assign(**{"class": "d", "iou_tuned": 0.1})])
    summary = statistics.summary(both, "iou")
    means = summary.set_index(["objective", "class"])["mean"].to_dict()
    assert means == pytest.approx({("bce", "c"): 0.65, ("bce", "d"): 0.1, ("dist", "c"): 0.575, ("dist", "d"): 0.1})
    assert summary["seeds"].tolist() == [2] * 4
    assert statistics.sentence(summary, "IoU", "bce").count("With the cut tuned") == 2


def test_missing_pairs_and_wrong_columns_are_named():
    table = small_table()
    with pytest.raises(ValueError, match=r"1 rows without a pair.*'i1'"):
        statistics.paired_differences(table.drop(index=7), "iou_tuned")
    with pytest.raises(ValueError, match="no row of 'dice'"):
        statistics.paired_differences(table, "iou_tuned", "dice")
    with pytest.raises(ValueError, match="metric is 'iuo'"):
        statistics.per_seed(table, "iuo")
    with pytest.raises(ValueError, match=r"\['test', 'validation'\] in column subset"):
        statistics.per_seed(table.assign(subset=["test"] * 7 + ["validation"]), "iou_tuned")
    with pytest.raises(ValueError, match="no rows"):
        statistics.per_seed(table.iloc[:0], "iou_tuned")
