"""Inference block by block against the whole array at once, and its memory against the volume's size.

    python benchmarks/inference.py [--csv FILE] [--threads N] [--only speed|memory] [--dims 2|3] [--sides 256,512,1024]

Speed: a network with random weights over a volume in memory and, through ``helpers.apply``, from Zarr to Zarr with
scores, masks and all the bookkeeping. Both take turns in one process; ratios are of the least seconds, since other load
on a machine only ever adds. In 2-D the rate is of voxels of the volume, section by section. In 3-D it is of voxels that
the network computes, the halo included, beside the share of them that is not halo.

Memory: the largest resident set of a process that applies a network to a volume of 256^3, 512^3 and 1024^3 voxels,
objects on a few of its chunks and the rest not on disk, with scores, masks and instances. The networks are smaller
there (``SMALL``): their layers' memory is what a plan allots by, whatever their width, and the time is of no matter.
The cut is the score that a twentieth of a chunk with an object exceeds, since a random network knows of none.
"""

import argparse
import csv
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from helpers import checkpoints, inference, models, objectives, planning
from helpers.apply import apply_run
from helpers.memory import peak_memory

NETWORKS = {2: {"width": 8, "depth": 3}, 3: {"width": 8, "depth": 2}}
SMALL = {2: {"width": 2, "depth": 2}, 3: {"width": 2, "depth": 1}}  # where memory is measured, not speed
SPEED = {2: (24, 1024, 1024), 3: (160, 160, 160)}
SIDES, CHUNK = (256, 512, 1024), 64
QUIET = {"log": lambda line: None}


def make_run(folder: Path, dims: int, arguments: dict) -> Path:
    """A run's folder: a checkpoint of random weights, and what would have been chosen on validation."""
    torch.manual_seed(0)
    network = models.build("unet", 1, 1, dims=dims, **arguments)
    task = {"objective": "bce", "options": {}, "classes": ["objects"], "spacing": [8.0] * dims, "boundaries": []}
    (folder / "checkpoints").mkdir(parents=True)
    tile = (ball() / 255).astype(np.float32)
    network.eval()
    tile = tile if dims == 3 else tile[CHUNK // 2]
    scores, blank = (torch.sigmoid(inference.predict(network, x[None])) for x in (tile, np.zeros_like(tile)))
    cut = float(scores.quantile(0.95))
    if float(blank.max()) >= cut:  # what is not on disk shall be background
        with torch.no_grad():
            network.head.weight.neg_(), network.head.bias.neg_()
        cut = 1 - float(scores.quantile(0.05))
    checkpoints.save(folder / "checkpoints" / "step-000001.pt", checkpoints.of_network(network, 1, task))
    chosen = {"objects": {"cut": cut, "seed_height_nm": 20.0}}
    (folder / "decoding.json").write_text(json.dumps(chosen))
    return folder


def ball() -> np.ndarray:
    """A bright ball on noise, uint8, of one chunk."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(CHUNK)] * 3, indexing="ij"))
    inside = np.sqrt(((grid - CHUNK // 2) ** 2).sum(0)) < CHUNK // 4
    return (60 + 120 * inside + rng.integers(0, 40, inside.shape)).astype(np.uint8)


def phantom(path: Path, shape: tuple[int, ...], everywhere: bool) -> Path:
    """Bright balls on noise; everywhere, or on one chunk of each 4 x 4 x 4: a larger volume is more of the same."""
    import zarr

    side, tile = CHUNK, ball()
    array = zarr.create_array(path, shape=shape, chunks=(side,) * 3, dtype=np.uint8)
    corners = [range(0, n, side) for n in shape]
    for corner in np.stack(np.meshgrid(*corners, indexing="ij"), -1).reshape(-1, 3).tolist():
        if everywhere or all(c // side % 4 == 1 for c in corner):
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
    run, source = folder / f"run{name}", folder / f"in{name}.zarr"
    if not run.exists():
        make_run(run, dims, SMALL[dims])
        phantom(source, (side,) * 3, everywhere=False)
    output = folder / f"out{name}.zarr"
    call = [sys.executable, __file__, "--apply", str(run), str(source), str(output), "--threads", str(threads)]
    result = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True)
    shutil.rmtree(output)
    return json.loads(result.stdout)


def apply_alone(run: str, source: str, output: str) -> None:
    """In a process of its own: apply, and print the peak of its memory, and how long each stage took."""
    begun, peaks = time.perf_counter(), {}

    def note(line: str) -> None:  # the peak so far, at each line of each stage
        peaks[line.partition(":")[0]] = (round(peak_memory() / 2**20), round(time.perf_counter() - begun, 1))

    apply_run(run, source, output, spacing=(8.0,) * 3, instances="volume", scores="uint8", log=note)
    note("end:")
    stages = {stage: peaks[stage] for stage in ("predict", "label", "link", "relabel")}
    print(json.dumps({"MiB": peaks["end"][0], "seconds": peaks["end"][1], "stages": stages}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--csv", help="write the table there as well, row by row")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--only", choices=("speed", "memory"), help="one of the two")
    parser.add_argument("--dims", type=int, choices=(2, 3), help="2-D or 3-D networks alone")
    parser.add_argument("--sides", type=lambda text: [int(n) for n in text.split(",")], default=SIDES)
    parser.add_argument("--repeats", type=int, default=3, help="turns of which the least seconds count")
    parser.add_argument("--quick", action="store_true", help="speed on volumes of half the sides")
    parser.add_argument("--apply", nargs=3, metavar=("RUN", "IN", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.apply:
        apply_alone(*options.apply)
        return
    rows = [["quantity", "value"]]

    def tell(quantity: str, value: str) -> None:
        print(f"{quantity}: {value}", flush=True)
        rows.append([quantity, value])
        if options.csv:
            with open(options.csv, "w", newline="") as file:
                csv.writer(file).writerows(rows)

    tell("threads", str(options.threads))
    with tempfile.TemporaryDirectory() as folder:
        for dims in (2, 3) if options.only != "memory" else ():
            if options.dims in (None, dims):
                shape = tuple(n // 2 for n in SPEED[dims]) if options.quick else SPEED[dims]
                found = speed(dims, Path(folder), shape, options.repeats)
                what = f"{describe(dims, NETWORKS)}, {' x '.join(map(str, shape))} voxels"
                for key, value in found.items():
                    tell(f"{what}: {key}", f"{value:.3g}")
        for dims in (2, 3) if options.only != "speed" else ():
            peaks = []
            for side in options.sides if options.dims in (None, dims) else ():
                # two windows are worked on at once, in a small volume seldom both whole ones: the largest of three
                turns = [memory(dims, side, Path(folder), options.threads) for _ in range(3 if side <= 256 else 1)]
                found = max(turns, key=lambda turn: turn["MiB"])
                peaks.append(found["MiB"])
                tell(f"{describe(dims, SMALL)}, {side}^3: peak memory (MiB)", f"{found['MiB']}")
                stages = "; ".join(f"{s} {peak} MiB by {t} s" for s, (peak, t) in found["stages"].items())
                print(f"  in {found['seconds']} s: {stages}", flush=True)
            if peaks:
                tell(f"{describe(dims, SMALL)}: largest peak over smallest", f"{max(peaks) / min(peaks):.3f}")


def describe(dims: int, networks: dict) -> str:
    return f"{dims}-D U-Net of width {networks[dims]['width']} and depth {networks[dims]['depth']}"


if __name__ == "__main__":
    main()
