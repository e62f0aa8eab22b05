"""A search over seed heights, against a watershed from the h-maxima of each height, side by side in one run.

    python benchmarks/instances.py [--csv FILE] [--quick]

One image of touching blobs with its own distance to the background, which is then made noisy, as a network's is; the
heights are helpers.instances.SEED_HEIGHTS_NM. Times are minima of the turns that the two ways take; other load only
ever adds. "objects" says whether both find equally many at every height: distances are whole numbers of nm there,
so that "at least h" is exact for the h-maxima too, which scikit-image finds by grey reconstruction.
"""

import argparse
import csv
import math
import time

import numpy as np
from scipy import ndimage
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

from helpers.instances import SEED_HEIGHTS_NM, distance_inside, hierarchy

SPACING = 8.0
SHAPES = {"1024^2": (1024, 1024), "128^3": (128, 128, 128)}


def maps(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Foreground, and name -> distance in whole nm."""
    rng = np.random.default_rng(seed)
    foreground = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 6) > 0
    distance = distance_inside(foreground, (SPACING,) * len(shape))
    noisy = distance + rng.normal(0, SPACING, shape)
    return foreground, {"own": distance.round().astype(np.int32), "noisy": noisy.round().astype(np.int32)}


def ours(foreground: np.ndarray, distance: np.ndarray) -> list[int]:
    tree = hierarchy(foreground, distance)
    return [int(tree.cut(height).max()) for height in SEED_HEIGHTS_NM]


def one_by_one(foreground: np.ndarray, distance: np.ndarray) -> list[int]:
    full, found = np.ones((3,) * foreground.ndim), []
    floor = int(distance[foreground].min()) - 1000
    relief = np.where(foreground, distance, floor)  # a wall between components that no height climbs
    for height in SEED_HEIGHTS_NM:
        if math.isinf(height):
            found.append(int(ndimage.label(foreground, full)[1]))
            continue
        # h-maxima: the maxima of a map that was lowered by h and grown back beneath itself; h - 1 for "at least h"
        rest = reconstruction(np.where(foreground, relief - (int(height) - 1), floor), relief, footprint=full)
        seeds, _ = ndimage.label(local_maxima(rest) & foreground, full)
        labels = watershed(-relief, seeds, connectivity=foreground.ndim, mask=foreground)
        found.append(int(labels.max()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--csv", help="write the table of ratios there as well")
    parser.add_argument("--quick", action="store_true", help="one turn of the 2-D image alone")
    options = parser.parse_args()
    rows = []
    print(f"{len(SEED_HEIGHTS_NM)} seed heights, seconds: ours, one watershed for each height, ratio, same objects")
    for name, shape in list(SHAPES.items())[: 1 if options.quick else None]:
        foreground, distances = maps(shape)
        for kind, distance in distances.items():
            seconds = {ours: [], one_by_one: []}
            for _ in range(1 if options.quick else 3):
                counts = []
                for way, taken in seconds.items():
                    start = time.perf_counter()
                    counts.append(way(foreground, distance))
                    taken.append(time.perf_counter() - start)
            a, b = min(seconds[ours]), min(seconds[one_by_one])
            same = "yes" if counts[0] == counts[1] else "no"
            rows.append([f"{name}, {kind} distance", f"{a:.2f}", f"{b / a:.1f}", same])
            print(f"{name:<8} {kind:<6} {a:8.2f} {b:8.2f} {b / a:6.1f}x  {same} {counts[0]}", flush=True)
    if options.csv:
        with open(options.csv, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["map", "ours (s)", "one watershed for each height (times ours)", "same number of objects"])
            writer.writerows(rows)


if __name__ == "__main__":
    main()
