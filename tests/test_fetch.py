"""Downloads from a local server that misbehaves; stores written by processes that are killed or race."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from servers import serve, serve_ftp

from helpers import datasets
from helpers.datasets import hashes, store, transfer, vnc
from helpers.datasets.fetch import aside, fetch, read_registry, sha256

SIZE, SECTIONS = 32, 20
KINDS = {"raw": "tif", "membranes": "png", "mitochondria": "png", "synapses": "png"}
fetch_quickly = partial(fetch, delay=0.01, progress=False)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def small_files() -> dict[str, bytes]:
    """A data set published like VNC's, of SIZE² pixels, with masks in both of its encodings."""
    image = pytest.importorskip("PIL.Image")
    rng, files = np.random.default_rng(0), {}
    for z in range(SECTIONS):
        for kind, ending in KINDS.items():
            pixels = rng.integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
            if kind != "raw":
                pixels = (pixels < 60) * np.uint8(0 if (kind, z) == ("synapses", 5) else 255 if z % 2 else 1)
            buffer = BytesIO()
            image.fromarray(pixels).save(buffer, "TIFF" if ending == "tif" else "PNG")
            files[f"stack1/{kind}/{z:02d}.{ending}"] = buffer.getvalue()
    return files


@pytest.fixture(scope="session")
def files():
    return small_files()


@pytest.fixture(scope="session")
def registry(files):
    return {name: digest(content) for name, content in files.items()}


@pytest.fixture
def server(files, monkeypatch):
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with serve(files) as serving:
        yield serving


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("HELPERS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HELPERS_PREPARED", str(tmp_path / "prepared"))
    return tmp_path / "data" / "vnc", tmp_path / "prepared"


def put(folder: Path, files: dict[str, bytes]):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def everything(folder: Path) -> dict[str, tuple]:
    """Every file below `folder`, with what would change if it were written to."""
    return {
        str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.stat().st_ino, p.is_dir() or p.read_bytes())
        for p in folder.rglob("*")
    }


def test_packaged_registry_is_complete():
    packaged = read_registry(Path(vnc.__file__).with_name("vnc_sha256.txt"))
    kinds = [name.split("/")[1] for name in packaged]
    assert {k: kinds.count(k) for k in set(kinds)} == dict.fromkeys([*KINDS, "labels"], 20)
    assert all(len(value) == 64 and set(value) <= set("0123456789abcdef") for value in packaged.values())
    assert vnc.COMMIT in vnc.URL and vnc.URL.startswith("https://")


def test_downloads_all_then_asks_for_nothing(server, files, registry, tmp_path):
    fetch_quickly(registry, server.url, tmp_path / "new" / "vnc")
    assert {n: (tmp_path / "new/vnc" / n).read_bytes() for n in files} == files
    assert sorted(server.asked) == sorted(files)
    before = everything(tmp_path)
    fetch_quickly(registry, server.url, tmp_path / "new" / "vnc")
    assert len(server.asked) == len(files) and everything(tmp_path) == before


def test_downloads_only_what_is_missing(server, files, registry, tmp_path):
    put(tmp_path, {n: c for n, c in files.items() if n != "stack1/raw/03.tif"})
    fetch_quickly(registry, server.url, tmp_path)
    assert server.asked == ["stack1/raw/03.tif"]
    assert set(everything(tmp_path)) == {*files, "stack1", *(f"stack1/{k}" for k in KINDS)}


@pytest.mark.parametrize(
    "faults, requests",
    [
        (["break"], 2),
        ([b"an error page"], 2),
        ([500], 2),
        ([503, "break", 429], 4),
        ([500, b"wrong", "break"], 4),
    ],
)
def test_recovers(server, files, tmp_path, faults, requests):
    name, content = next(iter(files.items()))
    server.faults[name] = list(faults)
    fetch_quickly({name: digest(content)}, server.url, tmp_path)
    assert (tmp_path / name).read_bytes() == content
    assert len(server.asked) == requests
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [Path(name).name]


