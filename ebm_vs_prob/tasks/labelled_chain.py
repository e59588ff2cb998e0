"""A hidden Markov chain: every entry of x shows its label blurred, and neighbouring labels help to tell.

The structured control: among K^T answers, exact inference costs T K² (Rabiner 1989; Lafferty, McCallum and Pereira
2001).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from ..core.errors import NoExactReference
from ..core.registry import TASKS
from ..core.spaces import Box, Sequences
from .base import Split, Task
from .discrete import DiscreteOptions, DiscreteReference

if TYPE_CHECKING:
    import torch

    from ..core.factor_graphs import FactorGraph

#: What an entry of x is without noise, by its label.
MEANS = (-1.5, 0.0, 1.5)
#: Probability of each label at the first place.
INITIAL = (0.5, 0.3, 0.2)
#: Probability of the next label, by row the label before it: most stay, and of the others the next one up is likelier.
TRANSITION = ((0.6, 0.3, 0.1), (0.1, 0.6, 0.3), (0.3, 0.1, 0.6))


class LabelledChainOptions(DiscreteOptions):
    length: Annotated[int, Field(ge=1, le=1024, description="number of places T")] = 8


class LabelledChainReference(DiscreteReference):
    """Exact truth of the chain: the posterior by the forward algorithm, the Bayes answer by Viterbi's."""

    def graph(self, x: torch.Tensor) -> FactorGraph:
        """-ln p(y) + Σ_t (x_t - m(y_t))² / (2 ε²) for x (..., T): a chain of T variables."""
        import torch

        from ..core.factor_graphs import FactorGraph

        means, initial, transition = (
            torch.tensor(part, dtype=x.dtype, device=x.device) for part in (MEANS, INITIAL, TRANSITION)
        )
        seen = 0.5 * ((x.unsqueeze(-1) - means) / self.task.thickness).square()
        first = torch.cat([-initial.log().unsqueeze(0), seen.new_zeros(x.shape[-1] - 1, len(MEANS))])
        return FactorGraph(seen + first, -transition.log().expand(x.shape[-1] - 1, -1, -1))

    def entropy(self) -> float:
        """Always raises `NoExactReference`."""
        raise NoExactReference(
            "labelled_chain: H(Y | X) is an integral over all of x that nobody has in closed form: "
            "average -reference.log_prob over data, each term of which is exact"
        )


@TASKS.register
class LabelledChain(Task):
    """y a Markov chain of T labels out of three; x_t the mean of y_t with noise."""

    name = "labelled_chain"
    summary = "T labels of a Markov chain; each entry of x is one label's mean, blurred"
    truth = "posterior by the forward algorithm, Bayes answer by Viterbi's; no entropy"
    references = ("rabiner1989tutorial",)
    Options = LabelledChainOptions
    options: LabelledChainOptions
    x_space: Box
    y_space: Sequences
    reference: LabelledChainReference

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        extent = max(7.0, max(MEANS) + 6.0 * self.thickness)
        self.x_space = Box((-extent, extent), self.options.length)
        self.y_space = Sequences(len(MEANS), self.options.length)
        self.z_space = None
        self.manifold_dim = None
        self.reference = LabelledChainReference(self)

    def _draw(self, n: int, rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        uniform = rng.random((n, self.options.length))
        ends = np.cumsum(TRANSITION, axis=1)[:, :-1]
        y = np.empty(uniform.shape, dtype=np.int64)
        y[:, 0] = (uniform[:, :1] >= np.cumsum(INITIAL)[:-1]).sum(1)
        for t in range(1, self.options.length):
            y[:, t] = (uniform[:, t : t + 1] >= ends[y[:, t - 1]]).sum(1)
        x = np.array(MEANS)[y] + self.thickness * rng.standard_normal(y.shape)
        return x, y, np.empty((n, 0))
