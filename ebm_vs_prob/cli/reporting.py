"""Results as others read them: `report`, `verify`, `compare` and `cite`."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.streams import printed_aside
from ..core.text import printable
from . import options
from .options import DEFAULT_OUT, DEFAULT_STORE
from .output import print_json, print_table, said_aside

if TYPE_CHECKING:
    import pandas as pd

    from ..study.comparing import Compared, Shift
    from ..study.schema import Study
    from ..study.store import Store


#: What speaks against results, at most so many lines of it for people.
TOLD = 12


class Format(StrEnum):
    bibtex = "bibtex"
    cff = "cff"
    apa = "apa"


class Scope(StrEnum):
    all = "all"
    moved = "moved"


def report(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="A name in studies/ or the path of a TOML file.")] = "",
    scale: options.ScaleOption = None,
    store: options.StoreOption = DEFAULT_STORE,
    out: options.OutOption = DEFAULT_OUT,
    as_json: options.JsonOption = False,
    every: Annotated[bool, typer.Option("--all", help="Write the page over all reports in --out instead.")] = False,
) -> None:
    """Write a study's report and print its path; with --json, its result identifier and the verdicts.

    It replaces an earlier one of the same study and scale, and no other.
    """
    from ..report import write_all, write_report
    from ..study import Store, load_study
    from ..study.identifiers import FILE, read_result
    from ..study.shrinking import opened
    from .report_places import place_of

    if every == bool(study):
        raise typer.BadParameter("a study, or --all for the page over all reports; not both, not neither")
    if every:
        page = Path(write_all(out))
        if as_json:
            print_json({"report": os.fspath(page)})
        else:
            typer.echo(printable(page))
        return
    with printed_aside():
        read = load_study(study)
        scale = scale or read.default_scale
        loaded: Any = opened(read, scale, Store(store))
        below, said = place_of(loaded, scale, out)
        page = Path(write_report(loaded, scale, store, out, said_aside, below))
    if said:
        typer.echo(printable(said), err=True)
    if as_json:
        verdicts = json.loads((page.parent / "verdicts.json").read_text(encoding="utf-8"))
        identifier = read_result(page.parent / FILE)["id"]
        print_json({"result": identifier, "report": os.fspath(page), "verdicts": verdicts})
        return
    typer.echo(printable(page))


def verify(
    what: Annotated[str, typer.Argument(metavar="ID|STUDY", help="A result identifier, or a study.")],
    scale: options.ReadScaleOption = None,
    store: options.StoreOption = DEFAULT_STORE,
    reports: options.ReportsOption = DEFAULT_OUT,
    rerun: Annotated[int, typer.Option(min=0, metavar="K", help="Train K trials again and compare.")] = 0,
    as_json: options.JsonOption = False,
) -> None:
    """Check that results are whole and what was published, and with --rerun that this code makes them again.

    Of a study that the store has no run of, the records are those beside its report, as in a checkout. Every record is
    read and its checksum compared, and the study's file held against what was run. The verdicts are decided again and
    held against the report's, whose page and tables are made again and compared: the result that the page names, the
    data of its figures but for pictures of models, every cell, and of a challenge every text of its own page. K trials,
    taken in turn from the arms, are trained again: on the record's kind of machine their metrics must agree to
    rounding, elsewhere to 1 % or their standard error. The exit code is 1 where something differs.
    """
    from ..report.remaking import page_differences
    from ..study import Store, load_study
    from ..study.archives import FILE as ARCHIVE
    from ..study.archives import unpack_results
    from ..study.identifiers import find_result, is_identifier, study_of
    from ..study.shrinking import opened
    from ..study.verification import verify as verified
    from .report_places import find_report, scale_of, scale_to_read

    if is_identifier(what) and scale is not None:
        raise typer.BadParameter("an identifier, which is of one scale, or a study with --scale: not both")
    with printed_aside(), TemporaryDirectory() as unpacked:
        kept = Store(store)
        if is_identifier(what):
            name, at, file = find_result(what, kept, reports)
        else:
            loaded = load_study(what)
            name, at, file = loaded.name, scale or scale_to_read(loaded, kept, reports), loaded.path
        beside = find_report(name, at, reports, file)
        report = beside if scale_of(beside) in ("", at) else None
        is_published = report is not None and (report / ARCHIVE).is_file() and not kept.has_plan(name, at)
        if report is not None and is_published:
            kept = unpack_results(report / ARCHIVE, Path(unpacked))
        loaded = opened(study_of(name, at, kept, file) if is_identifier(what) else loaded, at, kept)

        def page(results: pd.DataFrame) -> list[str]:
            return page_differences(loaded, at, kept.root, beside, results, whole=not is_published)

        found = verified(loaded, at, kept, report, rerun, page)
    if as_json:
        print_json(found.as_dict())
    else:
        typer.echo(printable(f"result {found.identifier}"))
        if found.reruns:
            rows = [{"trial": run.trial[:12], "arm": run.arm, "again": run.outcome, "furthest": run.detail}
                    for run in found.reruns]  # fmt: skip
            print_table(rows, "Trained again", cut=True)
        problems = found.problems
        for problem in problems[:TOLD]:
            typer.echo(printable(problem))
        if len(problems) > TOLD:
            typer.echo(f"{len(problems) - TOLD} more, which --json lists")
        typer.echo(printable(found.sentence))
    asked = what if is_identifier(what) else found.identifier
    if found.problems or asked != found.identifier:
        if asked != found.identifier:
            typer.echo(printable(f"the store has {found.identifier}, not {asked}"), err=True)
        raise typer.Exit(1)


def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="A store: another version's, or another machine's.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The store that is held against it.")],
    study: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this study; may be repeated.")] = None,
    scale: Annotated[str, typer.Option(metavar="NAME", help="Only this scale.")] = "",
    show: Annotated[Scope, typer.Option(help="All effects, or those that moved.")] = Scope.all,
    out: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Write a page here and print its path.")] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Hold two stores against each other: effects that moved, with intervals, and verdicts that flipped.

    Effects are paired over the seeds that both have. One has moved where the p of its change, corrected by Holm over
    all effects of the study, is at most .05. The page of --out is one file: verdicts that flipped, effects that moved
    with both intervals as figures, every effect in a table, and where the records say that A and B differ in origin.
    With --json beside it, `page` is its path, and `studies` the list that --json prints alone.
    """
    from ..study import Store
    from ..study.comparing import compare_stores

    one, other = Store(first), Store(second)
    if out is not None:
        from ..report.compared import check_path, write_compared

        check_path(out)
    with printed_aside():
        found = compare_stores(one, other, study or (), scale)
        page = None if out is None else write_compared(found, one, other, out)
    if as_json:
        if show is Scope.moved:
            found = [replace(each, shifts=[s for s in each.shifts if s.moved == "yes"]) for each in found]
        told = [each.as_dict() for each in found]
        print_json(told if page is None else {"page": os.fspath(page), "studies": told})
        return
    if page is not None:
        typer.echo(printable(page))
        return
    for each in found:
        _print_compared(each, show)


