"""A window scan of a log whose server cuts its answers in every way that is not documented, one with another.

The server is a model in the place of the client, with nothing of the simulation in it, so that hypothesis can try
thousands of logs and shrink the one that fails.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from ometria_source.api.connection import RequestHandle
from ometria_source.api.window_scan import WindowScan
from ometria_source.exceptions import IncompleteScanError

NOW = datetime(2024, 3, 5, 10, 20, 30, tzinfo=timezone.utc)
START = NOW - timedelta(days=400)

# A scan that needs more requests than this does not end.
FAR_TOO_MANY = 20_000


@dataclass
class Log:
    """Answers in place of the client.

    Args:
        seconds: When events happened, in seconds since `START`.
        limited: Whether `limit` is honoured.
        paged: Whether `offset` is honoured.
        cut_result: Rows after which the result of a query is cut, before it is paged.
        cut_answer: Rows after which an answer is cut.
        order: Of an answer.
        since_belongs: Whether an event at `since` is in the answer.
        before_belongs: The same for `before`.
    """

    seconds: list[int]
    limited: bool
    paged: bool
    cut_result: int | None
    cut_answer: int | None
    order: str
    since_belongs: bool
    before_belongs: bool
    requests_per_second = 0.1
    requests = 0
    largest_answer = 0

    def get(self, _path: str, params: dict[str, Any], *, handle: RequestHandle | None = None) -> list[dict[str, Any]]:
        self.requests += 1
        assert self.requests < FAR_TOO_MANY, "the scan does not end"
        since, before = (datetime.fromisoformat(f"{params[name]}+00:00") for name in ("since", "before"))
        events = [(START + timedelta(seconds=second), number) for number, second in enumerate(self.seconds)]
        rows = [
            row
            for row in events
            if (since < row[0] or (self.since_belongs and since == row[0]))
            and (row[0] < before or (self.before_belongs and row[0] == before))
        ]
        rows.sort(key=lambda row: row[1] * 7919 % 101 if self.order == "none" else row, reverse=self.order == "desc")
        rows = rows[: self.cut_result]
        rows = rows[params["offset"] if self.paged else 0 :]
        rows = rows[: params["limit"] if self.limited else None][: self.cut_answer]
        if handle is not None:
            handle.mark_sent()
        # Ometria documents no id of an event: one that is there may mean anything
        return [{"id": None, "number": number, "timestamp": instant.isoformat()} for instant, number in rows]


def instant_of(row: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(row["timestamp"])


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """Events that are scattered over a year, over an hour, or over a minute."""
    span = draw(st.sampled_from([60, 3600, 400 * 86400]))
    return Log(
        seconds=draw(st.lists(st.integers(0, span), max_size=draw(st.sampled_from([5, 40, 150])))),
        limited=draw(st.booleans()),
        paged=draw(st.booleans()),
        cut_result=draw(st.sampled_from([None, 10, 20, 50])),
        cut_answer=draw(st.sampled_from([None, 10, 20, 50])),
        order=draw(st.sampled_from(["asc", "desc", "none"])),
        since_belongs=draw(st.booleans()),
        before_belongs=draw(st.booleans()),
    )


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@example(Log([5] * 12 + [9] * 12, True, True, 10, None, "asc", True, True))
@example(Log([5] * 10, True, True, None, None, "asc", True, True))
@example(Log(list(range(0, 300, 3)), False, False, None, 10, "desc", True, True))
@given(logs())
def test_every_event_is_returned_or_the_log_is_refused(log):
    scan = WindowScan(log, "/unsubscribes", NOW, instant_of)
    try:
        found = {row["number"] for window in scan.read(START) for row in window}
    except IncompleteScanError:
        # refused only where three neighbouring seconds hold as much as the server may cut
        in_second = Counter(log.seconds)
        assert max(sum(in_second[second + n] for n in range(3)) for second in in_second) >= 10
        event("refused")
    else:
        assert found == set(range(len(log.seconds)))


def test_ten_events_in_one_second_are_loaded_from_a_server_that_pages():
    log = Log([5] * 10, True, True, None, None, "asc", True, True)

    rows = [row for window in WindowScan(log, "/", NOW, instant_of).read(START) for row in window]

    assert {row["number"] for row in rows} == set(range(10))
