"""An output store that is created whole or not at all, and gone on with under the same settings alone."""

import io
import json
import os
import shutil
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from helpers import checkpoints
from helpers.files import write_whole


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
    if differing := checkpoints.differences(there, json.loads(json.dumps(settings))):
        raise FileExistsError(
            f"{output} was begun with other settings ({differing}); choose another output, or delete it"
        )


def save(path: Path, **arrays) -> None:
    """Arrays as NPZ. OSError as :func:`helpers.files.write_whole`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_whole(path, buffer.getbuffer())


def load(path: Path) -> dict[str, np.ndarray]:
    """What :func:`save` wrote."""
    with np.load(path) as found:
        return dict(found)
