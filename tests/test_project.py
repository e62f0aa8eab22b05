"""The repository as a whole: one address, one version, valid citation, tidy code."""

import json
import re
import subprocess
import sys
import tomllib
import zipfile

import pytest
import yaml

PLACE = re.compile(
    r"(?:github\.com/|colab\.research\.google\.com/github/|mybinder\.org/v2/gh/)([\w.-]+/hot-or-distance)"
)


def tracked(folder):
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=folder, capture_output=True, text=True, check=True).stdout
    return [folder / name for name in listed.split("\0") if name]


def addresses(folder):
    found = {}
    for path in tracked(folder):
        if (
            path.is_file()
            and path.name != "test_project.py"
            and path.suffix in (".md", ".yml", ".ipynb", ".toml", ".cff", ".py")
        ):
            for owner in PLACE.findall(path.read_text()):
                found.setdefault(owner, set()).add(path.relative_to(folder).as_posix())
    return found


def test_one_public_address(root):
    url = yaml.safe_load((root / "book/_config.yml").read_text())["repository"]["url"]
    found = addresses(root)
    assert set(found) == {url.removeprefix("https://github.com/")}
    names = ("analysis", "apply", "download", "interpret", "surfaces", "targets", "train")
    assert {f"notebooks/{n}.ipynb" for n in names} <= set().union(*found.values())


def test_make_address_sets_it_everywhere(root, tmp_path):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(root), str(clone)], check=True)
    for path in tracked(root):  # what is not committed yet counts too
        if path.is_file() and not path.is_symlink():
            (clone / path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
            (clone / path.relative_to(root)).write_bytes(path.read_bytes())
    command = [sys.executable, "workflow/address.py"]
    wrong = subprocess.run([*command, "example.org/x"], cwd=clone, capture_output=True, text=True)
    assert wrong.returncode == 1 and "URL is 'example.org/x'; expected https://github.com/OWNER/NAME" in wrong.stderr
    before = addresses(clone)
    subprocess.run([*command, "https://github.com/someone/hot-or-distance"], cwd=clone, check=True, capture_output=True)
    after = addresses(clone)
    assert set(after) == {"someone/hot-or-distance"}
    assert after.popitem()[1] == before.popitem()[1]


def test_the_notebooks_install_the_version_they_belong_to(root):
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    cells = set()
    for path in (root / "notebooks").glob("*.ipynb"):
        first = next(c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code")
        cells.add("".join(first["source"]))
    assert len(cells) == 1 and f"hot-or-distance@v{version}" in cells.pop()
    assert yaml.safe_load((root / "CITATION.cff").read_text())["version"] == version


def test_requirements_are_exact_and_hold_what_the_paper_promises(root):
    lines = [x for x in (root / "requirements.txt").read_text().splitlines() if x and x[0] not in "#-"]
    pins = dict(line.split("==") for line in lines)
    promised = "jupyter-book jupyterlab papermill torch kornia scipy zarr matplotlib seaborn nbval"
    assert set(promised.split()) <= set(pins)
    assert pins["torch"] == "2.13.0" and pins["jupyter-book"].startswith("1.")


def test_citation_is_valid(root, tmp_path):
    """Against the CFF 1.2 schema, as the cffconvert package carries it."""
    import jsonschema

    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(tmp_path), "cffconvert==2.0.0"]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no package index reachable: the CFF schema comes from there")
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        name = next(n for n in wheel.namelist() if "1.2.0" in n and n.endswith("schema.json"))
        schema = json.loads(wheel.read(name))
    citation = yaml.load((root / "CITATION.cff").read_text(), yaml.BaseLoader)  # dates stay text
    jsonschema.validate(citation, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(citation | {"authors": []}, schema)


def test_code_and_notebooks_are_tidy(root):
    for command in (["ruff", "check", "."], ["ruff", "format", "--check", "."]):
        result = subprocess.run(command, cwd=root, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout


def test_make_help_lists_every_command(root):
    result = subprocess.run(["make", "help"], cwd=root, capture_output=True, text=True)
    for target in ("paper", "test", "book", "study", "lab", "address", "help"):
        assert re.search(rf"^{target}\s", result.stdout, re.M), target
