"""The loop: learns, repeats itself exactly, samples what it says, and refuses what it cannot do."""

import dataclasses
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import checkpoints, metrics, models, objectives, steps, training
from helpers.datasets import known_voxels
from helpers.inference import scores
from helpers.postprocess import best_cut
from helpers.training import Schedule, train


def run(images, name="bce", seed=0, folder=None, **schedule):
    training.seed_everything(seed, 1)
    objective = objectives.get(name)
    network = models.UNet(1, objective.channels(2), width=4, depth=2)
    plan = Schedule(**({"steps": 30, "batch": 2, "patch": 32, "learning_rate": 1e-2} | schedule))
    history = train(network, objective, images, plan, seed=seed, device="cpu", folder=folder, log=lambda line: None)
    return network, objective, history


@pytest.mark.parametrize("name", [n for n in objectives.names() if n != "softmax_published"])  # it needs two classes
def test_every_objective_learns_discs(discs, name):
    network, objective, history = run([discs(s) for s in range(4)], name, steps=60)
    assert history[-1]["loss"] < history[0]["loss"]
    image = discs(99)
    score = scores(network, objective.decode, [image])[0]
    cut = objective.natural_cut
    cut = best_cut([score], [image.masks], [image.known]) if cut is None else cut
    assert metrics.counts(score[0] > cut, image.masks[0]).iou > 0.6


def test_an_unbounded_target_is_that_of_the_whole_image_wherever_the_crop_is(discs):
    image = discs(3)
    whole = [torch.from_numpy(a)[None] for a in (image.masks, image.annotated, image.known)]
    objective = objectives.get("signed_distance")
    target, weight = objective.encode(*whole, image.spacing)
    seen = []

    def compare(output, given, counts):
        seen.append((given, counts))
        return objective.compare(output, given, counts)

    network = models.UNet(1, 1, width=2, depth=1)
    plan = Schedule(steps=4, batch=2, patch=16)
    watched = dataclasses.replace(objective, compare=compare)
    train(network, watched, [image], plan, device="cpu", augmentation="none", lines=1, log=lambda line: None)
    windows = {
        tuple(w.flatten().tolist()): v.flatten().tolist()
        for y in range(33)
        for x in range(33)
        for w, v in [(target[0, 0, y : y + 16, x : x + 16], weight[0, 0, y : y + 16, x : x + 16])]
    }
    for given, counts in seen:
        for crop, count in zip(given[:, 0], counts[:, 0], strict=True):
            assert windows[tuple(crop.flatten().tolist())] == count.flatten().tolist()
    with pytest.raises(ValueError, match="needs whole images"):
        train(network, objective, [image], plan, device="cpu", augmentation="affine")


def test_partial_labels_and_true_negatives_reach_the_loss_as_declared(discs):
    """Class a is annotated on the left half alone; where b is labelled, a is known to be absent."""
    masks = np.concatenate([discs(0).masks, discs(1).masks & ~discs(0).masks])
    annotated = np.ones_like(masks)
    annotated[0, :, 24:] = False
    known = known_voxels(masks, annotated, ("a", "b"), {"a": ("b",)})
    image = dataclasses.replace(discs(0), masks=masks, annotated=annotated, known=known)
    objective, seen = objectives.get("hot_distance"), []

    def compare(output, target, weight):
        seen.append((target[0].numpy(), weight[0].numpy() > 0))
        return objective.compare(output, target, weight)

    network = models.UNet(1, 4, width=2, depth=1)
    plan = Schedule(steps=1, batch=1, patch=48)
    watched = dataclasses.replace(objective, compare=compare)
    train(network, watched, [image], plan, device="cpu", augmentation="none", lines=1, log=lambda line: None)
    target, counts = seen[0]
    np.testing.assert_array_equal(counts[:2], known)
    negatives = known[0] & ~annotated[0]
    assert negatives.sum() > 20 and (target[0][negatives] == 0).all()
    assert not (counts[2:] & ~annotated).any() and counts[2].any(), "distances learn from what is annotated alone"
    assert not counts[2, :, 23].any(), "beside what is not annotated no distance can be trusted"


