"""What local occupancy adds: the neighbours' consensus, the voxel's own channel, and the controls beside them.

A consensus is also a smoothing, so its control is the score of a network that was trained on masks, averaged over the
same neighbourhood. Every reading has a cut of its own, tuned on validation by the one rule of all objectives. Missing
votes and noise meet the cut that was tuned without them.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from helpers import calibration, inference, metrics, objectives, postprocess, tables, targets
from helpers.datasets import Image
from helpers.index import Run
from helpers.judging import Ground

PLAIN, BOXED, CONSENSUS, OWN = "bce", "smoothed bce", "consensus", "own channel"
READINGS = (PLAIN, BOXED, OWN, CONSENSUS)
NOWHERE = "none"  # the neighbourhood of a reading that has none
# One row for each run, reading and image.
COLUMNS = (
    *("study", "part", "dataset", "objective", "reading", "neighbourhood", "noise", "dropped"),
    *("class", "image", "split", "subset", "seed", "network", "depth", "learning_rate", "steps", "cut"),
    *(f"{name}_tuned" for name in (*tables.METRICS, *tables.COUNTS)),
    "n_unvoted",
    *(f"{measure}_{kind}" for kind in ("spread", "closeness") for measure in ("auroc", "ece", "brier")),
    *("commit", "code_hash"),
)
# One row for each run, class, measure of uncertainty and share of the voxels, from the surest to the least sure.
SHARE_COLUMNS = (
    *("objective", "reading", "neighbourhood", "class", "split", "seed", "uncertainty"),
    *("bin", "count", "wrong", "error", "uncertainty_mean"),
)


@dataclass(frozen=True)
class Neighbourhood:
    """The neighbours whose occupancy is predicted, or over which a score is averaged."""

    kernel: int
    shape: str

    def __str__(self) -> str:
        return f"{self.shape} {self.kernel}"

    def offsets(self, dims: int) -> tuple[tuple[int, ...], ...]:
        """As :func:`helpers.targets.offsets`."""
        return targets.offsets(self.kernel, dims, self.shape)


class Reading(NamedTuple):
    """One way to read a network's output for an image.

    neighbourhood : str, of the consensus or the filter, or NOWHERE.
    score : (C, *S) float32, NaN where nobody voted.
    spread : (C, *S) float32 of the votes; None where there are none.
    """

    name: str
    neighbourhood: str
    score: np.ndarray
    spread: np.ndarray | None = None


# --- readings


def box_filter(score: Tensor, offsets: Sequence[Sequence[int]]) -> Tensor:
    """Mean of a score over the neighbours that lie inside the image: what a consensus does, without its votes.

    Parameters
    ----------
    score : float tensor, shape (B, C, *S)
    offsets : sequence of K offsets
        As in :func:`helpers.targets.local_occupancy`; of a set that holds each offset's opposite, as squares and discs
        do, the mean is over the very voxels that vote in :func:`helpers.postprocess.consensus`.

    Returns
    -------
    float tensor, shape (B, C, *S)
    """
    copies = score.unsqueeze(2).expand(-1, -1, len(offsets), *score.shape[2:]).flatten(1, 2)
    return postprocess.consensus(copies, offsets)[0]


def kept_votes(number: int, share: float, generator: np.random.Generator) -> list[int]:
    """Channels that are left when a share of them is lost: a random choice, at least one; ascending.

    Parameters
    ----------
    number : int
        Channels.
    share : float
        0 (all are kept) to 1 (one is kept), rounded to whole channels. Of the same generator, started alike, a larger
        share loses the same channels and more.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share of missing votes is {share!r}; expected a number from 0 to 1")
    kept = max(1, round(number * (1 - share)))
    return sorted(generator.permutation(number)[:kept].tolist())


def with_noise(raw: np.ndarray, deviation: float, generator: np.random.Generator) -> np.ndarray:
    """Grey in [0, 1] with independent Gaussian noise of that standard deviation, cut off at 0 and 1; float32."""
    if not 0 <= deviation < math.inf:
        raise ValueError(f"noise is {deviation!r}; expected a standard deviation of grey in [0, 1], 0 or more")
    return (raw + generator.normal(0, deviation, raw.shape)).clip(0, 1).astype(np.float32)


def readings(output: Tensor, objective: objectives.Objective, around: Sequence[Neighbourhood]) -> list[Reading]:
    """Every reading of one output.

    Parameters
    ----------
    output : float tensor, shape (1, channels, *S)
    objective : helpers.objectives.Objective
        ``lov`` gives its own channel and, where there are neighbours to vote, their consensus; any other its score,
        plain and averaged over each of `around`.
    around : sequence of Neighbourhood
    """
    dims = output.ndim - 2
    if objective.name != "lov":
        score = objective.decode(output)
        boxed = [Reading(BOXED, str(a), _array(box_filter(score, a.offsets(dims)))) for a in around]
        return [Reading(PLAIN, NOWHERE, _array(score)), *boxed]
    own = objectives.get("lov", **{**objective.options, "vote": False}).decode(output)
    found = [Reading(OWN, str(neighbourhood_of(objective)), _array(own))]
    return [*found, consensus(torch.sigmoid(output), objective)] if output.shape[1] > own.shape[1] else found


