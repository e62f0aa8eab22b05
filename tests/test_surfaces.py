"""Planes through the weights, what is measured on them, curvature, confidence, and a pixel's view of losses."""

import functools
import json
import math
import os
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
import zarr
from torch import nn

from helpers import datasets, models, objectives, pixel_view, surface_viewer, surfaces, training
from helpers.surfaces import planes, runs, work

CLASSES = ("mitochondria",)
TASK = {"classes": list(CLASSES), "dataset": "phantom", "reduce": 16}
SMALL = {"resolution": 5, "patch": 16, "crops": 2, "moments": (1, 8, 12), "eigenvalues": 2}


def write_run(folder, loss="bce", width=2, steps=12):
    """A short training on the phantom, its checkpoints as a training writes them."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    objective = objectives.get(loss)
    data = datasets.load("phantom", CLASSES, reduce=16)
    network = models.build("unet", 1, objective.channels(2), width=width, depth=2)
    schedule = training.Schedule(steps, 2, 16, 0.02)
    task = TASK | {"objective": loss, "options": dict(objective.options)}
    place = folder / "checkpoints"
    training.train(network, objective, data.train, schedule, folder=place, task=task, log=lambda line: None)
    record = {"loss": loss, "seed": 0, "study": "tiny", "split": 0}
    (folder / "parameters.json").write_text(json.dumps(record))
    return folder


def edit(folder, step, change):
    path = folder / "checkpoints" / f"step-{step:06d}.pt"
    found = torch.load(path, weights_only=True)
    change(found)
    torch.save(found, path)


@pytest.fixture(scope="module", autouse=True)
def one_phantom():
    """The phantom is computed once for all these tests, not at each load."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load", functools.cache(datasets.load))
        yield


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "bce")


@pytest.fixture
def own_run(run_folder, tmp_path):
    return shutil.copytree(run_folder, tmp_path / "run")


