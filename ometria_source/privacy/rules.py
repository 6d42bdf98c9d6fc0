"""Privacy rules: which column of which table is hashed, dropped, or kept.

A rule names a column as it is in the destination, `table.column`, or `*.column` for every table that has it. Behind a
column that holds JSON, the name continues into it, with `__` between keys: `profiles.properties__shoe_size`. A list on
the way stands for each of its elements.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dlt.common.schema.typing import TTableSchemaColumns

from ometria_source.exceptions import InvalidSettingError
from ometria_source.naming import PATH_SEPARATOR, snake_case
from ometria_source.privacy.hashing import Hasher, derived_key

ANY_TABLE = "*"

# How a signature begins whose key is derived from the salt.
SIGNATURE_PREFIX = "scrypt:"

HASH, DROP = "hash", "drop"
ACTIONS = {"hash_columns": HASH, "drop_columns": DROP}


@dataclass(frozen=True)
class Rule:
    """What a user wants for a column.

    Attributes:
        setting: Where it is from: `hash_columns` or `drop_columns`.
        table: Its table, or `*`.
        path: The column, and the keys inside of it, in dlt's spelling.
    """

    setting: str
    table: str
    path: tuple[str, ...]

    @property
    def action(self) -> str:
        """`hash` or `drop`."""
        return ACTIONS[self.setting]

    @property
    def name(self) -> str:
        """As a user writes it."""
        return f"{self.table}.{PATH_SEPARATOR.join(self.path)}"

    @property
    def column(self) -> str:
        """The path as the name of a column."""
        return PATH_SEPARATOR.join(self.path)

    def splits(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The columns that the path may lead into, with the keys inside of each."""
        for length in range(1, len(self.path)):
            yield PATH_SEPARATOR.join(self.path[:length]), self.path[length:]

    def leads_into(self, columns: Collection[str]) -> bool:
        """Whether one of these columns is meant, or something inside of one."""
        return self.column in columns or any(column in columns for column, _ in self.splits())


def parse_rules(setting: str, names: Sequence[str] | None, tables: Sequence[str]) -> tuple[Rule, ...]:
    """Read a setting that lists columns.

    Args:
        setting: Its name, for errors.
        names: Its value.
        tables: The tables that there are.

    Raises:
        InvalidSettingError: A name is not `table.column`, or names no table of ours.
    """
    rules = []
    for name in names or ():
        table, dot, column = str(name).strip().partition(".")
        if not dot or not column.strip(" _"):
            raise InvalidSettingError(setting, f"has `{name}`; write each as `table.column`, or `*.column`.")
        if table not in (*tables, ANY_TABLE):
            raise InvalidSettingError(setting, f"names no table `{table}`. The tables are {', '.join(tables)}.")
        rules.append(Rule(setting, table, tuple(snake_case(column).split(PATH_SEPARATOR))))
    return tuple(dict.fromkeys(rules))


def in_json(value: Any, keys: Sequence[str], change: Callable[[Any], Any] | None) -> Any:
    """Change what is at a path inside a value of JSON.

    Args:
        value: Of any depth; it is not changed.
        keys: The path in snake case, at least one key; a list on the way stands for each of its elements.
        change: Gives what shall stand there instead; None: the key is left out.
    """
    if isinstance(value, list):
        return [in_json(part, keys, change) for part in value]
    if not isinstance(value, Mapping):
        return value
    changed = {}
    for key, part in value.items():
        # a key may hold `__` itself
        own = snake_case(key).split(PATH_SEPARATOR)
        rest = keys[len(own) :]
        if own != list(keys[: len(own)]):
            changed[key] = part
        elif rest:
            changed[key] = in_json(part, rest, change)
        elif change is not None:
            changed[key] = change(part)
    return changed


# The column that `naming` gives a field whose own name is another column's.
_RENAMED = re.compile(r"_(\d+|[0-9a-f]{8})$")


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
        """The documented or ruled column whose name this one has, with a number or hash behind it; else the column.

        A dropped field leaves no trace of its column, so a rule holds for all fields of that name.
        """
        original = _RENAMED.sub("", column)
        is_known = original in self.documented or any(rule.column == original for rule in self.rules)
        return original if column not in self.documented and is_known else column

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

    def signature(self) -> str:
        """What distinguishes these rules and this salt from others, and does not help to find the salt."""
        return SIGNATURE_PREFIX + self._signed(derived_key(self.salt or ""))

    def is_signed(self, signature: str) -> bool:
        """Whether these rules and this salt have a signature.

        Args:
            signature: Of this version, or of one before 0.2, which was made of the salt itself.
        """
        is_earlier = not signature.startswith(SIGNATURE_PREFIX)
        own = self._signed((self.salt or "").encode()) if is_earlier else self.signature()
        return hmac.compare_digest(own, signature)

    def _signed(self, key: bytes) -> str:
        rules = sorted({(rule.action, rule.name) for rule in self.rules})
        text = json.dumps([self.table, rules, self.preset and self.preset.name])
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
