"""Peak memory is a process's own, whatever started it."""

import subprocess
import sys

import numpy as np

PEAK = "from helpers.memory import peak_memory; print(peak_memory())"


def test_a_child_does_not_start_with_the_peak_of_its_parent():
    own = np.ones(60_000_000)  # 480 MB, held while the child runs
    child = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert own.all() and int(child.stdout) < 200e6


def test_peak_memory_grows_by_what_is_taken():
    code = (
        f"import numpy as np; from helpers.memory import peak_memory; print(peak_memory()); np.ones(25_000_000); {PEAK}"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, child.stdout.split())
    assert 195e6 < after - before < 260e6
