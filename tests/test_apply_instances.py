"""Instances made block by block are those of the whole volume."""

import json
import threading
import time

import numpy as np
import pytest
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
