"""Translation: the chart against sums over all derivations, written down without it."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from statistical import counts_agree, share_agrees, within_standard_errors

import ebm_vs_prob as evp
from ebm_vs_prob.tasks.grammars.derivations import translated
from ebm_vs_prob.testing import check_task

#: Every string can be listed: one word a class, K = 9, T = 5.
TINY = {"length": 5, "words": 4, "phrases": 1, "particle": 0.0}
#: Several phrases, of which the first may follow the verb, so that strings have two derivations.
LONG = {"length": 12, "words": 9, "phrases": 2, "particle": 0.3, "verb_first": 0.15, "verb_last": 0.4}
#: No two next symbols are equally likely anywhere.
SKEWED = {"adjective_first": 0.63, "first_synonym": 0.71}


def words_of(task, row):
    """The words of one x as (class, number within it), from the documented coding alone."""
    count = task.options.words
    sizes = [len(range(c, count, 4)) for c in range(4)]
    kinds = [(c, i) for c, size in zip("nvap", sizes, strict=True) for i in range(size)]
    shown = row.reshape(-1, count)
    return [kinds[int(place.argmax())] for place in shown if place.max() == 1], sizes


def parsed(words):
    """[noun phrase, verb, noun phrase, (preposition, noun phrase), ...], a noun phrase (adjective or None, noun)."""
    parts, adjective = [], None
    for word in words:
        if word[0] == "a":
            adjective = word
        elif word[0] == "n":
            parts.append((adjective, word))
            adjective = None
        else:
            parts.append(word)
    return parts


def derivations(task, row):
    """Every derivation of one x as (string, probability), by nested choices."""
    own = task.options
    words, sizes = words_of(task, row)
    subject, verb, direct, *rest = parsed(words)
    starts = {"n": 2, "v": 2 + 2 * sizes[0], "a": 2 + 2 * (sizes[0] + sizes[1])}
    after_content = 2 + 2 * sum(sizes[:3])

    def rendered(word):
        if word[0] == "p":
            return [((after_content + word[1],), 1.0)]
        first = starts[word[0]] + 2 * word[1]
        return [((first,), own.first_synonym), ((first + 1,), 1 - own.first_synonym)]

    def noun_phrase(part):
        adjective, noun = part
        if adjective is None:
            return rendered(noun)
        found = []
        for (a, p), (n, q) in product(rendered(adjective), rendered(noun)):
            found += [(a + n, p * q * own.adjective_first), (n + a, p * q * (1 - own.adjective_first))]
        return found

    optional = [((), 1 - own.particle), ((1,), own.particle)]
    orders = [("vso", own.verb_first), ("sov", own.verb_last), ("svo", 1 - own.verb_first - own.verb_last)]
    tail = []
    for preposition, part in zip(rest[::2], rest[1::2], strict=True):
        tail += [optional, rendered(preposition), noun_phrase(part)]
    for order, chance in orders:
        core = {"s": [noun_phrase(subject)], "o": [noun_phrase(direct)], "v": [rendered(verb), optional]}
        parts = [part for letter in order for part in core[letter]] + tail
        for chosen in product(*parts):
            string = sum((piece for piece, _ in chosen), ())
            weight = chance * math.prod(p for _, p in chosen)
            if weight > 0:
                yield string + (0,) * (own.length - len(string)), weight


def right(task, row):
    """Probability of each right translation: what its derivations have together."""
    total = defaultdict(float)
    for string, weight in derivations(task, row):
        total[string] += weight
    return dict(total)


def with_slips(task, strings, y):
    """ln P(y) by the prefixes of the right translations: no states, only sums over what begins alike."""
    eps, values = task.thickness, task.y_space.num_values
    left, total = strings, 0.0
    for t, symbol in enumerate(y):
        law = defaultdict(float)
        for string, weight in left.items():
            law[string[t]] += weight
        mass = sum(law.values())
        total += math.log((1 - eps) * law.get(symbol, 0.0) / mass + eps / values)
        read = symbol if symbol in law else max(law, key=law.get)
        left = {string: weight for string, weight in left.items() if string[t] == read}
    return total


def task_of(**options):
    return evp.get_task("translation", **{**SKEWED, **options})


def test_the_chart_has_the_translations_of_all_derivations_and_sums_over_those_of_one_string():
    task = task_of(**LONG)
    rows, shared = task.sample(18, seed=1)[0], 0
    assert rows.unique(dim=0).shape[0] > 12
    for row in rows:
        expected = right(task, row)
        if len(expected) > 3000:
            continue
        strings, probability = task.reference.translations(row.unsqueeze(0))
        assert {tuple(s.tolist()) for s in strings} == expected.keys()
        assert int(task.reference.num_translations(row.unsqueeze(0))) == len(expected)
        assert probability.tolist() == pytest.approx([expected[tuple(s.tolist())] for s in strings], abs=1e-14)
        assert (probability.diff() <= 0).all()
        shared += sum(1 for _ in derivations(task, row)) > len(expected)
    assert shared > 3  # rows on which forgetting to add would show


def test_one_particle_between_a_final_verb_and_a_phrase_has_two_derivations():
    task = evp.get_task("translation", length=9, words=4, phrases=1, verb_first=0.0, verb_last=1.0, particle=0.3)
    row = next(r for r in task.sample(200)[0] if [w[0] for w in words_of(task, r)[0]] == list("nvnpn"))
    string = torch.tensor([[2, 2, 4, 1, 8, 2, 0, 0, 0]])
    with torch.no_grad():
        found = task.with_thickness(0.0).reference.log_prob(row.unsqueeze(0), string)
    assert float(found.exp()) == pytest.approx(2 * 0.3 * 0.7 * 0.75**4, abs=1e-15)


@pytest.mark.parametrize("thickness", [0.0, 0.02, 0.5, 0.99])
def test_probabilities_are_those_of_the_prefixes_of_right_translations(thickness):
    task, rng = task_of(**LONG, thickness=thickness), np.random.default_rng(0)
    x = task.sample(12, seed=2)[0]
    drawn = task.reference.sample(x, 3, seed=3)
    for row, near in zip(x, drawn, strict=True):
        strings = right(task, row)
        if len(strings) > 5000:
            continue
        # What is drawn, and that with symbols changed, which strays from the right translations further and further.
        changed = near.clone()
        changed[1, rng.integers(12, size=3)] = torch.from_numpy(rng.integers(task.y_space.num_values, size=3))
        asked = torch.cat([near, changed[1:], torch.from_numpy(rng.integers(task.y_space.num_values, size=(2, 12)))])
        if thickness == 0:
            asked = near
        found = task.reference.log_prob(row.expand(len(asked), -1), asked)
        assert found.tolist() == pytest.approx([with_slips(task, strings, y.tolist()) for y in asked], abs=1e-9)


@pytest.mark.parametrize("thickness", [0.0, 0.05, 0.7])
def test_they_sum_to_one_over_all_strings_and_the_entropy_is_their_mean_surprise(thickness):
    """With one word a class a structure is a sentence: their probabilities by hand, their entropies by enumeration."""
    task = task_of(**TINY, thickness=thickness)
    every = task.y_space.every_answer()
    rows, counts = task.sample(300, seed=1)[0].unique(dim=0, return_counts=True)
    # N V N with 0, 1, 1 or 2 adjectives (of half the draws, 1/4 each) or with a phrase (1/8 of the other half).
    sizes = [int(row.sum()) for row in rows]
    weight = np.array([1 / 8 if len({w[0] for w in words_of(task, row)[0]} & {"p"}) == 0 else 1 / 16 for row in rows])
    assert sorted(sizes) == [3, 4, 4, 5, 5]
    weight /= weight.sum()
    assert counts_agree(counts.numpy(), weight, comparisons=6)
    entropy = 0.0
    for row, share in zip(rows, weight, strict=True):
        probability = task.reference.log_density(row, every).exp()
        assert float(probability.sum()) == pytest.approx(1.0, abs=1e-10)
        best = task.reference.answers(row.unsqueeze(0))[0, 0]
        assert float(task.reference.log_prob(row.unsqueeze(0), best.unsqueeze(0)).exp()) == float(probability.max())
        entropy += share * float(torch.special.entr(probability).sum())
    assert task.reference.entropy() == pytest.approx(entropy, abs=1e-9)


def test_entropy_without_slips_is_that_of_the_choices():
    """Where no string has two derivations: of N V N the order, three words and the verb's particle, each its own."""
    task = evp.get_task("translation", length=4, words=40, phrases=0, thickness=0.0)
    laws = [(0.1, 0.3, 0.6), *[(0.75, 0.25)] * 3, (0.2, 0.8)]
    expected = sum(-p * math.log(p) for law in laws for p in law)
    assert task.reference.entropy() == pytest.approx(expected, abs=1e-12)


