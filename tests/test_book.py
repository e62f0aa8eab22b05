"""The book: built without a warning, numbers from notebooks, readable without a network."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from conftest import pages_of


class Page(HTMLParser):
    """What a page shows and asks for."""

    def __init__(self, path: Path):
        super().__init__()
        self.images, self.requests, self.text = [], [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "img":
            self.images.append(attributes)
        source = attributes.get("src") if tag in ("img", "script", "iframe") else None
        if tag == "link" and attributes.get("rel") in ("stylesheet", "preload", "icon"):
            source = attributes.get("href")
        if source:
            self.requests.append(source)

    def handle_data(self, data):
        self.text.append(data)


def tables_of(path: Path) -> list[list[list[str]]]:
    """The rows of each table of a page, without its head."""
    bodies = BeautifulSoup(path.read_text(), "html.parser").select("article tbody")
    return [[[cell.get_text().strip() for cell in row.select("td")] for row in body.select("tr")] for body in bodies]


@pytest.fixture(scope="session")
def quick(tiny_study):
    return pages_of(tiny_study / "build/tiny/book/_build/html")


@pytest.mark.parametrize("which", ["published", "quick"])
def test_pages_read_without_a_network_and_every_image_has_an_alt_text(request, which):
    pages = request.getfixturevalue(which)
    assert len(pages) > 12
    for path in pages:
        page = Page(path)
        assert not [r for r in page.requests if re.match(r"(https?:)?//", r)], path
        assert all(image.get("alt", "").strip() for image in page.images), path
        text = " ".join(page.text)
        assert "Traceback" not in text and "{glue" not in text and "application/papermill" not in text, path


def test_a_quick_book_says_so_on_every_page_and_the_published_one_does_not(quick, published):
    assert all("A tiny run." in path.read_text() for path in quick)
    assert not any("quick run" in " ".join(Page(path).text) for path in published if path.stem == "index")


def test_numbers_in_prose_are_those_of_the_table(tiny_study, quick):
    summary = (tiny_study / "build/tiny/main/analysis/summary.csv").read_text().splitlines()[1].split(",")
    page = next(path for path in quick if path.parent.name == "results" and path.stem == "tiny")
    assert f"{float(summary[2]):.3f} for bce" in " ".join(Page(page).text)


def test_columns_of_decimals_have_as_many_places_in_every_row(root, published, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "book/_ext"))
    from decimals import even, pad
    from docutils.core import publish_doctree
    from myst_parser.parsers.docutils_ import Parser

    assert even(["0.6", "", "-0.597", "+12.08"]) == ["0.600", "", "-0.597", "+12.080"]
    for column in (["1", "0.25"], ["0.5", "none"], ["3", "4"], ["", ""], []):  # counts, words, and what is neither
        assert even(column) == column
    # In a page: text and links are padded, what is marked as a name is not.
    source = """