@pytest.fixture(scope="module")
def finished(run_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("stores") / "surfaces.zarr"
    surfaces.compute(run_folder, path, surfaces.Plan(**SMALL), log=lambda line: None)
    return path


# ---- the analytic case


def test_a_quadratic_is_exact():
    """f = theta A theta / 2 on numbers that float32 holds: every point of the plane to the last digit."""
    rng = np.random.default_rng(0)
    half = rng.integers(-3, 4, (6, 6))
    a = (half + half.T).astype(np.float64)
    base, first, second = rng.integers(-4, 5, (3, 6)).astype(np.float64)
    x, y = np.arange(-2, 2.5, 0.5), np.arange(-1, 1.5, 0.5)
    matrix = torch.from_numpy(a)

    def function(theta):
        assert theta.dtype == torch.float32
        return [float(theta.double() @ matrix @ theta.double()) / 2, float(theta.sum())]

    directions = torch.tensor(np.stack([first, second]), dtype=torch.float32)
    start = torch.tensor(base, dtype=torch.float32)
    found = np.stack([surfaces.row_values(function, start, directions, x, b) for b in y], 1)
    for j, b in enumerate(y):
        for i, c in enumerate(x):
            theta = base + c * first + b * second
            assert found[0, j, i] == theta @ a @ theta / 2
            assert found[1, j, i] == theta.sum()


def test_curvature_of_a_quadratic_is_its_matrix():
    rng = np.random.default_rng(1)
    q, _ = np.linalg.qr(rng.standard_normal((30, 30)))
    spectrum = np.concatenate((np.linspace(-3, 2, 27), [5.0, 8.0, 11.0]))
    a = torch.from_numpy(q @ np.diag(spectrum) @ q.T)
    theta = torch.from_numpy(rng.standard_normal(30)).requires_grad_()
    found = surfaces.curvature(lambda: theta @ a @ theta / 2, [theta], largest=3, tolerance=1e-8)
    assert found.largest == pytest.approx([11, 8, 5], abs=1e-6)
    assert found.smallest == pytest.approx(-3, abs=1e-6)
    assert found.gradient_norm == pytest.approx(float((a @ theta.detach()).norm()))
    assert found.products > 0


# ---- curvature


def test_curvature_against_autograds_full_hessian():
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    x, t = torch.randn(20, 3).double(), (torch.rand(20, 1) < 0.5).double()
    parameters = list(network.parameters())
    names = [name for name, _ in network.named_parameters()]

    def loss_of(*values):
        output = torch.func.functional_call(network, dict(zip(names, values, strict=True)), (x,))
        return nn.functional.binary_cross_entropy_with_logits(output, t)

    blocks = torch.autograd.functional.hessian(loss_of, tuple(p.detach() for p in parameters))
    rows = [torch.cat([b.reshape(p.numel(), -1) for b in row], 1) for row, p in zip(blocks, parameters, strict=True)]
    true = np.linalg.eigvalsh(torch.cat(rows).numpy())
    found = surfaces.curvature(lambda: loss_of(*parameters), parameters, largest=3, tolerance=1e-8)
    assert found.largest == pytest.approx(true[::-1][:3], abs=1e-7)
    assert found.smallest == pytest.approx(true[0], abs=1e-7)


def test_curvature_of_what_has_none():
    theta = torch.ones(6, requires_grad=True)
    found = surfaces.curvature(lambda: (2 * theta).sum(), [theta], largest=2)
    assert found.largest == (0, 0) and found.smallest == 0
    assert found.gradient_norm == pytest.approx(2 * math.sqrt(6))
    with pytest.raises(ValueError, match="9 eigenvalues of a Hessian of 6 weights; expected from 1 to 4"):
        surfaces.curvature(lambda: theta.square().sum(), [theta], largest=9)
    with pytest.raises(ValueError, match="gradient is not finite"):
        surfaces.curvature(lambda: (theta * math.nan).sum(), [theta], largest=2)


# ---- directions


class Rectified(nn.Module):
    """Convolutions with ReLU between; its layers can be scaled up and down without changing the function."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.layers = nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(3, 4, 3, padding=1), nn.ReLU(),
            nn.Conv2d(4, 1, 1),
        )  # fmt: skip

    def forward(self, x):
        return self.layers(x)


def flat(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def plane_of(network, x):
    weights = flat(network)
    directions = surfaces.random_directions(network, weights, seed=2)

    def function(vector):
        runs.set_weights(network, vector)
        with torch.no_grad():
            return [float(network(x).square().mean())]

    axis = np.linspace(-1, 1, 5)
    return np.stack([surfaces.row_values(function, weights, directions, axis, b) for b in axis], 1)


def test_filter_normalised_planes_do_not_see_the_scale_of_a_rectified_networks_layers():
    x = torch.randn(2, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    plain, scaled = Rectified(), Rectified()
    with torch.no_grad():  # layer 0 times 8, layer 2 divided by 8: exact in binary
        for name, parameter in scaled.named_parameters():
            if name.startswith("layers.0"):
                parameter.mul_(8)
            elif name == "layers.2.weight":
                parameter.div_(8)
    assert torch.equal(plain(x), scaled(x))
    first, second = plane_of(plain, x), plane_of(scaled, x)
    assert np.ptp(first) > 0.1 * first[0, 2, 2]
    np.testing.assert_allclose(second, first, rtol=1e-4)


def test_every_filter_of_a_direction_is_as_long_as_the_networks_own():
    network = Rectified()
    with torch.no_grad():
        network.layers[0].weight[1] = 0  # a dead filter
    weights = flat(network)
    direction = surfaces.filter_normalised(torch.randn(weights.numel()), network, weights)
    start = 0
    for name, p in network.named_parameters():
        d = direction[start : start + p.numel()].view(p.shape)
        start += p.numel()
        if p.ndim == 1:
            assert not d.any(), f"{name} is a bias"
            continue
        axis = 1 if name.startswith("layers.2") else 0  # a transposed convolution's output channels come second
        lengths = [t.transpose(0, axis).flatten(1).norm(dim=1) for t in (d, p.detach())]
        torch.testing.assert_close(*lengths)
    assert not direction[:27].view(3, 9)[1].any()


def test_the_paths_directions_are_those_of_numpys_svd():
    rng = np.random.default_rng(0)
    path = rng.standard_normal((7, 3)) @ np.diag([5, 2, 0.5]) @ rng.standard_normal((3, 40)) + rng.standard_normal(40)
    weights = [torch.tensor(w, dtype=torch.float32) for w in path]
    directions, explained = surfaces.principal_directions(weights)
    centred = path - path.mean(0)
    u, s, vt = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(explained, (s**2 / (s**2).sum())[:2], rtol=1e-5)
    np.testing.assert_allclose(np.abs(np.sum(directions.numpy() * vt[:2], 1)), 1, rtol=1e-5)
    coordinates, shares = surfaces.project(weights, weights[-1], directions)
    expected = (path - path[-1]) @ directions.double().numpy().T
    np.testing.assert_allclose(coordinates, expected, atol=1e-4)
    np.testing.assert_allclose(shares, explained, rtol=1e-4)
    assert (coordinates[-1] == 0).all() and ((path[-1] - path.mean(0)) @ directions.double().numpy().T > 0).all()

    # what diverged is left out, and has no place on the plane
    weights.insert(3, torch.full((40,), math.nan))
    again, _ = surfaces.principal_directions(weights)
    torch.testing.assert_close(again, directions)
    assert (
        np.isnan(surfaces.project(weights, weights[-1], again)[0]).any(1).tolist() == [False] * 3 + [True] + [False] * 4
    )


def test_the_paths_plane_holds_the_whole_path_and_each_moment_exactly():
    weights = [torch.randn(20, generator=torch.Generator().manual_seed(k)) for k in range(6)]
    plane = surfaces.path_plane(weights, (0, 3, 5), resolution=11, margin=0.2)
    for m, moment in enumerate((0, 3, 5)):
        i, j = plane.centre[m]
        assert (plane.x[m, i], plane.y[m, j]) == tuple(plane.path[m, moment])
        assert np.allclose(np.diff(plane.x[m]), np.diff(plane.x[m])[0])
        for axis, d in ((plane.x[m], 0), (plane.y[m], 1)):
            assert axis[0] < plane.path[m, :, d].min() and axis[-1] > plane.path[m, :, d].max()
    np.testing.assert_allclose(plane.x[0], plane.x[2], atol=np.diff(plane.x[0])[0])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"resolution": 4}, "resolution is 4; expected an odd number of points from 5 to 201"),
        ({"resolution": 40}, "resolution is 40; expected an odd number"),
        ({"resolution": 2001}, "resolution is 2001"),
        ({"resolution": 5.0}, "resolution is 5.0"),
        ({"radius": 50.0}, "radius is 50.0; expected a number above 0 and at most 5"),
        ({"radius": math.nan}, "radius is nan"),
        ({"margin": -1.0}, "margin is -1.0; expected a share"),
        ({"planes": ("pca", "umap")}, r"planes is \('pca', 'umap'\); expected one or more of random, pca"),
        ({"losses": ("bse",)}, "loss is 'bse'; expected one of bce"),
        ({"losses": ("focal gama=2",)}, "focal has no option 'gama'"),
        ({"losses": ("focal 2",)}, "expected a name and options, as in 'focal gamma=5'"),
        ({"losses": ("hot_distance",)}, "needs 2 output channels, .* has 1; those that fit: bce, logistic"),
        ({"moments": (3,)}, "step 3 has no checkpoint in .*; there are 1, 2, 4, 8, 12"),
        ({"subset": "test"}, "subset is 'test'; expected one of train, validation"),
        ({"patch": 18}, "patch is 18; this network needs a multiple of 4"),
        ({"patch": 512}, "patch is 512, larger than image"),
        ({"crops": 0}, "crops is 0"),
        ({"eigenvalues": 10**6}, "1000000 eigenvalues of a Hessian"),
    ],
)
def test_what_makes_no_sense_is_refused_and_leaves_nothing(run_folder, tmp_path, change, says):
    with pytest.raises(ValueError, match=says):
        surfaces.compute(run_folder, tmp_path / "s.zarr", surfaces.Plan(**(SMALL | change)), log=lambda line: None)
    assert not (tmp_path / "s.zarr").exists()


def test_a_batch_without_the_class_is_refused(run_folder):
    run = surfaces.load_run(run_folder)
    losses = surfaces.choose_losses(run, ("bce",))
    empty = [replace(image, masks=np.zeros_like(image.masks)) for image in run.data.train]
    run.__dict__["data"] = replace(run.data, train=tuple(empty))
    with pytest.raises(ValueError, match="batch of 2 crops with seed 0 has no voxel of mitochondria"):
        surfaces.fixed_batch(run, losses, crops=2, patch=16)


# ---- runs


def test_a_run_without_checkpoints_says_how_to_make_them(own_run, tmp_path):
    with pytest.raises(FileNotFoundError, match="expected that of a finished run"):
        surfaces.load_run(tmp_path / "nowhere")
    shutil.rmtree(own_run / "checkpoints")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint step-\*.pt in .*: run notebooks/train.ipynb"):
        surfaces.load_run(own_run)


def test_checkpoints_of_differing_networks_or_runs_are_refused(own_run):
    def widen(found):
        found["network"]["head.weight"] = torch.zeros(7, 2, 1, 1)

    edit(own_run, 4, widen)
    with pytest.raises(ValueError, match=r"differing networks: head.weight has shape \(7, 2, 1, 1\) at step 4"):
        surfaces.load_run(own_run)
    edit(own_run, 2, lambda found: found["task"].update(objective="dice"))
    with pytest.raises(ValueError, match="differing runs: task of step 2"):
        surfaces.load_run(own_run)
    (own_run / "checkpoints" / "step-000001.pt").write_bytes(b"PK no torch")
    with pytest.raises(ValueError, match="step-000001.pt is truncated or is no checkpoint"):
        surfaces.load_run(own_run)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"task": {}}, r"step-000004.pt does not say its objective, options, classes, dataset, reduce; train it with"),
        ({"task": TASK}, "does not say its objective, options; train it with"),
        ({"model": None}, "is of a network that models.build does not know"),
        ({"format": 7}, "has format 7; this version of the package reads 1"),
    ],
)
def test_a_checkpoint_that_does_not_say_what_it_is_of_is_refused(own_run, change, says):
    edit(own_run, 4, lambda found: found.update(change))
    with pytest.raises(ValueError, match=says):
        surfaces.load_run(own_run)


# ---- measures and the store


def test_the_centre_of_every_plane_is_the_checkpoints_own_loss(run_folder, finished):
    """Against the checkpoint loaded by itself, the target made by hand, and scikit-learn's Jaccard index."""
    from sklearn.metrics import jaccard_score, log_loss

    run, found = surfaces.load_run(run_folder), surfaces.read(finished)
    assert found.quantities == ("bce", "dice", "focal", "lovasz", "IoU", "cross_entropy")
    batch = surfaces.fixed_batch(run, surfaces.choose_losses(run), crops=2, patch=16)
    target, weight = batch.masks.float(), batch.known.float()
    for m, step in enumerate(found.steps):
        network = models.UNet(1, 1, width=2, depth=2).eval()
        state = torch.load(run_folder / "checkpoints" / f"step-{step:06d}.pt", weights_only=True)
        network.load_state_dict(state["network"])
        with torch.no_grad():
            output = network(batch.raw)
        expected = [float(objectives.get(n).compare(output, target, weight)) for n in found.quantities[:4]]
        truth, p = batch.masks.flatten().numpy(), torch.sigmoid(output).double().flatten().numpy()
        expected += [jaccard_score(truth, p > 0.5, zero_division=0), log_loss(truth, p)]
        for plane in found.planes.values():
            i, j = plane.centre[m]
            np.testing.assert_allclose(plane.values[m, :, j, i], expected, atol=1e-5)
        np.testing.assert_allclose(found.path_values[:, found.path_steps.index(step)], expected, atol=1e-5)


def test_any_point_is_the_network_with_weights_moved_by_hand(run_folder, finished):
    run, found = surfaces.load_run(run_folder), surfaces.read(finished)
    batch = surfaces.fixed_batch(run, surfaces.choose_losses(run), crops=2, patch=16)
    plane = found.planes["pca"]
    directions, _ = surfaces.principal_directions(run.weights)
    m, i, j = 1, 4, 0
    step = found.steps[m]
    network = run.at(step)
    centre = plane.centre[m]
    away = (plane.x[m, i] - plane.x[m, centre[0]], plane.y[m, j] - plane.y[m, centre[1]])
    runs.set_weights(network, run.weights[run.index(step)] + away[0] * directions[0] + away[1] * directions[1])
    with torch.no_grad():
        expected = batch.measure(network(batch.raw))
    np.testing.assert_allclose(plane.values[m, :, j, i], expected, rtol=1e-4)
    assert np.ptp(plane.values[m, 0]) > 0.01, "the plane is flat: nothing was moved"


def test_several_losses_cost_one_pass_of_the_network(run_folder):
    ready = surfaces.Work(run_folder, surfaces.Plan(**SMALL))
    passes = []
    ready.run.network.register_forward_hook(lambda *_: passes.append(1))
    values = ready.compute(("random", 0, 2))
    assert values.shape == (6, 5) and len(passes) == 5


@pytest.mark.parametrize("loss", ["tanh_distance", "hot_distance", "signed_distance", "lov"])
def test_other_objectives_have_surfaces_too(tmp_path, loss):
    folder = write_run(tmp_path / loss, loss, steps=4)
    plan = surfaces.Plan(planes=("pca",), resolution=5, patch=16, crops=2, moments=(4,), eigenvalues=0)
    surfaces.compute(folder, tmp_path / "s.zarr", plan, log=lambda line: None)
    found = surfaces.read(tmp_path / "s.zarr")
    values = dict(zip(found.quantities, found.planes["pca"].values[0], strict=True))
    assert np.isfinite(values[loss]).all() and np.isfinite(values["IoU"]).any()
    assert np.isfinite(values["cross_entropy"]).all() != (loss == "signed_distance")


def test_it_goes_on_where_it_stopped_and_parts_fill_one_store(run_folder, finished, tmp_path, monkeypatch):
    plan, path = surfaces.Plan(**SMALL), tmp_path / "s.zarr"
    computed = []
    original = surfaces.Work.compute

    def counted(self, task):
        if len(computed) == 7:
            raise KeyboardInterrupt
        computed.append(task)
        return original(self, task)

    monkeypatch.setattr(surfaces.Work, "compute", counted)
    with pytest.raises(KeyboardInterrupt):
        surfaces.compute(run_folder, path, plan, log=lambda line: None)
    assert not path.exists()
    with pytest.raises(FileNotFoundError, match="is not finished; compute the same plan again"):
        surfaces.read(path)
    monkeypatch.setattr(surfaces.Work, "compute", original)
    lines = []
    assert surfaces.compute(run_folder, path, plan, part=(1, 2), log=lines.append) is None
    assert "still missing" in lines[-1]
    with pytest.raises(FileExistsError, match="holds other surfaces .plan.radius: 1.0 there, 0.5 now"):
        surfaces.compute(run_folder, path, surfaces.Plan(**SMALL, radius=0.5), log=lambda line: None)
    lines.clear()
    assert surfaces.compute(run_folder, path, plan, part=(0, 2), log=lines.append) == path
    done = int(lines[-1].split("/")[0])
    assert 0 < done <= 17 - 4, f"{done} rows of the first half's 17, of which 4 were there"
    assert [p.name for p in tmp_path.iterdir()] == ["s.zarr"], "something was left beside the store"
    whole, parts = surfaces.read(finished), surfaces.read(path)
    for name, plane in whole.planes.items():
        np.testing.assert_array_equal(parts.planes[name].values, plane.values)
    np.testing.assert_allclose(parts.eigenvalues, whole.eigenvalues, rtol=1e-3)
    with pytest.raises(FileExistsError, match="holds other surfaces"):
        surfaces.compute(run_folder, path, surfaces.Plan(**SMALL, seed=3), log=lambda line: None)


def test_a_store_of_other_code_is_refused(run_folder, finished, tmp_path, monkeypatch):
    plan, quiet = surfaces.Plan(**SMALL), {"log": lambda line: None}
    half = tmp_path / "half.zarr"
    assert surfaces.compute(run_folder, half, plan, part=(0, 34), **quiet) is None
    assert surfaces.compute(run_folder, finished, plan, **quiet) == finished
    hashed, other = [], {"code": "0123456789ab"}
    monkeypatch.setattr("helpers.surfaces.store.modules_hash", lambda names: hashed.append(names) or other["code"])
    for path in (finished, half):
        with pytest.raises(FileExistsError, match=r"holds other surfaces \(code: '\w{12}' there, '0123456789ab' now\)"):
            surfaces.compute(run_folder, path, plan, **quiet)
    made_by = {"losses", "objectives", "targets", "metrics", "models", "crops", "surfaces/planes", "surfaces/work"}
    assert made_by | set(datasets.code("phantom")) <= set(hashed[0])
    before = shutil.copytree(finished, tmp_path / "before.zarr")  # as stores were that did not say their code
    group = zarr.open_group(before, mode="r+")
    group.attrs.put({key: value for key, value in group.attrs.items() if key != "code"})
    with pytest.raises(FileExistsError, match=r"holds other surfaces \(code: None there, "):
        surfaces.compute(run_folder, before, plan, **quiet)
    assert surfaces.read(before).steps == surfaces.read(finished).steps


def test_processes_compute_the_same(run_folder, finished, tmp_path):
    plan = surfaces.Plan(**(SMALL | {"eigenvalues": 0, "planes": ("pca",), "moments": (8,)}))
    path = surfaces.compute(run_folder, tmp_path / "s.zarr", plan, processes=2, log=lambda line: None)
    m = SMALL["moments"].index(8)
    expected = surfaces.read(finished).planes["pca"].values[m]
    np.testing.assert_allclose(surfaces.read(path).planes["pca"].values[0], expected, rtol=1e-5)


def test_a_diverged_step_is_all_nan_and_nothing_else_is(own_run, tmp_path):
    def diverge(found):
        found["network"]["head.weight"][0, 0] = math.inf

    edit(own_run, 8, diverge)
    surfaces.compute(own_run, tmp_path / "s.zarr", surfaces.Plan(**SMALL), log=lambda line: None)
    found = surfaces.read(tmp_path / "s.zarr")
    for plane in found.planes.values():
        assert np.isnan(plane.values[1]).all() and (plane.centre[1] == -1).all()
        assert np.isfinite(plane.values[[0, 2]]).all()
        assert np.isnan(plane.path[0, 3]).all() and np.isfinite(plane.path[0, [0, 1, 2, 4]]).all()
    assert np.isnan(found.eigenvalues[1]).all() and np.isfinite(found.eigenvalues[[0, 2]]).all()
    assert np.isnan(found.path_values[:, 3]).all()
    for step in (1, 2, 4):
        edit(own_run, step, diverge)
    with pytest.raises(ValueError, match="1 of 5 checkpoints are finite; the path's directions need at least 3"):
        surfaces.compute(own_run, tmp_path / "t.zarr", surfaces.Plan(**SMALL), log=lambda line: None)


def test_moments_spread_from_the_first_checkpoint_to_the_last():
    assert work.spread((1, 2, 4, 8, 16, 32, 64, 128, 200)) == (1, 4, 16, 64, 200)
    assert work.spread((5, 6)) == (5, 6)


def test_a_grid_needs_its_middle():
    with pytest.raises(ValueError, match="resolution is True"):
        planes.check_grid(True)


# ---- confidence through training


def test_confidence_at_every_checkpoint(own_run):
    run = surfaces.load_run(own_run)
    with torch.no_grad():
        logits = run.at(4)(torch.from_numpy(run.data.validation[0].raw)[None])
    # at step 4, a network that finds foreground in half of an image
    edit(own_run, 4, lambda found: found["network"]["head.bias"].sub_(logits.median()))
    table = surfaces.through_training(own_run)
    assert table["step"].tolist() == [1, 2, 4, 8, 12] and set(table["class"]) == {"mitochondria"}
    run = surfaces.load_run(own_run)
    for step in run.steps:
        network, probabilities, truths = run.at(step), [], []
        for image in run.data.validation:
            with torch.no_grad():
                p = torch.sigmoid(network(torch.from_numpy(image.raw)[None]))[0, 0].double().numpy()
            probabilities.append(p[image.known[0]])
            truths.append(image.masks[0][image.known[0]])
        p, truth = np.concatenate(probabilities), np.concatenate(truths)
        row = table[table["step"] == step].iloc[0]
        assert row["confidence_foreground"] == pytest.approx(p[truth].mean(), abs=1e-6)
        assert row["confidence_background"] == pytest.approx(1 - p[~truth].mean(), abs=1e-6)
        assert row["accuracy"] == pytest.approx(((p > 0.5) == truth).mean())
        both, either = ((p > 0.5) & truth).sum(), ((p > 0.5) | truth).sum()
        assert row["iou"] == pytest.approx(both / either)
        assert row["brier"] == pytest.approx(((p - truth) ** 2).mean(), abs=1e-6)
        assert 0 <= row["ece"] <= row["mce"] <= 1 and row["finite"] and row["images"] == len(run.data.validation)
    assert table["iou"].nunique() > 1 and table["accuracy"].nunique() > 1


def test_confidence_of_a_diverged_step_is_nan(own_run):
    edit(own_run, 12, lambda found: found["network"]["head.bias"].fill_(math.nan))
    table = surfaces.through_training(own_run, steps=(8, 12)).set_index("step")
    columns = ["accuracy", "iou", "confidence_foreground", "brier"]
    assert table.loc[12, columns].isna().all() and not table.loc[12, "finite"]
    assert table.loc[8, "finite"] and np.isfinite(table.loc[8, "accuracy"])
    with pytest.raises(ValueError, match="subset is 'test'"):
        surfaces.through_training(own_run, subset="test")


# ---- a pixel's view

ON_ONE_HOT = [n for n in objectives.names() if objectives.get(n).channels(2) == 1 and n != "softmax_published"]


@pytest.mark.parametrize("name", ON_ONE_HOT)
def test_the_gradient_of_a_logit_curve_is_its_losss_slope(name):
    """Central differences of the loss, in float64, away from kinks; but where a factor is hidden from autograd."""
    objective = objectives.get(name)
    z = np.array([-2.3, -0.4, 0.3, 1.7])
    step = 1e-5
    around = pixel_view.Surrounding(40, 0.25)
    grid = np.concatenate([z - step, z, z + step])
    for curve in pixel_view.logit_curves(objective, grid, surrounding=around):
        low, _, high = curve.loss.reshape(3, -1)
        slope = (high - low) / (2 * step)
        gradient = curve.gradient.reshape(3, -1)[1]
        if name == "focal_detached":
            assert np.abs(gradient - slope).max() > 0.05
        else:
            np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-5)


