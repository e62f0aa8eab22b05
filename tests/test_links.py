"""Links of the built book: those inside lead to a file and a place in it, those to elsewhere are well formed."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from pybtex.database import parse_file

ELSEWHERE = re.compile(r"https://[a-z0-9-]+(\.[a-z0-9-]+)+(:\d+)?([/?#]\S*)?", re.IGNORECASE)


class Targets(HTMLParser):
    """What a page asks for or leads to, and the places in it that others may name."""

    def __init__(self, path: Path):
        super().__init__()
        self.links, self.places = [], {"", "top"}  # HTML's own names of a page's top
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.places |= {attributes.get("id"), attributes.get("name") if tag == "a" else None}
        self.links += [attributes[key] for key in ("href", "src", "action", "poster") if attributes.get(key)]
        self.links += [part.split()[0] for part in (attributes.get("srcset") or "").split(",") if part.strip()]


def broken(folder: Path) -> list[str]:
    """What does not resolve in a folder of pages, each as ``page: link (why)``."""
    pages = {path: Targets(path) for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts}
    found = {}
    for path, page in pages.items():
        for link in page.links:
            if why := fault(path, link, pages):
                found[f"{path.relative_to(folder)}: {link} ({why})"] = None
    return list(found)


def fault(path: Path, link: str, pages: dict[Path, Targets]) -> str | None:
    try:
        parts = urlsplit(link)
    except ValueError as error:
        return str(error)
    if parts.scheme in ("data", "mailto", "javascript"):
        return None
    if parts.scheme or parts.netloc:
        return None if ELSEWHERE.fullmatch(link) else "no well-formed https address"
    target = Path(path.parent, unquote(parts.path)).resolve() if parts.path else path
    if not target.is_file():
        return "no such file"
    if target in pages and unquote(parts.fragment) not in pages[target].places:
        return "no such place in the page"
    return None


@pytest.mark.parametrize("which", ["published", "tiny_study"])
def test_every_link_inside_resolves_and_the_others_are_well_formed(request, which):
    made = request.getfixturevalue(which)
    folder = made / "build/tiny/book/_build/html" if which == "tiny_study" else home(made)
    assert {"genindex.html", "search.html"} <= {path.name for path in folder.iterdir()}
    assert broken(folder.resolve()) == []


def home(published: list[Path]) -> Path:
    return next(path.parent for path in published if path.stem == "index")


def test_the_bibliography_links_the_dois_of_its_entries_and_no_others(root, published):
    links = [unquote(link) for link in Targets(home(published) / "bibliography.html").links]
    shown = {link.removeprefix("https://doi.org/") for link in links if "doi.org/" in link}
    entries = parse_file(root / "book/references.bib").entries.values()
    assert shown == {entry.fields["doi"] for entry in entries if "doi" in entry.fields}
    assert {entry.fields["url"] for entry in entries if "url" in entry.fields} <= set(links)


def test_what_does_not_resolve_is_named_with_its_page(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "a b.png").touch()
    (tmp_path / "one.html").write_text(
        '<a id="here" href="#here">x</a><a href="deep/two.html#z%C3%BCrich">x</a><img src="a%20b.png"><a href="#">x</a>'
        '<a href="https://doi.org/10.1175/1520-0493(1950)078&lt;0001:V&gt;2.0.CO;2">x</a><a href="mailto:a@b.c">x</a>'
        '<img srcset="a%20b.png 1x, gone.png 2x"><a href="#there">x</a><a href="http://a.org">x</a>'
    )
    (tmp_path / "deep" / "two.html").write_text(
        '<p id="zürich"><a href="../one.html#here">x</a><a href="one.html">x</a><a href="https://a b.org/">x</a>'
        '<a href="//a.org/x">x</a><a href="https://localhost">x</a><a href="ftp://a.org/">x</a><a href="https://[a">x</a>'
    )
    no = "no well-formed https address"
    assert broken(tmp_path) == [
        "deep/two.html: one.html (no such file)",
        f"deep/two.html: https://a b.org/ ({no})",
        f"deep/two.html: //a.org/x ({no})",
        f"deep/two.html: https://localhost ({no})",
        f"deep/two.html: ftp://a.org/ ({no})",
        "deep/two.html: https://[a (Invalid IPv6 URL)",
        "one.html: gone.png (no such file)",
        "one.html: #there (no such place in the page)",
        f"one.html: http://a.org ({no})",
    ]
