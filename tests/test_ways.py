"""Ways into the book: the PDF's button, the launch buttons, comments. On a small book with the real settings."""

import json
import os
import re
import shutil
import subprocess

import pytest
import yaml

PDF = b"%PDF-1.4 a paper"


class Book:
    """A page and a notebook beside the real settings and extensions, built again and again as a reader would."""

    def __init__(self, root, folder):
        self.pages, self.pdf = folder / "book", folder / "build" / "hot-or-distance.pdf"
        self.html = self.pages / "_build" / "html"
        (self.pages / "runs").mkdir(parents=True)
        for name in ("_config.yml", "references.bib"):
            shutil.copy2(root / "book" / name, self.pages)
        shutil.copytree(root / "book" / "_ext", self.pages / "_ext", ignore=shutil.ignore_patterns("__pycache__"))
        (self.pages / "_toc.yml").write_text("format: jb-book\nroot: index\nchapters: [{file: runs/one}]\n")
        (self.pages / "index.md").write_text("# A book\n")
        cells = [{"cell_type": "markdown", "metadata": {}, "source": ["# A run\n"]}]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        notebook = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 4}
        (self.pages / "runs" / "one.ipynb").write_text(json.dumps(notebook))

    def build(self) -> str:
        done = subprocess.run(["jupyter-book", "build", self.pages, "-W", "-n"], capture_output=True, text=True)
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        return " ".join(done.stdout.split())

    def page(self, name: str) -> str:
        return (self.html / f"{name}.html").read_text()

    def pdfs(self, name: str) -> list[str]:
        """Where the page's buttons for the PDF lead; each says what it is, as it shows a picture alone."""
        looks = r'target="_blank"\s+class="btn btn-sm btn-paper-button"\s+title="The whole paper as a PDF"'
        return re.findall(rf'<a href="([^"]*)" {looks}', self.page(name))


@pytest.fixture(scope="module")
def book(root, tmp_path_factory):
    return Book(root, tmp_path_factory.mktemp("small"))


def test_the_pdf_comes_goes_and_is_never_linked_when_it_is_older_than_a_page(book):
    book.build()
    names = ("index", "runs/one", "search", "genindex")
    assert [book.pdfs(name) for name in names] == [[]] * 4 and not list(book.html.glob("*.pdf"))
    assert "hypothes.is" not in book.page("index") + book.page("runs/one")

    book.pdf.parent.mkdir()
    book.pdf.write_bytes(PDF)  # and no page changed: all are written again nevertheless
    book.build()
    there = "hot-or-distance.pdf"
    assert [book.pdfs(name) for name in names] == [[there], [f"../{there}"], [there], [there]]
    assert (book.html / there).read_bytes() == PDF

    later = book.pdf.stat().st_mtime + 5
    os.utime(book.pages / "runs" / "one.ipynb", (later, later))
    settings = yaml.safe_load((book.pages / "_config.yml").read_text())
    settings["html"]["comments"] = {"hypothesis": True}
    (book.pages / "_config.yml").write_text(yaml.safe_dump(settings))
    said = book.build()
    assert "one.ipynb and is not linked: print it again with `make pdf`" in said
    assert [book.pdfs(name) for name in names] == [[]] * 4 and not list(book.html.glob("*.pdf"))
    # the one setting for comments, in the same build
    for name in names:
        assert re.search(r'<script async="async"[^>]* src="https://hypothes.is/embed.js"', book.page(name)), name


def test_notebooks_are_launched_on_colab_and_binder_and_pages_are_not(root, published):
    settings = yaml.safe_load((root / "book/_config.yml").read_text())
    name = settings["repository"]["url"].removeprefix("https://github.com/")
    home = next(path.parent for path in published if path.stem == "index")
    page, text = (home / "runs/targets-vnc.html").read_text(), (home / "index.html").read_text()
    assert f'href="https://mybinder.org/v2/gh/{name}/main?urlpath=lab/tree/book/runs/targets-vnc.ipynb"' in page
    assert f'href="https://colab.research.google.com/github/{name}/blob/main/book/runs/targets-vnc.ipynb"' in page
    assert "mybinder.org" not in text and "colab.research" not in text
    assert not any("hypothes.is/embed" in path.read_text() for path in published)


def test_binder_takes_the_papers_environment_and_the_package(root):
    lines = [x for x in (root / "binder/requirements.txt").read_text().splitlines() if not x.startswith("#")]
    assert lines == ["-r ../requirements.txt", "-e ."]
    version = re.search(r"^PYTHON \?= python([\d.]+)$", (root / "Makefile").read_text(), re.MULTILINE)[1]
    assert (root / "binder/runtime.txt").read_text() == f"python-{version}\n"
