"""A folder of the reader's own as a data set: ``-p dataset path/to/folder``.

Laid out as ``{train,val,test}/{images,masks}``, or ``images`` and ``masks`` alone, to be split. Images are PNG, TIFF or
JPEG, grey or colour, 8 or 16 bits, of any sizes, and 3-D where a TIFF has several pages. A mask has its image's size
and name, as one of

- ``masks/NAME.png``: one class, called *foreground* unless ``dataset.json`` names it;
- ``masks/CLASS/NAME.png``, or ``masks/NAME_CLASS.png``: one file a class.

Masks are binary: 0 and one other value, the same in all (after JPEG compression: near black or near white). An optional
``dataset.json`` in the folder says what files cannot:

- ``spacing``: nm per pixel, one number or one for each axis; without it the unit is the pixel, and that is said;
- ``classes``, ``excludes`` (class -> classes that share no pixel with it, which is checked), ``boundaries``;
- ``masks``: ``"soft"`` where values are shares of 255 (or 65535) and foreground is above one half; ``"nonzero"`` where
  it is whatever is above 0, as in instance maps or encodings that differ from file to file; else ``"binary"``;
- ``absent``: ``"unknown"`` where an image without a mask of a class is not annotated for it (else it is an error);
- ``white``: the grey value that is white, for 16-bit images of fewer bits;
- ``title``, ``source``, ``licence``, ``citation``, ``pictures`` (false: may not be shown).

Splits: given parts stay as they are. Without ``val``, the training images are cut by name into five blocks and split k
validates on the k-th; without any parts the next block is for testing, too.
"""

import hashlib
import warnings
from pathlib import Path

import numpy as np

from helpers.datasets import store, windows
from helpers.datasets.fetch import sha256
from helpers.datasets.folder_settings import SAID, check_classes, read_settings
from helpers.datasets.pictures import SUFFIXES, foreground, mask_rule, read_mask, read_picture

BLOCKS = 5
PARTS = {"train": ("train",), "validation": ("val", "validation"), "test": ("test",)}
_WARNED = set()  # folders of which it was said that their unit is the pixel


