"""A checkpoint over a Zarr volume: the whole volume's answer, in a store that others can read."""

import hashlib

import numpy as np
import pytest
import zarr
from made_volume import QUIET, make_run, make_volume, smooth, whole

from helpers import inference, objectives, planning
from helpers.apply import apply_run


@pytest.mark.parametrize(
    ("dims", "shape", "block", "objective"),
    [
        (3, (29, 30, 41), (16, 8, 10), "bce"),
        (3, (29, 20, 27), (10, 12, 14), "lov"),
        (3, (17, 18, 50), None, "hot_distance"),
        (2, (5, 70, 83), (2, 24, 32), "lov"),
        (2, (5, 70, 83), None, "tanh_distance"),
        (2, (66, 91), (32, 20), "softmax"),
        (2, (3, 3), None, "bce"),
        (2, (4, 2, 130), (3, 4, 8), "signed_distance"),
    ],
)
def test_in_blocks_it_is_the_answer_of_the_whole(tmp_path, dims, shape, block, objective):
    network = make_run(tmp_path / "run", dims=dims, objective=objective, classes=("a", "b"))
    data = smooth(shape)
    make_volume(tmp_path / "in.zarr", data, (10.0,) * len(shape), axes="zyx"[-len(shape) :])
    out = apply_run(tmp_path / "run", tmp_path / "in.zarr", tmp_path / "out.zarr", block=block, **QUIET)
    expected = whole(network, objectives.get(objective), data, dims)
    found = zarr.open_group(out, mode="r")
    for k, name in enumerate("ab"):
        score, mask = found[f"scores/{name}/0"][:], found[f"masks/{name}/0"][:]
        assert score.dtype == np.float32 and np.abs(score - expected[k]).max() < 1e-5
        assert np.array_equal(mask, score > 0.5)
        assert expected[k].std() > 1e-3, "a constant answer would prove nothing"
    assert found.attrs["complete"] and not (out / ".progress").exists()


RESNETS = [
    (2, (3, 150, 131), (2, 24, 32), {"blocks": 2, "variant": "published"}),
    (2, (3, 150, 131), (2, 32, 24), {"blocks": 2, "variant": "cyclegan"}),
    (2, (203, 182), (48, 64), {"blocks": 9, "width": 2, "variant": "published"}),  # as it was published, but for width
    (2, (203, 182), (48, 64), {"blocks": 9, "width": 2, "variant": "cyclegan"}),
    (2, (2, 5, 90), (1, 4, 8), {"blocks": 1, "variant": "cyclegan", "norm": "none"}),
    (3, (33, 38, 45), (12, 10, 14), {"depth": 1, "blocks": 1, "variant": "published"}),
    (3, (33, 38, 45), (12, 10, 14), {"depth": 1, "blocks": 1, "variant": "cyclegan"}),
    (3, (3, 38, 45), None, {"depth": 1, "blocks": 1, "variant": "cyclegan"}),
]


@pytest.mark.parametrize(("dims", "shape", "block", "model"), RESNETS)
def test_in_blocks_a_residual_networks_answer_is_that_of_the_whole(tmp_path, monkeypatch, dims, shape, block, model):
    """Its padding, by zeros or by reflection, is at the volume's edges and nowhere else."""
    network = make_run(tmp_path / "run", dims=dims, network="resnet", model=model)
    data = smooth(shape)
    make_volume(tmp_path / "in.zarr", data, (10.0,) * len(shape), axes="zyx"[-len(shape) :])
    options = {"block": block, "instances": "none", **QUIET}
    out = apply_run(tmp_path / "run", tmp_path / "in.zarr", tmp_path / "out.zarr", **options)
    expected = whole(network, objectives.get("bce"), data, dims)[0]
    assert expected.std() > 1e-3, "a constant answer would prove nothing"
    found = zarr.open_group(out, mode="r")["scores/a/0"][:]
    difference = np.abs(found - expected)
    edge = np.ones(shape, bool)
    edge[tuple(slice(4, -4) if n > 8 else slice(None) for n in shape)] = False
    assert difference[edge].max() < 1e-5 and difference.max() < 1e-5
    if block is None:
        return
    monkeypatch.setattr(inference, "halo_of", lambda network: (4,) * dims)
    narrow = apply_run(tmp_path / "run", tmp_path / "in.zarr", tmp_path / "narrow.zarr", **options)
    worst = np.abs(zarr.open_group(narrow, mode="r")["scores/a/0"][:] - expected).max()
    assert worst > 1e-4, "this test must be able to fail"