def test_rotated_crops_show_the_same_pixels_whatever_the_halo(discs):
    shown = {}
    for name in ("bce", "tanh_distance"):
        objective = objectives.get(name)

        class Watch(models.UNet):
            def forward(self, raw, name=name):
                shown.setdefault(name, []).append(raw.detach().clone())
                return super().forward(raw)

        plan = Schedule(steps=2, batch=2, patch=16)
        quiet = {"device": "cpu", "augmentation": "affine", "lines": 1, "log": lambda line: None}
        train(Watch(1, 1, width=2, depth=1), objective, [discs(0)], plan, **quiet)
    for a, b in zip(*shown.values(), strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def test_the_same_seed_gives_the_same_numbers_and_another_does_not(discs):
    images = [discs(s) for s in range(3)]
    first, again, other = (run(images, "hot_distance", seed)[0] for seed in (1, 1, 2))
    weights = [torch.cat([p.flatten() for p in network.parameters()]) for network in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_checkpoints_at_log_spaced_steps_hold_the_weights(discs, tmp_path):
    network, _, history = run([discs(0)], folder=tmp_path / "checkpoints", steps=20)
    files = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert files == ["resume.pt"] + [f"step-{step:06d}.pt" for step in (1, 2, 4, 8, 16, 20)]
    copy = models.UNet(1, 1, width=4, depth=2)
    assert checkpoints.load_weights(tmp_path / "checkpoints" / files[-1], copy) == 20
    for a, b in zip(network.state_dict().values(), copy.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert [entry["step"] for entry in history] == list(range(2, 21, 2))


def test_what_is_not_annotated_is_not_learnt_from_and_is_reported(discs):
    blind = discs(0, annotated=False)
    lines = []
    training.seed_everything(0, 1)
    network = models.UNet(1, 1, width=2, depth=1)
    before = [p.clone() for p in network.parameters()]
    plan = Schedule(steps=3, batch=2, patch=16, learning_rate=1e-3)
    history = train(network, objectives.get("bce"), [blind], plan, device="cpu", lines=1, log=lines.append)
    assert history[0]["loss"] == 0 and history[0]["unweighted"] == 1
    assert "batches without labels 100%" in lines[0]
    decay = (1 - 1e-3 * 1e-2) ** 3  # AdamW's weight decay alone may have moved them
    for a, b in zip(before, network.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1 - decay, atol=1e-8)


def test_one_step_and_interval_edge_cases(discs):
    _, _, history = run([discs(0)], steps=1)
    assert [entry["step"] for entry in history] == [1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"patch": 64}, r"patch is 64, larger than image disc/0 of size \(48, 48\)"),
        ({"patch": 30}, "needs a multiple of 4"),
        ({"steps": 0}, "steps is 0"),
        ({"batch": 2.5}, "batch is 2.5"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"shape": "flat"}, "shape is 'flat'; expected one of one-cycle, cosine"),
        ({"clip": 0}, "clip is 0"),
        ({"balance": 2}, "balance is 2"),
        ({"patch": (16, 0)}, r"patch is \(16, 0\)"),
        ({"patch": (16, 16, 16)}, r"patch is \(16, 16, 16\); expected one number, or 2"),
    ],
)
def test_bad_schedules_are_named(discs, change, says):
    with pytest.raises(ValueError, match=says):
        run([discs(0)], **change)


def test_no_images_mixed_spacings_and_oblong_pixels_are_refused(discs):
    with pytest.raises(ValueError, match="training split is empty"):
        run([])
    with pytest.raises(ValueError, match="different spacings"):
        run([discs(0), dataclasses.replace(discs(1), spacing=(10.0, 9.0))])
    with pytest.raises(ValueError, match="square in-plane"):
        run([dataclasses.replace(discs(1), spacing=(10.0, 9.0))])


def test_a_diverging_run_stops_and_says_at_which_step_and_what_to_try(discs):
    with pytest.raises(training.Diverged, match=r"step \d+: output has .*NaN or infinite.*learning_rate.*clip=1.0"):
        run([discs(0)], "bce", learning_rate=1e30)
    blows_up = dataclasses.replace(objectives.get("bce"), compare=lambda output, target, weight: output.sum() / 0)
    with pytest.raises(training.Diverged, match="step 1: the loss is (-?inf|nan); try a smaller learning_rate"):
        train(models.UNet(1, 1, width=2, depth=1), blows_up, [discs(0)], Schedule(2, 1, 16), device="cpu")


def test_another_error_of_the_loss_names_the_step_and_is_no_divergence(discs):
    def refuses(output, target, weight):
        raise ValueError("classes overlap")

    objective = dataclasses.replace(objectives.get("bce"), compare=refuses)
    with pytest.raises(ValueError, match="step 1: classes overlap") as caught:
        train(models.UNet(1, 1, width=2, depth=1), objective, [discs(0)], Schedule(2, 1, 16), device="cpu")
    assert not isinstance(caught.value, training.Diverged)


