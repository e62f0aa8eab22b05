"""Zip archives as a stream of members: what is right comes, what is hostile is refused by name."""

import io
import os
import random
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from servers import serve

from helpers import datasets
from helpers.datasets.archives import open_archive, read_members


def zipped(members: dict, compression=zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive of names (or ZipInfo) and contents."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def put(folder: Path, content: bytes) -> Path:
    (folder / "a.zip").write_bytes(content)
    return folder / "a.zip"


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_come_in_order_and_whole(tmp_path, compression):
    rng = random.Random(0)
    members = {f"d{i % 3}/b{i}": rng.randbytes(rng.randrange(40_000)) for i in range(20)} | {"d0/empty": b""}
    path = put(tmp_path, zipped({**members, "folder/": b""}, compression))
    assert list(read_members(path)) == list(members.items())
    assert [n for n, _ in read_members(path, lambda n: n.startswith("d1/"))] == [n for n in members if n[:2] == "d1"]


def test_over_http_only_what_is_wanted_is_fetched(tmp_path, monkeypatch):
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    members = {f"{i:02d}": random.Random(i).randbytes(500_000) for i in range(20)}
    content = zipped(members, zipfile.ZIP_STORED)
    with serve({"a.zip": content}) as server:
        assert list(read_members(f"{server.url}/a.zip", lambda n: n == "03")) == [("03", members["03"])]
        assert sum(written for *_, written in server.sent) < len(content) / 3
        assert list(read_members(f"{server.url}/a.zip")) == list(members.items())
        server.faults["a.zip"] = ["whole"] * 9
        with pytest.raises(ConnectionError, match="cannot be read in parts|did not deliver"):
            list(read_members(f"{server.url}/a.zip"))
        with pytest.raises(ConnectionError, match="did not deliver"):
            list(read_members(f"{server.url}/missing.zip"))
    with pytest.raises(ConnectionError, match="Check network"):
        list(read_members("http://127.0.0.1:9/a.zip"))


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "a/..", "..\\evil", "a\\..\\evil"])
def test_members_that_point_out(tmp_path, name):
    path = put(tmp_path, zipped({"good": b"1", name: b"2"}))
    with pytest.raises(ValueError, match=r"points out of the archive by '\.\.'") as caught:
        list(read_members(path))
    assert repr(name) in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["/etc/passwd", "\\windows", "C:\\evil", "c:evil"])
def test_absolute_paths(tmp_path, name):
    with pytest.raises(ValueError, match="absolute path"):
        list(read_members(put(tmp_path, zipped({name: b"2"}))))


@pytest.mark.parametrize(
    "kind, said", [(stat.S_IFLNK, "is a link"), (stat.S_IFIFO, "is a special"), (stat.S_IFCHR, "is a special")]
)
def test_links_and_special_files(tmp_path, kind, said):
    info = zipfile.ZipInfo("innocent")
    info.external_attr = (kind | 0o777) << 16
    with pytest.raises(ValueError, match=f"'innocent' {said}"):
        list(read_members(put(tmp_path, zipped({info: b"/etc/passwd"}))))


def test_bombs(tmp_path):
    path = put(tmp_path, zipped({"fine": b"1", "bomb": bytes(2**22)}))
    with pytest.raises(ValueError, match="'bomb' unpacks to 4194304 bytes from .*, over 200 times"):
        list(read_members(path))
    with pytest.raises(ValueError, match="'bomb' unpacks to 4194304 bytes; at most 1000000"):
        list(read_members(path, member=10**6))
    rng = random.Random(0)
    path = put(tmp_path, zipped({f"m{i}": rng.randbytes(1000) for i in range(5)}))
    with pytest.raises(ValueError, match="'m3' brings the total to over 3500"):
        list(read_members(path, total=3500))


