"""Where and how exactly a network computes: device, precision, seeds, and what running out of memory looks like."""

import numpy as np
import torch

PRECISIONS = ("float32", "bf16", "auto")


def choose_device(name: str = "auto") -> torch.device:
    """ "auto" is CUDA where there is one, else the CPU; any other name is taken as it is, or refused."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device is {name!r}; expected auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {name!r}, but torch sees no CUDA device here; use auto or cpu")
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """ "float32" or "bf16"; "auto" is bf16 where the device multiplies it in hardware.

    That is CUDA from compute capability 8, and processors with AVX-512 BF16 or AMX; elsewhere bf16 is emulated, and
    slower. On an AVX-512 BF16 processor the default U-Net's step took 0.7 (one thread) to 0.8 (two) of float32's time.
    """
    if name not in PRECISIONS:
        raise ValueError(f"precision is {name!r}; expected one of {', '.join(PRECISIONS)}")
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float32"
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # no public name; absent from older versions
    able = device.type == "cpu" and any(getattr(torch.cpu, name, bool)() for name in asked)
    return "bf16" if able else "float32"


def seed_everything(seed: int, threads: int) -> None:
    """One seed for every generator and a fixed number of CPU threads: sums come out in the same order each time.

    On CUDA, cuDNN is held to algorithms that repeat themselves; the few operations that have none (the gradient of 3-D
    max pooling) may differ in the last digits.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed is {seed!r}; expected a whole number from 0 to {2**32 - 1}")
    if threads < 1:
        raise ValueError(f"threads is {threads!r}; expected a whole number of at least 1")
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - for libraries that draw from NumPy's global generator
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False


def is_out_of_memory(error: Exception) -> bool:
    """CUDA's own exception, or what the CPU's allocators say (a RuntimeError like any other)."""
    said = str(error).lower()
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or any(
        phrase in said
        for phrase in ("out of memory", "can't allocate memory", "not enough memory", "could not allocate")
    )
