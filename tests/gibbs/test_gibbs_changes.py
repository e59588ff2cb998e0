"""A density whose energy is written to after it was evaluated is that of the energy as it now is."""

from __future__ import annotations

import copy
import math
import warnings
from typing import Any

import pytest
import torch
from torch import nn

import ebm_vs_prob as evp
from ebm_vs_prob import GibbsBoltzmann, Labels, Sequences
from ebm_vs_prob.core.factor_graphs import FactorGraph
from ebm_vs_prob.gibbs.normalizers import AnnealedImportanceSampling, ImportanceSampling, Quadrature
from ebm_vs_prob.gibbs.snapshot import Snapshot


class Bowl(nn.Module):
    """A Gaussian well, whose middle is a parameter and whose precision is a buffer."""

    def __init__(self, middle: float = -2.0, precision: float = 50.0) -> None:
        super().__init__()
        self.middle = nn.Parameter(torch.tensor(middle, dtype=torch.float64))
        self.register_buffer("precision", torch.tensor(precision, dtype=torch.float64))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.precision * (y - self.middle).square().sum(-1) / 2

    def own(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.forward(x, y)


class Wrapper:
    """A model as the package has them: an object whose `module` is the energy's."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def energy(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.module(x, y) + x[..., 0]


class Chain(nn.Module):
    """Sequences of 3 symbols of 2, with learned energies of a symbol and of neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.unary = nn.Parameter(torch.tensor([0.3, -0.5], dtype=torch.float64))
        self.pairwise = nn.Parameter(torch.tensor([[0.0, 1.0], [0.5, 0.2]], dtype=torch.float64))

    def graph(self, x: torch.Tensor) -> FactorGraph:
        batch = x.shape[:-1]
        return FactorGraph(self.unary.expand(*batch, 3, 2), self.pairwise.expand(*batch, 2, 2, 2))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.unary[y].sum(-1) + self.pairwise[y[..., :-1], y[..., 1:]].sum(-1)


WIDE = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(1).double(), 3.0), 1)
CASES: dict[str, tuple[nn.Module, dict[str, Any], torch.Tensor]] = {
    "quadrature": (Bowl(), {}, torch.tensor([2.9]).double()),
    "importance": (Bowl(), {"normalizer": ImportanceSampling(WIDE, 2000)}, torch.tensor([2.9]).double()),
    "annealed": (Bowl(), {"normalizer": AnnealedImportanceSampling(50, 20)}, torch.tensor([2.9]).double()),
    "enumeration": (Chain(), {"space": Sequences(2, 3), "normalizer": "enumeration"}, torch.tensor([0, 1, 1])),
    "messages": (Chain(), {"space": Sequences(2, 3), "normalizer": "messages"}, torch.tensor([0, 1, 1])),
}


def moved(value: torch.Tensor) -> torch.Tensor:
    """Each entry by an amount of its own: a constant added to an energy would change no density."""
    return value.detach() + 1.5 * torch.arange(1.0, value.numel() + 1).reshape(value.shape)


def optimised(energy: nn.Module) -> None:
    optimiser = torch.optim.SGD(energy.parameters(), lr=1.0)
    torch.stack([(moved(0 * value) * value).sum() for value in energy.parameters()]).sum().backward()
    optimiser.step()


def copied(energy: nn.Module) -> None:
    with torch.no_grad():
        for value in energy.parameters():
            value.copy_(moved(value))


def loaded(energy: nn.Module) -> None:
    energy.load_state_dict({name: moved(value) for name, value in energy.state_dict().items()})


def replaced(energy: nn.Module) -> None:
    for name, value in list(energy.named_parameters()):
        setattr(energy, name, nn.Parameter(moved(value)))


