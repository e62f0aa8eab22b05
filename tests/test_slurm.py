"""A study through a real SLURM of one node: the table of this machine, also after a cancelled job and a killed head."""

import re
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import copy_project, snakemake

pytestmark = pytest.mark.slow

# This node has two cores, and its scheduler may be asked often.
HERE = ["--cores", "2", "--slurm-init-seconds-before-status-checks", "2"]
ROWS = "build/tiny/main/analysis/rows.csv"
TIME_AND_PROVENANCE = ["seconds", "commit"]
MINUTES = 60  # bounds are for a machine that is busy with other tests


@pytest.fixture(scope="module")
def slurm(root):
    """SLURM of one node, running; ended with all of its jobs and removed, whatever a test did."""
    script = root / "tests" / "one_node_slurm.sh"
    folder = Path(tempfile.mkdtemp(prefix="slurm-")) / "node"  # sockets want a short path

    def call(*arguments):
        return subprocess.run([script, *arguments], capture_output=True, text=True, timeout=15 * MINUTES)

    try:
        for arguments in (["install"], ["start", folder]):
            done = call(*arguments)
            if done.returncode in (3, 4):
                pytest.skip(f"SLURM cannot be installed here: {done.stderr.strip()}")
            assert done.returncode == 0, done.stderr
        yield
    finally:
        stopped = call("stop", folder) if folder.exists() else None
        shutil.rmtree(folder.parent)
    assert stopped.returncode == 0 and not stopped.stderr, stopped.stderr


def queue(form, *options):
    command = ["squeue", "--noheader", "--array", f"--format={form}", *options]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=MINUTES).stdout.splitlines()


def trainings(state):
    """SLURM's ids of the trainings in a state."""
    return [line.split()[0] for line in queue("%i %k", f"--states={state}") if "rule_train" in line]


def until(condition, what, seconds=5 * MINUTES):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"{what}: not within {seconds} s; the queue has {queue('%i %T %r %k')}"
        time.sleep(0.2)
    return found


def commands_of_make(folder, target, *settings):
    """The commands of snakemake that ``make TARGET STUDY=tiny ...`` runs. Within another make, make says more."""
    command = ["make", "--dry-run", target, "STUDY=tiny", *settings]
    lines = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.splitlines()
    commands = [shlex.split(line) for line in lines if line.startswith("snakemake ")]
    assert commands, lines
    return commands


def run(command, folder, targets=()):
    """Standard error of a command that has to succeed; of snakemake, with what holds for this node."""
    if command[0] == "snakemake":
        at = command.index("--") if "--" in command else len(command)
        command = [*command[:at], *HERE, *command[at:], *(["--", *targets] if targets else [])]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=15 * MINUTES)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stderr


def table(folder):
    rows = pd.read_csv(folder / ROWS, dtype=str, keep_default_na=False)
    assert len(rows) == 3 * 3  # objectives x test images
    return rows.drop(columns=TIME_AND_PROVENANCE)


@pytest.fixture(scope="module")
def project(slurm, root, tmp_path_factory):
    """A copy of the project that no other test changes, the study run in it by SLURM; what was printed; the jobs."""
    folder = tmp_path_factory.mktemp("cluster")
    copy_project(root, folder)  # jobs would read a shared copy half changed
    printed = "".join(run(command, folder) for command in commands_of_make(folder, "study", "PROFILE=slurm"))
    return folder, printed, queue("%T %k", "--states=all")


def test_a_study_through_slurm_gives_the_table_of_this_machine_to_the_digit(project, tiny_study):
    folder, printed, jobs = project
    assert "The individual task IDs are 1-3." in printed, "the trainings are one array"
    assert {line.split()[0] for line in jobs} == {"COMPLETED"}
    rules = [re.search("rule_([a-z]+)", line)[1] for line in jobs]
    assert rules.count("train") == 3 and {"rates", "prepare", "analysis", "assemble", "book"} <= set(rules)
    pd.testing.assert_frame_equal(table(folder), table(tiny_study))
    assert (folder / "build/tiny/book/_build/html/index.html").is_file()


