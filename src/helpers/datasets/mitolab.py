"""CEM-MitoLab: about 22 000 small two-dimensional electron micrographs of many specimens, mitochondria annotated.

Published as one archive, ``cem_mitolab.zip``: ``cem_mitolab/<source>/images/*.tiff`` and, of the same names, ``masks``,
whose values number the mitochondria of an image (0: none); here a mask is ``> 0``. A source is a specimen's volume, or
a set of images of one study. Every pixel is annotated. The archive states no pixel size, so one is taken for all, and
said to be nominal.
"""

import hashlib
import io
import json
import re
from pathlib import Path

import numpy as np

from helpers.datasets import store, windows
from helpers.datasets.archives import open_archive, read_member
from helpers.datasets.fetch import downloads_folder, fetch
from helpers.datasets.hashes import first_seen
from helpers.datasets.transfer import require_room

ARCHIVE = "cem_mitolab.zip"
# HTTPS alone: the archive has no published hash to hold it to, so that its server must be known for what it is
URLS = ("https://ftp.ebi.ac.uk/empiar/world_availability/11037/data",)
CLASSES = ("mitochondria",)
PIXEL_SIZE = 8.0  # nm, nominal
PARAMETERS = {"pixel_size": 0.0, "by": "volume"}
SPLITS = 5
SHARES = {"test": 0.05, "validation": 0.15}  # the rest trains
STACK = 2**23  # pixels that are held in memory, and make one volume of the store, at most
MEMBER = re.compile(r"(?:[^/]+/)?(?P<source>[^/]+)/(?P<kind>images|masks)/(?P<name>[^/]+)\.tiff?")


def about() -> dict:
    """What the data set is, where it is from and on what terms."""
    return {
        "title": "CEM-MitoLab, mitochondria in two-dimensional images of many specimens",
        "classes": list(CLASSES),
        "excludes": {},
        "source": "https://www.ebi.ac.uk/empiar/EMPIAR-11037/",
        "licence": "CC0 1.0",
        "citation": "Conrad, Narayan (2023). Instance segmentation of mitochondria in electron microscopy images with "
        "a generalist deep learning model trained on a diverse dataset. Cell Systems 14(1), 58-71. "
        "doi:10.1016/j.cels.2022.12.006. Data: EMPIAR-11037, doi:10.6019/EMPIAR-11037",
        "spacing": "nominal: the archive states no pixel sizes, and the specimens differ",
    }


def source_hashes() -> dict[str, str]:
    """SHA-256 of the archive as it was when first seen here; empty before that, for none is published."""
    return first_seen(downloads_folder() / "mitolab")


def prepare(
    progress: bool = True,
    *,
    pixel_size: float = 0.0,
    urls: tuple[str, ...] = URLS,
    tries: int = 4,
    delay: float = 1.0,
) -> Path:
    """Download the archive and write the store, unless it is there.

    The archive stays as it is, and its members are read one after the other. Images of one source and size become
    one volume ``<source>-<height>x<width>-<number>`` of the store, a stack along z of images that need not be
    neighbours; its attributes ``source`` and ``images`` name them.

    Parameters
    ----------
    progress, tries, delay
        As in `helpers.datasets.fetch.fetch`.
    pixel_size : float
        Nanometres that are written down for a pixel; 0: those of the store that is there, else `PIXEL_SIZE`.
    urls : sequence of str
        Where the archive is published.

    Returns
    -------
    Path
        The store, ``mitolab.zarr`` in the folder of prepared data.

    Raises
    ------
    ValueError
        The archive is damaged or hostile, or its layout is another one.
    """
    if not (np.isfinite(pixel_size) and pixel_size >= 0):
        raise ValueError(f"pixel_size is {pixel_size!r}; expected nanometres, more than 0 (0: as it is stored)")
    path, folder = store.prepared_folder() / "mitolab.zarr", downloads_folder() / "mitolab"
    written = written_hashes(path)
    pixel_size = pixel_size or float(written.get("(pixel size)", f"{PIXEL_SIZE} nm").removesuffix(" nm"))
    stated = {"(pixel size)": f"{float(pixel_size)} nm"}  # what else a store is made from
    known = source_hashes() or {k: v for k, v in written.items() if k not in stated}
    if known and store.is_current(path, {**known, **stated}):
        return path
    hashes = fetch({ARCHIVE: None}, urls, folder, progress=progress, tries=tries, delay=delay)
    with open_archive(folder / ARCHIVE) as archive:  # the masks pack to next to nothing
        unpacked = sum(info.file_size for info in archive.infolist() if "/images/" in info.filename)
    require_room(path.parent, unpacked, "HELPERS_PREPARED")

    def fill(root):
        volumes = []
        for source, names, raw, masks in _stacks(folder / ARCHIVE):
            size = f"{source}-{raw.shape[1]}x{raw.shape[2]}"
            name = f"{size}-{sum(v.startswith(size) for v in volumes):03d}"
            given = {"mitochondria": masks}, {"mitochondria": np.ones(raw.shape, bool)}
            scale, chunks = (1.0, pixel_size, pixel_size), (1, *raw.shape[1:])
            store.write_volume(root, name, raw, *given, axes="zyx", scale=scale, chunks=chunks)
            root[name].attrs.update({"source": source, "images": names})
            volumes.append(name)
        root.attrs["volumes"] = volumes

    store.write(path, about(), {**hashes, **stated}, fill)
    return path


