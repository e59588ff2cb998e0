"""The standard panels that a new method is challenged on, each a study whose last arm is the method.

A panel is one of the files in `panels/`. Its rivals are the strongest of each family on tasks of one kind of answers;
those of some are read from a study at a scale, whose trials they then are.
"""

from __future__ import annotations

import json
import pkgutil
import re
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..core.atomic_files import write_atomically
from ..core.errors import invalid, unknown
from ..core.options import from_table
from ..core.registry import METHODS, TASKS
from .consistency import check_references
from .files import load_study
from .keys import digest
from .provenance import code_digest, plugin_digests, sources_beside
from .schema import Study
from .task_grids import TaskGrid
from .tuning import settled

CHALLENGER = "challenger"
SCALE = "panel"
#: In the order in which they are tried where none is asked for.
PANELS = ("real", "discrete", "strings", "strips", "decisions")
#: Beside a report: the panel's file, and with which code its challenger kept the rules.
FILE, CONFORMANCE = "study.toml", "conformance.json"
#: Letters of a study's name at most, as `values.Name` has them, and digits that tell two of one beginning apart.
_MOST_LETTERS, _DIGITS = 64, 8


def panel(
    method: str, plugins: tuple[str, ...] = (), folder: Path | None = None, name: str | None = None
) -> tuple[Study, str]:
    """The standard panel with a registered method as its challenger, and the TOML that it is read from.

    Args:
        plugins: modules that register it. folder: where they lie, by which two methods of one name are told apart.
        name: the panel, one of `PANELS`; the first that the method applies to by default.

    Raises:
        UnknownName: no such method, or no such panel.
        ValueError: the method applies to no task of the panel, with its reasons, or no study can name it.
    """
    kind = METHODS.get(method)
    if name is not None and name not in PANELS:
        raise unknown("panel", name, PANELS)
    reasons: list[str] = []
    for each in PANELS:
        text = panel_text(each)
        table = tomllib.loads(text)
        applies = []
        for grid in (from_table(TaskGrid, given, f"panel {each}") for given in table["tasks"]):
            reason = kind.why_not(TASKS.get(grid.kind)(**grid.options))
            applies += [] if reason else [grid.name]
            reasons += [f"{grid.name}: {reason}"] if reason and name in (None, each) else []
        if applies and name in (None, each):
            named = name_of(method, folder, each if name else "")
            left = applies if len(applies) < len(table["tasks"]) else []
            whole = _with_challenger(text, method, named, plugins, left)
            study = from_table(Study, tomllib.loads(whole), f"panel {each} with {method}")
            check_references(study)
            return study, whole
    raise invalid("method", method, f"one that applies to a task of a panel ({'; '.join(reasons)})")


def name_of(method: str, folder: Path | None, asked: str) -> str:
    """A name of a panel's study that no other challenge has: the method's, and digits where that does not tell.

    Names of studies are of small letters and not as long as those of methods, and two folders may have one method.

    Args:
        folder: where the module of the method lies; None where it is installed.
        asked: the panel that was asked for; "" of the first that the method applies to.
    """
    plain = re.sub(r"[^a-z0-9_]+", "_", method.lower())
    end = f"-{asked}" if asked else ""
    room = _MOST_LETTERS - len("challenge_") - len(end)
    if plain != method or len(plain) > room or folder is not None:
        end += f"-{digest([method, str(folder.resolve()) if folder else ''])[:_DIGITS]}"
        plain = plain[: room - _DIGITS - 1]
    return f"challenge_{plain}{end}"


def is_challenge(study: Study) -> bool:
    """Whether a study is a panel with a challenger: every criterion compares that arm with others."""
    return bool(study.criteria) and all(
        criterion.arms == (CHALLENGER,) and criterion.against and criterion.kind in ("ratio", "difference")
        for criterion in study.criteria
    )


def keep_panel(folder: Path, text: str, method: str, module: Path | None = None) -> Study:
    """Write the file of a panel whose challenger keeps the rules, with all that it needs, and read the study from it.

    Args:
        folder: gets `study.toml`, what was found of the rules, and the module with what it imports from its folder.
        module: the file of the lone module that registers the method.

    Raises:
        OSError: they cannot be written.
    """
    if module is not None:
        for source in sorted(sources_beside(module)):
            target = folder / source.relative_to(module.parent)
            if not (target.is_file() and target.samefile(source)):
                write_atomically(target, source.read_bytes())
    kept = {"method": method, "code_digest": code_digest(), "plugins": plugin_digests(METHODS.get(method))}
    write_atomically(folder / CONFORMANCE, (json.dumps(kept, sort_keys=True) + "\n").encode())
    write_atomically(folder / FILE, text.encode())
    return load_study(folder / FILE)


def kept_rules(study: Study) -> dict[str, Any]:
    """With which code of the package and of plugins the challenger kept the rules, as `keep_panel` wrote it, or {}."""
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads((study.path.parent / CONFORMANCE).read_bytes()) if study.path else None
        if isinstance(found, dict):
            return found
    return {}


def panel_text(name: str) -> str:
    """The TOML of a panel without a challenger; what it takes of a study, its table `as_in`, is written out."""
    data = pkgutil.get_data(__package__ or "", f"panels/{name}.toml")
    assert data is not None
    text = data.decode("utf-8")
    found = re.search(r"^\[as_in\]\n(?:.+\n)+", text, re.MULTILINE)
    if found is None:
        return text
    asked = tomllib.loads(found[0])["as_in"]
    tasks = [grid["name"] for grid in tomllib.loads(text)["tasks"]]
    return text.replace(found[0], _as_in(load_study(asked["study"]), asked["scale"], asked["arms"], tasks))


def _as_in(study: Study, name: str, arms: Sequence[str], tasks: Sequence[str]) -> str:
    """The scale of a panel of these tasks and its rivals, as a study has them at one of its scales, in TOML."""
    study, scale = settled(study, name), study.at(name)
    shared = {
        "seeds": scale.seeds,
        "network": scale.network,
        "budget": scale.budget,
        "evaluation": {**study.evaluation, **scale.evaluation},
    }
    tables = [f"[scales.{SCALE}]", *(f"{key} = {_toml(value)}" for key, value in shared.items())]
    for arm in map(study.arm, arms):
        own = {"name": arm.name, "label": arm.title, "method": arm.method, "options": arm.options}
        own |= {"network": arm.network} if arm.network else {}
        own |= {"tasks": here} if (here := [task for task in arm.tasks or tasks if task in tasks]) != [*tasks] else {}
        tables += ["", "[[arms]]", *(f"{key} = {_toml(value)}" for key, value in own.items())]
    return "\n".join(tables) + "\n"


def _toml(value: Any) -> str:
    """A value on one line; JSON strings, numbers and booleans are TOML's too."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_toml(item)}' for key, item in value.items())} }}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _with_challenger(text: str, method: str, name: str, plugins: tuple[str, ...], tasks: list[str]) -> str:
    """The panel's TOML under a name, with the method's arm at the end; JSON strings and lists are TOML's too."""
    own = f'name = "{name}"' + (f"\nplugins = {_toml(plugins)}" if plugins else "")
    arm = f'\n[[arms]]\nname = "{CHALLENGER}"\nlabel = {_toml(method)}\nmethod = {_toml(method)}\n'
    return text.replace('name = "challenge"', own, 1) + arm + (f"tasks = {_toml(tasks)}\n" if tasks else "")
