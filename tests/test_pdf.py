"""The printed paper: what the PDF holds, read by another library."""

import re
import subprocess
import sys

import pytest
import yaml
from devtools import CHROMIUM
from pdf import documents


def test_documents_are_those_of_the_contents_in_order():
    sections = [{"file": "b", "sections": [{"file": "c"}]}, {"file": "d"}]
    contents = {"root": "a", "parts": [{"chapters": sections}, {"caption": "x", "chapters": [{"file": "e"}]}]}
    assert documents(contents) == ["a", "b", "c", "d", "e"]
    assert documents({"root": "a", "chapters": [{"file": "b"}]}) == ["a", "b"]


def squeezed(text):
    """Without white space and hyphens, which a line's end changes, and with plain quotation marks."""
    return re.sub(r"[\s\-\u00ad]+", "", text.translate(str.maketrans("’‘“”", "''\"\"")))


def outline(entries):
    for entry in entries:
        if isinstance(entry, list):
            yield from outline(entry)
        else:
            yield entry.title


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: the paper is not printed (apt-get install chromium)")
def test_the_pdf_holds_the_abstract_and_every_section(root, tmp_path):
    from pypdf import PdfReader

    place = tmp_path / "paper.pdf"
    command = [sys.executable, root / "workflow" / "pdf.py", root / "book", place]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    reader = PdfReader(place)
    pages = [page.extract_text() for page in reader.pages]
    text, titles = squeezed("".join(pages)), [squeezed(t) for t in outline(reader.outline)]
    contents = yaml.safe_load((root / "_toc.yml").read_text())
    for name in documents(contents):
        path = root / "book" / f"{name}.md"
        if not path.exists():
            continue  # a notebook
        source = re.sub(r"(?ms)^(`{3,}|:{3,}).*?^\1", "", path.read_text())
        for title in re.findall(r"(?m)^#{1,3} (.+)$", source):
            plain = squeezed(re.sub(r"\{[^}]*\}`([^`<]*)[^`]*`|[`*$\\]", r"\1", title))
            if "(" in title or "$" in title:
                continue  # a link or an equation in a title has other letters on paper
            assert plain in text and plain in titles, f"{name}: {title}"
    abstract = re.search(r"(?ms)^:::\{admonition\} Abstract\n.*?\n\n?(.*?)^:::", (root / "book/index.md").read_text())[
        1
    ]
    first = [word for word in re.split(r"\{glue[^`]*`[^`]*`", abstract)[0].split() if word.isalpha()][:12]
    assert squeezed("".join(first)) in text
    assert all(f"{k} / {len(pages)}" in page for k, page in enumerate(pages, 1)), "every page has its number"
    links = [note.get_object().get("/A", {}).get("/URI", "") for p in reader.pages for note in p.get("/Annots", [])]
    assert any(link.startswith("https://doi.org/") for link in links)
    assert str(root) not in text and not [link for link in links if link.startswith("file:")]
    assert max(page.mediabox.height for page in reader.pages) < 850, "A4"
