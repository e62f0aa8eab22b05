"""Surfaces as a page shows them: compact data, and the figure that the book's script makes turn.

The scripts ``surface_viewer.js`` and ``surface_picture.js`` and their style stand in ``book/_static``, and the book
loads them on every page. The data are part of the page, because a page that is opened from disk may not read other
files. Without a script, and on paper, the figure's static picture stands there instead.
"""

import base64
import html
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from helpers.inline import as_json, script
from helpers.surfaces import METRICS, Surface, Surfaces

FORMAT = 1
LARGEST = 2_500_000  # bytes of data in one page
_MISSING = 65535
_LABELS = {"random": "random directions", "pca": "the path's directions"}
_NAMES = {"cross_entropy": "cross entropy of the score", "IoU": "IoU, natural cut"}


def viewer_data(surfaces: Surfaces) -> dict[str, Any]:
    """What the viewer draws, in JSON's types.

    ``quantities`` (name, label, kind, better), ``steps`` and ``path_steps``; for each of ``planes``: ``n``, ``axes``,
    ``x`` and ``y`` (for each moment), ``centre``, ``path`` (null where a checkpoint is not finite), ``values`` of each
    quantity and moment as :func:`quantised`, rows along y, and ``summary`` of each quantity and moment: the exact
    ``centre``, ``best`` (value, x, y), ``lowest`` and ``highest`` of the grid, and how many points are ``missing``.

    Raises
    ------
    ValueError
        More than LARGEST bytes: a page would not open at once.
    """
    quantities = [
        {
            "name": name,
            "label": _NAMES.get(name, name),
            "kind": "metric" if name in METRICS else "loss",
            "better": surfaces.better[name],
        }
        for name in surfaces.quantities
    ]
    data = {
        "format": FORMAT,
        "quantities": quantities,
        "steps": list(surfaces.steps),
        "path_steps": list(surfaces.path_steps),
        "planes": [_plane(surface, quantities) for surface in surfaces.planes.values()],
    }
    size = len(as_json(data))
    if size > LARGEST:
        raise ValueError(
            f"{size / 1e6:.1f} MB of surfaces for one page; expected at most {LARGEST / 1e6:.1f}: "
            "take a lower resolution, fewer moments or fewer losses"
        )
    return data


def quantised(values: np.ndarray) -> dict[str, Any]:
    """Numbers as 16-bit steps between the least and the greatest, of their logarithms where they span a factor of 100.

    Returns
    -------
    ``lo``, ``hi``, ``log``, and ``data``: little-endian uint16 in base64, 65535 for what is not finite. The error is at
    most half a step: 8e-6 of the range, or of its logarithm.
    """
    finite = np.isfinite(values)
    if not finite.any():
        lowest, highest, log = 0.0, 1.0, False
    else:
        lowest, highest = float(values[finite].min()), float(values[finite].max())
        log = lowest > 0 and highest > 100 * lowest
    if log:
        lowest, highest = math.log(lowest), math.log(highest)
        values = np.log(values, where=finite, out=np.full(values.shape, np.nan))
    with np.errstate(invalid="ignore"):
        steps = np.rint((values - lowest) / ((highest - lowest) or 1.0) * (_MISSING - 1))
    codes = np.where(finite, steps, _MISSING).astype("<u2")
    return {"lo": lowest, "hi": highest, "log": log, "data": base64.b64encode(codes.tobytes()).decode()}


