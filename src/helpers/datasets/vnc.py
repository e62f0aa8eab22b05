"""VNC: ssTEM of the ventral nerve cord of a *Drosophila* larva, 20 sections of 1024 × 1024 pixels at 4.6 nm.

Sections are 45 to 50 nm thick; 50 nm is written down here. The published encodings differ from section to
section, so a mask is ``> 0`` and nothing else. Every pixel is annotated for every class. Classes overlap (two
thirds of the synapse pixels are membrane), but no pixel is both mitochondrion and synapse.
"""

from pathlib import Path

import numpy as np

from helpers.datasets import store, windows
from helpers.datasets.fetch import downloads_folder, fetch, read_registry

REPOSITORY = "unidesigner/groundtruth-drosophila-vnc"
COMMIT = "4a5f051466d24d8dc1e855ab55658bb1b1dcd6bf"
URL = f"https://raw.githubusercontent.com/{REPOSITORY}/{COMMIT}"
CLASSES = ("membranes", "mitochondria", "synapses")
SCALE = (50.0, 4.6, 4.6)  # nm along z, y, x
BLOCKS = 5  # of sections; as many splits


def about() -> dict:
    """What the data set is, where it is from and on what terms."""
    return {
        "title": "Drosophila larva ventral nerve cord, ssTEM",
        "classes": list(CLASSES),
        "excludes": {"mitochondria": ["synapses"], "synapses": ["mitochondria"]},
        "boundaries": ["membranes"],
        "reduce": 4,
        "source": f"https://github.com/{REPOSITORY}/tree/{COMMIT}",
        "licence": "CC BY-NC-SA 3.0",
        "citation": "Gerhard, Funke, Martel, Cardona, Fetter (2013). Segmented anisotropic ssTEM dataset of "
        "neural tissue. figshare. doi:10.6084/m9.figshare.856713",
    }


def source_hashes() -> dict[str, str]:
    """SHA-256 of every published file, by its path."""
    return read_registry(Path(__file__).with_name("vnc_sha256.txt"))


def prepare(
    progress: bool = True,
    *,
    registry: dict[str, str] | None = None,
    url: str = URL,
    size: int = 1024,
    tries: int = 4,
    delay: float = 1.0,
) -> Path:
    """Download what is not there yet and write the store, unless it is there.

    Parameters
    ----------
    progress, url, tries, delay
        As in `helpers.datasets.fetch.fetch`.
    registry : dict, optional
        SHA-256 of every published file by its path, ``stack1/…``; the data set's own by default.
    size : int
        Height and width that every file must have, in pixels.

    Returns
    -------
    Path
        The store, ``vnc.zarr`` in the folder of prepared data.
    """
    registry = source_hashes() if registry is None else registry
    path = store.prepared_folder() / "vnc.zarr"
    if store.is_current(path, registry):
        return path
    folder = downloads_folder() / "vnc"
    fetch(registry, url, folder, progress=progress, tries=tries, delay=delay)
    raw = _stack(folder, registry, "raw", size)
    if raw.dtype != np.uint8:
        raise ValueError(f"{folder / 'stack1' / 'raw'} holds {raw.dtype}; expected uint8")
    masks = {c: _stack(folder, registry, c, size) > 0 for c in CLASSES}
    annotated = {c: np.ones(raw.shape, bool) for c in CLASSES}

    def fill(root):
        store.write_volume(root, "stack1", raw, masks, annotated, axes="zyx", scale=SCALE)

    store.write(path, {**about(), "thickness": "published as 45 to 50 nm; 50 taken"}, registry, fill)
    return path


def read(reduce: int, split: int, test: bool, lazy: bool = False) -> dict[str, list]:
    """Sections of one split, as `helpers.datasets` describes; those of the test block only if asked for."""
    path, parts = prepare(), {}
    splits = split_sections(store.count_sections(path, "stack1"), split)
    scale = store.read_scale(path, "stack1")
    for role, sections in zip(("train", "validation", "test"), splits, strict=True):
        sections = sections if test or role != "test" else []
        images = windows.read_stack(path, "stack1", CLASSES, sections, reduce, lazy)
        spacing = (scale[1] * reduce, scale[2] * reduce)
        parts[role] = [(f"stack1/{z:02d}", *image, spacing) for z, image in zip(sections, images, strict=True)]
    return parts


def split_sections(sections: int, split: int, gap: int = 2) -> tuple[list[int], list[int], list[int]]:
    """Training, validation and test sections of a split: by block, because neighbours are near copies.

    The stack is cut into five blocks. Split 0 trains on the first three, validates on the fourth and tests on
    the fifth; split k moves all of it on by k blocks, cyclically, so that over the splits every section is
    tested once. Training sections at most `gap` away from a test section are dropped.

    Raises
    ------
    ValueError
        There is no such split.
    """
    if split not in range(BLOCKS):
        raise ValueError(f"split is {split!r}; the VNC stack has {BLOCKS} splits, 0 to {BLOCKS - 1}")
    block = sections // BLOCKS
    order = [(z + split * block) % sections for z in range(sections)]
    test, validation = sorted(order[4 * block :]), sorted(order[3 * block : 4 * block])
    train = [z for z in sorted(order[: 3 * block]) if min(abs(z - t) for t in test) > gap]
    return train, validation, test


def _stack(folder, registry, kind, size):
    """All published images of one kind, (sections, size, size)."""
    from PIL import Image

    sections = []
    for name in sorted(n for n in registry if n.startswith(f"stack1/{kind}/")):
        try:
            with Image.open(folder / name) as image:
                sections.append(np.asarray(image))
        except OSError as error:
            raise ValueError(f"{folder / name} is not a readable image: {error}") from error
        if sections[-1].shape != (size, size):
            raise ValueError(f"{folder / name} has shape {sections[-1].shape}; expected {(size, size)}")
    return np.stack(sections)