def test_data_and_draws_follow_the_law():
    task = task_of(length=4, words=4, phrases=0, particle=0.2, thickness=0.3)
    x, y = task.sample(20_000, seed=2)  # one sentence alone is short enough
    every, powers = task.y_space.every_answer(), torch.tensor([729, 81, 9, 1])
    assert len(x.unique(dim=0)) == 1
    shares = task.reference.log_prob(x[:1].expand(len(every), -1), every).exp().numpy()
    assert counts_agree(np.bincount((y @ powers).numpy(), minlength=len(every)), shares, comparisons=2)
    drawn = task.reference.sample(x[:1], 20_000, seed=3)[0]
    assert counts_agree(np.bincount((drawn @ powers).numpy(), minlength=len(every)), shares, comparisons=2)


def test_sentences_follow_their_law():
    task = task_of(length=14, words=10, phrases=2)  # all structures fit
    x = task.sample(3000, seed=4)[0]
    found = [words_of(task, row)[0] for row in x]
    phrases = np.bincount([sum(w[0] == "p" for w in words) for words in found], minlength=3)
    nouns, adjectives = (np.array([sum(w[0] == c for w in words) for words in found]) for c in "na")
    longest = 3 + 2 * (nouns - 2) + adjectives + 1 + (nouns - 2)
    assert longest.max() == 14
    assert counts_agree(phrases, np.ones(3), comparisons=4)
    assert share_agrees(int(adjectives.sum()), int(nouns.sum()), 0.5, comparisons=4)
    for kind, size in (("n", 3), ("v", 3)):
        words = [w[1] for sentence in found for w in sentence if w[0] == kind]
        assert counts_agree(np.bincount(words, minlength=size), np.ones(size), comparisons=4)


