"""A run's output folder: filled aside, renamed when whole, and never shared by runs of different parameters."""

import atexit
import glob
import json
import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

import numpy as np

PARAMETERS = "parameters.json"


def claim(folder: str | Path, parameters: Mapping) -> Path:
    """Open a folder for a run and return the folder aside to write into, until :func:`finish`.

    Parameters
    ----------
    folder : path
        Where the results shall stand.
    parameters : mapping
        Everything that decides the results; JSON values.

    Raises
    ------
    FileExistsError
        The folder holds something else, or a run of other parameters (each difference is named).
    OSError
        The folder cannot be written.
    """
    folder = Path(folder)
    wanted = json.loads(json.dumps(dict(parameters)))
    if _replaced(folder).exists() and not folder.exists():
        os.rename(_replaced(folder), folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        record = folder / PARAMETERS
        if not record.is_file():
            raise FileExistsError(f"output {folder} exists and is not the folder of a run; choose another output")
        there = json.loads(record.read_text())
        differing = [
            f"{key}: {there.get(key)!r} there, {wanted.get(key)!r} now"
            for key in sorted(there.keys() | wanted.keys())
            if there.get(key) != wanted.get(key)
        ]
        if differing:
            raise FileExistsError(
                f"output {folder} holds a run of other parameters ({'; '.join(differing)}); choose another output, "
                "or delete that folder"
            )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder)
        aside = _aside(folder, os.getpid())
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        (aside / PARAMETERS).write_text(json.dumps(wanted, indent=1, sort_keys=True) + "\n")
        atexit.register(shutil.rmtree, aside, ignore_errors=True)  # a failed run leaves nothing; a finished one moved
    except OSError as error:
        raise type(error)(
            error.errno,
            f"output {folder} cannot be written ({error.strerror}); choose another with -p output FOLDER",
        ) from error
    return aside


def finish(aside: Path, folder: str | Path) -> Path:
    """Put what was written aside in the folder's place; what stood there (the same run, made before) goes."""
    folder = Path(folder)
    old = _replaced(folder)
    if folder.exists():
        os.rename(folder, old)  # killed here, the next claim puts it back
    os.rename(aside, folder)
    shutil.rmtree(old, ignore_errors=True)
    return folder


def _replaced(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.replaced"


def _aside(folder: Path, process: int) -> Path:
    return folder.parent / f".{folder.name}.{socket.gethostname()}.{process}.partial"


def _remove_abandoned(folder: Path) -> None:
    """What killed runs of this folder left on this machine; other machines' processes cannot be asked."""
    for path in folder.parent.glob(f".{glob.escape(folder.name)}.{socket.gethostname()}.*.partial"):
        process = int(path.suffixes[-2][1:])
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            shutil.rmtree(path, ignore_errors=True)
        except PermissionError:
            pass  # alive, and somebody else's


def write_scores(path: Path, scores: Mapping[str, np.ndarray]) -> None:
    """Score maps by image name, as they were scored: cut again they give the same segmentation."""
    np.savez_compressed(path, **scores)
