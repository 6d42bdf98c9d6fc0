"""`profiles`: the people that Ometria knows, one row for each merged view of a person.

`profiles` and `member_lists` may both need a scan of the profiles. The one that reads records each profile's segments
in a temporary file, so that the other need not request them again; memory stays flat however many profiles there are.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import IO, Any

import dlt
from dlt.common.schema.typing import TTableSchemaColumns
from dlt.common.typing import TDataItems
from dlt.extract import DltResource

from ometria_source.api.client import Account, JsonObject, OmetriaClient
from ometria_source.api.offset_scan import scan
from ometria_source.constants import PROFILES_LOOKBACK, SHARED_FOR
from ometria_source.exceptions import InvalidSettingError, UnexpectedAnswerError
from ometria_source.naming import Field, snake_case
from ometria_source.privacy.apply import RowPrivacy
from ometria_source.privacy.rules import TablePrivacy
from ometria_source.sync.deletes import (
    COMPLETE_SCAN_MARKER,
    IdSketch,
    guard_deletions,
    is_id,
    is_limited,
    is_merged,
    snapshot_merge,
)
from ometria_source.sync.metrics import ROWS_EXPECTED, ROWS_READ, add_note, counting
from ometria_source.sync.notices import report_missing_fields
from ometria_source.sync.protection import begin_privacy, end_privacy
from ometria_source.sync.rows import FIELD_PREFIX, Row, RowMapper, Variants, flat, read_stored_instant
from ometria_source.sync.snapshot import KEPT_COLUMNS
from ometria_source.sync.state import Watermark
from ometria_source.sync.steps import HiddenRows, is_pipeline_run

PATH = "/profiles"

# The two forms of a phone number are one text, or its parts (seen in a public client's model).
PHONE_FIELDS: Mapping[Field, str] = {
    ("phone_number", "number"): "phone_number",
    ("phone_number", "country_code"): "phone_number_country",
}

# Ometria's spelling: Ometria docs, Profiles API. The columns' names: Daasity's Ometria integration specification.
RENAMES: Mapping[Field, str] = {
    "id": "profile_id",
    "name": "customer_name",
    "firstname": "first_name",
    "lastname": "last_name",
    **PHONE_FIELDS,
}

# Objects whose fields become columns of their own (Ometria docs: Profiles API).
FLATTENED = ("dates", "stats", "phone_number")

# Lists whose order means nothing: of tags, identities and segments.
UNORDERED = ("tags", "identities", "lists")

COLUMNS: TTableSchemaColumns = {
    "profile_id": {"data_type": "text", "nullable": False, "description": "Ometria's id of this person."},
    "email": {"data_type": "text", "description": "E-mail address. Not unique: older profiles can share one."},
    "customer_id": {"data_type": "text", "description": "The retailer's own id of this customer."},
    "customer_name": {"data_type": "text", "description": "Full name."},
    "prefix": {"data_type": "text", "description": "Title before the name."},
    "first_name": {"data_type": "text", "description": "First name."},
    "middlename": {"data_type": "text", "description": "Middle name."},
    "last_name": {"data_type": "text", "description": "Last name."},
    "suffix": {"data_type": "text", "description": "What follows the name."},
    "gender": {"data_type": "text", "description": "`m` or `f`; a public client also knows `o`."},
    "date_of_birth": {"data_type": "date", "description": "Date of birth."},
    "country": {
        "data_type": "text",
        "description": "Country code; from `country_id` where Ometria sends that instead.",
    },
    "marketing_optin": {
        "data_type": "bool",
        "description": "Whether this person agreed to marketing e-mail; null when Ometria has no answer.",
    },
    "seen": {"data_type": "bool", "description": "Ometria's `seen`; its meaning is not documented."},
    "timezone": {"data_type": "text", "description": "Time zone of this person."},
    "lifecycle_status": {
        "data_type": "text",
        "description": "Ometria's lifecycle status; its values are not documented.",
    },
    "is_email_valid": {"data_type": "bool", "description": "Whether Ometria holds the e-mail address for valid."},
    "phone_number": {"data_type": "text", "description": "Phone number."},
    "phone_number_country": {
        "data_type": "text",
        "description": "Country code of the phone number, where Ometria gives one.",
    },
    "tags": {"data_type": "json", "description": "List of tags."},
    "properties": {"data_type": "json", "description": "The account's custom fields."},
    "identities": {"data_type": "json", "description": "List of {id, type}: what this person is identified by."},
    "lists": {
        "data_type": "json",
        "description": "Segments of this person when the row was read. Moves of dynamic segments show at the next "
        "complete scan; `member_lists` has one row for each.",
    },
    "dates__acquired": {"data_type": "timestamp", "description": "When this person was acquired."},
    "dates__first_seen": {"data_type": "timestamp", "description": "First sighting."},
    "dates__last_seen": {"data_type": "timestamp", "description": "Latest sighting."},
    "dates__first_purchase": {"data_type": "timestamp", "description": "First purchase."},
    "dates__last_purchase": {"data_type": "timestamp", "description": "Latest purchase."},
    "stats__aov": {"data_type": "double", "description": "Average order value."},
    "stats__orders": {"data_type": "bigint", "description": "Number of orders."},
    "stats__orders_attempted": {"data_type": "bigint", "description": "Number of orders attempted."},
    "stats__revenue": {"data_type": "double", "description": "Revenue."},
    "stats__total_items": {"data_type": "bigint", "description": "Number of items bought."},
    "stats__visits": {"data_type": "bigint", "description": "Number of visits."},
}


def profile_pages(client: OmetriaClient, since: datetime | None) -> Iterator[list[JsonObject]]:
    """All profiles, or those that changed.

    Args:
        client: Reads the API.
        since: The last scan that finished; it is reached back from by `PROFILES_LOOKBACK`. None: read all.

    Yields:
        Pages of profiles, each of which has an id.
    """
    params = {} if since is None else {"updateSince": (since - PROFILES_LOOKBACK).date().isoformat()}
    for page in scan(client, PATH, params):
        if not all(is_id(profile.get("id")) for profile in page):
            raise UnexpectedAnswerError(PATH, "a profile without a usable `id`")
        yield page


@dataclass(frozen=True)
class Memberships:
    """The segments of each profile, as one scan found them.

    Attributes:
        started: When the scan began.
        since: The last scan before it, from which it reached back; None: it read all profiles.
        finished: When it reached its end.
        notes: One JSON list a line: profile id, then its list ids, or null where the profile carries no `lists`.
    """

    started: datetime
    since: datetime | None
    finished: datetime
    notes: IO[str]

    def rows(self) -> Iterator[tuple[str, list[str] | None]]:
        """Profile id and list ids, profile by profile."""
        self.notes.seek(0)
        for line in self.notes:
            profile_id, list_ids = json.loads(line)
            yield profile_id, list_ids


class SharedProfileScan:
    """Passes the memberships of one table's scan on to another's.

    Args:
        person: What `member_lists` has instead of a profile's id, where that is hashed.
    """

    def __init__(self, person: Callable[[str], str]) -> None:
        self._person = person
        self.in_progress = False
        self._finished: Memberships | None = None

    @contextmanager
    def recording(self, started: datetime, since: datetime | None) -> Iterator[Callable[[JsonObject], None]]:
        """Take note of a scan; it can be taken once this context ends without an error.

        Args:
            started: When the scan began.
            since: As in `Memberships`.

        Yields:
            A function to call with each profile.
        """
        self._finished = None
        self.in_progress = True
        # it outlives this context: the caller of `take` reads it, and the system removes it when it is closed
        notes = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115

        def note(profile: JsonObject) -> None:
            notes.write(json.dumps([self._person(str(profile["id"])), list_ids(profile)]) + "\n")

        try:
            yield note
            self._finished = Memberships(started, since, datetime.now(timezone.utc), notes)
        finally:
            self.in_progress = False

    def take(self) -> Memberships | None:
        """The last scan that finished just now, if it was not taken yet."""
        scan, self._finished = self._finished, None
        return scan if scan and datetime.now(timezone.utc) - scan.finished < SHARED_FOR else None


def list_ids(profile: JsonObject) -> list[str] | None:
    """The ids in a profile's `lists`; None where it has none (Ometria documents no such field; a client reads it)."""
    lists: Any = profile.get("lists")
    if not isinstance(lists, list):
        return None
    ids = (str(item["id"]) for item in lists if isinstance(item, dict) and item.get("id") is not None)
    return list(dict.fromkeys(ids))