@pytest.mark.parametrize(
    ("batch", "patch", "try_this"),
    [(4, 16, "batch is 4 crops of 16 voxels; try batch 2"), (1, 24, "batch is 1 crop of 24 voxels; try patch 12")],
)
def test_out_of_memory_gives_the_batch_or_patch_to_try(discs, batch, patch, try_this):
    def cpu(raw):
        torch.empty(2**60)  # the CPU's own allocator fails, and says so in a RuntimeError

    def numpy(raw):
        np.empty(2**50)

    def cuda(raw):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    for fails in (cpu, numpy, cuda):
        network = models.UNet(1, 1, width=2, depth=1)
        network.forward = fails
        with pytest.raises(MemoryError, match=f"step 1 ran out of memory: {try_this}"):
            train(network, objectives.get("bce"), [discs(0)], Schedule(2, batch, patch), device="cpu")
    network.forward = lambda raw: torch.zeros(3) @ torch.zeros(4)
    with pytest.raises(RuntimeError, match="tensor.* size"):
        train(network, objectives.get("bce"), [discs(0)], Schedule(2, batch, patch), device="cpu")


def test_a_collapsed_run_is_seen_and_told(discs):
    def history_of(answer, name="bce", **options):
        lines, objective = [], objectives.get(name, **options)

        class Answers(models.UNet):
            def forward(self, raw):
                return super().forward(raw) * 0 + answer(raw)

        plan = Schedule(steps=4, batch=2, patch=32)
        images = [discs(s) for s in range(2)]
        found = train(
            Answers(1, 1, width=2, depth=1), objective, images, plan, device="cpu", lines=2, log=lines.append, **monitor
        )
        return found, lines

    monitor = {}
    history, lines = history_of(lambda raw: -10 + raw)  # varies, and says background everywhere
    assert [e["area_ratio"] for e in history] == [0, 0] and [e["collapsed"] for e in history] == [1, 1]
    assert all("COLLAPSED: predicted area 0 of the truth's" in line for line in lines)
    history, lines = history_of(lambda raw: torch.zeros_like(raw), "distance")  # no natural cut: a constant still shows
    assert np.isnan(history[0]["area_ratio"]) and history[0]["collapsed"] == 1
    assert "COLLAPSED: output constant" in lines[0]
    history, lines = history_of(lambda raw: 20 * (raw - 0.5))  # discs are bright
    assert 0.5 < history[0]["area_ratio"] < 3 and history[0]["collapsed"] == 0 and "COLLAPSED" not in lines[0]
    monitor = {"monitor": lambda network: {"IoU": 0.1, "area_ratio": 21.0}}  # the whole of validation is worth more
    history, lines = history_of(lambda raw: 20 * (raw - 0.5))
    assert history[0]["area_ratio"] == 21 and history[0]["collapsed"] == 1
    assert "IoU 0.100  COLLAPSED: predicted area 21 of the truth's" in lines[0]


def test_the_area_ratio_is_that_of_the_worst_class_with_any_truth():
    objective = objectives.get("bce")
    masks = torch.zeros(1, 3, 4, 4, dtype=torch.bool)
    masks[:, 0, :2] = True  # 8 voxels, of which 2 are not known
    masks[:, 1, 0] = True  # 4 voxels
    known = torch.ones_like(masks)
    known[:, 0, 0, :2] = False
    output = torch.full((1, 3, 4, 4), -1.0)
    output[:, 0, 0] = 1.0  # 2 known voxels of 6
    output[:, 1, :2] = 1.0  # 8 of 4
    output[:, 2] = 1.0  # no truth: no ratio
    assert steps._area_ratio(objective, output, masks, known) == pytest.approx(2 / 6)


def test_clipping_bounds_the_step_and_cosine_falls_from_the_maximum(discs):
    def first_step(**changed):
        training.seed_everything(0, 1)
        plan = Schedule(**{"steps": 10, "batch": 2, "patch": 16, "learning_rate": 1e-2} | changed)
        run = training.Run(models.UNet(1, 1, width=2, depth=1), objectives.get("bce"), [discs(0)], plan, device="cpu")
        rates = []
        for _ in range(10):
            rates.append(run.optimizer.param_groups[0]["lr"])
            run.advance()
            if len(rates) == 1:
                norm = torch.cat([p.grad.flatten() for p in run.network.parameters()]).norm()
        return float(norm), rates

    free, rates = first_step()
    assert max(rates) == pytest.approx(1e-2) and 0 < rates.index(max(rates)) < 5 and rates[-1] < rates[0]
    bound, rates = first_step(clip=free / 2, shape="cosine")
    assert bound == pytest.approx(free / 2, rel=1e-3)
    assert rates == pytest.approx([1e-2 * (1 + np.cos(np.pi * k / 10)) / 2 for k in range(10)])


