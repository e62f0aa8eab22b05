"""The memory that this process has taken, and giving it back."""

import contextlib
import ctypes
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_memory() -> int:
    """The largest resident set of this process so far, in bytes.

    On Linux that is the high-water mark of the process's own memory, since getrusage's number is handed down: a child
    of a large process starts with its parent's. Elsewhere it is getrusage's.
    """
    if _STATUS.exists():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024  # kB
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def give_back() -> None:
    """Hand freed memory back to the system, where the C library can (glibc); elsewhere nothing happens.

    Arrays of some MB come from a heap once a few have been freed, and what lies between them is kept: of many threads
    that each free large arrays, the process would hold more and more.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
