"""Phantoms of one shape: what differs between them is the shape, and the shapes are what their names say."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import skeletonize

from helpers import datasets, phantom
from helpers.datasets import synthetic
from helpers.phantom_shapes import CLASSES, RADIUS, make

SHAPE, SEEDS, PIXEL = (128, 128), (0, 1, 5), 18.4
EIGHT = np.ones((3, 3))
KINDS = tuple(RADIUS)


@pytest.fixture(scope="module")
def made():
    return {kind: [make(kind, SHAPE, seed=seed) for seed in SEEDS] for kind in KINDS}


def objects(phantoms):
    """The mask of each object, cut out, with a margin of one pixel."""
    for p in phantoms:
        for i, box in enumerate(ndimage.find_objects(p.instances["objects"])):
            yield np.pad(p.instances["objects"][box] == i + 1, 1)


def branch_points(mask):
    """Groups of skeleton pixels that have three or more neighbours."""
    skeleton = skeletonize(mask)
    neighbours = ndimage.convolve(skeleton.astype(int), EIGHT.astype(int), mode="constant") - 1
    return ndimage.label(skeleton & (neighbours >= 3), EIGHT)[1]


def test_the_data_sets_are_the_shapes():
    assert [name for name in datasets.names() if name.startswith("phantom-")] == [f"phantom-{k}" for k in KINDS]


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_bytes(made, kind):
    again = make(kind, SHAPE, seed=SEEDS[1])
    assert again.raw.tobytes() == made[kind][1].raw.tobytes() != made[kind][0].raw.tobytes()
    assert again.instances["objects"].tobytes() == made[kind][1].instances["objects"].tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_types_ids_and_exclusion(made, kind):
    for p in made[kind]:
        assert p.raw.shape == SHAPE and p.raw.dtype == np.uint8 and p.spacing == (PIXEL, PIXEL)
        assert tuple(p.masks) == tuple(p.instances) == CLASSES
        assert not (p.masks["objects"] & p.masks["membranes"]).any()
        ids = np.unique(p.instances["objects"])
        np.testing.assert_array_equal(ids, np.arange(len(ids)))
        np.testing.assert_array_equal(p.masks["objects"], p.instances["objects"] > 0)


def test_all_shapes_lie_in_the_same_tissue_as_the_phantom(made):
    plain = [phantom.make(SHAPE, seed=seed, cell_diameter=480.0) for seed in SEEDS]
    for kind in KINDS:
        for p, q in zip(made[kind], plain, strict=True):
            np.testing.assert_array_equal(p.masks["membranes"], q.masks["membranes"])


def test_equal_fractions_and_areas(made):
    fraction = {k: np.mean([p.masks["objects"].mean() for p in made[k]]) for k in KINDS}
    area = {k: np.mean([m.sum() * PIXEL**2 for m in objects(made[k])]) for k in KINDS}
    for k in KINDS:
        assert fraction[k] == pytest.approx(0.06, rel=0.05)
        assert area[k] == pytest.approx(32000, rel=0.06)


def test_thickness_tells_discs_from_the_thin(made):
    radii = {k: [ndimage.distance_transform_edt(m).max() * PIXEL for m in objects(made[k])] for k in KINDS}
    thickest = max(max(radii[k]) for k in KINDS if k != "discs")
    assert min(radii["discs"]) > 75 > 55 > thickest


def test_thin_objects_are_as_thick_as_they_say(made):
    """Area over the length of the skeleton, which ends half a width before either end of the object."""
    for kind, radius in RADIUS.items():
        if radius is not None:
            width = [m.sum() * PIXEL**2 / (_length(skeletonize(m)) + 2 * radius) for m in objects(made[kind])]
            assert np.mean(width) == pytest.approx(2 * radius, rel=0.15)


def _length(skeleton):
    """nm along a skeleton: its steps to four neighbours, and over corners that no such steps go around."""
    s = skeleton.astype(int)
    straight = (s[1:] * s[:-1]).sum() + (s[:, 1:] * s[:, :-1]).sum()
    a, b, c, d = s[:-1, :-1], s[:-1, 1:], s[1:, :-1], s[1:, 1:]
    corner = (a * d * (1 - b) * (1 - c)).sum() + (b * c * (1 - a) * (1 - d)).sum()
    return PIXEL * (straight + np.sqrt(2) * corner)


def test_trees_branch_and_the_others_do_not(made):
    counts = {k: np.array([branch_points(m) for m in objects(made[k])]) for k in KINDS}
    assert (counts["trees"] >= 2).mean() > 0.95 and 2.3 < counts["trees"].mean() < 3.7
    for k in ("tubes", "sheets"):
        assert (counts[k] == 0).mean() > 0.9


def test_sheets_are_longer_than_tubes_and_tubes_than_discs(made):
    length = {k: np.mean([skeletonize(m).sum() for m in objects(made[k])]) for k in KINDS}
    assert length["sheets"] > 1.4 * length["tubes"] > 1.4 * 3 * length["discs"]


@pytest.mark.parametrize("kind", KINDS)
def test_objects_are_whole_and_do_not_touch(made, kind):
    drawn = sum(p.instances["objects"].max() for p in made[kind])
    assert sum(ndimage.label(p.masks["objects"], EIGHT)[1] for p in made[kind]) >= 0.97 * drawn
    for p in made[kind]:
        for i in range(1, p.instances["objects"].max() + 1):
            assert ndimage.label(p.instances["objects"] == i, EIGHT)[1] == 1
        inner = np.zeros(SHAPE, bool)
        inner[1:-1, 1:-1] = True
        assert not p.masks["objects"][~inner].any()


def test_grey_does_not_give_the_objects_away_and_is_alike(made):
    """Every object's darkness is that of other things too, and the core of an object as dark in all four."""
    core = {}
    for k in KINDS:
        raw, mask = np.stack([p.raw for p in made[k]]), np.stack([p.masks["objects"] for p in made[k]])
        other = ~mask & ~np.stack([p.masks["membranes"] for p in made[k]])
        core[k] = np.median(raw[mask])
        low, high = np.percentile(raw[mask], [10, 90])
        assert (other & (raw >= low) & (raw <= high)).sum() > mask.sum()  # no band of grey is the objects' own
        assert core[k] < np.median(raw[other]) - 15  # yet they can be seen
    assert max(core.values()) - min(core.values()) < 20


