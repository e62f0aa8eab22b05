"""A reader's own folder: every layout that is taken, and what is refused."""

import json

import numpy as np
import pytest

from helpers import datasets
from helpers.datasets import drishti, folder, pictures

Image = pytest.importorskip("PIL.Image")
tifffile = pytest.importorskip("tifffile")
pytest.importorskip("zarr")

pytestmark = pytest.mark.filterwarnings("ignore:.*size of a pixel is not known")


@pytest.fixture(autouse=True)
def prepared(tmp_path, monkeypatch):
    monkeypatch.setenv("HELPERS_PREPARED", str(tmp_path / "prepared"))


def put(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, array) if path.suffix == ".tif" else Image.fromarray(array).save(path)


def grey(seed, shape=(12, 16), dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def mask(seed, shape=(12, 16), value=255):
    return (np.random.default_rng(seed).random(shape) < 0.4).astype(np.uint8) * np.uint8(value)


@pytest.fixture
def parts(tmp_path):
    """Folder with train, val and test of two images each."""
    for n, part in enumerate(("train", "val", "test")):
        for i in range(2):
            put(tmp_path / f"own/{part}/images/{part}{i}.png", grey(10 * n + i))
            put(tmp_path / f"own/{part}/masks/{part}{i}.png", mask(10 * n + i))
    return tmp_path / "own"


def write_settings(path, **settings):
    (path / "dataset.json").write_text(json.dumps(settings))


def test_parts_of_its_own_are_kept(parts):
    write_settings(parts, spacing=[8, 4], classes=["thing"], licence="CC0", boundaries=["thing"], title="Mine")
    data = datasets.load(str(parts), reduce=2, test=True)
    assert (data.title, data.licence, data.unit, data.classes, data.boundaries) == (
        ("Mine", "CC0", "nm", ("thing",), ("thing",))
    )
    assert [i.name for i in data.validation] == ["validation/val0", "validation/val1"]
    assert [i.name for i in data.test] == ["test/test0", "test/test1"]
    image = data.train[1]
    assert image.spacing == (16.0, 8.0) and image.raw.shape == (1, 6, 8) and image.known.all()
    blocks = grey(1).reshape(6, 2, 8, 2)
    np.testing.assert_allclose(image.raw[0], blocks.mean((1, 3)) / 255, rtol=1e-6)
    np.testing.assert_array_equal(image.masks[0], (mask(1) > 0).reshape(6, 2, 8, 2).mean((1, 3)) > 0.5)
    assert datasets.load(str(parts)).test == ()
    assert datasets.classes(str(parts)) == ("thing",)
    with pytest.raises(ValueError, match="split is 1; a folder with parts of its own has one split"):
        datasets.load(str(parts), split=1)


def test_second_preparation_does_nothing_and_a_changed_file_is_seen(parts):
    path = datasets.prepare(str(parts))
    first = path.stat().st_ino
    assert datasets.prepare(str(parts)) == path and path.stat().st_ino == first
    put(parts / "train/images/train0.png", grey(99))
    image = datasets.load(str(parts)).train[0]
    np.testing.assert_array_equal(image.raw[0], grey(99).astype(np.float32) / 255)
    put(parts / "train/masks/train0.png", mask(0)[:5])
    with pytest.raises(ValueError, match=r"train0.png has shape \(5, 16\); its image train0.png \(12, 16\)"):
        datasets.load(str(parts))
    assert len(list(path.parent.iterdir())) == 1  # nothing half-written


def test_folders_of_one_name_have_stores_of_their_own(tmp_path):
    for number in range(2):
        for i in range(5):
            put(tmp_path / f"{number}/same/images/{i}.png", grey(number))
            put(tmp_path / f"{number}/same/masks/{i}.png", mask(number))
    stores = {datasets.prepare(str(tmp_path / f"{n}/same")) for n in range(2)}
    assert len(stores) == 2 and all(store.is_dir() for store in stores)


def test_unknown_pixel_size_is_said(parts):
    with pytest.warns(UserWarning, match='not known, so distances are in pixels.*"spacing"'):
        data = datasets.load(str(parts))
    assert data.unit == "pixel" and data.train[0].spacing == (1.0, 1.0)


def test_a_folder_without_parts_is_split_by_name(tmp_path):
    for i in range(11):
        put(tmp_path / f"images/{i:02d}.jpg", np.full((8, 8), 20 * i, np.uint8))
        put(tmp_path / f"masks/{i:02d}.png", mask(i, (8, 8)))
    tested = []
    for split in range(5):
        data = datasets.load(str(tmp_path), split=split, test=True)
        roles = [[i.name for i in images] for images in (data.train, data.validation, data.test)]
        assert sorted(sum(roles, [])) == [f"images/{i:02d}" for i in range(11)]
        tested += roles[2]
        assert data.train[0].raw[0].max() == pytest.approx(20 * int(data.train[0].name[-2:]) / 255, abs=0.01)
    assert sorted(tested) == [f"images/{i:02d}" for i in range(11)]
    with pytest.raises(ValueError, match="split is 5; there are 5 splits"):
        datasets.load(str(tmp_path), split=5)


def test_without_val_a_fifth_of_the_training_images_validates(parts):
    for child in sorted((parts / "val").rglob("*"), reverse=True):
        child.unlink() if child.is_file() else child.rmdir()
    (parts / "val").rmdir()
    with pytest.raises(ValueError, match="2 images cannot be split into 5 blocks"):
        datasets.load(str(parts))
    for i in range(2, 10):
        put(parts / f"train/images/train{i}.png", grey(i))
        put(parts / f"train/masks/train{i}.png", mask(i))
    data = datasets.load(str(parts), split=1, test=True)
    assert [i.name for i in data.validation] == ["train/train2", "train/train3"] and len(data.train) == 8
    assert len(data.test) == 2


@pytest.mark.parametrize("layout", ["masks/{c}/{n}.png", "masks/{n}_{c}.png"])
def test_one_file_a_class(tmp_path, layout):
    for i in range(5):
        put(tmp_path / f"images/im_{i}.png", grey(i))
        for k, c in enumerate(("cell_wall", "axon")):
            put(tmp_path / layout.format(n=f"im_{i}", c=c), mask(i) if k else 255 - mask(i))
    write_settings(tmp_path, spacing=5, classes=["cell_wall", "axon"], excludes={"axon": ["cell_wall"]})
    data = datasets.load(str(tmp_path))
    assert data.classes == ("cell_wall", "axon")
    image = data.validation[0]
    np.testing.assert_array_equal(image.masks, [mask(0) == 0, mask(0) > 0])


def test_absent_masks_are_an_error_or_unknown_if_said(tmp_path):
    for i in range(5):
        put(tmp_path / f"images/{i}.png", grey(i))
        put(tmp_path / f"masks/a/{i}.png", mask(i))
    put(tmp_path / "masks/b/0.png", 255 - mask(0))
    with pytest.raises(ValueError, match=r"4 images without a mask of every class \(a, b\).*s/1.png, images/2"):
        datasets.load(str(tmp_path))
    write_settings(tmp_path, absent="unknown", excludes={"a": ["b"]})
    data = datasets.load(str(tmp_path), split=4)
    for image in (*data.train, *data.validation):
        assert image.annotated[0].all() and image.annotated[1].any() == (image.name == "images/0")
        if image.name != "images/0":
            np.testing.assert_array_equal(image.known[1], image.masks[0])  # absent where a is


def test_soft_masks_are_cut_at_one_half(tmp_path):
    soft = np.tile(np.array([0, 64, 127, 128, 191, 255], np.uint8), (4, 1))
    for i in range(5):
        put(tmp_path / f"images/{i}.png", grey(i, (4, 6)))
        put(tmp_path / f"masks/{i}.png", soft)
    with pytest.raises(ValueError, match='5 masks.*masks/0.png: 0, 64, 127, 128, 191, 255;.*"masks": "soft" if'):
        datasets.load(str(tmp_path))
    write_settings(tmp_path, masks="soft")
    image = datasets.load(str(tmp_path)).train[0]
    np.testing.assert_array_equal(image.masks[0], np.tile([0, 0, 0, 1, 1, 1], (4, 1)) > 0)


MAPS = {
    "instances": np.arange(12 * 16, dtype=np.uint8).reshape(12, 16) + 63,  # up to 254
    "classes": np.tile(np.array([0, 128, 255, 0], np.uint8), (12, 4)),
    "one class and 255 for not annotated": np.tile(np.array([0, 1, 255, 0], np.uint8), (12, 4)),
    "instances of 16 bits": (np.arange(12 * 16, dtype=np.uint16) + 40000).reshape(12, 16),
}


@pytest.mark.parametrize("kind", MAPS)
def test_maps_of_instances_or_classes_are_not_taken_for_soft_masks(tmp_path, kind):
    suffix = "tif" if MAPS[kind].dtype == np.uint16 else "png"
    for i in range(5):
        put(tmp_path / f"images/{i}.png", grey(i))
        put(tmp_path / f"masks/{i}.{suffix}", MAPS[kind] if i == 2 else (MAPS[kind] == MAPS[kind].max()).astype("u1"))
    listed = ", ".join(map(str, np.unique(MAPS[kind])[:3]))
    with pytest.raises(ValueError, match=rf'masks/2.{suffix}: {listed}.*"masks": "nonzero" if every value above 0'):
        datasets.load(str(tmp_path))
    write_settings(tmp_path, masks="binary")
    with pytest.raises(ValueError, match=f"unexpected values.*masks/2.{suffix}"):
        datasets.load(str(tmp_path))


@pytest.mark.parametrize("quality", [75, 90])
def test_binary_masks_saved_as_jpeg(tmp_path, quality):
    y, x = np.mgrid[:64, :64]
    discs = [(255 * ((y - 30) ** 2 + (x - 30) ** 2 < (8 + 3 * i) ** 2)).astype(np.uint8) for i in range(5)]
    for i, disc in enumerate(discs):
        put(tmp_path / f"images/{i}.png", grey(i, (64, 64)))
        put(tmp_path / f"masks/{i}.png", disc)
        if i:
            (tmp_path / f"masks/{i}.png").unlink()
            Image.fromarray(disc).save(tmp_path / f"masks/{i}.jpg", quality=quality)
    data = datasets.load(str(tmp_path))
    for image in (*data.train, *data.validation):
        np.testing.assert_array_equal(image.masks[0], discs[int(image.name[-1])] > 0)
    with Image.open(tmp_path / "masks/4.jpg") as noisy:
        values = np.unique(noisy)
    assert len(values) > 2
    noisy_map = np.where(discs[4] > 0, 128, discs[3]).astype(np.uint8)
    Image.fromarray(noisy_map).save(tmp_path / "masks/3.jpg", quality=quality)
    with pytest.raises(ValueError, match="1 masks with unexpected values.*masks/3.jpg"):
        datasets.load(str(tmp_path))


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (mask(0, value=1), r"said to be soft, but none is above half of white \(masks/0.tif: 0, 1"),
        (mask(0).astype(np.uint16) * 16, "none is above half of white"),
        (mask(0).astype(np.uint32), r"are not of 8 or 16 bits \(masks/0.tif: 0, 255"),
        (-mask(0, value=1).astype(np.int16), r"masks/0.tif holds -1 \(int16\); expected no value below 0"),
        (mask(0).astype(np.float64) * 2**30, "expected whole numbers"),
    ],
)
def test_masks_that_cannot_be_soft(tmp_path, array, says):
    for i in range(5):
        put(tmp_path / f"images/{i}.png", grey(i))
        put(tmp_path / f"masks/{i}.tif", array)
    write_settings(tmp_path, masks="soft")
    with pytest.raises(ValueError, match=says):
        datasets.load(str(tmp_path))


