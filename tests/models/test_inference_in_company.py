"""Draws and answers for one x do not depend on which other x are asked, nor a replicate's on the other replicates."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.core.spaces import Discrete
from ebm_vs_prob.testing.methods import applicable_task

METHODS = [method for method in evp.list_methods() if method.name != "mean_squared_error"]  # it has no draws
#: One of each way to draw and to answer; the others are kin of these.
FAST = (
    *("hinge", "contrastive_divergence", "latent_free_energy", "vae", "mixture_density", "kernel_density"),
    *("gaussian_process", "softmax_classifier", "linear_chain_crf"),
)
#: Widths that fill no vector, and rows of which some fill a block of the products and others do not.
NETWORK = evp.Network(hidden=(7, 5), activation="softplus")
ROWS = (1, 3, 20, 37)
OWN = 5


def fitted(method, task, seeds):
    steps = {"gibbs_stochastic_gradient_langevin": 20, "gibbs_nuts": 16}.get(method.name, 6)
    budget = evp.Budget(steps=steps, batch_size=17, examples=120)
    network = {} if method.name == "exact" else {"network": NETWORK}
    return evp.fit(method, task, seeds=seeds, budget=budget, **network)


def answers(model, x):
    if isinstance(model.tasks[0].y_space, Discrete):
        return model.infer(x).y
    return model.infer(x, n_starts=3, seed=3).y


def bits(value):
    return value.contiguous().view(torch.uint8)


def check(method, task):
    seeds = [OWN] if not method.batchable else [2, OWN]
    model = fitted(method, task, seeds)
    x, _ = task.sample(max(ROWS), seed=1)
    drawn, found = model.sample(x, 5, seed=3), answers(model, x)
    for rows in ROWS:
        assert torch.equal(bits(model.sample(x[:rows], 5, seed=3)), bits(drawn[:, :rows])), rows
        if method.name == "exact":  # its energies are formulas, which round as their tensors are long
            assert torch.allclose(
                answers(model, x[:rows]), found[:, :rows], rtol=0, atol=1e-4
            )  # the search's tolerance
        else:
            assert torch.equal(bits(answers(model, x[:rows])), bits(found[:, :rows])), rows
    assert not torch.equal(drawn[:, 0], drawn[:, 1])  # rows have numbers of their own
    if method.batchable:
        alone = fitted(method, task, [OWN])
        own = seeds.index(OWN)
        assert torch.equal(bits(alone.sample(x, 5, seed=3)), bits(drawn[own : own + 1]))
        if method.name != "exact":
            assert torch.equal(bits(answers(alone, x)), bits(found[own : own + 1]))


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(
            m,
            id=m.name,
            marks=pytest.mark.portable
            if m.name in FAST
            else pytest.mark.long
            if "flow" in m.name
            else pytest.mark.slow,
        )
        for m in METHODS
    ],
)
def test_one_x_has_the_same_draws_and_answers_in_any_company(method):
    check(method, applicable_task(method))


CURVES = evp.get_task("three_curves", thickness=0.1)
#: Those that take most of a minute each.
DEAR = (
    *("autoregressive_flow", "coupling_flow", "sparse_coding", "two_step", "vae", "exact"),
    *("gibbs_nuts", "gibbs_ensemble", "gibbs_stochastic_gradient_langevin", "gibbs_variational_bayes"),
)


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(m, id=m.name, marks=pytest.mark.long if m.name in DEAR else pytest.mark.slow)
        for m in METHODS
        if m.why_not(CURVES) is None
    ],
)
def test_the_same_given_an_x(method):
    check(method, CURVES)


@pytest.mark.parametrize("rule", ["line_search", "lbfgs", "derivative_free", "fixed", "scaled"])
def test_every_rule_of_descent_searches_each_point_by_itself(rule):
    task = evp.get_task("horn", thickness=0.1)
    model = evp.fit("hinge", task, seeds=[1, 2], budget=evp.Budget(steps=6, examples=64), network=NETWORK)
    search = evp.Search(rule, step_size=0.01 if rule in ("fixed", "scaled") else None, max_steps=40)
    x, _ = task.sample(37, seed=1)
    whole = model.infer(x, n_starts=3, seed=3, search=search)
    part = model.infer(x[:5], n_starts=3, seed=3, search=search)
    for field in dataclasses.fields(whole):
        if (value := getattr(whole, field.name)) is not None:
            assert torch.equal(getattr(part, field.name), value[:, :5]), field.name


@pytest.mark.portable
@pytest.mark.parametrize("ambient_dim", [2, 4])
def test_chains_and_partition_functions_of_one_x_likewise(ambient_dim):
    # Quadrature and draws by rejection in two dimensions; importance sampling and chains from descent in four.
    task = evp.get_task("linear_gaussian", ambient_dim=ambient_dim, latent_dim=1, input_dim=1, thickness=0.2)
    model = evp.fit("hinge", task, seeds=[1, 2], budget=evp.Budget(steps=6, examples=64), network=NETWORK)
    x, _ = task.sample(9, seed=1)
    drawn, (log_z, error) = model.draw(x, 3, seed=4), model.gibbs(x).log_partition()
    for rows in (1, 4):
        part = model.draw(x[:rows], 3, seed=4)
        assert torch.equal(part.y, drawn.y[:, :rows])
        if drawn.trace is not None:
            assert torch.equal(part.trace, drawn.trace[:, :rows])
        # The quadrature of a batch has as many cells as the neediest x asks for, so sums end in another last digit.
        for own, whole in zip(model.gibbs(x[:rows]).log_partition(), (log_z, error), strict=True):
            torch.testing.assert_close(own, whole[:, :rows], rtol=4 * torch.finfo(torch.float32).eps, atol=1e-6)
    assert (drawn.trace is None) == (ambient_dim == 2)


def test_descents_of_each_seed_begin_elsewhere_and_those_of_one_seed_at_the_same_points():
    """Where one draw of starts served every seed, what is measured by descent on an exact energy had no scatter."""
    task = evp.get_task("circle")
    exact, other = evp.fit("exact", task, seeds=[0, 1]), evp.fit("exact", task, seeds=[1, 2], potential="density")
    starts, others = exact.starts(3, 4, 0), other.starts(3, 4, 0)
    assert starts.shape == (2, 3, 4, 2)
    assert torch.equal(starts[1], others[0])
    assert len(torch.cat([starts, others[1:]]).flatten(0, 2).unique(dim=0)) == 3 * 3 * 4
    assert torch.equal(starts[:, :2], exact.starts(2, 4, 0))
