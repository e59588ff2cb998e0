"""Torch's global generators under a seed for the length of a block: on every device as they were afterwards."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.core.seeding import forked
from ebm_vs_prob.gibbs.normalizers import ImportanceSampling
from ebm_vs_prob.models.building import replicated


class Devices:
    """Two CUDA devices' generators as `torch.cuda` shows them, on a machine that has none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.states = [torch.tensor([10]), torch.tensor([20])]
        self.current = 0
        for name in ("manual_seed", "manual_seed_all", "device", "device_count", "get_rng_state", "set_rng_state"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: False)

    def device_count(self) -> int:
        return len(self.states)

    @contextmanager
    def device(self, device: Any) -> Any:
        before, self.current = self.current, torch.device(device).index or 0
        yield
        self.current = before

    def manual_seed(self, seed: int) -> None:
        self.states[self.current] = torch.tensor([seed])

    def manual_seed_all(self, seed: int) -> None:
        self.states = [torch.tensor([seed]) for _ in self.states]

    def get_rng_state(self, device: int) -> torch.Tensor:
        return self.states[device].clone()

    def set_rng_state(self, state: torch.Tensor, device: int) -> None:
        self.states[device] = state

    def seeds(self) -> list[int]:
        return [int(state) for state in self.states]


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> Devices:
    return Devices(monkeypatch)


def test_the_mock_sees_what_torch_does_to_every_device(devices: Devices) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
    assert devices.seeds() == [5, 5]


def test_on_the_cpu_no_device_is_touched(devices: Devices) -> None:
    before = torch.get_rng_state()
    with forked(3):
        first = torch.rand(4)
        assert devices.seeds() == [10, 20]
    assert torch.equal(torch.get_rng_state(), before)
    assert devices.seeds() == [10, 20]
    with forked(8):
        torch.rand(7)
        with forked(3):
            assert torch.equal(torch.rand(4), first)
    with forked(4):
        assert not torch.equal(torch.rand(4), first)


@pytest.mark.parametrize(("device", "within"), [("cuda", [3, 20]), ("cuda:1", [10, 3])])
def test_one_cuda_device_is_seeded_and_all_are_given_back(devices: Devices, device: str, within: list[int]) -> None:
    with forked(3, device):
        assert devices.seeds() == within
        torch.cuda.manual_seed_all(0)  # as a library may
    assert devices.seeds() == [10, 20]


def test_the_generators_are_given_back_after_an_error(devices: Devices) -> None:
    before = torch.get_rng_state()

    def fails() -> None:
        with forked(3, "cuda:1"):
            torch.rand(4)
            raise RuntimeError("within")

    with pytest.raises(RuntimeError, match="within"):
        fails()
    assert torch.equal(torch.get_rng_state(), before)
    assert devices.seeds() == [10, 20]


def importance() -> None:
    normal = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2), 1.0), 1)
    density = evp.GibbsBoltzmann(lambda x, y: y.square().sum(-1), 2, normalizer=ImportanceSampling(normal, 50))
    density.log_partition()


def pyro_draws() -> None:
    task = evp.get_task("labelled_chain")
    model = evp.fit("linear_chain_crf", task, seeds=[0], budget=evp.Budget(steps=1, examples=20))
    before = torch.get_rng_state()
    model.infer_discrete(task.sample(2)[0], 1, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def initialised() -> None:
    replicated(lambda task: torch.nn.Linear(2, 1), [evp.get_task("ellipse")], [0])


@pytest.mark.parametrize("use", [importance, pyro_draws, initialised])
def test_what_the_package_draws_leaves_every_generator_as_it_was(devices: Devices, use: Any) -> None:
    before = torch.get_rng_state()
    use()
    assert torch.equal(torch.get_rng_state(), before)
    assert devices.seeds() == [10, 20]
