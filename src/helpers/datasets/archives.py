"""A zip archive read as a stream of members: nothing is unpacked to disk, and nothing hostile is believed.

The central directory is checked as a whole before the first byte of a member is read. Refused by name: members that
point out of the archive, links and other special files, encrypted ones, two of one name, ones that overlap, and those
that would unpack to more than the limits (a zip bomb).
"""

import lzma
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

MEMBER = 2**28  # bytes that one member may unpack to
TOTAL = 2**40  # bytes that all may
RATIO = 200  # unpacked to packed; deflate cannot go beyond 1032, images stay under 20
LOCAL_HEADER = 30  # bytes before a member's name
_CODECS = (zlib.error, lzma.LZMAError)  # what they raise of torn bytes; bz2 raises OSError without a number


@contextmanager
def open_archive(source, *, member: int = MEMBER, total: int = TOTAL, ratio: float = RATIO):
    """A zip archive as a checked ``zipfile.ZipFile``, closed afterwards.

    Parameters
    ----------
    source : path, ``http(s)://`` address or binary file
        An address is read by ranges through fsspec: the directory, then the members that are asked for.
    member, total : int
        Bytes that one member, and all together, may unpack to.
    ratio : float
        Unpacked over packed size that a member above 1 MiB may have.

    Raises
    ------
    ValueError
        It is no whole zip archive, or holds a member that is refused.
    ConnectionError
        The server of an address is not reached, or knows no ranges.
    """
    with _opened(source) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                _check(source, archive, member, total, ratio)
                yield archive
        except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
            raise ValueError(f"{source} is not a whole, readable zip archive: {error}") from error


def read_members(source, wanted: Callable[[str], bool] = lambda name: True, **limits) -> Iterator[tuple[str, bytes]]:
    """Name and content of one member after the other, in the order in which they lie in the archive.

    Parameters
    ----------
    source, **limits
        As in `open_archive`.
    wanted : callable
        Which names; folders are never given.

    Raises
    ------
    ValueError
        As `open_archive`; or a member is damaged (its CRC), of a compression that is not known, or not as long as
        the directory says.
    """
    with open_archive(source, **limits) as archive:
        for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
            if not info.is_dir() and wanted(info.filename):
                yield info.filename, read_member(source, archive, info)


def read_member(source, archive: zipfile.ZipFile, info: zipfile.ZipInfo | str) -> bytes:
    """Content of one member of an archive that `open_archive` gave; `source` is for the error's text."""
    info = archive.getinfo(info) if isinstance(info, str) else info
    try:
        with archive.open(info) as file:
            content = file.read(info.file_size + 1)  # no more than was announced is ever unpacked
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, OSError, *_CODECS) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's or the network's, not that of a codec
        raise ValueError(f"{source}: member {info.filename!r} cannot be read: {error}") from error
    if len(content) != info.file_size:
        raise ValueError(
            f"{source}: member {info.filename!r} has {len(content)} bytes; its directory says {info.file_size}"
        )
    return content


@contextmanager
def _opened(source):
    if hasattr(source, "read"):
        yield source
    elif re.match(r"https?://", str(source)):
        import aiohttp
        import fsspec

        options = {"trust_env": True}  # proxies of the environment
        failed = (aiohttp.ClientError, fsspec.exceptions.FSTimeoutError)
        opening = fsspec.open(str(source), block_size=2**20, client_kwargs=options)
        try:
            opening.open().close()
        except (*failed, FileNotFoundError) as error:
            raise ConnectionError(f"{source} did not deliver it: {error!r}. Check network and HTTPS_PROXY") from error
        try:
            with opening as file:
                yield file
        except failed as error:
            raise ConnectionError(f"{source} broke off: {error!r}. Check network and HTTPS_PROXY") from error
        except ValueError as error:
            if "range requests" not in str(error):
                raise
            raise ConnectionError(f"{source} cannot be read in parts: {error} Download it whole") from error
    else:
        with open(Path(source), "rb") as file:
            yield file


def _check(source, archive, member, total, ratio):
    """Refuse what the central directory gives away."""
    seen, sum_, end, last = {}, 0, 0, ""
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        name, why = info.filename, None
        parts = name.replace("\\", "/").split("/")
        mode = info.external_attr >> 16
        plain = "/".join(part for part in parts if part not in ("", "."))
        sum_ += info.file_size
        if name != info.orig_filename or "\0" in name or not plain:
            why = f"has a name that is not plain text: {info.orig_filename!r}"
        elif ".." in parts:
            why = "points out of the archive by '..'"
        elif name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
            why = "has an absolute path"
        elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            why = "is a link" if stat.S_ISLNK(mode) else "is a special file"
        elif info.flag_bits & 1:
            why = "is encrypted"
        elif plain in seen:
            why = f"is there twice (the other: {seen[plain]!r})"
        elif info.file_size > member:
            why = f"unpacks to {info.file_size} bytes; at most {member} are allowed"
        elif info.file_size > 2**20 and info.file_size > ratio * max(1, info.compress_size):
            why = f"unpacks to {info.file_size} bytes from {info.compress_size}, over {ratio} times as many"
        elif sum_ > total:
            why = f"brings the total to over {total} bytes"
        elif info.header_offset < end:
            why = f"overlaps {last!r}"
        if why:
            raise ValueError(f"{source}: member {name!r} {why}. The archive is refused")
        seen[plain], last = name, name
        end = info.header_offset + LOCAL_HEADER + info.compress_size
