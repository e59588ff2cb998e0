"""The site of the docs: a page for everything that is registered, all of them in its navigation, and a strict build."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from mkdocs.config import load_config
from mkdocs.exceptions import PluginError

import ebm_vs_prob as evp
from ebm_vs_prob.core.bibliography import papers
from ebm_vs_prob.report.citation_styles import link
from ebm_vs_prob.report.style import minus
from ebm_vs_prob.study import list_studies, load_study
from ebm_vs_prob.study.claims import REGISTER

ROOT = Path(__file__).parents[1]
SITE = ROOT / "docs" / "site"
CONFIGURATION = SITE / "mkdocs.yml"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def site() -> tuple[ModuleType, Any]:
    """The hooks as the site's builder loads them, and its configuration with the navigation that they make."""
    config = load_config(str(CONFIGURATION))
    hooks = config.hooks["hooks.py"]
    hooks.on_config(config)
    return hooks, config


@pytest.fixture(scope="module")
def pages(site) -> dict[str, str]:
    """Every generated page by its place."""
    return site[0].pages()


def in_navigation(section: Any) -> Iterator[str]:
    """The places of all pages of a navigation, in order."""
    if isinstance(section, str):
        yield section
    else:
        for each in section.values() if isinstance(section, dict) else section:
            yield from in_navigation(each)


def own(entries: list[Any]) -> list[Any]:
    return [entry for entry in entries if entry.__module__.startswith("ebm_vs_prob.")]


def test_all_that_is_registered_has_a_page(pages):
    expected = {f"methods/{method.name}.md" for method in own(evp.list_methods())}
    expected |= {f"tasks/{task.name}.md" for task in own(evp.list_tasks())}
    expected |= {f"claims/{name}.md" for name in REGISTER} | {f"studies/{name}.md" for name in list_studies()}
    assert expected <= set(pages)
    assert set(pages) - expected == {"claims.md"} | {place for place in pages if place.startswith("reference/")}


def test_every_page_is_in_the_navigation_once(site, pages):
    hooks, config = site
    places = list(in_navigation(config.nav))
    written = {page.name for page in (ROOT / "docs").glob("*.md")}
    assert sorted(places) == sorted({*pages, *written, *hooks.ELSEWHERE})


def test_every_public_name_is_in_the_reference_once(pages):
    text = "\n".join(page for place, page in pages.items() if place.startswith("reference/"))
    places = re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE)
    names = [place.rpartition(".")[2] for place in places if not place.startswith("ebm_vs_prob.testing.")]
    assert sorted(names) == sorted(set(evp.__all__) - {"__version__"})
    for place in places:
        module, _, name = place.rpartition(".")
        assert hasattr(importlib.import_module(module), name), place


@pytest.mark.parametrize("entry", own([*evp.list_methods(), *evp.list_tasks()]), ids=lambda entry: entry.name)
def test_a_page_has_every_option_and_every_paper(entry, pages):
    page = pages[f"{'methods' if entry in evp.list_methods() else 'tasks'}/{entry.name}.md"]
    for option in entry.Options.model_fields:
        assert re.search(rf"^\| `{option}` \|", page, re.MULTILINE), option
    for paper in papers(entry):
        assert link(paper) in page
        assert paper.fields["year"] in page


@pytest.mark.parametrize("task", own(evp.list_tasks()), ids=lambda task: task.name)
def test_a_task_has_a_figure_a_script_that_draws_it_and_both_in_the_docs(task, pages):
    figure, script = (f"figures/task_{task.name}.{kind}" for kind in ("png", "py"))
    assert f"](../{figure})" in pages[f"tasks/{task.name}.md"]
    assert f"Draws task_{task.name}.png: " in (ROOT / "docs" / script).read_text(encoding="utf-8")
    text = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
    assert f"({figure})" in text
    assert re.search(rf"drawn\]\({script}\)", text)


def test_figures_of_tasks_are_light():
    assert sum(figure.stat().st_size for figure in (ROOT / "docs" / "figures").glob("task_*.png")) < 1.5e6


def test_a_method_says_where_it_applies(pages):
    applies, declines = pages["methods/softmax_classifier.md"].split("\n\nIt declines:\n\n")
    assert "[`gaussian_classes`](../tasks/gaussian_classes.md)" in applies
    assert "[`circle`](../tasks/circle.md)" in declines
    assert "its answers are real vectors, and softmax_classifier gives labels" in declines
    assert "[`softmax_classifier`]" in pages["tasks/gaussian_classes.md"]
    assert "[`softmax_classifier`]" not in pages["tasks/circle.md"]


