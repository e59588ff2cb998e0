"""The house: rooms on floors, an import only ever runs down, no circle, and neither family knows the other.

Every import counts, inside functions and for types alike: one that is lazy or type-only still ties two files together.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import ebm_vs_prob as evp

PACKAGE = Path(evp.__file__).parent
#: The rooms of each floor, from the ground up. The package itself, which re-exports, stands beside its pages.
FLOORS = (
    {"core"},
    {"tasks", "energies"},
    {"descent"},
    {"samplers"},
    {"gibbs"},
    {"models"},
    {"training", "metrics", "comparison"},
    {"ebm", "prob", "control", "study"},
    {"report", "testing", ""},
    {"cli"},
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FAMILIES = ("ebm", "prob")


def modules(package: Path) -> dict[str, Path]:
    """Every module below a package by its dotted name within it; the package itself is ""."""
    found = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(package: Path) -> Iterator[tuple[str, str]]:
    """(module, module it imports) for every import within a package, whatever its form."""
    known = modules(package)
    for name, path in known.items():
        inside = name.split(".") if name else []
        home = inside if path.name == "__init__.py" else inside[:-1]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            targets: list[list[str]] = []
            if isinstance(node, ast.ImportFrom):
                source = node.module.split(".") if node.module else []
                if node.level:
                    source = home[: len(home) - node.level + 1] + source
                elif source[:1] == [package.name]:
                    source = source[1:]
                else:
                    continue
                targets = [[*source, alias.name] for alias in node.names]
            elif isinstance(node, ast.Import):
                names = (alias.name.split(".") for alias in node.names)
                targets = [parts[1:] for parts in names if parts[0] == package.name]
            for target in targets:
                while ".".join(target) not in known:
                    target = target[:-1]
                if ".".join(target) != name:
                    yield name, ".".join(target)


def room(module: str) -> str:
    return module.partition(".")[0]


def circles(edges: set[tuple[str, str]]) -> list[list[str]]:
    """The strongly connected components of more than one module (Tarjan 1972)."""
    after: dict[str, list[str]] = {}
    for one, other in sorted(edges):
        after.setdefault(one, []).append(other)
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in after.get(module, ()):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            component = []
            while True:
                component.append(stack.pop())
                if component[-1] == module:
                    break
            if len(component) > 1:
                found.append(sorted(component))

    for module in sorted(after):
        if module not in index:
            visit(module)
    return found


def upward(edges: set[tuple[str, str]]) -> list[str]:
    """Imports between rooms that do not run down."""
    between = {(one, other) for one, other in edges if room(one) != room(other) and one}
    return sorted(f"{one} -> {other}" for one, other in between if FLOOR_OF[room(other)] >= FLOOR_OF[room(one)])


def test_every_module_stands_in_a_room():
    rooms = {room(name) for name in modules(PACKAGE)}
    assert rooms == set(FLOOR_OF)
    assert [name for name in modules(PACKAGE) if name and name == room(name) and not (PACKAGE / name).is_dir()] == []


def test_imports_run_down():
    assert upward(set(imports(PACKAGE))) == []


def test_no_file_imports_itself_by_a_detour():
    assert circles(set(imports(PACKAGE))) == []


def test_families_and_shared_rooms_are_apart():
    """Follows from the floors; said for itself because it is what a comparison of the two rests on."""
    shared = set().union(*FLOORS[:7])
    for one, other in imports(PACKAGE):
        if room(other) in FAMILIES:
            assert room(one) not in shared, f"{one} -> {other}"
            assert room(one) not in set(FAMILIES) - {room(other)}, f"{one} -> {other}"


@pytest.mark.parametrize(
    "source",
    [
        "from ..ebm import losses",
        "def late():\n    from ..ebm.losses import hinge",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..ebm.losses import hinge",
        "import house.ebm.losses",
        "from house.ebm.losses import hinge",
        "from house import ebm",
    ],
)
def test_an_import_in_any_form_is_seen(tmp_path, source):
    package = tmp_path / "house"
    for name in ("__init__", "core/__init__", "ebm/__init__", "ebm/losses", "core/low"):
        (package / f"{name}.py").parent.mkdir(parents=True, exist_ok=True)
        (package / f"{name}.py").write_text("")
    (package / "core/low.py").write_text(source)
    edges = set(imports(package))
    assert upward(edges) == [f"core.low -> {other}" for _, other in sorted(edges) if other]
    assert any(room(other) == "ebm" for _, other in edges)


def test_a_circle_is_seen(tmp_path):
    package = tmp_path / "house"
    package.mkdir()
    (package / "__init__.py").write_text("")
    for name, other in (("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")):
        (package / f"{name}.py").write_text(f"def late():\n    from .{other} import thing\n")
    assert circles(set(imports(package))) == [["a", "b", "c"]]
