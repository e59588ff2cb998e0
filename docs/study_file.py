"""Write docs/study_file.md, every key of a study file, from the schemas that read it: `python docs/study_file.py`."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ebm_vs_prob.core.budget import Budget
from ebm_vs_prob.energies.mlp import Network
from ebm_vs_prob.metrics import Evaluation
from ebm_vs_prob.study.arms import Arm
from ebm_vs_prob.study.criteria import Criterion, Gate, Ladder, Sensitivity
from ebm_vs_prob.study.scales import Scale
from ebm_vs_prob.study.schema import Study
from ebm_vs_prob.study.task_grids import TaskGrid
from ebm_vs_prob.study.tuning_options import Tuning

PAGE = Path(__file__).with_suffix(".md")

#: Heading, schema, and whether its docstring says to the writer of a file what the table does not.
SECTIONS: tuple[tuple[str, type[BaseModel], bool], ...] = (
    ("The file", Study, False),
    ("`[scales.NAME]`", Scale, False),
    ("`[[tasks]]`", TaskGrid, True),
    ("`[[arms]]`", Arm, True),
    ("`[tuning]`", Tuning, True),
    ("`[[criteria]]`", Criterion, True),
    ("`[[gates]]`", Gate, True),
    ("`[[ladders]]`", Ladder, True),
    ("`[[sensitivity]]`", Sensitivity, True),
    ("`network`", Network, True),
    ("`budget`", Budget, True),
    ("`evaluation`", Evaluation, True),
)

BEFORE = """# A study file

Every key that a study's TOML file may have. `docs/study_file.py` writes this page from the schemas that read the
files, so that it says what they do. An unknown key is an error that names the nearest known one, and so is a value
that is not valid. How criteria are decided is said in [verdicts.md](verdicts.md), what is measured in
[metrics.md](metrics.md), what there is to learn in [tasks.md](tasks.md).
"""

#: What is said below a section's table.
AFTER = {
    "`[scales.NAME]`": """
Three scales have one meaning in all studies:

| scale | what it is |
|---|---|
| `quick` | a demonstration in minutes; its verdicts say "quick, not for citing" wherever they appear |
| `standard` | converged, 20 seeds or more, some two hours on two cores at most: what `reports/` publishes |
| `full` | more of everything, for clusters and GPUs |

A report says which of them it is of, in its first line and in the caption of each table.
""",
    "`[tuning]`": """
```toml
[tuning]
values = { learning_rate = [0.003, 0.01, 0.02, 0.04, 0.1] }
along = { thickness = [0.03] }
```

`ebm-vs-prob run` does it first, with trials in the same store and plans of their own (`SCALE.tuning-1` and on), and
stopped at any moment goes on where it was. `ebm-vs-prob plan` says what it costs, and what was chosen. The values and
scores of every arm stand in the stored plan and in the report. Tuned are the arms that are trained and whose method
has the option, but for those that give it in their own `options`; one value serves an arm on all tasks and at all
settings. A scale whose own choice of arms leaves none of them is not tuned.

An arm's score is the mean of its validation objective over seeds, tasks and settings, geometric where the metric
spans decades. A value of which a trial fails has none. The objective is the arm's `validation`, a metric of
[metrics.md](metrics.md) that is better on one side, or by default

| methods | objective |
|---|---|
| normalised | `log_score` |
| regression | `squared_error` |
| decision | `regret` |
| all others | `gibbs_log_score`, of the density that the energy stands for, at its fitted β |

It is taken on the held-out pairs of the tuning's seeds, which are none of the study's. Where a task's held-out rows
are the same for every seed, as those of `digits` and of data of your own, they would be the study's: nothing is tuned
on such a task.

An optimum at an edge is not known to be one. A value as far beyond it as it is from its neighbour, in ratio, is
tried, twice at most; an arm whose best still lies at an edge ends the run with all values and scores. Where it is
better than its neighbour by less than the standard error of their difference, trial by trial, the values there are a
plateau, and the neighbour is taken. Of equal scores the middle one counts, so that an option that makes no difference
to an arm stays in the middle.
""",
    "`network`": """
In place of the table, `network = "module:name"` names an energy of your own: a class or a function `task -> nn.Module`
as `evp.fit(energy=...)` takes, whose `forward(x (n, dx), y (n, dy))` gives `(n,)` energies, or of labels takes
`y (n,)`. The module is looked for as plugins are: installed, or beside the study's file. It needs no entry in
`plugins`. A trial is known by that name, and its record has a digest of the module's source, so that verdicts on
records of two versions of it are `undecided`.