def _print_compared(found: Compared, show: Scope) -> None:
    shifts = [shift for shift in found.shifts if show is Scope.all or shift.moved == "yes"]
    print_table([_shift_row(shift) for shift in shifts], f"{found.study} at {found.scale}: effects, A to B")
    counts = Counter(shift.moved for shift in found.shifts)
    said = {"yes": "moved", "no": "did not move", "identical": "identical", "unknown": "with too few seeds to say"}
    typer.echo(", ".join(f"{counts[word]} {words}" for word, words in said.items() if counts[word]) or "no effects")
    for flip in found.flips:
        where = " ".join(filter(None, (flip.criterion or flip.claim, flip.arm, flip.against, flip.task)))
        typer.echo(printable(f"verdict flipped: {flip.scope} {where}: {flip.first} to {flip.second}"))
    if not found.flips:
        typer.echo("no verdict flipped")


def _shift_row(shift: Shift) -> dict[str, Any]:
    against = f" against {shift.against}" if shift.against else ""
    return {
        "criterion": shift.criterion,
        "where": f"{shift.arm}{against} on {shift.task}, {shift.at}",
        "A": f"{shift.first:.3g}",
        "B": f"{shift.second:.3g}",
        "change": f"{'x' if shift.ratio else ''}{shift.change:.3g} [{shift.low:.3g}, {shift.high:.3g}]",
        "seeds": f"{shift.seeds}{'' if shift.paired else ' (unpaired)'}",
        "moved": shift.moved,
    }


