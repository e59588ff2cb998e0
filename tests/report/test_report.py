# ruff: noqa: RUF001
"""Reports from planted inputs: complete, readable without a network, small, escaped."""

from __future__ import annotations

import json
import re
import warnings
import zipfile
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from latex_document import built, needs_tex
from synthetic_results import row, study, study_arrays, study_results, table

from ebm_vs_prob.core.registry import METHODS
from ebm_vs_prob.metrics import METRICS
from ebm_vs_prob.report import (
    bibtex,
    downloads,
    exploratory,
    figures,
    glossary,
    guides,
    intervals,
    landscapes,
    page,
    pictures,
    rendering,
    sections,
    style,
    tables,
    words,
)
from ebm_vs_prob.report.album import Album
from ebm_vs_prob.report.densities import FACTORS
from ebm_vs_prob.report.escaping import read_script_data
from ebm_vs_prob.report.inputs import Inputs, flatten, origin
from ebm_vs_prob.report.overview import write_overview
from ebm_vs_prob.report.page import _origin
from ebm_vs_prob.report.sharing import unfold
from ebm_vs_prob.study.comparisons import Cell
from ebm_vs_prob.study.files import load_study
from ebm_vs_prob.study.judging import judge
from ebm_vs_prob.study.verdicts import Verdict

