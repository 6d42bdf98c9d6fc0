"""What decoding a Parquet file costs, from the headers of its pages: its footer does not say it.

Compression and dictionaries make gigabytes of repeated text a few bytes, and Arrow has no limit for what it decodes. So
each column chunk is read here once, its page headers are added up, and Arrow is given the same bytes: nothing is read
twice. Formats: parquet.thrift of the Apache project, in Thrift's compact protocol.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ometria_source.export.retry import WatchedStream

# Writers end a page at about 1 MiB (parquet-mr, Arrow, DuckDB), or with the cell or few that cross it. A page is in
# memory as a whole.
MAX_PAGE_BYTES = 256 << 20

# What one batch may hold at most. A guess: with the copies that reading makes, a few hundred MiB.
MAX_BATCH_BYTES = 256 << 20

# What the dictionaries and the longest pages of all columns take, which are in memory together. A guess: 250 columns of
# the pages that writers make, and in memory up to five times as much.
MAX_OPEN_BYTES = 512 << 20

# Text of a dictionary that is this long in one batch, as if each row had the longest entry, is read as a dictionary.
_MAX_REPEATED_BYTES = 16 << 20

# Chunks are read together until this much: a request to a bucket takes longer than a few MiB.
_MIN_READ_BYTES = 8 << 20

# The shortest JSON of a value and its comma, such as `1,`.
MIN_JSON_BYTES = 2

# Enums of parquet.thrift.
_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 0, 2, 3
_DELTA_BYTE_ARRAY = 7

# Arrow's names of the codecs whose blocks it can decompress alone; "LZ4" has a framing of Hadoop's.
_CODECS = {"SNAPPY": "snappy", "GZIP": "gzip", "BROTLI": "brotli", "ZSTD": "zstd", "LZ4_RAW": "lz4_raw"}


class DamagedPagesError(Exception):
    """A page header cannot be parsed."""


class WideGroupError(Exception):
    """The pages of all columns together are too long to be decoded in memory."""


class LongPageError(Exception):
    """A page is too long to be decoded in memory.

    Args:
        column: The column, as the file spells its path.
    """

    def __init__(self, column: str) -> None:
        super().__init__()
        self.column = column


class LongRowError(LongPageError):
    """A row is too long, as `LongPageError`."""


class Page(NamedTuple):
    """A data page: its values, its bytes, and the most that one value in it takes where values share bytes, else 0."""

    values: int
    size: int
    shared: int


@dataclass
class ChunkCost:
    """What the pages of one column chunk hold.

    Attributes:
        dictionary: The bytes of its dictionary; 0: there is none.
        entry: The longest entry of its dictionary, in bytes.
        pages: Its data pages.
    """

    dictionary: int = 0
    entry: int = 0
    pages: list[Page] = field(default_factory=list)


class ChunkStream(WatchedStream):
    """A file whose column chunks, once inspected, are read from memory.

    Args:
        stream: The file, seekable.
    """

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream)
        self._kept: dict[int, memoryview] = {}
        self._offset = 0
        self.length = super().seek(0, io.SEEK_END)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As a file's; the file below is sought when it is read."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: self.length}[whence]
        if start + offset < 0:
            raise OSError("an offset before the beginning of the file")
        self._offset = start + offset
        return self._offset

    def tell(self) -> int:
        """As a file's."""
        return self._offset

    def read(self, size: int | None = -1) -> bytes:
        """As a file's. A kept chunk that is asked for exactly is handed over without a copy, and forgotten."""
        chunk = self._kept.get(self._offset)
        if chunk is not None and size == len(chunk):
            del self._kept[self._offset]
            self._offset += len(chunk)
            return chunk  # type: ignore[return-value]  # Arrow takes any buffer
        super().seek(self._offset)
        data = super().read(size)
        self._offset += len(data)
        return data

    def keep(self, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """Read ranges, each an offset and a length, and keep them in place of those kept before."""
        self._kept.clear()
        for run in _neighbours(sorted(ranges)):
            start = run[0][0]
            self.seek(start)
            data = memoryview(self.read(sum(size for _, size in run)))
            for offset, size in run:
                self._kept[offset] = data[offset - start :][:size]
        return [self._kept[offset] for offset, _ in ranges]


def _neighbours(ranges: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Group ranges that follow each other without a gap, up to `_MIN_READ_BYTES` and one range more."""
    run: list[tuple[int, int]] = []
    end = length = 0
    for offset, size in ranges:
        if run and (offset != end or length >= _MIN_READ_BYTES):
            yield run
            run, length = [], 0
        run.append((offset, size))
        end, length = offset + size, length + size
    if run:
        yield run


@dataclass(frozen=True)
class ReadPlan:
    """How row groups can be read in bounded memory.

    Attributes:
        rows: The most rows of a batch.
        dictionaries: Columns whose dictionaries are too long to be decoded row by row, as the file spells their paths.
    """

    rows: int
    dictionaries: frozenset[str]


def plan_reading(
    parquet: pq.ParquetFile, stream: ChunkStream, groups: Sequence[int], most_rows: int, most_row_bytes: int
) -> ReadPlan:
    """Inspect row groups, whose bytes are kept for Arrow to read next.

    Args:
        parquet: The file.
        stream: The stream that it reads.
        groups: Numbers of the row groups.
        most_rows: The rows that a batch has at most.
        most_row_bytes: The bytes that a row has at most.

    Raises:
        DamagedPagesError: A page header is not one, or a chunk is not in the file.
        LongPageError: A page is too long.
        LongRowError: A row is too long: the rows of a group are, on average.
        WideGroupError: The pages of all columns together are too long.
    """
    columns = [parquet.schema.column(place) for place in range(parquet.metadata.num_columns)]
    places = [(group, place) for group in groups for place in range(len(columns))]
    chunks = [parquet.metadata.row_group(group).column(place) for group, place in places]
    ranges = [_range(chunk, stream.length) for chunk in chunks]
    pages: list[list[Page]] = [[] for _ in columns]
    entries = [0] * len(columns)
    in_memory = dict.fromkeys(groups, 0)
    dictionaries = set()
    for (group, place), chunk, data in zip(places, chunks, stream.keep(ranges), strict=True):
        column, rows_of_group = columns[place], max(1, parquet.metadata.row_group(group).num_rows)
        cost = _chunk_cost(chunk, data, column.length if column.physical_type == "FIXED_LEN_BYTE_ARRAY" else 0)
        repeated = chunk.num_values
        if not column.max_repetition_level:
            repeated = min(repeated, most_rows)
        elif _json_bytes(column, cost.pages) > rows_of_group * most_row_bytes:
            raise LongRowError(column.path)
        if cost.entry * repeated > _MAX_REPEATED_BYTES:
            dictionaries.add(column.path)
        entries[place] = max(entries[place], cost.entry)
        in_memory[group] += cost.dictionary + max((page.size for page in cost.pages), default=0)
        pages[place] += cost.pages
    if max(in_memory.values(), default=0) > MAX_OPEN_BYTES:
        raise WideGroupError
    total_rows = max(1, sum(parquet.metadata.row_group(group).num_rows for group in groups))
    # how many values a row has is only known on average
    values = [max(1, sum(page.values for page in column) // total_rows) for column in pages]
    costs = list(zip(columns, pages, values, entries, strict=True))

    def most_bytes(rows: int) -> int:
        repeated: Iterator[int] = (
            entry * rows * each for column, _, each, entry in costs if column.path not in dictionaries
        )
        return sum(repeated, sum(_most_bytes(own, rows * each) for _, own, each, _ in costs))

    rows = most_rows
    while rows > 1 and most_bytes(rows) > MAX_BATCH_BYTES:
        rows = max(1, rows // 4)
    if most_bytes(rows) > MAX_BATCH_BYTES:
        dictionaries.update(column.path for column, _, _, entry in costs if entry)
    return ReadPlan(rows, frozenset(dictionaries))


def _range(chunk: Any, length: int) -> tuple[int, int]:
    """Offset and length of a column chunk."""
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
        start = chunk.dictionary_page_offset
    size = chunk.total_compressed_size
    if start < 0 or size < 0 or start + size > length:
        raise DamagedPagesError
    return start, size


def _chunk_cost(chunk: Any, data: memoryview, width: int) -> ChunkCost:
    try:
        return _added_up(chunk, data, width)
    except (IndexError, KeyError, TypeError, struct.error):
        pass
    raise DamagedPagesError


def _added_up(chunk: Any, data: memoryview, width: int) -> ChunkCost:
    cost = ChunkCost()
    offset = values = 0
    while offset < len(data) and values < chunk.num_values:
        header, body = _Compact(data, offset).structure()
        kind, size, stored = header[1], header[2], header[3]
        offset = body + stored
        if size < 0 or stored < 0 or offset > len(data):
            raise DamagedPagesError
        if size > MAX_PAGE_BYTES:
            raise LongPageError(chunk.path_in_schema)
        if kind == _DICTIONARY_PAGE:
            cost.dictionary = size
            cost.entry = _longest_entry(chunk, header[7][1], size, data[body:offset])
        elif kind in {_DATA_PAGE, _DATA_PAGE_V2}:
            page = header[5] if kind == _DATA_PAGE else header[8]
            encoding = page[2] if kind == _DATA_PAGE else page[4]
            values += page[1]
            shared = width or (size if encoding == _DELTA_BYTE_ARRAY else 0)
            cost.pages.append(Page(page[1], size, shared))
    return cost


def _longest_entry(chunk: Any, entries: int, size: int, stored: memoryview) -> int:
    """The length of the longest text or bytes in a dictionary, or a bound of it; 0: they have a fixed length."""
    if chunk.physical_type != "BYTE_ARRAY":
        return 0
    bound = size - 4 * entries
    if bound * chunk.num_values <= _MAX_REPEATED_BYTES:
        return max(bound, 0)
    if chunk.compression in _CODECS:
        content = memoryview(pa.decompress(stored, size, _CODECS[chunk.compression]))
    elif chunk.compression == "UNCOMPRESSED":
        content = stored
    else:
        return bound
    longest = offset = 0
    read_length = struct.Struct("<I").unpack_from
    for _ in range(entries):
        (length,) = read_length(content, offset)
        offset += 4 + length
        if length > longest:  # noqa: PLR1730 -- `max` takes twice as long, and a dictionary has up to 100,000 entries
            longest = length
    return longest


def _json_bytes(column: Any, pages: Sequence[Page]) -> int:
    """The bytes that the values of a nested column take at least when they are written as JSON."""
    values = sum(page.values for page in pages)
    # a text takes four bytes more in a page, and three more in JSON
    texts = sum(max(0, page.size - 4 * page.values) for page in pages) if column.physical_type == "BYTE_ARRAY" else 0
    return MIN_JSON_BYTES * values + texts


def _most_bytes(pages: Sequence[Page], rows: int) -> int:
    """The most bytes that so many consecutive values take, with the pages that they touch."""
    most = total = values = first = 0
    for last, page in enumerate(pages):
        total += page.size + page.shared * min(page.values, rows)
        values += page.values
        # the values between the first page and the last must leave room for one of each
        while first < last and values - pages[first].values - page.values > rows - 2:
            total -= pages[first].size + pages[first].shared * min(pages[first].values, rows)
            values -= pages[first].values
            first += 1
        most = max(most, total)
    return most


class _Compact:
    """Thrift's compact protocol, as far as headers and footers need it: numbers and structures, without texts."""

    # A header has three levels.
    _MAX_DEPTH = 16

    def __init__(self, data: memoryview, offset: int) -> None:
        self._data = data
        self._offset = offset

    def structure(self, depth: int = 0) -> tuple[dict[int, Any], int]:
        """The fields of a structure by their number, and the offset behind it."""
        if depth > self._MAX_DEPTH:
            raise IndexError
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            fields[number] = self._value(head & 15, depth)
        return fields, self._offset

    def _byte(self) -> int:
        byte = self._data[self._offset]
        self._offset += 1
        return byte

    def _varint(self) -> int:
        result = shift = 0
        while True:
            byte = self._byte()
            result |= (byte & 127) << shift
            if byte < 128:
                return result
            shift += 7
            if shift > 63:
                raise IndexError

    def _zigzag(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)

    def _value(self, kind: int, depth: int, *, is_element: bool = False) -> Any:
        if kind in {1, 2}:
            return self._byte() == 1 if is_element else kind == 1
        if kind == 3:
            return self._byte()
        if kind in {4, 5, 6}:
            return self._zigzag()
        if kind == 7:
            self._offset += 8
        elif kind == 8:
            length = self._varint()
            self._offset += length
        elif kind in {9, 10}:
            head = self._byte()
            for _ in range(self._varint() if head >> 4 == 15 else head >> 4):
                self._value(head & 15, depth + 1, is_element=True)
        elif kind == 12:
            return self.structure(depth + 1)[0]
        else:
            raise IndexError
        return None


def has_encryption(footer: bytes) -> bool:
    """Whether a footer describes encrypted columns."""
    try:
        # FileMetaData, field 8: encryption_algorithm
        return 8 in _Compact(memoryview(footer), 0).structure()[0]
    except IndexError:
        return False
