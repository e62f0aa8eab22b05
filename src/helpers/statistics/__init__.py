"""Comparisons of objectives on a tidy table: means, paired differences, intervals, tests and verdicts.

The unit of replication is the seed; where splits are crossed with seeds, each (split, seed) is a unit of its own, and
splits are fixed: intervals are for those that were run. Images are crossed with seeds, not nested in them: each unit's
images are averaged first, and only units vary in an interval or a test. What is said holds for the images and the
specimen that were judged, and for no population of them.
Every function takes rows as in :mod:`helpers.tables`, or a table that another function here made of them.
"""

from helpers.statistics.comparison import MARGIN, VERDICTS, compare, holm, summary, tally
from helpers.statistics.interaction import interaction
from helpers.statistics.pooling import collapsed, pooled, pooled_means, pooled_reliability
from helpers.statistics.questions import SECOND, answer, ask, crossed
from helpers.statistics.table import (
    METRICS,
    READINGS,
    check,
    depth_curve,
    label,
    lacking,
    metrics_of,
    paired_differences,
    per_seed,
    split_metric,
    unpaired,
    with_parameter,
)
from helpers.statistics.training import THROUGH, against, at_the_end, first_above, over_seeds
from helpers.statistics.words import MINIMUM_SEEDS, caveat, counted_units, difference_text, in_words, sentence

__all__ = [
    "MARGIN",
    "METRICS",
    "MINIMUM_SEEDS",
    "READINGS",
    "SECOND",
    "THROUGH",
    "VERDICTS",
    "against",
    "answer",
    "ask",
    "at_the_end",
    "caveat",
    "check",
    "collapsed",
    "compare",
    "counted_units",
    "crossed",
    "depth_curve",
    "difference_text",
    "first_above",
    "holm",
    "in_words",
    "interaction",
    "label",
    "lacking",
    "metrics_of",
    "over_seeds",
    "paired_differences",
    "per_seed",
    "pooled",
    "pooled_means",
    "pooled_reliability",
    "sentence",
    "split_metric",
    "summary",
    "tally",
    "unpaired",
    "with_parameter",
]
