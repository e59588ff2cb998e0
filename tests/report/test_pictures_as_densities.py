"""Energies of pictures read as densities, and what a figure of them shows at first, from planted landscapes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic_results import study_arrays, study_results

from ebm_vs_prob.report import arm_rows, figures, landscape_charts, landscapes, rendering, sections, tables
from ebm_vs_prob.report.album import Album
from ebm_vs_prob.report.densities import FACTORS, FITTED, grid_density, pixels
from ebm_vs_prob.report.inputs import Inputs
from ebm_vs_prob.study.files import load_study

HEADLINE = Path(__file__).with_name("headline.toml")
AXIS = np.linspace(-6, 6, 121)
FIRST, SECOND = np.meshgrid(AXIS, AXIS, indexing="ij")


def bowl(scale=1.0, seed=0):
    """A Gaussian's energy in nats times `scale`, with data of it."""
    data = np.random.default_rng(seed).standard_normal((400, 2))
    return {"axis_0": AXIS, "axis_1": AXIS, "energy": 0.5 * scale * (FIRST**2 + SECOND**2) - 3, "data_y": data}


@pytest.mark.parametrize("scale", [0.02, 1.0, 300.0])
def test_the_fitted_beta_undoes_the_scale_of_an_energy(scale):
    arrays = bowl(scale)
    found = grid_density(arrays)
    likeliest = 2 / (scale * np.mean(arrays["data_y"] ** 2) * 2)  # of a Gaussian in the plane, in closed form
    assert found.betas[FITTED] == pytest.approx(likeliest, rel=0.02)
    assert np.allclose(found.betas, np.array(FACTORS) * found.betas[FITTED])
    assert found.scores.argmax() == FITTED
    entropy = -np.log(likeliest * scale / (2 * np.pi)) + 1
    assert found.scores[FITTED] == pytest.approx(-entropy, abs=0.01)
    assert not found.flat


def test_a_density_sums_to_one_over_the_plane_or_over_y_for_each_x():
    cell = AXIS[1] - AXIS[0]
    whole = grid_density(bowl())
    assert np.allclose(np.exp(whole.log_density).sum(axis=(1, 2)) * cell**2, 1)
    x = np.random.default_rng(0).uniform(-2, 2, (300, 1))
    y = x + 0.5 * np.random.default_rng(1).standard_normal((300, 1))
    arrays = {"axis_0": AXIS, "axis_1": AXIS, "energy": (SECOND - FIRST) ** 2, "data_x": x, "data_y": y}
    given_x = grid_density(arrays)
    assert np.allclose(np.exp(given_x.log_density).sum(axis=2) * cell, 1)
    assert given_x.betas[FITTED] == pytest.approx(0.5 / np.mean((y - x) ** 2), rel=0.05)


def test_an_energy_that_says_nothing_has_no_beta_and_without_data_there_is_no_density():
    assert grid_density({**bowl(), "energy": np.zeros_like(FIRST)}).flat
    assert grid_density({**bowl(), "energy": -bowl()["energy"]}).flat
    assert grid_density({name: value for name, value in bowl().items() if name != "data_y"}) is None
    assert grid_density({**bowl(), "energy": np.full_like(FIRST, np.nan)}) is None
    walled = np.where(FIRST < 4, bowl()["energy"], np.inf)
    assert np.exp(grid_density({**bowl(), "energy": walled}).log_density[:, FIRST >= 4]).max() == 0


