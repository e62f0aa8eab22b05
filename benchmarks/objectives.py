"""What an objective costs: encoding and comparing against a training step, ratios measured side by side in one run.

The reference is a step with a bare BCE on a ready mask with the same number of output channels. "step" is the same step
with the objective's own encode and compare; the share is how much longer it is. Interleaved repeats; medians.

    python benchmarks/objectives.py [--csv FILE] [--threads 2] [--repeats 15] [--device cpu]
"""

import argparse
import csv
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from helpers import models, objectives
from helpers.training import choose_device

SPACING, BATCH, PATCH = (18.4, 18.4), 4, 128
SKIPPED = {"logistic": "the same as bce", "softmax_published": "needs two classes"}


def labels(margin: int, device: torch.device) -> torch.Tensor:
    """Discs on about a twentieth of the area, on a window larger than the patch by the margin."""
    side = PATCH + 2 * margin
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    generator = torch.Generator().manual_seed(0)
    centres = torch.rand(BATCH, 6, 2, generator=generator) * side
    distance = ((y[None, None] - centres[..., 0, None, None]) ** 2 + (x - centres[..., 1, None, None]) ** 2).sqrt()
    return (distance < 7).any(1, keepdim=True).to(device)


def timed(function, device: torch.device) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - start)


def measure(name: str, options: dict, repeats: int, device: torch.device) -> dict:
    """Medians for one objective."""
    objective = objectives.get(name, **options)
    halo = objective.halo(SPACING)
    margin = max(halo) if halo is not None else 0  # whole-image targets are made once, before training
    masks = labels(margin, device)
    known = torch.ones_like(masks)
    channels = objective.channels(2)
    cut = (..., *(slice(margin, margin + PATCH),) * 2)
    ready = masks[cut].float().expand(-1, channels, -1, -1)
    torch.manual_seed(0)
    network = models.UNet(1, channels).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters())
    raw = torch.rand(BATCH, 1, PATCH, PATCH, device=device)
    encoded = objective.encode(masks, known, known, SPACING)

    def step(loss) -> None:
        optimizer.zero_grad()
        loss(network(raw)).backward()
        optimizer.step()

    def bare() -> None:
        step(lambda output: F.binary_cross_entropy_with_logits(output, ready))

    def whole() -> None:
        made = encoded if halo is None else objective.encode(masks, known, known, SPACING)
        target, weight = (tensor[cut] for tensor in made)
        step(lambda output: objective.compare(output, target, weight))

    def encode() -> None:
        objective.encode(masks, known, known, SPACING)

    for function in 5 * (bare, whole, encode):  # warm up
        timed(function, device)
    times = [[timed(function, device) for function in (bare, whole, encode)] for _ in range(repeats)]
    bare_ms, whole_ms, encode_ms = (statistics.median(column) for column in zip(*times, strict=True))
    share = statistics.median(row[1] / row[0] for row in times) - 1
    return {
        "objective": name if not options else f"{name} {options}",
        "channels": channels,
        "bare step ms": round(bare_ms, 1),
        "step ms": round(whole_ms, 1),
        "encode ms": round(encode_ms, 2),
        "share of a bare step": f"{share:+.1%}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, help="also write the table there")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = choose_device(arguments.device)
    cases = [(n, {}) for n in objectives.names() if n not in SKIPPED] + [("lov", {"kernel": 7})]
    rows = []
    for name, options in cases:
        rows.append(measure(name, options, arguments.repeats, device))
        if len(rows) == 1:
            print("  ".join(f"{column:>20}" for column in rows[0]))
        print("  ".join(f"{value:>20}" for value in rows[-1].values()), flush=True)
    for name, reason in SKIPPED.items():
        print(f"left out: {name} ({reason})", file=sys.stderr)
    if arguments.csv:
        with arguments.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
