"""A study's file: what it asks for, and what is wrong with it, by line."""

import csv
import json
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "workflow"))
import rates as found_rates  # noqa: E402
from study import arguments_of, read_study, takes  # noqa: E402

TEXT = """study: made
announcement: ""
parts:
  first:
    objectives:
      bce:
      voxels: {loss: distance, unit: voxel}
    seeds: [0, 1, 2]
    vary: {depth: [2, 3]}
    parameters:
      dataset: phantom
      classes: "mitochondria,tubes"
      steps: 6
    notebooks: {targets: {scale_nm: 30.0}}
    show: [voxels]
    primary: voi
    classes: tubes
  second: {objectives: [bce], seeds: [0], parameters: {steps: 6, depth: 2, classes: "mitochondria,tubes"}, search: {}}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "studies").mkdir()
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(folder, text, rates=None):
    (folder / "studies" / "made.yml").write_text(text)
    return read_study("made", rates)


def test_objectives_of_unequal_length_are_unequal_on_purpose(folder):
    text = "study: made\nannouncement: ''\nobjectives:\n"
    text += "  brief: {loss: bce, steps: 6}\n  long: {loss: bce, steps: 24}\n"
    text += "seeds: [0]\nreference: brief\nparameters: {dataset: phantom, steps: 6, threads: 1}\n"
    (part,) = read(folder, text).parts
    assert {r.objective: r.parameters["steps"] for r in part.runs} == {"brief": 6, "long": 24}
    assert part.analysis == {"reference": "brief", "unequal": "steps"}


def test_a_part_asks_for_its_objectives_times_seeds_times_what_varies(folder):
    (folder / "rates.csv").write_text("part,objective,learning_rate\nsecond,bce,0.003\n")
    study = read(folder, TEXT, folder / "rates.csv")
    first, second = study.parts
    asked = {(r.objective, r.parameters["seed"], r.parameters.get("depth", 3)) for r in first.runs}
    assert len(first.runs) == len(asked) == 2 * 3 * 2 == len({r.id for r in first.runs})
    assert all(r.parameters["test"] is True and r.parameters["steps"] == 6 for r in first.runs)
    voxels = next(r for r in first.runs if r.objective == "voxels")
    assert voxels.parameters["loss"] == "distance" and voxels.parameters["unit"] == "voxel"
    assert voxels.id.startswith("phantom-distance-seed0-") and [r.objective for r in first.shown] == ["voxels"]
    assert first.analysis == {"primary": "voi", "classes": "tubes"} and first.searches == ()
    shared = next(
        r for r in first.runs if (r.objective, r.parameters["seed"], r.parameters.get("depth")) == ("bce", 0, 2)
    )
    assert second.runs[0].id == shared.id, "a rate that was found and is the default, and a default that was said"


def test_where_a_rate_is_searched_for_there_are_no_runs_until_it_is_found(folder):
    study = read(folder, TEXT, folder / "rates.csv")
    assert not study.searched and not study.parts[1].runs and len(study.parts[1].searches) == 1
    search = study.parts[1].searches[0]
    assert search.parameters["learning_rate"] == 0 and not search.parameters.get("test", False)
    (folder / "rates.csv").write_text("part,objective,learning_rate\nsecond,bce,0.01\n")
    found = read(folder, TEXT, folder / "rates.csv")
    assert found.searched and found.parts[1].runs[0].parameters["learning_rate"] == 0.01
    (folder / "rates.csv").write_text("part,objective,learning_rate\nsecond,dice,0.01\n")
    with pytest.raises(ValueError, match="no learning rate was found for bce of part second: search again"):
        read(folder, TEXT, folder / "rates.csv")


def test_the_rate_is_that_of_the_highest_score_and_trials_that_collapsed_or_diverged_are_named(folder):
    study = read(folder, TEXT)
    trial = {"collapsed": False, "diverged": "", "seconds": 1.25}
    tried = [
        trial | {"learning_rate": 1e-3, "score": 0.5},
        trial | {"learning_rate": 3e-3, "score": float("nan"), "diverged": "the loss is nan at step 3"},
        trial | {"learning_rate": 1e-2, "score": 0.7, "collapsed": True},
    ]
    (search,) = study.parts[1].searches
    (folder / "runs" / search.id).mkdir(parents=True)
    facts = {"learning_rate": 1e-3, "search": tried}  # the rate is the run's own choice
    (folder / "runs" / search.id / "run.json").write_text(json.dumps(facts))
    found_rates.main("made", folder / "runs", folder / "rates.csv")
    with (folder / "rates.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row == {
        "part": "second",
        "objective": "bce",
        "learning_rate": "0.01",
        "at_edge": "1",
        "scores": "0.001:0.5000 0.003:nan 0.01:0.7000",
        "collapsed": "0.01",
        "diverged": "0.003",
        "seconds": "3.8",
        "run": search.id,
    }
    assert read(folder, TEXT, folder / "rates.csv").parts[1].runs[0].parameters["learning_rate"] == 1e-2
    tried[0] |= {"score": 0.7}
    assert found_rates.best_rate(tried, "s") == 1e-3, "of equal scores the smallest rate"
    with pytest.raises(ValueError, match="no trial of the search s has a score"):
        found_rates.best_rate(tried[1:2], "s")


def test_notebooks_of_a_part_get_what_they_take_and_what_is_theirs(folder):
    (folder / "rates.csv").write_text("part,objective,learning_rate\nsecond,bce,0.003\n")
    study = read(folder, TEXT, folder / "rates.csv")
    (first, _), build = study.parts, Path("build")
    analysis = arguments_of("analysis", study, first, build, first.analysis)
    assert analysis["index"] == "build/made/first/runs.csv" and analysis["output"] == "build/made/first/analysis"
    assert analysis["primary"] == "voi" and analysis["part"] == "first" and set(analysis) <= set(takes("analysis"))
    targets = arguments_of("targets", study, first, build, first.notebooks["targets"])
    assert targets["class_name"] == "mitochondria" and targets["scale_nm"] == 30.0 and "runs" not in targets


def test_every_study_that_is_shipped_can_be_read(monkeypatch):
    monkeypatch.chdir(ROOT)
    for path in sorted(Path("studies").glob("*.yml")):
        study = read_study(path.stem)
        assert all(part.runs or part.searches for part in study.parts), path


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("study: made", "study: other", "line 1: study is 'other'; expected the file's own name, 'made'"),
        ('announcement: ""\n', "", "there is no 'announcement'; see studies/quick.yml"),
        ("parts:", "parst:", "there is no 'parts'"),
        ("    show:", "    shown:", "line 15: part first has the unknown key 'shown'; it may say objectives, seeds"),
        ("      bce:\n", "      dise:\n", "line 6: objective 'dise' of part first: expected one of bce, logistic"),
        ("loss: distance", "loss: hop", "line 7: objective 'hop' of part first"),
        ("unit: voxel", "gamma: 3.0", "line 7: gamma is set to 3.0, but distance has no such option"),
        ("      steps: 6", "      stepps: 6", "line 13: parameter 'stepps' of part first: notebooks/train.ipynb takes"),
        ("      steps: 6", "      output: here", "parameter 'output' of part first"),
        ("      steps: 6", "      steps: many", "line 13: steps is 'many', of type str; expected int"),
        ("      steps: 6", "      learning_rate: 1e-3", r"expected float \(YAML reads 1e-3 as text: write 1.0e-3"),
        ("dataset: phantom", "dataset: phantm", "line 11: dataset: unknown data set 'phantm'; there are vnc, fib25"),
        ("dataset: phantom", "dataset: some/where", "line 11: dataset: no folder some/where"),
        ("dataset: phantom", "dataset: cem1500k", "class 'mitochondria': cem1500k has no labels"),
        ("dataset: phantom", "target: tubes", "line 11: target is 'tubes', and annotated is 'all'"),
        ("search: {}", "search: {target: tubes}", "line 18: target is 'tubes', and annotated is 'all'"),
        ('"mitochondria,tubes"\n', "nuclei\n", "line 12: class 'nuclei': phantom has membranes, mitochondria"),
        ("[0, 1, 2]", "[0, 0]", r"line 8: seeds: expected a list of different whole numbers, not \[0, 0\]"),
        ("[2, 3]", "[3, 3]", r"line 9: vary depth is \[3, 3\]; expected a list of different values"),
        ("[2, 3]", "[]", "vary depth is"),
        ("loss: distance, unit: voxel", "loss: bce", "part first has the same run twice, as bce and voxels"),
        ("show: [voxels]", "show: [pixels]", "line 15: show names 'pixels'; part first compares bce, voxels"),
        ("targets: {scale_nm", "tagrets: {scale_nm", "line 14: part first wants the notebook 'tagrets'; there are"),
        ("scale_nm", "scale", "line 14: parameter 'scale' of notebook targets: it takes dataset"),
        ("targets: {scale_nm: 30.0}", "sparse: {parts: 'first, x'}", "line 14: parts of notebook sparse names 'x'"),
        ("targets: {scale_nm: 30.0}", "sparse: {parts: 'first,'}", "line 14: parts of notebook sparse names ''"),
        ("primary: voi", "primary: sharpness", "line 16: primary: metric is 'sharpness'; expected one of iou"),
        ("    classes: tubes", "    reference: dice", "line 17: reference is 'dice'; part first compares bce, voxels"),
        ("  second: {", "  se-cond: {", "the part 'se-cond'; expected a name of letters"),
        ("objectives: [bce]", "objectives: []", r"objectives of part second is \[\]; expected names, of bce"),
        ("objectives: [bce]", "objectives: 3", "objectives of part second is 3; expected names"),
        ("objectives: [bce]", "objectives: bce", "objectives of part second is 'bce'; expected names"),
        ("objectives: [bce]", "objectives: {bce: hello}", "bce of part second is 'hello'; expected names, each with"),
        ("objectives: [bce]", 'objectives: {"my loss": {loss: bce}}', "the objective 'my loss'; expected a name of"),
        ("objectives: [bce]", "objectives: {bce: {batch: 7}}", "bce sets 'batch' for itself; objectives of a part may"),
        ("objectives: [bce]", "objectives: {bce: {network: resnet}}", "bce sets 'network' for itself"),
        ("seeds: [0]", "seeds: [-1]", r"seeds: expected a list of different whole numbers, not \[-1\]"),
        ("search: {}", "search: {steps: 5000}", "search sets 'steps', which is the same for every search"),
        ("search: {}", "search:", "search of part second is None; expected names, each with a value, or {}"),
        ("search: {}", "search: true", "search of part second is True"),
        (
            'parameters: {steps: 6, depth: 2, classes: "mitochondria,tubes"}',
            "parameters: [a]",
            "parameters of part second is",
        ),
        ("    vary: {depth: [2, 3]}", "    vary: [depth]", "vary of part first is .'depth'.; expected names"),
        ("depth: [2, 3]", "dataset: [phantom, nowhere]", "line 9: dataset: unknown data set 'nowhere'"),
        ("depth: [2, 3]", 'classes: ["mitochondria,tubes", nuclei]', "line 9: class 'nuclei': phantom has membranes"),
        ("depth: [2, 3]", "split: [0, -1]", "line 9: split is -1; expected a whole number from 0"),
        ("      steps: 6", "      steps: -5", "line 13: steps is -5; expected a whole number of at least 1"),
        ("      steps: 6", "      network: vit", "line 13: network is 'vit'; expected one of unet, resnet"),
        ("      steps: 6", "      target: nuclei", "line 13: target is 'nuclei'; expected one of mitochondria, tubes"),
        ("      steps: 6", "      annotated: some", "line 13: annotated is 'some'; expected one of all, discarded"),
        ("    primary: voi", "    margin: big", "line 16: margin is 'big'; expected a number of at least 0"),
        ("    primary: voi", "    margin: -1", "line 16: margin is -1; expected a number of at least 0"),
        ("primary: voi", "primary: area_ratio_tuned", "line 16: primary is 'area_ratio_tuned', of which neither more"),
        (
            "    classes: tubes",
            "    classes: nuclei",
            "classes names 'nuclei'; part first trains on mitochondria, tubes",
        ),
        ("      bce:\n", "      dice:\n", "reference is 'bce'; part first compares dice, voxels"),
        ("    seeds: [0, 1, 2]", "    seeds: [0, 1, 2]\n    seeds: [3]", "is no YAML: 'seeds' stands twice"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(folder, old, new, says):
    assert TEXT.count(old) >= 1
    with pytest.raises(ValueError, match="(?s)studies/made.yml.*" + says):
        read(folder, TEXT.replace(old, new, 1))


LOSS = "def half(output, target, weight, *, gamma=1.0):\n    return output.mean() / 2\n"


def test_a_loss_of_ones_own_takes_the_options_that_it_has(folder):
    (folder / "my_losses.py").write_text(LOSS)
    text = TEXT.replace("{loss: distance, unit: voxel}", '{loss: "my_losses:half", gamma: 3.0}')
    (*_, run) = read(folder, text).parts[0].runs
    assert run.parameters["loss"] == "my_losses:half" and run.parameters["gamma"] == 3.0


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ('loss: "my_losses:other"', "line 7: loss is 'my_losses:other', but my_losses.py has no function 'other'; it"),
        ("loss: nowhere:half", "line 7: loss is 'nowhere:half', but there is no nowhere.py in "),
        ("loss: my_losses:half, alpha: 0.9", "line 7: alpha is set to 0.9, but my_losses:half has no such option"),
    ],
)
def test_a_loss_of_ones_own_that_is_not_there_is_named_with_its_line(folder, said, says):
    (folder / "my_losses.py").write_text(LOSS)
    with pytest.raises(ValueError, match=f"studies/made.yml, {says}"):
        read(folder, TEXT.replace("loss: distance, unit: voxel", said))


@pytest.mark.parametrize("text", ["- a list\n", "", "study: made\nannouncement: ''\nparts: 3\n"])
def test_files_that_are_no_study(folder, text):
    with pytest.raises(ValueError, match="holds|parts is 3"):
        read(folder, text)


def test_no_yaml_and_no_study(folder):
    with pytest.raises(ValueError, match="(?s)studies/made.yml is no YAML.*line 1"):
        read(folder, "study: [1\n")
    with pytest.raises(ValueError, match="study is 'nothing'; expected one of made"):
        read_study("nothing")
    assert yaml.safe_load(TEXT)["study"] == "made"
