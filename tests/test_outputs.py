"""A run's folder: whole or not there, never mixed, never lost."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from helpers import outputs


def test_written_aside_then_in_place(tmp_path):
    folder = tmp_path / "deep" / "run"
    aside = outputs.claim(folder, {"seed": 0})
    (aside / "rows.csv").write_text("x")
    assert not folder.exists()
    outputs.finish(aside, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["parameters.json", "rows.csv"]
    assert [path.name for path in folder.parent.iterdir()] == ["run"]


def test_the_same_run_replaces_itself_and_only_when_finished(tmp_path):
    folder = tmp_path / "run"
    for text in ("first", "second"):
        aside = outputs.claim(folder, {"seed": 0})
        (aside / "rows.csv").write_text(text)
        if text == "second":
            assert (folder / "rows.csv").read_text() == "first"
        outputs.finish(aside, folder)
    assert (folder / "rows.csv").read_text() == "second"
    assert len(list(tmp_path.iterdir())) == 1


def test_other_parameters_and_foreign_folders_are_refused_and_stay(tmp_path):
    folder = tmp_path / "run"
    outputs.finish(outputs.claim(folder, {"seed": 0, "loss": "bce"}), folder)
    with pytest.raises(FileExistsError, match=r"other parameters \(loss: 'bce' there, 'dice' now\)"):
        outputs.claim(folder, {"seed": 0, "loss": "dice"})
    assert json.loads((folder / "parameters.json").read_text())["loss"] == "bce"
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.txt").write_text("years")
    with pytest.raises(FileExistsError, match="is not the folder of a run"):
        outputs.claim(foreign, {})
    assert (foreign / "chapter.txt").read_text() == "years"
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(FileExistsError, match="is not the folder of a run"):
        outputs.claim(file, {})


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file/run cannot be written.*-p output"):
        outputs.claim(tmp_path / "file" / "run", {})


def test_what_a_killed_run_left_is_removed_and_a_living_ones_is_not(tmp_path):
    code = f"import time; from helpers import outputs; outputs.claim({str(tmp_path / 'run')!r}, {{}}); time.sleep(60)"
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    deadline = time.time() + 20
    while len(list(tmp_path.iterdir())) < 2 and time.time() < deadline:
        time.sleep(0.05)
    dead, alive = processes
    dead.send_signal(signal.SIGKILL)
    dead.wait()
    outputs.finish(outputs.claim(tmp_path / "run", {}), tmp_path / "run")
    left = sorted(path.name for path in tmp_path.iterdir())
    alive.kill()
    alive.wait()
    assert len(left) == 2 and left[1] == "run" and f".{alive.pid}." in left[0]
    assert f".{os.getpid()}." not in left[0]


def test_killed_between_two_renames_the_old_run_comes_back(tmp_path):
    folder = tmp_path / "run"
    outputs.finish(outputs.claim(folder, {"seed": 0}), folder)
    folder.rename(tmp_path / ".run.replaced")
    with pytest.raises(FileExistsError, match="other parameters"):
        outputs.claim(folder, {"seed": 1})
    assert (folder / "parameters.json").is_file()


def test_a_run_that_fails_leaves_nothing(tmp_path):
    code = f"from helpers import outputs; outputs.claim({str(tmp_path / 'run')!r}, {{}}); raise SystemExit(1)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 1
    assert not list(tmp_path.iterdir())


def test_scores_come_back(tmp_path):
    score = np.linspace(-1, 1, 12).reshape(1, 3, 4)
    outputs.write_scores(tmp_path / "s.npz", {"stack1/07": score})
    with np.load(tmp_path / "s.npz") as found:
        np.testing.assert_array_equal(found["stack1/07"], score)
