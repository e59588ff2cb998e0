"""Tasks with discrete answers: posteriors against Bayes' rule written out, and their exact errors and entropies."""

from __future__ import annotations

import itertools
import math

import pytest
import scipy.stats
import torch
from statistical import counts_agree, share_agrees, variance_agrees, within_standard_errors

import ebm_vs_prob as evp
from ebm_vs_prob.core.errors import NoExactReference
from ebm_vs_prob.core.factor_graphs import FactorGraph
from ebm_vs_prob.tasks.gaussian_classes import GaussianClasses, GaussianClassesReference
from ebm_vs_prob.tasks.labelled_chain import INITIAL, MEANS, TRANSITION, LabelledChain, LabelledChainReference
from ebm_vs_prob.testing import check_task

NAMES = ["gaussian_classes", "labelled_chain"]


def classes(thickness: float = 0.5, count: int = 4) -> GaussianClasses:
    return evp.get_task("gaussian_classes", thickness=thickness, classes=count)


def chain(length: int = 3, thickness: float = 0.5) -> LabelledChain:
    return evp.get_task("labelled_chain", length=length, thickness=thickness)


@pytest.mark.parametrize("name", NAMES)
def test_data_have_the_shape_and_type_of_their_spaces(name):
    task = evp.get_task(name)
    x, y, z = task.sample_with_latent(30, seed=1)
    assert x.shape == (30, task.x_space.dim)
    assert y.shape == (30, *task.y_space.event_shape)
    assert (x.dtype, y.dtype) == (torch.float64, torch.int64)
    assert z.shape == (30, 0)
    variables = task.y_space.to_variables(y)
    assert variables.shape == (30, task.y_space.num_variables)
    assert torch.equal(task.y_space.from_variables(variables), y)


@pytest.mark.parametrize("name", NAMES)
def test_thickness_scales_the_noise_on_x_and_changes_nothing_else(name):
    thin, thick = (evp.get_task(name, thickness=value).sample(200, seed=1) for value in (1e-3, 0.5))
    assert torch.equal(thin[1], thick[1])
    if name == "labelled_chain":
        clean = torch.tensor(MEANS, dtype=torch.float64)[thin[1]]
    else:
        angle = 2 * math.pi * thin[1].double() / 4
        clean = torch.stack([angle.cos(), angle.sin()], 1)
    torch.testing.assert_close((thick[0] - clean) / 0.5, (thin[0] - clean) / 1e-3, rtol=0, atol=1e-9)
    # Of 400 numbers and more, sees a noise a quarter thicker.
    assert variance_agrees(((thick[0] - clean) / 0.5).flatten(), mean=0.0)


@pytest.mark.parametrize("thickness", [0.2, 1.0])
def test_the_posterior_of_a_class_is_bayes_rule(thickness):
    task = classes(thickness, 3)
    x, _ = task.sample(50, seed=2)
    joint = torch.stack(
        [
            (k + 1) / 6 * torch.from_numpy(scipy.stats.multivariate_normal(mean, thickness**2).pdf(x.numpy()))
            for k, mean in enumerate([(1, 0), (-0.5, 3**0.5 / 2), (-0.5, -(3**0.5) / 2)])
        ],
        1,
    )
    posterior = joint / joint.sum(1, keepdim=True)
    for label in range(3):
        found = task.reference.log_prob(x, torch.full((50,), label)).exp()
        torch.testing.assert_close(found, posterior[:, label], rtol=1e-9, atol=1e-12)
    assert torch.equal(task.reference.answers(x)[:, 0], posterior.argmax(1))


@pytest.mark.parametrize("thickness", [0.3, 0.8])
def test_two_classes_have_the_textbook_error(thickness):
    """Weights 1/3 and 2/3 at distance 2: the boundary lies ε²/2 ln 2 from the middle, towards the lighter one."""
    shift = 0.5 * thickness**2 * math.log(2)
    normal = scipy.stats.norm(scale=thickness)
    expected = normal.sf(1 - shift) / 3 + 2 * normal.sf(1 + shift) / 3
    assert classes(thickness, 2).reference.bayes_error() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("count", "thickness"), [(3, 0.5), (4, 0.9), (7, 0.3)])