def test_classes_that_exclude_each_other_share_no_pixel(tmp_path):
    for i in range(5):
        put(tmp_path / f"images/{i}.png", grey(i))
        put(tmp_path / f"masks/a/{i}.png", np.repeat(np.array([255, 255, 0, 0], np.uint8), 48).reshape(12, 16))
        put(tmp_path / f"masks/b/{i}.png", np.repeat(np.array([0, 0, 0, 255], np.uint8), 48).reshape(12, 16))
    write_settings(tmp_path, excludes={"b": ["a"]})
    datasets.load(str(tmp_path))
    put(tmp_path / "masks/b/3.png", np.repeat(np.array([0, 255, 255, 255], np.uint8), 48).reshape(12, 16))
    with pytest.raises(ValueError, match="b/3.png and .*a/3.png share 48 pixels, 33.33% of b and 50.00% of a, but"):
        datasets.load(str(tmp_path))


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("pictures", "no", "true or false"),
        ("pictures", 0, "true or false"),
        ("excludes", ["a"], "from a class to a list"),
        ("excludes", {"a": "b"}, "from a class to a list"),
        ("excludes", {"foreground": ["z"]}, "and 'z' is not one of the classes; expected foreground"),
        ("excludes", {"z": ["foreground"]}, "and 'z' is not one of the classes"),
        ("excludes", {"foreground": ["foreground"]}, "cannot exclude itself"),
        ("boundaries", "foreground", "a list of classes"),
        ("boundaries", ["fore"], "and 'fore' is not one of the classes"),
        ("boundaries", None, "a list of classes"),
        ("spacing", True, "nm per pixel"),
        ("spacing", [4, True], "nm per pixel"),
        ("spacing", float("nan"), "nm per pixel"),
        ("spacing", "4", "nm per pixel"),
        ("spacing", [], "nm per pixel"),
        ("classes", [3], "a list of names"),
        ("classes", "nuclei", "a list of names"),
        ("classes", [], "a list of names"),
        ("classes", ["a", "a"], "a list of names"),
        ("classes", ["a/b"], "a list of names"),
        ("masks", None, "binary or soft or nonzero"),
        ("absent", ["unknown"], "unknown"),
        ("white", True, "a grey value"),
        ("white", 40.5, "a grey value"),
        ("title", 7, "a text"),
        ("licence", "", "a text"),
    ],
)
def test_values_of_the_settings_are_checked(parts, key, value, expected):
    write_settings(parts, **{key: value})
    with pytest.raises(ValueError) as caught:
        datasets.load(str(parts))
    for part in (f"{key} of {parts}/dataset.json is {value!r}", expected):
        assert part in str(caught.value)
    with pytest.raises(ValueError):
        datasets.about(str(parts))


