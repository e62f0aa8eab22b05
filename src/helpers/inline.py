"""Data inside a page: one that is opened from disk may not read other files."""

import json
from typing import Any


def as_json(data: Any) -> str:
    """Compact JSON that may stand inside a page's script. ValueError where a number is not finite."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")


def script(data: Any, name: str) -> str:
    """HTML of data that the book's scripts find by the class ``name``; a browser does not run it."""
    return f'<script type="application/json" class="{name}">{as_json(data)}</script>'