def consensus(
    votes: Tensor, objective: objectives.Objective, share: float = 0.0, generator: np.random.Generator | None = None
) -> Reading:
    """The neighbours' consensus, where a share of the channels is lost; (1, C K, *S) votes in [0, 1]."""
    offsets = neighbourhood_of(objective).offsets(votes.ndim - 2)
    kept = kept_votes(len(offsets), share, generator) if share else range(len(offsets))
    mine = votes.unflatten(1, (-1, len(offsets)))[:, :, list(kept)].flatten(1, 2)
    mean, spread = postprocess.consensus(mine, [offsets[k] for k in kept])
    return Reading(CONSENSUS, str(neighbourhood_of(objective)), _array(mean), _array(spread))


def neighbourhood_of(objective: objectives.Objective) -> Neighbourhood:
    """Of an objective ``lov``."""
    return Neighbourhood(objective.options["kernel"], objective.options["shape"])


def _array(tensor: Tensor) -> np.ndarray:
    return tensor[0].numpy()


# --- uncertainty against errors


def auroc(value: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve: how often a positive has the larger value of a pair; of equal values half.

    Parameters
    ----------
    value : (n,) float
    positive : (n,) bool

    Returns
    -------
    float
        NaN where all are positive, or none.
    """
    from scipy.stats import rankdata

    if np.isnan(value).any():
        raise ValueError(f"{int(np.isnan(value).sum())} of {value.size} values are NaN; leave them out")
    n = int(np.count_nonzero(positive))
    if n in (0, positive.size):
        return math.nan
    above = rankdata(value)[positive].sum() - n * (n + 1) / 2
    return float(above / (n * (positive.size - n)))


def error_by_share(uncertainty: np.ndarray, wrong: np.ndarray, bins: int) -> list[dict[str, float]]:
    """Share of wrong voxels from the surest to the least sure.

    Parameters
    ----------
    uncertainty : (n,) float
    wrong : (n,) bool
    bins : int
        Parts of the voxels, cut at quantiles of the uncertainty; equal values stay together, so that parts can differ
        in size.

    Returns
    -------
    list of dict
        For each part ``bin`` (from 0), ``count``, ``wrong``, ``error`` (their ratio, NaN of an empty part) and
        ``uncertainty_mean``.
    """
    if bins < 1:
        raise ValueError(f"bins is {bins}; expected at least 1")
    edges = np.quantile(uncertainty, np.arange(1, bins) / bins)
    part = np.searchsorted(edges, uncertainty, side="left")
    count, errors, total = (np.bincount(part, w, bins) for w in (None, wrong, uncertainty))
    with np.errstate(invalid="ignore"):
        columns = {
            "count": count,
            "wrong": errors.astype(int),
            "error": errors / count,
            "uncertainty_mean": total / count,
        }
    return [{"bin": b} | {name: values[b].item() for name, values in columns.items()} for b in range(bins)]


# --- a run judged


def judge(
    network: torch.nn.Module,
    objective: objectives.Objective,
    truth: Ground,
    /,
    *,
    around: Sequence[Neighbourhood] = (),
    noise: Sequence[float] = (),
    dropped: Sequence[float] = (),
    bins: int = 10,
    seed: int,
    **run: Any,
) -> tuple[list[dict], list[dict]]:
    """Every reading of one network on every judged image, as it is, with noise and with missing votes.

    Parameters
    ----------
    network, objective
        Of one checkpoint.
    truth : helpers.judging.Ground
    around : sequence of Neighbourhood
        To average the score over, where the objective is not ``lov``.
    noise : sequence of float
        Standard deviations added to the judged images' grey in [0, 1]. The same noise for all runs of a seed.
    dropped : sequence of float
        Shares of the occupancy channels that are lost. The same channels for all images of a run.
    bins : int
        As in :func:`error_by_share`.
    seed : int
        The run's.
    **run
        The rows' other columns.

    Returns
    -------
    rows, shares : lists of dict
        With the keys COLUMNS and SHARE_COLUMNS. An image without a known voxel of a class gives no row for it; where
        no cut could be chosen, metrics are NaN. Voxels without any vote count as background. ``ece`` and ``brier`` are
        of the probability that a voxel is wrong, by a logistic fit from its uncertainty to errors on validation; NaN
        where validation has no error, or nothing else.
    """
    before = [readings(inference.predict(network, t.image.raw), objective, around) for t in truth.validation]
    cuts = {
        (r.name, r.neighbourhood, c): postprocess.best_cut(
            [found[i].score[c] for found in before],
            [t.image.masks[c] for t in truth.validation],
            [t.image.known[c] for t in truth.validation],
        )
        for i, r in enumerate(before[0])
        for c in range(len(truth.classes))
    }
    chances = _chances_of_error(before, truth, cuts)
    rows, pooled = [], {}
    for t, reading, level, share in _judged(network, objective, truth, around, noise, dropped, seed):
        for c, name in enumerate(truth.classes):
            known = t.image.known[c]
            if not known.any():
                continue
            cut = cuts[reading.name, reading.neighbourhood, c]
            row = run | {"seed": seed, "reading": reading.name, "neighbourhood": reading.neighbourhood}
            row |= {"noise": level, "dropped": share, "class": name, "image": t.image.name, "subset": truth.subset}
            row |= {"cut": cut} | _at_cut(reading.score[c], cut, t.image.masks[c], known)
            doubts = {} if level or share or np.isnan(cut) else _doubts(reading, c, cut, known)
            wrong = _wrong(reading, c, cut, t.image)
            for kind, doubt in doubts.items():
                row[f"auroc_{kind}"] = auroc(doubt, wrong)
                chance = chances[reading.name, reading.neighbourhood, c, kind]
                if chance.defined:
                    found = calibration.reliability(chance(doubt), wrong)
                    row |= {f"ece_{kind}": found.ece, f"brier_{kind}": found.brier}
                pooled.setdefault((reading.name, reading.neighbourhood, name, kind), []).append((doubt, wrong))
            rows.append({column: row.get(column, math.nan) for column in COLUMNS})
    shares = []
    for (reading, neighbourhood, name, kind), parts in pooled.items():
        own = {"reading": reading, "neighbourhood": neighbourhood, "class": name, "uncertainty": kind, "seed": seed}
        for part in error_by_share(*map(np.concatenate, zip(*parts, strict=True)), bins):
            shares.append({column: (run | own | part)[column] for column in SHARE_COLUMNS})
    return rows, shares


def _judged(network, objective, truth, around, noise, dropped, seed) -> Iterator:
    """Each judged image with each reading, the level of noise and the share of missing votes."""
    votes = objective.name == "lov" and len(neighbourhood_of(objective).offsets(network.dims)) > 1
    for position, t in enumerate(truth.judged):
        for level in (0.0, *noise):
            generator = np.random.default_rng([seed, position, round(1e6 * level)])
            raw = with_noise(t.image.raw, level, generator) if level else t.image.raw
            output = inference.predict(network, raw)
            for reading in readings(output, objective, around):
                yield t, reading, level, 0.0
            for share in dropped if votes and not level else ():
                yield t, consensus(torch.sigmoid(output), objective, share, np.random.default_rng(seed)), 0.0, share


def _at_cut(score: np.ndarray, cut: float, mask: np.ndarray, known: np.ndarray) -> dict[str, Any]:
    if np.isnan(cut):
        return {}
    counted = metrics.counts(score > cut, mask, known)
    values = {f"{name}_tuned": getattr(counted, name) for name in (*tables.METRICS, *tables.COUNTS)}
    return values | {"n_unvoted": int(np.isnan(score[known]).sum())}


def _doubts(reading: Reading, c: int, cut: float, known: np.ndarray) -> dict[str, np.ndarray]:
    """How uncertain each known voxel is: the spread of its votes, and how close its score is to the cut."""
    found = {} if reading.spread is None else {"spread": reading.spread[c][known]}
    return found | {"closeness": -np.abs(reading.score[c] - cut)[known]}


def _wrong(reading: Reading, c: int, cut: float, image: Image) -> np.ndarray:
    """Whether each known voxel is on the wrong side of the cut."""
    return ((reading.score[c] > cut) != image.masks[c])[image.known[c]]


def _chances_of_error(before: Sequence[Sequence[Reading]], truth: Ground, cuts: dict) -> dict:
    """For each reading, class and kind of uncertainty the probability that a voxel is wrong, fitted on validation."""
    parts = {}
    for t, found in zip(truth.validation, before, strict=True):
        for reading in found:
            for c in range(len(truth.classes)):
                cut, known = cuts[reading.name, reading.neighbourhood, c], t.image.known[c]
                wrong = _wrong(reading, c, cut, t.image)
                for kind, doubt in ({} if np.isnan(cut) else _doubts(reading, c, cut, known)).items():
                    parts.setdefault((reading.name, reading.neighbourhood, c, kind), []).append((doubt, wrong))
    return {
        key: calibration.fit_logistic(*zip(*found, strict=True), [np.ones(w.shape, bool) for _, w in found], "identity")
        for key, found in parts.items()
    }


def describe(run: Run) -> dict[str, Any]:
    """The columns of COLUMNS that a run itself tells."""
    deep = "blocks" if run.parameters["network"] == "resnet" else "depth"
    told = {name: run.parameters[name] for name in ("dataset", "split", "seed", "network", "steps")}
    told |= {name: run.facts[name] for name in ("learning_rate", "commit", "code_hash")}
    return told | {"objective": run.objective, "depth": run.parameters[deep]}