EVIL = '<script>alert("$x_1$ | 50% & \\textbf{}")</script>'
#: A study of three tasks and nine arms, whatever the packaged one has become.
HEADLINE = Path(__file__).with_name("headline.toml")
FAILED = (("circle", "likelihood_raw", 0.003, 4), ("circle", "likelihood_raw", 0.003, 7))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The whole report of the headline study, with one arm that has a hostile label and two failed trials."""
    study = load_study(HEADLINE)
    arms = tuple(arm.model_copy(update={"label": EVIL}) if arm.name == "margin" else arm for arm in study.arms)
    study = study.model_copy(update={"arms": arms})
    keep = {"circle": (0.3, 0.01, 0.003, 0.0), "three_curves": (0.01,), "digits": ()}
    results = study_results(study, failed=FAILED)
    kept = [eps in (keep[task] or (eps,)) for task, eps in zip(results["task"], results["thickness"], strict=True)]
    inputs = Inputs(
        study,
        "quick",
        results[kept].reset_index(drop=True),
        {k: v for k, v in study_arrays(study, 24).items() if k[2] in (keep[k[0]] or (k[2],))},
        {"versions.torch": ("2.13.0",), "commit": ("abc", "def")},
        ({"arm": "exact", "task": "digits", "reason": "no exact density"},),
        identifier="evp-0123456789abcdef",
    )
    out = tmp_path_factory.mktemp("reports")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        index = page.write(inputs, out)
        write_overview(out)
    return SimpleNamespace(index=index, folder=index.parent, inputs=inputs, html=index.read_text(encoding="utf-8"))


def test_its_latex_is_for_a_paper_of_two_columns(written):
    for path in sorted((written.folder / "tables").glob("*.tex")):
        text = path.read_text(encoding="ascii")
        assert re.findall(r"\\label\{(.*?)\}", text) == [f"tab:thin_manifold:{path.stem}"]
        first = text.partition(r"\end{table*}")[0]
        assert first.count(r"\arraybackslash}p{") <= 8
        assert "result evp-0123456789abcdef" in first
    criteria = (written.folder / "tables" / "criteria.tex").read_text(encoding="ascii")
    assert "criterion & task & arm & against & at & estimate [95~\\%] & asked & verdict" in criteria
    assert "result evp-0123456789abcdef" in (written.folder / "citation.bib").read_text(encoding="utf-8")
    assert written.html.count("evp-0123456789abcdef") == 3  # at its head, with what made it, in its citation


@needs_tex
def test_its_latex_compiles_with_its_citations(written, tmp_path):
    paths = sorted((written.folder / "tables").glob("*.tex"))
    labels = [f"tab:thin_manifold:{path.stem}" for path in paths]
    said = built(tmp_path, paths, labels, written.folder / "citation.bib")
    assert not re.search("undefined|multiply defined|Float too large", said)


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.sources, self.headings, self._heading = [], [], [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if tag == "a" and "href" in found else []
        self.sources += [found["src"]] if "src" in found else []
        self._heading = tag == "h2"

    def handle_data(self, data):
        if self._heading and data.strip():
            self.headings.append(data.strip())


def test_page_needs_no_network_and_its_links_lead_somewhere(written):
    parsed = _Page(written.html)
    assert not {"link", "iframe"} & set(parsed.tags)
    scripts = [source for source in parsed.sources if not source.startswith("data:image/")]
    assert [source.rpartition("/")[0] for source in scripts] == ["../assets"]
    assert (written.folder / scripts[0]).read_text(encoding="utf-8") == rendering.script()
    assert "url(http" not in written.html
    assert "@import" not in written.html
    assert len(parsed.ids) == len(set(parsed.ids))
    assert_links_lead_somewhere(written.index)
    assert_links_lead_somewhere(written.folder.parent / "index.html")


def assert_links_lead_somewhere(page):
    """What a page links to exists: the file, and the place in it."""
    parsed = _Page(page.read_text(encoding="utf-8"))
    for link in parsed.links:
        file, _, place = link.partition("#")
        if not link.startswith("https://"):
            target = page.parent / file if file else page
            assert target.is_file(), link
            assert not place or place in _Page(target.read_text(encoding="utf-8")).ids, link


def test_names_in_tables_criteria_and_figures_lead_to_what_they_mean(written):
    parsed, looks = _Page(written.html), written.inputs.looks()
    method = {arm.name: arm.method for arm in written.inputs.study.arms}
    for name in looks:
        assert f"#method-of-{method[name]}" in parsed.links
    for task in written.inputs.tasks:
        assert f"#task-of-{task}" in parsed.links
    for metric in written.inputs.results["metric"].dropna().unique():
        if metric not in ("multiply_adds", "energy_evaluations", "seconds"):  # costs have no figure
            assert f"#metric-{metric}" in parsed.links
    for criterion in written.inputs.study.criteria:
        assert f"#criterion-{criterion.id}" in parsed.links
    for claim in written.inputs.study.claims:
        assert {f"../index.html#{claim}", f"#detail-{claim}"} <= set(parsed.links)


def test_verdicts_come_first_then_figures_then_tables(written):
    headings = _Page(written.html).headings
    assert headings == [
        "Verdicts", "Claims", "Tasks", "Tables", "Criteria", "Exploratory", "Failures and omissions",
        "Names and papers", "Make it again", "Cite",
    ]  # fmt: skip
    markdown = (written.folder / "report.md").read_text(encoding="utf-8")
    order = [markdown.index(f"\n## {name}") for name in ("Verdicts", "Task: circle", "Tables", "Exploratory", "Cite")]
    assert order == sorted(order)


def test_hostile_text_is_shown_and_never_interpreted(written):
    assert re.findall(r"<script[^>]*>", written.html) == [
        '<script type="text/plain" id="report-data">',
        re.search(r'<script src="\.\./assets/vega-[0-9a-f]+\.js">', written.html)[0],
        "<script>",
    ]
    assert "&lt;script&gt;" in written.html
    data = re.search(r'id="report-data">(.*?)</script>', written.html, re.DOTALL)[1]
    assert any(EVIL in row for row in unfold(read_script_data(data))["data"]["curves-circle"]["rows"])
    markdown = (written.folder / "report.md").read_text(encoding="utf-8")
    assert "<script" not in markdown
    assert "<nan>" not in markdown + written.html
    latex = (written.folder / "tables" / "circle.tex").read_text(encoding="utf-8")
    assert "\\textbf{}" not in latex
    assert r"\textbackslash{}textbf\textbraceleft{}\textbraceright{}" in latex
    assert r"50\% \& " in latex
    drawn = ElementTree.parse(written.folder / "figures" / "criterion_C12-fixed-step.svg").iter()
    assert any(EVIL in "".join(part.itertext()) for part in drawn if part.tag.endswith("text"))


def test_markdown_tables_are_whole_and_its_figures_exist(written):
    markdown = (written.folder / "report.md").read_text(encoding="utf-8")
    links = re.findall(r"!\[.*?\]\(([^)]*)\)", markdown)
    assert len(links) >= 6
    assert all((written.folder / link).is_file() for link in links)
    widths = {}
    for number, line in enumerate(markdown.splitlines()):
        if line.startswith("|"):
            count = len(re.findall(r"(?<!\\)\|", line))
            assert count == widths.get(number - 1, count), line
            widths[number] = count


def test_failures_are_counted_in_their_row_and_listed_with_the_reason(written):
    rows = tables.task_table(written.inputs, "circle")
    row_of = rows[(rows["arm"] == "Likelihood, raw data") & (rows["ε"] == "0.003")].iloc[0]
    assert (row_of["failed"], row_of["seeds done"]) == ("2", "8 of 10")
    listed = tables.failures_table(written.inputs)
    assert listed[["arm", "seeds", "reason"]].to_numpy().tolist() == [
        ["Likelihood, raw data", "4, 7", "training: step 40: loss is <nan> & more"]
    ]
    assert "loss is &lt;nan&gt; &amp; more" in written.html


def test_every_arm_thickness_and_cost_is_in_the_table(written):
    rows = tables.task_table(written.inputs, "circle")
    assert len(rows) == 9 * 4
    assert rows["budget"].eq("equal steps").all()
    assert rows["multiply-adds"].eq("3.1×10⁹").all()
    assert (rows.loc[rows["principle"].str.startswith("exact"), "steps"] == "–").all()


def test_numbers_for_machines_agree_with_the_results(written):
    frame = pd.read_csv(written.folder / "tables" / "circle_metrics.csv")
    here = frame[(frame["arm"] == "score") & (frame["thickness"] == 0.01) & (frame["metric"] == "tube_mass")].iloc[0]
    results = written.inputs.results
    values = results[
        (results["task"] == "circle") & (results["arm"] == "score") & (results["thickness"] == 0.01)
        & (results["metric"] == "tube_mass")
    ]["value"]  # fmt: skip
    assert here["estimate"] == pytest.approx(values.mean())
    assert here["median"] == pytest.approx(values.median())
    assert here["low"] < here["estimate"] < here["high"]
    assert (here["n"], here["without_value"]) == (10, 0)
    seeds = pd.read_csv(written.folder / "tables" / "circle_seeds.csv")
    own = seeds[(seeds["arm"] == "score") & (seeds["thickness"] == 0.01)]
    assert own["tube_mass"].tolist() == pytest.approx(values.tolist())


def test_verdicts_on_the_page_are_those_of_the_file(written):
    verdicts = json.loads((written.folder / "verdicts.json").read_text(encoding="utf-8"))
    claims = {v["claim"]: v["verdict"] for v in verdicts if v["scope"] == "claim"}
    assert set(claims) == {"C11", "C12", "C17"}
    assert claims["C11"] == "undecided"  # two of the ten seeds of likelihood on raw data failed at one thickness
    for claim, verdict in claims.items():
        assert re.search(rf'<article class="card {verdict} drawn" id="claim-{claim}">', written.html)
    assert sum(v["scope"] == "comparison" for v in verdicts) == 2 + 4 + 4 + 10


def test_sizes(written):
    sizes = {path.name: path.stat().st_size for path in written.folder.rglob("*") if path.is_file()}
    assert max(sizes.values()) < 1.5e6, sizes


def test_a_second_report_is_the_same_and_leaves_nothing_of_the_first(tmp_path):
    study = load_study(HEADLINE)
    only = study.model_copy(update={"tasks": study.tasks[2:], "criteria": ()})
    results = study_results(only)
    inputs = Inputs(only, "quick", results, study_arrays(only))
    first = page.write(inputs, tmp_path)
    text = first.read_text(encoding="utf-8")
    (first.parent / "figures").mkdir(exist_ok=True)
    old = [first.parent / name for name in ("figures/old.png", "challenge.html", "challenge.md")]
    for path in old:
        path.write_bytes(b"old")
    assert page.write(inputs, tmp_path).read_text(encoding="utf-8") == text
    assert not any(path.exists() for path in old)
    assert "the study has no criterion for it" in text


def test_an_earlier_report_stays_whole_until_the_next_one_is(tmp_path):
    """Whatever is being made when it ends, and as Ctrl-C ends it."""
    study = load_study(HEADLINE)
    only = study.model_copy(update={"tasks": study.tasks[2:], "criteria": ()})
    inputs = Inputs(only, "quick", study_results(only), study_arrays(only))
    said = []
    page.write(inputs, tmp_path, said.append)

    def files():
        return {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    before = files()
    for last in said:

        def stop(told, last=last):
            if told == last:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            page.write(inputs, tmp_path, stop)
        assert files() == before


def test_a_report_of_another_scale_leads_to_the_page_over_all(tmp_path):
    study = load_study(HEADLINE)
    only = study.model_copy(update={"tasks": study.tasks[2:], "criteria": ()})
    inputs = Inputs(only, "quick", study_results(only), study_arrays(only))
    index = page.write(inputs, tmp_path, below="quick")
    write_overview(tmp_path)
    assert index == tmp_path / "quick" / only.name / "index.html"
    led = re.findall(r'(?:href|src)="(\.\./[^"#]*)', index.read_text(encoding="utf-8"))
    assert led
    for target in led:
        assert (index.parent / target).resolve().is_file(), target
    assert not (tmp_path / "quick" / "index.html").exists()


def test_a_page_offers_the_studys_file_and_its_records_the_same_each_time(tmp_path):
    study = load_study(HEADLINE)
    records = {key: {"trial": key, "value": n} for n, key in enumerate("ba")}
    plan = {"study": study.name, "scale": "quick", "device": "cpu", "runs": "", "package": "", "file": {}}
    plan = {"schema": 2, **plan, "conditions": [], "skipped": []}
    inputs = Inputs(study, "quick", pd.DataFrame(columns=["task"]), plan=plan, records=records)
    files = [name for name, _ in downloads.write(inputs, tmp_path)]
    assert files == ["study.toml", "records.zip"]
    assert (tmp_path / "study.toml").read_bytes() == HEADLINE.read_bytes()
    first = (tmp_path / "records.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "records.zip") as archive:
        assert archive.namelist() == ["plan.json", "records.jsonl"]
        assert [json.loads(line) for line in archive.read("records.jsonl").splitlines()] == [records["a"], records["b"]]
    # Made again from the copy, which is its own source.
    own = replace(inputs, study=load_study(tmp_path / "study.toml"))
    downloads.write(own, tmp_path)
    assert (tmp_path / "study.toml").read_bytes() == HEADLINE.read_bytes()
    assert (tmp_path / "records.zip").read_bytes() == first


def test_a_claim_of_the_studys_own_is_said_in_the_words_of_its_primary_criterion(tmp_path):
    """One claim with criteria, of which one decides, and one without: no sentence and no element is empty."""
    study = load_study(HEADLINE)
    criteria = [each.model_copy(update={"claim": "mine", "tasks": ("digits",)}) for each in study.criteria[:3]]
    criteria[2] = criteria[2].model_copy(update={"statement": ""})
    criteria = [each.model_copy(update={"primary": i == 1}) for i, each in enumerate(criteria)]
    only = study.model_copy(update={"tasks": study.tasks[2:], "criteria": tuple(criteria), "claims": ("mine", "bare")})
    index = page.write(Inputs(only, "quick", study_results(only), study_arrays(only)), tmp_path)
    text, markdown = (path.read_text(encoding="utf-8") for path in (index, index.parent / "report.md"))
    said = criteria[1].statement
    assert f"<h3>{said}</h3>" in text
    assert f'<h3><span><a href="../index.html#mine">mine</a>. {said}</span>' in text
    assert '<h3><span><a href="../index.html#bare">bare</a></span>' in text
    assert f"<summary>{criteria[2].id} " in text
    assert re.findall(r"<(span|h[1-4]|p)\b[^>]*>[\s.]*</\1>", text) == []
    assert f"\n| mine: {said} |" in markdown
    assert "\n| bare | " in markdown
    assert "****" not in markdown
    assert "**.**" not in markdown


def curves_of(inputs, task):
    return {task: figures.curve_data(inputs, task, tables.every_metric(inputs, task))}


def svg_of(inputs, name):
    curves = curves_of(inputs, "circle")
    spec = figures.metric_chart(inputs, [("circle", "tube_mass")], curves)
    return rendering.to_svg(spec, {"curves-circle": curves["circle"]}, name, "a <title>", "said & done")


def test_svg_keeps_the_numbers_that_are_read_and_follows_the_scheme(written):
    svg = svg_of(written.inputs, "one")
    root = ElementTree.fromstring(svg)
    assert [root.find(f"{{*}}{tag}").text for tag in ("title", "desc")] == ["a <title>", "said & done"]
    assert root.get("aria-labelledby").split() == [root.find(f"{{*}}{tag}").get("id") for tag in ("title", "desc")]
    assert ">0.003<" in svg
    assert style.INK not in svg
    assert "currentColor" in svg
    other = svg_of(written.inputs, "two")
    assert not set(re.findall(r' id="([^"]*)"', svg)) & set(re.findall(r' id="([^"]*)"', other))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]*)', svg)) <= set(re.findall(r' id="([^"]*)"', svg))


def test_axis_thins_to_the_right_with_zero_beyond():
    place = guides.positions([0.3, 0.03, 0.003, 0.0])
    assert place[0.3] < place[0.03] < place[0.003] < place[0.0]
    assert place[0.03] - place[0.3] == pytest.approx(1.0)
    assert place[0.0] - place[0.003] == pytest.approx(1.0)
    assert f"{guides.positions([1.0])[1.0]:.3f}" == "0.000"  # as Vega writes it, which looks its label up by it


def test_arms_stand_nearer_to_their_own_setting_than_to_another():
    study = load_study(HEADLINE)
    close = study.tasks[0].model_copy(update={"along": {"thickness": (1.0, 0.9, 0.3)}})
    study = study.model_copy(update={"tasks": (close,), "criteria": ()})
    curves = curves_of(Inputs(study, "quick", study_results(study)), "circle")["circle"]
    place = guides.positions([1.0, 0.9, 0.3])
    for point in curves["rows"]:
        own = float(point[curves["columns"].index("at")].removeprefix("ε = "))
        x = point[curves["columns"].index("place")]
        assert min(place, key=lambda at: abs(place[at] - x)) == own


def test_log_axes_follow_the_seeds_and_are_cut_at_round_off():
    study = load_study(HEADLINE)
    name = "sample_distance_median"
    results = table(lambda arm, eps, seed: 1e-17 if eps == 0 else eps, name, ("exact",))
    inputs = Inputs(study, "quick", results)
    spec = figures.metric_chart(inputs, [("circle", name)], curves_of(inputs, "circle"))
    for layer in spec["concat"][0]["layer"]:
        scale = layer["encoding"]["y"]["scale"]
        assert scale["type"] == "log"
        low, high = scale["domain"]
        assert 1e-6 < low < 1e-5
        assert 0.3 < high < 1.0


def test_every_metric_has_a_group_with_a_title_and_a_scale_that_its_unit_allows():
    for metric in METRICS.values():
        assert metric.group in style.GROUPS, metric.name
        assert (metric.scale == "share") == (metric.unit == "share"), metric.name
        assert metric.label, metric.name
    assert len({metric.label for metric in METRICS.values()}) == len(METRICS)
    assert style.in_order(sorted(METRICS)) == list(METRICS)
    assert style.metric_look("unheard_of").label == "unheard of"
    assert style.in_words("posterior_r_hat_max") == "R-hat of chains, largest"
    assert style.in_words("elbo_gap") == "ELBO gap to the likelihood"


def test_landscape_ranks_forget_the_scale_and_keep_the_order():
    energy = np.random.default_rng(0).normal(size=(5, 7))
    ranks = pictures.energy_ranks(energy)
    assert np.allclose(ranks, pictures.energy_ranks(np.exp(3 * energy) - 40))
    assert ranks.argmin() == energy.argmin()
    assert ranks.mean() == pytest.approx(0.5)
    assert np.allclose(pictures.energy_ranks(np.zeros((3, 3))), 0.5)
    assert np.isnan(pictures.energy_ranks(np.array([[np.inf, 1.0]]))).tolist() == [[True, False]]


def test_landscape_axes_are_not_exchanged():
    """The energy is least where axis_0 is largest: dark pixels stand at the right of the image."""
    import base64
    import io

    from PIL import Image

    values = -np.broadcast_to(np.linspace(-1, 1, 8)[:, None], (8, 8))
    uri = pictures.landscape_image(values, -1.0, 1.0)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("L"), dtype=float)
    assert pixels[:, -1].max() < pixels[:, 0].min()
    tilted = pictures.landscape_image(values.T, -1.0, 1.0)  # the second axis points up
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(tilted.partition(",")[2]))).convert("L"), dtype=float)
    assert pixels[0].max() < pixels[-1].min()


def test_readings_of_an_energy_are_nats_above_the_data_shares_of_its_depth_and_order():
    axis = np.linspace(-2.0, 2.0, 41)
    first, second = np.meshgrid(axis, axis, indexing="ij")
    angle = np.linspace(0, 6, 50)
    bowl = 5.0 * (np.hypot(first, second) - 1) ** 2 - 7.0
    arrays = {"axis_0": axis, "axis_1": axis, "energy": bowl, "data_y": np.stack([np.cos(angle), np.sin(angle)], 1)}
    read = pictures.readings(arrays)
    assert bowl.min() == pytest.approx(-7.0, abs=0.05)  # its level says nothing ...
    assert abs(read["raw"].min()) < 0.05  # ... so that of the data is taken away
    assert np.median(read["free"]) == pytest.approx(1.0)
    scaled = pictures.readings({**arrays, "energy": 32 * bowl})
    assert np.allclose(scaled["free"], read["free"])
    assert np.allclose(scaled["rank"], read["rank"])
    assert np.allclose(scaled["raw"], 32 * read["raw"])


def test_a_task_is_shown_at_every_setting_with_every_arm_that_has_a_landscape(written):
    one = landscapes.hero(written.inputs, "circle")
    assert one.settings == (0.3, 0.01, 0.003, 0.0)
    assert one.settings[one.start] == 0.003  # the thinnest that has a width
    assert len(one.shown) == 4
    assert "Likelihood, raw data" in one.shown
    assert "Exact log-density" in one.shown
    images = pd.DataFrame(one.datasets["images-circle"]["rows"], columns=one.datasets["images-circle"]["columns"])
    assert len(images) == len(one.looks) * 4 * (3 + len(FACTORS))
    assert not images.duplicated(["arm", "at", "reading", "step"]).any()
    assert landscapes.hero(written.inputs, "digits") is None
    # The digits vary along nothing and have no plane: their metrics stand in rows, with the names of arms beside them.
    shown = (written.folder / "index.html").read_text(encoding="utf-8")
    assert "All metrics of digits" in shown


def test_a_digit_is_paired_with_what_was_made_for_its_own_x():
    arrays = {"answers_x": np.array([[0.0, 1.0], [1.0, 1.0]]), "answers_y": np.array([[10.0], [20.0]])}
    assert pictures._with_same_x(arrays, "answers", np.array([1.0, 1.0])) == [20.0]
    assert pictures._with_same_x(arrays, "answers", np.array([1.0, 0.0])) is None


def test_digits_are_shown_as_pictures_and_a_chain_with_as_many_symbols_as_pixels_is_not(written):
    study = written.inputs.study
    pixels = {arm: arrays for (task, arm, _), arrays in written.inputs.arrays.items() if task == "digits"}
    assert {arrays["data_y"].shape[-1] for arrays in pixels.values()} == {64}

    def strips(kind):
        grid = study.grid("digits").model_copy(update={"name": "planted", "task": kind})
        arrays = {("planted", arm, 0.02): found for arm, found in pixels.items()}
        inputs = replace(written.inputs, study=study.model_copy(update={"tasks": (grid,)}), arrays=arrays)
        return pictures.digit_strips(inputs, "planted")

    assert [strip["label"] for strip in strips("digits")[:2]] == ["x, a sketch", "held-out y"]
    assert strips("labelled_chain") == []
    assert 'id="digits_gallery"' in written.html


def test_slopes_table_shows_the_planted_exponent():
    study = load_study(HEADLINE)
    results = table(lambda arm, eps, seed: max(eps, 1e-4) ** -2.0 * (1 + 0.001 * seed), "curvature_p95", ("exact",))
    slopes = exploratory.slopes_table(Inputs(study, "quick", results))
    assert slopes.loc[0, "Raw curvature"].startswith("−2.00")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0.0, "0"), (1.234, "1.23"), (-0.01234, "−0.0123"), (np.nan, "–")),
        *((123456.0, "1.23×10⁵"), (1.5e-7, "1.5×10⁻⁷")),
        # Rounded up to the next power of ten.
        *((9.9999e-6, "1×10⁻⁵"), (-9.999e5, "−1×10⁶"), (9.9999e-5, "0.000100"), (99999.7, "1×10⁵"), (99.97, "100")),
    ],
)
def test_numbers(value, text):
    assert style.plain(value) == text


def test_intervals_show_as_many_digits_as_they_warrant():
    assert style.with_interval(0.12345, 0.11, 0.14) == "0.123 [0.110, 0.140]"
    assert style.with_interval(12.345, 10.0, 15.0) == "12.3 [10.0, 15.0]"
    assert style.with_interval(-2.0, -2.04, -1.96) == "−2.000 [−2.040, −1.960]"
    assert style.with_interval(3.0, np.nan, np.nan) == "3.00"


def test_bibtex_cites_what_was_used_and_nothing_else():
    grid = SimpleNamespace(name="scans", kind="digits", options={}, along={})
    held = {"criteria": [SimpleNamespace(metric="branch_kl")], "gates": [SimpleNamespace(metric="log_score")]}
    own = {"a": {}, "b": {"objective": "nce"}, "never_run": {"objective": "crps"}}
    arms = [SimpleNamespace(name=name, method="mixture_density", options=given) for name, given in own.items()]
    arms += [SimpleNamespace(name="c", method="gibbs_variational_bayes", options={"rank": 2})]
    steered = SimpleNamespace(name="steered", kind="steering", options={}, along={"abstention": [0.1, 0.2]})
    study = SimpleNamespace(name="planted_one", title="50% & more", tasks=[grid, steered], arms=arms, **held)
    ran = {"a": "mixture_density", "b": "mixture_density", "c": "gibbs_variational_bayes", "d": "coupling_flow"}
    rows = [row("scans", arm, 0.1, 0, "recall", 1.0, method=method) for arm, method in ran.items()]
    rows += [row("steered", "a", 0.1, 0, "recall", 1.0, method="mixture_density")]
    text = bibtex(study, pd.DataFrame(rows))
    keys = re.findall(r"@\w+\{([^,]+),", text)
    assert len(keys) == len(set(keys))
    assert {"ebm_vs_prob", "lecun2020energy", "bingham2019pyro", "kumar2019arviz", "bishop1994mixture"} <= set(keys)
    assert "alpaydin1998optical" in keys
    assert {"wenliang2020blindness", "zhang2022healing", "good1952rational"} <= set(keys)
    # A method that did not run, and a metric by which nothing is decided.
    assert not {"vincent2011connection", "naeem2020reliable"} & set(keys)
    # What an option has that an arm gives, at a value named or at any but the default; and what no arm has.
    assert {"gutmann2012noise", "ong2018gaussian", "durkan2019neural", "chow1970optimum"} <= set(keys)
    assert not {"grimit2006continuous", "hyvarinen2005estimation", "roeder2017sticking", "carvalho2010horseshoe"} & set(
        keys
    )
    assert r"planted\_one: 50\% \& more" in text
    assert text.count("{") == text.count("}")


def test_a_criterion_of_a_value_is_about_the_metric_itself():
    planted = SimpleNamespace(
        id="V", claim="C10", statement="s", kind="value", metric="angle_ks", arms=["a"], against=(), tasks=["circle"],
        at=(0.1, 0.0), range=None, above=0.08, below=None, law=None, primary=True,
    )  # fmt: skip
    results = table(lambda arm, eps, seed: 0.12 + 0.001 * seed, "angle_ks", ("a",))
    verdicts = judge(study(planted, claims=("C10",)), results, range(10))
    said = words.say(verdicts[0], {"a": "Arm A"})
    assert said.sentence.startswith("For “Arm A” on circle at ε = 0.1, the KS distance of angles is 0.12")
    assert "; asked for a value above 0.08: reached." in said.sentence
    assert said.number.startswith("KS distance of angles: 0.12")
    assert tables.criteria_table(verdicts, {"a": "Arm A"})["quantity"].tolist() == ["KS distance of angles"] * 2
    rows, shared = intervals.forest_rows(verdicts[:1], {"a": "Arm A"}, every=True)
    assert [row["label"] for row in rows] == ["ε = 0.1", "ε = 0"]
    assert shared == "Arm A, circle"
    assert axis_of(intervals.forest_chart(verdicts[:1], {"a": "Arm A"})) == ("linear", "KS distance of angles")


@pytest.mark.parametrize(
    ("metric", "unit", "found", "number"),
    [
        ("descent_success_line_search", "share", "success by line search is a share of 0.917", "a share of +0.917"),
        ("descent_success_line_search", "", "success by line search is a share of 0.917", "a share of +0.917"),
        ("tube_mass", "share", "share of samples inside the tube is 0.917", "share of samples inside the tube: +0.917"),
        ("multiply_adds", "count", "number of multiply-adds is 0.917", "number of multiply-adds: +0.917"),
        ("gibbs_gap", "nats", "is 0.917 nats", ": +0.917 nats"),
        ("angle_ks", "1", "KS distance of angles is 0.917", "KS distance of angles: +0.917"),
    ],
)
def test_a_number_in_a_sentence_and_on_a_badge_has_its_unit(metric, unit, found, number):
    verdict = Verdict("comparison", "C12", "supported", "", kind="difference", metric=metric, unit=unit, arm="a",
                      against="b", task="t", estimate=0.917, low=0.9, high=0.93, above=0.1)  # fmt: skip
    said = words.say(verdict, {})
    assert f"{found} above that for “b” (difference" in said.found
    assert said.number.endswith(number)


def axis_of(spec):
    """Kind and title of the axis of intervals."""
    (x,) = {
        (layer["encoding"]["x"]["scale"]["type"], " ".join(layer["encoding"]["x"].get("title")))
        for layer in spec["layer"]
        if "scale" in layer["encoding"].get("x", {})
    }
    return x


def test_values_decades_apart_are_drawn_on_a_logarithmic_axis_and_only_where_they_are_positive():
    def scale(low: float, kind: str = "value", bound: float = 1e-3) -> str:
        cells = tuple(Cell((eps,), v, low * v, 1.1 * v, 10, 0, 0.01, True) for eps, v in ((0.1, 1e-1), (0.01, 1e-4)))
        verdict = Verdict("comparison", "C10", "supported", "", kind=kind, metric="m", arm="a", task="t", cells=cells)
        return axis_of(intervals.forest_chart([replace(verdict, below=bound)], {}, every=True))[0]

    assert scale(0.9) == "log"
    assert scale(-0.9) == scale(0.9, "difference") == scale(0.9, bound=-1.0) == "linear"


def test_a_claim_is_said_with_quantity_effect_interval_bound_and_law_and_a_qualified_one_from_both_sides():
    slope = SimpleNamespace(
        id="S", claim="C11", statement="s", kind="slope", metric="curvature_p95", arms=["a"], against=(),
        tasks=["circle"], at=None, range=(0.003, 0.3), above=None, below=-1.5, law=-2.0, primary=True,
    )  # fmt: skip
    results = table(lambda arm, eps, seed: max(eps, 1e-3) ** -1.18 * (1 + 0.01 * seed), "curvature_p95", ("a",))
    *parts, claim = judge(study(slope), results, range(10))
    (said,) = words.claim_says(claim, parts, {"a": "Arm A"})
    assert said.found == "For “Arm A” on circle, the raw curvature grows as ε^−1.18 [−1.1800, −1.1800]"
    assert said.asked == "asked for an exponent below −1.5 (law −2): not so, the whole interval lies beyond"
    value = SimpleNamespace(**{**vars(slope), "kind": "value", "metric": "tube_mass", "at": (0.3, 0.01), "range": None,
                               "below": None, "above": 0.5, "law": None})  # fmt: skip
    results = table(lambda arm, eps, seed: (0.8 if eps > 0.1 else 0.2) + 0.001 * seed, "tube_mass", ("a",))
    *parts, claim = judge(study(value), results, range(10))
    assert claim.verdict == "qualified"
    holds, fails = words.claim_says(claim, parts, {"a": "Arm A"})
    assert (holds.verdict, fails.verdict) == ("supported", "refuted")
    assert "at ε = 0.3, the share of samples inside the tube is 0.80" in holds.found
    assert "at ε = 0.01, the share of samples inside the tube is 0.20" in fails.found


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ("answer_distance_median", ("median distance of answers", False)),
        ("answer_distance_p95_in_thickness", ("95 % quantile of the distance of answers in ε", False)),
        ("decoded_distance_max", ("largest distance of decoded points", False)),
        ("posterior_r_hat_max", ("largest R-hat of chains", False)),
        ("error_rate", ("share of wrong answers", False)),
        ("decoded_coverage", ("share of answers with a decoded point nearby", False)),
        ("multiply_adds", ("number of multiply-adds", False)),
        ("descent_success_line_search", ("success by line search", False)),
        ("latent_coefficient_cusp_cold", ("coefficient of ln β at the cusps at β = 10000", False)),
        ("branch_kl_density", ("KL of branch weights by density", False)),
        ("minimised_excess_error", ("errors that minimising adds", True)),
        ("unheard_of_things", ("unheard of things", False)),
    ],
)
def test_a_metric_is_the_subject_of_a_sentence(metric, said):
    assert style.noun(metric) == said


def test_numbers_too_long_to_stand_beside_their_interval_stand_in_two_lines():
    def row_of(value: float) -> dict:
        cells = (Cell((0.1,), value, 0.9 * value, 1.1 * value, 10, 0, 0.01, True),)
        numbers = {"estimate": value, "low": 0.9 * value, "high": 1.1 * value}
        verdict = Verdict(
            "comparison", "C10", "supported", "", kind="value", metric="m", arm="a", task="t", cells=cells
        )
        return intervals.forest_rows([replace(verdict, **numbers)], {}, False)[0][0]

    assert (row_of(0.2)["above"], row_of(0.2)["beside"]) == ("", row_of(0.2)["text"])
    small = row_of(8.17e-6)
    assert f"{small['above']} {small['beside']}" == small["text"] == "8.17×10⁻⁶ [7.35×10⁻⁶, 8.99×10⁻⁶]"


def test_two_bounds_without_room_for_both_are_told_together():
    def labels(below: float) -> list[str]:
        cell = Cell((0.1,), 0.0, -0.05, 0.4, 10, 0, 0.5, True)
        about = {"kind": "difference", "metric": "gibbs_gap", "arm": "a", "against": "b", "task": "t", "law": 0.1}
        numbers = {"estimate": 0.0, "low": -0.05, "high": 0.4, "above": -0.05, "below": below}
        verdict = Verdict("comparison", "C5", "undecided", "", cells=(cell,), **about, **numbers)
        svg = rendering.to_svg(intervals.forest_chart([verdict], {}), {}, "n", "t", "d")
        return re.findall(r">((?:asked|law)[^<]*)<", svg)

    assert labels(0.05) == ["asked −0.05 to 0.05", "law 0.1"]
    assert labels(0.35) == ["asked &gt; −0.05", "asked &lt; 0.35", "law 0.1"]


def test_a_qualified_comparison_is_drawn_on_both_sides_each_cell_in_the_shape_of_its_outcome():
    values = ((0.3, 0.9, 0.001, True), (0.1, 0.6, 0.01, True), (0.03, 0.4, 0.02, False), (0.01, 0.1, 0.001, False))
    cells = tuple(Cell((eps,), v, v - 0.05, v + 0.05, 10, 0, p, holds) for eps, v, p, holds in values)
    about = {"kind": "value", "metric": "tube_mass", "arm": "a", "task": "circle", "axis": "thickness", "above": 0.5}
    part = Verdict("comparison", "C12", "qualified", "", estimate=0.4, low=0.35, high=0.45, cells=cells, **about)
    rows, _ = intervals.forest_rows([part], {}, every=False)
    assert [(row["label"], row["verdict"]) for row in rows] == [("ε = 0.1", "supported"), ("ε = 0.03", "refuted")]
    rows, _ = intervals.forest_rows([part], {}, every=True)
    assert [row["verdict"] for row in rows] == ["supported", "supported", "refuted", "refuted"]
    assert len(set(style.OUTCOME_SHAPES.values())) == len(style.OUTCOME_SHAPES)
    decided = replace(part, verdict="supported", estimate=0.6, low=0.55)
    assert [row["verdict"] for row in intervals.forest_rows([decided], {}, every=True)[0]] == ["supported"] * 4
    assert intervals.shown_cells(replace(part, cells=())) == []


def test_curves_of_a_criterion_show_its_bound_and_its_arms_before_the_others():
    study = load_study(HEADLINE)
    study = study.model_copy(update={"tasks": study.tasks[:1]})
    inputs = Inputs(study, "quick", study_results(study))
    about = {"kind": "value", "metric": "tube_mass", "arm": "score", "task": "circle", "above": 0.4321}
    asked = Verdict("comparison", "C12", "supported", "", **about)
    curves = curves_of(inputs, "circle")
    spec = figures.metric_chart(inputs, [("circle", "tube_mass")], curves, [asked])
    (panel,) = spec["concat"]
    strong = [layer["encoding"]["opacity"]["condition"]["test"] for layer in panel["layer"] if "data" not in layer]
    assert strong
    assert all('["Score matching, smoothed .1"]' in test for test in strong)
    svg = rendering.to_svg(spec, {"curves-circle": curves["circle"]}, "n", "t", "d")
    assert "asked &gt; 0.4321" in svg
    assert "asked" not in svg_of(inputs, "without")
    slope = figures.metric_chart(inputs, [("circle", "tube_mass")], curves, [replace(asked, kind="slope")])
    assert "asked" not in rendering.to_svg(slope, {"curves-circle": curves["circle"]}, "n", "t", "d")


def test_what_is_pointed_at_says_its_unit():
    titles = [
        tip["title"]
        for tip in (each.to_dict() for each in figures._tooltip("answer_distance_median"))
        if "title" in tip
    ]
    assert "Distance of answers, median (data units)" in titles
    assert sections._hover({"n": 10, "estimate": 0.5, "low": 0.4, "high": 0.6}, "gibbs_gap").startswith(
        "0.5 nats, 95 % "
    )


def test_rows_of_intervals_are_called_by_what_tells_them_apart():
    def verdict(arm, against="", task="circle"):
        cell = Cell((0.1,), 1.0, 0.5, 2.0, 10, 0, 0.01, True)
        known = {"kind": "ratio", "metric": "m", "arm": arm, "against": against, "task": task, "above": 0.1}
        told = {"estimate": 1.0, "low": 0.5, "high": 2.0, "cells": (cell,), "axis": "thickness"}
        return Verdict("comparison", "C1", "supported", "", **known, **told)

    rows, shared = intervals.forest_rows([verdict("a", "c"), verdict("b", "c")], {"a": "Arm A"}, every=False)
    assert [row["label"] for row in rows] == ["Arm A", "b"]
    assert shared == "against c, circle, ε = 0.1"
    rows, shared = intervals.forest_rows([verdict("a")], {"a": "Arm A"}, every=False)
    assert ([row["label"] for row in rows], shared) == (["Arm A"], "circle, ε = 0.1")


def test_cells_sort_by_the_number_that_they_begin_with():
    texts = ["−1.5 [−2, −1]", "1.2×10⁻⁵ [1, 2]", "0.5", "8 of 10", "–", "score", "3.1×10⁹", "< 0.001"]
    assert [sections.sort_key(text) for text in texts] == ["-1.5", "1.2e-5", "0.5", "8", "", "", "3.1e9", "0.001"]


def test_papers_are_named_by_family_names_and_lead_to_their_place():
    entry = glossary.Entry("article", "k", {"author": 'Gutmann, Michael and Hyv{\\"a}rinen, Aapo', "year": "2010",
                                            "title": "{A} B", "doi": "10.1/x", "url": "https://e.org"})  # fmt: skip
    assert glossary.reference(entry) == {
        "text": "Gutmann and Hyvärinen 2010",
        "title": "A B",
        "url": "https://doi.org/10.1/x",
    }
    bad = glossary.Entry("misc", "k", {"author": "A, B", "year": "1", "url": "javascript:alert(1)"})
    assert glossary.reference(bad)["url"] == ""


def test_a_page_names_the_papers_of_the_options_that_were_run_alone():
    told = glossary.registered(METHODS)["mixture_density"]
    assert [paper.key for paper in glossary.behind(told, [{}])] == ["bishop1994mixture"]
    twice = glossary.behind(told, [{"objective": "nce"}, {"objective": "crps"}])
    assert {"gutmann2012noise", "gneiting2007strictly"} < {paper.key for paper in twice}
    assert "hyvarinen2005estimation" not in {paper.key for paper in twice}


def test_provenance_lists_distinct_values():
    records = [{"versions": {"torch": "2"}, "commit": None}, {"versions": {"torch": "3"}, "threads": 1}]
    assert flatten(records) == {"versions.torch": ("2", "3"), "threads": ("1",)}


def test_names_of_files_stay_in_their_folder(tmp_path):
    album = Album(tmp_path / "figures")
    still = (rendering.specification({"mark": "point", "data": {"values": [{}]}}), {})
    shown = album.add("../../escape", "t", None, "d", still=still)
    assert [path.name for path in tmp_path.rglob("*.svg")] == [shown.file]
    assert [path.parent for path in tmp_path.rglob("*.svg")] == [tmp_path / "figures"]


def test_a_plugin_is_named_as_it_is_imported_and_days_come_last():
    records = [
        {"provenance": {"commit": "a", "written": f"2026-01-0{day}T00:00"}, "code_digest": "c", "plugins": plugins}
        for day, plugins in ((2, {"my_task": "d"}), (1, {"own_methods.flow": "e"}))
    ]
    shown = origin(records)
    assert list(shown) == ["commit", "code digest", "plugins.my_task", "plugins.own_methods.flow", "written"]
    assert shown["written"] == ("2026-01-01", "2026-01-02")
    assert [_origin(name) for name in shown][2:] == ["plugin my_task", "plugin own_methods.flow", "written"]
    assert _origin("hardware.num_cores") == "num cores"
