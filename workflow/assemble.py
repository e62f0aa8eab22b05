"""A study in the book: its executed notebooks, tables and figures in their places, its page in the contents."""

import argparse
import csv
import json
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from helpers.inline import script

TEMPLATE = Path(__file__).with_name("study_page.md")
# What a notebook writes that is not for readers: stores, checkpoints, caches.
KINDS = (".csv", ".png", ".svg", ".json", ".js")
ACROSS = ("results/surfaces", "results/explorer", "results/errors")  # pages that are of no single study
DATA = {"explorer": "results-data", "errors": "errors-data"}  # what the book's scripts look for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", required=True)
    parser.add_argument("--results", type=Path, required=True, help="folder of the study, a folder in it for each part")
    parser.add_argument("--parts", nargs="+", required=True)
    parser.add_argument("--runs", nargs="*", default=[], help="executed runs to show, each FILE=NAME")
    parser.add_argument("--announcement", default="", help="shown on top of every page")
    parser.add_argument("--pages", type=Path, help="folder of the preprint's pages to copy; none: add to what is there")
    parser.add_argument("--readme", type=Path, help="file whose tables of this study's verdicts are made anew")
    parser.add_argument("book", type=Path, help="folder of the book")
    arguments = parser.parse_args()
    if arguments.announcement and not arguments.pages:
        sys.exit(f"not published: this study says of itself {arguments.announcement!r}")
    if arguments.pages:
        shutil.rmtree(arguments.book, ignore_errors=True)
        shutil.copytree(arguments.pages, arguments.book, ignore=shutil.ignore_patterns("_build"))
    put(arguments.study, arguments.results, arguments.parts, arguments.runs, arguments.book)
    if arguments.announcement:
        announce(arguments.announcement, arguments.book / "_config.yml")
    if arguments.readme:
        arguments.readme.write_text(with_verdicts(arguments.readme.read_text(), arguments.study, arguments.results))


def put(study: str, results: Path, parts: Sequence[str], runs: Sequence[str], book: Path) -> None:
    """Put a study into a book, in the place of what it held of that study before.

    - ``runs/STUDY-PART.ipynb``, ``runs/STUDY-PART-NOTEBOOK.ipynb`` and ``runs/STUDY-PART-run-OBJECTIVE.ipynb``: its
      executed notebooks;
    - ``results/STUDY/PART/``: its tables and figures, and the study's learning rates in ``results/STUDY/rates.csv``;
    - ``results/STUDY.md``: its page, unless there is one already; and all of that in the contents.

    Everything is read before anything in the book is changed.
    """
    pages, files = {}, {}
    for part in parts:
        for notebook in sorted((results / part / "notebooks").glob("*.ipynb"), key=lambda p: p.stem != "analysis"):
            name = f"{study}-{part}" + ("" if notebook.stem == "analysis" else f"-{notebook.stem}")
            pages[name] = normalised(notebook.read_text(), f"{study}, {part}: {notebook.stem}")
            for path, place in _results(results / part / notebook.stem):
                if (target := Path(part) / place) in files:
                    sys.exit(f"{target} is written by two notebooks of {study}; rename one of the two files")
                files[target] = path.read_bytes()
    if (results / "rates.csv").is_file():
        files[Path("rates.csv")] = (results / "rates.csv").read_bytes()
    for entry in runs:
        path, _, name = entry.partition("=")
        part, _, objective = name.partition("-")
        text = normalised(Path(path).read_text(), f"{study}, {part}, a run: {objective}")
        pages[f"{study}-{part}-run-{objective}"] = text

    (book / "runs").mkdir(exist_ok=True)
    for old in (book / "runs").glob(f"{study}-*.ipynb"):  # names hold no hyphen, so no other study's begin like that
        old.unlink()
    shutil.rmtree(book / "results" / study, ignore_errors=True)
    for name, text in pages.items():
        (book / "runs" / f"{name}.ipynb").write_text(text)
    for place, content in files.items():
        target = book / "results" / study / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    gather(book)
    page = book / "results" / f"{study}.md"
    if not page.exists():
        page.write_text(TEMPLATE.read_text().replace("STUDY", study).replace("PART", parts[0]))
    _enter(study, [{"file": f"runs/{name}"} for name in pages], book / "_toc.yml")


def gather(book: Path) -> None:
    """The data of the book's interactive pages: those of all parts of all studies that it holds, in one file each."""
    for kind in ("explorer", "errors"):
        parts = [json.loads(path.read_text()) for path in sorted((book / "results").glob(f"*/*/{kind}.json"))]
        (book / "results" / f"{kind}_data.html").write_text(script(parts, DATA[kind]) + "\n")


def _results(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Files that are for readers, and their place in the folder."""
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        place = path.relative_to(folder)
        hidden = any(part.startswith(".") or part.endswith(".zarr") for part in place.parts)
        if path.is_file() and path.suffix in KINDS and not hidden:
            yield path, place


def _enter(study: str, sections: list[dict[str, str]], path: Path) -> None:
    """The study's page in the contents, with its notebooks; one that was not there yet is the last of the studies."""
    contents = yaml.safe_load(path.read_text())
    chapters = next(part for part in contents["parts"] if part["caption"] == "Results")["chapters"]
    page = f"results/{study}"
    entry = next((chapter for chapter in chapters if chapter["file"] == page), None)
    if entry is None:
        entry = {"file": page}
        after = (number for number, chapter in enumerate(chapters) if chapter["file"] in ACROSS)
        chapters.insert(next(after, len(chapters)), entry)
    entry["sections"] = sections
    path.write_text(yaml.safe_dump(contents, sort_keys=False, allow_unicode=True))


def with_verdicts(text: str, study: str, results: Path) -> str:
    """A text with every table between ``<!-- verdicts STUDY/PART -->`` and ``<!-- end -->`` made anew."""

    def table(found: re.Match) -> str:
        with (results / found["part"] / "analysis" / "verdicts.csv").open(newline="") as file:
            rows = list(csv.reader(file))
        lines = [f"| {' | '.join(row)} |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]]]
        return "\n".join([found["mark"], *lines, "<!-- end -->"])

    marks = rf"(?s)(?P<mark><!-- verdicts {re.escape(study)}/(?P<part>\w+) -->).*?<!-- end -->"
    return re.sub(marks, table, text)


def normalised(text: str, title: str) -> str:
    """An executed notebook without what only says how it was called: papermill's paths, times and cell states.

    With a title of its own: executions of one notebook would all be called the same.
    """
    notebook = json.loads(text)
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
