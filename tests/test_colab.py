"""The notebooks as a hosted service runs them: alone, in a kernel that has torch but not this package."""

import json
import os
import shlex
import subprocess
import sys
import venv

import pytest
import torch

pytestmark = pytest.mark.slow  # an environment with torch is installed
HOSTED = (f"torch=={torch.__version__.partition('+')[0]}", "numpy", "matplotlib", "ipykernel")


@pytest.fixture(scope="module")
def hosted(tmp_path_factory):
    """A fresh virtual environment as a Jupyter kernel named "hosted"."""
    folder = tmp_path_factory.mktemp("hosted")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder / "probe"), "pooch"]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no package index reachable: a hosted kernel installs from there")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *HOSTED], check=True)
    kernel = folder / "jupyter" / "kernels" / "hosted"
    kernel.mkdir(parents=True)
    spec = {"argv": [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "hosted"}
    (kernel / "kernel.json").write_text(json.dumps(spec | {"language": "python"}))
    return folder


@pytest.fixture(scope="module")
def repository(project_copy):
    """The working tree as a git repository that pip can install from."""
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", "init", "-q"], cwd=project_copy, check=True)
    subprocess.run(["git", "add", "src", "pyproject.toml", "README.md", "LICENSE"], cwd=project_copy, check=True)
    subprocess.run([*git, "commit", "-qm", "the working tree"], cwd=project_copy, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=project_copy, capture_output=True, text=True, check=True)
    return project_copy, head.stdout.strip()


def test_a_bare_notebook_installs_its_package_keeps_the_torch_and_runs(hosted, repository, root, tmp_path):
    folder, head = repository
    python = hosted / "venv" / "bin" / "python"
    probe = [python, "-c", "import torch; print(torch.__version__)"]
    before = subprocess.run(probe, capture_output=True, text=True, check=True).stdout
    missing = subprocess.run([python, "-c", "import helpers"], capture_output=True)
    assert missing.returncode, "the hosted kernel must start without the package"

    environment = os.environ | {"HELPERS_REPOSITORY": f"git+file://{folder}@{head}"}
    environment |= {"JUPYTER_PATH": str(hosted / "jupyter"), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    environment.pop("PYTHONPATH", None)
    for name, arguments in {
        "train": "-p steps 4 -p batch 2 -p patch 32 -p reduce 16 -p width 2 -p output out",
        "targets": "-p patch 32 -p reduce 16",
        "download": "-p reduce 16",
        "analysis": "-p study single -p runs . -p index '' -p output results",
    }.items():
        (tmp_path / f"{name}.ipynb").write_bytes((root / "notebooks" / f"{name}.ipynb").read_bytes())
        command = ["papermill", "--no-progress-bar", "-k", "hosted", f"{name}.ipynb", f"{name}-run.ipynb"]
        result = subprocess.run(
            [*command, *shlex.split(arguments)], cwd=tmp_path, capture_output=True, text=True, env=environment
        )
        assert result.returncode == 0, f"{name}: {result.stderr[-3000:]}"
    after = subprocess.run(probe, capture_output=True, text=True, check=True).stdout
    assert after == before
    rows = (tmp_path / "out" / "rows.csv").read_text()
    assert head in rows, "the commit comes from pip's record of the installation"
