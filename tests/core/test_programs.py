"""A recorded function is the function: what it gives, what it changes, and when it cannot be recorded."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ebm_vs_prob.core import programs
from ebm_vs_prob.core.process_state import holds
from ebm_vs_prob.core.programs import NotRecordable, Program, Undone


class Descent:
    """A step of gradient descent with a memory, a tensor that it finds elsewhere and an answer that nobody reads."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, 5, generator=generator))
        self.speed = torch.zeros(3, 5)
        self.elsewhere = torch.ones(2, 5)
        self.scale = torch.tensor([1.0, 2.0, 3.0])

    @property
    def state(self) -> list[torch.Tensor]:
        return [self.weight, self.speed]

    def all(self) -> list[torch.Tensor]:
        return [value.detach().clone() for value in (self.weight, self.speed, self.elsewhere, self.scale)]

    def __call__(self, target: torch.Tensor, rate: torch.Tensor) -> list[torch.Tensor]:
        with torch.no_grad():
            self.elsewhere.mul_(0.5).add_(target[:2])
            self.elsewhere[0].sin_()
        losses = ((self.weight.tanh() - target).square() * self.elsewhere[0]).sum(1) * self.scale
        (gradient,) = torch.autograd.grad(losses.sum(), [self.weight])
        with torch.no_grad():
            self.speed.mul_(0.9).add_(gradient)
            self.weight.sub_(rate * self.speed)
        return [losses.detach(), gradient.square().sum(1)]


def inputs(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(3, 5, generator=generator), torch.tensor(0.1 / seed)]


def test_it_gives_and_changes_what_the_function_does_to_the_bit():
    written, recorded = Descent(), Descent()
    program = Program(recorded, recorded.state, inputs(1))
    for seed in range(1, 6):
        for one, other in zip(written(*inputs(seed)), program(*inputs(seed)), strict=True):
            assert torch.equal(one, other)
        assert all(map(torch.equal, written.all(), recorded.all()))
    assert not any(tensor.requires_grad for tensor in program(*inputs(1)))


def test_recording_leaves_every_tensor_as_it_was():
    descent, before = Descent(), Descent().all()
    Program(descent, descent.state, inputs(1))
    assert all(map(torch.equal, descent.all(), before))
    assert descent.weight.grad is None


def test_what_is_undone_includes_views_and_what_fails():
    value, other = torch.arange(6.0).reshape(2, 3), torch.zeros(3)

    def change():
        value[0].add_(1)
        value.mul_(2)
        value[1, 1:].zero_()
        torch.exp(value[0], out=other)
        assert float(other[0]) == pytest.approx(math.e**2)
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"), Undone():
        change()
    assert torch.equal(value, torch.arange(6.0).reshape(2, 3))
    assert torch.equal(other, torch.zeros(3))


def test_numbers_that_are_not_finite_are_recorded_as_others():
    descent = Descent()
    with torch.no_grad():
        descent.weight[1] = math.nan
    program = Program(descent, descent.state, inputs(1))
    losses, _ = program(*inputs(1))
    assert losses.isnan().tolist() == [False, True, False]


class Forgetful(Descent):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.calls = how, 0

    def __call__(self, target: torch.Tensor, rate: torch.Tensor) -> list[torch.Tensor]:
        self.calls += 1
        if self.how == "value" and bool(target.sum() > 0):
            target = -target
        elif self.how == "number":
            target = target * float(target[0, 0])
        elif self.how == "memory":
            target = target + self.calls
        elif self.how == "noise":
            target = target + torch.rand(3, 5)
        elif self.how == "raises":
            raise ValueError("on purpose")
        return super().__call__(target, rate)


@pytest.mark.uses_global_generator
@pytest.mark.parametrize("how", ["value", "number", "memory", "noise", "raises"])
def test_what_is_not_the_same_at_every_call_is_refused(how):
    descent = Forgetful(how)
    before = descent.all()
    with pytest.raises(NotRecordable, match="on purpose" if how == "raises" else None):
        Program(descent, descent.state, inputs(1))
    assert all(map(torch.equal, descent.all(), before))


def test_what_stays_the_same_can_be_looked_at():
    descent = Descent()

    def checked(target: torch.Tensor, rate: torch.Tensor) -> list[torch.Tensor]:
        if not holds(lambda: (descent.scale > 0).all()):
            raise ValueError("a scale below 0")
        return descent(target, rate)

    found = Program(checked, descent.state, inputs(1))(*inputs(2))
    assert torch.equal(found[0], Descent()(*inputs(2))[0])
    descent.scale[0] = -1.0
    with pytest.raises(NotRecordable, match="a scale below 0"):
        Program(checked, descent.state, inputs(1))


