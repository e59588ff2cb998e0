"""The chart of all translations of a sentence: an automaton whose states are places in a derivation.

The orders of subject, verb and object share what they have in common: which order it is shows at the verb, and a state
is what is left to say. Words of one class differ from those of another, so that a string has one path, but not one
derivation: of the particle between a final verb and a phrase the string does not tell whose it is. Such derivations
share a path, on which their probabilities add up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .sentences import END, PARTICLE, Lexicon, Sentences

if TYPE_CHECKING:
    import torch

    from ...core.automata import Automaton

    #: An integer of each sentence, (n,), or one for all.
    Each = torch.Tensor | int

#: States. "Noun" and "adjective" wait for the other half of a noun phrase whose first half is read.
START, SUBJECT_NOUN, SUBJECT_ADJECTIVE = 0, 1, 2
AFTER_SUBJECT, EARLY_OBJECT_NOUN, EARLY_OBJECT_ADJECTIVE, LAST_VERB, AFTER_LAST_VERB, ONE_PARTICLE = range(3, 9)
AFTER_MIDDLE_VERB, OBJECT, OBJECT_NOUN, OBJECT_ADJECTIVE = range(9, 13)
AFTER_FIRST_VERB, LATE_SUBJECT, LATE_SUBJECT_NOUN, LATE_SUBJECT_ADJECTIVE, OVER = range(13, 18)
#: States of each phrase, from `OVER` + 1 on: before its particle, its preposition and its noun phrase.
PHRASE, PREPOSITION, PHRASE_NOUNS, PHRASE_NOUN, PHRASE_ADJECTIVE = range(5)


@dataclass(frozen=True)
class Choices:
    """Probabilities of what a translator chooses, independently of each other.

    Attributes:
        verb_first, verb_last: of these orders of the sentence; the verb is in the middle otherwise.
        adjective_first: that an adjective stands before its noun, for each.
        first_synonym: of the first of a word's two synonyms, for each noun, verb and adjective.
        particle: of the particle, after the verb and before each phrase.
    """

    verb_first: float
    verb_last: float
    adjective_first: float
    first_synonym: float
    particle: float

    @property
    def verb_middle(self) -> float:
        """What the other orders leave, and 0 where that is a rounding error."""
        rest = 1.0 - self.verb_first - self.verb_last
        return rest if rest > 1e-12 else 0.0


@dataclass(frozen=True)
class Chart:
    """Of n sentences a law of the next symbol in each state, and where it leads: from state 0, symbol by symbol.

    With the probability `slip` a symbol is drawn from all K alike in place of the right ones. One that might be right
    is taken as such; after any other all goes on as after the most probable one.

    Attributes:
        right: probabilities of the symbols of right translations, (n, S, K).
        target: the next states, (n, S, K) int64.
        slip: of a slip at each place.
    """

    right: torch.Tensor
    target: torch.Tensor
    slip: float

    @property
    def probability(self) -> torch.Tensor:
        """Of each next symbol, slips included, (n, S, K)."""
        return (1.0 - self.slip) * self.right + self.slip / self.right.shape[-1]

    def distances(self, y: torch.Tensor) -> Automaton:
        """Hamming distances of right translations from y (n, T), +inf of other strings: a batch (n,) of automata."""
        import torch

        from ...core.automata import Automaton

        wrong = torch.zeros_like(self.right).masked_fill(self.right == 0, torch.inf)
        symbols = torch.arange(wrong.shape[-1], dtype=torch.int64, device=y.device)

        def transitions(t: int) -> tuple[torch.Tensor, torch.Tensor]:
            return self.target, wrong + (symbols != y[:, t, None]).to(wrong).unsqueeze(-2)

        return Automaton(y.shape[-1], transitions, wrong.new_zeros(wrong.shape[:-1]))

    def draws(self, uniform: torch.Tensor) -> torch.Tensor:
        """Strings (n, m, T) int64 of as many uniforms on [0, 1), each symbol by its distribution function."""
        import torch

        ends = self.probability.cumsum(-1)
        state = torch.zeros(uniform.shape[:-1], dtype=torch.int64, device=uniform.device)
        symbols = []
        for place in uniform.unbind(-1):
            row = ends.gather(1, state.unsqueeze(-1).expand(*state.shape, ends.shape[-1]))
            symbols.append((row[..., :-1] <= place.unsqueeze(-1) * row[..., -1:]).sum(-1))
            state = self._next(state, symbols[-1])
        return torch.stack(symbols, -1)

    def as_read(self, y: torch.Tensor) -> torch.Tensor:
        """The right translation for which y (n, T) is taken: what cannot be right is read as the most probable."""
        import torch

        likeliest, possible = self.right.argmax(-1), (self.right > 0).flatten(1)
        state = torch.zeros(len(y), 1, dtype=torch.int64, device=y.device)
        symbols = []
        for symbol in y.unsqueeze(1).unbind(-1):
            right = possible.gather(1, state * self.right.shape[-1] + symbol)
            symbols.append(torch.where(right, symbol, likeliest.gather(1, state)))
            state = self._next(state, symbols[-1])
        return torch.cat(symbols, -1)

    def entropy(self, length: int) -> torch.Tensor:
        """H(Y | x) in nats of strings of that length, (n,): what each place adds to those before it."""
        import torch

        probability = self.probability
        own = torch.special.entr(probability).sum(-1)
        at, total = self._at_start(), own.new_zeros(len(own))
        for _ in range(length):
            total = total + (at * own).sum(-1)
            at = self._moved(at, probability)
        return total

    def count(self, length: int) -> torch.Tensor:
        """How many right translations there are, (n,) float64."""
        at, possible = self._at_start(), (self.right > 0).to(self.right)
        for _ in range(length):
            at = self._moved(at, possible)
        return at.sum(-1)

    def _at_start(self) -> torch.Tensor:
        at = self.right.new_zeros(self.right.shape[:-1])
        at[:, START] = 1.0
        return at

    def _moved(self, at: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """What is in each state (n, S) after one symbol more, each of a weight (n, S, K)."""
        flow = (at.unsqueeze(-1) * weight).flatten(1)
        return at.new_zeros(at.shape).scatter_add(-1, self.target.flatten(1), flow)

    def _next(self, state: torch.Tensor, symbol: torch.Tensor) -> torch.Tensor:
        return self.target.flatten(1).gather(1, state * self.right.shape[-1] + symbol)


class _Builder:
    """Weights of symbols in states, and where they lead; rows are normalised in the end."""

    def __init__(self, sentences: Sentences, lexicon: Lexicon, choices: Choices) -> None:
        import torch

        self.sentences, self.lexicon, self.choices = sentences, lexicon, choices
        self.device = sentences.verb.device
        states = OVER + 1 + 5 * sentences.prepositions.shape[1]
        # A last symbol takes what a sentence does not have, and is left out.
        shape = (len(sentences), states, lexicon.num_symbols + 1)
        self.weight = torch.zeros(shape, dtype=torch.float64, device=self.device)
        self.target = torch.zeros(shape, dtype=torch.int64, device=self.device)

    def arc(self, state: int, symbol: Each, weight: torch.Tensor | float, target: Each) -> None:
        """One symbol (n,), or -1, of one state."""
        import torch

        rows = torch.arange(len(self.sentences), dtype=torch.int64, device=self.device)
        symbol = torch.as_tensor(symbol, dtype=torch.int64, device=self.device)
        symbol = torch.where(symbol < 0, self.lexicon.num_symbols, symbol)
        self.weight[rows, state, symbol] = torch.as_tensor(weight, dtype=torch.float64, device=self.device)
        self.target[rows, state, symbol] = torch.as_tensor(target, dtype=torch.int64, device=self.device)

    def word(self, state: int, word: torch.Tensor, weight: float, target: Each) -> None:
        """Both synonyms of a word (n,), or of none where it is -1."""
        first = self.choices.first_synonym
        self.arc(state, self.lexicon.symbol(word, 0), weight * first, target)
        self.arc(state, self.lexicon.symbol(word, 1), weight * (1.0 - first), target)

    def noun_phrase(self, state: int, number: int, halves: tuple[int, int], target: Each, weight: float = 1.0) -> None:
        """The noun phrase `number` from a state on, with the states that wait for its noun and for its adjective."""
        import torch

        noun, adjective = self.sentences.nouns[:, number], self.sentences.adjectives[:, number]
        described, first = adjective >= 0, self.choices.adjective_first
        self.word(state, torch.where(described, -1, noun), weight, target)
        self.word(state, adjective, weight * first, halves[0])
        self.word(state, torch.where(described, noun, -1), weight * (1.0 - first), halves[1])
        self.word(halves[0], noun, 1.0, target)
        self.word(halves[1], adjective, 1.0, target)

    def chart(self, slip: float) -> Chart:
        import torch

        weight, target = self.weight[..., :-1].clone(), self.target[..., :-1]
        unused = weight.sum(-1) == 0
        weight[..., END] = torch.where(unused, 1.0, weight[..., END])
        target = torch.where(unused.unsqueeze(-1), OVER, target)
        right = weight / weight.sum(-1, keepdim=True)
        likeliest = target.gather(-1, right.argmax(-1, keepdim=True))
        return Chart(right, torch.where(right > 0, target, likeliest), slip)


def chart(sentences: Sentences, lexicon: Lexicon, choices: Choices, slip: float) -> Chart:
    """The chart of each sentence, with the same states for all; those that a sentence does not have are never met."""
    import torch

    built, verb, phrases = _Builder(sentences, lexicon, choices), sentences.verb, sentences.num_phrases
    first, last, particle = choices.verb_first, choices.verb_last, choices.particle

    def after(number: int) -> torch.Tensor:
        """Where phrase `number` begins, or all is over."""
        return torch.where(phrases > number, OVER + 1 + 5 * number, OVER)

    subject, late = (SUBJECT_NOUN, SUBJECT_ADJECTIVE), (LATE_SUBJECT_NOUN, LATE_SUBJECT_ADJECTIVE)
    direct = (OBJECT_NOUN, OBJECT_ADJECTIVE)
    built.word(START, verb, first, AFTER_FIRST_VERB)
    built.noun_phrase(START, 0, subject, AFTER_SUBJECT, 1.0 - first)
    built.word(AFTER_SUBJECT, verb, choices.verb_middle, AFTER_MIDDLE_VERB)
    built.noun_phrase(AFTER_SUBJECT, 1, (EARLY_OBJECT_NOUN, EARLY_OBJECT_ADJECTIVE), LAST_VERB, last)
    built.word(LAST_VERB, verb, 1.0, AFTER_LAST_VERB)
    built.arc(AFTER_MIDDLE_VERB, PARTICLE, particle, OBJECT)
    built.noun_phrase(AFTER_MIDDLE_VERB, 1, direct, after(0), 1.0 - particle)
    built.noun_phrase(OBJECT, 1, direct, after(0))
    built.arc(AFTER_FIRST_VERB, PARTICLE, particle, LATE_SUBJECT)
    built.noun_phrase(AFTER_FIRST_VERB, 0, late, OBJECT, 1.0 - particle)
    built.noun_phrase(LATE_SUBJECT, 0, late, OBJECT)
    # After a final verb stand its particle and that of the first phrase, if there is one: none, one of either, or both.
    some, none = 1.0 - (1.0 - particle) ** 2, (1.0 - particle) ** 2
    led = phrases > 0
    share = torch.full_like(led, particle, dtype=torch.float64).masked_fill(led, some)
    built.arc(AFTER_LAST_VERB, PARTICLE, share, torch.where(led, ONE_PARTICLE, OVER))
    built.arc(AFTER_LAST_VERB, torch.where(led, -1, END), 1.0 - particle, OVER)
    built.arc(OVER, END, 1.0, OVER)
    for number in range(sentences.prepositions.shape[1]):
        start = OVER + 1 + 5 * number
        preposition = built.lexicon.symbol(sentences.prepositions[:, number], 0)
        if number == 0:
            built.arc(AFTER_LAST_VERB, preposition, none, start + PHRASE_NOUNS)
            built.arc(ONE_PARTICLE, torch.where(led, PARTICLE, -1), particle**2, start + PREPOSITION)
            built.arc(ONE_PARTICLE, preposition, 2 * particle * (1.0 - particle), start + PHRASE_NOUNS)
        built.arc(start + PHRASE, PARTICLE, particle, start + PREPOSITION)
        built.arc(start + PHRASE, preposition, 1.0 - particle, start + PHRASE_NOUNS)
        built.arc(start + PREPOSITION, preposition, 1.0, start + PHRASE_NOUNS)
        halves = (start + PHRASE_NOUN, start + PHRASE_ADJECTIVE)
        built.noun_phrase(start + PHRASE_NOUNS, 2 + number, halves, after(number + 1))
    return built.chart(slip)
