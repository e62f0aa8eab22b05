"""The package's docstrings as Sphinx wants them: what is plain text there but markup to Sphinx, and references."""

import re

LITERAL = re.compile(r"(``.+?``|`[^`]+`)", re.DOTALL)
FIELD_OF_A_NAMED_TUPLE = "Alias for field number"


def setup(app) -> dict:
    app.connect("autodoc-process-docstring", tidy, priority=400)  # before napoleon, which has the default of 500
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def tidy(app, what: str, name: str, obj, options, lines: list[str]) -> None:
    """Rewrite a docstring's lines in place."""
    lines[:] = readable("\n".join(lines)).split("\n")
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]  # an empty comment: napoleon takes what precedes a colon in the first line for a type


def skip(app, what: str, name: str, obj, skipped: bool, options) -> bool | None:
    """Leave out the fields of a named tuple: its docstring tells them, their own tell only their numbers."""
    return True if str(getattr(obj, "__doc__", "")).startswith(FIELD_OF_A_NAMED_TUPLE) else None


def readable(text: str) -> str:
    """A docstring whose asterisks, bars, footnotes and lists are what its author meant.

    ``(B, C, *S)`` starts no emphasis, and ``|y - z|`` is no substitution. Footnotes have numbers of their own in each
    function and would clash on a page, so they become numbered lines; a DOI becomes a link. ``name : what it is`` in a
    description, outside the sections, becomes an item of a list.
    """
    text = re.sub(r":DOI:`([^`]+)`", r"doi:\1", text)
    described = re.split(r"\n[^\n]+\n *-{3,}\n", text, maxsplit=1)[0]
    text = _listed(described) + text[len(described) :]
    return "".join(part if part.startswith("`") else _plain(part) for part in LITERAL.split(text))


def _listed(text: str) -> str:
    """``name : text`` with its indented lines as items of a list that ends before what follows."""
    item = re.compile(r"^(\w+(?:, \w+)*) : (.+(?:\n {2,}\S.*)*)", re.MULTILINE)
    text = item.sub(lambda m: f"- **{m[1]}**: " + re.sub(r"\n +", "\n  ", m[2]), text)
    return re.sub(r"^(- \*\*.+(?:\n  .+)*\n)(?=[^-\s])", r"\1\n", text, flags=re.MULTILINE)


def _plain(text: str) -> str:
    text = re.sub(r"(?<![\w\\*])\*(?=\w+[),\]])", r"\\*", text)
    text = text.replace("|", r"\|")
    text = re.sub(r"\[(\d+)\]_", r"[\1]", text)
    text = re.sub(r"^(\s*)\.\. \[(\d+)\] ", r"\1| [\2] ", text, flags=re.MULTILINE)
    return re.sub(r"\bdoi:(10\.\d{4,9}/[^\s<>`,;]*[\w)>])", r"`doi:\1 <https://doi.org/\1>`__", text)