def test_the_latent_is_the_derivation_and_its_choices_have_their_probabilities():
    task = task_of(**LONG, thickness=0.0)
    x, y, z = task.sample_with_latent(8000, seed=5)
    sentences = task.sentences(x)
    task.z_space.check("z", z)
    assert torch.equal(translated(sentences, z, 12, task.lexicon), y)
    own, there = task.options, sentences.nouns >= 0
    order, placement, nouns, adjectives, verb, particles = z.split([1, 4, 4, 4, 1, 3], -1)
    assert torch.equal(placement > 0, sentences.adjectives >= 0)
    assert torch.equal(nouns > 0, there)
    assert counts_agree(np.bincount(order[:, 0]), [0.45, 0.15, 0.4], comparisons=6)
    for values, mask, share in (
        (placement, placement > 0, own.adjective_first),
        (nouns, there, own.first_synonym),
        (adjectives, adjectives > 0, own.first_synonym),
        (verb, verb > 0, own.first_synonym),
    ):
        assert share_agrees(int((values == 1).sum()), int(mask.sum()), share, comparisons=9)
    # A particle's probability is the same in all orders: of final verbs and their phrases too.
    for last in (True, False):
        rows = (order[:, 0] == 2) == last
        for slot in range(3):
            has = rows if slot == 0 else rows & (sentences.prepositions[:, slot - 1] >= 0)
            assert share_agrees(int(particles[has, slot].sum()), int(has.sum()), own.particle, comparisons=9)


def test_of_data_with_slips_the_latent_makes_the_translation_as_read():
    task = task_of(**LONG, thickness=0.2)
    x, y, z = task.sample_with_latent(60, seed=6)
    read = translated(task.sentences(x), z, 12, task.lexicon)
    assert (task.reference.distance(x, read) == 0).all()
    assert (task.reference.distance(x, y) <= (read != y).sum(-1)).all()
    assert (read != y).any(-1).double().mean() > 0.5


@pytest.mark.parametrize("thickness", [0.0, 0.4])  # which has no part in them, but in the chart
def test_distances_are_those_to_the_nearest_of_all_right_translations(thickness):
    task, rng = task_of(**LONG, thickness=thickness), np.random.default_rng(1)
    x, y = task.sample(12, seed=7)
    y = torch.where(torch.from_numpy(rng.random(y.shape) < 0.3), torch.from_numpy(rng.integers(18, size=y.shape)), y)
    found = task.reference.distance(x, y)
    zero = 0
    for row, string, distance in zip(x, y, found, strict=True):
        strings = torch.tensor(list(right(task, row)))
        assert float(distance) == float((strings != string).sum(-1).amin())
        own = task.reference.distance(row.expand(50, -1), strings[rng.integers(len(strings), size=50)])
        zero += int((own == 0).sum())
    assert zero == 50 * len(x)


