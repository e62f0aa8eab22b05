"""The registry: an objective is three pure functions under the one name that ``-p loss`` takes.

``encode(masks, annotated, known, spacing, **options) -> target, weight``,
``compare(output, target, weight, **options) -> scalar`` and ``decode(output, **options) -> score``. Their
keyword-only parameters are the objective's options. To add an objective, write the three and one entry of REGISTRY; a
loss on one-hot masks needs no entry: ``-p loss my_file:my_function`` finds it (:func:`get`).
"""

import difflib
import importlib.util
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from helpers import losses, targets
from helpers.postprocess import consensus


@dataclass(frozen=True)
class Objective:
    """What a network is trained to do, and how its output is read.

    Attributes
    ----------
    name, summary : str
    encode, compare, decode : callable
        As in the module's description; ``decode`` returns one score map per class, shape (B, C, *S).
    natural_cut : float or None
        Where the score says foreground without any tuning; None where it has no natural cut.
    channels : callable
        Number of spatial axes, options -> output channels per class.
    halo : callable
        Spacing, options -> voxels of labels that a crop needs around it, per axis; None where the target looks
        across the whole image.
    decode_distance : callable or None
        Output, spacing -> estimated distance to the boundary in nm, positive inside, shape (B, C, *S), where the
        network predicts one beside or as its score.
    published_cut : float or None
        The cut on the score that repeats how earlier work read this objective's output; None where none did.
    link : str
        How a score becomes the regressor of a logistic fit: "logit" of a probability, "atanh" of a score in
        [-1, 1], "identity" of an unbounded one.
    options : mapping
        The values in force, by name.
    """

    name: str
    summary: str
    encode: Callable[..., tuple[Tensor, Tensor]]
    compare: Callable[..., Tensor]
    decode: Callable[..., Tensor]
    natural_cut: float | None
    channels: Callable[..., int] = lambda dims: 1
    halo: Callable[..., tuple[int, ...] | None] = lambda spacing: (0,) * len(spacing)
    decode_distance: Callable[..., Tensor] | None = None
    published_cut: float | None = None
    link: str = "logit"
    options: Mapping[str, Any] = field(default_factory=dict)


# Every option of every objective, with a line of help; tests hold the registry to it.
OPTIONS = {
    "scale_nm": "scale of tanh distances, in nm",
    "unit": "unit of unbounded distances: a number of nm, or voxel",
    "kernel": "side of the neighbourhood of occupancy vectors, in voxels, odd",
    "shape": "neighbourhood of occupancy vectors: square or disc",
    "vote": "score of occupancy vectors: consensus of the neighbours (true) or the voxel's own channel (false)",
    "gamma": "focusing exponent of the focal losses; 0 is cross entropy",
    "alpha": "weight of false positives in the Tversky loss",
    "beta": "weight of false negatives in the Tversky loss",
    "balance": "weight of the second term of a compound loss",
    "positive_weight": "factor on the weight of foreground voxels",
    "class_weights": "shares of the classes in the mean over classes; none: all alike",
    "order": "softmax: class indices by precedence, where classes overlap; none: refuse overlaps",
}


def names() -> list[str]:
    """The names that ``-p loss`` takes."""
    return list(REGISTRY)


def get(name: str, **options: Any) -> Objective:
    """The objective of that name with its options bound.

    Parameters
    ----------
    name : str
        One of :func:`names`, or ``file:function``: a function (output, target, weight) -> scalar on one-hot masks in
        ``file.py`` of the working directory or of its folder ``notebooks``; its keyword-only parameters are options.
        What it finds there may also be an :class:`Objective`.

    Raises
    ------
    ValueError
        Unknown name or option; the message lists the valid ones.
    """
    objective = _find(name)
    defaults = _default_options(objective)
    unknown = [option for option in options if option not in defaults]
    if unknown:
        listed = ", ".join(defaults) or "none"
        raise ValueError(f"{name} has no option {unknown[0]!r}; its options: {listed}{_hint(unknown[0], defaults)}")
    values = defaults | options
    bound = {f: _bind(getattr(objective, f), values) for f in _FUNCTIONS if getattr(objective, f)}
    return replace(objective, **bound, options=values)


def choose_options(name: str, offered: Mapping[str, Any]) -> dict[str, Any]:
    """Of the options that a notebook offers to every objective, those that this one has.

    Raises
    ------
    ValueError
        An option that this objective does not have is set to something else than its default elsewhere: it would be
        ignored, and the run would not be what it seems.
    """
    mine = _default_options(_find(name))
    elsewhere = {o: default for other in REGISTRY.values() for o, default in _default_options(other).items()}
    for option, value in offered.items():
        if option not in mine and value != elsewhere.get(option):
            raise ValueError(
                f"{option} is set to {value!r}, but {name} has no such option (its options: "
                f"{', '.join(mine) or 'none'}); leave {option} at its default, or choose another loss"
            )
    return {option: value for option, value in offered.items() if option in mine}