@pytest.mark.parametrize("side", [121, 60, 41, 7])
def test_a_ridge_as_thin_as_a_cell_is_in_the_picture_of_every_size(side):
    """A ridge along one node, wherever it lies between the nodes of a coarser picture, has all the mass there."""
    data = np.random.default_rng(0).uniform(-4, 4, (200, 1)) * (0.0, 1.0)
    for row in (60, 61, 62):
        energy = 0.5 * ((FIRST - AXIS[row]) / 0.01) ** 2
        density = grid_density({**bowl(), "energy": energy, "data_y": data + np.array((AXIS[row], 0.0))})
        shown = pixels(density, side)
        assert shown.shape[1:] == (-(-121 // -(-121 // side)),) * 2
        assert shown.max(axis=(1, 2)) == pytest.approx(1)
        along = shown[FITTED].max(axis=0)
        assert along.min() > 0.99  # dark from end to end
        assert (shown[FITTED] > 0.01).sum(axis=0).max() == 1  # and one pixel wide


def test_pixels_are_to_each_other_as_the_mass_of_their_cells():
    density = grid_density(bowl())
    mass = np.exp(density.log_density[FITTED])[:120, :120].reshape(60, 2, 60, 2).sum((1, 3))
    shown = pixels(density, 61)[FITTED, :60, :60]
    assert shown / shown[30, 30] == pytest.approx(mass / mass[30, 30], rel=1e-9)
    last = np.exp(density.log_density[FITTED])[120, 120]  # a pixel at the edge has one cell, not four
    assert pixels(density, 61)[FITTED, 60, 60] / shown[30, 30] == pytest.approx(4 * last / mass[30, 30], rel=1e-9)


@pytest.fixture(scope="module")
def inputs():
    study = load_study(HEADLINE)
    study = study.model_copy(update={"tasks": (study.tasks[0], study.tasks[2])})
    results = study_results(study)
    return Inputs(study, "quick", results, {k: v for k, v in study_arrays(study, 24).items() if k[0] == "circle"})


def with_energy(inputs, change):
    """The same with other energies; None leaves one out."""
    arrays = {}
    for (task, arm, at), own in inputs.arrays.items():
        energy = change(arm, at, own["energy"])
        kept = {name: value for name, value in own.items() if name not in ("energy", "axis_0", "axis_1")}
        arrays[task, arm, at] = kept if energy is None else {**own, "energy": energy}
    return replace(inputs, arrays=arrays)


def test_settings_without_an_energy_have_no_empty_panel(inputs):
    some = with_energy(inputs, lambda arm, at, energy: energy if at > 0.02 else None)
    one = landscapes.hero(some, "circle")
    assert one.settings == (0.3, 0.1, 0.03)
    assert one.start == 2
    none = landscapes.hero(with_energy(inputs, lambda arm, at, energy: None), "circle")
    assert len(none.settings) == 6
    assert not none.energies


def test_the_slider_starts_where_the_picture_resolves_the_truth(inputs):
    # 24 nodes over a width of 4: half a node is .087, which at ε = .001 is 3781 nats.
    assert landscapes._start([0.3, 0.003, 0.001], "thickness", inputs_here(inputs)) == 1
    assert landscapes._start([2, 16, 64], "dimension", inputs_here(inputs)) == 2
    assert landscapes._start([0.0, 0.03, 0.1], "bridge", inputs_here(inputs), [0.0]) == 0
    assert landscapes._start([2, 16, 64], "dimension", inputs_here(inputs), [2.0, 16.0]) == 1


def inputs_here(inputs):
    return {(arm, at): arrays for (_, arm, at), arrays in inputs.arrays.items()}


def test_values_are_read_first_unless_one_scale_shows_some_as_flat(inputs):
    assert landscapes.hero(inputs, "circle").reading == "raw"
    steep = with_energy(inputs, lambda arm, at, energy: 1000 * energy if arm == "exact" else energy)
    assert landscapes.hero(steep, "circle").reading == "free"
    low, high = landscapes.hero(steep, "circle").scales["free"]
    assert -high <= low < 0 < high


def test_the_slider_over_beta_has_an_image_and_a_number_for_each_multiple(inputs):
    one = landscapes.hero(inputs, "circle")
    data = landscapes.plane_data(one)
    rows = [dict(zip(data["columns"], row, strict=True)) for row in data["rows"]]
    densities = [row for row in rows if row["reading"] == "density" and row["at"] == 0 and row["arm"] == one.shown[0]]
    assert [row["step"] for row in densities] == list(range(len(FACTORS)))
    assert len({row["url"] for row in densities}) == len(FACTORS)
    assert all(row["said"].endswith(" nats") for row in densities)
    spec = landscape_charts.live_chart(one, "said")
    assert {param["name"]: param["value"] for param in spec["params"]}["beta"] == FITTED
    assert sections._MULTIPLES[FITTED] == "the fitted β"
    still, kept = landscape_charts.still_chart(one, "said")
    reading = kept["still"]["columns"].index("reading")
    assert {row[reading] for row in kept["still"]["rows"]} == {"raw", None}
    assert "<image" in rendering.to_svg(still, kept, "name", "title", "said")


def test_what_varies_along_nothing_is_drawn_in_rows_with_the_names_beside_them(inputs, tmp_path):
    numbers = {task: tables.every_metric(inputs, task) for task in inputs.tasks}
    curves = {task: figures.curve_data(inputs, task, numbers[task]) for task in inputs.tasks}
    made = sections.task_section(inputs, "digits", Album(tmp_path), curves, False)
    assert {figure.title for figure, _ in made["groups"]} == {"digits: conditional generation"}
    (spec,) = (figure.spec for figure, _ in made["groups"])
    assert spec["usermeta"]["beside"] > arm_rows.NAMES
    svg = rendering.to_svg(spec, {"curves-digits": curves["digits"]}, "n", "t", "d")
    for look in inputs.looks().values():
        if look.label in {row[0] for row in curves["digits"]["rows"]}:
            assert all(line in svg for line in rendering.wrapped(look.label, 30))
