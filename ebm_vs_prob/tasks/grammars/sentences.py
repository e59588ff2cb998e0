"""Source sentences S -> NP V NP PP*, NP -> (A) N, PP -> P NP: their words, their tokens and which of them are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    import torch

    #: From the number of a class and a shape to numbers of words within the class.
    Numbering = Callable[[int, tuple[int, ...]], np.ndarray]

#: Classes of words, in the order of their codes; all but the last have two synonyms each in the target language.
CLASSES = ("noun", "verb", "adjective", "preposition")
#: Symbols of the target language that translate no word: what pads a string, and the particle.
END, PARTICLE = 0, 1


@dataclass(frozen=True)
class Lexicon:
    """`words` words of the source, dealt to the classes in turn, and what they are in the target language.

    Words are codes 0 .. words-1, class by class. Of the target's symbols 0 ends, 1 is the particle; then come the two
    synonyms of each noun, verb and adjective, and the one symbol of each preposition.
    """

    words: int

    @property
    def starts(self) -> tuple[int, ...]:
        """The first code of each class, and the number of words."""
        sizes = [self.words // len(CLASSES) + (c < self.words % len(CLASSES)) for c in range(len(CLASSES))]
        return tuple(int(end) for end in np.cumsum([0, *sizes]))

    @property
    def num_symbols(self) -> int:
        """K of the target language."""
        return 2 + self.words + self.starts[-2]

    def symbol(self, word: torch.Tensor, synonym: int) -> torch.Tensor:
        """Symbols of words (codes, -1 where there is none) by their first (0) or second (1) synonym; -1 of none."""
        content = self.starts[-2]
        own = 2 + word + word.clamp(max=content) + synonym * (word < content).long()
        return own.masked_fill(word < 0, -1)

    def kind(self, word: torch.Tensor) -> torch.Tensor:
        """The class of each word, -1 of -1."""
        kinds = sum((word >= start).long() for start in self.starts[:-1])
        assert not isinstance(kinds, int)
        return kinds - 1


@dataclass(frozen=True)
class Sentences:
    """n sentences by the words in their slots, int64, -1 where a slot is empty.

    Attributes:
        nouns: of subject, object and phrases, (n, 2 + Q).
        adjectives: before each of these nouns, (n, 2 + Q).
        verb: (n,).
        prepositions: of the phrases, (n, Q).
    """

    nouns: torch.Tensor
    adjectives: torch.Tensor
    verb: torch.Tensor
    prepositions: torch.Tensor

    def __len__(self) -> int:
        return len(self.verb)

    @property
    def num_phrases(self) -> torch.Tensor:
        """Prepositional phrases of each, (n,)."""
        return (self.prepositions >= 0).sum(-1)

    def rows(self, which: slice) -> Self:
        """Some of the sentences."""
        parts = (self.nouns, self.adjectives, self.verb, self.prepositions)
        return type(self)(*(part[which] for part in parts))

    def tokens(self, length: int) -> torch.Tensor:
        """Their words in order, (n, length), -1 after the last."""
        import torch

        order = [self.adjectives[:, 0], self.nouns[:, 0], self.verb, self.adjectives[:, 1], self.nouns[:, 1]]
        for k in range(self.prepositions.shape[1]):
            order += [self.prepositions[:, k], self.adjectives[:, 2 + k], self.nouns[:, 2 + k]]
        return compacted(torch.stack(order, -1), length, -1)

    @classmethod
    def parsed(cls, tokens: torch.Tensor, phrases: int, lexicon: Lexicon) -> tuple[Self, torch.Tensor]:
        """What `tokens` made, back, of at most `phrases` phrases; and which rows (n,) are sentences at all."""
        import torch

        kind = lexicon.kind(tokens)
        is_noun = (kind == CLASSES.index("noun")).long()
        phrase = is_noun.cumsum(-1) - is_noun  # nouns before a word are as many as noun phrases before its own

        def slots(name: str, count: int, first: int = 0) -> torch.Tensor:
            place = torch.where(kind == CLASSES.index(name), phrase - first, count)
            place = torch.where((place < 0) | (place > count), count, place)
            empty = torch.full((len(tokens), count + 1), -1, dtype=torch.int64, device=tokens.device)
            return empty.scatter(-1, place, tokens)[:, :count]

        at_verb = torch.where(kind == CLASSES.index("verb"), tokens, -1).amax(-1)
        nouns, adjectives = slots("noun", 2 + phrases), slots("adjective", 2 + phrases)
        found = cls(nouns, adjectives, at_verb, slots("preposition", phrases, 2))
        whole = (found.nouns[:, :2] >= 0).all(-1) & (at_verb >= 0)
        whole &= ((found.nouns[:, 2:] >= 0) == (found.prepositions >= 0)).all(-1)
        return found, whole & (found.tokens(tokens.shape[-1]) == tokens).all(-1)


@dataclass(frozen=True)
class SourceLaw:
    """Which sentences are drawn: up to `phrases` phrases, as many as any other number; half of the nouns have an
    adjective; words are uniform in their class; and the longest translation must fit into `length` symbols.

    Attributes:
        optional: whether the translation has optional particles, one after the verb and one before each phrase.
    """

    length: int
    phrases: int
    lexicon: Lexicon
    optional: bool

    @cached_property
    def structures(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All that fit: phrases (G,), which nouns have adjectives (G, 2 + Q) bool, and probabilities (G,).

        Of none where the grammar derives nothing so short.
        """
        counts, described, weights = [], [], []
        for count in range(self.phrases + 1):
            for flags in product((False, True), repeat=2 + count):
                if 3 + 2 * count + sum(flags) + self.optional * (1 + count) <= self.length:
                    counts.append(count)
                    described.append([*flags, *[False] * (self.phrases - count)])
                    weights.append(0.5 ** len(flags))
        weight = np.array(weights)
        return np.array(counts), np.array(described), weight / weight.sum() if len(weight) else weight

    def each_structure(self) -> Sentences:
        """One sentence of each structure, of the first words."""
        counts, described, _ = self.structures
        return self._filled(counts, described, lambda kind, shape: np.zeros(shape, dtype=np.int64))

    def draw(self, n: int, rng: np.random.Generator) -> Sentences:
        """n sentences from `rng` alone."""
        counts, described, probability = self.structures
        which = np.searchsorted(np.cumsum(probability)[:-1], rng.random(n), side="right")
        sizes = np.diff(self.lexicon.starts)
        return self._filled(
            counts[which], described[which], lambda kind, shape: rng.integers(int(sizes[kind]), size=shape)
        )

    def _filled(self, counts: np.ndarray, described: np.ndarray, number: Numbering) -> Sentences:
        import torch

        n, starts = len(counts), self.lexicon.starts
        present = np.arange(2 + self.phrases) < 2 + counts[:, None]
        shapes = {"noun": present.shape, "adjective": present.shape, "verb": (n,), "preposition": (n, self.phrases)}
        keep = {"noun": present, "adjective": described, "verb": np.full(n, True), "preposition": present[:, 2:]}
        words = {
            name: torch.from_numpy(np.where(keep[name], starts[c] + number(c, shapes[name]), -1))
            for c, name in enumerate(CLASSES)
        }
        return Sentences(words["noun"], words["adjective"], words["verb"], words["preposition"])


def compacted(slots: torch.Tensor, length: int, padding: int) -> torch.Tensor:
    """The slots (n, m) that are not -1 in their order, (n, length), padded; those beyond `length` are dropped."""
    import torch

    order = (slots < 0).long().argsort(dim=-1, stable=True)
    full = slots.gather(-1, order)[:, :length]
    full = torch.where(full < 0, padding, full)
    return torch.nn.functional.pad(full, (0, length - full.shape[-1]), value=padding)