def test_load(monkeypatch):
    monkeypatch.setattr(synthetic, "FIELD", 256)  # 64 pixels at the default reduction
    loaded = datasets.load("phantom-discs", ("objects",), test=True, split=2)
    assert loaded.classes == ("objects",) and loaded.boundaries == () and loaded.name == "phantom-discs"
    roles = {"train": loaded.train, "validation": loaded.validation, "test": loaded.test}
    assert {role: len(images) for role, images in roles.items()} == synthetic.IMAGES
    names = [image.name for images in roles.values() for image in images]
    assert len(set(names)) == 14 and names[0] == "phantom-discs/200"
    assert len({i.raw.tobytes() for images in roles.values() for i in images}) == 14
    for image in loaded.train:
        assert image.raw.shape == image.masks.shape == (1, 64, 64) and image.spacing == (18.4, 18.4)
        assert image.raw.dtype == np.float32 and image.known.all()
    alone = make("discs", (64, 64), 18.4, 208)
    np.testing.assert_array_equal(loaded.validation[0].masks[0], alone.masks["objects"])
    assert datasets.load("phantom-discs").boundaries == ("membranes",)
    assert datasets.prepare("phantom-sheets") is None and datasets.source_hashes("phantom-sheets") == {}
    assert datasets.about("phantom-tubes")["made"] and datasets.classes("phantom-tubes") == CLASSES


@pytest.mark.parametrize(
    "arguments, options, says",
    [
        (("stars",), {}, "kind is 'stars', expected one of discs, tubes, sheets, trees"),
        (("tubes", (8, 64, 64)), {}, "expected 2 sizes (y, x): tubes are drawn in 2-D alone"),
        (("discs", (64, 64), 36.8), {}, "spacing is (36.8, 36.8), expected at most 23.3 nm"),
        (("discs",), {"fraction": 1.5}, "fraction is 1.5, expected a number in [0, 1]"),
        (("discs",), {"area": 900.0}, "area is 900.0, expected a number of at least"),
        (("discs",), {"cell_diameter": 0.0}, "cell_diameter is 0.0, expected a number of at least 1"),
        (("discs", (0, 64)), {}, "shape is (0, 64)"),
    ],
)
def test_refusals_say_what_was_expected(arguments, options, says):
    with pytest.raises(ValueError) as caught:
        make(*arguments, **options)
    assert says in str(caught.value)


def test_an_unknown_shape_of_data_set_is_refused_with_the_valid_ones():
    with pytest.raises(ValueError, match="phantom-discs, phantom-tubes, phantom-sheets, phantom-trees"):
        datasets.load("phantom-stars", ("objects",))
