"""Which laws the exact model of each registered task is held against, by every metric that the task has.

A task that is registered has to stand here: each value of an option that is a choice belongs to a truth, each choice
has a rival of another thickness, and each option by which there is another law of as many numbers belongs to a rival.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from ebm_vs_prob import Task
from ebm_vs_prob.metrics import Evaluation

LOOK = Evaluation(test_examples=512, inputs=8, starts=2, samples=512, max_steps=60, partitions=16)
#: Where a density is a quadrature over one coordinate.
FEW = Evaluation(test_examples=256, inputs=4, starts=2, samples=256, max_steps=20, partitions=4)
#: Where it is one over two of them, or of pictures.
FEWEST = Evaluation(test_examples=32, inputs=2, starts=1, samples=32, max_steps=2, partitions=2)
#: Of labels and of strings.
LABELS, STRINGS = Evaluation(test_examples=4096, inputs=64), Evaluation(test_examples=1024, inputs=64)
#: Where one descent, or one fit of a temperature, is thousands of quadratures over a latent of pictures.
OF_DENSITY_AND_DRAWS = ("likelihood_gap", "log_score", "gibbs_gap_unit_beta", "sample_distance_median", "tube_mass")
#: What held-out answers tell of draws, of an exact model that has no energy.
OF_DRAWS = ("sample_distance_median", "two_sample_accuracy", "energy_score", "consistency")
#: What the truth tells of draws, where its density is dear: they are many then.
DRAWN = Evaluation(test_examples=512, inputs=16, samples=256)
OF_MANY_DRAWS = (
    "sample_distance_median",
    "two_sample_accuracy",
    "best_sample_distance_median",
    "best_sample_distance_p95",
    "best_sample_success",
    "branch_kl",
)


@dataclass(frozen=True)
class Contest:
    """An exact model against those of other laws.

    Attributes:
        truth: options of the task.
        rivals: each the options in which a rival's law differs, or `potential`, an energy of the truth that is no law.
        look: how much is looked at.
        only: the metrics, by default all that the task has.
    """

    truth: Mapping[str, Any]
    rivals: tuple[Mapping[str, Any], ...]
    look: Evaluation = LOOK
    only: tuple[str, ...] | None = None


CONSTANT, DENSITY = {"potential": "constant"}, {"potential": "density"}
THIN = {"thickness": 0.05}
THICK, TWICE = {"thickness": 0.15}, {"thickness": 0.1}
#: Pictures of thickness .02 against others.
PICTURES, BLURRED = {"thickness": 0.02}, {"thickness": 0.06}

CONTESTS: dict[str, tuple[Contest, ...]] = {
    "circle": (
        Contest({"thickness": 0.1}, ({"thickness": 0.3}, {"thickness": 0.03})),
        Contest({"thickness": 0.03}, ({"concentration": 4.0}, CONSTANT, DENSITY)),
        Contest({"thickness": 0.1, "ambient_dim": 3}, ({"thickness": 0.2}, {"rotation": 1})),
    ),
    "digits": (Contest({}, ({"dequantisation": 0.0}, CONSTANT), LOOK, OF_DRAWS),),
    "discontinuous": (
        Contest(THIN, (THICK, CONSTANT)),
        Contest({**THIN, "shape": "circle"}, (THICK, {"upper": 0.9})),
        Contest({**THIN, "shape": "hyperbola"}, (THICK, {"upper": 0.9})),
    ),
    "ellipse": (Contest(THIN, (TWICE, {"semi_major": 2.2}, {"semi_minor": 1.4}), FEW),),
    "fusion": (
        Contest({}, ({"thickness": 0.3}, {"correlation": 0.8}), LABELS),
        Contest({"views": "redundant"}, ({"thickness": 0.3}, {"correlation": 0.9}), LABELS),
        Contest({"seen": "first"}, ({"thickness": 0.3},), LABELS),
        Contest({"seen": "second"}, ({"thickness": 0.3},), LABELS),
    ),
    "gaussian_classes": (Contest({}, ({"thickness": 0.3},), LABELS),),
    "gustafsson_1d": (Contest(THIN, ({"thickness": 0.03}, CONSTANT, DENSITY)),),
    "hard_strings": (
        Contest({"length": 6}, ({"thickness": 0.6},), STRINGS),
        Contest({"length": 6, "kind": "parity", "thickness": 0.5}, ({"thickness": 1.0},), STRINGS),
    ),
    "horn": (Contest(THIN, (THICK,), FEW),),
    "labelled_chain": (
        Contest({"length": 4}, ({"thickness": 0.8},), STRINGS),
        Contest({"length": 4, "second_order": 0.9}, ({"second_order": 0.1},), STRINGS),
    ),
    "linear_gaussian": (
        Contest({"thickness": 0.1}, ({"thickness": 0.04},)),
        Contest(
            {"thickness": 0.1, "latent_dim": 2, "ambient_dim": 3, "input_dim": 1},
            ({"thickness": 0.2}, {"largest": 2.0}, {"smallest": 0.2}, {"rotation": 1}, {"latent_dim": 1}),
        ),
    ),
    "manifold": (
        Contest({"shape": "sphere", **THIN}, (THICK, {"concentration": 8.0})),
        Contest(
            {"shape": "sphere", "manifold_dim": 1, "ambient_dim": 3, **THIN}, ({"manifold_dim": 2}, {"rotation": 1})
        ),
        Contest({"shape": "linear", **THIN}, (THICK,)),
        Contest({"shape": "torus", **THIN}, (THICK, {"concentration": 6.0}), FEW),
        Contest({"shape": "swiss_roll", **THIN}, (THICK,), FEW),
        Contest({"shape": "klein_bottle", **THIN}, (THICK,), FEWEST),
        Contest({"shape": "polynomial", **THIN}, (THICK,), FEWEST),
        Contest({"shape": "klein_bottle", **THIN}, (THICK, {"concentration": 6.0}), DRAWN, OF_MANY_DRAWS),
        Contest({"shape": "polynomial", **THIN}, (THICK,), DRAWN, OF_MANY_DRAWS),
    ),
    "newsvendor": (
        Contest({}, ({"thickness": 0.6}, {"demand": "contaminated", "contamination": 0.3})),
        Contest({"demand": "skewed", "thickness": 0.2}, ({"thickness": 0.3},)),
        Contest({"demand": "contaminated"}, ({"thickness": 0.6}, {"contamination": 0.4})),
    ),
    "particle": (
        Contest(PICTURES, (BLURRED, CONSTANT)),
        Contest({**PICTURES, "first_goal": 0.5}, (BLURRED, {"first_goal": 0.95})),
    ),
    "segmentation": (
        Contest(
            {"length": 2, "narrowest": 4, "widest": 6, "thickness": 0.8},
            (
                {"thickness": 0.4},
                {"narrowest": 5, "widest": 5},
                {"overlap": 0},
                {"exemplars": 1},
                {"exemplar_seed": 1},
            ),
            Evaluation(test_examples=512, inputs=16),
        ),
    ),
    "steering": (
        Contest({}, ({"thickness": 1.0}, {"share": 0.4}, {"preferred": "roomier"}), LABELS),
        Contest({"preferred": "roomier"}, ({"thickness": 1.0}, {"share": 0.5}), LABELS),
        Contest({"answer": "continuous", **THIN}, (TWICE, {"share": 0.4})),
    ),
    "super_resolution": (
        Contest(PICTURES, (BLURRED, {"input_noise": 1.0}), FEWEST, OF_DENSITY_AND_DRAWS),
        Contest(PICTURES, (BLURRED, {"input_noise": 1.0}), DRAWN, OF_MANY_DRAWS),
    ),
    "thin_sphere": (Contest(THIN, (THICK,)),),
    "three_curves": (Contest({"thickness": 0.03}, ({"thickness": 0.1}, {"thickness": 0.01}, DENSITY)),),
    "three_modes": (
        Contest({"thickness": 0.1}, ({"thickness": 0.2}, {"bridge": 0.3})),
        Contest({"thickness": 0.1, "bridge": 0.3}, ({"thickness": 0.2}, {"bridge": 0.03})),
        Contest({"thickness": 0.1, "shape": "circles"}, ({"thickness": 0.2}, {"bridge": 0.3})),
        Contest({"thickness": 0.1, "shape": "circles", "bridge": 0.3}, ({"thickness": 0.2}, {"bridge": 0.03})),
    ),
    "translation": (
        Contest(
            {"length": 6},
            (
                {"thickness": 0.1},
                {"verb_first": 0.5, "verb_last": 0.1},
                {"adjective_first": 0.2},
                {"first_synonym": 0.4},
                {"particle": 0.6},
            ),
            STRINGS,
        ),
    ),
    "video": (
        Contest(PICTURES, (BLURRED,), FEWEST),
        Contest({**PICTURES, "speed_change": 0.1}, (BLURRED, {"speed_change": 0.2}), FEWEST, OF_DENSITY_AND_DRAWS),
        Contest(PICTURES, (BLURRED,), DRAWN, OF_MANY_DRAWS),
        Contest({**PICTURES, "speed_change": 0.1}, (BLURRED, {"speed_change": 0.2}), DRAWN, OF_MANY_DRAWS),
    ),
}

_DIMENSION = "x or y has another number of entries by it"
_COST = "a cost of decisions, no part of the law"
#: Options of which no rival can be made, and why.
NO_RIVAL: dict[str, dict[str, str]] = {
    "circle": {"ambient_dim": _DIMENSION},
    "digits": {"thickness": "it is always 0"},
    "gaussian_classes": {"classes": "y has another number of values by it"},
    "hard_strings": {"length": _DIMENSION, "largest_weight": "weights in x are read in units of it"},
    "labelled_chain": {"length": _DIMENSION},
    "linear_gaussian": {"ambient_dim": _DIMENSION, "input_dim": _DIMENSION},
    "manifold": {"ambient_dim": _DIMENSION},
    "newsvendor": {"features": _DIMENSION, "underage": _COST, "overage": _COST},
    "particle": {"dim": _DIMENSION},
    "segmentation": {"length": _DIMENSION},
    "steering": {"cost_of_left": _COST, "cost_of_right": _COST, "abstention": _COST},
    "thin_sphere": {"ambient_dim": _DIMENSION},
    "three_modes": {"ambient_dim": _DIMENSION},
    "translation": {"length": _DIMENSION, "words": _DIMENSION, "phrases": "a law of sentences, which are given"},
    "video": {"past": _DIMENSION, "future": _DIMENSION},
}


def lacking(task: type[Task]) -> list[str]:
    """What `CONTESTS` lacks of a task, a line each that says what to add."""
    contests, excused = CONTESTS.get(task.name, ()), NO_RIVAL.get(task.name, {})
    if not contests:
        return [f"add to CONTESTS of tests/contests.py {task.name!r}: (Contest({{options}}, ({{other options}},)),)"]
    found = []
    for option, field in task.Options.model_fields.items():
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        for choice in choices:
            own = [each for each in contests if each.truth.get(option, field.default) == choice]
            if not own:
                found.append(f"{task.name}: add a Contest whose truth has {option} = {choice!r}")
            elif "thickness" not in excused and not any("thickness" in rival for each in own for rival in each.rivals):
                found.append(f"{task.name}: add a rival of another thickness where {option} = {choice!r}")
        rivalled = any(option in rival for each in contests for rival in each.rivals)
        if not choices and not rivalled and option not in excused:
            found.append(f"{task.name}: add a rival with another {option}, or say in NO_RIVAL why there is none")
        if option in excused and rivalled:
            found.append(f"{task.name}: {option} has a rival, so take it out of NO_RIVAL")
    unknown = sorted(set(excused) - set(task.Options.model_fields))
    return found + [f"{task.name}: no option {option}, so take it out of NO_RIVAL" for option in unknown]
