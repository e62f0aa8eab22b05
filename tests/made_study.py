"""A study that was never trained: run folders with made scores on the phantom, and rows counted from them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from helpers import datasets, tables
from helpers.metrics import counts

CLASSES = ("mitochondria", "membranes")
# Objective -> noise of its scores, and the natural and published cuts on them.
QUALITY = {
    "bce": (0.9, 0.5, 0.5),
    "dice": (1.0, 0.5, 0.5),
    "tanh_distance": (0.75, 0.0, 0.0),
    "signed_distance": (1.4, 0.0, 2.0),
}


def make_study(folder: Path, seeds=8, objectives=tuple(QUALITY), study="made", classes=CLASSES, reduce=16) -> Path:
    """``folder/runs`` with a folder for each objective and seed, and ``folder/results/trivial.csv``."""
    data = datasets.load("phantom", classes, reduce=reduce, split=0, test=True)
    for objective in objectives:
        for seed in range(seeds):
            _run(folder / "runs" / f"{objective}-seed{seed}", data, objective, seed, study, classes, reduce)
    (folder / "results").mkdir(parents=True, exist_ok=True)
    trivial(data, study).to_csv(folder / "results" / "trivial.csv", index=False)
    return folder


def _run(folder, data, objective, seed, study, classes, reduce):
    folder.mkdir(parents=True)
    noise, natural, published = QUALITY[objective]
    rng = np.random.default_rng([seed, sorted(QUALITY).index(objective)])
    noise *= 1 + 0.08 * rng.standard_normal()
    spoiled = {"signed_distance": 1.2}.get(objective, 0.15)  # how far the natural cut is from a good one
    scores, rows, bins = {}, [], []
    parameters = {"study": study, "loss": objective, "seed": seed, "dataset": "phantom", "reduce": reduce, "split": 0}
    parameters |= {"classes": ",".join(classes), "depth": 3, "test": True}
    for subset, images in (("validation", data.validation), ("test", data.test)):
        for image in images:
            made = [_logit(m, rng, noise) - spoiled for m in image.masks]
            probability = [1 / (1 + np.exp(-z)) for z in made]
            score = {"tanh_distance": [np.tanh(z / 2) for z in made], "signed_distance": made}.get(
                objective, probability
            )
            scores[f"{subset}/{image.name}"] = np.stack(score).astype(np.float32)
            for k, name in enumerate(classes):
                key = {
                    "study": study, "dataset": "phantom", "objective": objective, "options": "{}", "class": name,
                    "image": image.name, "split": 0, "subset": subset, "seed": seed,
                }  # fmt: skip
                bins += _bins(key, made[k], image.masks[k])
                if subset == "test":
                    tuned = {"tanh_distance": -0.1, "signed_distance": -1.2}.get(objective, 0.45)
                    cuts = {"natural": natural, "tuned": tuned, "published": published}
                    rows.append(key | _numbers(score[k], made[k], image.masks[k], cuts, rng))
                    rows[-1] |= {"parameters": json.dumps(parameters), "seconds": 10.0 + seed}
                    rows[-1] = {c: "made" if c.endswith("hash") else np.nan for c in tables.COLUMNS} | rows[-1]
    pd.DataFrame(rows).to_csv(folder / "rows.csv", index=False)
    pd.DataFrame(bins).to_csv(folder / "reliability.csv", index=False)
    history = [
        {"step": s, "loss": 1 / s, "IoU": 0.8 * (1 - np.exp(-s / 20)) - 0.02 * noise, "seconds": s} for s in (10, 50)
    ]
    (folder / "history.json").write_text(json.dumps(history))
    (folder / "parameters.json").write_text(json.dumps(parameters))
    np.savez_compressed(folder / "scores.npz", **scores)


def _logit(mask, rng, noise):
    smooth = ndimage.gaussian_filter(rng.standard_normal(mask.shape), 1.5)
    return 5 * ndimage.gaussian_filter(mask.astype(float), 0.7) - 2.5 + noise * smooth / smooth.std()


def _numbers(score, logit, mask, cuts, rng):
    row = {"learning_rate": 1e-3, "steps": 50, "cut": cuts["tuned"], "seed_height_nm": 40.0}
    row |= {"n_weights": 999, "threads": 1, "device": "cpu", "commit": "made", "code_hash": "made"}
    for cut, value in cuts.items():
        row |= counted(score > value, mask, cut)
    n_true, n_predicted = ndimage.label(mask)[1], ndimage.label(score > cuts["tuned"])[1]
    matched = int(0.8 * min(n_true, n_predicted))
    row |= {"n_true": n_true, "n_predicted": n_predicted, "n_matched": matched}
    row |= {"instance_precision": matched / n_predicted, "instance_recall": matched / n_true}
    row |= {"instance_f1": 2 * matched / (n_true + n_predicted), "panoptic_quality": 0.6}
    row |= {"adapted_rand_f_skimage": 0.8, "adapted_rand_f_snemi": 0.7}
    row |= {"voi_split": 0.3 + 0.1 * rng.random(), "voi_merge": 0.2}
    row["voi"] = row["voi_split"] + row["voi_merge"]
    for kind, probability in (("raw", 1 / (1 + np.exp(-logit))), ("fitted", 1 / (1 + np.exp(-2 * logit - 0.3)))):
        row[f"brier_{kind}"] = ((probability - mask) ** 2).mean()
        row[f"ece_{kind}"], row[f"mce_{kind}"] = (0.08, 0.3) if kind == "raw" else (0.02, 0.1)
        row[f"confidence_foreground_{kind}"] = probability[mask].mean()
        row[f"confidence_background_{kind}"] = (1 - probability)[~mask].mean()
    return row


def counted(found, mask, cut):
    """Overlap of one prediction as columns of that cut."""
    result = counts(found, mask)
    names = "iou dice accuracy area_ratio true_positive false_positive false_negative true_negative"
    return {f"{name}_{cut}": getattr(result, name) for name in names.split()}


def _bins(key, logit, mask):
    rows = []
    for kind, probability in (("raw", 1 / (1 + np.exp(-logit))), ("fitted", 1 / (1 + np.exp(-2 * logit - 0.3)))):
        index = np.minimum((15 * probability).astype(int), 14)
        for b in np.unique(index):
            at = index == b
            said = {"bin": int(b), "count": int(at.sum())}
            rows.append(
                key | {"kind": kind} | said | {"probability": probability[at].mean(), "positive": mask[at].mean()}
            )
    return rows


def trivial(data, study):
    """Rows of predictors that learned nothing."""
    rows = []
    for image in data.test:
        for k, name in enumerate(data.classes):
            mask = image.masks[k]
            found = {
                "all_background": np.zeros_like(mask),
                "all_foreground": np.ones_like(mask),
                "dilated_truth": ndimage.binary_dilation(mask, iterations=2),
            }
            for objective, prediction in found.items():
                key = {"study": study, "dataset": data.name, "objective": objective, "options": "{}", "class": name}
                key |= {"image": image.name, "split": 0, "subset": "test", "seed": 0}
                cuts = (counted(prediction, mask, cut) for cut in ("natural", "tuned", "published"))
                rows.append(key | {c: v for columns in cuts for c, v in columns.items()})
    return pd.DataFrame(rows)
