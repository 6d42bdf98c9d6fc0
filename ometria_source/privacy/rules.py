"""Privacy rules: which column of which table is hashed, dropped, or kept.

A rule names a column as it is in the destination, `table.column`, or `*.column` for every table that has it. Behind a
column that holds JSON, the name continues into it, with `__` between keys: `profiles.properties__shoe_size`. A list on
the way stands for each of its elements.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dlt.common.schema.typing import TTableSchemaColumns

from ometria_source.exceptions import InvalidSettingError
from ometria_source.naming import PATH_SEPARATOR, snake_case
from ometria_source.privacy.hashing import Hasher, derived_key
from ometria_source.privacy.words import without_suffix

ANY_TABLE = "*"

# How a signature begins whose key is derived from the salt.
SIGNATURE_PREFIX = "scrypt:"

HASH, DROP, KEEP = "hash", "drop", "keep"

# What a preset may do besides: hash what is no code, such as the free text of a person.
CODE = "code"
ACTIONS = {"hash_columns": HASH, "drop_columns": DROP, "keep_columns": KEEP}


@dataclass(frozen=True)
class Rule:
    """What a user wants for a column.

    Attributes:
        setting: Where it is from, such as `hash_columns`.
        table: Its table, or `*`.
        path: The column, and the keys inside of it, in dlt's spelling.
    """

    setting: str
    table: str
    path: tuple[str, ...]

    @property
    def action(self) -> str:
        """`hash`, `drop` or `keep`."""
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


def strongest(actions: Collection[str]) -> str | None:
    """What becomes of a value that several rules name: the one that hides the most; None: no rule names it."""
    return next((action for action in (DROP, HASH, KEEP) if action in actions), None)


@dataclass(frozen=True)
class Preset:
    """What `privacy` does to the columns of a table that no rule names.

    Attributes:
        name: The value of the setting.
        documented: `hash`, `drop` or `keep` by documented column; `code`: hashed where it is no code.
        is_harmless: Whether a column that is not documented, or a key in its JSON, is kept for its name.
        digest: What distinguishes this list of names from that of another version.
    """

    name: str
    documented: Mapping[str, str]
    is_harmless: Callable[[str], bool]
    digest: str


@dataclass
class Effects:
    """What the rules of a table did to the rows of a run.

    Attributes:
        columns: Those that came, whatever became of them.
        applied: The rules that hid or kept something.
        unknown: Columns, and paths in JSON, that are hashed because they are not known to be harmless.
        hides_siblings: Whether a rule for `user_id` also hides `user_id_2`, as it did before 0.2.
    """

    columns: set[str] = field(default_factory=set)
    applied: set[Rule] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    hides_siblings: bool = False


# Names of unknown columns that are kept in memory; an account may have any number of keys in its JSON. A guess.
MOST_UNKNOWN = 1000


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
        effects: What became of the rows of the running load.
    """

    table: str
    loaded_with: str
    rules: tuple[Rule, ...] = ()
    preset: Preset | None = None
    documented: TTableSchemaColumns = field(default_factory=dict)
    email_columns: Collection[str] = ()
    key_columns: Collection[str] = ()
    salt: str | None = field(default=None, repr=False)
    effects: Effects = field(default_factory=Effects, repr=False, compare=False)
    _actions: dict[str, str | None] = field(default_factory=dict, repr=False, compare=False)

    def begin(self, *, hides_siblings: bool) -> None:
        """Begin a run.

        Args:
            hides_siblings: As in `Effects`: whether the table was loaded by a version that did so.
        """
        for found in (self.effects.columns, self.effects.applied, self.effects.unknown, self._actions):
            found.clear()
        self.effects.hides_siblings = hides_siblings

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
            `hash`, `drop`, `keep`, or None, where no rule is about the whole of it.
        """
        if column not in self._actions:
            self._actions[column] = self._find_action(column)
        return self._actions[column]

    def _find_action(self, column: str) -> str | None:
        if named := strongest({rule.action for rule in self._rules_for(column)}):
            return named
        if self.preset is None or any(rule.action == KEEP for _, rule in self.paths_into(column)):
            return None
        preset = self.preset.documented.get(column)
        return preset if preset in (HASH, DROP, KEEP) else HASH if self.is_unknown(column) else None

    def _rules_for(self, column: str) -> set[Rule]:
        names = {column}
        if self.effects.hides_siblings and column not in self.documented:
            names.add(without_suffix(column))
        return {rule for rule in self.rules if rule.column in names}

    def hides(self, column: str) -> bool:
        """Whether a column does not keep its values."""
        return self.action(column) in (HASH, DROP)

    def is_unknown(self, column: str) -> bool:
        """Whether a preset hides a column: it is personal, or nothing is known of it."""
        if column in self.documented:
            return self.preset is not None and self.preset.documented.get(column) in (HASH, DROP)
        return not self.is_harmless(column)

    def is_harmless(self, name: str) -> bool:
        """Whether a column that is not documented, or a key in JSON, is kept for its name."""
        return self.preset is None or self.preset.is_harmless(name)

    def is_code(self, column: str) -> bool:
        """Whether a preset keeps of a column nothing but codes."""
        return self.preset is not None and self.preset.documented.get(column) == CODE

    def record_column(self, column: str) -> None:
        """Record a column of rows, to know afterwards what the rules did.

        Args:
            column: In dlt's spelling.
        """
        self.effects.columns.add(column)
        named = self._rules_for(column)
        self.effects.applied |= named
        is_documented = column in self.documented
        if self.hides(column) and (is_documented or not named):
            # what is inside is hidden with the whole
            self.effects.applied.update(rule for _, rule in self.paths_into(column))
        if self.hides(column) and not (is_documented or named):
            self.record_unknown(column)

    def record_unknown(self, name: str) -> None:
        """Record a column, or a path in JSON, that is hashed because it is not known to be harmless."""
        if len(self.effects.unknown) < MOST_UNKNOWN:
            self.effects.unknown.add(name)

    def paths_into(self, column: str) -> list[tuple[tuple[str, ...], Rule]]:
        """The paths inside a column of JSON that rules name, each with its rule."""
        return [(keys, rule) for rule in self.rules for head, keys in rule.splits() if head == column]

    def is_searched(self, column: str) -> bool:
        """Whether the keys in a column's JSON are hashed unless they are known to be harmless, or kept by a rule."""
        return self.preset is not None and self.action(column) != KEEP

    def is_key(self, column: str) -> bool:
        """Whether a column is part of a key, of this table or of another that it refers to."""
        return column in self.key_columns

    def is_email(self, column: str) -> bool:
        """Whether a column holds e-mail addresses."""
        return column in self.email_columns

    def columns(self) -> TTableSchemaColumns:
        """The documented columns as they are loaded: one that is hashed is text."""
        return {
            name: {**column, "data_type": "text"} if self.action(name) == HASH else column
            for name, column in self.documented.items()
        }

    def unapplied(self, before: Collection[str]) -> list[Rule]:
        """The rules for this table alone that were applied to nothing.

        Args:
            before: The columns of rules that were applied to something in an earlier run.
        """
        known = {*self.documented, *before}
        return [
            rule
            for rule in self.rules
            if rule.table == self.table and rule.column not in known and rule not in self.effects.applied
        ]

    def signature(self) -> str:
        """What distinguishes these rules and this salt from others, and does not help to find the salt."""
        return SIGNATURE_PREFIX + self._signed(self._rules_text(), derived_key(self.salt or ""))

    def is_signed(self, signature: str) -> bool:
        """Whether these rules and this salt have a signature.

        Args:
            signature: Of this version, or of one before 0.2, which was made of the salt itself.
        """
        return self._has_signed(self._rules_text(), signature)

    def is_signed_without_list(self, signature: str) -> bool:
        """Whether a signature is that of `strict` in a version before 0.2, which kept what it did not know."""
        return self.preset is not None and self._has_signed(self._rules_text(with_list=False), signature)

    def _has_signed(self, text: str, signature: str) -> bool:
        is_earlier = not signature.startswith(SIGNATURE_PREFIX)
        key = (self.salt or "").encode() if is_earlier else derived_key(self.salt or "")
        return hmac.compare_digest(self._signed(text, key), signature.removeprefix(SIGNATURE_PREFIX))

    def _rules_text(self, *, with_list: bool = True) -> str:
        rules = sorted({(rule.action, rule.name) for rule in self.rules})
        parts = [self.table, rules, self.preset and self.preset.name]
        if self.preset and with_list:
            parts += [sorted(self.preset.documented.items()), self.preset.digest]
        return json.dumps(parts)

    @staticmethod
    def _signed(text: str, key: bytes) -> str:
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
