"""Runs of random weights, small Zarr volumes, and the answer of the whole array, for the tests of applying a run."""

import json

import numpy as np
import torch
import zarr
from scipy import ndimage
from torch import nn

from helpers import checkpoints, inference, models, objectives


def label_components(foreground, distance, spacing):
    return ndimage.label(foreground, np.ones((3,) * foreground.ndim))[0]


def make_run(
    folder,
    *,
    dims=3,
    objective="bce",
    classes=("a",),
    options=None,
    seed=0,
    spacing=10.0,
    network="unet",
    model=None,
):
    """A run's folder with a network of random weights that normalises by what it saw once; returns the network."""
    options = options or {}
    torch.manual_seed(seed)
    channels = objectives.get(objective, **options).channels(dims) * len(classes)
    network = models.build(network, 1, channels, dims=dims, **{"width": 3, "depth": 4 - dims} | (model or {}))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
                module.weight.uniform_(0.8, 1.5)
                module.bias.uniform_(-0.3, 0.3)
                module.momentum = None  # the mean of what it has seen
        network(torch.from_numpy(smooth((2, 1, *(32,) * dims)) / np.float32(255)))
    task = {"objective": objective, "options": options, "classes": list(classes), "spacing": [spacing] * dims}
    task |= {"dataset": "none", "reduce": 1, "code": "x", "boundaries": []}
    (folder / "checkpoints").mkdir(parents=True)
    checkpoints.save(folder / "checkpoints" / "step-000007.pt", checkpoints.of_network(network, 7, task))
    decoding = {name: {"cut": 0.5, "platt": [1.0, 0.0], "seed_height_nm": 20.0} for name in classes}
    (folder / "decoding.json").write_text(json.dumps(decoding))
    (folder / "parameters.json").write_text(json.dumps({"loss": objective}))
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
