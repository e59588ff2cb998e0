"""What of a model can be drawn in a plane."""

from __future__ import annotations

import numpy as np
import pytest

from ebm_vs_prob.report.pictures import plane

POINTS, BITS = np.array([[0.5, 1.0], [0.0, 2.0]]), np.array([[0, 1, 1], [1, 0, 1]])


def test_points_have_a_place_in_a_plane_and_symbols_have_none():
    found = plane({"data_y": POINTS}, "data")
    assert [column.tolist() for column in found] == [[0.5, 0.0], [1.0, 2.0]]
    assert plane({"data_y": BITS}, "data") is None
    # Real answers may happen to be whole numbers: where an energy is drawn, they are drawn on it.
    found = plane({"data_y": BITS, "energy": np.zeros((2, 2))}, "data")
    assert [column.tolist() for column in found] == [[0, 1], [1, 0]]


@pytest.mark.parametrize("arrays", [{}, {"data_y": np.zeros((0, 2))}, {"data_y": POINTS[:, :1]}])
def test_nothing_to_draw_is_none(arrays):
    assert plane(arrays, "data") is None
