"""The export in S3 servers of other people's making: real signatures, pages, uploads in parts, refusals and faults."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any
from uuid import uuid4

import pytest
import s3_servers
from machine import PROGRAM
from s3_servers import BUCKET, LISTER, OWNER, REGION
from s3fs import S3FileSystem
from warm_python import warm_python

from ometria_source.tables.email_events import reading as event_reading

pytestmark = pytest.mark.slow

# The smallest part of an upload in parts, but for the last (S3 docs: Multipart upload limits).
PART_BYTES = 5 << 20

needs_hadro = pytest.mark.skipif(find_spec("hadro") is None, reason="hadro is not there for this Python or system")


@pytest.fixture(scope="module")
def seaweedfs(tmp_path_factory) -> Iterator[str]:
    with s3_servers.seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as endpoint:
        yield endpoint


@pytest.fixture
def s3_settings(monkeypatch):
    """Lead the program to a folder of the bucket of an endpoint."""
    # fsspec keeps its clients for as long as the process lives, with what a test before has set
    S3FileSystem.clear_instance_cache()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)

    def lead(endpoint: str, folder: str = "", keys: s3_servers.Keys = OWNER) -> None:
        for name, value in {
            "BUCKET_URL": f"s3://{BUCKET}/{folder}".rstrip("/"),
            "CREDENTIALS__AWS_ACCESS_KEY_ID": keys.access_key,
            "CREDENTIALS__AWS_SECRET_ACCESS_KEY": keys.secret_key,
            "CREDENTIALS__ENDPOINT_URL": endpoint,
            "CREDENTIALS__REGION_NAME": REGION,
        }.items():
            monkeypatch.setenv(f"SOURCES__OMETRIA__{name}", value)

    return lead


@dataclass(frozen=True)
class Bucket:
    """A folder of the bucket that belongs to one test."""

    client: Any
    folder: str

    def at(self, key: str) -> dict[str, str]:
        return {"Bucket": BUCKET, "Key": f"{self.folder}/{key}"}

    def put(self, key: str, body: bytes) -> None:
        self.client.put_object(**self.at(key), Body=body)

    def upload_parts(self, key: str, parts: list[bytes]) -> Any:
        """Begin an upload and send its parts; what is returned completes it."""
        upload = self.client.create_multipart_upload(**self.at(key))["UploadId"]
        done = [
            {
                "PartNumber": number,
                "ETag": self.client.upload_part(**self.at(key), UploadId=upload, PartNumber=number, Body=part)["ETag"],
            }
            for number, part in enumerate(parts, 1)
        ]
        return lambda: self.client.complete_multipart_upload(
            **self.at(key), UploadId=upload, MultipartUpload={"Parts": done}
        )


@pytest.fixture
def bucket(seaweedfs, s3_settings) -> Bucket:
    """A folder that holds nothing yet, and the settings that lead to it."""
    folder = f"{uuid4().hex}/export"
    s3_settings(seaweedfs, folder)
    return Bucket(s3_servers.client(seaweedfs), folder)


def ids(warehouse) -> list[str]:
    return sorted(row["event_id"] for row in warehouse.rows("email_events"))


def assert_one_sentence(result, *words: str) -> None:
    """The run failed with one sentence about `email_events`, which gives nothing away."""
    said = result.out + result.err
    assert result.status == 1, said
    (user_message,) = [line for line in said.splitlines() if line.startswith("email_events was not loaded")]
    for word in words:
        assert word in user_message
    for secret in (OWNER.access_key, OWNER.secret_key, LISTER.access_key, LISTER.secret_key, "wrong", "list-type"):
        assert secret not in said
    assert "Traceback" not in said


def test_every_key_of_a_listing_of_several_pages_is_read_once(bucket, load, warehouse, monkeypatch):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: bucket.put(f"{n % 7}/{n:04}.csv", f"event_id\n{n:04}\n".encode()), range(2500)))
    pages, call = [], S3FileSystem._call_s3

    async def counted(bucket_, method, *arguments, **options):
        answer = await call(bucket_, method, *arguments, **options)
        if method == "list_objects_v2":
            pages.append(len(answer.get("Contents", [])))
        return answer

    monkeypatch.setattr(S3FileSystem, "_call_s3", counted)
    first = load()

    assert "2,500 files read" in first.out
    assert [size for size in pages if size] == [1000, 1000, 500]
    assert ids(warehouse) == [f"{number:04}" for number in range(2500)]

    second = load()
    assert "2,500 known files not read again" in second.out
    assert "files read" not in second.out
    assert len(ids(warehouse)) == 2500


def parts_of_a_file(prefix: str) -> tuple[list[bytes], list[str]]:
    """A file in three parts, cut in the middle of rows, and the ids in it."""
    rows = [f"{prefix}{number:04}" for number in range(6000)]
    body = "\n".join(["event_id,text", *(f"{row},{'x' * 2000}" for row in rows), ""]).encode()
    return [body[start : start + PART_BYTES] for start in range(0, len(body), PART_BYTES)], rows


def test_a_file_that_was_uploaded_in_parts_is_read_whole(bucket, load, warehouse):
    parts, rows = parts_of_a_file("e")
    bucket.upload_parts("big.csv", parts)()
    assert bucket.client.head_object(**bucket.at("big.csv"))["ETag"].endswith('-3"')
    load()
    assert ids(warehouse) == rows


def test_a_file_that_was_begun_before_a_newer_one_was_loaded_arrives_when_it_is_complete(bucket, load, warehouse):
    """By its time of modification it may be the older one: which of its times an upload gets is up to the store."""
    parts, rows = parts_of_a_file("e")
    complete = bucket.upload_parts("begun.csv", parts)
    bucket.put("newer.csv", b"event_id\nnewer\n")
    load()
    assert ids(warehouse) == ["newer"]

    complete()
    load()
    assert ids(warehouse) == [*rows, "newer"]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (s3_servers.Keys(OWNER.access_key, "wrong-invented-secret"), ["secret key"]),
        (s3_servers.Keys("WRONGINVENTEDKEY", OWNER.secret_key), ["access key"]),
        (LISTER, ["access is denied"]),
    ],
    ids=["wrong secret", "wrong access key", "may list but not read"],
)
def test_a_refusal_is_one_sentence(seaweedfs, bucket, s3_settings, run, keys, words):
    bucket.put("x.csv", b"event_id\nx\n")
    s3_settings(seaweedfs, bucket.folder, keys)
    assert_one_sentence(run(), *words, "sources.ometria.bucket_url", "sources.ometria.credentials")


def test_the_check_finds_that_files_are_listed_but_not_read(seaweedfs, bucket, s3_settings, run):
    bucket.put("x.csv", b"event_id\nx\n")
    assert "ok bucket: 1 files, the newest can be read" in run("--check", "--tables", "email_events").out
    s3_settings(seaweedfs, bucket.folder, LISTER)
    result = run("--check", "--tables", "email_events")
    assert result.status == 1
    assert "failed bucket: its newest file cannot be read" in result.out
    assert "access is denied" in result.out


def test_a_bucket_that_does_not_exist_is_one_sentence(bucket, run, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__BUCKET_URL", "s3://no-such-bucket/export")
    assert_one_sentence(run(), "no such bucket", "sources.ometria.bucket_url")


@pytest.mark.parametrize(
    ("change", "request_bytes"),
    [("replaced", 1000), ("replaced", 1 << 20), ("deleted", 1000)],
    ids=["replaced between two requests", "replaced after its only request", "deleted between two requests"],
)
def test_a_file_that_changes_while_it_is_read(bucket, load, warehouse, monkeypatch, change, request_bytes):
    """Its time and size stay the same when it is replaced: only the ETag tells."""
    monkeypatch.setattr("s3fs.S3FileSystem.default_block_size", request_bytes)
    monkeypatch.setattr("ometria_source.export.compression.PIECE_BYTES", 3000)
    monkeypatch.setattr("ometria_source.export.csv.BLOCK_BYTES", 3000)
    bodies = {kind: "".join(["event_id\n", *(f"{kind}{n:05}\n" for n in range(2000))]).encode() for kind in "ab"}
    bucket.put("x.csv", bodies["a"])
    bucket.put("y.csv", b"event_id\nother\n")
    listed = bucket.client.head_object(**bucket.at("x.csv"))
    read_tables, look_again = event_reading.read_tables, event_reading.look_again
    changes = iter([change])

    def interrupted(path, *arguments):
        for table in read_tables(path, *arguments):
            yield table
            if path == "x.csv":
                for what in changes:
                    if what == "replaced":
                        bucket.put("x.csv", bodies["b"])
                    else:
                        bucket.client.delete_object(**bucket.at("x.csv"))

    def in_the_same_second(file):
        # what the test cannot arrange with a clock that it does not set
        seen = look_again(file)
        if seen is not None:
            seen[0]["modification_date"] = file["modification_date"]
        return seen

    monkeypatch.setattr(event_reading, "read_tables", interrupted)
    monkeypatch.setattr(event_reading, "look_again", in_the_same_second)
    result = load()

    arrived = ids(warehouse)
    assert "other" in arrived
    if change == "replaced":
        assert bucket.client.head_object(**bucket.at("x.csv"))["ContentLength"] == listed["ContentLength"]
        assert "x.csv was replaced while it was read" in result.out
        assert sum(event[0] == "b" for event in arrived) == 2000
    else:
        assert "x.csv was deleted before its end was read" in result.out
        # the rows that were read before are those of a file that was there
        assert 0 < sum(event[0] == "a" for event in arrived) < 2000


@pytest.fixture
def busy(tmp_path, s3_settings, monkeypatch) -> Iterator[Callable[..., s3_servers.Hadro]]:
    """Start a store that answers late, and often that it is busy; with the settings that lead to it."""
    # no patience but the program's own, to which else only every some hundredth fault would come
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    folder = tmp_path / "hadro"
    folder.mkdir()
    with ExitStack() as stack:

        def start(**faults: float) -> s3_servers.Hadro:
            server = stack.enter_context(s3_servers.hadro(folder, **faults))
            s3_settings(server.endpoint)
            monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
            return server

        yield start


@needs_hadro
def test_a_busy_store_loses_and_doubles_no_row(busy, load, warehouse, monkeypatch):
    """It says so to three of ten requests: for the listing, for files, and for what is in the middle of a file."""
    monkeypatch.setenv("SOURCES__OMETRIA__PATIENCE_MINUTES", "5")
    monkeypatch.setenv("EXTRACT__WORKERS", "20")
    monkeypatch.setattr("s3fs.S3FileSystem.default_block_size", 1000)
    monkeypatch.setattr("ometria_source.export.compression.PIECE_BYTES", 3000)
    # with this seed the first two requests are among them
    server = busy(latency_ms=50, error_rate=0.3, seed=31)
    rows = {f"{file:03}-{row:04}" for file in range(200) for row in range(2000 if file % 100 == 0 else 2)}
    for file in range(200):
        lines = ["event_id", *sorted(row for row in rows if row.startswith(f"{file:03}"))]
        (server.bucket / f"{file:03}.csv").write_text("\n".join(lines))
    result = load()

    assert "200 files read" in result.out
    assert ids(warehouse) == sorted(rows)
    assert result.err == ""
    answers = server.answers()
    assert answers[:2] == [503, 503]
    assert answers.count(503) > 200
    # of each file two HEAD and a GET; the rest is from the middle of the long ones
    assert answers.count(206) + answers.count(200) > 3 * 200 + 5


@needs_hadro
def test_a_store_that_stays_busy_is_one_sentence(busy, run, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__PATIENCE_MINUTES", "0.05")
    server = busy(latency_ms=0, error_rate=1, seed=0)
    (server.bucket / "x.csv").write_text("event_id\nx\n")
    assert_one_sentence(run(), "SlowDown", "patience_minutes")
    assert server.answers().count(503) > 1


@needs_hadro
def test_an_interrupted_run_does_not_wait_for_a_busy_store(busy, workspace, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__PATIENCE_MINUTES", "10")
    # with this seed the listing is answered, and nothing after it
    server = busy(latency_ms=0, error_rate=0.99, seed=1417)
    for number in range(10):
        (server.bucket / f"{number}.csv").write_text("event_id\nx\n")
    program = subprocess.Popen(
        [*warm_python(), str(PROGRAM)], cwd=workspace, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        while server.answers().count(503) < 20:
            assert program.poll() is None
            time.sleep(0.1)
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=30)
    finally:
        program.kill()

    assert server.answers()[0] == 200
    assert program.returncode == 130
    assert "Interrupted." in err
    assert "Traceback" not in out + err