def test_logit_curves_worked_by_hand():
    at = np.array([0.0])
    focal, detached = (pixel_view.logit_curves(objectives.get(n), at)[0] for n in ("focal", "focal_detached"))
    assert focal.loss[0] == pytest.approx(math.log(2) / 4, abs=1e-9) == detached.loss[0]
    assert focal.gradient[0] == pytest.approx(-(0.125 + math.log(2) / 4), abs=1e-9)
    assert detached.gradient[0] == pytest.approx(-0.125, abs=1e-9)
    true, false = pixel_view.logit_curves(objectives.get("bce"), at)
    assert (true.gradient[0], false.gradient[0]) == pytest.approx((-0.5, 0.5))
    assert not true.others and not false.others
    # weight 5 on a tenth of the pixels: 5 / 1.4 and 1 / 1.4 of the plain gradient
    true, false = pixel_view.logit_curves(objectives.get("bce", positive_weight=5.0), at)
    assert (true.gradient[0], false.gradient[0]) == pytest.approx((-2.5 / 1.4, 0.5 / 1.4))


def test_overlap_losses_say_that_they_look_at_the_other_pixels():
    z = np.linspace(-2, 2, 5)
    for name, others in {"dice": True, "lovasz": True, "tversky": True, "focal": False, "square": False}.items():
        assert all(curve.others == others for curve in pixel_view.logit_curves(objectives.get(name), z)), name


