"""Loading: splits, reduction, what is known, what is refused; the real data where it is at hand."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import datasets
from helpers.datasets import store, synthetic, vnc

REAL = Path(os.environ.get("HELPERS_DATA") or "nowhere") / "vnc" / "stack1"
needs_real = pytest.mark.skipif(
    not REAL.is_dir(),
    reason="needs the published VNC images: set HELPERS_DATA to a folder that holds vnc/stack1",
)


def test_names_and_classes():
    every = ["vnc", "fib25", "drishti", "urocell", "mitolab", "cem1500k", "cellmap", "phantom"]
    shaped = [f"phantom-{kind}" for kind in ("discs", "tubes", "sheets", "trees")]
    assert datasets.names() == every + shaped
    assert datasets.classes("vnc") == ("membranes", "mitochondria", "synapses")


def test_import_needs_numpy_alone():
    code = """
import sys
class Absent:
    heavy = {"zarr", "pooch", "requests", "tqdm", "PIL", "tifffile", "scipy", "skimage", "torch"}
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.heavy:
            raise ImportError(name)
sys.meta_path.insert(0, Absent())
import helpers.datasets
helpers.datasets.Image
"""
    path = os.pathsep.join([str(Path(datasets.__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})


def test_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("HELPERS_DATA", str(tmp_path / "a"))
    monkeypatch.setenv("HELPERS_PREPARED", str(tmp_path / "b"))
    assert datasets.downloads_folder() == tmp_path / "a" and datasets.prepared_folder() == tmp_path / "b"
    assert not list(tmp_path.iterdir())
    monkeypatch.delenv("HELPERS_PREPARED")
    assert tmp_path not in datasets.prepared_folder().parents  # never inside the downloads
    monkeypatch.setenv("HELPERS_DATA", "")
    pooch = pytest.importorskip("pooch")
    assert datasets.downloads_folder() == pooch.os_cache("hot-or-distance")


@given(
    size=st.tuples(*[st.integers(1, 5)] * 2),
    reduce=st.integers(1, 4),
    depth=st.integers(0, 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_reduction_equals_brute_force(size, reduce, depth, seed):
    rng = np.random.default_rng(seed)
    shape = (*[2] * (depth > 0), size[0] * reduce, size[1] * reduce)  # 2-D, or a volume whose z stays
    raw = rng.integers(0, 256, (1, *shape), dtype=np.uint8)
    masks, annotated = rng.random((3, *shape)) < 0.5, rng.random((3, *shape)) < 0.9
    small = store.reduce_image(raw, masks, annotated, reduce)
    assert [a.dtype for a in small] == [np.float32, bool, bool]
    assert [a.shape[-2:] for a in small] == [size] * 3
    for y in range(size[0]):
        for x in range(size[1]):
            block = (..., slice(y * reduce, (y + 1) * reduce), slice(x * reduce, (x + 1) * reduce))
            np.testing.assert_allclose(small[0][..., y, x], raw[block].mean((-2, -1)) / 255, rtol=1e-6)
            np.testing.assert_array_equal(small[1][..., y, x], masks[block].mean((-2, -1)) > 0.5)
            np.testing.assert_array_equal(small[2][..., y, x], annotated[block].all((-2, -1)))


def test_half_a_block_is_no_majority():
    masks = np.array([[[1, 1], [0, 0]], [[1, 1], [1, 0]]], bool)
    small = store.reduce_image(np.full((1, 2, 2), 255, np.uint8), masks, np.ones_like(masks), 2)
    assert small[0].item() == 1 and small[1].ravel().tolist() == [False, True]


def test_known_heeds_exclusion_both_ways_and_nothing_else():
    #                 a only  b only  c only  none
    masks = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], bool)[:, None]
    annotated = np.zeros_like(masks)
    annotated[0, 0, 3] = True
    known = datasets.known_voxels(masks, annotated, ("a", "b", "c"), {"a": ("b",)})
    assert known[:, 0].astype(int).tolist() == [[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert not annotated[1].any()  # what was given is unchanged


def test_splits_of_the_vnc_stack():
    def span(first, last):
        return list(range(first, last + 1))

    # training sections within two of the test block are left out: 4 and 5, 8 and 9, 12 and 13, 16 and 17
    assert vnc.split_sections(20, 0) == (span(0, 11), span(12, 15), span(16, 19))
    assert vnc.split_sections(20, 1) == (span(6, 15), span(16, 19), span(0, 3))
    assert vnc.split_sections(20, 2) == (span(10, 19), span(0, 3), span(4, 7))
    assert vnc.split_sections(20, 3) == ([*span(0, 3), *span(14, 19)], span(4, 7), span(8, 11))
    assert vnc.split_sections(20, 4) == ([*span(0, 7), 18, 19], span(8, 11), span(12, 15))


@given(block=st.integers(3, 12), gap=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_splits_are_disjoint_blocks_with_a_gap_and_test_all_once(block, gap):
    n, tested = 5 * block, []
    for split in range(5):
        train, validation, test = vnc.split_sections(n, split, gap)
        assert len({*train, *validation, *test}) == len(train) + len(validation) + len(test)
        for part in (validation, test):
            assert part == list(range(part[0], part[0] + block))  # contiguous
        assert (validation[-1] + 1) % n == test[0]  # validation comes before the test, cyclically
        for z in set(range(n)) - {*validation, *test}:
            assert (z in train) == (min(abs(z - t) for t in test) > gap)
        tested += test
    assert sorted(tested) == list(range(n))


def test_seeds_of_the_phantom_are_fixed_and_never_shared():
    assert synthetic.seeds(0) == {"train": [*range(8)], "validation": [8, 9, 10], "test": [11, 12, 13]}
    every = [s for k in range(synthetic.SPLITS) for seeds in synthetic.seeds(k).values() for s in seeds]
    assert len(every) == len(set(every)) == 14 * synthetic.SPLITS


@pytest.fixture
def phantom(monkeypatch):
    """A stand-in of two overlapping-free classes that notes what it is asked for."""
    asked = []

    def make(shape, spacing, seed):
        asked.append((shape, spacing, seed))
        a = np.zeros(shape, bool)
        a[:2] = True
        raw = np.full(shape, 51 + seed % 2, np.uint8)
        return SimpleNamespace(raw=raw, masks={"b": ~a, "a": a}, instances={}, spacing=spacing)

    stand_in = SimpleNamespace(CLASSES=("a", "b"), EXCLUDES={"a": ("b",)}, make=make, asked=asked)
    monkeypatch.setitem(sys.modules, "helpers.phantom", stand_in)
    monkeypatch.setattr("helpers.phantom", stand_in, raising=False)
    synthetic._made.cache_clear()  # neither the stand-in's images nor the phantom's are taken for the other's
    yield stand_in
    synthetic._made.cache_clear()


def test_load_phantom(phantom):
    loaded = datasets.load("phantom", reduce=64, split=1)
    assert (len(loaded.train), len(loaded.validation), loaded.test) == (8, 3, ())
    assert {s for _, _, s in phantom.asked} == {*range(100, 111)}  # the test images were not even made
    assert {(shape, spacing) for shape, spacing, _ in phantom.asked} == {((16, 16), (4.6 * 64,) * 2)}
    image = loaded.train[0]
    assert image.name == "phantom/100" and image.spacing == (4.6 * 64,) * 2
    assert image.raw.shape == (1, 16, 16) and image.raw.dtype == np.float32
    np.testing.assert_allclose(image.raw, 51 / 255)
    assert loaded.classes == ("a", "b") and image.masks.shape == (2, 16, 16)
    assert image.masks[0].sum() == 32 and not (image.masks[0] & image.masks[1]).any()
    assert image.masks.dtype == image.annotated.dtype == image.known.dtype == bool
    assert image.annotated.all() and image.known.all()
    assert loaded.title and loaded.source and loaded.licence and loaded.citation
    assert len(datasets.load("phantom", reduce=64, test=True).test) == 3


def test_load_chosen_classes_in_their_order(phantom):
    both, swapped = datasets.load("phantom", reduce=64), datasets.load("phantom", ["b", "a"], reduce=64)
    assert swapped.classes == ("b", "a")
    np.testing.assert_array_equal(swapped.train[2].masks, both.train[2].masks[::-1])
    assert datasets.load("phantom", "b", reduce=64).train[0].masks.shape == (1, 16, 16)


def test_prepare_phantom_has_nothing_to_do(phantom):
    assert datasets.prepare("phantom") is None


@pytest.mark.parametrize(
    "arguments, options, says",
    [
        (
            ("phantm",),
            {},
            "vnc, fib25, drishti, urocell, mitolab, cem1500k, cellmap, phantom, phantom-discs, phantom-tubes, "
            "phantom-sheets, phantom-trees, or the path of a folder. "
            "Did you mean 'phantom'?",
        ),
        ((None,), {}, "unknown data set None"),
        (("phantom", ["c"]), {}, "no class 'c'; it has a, b"),
        (("vnc", ["mitochondrion"]), {}, "Did you mean 'mitochondria'?"),
        (("phantom", []), {}, "expected one or more of a, b"),
        (("phantom", ["a", "a"]), {}, "each once"),
        (("phantom",), {"reduce": 0}, "reduce is 0; expected 1"),
        (("phantom",), {"reduce": 2.5}, "reduce is 2.5; expected a whole number"),
        (("phantom",), {"reduce": 3}, "reduce is 3, which does not divide"),
        (("phantom",), {"split": 5}, "split is 5; the phantom has 5 splits, 0 to 4"),
        (("phantom",), {"split": -1}, "split is -1"),
        (("phantom",), {"split": "0"}, "split is '0'; expected a whole number"),
        (("phantom",), {"by": "image"}, "data set 'phantom' has no such parameter (its parameters: none)"),
        (("mitolab",), {"crops": "x/1"}, "crops is set to 'x/1', but data set 'mitolab' has no such parameter"),
        (("cem1500k",), {}, "data set 'cem1500k' has no labels, so there is nothing to load: CEM1.5M, unlabelled"),
    ],
)
def test_refusals_say_what_was_expected(phantom, arguments, options, says):
    with pytest.raises(ValueError) as caught:
        datasets.load(*arguments, **options)
    assert says in str(caught.value)


def test_parameters_reach_the_data_set_that_has_them_and_no_other(monkeypatch, phantom):
    seen = []

    def prepare(progress=True, *, size=1.0):
        seen.append(("prepare", size))

    def read(reduce, split, test, *, by="volume"):
        seen.append(("read", by))
        return original(reduce, split, test)

    original = synthetic.read
    monkeypatch.setattr(synthetic, "PARAMETERS", {"size": 1.0, "by": "volume"}, raising=False)
    monkeypatch.setattr(synthetic, "prepare", prepare)
    monkeypatch.setattr(synthetic, "read", read)
    datasets.prepare("phantom", progress=False, size=3.0)
    datasets.load("phantom", reduce=64)
    datasets.load("phantom", reduce=64, by="image")
    datasets.load("phantom", reduce=64, size=2.0)
    expected = [("prepare", 3.0), ("read", "volume"), ("read", "image"), ("prepare", 2.0), ("read", "volume")]
    assert seen == expected
    with pytest.raises(ValueError, match="sise is set to 2, .*its parameters: size, by"):
        datasets.prepare("phantom", sise=2)


def test_a_notebooks_parameters_are_chosen_by_data_set():
    offered = {"pixel_size": 0.0, "by": "volume", "confirm": False, "crops": "", "classes": ""}
    for name in datasets.names():
        assert datasets.choose_parameters(name, offered) == {}
    assert datasets.choose_parameters("mitolab", offered | {"pixel_size": 6.0}) == {"pixel_size": 6.0}
    assert datasets.choose_parameters("cellmap", offered | {"crops": "a/1"}) == {"crops": "a/1"}
    for key, value in {"pixel_size": 6.0, "by": "image", "confirm": True, "crops": "a/1", "classes": "er"}.items():
        with pytest.raises(ValueError, match=f"{key} is set to {value!r}, but data set 'vnc' has no such parameter"):
            datasets.choose_parameters("vnc", offered | {key: value})


@pytest.mark.parametrize("reduce", [15, 16, 17, 31])
def test_sums_of_large_blocks_do_not_overflow(reduce):
    half = reduce * reduce // 2
    masks = np.zeros((2, reduce * reduce), bool)
    masks[0, : half + 1], masks[1, :half] = True, True  # just more than half, and half or just less
    masks = masks.reshape(2, reduce, reduce)
    for dtype in (np.uint8, np.uint16):
        raw = np.full((1, reduce, reduce), np.iinfo(dtype).max, dtype)
        small = store.reduce_image(raw, masks, np.ones_like(masks), reduce)
        assert small[0].item() == 1 and small[1].ravel().tolist() == [True, False] and small[2].all()


def test_split_without_images_is_refused(monkeypatch, phantom):
    monkeypatch.setattr(synthetic, "IMAGES", {"train": 8, "validation": 0, "test": 3})
    with pytest.raises(ValueError, match="split 0 of data set 'phantom' has no validation images"):
        datasets.load("phantom", reduce=64)


def test_built_in_phantom():
    phantom = pytest.importorskip("helpers.phantom")
    loaded = datasets.load("phantom", reduce=16)
    assert loaded.classes == datasets.classes("phantom") == phantom.CLASSES
    images = (*loaded.train, *loaded.validation)
    assert {i.raw.shape for i in images} == {(1, 64, 64)}
    assert all(0 <= i.raw.min() < i.raw.max() <= 1 and i.known.all() for i in images)
    assert len({i.raw.tobytes() for i in images}) == 11
    alone = phantom.make((64, 64), (73.6, 73.6), 9)
    np.testing.assert_array_equal(loaded.validation[1].masks, np.stack([alone.masks[c] for c in loaded.classes]))
    np.testing.assert_array_equal(loaded.validation[1].raw[0], alone.raw.astype(np.float32) / 255)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """All sections of the real data at native pixels, (20, 1024, 1024) each, and the folder of the store."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("prepared")
        patch.setenv("HELPERS_PREPARED", str(folder))
        path = datasets.prepare("vnc", progress=False)
        raw, masks, annotated, _ = store.read_sections(path, "stack1", vnc.CLASSES, range(20))
        yield SimpleNamespace(raw=raw, masks=masks, annotated=annotated, folder=folder)


