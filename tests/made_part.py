"""Parts of studies that were never trained: networks of random weights, made scores, and a tiny FIB-25."""

import itertools
import json

import numpy as np
import pandas as pd
import torch
from scipy import ndimage

from helpers import checkpoints, datasets, models, objectives, runs, tables
from helpers.datasets import fib25, store

FACTS = {"learning_rate": 1e-3, "n_weights": 9, "threads": 1, "device": "cpu", "commit": "made", "code_hash": "made"}


def write_index(path, names):
    """An index of run -> objective; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("run,objective\n" + "".join(f"{run},{objective}\n" for run, objective in names.items()))
    return path


def make_network(folder, loss, seed, *, kernel=3, shape="square", classes=("mitochondria",)):
    """A run's folder with a checkpoint of random weights, for the phantom at 64 pixels."""
    torch.manual_seed(seed)
    options = {"kernel": kernel, "shape": shape, "vote": True} if loss == "lov" else {}
    channels = objectives.get(loss, **options).channels(2) * len(classes)
    network = models.build("unet", 1, channels, dims=2, width=2, depth=2)
    task = {"objective": loss, "options": options, "classes": list(classes), "spacing": [73.6, 73.6]}
    task |= {"dataset": "phantom", "reduce": 16, "code": "made", "boundaries": []}
    (folder / "checkpoints").mkdir(parents=True)
    checkpoints.save(folder / "checkpoints" / "step-000004.pt", checkpoints.of_network(network, 4, task))
    parameters = {"study": "made", "loss": loss, "kernel": kernel, "shape": shape, "seed": seed, "split": 0}
    parameters |= {"dataset": "phantom", "classes": ",".join(classes), "reduce": 16, "test": True, "steps": 4}
    parameters |= {"network": "unet", "depth": 2}
    for name, content in {"parameters": parameters, "run": FACTS | {"options": options, "seconds": 1.0}}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


def make_fib25(folder, sections=100, side=32):
    """A store that is taken for the published FIB-25: tubes through all sections, shifting from one to the next."""
    rng = np.random.default_rng(0)
    labels = np.zeros((sections, side, side), np.uint32)
    middles = rng.uniform(0, side, (9, 2))
    at = np.stack(np.mgrid[:side, :side], -1)
    for z in range(sections):
        middles += rng.normal(0, 0.2, middles.shape)
        labels[z] = np.linalg.norm(at[..., None, :] - middles, axis=-1).argmin(-1) + 1
    labels[:, 0, 0] = 0
    raw = np.where(fib25.boundaries(labels), 90, 150).astype(np.uint8)

    def fill(root):
        masks, known = {"boundaries": fib25.boundaries(labels)}, {"boundaries": labels > 0}
        more = {"axes": "zyx", "scale": fib25.SCALE, "instances": {"neurons": labels}}
        store.write_volume(root, "sample2", raw, masks, known, **more)

    folder.mkdir()
    store.write(folder / "fib25.zarr", fib25.about(), fib25.source_hashes(), fill)


def make_boundaries(folder, loss, seed, noise):
    """A run's folder with made scores of FIB-25's boundaries, judged."""
    rng = np.random.default_rng([seed, round(10 * noise)])
    data = datasets.load("fib25", split=0, test=True)
    scores = {}
    for role, images in (("validation", data.validation), ("test", data.test)):
        for image in images:
            made = ndimage.gaussian_filter(image.masks[0].astype(float), 0.5) + noise * rng.standard_normal((32, 32))
            scores[f"{role}/{image.name}"] = made.clip(0, 1)[None].astype(np.float32)
    folder.mkdir(parents=True)
    np.savez(folder / "scores.npz", **scores)
    parameters = {"study": "made", "loss": loss, "seed": seed, "split": 0, "dataset": "fib25", "classes": "boundaries"}
    parameters |= {"reduce": 0, "test": True, "steps": 4, "network": "unet", "depth": 2, "learning_rate": 1e-3}
    scale = {"natural_cut": 0.5, "published_cut": None, "link": "logit"}
    facts = FACTS | {"options": {}, "seconds": 1.0, "scale": scale}
    for name, content in {"parameters": parameters, "run": facts}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    runs.judge(folder)


CONDITIONS = [
    (loss, others)
    for loss in ("bce", "tanh_distance", "hot_distance")
    for others in ("discarded", "own", "negatives")
    if (loss, others) != ("tanh_distance", "negatives")
]


def _row(objective, seed, **values):
    """A row of a table with what every made row says."""
    row = dict.fromkeys(tables.COLUMNS, np.nan) | {"study": "made", "objective": objective, "seed": seed}
    row |= {"split": 0, "subset": "test", "options": "", "network": "unet", "depth": 3, "learning_rate": 1e-3}
    row |= {"steps": 50, "cut": 0.5, "parameters": "{}", "commit": "made", "code_hash": "made", "judge_hash": "made"}
    return row | values


def _write(folder, rows):
    """The table of a part, as its analysis writes it."""
    path = folder / "analysis" / "rows.csv"
    path.parent.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(path, index=False)


def make_shapes(folder, shapes, value, *, seeds=8):
    """Rows of parts of one shape each; `value`: shape, objective and seed -> the mean IoU of two images that lie
    0.05 above and below it."""
    counts = {"true_positive": 80, "false_positive": 0, "false_negative": 20, "true_negative": 900}
    counts = {f"{name}_{cut}": number for cut in ("tuned", "natural") for name, number in counts.items()}
    for shape in shapes:
        about = {"dataset": f"phantom-{shape}", "class": "objects"} | counts
        _write(
            folder / shape,
            [
                _row(objective, seed, image=image, iou_tuned=value(shape, objective, seed) + aside, **about)
                for objective in ("bce", "tanh_distance", "hot_distance")
                for seed in range(seeds)
                for image, aside in (("a", 0.05), ("b", -0.05))
            ],
        )


def make_shares(folder, shares, value, *, seeds=8, conditions=CONDITIONS, **different):
    """Rows of parts of sparse labels, as their analyses write them: ``folder/PART/analysis/rows.csv``.

    `shares` is part -> fraction annotated, and `value` a function of loss, others, fraction and seed -> the mean IoU
    and instance F1 of two images, one 0.05 above it and one below; of 0, a run that predicts nothing. `different` are
    columns, or parameters of the runs, that are not as usual.
    """
    for part, fraction in shares.items():
        rows = []
        for (loss, others), seed in itertools.product(conditions, range(seeds)):
            told = {"loss": loss, "annotated": others, "share": fraction, "target": "mitochondria", "seed": seed}
            told |= {"dataset": "phantom", "classes": "mitochondria,tubes,sheets,vesicles", "reduce": 4, "split": 0}
            told = {name: different.get(name, usual) for name, usual in (told | {"block": 64}).items()}
            row = _row(f"{loss}_{others}", seed, dataset=told["dataset"], parameters=json.dumps(told))
            row["class"] = "mitochondria"
            level = value(loss, others, fraction, seed)
            found = 80 if level else 0
            row |= {"true_positive_tuned": found, "false_positive_tuned": 0, "false_negative_tuned": 100 - found}
            row |= {"true_negative_tuned": 900, **{k: v for k, v in different.items() if k in row and k not in told}}
            for image, aside in (("a", 0.05), ("b", -0.05)):
                iou = level + aside * bool(level)
                rows.append(row | {"image": image, "iou_tuned": iou, "instance_f1": iou})
        _write(folder / part, rows)
