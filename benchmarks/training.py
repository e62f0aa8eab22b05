"""What training costs: the whole step against the bare network step, time to a good network, threads against cores.

"bare" is forward, BCE on ready tensors with the same number of channels, backward, optimizer; "step" is a training's
own step: crops, flips and quarter turns, targets, loss, update and log. Both are timed in turn; the ratio is the median
of the pairs' ratios. Time to a good network counts training alone, not the validation between. It needs the VNC data.

    python benchmarks/training.py [--csv FILE] [--threads 2] [--repeats 60] [--only steps] [--dataset phantom]
"""

import argparse
import csv
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from helpers import datasets, inference, metrics, models, objectives, training

HELD_TO = ("bce", "dice", "focal", "tanh_distance", "hot_distance")  # at most 1.08 bare steps
SKIPPED = {"logistic": "the same as bce", "softmax_published": "needs two classes"}
GOAL = 0.75  # validation IoU, at the natural cut
FAST = {"schedule": training.Schedule(300, 4, 128, 1e-2), "precision": "auto"}
BATCH, PATCH, CLASSES = 4, 128, ("mitochondria",)


def clock(function, device: torch.device, now=time.perf_counter) -> float:
    """Seconds of one call."""
    start = now()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return now() - start


def compare(name: str, augmentation: str, precision: str, images, repeats: int, device: torch.device, now) -> dict:
    """The whole step of one objective against the bare one, in turn."""
    objective = objectives.get(name)
    channels = objective.channels(2)
    training.seed_everything(0, torch.get_num_threads())
    plan = training.Schedule(repeats + 10, BATCH, PATCH)
    made = [models.UNet(1, channels) for _ in range(2)]
    run = training.Run(
        made[0], objective, images, plan, device=str(device), augmentation=augmentation, precision=precision
    )
    network = made[1].to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters())
    crops = run.crops.draw(BATCH, torch.Generator().manual_seed(0))
    raw = run.crops.cut(crops.raw).contiguous().to(device)
    ready = (torch.rand(BATCH, channels, PATCH, PATCH) > 0.9).float().to(device)

    def bare() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=run.precision == "bf16"):
            output = network(raw)
        F.binary_cross_entropy_with_logits(output.float(), ready).backward()
        optimizer.step()

    def whole() -> None:
        run.advance()
        if run.step % 60 == 0:
            run.close_interval()

    pairs = [(clock(bare, device, now), clock(whole, device, now)) for _ in range(repeats + 5)][5:]
    spread = statistics.quantiles([w / b for b, w in pairs], n=4)
    return {
        "objective": name,
        "augmentation": augmentation,
        "precision": run.precision,
        "channels": channels,
        "bare (ms)": round(1e3 * statistics.median(b for b, _ in pairs), 1),
        "step (ms)": round(1e3 * statistics.median(w for _, w in pairs), 1),
        "ratio": round(spread[1], 3),
        "quartiles": f"{spread[0]:.3f} to {spread[2]:.3f}",
    }


def time_to_goal(data, seed: int, threads: int, schedule: training.Schedule, precision: str, every: int = 20) -> dict:
    """Seconds and steps of training until the validation IoU at the natural cut reaches the goal, and the last IoU."""
    training.seed_everything(seed, threads)
    objective = objectives.get("bce")
    known, masks = [i.known[0] for i in data.validation], [i.masks[0] for i in data.validation]

    def monitor(network) -> dict[str, float]:
        found = inference.scores(network, objective.decode, data.validation)
        return {"IoU": metrics.pooled([s[0] > objective.natural_cut for s in found], masks, known).iou}

    history = training.train(
        models.UNet(1, 1),
        objective,
        data.train,
        schedule,
        seed=seed,
        device="cpu",
        precision=precision,
        lines=schedule.steps // every,
        monitor=monitor,
        log=lambda line: None,
    )
    reached = next((e for e in history if e["IoU"] >= GOAL), {"seconds": math.inf, "step": math.inf})
    return {
        "seed": seed,
        "steps": schedule.steps,
        "seconds to goal": round(reached["seconds"], 2),
        "step at goal": reached["step"],
        "seconds in all": round(history[-1]["seconds"], 2),
        "last IoU": round(history[-1]["IoU"], 4),
    }