@pytest.mark.parametrize(("dims", "objective"), [(2, "bce"), (2, "lov"), (3, "tanh_distance")])
def test_wherever_the_grid_lies_the_answer_stays(tmp_path, monkeypatch, dims, objective):
    """Boxes shifted by the network's stride, and any others, give the whole volume's answer; with less halo not."""
    network = make_run(tmp_path / "run", dims=dims, objective=objective)
    data = smooth((3, 90, 75) if dims == 2 else (33, 38, 29))
    make_volume(tmp_path / "in.zarr", data)
    plan = planning.make_plan(tmp_path / "run", tmp_path / "in.zarr", tmp_path / "out.zarr", **QUIET)
    expected = whole(network, objectives.get(objective), data, dims)
    stride, rng = network.divisor, np.random.default_rng(0)
    starts = [np.full(3, k * stride) for k in range(1, 4)] + list(rng.integers(0, np.array(data.shape) - 1, (4, 3)))

    def largest_difference():
        worst = 0.0
        for start in starts:
            start = np.minimum(start, np.array(data.shape) - 1)
            box = tuple(slice(int(s), min(int(s) + 11, n)) for s, n in zip(start, data.shape, strict=True))
            found, _ = plan.decode_box(box, "a box")
            worst = max(worst, float(np.abs(found - expected[(slice(None), *box)]).max()))
        return worst

    assert largest_difference() < 1e-5
    monkeypatch.setattr(inference, "halo_of", lambda network: (4,) * dims)
    assert largest_difference() > 1e-4, "this test must be able to fail"


