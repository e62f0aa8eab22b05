"""Ending a training from outside, without losing it."""

import os
import signal
import threading


class Interrupted(SystemExit):
    """Training was asked to end (SIGTERM) and has kept its state; the same call again goes on from there.

    A script that does not catch it ends with exit code 143, as a process ended by SIGTERM does; in a notebook the cell
    fails, and so does the run, which is not finished.
    """

    def __init__(self, message: str):
        super().__init__(128 + signal.SIGTERM)
        self.message = message

    def __str__(self) -> str:
        return self.message


class Termination:
    """Takes note of SIGTERM while a training runs, and of the end of the process that a notebook's kernel serves."""

    def __init__(self, active: bool):
        # Python lets only the main thread handle signals; elsewhere SIGTERM ends the process, and resume.pt is as old
        # as it is.
        self.active = active and threading.current_thread() is threading.main_thread()
        self.reason = ""

    def __enter__(self) -> "Termination":
        # A kernel ends within a second of its parent: whoever ends papermill ends the training without a signal.
        self.parent = os.getppid() if self.active and "JPY_PARENT_PID" in os.environ else None
        if self.active:
            self.previous = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self.active:
            signal.signal(signal.SIGTERM, self.previous or signal.SIG_DFL)

    def _note(self, *_: object) -> None:
        self.reason = "SIGTERM"

    @property
    def requested(self) -> bool:
        if self.parent is not None and os.getppid() != self.parent:
            self.reason = self.reason or "the notebook's runner has gone"
        return bool(self.reason)
