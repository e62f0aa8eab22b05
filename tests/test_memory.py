"""Peak memory is a process's own, whatever started it."""

import platform
import subprocess
import sys

import numpy as np
import pytest

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


def test_memory_between_what_is_held_is_given_back():
    """Every other of 2000 arrays is freed: too small for pages of their own, their room stays with the process."""
    code = """
import numpy as np
import pytest
from helpers.memory import give_back
def resident():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) * 1024
held = [np.ones(12_000) for _ in range(2000)]
del held[::2]
before = resident()
give_back()
print(before, resident())
"""
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("only glibc gives memory back on demand")
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, child.stdout.split())
    assert before - after > 0.8 * 1000 * 96e3
