"""Tables and arrays to matplotlib figures. Every function returns a Figure; :func:`save` writes it.

:mod:`helpers.figures.words` makes their alternative texts, of the same tables.
"""

from helpers.figures import words
from helpers.figures.lines import against, beside
from helpers.figures.objects import coloured
from helpers.figures.pictures import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    Crop,
    errors,
    hardest_crops,
    overlay,
    panels,
    tiles,
)
from helpers.figures.plots import profiles, shares, training_curve
from helpers.figures.results import CUTS, comparison, curves, cuts, depth_curve, differences, reliability
from helpers.figures.style import CLASS_COLOURS, PALETTE, STYLES, TRIVIAL, colour, legend, legend_of, save, style

__all__ = [
    "CLASS_COLOURS",
    "CUTS",
    "FALSE_NEGATIVE",
    "FALSE_POSITIVE",
    "PALETTE",
    "STYLES",
    "TRIVIAL",
    "Crop",
    "against",
    "beside",
    "colour",
    "coloured",
    "comparison",
    "curves",
    "cuts",
    "depth_curve",
    "differences",
    "errors",
    "hardest_crops",
    "legend",
    "legend_of",
    "overlay",
    "panels",
    "profiles",
    "reliability",
    "save",
    "shares",
    "style",
    "tiles",
    "training_curve",
    "words",
]
