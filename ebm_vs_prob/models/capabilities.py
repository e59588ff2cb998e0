"""What some models can do beside answering: asked by `isinstance`, so that a model of anyone's has what it defines.

And what a model knows of the method that made it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import nn

    from .record import PosteriorDiagnostics


class ModelMethod(Protocol):
    """What a model and those who look at it ask of its method, a class."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def family(self) -> str: ...

    @property
    def principle(self) -> str: ...

    @property
    def normalised(self) -> bool: ...

    def smoothing(self, options: Any) -> float: ...

    def in_nats(self, options: Any) -> bool: ...

    def step_evaluations(self, options: Any, task: Any) -> float: ...

    def step_multiply_adds(self, options: Any, task: Any, batch_size: int, per_evaluation: float) -> float: ...

    def regularise(self, model: Any, loss: Any, noise: Any) -> tuple[Any, Any]: ...


@runtime_checkable
class Decides(Protocol):
    """A model that was trained to decide, under the costs of its tasks, and needs no density for it."""

    def decide(self, x: torch.Tensor) -> torch.Tensor:
        """The decision at x (n, dx) or (R, n, dx): (R, n, *event) of the space of the tasks' decisions."""
        ...


@runtime_checkable
class ReadsAnyLength(Protocol):
    """A model of strings read off strips, whose weights do not know how long the strip is."""

    def for_task(self, task: Any) -> Any:
        """A model with the same weights on strips of another length."""
        ...


@runtime_checkable
class Decodes(Protocol):
    """A model with a latent variable whose values lead to answers."""

    def decoded(self, x: torch.Tensor) -> torch.Tensor:
        """Answers of values of z at x (n, dx) or (R, n, dx): (R, n, m, dy)."""
        ...


@runtime_checkable
class HasJointEnergy(Protocol):
    """A model with an energy of x, y and a latent z."""

    @property
    def joint_energy(self) -> nn.Module | None:
        """E(x, y, z), (R or 1, *n, ·) each -> (R, *n), where z has one dimension; None where it has more."""
        ...

    @property
    def latent_bounds(self) -> tuple[float, float]:
        """Least and greatest value of z."""
        ...


@runtime_checkable
class BoundsEvidence(Protocol):
    """A model with a guide of its latent variable."""

    def elbo(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The evidence lower bound of ln q(y | x) in nats, (R, n)."""
        ...


@runtime_checkable
class DoubtsDensity(Protocol):
    """A model that knows where its own log-densities cannot be trusted."""

    def log_prob_warnings(self, x: torch.Tensor, y: torch.Tensor) -> tuple[str, ...]:
        """Why not, a line for each reason; empty if nothing speaks against them."""
        ...


@runtime_checkable
class HasPosterior(Protocol):
    """A model that is a mixture over S draws of its weights."""

    def posterior_log_prob(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln q(y | x, draw) in nats, (R, S, n)."""
        ...

    def posterior_weights(self) -> dict[str, torch.Tensor]:
        """The draws by the names of the parameters, (R, S, *shape)."""
        ...


@runtime_checkable
class DoubtsPosterior(Protocol):
    """A posterior that knows how well the ln Z of its training and of its draws are known."""

    @property
    def partition_gap(self) -> torch.Tensor:
        """(R, S) nats by which the ln Z of training was off; NaN where training failed."""
        ...

    def posterior_warnings(self, x: torch.Tensor, members: list[int]) -> tuple[str, ...]:
        """What speaks against the log-densities at x in the replicates `members`, a line for each reason."""
        ...


@runtime_checkable
class DiagnosesChains(Protocol):
    """A model that may have chains of weights behind it."""

    def posterior_diagnostics(self) -> PosteriorDiagnostics | None:
        """What is known of the chains; None where there are none."""
        ...


@runtime_checkable
class HasChains(Protocol):
    """A posterior whose draws may be states of chains, in order."""

    @property
    def num_chains(self) -> int | None:
        """C, or None where there are none."""
        ...

    def posterior_statistics(self) -> dict[str, torch.Tensor]:
        """What is known of each draw, (R, C, D), by ArviZ's names."""
        ...

    def posterior_trace(self) -> torch.Tensor:
        """Log-densities of training pairs along the chains, (R, C, T, K) nats."""
        ...
