"""The published pages in a real browser: silent, at home on any screen, and readable by everyone."""

import json
import shutil
import subprocess
import tarfile

import pytest

AXE = "axe-core@4.14.1"
A_FEW = ("index", "results/surfaces", "results/explorer", "results/errors", "runs/targets-vnc", "methods/targets")


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    """The accessibility checker's script, fetched from npm's registry."""
    if shutil.which("npm") is None:
        pytest.skip("no npm here: axe, which judges accessibility, cannot be fetched")
    folder = tmp_path_factory.mktemp("axe")
    done = subprocess.run(["npm", "pack", "--silent", AXE], cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"npm could not fetch {AXE}: {done.stderr.strip()[-200:]}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()


def theme(browser, name):
    """Switch as a reader does, and wait until nothing changes colour any more."""
    browser.run(
        f"document.documentElement.dataset.theme = document.documentElement.dataset.mode = '{name}';"
        "new Promise((done) => setTimeout(done, 300))"
    )


def faults(browser, path, width, height=900):
    """What is wrong with a page on a window of that width: complaints, a page wider than the window, missing images."""
    browser.open(path, width=width, height=height)
    found = browser.complaints()
    wide = browser.run("document.scrollingElement.scrollWidth")
    if wide > width:
        found.append(f"{wide} pixels wide in a window of {width}")
    found += browser.run(
        "Array.from(document.images).filter((i) => i.complete && i.naturalWidth === 0).map((i) => `no image ${i.src}`)"
    )
    return found


def test_a_few_pages_are_silent_and_fit_any_window(browser, published):
    places = {str(path).removesuffix(".html"): path for path in published}
    for name in A_FEW:
        (path,) = (p for place, p in places.items() if place.endswith(f"html/{name}"))
        for width in (1200, 390):
            assert faults(browser, path, width) == [], (name, width)


def test_the_first_page_is_small(published):
    """The page with its own pictures; what all pages share is loaded once."""
    index = next(path for path in published if path.stem == "index")
    text = index.read_text()
    pictures = {path for path in (index.parent / "_images").iterdir() if path.name in text}
    assert len(text.encode()) + sum(path.stat().st_size for path in pictures) < 1e6


@pytest.mark.slow
def test_every_page_is_silent_and_fits_any_window(browser, published):
    wrong = {}
    for path in published:
        for width in (1200, 390):
            if found := faults(browser, path, width):
                wrong[f"{path.parent.name}/{path.stem} at {width}"] = found
    assert wrong == {}


@pytest.mark.slow
@pytest.mark.parametrize("look", ["light", "dark"])
def test_every_page_is_accessible(browser, published, axe, look):
    """No serious or critical finding of axe."""
    wrong = {}
    for path in published:
        browser.open(path)
        theme(browser, look)
        browser.run(f"{axe}; 0")
        said = browser.run("axe.run(document, {resultTypes: ['violations']}).then((r) => JSON.stringify(r.violations))")
        for finding in json.loads(said):
            if finding["impact"] in ("serious", "critical"):
                nodes = [
                    " ".join(node["target"]) if all(isinstance(t, str) for t in node["target"]) else str(node["target"])
                    for node in finding["nodes"]
                ]
                wrong.setdefault(finding["id"], []).append((f"{path.parent.name}/{path.stem}", len(nodes), nodes[:2]))
    assert wrong == {}