@pytest.mark.parametrize(
    "faults, error, says, requests",
    [
        ([b"bad"] * 9, ValueError, [digest(b"bad"), "published"], 2),
        ([404] * 9, ConnectionError, ["status 404"], 1),
        ([500] * 9, ConnectionError, ["status 500"], 4),
        (["break"] * 9, ConnectionError, ["did not deliver"], 4),
    ],
)
def test_gives_up_and_says_why(server, files, tmp_path, faults, error, says, requests):
    name, content = next(iter(files.items()))
    server.faults[name] = list(faults)
    with pytest.raises(error) as caught:
        fetch_quickly({name: digest(content)}, server.url, tmp_path)
    expected = [f"{server.url}/{name}", str(tmp_path / name), "HELPERS_DATA", "-p dataset phantom", *says]
    if error is ValueError:
        expected.append(digest(content))
    assert [s for s in expected if s not in str(caught.value)] == []
    assert len(server.asked) == requests
    assert list(tmp_path.rglob("*")) in ([], [tmp_path / "stack1"])  # no part of it under any name


def test_corrupt_file_is_kept_aside_and_fetched_again(server, files, registry, tmp_path):
    name = "stack1/raw/03.tif"
    put(tmp_path, {**files, name: b"torn"})
    fetch_quickly(registry, server.url, tmp_path)
    assert server.asked == [name]
    assert (tmp_path / name).read_bytes() == files[name]
    assert (tmp_path / f"{name}.corrupt-{digest(b'torn')[:8]}").read_bytes() == b"torn"


def test_corrupt_file_without_network_is_left_and_named(files, registry, tmp_path):
    name = "stack1/raw/03.tif"
    put(tmp_path, {**files, name: b"torn"})
    before = set(everything(tmp_path))
    with pytest.raises(ConnectionError) as caught:
        fetch_quickly(registry, "http://127.0.0.1:9", tmp_path)
    for part in (str(tmp_path / name), digest(b"torn"), registry[name], "http://127.0.0.1:9"):
        assert part in str(caught.value)
    assert set(everything(tmp_path)) == before


def test_no_network_and_no_data(registry, folders):
    with pytest.raises(ConnectionError, match="-p dataset phantom") as caught:
        vnc.prepare(False, registry=registry, url="http://127.0.0.1:9", size=SIZE, delay=0.01)
    assert str(folders[0] / "stack1/raw/00.tif") in str(caught.value)
    assert "http://127.0.0.1:9/stack1/raw/00.tif" in str(caught.value)
    assert not folders[1].exists()


