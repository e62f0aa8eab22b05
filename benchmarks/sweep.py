"""What a sweep costs beyond its trainings: runs side by side against one after another, and the engine against a loop.

The same trainings in four ways, each in a folder of its own: one after another by a plain loop; by Snakemake on one
core; by Snakemake with as many one-threaded runs at once as there are cores; by Snakemake one after another with all
cores as threads. The efficiency is the loop's time over that of the side by side, over the number of cores; the
overhead is what Snakemake on one core takes beyond the loop. "Start" is what a run takes beyond its training: kernel,
imports, data, scores.

    python benchmarks/sweep.py [--csv FILE] [--runs 4] [--steps 500] [--cores 2]
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOOP = "a loop, one thread"
STUDY = """study: sweep
announcement: ""
objectives: [bce]
seeds: {seeds}
parameters: {{dataset: phantom, steps: {steps}, threads: {threads}}}
"""


def project(folder: Path, runs: int, steps: int, threads: int) -> Path:
    """A folder in which the workflow runs on this code and builds apart from everything else."""
    folder.mkdir()
    for name in ("src", "workflow", "notebooks", "book"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "studies").mkdir()
    (folder / "studies/sweep.yml").write_text(STUDY.format(seeds=list(range(runs)), steps=steps, threads=threads))
    return folder


def environment() -> dict[str, str]:
    """The commands of this Python's environment first."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def call(folder: Path, *command: str) -> None:
    """Run a command in the folder; what it says is shown where it fails."""
    made = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    if made.returncode:
        sys.exit(f"{' '.join(command)} failed with {made.returncode}: {made.stderr[-2000:]}")


def engine(folder: Path, cores: int, last: str = "train") -> None:
    """The study by Snakemake, up to a rule: its trainings, say."""
    settings = ["--snakefile", "workflow/Snakefile", "--quiet", "all", "--cores", str(cores)]
    call(folder, "snakemake", *settings, "--config", "study=sweep", "--until", last)


def loop(folder: Path, runs: int, steps: int) -> None:
    """The same trainings by the same script, one after another."""
    for seed in range(runs):
        values = ["-r", "loss", "bce", "-r", "dataset", "phantom", "-y", "test: true", "-y", f"steps: {steps}"]
        values += ["-y", "threads: 1", "-y", f"seed: {seed}", "-r", "output", f"build/runs/{seed}"]
        files = [f"build/runs/{seed}.ipynb", f"build/logs/{seed}.log"]
        call(folder, sys.executable, "workflow/execute.py", "notebooks/train.ipynb", *files, *values)


def training_seconds(folder: Path) -> list[float]:
    """Of each run, what its training alone took."""
    return [json.loads(path.read_text())["seconds"] for path in sorted(folder.glob("build/runs/*/run.json"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--cores", type=int, default=2)
    given = parser.parse_args()
    if given.runs < 1 or given.runs % given.cores:
        sys.exit(f"runs is {given.runs}; expected a multiple of the {given.cores} cores, so that none stands idle")
    ways = {  # how many run at once, and the threads of each
        LOOP: (1, 1),
        "Snakemake, one at a time, one thread": (1, 1),
        f"Snakemake, {given.cores} at once, one thread each": (given.cores, 1),
        f"Snakemake, one at a time, {given.cores} threads": (1, given.cores),
    }
    rows, first = [], None
    with tempfile.TemporaryDirectory() as scratch:
        for number, (name, (at_once, threads)) in enumerate(ways.items()):
            folder = project(Path(scratch) / str(number), given.runs, given.steps, threads)
            engine(folder, 1, "prepare")  # the images are made beforehand, and the code is compiled
            start = time.perf_counter()
            if name == LOOP:
                loop(folder, given.runs, given.steps)
            else:
                engine(folder, at_once * threads)
            seconds = time.perf_counter() - start
            trained = training_seconds(folder)
            if len(trained) != given.runs:
                sys.exit(f"{name}: {len(trained)} runs are finished; expected {given.runs}")
            first = first or seconds
            rows.append(
                {
                    "way": name,
                    "runs": given.runs,
                    "steps": given.steps,
                    "seconds": round(seconds, 1),
                    "start (s per run)": round(seconds * at_once / given.runs - sum(trained) / given.runs, 1),
                    "times the loop": round(seconds / first, 3),
                    "share of ideal": round(first / seconds / given.cores, 3) if threads * at_once > 1 else "",
                }
            )
            print(*(f"{k} {v}" for k, v in rows[-1].items()), sep=", ", flush=True)
    if given.csv:
        with given.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
