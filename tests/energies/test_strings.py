"""Energies of whole strings: their tables, and what no chain can hold."""

from __future__ import annotations

import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.core.spaces import Sequences
from ebm_vs_prob.energies.strings import StringEnergy

WHOLE = evp.Network(hidden=(8,), factors="whole")
TINY = evp.Budget(steps=2, batch_size=8, examples=32)


@pytest.mark.parametrize("x_dim", [0, 3])
def test_the_table_has_the_energies_that_are_asked_one_by_one(x_dim):
    space = Sequences(3, 3)
    energy = StringEnergy([0, 1], x_dim, space, WHOLE)
    x = torch.randn(1, 5, x_dim, generator=torch.Generator().manual_seed(0))
    table = energy.graph(x)
    assert table.energies.shape == (2, 5, 27)
    every = space.every_answer()
    for k, y in enumerate(every):
        torch.testing.assert_close(energy(x, y.expand(1, 5, 3)), table.energies[..., k])
    assert not energy.trunk.biases[-1].requires_grad


def test_a_table_without_x_is_made_once_and_trains_alone_as_in_company():
    task = evp.get_task("hard_strings", kind="parity", length=5)
    budget = evp.Budget(steps=4, batch_size=8, examples=32)
    for method in ("linear_chain_crf", "structured_hinge", "pseudo_likelihood"):
        company = evp.fit(method, task, seeds=[0, 1, 2], network=WHOLE, budget=budget)
        alone = evp.fit(method, task, seeds=[1], network=WHOLE, budget=budget)
        for together, own in zip(company.module.parameters(), alone.module.parameters(), strict=True):
            assert torch.equal(together[1], own[0])
    table = company.module.graph(torch.zeros(1, 7, 0))
    assert table.energies.shape == (3, 7, 32)
    assert table.energies.stride(1) == 0


def test_an_energy_of_labels_and_of_chains_is_what_it_was():
    assert "factors" not in evp.Network().model_dump()
    assert evp.Network(factors="whole").model_dump()["factors"] == "whole"
    model = evp.fit("hinge", evp.get_task("gaussian_classes"), network=WHOLE, budget=TINY)
    assert type(model.module).__name__ == "ChainEnergy"


def test_too_many_strings_are_refused():
    task = evp.get_task("labelled_chain", length=11)
    with pytest.raises(
        ValueError, match=r"network\.factors = 'whole' is not valid: expected 'chain' where there are 177147"
    ):
        evp.fit("hinge", task, network=WHOLE, budget=TINY)


def test_a_pyro_program_of_symbols_asks_for_a_chain():
    model = evp.fit("linear_chain_crf", evp.get_task("labelled_chain", length=3), network=WHOLE, budget=TINY)
    with pytest.raises(ValueError, match=r"energy: graph\(x\)\.parents = 'no parents' is not valid: expected a chain"):
        model.pyro_model(torch.zeros(1, 3))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["linear_chain_crf", "pseudo_likelihood"])
def test_it_holds_parity_which_no_chain_does(method):
    task = evp.get_task("hard_strings", kind="parity", length=5)
    gap = {}
    for factors in ("whole", "chain"):
        model = evp.fit(
            method, task, seeds=[0, 1], network=evp.Network(factors=factors), learning_rate=0.02,
            budget=evp.Budget(steps=600, examples=2000),
        )  # fmt: skip
        table = evp.evaluate(model, task)
        gap[factors] = float(table[table["metric"] == "gibbs_gap"]["value"].mean())
    assert gap["chain"] > 0.6  # ln 2: half of the chain's mass lies on odd strings
    assert gap["whole"] < 0.35  # 600 steps are few
