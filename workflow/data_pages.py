"""The book's pages of data: the notebook of the data, executed on data sets, for ``book/data``.

    python workflow/data_pages.py vnc fib25 drishti

Run from the root, at a commit: a page says which code made it.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from assemble import normalised

PAGES, BUILD = Path("book/data"), Path("build/data")


def main() -> None:
    from helpers import datasets

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", help="data sets, each a page")
    names = parser.parse_args().names
    for name in names:
        datasets.prepare(name)  # here, so that no page shows how a download went
        command = [sys.executable, "workflow/execute.py", "notebooks/download.ipynb"]
        command += [BUILD / f"{name}.ipynb", BUILD / f"{name}.log"]
        command += ["-r", "dataset", name, "-r", "output", BUILD / "figures" / name]
        if subprocess.run(command).returncode:
            sys.exit(f"the page of {name} failed; {PAGES} is as it was")
    PAGES.mkdir(exist_ok=True)
    for name in names:  # all at the end: the first one changed would make the commit of the others "dirty"
        text = normalised((BUILD / f"{name}.ipynb").read_text(), title=f"Data: {datasets.about(name)['title']}")
        (PAGES / f"{name}.ipynb").write_text(text)


if __name__ == "__main__":
    main()
