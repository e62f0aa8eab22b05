"""CEM-MitoLab from an archive of its true layout on a local server; CEM1.5M, which asks before it comes."""

import io
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from servers import serve

from helpers import datasets
from helpers.datasets import cem1500k, mitolab, store, transfer
from helpers.datasets.archives import read_members

SOURCES = {
    "Wei2020_MitoEM-R": (32, 32),
    "jrc_ctl-id8-4_openorganelle": (24, 40),
    "Kasthuri-2015": (32, 32),
    "d": (16, 16),
}


def images(per_source: int = 6) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Raw and instance labels by ``source/name``; one source has images of two sizes."""
    rng, made = np.random.default_rng(0), {}
    for source, shape in SOURCES.items():
        for i in range(per_source):
            size = (20, 20) if source == "d" and i == 0 else shape
            labels = rng.integers(0, 4, size, dtype=np.uint16) * (rng.random(size) < 0.3)
            made[f"{source}/{source}-ROI-x0-500-LOC-{i}_0-{size[1]}"] = rng.integers(0, 256, size, np.uint8), labels
    return made


def published(made, change=lambda name, array: array, **more) -> bytes:
    """The archive, in the layout of EMPIAR-11037."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cem_mitolab/", b"")
        for kind, index in (("images", 0), ("masks", 1)):
            for name, pair in made.items():
                source, file = name.split("/")
                content = io.BytesIO()
                tifffile.imwrite(content, change(f"{kind}/{file}", pair[index]))
                archive.writestr(f"cem_mitolab/{source}/{kind}/{file}.tiff", content.getvalue())
        for name, content in more.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def folders(tmp_path, monkeypatch):
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HELPERS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HELPERS_PREPARED", str(tmp_path / "prepared"))
    return tmp_path / "data" / "mitolab", tmp_path / "prepared"


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def prepare(server, **options):
    return mitolab.prepare(False, urls=(server.url,), delay=0.01, **options)


def test_store_equals_what_was_published(folders, monkeypatch):
    made = images()
    monkeypatch.setattr(mitolab, "STACK", 3000)  # so that a source of one size takes several volumes
    with serve({mitolab.ARCHIVE: published(made)}) as server:
        path = prepare(server)
    assert path == folders[1] / "mitolab.zarr" and [p.name for p in folders[1].iterdir()] == ["mitolab.zarr"]
    read = {n: image for part in mitolab.read(1, 0, True).values() for n, *image in part}
    assert sorted(read) == sorted(made)
    for name, (raw, labels) in made.items():
        got, masks, annotated, spacing = read[name]
        np.testing.assert_array_equal(np.round(got[0] * 255), raw)
        np.testing.assert_array_equal(masks[0], labels > 0)
        assert annotated.all() and spacing == (8.0, 8.0)
    import zarr

    root = zarr.open_group(path, mode="r")
    assert max(int(np.prod(root[v]["raw"].shape)) for v in root.attrs["volumes"]) <= 3000 + 32 * 32
    assert len([v for v in root.attrs["volumes"] if v.startswith("Wei2020")]) == 2
    assert root.attrs["sha256"][mitolab.ARCHIVE] == mitolab.source_hashes()[mitolab.ARCHIVE]


def test_second_preparation_asks_for_nothing_and_changes_nothing(folders):
    with serve({mitolab.ARCHIVE: published(images())}) as server:
        prepare(server)
        before, asked = everything(folders[1]), len(server.asked)
        prepare(server)
        shutil.rmtree(folders[0])  # not even when the archive is gone
        prepare(server)
        assert everything(folders[1]) == before and len(server.asked) == asked
        prepare(server, pixel_size=5.0)
        assert len(server.asked) > asked and mitolab.read(2, 0, False)["train"][0][-1] == (10.0, 10.0)


def test_split_by_volume_keeps_sources_apart_and_by_image_does_not(folders):
    with serve({mitolab.ARCHIVE: published(images(20))}) as server:
        prepare(server)
    for split in range(mitolab.SPLITS):
        parts = mitolab.read(4, split, True)
        sources = {role: {n.split("/")[0] for n, *_ in part} for role, part in parts.items()}
        assert {role: len(s) for role, s in sources.items()} == {"train": 2, "validation": 1, "test": 1}
        assert set.union(*sources.values()) == set(SOURCES)
        assert mitolab.read(4, split, False)["test"] == []
    tested = {n for split in range(5) for n, *_ in mitolab.read(4, split, True)["test"]}
    assert len({n.split("/")[0] for n in tested}) > 1  # the splits differ
    parts = mitolab.read(4, 0, True, by="image")
    assert {role: len(part) for role, part in parts.items()} == {"train": 64, "validation": 12, "test": 4}
    assert len({n.split("/")[0] for n, *_ in parts["train"]}) == 4
    with pytest.raises(ValueError, match="by is 'patch'"):
        mitolab.read(4, 0, True, by="patch")
    with pytest.raises(ValueError, match="split is 7"):
        mitolab.read(4, 7, True)