def test_proxy_of_the_environment_is_used(files, registry, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with pytest.raises(ConnectionError, match="[Pp]roxy"):
        fetch_quickly(registry, "http://published.example", tmp_path, tries=1)


def test_complete_folder_is_only_read(files, registry, folders):
    put(folders[0], files)
    before = everything(folders[0].parent)
    vnc.prepare(False, registry=registry, url="http://127.0.0.1:9", size=SIZE)
    assert everything(folders[0].parent) == before


def test_unwritable_folders_are_named(server, files, registry, folders, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")  # binds root too, as permissions do not
    options = {"registry": registry, "url": server.url, "size": SIZE}
    monkeypatch.setenv("HELPERS_DATA", str(tmp_path / "file"))
    with pytest.raises(OSError, match="HELPERS_DATA") as caught:
        vnc.prepare(False, **options)
    assert str(tmp_path / "file" / "vnc") in str(caught.value) and not server.asked

    monkeypatch.setenv("HELPERS_DATA", str(folders[0].parent))
    put(folders[0], files)
    monkeypatch.setenv("HELPERS_PREPARED", str(tmp_path / "file"))
    with pytest.raises(OSError, match="HELPERS_PREPARED") as caught:
        vnc.prepare(False, **options)
    assert str(tmp_path / "file") in str(caught.value)


def test_read_only_folder_with_a_corrupt_file(server, files, registry, tmp_path, monkeypatch):
    put(tmp_path, {**files, "stack1/raw/03.tif": b"torn"})

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OSError, match="cannot be written to.*Permission denied.*HELPERS_DATA") as caught:
        fetch_quickly(registry, server.url, tmp_path)
    assert "stack1/raw/03.tif" in str(caught.value)


def test_reports_in_few_lines(server, registry, tmp_path, capsys):
    fetch(registry, server.url, tmp_path, delay=0.01)
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert printed.out == "" and len(lines) == 5 and "\r" not in printed.err
    assert "80 files to download" in lines[0] and "80 of 80" in lines[-1]


def test_reports_by_a_bar_on_a_terminal(server, registry, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    fetch(registry, server.url, tmp_path, delay=0.01)
    printed = capsys.readouterr().err
    assert "\r" in printed and "80/80" in printed


def test_downloaded_files_are_readable_to_others(server, files, tmp_path):
    name, content = next(iter(files.items()))
    previous = os.umask(0o022)
    try:
        fetch_quickly({name: digest(content)}, server.url, tmp_path)
    finally:
        os.umask(previous)
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o644


BIG = np.random.default_rng(5).integers(0, 256, 300_000, dtype=np.uint8).tobytes()


@pytest.fixture
def big(monkeypatch):
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with serve({"big": BIG}) as serving:
        yield serving


def get_big(server, folder, **options):
    return fetch_quickly({"big": digest(BIG)}, server.url, folder, **{"chunk": 65536, **options})


def fetched_twice(server) -> int:
    """Bytes of the file that the server sent more than once."""
    times = np.zeros(len(BIG), int)
    for _, first, written in server.sent:
        times[first : first + written] += 1
    return int((times - 1).clip(0).sum())


@pytest.mark.parametrize("at", [0, 1, 16384, 40_000, 65535])
def test_broken_off_at_any_byte_is_resumed_there(big, tmp_path, at):
    big.faults["big"] = [None, ("break", at), None, ("break", at)]
    get_big(big, tmp_path)
    assert (tmp_path / "big").read_bytes() == BIG and [p.name for p in tmp_path.iterdir()] == ["big"]
    assert fetched_twice(big) <= 2 * transfer.PIECE


def test_a_line_that_breaks_often_but_brings_something_is_no_failure(big, tmp_path):
    big.faults["big"] = [("break", 30_000)] * 9
    get_big(big, tmp_path, tries=2)
    assert (tmp_path / "big").read_bytes() == BIG


@pytest.mark.parametrize(
    "faults",
    [["whole"], [None, "whole"], [None, "shift"], [None, "longer"], [None, "shorter"], ["no length"], [None, 416]],
)
def test_odd_answers_to_a_range(big, tmp_path, faults):
    big.faults["big"] = list(faults)
    get_big(big, tmp_path)
    assert (tmp_path / "big").read_bytes() == BIG


def test_server_without_ranges(big, tmp_path):
    big.faults["big"] = ["whole"] * 9
    get_big(big, tmp_path)
    assert (tmp_path / "big").read_bytes() == BIG and len(big.asked) == 1


def test_what_came_before_a_failure_is_continued_by_the_next_call(big, tmp_path):
    big.faults["big"] = [None, None, 500, 500]
    with pytest.raises(ConnectionError, match="status 500"):
        get_big(big, tmp_path, tries=2)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".download.left.") and not (tmp_path / "big").exists()
    get_big(big, tmp_path)
    assert (tmp_path / "big").read_bytes() == BIG and [p.name for p in tmp_path.iterdir()] == ["big"]
    assert fetched_twice(big) == 0


def test_file_that_changes_meanwhile_is_fetched_anew(big, tmp_path):
    big.faults["big"] = [None, None, 500, 500]
    with pytest.raises(ConnectionError):
        get_big(big, tmp_path, tries=2)
    big.files["big"] = BIG[::-1]
    fetch_quickly({"big": digest(BIG[::-1])}, big.url, tmp_path, chunk=65536)
    assert (tmp_path / "big").read_bytes() == BIG[::-1]


def test_servers_that_differ_in_their_etags_are_one(big, tmp_path):
    big.modified = "Wed, 01 Mar 2023 10:00:00 GMT"
    big.faults["big"] = [None, ("break", 30_000)]
    get_big(big, tmp_path)
    assert (tmp_path / "big").read_bytes() == BIG and fetched_twice(big) <= transfer.PIECE


def test_stall_is_broken_off_and_resumed(big, tmp_path):
    big.faults["big"] = ["stall", None, "stall"]
    get_big(big, tmp_path, timeout=0.3)
    assert (tmp_path / "big").read_bytes() == BIG


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(big, tmp_path, status):
    big.faults["big"] = [(status, {"Retry-After": "1"})]
    start = time.monotonic()
    get_big(big, tmp_path)
    assert time.monotonic() - start >= 1 and (tmp_path / "big").read_bytes() == BIG


def test_retry_after_of_hours_is_told_not_slept(big, tmp_path):
    big.faults["big"] = [(429, {"Retry-After": "7200"})]
    with pytest.raises(ConnectionError, match="asks to come back in 7200 s"):
        get_big(big, tmp_path)


def test_redirects_are_followed(big, tmp_path):
    big.files["elsewhere"] = BIG
    big.faults["big"] = [(302, {"Location": "/elsewhere"})] * 9
    get_big(big, tmp_path)
    assert (tmp_path / "big").read_bytes() == BIG and "elsewhere" in big.asked


def test_redirects_in_a_circle_end(big, tmp_path):
    big.faults["big"] = [(302, {"Location": "/big"})] * 1000
    with pytest.raises(ConnectionError, match="[Rr]edirect"):
        get_big(big, tmp_path, tries=1)


def test_published_length_is_held_to(big, tmp_path):
    with pytest.raises(ValueError, match=f"has {len(BIG)} bytes; 17 were published"):
        get_big(big, tmp_path, sizes={"big": 17})
    fetch_quickly({"big": f"size:{len(BIG)}"}, big.url, tmp_path)
    assert hashes.first_seen(tmp_path) == {"big": digest(BIG)}


def test_no_length_and_no_hash_is_refused(big, tmp_path):
    big.faults["big"] = ["no length"] * 9
    with pytest.raises(ConnectionError, match="does not say its length"):
        fetch_quickly({"big": None}, big.url, tmp_path)


def test_git_blob_and_md5(big, tmp_path):
    blob = subprocess.run(["git", "hash-object", "--stdin"], input=BIG, capture_output=True, check=True).stdout.decode()
    for expected in (blob.strip(), hashlib.md5(BIG).hexdigest()):
        folder = tmp_path / expected
        assert fetch_quickly({"big": expected}, big.url, folder) == {"big": expected}
        assert (folder / "big").read_bytes() == BIG
        big.files["big"] = BIG[1:]
        with pytest.raises(ValueError, match="other bytes than was published"):
            fetch_quickly({"big": expected}, big.url, folder / "again")
        big.files["big"] = BIG


def test_hash_is_recorded_at_first_sight_and_held_to(big, tmp_path):
    assert fetch_quickly({"big": None}, big.url, tmp_path) == {"big": digest(BIG)}
    before = everything(tmp_path)
    assert fetch_quickly({"big": None}, big.url, tmp_path) == {"big": digest(BIG)} and everything(tmp_path) == before
    assert hashes.first_seen(tmp_path) == {"big": digest(BIG)}
    (tmp_path / "big").write_bytes(b"torn")
    fetch_quickly({"big": None}, big.url, tmp_path)
    assert (tmp_path / "big").read_bytes() == BIG
    (tmp_path / "big").unlink()
    big.files["big"] = BIG[::-1]
    with pytest.raises(ValueError, match="other bytes.*on record in .*first_seen.json"):
        fetch_quickly({"big": None}, big.url, tmp_path)
    (tmp_path / hashes.FIRST_SEEN).write_text("{")
    with pytest.raises(ValueError, match=r"first_seen\.json is damaged"):
        fetch_quickly({"big": None}, big.url, tmp_path)


@pytest.mark.parametrize("expected", ["", "abc", "size:", "size:x", "G" * 64])
def test_unknown_kind_of_hash(big, tmp_path, expected):
    with pytest.raises(ValueError, match="lower-case hexadecimal"):
        fetch_quickly({"big": expected}, big.url, tmp_path)


def test_room_is_checked_before(big, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100_000))
    with pytest.raises(OSError, match="200 kB are missing"):
        get_big(big, tmp_path)
    assert len(big.asked) == 1  # the server said how long it is
    with pytest.raises(OSError, match="200 kB are missing"):
        get_big(big, tmp_path, sizes={"big": len(BIG)})
    assert len(big.asked) == 1 and list(tmp_path.iterdir()) == []


