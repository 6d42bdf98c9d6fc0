"""Serve fakesnow, an emulator of Snowflake, to dlt: `python fakesnow_server.py PORT`.

It runs under a Python of its own: fakesnow 0.12 takes DuckDB 2 and a newer sqlglot, and dlt 1.31 works with neither.

fakesnow's parser does not know some forms that dlt writes and Snowflake takes. They are rewritten on their way in, to
forms that mean the same.
"""

from __future__ import annotations

import gzip
import json
import re
import sys

import pyarrow as pa
import pyarrow.compute as pc
import uvicorn
from fakesnow import arrow
from fakesnow.server import app

_without_nulls = arrow.timestamp_to_sf_struct


def timestamps(column: pa.ChunkedArray) -> pa.StructArray:
    """A column of timestamps as the connector takes it."""
    parts = _without_nulls(column)
    fields = list(parts.type)
    values = [parts.field(number).fill_null(0) for number in range(len(fields))]
    return pa.StructArray.from_arrays(values, fields=fields, mask=pc.is_null(column.combine_chunks()))


def rewritten(sql: str) -> str:
    """A statement of dlt's in the form that fakesnow parses; any other as it is."""
    if sql.startswith("PUT "):
        # '@"DB"."SCHEMA"."%TABLE"/"load id"' OVERWRITE = TRUE, AUTO_COMPRESS = FALSE
        return re.sub(r"'(@.*?)'", _plain_stage, sql).replace("TRUE, AUTO", "TRUE AUTO")
    if sql.startswith("COPY INTO "):
        sql = re.sub(r"FROM '(@.*?)'", lambda found: f"FROM {_plain_stage(found)}", sql)
        sql = re.sub(r"FILE_FORMAT = \((.*?)\)", lambda found: f"FILE_FORMAT = ({found[1].replace(',', '')})", sql)
        return re.sub(r"MATCH_BY_COLUMN_NAME='(\w+)'", r"MATCH_BY_COLUMN_NAME=\1", sql)
    return sql


def _plain_stage(found: re.Match[str]) -> str:
    return found[1].replace('"', "")


async def shim(scope, receive, send):
    """fakesnow's application, behind the rewriting."""
    if scope["type"] != "http" or scope["path"] != "/queries/v1/query-request":
        await app(scope, receive, send)
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    query = json.loads(gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body)
    query["sqlText"] = rewritten(query["sqlText"])
    waiting = [{"type": "http.request", "body": gzip.compress(json.dumps(query).encode(), 1)}]

    async def receive_rewritten():
        return waiting.pop() if waiting else await receive()

    headers = [
        (name, value) for name, value in scope["headers"] if name not in (b"content-encoding", b"content-length")
    ]
    await app({**scope, "headers": [*headers, (b"content-encoding", b"gzip")]}, receive_rewritten, send)


if __name__ == "__main__":
    arrow.timestamp_to_sf_struct = timestamps
    uvicorn.run(shim, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
