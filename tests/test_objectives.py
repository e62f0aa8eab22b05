"""The registry: every objective obeys the one form, whatever its name."""

import pytest
import torch

from helpers import objectives, targets

SPACING = (18.4, 18.4)


def labels(size=24, dims=2, exclusive=False):
    """Two images of three classes, everything annotated."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(2, 3, *(size,) * dims, generator=generator) > 0.6
    if exclusive:
        masks[:, 1] &= ~masks[:, 0]
        masks[:, 2] &= ~masks[:, 0] & ~masks[:, 1]
    annotated = torch.ones_like(masks)
    return masks, annotated, annotated


@pytest.mark.parametrize("name", objectives.names())
@pytest.mark.parametrize("dims", [2, 3])
def test_encode_compare_decode_fit_together(name, dims):
    masks, annotated, known = labels(size=24 if dims == 2 else 8, dims=dims)
    spacing = (18.4,) * dims
    options = {"order": [2, 0, 1]} if name == "softmax" else {}
    objective = objectives.get(name, **options)
    target, weight = objective.encode(masks, annotated, known, spacing)
    channels = objective.channels(dims) * masks.shape[1]
    output = torch.randn(2, channels, *masks.shape[2:], generator=torch.Generator().manual_seed(1)).requires_grad_()
    assert target.shape == weight.shape == output.shape
    assert target.isfinite().all() and weight.isfinite().all()
    loss = objective.compare(output, target, weight)
    assert loss.ndim == 0 and torch.isfinite(loss) and loss > 0
    loss.backward()
    assert output.grad.abs().sum() > 0
    assert objective.decode(output).shape == masks.shape
    halo = objective.halo(spacing)
    assert halo is None or len(halo) == dims
    if objective.decode_distance:
        assert objective.decode_distance(output, spacing).shape == masks.shape


@pytest.mark.parametrize("name", [n for n in objectives.names() if objectives.get(n).natural_cut is not None])
def test_the_perfect_output_decodes_to_the_mask_at_the_natural_cut(name):
    masks, annotated, known = labels(exclusive=name == "softmax")
    objective = objectives.get(name)
    target, _ = objective.encode(masks, annotated, known, SPACING)
    middle = torch.full((1, target.shape[1], 1, 1), 0.5)  # of one-hot channels; a distance's is 0
    if "distance" in name:
        middle[:, -3:] = 0
    output = torch.where(target > middle, 8.0, -8.0)
    assert torch.equal(objective.decode(output) > objective.natural_cut, masks)


@pytest.mark.parametrize(
    "name, options",
    [
        ("distance", {}),
        ("distance", {"unit": "voxel"}),
        ("signed_distance", {"unit": 20.0}),
        ("tanh_distance", {}),
        ("hot_distance", {"scale_nm": 30.0}),
    ],
)
def test_the_perfect_output_gives_the_distance_back_in_nm(name, options):
    masks, annotated, known = labels()
    objective = objectives.get(name, **options)
    target, weight = (x[:, -3:] for x in objective.encode(masks, annotated, known, SPACING))
    bounded = "scale_nm" in objective.options
    output = torch.atanh(target) if bounded else target
    if name == "hot_distance":
        output = torch.cat((torch.zeros_like(output), output), 1)
    expected = targets.boundary_distance(masks, SPACING, annotated=annotated)
    expected = expected.clamp(min=0) if name == "distance" else expected
    found = objective.decode_distance(output, SPACING)
    if bounded:
        reach = targets.SATURATION * objective.options["scale_nm"]
        expected = expected.clamp(-reach, reach)
    assert torch.allclose(found[weight > 0], expected[weight > 0], atol=1e-2)


def test_the_published_read_out_is_known_where_there_was_one():
    """Logits cut at 0.5 without the sigmoid; both distances cut at 0."""
    assert {n: o.published_cut for n in objectives.names() if (o := objectives.get(n)).published_cut is not None} == {
        "bce": pytest.approx(float(torch.sigmoid(torch.tensor(0.5)))),
        "distance": 0.0,
        "signed_distance": 0.0,
    }


def test_the_link_fits_the_range_of_the_scores():
    for name in objectives.names():
        objective = objectives.get(name)
        wanted = {None: "identity", 0.5: "logit", 0.0: "atanh"}[objective.natural_cut]
        assert objective.link == ("identity" if name == "signed_distance" else wanted)


def test_a_distance_without_natural_cut_still_orders_voxels():
    masks, annotated, known = labels()
    objective = objectives.get("distance")
    target, weight = objective.encode(masks, annotated, known, SPACING)
    assert objective.natural_cut is None and (objective.decode(target)[masks] >= 0).all()
    assert (target[~masks] == 0).all()


@pytest.mark.parametrize("name", objectives.names())
def test_where_all_is_annotated_every_objective_counts_the_same_voxels_inside_its_halo(name):
    """Unbounded distances look at whole images: near the image's edge they alone must count less."""
    objective = objectives.get(name)
    halo = objective.halo(SPACING)
    masks, annotated, known = labels(size=32 + 2 * max(halo or (16,)))
    weight = objective.encode(masks, annotated, known, SPACING)[1]
    edge = max(halo or (16,))
    inside = weight[..., edge : edge + 32, edge : edge + 32]
    assert (inside == 1).all()


