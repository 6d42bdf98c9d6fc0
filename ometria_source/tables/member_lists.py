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
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote

import dlt
from dlt.common.schema.typing import TDeleteInsertStrategyDict, TTableSchemaColumns
from dlt.common.typing import TDataItems
from dlt.extract import DltResource

from ometria_source.api.client import Account, JsonObject, OmetriaClient
from ometria_source.api.offset_scan import FEWEST_ROWS, scan
from ometria_source.api.prefetch import Spool, map_in_order, max_prefetch
from ometria_source.constants import PAGE_LIMIT
from ometria_source.exceptions import (
    AccessDeniedError,
    AnswerTooLargeError,
    MembersPathError,
    NotFoundError,
    UnexpectedAnswerError,
    UnprovenScanError,
)
from ometria_source.privacy.apply import RowPrivacy
from ometria_source.privacy.rules import TablePrivacy
from ometria_source.sync.deletes import (
    COMPLETE_SCAN_MARKER,
    DELETES_ROWS,
    IdSketch,
    guard_deletions,
    is_limited,
    is_merged,
    one_text,
)
from ometria_source.sync.metrics import LISTS_READ, LISTS_TO_READ, ROWS_READ, add_note, counting
from ometria_source.sync.notices import CountNotices, report_unproven
from ometria_source.sync.protection import begin_privacy, end_privacy
from ometria_source.sync.state import Watermark
from ometria_source.sync.steps import HiddenRows, is_pipeline_run
from ometria_source.tables.lists import PATH as LISTS_PATH
from ometria_source.tables.lists import SharedLists, list_pages
from ometria_source.tables.profiles import PATH as PROFILES_PATH
from ometria_source.tables.profiles import Memberships, SharedProfileScan, list_ids, profile_pages

log = logging.getLogger(__name__)

# In this order: the documented 404 of "list profiles" speaks of lists, which hints at the first.
CANDIDATE_PATHS = ("/lists/{list_id}/profiles", "/lists/{list_id}/members", "/lists/{list_id}/contacts")

# What a path answers.
MEMBERS, EMPTY, NOT_FOUND = "members", "no members", "answers status 404"

# A list may be gone, or empty, when it is asked for: so many are tried before a path is given up.
LISTS_TRIED = 3

COLUMNS: TTableSchemaColumns = {
    "list_id": {"data_type": "text", "nullable": False, "description": "A list; its title is in `lists`."},
    "profile_id": {"data_type": "text", "nullable": False, "description": "A profile that is in the list."},
}

_PAIR = one_text("list_id", "profile_id")

# Made of constants of this module only, which is why the warning about SQL in strings is off.
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

# What to do where the members of a list do not fit into an answer.
FROM_PROFILES = 'Set `member_lists_from = "profiles"`, which reads them from the profiles.'

# Rows that are handed to dlt at a time when they come from the profiles; a guess between memory and overhead.
ROWS_AT_A_TIME = 5_000

Pair = dict[str, str]


def find_path(client: OmetriaClient, lists: Sequence[JsonObject], remembered: str | None) -> str | None:
    """The path that answers with members.

    Args:
        client: Reads the API.
        lists: All lists of the account; at least one.
        remembered: The path that gave members to an earlier run; it is tried first. Another one takes over only where
            it answers 404.

    Returns:
        A template with `{list_id}`; None where no path is known to give members. Where all lists are empty, a path that
        says so.

    Raises:
        MembersPathError: The remembered path fails, and no other one gives members.
        OmetriaError: As `OmetriaClient.get`.
    """
    by_size = sorted(lists, key=lambda item: size_of(item) or 0, reverse=True)[:LISTS_TRIED]
    empty: str | None = None
    for template in sorted(CANDIDATE_PATHS, key=lambda path: path != remembered):
        verdict = _try_path(client, template, by_size)
        if verdict == MEMBERS:
            return template
        if template == remembered and verdict not in (EMPTY, NOT_FOUND):
            raise MembersPathError(template, verdict)
        if verdict == EMPTY and empty is None:
            empty = template
    if remembered is None:
        return empty if all(size_of(item) == 0 for item in lists) else None
    if empty != remembered:
        raise MembersPathError(remembered, NOT_FOUND)
    # as many as may leave a table in a day: `size` may be hours old
    if sum(size_of(item) or 0 for item in by_size) > DELETES_ROWS:
        raise MembersPathError(remembered, "answers without members for lists that have some by their `size`")
    return remembered


