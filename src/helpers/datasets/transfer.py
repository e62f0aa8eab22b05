"""One file from a server, resumed where it broke off: HTTP ranges or FTP REST, one chunk asked for at a time.

A download is written to a *part*, beside it a note of the file's length and stamp (date or ETag) on the server. What
the part holds is kept over a kill, a broken line or a stall, and continued; it is dropped where length or stamp have
changed. Whether the bytes are the right ones is for the caller to verify.
"""

import ftplib
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

CHUNK = 2**24  # bytes asked for at once over HTTP: the most that a killed download fetches twice
PIECE = 2**14  # bytes held in memory, and lost where a line breaks
LONGEST_WAIT = 600  # seconds; a server that asks for more patience than this is given up
_local = threading.local()


class NoRoom(OSError):
    """The disk has less room than the download needs; the message says how much is missing."""


class Broken(Exception):
    """An attempt that failed: `wait` seconds before the next, none where `final`."""

    def __init__(self, what: str, wait: float = 0, final: bool = False):
        super().__init__(what)
        self.wait, self.final = wait, final


class Stopped(Exception):
    """Another download of the same set failed, so this one was left."""


@dataclass
class Answer:
    """What a server sends: bytes from `first` to before `end` of a file of `total` bytes (None: not said)."""

    first: int
    end: int | None
    total: int | None
    stamp: str | None
    pieces: Iterator[bytes]


