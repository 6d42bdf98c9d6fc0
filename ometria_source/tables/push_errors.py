"""`push_errors`: what was wrong with records that the retailer pushed to Ometria.

The API gives the 100 newest (Ometria docs: Push errors), so that a row which is not read in time is lost, and one which
is not there says nothing. Whether it gives them in pages is not documented. Ometria documents `error_message` and
`error_path`; the fields around them are those of a public client, and some are from Fivetran's schema.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import dlt
from dlt.common.schema.typing import TTableSchemaColumns
from dlt.common.typing import TDataItems
from dlt.extract import DltResource

from ometria_source.api.client import Account, JsonObject, OmetriaClient
from ometria_source.api.offset_scan import scan
from ometria_source.privacy.apply import RowPrivacy
from ometria_source.privacy.rules import TablePrivacy
from ometria_source.sync.deletes import is_limited
from ometria_source.sync.destination import running_strategy
from ometria_source.sync.history import plain
from ometria_source.sync.metrics import ROWS_READ, add_note, counting
from ometria_source.sync.notices import pages_even_if_unproven
from ometria_source.sync.protection import begin_privacy, end_privacy
from ometria_source.sync.rows import Row, RowMapper, Variants, flat
from ometria_source.sync.spec import FIELD_PREFIXES

PATH = "/push/_errors"

# Ometria docs: Push errors.
MOST_ERRORS = 100

# Errors that are read, and kept in memory, of a server that gives more than is documented. A guess.
MOST_READ = 10 * MOST_ERRORS

# Hex digits that distinguish one of the last run's errors from all others.
SHORT = 16

MESSAGE = ("error_message", "error_path")

COLUMNS: TTableSchemaColumns = {
    "push_error_id": {
        "data_type": "text",
        "nullable": False,
        "description": "SHA-256 of all that Ometria says of this error: it gives none an id.",
    },
    "request_id": {"data_type": "text", "description": "The call that pushed the record (a client)."},
    "record_type": {"data_type": "text", "description": "What kind of record it is (a client)."},
    "record_id": {"data_type": "text", "description": "The retailer's id of the record (a client)."},
    "record": {"data_type": "json", "description": "The record as it was pushed (a client)."},
    "timestamp": {"data_type": "timestamp", "description": "When (UTC; a client)."},
    "message__error_message": {"data_type": "text", "description": "What is wrong (Ometria docs: Push errors)."},
    "message__error_path": {"data_type": "text", "description": "Where in the record (Ometria docs: Push errors)."},
    "account": {"data_type": "text", "description": "The account (Fivetran)."},
    "source": {"data_type": "text", "description": "Who pushed it (Fivetran)."},
    "customer_id": {"data_type": "text", "description": "The retailer's id of the customer (Fivetran)."},
    "timestamp_acquired": {"data_type": "timestamp", "description": "When it was acquired (UTC; Fivetran)."},
}


def error_pages(client: OmetriaClient) -> Iterator[list[JsonObject]]:
    """The newest errors.

    Args:
        client: Reads the API.

    Yields:
        Pages of errors, as they came.
    """
    yield from scan(client, PATH, paged=False, most_rows=MOST_READ)


def push_errors_resource(account: Account, privacy: TablePrivacy) -> DltResource:
    """The `push_errors` table.

    Args:
        account: Where to read.
        privacy: What is hashed and dropped.
    """

    @dlt.resource(
        name="push_errors",
        primary_key="push_error_id",
        write_disposition="merge",
        columns=privacy.columns(),
        selected=False,
    )
    def push_errors() -> Iterator[TDataItems]:
        """The newest errors of pushed records. What is there already stays.

        Yields:
            One list of rows. Rows repeat across runs; `push_error_id` makes them one.

        Raises:
            ConfigurationError: The table cannot be merged; as `strategy_at`.
            MissingSettingError: `api_key` is not configured.
            OmetriaError: As `OmetriaClient.get`.
        """
        running_strategy()
        begin_privacy(privacy)
        client = account.client("push_errors")
        state = dlt.current.resource_state()
        mapper = RowMapper("push_errors", COLUMNS, {}, derived=("push_error_id",), prefixes=FIELD_PREFIXES)
        protection, variants = RowPrivacy(privacy), Variants(mapper.names)
        with counting(client) as metrics:
            pages = pages_even_if_unproven("push_errors", error_pages(client), metrics)
            found = [error for page in pages for error in page]
            read = (mapper.row(flat(_wrapped(error), ("message",), FIELD_PREFIXES)) for error in found)
            made = [{**protection.row(row), "push_error_id": _id(mapper.row_for_keys(row), protection)} for row in read]
            # the same error may come twice; dlt would load it once, but not under every strategy
            rows = list({row["push_error_id"]: row for row in made if variants.admit(row)}.values())
            metrics[ROWS_READ] = len(rows)
            yield variants.split(rows) if rows else dlt.mark.materialize_table_schema()
        end_privacy((privacy, mapper.names))
        if not is_limited():
            known = {row["push_error_id"][:SHORT] for row in rows}
            if len(found) >= MOST_ERRORS and "known" in state and not known & set(state["known"]):
                add_note(
                    "push_errors",
                    f"all {len(found)} errors are new, so that others may have been missed: Ometria gives the newest "
                    f"{MOST_ERRORS} only. Run more often",
                )
            state["known"] = sorted(known)

    return push_errors


def _wrapped(error: JsonObject) -> JsonObject:
    """An error whose message is an object, as it is in a public client."""
    if "message" in error or not any(name in error for name in MESSAGE):
        return error
    rest = {name: value for name, value in error.items() if name not in MESSAGE}
    return {**rest, "message": {name: error[name] for name in MESSAGE if name in error}}


def _id(row: Row, protection: RowPrivacy) -> str:
    """The hash of a row's content, the same for every spelling of it.

    What is left out is hashed, so that two errors which differ in nothing else stay two.
    """
    content: dict[str, Any] = {name: protection.value(name, value) for name, value in row.items() if value is not None}
    text = json.dumps(plain(content), sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
