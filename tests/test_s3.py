"""The export in a bucket: a real S3 client against an S3 server on loopback."""

from __future__ import annotations

import gzip
import io
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import boto3
import pyarrow as pa
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.server import ThreadedMotoServer
from pyarrow import csv, parquet
from s3fs import S3FileSystem
from werkzeug.serving import make_server

from ometria_source.export.bucket import BucketFile
from ometria_source.tables.email_events import reading as event_export
from ometria_source.tables.email_events import reading as event_reading

KEYS = {"AWS_ACCESS_KEY_ID": "invented", "AWS_SECRET_ACCESS_KEY": "invented-secret"}


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_endpoint, monkeypatch) -> Iterator[Any]:
    """An empty bucket, and the settings that lead to its folder `export`."""
    # fsspec keeps its clients for as long as the process lives, with what a test before has set
    S3FileSystem.clear_instance_cache()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "BUCKET_URL": "s3://ometria-export/export",
        "CREDENTIALS__AWS_ACCESS_KEY_ID": KEYS["AWS_ACCESS_KEY_ID"],
        "CREDENTIALS__AWS_SECRET_ACCESS_KEY": KEYS["AWS_SECRET_ACCESS_KEY"],
        "CREDENTIALS__ENDPOINT_URL": s3_endpoint,
        "CREDENTIALS__REGION_NAME": "eu-west-1",
    }.items():
        monkeypatch.setenv(f"SOURCES__OMETRIA__{name}", value)
    client = boto3.resource(
        "s3",
        endpoint_url=s3_endpoint,
        region_name="eu-west-1",
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
    )
    new = client.create_bucket(Bucket="ometria-export", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    yield new
    new.objects.all().delete()
    new.delete()


def test_a_store_that_takes_no_connection_is_out_of_reach_and_nobody_interrupted(ometria, run, monkeypatch):
    S3FileSystem.clear_instance_cache()
    limits = '{"config_kwargs": {"connect_timeout": 1, "read_timeout": 1, "retries": {"max_attempts": 0}}}'
    with socket.socket() as deaf, ExitStack() as callers:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(6):
            # until it takes no more
            caller = callers.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(deaf.getsockname())
        for name, value in {
            "BUCKET_URL": "s3://ometria-export/export",
            "CREDENTIALS__AWS_ACCESS_KEY_ID": KEYS["AWS_ACCESS_KEY_ID"],
            "CREDENTIALS__AWS_SECRET_ACCESS_KEY": KEYS["AWS_SECRET_ACCESS_KEY"],
            "CREDENTIALS__ENDPOINT_URL": f"http://127.0.0.1:{deaf.getsockname()[1]}",
            "FILESYSTEM__KWARGS": limits,
        }.items():
            monkeypatch.setenv(f"SOURCES__OMETRIA__{name}", value)
        result = run("--tables", "lists,email_events")
    assert result.status == 1
    assert "Interrupted" not in result.err
    assert "email_events was not loaded" in result.out
    assert "lists " in result.out


def test_files_of_a_bucket_are_read_once_and_new_ones_follow(bucket, load, warehouse):
    for day in range(1, 31):
        body = gzip.compress(f"event_id,day\ne{day},00{day}\n".encode())
        bucket.put_object(Key=f"export/dt=2026-10-{day:02}/part.csv.gz", Body=body)
    bucket.put_object(Key="export/", Body=b"")
    bucket.put_object(Key="export/_SUCCESS", Body=b"")
    bucket.put_object(Key="export/.hidden.csv", Body=b"half,")
    bucket.put_object(Key="elsewhere/other.csv", Body=b"event_id\nnot ours\n")

    first = load()

    assert "30 files read" in first.out
    assert "2 files skipped" in first.out
    rows = warehouse.rows("email_events")
    assert {row["event_id"] for row in rows} == {f"e{day}" for day in range(1, 31)}
    assert {row["_file_path"] for row in rows} == {f"dt=2026-10-{day:02}/part.csv.gz" for day in range(1, 31)}

    bucket.put_object(Key="export/late.csv", Body=b"event_id,day\nlate,1\n")
    second = load()
    assert "1 files read" in second.out
    assert "30 known files not read again" in second.out
    assert len(warehouse.rows("email_events")) == 31


def test_a_bucket_is_described_and_files_that_the_glob_leaves_out_are_not(bucket, run, monkeypatch):
    bucket.put_object(Key="export/open/a.csv.gz", Body=gzip.compress(b"event_id,event_type\ne1,open\ne2,open\n"))
    bucket.put_object(Key="export/open/", Body=b"")
    bucket.put_object(Key="export/click/b.csv", Body=b"broken,")
    monkeypatch.setenv("SOURCES__OMETRIA__FILE_GLOB", "open/*")
    result = run("--describe")
    assert result.status == 0
    assert "The export has 1 file." in result.out
    assert 'email_events_key = ["event_id"]' in result.out


def test_a_glob_selects_by_path_and_nothing_before_its_first_wildcard_is_listed(
    bucket, load, warehouse, monkeypatch, caplog
):
    caplog.set_level("INFO", logger="werkzeug")
    monkeypatch.setenv("SOURCES__OMETRIA__FILE_GLOB", "open/**/*.csv")
    bucket.put_object(Key="export/open/a/x.csv", Body=b"event_id\nopen\n")
    bucket.put_object(Key="export/click/a/x.csv", Body=b"event_id\nclick\n")
    load()
    assert [row["event_id"] for row in warehouse.rows("email_events")] == ["open"]
    listings = [message for message in caplog.messages if "list-type=2" in message]
    assert listings
    assert all("prefix=export/open/" in message for message in listings)


def test_a_bucket_that_does_not_exist_is_one_sentence(bucket, run, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__BUCKET_URL", "s3://no-such-bucket/export")
    result = run()
    assert result.status == 1
    assert "bucket_url" in result.out
    assert "invented" not in result.out + result.err


@pytest.fixture
def refuse(bucket, monkeypatch):
    """Let one method of one object be answered with 403."""
    refused = []
    moto = DomainDispatcherApplication(create_backend_app)

    def answer(environ, start_response):
        if (environ["REQUEST_METHOD"], environ["PATH_INFO"]) in refused:
            start_response("403 Forbidden", [("Content-Length", "0")])
            return []
        return moto(environ, start_response)

    # of the same objects: moto keeps them by process, not by server
    server = make_server("127.0.0.1", 0, answer, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("SOURCES__OMETRIA__CREDENTIALS__ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
    yield lambda method, key: refused.append((method, f"/{bucket.name}/{key}"))
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("on_bad_file", ["fail", "skip"])
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_an_object_that_is_refused_fails_the_table_and_is_named(
    bucket, refuse, run, warehouse, monkeypatch, method, on_bad_file
):
    monkeypatch.setenv("SOURCES__OMETRIA__ON_BAD_FILE", on_bad_file)
    bucket.put_object(Key="export/a.csv", Body=b"event_id\na\n")
    bucket.put_object(Key="export/of/another.csv", Body=b"event_id\nb\n")
    refuse(method, "export/of/another.csv")
    result = run()
    assert result.status == 1
    assert "of/another.csv of the export at `bucket_url` cannot be read: access is denied" in result.out
    assert "email_events" not in warehouse.tables()

    described = run("--describe")
    assert described.status == 1
    assert re.findall("of/another.csv.* cannot be read: access is denied", described.out)
    assert described.out.count("of/another.csv") == 2
    assert "all of it" in next(line for line in described.out.splitlines() if "a.csv" in line)


def test_an_endpoint_out_of_reach_is_one_sentence(bucket, run, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__CREDENTIALS__ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    result = run()
    assert result.status == 1
    assert "bucket_url" in result.out
    assert "Traceback" not in result.out + result.err


def test_a_second_look_at_a_file_asks_the_store_and_leaves_what_is_known_of_other_folders(bucket, s3_endpoint):
    keys = {"key": KEYS["AWS_ACCESS_KEY_ID"], "secret": KEYS["AWS_SECRET_ACCESS_KEY"]}
    client = S3FileSystem(**keys, endpoint_url=s3_endpoint, client_kwargs={"region_name": "eu-west-1"})
    for folder in ("a", "b"):
        bucket.put_object(Key=f"export/{folder}/x.csv", Body=b"event_id\na\n")
        client.ls(f"{bucket.name}/export/{folder}")
    path = f"{bucket.name}/export/a/x.csv"
    listed = BucketFile({"file_url": f"s3://{path}", "relative_path": "a/x.csv"}, client, path)
    replaced = bucket.put_object(Key="export/a/x.csv", Body=b"event_id\nlonger\n")
    assert client.info(path)["ETag"] != replaced.e_tag

    now, etag = event_reading.look_again(listed)

    assert etag == replaced.e_tag
    assert now["size_in_bytes"] == replaced.content_length
    assert f"{bucket.name}/export/b" in client.dircache
    replaced.delete()
    assert event_reading.look_again(listed) is None


@pytest.mark.parametrize("body", [b"event_id\nb\n", b"event_id\nlonger\n"], ids=["same size", "other size"])
def test_a_file_that_is_replaced_after_it_was_listed_is_read_as_it_is_now(bucket, load, warehouse, monkeypatch, body):
    """Within the same second and of the same size it looks like the one that was listed, and is read as it is."""
    bucket.put_object(Key="export/x.csv", Body=b"event_id\na\n")
    bucket.put_object(Key="export/y.csv", Body=b"event_id\nother\n")
    list_files = event_export.list_files

    def listed(*arguments):
        files = list(list_files(*arguments))
        bucket.put_object(Key="export/x.csv", Body=body)
        yield from files

    monkeypatch.setattr(event_export, "list_files", listed)
    load()
    assert {row["event_id"] for row in warehouse.rows("email_events")} == {"other", body.decode().split()[1]}


def test_a_file_that_is_deleted_after_it_was_listed_is_skipped_with_a_notice(bucket, load, warehouse, monkeypatch):
    gone = bucket.put_object(Key="export/x.csv", Body=b"event_id\na\n")
    bucket.put_object(Key="export/y.csv", Body=b"event_id\nother\n")
    list_files = event_export.list_files

    def listed(*arguments):
        files = list(list_files(*arguments))
        gone.delete()
        yield from files

    monkeypatch.setattr(event_export, "list_files", listed)
    assert "x.csv was deleted" in load().out
    assert {row["event_id"] for row in warehouse.rows("email_events")} == {"other"}


def test_a_file_that_is_replaced_right_after_its_only_request_is_read_again(bucket, load, warehouse, monkeypatch):
    """Within the same second and of the same size: only the ETag tells."""
    bucket.put_object(Key="export/x.csv", Body=b"event_id\na\n")
    read_tables, replacement = event_reading.read_tables, iter([b"event_id\nb\n"])

    def interrupted(*arguments):
        yield from read_tables(*arguments)
        for body in replacement:
            bucket.put_object(Key="export/x.csv", Body=body)

    monkeypatch.setattr(event_reading, "read_tables", interrupted)
    assert "was replaced while it was read" in load().out
    assert {row["event_id"] for row in warehouse.rows("email_events")} == {"a", "b"}


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_a_file_that_is_replaced_between_two_requests_for_its_parts_is_read_again(
    bucket, load, warehouse, monkeypatch, file_format
):
    """Within the same second and of the same size: only the ETag tells."""
    monkeypatch.setattr("s3fs.S3FileSystem.default_block_size", 1000)
    contents = {}
    for kind in ("a", "b"):
        table = pa.table({"event_id": [f"{kind}{number:05}" for number in range(2000)]})
        sink = io.BytesIO()
        if file_format == "csv":
            csv.write_csv(table, sink)
        else:
            parquet.write_table(table, sink, compression="none", use_dictionary=False, row_group_size=100)
        contents[kind] = sink.getvalue()
    assert len(contents["a"]) == len(contents["b"])
    bucket.put_object(Key=f"export/x.{file_format}", Body=contents["a"])
    monkeypatch.setattr("ometria_source.export.compression.PIECE_BYTES", 3000)
    monkeypatch.setattr("ometria_source.export.csv.BLOCK_BYTES", 3000)
    monkeypatch.setattr("ometria_source.export.parquet.BATCH_ROWS", 100)
    read_tables, replacement = event_reading.read_tables, iter([contents["b"]])

    def interrupted(*arguments):
        for table in read_tables(*arguments):
            yield table
            for body in replacement:
                bucket.put_object(Key=f"export/x.{file_format}", Body=body)

    monkeypatch.setattr(event_reading, "read_tables", interrupted)
    result = load()

    assert "was replaced while it was read" in result.out
    ids = {row["event_id"] for row in warehouse.rows("email_events")}
    assert len({identifier for identifier in ids if identifier[0] == "b"}) == 2000


def test_a_key_is_a_key(bucket, load, warehouse):
    """Whatever characters it has, the object is read."""
    keys = ["a?versionId=x.csv", "a b.csv", "ü.csv", "50%.csv", "a#b.csv", "1+1.csv", "x=1/a.csv"]
    for number, key in enumerate(keys):
        bucket.put_object(Key=f"export/{key}", Body=f"event_id\n{number}\n".encode())
    load()
    found = {row["_file_path"]: row["event_id"] for row in warehouse.rows("email_events")}
    assert found == {key: str(number) for number, key in enumerate(keys)}


def test_prefix_with_a_bracket(bucket, load, warehouse, monkeypatch):
    """A prefix is a name, not a pattern."""
    monkeypatch.setenv("SOURCES__OMETRIA__BUCKET_URL", f"s3://{bucket.name}/ex[po]rt*")
    bucket.put_object(Key="ex[po]rt*/a.csv", Body=b"event_id\na\n")
    bucket.put_object(Key="export/b.csv", Body=b"event_id\nb\n")
    load()
    assert [row["_file_path"] for row in warehouse.rows("email_events")] == ["a.csv"]


def test_empty_part_of_a_key(bucket, load, warehouse):
    """`a.csv` and `//a.csv` are two files."""
    for key, event in (("export/a.csv", b"one"), ("export///a.csv", b"two"), ("export/x//a.csv", b"three")):
        bucket.put_object(Key=key, Body=b"event_id\n" + event + b"\n")
    load()
    found = {row["event_id"]: row["_file_path"] for row in warehouse.rows("email_events")}
    assert found == {"one": "a.csv", "two": "//a.csv", "three": "x//a.csv"}


def test_archived_object(bucket, run, load, warehouse, monkeypatch):
    """An object in Glacier is named as archived; with `skip` the others are loaded."""
    bucket.put_object(Key="export/a.csv", Body=b"event_id\na\n")
    bucket.put_object(Key="export/old.csv", Body=b"event_id\nold\n", StorageClass="GLACIER")
    failed = run()
    assert failed.status == 1
    assert "old.csv: is archived" in failed.out
    assert "email_events" not in warehouse.tables()
    monkeypatch.setenv("SOURCES__OMETRIA__ON_BAD_FILE", "skip")
    assert "skipped old.csv: is archived" in load().out
    assert [row["event_id"] for row in warehouse.rows("email_events")] == ["a"]


@pytest.mark.parametrize("file_glob", ["**", "*.csv"])
def test_bucket_that_does_not_exist(bucket, run, monkeypatch, file_glob):
    """It is named as missing, whatever the glob; a prefix without files is only empty."""
    monkeypatch.setenv("SOURCES__OMETRIA__FILE_GLOB", file_glob)
    assert "No file of the export matches" in run().out
    monkeypatch.setenv("SOURCES__OMETRIA__BUCKET_URL", "s3://no-such-bucket-of-ours/export")
    assert "there is no such bucket" in run().out