def test_another_server_is_tried(big, files, tmp_path):
    big.faults["big"] = [404]
    with serve({"big": BIG}) as other:
        fetch_quickly({"big": digest(BIG)}, [big.url, other.url], tmp_path)
    assert (tmp_path / "big").read_bytes() == BIG


def test_several_downloads_run_at_once(server, files, registry, tmp_path):
    server.pause = 0.02
    fetch_quickly(registry, server.url, tmp_path, threads=5)
    assert server.most > 1
    assert {n: (tmp_path / n).read_bytes() for n in files} == files


def test_one_failure_among_many_stops_the_rest_and_is_named(server, files, registry, tmp_path):
    name = "stack1/synapses/07.png"
    server.faults[name] = [404]
    with pytest.raises(ConnectionError, match=f"{tmp_path / name} is not there.*status 404"):
        fetch_quickly(registry, server.url, tmp_path)
    fetch_quickly(registry, server.url, tmp_path)
    assert {n: (tmp_path / n).read_bytes() for n in files} == files


def test_empty_file(big, tmp_path):
    big.files["empty"] = b""
    fetch_quickly({"empty": digest(b"")}, big.url, tmp_path)
    assert (tmp_path / "empty").read_bytes() == b""


def test_single_file_is_reported_with_rate_and_time_left(big, tmp_path, capsys, monkeypatch):
    big.pause = 0.01
    fetch({"big": digest(BIG)}, big.url, tmp_path / "lines", chunk=65536)
    lines = capsys.readouterr().err.splitlines()
    assert "1 file to download" in lines[0] and "300 kB" in lines[-1]
    assert any("/s" in line and "left" in line for line in lines)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    fetch({"big": digest(BIG)}, big.url, tmp_path / "bar", chunk=65536)
    assert "300k/300k" in capsys.readouterr().err