@pytest.mark.parametrize(("dims", "block"), [(2, (1, 24, 24)), (3, (8, 24, 24))])
def test_what_is_blank_is_computed_once_and_answered_as_the_whole_is(tmp_path, monkeypatch, dims, block):
    """Objects in one corner, two greys of nothing in the rest: of these a few windows go through the network."""
    network = make_run(tmp_path / "run", dims=dims)
    data = np.full((16, 144, 144), 90, np.uint8)
    data[:, :20, :20] = smooth((16, 20, 20))
    data[:, 96:] = 0
    make_volume(tmp_path / "in.zarr", data)
    calls, original = [], inference.run
    monkeypatch.setattr(inference, "run", lambda network, raw: calls.append(raw) or original(network, raw))
    options = {"block": block, "instances": "none", "workers": 1, **QUIET}
    out = apply_run(tmp_path / "run", tmp_path / "in.zarr", tmp_path / "out.zarr", **options)
    n_blocks, n_computed = -(-16 // block[0]) * 36, len(calls)
    expected = whole(network, objectives.get("bce"), data, dims)[0]
    assert np.abs(zarr.open_group(out, mode="r")["scores/a/0"][:] - expected).max() < 1e-5
    assert n_computed < n_blocks and sum(np.ptp(raw) == 0 for raw in calls[:n_computed]) > 2


def test_uint8_scores_are_the_scores_within_half_a_step(tmp_path):
    make_run(tmp_path / "run", dims=2, objective="tanh_distance", spacing=8.0)
    make_volume(tmp_path / "in.zarr", smooth((3, 40, 40)), version="0.4", unit="micrometer", spacing=(0.04, 0.01, 0.01))
    for kind in ("float32", "uint8"):
        apply_run(tmp_path / "run", tmp_path / "in.zarr", tmp_path / f"{kind}.zarr", scores=kind, **QUIET)
    exact, coarse = (zarr.open_group(tmp_path / f"{kind}.zarr", mode="r") for kind in ("float32", "uint8"))
    bounds = coarse["scores"].attrs["score"]
    assert bounds == {"of 0": -1.0, "of 255": 1.0}
    back = coarse["scores/a/0"][:] * (2 / 255) - 1
    assert np.abs(back - exact["scores/a/0"][:]).max() <= 1 / 255 + 1e-6
    assert np.array_equal(coarse["masks/a/0"][:], exact["masks/a/0"][:])


def test_reduced_it_reads_what_a_training_on_reduced_images_read(tmp_path):
    from helpers.datasets import reduce_image

    network = make_run(tmp_path / "run", dims=2, spacing=20.0)
    data = smooth((2, 48, 72))
    make_volume(tmp_path / "in.zarr", data, (30.0, 5.0, 5.0))
    with pytest.raises(ValueError, match=r"--reduce 4 makes it fit"):
        apply_run(tmp_path / "run", tmp_path / "in.zarr", tmp_path / "out.zarr", **QUIET)
    out = apply_run(tmp_path / "run", tmp_path / "in.zarr", tmp_path / "out.zarr", reduce=4, block=(1, 8, 8), **QUIET)
    none = np.zeros((0, *data.shape), bool)
    raw = reduce_image(data[None], none, none, 4)[0][0]
    expected = whole(network, objectives.get("bce"), raw, 2, 1.0)
    found = zarr.open_group(out, mode="r")["scores/a"]
    assert np.abs(found["0"][:] - expected[0]).max() < 1e-5
    scale = found.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"]
    assert scale == [30.0, 20.0, 20.0]


@pytest.mark.parametrize(("dtype", "factor"), [(np.uint16, 257), (np.float32, 1 / 255)])
def test_other_number_types_are_the_same_grey(tmp_path, dtype, factor):
    network = make_run(tmp_path / "run", dims=2)
    data = smooth((2, 24, 24))
    make_volume(tmp_path / "in.zarr", (data * np.float64(factor)).astype(dtype))
    out = apply_run(tmp_path / "run", tmp_path / "in.zarr", tmp_path / "out.zarr", **QUIET)
    expected = whole(network, objectives.get("bce"), data, 2)
    assert np.abs(zarr.open_group(out, mode="r")["scores/a/0"][:] - expected[0]).max() < 1e-5


def test_an_image_inside_a_store_an_array_of_an_image_and_a_plain_array(tmp_path):
    make_run(tmp_path / "run", dims=2)
    data = smooth((2, 24, 24))
    zarr.create_group(tmp_path / "in.zarr")
    make_volume(tmp_path / "in.zarr" / "recon" / "em", data)
    zarr.create_array(tmp_path / "plain.zarr", data=data)
    make_volume(tmp_path / "five.zarr", data[None, None], (1.0, 1.0, 10.0, 10.0, 10.0), axes="tczyx")
    call = {
        "image": (tmp_path / "in.zarr" / "recon" / "em", None),
        "array": (tmp_path / "in.zarr" / "recon" / "em" / "0", None),
        "plain": (tmp_path / "plain.zarr", (10.0, 10.0, 10.0)),
        "five": (tmp_path / "five.zarr", None),
    }
    found = []
    for name, (path, spacing) in call.items():
        out = apply_run(tmp_path / "run", path, tmp_path / f"{name}-out.zarr", spacing=spacing, **QUIET)
        found.append(zarr.open_group(out, mode="r")["scores/a/0"][:])
    assert all(np.array_equal(found[0], other) for other in found[1:])


def test_an_independent_reader_opens_every_image(tmp_path):
    v05 = pytest.importorskip("ome_zarr_models.v05")
    from ome_zarr_models.v05.image_label import ImageLabel

    make_run(tmp_path / "run", dims=3, classes=("a", "b"))
    make_volume(tmp_path / "in.zarr", smooth((20, 20, 20)), (12.0, 8.0, 8.0))
    out = apply_run(tmp_path / "run", tmp_path / "in.zarr", tmp_path / "out.zarr", **QUIET)
    for kind in ("scores", "masks", "instances"):
        for name in "ab":
            group = zarr.open_group(out, mode="r")[f"{kind}/{name}"]
            image = (v05.Image if kind == "scores" else ImageLabel).from_zarr(group)
            multiscale = image.ome_attributes.multiscales[0]
            assert [(a.name, a.unit) for a in multiscale.axes] == [(axis, "nanometer") for axis in "zyx"]
            assert multiscale.datasets[0].coordinateTransformations[0].scale == [12.0, 8.0, 8.0]
    attributes = dict(zarr.open_group(out, mode="r").attrs)
    digest = hashlib.sha256((tmp_path / "run" / "checkpoints" / "step-000007.pt").read_bytes()).hexdigest()
    assert attributes["settings"]["checkpoint"] == digest and attributes["settings"]["objective"] == "bce"
    assert attributes["settings"]["cuts"] == {"a": 0.5, "b": 0.5} and len(attributes["settings"]["code"]) == 12
    assert attributes["provenance"]["training"]["dataset"] == "none"
