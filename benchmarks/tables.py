"""Write the tables of benchmarks/README.md from the JSON files beside it: `python -m benchmarks.tables`.

Each stands between `<!-- modes: written by benchmarks/tables.py -->` and `<!-- end of modes -->`, and says of which
commit, machine and day it is. What has no file yet is said to be not measured, and how it would be.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from .aims import Found, aims, ends, fastest_of, shape

HERE = Path(__file__).resolve().parent
#: The command that makes each file, without its `--out`.
COMMANDS = {
    "modes": "python -m benchmarks.modes",
    "training_step": "python -m benchmarks.training_step --part score_matching --part variational_autoencoder",
    "objectives": "python -m benchmarks.training_step --part objectives --part samplers",
    "growth": "python -m benchmarks.growth",
    "proposals": "python -m benchmarks.proposals",
    "command_line": "python -m benchmarks.command_line",
    "study_shares": "python -m benchmarks.study_shares",
    "truths": "python -m benchmarks.truths",
}


def row(*cells: str) -> str:
    """A row of a table."""
    return "| " + " | ".join(cells) + " |"


def head(*cells: str) -> list[str]:
    """The first two lines of a table."""
    return [row(*cells), "|" + "---|" * len(cells)]


def ratio(spread: Mapping[str, float]) -> str:
    """A median with the least and the greatest."""
    return f"{spread['median']:.2f} ({spread['least']:.2f} to {spread['greatest']:.2f})"


def made_by(found: Found) -> str:
    """Commit, day, machine and how quiet it was, in a line under a table."""
    made, versions = found["provenance"], found["provenance"]["versions"]
    names = [f"torch {versions['torch']}", *(f"{name} {version}" for name, version in found["peers"].items())]
    share = found.get("processor_share")
    quiet = f", the process had the processor {share:.1%} of the time" if share is not None else ""
    rounds = f", {found['rounds']} rounds" if "rounds" in found else ""
    hardware = made["hardware"]
    return (
        f"{hardware['cores']} cores of {hardware['processor']}, {', '.join(names)}; commit {made['commit'][:7]}, "
        f"{found['finished'][:10]}{rounds}{quiet}."
    )


def modes(found: Found) -> Iterator[str]:
    """A row an objective: milliseconds a step now, and how many times as long the earlier package takes."""
    shapes = list(dict.fromkeys(map(shape, found["rows"])))
    by = {(entry["method"], shape(entry)): entry for entry in found["rows"]}
    columns = [f"{each}: {what}" for each in shapes for what in ("ms", "x", "of products")]
    yield from head("a step of", "against", *columns)
    for method in dict.fromkeys(entry["method"] for entry in found["rows"]):
        cells, bases = [], []
        for each in shapes:
            entry = by.get((method, each))
            if entry is None:
                cells += ["", "", ""]
                continue
            base, fastest = ends(entry)
            bases.append(base)
            step = statistics.median(entry["seconds_a_step"][fastest])
            share = f"{entry['share_of_product_rate']:.2f}"
            cells += [f"{1e3 * step:.3g}", ratio(entry["ratio"][fastest]), share]
        against = found["against"] if bases[0] == "earlier" else "as written"
        yield row(f"`{method}`", str(against), *cells)


def sections(found: Found) -> Iterator[str]:
    """A table a section: its arms, against each of its baselines."""
    for section in found["sections"]:
        baselines = list(section["arms"][0]["speed_up"])
        yield from head(section["title"], "model-steps/s", *(f"x {name}" for name in baselines))
        for arm in section["arms"]:
            ratios = [ratio(arm["speed_up"][name]) for name in baselines]
            yield row(arm["name"], f"{arm['model_steps_per_second']:,.0f}", *ratios)
        yield ""


def objectives(found: Found) -> Iterator[str]:
    """A row a section: the package's fastest arm, with one and with eight replicates, against each peer."""
    peers = list(dict.fromkeys(name for each in found["sections"] for name in each["arms"][0]["speed_up"]))
    yield from head("a step of", *(f"{count}, x {peer}" for count in ("1 model", "8 models") for peer in peers))
    for section in found["sections"]:
        ratios = [fastest_of(section, count, peer) for count in (1, 8) for peer in peers]
        yield row(section["title"], *("" if each is None else ratio(each) for each in ratios))


def growth(found: Found) -> Iterator[str]:
    """A row an axis and mode: milliseconds at each size, the exponent, shares of the rate of products."""
    yield from head("grows", "steps", "ms at each size", "exponent", "of the rate of products")
    for axis in found["axes"]:
        pairs = zip(axis["sizes"], axis["seconds"], strict=True)
        times = ", ".join(f"{size}: {1e3 * statistics.median(values):.3g}" for size, values in pairs)
        shares = ", ".join(f"{share:.2f}" for share in axis["share_of_product_rate"])
        yield row(axis["axis"], axis["mode"], times, f"{axis['exponent']:.2f}", shares)