@pytest.mark.parametrize("name", REGISTER)
def test_a_claim_has_its_words_its_mathematics_its_criteria_and_its_verdict(name, pages):
    page, claim = pages[f"claims/{name}.md"], REGISTER[name]
    assert claim.text in page
    assert claim.quote in page
    said = page.split("## In mathematics\n\n")[1].split("## What is asked")[0]
    assert 'class="law"' in said
    for study in map(load_study, list_studies()):
        for criterion in (c for c in study.criteria if c.claim == name):
            rows = [row for row in page.splitlines() if row.startswith(f"| `{criterion.id}`")]
            bounds = [minus(f"{value:g}") for value in (criterion.above, criterion.below) if value is not None]
            assert any(all(bound in row for bound in bounds) and criterion.metric in row for row in rows), criterion.id
    report = ROOT / "reports" / claim.home / "verdicts.json"
    told = json.loads(report.read_text(encoding="utf-8")) if report.exists() else []
    verdicts = [each["verdict"] for each in told if each["scope"] == "claim" and each["claim"] == name]
    (shown,) = re.findall(r'<p class="verdict \w+">Verdict: (.*)</p>', page)
    assert verdicts[0] in shown if verdicts else shown == "not published yet"


def test_the_mathematics_is_of_the_claims_that_there_are():
    text = (SITE / "mathematics.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == list(REGISTER)
    assert text.count("<p ") == text.count("</p>")


@pytest.mark.parametrize(
    ("place", "written", "led"),
    [
        ("your_data.md", "[a](tasks.md#data)", "[a](tasks.md#data)"),
        ("index.md", "[a](docs/tasks.md)", "[a](tasks.md)"),
        ("index.md", "[a](CONTRIBUTING.md)", "[a](contributing.md)"),
        ("studies.md", "[a](../studies/descent.toml)", "[a](studies/descent.md)"),
        ("index.md", "[a](reports/thin_manifold/report.md)", "[a](reports/thin_manifold/index.html)"),
        ("claims/C1.md", "[a](../studies/descent.md)", "[a](../studies/descent.md)"),
        ("verdicts.md", "| C1 | words |", "| [C1](claims/C1.md) | words |"),
        ("methods.md", "| `hinge` | ebm |", "| [`hinge`](methods/hinge.md) | ebm |"),
    ],
)
def test_links_lead_where_they_do_in_the_repository(place, written, led, site):
    page = SimpleNamespace(file=SimpleNamespace(src_uri=place), meta={})
    known = SimpleNamespace(get_file_from_path=lambda path: path == "methods/hinge.md")
    assert site[0].on_page_markdown(written, page=page, files=known) == led


@pytest.mark.parametrize(
    "fetched",
    [
        '<script src="https://example.org/a.js"></script>',
        '<link rel="stylesheet" href="https://example.org/a.css">',
        "<link rel=preconnect href=https://example.org>",
        '<img alt="" src="http://example.org/a.png">',
    ],
)
def test_a_page_that_would_fetch_something_is_refused(fetched, site):
    page = SimpleNamespace(file=SimpleNamespace(src_uri="a.md"))
    with pytest.raises(PluginError, match=r"a\.md would fetch"):
        site[0].on_post_page(f"<p>text</p>{fetched}", page=page)
    harmless = '<a href="https://example.org">a</a><script src="a.js"></script>'
    assert site[0].on_post_page(harmless, page=page) == harmless


def test_cells_know_their_columns_and_bars_in_code_are_bars(site):
    table = "<table><thead><tr><th>a</th><th><code>b</code></th></tr></thead><tbody><tr>"
    html = site[0].on_page_content(f"{table}<td>1</td><td><code>x_1\\|y</code></td></tr></tbody></table>")
    assert '<td data-label="a">1</td><td data-label="b"><code>x_<wbr>1|y</code></td>' in html


def test_names_in_reports_lead_to_their_pages_where_there_are_any(site):
    published = sys.modules["published"]
    html = (
        'study small · <a href="#method-of-hinge">Hinge</a> <a href="#task-of-round">round</a> '
        '<a href="#metric-regret">regret</a> <a href="#method-of-own">own</a> '
        '<a href="../index.html#C11">C11</a> <a href="../index.html#C99">C99</a> '
        '<dt id="method-of-hinge">Hinge</dt><dt id="method-of-own">own</dt>'
    )
    there = {"methods/hinge.html", "tasks/circle.html", "metrics.html#regret", "claims/C11.html", "studies/small.html"}
    led = published.link_report(f"· {html}", there.__contains__, {"round": "circle"})
    assert re.findall(r'href="([^"]*)"', led) == [
        "../../studies/small.html",
        "../../methods/hinge.html",
        "../../tasks/circle.html",
        "../../metrics.html#regret",
        "#method-of-own",
        "../../claims/C11.html",
        "../index.html#C99",
        "../../methods/hinge.html",
    ]
    assert '<dt id="method-of-hinge"><a ' in led
    assert '<dt id="method-of-own">own' in led
    heads = "<h2>C1. One</h2><h2>C99. None</h2>"
    assert published.link_overview(heads, {"claims/C1.html"}.__contains__) == (
        '<h2><a href="../claims/C1.html">C1</a>. One</h2><h2>C99. None</h2>'
    )


def test_scripts_and_what_makes_the_site_are_no_pages(site):
    _, config = site
    for name in ("tables.py", "study_file.py", "site/mkdocs.yml", "site/generated.py", "site/mathematics.md"):
        assert config.exclude_docs.match_file(name), name
    for name in ("figures/bracket.py", "site/style.css", "tasks.md"):
        assert not config.exclude_docs.match_file(name), name


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder of the site, built as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    build = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--quiet",
        "--strict",
        "-f",
        str(CONFIGURATION),
        "-d",
        str(folder),
    ]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(build, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return folder


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_has_what_it_names(built, pages):
    for place in [*pages, "index.md", "first_hour.md"]:
        html = (built / place).with_suffix(".html").read_text(encoding="utf-8")
        assert not re.search(r'<(?:script|img|link)\b[^>]*(?:src|href)="?https?:', html), place
    assert 'id="gibbs_gap"' in (built / "metrics.html").read_text(encoding="utf-8")
    assert "num_samples" in (built / "reference" / "models.html").read_text(encoding="utf-8")
    assert (built / "reports" / "thin_manifold" / "index.html").exists()
    assert list((built / "reports" / "assets").glob("*.js"))


@pytest.mark.slow
def test_reports_in_the_site_lead_to_its_pages(built):
    for name, study in ((path.parent.name, load_study(path)) for path in (built / "reports").glob("*/study.toml")):
        page = built / "reports" / name / "index.html"
        led = set(re.findall(r'href="(\.\./[^"]*)"', page.read_text(encoding="utf-8")))
        scale = json.loads((ROOT / "reports" / name / "result.json").read_text(encoding="utf-8"))["scale"]
        study = study.held_at(scale)
        for method in {
            arm.method for arm in study.arms if not study.at(scale).arms or arm.name in study.at(scale).arms
        }:
            assert f"../../methods/{method}.html" in led
        for grid in study.tasks:
            assert f"../../tasks/{grid.kind}.html" in led
        for criterion in study.criteria:
            assert f"../../metrics.html#{criterion.metric}" in led
        assert {f"../../claims/{claim}.html" for claim in study.claims} <= led
        for target in (each for each in led if not each.startswith("../assets")):
            path, _, anchor = target.partition("#")
            assert not anchor or f'id="{anchor}"' in (page.parent / path).read_text(encoding="utf-8"), target
            assert (page.parent / path).is_file(), target
    overview = (built / "reports" / "index.html").read_text(encoding="utf-8")
    for name in REGISTER:
        assert f'href="../claims/{name}.html"' in overview
        assert (built / "claims" / f"{name}.html").is_file()


@pytest.mark.uses_global_generator  # by playwright, as it starts
@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [1440, 390])
def test_pages_are_read_from_the_disk_at_any_width(width, built):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
        for place in ("index", "methods", "methods/hinge", "tasks/circle", "claims/C11", "metrics", "reference/models"):
            page.goto((built / f"{place}.html").as_uri())
            page.wait_for_timeout(300)
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, place
        assert said == []
        if width == 1440:
            page.click(".md-search__input")
            page.keyboard.type("langevin")
            found = page.locator(".md-search-result__item a[href*='contrastive_divergence']").first
            found.wait_for(state="attached", timeout=10_000)
        browser.close()
