"""What an account answers where Ometria's documentation is silent; a few requests for each question, all of them GET.

A finding names fields, paths and numbers, never a value of somebody's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta, timezone

from ometria_source.api.client import JsonObject, OmetriaClient
from ometria_source.exceptions import AccessDeniedError, NotFoundError, OmetriaError, UnexpectedAnswerError
from ometria_source.runner.findings import FAILED, OK, UNKNOWN, Findings
from ometria_source.settings import FIRST_UNSUBSCRIBE, PAGE_LIMIT, UNASKED_PAGE_LIMIT
from ometria_source.tables import (
    collections,
    custom_events,
    data_deletion_requests,
    lists,
    orders,
    products,
    profiles,
    push_errors,
    unsubscribes,
)
from ometria_source.tables.member_paths import find_path, list_path
from ometria_source.tables.profile_scan import PATH as PROFILES
from ometria_source.tables.rows import TYPE_FIELD, in_snake_case, read_instant

# Beyond any account.
FAR = 100_000_000

# More than is documented.
TOO_MANY = 1_000

# The other endpoints, by the table that is read from each; one request each.
OTHERS = {
    "contacts": collections.PATH,
    "orders": orders.PATH,
    "products": products.PATH,
    "custom_events": custom_events.PATH,
    "push_errors": push_errors.PATH,
    "data_deletion_requests": data_deletion_requests.PATH,
}

REPORT = "Report this to the maintainers of this project: it cannot be read safely."

CHECK_KEY = "Check `sources.ometria.api_key` against Settings > API keys in Ometria, and `base_url`."

# Of which the key is refused, one after the other, before nothing else is tried.
FIRST_REFUSALS = 2


class AccountChecks:
    """Asks one account.

    Args:
        client: Paces and counts the requests.
        findings: Takes the results.
        selected: The tables that the user wants.
    """

    def __init__(self, client: OmetriaClient, findings: Findings, selected: Collection[str]) -> None:
        self._client = client
        self._findings = findings
        self._selected = selected
        self._refused = 0
        self._answers = 0

    def run(self) -> None:
        """All checks; after the first refusals of the key, no more."""
        steps: tuple[Callable[[], None], ...] = (self._profiles, self._lists, self._unsubscribes, self._others)
        for step in steps:
            if self._refused >= FIRST_REFUSALS and not self._answers:
                self._findings.add("key", FAILED, "Ometria refuses it", CHECK_KEY)
                break
            step()
        else:
            self._findings.add(
                "key", OK if self._answers else UNKNOWN, "accepted" if self._answers else "no answer came"
            )
        for name in ("members path", "page limit", "unsubscribes paging"):
            if name not in {finding.name for finding in self._findings.all}:
                self._findings.add(name, UNKNOWN, "it could not be asked")
        told = self._client.told_to_wait
        if not told:
            self._findings.add("Retry-After", UNKNOWN, "no 429 came, which this check does not provoke")
        elif None in told:
            self._findings.add("Retry-After", OK, "a 429 came without it: the reader slows down by itself")
        else:
            self._findings.add("Retry-After", OK, "a 429 came with it, and the reader waits as told")

    def _ask(self, path: str, **params: str | int) -> list[JsonObject]:
        try:
            rows = self._client.get(path, params)
        except AccessDeniedError:
            self._refused += 1
            raise
        self._answers += 1
        return rows

    def _first(self, table: str, path: str, **params: str | int) -> list[JsonObject] | None:
        """What an endpoint answers, which is a check of its own; None: nothing."""
        try:
            rows = self._ask(path, **params)
        except (AccessDeniedError, NotFoundError) as error:
            status = FAILED if table in self._selected else UNKNOWN
            advice = f"Ask Ometria for access to {path}, or leave `{table}` out of `--tables`."
            self._findings.add(table, status, f"{path} answers {error.status}", advice if status == FAILED else None)
            return None
        except OmetriaError as error:
            self._findings.add(table, FAILED, str(error), "Run again later, and report it where it stays.")
            return None
        self._findings.add(table, OK, f"{path} answers {len(rows)} rows")
        return rows

    def _try(self, name: str, question: Callable[[], tuple[str, str]]) -> None:
        """One question about an endpoint that answers: its status and finding."""
        try:
            status, finding = question()
        except UnexpectedAnswerError as error:
            status, finding = UNKNOWN, f"answered with status {error.status}" if error.status else "no JSON list"
        except OmetriaError as error:
            status, finding = UNKNOWN, type(error).__name__
        self._findings.add(name, status, finding, REPORT if status == FAILED else None)

    # Profiles

    def _profiles(self) -> None:
        rows = self._first("profiles", PROFILES, limit=PAGE_LIMIT, offset=0)
        if rows is None:
            return
        self._try("page limit", lambda: self._page_limit(len(rows)))
        self._try("past the end", self._past_the_end)
        self._try("order", self._order)
        self._try("updateSince", lambda: self._update_since(bool(rows)))
        known = {*profiles.COLUMNS, *profiles.RENAMES, *profiles.FLATTENED, "country_id"}
        self._unknown_fields("profiles", rows, known)

    def _page_limit(self, first: int) -> tuple[str, str]:
        following = self._ask(PROFILES, limit=1, offset=first)
        if not following:
            return UNKNOWN, f"the account has {first} profiles only, which is less than a page"
        if first < PAGE_LIMIT:
            return OK, f"{first}, although {PAGE_LIMIT} were asked for; the reader learns it"
        try:
            rows = self._ask(PROFILES, limit=TOO_MANY, offset=0)
        except UnexpectedAnswerError as error:
            return OK, f"{PAGE_LIMIT} is given, and {TOO_MANY} is refused with status {error.status}"
        if len(rows) <= PAGE_LIMIT:
            return OK, f"{PAGE_LIMIT} is given, and {len(rows)} where {TOO_MANY} are asked for"
        return OK, f"{PAGE_LIMIT} is given, and {len(rows)} where {TOO_MANY} are asked for, which is not documented"

    def _past_the_end(self) -> tuple[str, str]:
        rows = self._ask(PROFILES, limit=1, offset=FAR)
        if rows:
            return FAILED, "rows come from beyond the last one: `offset` is not honoured, and profiles are refused"
        return OK, "an empty list"

    def _order(self) -> tuple[str, str]:
        one, other = (self._ask(PROFILES, limit=10, offset=offset) for offset in (0, 5))
        if len(one) < 10:
            return UNKNOWN, "there are fewer than ten profiles"
        same = [row.get("id") for row in one[5:]] == [row.get("id") for row in other[:5]]
        return (OK, "stable between two requests") if same else (UNKNOWN, "it changed between two requests")

    def _update_since(self, has_rows: bool) -> tuple[str, str]:
        tomorrow = datetime.now(timezone.utc) + timedelta(days=2)
        as_date = self._ask(PROFILES, updateSince=tomorrow.date().isoformat(), limit=1, offset=0)
        if as_date:
            return UNKNOWN, "a date in the future gives rows: it is not honoured, and every run reads all profiles"
        if not has_rows:
            return UNKNOWN, "there are no profiles"
        try:
            as_time = self._ask(PROFILES, updateSince=tomorrow.strftime("%Y-%m-%dT%H:%M:%S"), limit=1, offset=0)
        except UnexpectedAnswerError as error:
            return OK, f"a date is honoured, which is what the reader sends; with a time it is refused ({error.status})"
        return OK, "a date is honoured, which is what the reader sends; with a time it " + (
            "means nothing" if as_time else "is honoured too"
        )

    # Lists

    def _lists(self) -> None:
        rows = self._first("lists", lists.PATH, **lists.ALL_MODES)
        if rows is None:
            return
        self._unknown_fields("lists", rows, {*lists.COLUMNS, *lists.RENAMES})
        self._try("members path", lambda: self._members_path(rows))

    def _members_path(self, rows: list[JsonObject]) -> tuple[str, str]:
        usable = [row for row in rows if row.get("id") is not None]
        if not usable:
            return UNKNOWN, "there are no lists"
        path = find_path(self._client, usable, None)
        if path is not None:
            first = max(usable, key=lambda row: row["size"] if isinstance(row.get("size"), int) else 0)
            members = self._client.get(list_path(path, first), {"limit": 1, "offset": 0})
            return OK, f"{path}, " + ("paged" if len(members) == 1 else "not paged")
        if any("lists" in row for row in self._ask(PROFILES, limit=10, offset=0)):
            return OK, "none of the known ones answers; profiles carry their `lists`, from which members are read"
        return UNKNOWN, "none of the known ones answers, and no profile among ten carries `lists`"

    # Unsubscribes

    def _unsubscribes(self) -> None:
        since, before = FIRST_UNSUBSCRIBE, datetime.now(timezone.utc)
        rows = self._first("unsubscribes", unsubscribes.PATH, **_window(since, before), limit=PAGE_LIMIT, offset=0)
        if rows is None:
            return
        self._unknown_fields("unsubscribes", rows, set(unsubscribes.COLUMNS))
        self._try("unsubscribes paging", lambda: self._unsubscribes_paging(rows, since, before))

    def _unsubscribes_paging(self, rows: list[JsonObject], since: datetime, before: datetime) -> tuple[str, str]:
        if len(rows) < 2:
            return UNKNOWN, "there are fewer than two unsubscribes"
        if len(self._ask(unsubscribes.PATH, **_window(since, before), limit=1, offset=1)) == 1:
            return OK, "`limit` and `offset` are honoured"
        if len(rows) % UNASKED_PAGE_LIMIT:
            return OK, f"not paged: all {len(rows)} rows come at once"
        times = sorted(filter(None, (read_instant(row.get("timestamp")) for row in rows)))
        middle = times[len(times) // 2] if times else before
        halves = [
            len(self._ask(unsubscribes.PATH, **_window(*window), limit=PAGE_LIMIT, offset=0))
            for window in ((since, middle), (middle, before))
        ]
        if sum(halves) > len(rows) + 2 or max(halves) >= len(rows):
            return OK, f"not paged, and cut at {len(rows)} rows: the reader splits its windows"
        return OK, f"not paged: all {len(rows)} rows come at once, though their number is round"

    # All the others

    def _others(self) -> None:
        for table, path in OTHERS.items():
            self._first(table, path)

    def _unknown_fields(self, table: str, rows: list[JsonObject], known: Collection[str]) -> None:
        names = {in_snake_case(name.lstrip("@")) for row in rows for name in row if name != TYPE_FIELD}
        others = sorted(names - set(known))
        what = f"{', '.join(f'`{name}`' for name in others)}: they are loaded too" if others else "none"
        self._findings.add(f"{table} fields that are not documented", OK, what)


def _window(since: datetime, before: datetime) -> dict[str, str]:
    return {name: at.strftime("%Y-%m-%dT%H:%M:%S") for name, at in (("since", since), ("before", before))}