def test_error_and_entropy_are_those_of_the_data(count, thickness):
    task, n = classes(thickness, count), 40_000
    x, y = task.sample(n, seed=3)
    surprise = -task.reference.log_prob(x, y)
    assert within_standard_errors(surprise.mean(), task.reference.entropy(), surprise.std() / n**0.5, comparisons=2)
    error = task.reference.bayes_error()
    assert share_agrees(int(task.reference.distance(x, y).sum()), n, error, comparisons=2)


def test_error_and_entropy_go_from_nothing_to_those_of_the_weights():
    clear, lost = classes(0.1, 3).reference, classes(300.0, 3).reference
    assert clear.entropy() == pytest.approx(0, abs=1e-9)
    assert clear.bayes_error() == pytest.approx(0, abs=1e-9)
    assert lost.bayes_error() == pytest.approx(0.5, abs=1e-4)
    assert lost.entropy() == pytest.approx(scipy.stats.entropy([1 / 6, 2 / 6, 3 / 6]), abs=1e-4)


def test_the_posterior_of_a_chain_is_bayes_rule():
    task = chain(3)
    x, _ = task.sample(20, seed=4)
    answers = list(itertools.product(range(3), repeat=3))
    joint = torch.zeros(20, len(answers), dtype=torch.float64)
    for column, (a, b, c) in enumerate(answers):
        prior = INITIAL[a] * TRANSITION[a][b] * TRANSITION[b][c]
        seen = scipy.stats.norm([MEANS[a], MEANS[b], MEANS[c]], 0.5).pdf(x.numpy()).prod(1)
        joint[:, column] = torch.from_numpy(prior * seen)
    posterior = joint / joint.sum(1, keepdim=True)
    for column, answer in enumerate(answers):
        found = task.reference.log_prob(x, torch.tensor(answer).expand(20, -1)).exp()
        torch.testing.assert_close(found, posterior[:, column], rtol=1e-9, atol=1e-12)
    assert torch.equal(task.reference.answers(x)[:, 0], torch.tensor(answers)[posterior.argmax(1)])


def test_labels_of_a_chain_follow_its_transitions():
    _, y = chain(6).sample(20_000, seed=5)
    first = torch.bincount(y[:, 0], minlength=3)
    assert counts_agree(first, INITIAL, comparisons=16)
    for t in range(5):
        for before in range(3):
            after = torch.bincount(y[y[:, t] == before, t + 1], minlength=3)
            assert counts_agree(after, TRANSITION[before], comparisons=16)


def test_a_chain_of_one_place_is_a_classification():
    task = chain(1)
    x, y = task.sample(40, seed=6)
    joint = scipy.stats.norm(MEANS, 0.5).pdf(x.numpy()) * INITIAL
    posterior = torch.from_numpy(joint / joint.sum(1, keepdims=True))
    torch.testing.assert_close(task.reference.log_prob(x, y).exp(), posterior.gather(1, y)[:, 0])


def test_the_distance_counts_the_symbols_that_differ_from_the_bayes_answer():
    task = chain(5)
    x, _ = task.sample(3, seed=7)
    best = task.reference.answers(x)[:, 0]
    moved = (best + torch.tensor([[0, 0, 0, 0, 0], [1, 0, 0, 0, 2], [1, 1, 1, 1, 1]])) % 3
    assert task.reference.distance(x, moved).tolist() == [0.0, 2.0, 5.0]


def test_unchecked_log_prob_broadcasts_as_the_checked_one():
    for task in (classes(), chain()):
        x, y = task.sample(12, seed=8)
        values = task.reference.log_density(x[:, None], y[None])
        assert values.shape == (12, 12)
        torch.testing.assert_close(values.diagonal(), task.reference.log_prob(x, y))


def test_the_entropy_of_a_chain_is_not_approximated():
    with pytest.raises(NoExactReference, match="sampled_entropy"):
        chain().reference.entropy()


class Backwards(LabelledChainReference):
    def graph(self, x):
        right = super().graph(x)
        return FactorGraph(right.unary, right.pairwise.mT)


class AnyClass(GaussianClassesReference):
    def sample(self, x, num_samples, seed=0):
        return torch.randint(4, (len(x), num_samples), generator=torch.Generator().manual_seed(seed))


