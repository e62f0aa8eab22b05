"""The registry: an objective is three pure functions under the one name that ``-p loss`` takes.

``encode(masks, annotated, known, spacing, **options) -> target, weight``,
``compare(output, target, weight, **options) -> scalar`` and ``decode(output, **options) -> score``. Their
keyword-only parameters are the objective's options. To add an objective, write the three and one entry of REGISTRY.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from helpers import losses, targets


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
    channels : int
        Output channels per class.
    reach : callable
        Options -> how far, in nm, a target looks around: the halo that crops need.
    decode_distance : callable or None
        Output -> tanh distance, shape (B, C, *S), where the network predicts one beside or as its score.
    options : mapping
        The values in force, by name.
    """

    name: str
    summary: str
    encode: Callable[..., tuple[Tensor, Tensor]]
    compare: Callable[..., Tensor]
    decode: Callable[..., Tensor]
    natural_cut: float | None
    channels: int = 1
    reach: Callable[..., float] = lambda: 0.0
    decode_distance: Callable[..., Tensor] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def names() -> list[str]:
    """The names that ``-p loss`` takes."""
    return list(REGISTRY)


def get(name: str, **options: Any) -> Objective:
    """The objective of that name with its options bound.

    Raises
    ------
    ValueError
        Unknown name or option; the message lists the valid ones.
    """
    if name not in REGISTRY:
        raise ValueError(f"loss is {name!r}; expected one of {', '.join(REGISTRY)}{_hint(name, REGISTRY)}")
    objective = REGISTRY[name]
    defaults = default_options(name)
    unknown = [option for option in options if option not in defaults]
    if unknown:
        listed = ", ".join(defaults) or "none"
        raise ValueError(f"{name} has no option {unknown[0]!r}; its options: {listed}{_hint(unknown[0], defaults)}")
    values = defaults | options
    bound = {f: _bind(getattr(objective, f), values) for f in _FUNCTIONS if getattr(objective, f)}
    return replace(objective, **bound, options=values)


def default_options(name: str) -> dict[str, Any]:
    """Option -> default of one objective, read off its functions' keyword-only parameters."""
    functions = [getattr(REGISTRY[name], f) for f in _FUNCTIONS]
    return {option: default for f in functions if f for option, default in _options_of(f).items()}


def choose_options(name: str, offered: Mapping[str, Any]) -> dict[str, Any]:
    """Of the options that a notebook offers to every objective, those that this one has.

    Raises
    ------
    ValueError
        An option that this objective does not have is set to something else than its default elsewhere: it would be
        ignored, and the run would not be what it seems.
    """
    mine = default_options(get(name).name)
    elsewhere = {option: default for other in REGISTRY for option, default in default_options(other).items()}
    for option, value in offered.items():
        if option not in mine and value != elsewhere.get(option):
            raise ValueError(
                f"{option} is set to {value!r}, but {name} has no such option (its options: "
                f"{', '.join(mine) or 'none'}); leave {option} at its default, or choose another loss"
            )
    return {option: value for option, value in offered.items() if option in mine}


_FUNCTIONS = ("encode", "compare", "decode", "reach", "decode_distance")


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


def _encode_one_hot(masks, annotated, known, spacing):
    targets.check_spacing(spacing, masks)
    return targets.one_hot(masks, known)


def _encode_tanh_distance(masks, annotated, known, spacing, *, scale_nm=targets.SCALE_NM):
    return targets.tanh_distance(masks, annotated, spacing, scale_nm)


def _encode_hot_distance(masks, annotated, known, spacing, *, scale_nm=targets.SCALE_NM):
    return targets.hot_distance(masks, annotated, known, spacing, scale_nm)


def _compare_hot_distance(output, target, weight, *, balance=1.0):
    return losses.hot_distance(output, target, weight, balance)


def _tanh_reach(*, scale_nm=targets.SCALE_NM):
    return targets.SATURATION * scale_nm


def _first_half(output: Tensor) -> Tensor:
    return torch.sigmoid(output[:, : output.shape[1] // 2])


def _second_half(output: Tensor) -> Tensor:
    return torch.tanh(output[:, output.shape[1] // 2 :])


REGISTRY: dict[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective(
            "bce",
            "binary cross entropy on one-hot masks",
            _encode_one_hot,
            losses.bce,
            torch.sigmoid,
            natural_cut=0.5,
        ),
        Objective(
            "tanh_distance",
            "squared error on the tanh of the signed boundary distance",
            _encode_tanh_distance,
            losses.tanh_mse,
            torch.tanh,
            natural_cut=0.0,
            reach=_tanh_reach,
            decode_distance=torch.tanh,
        ),
        Objective(
            "hot_distance",
            "one-hot and tanh distance from one network: BCE plus squared error",
            _encode_hot_distance,
            _compare_hot_distance,
            _first_half,
            natural_cut=0.5,
            channels=2,
            reach=_tanh_reach,
            decode_distance=_second_half,
        ),
    )
}
