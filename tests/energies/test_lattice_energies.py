"""Energies of strips: what their windows see, and the same weights on strips of another length."""

from __future__ import annotations

import math

import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.core.spaces import Sequences
from ebm_vs_prob.core.strips import StripShape
from ebm_vs_prob.energies.lattices import FrameEnergy, LatticeEnergy

STRIP = StripShape(length=3, rows=2, columns=13, cells=12, narrowest=3, widest=6, overlap=1)
SPACE = Sequences(4, 3)
NETWORK = evp.Network(hidden=(8,))
TINY = evp.Budget(steps=2, batch_size=8, examples=32)
OWN = {"narrowest": 3, "widest": 5}
METHODS = ("lattice_crf", "lattice_margin", "lattice_perceptron", "lattice_pseudo_likelihood", "connectionist_temporal")


def strip(seed=0):
    return torch.randn(1, 5, STRIP.columns * STRIP.rows, generator=torch.Generator().manual_seed(seed))


def test_a_window_has_its_columns_stretched_to_the_widest():
    x = strip()
    columns = x.reshape(1, 5, STRIP.columns, STRIP.rows)
    windows = LatticeEnergy([0, 1], SPACE, STRIP, NETWORK).windows(x)
    assert windows.shape == (1, 5, 12, 4, 6 * 2 + 4)
    pixels, told = windows[..., :12].unflatten(-1, (6, 2)), windows[..., 12:]
    assert torch.equal(told[0, 0, 0], torch.eye(4))
    assert torch.equal(pixels[:, :, 2, 3], columns[:, :, 2:8])
    for width in (3, 4, 5):
        found = pixels[:, :, 4, width - 3]
        for entry in range(2):
            # Interpolation of torch's own, between the middles of the first and the last column.
            own = torch.nn.functional.interpolate(
                columns[0, :, None, 4 : 4 + width, entry], size=6, mode="linear", align_corners=True
            )
            torch.testing.assert_close(found[0, :, :, entry], own[:, 0])


def test_a_segment_is_read_off_its_own_columns_and_no_others():
    energy, x = LatticeEnergy([0, 1], SPACE, STRIP, NETWORK), strip()
    changed = x.clone().reshape(1, 5, STRIP.columns, STRIP.rows)
    changed[:, :, 6] += 1.0
    before, after = energy.graph(x).scores, energy.graph(changed.flatten(-2)).scores
    same = (before == after).all(-1).all(3).flatten(0, 1).all(0)
    for start in range(STRIP.cells):
        for width in range(3, 7):
            assert bool(same[start, width - 3]) == (not start <= 6 < start + width), (start, width)


def test_windows_of_a_few_strips_are_held_at_once_where_no_gradient_is_wanted(monkeypatch):
    energy, x = LatticeEnergy([0, 1], SPACE, STRIP, NETWORK), strip()
    held = []
    windows = LatticeEnergy.windows
    monkeypatch.setattr("ebm_vs_prob.energies.lattices.STRIPS", 2)
    monkeypatch.setattr(LatticeEnergy, "windows", lambda self, part: held.append(part.shape[1]) or windows(self, part))
    whole = energy.graph(x).scores
    with torch.no_grad():
        parts = energy.graph(x).scores
    assert held == [5, 2, 2, 1]
    torch.testing.assert_close(parts, whole.detach())
    assert energy.graph(x[:, :0]).scores.shape[1] == 0


@pytest.mark.parametrize("beta", [1.0, math.inf])
def test_the_energy_of_a_string_is_that_of_its_graph_and_needs_no_other_replicate(beta):
    energy = LatticeEnergy([0, 1], SPACE, STRIP, NETWORK, beta).eval()
    alone = LatticeEnergy([1], SPACE, STRIP, NETWORK, beta).eval()
    x, y = strip(), torch.randint(4, (1, 5, 3), generator=torch.Generator().manual_seed(1))
    found = energy(x, y)
    assert found.shape == (2, 5)
    assert torch.equal(found, energy.graph(x).energy(y))
    assert torch.equal(found[1], alone(x, y)[0])
    assert energy.multiply_adds == 12 * 4 * (16 * 8 + 8 * 4)


