"""Derivations: which choices make a translation of a sentence, and the translation that choices make.

A derivation z of a sentence with up to Q phrases has 4 (2 + Q) + 1 numbers, each 0, 1 or 2: the order (0 the verb in
the middle, 1 first, 2 last); of the 2 + Q noun phrases whether the adjective of each stands before (1) or after (2) its
noun; which synonym (1 or 2) each noun has, and each adjective; the verb's synonym; and whether (1) a particle follows
the verb and precedes each phrase. What the sentence does not have is 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .sentences import END, PARTICLE, Lexicon, Sentences, compacted

if TYPE_CHECKING:
    import torch

MIDDLE, FIRST, LAST = range(3)
BEFORE, AFTER = 1, 2


class Derivation(NamedTuple):
    """The parts of z, int64: order (n, 1), placements, nouns and adjectives (n, 2 + Q), verb (n, 1), particles
    (n, 1 + Q)."""

    order: torch.Tensor
    placements: torch.Tensor
    nouns: torch.Tensor
    adjectives: torch.Tensor
    verb: torch.Tensor
    particles: torch.Tensor

    @classmethod
    def of(cls, z: torch.Tensor) -> Derivation:
        """The parts of z (n, 4 (2 + Q) + 1)."""
        slots = (z.shape[-1] - 1) // 4
        return cls(*z.split([1, slots, slots, slots, 1, slots - 1], -1))

    def whole(self) -> torch.Tensor:
        """z."""
        import torch

        return torch.cat(self, -1)


def size(phrases: int) -> int:
    """Numbers of a z."""
    return 4 * (2 + phrases) + 1


def translated(sentences: Sentences, z: torch.Tensor, length: int, lexicon: Lexicon) -> torch.Tensor:
    """The right translations (n, length) int64 that the derivations z make of the sentences."""
    import torch

    own = Derivation.of(z)

    def worded(words: torch.Tensor, synonyms: torch.Tensor) -> torch.Tensor:
        return torch.where(synonyms == 2, lexicon.symbol(words, 1), lexicon.symbol(words, 0))

    nouns, adjectives = worded(sentences.nouns, own.nouns), worded(sentences.adjectives, own.adjectives)
    before, after = (torch.where(own.placements == side, adjectives, -1) for side in (BEFORE, AFTER))
    phrase = torch.stack([before, nouns, after], -1)
    particles = torch.where(own.particles == 1, PARTICLE, -1)
    verb = torch.cat([worded(sentences.verb.unsqueeze(-1), own.verb), particles[:, :1]], -1)
    subject, direct = phrase[:, 0], phrase[:, 1]
    orders = [[subject, verb, direct], [verb, subject, direct], [subject, direct, verb]]
    core = torch.stack([torch.cat(parts, -1) for parts in orders], 1)
    slots = [core[torch.arange(len(core), dtype=torch.int64, device=z.device), own.order[:, 0]]]
    for k in range(sentences.prepositions.shape[1]):
        preposition = lexicon.symbol(sentences.prepositions[:, k], 0)
        slots += [particles[:, 1 + k, None], preposition.unsqueeze(-1), phrase[:, 2 + k]]
    return compacted(torch.cat(slots, -1), length, END)


def derivation(sentences: Sentences, strings: torch.Tensor, heads: torch.Tensor, lexicon: Lexicon) -> torch.Tensor:
    """z of right translations (n, T): what `translated` made, back.

    Args:
        heads: where one particle stands between a final verb and a phrase, whether it is the verb's, (n,) bool.
    """
    import torch

    content = lexicon.starts[-2]
    word = torch.where(strings < 2 + 2 * content, (strings - 2) // 2, strings - 2 - content)
    word = torch.where(strings > PARTICLE, word, -1)
    kind, synonym = lexicon.kind(word), torch.where((strings > PARTICLE) & (word < content), strings % 2 + 1, 0)
    is_noun, is_verb, is_adjective, is_preposition = (kind == c for c in range(4))
    slots = sentences.nouns.shape[1]

    def before(mask: torch.Tensor) -> torch.Tensor:
        """How many stand before each place, (n, T)."""
        return mask.long().cumsum(-1) - mask.long()

    def spread(mask: torch.Tensor, slot: torch.Tensor, values: torch.Tensor, count: int) -> torch.Tensor:
        """Values (n, T) where the mask is, in their slots, (n, count)."""
        into = torch.where(mask, slot, count)
        return values.new_zeros(len(values), count + 1).scatter(-1, into, values)[:, :count]

    nouns_so_far = before(is_noun)
    nouns = spread(is_noun, nouns_so_far, synonym, slots)
    # Noun phrases keep their order, so that the adjectives are those of the described nouns in turn.
    described = (sentences.adjectives < 0).long().argsort(dim=-1, stable=True)
    owner = described.gather(-1, before(is_adjective).clamp(max=slots - 1))
    adjectives = spread(is_adjective, owner, synonym, slots)
    placements = spread(is_adjective, owner, torch.where(nouns_so_far == owner, BEFORE, AFTER), slots)
    nouns_before_verb = torch.where(is_verb, nouns_so_far, 0).sum(-1, keepdim=True)
    order = torch.tensor([FIRST, MIDDLE, LAST], dtype=torch.int64, device=strings.device)[nouns_before_verb]
    verb = torch.where(is_verb, synonym, 0).sum(-1, keepdim=True)
    particle = torch.nn.functional.pad((strings == PARTICLE).long(), (1, 1))
    verbs_own = torch.where(is_verb, particle[:, 2:], 0).sum(-1)
    preceding = spread(is_preposition, before(is_preposition), particle[:, :-2], slots - 2)
    if slots > 2:
        led = (order[:, 0] == LAST) & (sentences.num_phrases > 0)
        first = is_preposition & (before(is_preposition) == 0)
        one = led & (torch.where(first, particle[:, :-2] + _two_before(particle), 0).sum(-1) == 1)
        verbs_own = torch.where(one, heads.long(), verbs_own)
        preceding[:, 0] = torch.where(one, 1 - heads.long(), preceding[:, 0])
    particles = torch.cat([verbs_own.unsqueeze(-1), preceding], -1)
    return Derivation(order, placements, nouns, adjectives, verb, particles).whole()


def _two_before(particle: torch.Tensor) -> torch.Tensor:
    """Of a padded row (n, T + 2), what stands two places before each of the T, (n, T)."""
    import torch

    return torch.nn.functional.pad(particle[:, :-3], (1, 0))
