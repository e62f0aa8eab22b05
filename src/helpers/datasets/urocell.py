"""UroCell: FIB-SEM of the urinary bladder of a mouse, sub-volumes of 256 × 256 × 256 voxels, partly annotated.

Each class is annotated in some of the sub-volumes alone, and which these are is told by which files are published:

- mitochondria and endolysosomes in five, fusiform vesicles in four of these;
- the Golgi apparatus precisely in two, one of which has no other class. Its approximate outlines, in seven, follow
  no border and are not used.

A class that has no file for a sub-volume is not annotated there: unknown, and never background. Mitochondria,
endolysosomes and Golgi share no voxel and exclude each other; outlines of vesicles run into the others' by up to 0.2 %.

Voxels are 16 × 16 × 15 nm (x, y, z) by the paper; the files' headers say otherwise, and are not believed. Files are
stored x, y, z, and read here as z, y, x. Names give a sub-volume's place in the block, in steps of 256 voxels along
x, y, z: 3-3-0 and 4-3-0 touch (the mitochondria go on across the face), so they are always in the same role.
"""

from pathlib import Path

import numpy as np

from helpers.datasets import store, windows
from helpers.datasets.fetch import downloads_folder, fetch, read_registry

REPOSITORY = "MancaZerovnikMekuc/UroCell"
COMMIT = "4bab22add57dd00dacb7ecffae2205e6d1422299"
URL = f"https://raw.githubusercontent.com/{REPOSITORY}/{COMMIT}"
FOLDERS = {
    "mitochondria": "mito/binary",
    "endolysosomes": "lyso/binary",
    "vesicles": "fv/binary",
    "golgi": "golgi/precise/binary",
}
CLASSES = tuple(FOLDERS)
INSTANCES = ("mitochondria",)
SCALE = (15.0, 16.0, 16.0)  # nm along z, y, x
GROUPS = (("0-0-0",), ("1-0-3",), ("3-2-1",), ("3-3-0", "4-3-0"))  # as many splits; what touches stays together
ALWAYS = ("2-2-3",)  # the Golgi apparatus alone is annotated in it: it trains in every split


def about() -> dict:
    """What the data set is, where it is from and on what terms."""
    apart = ("mitochondria", "endolysosomes", "golgi")
    return {
        "title": "UroCell, mouse urinary bladder, FIB-SEM",
        "classes": list(CLASSES),
        "excludes": {c: [other for other in apart if other != c] for c in apart},
        "boundaries": [],
        "source": f"https://github.com/{REPOSITORY}/tree/{COMMIT}",
        "licence": "CC BY-NC-SA 4.0",
        "citation": "Žerovnik Mekuč, Bohak, Hudoklin, Kim, Romih, Kim, Marolt (2020). Automatic segmentation of "
        "mitochondria and endolysosomes in volumetric electron microscopy data. Computers in Biology and Medicine "
        "119: 103693. doi:10.1016/j.compbiomed.2020.103693",
    }


def source_hashes() -> dict[str, str]:
    """Git blob hash (40 hexadecimal digits) of every file used, by its path."""
    return read_registry(Path(__file__).with_name("urocell_blobs.txt"))