def test_lazily_loaded_they_are_the_same(folders, monkeypatch):
    monkeypatch.setattr(mitolab, "STACK", 3000)
    with serve({mitolab.ARCHIVE: published(images())}) as server:
        prepare(server, pixel_size=5.0)
    for reduce, by in ((1, "volume"), (3, "image")):
        held = datasets.load("mitolab", reduce=reduce, by=by, test=True)
        lazy = datasets.load("mitolab", reduce=reduce, by=by, test=True, lazy=True)
        for role in ("train", "validation", "test"):
            for one, other in zip(getattr(held, role), getattr(lazy, role), strict=True):
                assert one.name == other.name and one.spacing == other.spacing == (5.0 * reduce,) * 2
                assert not isinstance(other.raw, np.ndarray) and other.raw._arrays[0]._direct
                for array in ("raw", "masks", "annotated", "known"):
                    assert getattr(other, array).shape == getattr(one, array).shape
                    np.testing.assert_array_equal(np.asarray(getattr(other, array)), getattr(one, array))


def test_pixel_size_stays_what_it_was_made(folders):
    with serve({mitolab.ARCHIVE: published(images())}) as server:
        path = prepare(server, pixel_size=5.0)
        before = path.stat().st_ino
        assert prepare(server).stat().st_ino == before
    assert datasets.load("mitolab").train[0].spacing == (5.0, 5.0)
    with pytest.raises(ValueError, match="by is 'patch'"):
        datasets.load("mitolab", by="patch")


def test_split_is_the_same_for_ever():
    names = [f"source{i}" for i in range(20)]
    roles = mitolab.split_names(names, 0)
    assert [n for n in names if roles[n] == "test"] == ["source16"]  # by sha256sum
    assert roles == mitolab.split_names(names[::-1], 0) != mitolab.split_names(names, 1)
    counts = [list(mitolab.split_names([str(i) for i in range(n)], 2).values()) for n in (3, 10, 1000)]
    assert [[c.count(r) for r in ("train", "validation", "test")] for c in counts] == [
        [1, 1, 1],
        [7, 2, 1],
        [800, 150, 50],
    ]
    with pytest.raises(ValueError, match="2 to be split"):
        mitolab.split_names(["a", "b"], 0)


def test_reduce_that_does_not_divide_trims(folders):
    with serve({mitolab.ARCHIVE: published(images())}) as server:
        prepare(server)
    shapes = {image.shape for part in mitolab.read(3, 0, True).values() for _, image, *_ in part}
    assert shapes == {(1, 10, 10), (1, 8, 13), (1, 5, 5), (1, 6, 6)}


@pytest.mark.parametrize("source", [mitolab, cem1500k])
def test_archives_without_a_published_hash_come_over_https_alone(source):
    assert source.URLS and all(url.startswith("https://") for url in source.URLS)
    assert source.prepare.__kwdefaults__["urls"] == source.URLS


def test_another_address_where_one_fails(folders):
    with serve({}) as empty, serve({mitolab.ARCHIVE: published(images())}) as server:
        mitolab.prepare(False, urls=(empty.url, server.url), delay=0.01)
        assert (folders[0] / mitolab.ARCHIVE).read_bytes() == server.files[mitolab.ARCHIVE]


@pytest.mark.parametrize(
    "change, more, says",
    [
        (
            lambda n, a: a.astype(np.uint16) if n == "images/d-ROI-x0-500-LOC-3_0-16" else a,
            {},
            "LOC-3_0-16.* is uint16",
        ),
        (lambda n, a: a[1:] if n == "masks/d-ROI-x0-500-LOC-3_0-16" else a, {}, r"shape \\(15, 16\\)"),
        (lambda n, a: np.stack([a] * 3, -1) if n == "images/d-ROI-x0-500-LOC-3_0-16" else a, {}, r"\\(16, 16, 3\\)"),
        (lambda n, a: a, {"cem_mitolab/d/images/alone.tiff": b""}, "1 are without their other half, such as d/alone"),
        (lambda n, a: a, {"cem_mitolab/../evil": b""}, "points out of the archive"),
        (
            lambda n, a: a,
            {"cem_mitolab/d/images/x.tiff": b"1", "cem_mitolab/d/masks/x.tiff": b"2"},
            "x.tiff is not a read",
        ),
    ],
)
def test_bad_archives(folders, change, more, says):
    with serve({mitolab.ARCHIVE: published(images(), change, **more)}) as server:
        with pytest.raises(ValueError, match=says.replace("\\\\", "\\")):
            prepare(server)
    assert not (folders[1] / "mitolab.zarr").exists()


@pytest.mark.parametrize("size", [-1, float("nan"), float("inf")])
def test_bad_pixel_size(folders, size):
    with pytest.raises(ValueError, match="expected nanometres"):
        mitolab.prepare(False, pixel_size=size)


def test_no_network(folders):
    with pytest.raises(ConnectionError, match="http://127.0.0.1:9/.*; http://127.0.0.1:8/.*HELPERS_DATA"):
        mitolab.prepare(False, urls=("http://127.0.0.1:9", "http://127.0.0.1:8"), tries=1)


