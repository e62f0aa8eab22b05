"""A loss of the reader's own, ``-p loss file:function``: its own defaults, and a trial before anything is trained."""

import hashlib
import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch

from helpers import notebook, objectives
from helpers.objectives import Objective


def code(dataset: str, loss: str) -> str:
    """What trains a run: :func:`helpers.notebook.code_hash`, and 12 digits of the file of a loss of one's own."""
    own = objectives.source_file(loss)
    of_file = f"-{hashlib.sha256(own.read_bytes()).hexdigest()[:12]}" if own else ""
    return notebook.code_hash(dataset) + of_file


def chosen(offered: Mapping[str, Any], given: Collection[str]) -> dict[str, Any]:
    """Of the options that a notebook offers, those that a reader set; the loss's own defaults hold for the others.

    Parameters
    ----------
    offered : mapping
        Option -> value, each objective's of the registry.
    given : collection of str
        Parameters that were set from outside (:func:`helpers.notebook.injected`). A value that is not the registry's
        default counts as set, too: it was written into the notebook.
    """
    registry = [objectives.get(name).options for name in objectives.names()]
    usual = {option: value for options in registry for option, value in options.items()}
    return {o: value for o, value in offered.items() if o in given or value != usual.get(o)}


def check(objective: Objective, classes: int, spacing: Sequence[float]) -> None:
    """One call on made masks, so that a loss of the wrong form stops before the training.

    Parameters
    ----------
    classes : int
        How many the network learns.
    spacing : sequence of float
        Of the data, one for each spatial axis.

    Raises
    ------
    ValueError
        An option without a default; a loss that raises, is no single number, is not finite, or has no gradient.
    """
    name, sides = objective.name, (8,) * len(spacing)
    made = f"two images of {' x '.join(map(str, sides))} voxels"
    for option, value in objective.options.items():
        if value is inspect.Parameter.empty:
            raise ValueError(f"option {option} of {name} has no default; give it one in its definition")
    masks = torch.zeros(2, classes, *sides, dtype=torch.bool)
    masks[..., :4] = True
    everywhere = torch.ones_like(masks)
    output = torch.zeros(2, classes * objective.channels(len(spacing)), *sides, requires_grad=True)
    try:
        loss = objective.compare(output, *objective.encode(masks, everywhere, everywhere, spacing))
    except Exception as error:
        raise ValueError(f"{name} raised {type(error).__name__} on {made}: {error}") from error
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
        said = (
            f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else f"a {type(loss).__name__}"
        )
        raise ValueError(f"{name} returned {said}; expected a tensor of one number, such as the mean over all voxels")
    if not torch.isfinite(loss):
        raise ValueError(f"{name} is {loss.item()} on {made}; expected a finite number")
    if not loss.requires_grad:
        raise ValueError(f"{name} has no gradient; compute it of the output with torch's functions, nothing detached")