def cite(
    study: options.StudyArgument,
    scale: options.ReadScaleOption = None,
    store: options.StoreOption = DEFAULT_STORE,
    reports: options.ReportsOption = DEFAULT_OUT,
    form: Annotated[Format, typer.Option("--format", help="BibTeX, a CITATION.cff, or references as the APA's.")] = (
        Format.bibtex
    ),
    as_json: options.JsonOption = False,
) -> None:
    """Print the package, the study and the papers behind what it compares, those of plugins included.

    The result that it names is the store's, or where that has no run of the study the report's.
    """
    from ..report.citation import as_bibtex
    from ..report.citation_styles import apa, cff
    from ..study import Store, load_study
    from ..study.identifiers import result_id
    from ..study.plan_again import changes, other_rows
    from .report_places import published_id, scale_to_read

    with printed_aside():
        kept = Store(store)
        loaded = load_study(study)
        at = scale or scale_to_read(loaded, kept, reports)
        loaded = _opened(loaded, at, kept, reports)
        if not kept.has_plan(loaded.name, at):
            identifier = published_id(loaded, at, reports)
        else:
            plan = kept.plan(loaded.name, at)
            is_run = not changes(plan, loaded, at) and not other_rows(plan, loaded, at)
            identifier = result_id(loaded, at, kept) if is_run else ""
        papers = _papers(loaded, at, identifier)
        said = {
            Format.bibtex: lambda: as_bibtex(papers),
            Format.cff: lambda: cff(papers),
            Format.apa: lambda: "\n".join(sorted(map(apa, papers))),
        }[form]()
    if as_json:
        print_json({"study": study, "scale": at, "result": identifier or None, form.value: said})
        return
    typer.echo(said)


def _opened(study: Study, scale: str, store: Store, reports: Path) -> Study:
    """A study at a scale of its file, or of a shrunk run, which the store or the archive of its report has."""
    from ..study.archives import FILE, opened_store
    from ..study.scales import SHRUNK
    from ..study.shrinking import opened
    from .report_places import find_report

    archive = find_report(study.name, scale, reports, study.path) / FILE
    if SHRUNK not in scale or store.has_plan(study.name, scale) or not archive.is_file():
        return opened(study, scale, store)
    with opened_store(archive) as archived:
        return opened(study, scale, archived)


def _papers(study: Study, scale: str, identifier: str) -> list[Any]:
    from dataclasses import asdict

    from ..core.bibliography import Entry
    from ..report.citation import entries
    from ..study import plan_study
    from ..study.provenance import remembered_of_package
    from ..study.step_times import TYPICAL

    def of_plan() -> list[dict[str, Any]]:
        import pandas as pd

        plan = plan_study(study, scale, device="cpu", times=TYPICAL)
        labels = pd.DataFrame([{**condition.labels, "scale": scale} for condition in plan.conditions])
        return [asdict(entry) for entry in entries(study.held_at(scale), labels, identifier)]

    question = ["cite", study.model_dump(mode="json", by_alias=True), scale, identifier]
    return [Entry(**entry) for entry in (of_plan() if study.imports else remembered_of_package(question, of_plan))]
