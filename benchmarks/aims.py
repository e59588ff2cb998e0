"""What the benchmarks aim at, and what they found of it."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: What a file of results holds, or a part of it.
Found = Mapping[str, Any]


@dataclass(frozen=True)
class Aim:
    """A bound for all that is measured of one kind.

    Attributes:
        what: it speaks of. bound: of each value. at_least: whether values are to be as large, or as small.
        values: what was measured, by name; empty where nothing was.
    """

    what: str
    bound: float
    at_least: bool
    values: Mapping[str, float]

    @property
    def worst(self) -> str:
        """The name of the value that is farthest from the bound, or least beyond it."""
        return (min if self.at_least else max)(self.values, key=lambda name: self.values[name])

    @property
    def reached(self) -> list[str]:
        """Names of the values within the bound."""
        within = self.bound.__le__ if self.at_least else self.bound.__ge__
        return [name for name, value in self.values.items() if within(value)]


def shape(entry: Found) -> str:
    """Replicates and hidden layers of a row of `modes`."""
    return f"{entry['replicates']} of {len(entry['hidden'])}x{entry['hidden'][0]}"


def ends(entry: Found) -> tuple[str, str]:
    """Of a row of `modes`: what it is divided by, and the fastest of its other modes."""
    base, *others = entry["seconds_a_step"]
    return base, min(others, key=lambda name: statistics.median(entry["seconds_a_step"][name]))


def fastest_of(section: Found, replicates: int, baseline: str) -> Mapping[str, float] | None:
    """The ratio to a baseline of the package's fastest arm with so many replicates; None where there is none."""
    own = [arm for arm in section["arms"] if arm["name"].startswith(f"{replicates} replicate")]
    known = [arm["speed_up"][baseline] for arm in own if baseline in arm["speed_up"]]
    return max(known, key=lambda each: each["median"], default=None)


def aims(found: Mapping[str, Found]) -> Iterator[Aim]:
    """Every aim, with what the files say of it, by the names of the files."""
    yield from _of_objectives(found.get("modes", {}).get("rows", ()))
    yield from _of_scans(found.get("training_step", {}).get("sections", ()))
    training, objectives = (found.get(name, {}).get("sections", ()) for name in ("training_step", "objectives"))
    yield from _of_peers([*training, *objectives])
    yield from _of_commands(found.get("command_line", {}).get("commands", ()))
    yield from _of_studies(found.get("study_shares", {}))


def _of_objectives(rows: Sequence[Found]) -> Iterator[Aim]:
    for size, bound in (("32 of 2x32", 2.5), ("1 of 2x32", 6.0), ("8 of 2x128", 2.0)):
        own = [entry for entry in rows if shape(entry) == size]
        ratios = dict[str, dict[str, float]](earlier={}, written={})
        for each in own:
            base, fastest = ends(each)
            ratios[base][each["method"]] = each["ratio"][fastest]["median"]
        shares = {each["method"]: each["share_of_product_rate"] for each in own}
        yield Aim(f"a step of every older objective, {size}, x the earlier one", bound, True, ratios["earlier"])
        yield Aim(f"a step of every younger objective, {size}, x its own as written", bound, True, ratios["written"])
        yield Aim(f"its multiply-adds, of the rate of products, {size}", 0.4, True, shares)


def _of_scans(sections: Sequence[Found]) -> Iterator[Aim]:
    for peer, what, bounds in (
        ("NumPyro", "vae", {1: 0.7, 16: 1.1, 32: 1.1}),
        ("JAX", "Denoising score matching", {1: 0.7, 32: 1.0}),
    ):
        own = [section for section in sections if section["title"].startswith(what)]
        for count, bound in bounds.items():
            ratios = _ratios(own, count, f"{peer} scan, {count} by vmap")
            yield Aim(f"{what}, {count} of 2x32, x {peer}'s scan of as many", bound, True, ratios)


def _of_peers(sections: Sequence[Found]) -> Iterator[Aim]:
    own = [section for section in sections if "hidden 32x32" in section["title"]]
    # Denoising is timed beside several ways of the peers, of which these are the fairest.
    for peer, denoising in (("torchebm", "torchebm train_step"), ("ebmkit", "ebmkit Trainer")):
        for count, bound in ((1, 4.0), (8, 15.0)):
            ratios = _ratios(own, count, denoising) | _ratios(own, count, peer)
            yield Aim(f"objectives and samplers, {count} of 2x32, x {peer}", bound, True, ratios)


def _ratios(sections: Sequence[Found], replicates: int, baseline: str) -> dict[str, float]:
    """Medians by what each section is of, where it has both sides."""
    pairs = ((section["title"].partition(",")[0], fastest_of(section, replicates, baseline)) for section in sections)
    return {title: fastest["median"] for title, fastest in pairs if fastest is not None}


def _of_commands(commands: Sequence[Found]) -> Iterator[Aim]:
    def of(names: Collection[str], trials: int) -> list[Found]:
        return [each for each in commands if each["what"] in names and each["trials"] == trials]

    def seconds(names: Collection[str], trials: int) -> dict[str, float]:
        return {each["what"]: statistics.median(each["seconds"]) for each in of(names, trials)}

    yield Aim("seconds of `list` and `cite`", 1.5, False, seconds(("list", "cite thin_manifold"), 0))
    for trials in (500, 10_000):
        yield Aim(f"seconds of `status`, {trials:,} trials", 1.5, False, seconds(("status",), trials))
        yield Aim(f"seconds of `report`, {trials:,} trials", 10.0, False, seconds(("report",), trials))
    yield Aim("seconds of `plan`, 10,000 trials", 5.0, False, seconds(("plan",), 10_000))
    megabytes = {each["what"]: each["megabytes"] for each in of(("plan",), 10_000)}
    yield Aim("megabytes of `plan`, 10,000 trials", 500.0, False, megabytes)
    table = seconds(("load_results, no table yet",), 10_000)
    yield Aim("seconds of the table of 10,000 records", 5.0, False, table)


def _of_studies(found: Found) -> Iterator[Aim]:
    published, run = found.get("published", ()), found.get("run", ())

    def share(each: Found, part: str) -> float:
        return float(each["seconds"][part] / sum(each["seconds"].values()))

    evaluated = {each["study"]: share(each, "evaluate") for each in published}
    evaluated |= {f"{each['study']}, run here": share(each, "evaluate") for each in run}
    yield Aim("evaluation's share of a study", 0.15, False, evaluated)
    rest = {each["study"]: share(each, "rest") for each in run}
    yield Aim("share of plan, store and engine", 0.05, False, rest)
    minutes = {f"{each['study']} at {each['scale']}": each["by_two"] / 60 for each in run if "by_two" in each}
    yield Aim("minutes of a study and its report, two workers", 4.0, False, minutes)
