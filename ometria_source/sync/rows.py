"""From a JSON object of the API to a row: column names, timestamps, and values of an unexpected type.

Fields keep their names, except where a table renames them and for a leading `@`. A field that Ometria does not document
is kept in a column of its own, which `naming` chooses.

A value that its column cannot hold unchanged goes to the variant column that dlt makes for any other two types. That is
decided here, for each type of column and each type of value: dlt would write an object into a text column as text, read
a text as JSON, take any number for an instant, a date or for true, without notice; and an instant that no calendar has
in UTC, or an integer beyond 64 bits, would break the load. dlt cannot discard rows by hints that come with the data, so
the schema contract is applied here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

import dlt
from dlt.common.data_types import TDataType, py_type_to_sc_type
from dlt.common.schema.detections import is_iso_timestamp
from dlt.common.schema.typing import TTableSchemaColumns
from dlt.common.time import ensure_pendulum_datetime
from dlt.common.typing import TDataItems
from dlt.extract.items import TableNameMeta

from ometria_source.api.client import JsonObject
from ometria_source.exceptions import SchemaContractError
from ometria_source.json_values import INT64, MAX_ROW_DEPTH, shallow
from ometria_source.naming import PATH_SEPARATOR, ColumnNames, Field, snake_case
from ometria_source.privacy.consistency import dropped_columns, replaced_tables
from ometria_source.shown import shown_name
from ometria_source.sync.metrics import add_note
from ometria_source.sync.new_columns import NewColumns

Row = dict[str, Any]

# A record whose objects may be flattened.
Record = dict[Field, Any]

# Ometria puts it before the names of some fields (Ometria docs: Profiles, Lists and Push API).
FIELD_PREFIX = "@"

# The same in every object of a collection (Ometria docs: Profiles and Lists API).
TYPE_FIELD = "@type"

# Characters of a text that may be a number. A guess: no number of an account has more.
MOST_DIGITS = 60

# The number that JSON would write: a text such as `007` or `nan` is none.
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")

# How an instant begins that is stored as one: what is no date with a month and a day is none. And a fraction of a
# second that is finer than a timestamp.
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt ]|$)")
_FINER_FRACTION = re.compile(r"[.,][0-9]{6}0*[1-9]")

# Integers that a double distinguishes from their neighbours, digits of dlt's decimals before the point, and behind it.
_EXACT_DOUBLE = 2**53
_DECIMAL_WHOLE, _DECIMAL_SCALE = 29, 9

# The data types of values, as dlt names them.
_KINDS: Mapping[type, TDataType] = {
    str: "text",
    bool: "bool",
    int: "bigint",
    float: "double",
    dict: "json",
    list: "json",
}


# Those that hold whatever value has the type.
_PLAIN = frozenset({"text", "double", "bool"})


class RowMapper:
    """Turns the objects of one collection into rows of one table, in a run.

    Args:
        table: The table's name.
        columns: The documented columns; `a__b` is the field `b` of the object `a`. Those of type timestamp and date are
            read.
        renames: Column names by field, where the two differ. A path here is one more way to write a column.
        derived: Columns that no field fills.
        prefixes: Characters that are dropped where they stand before a field's name.

    Attributes:
        names: Gives the fields that are not documented their columns.
    """

    def __init__(
        self,
        table: str,
        columns: TTableSchemaColumns,
        renames: Mapping[Field, str],
        derived: Collection[str] = (),
        prefixes: str = FIELD_PREFIX,
    ) -> None:
        self._table = table
        self._columns = columns
        self._prefixes = prefixes
        self._instants = [name for name, column in columns.items() if column.get("data_type") == "timestamp"]
        self._documented = {_path(field): column for field, column in renames.items()}
        renamed = {column for field, column in renames.items() if isinstance(field, str)}
        self._documented.update({tuple(name.split(PATH_SEPARATOR)): name for name in columns if name not in renamed})
        for column in derived:
            self._documented.pop(tuple(column.split(PATH_SEPARATOR)), None)
        self.names = column_names(table, {*columns, *derived}, prefixes, self._report)

    def row(self, record: Mapping[Any, Any]) -> Row:
        """The row of one object.

        Args:
            record: As the API gave it, or as `flat` made it.

        Returns:
            Its values by column name. An instant or date that cannot be read stays as it came: see `Variants`.
        """
        fields: dict[str, Field] = {}
        others: list[Field] = []
        for field in record:
            column = self._documented.get(self._bare(field))
            if field == TYPE_FIELD:
                continue
            if column is None:
                others.append(field)
            elif column in fields:
                # the one without a prefix has the column, in whatever order they come
                first, other = sorted((field, fields[column]), key=self._rank)
                fields[column] = first
                others.append(other)
            else:
                fields[column] = field
        row = {column: self._read(column, record[field]) for column, field in fields.items()}
        row.update({column: record[field] for field, column in self.names.columns(sorted(others, key=str)).items()})
        return row

    def row_for_keys(self, row: Row) -> Row:
        """A row as a key is made of it: with each instant that can be read, also where its column does not hold it.

        Args:
            row: As `row` gave it.
        """
        instants = {column: read_instant(row.get(column)) for column in self._instants}
        return {**row, **{column: instant for column, instant in instants.items() if instant is not None}}

    def _bare(self, field: Field) -> tuple[str, ...]:
        """The path to a field, without the prefixes of its parts."""
        return tuple(part.lstrip(self._prefixes) for part in _path(field))

    def _rank(self, field: Field) -> tuple[bool, bool, str]:
        return isinstance(field, str), self._bare(field) != _path(field), str(field)

    def _report(self, field: Field, column: str, plain: str) -> None:
        shown = shown_name(PATH_SEPARATOR.join(_path(field)))
        add_note(self._table, f"the field `{shown}` is kept as `{column}`, because `{plain}` is another column")

    def _read(self, column: str, value: Any) -> Any:
        data_type = self._columns[column].get("data_type")
        if data_type == "timestamp":
            instant = read_stored_instant(value)
            return value if instant is None else instant
        if data_type == "date":
            return read_date(value)
        return value


def column_names(
    table: str, reserved: Collection[str], prefixes: str, report: Callable[[Field, str, str], None]
) -> ColumnNames:
    """The columns of the fields of a table, in a run.

    Args:
        table: Its name.
        reserved: Columns that no field may have.
        prefixes: Characters that are dropped where they stand before a field's name.
        report: As for `ColumnNames`.
    """
    schema = dlt.current.source_schema()
    table_schema = schema.tables.get(table) or replaced_tables().get(table)
    stored = {**(table_schema["columns"] if table_schema else {}), **dropped_columns(table)}
    return ColumnNames(stored, schema.naming, reserved, prefixes, report)


def _path(field: Field) -> tuple[str, ...]:
    return (field,) if isinstance(field, str) else field


def flat(record: JsonObject, objects: Collection[str], prefixes: str, within: tuple[str, ...] = ()) -> Record:
    """A record with the fields of some objects beside its own.

    Args:
        record: As the API gave it.
        objects: The columns that these objects would have: `totals`, `totals__base`.
        prefixes: Characters that are dropped where they stand before a field's name.
        within: The path to the record.

    Returns:
        Values by field; by path such as `("totals", "base", "tax")` those of an object. An object that is null leaves
        none.
    """
    fields: Record = {}
    for name, value in record.items():
        path = (*within, name)
        column = PATH_SEPARATOR.join(part.lstrip(prefixes) for part in path)
        if snake_case(column) in objects and (value is None or isinstance(value, dict)):
            fields.update(flat(value or {}, objects, prefixes, path))
        else:
            fields[path if within else name] = value
    return fields


def read_instant(value: Any) -> datetime | None:
    """An instant in any form that dlt reads, in UTC. Keys are made of it: what it gives for a text must never change.

    Args:
        value: ISO 8601 in any form, among them those that Ometria documents; without an offset it is UTC.

    Returns:
        None for what is no text or cannot be read, or lies beyond the years 1 to 9999 in UTC.
    """
    if not isinstance(value, str):
        return None
    try:
        return ensure_pendulum_datetime(value, timezone.utc)
    except (ValueError, OverflowError):
        return None


def read_stored_instant(value: Any) -> datetime | None:
    """An instant in any of the forms that Ometria documents, in UTC: one that a timestamp holds unchanged.

    Args:
        value: ISO 8601 with `T` or a space, an offset of two or four digits, with or without a fraction of a second.

    Returns:
        None as `read_instant`, and for another form, or where the fraction is finer than a microsecond.
    """
    if not isinstance(value, str) or not _DATE.match(value) or _FINER_FRACTION.search(value):
        return None
    return read_instant(value)


def read_date(value: Any) -> Any:
    """A date in the documented form `YYYY-MM-DD`; anything else as it came."""
    try:
        return date.fromisoformat(value) if isinstance(value, str) and len(value) == len("YYYY-MM-DD") else value
    except ValueError:
        return value


class Variants:
    """The columns of the running resource, as they are and as rows add to them.

    Args:
        names: Of the columns.
        nested: A table that comes with it; None: its own.
    """

    def __init__(self, names: ColumnNames, nested: str | None = None) -> None:
        resource, schema = dlt.current.resource(), dlt.current.source_schema()
        self._is_nested = nested is not None
        table = nested or str(resource.table_name)
        declared = resource.compute_table_schema(meta=TableNameMeta(table) if self._is_nested else None)
        known = {**declared["columns"], **schema.tables.get(table, {}).get("columns", {})}
        replaced = replaced_tables().get(table, {}).get("columns", {})
        contract = schema.resolve_contract_settings_for_table(table, declared)
        self._table = table
        self._types = {name: str(column["data_type"]) for name, column in known.items() if "data_type" in column}
        self._mode = contract["data_type"]
        self._new = NewColumns(table, {*known, *replaced}, contract, lambda text: add_note(table, text))
        self._names = names

    def admit(self, row: Row) -> bool:
        """Leave out of a row the columns that are beyond the bound of a run.

        Args:
            row: Of the table; it is changed.

        Returns:
            Whether the row itself stays: in a log, the contract may leave it out.

        Raises:
            TooManyColumnsError: There are some, and the contract does not discard them.
        """
        # a column that is null in every row is none
        beyond = self._new.left_out((name for name, value in row.items() if value is not None), self._shown)
        for column in beyond:
            del row[column]
        self._names.release(beyond)
        return not (beyond and self._new.leaves_out_rows)

    def split(self, rows: list[Row]) -> TDataItems:
        """Rows as dlt takes them, each value in a column that holds it unchanged.

        Args:
            rows: Of the table; they are changed.

        Raises:
            SchemaContractError: The contract refuses a variant column.
            TooManyColumnsError: As `admit`.
        """
        hints: TTableSchemaColumns = {}
        kept = []
        for row in rows:
            is_kept = True
            for column, kind in self._misfits(row).items():
                variant, value = self._names.variant(column, kind), row.pop(column)
                mode = "evolve" if variant in self._types else self._mode
                if mode == "freeze":
                    raise SchemaContractError(self._table, variant, "data_type")
                if mode == "evolve" and not self._new.left_out([variant], self._shown):
                    row[variant] = shallow(value, MAX_ROW_DEPTH)
                    hints[variant] = {"name": variant, "data_type": kind, "variant": True}
                is_kept = is_kept and mode != "discard_row"
            if is_kept:
                kept.append(row)
        hints.update(self._names.hints({column for row in kept for column, value in row.items() if value is not None}))
        if hints:
            name = self._table if self._is_nested else None
            marked = dlt.mark.make_hints(table_name=name, columns=hints)
            return dlt.mark.with_hints(kept, marked, create_table_variant=self._is_nested)
        return dlt.mark.with_table_name(kept, self._table) if self._is_nested else kept

    def _misfits(self, row: Row) -> dict[str, TDataType]:
        """The columns of a row that do not hold its values unchanged, with the types of these; others are read."""
        misfits: dict[str, TDataType] = {}
        for column, value in row.items():
            if value is None:
                continue
            known = self._types.get(column) or self._new_type(column, value)
            if known in _PLAIN and _KINDS.get(type(value)) == known:
                # most values, at no further cost
                continue
            if not _fits(known, value):
                misfits[column] = _data_type(value)
            elif known == "json":
                row[column] = shallow(value, MAX_ROW_DEPTH)
            elif known in ("timestamp", "date") and isinstance(value, str):
                row[column] = read_stored_instant(value) if known == "timestamp" else read_date(value)
        return misfits

    def _new_type(self, column: str, value: Any) -> str:
        """The type of a column that is seen for the first time: that of its value, as dlt would detect it."""
        kind: str = is_iso_timestamp(type(value), value) or _data_type(value)
        return self._types.setdefault(column, kind)

    def _shown(self, column: str) -> str:
        return shown_name(self._names.shown(column))


def _data_type(value: Any) -> TDataType:
    """The data type of a value; those of dates and instants are subclasses, of dlt's."""
    if type(value) in _KINDS:
        return _KINDS[type(value)]
    if isinstance(value, datetime):
        return "timestamp"
    return "date" if isinstance(value, date) else py_type_to_sc_type(type(value))


