"""CellMap crops from a local server of S3's manners and the true layout: what comes, and what is asked for."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from servers import serve

from helpers import datasets
from helpers.datasets import cellmap, known_voxels, s3, store

zarr = pytest.importorskip("zarr")

IMAGE = (48, 80, 72)  # voxels of 5.24 × 4 × 4 nm
SCALE = (5.24, 4.0, 4.0)
CROPS = {1: (10, 20, 30), 4: (0, 0, 0), 9: (30, 50, 40)}  # first voxel
SIZE = (12, 16, 20)
SEMANTIC = {"type": "semantic_segmentation", "encoding": {"absent": 0, "present": 1, "unknown": 255}}
INSTANCE = {"type": "instance_segmentation", "encoding": {"absent": 0, "unknown": 255}}
BASE = "jrc_x/jrc_x.zarr"


def multiscale(levels):
    """NGFF 0.4 metadata as OpenOrganelle has it; a translation is the centre of the first voxel."""
    datasets = [
        {
            "path": path,
            "coordinateTransformations": [
                {"type": "scale", "scale": list(scale)},
                {"type": "translation", "translation": list(translation)},
            ],
        }
        for path, (scale, translation) in levels.items()
    ]
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
    whole = [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]
    return {"multiscales": [{"axes": axes, "coordinateTransformations": whole, "datasets": datasets, "version": "0.4"}]}


def labels() -> dict[tuple[int, str], np.ndarray]:
    """Label values at the image's scale by crop and class; not every class is in every crop."""
    rng, made = np.random.default_rng(1), {}
    for crop in CROPS:
        atom = rng.integers(0, 4, SIZE)
        made[crop, "mito"] = ((atom == 1) * rng.integers(1, 200, SIZE)).astype(np.uint8)
        made[crop, "er"] = (atom == 2).astype(np.uint8)
    made[1, "er"][:, :5] = 255
    made[1, "mito"][:3] = 255
    made[9, "nuc"] = np.zeros(SIZE, np.uint8)
    return made


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Files of a volume with three crops, by their key, and its image."""
    folder = tmp_path_factory.mktemp("bucket")
    raw = np.random.default_rng(0).integers(1, 256, IMAGE, dtype=np.uint8)
    raw[16:32, 32:64, 32:64] = 0  # chunks that are not written
    root = zarr.open_group(folder / BASE, mode="w", zarr_format=2)
    twice = tuple(2 * s for s in SCALE)
    em = root.create_group("recon-1/em/fibsem-uint8")
    em.attrs.update(multiscale({"s0": (SCALE, (0, 0, 0)), "s1": (twice, tuple(s / 2 for s in SCALE))}))
    more = {"chunk_key_encoding": {"name": "v2", "separator": "/"}, "fill_value": 0}
    em.create_array("s0", data=raw, chunks=(16, 32, 32), **more)
    em.create_array("s1", data=raw[::2, ::2, ::2], chunks=(16, 32, 32), **more)
    for (crop, one), values in labels().items():
        group = root.create_group(f"recon-1/labels/groundtruth/crop{crop}/{one}")
        first = [start * scale for start, scale in zip(CROPS[crop], SCALE, strict=True)]
        half = tuple(s / 2 for s in SCALE)
        fine = tuple(f - h / 2 for f, h in zip(first, half, strict=True))
        group.attrs.update(multiscale({"s0": (half, fine), "s1": (SCALE, tuple(first))}))
        kind = INSTANCE if one == "mito" else SEMANTIC
        group.attrs["cellmap"] = {"annotation": {"class_name": one, "annotation_type": kind}}
        group.create_array("s0", data=values.repeat(2, 0).repeat(2, 1).repeat(2, 2), chunks=(8, 8, 8), **more)
        group.create_array("s1", data=values, chunks=(8, 8, 8), **more)
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}, raw


@pytest.fixture
def folders(tmp_path, monkeypatch):
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HELPERS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HELPERS_PREPARED", str(tmp_path / "prepared"))
    return tmp_path / "data" / "cellmap", tmp_path / "prepared"


def prepare(server, crops=("jrc_x/crop1", "jrc_x/4", "jrc_x/crop9"), classes=("mito", "er", "nuc"), **options):
    return cellmap.prepare(False, crops=crops, classes=classes, bucket=server.url, delay=0.01, **options)


def inside(crop):
    return tuple(slice(start, start + n) for start, n in zip(CROPS[crop], SIZE, strict=True))


def test_store_equals_the_crops(published, folders):
    files, raw = published
    with serve(files, page=7) as server:
        path = prepare(server)
    for crop in CROPS:
        got, masks, annotated, scale = store.read_sections(path, f"jrc_x-crop{crop}", ("mito", "er", "nuc"), range(12))
        np.testing.assert_array_equal(got, raw[inside(crop)])
        assert scale == SCALE
        for i, one in enumerate(("mito", "er", "nuc")):
            values = labels().get((crop, one), np.full(SIZE, 255, np.uint8))
            np.testing.assert_array_equal(masks[:, i], (values != 0) & (values != 255))
            np.testing.assert_array_equal(annotated[:, i], values != 255)


def test_only_chunks_that_cover_the_crops_are_fetched(published, folders):
    files, _ = published
    with serve(files) as server:
        prepare(server, crops=["jrc_x/crop1"])
        asked = {name for name in server.asked if "/em/" in name and "/." not in name}
        covering = {f"{BASE}/{cellmap.EM}/s0/{z}/{y}/{x}" for z in (0, 1) for y in (0, 1) for x in (0, 1)}
        assert asked == covering & set(files) and len(asked) == 7  # one holds nothing but the fill value
        assert not any("/s1/" in name for name in server.asked if "/em/" in name)
        assert not any("/s0/" in name for name in server.asked if "/labels/" in name)
        assert len(server.asked) == len(set(server.asked))
    assert {str(p.relative_to(folders[0])) for p in folders[0].rglob("*") if p.is_file()} == set(server.asked)


def test_second_preparation_asks_for_nothing(published, folders):
    with serve(published[0]) as server:
        path = prepare(server)
        before, asked = path.stat().st_ino, len(server.asked) + len(server.listed)
        assert prepare(server) == path and path.stat().st_ino == before
        assert len(server.asked) + len(server.listed) == asked
        prepare(server, classes=("er",))
        assert path.stat().st_ino != before and cellmap.about()["classes"] == ["er"]
        assert len(server.asked) < asked  # what is there is not fetched again
        assert len(server.asked) == len(set(server.asked))


def test_crops_and_classes_stay_what_they_were_made(published, folders):
    with serve(published[0]) as server:
        path = prepare(server, crops="jrc_x/crop1, jrc_x/4,jrc_x/crop9", classes="mito,er")
        before, asked = path.stat().st_ino, len(server.asked)
        cellmap.prepare(False, bucket=server.url)
        assert path.stat().st_ino == before and len(server.asked) == asked
    assert datasets.classes("cellmap") == ("mito", "er")
    loaded = datasets.load("cellmap", "er", reduce=3)
    assert loaded.classes == ("er",) and loaded.train[0].spacing == (12.0, 12.0)


@pytest.mark.parametrize("reduce", [1, 3])
def test_lazily_loaded_they_are_the_same(published, folders, reduce):
    with serve(published[0]) as server:
        prepare(server)
    held, lazy = (datasets.load("cellmap", reduce=reduce, lazy=lazy) for lazy in (False, True))
    for one, other in zip(held.train + held.validation, lazy.train + lazy.validation, strict=True):
        assert one.name == other.name and one.spacing == other.spacing
        for array in ("raw", "masks", "annotated", "known"):
            np.testing.assert_array_equal(np.asarray(getattr(other, array)), getattr(one, array))


def test_crops_stay_apart_in_every_split(published, folders):
    with serve(published[0]) as server:
        prepare(server)
    for split in range(5):
        parts = cellmap.read(4, split, True)
        crops = {role: {name.rsplit("/", 1)[0] for name, *_ in part} for role, part in parts.items()}
        assert sorted(len(c) for c in crops.values()) == [1, 1, 1] and len(set.union(*crops.values())) == 3
        assert cellmap.read(4, split, False)["test"] == []
    name, raw, masks, annotated, spacing = cellmap.read(3, 0, False)["train"][0]
    assert raw.shape == (1, 5, 6) and masks.shape == annotated.shape == (3, 5, 6) and spacing == (12.0, 12.0)


def test_what_decides_its_splits_is_in_its_code():
    assert cellmap.split_names.__module__ == "helpers.datasets.mitolab"
    assert {"datasets/cellmap", "datasets/mitolab"} <= set(datasets.code("cellmap"))
    assert set(datasets.code("mitolab")) <= set(datasets.code("cellmap"))


def test_broken_downloads_and_listings_recover(published, folders):
    files, raw = published
    with serve(files) as server:
        for name in files:
            server.faults[name] = [503] if "/em/" in name else ["break"]
        path = prepare(server)
    got, *_ = store.read_sections(path, "jrc_x-crop1", ("mito",), range(12))
    np.testing.assert_array_equal(got, raw[inside(1)])


def test_wrong_bytes_are_refused(published, folders):
    files, _ = published
    key = f"{BASE}/{cellmap.EM}/s0/0/0/0"
    with serve(files) as server:
        server.faults[key] = [b"wrong"] * 9
        with pytest.raises(ValueError, match="0/0/0 (sent other bytes|has 5 bytes)"):
            prepare(server)
    assert not folders[1].exists()


def changed(files, key, change):
    return {**files, key: json.dumps(change(json.loads(files[key]))).encode()}


def moved(by):
    def change(attributes):
        for level in attributes["multiscales"][0]["datasets"]:
            level["coordinateTransformations"][1]["translation"][2] += by
        return attributes

    return change


def other(path, value):
    def change(attributes):
        place = attributes
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        return attributes

    return change


LABEL = f"{BASE}/{cellmap.GROUNDTRUTH}/crop1/er/.zattrs"
IMAGE_KEY = f"{BASE}/{cellmap.EM}/.zattrs"


@pytest.mark.parametrize(
    "key, change, says",
    [
        (LABEL, moved(1.0), "does not lie on the image's grid.*30.25"),
        (LABEL, moved(4.0), "lie in different places"),
        (IMAGE_KEY, moved(160.0), "beyond its image of"),
        (LABEL, other(["cellmap"], {}), "does not say what values mean"),
        (LABEL, other(["cellmap", "annotation", "annotation_type", "encoding"], {"absent": 0}), "no 'present'"),
        (
            LABEL,
            other(["cellmap", "annotation", "annotation_type", "encoding"], {"absent": 0, "present": 1}),
            r"\[255\]",
        ),
        (IMAGE_KEY, other(["multiscales", 0, "axes", 0, "unit"], "micrometer"), "no NGFF image in nm"),
        (
            IMAGE_KEY,
            other(["multiscales", 0, "coordinateTransformations", 0, "scale"], [2, 1, 1]),
            "whole is transformed",
        ),
        (IMAGE_KEY, other(["multiscales", 0, "datasets"], []), "no level of a scale of the image"),
    ],
)
def test_metadata_that_is_not_as_described(published, folders, key, change, says):
    with serve(changed(published[0], key, change)) as server, pytest.raises(ValueError, match=says):
        prepare(server)
    assert not (folders[1] / "cellmap.zarr").exists()


@pytest.mark.parametrize(
    "options, says",
    [
        ({"crops": ["jrc_x/crop2"]}, "no crop jrc_x/crop2; there are jrc_x/crop1, jrc_x/crop4, jrc_x/crop9"),
        ({"crops": ["jrc_y/crop2"]}, "there are none of this data set"),
        ({"crops": ["crop2"]}, "expected <data set>/crop<N>"),
        ({"crops": ["../x/crop2"]}, "expected <data set>/crop<N>"),
        ({"crops": []}, "no crops are given"),
        ({"crops": ["jrc_x/1", "jrc_x/crop1"]}, "each once"),
        ({"classes": ["mitochondria"]}, "each once, of actin"),
        ({"classes": ["ld"]}, "has none of the classes ld; it has er, mito"),
    ],
)
def test_unknown_crops_and_classes(published, folders, options, says):
    with serve(published[0]) as server, pytest.raises(ValueError, match=says):
        prepare(server, **options)


def test_two_crops_cannot_be_split(published, folders):
    with serve(published[0]) as server:
        prepare(server, crops=["jrc_x/1", "jrc_x/4"])
    with pytest.raises(ValueError, match="2 to be split into three parts"):
        cellmap.read(4, 0, False)


def test_no_network(folders):
    with pytest.raises(ConnectionError, match="Check network"):
        cellmap.prepare(False, bucket="http://127.0.0.1:9", tries=1)


def test_no_room(published, folders, monkeypatch):
    with serve(published[0]) as server:
        usage = shutil.disk_usage("/")
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=60_000))
        with pytest.raises(OSError, match="are missing"):
            prepare(server)
        assert not any("/s0/0/" in name for name in server.asked)


def test_listing_of_several_pages_equals_what_is_there(monkeypatch):
    monkeypatch.delenv("http_proxy", raising=False)
    files = {f"a/{i}/<&{i}>": bytes(i) for i in range(25)} | {"a/top": b"1", "b/x": b"2"}
    with serve(files, page=4) as server:
        found = s3.list_objects(server.url, "a/")
        assert found.sizes == {k: len(v) for k, v in files.items() if k.startswith("a/")} and found.folders == ()
        assert len(server.listed) == 7
        found = s3.list_objects(server.url, "a/", "/")
        assert list(found.sizes) == ["a/top"] and set(found.folders) == {f"a/{i}/" for i in range(25)}
        assert s3.list_objects(server.url, "nothing").sizes == {}


@pytest.mark.parametrize(
    "answer, says",
    [
        (b"<html/>", "no listing"),
        (b"<html>", "did not list"),
        (b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>", "broke off its listing"),
        (b"<ListBucketResult><Contents><Key>a/../b</Key><Size>1</Size></Contents></ListBucketResult>", "cannot be"),
    ],
)
def test_odd_listings(monkeypatch, answer, says):
    monkeypatch.delenv("http_proxy", raising=False)
    with serve({}) as server:
        server.list_page = lambda query: answer
        with pytest.raises(ConnectionError, match=says):
            s3.list_objects(server.url, "a/", delay=0.01)


def test_excluded_are_the_classes_without_a_common_atom():
    assert cellmap.atoms("mito") == {3, 4, 5} and cellmap.atoms("er_mem_all") == {16, 18, 20}
    about = cellmap._about(["mito", "er", "nuc", "cell", "ecs", "ne_mem"])
    assert about["excludes"] == {
        "mito": ["er", "nuc", "ecs", "ne_mem"],
        "er": ["mito", "ecs"],
        "nuc": ["mito", "ecs"],
        "cell": ["ecs"],
        "ecs": ["mito", "er", "nuc", "cell", "ne_mem"],
        "ne_mem": ["mito", "ecs"],
    }
    masks = np.zeros((6, 2), bool)
    masks[0, 0] = True
    known = known_voxels(masks, np.zeros_like(masks), about["classes"], about["excludes"])
    assert known[:, 0].tolist() == [False, True, True, False, True, True] and not known[:, 1].any()


def test_what_values_mean():
    values = np.array([0, 1, 255, 7])
    mask, annotated = cellmap.decode(values, INSTANCE, "x")
    assert mask.tolist() == [False, True, False, True] and annotated.tolist() == [True, True, False, True]
    other_way = {"type": "semantic_segmentation", "encoding": {"unknown": 0, "present": 1}}
    mask, annotated = cellmap.decode(values[:2], other_way, "x")
    assert mask.tolist() == annotated.tolist() == [False, True]
    with pytest.raises(ValueError, match=r"x holds \[7\]; expected"):
        cellmap.decode(values, SEMANTIC, "x")


def test_default_crops_and_classes_are_well_formed():
    assert len(cellmap._crops(cellmap.CROPS)) >= 3 and cellmap._classes(cellmap.CLASSES) == cellmap.CLASSES
    assert Path(cellmap.BUCKET).name.startswith("janelia-cosem-datasets")
    assert {"title", "classes", "excludes", "source", "licence", "citation"} <= set(cellmap.about())


PREPARE = """
import sys
from helpers.datasets import cellmap
cellmap.prepare(False, crops=["jrc_x/1", "jrc_x/4", "jrc_x/9"], classes=["mito", "er", "nuc"], bucket=sys.argv[1])
"""


@pytest.mark.slow
def test_preparation_killed_at_random_moments_ends_in_the_same_store(published, folders):
    environment = {**os.environ, "PYTHONPATH": str(Path(cellmap.__file__).parents[2])}
    rng, stores = np.random.default_rng(2), []
    with serve(published[0]) as server:
        command = [sys.executable, "-c", PREPARE, server.url]
        for moments in [(), *rng.uniform(0.5, 3, (6, 2))]:
            for after in moments:
                with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as child:
                    time.sleep(after)
                    child.kill()
            subprocess.run(command, env=environment, check=True)
            assert [p.name for p in folders[1].iterdir()] == ["cellmap.zarr"]
            stores.append(
                {str(p.relative_to(folders[1])): p.read_bytes() for p in folders[1].rglob("*") if p.is_file()}
            )
            assert not [p for p in folders[0].iterdir() if p.name.endswith(".partial")]
            for folder in folders:
                shutil.rmtree(folder)
    for other in stores[1:]:
        assert sorted(other) == sorted(stores[0])
        assert [name for name in other if other[name] != stores[0][name]] == []
