"""Files that are whole or not there: written aside, flushed to the disk, then renamed."""

import errno
import os
import shutil
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)


def write_whole(path: str | Path, data: bytes | memoryview) -> None:
    """Write a file aside, flush it and rename it: whoever reads finds the old content or the new, never a part.

    Parameters
    ----------
    path : path
        Its folder exists; one writer at a time.
    data : bytes

    Raises
    ------
    OSError
        It cannot be written; of a full disk (or quota) the message names the folder and how much is missing. Nothing
        is left behind, and what stood at ``path`` still stands.
    """
    path = Path(path)
    aside = path.with_name(path.name + ".partial")
    try:
        with open(aside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        if error.errno not in _FULL:
            raise
        size, free = len(data), shutil.disk_usage(path.parent).free
        missing = f"{_readable(size - free)} more are missing" if size > free else "or its quota is used up"
        raise OSError(
            error.errno,
            f"the disk of {path.parent} is full: {path.name} needs {_readable(size)}, {_readable(free)} are free, "
            f"{missing}; make room, then start the same again",
        ) from error
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Bring renames in a folder to the disk, where the system can (Windows and some network disks cannot)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def _readable(size: int) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if unit != "bytes" else f"{size} bytes"
        size /= 1000
    return f"{size:.1f} GB"
