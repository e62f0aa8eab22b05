"""Questions whose reference differs from one to the next: one reading against another, within each neighbourhood."""

import math
from collections.abc import Mapping

from helpers.statistics.comparison import MARGIN, compare
from helpers.statistics.table import paired_differences
from helpers.statistics.words import difference_text, p_text

SECOND = "the second named"  # the reference of an answer: the question names it


def ask(
    table,
    metric: str,
    questions: Mapping[str, tuple[str, str]],
    *,
    side: str = "reading",
    within: str = "neighbourhood",
    everywhere: str = "none",
    margin: float = MARGIN,
):
    """The answers of :func:`helpers.statistics.compare` to several questions, each a family of its own for Holm.

    Parameters
    ----------
    table : DataFrame
        Rows as for :func:`compare` (one study, data set and subset), with the columns `side` and `within`.
    questions : mapping
        Title -> (one value of `side`, the other): is the first better than the second, within each value of `within`?
    everywhere : str
        The value of `within` in rows that belong to every one of them.

    Returns
    -------
    differences, comparison : DataFrames
        As :func:`paired_differences` and :func:`compare` make them, the column ``class`` holding the question, the
        column ``objective`` the value of `within` (where there are several classes, the class before it), and
        ``reference`` SECOND. A unit that lacks one side, or an image of it, is left out.
    unanswered : list of str
        Questions without rows on one side, and why.
    """
    import pandas as pd

    parts, answers, unanswered = [], [], []
    several = table["class"].nunique() > 1
    for title, (one, other) in questions.items():
        lacking = [name for name in (one, other) if name not in set(table[side])]
        rows = _within(table[table[side].isin([one, other])], side, within, everywhere, several)
        if rows.empty:
            why = f"no rows of {' and '.join(lacking)}" if lacking else f"no {within} has rows of both"
            unanswered.append(f"{title}: {why}")
            continue
        for found, make in ((parts, paired_differences), (answers, compare)):
            more = {"margin": margin} if make is compare else {}
            result = make(rows, metric, other, missing="drop", **more)
            found.append(result.assign(objective=result["class"], **{"class": title}))
    if not answers:
        return pd.DataFrame(), pd.DataFrame(), unanswered
    return (
        pd.concat(parts, ignore_index=True),
        pd.concat(answers, ignore_index=True).assign(reference=SECOND),
        unanswered,
    )


def answer(comparison, title: str) -> str:
    """A question's rows in words: difference, interval, n, corrected p and verdict of each, or why there is none.

    Of the rows that :func:`ask` made; "no answer" where it has none of that title.
    """
    rows = comparison[comparison["class"] == title] if len(comparison) else comparison
    told = [
        f"{row['objective']} {difference_text(row).replace(f' against {SECOND}', '')}" for _, row in rows.iterrows()
    ]
    return "; ".join(told) or "no answer"


def crossed(comparison):
    """The answers that :func:`ask` made as a table to read: a row a question, a column each value of `within`.

    Returns
    -------
    DataFrame with the column question, then the values of `within`, of text: "worse: -0.024 (-0.042 to
    -0.007), p = 0.047", which is verdict, difference, interval and corrected p; "+0.010, no interval" of too few units,
    "undefined" without a difference, and nothing where a question has no answer. No columns where there is no row.
    """
    import pandas as pd

    def told(row) -> str:
        if math.isnan(row["difference"]):
            return "undefined"
        if math.isnan(row["low"]):
            return f"{row['difference']:+.3f}, no interval"
        test = "" if math.isnan(row["p_holm"]) else f", {p_text(row['p_holm'])}"
        text = f"{row['verdict']}: {row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f}){test}"
        return text.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")  # cells are narrow

    if comparison.empty:
        return pd.DataFrame()
    cells = comparison.assign(cell=[told(row) for _, row in comparison.iterrows()])
    titles = cells["class"].unique()
    fullest = cells.loc[cells["class"] == cells["class"].mode()[0], "objective"]  # the others may lack some
    columns = list(dict.fromkeys([*fullest, *cells["objective"]]))
    table = cells.pivot(index="class", columns="objective", values="cell").reindex(index=titles, columns=columns)
    return table.fillna("").rename_axis(index="question", columns=None).reset_index()


def _within(rows, side: str, within: str, everywhere: str, several: bool):
    """Rows as compare takes them: objective the side, class the value of `within`; only where both sides are."""
    import pandas as pd

    parts = []
    for value in dict.fromkeys(rows.loc[rows[within] != everywhere, within]):
        own = rows[rows[within].isin([value, everywhere])]
        if own[side].nunique() == 2:
            name = own["class"] + ", " + value if several else value
            parts.append(own.assign(objective=own[side], **{"class": name}))
    return pd.concat(parts, ignore_index=True) if parts else rows.iloc[:0].assign(objective=[])
