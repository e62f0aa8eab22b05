"""A run's folder: whole or not there, never mixed, never lost."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from helpers import files, outputs


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


def other_process(folder, parameters, then="time.sleep(60)") -> subprocess.Popen:
    """A process that has claimed the folder, and says so in a line."""
    code = (
        "import sys, time; from pathlib import Path; from helpers import outputs\n"
        f"aside = outputs.claim({str(folder)!r}, {parameters!r}); print(aside, flush=True); {then}"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    process.aside = process.stdout.readline().strip()
    return process


def kill(process) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_an_output_that_a_living_process_writes_is_refused_and_says_whose_it_is(tmp_path):
    alive = other_process(tmp_path / "run", {})
    try:
        for parameters in ({}, {"seed": 1}):
            with pytest.raises(BlockingIOError, match=rf"being written by process {alive.pid} on \S+ since"):
                outputs.claim(tmp_path / "run", parameters)
        assert outputs.claim(tmp_path / "another", {}).is_dir()
        assert os.path.isdir(alive.aside)
    finally:
        kill(alive)
    outputs.finish(outputs.claim(tmp_path / "run", {}), tmp_path / "run")


def test_a_killed_run_is_taken_up_where_a_training_kept_its_state_and_begun_anew_where_none_did(tmp_path):
    kept = "(Path(aside) / 'checkpoints').mkdir(); (Path(aside) / 'checkpoints/resume.pt').write_text('x'); "
    for then, there in ((kept + "time.sleep(60)", ["checkpoints", "parameters.json"]), ("time.sleep(60)", None)):
        dead = other_process(tmp_path / f"run{len(then)}", {"seed": 0}, then)
        folder = tmp_path / f"run{len(then)}"
        deadline = time.time() + 20
        while there and not os.path.exists(f"{dead.aside}/checkpoints/resume.pt") and time.time() < deadline:
            time.sleep(0.02)
        (tmp_path / dead.aside / "litter").write_text("")
        kill(dead)
        aside = outputs.claim(folder, {"seed": 0})
        assert str(aside) == dead.aside
        assert sorted(p.name for p in aside.iterdir()) == sorted([*there, "litter"] if there else ["parameters.json"])
        outputs.finish(aside, folder)
        assert not list(folder.rglob("resume.pt"))
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in tmp_path.glob("run*"))


def test_an_interrupted_run_of_other_parameters_waits_until_its_folder_is_taken(tmp_path):
    for seed in (0, 1):
        process = other_process(tmp_path / "run", {"seed": seed}, "(Path(aside) / 'resume.pt').touch()")
        process.wait()
        process.stdout.close()
    assert len(list(tmp_path.glob(".run.*.partial"))) == 2
    neighbour = tmp_path / ".run.b.0123456789ab.partial"  # belongs to the output "run.b"
    neighbour.mkdir()
    outputs.finish(outputs.claim(tmp_path / "run", {"seed": 1}), tmp_path / "run")
    assert sorted(p.name for p in tmp_path.iterdir()) == [neighbour.name, "run"]


def test_claimed_twice_by_one_process_it_is_the_same_folder(tmp_path):
    first = outputs.claim(tmp_path / "run", {})
    (first / "resume.pt").touch()
    assert outputs.claim(tmp_path / "run", {}) == first and (first / "resume.pt").exists()
    outputs.finish(first, tmp_path / "run")


def test_a_disk_that_fills_up_names_the_folder_and_what_is_missing(tmp_path, monkeypatch):
    path = tmp_path / "scores.npz"
    path.write_bytes(b"old")
    (tmp_path / "scores.npz.partial").symlink_to("/dev/full")  # every write to it finds no space left
    score = np.random.default_rng(0).normal(size=(1, 64, 64))
    with pytest.raises(OSError, match=rf"disk of {tmp_path} is full: scores.npz needs .* are free") as caught:
        outputs.write_scores(path, {"a": score})
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["scores.npz"]
    monkeypatch.setattr(files.shutil, "disk_usage", lambda folder: SimpleNamespace(free=600))
    (tmp_path / "b.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="b needs 1 kB, 600 bytes are free, 400 bytes more are missing"):
        files.write_whole(tmp_path / "b", bytes(1000))


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
