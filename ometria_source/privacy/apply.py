"""Apply privacy rules to rows: JSON objects of the API one by one, Arrow tables of the export column by column.

Arrow columns are hashed per distinct value, without a Python object per row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ometria_source.export.canonical import one_array
from ometria_source.export.json_text import is_json
from ometria_source.json_values import (
    MAX_JSON_DEPTH,
    MAX_ROW_DEPTH,
    has_repeated_keys,
    is_nested,
    json_text,
    parse_any_json,
    parse_json,
    shallow,
)
from ometria_source.naming import PATH_SEPARATOR, ColumnNames, snake_case
from ometria_source.privacy.personal_texts import HINT
from ometria_source.privacy.rules import DROP, HASH, KEEP, Rule, TablePrivacy, strongest
from ometria_source.privacy.words import is_code, is_exact

# How the texts begin that are looked into, in the syntax that Python and RE2 share.
_JSON_START = r"^[\s﻿]*[{\[]"
_JSON = re.compile(_JSON_START)

# A key that a program has given; another one may be data.
_NAME = re.compile(r"[A-Za-z_@$][A-Za-z0-9_$.:-]{0,99}")

# Paths inside a value of JSON, each with the rule that names it.
_Paths = Sequence[tuple[tuple[str, ...], Rule]]


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
        for column in row:
            if column not in self._policy.effects.columns:
                self._policy.record_column(column)
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
        action = self._policy.action(column)
        if action == KEEP:
            return value
        if action is not None:
            return self.whole(value, self._policy.is_email(column))
        if isinstance(value, dict | list) or self._policy.documented.get(column, {}).get("data_type") == "json":
            return self.inside(column, value)
        if isinstance(value, str) and self.is_looked_into(column) and _JSON.match(value):
            return self.json(column, value)
        return self._scalar(column, value)

    def is_looked_into(self, column: str) -> bool:
        """Whether JSON in the texts of a column has keys that matter: csv has no other way to hold an object."""
        return bool(self._policy.paths_into(column)) or self._policy.is_searched(column)

    def json(self, column: str, text: str) -> str:
        """JSON text without what must not be in it; what is no JSON is a text like any other.

        Args:
            column: Its column.
            text: It stays as it is where nothing is to hide, with digits that Python's numbers have not.
        """
        try:
            before = _parsed(text)
        except RecursionError:
            # deeper than can be looked into: nothing of it is known to be harmless
            return json_text(self._hidden_as_deep(column, text))
        except ValueError:
            return str(self._scalar(column, text))
        after = self.inside(column, before) if isinstance(before, dict | list) else self._scalar(column, before)
        # of a key that comes twice, only the last was looked at
        return text if after == before and not has_repeated_keys(text) else json_text(after)

    def _scalar(self, column: str, value: Any) -> Any:
        """A value that is neither an object nor a list."""
        if self._policy.is_unknown(column):
            # a rule is about something inside of it, and here is nothing inside
            return self.whole(value)
        if not isinstance(value, str) or self._policy.preset is None:
            return value
        if self._policy.is_code(column) and not is_code(value):
            return self.whole(value)
        return self._text(column, value)

    def inside(self, column: str, value: Any) -> Any:
        """A value of JSON without what must not be in it.

        Args:
            column: Its column.
            value: Of any depth; it is not changed. One that is nested as deep as it may be, or deeper, is hashed as a
                whole where its keys matter, because JSON text in it may have keys as well; without a salt it is None.
        """
        paths = self._policy.paths_into(column)
        is_searched = self._policy.is_searched(column)
        if is_nested(value, self._levels):
            if paths or is_searched:
                return self._hidden_as_deep(column, value)
            value = shallow(value, self._levels)
        return self._walk(column, value, paths, is_searched, not self._policy.is_unknown(column))

    def whole(self, value: Any, is_email: bool = False) -> str | None:
        """The hash of a value of which nothing may be written; None without a salt."""
        return self._hasher.value(value, is_email) if self._hasher else None

    def _hidden_as_deep(self, column: str, value: Any) -> str | None:
        self._policy.effects.applied.update(rule for _, rule in self._policy.paths_into(column))
        return self.whole(value)

    def _walk(self, name: str, value: Any, paths: _Paths, is_searched: bool, is_known: bool) -> Any:
        """A part of a value of JSON without what must not be in it.

        `name` is the path to it; `is_known` whether texts and numbers may stand here, where the keys are searched.
        """
        if isinstance(value, list):
            return [self._walk(name, part, paths, is_searched, is_known) for part in value]
        if isinstance(value, dict):
            return dict(self._pairs(name, value, paths, is_searched))
        if not is_known:
            return self.whole(value)
        return self._text(name, value) if isinstance(value, str) else value

    def _pairs(self, name: str, value: dict[str, Any], paths: _Paths, is_searched: bool) -> Iterator[tuple[str, Any]]:
        for key, part in value.items():
            # a key may hold `__` itself
            own = tuple(snake_case(key).split(PATH_SEPARATOR)) if paths or is_searched else ()
            here = [(keys[len(own) :], rule) for keys, rule in paths if keys[: len(own)] == own]
            ending = [rule for keys, rule in here if not keys]
            self._policy.effects.applied.update(ending)
            action = strongest({rule.action for rule in ending})
            if action == DROP:
                continue
            if action == KEEP:
                yield key, part
                continue
            is_name = _NAME.fullmatch(key) is not None
            path = PATH_SEPARATOR.join((name, *own)) if is_name else f"{name}{PATH_SEPARATOR}…"
            is_known = not is_searched or self._policy.is_harmless(own[-1])
            if action is None and not is_known and not here:
                self._policy.record_unknown(path)
                action = HASH
            yield (
                str(self.whole(key)) if is_searched and not is_name else self._key(key),
                (self._each(part) if action == HASH else self._walk(path, part, here, is_searched, is_known)),
            )

    def _each(self, value: Any) -> Any:
        """The hash of what is at the end of a path; of each element, where that is a list."""
        return [self._each(part) for part in value] if isinstance(value, list) else self.whole(value)

    def _key(self, key: str) -> str:
        return self._hasher.without_emails(key) if self._hasher else key

    def _text(self, name: str, text: str) -> str:
        """A text that is kept, without what must not be in it; `name` is its column, or the path to it in JSON."""
        if self._hasher is None:
            return text
        if self._policy.preset is None:
            return self._hasher.without_emails(text)
        if is_exact(name):
            last_key = name.rsplit(PATH_SEPARATOR, 1)[-1]
            return self._hasher.without_emails(text, as_written=self._policy.is_key(last_key))
        return self._hasher.without_personal_texts(text)


class ArrowPrivacy:
    """Hashes and drops the columns of Arrow tables. Safe to share between threads.

    Args:
        policy: What becomes of which column.
        names: The columns of the fields.
    """

    def __init__(self, policy: TablePrivacy, names: ColumnNames) -> None:
        self._policy = policy
        self._names = names
        self._hasher = policy.hasher()
        self._values = RowPrivacy(policy, MAX_JSON_DEPTH)

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
        if name not in self._policy.effects.columns:
            self._policy.record_column(name)
        action = self._policy.action(name)
        if action == KEEP:
            return source, column
        if action is None and (pa.types.is_string(source.type) or not self._policy.is_unknown(name)):
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
        if not (is_json(source) or self._values.is_looked_into(name)):
            return column
        cells = one_array(column)
        if not self._policy.is_unknown(name) and not any(pc.any(hint).as_py() for hint in self._hints(cells, name)):
            return column
        texts = cells.dictionary_encode()
        change = self._values.json if is_json(source) else self._values.value
        changed = [change(name, text) for text in texts.dictionary.to_pylist()]
        return pa.chunked_array([pa.array(changed, pa.string()).take(texts.indices)])

    def _hints(self, cells: pa.Array, name: str) -> Iterator[pa.Array]:
        """For each cell, whether something may have to be hidden in it."""
        if self._policy.preset is None or is_exact(name):
            yield pc.match_substring(cells, "@")
        else:
            yield pc.match_substring_regex(cells, HINT)
        if self._values.is_looked_into(name):
            yield pc.match_substring_regex(cells, _JSON_START)


def _parsed(text: str) -> Any:
    """Parse JSON, and what other programs write for JSON, such as `NaN` and half a surrogate pair.

    Raises:
        ValueError: It is neither.
        RecursionError: It is nested too deep.
    """
    text = text.lstrip("﻿")
    try:
        return parse_json(text)
    except ValueError:
        value = parse_any_json(text)
    if is_nested(value, MAX_JSON_DEPTH + 1):
        raise RecursionError
    return value