def side_by_side(threads: int, runs: int, steps: int) -> float:
    """Steps per second of that many trainings at once, each a process of its own on that many threads."""
    command = [sys.executable, __file__, "--alone", str(steps), "--threads", str(threads)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(runs)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:  # all have warmed up: now together
        process.stdin.write("go\n")
        process.stdin.flush()
    seconds = [float(process.communicate()[0]) for process in processes]
    return runs * steps / max(seconds)


def alone(steps: int, threads: int, images) -> None:
    """One training's steps, timed: says when it is warm, and waits for the word."""
    training.seed_everything(0, threads)
    run = training.Run(models.UNet(1, 1), objectives.get("bce"), images, training.Schedule(steps + 5, BATCH, PATCH))
    for _ in range(5):
        run.advance()
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    for _ in range(steps):
        run.advance()
    print(time.perf_counter() - start)


def show(rows: list[dict], head: bool = True) -> None:
    if head:
        print("  ".join(f"{column:>15}" for column in rows[0]))
    for row in rows:
        print("  ".join(f"{value!s:>15}" for value in row.values()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, help="also write the table of steps there, and the others beside it")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dataset", default="vnc", help="of the steps: vnc or phantom")
    parser.add_argument("--only", choices=("steps", "goal", "cores"), action="append")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of the time to the goal")
    parser.add_argument(
        "--cpu-time", action="store_true", help="steps in seconds of this process (a shared machine; with --threads 1)"
    )
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = training.choose_device(arguments.device)
    if arguments.alone:
        phantom = datasets.load("phantom", CLASSES, reduce=4)
        return alone(arguments.alone, arguments.threads, phantom.train)
    chosen = arguments.only or ("steps", "goal", "cores")
    tables = {}

    if "steps" in chosen:
        images = datasets.load(arguments.dataset, CLASSES, reduce=4).train
        cases = [(name, "flips", "float32") for name in HELD_TO]
        cases += [(name, "flips", "bf16") for name in ("bce", "hot_distance")]
        cases += [(name, "flips", "float32") for name in objectives.names() if name not in (*HELD_TO, *SKIPPED)]
        cases += [("bce", "none", "float32"), ("bce", "affine", "float32"), ("hot_distance", "affine", "float32")]
        now = time.process_time if arguments.cpu_time else time.perf_counter
        print(f"A training step against a bare one, {device}, {torch.get_num_threads()} threads")
        tables["steps"] = []
        for case in cases:
            tables["steps"].append(compare(*case, images, arguments.repeats, device, now))
            show(tables["steps"][-1:], head=len(tables["steps"]) == 1)
        for name, reason in SKIPPED.items():
            print(f"left out: {name} ({reason})")
    if "goal" in chosen:
        data = datasets.load("vnc", CLASSES, reduce=4)
        print(f"\nTraining until the validation IoU is {GOAL}, {arguments.threads} threads, {FAST}")
        rows = [
            time_to_goal(data, seed, arguments.threads, FAST["schedule"], FAST["precision"])
            for seed in range(arguments.seeds)
        ]
        tables["goal"] = rows
        show(rows)
        print(f"median {statistics.median(row['seconds to goal'] for row in rows):.1f} s")
    if "cores" in chosen:
        print("\nSteps per second: one training on two threads, and two trainings on one thread each")
        turns = [(side_by_side(2, 1, 60), side_by_side(1, 2, 60)) for _ in range(3)]
        ratio = statistics.median(two / one for one, two in turns)
        rows = [{"one on two threads": round(o, 1), "two on one thread": round(t, 1)} for o, t in turns]
        tables["cores"] = [row | {"ratio (median)": round(ratio, 2)} for row in rows]
        show(tables["cores"])
    if arguments.csv:
        for name, rows in tables.items():
            path = arguments.csv if name == "steps" else arguments.csv.with_stem(f"{arguments.csv.stem}_{name}")
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, rows[0])
                writer.writeheader()
                writer.writerows(rows)


if __name__ == "__main__":
    main()
