"""The ten losses of the tutorial of 2006: by hand, against its margin column, and on answers that can be enumerated."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ebm_vs_prob.ebm.objectives import margin as losses
from ebm_vs_prob.ebm.objectives.margin import TUTORIAL_LOSSES, split_answers

MARGIN = 1.0
PARAMETERS = {
    "hinge": {"margin": MARGIN},
    "lvq2": {"ceiling": 2.0},
    "square_square": {"margin": MARGIN},
    "square_exponential": {"strength": 0.5},
    "negative_log_likelihood": {"beta": 2.0},
    "minimum_empirical_error": {"beta": 2.0},
}
#: The condition holds at every m' below this.
LARGEST_MARGIN = {"none": -math.inf, "0": 0.0, "m": MARGIN, "> 0": math.inf}
WITH_MARGIN = [name for name, loss in TUTORIAL_LOSSES.items() if loss.margin in ("m", "> 0")]


def value(name: str, positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    return TUTORIAL_LOSSES[name].function(positive, negative, **PARAMETERS.get(name, {}))


def by_hand(good: float, bad: list[float]) -> dict[str, float | list[float]]:
    everything = [math.exp(-2.0 * e) for e in (good, *bad)]
    probability = everything[0] / sum(everything)
    return {
        "energy_loss": good,
        "perceptron": good - min(good, *bad),
        "hinge": [max(0.0, MARGIN + good - e) for e in bad],
        "log_loss": [math.log(1 + math.exp(good - e)) for e in bad],
        "lvq2": [min(2.0, max(0.0, good - e)) for e in bad],
        "minimum_classification_error": [1 / (1 + math.exp(e - good)) for e in bad],
        "square_square": [good**2 + max(0.0, MARGIN - e) ** 2 for e in bad],
        "square_exponential": [good**2 + 0.5 * math.exp(-e) for e in bad],
        "negative_log_likelihood": -0.5 * math.log(probability),
        "minimum_empirical_error": 1 - probability,
    }


@pytest.mark.parametrize("name", TUTORIAL_LOSSES)
@settings(max_examples=25)
@given(good=st.floats(-3, 3), bad=st.lists(st.floats(-3, 3), min_size=1, max_size=4))
def test_each_loss_is_its_formula(name, good, bad):
    positive, negative = torch.tensor([good], dtype=torch.float64), torch.tensor([bad], dtype=torch.float64)
    expected = torch.tensor([by_hand(good, bad)[name]], dtype=torch.float64)
    found = value(name, positive, negative)
    assert found.shape == ((1, len(bad)) if TUTORIAL_LOSSES[name].pairs else (1,))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def meets_condition(name: str, margin: float, sign: float = 1.0) -> bool:
    """The tutorial's sufficient condition at one margin, on a grid of (E, Ē); other answers lie at 1 and 2.

    Some point with E + margin < Ē must have a smaller loss than every point with E + margin >= Ē. Ē ranges wider than
    E, so that every E occurs on both sides.
    """
    good, bad = torch.meshgrid(
        torch.arange(-32, 33, dtype=torch.float64) / 8, torch.arange(-96, 97, dtype=torch.float64) / 8, indexing="ij"
    )
    negative = bad.unsqueeze(-1)
    if not TUTORIAL_LOSSES[name].pairs:
        negative = torch.cat([negative, torch.ones_like(negative), 2 * torch.ones_like(negative)], -1)
    loss = value(name, sign * good, sign * negative).reshape(good.shape)
    right = good + margin < bad
    return bool(loss[right].min() < loss[~right].min() - 1e-9)


@pytest.mark.parametrize("name", TUTORIAL_LOSSES)
def test_the_margin_column_holds_on_a_grid(name):
    """Met at every m' below the margin of the table, and at none from there on."""
    largest = LARGEST_MARGIN[TUTORIAL_LOSSES[name].margin]
    tested = [-1.0, -0.25, 0.0, 0.25, 0.5, 0.875, 1.0, 1.125, 3.0]
    assert {m: meets_condition(name, m) for m in tested} == {m: m < largest for m in tested}


@pytest.mark.parametrize("name", [name for name in TUTORIAL_LOSSES if name != "energy_loss"])
def test_a_flipped_sign_fails_the_condition(name):
    assert meets_condition(name, -0.25)
    assert not meets_condition(name, -0.25, sign=-1.0)


def test_the_table_is_the_tutorials():
    column = {name: loss.margin for name, loss in TUTORIAL_LOSSES.items()}
    assert column == {
        "energy_loss": "none",
        "perceptron": "0",
        "hinge": "m",
        "log_loss": "> 0",
        "lvq2": "0",
        "minimum_classification_error": "> 0",
        "square_square": "m",
        "square_exponential": "> 0",
        "negative_log_likelihood": "> 0",
        "minimum_empirical_error": "> 0",
    }


