"""What a server may write into `Retry-After`."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from ometria_source.api.client import parse_retry_after

NOW = datetime(2024, 3, 5, 10, 20, 30, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("0", 0),
        ("7", 7),
        ("1.5", 1.5),
        ("-3", 0),
        ("Tue, 05 Mar 2024 10:20:40 GMT", 10),
        ("Tue, 05 Mar 2024 12:20:40 +0200", 10),
        ("Tue, 05 Mar 2024 10:20:40 -0000", 10),     # no zone is UTC
        ("Tuesday, 05-Mar-24 10:20:40 GMT", 10),     # obsolete, and still to be read
        ("Tue, 05 Mar 2024 10:20:20 GMT", 0),        # past
        ("soon", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("Tue, 99 Mar 2024 10:20:40 GMT", None),
    ],
)  # fmt: skip
def test_seconds_and_dates_are_understood_and_nothing_else(header, seconds):
    with time_machine.travel(NOW, tick=False):
        assert parse_retry_after(header) == seconds


# dates that are nearly right reach furthest into the parser
NEARLY = st.from_regex(r"\A[A-Z][a-z]{2}, \d{1,3} (Jan|Feb|Mar) \d{1,12} \d{1,3}:\d\d:\d\d ([+-]\d{1,20}|GMT|)\Z")


@given(st.one_of(st.text(max_size=40), NEARLY, st.floats().map(str), st.integers().map(str)))
def test_no_header_breaks_the_client(header):
    seconds = parse_retry_after(header)

    assert seconds is None or 0 <= seconds < float("inf")