|  |  |  |
|--|--|--|
| 0.5 | `3.9` | [0.25](https://a.org/) |
| -0.25 | `3.11` | 0.5 |
"""
    tree = publish_doctree(source, parser=Parser(), settings_overrides={"report_level": 5})
    pad(None, tree)
    cells = [entry.astext() for entry in tree.findall(lambda n: n.tagname == "entry")]
    assert cells[3:] == ["0.50", "3.9", "0.25", "-0.25", "3.11", "0.50"]
    frames = [frame for path in published if path.parent.name == "results" for frame in tables_of(path)]
    columns = [[cell for cell in column if cell] for rows in frames for column in zip(*rows, strict=True)]
    decimals = [c for c in columns if c and all(re.fullmatch(r"[-+]?\d+\.\d+", cell) for cell in c)]
    assert len(decimals) > 50 and all(len({len(cell.partition(".")[2]) for cell in c}) == 1 for c in decimals)


def test_results_prose_types_no_number(root):
    for path in sorted((root / "book" / "results").glob("*.md")) + [root / "book" / "index.md"]:
        prose = re.sub(r"\{[a-z:-]+\}`[^`]*`|`[^`]*`|\]\([^)]*\)|CC BY[-A-Z]* \d\.\d", "", path.read_text())
        assert not re.findall(r"(?<![\w.])\d*\.\d+", prose), path


def in_contents(folder: Path) -> list[str]:
    """Files of a book's contents, without their ending; pages of studies that are not published yet are not there."""
    text = (folder / "_toc.yml").read_text()
    return re.findall(r"(?:file|root): (\S+)", text)


def test_every_glue_key_used_is_made(root, tiny_study):
    used = 0
    for folder in (root / "book", tiny_study / "build/tiny/pages"):
        for page in (folder / f"{name}.md" for name in in_contents(folder)):
            if not page.is_file():  # a notebook
                continue
            for notebook, key in re.findall(r"([./\w-]+\.ipynb)::(\w+)", page.read_text()):
                made = re.findall(r'"name": "(\w+)"', (page.parent / notebook).read_text())
                assert key in made, f"{key} of {notebook}, on {page.name}"
                used += 1
    assert used > 50


# Pictures of images: what they show are images and score maps, which no CSV holds.
PICTURES = {"maps_confidence", "maps_loss", "map", "shapes_pictures", "neurons", "panels"}


def test_every_figure_of_results_says_what_made_it_at_which_commit_and_offers_its_data(root):
    seen = 0
    shown = re.findall(r"(?:root|file): ((?:index|results/\S+))$", (root / "_toc.yml").read_text(), re.MULTILINE)
    for page in (root / "book" / f"{name}.md" for name in shown):
        figures = re.findall(r"^:::\{figure\} (\S+)\n(.*?)^:::$", page.read_text(), re.DOTALL | re.MULTILINE)
        for picture, caption in figures:
            seen += 1
            where, name = f"{picture} on {page.name}", Path(picture).stem
            made = re.search(r"\[the\s+(?:analysis\s+)?notebook\]\((\S+\.ipynb)\)", caption)
            assert made, f"{where}: no link to its notebook"
            assert f"{made[1]}::commit_of_analysis" in caption, f"{where}: no commit of that notebook"
            assert f"<{picture.removesuffix('.png')}.svg>" in caption, f"{where}: no SVG"
            assert name in PICTURES or ".csv>" in caption, f"{where}: no CSV of its data"
            for offered in re.findall(r"<(\S+\.(?:csv|svg|png))>", caption):
                assert (page.parent / offered).is_file(), f"{where}: {offered} is not there"
    assert seen > 40


def test_executed_notebooks_hold_no_paths_of_a_machine_and_no_errors(root):
    runs = sorted((root / "book" / "runs").glob("*.ipynb"))
    assert {p.stem for p in runs} >= {"targets-vnc", "targets-vnc-targets", "targets-vnc-run-bce", "interpret-vnc"}
    runs += sorted((root / "book" / "data").glob("*.ipynb"))
    for path in runs:
        text = path.read_text()
        assert not re.search(r'"/(home|root|work|tmp|Users)/', text), path
        assert '"output_type": "error"' not in text and "papermill-error" not in text, path
        assert '"name": "stderr"' not in text, f"{path} shows a warning"
        assert "-dirty" not in text, f"{path} was made from uncommitted code"


def test_pages_of_data_name_the_licence_of_what_they_show_and_fundi_are_not_shown(root):
    pages = {p.stem: p.read_text() for p in (root / "book" / "data").glob("*.ipynb")}
    assert set(pages) == {"vnc", "fib25", "drishti"} and max(map(len, pages.values())) < 1.5e6
    captions = {name: " ".join(re.findall("<figcaption>(.*?)</figcaption>", text)) for name, text in pages.items()}
    assert "CC BY-NC-SA 3.0; Gerhard" in captions["vnc"] and "CC BY-SA 3.0; Parag" in captions["fib25"]
    figures = {name: text.count("<img src=") for name, text in pages.items()}
    assert figures == {"vnc": 4, "fib25": 4, "drishti": 3}, "curves and dots, and no photograph"
    assert "no pictures: research use" in pages["drishti"] and '"image/png"' not in pages["drishti"]


def test_the_books_settings_are_in_sight_at_the_root(root):
    for name in ("_config.yml", "_toc.yml"):
        assert (root / name).is_symlink() and (root / name).resolve() == root / "book" / name
