"""What the conformance checks share: how a broken rule is reported, and rules that hold for tasks and methods alike."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

    from ..core.spaces import Box, Discrete

#: Discrete answers that are all asked for, at most.
MOST_ANSWERS = 20_000


def global_random_state() -> dict[str, bytes]:
    """The state of the global generators of torch, NumPy and `random`, as bytes to compare."""
    import torch

    def flat(value: Any) -> Any:  # printing the numbers would take most of the time
        return value.tobytes() if isinstance(value, np.ndarray) else value

    numpy_state: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    numpy_state = {**numpy_state, "state": {name: flat(value) for name, value in numpy_state["state"].items()}}
    version, words, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": repr(numpy_state).encode(),
        "random": repr((version, np.array(words, dtype=np.uint64).tobytes(), gauss)).encode(),
    }


@contextmanager
def global_generators_left_alone(who: str) -> Iterator[None]:
    """Raise an `AssertionError` if the block moves a global random generator."""
    before = global_random_state()
    yield
    moved = [name for name, state in global_random_state().items() if state != before[name]]
    rule(not moved, who, f"must leave global random generators alone, but moved that of {', '.join(moved)}")


def rule(kept: object, who: str, message: str) -> None:
    """Raise an `AssertionError` with the offender and the message unless the rule is kept."""
    if not bool(kept):
        raise AssertionError(f"{who}: {message}")


def expect(kind: type[Exception], who: str, what: str, call: Callable[[], object]) -> Exception:
    """The error that the call must raise, whose message must be one line."""
    try:
        call()
    except kind as error:
        rule(str(error).strip() and "\n" not in str(error), who, f"{what} must be explained in one line, not {error!r}")
        return error
    except Exception as error:
        raise AssertionError(f"{who}: {what} must be a {kind.__name__}, not {error!r}") from error
    raise AssertionError(f"{who}: {what} must be a {kind.__name__}, but was accepted")


def check_declaration(entry: Any, who: str) -> None:
    """What every registered class declares: name, summary, version, papers that exist and a schema of options."""
    from ..core.bibliography import conditions, papers
    from ..core.options import Options

    name, summary, version = (getattr(entry, field, None) for field in ("name", "summary", "version"))
    rule(isinstance(name, str) and name.isidentifier(), who, f"name must be an identifier, not {name!r}")
    rule(
        isinstance(summary, str) and summary and "\n" not in summary, who, f"summary must be one line, not {summary!r}"
    )
    rule(type(version) is int and version >= 1, who, f"version must be an integer >= 1, not {version!r}")
    try:
        papers(entry)
    except (LookupError, ValueError) as error:
        raise AssertionError(f"{who}: references must be keys of BibTeX entries: {error}") from error
    schema = getattr(entry, "Options", None)
    rule(isinstance(schema, type) and issubclass(schema, Options), who, f"Options must be a schema, not {schema!r}")
    try:
        conditions(entry)
    except (LookupError, ValueError) as error:
        raise AssertionError(f"{who}: cited_with must name references, options and values of them: {error}") from error


def every_answer(space: Discrete) -> torch.Tensor | None:
    """All answers of a discrete space, (K^T, *event) int64; None where they are more than `MOST_ANSWERS`."""
    return space.every_answer() if space.num_answers <= MOST_ANSWERS else None


#: How far beyond a box, in halves of its width, a density whose mass lies outside is integrated.
REACH = 100.0


def whole_integral(
    log_density: Callable[[torch.Tensor], torch.Tensor], box: Box, spacing: float, short: float
) -> float:
    """`integral`; where the box has less than 1 - `short` of a density, the integral over all of space.

    That is taken by the trapezoidal rule after y = middle + half sinh(t), on nodes half a spacing apart in the middle,
    up to `REACH` halves of the box's width: the tails of a density of ν = 4 degrees of freedom beyond have less than
    1e-7.
    """
    import torch

    inside = integral(log_density, box, spacing)
    if inside >= 1 - short:
        return inside
    low, high = box.bounds
    half, end = (high - low) / 2, float(np.arcsinh(REACH))
    t = torch.linspace(-end, end, 1 + int(np.ceil(4 * end * half / spacing)), dtype=torch.float64, device="cpu")
    axis, slope = (low + high) / 2 + half * t.sinh(), half * t.cosh() * float(t[1] - t[0])
    grid = torch.cartesian_prod(*[axis] * box.dim).reshape(-1, box.dim)
    weights = torch.cartesian_prod(*[slope] * box.dim).reshape(-1, box.dim).prod(-1)
    parts = zip(grid.split(100_000), weights.split(100_000), strict=True)
    return sum(float(log_density(part).double().exp() @ weight) for part, weight in parts)


def integral(log_density: Callable[[torch.Tensor], torch.Tensor], box: Box, spacing: float) -> float:
    """The integral over a box of one or two dimensions, by the trapezoidal rule.

    For a density blurred by a Gaussian of standard deviation s its error falls as exp(-2 pi^2 s^2 / spacing^2).
    """
    import torch

    low, high = box.bounds
    axis = torch.linspace(low, high, 1 + int(np.ceil((high - low) / spacing)), dtype=torch.float64, device="cpu")
    grid = torch.cartesian_prod(*[axis] * box.dim).reshape(-1, box.dim)
    return float(log_density(grid).double().exp().sum()) * float(axis[1] - axis[0]) ** box.dim
