"""A shard: the records and arrays of some trials in one ordinary zip, named by the SHA-256 of its bytes.

For each of its trials it has `<key>.json`, the record, and where there are any `<key>.safetensors` and `<key>.nc`. The
same entries are the same bytes: members are sorted and carry no date; JSON is deflated, arrays are stored as they are.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from ..core.errors import invalid
from .documents import DamagedRecord, Record, encode, parse
from .keys import canonical_json, file_digest

if TYPE_CHECKING:
    import numpy as np

#: Kinds of arrays beside a record, and how their names end.
FILES = {"arrays": ".safetensors", "inference_data": ".nc"}
_KINDS = {".json": "record"} | {suffix: kind for kind, suffix in FILES.items()}

_MEMBER = re.compile(r"(?P<key>[0-9a-f]{64})(?P<suffix>\.json|\.safetensors|\.nc)")
_RECORD_NAME = re.compile(rb"([0-9a-f]{64})\.json")

#: No record and no arrays come near; a member that says it is longer is not read, unless its shard is as long.
LONGEST_RECORD, LONGEST_FILE = 2**26, 2**30

_HDF5 = b"\x89HDF\r\n\x1a\n"
#: Where an HDF5 file says where it ends, 8 bytes, by the version of its first block.
_HDF5_END = {0: 40, 1: 44, 2: 28, 3: 28}


@dataclass(frozen=True)
class Entry:
    """What is kept of one trial: its record without schema and key, and the arrays beside it by kind, as bytes."""

    key: str
    record: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)


def record_text(entry: Entry) -> bytes:
    """A record as it is kept.

    Raises:
        ValueError: it is not of a record's shape, or too long, with the member that is at fault.
    """
    text = encode(Record, {**entry.record, "trial": entry.key}, f"record {entry.key}")
    if len(text) > LONGEST_RECORD:
        lengths = {name: len(canonical_json(value)) for name, value in entry.record.items()}
        longest = max(lengths, key=lambda name: lengths[name])
        raise ValueError(f"record {entry.key} cannot be kept: {longest}: {lengths[longest]} characters are too many")
    return text


def pack_shard(entries: Iterable[Entry]) -> bytes:
    """The bytes of a shard.

    Raises:
        ValueError: a record that is not of a record's shape, a kind of file that there is not, or a key given twice.
    """
    members: dict[str, bytes] = {}
    for entry in entries:
        name = f"{entry.key}.json"
        if name in members:
            raise invalid("the entries of a shard", entry.key, "each trial once")
        members[name] = record_text(entry)
        for kind, content in entry.files.items():
            if kind not in FILES:
                raise invalid("a kind of file", kind, f"one of {', '.join(FILES)}")
            members[f"{entry.key}{FILES[kind]}"] = content
    return pack_members(members)


def pack_members(members: Mapping[str, bytes]) -> bytes:
    """The bytes of a shard of members that are already as they are kept, by name."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, 0o644 << 16  # the same bytes on every system
            method = zipfile.ZIP_DEFLATED if name.endswith(".json") else zipfile.ZIP_STORED
            archive.writestr(info, members[name], compress_type=method)
    return packed.getvalue()


