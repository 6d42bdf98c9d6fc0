"""The settings about personal data."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from dlt.common.normalizers.naming.snake_case import NamingConvention

from ometria_source.exceptions import InvalidSettingError
from ometria_source.privacy.policy import TablePrivacy
from ometria_source.privacy.rules import ANY_TABLE, DROP, Rule, parse_rules
from ometria_source.tables.catalogue import DOCUMENTED, PARENTS
from ometria_source.tables.personal_data import (
    EMAIL_COLUMNS,
    HASHED_INTO_KEYS,
    KEY_COLUMNS,
    KEYS,
    PEOPLE,
    UNTOUCHABLE,
    strict,
)
from ometria_source.tables.privacy_state import no_such_column

STRICT = "strict"


class Privacy:
    """What the settings say.

    Args:
        hash_columns: The setting of that name, and so are the others.

    Raises:
        InvalidSettingError: A setting has a value that cannot work.
    """

    def __init__(
        self,
        hash_columns: Sequence[str] | None = None,
        drop_columns: Sequence[str] | None = None,
        pii_salt: str | None = None,
        privacy: str | None = None,
    ) -> None:
        normalize = NamingConvention().normalize_path
        self.rules = tuple(
            rule
            for setting, names in (("hash_columns", hash_columns), ("drop_columns", drop_columns))
            for rule in parse_rules(setting, names, tuple(DOCUMENTED), normalize)
        )
        if privacy and privacy != STRICT:
            raise InvalidSettingError("privacy", f'must be "{STRICT}", or not be set.')
        if (privacy or hash_columns) and not (pii_salt and pii_salt.strip()):
            raise InvalidSettingError(
                "pii_salt",
                "is needed to hash columns: a long random text, in .dlt/secrets.toml or the environment. Keep it, "
                "because another one gives other hashes.",
            )
        for rule in self.rules:
            _refuse_untouchable(rule)
            if not pii_salt:
                _refuse_without_salt(rule)
        self._preset = privacy
        self._salt = pii_salt

    def of(self, table: str) -> TablePrivacy:
        """What becomes of the columns of a table."""
        return TablePrivacy(
            table=table,
            loaded_with=PARENTS.get(table, table),
            rules=tuple(rule for rule in self.rules if _holds_in(rule, table)),
            preset=strict(table) if self._preset else None,
            documented=DOCUMENTED[table],
            email_columns=EMAIL_COLUMNS,
            key_columns=KEY_COLUMNS,
            salt=self._salt or None,
        )

    def check_everywhere(self, known: Collection[str] = ()) -> None:
        """Refuse a rule for all tables that no table has a column for.

        Args:
            known: Columns of any table, besides the documented ones.

        Raises:
            InvalidSettingError: There is one.
        """
        columns = {*known, *(column for table in DOCUMENTED.values() for column in table)}
        for rule in self.rules:
            if rule.table == ANY_TABLE and not rule.leads_into(columns):
                raise no_such_column(rule)


def _holds_in(rule: Rule, table: str) -> bool:
    """Whether a rule speaks of a table."""
    if rule.table == ANY_TABLE:
        # a key is left out of none
        return not (rule.action == DROP and rule.column in KEYS.get(table, ()))
    # by its parent's key a row is joined to it
    is_parents_key = rule.table == PARENTS.get(table) and rule.column in KEYS[rule.table] & KEYS[table]
    return rule.table == table or is_parents_key


def _refuse_without_salt(rule: Rule) -> None:
    for table, columns in HASHED_INTO_KEYS.items():
        if rule.table in (table, ANY_TABLE) and rule.leads_into(columns):
            raise InvalidSettingError(
                "pii_salt",
                f"is needed to leave out `{rule.name}`, which is part of the key of `{table}`: a long random text, in "
                ".dlt/secrets.toml or the environment. Or else rows that differ in nothing else would become one.",
            )


def _refuse_untouchable(rule: Rule) -> None:
    for table in PEOPLE if rule.table == ANY_TABLE else (rule.table,):
        if rule.column in UNTOUCHABLE.get(table, ()):
            raise InvalidSettingError(
                rule.setting, f"names `{rule.name}`, which `{table}` needs as it is. Leave it out."
            )
        if rule.action == DROP and rule.column in KEYS.get(table, ()):
            raise InvalidSettingError(
                rule.setting, f"names `{rule.name}`, the key of `{table}`. Hash it with `hash_columns` instead."
            )
