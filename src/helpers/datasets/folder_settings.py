"""What a folder's ``dataset.json`` may say (`helpers.datasets.folder`), read and checked key by key."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

KEYS = ("spacing", "classes", "excludes", "boundaries", "masks", "absent", "white")
SAID = ("title", "source", "licence", "citation", "pictures")


def read_settings(file: Path) -> dict[str, Any]:
    """The keys of ``dataset.json`` and their values; empty where there is no such file.

    Raises
    ------
    ValueError
        Not a JSON object, an unknown key, or a value that is not of its key's kind: file, key, value and what was
        expected are named.
    """
    if not file.is_file():
        return {}
    try:
        settings = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=_each_once)
    except ValueError as error:
        raise ValueError(f"{file} is not a JSON object: {error}") from error
    if not isinstance(settings, dict):
        raise ValueError(f'{file} is not a JSON object but {settings!r}; expected such as {{"spacing": 8}}')
    unknown = [key for key in settings if key not in KEYS + SAID]
    if unknown:
        raise ValueError(f"{file} has unknown keys {', '.join(unknown)}; it may have {', '.join(KEYS + SAID)}")
    for key, value in settings.items():
        fits, expected = _KINDS[key]
        if not fits(value):
            raise ValueError(f"{key} of {file} is {value!r}; expected {expected}")
    return settings


def check_classes(file: Path, settings: dict[str, Any], classes: list[str]) -> None:
    """Raise ValueError where ``excludes`` or ``boundaries`` name a class that the folder does not have."""
    excludes = settings.get("excludes", {})
    named = {
        "excludes": [*excludes, *(other for others in excludes.values() for other in others)],
        "boundaries": settings.get("boundaries", []),
    }
    for key, names in named.items():
        unknown = sorted({name for name in names if name not in classes})
        if unknown:
            raise ValueError(
                f"{key} of {file} is {settings[key]!r}, and {', '.join(map(repr, unknown))} is not one of the "
                f"classes; expected {', '.join(classes)}"
            )
    for one, others in excludes.items():
        if one in others:
            raise ValueError(f"excludes of {file} is {excludes!r}; class {one!r} cannot exclude itself, leave it out")


def _each_once(pairs):
    keys = [key for key, _ in pairs]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} is there twice")
    return dict(pairs)


def _is_size(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e9


def _is_spacing(value):
    return value == "pixel" or _is_size(value) or (isinstance(value, list) and value and all(map(_is_size, value)))


def _is_text(value):
    return isinstance(value, str) and bool(value.strip())


def _are_names(value):
    names = isinstance(value, list) and all(_is_text(v) and "/" not in v and v not in (".", "..") for v in value)
    return names and len(set(value)) == len(value)


def _are_excludes(value):
    return isinstance(value, dict) and all(map(_are_names, value.values()))


_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "spacing": (_is_spacing, 'nm per pixel, one number above 0 or a list of one for each axis, or "pixel"'),
    "classes": (lambda v: _are_names(v) and v, 'a list of names, each once and without "/", such as ["nuclei"]'),
    "excludes": (_are_excludes, 'from a class to a list of classes, such as {"axon": ["membrane"]}'),
    "boundaries": (_are_names, 'a list of classes, each once, such as ["membrane"]'),
    "masks": (lambda v: v in ("binary", "soft", "nonzero"), "binary or soft or nonzero"),
    "absent": (lambda v: v == "unknown", "unknown"),
    "white": (lambda v: _is_size(v) and isinstance(v, int), "a grey value of 1 or more, such as 4095"),
    **dict.fromkeys(SAID, (_is_text, "a text")),
    "pictures": (lambda v: isinstance(v, bool), "true or false"),
}
