"""The tidy table: what a row holds, and what is refused."""

import pytest

from helpers import tables


def row_of(**change):
    return dict.fromkeys(tables.COLUMNS, 0) | {"image": "a", "code_hash": "h", "judge_hash": "j"} | change


def read(*paths):
    return tables.together([tables.read_table(path) for path in paths])


def test_written_and_read_back(tmp_path):
    tables.write_table([row_of(), row_of(image="b")], tmp_path / "a.csv")
    tables.write_table([row_of(seed=1)], tmp_path / "b.csv")
    table = read(tmp_path / "a.csv", tmp_path / "b.csv")
    assert len(table) == 3 and list(table.columns) == list(tables.COLUMNS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "b.csv"]


def test_what_must_not_be_mixed_is_refused(tmp_path):
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    tables.write_table([row_of(), row_of(image="b")], a)
    tables.write_table([row_of(), row_of(image="b")], b)
    with pytest.raises(ValueError, match="2 rows stand twice.*'image': 'a'"):
        read(a, b)
    for column in ("code_hash", "judge_hash"):
        tables.write_table([row_of(seed=1, **{column: "other"})], b)
        with pytest.raises(ValueError, match="2 code versions"):
            read(a, b)
    b.write_text("study,dataset\n1,2\n")
    with pytest.raises(ValueError, match="lacks the columns objective"):
        read(a, b)
    with pytest.raises(ValueError, match="no table"):
        tables.together([])


@pytest.mark.parametrize("hash_", ["171792979547", "012345678901", "12345e678901", "deadbeef0123"])
def test_names_and_hashes_stay_text_whatever_they_look_like(tmp_path, hash_):
    """A SHA-256's first digits may all be decimal; a class may be called 1, or NA."""
    tables.write_table([row_of(**{"class": "1", "image": "007", "code_hash": hash_})], tmp_path / "a.csv")
    tables.write_table([row_of(**{"class": "NA", "image": "007", "code_hash": hash_, "voi": None})], tmp_path / "b.csv")
    table = read(tmp_path / "a.csv", tmp_path / "b.csv")
    assert table["class"].tolist() == ["1", "NA"] and set(table["image"]) == {"007"}
    assert set(table["code_hash"]) == {hash_} and table["voi"].isna().tolist() == [False, True]
    tables.write_table([row_of(seed=1, code_hash="123456789012")], tmp_path / "b.csv")
    with pytest.raises(ValueError, match="rows of 2 code versions"):
        read(tmp_path / "a.csv", tmp_path / "b.csv")
