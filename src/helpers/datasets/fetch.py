"""Download sets of published files: many at once, each resumed, verified, and appearing whole or not at all."""

import hashlib
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from helpers.datasets.hashes import FIRST_SEEN, digest, first_seen, kind, read_registry, record, sha256, weak
from helpers.datasets.progress import Report
from helpers.datasets.transfer import CHUNK, NoRoom, Stopped, require_room, transfer

__all__ = ["aside", "cache_folder", "downloads_folder", "fetch", "import_pooch", "read_registry", "sha256"]

DAY = 24 * 3600
PHANTOM = "The phantom data set (-p dataset phantom) needs no download."


def import_pooch():
    """pooch, without the warning of its progress bar that a notebook has no widgets for it: none are used."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        import pooch
    return pooch


def cache_folder() -> Path:
    """The user's cache, as the operating system has it."""
    return Path(import_pooch().os_cache("hot-or-distance"))


def downloads_folder() -> Path:
    """Where published files are looked for and downloaded to, as ``<folder>/<data set>/…``.

    The environment variable HELPERS_DATA, else the user's cache folder. Where complete it may be read-only.
    """
    if os.environ.get("HELPERS_DATA"):
        return Path(os.environ["HELPERS_DATA"]).expanduser().absolute()
    return cache_folder()


def fetch(
    registry: dict[str, str | None],
    url: str | Sequence[str],
    folder: Path,
    *,
    progress: bool = True,
    tries: int = 4,
    delay: float = 1.0,
    sizes: dict[str, int] | None = None,
    threads: int = 8,
    timeout: float = 60.0,
    chunk: int = CHUNK,
) -> dict[str, str]:
    """Make every file of `registry` be in `folder` with the right bytes, downloading what is not.

    Files with the right hash are used as they are, and nothing is written where all have it. A file with
    a wrong hash is renamed to ``NAME.corrupt-`` and the first 8 digits of its hash, and fetched again. What has
    come when a download is killed or fails is kept (``.download.….partial``), and the next call continues it.

    Parameters
    ----------
    registry : dict
        From path, relative to both `url` and `folder`, to what was published of it: SHA-256, git blob or MD5 in
        hexadecimal, ``size:N``, or None. In the last two cases the SHA-256 is recorded at first sight in
        ``first_seen.json``, and the file held to it ever after.
    url : str or sequence of str
        Where they are published, ``http(s)://`` or ``ftp://``; file NAME is at ``url/NAME``. Of several, the next
        is tried where one fails. Proxies of the environment are honoured.
    folder : Path
        Where they belong.
    progress : bool
        One bar where stderr is a terminal, else a few lines; nothing if False.
    tries : int
        Attempts in a row that bring nothing new, at a server that fails or breaks off. Wrong bytes are fetched
        once more, a 404 is final.
    delay : float
        Seconds before the second attempt; doubled before each further one. A longer Retry-After prevails.
    sizes : dict, optional
        Length in bytes of files of which it is published; where of all that are missing, room for the whole is
        checked beforehand.
    threads : int
        Downloads at once. The first file is fetched alone: a server that is not there gets one request.
    timeout, chunk
        As in `helpers.datasets.transfer.transfer`.

    Returns
    -------
    dict
        Hash by path, in the form of the registry; SHA-256 for what is held to its first sight.

    Raises
    ------
    ConnectionError
        The server is not reached, or answers with an error.
    ValueError
        The server sends bytes with another hash than the published one.
    OSError
        `folder` cannot be written to, or its disk is too small.
    """
    folder, sizes = Path(folder), sizes or {}
    urls = [url] if isinstance(url, str) else list(url)
    seen = first_seen(folder) if any(weak(value) for value in registry.values()) else {}
    right = {name: seen.get(name) or value if weak(value) else value for name, value in registry.items()}
    found = {name: digest(folder / name, right[name]) for name in right if (folder / name).is_file()}
    todo = [name for name in right if name not in found or right[name] not in (None, found[name])]
    what = f"{urls[0]} → {folder}"
    try:
        if todo:
            with _parts(folder) as partial:
                if all(name in sizes for name in todo):
                    there = sum(part.stat().st_size for part in partial.glob("*.part"))
                    require_room(folder, sum(sizes[name] for name in todo) - there)
                report = Report(what, todo, sum(map(sizes.get, todo)) if sizes.keys() >= set(todo) else None, progress)

                def one(name, stop):
                    options = {"size": sizes.get(name), "tries": tries, "delay": delay, "timeout": timeout}
                    options |= {"chunk": chunk, "stop": stop, "report": lambda *at: report.moved(name, *at)}
                    part = partial / (hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest() + ".part")
                    found_now = _verified([f"{u}/{quote(name)}" for u in urls], right[name], part, options)
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    if name in found:
                        _keep_aside(folder / name, right[name], found[name])
                    os.replace(part, folder / name)
                    report.finished(name)
                    return name, found_now

                try:
                    found |= dict(_at_once(one, todo, threads))
                finally:
                    report.close()
        else:  # of a process that was killed when all was done
            for old in _left_behind(folder, "download"):
                if not _filled(old):
                    shutil.rmtree(old, ignore_errors=True)
        news = {n: sha256(folder / n) if found[n].startswith("size:") else found[n] for n in found if weak(right[n])}
        if not news.items() <= seen.items() and (todo or os.access(folder, os.W_OK)):
            record(folder, news)
        return {**found, **news}
    except (ConnectionError, ValueError) as error:
        first = next((n for n in todo if f"/{quote(n)} " in f"{error} "), todo[0] if todo else "")
        lacks = (
            f"has {_said(right[first])} {found[first]} instead of {right[first]}" if first in found else "is not there"
        )
        held = f" (its hash is the one on record in {folder / FIRST_SEEN})" if first in seen else ""
        raise type(error)(
            f"{folder / first} {lacks}, and {error}{held}. Check network and HTTPS_PROXY, or set HELPERS_DATA to a "
            f"folder whose {folder.name}/ holds the published files. {PHANTOM}"
        ) from error
    except NoRoom as error:
        raise NoRoom(f"{len(todo)} of {len(registry)} files are still to be downloaded: {error}. {PHANTOM}") from error
    except OSError as error:
        raise OSError(
            f"{len(todo)} of {len(registry)} files are missing from {folder} or have other bytes than were "
            f"published (the first: {(todo or list(registry))[0]}), and it cannot be written to: {error}. "
            f"Set HELPERS_DATA to a folder that can be. {PHANTOM}"
        ) from error


