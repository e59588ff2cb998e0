"""Named columns of a user's file: CSV, NumPy's `.npz` or Parquet. Whatever the file holds, the answer is one line."""

from __future__ import annotations

import codecs
import csv
import io
import lzma
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import UnknownName, invalid, unknown
from ...core.text import printable, shown
from .table import MISSING

#: Kinds of files, by the ends of their names.
FORMATS = (".csv", ".npz", ".parquet")
#: Bytes of the largest file, and of what an array of a compressed `.npz` may grow to: they are read at once.
MOST_BYTES = 1 << 32
#: Bytes of a CSV file that are read at once, and where a line is longer, the most that it may have.
_BLOCK, _LONGEST_LINE = 1 << 20, 1 << 30
#: What stands between the columns of CSV files.
_SEPARATORS = ",;\t"
#: Names of columns that a message lists, at most.
_MOST_LISTED = 50
_LINE_END = re.compile(rb"\r\n?|\n")


def read_bytes(path: Path) -> bytes:
    """The content of a data file.

    Raises:
        ValueError: a name of no known kind, or a file that is not there, too large or not readable.
    """
    if path.suffix.lower() not in FORMATS:
        raise invalid("data", path.name, f"a file whose name ends in {', '.join(FORMATS)}")
    try:
        if not path.is_file():
            raise invalid("data", str(path), "a file that is there")
        if path.stat().st_size > MOST_BYTES:
            raise invalid("data", path.name, f"a file of at most {MOST_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise invalid("data", str(path), f"a file that can be read: {error.strerror}") from None


def read_columns(
    name: str, kind: str, content: bytes, numbers: Sequence[str], labels: Sequence[str], separator: str
) -> dict[str, np.ndarray]:
    """The columns asked for: of numbers (n, k) float64, NaN where missing; of labels (n,) strings, None where missing.

    k is 1 but for two-dimensional arrays of an `.npz`. Numbers are rounded to float64, and what is beyond its range is
    infinite. A blank line of a CSV file is no row, but where the file has one column a missing value.

    Args:
        name: what messages call the file. kind: one of `FORMATS`. numbers, labels: names of columns.
        separator: of a CSV file.

    Raises:
        ValueError: a file that is not of its kind, a name that is there twice, or a column that does not hold what is
            asked of it.
        UnknownName: a column that is not there, with the nearest that is.
    """
    reader = {".csv": _read_csv, ".npz": _read_npz, ".parquet": _read_parquet}[kind]
    found = reader(name, content, tuple(numbers), tuple(labels), separator)
    lengths = {len(column) for column in found.values()}
    if len(lengths) > 1:
        each = ", ".join(f"{column} {len(values)}" for column, values in found.items())
        raise ValueError(f"{name}: expected arrays of one length, not {printable(each)}")
    return found


def check_names(name: str, there: Sequence[str], wanted: Iterable[str]) -> None:
    """Raise unless each wanted column is there, once."""
    times = Counter(there)
    for column in wanted:
        if times[column] == 0:
            raise unknown(f"column of {name}:", column, there, _MOST_LISTED)
        if times[column] > 1:
            raise ValueError(f"{name}: column {shown(column)} is there {times[column]} times: expected once")


def _read_csv(
    name: str, content: bytes, numbers: tuple[str, ...], labels: tuple[str, ...], separator: str
) -> dict[str, np.ndarray]:
    import pyarrow as pa
    from pyarrow import csv as arrow

    names = _header(name, content, separator)
    try:
        check_names(name, names, [*numbers, *labels])
    except UnknownName as error:
        raise UnknownName(f"{error}{_other_separator(names)}") from None
    _refuse_open_quotation(name, content, separator)
    longest = max(map(len, io.BytesIO(content)))
    if longest > _LONGEST_LINE:
        raise ValueError(f"{name}: a line has {longest} bytes: expected at most {_LONGEST_LINE}")
    kinds = {**dict.fromkeys(numbers, pa.float64()), **dict.fromkeys(labels, pa.string())}
    # In one column a blank line is an entry that is missing, unless nothing but blank lines is before or after it.
    lone = len(names) == 1
    text = content.removeprefix(codecs.BOM_UTF8).strip(b"\r\n") + b"\n" if lone else content
    try:
        table = arrow.read_csv(
            pa.BufferReader(text),
            arrow.ReadOptions(use_threads=False, block_size=max(_BLOCK, longest)),
            arrow.ParseOptions(delimiter=separator, newlines_in_values=True, ignore_empty_lines=not lone),
            arrow.ConvertOptions(
                column_types=kinds,
                include_columns=list(kinds),
                null_values=sorted(MISSING),
                strings_can_be_null=True,
            ),
        )
    except (pa.ArrowException, ValueError) as error:

        def place(found: re.Match[str]) -> str:  # Arrow counts no blank lines
            return f"Row {csv_row(name, content, separator, int(found[1]) - 2)}"

        said = re.sub(r"Row #([1-9]\d{0,17})", place, printable(error, 300), count=1)
        raise ValueError(f"{name}: {_plainly(said, names)}") from None
    return {
        **{column: _as_numbers(table[column]) for column in numbers},
        **{column: _as_labels(table[column]) for column in labels},
    }


def _other_separator(names: list[str]) -> str:
    """What a header of one column that another separator would divide is told with; "" of any other."""
    found = [mark for mark in _SEPARATORS if len(names) == 1 and mark in names[0]]
    return f" (separator = {found[0]!r}?)" if found else ""


def _header(name: str, content: bytes, separator: str) -> list[str]:
    """The names in the first row of a CSV file that is not blank."""
    size, ended = _BLOCK, False
    names: list[str] | None = None
    while not ended:
        head = content[:size]
        whole = len(head) == len(content)
        try:
            text = head.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            if error.start < len(head) - 4 or whole:
                raise ValueError(f"{name}: byte {error.start + 1} is not UTF-8: save the file as UTF-8") from None
            text = head[: error.start].decode("utf-8-sig")
        lines = io.StringIO(text, newline=None)  # line ends of every kind
        try:
            names = next((row for row in csv.reader(lines, delimiter=separator) if row), None)
        except csv.Error as error:
            raise ValueError(f"{name}: its header cannot be read: {printable(error, 200)}") from None
        ended = whole or lines.tell() < len(lines.getvalue())  # a row that takes all there is may go on beyond it
        size *= 4
    if names is None:
        raise ValueError(f"{name} is empty: expected a header with the names of columns, and rows below it")
    return names


def csv_row(name: str, content: bytes, separator: str, index: int) -> int:
    """The row of a CSV file that is row `index`, from 0, of its columns, counted as a spreadsheet does.

    The header and blank lines are rows too, and an entry of several lines takes one.

    Raises:
        ValueError: a file without a header.
    """
    lone = len(_header(name, content, separator)) == 1
    text = _quoted_entries(separator).sub(b'""', content.removeprefix(codecs.BOM_UTF8))
    filled = (line.start() for line in re.finditer(rb"[^\r\n]+", text))
    start = next(islice(filled, 0 if lone else index + 1, None), len(text))
    return 1 + len(_LINE_END.findall(text, 0, start)) + (index + 1 if lone else 0)


def _quoted_entries(separator: str) -> re.Pattern[bytes]:
    """Entries that begin with a quotation mark, up to the mark that closes them: group 1, where the entry ends there.

    A mark elsewhere, as in 5", means itself.
    """
    ends = re.escape(separator.encode()) + rb"\r\n"
    begins = rb'(?:(?<=\A")|(?<=\A\xef\xbb\xbf")|(?<=[' + ends + rb']"))'
    return re.compile(rb'"' + begins + rb'[^"]*+(?:""[^"]*+)*+("(?![^' + ends + rb"]))?")


def _refuse_open_quotation(name: str, content: bytes, separator: str) -> None:
    """Raise where a quotation mark is not closed where its entry ends.

    Arrow takes all for one entry that lies between it and the next such mark, or the end, and no row is missed.
    """
    entries = _quoted_entries(separator)
    for entry in entries.finditer(content):
        if entry[1] is None:
            row = 1 + len(_LINE_END.findall(entries.sub(b"", content[: entry.start()])))
            raise ValueError(f"{name}: row {row} has a quotation mark that is not closed where its entry ends")


def _plainly(text: str, names: list[str]) -> str:
    """What Arrow says of a CSV file, with the name of the column in place of its number."""
    for prefix in ("CSV parse error: ", "In CSV "):
        text = text.removeprefix(prefix)
    first, _, rest = text.partition(": ")
    number = first.removeprefix("column #")
    if number != first and number.isdigit() and int(number) < len(names):
        text = f"column {shown(names[int(number)])}: {rest}"
    if text.startswith("straddling"):
        return f"a quoted entry of several lines has more than {_BLOCK} bytes: expected fewer"
    text = text.replace("CSV conversion error to double: invalid value", "expected a number, not")
    text = text.replace("CSV conversion error to string: invalid UTF8 data", "text that is not UTF-8")
    return re.sub(r"\b(Row|column) #", r"\1 ", text)


def _as_numbers(column: Any) -> np.ndarray:
    import pyarrow as pa

    values: np.ndarray = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.array(values, dtype=np.float64)[:, None]


def _as_labels(column: Any) -> np.ndarray:
    import pyarrow as pa

    values = column.to_pylist() if pa.types.is_boolean(column.type) else column.cast(pa.string()).to_pylist()
    return np.array([None if each is None else str(each) for each in values], dtype=object)


def _read_parquet(
    name: str, content: bytes, numbers: tuple[str, ...], labels: tuple[str, ...], separator: str
) -> dict[str, np.ndarray]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(pa.BufferReader(content))
        schema = file.schema_arrow
        check_names(name, schema.names, [*numbers, *labels])
        for column in (*numbers, *labels):
            kind = schema.field(column).type
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            real = pa.types.is_floating(kind) or pa.types.is_decimal(kind)
            number = pa.types.is_integer(kind) or (real and column not in labels)
            kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_boolean)
            text = any(holds(kind) for holds in kinds)
            if not (number or (text and column in labels)):
                wanted = "numbers" if column in numbers else "text or integers"
                nested = ": one column for each of its entries" if pa.types.is_nested(kind) else ""
                raise ValueError(
                    f"{name}: column {shown(column)} holds {printable(kind, 100)}: expected {wanted}{nested}"
                )
        table = file.read(columns=[*numbers, *labels], use_threads=False)
        return {
            **{column: _as_numbers(table[column]) for column in numbers},
            **{column: _as_labels(table[column]) for column in labels},
        }
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{name} cannot be read as Parquet: {printable(error, 200)}") from None


