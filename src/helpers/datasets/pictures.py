"""Image files of any origin (PNG, TIFF, JPEG) to arrays: pictures of one or several channels, and masks."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg")
_STACKED = {"ZYX", "QYX", "IYX"}  # tifffile's names of a third spatial axis


def read_picture(path: Path) -> np.ndarray:
    """A picture's channels, (K, *S) uint8 or uint16; S is (Y, X), or (Z, Y, X) for a TIFF of several pages.

    Grey is K = 1, colour K = 3. An alpha channel that is opaque throughout is dropped. Pictures of one bit become
    0 and 255.

    Raises
    ------
    ValueError
        Not a readable image; a transparent one; another pixel type or colour space.
    """
    array, channels = _read(path)
    array = array if channels else array[None]
    if array.dtype == bool:
        array = array * np.uint8(255)
    if array.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{path} holds {array.dtype}; expected 8- or 16-bit grey or colour: scale and save it as that")
    if len(array) in (2, 4):
        if (array[-1] != np.iinfo(array.dtype).max).any():
            raise ValueError(f"{path} is partly transparent; expected an image without alpha channel")
        array = array[:-1]
    return np.ascontiguousarray(array)


def read_mask(path: Path) -> np.ndarray:
    """A mask's values as they are in the file, shape S, of any integer type or bool.

    Three equal channels count as one; the numbers of a palette's colours count, not the colours.

    Raises
    ------
    ValueError
        Not a readable image, a colour one, or one of floats other than whole numbers.
    """
    array, channels = _read(path)
    if channels:
        colours = array[:3] if len(array) > 2 else array[:1]
        if (colours != colours[:1]).any():
            raise ValueError(f"{path} is a colour picture; expected a mask of one channel, one file a class")
        array = colours[0]
    if array.dtype.kind == "f":
        if (array != np.floor(array)).any() or array.min() < 0:
            raise ValueError(f"{path} holds fractions ({array.dtype}); expected whole numbers such as 0 and 255")
        array = array.astype(np.uint32)
    return array


def mask_rule(values: Mapping[Path, np.ndarray], dtypes: Mapping[Path, np.dtype]) -> str:
    """How masks are encoded, from the values that occur in each of them.

    - ``"binary"``: 0 and one other value, the same in all: foreground is ``> 0``;
    - ``"soft"``: more values, of 8 or 16 bits, bright where there is any: foreground is above half of white.

    Raises
    ------
    ValueError
        Neither: the files and their values are listed.
    """
    above_zero = {int(v) for found in values.values() for v in found if v}
    if len(above_zero) <= 1:
        return "binary"
    odd = []
    for path, found in values.items():
        brightest, kind = int(found.max()), np.dtype(dtypes[path])
        if brightest and (kind not in (np.uint8, np.uint16) or 2 * brightest <= np.iinfo(kind).max):
            odd.append((path, found))
    if not odd:
        return "soft"
    listed = "; ".join(
        f"{path.parent.name}/{path.name}: {', '.join(map(str, found[:10]))}{', …' if len(found) > 10 else ''}"
        for path, found in odd[:10]
    )
    raise ValueError(
        f"{len(odd)} masks with unexpected values (the first ten: {listed}). Expected 0 and one other value, the same "
        'in all, or soft masks of 0 to 255. If every value above 0 is foreground, say "masks": "nonzero" in '
        "dataset.json; a map of several classes belongs in one file a class"
    )


def foreground(mask: np.ndarray, rule: str) -> np.ndarray:
    """Foreground of a mask, bool, by its rule: ``"binary"``, ``"nonzero"`` or ``"soft"`` (above half of white)."""
    return mask > np.iinfo(mask.dtype).max / 2 if rule == "soft" and mask.dtype != bool else mask > 0


def _read(path):
    """Array and whether its first axis is channels."""
    try:
        return _read_tiff(path) if path.suffix.lower() in (".tif", ".tiff") else _read_other(path)
    except ValueError:
        raise
    except Exception as error:  # decoders raise whatever their C libraries do
        raise ValueError(f"{path} is not a readable image: {error}") from error


def _read_tiff(path):
    import tifffile

    with tifffile.TiffFile(path) as file:
        if len(file.series) != 1:
            raise ValueError(f"{path} holds {len(file.series)} images of different sizes; expected one, or a stack")
        axes, array = file.series[0].axes, file.series[0].asarray()
    if axes in ("YX", *_STACKED):
        return array, False
    if axes in ("YXS", "ZYXS", "QYXS", "IYXS"):
        return np.moveaxis(array, -1, 0), True
    if axes in ("SYX", "CYX") and len(array) <= 4:
        return array, True
    raise ValueError(f"{path} has axes {axes} of {array.shape}; expected YX, ZYX or colour")


def _read_other(path):
    from PIL import Image

    with Image.open(path) as image:
        mode, array = image.mode, np.asarray(image)
    if getattr(image, "n_frames", 1) > 1:
        raise ValueError(f"{path} is an animation; expected one image")
    if mode in ("1", "L", "P", "I;16", "I;16B", "I"):
        return array, False
    if mode in ("LA", "RGB", "RGBA"):
        return np.moveaxis(array, -1, 0), True
    raise ValueError(f"{path} is of colour mode {mode}; expected grey or RGB")