def test_a_regression_has_its_least_loss_at_its_target():
    true, false = pixel_view.logit_curves(objectives.get("signed_distance"), [-1.0, 0.0, 0.5, 2.0], targets=(0.5, -1.0))
    np.testing.assert_allclose(true.loss, [2.25, 0.25, 0, 2.25], atol=1e-9)
    np.testing.assert_allclose(false.loss, [0, 1, 2.25, 9], atol=1e-9)
    np.testing.assert_allclose(true.gradient, [-3, -1, 0, 3], atol=1e-9)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: pixel_view.logit_curves(objectives.get("hot_distance"), [0.0]), "has 2 channels for each class"),
        (lambda: pixel_view.logit_curves(objectives.get("softmax_published"), [0.0]), "needs two or more"),
        (lambda: pixel_view.logit_curves(objectives.get("bce"), [0.0, math.nan]), "not finite"),
        (lambda: pixel_view.Surrounding(foreground=0.0), "foreground is 0.0 of 1000 pixels"),
        (lambda: pixel_view.Surrounding(pixels=1), "pixels is 1"),
    ],
)
def test_what_has_no_logit_curve_says_why(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_the_shares_of_the_pixels_are_their_losses_and_average_to_the_loss():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2, 1, 7, 7, generator=generator, dtype=torch.float64)
    t = (torch.rand(2, 1, 7, 7, generator=generator) < 0.3).double()
    w = torch.rand(2, 1, 7, 7, generator=generator, dtype=torch.float64)
    w[0, 0, :2] = 0
    shares = pixel_view.loss_map(objectives.get("bce"), z, t, w)
    own = nn.functional.binary_cross_entropy_with_logits(z, t, reduction="none").numpy()
    assert np.isnan(shares[w.numpy() == 0]).all()
    np.testing.assert_allclose(shares[w.numpy() > 0], own[w.numpy() > 0], rtol=1e-12)
    dice = objectives.get("dice")
    shares = pixel_view.loss_map(dice, z, t, w)
    mean = np.nansum(shares * w.numpy()) / float(w.sum())
    assert mean == pytest.approx(float(dice.compare(z, t, w)), abs=0.05), "but for the smoothing term"
    assert shares[(w > 0).numpy() & (t > 0).numpy()].mean() < shares[(w > 0).numpy() & (t == 0).numpy()].mean()
    with pytest.raises(ValueError, match="lovasz gives no share of a pixel"):
        pixel_view.loss_map(objectives.get("lovasz"), z, t, w)
    with pytest.raises(ValueError, match="no pixel has a weight"):
        pixel_view.loss_map(dice, z, t, torch.zeros_like(w))


