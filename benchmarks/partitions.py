"""Every metric of two label maps against scikit-image's two functions, side by side in one run.

    python benchmarks/partitions.py [--csv FILE] [--repeats N] [--quick]

ours            helpers.partitions: one contingency table, and from it foreground IoU, adapted Rand by both rules,
                variation of information, and one-to-one matching
scikit-image    adapted_rand_error and variation_of_information (truth background ignored), and nothing else

Each is called once an image. The maps, int32:

neurites        what membranes leave: in 2-D the phantom's, in 3-D a Voronoi diagram's. Predicted: the same membranes
                displaced by one or two voxels, and open in places
far ids         as neurites, their ids spread over 2^20 (scikit-image makes a row for every id up to the largest)
mitochondria    of the phantom (2-D). Predicted: the same displaced, one in ten of them lost
few in noise    every voxel one of 100 labels by chance: hardly two neighbours are alike
all in noise    every voxel one of 2^20 labels by chance: nearly every voxel is a pair of its own, the worst there is

The ways take turns. Times are minima, since other load on a machine only ever adds; ratios are theirs. Memory is the
peak held beyond the inputs, in bytes for each voxel of one image (tracemalloc: what NumPy and SciPy allocate).
"difference" is the largest one between the five numbers that both give.
"""

import argparse
import csv
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
from scipy import ndimage
from skimage.metrics import adapted_rand_error, variation_of_information

from helpers import partitions, phantom

Maps = list[tuple[np.ndarray, np.ndarray]]  # (prediction, truth) of each image
COLUMNS = ("ours (ms)", "scikit-image (ms)", "ratio", "ours (B/voxel)", "scikit-image (B/voxel)", "difference")


def between(membranes: np.ndarray) -> np.ndarray:
    return ndimage.label(~membranes)[0].astype(np.int32)


