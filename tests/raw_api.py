"""A server whose answers are written by the test, byte by byte, where the simulated account has no such answer."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qsl, urlsplit

Answer = Callable[[str, dict[str, str]], "bytes | Iterable[bytes]"]

HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """Serve answers on loopback.

    Args:
        answer: Called with path and query; gives all that is sent, the status line included, as one or in pieces. The
            connection is closed behind it.

    Yields:
        The address.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            found = answer(parts.path, dict(parse_qsl(parts.query)))
            self.close_connection = True
            try:
                for piece in [found] if isinstance(found, bytes) else found:
                    self.wfile.write(piece)
            except OSError:
                # the client has read enough
                pass

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def plain(body: bytes) -> bytes:
    """A whole answer."""
    return f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body


def packed(body: bytes) -> bytes:
    """A whole answer, in gzip."""
    small = gzip.compress(body)
    return f"{HEAD}Content-Encoding: gzip\r\nContent-Length: {len(small)}\r\n\r\n".encode() + small


def endless(piece: bytes, *, as_gzip: bool = False) -> Iterator[bytes]:
    """An answer that goes on for as long as it is read."""
    yield f"{HEAD}{'Content-Encoding: gzip' if as_gzip else 'Connection: close'}\r\n\r\n".encode()
    packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    while True:
        yield (packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH)) if as_gzip else piece


def page(rows: Iterable[object], query: dict[str, str]) -> bytes:
    """The rows that a query asks for, as a whole answer; a row of bytes is JSON already."""
    start = int(query.get("offset", 0))
    chosen = list(rows)[start : start + int(query.get("limit", 10))]
    texts = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in chosen]
    return plain(b"[" + b",".join(texts) + b"]")
