"""A run's output folder: filled aside, renamed when whole, and never shared by runs of different parameters."""

import atexit
import glob
import hashlib
import io
import json
import os
import shutil
import socket
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from helpers.files import flush_folder, write_whole

PARAMETERS = "parameters.json"
RESUME = "resume.pt"  # what a training that was interrupted leaves, somewhere in the folder aside

_DIGITS = 12  # of the hash that tells the folders aside of one output apart
_locks: dict[Path, object] = {}  # held by this process until the run is finished or the process ends


def claim(folder: str | Path, parameters: Mapping) -> Path:
    """Open a folder for a run and return the folder aside to write into, until :func:`finish`.

    The folder aside of a run that was interrupted, with the same parameters, is given again as it was left, if a
    training kept its state in it (``resume.pt``): :func:`helpers.training.train` goes on from there. One without is
    emptied.

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
    BlockingIOError
        Another process, on this or another machine, is writing this output.
    OSError
        The folder cannot be written; of a full disk, how much is missing.

    Notes
    -----
    The lock is that of the file system (flock, which NFS and Lustre pass between machines where they are mounted so);
    where there is none, a file that names its process. It ends with the process, however that ends.
    """
    folder = Path(folder)
    wanted = json.loads(json.dumps(dict(parameters)))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _lock(folder)
    except BlockingIOError:
        raise
    except OSError as error:
        _unlock(folder)
        raise _unwritable(folder, error) from error
    try:
        if _replaced(folder).exists() and not folder.exists():
            os.rename(_replaced(folder), folder)
        _refuse_others(folder, wanted)
    except BaseException:
        _unlock(folder)
        raise
    aside = _aside(folder, wanted)
    try:
        if not _resumable(aside) or _parameters(aside) != wanted:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            write_whole(aside / PARAMETERS, (json.dumps(wanted, indent=1, sort_keys=True) + "\n").encode())
    except OSError as error:
        _unlock(folder)
        raise _unwritable(folder, error) from error
    atexit.register(_leave, folder, aside, os.getpid())
    return aside


def finish(aside: Path, folder: str | Path) -> Path:
    """Put what was written aside in the folder's place; what stood there (the same run, made before) goes.

    So does what only an interrupted run needs, and what interrupted runs of other parameters left for this folder: it
    could not come here any more.
    """
    folder = Path(folder)
    old = _replaced(folder)
    if folder.exists():
        os.rename(folder, old)  # killed here, the next claim puts it back
    os.rename(aside, folder)
    flush_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)
    for kept in folder.rglob(RESUME):
        kept.unlink()
    for other in folder.parent.glob(f".{glob.escape(folder.name)}.{_DIGITS * '[0-9a-f]'}.partial"):
        shutil.rmtree(other, ignore_errors=True)
    _unlock(folder)
    return folder


def write_scores(path: Path, scores: Mapping[str, np.ndarray]) -> None:
    """Score maps by image name, as they were scored: cut again they give the same segmentation.

    OSError as :func:`helpers.files.write_whole`.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **scores)
    write_whole(path, buffer.getbuffer())


def _refuse_others(folder: Path, wanted: Mapping) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    there = _parameters(folder)
    if there is None:
        raise FileExistsError(f"output {folder} exists and is not the folder of a run; choose another output")
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


def _parameters(folder: Path) -> dict | None:
    record = folder / PARAMETERS
    return json.loads(record.read_text()) if record.is_file() else None


def _resumable(aside: Path) -> bool:
    return any(aside.rglob(RESUME))


def _leave(folder: Path, aside: Path, process: int) -> None:
    """At exit: a run that failed before it kept anything leaves nothing; a finished one has moved."""
    if os.getpid() == process and folder.absolute() in _locks:
        if not _resumable(aside):
            shutil.rmtree(aside, ignore_errors=True)
        _unlock(folder)


def _lock(folder: Path) -> None:
    """Hold the output for this process. BlockingIOError where another one does, saying which."""
    from filelock import FileLock, Timeout  # torch brings it

    key = folder.absolute()
    if key in _locks:
        return  # a notebook's cell, run again
    lock, owner = FileLock(_lock_file(folder)), _lock_file(folder).with_suffix(".owner")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        said = owner.read_text().strip() if owner.exists() else "another process"
        raise BlockingIOError(
            f"output {folder} is being written by {said}; wait for it, or choose another with -p output FOLDER"
        ) from None
    _locks[key] = lock
    write_whole(owner, f"process {os.getpid()} on {socket.gethostname()} since {time.ctime()}".encode())


def _unlock(folder: Path) -> None:
    lock = _locks.pop(folder.absolute(), None)
    if lock is not None:
        # Removed while held: whoever has opened the old file notices, and tries the new one.
        for file in (_lock_file(folder).with_suffix(".owner"), _lock_file(folder)):
            file.unlink(missing_ok=True)
        lock.release()


def _lock_file(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.lock"


def _replaced(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.replaced"


def _aside(folder: Path, parameters: Mapping) -> Path:
    """One for each set of parameters: interrupted runs of others are left alone until this one is finished."""
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:_DIGITS]
    return folder.parent / f".{folder.name}.{digest}.partial"


def _unwritable(folder: Path, error: OSError) -> OSError:
    return type(error)(
        error.errno, f"output {folder} cannot be written ({error.strerror}); choose another with -p output FOLDER"
    )
