"""Chains: steps of a kernel one after another, their adaptation, and their diagnostics through ArviZ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch

from ..core.errors import check_count, invalid, unknown
from ..core.replicate_noise import Generators, replicate_noise
from .base import Info, Kernel, Potential, State, checked_bounds
from .diagnostics import MIN_CHAINS, MIN_DRAWS, diagnostics
from .dual_averaging import DualAveraging
from .hmc import HMC
from .mala import MALA
from .nuts import NUTS
from .programs import TakeStep, compiled_step
from .tempering import Tempering
from .ula import ULA

#: Noise is drawn for this many steps at once.
NOISE_BLOCK = 16

KERNELS: dict[str, type[Kernel[Any]]] = {kernel.name: kernel for kernel in (ULA, MALA, HMC, NUTS, Tempering)}

StateT = TypeVar("StateT", bound=State)


def get_kernel(name: str, **options: Any) -> Kernel[Any]:
    """The kernel of that name, `langevin` (ULA), `mala`, `hmc`, `nuts` or `tempering`, built with its own options.

    Raises:
        LookupError: an unknown name, with the nearest valid one, or an unknown option.
        ValueError: a bad option.
    """
    if name not in KERNELS:
        raise unknown("kernel", name, KERNELS)
    fields = getattr(KERNELS[name], "__dataclass_fields__", {})
    for option in options:
        if option not in fields:
            raise unknown(f"option of kernel {name}:", option, fields)
    return KERNELS[name](**options)


def run(
    kernel: Kernel[StateT],
    potential: Potential,
    state: StateT,
    num_steps: int,
    bounds: tuple[float, float],
    generators: Generators,
    compile: bool = False,
) -> Iterator[tuple[StateT, Info]]:
    """State and info after each of `num_steps` steps, its numbers from one generator a replicate.

    A replicate's numbers come from its own generator alone, so its chains do not depend on company.

    Args:
        compile: whether steps run as machine code of their own, whose numbers differ by roundings. It takes ten seconds
            or more, less where the cache has it, and makes steps of small networks three to five times as fast.

    Raises:
        ValueError: num_steps < 1, or not one generator a replicate.
        RuntimeError: steps to be compiled, and no C++ compiler that works.
    """

    def step(state: StateT, noise: torch.Tensor, uniform: torch.Tensor | None) -> tuple[StateT, Info]:
        return kernel.step(potential, state, noise, uniform, bounds)

    take: TakeStep = step
    for number, (noise, uniform) in enumerate(_noise(kernel, state, num_steps, generators)):
        if compile and number == 1:
            take = compiled_step(step, state, noise, uniform)
        state, info = take(state, noise, uniform)
        yield state, info


def warm_up(
    kernel: Kernel[StateT],
    potential: Potential,
    state: StateT,
    num_steps: int,
    bounds: tuple[float, float],
    generators: Generators,
) -> StateT:
    """The state after `num_steps` steps in which dual averaging takes each chain's acceptance to the kernel's target.

    Detailed balance may break meanwhile; the step is then fixed at its average.

    Raises:
        ValueError: num_steps < 1, not one generator a replicate, or a kernel that has no acceptance to adapt to.
    """
    if kernel.target_acceptance is None:
        raise invalid("kernel", kernel.name, "one with a Metropolis test: there is no acceptance to adapt a step to")
    adaptation = DualAveraging.start(state.log_step)
    for noise, uniform in _noise(kernel, state, num_steps, generators):
        state, info = kernel.step(potential, state, noise, uniform, bounds)
        adaptation = adaptation.update(info.acceptance, kernel.target_acceptance)
        state = replace(state, log_step=adaptation.log_step)
    return replace(state, log_step=adaptation.log_step_mean)


def _noise(
    kernel: Kernel[Any], state: State, num_steps: int, generators: Generators
) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
    check_count("num_steps", num_steps)
    if len(generators) != state.y.shape[0]:
        raise invalid("generators", len(generators), f"one for each of {state.y.shape[0]} replicates")
    (_, first, *rest), dtype, device = state.y.shape, state.y.dtype, state.y.device
    for begin in range(0, num_steps, NOISE_BLOCK):
        block = min(NOISE_BLOCK, num_steps - begin)
        # The axis of the inputs comes first, so that the numbers of one do not depend on how many follow.
        normals = kernel.normal_shape((first, block, *rest))
        noise = replicate_noise(generators, normals, dtype=dtype, device=device)
        shape = kernel.uniform_shape((first, block, *rest[:-1]))
        if shape is None:
            yield from ((normal, None) for normal in noise.movedim(2, 0))
        else:
            uniform = replicate_noise(generators, shape, "uniform", dtype=dtype, device=device)
            yield from zip(noise.movedim(2, 0), uniform.movedim(2, 0), strict=True)


@dataclass(frozen=True)
class Samples:
    """Draws and what is known of their quality; C chains for each of R replicates and n problems.

    Attributes:
        y: (R, *n, C, draws, dy), in the dtype of the starts.
        acceptance: mean acceptance probability of each chain after warm-up, (R, *n, C).
        divergences: moves refused because potential or gradient were not finite, (R, *n, C) int64.
        step_size: h after warm-up, units of y squared, (R, *n, C).
        r_hat: rank-normalised split R-hat of each coordinate, (R, *n, dy) float64 (Vehtari et al. 2021).
        ess: bulk effective sample size of each coordinate, (R, *n, dy) float64. ess_tail: that of its tails.
    """

    y: torch.Tensor
    acceptance: torch.Tensor
    divergences: torch.Tensor
    step_size: torch.Tensor
    r_hat: torch.Tensor
    ess: torch.Tensor
    ess_tail: torch.Tensor


@torch.no_grad()
def sample_chains(
    potential: Potential,
    start: torch.Tensor,
    num_samples: int,
    generators: Generators,
    *,
    step_size: float | torch.Tensor,
    kernel: str | Kernel[Any] = "mala",
    adapt: bool = True,
    warmup: int = 500,
    thin: int = 1,
    bounds: tuple[float, float] = (-float("inf"), float("inf")),
    compile: bool = False,
) -> Samples:
    """`num_samples` draws from exp(-U) of every chain, with R-hat and effective sample sizes.

    Args:
        potential: U and its gradient.
        start: where the chains begin, (R, *n, C, dy): the last n are the chains that R-hat compares, so they should be
            more spread out than the density.
        num_samples: draws kept of each chain.
        generators: one a replicate.
        step_size: h in units of y squared, a number or a tensor that broadcasts to (R, *n, C): the first step if it is
            adapted, else the step.
        kernel: a name that `get_kernel` knows, or a kernel.
        adapt: whether warm-up adapts each chain's step (all kernels with a Metropolis test).
        warmup: steps before the first draw; 0 only where nothing is adapted.
        thin: steps from one draw to the next.
        bounds: the interval of every entry of y.
        compile: whether the steps of the draws are compiled, as `run` has it.

    Raises:
        LookupError: an unknown kernel.
        ValueError: a bad count, step, start or interval; not one generator a replicate; an adapted step without a
            Metropolis test.
    """
    chosen = get_kernel(kernel) if isinstance(kernel, str) else kernel
    check_count("num_samples", num_samples)
    check_count("thin", thin)
    if num_samples < MIN_DRAWS:
        raise invalid("num_samples", num_samples, f"at least {MIN_DRAWS}, to tell R-hat from them")
    if adapt or warmup != 0:
        check_count("warmup", warmup)
    if start.ndim < 3 or start.shape[-2] < MIN_CHAINS:
        raise invalid("start.shape", tuple(start.shape), f"(R, *n, chains, dy) with at least {MIN_CHAINS} chains")
    low, high = checked_bounds(bounds)
    if not bool((start.isfinite() & (start >= low) & (start <= high)).all()):
        raise invalid("start", "entries outside the bounds or not finite", f"finite numbers within {bounds}")
    state = chosen.init(potential, start, step_size)
    if adapt:
        state = warm_up(chosen, potential, state, warmup, bounds, generators)
    elif warmup:
        for after, _ in run(chosen, potential, state, warmup, bounds, generators):
            state = after
    acceptance = torch.zeros_like(state.log_step)
    divergences = torch.zeros_like(state.log_step, dtype=torch.int64)
    kept = []
    steps = run(chosen, potential, state, num_samples * thin, bounds, generators, compile)
    for index, (after, info) in enumerate(steps, 1):
        acceptance += info.acceptance
        divergences += info.diverged
        if index % thin == 0:
            kept.append(after.y)
    y = torch.stack(kept, dim=-2)
    return Samples(
        y=y,
        acceptance=acceptance / (num_samples * thin),
        divergences=divergences,
        step_size=state.log_step.exp(),
        **diagnostics(y),
    )
