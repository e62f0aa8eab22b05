"""How long a study still takes, from made durations: counted by hand."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "workflow"))
from plan import lines
from study import Part, Run, Study


def made(id_, **parameters):
    return Run(id_, parameters["loss"], {"dataset": "vnc", "steps": 500} | parameters)


def test_what_is_left_is_estimated_from_runs_of_the_same_kind():
    bce = [made(f"bce{i}", loss="bce") for i in range(4)]
    dice = [made(f"dice{i}", loss="dice") for i in range(2)]
    long = [made("long", loss="bce", steps=5000)]
    study = Study(
        "s", "", (Part("a", (*bce, *dice), (), "vnc", "m"), Part("b", (*bce[:1], *long), (), "vnc", "m")), True
    )
    said = list(lines(study, {"bce0": 60.0, "bce1": 120.0}, 2))
    assert said == [
        # of four more all take the median of 90 s: two of bce, and two of dice, of which none is finished yet; 360 s
        "a: 2 of 6 runs are there, about 3 min left on 2 cores",
        "b: 1 of 2 runs are there, 1 to do; how long is known once the first of their kind is finished",
        "1 runs are shared by parts and run once",
        "in all 5 to do, 5 to do; how long is known once the first of their kind is finished on 2 cores, analyses and "
        "book aside",
    ]
    done = {run.id: 60.0 for run in (*bce, *dice, *long)}
    assert list(lines(study, done, 2))[0] == "a: 6 of 6 runs are there, none to do"
    assert list(lines(study, done, 2))[-1] == "in all 0 to do, nothing left on 2 cores, analyses and book aside"
