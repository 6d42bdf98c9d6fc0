"""Render the description of an export as text: its newest files, its columns, and the settings to paste.

The text holds no value of a row, but for those that `describe.shapes` allows, and the first and last timestamp of a
column. Names of columns and files are the export's own, so unprintable characters in them are escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime

from ometria_source.describe.column_profile import CandidateKeys, Column, candidate_keys, describe_columns, described
from ometria_source.describe.hints import (
    Join,
    KeyAdvice,
    declarable_types,
    event_times,
    is_one_row_an_email,
    key_advice,
    likely_joins,
    unknown_to_strict,
)
from ometria_source.describe.sample import ROWS_OF_A_FILE, TRIED_FORMATS, FileSample, Inventory
from ometria_source.export.csv import CsvDialect
from ometria_source.export.formats import BY_NAME, BY_SETTING, FoundFormat, format_of
from ometria_source.loading.report import aligned
from ometria_source.shown import printable, shown_name
from ometria_source.tables.email_events.rows import TABLE

# What TOML takes as a key without quotes.
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def config_lines(
    file_format: str | None, keys: Sequence[KeyAdvice], types: Mapping[str, str], dialect: CsvDialect | None = None
) -> list[str]:
    """The settings that a sample suggests, as TOML.

    Args:
        file_format: None where every file shows its own.
        keys: The likeliest first; only that one is written, and as a comment where it is not sure.
        types: Data type by column name.
        dialect: What must be set to read csv; None: nothing.

    Returns:
        Lines of a TOML document.
    """
    lines = ["[sources.ometria]"]
    if file_format is not None:
        lines.append(f"file_format = {_quoted(file_format)}")
    if dialect is not None and dialect.delimiter is not None:
        lines.append(f"csv_delimiter = {_quoted(dialect.delimiter)}")
    if dialect is not None and dialect.encoding is not None:
        lines.append(f"csv_encoding = {_quoted(dialect.encoding)}")
    if keys:
        best = keys[0]
        setting = f"email_events_key = [{', '.join(map(_quoted, best.columns))}]"
        lines.append(setting if best.is_sure else f"# {setting}")
    if types:
        pairs = ", ".join(f"{_key(name)} = {_quoted(kind)}" for name, kind in types.items())
        lines.append(f"email_events_columns = {{ {pairs} }}")
    return lines


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _quoted(name)


def _quoted(text: str) -> str:
    # what JSON escapes, TOML's basic strings escape alike, but for DEL, which only TOML does
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


# Keys that are named; more are only counted. A guess.
MOST_KEYS = 5

# What stands between the cells of a file that is delimited by something else than its format says.
_OTHER_DELIMITERS = (";", "|", "\t", ",")


def description(
    inventory: Inventory, samples: Sequence[FileSample], file_format: str | None, dialect: CsvDialect | None = None
) -> list[str]:
    """Describe an export.

    Args:
        inventory: What there is.
        samples: What was read of it, the newest file first.
        file_format: The setting of this name.
        dialect: The settings of csv; None: none.

    Returns:
        Lines of text.
    """
    known = described(samples)
    columns = describe_columns(known)
    needed_format = _needed_format(samples, file_format)
    needed_dialect = _needed_dialect(samples, dialect)
    lines = [*_inventory(inventory), "", *_files(samples, needed_format, needed_dialect)]
    if not columns:
        return [*lines, "", "No column can be told: no file that was read has a header that looks like one, or a row."]
    keys = candidate_keys(known, columns)
    advice = _doubted(key_advice(keys, columns), samples)
    rows = sum(sample.rows for sample in known)
    sections = (
        [f"Columns, over the {_count(rows, 'row')} of {_count(len(known), 'file')}:", *_columns(columns, len(known))],
        _keys(keys, advice, columns),
        _times(columns),
        _joins(likely_joins(columns)),
        _strict(columns),
        _suggestion(config_lines(needed_format, advice, declarable_types(columns), needed_dialect)),
    )
    for section in sections:
        lines += ["", *section]
    return lines


def _inventory(inventory: Inventory) -> Iterator[str]:
    yield f"The export has {_count(inventory.files + inventory.empty, 'file')}."
    if inventory.empty:
        yield f"  {_count(inventory.empty, 'file')} of no bytes, left out below"
    if inventory.hidden:
        yield f"  {_count(inventory.hidden, 'file')} more skipped, because their names begin with `_` or `.`"
    for problem in inventory.problems:
        yield f"  {printable(problem)}"
    if inventory.oldest and inventory.newest:
        yield f"  modified from {_instant(inventory.oldest)} to {_instant(inventory.newest)} (UTC)"


def _files(
    samples: Sequence[FileSample], needed_format: str | None, needed_dialect: CsvDialect | None
) -> Iterator[str]:
    newest = "file" if len(samples) == 1 else f"{len(samples)} files"
    yield f"The newest {newest}, at most {ROWS_OF_A_FILE:,} rows of each; nothing is loaded:"
    cells = []
    for sample in samples:
        if sample.problem is None:
            extent = "all of it" if sample.is_whole else "only its first part was read"
            cells.append((shown_name(sample.path), f"{_count(sample.rows, 'row')}", extent, _format(sample)))
        else:
            cells.append((shown_name(sample.path), "-", "CANNOT BE READ", ""))
    yield from _indented(cells, right=(1,))
    for sample in samples:
        if sample.problem is not None:
            yield printable(sample.problem)
            continue
        if sample.tried is not None and needed_format is None:
            yield (
                f"{shown_name(sample.path)}: a load refuses it, because nothing shows that it is {sample.tried}, and "
                "`file_format` would have to hold for all files: leave it, or the others, out with `file_glob`."
            )
        if sample.dialect is not None:
            yield _dialect_remark(sample.path, sample.dialect, needed_dialect)
        if sample.unnamed:
            yield (
                f"{shown_name(sample.path)}: {_count(sample.unnamed, 'column')} at the end without a name: a load "
                "leaves them out as long as they have no value."
            )
        if sample.is_headerless:
            yield (
                f"{shown_name(sample.path)}: its first line looks like data, or comes again below. If the file has no "
                "header, a load takes this line for one; no column of the file is described."
            )
        elif any(table.num_columns == 1 and _is_undivided(table.column_names[0]) for table in sample.tables):
            yield (
                f"{shown_name(sample.path)}: it has one column, in whose name other columns seem to be: check "
                "`csv_delimiter`."
            )


def _dialect_remark(path: str, dialect: CsvDialect, needed: CsvDialect | None) -> str:
    """What was found of the dialect by trying it."""
    facts = []
    if dialect.delimiter is not None:
        name = "a tab" if dialect.delimiter == "\t" else f"`{dialect.delimiter}`"
        facts.append(f"its cells are delimited by {name}")
    if dialect.encoding is not None:
        is_guess = not dialect.encoding.startswith("utf")
        facts.append(f"its text is {dialect.encoding}{', a guess: check a name with accents' if is_guess else ''}")
    what = "" if needed is not None else "; the files differ in this, so no setting holds for all: use `file_glob`"
    return f"{printable(path)}: {' and '.join(facts)}{what}."


def _is_undivided(name: str) -> bool:
    return any(delimiter in name for delimiter in _OTHER_DELIMITERS)


def _format(sample: FileSample) -> str:
    if sample.tried is not None:
        return f"{sample.tried} (nothing tells it, but it can be read so)"
    if not sample.found:
        return "nothing in it"
    return "; ".join(dict.fromkeys(map(_found, sample.found)))


def _found(found: FoundFormat) -> str:
    parts = [f"{found.kind} (by {_source(found.detected_by)})"]
    parts += [f"in {compression} (by {_source(detected_by)})" for compression, detected_by in reversed(found.packing)]
    return " ".join(parts)


def _source(detected_by: str) -> str:
    return "its name" if detected_by == BY_NAME else "`file_format`" if detected_by == BY_SETTING else "its first bytes"


def _columns(columns: Sequence[Column], files: int) -> list[str]:
    hashed = unknown_to_strict(columns)
    header = ("column", "files", "null", "different", "type", "strict", "")
    body = [
        (
            _name(column),
            f"{column.files}/{files}",
            _share(column.nulls, column.rows),
            f"{column.distinct:,}",
            _type(column),
            "hashed" if column.name in hashed else "kept",
            _remarks(column),
        )
        for column in columns
    ]
    return _indented([header, *body], right=(1, 2, 3))


def _type(column: Column) -> str:
    if column.guess is None:
        return "no value"
    if len(column.kinds) > 1:
        return f"{column.guess} ({' and '.join(column.kinds)})"
    return column.guess


def _remarks(column: Column) -> str:
    remarks = []
    if column.empties:
        remarks.append(f"{column.empties:,} empty texts")
    if column.shape is not None:
        remarks.append(f"looks like {column.shape}")
    elif column.has_personal_name:
        remarks.append("personal by its name")
    if column.values:
        others = f", and {column.other_values} not shown" if column.other_values else ""
        remarks.append(f"{', '.join(column.values)}{others}")
    return "; ".join(remarks)


def _keys(keys: CandidateKeys, advice: Sequence[KeyAdvice], columns: Sequence[Column]) -> Iterator[str]:
    yield f"What may identify an event (unique and never null over the {keys.rows:,} different rows that were read):"
    if keys.repeated:
        yield f"  {_count(keys.repeated, 'row')} more came again, equal in every cell: they become one in a load"
    for key in advice[:MOST_KEYS]:
        yield f"  {' with '.join(map(printable, key.columns))}{f': {key.doubt}' if key.doubt else ''}"
    if len(advice) > MOST_KEYS:
        yield f"  and {_count(len(advice) - MOST_KEYS, 'candidate')} more"
    if not advice:
        yield "  no column, and no pair of columns: without a key, a row is known by all of its cells"
    if keys.renewed or is_one_row_an_email(columns):
        yield (
            "  A row here may be an e-mail that is delivered again as opens and clicks arrive, not an event. Then "
            "`email_events_key` must be set, or every version of it becomes a row of its own."
        )
    yield "  A key that is not one loses rows: of those that share it, only the newest stays."


def _times(columns: Sequence[Column]) -> Iterator[str]:
    times = event_times(columns)
    yield "When an event happened (timestamps, the likeliest by its name first, which is a guess):"
    yield from _indented(
        [
            (
                _name(column),
                f"{column.span[0]} to {column.span[1]}" if column.span else "",
                "has no time zone: read as UTC" if column.lacks_zone else "",
            )
            for column in times
        ]
    )
    if not times:
        yield "  no column is written as a timestamp (ISO 8601); another form stays text, to be read in SQL"


def _joins(joins: Sequence[Join]) -> Iterator[str]:
    yield "Likely joins to the tables of the API (guesses):"
    yield from _indented([(printable(join.column), " or ".join(join.targets), join.reason) for join in joins])
    if not joins:
        yield "  none"


def _strict(columns: Sequence[Column]) -> Iterator[str]:
    hashed = unknown_to_strict(columns)
    yield 'With `privacy = "strict"`, columns are kept whose names say that they are harmless, and the others hashed.'
    names = [
        f"{TABLE}.{hashed[column.name]}"
        for column in columns
        if column.name in hashed and not column.is_personal and not column.name_is_data
    ]
    if names:
        yield "To keep some of these, leave out of this line what is personal, and paste it:"
        yield ""
        yield f"keep_columns = [{', '.join(map(_quoted, names))}]"


def _suggestion(lines: Sequence[str]) -> Iterator[str]:
    if len(lines) == 1:
        yield "Nothing need be set to load it."
        return
    yield "To paste into .dlt/config.toml (if it has the first line already: the others, below that line, once each):"
    yield ""
    yield from lines
    yield ""
    if any(line.startswith("#") for line in lines):
        yield "The line that begins with `#` has no effect until that is taken away: see above what to check first."
    yield (
        "This was checked on the rows that were read. Where another row does not fit its type, or another file lacks a "
        "column of the key, the load stops with a sentence that names file and column, and loads no event: take that "
        "column out then."
    )
    if any(kind in line for line in lines for kind in ('"bigint"', '"double"')):
        yield "A number elsewhere that begins with zeros would lose them: take out what is a name made of digits."


def _doubted(advice: list[KeyAdvice], samples: Sequence[FileSample]) -> list[KeyAdvice]:
    """No key is sure that a file may lack whose columns are not known."""
    if any(sample.is_headerless for sample in samples):
        return [KeyAdvice(key.columns, False, key.doubt or "a file may lack it that has no header") for key in advice]
    return advice


def _needed_format(samples: Sequence[FileSample], file_format: str | None) -> str | None:
    """The `file_format` without which these files cannot be read; None: it is not needed, or would break others."""
    read = [sample for sample in samples if sample.found]
    if file_format is not None:
        return file_format if any(format_of(sample.path)[0] != file_format for sample in read) else None
    tried = {sample.tried for sample in read if sample.tried}
    kinds = {found.kind for sample in read for found in sample.found}
    return tried.pop() if len(tried) == 1 and tried == kinds else None


def _needed_dialect(samples: Sequence[FileSample], given: CsvDialect | None) -> CsvDialect | None:
    """The settings of csv that these files are read with, all of them; None: there are none, or none for all."""
    configured = given or CsvDialect()
    delimited = [s for s in samples if any(found.kind in TRIED_FORMATS for found in s.found)]
    dialects = {sample.dialect or configured for sample in delimited}
    return dialects.pop() if len(dialects) == 1 and dialects != {CsvDialect()} else None


def _name(column: Column) -> str:
    return f"(column {column.place}, whose name looks like data)" if column.name_is_data else printable(column.name)


def _share(part: int, whole: int) -> str:
    if not part or not whole:
        return "0%"
    share = 100 * part / whole
    return f"{share:.0f}%" if 1 <= share <= 99 or part == whole else "<1%" if share < 1 else ">99%"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _instant(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S}"


def _indented(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    return [f"  {line}" for line in aligned(rows, right)] if rows else []