@pytest.mark.filterwarnings("ignore::ebm_vs_prob.NormalizerWarning")
@pytest.mark.parametrize("change", [optimised, copied, loaded, replaced])
@pytest.mark.parametrize("case", CASES)
def test_every_normaliser_follows_a_change_of_the_energy(case: str, change: Any) -> None:
    energy, arguments, y = copy.deepcopy(CASES[case])
    density = GibbsBoltzmann(energy, bounds=None if "space" in arguments else (-8.0, 8.0), **arguments)
    wider = density.expand((2,))
    with torch.no_grad():
        before = density.log_prob(y)
        density.sample((3,), seed=0)
        wider.log_partition()
    change(energy)
    fresh = GibbsBoltzmann(energy, bounds=density.bounds if "space" not in arguments else None, **arguments)
    with torch.no_grad():
        expected = fresh.log_prob(y)
        torch.testing.assert_close(wider.log_partition()[0], fresh.log_partition()[0].expand(2))
        torch.testing.assert_close(density.log_prob(y), expected)
        assert abs(float(expected - before)) > 0.01
    torch.testing.assert_close(density.log_prob(y), expected)
    torch.testing.assert_close(density.sample((5,), seed=3), fresh.sample((5,), seed=3))
    for name, value in fresh.diagnostics.items():
        torch.testing.assert_close(density.diagnostics[name], value)


def test_a_step_away_is_right_by_many_nats() -> None:
    """The cells of a well at -2 see nothing of one at 3: kept, they gave a density of hundreds of nats."""
    energy = Bowl()
    density = GibbsBoltzmann(energy)
    density.log_partition()
    with torch.no_grad():
        energy.middle.fill_(3.0)
    exact = 0.5 * math.log(50.0 / (2 * math.pi))
    assert float(density.log_prob(torch.tensor([3.0]).double()).detach()) == pytest.approx(exact, abs=1e-3)


@pytest.mark.parametrize("of", ["method", "buffer", "beta", "x", "wrapped"])
def test_what_is_seen_to_change(of: str) -> None:
    energy = Bowl(0.0, 1.0)
    beta, x = torch.tensor(1.0, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)

    call = {"method": energy.own, "wrapped": Wrapper(energy).energy, "x": Wrapper(energy).energy}.get(of, energy)
    density = GibbsBoltzmann(call, x=x, beta=beta)
    first = float(density.log_partition()[0].detach())
    with torch.no_grad():
        if of == "x":
            x.add_(1.0)
        else:
            {"beta": beta}.get(of, energy.precision).mul_(4.0)
        second = float(density.log_partition()[0])
    assert second - first == pytest.approx(-1.0 if of == "x" else -math.log(2.0), abs=1e-3)


def test_what_has_not_changed_is_not_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    cells = Quadrature.cells
    monkeypatch.setattr(Quadrature, "cells", lambda self, target: calls.append(1) or cells(self, target))
    energy = Bowl()
    density = GibbsBoltzmann(energy)
    for _ in range(3):
        density.log_prob(torch.zeros(1))
        density.sample((2,), seed=0)
        density.expand((4,)).log_partition()
        energy.requires_grad_(False).eval()
    assert len(calls) == 1
    density.warnings()
    with torch.no_grad():
        energy.middle.add_(1.0)
    density.log_prob(torch.zeros(1))
    density.warnings()
    assert len(calls) == 2


