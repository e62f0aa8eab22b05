"""Partial labels: how much, which class where, nested, and never more than was drawn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.datasets import Image, load
from helpers.datasets.partial import (
    annotate_only,
    annotated_units,
    label_fraction,
    one_class_each,
    training_images,
    units,
)

CLASSES = ("a", "b", "c")
EXCLUDES = {"a": ("b",)}


def made(count=3, shape=(40, 48), seed=0, annotated=1.0):
    """Images of three classes; a and b share no voxel."""
    rng, images = np.random.default_rng(seed), []
    for number in range(count):
        masks = rng.random((3, *shape)) < 0.3
        masks[1] &= ~masks[0]
        there = rng.random((3, *shape)) < annotated
        images.append(
            Image(f"i/{number}", rng.random((1, *shape), np.float32), masks & there, there, there, (5.0,) * 2)
        )
    return tuple(images)


def share(images, k):
    return np.mean([image.annotated[k].mean() for image in images])


@given(
    sizes=st.lists(st.tuples(*[st.integers(1, 30)] * 2), min_size=1, max_size=3),
    block=st.one_of(st.none(), st.integers(1, 40)),
)
@settings(max_examples=60, deadline=None)
def test_units_cover_every_voxel_once(sizes, block):
    images = [made(1, shape)[0] for shape in sizes]
    seen = [np.zeros(shape, int) for shape in sizes]
    for number, window in units(images, block):
        seen[number][window] += 1
        assert all(0 < w.stop - w.start <= (block or 99) for w in window)
    assert all((count == 1).all() for count in seen)


@given(
    small=st.floats(0, 1),
    large=st.floats(0, 1),
    block=st.one_of(st.none(), st.sampled_from([7, 16, 64])),
    seed=st.integers(0, 5),
    how=st.sampled_from(["all", "own", "negatives", "discarded"]),
)
@settings(max_examples=60, deadline=None)
def test_a_smaller_fraction_is_part_of_a_larger_and_both_of_what_was_drawn(small, large, block, seed, how):
    small, large = sorted((small, large))
    images = made(annotated=0.9)

    def some(fraction):
        if how == "all":
            return label_fraction(images, CLASSES, fraction, excludes=EXCLUDES, block=block, seed=seed)
        options = {"others": how, "target": "a", "excludes": EXCLUDES, "block": block, "seed": seed}
        return one_class_each(images, CLASSES, fraction=fraction, **options)

    for whole, less, more in zip(images, some(small), some(large), strict=True):
        for kind in ("masks", "annotated", "known"):
            assert not (getattr(less, kind) & ~getattr(more, kind)).any()
        assert not (more.annotated & ~whole.annotated).any() and not (more.annotated & ~more.known).any()
        np.testing.assert_array_equal(more.masks, whole.masks & more.annotated)
        assert more.raw is whole.raw and more.name == whole.name and more.spacing == whole.spacing
        # what is known without having been drawn is absent in truth
        assert not (whole.masks & more.known & ~more.annotated).any()


def test_all_is_all_none_is_none_and_a_little_is_one_unit():
    images = made()
    for whole, back in zip(images, label_fraction(images, CLASSES, 1.0), strict=True):
        np.testing.assert_array_equal(whole.masks, back.masks)
        assert back.annotated.all() and back.known.all()
    assert not any(i.known.any() or i.masks.any() for i in label_fraction(images, CLASSES, 0.0))
    little = label_fraction(images, CLASSES, 1e-6, block=8)
    assert sum(i.annotated[0].sum() for i in little) == 64


def test_fractions_are_of_units_and_each_class_may_have_its_own():
    images = made(shape=(64, 64))
    half = label_fraction(images, CLASSES, 0.5, block=16)
    assert [share(half, k) for k in range(3)] == [0.5] * 3
    assert all((i.annotated[0] == i.annotated[2]).all() for i in half)
    own = label_fraction(images, CLASSES, {"a": 1.0, "b": 0.25, "c": 0.0}, block=16)
    assert [share(own, k) for k in range(3)] == [1.0, 0.25, 0.0]


def test_another_seed_annotates_other_units_and_the_same_the_same():
    images = made(shape=(64, 64))
    first, again, other = (label_fraction(images, CLASSES, 0.3, block=8, seed=s) for s in (0, 0, 1))
    assert all((a.annotated == b.annotated).all() for a, b in zip(first, again, strict=True))
    assert any((a.annotated != b.annotated).any() for a, b in zip(first, other, strict=True))


def test_each_unit_has_one_class_in_equal_numbers():
    images = made(shape=(48, 48))
    each = one_class_each(images, CLASSES, others="own", block=16)
    for image in each:
        assert (image.annotated.sum(0) == 1).all() and (image.known == image.annotated).all()
    assert [share(each, k) for k in range(3)] == [pytest.approx(1 / 3)] * 3


def test_what_other_classes_units_are_used_for():
    """By hand: one row of three units; the unit of b tells of a where b is labelled, and nowhere else."""
    masks = np.array([[1, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 1], [0, 0, 1, 1, 0, 0]], bool)[:, None]
    full = np.ones_like(masks)
    image = Image("row", np.zeros((1, 1, 6), np.float32), masks, full, full, (1.0, 1.0))
    # units of 2 voxels; drawn for b alone
    drawn = annotate_only([image], CLASSES, {"row": ["b"]}, excludes=EXCLUDES)[0]
    assert drawn.annotated[:, 0].any(1).tolist() == [False, True, False]
    assert drawn.known[0, 0].tolist() == masks[1, 0].tolist()  # a is absent where b is
    assert not drawn.known[2].any()  # b says nothing of c
    got = {
        how: one_class_each([image], CLASSES, others=how, target="a", excludes=EXCLUDES, block=2, seed=3)[0]
        for how in ("discarded", "own", "negatives")
    }
    unit_of = [[u for u in range(3) if got["own"].annotated[k, 0, 2 * u]] for k in range(3)]
    assert sorted(u for units_ in unit_of for u in units_) == [0, 1, 2]
    of_b = slice(2 * unit_of[1][0], 2 * unit_of[1][0] + 2)
    assert not got["own"].known[0, 0, of_b].any()
    assert got["negatives"].known[0, 0, of_b].tolist() == masks[1, 0, of_b].tolist()
    assert got["discarded"].annotated[1:].sum() == 0
    np.testing.assert_array_equal(got["discarded"].annotated[0], got["own"].annotated[0])


def test_of_the_target_a_share_stays_and_of_the_others_all():
    images = made(4, shape=(64, 64))
    whole, some = (
        one_class_each(images, CLASSES, others="negatives", target="b", target_fraction=share, block=16, seed=2)
        for share in (1.0, 0.25)
    )
    assert [share(some, k) / share(whole, k) for k in range(3)] == [1, pytest.approx(5 / 21), 1]  # 21 of 64 units
    assert not any((less.annotated & ~more.annotated).any() for less, more in zip(some, whole, strict=True))


def test_annotated_units_are_images_of_their_own_and_each_class_is_drawn_alike_often():
    images = made(4, shape=(64, 64))
    partly = one_class_each(images, CLASSES, others="own", target="a", target_fraction=0.25, block=16, seed=1)
    found = annotated_units(partly, 16)
    by_name = {image.name: image for image in partly}
    counted = np.zeros(3, int)
    for unit in found:
        name, corner = unit.name.split("@")
        window = (slice(None), *(slice(int(c), int(c) + 16) for c in corner.split(",")))
        for kind in ("raw", "masks", "annotated", "known"):
            np.testing.assert_array_equal(getattr(unit, kind), getattr(by_name[name], kind)[window])
        assert unit.annotated.reshape(3, -1).all(1).sum() == 1 and unit.spacing == (5.0, 5.0)
        counted += unit.annotated.reshape(3, -1).all(1)
    assert len({unit.name for unit in found}) == 5 + 21 + 22  # of 64 units, 21, 21 and 22 a class; 5 of a's
    assert sorted(counted) == [5 * 4, 21, 22]
    assert annotated_units(label_fraction(images, CLASSES, 0.0), 16) == ()


def test_what_a_training_sees():
    data = load("phantom", ("mitochondria", "tubes"), reduce=16)
    settings = {"block": 16, "seed": 0}
    assert training_images(data, "all", 1.0, "tubes", **settings) is data.train
    quarter = training_images(data, "all", 0.25, "tubes", **settings)
    assert len(quarter) == 8 * 16 // 4 and all(unit.known.all() for unit in quarter)
    own, negatives = (training_images(data, how, 0.25, "tubes", **settings) for how in ("own", "negatives"))
    assert len({u.name for u in own}) == 64 + 16 and [u.name for u in own] == [u.name for u in negatives]
    assert sum(u.known.sum() for u in own) < sum(u.known.sum() for u in negatives)
    alone = training_images(data, "discarded", 0.25, "tubes", **settings)
    assert {u.name for u in alone} == {u.name for u in own if u.annotated[1].any()} and len(alone) == 16
    with pytest.raises(ValueError, match="annotated is 'some'; expected one of all, discarded, own, negatives"):
        training_images(data, "some", 1.0, "tubes", **settings)
    with pytest.raises(ValueError, match="share is 0: no block is annotated"):
        training_images(data, "discarded", 0, "tubes", **settings)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda i: label_fraction(i, CLASSES, 1.2), "fraction of a is 1.2; expected a share"),
        (lambda i: label_fraction(i, CLASSES, {"a": 0.5}), "says nothing of b, c"),
        (lambda i: label_fraction(i, CLASSES, {"d": 0.5}), "no class 'd'; there are a, b, c"),
        (lambda i: label_fraction(i, CLASSES, 0.5, block=0), "block is 0"),
        (lambda i: one_class_each(i, CLASSES, others="ignored"), "others is 'ignored'; expected one of discarded"),
        (lambda i: one_class_each(i, CLASSES, others="discarded"), "no target is said"),
        (lambda i: one_class_each(i, CLASSES, others="own", target="x"), "no class 'x'"),
        (lambda i: one_class_each(i, CLASSES, others="own", target_fraction=0.5), "target_fraction is 0.5, but no"),
        (
            lambda i: one_class_each(i, CLASSES, others="own", target="a", target_fraction=2),
            "target_fraction is 2; exp",
        ),
        (lambda i: annotate_only(i, CLASSES, {"nowhere": ["a"]}), "no image 'nowhere'; there are i/0"),
        (lambda i: annotate_only(i, CLASSES, {"i/0": ["z"]}), "no class 'z'"),
    ],
)
def test_refusals(call, says):
    with pytest.raises(ValueError, match=says):
        call(made())
