"""Pages without the theme's early requests for fonts: from disk a browser refuses them, an error in every console.

The style sheets ask for the same fonts when they are needed, and get them.
"""

import re
from pathlib import Path

EARLY = re.compile(r'\s*<link rel="preload" as="font"[^>]*>')


def setup(app) -> dict:
    app.connect("build-finished", strip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def strip(app, failure) -> None:
    if failure or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        text = path.read_text()
        if (without := EARLY.sub("", text)) != text:
            path.write_text(without)
