"""The learning rates that a study's searches found: one row for each objective of each part, as CSV.

The rate is that of the trial with the highest score, which is the validation IoU at the best cut, as the test images
of a study are judged. A mask that is all but empty at the natural cut does not count against it. (A run by itself is
read at the natural cut too, and its own search, `helpers.tuning`, passes over such a trial.) Trials that had collapsed
there, or diverged, are named.

python workflow/rates.py STUDY RUNS OUTPUT
"""

import csv
import io
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from study import RATE_COLUMNS, read_study

from helpers.files import write_whole
from helpers.tuning import RATES


def main(study: str, runs: Path, output: Path) -> None:
    rows = []
    for part in read_study(study).parts:
        for search in part.searches:
            facts = json.loads((runs / search.id / "run.json").read_text())
            tried = facts["search"]
            best = best_rate(tried, search.id)
            rows.append(
                {
                    "part": part.name,
                    "objective": search.objective,
                    "learning_rate": best,
                    "at_edge": int(best in (min(RATES), max(RATES))),
                    "scores": " ".join(f"{row['learning_rate']:g}:{row['score']:.4f}" for row in tried),
                    "collapsed": " ".join(f"{row['learning_rate']:g}" for row in tried if row["collapsed"]),
                    "diverged": " ".join(f"{row['learning_rate']:g}" for row in tried if row["diverged"]),
                    "seconds": round(sum(row["seconds"] for row in tried), 1),
                    "run": search.id,
                }
            )
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, RATE_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(output, buffer.getvalue().encode())


def best_rate(tried: Sequence[Mapping[str, Any]], search: str) -> float:
    """The learning rate with the highest score; of equal scores the smallest, the safer one for a longer training."""
    scored = [row for row in tried if not math.isnan(row["score"])]
    if not scored:
        raise ValueError(f"no trial of the search {search} has a score: all diverged or collapsed; try other rates")
    return max(scored, key=lambda row: (row["score"], -row["learning_rate"]))["learning_rate"]


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
