"""CellMap: organelles annotated in crops of the FIB-SEM volumes of OpenOrganelle, chunk-wise from public S3.

A volume is ``<data set>/<data set>.zarr`` (Zarr v2, OME-NGFF 0.4): ``recon-1/em/fibsem-uint8`` and, of each crop,
``recon-1/labels/groundtruth/crop<N>/<class>``, both in levels ``s0``, ``s1``, … with their scale and translation (the
centre of the first voxel) in nm. Labels are often twice as fine as the image, so the finest levels of one scale are
taken. What a value means is said beside it: ``absent``, ``unknown`` (not annotated) and ``present``, or any other
value, an instance. A class may be annotated in some crops only.

Only the chunks that cover a crop are fetched, to where the same paths lie in the folder of downloads.
"""

import itertools
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from helpers.datasets import store, windows
from helpers.datasets.fetch import downloads_folder, fetch
from helpers.datasets.mitolab import split_names, written_hashes
from helpers.datasets.s3 import list_objects

BUCKET = "https://janelia-cosem-datasets.s3.amazonaws.com"
CODE = ("datasets/cellmap", "datasets/mitolab")  # what decides its images and splits, for `helpers.datasets.code`
CROPS = tuple(f"jrc_hela-2/crop{number}" for number in (1, 3, 4, 9, 113, 155))
CLASSES = ("mito", "er", "nuc", "pm", "ves", "endo", "lyso", "ld", "golgi", "ecs")
PARAMETERS = {"crops": "", "classes": ""}
EM, GROUNDTRUTH = "recon-1/em/fibsem-uint8", "recon-1/labels/groundtruth"
TOLERANCE = 0.05  # voxels by which a crop may miss the image's grid

# What each class is made of, in the numbers of the CellMap Segmentation Challenge (its classes.csv): every voxel has
# one atom, so that classes without a common atom exclude each other.
ATOMS = {
    **{"ecs": "1", "pm": "2", "mito_mem": "3", "mito_lum": "4", "mito_ribo": "5", "golgi_mem": "6", "golgi_lum": "7"},
    **{"ves_mem": "8", "ves_lum": "9", "endo_mem": "10", "endo_lum": "11", "lyso_mem": "12", "lyso_lum": "13"},
    **{"ld_mem": "14", "ld_lum": "15", "er_mem": "16", "er_lum": "17", "eres_mem": "18", "eres_lum": "19"},
    **{"ne_mem": "20", "ne_lum": "21", "np_out": "22", "np_in": "23", "hchrom": "24", "nhchrom": "25", "echrom": "26"},
    **{"nechrom": "27", "nucpl": "28", "nucleo": "29", "mt_out": "30", "cent": "31", "cent_dapp": "32"},
    **{"cent_sdapp": "33", "ribo": "34", "cyto": "35", "mt_in": "36", "vim": "38", "glyco": "39", "rbc": "45"},
    **{"perox_mem": "47", "perox_lum": "48", "isg_mem": "56", "isg_lum": "57", "isg_ins": "58", "actin": "61"},
    **{"tbar": "62", "bm": "63", "nuc": "20-29", "golgi": "6-7", "ves": "8-9", "endo": "10-11", "lyso": "12-13"},
    **{"ld": "14-15", "eres": "18-19", "perox": "47-48", "mito": "3-5", "er": "16-23", "ne": "20-23", "np": "22-23"},
    **{"chrom": "24-27", "mt": "30 36", "isg": "56-58", "cell": "2-36 38-39 47-48 56-58 61-62"},
    **{"er_mem_all": "16 18 20", "ne_mem_all": "20 22-23", "cent_all": "31-33"},
}


def atoms(name: str) -> frozenset[int]:
    """Numbers of the atomic classes that class `name` is made of."""
    spans = (span.split("-") for span in ATOMS[name].split())
    return frozenset(itertools.chain(*(range(int(span[0]), int(span[-1]) + 1) for span in spans)))


def about() -> dict:
    """What the data set is, where it is from and on what terms; classes are those of the store, where there is one."""
    written = written_hashes(_path()).get("(classes)")
    return _about(written.split(" ") if written else list(CLASSES))


def _about(classes):
    return {
        "title": "CellMap, organelles in crops of FIB-SEM volumes",
        "classes": classes,
        "excludes": {c: [o for o in classes if not atoms(c) & atoms(o)] for c in classes},
        "boundaries": [c for c in classes if c == "pm"],
        "source": "https://www.openorganelle.org (s3://janelia-cosem-datasets)",
        "licence": "CC BY 4.0",
        "citation": "Heinrich, Bennett, Ackerman, Park, Bogovic et al. (2021). Whole-cell organelle segmentation in "
        "volume electron microscopy. Nature 599, 141-146. doi:10.1038/s41586-021-03977-3",
    }


