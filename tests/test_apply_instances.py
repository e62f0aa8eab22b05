"""Instances made block by block are those of the whole volume."""

import json
import threading
import time

import numpy as np
import pytest
import torch
import zarr
from made_volume import label_components, make_run, make_volume, smooth
from scipy import ndimage

from helpers import inference, instances, objectives
from helpers.apply import apply_run


def blobs(shape, seed, sigma=1.6, share=0.16):
    """A mask of small blobs."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), sigma)
    return noise > np.quantile(noise, 1 - share)


def same_partition(found, expected):
    """Equal up to the numbers of the labels."""
    assert np.array_equal(found > 0, expected > 0)
    pairs = np.unique(np.stack((found[found > 0], expected[expected > 0])), axis=1).T
    assert len(pairs) == len(np.unique(pairs[:, 0])) == len(np.unique(pairs[:, 1]))
    assert sorted(np.unique(found[found > 0])) == list(range(1, len(pairs) + 1)), "ids without a gap"


@pytest.mark.parametrize("mode", ["volume", "sections"])
@pytest.mark.parametrize("own", [True, False])
def test_instances_across_borders_are_those_of_the_whole(tmp_path, monkeypatch, mode, own):
    monkeypatch.setattr("helpers.planning.LABEL_BLOCK", {"volume": 12, "sections": 12})
    make_run(tmp_path / "run", dims=2)
    shape = (26, 40, 31)
    make_volume(tmp_path / "in.zarr", smooth(shape))
    (tmp_path / "run" / "decoding.json").write_text(json.dumps({"a": {"cut": 0.5, "seed_height_nm": 8.0}}))
    mask = blobs(shape, 1)
    monkeypatch.setattr(
        "helpers.planning.Plan.decode_box", lambda self, box, where: (mask[box].astype(np.float32)[None], None)
    )

    def label_whole(foreground):
        if own:
            return instances.instances(foreground, None, 8.0, (10.0,) * foreground.ndim)
        return label_components(foreground, None, None)

    if mode == "volume":
        expected = label_whole(mask)
    else:
        expected, count = np.zeros(shape, np.int64), 0
        for z, section in enumerate(mask):
            one = label_whole(section)
            expected[z] = np.where(one > 0, one + count, 0)
            count = expected.max()
    longest = max(
        max(s.stop - s.start for s in box[-2 if mode == "sections" else 0 :])
        for box in ndimage.find_objects(ndimage.label(mask, np.ones((3, 3, 3)))[0])
    )
    options = {"instances": mode, "overlap": longest + 2, "log": lambda line: None}
    out = apply_run(
        tmp_path / "run",
        tmp_path / "in.zarr",
        tmp_path / "out.zarr",
        label=None if own else label_components,
        **options,
    )
    found = zarr.open_group(out, mode="r")
    same_partition(found["instances/a/0"][:], expected)
    assert found.attrs["n_instances"] == {"a": int(expected.max())} and expected.max() > 20


@pytest.mark.parametrize("boundary", [False, True])
def test_connected_components_are_exact_however_large(tmp_path, monkeypatch, boundary):
    monkeypatch.setattr("helpers.planning.LABEL_BLOCK", {"volume": 8, "sections": 8})
    make_run(tmp_path / "run", dims=3)
    shape = (30, 28, 33)
    make_volume(tmp_path / "in.zarr", smooth(shape))
    mask = blobs(shape, 2, sigma=1.2, share=0.25)  # long, winding objects
    if boundary:
        mask = ~blobs(shape, 2, sigma=1.2, share=0.35)
    monkeypatch.setattr(
        "helpers.planning.Plan.decode_box", lambda self, box, where: (mask[box].astype(np.float32)[None], None)
    )
    # filling a membrane looks as far as the membrane is thick, components not at all
    options = {"seed_height": np.inf, "overlap": 8 if boundary else 1, "boundaries": ["a"] if boundary else None}
    out = apply_run(tmp_path / "run", tmp_path / "in.zarr", tmp_path / "out.zarr", **options, log=lambda line: None)
    found = zarr.open_group(out, mode="r")["instances/a/0"][:]
    if boundary:
        expected = instances.components(~mask, diagonals=False)
        same_partition(found * ~mask, expected)
        filled = instances.neurons(mask.astype(np.float32), 0.5, (10.0,) * 3, np.inf)
        names = np.zeros(expected.max() + 1, np.int64)
        names[expected[~mask]] = found[~mask]
        assert np.mean(names[filled] != found) < 1e-2, "but for ties, filled as the whole is"
    else:
        expected = instances.components(mask)
        same_partition(found, expected)
    sizes = [max(s.stop - s.start for s in box) for box in ndimage.find_objects(expected)]
    assert max(sizes) > 20, "some object must be larger than a block and its overlap"


def test_the_networks_own_distance_seeds_the_instances(tmp_path, monkeypatch):
    network = make_run(tmp_path / "run", objective="hot_distance")
    data = smooth((20, 20, 20))
    make_volume(tmp_path / "in.zarr", data)
    monkeypatch.setattr("helpers.planning.LABEL_BLOCK", {"volume": 12, "sections": 12})
    seen = []

    def label(foreground, distance, spacing):
        seen.append((foreground.shape, distance, spacing))
        return label_components(foreground, distance, spacing)

    apply_run(
        tmp_path / "run", tmp_path / "in.zarr", tmp_path / "out.zarr", overlap=30, log=lambda line: None, label=label
    )
    raw = (data / 255).astype(np.float32)[None]
    expected = objectives.get("hot_distance").decode_distance(inference.predict(network, raw), (10.0,) * 3)
    expected = expected[0, 0].numpy()
    assert len(seen) == 8
    for shape, distance, spacing in seen:
        assert shape == data.shape and spacing == (10.0,) * 3 and np.abs(distance - expected).max() < 1e-4


def in_pixels(run, spacing):
    """Make a run one of a training that knew no pixel size."""
    path = run / "checkpoints" / "step-000007.pt"
    state = torch.load(path, weights_only=True)
    torch.save(state | {"task": state["task"] | {"unit": "pixel", "spacing": spacing}}, path)


def test_a_run_trained_in_pixels_is_applied_in_pixels(tmp_path, capsys):
    """Asked for alone; then distances and seed heights are in the training's pixels, nm in the output's metadata."""
    network = make_run(tmp_path / "run", objective="hot_distance")
    in_pixels(tmp_path / "run", [1.0, 2.0, 2.0])  # as of images reduced by 2
    data = smooth((20, 20, 20))
    make_volume(tmp_path / "in.zarr", data, (30.0, 10.0, 10.0))
    call = (tmp_path / "run", tmp_path / "in.zarr", tmp_path / "out.zarr")
    with pytest.raises(
        ValueError, match=r"voxels of 30 x 10 x 10 nm, the training had pixels of no known size, .*any-sp"
    ):
        apply_run(*call)
    assert not (tmp_path / "out.zarr").exists()
    seen = []

    def label(foreground, distance, spacing):
        seen.append((distance, spacing))
        return label_components(foreground, distance, spacing)

    out = apply_run(*call, any_spacing=True, label=label)
    assert (
        "trained in pixels: distances and seed heights ({'a': 20.0}) are in pixels, not nm" in capsys.readouterr().out
    )
    raw = (data / 255).astype(np.float32)[None]
    expected = objectives.get("hot_distance").decode_distance(inference.predict(network, raw), (1.0, 2.0, 2.0))
    ((distance, spacing),) = seen
    assert spacing == (1.0, 2.0, 2.0) and np.abs(distance - expected[0, 0].numpy()).max() < 1e-4
    found = zarr.open_group(out, mode="r")
    assert found.attrs["settings"]["seed_heights_pixel"] == {"a": 20.0}
    assert "seed_heights_nm" not in found.attrs["settings"]
    scale = found["instances/a"].attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"]
    assert scale == found.attrs["settings"]["spacing"] == [30.0, 10.0, 10.0]


@pytest.mark.parametrize("mode", ["volume", "sections"])
def test_seed_heights_in_pixels_part_objects_by_pixels(tmp_path, monkeypatch, mode):
    """Of a 2-D network's volume a section counts as a pixel; the same objects as of a volume of 1 nm."""
    make_run(tmp_path / "run", dims=2)
    in_pixels(tmp_path / "run", [1.0, 1.0])
    mask = blobs((8, 40, 40), 1, sigma=2.5, share=0.3)
    monkeypatch.setattr(
        "helpers.planning.Plan.decode_box", lambda self, box, where: (mask[box].astype(np.float32)[None], None)
    )
    options = {"instances": mode, "any_spacing": True, "seed_height": 1.0, "overlap": 40, "log": lambda line: None}
    for boundaries in ((), ("a",)):
        found = {}
        for nm in (1.0, 30.0):
            folder = tmp_path / f"{nm:g}{len(boundaries)}"
            make_volume(folder / "in.zarr", smooth(mask.shape), (4 * nm, nm, nm))
            out = apply_run(tmp_path / "run", folder / "in.zarr", folder / "out", boundaries=boundaries, **options)
            found[nm] = zarr.open_group(out, mode="r")["instances/a/0"][:]
        np.testing.assert_array_equal(found[1.0], found[30.0])
        if not boundaries:
            sections = [instances.instances(s, None, 1.0, (1.0, 1.0)) for s in mask]
            whole = instances.instances(mask, None, 1.0, (1.0,) * 3)
            expected = whole.max() if mode == "volume" else sum(s.max() for s in sections)
            assert found[1.0].max() == expected > 5


@pytest.mark.parametrize(("memory", "most"), [(600, 4), (0.7, 2), (0.3, 1)])
def test_no_more_windows_are_cut_at_once_than_memory_allows(tmp_path, monkeypatch, memory, most):
    monkeypatch.setattr("helpers.planning.LABEL_BLOCK", {"volume": 8, "sections": 8})
    make_run(tmp_path / "run", dims=2)
    make_volume(tmp_path / "in.zarr", smooth((24, 24, 24)))
    at_work, seen, lock = 0, [], threading.Lock()  # a window of 16^3 voxels takes about a third of a MB

    def label(foreground, distance, spacing):
        nonlocal at_work
        with lock:
            at_work += 1
            seen.append(at_work)
        time.sleep(0.1)  # so long that others would come
        with lock:
            at_work -= 1
        return label_components(foreground, distance, spacing)

    options = {"instances": "volume", "overlap": 4, "block": (8, 16, 16), "log": lambda line: None}
    apply_run(
        tmp_path / "run", tmp_path / "in.zarr", tmp_path / "out", label=label, workers=4, memory=memory, **options
    )
    assert max(seen) == most and len(seen) > 8