def test_an_answer_moved_by_its_log_weight_counts_that_often():
    positive = torch.tensor([0.3], dtype=torch.float64)
    one, beta = torch.tensor([[0.7]], dtype=torch.float64), 1.7
    for loss in (losses.negative_log_likelihood, losses.minimum_empirical_error):
        three = loss(positive, one.expand(1, 3), beta)
        torch.testing.assert_close(loss(positive, one - math.log(3) / beta, beta), three)


def test_large_energies_leave_likelihood_and_error_finite():
    positive = torch.tensor([1e4, -1e4], requires_grad=True)
    negative = torch.tensor([[0.0, 1e4], [math.inf, 1e4]])
    for loss in (losses.negative_log_likelihood, losses.minimum_empirical_error):
        total = loss(positive, negative, 1.0)
        (slope,) = torch.autograd.grad(total.sum(), positive)
        assert total.isfinite().all()
        assert slope.isfinite().all()


@given(st.integers(2, 5), st.integers(0, 2**16))
def test_split_answers_keeps_every_incorrect_answer_in_order(count, seed):
    generator = torch.Generator().manual_seed(seed)
    energies = torch.randn(3, 4, count, generator=generator)
    labels = torch.randint(count, (3, 4), generator=generator)
    positive, negative = split_answers(energies, labels)
    for i in range(3):
        for j in range(4):
            row, k = energies[i, j].tolist(), int(labels[i, j])
            assert positive[i, j] == row[k]
            assert negative[i, j].tolist() == row[:k] + row[k + 1 :]


def test_enumerated_answers_take_the_most_offending_one():
    energies = torch.tensor([[0.5, 2.0, 0.75], [3.0, 0.0, 1.0]])
    labels = torch.tensor([0, 2])
    hinge = TUTORIAL_LOSSES["hinge"].on_labels(energies, labels, margin=1.0)
    assert hinge.tolist() == [0.75, 2.0]
    likelihood = TUTORIAL_LOSSES["negative_log_likelihood"].on_labels(energies, labels, beta=1.0)
    torch.testing.assert_close(likelihood, torch.nn.functional.cross_entropy(-energies, labels, reduction="none"))


@pytest.mark.parametrize(
    ("energies", "labels", "words"),
    [
        (torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64), r"energies\.shape = \(2, 1\)"),
        (torch.tensor(0.0), torch.tensor(0), r"energies\.shape"),
        (torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64), r"labels\.shape = \(3,\)"),
        (torch.zeros(2, 3), torch.tensor([0, 3]), r"labels.*0 \.\. 2"),
        (torch.zeros(2, 3), torch.tensor([-1, 0]), r"labels.*0 \.\. 2"),
        (torch.zeros(2, 3), torch.tensor([0.0, 1.0]), "labels.*int64"),
    ],
)
def test_labels_that_do_not_fit_are_named(energies, labels, words):
    with pytest.raises(ValueError, match=words):
        TUTORIAL_LOSSES["log_loss"].on_labels(energies, labels)


@pytest.mark.parametrize("shape", [(5,), (5, 0), (4, 3), (2, 5, 3)])
@pytest.mark.parametrize("name", [name for name in TUTORIAL_LOSSES if name != "energy_loss"])
def test_shapes_that_do_not_fit_are_named(name, shape):
    with pytest.raises(ValueError, match=r"negative\.shape"):
        value(name, torch.zeros(5), torch.zeros(shape))


def class_energies(name: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Energies ½‖A x + a - B_y‖² of three classes, before and after training with one loss; and the labels.

    The energy of the tutorial's figure 5: both sides are learned, so a loss that only pulls down can make them equal.
    """
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat_interleave(60)
    corners = torch.tensor([[0.0, 2.0], [-2.0, -1.0], [2.0, -1.0]])
    x = corners[labels] + 0.4 * torch.randn(len(labels), 2, generator=generator)
    weight, shift, codes = (0.3 * torch.randn(shape, generator=generator) for shape in [(2, 2), (2,), (3, 2)])
    parameters = [part.requires_grad_() for part in (weight, shift, codes)]

    def energies() -> torch.Tensor:
        return 0.5 * ((x @ weight + shift).unsqueeze(1) - codes).square().sum(-1)

    before = energies().detach()
    adam = torch.optim.Adam(parameters, lr=0.05)
    for _ in range(300):
        adam.zero_grad()
        TUTORIAL_LOSSES[name].on_labels(energies(), labels, **PARAMETERS.get(name, {})).mean().backward()
        adam.step()
    return before, energies().detach(), labels


@pytest.mark.parametrize("name", WITH_MARGIN)
def test_every_loss_with_a_margin_learns_three_classes(name):
    _, energies, labels = class_energies(name)
    assert (energies.argmin(-1) == labels).float().mean() > 0.97
    positive, negative = split_answers(energies, labels)
    assert (negative.amin(-1) - positive).median() > 0.3


def test_the_energy_loss_collapses():
    before, after, _ = class_energies("energy_loss")
    spread = [(e.amax(-1) - e.amin(-1)).mean() for e in (before, after)]
    assert spread[1] < 1e-3 * spread[0]
