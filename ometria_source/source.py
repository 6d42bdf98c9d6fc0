"""The source: settings in, resources out. It does no I/O: an orchestrator calls it at import time.

Checks that need the names of all tables are made here.
"""

# no `from __future__ import annotations`: dlt reads this signature to find the settings and their types
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, cast

import dlt
from dlt.common.schema.typing import TSchemaContractDict, TTableFormat
from dlt.common.typing import TAnyDateTime
from dlt.extract import DltResource

from ometria_source.api.client import Account
from ometria_source.constants import (
    DEFAULT_BASE_URL,
    DEFAULT_FILE_LAG_DAYS,
    DEFAULT_FULL_SCAN_DAYS,
    DEFAULT_PATIENCE_MINUTES,
    DEFAULT_REQUESTS_PER_SECOND,
    PLACEHOLDER_BUCKET,
    PLACEHOLDER_KEY,
)
from ometria_source.exceptions import InvalidSettingError
from ometria_source.export.bucket import bucket_listing
from ometria_source.export.csv import CsvDialect
from ometria_source.export.retry import RetryBudget
from ometria_source.naming import snake_case
from ometria_source.privacy.consistency import no_such_column
from ometria_source.privacy.rules import ANY_TABLE, DROP, KEEP, Rule, TablePrivacy, parse_rules
from ometria_source.privacy.words import EMAIL_COLUMNS
from ometria_source.settings import (
    COLUMN_TYPES,
    DELETES,
    FILE_FORMATS,
    MEMBER_LISTS_FROM,
    ON_BAD_FILE,
    check_choice,
    check_delimiter,
    check_encoding,
    check_not_negative,
    check_positive,
    check_window,
    keeping_rows,
    parse_date,
    read_contract,
)
from ometria_source.sync.destination import LOGS, TABLE_FORMATS
from ometria_source.sync.history import TABLES_WITH_HISTORY
from ometria_source.sync.snapshot import add_final_step
from ometria_source.tables import (
    DOCUMENTED,
    HASHED_INTO_KEYS,
    KEY_COLUMNS,
    KEYS,
    NESTED,
    PARENTS,
    PEOPLE,
    UNTOUCHABLE,
    strict,
)
from ometria_source.tables.collections import collections_resource
from ometria_source.tables.contacts import contacts_resource
from ometria_source.tables.custom_events import custom_events_resource
from ometria_source.tables.data_deletion_requests import data_deletion_requests_resource
from ometria_source.tables.email_events.reading import Export
from ometria_source.tables.email_events.resource import email_event_files_resource, email_events_resource
from ometria_source.tables.email_events.rows import COLUMNS as EVENT_COLUMNS
from ometria_source.tables.email_events.rows import dropped_key
from ometria_source.tables.list_changes import list_changes_resource
from ometria_source.tables.lists import SharedLists, lists_resource
from ometria_source.tables.member_lists import member_lists_resource, person_of
from ometria_source.tables.orders import orders_resource
from ometria_source.tables.products import products_resource
from ometria_source.tables.profiles import UNORDERED as UNORDERED_IN_PROFILES
from ometria_source.tables.profiles import SharedProfileScan, profiles_resource, spread_columns
from ometria_source.tables.push_errors import push_errors_resource
from ometria_source.tables.unsubscribes import unsubscribes_resource

STRICT = "strict"

# Where dlt looks for the settings: `sources.ometria`.
SECTION = "ometria"

# The tables that mirror a collection by complete scans, and are not selected by default.
MIRRORS = (
    collections_resource,
    contacts_resource,
    orders_resource,
    products_resource,
    custom_events_resource,
    data_deletion_requests_resource,
)

# A shorter salt can be found by trying, and with it whose hash is whose. A guess.
SHORTEST_SALT = 16

