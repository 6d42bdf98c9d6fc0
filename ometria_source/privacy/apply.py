"""Apply privacy rules to rows: JSON objects of the API one by one, Arrow tables of the export column by column.

Arrow columns are hashed per distinct value, without a Python object per row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ometria_source.export.canonical import one_array
from ometria_source.export.json_text import is_json
from ometria_source.json_values import (
    MAX_JSON_DEPTH,
    MAX_ROW_DEPTH,
    is_nested,
    json_text,
    parse_any_json,
    parse_json,
    shallow,
)
from ometria_source.naming import ColumnNames, snake_case
from ometria_source.privacy.rules import DROP, HASH, TablePrivacy, in_json


class RowPrivacy:
    """Hashes and drops the values of rows.

    Args:
        policy: What becomes of which column.
        levels: How deep a value of JSON may be nested.
    """

    def __init__(self, policy: TablePrivacy, levels: int = MAX_ROW_DEPTH) -> None:
        self._policy = policy
        self._levels = levels
        self._hasher = policy.hasher()

    def row(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row as it may be written.

        Args:
            row: Values by column name in dlt's spelling; it is not changed.
        """
        if not self._policy.is_active:
            return row
        return {
            column: self.value(column, value) for column, value in row.items() if self._policy.action(column) != DROP
        }

    def value(self, column: str, value: Any) -> Any:
        """What may be written, or made a key of, instead of a value.

        Args:
            column: The value's column. One that is dropped is hashed, so that keys which are made of it differ where it
                does; without a salt it is None.
            value: Of JSON, a date or an instant.
        """
        if self._policy.action(column) is not None:
            return self._hasher.value(value, self._policy.is_email(column)) if self._hasher else None
        if isinstance(value, dict | list) or self._policy.documented.get(column, {}).get("data_type") == "json":
            return self.inside(column, value)
        if self._policy.preset and self._hasher:
            return self._hasher.without_emails(value, as_written=self._policy.is_key(column))
        return value

    def inside(self, column: str, value: Any) -> Any:
        """A value of JSON without what must not be in it.

        Args:
            column: Its column.
            value: Of any depth; it is not changed. One that is nested as deep as it may be, or deeper, is hashed as a
                whole where its keys matter, because JSON text in it may have keys as well; without a salt it is None.
        """
        paths = self._policy.paths_into(column)
        if is_nested(value, self._levels):
            if paths or self._policy.is_searched(column):
                return self.whole(value)
            value = shallow(value, self._levels)
        for keys, action in paths:
            value = in_json(value, keys, self._each if action == HASH else None)
        if self._policy.is_searched(column):
            value = self._search(value)
        return self._hasher.without_emails(value) if self._hasher else value

    def whole(self, value: Any) -> str | None:
        """The hash of a value of which nothing may be written; None without a salt."""
        return self._hasher.value(value) if self._hasher else None

    def _each(self, value: Any) -> Any:
        """The hash of what is at the end of a path; of each element, where that is a list."""
        if isinstance(value, list):
            return [self._each(part) for part in value]
        return self._hasher.value(value) if self._hasher else None

    def _search(self, value: Any) -> Any:
        """Hash what stands under a key with a personal name."""
        preset = self._policy.preset
        if isinstance(value, list):
            return [self._search(part) for part in value]
        if preset is None or not isinstance(value, dict):
            return value
        return {
            key: self._each(part) if preset.is_personal(snake_case(key)) else self._search(part)
            for key, part in value.items()
        }


# How the texts begin that are looked into.
JSON_STARTS = ("{", "[")


class ArrowPrivacy:
    """Hashes and drops the columns of Arrow tables. Safe to share between threads.

    Args:
        policy: What becomes of which column.
        names: The columns of the fields.

    Attributes:
        seen: The columns that came.
    """

    def __init__(self, policy: TablePrivacy, names: ColumnNames) -> None:
        self._policy = policy
        self._names = names
        self._hasher = policy.hasher()
        self._values = RowPrivacy(policy, MAX_JSON_DEPTH)
        self.seen: set[str] = set()

    def protect(self, table: pa.Table) -> pa.Table:
        """A table as keys may be made of it.

        Args:
            table: As the readers yield it.

        Returns:
            The table without personal values. A column that is to be dropped is hashed as well, so that rows which
            differ in nothing else have different keys; without a salt it is gone.
        """
        if not self._policy.is_active:
            return table
        names = self._names.columns(table.column_names)
        fields, columns = [], []
        for source, column in zip(table.schema, table.columns, strict=True):
            field, kept = self._protected(names[source.name], source, column)
            fields.append(field)
            columns.append(kept)
        table = pa.Table.from_arrays(columns, schema=pa.schema(fields))
        return table if self._hasher else self.without_dropped(table)

    def _protected(self, name: str, source: pa.Field, column: pa.ChunkedArray) -> tuple[pa.Field, pa.ChunkedArray]:
        self.seen.add(name)
        if self._policy.action(name) is None:
            return source, self._inside(name, source, column)
        if self._hasher:
            return pa.field(source.name, pa.string()), self._hasher.column(column, self._policy.is_email(name))
        return source, column

    def without_dropped(self, table: pa.Table) -> pa.Table:
        """The table without the columns that are to be dropped."""
        names = self._names.columns(table.column_names)
        dropped = [name for name, column in names.items() if self._policy.action(column) == DROP]
        return table.drop_columns(dropped) if dropped else table

    def _inside(self, name: str, source: pa.Field, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """A column that is kept, without what must not be in it."""
        if not pa.types.is_string(source.type):
            return column
        # csv has no other way to hold an object, and jsonl none where some rows have a text instead
        is_looked_into = bool(self._policy.paths_into(name)) or self._policy.is_searched(name)
        if not (is_json(source) or is_looked_into):
            return column
        cells = one_array(column)
        if not any(pc.any(hint).as_py() for hint in _hints(cells, is_looked_into)):
            return column
        texts = cells.dictionary_encode()
        changed = [self._text(name, text) for text in texts.dictionary.to_pylist()]
        return pa.chunked_array([pa.array(changed, pa.string()).take(texts.indices)])

    def _text(self, name: str, text: str) -> str:
        """A text, or JSON, without what must not be in it."""
        if text.startswith(JSON_STARTS):
            try:
                before = _parsed(text)
            except RecursionError:
                # deeper than can be looked into: nothing of it is known to be harmless
                return json_text(self._values.whole(text))
            except ValueError:
                return str(self._values.value(name, text))
            after = self._values.inside(name, before)
            # digits that Python's numbers have not are kept where nothing is to hide
            return text if after == before else json_text(after)
        return str(self._values.value(name, text))


def _parsed(text: str) -> Any:
    """Parse JSON, and what other programs write for JSON, such as `NaN` and half a surrogate pair.

    Raises:
        ValueError: It is neither.
        RecursionError: It is nested too deep.
    """
    try:
        return parse_json(text)
    except ValueError:
        value = parse_any_json(text)
    if is_nested(value, MAX_JSON_DEPTH + 1):
        raise RecursionError
    return value


def _hints(cells: pa.Array, is_looked_into: bool) -> Iterator[pa.Array]:
    """For each cell, whether it may hold an address; if asked for, whether it may be JSON."""
    yield pc.match_substring(cells, "@")
    if is_looked_into:
        for start in JSON_STARTS:
            yield pc.starts_with(cells, start)