def profiles_resource(
    account: Account,
    shared_scan: SharedProfileScan,
    full_scan_days: float,
    allow_deletes: bool,
    spread: Mapping[str, str],
    privacy: TablePrivacy,
) -> DltResource:
    """The `profiles` table.

    Args:
        account: Where to read.
        shared_scan: Takes note of each profile's segments, for `member_lists`.
        full_scan_days: Days between two complete scans; 0: every scan is complete.
        allow_deletes: Whether a complete scan may remove more than a tenth of the table.
        spread: As `spread_columns` gave it.
        privacy: What is hashed and dropped.
    """

    @dlt.resource(
        name="profiles",
        primary_key="profile_id",
        write_disposition=snapshot_merge("profile_id"),
        columns=privacy.columns(),
    )
    def profiles() -> Iterator[TDataItems]:
        """People, one row for each of Ometria's merged profiles.

        `updateSince` reports no erasure, no merge and no move between dynamic segments (Ometria docs: Profiles API):
        such changes show at the next complete scan.

        Yields:
            One list of rows per request, in Ometria's order; after a complete scan the marker that removes the rest.

        Raises:
            ConfigurationError: The table cannot be merged; as `strategy_at`.
            MissingSettingError: `api_key` is not configured.
            MassDeletionError: A complete scan would remove more than a tenth of the table.
            InvalidSettingError: The table was loaded under other privacy settings.
            UnappliedRuleError: A privacy rule for the table found nothing in its rows.
            OmetriaError: As `OmetriaClient.get`.
        """
        merged = is_merged()
        begin_privacy(privacy)
        client = account.client("profiles")
        # outside of a run all is read, and nothing is noted
        state = dlt.current.resource_state() if is_pipeline_run() else {}
        watermark = Watermark("profiles", state, full_scan_days)
        since = None if watermark.is_complete_scan_due else watermark.last_scan
        mapper = ProfileMapper(spread)
        variants = Variants(mapper.names)
        protect = RowPrivacy(privacy).row
        found = IdSketch()
        fields: set[str] = set()
        limited = is_limited()
        with counting(client) as metrics, shared_scan.recording(watermark.started, since) as note:
            if since is None and "ids" in state:
                metrics[ROWS_EXPECTED] = IdSketch.from_state(state["ids"]).rows
            for page in profile_pages(client, since):
                rows = [protect(mapper.row(profile)) for profile in page]
                for profile, row in zip(page, rows, strict=True):
                    variants.admit(row)
                    note(profile)
                    found.add(row["profile_id"])
                    fields.update(row)
                metrics[ROWS_READ] += len(rows)
                yield variants.split(rows)
            end_privacy((privacy, mapper.names))
            if limited:
                return
            known = IdSketch.from_state(state["ids"]) if "ids" in state else IdSketch()
            if since is None:
                if merged:
                    guard_deletions("profiles", known, found, allow_deletes)
                report_missing_fields("profiles", state, fields)
                _warn_of_missing(spread, fields)
                known = found
            else:
                known.include(found)
            state["ids"] = known.to_state()
            watermark.advance(watermark.started, complete=since is None)
            if merged and since is None:
                yield HiddenRows([{"profile_id": COMPLETE_SCAN_MARKER}])

    return profiles


