"""`member_lists`: the members of each list, one row for each pair.

Ometria documents that members can be listed, but no path. So there are two ways: list by list, where one of the
candidate paths answers, or from the `lists` that each profile carries. Fivetran has a table of members, Daasity fills
one from "the Lists endpoint"; the three paths here are guesses. One of them counts as found when it answers with items
that carry a profile's id.

A staged marker stands for what was read completely, and so is replaced: (list, *) one list, (*, profile) one profile,
(*, *) everything.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote

import dlt
from dlt.common.schema.typing import TDeleteInsertStrategyDict, TTableSchemaColumns
from dlt.common.typing import TDataItems
from dlt.extract import DltResource

from ometria_source.api.client import Account, JsonObject, OmetriaClient
from ometria_source.api.offset_scan import scan
from ometria_source.api.prefetch import Spool, map_in_order, max_prefetch
from ometria_source.constants import PAGE_LIMIT
from ometria_source.exceptions import AccessDeniedError, NotFoundError, UnexpectedAnswerError
from ometria_source.privacy.apply import RowPrivacy
from ometria_source.privacy.consistency import begin
from ometria_source.privacy.rules import TablePrivacy
from ometria_source.sync.deletes import COMPLETE_SCAN_MARKER, IdSketch, guard_deletions, is_limited, is_merged, one_text
from ometria_source.sync.metrics import LISTS_READ, LISTS_TO_READ, ROWS_READ, counting
from ometria_source.sync.notices import CountNotices
from ometria_source.sync.state import Watermark
from ometria_source.sync.steps import HiddenRows, is_pipeline_run
from ometria_source.tables.lists import list_pages
from ometria_source.tables.profiles import PATH as PROFILES_PATH
from ometria_source.tables.profiles import Memberships, SharedProfileScan, list_ids, profile_pages

log = logging.getLogger(__name__)

# In this order: the documented 404 of "list profiles" speaks of lists, which hints at the first.
CANDIDATE_PATHS = ("/lists/{list_id}/profiles", "/lists/{list_id}/members", "/lists/{list_id}/contacts")

# A list may be gone, or empty, when it is asked for: so many are tried before a path is given up.
LISTS_TRIED = 3

COLUMNS: TTableSchemaColumns = {
    "list_id": {"data_type": "text", "nullable": False, "description": "A list; its title is in `lists`."},
    "profile_id": {"data_type": "text", "nullable": False, "description": "A profile that is in the list."},
}

_PAIR = one_text("list_id", "profile_id")

# Put together from constants of ours only, hence the silenced warning about SQL in strings.
MERGE: TDeleteInsertStrategyDict = {
    "disposition": "merge",
    "strategy": "delete-insert",
    "source_filter": f"list_id <> '{COMPLETE_SCAN_MARKER}' AND profile_id <> '{COMPLETE_SCAN_MARKER}'",
    "destination_scope": (
        f"({_PAIR} IN (SELECT {_PAIR} FROM {{staging_table}}) "  # noqa: S608
        f"OR list_id IN (SELECT list_id FROM {{staging_table}} WHERE profile_id = '{COMPLETE_SCAN_MARKER}') "
        f"OR profile_id IN (SELECT profile_id FROM {{staging_table}} WHERE list_id = '{COMPLETE_SCAN_MARKER}') "
        f"OR EXISTS (SELECT 1 FROM {{staging_table}} WHERE list_id = '{COMPLETE_SCAN_MARKER}' "
        f"AND profile_id = '{COMPLETE_SCAN_MARKER}'))"
    ),
}

# Rows that are handed to dlt at a time when they come from the profiles; a guess between memory and overhead.
ROWS_AT_A_TIME = 5_000

Pair = dict[str, str]


def find_path(client: OmetriaClient, lists: Sequence[JsonObject], remembered: str | None) -> str | None:
    """The path that answers with members.

    Args:
        client: Reads the API.
        lists: All lists of the account.
        remembered: The path that answered on an earlier run; it is tried first.

    Returns:
        A template with `{list_id}`; None where no path is known to give members. Where all lists are empty, a path that
        says so.
    """
    by_size = sorted(lists, key=lambda item: size_of(item) or 0, reverse=True)[:LISTS_TRIED]
    empty: str | None = None
    for template in sorted(CANDIDATE_PATHS, key=lambda path: path != remembered):
        verdict = _try_path(client, template, by_size)
        if verdict == "members":
            return template
        if verdict == "empty" and empty is None:
            empty = template
    return empty if all(size_of(item) == 0 for item in lists) else None


def _try_path(client: OmetriaClient, template: str, lists: Sequence[JsonObject]) -> str:
    verdict = "none"
    for item in lists:
        path = list_path(template, item)
        try:
            members = client.get(path, {"limit": PAGE_LIMIT, "offset": 0}, probe=True)
        except NotFoundError:
            continue
        except (AccessDeniedError, UnexpectedAnswerError) as error:
            log.info("%s is not taken for a path to members: %s", template, error)
            return "none"
        if members:
            return "members" if all(profile_id(member) for member in members) else "none"
        verdict = "empty"
    return verdict


def members_of(client: OmetriaClient, template: str, item: JsonObject) -> Iterator[list[str]]:
    """The profile ids of one list.

    Args:
        client: Reads the API.
        template: From `find_path`.
        item: The list.

    Yields:
        Pages of profile ids. One profile may come twice, where the items are contacts.

    Raises:
        NotFoundError: The list is gone.
        UnexpectedAnswerError: An item carries no profile id.
        OmetriaError: As `scan`.
    """
    path = list_path(template, item)
    for page in scan(client, path, paged=False, identify=_item_id):
        ids = [profile_id(member) for member in page]
        if None in ids:
            raise UnexpectedAnswerError(path, "an item without a profile's id")
        yield [identifier for identifier in ids if identifier is not None]


def profile_id(member: JsonObject) -> str | None:
    """The profile that an item of a list stands for: it may be a profile, a contact, or a bare pair of ids."""
    for name in ("profile_id", "@profile_id"):
        if member.get(name):
            return str(member[name])
    if member.get("@type") == "profile" and member.get("id"):
        return str(member["id"])
    return None


def _item_id(member: JsonObject) -> str:
    """What no two items of a list have in common: ids of contacts are unique in their collection only."""
    parts = [member.get(field) for field in ("@collection", "collection", "id", "profile_id", "@profile_id")]
    return repr(parts if any(parts) else member)


def list_path(template: str, item: JsonObject) -> str:
    """The path of one list."""
    return template.format(list_id=quote(str(item["id"]), safe=""))


def size_of(item: JsonObject) -> int | None:
    """What Ometria says is in a list; None where it does not say."""
    size = item.get("size")
    return size if isinstance(size, int) else None


def member_lists_resource(
    account: Account,
    shared_scan: SharedProfileScan,
    source: str,
    full_scan_days: float,
    allow_deletes: bool,
    privacy: TablePrivacy,
) -> DltResource:
    """The `member_lists` table.

    Args:
        account: Where to read.
        shared_scan: The profiles' scan, if `profiles` is read in the same run.
        source: From where: "lists", "profiles", or "auto", which takes the lists where a path answers.
        full_scan_days: Days between two complete readings; 0: every one is complete.
        allow_deletes: Whether a complete scan of the profiles may remove more than a tenth of the table.
        privacy: What is hashed.
    """

    @dlt.resource(
        name="member_lists",
        primary_key=("list_id", "profile_id"),
        write_disposition=MERGE,
        columns=COLUMNS,
        references=[
            {"referenced_table": "lists", "columns": ["list_id"], "referenced_columns": ["list_id"]},
            {"referenced_table": "profiles", "columns": ["profile_id"], "referenced_columns": ["profile_id"]},
        ],
    )
    def member_lists() -> Iterator[TDataItems | None]:
        """Who is in which list.

        Yields:
            Lists of rows, and markers for what was read whole; None while the profiles' scan of the same run goes on.

        Raises:
            ConfigurationError: The table cannot be merged; as `strategy_at`.
            MissingSettingError: `api_key` is not configured.
            UnexpectedAnswerError: Neither a path answers nor does any profile carry `lists`.
            MassDeletionError: A complete scan of the profiles would remove more than a tenth of them, or more than a
                tenth of the lists is gone.
            InvalidSettingError: The table was loaded under other privacy settings, or one of them names no column.
            OmetriaError: As `OmetriaClient.get`.
        """
        begin(privacy)
        merged = is_merged()
        client = account.client("member_lists")
        # outside of a run all is read, and nothing is noted
        state = dlt.current.resource_state() if is_pipeline_run() else {}
        watermark = Watermark(state, full_scan_days)
        reading = _Reading(
            client, state, watermark, shared_scan, is_limited(), merged, allow_deletes, person_of(privacy)
        )
        with counting(client) as metrics:
            for rows in reading.rows(source):
                if rows is not None:
                    metrics[ROWS_READ] += sum(COMPLETE_SCAN_MARKER not in row.values() for row in rows)
                yield rows

    return member_lists


def person_of(privacy: TablePrivacy) -> Callable[[str], str]:
    """What this table has instead of a profile's id: a hash, where that is wanted, else the id."""
    protection = RowPrivacy(privacy)
    return lambda profile_id: str(protection.value("profile_id", profile_id))


