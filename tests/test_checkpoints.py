"""A training ended at any moment goes on as if nothing had happened; what is no checkpoint is refused by name."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
import torch

from helpers import checkpoints, models, objectives, training

# A training that draws from every generator there is, and a parent that starts it, each time to be ended at some step:
# in the middle of it by a signal, or while its checkpoint is being written.
DRIVER = """
import dataclasses, json, os, random, signal, sys
from pathlib import Path
import numpy as np
import torch
import torch._dynamo  # which the first optimizer would load, in every process anew
from helpers import files, models, objectives, training
from helpers.datasets import Image

STEPS = 24
folder, fates = Path(sys.argv[1]), json.loads(sys.argv[2])


def image(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((1, 24, 24)) > 0.7
    full = np.ones_like(mask)
    raw = (0.3 + 0.4 * mask + rng.normal(0, 0.1, mask.shape)).astype(np.float32)
    return Image(str(seed), raw, mask, full, full, (9.0, 9.0))


class Noisy(models.UNet):
    def forward(self, raw):
        return super().forward(raw + 0.01 * torch.randn(()) + 0.01 * np.random.rand() + 0.01 * random.random())


def train(fate):
    training.seed_everything(3, 1)
    random.seed(3)
    objective, network, replace = objectives.get("hot_distance"), Noisy(1, 2, width=2, depth=1), os.replace

    def end_at(place, reached):
        if fate and fate["place"] == place and reached(int(network.down[0][1].num_batches_tracked), fate["step"]):
            os.kill(os.getpid(), getattr(signal, fate["signal"]))

    def compare(output, target, weight):
        end_at("step", int.__eq__)
        return objective.compare(output, target, weight)

    def ended(source, target):
        if str(target).endswith("resume.pt"):
            end_at("write", int.__ge__)
        replace(source, target)

    files.os.replace = ended
    history = training.train(
        network,
        dataclasses.replace(objective, compare=compare),
        [image(seed) for seed in range(3)],
        training.Schedule(STEPS, 2, 16, 1e-2, shape=sys.argv[3], clip=1.0),
        seed=3, device="cpu", folder=folder, task={"objective": "hot_distance"}, keep_steps=5, lines=4,
        monitor=lambda network: {"sum": float(sum(p.double().sum() for p in network.parameters()))},
        log=lambda line: print(line, flush=True),
    )
    (folder / "history.json").write_text(json.dumps(history))


for fate in fates:
    process = os.fork()  # torch is loaded already, and has computed nothing yet
    if not process:
        try:
            train(fate)
        except training.Interrupted as end:
            print(end, flush=True)
            os._exit(end.code)
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(99)
        os._exit(0)
    print("ended", os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""


def drive(folder: Path, fates: list, shape: str = "one-cycle") -> tuple[list[int], str]:
    """How each training ended, and all that they printed."""
    command = [sys.executable, "-c", DRIVER, str(folder), json.dumps(fates), shape]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr[-2000:]
    return [int(line.split()[1]) for line in result.stdout.splitlines() if line.startswith("ended")], result.stdout


def results(folder: Path) -> tuple[list, dict, dict]:
    history = json.loads((folder / "history.json").read_text())
    for entry in history:
        entry.pop("seconds")
    return history, checkpoints.load(folder / "step-000024.pt"), checkpoints.load(folder / "resume.pt", resume=True)


@pytest.mark.parametrize("shape", ["one-cycle", "cosine"])
def test_killed_at_random_steps_and_started_again_it_ends_bit_by_bit_the_same(tmp_path, shape):
    drive(tmp_path / "whole", [None], shape)
    steps = sorted(random.Random(shape).sample(range(2, 25), 4))
    fates = [
        {"place": "step", "signal": "SIGKILL", "step": steps[0]},
        {"place": "step", "signal": "SIGTERM", "step": steps[1]},
        {"place": "write", "signal": "SIGKILL", "step": steps[2]},
        {"place": "step", "signal": "SIGKILL", "step": steps[3]},
        None,
    ]
    codes, said = drive(tmp_path / "killed", fates, shape)
    assert codes == [-9, 143, -9, -9, 0], said
    assert f"told to end (SIGTERM) at step {steps[1]} of 24" in said and f"goes on at step {steps[1]}" in said
    (first, weights, all_of_it), (second, weights_2, all_2) = results(tmp_path / "whole"), results(tmp_path / "killed")
    assert first == second and len(first) == 4
    assert checkpoints.same(weights, weights_2)
    for part in ("network", "optimizer", "schedule", "generators", "interval", "run"):
        assert checkpoints.same(all_of_it[part], all_2[part]), part
    assert not list((tmp_path / "killed").glob("*.partial"))
    for name in (f"step-{step:06d}.pt" for step in (1, 2, 4, 8, 16)):
        assert checkpoints.same(*(checkpoints.load(tmp_path / f / name) for f in ("whole", "killed"))), name


def test_sigterm_at_the_last_step_still_ends_the_process_and_what_follows_only_reads(tmp_path):
    codes, said = drive(tmp_path, [{"place": "step", "signal": "SIGTERM", "step": 24}, None])
    assert codes == [143, 0] and "goes on at step 24" in said
    assert [entry["step"] for entry in results(tmp_path)[0]] == [6, 12, 18, 24]


NOTEBOOK = """
import time
import numpy as np
from helpers import models, objectives, outputs, training
from helpers.datasets import Image

training.seed_everything(0, 1)
full = np.ones((1, 24, 24), bool)
image = Image("a", np.random.default_rng(0).random((1, 24, 24), np.float32), full, full, full, (9.0, 9.0))
aside = outputs.claim("run", {"seed": 0})
history = training.train(
    models.UNet(1, 1, width=2, depth=1), objectives.get("bce"), [image], training.Schedule(20000, 1, 16), device="cpu",
    folder=aside / "checkpoints", lines=4000, keep_seconds=1e9,
    monitor=lambda network: {"slow": time.sleep(0.02) or 0.0},
)
"""


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["papermill alone", "its group", "the kernel"])
def test_a_notebook_that_is_ended_keeps_its_training(tmp_path, whom):
    """The signal may reach papermill, or everything (a batch system), or the kernel: the state is kept each time."""
    cell = nbformat.v4.new_code_cell(NOTEBOOK)
    kernel = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=kernel), tmp_path / "in.ipynb")
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", "in.ipynb", "out.ipynb"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.time() + 90
    while not list(tmp_path.glob(".run.*/checkpoints/step-000064.pt")) and time.time() < deadline:
        time.sleep(0.1)
    assert process.poll() is None, process.stderr.read()
    kernels = psutil.Process(process.pid).children(recursive=True)
    if whom != "the kernel":
        process.terminate()
    if whom != "papermill alone":
        for kernel in kernels:
            kernel.terminate()
    assert process.wait(60) != 0
    process.stderr.close()
    psutil.wait_procs(kernels, 60)
    kept = list(tmp_path.glob(".run.*/checkpoints/resume.pt"))
    assert len(kept) == 1 and checkpoints.load(kept[0], resume=True)["step"] >= 64


