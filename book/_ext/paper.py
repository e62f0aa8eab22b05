"""The paper's PDF on every page, where `make pdf` has printed it: a button in the header, the file beside the pages.

A PDF that is older than what the book is made of is another book's: the build says so, and no page links it.
"""

from pathlib import Path
from shutil import copy2

from sphinx.util import logging

LOG = logging.getLogger(__name__)


def setup(app) -> dict:
    app.add_config_value("paper_pdf", "", "html", str)  # where the PDF is, seen from the book's folder
    app.connect("env-updated", look)
    app.connect("html-page-context", link, priority=502)  # after the theme's own buttons
    app.connect("build-finished", put)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def look(app, env) -> set[str] | None:
    """Whether there is a PDF to link; where that changed, every page is written again."""
    before, env.paper_there = getattr(env, "paper_there", False), there(app, env)
    return None if env.paper_there == before else env.found_docs


def there(app, env) -> bool:
    path = place(app)
    if app.builder.name != "html" or path is None or not path.is_file():
        return False
    newest = max(sources(app, env), key=modified)
    if modified(path) < modified(newest):
        LOG.info("%s is older than %s and is not linked: print it again with `make pdf`", path, newest)
        return False
    return True


def place(app) -> Path | None:
    return Path(app.srcdir, app.config.paper_pdf).resolve() if app.config.paper_pdf else None


def sources(app, env) -> list[Path]:
    """The pages, and what they show or quote: pictures, tables, modules."""
    pages = [Path(env.doc2path(name)) for name in env.found_docs]
    return pages + [Path(app.srcdir, name) for names in env.dependencies.values() for name in names]


def modified(path: Path) -> float:
    return path.stat().st_mtime if path.is_file() else 0.0


def link(app, pagename: str, templatename: str, context: dict, doctree) -> None:
    if app.env.paper_there:
        button = {"type": "link", "tooltip": "The whole paper as a PDF", "label": "paper-button"}
        button |= {"icon": "fas fa-file-pdf", "url": context["pathto"](place(app).name, 1)}
        context["header_buttons"].insert(0, button)


def put(app, failure) -> None:
    if failure or app.builder.name != "html" or place(app) is None:
        return
    target = Path(app.outdir, place(app).name)
    if app.env.paper_there:
        copy2(place(app), target)
    else:
        target.unlink(missing_ok=True)
