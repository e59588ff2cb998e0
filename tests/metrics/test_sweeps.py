"""What latents decode to, and what minimising a segmentation changes, on models whose values are known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.energies.decoders import PeriodicDecoder
from ebm_vs_prob.metrics import Evaluation

LOOK = Evaluation(test_examples=60, inputs=4, starts=1, samples=8)
SWEEP = {"decoded_precision", "decoded_coverage", "decoded_agreement"}


def values(model, task, only):
    table = evp.evaluate(model, task, LOOK, only=only)
    return table[table["replicate"] == 0].set_index("metric")["value"]


@pytest.mark.parametrize("name", ["circle", "three_curves", "horn"])
def test_the_truth_decodes_to_all_the_answers_and_what_knows_nothing_to_none(name):
    task = evp.get_task(name, thickness=0.03)
    found = values(evp.fit("exact", task), task, SWEEP)
    assert (found[sorted(SWEEP)] == 1.0).all()
    assert values(evp.fit("exact", task, potential="constant"), task, SWEEP)[sorted(SWEEP)].isna().all()


def test_agreement_is_the_smaller_of_both_shares():
    task, budget = evp.get_task("circle", thickness=0.03), evp.Budget(steps=1, examples=64, batch_size=8)
    few = values(evp.fit("latent_clustering", task, clusters=3, budget=budget), task, SWEEP)
    assert few["decoded_coverage"] < 0.2 < few["decoded_precision"]
    assert few["decoded_agreement"] == few["decoded_coverage"]
    line = values(evp.fit("latent_free_energy", task, nodes=64, budget=budget), task, SWEEP)
    assert line["decoded_agreement"] == min(line["decoded_precision"], line["decoded_coverage"])


def test_labels_of_a_mixture_decode_to_its_means():
    task = evp.get_task("three_curves")
    model = evp.fit("mixture_density", task, components=3, budget=evp.Budget(steps=1, examples=16, batch_size=8))
    x, _ = task.sample(5)
    means = model.module.conditional(x.float().unsqueeze(0)).component_distribution.base_dist.loc
    torch.testing.assert_close(model.decoded(x), means)


def test_an_angle_goes_round_any_closed_curve():
    decoder = PeriodicDecoder([0, 1], 1, 3, evp.Network(hidden=(8,))).double()
    x, z = torch.zeros(1, 5, 1).double(), torch.linspace(-3, 3, 5).double().reshape(1, 5, 1)
    points = decoder.decode(x, z).detach()
    assert points.shape == (2, 5, 3)
    torch.testing.assert_close(decoder.decode(x, z + 2 * math.pi).detach(), points)
    assert float((points[:, 1:] - points[:, :-1]).norm(dim=-1).min()) > 0


@pytest.mark.parametrize("method", ["latent_free_energy", "latent_variable_likelihood"])
def test_an_angle_has_no_second_dimension(method):
    with pytest.raises(ValueError, match="latent_dim = 1"):
        evp.fit(method, evp.get_task("circle"), decoder="periodic", latent_dim=2, budget=evp.Budget(steps=1))


def test_minimised_answers_against_every_string_and_segmentation():
    """Two digits: all 100 strings, the best and the sum of their segmentations by the lattice's own energies."""
    task = evp.get_task("segmentation", thickness=1.2, length=2, overlap=0)
    model = evp.fit("exact", task)
    found = values(model, task, {"minimised_answers", "minimised_excess_error"})
    x, y = task.sample(LOOK.test_examples, seed=0, split="test")
    strings = torch.tensor(list(itertools.product(range(10), repeat=2)), dtype=torch.int64)
    chosen = []
    for beta in (torch.inf, 1.0):
        lattice = task.reference.graph(x.double()).at(beta)
        energies = torch.stack([lattice.energy(string.expand(len(x), -1)) for string in strings], -1)
        chosen.append(strings[energies.argmin(-1)])
    changed = (chosen[0] != chosen[1]).any(-1)
    assert 0 < int(changed.sum()) < len(x)
    assert found["minimised_answers"] == pytest.approx(float(changed.double().mean()))
    wrong = [(each != y).any(-1).double().mean() for each in chosen]
    assert found["minimised_excess_error"] == pytest.approx(float(wrong[0] - wrong[1]))


def test_models_without_segmentations_say_so():
    task = evp.get_task("gaussian_classes")
    table = evp.evaluate(evp.fit("exact", task), task, LOOK, only={"minimised_answers"})
    assert np.isnan(table.set_index("metric").loc["minimised_answers", "value"])
    assert "segmentations" in table.attrs["notes"]["minimised_answers"]
