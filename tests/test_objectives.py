"""The registry: every objective obeys the one form, whatever its name."""

import pytest
import torch

from helpers import objectives, targets

SPACING = (18.4, 18.4)


def labels(batch=2, classes=3, size=24):
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(batch, classes, size, size, generator=generator) > 0.6
    annotated = torch.ones_like(masks)
    return masks, annotated, annotated


@pytest.mark.parametrize("name", objectives.names())
def test_encode_compare_decode_fit_together(name):
    objective = objectives.get(name)
    masks, annotated, known = labels()
    target, weight = objective.encode(masks, annotated, known, SPACING)
    output = torch.zeros(2, objective.channels * 3, 24, 24, requires_grad=True)
    assert target.shape == weight.shape == output.shape
    loss = objective.compare(output, target, weight)
    assert loss.ndim == 0 and torch.isfinite(loss) and loss > 0
    loss.backward()
    assert output.grad.abs().sum() > 0
    assert objective.decode(output).shape == masks.shape
    if objective.decode_distance:
        assert objective.decode_distance(output).abs().max() <= 1


@pytest.mark.parametrize("name", objectives.names())
def test_the_perfect_output_decodes_to_the_mask_at_the_natural_cut(name):
    objective = objectives.get(name)
    masks, annotated, known = labels()
    target, _ = objective.encode(masks, annotated, known, SPACING)
    output = torch.where(target > objective.natural_cut, 8.0, -8.0)  # what saturates towards the target
    if objective.channels == 2:
        output[:, :3] = torch.where(target[:, :3] > 0.5, 8.0, -8.0)
    assert torch.equal(objective.decode(output) > objective.natural_cut, masks)


def test_options_are_bound_and_recorded():
    objective = objectives.get("tanh_distance", scale_nm=100.0)
    assert objective.options == {"scale_nm": 100.0}
    assert objective.reach() == 300.0 and objectives.get("tanh_distance").reach() == 150.0
    masks, annotated, known = labels()
    expected = targets.tanh_distance(masks, annotated, SPACING, 100.0)[0]
    assert torch.equal(objective.encode(masks, annotated, known, SPACING)[0], expected)
    assert objectives.get("bce").reach() == 0


def test_unknown_names_are_refused_with_the_valid_ones():
    with pytest.raises(
        ValueError, match=r"'hot_dist'; expected one of bce, tanh_distance.*did you mean 'hot_distance'"
    ):
        objectives.get("hot_dist")
    with pytest.raises(ValueError, match=r"no option 'scale'; its options: scale_nm.*did you mean 'scale_nm'"):
        objectives.get("tanh_distance", scale=3)
    with pytest.raises(ValueError, match="its options: none"):
        objectives.get("bce", scale_nm=3)


def test_a_notebooks_options_are_those_of_the_objective_and_no_other_is_silently_dropped():
    offered = {"scale_nm": 50.0, "balance": 1.0}
    assert objectives.choose_options("bce", offered) == {}
    assert objectives.choose_options("tanh_distance", offered) == {"scale_nm": 50.0}
    assert objectives.choose_options("hot_distance", offered | {"balance": 2.0}) == {"scale_nm": 50.0, "balance": 2.0}
    with pytest.raises(ValueError, match="balance is set to 2.0, but bce has no such option"):
        objectives.choose_options("bce", offered | {"balance": 2.0})