def _at_once(one, todo, threads):
    """Results of `one` for all of `todo`, the first alone; what fails first in the list's order stops the rest."""
    stop = threading.Event()
    yield one(todo[0], stop)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        futures = [pool.submit(one, name, stop) for name in todo[1:]]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
            for future in futures:
                future.cancel()
    stopped = [f for f in futures if not f.cancelled() and isinstance(f.exception(), Stopped)]
    for future in futures:
        if future not in stopped and not future.cancelled():
            yield future.result()


def _verified(urls, expected, part, options):
    """Fetch one file into `part` from the first of `urls` that delivers the right bytes; its hash."""
    failed = []
    for number, url in enumerate(urls, 1):
        for attempt in (1, 2):
            try:
                transfer(url, part, verified=expected is not None or bool(options["size"]), **options)
            except (ConnectionError, ValueError) as error:
                failed.append(str(error))
                if number < len(urls):
                    break
                raise type(error)("; ".join(failed)) from error
            got = digest(part, expected)
            if expected in (None, got):
                return got
            part.unlink()
            if attempt == 2 and number == len(urls):
                said = "was published" if kind(expected) != "SHA-256" else "were published"
                raise ValueError(
                    f"{url} sent other bytes than {said}, twice: {_said(expected)} {got} instead of {expected}"
                )


def _said(expected):
    return {"first seen": "SHA-256"}.get(kind(expected), kind(expected))


def _keep_aside(path, expected, found):
    """Rename a file with a wrong hash, unless another process has just put the right one in its place."""
    try:
        if digest(path, expected) == found:
            os.replace(path, path.with_name(f"{path.name}.corrupt-{found.removeprefix('size:')[:8]}"))
    except FileNotFoundError:
        pass


@contextmanager
def _parts(folder):
    """The folder of parts of this process in `folder`: one that a process now dead left behind, else a new one.

    It is gone once all is done, and left for the next call where something has come and the rest failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / _mine("download")
    for old in sorted(_left_behind(folder, "download"), key=_filled, reverse=True):
        try:
            if not partial.exists() and _filled(old):
                os.rename(old, partial)  # one of several processes succeeds
            else:
                shutil.rmtree(old, ignore_errors=True)
        except FileNotFoundError:
            pass
    partial.mkdir(exist_ok=True)
    try:
        yield partial
    except BaseException:
        if _filled(partial):
            os.rename(partial, folder / f".download.left.{secrets.token_hex(4)}.partial")
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _filled(partial):
    return sum(part.stat().st_size for part in partial.glob("*.part"))


@contextmanager
def aside(folder: Path, name: str):
    """A new folder ``.NAME.HOST.PID.TOKEN.partial`` in `folder` to write in, gone afterwards.

    What is finished is renamed out of it, so that it appears whole or not at all. Those that killed processes
    of this machine left behind are removed first; those of another machine (on a shared disk) after a day.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in _left_behind(folder, name):
        shutil.rmtree(old, ignore_errors=True)
    partial = folder / _mine(name)
    partial.mkdir()
    try:
        yield partial
    finally:
        for _ in range(50):  # threads that were writing when an error came may write on for a moment
            shutil.rmtree(partial, ignore_errors=True)
            if not partial.exists():
                break
            time.sleep(0.1)


def _mine(name):
    return f".{name}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}.partial"


def _left_behind(folder, name):
    """Folders of `aside` whose process is dead, as far as can be known from here."""
    mine = f".{name}.{socket.gethostname()}."
    for old in folder.glob(f".{name}.*.partial"):
        pid = old.name.removeprefix(mine).split(".")[0]
        try:
            here = old.name.startswith(mine) and pid.isdigit()
            if old.name.startswith(f".{name}.left."):
                yield old
            elif not _alive(int(pid)) if here else time.time() - old.stat().st_mtime > DAY:
                yield old
        except FileNotFoundError:
            pass  # its own process has just removed it


def _alive(pid):
    if os.name == "nt":
        return True  # there, os.kill would end it; its leavings go when a day old
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