Given under a scale it is the energy of all arms; an arm has another by a `network` of its own, and the package's by a
table (`network = { hidden = [32, 32] }`). A method that has no energy to replace, such as a regression, says so when
the study is planned. The plan tries each energy on each task, and counts its cost as that of a network of one hidden
layer that takes as many products. Trials of an own energy are trained one at a time and are never compiled, because
nobody knows that a module computes the same in company as alone.
""",
    "`[[ladders]]`": """
```toml
[[ladders]]
criterion = "C11-likelihood"
task = "circle"
```

The smaller budgets, by factors of four, are run in that cell alone, and decide nothing. Of a slope the cell is one
task over the criterion's range. A criterion without a ladder is decided as it is, and the report says that its
effects are those of one budget.
""",
    "`[[sensitivity]]`": """
```toml
[[sensitivity]]
name = "wider_network"
network = { hidden = [128, 128] }
scales = ["standard"]

[[sensitivity]]
name = "fewer_examples"
budget = { examples = 1000 }
criteria = ["C11-likelihood"]
```

The name is that of a budget in plans and in tables of results: these trials stand beside the scale's own, whose keys
and records stay as they are. Two entries may share a name where no scale asks both, as where one scale's second width
is the first of another. Rates are not tuned again, so that a model that is worse there may be one that wanted another
rate: what is asked is whether the verdict stands, not how good a network of that size can be. An entry whose trials
would all be the scale's own, as where every arm has a `network` of its own, is an error, and so is a criterion that
compares arms which train nothing.
""",
}


def of_what(schema: dict[str, Any]) -> str:
    """A type in words, from its JSON schema."""
    if "anyOf" in schema:
        return " or ".join(of_what(part) for part in schema["anyOf"] if part.get("type") != "null")
    if "const" in schema:
        return f"`{_toml(schema['const'])}`"
    if "enum" in schema:
        return " or ".join(f"`{_toml(value)}`" for value in schema["enum"])
    if "$ref" in schema:
        return "table"
    kind = schema.get("type", "value")
    if kind == "array":
        if "prefixItems" in schema:
            return f"list of {len(schema['prefixItems'])} {_many(of_what(schema['prefixItems'][0]))}"
        least = schema.get("minItems", 0)
        return f"list of {_many(of_what(schema['items']))}" + (f", {least} at least" if least > 1 else "")
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"table of {_many(of_what(inner))}" if isinstance(inner, dict) and inner else "table"
    return {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}[
        kind
    ] + _bounds(schema)


def _many(one: str) -> str:
    first, comma, rest = one.partition(",")
    words = first.split(" ", 1)
    plural = {"text": "texts", "number": "numbers", "whole": "whole", "table": "tables", "list": "lists"}
    found = " ".join([plural.get(words[0], words[0]), *words[1:]]).replace("whole number", "whole numbers")
    return found + comma + rest


def _bounds(schema: dict[str, Any]) -> str:
    """Least and most of a number; sizes that only mistakes reach are left out."""
    low = {"minimum": "≥ ", "exclusiveMinimum": "> "}
    return "".join(f", {sign}{schema[key]:g}" for key, sign in low.items() if key in schema and schema[key] > -1e9)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else f"{value}"


def _default(name: str, own: dict[str, Any], needed: list[str]) -> str:
    if name in needed:
        return "needed"
    value = own.get("default")
    return "" if value in (None, "", [], {}, ()) else f"`{_toml(value)}`"


def rows(schema: type[BaseModel]) -> list[tuple[str, str, str, str]]:
    """Key, type, default and meaning of each of its keys, in their order."""
    whole = schema.model_json_schema(by_alias=True)
    # A default that is made, an empty table, is none of the JSON schema's.
    made = {field.alias or name for name, field in schema.model_fields.items() if field.default_factory is not None}
    needed = [name for name in whole.get("required", []) if name not in made]
    return [
        (name, of_what(own), _default(name, own, needed), own.get("description", ""))
        for name, own in whole["properties"].items()
    ]


def table(schema: type[BaseModel]) -> str:
    """The table of a schema's keys."""
    lines = ["| key | type | default | what it is |", "|---|---|---|---|"]
    for name, kind, default, text in rows(schema):
        lines.append(re.sub(r"  +", " ", f"| `{name}` | {kind} | {default} | {text.replace('|', chr(92) + '|')} |"))
    return "\n".join(lines)


def page() -> str:
    """The whole page."""
    parts = [BEFORE]
    for heading, schema, tells in SECTIONS:
        said = f"{inspect.cleandoc(schema.__doc__ or '')}\n\n" if tells else ""
        parts.append(f"## {heading}\n{said}{table(schema)}\n{AFTER.get(heading, '')}")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
