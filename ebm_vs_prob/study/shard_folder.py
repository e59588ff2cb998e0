"""The shards of a store: found by trial, read whole, set aside where damaged, packed together where small."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..core.atomic_files import open_file
from .documents import DamagedRecord, OtherVersion
from .folders import StoreFolder
from .keys import file_digest
from .shards import Shard, named_in, pack_members, read_contents

SHARD = re.compile(r"(?P<name>[0-9a-f]{64})\.zip")

#: Shards of fewer than `FEW` trials are packed into shards of up to `MANY` trials and `MANY_BYTES` bytes.
FEW, MANY, MANY_BYTES = 32, 64, 2**26

Kinds = frozenset[str]


@dataclass(frozen=True)
class Damage:
    """What cannot be read: where, why, and the trials that it names, none where it names none."""

    path: Path
    reason: str
    trials: frozenset[str] = frozenset()


class ShardFolder:
    """The folder `shards`. A name stands for one content for ever, so that a shard's directory is read once.

    Attributes:
        damage: what could not be read when it was last looked for, by name.
    """

    def __init__(self, folder: StoreFolder) -> None:
        self._folder = folder
        self._contents: dict[str, dict[str, Kinds]] = {}
        self.path = folder.root / "shards"
        self._lock = folder.root / "shards.lock"
        self.damage: dict[str, Damage] = {}

    def place(self, name: str) -> Path:
        """Where the shard of that name is kept."""
        return self.path / f"{name}.zip"

    def add(self, content: bytes) -> Shard:
        """Keep a shard, once; whatever else lies in its place gives way.

        Raises:
            DamagedRecord: the bytes are no shard.
        """
        shard = Shard(content)
        path = self.place(shard.name)
        try:
            present = self._folder.read(path, path.name) == content
        except DamagedRecord:
            present = False
        if not present:
            self._folder.write(path, content)
        return shard

    def refresh(self) -> dict[str, dict[str, Kinds]]:
        """Trials of each shard that is there, with the kinds of their files, by the shard's name, in order."""
        listed = [match["name"] for match in map(SHARD.fullmatch, self._folder.names("shards")) if match]
        self.damage = {name: self.damage[name] for name in listed if name in self.damage}
        for stranger in self._folder.strangers(self.path):
            self.damage[stranger.name] = Damage(stranger, f"{stranger.name!r} in the store is no folder")
        known = self._contents
        found = {name: known[name] if name in known else self._directory(name) for name in listed}
        self._contents = {name: trials for name, trials in found.items() if trials is not None}
        return self._contents

    def _directory(self, name: str) -> dict[str, Kinds] | None:
        try:
            with open_file(self.place(name)) as file:
                return read_contents(file, name)
        except (OSError, DamagedRecord):
            shard = self.open(name)  # which keeps what is wrong with it
            return shard.kinds if shard else None

    def open(self, name: str) -> Shard | None:
        """A shard; None where it is gone, or damaged, which `damage` then tells.

        Raises:
            OtherVersion: another version of the package wrote it.
        """
        path = self.place(name)
        content: bytes | None = None
        try:
            content = self._folder.read(path, f"shard {name}")
            self.damage.pop(name, None)
            with self._folder.telling(path):
                return None if content is None else Shard(content, name)
        except DamagedRecord as error:
            self.damage[name] = Damage(path, str(error), named_in(content or b""))
            return None

    def holding(self, keys: Collection[str]) -> Iterator[tuple[Shard, set[str]]]:
        """Each shard that has some of these trials, with those; a trial in two sound shards is that of the first.

        Shards are packed together beside readers: what is missing is looked for until two listings in a row agree.
        """
        wanted, tried = set(keys), set[str]()
        before: list[str] | None = None
        while wanted:
            listed = self.refresh()
            for name, trials in listed.items():
                here = wanted & trials.keys()
                if not here or name in tried:
                    continue
                tried.add(name)
                shard = self.open(name)
                if shard is not None:
                    here &= shard.records.keys()
                    wanted -= here
                    yield shard, here
            if list(listed) == before:
                return
            before = list(listed)

    def intact(self, keys: Collection[str]) -> set[str]:
        """Names of shards that have some of these trials and whose bytes are what their names say."""
        wanted = set(keys)
        found = set()
        for name, trials in self.refresh().items():
            if wanted.isdisjoint(trials):
                continue
            try:
                content = self._folder.read(self.place(name), f"shard {name}")
            except DamagedRecord:
                continue
            if content is not None and file_digest(content) == name:
                found.add(name)
        return found

    def set_damage_aside(self) -> list[Damage]:
        """Move whatever could not be read out of the way; what that was."""
        found = list(self.damage.values())
        for damage in found:
            self._folder.set_aside(damage.path)
        self.refresh()
        return found

    def forget(self, keys: Collection[str]) -> None:
        """Take trials out of their shards: the rest of each is written first, and the old one moved to `replaced`.

        Raises:
            TimeoutError: another process packs shards and does not end.
        """
        if not keys:
            return
        with self._folder.lock(self._lock, blocking=True):
            for name, trials in self.refresh().items():
                shard = self.open(name) if trials.keys() & set(keys) else None
                if shard is None:
                    continue
                rest = shard.records.keys() - set(keys)
                if rest:
                    self.add(pack_members(shard.members(rest)))
                self._folder.set_aside(self.place(name), into="replaced")

    def compact(self) -> None:
        """Pack small shards together; where another process does so, nothing."""
        with self._folder.lock(self._lock, blocking=False) as alone:
            for names in self._groups() if alone else ():
                members: dict[str, bytes] = {}
                packed: set[str] = set()
                shards = [shard for shard in map(self._of_this_version, names) if shard is not None]
                for shard in shards:
                    members |= shard.members(shard.records.keys() - packed)
                    packed |= shard.records.keys()
                if len(shards) > 1:
                    new = self.add(pack_members(members))
                    for name in {shard.name for shard in shards} - {new.name}:
                        self.place(name).unlink(missing_ok=True)

    def _of_this_version(self, name: str) -> Shard | None:
        with suppress(OtherVersion):  # of another study perhaps: who asks for its trials is told
            return self.open(name)
        return None

    def _groups(self) -> Iterator[list[str]]:
        """Names of small shards that fit into one, together."""
        group: list[str] = []
        trials = size = 0
        for name, found in self.refresh().items():
            try:
                length = self.place(name).stat().st_size
            except OSError:
                continue
            if len(found) >= FEW or length > MANY_BYTES // 2:
                continue
            if group and (trials + len(found) > MANY or size + length > MANY_BYTES):
                yield group
                group, trials, size = [], 0, 0
            group.append(name)
            trials, size = trials + len(found), size + length
        yield group
