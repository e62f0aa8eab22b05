"""What the tests share: tiny images, and the repository's root."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from helpers.datasets import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "workflow"))

from devtools import CHROMIUM, Browser


@pytest.fixture(scope="session")
def root() -> Path:
    return Path(__file__).parent.parent


@pytest.fixture
def discs():
    """Function of a seed -> an image of bright discs on noise: learnable in a few steps."""

    def make(seed: int, size: int = 48, annotated: bool = True) -> Image:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:size, :size]
        mask = np.zeros((size, size), bool)
        for cy, cx in rng.uniform(6, size - 6, (3, 2)):
            mask |= np.hypot(y - cy, x - cx) < 5
        raw = (0.3 + 0.4 * mask + rng.normal(0, 0.1, mask.shape)).astype(np.float32)
        full = np.full((1, size, size), annotated)
        return Image(f"disc/{seed}", raw[None], mask[None], full, full, (10.0, 10.0))

    return make


TINY = """
study: tiny
announcement: "A tiny run."
objectives: [bce, tanh_distance, hot_distance]
seeds: [0]
parameters: {dataset: phantom, classes: mitochondria, steps: 6, batch: 2, patch: 32, reduce: 16, width: 2, threads: 1}
notebooks: [download, targets]
show: [bce, hot_distance]
"""


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """The workflow, as the Makefile calls it, in a copy of the project."""
    command = ["snakemake", "--snakefile", "workflow/Snakefile", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def shared(tmp_path_factory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder made once for all of pytest-xdist's workers: the first makes it, the others wait."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    ready = base / f"{name}.ready"
    with FileLock(base / f"{name}.lock"):
        if not ready.exists():
            make(base / name)
            ready.touch()
    return base / name


def copy_project(root: Path, folder: Path) -> None:
    """The project's files, and the tiny study among its studies."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (root / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, folder / name, follow_symlinks=False)
    (folder / "studies" / "tiny.yml").write_text(TINY)


@pytest.fixture(scope="session")
def project_copy(root, tmp_path_factory) -> Path:
    """The project's files in a folder of their own, where a test may change them."""
    return shared(tmp_path_factory, "project", lambda folder: copy_project(root, folder))


@pytest.fixture(scope="session")
def tiny_study(project_copy, tmp_path_factory) -> Path:
    """That copy, with a study run in it from the first notebook to the book."""

    def make(done: Path) -> None:
        result = snakemake(project_copy, "--config", "study=tiny")
        assert result.returncode == 0, result.stderr[-3000:]

    shared(tmp_path_factory, "study", make)
    return project_copy


def pages_of(folder: Path) -> list[Path]:
    """The pages that people read: not the theme's parts, nor Sphinx's own."""
    pages = folder.rglob("*.html")
    return [p for p in pages if "_static" not in p.parts and p.name not in ("genindex.html", "search.html")]


@pytest.fixture(scope="session")
def published(root, tmp_path_factory) -> list[Path]:
    """The pages of the published book, built with every warning an error."""

    def make(folder: Path) -> None:
        command = [
            "jupyter-book",
            "build",
            str(root / "book"),
            "--path-output",
            str(folder),
            "-W",
            "-n",
            "--keep-going",
        ]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, (result.stdout + result.stderr)[-3000:]

    return pages_of(shared(tmp_path_factory, "published", make) / "_build/html")


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A page in headless Chromium."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here: nothing is tried in a browser (apt-get install chromium)")
    pytest.importorskip("websocket", reason="no websocket-client here: nothing is tried in a browser")
    one = Browser(tmp_path_factory.mktemp("profile"))
    yield one
    one.close()