MAKE_SALT = (
    'Make one with `python -c "import secrets; print(secrets.token_urlsafe(32))"`, put it into .dlt/secrets.toml or '
    "the environment, and keep it: with another one the hashes are others, and tables need a full refresh."
)


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
        keep_columns: Sequence[str] | None = None,
        pii_salt: str | None = None,
        privacy: str | None = None,
    ) -> None:
        self.rules = tuple(
            rule
            for setting, names in (
                ("hash_columns", hash_columns),
                ("drop_columns", drop_columns),
                ("keep_columns", keep_columns),
            )
            for rule in parse_rules(setting, names, tuple(DOCUMENTED))
        )
        if privacy and privacy != STRICT:
            raise InvalidSettingError("privacy", f'must be "{STRICT}", or not be set.', value=privacy)
        if keep_columns and not privacy:
            raise InvalidSettingError(
                "keep_columns",
                f'needs `privacy = "{STRICT}"`: without it all columns are kept, but for those in `hash_columns` and '
                "`drop_columns`. Leave it out.",
            )
        _refuse_contradictions(self.rules)
        if (privacy or hash_columns) and not (pii_salt and pii_salt.strip()):
            raise InvalidSettingError("pii_salt", f"is needed to hash columns. {MAKE_SALT}")
        if pii_salt and (len(pii_salt) < SHORTEST_SALT or len({*pii_salt}) == 1):
            raise InvalidSettingError(
                "pii_salt", f"must have {SHORTEST_SALT} characters or more, not all alike. {MAKE_SALT}"
            )
        for rule in self.rules:
            if rule.action == KEEP:
                continue
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
            if rule.table == ANY_TABLE and rule.action != KEEP and not rule.leads_into(columns):
                raise no_such_column(rule)

    def applied_to_nothing(self, applied: Collection[str]) -> list[Rule]:
        """The rules for all tables that no table has found anything for.

        Args:
            applied: The columns that rules were applied to, in any table.
        """
        known = {*applied, *(column for table in DOCUMENTED.values() for column in table)}
        return [rule for rule in self.rules if rule.table == ANY_TABLE and rule.column not in known]


def _holds_in(rule: Rule, table: str) -> bool:
    """Whether a rule speaks of a table."""
    if rule.table == ANY_TABLE:
        # a key is left out of none
        return not (rule.action == DROP and rule.column in KEYS.get(table, ()))
    # by its parent's key a row is joined to it
    is_parents_key = rule.table == PARENTS.get(table) and rule.column in KEYS[rule.table] & KEYS[table]
    return rule.table == table or is_parents_key


def _refuse_contradictions(rules: Sequence[Rule]) -> None:
    for kept in rules:
        for hidden in rules:
            is_within = hidden.table == kept.table and hidden.path[: len(kept.path)] == kept.path
            if kept.action == KEEP and hidden.action != KEEP and is_within:
                raise InvalidSettingError(
                    kept.setting,
                    f"names `{kept.name}`, and `{hidden.setting}` names `{hidden.name}`. Leave out one of them.",
                )


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


