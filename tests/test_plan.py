"""How long a study still takes, from made durations: counted by hand."""

import hashlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "workflow"))
from plan import lines, main, outdated, stale
from study import Part, Run, Study, read_study

from helpers.notebook import code_hash


def made(id_, **parameters):
    return Run(id_, parameters["loss"], {"dataset": "vnc", "steps": 500} | parameters)


def test_what_is_left_is_estimated_from_runs_of_the_same_kind():
    bce = [made(f"bce{i}", loss="bce") for i in range(4)]
    dice = [made(f"dice{i}", loss="dice") for i in range(2)]
    long = [made("long", loss="bce", steps=5000)]
    study = Study(
        "s", "", (Part("a", (*bce, *dice), (), "vnc", "m"), Part("b", (*bce[:1], *long), (), "vnc", "m")), True
    )
    durations = {"bce0": 60.0, "bce1": 120.0}
    said = list(lines(study, durations, 2))
    assert said == [
        "a: 2 of 6 runs are there",
        "b: 1 of 2 runs are there",
        "1 runs are in several parts, and run once",
        "5 to do; how long that takes is known once the first of every kind is finished",
    ]
    # two of bce at their median of 90 s, two of dice, of which none is finished, at that of all of as many steps
    assert list(lines(study, durations | {"long": 300.0}, 2))[-1].startswith("4 to do; about 3 min on 2 cores")
    done = {run.id: 60.0 for run in (*bce, *dice, *long)}
    assert list(lines(study, done, 2))[-1] == "nothing to do but analyses and the book"


def test_runs_of_another_version_of_the_code_are_to_do_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text("def loss(): pass\n")
    own = code_hash("vnc") + "-" + hashlib.sha256(Path("own.py").read_bytes()).hexdigest()[:12]
    made_with = {"new": code_hash("vnc"), "old": "0123abc", "mine": own, "edited": f"{code_hash('vnc')}-0123abc"}
    losses = {"mine": "own:loss", "edited": "own:loss"}
    runs = [made(id_, loss=losses.get(id_, "bce")) for id_ in (*made_with, "unread", "missing")]
    for id_, code in made_with.items():
        (tmp_path / id_).mkdir()
        (tmp_path / id_ / "parameters.json").write_text(json.dumps({"code": code}))
    study = Study("s", "", (Part("a", tuple(runs[:3]), tuple(runs[3:]), "vnc", "m"),), True)
    durations = dict.fromkeys((*made_with, "unread"), 60.0)
    assert (old := outdated(study, tmp_path, durations)) == {"old", "edited", "unread"}
    assert list(lines(study, durations, 2, old)) == [
        "a: 0 of 3 searches are there",
        "a: 2 of 3 runs are there",
        "4 to do, 3 of them again, as they are of another version of the code; about 2 min on 2 cores, analyses and "
        "the book aside",
    ]


def test_the_plan_of_a_study_in_which_every_run_is_outdated(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("notebooks").symlink_to(Path(__file__).parent.parent / "notebooks")
    Path("studies").mkdir()
    said = "objectives: [bce]\nseeds: [0, 1]\nparameters: {dataset: phantom, classes: mitochondria}\n"
    Path("studies/made.yml").write_text(f'study: made\nannouncement: ""\n{said}')
    for run in read_study("made").parts[0].runs:
        (tmp_path / "build/runs" / run.id).mkdir(parents=True)
        (tmp_path / f"build/runs/{run.id}.ipynb").write_text('{"metadata": {"papermill": {"duration": 60.0}}}')
        (tmp_path / "build/runs" / run.id / "parameters.json").write_text('{"code": "0123abc"}')
    main("made")
    told = capsys.readouterr().out
    assert "main: 0 of 2 runs are there" in told and "2 to do, 2 of them again, as they are of another version" in told


def test_published_rows_of_another_code_are_named(tmp_path):
    study = Study("s", "", tuple(Part(name, (), (), "vnc", "m") for name in ("old", "new", "none")), True)
    for part, version in (("old", "0123abc"), ("new", code_hash("vnc"))):
        (tmp_path / "s" / part).mkdir(parents=True)
        (tmp_path / "s" / part / "rows.csv").write_text(f"seed,code_hash\n0,{version}\n1,{version}\n")
    (said,) = stale(study, tmp_path)
    assert said == f"stale: the published rows of old are of training code 0123abc; this is {code_hash('vnc')}"
