"""The page on study files is written from the schemas that read them."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from study_files import CRITERION, write_study

from ebm_vs_prob.core.options import Options
from ebm_vs_prob.study import load_study
from ebm_vs_prob.study.tuning import OBJECTIVES

DOCS = Path(__file__).parents[2] / "docs"
WRITER = runpy.run_path(str(DOCS / "study_file.py"))
PAGE = (DOCS / "study_file.md").read_text(encoding="utf-8")


def test_the_page_is_what_the_schemas_say():
    assert WRITER["page"]() == PAGE, "run python docs/study_file.py"


@pytest.mark.parametrize(("heading", "schema", "_"), WRITER["SECTIONS"], ids=lambda part: getattr(part, "__name__", ""))
def test_every_key_is_described_with_its_default(heading, schema, _):
    rows = {name: (kind, default, text) for name, kind, default, text in WRITER["rows"](schema)}
    assert set(rows) == {field.alias or name for name, field in schema.model_fields.items()}
    for name, field in schema.model_fields.items():
        kind, default, text = rows[field.alias or name]
        assert kind
        assert text, f"{schema.__name__}.{name} has no description"
        assert (default == "needed") == field.is_required()
    assert f"## {heading}" in PAGE
    assert issubclass(schema, Options)


def test_examples_on_the_page_load(tmp_path):
    examples = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(examples) == 3
    criterion = CRITERION.replace('id = "slope"', 'id = "C11-likelihood"')
    path = write_study(tmp_path / "rings.toml", thickness="0.3, 0.03", extra=criterion + "\n".join(examples))
    path.write_text(path.read_text().replace("[scales.quick]", "[scales.standard]"))
    study = load_study(path)
    assert study.tuning.along == {"thickness": (0.03,)}
    assert study.ladders[0].rungs == 3
    assert [entry.name for entry in study.held_at("standard").sensitivity] == ["wider_network", "fewer_examples"]


def test_objectives_on_the_page_are_those_of_the_code():
    listed = dict(re.findall(r"^\| (regression|decision) \| `(\w+)` \|$", PAGE, re.MULTILINE))
    assert listed == OBJECTIVES
