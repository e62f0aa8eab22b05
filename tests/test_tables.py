"""The tidy table: what a row holds, and what is refused."""

import numpy as np
import pytest

from helpers import tables

RUN = {
    "study": "s", "dataset": "d", "objective": "bce", "options": "{}", "split": 0, "subset": "test", "seed": 0,
    "learning_rate": 1e-3, "steps": 5,
    "n_weights": 9, "parameters": "{}", "threads": 1, "device": "cpu", "commit": "c", "code_hash": "h",
    "seconds": 1.0,
}  # fmt: skip


def rows_of(discs, tuned=0.5, **change):
    images = [discs(0), discs(1)]
    scores = [image.raw for image in images]
    return tables.score_rows(scores, images, ["disc"], 0.45, {"disc": tuned}, **(RUN | change))


def test_a_row_for_each_class_and_image_with_both_cuts(discs):
    rows = rows_of(discs)
    assert [row["image"] for row in rows] == ["disc/0", "disc/1"]
    assert all(tuple(row) == tables.COLUMNS for row in rows)
    image = discs(0)
    found = image.raw[0] > 0.5
    expected = (found & image.masks[0]).sum() / (found | image.masks[0]).sum()
    assert rows[0]["iou_tuned"] == pytest.approx(expected)
    assert rows[0]["iou_natural"] != rows[0]["iou_tuned"]
    assert (
        sum(rows[0][f"{c}_tuned"] for c in ("true_positive", "false_positive", "false_negative", "true_negative"))
        == 48**2
    )


def test_a_cut_that_does_not_exist_gives_nan(discs):
    row = rows_of(discs, tuned=float("nan"))[0]
    assert np.isnan(row["iou_tuned"]) and row["true_positive_tuned"] is None and row["iou_natural"] > 0


def test_written_and_read_back(discs, tmp_path):
    tables.write_table(rows_of(discs), tmp_path / "a.csv")
    tables.write_table(rows_of(discs, seed=1), tmp_path / "b.csv")
    table = tables.read_tables([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert len(table) == 4 and list(table.columns) == list(tables.COLUMNS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "b.csv"]


def test_what_must_not_be_mixed_is_refused(discs, tmp_path):
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    tables.write_table(rows_of(discs), a)
    tables.write_table(rows_of(discs), b)
    with pytest.raises(ValueError, match="2 rows stand twice.*disc/0"):
        tables.read_tables([a, b])
    tables.write_table(rows_of(discs, seed=1, code_hash="other"), b)
    with pytest.raises(ValueError, match="2 code versions"):
        tables.read_tables([a, b])
    b.write_text("study,dataset\n1,2\n")
    with pytest.raises(ValueError, match="lacks the columns objective"):
        tables.read_tables([a, b])
    with pytest.raises(ValueError, match="no table"):
        tables.read_tables([])
