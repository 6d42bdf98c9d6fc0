"""Sample an export: the first rows of its newest files, in bounded memory."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

import pyarrow as pa
from s3fs.utils import FileExpired

from ometria_source.describe.shapes import looks_headerless
from ometria_source.exceptions import BucketError, UnknownFormatError, UnreadableFileError
from ometria_source.export.bucket import BucketFile, open_file
from ometria_source.export.csv import DELIMITERS, CsvDialect
from ometria_source.export.formats import FoundFormat, format_of, is_hidden
from ometria_source.export.read import read_tables
from ometria_source.export.retry import RetryBudget, is_denied
from ometria_source.shown import shown_name

# How many files are looked into. A guess: enough to see a column that comes and goes, few enough to take seconds.
FILES_READ = 10

# How much of one file is looked into, in rows and in bytes of Arrow's memory. Both are guesses: together they keep the
# whole sample near 40 MiB, and the time that it takes in seconds.
ROWS_OF_A_FILE = 10_000
BYTES_OF_A_FILE = 4 << 20

# The formats that a file without a known one is tried as; the one that makes more columns of its header, at least two.
# Names of columns hold a comma rather than a tab, so tsv is first.
TRIED_FORMATS = ("tsv", "csv")

# The encodings that a csv file is tried in that cannot be read as it is configured. Those of several bytes fit no other
# text. Of those of one byte a character, which fit nearly any, the likeliest comes first: a guess.
TRIED_ENCODINGS = ("utf-16", "utf-32", "utf-16-le", "utf-16-be", "cp1252", "latin-1")


@dataclass
class Inventory:
    """What there is to read.

    Attributes:
        files: How many files hold something.
        empty: How many have no bytes.
        hidden: How many are skipped, because their names begin with `_` or `.`.
        oldest: The first modification time of those that are not skipped; None where there is none.
        newest: The last one.
        sample: The newest files that hold something, the newest first.
        problems: A sentence for each file or link that the listing found a problem with.
    """

    files: int = 0
    empty: int = 0
    hidden: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None
    sample: list[BucketFile] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class FileSample:
    """The first rows of a file.

    Attributes:
        path: Relative to the bucket.
        modified_at: When the file was last modified.
        size: Bytes, as it is stored.
        found: What it was found to be; several for a zip, none where it holds nothing.
        tables: Its rows, as the readers give them; none where it cannot be read.
        rows: How many there are.
        is_whole: Whether that is all of it.
        tried: The format that it was read as, where only trying showed it.
        dialect: What csv was read in, where only trying showed a part of it.
        unnamed: How many columns at the end have no name, and are left out.
        problem: A sentence: why it cannot be read.
        is_headerless: Its first line looks like data, so its columns' names may be a person's.
    """

    path: str
    modified_at: datetime
    size: int
    found: tuple[FoundFormat, ...] = ()
    tables: tuple[pa.Table, ...] = ()
    rows: int = 0
    is_whole: bool = True
    tried: str | None = None
    dialect: CsvDialect | None = None
    unnamed: int = 0
    problem: str | None = None
    is_headerless: bool = False


def take_inventory(files: Iterable[BucketFile], most: int = FILES_READ) -> Inventory:
    """Count files, and pick the newest.

    Args:
        files: As they are listed; only `most` of them are kept.
        most: How many to pick.
    """
    result = Inventory()
    # by path where two are of the same time, so that two looks at one export see the same
    newest: list[tuple[datetime, str, BucketFile]] = []
    for file in files:
        if is_hidden(file["relative_path"]):
            result.hidden += 1
            continue
        if file.problem is not None:
            result.problems.append(f"{shown_name(file['relative_path'])} {file.problem}.")
            continue
        modified_at = file["modification_date"]
        result.oldest = min(result.oldest or modified_at, modified_at)
        result.newest = max(result.newest or modified_at, modified_at)
        if not file["size_in_bytes"]:
            result.empty += 1
            continue
        result.files += 1
        entry = (modified_at, file["relative_path"], file)
        if len(newest) < most:
            heapq.heappush(newest, entry)
        else:
            heapq.heappushpop(newest, entry)
    result.sample = [file for *_, file in sorted(newest, key=lambda entry: entry[:2], reverse=True)]
    return result


def sample_file(
    file: BucketFile, file_format: str | None, retry: RetryBudget, dialect: CsvDialect | None = None
) -> FileSample:
    """Read the first rows of a file.

    Args:
        file: As it was listed.
        file_format: The setting of this name.
        retry: Retries calls to the bucket's store.
        dialect: The settings of csv; None: none. What is not set is tried, if the file cannot be read without.

    Returns:
        The sample; of a file that cannot be read, the sentence that says why.

    Raises:
        BucketError: The store does not answer.
    """
    try:
        return _read(file, file_format, retry, dialect)
    except UnknownFormatError as error:
        return _try_formats(file, retry, dialect) or _unreadable(file, _problem(error))
    except UnreadableFileError as error:
        return _try_dialects(file, file_format, retry, dialect) or _unreadable(file, _problem(error))
    except FileNotFoundError:
        return _unreadable(file, f"{shown_name(file['relative_path'])} was deleted before it was read.")
    except FileExpired:
        name = shown_name(file["relative_path"])
        return _unreadable(file, f"{name} was replaced while it was read; describe the export again.")
    except BucketError as error:
        if not is_denied(error):
            raise
        # one file of another owner, in a bucket that can be read
        return _unreadable(file, str(error))


def _problem(error: UnreadableFileError) -> str:
    # the error's own sentence speaks of a load
    return f"{error.place}: {error.problem}."


def _unreadable(file: BucketFile, problem: str) -> FileSample:
    return replace(_nothing(file), problem=problem)


def _nothing(file: BucketFile) -> FileSample:
    return FileSample(file["relative_path"], file["modification_date"], file["size_in_bytes"])


def _try_dialects(
    file: BucketFile, file_format: str | None, retry: RetryBudget, dialect: CsvDialect | None
) -> FileSample | None:
    """Read a file that is csv by its name or by `file_format`, but cannot be read so, in other dialects."""
    if _kind(file["relative_path"], file_format) not in TRIED_FORMATS:
        return None
    given = dialect or CsvDialect()
    best: FileSample | None = None
    columns = 0
    for encoding in [given.encoding] if given.encoding else [None, *TRIED_ENCODINGS]:
        for delimiter in [given.delimiter] if given.delimiter else [None, *DELIMITERS]:
            tried = CsvDialect(delimiter, encoding)
            try:
                sample = _read(file, file_format, retry, tried)
            except UnreadableFileError:
                continue
            width = max((table.num_columns for table in sample.tables), default=0)
            # one column is what any text has: without another delimiter its content shows no format
            if width > columns and (width > 1 or delimiter == given.delimiter):
                best, columns = replace(sample, dialect=tried), width
        if best is not None:
            return best
    return None


def _kind(path: str, file_format: str | None) -> str | None:
    """The format by the setting or the name; the files in a zip may be csv."""
    kind, compression = format_of(path, file_format)
    return "csv" if kind is None and compression == "zip" else kind


def _try_formats(file: BucketFile, retry: RetryBudget, dialect: CsvDialect | None) -> FileSample | None:
    """Read a file whose format nothing shows, where one of the two formats fits that have no mark."""
    best: FileSample | None = None
    columns = 1
    for kind in TRIED_FORMATS:
        try:
            sample = _read(file, kind, retry, dialect)
        except UnreadableFileError:
            continue
        width = max((table.num_columns for table in sample.tables), default=0)
        if width > columns:
            best, columns = replace(sample, tried=kind), width
    return best


def _read(file: BucketFile, file_format: str | None, retry: RetryBudget, dialect: CsvDialect | None) -> FileSample:
    found: list[FoundFormat] = []
    unnamed: list[int] = []
    tables: list[pa.Table] = []
    rows, room, is_whole = 0, BYTES_OF_A_FILE, True
    form = (file_format, found.append, dialect, unnamed.append)
    with open_file(file, retry) as opened:
        for table in read_tables(file["relative_path"], opened.stream, *form):
            fits = min(table.num_rows, ROWS_OF_A_FILE - rows)
            if table.nbytes > room:
                # at least one row: a file of giants still shows its columns
                fits = min(fits, max(table.num_rows * room // table.nbytes, 0 if rows else 1))
            is_whole = fits == table.num_rows
            # copied, so that the rest of the table is let go of
            kept = table if is_whole else table.take(pa.array(range(fits), pa.int64()))
            tables.append(kept)
            rows += fits
            room -= min(room, kept.nbytes)
            if not is_whole:
                break
    delimited = bool({format_.kind for format_ in found} & {"csv", "tsv"})
    return replace(
        _nothing(file),
        found=tuple(dict.fromkeys(found)),
        tables=tuple(tables),
        rows=rows,
        is_whole=is_whole,
        unnamed=max(unnamed, default=0),
        is_headerless=delimited and any(map(looks_headerless, tables)),
    )
