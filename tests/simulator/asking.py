"""Requests to the simulated server, as the tests of the simulation send them."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import requests

from ometria_source.simulator import SimulatedOmetria


def ask(ometria: SimulatedOmetria, path: str, key: str | None = None, **query: object) -> requests.Response:
    headers = {"X-Ometria-Auth": key or ometria.api_key}
    return requests.get(ometria.base_url + path, params=query, headers=headers, timeout=10, allow_redirects=False)


def asked_raw(ometria: SimulatedOmetria, path: str) -> socket.socket:
    """A connection on which a request was sent, for answers that no client would accept."""
    url = urlsplit(ometria.base_url)
    connection = socket.create_connection((url.hostname, url.port), timeout=30)
    connection.sendall(f"GET {url.path}{path} HTTP/1.1\r\nX-Ometria-Auth: {ometria.api_key}\r\n\r\n".encode())
    return connection


def ids(response: requests.Response) -> list[str]:
    return [row["id"] for row in response.json()]
