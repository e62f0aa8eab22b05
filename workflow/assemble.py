"""The book of one study: the preprint's pages around that study's executed notebooks and results."""

import argparse
import csv
import json
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import yaml

START, END = "<!-- results:start -->", "<!-- results:end -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=Path, help="folder of the preprint's pages to copy; none: add to what is there")
    parser.add_argument("--results", type=Path, required=True, help="folder of the study's tables and figures")
    parser.add_argument("--announcement", default="", help="shown on top of every page")
    parser.add_argument("--readme", type=Path, help="file whose results table is written anew, from verdicts.csv")
    parser.add_argument("book", type=Path, help="folder of the book")
    parser.add_argument("notebooks", nargs="+", help="executed notebooks, FILE or, for a run, FILE=NAME.ipynb")
    arguments = parser.parse_args()
    if arguments.announcement and not arguments.pages:
        sys.exit(f"not published: this study says of itself {arguments.announcement!r}")
    if arguments.pages:
        shutil.rmtree(arguments.book, ignore_errors=True)
        shutil.copytree(arguments.pages, arguments.book, ignore=not_of_the_pages)
    publish(arguments.notebooks, arguments.results, arguments.book)
    if arguments.announcement:
        announce(arguments.announcement, arguments.book / "_config.yml")
    if arguments.readme:
        arguments.readme.write_text(with_results(arguments.readme.read_text(), arguments.results / "verdicts.csv"))


def not_of_the_pages(folder: str, names: list[str]) -> list[str]:
    """Of a book's folder, what belongs to the study that was published in it, or was built."""
    made = {"runs", "_build"}
    results = Path(folder).name == "results"
    return [name for name in names if name in made or (results and not name.endswith(".md"))]


def publish(notebooks: Iterable[str], results: Path, book: Path) -> None:
    """Put executed notebooks into ``book/runs``, results into ``book/results``, and the runs into the contents."""
    shutil.rmtree(book / "runs", ignore_errors=True)
    (book / "runs").mkdir()
    runs = []
    for entry in notebooks:
        path, _, name = entry.partition("=")
        text = normalised(Path(path).read_text(), title=f"A run: {Path(name).stem}" if name else None)
        (book / "runs" / (name or Path(path).name)).write_text(text)
        runs += [{"file": f"runs/{Path(name).stem}", "title": f"A run: {Path(name).stem}"}] if name else []
    for path in sorted(results.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            shutil.copy2(path, book / "results" / path.name)
    contents = yaml.safe_load((book / "_toc.yml").read_text())
    for part in contents["parts"]:
        chapters = [c for c in part["chapters"] if not c.get("title", "").startswith("A run: ")]
        part["chapters"] = chapters + (runs if part["caption"] == "Results" else [])
    (book / "_toc.yml").write_text(yaml.safe_dump(contents, sort_keys=False, allow_unicode=True))


def with_results(text: str, table: Path) -> str:
    """A text with the table between its results marks made anew."""
    with table.open(newline="") as file:
        rows = list(csv.reader(file))
    lines = [f"| {' | '.join(row)} |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]]]
    before, rest = text.split(START)
    _, after = rest.split(END)
    return f"{before}{START}\n{chr(10).join(lines)}\n{END}{after}"


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