def describe() -> list[dict[str, str]]:
    """One row for each objective: name, what it is, natural cut, and options with defaults."""
    return [
        {
            "loss": name,
            "what it is": objective.summary,
            "natural cut": "none" if objective.natural_cut is None else f"{objective.natural_cut:g}",
            "options": ", ".join(f"{o}={value}" for o, value in _default_options(objective).items()) or "none",
        }
        for name, objective in REGISTRY.items()
    ]


def source_file(name: str) -> Path | None:
    """The file of a ``file:function`` name; None for the registry's own."""
    module, colon, _ = name.partition(":")
    places = [Path(f"{module}.py"), Path("notebooks", f"{module}.py")]
    return next((place for place in places if place.is_file()), None) if colon else None


_FUNCTIONS = ("encode", "compare", "decode", "channels", "halo", "decode_distance")


def _find(name: str) -> Objective:
    if ":" not in name:
        if name not in REGISTRY:
            raise ValueError(
                f"loss is {name!r}; expected one of {', '.join(REGISTRY)}, or file:function for one of your own"
                f"{_hint(name, REGISTRY)}"
            )
        return REGISTRY[name]
    module, _, attribute = name.partition(":")
    path = source_file(name)
    if path is None:
        raise ValueError(f"loss is {name!r}, but there is no {module}.py in {Path.cwd()} or its folder notebooks")
    spec = importlib.util.spec_from_file_location(module, path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    found = getattr(loaded, attribute, None)
    if isinstance(found, Objective):
        return replace(found, name=name)
    if not callable(found):
        public = [n for n, value in vars(loaded).items() if callable(value) and not n.startswith("_")]
        raise ValueError(f"loss is {name!r}, but {path} has no function {attribute!r}; it has {', '.join(public)}")
    return _on_one_hot(name, (inspect.getdoc(found) or "a loss of one's own").splitlines()[0], found)


def _default_options(objective: Objective) -> dict[str, Any]:
    """Option -> default, read off the keyword-only parameters of the objective's functions."""
    functions = [getattr(objective, f) for f in _FUNCTIONS]
    return {option: default for f in functions if f for option, default in _options_of(f).items()}


def _options_of(function: Callable) -> dict[str, Any]:
    if inspect.isbuiltin(function):  # torch.sigmoid and its like: no options, and no signature to read
        return {}
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def _bind(function: Callable, values: Mapping[str, Any]) -> Callable:
    mine = {option: values[option] for option in _options_of(function)}
    return partial(function, **mine) if mine else function


def _hint(name: str, valid: Mapping) -> str:
    close = difflib.get_close_matches(str(name), valid, 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


# --- encode, compare and decode, where a target or a loss does not have the form already


def _encode_one_hot(masks, annotated, known, spacing):
    targets.check_spacing(spacing, masks)
    return targets.one_hot(masks, known)


def _encode_distance(masks, annotated, known, spacing, *, unit=targets.UNIT_NM):
    return targets.distance(masks, annotated, spacing, unit)


def _encode_signed_distance(masks, annotated, known, spacing, *, unit=targets.UNIT_NM):
    return targets.signed_distance(masks, annotated, spacing, unit)


def _encode_tanh_distance(masks, annotated, known, spacing, *, scale_nm=targets.SCALE_NM):
    return targets.tanh_distance(masks, annotated, spacing, scale_nm)


def _encode_hot_distance(masks, annotated, known, spacing, *, scale_nm=targets.SCALE_NM):
    return targets.hot_distance(masks, annotated, known, spacing, scale_nm)


def _tanh_halo(spacing, *, scale_nm=targets.SCALE_NM):
    return targets.halo(targets.SATURATION * scale_nm, spacing)


def _whole_image(spacing):
    return None


def _unit_to_nm(output: Tensor, spacing, *, unit=targets.UNIT_NM) -> Tensor:
    return output * (spacing[-1] if unit == "voxel" else unit)


def _saturating_to_nm(output: Tensor, spacing, *, scale_nm=targets.SCALE_NM) -> Tensor:
    """atanh of the tanh, times the scale, with the bound that the target has."""
    return output.clamp(-targets.SATURATION, targets.SATURATION) * scale_nm


def _second_half_to_nm(output: Tensor, spacing, *, scale_nm=targets.SCALE_NM) -> Tensor:
    return _saturating_to_nm(output[:, output.shape[1] // 2 :], spacing, scale_nm=scale_nm)


def _first_half(output: Tensor) -> Tensor:
    return torch.sigmoid(output[:, : output.shape[1] // 2])


def _encode_occupancy(masks, annotated, known, spacing, *, kernel=3, shape="square"):
    targets.check_spacing(spacing, masks)
    return targets.local_occupancy(masks, known, targets.offsets(kernel, len(spacing), shape))


def _compare_occupancy(output, target, weight, *, kernel=3, shape="square", class_weights=None):
    neighbours = len(targets.offsets(kernel, output.ndim - 2, shape))
    return losses.local_occupancy(output, target, weight, neighbours=neighbours, class_weights=class_weights)


def _decode_occupancy(output, *, kernel=3, shape="square", vote=True):
    around = targets.offsets(kernel, output.ndim - 2, shape)
    occupancy = torch.sigmoid(output)
    if vote:
        return consensus(occupancy, around)[0]
    return occupancy[:, around.index((0,) * (output.ndim - 2)) :: len(around)]


def _occupancy_channels(dims, *, kernel=3, shape="square"):
    return len(targets.offsets(kernel, dims, shape))


def _occupancy_halo(spacing, *, kernel=3, shape="square"):
    return targets.offsets_halo(targets.offsets(kernel, len(spacing), shape))


def _softmax_scores(output: Tensor) -> Tensor:
    """Probability of each class where the background's logit is 0."""
    return torch.softmax(torch.cat((torch.zeros_like(output[:, :1]), output), 1), 1)[:, 1:]


def _identity(output: Tensor) -> Tensor:
    return output


def _on_one_hot(name: str, summary: str, compare: Callable, decode: Callable = torch.sigmoid) -> Objective:
    """One-hot masks; the natural cut is where the logit is 0."""
    cut, link = (0.0, "atanh") if decode is torch.tanh else (0.5, "logit")
    return Objective(name, summary, _encode_one_hot, compare, decode, natural_cut=cut, link=link)


# The comparison of masks and distances cut logits at 0.5, without the sigmoid.
_LOGIT_CUT_AT_HALF = 1 / (1 + math.exp(-0.5))


def _registry(objectives: Sequence[Objective]) -> dict[str, Objective]:
    return {objective.name: objective for objective in objectives}


REGISTRY: dict[str, Objective] = _registry(
    [
        replace(
            _on_one_hot("bce", "binary cross entropy on one-hot masks", losses.bce), published_cut=_LOGIT_CUT_AT_HALF
        ),
        _on_one_hot("logistic", "the classic comparison's name for bce", losses.bce),
        _on_one_hot("softmax", "cross entropy over exclusive classes and background", losses.softmax, _softmax_scores),
        _on_one_hot("approx_ce", "cross entropy with the logarithm's second-order series", losses.approx_ce),
        _on_one_hot("dice", "one minus the soft Dice coefficient", losses.dice),
        _on_one_hot("hinge", "max(0, 1 - yz) on signs", losses.hinge),
        _on_one_hot("square", "squared error of tanh z on signs", losses.square, torch.tanh),
        _on_one_hot("l1", "absolute error of tanh z on signs; published as hinge", losses.l1, torch.tanh),
        _on_one_hot("focal", "cross entropy that turns from what is easy", losses.focal),
        _on_one_hot("tversky", "Dice with false positives and negatives weighted apart", losses.tversky),
        _on_one_hot("lovasz", "the Lovasz extension of one minus the IoU", losses.lovasz),
        _on_one_hot("bce_dice", "bce plus dice", losses.bce_dice),
        _on_one_hot("dice_focal", "dice plus focal", losses.dice_focal),
        _on_one_hot("dice_squared", "published: Dice of tanh z with squares below", losses.dice_squared, torch.tanh),
        _on_one_hot(
            "softmax_published",
            "published: softmax of (tanh z + 1)/2, no background",
            losses.softmax_published,
            torch.tanh,
        ),
        _on_one_hot("focal_detached", "published: focal without a gradient through its factor", losses.focal_detached),
        Objective(
            "distance",
            "squared error on the distance to the boundary inside, 0 outside",
            _encode_distance,
            losses.mse,
            _identity,
            natural_cut=None,
            halo=_whole_image,
            decode_distance=_unit_to_nm,
            published_cut=0.0,
            link="identity",
        ),
        Objective(
            "signed_distance",
            "squared error on the signed boundary distance, without bound",
            _encode_signed_distance,
            losses.mse,
            _identity,
            natural_cut=0.0,
            halo=_whole_image,
            decode_distance=_unit_to_nm,
            published_cut=0.0,
            link="identity",
        ),
        Objective(
            "tanh_distance",
            "squared error on the tanh of the signed boundary distance",
            _encode_tanh_distance,
            losses.tanh_mse,
            torch.tanh,
            natural_cut=0.0,
            halo=_tanh_halo,
            decode_distance=_saturating_to_nm,
            link="atanh",
        ),
        Objective(
            "hot_distance",
            "one-hot and tanh distance from one network: bce plus squared error",
            _encode_hot_distance,
            losses.hot_distance,
            _first_half,
            natural_cut=0.5,
            channels=lambda dims: 2,
            halo=_tanh_halo,
            decode_distance=_second_half_to_nm,
        ),
        Objective(
            "lov",
            "bce on local occupancy vectors: is each neighbour occupied?",
            _encode_occupancy,
            _compare_occupancy,
            _decode_occupancy,
            natural_cut=0.5,
            channels=_occupancy_channels,
            halo=_occupancy_halo,
        ),
    ]
)
