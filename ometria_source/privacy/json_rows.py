"""Privacy of rows that are made of JSON objects."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from dlt.common.normalizers.naming.snake_case import NamingConvention

from ometria_source.privacy.policy import TablePrivacy
from ometria_source.privacy.rules import DROP, HASH, in_json

_NAMING = NamingConvention()


@lru_cache(maxsize=4096)
def in_snake_case(key: str) -> str:
    """A key in dlt's spelling; one that dlt has none for is as it was."""
    return _NAMING.normalize_identifier(key) if key.strip() else key


class RowPrivacy:
    """Hashes and drops the values of rows.

    Args:
        policy: What becomes of which column.
    """

    def __init__(self, policy: TablePrivacy) -> None:
        self._policy = policy
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
            value: Of any depth; it is not changed.
        """
        for keys, action in self._policy.paths_into(column):
            value = in_json(value, keys, self._each if action == HASH else None, in_snake_case)
        if self._policy.is_searched(column):
            value = self._search(value)
        return self._hasher.without_emails(value) if self._hasher else value

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
            key: self._each(part) if preset.is_personal(in_snake_case(key)) else self._search(part)
            for key, part in value.items()
        }
