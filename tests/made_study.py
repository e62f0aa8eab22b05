"""A study that was never trained: run folders with made scores on the phantom, judged as those of trained networks."""

import json
from pathlib import Path

import numpy as np
from scipy import ndimage

from helpers import datasets, runs

CLASSES = ("mitochondria", "membranes")
# Objective -> noise of its scores, the natural and the published cut on them, and what the scores are.
QUALITY = {
    "bce": (0.9, 0.5, 0.5, "logit"),
    "dice": (1.0, 0.5, 0.5, "logit"),
    "tanh_distance": (0.75, 0.0, 0.0, "atanh"),
    "signed_distance": (1.4, 0.0, 2.0, "identity"),
}


def make_study(folder: Path, seeds=8, objectives=tuple(QUALITY), study="made", classes=CLASSES, reduce=16) -> Path:
    """``folder/runs`` with a folder for each objective and seed."""
    data = datasets.load("phantom", classes, reduce=reduce, split=0, test=True)
    for objective in objectives:
        for seed in range(seeds):
            _run(folder / "runs" / f"{objective}-seed{seed}", data, objective, seed, study, classes, reduce)
    return folder


def _run(folder, data, objective, seed, study, classes, reduce):
    folder.mkdir(parents=True)
    noise, natural, published, link = QUALITY[objective]
    rng = np.random.default_rng([seed, sorted(QUALITY).index(objective)])
    noise *= 1 + 0.08 * rng.standard_normal()
    spoiled = {"signed_distance": 1.2}.get(objective, 0.15)  # how far the natural cut is from a good one
    scores = {}
    for subset, images in (("validation", data.validation), ("test", data.test)):
        for image in images:
            z = np.stack([_logit(m, rng, noise) - spoiled for m in image.masks])
            made = {"logit": 1 / (1 + np.exp(-z)), "atanh": np.tanh(z / 2), "identity": z}[link]
            scores[f"{subset}/{image.name}"] = made.astype(np.float32)
    np.savez_compressed(folder / "scores.npz", **scores)
    parameters = {"study": study, "loss": objective, "seed": seed, "dataset": "phantom", "reduce": reduce, "split": 0}
    parameters |= {"classes": ",".join(classes), "network": "unet", "depth": 3, "test": True}
    parameters |= {"learning_rate": 1e-3, "steps": 50}
    facts = {"options": {}, "scale": {"natural_cut": natural, "published_cut": published, "link": link}}
    facts |= {
        "learning_rate": 1e-3,
        "n_weights": 999,
        "threads": 1,
        "device": "cpu",
        "commit": "made",
        "code_hash": "made",
    }
    history = [
        {"step": s, "loss": 1 / s, "IoU": 0.8 * (1 - np.exp(-s / 20)) - 0.02 * noise, "seconds": s} for s in (10, 50)
    ]
    for name, content in {"history": history, "parameters": parameters, "run": facts | {"seconds": 10.0}}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    runs.judge(folder)


def _logit(mask, rng, noise):
    smooth = ndimage.gaussian_filter(rng.standard_normal(mask.shape), 1.5)
    return 5 * ndimage.gaussian_filter(mask.astype(float), 0.7) - 2.5 + noise * smooth / smooth.std()
