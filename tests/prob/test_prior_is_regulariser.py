"""Claim C13: a posterior's mode in Pyro is an energy-based model with a regulariser, log Z kept on both sides."""

from __future__ import annotations

import math

import pyro
import pytest
import torch
from numpy.polynomial.legendre import leggauss
from pyro.infer import Trace_ELBO
from torch import nn

import ebm_vs_prob as evp
from ebm_vs_prob.ebm import regularisers
from ebm_vs_prob.energies.evaluation import energy_and_gradient
from ebm_vs_prob.energies.mlp import MLPEnergy, Network
from ebm_vs_prob.gibbs.normalizers.importance import ImportanceSampling
from ebm_vs_prob.prob.posteriors.weight_guides import LatentSpace, PointGuide
from ebm_vs_prob.prob.posteriors.weight_model import WeightModel
from ebm_vs_prob.prob.priors import PRIORS, weight_prior
from ebm_vs_prob.prob.weights import WeightSpace

BOX, NUM_EXAMPLES, REPLICATES = (-3.0, 3.0), 40, 2
TWINS = [name for name, prior in PRIORS.items() if prior.twin]
STRENGTH = torch.tensor([0.7, 3.0], dtype=torch.float64)


@pytest.mark.parametrize("replicates", [1, 3, 5, 7, 32])
def test_the_likelihood_is_scaled_alike_in_any_company(replicates):
    # To the bit: 120 / 17 times 5 over 5 is another number.
    space = WeightSpace(MLPEnergy(range(replicates), 0, 1, Network(hidden=(3,))))
    model, y = WeightModel(weight_prior("gaussian", 1.0), space, 120, BOX), torch.zeros(replicates, 17, 1)
    sites = {name: torch.zeros(1, replicates, 1, *shape) for name, shape in space.shapes.items()}
    trace = pyro.poutine.trace(pyro.poutine.condition(model, data=sites)).get_trace(y[..., :0], y)
    assert trace.nodes["y"]["scale"] == 120 / 17