class Folder:
    """A folder as a source of `helpers.datasets`: the same four functions as its modules have.

    Parameters
    ----------
    path : Path
        The folder.
    name : str, optional
        Of its store; by default made of the folder's name and place.
    settings : dict, optional
        What ``dataset.json`` would say; the file is then not looked for.
    """

    CODE = (
        "datasets/folder",
        "datasets/folder_settings",
        "datasets/pictures",
    )  # what decides its images, for `helpers.datasets.code`

    def __init__(self, path: Path, name: str | None = None, settings: dict | None = None):
        self.path = Path(path).absolute()
        place = hashlib.sha256(str(self.path.resolve()).encode()).hexdigest()[:8]
        self.name = name or f"{self.path.resolve().name}-{place}"
        self._settings = settings

    def about(self) -> dict:
        """What the folder and its ``dataset.json`` say of it."""
        settings = self._read_settings()
        unit = "pixel" if settings.get("spacing", "pixel") == "pixel" else "nm"
        said = {"title": self.path.name, "source": f"folder {self.path.name}"}
        said |= {"licence": "not stated", "citation": "not stated", "pictures": True}
        said |= {key: settings[key] for key in SAID if key in settings}
        return {
            **said,
            "classes": self._scan(settings)[1],
            "excludes": settings.get("excludes", {}),
            "boundaries": settings.get("boundaries", []),
            "unit": unit,
        }

    def source_hashes(self) -> dict[str, str]:
        """SHA-256 of every file used, by its path in the folder."""
        parts, _ = self._scan(self._read_settings())
        files = [f for images in parts.values() for _, image, masks in images for f in (image, *masks.values()) if f]
        if self._settings is None and (self.path / "dataset.json").is_file():
            files.append(self.path / "dataset.json")
        return {file.relative_to(self.path).as_posix(): sha256(file) for file in sorted(files)}

    def prepare(self, progress: bool = True) -> Path:
        """Write the store, unless it is there and every file is as it was.

        Raises
        ------
        ValueError
            The folder is not laid out as this module says: what is wrong is named, with the first ten files.
        """
        hashes = self.source_hashes()
        path = store.prepared_folder() / f"{self.name}.zarr"
        settings, about = self._read_settings(), self.about()
        if about["unit"] == "pixel" and self._settings is None and self.path not in _WARNED:
            _WARNED.add(self.path)
            warnings.warn(
                f"{self.path.name}: the size of a pixel is not known, so distances are in pixels. If it is, say "
                '"spacing": nanometres per pixel in dataset.json',
                stacklevel=2,
            )
        if store.is_current(path, hashes):
            return path
        parts, classes = self._scan(settings)
        rule, spatial = self._check(parts, settings)
        scale = _per_axis(settings.get("spacing", "pixel"), spatial, self.path / "dataset.json")

        def fill(root):
            for role, images in parts.items():
                root.require_group(role)
                for name, image, masks in images:
                    raw = _whitened(read_picture(image), settings.get("white"), image)
                    nothing = np.zeros(raw.shape[1:], bool)
                    drawn = {c: foreground(read_mask(masks[c]), rule) if masks[c] else nothing for c in classes}
                    _require_apart(drawn, about["excludes"], masks)
                    annotated = {c: np.full(raw.shape[1:], masks[c] is not None) for c in classes}
                    raw = raw[0] if len(raw) == 1 else raw
                    store.write_volume(
                        root, f"{role}/{name}", raw, drawn, annotated, axes="zyx"[-spatial:], scale=scale,
                        unit="nanometer" if about["unit"] == "nm" else None,
                    )  # fmt: skip

        names = {role: [name for name, _, _ in images] for role, images in parts.items()}
        store.write(path, {**about, "masks": rule, "parts": names}, hashes, fill)
        return path

    def read(self, reduce: int, split: int, test: bool, lazy: bool = False) -> dict[str, list]:
        """Images of one split, as `helpers.datasets` describes; no role ``test`` where the folder has none."""
        path = self.prepare()
        said, read = store.read_attributes(path), {}
        for role, members in split_names(said["parts"], split).items():
            read[role] = []
            for volume in members if test or role != "test" else ():
                scale = store.read_scale(path, volume)
                spacing = (*scale[:-2], scale[-2] * reduce, scale[-1] * reduce)
                try:
                    arrays = windows.read_image(path, volume, said["classes"], reduce, lazy)
                except ValueError as error:
                    raise ValueError(f"{volume} of {self.path.name}: {error}") from error
                read[role].append((volume, *arrays, spacing))
        return read

    def _read_settings(self):
        return read_settings(self.path / "dataset.json") if self._settings is None else self._settings

    def _scan(self, settings):
        """Role -> (name, image, class -> mask or None) of each image, and the classes."""
        folders = {r: self.path / d for r, names in PARTS.items() for d in names if (self.path / d).is_dir()}
        folders = folders or {"images": self.path}
        if "images" not in folders and "train" not in folders:
            raise ValueError(f"{self.path} has {', '.join(f.name for f in folders.values())} but no train/")
        found = {}
        for role, folder in folders.items():
            images = _by_name(folder / "images", folder)
            masks, loose = _masks_by_class(folder / "masks", images)
            found[role] = images, masks, loose
        classes = sorted({c for _, masks, _ in found.values() for c in masks})
        named = settings.get("classes")
        if classes == [""]:
            if named and len(named) != 1:
                raise ValueError(f"{self.path}: dataset.json has {len(named)} classes, but there is one mask an image")
            classes, alias = list(named or ["foreground"]), {"": (named or ["foreground"])[0]}
        elif "" in classes:
            raise ValueError(f"{self.path}: some masks name a class ({', '.join(classes[1:11])}), some do not")
        else:
            if named and sorted(named) != classes:
                raise ValueError(f"{self.path}: dataset.json has classes {named}, the masks {classes}")
            classes, alias = list(named or classes), {}
        check_classes(self.path / "dataset.json", settings, classes)
        parts, without = {}, []
        for role, (images, masks, loose) in found.items():
            masks = {alias.get(c, c): of for c, of in masks.items()}
            parts[role] = [(n, file, {c: masks.get(c, {}).get(n) for c in classes}) for n, file in images.items()]
            without += [file for _, file, drawn in parts[role] if None in drawn.values()]
            without += loose
        if without and (settings.get("absent") != "unknown" or any(loose for *_, loose in found.values())):
            listed = ", ".join(file.relative_to(self.path).as_posix() for file in without[:10])
            raise ValueError(
                f"{self.path}: {len(without)} images without a mask of every class ({', '.join(classes)}), or masks "
                f"without an image; the first ten: {listed}. Names must agree; if a mask that is absent means not "
                'annotated, say "absent": "unknown" in dataset.json'
            )
        return parts, classes

    def _check(self, parts, settings):
        """Rule of the masks and number of spatial axes, after every file was read once."""
        values, dtypes, kinds, brightest, wide = {}, {}, {}, 0, False
        for images in parts.values():
            for _, image, masks in images:
                raw = read_picture(image)
                kinds.setdefault((len(raw), raw.ndim - 1), []).append(image)
                wide |= raw.dtype == np.uint16
                brightest = max(brightest, raw.max() / np.iinfo(raw.dtype).max)
                for file in filter(None, masks.values()):
                    mask = read_mask(file)
                    if mask.shape != raw.shape[1:]:
                        raise ValueError(f"{file} has shape {mask.shape}; its image {image.name} {raw.shape[1:]}")
                    values[file], dtypes[file] = np.unique(mask), mask.dtype
        if len(kinds) > 1:
            said = "; ".join(
                f"{k} channels in {d}-D: {', '.join(f.name for f in files[:10])}" for (k, d), files in kinds.items()
            )
            raise ValueError(f"{self.path} mixes images of different kinds ({said}); expected one kind")
        if wide and brightest <= 1 / 8 and "white" not in settings:
            raise ValueError(
                f"{self.path}: of 16 bits, and the brightest pixel of all is at {brightest:.2%} of white; if the "
                'images have fewer bits than their files, say "white": the grey value that is white (such as 4095) in '
                "dataset.json"
            )
        ((_, spatial),) = kinds
        return mask_rule(values, dtypes, settings.get("masks")), spatial


