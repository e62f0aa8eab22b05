"""Image files of any origin (PNG, TIFF, JPEG) to arrays: pictures of one or several channels, and masks."""

from collections import Counter
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
        Not a readable image, a colour one, one of floats other than whole numbers, or of values below 0.
    """
    array, channels = _read(path)
    if channels:
        colours = array[:3] if len(array) > 2 else array[:1]
        if (colours != colours[:1]).any():
            raise ValueError(f"{path} is a colour picture; expected a mask of one channel, one file a class")
        array = colours[0]
    if array.dtype.kind == "f":
        if (array != np.floor(array)).any() or array.max() >= 2**32:
            raise ValueError(f"{path} holds fractions ({array.dtype}); expected whole numbers such as 0 and 255")
    if array.min() < 0:
        raise ValueError(f"{path} holds {array.min()} ({array.dtype}); expected no value below 0")
    if array.dtype.kind == "f":
        array = array.astype(np.uint32)
    return array


def mask_rule(values: Mapping[Path, np.ndarray], dtypes: Mapping[Path, np.dtype], declared: str | None = None) -> str:
    """How masks are encoded, from the values that occur in each of them.

    - ``"binary"``: 0 and one other value, the same in all: foreground is ``> 0``;
    - ``"soft"``: foreground is above half of white. More than two values are that only where it is declared, for maps
      of instances or classes may be as bright; but a binary mask saved as JPEG is taken, too: within a quarter of
      black or of white throughout, bright where there is any, and beside lossless masks of 0 and one bright value.
    - ``"nonzero"``, where declared: foreground is ``> 0``, whatever the values.

    Parameters
    ----------
    values, dtypes : dict from Path
        Of each mask: the values that occur, in order, and its pixel type.
    declared : str, optional
        The rule that the reader states; values that contradict it are refused.

    Raises
    ------
    ValueError
        No rule fits: the files and their values are listed.
    """
    above_zero = {int(v) for found in values.values() for v in found if v}
    if declared == "nonzero":
        return declared
    if declared == "soft":
        odd = [p for p in values if dtypes[p] not in (bool, np.uint8, np.uint16)]
        if odd or (above_zero and not any(_bright(values[p], dtypes[p]) for p in values)):
            raise ValueError(
                f"masks are said to be soft, but {'are not of 8 or 16 bits' if odd else 'none is above half of white'} "
                f"({_listed(odd or list(values), values)}). Scale them to 0 to 255 (or to 65535 in 16 bits); masks of "
                '0 and one other value are "binary"'
            )
        return declared
    if len(above_zero) <= 1:
        return "binary"
    blurred = [p for p in values if declared is None and _is_blurred(p, values[p], dtypes[p])]
    sharp = [p for p in values if p not in blurred]
    occurs = Counter(int(v) for p in sharp for v in values[p] if v)
    if len(occurs) <= 1 and all(_bright(values[p], dtypes[p]) for p in sharp if values[p].any()):
        return "soft"
    usual = {0, *(v for v, _ in occurs.most_common(1))}
    odd = [p for p in sharp if not usual.issuperset(values[p].tolist())] or sharp
    raise ValueError(
        f"{len(odd)} masks with unexpected values (the first ten: {_listed(odd, values)}). Expected 0 and one other "
        f"value, the same in all {len(values)} (most have {', '.join(map(str, sorted(usual)))}). In dataset.json, say "
        '"masks": "nonzero" if every value above 0 is foreground, or "masks": "soft" if the values are shares of 255 '
        "and foreground is above one half; a map of several classes belongs in one file a class"
    )


def _bright(found, dtype):
    return np.dtype(dtype).kind == "b" or 2 * int(found.max()) > np.iinfo(dtype).max


def _is_blurred(path, found, dtype):
    """Whether values are those of a black and white picture after lossy compression (as of quality 75 or more)."""
    if path.suffix.lower() not in (".jpg", ".jpeg") or dtype != np.uint8:
        return False
    return bool(found.any() and _bright(found, dtype) and ((found < 64) | (found > 191)).all())


def _listed(paths, values):
    return "; ".join(
        f"{p.parent.name}/{p.name}: {', '.join(map(str, values[p][:10]))}{', …' if len(values[p]) > 10 else ''}"
        for p in paths[:10]
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
