"""Privacy of the export's rows, column by column: no Python object per row, but one per different value."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from ometria_source.export.canonical import json_text, one_array
from ometria_source.export.columns import is_json
from ometria_source.privacy.json_rows import RowPrivacy
from ometria_source.privacy.policy import TablePrivacy
from ometria_source.privacy.rules import DROP

# How the texts begin that are looked into.
JSON_STARTS = ("{", "[")


class ArrowPrivacy:
    """Hashes and drops the columns of Arrow tables. Safe to share between threads.

    Args:
        policy: What becomes of which column.
        normalize: dlt's naming convention for one identifier.

    Attributes:
        seen: The columns that came, in dlt's spelling.
    """

    def __init__(self, policy: TablePrivacy, normalize: Callable[[str], str]) -> None:
        self._policy = policy
        self._normalize = normalize
        self._hasher = policy.hasher()
        self._values = RowPrivacy(policy)
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
        for place, source in enumerate(table.schema):
            name = self._normalize(source.name)
            self.seen.add(name)
            column = table.column(place)
            if self._policy.action(name) is None:
                table = table.set_column(place, source, self._inside(name, source, column))
            elif self._hasher:
                hashes = self._hasher.column(column, self._policy.is_email(name))
                table = table.set_column(place, pa.field(source.name, pa.string()), hashes)
        return table if self._hasher else self.without_dropped(table)

    def without_dropped(self, table: pa.Table) -> pa.Table:
        """The table without the columns that are to be dropped."""
        dropped = [name for name in table.column_names if self._policy.action(self._normalize(name)) == DROP]
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
                before = json.loads(text)
            except ValueError:
                return str(self._values.value(name, text))
            after = self._values.inside(name, before)
            # digits that Python's numbers have not are kept where nothing is to hide
            return text if after == before else json_text(after)
        return str(self._values.value(name, text))


def _hints(cells: pa.Array, is_looked_into: bool) -> Iterator[pa.Array]:
    """For each cell, whether it may hold an address; if asked for, whether it may be JSON."""
    yield pc.match_substring(cells, "@")
    if is_looked_into:
        for start in JSON_STARTS:
            yield pc.starts_with(cells, start)
