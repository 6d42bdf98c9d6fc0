"""Four ways to load files of e-mail events into DuckDB, each run in a process of its own, which prints its figures.

All merge by a key: a column of the file, or a hash over all cells, for which each takes what it has at hand. The two of
dlt's stock readers are set so that cells stay text as they are, for else their result would be another one; they know
neither the file nor the place that a row is from, and their key is a 64-bit number or made in Python.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dlt
import duckdb
import s3fs
from dlt.common.configuration.specs import AwsCredentials
from dlt.extract import DltResource
from dlt.sources.filesystem import filesystem, read_csv, read_csv_duckdb
from dlt.sources.helpers.transform import add_row_hash_to_table

from ometria_source import ometria_source

KEY = "event_id"
TABLE = "email_events"
DATASET = "ometria"
GLOB = "**/*.csv*"

# ru_maxrss is in KiB, on macOS in bytes.
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024

# Rows that `read_csv_duckdb` hands on at a time: with its default of 5,000 dlt's work for each batch shows.
BATCH_ROWS = 50_000


@dataclass(frozen=True)
class Place:
    """Where files are.

    Attributes:
        bucket_url: A folder or a bucket.
        endpoint: Of the S3 server; None for a folder.
        access_key: For it, and so is the next.
        secret_key: For it.
        region: For it.
    """

    bucket_url: str
    endpoint: str | None = None
    access_key: str | None = None
    secret_key: str | None = None
    region: str | None = None

    def credentials(self) -> AwsCredentials | None:
        """As dlt takes them."""
        if self.endpoint is None:
            return None
        return AwsCredentials(
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            endpoint_url=self.endpoint,
            region_name=self.region,
        )


@dataclass
class Figures:
    """What a loader took.

    Attributes:
        rows: In the table, when it was done.
        seconds: From before the listing to after the merge.
        processor_seconds: Of all its threads.
        peak_reading: The largest resident memory until all was read, before the destination's merge, in bytes; None
            where these are one step.
        peak: The same until the end.
        again: Seconds of a second run with nothing new; None where it knows no such thing.
    """

    rows: int = 0
    seconds: float = 0.0
    processor_seconds: float = 0.0
    peak_reading: int | None = None
    peak: int = 0
    again: float | None = None


def load_with_ours(place: Place, has_key: bool, figures: Figures) -> None:
    """What `email_events` does, in the three steps of a run, and a second run."""
    pipeline = _pipeline()

    def source() -> Any:
        return ometria_source(
            bucket_url=place.bucket_url,
            credentials=place.credentials(),
            file_glob=GLOB,
            email_events_key=[KEY] if has_key else None,
        ).with_resources(TABLE)

    began = time.monotonic()
    pipeline.extract(source(), loader_file_format="parquet")
    pipeline.normalize()
    figures.peak_reading = _peak()
    pipeline.load()
    figures.seconds = time.monotonic() - began
    began = time.monotonic()
    pipeline.run(source(), loader_file_format="parquet")
    figures.again = time.monotonic() - began


def load_with_read_csv(place: Place, has_key: bool, figures: Figures) -> None:
    """Dlt's stock `read_csv`, which is pandas'."""
    rows = _files(place) | read_csv(dtype=str, keep_default_na=False, na_values=[""])
    if not has_key:
        rows.add_map(_with_hash)
    _run(rows, has_key, figures)


def load_with_read_csv_duckdb(place: Place, has_key: bool, figures: Figures) -> None:
    """Dlt's stock `read_csv_duckdb`, with Arrow."""
    tables = _files(place) | read_csv_duckdb(chunk_size=BATCH_ROWS, use_pyarrow=True, all_varchar=True)
    if not has_key:
        tables.add_map(add_row_hash_to_table("event_key"))
    _run(tables, has_key, figures)


