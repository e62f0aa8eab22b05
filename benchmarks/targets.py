"""Targets against the usual ways to make them, side by side in one run.

    python benchmarks/targets.py [--csv FILE] [--device cuda] [--threads N] [--quick]

Every row is one batch of one class, spacing 18.4 nm, scale 50 nm. The columns:

ours            helpers.targets.hot_distance: one-hot and tanh distance, and the weights of both
doubled grid    faces marked on a grid of twice the size, one SciPy EDT of it, every second voxel, sign, tanh: as dacapo
                does (distance alone: no one-hot, no weight)
repeated grid   every voxel repeated along each axis, SciPy EDT of both phases, every second voxel, tanh
two EDTs        EDT(mask) - EDT(~mask) with SciPy, tanh
kornia          kornia.contrib.distance_transform of both phases, as a signed distance needs

SciPy runs on the CPU, image by image, whatever the device. Times are medians, with the minimum in brackets; the ways
take turns. Ratios are of the minima: other load on a machine only ever adds. "error" is the largest difference in
voxels between ours and an exact reference within the radius: SciPy's EDT on the doubled lattice to the closed boxes of
the other phase, of which every corner and face is a lattice point. "convention" is the largest difference of the
doubled grid from the same reference: it measures to the centres of faces, so it differs by definition, not by mistake.
"""

import argparse
import csv
import math
import time

import numpy as np
import torch
from scipy import ndimage

from helpers import targets

SPACING, SCALE = 18.4, 50.0
RADIUS = targets.SATURATION * SCALE
SHAPES = {"8x128^2": (8, 128, 128), "8x256^2": (8, 256, 256), "4x1024^2": (4, 1024, 1024)}
SHAPES |= {"4x64^3": (4, 64, 64, 64), "1x256^3": (1, 256, 256, 256)}


