"""What the text points to: citations, studies, licences, modules of the API reference."""

import ast
import importlib.util
import json
import re
from collections import Counter

import pytest
import yaml
from pybtex.database import parse_file

from helpers import datasets

DOI = re.compile(r"10\.\d{4,9}/\S+")


@pytest.fixture(scope="module")
def bibliography(root):
    return parse_file(root / "book/references.bib").entries


@pytest.fixture(scope="module")
def sources(root):
    """Text of every page and notebook that may cite, by its path."""
    paths = [p for p in (root / "book").rglob("*.md") if "_build" not in p.parts]
    notebooks = [p for folder in ("book/runs", "book/data", "notebooks") for p in (root / folder).glob("*.ipynb")]
    texts = {p: p.read_text() for p in paths}
    for path in notebooks:
        cells = json.loads(path.read_text())["cells"]
        texts[path] = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return texts


def test_every_entry_is_cited_and_every_citation_has_an_entry(bibliography, sources):
    roles = [keys for text in sources.values() for keys in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text)]
    cited = {key.strip() for keys in roles for key in keys.split(",")}
    assert cited - set(bibliography) == set(), "cited, but not in references.bib"
    assert set(bibliography) - cited == set(), "in references.bib, but not cited"


def test_every_entry_has_a_doi_or_an_address_and_what_a_reader_needs(bibliography):
    for key, entry in bibliography.items():
        fields = entry.fields
        assert DOI.fullmatch(fields.get("doi", "")) or fields.get("url", "").startswith("https://"), key
        assert entry.persons.get("author") and fields.get("title") and re.fullmatch(r"\d{4}", fields["year"]), key
        assert {"journal", "booktitle", "howpublished"} & set(fields), key
        assert re.fullmatch(rf"[a-z]+{fields['year']}[a-z]?", key), f"{key} is not its author and year {fields['year']}"
    for name in ("doi", "url", "title"):
        values = Counter(e.fields[name].lower() for e in bibliography.values() if name in e.fields)
        assert not [value for value, n in values.items() if n > 1], f"one {name} twice"


def test_dois_in_docstrings_are_those_of_the_bibliography(root, bibliography):
    """Where a docstring names a paper of the bibliography by author and year, it names the same DOI."""
    known = {}
    for entry in bibliography.values():
        if "doi" in entry.fields:
            author = " ".join(entry.persons["author"][0].last_names).strip("{}")
            known[author, entry.fields["year"]] = entry.fields["doi"]
    found = 0
    for path in (root / "src").rglob("*.py"):
        for author, year, doi in re.findall(r"(\w[\w-]+)[^\n\d]* (\d{4}), doi:(10\.[^\s,;]*\w)", path.read_text()):
            if (author, year) in known:
                found += 1
                assert doi.lower() == known[author, year].lower(), (path, author, year)
    assert found >= 8


def test_every_study_that_the_text_names_is_there(root, sources):
    texts = dict(sources) | {
        root / n: (root / n).read_text() for n in ("README.md", "CONTRIBUTING.md", "REPRODUCING.md")
    }
    named = {name for text in texts.values() for name in re.findall(r"STUDY=(\w+)|studies/(\w+)\.yml", text)}
    named = {name for pair in named for name in pair if name} - {"NAME", "mine"}
    assert named >= {"targets", "mitolab"}
    assert named <= {path.stem for path in (root / "studies").glob("*.yml")}


def test_the_licence_note_says_of_every_data_set_what_its_module_says(root):
    lines = re.findall(r"^\| ((?:`[\w-]+`, )*`[\w-]+`)(:.*)$", (root / "LICENSE-text.md").read_text(), re.MULTILINE)
    rows = [(name, row) for names, row in lines for name in re.findall(r"[\w-]+", names)]
    assert sorted(name for name, _ in rows) == sorted(datasets.names()), "each data set once"
    for name, row in rows:
        about = datasets.about(name)
        assert about["licence"].split(";")[0] in row, (name, about["licence"])
        assert not (doi := re.findall(r"doi:(10\.\S+\w)", about["citation"])) or doi[-1] in row, name


