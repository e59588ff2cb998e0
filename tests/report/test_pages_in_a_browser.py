# ruff: noqa: RUF001
"""Pages as a reader has them: opened in Chromium, on a desk and on a telephone, light and dark, printed, by keyboard.

They are made of planted results. Where playwright or a Chromium is missing, the tests are skipped and say so.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from study_files import copy_changed, registered_plugin, write_study
from synthetic_results import study_arrays, study_results
from test_challenged import challenged
from test_compared import ARMS, CRITERIA, moved

from ebm_vs_prob.report import page, write_all
from ebm_vs_prob.report.challenged import PAGE, challenge_pages
from ebm_vs_prob.report.compared import write_compared
from ebm_vs_prob.report.inputs import Inputs
from ebm_vs_prob.report.overview import write_overview
from ebm_vs_prob.study import Store, run_study
from ebm_vs_prob.study.comparing import compare_stores
from ebm_vs_prob.study.files import load_study

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]

WIDTHS = {"desk": (1440, 900), "telephone": (390, 844)}
SETTINGS = (0.3, 0.1, 0.01)
REPORTS = Path(__file__).parents[2] / "reports"
PUBLISHED = ["index.html", *sorted(f"{path.parent.name}/index.html" for path in REPORTS.glob("*/index.html"))]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A report of one task at three settings, one without energies whose verdict is qualified, the page over both."""
    study = load_study(Path(__file__).with_name("headline.toml"))
    circle = study.tasks[0].model_copy(update={"along": {"thickness": SETTINGS}})
    criteria = tuple(
        c.model_copy(update={"tasks": ("circle",), "at": tuple(e for e in c.at if e in SETTINGS)})
        for c in study.criteria
    )
    study = study.model_copy(update={"tasks": (circle,), "criteria": criteria})
    out = tmp_path_factory.mktemp("reports")
    index = page.write(Inputs(study, "quick", study_results(study), study_arrays(study, 33)), out)
    return SimpleNamespace(report=index, qualified=page.write(qualified(study), out), overview=write_overview(out))


def qualified(study):
    """Samples lie in the tube where the data are thick and not where they are thin; another task has one setting."""
    parts = {"kind": "value", "metric": "tube_mass", "arms": ("score",), "against": (), "at": (0.3, 0.01)}
    parts |= {"range": None, "above": 0.42, "below": None, "law": None, "primary": True, "claim": "C12"}
    criterion = study.criteria[0].model_copy(update=parts)
    alone = study.tasks[0].model_copy(update={"name": "alone", "along": {"thickness": (0.1,)}})
    tasks = {"name": "in_part", "tasks": (*study.tasks, alone), "criteria": (criterion,), "claims": ("C12",)}
    found = study.model_copy(update=tasks)
    results = study_results(found)
    thin = (results["metric"] == "tube_mass") & (results["setting"] == 0.01)
    results.loc[thin, "value"] *= 0.1
    return Inputs(found, "quick", results)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser):
    """Opens a file at a width; in the end nothing was fetched and no error said, but of the script that it `lacks`."""
    contexts, said = [], []

    def opened(path, width="desk", lacks="", **options):
        context = browser.new_context(viewport=dict(zip(("width", "height"), WIDTHS[width], strict=True)), **options)
        contexts.append(context)
        shown = context.new_page()

        def heard(message):
            if message.type in ("error", "warning") and not (lacks and lacks in message.location["url"]):
                said.append(message.text)

        shown.on("console", heard)
        shown.on("pageerror", lambda error: said.append(str(error)))
        shown.on(
            "request",
            lambda request: (
                said.append(request.url) if not request.url.startswith(("file:", "data:", "blob:")) else None
            ),
        )
        shown.goto(path.as_uri())
        if options.get("java_script_enabled", True) and shown.locator("#report-data").count():
            shown.wait_for_function("document.documentElement.classList.contains('scripted')")
        return shown

    yield opened
    for context in contexts:
        context.close()
    assert said == []