def run(discs, folder, **changed):
    training.seed_everything(0, 1)
    network = models.build("unet", 1, 1, width=2, depth=1)
    given = {"steps": 6, "batch": 2, "patch": 16, "seed": 0, "name": "bce", "images": 2} | changed
    plan = training.Schedule(given["steps"], given["batch"], given["patch"])
    images = [discs(s) for s in range(given["images"])]
    task = {"objective": "bce", "spacing": [10.0, 10.0]}
    return network, training.train(
        network,
        objectives.get(given["name"]),
        images,
        plan,
        seed=given["seed"],
        device="cpu",
        folder=folder,
        task=task,
        log=lambda line: None,
    )


def test_a_checkpoint_says_what_it_is_of_and_builds_its_network(discs, tmp_path):
    network, history = run(discs, tmp_path)
    found, checkpoint = checkpoints.build_network(tmp_path / "step-000006.pt")
    assert not found.training and found.arguments == network.arguments
    assert checkpoint.keys() == {"format", "step", "model", "network", "task"}
    assert (checkpoint["format"], checkpoint["step"]) == (1, 6)
    assert checkpoint["task"] == {"objective": "bce", "spacing": [10.0, 10.0]}
    raw = torch.rand(1, 1, 16, 16)
    assert torch.allclose(found(raw), network(raw), atol=1e-6)  # the trained one lies channels last in memory
    whole = checkpoints.load(tmp_path / "resume.pt", resume=True)
    assert whole["history"] == history and whole["step"] == 6
    assert (tmp_path / "step-000006.pt").stat().st_size < (tmp_path / "resume.pt").stat().st_size


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"seed": 1}, "seed: 0 there, 1 here"),
        ({"steps": 7}, "steps: 6 there, 7 here"),
        ({"name": "dice"}, "objective: 'bce' there, 'dice' here"),
        ({"images": 1}, "images: .*'disc/1'.* there"),
    ],
)
def test_the_state_of_another_run_is_refused_and_each_difference_named(discs, tmp_path, changed, says):
    run(discs, tmp_path)
    before = (tmp_path / "resume.pt").read_bytes()
    with pytest.raises(ValueError, match=rf"resume.pt is of another run \(.*{says}"):
        run(discs, tmp_path, **changed)
    assert (tmp_path / "resume.pt").read_bytes() == before


