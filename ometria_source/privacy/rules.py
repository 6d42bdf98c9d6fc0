"""What becomes of which column: hashed, dropped, or kept as it is.

A rule names a column as it is in the destination, `table.column`, or `*.column` for every table that has it. Behind a
column that holds JSON, the name goes on into it, with `__` between keys: `profiles.properties__shoe_size`. A list on
the way stands for each of its elements.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ometria_source.exceptions import InvalidSettingError

ANY_TABLE = "*"

HASH, DROP = "hash", "drop"
ACTIONS = {"hash_columns": HASH, "drop_columns": DROP}

# Between the names of a path; dlt's names never hold it elsewhere.
SEPARATOR = "__"


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
        return f"{self.table}.{SEPARATOR.join(self.path)}"

    @property
    def column(self) -> str:
        """The path as the name of a column."""
        return SEPARATOR.join(self.path)

    def splits(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The columns that the path may lead into, with the keys inside of each."""
        for length in range(1, len(self.path)):
            yield SEPARATOR.join(self.path[:length]), self.path[length:]

    def leads_into(self, columns: Collection[str]) -> bool:
        """Whether one of these columns is meant, or something inside of one."""
        return self.column in columns or any(column in columns for column, _ in self.splits())


def parse_rules(
    setting: str, names: Sequence[str] | None, tables: Sequence[str], normalize: Callable[[str], str]
) -> tuple[Rule, ...]:
    """Read a setting that lists columns.

    Args:
        setting: Its name, for errors.
        names: Its value.
        tables: The tables that there are.
        normalize: dlt's naming convention for a path.

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
        rules.append(Rule(setting, table, tuple(normalize(column).split(SEPARATOR))))
    return tuple(dict.fromkeys(rules))


def in_json(
    value: Any, keys: Sequence[str], change: Callable[[Any], Any] | None, normalize: Callable[[str], str]
) -> Any:
    """Change what is at a path inside a value of JSON.

    Args:
        value: Of any depth; it is not changed.
        keys: The path, in dlt's spelling, at least one key; a list on the way stands for each of its elements.
        change: Gives what shall stand there instead; None: the key is left out.
        normalize: dlt's naming convention for an identifier.
    """
    if isinstance(value, list):
        return [in_json(part, keys, change, normalize) for part in value]
    if not isinstance(value, Mapping):
        return value
    first, *rest = keys
    changed = {}
    for key, part in value.items():
        if normalize(key) != first:
            changed[key] = part
        elif rest:
            changed[key] = in_json(part, rest, change, normalize)
        elif change is not None:
            changed[key] = change(part)
    return changed