def test_as_slips_vanish_so_do_wrong_translations():
    task = task_of(**LONG)
    shares = []
    for thickness in (0.3, 0.03, 0.0):
        x, y = task.with_thickness(thickness).sample(1000, seed=8)
        shares.append(float((task.reference.distance(x, y) == 0).double().mean()))
        reference = task.with_thickness(thickness).reference
        surprise = -reference.log_prob(x, y)
        se = float(surprise.std()) / 1000**0.5
        assert within_standard_errors(float(surprise.mean()), reference.entropy(), se, comparisons=3)
    assert shares[0] < 0.3 < 0.7 < shares[1] < shares[2] == 1.0
    wrong = torch.full((1, 12), 1)
    assert float(task.with_thickness(0.0).reference.log_prob(x[:1], wrong)) == -math.inf


@settings(deadline=None, max_examples=10)
@given(
    st.integers(4, 20),
    st.integers(4, 30),
    st.integers(0, 8),
    st.sampled_from([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.3, 0.7), (0.1, 0.3)]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([0.0, 0.01, 0.9]),
)
def test_options_that_are_accepted_give_data_that_the_chart_knows(length, words, phrases, orders, chance, thickness):
    """Choices that are certain or impossible leave no 0/0 behind."""
    task = evp.get_task(
        "translation",
        length=length,
        words=words,
        phrases=phrases,
        verb_first=orders[0],
        verb_last=orders[1],
        adjective_first=chance,
        first_synonym=chance,
        particle=chance,
        thickness=thickness,
    )
    x, y, z = task.sample_with_latent(10)
    task.y_space.check("y", y)
    task.z_space.check("z", z)
    assert task.reference.log_prob(x, y).isfinite().all()
    assert task.reference.distance(x, task.reference.answers(x)[:, 0]).max() == 0.0
    assert math.isfinite(task.reference.entropy())
    read = translated(task.sentences(x), z, length, task.lexicon)
    assert task.reference.distance(x, read).max() == 0.0
    # A graph's own partition function, by the recursion backwards, says what the rows of the chart were made to.
    graph = task.reference.graph(x[:2])
    assert (graph.log_answers - graph.free_energy(1.0)).abs().max() < 1e-9


def test_batches_of_any_shape_are_their_members():
    task = task_of(**LONG)
    x, y = task.sample(6)
    flat = task.reference.log_prob(x, y)
    assert torch.allclose(task.reference.log_density(x.reshape(2, 3, -1), y.reshape(2, 3, -1)).flatten(), flat)
    assert torch.allclose(task.reference.log_density(x[0], y)[:1], flat[:1])
    assert torch.allclose(task.reference.log_prob(x.float(), y), flat)


@pytest.mark.parametrize(
    "options", [TINY, LONG, pytest.param({"length": 20, "phrases": 5}, marks=pytest.mark.slow)], ids=str
)
def test_it_keeps_the_rules(options):
    check_task(task_of(**options, thickness=0.1), examples=1500)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"length": 0}, "length = 0 is not valid: expected greater than or equal to 3"),
        ({"length": 3}, "length = 3 is not valid: expected an integer >= 4: the grammar derives nothing shorter"),
        ({"length": 21}, "length = 21 is not valid: expected less than or equal to 20"),
        ({"words": 3}, "words = 3 is not valid: expected greater than or equal to 4"),
        ({"phrases": -1}, "phrases = -1 is not valid"),
        ({"thickness": 1.0}, "thickness = 1.0 is not valid: expected less than 1"),
        ({"particle": 1.5}, "particle = 1.5 is not valid"),
        ({"verb_first": 0.6, "verb_last": 0.5}, "expected a verb_last <= 1 - verb_first = 0.4, not 0.5"),
    ],
)
def test_bad_options_are_named(options, error):
    with pytest.raises(ValueError, match=error):
        evp.get_task("translation", **options)


def test_a_length_of_three_holds_the_shortest_sentence_without_particles():
    task = evp.get_task("translation", length=3, particle=0.0)
    assert task.sample(50)[0].sum(-1).eq(3).all()


#: Nouns are 0 and 1, verbs 2 and 3, adjectives 4 and 5, prepositions 6 and 7.
@pytest.mark.parametrize(
    "tokens",
    [
        (),
        (0, 2),
        (2, 0, 1),
        (0, 0, 2),
        (0, 2, 2, 1),
        (4, 4, 0, 2, 1),
        (0, 2, 1, 6),
        (0, 2, 1, 0),
        (0, 2, 1, 6, 0, 6, 1, 6, 0),
        (4, 0, 2, 4, 1, 6, 4, 0),
    ],
)
def test_an_x_that_is_no_sentence_is_refused(tokens):
    """The last would be right but for its longest translation, of ten symbols with both particles."""
    task = evp.get_task("translation", length=9, words=8, phrases=2)
    x = torch.zeros(1, 9, 8, dtype=torch.float64)
    for place, word in enumerate(tokens):
        x[0, place, word] = 1.0
    with pytest.raises(ValueError, match="x = 'rows that are no sentences of the grammar'"):
        task.reference.chart(x.flatten(1))


