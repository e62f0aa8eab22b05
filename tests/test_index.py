"""The index of a study's part: what is there, what is missing, and what may not be mixed."""

import json

import pytest

from helpers.index import read_index

PARAMETERS = {"dataset": "vnc", "classes": "membranes, synapses", "reduce": 2, "test": True, "seed": 3}


def make(folder, runs, index=None):
    """Folders of runs that differ in what is given; an index of all of them, or one of its own."""
    for name, (parameters, facts) in runs.items():
        (folder / "runs" / name).mkdir(parents=True)
        for record, content in (("parameters", PARAMETERS | parameters), ("run", {"code_hash": "a"} | facts)):
            (folder / "runs" / name / f"{record}.json").write_text(json.dumps(content))
    (folder / "runs").mkdir(exist_ok=True)
    (folder / "runs.csv").write_text(index or "run,objective\n" + "".join(f"{name},of {name}\n" for name in runs))
    return folder / "runs.csv", folder / "runs"


def test_finished_runs_come_in_the_order_of_the_index_and_the_others_are_named(tmp_path):
    index, runs = make(tmp_path, {"b": ({"seed": 1}, {}), "a": ({}, {}), "c": ({}, {})})
    (runs / "c" / "run.json").unlink()
    index.write_text("objective,more,run\nsquare,1,b\n0123,2,gone\ndisc,3,a\nlate,4,c\n")
    found, missing = read_index(index, runs)
    assert [(r.name, r.objective, r.seed, r.classes) for r in found] == [
        ("b", "square", 1, ("membranes", "synapses")),
        ("a", "disc", 3, ("membranes", "synapses")),
    ]
    assert missing == [
        f"run gone of 0123: no parameters.json in {runs / 'gone'}",
        f"run c of late: no run.json in {runs / 'c'}",
    ]


@pytest.mark.parametrize(
    ("runs", "index", "says"),
    [
        ({"a": ({}, {})}, "name,objective\na,b\n", "lacks the column run; expected run, objective"),
        ({"a": ({}, {})}, "run,objective\na,b\na,c\n", "names the run a twice"),
        ({}, "run,objective\na,b\n", "no run of .* is finished"),
        ({"a": ({}, {}), "b": ({"reduce": 4}, {})}, None, r"mixes runs of reduce 2 \(a\) and 4 \(b\)"),
        ({"a": ({}, {}), "b": ({"test": False}, {})}, None, r"mixes runs of test True \(a\) and False \(b\)"),
        ({"a": ({}, {}), "b": ({}, {"code_hash": "z"})}, None, r"2 code versions: a \(a\), z \(b\); run the stale"),
    ],
)
def test_what_may_not_be_mixed_is_named(tmp_path, runs, index, says):
    with pytest.raises(ValueError, match=says):
        read_index(*make(tmp_path, runs, index))


def test_no_index_at_all(tmp_path):
    with pytest.raises(FileNotFoundError, match="no index .*runs.csv; expected a CSV with the columns run, objective"):
        read_index(tmp_path / "runs.csv", tmp_path)
