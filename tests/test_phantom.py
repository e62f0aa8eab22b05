"""Synthetic electron microscopy: labels that are what they promise, knobs that do what they say."""

import numpy as np
import pytest
from scipy import ndimage

from helpers.phantom import CLASSES, DENSITY, EXCLUDES, make

ORGANELLES = ("mitochondria", "tubes", "sheets", "vesicles")
CASES = {
    "section": ((160, 192), (18.4, 18.4)),
    "volume": ((36, 40, 44), (16.0, 16.0, 16.0)),
    "thick sections": ((8, 48, 48), (50.0, 18.4, 18.4)),
    "wide in x": ((96, 64), (10.0, 30.0)),
}


@pytest.fixture(scope="module")
def phantoms():
    return {name: make(shape, spacing, seed=3) for name, (shape, spacing) in CASES.items()}


@pytest.fixture(scope="module")
def sections():
    return [make((256, 256), seed=seed) for seed in range(3)]


@pytest.mark.parametrize("name", CASES)
def test_shapes_types_and_ids(phantoms, name):
    shape, spacing = CASES[name]
    p = phantoms[name]
    assert p.raw.shape == shape and p.raw.dtype == np.uint8 and p.spacing == spacing
    assert tuple(p.masks) == tuple(p.instances) == CLASSES
    for c in CLASSES:
        ids = np.unique(p.instances[c])
        assert p.instances[c].shape == shape and p.instances[c].dtype == np.int32
        assert p.masks[c].dtype == bool
        np.testing.assert_array_equal(p.masks[c], p.instances[c] > 0)
        np.testing.assert_array_equal(ids[ids > 0], np.arange(1, p.instances[c].max() + 1))


@pytest.mark.parametrize("name", CASES)
def test_no_voxel_has_two_labels(phantoms, name):
    assert np.sum(list(phantoms[name].masks.values()), axis=0).max() == 1


def test_excludes_is_symmetric_and_irreflexive():
    assert set(EXCLUDES) == set(CLASSES)
    for c, others in EXCLUDES.items():
        assert c not in others
        assert all(c in EXCLUDES[o] for o in others)


@pytest.mark.parametrize("name", ["section", "volume"])
def test_an_instance_is_one_piece(phantoms, name):
    p = phantoms[name]
    every = np.ones((3,) * p.raw.ndim)
    for c in ORGANELLES:
        for i, box in enumerate(ndimage.find_objects(p.instances[c]), start=1):
            assert ndimage.label(p.instances[c][box] == i, every)[1] == 1, (c, i)
    # of membranes they are the components, no fewer
    assert ndimage.label(p.masks["membranes"], every)[1] == p.instances["membranes"].max()


@pytest.mark.parametrize("name", ["section", "thick sections"])
def test_the_same_arguments_give_the_same_bytes(phantoms, name):
    shape, spacing = CASES[name]
    again, other = make(shape, spacing, seed=3), make(shape, spacing, seed=4)
    assert again.raw.tobytes() == phantoms[name].raw.tobytes()
    assert not np.array_equal(other.raw, phantoms[name].raw)
    for c in CLASSES:
        np.testing.assert_array_equal(again.instances[c], phantoms[name].instances[c])
        assert not np.array_equal(other.masks[c], phantoms[name].masks[c])


def test_noise_and_grey_leave_the_labels_alone():
    plain = make((64, 64), seed=1)
    for knobs in ({"electrons": 20}, {"blur_nm": 40}, {"staining": 30}, {"contrast": 0.5}):
        other = make((64, 64), seed=1, **knobs)
        assert not np.array_equal(plain.raw, other.raw), knobs
        for c in CLASSES:
            np.testing.assert_array_equal(plain.instances[c], other.instances[c])


def test_a_finer_spacing_shows_the_same_tissue():
    coarse, fine = make((128, 128), 18.4, seed=2), make((256, 256), 9.2, seed=2)
    for c in CLASSES:
        block = fine.masks[c].reshape(128, 2, 128, 2).mean((1, 3))
        assert coarse.masks[c].mean() == pytest.approx(block.mean(), rel=0.15), c
    for c, least in {"membranes": 0.7, "mitochondria": 0.6}.items():
        block = fine.masks[c].reshape(128, 2, 128, 2).mean((1, 3)) >= 0.5
        overlap = (block & coarse.masks[c]).sum() / (block | coarse.masks[c]).sum()
        assert overlap > least, c
    # and the grey values, which are drawn with the labels
    block = fine.raw.reshape(128, 2, 128, 2).mean((1, 3))
    assert np.corrcoef(block.ravel(), coarse.raw.ravel())[0, 1] > 0.8