def test_an_x_off_the_indicators_or_with_gaps_is_refused():
    task = evp.get_task("translation")
    x, y = task.sample(2)
    gap = x.roll(task.options.words, -1)
    for wrong in (0.97 * x, gap, x.clamp_min(0.1)):
        with pytest.raises(ValueError, match="rows that are no sentences"):
            task.reference.log_prob(wrong, y)


def test_what_cannot_be_listed_is_said():
    task = evp.get_task("translation", length=20, phrases=5)
    x = task.sample(64)[0]
    many = task.reference.num_translations(x)
    assert many.max() > 100_000
    with pytest.raises(ValueError, match=r"a sentence of .* translations"):
        task.reference.translations(x[many.argmax()].unsqueeze(0))
    with pytest.raises(ValueError, match="the translations of one sentence"):
        task.reference.translations(x)


def metrics_of(model, task):
    table = evp.evaluate(model, task, evp.Evaluation(test_examples=400))
    return {row.metric: row.value for row in table.itertuples() if row.replicate == 0}


def test_the_exact_model_wins_what_is_measured_of_it():
    """Against a translator of other habits, most choices of both nearly certain, so that chance decides nothing."""
    sure = {"length": 8, "phrases": 1, "adjective_first": 0.95, "first_synonym": 0.97, "particle": 0.03}
    task = evp.get_task("translation", **sure, verb_first=0.05, verb_last=0.05)
    other = evp.get_task("translation", **{**sure, "first_synonym": 0.8}, verb_first=0.05, verb_last=0.9)
    ours, theirs = (metrics_of(evp.fit("exact", of), task) for of in (task, other))
    for metric in ("likelihood_gap", "gibbs_gap_unit_beta", "excess_error"):
        assert ours[metric] == pytest.approx(0.0, abs=1e-12)
        assert theirs[metric] > 0.3
    assert ours["log_score"] > theirs["log_score"] + 0.3
    for metric in ("error_rate", "hamming_distance", "expected_calibration_error"):
        assert ours[metric] < theirs[metric] - 0.1, metric


def test_exact_models_of_different_choices_stand_side_by_side():
    tasks = [task_of(**LONG), task_of(**{**LONG, "verb_last": 0.1}, thickness=0.2)]
    x, y = tasks[0].sample(20)
    together = evp.fit("exact", tasks, seeds=[0, 1]).log_prob(x, y)
    for task, row in zip(tasks, together, strict=True):
        assert torch.allclose(row, task.reference.log_prob(x, y), atol=1e-9)


@pytest.mark.slow
def test_both_families_learn_more_than_is_common_to_all_sentences():
    """Against the frequencies of each place, an even guess's better; of the margin losses, which say what is right and
    not how probable, answers are held against the most frequent symbols."""
    task = evp.get_task("translation", length=5, words=8, phrases=0)
    budget, network = evp.Budget(steps=250, batch_size=32, examples=2000), evp.Network(hidden=(16, 16))
    y, (x_test, y_test) = task.sample(2000)[1], task.sample(1000, split="test")
    counts = torch.nn.functional.one_hot(y, task.y_space.num_values).double().sum(0) + 0.5
    places = (counts / counts.sum(-1, keepdim=True)).log()
    trivial = float(places.gather(-1, y_test.T).sum(0).mean())
    assert trivial > -5 * math.log(task.y_space.num_values) + 1
    frequent = float(task.reference.distance(x_test, places.argmax(-1).expand(len(x_test), -1)).mean())
    densities = ("linear_chain_crf", "autoregressive", "pseudo_likelihood")
    for name in (*densities, "structured_hinge", "structured_perceptron"):
        model = evp.fit(name, task, seeds=[0, 1], budget=budget, network=network, learning_rate=0.02)
        answers = model.infer(x_test[:300], n_starts=1).y[:, :, 0]
        assert all(float(task.reference.distance(x_test[:300], each).mean()) < frequent - 1 for each in answers), name
        if name in densities:
            of_energy = not model.normalised
            score = model.gibbs(x_test).log_prob(y_test) if of_energy else model.log_prob(x_test, y_test)
            assert (score.double().mean(1) > trivial + 1.5).all(), name