def read(reduce: int, split: int, test: bool, lazy: bool = False, *, by: str = "volume") -> dict[str, list]:
    """Images of one split, as `helpers.datasets` describes; those for testing only if asked for.

    In memory, at ``reduce`` 1, all of them take about 8 bytes a pixel: the published set some 10 GB. `lazy` leaves
    them in the store.

    Parameters
    ----------
    reduce : int
        Block size; of an image whose sides it does not divide, the last rows and columns are left out.
    split : int
        Which of five.
    test : bool
        Read those of the test part too.
    lazy : bool
        Leave the images in the store, to be read window by window.
    by : str
        ``"volume"``: no source is in two parts. ``"image"``, as published: neighbouring images of one source land in
        all of them, and scores are too good.
    """
    import zarr

    path = store.prepared_folder() / "mitolab.zarr"
    path = path if path.exists() else prepare()
    root = zarr.open_group(path, mode="r")
    volumes = {name: dict(root[name].attrs) for name in root.attrs["volumes"]}
    sources = sorted({said["source"] for said in volumes.values()})
    keys = {"volume": sources, "image": [f"{v['source']}/{n}" for v in volumes.values() for n in v["images"]]}
    if by not in keys:
        raise ValueError(f"by is {by!r}; expected 'volume', or 'image' (as published)")
    roles = split_names(keys[by], split)
    parts = {"train": [], "validation": [], "test": []}
    for name, said in volumes.items():
        names = [f"{said['source']}/{image}" for image in said["images"]]
        role = [roles[said["source"] if by == "volume" else image] for image in names]
        chosen = [i for i in range(len(names)) if test or role[i] != "test"]
        if not chosen:
            continue
        scale = store.read_scale(path, name)
        images = windows.read_stack(path, name, CLASSES, chosen, reduce, lazy, trim=True)
        for i, image in zip(chosen, images, strict=True):
            parts[role[i]].append((names[i], *image, (scale[1] * reduce, scale[2] * reduce)))
    return parts


def split_names(names, split: int) -> dict[str, str]:
    """Part of each name: ``"train"`` (80 %), ``"validation"`` (15 %) or ``"test"`` (5 %, at least one each).

    By the order of SHA-256 of ``<split>/<name>``, so that it is the same everywhere.

    Raises
    ------
    ValueError
        There is no such split, or fewer than three names.
    """
    if split not in range(SPLITS):
        raise ValueError(f"split is {split!r}; there are {SPLITS}, 0 to {SPLITS - 1}")
    if len(names) < 3:
        raise ValueError(f"there are {len(names)} to be split into three parts: {', '.join(names)}")
    ordered = sorted(names, key=lambda name: hashlib.sha256(f"{split}/{name}".encode()).hexdigest())
    counts = {role: max(1, round(share * len(names))) for role, share in SHARES.items()}
    roles = [role for role, count in counts.items() for _ in range(count)]
    return dict(zip(ordered, [*roles, *["train"] * (len(names) - len(roles))], strict=True))


def written_hashes(path: Path) -> dict[str, str]:
    """What the store at `path` was made from; empty where there is none."""
    try:
        return dict(json.loads((path / "zarr.json").read_text(encoding="utf-8"))["attributes"]["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _stacks(archive):
    """Source, names, raw and masks, (T, H, W), of images of one source and size, at most `STACK` pixels at once."""
    with open_archive(archive) as opened:
        waiting = {}

        def give(source, shape):
            names, raw, masks = zip(*waiting.pop(shape), strict=True)
            return source, list(names), np.stack(raw), np.stack(masks)

        for source, names in _pairs(archive, opened).items():
            for name, (image, mask) in sorted(names.items()):
                raw = _pixels(archive, opened, image)
                labels = _pixels(archive, opened, mask)
                if raw.dtype != np.uint8 or labels.dtype.kind not in "uib" or raw.shape != labels.shape:
                    raise ValueError(
                        f"{archive}: {image} is {raw.dtype} of shape {raw.shape} and its mask {labels.dtype} of shape "
                        f"{labels.shape}; expected uint8 and integers of one shape"
                    )
                waiting.setdefault(raw.shape, []).append((name, raw, labels > 0))
                pixels = {shape: len(images) * np.prod(shape) for shape, images in waiting.items()}
                if sum(pixels.values()) >= STACK:
                    yield give(source, max(pixels, key=pixels.get))
            for shape in sorted(waiting):
                yield give(source, shape)


def _pairs(archive, opened):
    """Members by source and name: ``{source: {name: (image, mask)}}``, both in order."""
    found = {"images": {}, "masks": {}}
    for member in opened.namelist():
        if match := MEMBER.fullmatch(member):
            found[match["kind"]][match["source"], match["name"]] = member
    images, masks = found["images"], found["masks"]
    alone = sorted("/".join(key) for key in images.keys() ^ masks.keys())
    if alone or not images:
        listed = f"{len(alone)} are without their other half, such as {', '.join(alone[:10])}" if alone else "has none"
        raise ValueError(f"{archive}: expected pairs SOURCE/images/NAME.tiff and SOURCE/masks/NAME.tiff; {listed}")
    pairs = {}
    for source, name in sorted(images):
        if not re.fullmatch(r"[A-Za-z0-9][\w.+@=, ()-]*", source):
            raise ValueError(f"{archive}: source {source!r} cannot be the name of a volume")
        pairs.setdefault(source, {})[name] = images[source, name], masks[source, name]
    return pairs


def _pixels(archive, opened, member):
    import tifffile

    try:
        return np.squeeze(tifffile.imread(io.BytesIO(read_member(archive, opened, member))))
    except (tifffile.TiffFileError, ImportError) as error:  # ImportError: for a compression it has no codec for
        raise ValueError(f"{archive}: {member} is not a readable TIFF image: {error}") from error
