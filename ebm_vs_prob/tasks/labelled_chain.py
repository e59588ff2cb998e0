"""A hidden Markov chain: every entry of x shows its label blurred, and neighbouring labels help to tell.

The structured control: among K^T answers, exact inference costs T K² (Rabiner 1989; Lafferty, McCallum and Pereira
2001).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from ..core.approximate import Approximate
from ..core.errors import NoExactReference
from ..core.options import PER_REPLICATE
from ..core.registry import TASKS
from ..core.spaces import Box, Sequences
from .base import Split, Task
from .discrete import DiscreteOptions, DiscreteReference

if TYPE_CHECKING:
    import torch

    from ..core.automata import Automaton
    from ..core.factor_graphs import FactorGraph

#: What an entry of x is without noise, by its label.
MEANS = (-1.5, 0.0, 1.5)
#: Probability of each label at the first place.
INITIAL = (0.5, 0.3, 0.2)
#: Probability of the next label, by row the label before it: most stay, and of the others the next one up is likelier.
TRANSITION = ((0.6, 0.3, 0.1), (0.1, 0.6, 0.3), (0.3, 0.1, 0.6))


#: Probability of a label given the one two places before, by row that one: in the second-order part of the law.
SKIP = ((0.05, 0.9, 0.05), (0.05, 0.05, 0.9), (0.9, 0.05, 0.05))


class LabelledChainOptions(DiscreteOptions):
    second_order: Annotated[
        Annotated[float, Field(ge=0.0, le=1.0)] | None,
        PER_REPLICATE,
        Field(description="share of the law of a label that is of the one two places before; None: 0, and a chain"),
    ] = None
    length: Annotated[int, Field(ge=1, le=1024, description="number of places T")] = 8


class LabelledChainReference(DiscreteReference):
    """Exact truth of the chain: the posterior by the forward algorithm, the Bayes answer by Viterbi's."""

    task: LabelledChain

    @property
    def graph_kind(self) -> str:
        return "chain" if self.task.options.second_order is None else "automaton"

    def graph(self, x: torch.Tensor) -> FactorGraph | Automaton:
        """-ln p(y) + Σ_t (x_t - m(y_t))² / (2 ε²) for x (..., T): a chain of T variables.

        Where a law of second order is asked for it is an automaton that remembers the last two labels.
        """
        import torch

        from ..core.factor_graphs import FactorGraph

        means, initial, transition = (
            torch.tensor(part, dtype=x.dtype, device=x.device) for part in (MEANS, INITIAL, TRANSITION)
        )
        if self.task.options.second_order is not None:
            return self.automaton(x)
        seen = 0.5 * ((x.unsqueeze(-1) - means) / self.task.thickness).square()
        first = torch.cat([-initial.log().unsqueeze(0), seen.new_zeros(x.shape[-1] - 1, len(MEANS))])
        return FactorGraph(seen + first, -transition.log().expand(x.shape[-1] - 1, -1, -1))

    def automaton(self, x: torch.Tensor) -> Automaton:
        """The same of a law of either order. States: none read, then one of K labels, then one of K² pairs, the earlier
        label first."""
        import torch

        from ..core.automata import Automaton

        means = torch.tensor(MEANS, dtype=x.dtype, device=x.device)
        seen = 0.5 * ((x.unsqueeze(-1) - means) / self.task.thickness).square()
        count, law = len(MEANS), self.task.law
        pairs = np.arange(count * count)
        target = np.concatenate(
            [
                1 + np.arange(count)[None],
                1 + count + np.arange(count * count).reshape(count, count),
                1 + count + count * (pairs % count)[:, None] + np.arange(count),
            ]
        )
        chances = np.concatenate([np.array([INITIAL]), np.array(TRANSITION), law.reshape(-1, count)])
        leads = torch.from_numpy(target).to(seen.device)
        surprise = -torch.from_numpy(chances).to(seen).log()
        return Automaton(
            seen.shape[-2],
            lambda t: (leads, surprise + seen[..., t, None, :]),
            seen.new_zeros(*seen.shape[:-2], len(target)),
        )

    def entropy(self) -> Approximate:
        """Always raises `NoExactReference`."""
        raise NoExactReference(
            "labelled_chain: H(Y | X) is an integral over all of x that nobody has in closed form: "
            "use reference.sampled_entropy(), a mean over data whose terms are exact"
        )


@TASKS.register
class LabelledChain(Task):
    """y a Markov chain of T labels out of three; x_t the mean of y_t with noise.

    `second_order` mixes in a law that looks at the label two places before, which no chain of neighbours can hold.
    """

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
        share = self.options.second_order or 0.0
        #: P(label | the one two before, the one before), (K, K, K).
        self.law = (1.0 - share) * np.array(TRANSITION)[None] + share * np.array(SKIP)[:, None]
        extent = max(7.0, max(MEANS) + 6.0 * self.thickness)
        self.x_space = Box((-extent, extent), self.options.length)
        self.y_space = Sequences(len(MEANS), self.options.length)
        self.z_space = None
        self.manifold_dim = None
        self.reference = LabelledChainReference(self)

    def _draw(self, n: int, rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        uniform = rng.random((n, self.options.length))
        ends = np.cumsum(TRANSITION, axis=1)[:, :-1]
        ends_of_pairs = np.cumsum(self.law, axis=2)[:, :, :-1]
        y = np.empty(uniform.shape, dtype=np.int64)
        y[:, 0] = (uniform[:, :1] >= np.cumsum(INITIAL)[:-1]).sum(1)
        for t in range(1, self.options.length):
            own = ends[y[:, t - 1]] if t == 1 else ends_of_pairs[y[:, t - 2], y[:, t - 1]]
            y[:, t] = (uniform[:, t : t + 1] >= own).sum(1)
        x = np.array(MEANS)[y] + self.thickness * rng.standard_normal(y.shape)
        return x, y, np.empty((n, 0))
