"""Drishti-GS: colour photographs of the fundus with the optic disc, 50 to train and 51 to test, at 569 pixels' width.

The published files (about 2050 × 1750 pixels) are reduced once: photographs by a Lanczos filter, saved as JPEG of
quality 95, masks by a box filter. A mask is the mean of four experts' outlines; the class **disc** is where it is above
one half. The reduced files lie in ``$HELPERS_DATA/drishti``, laid out as `helpers.datasets.folder` says; where they are
there, nothing is downloaded. No hash and no pixel size are published: downloads are held to their first sight, and
distances are in pixels of the reduced photographs.

The licence is for research. The photographs are of patients' eyes, and this project shows none of them.
"""

import os
from pathlib import Path

from helpers.datasets.fetch import aside, downloads_folder, fetch
from helpers.datasets.folder import Folder

REPOSITORY = "subhamshome/optic-disc-segmentation-drishtigs"
COMMIT = "76bdc442bbc530e6ad42d27600652b1e6bf9d80a"
URL = f"https://raw.githubusercontent.com/{REPOSITORY}/{COMMIT}"
WIDTH = 569
CLASSES = ("disc",)
CODE = ("datasets/drishti", "datasets/folder", "datasets/pictures")  # what decides its images
PARTS = {"train": "Training", "test": "Test"}  # here, and as published


def about() -> dict:
    """What the data set is, where it is from and on what terms."""
    return {
        "title": "Drishti-GS, optic disc in fundus photographs",
        "classes": list(CLASSES),
        "excludes": {},
        "boundaries": [],
        "unit": "pixel",
        "pictures": False,
        "source": f"https://github.com/{REPOSITORY}/tree/{COMMIT}/data",
        "licence": "research use; pictures are not to be shown here",
        "citation": "Sivaswamy, Krishnadas, Joshi, Jain, Tabish (2014). Drishti-GS: retinal image dataset for optic "
        "nerve head (ONH) segmentation. ISBI 2014, 53-56. doi:10.1109/ISBI.2014.6867807",
    }


def source_hashes() -> dict[str, str]:
    """SHA-256 of the reduced files, by path, once they are there. None are published for the original ones."""
    return _folder().source_hashes() if (downloads_folder() / "drishti").is_dir() else {}


def prepare(
    progress: bool = True, *, url: str = URL, names: dict | None = None, tries: int = 4, delay: float = 1.0
) -> Path:
    """Download and reduce the photographs, unless they are there, and write the store, unless it is there.

    Parameters
    ----------
    progress, url, tries, delay
        As in `helpers.datasets.fetch.fetch`.
    names : dict, optional
        Names of the photographs of ``"train"`` and ``"test"``; the data set's own by default.

    Raises
    ------
    ValueError
        ``$HELPERS_DATA/drishti`` is there, but photographs are missing from it.
    """
    names, folder = names or image_names(), downloads_folder() / "drishti"
    if not folder.exists():
        published = downloads_folder() / "drishti-published"
        registry = {file: None for part, members in names.items() for n in members for file in _published(part, n)}
        fetch(registry, url, published, progress=progress, tries=tries, delay=delay)
        with aside(folder.parent, "drishti") as partial:
            for part, members in names.items():
                for name in members:
                    _reduce(*(published / file for file in _published(part, name)), partial / "new" / part, name)
            os.replace(partial / "new", folder)
    there = {f"{p}/images/{f.stem}" for p in names for f in (folder / p / "images").glob("*")}
    missing = [f"{p}/images/{n}" for p, members in names.items() for n in members if f"{p}/images/{n}" not in there]
    if missing:
        raise ValueError(
            f"{folder} lacks {len(missing)} of the {sum(map(len, names.values()))} photographs (the first ten: "
            f"{', '.join(missing[:10])}). Complete it, or move it away, to have them downloaded"
        )
    return _folder().prepare(progress)


def read(reduce: int, split: int, test: bool, lazy: bool = False) -> dict[str, list]:
    """Photographs of one split: of the 50 to train with, by name, the k-th ten validate in split k."""
    prepare()
    return _folder().read(reduce, split, test, lazy)


def image_names() -> dict[str, list[str]]:
    """Names of the published photographs, by part."""
    lines = Path(__file__).with_name("drishti_images.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split() for line in lines if not line.startswith("#")]
    return {here: [name for part, name in pairs if part == there] for here, there in PARTS.items()}


def _folder():
    kept = ("title", "source", "licence", "citation", "pictures", "classes", "excludes", "boundaries")
    settings = {key: value for key, value in about().items() if key in kept}
    return Folder(downloads_folder() / "drishti", "drishti", {**settings, "spacing": "pixel", "masks": "soft"})


def _published(part, name):
    there = f"data/{PARTS[part]}"
    return f"{there}/Images/ALL/{name}.png", f"{there}/GT/{name}/SoftMap/{name}_ODsegSoftmap.png"


def _reduce(photograph, mask, folder, name):
    """Write both at `WIDTH` pixels' width into the folder of their part."""
    from PIL import Image

    with Image.open(photograph) as image, Image.open(mask) as drawn:
        if image.size != drawn.size:
            raise ValueError(f"{photograph} is of size {image.size}, its mask {drawn.size}; expected the same")
        size = (WIDTH, round(image.height * WIDTH / image.width))
        for kind in ("images", "masks"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(folder / f"images/{name}.jpg", quality=95)
        drawn.convert("L").resize(size, Image.Resampling.BOX).save(folder / f"masks/{name}.png")
