"""What surfaces say in numbers and in words, on surfaces whose best points are known by hand."""

from dataclasses import replace

import numpy as np
import pytest
from IPython.utils.capture import capture_output
from test_viewer import PICTURE, example

from helpers import surface_viewer, surfaces


def test_the_best_points_are_those_of_the_formulas():
    found = surfaces.best_points(example(), "random").set_index("quantity")
    bce = found.loc["bce"]  # (1 + 4 (x - 0.5)² + 2 (y + 0.2)²) / 3, on a grid of steps of 0.1
    assert bce.tolist() == pytest.approx([(1 + 4 * 0.25 + 2 * 0.04) / 3, 1 / 3, 0.5, -0.2, 5, 1 - 0.25 - 0.04, 1])
    assert found.loc["dice", ["best", "x", "y", "away", "iou"]].tolist() == pytest.approx([np.exp(-18), -1, -1, 10, 0])
    assert found.loc["IoU", ["checkpoint", "best", "away", "iou"]].tolist() == [1, 1, 0, 1]
    assert surfaces.best_points(example(), "random", 0).set_index("quantity").loc["bce", "best"] == pytest.approx(1)


def test_every_point_of_every_plane_is_a_row_with_the_value_of_its_formula():
    table = surfaces.grid_values(example())
    assert len(table) == 2 * 3 * 21 * 21 and table.groupby(["plane", "step"]).ngroups == 6
    first = table[(table["plane"] == "random") & (table["step"] == 1)]
    x, y = first["x"], first["y"]
    assert np.allclose(first["bce"], 1 + 4 * (x - 0.5) ** 2 + 2 * (y + 0.2) ** 2)
    assert np.allclose(first["dice"], np.exp(3 * (x + y))) and np.allclose(first["IoU"], np.clip(1 - x**2 - y**2, 0, 1))
    gone = table[table["bce"].isna()]
    assert set(gone["plane"]) == {"pca"} and len(gone) == 3 * 36 and gone[["x", "y"]].min().min() >= 0.5


def test_points_that_are_not_finite_are_never_the_best():
    made = example()
    plane = made.planes["pca"]
    values = plane.values.copy()
    values[:, :, :6, :6] = np.nan  # where dice is lowest
    made = replace(made, planes={"pca": replace(plane, values=values)})
    found = surfaces.best_points(made, "pca").set_index("quantity")
    assert found.loc["dice", "best"] == np.nanmin(values[-1, 1]) > np.exp(-18)
    assert surfaces.sentences(made)["missing"] == f"{3 * 36} of {3 * 441} points are not finite."
    gone = replace(plane, values=np.full_like(values, np.nan), centre=np.full((3, 2), -1))
    found = surfaces.best_points(replace(made, planes={"pca": gone}), "pca")
    assert found.drop(columns="quantity").isna().all(axis=None)


def test_sentences_have_the_numbers_of_the_surfaces():
    made = example()
    values = np.array([[0.9, 0.5, 0.3, 0.2], [0.8, 0.6, 0.4, 0.3], [0.1, 0.2, 0.4, 0.7]])
    made = replace(
        made, path_values=values, eigenvalues=np.array([[3.0], [2.0], [40.0]]), smallest=np.array([-1.0, -2.0, -0.5])
    )
    said = surfaces.sentences(made)
    assert said["descent"] == (
        "From step 1 to step 100 bce went from 0.9 to 0.2 on the fixed batch, and IoU from 0.100 to 0.700."
    )
    assert (
        "over its 4 checkpoints 90.0% lies along random directions and 90.0% lies along the path's own" in said["path"]
    )
    assert said["minima"].startswith(
        "At step 100, on the plane of the path's directions, bce is lowest 5 steps of the "
    )
    assert (
        "grid away (0.333; IoU 0.710 there)" in said["minima"] and "highest IoU of the grid is 1.000" in said["minima"]
    )
    assert "was 3 (smallest -1, gradient's length 0) at step 1, 2 (" in said["curvature"]
    assert surfaces.sentences(example())["curvature"] == "The curvature was not computed."
    lost = replace(made.planes["pca"], values=np.full_like(made.planes["pca"].values, np.nan))
    lost = replace(made, planes={"pca": replace(lost, centre=np.full((3, 2), -1))})
    assert surfaces.sentences(lost)["minima"] == "At step 100 no point of the plane is finite."


def test_a_viewer_with_a_name_can_be_glued_into_any_page(tmp_path):
    from IPython.core.interactiveshell import InteractiveShell

    InteractiveShell.instance()
    (tmp_path / "a.png").write_bytes(PICTURE)
    data = surface_viewer.viewer_data(example())
    with capture_output() as captured:
        surface_viewer.show(data, tmp_path / "a.png", "Contours.", "Surfaces.", name="viewer")
        surface_viewer.show(data, tmp_path / "a.png", "Contours.", "Surfaces.")
    named, plain = captured.outputs
    assert named.data == plain.data and 'class="surface-viewer"' in named.data["text/html"]
    assert named.metadata == {"scrapbook": {"name": "viewer", "mime_prefix": ""}} and plain.metadata == {}
