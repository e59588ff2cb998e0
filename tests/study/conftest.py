"""What tests of studies share."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest
from study_files import registered_plugin


@pytest.fixture
def plugin() -> Iterator[ModuleType]:
    """`study_plugin`, whose methods are registered."""
    with registered_plugin() as module:
        yield module
