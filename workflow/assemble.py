"""A study in the book: its executed notebooks, tables and figures in their places, its page in the contents."""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

TEMPLATE = Path(__file__).with_name("study_page.md")
# What a notebook writes that is not for readers: stores, checkpoints, caches.
KINDS = (".csv", ".png", ".svg", ".json", ".js")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", required=True)
    parser.add_argument("--results", type=Path, required=True, help="folder of the study, a folder in it for each part")
    parser.add_argument("--parts", nargs="+", required=True)
    parser.add_argument("--runs", nargs="*", default=[], help="executed runs to show, each FILE=NAME")
    parser.add_argument("--announcement", default="", help="shown on top of every page")
    parser.add_argument("--pages", type=Path, help="folder of the preprint's pages to copy; none: add to what is there")
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


def put(study: str, results: Path, parts: Sequence[str], runs: Sequence[str], book: Path) -> None:
    """Put a study into a book, in the place of what it held of that study before.

    - ``runs/STUDY-PART.ipynb``, ``runs/STUDY-PART-NOTEBOOK.ipynb`` and ``runs/STUDY-PART-OBJECTIVE.ipynb``: its
      executed notebooks;
    - ``results/STUDY/PART/``: its tables and figures, and the study's learning rates in ``results/STUDY/rates.csv``;
    - ``results/STUDY.md``: its page, unless there is one already; and all of that in the contents.
    """
    for old in (book / "runs").glob(f"{study}-*.ipynb"):
        old.unlink()
    shutil.rmtree(book / "results" / study, ignore_errors=True)
    (book / "runs").mkdir(exist_ok=True)
    sections = []
    for part in parts:
        folder = book / "results" / study / part
        folder.mkdir(parents=True)
        for notebook in sorted((results / part / "notebooks").glob("*.ipynb"), key=lambda p: p.stem != "analysis"):
            name = f"{study}-{part}" + ("" if notebook.stem == "analysis" else f"-{notebook.stem}")
            title = f"{study}, {part}: {notebook.stem}"
            sections.append(_page(notebook, book / "runs" / f"{name}.ipynb", title))
            _copy_results(results / part / notebook.stem, folder)
    if (results / "rates.csv").is_file():
        shutil.copy2(results / "rates.csv", book / "results" / study)
    for entry in runs:
        path, _, name = entry.partition("=")
        sections.append(_page(Path(path), book / "runs" / f"{study}-{name}.ipynb", f"{study}, a run: {name}"))
    page = book / "results" / f"{study}.md"
    if not page.exists():
        page.write_text(TEMPLATE.read_text().replace("STUDY", study).replace("PART", parts[0]))
    _enter(study, sections, book / "_toc.yml")


def _page(source: Path, target: Path, title: str) -> dict[str, str]:
    target.write_text(normalised(source.read_text(), title))
    return {"file": f"runs/{target.stem}"}


def _copy_results(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")) if source.is_dir() else ():
        place = target / path.relative_to(source)
        if path.is_file() and path.suffix in KINDS and not any(part.startswith(".") for part in place.parts):
            if any(parent.suffix == ".zarr" for parent in path.parents):
                continue
            if place.exists():
                sys.exit(f"{place} is written by two notebooks of one part; rename one of the two files")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, place)


def _enter(study: str, sections: list[dict[str, str]], path: Path) -> None:
    """The study's page in the contents, its notebooks below it; last of the results where it was not there yet."""
    contents = yaml.safe_load(path.read_text())
    chapters = next(part for part in contents["parts"] if part["caption"] == "Results")["chapters"]
    page = f"results/{study}"
    entry = next((chapter for chapter in chapters if chapter["file"] == page), None)
    if entry is None:
        entry = {"file": page}
        chapters.append(entry)
    entry["sections"] = sections
    path.write_text(yaml.safe_dump(contents, sort_keys=False, allow_unicode=True))


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
