"""Downloads from a local server that misbehaves; stores written by processes that are killed or race."""

import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from helpers import datasets
from helpers.datasets import store, vnc
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


class Server:
    """Serves `files` on a local port; ``faults[name]`` are given first: a status, other bytes, "break"."""

    def __init__(self, files):
        self.files, self.faults, self.asked = files, {}, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path[1:]
                outer.asked.append(name)
                fault = outer.faults[name].pop(0) if outer.faults.get(name) else None
                status = fault if isinstance(fault, int) else 200 if name in outer.files else 404
                content = outer.files.get(name, b"") if status == 200 else b"sorry"
                length = len(content)
                if fault == "break":
                    content = content[: length // 2]
                elif isinstance(fault, bytes):
                    content, length = fault, len(fault)
                self.send_response(status)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_port}"
        threading.Thread(target=self.httpd.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server(files, monkeypatch):
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    serving = Server(files)
    yield serving
    serving.httpd.shutdown()
    serving.httpd.server_close()


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
