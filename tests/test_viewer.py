"""The surface that turns, in a real browser: drawn, changed, turned, by mouse and by keyboard, without a network."""

import base64
import json
from dataclasses import replace

import numpy as np
import pytest
from devtools import Browser

from helpers import surface_viewer
from helpers.surfaces import Surface, Surfaces

PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def example(n=21, moments=(1, 10, 100)):
    """Two planes of three quantities with known minima; a corner of one of them is not finite."""
    axis = np.linspace(-1, 1, n)
    x, y = np.meshgrid(axis, axis)
    found = {}
    for name in ("random", "pca"):
        values = np.empty((len(moments), 3, n, n))
        for m in range(len(moments)):
            values[m, 0] = (1 + 4 * (x - 0.5) ** 2 + 2 * (y + 0.2) ** 2) / (m + 1)
            values[m, 1] = np.exp(3 * (x + y) * (m + 1))
            values[m, 2] = np.clip(1 - x**2 - y**2, 0, 1)
        if name == "pca":
            values[:, 0, -6:, -6:] = np.nan
        path = np.array([[[-0.8, -0.6], [-0.2, 0.3], [0.1, 0.1], [np.nan, np.nan]]] * len(moments))
        middle = np.full((len(moments), 2), n // 2)
        grid = np.tile(axis, (len(moments), 1))
        shares = np.tile([0.6, 0.3], (len(moments), 1))
        found[name] = Surface(name, grid, grid.copy(), middle, path, shares, values)
    return Surfaces(
        quantities=("bce", "dice", "IoU"),
        better={"bce": "lower", "dice": "lower", "IoU": "higher"},
        steps=moments,
        path_steps=(1, 3, 10, 100),
        path_values=np.zeros((3, 4)),
        eigenvalues=np.zeros((len(moments), 0)),
        smallest=np.zeros(len(moments)),
        gradient_norm=np.zeros(len(moments)),
        planes=found,
        about={},
    )


# ---- the data


@pytest.mark.parametrize(
    "values",
    [
        np.array([[0.25, 0.5], [np.nan, 3.0]]),
        np.array([[1e-3, 5.0], [2e4, np.inf]]),
        np.array([[-2.0, 0.0], [1e6, 1.0]]),
        np.full((3, 3), 7.0),
        np.full((2, 2), np.nan),
    ],
)
def test_quantised_numbers_come_back_within_half_a_step(values):
    packed = surface_viewer.quantised(values)
    codes = np.frombuffer(base64.b64decode(packed["data"]), "<u2").reshape(values.shape)
    finite = np.isfinite(values)
    assert ((codes == 65535) == ~finite).all()
    back = packed["lo"] + codes[finite] / 65534 * (packed["hi"] - packed["lo"])
    true = np.log(values[finite]) if packed["log"] else values[finite]
    assert np.abs(back - true).max(initial=0) <= 0.51 / 65534 * max(packed["hi"] - packed["lo"], 1e-12)
    assert packed["log"] == (values is not None and bool(finite.any()) and values[finite].min() > 0
                             and values[finite].max() > 100 * values[finite].min())  # fmt: skip


def test_the_best_point_and_what_is_missing_are_exact():
    data = surface_viewer.viewer_data(example())
    assert [q["kind"] for q in data["quantities"]] == ["loss", "loss", "metric"]
    first = data["planes"][0]["summary"]
    assert first[0][0]["best"] == {"value": pytest.approx(1), "x": pytest.approx(0.5), "y": pytest.approx(-0.2)}
    assert first[2][0]["best"]["value"] == 1 and first[2][0]["missing"] == 0
    assert first[0][0]["centre"] == pytest.approx(1 + 1 + 0.08)
    assert data["planes"][1]["summary"][0][0]["missing"] == 36
    assert data["planes"][1]["path"][0][3] is None
    json.loads(surface_viewer.as_json(data))


def test_a_page_that_would_not_open_at_once_is_refused():
    with pytest.raises(ValueError, match="MB of surfaces for one page; expected at most 2.5: take a lower resolution"):
        surface_viewer.viewer_data(example(n=201, moments=tuple(range(1, 8))))


def test_a_figure_needs_an_alt_text(tmp_path):
    (tmp_path / "a.png").write_bytes(PICTURE)
    with pytest.raises(ValueError, match="no alt text"):
        surface_viewer.figure({}, tmp_path / "a.png", "", "caption")


def test_a_page_of_41_points_5_moments_and_6_quantities_is_small():
    size = 41 * 41 * 5 * 6 * 2
    assert len(surface_viewer.quantised(np.random.default_rng(0).random(size))["data"]) < 1.5e6


# ---- the browser


def write(folder, *all_surfaces):
    (folder / "a.png").write_bytes(PICTURE)
    figures = [
        surface_viewer.figure(surface_viewer.viewer_data(s), folder / "a.png", "Contours of bce.", "A </script> & b")
        for s in all_surfaces
    ]
    return surface_viewer.write_page(folder / "page.html", "\n".join(figures), surface_viewer.scripts(), "Surfaces")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return write(tmp_path_factory.mktemp("page"), example())


@pytest.fixture
def viewer(browser, page):
    browser.open(page)
    return browser


VIEWER = "document.querySelector('figure.surface-viewer').surfaceViewer"
PIXELS = f"{VIEWER}.canvas.toDataURL()"
STATUS = f"{VIEWER}.status.textContent"


def choose(browser, control, value):
    browser.run(
        f"(() => {{ const c = {VIEWER}.controls.{control}; c.value = {value};"
        "for (const kind of ['input', 'change']) c.dispatchEvent(new Event(kind, {bubbles: true})); })()"
    )


def colours(browser):
    """How many different opaque colours the canvas shows."""
    return browser.run(
        f"(() => {{ const c = {VIEWER}.canvas; const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "const seen = new Set(); for (let k = 0; k < d.length; k += 4) if (d[k + 3] === 255)"
        "seen.add(d[k] * 65536 + d[k + 1] * 256 + d[k + 2]); return seen.size; })()"
    )


def test_it_draws_and_says_nothing_to_the_console_or_the_network(viewer):
    assert colours(viewer) > 200
    assert viewer.run("getComputedStyle(document.querySelector('.surface-static')).display") == "none"
    assert "Step 100, bce: " in viewer.run(STATUS) and "lowest on the grid 0.333" in viewer.run(STATUS)
    assert viewer.run("document.querySelector('figcaption').textContent") == "A </script> & b"
    assert viewer.complaints() == []


def test_the_browser_sees_the_numbers(viewer):
    surfaces = example()
    for p, plane in enumerate(surfaces.planes.values()):
        for q in range(3):
            viewer.run(f"Object.assign({VIEWER}.state, {{plane: {p}, quantity: {q}}}) && 0")
            for m in range(3):
                found = viewer.run(f"Array.from({VIEWER}.surface({m}), (v) => Number.isFinite(v) ? v : null)")
                found = np.array([np.nan if v is None else v for v in found]).reshape(21, 21)
                expected = plane.values[m, q]
                np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
                np.testing.assert_allclose(found, expected, rtol=3e-4, atol=2e-5 * np.nanmax(np.abs(expected)))


def test_the_slider_and_the_menus_change_what_is_drawn(viewer):
    seen = [viewer.run(PIXELS)]
    choose(viewer, "moment", 0)
    assert "Step 1, bce: 2.08 at the checkpoint" in viewer.run(STATUS)
    seen.append(viewer.run(PIXELS))
    choose(viewer, "quantity", 1)
    assert "Step 1, dice: " in viewer.run(STATUS)
    assert viewer.run(f"{VIEWER}.state.log"), "a loss over eight decades starts logarithmic"
    seen.append(viewer.run(PIXELS))
    choose(viewer, "quantity", 2)
    assert "highest on the grid 1 " in viewer.run(STATUS) and not viewer.run(f"{VIEWER}.state.log")
    assert viewer.run(f"{VIEWER}.controls.log.disabled"), "an IoU of 0 has no logarithm"
    seen.append(viewer.run(PIXELS))
    choose(viewer, "quantity", 0)
    choose(viewer, "plane", 1)
    assert "36 of 441 points not finite" in viewer.run(STATUS)
    seen.append(viewer.run(PIXELS))
    viewer.run(f"{VIEWER}.controls.path.click()")
    seen.append(viewer.run(PIXELS))
    viewer.run(f"{VIEWER}.controls.same.click()")
    seen.append(viewer.run(PIXELS))
    assert len(set(seen)) == len(seen)
    rows = viewer.run(f"Array.from({VIEWER}.table.rows, (r) => r.textContent)")
    assert len(rows) == 3 and rows[0].startswith("12.08")
    assert viewer.complaints() == []


def test_a_drag_turns_it_and_a_wheel_zooms_only_what_has_the_focus(viewer):
    box = viewer.run(
        f"(() => {{ const b = {VIEWER}.canvas.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; }})()"
    )
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    before, angle = viewer.run(PIXELS), viewer.run(f"{VIEWER}.view.azimuth")
    viewer.mouse("mouseWheel", x, y, deltaX=0, deltaY=-120)
    viewer.run("new Promise((done) => setTimeout(done, 100))")
    assert viewer.run(f"{VIEWER}.view.zoom") == 1
    viewer.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
    viewer.mouse("mouseMoved", x + 60, y + 20, button="left", buttons=1)
    viewer.mouse("mouseMoved", x + 120, y + 40, button="left", buttons=1)
    viewer.mouse("mouseReleased", x + 120, y + 40, button="left", clickCount=1)
    assert viewer.run(f"{VIEWER}.view.azimuth") == pytest.approx(angle + 1.2)
    turned = viewer.run(PIXELS)
    assert turned != before
    viewer.mouse("mouseMoved", x, y)
    assert viewer.run(PIXELS) == turned, "it turned after the button was released"
    viewer.mouse("mouseWheel", x, y, deltaX=0, deltaY=-120)
    Browser.wait(lambda: viewer.run(f"{VIEWER}.view.zoom") > 1, 20)
    assert viewer.complaints() == []


def test_the_keyboard_does_all_of_it(viewer):
    viewer.press("Tab", 30)  # to the end of the page and round again: no key is held
    viewer.run(f"{VIEWER}.canvas.focus()")
    seen = [viewer.run(PIXELS)]
    for key in ("ArrowLeft", "ArrowUp", "+", "PageDown"):
        viewer.press(key)
        seen.append(viewer.run(PIXELS))
    assert len(set(seen)) == len(seen)
    assert viewer.run(f"{VIEWER}.controls.moment.value") == "1" and "Step 10," in viewer.run(STATUS)
    viewer.press("PageUp")
    viewer.press("Home")
    assert viewer.run(PIXELS) == seen[0], "Home and Page Up lead back to where it began"
    names = viewer.run(
        "Array.from(document.querySelectorAll('.surface-live button, .surface-live select, .surface-live input'),"
        "(e) => e.getAttribute('aria-label') || (e.closest('label') || {}).textContent || '')"
    )
    assert len(names) == 13 and all(name.strip() for name in names)
    for k in range(7):
        viewer.run(f"document.querySelectorAll('.surface-buttons button')[{k}].click()")
    assert viewer.run(PIXELS) == seen[0], "each button, then reset"
    assert viewer.complaints() == []


def test_what_is_not_finite_is_left_open_and_never_filled(viewer):
    """From straight above, the middle of each cell is opaque where all its corners are finite, and open elsewhere."""
    viewer.run(f"Object.assign({VIEWER}.state, {{plane: 1, path: false}}) && 0")
    viewer.run(f"{VIEWER}.turn(0, 10)")
    drawn = np.array(viewer.run(
        f"(() => {{ const v = {VIEWER}, c = v.canvas, ctx = c.getContext('2d'), n = 21, out = [];"
        "const [w, h, z] = [c.clientWidth, c.clientHeight, v.view];"
        "const s = z.zoom * Math.min((w - 120) / 2.85, (h - 44) / 2.8);"
        "for (let j = 0; j < n - 1; j++) for (let i = 0; i < n - 1; i++) {"
        "const [a, b] = [(2 * i + 1) / (n - 1) - 1, (2 * j + 1) / (n - 1) - 1];"
        "const x = (w - 50) / 2 + s * (a * Math.cos(z.azimuth) - b * Math.sin(z.azimuth));"
        "const y = h / 2 - 4 - s * (a * Math.sin(z.azimuth) + b * Math.cos(z.azimuth));"
        "out.push(ctx.getImageData(Math.round(x), Math.round(y), 1, 1).data[3]); } return out; })()"
    )).reshape(20, 20)  # fmt: skip
    finite = np.isfinite(example().planes["pca"].values[2, 0])
    whole = finite[:-1, :-1] & finite[1:, :-1] & finite[:-1, 1:] & finite[1:, 1:]
    assert (drawn[whole] == 255).all()
    assert (drawn[~whole] < 255).all() and (~whole).sum() == 36


def test_the_path_lies_on_the_surface_and_nowhere_else(viewer):
    viewer.run(f"Object.assign({VIEWER}.state, {{plane: 1, moment: 0, same: false}}) && 0")
    heights = viewer.run(
        f"(() => {{ const v = {VIEWER}, c = v.canvas;"
        "const p = new SurfacePicture(v, c.getContext('2d'), c.clientWidth, c.clientHeight, v.range(false));"
        "return [[-0.33, 0.12], [0.5, -0.2], [1.3, 0], [0, -1.3], [0.9, 0.9]].map(([x, y]) => {"
        "const h = p.heightAt(x, y); return p.on(x, y) === null ? null : p.valueAt(h); }); })()"
    )
    assert heights[2:] == [None] * 3, "outside the plane, and where it is not finite"
    assert heights[:2] == pytest.approx([1 + 4 * 0.83**2 + 2 * 0.32**2, 1], abs=0.02)


def test_what_is_near_covers_what_is_far_from_every_side(browser, tmp_path):
    """A bowl seen from low: its near side hides the inside of the far one, which is lower, so of another colour."""
    import matplotlib

    surfaces = example(n=41)
    axis = np.linspace(-1, 1, 41)
    bowl = (axis[:, None] ** 2 + axis**2) / 2
    plane = replace(surfaces.planes["random"], values=np.tile(bowl, (3, 3, 1, 1)))
    browser.open(write(tmp_path, replace(surfaces, planes={"random": plane})))
    browser.run(f"Object.assign({VIEWER}.state, {{path: false}}) && 0")
    for azimuth in np.array([[0.5], [0.001]]).repeat(4, 1).ravel() + np.pi / 2 * np.tile(np.arange(4), 2):
        near = -0.9 * np.array([np.sin(azimuth), np.cos(azimuth)]) + 0.025  # within a row of cells
        share = near @ near / 2
        *rgb, alpha = browser.run(
            f"(() => {{ const v = {VIEWER}, c = v.canvas, k = c.getContext('2d');"
            f"Object.assign(v.view, {{azimuth: {azimuth}, elevation: 0.15}}); v.draw();"
            "const p = new SurfacePicture(v, k, c.clientWidth, c.clientHeight, v.range(false));"
            f"const [x, y] = p.place({near[0]}, {near[1]}, {share});"
            "return Array.from(k.getImageData(Math.round(x), Math.round(y), 1, 1).data); })()"
        )
        seen, expected = np.array(rgb) / sum(rgb), np.array(matplotlib.colormaps["viridis"](share)[:3])
        assert alpha == 255
        np.testing.assert_allclose(seen, expected / expected.sum(), atol=0.03)


def test_nothing_finite_at_all_is_said(browser, tmp_path):
    surfaces = example()
    plane = surfaces.planes["random"]
    empty = replace(plane, values=np.full_like(plane.values, np.nan), centre=np.full((3, 2), -1))
    browser.open(write(tmp_path, replace(surfaces, planes={"random": empty})))
    assert "not finite at the checkpoint" in browser.run(STATUS) and "nothing finite to draw" in browser.run(STATUS)
    assert browser.complaints() == []


def test_several_on_one_page_and_a_broken_one_does_not_stop_the_others(browser, tmp_path):
    path = write(tmp_path, example(), example())
    text = path.read_text()
    path.write_text(text.replace('"format":1', '"format":9', 1))
    browser.open(path)
    ready = browser.run("Array.from(document.querySelectorAll('figure'), (f) => f.classList.contains('surface-ready'))")
    assert ready == [False, True]
    assert browser.run("getComputedStyle(document.querySelector('.surface-static')).display") == "block"
    assert any("cannot be drawn" in line for line in browser.complaints())


def test_on_paper_and_without_scripts_the_static_picture_stands(viewer, page):
    display = "getComputedStyle(document.querySelector('{}')).display"
    viewer.call("Emulation.setEmulatedMedia", media="print")
    assert viewer.run(display.format(".surface-live")) == "none"
    assert viewer.run(display.format(".surface-static")) == "block"
    assert viewer.run("document.querySelector('.surface-static img').alt") == "Contours of bce."
    viewer.call("Emulation.setEmulatedMedia", media="")
    viewer.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        viewer.call("Page.reload")
        viewer.wait(lambda: viewer.run("document.readyState") == "complete")
        assert viewer.run("document.querySelector('.surface-live')") is None
        assert viewer.run(display.format(".surface-static")) == "block"
    finally:
        viewer.call("Emulation.setScriptExecutionDisabled", value=False)


@pytest.mark.parametrize("width", [360, 1400])
def test_it_fits_narrow_and_wide_windows(browser, page, width):
    browser.open(page, width)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert 280 < browser.run(f"{VIEWER}.canvas.clientWidth") <= width
    assert colours(browser) > 100
    # and it follows the window
    before = browser.run(PIXELS)
    browser.call("Emulation.setDeviceMetricsOverride", width=700, height=900, deviceScaleFactor=1, mobile=False)
    Browser.wait(lambda: browser.run(PIXELS) != before, 20)
    assert browser.complaints() == []


# ---- the book's style


DARK = """<!doctype html><html data-theme="dark" data-mode="dark"><head><meta charset="utf-8"><title>A</title>
<link rel="icon" href="data:,">{links}</head><body><main class="bd-main"><article class="bd-article bd-content">
<div class="cell docutils container"><div class="cell_output docutils container">
<div class="output text_html">{figure}</div></div></div></article></main></body></html>"""
# Relative luminances and their contrast as WCAG 2 defines them, of the text and the first background behind it.
CONTRAST = """(() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (text) => numbers(text).slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const text = document.querySelector("figcaption");
  let behind = text;
  const background = () => getComputedStyle(behind).backgroundColor;
  while (behind.parentElement && numbers(background())[3] === 0) behind = behind.parentElement;
  const pair = [light(getComputedStyle(text).color), light(background())].sort((a, b) => b - a);
  return (pair[0] + 0.05) / (pair[1] + 0.05);
})()"""


@pytest.mark.parametrize("kind", ["figure", "viewer"])
def test_captions_of_notebooks_can_be_read_on_dark_pages(browser, root, tmp_path, kind):
    """Under the theme's own style sheets, which lay a notebook's HTML on the very colour that captions have."""
    from importlib import resources

    theme = resources.files("pydata_sphinx_theme") / "theme/pydata_sphinx_theme/static/styles"
    book = resources.files("sphinx_book_theme") / "theme/sphinx_book_theme/static/styles"
    sheets = [theme / "theme.css", theme / "bootstrap.css", theme / "pydata-sphinx-theme.css"]
    sheets += [book / "sphinx-book-theme.css"]
    own = sorted((root / "book" / "_static").glob("*.css"))

    def contrast(files):
        links = "".join(f'<link rel="stylesheet" href="{file.as_uri()}">' for file in files)
        figure = "<figure><img alt='A' src='data:,'><figcaption>A caption.</figcaption></figure>"
        if kind == "viewer":
            figure = figure.replace("<figure>", '<figure class="surface-viewer">')
        (tmp_path / "page.html").write_text(DARK.format(links=links, figure=figure))
        browser.open(tmp_path / "page.html")
        return browser.run(CONTRAST)

    assert contrast([*sheets, *own]) > 7
    captions = (root / "book/_static/custom.css").read_text().replace(".text_html:has(figure)", ".never:has(figure)")
    (tmp_path / "without.css").write_text(captions)
    assert contrast([*sheets, tmp_path / "without.css"]) < 4.5, "a test that cannot fail"
