"""FIB-25: FIB-SEM of the medulla of a *Drosophila*, 250 × 250 × 250 voxels of 10 nm, every neuron numbered.

The published labels are supervoxels and a table from supervoxel to body. The class **boundaries** is made from the
bodies: a voxel is boundary where a neighbour in its own section (left, right, above, below) belongs to another body.
Both sides of a face count, so a boundary is at least two voxels wide, and the dark of the membrane (mean grey 99,
against 134 elsewhere) is on both sides of it. Body 0 is no body (a column of voxels in a corner): there nothing is
annotated, and a face to it is no boundary. Bodies keep their numbers as the instances ``neurons``.

Images are sections, in 2-D; `helpers.datasets.instances` gives the neurons in 3-D, to judge what was segmented.
"""

import gzip
import io
from pathlib import Path

import numpy as np

from helpers.datasets import store, windows
from helpers.datasets.fetch import downloads_folder, fetch, read_registry

REPOSITORY = "janelia-flyem/neuroproof_examples"
COMMIT = "ce839e17deaf4c01153827c6d028dfecfbb4b958"
URL = f"https://raw.githubusercontent.com/{REPOSITORY}/{COMMIT}"
FOLDER = "training_sample2"
CLASSES = ("boundaries",)
INSTANCES = ("neurons",)
SCALE = (10.0, 10.0, 10.0)  # nm along z, y, x
BLOCKS = 5  # of sections; as many splits
GAP = 10  # sections left out between two roles: 100 nm, where boundaries overlap by a tenth, as they do at 200 nm


def about() -> dict:
    """What the data set is, where it is from and on what terms."""
    return {
        "title": "Drosophila medulla, FIB-SEM (FIB-25, training sample 2)",
        "classes": list(CLASSES),
        "excludes": {},
        "boundaries": ["boundaries"],
        "source": f"https://github.com/{REPOSITORY}/tree/{COMMIT}/{FOLDER}",
        "licence": "CC BY-SA 3.0",
        "citation": "Parag, Chakraborty, Plaza, Scheffer (2015). A context-aware delayed agglomeration framework for "
        "electron microscopy segmentation. PLoS ONE 10(5): e0125825. doi:10.1371/journal.pone.0125825",
    }


def source_hashes() -> dict[str, str]:
    """SHA-256 of every published file, by its path."""
    return read_registry(Path(__file__).with_name("fib25_sha256.txt"))


def prepare(
    progress: bool = True,
    *,
    registry: dict[str, str] | None = None,
    url: str = URL,
    tries: int = 4,
    delay: float = 1.0,
) -> Path:
    """Download what is not there yet and write the store, unless it is there; parameters as in `vnc.prepare`."""
    registry = source_hashes() if registry is None else registry
    path = store.prepared_folder() / "fib25.zarr"
    if store.is_current(path, registry):
        return path
    folder = downloads_folder() / "fib25"
    fetch(registry, url, folder, progress=progress, tries=tries, delay=delay)
    bodies = read_bodies(folder / FOLDER / "groundtruth.h5.gz")
    raw = _read_raw(folder, registry, bodies.shape)
    known = bodies > 0

    def fill(root):
        masks, annotated = {"boundaries": boundaries(bodies)}, {"boundaries": known}
        store.write_volume(
            root, "sample2", raw, masks, annotated, axes="zyx", scale=SCALE, instances={"neurons": bodies}
        )

    store.write(path, about(), registry, fill)
    return path


def read(reduce: int, split: int, test: bool, lazy: bool = False) -> dict[str, list]:
    """Sections of one split, as `helpers.datasets` describes; those of the test block only if asked for."""
    path, parts = prepare(), {}
    splits = split_sections(store.count_sections(path, "sample2"), split)
    for role, sections in splits.items():
        sections = sections if test or role != "test" else []
        images = windows.read_stack(path, "sample2", CLASSES, sections, reduce, lazy)
        spacing = (SCALE[1] * reduce, SCALE[2] * reduce)
        parts[role] = [(_name(z), *image, spacing) for z, image in zip(sections, images, strict=True)]
    return parts