def source_hashes() -> dict[str, str]:
    """MD5 (or length) by key of every object that the present store was made from; empty where there is none."""
    return {key: value for key, value in written_hashes(_path()).items() if not key.startswith("(")}


def list_crops(dataset: str, *, bucket: str = BUCKET, **options) -> list[str]:
    """Names of a volume's annotated crops, ``<data set>/crop<N>``; options as of `helpers.datasets.s3.list_objects`."""
    prefix = f"{dataset}/{dataset}.zarr/{GROUNDTRUTH}/"
    found = list_objects(bucket, prefix, "/", **options).folders
    return sorted((f"{dataset}/{f.split('/')[-2]}" for f in found), key=lambda f: (len(f), f))


def prepare(
    progress: bool = True,
    *,
    crops: str | tuple[str, ...] = "",
    classes: str | tuple[str, ...] = "",
    bucket: str = BUCKET,
    tries: int = 4,
    delay: float = 1.0,
) -> Path:
    """Fetch the chunks of the given crops and write the store, unless one of these crops and classes is there.

    Parameters
    ----------
    progress, tries, delay
        As in `helpers.datasets.fetch.fetch`.
    crops : sequence of str, or str
        ``<data set>/crop<N>``, or ``<data set>/<N>``; `list_crops` tells which there are. A text is split at its
        commas; an empty one stands for those of the store that is there, else `CROPS`.
    classes : sequence of str, or str
        Of those in `ATOMS`, in the same way, else `CLASSES`. In a crop without a class, the class is not annotated.
    bucket : str
        Where the volumes are published.

    Returns
    -------
    Path
        The store, ``cellmap.zarr`` in the folder of prepared data.

    Raises
    ------
    ValueError
        A crop or class that there is not; metadata or values that are not as described above.
    ConnectionError, OSError
        As `helpers.datasets.fetch.fetch`.
    """
    path = _path()
    written = written_hashes(path)
    crops = _crops(_given(crops, written.get("(crops)", "").split() or CROPS))
    classes = _classes(_given(classes, written.get("(classes)", "").split() or CLASSES))
    stated = {"(crops)": " ".join("/".join(crop) for crop in crops), "(classes)": " ".join(classes)}
    if stated.items() <= written.items() and store.is_current(path, written):
        return path
    folder, options = downloads_folder() / "cellmap", {"tries": tries, "delay": delay}
    mirror = _Mirror(bucket, folder, options)
    plans = [_plan(mirror, *crop, classes) for crop in crops]
    arrays = itertools.chain(*([plan["em"], *plan["labels"].values()] for plan in plans))
    mirror.get([key for _, _, keys in arrays for key in keys], progress)

    def fill(root):
        for crop, plan in zip(crops, plans, strict=True):
            raw = mirror.array(*plan["em"][:2])
            if raw.dtype != np.uint8:
                raise ValueError(f"{folder / plan['em'][0]} holds {raw.dtype}; expected uint8")
            masks = {c: np.zeros(raw.shape, bool) for c in classes}
            annotated = {c: np.zeros(raw.shape, bool) for c in classes}
            for one, (key, region, _) in plan["labels"].items():
                values = mirror.array(key, region)
                masks[one], annotated[one] = decode(values, plan["encodings"][one], folder / key)
            chunks = (1, *raw.shape[1:])
            name = "-".join(crop)
            store.write_volume(root, name, raw, masks, annotated, axes="zyx", scale=plan["scale"], chunks=chunks)
            root[name].attrs["crop"] = "/".join(crop)
        root.attrs["volumes"] = ["-".join(crop) for crop in crops]

    store.write(path, _about(list(classes)), {**mirror.hashes, **stated}, fill)
    return path


def read(reduce: int, split: int, test: bool, lazy: bool = False) -> dict[str, list]:
    """Sections of the crops of one split, as `helpers.datasets` describes: no crop is in two parts.

    The store is taken as it is, of whatever crops it was prepared; without one, that of the default crops is made.
    Of sections whose sides `reduce` does not divide, the last rows and columns are left out.
    """
    import zarr

    path = _path() if _path().exists() else prepare()
    classes = about()["classes"]
    root = zarr.open_group(path, mode="r")
    volumes = {root[name].attrs["crop"]: name for name in root.attrs["volumes"]}
    parts = {"train": [], "validation": [], "test": []}
    for crop, role in split_names(list(volumes), split).items():
        if role == "test" and not test:
            continue
        sections = range(store.count_sections(path, volumes[crop]))
        scale = store.read_scale(path, volumes[crop])
        images = windows.read_stack(path, volumes[crop], classes, sections, reduce, lazy, trim=True)
        for z, image in zip(sections, images, strict=True):
            parts[role].append((f"{crop}/{z:03d}", *image, (scale[1] * reduce, scale[2] * reduce)))
    return parts


