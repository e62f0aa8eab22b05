"""The loop: learns, repeats itself exactly, samples what it says, and refuses what it cannot do."""

import dataclasses

import numpy as np
import pytest
import torch

from helpers import checkpoints, metrics, models, objectives, training
from helpers.crops import Crops
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


def test_crops_carry_their_margin_and_outside_the_image_nothing_is_known(discs):
    image = discs(0, size=20)
    crops = Crops([image], 20, (3, 3))  # only one position fits
    batch = crops.draw(2, torch.Generator().manual_seed(0))
    assert batch.raw.shape == (2, 1, 26, 26)
    assert torch.equal(crops.cut(batch.raw)[0], torch.from_numpy(image.raw))
    assert torch.equal(crops.cut(batch.masks)[0], torch.from_numpy(image.masks))
    assert batch.known.sum() == batch.annotated.sum() == 2 * 20 * 20
    assert crops.cut(batch.known).all()


def test_crops_cover_every_position_evenly():
    size, patch = 12, 8
    counting = np.arange(size * size, dtype=np.float32).reshape(1, size, size)
    full = np.ones((1, size, size), bool)
    image = training.Batch(counting, full, full, full)
    crops = Crops(
        [dataclasses.make_dataclass("I", ["raw", "masks", "annotated", "known", "name"])(*image, "i")], patch, (0, 0)
    )
    corners = crops.draw(5000, torch.Generator().manual_seed(0)).raw[:, 0, 0, 0].int().tolist()
    positions = {y * size + x for y in range(5) for x in range(5)}
    assert set(corners) == positions
    assert max(np.bincount(corners)) < 2 * 5000 / len(positions)


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


def test_a_diverging_run_stops_and_says_so(discs):
    with pytest.raises(ValueError, match="NaN or infinite.*learning_rate"):
        run([discs(0)], "bce", learning_rate=1e30)


def test_devices():
    assert training.choose_device("cpu").type == "cpu"
    assert training.choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="device is 'gpu'"):
        training.choose_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="sees no CUDA"):
            training.choose_device("cuda")
