"""Run a notebook; one that fails is moved aside to OUTPUT.failed, so that it can be read and never passes for a result.

python workflow/execute.py NOTEBOOK OUTPUT LOG [papermill arguments]
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

# Two kernels that start at once may choose the same port, and one dies before it has run a cell: only then, once more.
RACE = re.compile("Kernel died before replying|Address already in use")


def main(notebook: str, output: Path, log: Path, arguments: list[str]) -> int:
    for path in (output, log):
        path.parent.mkdir(parents=True, exist_ok=True)
    command = ["papermill", "--no-progress-bar", notebook, str(output), *arguments]
    for last in (False, True):
        with log.open("w") as file:
            code = subprocess.run(
                command, stdout=file, stderr=subprocess.STDOUT, env=os.environ | {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}
            ).returncode
        if code == 0:
            return 0
        if last or not RACE.search(log.read_text()):
            break
    aside = output.with_name(f"{output.name}.failed")
    said = failure(output) or "\n".join(log.read_text().splitlines()[-5:])
    if output.exists():
        os.replace(output, aside)
        said += f"\nthe notebook as far as it came: {aside}"
    print(f"{output} failed; {said}\nall that was printed: {log}", file=sys.stderr)
    return code


def failure(path: Path) -> str:
    """The cell that failed, by its number and first line, and its error; empty where no cell tells."""
    try:
        cells = json.loads(path.read_text())["cells"]
    except (OSError, ValueError):
        return ""
    own = [cell for cell in cells if "papermill-error-cell-tag" not in cell["metadata"].get("tags", ())]
    for number, cell in enumerate(own):
        for output in cell.get("outputs", ()):
            if output.get("output_type") == "error":
                first = next((line for line in "".join(cell["source"]).splitlines() if line.strip()), "")
                return f"cell {number} ({first!r}) raised {output['ename']}: {output['evalue']}"
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]))