def decode(values: np.ndarray, annotation: dict, where) -> tuple[np.ndarray, np.ndarray]:
    """Mask and annotated, as bool, of label values.

    Parameters
    ----------
    values : array of integers
        Of one class.
    annotation : dict
        Its ``annotation_type``: ``type`` (``semantic_segmentation`` or ``instance_segmentation``) and ``encoding``.
    where
        Named in the error.

    Raises
    ------
    ValueError
        Of a semantic segmentation, a value without a meaning.
    """
    meaning = annotation["encoding"]
    no = [meaning[key] for key in ("absent", "unknown") if key in meaning]
    annotated = values != meaning["unknown"] if "unknown" in meaning else np.ones(values.shape, bool)
    mask = ~np.isin(values, no)
    if annotation["type"] == "semantic_segmentation":
        odd = np.setdiff1d(values, list(meaning.values()))
        if len(odd):
            raise ValueError(f"{where} holds {odd[:10].tolist()}; expected {meaning}")
        mask = values == meaning["present"]
    return mask, annotated


def _path():
    return store.prepared_folder() / "cellmap.zarr"


def _given(several, default):
    if not isinstance(several, str):
        return several
    return tuple(one.strip() for one in several.split(",")) if several.strip() else default


def _crops(crops):
    found = []
    for crop in crops:
        match = re.fullmatch(r"([A-Za-z0-9][\w.-]*)/(?:crop)?(\d+)", str(crop))
        if not match or (match[1], f"crop{match[2]}") in found:
            raise ValueError(f"crop {crop!r}: expected <data set>/crop<N>, each once, such as {CROPS[0]!r}")
        found.append((match[1], f"crop{match[2]}"))
    if not found:
        raise ValueError(f"no crops are given; expected one or more, such as {CROPS[0]!r}")
    return found


def _classes(classes):
    classes = tuple(classes)
    wrong = [c for c in classes if c not in ATOMS]
    if wrong or not classes or len(set(classes)) < len(classes):
        raise ValueError(f"classes are {classes!r}; expected one or more, each once, of {', '.join(sorted(ATOMS))}")
    return classes