def broken(membranes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Displaced by one or two voxels, and open where smooth noise is high."""
    noise = ndimage.gaussian_filter(rng.standard_normal(membranes.shape, dtype=np.float32), 4)
    moved = np.roll(membranes, (2, 1, 1)[: membranes.ndim], tuple(range(membranes.ndim)))
    return moved & (noise < 2.5 * noise.std())


def walls(shape: tuple[int, ...], width: int, rng: np.random.Generator) -> np.ndarray:
    """Between the cells of a Voronoi diagram, one site for every width^D voxels; four voxels thick."""
    sites = np.zeros(shape, np.int32)
    n = int(np.prod(shape) / width ** len(shape))
    sites[tuple(rng.integers(0, size, n) for size in shape)] = np.arange(1, n + 1)
    nearest = ndimage.distance_transform_edt(sites == 0, return_distances=False, return_indices=True)
    cells, out = sites[tuple(nearest)], np.zeros(shape, bool)
    for axis in range(len(shape)):
        out[(slice(None),) * axis + (slice(1, None),)] |= np.diff(cells, axis=axis) != 0
    return ndimage.binary_dilation(out)


def spread(maps: Maps, rng: np.random.Generator) -> Maps:
    """The same objects under ids from far apart."""
    most = 1 + max(int(array.max()) for pair in maps for array in pair)
    ids = np.append(0, rng.choice(2**20, most, replace=False) + 1).astype(np.int32)
    return [(ids[prediction], ids[truth]) for prediction, truth in maps]


def noise(images: int, shape: tuple[int, ...], labels: int, rng: np.random.Generator) -> Maps:
    return [tuple(rng.integers(0, labels, (2, *shape), dtype=np.int32)) for _ in range(images)]


def cases(quick: bool) -> dict[tuple[str, str], Callable[[], Maps]]:
    """(shape, name) -> the maps; made one after the other, because those of a volume are large."""
    rng = np.random.default_rng(0)
    flat, images = "1x1024^2" if quick else "4x1024^2", 1 if quick else 4
    made = [phantom.make((1024, 1024), seed=seed) for seed in range(images)]
    neurites = [(between(broken(p.masks["membranes"], rng)), between(p.masks["membranes"])) for p in made]
    mitochondria = []
    for truth in (p.instances["mitochondria"] for p in made):
        kept = np.append(0, np.where(rng.random(truth.max()) < 0.1, 0, np.arange(1, truth.max() + 1)))
        mitochondria.append((np.roll(kept.astype(np.int32)[truth], (3, 2), (0, 1)), truth))
    out = {
        (flat, "neurites"): lambda: neurites,
        (flat, "far ids"): lambda: spread(neurites, rng),
        (flat, "mitochondria"): lambda: mitochondria,
        (flat, "few in noise"): lambda: noise(images, (1024, 1024), 100, rng),
        (flat, "all in noise"): lambda: noise(images, (1024, 1024), 2**20, rng),
    }
    deep, shape = ("1x128^3", (128,) * 3) if quick else ("1x256^3", (256,) * 3)

    def volume() -> Maps:
        membranes = walls(shape, 20, rng)
        return [(between(broken(membranes, rng)), between(membranes))]

    return out | {
        (deep, "neurites"): volume,
        (deep, "far ids"): lambda: spread(volume(), rng),
        (deep, "few in noise"): lambda: noise(1, shape, 100, rng),
        (deep, "all in noise"): lambda: noise(1, shape, 2**20, rng),
    }


def ours(prediction: np.ndarray, truth: np.ndarray) -> tuple:
    table = partitions.contingency(prediction, truth)
    rand = partitions.adapted_rand(table)
    others = (partitions.foreground(table), partitions.adapted_rand(table, "snemi"), partitions.matching(table))
    # scikit-image gives recall first, under the name of precision.
    return rand.error, rand.recall, rand.precision, *partitions.variation_of_information(table), others


def scikit_image(prediction: np.ndarray, truth: np.ndarray) -> tuple:
    return *adapted_rand_error(truth, prediction), *variation_of_information(truth, prediction, ignore_labels=(0,))


WAYS = {"ours": ours, "scikit-image": scikit_image}


def seconds(way: Callable, maps: Maps) -> float:
    start = time.perf_counter()
    for pair in maps:
        way(*pair)
    return time.perf_counter() - start


def peak(way: Callable, prediction: np.ndarray, truth: np.ndarray) -> float:
    tracemalloc.start()
    way(prediction, truth)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most / truth.size


def compare(maps: Maps, repeats: int) -> dict[str, float]:
    results = {name: np.array([way(*pair)[:5] for pair in maps]) for name, way in WAYS.items()}  # and warm up
    least = dict.fromkeys(WAYS, np.inf)
    for _ in range(repeats):
        for name, way in WAYS.items():
            least[name] = min(least[name], seconds(way, maps))
    row = {f"{name} (ms)": 1e3 * s for name, s in least.items()}
    row["ratio"] = least["scikit-image"] / least["ours"]
    row |= {f"{name} (B/voxel)": max(peak(way, *pair) for pair in maps) for name, way in WAYS.items()}
    row["difference"] = float(np.abs(results["ours"] - results["scikit-image"]).max())
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--csv", help="write the table there as well")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="1x1024^2 and 1x128^3 alone")
    options = parser.parse_args()

    rows = []
    print(f"{'images':<9} {'maps':<13} {'objects':>8}", *(f"{c:>{max(len(c), 9)}}" for c in COLUMNS))
    for (shape, name), make in cases(options.quick).items():
        maps = make()
        row = compare(maps, options.repeats)
        objects = sum(int((partitions.contingency(*pair).truth_ids != 0).sum()) for pair in maps)
        values = [f"{row[c]:.1e}" if c == "difference" else f"{row[c]:.1f}" for c in COLUMNS]
        print(
            f"{shape:<9} {name:<13} {objects:>8}",
            *(f"{v:>{max(len(c), 9)}}" for v, c in zip(values, COLUMNS, strict=True)),
            flush=True,
        )
        rows.append([shape, name, objects, *values])
    if options.csv:
        with open(options.csv, "w", newline="") as file:
            csv.writer(file).writerows([["images", "maps", "objects", *COLUMNS], *rows])


if __name__ == "__main__":
    main()
