"""Crops against the bare training step that consumes them, side by side in one run.

    python benchmarks/crops.py [--csv FILE] [--dataset vnc] [--reduce 1] [--threads 2] [--repeats 30]

The bare step is forward, backward and AdamW of the U-Net of width 8 on a ready batch of 4 x 128^2. A batch of crops of
the same size, with a margin of 9 voxels for targets, comes

memory          from images in memory
balanced        from memory, half of the crops about a voxel of a class
store, warm     from the store, its chunks decoded before (they are kept, up to 512 MB)
store, cold     from the store, no chunk kept: every crop is read and decoded

Steps and crops take turns; times are minima, because other load on a machine only ever adds. "ratio" is how many
batches come in the time of a step: at 20, crops cost 5 % of a step.
"""

import argparse
import csv
import time

import numpy as np
import torch

from helpers import datasets, models
from helpers.crops import Crops
from helpers.datasets import windows

BATCH, PATCH, MARGIN, WIDTH = 4, 128, 9, 8


def bare_step(channels: int, classes: int):
    """A function that trains one step on a batch that is ready."""
    network = models.UNet(channels, classes, width=WIDTH).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    raw = torch.rand(BATCH, channels, PATCH, PATCH).contiguous(memory_format=torch.channels_last)
    target = (torch.rand(BATCH, classes, PATCH, PATCH) < 0.2).float()

    def step():
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(raw), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--csv", help="write the table there as well")
    parser.add_argument("--dataset", default="vnc")
    parser.add_argument("--reduce", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of torch")
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    held = datasets.load(options.dataset, reduce=options.reduce).train
    lazy = datasets.load(options.dataset, reduce=options.reduce, lazy=True).train
    margin, generator = (MARGIN,) * 2, torch.Generator().manual_seed(0)
    crops = {
        "memory": Crops(held, PATCH, margin),
        "balanced": Crops(held, PATCH, margin, balance=0.5),
        "store, warm": Crops(lazy, PATCH, margin),
        "store, cold": Crops(lazy, PATCH, margin),
    }
    for image in lazy:
        for array in (image.raw, image.masks, image.annotated, image.known):
            np.asarray(array)
    kept = windows.CACHE._chunks.copy(), windows.CACHE.held
    step = bare_step(held[0].raw.shape[0], held[0].masks.shape[0])
    seconds = {"bare step": [], **{way: [] for way in crops}}
    for turn in range(options.repeats + 2):
        for way in seconds:
            if way == "store, cold":
                windows.CACHE.clear()
            start = time.perf_counter()
            if way == "bare step":
                step()
            else:
                crops[way].draw(BATCH, generator)
            if turn > 1:  # the first two warm up
                seconds[way].append(time.perf_counter() - start)
            if way == "store, cold":
                windows.CACHE._chunks, windows.CACHE.held = kept[0].copy(), kept[1]

    size = " x ".join(map(str, held[0].raw.shape[1:]))
    print(
        f"{options.dataset}, {len(held)} images of {size}, {held[0].masks.shape[0]} classes; {options.threads} threads"
    )
    print(f"{'batch of 4 x 128^2':<20}{'ms: median':>12}{'min':>9}{'ratio':>8}")
    least = {way: min(times) for way, times in seconds.items()}
    rows = []
    for way, times in seconds.items():
        ratio = "" if way == "bare step" else f"{least['bare step'] / least[way]:.0f}"
        rows.append([way, f"{1e3 * float(np.median(times)):.2f}", f"{1e3 * least[way]:.2f}", ratio])
        print(f"{rows[-1][0]:<20}{rows[-1][1]:>12}{rows[-1][2]:>9}{rows[-1][3]:>8}")
    if options.csv:
        with open(options.csv, "w", newline="") as file:
            csv.writer(file).writerows([["source", "median (ms)", "min (ms)", "batches per step"], *rows])


if __name__ == "__main__":
    main()
