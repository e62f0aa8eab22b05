"""Checkpoints: what a network is and what it knows, and, to go on with a training, everything else.

A checkpoint is a dictionary, saved by torch and loaded with ``weights_only=True`` (nothing in it is executed):

- ``format`` (1), ``step``;
- ``model``: the arguments of :func:`helpers.models.build`, ``network``: the state dict;
- ``task``: what the network was trained for, in JSON's types, as the caller gave it.

Science checkpoints, ``step-000600.pt``, hold these. ``resume.pt`` holds what else decides how a training goes on:
``optimizer``, ``schedule`` (the learning rate's), ``generators``, ``history``, ``interval`` (sums since the last
entry), ``seconds``, ``run`` (what must be the same to go on) and ``machine`` (what must be, to do so bit by bit).
"""

import io
import pickle
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from helpers import models
from helpers.files import write_whole

FORMAT = 1
RESUME = "resume.pt"
_KEYS = ("step", "model", "network", "task")
_RESUME_KEYS = ("optimizer", "schedule", "generators", "history", "interval", "seconds", "run", "machine")


def of_network(network: nn.Module, step: int, task: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The checkpoint of a network; ``model`` is None for a network that :func:`helpers.models.build` cannot build."""
    model = getattr(network, "arguments", None)
    return {"format": FORMAT, "step": step, "model": model, "network": network.state_dict(), "task": dict(task or {})}


def save(path: str | Path, checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all. OSError as :func:`helpers.files.write_whole`."""
    buffer = io.BytesIO()
    torch.save(dict(checkpoint), buffer)
    write_whole(path, buffer.getbuffer())


def load(path: str | Path, *, resume: bool = False) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Parameters
    ----------
    path : path
    resume : bool
        It must also hold what a training needs to go on.

    Raises
    ------
    FileNotFoundError
        There is none.
    ValueError
        The file is truncated, is no checkpoint of this package, or is one of a later version; the message names it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError, IndexError) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path} is truncated or is no checkpoint ({reason}); delete it, or give another") from error
    if not isinstance(checkpoint, dict) or "format" not in checkpoint:
        raise ValueError(f"{path} is no checkpoint of this package: it has no format; give one that a training wrote")
    if checkpoint["format"] != FORMAT:
        raise ValueError(f"{path} has format {checkpoint['format']!r}; this version of the package reads {FORMAT}")
    missing = [key for key in _KEYS + (_RESUME_KEYS if resume else ()) if key not in checkpoint]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; it is not a checkpoint that can be used here")
    return checkpoint


def load_weights(path: str | Path, network: nn.Module) -> int:
    """Put a checkpoint's weights into a network; returns its step.

    Raises
    ------
    ValueError
        The checkpoint is of another network (each argument that differs is named), or as :func:`load`.
    """
    checkpoint = load(path)
    mine, theirs = getattr(network, "arguments", None), checkpoint["model"]
    if mine is not None and theirs is not None and mine != theirs:
        raise ValueError(f"{path} is of another network ({differences(theirs, mine)})")
    try:
        network.load_state_dict(checkpoint["network"])
    except RuntimeError as error:
        raise ValueError(f"{path} is of another network: {error}") from error
    return checkpoint["step"]


def build_network(path: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a checkpoint, in evaluation mode on the CPU, and the checkpoint.

    Raises
    ------
    ValueError
        As :func:`load`; or the weights do not fit the checkpoint's own model, or none that this package builds.
    """
    checkpoint = load(path)
    if checkpoint["model"] is None:
        raise ValueError(f"{path} is of a network that models.build does not know; build it, then use load_weights")
    network = models.build(**checkpoint["model"])
    try:
        network.load_state_dict(checkpoint["network"])
    except RuntimeError as error:
        raise ValueError(f"the weights in {path} do not fit its own model {checkpoint['model']}: {error}") from error
    return network.eval(), checkpoint


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Every entry that differs, both values beside each other; empty where all agree."""
    return "; ".join(
        f"{key}: {there.get(key)!r} there, {here.get(key)!r} here"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
    )


def generator_states(crops: torch.Generator, device: torch.device) -> dict[str, Any]:
    """States of the crops' generator and of every global one: torch's (CPU and, if used, CUDA), NumPy's, Python's."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - libraries draw from NumPy's global generator
    version, words, gauss = random.getstate()
    return {
        "crops": crops.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest],
        "python": [version, torch.tensor(words, dtype=torch.int64), gauss],
    }


def set_generator_states(states: Mapping[str, Any], crops: torch.Generator, device: torch.device) -> None:
    """The inverse of :func:`generator_states`; a CUDA state is left out where the device has none."""
    crops.set_state(states["crops"])
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"], device)
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words.tolist()), gauss))


def same(a: Any, b: Any) -> bool:
    """Are two checkpoints (or parts of them) the same bit by bit? NaN equals NaN."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and _bytes(a) == _bytes(b)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return repr(a) == repr(b)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