def test_sizes_are_nanometres():
    """Lone vesicles and mitochondria without elongation are discs of a known area."""
    alone = dict.fromkeys(ORGANELLES, 0.0)
    empty = {"cell_diameter": 4000, "membrane_thickness": 0, "elongation": 1}
    for c, knob, radius in (
        ("vesicles", "vesicle_radius", 60.0),
        ("mitochondria", "mitochondrion_radius", 150.0),
    ):
        for spacing in (12.0, 24.0):
            n = int(3600 / spacing)
            p = make((n, n), spacing, 5, density=alone | {c: 0.04}, **empty, **{knob: radius})
            areas = np.bincount(p.instances[c].ravel())[1:] * spacing**2
            assert np.median(areas) == pytest.approx(np.pi * radius**2, rel=0.35), (c, spacing)


def test_membranes_have_the_thickness_asked_for():
    """Of thin bands of one length the area is proportional to the thickness."""
    thin, thick = (
        make((200, 200), 6.0, 1, membrane_thickness=t, cell_diameter=300).masks["membranes"].mean()
        for t in (20.0, 40.0)
    )
    assert 1.6 < thick / thin < 2.1  # under 2 where bands meet


@pytest.mark.parametrize("c", ORGANELLES)
def test_density_is_reached_and_zero_is_empty(c):
    full, none = (make((128, 128), seed=6, density={c: v}) for v in (0.03, 0.0))
    assert full.masks[c].mean() == pytest.approx(0.03, rel=0.4)
    assert not none.masks[c].any() and none.instances[c].max() == 0
    assert all(none.masks[o].any() for o in ORGANELLES if o != c)  # what is not named stays


def test_without_membranes_there_are_none():
    assert not make((64, 64), membrane_thickness=0).masks["membranes"].any()


def test_defaults_resemble_a_fly_brain(sections):
    raw = np.stack([p.raw for p in sections]).astype(float)
    assert raw.mean() == pytest.approx(128, abs=12)  # VNC, box-averaged to 18.4 nm: 129 and 48
    assert raw.std() == pytest.approx(50, abs=8)
    for c, density in DENSITY.items():
        assert np.mean([p.masks[c].mean() for p in sections]) == pytest.approx(density, rel=0.1), c
    assert 0.1 < np.mean([p.masks["membranes"].mean() for p in sections]) < 0.25
    assert all(p.instances["mitochondria"].max() >= 6 for p in sections)


def test_labels_are_where_the_grey_values_are(sections):
    """Membranes and mitochondria are darker than cytoplasm, by construction and in every image."""
    for p in sections:
        background = p.raw[~np.any(list(p.masks.values()), axis=0)].mean()
        assert p.raw[p.masks["membranes"]].mean() < background - 50
        assert p.raw[p.masks["mitochondria"]].mean() < background - 30


def test_grey_level_alone_does_not_find_mitochondria(sections):
    """Not trivial: the best of all cuts and blurs, chosen on the image itself. Not hopeless: above chance."""
    for p in sections:
        truth, best = p.masks["mitochondria"], 0.0
        for sigma in (0, 1, 3):
            grey = ndimage.gaussian_filter(p.raw.astype(float), sigma)
            for cut in range(20, 220, 8):
                below = grey < cut
                best = max(best, (below & truth).sum() / (below | truth).sum())
        assert 1.2 * truth.mean() < best < 0.5


def test_fewer_electrons_are_noisier():
    clean = make((128, 128), seed=2, electrons=np.inf).raw.astype(float)
    middle = (clean > 60) & (clean < 200)  # away from the ends of the scale
    for electrons in (1000, 100):
        residual = make((128, 128), seed=2, electrons=electrons).raw - clean
        poisson = clean[middle].mean() * 255 / electrons  # variance of a scaled Poisson variable
        assert residual[middle].var() == pytest.approx(poisson, rel=0.15)