def _fits(kind: str, value: Any) -> bool:
    """Whether a column of this type holds a value unchanged; a number may be spelt otherwise.

    Args:
        kind: dlt's name of the type.
        value: Of JSON, an instant or a date; not null.
    """
    own = _data_type(value)
    if own == kind:
        return own != "bigint" or value in INT64
    if kind == "text":
        # an object, or true, would look as if it had been written so
        return own in ("bigint", "double", "timestamp", "date")
    if own == "text":
        return _text_fits(kind, value)
    if own in ("bigint", "double"):
        return _number_fits(kind, value)
    return False


def _text_fits(kind: str, text: str) -> bool:
    if kind == "timestamp":
        return read_stored_instant(text) is not None
    if kind == "date":
        return isinstance(read_date(text), date)
    if kind == "bool":
        return text in ("true", "false")
    number = _JSON_NUMBER.fullmatch(text) if kind in ("bigint", "double", "decimal", "wei") else None
    if number is None or len(text) > MOST_DIGITS:
        return False
    if kind == "double":
        return Decimal(text) == Decimal(repr(float(text)))
    if kind == "bigint":
        return not (number[1] or number[2]) and text != "-0" and int(text) in INT64
    return _fits_decimal(Decimal(text))


def _number_fits(kind: str, number: float) -> bool:
    if kind == "double":
        return abs(number) <= _EXACT_DOUBLE
    if kind == "bigint":
        return float(number).is_integer() and int(number) in INT64 and not _is_negative_zero(number)
    if kind == "bool":
        return number in (0, 1)
    return kind in ("decimal", "wei") and _fits_decimal(Decimal(repr(number)))


def _fits_decimal(number: Decimal) -> bool:
    return (
        not _is_negative_zero(number)
        and number.adjusted() < _DECIMAL_WHOLE
        and int(number.as_tuple().exponent) >= -_DECIMAL_SCALE
    )


def _is_negative_zero(number: float | Decimal) -> bool:
    """Whether a number has a sign that integers and decimals do not hold."""
    return number == 0 and math.copysign(1, number) < 0