class _Mirror:
    """Objects of the bucket, under the same keys in a folder: listed, fetched and read."""

    def __init__(self, bucket, folder, options):
        self.bucket, self.folder, self.options = bucket, folder, options
        self.listed, self.sizes, self.hashes = {}, {}, {}

    def look(self, prefix, delimiter=""):
        found = list_objects(self.bucket, prefix, delimiter, **self.options)
        self.sizes |= found.sizes
        self.listed |= found.hashes
        return found

    def get(self, keys, progress=False):
        """Have objects that were listed."""
        registry = {key: self.listed[key] for key in keys}
        sizes = {key: self.sizes[key] for key in keys}
        self.hashes |= fetch(registry, self.bucket, self.folder, progress=progress, sizes=sizes, **self.options)

    def json(self, key):
        """An object of metadata."""
        prefix = key.rsplit("/", 1)[0]
        if key not in self.listed and key not in self.look(f"{prefix}/.z", "/").sizes:
            raise ValueError(f"{self.bucket} has no {key}")
        self.get([key])
        try:
            return json.loads((self.folder / key).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{self.folder / key} is not JSON: {error}") from error

    def array(self, key, region):
        import zarr

        return zarr.open_array(self.folder / key, mode="r", zarr_format=2)[region]


def _plan(mirror, dataset, crop, classes):
    """What to read for one crop: of the image and of each class the array, its region and the keys of its chunks."""
    base = f"{dataset}/{dataset}.zarr"
    there = [f.split("/")[-2] for f in mirror.look(f"{base}/{GROUNDTRUTH}/{crop}/", "/").folders]
    if not there:
        known = ", ".join(list_crops(dataset, bucket=mirror.bucket, **mirror.options)[:30])
        raise ValueError(f"there is no crop {dataset}/{crop}; there are {known or 'none of this data set'}")
    chosen = [c for c in classes if c in there]
    if not chosen:
        raise ValueError(f"{dataset}/{crop} has none of the classes {', '.join(classes)}; it has {', '.join(there)}")
    image = _levels(mirror, f"{base}/{EM}")
    labels, encodings, regions, scales = {}, {}, set(), set()
    for one in chosen:
        key = f"{base}/{GROUNDTRUTH}/{crop}/{one}"
        found = _levels(mirror, key)
        try:
            encodings[one] = mirror.json(f"{key}/.zattrs")["cellmap"]["annotation"]["annotation_type"]
            if encodings[one]["type"] == "semantic_segmentation" and "present" not in encodings[one]["encoding"]:
                raise KeyError("present")
        except (KeyError, TypeError) as error:
            raise ValueError(f"{mirror.folder / key / '.zattrs'} does not say what values mean: no {error}") from error
        pair = next(((i, j) for j in image for i in found if np.allclose(found[i][0], image[j][0], rtol=1e-3)), None)
        if pair is None:
            raise ValueError(f"{key} has no level of a scale of the image: {_scales(found)} and {_scales(image)} nm")
        level, at = pair
        array = mirror.json(f"{key}/{level}/.zarray")
        region = _region(found[level], image[at], array["shape"], key)
        regions.add((at, tuple((s.start, s.stop) for s in region)))
        scales.add(image[at][0])
        here = tuple(slice(0, n) for n in array["shape"])
        labels[one] = f"{key}/{level}", here, _chunks(mirror, f"{key}/{level}", array, here, whole=True)
    if len(regions) > 1:
        raise ValueError(f"the classes of {dataset}/{crop} lie in different places: {sorted(regions)}")
    at, bounds = regions.pop()
    region, key = tuple(slice(*bound) for bound in bounds), f"{base}/{EM}/{at}"
    array = mirror.json(f"{key}/.zarray")
    if any(s.start < 0 or s.stop > n for s, n in zip(region, array["shape"], strict=True)):
        raise ValueError(f"{dataset}/{crop} lies at {bounds}, beyond its image of {array['shape']} voxels")
    em = key, region, _chunks(mirror, key, array, region)
    return {"em": em, "labels": labels, "encodings": encodings, "scale": scales.pop()}


def _levels(mirror, key):
    """Scale and translation in nm (z, y, x) of each level of a multiscale image, the finest first."""
    try:
        (image,) = mirror.json(f"{key}/.zattrs")["multiscales"]
        if [(a["name"], a["unit"]) for a in image["axes"]] != [(name, "nanometer") for name in "zyx"]:
            raise ValueError(f"axes are {image['axes']}")
        levels = {}
        for one in image["datasets"]:
            steps = {step["type"]: step[step["type"]] for step in one["coordinateTransformations"]}
            levels[one["path"]] = tuple(steps["scale"]), tuple(steps.get("translation", (0.0, 0.0, 0.0)))
        whole = image.get("coordinateTransformations", [])
        if any(set(step[step["type"]]) - {1 if step["type"] == "scale" else 0} for step in whole):
            raise ValueError(f"the whole is transformed by {whole}")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{mirror.folder / key / '.zattrs'} is no NGFF image in nm along z, y, x: {error!r}"
        ) from error
    return dict(sorted(levels.items(), key=lambda item: item[1][0]))


def _scales(levels):
    return "; ".join(" × ".join(f"{s:g}" for s in scale) for scale, _ in levels.values())


def _region(label, image, shape, key):
    """Where a label array lies in the image of the same scale, in voxels; both translations are voxel centres."""
    offset = (np.array(label[1]) - np.array(image[1])) / np.array(image[0])
    start = np.round(offset).astype(int)
    if np.abs(offset - start).max() > TOLERANCE:
        raise ValueError(f"{key} does not lie on the image's grid: it begins at voxel {offset.round(3).tolist()}")
    return tuple(slice(int(s), int(s + n)) for s, n in zip(start, shape, strict=True))


def _chunks(mirror, key, array, region, whole=False):
    """Keys of the array's metadata and of those chunks of `region` that there are; others hold its fill value."""
    mark = array.get("dimension_separator", ".")
    spans = [range(s.start // c, (s.stop - 1) // c + 1) for s, c in zip(region, array["chunks"], strict=True)]
    rows = [""] if whole else [mark.join(map(str, row)) + mark for row in itertools.product(*spans[:-1])]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda row: mirror.look(f"{key}/{row}"), rows))
    wanted = (f"{key}/{mark.join(map(str, place))}" for place in itertools.product(*spans))
    return [f"{key}/.zarray", *(chunk for chunk in wanted if chunk in mirror.listed)]