@needs_real
def test_real_store_equals_its_source(real):
    image = pytest.importorskip("PIL.Image")
    for z in range(20):
        np.testing.assert_array_equal(real.raw[z], np.asarray(image.open(REAL / "raw" / f"{z:02d}.tif")))
        for i, c in enumerate(vnc.CLASSES):
            source = np.asarray(image.open(REAL / c / f"{z:02d}.png"))
            np.testing.assert_array_equal(real.masks[z, i], source > 0)
    assert real.annotated.all()


@needs_real
def test_real_labels_are_what_is_known_of_them(real):
    fractions = real.masks.mean((0, 2, 3))
    np.testing.assert_allclose(fractions, [0.20, 0.054, 0.0056], rtol=0.02)
    membranes, mitochondria, synapses = real.masks.swapaxes(0, 1)
    assert not (mitochondria & synapses).any()
    assert (synapses & membranes).sum() / synapses.sum() == pytest.approx(0.66, abs=0.01)
    # the published merged labels were drawn apart from the masks
    image = pytest.importorskip("PIL.Image")
    labels = np.stack([np.asarray(image.open(p)) for p in sorted((REAL / "labels").iterdir())])
    assert ((labels == 191) == mitochondria).mean() > 0.999


@needs_real
def test_real_load(real, monkeypatch):
    monkeypatch.setenv("HELPERS_PREPARED", str(real.folder))
    monkeypatch.setenv("HELPERS_DATA", str(real.folder / "not needed any more"))
    loaded = datasets.load("vnc", reduce=4, split=1, test=True)
    assert [i.name for i in loaded.train] == [f"stack1/{z:02d}" for z in range(6, 16)]
    assert [i.name for i in loaded.test] == [f"stack1/{z:02d}" for z in range(4)]
    image = loaded.train[1]
    assert image.raw.shape == (1, 256, 256) and image.masks.shape == (3, 256, 256)
    assert image.spacing == pytest.approx((18.4, 18.4)) and image.known.all()
    blocks = real.raw[7].reshape(256, 4, 256, 4)
    np.testing.assert_allclose(image.raw[0], blocks.mean((1, 3)) / 255, rtol=1e-5, atol=1e-7)
    blocks = real.masks[7, 1].reshape(256, 4, 256, 4)
    np.testing.assert_array_equal(image.masks[1], blocks.mean((1, 3)) > 0.5)
    assert datasets.load("vnc", ["mitochondria"], reduce=8).test == ()
    with pytest.raises(ValueError, match="reduce is 3, which does not divide images of 1024 × 1024"):
        datasets.load("vnc", reduce=3)
    with pytest.raises(ValueError, match="split is 5; the VNC stack has 5 splits, 0 to 4"):
        datasets.load("vnc", split=5)


def test_what_is_done_to_an_image_of_the_phantom_is_not_seen_by_the_next_load():
    first = datasets.load("phantom", ("mitochondria",), reduce=16).train[0]
    raw, masks = first.raw.copy(), first.masks.copy()
    first.raw[:], first.masks[:], first.annotated[:] = 0, True, False
    again = datasets.load("phantom", ("mitochondria",), reduce=16).train[0]
    np.testing.assert_array_equal(again.raw, raw)
    np.testing.assert_array_equal(again.masks, masks)
    assert again.annotated.all()
