"""The learning rates that a study's searches found: one row for each objective of each part, as CSV.

A rate whose trial collapsed or diverged is passed over, whatever its score (`helpers.tuning`), so these are named.

python workflow/rates.py STUDY RUNS OUTPUT
"""

import csv
import io
import json
import sys
from pathlib import Path

from study import RATE_COLUMNS, read_study

from helpers.files import write_whole
from helpers.tuning import RATES


def main(study: str, runs: Path, output: Path) -> None:
    rows = []
    for part in read_study(study).parts:
        for search in part.searches:
            facts = json.loads((runs / search.id / "run.json").read_text())
            tried = facts["search"]
            rows.append(
                {
                    "part": part.name,
                    "objective": search.objective,
                    "learning_rate": facts["learning_rate"],
                    "at_edge": int(facts["learning_rate"] in (min(RATES), max(RATES))),
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


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
