"""A checkpoint over a Zarr volume: the whole volume's answer, whatever is killed, split or already there."""

import errno
import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import zarr
from scipy import ndimage
from torch import nn

from helpers import apply, inference, models, objectives, planning
from helpers.apply import apply_run, main

OPTIONS = {"scale_nm": 50.0}


def label_components(foreground, distance, spacing):
    return ndimage.label(foreground, np.ones((3,) * foreground.ndim))[0]


def make_run(folder, *, dims=3, objective="bce", classes=("a",), options=None, seed=0, spacing=10.0, **changes):
    """A run's folder with a network of random weights that normalises by what it saw once."""
    options = options or {}
    torch.manual_seed(seed)
    channels = objectives.get(objective, **options).channels(dims) * len(classes)
    arguments = {"in_channels": 1, "out_channels": channels, "dims": dims, "width": 3, "depth": 4 - dims}
    network = models.UNet(**arguments)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
                module.weight.uniform_(0.8, 1.5)
                module.bias.uniform_(-0.3, 0.3)
                module.momentum = None  # the mean of what it has seen
        network(torch.from_numpy(smooth((2, 1, *(32,) * dims)) / np.float32(255)))
    task = {"objective": objective, "options": options, "classes": list(classes), "spacing": [spacing] * dims}
    state = {"format": 1, "step": 7, "model": {"name": "unet", **arguments}, "network": network.state_dict()}
    state |= {"task": task | {"dataset": "none", "reduce": 1, "code": "x"}, "history": []} | changes
    (folder / "checkpoints").mkdir(parents=True)
    torch.save(state, folder / "checkpoints" / "step-000007.pt")
    decoding = {name: {"cut": 0.5, "platt": [1.0, 0.0], "seed_height_nm": 20.0} for name in classes}
    (folder / "decoding.json").write_text(json.dumps(decoding))
    (folder / "parameters.json").write_text(json.dumps({"loss": objective}))
    if changes:
        return None
    return inference.load_network(folder / "checkpoints" / "step-000007.pt")[0]


def smooth(shape, seed=0):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2.5)
    return np.clip(128 + 250 * noise / noise.std() / 4, 0, 255).astype(np.uint8)


def make_volume(path, data, spacing=(10.0, 10.0, 10.0), version="0.5", unit="nanometer", axes="zyx"):
    """An OME-Zarr image with one level."""
    scales = [{"type": "scale", "scale": list(spacing)}]
    named = [{"name": a, "type": "space", "unit": unit} if unit else {"name": a, "type": "space"} for a in axes]
    multiscales = [{"axes": named, "datasets": [{"path": "0", "coordinateTransformations": scales}]}]
    if version == "0.5":
        group = zarr.create_group(path, attributes={"ome": {"version": "0.5", "multiscales": multiscales}})
    else:
        multiscales[0]["version"] = "0.4"
        group = zarr.create_group(path, zarr_format=2, attributes={"multiscales": multiscales})
    group.create_array("0", data=data, chunks=tuple(min(n, 16) for n in data.shape))
    return path


def whole(network, objective, data, dims, divide=255.0):
    """Scores of the array at once (of each section at once for a 2-D network): (C, *S)."""
    raw = (data / divide).astype(np.float32)
    if dims == data.ndim:
        return objective.decode(inference.predict(network, raw[None]))[0].numpy()
    return np.stack([objective.decode(inference.predict(network, s[None]))[0].numpy() for s in raw], 1)


def tree(path):
    """Every array and attribute of a store."""
    group = zarr.open_group(path, mode="r")
    found = {name: array[:] for name, array in group.arrays()} | {"attributes": dict(group.attrs)}
    for name, _ in group.groups():
        found |= {f"{name}/{key}": value for key, value in tree(path / name).items()}
    return found


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key in one:
        assert np.array_equal(one[key], other[key]), key


QUIET = {"log": lambda line: None, "label": label_components}


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


# --- stopped and split


KILLED = """
import os, sys, time
from helpers import apply
import test_apply
done = apply.Application.{stage}
def slow(self, index):
    done(self, index)
    os.write(1, b"block\\n")  # whole lines from several threads
    time.sleep(0.1)
apply.Application.{stage} = slow
apply.apply_run("run", "in.zarr", "out.zarr", block=(8, 8, 8), overlap=4, label=test_apply.label_components,
                log=lambda line: None, workers=2)
"""


