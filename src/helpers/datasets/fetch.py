"""Download published files, each verified against its SHA-256, each appearing whole or not at all."""

import hashlib
import os
import secrets
import shutil
import socket
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

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


def read_registry(path: Path) -> dict[str, str]:
    """Paths and SHA-256 of a file in the format of ``sha256sum``; lines that begin with # are comments."""
    lines = [line for line in Path(path).read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    return {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(
    registry: dict[str, str],
    url: str,
    folder: Path,
    *,
    progress: bool = True,
    tries: int = 4,
    delay: float = 1.0,
) -> None:
    """Make every file of `registry` be in `folder` with the right bytes, downloading what is not.

    Files with the right hash are used as they are, and nothing is written where all have it. A file with
    a wrong hash is renamed to ``NAME.corrupt-`` and the first 8 digits of its hash, and fetched again.

    Parameters
    ----------
    registry : dict
        From path, relative to both `url` and `folder`, to SHA-256.
    url : str
        Where they are published; file NAME is at ``url/NAME``. Proxies of the environment are honoured.
    folder : Path
        Where they belong.
    progress : bool
        One bar over files where stderr is a terminal, else a few lines; nothing if False.
    tries : int
        Attempts for a server that fails or breaks off. Wrong bytes are fetched once more, a 404 is final.
    delay : float
        Seconds before the second attempt; doubled before each further one.

    Raises
    ------
    ConnectionError
        The server is not reached, or answers with an error.
    ValueError
        The server sends bytes with another hash than the published one.
    OSError
        `folder` cannot be written to.
    """
    folder = Path(folder)
    found = {name: sha256(folder / name) for name in registry if (folder / name).is_file()}
    todo = [name for name in registry if found.get(name) != registry[name]]
    if not todo:
        return
    try:
        with aside(folder, "download") as partial:
            for name in _reported(todo, f"{url} → {folder}", progress):
                whole = _download(f"{url}/{quote(name)}", registry[name], partial, tries, delay)
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                if name in found:
                    _keep_aside(folder / name, found[name])
                os.replace(whole, folder / name)
    except (ConnectionError, ValueError) as error:
        lacks = f"has SHA-256 {found[name]} instead of {registry[name]}" if name in found else "is not there"
        raise type(error)(
            f"{folder / name} {lacks}, and {error}. Check network and HTTPS_PROXY, or set HELPERS_DATA to a "
            f"folder whose {folder.name}/ holds the published files. {PHANTOM}"
        ) from error
    except OSError as error:
        raise OSError(
            f"{len(todo)} of {len(registry)} files are missing from {folder} or have other bytes than were "
            f"published (the first: {todo[0]}), and it cannot be written to: {error}. "
            f"Set HELPERS_DATA to a folder that can be. {PHANTOM}"
        ) from error


def _download(url, digest, partial, tries, delay):
    """Fetch one file into folder `partial`; its path there, once its hash is right."""
    pooch = import_pooch()
    from requests.exceptions import RequestException

    log, downloader = pooch.get_logger(), pooch.HTTPDownloader(timeout=60)
    level, wrong, attempt = log.level, 0, 0
    while True:
        attempt += 1
        try:
            log.setLevel("WARNING")  # else a line per file, beside our own
            whole = Path(pooch.retrieve(url, f"sha256:{digest}", digest, partial, downloader=downloader))
            # pooch makes files for their owner alone; a shared folder's other users are to read them too
            whole.chmod(partial.stat().st_mode & 0o666)
            return whole
        except RequestException as error:
            status = getattr(error.response, "status_code", None)
            cause = getattr(error.args[0], "reason", error) if error.args else error  # without its wrapping
            if attempt >= tries or (status and status < 500 and status not in (408, 429)):
                what = f"answered with status {status}" if status else f"did not deliver it: {cause}"
                raise ConnectionError(f"{url} {what}") from error
        except ValueError as error:  # pooch's for another hash; its message holds both
            wrong += 1
            if wrong == 2:
                raise ValueError(f"{url} sent other bytes than were published, twice: {error}") from error
        finally:
            log.setLevel(level)
        time.sleep(delay * 2 ** (attempt - 1))


def _keep_aside(path, digest):
    """Rename a file with a wrong hash, unless another process has just put the right one in its place."""
    try:
        if sha256(path) == digest:
            os.replace(path, path.with_name(f"{path.name}.corrupt-{digest[:8]}"))
    except FileNotFoundError:
        pass


def _reported(todo, what, progress):
    """The names of `todo`, one after the other, with a bar or with a line at each quarter."""
    if progress and sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(todo, desc=what, unit="file")
        return
    if progress:
        print(f"{what}: {len(todo)} files to download", file=sys.stderr, flush=True)
    for done, name in enumerate(todo, 1):
        yield name
        if progress and (done == len(todo) or done * 4 // len(todo) > (done - 1) * 4 // len(todo)):
            print(f"{what}: {done} of {len(todo)}", file=sys.stderr, flush=True)


@contextmanager
def aside(folder: Path, name: str):
    """A new folder ``.NAME.HOST.PID.TOKEN.partial`` in `folder` to write in, gone afterwards.

    What is finished is renamed out of it, so that it appears whole or not at all. Those that killed processes
    of this machine left behind are removed first; those of another machine (on a shared disk) after a day.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mine = f".{name}.{socket.gethostname()}."
    for old in folder.glob(f".{name}.*.partial"):
        pid = old.name.removeprefix(mine).split(".")[0]
        try:
            here = old.name.startswith(mine) and pid.isdigit()
            if not _alive(int(pid)) if here else time.time() - old.stat().st_mtime > DAY:
                shutil.rmtree(old, ignore_errors=True)
        except FileNotFoundError:
            pass  # its own process has just removed it
    partial = folder / f"{mine}{os.getpid()}.{secrets.token_hex(4)}.partial"
    partial.mkdir()
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


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