def drawn(shown):
    """Wait until every figure is drawn."""
    shown.wait_for_function(
        "document.querySelectorAll('figure.on').length === document.querySelectorAll('figure[data-spec]').length",
        timeout=60_000,
    )
    return shown


def overflow(shown):
    return shown.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def images(shown):
    return shown.evaluate("[...document.querySelectorAll('.hero .live image')].map(i => i.href.baseVal)")


def test_a_desk_has_the_answer_and_the_figure_on_its_first_screen(written, open_page):
    shown = drawn(open_page(written.report))
    card, hero = (shown.locator(f).first.bounding_box() for f in (".card .said", ".hero .live svg"))
    assert card["y"] + card["height"] < 900
    assert hero["y"] + hero["height"] < 900
    assert hero["x"] > card["x"] + card["width"]
    assert "grows as ε^−2.0" in shown.locator(".card .said").first.inner_text()
    assert "not for citing" in shown.locator(".kicker").inner_text()
    assert overflow(shown) <= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_telephone_scrolls_down_only_with_all_unfolded(written, open_page, scheme):
    shown = drawn(open_page(written.report, "telephone", color_scheme=scheme))
    assert overflow(shown) <= 0
    shown.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert overflow(shown) <= 0
    wide = shown.evaluate(
        "[...document.querySelectorAll('.live svg')].filter(s => s.getBoundingClientRect().right > 391).length"
    )
    assert wide == 0
    ink, paper = shown.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    lightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ink, paper)]
    assert (lightness[0] < lightness[1]) == (scheme == "light")


def test_the_slider_the_reading_and_the_arms_move_the_picture(written, open_page):
    shown = drawn(open_page(written.report))
    before = images(shown)
    assert len(before) == 4
    slider = shown.locator(".hero [data-signal=at] input")
    assert slider.get_attribute("aria-valuetext") == "ε = 0.01"
    slider.focus()
    shown.keyboard.press("Home")
    shown.wait_for_function("document.querySelector('.hero [data-signal=at] output').textContent === 'ε = 0.3'")
    thick = images(shown)
    assert set(thick) & set(before) == set()
    shown.locator(".hero input[value=rank]").check()
    shown.wait_for_function("first => document.querySelector('.hero .live image').href.baseVal !== first", arg=thick[0])
    shown.locator(".hero .pick summary").click()
    box = shown.locator(".hero [data-kind=arms] input:checked").first
    box.uncheck()
    shown.wait_for_function("document.querySelectorAll('.hero .live image').length === 3")
    symbols = "document.querySelectorAll('.hero .live .mark-symbol path').length"
    few = shown.evaluate(symbols)
    shown.locator(".hero input[value=samples]").check()
    shown.wait_for_function(f"{symbols} > {few}")


def test_a_table_sorts_hides_columns_and_follows_the_arms(written, open_page):
    shown = open_page(written.report)
    shown.locator("#table-circle > summary").click()
    table = shown.locator("#table-circle table")
    heads = table.locator("th:not(.off)")
    assert heads.count() == 6
    head = heads.nth(2)
    head.locator("button").click()
    column = head.evaluate("cell => cell.cellIndex")

    def keys():
        return table.evaluate(
            f"t => [...t.tBodies[0].rows].filter(r => !r.hidden).map(r => r.cells[{column}].dataset.key)"
        )

    def numbers():
        """Those that there are: rows without one stand last either way."""
        return [float(key) for key in keys() if key]

    assert head.get_attribute("aria-sort") == "ascending"
    assert numbers() == sorted(numbers())
    head.locator("button").click()
    assert numbers() == sorted(numbers(), reverse=True)
    assert "95 % from" in table.locator(f"tbody tr:first-child td:nth-child({column + 1})").get_attribute("title")
    shown.locator("#table-circle .pick summary").click()
    shown.locator("#table-circle .columns input:not(:checked)").first.check()
    assert table.locator("th:not(.off)").count() == 7
    rows = len(keys())
    shown.locator("#tables .arm-filter summary").click()
    shown.locator("#tables .arm-filter input").first.uncheck()
    assert len(keys()) == rows - len(SETTINGS)
    # The same arms are left out of the figures.
    assert not shown.locator("#tasks .arm-filter input").first.is_checked()