def test_the_api_reference_has_every_module_that_notebooks_use_and_each_once(root):
    pages = "\n".join(path.read_text() for path in sorted((root / "book/api").glob("*.md")))
    listed = re.findall(r"^\.\. automodule:: (\S+)$", pages, re.MULTILINE)
    assert [name for name, n in Counter(listed).items() if n > 1] == []
    assert all(importlib.util.find_spec(name) for name in listed)
    assert re.findall(r"^## `(.+)`$", pages, re.MULTILINE) == listed, "each under a heading of its own"
    used = set()
    for path in (root / "notebooks").glob("*.ipynb"):
        cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
        for source in ("".join(c["source"]) for c in cells):
            code = "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines())
            used |= set(modules(root, code))
    assert {"helpers.datasets", "helpers.training", "helpers.figures.surfaces"} <= used
    inside = {name for name in used if any(name.startswith(f"{package}.") for package in listed)}
    assert used - set(listed) - inside == set()
    table = (root / "book/api.md").read_text()
    assert all(f"`{name.split('.')[1]}`" in table for name in listed)


def modules(root, code: str):
    """Modules of the package that a cell imports; what it imports of a module is not one."""
    try:
        nodes = list(ast.walk(ast.parse(code)))
    except SyntaxError:  # a magic inside a block: the first cell's, which installs the package
        return
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("helpers"):
            for alias in node.names:
                place = root / "src" / node.module.replace(".", "/") / alias.name
                found = place.is_dir() or place.with_suffix(".py").is_file()
                yield f"{node.module}.{alias.name}" if found else node.module


def readable(root, text):
    spec = importlib.util.spec_from_file_location("docstrings", root / "book/_ext/docstrings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.readable(text)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("shape (B, C, *S) and *word*", r"shape (B, C, \*S) and *word*"),
        ("``(*S)`` of :func:`x|y`", "``(*S)`` of :func:`x|y`"),
        ("the |y - z| of it", r"the \|y - z\| of it"),
        ("by [1]_\n\n.. [1] Cox, doi:10.1111/a.b", "by [1]\n\n| [1] Cox, `doi:10.1111/a.b <https://doi.org/10.1111/a.b>`__"),
        ("see :DOI:`10.1/x`; y", "see doi:10.1/x; y"),
        ("It.\n\na : one,\n    and more\nb : two\nEnd.", "It.\n\n- **a**: one,\n  and more\n- **b**: two\n\nEnd."),
        ("One.\n\nParameters\n----------\na : int\n    Of it.", "One.\n\nParameters\n----------\na : int\n    Of it."),
    ],
)  # fmt: skip
def test_docstrings_are_read_as_they_were_meant(root, written, read):
    assert readable(root, written) == read


def test_the_citation_file_says_what_its_schema_requires(root):
    """The keys that CFF 1.2.0 requires, without a network; test_project checks the whole schema where there is one."""
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    assert {"authors", "cff-version", "message", "title"} <= set(citation) and citation["cff-version"] == "1.2.0"
    assert citation["type"] in ("software", "dataset") and citation["license"] == "MIT"
    for entry in [citation, *citation["references"]]:
        assert entry["authors"] and all({"name"} <= set(a) or {"family-names"} <= set(a) for a in entry["authors"])
        assert entry["title"] and entry["type"]
        assert "doi" not in entry or DOI.fullmatch(entry["doi"])


def test_the_books_workflow_builds_every_change_strictly_and_publishes_main_alone(root):
    text = (root / ".github/workflows/book.yml").read_text()
    workflow = yaml.load(text, yaml.BaseLoader)  # "on" stays a word
    assert set(workflow["on"]) >= {"push", "pull_request"} and not workflow["on"]["push"]
    steps = [step.get("run", "") for step in workflow["jobs"]["build"]["steps"]]
    assert "make book" in steps
    recipe = (root / "Makefile").read_text().split("\nbook:")[1].split("\n\n")[0]
    assert "jupyter-book build book -W -n --keep-going" in recipe
    publish = workflow["jobs"]["publish"]
    assert publish["needs"] == "build" and "github.ref == 'refs/heads/main'" in publish["if"]
    assert "Not run yet" in text
