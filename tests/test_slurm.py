"""A study through a real SLURM of one node: the table of this machine, also after a cancelled job and a killed head."""

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

# The head asks sooner than on a busy cluster.
SOON = ["--slurm-init-seconds-before-status-checks", "2"]
# One training in the time of a test: what the cluster may change. Everything else is the same to the digit.
APART = ["seconds", "commit"]


@pytest.fixture(scope="module")
def slurm(root):
    """SLURM of one node, running; ended with all of its jobs and removed, whatever a test did."""
    script = root / "tests" / "one_node_slurm.sh"
    # SLURM's sockets want a short path
    folder = Path(tempfile.mkdtemp(prefix="slurm-")) / "node"

    def run(*arguments):
        return subprocess.run([script, *arguments], capture_output=True, text=True, timeout=900)

    for arguments in (["install"], ["start", folder]):
        done = run(*arguments)
        if done.returncode in (3, 4):
            pytest.skip(f"SLURM cannot be installed here: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
    try:
        yield
    finally:
        done = run("stop", folder)
        folder.parent.rmdir()
    assert done.returncode == 0 and not done.stderr, done.stderr


@pytest.fixture(scope="module")
def project(root, tmp_path_factory):
    """A copy of the project that no other test changes: SLURM's jobs would read half-made changes."""
    folder = tmp_path_factory.mktemp("cluster")
    copy_project(root, folder)
    return folder


def queue(*options, form="%i"):
    command = ["squeue", "--noheader", "--array", f"--format={form}", *options]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.split("\n")[:-1]


def trainings(*options):
    """Ids of the trainings among SLURM's jobs."""
    return [line.split()[0] for line in queue(*options, form="%i %k") if "rule_train" in line]


def until(condition, what, seconds):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"{what}: not within {seconds} s; the queue has {queue(form='%i %T %r %k')}"
        time.sleep(0.2)
    return found


def make_study(folder, profile):
    """The command that `make study STUDY=tiny PROFILE=...` runs."""
    command = ["make", "--dry-run", "study", "STUDY=tiny", f"PROFILE={profile}"]
    lines = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.splitlines()
    return shlex.split(next(line for line in lines if line.startswith("snakemake ")))


def table(folder):
    rows = pd.read_csv(folder / "build/tiny/results/rows.csv", dtype=str, keep_default_na=False)
    return rows.drop(columns=APART)


def run(command, folder, seconds=300):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stderr


def test_a_study_through_slurm_gives_the_table_of_this_machine_to_the_digit(slurm, project, tiny_study):
    log = run([*make_study(project, "slurm"), *SOON], project)
    assert "The individual task IDs are 1-3." in log, "the trainings went as one array"
    states = queue("--states=all", form="%T %k")
    assert {line.split()[0] for line in states} == {"COMPLETED"}
    assert sum("rule_train" in line for line in states) == 3 and any("rule_analysis" in line for line in states)
    pd.testing.assert_frame_equal(table(project), table(tiny_study))
    assert (project / "build/tiny/book/_build/html/index.html").is_file()


def test_a_cancelled_training_and_a_killed_head_change_nothing(slurm, project, root):
    before = table(project)
    shutil.rmtree(project / "build/tiny/runs")
    shutil.rmtree(project / "build/tiny/results")
    rows = ["--", "build/tiny/results/rows.csv"]
    command = [*make_study(project, "slurm"), *SOON]
    log = project / "head.log"
    with log.open("w") as file:
        head = subprocess.Popen([*command, *rows], cwd=project, stdout=file, stderr=file)
    try:
        cancelled = until(
            lambda: [job for job in trainings("--states=RUNNING") if list(project.glob("build/tiny/runs/*.ipynb"))],
            "a notebook in training",
            60,
        )[0]
        subprocess.run(["scancel", cancelled], check=True, timeout=30)
        until(lambda: "Trying to restart job" in log.read_text(), "a second try of the cancelled training", 60)
        until(lambda: trainings("--states=RUNNING"), "a training", 60)
    finally:
        head.kill()
        head.wait(30)
    assert cancelled in trainings("--states=CANCELLED")
    assert trainings(), "the head was killed with trainings in the queue"
    locked = snakemake(project, "--config", "study=tiny", *rows)
    assert locked.returncode != 0 and "Directory cannot be locked" in locked.stderr
    # The commands that the book gives.
    page = (root / "book/reproduce.md").read_text()
    leftover = next(line for line in page.splitlines() if line.startswith("squeue "))
    run(["bash", "-c", leftover], project)
    until(lambda: not queue(), "the end of the trainings that the head left behind", 30)
    run([*command, "--unlock"], project)
    run([*command, *rows], project)
    pd.testing.assert_frame_equal(table(project), before)


GPU_JOBS = """
rule all:
    input: "train-0", "train-1", "judge"
# Each waits for the other: they run at the same time.
rule train:
    output: "train-{n}"
    shell: "printenv CUDA_VISIBLE_DEVICES > {output}; "
        "for _ in $(seq 300); do [ -s train-0 ] && [ -s train-1 ] && exit; sleep 0.1; done; exit 1"
rule judge:
    output: "judge"
    shell: "printenv CUDA_VISIBLE_DEVICES > {output} || true"
"""


def test_with_the_gpu_profile_a_training_sees_one_gpu_of_its_own_and_other_jobs_none(slurm, root, tmp_path):
    (tmp_path / "Snakefile").write_text(GPU_JOBS)
    profile = root / "workflow/profiles/slurm-gpu"
    run(["snakemake", "--workflow-profile", profile, *SOON, "--retries", "0"], tmp_path, 120)
    assert {(tmp_path / f"train-{n}").read_text() for n in range(2)} == {"0\n", "1\n"}
    assert (tmp_path / "judge").read_text().strip() == ""


def test_the_profiles_differ_in_the_gpu_alone_and_name_rules_of_the_workflow(root):
    cpu, gpu = (
        yaml.safe_load((root / f"workflow/profiles/{name}/config.yaml").read_text()) for name in ("slurm", "slurm-gpu")
    )
    needs = gpu.pop("set-resources")
    assert gpu == cpu and all(need == {"gpu": 1} for need in needs.values())
    arrays = set(cpu["slurm-array-jobs"].replace(" ", "").split(","))
    workflow = (root / "workflow/Snakefile").read_text()
    assert all(f"\nrule {name}:" in workflow for name in arrays | set(needs))
    # With a limit, this version of the plugin drops the jobs that the limit holds back, and waits for them for ever.
    assert cpu["jobs"] == "unlimited"