def _try_path(client: OmetriaClient, template: str, lists: Sequence[JsonObject]) -> str:
    """What a path answers for some lists: one of the constants, or what is wrong with it."""
    verdict = NOT_FOUND
    for item in lists:
        path = list_path(template, item)
        try:
            members = _some_members(client, path)
        except NotFoundError:
            continue
        except (AccessDeniedError, UnexpectedAnswerError) as error:
            log.info("%s is not taken for a path to members: %s", template, error)
            return f"answers status {error.status}" if error.status else "answers something other than a list"
        if members:
            return MEMBERS if all(profile_id(member) for member in members) else "answers items without a profile's id"
        verdict = EMPTY
    return verdict


def _some_members(client: OmetriaClient, path: str) -> list[JsonObject]:
    """The first members of a list; fewer of them, where the answer is too long."""
    try:
        return client.get(path, {"limit": PAGE_LIMIT, "offset": 0}, probe=True)
    except AnswerTooLargeError:
        return client.get(path, {"limit": FEWEST_ROWS, "offset": 0}, probe=True)


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
        UnprovenScanError: These may not be all; raised after the last page.
        OmetriaError: As `scan`.
    """
    path = list_path(template, item)
    for page in scan(client, path, paged=False, size=size_of(item), identify=_item_id):
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
    shared_lists: SharedLists,
    source: str,
    full_scan_days: float,
    allow_deletes: bool,
    privacy: TablePrivacy,
) -> DltResource:
    """The `member_lists` table.

    Args:
        account: Where to read.
        shared_scan: The profiles' scan, if `profiles` is read in the same run.
        shared_lists: The lists, if `lists` is read in the same run.
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
            MembersPathError: The path that members were read from before fails.
            MassDeletionError: A complete scan of the profiles would remove more than a tenth of them, or more than a
                tenth of the lists is gone.
            AnswerTooLargeError: A list's members do not fit into an answer, which says how else to read them.
            InvalidSettingError: The table was loaded under other privacy settings.
            UnappliedRuleError: A privacy rule for the table found nothing in its rows.
            OmetriaError: As `OmetriaClient.get`.
        """
        begin_privacy(privacy)
        merged = is_merged()
        client = account.client("member_lists")
        # outside of a run all is read, and nothing is noted
        state = dlt.current.resource_state() if is_pipeline_run() else {}
        watermark = Watermark("member_lists", state, full_scan_days)
        reading = _Reading(
            client, state, watermark, shared_scan, shared_lists, is_limited(), merged, allow_deletes, person_of(privacy)
        )
        with counting(client) as metrics:
            try:
                for rows in reading.rows(source):
                    if rows is not None:
                        metrics[ROWS_READ] += sum(COMPLETE_SCAN_MARKER not in row.values() for row in rows)
                    yield rows
                if metrics[ROWS_READ]:
                    privacy.effects.columns.update(COLUMNS)
                end_privacy((privacy, None))
            except AnswerTooLargeError as error:
                if not error.path.startswith(f"{LISTS_PATH}/"):
                    raise
                raise AnswerTooLargeError(error.path, error.most_bytes, FROM_PROFILES) from None

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
    shared_lists: SharedLists
    limited: bool
    merged: bool
    allow_deletes: bool
    person: Callable[[str], str]
    # lists that were deleted while they were read, and those that may not have been read to their end
    gone: list[str] = field(default_factory=list)
    in_doubt: list[str] = field(default_factory=list)

    def rows(self, source: str) -> Iterator[list[Pair] | None]:
        """Rows and markers, from where the setting and the account say."""
        while self.shared_scan.in_progress or self.shared_lists.in_progress:
            yield None
        shared, shared_lists = self.shared_scan.take(), self.shared_lists.take(self.watermark.started)
        no_path_answers = self.state.get("read_from") == "profiles" and not self.watermark.is_complete_scan_due
        if source == "profiles" or (source == "auto" and no_path_answers):
            yield from self._by_profile(shared, shared_lists)
            return
        lists: list[JsonObject] = []
        doubt: UnprovenScanError | None = None
        try:
            for page in list_pages(self.client):
                lists += page
        except UnprovenScanError as error:
            doubt = error
        remembered = self.state.get("path") if self.state.get("read_from") == "lists" else None
        path = find_path(self.client, lists, remembered) if lists else remembered
        if path is not None or not lists:
            yield from self._by_list(lists, doubt, path, shared)
        elif source == "auto":
            yield from self._by_profile(shared, None if doubt else lists)
        else:
            raise UnexpectedAnswerError(
                "/lists/{list_id}/…", 'under no known path with members; set `member_lists_from` to "profiles"'
            )

    def _by_list(
        self, lists: list[JsonObject], doubt: UnprovenScanError | None, path: str | None, shared: Memberships | None
    ) -> Iterator[list[Pair]]:
        """Rows and markers, list by list; `doubt`: why these may not be all lists."""
        metrics = dlt.current.resource_metrics()
        if doubt:
            report_unproven("member_lists", doubt, metrics)
        # profiles that are gone leave this table in the run in which they leave their own
        profiles_are_complete = shared is not None and shared.since is None
        known: dict[str, str] = self.state["lists"] if self.state.get("read_from") == "lists" else {}
        complete = (
            self.watermark.is_complete_scan_due or profiles_are_complete or self.state.get("read_from") != "lists"
        )
        before = {} if complete else known
        after = {_id(item): _content_version(item) or "" for item in lists}
        if path is not None:
            changed = [item for item in lists if not after[_id(item)] or before.get(_id(item)) != after[_id(item)]]
            yield from self._members(changed, path)
        if self.limited:
            return
        if doubt:
            # those that did not come may be there
            after = {**known, **after}
        if self.merged and known:
            found = IdSketch(after.keys() - set(self.gone))
            guard_deletions("member_lists", IdSketch(known), found, self.allow_deletes, of="lists")
        deleted = self._unlisted(after)
        # one that seemed to be gone, or that may be longer, is looked at again by the next run, if it is still there
        after.update(dict.fromkeys([*self.gone, *self.in_doubt], ""))
        if self.merged:
            yield HiddenRows([_pair(gone, COMPLETE_SCAN_MARKER) for gone in known.keys() - after.keys()])
        # only a path that has given members is held to be the right one
        path = path if metrics[ROWS_READ] else self.state.get("path")
        self.state.update(read_from="lists", path=path, lists=after, deleted=sorted(deleted))
        self.state.pop("ids", None)
        self.state.pop("listed", None)
        self.watermark.advance(self.watermark.started, complete)
        if self.merged and complete and not doubt and not self.in_doubt:
            yield HiddenRows([_pair(COMPLETE_SCAN_MARKER, COMPLETE_SCAN_MARKER)])

    def _members(self, lists: list[JsonObject], path: str) -> Iterator[list[Pair]]:
        """Members and marker of each list; of one that is gone the marker alone, of one in doubt the members alone."""
        most = max_prefetch(self.client.requests_per_second, self.client.largest_answer)
        metrics = dlt.current.resource_metrics()
        metrics.update({LISTS_TO_READ: len(lists), LISTS_READ: 0})
        short = CountNotices("member_lists", "lists")
        doubt: UnprovenScanError | None = None
        for item, pages in zip(lists, map_in_order(lists, lambda item: self._one_list(item, path), most), strict=True):
            if pages is None:
                add_note("member_lists", "a list was deleted while it was read; its members are removed")
                self.gone.append(_id(item))
            else:
                read = 0
                for ids in pages.read():
                    read += len(ids)
                    yield [_pair(_id(item), profile_id) for profile_id in ids]
                if pages.doubt:
                    doubt = doubt or pages.doubt
                    self.in_doubt.append(_id(item))
                else:
                    short.note(read, size_of(item))
            metrics[LISTS_READ] += 1
            if self.merged and not self.limited and not (pages and pages.doubt):
                yield HiddenRows([_pair(_id(item), COMPLETE_SCAN_MARKER)])
        short.warn()
        if doubt:
            report_unproven("member_lists", doubt, metrics, len(self.in_doubt))

    def _one_list(self, item: JsonObject, path: str) -> Spool | None:
        """The profile ids of a list, once they are all there; None for a list that is gone."""
        try:
            return Spool([self.person(member) for member in ids] for ids in members_of(self.client, path, item))
        except NotFoundError:
            # another list has already answered on this path: so it is the list that is gone
            return None
        except AccessDeniedError as error:
            refused = error.status
        # not in the handler: a refusal in its context would count as a table that the account does not offer
        raise MembersPathError(path, f"answers status {refused} for one list", "which answers for other lists")

    def _by_profile(self, shared: Memberships | None, lists: list[JsonObject] | None) -> Iterator[list[Pair]]:
        """Rows and markers, profile by profile; `lists`: those of the account, where this run has read them all."""
        since = self.watermark.last_scan
        if self.watermark.is_complete_scan_due or self.state.get("read_from") != "profiles":
            since = None
        started = self.watermark.started
        if shared and (shared.since is None or (since is not None and shared.since <= since)):
            started, since, memberships = shared.started, shared.since, shared.rows()
        else:
            memberships = self._own_scan(since)
        listed, deleted = self._deleted_lists(lists)
        has_members = any(size_of(item) for item in lists or ())
        found = IdSketch()
        yield from self._membership_rows(memberships, since is None, found, deleted, has_members)
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
        newly_deleted = deleted.difference(self.state.get("deleted", ()))
        self.state.update(read_from="profiles", ids=known.to_state(), listed=listed, deleted=sorted(deleted))
        self.state.pop("lists", None)
        self.watermark.advance(started, complete=since is None)
        if self.merged:
            yield HiddenRows([_pair(list_id, COMPLETE_SCAN_MARKER) for list_id in sorted(newly_deleted)])
        if self.merged and since is None:
            yield HiddenRows([_pair(COMPLETE_SCAN_MARKER, COMPLETE_SCAN_MARKER)])

    def _deleted_lists(self, lists: list[JsonObject] | None) -> tuple[list[str], set[str]]:
        """The lists that the account is known to have, and those that it had before and has no more.

        A list that only profiles name is not held to be deleted: `/lists` may leave out what it never showed.
        """
        known = self._known_lists()
        if lists is None:
            return known, self._unlisted(known)
        listed = sorted(map(_id, lists))
        if self.merged and not self.limited:
            guard_deletions("member_lists", IdSketch(known), IdSketch(listed), self.allow_deletes, of="lists")
        return listed, self._unlisted(listed)

    def _known_lists(self) -> list[str]:
        """The lists that the last run which read them found, in whatever way it read the members."""
        return list(self.state.get("listed", self.state.get("lists", ())))

    def _unlisted(self, listed: Collection[str]) -> set[str]:
        """The lists that any run found and that are not listed now: profiles may carry them for long."""
        return {*self._known_lists(), *self.state.get("deleted", ())}.difference(listed)

    def _own_scan(self, since: datetime | None) -> Iterator[tuple[str, list[str] | None]]:
        for page in profile_pages(self.client, since):
            for profile in page:
                yield self.person(str(profile["id"])), list_ids(profile)

    def _membership_rows(
        self,
        memberships: Iterator[tuple[str, list[str] | None]],
        complete: bool,
        found: IdSketch,
        deleted: Collection[str],
        has_members: bool,
    ) -> Iterator[list[Pair]]:
        rows: list[Pair] = []
        markers: list[Pair] = []
        profiles = carrying_lists = members = 0
        for profile_id, ids in memberships:
            profiles += 1
            carrying_lists += ids is not None
            found.add(profile_id)
            rows.extend(_pair(list_id, profile_id) for list_id in ids or () if list_id not in deleted)
            if self.merged and not complete and not self.limited:
                markers.append(_pair(COMPLETE_SCAN_MARKER, profile_id))
            members += len(ids or ())
            if len(rows) >= ROWS_AT_A_TIME or len(markers) >= ROWS_AT_A_TIME:
                yield from (rows, HiddenRows(markers))
                rows, markers = [], []
        yield from (rows, HiddenRows(markers))
        if complete and profiles and not (members if has_members else carrying_lists):
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