PREPARE = """
import sys
from helpers.datasets import mitolab, transfer
mitolab.STACK = 3000
mitolab.prepare(False, urls=(sys.argv[1],))
"""


def kill_and_resume(server, folders, moments):
    """Kill preparations after so many seconds, then finish one; the store's files."""
    environment = {**os.environ, "PYTHONPATH": str(Path(datasets.__file__).parents[2])}
    command = [sys.executable, "-c", PREPARE, server.url]
    for after in moments:
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as child:
            time.sleep(after)
            child.kill()
    subprocess.run(command, env=environment, check=True)
    assert [p.name for p in folders[1].iterdir()] == ["mitolab.zarr"]
    assert sorted(p.name for p in folders[0].iterdir()) == [mitolab.ARCHIVE, "first_seen.json"]
    return everything(folders[1])


def test_killed_preparation_ends_in_the_same_store(folders):
    with serve({mitolab.ARCHIVE: published(images())}) as server:
        whole = kill_and_resume(server, folders, [])
        for folder in folders:
            shutil.rmtree(folder)
        server.pause = 0.02
        assert kill_and_resume(server, folders, [0.9]) == whole


@pytest.mark.slow
def test_preparation_killed_at_random_moments_ends_in_the_same_store(folders):
    rng = np.random.default_rng(1)
    with serve({mitolab.ARCHIVE: published(images())}) as server:
        whole = kill_and_resume(server, folders, [])
        server.pause = 0.02
        for _ in range(10):
            for folder in folders:
                shutil.rmtree(folder)
            assert kill_and_resume(server, folders, rng.uniform(0.1, 2.5, 2)) == whole


LARGE = """
from helpers.datasets import mitolab
from helpers.memory import peak_memory
mitolab.prepare(False)
print(peak_memory())
"""


@pytest.mark.slow
def test_two_gigabytes_of_images_are_prepared_in_little_memory(folders):
    rng, archive = np.random.default_rng(0), folders[0] / mitolab.ARCHIVE
    tiffs = [io.BytesIO(), io.BytesIO()]
    for tiff, low in zip(tiffs, (0, 246), strict=True):
        tifffile.imwrite(tiff, rng.integers(low, 256, (320, 320), dtype=np.uint8) - np.uint8(low))
    archive.parent.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as opened:
        for i in range(10_000):
            for kind, tiff in zip(("images", "masks"), tiffs, strict=True):
                opened.writestr(f"cem_mitolab/source{i % 5}/{kind}/{i:05d}.tiff", tiff.getvalue())
    assert archive.stat().st_size > 2 * 10**9
    environment = {**os.environ, "PYTHONPATH": str(Path(datasets.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", LARGE], env=environment, capture_output=True, text=True, check=True)
    for folder in folders:
        shutil.rmtree(folder)
    assert int(done.stdout) < 500e6


def test_cem1500k_asks_first_and_looks_for_room(folders, monkeypatch):
    members = {f"cem1.5m/{i}.tiff": bytes([i]) * 100 for i in range(9)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    content = buffer.getvalue()
    with serve({cem1500k.ARCHIVE: content}) as server:
        options = {"urls": (server.url,), "delay": 0.01}
        server.faults[cem1500k.ARCHIVE] = [503]
        with pytest.raises(ValueError, match=r"archive of 1\.86 kB, to .*confirm=True"):
            cem1500k.prepare(False, **options)
        assert not folders[0].parent.exists()
        with monkeypatch.context() as patch:
            usage = shutil.disk_usage("/")
            patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
            with pytest.raises(OSError, match="858 B are missing"):
                cem1500k.prepare(False, confirm=True, **options)
        assert not folders[0].parent.exists()
        assert cem1500k.prepare(False, confirm=True, **options) is None
        asked = len(server.asked)
        cem1500k.prepare(False, **options)
        assert len(server.asked) == asked and cem1500k.source_hashes()
    assert dict(read_members(cem1500k.archive())) == members
    with pytest.raises(ValueError, match="no labels"):
        cem1500k.read(1, 0, False)
    with pytest.raises(ConnectionError, match="Check network"):
        shutil.rmtree(cem1500k.archive().parent)
        cem1500k.prepare(False, urls=("http://127.0.0.1:9",), tries=2, delay=0.01)


@pytest.mark.parametrize("source", [mitolab, cem1500k])
def test_about_says_what_must_be_said(source):
    about = source.about()
    assert {"title", "classes", "excludes", "source", "licence", "citation"} <= set(about)
    number = source.URLS[0].split("/")[-2]
    assert f"EMPIAR-{number}" in about["citation"] and about["source"].endswith(f"EMPIAR-{number}/")
    assert "10.1016/j.cels.2022.12.006" in about["citation"]
    assert store.prepared_folder() is not None


def test_no_room_for_the_store(folders, monkeypatch):
    with serve({mitolab.ARCHIVE: published(images())}) as server:
        monkeypatch.setattr(mitolab, "require_room", lambda *a: transfer.require_room(a[0], 2**60, a[2]))
        with pytest.raises(OSError, match="prepared has .* are missing.* set HELPERS_PREPARED"):
            prepare(server)
