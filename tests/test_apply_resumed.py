"""Applying a run that is killed, stopped, split over jobs or out of room: what was done is kept and not done again."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest
from made_volume import QUIET, assert_same, make_run, make_volume, smooth, tree

from helpers import apply
from helpers.apply import apply_run, main

KILLED = """
import os, sys, time
from helpers import apply
import made_volume
done = apply.Application.{stage}
def slow(self, index):
    done(self, index)
    os.write(1, b"block\\n")  # whole lines from several threads
    time.sleep(0.1)
apply.Application.{stage} = slow
apply.apply_run("run", "in.zarr", "out.zarr", block=(8, 8, 8), overlap=4, label=made_volume.label_components,
                log=lambda line: None, workers=2, threads=2)
"""


STAGES = ["predict", "label", "relabel"]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("stage", STAGES)
def test_interrupted_at_any_stage_the_rest_is_done_and_nothing_twice(tmp_path, stage, workers, monkeypatch):
    """As below, where the process is killed; here a block fails, so that the numbers are exact."""
    monkeypatch.setattr("helpers.planning.LABEL_BLOCK", {"volume": 8, "sections": 8})
    make_run(tmp_path / "run")
    make_volume(tmp_path / "in.zarr", smooth((16, 24, 16)))
    call = (tmp_path / "run", tmp_path / "in.zarr")
    options = {"block": (8, 8, 8), "overlap": 4, "workers": workers, **QUIET}
    apply_run(*call, tmp_path / "never.zarr", **options)
    calls, failing, original = [], [5], getattr(apply.Application, stage)

    def fails(self, index):
        calls.append(index)
        if index in failing:
            raise KeyboardInterrupt
        original(self, index)

    monkeypatch.setattr(apply.Application, stage, fails)
    with pytest.raises(KeyboardInterrupt):
        apply_run(*call, tmp_path / "out.zarr", **options)
    assert set(range(5)) <= set(calls) and len(calls) < 6 + workers
    failing.clear()
    apply_run(*call, tmp_path / "out.zarr", **options)
    assert sorted(calls) == sorted([*range(12), 5]), "each block once, and the one that failed once more"
    assert_same(tree(tmp_path / "out.zarr"), tree(tmp_path / "never.zarr"))


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_any_stage_the_rest_is_done_and_nothing_twice(tmp_path, root, stage, monkeypatch):
    monkeypatch.setattr("helpers.planning.LABEL_BLOCK", {"volume": 8, "sections": 8})
    make_run(tmp_path / "run")
    make_volume(tmp_path / "in.zarr", smooth((24, 24, 24)))
    # the same threads as the process that is killed: others round otherwise
    options = {"block": (8, 8, 8), "overlap": 4, "workers": 2, "threads": 2, **QUIET}
    apply_run(tmp_path / "run", tmp_path / "in.zarr", tmp_path / "never.zarr", **options)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root / "src"), str(root / "tests")])}
    code = "from helpers import planning\nplanning.LABEL_BLOCK = {'volume': 8, 'sections': 8}\n" + KILLED.format(
        stage=stage
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment
    )
    finished = [process.stdout.readline() for _ in range(5)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert all(line.startswith("block") for line in finished)

    calls, original = [], getattr(apply.Application, stage)
    monkeypatch.setattr(apply.Application, stage, lambda self, i: (calls.append(i), original(self, i)))
    apply_run(tmp_path / "run", tmp_path / "in.zarr", tmp_path / "out.zarr", **options)
    assert len(calls) == len(set(calls)) and 27 - 7 <= len(calls) <= 27 - 3  # two in flight, two more not yet recorded
    assert_same(tree(tmp_path / "out.zarr"), tree(tmp_path / "never.zarr"))
    calls.clear()
    apply_run(tmp_path / "run", tmp_path / "in.zarr", tmp_path / "out.zarr", **options)
    assert not calls, "a complete store is left alone"
    files = sorted(p.name for p in (tmp_path / "out.zarr").rglob("*") if "partial" in p.name or "progress" in p.name)
    assert files == []


def test_sigterm_lets_blocks_in_flight_end_and_record(tmp_path, monkeypatch):
    """In this process, as below in one of its own."""
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "run", dims=2)
    make_volume(tmp_path / "in.zarr", smooth((20, 16, 16)))
    command = ["run", "in.zarr", "out.zarr", "--instances", "none", "--block", "1,16,16"]
    calls, original, handler = [], apply.Application.predict, signal.getsignal(signal.SIGTERM)

    def terminated(self, index):
        if index == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)  # the main thread notes it soon; 20 blocks take a second
        calls.append(index)
        original(self, index)

    monkeypatch.setattr(apply.Application, "predict", terminated)
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 128 + signal.SIGTERM and signal.getsignal(signal.SIGTERM) == handler
    record = (tmp_path / "out.zarr" / ".progress" / "predict-1of1.txt").read_text().split("\n")
    assert sorted(line for line in record if line) == sorted(f"{i} done" for i in calls) and len(calls) < 20
    assert main(command) == 0 and sorted(calls) == list(range(20))


@pytest.mark.slow
def test_sigterm_ends_with_its_status_and_the_command_goes_on(tmp_path, root):
    make_run(tmp_path / "run", dims=2)
    make_volume(tmp_path / "in.zarr", smooth((40, 48, 48)))
    environment = os.environ | {"PYTHONPATH": str(root / "src")}
    command = [sys.executable, "-m", "helpers.apply", "run", "in.zarr", "out.zarr", "--instances", "none"]
    command += ["--block", "1,16,16"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    record = tmp_path / "out.zarr" / ".progress" / "predict-1of1.txt"
    for _ in range(600):
        if record.exists() and record.stat().st_size > 200:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert "complete" not in process.stdout.read()
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0 and "blocks were done before" in result.stdout, result.stderr
    assert "out.zarr is complete" in result.stdout


def test_jobs_in_any_order_make_the_store_of_one_job(tmp_path, monkeypatch):
    monkeypatch.setattr("helpers.planning.LABEL_BLOCK", {"volume": 16, "sections": 16})
    make_run(tmp_path / "run", objective="tanh_distance")
    make_volume(tmp_path / "in.zarr", smooth((30, 33, 24)))
    call = (tmp_path / "run", tmp_path / "in.zarr")
    options = {"block": (16, 8, 16), "overlap": 6, "cut": 0.0, **QUIET}
    apply_run(*call, tmp_path / "one.zarr", **options)
    parts = tmp_path / "parts.zarr"
    for job in (3, 1):
        apply_run(*call, parts, job=(job, 3), step="predict", **options)
    for step in ("label", "finish"):
        with pytest.raises(ValueError, match=r"of 20 blocks of .* have not gone through predict"):
            apply_run(*call, parts, step=step, **options)
    apply_run(*call, parts, job=(2, 3), step="predict", **options)
    apply_run(*call, parts, job=(2, 2), step="label", **options)
    apply_run(*call, parts, step="finish", **options)
    assert_same(tree(parts), tree(tmp_path / "one.zarr"))
    with pytest.raises(ValueError, match=r"job is 4/3; expected 1/3 to 3/3"):
        apply_run(*call, tmp_path / "wrong.zarr", job=(4, 3), step="predict", **options)


def test_another_volume_of_the_same_name_is_not_gone_on_with(tmp_path):
    make_run(tmp_path / "run", dims=2)
    for folder, seed in (("A", 0), ("B", 1)):
        make_volume(tmp_path / folder / "raw", smooth((4, 24, 24), seed))
    one, other, out = tmp_path / "A" / "raw", tmp_path / "B" / "raw", tmp_path / "out.zarr"
    share = {"block": (1, 24, 24), "step": "predict"} | QUIET
    apply_run(tmp_path / "run", one, out, job=(1, 2), **share)
    before = tree(out / "scores")
    with pytest.raises(FileExistsError, match="out.zarr was begun with another volume, or level, than .*B/raw"):
        apply_run(tmp_path / "run", other, out, job=(2, 2), **share)
    assert_same(tree(out / "scores"), before)
    one.rename(tmp_path / "moved.zarr")
    apply_run(tmp_path / "run", tmp_path / "moved.zarr", out, job=(2, 2), **share)
    apply_run(tmp_path / "run", tmp_path / "moved.zarr", out, step="finish", **QUIET)
    apply_run(tmp_path / "run", tmp_path / "moved.zarr", tmp_path / "never.zarr", block=(1, 24, 24), **QUIET)
    assert_same(tree(out / "scores"), tree(tmp_path / "never.zarr" / "scores"))
    with pytest.raises(FileExistsError, match="another volume"):
        apply_run(tmp_path / "run", other, out, **QUIET)


def test_two_processes_at_the_same_job_are_one_too_many(tmp_path):
    from filelock import FileLock

    make_run(tmp_path / "run", dims=2)
    make_volume(tmp_path / "in.zarr", smooth((2, 24, 24)))
    call = (tmp_path / "run", tmp_path / "in.zarr", tmp_path / "out.zarr")
    apply_run(*call, job=(1, 2), step="predict", **QUIET)
    with FileLock(tmp_path / "out.zarr" / ".progress" / "predict-2of2.lock"):
        with pytest.raises(ValueError, match="another process is at predict-2of2"):
            apply_run(*call, job=(2, 2), step="predict", **QUIET)


def test_a_full_disk_is_named_and_when_there_is_room_it_goes_on(tmp_path, monkeypatch):
    from zarr.storage import _local

    make_run(tmp_path / "run")
    make_volume(tmp_path / "in.zarr", smooth((24, 24, 24)))
    call = (tmp_path / "run", tmp_path / "in.zarr")
    options = {"block": (8, 8, 8), **QUIET}
    apply_run(*call, tmp_path / "roomy.zarr", **options)
    put, room = _local._put, [30]

    def filling(path, value, exclusive=False):
        room[0] -= "/c/" in str(path)
        if room[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return put(path, value, exclusive=exclusive)

    monkeypatch.setattr(_local, "_put", lambda *_, **__: filling("/c/", b""))
    room[0] = 0
    with pytest.raises(
        OSError, match=r"no room for .*out.zarr, to create it \(No space left on device\).*run the same"
    ):
        apply_run(*call, tmp_path / "out.zarr", **options)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.zarr", "roomy.zarr", "run"], "nothing half-written"
    room[0] = 30
    monkeypatch.setattr(_local, "_put", filling)
    with pytest.raises(OSError, match=r"no room for .*out.zarr, at block \d+ .*run the same command again") as caught:
        apply_run(*call, tmp_path / "out.zarr", **options)
    assert caught.value.errno == errno.ENOSPC
    room[0] = 10**6
    lines = []
    apply_run(*call, tmp_path / "out.zarr", **options | {"log": lines.append})
    assert any("blocks were done before" in line for line in lines)
    assert_same(tree(tmp_path / "out.zarr"), tree(tmp_path / "roomy.zarr"))
