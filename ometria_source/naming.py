"""Names of columns: each field has a column of its own in a table, the same one in every run.

dlt's snake case gives `userId` and `UserId` one column, and `__` none at all; its own columns begin with `_dlt_`. So a
field gets the column of its name in snake case where no other field has that column. Otherwise eight digits of a hash
of the field's name follow. The first field that is loaded keeps the plain column.

Which field a column belongs to is kept with the column in dlt's schema, not in the state: a backfill stores the schema
alone. Columns of versions before 0.2 have no such hint. The field whose name fits claims the column, numbered ones such
as `user_id_2` included, so that they keep their names.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import count, takewhile

from dlt.common.normalizers.naming import NamingConvention
from dlt.common.normalizers.naming.snake_case import NamingConvention as SnakeCase
from dlt.common.schema.typing import TColumnSchema, TTableSchemaColumns

from ometria_source.shown import digest, without_addresses

# The hint with the field that a column belongs to; dlt keeps hints that begin with `x-`.
FIELD_HINT = "x-original-name"

# dlt's own columns and tables begin with it.
DLT_PREFIX = "_dlt_"

# Digits of SHA-256 behind the name of a column: they make 4 billion names.
HASH_DIGITS = 8

# What stands before the hash of a field's name that may hold an address.
HASHED = "sha256:"

# How `shown.without_addresses` writes an address, in a column's name.
_ADDRESS = re.compile(r"field_[0-9a-f]{16}")

# Between the names of a path; no other part of a name in snake case holds it.
PATH_SEPARATOR = "__"

# A field of a record, or the path to a field of an object in it.
Field = str | tuple[str, ...]

_SNAKE_CASE = SnakeCase()


@lru_cache(maxsize=4096)
def snake_case(name: str) -> str:
    """A name as a column may have it: in dlt's snake case, never empty, and never one of dlt's own columns.

    Args:
        name: Of a field, or a path with `__` between its parts.
    """
    normal = _SNAKE_CASE.normalize_path(name)
    if not normal:
        return f"column_{_digits(name)}"
    return normal.lstrip("_") if normal.startswith(DLT_PREFIX) else normal


def _digits(text: str, number: int = HASH_DIGITS) -> str:
    return digest(text)[:number]


class ColumnNames:
    """The columns of the fields of one table. Safe to share between threads.

    Args:
        stored: The table's columns in dlt's schema; of a table that a full refresh replaces, those that it had.
        naming: Of the schema: it bounds the length of names.
        reserved: Columns that no field may have, because the table has them by itself.
        prefixes: Characters that are dropped where they stand before a field's name.
        report: Called once for each new field that is loaded into another column than its name's: with the field, its
            column, and the column that it does not get.
    """

    def __init__(
        self,
        stored: TTableSchemaColumns,
        naming: NamingConvention,
        reserved: Iterable[str] = (),
        prefixes: str = "",
        report: Callable[[Field, str, str], None] = lambda *_: None,
    ) -> None:
        self._naming = naming
        self._prefixes = prefixes
        self._report = report
        self._stored = stored
        self._taken = {self._shortened(column) for column in reserved}
        self._fields = {
            name: _without_address(str(hints[FIELD_HINT]))  # type: ignore[literal-required]
            for name, hints in stored.items()
            if FIELD_HINT in hints
        }
        self._columns = {field: column for column, field in self._fields.items()}
        self._taken |= self._fields.keys()
        self._variants = {column for column, hints in stored.items() if hints.get("variant")}
        self._unclaimed = {
            column for column in stored if column not in self._taken | self._variants and not _is_dlts(column)
        }
        self._without_hint: set[str] = set()
        self._renamed: dict[str, tuple[Field, str]] = {}
        self._lock = threading.Lock()

    def columns(self, fields: Iterable[Field]) -> dict[Field, str]:
        """The column of each field. New fields are given theirs in this order, those in snake case before others.

        Args:
            fields: Of a record, or the columns of a file.
        """
        fields = list(fields)
        with self._lock:
            new = [field for field in fields if _stored_form(field) not in self._columns]
            for field in sorted(new, key=lambda field: snake_case(self._wanted(field)) != field):
                self._claim(field)
            return {field: self._columns[_stored_form(field)] for field in fields}

    def variant(self, column: str, data_type: str) -> str:
        """The column for values of another type than their column's.

        Args:
            column: From `columns`, or one of the table's own.
            data_type: dlt's name of the type of these values.
        """
        plain = self._naming.shorten_fragments(column, f"v_{data_type}")
        with self._lock:
            name = next(
                name
                for name in self._candidates(plain, f"{column} {data_type}")
                if self._holds_variants(name, data_type) or self._is_free(name)
            )
            self._variants.add(name)
            return name

    def hints(self, columns: Iterable[str]) -> TTableSchemaColumns:
        """The hints by which later runs know the fields of columns; each column's once.

        Args:
            columns: Those that are loaded now; others are not to be made for their hints.
        """
        with self._lock:
            new = self._without_hint & set(columns)
            self._without_hint -= new
            for column in sorted(new & self._renamed.keys()):
                field, plain = self._renamed.pop(column)
                self._report(field, column, plain)
            return {column: field_hint(column, self._fields[column]) for column in sorted(new)}

    def field(self, column: str) -> str | None:
        """The field of a column, as its hint has it; None: no field's."""
        return self._fields.get(column)

    def shown(self, column: str) -> str:
        """A column as it may be shown: versions before 0.2 made its name of an address."""
        is_hashed = self._fields.get(column, "").startswith(HASHED)
        return "…" if is_hashed and not _ADDRESS.search(column) else column

    def release(self, columns: Iterable[str]) -> None:
        """Let other fields have these columns, which are left out.

        Args:
            columns: Of which no row was loaded.
        """
        with self._lock:
            for column in self._without_hint.intersection(columns):
                self._without_hint.discard(column)
                self._taken.discard(column)
                self._renamed.pop(column, None)
                del self._columns[self._fields.pop(column)]

    def _wanted(self, field: Field) -> str:
        """The name that a field would have as a column."""
        path = (field,) if isinstance(field, str) else field
        return PATH_SEPARATOR.join(part.lstrip(self._prefixes) for part in path)

    def _claim(self, field: Field) -> None:
        wanted = self._wanted(field)
        plain = self._shortened(snake_case(without_addresses(wanted)))
        # versions before 0.2 shortened the name of a file's column by another hash
        earlier = self._naming.normalize_path(wanted)
        candidates = self._candidates(plain, _identity(field))
        column = next(name for name in candidates if name in self._unclaimed or self._is_free(name))
        if earlier in self._unclaimed:
            column = earlier
        self._unclaimed.discard(column)
        self._taken.add(column)
        self._fields[column] = _stored_form(field)
        self._columns[self._fields[column]] = column
        self._without_hint.add(column)
        if column != plain:
            self._renamed[column] = field, plain

    def _candidates(self, plain: str, text: str) -> Iterator[str]:
        """Names for a column without end, the best first: plain, numbered by an earlier version, with a hash."""
        yield plain
        yield from takewhile(self._stored.__contains__, (f"{plain}_{number}" for number in count(2)))
        yield self._shortened(f"{plain}_{_digits(text)}")
        # other fields have all names so far
        yield from (self._shortened(f"{plain}_{_digits(f'{text} {number}')}") for number in count(2))

    def _is_free(self, column: str) -> bool:
        return column not in self._taken and column not in self._variants and column not in self._stored

    def _holds_variants(self, column: str, data_type: str) -> bool:
        stored = self._stored.get(column, {}).get("data_type", data_type)
        return column in self._variants and stored == data_type

    def _shortened(self, column: str) -> str:
        return self._naming.shorten_fragments(column)


def _is_dlts(column: str) -> bool:
    return column.startswith(DLT_PREFIX)


def _identity(field: Field) -> str:
    """A field as one text that no other field has: a path as a JSON pointer."""
    if isinstance(field, str) and not field.startswith("/"):
        return field
    path = (field,) if isinstance(field, str) else field
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)


def _stored_form(field: Field) -> str:
    """A field as its column's hint has it."""
    return _without_address(_identity(field))


@lru_cache(maxsize=4096)
def _without_address(identity: str) -> str:
    """The same where it holds no address, else its hash."""
    holds_address = "@" in identity[1:] or without_addresses(identity) != identity
    return f"{HASHED}{_digits(identity, 64)}" if holds_address else identity


def field_hint(column: str, field: str) -> TColumnSchema:
    """The hint by which later runs know the field of a column.

    Args:
        column: Its name.
        field: As `ColumnNames.field` gives it.
    """
    return {"name": column, FIELD_HINT: field}  # type: ignore[misc]  # dlt takes hints of others that begin with `x-`
