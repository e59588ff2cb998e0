"""Tuning: which arms of a study have an option that is chosen first, by what, and what was chosen for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..core.errors import invalid
from ..core.registry import METHODS
from .arms import Arm
from .plugins import import_plugins
from .registered import look_up, whole
from .schema import Study
from .tuning_options import Tuning

if TYPE_CHECKING:
    from ..training.method import Method

#: Validation objectives of unnormalised methods, by principle: the log score of the density that the energy stands for,
#: read at a fitted beta, for all that learn an energy; for others what they minimise themselves.
OBJECTIVES = {"regression": "squared_error", "decision": "regret"}


@dataclass(frozen=True)
class Choice:
    """What an arm's option was tried at, and which value was taken.

    `scores` are those of `values`, by `metric`, of which `better` says which side is; None where a trial failed or has
    no score.
    """

    arm: str
    option: str
    metric: str
    better: str
    values: tuple[float, ...]
    scores: tuple[float | None, ...]
    chosen: float

    def as_record(self) -> dict[str, Any]:
        """As a stored plan has it."""
        return asdict(self)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Choice:
        """The choice of a record."""
        return cls(**{**record, "values": tuple(record["values"]), "scores": tuple(record["scores"])})

    def listed(self) -> str:
        """Every value with its score, in words."""
        return scored(self.values, self.scores)


def scored(values: Iterable[float], scores: Iterable[float | None]) -> str:
    """Values with their scores, in words."""
    pairs = zip(values, scores, strict=True)
    return ", ".join(f"{value:g}: {'none' if score is None else f'{score:.4g}'}" for value, score in pairs)


def objective(arm: Arm, method: type[Method]) -> str:
    """The metric that an arm is tuned by: the one that it names, else that of its kind."""
    if arm.validation is not None:
        return arm.validation
    return "log_score" if method.normalised else OBJECTIVES.get(method.principle, "gibbs_log_score")


def tuned_arms(study: Study) -> dict[str, str]:
    """The objective of each arm whose option is to be chosen: of those that are trained and do not give it.

    Raises:
        UnknownName: an unknown method.
        ValueError: the option is none of an arm's method, or no number of it.
    """
    found = _open_arms(study)
    if not found:
        valid = "an option of a method that some arm leaves open"
        raise invalid(f"{study.where}: tuning.values", tuning_of(study).option, valid)
    return found


def _open_arms(study: Study) -> dict[str, str]:
    tuning = tuning_of(study)
    found = {}
    for arm in study.arms:
        method = look_up(METHODS, arm.method, f"{study.where}: arms.{arm.name}.method")
        if method.principle != "exact" and tuning.option in method.Options.model_fields and not _gives(arm, tuning):
            found[arm.name] = objective(arm, method)
    return found


def _gives(arm: Arm, tuning: Tuning) -> bool:
    return tuning.option in arm.options or (tuning.option == "scale" and arm.scale is not None)


def tuning_of(study: Study) -> Tuning:
    """The table; a `ValueError` where the study has none."""
    if study.tuning is None:
        raise invalid(f"{study.where}: tuning", None, "a table [tuning]")
    return study.tuning


def as_rows(study: Study, chosen: Iterable[Choice]) -> list[dict[str, Any]]:
    """What is tuned, one row an arm of a table for people: what was chosen, or that it will be."""
    made = {choice.arm: choice for choice in chosen}
    option, tried = tuning_of(study).option, tuning_of(study).tried
    rows = []
    for arm, metric in tuned_arms(study).items():
        choice = made.get(arm)
        values = choice.listed() if choice else ", ".join(f"{value:g}" for value in tried)
        taken = f"{choice.chosen:g}" if choice else "to be chosen by the run"
        rows.append({"arm": arm, "option": option, "by": metric, "values": values, "chosen": taken})
    return rows


def with_values(study: Study, values: Mapping[str, float]) -> Study:
    """The same study, whose arms have these values of the tuned option."""
    if not values:
        return study
    option = tuning_of(study).option
    arms = [
        arm.model_copy(update={"options": {**arm.options, option: whole(values[arm.name])}})
        if arm.name in values
        else arm
        for arm in study.arms
    ]
    return study.model_copy(update={"arms": tuple(arms)})


def settled(study: Study, scale: str) -> Study:
    """The study as a scale runs it: where that is not tuned, arms have the middle one of the values to be tried.

    Nor is it where a choice of its own leaves none of the arms that are to be tuned.
    """
    if study.tuning is None:
        return study
    is_tuned = not study.tuning.scales or scale in study.tuning.scales
    if is_tuned and not (study.at(scale).arms or study.at(scale).tasks):
        return study
    import_plugins(study.imports, study.where, study.folder)
    if is_tuned and _open_arms(study.held_at(scale)):
        return study
    return with_values(study, provisional(study)).model_copy(update={"tuning": None})


def provisional(study: Study) -> dict[str, float]:
    """A value for each arm before any is chosen, so that trials can be counted: the middle one of those to be tried."""
    tried = tuning_of(study).tried
    return dict.fromkeys(tuned_arms(study), tried[len(tried) // 2])
