# ruff: noqa: RUF001
"""Tables and text for a paper: they compile in two columns, and say what the page says."""

from __future__ import annotations

import re
import string

import pandas as pd
import pytest
from latex_document import built, needs_tex

from ebm_vs_prob.core.registry import METHODS, TASKS
from ebm_vs_prob.metrics.catalogue import METRICS
from ebm_vs_prob.report.citation_styles import plain
from ebm_vs_prob.report.latex import MOST_COLUMNS, label_of, to_latex, to_latex_text
from ebm_vs_prob.report.training_tables import TITLES
from ebm_vs_prob.study import list_studies, load_study

TEXTS = (
    string.punctuation,
    *string.punctuation,
    "[1]",
    "*",
    "Schröder, Çelik, naïve, ž",
    "ε = 10⁻³ ± ½, β → ∞",
    "Ω ≤ σ",
)


def long_table(rows, columns=MOST_COLUMNS):
    """A table as long as a study makes them, with every character that means something."""
    texts = (TEXTS * (rows * columns // len(TEXTS) + 1))[: rows * columns]
    cells = {"arm": [f"Hinge, margin by distance {k % 7}" for k in range(rows)]}
    for k in range(1, columns):
        cells[f"{TEXTS[k]} {k}"] = [
            f"0.{r:03} [−0.{r:03}, 1.{r:03}] {texts[r * columns + k]}"[:40] for r in range(rows)
        ]
    return pd.DataFrame(cells)


def test_a_table_has_the_columns_that_a_page_has_room_for():
    text = to_latex(long_table(3, 20), "A caption", "tab:a:b")
    assert text.count(r"\arraybackslash}p{") == MOST_COLUMNS
    shares = [float(share) for share in re.findall(r"p\{([\d.]+)\\textwidth\}", text)]
    assert sum(shares) < 1
    assert min(shares) > 0


@pytest.mark.parametrize("rows", [1, 40, 41, 200])
def test_a_long_table_goes_on_in_further_floats_and_loses_no_row(rows):
    text = to_latex(long_table(rows), "A caption", "tab:a:b")
    floats = text.split(r"\begin{table*}")[1:]
    assert len(floats) == text.count(r"\end{table*}")
    assert text.count(r"\label{tab:a:b}") == 1
    assert [r"\caption{A caption}\label{tab:a:b}" in each for each in floats] == [True] + [False] * (len(floats) - 1)
    assert all(r"\caption{Table~\ref{tab:a:b}, continued.}" in each for each in floats[1:])
    assert text.count("Hinge, margin by distance") == rows
    assert (len(floats) > 1) == (rows > 20)


def test_labels_are_of_one_table_each_over_all_studies():
    names = ("criteria", "slopes", "failures", *TITLES)
    labels = [
        label_of(study.name, table)
        for study in map(load_study, list_studies())
        for table in (*(grid.name for grid in study.tasks), *names)
    ]
    assert len(labels) == len(set(labels))
    assert len(labels) > 100
    assert all(re.fullmatch(r"tab:[\w-]+:[\w-]+", label) for label in labels)


def test_every_text_of_the_package_has_its_characters():
    texts = {text for metric in METRICS.values() for text in (metric.label, metric.unit)}
    for study in map(load_study, list_studies()):
        texts |= {study.title, *(arm.title for arm in study.arms), *(each.statement for each in study.criteria)}
    texts |= {entry.summary for registry in (METHODS, TASKS) for entry in registry.entries()}
    for text in texts:
        found = to_latex_text(text)
        assert found.isascii()
        assert found.count("?") == text.count("?"), text


@pytest.mark.parametrize(
    "text", ["Schröder", "Çelik", "naïve", "ž ń ő", "ε, σ and Ω", "10⁻³", "50 % & a_1", "< a > b |", "½"]
)
def test_what_was_spelt_for_latex_is_read_back(text):
    assert plain(to_latex_text(text)) == text


@needs_tex
def test_a_paper_of_two_columns_takes_tables_of_any_text(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name, rows in (("short", 2), ("long", 120)):
        caption = f"All of {''.join(TEXTS)}, {name}"
        (source / f"{name}.tex").write_text(to_latex(long_table(rows), caption, label_of("a_study", name)))
    labels = [label_of("a_study", name) for name in ("short", "long")]
    said = built(tmp_path, sorted(source.glob("*.tex")), labels)
    assert "undefined" not in said
    assert "multiply defined" not in said
    assert "Float too large" not in said
    assert all(float(points) < 12 for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide", said))