@dataclass
class _Reading:
    """One run of the table."""

    client: OmetriaClient
    state: dict[str, Any]
    watermark: Watermark
    shared_scan: SharedProfileScan
    limited: bool
    merged: bool
    allow_deletes: bool
    person: Callable[[str], str]
    gone: list[str] = field(default_factory=list)
    has_members: bool = False

    def rows(self, source: str) -> Iterator[list[Pair] | None]:
        """Rows and markers, from where the setting and the account say."""
        while self.shared_scan.in_progress:
            yield None
        shared = self.shared_scan.take()
        no_path_answers = self.state.get("read_from") == "profiles" and not self.watermark.is_complete_scan_due
        if source == "profiles" or (source == "auto" and no_path_answers):
            yield from self._by_profile(shared)
            return
        lists = [item for page in list_pages(self.client) for item in page]
        path = find_path(self.client, lists, self.state.get("path")) if lists else self.state.get("path")
        self.has_members = any(size_of(item) for item in lists)
        if path is not None or not lists:
            yield from self._by_list(lists, path, shared)
        elif source == "auto":
            if self.state.get("read_from") == "lists":
                log.warning("member_lists: no path to members answers any more; they are read from the profiles")
            yield from self._by_profile(shared)
        else:
            raise UnexpectedAnswerError(
                "/lists/{list_id}/…", 'under no known path with members; set `member_lists_from` to "profiles"'
            )

    def _by_list(self, lists: list[JsonObject], path: str | None, shared: Memberships | None) -> Iterator[list[Pair]]:
        # profiles that are gone leave this table in the run in which they leave their own
        profiles_are_complete = shared is not None and shared.since is None
        complete = (
            self.watermark.is_complete_scan_due or profiles_are_complete or self.state.get("read_from") != "lists"
        )
        before: dict[str, str] = {} if complete else self.state["lists"]
        after = {_id(item): _content_version(item) or "" for item in lists}
        if path is not None:
            changed = [item for item in lists if not after[_id(item)] or before.get(_id(item)) != after[_id(item)]]
            yield from self._members(changed, path)
        if self.limited:
            return
        if self.merged and self.state.get("read_from") == "lists":
            found = IdSketch(after.keys() - set(self.gone))
            guard_deletions("member_lists", IdSketch(self.state["lists"]), found, self.allow_deletes, of="lists")
        # one that seemed to be gone is looked at again by the next run, if it is still there
        after.update(dict.fromkeys(self.gone, ""))
        if self.merged:
            yield HiddenRows([_pair(gone, COMPLETE_SCAN_MARKER) for gone in before.keys() - after.keys()])
        _advise(self.client)
        self.state.update(read_from="lists", path=path, lists=after)
        self.state.pop("ids", None)
        self.watermark.advance(self.watermark.started, complete)
        if self.merged and complete:
            yield HiddenRows([_pair(COMPLETE_SCAN_MARKER, COMPLETE_SCAN_MARKER)])

    def _members(self, lists: list[JsonObject], path: str) -> Iterator[list[Pair]]:
        """Members and marker of each list; of one that is gone the marker alone."""
        most = max_prefetch(self.client.requests_per_second)
        metrics = dlt.current.resource_metrics()
        metrics.update({LISTS_TO_READ: len(lists), LISTS_READ: 0})
        short = CountNotices("member_lists", "lists")
        for item, pages in zip(lists, map_in_order(lists, lambda item: self._one_list(item, path), most), strict=True):
            if pages is None:
                log.warning("member_lists: a list was deleted while it was read; its members are removed")
                self.gone.append(_id(item))
            else:
                read = 0
                for ids in pages.read():
                    read += len(ids)
                    yield [_pair(_id(item), profile_id) for profile_id in ids]
                short.note(read, size_of(item))
            metrics[LISTS_READ] += 1
            if self.merged and not self.limited:
                yield HiddenRows([_pair(_id(item), COMPLETE_SCAN_MARKER)])
        short.warn()

    def _one_list(self, item: JsonObject, path: str) -> Spool | None:
        """The profile ids of a list, once they are all there; None for a list that is gone."""
        try:
            return Spool([self.person(member) for member in ids] for ids in members_of(self.client, path, item))
        except NotFoundError:
            # another list has already answered on this path: so it is the list that is gone
            return None

    def _by_profile(self, shared: Memberships | None) -> Iterator[list[Pair]]:
        since = self.watermark.last_scan
        if self.watermark.is_complete_scan_due or self.state.get("read_from") != "profiles":
            since = None
        started = self.watermark.started
        if shared and (shared.since is None or (since is not None and shared.since <= since)):
            started, since, memberships = shared.started, shared.since, shared.rows()
        else:
            memberships = self._own_scan(since)
        found = IdSketch()
        yield from self._membership_rows(memberships, since is None, found)
        if self.limited:
            return
        known = IdSketch.from_state(self.state["ids"]) if "ids" in self.state else IdSketch()
        if since is None:
            # by profiles, not by rows: a list may empty at any time
            if self.merged:
                guard_deletions("member_lists", known, found, self.allow_deletes, of="profiles")
            known = found
        else:
            known.include(found)
        self.state.update(read_from="profiles", ids=known.to_state())
        self.state.pop("lists", None)
        self.watermark.advance(started, complete=since is None)
        if self.merged and since is None:
            yield HiddenRows([_pair(COMPLETE_SCAN_MARKER, COMPLETE_SCAN_MARKER)])

    def _own_scan(self, since: datetime | None) -> Iterator[tuple[str, list[str] | None]]:
        for page in profile_pages(self.client, since):
            for profile in page:
                yield self.person(str(profile["id"])), list_ids(profile)

    def _membership_rows(
        self, memberships: Iterator[tuple[str, list[str] | None]], complete: bool, found: IdSketch
    ) -> Iterator[list[Pair]]:
        rows: list[Pair] = []
        markers: list[Pair] = []
        profiles = carrying_lists = members = 0
        for profile_id, ids in memberships:
            profiles += 1
            carrying_lists += ids is not None
            found.add(profile_id)
            rows.extend(_pair(list_id, profile_id) for list_id in ids or ())
            if self.merged and not complete and not self.limited:
                markers.append(_pair(COMPLETE_SCAN_MARKER, profile_id))
            members += len(ids or ())
            if len(rows) >= ROWS_AT_A_TIME or len(markers) >= ROWS_AT_A_TIME:
                yield from (rows, HiddenRows(markers))
                rows, markers = [], []
        yield from (rows, HiddenRows(markers))
        if complete and profiles and not (members if self.has_members else carrying_lists):
            what = "with empty `lists` in each profile" if carrying_lists else "without `lists` in any profile"
            raise UnexpectedAnswerError(PROFILES_PATH, f"{what}, and no known path gives a list's members")


def _id(item: JsonObject) -> str:
    return str(item["id"])


def _pair(list_id: str, profile_id: str) -> Pair:
    return {"list_id": list_id, "profile_id": profile_id}


def _content_version(item: JsonObject) -> str | None:
    """What changes when Ometria works out a list's members again; None for static lists, where nothing would."""
    refreshed = item.get("timestamp_last_refreshed")
    if str(item.get("type")).upper() != "DYNAMIC" or not refreshed:
        return None
    return f"{refreshed} {size_of(item)}"


def _advise(client: OmetriaClient) -> None:
    """Say when the other way would take fewer requests."""
    profiles = dlt.current.resource_state("profiles").get("ids", {}).get("rows")
    if profiles is not None and client.requests > (by_profile := profiles // PAGE_LIMIT + 2):
        log.warning(
            "member_lists: reading by list took %d requests; a complete scan of the profiles takes about %d. "
            'Consider `member_lists_from = "profiles"`',
            client.requests,
            by_profile,
        )