def test_rows_of_a_table_are_cards_on_a_telephone_and_sort_there(written, open_page):
    shown = open_page(written.report, "telephone")
    shown.locator("#table-circle > summary").click()
    assert not shown.locator("#table-circle thead").is_visible()
    shown.locator("#table-circle select").select_option("1")
    keys = shown.evaluate("[...document.querySelectorAll('#table-circle tbody tr')].map(r => +r.cells[1].dataset.key)")
    assert keys == sorted(keys)
    assert overflow(shown) <= 0


def test_without_scripts_still_drawings_stand_and_controls_do_not(written, open_page):
    shown = open_page(written.report, java_script_enabled=False)
    stills = shown.locator(".first .still svg")
    assert stills.count() >= 4  # a card a claim, and the energies
    assert all(stills.nth(i).is_visible() for i in range(stills.count()))
    assert not shown.locator(".hero .controls").is_visible()
    assert shown.locator(".hero .still image").count() == 4 * len(SETTINGS)


def test_a_clone_without_the_script_has_nothing_to_set_until_it_is_written(written, open_page, tmp_path):
    """Its pages were written with another version of the libraries, by whose content they know the script."""
    out = written.report.parents[1]
    clone = tmp_path / "reports"
    shutil.copytree(out, clone, ignore=shutil.ignore_patterns("assets"))
    path, name = clone / written.report.relative_to(out), "vega-0123456789ab.js"
    text, count = re.subn(r"vega-[0-9a-f]{12}\.js", name, path.read_text(encoding="utf-8"))
    assert count == 1
    path.write_text(text, encoding="utf-8")
    shown = open_page(path, lacks=name)
    assert shown.locator(".hero .still svg").first.is_visible()
    assert not shown.locator(".hero .controls").is_visible()
    assert "ebm-vs-prob report --all writes the script" in shown.locator(".hero .undrawn").inner_text()
    assert shown.locator(".hero .undrawn").is_visible()
    write_all(clone)
    shown = drawn(open_page(path))
    assert shown.locator(".hero .controls").is_visible()
    assert not shown.locator(".hero .undrawn").is_visible()


def test_in_print_all_is_unfolded_and_energies_are_small_multiples(written, open_page):
    shown = drawn(open_page(written.report))
    shown.evaluate("dispatchEvent(new Event('beforeprint'))")
    shown.emulate_media(media="print")
    assert shown.locator("details:not([open])").count() == 0
    assert shown.locator(".hero .still").first.is_visible()
    assert not shown.locator(".hero .live").first.is_visible()
    assert not shown.locator(".controls").first.is_visible()
    shown.evaluate("dispatchEvent(new Event('afterprint'))")
    assert shown.locator("details:not([open])").count() > 0


def test_in_print_folded_parts_are_shown_without_scripting_too(written, open_page):
    shown = open_page(written.report, java_script_enabled=False)
    folded = shown.locator("details:not([open], .pick, .arm-filter) > :not(summary, details)").all()
    assert folded
    assert not any(part.is_visible() for part in folded)
    shown.emulate_media(media="print")
    assert all(part.is_visible() for part in folded)


def printed(shown):
    """The page as it is laid out on paper: A4 within margins of a centimetre, all of it unfolded."""
    shown.set_viewport_size({"width": 718, "height": 1047})
    shown.evaluate("dispatchEvent(new Event('beforeprint'))")
    shown.emulate_media(media="print")
    return shown