def instances(objects: str, role: str, split: int) -> list[tuple]:
    """Neurons of each run of consecutive sections of a role, as `helpers.datasets.instances` gives them."""
    path, pieces = prepare(), []
    sections = split_sections(store.count_sections(path, "sample2"), split)[role]
    for run in np.split(sections, np.flatnonzero(np.diff(sections) > 1) + 1) if sections else ():
        labels = store.read_instances(path, "sample2", objects, (slice(int(run[0]), int(run[-1]) + 1),))
        pieces.append((tuple(_name(z) for z in run), labels, SCALE))
    return pieces


def split_sections(sections: int, split: int, gap: int = GAP) -> dict[str, list[int]]:
    """Training, validation and test sections of a split: blocks in z with gaps, because neighbours are near copies.

    The stack is cut into five blocks. Split 0 trains on the first three, validates on the fourth and tests on the
    fifth; split k moves all of it on by k blocks, cyclically. The test block is whole; of the others, sections at
    most `gap` away from a block of another role that is judged (test; for training, validation too) are left out.

    Raises
    ------
    ValueError
        There is no such split.
    """
    if split not in range(BLOCKS):
        raise ValueError(f"split is {split!r}; the FIB-25 stack has {BLOCKS} splits, 0 to {BLOCKS - 1}")
    block = sections // BLOCKS
    order = [(z + split * block) % sections for z in range(sections)]
    test, held = sorted(order[4 * block :]), sorted(order[3 * block : 4 * block])

    def apart(members, others):
        return [z for z in members if min(abs(z - other) for other in others) > gap]

    return {
        "train": apart(sorted(order[: 3 * block]), test + held),
        "validation": apart(held, test),
        "test": test,
    }


def boundaries(bodies: np.ndarray) -> np.ndarray:
    """Voxels with a neighbour in their own section (of the last two axes) that belongs to another body; 0 is none."""
    edge = np.zeros(bodies.shape, bool)
    for one, other in ((np.s_[..., 1:, :], np.s_[..., :-1, :]), (np.s_[..., 1:], np.s_[..., :-1])):
        differ = (bodies[one] != bodies[other]) & (bodies[one] > 0) & (bodies[other] > 0)
        edge[one] |= differ
        edge[other] |= differ
    return edge


def read_bodies(path: Path) -> np.ndarray:
    """Bodies (Z, Y, X) uint32: ``stack`` of supervoxels, looked up in ``transforms`` of (supervoxel, body).

    Raises
    ------
    ValueError
        Not such a file, or a supervoxel without a body.
    """
    import h5py

    try:
        with gzip.open(path) as packed, h5py.File(io.BytesIO(packed.read()), "r") as file:
            stack, table = file["stack"][:], file["transforms"][:]
    except (OSError, EOFError, KeyError) as error:
        raise ValueError(f"{path} holds no `stack` and `transforms` in a gzipped HDF5 file: {error}") from error
    found, place = np.unique(stack, return_inverse=True)
    order = np.argsort(table[:, 0])
    at = np.searchsorted(table[:, 0], found, sorter=order).clip(max=len(table) - 1)
    missing = found[table[order[at], 0] != found]
    if len(missing):
        raise ValueError(f"{path}: {len(missing)} supervoxels without a body in `transforms`, the first {missing[0]}")
    bodies = table[order[at], 1]
    if bodies.min() < 0 or bodies.max() > np.iinfo(np.uint32).max:
        raise ValueError(f"{path}: bodies from {bodies.min()} to {bodies.max()}; expected 32-bit unsigned numbers")
    return bodies.astype(np.uint32)[place].reshape(stack.shape)


def _read_raw(folder, registry, shape):
    """Grey values (Z, Y, X) uint8; z is the number in the file's name."""
    from PIL import Image

    names = sorted(name for name in registry if name.startswith(f"{FOLDER}/grayscale_maps/"))
    sections = []
    for name in sorted(names, key=lambda name: int(name.split(".")[-2])):
        try:
            with Image.open(folder / name) as image:
                sections.append(np.asarray(image))
        except OSError as error:
            raise ValueError(f"{folder / name} is not a readable image: {error}") from error
        if sections[-1].shape != shape[1:] or sections[-1].dtype != np.uint8:
            found = f"{sections[-1].shape} {sections[-1].dtype}"
            raise ValueError(f"{folder / name} is {found}; expected {shape[1:]} uint8, as its labels")
    if len(sections) != shape[0]:
        raise ValueError(f"{folder} has {len(sections)} sections; its labels have {shape[0]}")
    return np.stack(sections)


def _name(z: int) -> str:
    return f"sample2/{z:03d}"
