"""Translation: a sentence has several right translations, of probabilities that are known.

A synchronous grammar (Lewis and Stearns 1968; Wu 1997) derives a sentence and its translation together, the sentence by
S -> NP V NP PP*, NP -> (A) N, PP -> P NP. The translation has the verb first, last or in the middle, each adjective
before or after its noun, one of two synonyms for each noun, verb and adjective, and an optional particle after the verb
and before each PP. Few of K^T strings of symbols are right, and which of them is written no sentence tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
from pydantic import Field, model_validator

from ..core.approximate import Approximate
from ..core.errors import invalid
from ..core.options import PER_REPLICATE
from ..core.registry import TASKS
from ..core.seeding import numpy_generator
from ..core.spaces import Box, Sequences
from .base import Split, Task, TaskOptions, check_inputs
from .discrete import DiscreteReference
from .grammars.chart import Chart, Choices, chart
from .grammars.derivations import derivation, size
from .grammars.sentences import Lexicon, Sentences, SourceLaw

if TYPE_CHECKING:
    import torch

    from ..core.automata import Automaton

#: Sentences whose charts are made at once, so that they fit into memory.
_ROWS = 1024
#: Right translations of one sentence that are listed, at most.
_MOST_LISTED = 100_000

Chance = Annotated[float, PER_REPLICATE, Field(ge=0.0, le=1.0)]


class TranslationOptions(TaskOptions):
    """Options of `translation`."""

    thickness: Annotated[
        float,
        PER_REPLICATE,
        Field(ge=0.0, lt=1.0, description="chance ε of each symbol to be drawn from all symbols alike"),
    ] = 0.01
    length: Annotated[int, Field(ge=3, le=20, description="symbols T of a translation, padded")] = 10
    words: Annotated[
        int, Field(ge=4, le=64, description="of the source, dealt in turn to nouns, verbs, adjectives, prepositions")
    ] = 12
    phrases: Annotated[int, Field(ge=0, le=8, description="prepositional phrases of a sentence, at most")] = 2
    verb_first: Annotated[Chance, Field(description="probability of verb, subject, object")] = 0.1
    verb_last: Annotated[Chance, Field(description="probability of subject, object, verb")] = 0.3
    adjective_first: Annotated[Chance, Field(description="probability that an adjective precedes its noun")] = 0.7
    first_synonym: Annotated[Chance, Field(description="probability of the first of a word's two synonyms")] = 0.75
    particle: Annotated[
        Chance, Field(description="probability of the particle after the verb, and of that before each phrase")
    ] = 0.2

    @model_validator(mode="after")
    def _orders_are_a_law(self) -> Self:
        if self.verb_first + self.verb_last > 1.0 + 1e-12:
            raise ValueError(f"a verb_last <= 1 - verb_first = {1.0 - self.verb_first:g}, not {self.verb_last:g}")
        return self


class TranslationReference(DiscreteReference):
    """Exact truth of translations, by dynamic programming over the chart of each sentence."""

    task: Translation

    def graph(self, x: torch.Tensor) -> Automaton:
        """-ln P(y | x) for x (..., dx): an automaton over places in the derivation.

        Raises:
            ValueError: an x that holds no sentence.
        """
        from ..core.automata import Automaton

        own = self.chart(x.reshape(-1, x.shape[-1]))
        parts = (own.target, -own.probability.log())
        target, cost = (part.reshape(*x.shape[:-1], *part.shape[1:]) for part in parts)
        return Automaton(self.task.options.length, lambda t: (target, cost), cost.new_zeros(cost.shape[:-1]))

    def chart(self, x: torch.Tensor) -> Chart:
        """The law of the next symbol in each place of a derivation, of sentences x (n, dx).

        Raises:
            ValueError: an x that holds no sentence.
        """
        return self.task.chart(self.task.sentences(x))

    def log_density(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """As `log_prob` for any broadcasting leading dimensions; -inf of what no slip and no choice makes.

        One pass over each string: Z is 1, because each symbol has a law of its own given those before it.
        """
        import torch

        if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
            return -self.graph(x.double()).energy(y)
        parts = zip(x.double().split(_ROWS), y.split(_ROWS), strict=True)
        return torch.cat([-self.graph(given).energy(asked) for given, asked in parts])

    def distance(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Symbols in which y (n, T) differs from the nearest right translation of x (n, dx): (n,) float64.

        Raises:
            ValueError: shapes that do not fit the task's spaces, or symbols that do not exist.
        """
        import torch

        self._check(x, y)
        parts = zip(x.double().split(_ROWS), y.split(_ROWS), strict=True)
        return torch.cat([self.chart(given).distances(asked).min_sum()[1] for given, asked in parts])

    def sample(self, x: torch.Tensor, num_samples: int, seed: int = 0) -> torch.Tensor:
        """Exact draws of y given each x (n, dx), symbol by symbol: (n, num_samples, T) int64."""
        import torch

        check_inputs(self.task, x, num_samples)
        rng = numpy_generator(seed, "reference", self.task.name)
        length = self.task.options.length
        drawn = []
        for part in x.double().split(_ROWS):
            uniform = torch.from_numpy(rng.random((len(part), num_samples, length))).to(x.device)
            drawn.append(self.chart(part).draws(uniform))
        return torch.cat(drawn)

    def num_translations(self, x: torch.Tensor) -> torch.Tensor:
        """How many right translations each x (n, dx) has: (n,) int64."""
        import torch

        check_inputs(self.task, x)
        counts = [self.chart(part).count(self.task.options.length) for part in x.double().split(_ROWS)]
        return torch.cat(counts).long()

    def translations(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """All right translations of one x (1, dx), the most probable first: (m, T) int64, and probabilities (m,).

        These are those of a translator who never slips, so that they sum to 1.

        Raises:
            ValueError: another number of x, or more translations than 100,000.
        """
        import torch

        check_inputs(self.task, x)
        if len(x) != 1:
            raise invalid("x.shape", tuple(x.shape), f"(1, {x.shape[-1]}): the translations of one sentence")
        many = int(self.num_translations(x))
        if many > _MOST_LISTED:
            raise invalid("x", f"a sentence of {many} translations", f"one of {_MOST_LISTED} at most")
        own = self.chart(x.double())
        right, target = own.right[0], own.target[0]
        state = torch.zeros(1, dtype=torch.int64, device=x.device)
        strings, weight = state.new_zeros(1, 0), right.new_ones(1)
        for _ in range(self.task.options.length):
            row, symbol = (right[state] > 0).nonzero(as_tuple=True)
            strings = torch.cat([strings[row], symbol.unsqueeze(-1)], -1)
            weight, state = weight[row] * right[state[row], symbol], target[state[row], symbol]
        order = weight.argsort(stable=True, descending=True)
        return strings[order], weight[order]

    def entropy(self) -> Approximate:
        """H(Y | X) in nats: the mean over all structures of sentences, whose words do not change it. Exact."""
        import torch

        law = self.task.law
        each = self.task.chart(law.each_structure()).entropy(self.task.options.length)
        return Approximate(float(torch.from_numpy(law.structures[2]) @ each))


@TASKS.register
class Translation(Task):
    """y one of the right translations of the sentence x, T symbols; z the choices that made it.

    Place t of x indicates word t, one number a word of the source, and is 0 after the last. z (n, 4 (2 + Q) + 1) is in
    `tasks.grammars.derivations`; what a slip has made is in z as it is read.
    """

    name = "translation"
    summary = "a sentence of a small grammar and its several right translations"
    truth = "probabilities, draws, entropy, the set of right translations and distances to it by dynamic programming"
    references = ("lewis1968syntax", "wu1997stochastic")
    Options = TranslationOptions
    options: TranslationOptions
    x_space: Box
    y_space: Sequences
    z_space: Sequences
    reference: TranslationReference

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        own = self.options
        self.lexicon = Lexicon(own.words)
        self.choices = Choices(own.verb_first, own.verb_last, own.adjective_first, own.first_synonym, own.particle)
        self.law = SourceLaw(own.length, own.phrases, self.lexicon, own.particle > 0)
        if not len(self.law.structures[0]):
            valid = "an integer >= 4: the grammar derives nothing shorter where there is a particle"
            raise invalid("translation: length", own.length, valid)
        self.x_space = Box((0.0, 1.0), own.length * own.words)
        self.y_space = Sequences(self.lexicon.num_symbols, own.length)
        self.z_space = Sequences(3, size(own.phrases))
        self.manifold_dim = None
        self.reference = TranslationReference(self)

    def chart(self, sentences: Sentences) -> Chart:
        """The law of the next symbol in each place of a derivation of each sentence."""
        return chart(sentences, self.lexicon, self.choices, self.thickness)

    def features(self, sentences: Sentences) -> torch.Tensor:
        """x (n, T words) float64 of sentences."""
        import torch

        tokens = sentences.tokens(self.options.length)
        codes = torch.arange(self.options.words, dtype=torch.int64, device=tokens.device)
        return (tokens.unsqueeze(-1) == codes).double().flatten(1)

    def sentences(self, x: torch.Tensor) -> Sentences:
        """The sentences in x (n, dx).

        Raises:
            ValueError: a row that is none of the task's.
        """
        import torch

        own = self.options
        shown = x.double().unflatten(-1, (own.length, own.words))
        tokens = torch.where(shown.amax(-1) > 0.5, shown.argmax(-1), -1)
        found, whole = Sentences.parsed(tokens, own.phrases, self.lexicon)
        longest = (tokens >= 0).sum(-1) + (own.particle > 0) * (1 + found.num_phrases)
        exact = (self.features(found) - x).abs().amax(-1) < 1e-3
        if not (whole & exact & (longest <= own.length)).all():
            raise invalid("x", "rows that are no sentences of the grammar", "x as the task draws it")
        return found

    def _draw(self, n: int, rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        import torch

        parts: list[tuple[torch.Tensor, ...]] = []
        for start in range(0, n, _ROWS):
            rows = min(_ROWS, n - start)
            sentences = self.law.draw(rows, rng)
            own = self.chart(sentences)
            y = own.draws(torch.from_numpy(rng.random((rows, 1, self.options.length))))[:, 0]
            # Either particle is as likely as the other to be the one that stands between a final verb and a phrase.
            heads = torch.from_numpy(rng.random(rows) < 0.5)
            parts.append((self.features(sentences), y, derivation(sentences, own.as_read(y), heads, self.lexicon)))
        features, strings, latents = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
        return features, strings, latents
