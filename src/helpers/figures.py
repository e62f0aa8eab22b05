"""Tables and arrays to matplotlib figures. Every function returns a Figure; :func:`save` writes it."""

from collections.abc import Mapping, Sequence
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
import matplotlib.patheffects  # noqa: E402 - after the faces are set
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

# One colour per objective throughout the paper (Okabe and Ito's colour-blind safe set); others follow in order.
PALETTE = {"bce": "#0072B2", "tanh_distance": "#D55E00", "hot_distance": "#009E73"}
_OTHERS = ("#CC79A7", "#E69F00", "#56B4E9", "#000000")
_CLASS_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#F0E442", "#D55E00", "#0072B2")


def colour(objective: str) -> str:
    """The objective's colour; one that has none of its own gets one of four by its name."""
    return PALETTE.get(objective, _OTHERS[sum(objective.encode()) % len(_OTHERS)])


def save(figure: Figure, path: Path, *, dpi: int = 110) -> Path:
    """PNG at the path, and an SVG beside it; the figure is closed. Returns the PNG's path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi, bbox_inches="tight", metadata={"Software": None})
    figure.savefig(path.with_suffix(".svg"), bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return path


def tiles(rows: Sequence[Sequence[Mapping]], *, height: float = 2.6) -> Figure:
    """A grid of pictures of one height.

    Parameters
    ----------
    rows : sequence of rows of tiles
        A tile is a mapping with ``image`` (Y, X) or (Y, X, 3), ``title``, and optionally ``cmap``, ``vmin``,
        ``vmax``, ``colorbar`` (its label), ``outline`` (bool array drawn as a contour), ``frame`` (a border, for
        pictures that are white) and ``bar`` (nm per pixel:
        draws a scale bar).
    """
    columns = max(map(len, rows))
    # A colour bar takes its width from the picture beside it, which is then as much lower.
    tall = height * (0.8 if any(tile.get("colorbar") for row in rows for tile in row) else 1) + 0.35
    size = (height * columns, tall * len(rows))
    figure, axes = plt.subplots(len(rows), columns, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for axis_row, row in zip(axes, rows, strict=True):
        for axis, tile in zip(axis_row, row, strict=False):
            shown = axis.imshow(
                tile["image"],
                cmap=tile.get("cmap", "gray"),
                vmin=tile.get("vmin"),
                vmax=tile.get("vmax"),
                interpolation="nearest",
            )
            axis.set_title(tile["title"], fontsize=9)
            if tile.get("frame"):
                axis.axis("on")
                axis.set(xticks=[], yticks=[])
            if tile.get("outline") is not None and tile["outline"].any():
                axis.contour(tile["outline"], [0.5], colors="#E69F00", linewidths=0.8)
            if tile.get("colorbar"):
                bar = figure.colorbar(shown, ax=axis, fraction=0.046, pad=0.02)
                bar.set_label(tile["colorbar"], fontsize=8)
                bar.ax.tick_params(labelsize=7)
            if tile.get("bar"):
                _scale_bar(axis, tile["image"].shape[:2], tile["bar"])
    return figure


def overlay(raw: np.ndarray, masks: np.ndarray, classes: Sequence[str]) -> tuple[np.ndarray, dict[str, str]]:
    """Raw (Y, X) in [0, 1] with each class's mask (C, Y, X) tinted; and class -> colour for a legend."""
    picture = np.repeat(raw[..., None].clip(0, 1), 3, -1)
    used = {}
    for mask, name, tint in zip(masks, classes, _CLASS_COLOURS, strict=False):
        rgb = np.array(matplotlib.colors.to_rgb(tint))
        picture[mask] = 0.55 * picture[mask] + 0.45 * rgb
        used[name] = tint
    return picture, used


def legend(figure: Figure, colours: Mapping[str, str]) -> None:
    """A row of colour patches under the figure."""
    handles = [matplotlib.patches.Patch(color=c, label=name) for name, c in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)