def test_masks_of_0_and_1_and_of_one_bit(tmp_path):
    for i in range(5):
        put(tmp_path / f"images/{i}.png", grey(i))
        put(tmp_path / f"masks/{i}.png", mask(i, value=1) > 0 if i == 3 else mask(i, value=1))
    data = datasets.load(str(tmp_path), split=3)
    np.testing.assert_array_equal(data.validation[0].masks[0], mask(3) > 0)
    np.testing.assert_array_equal(data.train[0].masks[0], mask(0) > 0)


def test_unexpected_mask_values_are_listed_and_may_be_declared(tmp_path):
    for i in range(5):
        put(tmp_path / f"images/{i}.png", grey(i))
        put(tmp_path / f"masks/{i}.png", mask(i, value=1 if i % 2 else 255))
    with pytest.raises(ValueError, match="2 masks with unexpected values.*masks/1.png: 0, 1; masks/3.png: 0, 1"):
        datasets.load(str(tmp_path))
    write_settings(tmp_path, masks="nonzero")
    np.testing.assert_array_equal(datasets.load(str(tmp_path), split=1).validation[0].masks[0], mask(1) > 0)
    put(tmp_path / "masks/0.png", np.arange(12 * 16, dtype=np.uint8).reshape(12, 16) % 20)
    write_settings(tmp_path)
    with pytest.raises(ValueError, match="0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …"):
        datasets.load(str(tmp_path))


