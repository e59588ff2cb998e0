"""Options: strict, canonical, shared or one a replicate; errors that name field, value and what is valid."""

from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

import ebm_vs_prob as evp
from ebm_vs_prob.core.options import PER_REPLICATE, ExtendedFloat, OptionBatch, Options, validated


class Example(Options):
    margin: Annotated[float, PER_REPLICATE, Field(gt=0)] = 1.0
    beta: ExtendedFloat = 1.0
    steps: Annotated[int, Field(ge=1)] = 3


def test_an_integer_is_the_same_number():
    assert validated(Example, {"margin": 1}, "example").model_dump_json() == Example().model_dump_json()


@pytest.mark.parametrize(
    ("given_options", "words"),
    [
        ({"margin": -1.0}, ["example: margin", "-1.0", "greater than 0"]),
        ({"margin": "1"}, ["example: margin", "'1'"]),
        ({"margin": float("nan")}, ["example: margin", "nan", "finite"]),
        ({"margin": float("inf")}, ["example: margin", "inf", "finite"]),
        ({"steps": 2.5}, ["example: steps", "2.5", "integer"]),
        ({"steps": True}, ["example: steps", "True", "integer"]),
    ],
)
def test_a_bad_value_is_named(given_options, words):
    with pytest.raises(ValueError, match="is not valid") as caught:
        validated(Example, given_options, "example")
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_option_offers_the_nearest():
    with pytest.raises(LookupError, match="did you mean 'margin'"):
        validated(Example, {"margn": 1.0}, "example")


def test_one_value_a_replicate_where_the_schema_says_so():
    batch = OptionBatch.from_given(Example, {"margin": [1, 2.0]}, 2, "example")
    assert batch.margin.tolist() == [1.0, 2.0]
    assert batch.steps == 3
    with pytest.raises(ValueError, match="one for each of 3 replicates"):
        OptionBatch.from_given(Example, {"margin": [1.0, 2.0]}, 3, "example")
    with pytest.raises(ValueError, match="steps"):
        OptionBatch.from_given(Example, {"steps": [1, 2]}, 2, "example")
    with pytest.raises(ValueError, match="shared"):
        OptionBatch([Example(steps=1), Example(steps=2)], "example")


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=1e-300))
def test_valid_values_survive_a_round_trip(margin):
    options = validated(Example, {"margin": margin}, "example")
    assert Example.model_validate_json(options.model_dump_json()) == options


@given(st.one_of(st.text(), st.booleans(), st.none(), st.floats(max_value=0), st.lists(st.floats())))
def test_nothing_else_gets_in(value):
    with pytest.raises(ValueError, match="example: margin"):
        validated(Example, {"margin": value}, "example")


def test_a_schema_that_is_called_answers_as_a_fit_does():
    with pytest.raises(LookupError, match="'stepz': did you mean 'steps'"):
        evp.Budget(stepz=1)
    with pytest.raises(ValueError, match=r"hinge: expected a max_width >= min_width"):
        evp.fit("hinge", evp.get_task("circle"), min_width=2.0)
    with pytest.raises(ValueError, match=r"Budget: steps = -1 is not valid"):
        evp.Budget(steps=-1)


class _Inner(Options):
    size: int = 1


class _Outer(Options):
    inner: _Inner = _Inner()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: _Inner(size="a"), "_Inner: size = 'a'"),
        (lambda: validated(_Outer, {"inner": {"size": "a"}}, "outer"), "outer: inner.size = 'a'"),
        (lambda: _Outer(inner={"size": "a"}), "_Outer: inner.size = 'a'"),
        (lambda: _Outer(inner={"sise": 2}), "did you mean 'size'"),
    ],
)
def test_a_mistake_is_named_with_its_path_however_the_schema_is_made(call, said):
    with pytest.raises(ValueError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)