def test_columns_are_labelled_by_what_is_round_them():
    energy, x = FrameEnergy([0, 1], SPACE, STRIP, NETWORK), strip()
    log_probs = energy.graph(x).log_probs
    assert log_probs.shape == (2, 5, 13, 5)
    torch.testing.assert_close(log_probs.logsumexp(-1), torch.zeros(2, 5, 13))
    changed = x.clone().reshape(1, 5, STRIP.columns, STRIP.rows)
    changed[:, :, 4] += 1.0
    same = (energy.graph(changed.flatten(-2)).log_probs == log_probs).all(-1).flatten(0, 1).all(0)
    assert torch.equal(same, (torch.arange(13) - 4).abs() > 3)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_weights_read_longer_strips(method):
    short, long = (evp.get_task("segmentation", length=length, **OWN) for length in (2, 5))
    given = {"gibbs_beta": 2.0} if evp.get_method(method).family == "ebm" else {}
    model = evp.fit(method, short, seeds=[0, 1], network=NETWORK, budget=TINY, **given)
    other = model.for_task(long)
    x, y = long.sample(4)
    answers = other.infer(x, n_starts=2)
    assert answers.y.shape == (2, 4, 2, 5)
    assert answers.converged.any()
    assert (other.energy(x, answers.y[0, :, 0])[0] <= other.energy(x, y)[0] + 1e-4).all()
    for own, copied in zip(model.module.parameters(), other.module.parameters(), strict=True):
        assert torch.equal(own, copied)
    assert torch.equal(other.for_task(short).energy(*short.sample(4)), model.energy(*short.sample(4)))
    with pytest.raises(ValueError, match="one whose strips differ from those of segmentation"):
        model.for_task(evp.get_task("segmentation", narrowest=3, widest=7))
    with pytest.raises(ValueError, match="one whose strips differ"):
        model.for_task(evp.get_task("labelled_chain"))


def test_the_margin_models_density_sums_over_segmentations_at_its_own_temperature():
    task = evp.get_task("segmentation", length=2, **OWN)
    model = evp.fit("lattice_margin", task, seeds=[0, 1], network=NETWORK, budget=TINY, gibbs_beta=1.7)
    x, every = task.sample(2)[0], task.y_space.every_answer()
    lattice = model.graph(x).at(1.7)
    found = model.gibbs(x).log_prob(every[:, None, None].expand(-1, 2, 2, -1))
    torch.testing.assert_close(found, (-1.7 * lattice.energy(every[:, None, None])).log_softmax(0), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.exp().sum(0), torch.ones(2, 2))
    fitted = evp.fit("lattice_margin", task, seeds=[0, 1], network=NETWORK, budget=TINY)
    assert (fitted.beta > 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_what_is_no_strip_or_no_network_is_refused(method):
    with pytest.raises(ValueError, match="its x is no strip of columns that y is read off"):
        evp.fit(method, evp.get_task("labelled_chain"), budget=TINY)
    with pytest.raises(ValueError, match="this method reads windows of columns, so it needs a Network"):
        evp.fit(method, evp.get_task("segmentation", **OWN), energy=lambda task: torch.nn.Linear(1, 1), budget=TINY)


def test_alignments_need_a_column_for_each_symbol_and_each_blank_between_two():
    task = evp.get_task("segmentation", length=3, narrowest=1, widest=1, overlap=0)
    assert task.strip.columns == 3
    with pytest.raises(ValueError, match="3 symbols need 5 columns"):
        evp.fit("connectionist_temporal", task)
    wider = evp.get_task("segmentation", length=3, narrowest=2, widest=2, overlap=0)
    assert evp.get_method("connectionist_temporal").why_not(wider) is None
