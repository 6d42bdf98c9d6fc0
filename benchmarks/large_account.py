"""An account of any size on loopback, in a process of its own: each row is invented when it is asked for.

The simulated account of the package holds its records in memory, of which half a million orders would take gigabytes.
This one knows no change and no fault, only sizes, a strict limit of requests a second, and the latency of a network.
"""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

API_KEY = "invented-key-0000"
MOST = 250
MEMBERS = 1_000

Row = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How many there are of each."""

    profiles: int = 100_000
    contacts: int = 300_000
    orders: int = 500_000
    products: int = 50_000
    lists: int = 10


def profile(number: int) -> Row:
    """A person."""
    return {
        "@type": "profile",
        "id": f"{number:08x}",
        "email": f"person{number}@shop.test",
        "customer_id": f"{number:06d}",
        "name": f"Person {number}",
        "firstname": "Person",
        "lastname": str(number),
        "marketing_optin": number % 3 == 0,
        "properties": {"loyalty_tier": "gold"},
        "dates": {"acquired": "2026-01-01T00:00:00+00:00"},
        "stats": {"orders": 5, "revenue": 99.5},
    }


def contact(number: int) -> Row:
    """A contact of a person."""
    return {
        "@type": "contact",
        "@collection": "customers",
        "id": str(number),
        "@profile_id": f"{number // 3:08x}",
        "email": f"person{number // 3}@shop.test",
        "marketing_optin": "NOT_SPECIFIED",
        "store_ids": ["online"],
        "properties": {},
        "timestamp_acquired": "2026-01-01T00:00:00+00:00",
    }


def order(number: int) -> Row:
    """An order of two lines."""
    money = {"currency": "GBP", "subtotal": 20, "discount": 0, "shipping": 2.5, "tax": 3.3, "grand_total": 22.5}
    line = {
        "product_id": str(number % 997),
        "quantity": 1,
        "unit_price": 10,
        "total": 10,
        "totals": {"base": {"total": 10}},
    }
    return {
        "@type": "order",
        "id": str(number),
        "timestamp": "2026-10-01T10:00:00+00:00",
        "status": "complete",
        "is_valid": True,
        "customer": {"id": f"{number // 5:06d}", "email": f"person{number // 5}@shop.test"},
        **money,
        "totals": {"base": money, "local": money},
        "shipping_address": {"city": "Leeds", "postcode": "LS1 4AP", "country_code": "GB"},
        "lineitems": [line, {**line, "variant_options": [{"id": "m", "type": "size", "label": "M"}]}],
    }


def product(number: int) -> Row:
    """A product with an attribute and a listing."""
    return {
        "@type": "product",
        "id": str(number),
        "title": f"Product {number}",
        "price": 10,
        "currency": "GBP",
        "is_active": True,
        "attributes": [{"type": "brand", "id": "0", "label": "Invented"}],
        "listings": [{"store": "uk", "title": f"Product {number}", "price": 10}],
    }


def a_list(number: int) -> Row:
    """A segment."""
    return {"@type": "list", "id": str(number), "title": f"Segment {number}", "type": "STATIC", "size": MEMBERS}


def collection(number: int) -> Row:
    """The only source of contacts."""
    return {"collection": "customers", "count": number}


class LargeAccount:
    """Serves an account for the length of a `with` block.

    Args:
        sizes: What is in it.
        allowed: Requests in any second; more are answered with 429, and count.
        latency: Seconds that a request takes, half of them before it arrives.

    Attributes:
        base_url: What to give to a client.
    """

    def __init__(self, sizes: Sizes, allowed: int, latency: float) -> None:
        ours, theirs = multiprocessing.Pipe()
        self._connection = ours
        self._process = multiprocessing.Process(target=_serve, args=(theirs, sizes, allowed, latency), daemon=True)

    def __enter__(self) -> LargeAccount:
        self._process.start()
        self.base_url = f"http://127.0.0.1:{self._connection.recv()}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.join()

    def arrivals(self) -> list[tuple[float, int, str]]:
        """Every request so far: when it arrived, in seconds, how it was answered, and its path."""
        self._connection.send(None)
        answer: list[tuple[float, int, str]] = self._connection.recv()
        return answer


def _serve(connection: Connection, sizes: Sizes, allowed: int, latency: float) -> None:
    arrivals: list[tuple[float, int, str]] = []
    recent: deque[float] = deque()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            time.sleep(latency / 2)
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query))
            path = unquote(parts.path)
            with lock:
                now = time.monotonic()
                while recent and recent[0] <= now - 1:
                    recent.popleft()
                recent.append(now)
                status = 429 if len(recent) > allowed else 200
                arrivals.append((now, status, path))
            rows = _rows(sizes, path, query) if status == 200 else []
            body = json.dumps(rows).encode()
            time.sleep(latency / 2)
            self.send_response(status if rows is not None else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    connection.send(server.server_address[1])
    while True:
        connection.recv()
        with lock:
            connection.send(list(arrivals))


def _rows(sizes: Sizes, path: str, query: dict[str, str]) -> list[Row] | None:
    """The rows of a page; None: there is no such path."""
    collections: dict[str, tuple[Callable[[int], Row], int]] = {
        "/profiles": (profile, sizes.profiles),
        "/contacts": (lambda _: collection(sizes.contacts), 1),
        "/contacts/customers": (contact, sizes.contacts),
        "/orders": (order, sizes.orders),
        "/products": (product, sizes.products),
        "/lists": (a_list, sizes.lists),
        "/custom-events": (profile, 0),
        "/data-deletion-requests": (profile, 0),
        "/push/_errors": (profile, 0),
        "/unsubscribes": (profile, 0),
    }
    if path.startswith("/lists/"):
        make, size = (profile, MEMBERS) if path.endswith("/profiles") else (profile, 0)
        if not path.endswith(("/profiles", "/changes")):
            return None
    elif path in collections:
        make, size = collections[path]
    else:
        return None
    limit, offset = min(int(query.get("limit", "10")), MOST), int(query.get("offset", "0"))
    return [make(number) for number in range(offset, min(offset + limit, size))]
