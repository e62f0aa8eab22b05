"""Inference block by block against the whole array at once, and its memory against the volume's size.

    python benchmarks/inference.py [--csv FILE] [--threads N] [--quick]

Speed: a network with random weights over a volume in memory and, through ``helpers.apply``, from Zarr to Zarr with
scores, masks and all the bookkeeping. Both take turns in one process; ratios are of the least seconds, since other load
on a machine only ever adds. In 2-D the rate is of voxels of the volume, section by section. In 3-D it is of voxels that
the network computes, the halo included, beside the share of them that is not halo.

Memory: the largest resident set of a process that applies a network to a volume of 256^3, 512^3 and 1024^3 voxels,
objects on a few of its chunks and the rest not on disk, with instances where :mod:`helpers.instances` is there.
"""

import argparse
import csv
import importlib.util
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from helpers import inference, models, objectives, planning
from helpers.apply import apply_run

NETWORKS = {2: {"width": 8, "depth": 3}, 3: {"width": 8, "depth": 2}}
SMALL = {2: {"width": 2, "depth": 2}, 3: {"width": 2, "depth": 1}}  # where memory is measured, not speed
SPEED = {2: (24, 1024, 1024), 3: (160, 160, 160)}
SIDES = (256, 512, 1024)
QUIET = {"log": lambda line: None}


def make_run(folder: Path, dims: int, arguments: dict) -> Path:
    """A run's folder: a checkpoint of random weights, and what would have been chosen on validation."""
    torch.manual_seed(0)
    model = {"in_channels": 1, "out_channels": 1, "dims": dims, **arguments}
    network = models.UNet(**model)
    task = {"objective": "bce", "options": {}, "classes": ["objects"], "spacing": [8.0] * dims}
    state = {"format": 1, "step": 1, "model": {"name": "unet", **model}, "network": network.state_dict(), "task": task}
    (folder / "checkpoints").mkdir(parents=True)
    torch.save(state, folder / "checkpoints" / "step-000001.pt")
    (folder / "decoding.json").write_text(json.dumps({"objects": {"cut": 0.5, "seed_height_nm": 20.0}}))
    return folder