def test_blur_contrast_and_staining():
    def high(p):  # power at the scale of a pixel
        return np.diff(p.raw.astype(float), axis=1).var()

    def low(p):  # grey values over about a micrometre
        return ndimage.gaussian_filter(p.raw.astype(float), 20).std()

    at = {"shape": (160, 160), "seed": 7, "electrons": np.inf}
    assert high(make(blur_nm=30, **at)) < 0.5 * high(make(blur_nm=5, **at))
    assert make(contrast=0.5, **at).raw.std() < 0.7 * make(contrast=1, **at).raw.std()
    assert low(make(staining=40, **at)) > 1.3 * low(make(staining=0, **at))


def test_dark_cells_darken():
    none, many = (make((128, 128), seed=8, dark_cells=f).raw.mean() for f in (0.0, 1.0))
    assert many < none - 30


def test_thick_sections_average_and_label_their_middle():
    """Thin sections of the same tissue: three of them make a thick one, and the middle one has its labels."""
    thin = make((15, 48, 48), 20.0, 9, electrons=np.inf, blur_nm=0)
    thick = make((5, 48, 48), (60.0, 20.0, 20.0), 9, electrons=np.inf, blur_nm=0)
    parts = thin.raw.reshape(5, 3, 48, 48).astype(float)
    unclipped = ((parts > 0) & (parts < 255)).all(1)
    assert unclipped.mean() > 0.9
    np.testing.assert_allclose(thick.raw[unclipped], parts.mean(1)[unclipped], atol=1.01)
    for c in CLASSES:
        np.testing.assert_array_equal(thick.masks[c], thin.masks[c][1::3])


@pytest.mark.parametrize("shape", [(1, 1), (2, 90), (1, 32, 32)])
def test_tiny_fields(shape):
    assert make(shape).raw.shape == shape


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (64,)}, r"shape is \(64,\).*2 or 3"),
        ({"shape": (8, 8, 8, 8)}, "shape is .*2 or 3"),
        ({"shape": (64, 0)}, r"shape is \(64, 0\)"),
        ({"shape": (64, 6.5)}, r"shape is \(64, 6.5\)|shape is \(64.0, 6.5\)"),
        ({"shape": (64, 64), "spacing": (10.0,) * 3}, "spacing is .*expected 2"),
        ({"shape": (64, 64), "spacing": (10.0, 0.0)}, "spacing is .*positive"),
        ({"shape": (64, 64), "spacing": (10.0, -4.0)}, "spacing is .*positive"),
        ({"shape": (64, 64), "spacing": (10.0, np.nan)}, "spacing is .*positive"),
        ({"density": {"nuclei": 0.1}}, "density names 'nuclei', expected mitochondria, tubes"),
        ({"density": {"membranes": 0.1}}, "membrane_thickness"),
        ({"density": {"tubes": 1.5}}, r"density\['tubes'\] is 1.5, expected a number in \[0, 1\]"),
        ({"density": {"tubes": -0.1}}, r"density\['tubes'\] is -0.1"),
        ({"dark_cells": 1.1}, "dark_cells is 1.1"),
        ({"dense_core": -1}, "dense_core is -1"),
        ({"cell_diameter": 0}, "cell_diameter is 0"),
        ({"membrane_thickness": -1}, "membrane_thickness is -1"),
        ({"mitochondrion_radius": 0}, "mitochondrion_radius is 0"),
        ({"elongation": 0.5}, "elongation is 0.5, expected a number of at least 1"),
        ({"tube_radius": 0}, "tube_radius is 0"),
        ({"sheet_thickness": 0}, "sheet_thickness is 0"),
        ({"vesicle_radius": np.nan}, "vesicle_radius is nan"),
        ({"contrast": -1}, "contrast is -1"),
        ({"staining": -1}, "staining is -1"),
        ({"blur_nm": -1}, "blur_nm is -1"),
        ({"electrons": 0}, "electrons is 0"),
    ],
)
def test_errors_name_value_and_remedy(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        make(**arguments)
    assert "expected" in str(error.value) and ":" in str(error.value)