def test_colour_16_bits_and_several_sizes(tmp_path):
    for i in range(5):
        shape = (10 + 2 * i, 14)
        put(tmp_path / f"rgb/images/{i}.png", grey(i, (*shape, 3)))
        put(tmp_path / f"deep/images/{i}.tif", grey(i, shape, np.uint16))
        for kind in ("rgb", "deep"):
            put(tmp_path / f"{kind}/masks/{i}.png", mask(i, shape))
    rgb, deep = (datasets.load(str(tmp_path / kind), split=4) for kind in ("rgb", "deep"))
    assert [i.raw.shape for i in rgb.train] == [(3, 12, 14), (3, 14, 14), (3, 16, 14)]
    for data, top in ((rgb, 255), (deep, 65535)):
        for image in (*data.train, *data.validation):
            i = int(image.name[-1])
            source = grey(i, (10 + 2 * i, 14, 3)) if top == 255 else grey(i, (10 + 2 * i, 14), np.uint16)[..., None]
            np.testing.assert_allclose(image.raw, np.moveaxis(source, -1, 0) / top, rtol=1e-6)
            np.testing.assert_array_equal(image.masks[0], mask(i, (10 + 2 * i, 14)) > 0)
    with pytest.raises(ValueError, match="reduce is 4, which does not divide images of 14 × 14 pixels"):
        datasets.load(str(tmp_path / "rgb"), reduce=4)


