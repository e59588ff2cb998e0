"""Losses on lattices against enumeration of all strings, and trainings on strips of digits."""

from __future__ import annotations

import math

import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.core.lattices import SegmentLattice
from ebm_vs_prob.core.spaces import Sequences
from ebm_vs_prob.ebm.objectives.lattice import lattice_margin
from ebm_vs_prob.ebm.objectives.pseudo_likelihood import negative_log_pseudo_likelihood


@pytest.mark.parametrize("margin", [0.0, 1.0, 3.5])
def test_the_hinge_is_that_of_all_strings(margin):
    scores = torch.randn(5, 7, 3, 3, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    lattice, every = SegmentLattice(scores, 3), Sequences(3, 3).every_answer()
    energies = lattice.energy(every.unsqueeze(1))
    for y in every[::4]:
        owed = margin * (every != y).sum(-1, keepdim=True)
        expected = lattice.energy(y) - (energies - owed).amin(0)
        found = lattice_margin(lattice, y.expand(5, -1), margin)
        torch.testing.assert_close(found, expected)
        assert (found >= 0).all()


def test_it_is_0_where_each_string_is_worse_by_its_errors():
    """The right symbols cost 0 and all others 1 in every window, so that a string costs its errors."""
    scores = torch.ones(4, 2, 3, 1, dtype=torch.float64)
    scores[:, 0] = 0.0
    scores.requires_grad_()
    y = torch.zeros(3, dtype=torch.int64)
    assert float(lattice_margin(SegmentLattice(scores, 3), y, 1.0).detach()) == 0.0
    loss = lattice_margin(SegmentLattice(scores, 3), y, 1.5)
    assert float(loss.detach()) == pytest.approx(1.5)
    (slope,) = torch.autograd.grad(loss, scores)
    assert float(slope[:, 0].sum()) == pytest.approx(3.0)  # right segments are pulled down, as many wrong ones up
    assert float(slope[:, 1].sum()) == pytest.approx(-3.0)


def test_a_perceptron_has_no_margin():
    flat = SegmentLattice(torch.zeros(4, 2, 3, 1, dtype=torch.float64), 3)
    y = torch.tensor([0, 1, 0])
    assert float(lattice_margin(flat, y, 0.0)) == 0.0
    assert float(lattice_margin(flat, y, 1.0)) == 3.0


def test_pseudo_likelihood_is_that_of_all_strings():
    """-Σ_t ln P(y_t | y_-t) from the energies of all strings, segmentations summed out of each; in batches of both."""
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(2, 4, 7, 3, 3, 1, dtype=torch.float64, generator=generator)
    lattice = SegmentLattice(scores, 3, beta=1.0)
    every = Sequences(3, 3).every_answer()
    log_p = -lattice.energy(every[:, None, None]).movedim(0, -1)  # (2, 4, 27), up to a constant
    y = torch.randint(3, (2, 4, 3), generator=generator)
    expected = torch.zeros(2, 4, dtype=torch.float64)
    for t in range(3):
        same = (every == y.unsqueeze(2)) | (torch.arange(3) == t)
        own = (every == y.unsqueeze(2)).all(-1)
        beside = torch.where(same.all(-1), log_p, -math.inf).logsumexp(-1)
        expected += beside - torch.where(own, log_p, -math.inf).logsumexp(-1)
    torch.testing.assert_close(negative_log_pseudo_likelihood(lattice, y), expected)


@pytest.mark.parametrize(("recency", "shares"), [(0.0, (1 / 3, 1 / 3, 1 / 3)), (1.0, (1 / 6, 2 / 6, 3 / 6))])
def test_the_perceptron_ends_at_the_average_of_its_weights(recency, shares):
    seen = []

    class Watched(evp.get_method("lattice_perceptron")):
        @classmethod
        def minimised(cls, model, terms, after_step=None):
            def both(taken):
                seen.append({name: p.detach().clone() for name, p in model.module.named_parameters()})
                after_step(taken)

            return super().minimised(model, terms, both)

    task = evp.get_task("segmentation", length=2, narrowest=3, widest=5)
    budget, network = evp.Budget(steps=3, batch_size=4, examples=16), evp.Network(hidden=(6,))
    options = {"budget": budget, "network": network, "dtype": torch.float64, "recency": recency}
    model = evp.fit(Watched, task, seeds=[0, 1], **options)
    assert len(seen) == 3
    for name, parameter in model.module.named_parameters():
        expected = sum(share * weights[name] for share, weights in zip(shares, seen, strict=True))
        assert torch.allclose(parameter.detach(), expected, atol=1e-12), name


@pytest.mark.slow
def test_both_families_learn_to_read_strips_and_longer_ones():
    """Symbols that are wrong: nine in ten by a guess, and the truth's own few."""
    task = evp.get_task("segmentation", length=2, narrowest=4, widest=6, thickness=0.25, exemplars=1)
    long = evp.get_task("segmentation", **{**task.options.model_dump(), "length": 6})
    budget, network = evp.Budget(steps=320, batch_size=32, examples=1500), evp.Network(hidden=(24,))
    for method in ("lattice_crf", "lattice_margin", "lattice_perceptron", "lattice_pseudo_likelihood"):
        model = evp.fit(method, task, seeds=[0, 1], network=network, budget=budget)
        for own, reader in ((task, model), (long, model.for_task(long))):
            x, y = own.sample(60, seed=7, split="test")
            wrong = (reader.infer(x, n_starts=1).y[:, :, 0] != y).double().mean((1, 2))
            assert (wrong < 0.2).all(), (method, own.options.length, wrong)


@pytest.mark.slow
def test_labels_of_columns_learn_to_read_strips():
    task = evp.get_task("segmentation", length=2, narrowest=4, widest=6, thickness=0.25, exemplars=1)
    budget = evp.Budget(steps=1000, batch_size=32, examples=1500)
    network = evp.Network(hidden=(24,))
    model = evp.fit("connectionist_temporal", task, [0, 1], network=network, budget=budget, learning_rate=0.03)
    x, y = task.sample(100, seed=7, split="test")
    wrong = (model.infer(x, n_starts=1).y[:, :, 0] != y).double().mean((1, 2))
    assert (wrong < 0.2).all(), wrong


@pytest.mark.slow
def test_the_truth_wins_every_metric():
    task = evp.get_task("segmentation", length=2, narrowest=4, widest=6, exemplars=1, thickness=0.5)
    found = {}
    for method in ("exact", "lattice_crf", "lattice_margin"):
        model = evp.fit(method, task, budget=evp.Budget(steps=200, batch_size=32, examples=1000))
        table = evp.evaluate(model, task)
        found[method] = table.set_index("metric")["value"]
    assert found["exact"]["gibbs_gap_unit_beta"] == pytest.approx(0.0, abs=1e-9)
    assert found["exact"]["excess_error"] == pytest.approx(0.0, abs=1e-9)
    for method in ("lattice_crf", "lattice_margin"):
        for metric in ("gibbs_gap_unit_beta", "gap_per_symbol", "error_rate", "hamming_distance", "excess_error"):
            assert found["exact"][metric] <= found[method][metric] + 1e-9, (method, metric)
        assert found["exact"]["gibbs_log_score_unit_beta"] >= found[method]["gibbs_log_score_unit_beta"]
    # The lattice CRF is normalised at its own temperature: no other is fitted to it.
    assert math.isfinite(found["lattice_margin"]["gibbs_gap"])
    assert found["lattice_margin"]["gibbs_gap"] <= found["lattice_margin"]["gibbs_gap_unit_beta"] + 1e-9


def test_pseudo_likelihood_answers_by_the_energy_that_it_was_trained_on():
    task = evp.get_task("segmentation", length=2, narrowest=3, widest=5)
    model = evp.fit("lattice_pseudo_likelihood", task, budget=evp.Budget(steps=2, batch_size=4, examples=20))
    x, y = task.sample(5, seed=1)
    summed = model.module.graph(x.to(torch.float32).unsqueeze(0)).at(1.0).energy(y.unsqueeze(0))
    torch.testing.assert_close(model.energy(x, y), summed)