def figure(data: Mapping[str, Any], static: Path, alt: str, caption: str) -> str:
    """HTML of the viewer: data, and the static picture for readers without scripts and for print.

    Parameters
    ----------
    data : mapping
        Of :func:`viewer_data`.
    static : path
        PNG of the static picture.
    alt : str
        What that shows; required.
    caption : str
    """
    if not alt.strip():
        raise ValueError(f"figure {static} has no alt text; say in a sentence what it shows")
    picture = base64.b64encode(Path(static).read_bytes()).decode()
    return (
        '<figure class="surface-viewer">'
        f"{script(data, 'surface-data')}"
        f'<div class="surface-static"><img src="data:image/png;base64,{picture}" '
        f'alt="{html.escape(alt, quote=True)}" style="max-width:100%"></div>'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def show(data: Mapping[str, Any], static: Path, alt: str, caption: str, name: str = "") -> None:
    """Show the viewer in a notebook; in the book's pages it turns, elsewhere it is the static picture.

    With a name it is glued too: any page of the book can show it, with the directive ``glue:`` and the option ``doc``.
    """
    from IPython.display import display

    glued = {"metadata": {"scrapbook": {"name": name, "mime_prefix": ""}}} if name else {}
    display({"text/html": figure(data, static, alt, caption), "text/plain": f"[figure: {alt}]"}, raw=True, **glued)


def scripts() -> Path | None:
    """Folder of the book's script and style: in the project the package is from, or that one works in; else None."""
    for root in (Path(__file__).parents[2], Path.cwd(), *Path.cwd().parents):
        if (root / "book" / "_static" / "surface_viewer.js").is_file():
            return root / "book" / "_static"
    return None


def write_page(path: Path, figure_html: str, folder: Path, title: str) -> Path:
    """A page of its own, script and style inside, that any browser opens from disk; the folder is :func:`scripts`'."""
    code, style = (
        "\n".join(Path(folder, f"{name}.{kind}").read_text() for name in names)
        for kind, names in (
            ("js", ("elements", "surface_picture", "surface_viewer")),
            ("css", ("elements", "surface_viewer")),
        )
    )
    text = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        "<style>:root{color-scheme:light dark}body{font:16px system-ui,sans-serif;max-width:60rem;"
        f"margin:1rem auto;padding:0 1rem;background:Canvas;color:CanvasText}}\n{style}</style></head>\n"
        f"<body>\n<h1>{html.escape(title)}</h1>\n{figure_html}\n<script>\n{code}</script>\n</body></html>\n"
    )
    aside = Path(path).with_name(f".{Path(path).name}.partial")
    aside.write_text(text)
    os.replace(aside, path)
    return Path(path)


def _plane(surface: Surface, quantities: list[dict]) -> dict[str, Any]:
    random = surface.name == "random"
    shares = surface.explained[-1]
    axes = [f"random {k}" if random else f"principal {k} ({share:.0%})" for k, share in enumerate(shares, 1)]
    moments, n = range(len(surface.x)), surface.x.shape[1]
    return {
        "name": surface.name,
        "label": _LABELS[surface.name],
        "axes": axes,
        "n": n,
        "x": [_rounded(row) for row in surface.x],
        "y": [_rounded(row) for row in surface.y],
        "centre": surface.centre.tolist(),
        "explained": [_number(share) for share in shares],
        "path": [[_rounded(p) if np.isfinite(p).all() else None for p in path] for path in surface.path],
        "values": [[quantised(surface.values[m, q]) for m in moments] for q in range(len(quantities))],
        "summary": [[_summary(surface, m, q, entry["better"]) for m in moments] for q, entry in enumerate(quantities)],
    }


def _summary(surface: Surface, moment: int, quantity: int, better: str) -> dict[str, Any]:
    values, (i, j) = surface.values[moment, quantity], surface.centre[moment]
    finite = np.isfinite(values)
    found: dict[str, Any] = {
        "centre": _number(values[j, i]) if i >= 0 else None,
        "best": None,
        "lowest": None,
        "highest": None,
        "missing": int((~finite).sum()),
    }
    if finite.any():
        place = np.nanargmin if better == "lower" else np.nanargmax
        row, column = np.unravel_index(place(np.where(finite, values, np.nan)), values.shape)
        x, y = surface.x[moment, column], surface.y[moment, row]
        found["best"] = {"value": _number(values[row, column]), "x": _number(x), "y": _number(y)}
        found |= {"lowest": _number(values[finite].min()), "highest": _number(values[finite].max())}
    return found


def _number(value: float) -> float | None:
    return float(f"{value:.7g}") if np.isfinite(value) else None


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.7g}") for value in values]