@pytest.mark.parametrize("breaks, rest", [([], True), ([100_000, 50_000], True), ([100_000], False)])
def test_ftp_is_resumed(tmp_path, breaks, rest):
    put(tmp_path / "published", {"a folder/big": BIG})
    with serve_ftp(tmp_path / "published", break_after=breaks, rest=rest) as (url, offsets):
        fetch_quickly({"a folder/big": digest(BIG)}, url, tmp_path / "got")
        assert (tmp_path / "got/a folder/big").read_bytes() == BIG
        assert len(offsets) == len(breaks) and all(offset > 0 for offset in offsets)
        with pytest.raises(ConnectionError, match="550"):
            fetch_quickly({"missing": digest(BIG)}, url, tmp_path / "got")


def test_ftp_that_is_not_there(tmp_path):
    with pytest.raises(ConnectionError, match="did not deliver it"):
        fetch_quickly({"big": digest(BIG)}, "ftp://127.0.0.1:9", tmp_path)


DOWNLOAD = (
    "import sys; from helpers.datasets.fetch import fetch; fetch({'big': sys.argv[1]}, *sys.argv[2:4], chunk=65536)"
)


def kill_and_resume(server, folder, seconds):
    """Kill a download after each of `seconds`, then let it finish."""
    path = os.pathsep.join([str(Path(datasets.__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", DOWNLOAD, digest(BIG), server.url, str(folder)]
    for after in seconds:
        before = len(server.asked)
        with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.DEVNULL) as child:
            while len(server.asked) == before and child.poll() is None:
                time.sleep(0.005)
            time.sleep(after)
            child.kill()
    fetch_quickly({"big": digest(BIG)}, server.url, folder, chunk=65536)
    assert (folder / "big").read_bytes() == BIG and [p.name for p in folder.iterdir()] == ["big"]


def test_killed_download_fetches_at_most_one_chunk_twice(big, tmp_path):
    big.pause = 0.01
    kill_and_resume(big, tmp_path, [0.4])
    assert 0 <= fetched_twice(big) <= 65536 and len(big.sent) > 3


def test_killed_once_all_is_done_leaves_nothing_for_long(big, tmp_path):
    fetch_quickly({"big": digest(BIG)}, big.url, tmp_path)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    dead, mine = (tmp_path / f".download.{socket.gethostname()}.{pid}.0a.partial" for pid in (child.pid, os.getpid()))
    dead.mkdir()
    mine.mkdir()
    asked = len(big.asked)
    fetch_quickly({"big": digest(BIG)}, big.url, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"big", mine.name} and len(big.asked) == asked


@pytest.mark.slow
def test_killed_again_and_again_at_random_moments(big, tmp_path):
    big.pause, rng = 0.01, np.random.default_rng(0)
    for run in range(10):
        big.sent.clear()
        moments = rng.uniform(0, 0.5, 3)
        kill_and_resume(big, tmp_path / str(run), moments)
        assert fetched_twice(big) <= len(moments) * 65536


def test_aside_is_unique_and_removes_what_the_dead_left(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    with aside(tmp_path, "x.zarr") as mine, aside(tmp_path, "x.zarr") as other:
        assert mine != other and mine.is_dir() and other.is_dir()
        dead = tmp_path / mine.name.replace(f".{os.getpid()}.", f".{child.pid}.")
        elsewhere = [tmp_path / f".x.zarr.another.host.1.{age}.partial" for age in ("new", "old")]
        for folder in (dead, *elsewhere):
            folder.mkdir()
        os.utime(elsewhere[1], (time.time() - 2 * 24 * 3600,) * 2)
        with aside(tmp_path, "x.zarr"):
            left = {p for p in tmp_path.iterdir()} - {mine, other}
            assert dead not in left and elsewhere[0] in left and elsewhere[1] not in left
            assert mine.is_dir() and other.is_dir()


PREPARE = """
import json, sys, time
from pathlib import Path
from helpers.datasets import store, vnc
write = store.write_volume
def slow(*arguments, **more):
    write(*arguments, **more)
    print("written aside", flush=True)
    time.sleep(float(sys.argv[1]))
store.write_volume = slow
print(vnc.prepare(False, registry=json.loads(sys.argv[2]), url="http://127.0.0.1:9", size=int(sys.argv[3])))
"""


def start(registry, seconds):
    command = [sys.executable, "-c", PREPARE, str(seconds), json.dumps(registry), str(SIZE)]
    path = os.pathsep.join([str(Path(datasets.__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def assert_complete(prepared, files):
    image = pytest.importorskip("PIL.Image")
    assert [p.name for p in prepared.iterdir()] == ["vnc.zarr"]
    raw, masks, annotated, scale = store.read_sections(prepared / "vnc.zarr", "stack1", vnc.CLASSES, range(SECTIONS))
    assert scale == (50.0, 4.6, 4.6) and annotated.all()
    for z in range(SECTIONS):
        source = {k: np.asarray(image.open(BytesIO(files[f"stack1/{k}/{z:02d}.{e}"]))) for k, e in KINDS.items()}
        np.testing.assert_array_equal(raw[z], source["raw"])
        for i, c in enumerate(vnc.CLASSES):
            np.testing.assert_array_equal(masks[z, i], source[c] > 0)


def test_killed_preparation_leaves_no_store_and_the_next_completes(files, registry, folders):
    put(folders[0], files)
    with start(registry, 60) as child:
        assert child.stdout.readline() == "written aside\n"
        child.kill()
    left = [p.name for p in folders[1].iterdir()]
    assert len(left) == 1 and left[0].endswith(".partial")
    vnc.prepare(False, registry=registry, size=SIZE)
    assert_complete(folders[1], files)


def test_processes_preparing_at_once(files, registry, folders):
    put(folders[0], files)
    children = [start(registry, 0.2) for _ in range(3)]
    printed = [child.communicate(timeout=60)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert all(p == f"written aside\n{folders[1] / 'vnc.zarr'}\n" for p in printed)
    assert_complete(folders[1], files)


def test_store_keeps_what_was_written_and_the_first_of_two(tmp_path):
    rng, path, hashes = np.random.default_rng(1), tmp_path / "made.zarr", {"file": "hash"}
    raw = rng.integers(0, 256, (3, 8, 6), dtype=np.uint8)
    masks = {c: rng.random(raw.shape) < 0.5 for c in "ab"}
    annotated = {c: rng.random(raw.shape) < 0.5 for c in "ab"}

    def fill(root):
        options = {"axes": "zyx", "scale": (3.0, 2.0, 1.0), "chunks": (1, 4, 6)}
        store.write_volume(root, "v", raw, masks, annotated, **options)

    store.write(path, {"title": "made"}, hashes, fill)
    first = path.stat().st_ino
    store.write(path, {"title": "made again"}, hashes, fill)
    assert path.stat().st_ino == first and list(tmp_path.iterdir()) == [path]
    assert store.count_sections(path, "v") == 3
    got = store.read_sections(path, "v", "ba", [2, 0])
    np.testing.assert_array_equal(got[0], raw[[2, 0]])
    for array, given in ((got[1], masks), (got[2], annotated)):
        np.testing.assert_array_equal(array, np.stack([given["b"], given["a"]], 1)[[2, 0]])
        assert array.dtype == bool
    assert got[3] == (3.0, 2.0, 1.0)


def test_store_replaced_while_it_is_read(files, registry, folders, monkeypatch):
    put(folders[0], files)
    path = vnc.prepare(False, registry=registry, size=SIZE)
    stack = np.stack

    def replace(*arguments, **more):
        if not (path.parent / "old").exists():
            shutil.copytree(path, path.parent / "new")
            path.rename(path.parent / "old")
            (path.parent / "new").rename(path)
        return stack(*arguments, **more)

    monkeypatch.setattr(store.np, "stack", replace)
    with pytest.raises(ValueError, match="was replaced while it was read"):
        store.read_sections(path, "stack1", vnc.CLASSES, [0])


@pytest.mark.parametrize("change", ["layout", "hashes"])
def test_outdated_store_is_replaced(files, registry, folders, monkeypatch, change):
    put(folders[0], files)
    older = registry
    with monkeypatch.context() as patch:
        if change == "layout":
            patch.setattr(store, "LAYOUT", 0)
        else:
            older = {name: value for name, value in registry.items() if "/19." not in name}
        path = vnc.prepare(False, registry=older, size=SIZE)
    assert not store.is_current(path, registry)
    assert vnc.prepare(False, registry=registry, size=SIZE) == path
    assert store.is_current(path, registry)
    assert_complete(folders[1], files)


def test_second_preparation_does_nothing(files, registry, folders, monkeypatch):
    put(folders[0], files)
    path = vnc.prepare(False, registry=registry, size=SIZE)
    before = everything(folders[1])
    monkeypatch.setenv("HELPERS_DATA", str(folders[1] / "nowhere"))
    assert vnc.prepare(False, registry=registry, size=SIZE, url="http://127.0.0.1:9") == path
    assert everything(folders[1]) == before


def test_what_is_no_store_is_not_touched(registry, folders):
    (folders[1] / "vnc.zarr").mkdir(parents=True)
    (folders[1] / "vnc.zarr" / "precious").write_text("mine")
    with pytest.raises(ValueError, match="is not a store that this package wrote"):
        vnc.prepare(False, registry=registry, size=SIZE)
    assert (folders[1] / "vnc.zarr" / "precious").read_text() == "mine"


def test_damaged_store_is_refused(files, registry, folders):
    put(folders[0], files)
    path = vnc.prepare(False, registry=registry, size=SIZE)
    chunk = path / "stack1/raw/c/3/0/0"
    content = chunk.read_bytes()
    chunk.write_bytes(content[:500] + bytes([content[500] ^ 1]) + content[501:])
    with pytest.raises(Exception, match="(?i)checksum|decompress"):
        store.read_sections(path, "stack1", vnc.CLASSES, [3])
    chunk.write_bytes(content)
    (path / "stack1/labels/synapses/0/c/3/0/0").unlink()
    with pytest.raises(ValueError, match="damaged.*1 chunks of stack1/labels/synapses/0"):
        store.read_sections(path, "stack1", vnc.CLASSES, [0])


def test_published_image_of_another_shape_is_named(files, folders):
    put(folders[0], files)
    registry = {name: sha256(folders[0] / name) for name in files}
    with pytest.raises(ValueError, match=r"00\.tif has shape \(32, 32\); expected \(64, 64\)"):
        vnc.prepare(False, registry=registry, size=64)
    (folders[0] / "stack1/synapses/07.png").write_text("no image")
    registry["stack1/synapses/07.png"] = digest(b"no image")
    with pytest.raises(ValueError, match=r"synapses/07\.png is not a readable image"):
        vnc.prepare(False, registry=registry, size=SIZE)
    assert not folders[1].exists()


def test_metadata_is_valid_ome_ngff(files, registry, folders):
    models = pytest.importorskip("ome_zarr_models.v05")
    from ome_zarr_models.v05.image_label import ImageLabel

    zarr = pytest.importorskip("zarr")
    put(folders[0], files)
    root = zarr.open_group(vnc.prepare(False, registry=registry, size=SIZE), mode="r")
    image = models.Image.from_zarr(root["stack1"])
    assert sorted(image.labels.label_paths) == sorted(vnc.CLASSES)
    assert [(a.name, a.unit) for a in image.ome_attributes.multiscales[0].axes] == [
        (axis, "nanometer") for axis in "zyx"
    ]
    (dataset,) = image.datasets[0]
    assert dataset.path == "raw" and dataset.coordinateTransformations[0].scale == [50.0, 4.6, 4.6]
    for one in vnc.CLASSES:
        label = ImageLabel.from_zarr(root[f"stack1/labels/{one}"])
        assert label.ome_attributes.image_label.source.image == "../../"
        models.Image.from_zarr(root[f"stack1/annotated/{one}"])
        assert root[f"stack1/labels/{one}/0"].dtype == np.uint8
    said = dict(root.attrs)
    assert said["name"] == "vnc" and said["classes"] == list(vnc.CLASSES) and said["sha256"] == registry
    assert {"title", "source", "licence", "citation", "excludes", "layout"} <= set(said)