def split_names(parts: dict[str, list[str]], split: int) -> dict[str, list[str]]:
    """Names of each role's volumes in one split: the parts as given, or blocks by name where one has to be made.

    Raises
    ------
    ValueError
        There is no such split, or too few images to make one.
    """
    volumes = {role: [f"{role}/{name}" for name in names] for role, names in parts.items()}
    if "validation" in volumes:
        if split != 0:
            raise ValueError(f"split is {split!r}; a folder with parts of its own has one split, 0")
        return volumes
    if split not in range(BLOCKS):
        raise ValueError(f"split is {split!r}; there are {BLOCKS} splits, 0 to {BLOCKS - 1}")
    given = volumes.pop("images", None)
    every = given or volumes["train"]
    if len(every) < BLOCKS:
        raise ValueError(f"{len(every)} images cannot be split into {BLOCKS} blocks; expected {BLOCKS} or more")
    blocks = [list(map(str, block)) for block in np.array_split(every, BLOCKS)]
    held = {"validation": blocks.pop(split)}
    if given:
        held["test"] = blocks.pop(split % len(blocks))
    if "test" in volumes:
        held["test"] = volumes["test"]
    return {"train": [name for block in blocks for name in block], **held}


def _by_name(folder, part):
    """Name -> file of the images in a folder, in order."""
    if not folder.is_dir():
        raise ValueError(
            f"{part} has no {folder.name}/; expected images/ and masks/ in it, or in its train/, val/ and test/"
        )
    found = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in SUFFIXES and not file.name.startswith("."):
            if file.stem in found:
                raise ValueError(f"{folder} has two images called {file.stem}: {found[file.stem].name} and {file.name}")
            found[file.stem] = file
    if not found and not any(child.is_dir() for child in folder.iterdir()):
        raise ValueError(f"{folder} holds no images; expected {', '.join(SUFFIXES)}")
    return found


def _masks_by_class(folder, images):
    """Class ("" where none is named) -> name of the image -> mask; and masks that belong to no image."""
    files = _by_name(folder, folder.parent)
    inner = sorted(child for child in folder.iterdir() if child.is_dir()) if not files else []
    masks, loose = {}, []
    for child in inner:
        for name, file in _by_name(child, folder).items():
            if name in images:
                masks.setdefault(child.name, {})[name] = file
            else:
                loose.append(file)
    for name, file in files.items():
        owners = [n for n in images if name == n or name.startswith(f"{n}_")]
        if not owners:
            loose.append(file)
            continue
        owner = max(owners, key=len)
        masks.setdefault(name[len(owner) + 1 :], {})[owner] = file
    return masks, loose


def _per_axis(spacing, spatial, file):
    spacing = 1.0 if spacing == "pixel" else spacing
    values = [spacing] * spatial if isinstance(spacing, (int, float)) else list(spacing)
    if len(values) != spatial:
        raise ValueError(f"spacing of {file} is {spacing!r}; expected nm per pixel, one number or {spatial}")
    return tuple(float(v) for v in values)


def _require_apart(drawn, excludes, masks):
    """Raise unless the masks of classes that exclude each other share no pixel."""
    for one, others in excludes.items():
        for other in others:
            shared = np.count_nonzero(drawn[one] & drawn[other])
            if shared:
                raise ValueError(
                    f"{masks[one]} and {masks[other]} share {shared} pixels, {shared / drawn[one].sum():.2%} of {one} "
                    f"and {shared / drawn[other].sum():.2%} of {other}, but dataset.json says that {one} excludes "
                    f"{other}: take that out of excludes, or make the masks disjoint"
                )


def _whitened(raw, white, file):
    if white is None:
        return raw
    if not raw.max() <= white <= np.iinfo(raw.dtype).max:
        raise ValueError(
            f"white of {file.parent.parent} is {white!r}, and {file.name} has greys up to {raw.max()} ({raw.dtype}); "
            f"expected {raw.max()} to {np.iinfo(raw.dtype).max}"
        )
    return (raw.astype(np.uint32) * np.iinfo(raw.dtype).max // white).astype(raw.dtype)
