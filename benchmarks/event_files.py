"""Invented files of e-mail events, written by DuckDB. Their columns are a guess, and so is the width of a row."""

from __future__ import annotations

from pathlib import Path

import duckdb

# One row in so many is delivered a second time, so that a loader which does not merge has too many rows.
ROWS_A_REPEAT = 1000

# 16 columns, 240 bytes a row on average.
EVENTS = """
SELECT md5('event' || n) AS event_id,
       ['send', 'open', 'click', 'bounce'][1 + n % 4] AS event_type,
       strftime(TIMESTAMP '2026-10-01' + to_seconds(n % 2500000), '%Y-%m-%dT%H:%M:%SZ') AS event_time,
       substr(md5('profile' || n % 200000), 1, 24) AS profile_id,
       'person' || n % 200000 || '@shop.test' AS email,
       'send-' || hash(n // 4) AS send_id,
       lpad(CAST(n % 311 AS VARCHAR), 6, '0') AS campaign_id,
       'Invented campaign ' || n % 311 AS campaign_title,
       'New in, and back in stock: ' || n % 97 AS subject,
       CASE WHEN n % 4 = 2 THEN 'https://www.shop.test/products/' || n % 5000 || '?from=' || n % 311 END AS target_url,
       ['mobile', 'desktop', 'tablet'][1 + n % 3] AS device_type,
       'Invented/5.0 (no browser) Agent/' || n % 50 AS user_agent,
       ['GB', 'FR', 'DE'][1 + n % 3] AS geo_country,
       ['London', 'Lyon', 'Kiel'][1 + n % 3] AS geo_city,
       CASE WHEN n % 4 = 3 THEN 'mailbox full' END AS bounce_reason,
       '' AS note
FROM (SELECT CASE WHEN i % {every} = {every} - 1 THEN i - {every} // 2 ELSE i END AS n
      FROM range({start}, {end}) AS rows(i))
ORDER BY n
"""


def write_files(folder: Path, rows: int, files: int) -> int:
    """Write csv.gz files of equal length.

    Args:
        folder: Where to; made if it is not there.
        rows: In all files together.
        files: How many.

    Returns:
        The number of different rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as database:
        for number in range(files):
            start, end = rows * number // files, rows * (number + 1) // files
            events = EVENTS.format(every=ROWS_A_REPEAT, start=start, end=end)
            path = folder / f"events-{number:05}.csv.gz"
            database.execute(f"COPY ({events}) TO '{path}' (FORMAT csv, HEADER, COMPRESSION gzip)")
        return rows - rows // ROWS_A_REPEAT


def write_tiny_files(folder: Path, files: int) -> None:
    """Write csv files of one row each.

    Args:
        folder: Where to; made if it is not there.
        files: How many.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        (folder / f"events-{number:05}.csv").write_text(f"event_id,event_type\ne{number},open\n")
