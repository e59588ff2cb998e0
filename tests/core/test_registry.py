"""Names of tasks and methods: whatever lies in a folder is found at the first look-up, and not before."""

from __future__ import annotations

import sys

import pytest

from ebm_vs_prob.core.registry import Registry

MODULE = """
from __main_registry__ import REGISTRY

@REGISTRY.register
class Dropped:
    name = "dropped"
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    package = tmp_path / "dropped_entries"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "dropped_entries"
    for name in ("dropped_entries", "dropped_entries.one"):
        sys.modules.pop(name, None)


def test_a_file_in_a_folder_is_found_at_the_first_look_up(folder, monkeypatch):
    registry = Registry("thing", (folder,))
    monkeypatch.setitem(sys.modules, "__main_registry__", type("Holder", (), {"REGISTRY": registry}))
    assert f"{folder}.one" not in sys.modules
    assert [entry.name for entry in registry.entries()] == ["dropped"]
    with pytest.raises(LookupError, match="did you mean 'dropped'"):
        registry.get("droped")
