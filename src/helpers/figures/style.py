"""One look for all figures: white faces (they survive a dark page), one colour and marker for each objective."""

import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import matplotlib

matplotlib.rcParams.update(
    {
        "figure.facecolor": "white",
        "axes.facecolor": "white",
        "savefig.facecolor": "white",
        "svg.hashsalt": "helpers",
    }
)
import matplotlib.lines  # noqa: E402 - after the faces are set
import matplotlib.patches  # noqa: E402
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

_BLUE, _VERMILION, _GREEN, _PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
_ORANGE, _SKY, _BLACK, _GREY = "#E69F00", "#56B4E9", "#000000", "#7F7F7F"
CLASS_COLOURS = (
    _ORANGE,
    _SKY,
    _GREEN,
    _PURPLE,
    "#F0E442",
    _VERMILION,
    _BLUE,
    "#999999",
    "#882255",
    "#44AA99",
    "#999933",
    "#AA4499",
)

# Objective -> its colour and marker, throughout the paper. Okabe and Ito's colour-blind safe set: cross entropies are
# blue, overlap losses orange, losses on signs and occupancy purple, and each distance has a colour of its own; markers
# tell apart what shares a colour.
STYLES = {
    "bce": (_BLUE, "o"),
    "logistic": (_BLUE, "s"),
    "approx_ce": (_BLUE, "^"),
    "softmax": (_BLUE, "D"),
    "softmax_published": (_BLUE, "v"),
    "focal": (_BLUE, "P"),
    "focal_detached": (_BLUE, "X"),
    "dice": (_ORANGE, "o"),
    "dice_squared": (_ORANGE, "s"),
    "tversky": (_ORANGE, "^"),
    "lovasz": (_ORANGE, "D"),
    "bce_dice": (_ORANGE, "v"),
    "dice_focal": (_ORANGE, "P"),
    "lov": (_PURPLE, "o"),
    "hinge": (_PURPLE, "s"),
    "square": (_PURPLE, "^"),
    "l1": (_PURPLE, "D"),
    "distance": (_BLACK, "s"),
    "signed_distance": (_SKY, "^"),
    "tanh_distance": (_VERMILION, "o"),
    "hot_distance": (_GREEN, "o"),
}
# Trivial predictors -> line style; grey, because they learned nothing.
TRIVIAL = {"all_background": "--", "all_foreground": ":", "dilated_truth": "-."}
_TRIVIAL_MARKERS = {"all_background": "x", "all_foreground": "+", "dilated_truth": "1"}
_OWN_MARKERS = "*h<>dp"  # for objectives of one's own; no objective of the registry has them
LINES = (_BLUE, _VERMILION, _GREEN, _PURPLE, _ORANGE, _SKY, _BLACK)  # for lines that stand for no one objective
DASHES = ("-", "--", ":", "-.")
PALETTE = {name: STYLES[name][0] for name in ("bce", "tanh_distance", "hot_distance")}


def style(objective: str) -> tuple[str, str]:
    """The objective's colour and marker; one of one's own gets a marker that no other has, by its name."""
    if objective in TRIVIAL:
        return _GREY, _TRIVIAL_MARKERS[objective]
    if objective in STYLES:
        return STYLES[objective]
    number = zlib.crc32(objective.encode())
    colours = (_PURPLE, _GREEN, _BLUE, _VERMILION, _BLACK)
    return colours[number % len(colours)], _OWN_MARKERS[number // len(colours) % len(_OWN_MARKERS)]


def colour(objective: str) -> str:
    """The objective's colour."""
    return style(objective)[0]


def save(figure: Figure, path: Path, *, dpi: int = 110) -> Path:
    """PNG at the path, and an SVG beside it; the figure is closed. Returns the PNG's path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi, bbox_inches="tight", metadata={"Software": None})
    figure.savefig(path.with_suffix(".svg"), dpi=2 * dpi, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return path


def legend(figure: Figure, colours: Mapping[str, str]) -> None:
    """A row of colour patches under the figure."""
    handles = [matplotlib.patches.Patch(color=c, label=name) for name, c in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)


def legend_of(figure: Figure, objectives: Iterable[str], extra: Iterable = (), *, columns: int = 4) -> None:
    """The objectives' colours and markers under the figure, in rows; ``extra`` are handles of one's own."""
    handles = [
        matplotlib.lines.Line2D([], [], color=style(o)[0], marker=style(o)[1], lw=1.4, ms=6, label=o)
        for o in objectives
    ]
    handles += list(extra)
    columns = min(columns, len(handles))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)


def bare(axis) -> None:
    """Without the upper and the right spine."""
    axis.spines[["top", "right"]].set_visible(False)