def test_truncated_and_foreign_files_are_refused_by_name(discs, tmp_path):
    run(discs, tmp_path)
    whole = (tmp_path / "resume.pt").read_bytes()
    path = tmp_path / "broken.pt"
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="broken.pt is truncated or is no checkpoint"):
            checkpoints.load(path)
    path.write_bytes(b"PNG, or so")
    with pytest.raises(ValueError, match="broken.pt is truncated or is no checkpoint"):
        checkpoints.load(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(ValueError, match="broken.pt is no checkpoint of this package"):
        checkpoints.load(path)
    torch.save({"format": 2}, path)
    with pytest.raises(ValueError, match="broken.pt has format 2; this version of the package reads 1"):
        checkpoints.load(path)
    with pytest.raises(ValueError, match="step-000006.pt lacks optimizer"):
        checkpoints.load(tmp_path / "step-000006.pt", resume=True)
    with pytest.raises(FileNotFoundError, match="no checkpoint .*missing.pt"):
        checkpoints.load(tmp_path / "missing.pt")
    (tmp_path / "resume.pt").write_bytes(whole[:1000])
    with pytest.raises(ValueError, match="resume.pt is truncated"):
        run(discs, tmp_path)


class Trap:
    """What a pickle can do to whoever loads it."""

    def __reduce__(self):
        return Path.touch, (Path("sprung"),)


def test_nothing_in_a_checkpoint_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": 1, "step": Trap()}, "trap.pt")
    with pytest.raises(ValueError, match="trap.pt is truncated or is no checkpoint"):
        checkpoints.load("trap.pt")
    assert not Path("sprung").exists()


def test_weights_of_another_network_are_refused_and_named(discs, tmp_path):
    run(discs, tmp_path)
    path = tmp_path / "step-000006.pt"
    with pytest.raises(ValueError, match="of another network .*out_channels: 1 there, 2 here"):
        checkpoints.load_weights(path, models.UNet(1, 2, width=2, depth=1))
    with pytest.raises(ValueError, match="of another network"):
        checkpoints.load_weights(path, torch.nn.Linear(1, 1))
    torch.save(torch.load(path) | {"model": None}, path)
    with pytest.raises(ValueError, match="use load_weights"):
        checkpoints.build_network(path)
    assert checkpoints.load_weights(path, models.UNet(1, 1, width=2, depth=1)) == 6


def test_same_sees_every_bit():
    nan = {"a": [torch.tensor([float("nan"), 1.0])], "b": float("nan")}
    assert checkpoints.same(nan, {"a": [torch.tensor([float("nan"), 1.0])], "b": float("nan")})
    assert not checkpoints.same(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert not checkpoints.same([1.0], [1.0 + 2**-52]) and not checkpoints.same({"a": 1}, {"b": 1})