@pytest.mark.parametrize("name", objectives.names())
def test_labels_changed_where_unknown_change_neither_loss_nor_gradient(name):
    masks, annotated, _ = labels(exclusive=name == "softmax")
    generator = torch.Generator().manual_seed(5)
    annotated = (torch.rand(2, 1, 24, 24, generator=generator) > 0.4).expand_as(masks).clone()
    objective, results = objectives.get(name), []
    for changed in (masks, masks ^ ~annotated):
        target, weight = objective.encode(changed, annotated, annotated, SPACING)
        output = torch.randn(target.shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
        loss = objective.compare(output, target, weight)
        results.append((loss, torch.autograd.grad(loss, output)[0]))
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])


def test_options_are_bound_and_recorded():
    objective = objectives.get("tanh_distance", scale_nm=100.0)
    assert objective.options == {"scale_nm": 100.0, "class_weights": None}
    assert objective.halo(SPACING) == (16, 16) and objectives.get("tanh_distance").halo(SPACING) == (8, 8)
    masks, annotated, known = labels()
    expected = targets.tanh_distance(masks, annotated, SPACING, 100.0)[0]
    assert torch.equal(objective.encode(masks, annotated, known, SPACING)[0], expected)
    assert objectives.get("bce").halo(SPACING) == (0, 0) and objectives.get("distance").halo(SPACING) is None
    assert objectives.get("lov", kernel=5).halo(SPACING) == (2, 2)


def test_occupancy_vectors_of_the_truth_agree_on_the_mask_borders_included():
    masks, annotated, known = labels()
    for options in ({"kernel": 3}, {"kernel": 7, "shape": "disc"}, {"kernel": 1}, {"kernel": 5, "vote": False}):
        objective = objectives.get("lov", **options)
        target, _ = objective.encode(masks, annotated, known, SPACING)
        score = objective.decode(torch.where(target > 0.5, 90.0, -90.0))
        assert torch.equal(score, masks.float())


def test_every_option_is_described_and_has_one_default():
    found = {}
    for name in objectives.names():
        for option, default in objectives.get(name).options.items():
            assert found.setdefault(option, default) == default, f"{option} has two defaults"
    assert set(found) == set(objectives.OPTIONS)
    assert [row["loss"] for row in objectives.describe()] == objectives.names()


def test_aliases_are_the_same_loss():
    masks, annotated, known = labels()
    target, weight = objectives.get("bce").encode(masks, annotated, known, SPACING)
    output = torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    assert objectives.get("logistic").compare(output, target, weight) == objectives.get("bce").compare(
        output, target, weight
    )


def test_a_loss_of_ones_own_from_a_file_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_losses.py").write_text(
        "import torch\n"
        "def soft_iou(output, target, weight, *, epsilon=1.0):\n"
        '    """One minus the soft IoU."""\n'
        "    p = torch.sigmoid(output)\n"
        "    both, either = (weight * p * target).sum(), (weight * (p + target - p * target)).sum()\n"
        "    return 1 - (both + epsilon) / (either + epsilon)\n"
    )
    objective = objectives.get("my_losses:soft_iou", epsilon=0.0)
    assert objective.summary == "One minus the soft IoU." and objective.options == {"epsilon": 0.0}
    target = torch.tensor([1.0, 1.0, 0.0, 0.0]).reshape(1, 1, 2, 2)
    loss = objective.compare(torch.zeros(1, 1, 2, 2), target, torch.ones_like(target))
    assert loss.item() == pytest.approx(1 - 1 / 3)  # p = 1/2: both 1, either 3
    with pytest.raises(ValueError, match="has no function 'iou'; it has soft_iou"):
        objectives.get("my_losses:iou")
    with pytest.raises(ValueError, match="there is no other.py in"):
        objectives.get("other:iou")
    with pytest.raises(ValueError, match="its options: epsilon"):
        objectives.get("my_losses:soft_iou", eps=1)


def test_unknown_names_are_refused_with_the_valid_ones():
    with pytest.raises(ValueError, match=r"'hot_dist'; expected one of bce, logistic.*did you mean 'hot_distance'"):
        objectives.get("hot_dist")
    with pytest.raises(ValueError, match=r"no option 'scale'; its options: scale_nm.*did you mean 'scale_nm'"):
        objectives.get("tanh_distance", scale=3)
    with pytest.raises(ValueError, match="its options: none"):
        objectives.get("dice_squared", scale_nm=3)
    with pytest.raises(ValueError, match="kernel is 4"):
        objectives.get("lov", kernel=4).channels(2)


def test_a_notebooks_options_are_those_of_the_objective_and_no_other_is_silently_dropped():
    offered = {"scale_nm": 50.0, "balance": 1.0, "class_weights": None}
    assert objectives.choose_options("dice", offered) == {"class_weights": None}
    assert objectives.choose_options("tanh_distance", offered) == {"scale_nm": 50.0, "class_weights": None}
    assert objectives.choose_options("hot_distance", offered | {"balance": 2.0})["balance"] == 2.0
    with pytest.raises(ValueError, match="balance is set to 2.0, but bce has no such option"):
        objectives.choose_options("bce", offered | {"balance": 2.0})