def phantom(path: Path, shape: tuple[int, ...], everywhere: bool) -> Path:
    """Bright balls on noise; on one chunk in 64 alone, or everywhere."""
    import zarr

    rng, side = np.random.default_rng(0), 64
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"))
    ball = np.sqrt(((grid - side // 2) ** 2).sum(0)) < side // 4
    tile = (60 + 120 * ball + rng.integers(0, 40, ball.shape)).astype(np.uint8)
    array = zarr.create_array(path, shape=shape, chunks=(side,) * 3, dtype=np.uint8)
    corners = [range(0, n, side) for n in shape]
    for i, corner in enumerate(np.stack(np.meshgrid(*corners, indexing="ij"), -1).reshape(-1, 3).tolist()):
        if everywhere or i % 64 == 5:
            box = tuple(slice(c, min(c + side, n)) for c, n in zip(corner, shape, strict=True))
            array[box] = tile[tuple(slice(0, s.stop - s.start) for s in box)]
    return path


def speed(dims: int, folder: Path, shape: tuple[int, ...], repeats: int) -> dict:
    """Least seconds of the whole array at once, and of apply, in turns."""
    import zarr

    run = make_run(folder / f"run{dims}", dims, NETWORKS[dims])
    source = phantom(folder / f"in{dims}.zarr", shape, everywhere=True)
    network, _ = inference.load_network(run / "checkpoints" / "step-000001.pt")
    objective, raw = objectives.get("bce"), (zarr.open_array(source)[:] / 255).astype(np.float32)
    seconds = {"whole": [], "blocks": []}
    options = {"spacing": (8.0,) * 3, "instances": "none"}
    for turn in range(repeats + 1):  # the first warms up
        start = time.perf_counter()
        pieces = [raw[None]] if dims == 3 else raw[:, None]
        scores = [objective.decode(inference.predict(network, piece))[0, 0].numpy() for piece in pieces]
        if turn:
            seconds["whole"].append(time.perf_counter() - start)
        output = folder / f"out{dims}-{turn}.zarr"
        plan = planning.make_plan(run, source, output, **options, **QUIET)
        start = time.perf_counter()
        apply_run(run, source, output, **options, **QUIET)
        if turn:
            seconds["blocks"].append(time.perf_counter() - start)
    found = zarr.open_group(output, mode="r")["scores/objects/0"][:]
    padded = math.prod(-(-n // network.divisor) * network.divisor for n in shape[-dims:]) * math.prod(shape[:-dims])
    computed = sum(seen(plan, index, dims) for index in range(len(plan.grid)))
    whole, blocks = (min(seconds[way]) for way in ("whole", "blocks"))
    return {
        "network": f"{dims}-D U-Net, width {NETWORKS[dims]['width']}, depth {NETWORKS[dims]['depth']}",
        "volume": " x ".join(map(str, shape)),
        "whole array (Mvoxel/s)": padded / whole / 1e6,
        "blocks (Mvoxel/s)": math.prod(shape) / blocks / 1e6,
        "computed, halo included (Mvoxel/s)": computed / blocks / 1e6,
        "ratio": (computed / blocks if dims == 3 else math.prod(shape) / blocks) / (padded / whole),
        "not halo": math.prod(shape) / computed,
        "largest difference": float(np.abs(found - np.stack(scores).reshape(shape)).max()),
    }


def seen(plan: planning.Plan, index: int, dims: int) -> int:
    """Voxels that the network computes for a block."""
    box, halo, divisor = plan.grid.box(index), inference.halo_of(plan.network), plan.network.divisor
    sides = [s.stop - s.start for s in box[:-dims]]
    for s, h, n in zip(box[-dims:], halo, plan.volume.shape[-dims:], strict=True):
        end = -(-n // divisor) * divisor
        sides.append(min(-(-s.stop // divisor) * divisor + h, end) - max(s.start - h, 0))
    return math.prod(sides)


def memory(dims: int, side: int, folder: Path, threads: int) -> dict:
    """Peak resident memory and seconds of one process over one volume."""
    name = f"{dims}-{side}"
    run = make_run(folder / f"run{name}", dims, SMALL[dims])
    source = phantom(folder / f"in{name}.zarr", (side,) * 3, everywhere=False)
    instances = "volume" if importlib.util.find_spec("helpers.instances") else "none"
    call = [sys.executable, __file__, "--apply", str(run), str(source), str(folder / f"out{name}.zarr"), instances]
    result = subprocess.run([*call, "--threads", str(threads)], capture_output=True, text=True, check=True)
    return {"dims": dims, "side": side, "instances": instances} | json.loads(result.stdout)


def apply_alone(run: str, source: str, output: str, instances: str) -> None:
    """In a process of its own: apply, and print the peak of its memory."""
    start = time.perf_counter()
    apply_run(run, source, output, spacing=(8.0,) * 3, instances=instances, scores="uint8", **QUIET)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    print(json.dumps({"MiB": peak, "seconds": time.perf_counter() - start}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--csv", help="write the table there as well")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--quick", action="store_true", help="small volumes, without the one of 1024^3")
    parser.add_argument("--apply", nargs=4, metavar=("RUN", "IN", "OUT", "INSTANCES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.apply:
        apply_alone(*options.apply)
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        print(f"{options.threads} threads")
        for dims in (2, 3):
            shape = tuple(n // 2 for n in SPEED[dims]) if options.quick else SPEED[dims]
            row = speed(dims, Path(folder), shape, 3)
            for key, value in row.items():
                print(f"{key:<36}{value if isinstance(value, str) else f'{value:.3g}'}")
            rows += [[f"{row['network']}: {key}", f"{value:.3g}"] for key, value in row.items() if type(value) is float]
        for dims in (2, 3):
            peaks = []
            for side in SIDES[: 2 if options.quick else 3]:
                found = memory(dims, side, Path(folder), options.threads)
                peaks.append(found["MiB"])
                what = f"{dims}-D network, {side}^3, instances {found['instances']}: peak memory (MiB)"
                print(f"{what}: {found['MiB']:.0f}, in {found['seconds']:.0f} s", flush=True)
                rows.append([what, f"{found['MiB']:.0f}"])
            print(f"largest over smallest: {max(peaks) / min(peaks):.3f}")
            rows.append([f"{dims}-D network: largest peak over smallest", f"{max(peaks) / min(peaks):.3f}"])
    if options.csv:
        with open(options.csv, "w", newline="") as file:
            csv.writer(file).writerows([["quantity", "value"], *rows])


if __name__ == "__main__":
    main()
