"""The book of one study: the preprint's pages around that study's executed notebooks and results."""

import argparse
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import yaml


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=Path, help="folder of the preprint's pages to copy; none: add to what is there")
    parser.add_argument("--results", type=Path, required=True, help="folder of the study's tables and figures")
    parser.add_argument("--announcement", default="", help="shown on top of every page")
    parser.add_argument("book", type=Path, help="folder of the book")
    parser.add_argument("notebooks", nargs="+", help="executed notebooks, FILE or FILE=NAME.ipynb")
    arguments = parser.parse_args()
    if arguments.pages:
        shutil.rmtree(arguments.book, ignore_errors=True)
        ours = shutil.ignore_patterns("runs", "_build", "*.csv", "*.png", "*.svg")
        shutil.copytree(arguments.pages, arguments.book, ignore=ours)
    publish(arguments.notebooks, arguments.results, arguments.book)
    if arguments.announcement:
        announce(arguments.announcement, arguments.book / "_config.yml")


def publish(notebooks: Iterable[str], results: Path, book: Path) -> None:
    """Put executed notebooks into ``book/runs`` and what stands in ``results`` into ``book/results``."""
    (book / "runs").mkdir(exist_ok=True)
    for entry in notebooks:
        path, _, name = entry.partition("=")
        text = normalised(Path(path).read_text(), title=f"A run: {Path(name).stem}" if name else None)
        (book / "runs" / (name or Path(path).name)).write_text(text)
    for path in sorted(results.iterdir()):
        shutil.copy2(path, book / "results" / path.name)


def normalised(text: str, title: str | None = None) -> str:
    """An executed notebook without what only says how it was called: papermill's paths, times and cell states.

    With a title of its own where one is given: the runs of one notebook would all be called the same.
    """
    notebook = json.loads(text)
    if title:
        notebook["cells"][0]["source"][0] = f"# {title}\n"
    notebook["metadata"].pop("papermill", None)
    for cell in notebook["cells"]:
        for key in ("papermill", "execution"):
            cell["metadata"].pop(key, None)
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def announce(text: str, config: Path) -> None:
    """Have the theme show a text on top of every page."""
    settings = yaml.safe_load(config.read_text())
    settings.setdefault("html", {})["announcement"] = text
    config.write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))


if __name__ == "__main__":
    main()