def test_the_digest_follows_operations_and_shapes_and_no_numbers():
    one, other, third = Descent(), Descent(), Descent()
    other.scale = torch.tensor([4.0, 5.0, 6.0])
    digests = [Program(each, each.state, inputs(seed)).digest for each, seed in ((one, 1), (other, 2))]
    assert digests[0] == digests[1]
    narrow = [torch.zeros(3, 5), torch.zeros(3, 1)]
    assert Program(third, third.state, narrow).digest != digests[0]


def test_the_digest_follows_settings_that_decide_how_operations_are_done():
    descent = Descent()
    program = Program(descent, descent.state, inputs(1))
    strict, precision = torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision()
    digests = {program.digest}
    try:
        torch.use_deterministic_algorithms(not strict)
        digests.add(program.digest)
        torch.set_float32_matmul_precision("medium")
        digests.add(program.digest)
    finally:
        torch.use_deterministic_algorithms(strict)
        torch.set_float32_matmul_precision(precision)
    assert len(digests) == 3
    assert program.digest in digests


def test_what_validates_its_numbers_is_recorded_though_some_are_not_valid():
    """As a step is in which one replicate has diverged, whose parameters no distribution takes."""
    mean = nn.Parameter(torch.tensor([0.5, math.nan]))

    def step(y: torch.Tensor) -> list[torch.Tensor]:
        return [torch.distributions.Normal(mean, 1.0).log_prob(y).detach()]

    with pytest.raises(ValueError, match="loc"):
        step(torch.zeros(2))
    (found,) = Program(step, [mean], [torch.zeros(2)])(torch.zeros(2))
    assert found.isnan().tolist() == [False, True]


def test_a_program_that_the_compiler_does_not_make_is_tried_once(monkeypatch):
    tried = []

    def fail(program):
        tried.append(program)
        raise FileNotFoundError("no compiler")

    monkeypatch.setattr(programs, "_refused", {})
    monkeypatch.setattr(programs, "_compiled", type(programs._compiled)())
    monkeypatch.setattr(Program, "_machine_code", fail)
    for _ in range(3):
        descent = Descent()
        program = Program(descent, descent.state, inputs(1))
        with pytest.raises(RuntimeError, match="no compiler"):
            program.compile()
        assert not program.compiled
    assert len(tried) == 2  # with the cache and without it


def test_a_program_of_very_many_operations_is_not_given_to_the_compiler(monkeypatch):
    monkeypatch.setattr(Program, "_machine_code", lambda program: pytest.fail("it was compiled"))
    monkeypatch.setattr(programs, "MOST_OPERATIONS", 3)
    descent = Descent()
    program = Program(descent, descent.state, inputs(1))
    with pytest.raises(RuntimeError, match=r"a program of \d+ operations; 3 at most"):
        program.compile()
    assert not program.compiled


def test_inputs_that_share_memory_are_another_program_than_those_that_do_not():
    def digest(one: torch.Tensor, other: torch.Tensor) -> str:
        def add(given: torch.Tensor) -> list[torch.Tensor]:
            one.add_(given)
            return [given * 2]

        return Program(add, [one], [other]).digest

    value = torch.ones(4)
    assert digest(torch.ones(2), torch.ones(2)) == digest(torch.ones(2), torch.ones(2))
    assert digest(value[:2], value[2:]) != digest(torch.ones(2), torch.ones(2))


@pytest.mark.slow
def test_compiled_it_differs_by_roundings_and_one_compilation_serves_all_of_a_kind(monkeypatch):
    """Numbers of order 1 through some ten operations: within a hundred roundings of float32."""
    monkeypatch.setattr(programs, "_compiled", type(programs._compiled)())
    for scale in ([1.0, 2.0, 3.0], [0.5, 1.5, 2.5]):
        written, compiled = Descent(), Descent()
        written.scale = compiled.scale = torch.tensor(scale)
        program = Program(compiled, compiled.state, inputs(1))
        program.compile()
        for seed in range(1, 4):
            for one, other in zip(written(*inputs(seed)), program(*inputs(seed)), strict=True):
                torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
            for one, other in zip(written.all(), compiled.all(), strict=True):
                torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    assert len(programs._compiled) == 1


@pytest.mark.long
@pytest.mark.parametrize("damage", [b"no code (", b"", b"\xff\x00"], ids=["no code", "empty", "not text"])
def test_a_damaged_program_in_the_cache_is_compiled_anew(monkeypatch, tmp_path, damage):
    monkeypatch.setenv("EBM_VS_PROB_CACHE", str(tmp_path))
    monkeypatch.setattr(programs, "_compiled", type(programs._compiled)())
    written, compiled = Descent(), Descent()
    program = Program(compiled, compiled.state, inputs(1))
    program.compile()
    kept = [path for path in tmp_path.rglob("*.py") if "precompiled" not in path.name]
    assert kept
    for path in kept:
        path.write_bytes(damage)
    programs._compiled.clear()
    again = Program(compiled, compiled.state, inputs(1))
    again.compile()
    given = inputs(2)
    expected = written(*given)
    for one, other in zip(expected, again(*given), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