def test_maps_of_one_image_through_training(run_folder):
    run = surfaces.load_run(run_folder)
    image = run.data.validation[0]
    moments = pixel_view.maps_through_training(run, image, "mitochondria", (1, 12))
    network = run.at(12)
    with torch.no_grad():
        p = torch.sigmoid(network(torch.from_numpy(image.raw)[None]))[0, 0].double().numpy()
    truth = np.where(image.masks[0], p, 1 - p)
    known = image.known[0]
    np.testing.assert_allclose(moments[1].confidence[known], truth[known], atol=1e-5)
    np.testing.assert_allclose(moments[1].loss[known], -np.log(truth[known]), atol=1e-4)
    assert [m.step for m in moments] == [1, 12] and not np.allclose(moments[0].loss, moments[1].loss)
    with pytest.raises(ValueError, match="class is 'axons'; the run has mitochondria"):
        pixel_view.maps_through_training(run, image, "axons", (1,))


# ---- figures and the notebook


def test_figures_of_what_diverged_can_be_drawn(own_run, tmp_path):
    from helpers import figures
    from helpers.figures import surfaces as surface_figures

    edit(own_run, 8, lambda found: found["network"]["head.weight"].fill_(math.nan))
    surfaces.compute(own_run, tmp_path / "s.zarr", surfaces.Plan(**SMALL), log=lambda line: None)
    found = surfaces.read(tmp_path / "s.zarr")
    for name in found.planes:
        figures.save(surface_figures.contours(found, name, ("bce", "IoU")), tmp_path / f"{name}.png")
    figures.save(surface_figures.curvature(found), tmp_path / "curvature.png")
    curves = {n: pixel_view.logit_curves(objectives.get(n), np.linspace(-2, 2, 5)) for n in ("bce", "dice")}
    figures.save(surface_figures.logit_curves(curves), tmp_path / "curves.png")
    run = surfaces.load_run(own_run)
    image = run.data.validation[0]
    moments = pixel_view.maps_through_training(run, image, "mitochondria", (1, 8))
    figures.save(surface_figures.maps(image, image.masks[0], moments, "bce"), tmp_path / "maps.png")
    assert len(list(tmp_path.glob("*.png"))) == 5
    data = surface_viewer.viewer_data(found)
    assert data["planes"][0]["summary"][0][1] == {
        "centre": None, "best": None, "lowest": None, "highest": None, "missing": 25
    }  # fmt: skip