def test_12_bits_in_16_want_their_white_said(tmp_path):
    for i in range(5):
        put(tmp_path / f"images/{i}.tif", grey(i, dtype=np.uint16) >> 4)
        put(tmp_path / f"masks/{i}.png", mask(i))
    with pytest.raises(ValueError, match='of 16 bits, and the brightest pixel of all is at 6.*"white"'):
        datasets.load(str(tmp_path))
    write_settings(tmp_path, white=4095)
    image = datasets.load(str(tmp_path)).validation[0]
    np.testing.assert_allclose(image.raw[0], (grey(0, dtype=np.uint16) >> 4) / 4095, atol=1 / 65535)


def test_volumes(tmp_path):
    for i in range(5):
        put(tmp_path / f"images/{i}.tif", grey(i, (6, 12, 16)))
        put(tmp_path / f"masks/{i}.tif", mask(i, (6, 12, 16)))
    write_settings(tmp_path, spacing=[30, 5, 5])
    image = datasets.load(str(tmp_path), reduce=2).validation[0]
    assert image.raw.shape == (1, 6, 6, 8) and image.spacing == (30.0, 10.0, 10.0)
    lazy = datasets.load(str(tmp_path), reduce=2, lazy=True).validation[0]
    np.testing.assert_array_equal(np.asarray(lazy.raw), image.raw)
    np.testing.assert_array_equal(np.asarray(lazy.known), image.known)
    put(tmp_path / "images/4.tif", grey(4))
    put(tmp_path / "masks/4.tif", mask(4))
    with pytest.raises(ValueError, match="mixes images of different kinds.*1 channels in 3-D: 0.tif.*in 2-D: 4.tif"):
        datasets.load(str(tmp_path))


def test_stores_are_read_by_others(parts):
    models = pytest.importorskip("ome_zarr_models.v05")
    zarr = pytest.importorskip("zarr")
    put(parts / "train/images/train0.png", grey(0, (12, 16)))
    root = zarr.open_group(datasets.prepare(str(parts)), mode="r")
    image = models.Image.from_zarr(root["train/train0"])
    assert [a.name for a in image.ome_attributes.multiscales[0].axes] == ["y", "x"]
    assert image.ome_attributes.multiscales[0].axes[0].unit is None  # it is not known
    assert list(image.labels.label_paths) == ["foreground"]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (
            lambda p: (p / "train/masks/train0.png").rename(p / "train/masks/other.png"),
            "train/images/train0.png, ",
        ),
        (lambda p: [f.unlink() for f in (p / "val/masks").iterdir()], "masks holds no images"),
        (lambda p: (p / "val/masks").rename(p / "val/labels"), "val has no masks/; expected images/ and masks/"),
        (
            lambda p: put(p / "val/masks/val0.png", grey(0, (12, 16, 3))),
            "colour picture; expected a mask of",
        ),
        (lambda p: put(p / "val/images/val0.png", grey(0, (12, 16, 3))), "mixes images of different kinds"),
        (lambda p: put(p / "val/images/val0.png", grey(0, (12, 16, 4))), "partly transparent"),
        (lambda p: put(p / "val/images/val0.tif", np.ones((12, 16), np.float32)), "two images called val0"),
        (lambda p: (p / "val/images/val0.png").write_text("no"), "val0.png is not a readable image"),
        (lambda p: write_settings(p, spacin=4), "unknown keys spacin; it may have spacing, classes"),
        (lambda p: (p / "dataset.json").write_text("[1"), "is not a JSON object"),
        (lambda p: (p / "dataset.json").write_text("[1]"), r"is not a JSON object but \[1\]"),
        (lambda p: (p / "dataset.json").write_text('{"white": 1, "white": 2}'), "not a JSON object: white is there tw"),
        (lambda p: write_settings(p, spacing=[1, 2, 3]), "expected nm per pixel, one number or 2"),
        (lambda p: write_settings(p, spacing=-1), "spacing of .*dataset.json is -1; expected nm"),
        (lambda p: write_settings(p, masks="grey"), "masks of .* is 'grey'; expected binary or soft or nonzero"),
        (lambda p: write_settings(p, classes=["a", "b"]), "has 2 classes, but there is one mask an image"),
        (lambda p: (p / "train").rename(p / "training"), "has val, test but no train"),
    ],
)
def test_what_is_wrong_is_named(parts, spoil, says):
    spoil(parts)
    with pytest.raises(ValueError, match=says):
        datasets.load(str(parts))
    assert not (parts.parent / "prepared").exists()  # nothing was written