def errors(prediction: np.ndarray, truth: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """Raw (Y, X) in [0, 1] with false positives in vermilion and false negatives in blue, shape (Y, X, 3)."""
    picture = np.repeat((0.35 + 0.65 * raw[..., None]).clip(0, 1), 3, -1)
    picture[prediction & ~truth] = matplotlib.colors.to_rgb("#D55E00")
    picture[~prediction & truth] = matplotlib.colors.to_rgb("#0072B2")
    return picture


def training_curve(history: Sequence[Mapping[str, float]], objective: str, metric: str = "IoU") -> Figure:
    """Loss (its own scale) and a validation metric against the step."""
    steps = [entry["step"] for entry in history]
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
    left.plot(steps, [entry["loss"] for entry in history], "o-", ms=4, color=colour(objective))
    left.set(xlabel="step", ylabel=f"{objective} loss (mean of interval)", ylim=(0, None))
    right.plot(steps, [entry[metric] for entry in history], "o-", ms=4, color=colour(objective))
    right.set(xlabel="step", ylabel=f"validation {metric}, natural cut", ylim=(0, 1))
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def curves(histories: Mapping[tuple[str, int], Sequence[Mapping[str, float]]], metric: str = "IoU") -> Figure:
    """A validation metric through training, a line for each run; keys are (objective, seed)."""
    figure, axis = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
    labelled = set()
    for (objective, _), history in histories.items():
        label = None if objective in labelled else objective
        labelled.add(objective)
        steps, values = [e["step"] for e in history], [e[metric] for e in history]
        axis.plot(steps, values, "o-", ms=3, lw=1.2, alpha=0.8, color=colour(objective), label=label)
    axis.set(xlabel="step", ylabel=f"validation {metric}, natural cut", ylim=(0, 1))
    axis.legend(frameon=False, fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def comparison(per_seed: Mapping[str, "object"], metric_label: str) -> Figure:
    """Every seed's value for each objective, lines joining the same seed, a bar at the mean; a panel for each cut.

    Parameters
    ----------
    per_seed : mapping
        Panel title -> DataFrame with the columns objective, seed and ``value``.
    """
    import seaborn as sns

    figure, axes = plt.subplots(
        1, len(per_seed), figsize=(4.2 * len(per_seed), 3.4), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, (title, table) in zip(axes[0], per_seed.items(), strict=True):
        order = list(dict.fromkeys(table["objective"]))
        for _, run in table.groupby("seed"):
            x = [order.index(o) for o in run["objective"]]
            axis.plot(x, run["value"], color="0.75", lw=1, zorder=1)
        sns.stripplot(
            table, x="objective", y="value", hue="objective", order=order, hue_order=order, jitter=False, size=7,
            palette={o: colour(o) for o in order}, ax=axis, zorder=2,
        )  # fmt: skip
        for x, objective in enumerate(order):
            mean = table.loc[table["objective"] == objective, "value"].mean()
            axis.hlines(mean, x - 0.2, x + 0.2, color="black", lw=1.5, zorder=3)
        axis.set(title=title, xlabel="", ylabel=metric_label, ylim=(0, 1))
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def shares(table) -> Figure:
    """Foreground share of each image (rows) and class (columns), on a logarithmic axis."""
    figure, axis = plt.subplots(figsize=(6.5, 0.5 + 0.45 * table.shape[1]), layout="constrained")
    for position, (name, tint) in enumerate(zip(table.columns, _CLASS_COLOURS, strict=False)):
        values = table[name][table[name] > 0]
        axis.plot(values, np.full(len(values), position), "o", ms=5, alpha=0.6, mec="none", color=tint)
    axis.set(xscale="log", xlabel="share of the image's pixels", ylim=(table.shape[1] - 0.5, -0.5))
    axis.set_yticks(range(table.shape[1]), table.columns)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def profiles(panels: Mapping[str, tuple], xlabels: Sequence[str], ylabel: str) -> Figure:
    """Line plots side by side.

    Parameters
    ----------
    panels : mapping
        Title -> (x, label -> y, bool array shaded in grey or None).
    xlabels : sequence of str
        One per panel.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(3.2 * len(panels), 3.6), layout="constrained")
    for axis, (title, (x, lines, shade)), xlabel in zip(axes, panels.items(), xlabels, strict=True):
        for (label, y), tint, style in zip(lines.items(), PALETTE.values(), ("o-", "s--", "^:"), strict=False):
            axis.plot(x, y, style, ms=4, lw=1.2, color=tint, label=label)
        if shade is not None:
            axis.fill_between(x, 0, 1, where=shade, step="mid", color="0.88", transform=axis.get_xaxis_transform())
        axis.axhline(0, color="0.6", lw=0.8, zorder=0)
        axis.set(title=title, xlabel=xlabel)
        axis.legend(frameon=False, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.22))
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(ylabel)
    return figure


def split_map(blocks: Mapping[str, Sequence[str]]) -> Figure:
    """Which images train, validate and test: one row of squares, by name."""
    names = sorted(name for members in blocks.values() for name in members)
    tints = {"train": "#009E73", "validation": "#E69F00", "test": "#CC79A7"}
    figure, axis = plt.subplots(figsize=(8, 0.9), layout="constrained")
    for role, members in blocks.items():
        for name in members:
            axis.bar(names.index(name), 1, width=0.9, color=tints[role])
    axis.set_xticks(range(len(names)), [name.rpartition("/")[2] for name in names], fontsize=7)
    axis.set(yticks=[], xlabel="section")
    axis.spines[:].set_visible(False)
    legend(figure, {role: tints[role] for role in blocks})
    return figure


def _scale_bar(axis, shape: tuple[int, ...], nm_per_pixel: float) -> None:
    choices = np.array([50, 100, 200, 500, 1000, 2000, 5000])
    length = choices[np.abs(choices - 0.25 * shape[1] * nm_per_pixel).argmin()]
    x, y = 0.06 * shape[1], 0.94 * shape[0]
    halo = [matplotlib.patheffects.withStroke(linewidth=3, foreground="black")]
    thick = [matplotlib.patheffects.withStroke(linewidth=6, foreground="black")]
    axis.plot([x, x + length / nm_per_pixel], [y, y], color="white", lw=3, solid_capstyle="butt", path_effects=thick)
    label = f"{length / 1000:g} µm" if length >= 1000 else f"{length} nm"
    axis.text(x, y - 0.025 * shape[0], label, color="white", fontsize=8, va="bottom", path_effects=halo)