@pytest.mark.parametrize("stage", ["predict", "label", "relabel"])
def test_killed_at_any_stage_the_rest_is_done_and_nothing_twice(tmp_path, root, stage, monkeypatch):
    monkeypatch.setattr("helpers.planning.LABEL_BLOCK", {"volume": 8, "sections": 8})
    make_run(tmp_path / "run")
    make_volume(tmp_path / "in.zarr", smooth((24, 24, 24)))
    options = {"block": (8, 8, 8), "overlap": 4, **QUIET}
    apply_run(tmp_path / "run", tmp_path / "in.zarr", tmp_path / "never.zarr", **options)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root / "src"), str(root / "tests")])}
    code = "from helpers import planning\nplanning.LABEL_BLOCK = {'volume': 8, 'sections': 8}\n" + KILLED.format(
        stage=stage
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment
    )
    finished = [process.stdout.readline() for _ in range(5)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert all(line.startswith("block") for line in finished)

    calls, original = [], getattr(apply.Application, stage)
    monkeypatch.setattr(apply.Application, stage, lambda self, i: (calls.append(i), original(self, i)))
    apply_run(tmp_path / "run", tmp_path / "in.zarr", tmp_path / "out.zarr", **options)
    assert len(calls) == len(set(calls)) and 27 - 7 <= len(calls) <= 27 - 3  # two in flight, two more not yet recorded
    assert_same(tree(tmp_path / "out.zarr"), tree(tmp_path / "never.zarr"))
    calls.clear()
    apply_run(tmp_path / "run", tmp_path / "in.zarr", tmp_path / "out.zarr", **options)
    assert not calls, "a complete store is left alone"
    files = sorted(p.name for p in (tmp_path / "out.zarr").rglob("*") if "partial" in p.name or "progress" in p.name)
    assert files == []


def test_sigterm_ends_with_its_status_and_the_command_goes_on(tmp_path, root):
    make_run(tmp_path / "run", dims=2)
    make_volume(tmp_path / "in.zarr", smooth((40, 48, 48)))
    environment = os.environ | {"PYTHONPATH": str(root / "src")}
    command = [sys.executable, "-m", "helpers.apply", "run", "in.zarr", "out.zarr", "--instances", "none"]
    command += ["--block", "1,16,16"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    record = tmp_path / "out.zarr" / ".progress" / "predict-1of1.txt"
    for _ in range(600):
        if record.exists() and record.stat().st_size > 200:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert "complete" not in process.stdout.read()
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0 and "blocks were done before" in result.stdout, result.stderr
    assert "out.zarr is complete" in result.stdout


def test_jobs_in_any_order_make_the_store_of_one_job(tmp_path, monkeypatch):
    monkeypatch.setattr("helpers.planning.LABEL_BLOCK", {"volume": 16, "sections": 16})
    make_run(tmp_path / "run", objective="tanh_distance")
    make_volume(tmp_path / "in.zarr", smooth((30, 33, 24)))
    call = (tmp_path / "run", tmp_path / "in.zarr")
    options = {"block": (16, 8, 16), "overlap": 6, "cut": 0.0, **QUIET}
    apply_run(*call, tmp_path / "one.zarr", **options)
    parts = tmp_path / "parts.zarr"
    for job in (3, 1):
        apply_run(*call, parts, job=(job, 3), step="predict", **options)
    for step in ("label", "finish"):
        with pytest.raises(ValueError, match=r"of 20 blocks of .* have not gone through predict"):
            apply_run(*call, parts, step=step, **options)
    apply_run(*call, parts, job=(2, 3), step="predict", **options)
    apply_run(*call, parts, job=(2, 2), step="label", **options)
    apply_run(*call, parts, step="finish", **options)
    assert_same(tree(parts), tree(tmp_path / "one.zarr"))
    with pytest.raises(ValueError, match=r"job is 4/3; expected 1/3 to 3/3"):
        apply_run(*call, tmp_path / "wrong.zarr", job=(4, 3), step="predict", **options)


def test_two_processes_at_the_same_job_are_one_too_many(tmp_path):
    from filelock import FileLock

    make_run(tmp_path / "run", dims=2)
    make_volume(tmp_path / "in.zarr", smooth((2, 24, 24)))
    call = (tmp_path / "run", tmp_path / "in.zarr", tmp_path / "out.zarr")
    apply_run(*call, job=(1, 2), step="predict", **QUIET)
    with FileLock(tmp_path / "out.zarr" / ".progress" / "predict-2of2.lock"):
        with pytest.raises(ValueError, match="another process is at predict-2of2"):
            apply_run(*call, job=(2, 2), step="predict", **QUIET)


def test_a_full_disk_is_named_and_when_there_is_room_it_goes_on(tmp_path, monkeypatch):
    from zarr.storage import _local

    make_run(tmp_path / "run")
    make_volume(tmp_path / "in.zarr", smooth((24, 24, 24)))
    call = (tmp_path / "run", tmp_path / "in.zarr")
    options = {"block": (8, 8, 8), **QUIET}
    apply_run(*call, tmp_path / "roomy.zarr", **options)
    put, room = _local._put, [30]

    def filling(path, value, exclusive=False):
        room[0] -= "/c/" in str(path)
        if room[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return put(path, value, exclusive=exclusive)

    monkeypatch.setattr(_local, "_put", filling)
    with pytest.raises(OSError, match=r"no room for .*out.zarr, at block \d+ .*run the same command again") as caught:
        apply_run(*call, tmp_path / "out.zarr", **options)
    assert caught.value.errno == errno.ENOSPC
    room[0] = 10**6
    lines = []
    apply_run(*call, tmp_path / "out.zarr", **options | {"log": lines.append})
    assert any("blocks were done before" in line for line in lines)
    assert_same(tree(tmp_path / "out.zarr"), tree(tmp_path / "roomy.zarr"))


# --- instances


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
    if own:
        instances = pytest.importorskip("helpers.instances")
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
    instances = pytest.importorskip("helpers.instances")
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
    expected = objectives.get("hot_distance").decode_distance(inference.predict(network, raw))[0, 0].numpy()
    assert len(seen) == 8
    for shape, distance, spacing in seen:
        assert shape == data.shape and spacing == (10.0,) * 3 and np.abs(distance - expected).max() < 1e-4


# --- bad input


@pytest.fixture
def ready(tmp_path):
    make_run(tmp_path / "run", dims=2)
    make_volume(tmp_path / "in.zarr", smooth((3, 24, 24)))
    return tmp_path


def refused(ready, says, error=ValueError, source="in.zarr", **options):
    with pytest.raises(error, match=says):
        apply_run(ready / "run", ready / source, ready / "out.zarr", **QUIET | options)
    assert not (ready / "out.zarr").exists()
    assert not list(ready.glob(".out*")), "nothing half-written"


def test_a_volume_that_does_not_fit_is_refused(ready):
    data = smooth((3, 24, 24))
    refused(ready, "is no Zarr array or group", FileNotFoundError, "nowhere.zarr")
    zarr.create_array(ready / "plain.zarr", data=data)
    refused(ready, r"does not say its spacing in nm; give it: --spacing 18.4,18.4,18.4", source="plain.zarr")
    refused(ready, r"expected 3 positive numbers in nm, one for each of zyx", source="plain.zarr", spacing=(4.0, 4.0))
    make_volume(ready / "unitless.zarr", data, unit=None)
    refused(ready, "does not say its spacing", source="unitless.zarr")
    make_volume(ready / "parsec.zarr", data, unit="parsec")
    refused(ready, r"has the unit 'parsec'; expected one of angstrom, nanometer", source="parsec.zarr")
    make_volume(ready / "turned.zarr", data, axes="xyz")
    refused(ready, r"has axes \['x', 'y', 'z'\]; expected yx or zyx", source="turned.zarr")
    make_volume(ready / "colour.zarr", data, axes="cyx")
    refused(ready, r"has 3 channels; the network takes 1", source="colour.zarr")
    make_volume(ready / "film.zarr", data, axes="tyx")
    refused(ready, r"has 3 time points; expected one", source="film.zarr")
    make_volume(ready / "signed.zarr", data.astype(np.int16))
    refused(ready, r"is of type int16; expected uint8, uint16", source="signed.zarr")
    make_volume(ready / "coarse.zarr", data, (10.0, 30.0, 30.0))
    refused(ready, r"has voxels of 30 x 30 nm, the training had 10 x 10 nm; --any-spacing", source="coarse.zarr")
    apply_run(ready / "run", ready / "coarse.zarr", ready / "allowed.zarr", any_spacing=True, **QUIET)
    group = zarr.create_group(ready / "folder.zarr")
    group.create_array("em", data=data)
    refused(ready, r"is a Zarr group without an OME image; it holds em", source="folder.zarr")
    refused(ready, r"reduce is 5, which does not divide images of 24 x 24", reduce=5)
    refused(ready, r"level is 1; .* has 1 resolutions, from 0", level=1)
    make_run(ready / "deep" / "run", dims=3)
    make_volume(ready / "deep" / "in.zarr", data[0], (10.0, 10.0), axes="yx")
    refused(ready / "deep", "is a 2-D image; the network is 3-D")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1.5, -0.1])
def test_numbers_that_are_no_grey_are_named_with_their_block(ready, value):
    data = (smooth((3, 24, 24)) / 255).astype(np.float32)
    data[1, 9, 17] = value
    make_volume(ready / "bad.zarr", data)
    with pytest.raises(ValueError, match=r"voxel \[1, 9, 17\], in block \d+ \(voxels .*\): .* lie in \[0, 1\]"):
        apply_run(ready / "run", ready / "bad.zarr", ready / "out.zarr", block=(1, 8, 8), **QUIET)


def test_a_checkpoint_that_does_not_fit_is_refused(ready):
    path = ready / "run" / "checkpoints" / "step-000007.pt"
    good, state = path.read_bytes(), torch.load(path, weights_only=True)
    path.write_bytes(good[: len(good) // 2])
    refused(ready, r"step-000007.pt is not a checkpoint, or only part of one")
    path.write_bytes(b"years of thesis")
    refused(ready, r"step-000007.pt is not a checkpoint, or only part of one")
    changes = {
        "has format None; expected 1": {"format": None},
        "has 1 output channels; lov of a has 9: it is a checkpoint of another objective": {
            "task": state["task"] | {"objective": "lov"}
        },
        "has 1 output channels; bce of a, b has 2": {"task": state["task"] | {"classes": ["a", "b"]}},
        r"is a checkpoint of dice; the run .* is one of bce": {"task": state["task"] | {"objective": "dice"}},
        "the weights in .* do not fit its own model": {"model": state["model"] | {"width": 5}},
        "model is 'unet-9000'": {"model": state["model"] | {"name": "unet-9000"}},
        "does not say its spacing": {"task": {k: v for k, v in state["task"].items() if k != "spacing"}},
        "has no option 'gama'": {"task": state["task"] | {"options": {"gama": 1}}},
    }
    for says, change in changes.items():
        torch.save(state | change, path)
        if "lov" in says:
            (ready / "run" / "parameters.json").write_text('{"loss": "lov"}')
        refused(ready, says)
        (ready / "run" / "parameters.json").write_text('{"loss": "bce"}')
    torch.save({k: v for k, v in state.items() if k != "task"}, path)
    refused(ready, "has no task")
    path.unlink()
    refused(ready, "has no checkpoints/step-NNNNNN.pt", FileNotFoundError)


def test_options_that_make_no_sense_are_refused(ready):
    refused(ready, "scores is 'half'; expected float32, uint8 or none", scores="half")
    refused(ready, "instances is 'all'; expected volume, sections or none", instances="all")
    refused(ready, "boundaries name 'b'; the network's classes are a", boundaries=["b"])
    refused(ready, r"block is \(3, 9, 8\); expected 3 sizes, multiples of 4", block=(3, 9, 8))
    refused(ready, "2 cuts for 1 classes", cut=(0.1, 0.2))
    refused(ready, "the given cut of a is nan", cut=float("nan"))
    refused(ready, "seed height of a is -1", seed_height=-1)
    refused(ready, "overlap is 0; expected at least 1 voxel", overlap=0)
    refused(ready, "step is 'dance'", step="dance")
    (ready / "run" / "decoding.json").write_text('{"b": {}}')
    refused(ready, "decoding.json has nothing for class 'a'; it has b")
    (ready / "run" / "decoding.json").write_text('{"a": {"cut": NaN, "seed_height_nm": 5}}')
    refused(ready, "the tuned cut of a is nan; expected a number")
    (ready / "run" / "decoding.json").unlink()
    refused(ready, "has no decoding.json with what was chosen on validation; give cut", FileNotFoundError)
    apply_run(ready / "run", ready / "in.zarr", ready / "out.zarr", cut="natural", instances="none", **QUIET)


def test_a_score_without_bounds_does_not_go_into_a_byte(tmp_path):
    make_run(tmp_path / "run", dims=2, objective="distance")
    make_volume(tmp_path / "in.zarr", smooth((2, 16, 16)))
    refused(tmp_path, "the scores of distance have no bounds; choose float32", scores="uint8")
    refused(tmp_path, "the natural cut of a is None; expected a number", cut="natural")


def test_an_output_of_other_settings_or_of_somebody_else_is_refused(ready):
    call = (ready / "run", ready / "in.zarr")
    apply_run(*call, ready / "out.zarr", **QUIET)
    before = tree(ready / "out.zarr")
    with pytest.raises(FileExistsError, match=r"begun with other settings \(cuts: {'a': 0.5} there, {'a': 0.4} now\)"):
        apply_run(*call, ready / "out.zarr", cut=0.4, **QUIET)
    make_volume(ready / "other.zarr", smooth((3, 28, 24)))
    with pytest.raises(FileExistsError, match=r"\(block: .*input: {'name': 'in.zarr'"):
        apply_run(ready / "run", ready / "other.zarr", ready / "out.zarr", block=(1, 8, 8), **QUIET)
    assert_same(tree(ready / "out.zarr"), before)
    (ready / "thesis").mkdir()
    (ready / "thesis" / "chapter.txt").write_text("years")
    with pytest.raises(FileExistsError, match="was not written by this command; choose another output"):
        apply_run(*call, ready / "thesis", **QUIET)
    assert (ready / "thesis" / "chapter.txt").read_text() == "years"


def test_a_network_that_normalises_by_what_it_sees_is_refused(ready, monkeypatch):
    class Grouped(models.UNet):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            for block in self.down:
                block[1] = nn.GroupNorm(1, block[1].num_features)

    state = torch.load(ready / "run" / "checkpoints" / "step-000007.pt", weights_only=True)
    monkeypatch.setattr(models, "UNet", Grouped)
    grouped = Grouped(**{k: v for k, v in state["model"].items() if k != "name"})
    torch.save(state | {"network": grouped.state_dict()}, ready / "run" / "checkpoints" / "step-000007.pt")
    refused(ready, "layer down.0.1 is GroupNorm, which normalises by what it sees")


def test_the_command(ready, capsys, monkeypatch):
    monkeypatch.chdir(ready)
    assert main(["run", "in.zarr", "out.zarr", "--instances", "none", "--job", "1/2"]) == 0
    assert "job 1 of 2 has done its predict; when all have: --finish" in capsys.readouterr().out
    assert main(["run", "in.zarr", "out.zarr", "--instances", "none", "--finish"]) == 1
    assert main(["run", "in.zarr", "out.zarr", "--instances", "none", "--job", "2/2"]) == 0
    assert main(["run", "in.zarr", "out.zarr", "--instances", "none", "--finish"]) == 0
    assert "out.zarr is complete" in capsys.readouterr().out
    assert main(["run", "in.zarr", "out.zarr", "--instances", "none", "--cut", "0.3"]) == 1
    assert "begun with other settings (cuts" in capsys.readouterr().err
    assert main(["nowhere", "in.zarr", "x.zarr"]) == 1
    assert "nowhere has no checkpoints" in capsys.readouterr().err


def test_the_notebook_applies_a_run_and_goes_on(ready, root):
    def papermill(*arguments):
        command = ["papermill", "--no-progress-bar", str(root / "notebooks" / "apply.ipynb"), "out.ipynb", *arguments]
        environment = os.environ | {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}
        return subprocess.run(command, cwd=ready, capture_output=True, text=True, env=environment)

    refused = papermill("-p", "source", "in.zarr")
    assert refused.returncode != 0 and "run is empty: say which, with -p run FOLDER" in refused.stderr
    instances = "sections" if importlib.util.find_spec("helpers.instances") else "none"
    call = ["-p", "run", "run", "-p", "source", "in.zarr", "-p", "output", "out.zarr", "-p", "instances", instances]
    done = papermill(*call)
    assert done.returncode == 0, done.stderr[-2000:]
    assert zarr.open_group(ready / "out.zarr", mode="r").attrs["complete"]
    assert (ready / "runs" / "apply" / "applied.png").is_file()
    other = papermill(*call, "-r", "cut", "0.3")
    assert other.returncode != 0 and "begun with other settings (cuts" in other.stderr
