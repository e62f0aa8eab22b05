"""What a training step makes of a GPU: its share of the matrix peak, for the network alone and for the whole step.

    python benchmarks/device.py [--csv FILE] [--repeats 60] [--compiled]

Full-resolution images of VNC, in bfloat16. "peak" is what a product of two bfloat16 matrices of side 8192 reaches on
this device, in the same run. "alone" is forward, BCE on ready tensors with as many channels, backward, optimizer;
"step" is a training's own step: crops, flips and quarter turns, targets, loss, update and log. Both take turns; the
ratio is the median of the pairs'. Operations are those of convolutions, forward and backward, as torch counts them. A
second table is a profile of the whole step: how long the device computes, and at what.
"""

import argparse
import csv
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from training import show

from helpers import datasets, models, objectives, training

# Of the network and its crops: the paper's at full resolution, a larger one, and the paper's own.
SIZES = (
    {"width": 16, "depth": 5, "patch": 512, "batch": 4},
    {"width": 64, "depth": 5, "patch": 512, "batch": 8},
    {"width": 8, "depth": 3, "patch": 128, "batch": 4},
)
NAMES = ("bce", "tanh_distance", "hot_distance")
PROFILED = 10  # steps
LISTED = 6  # kinds of operation


def clock(function) -> float:
    """Milliseconds of one call, to the end of what the device does for it."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start)


def peak(side: int = 8192, repeats: int = 20) -> float:
    """TFLOP/s of a bfloat16 matrix product: the median of the repeats."""
    one, other = (torch.randn(side, side, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    times = [clock(lambda: one @ other) for _ in range(repeats + 3)][3:]
    return 2 * side**3 / statistics.median(times) / 1e9


def pair(name: str, size: dict, images, steps: int, compiled: bool):
    """The training, and the step of the bare network beside it."""
    objective = objectives.get(name)
    channels = objective.channels(2)
    training.seed_everything(0, torch.get_num_threads())
    made = [models.UNet(1, channels, width=size["width"], depth=size["depth"]) for _ in range(2)]
    schedule = training.Schedule(steps, size["batch"], size["patch"])
    run = training.Run(made[0], objective, images, schedule, device="cuda", precision="bf16", compiled=compiled)
    network = made[1].to("cuda", memory_format=torch.channels_last).train()
    forward = torch.compile(network) if compiled else network
    optimizer = torch.optim.AdamW(network.parameters())
    shape = (size["batch"], channels, size["patch"], size["patch"])
    raw, ready = torch.rand(shape[0], 1, *shape[2:], device="cuda"), (torch.rand(shape, device="cuda") > 0.9).float()
    raw = raw.contiguous(memory_format=torch.channels_last)

    def alone() -> None:
        optimizer.zero_grad()
        with torch.autocast("cuda", torch.bfloat16):
            output = forward(raw)
        F.binary_cross_entropy_with_logits(output.float(), ready).backward()
        optimizer.step()

    return run, alone


def operations(alone) -> float:
    """TFLOP of one step of the network."""
    with FlopCounterMode(display=False) as counter:
        alone()
    return counter.get_total_flops() / 1e12


def measure(name: str, size: dict, images, repeats: int, compiled: bool, top: float) -> tuple[dict, list[dict]]:
    """One row of the first table, and those of the second."""
    run, alone = pair(name, size, images, repeats + PROFILED + 30, compiled)
    said = {"objective": name, **size, "compiled": "yes" if compiled else "no"}
    work = operations(pair(name, size, images, 1, False)[1])
    times = [(clock(alone), clock(run.advance)) for _ in range(repeats + 10)][10:]
    bare, step = (statistics.median(column) for column in zip(*times, strict=True))
    spread = statistics.quantiles([s / b for b, s in times], n=4)
    row = said | {
        "TFLOP": round(work, 4),
        "alone (ms)": round(bare, 2),
        "step (ms)": round(step, 2),
        "ratio": round(spread[1], 3),
        "quartiles": f"{spread[0]:.3f} to {spread[2]:.3f}",
        "peak (TFLOP/s)": round(top),
        "alone of peak": f"{work / bare * 1e3 / top:.1%}",
        "step of peak": f"{work / step * 1e3 / top:.1%}",
    }
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        wall = clock(lambda: [run.advance() for _ in range(PROFILED)])
    kinds = [kind for kind in seen.key_averages() if kind.self_device_time_total and kind.device_type.name == "CPU"]
    kinds.sort(key=lambda kind: -kind.self_device_time_total)
    busy = sum(kind.self_device_time_total for kind in kinds) / 1e3
    listed = {"all": busy}
    listed |= {kind.key.removeprefix("aten::"): kind.self_device_time_total / 1e3 for kind in kinds[:LISTED]}
    rows = [
        said | {"operation": what, "ms a step": round(ms / PROFILED, 3), "of the profiled step": f"{ms / wall:.0%}"}
        for what, ms in listed.items()
    ]
    return row, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, help="also write the first table there, and the profile beside it")
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--compiled", action="store_true", help="compile the networks first (minutes)")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("torch sees no CUDA device here, and this benchmark is of one")
    images = datasets.load("vnc", ("mitochondria",), reduce=1).train
    top = peak()
    name = torch.cuda.get_device_name()
    print(f"{name}, torch {torch.__version__}, {images[0].raw.shape[-1]} pixels of {images[0].spacing[-1]:g} nm, bf16")
    cases = [(objective, size) for size in SIZES for objective in NAMES]
    found = [measure(*case, images, arguments.repeats, arguments.compiled, top) for case in cases]
    tables = {"": [row for row, _ in found], "_profile": [row for _, rows in found for row in rows]}
    for kind, rows in tables.items():
        show(rows)
        if arguments.csv:
            with arguments.csv.with_stem(arguments.csv.stem + kind).open("w", newline="") as file:
                writer = csv.DictWriter(file, ["device", *rows[0]], lineterminator="\n")
                writer.writeheader()
                writer.writerows({"device": name} | row for row in rows)


if __name__ == "__main__":
    main()
