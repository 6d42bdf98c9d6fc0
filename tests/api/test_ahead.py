"""Reading ahead asks for no page that it can know to be past the end."""

from __future__ import annotations

import threading

from ometria_source.api.pacing import RequestCancelledError
from ometria_source.api.prefetch import PagePrefetch

SOON = 30.0  # seconds within which a thread is expected to go on, however busy the machine


def test_a_page_that_waits_for_its_turn_is_called_off_when_a_short_one_arrives():
    third_waits = threading.Event()
    asked = []

    def get(offset, handle):
        asked.append(offset)
        if offset == 0:
            handle.mark_sent()
            return [{"id": "a"}, {"id": "b"}]
        if offset == 1:
            handle.mark_sent()
            assert third_waits.wait(SOON)
            return [{"id": "b"}]
        third_waits.set()
        assert handle.cancelled.wait(SOON), "the page past the end is still wanted"
        raise RequestCancelledError

    pages = PagePrefetch(get, start=0, step=1, full=2, most=lambda: 10)
    try:
        assert [pages.take(), pages.take(), pages.take()] == [
            (0, [{"id": "a"}, {"id": "b"}]),
            (1, [{"id": "b"}]),
            None,
        ]
    finally:
        pages.close()
    assert asked == [0, 1, 2]
