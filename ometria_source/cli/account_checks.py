"""What an account answers where Ometria's documentation is silent; a few requests for each question, all of them GET.

A finding names fields, paths and numbers, never a value.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

from ometria_source.api.client import JsonObject, OmetriaClient
from ometria_source.cli.console import show
from ometria_source.constants import FIRST_UNSUBSCRIBE, PAGE_LIMIT
from ometria_source.exceptions import (
    AccessDeniedError,
    NotFoundError,
    OmetriaError,
    RefusedKeyError,
    RequestLimitError,
    UnavailableError,
    UnexpectedAnswerError,
)
from ometria_source.naming import Field, snake_case
from ometria_source.shown import printable
from ometria_source.sync.rows import TYPE_FIELD, read_instant
from ometria_source.tables import (
    collections,
    custom_events,
    data_deletion_requests,
    list_changes,
    lists,
    orders,
    products,
    profiles,
    push_errors,
    unsubscribes,
)
from ometria_source.tables.member_lists import LISTS_TRIED, find_path, list_path, size_of
from ometria_source.tables.profiles import PATH as PROFILES

OK, FAILED, UNKNOWN = "ok", "failed", "unknown"

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

# Tables that need, besides an endpoint of their own or instead of one, that of another table.
ALSO_NEEDED = {"collections": "contacts", "list_changes": "lists"}

REPORT = "Report this to the maintainers of this project: it cannot be read safely."

NOT_ASKED = "it could not be asked"

# Endpoints, one after the other, that refuse the key before it is held to be wrong.
FIRST_REFUSALS = 3


@dataclass(frozen=True)
class Finding:
    """The result of one check. It holds no data of the account, so that it can be shown.

    Attributes:
        name: Of the check.
        status: `ok`, `failed` or `unknown`.
        finding: What was found.
        advice: What to do; only of a check that failed.
    """

    name: str
    status: str
    finding: str
    advice: str | None = None


class Findings:
    """All results of one check, printed as they come.

    Attributes:
        requests: How many were sent to Ometria.
    """

    def __init__(self) -> None:
        self.all: list[Finding] = []
        self.requests = 0

    def add(self, name: str, status: str, finding: str, advice: str | None = None) -> None:
        """Take in a result, and print it."""
        self.all.append(Finding(name, status, printable(finding), printable(advice) if advice else None))
        show("\n".join(self._lines(self.all[-1])))

    @property
    def exit_status(self) -> int:
        """1 where a check failed."""
        return 1 if any(finding.status == FAILED for finding in self.all) else 0

    def to_dict(self) -> dict[str, Any]:
        """For a report."""
        return {"checks": [asdict(finding) for finding in self.all], "requests": self.requests}

    @staticmethod
    def _lines(finding: Finding) -> Iterator[str]:
        yield f"{finding.status} {finding.name}: {finding.finding}"
        if finding.advice:
            yield f"    {finding.advice}"


class AccountChecks:
    """Asks one account.

    Args:
        client: Paces and counts the requests.
        findings: Takes the results.
        selected: The tables that the user wants.
        member_lists_from: The setting.
    """

    def __init__(
        self, client: OmetriaClient, findings: Findings, selected: Collection[str], member_lists_from: str
    ) -> None:
        self._client = client
        self._findings = findings
        members_are_of = "profiles" if member_lists_from == "profiles" else "lists"
        also_needed = {**ALSO_NEEDED, "member_lists": members_are_of}
        # endpoints go by the first table that is read from them
        self._needed_for: dict[str, list[str]] = defaultdict(list)
        for table in sorted(selected):
            for endpoint in {table, also_needed.get(table, table)}:
                self._needed_for[endpoint].append(table)
        self._member_lists_from = member_lists_from
        self._refused = 0
        self._refusal: AccessDeniedError | None = None
        # findings that a wrong key explains
        self._held_back: list[Callable[[], None]] = []
        self._answers = 0
        self._is_unavailable = False

    def run(self) -> None:
        """All checks, those that are needed first; no more once it is clear that the account does not answer."""
        steps: dict[str, Callable[[], object]] = {
            "profiles": self._profiles,
            "lists": self._lists,
            "unsubscribes": self._unsubscribes,
            **{table: partial(self._first, table, path) for table, path in OTHERS.items()},
        }
        for table in sorted(steps, key=lambda table: table not in self._needed_for):
            if not self._answers and (self._refused >= FIRST_REFUSALS or self._is_unavailable):
                break
            steps[table]()
        if self._refusal and not self._answers:
            self._findings.add("key", FAILED, "refused", str(RefusedKeyError(self._refusal.status)))
        else:
            is_accepted = (OK, "accepted") if self._answers else (UNKNOWN, "no answer came")
            self._findings.add("key", *is_accepted)
            for add in self._held_back:
                add()
        known = {finding.name for finding in self._findings.all}
        for name in ("members path", "page limit", "unsubscribes paging"):
            if name not in known:
                self._findings.add(name, UNKNOWN, NOT_ASKED)
        headers = self._client.retry_after_headers
        if not headers:
            self._findings.add("Retry-After", UNKNOWN, "no 429 came, which this check does not provoke")
        elif None in headers:
            self._findings.add("Retry-After", OK, "a 429 came without it: the reader slows down by itself")
        else:
            self._findings.add(
                "Retry-After",
                OK,
                "a 429 came with it: the reader waits so long, if that is not less than without it nor more than its "
                "patience",
            )

    def _ask(self, path: str, **params: str | int) -> list[JsonObject]:
        try:
            rows = self._client.get(path, params)
        except UnavailableError:
            self._is_unavailable = True
            raise
        self._answers += 1
        return rows

    def _first(self, table: str, path: str, **params: str | int) -> list[JsonObject] | None:
        """What an endpoint answers, which is a check of its own; None: nothing."""
        try:
            rows = self._ask(path, **params)
        except (AccessDeniedError, NotFoundError) as error:
            wanted = "`, `".join(self._needed_for.get(table, []))
            advice = f"Ask Ometria for access to {path}, or leave `{wanted}` out of `--tables`."
            self._held_back.append(partial(self._add, table, f"{path} answers {error.status}", advice, table))
            if isinstance(error, AccessDeniedError):
                self._refusal = error
                self._refused += 1
            return None
        except OmetriaError as error:
            self._add(table, str(error), "Run again later, and report it where it stays.", table)
            return None
        self._findings.add(table, OK, f"{path} answers {len(rows)} rows")
        return rows

    def _add(self, name: str, finding: str, advice: str, table: str) -> None:
        """Note what keeps a table from loading: a failure if it is wanted."""
        is_needed = table in self._needed_for
        self._findings.add(name, FAILED if is_needed else UNKNOWN, finding, advice if is_needed else None)

    def _try(self, name: str, table: str, question: Callable[[], tuple[str, str]]) -> bool:
        """One question about an endpoint that answers: its status and finding. Whether it is as the table needs it."""
        advice = REPORT
        try:
            status, finding = question()
        except AccessDeniedError as error:
            status, finding, advice = FAILED, f"refused with status {error.status}", "Ask Ometria for access to it."
        except UnexpectedAnswerError as error:
            status, finding = UNKNOWN, f"answered with status {error.status}" if error.status else "no JSON list"
        except RequestLimitError:
            status, finding = UNKNOWN, NOT_ASKED
        except OmetriaError as error:
            status, finding = UNKNOWN, type(error).__name__
        if status == FAILED:
            self._add(name, finding, advice, table)
        else:
            self._findings.add(name, status, finding)
        return status != FAILED

    # Profiles

    def _profiles(self) -> None:
        rows = self._first("profiles", PROFILES, limit=PAGE_LIMIT, offset=0)
        if rows is None:
            return
        if self._try("past the end", "profiles", self._past_the_end):
            self._try("page limit", "profiles", lambda: self._page_limit(len(rows)))
            self._try("order", "profiles", self._order)
        if self._member_lists_from == "profiles":
            self._try("lists of profiles", "member_lists", lambda: _memberships(rows))
        self._try("updateSince", "profiles", lambda: self._update_since(bool(rows)))
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
        self._try("members path", "member_lists", lambda: self._members_path(rows))
        if "list_changes" in self._needed_for and rows:
            self._try("list changes", "list_changes", lambda: self._list_changes(rows))

    def _members_path(self, rows: list[JsonObject]) -> tuple[str, str]:
        usable = [row for row in rows if row.get("id") is not None]
        if not usable:
            return UNKNOWN, "there are no lists"
        path = find_path(self._client, usable, None)
        if path is not None:
            self._findings.add("requests for members", OK, _price_of_members(usable))
            largest = list_path(path, max(usable, key=lambda row: size_of(row) or 0))
            two, one = (len(self._ask(largest, limit=limit, offset=0)) for limit in (2, 1))
            if two < 2:
                return OK, f"{path}; no list has two members, by which to see whether it is paged"
            return OK, f"{path}, " + ("paged" if one == 1 else "not paged")
        none = "none of the known ones answers"
        if self._member_lists_from == "lists":
            return FAILED, f'{none}; set `member_lists_from` to "profiles"'
        status, finding = _memberships(self._ask(PROFILES, limit=PAGE_LIMIT, offset=0))
        return status, f"{none}; {finding}"

    def _list_changes(self, rows: list[JsonObject]) -> tuple[str, str]:
        for row in rows[:LISTS_TRIED]:
            try:
                self._ask(list_path(list_changes.PATH, row), limit=1, offset=0)
            except NotFoundError:
                continue
            return OK, f"{list_changes.PATH} answers"
        return FAILED, f"{list_changes.PATH} answers 404"

    # Unsubscribes

    def _unsubscribes(self) -> None:
        since, before = FIRST_UNSUBSCRIBE, datetime.now(timezone.utc)
        rows = self._first("unsubscribes", unsubscribes.PATH, **_window(since, before), limit=PAGE_LIMIT, offset=0)
        if rows is None:
            return
        self._unknown_fields("unsubscribes", rows, set(unsubscribes.COLUMNS))
        question = partial(self._unsubscribes_paging, rows, since, before)
        self._try("unsubscribes paging", "unsubscribes", question)

    def _unsubscribes_paging(self, rows: list[JsonObject], since: datetime, before: datetime) -> tuple[str, str]:
        if len(rows) < 3:
            return UNKNOWN, "there are fewer than three unsubscribes"
        second = self._ask(unsubscribes.PATH, **_window(since, before), limit=1, offset=1)
        if second == rows[1:2]:
            return OK, "`limit` and `offset` are honoured"
        if second == rows[:1]:
            return OK, "`limit` is honoured, `offset` is not: the reader splits its windows"
        if len(second) < 2:
            return UNKNOWN, f"{len(second)} rows came for `limit=1&offset=1`, but not the second one"
        times = sorted(filter(None, (read_instant(row.get("timestamp")) for row in rows)))
        middle = times[len(times) // 2] if times else before
        found = {repr(row) for row in rows}
        for window in ((since, middle), (middle, before)):
            found |= {repr(row) for row in self._ask(unsubscribes.PATH, **_window(*window), limit=PAGE_LIMIT, offset=0)}
        if len(found) > len(rows):
            return OK, f"not paged, and cut at {len(rows)} rows: the reader splits its windows"
        return OK, f"not paged: all {len(rows)} rows come at once"

    def _unknown_fields(self, table: str, rows: list[JsonObject], known: Collection[Field]) -> None:
        names = {snake_case(name.lstrip("@")) for row in rows for name in row if name != TYPE_FIELD}
        others = sorted(names - set(known))
        what = f"{', '.join(f'`{name}`' for name in others)}: they are loaded too" if others else "none"
        self._findings.add(f"{table} fields that are not documented", OK, what)


def _memberships(people: list[JsonObject]) -> tuple[str, str]:
    if any("lists" in row for row in people):
        return OK, "profiles carry their `lists`, from which members are read"
    return FAILED if people else UNKNOWN, f"no profile among {len(people)} carries `lists`"


def _window(since: datetime, before: datetime) -> dict[str, str]:
    return {name: at.strftime("%Y-%m-%dT%H:%M:%S") for name, at in (("since", since), ("before", before))}


def _price_of_members(rows: Iterable[JsonObject]) -> str:
    """What the two ways of reading members cost."""
    # a page for 249 members, and the checks at both ends
    requests = sum((size_of(row) or 0) // (PAGE_LIMIT - 1) + 3 for row in rows)
    return (
        f'about {requests:,} for all lists. `member_lists_from = "profiles"` takes none besides those of `profiles`; '
        "moves between dynamic segments then show at the next complete scan"
    )