def _read_npz(
    name: str, content: bytes, numbers: tuple[str, ...], labels: tuple[str, ...], separator: str
) -> dict[str, np.ndarray]:
    found = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            check_names(name, [entry.removesuffix(".npy") for entry in packed.namelist()], [*numbers, *labels])
            for column in (*numbers, *labels):
                entry = packed.getinfo(f"{column}.npy")
                if entry.file_size > MOST_BYTES:
                    raise ValueError(f"{name}: array {shown(column)} has more than {MOST_BYTES} bytes")
                found[column] = _array(name, column, packed.read(entry), column in labels)
    except (
        *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
        *(KeyError, EOFError, OSError, NotImplementedError, RuntimeError, UnicodeDecodeError),
    ) as error:
        raise ValueError(f"{name} cannot be read as .npz: {printable(error, 200)}") from None
    return found


def _array(name: str, column: str, content: bytes, label: bool) -> np.ndarray:
    where = f"{name}: array {shown(column)}"
    try:
        values = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # the header is a literal of Python: what reading a hostile one raises has no end
        if "pickle" in str(error):
            raise ValueError(f"{where} holds pickled objects, which are not read because they can run code") from None
        raise ValueError(f"{where} cannot be read: {printable(error, 200)}") from None
    if label:
        if values.ndim != 1 or values.dtype.kind not in "iubU":
            raise ValueError(f"{where} is {values.dtype} {values.shape}: expected (n,) integers or text")
        return np.array([str(each) for each in values.tolist()], dtype=object)
    if values.ndim not in (1, 2) or values.dtype.kind not in "iuf" or values.shape[1:] == (0,):
        raise ValueError(f"{where} is {values.dtype} {values.shape}: expected (n,) or (n, d) numbers, d >= 1")
    numbers: np.ndarray = values.astype(np.float64)
    return numbers[:, None] if numbers.ndim == 1 else numbers