def nodes(dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Gauss-Legendre nodes of the box (m, dim) and the logarithms of their weights (m,)."""
    axis, weight = (torch.from_numpy(part) for part in leggauss(48 if dim == 1 else 16))
    half = (BOX[1] - BOX[0]) / 2
    grid = torch.cartesian_prod(*[half * axis] * dim).reshape(-1, dim)
    return grid, torch.cartesian_prod(*[(half * weight).log()] * dim).reshape(-1, dim).sum(-1)


class Problem:
    """Data and one small network of two replicates, whose log Z is a fixed quadrature on both sides."""

    def __init__(self, x_dim: int, y_dim: int) -> None:
        generator = torch.Generator().manual_seed(0)
        network = Network(hidden=(6, 5), activation="tanh")
        self.energy = MLPEnergy((3, 4), x_dim, y_dim, network).double()
        nn.init.zeros_(self.energy.trunk.biases[-1]).requires_grad_(False)
        shape = (REPLICATES, NUM_EXAMPLES)
        self.x = torch.randn(*shape, x_dim, dtype=torch.float64, generator=generator)
        self.y = torch.randn(*shape, y_dim, dtype=torch.float64, generator=generator).clamp(-2.9, 2.9)
        self.nodes, self.log_weights = nodes(y_dim)

    def normalizer(self) -> ImportanceSampling:
        """A quadrature written as importance sampling: its nodes, each standing for 1 / (m weight)."""
        log_density = -self.log_weights - math.log(len(self.nodes))
        return ImportanceSampling(samples=self.nodes, log_density=log_density)

    def bayes(self, name: str) -> tuple[PointGuide, object]:
        """A Delta guide, and minus the log-joint over N of each replicate by Pyro's own Trace_ELBO."""
        space = WeightSpace(self.energy)
        prior = weight_prior(name, STRENGTH)
        latent = LatentSpace(prior, space)
        guide = PointGuide(latent, latent.start().unsqueeze(1))
        model = WeightModel(prior, space, NUM_EXAMPLES, BOX)
        elbo = Trace_ELBO(max_plate_nesting=3)

        def loss() -> torch.Tensor:
            with pyro.settings.context(validate_poutine=False):
                total = elbo.differentiable_loss(
                    lambda: model(self.x, self.y, self.normalizer()), lambda: guide.sample()
                )
            return total / NUM_EXAMPLES

        return guide, loss

    def energy_based(self, name: str, keep_log_z: bool = True) -> object:
        """Mean energy plus mean ln Z plus weight · regulariser, summed over the replicates."""
        prior = weight_prior(name, STRENGTH)
        weight = prior.twin_weight(NUM_EXAMPLES)

        def loss() -> torch.Tensor:
            energy, gradient = energy_and_gradient(self.energy, self.x, self.y)
            matrices = regularisers.weight_matrices(self.energy)
            term = {
                "weight_decay": lambda: regularisers.weight_decay(matrices),
                "l1_penalty": lambda: regularisers.l1_penalty(matrices),
                "gradient_penalty": lambda: regularisers.gradient_penalty(gradient),
            }[prior.twin]()
            total = energy.mean(-1) + weight * term
            if keep_log_z:
                others = self.energy(self.x.unsqueeze(2), self.nodes.expand(1, 1, -1, -1))
                total = total + (self.log_weights - others).logsumexp(-1).mean(-1)
            return total.sum()

        return loss

    def vector(self) -> torch.Tensor:
        """The energy's parameters, (R, P)."""
        space = WeightSpace(self.energy)
        return space.flat({name: self.energy.get_parameter(name) for name in space.shapes})


DIMS = [pytest.param(0, 1, id="1d"), pytest.param(1, 1, id="conditional"), pytest.param(0, 2, id="2d")]


@pytest.mark.parametrize(("x_dim", "y_dim"), DIMS)
@pytest.mark.parametrize("name", TWINS)
def test_gradients_are_equal(name, x_dim, y_dim):
    problem = Problem(x_dim, y_dim)
    guide, bayes = problem.bayes(name)
    (own,) = torch.autograd.grad(bayes(), [guide.loc])
    vector = problem.vector()
    ours = problem.energy_based(name)()
    parameters = [p for p in problem.energy.parameters() if p.requires_grad]
    twin = torch.autograd.grad(ours, parameters)
    names = [n for n, p in problem.energy.named_parameters() if p.requires_grad]
    twin = WeightSpace(problem.energy).flat(dict(zip(names, twin, strict=True)))
    torch.testing.assert_close(guide.loc.squeeze(1), vector, rtol=0, atol=0)
    assert (own.squeeze(1) - twin).abs().max() < 1e-10
    assert twin.abs().max() > 1e-3


def paths(name: str, optimizer: str, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Both parameter vectors after every step, (steps, R, P) each."""
    problem = Problem(0, 1)
    guide, bayes = problem.bayes(name)
    energy_based = problem.energy_based(name)
    make = {"sgd": lambda p: torch.optim.SGD(p, lr=0.05), "adam": lambda p: torch.optim.Adam(p, lr=0.01)}[optimizer]
    runs = [
        (make([guide.loc]), bayes, lambda: guide.loc.detach().squeeze(1).clone()),
        (
            make([p for p in problem.energy.parameters() if p.requires_grad]),
            energy_based,
            lambda: problem.vector().detach().clone(),
        ),
    ]
    found = []
    for stepper, loss, read in runs:
        path = []
        for _ in range(steps):
            stepper.zero_grad()
            loss().backward()
            stepper.step()
            path.append(read())
        found.append(torch.stack(path))
    return found[0], found[1]


LENGTHS = [
    pytest.param("sgd", 30, id="sgd-30"),
    pytest.param("adam", 15, id="adam-15"),
    pytest.param("sgd", 1000, id="sgd-1000", marks=pytest.mark.slow),
    pytest.param("adam", 300, id="adam-300", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("optimizer", "steps"), LENGTHS)
@pytest.mark.parametrize("name", TWINS)
def test_paths_are_equal(name, optimizer, steps):
    own, twin = paths(name, optimizer, steps)
    assert (own - twin).abs().max() < 1e-6
    assert (own[-1] - own[0]).abs().max() > 0.02


def optimum(loss, parameters: list[torch.Tensor]) -> None:
    stepper = torch.optim.LBFGS(
        parameters, max_iter=150, tolerance_grad=1e-8, tolerance_change=0.0, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        stepper.zero_grad()
        value = loss()
        value.backward()
        return value

    stepper.step(closure)


def test_dropping_log_z_moves_the_optimum():
    """The optimum of either side is that of the other, and without log Z it is none: neither stationary nor near."""
    problem, bare = Problem(0, 1), Problem(0, 1)
    guide, bayes = problem.bayes("gaussian")
    optimum(bayes, [guide.loc])
    (slope,) = torch.autograd.grad(bayes(), [guide.loc])
    assert slope.abs().max() < 1e-4
    space = WeightSpace(problem.energy)
    with torch.no_grad():
        for name, value in space.named(guide.loc.squeeze(1)).items():
            problem.energy.get_parameter(name).copy_(value)
    parameters = [p for p in problem.energy.parameters() if p.requires_grad]

    def slopes(keep_log_z: bool) -> torch.Tensor:
        return torch.cat(
            [g.flatten() for g in torch.autograd.grad(problem.energy_based("gaussian", keep_log_z)(), parameters)]
        )

    assert slopes(True).abs().max() < 1e-4
    assert slopes(False).abs().max() > 1e-2
    optimum(bare.energy_based("gaussian", keep_log_z=False), [p for p in bare.energy.parameters() if p.requires_grad])
    assert (bare.vector() - problem.vector()).abs().amax(-1).min() > 0.1


@pytest.mark.parametrize("sigma", [0.0, 0.3])
@pytest.mark.parametrize(
    ("prior", "twin", "factor"),
    [("gaussian", "weight_decay", 1), ("laplace", "l1_penalty", 1), ("smoothness", "gradient_penalty", 2)],
)
def test_the_methods_are_twins(prior, twin, factor, sigma):
    """The registered methods, minibatches and importance-sampled log Z: the same energies after 30 steps of Adam."""
    task = evp.get_task("circle", thickness=0.1)
    budget = evp.Budget(steps=30, batch_size=16, examples=50)
    common = {"budget": budget, "network": Network(hidden=(8, 8)), "dtype": torch.float64, "seeds": [0, 1]}
    common |= {"sigma": sigma, "proposals": 8}
    strength = [2.0, 20.0]
    bayes = evp.fit("gibbs_maximum_a_posteriori", task, prior=prior, strength=strength, **common)
    weight = [factor * each / budget.examples for each in strength]
    ebm = evp.fit("importance_sampled_likelihood", task, **{twin: weight}, **common)
    own = bayes.module.draws.squeeze(1)
    theirs = WeightSpace(ebm.module.requires_grad_()).flat(dict(ebm.module.named_parameters()))
    size = own.shape[1]  # the level of the energy, its last parameter, is not seen by the objective
    assert (own - theirs[:, :size]).abs().max() < 1e-6
    x, y = task.sample(20, seed=9)
    shift = bayes.energy(x, y) - ebm.energy(x, y)
    assert (shift - shift.mean(1, keepdim=True)).abs().max() < 1e-6
    plain = evp.fit("importance_sampled_likelihood", task, **common)
    assert (plain.energy(x, y) - ebm.energy(x, y)).abs().max() > 1e-2