def proposals(found: Found) -> Iterator[str]:
    """A row a way: a step, and the gap after the same seconds and after the longest training."""
    common = f"gap after {found['common_seconds']:.2g} s, nats"
    yield from head("proposals", "ms a step", common, "gap after the longest training", "its seconds")
    for way in found["ways"]:
        last, after = way["trainings"][-1], found["gap_after_common_seconds"][way["way"]]
        gap, step = statistics.median(last["gap"]), 1e3 * way["seconds_a_step"]
        yield row(way["way"], f"{step:.3g}", f"{after:.4f}", f"{gap:.4f}", f"{last['seconds']:.2g}")


def command_line(found: Found) -> Iterator[str]:
    """A row a command and store: seconds and megabytes."""
    yield from head("command", "trials in the store", "seconds", "most memory, MB")
    for each in found["commands"]:
        trials = f"{each['trials']:,}" if each["trials"] else ""
        yield row(each["what"], trials, f"{statistics.median(each['seconds']):.2f}", f"{each['megabytes']:.0f}")


def study_shares(found: Found) -> Iterator[str]:
    """A row a study: the share of each part of its time."""
    yield from head("study", "trials", "seconds", "training", "evaluation", "arrays", "plan, store, engine")
    for each in (*found["published"], *found["run"]):
        seconds = each["seconds"]
        whole = sum(seconds.values())
        known = [
            f"{seconds[part] / whole:.1%}" if part in seconds else "" for part in ("fit", "evaluate", "arrays", "rest")
        ]
        only = f", {', '.join(each['tasks'])} only" if each.get("tasks") else ""
        only += ", run with one worker" if "rest" in seconds else ""
        yield row(f"`{each['study']}` at {each['scale']}{only}", f"{each['trials']:,}", f"{whole:,.0f}", *known)


def truths(found: Found) -> Iterator[str]:
    """A row a task: seconds for the rows of each part of its truth, and of rows of one's own."""
    parts = ("sample", "log_prob", "distance", "draws")
    yield from head(f"seconds for {found['rows']:,} rows", *parts, "rows timed")
    for label, seconds in found["seconds"].items():
        cells = ["-" if seconds[part] is None else f"{seconds[part][0]:.3g}" for part in parts]
        yield row(label, *cells, f"{min(each[1] for each in seconds.values() if each is not None):,}")
    yield ""
    yield from head(f"own data, {found['own_rows']:,} rows", "build, s", "draw, s", "memory, MB")
    for kind, took in found["own_data"].items():
        yield row(kind, f"{took['build']:.3g}", f"{took['sample']:.3g}", f"{took['megabytes']:.0f}")


def reached(found: Mapping[str, Found]) -> Iterator[str]:
    """A row an aim: what is measured of it, and how many of what it speaks of reach it."""
    yield from head("what", "aim", "median", "worst", "reached by")
    for aim in aims(found):
        bound = f"≥ {aim.bound:g}" if aim.at_least else f"≤ {aim.bound:g}"
        if not aim.values:
            yield row(aim.what, bound, "not measured", "", "")
            continue
        worst = f"{aim.values[aim.worst]:.3g} ({aim.worst})"
        count = f"{len(aim.reached)} of {len(aim.values)}"
        yield row(aim.what, bound, f"{statistics.median(aim.values.values()):.3g}", worst, count)


#: What each file's table is made by.
TABLES: dict[str, Callable[[Found], Iterator[str]]] = {
    "modes": modes,
    "training_step": sections,
    "objectives": objectives,
    "growth": growth,
    "proposals": proposals,
    "command_line": command_line,
    "study_shares": study_shares,
    "truths": truths,
}


def results(folder: Path = HERE) -> dict[str, Found]:
    """What was found, by the name of its file."""
    paths = [(name, folder / f"{name}.json") for name in TABLES]
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths if path.exists()}


def table(name: str, found: Mapping[str, Found]) -> str:
    """The table of a file, with a link to it and what made it; of `aims`, what all files say of them."""
    if name == "aims":
        return "\n".join(reached(found))
    if name not in found:
        return f"Not measured yet: `{COMMANDS[name]} --out benchmarks/{name}.json`."
    lines = [*TABLES[name](found[name]), ""]
    return "\n".join([*lines, f"[{name}.json]({name}.json): {made_by(found[name])}"]).replace("\n\n\n", "\n\n")


def written(text: str, found: Mapping[str, Found]) -> str:
    """The text of the page with its tables made anew.

    Raises:
        ValueError: the page lacks the marks between which one stands.
    """
    for name in ("aims", *TABLES):
        start, end = f"<!-- {name}: written by benchmarks/tables.py -->", f"<!-- end of {name} -->"
        before, _, rest = text.partition(start)
        _, mark, after = rest.partition(end)
        if not mark:
            raise ValueError(f"{start} ... {end} is missing")
        text = f"{before}{start}\n{table(name, found)}\n{end}{after}"
    return text


if __name__ == "__main__":
    page = HERE / "README.md"
    page.write_text(written(page.read_text(encoding="utf-8"), results()), encoding="utf-8")