def test_curves_have_their_objectives_colours_and_no_two_look_alike():
    from helpers import figures
    from helpers.figures import surfaces as surface_figures

    def lines(labels):
        curve = pixel_view.Curve(True, np.zeros(2), np.zeros(2), np.zeros(2), False)
        figure = surface_figures.logit_curves(dict.fromkeys(labels, (curve, curve)))
        found = {x.get_label(): (x.get_color(), x.get_linestyle()) for x in figure.axes[0].lines}
        return [found[label] for label in labels]

    own = ["bce", "approx_ce", "hinge", "square", "l1", "dice", "lovasz"]
    assert [colour for colour, _ in lines(own)] == [figures.colour(name) for name in own]
    focal = [f"{name} gamma={g}" for name in ("focal", "focal_detached") for g in (1, 2)]
    looks = lines(focal)
    assert looks[0][0] == looks[2][0] != looks[1][0] == looks[3][0] and looks[0][1] == looks[1][1] != looks[2][1]
    for labels in (own, focal, [f"bce positive_weight={w}" for w in range(1, 15)], ["bce", "my_losses:mine"]):
        assert len(set(lines(labels))) == len(labels)


def papermill(root, folder, *arguments):
    command = [
        "papermill",
        "--no-progress-bar",
        root / "notebooks" / "surfaces.ipynb",
        "out.ipynb",
        "-p",
        "threads",
        "1",
    ]
    environment = os.environ | {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    return subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True, env=environment)


