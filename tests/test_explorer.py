"""The results explorer: its numbers against pandas, and its page in a real browser."""

import json

import numpy as np
import pandas as pd
import pytest

from helpers import explorer, statistics
from helpers.inline import as_json, script


def made_rows(**change):
    """Two objectives, one of which lacks a run; two images; one class of two has no value of one metric."""
    rng = np.random.default_rng(0)
    rows = [
        {"objective": o, "class": c, "image": i, "split": 0, "seed": s}
        | {"iou_tuned": rng.random(), "voi": np.nan if c == "b" else rng.random(), "steps": 5}
        for o in ("bce", "an_objective_of_ones_own")
        for s in range(3)
        for c in ("a", "b")
        for i in ("x", "y")
        if (o, s) != ("bce", 2)
    ]
    return pd.DataFrame(rows).assign(**change)


def test_values_are_means_over_images_in_the_order_of_the_units():
    rows = made_rows()
    data = explorer.explorer_data(rows, "made", described="No images.")
    assert [m["column"] for m in data["metrics"]] == ["iou_tuned", "voi"] and [
        m["better"] for m in data["metrics"]
    ] == [1, -1]
    assert data["units"] == [[0, 0], [0, 1], [0, 2]] and data["n_images"] == {"a": 2, "b": 2}
    for objective in ("bce", "an_objective_of_ones_own"):
        for seed in range(3):
            mine = rows.query("objective == @objective and seed == @seed and `class` == 'a'")["iou_tuned"]
            found = data["values"]["a"]["iou_tuned"][objective][seed]
            assert found is None if not len(mine) else found == pytest.approx(mine.mean(), rel=1e-4)
    assert data["values"]["b"]["voi"]["bce"] == [None] * 3
    json.loads(as_json(data))


def gaps():
    """One image of each run of one objective has no value of a metric that the class has elsewhere."""
    rows = made_rows()
    lost = (rows["objective"] == "bce") & (rows["image"] == "x") & (rows["class"] == "a")
    return rows.assign(voi=rows["voi"].where(~lost))


def test_values_left_out_of_the_means_are_counted_where_there_are_any():
    found = explorer.explorer_data(gaps(), "made")["undefined"]
    assert found["a"] == {"voi": {"bce": [2, 4], "an_objective_of_ones_own": [0, 6]}}
    assert found["b"] == {"voi": {"bce": [4, 4], "an_objective_of_ones_own": [6, 6]}}
    assert set(found) == {"a", "b"} and set(found["b"]) == {"voi"}, "where nothing is left out there is no entry"


def test_where_values_are_left_out_differences_are_over_the_images_of_both():
    rows = gaps()
    own = rows[rows["class"] == "a"]
    units = own[(own["split"] == 0) & (own["seed"] < 2)]  # the third seed of one objective is not there
    expected = statistics.paired_differences(units, "voi").set_index("seed")["difference"]
    found = explorer.explorer_data(rows, "made")["paired"]
    assert set(found) == {"a"} and set(found["a"]) == {"voi"}, "kept only where it is not the difference of means"
    *mine, gone = found["a"]["voi"]["an_objective_of_ones_own"]["bce"]
    *other, also = found["a"]["voi"]["bce"]["an_objective_of_ones_own"]
    assert mine == pytest.approx(expected.loc[[0, 1]].tolist(), rel=1e-5) and other == [-value for value in mine]
    assert gone is None and also is None


@pytest.mark.slow
def test_the_published_counts_are_those_of_the_published_rows(root):
    some = 0
    for path in (root / "book/results").glob("*/*/explorer.json"):
        part, rows = json.loads(path.read_text()), pd.read_csv(path.with_name("rows.csv"))
        for name, metrics in part["undefined"].items():
            for column, counts in metrics.items():
                for objective, (left, every) in counts.items():
                    own = rows.loc[(rows["class"] == name) & (rows["objective"] == objective), column]
                    assert (left, every) == (own.isna().sum(), len(own)), (path, name, column, objective)
                    some += left
        assert part.get("paired", {}) == explorer.explorer_data(rows, part["title"])["paired"], path
    assert some


def test_a_table_without_a_metric_is_refused():
    with pytest.raises(ValueError, match="0 rows and no metric in them; expected the rows of a study's runs"):
        explorer.explorer_data(made_rows().iloc[:0], "made")
    with pytest.raises(ValueError, match="20 rows and no metric"):
        explorer.explorer_data(made_rows(iou_tuned=np.nan, voi=np.nan), "made")


def test_data_cannot_end_the_script_that_holds_it():
    assert script(["</script><b>"], "x").count("</script>") == 1


# ---- the browser


def write_page(folder, root, data, what, *files):
    """A page of its own with one figure of that class."""
    static = root / "book" / "_static"
    code = "\n".join((static / name).read_text() for name in ("elements.js", *files))
    style = "\n".join((static / name).read_text() for name in ("elements.css", "results_explorer.css"))
    page = folder / "page.html"
    page.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><link rel="icon" href="data:,"><title>t</title>'
        f'<style>{style}</style><body><figure class="{what}"><p class="results-without">none</p></figure>{data}'
        f"<script>{code}</script></body></html>"
    )
    return page