@dlt.source(name=SECTION, section=SECTION, max_table_nesting=0)
def ometria_source(
    api_key: dlt.TSecretStrValue | None = None,
    base_url: str = DEFAULT_BASE_URL,
    requests_per_second: float = DEFAULT_REQUESTS_PER_SECOND,
    start_date: TAnyDateTime | None = None,
    end_date: TAnyDateTime | None = None,
    patience_minutes: float = DEFAULT_PATIENCE_MINUTES,
    full_scan_days: float = DEFAULT_FULL_SCAN_DAYS,
    member_lists_from: str = "auto",
    bucket_url: str | None = None,
    credentials: Any = None,
    file_glob: str = "**",
    file_format: str | None = None,
    csv_delimiter: str | None = None,
    csv_encoding: str | None = None,
    email_events_key: list[str] | None = None,
    email_events_columns: dict[str, str] | None = None,
    file_lag_days: float = DEFAULT_FILE_LAG_DAYS,
    on_bad_file: str = "fail",
    allow_deletes: bool = False,
    hash_columns: list[str] | None = None,
    drop_columns: list[str] | None = None,
    keep_columns: list[str] | None = None,
    pii_salt: dlt.TSecretStrValue | None = None,
    privacy: str | None = None,
    table_format: str | None = None,
    schema_contract: str | dict[str, str] | None = "evolve",
    spread_properties: list[str] | None = None,
    deletes: str = "hard",
    history: list[str] | None = None,
) -> tuple[DltResource, ...]:
    """A retailer's Ometria account: five tables, and more that are to be selected by name.

    Every argument is also a setting: `sources.ometria.<argument>` in .dlt/config.toml or .dlt/secrets.toml, or
    `SOURCES__OMETRIA__<ARGUMENT>` in the environment.

    Args:
        api_key: From Settings > API keys in Ometria. Needed by all tables but `email_events`.
        base_url: Where the Data API is; https, unless it is loopback.
        requests_per_second: Pace of all requests, of the 4 that Ometria documents for a whole account: the rest is for
            its other users.
        start_date: Start of the half-open window [start_date, end_date) in UTC: of `timestamp` for `unsubscribes`, of
            the files' modification time for `email_events`. Without `end_date` it is the start of the first load. None:
            2013 for `unsubscribes`, every file for `email_events`.
        end_date: End of the window, not included. With it the run is a backfill, which leaves the incremental state
            alone.
        patience_minutes: How long one request is retried before its table fails.
        full_scan_days: Days between two complete scans of the profiles; 0: every scan is complete. `updateSince` is not
            known to report every consent change, so only large accounts should raise it.
        member_lists_from: "lists", "profiles", or "auto": from the lists where a path to their members answers, else
            from the profiles.
        bucket_url: Where the export is: s3://bucket/prefix, file:///…, gs://…, az://…. Needed by `email_events`, which
            is not selected without it.
        credentials: For the bucket, such as dlt's `AwsCredentials`. None: from `sources.ometria.credentials.*`, else
            the machine's own.
        file_glob: Which files, relative to `bucket_url`.
        file_format: "csv", "tsv", "jsonl" or "parquet". None: by each file's name, else by its first bytes.
        csv_delimiter: The character between the cells of csv and tsv, such as ";". None: a comma in csv, a tab in tsv;
            a header that has another one is refused.
        csv_encoding: The encoding of csv and tsv, by its name in Python, such as "cp1252" or "utf-16". None: UTF-8. A
            file that begins with the byte order mark of UTF-8 is read as UTF-8, whatever is set.
        email_events_key: The columns that identify an event. None: a row is known by all its cells.
        email_events_columns: Types of columns that are not text, such as {"event_time": "timestamp"}.
        file_lag_days: How long a file may take to appear after its modification time.
        on_bad_file: "fail": one file that cannot be read keeps all events of the run from loading. "skip": the others
            are loaded; the file is named in a warning, and tried again by every run within `file_lag_days`. Files are
            then read twice: what was handed on cannot be taken back.
        allow_deletes: Accept a complete scan that would remove more than a tenth of a table.
        hash_columns: Columns that are hashed before anything is written, such as ["*.email", "profiles.phone_number"].
        drop_columns: Columns that are left out, such as ["profiles.properties__notes"].
        keep_columns: Columns that `privacy = "strict"` leaves as they are, such as ["email_events.device_type"].
        pii_salt: The secret that makes the hashes, of 16 characters or more; needed to hash.
        privacy: "strict": hash or drop every column that is personal, and hash whatever is not known to be harmless.
        table_format: "delta" or "iceberg": what the logs (`unsubscribes`, `email_events`, `list_changes` and
            `push_errors`) are at a destination of files, which can merge no other kind, nor the other tables at all.
        schema_contract: What a run does that would add columns to a table, or variant columns for values of another
            type: "evolve": adds them; "freeze": fails, and loads nothing of this table; "discard_value": leaves out
            these values; "discard_row": in the logs, the rows that have them, elsewhere the values. Or such words
            by "columns" and "data_type". A table's first load takes the columns that it finds. ("tables" is accepted
            as a word of dlt's: those of this source are always let in.)
        spread_properties: Keys of `profiles.properties` that also become columns: "loyalty_tier" becomes
            `properties__loyalty_tier`. A key matches exactly, else by its name in snake case.
        deletes: "hard": a row of `profiles`, `lists` or `member_lists` that vanishes is removed. "soft": it is kept,
            with the time (UTC) of the scan that first missed it in `deleted_at`; also that of a person who asked for
            erasure.
        history: Those of `profiles` and `lists` that keep each version of a row, from `_dlt_valid_from` on until
            `_dlt_valid_to` (UTC; null: current). What vanishes ends there too, and `deletes` changes nothing. For a
            table that was loaded, the next load must be a full refresh.

    Returns:
        A dlt source with the resources `profiles`, `lists`, `member_lists`, `unsubscribes` and `email_events`; not
        selected by default are `email_event_files`, `collections`, `contacts`, `orders` (with `order_line_items` and
        `order_line_item_options`), `products` (with `product_listings` and `product_attributes`), `custom_events`,
        `data_deletion_requests` (with `data_deletion_identities`), `list_changes` and `push_errors`.

    Raises:
        InvalidSettingError: A setting has a value that cannot work. A missing one is an error only when a table that
            needs it is read.
    """
    start, end = parse_date("start_date", start_date), parse_date("end_date", end_date)
    check_window(start, end)
    check_positive("requests_per_second", requests_per_second)
    for name, number in (
        ("patience_minutes", patience_minutes),
        ("full_scan_days", full_scan_days),
        ("file_lag_days", file_lag_days),
    ):
        check_not_negative(name, number)
    check_choice("member_lists_from", member_lists_from, MEMBER_LISTS_FROM)
    check_choice("on_bad_file", on_bad_file, ON_BAD_FILE)
    if table_format is not None:
        check_choice("table_format", table_format, tuple(TABLE_FORMATS))
    check_choice("deletes", deletes, DELETES)
    for table in [history] if isinstance(history, str) else history or ():
        check_choice("history", table, TABLES_WITH_HISTORY)
    if file_format is not None:
        check_choice("file_format", file_format, FILE_FORMATS)
    if csv_delimiter is not None:
        check_delimiter("csv_delimiter", csv_delimiter)
    if csv_encoding is not None:
        check_encoding("csv_encoding", csv_encoding)
    personal = Privacy(hash_columns, drop_columns, keep_columns, pii_salt, privacy)
    if not bucket_url:
        personal.check_everywhere()
    event_privacy = personal.of("email_events")
    declared = email_events_columns or {}
    _check_declared(declared)
    if not pii_salt:
        _check_key(email_events_key or (), event_privacy)
    spread = spread_columns(spread_properties or ())
    _check_placeholders(api_key, bucket_url)
    account = Account(base_url, api_key, requests_per_second, patience_minutes)
    listing = bucket_listing(bucket_url, credentials, file_glob, SECTION) if bucket_url else None
    export = Export(
        listing,
        RetryBudget(patience_minutes),
        file_glob,
        file_format,
        CsvDialect(csv_delimiter, csv_encoding),
        on_bad_file,
        email_events_key,
        declared,
    )
    shared_scan, shared_lists = SharedProfileScan(person_of(personal.of("member_lists"))), SharedLists()
    email_events = email_events_resource(export, start, end, file_lag_days, event_privacy, personal.check_everywhere)
    email_events.selected = bool(bucket_url)
    profiles, lists = personal.of("profiles"), personal.of("lists")
    member_lists = personal.of("member_lists")
    with_history, soft_deletes = history or (), deletes == "soft"
    resources = (
        add_final_step(
            profiles_resource(account, shared_scan, full_scan_days, allow_deletes, spread, profiles),
            ("profile_id",),
            profiles.columns(),
            unordered=UNORDERED_IN_PROFILES,
            with_history="profiles" in with_history,
            soft_deletes=soft_deletes,
        ),
        add_final_step(
            lists_resource(account, shared_lists, allow_deletes, lists),
            ("list_id",),
            lists.columns(),
            with_history="lists" in with_history,
            soft_deletes=soft_deletes,
        ),
        add_final_step(
            member_lists_resource(
                account, shared_scan, shared_lists, member_lists_from, full_scan_days, allow_deletes, member_lists
            ),
            ("list_id", "profile_id"),
            member_lists.columns(),
            soft_deletes=soft_deletes,
        ),
        unsubscribes_resource(account, start, end, personal.of("unsubscribes")),
        email_events,
        email_event_files_resource(export),
        *(make(account, allow_deletes, personal.of) for make in MIRRORS),
        list_changes_resource(account, personal.of("list_changes")),
        push_errors_resource(account, personal.of("push_errors")),
    )
    _apply_to_all(resources, read_contract(schema_contract), cast(TTableFormat | None, table_format))
    return resources