@pytest.mark.slow
def test_the_notebook_makes_everything_of_a_run_of_its_own(root, tmp_path):
    small = ["-p", "resolution", "5", "-p", "patch", "32", "-p", "crops", "2", "-y", "moments: [1, 64, 100]"]
    result = papermill(root, tmp_path, *small)
    assert result.returncode == 0, result.stderr[-2000:]
    made = {path.name for path in (tmp_path / "build" / "surfaces").iterdir()}
    assert {"surfaces.zarr", "surfaces.json", "surfaces.html", "confidence.csv", "curvature.csv", "maps.png"} <= made
    found = surfaces.read(tmp_path / "build" / "surfaces" / "surfaces.zarr")
    assert found.steps == (1, 64, 100) and set(found.planes) == {"random", "pca"}
    page = (tmp_path / "out.ipynb").read_text()
    assert 'figure class=\\"surface-viewer\\"' in page and len(page) < 3_000_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-p", "run", "nowhere"], "there is no nowhere in"),
        (["-p", "resolution", "40"], "resolution is 40; expected an odd number"),
        (["-p", "resolutions", "41"], "unknown parameter 'resolutions' (did you mean 'resolution'?)"),
        (["-p", "run", "empty"], "no checkpoint step-*.pt in"),
    ],
)
def test_bad_input_stops_the_notebook(root, tmp_path, arguments, says):
    (tmp_path / "empty").mkdir()
    result = papermill(root, tmp_path, *arguments)
    assert result.returncode != 0 and says in result.stderr, result.stderr[-1500:]