def test_a_change_for_the_worse_is_warned_of() -> None:
    energy = Bowl(0.0, 1.0)
    density = GibbsBoltzmann(energy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        density.log_partition()
    with torch.no_grad():
        energy.middle.fill_(math.nan)
    with pytest.warns(evp.NormalizerWarning, match="not finite"):
        density.log_partition()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        density.log_partition()


def test_a_snapshot_within_vmap_and_of_inference_tensors() -> None:
    with torch.inference_mode():
        frozen = torch.zeros(2)
    assert Snapshot(lambda x, y: y, frozen).is_of(lambda x, y: y, frozen)

    def of(value: torch.Tensor) -> torch.Tensor:
        assert Snapshot(None, value).is_of(None, value)
        return value

    torch.func.vmap(of)(torch.zeros(3))


# ---- warnings of draws and of sums -----------------------------------------------------------------------------------


NARROW = ImportanceSampling(
    torch.distributions.Independent(torch.distributions.Normal(torch.zeros(3).double(), 0.25), 1), 1000
)


def ring(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (y.norm(dim=-1) - 1).square() / (2 * 0.003**2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"energy": lambda x, y: y.square().sum(-1) / 2, "y_dim": 3, "normalizer": NARROW}, "Pareto k above 0.7"),
        ({"energy": ring, "y_dim": 2, "normalizer": Quadrature(max_nodes=20_000)}, "quadrature unresolved"),
        ({"energy": lambda x, y: y.double() * math.nan, "space": Labels(3)}, "log Z is not finite"),
    ],
)
def test_draws_of_what_cannot_be_trusted_are_warned_of_once(arguments: dict[str, Any], words: str) -> None:
    density = GibbsBoltzmann(**arguments)
    with pytest.warns(evp.NormalizerWarning, match=words) as caught:
        density.sample((2,), seed=0)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        density.sample((2,), seed=0)
        density.log_partition()


@pytest.mark.parametrize("normalizer", ["enumeration", "messages"])
def test_probabilities_of_a_sum_that_is_not_finite_are_warned_of(normalizer: str) -> None:
    energy = Chain()
    with torch.no_grad():
        energy.unary[0] = math.nan
    density = GibbsBoltzmann(energy, space=Sequences(2, 3), normalizer=normalizer)
    with pytest.warns(evp.NormalizerWarning, match="log Z is not finite in 1 of 1") as caught:
        assert bool(density.log_prob(torch.tensor([0, 1, 1])).isnan())
    assert caught[0].filename == __file__


def test_a_forbidden_answer_is_no_reason_to_warn() -> None:
    density = GibbsBoltzmann(lambda x, y: torch.where(y == 0, math.inf, 0.0).double(), space=Labels(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert float(density.log_prob(torch.tensor(0))) == -math.inf


class Counting(Bowl):
    """A well that writes its own buffer at every call, as running statistics are written."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.float64))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(x, y)


@pytest.mark.parametrize("normalizer", [None, ImportanceSampling(num_samples=64)], ids=["quadrature", "importance"])
def test_what_an_evaluation_writes_is_no_change(normalizer: Any) -> None:
    energy = Counting()
    density = GibbsBoltzmann(energy, 1, bounds=(-8.0, 8.0), normalizer=normalizer)
    y = torch.tensor([-1.9], dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = density.log_prob(y)
        partition = density._memory.partition()
        density.warnings(), density.diagnostics, density.sample((3,), seed=0), density.log_partition()
        assert density._memory.partition() is partition
        torch.testing.assert_close(density.log_prob(y), first)
        with torch.no_grad():
            energy.middle += 1.0
        assert float(density.log_prob(y)) < float(first)


def test_a_change_that_is_seen_by_an_evaluation_first_is_a_change_all_the_same() -> None:
    energy = Counting()
    density = GibbsBoltzmann(energy, 1, bounds=(-8.0, 8.0))
    with torch.no_grad():
        before = density.log_partition()[0]
        energy.middle += 8.0 - energy.middle  # half of the well is beyond the box
        density.target.log_density(torch.zeros(1, 1, dtype=torch.float64))
        assert float(density.log_partition()[0]) != float(before)
        fresh = GibbsBoltzmann(energy, 1, bounds=(-8.0, 8.0)).log_partition()[0]
        torch.testing.assert_close(density.log_partition()[0], fresh)


def test_a_reason_is_said_once_however_often_the_energy_changes() -> None:
    energy = Bowl(precision=1e4)
    density = GibbsBoltzmann(energy, 1, bounds=(-8.0, 8.0), normalizer=ImportanceSampling(num_samples=64))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(5):
            density.log_partition()
            with torch.no_grad():
                energy.middle += 0.01
    assert len(caught) == 1
    assert density.warnings()
