"""What a published file must be: SHA-256, git blob, MD5, a length, or what it was when first seen."""

import hashlib
from pathlib import Path

from helpers.datasets.transfer import write_json

FIRST_SEEN = "first_seen.json"  # beside the downloads


def read_registry(path: Path) -> dict[str, str]:
    """Paths and SHA-256 of a file in the format of ``sha256sum``; lines that begin with # are comments."""
    lines = [line for line in Path(path).read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    return {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_blob(path: Path) -> str:
    """The name that git gives to a file's content: SHA-1 of ``blob LENGTH\\0`` and the bytes."""
    with open(path, "rb") as file:
        start = hashlib.sha1(b"blob %d\0" % Path(path).stat().st_size, usedforsecurity=False)
        return hashlib.file_digest(file, lambda: start).hexdigest()


def kind(expected: str | None) -> str:
    """What `expected` is: ``"SHA-256"`` (64 hexadecimal digits), ``"git blob"`` (40), ``"MD5"`` (32), ``"length"``
    (``size:`` and a number of bytes) or ``"first seen"`` (None).

    Raises
    ------
    ValueError
        It is none of these.
    """
    if expected is None:
        return "first seen"
    if expected.startswith("size:") and expected[5:].isdigit():
        return "length"
    kinds = {64: "SHA-256", 40: "git blob", 32: "MD5"}
    if len(expected) not in kinds or not set(expected) <= set("0123456789abcdef"):
        raise ValueError(
            f"expected hash is {expected!r}; write 64 (SHA-256), 40 (git blob) or 32 (MD5) lower-case hexadecimal "
            "digits, 'size:' and a number of bytes, or None"
        )
    return kinds[len(expected)]


def digest(path: Path, expected: str | None) -> str:
    """Of a file, what is to equal `expected`, in the same form; SHA-256 where that is None."""
    how = kind(expected)
    if how == "length":
        return f"size:{Path(path).stat().st_size}"
    if how == "git blob":
        return git_blob(path)
    if how == "MD5":
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    return sha256(path)


def weak(expected: str | None) -> bool:
    """Whether nothing but a length, or nothing at all, was published: the file is then held to its first sight."""
    return kind(expected) in ("length", "first seen")


def first_seen(folder: Path) -> dict[str, str]:
    """SHA-256, by path, of the files in `folder` for which no hash is published, as they were when first seen.

    Raises
    ------
    ValueError
        The record is damaged.
    """
    import json

    path = Path(folder) / FIRST_SEEN
    if not path.exists():
        return {}
    try:
        seen = json.loads(path.read_text(encoding="utf-8"))["sha256"]
        if not all(kind(value) == "SHA-256" for value in seen.values()):
            raise ValueError("what it holds is not SHA-256")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is damaged ({error!r}): remove it, and what is downloaded is recorded again"
        ) from error
    return seen


def record(folder: Path, seen: dict[str, str]) -> None:
    """Add SHA-256, by path, to the record of `folder`; what is on record stays."""
    folder = Path(folder)
    write_json(folder / FIRST_SEEN, {"sha256": {**seen, **first_seen(folder)}})
