"""Report downloads on stderr: one bar on a terminal, a few lines in a notebook or a log."""

import sys
import threading
import time

from helpers.datasets.transfer import amount


class Report:
    """What has come of `names`; safe to call from several threads.

    Parameters
    ----------
    what : str
        From where to where.
    names : list of str
        Files to download.
    total : int, optional
        Bytes of all of them, where known beforehand (of a single file the server says it).
    shown : bool
        Report nothing where False.
    """

    def __init__(self, what: str, names: list[str], total: int | None, shown: bool):
        self.what, self.count, self.total, self.shown = what, len(names), total, shown
        self.done, self.quarter, self.spoke = 0, 0, time.monotonic()
        self.began, self.drawn, self.positions = time.monotonic(), 0.0, {}
        self.lock, self.bar = threading.Lock(), None
        self.here = self.came = 0  # bytes, all of them and those of this run
        if shown and not sys.stderr.isatty():
            size = f", {amount(total)}" if total else ""
            self._say(f"{self.count} file{'s' * (self.count != 1)} to download{size}")

    def moved(self, name: str, position: int, total: int | None) -> None:
        """File `name` is there up to `position`, of `total` bytes."""
        with self.lock:
            self.came += max(0, position - self.positions.get(name, position))  # what an earlier run left is no speed
            self.here += position - self.positions.get(name, 0)
            self.positions[name] = position
            if self.count == 1 and total:
                self.total = total
            if time.monotonic() - self.drawn > 0.1:
                self._show()

    def finished(self, name: str) -> None:
        """File `name` is whole and verified."""
        with self.lock:
            self.done += 1
            self._show()

    def close(self) -> None:
        """Leave the bar as it is."""
        if self.bar is not None:
            self.bar.close()

    def _show(self):
        if not self.shown:
            return
        self.drawn = time.monotonic()
        here, rate = self.here, self.came / max(1e-3, self.drawn - self.began)
        if sys.stderr.isatty():
            self._draw(here, rate)
            return
        share = here / self.total if self.total else self.done / self.count
        share = 1.0 if self.done == self.count else min(share, 0.999)
        if int(4 * share) == self.quarter and time.monotonic() - self.spoke < 60:
            return
        self.quarter, self.spoke = int(4 * share), time.monotonic()
        left = "" if share in (0, 1) else f", {_duration((time.monotonic() - self.began) * (1 - share) / share)} left"
        of = f" of {amount(self.total)}" if self.total else ""
        self._say(f"{self.done} of {self.count}, {amount(here)}{of}, {amount(rate)}/s{left}")

    def _draw(self, here, rate):
        from tqdm import tqdm

        if self.bar is None:
            unit = {"unit": "B", "unit_scale": True} if self.total else {"unit": "file"}
            initial = here - self.came if self.total else 0
            self.bar = tqdm(total=self.total or self.count, initial=initial, desc=self.what, **unit)
        if self.total:
            self.bar.n = here
        else:
            self.bar.n = self.done
            self.bar.set_postfix_str(f"{amount(rate)}/s", refresh=False)
        self.bar.update(0)
        if self.done == self.count:
            self.bar.refresh()

    def _say(self, text):
        print(f"{self.what}: {text}", file=sys.stderr, flush=True)


def _duration(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {seconds:02d} s"