def cut(shown):
    """Tables, drawings and texts that reach beyond the paper, or beyond what they stand in, by what they begin with."""
    return shown.evaluate("""() => {
        const seen = part => part.getClientRects().length > 0 && !part.closest(".hidden");
        const wide = document.documentElement.clientWidth;
        const beyond = part => part.scrollWidth > part.clientWidth || part.getBoundingClientRect().right > wide + 1;
        const boxes = [...document.querySelectorAll("main, .grid, .card, .cell, .claim, figure, pre")].filter(seen);
        const inner = [...document.querySelectorAll("table, figure svg, figure img")].filter(seen);
        const out = part => part.getBoundingClientRect().right > part.parentElement.getBoundingClientRect().right + 1;
        return [...boxes.filter(beyond), ...inner.filter(part => out(part))].map(part =>
            `${part.tagName}#${part.id}.${part.className.baseVal ?? part.className}: ${part.textContent.slice(0, 60)}`);
    }""")


def orphaned(shown):
    """Headings that paper may leave alone at the foot of a page: they allow a break behind them, or hold one inside."""
    return shown.evaluate("""() => [...document.querySelectorAll("h1, h2, h3, h4, summary, thead")]
        .filter(part => part.getClientRects().length > 0 && !part.closest(".hidden"))
        .filter(part => part.tagName === "THEAD" ? getComputedStyle(part).display !== "table-header-group"
            : getComputedStyle(part).breakAfter !== "avoid" || getComputedStyle(part).breakInside !== "avoid")
        .map(part => `${part.tagName}: ${part.textContent.slice(0, 60)}`)""")


@pytest.mark.parametrize("name", ["report", "qualified", "overview"])
def test_on_paper_nothing_is_cut_and_no_heading_is_left_alone(written, open_page, name):
    shown = printed(drawn(open_page(getattr(written, name))))
    assert shown.locator("details:not([open])").count() == 0
    assert overflow(shown) <= 0
    assert cut(shown) == []
    assert orphaned(shown) == []
    paper = shown.pdf(format="A4", margin=dict.fromkeys(("top", "right", "bottom", "left"), "1cm"))
    assert paper.startswith(b"%PDF")


def test_the_first_key_skips_to_the_verdicts_and_every_figure_tells_its_numbers(written, open_page):
    shown = drawn(open_page(written.report))
    shown.keyboard.press("Tab")
    assert shown.evaluate("document.activeElement.textContent") == "Skip to the verdicts"
    shown.keyboard.press("Enter")
    assert shown.evaluate("location.hash") == "#verdicts"
    labels = shown.evaluate("[...document.querySelectorAll('figure .live')].map(f => f.getAttribute('aria-label'))")
    assert len(labels) > 8
    assert all(re.search(r"\d", label) for label in labels)
    assert shown.evaluate(
        "[...document.querySelectorAll('.still svg')].every(s => s.querySelector('title') && s.querySelector('desc'))"
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_the_overview_filters_by_tag_and_leads_to_the_claims_of_reports(written, open_page, width):
    shown = open_page(written.overview, width)
    assert shown.locator(".claim").count() == 20
    assert overflow(shown) <= 0
    shown.locator("button[data-tag=thin]").click()
    visible = shown.evaluate("[...document.querySelectorAll('.claim:not([hidden])')].map(c => c.id)")
    assert visible == ["C4", "C11", "C12", "C14"]
    shown.locator("#C11 .cell").click()
    shown.wait_for_url("**/thin_manifold/index.html#claim-C11")
    assert shown.locator("#claim-C11").is_visible()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["report", "qualified", "overview"])