def test_a_cancelled_training_and_a_killed_head_change_nothing(project, root):
    folder, _, _ = project
    before = table(folder)
    for notebook in list((folder / "build/runs").glob("*.ipynb"))[:2]:
        notebook.unlink()
        shutil.rmtree(notebook.with_suffix(""))
    (folder / ROWS).unlink()
    command = commands_of_make(folder, "study", "PROFILE=slurm")[-1]
    log = folder / "head.log"
    with log.open("w") as file:
        head = subprocess.Popen([*command, *HERE, "--", ROWS], cwd=folder, stdout=file, stderr=file)
    try:
        # papermill writes its copy of the notebook as soon as the kernel is up
        until(lambda: len(list((folder / "build/runs").glob("*.ipynb"))) > 1, "a notebook in training")
        cancelled = trainings("RUNNING")[0]
        subprocess.run(["scancel", cancelled], check=True, timeout=MINUTES)
        until(lambda: "Trying to restart job" in log.read_text(), "a restart of the cancelled training")
        array = cancelled.split("_")[0]
        until(lambda: [job for job in trainings("RUNNING") if job.split("_")[0] != array], "that try")
    finally:
        head.kill()
        head.wait(MINUTES)
    assert cancelled in trainings("CANCELLED")
    assert trainings("PENDING,RUNNING"), "the head was killed under a training"
    locked = snakemake(folder, "--config", "study=tiny", "--", ROWS)
    assert locked.returncode != 0 and "Directory cannot be locked" in locked.stderr + locked.stdout
    # What the book says to do now
    page = (root / "book/reproduce.md").read_text()
    leftover = next(line for line in page.splitlines() if line.startswith("squeue "))
    run(["bash", "-c", leftover], folder)
    until(lambda: not queue("%i"), "the end of the trainings that the head left behind")
    (unlock,) = commands_of_make(folder, "unlock")
    subprocess.run(unlock, cwd=folder, check=True, timeout=5 * MINUTES)
    run(command, folder, [ROWS])
    pd.testing.assert_frame_equal(table(folder), before)


GPU_JOBS = """
rule all:
    input: "train-0", "train-1", "judge"
# Each waits for the other: they run at the same time.
rule train:
    output: "train-{n}"
    shell: "printenv CUDA_VISIBLE_DEVICES > {output}; "
        "for _ in $(seq 600); do [ -s train-0 ] && [ -s train-1 ] && exit; sleep 0.1; done; exit 1"
rule judge:
    output: "judge"
    shell: "printenv CUDA_VISIBLE_DEVICES > {output} || true"
"""


def test_with_the_gpu_profile_a_training_sees_one_gpu_of_its_own_and_another_job_none(slurm, root, tmp_path):
    (tmp_path / "Snakefile").write_text(GPU_JOBS)
    profile = str(root / "workflow/profiles/slurm-gpu")
    run(["snakemake", "--workflow-profile", profile, "--retries", "0"], tmp_path)
    assert {(tmp_path / f"train-{n}").read_text() for n in range(2)} == {"0\n", "1\n"}
    assert (tmp_path / "judge").read_text().strip() == ""


def test_the_profiles_differ_in_the_gpu_alone_and_name_rules_of_the_workflow(root):
    cpu, gpu = (
        yaml.safe_load((root / f"workflow/profiles/{name}/config.yaml").read_text()) for name in ("slurm", "slurm-gpu")
    )
    named = {cpu["slurm-array-jobs"], *gpu["set-resources"]}
    workflow = (root / "workflow/Snakefile").read_text()
    assert all(f"\nrule {name}:" in workflow for name in named)
    assert gpu["set-resources"].pop("train") == {"gpu": 1} and gpu == cpu
    # With a number, jobs that Snakemake holds back from an array are lost, and it waits for ever.
    assert cpu["jobs"] == "unlimited"
