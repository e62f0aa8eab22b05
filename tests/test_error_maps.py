"""The error browser: its pictures pixel by pixel, and its page in a real browser."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from test_explorer import choose, write_page

from helpers import error_maps
from helpers.figures.pictures import Crop
from helpers.inline import script

SHAPE = (6, 8)


def made_crop(seed=0):
    rng = np.random.default_rng(seed)
    truth, known = rng.random(SHAPE) < 0.4, rng.random(SHAPE) < 0.9
    raw = rng.random(SHAPE).astype(np.float32)
    results = {"bce": (rng.random(SHAPE), 0.5), "dice": (rng.normal(size=SHAPE), 0.1), "none": (raw, np.nan)}
    return truth, known, raw, results


def crop_of(seed=0, section=None):
    truth, known, raw, results = made_crop(seed)
    window = (slice(3, 3 + SHAPE[0]), slice(5, 5 + SHAPE[1]))
    window = window if section is None else (slice(section, section + 1), *window)
    return error_maps.crop_data(Crop("section/7", window, 0.25, {}), raw, truth, known, results, 10.0)


def greys(png):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))


def test_pictures_are_what_they_say():
    truth, known, raw, results = made_crop()
    data = crop_of(section=4)
    assert (data["section"], data["corner"], data["size"]) == (4, [3, 5], list(SHAPE))
    np.testing.assert_array_equal(greys(data["truth"]), truth)
    assert np.abs(greys(data["raw"]) / 255 - raw).max() <= 0.5 / 255 + 1e-6
    names = {number: name for name, number in error_maps.OUTCOMES.items()}
    for objective in data["objectives"]:
        score, cut = results[objective["name"]]
        outcome = np.vectorize(names.get)(greys(objective["outcome"]))
        for y, x in np.ndindex(SHAPE):
            told = ("positive" if score[y, x] > cut else "negative") if known[y, x] else ""
            right = "true " if (score[y, x] > cut) == truth[y, x] else "false "
            assert outcome[y, x] == (right + told if told else "unknown")
        wrong = np.isin(outcome, ["false positive", "false negative"]).sum() / known.sum()
        assert objective["wrong"] == pytest.approx(wrong, abs=1e-5)
        share = (score - score.min()) / (score.max() - score.min())
        assert np.abs(greys(objective["score"]) / 255 - share).max() <= 0.5 / 63 + 0.5 / 255


def test_what_does_not_fit_is_refused():
    truth, known, raw, results = made_crop()
    crop = Crop("i", (slice(0, 6), slice(0, 8)), 0.1, {})
    with pytest.raises(ValueError, match=r"the score of bce \(5, 8\); expected one shape"):
        error_maps.crop_data(crop, raw, truth, known, {"bce": (raw[1:], 0.5)}, None)
    with pytest.raises(ValueError, match="no objective's score of i"):
        error_maps.crop_data(crop, raw, truth, known, {}, None)
    with pytest.raises(ValueError, match="no known voxel in the crop of i"):
        error_maps.crop_data(crop, raw, truth, known & False, results, None)


def test_a_score_that_is_constant_or_not_finite_has_a_picture():
    truth, known, raw, _ = made_crop()
    broken = np.where(truth, np.nan, 1.0)
    crop = Crop("i", (slice(0, 6), slice(0, 8)), 0.1, {})
    data = error_maps.crop_data(crop, raw, truth, known, {"a": (np.ones(SHAPE), 0.5), "b": (broken, 0.5)}, None)
    assert all(not greys(o["score"]).any() for o in data["objectives"])


@pytest.fixture
def page(browser, root, tmp_path):
    part = error_maps.part_data("made", {"a": [crop_of(0), crop_of(1, section=2)]}, described="No images.")
    browser.open(write_page(tmp_path, root, script([part], "errors-data"), "error-browser", "error_browser.js"))
    browser.run(f"{BROWSER}.drawn")
    return browser


BROWSER = "document.querySelector('figure.error-browser').errorBrowser"


def pictures(browser):
    """Captions of the pictures, and the colours at the middle of each pixel of the crop."""
    browser.run(f"{BROWSER}.drawn")
    return browser.run(
        "Array.from(document.querySelectorAll('.errors-pair figure'), (f) => { const c = f.querySelector('canvas');"
        f"const z = c.width / {SHAPE[1]}; const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        f"const at = []; for (let y = 0; y < {SHAPE[0]}; y += 1) for (let x = 0; x < {SHAPE[1]}; x += 1)"
        "{ const k = 4 * (Math.floor((y + 0.5) * z) * c.width + Math.floor((x + 0.5) * z));"
        "at.push([d[k], d[k + 1], d[k + 2]]); }"
        "return [f.querySelector('figcaption').textContent, at]; })"
    )


def test_errors_stand_where_they_are(page):
    truth, known, _, results = made_crop()
    shown = dict(pictures(page))
    wrong = {o: np.mean(((s > c) != truth)[known]) for o, (s, c) in results.items()}
    assert list(shown)[2:] == [
        *("bce: score", f"bce: {100 * wrong['bce']:.1f} % wrong"),
        *("dice: score", f"dice: {100 * wrong['dice']:.1f} % wrong"),
    ]
    found = np.array(shown[f"dice: {100 * wrong['dice']:.1f} % wrong"]).reshape(*SHAPE, 3)
    score, cut = results["dice"]
    np.testing.assert_array_equal((found == (213, 94, 0)).all(-1), (score > cut) & ~truth & known)
    np.testing.assert_array_equal((found == (0, 114, 178)).all(-1), ~(score > cut) & truth & known)
    assert page.complaints() == []


@pytest.mark.parametrize(("width", "columns"), [(596, 2), (900, 2), (340, 1)])
def test_the_pictures_of_a_pair_stand_side_by_side_where_there_is_room(page, width, columns):
    """596 pixels are what the book leaves to a page's text in a window of 1200."""
    browser = page
    browser.run(f"document.body.style.cssText = 'margin: 0; width: {width}px'; 0")
    lefts, tops, widths = browser.run(
        "(() => { const all = Array.from(document.querySelectorAll('.errors-pair canvas'), (c) => "
        "c.getBoundingClientRect()); return ['left', 'top', 'width'].map((k) => all.map((r) => Math.round(r[k]))); })()"
    )
    assert len(lefts) == 6 and len(set(lefts)) == columns and len(set(tops)) == 6 // columns
    assert min(widths) > 280


def test_any_two_objectives_at_any_place(page):
    choose(page, "left", "none")
    assert [text for text, _ in pictures(page)][2] == "none: score"
    page.run("document.querySelector('.results-controls button').click()")
    texts = [text for text, _ in pictures(page)]
    assert texts[2] == "dice: score" and texts[4] == "none: score"
    before = pictures(page)
    choose(page, "place", "1")
    assert pictures(page)[0] != before[0] and [t for t, _ in pictures(page)][2] == "dice: score"
    said = page.run("document.querySelector('.results-said').textContent")
    assert said.startswith("a in section/7, section 2: dice is wrong on ") and said.endswith("No images.")
    page.call("Emulation.setDeviceMetricsOverride", width=340, height=800, deviceScaleFactor=1, mobile=False)
    assert page.run("document.documentElement.scrollWidth") <= 340
    assert page.complaints() == []