def amount(size: float) -> str:
    """A number of bytes as people read it: ``1.5 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def require_room(folder: Path, needed: int, variable: str = "HELPERS_DATA") -> None:
    """Raise `NoRoom` unless the disk of `folder` (or of its nearest parent that is there) has `needed` bytes free.

    `variable` is the environment variable that moves the folder.
    """
    place = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise NoRoom(
            f"{folder} has {amount(free)} free and {amount(needed)} are needed: {amount(needed - free)} are "
            f"missing. Make room, or set {variable} to a folder on a larger disk"
        )


def transfer(
    url: str,
    part: Path,
    *,
    size: int | None = None,
    verified: bool = True,
    chunk: int = CHUNK,
    tries: int = 4,
    delay: float = 1.0,
    timeout: float = 60.0,
    report: Callable[[int, int | None], None] = lambda position, total: None,
    stop: threading.Event | None = None,
) -> None:
    """Append to `part` what it lacks of the file at `url`, until it is whole.

    Parameters
    ----------
    url : str
        ``http://``, ``https://`` or ``ftp://``. Redirects are followed; proxies of the environment are honoured
        (not for FTP, which the standard library cannot send through one).
    part : Path
        Continued where it is the beginning of the same file.
    size : int, optional
        Published length in bytes.
    verified : bool
        The caller knows a hash or the length. Otherwise a server that does not say the length is refused: no one
        could tell a whole file from a torn one.
    chunk : int
        Bytes asked for at a time.
    tries : int
        Attempts in a row that bring nothing new.
    delay, timeout : float
        Seconds before the second of them, doubled before each further one (a Retry-After of the server prevails
        where it is longer); seconds without a byte after which a connection counts as broken.
    report : callable
        Called with the position and the total length (None: unknown) after each piece.
    stop : threading.Event, optional
        Once set, `Stopped` is raised at the next piece.

    Raises
    ------
    ConnectionError
        The server is not reached, answers with an error, or breaks off again and again.
    ValueError
        The server's file has another length than `size`.
    NoRoom, OSError
        The disk is too small, or `part` cannot be written to.
    """
    ask = _ask_ftp if urlsplit(url).scheme == "ftp" else _ask_http
    stop, failures, restarts, best = stop or threading.Event(), 0, 0, _length(part)
    while True:
        try:
            whole = _append(ask, url, part, size, verified, chunk, timeout, report, stop)
            failures = 0 if _length(part) > best else failures + 1
            if whole:
                return
            error = Broken("sent nothing new")
        except _Restart as restart:
            restarts, best, error = restarts + 1, 0, restart
            failures = restarts
        except Broken as broken:
            failures, error = (1 if _length(part) > best else failures + 1), broken
        best = max(best, _length(part))
        if failures and (error.final or failures >= tries):
            raise ConnectionError(f"{url} {error}") from error.__cause__
        wait = max(error.wait, delay * 2 ** (failures - 1)) if failures else 0
        if wait > LONGEST_WAIT:
            raise ConnectionError(f"{url} {error} and asks to come back in {wait:.0f} s. Try again then") from error
        if stop.wait(wait):
            raise Stopped


def remote_size(url: str, *, tries: int = 4, delay: float = 1.0, timeout: float = 60.0) -> int | None:
    """Length of the file at `url` in bytes, None where the server does not say. Raises ConnectionError.

    Parameters as of `transfer`.
    """
    ask, attempt = _ask_ftp if urlsplit(url).scheme == "ftp" else _ask_http, 0
    while True:
        attempt += 1
        try:
            with ask(url, 0, 1, None, timeout) as answer:
                return answer.total
        except Broken as error:
            if error.final or attempt >= tries or error.wait > LONGEST_WAIT:
                raise ConnectionError(f"{url} {error}") from error.__cause__
            time.sleep(max(error.wait, delay * 2 ** (attempt - 1)))


def _append(ask, url, part, size, verified, chunk, timeout, report, stop):
    """One attempt: append an answer to the part. Whether it is whole then."""
    note = _read_note(part)
    start = _length(part) if note else 0
    if note and start == note["size"]:
        return True
    with _anew(part), ask(url, start, chunk, note and note["stamp"], timeout) as answer:
        if size is not None and answer.total not in (None, size):
            raise ValueError(f"{url} has {answer.total} bytes; {size} were published")
        if answer.total is None and not verified:
            raise Broken("does not say its length, so that a torn file could not be told from a whole one", final=True)
        if answer.first and (note["size"], note["stamp"]) != (answer.total, answer.stamp or note["stamp"]):
            raise _Restart(f"changed while it was fetched: it had {note['size']} bytes, now {answer.total}")
        if not answer.first:
            part.unlink(missing_ok=True)
            write_json(_note(part), {"url": url, "size": answer.total, "stamp": answer.stamp})
        require_room(part.parent, (answer.total or 0) - answer.first)
        position = answer.first
        with open(part, "ab", buffering=0) as file:
            report(position, answer.total)
            for piece in answer.pieces:
                if stop.is_set():
                    raise Stopped
                if file.write(piece) != len(piece):
                    raise NoRoom(f"{part.parent} is full")
                position += len(piece)
                report(position, answer.total)
        if answer.end is not None and position != answer.end:
            raise Broken(f"did not deliver it: broke off after {position} of {answer.total} bytes")
        return answer.total is None or position == answer.total


@contextmanager
def _ask_http(url, start, chunk, stamp, timeout):
    """Ask for one chunk; a server that ignores ranges answers with the whole file."""
    import requests
    from urllib3.util import Retry

    if not hasattr(_local, "session"):
        _local.session = requests.Session()  # one a thread: a session is not made to be shared
    headers = {"Accept-Encoding": "identity", "Range": f"bytes={start}-{start + chunk - 1}"}
    if start and stamp:
        headers["If-Range"] = stamp
    with _network(requests.RequestException):
        response = _local.session.get(url, headers=headers, stream=True, timeout=timeout)
    with response:
        status, has = response.status_code, response.headers
        span = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", has.get("Content-Range", "").strip())
        total = int(span[3]) if span and span[3] != "*" else None
        if status == 416 and total == start:
            yield Answer(start, start, start, stamp, iter(()))
            return
        if status not in (200, 206, 416):
            later = status in (408, 425, 429) or status >= 500
            after = has.get("Retry-After") if later else None
            try:
                wait = (Retry().parse_retry_after(after) if after else 0) or 0
            except Exception:  # urllib3's for what is neither a number nor a date
                wait = 0
            raise Broken(f"answered with status {status}", wait, final=not later)
        if status == 416 or (status == 206 and (not span or span[1] is None or int(span[1]) != start or not total)):
            said = has.get("Content-Range", "no range")
            raise _Restart(f"answered a range from byte {start} with status {status} and {said!r}")
        if status == 206:
            first, end = start, int(span[2]) + 1
        else:
            first, total = 0, int(has["Content-Length"]) if has.get("Content-Length", "").isdigit() else None
            end = total
        tag = has.get("ETag", "W/")  # the date first: servers that share their work often differ in their tags
        stamp = has.get("Last-Modified") or (None if tag.startswith("W/") else tag)
        yield Answer(first, end, total, stamp, _pieces(response.iter_content(PIECE), requests.RequestException))


@contextmanager
def _ask_ftp(url, start, chunk, stamp, timeout):
    """Ask for all that is left: REST, RETR. Sockets buffer less than a chunk, so no more is fetched twice."""
    address = urlsplit(url)
    path = unquote(address.path)
    wrong = (OSError, EOFError, ftplib.Error)
    connection = ftplib.FTP(timeout=timeout)
    try:
        with _network(wrong):
            connection.connect(address.hostname, address.port or ftplib.FTP_PORT)
            connection.login(unquote(address.username or "anonymous"), unquote(address.password or "anonymous@"))
            connection.voidcmd("TYPE I")
            total = connection.size(path)
        if total is None or start > total:
            raise _Restart(f"has {total} bytes where {start} are there")
        with _network(wrong):
            try:
                data = connection.transfercmd(f"RETR {path}", rest=start or None)
            except ftplib.error_perm as error:
                if not start or str(error).startswith("550"):
                    raise
                start, data = 0, connection.transfercmd(f"RETR {path}")  # it cannot REST
        with data:
            yield Answer(start, total, total, None, _pieces(iter(lambda: data.recv(PIECE), b""), wrong))
    finally:
        connection.close()


class _Restart(Broken):
    """The part does not fit what the server has: the next attempt begins anew."""


@contextmanager
def _anew(part):
    try:
        yield
    except _Restart:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def _network(wrong):
    """Name what went wrong on the line; what a server refuses for good is final."""
    try:
        yield
    except wrong as error:
        cause = getattr(error.args[0], "reason", error) if error.args else error  # without its wrapping
        final = isinstance(error, ftplib.error_perm) or isinstance(error, ValueError)  # 5xx of FTP; no such address
        raise Broken(f"did not deliver it: {cause}", final=final) from error


def _pieces(source, wrong):
    """`source`, with what goes wrong on the line named."""
    while True:
        with _network(wrong):
            piece = next(source, None)
        if piece is None:
            return
        yield piece


def _length(part):
    return part.stat().st_size if part.exists() else 0


def _note(part):
    return part.with_name(part.name + ".json")


def _read_note(part):
    """What the server said of the file when its first byte came; None where there is nothing to continue."""
    try:
        note = json.loads(_note(part).read_text(encoding="utf-8"))
        return note if part.exists() and note["size"] is not None and "stamp" in note else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_json(path: Path, content) -> None:
    """Write JSON aside and rename it, so that it is there whole or not at all."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    try:
        aside.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