def _apply_to_all(
    resources: Iterable[DltResource], contract: TSchemaContractDict, table_format: TTableFormat | None
) -> None:
    for resource in resources:
        if table_format is not None and resource.name in LOGS:
            resource.apply_hints(table_format=table_format)
        hint = contract if resource.name in LOGS else keeping_rows(contract)
        resource.apply_hints(schema_contract=hint)
        for table in NESTED.get(resource.name, ()):
            resource.apply_hints(table_name=table, schema_contract=hint, create_table_variant=True)


def _check_placeholders(api_key: str | None, bucket_url: str | None) -> None:
    """Refuse what the documentation has in the place of values."""
    if api_key and api_key.startswith(PLACEHOLDER_KEY):
        raise InvalidSettingError("api_key", "is still the text of the documentation: put in your key.")
    if bucket_url and bucket_url.startswith(PLACEHOLDER_BUCKET):
        raise InvalidSettingError(
            "bucket_url",
            "is still the text of the documentation: put in your bucket, or leave it out to load the API only.",
        )


def _check_declared(columns: Mapping[str, str]) -> None:
    for name, kind in columns.items():
        check_choice("email_events_columns", kind, COLUMN_TYPES, key=name)
        if snake_case(name) in EVENT_COLUMNS:
            raise InvalidSettingError("email_events_columns", f"must not name `{name}`, which the table has by itself.")


def _check_key(columns: Sequence[str], privacy: TablePrivacy) -> None:
    """Without a salt, a key cannot be made of a column that is dropped."""
    for name in columns:
        if privacy.action(snake_case(name)) == DROP:
            raise dropped_key(name)
