"""FIB-25 and UroCell: boundaries from bodies, what is annotated where, splits in space, and the real files."""

import gzip
import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import datasets
from helpers.datasets import fib25, store, urocell

DATA = Path(os.environ.get("HELPERS_DATA") or "nowhere")
needs_fib25 = pytest.mark.skipif(
    not (DATA / "fib25/training_sample2").is_dir(),
    reason="needs the published FIB-25 files: set HELPERS_DATA to a folder that holds fib25/training_sample2",
)
needs_urocell = pytest.mark.skipif(
    not (DATA / "urocell/mito").is_dir(), reason="needs published UroCell labels: set HELPERS_DATA"
)


@given(seed=st.integers(0, 999), shape=st.tuples(*[st.integers(1, 6)] * 3))
@settings(max_examples=60, deadline=None)
def test_boundaries_equal_brute_force(seed, shape):
    bodies = np.random.default_rng(seed).integers(0, 4, shape)
    found = fib25.boundaries(bodies)
    for z, y, x in np.ndindex(*shape):
        around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]  # in its own section
        beside = {int(bodies[z, j, i]) for j, i in around if 0 <= j < shape[1] and 0 <= i < shape[2]}
        mine = int(bodies[z, y, x])
        assert found[z, y, x] == (mine > 0 and bool(beside - {0, mine}))


def test_splits_of_fib25_by_hand():
    def span(first, last):
        return list(range(first, last + 1))

    assert fib25.split_sections(250, 0) == {
        "train": span(0, 139), "validation": span(150, 189), "test": span(200, 249)
    }  # fmt: skip
    assert fib25.split_sections(250, 2) == {
        "train": [*span(110, 249)], "validation": span(0, 39), "test": span(50, 99)
    }  # fmt: skip


