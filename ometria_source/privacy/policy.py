"""What the settings say about personal data, table by table."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from dlt.common.schema.typing import TTableSchemaColumns

from ometria_source.privacy.hashing import Hasher
from ometria_source.privacy.rules import ANY_TABLE, DROP, HASH, Rule

# A name that `tables.rows` gives a field whose own name another column has.
_NUMBERED = re.compile(r"_\d+$")


@dataclass(frozen=True)
class Preset:
    """What `privacy` does to the columns of a table that no rule names.

    Attributes:
        name: The value of the setting.
        documented: `hash` or `drop` by documented column.
        is_personal: Whether a column that is not documented, or a key in its JSON, is hashed for its name.
    """

    name: str
    documented: Mapping[str, str]
    is_personal: Callable[[str], bool]


@dataclass(frozen=True)
class TablePrivacy:
    """What becomes of the columns of one table.

    Attributes:
        table: Its name.
        loaded_with: The table that it is selected by: itself, or the one that it comes with.
        rules: The user's for this table, those for `*` included.
        preset: For the columns that no rule names; None: they are kept as they are.
        documented: The columns that the table always has.
        email_columns: Names of columns that hold e-mail addresses.
        key_columns: Names of columns that are part of a table's key.
        salt: The user's secret; None where nothing is hashed.
    """

    table: str
    loaded_with: str
    rules: tuple[Rule, ...] = ()
    preset: Preset | None = None
    documented: TTableSchemaColumns = field(default_factory=dict)
    email_columns: Collection[str] = ()
    key_columns: Collection[str] = ()
    salt: str | None = field(default=None, repr=False)
    _actions: dict[str, str | None] = field(default_factory=dict, repr=False)

    @property
    def is_active(self) -> bool:
        """Whether anything of the table may be changed."""
        return bool(self.rules or self.preset)

    def hasher(self) -> Hasher | None:
        """Hashes values; None without a salt."""
        return Hasher(self.salt) if self.salt else None

    def action(self, column: str) -> str | None:
        """What becomes of a column as a whole.

        Args:
            column: In dlt's spelling.

        Returns:
            `hash`, `drop`, or None.
        """
        if column not in self._actions:
            self._actions[column] = self._find_action(column)
        return self._actions[column]

    def _find_action(self, column: str) -> str | None:
        named = {rule.action for rule in self.rules if rule.column == column}
        if named:
            return DROP if DROP in named else HASH
        if self.preset and column in self.preset.documented:
            return self.preset.documented[column]
        if column in self.documented:
            return None
        if (original := self._original(column)) != column:
            return self.action(original)
        return HASH if self.preset and self.preset.is_personal(column) else None

    def paths_into(self, column: str) -> list[tuple[tuple[str, ...], str]]:
        """The paths inside a column of JSON that a rule names, each with what becomes of it."""
        original = self._original(column)
        return [(keys, rule.action) for rule in self.rules for head, keys in rule.splits() if head == original]

    def is_searched(self, column: str) -> bool:
        """Whether the keys in a column's JSON are hashed for their names."""
        return self.preset is not None and self._original(column) not in self.documented

    def is_key(self, column: str) -> bool:
        """Whether a column is part of a key, of this table or of another that it refers to."""
        return column in self.key_columns

    def is_email(self, column: str) -> bool:
        """Whether a column holds e-mail addresses."""
        return self._original(column) in self.email_columns

    def _original(self, column: str) -> str:
        """The documented column whose name a clashing field has, with a number behind it; else the column."""
        original = _NUMBERED.sub("", column)
        return original if column not in self.documented and original in self.documented else column

    def columns(self) -> TTableSchemaColumns:
        """The documented columns as they are loaded: one that is hashed is text."""
        return {
            name: {**column, "data_type": "text"} if self.action(name) == HASH else column
            for name, column in self.documented.items()
        }

    def unknown(self, known: Iterable[str]) -> list[Rule]:
        """The rules for this table alone that name no column.

        Args:
            known: The columns that were loaded or seen, besides the documented ones.
        """
        columns = {*self.documented, *known}
        return [rule for rule in self.rules if rule.table != ANY_TABLE and not rule.leads_into(columns)]

    def sign(self) -> str:
        """What tells these rules and this salt from others, and neither of them to anybody: 64 hex digits."""
        rules = sorted({(rule.action, rule.name) for rule in self.rules})
        text = json.dumps([self.table, rules, self.preset and self.preset.name])
        return hmac.new((self.salt or "").encode(), text.encode(), hashlib.sha256).hexdigest()
