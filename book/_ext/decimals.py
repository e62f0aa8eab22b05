"""Tables whose columns of decimals have as many places in every row: a file of rounded numbers lacks the last zeros."""

import re
from collections.abc import Sequence

from docutils import nodes

DECIMAL = re.compile(r"[-+]?\d+\.\d+")


def setup(app) -> dict:
    app.connect("doctree-read", pad)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def pad(app, doctree) -> None:
    for table in doctree.findall(nodes.table):
        rows = [row.children for body in table.findall(nodes.tbody) for row in body]
        if len({len(row) for row in rows}) != 1:  # where cells span others, nothing is a column
            continue
        for column in zip(*rows, strict=True):
            texts = [entry.astext() for entry in column]
            if any(isinstance(node, nodes.literal | nodes.math) for entry in column for node in entry.findall()):
                continue  # a name, such as a version, or an equation
            for entry, old, new in zip(column, texts, even(texts), strict=True):
                if old != new:
                    text = next(entry.findall(nodes.Text))
                    text.parent.replace(text, nodes.Text(new))


def even(column: Sequence[str]) -> list[str]:
    """Decimals with as many places as the longest of them; a column that holds anything else as it is."""
    filled = [cell for cell in column if cell]
    if not filled or not all(DECIMAL.fullmatch(cell) for cell in filled):
        return list(column)
    places = max(len(cell.partition(".")[2]) for cell in filled)
    return [cell and cell + "0" * (places - len(cell.partition(".")[2])) for cell in column]