def test_pairs_that_do_not_match_list_the_first_ten(tmp_path):
    for i in range(30):
        put(tmp_path / f"images/im{i:02d}.png", grey(i))
        put(tmp_path / f"masks/{'im' if i < 5 else 'mask'}{i:02d}.png", mask(i))
    with pytest.raises(ValueError) as caught:
        datasets.load(str(tmp_path))
    assert "50 images without a mask of every class (foreground), or masks without an image" in str(caught.value)
    assert str(caught.value).count(".png") == 10


def test_paths_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="no folder .*nowhere/at/all"):
        datasets.load("nowhere/at/all")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty has no images/; expected images/ and masks/"):
        datasets.load(str(tmp_path / "empty"))


def test_floats_are_refused_as_images(tmp_path):
    put(tmp_path / "a.tif", np.ones((4, 4), np.float32))
    with pytest.raises(ValueError, match="holds float32; expected 8- or 16-bit"):
        pictures.read_picture(tmp_path / "a.tif")
    assert pictures.read_mask(tmp_path / "a.tif").tolist() == [[1] * 4] * 4
    put(tmp_path / "a.tif", np.full((4, 4), 0.5, np.float32))
    with pytest.raises(ValueError, match="holds fractions"):
        pictures.read_mask(tmp_path / "a.tif")


def test_blocks_by_name_are_disjoint_and_complete():
    parts = {"train": [f"{i:02d}" for i in range(50)], "test": ["x"]}
    held = [folder.split_names(parts, k) for k in range(5)]
    assert [len(h["validation"]) for h in held] == [10] * 5
    assert sorted(n for h in held for n in h["validation"]) == [f"train/{i:02d}" for i in range(50)]
    for h in held:
        assert not set(h["train"]) & set(h["validation"]) and len(h["train"]) == 40 and h["test"] == ["test/x"]


def test_drishti_is_reduced_from_what_is_published(tmp_path, monkeypatch):
    """Published files in place, so that no server is asked: the right sizes, formats and roles come out."""
    monkeypatch.setenv("HELPERS_DATA", str(tmp_path / "data"))
    names = {"train": [f"t{i}" for i in range(5)], "test": ["u0", "u1"]}
    y, x = np.mgrid[:600, :800]
    disc = (255 * ((y - 300) ** 2 + (x - 400) ** 2 < 100**2)).astype(np.uint8)
    disc[:, 400:][disc[:, 400:] > 0] = 64  # one expert of four drew the right half
    for part, members in names.items():
        for n in members:
            image, soft = (tmp_path / "data/drishti-published" / f for f in drishti._published(part, n))
            put(image, grey(0, (600, 800, 3)))
            put(soft, disc)
    monkeypatch.setattr(drishti, "fetch", lambda *_, **__: None)
    monkeypatch.setattr(drishti, "image_names", lambda: names)
    data = datasets.load("drishti", test=True)
    assert (len(data.train), len(data.validation), len(data.test)) == (4, 1, 2)
    assert data.unit == "pixel" and not data.pictures and data.classes == ("disc",)
    image = data.test[0]
    assert image.raw.shape == (3, 427, 569)
    expected = np.pi * 100**2 / 2 * (569 / 800) ** 2
    assert image.masks[0].sum() == pytest.approx(expected, rel=0.02)
    assert not image.masks[0][:, 290:].any()
    assert [p.name for p in (tmp_path / "data").iterdir() if p.name.startswith(".")] == []
    (tmp_path / "data/drishti/test/images/u1.jpg").unlink()
    with pytest.raises(ValueError, match="lacks 1 of the 7 photographs.*test/images/u1"):
        datasets.prepare("drishti")


def test_names_of_the_published_photographs():
    names = drishti.image_names()
    assert {part: len(members) for part, members in names.items()} == {"train": 50, "test": 51}
    assert not set(names["train"]) & set(names["test"])
    assert sum(len(drishti._published(p, n)) for p, members in names.items() for n in members) == 202