class Shard:
    """A shard that was read whole.

    Args:
        content: its bytes.
        name: what it is called, where it is called something.

    Attributes:
        name: the SHA-256 of its bytes, 64 hexadecimal digits.
        kinds: kinds of files of each of its trials, by key.
        records: record of each of its trials, by key.

    Raises:
        DamagedRecord: the bytes are no shard, not the one of that name, or hold a record or arrays that are none.
        OtherVersion: another version of the package wrote it.
    """

    def __init__(self, content: bytes, name: str | None = None) -> None:
        self.name = file_digest(content)
        if name not in (None, self.name):
            raise DamagedRecord(f"shard {name} does not match its name")
        self._content = content
        with zip_errors(f"shard {self.name}"):
            self._archive = zipfile.ZipFile(io.BytesIO(content))
            self.kinds = contents(self._archive)
            texts = {key: self._member(f"{key}.json", LONGEST_RECORD) for key in self.kinds}
        self.records: dict[str, Record] = {}
        for key, text in texts.items():
            self.records[key] = parse(Record, text, f"record {key}")
            if self.records[key]["trial"] != key:
                raise DamagedRecord(f"record {key} is that of another trial")
        for key in self.kinds:
            self._check_files(key)

    def _check_files(self, key: str) -> None:
        """Read the arrays of a trial once, so that whoever asks for them later gets them."""
        arrays, container = self.file(key, "arrays"), self.file(key, "inference_data")
        if arrays is not None:
            unpack_arrays(arrays, key)
        if container is not None and not _is_whole_hdf5(container):
            raise DamagedRecord(f"the netCDF file of trial {key} cannot be read: it is not a whole HDF5 file")

    def file(self, key: str, kind: str) -> bytes | None:
        """The arrays of a kind beside a trial's record; None where it has none.

        Raises:
            DamagedRecord: the zip's own account of them is wrong.
        """
        if kind not in self.kinds[key]:
            return None
        with zip_errors(f"shard {self.name}"):
            return self._member(f"{key}{FILES[kind]}", max(len(self._content), LONGEST_FILE))

    def members(self, keys: Collection[str]) -> dict[str, bytes]:
        """What is kept of these trials, by member name, as `pack_members` takes it."""
        with zip_errors(f"shard {self.name}"):
            texts = {f"{key}.json": self._member(f"{key}.json", LONGEST_RECORD) for key in keys}
        files = {f"{key}{FILES[kind]}": self.file(key, kind) for key in keys for kind in self.kinds[key]}
        return texts | {name: content for name, content in files.items() if content is not None}

    def _member(self, name: str, longest: int) -> bytes:
        if self._archive.getinfo(name).file_size > longest:
            raise zipfile.BadZipFile(f"{name} is longer than {longest} bytes")
        try:
            return self._archive.read(name)
        except (OSError, EOFError, zlib.error) as error:  # OSError is bzip2's: no file is read here
            raise zipfile.BadZipFile(f"{name}: {error}") from None
        except Exception as error:
            if type(error).__name__ != "LZMAError":  # its module is not in every Python
                raise
            raise zipfile.BadZipFile(f"{name}: {error}") from None


def unpack_arrays(content: bytes, key: str) -> dict[str, np.ndarray]:
    """Arrays by name, of the bytes of a safetensors file.

    Raises:
        DamagedRecord: these are none; `key` is the trial they are beside.
    """
    from safetensors.numpy import load

    try:
        return dict(load(content))
    except MemoryError:
        raise
    except Exception as error:  # its own error, and whatever numpy raises of a type that it lacks
        raise DamagedRecord(f"the arrays of trial {key} cannot be read: {type(error).__name__}: {error}") from None


def _is_whole_hdf5(content: bytes) -> bool:
    place = _HDF5_END.get(content[len(_HDF5)], 0) if len(content) > 48 and content.startswith(_HDF5) else 0
    return bool(place) and int.from_bytes(content[place : place + 8], "little") <= len(content)


def contents(archive: zipfile.ZipFile) -> dict[str, frozenset[str]]:
    """Kinds of files beside each record of a shard, by key, from the zip's directory alone."""
    found: dict[str, set[str]] = {}
    for name in archive.namelist():
        member = _MEMBER.fullmatch(name)
        if member:
            found.setdefault(member["key"], set()).add(_KINDS[member["suffix"]])
    return {key: frozenset(kinds - {"record"}) for key, kinds in found.items() if "record" in kinds}


def read_contents(file: IO[bytes], name: str) -> dict[str, frozenset[str]]:
    """`contents` of an open shard, of which only the end is read.

    Raises:
        DamagedRecord: it has no such end.
    """
    with zip_errors(f"shard {name}"), zipfile.ZipFile(file) as archive:
        return contents(archive)


def named_in(content: bytes) -> frozenset[str]:
    """Keys of records that the bytes of a shard name, be it torn or altered."""
    return frozenset(key.decode() for key in _RECORD_NAME.findall(content))


@contextmanager
def zip_errors(what: str) -> Iterator[None]:
    """Raise `DamagedRecord` for whatever reading a ZIP archive raises of bytes that are none."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        KeyError,
        IndexError,
        NotImplementedError,
        OverflowError,
        RuntimeError,  # zipfile asks for a password
        ValueError,
    ) as error:
        raise DamagedRecord(f"{what} cannot be read: {error}") from None