@pytest.fixture
def page(browser, root, tmp_path):
    more = explorer.explorer_data(made_rows(iou_tuned=0.5), "another").copy()
    data = script([explorer.explorer_data(made_rows(), "made", described="No images."), more], "results-data")
    browser.open(write_page(tmp_path, root, data, "results-explorer", "results_plot.js", "results_explorer.js"))
    return browser


def table(browser):
    return browser.run(
        "Array.from(document.querySelectorAll('tbody tr'), (r) => Array.from(r.cells, (c) => c.textContent))"
    )


def choose(browser, name, value):
    browser.run(
        f"(() => {{ const c = document.querySelector('[data-choice={name}]'); c.value = {value!r};"
        "c.dispatchEvent(new Event('change', {bubbles: true})); })()"
    )


def dots(browser):
    return browser.run("document.querySelectorAll('svg .dot').length")


def test_the_table_holds_means_and_paired_differences(page):
    rows = made_rows()
    means = rows[rows["class"] == "a"].groupby(["objective", "seed"])["iou_tuned"].mean()
    mine, reference = means["an_objective_of_ones_own"], means["bce"]
    difference = (mine - reference).dropna()
    shown = {row[0]: row[1:] for row in table(page)}
    expected = ["3", *(f"{v:#.4g}" for v in (mine.mean(), mine.min(), mine.max()))]
    expected += [f"{difference.mean():+#.4g}".replace("-", "−"), f"{(difference > 0).sum()} of 2", "0"]
    assert shown["an_objective_of_ones_own"] == expected
    assert shown["bce"][:2] == ["2", f"{reference.mean():#.4g}"] and shown["bce"][4:] == ["–", "–", "0"]
    assert dots(page) == 5 and page.complaints() == []
    assert page.run("getComputedStyle(document.querySelector('.results-without')).display") == "none"


def test_choices_change_what_is_shown_and_keep_what_they_can(page):
    choose(page, "class", "b")
    choose(page, "metric", "voi")
    assert dots(page) == 0 and [row[1:3] for row in table(page)] == [["0", "–"]] * 2
    assert "variation of information, b: less is better" in page.run(
        "document.querySelector('.results-said').textContent"
    )
    choose(page, "class", "a")
    assert dots(page) == 5
    choose(page, "part", "1")
    assert page.run("document.querySelector('[data-choice=class]').value") == "a"
    assert page.run("document.querySelector('[data-choice=metric]').value") == "voi"
    choose(page, "metric", "iou_tuned")
    assert {row[2] for row in table(page)} == {"0.5000"}
    page.run("document.querySelector('input[value=bce]').click()")
    assert len(table(page)) == 1 and dots(page) == 3
    page.run("document.querySelector('input[value=an_objective_of_ones_own]').click()")
    assert "tick one above" in page.run("document.querySelector('.results-plot').textContent")
    assert page.complaints() == []


def test_images_that_are_left_out_are_counted_in_the_table_and_below_the_plot(browser, root, tmp_path):
    rows = gaps()
    data = explorer.explorer_data(rows, "made", described="No images.")
    files = ("results_plot.js", "results_explorer.js")
    browser.open(write_page(tmp_path, root, script([data], "results-data"), "results-explorer", *files))
    said = "document.querySelector('.results-said').textContent"
    assert {row[0]: row[-1] for row in table(browser)} == {"bce": "0", "an_objective_of_ones_own": "0"}
    assert "where it is defined; lines" in browser.run(said)
    choose(browser, "metric", "voi")
    assert {row[0]: row[-1] for row in table(browser)} == {"bce": "2 of 4", "an_objective_of_ones_own": "0"}
    assert "where it is defined (2 of 10 images of runs are left out); lines" in browser.run(said)
    pairs = rows[(rows["class"] == "a") & (rows["seed"] < 2)]
    expected = statistics.paired_differences(pairs, "voi")["difference"].mean()
    shown = next(row for row in table(browser) if row[0] == "an_objective_of_ones_own")
    assert shown[5] == f"{expected:+#.4g}".replace("-", "−"), "over the images on which both are defined"
    browser.run("document.querySelector('button[data-key=undefined]').click()")
    assert [row[0] for row in table(browser)] == ["bce", "an_objective_of_ones_own"]
    choose(browser, "class", "b")
    assert {row[-1] for row in table(browser)} == {"4 of 4", "6 of 6"}
    assert browser.complaints() == []


def test_the_table_sorts_by_keyboard_and_says_so(page):
    first = [row[0] for row in table(page)]
    page.run("document.querySelector('button[data-key=mean]').focus()")
    page.call("Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13)
    page.call("Input.dispatchKeyEvent", type="keyUp", key="Enter", code="Enter", windowsVirtualKeyCode=13)
    assert [row[0] for row in table(page)] == first[::-1]
    assert page.run("document.activeElement.dataset.key") == "mean", "the focus stays"
    sorts = page.run("Array.from(document.querySelectorAll('thead th'), (h) => h.getAttribute('aria-sort'))")
    assert sorts == ["none", "none", "ascending", "none", "none", "none", "none", "none"]


def test_everything_fits_a_narrow_window(page):
    page.call("Emulation.setDeviceMetricsOverride", width=360, height=800, deviceScaleFactor=1, mobile=False)
    assert page.run("document.documentElement.scrollWidth") <= 360
