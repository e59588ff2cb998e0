"""Validated options: one schema a task or method, each option shared by all replicates or one per replicate."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from .errors import invalid, unknown

if TYPE_CHECKING:
    import torch


class _PerReplicate:
    """Marks an option that may differ between replicates trained together: `Annotated[float, PER_REPLICATE]`."""


PER_REPLICATE = _PerReplicate()

#: The largest integer of an option that sets no limit of its own with `le` or `lt`: it counts something that is made.
MOST = 1_000_000


def _read_infinity(value: object) -> object:
    return float("inf") if isinstance(value, str) and value == "inf" else value


def _refuse_nan(value: float) -> float:
    if value != value or value == float("-inf"):
        raise ValueError('a number or "inf"')
    return value


#: A number that may be infinite; written "inf" in files, because JSON has no infinity.
ExtendedFloat = Annotated[
    float,
    Field(allow_inf_nan=True),
    BeforeValidator(_read_infinity),
    AfterValidator(_refuse_nan),
    PlainSerializer(lambda v: "inf" if v == float("inf") else v, when_used="json"),
]


class Options(BaseModel):
    """Base of every options schema: strict types, unknown keys refused, NaN and infinity refused, immutable.

    An integer is at most `MOST`, unless its field sets a limit of its own.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="after")
    @classmethod
    def _counts_what_can_be_made(cls, value: Any, info: ValidationInfo) -> Any:
        own = cls.model_fields[info.field_name or ""].metadata
        if (
            type(value) is int
            and abs(value) > MOST
            and not any(getattr(rule, bound, None) is not None for rule in own for bound in ("le", "lt"))
        ):
            raise ValueError(f"less than or equal to {MOST}")
        return value

    def __init__(self, /, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise describe(error, type(self), type(self).__name__) from None

    # Pydantic would otherwise validate a nested schema through `__init__` too, and its mistakes would lose their path.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def per_replicate_fields(cls) -> frozenset[str]:
        """Names of the options that may differ between replicates."""
        return frozenset(name for name, field in cls.model_fields.items() if PER_REPLICATE in field.metadata)


SchemaT = TypeVar("SchemaT", bound=BaseModel)


def validated(schema: type[SchemaT], given: Mapping[str, Any], where: str) -> SchemaT:
    """An instance of `schema`; its first mistake as one line that names field, value and what is valid.

    Raises:
        ValueError: a value that is not valid.
        UnknownName: an option that does not exist, with the nearest that does (a `LookupError` and a `ValueError`).
    """
    try:
        return schema.model_validate(dict(given))
    except ValidationError as error:
        raise describe(error, schema, where) from None


def from_table(schema: type[SchemaT], table: Mapping[str, Any], where: str) -> SchemaT:
    """An instance of a strict schema from a table as JSON and TOML have it, where a tuple is written as a list.

    Raises:
        ValueError: the first mistake, as one line with field, value and what is valid.
        UnknownName: a key that does not exist, with the nearest that does.
    """
    try:
        return schema.model_validate_json(json.dumps(dict(table)))
    except ValidationError as error:
        raise describe(error, schema, where) from None


def describe(error: ValidationError, schema: type[BaseModel], where: str) -> ValueError:
    """The first mistake in the package's own words; a misspelt key comes before the one it leaves missing."""
    mistake = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    path = ".".join(str(part) for part in mistake["loc"])
    if mistake["type"] == "extra_forbidden":
        nested = _schema_at(schema, mistake["loc"][:-1])
        parent = ".".join(str(part) for part in mistake["loc"][:-1])
        place = f"{where}: {parent}" if parent else where
        return unknown(f"option of {place}:", mistake["loc"][-1], _keys(nested))
    if mistake["type"] == "missing":
        return ValueError(f"{where}: {path} is missing: it has no default")
    expected = mistake["msg"].removeprefix("Value error, ")
    expected = expected[0].lower() + expected[1:].replace("Input should be", "")
    if not path:  # a rule between options, which its message names
        return ValueError(f"{where}: expected {expected}")
    return invalid(f"{where}: {path}", mistake["input"], expected.removeprefix("input should be ").strip())


def _keys(schema: type[BaseModel] | None) -> list[str]:
    """The keys of a table, as files write them."""
    return [field.alias or name for name, field in schema.model_fields.items()] if schema else []


def _schema_at(schema: type[BaseModel], path: Sequence[str | int]) -> type[BaseModel] | None:
    """The schema of the nested table at `path`, if it can be told from the annotations."""
    from typing import get_args

    for part in path:
        if not isinstance(part, str) or part not in schema.model_fields:
            continue
        pending: list[Any] = [schema.model_fields[part].annotation]
        while pending:
            annotation = pending.pop()
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                schema = annotation
                break
            pending.extend(get_args(annotation))
        else:
            return None
    return schema


class OptionBatch:
    """The options of R replicates: `batch.name` is one shared value, or (R,) float64 for a per-replicate option."""

    def __init__(self, replicates: Sequence[Options], where: str) -> None:
        self.replicates = tuple(replicates)
        first = self.replicates[0]
        varying = type(first).per_replicate_fields()
        for name in type(first).model_fields:
            values = [getattr(options, name) for options in self.replicates]
            if name not in varying and any(value != values[0] for value in values):
                raise invalid(f"{where}: {name}", values, "one value for all replicates (the option is shared)")

    @classmethod
    def from_given(
        cls, schema: type[Options], given: Mapping[str, Any], num_replicates: int, where: str
    ) -> OptionBatch:
        """Options from keyword arguments, each a scalar or (for per-replicate options) a sequence of R values."""
        varying = schema.per_replicate_fields()
        rows: list[dict[str, Any]] = [dict(given) for _ in range(num_replicates)]
        for name, value in given.items():
            if name in varying and hasattr(value, "tolist"):
                value = value.tolist()
            if name in varying and isinstance(value, (list, tuple)):
                if len(value) != num_replicates:
                    raise invalid(
                        f"{where}: {name}", value, f"one value, or one for each of {num_replicates} replicates"
                    )
                for row, item in zip(rows, value, strict=True):
                    row[name] = item
            elif name in varying:
                for row in rows:
                    row[name] = value
        return cls([validated(schema, row, where) for row in rows], where)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "replicates":
            raise AttributeError(name)
        first = self.replicates[0]
        if name not in type(first).model_fields:
            raise AttributeError(name)
        if name in type(first).per_replicate_fields():
            import torch

            return torch.tensor(
                [float(getattr(options, name)) for options in self.replicates], dtype=torch.float64, device="cpu"
            )
        return getattr(first, name)

    def column(self, name: str, like: torch.Tensor) -> torch.Tensor:
        """A per-replicate option as (R, 1, ..., 1), with the dtype, device and number of dimensions of `like`."""
        values: torch.Tensor = getattr(self, name)
        return values.to(like).reshape(-1, *[1] * (like.ndim - 1))
