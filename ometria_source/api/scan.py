"""Offset scan: read a whole collection page by page.

Ometria pages by `limit` and `offset`, promises no total, and ends a collection with an empty page; a short page means
nothing (the only working public reader goes on until a page is empty). So a scan advances by what arrived, and ends at
an empty page only. Where paging is not documented, the server may ignore `offset` and answer the same again: that is
the whole collection, unless its length looks like a page's.

Knows nothing of tables: what a row means is its caller's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ometria_source.api.client import JsonObject, OmetriaClient
from ometria_source.exceptions import IncompleteScanError
from ometria_source.settings import PAGE_LIMIT, UNASKED_PAGE_LIMIT


def scan(
    client: OmetriaClient,
    path: str,
    params: Mapping[str, str | int] | None = None,
    *,
    paged: bool = True,
    page_limit: int = PAGE_LIMIT,
) -> Iterator[list[JsonObject]]:
    """Read a collection to its end.

    Args:
        client: Paces and retries each request.
        path: The collection, below `base_url`.
        params: The query besides `limit` and `offset`.
        paged: Whether paging is documented for this path. If not, a repeated answer counts as the whole collection.
        page_limit: Rows to ask for at a time.

    Yields:
        Pages that hold at least one row, in the server's order.

    Raises:
        IncompleteScanError: The server repeats itself, and what it gave cannot be known to be whole.
        OmetriaError: As `OmetriaClient.get`.
    """
    offset = 0
    previous: list[JsonObject] = []
    while page := client.get(path, {**(params or {}), "limit": page_limit, "offset": offset}):
        if repeats(page, previous):
            if paged:
                raise IncompleteScanError(path, "gives the same rows for every `offset`")
            if offset in (UNASKED_PAGE_LIMIT, page_limit):
                raise IncompleteScanError(path, f"gives the same {offset} rows for every `offset`, which looks cut")
            return
        yield page
        offset += len(page)
        previous = page


def repeats(page: list[JsonObject], previous: list[JsonObject]) -> bool:
    """Whether a page is the one before once more, give or take rows that came or went meanwhile.

    A few rows of it, pushed on by new ones before them, are no repeat: a repeat has most of the rows of both.
    """
    before = {identity(row) for row in previous}
    again = sum(identity(row) in before for row in page)
    return again * 2 > max(len(page), len(previous))


def identity(row: JsonObject) -> str:
    """What tells a row from its neighbours: its id where it has one."""
    return repr(row.get("id", row))