def test_each_page_is_as_wide_as_its_window_and_its_first_key_skips_to_the_answers(written, open_page, name, width):
    shown = drawn(open_page(getattr(written, name), width))
    assert overflow(shown) <= 0
    shown.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert overflow(shown) <= 0
    shown.keyboard.press("Tab")
    assert shown.evaluate("document.activeElement.textContent").startswith("Skip to the ")
    shown.keyboard.press("Enter")
    place = shown.evaluate("location.hash")
    assert place == ("#claims" if name == "overview" else "#verdicts")
    assert shown.locator(place).bounding_box()["y"] < 60
    said = shown.evaluate("[...document.querySelectorAll('figure .live')].map(f => f.getAttribute('aria-label'))")
    assert all(re.search(r"\d", each) for each in said)
    bare = "s => !s.querySelector('title')?.textContent || !/\\d/.test(s.querySelector('desc')?.textContent)"
    assert shown.evaluate(f"[...document.querySelectorAll('.still svg')].filter({bare}).length") == 0
    unnamed = "e => !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length)"
    controls = "[...document.querySelectorAll('a, button, summary, input, select')]"
    assert shown.evaluate(f"{controls}.filter({unnamed}).length") == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_a_slider_over_beta_moves_the_density_and_says_where_the_fitted_one_is(written, open_page, width):
    shown = drawn(open_page(written.report, width))
    slider = shown.locator(".hero [data-signal=beta]")
    assert not slider.is_visible()
    shown.locator(".hero input[value=density]").check()
    below = shown.locator(".hero .live text").filter(has_text=re.compile("^β .* nats$"))
    below.first.wait_for()
    assert below.count() == 4
    assert slider.locator("output").inner_text() == "the fitted β"
    assert slider.locator("small").inner_text() == "▲ fitted"
    fitted, first = images(shown), below.first.text_content()
    slider.locator("input").focus()
    shown.keyboard.press("ArrowRight")
    shown.wait_for_function(
        "first => document.querySelector('.hero .live image').href.baseVal !== first", arg=fitted[0]
    )
    assert slider.locator("input").get_attribute("aria-valuetext") == "β = 2 × fitted"
    assert below.first.text_content() != first
    number = [float(re.match(r"β ([\d.]+)", text)[1]) for text in (first, below.first.text_content())]
    assert number[1] == pytest.approx(2 * number[0], rel=0.02)
    assert overflow(shown) <= 0
    shown.locator(".hero input[value=raw]").check()
    slider.wait_for(state="hidden")
    assert not set(images(shown)) & set(fitted)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_qualified_verdict_shows_both_sides_and_the_figure_of_its_metric_stands_beside_it(written, open_page, width):
    shown = drawn(open_page(written.qualified, width))
    card = shown.locator(".card.qualified")
    assert [text[:16] for text in card.locator(".said b").all_inner_texts()] == ["✓ Holds:", "✗ Does not hold:"]
    sides = card.locator(".said").all_inner_texts()
    assert "at ε = 0.3, the share of samples inside the tube is 0.7" in sides[0]
    assert "at ε = 0.01, the share of samples inside the tube is 0.0" in sides[1]
    assert "◐ qualified" in card.locator(".badge").inner_text()
    label = card.locator(".live").get_attribute("aria-label")
    assert re.findall(r"\], (\w+)\.", label) == ["supported", "refuted"]
    marks = card.locator(".live .mark-symbol path").evaluate_all(
        "paths => [...new Set(paths.map(path => path.getAttribute('d')))]"
    )
    assert len(marks) >= 3  # a seed, a circle and a cross
    assert shown.locator(".first .beside figure.on").count() == 1
    # The task at one setting is drawn in rows, with the names of its arms beside them.
    shown.locator("#task-alone details.all > summary").click()
    names = shown.locator("#task-alone .live text").all_text_contents()
    assert "Mean-square regression" in names
    assert overflow(shown) <= 0


