"""An output store that is created whole or not at all, and gone on with under the same settings alone."""

import json
import os
import shutil
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


def settings_of(output: Path) -> dict[str, Any] | None:
    """The settings that a store was begun with; None where there is no store of this command."""
    try:
        return json.loads((output / "zarr.json").read_text(encoding="utf-8"))["attributes"]["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def claim(output: Path, settings: Mapping, create: Callable[[Path], None]) -> None:
    """Create the store, whole or not at all, or see that the one that is there was begun with the same settings."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        output.parent.mkdir(parents=True, exist_ok=True)
        aside = output.parent / f".{output.name}.{socket.gethostname()}.{os.getpid()}.partial"
        shutil.rmtree(aside, ignore_errors=True)
        try:
            create(aside)
            os.rename(aside, output)
            return
        except OSError:
            if not (output / "zarr.json").exists():  # else another job was first
                raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    there = settings_of(output)
    if there is None:
        raise FileExistsError(f"{output} exists and was not written by this command; choose another output")
    wanted = json.loads(json.dumps(settings))
    differing = [
        f"{key}: {there.get(key)!r} there, {wanted.get(key)!r} now"
        for key in sorted(there.keys() | wanted.keys())
        if there.get(key) != wanted.get(key)
    ]
    if differing:
        raise FileExistsError(
            f"{output} was begun with other settings ({'; '.join(differing)}); choose another output, or delete it"
        )


def save(path: Path, **arrays) -> None:
    """Arrays as NPZ, written aside and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}.partial")
    with aside.open("wb") as file:
        np.savez_compressed(file, **arrays)
    os.replace(aside, path)


def load(path: Path) -> dict[str, np.ndarray]:
    """What :func:`save` wrote."""
    with np.load(path) as found:
        return dict(found)