def load_with_duckdb(place: Place, has_key: bool, figures: Figures) -> None:
    """DuckDB without dlt: `read_csv`, one row for each key, and `MERGE`."""
    began = time.monotonic()
    with duckdb.connect(f"{TABLE}.duckdb") as database:
        pattern = f"{place.bucket_url}/{GLOB}"
        if place.endpoint is not None:
            # DuckDB's own extension for S3 would have to be fetched from the network
            database.register_filesystem(
                s3fs.S3FileSystem(
                    key=place.access_key,
                    secret=place.secret_key,
                    client_kwargs={"endpoint_url": place.endpoint, "region_name": place.region},
                )
            )
        files = f"read_csv('{pattern}', all_varchar = true, header = true, filename = '_file_path')"
        names = [row[0] for row in database.execute(f"DESCRIBE SELECT * EXCLUDE (_file_path) FROM {files}").fetchall()]
        key = KEY if has_key else _hash_in_sql(names)
        rows = (
            f"SELECT {key} AS event_key, * FROM {files} "
            "QUALIFY row_number() OVER (PARTITION BY event_key ORDER BY _file_path DESC) = 1"
        )
        database.execute(f"CREATE TABLE {TABLE} AS {rows} LIMIT 0")
        database.execute(
            f"MERGE INTO {TABLE} AS old USING ({rows}) AS new ON old.event_key = new.event_key "
            "WHEN MATCHED THEN UPDATE WHEN NOT MATCHED THEN INSERT"
        )
    figures.seconds = time.monotonic() - began


LOADERS: dict[str, Callable[[Place, bool, Figures], None]] = {
    "ometria_source": load_with_ours,
    "read_csv": load_with_read_csv,
    "read_csv_duckdb": load_with_read_csv_duckdb,
    "DuckDB": load_with_duckdb,
}


def _hash_in_sql(names: list[str]) -> str:
    """All cells of a row, each behind its name and its length; null is left out."""
    cells = ", ".join(f"'{len(name)}:{name}' || strlen({name}) || ':' || {name}" for name in names)
    return f"left(sha256(concat({cells})), 32)"


def _with_hash(row: dict[str, Any]) -> dict[str, Any]:
    """A row with a hash over its cells; null is left out."""
    cells = json.dumps({name: cell for name, cell in row.items() if isinstance(cell, str)}, sort_keys=True)
    return {**row, "event_key": hashlib.sha256(cells.encode()).hexdigest()[:32]}


def _files(place: Place) -> DltResource:
    return filesystem(place.bucket_url, credentials=place.credentials() or "", file_glob=GLOB)


def _run(rows: DltResource, has_key: bool, figures: Figures) -> None:
    pipeline = _pipeline()
    rows = rows.with_name(TABLE)
    rows.apply_hints(primary_key=KEY if has_key else "event_key", write_disposition="merge")
    began = time.monotonic()
    pipeline.extract(rows, loader_file_format="parquet")
    pipeline.normalize()
    figures.peak_reading = _peak()
    pipeline.load()
    figures.seconds = time.monotonic() - began


def _pipeline() -> dlt.Pipeline:
    return dlt.pipeline(
        TABLE,
        destination=dlt.destinations.duckdb(f"{TABLE}.duckdb"),
        dataset_name=DATASET,
        pipelines_dir=str(Path.cwd() / "pipelines"),
    )


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT


def main(arguments: list[str]) -> int:
    """Load files in the current folder, and print the figures as JSON.

    Args:
        arguments: The loader's name, where the files are (JSON), and whether the key is declared (JSON).

    Returns:
        The exit status.
    """
    loader, place, has_key = LOADERS[arguments[0]], Place(**json.loads(arguments[1])), json.loads(arguments[2])
    # dlt reports how it is used, over the network: a benchmark sends nothing
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    figures = Figures()
    before = time.process_time()
    loader(place, has_key, figures)
    figures.processor_seconds = time.process_time() - before
    figures.peak = _peak()
    with duckdb.connect(f"{TABLE}.duckdb", read_only=True) as database:
        # dlt's tables are in a schema of their own
        schema = "main" if loader is load_with_duckdb else DATASET
        figures.rows = database.table(f"{schema}.{TABLE}").count("*").fetchall()[0][0]
    print(json.dumps(asdict(figures)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