def test_a_table_sorts_by_keyboard_and_its_names_lead_into_what_is_folded(written, open_page):
    shown = open_page(written.report)
    shown.locator("#table-circle > summary").click()
    head = shown.locator("#table-circle th:not(.off)").nth(2)
    head.locator("button").focus()
    shown.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    head.locator("a").click()
    term = shown.locator("dt:target")
    assert term.is_visible()
    assert term.get_attribute("id").startswith("metric-")
    shown.locator("#table-circle td a").first.click()
    shown.wait_for_function("location.hash.startsWith('#method-of-')")
    assert shown.locator("dt:target").is_visible()


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The reports of the repository as a clone has them once their script is written, which it need not keep."""
    folder = tmp_path_factory.mktemp("published") / "reports"
    shutil.copytree(REPORTS, folder, ignore=shutil.ignore_patterns("records.zip", "tables", "assets"))
    write_all(folder)
    shutil.copy2(REPORTS / "index.html", folder)  # as it is published, not as it was written just now
    return folder


@pytest.mark.long
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_page_says_no_error_and_is_as_wide_as_its_window_and_as_paper(published, open_page, name, width):
    shown = drawn(open_page(published / name, width))
    assert overflow(shown) <= 0
    shown.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert overflow(shown) <= 0
    if width == "desk":
        assert cut(printed(shown)) == []
        assert overflow(shown) <= 0


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The page of two stores of which one has moved."""
    folder = tmp_path_factory.mktemp("compared")
    with registered_plugin():
        path = write_study(folder / "rings.toml", ARMS, seeds=10, extra=CRITERIA)
        run_study(path, engine="serial", device="cpu", store=folder / "first", progress=False)
        first = Store(folder / "first")
        second = copy_changed(first, folder / "second", "rings", moved)
        return write_compared(compare_stores(first, second), first, second, folder / "compared.html")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_of_two_stores_shows_both_intervals_of_what_moved(compared, open_page, width, scheme):
    shown = open_page(compared, width, color_scheme=scheme)
    assert overflow(shown) <= 0
    answer = shown.locator(".question").bounding_box()
    assert answer["y"] + answer["height"] < shown.locator(".flip").first.bounding_box()["y"]
    assert shown.locator(".flip").first.bounding_box()["y"] < WIDTHS[width][1]
    assert shown.locator("figure svg").count() == 3
    bars = "[...document.querySelectorAll('figure svg')].map(s => s.querySelectorAll('.mark-symbol path').length)"
    assert shown.evaluate(bars) == [2, 2, 2]
    shown.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert overflow(shown) <= 0
    assert shown.locator("thead").first.is_visible() == (width == "desk")
    ink, paper = shown.evaluate(
        "[getComputedStyle(document.querySelector('figure svg')).color, "
        "getComputedStyle(document.body).backgroundColor]"
    )
    lightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ink, paper)]
    assert (lightness[0] < lightness[1]) == (scheme == "light")
    shown.keyboard.press("Tab")
    assert shown.evaluate("document.activeElement.textContent") == "Skip to the answer"


@pytest.fixture(scope="module")
def challenge_page(tmp_path_factory):
    """The page of a challenge with every outcome."""
    inputs = challenged()
    path = tmp_path_factory.mktemp("challenged") / PAGE
    path.write_text(challenge_pages(inputs, inputs.verdicts(), page.html())[PAGE], encoding="utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_of_a_challenge_answers_first_and_shows_every_interval(challenge_page, open_page, width, scheme):
    shown = open_page(challenge_page, width, color_scheme=scheme)
    assert overflow(shown) <= 0
    answer = shown.locator(".question").bounding_box()
    assert answer["y"] + answer["height"] < shown.locator("figure").first.bounding_box()["y"] < WIDTHS[width][1]
    assert shown.locator("figure svg").count() == 6
    outside = (
        "[...document.querySelectorAll('figure svg text')].filter(text => { const box = text.getBoundingClientRect(), "
        "frame = text.closest('svg').getBoundingClientRect(); "
        "return box.left < frame.left - 1 || box.right > frame.right + 1; }).length"
    )
    assert shown.evaluate(outside) == 0
    shown.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert overflow(shown) <= 0
    assert shown.locator("thead").first.is_visible() == (width == "desk")
    ink, paper = shown.evaluate(
        "[getComputedStyle(document.querySelector('figure svg')).color, "
        "getComputedStyle(document.body).backgroundColor]"
    )
    lightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ink, paper)]
    assert (lightness[0] < lightness[1]) == (scheme == "light")
    shown.keyboard.press("Tab")
    assert shown.evaluate("document.activeElement.textContent") == "Skip to the answer"