def test_bomb_whose_directory_lies_is_not_unpacked(tmp_path):
    content = bytearray(zipped({"bomb": bytes(2**24)}))
    at = content.index(b"PK\x01\x02")
    packed = struct.unpack_from("<I", content, at + 20)[0]
    struct.pack_into("<I", content, at + 24, 100)  # "unpacks to 100 bytes"
    with pytest.raises(ValueError, match="'bomb' cannot be read.*CRC"):
        list(read_members(put(tmp_path, bytes(content))))
    assert packed < 20_000


def test_members_that_overlap(tmp_path):
    content = bytearray(zipped({"a": b"x" * 50, "b": b"x" * 50}, zipfile.ZIP_STORED))
    second = content.rindex(b"PK\x01\x02")
    struct.pack_into("<I", content, second + 42, 10)  # its header lies within the first member
    with pytest.raises(ValueError, match="'b' overlaps 'a'"):
        list(read_members(put(tmp_path, bytes(content))))


def test_duplicates(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("a/b", b"1")
            archive.writestr("a/b", b"2")
    with pytest.raises(ValueError, match="'a/b' is there twice"):
        list(read_members(put(tmp_path, buffer.getvalue())))
    with pytest.raises(ValueError, match="'a//b' is there twice"):
        list(read_members(put(tmp_path, zipped({"a/b": b"1", "a//b": b"2"}))))


def test_encrypted(tmp_path):
    content = bytearray(zipped({"secret": b"1"}))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(ValueError, match="'secret' is encrypted"):
        list(read_members(put(tmp_path, bytes(content))))


def test_damaged_member_is_named(tmp_path):
    content = bytearray(zipped({"good": b"1" * 100, "torn": b"2" * 100}, zipfile.ZIP_STORED))
    content[content.index(b"2" * 100) + 7] ^= 1
    stream = read_members(put(tmp_path, bytes(content)))
    assert next(stream) == ("good", b"1" * 100)
    with pytest.raises(ValueError, match="'torn' cannot be read: Bad CRC-32"):
        next(stream)


@pytest.mark.parametrize("cut", [0, 10, 0.5, -1])
def test_torn_archive(tmp_path, cut):
    content = zipped({"a": random.Random(0).randbytes(1000)})
    end = cut if isinstance(cut, int) and cut >= 0 else int(len(content) * cut) if cut > 0 else len(content) - 1
    with pytest.raises(ValueError, match="not a whole, readable zip"), open_archive(put(tmp_path, content[:end])):
        pass


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_any_flipped_byte_gives_the_truth_or_a_named_error(tmp_path, compression):
    members = {"a/1": b"x" * 100, "b/2": random.Random(1).randbytes(100)}
    content = zipped(members, compression)
    rng = np.random.default_rng(0)
    wrong = 0
    for at in range(len(content)):
        torn = bytearray(content)
        torn[at] ^= int(rng.integers(1, 256))
        try:
            got = dict(read_members(put(tmp_path, bytes(torn))))
            assert all(value in members.values() for value in got.values())  # a changed name at most
        except ValueError:
            wrong += 1
    assert wrong > len(content) / 3


STREAM = """
import sys
from helpers.datasets.archives import read_members
from helpers.memory import peak_memory
count = size = 0
for name, content in read_members(sys.argv[1]):
    count, size = count + 1, size + len(content)
print(count, size, peak_memory())
"""


@pytest.mark.slow
def test_two_gigabytes_in_twenty_thousand_members_in_little_memory(tmp_path):
    path, size = tmp_path / "large.zip", 100_000
    noise = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8).tobytes()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for i in range(20_000):
            archive.writestr(f"source{i % 50:02d}/images/{i:05d}.tiff", noise)
    assert path.stat().st_size > 2 * 10**9
    environment = {**os.environ, "PYTHONPATH": str(Path(datasets.__file__).parents[2])}
    command = [sys.executable, "-c", STREAM, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    count, total, peak = map(int, done.stdout.split())
    path.unlink()
    assert (count, total) == (20_000, 20_000 * size)
    assert peak < 500e6