def blobs(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Objects a dozen voxels wide on about half of each image."""
    noise = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    return ndimage.gaussian_filter(noise, (0, *(6,) * (len(shape) - 1))) > 0


def two_edts(masks: np.ndarray) -> np.ndarray:
    edt = ndimage.distance_transform_edt
    return np.stack([np.tanh((edt(m) - edt(~m)) * SPACING / SCALE).astype(np.float32) for m in masks])


def faces(mask: np.ndarray) -> np.ndarray:
    """On the grid of 2n - 1: True at the centre of each face between the phases."""
    marked = np.zeros([2 * n - 1 for n in mask.shape], bool)
    for axis in range(mask.ndim):
        where = [slice(None, None, 2)] * mask.ndim
        where[axis] = slice(1, None, 2)
        marked[tuple(where)] = np.diff(mask, axis=axis)
    return marked


def doubled_voxels(mask: np.ndarray) -> np.ndarray:
    distance = ndimage.distance_transform_edt(~faces(mask), sampling=(0.5,) * mask.ndim).astype(np.float32)
    distance = distance[(slice(None, None, 2),) * mask.ndim]
    distance[~mask] *= -1
    return distance


def doubled_grid(masks: np.ndarray) -> np.ndarray:
    return np.stack([np.tanh(doubled_voxels(m) * (SPACING / SCALE)) for m in masks])


def repeated_grid(masks: np.ndarray) -> np.ndarray:
    out = []
    for mask in masks:
        for axis in range(mask.ndim):
            mask = mask.repeat(2, axis)
        signed = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
        out.append(np.tanh(signed[(slice(None, None, 2),) * mask.ndim] * (SPACING / 2 / SCALE)).astype(np.float32))
    return np.stack(out)


def reference(mask: np.ndarray) -> np.ndarray:
    """Signed box distance in voxels: to the lattice points of the other phase's closed boxes."""
    even, phases = (slice(None, None, 2),) * mask.ndim, []
    for other in (~mask, mask):
        lattice = np.zeros([2 * n - 1 for n in mask.shape], bool)
        lattice[even] = other
        closed = ndimage.binary_dilation(lattice, np.ones((3,) * mask.ndim))
        phases.append(ndimage.distance_transform_edt(~closed, sampling=(0.5,) * mask.ndim)[even])
    return np.where(mask, phases[0], -phases[1])


def ways(masks: np.ndarray, device: torch.device, quick: bool) -> tuple[dict, dict]:
    """Name -> function to time, and name -> reason for those that are skipped."""
    tensor = torch.from_numpy(masks)[:, None].to(device)
    everywhere = torch.ones_like(tensor)
    spacing = (SPACING,) * (masks.ndim - 1)
    timed = {"ours": lambda: targets.hot_distance(tensor, everywhere, everywhere, spacing, SCALE)}
    skipped, huge = {}, masks.size > 2**23
    for name, way in (("doubled grid", doubled_grid), ("repeated grid", repeated_grid), ("two EDTs", two_edts)):
        if huge and (quick or name != "two EDTs"):
            skipped[name] = "minutes, many GB"
        else:
            timed[name] = lambda way=way: way(masks)
    try:
        from kornia.contrib import distance_transform
    except ImportError:
        skipped["kornia"] = "not installed"
    else:
        grey = tensor.float()
        if masks.ndim != 3:
            skipped["kornia"] = "2-D only"
        elif masks.shape[-1] > 256 and device.type == "cpu":
            skipped["kornia"] = "tens of seconds"
        else:
            timed["kornia"] = lambda: distance_transform(grey) - distance_transform(1 - grey)
    return timed, skipped


def take_turns(timed: dict, repeats: int, device: torch.device) -> dict[str, dict[str, float]]:
    """Milliseconds of each, interleaved; the first round warms up and does not count unless it is the only one."""
    seconds = {name: [] for name in timed}
    for turn in range(repeats + (repeats > 1)):
        for name, way in timed.items():
            if device.type == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            way()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn or repeats == 1:
                seconds[name].append(1e3 * (time.perf_counter() - start))
    return {name: {"median": float(np.median(s)), "min": min(s)} for name, s in seconds.items()}


def compare(name: str, device: torch.device, quick: bool) -> dict:
    masks = blobs(SHAPES[name])
    timed, skipped = ways(masks, device, quick)
    repeats = 15 if masks.size < 2**20 else 5 if masks.size < 2**22 else 3 if masks.size < 2**23 else 1
    if repeats == 1:
        timed["ours"]()  # warm up
    row = {"shape": name, "repeats": repeats, "ms": take_turns(timed, repeats, device), "skipped": skipped}
    if masks[0].size <= 2**18:
        spacing = (SPACING,) * (masks.ndim - 1)
        found = (
            targets.boundary_distance(torch.from_numpy(masks[0]).to(device), spacing, RADIUS).cpu().numpy() / SPACING
        )
        bound = RADIUS / SPACING
        truth = reference(masks[0]).clip(-bound, bound)
        row["error"] = float(np.abs(found - truth).max())
        row["convention"] = float(np.abs(doubled_voxels(masks[0]).clip(-bound, bound) - truth).max())
    return row


def unbounded(name: str, device: torch.device) -> dict:
    masks = blobs(SHAPES[name])
    tensor, spacing = torch.from_numpy(masks).to(device), (SPACING,) * (masks.ndim - 1)
    timed = {"ours": lambda: targets.boundary_distance(tensor, spacing), "two EDTs": lambda: two_edts(masks)}
    return {"shape": name, "ms": take_turns(timed, 5 if masks.size < 2**20 else 1, device)}


def cell(row: dict, way: str) -> str:
    if way in row["skipped"]:
        return "-"
    ms, ours = row["ms"][way], row["ms"]["ours"]
    ratio = "" if way == "ours" else f" {ms['min'] / ours['min']:.0f}x"
    return f"{ms['median']:.2f} ({ms['min']:.2f}){ratio}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--csv", help="write the table of ratios there as well")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="CPU threads of torch")
    parser.add_argument("--quick", action="store_true", help="leave out 4x1024^2 and 1x256^3")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    columns = ("ours", "doubled grid", "repeated grid", "two EDTs", "kornia")
    names = [name for name, shape in SHAPES.items() if not options.quick or math.prod(shape) < 2**22]

    print(f"hot-distance target, {device}, {torch.get_num_threads()} threads, ms: median (min), times ours")
    print(f"{'shape':<10}", *(f"{c:>22}" for c in columns), f"{'error':>9} {'convention':>11}")
    rows = []
    for name in names:
        row = compare(name, device, options.quick)
        rows.append(row)
        tail = f"{row['error']:9.1e} {row['convention']:11.2f}" if "error" in row else f"{'-':>9} {'-':>11}"
        print(f"{name:<10}", *(f"{cell(row, c):>22}" for c in columns), tail, flush=True)
    for row in rows:
        for way, reason in row["skipped"].items():
            print(f"skipped: {way} on {row['shape']}: {reason}")

    print("\nboundary distance without bound, against two EDTs")
    free = [unbounded(name, device) for name in names if math.prod(SHAPES[name]) < 2**23]
    for row in free:
        ours, scipy = row["ms"]["ours"]["min"], row["ms"]["two EDTs"]["min"]
        print(f"{row['shape']:<10} ours {ours:9.1f} ms   two EDTs {scipy:9.1f} ms   {scipy / ours:.1f}x")
    if options.csv:
        others = columns[1:]
        with open(options.csv, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["batch", "ours (ms)", *others, "error (voxels)"])
            for row in rows:
                least = {way: ms["min"] for way, ms in row["ms"].items()}
                ratios = [f"{least[w] / least['ours']:.1f}" if w in least else row["skipped"][w] for w in others]
                error = f"{row['error']:.0e}" if "error" in row else "not measured"
                writer.writerow([row["shape"], f"{least['ours']:.2f}", *ratios, error])


if __name__ == "__main__":
    main()