def prepare(
    progress: bool = True,
    *,
    registry: dict[str, str] | None = None,
    url: str = URL,
    size: int = 256,
    tries: int = 4,
    delay: float = 1.0,
) -> Path:
    """Download what is not there yet and write the store, unless it is there; parameters as in `vnc.prepare`."""
    registry = source_hashes() if registry is None else registry
    path = store.prepared_folder() / "urocell.zarr"
    if store.is_current(path, registry):
        return path
    folder = downloads_folder() / "urocell"
    missing = [name for name in registry if not (folder / name).is_file()]
    try:
        fetch(registry, url, folder, progress=progress, tries=tries, delay=delay)
    except (ConnectionError, OSError) as error:
        if not missing:
            raise
        raise type(error)(
            f"UroCell needs {len(registry)} files, and {len(missing)} are missing from {folder}, "
            f"{sum(name.startswith('data/') for name in missing)} of them raw volumes (the first ten: "
            f"{', '.join(missing[:10])}): {error}"
        ) from error
    volumes = sorted(_volume(name) for name in registry if name.startswith("data/"))

    def fill(root):
        for volume in volumes:
            raw = _read(folder, f"data/fib1-{volume}.nii.gz", size)
            masks, annotated = {}, {}
            for one, kind in FOLDERS.items():
                name = f"{kind}/fib1-{volume}.nii.gz"
                there = name in registry
                masks[one] = _read(folder, name, size) > 0 if there else np.zeros(raw.shape, bool)
                annotated[one] = np.full(raw.shape, there)
            name = f"mito/instance/fib1-{volume}.nii.gz"
            numbered = {"mitochondria_instances": _read(folder, name, size)} if name in registry else {}
            store.write_volume(root, volume, raw, masks, annotated, axes="zyx", scale=SCALE, instances=numbered)

    store.write(path, {**about(), "volumes": volumes}, registry, fill)
    return path


def read(reduce: int, split: int, test: bool, lazy: bool = False) -> dict[str, list]:
    """Sub-volumes of one split, in 3-D, as `helpers.datasets` describes; `reduce` acts in the plane of x and y."""
    path, parts = prepare(), {}
    spacing = (SCALE[0], SCALE[1] * reduce, SCALE[2] * reduce)
    for role, volumes in split_volumes(split).items():
        parts[role] = [
            (volume, *windows.read_image(path, volume, CLASSES, reduce, lazy), spacing)
            for volume in (volumes if test or role != "test" else ())
        ]
    return parts


def instances(objects: str, role: str, split: int) -> list[tuple]:
    """Numbered mitochondria of the sub-volumes of a role in which they are, as `helpers.datasets.instances` says."""
    path, pieces = prepare(), []
    for volume in split_volumes(split)[role]:
        if f"mito/instance/fib1-{volume}.nii.gz" in store.read_attributes(path)["sha256"]:
            pieces.append(((volume,), store.read_instances(path, volume, f"{objects}_instances"), SCALE))
    return pieces


def split_volumes(split: int) -> dict[str, list[str]]:
    """Sub-volumes by role: split k tests on group k of `GROUPS`, validates on the next, and trains on the rest.

    Raises
    ------
    ValueError
        There is no such split.
    """
    if split not in range(len(GROUPS)):
        raise ValueError(f"split is {split!r}; UroCell has {len(GROUPS)} splits, 0 to {len(GROUPS) - 1}")
    order = GROUPS[split:] + GROUPS[:split]
    train = sorted(volume for group in order[2:] for volume in group)
    return {"train": [*train, *ALWAYS], "validation": list(order[1]), "test": list(order[0])}


def _volume(name: str) -> str:
    return name.rsplit("fib1-", 1)[1].removesuffix(".nii.gz")


def _read(folder, name, size):
    """A volume (Z, Y, X) of whole numbers, uint8 where they fit and uint16 else, whatever type its header claims."""
    import nibabel

    try:
        array = np.asanyarray(nibabel.load(folder / name).dataobj)
    except Exception as error:  # nibabel's, gzip's and zlib's own
        raise ValueError(f"{folder / name} is not a readable NIfTI volume: {error}") from error
    if array.shape != (size,) * 3:
        raise ValueError(f"{folder / name} has shape {array.shape}; expected {(size,) * 3}")
    low, high = array.min(), array.max()
    whole = array.astype(np.uint16 if high > 255 else np.uint8) if 0 <= low and high < 2**16 else None
    if whole is None or (whole != array).any():
        raise ValueError(f"{folder / name} holds {array.dtype} from {low} to {high}; expected whole numbers to 65535")
    return np.ascontiguousarray(whole.T)
