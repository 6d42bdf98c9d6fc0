"""Three ways to read all profiles: ours, a loop as a careful user writes it, and dlt's stock paginator."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

import requests
from dlt.sources.helpers.requests import Client
from dlt.sources.helpers.rest_client.auth import APIKeyAuth
from dlt.sources.helpers.rest_client.client import RESTClient
from dlt.sources.helpers.rest_client.paginators import OffsetPaginator
from served import ServedAccount

from ometria_source.api.client import Account
from ometria_source.api.offset_scan import scan

PATH = "/profiles"

# The largest page that Ometria documents.
LIMIT = 250

# Seconds: what a user takes to keep below 4 requests a second whatever the latency.
CAREFUL_SLEEP = 0.3

# Minutes for which our reader retries a request.
PATIENCE = 2.0

Rows = list[dict[str, object]]
Pages = Generator[Rows, None, None]


def read_with_ours(served: ServedAccount, rate: float) -> Pages:
    """What the table `profiles` does.

    Args:
        served: Where to read.
        rate: Requests a second that the account allows.

    Yields:
        Pages.
    """
    account = Account(served.base_url, served.api_key, requests_per_second=rate, patience_minutes=PATIENCE)
    yield from scan(account.client("profiles"), PATH)


def read_in_a_loop(served: ServedAccount, rate: float) -> Pages:  # noqa: ARG001  the sleep is all it knows
    """One request after another, with a sleep in between, up to an empty page.

    Args:
        served: Where to read.
        rate: Not used.

    Yields:
        Pages.
    """
    offset = 0
    with requests.Session() as session:
        session.headers["X-Ometria-Auth"] = served.api_key
        while True:
            response = session.get(served.base_url + PATH, params={"limit": LIMIT, "offset": offset}, timeout=60)
            response.raise_for_status()
            rows: Rows = response.json()
            if not rows:
                return
            yield rows
            offset += len(rows)
            time.sleep(CAREFUL_SLEEP)


def read_with_stock_paginator(served: ServedAccount, rate: float) -> Pages:  # noqa: ARG001  it has no pace
    """What dlt's documentation shows: `RESTClient` with its `OffsetPaginator` and its retrying session.

    Args:
        served: Where to read.
        rate: Not used.

    Yields:
        Pages.
    """
    client = RESTClient(
        served.base_url,
        auth=APIKeyAuth(name="X-Ometria-Auth", api_key=served.api_key, location="header"),
        paginator=OffsetPaginator(limit=LIMIT, total_path=None),
        data_selector="$",
        session=Client(raise_for_status=False).session,
    )
    for page in client.paginate(PATH):
        yield list(page)


CONTENDERS: dict[str, Callable[[ServedAccount, float], Pages]] = {
    "ometria_source": read_with_ours,
    "loop with sleep(0.3)": read_in_a_loop,
    "dlt OffsetPaginator": read_with_stock_paginator,
}
