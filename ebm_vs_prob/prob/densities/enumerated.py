"""Discrete answers as Pyro programs: every symbol a site that Pyro enumerates, the energy a product of its factors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import infer_discrete
from pyro.ops.indexing import Vindex

from ...core.errors import check_count, invalid
from ...core.factor_graphs import FactorGraph
from ...core.process_state import in_turn
from ...core.seeding import check_seed, forked, stream
from ...models.graph_model import NormalisedGraphModel

#: The first dimension left of the plates over replicates and over x: where Pyro may enumerate.
FIRST_AVAILABLE_DIM = -3


class DiscreteDensityModel(NormalisedGraphModel):
    """R distributions over labels or sequences that are Pyro programs too, for Pyro's own exact inference."""

    def pyro_model(self, x: torch.Tensor) -> Callable[[], torch.Tensor]:
        """A Pyro program of y given x (n, dx) or (R, n, dx), whose return value is y (R, n, ...).

        The sites are `y_0` to `y_{T-1}`, in plates `replicate` (dim -2) and `data` (dim -1), marked for parallel
        enumeration: `infer_discrete(first_available_dim=-3)`, `TraceEnum_ELBO(max_plate_nesting=2)` and
        `pyro.condition`, to observe some of the symbols, do what they do to any model.

        Raises:
            ValueError: a shape that does not fit the task's spaces, or an energy whose graph is not a chain.
        """
        with torch.no_grad():
            graph = self.graph(x).expand()
        parents = getattr(graph, "parents", "no parents")
        if parents != tuple(range(graph.num_variables - 1)):
            raise invalid("energy: graph(x).parents", parents, "a chain: each variable the next one's parent")

        def program() -> torch.Tensor:
            return self.space.from_variables(chain(graph))

        return program

    @in_turn
    def infer_discrete(
        self, x: torch.Tensor, temperature: Literal[0, 1] = 1, num_samples: int = 1, seed: int = 0
    ) -> torch.Tensor:
        """`pyro.infer.infer_discrete` of `pyro_model(x)`: y (R, n, num_samples, ...) int64.

        At temperature 0 the most probable answer, the argmin of F_inf by max-product; at 1 exact draws by forward
        filtering and backward sampling. `infer` and `sample` give the same by the package's own messages.

        Pyro draws for all replicates from one generator, seeded by `seed` and restored afterwards, so that unlike those
        of `sample` a replicate's draws at temperature 1 depend on the others it was fitted with.

        Raises:
            ValueError: another temperature, a bad count or seed, or what `pyro_model` refuses.
        """
        if isinstance(temperature, bool) or temperature not in (0, 1):
            raise invalid("temperature", temperature, "0 (most probable answer) or 1 (exact draws)")
        check_count("num_samples", num_samples)
        check_seed(seed)
        decoder = infer_discrete(self.pyro_model(x), FIRST_AVAILABLE_DIM, temperature)
        if temperature == 0:
            best: torch.Tensor = decoder().unsqueeze(2)
            return best.expand(*best.shape[:2], num_samples, *best.shape[3:])
        with forked(stream(seed, "infer discrete"), self.setting.device):
            return torch.stack([decoder() for _ in range(num_samples)], 2)


def chain(graph: FactorGraph) -> torch.Tensor:
    """exp(-E) of a chain graph of batch (R, n) as a Pyro program; its value is the symbols (R, n, T).

    A uniform site for each variable and a factor for each energy: ln of the enumerated sum is -ln of the number of
    answers below ln Z.
    """
    symbols: list[torch.Tensor] = []
    uniform = dist.Categorical(logits=graph.unary.new_zeros(graph.num_values))
    with pyro.plate("replicate", graph.batch_shape[0], dim=-2), pyro.plate("data", graph.batch_shape[1], dim=-1):
        for t in pyro.markov(range(graph.num_variables)):
            symbol = pyro.sample(f"y_{t}", uniform, infer={"enumerate": "parallel"})
            pyro.factor(f"unary_{t}", -Vindex(graph.unary[..., t, :])[..., symbol])
            if t:
                pyro.factor(f"pairwise_{t}", -Vindex(graph.pairwise[..., t - 1, :, :])[..., symbols[-1], symbol])
            symbols.append(symbol)
    shape = torch.broadcast_shapes(graph.batch_shape, *(symbol.shape for symbol in symbols))
    return torch.stack([symbol.expand(shape) for symbol in symbols], -1)
