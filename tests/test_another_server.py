"""A server that shares no code with the simulation: the bare reference, and nothing beyond it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import pytest

KEY = "another-invented-key"
PROFILES = [
    {
        "@type": "profile",
        "id": f"1a2b-{number:06x}-6f7a8b",
        "email": f"person{number}@shop.test",
        "customer_id": f"{number:05}",
        "name": "Ada Example",
        "tags": ["vip"],
        "properties": {"tier": number if number % 2 else "gold"},
        "lists": [{"id": "77", "title": "VIPs", "type": "DYNAMIC"}] if number % 3 == 0 else [],
        "dates": {"acquired": "2023-01-05T09:00:00+00:00", "first_purchase": None},
        "stats": {"aov": 0, "orders": number},
    }
    for number in range(523)
]
LISTS = [
    {"@type": "list", "id": "77", "title": "VIPs", "type": "DYNAMIC", "status": "READY", "size": 175},
    {"@type": "list", "id": "8", "title": "Archived", "type": "STATIC", "status": "READY", "size": 0},
]
UNSUBSCRIBES = [
    {
        "profile_id": PROFILES[number]["id"],
        "email_address": None,
        "type": "list_unsubscribe",
        "reason": None,
        "timestamp": f"2024-0{1 + number % 9}-03 04:05:{number % 60:02}+00",
    }
    for number in range(123)
]


class Reference(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query))
        status, answer = 200, None
        if self.headers.get("X-Ometria-Auth") != KEY:
            status = 403
        elif url.path == "/api/v2/profiles":
            offset, limit = int(query.get("offset", 0)), min(int(query.get("limit", 10)), 250)
            answer = PROFILES[offset : offset + limit]
        elif url.path == "/api/v2/lists":
            answer = LISTS if query.get("mode") == "all" else LISTS[:1]
        elif url.path == "/api/v2/unsubscribes":
            since, before = (query[name].replace("T", " ") for name in ("since", "before"))
            answer = [row for row in UNSUBSCRIBES if since < row["timestamp"][:19] <= before]
        else:
            status = 404
        body = b"no" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Keep quiet."""


@pytest.fixture
def reference(monkeypatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Reference)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setenv("SOURCES__OMETRIA__API_KEY", KEY)
    monkeypatch.setenv("SOURCES__OMETRIA__BASE_URL", f"http://127.0.0.1:{server.server_port}/api/v2")
    yield
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.slow
def test_an_account_on_any_server_that_follows_the_reference_is_loaded(
    reference, load, warehouse, tmp_path, monkeypatch
):
    export = tmp_path / "export"
    export.mkdir()
    (export / "anything.csv").write_text('when,who\n2024-01-01,007\n2024-01-02,""\n')
    monkeypatch.setenv("SOURCES__OMETRIA__BUCKET_URL", export.as_uri())
    for _ in range(2):
        load()
        assert {row["profile_id"]: row["properties"] for row in warehouse.rows("profiles")} == {
            row["id"]: row["properties"] for row in PROFILES
        }
        assert {row["customer_id"] for row in warehouse.rows("profiles")} == {row["customer_id"] for row in PROFILES}
        assert {row["list_id"] for row in warehouse.rows("lists")} == {"77", "8"}
        assert sorted((row["list_id"], row["profile_id"]) for row in warehouse.rows("member_lists")) == sorted(
            (item["id"], row["id"]) for row in PROFILES for item in row["lists"]
        )
        assert len(warehouse.rows("unsubscribes")) == len(UNSUBSCRIBES)
        assert sorted((row["when"], row["who"]) for row in warehouse.rows("email_events")) == [
            ("2024-01-01", "007"),
            ("2024-01-02", ""),
        ]