def test_bf16_learns_the_same_with_weights_and_loss_in_float32(discs):
    images, losses = [discs(s) for s in range(3)], {}
    for precision in ("float32", "bf16"):
        training.seed_everything(0, 1)
        network, seen = models.UNet(1, 1, width=4, depth=2), []
        hook = network.head.register_forward_hook(lambda module, given, output, seen=seen: seen.append(output.dtype))
        plan = Schedule(40, 2, 32, 1e-2)
        history = train(
            network, objectives.get("bce"), images, plan, device="cpu", precision=precision, log=lambda line: None
        )
        hook.remove()
        assert {p.dtype for p in network.parameters()} == {torch.float32}
        assert seen[0] == (torch.bfloat16 if precision == "bf16" else torch.float32)
        losses[precision] = [entry["loss"] for entry in history]
    assert losses["bf16"] != losses["float32"]
    assert losses["bf16"][-1] == pytest.approx(losses["float32"][-1], rel=0.1) and losses["bf16"][-1] < 0.6


def test_precisions():
    cpu = torch.device("cpu")
    assert training.choose_precision("float32", cpu) == "float32" and training.choose_precision("bf16", cpu) == "bf16"
    flags = {line.split(":")[0].strip(): set(line.split()) for line in processor()}.get("flags", set())
    expected = "bf16" if flags & {"avx512_bf16", "amx_tile"} else "float32"
    assert training.choose_precision("auto", cpu) == expected
    with pytest.raises(ValueError, match="precision is 'half'; expected one of float32, bf16, auto"):
        training.choose_precision("half", cpu)


def processor() -> list[str]:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        pytest.skip("this system has no /proc/cpuinfo to compare with")
    return path.read_text().split("\n\n")[0].splitlines()


def test_on_cuda_a_resumed_run_is_the_uninterrupted_one(discs, tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device here")
    weights = []
    for parts in ((20,), (7, 20)):
        for stop in parts:
            training.seed_everything(0, 1)
            network, folder = models.UNet(1, 1, width=4, depth=2), tmp_path / str(len(parts))

            def monitor(network, stop=stop):
                if stop < 20:
                    raise KeyboardInterrupt
                return {}

            plan = {"device": "cuda", "precision": "bf16", "folder": folder, "keep_steps": 5, "lines": 2}
            try:
                train(network, objectives.get("bce"), [discs(0)], Schedule(20, 2, 32), monitor=monitor, **plan)
            except KeyboardInterrupt:
                assert stop == 7
        weights.append(checkpoints.load(folder / "step-000020.pt")["network"])
    assert checkpoints.same(*weights)


def test_a_thread_that_trains_leaves_signals_alone(discs, tmp_path):
    before, found = signal.getsignal(signal.SIGTERM), []
    plan = Schedule(2, 1, 16)
    network = models.UNet(1, 1, width=2, depth=1)
    arguments = {"device": "cpu", "folder": tmp_path, "log": lambda line: None}
    thread = threading.Thread(
        target=lambda: found.append(train(network, objectives.get("bce"), [discs(0)], plan, **arguments))
    )
    thread.start()
    thread.join()
    assert len(found[0]) == 2 and signal.getsignal(signal.SIGTERM) is before


def test_what_does_not_fit_together_is_refused(discs):
    image, plan = discs(0), Schedule(2, 1, 16)
    raw = image.raw.copy()
    raw[0, 3, 4:6] = np.nan
    cases = {
        "the network has out_channels 1; hot_distance needs 2 on images of 1 channel": (1, 1, "hot_distance", image),
        "the network has in_channels 2; bce needs 1": (2, 1, "bce", image),
        "image disc/0 has 2 values that are NaN or infinite of 2304": (
            1,
            1,
            "bce",
            dataclasses.replace(image, raw=raw),
        ),
    }
    for says, (grey, channels, name, given) in cases.items():
        network = models.UNet(grey, channels, width=2, depth=1)
        with pytest.raises(ValueError, match=says):
            train(network, objectives.get(name), [given], plan, device="cpu")
    training_run = training.Run(models.UNet(1, 1, width=2, depth=1), objectives.get("bce"), [image], plan, device="cpu")
    draw = training_run.crops.draw  # an array on disk, which nobody has read before, may hold anything
    training_run.crops.draw = lambda *given: (batch := draw(*given))._replace(raw=batch.raw / 0)
    with pytest.raises(ValueError, match="step 1: a crop has values that are NaN or infinite"):
        training_run.advance()
    with pytest.raises(ValueError, match="the network is 3-D, and image disc/0 is 2-D"):
        train(models.UNet(1, 1, width=2, depth=1, dims=3), objectives.get("bce"), [image], plan, device="cpu")


def test_devices():
    assert training.choose_device("cpu").type == "cpu"
    assert training.choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="device is 'gpu'"):
        training.choose_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="sees no CUDA"):
            training.choose_device("cuda")
