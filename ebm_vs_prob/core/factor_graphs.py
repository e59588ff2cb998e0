"""Energies that are sums of factors over the variables of a tree, and exact inference by messages.

One upward recursion serves all: each variable tells its parent the free energy of what hangs below it, at any inverse
temperature. At beta = inf that is min-sum, and its way back down decodes the answer of least energy (Viterbi 1967); at
finite beta it is the forward algorithm, and its way back down draws from exp(-beta E) (Pearl 1988, chapter 4;
Kschischang, Frey and Loeliger 2001). T variables of K values cost T K², against K^T by enumeration.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from .discrete_energies import DiscreteEnergy
from .errors import invalid
from .free_energies import free_energy
from .process_state import holds
from .tensors import looked_up

Beta = torch.Tensor | float


@dataclass(frozen=True)
class FactorGraph(DiscreteEnergy):
    """E(y) = Σ_t unary[t, y_t] + Σ_{t>0} pairwise[t-1, y_parent(t), y_t], of a batch of trees of one shape.

    The batch is what the leading dimensions broadcast to. An energy of +inf forbids. One label is a tree of one
    variable.

    Args:
        unary: (..., T, K). pairwise: (..., T-1, K, K), the parent's value first.
        parents: the parent of each variable but the first, which is the root, parents before children; () for a chain.

    Raises:
        ValueError: shapes that do not fit, or parents that are no tree in that order.
    """

    unary: torch.Tensor
    pairwise: torch.Tensor
    parents: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("unary", "pairwise"):
            factor = getattr(self, name)
            if not (isinstance(factor, torch.Tensor) and factor.is_floating_point()):
                raise invalid(name, getattr(factor, "dtype", type(factor).__name__), "a floating-point tensor")
        if self.unary.ndim < 2 or 0 in self.unary.shape[-2:]:
            raise invalid("unary.shape", tuple(self.unary.shape), "(..., T, K) with T, K >= 1")
        length, count = self.unary.shape[-2:]
        if self.pairwise.shape[-3:] != (length - 1, count, count):
            raise invalid("pairwise.shape", tuple(self.pairwise.shape), f"(..., {length - 1}, {count}, {count})")
        try:
            torch.broadcast_shapes(self.unary.shape[:-2], self.pairwise.shape[:-3])
        except RuntimeError:
            shapes = tuple(self.unary.shape), tuple(self.pairwise.shape)
            raise invalid("shapes of unary, pairwise", shapes, "leading dimensions that broadcast") from None
        parents = self.parents or tuple(range(length - 1))
        if len(parents) != length - 1 or any(not 0 <= parent <= t for t, parent in enumerate(parents)):
            raise invalid(
                "parents", self.parents, f"{length - 1} variables in 0 .. {length - 2}, each before its child"
            )
        object.__setattr__(self, "parents", parents)

    @property
    def num_variables(self) -> int:
        """T."""
        return self.unary.shape[-2]

    @property
    def num_values(self) -> int:
        """K."""
        return self.unary.shape[-1]

    @property
    def batch_shape(self) -> torch.Size:
        """What the leading dimensions of the factors broadcast to."""
        return torch.broadcast_shapes(self.unary.shape[:-2], self.pairwise.shape[:-3])

    @property
    def log_incorrect(self) -> float:
        """ln (K^T - 1): of the number of answers but one; -inf where there is no other."""
        one = math.exp(-self.log_answers)
        return self.log_answers + math.log1p(-one) if one < 1 else -math.inf

    @classmethod
    def stacked(cls, parts: Sequence[FactorGraph]) -> FactorGraph:
        whole = [part.expand() for part in parts]
        unary, pairwise = (torch.stack([getattr(part, name) for part in whole]) for name in ("unary", "pairwise"))
        return cls(unary, pairwise, parts[0].parents)

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> FactorGraph:
        """The graph whose factors are what `change` makes of these: another dtype, sign or part of the batch."""
        return FactorGraph(change(self.unary), change(self.pairwise), self.parents)

    def plus(self, costs: torch.Tensor) -> FactorGraph:
        """The graph that a cost of each variable's value, (*batch, T, K), is added to."""
        return FactorGraph(self.unary + costs, self.pairwise, self.parents)

    def expand(self) -> FactorGraph:
        """The same graph, both of whose factors have all of the batch's dimensions."""
        batch = self.batch_shape
        return FactorGraph(self.unary.expand(*batch, -1, -1), self.pairwise.expand(*batch, -1, -1, -1), self.parents)

    def energy(self, y: torch.Tensor) -> torch.Tensor:
        """E of answers y (*sample, *batch, T) int64, whose leading dimensions broadcast: (*sample, *batch).

        Raises:
            ValueError: a y of another length or dtype, or values that do not exist.
        """
        y = self.checked(y)
        pairs = y[..., list(self.parents)] * self.num_values + y[..., 1:]
        coupled = looked_up(self.pairwise.flatten(-2), pairs)
        return (looked_up(self.unary, y) + pad(coupled, (1, 0))).sum(-1)

    def conditional_energies(self, y: torch.Tensor) -> torch.Tensor:
        """E as a function of each variable's value, all others as in y (*sample, *batch, T) int64: (*sample, *batch, T,
        K), of each variable up to a constant, what does not touch it.

        Raises:
            ValueError: a y of another length or dtype, or values that do not exist.
        """
        y = self.checked(y)
        energies = list((self.unary + self._entering(y)).unbind(-2))
        values = torch.arange(self.num_values, dtype=torch.int64, device=y.device)
        rows = values * self.num_values + y[..., 1:].unsqueeze(-1)
        leaving = looked_up(self.pairwise.flatten(-2).unsqueeze(-2), rows).unbind(-2)
        for parent, below in zip(self.parents, leaving, strict=True):
            energies[parent] = energies[parent] + below
        return torch.stack(energies, -2)

    def min_sum(self) -> tuple[torch.Tensor, torch.Tensor]:
        collected, _ = self._collected(math.inf)
        return self._assigned(collected, lambda energies, _: energies.argmin(-1)), collected[0].amin(-1)

    def free_energy(self, beta: Beta) -> torch.Tensor:
        collected, _ = self._collected(beta)
        return free_energy(collected[0], beta, -1)

    def free_energy_of_incorrect(self, y: torch.Tensor, beta: Beta) -> torch.Tensor:
        """The free energy of all answers but y (*batch, T) int64, normalised by their number: (*batch).

        At beta = inf the energy of the most offending incorrect answer (LeCun et al. 2006, definition 1). An incorrect
        answer departs from y first at one variable, in the order of the tree: before it all is y's, after it all is
        free. These are T disjoint sets, whose free energies are sums of messages.

        Raises:
            ValueError: a y that does not fit, or variables of one value, which leave no incorrect answer.
        """
        length, count = self.num_variables, self.num_values
        if count < 2:
            raise invalid("K", count, "2 values at least, so that an answer can be incorrect")
        beta = self._temperature(beta)
        collected, messages = self._collected(beta)
        own, entering = self._along(y)
        y = y.expand(own.shape)
        right = y.unsqueeze(-1) == torch.arange(count, dtype=torch.int64, device=y.device)
        log_weights = torch.zeros_like(entering).masked_fill(right, -math.inf)
        departing = free_energy(torch.stack(collected, -2) + entering, beta.unsqueeze(-1), -1, log_weights)
        along = own + entering.gather(-1, y.unsqueeze(-1)).squeeze(-1)
        before = torch.cat([torch.zeros_like(along[..., :1]), along[..., :-1].cumsum(-1)], -1)
        total = departing + before + self._free_branches(messages, y)
        log_counts = [math.log(count - 1) + (length - 1 - t) * math.log(count) for t in range(length)]
        return free_energy(total, beta, -1, log_weights=total.new_tensor(log_counts))

    def sample(self, beta: Beta, uniform: torch.Tensor) -> torch.Tensor:
        """Exact draws by forward filtering, backward sampling, each value by the maximum of energies perturbed with
        Gumbel noise."""
        length, count = self.num_variables, self.num_values
        fits = uniform.shape[-2:] == (length, count)
        try:
            torch.broadcast_shapes(self.batch_shape, uniform.shape[:-2])
        except RuntimeError:
            fits = False
        if not fits:
            valid = f"(*sample, *{tuple(self.batch_shape)}, {length}, {count})"
            raise invalid("uniform.shape", tuple(uniform.shape), valid)
        beta = self._temperature(beta).unsqueeze(-1)
        collected, _ = self._collected(beta.squeeze(-1))
        gumbel = -torch.log(-torch.log(uniform.clamp_min(torch.finfo(uniform.dtype).tiny)))

        def drawn(energies: torch.Tensor, t: int) -> torch.Tensor:
            tilted = torch.where(beta == 0, 0.0, beta * energies) - gumbel[..., t, :]
            return torch.where(beta == math.inf, energies, tilted).argmin(-1)

        return self._assigned(collected, drawn)

    def _temperature(self, beta: Beta) -> torch.Tensor:
        value = torch.as_tensor(beta, dtype=self.unary.dtype, device=self.unary.device)
        if not torch.compiler.is_compiling() and not holds(lambda: (value >= 0).all()):
            raise invalid("beta", beta, "numbers in [0, inf]")
        return value

    def _collected(self, beta: Beta) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Upward. For each variable the energy of each of its values with all that hangs below, (*batch, K); and what
        each but the root tells its parent, (*batch, K) over the parent's values."""
        self._temperature(beta)
        if isinstance(beta, torch.Tensor):
            beta = beta.unsqueeze(-1)
        collected = list(self.unary.expand(*self.batch_shape, -1, -1).unbind(-2))
        messages = []
        for t in range(self.num_variables - 1, 0, -1):
            message = free_energy(self.pairwise[..., t - 1, :, :] + collected[t].unsqueeze(-2), beta, -1)
            messages.append(message)
            collected[self.parents[t - 1]] = collected[self.parents[t - 1]] + message
        return collected, messages[::-1]

    def _assigned(
        self, collected: list[torch.Tensor], choose: Callable[[torch.Tensor, int], torch.Tensor]
    ) -> torch.Tensor:
        """Downward: (..., T) int64, each value as `choose` takes it from energies (..., K) given the parent's value."""
        values = [choose(collected[0], 0)]
        for t in range(1, self.num_variables):
            above = values[self.parents[t - 1]]
            values.append(choose(collected[t] + _row(self.pairwise[..., t - 1, :, :], above), t))
        return torch.stack(values, -1)

    def _along(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Along y (..., T): each variable's own energy (..., T), and what its parent's value in y adds to each of its
        values, (..., T, K), 0 at the root."""
        y = self.checked(y)
        return looked_up(self.unary, y), self._entering(y)

    def _entering(self, y: torch.Tensor) -> torch.Tensor:
        """What the value of each variable's parent in y adds to each of its own values: (..., T, K), 0 at the root."""
        values = torch.arange(self.num_values, dtype=torch.int64, device=y.device)
        columns = y[..., list(self.parents)].unsqueeze(-1) * self.num_values + values
        return pad(looked_up(self.pairwise.flatten(-2).unsqueeze(-2), columns), (0, 0, 1, 0))

    def _free_branches(self, messages: list[torch.Tensor], y: torch.Tensor) -> torch.Tensor:
        """What the branches that hang from variables before t and begin after it add at y: (..., T); 0 on a chain."""
        if self.parents == tuple(range(len(self.parents))):
            return y.new_zeros(y.shape)
        spans = torch.tensor(
            [[parent < t < child for t in range(self.num_variables)] for child, parent in enumerate(self.parents, 1)],
            dtype=torch.bool,
            device="cpu",
        )
        above = y[..., list(self.parents)].unsqueeze(-1)
        sent = torch.stack(messages, -2).expand(*above.shape[:-1], -1).gather(-1, above)
        return torch.where(spans.to(sent.device), sent, 0.0).sum(-2)


def _row(pairwise: torch.Tensor, above: torch.Tensor) -> torch.Tensor:
    """The rows (..., K) of pairwise energies (..., K, K) that the parents' values (...) select."""
    pairwise = pairwise.expand(*above.shape, -1, -1)
    return pairwise.gather(-2, above[..., None, None].expand(*above.shape, 1, pairwise.shape[-1])).squeeze(-2)
