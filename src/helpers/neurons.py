"""Boundaries of sections to neurons in 3-D: scores stacked, segmented as one volume, compared with numbered neurons.

The network sees sections one by one, and boundaries are drawn within sections alone. Where a membrane lies in the plane
of the sections nothing parts the neuron above it from the one below, however right each section is: what the true
boundaries score by the same steps is the ceiling, and stands beside every result.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from helpers import datasets, instances, partitions

TRUTHS = ("numbered", "pieces")
# What a comparison gives, for each truth.
VALUES = (
    *("n_true", "n_predicted", "voi_split", "voi_merge", "voi"),
    *("adapted_rand_f_skimage", "adapted_rand_f_snemi", "adapted_rand_precision", "adapted_rand_recall"),
)


@dataclass(frozen=True, eq=False)
class Block:
    """Consecutive sections with their neurons.

    Attributes
    ----------
    images : tuple of str
        Names of the sections, in the order of the first axis.
    neurons : mapping
        For each of TRUTHS, (Z, Y, X) unsigned integers in native pixels; 0 is no neuron. ``numbered``: as published.
        ``pieces``: what of each neuron hangs together (by faces) within the block, each piece for itself, because a
        neuron that leaves the block and comes back cannot be joined by what is in it.
    spacing : tuple of float
        nm per voxel of the scores, along z, y and x.
    reduce : int
        In-plane, of the scores.
    """

    images: tuple[str, ...]
    neurons: Mapping[str, np.ndarray]
    spacing: tuple[float, float, float]
    reduce: int


def blocks(dataset: str, objects: str, role: str, *, split: int = 0, reduce: int = 1) -> tuple[Block, ...]:
    """The blocks of one role of a data set that has numbered objects; errors as :func:`helpers.datasets.instances`."""
    from skimage.measure import label

    found = []
    for piece in datasets.instances(dataset, objects, role, split=split):
        z, y, x = piece.spacing
        pieces = label(piece.labels, background=0, connectivity=1)
        truths = dict(zip(TRUTHS, (piece.labels, pieces), strict=True))
        found.append(Block(piece.images, truths, (z, y * reduce, x * reduce), reduce))
    return tuple(found)


def stack(scores: Mapping[str, np.ndarray], block: Block) -> np.ndarray:
    """Scores of a block's sections as a volume.

    Parameters
    ----------
    scores : mapping
        Name of a section -> (Y, X) float: the score of the boundary class.

    Returns
    -------
    (Z, Y, X) float

    Raises
    ------
    ValueError
        A section without scores, or of another size than the block's neurons, reduced.
    """
    missing = [name for name in block.images if name not in scores]
    if missing:
        raise ValueError(f"no scores of {missing[0]} and {len(missing) - 1} more of {len(block.images)} sections")
    volume = np.stack([scores[name] for name in block.images])
    size = tuple(n // block.reduce for n in block.neurons["numbered"].shape[1:])
    if volume.shape[1:] != size:
        raise ValueError(f"scores of {block.images[0]} have shape {volume.shape[1:]}; expected {size}")
    return volume


def best_height(
    members: Sequence[Block],
    volumes: Sequence[np.ndarray],
    cut: float,
    *,
    within_sections: bool = False,
    heights: Sequence[float] = instances.SEED_HEIGHTS_NM,
) -> float:
    """The seed height with the lowest variation of information against the numbered neurons, over blocks.

    Parameters
    ----------
    members : sequence of Block
        Of validation.
    volumes : sequence of (Z, Y, X) float
        Their scores, high on boundaries.
    cut : float
    within_sections, heights
        As in :func:`helpers.instances.best_neuron_height`.
    """
    truths = [block.neurons["numbered"] for block in members]
    reduce = members[0].reduce

    def bits(labels, truth, known):
        table = partitions.contingency(instances.enlarge(labels, reduce), truth, known)
        return partitions.variation_of_information(table).total

    return instances.best_neuron_height(
        *(volumes, cut, truths, [truth > 0 for truth in truths], [block.spacing for block in members], bits, heights),
        within_sections=within_sections,
    )


def segment(
    volume: np.ndarray, block: Block, cut: float, seed_height_nm: float, *, within_sections: bool = False
) -> np.ndarray:
    """:func:`helpers.instances.neurons` of a block's scores: (Z, Y, X) int32."""
    return instances.neurons(volume, cut, block.spacing, seed_height_nm, within_sections=within_sections)


def compare(labels: np.ndarray, block: Block) -> list[dict[str, Any]]:
    """A segmentation of a block against each of TRUTHS.

    Parameters
    ----------
    labels : (Z, Y, X) integers
        At the pixels of the scores.

    Returns
    -------
    list of dict
        For each truth ``truth``, ``n_voxels`` (those of its neurons) and VALUES; bits per voxel, F-scores as
        :func:`helpers.partitions.adapted_rand`, precision and recall by scikit-image's rule.
    """
    found, native = [], instances.enlarge(labels, block.reduce)
    for name, truth in block.neurons.items():
        table = partitions.contingency(native, truth, truth > 0)
        information, rand = partitions.variation_of_information(table), partitions.adapted_rand(table)
        values = (
            *(len(table.truth_ids), int((table.predicted_ids > 0).sum()), *information, information.total),
            *(rand.f_score, partitions.adapted_rand(table, "snemi").f_score, rand.precision, rand.recall),
        )
        found.append({"truth": name, "n_voxels": table.n_voxels} | dict(zip(VALUES, values, strict=True)))
    return found
