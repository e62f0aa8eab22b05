"""Surfaces of a run: what a point of a plane costs, side by side in one run.

    python benchmarks/surfaces.py [--csv FILE] [--dataset vnc] [--full]

A U-Net (width 8, depth 3) is trained for 32 steps; then rows of a 41 x 41 plane are computed on 4 crops of 128 x 128
pixels, with 4 losses and both metrics at every point. The ways take turns:

one pass           helpers.surfaces: one pass of the network serves all losses
a pass per loss    the same network and losses, a pass for each of the four losses (and one for the metrics)
network alone      one pass and nothing else: what no way can be faster than

Times are minima over the rounds (other load on a machine only ever adds), ratios are of the minima. The time of a whole
plane at 5 moments is the time of a point times 41 x 41 x 5; --full computes it, with as many processes as cores.
"""

import argparse
import csv
import os
import tempfile
import time
from pathlib import Path

import torch

from helpers import datasets, models, objectives, surfaces, training
from helpers.surfaces.runs import set_weights

RESOLUTION, MOMENTS = 41, 5
CLASS = "mitochondria"
PLAN = surfaces.Plan(losses=("bce", "dice", "focal", "lovasz"), planes=("pca",), resolution=RESOLUTION, eigenvalues=0)


def write_run(folder: Path, dataset: str) -> Path:
    data = datasets.load(dataset, (CLASS,), reduce=4)
    network, objective = models.build("unet", 1, 1, width=8, depth=3), objectives.get("bce")
    schedule = training.Schedule(steps=32, batch=4, patch=128)
    task = {"objective": objective.name, "options": dict(objective.options), "classes": [CLASS]}
    task |= {"dataset": dataset, "reduce": 4}
    place = folder / "checkpoints"
    training.train(network, objective, data.train, schedule, folder=place, task=task, log=lambda line: None)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--csv", help="write the table there as well")
    parser.add_argument("--dataset", default="phantom", help="phantom or vnc")
    parser.add_argument("--threads", type=int, help="CPU threads of torch")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--full", action="store_true", help="also compute one whole plane at 5 moments")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as place:
        folder = write_run(Path(place), options.dataset)
        work = surfaces.Work(folder, PLAN)
        network, raw, batch = work.run.network, work.batch.raw, work.batch

        def per_loss(weights: torch.Tensor) -> list[float]:
            with torch.inference_mode():
                set_weights(network, weights)
                found = [float(loss(network(raw))) for loss in batch.losses.values()]
                return [*found, *batch.metrics(network(raw))]

        def alone(weights: torch.Tensor) -> list[float]:
            with torch.inference_mode():
                set_weights(network, weights)
                return [float(network(raw)[0, 0, 0, 0])]

        ways = {"one pass": work.at, "a pass per loss": per_loss, "network alone": alone}
        plane, base = work.planes["pca"], work.run.weights[work.moments[-1]]
        x = (plane.x[-1] - plane.origin[-1, 0])[::8]
        best = dict.fromkeys(ways, float("inf"))
        for _ in range(options.rounds + 1):  # the first warms up, and is beaten by the others
            for name, way in ways.items():
                start = time.perf_counter()
                surfaces.row_values(way, base, plane.directions[-1], x, 0.0)
                best[name] = min(best[name], (time.perf_counter() - start) / len(x))
        points = RESOLUTION**2 * MOMENTS
        ours = best["one pass"]
        print(
            f"4 crops of 128 x 128, {network.n_weights} weights, {torch.get_num_threads()} threads, {options.dataset}"
        )
        for name, seconds in best.items():
            print(f"{name:<16} {1e3 * seconds:7.2f} ms a point  {seconds / ours:5.2f} times ours")
        print(
            f"a plane of {RESOLUTION} x {RESOLUTION} at {MOMENTS} moments: {points * ours / 60:.1f} min, extrapolated"
        )
        whole = ""
        if options.full:
            start = time.perf_counter()
            cores = os.cpu_count() or 1
            surfaces.compute(folder, Path(place) / "surfaces.zarr", PLAN, processes=cores)
            whole = f"{(time.perf_counter() - start) / 60:.1f}"
            print(f"the whole of it, {cores} processes: {whole} min")
    if options.csv:
        with open(options.csv, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["way", "ms a point", "times ours", "minutes for 41 x 41 x 5"])
            for name, seconds in best.items():
                row = [name, f"{1e3 * seconds:.2f}", f"{seconds / ours:.2f}", f"{points * seconds / 60:.1f}"]
                writer.writerow(row)
            if whole:
                writer.writerow(["one pass, a process for each core, computed", "", "", whole])


if __name__ == "__main__":
    main()