class ProfileMapper:
    """Turns profiles into rows of the table, in a run.

    Args:
        spread: As `spread_columns` gave it.

    Attributes:
        names: Of the table's columns.
    """

    def __init__(self, spread: Mapping[str, str]) -> None:
        self._spread = spread
        self._mapper = RowMapper("profiles", COLUMNS, RENAMES, derived=(*spread, *KEPT_COLUMNS))
        self.names = self._mapper.names

    def row(self, profile: JsonObject) -> Row:
        """The row of one profile.

        Args:
            profile: As the API gave it.

        Returns:
            Values by column name; the fields of `dates`, `stats` and of a structured `phone_number` in columns of their
            own.
        """
        fields = flat(profile, FLATTENED, FIELD_PREFIX)
        for field, value in fields.items():
            if isinstance(field, tuple) and field[0] == "dates" and (instant := read_stored_instant(value)) is not None:
                fields[field] = instant
        row = self._mapper.row(fields)
        row["profile_id"] = str(row["profile_id"])
        if row.get("country") is None and "country_id" in row:
            row["country"] = row.pop("country_id")
        if self._spread and isinstance(properties := row.get("properties"), dict):
            row.update(self._spread_values(properties))
        return row

    def _spread_values(self, properties: JsonObject) -> Row:
        """The values of the properties that get columns of their own."""
        keys = {column: _key_of(name, properties) for column, name in self._spread.items()}
        return {column: properties[key] for column, key in keys.items() if key is not None}


def spread_columns(names: Iterable[str]) -> dict[str, str]:
    """The columns of the setting `spread_properties`.

    Args:
        names: Keys of `properties`, or their names in snake case.

    Returns:
        These names, by column.

    Raises:
        InvalidSettingError: A name is empty, or two of them have the same column.
    """
    columns: dict[str, str] = {}
    for name in names:
        column = snake_case(f"properties__{name}")
        if not str(name).strip() or column == "properties":
            raise InvalidSettingError("spread_properties", "holds an empty name; name keys of `properties`.")
        if column in columns:
            raise InvalidSettingError(
                "spread_properties", f"names the column `{column}` twice, as `{columns[column]}` and as `{name}`."
            )
        columns[column] = name
    return columns


def _warn_of_missing(spread: Mapping[str, str], found: Collection[str]) -> None:
    """Say which names of `spread_properties` no profile of a complete scan has; `found`: the columns that any has."""
    if missing := [f"`{name}`" for column, name in spread.items() if found and column not in found]:
        add_note("profiles", f"no profile has {', '.join(missing)} in `properties`; check `spread_properties`")


def _key_of(name: str, properties: JsonObject) -> str | None:
    """The key that a name of `spread_properties` stands for; None: there is none."""
    if name in properties:
        return name
    wanted = snake_case(name)
    return next((key for key in properties if snake_case(key) == wanted), None)
