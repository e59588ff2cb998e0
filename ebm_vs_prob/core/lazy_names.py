"""Names of a package that load their modules when first used, read from the stub that type checkers read."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
from collections.abc import Callable
from typing import Any


def attach_stub(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package whose `__init__.pyi` says `from .module import name as name`.

    A name is stored in the package when it is first asked for, so that it is looked up once.
    """
    stub = pkgutil.get_data(package, "__init__.pyi")
    assert stub is not None
    home_of = {
        alias.name: "." * node.level + (node.module or "")
        for node in ast.parse(stub).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    names = sorted(home_of)

    def __getattr__(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(home_of[name], package), name)
        setattr(sys.modules[package], name, value)
        return value

    return __getattr__, lambda: [*names, *(n for n in vars(sys.modules[package]) if n not in home_of)], names