@given(block=st.integers(4, 60), gap=st.integers(0, 3), split=st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_splits_of_fib25_leave_gaps_and_nothing_else(block, gap, split):
    parts = fib25.split_sections(5 * block, split, gap)
    train, validation, test = (np.array(parts[role]) for role in ("train", "validation", "test"))
    assert test.tolist() == list(range(test[0], test[0] + block))
    for one, other in ((train, validation), (train, test), (validation, test)):
        assert np.abs(one[:, None] - other).min() > gap
    held = [z for z in range(5 * block) if z not in {*train, *test}]
    for z in held:  # everything left out is near a block that is judged, or belongs to the validation block
        validated = (z // block - split) % 5 == 3
        near = min(abs(z - v) for v in range(5 * block) if (v // block - split) % 5 in (3, 4)) <= gap
        assert validated or near
    with pytest.raises(ValueError, match="FIB-25 stack has 5 splits"):
        fib25.split_sections(250, 5)


def packed(stack, table):
    h5py = pytest.importorskip("h5py")
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["stack"], file["transforms"] = stack, table
    return gzip.compress(content.getvalue(), 1)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Published files of the true layout, 20 sections of 10 x 12 pixels; registry and what is in them."""
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("zarr")
    monkeypatch.setenv("HELPERS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HELPERS_PREPARED", str(tmp_path / "prepared"))
    rng = np.random.default_rng(0)
    stack = rng.integers(0, 50, (20, 10, 12), dtype=np.int32)
    table = np.stack([np.arange(50), rng.integers(100, 110, 50)], 1)
    table[0, 1] = 0
    raw = rng.integers(0, 256, stack.shape, dtype=np.uint8)
    files = {"training_sample2/groundtruth.h5.gz": packed(stack, rng.permutation(table))}
    for z, section in enumerate(raw):
        content = io.BytesIO()
        image.fromarray(section).save(content, "png")
        files[f"training_sample2/grayscale_maps/iso.{990 + z}.png"] = content.getvalue()  # 999, then 1000
    for name, content in files.items():
        path = tmp_path / "data/fib25" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    registry = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return registry, raw, table[:, 1][stack], tmp_path / "data/fib25"


def test_fib25_store_holds_grey_boundaries_and_bodies(small):
    registry, raw, bodies, _ = small
    path = fib25.prepare(False, registry=registry, url="http://127.0.0.1:9")
    got_raw, masks, annotated = store.read_volume(path, "sample2", fib25.CLASSES)
    np.testing.assert_array_equal(got_raw[0], raw)  # sections in the order of their numbers, 999 before 1000
    np.testing.assert_array_equal(masks[0], fib25.boundaries(bodies))
    np.testing.assert_array_equal(annotated[0], bodies > 0)
    np.testing.assert_array_equal(store.read_instances(path, "sample2", "neurons"), bodies)
    assert store.read_scale(path, "sample2") == (10.0, 10.0, 10.0)
    inode = path.stat().st_ino
    assert fib25.prepare(False, registry=registry) == path and path.stat().st_ino == inode
    models, zarr = pytest.importorskip("ome_zarr_models.v05"), pytest.importorskip("zarr")
    image = models.Image.from_zarr(zarr.open_group(path, mode="r")["sample2"])
    assert sorted(image.labels.label_paths) == ["boundaries", "neurons"]


def test_instances_are_those_of_the_sections(small, monkeypatch):
    registry, _, bodies, _ = small
    monkeypatch.setattr(fib25, "source_hashes", lambda: registry)
    monkeypatch.setattr(fib25.split_sections, "__defaults__", (1,))
    data = datasets.load("fib25", split=3, test=True)
    assert data.boundaries == ("boundaries",)
    pieces = datasets.instances("fib25", "neurons", "train", split=3)
    assert sum((p.images for p in pieces), ()) == tuple(i.name for i in data.train)
    for piece in pieces:
        assert piece.spacing == (10.0, 10.0, 10.0) and len(piece.labels) == len(piece.images)
        numbers = [int(name[-3:]) for name in piece.images]
        assert np.diff(numbers).tolist() == [1] * (len(numbers) - 1)
        np.testing.assert_array_equal(piece.labels, bodies[numbers])
    assert len(pieces) == 2  # split 3 trains on both sides of what it judges
    with pytest.raises(ValueError, match="has no numbered 'axons'; it has neurons"):
        datasets.instances("fib25", "axons", "test")
    with pytest.raises(ValueError, match="role is 'val'"):
        datasets.instances("fib25", "neurons", "val")
    with pytest.raises(ValueError, match="it has none"):
        datasets.instances("phantom", "neurons", "test")


def test_fib25_refuses_what_does_not_fit(small, tmp_path):
    registry, _, bodies, folder = small
    path = folder / "training_sample2/groundtruth.h5.gz"
    path.write_bytes(packed(np.array([[[0, 7]]], np.int32), np.array([[0, 1]])))
    with pytest.raises(ValueError, match="1 supervoxels without a body in `transforms`, the first 7"):
        fib25.read_bodies(path)
    path.write_bytes(packed(np.zeros((20, 10, 13), np.int32), np.array([[0, 1]])))
    registry[f"training_sample2/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=r"iso.990.png is \(10, 12\) uint8; expected \(10, 13\)"):
        fib25.prepare(False, registry=registry)
    path.write_bytes(b"no gzip")
    with pytest.raises(ValueError, match="holds no `stack` and `transforms`"):
        fib25.read_bodies(path)
    assert not (tmp_path / "prepared").exists()


@needs_fib25
def test_real_fib25_equals_its_source(tmp_path, monkeypatch):
    image, h5py = pytest.importorskip("PIL.Image"), pytest.importorskip("h5py")
    monkeypatch.setenv("HELPERS_PREPARED", str(tmp_path))
    data = datasets.load("fib25", reduce=1, test=True)
    folder = DATA / "fib25/training_sample2"
    with gzip.open(folder / "groundtruth.h5.gz") as file, h5py.File(io.BytesIO(file.read())) as opened:
        stack, table = opened["stack"][:], dict(opened["transforms"][:].tolist())
    pieces = datasets.instances("fib25", "neurons", "test")
    assert len(pieces) == 1 and pieces[0].labels.shape == (50, 250, 250)
    for z in (200, 231, 249):
        found = next(i for i in data.test if i.name == f"sample2/{z:03d}")
        source = np.asarray(image.open(folder / f"grayscale_maps/iso.{2600 + z}.png"))
        np.testing.assert_array_equal(np.rint(found.raw[0] * 255).astype(np.uint8), source)
        bodies = np.vectorize(table.get)(stack[z])
        np.testing.assert_array_equal(pieces[0].labels[z - 200], bodies)
        np.testing.assert_array_equal(found.masks[0], fib25.boundaries(bodies))
    raw = np.stack([i.raw[0] for i in data.train]) * 255
    masks = np.stack([i.masks[0] for i in data.train])
    assert raw[masks].mean() == pytest.approx(99, abs=1.5) and raw[~masks].mean() == pytest.approx(133, abs=2)
    assert not data.train[0].annotated[0, 0, 0] and data.train[0].annotated.mean() == 1 - 1 / 250**2
    with pytest.raises(ValueError, match="reduce is 4.*250 × 250 pixels; choose .*: 1, 2, 5, 10"):
        datasets.load("fib25", reduce=4)


def git_blob(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.fixture
def bladder(tmp_path, monkeypatch):
    """UroCell files of the true layout, 8 voxels a side, x by y by z, of the types that are published."""
    nibabel = pytest.importorskip("nibabel")
    pytest.importorskip("zarr")
    monkeypatch.setenv("HELPERS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HELPERS_PREPARED", str(tmp_path / "prepared"))
    rng, arrays = np.random.default_rng(1), {}
    for name in urocell.source_hashes():
        kind = name.split("/")[0]
        types = {"data": np.uint8, "fv": np.float64, "golgi": np.int16, "lyso": np.float32, "mito": np.float32}
        top = 256 if kind == "data" else 9 if "instance" in name else 2
        arrays[name] = rng.integers(0, top, (8, 8, 8)).astype(types[kind])
        path = tmp_path / "data/urocell" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(arrays[name], np.diag([5.8e7, 1, 1, 1])), path)
    registry = {name: git_blob((tmp_path / "data/urocell" / name).read_bytes()) for name in arrays}
    monkeypatch.setattr(urocell, "source_hashes", lambda: registry)
    monkeypatch.setattr(urocell.prepare, "__kwdefaults__", {**urocell.prepare.__kwdefaults__, "size": 8})
    return registry, arrays, tmp_path / "data/urocell"


def test_urocell_knows_what_is_annotated_where(bladder):
    _, arrays, _ = bladder
    datasets.prepare("urocell", progress=False)
    seen = {}
    for split in range(4):
        data = datasets.load("urocell", split=split, test=True)
        roles = [[i.name for i in part] for part in (data.train, data.validation, data.test)]
        assert sorted(sum(roles, [])) == ["0-0-0", "1-0-3", "2-2-3", "3-2-1", "3-3-0", "4-3-0"]
        assert "2-2-3" in roles[0]
        assert any({"3-3-0", "4-3-0"} <= set(part) for part in roles)  # they touch
        seen |= {i.name: i for i in data.test} | {i.name: i for i in data.train if i.name == "2-2-3"}
    assert len(seen) == 6
    for name, image in seen.items():
        assert image.spacing == (15.0, 16.0, 16.0) and image.raw.shape == (1, 8, 8, 8)
        np.testing.assert_allclose(image.raw[0], arrays[f"data/fib1-{name}.nii.gz"].T / 255, rtol=1e-6)
        for k, one in enumerate(urocell.CLASSES):
            source = arrays.get(f"{urocell.FOLDERS[one]}/fib1-{name}.nii.gz")
            assert image.annotated[k].all() == image.annotated[k].any() == (source is not None)
            if source is None:
                assert not image.masks[k].any()
            else:
                np.testing.assert_array_equal(image.masks[k], source.T > 0)
    golgi = seen["2-2-3"]
    np.testing.assert_array_equal(golgi.known[0], golgi.masks[3])  # no mitochondria where there is Golgi
    assert not golgi.known[2].any()  # of vesicles that says nothing
    (piece,) = datasets.instances("urocell", "mitochondria", "test", split=1)
    np.testing.assert_array_equal(piece.labels, arrays["mito/instance/fib1-1-0-3.nii.gz"].T)


def test_urocell_without_raw_volumes_says_what_is_missing(bladder):
    _, _, folder = bladder
    for file in (folder / "data").iterdir():
        file.unlink()
    with pytest.raises(ConnectionError) as caught:
        urocell.prepare(False, url="http://127.0.0.1:9", delay=0.01, tries=1)
    for said in (
        "needs 27 files, and 6 are missing",
        "6 of them raw volumes",
        "data/fib1-0-0-0.nii.gz",
        "HELPERS_DATA",
    ):
        assert said in str(caught.value)


def test_urocell_refuses_fractions_and_other_sizes(bladder):
    registry, arrays, folder = bladder
    nibabel = pytest.importorskip("nibabel")
    name = "lyso/binary/fib1-0-0-0.nii.gz"
    for array, says in ((arrays[name] + 0.5, "expected whole numbers"), (arrays[name][1:], r"shape \(7, 8, 8\)")):
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / name)
        registry[name] = git_blob((folder / name).read_bytes())
        with pytest.raises(ValueError, match=says):
            urocell.prepare(False)


@needs_urocell
def test_real_urocell_labels_are_the_published_ones_and_exclude_as_declared():
    nibabel = pytest.importorskip("nibabel")
    registry = urocell.source_hashes()
    there = [name for name in registry if not name.startswith("data/")]
    assert len(registry) == 27 and len(there) == 21
    for name in there:
        assert git_blob((DATA / "urocell" / name).read_bytes()) == registry[name]
    excludes, checked = urocell.about()["excludes"], 0
    for volume in ("3-2-1", "4-3-0"):
        masks = {
            one: np.asanyarray(nibabel.load(DATA / "urocell" / f"{kind}/fib1-{volume}.nii.gz").dataobj) > 0
            for one, kind in urocell.FOLDERS.items()
            if f"{kind}/fib1-{volume}.nii.gz" in registry
        }
        for one in masks:
            for other in set(masks) & set(excludes.get(one, ())):
                assert not (masks[one] & masks[other]).any()
                checked += 1
        assert (masks["vesicles"] & masks["mitochondria"]).any()  # why vesicles are not declared to exclude
    assert checked == 8
