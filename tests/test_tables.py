"""The tidy table: what a row holds, and what is refused."""

import pytest

from helpers import tables


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
