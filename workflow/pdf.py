"""The paper as one PDF: the book on one page, printed by Chromium, with page numbers, outline and tags.

python workflow/pdf.py BOOK OUTPUT.pdf [--notebooks]

Notebooks are left out but for what the text shows of them: they are on the book's pages, and would be most of the PDF.
"""

import argparse
import base64
import html
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from devtools import CHROMIUM, Browser

STYLE = Path(__file__).with_name("pdf.css")
# Documents follow each other, an empty <span id="document-NAME"> before the section of each.
PREPARE = """(async (style, notebooks) => {
  document.documentElement.dataset.theme = "light";
  for (const name of notebooks) {
    const mark = document.getElementById(`document-${name}`);
    if (mark) { mark.nextElementSibling.remove(); mark.remove(); }
  }
  const article = document.querySelector("article.bd-article, .bd-article");
  const kept = document.createElement("main");
  kept.append(...article.childNodes);
  document.body.replaceChildren(kept);
  document.head.append(Object.assign(document.createElement("style"), { textContent: style }));
  for (const link of kept.querySelectorAll("a[href]")) {
    const href = link.getAttribute("href");
    const there = href.startsWith("#") && href.length > 1 && document.getElementById(decodeURIComponent(href.slice(1)));
    if (!there && !/^(https?|mailto):/.test(href)) link.replaceWith(...link.childNodes);
  }
  for (const details of kept.querySelectorAll("details")) details.open = true;
  await Promise.all(Array.from(document.images, (image) => image.decode().catch(() => image.remove())));
  await document.fonts.ready;
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("book", type=Path, help="folder of the book")
    parser.add_argument("output", type=Path, help="the PDF")
    parser.add_argument("--notebooks", action="store_true", help="print the notebooks too")
    arguments = parser.parse_args()
    if CHROMIUM is None:
        sys.exit("no Chromium here, which prints the PDF: install it (Debian: apt-get install chromium)")
    contents = yaml.safe_load((arguments.book / "_toc.yml").read_text())
    notebooks = (
        [] if arguments.notebooks else [n for n in documents(contents) if (arguments.book / f"{n}.ipynb").exists()]
    )
    began = time.time()
    with tempfile.TemporaryDirectory() as folder:
        page = one_page(arguments.book, Path(folder))
        content = printed(page, notebooks, title(arguments.book), Path(folder) / "profile")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    aside = arguments.output.with_name(f".{arguments.output.name}.partial")
    aside.write_bytes(content)
    os.utime(aside, (began, began))  # a page that changed meanwhile is newer, and the book then links no PDF
    os.replace(aside, arguments.output)
    print(f"{arguments.output}: {len(content) / 1e6:.1f} MB")


def documents(contents: dict) -> list[str]:
    """Every document of the contents, in order."""
    found = [contents["root"]]
    parts = contents.get("parts", [contents])
    waiting = [chapter for part in parts for chapter in part.get("chapters", [])]
    while waiting:
        chapter = waiting.pop(0)
        found.append(chapter["file"])
        waiting[:0] = chapter.get("sections", [])
    return found


def title(book: Path) -> str:
    return yaml.safe_load((book / "_config.yml").read_text())["title"]


def one_page(book: Path, folder: Path) -> Path:
    """The book on one page of HTML; SystemExit with the log's end where it does not build."""
    command = [
        "jupyter-book",
        "build",
        book,
        "--builder",
        "singlehtml",
        "--path-output",
        folder,
        "-W",
        "-n",
        "--keep-going",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit("the book does not build on one page:\n" + "\n".join((done.stdout + done.stderr).splitlines()[-30:]))
    return folder / "_build" / "singlehtml" / "index.html"


def printed(page: Path, notebooks: list[str], heading: str, profile: Path) -> bytes:
    """The page as a PDF, A4, without these documents."""
    browser = Browser(profile)
    try:
        browser.open(page, width=794, height=1123, seconds=600)  # tens of MB
        browser.run(f"{PREPARE}({json.dumps(STYLE.read_text())}, {json.dumps(notebooks)})")
        small = "font: 8px sans-serif; color: #555; width: 100%; padding: 0 18mm; display: flex"
        foot = f'<div style="{small}; justify-content: space-between"><span>{html.escape(heading)}</span><span>'
        foot += '<span class="pageNumber"></span> / <span class="totalPages"></span></span></div>'
        stream = browser.call(
            "Page.printToPDF",
            displayHeaderFooter=True,
            headerTemplate="<span></span>",
            footerTemplate=foot,
            printBackground=True,
            preferCSSPageSize=True,
            generateTaggedPDF=True,
            generateDocumentOutline=True,
            transferMode="ReturnAsStream",
        )["stream"]
        parts, end = [], False
        while not end:
            piece = browser.call("IO.read", handle=stream)
            parts.append(base64.b64decode(piece["data"]) if piece["base64Encoded"] else piece["data"].encode())
            end = piece["eof"]
        return b"".join(parts)
    finally:
        browser.close()


if __name__ == "__main__":
    main()