class SecondBest(GaussianClassesReference):
    def answers(self, x):
        return (super().answers(x) + 1) % 4

    def distance(self, x, y):
        return (self.answers(x)[:, 0] != y).double()


class TooSure(GaussianClassesReference):
    def log_density(self, x, y):
        return super().log_density(x, y) + 0.01


@pytest.mark.parametrize(
    ("task", "reference", "rule"),
    [
        (LabelledChain, Backwards, "one mean on the data"),
        (GaussianClasses, AnyClass, "entropy must be|as far"),
        (GaussianClasses, SecondBest, "most probable|as far"),
        (GaussianClasses, TooSure, "sum to 1|entropy"),
    ],
)
def test_check_task_notices_a_wrong_reference(task, reference, rule):
    class Broken(task):
        def __init__(self, **options):
            super().__init__(**options)
            self.reference = reference(self)

    with pytest.raises(AssertionError, match=rule):
        check_task(Broken)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("gaussian_classes", {"thickness": 0.0}, "gaussian_classes: thickness = 0.0 is not valid"),
        ("gaussian_classes", {"classes": 1}, "classes = 1 is not valid"),
        ("labelled_chain", {"length": 0}, "length = 0 is not valid"),
        ("labelled_chain", {"lenght": 4}, "did you mean 'length'"),
    ],
)
def test_bad_options_are_named(name, options, words):
    with pytest.raises(ValueError, match=words):
        evp.get_task(name, **options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, y: (x[:, :1], y), r"x\.shape"),
        (lambda x, y: (x * math.nan, y), "x = 'non-finite"),
        (lambda x, y: (x, y + 3), "y = 'entries outside the symbols'"),
        (lambda x, y: (x, y.double()), "torch.int64"),
        (lambda x, y: (x[:2], y), "one answer for each"),
        (lambda x, y: (x, y.unsqueeze(-1)), "shape"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_bad_arguments_are_named(name, change, words):
    task = evp.get_task(name)
    x, y = change(*task.sample(4))
    with pytest.raises(ValueError, match=words):
        task.reference.log_prob(x, y)


def test_chains_and_what_remembers_more_have_their_exact_energies_in_company():
    tasks = [evp.get_task("labelled_chain", length=5, second_order=share) for share in (None, 0.7, 0.0)]
    together = evp.fit("exact", tasks, seeds=[0, 1, 2])
    x, y = tasks[1].sample(50, seed=3)
    found = together.log_prob(x, y)
    for r, task in enumerate(tasks):
        torch.testing.assert_close(found[r], task.reference.log_prob(x, y), rtol=0, atol=1e-9)
        assert torch.equal(together.infer(x).y[r, :, 0], task.reference.answers(x)[:, 0])


def test_a_chain_that_remembers_two_labels():
    """Against every string, its law written out again; and labels drawn as often as it says, to four errors."""
    task = evp.get_task("labelled_chain", length=4, second_order=0.7, thickness=0.8)
    x, y = task.sample(20_000, seed=0)
    every = task.y_space.every_answer()
    chances = torch.from_numpy(task.law)

    def joint(x, y):
        prior = torch.tensor(INITIAL)[y[0]] * torch.tensor(TRANSITION)[y[0], y[1]]
        for t in (2, 3):
            prior = prior * chances[y[t - 2], y[t - 1], y[t]]
        away = (x - torch.tensor(MEANS)[y]) / 0.8
        return prior.double().log() - 0.5 * away.square().sum()

    for row in x[:3]:
        expected = torch.stack([joint(row, answer) for answer in every]).log_softmax(0)
        found = task.reference.log_prob(row.expand(len(every), -1), every)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
        assert task.reference.answers(row[None])[0, 0].tolist() == every[expected.argmax()].tolist()
    for one, two in ((0, 1), (2, 2)):
        after = y[(y[:, 1] == one) & (y[:, 2] == two), 3]
        shares = torch.bincount(after, minlength=3) / len(after)
        tolerance = 4 * (chances[one, two] * (1 - chances[one, two]) / len(after)).sqrt()
        assert bool(((shares - chances[one, two]).abs() < tolerance).all())
