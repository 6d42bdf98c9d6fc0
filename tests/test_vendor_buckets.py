"""Buckets that somebody else owns: a role to assume, encryption by KMS, and requester pays.

The S3 server does not enforce any of them. What is tested is what it is sent, as docs/vendor-buckets.md says.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import boto3
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from s3fs import S3FileSystem
from werkzeug.serving import make_server
from werkzeug.wrappers import Request

BUCKET = "vendor-export"
REGION = "eu-west-1"
KEYS = {"aws_access_key_id": "INVENTEDLOADER", "aws_secret_access_key": "invented-secret"}


@dataclass
class Aws:
    """A simulated AWS that remembers what it was sent.

    Attributes:
        endpoint: Where it listens.
        reads: The headers of each request about the bucket or what is in it, since `forget`.
        assumed: The parameters of each `AssumeRole`.
    """

    endpoint: str = ""
    reads: list[dict[str, str]] = field(default_factory=list)
    assumed: list[dict[str, list[str]]] = field(default_factory=list)

    def remembering(self, application):
        def answer(environ, start_response):
            request = Request(environ)
            body = request.get_data()
            # it can be read once only
            environ["wsgi.input"] = io.BytesIO(body)
            if request.method == "POST" and b"AssumeRole" in body:
                self.assumed.append(parse_qs(body.decode()))
            elif request.method in ("GET", "HEAD"):
                self.reads.append({name.lower(): value for name, value in request.headers.items()})
            return application(environ, start_response)

        return answer

    def client(self, service: str):
        return boto3.client(service, endpoint_url=self.endpoint, region_name=REGION, **KEYS)


@pytest.fixture
def aws(tmp_path, monkeypatch) -> Iterator[Aws]:
    """A bucket of three files, encrypted by a key of its owner's, and a folder for AWS's own settings."""
    S3FileSystem.clear_instance_cache()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    aws = Aws()
    server = make_server(
        "127.0.0.1", 0, aws.remembering(DomainDispatcherApplication(create_backend_app)), threaded=True
    )
    aws.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    master_key = aws.client("kms").create_key()["KeyMetadata"]["Arn"]
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    for day in range(3):
        body = f"event_id,day\ne{day},{day}\n".encode()
        s3.put_object(
            Bucket=BUCKET, Key=f"export/{day}.csv", Body=body, ServerSideEncryption="aws:kms", SSEKMSKeyId=master_key
        )
    aws.reads.clear()
    monkeypatch.setenv("SOURCES__OMETRIA__BUCKET_URL", f"s3://{BUCKET}/export")
    monkeypatch.setenv("SOURCES__OMETRIA__CREDENTIALS__ENDPOINT_URL", aws.endpoint)
    monkeypatch.setenv("SOURCES__OMETRIA__CREDENTIALS__REGION_NAME", REGION)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws_config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws_credentials"))
    yield aws
    for key in s3.list_objects_v2(Bucket=BUCKET)["Contents"]:
        s3.delete_object(Bucket=BUCKET, Key=key["Key"])
    s3.delete_bucket(Bucket=BUCKET)
    server.shutdown()
    thread.join()
    server.server_close()


def load_events(load, warehouse) -> None:
    load("--tables", "email_events")
    assert sorted(row["event_id"] for row in warehouse.rows("email_events")) == ["e0", "e1", "e2"]


def test_a_role_is_assumed_with_its_external_id(aws, load, warehouse, tmp_path, monkeypatch):
    (tmp_path / "aws_config").write_text(
        "[profile ometria_export]\n"
        "role_arn = arn:aws:iam::123456789012:role/ometria-export-reader\n"
        "external_id = an-invented-external-id\n"
        "source_profile = loader\n"
    )
    (tmp_path / "aws_credentials").write_text("[loader]\n" + "".join(f"{name} = {key}\n" for name, key in KEYS.items()))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", aws.endpoint)
    monkeypatch.setenv("SOURCES__OMETRIA__CREDENTIALS__PROFILE_NAME", "ometria_export")
    load_events(load, warehouse)
    assert aws.assumed
    for request in aws.assumed:
        assert request["RoleArn"] == ["arn:aws:iam::123456789012:role/ometria-export-reader"]
        assert request["ExternalId"] == ["an-invented-external-id"]
    for headers in aws.reads:
        assert "x-amz-security-token" in headers
        assert KEYS["aws_access_key_id"] not in headers["authorization"]


@pytest.mark.parametrize("is_paid_by_requester", [True, False])
def test_whoever_asks_says_that_he_pays(aws, load, warehouse, monkeypatch, is_paid_by_requester):
    for name, key in KEYS.items():
        monkeypatch.setenv(f"SOURCES__OMETRIA__CREDENTIALS__{name.upper()}", key)
    if is_paid_by_requester:
        monkeypatch.setenv("SOURCES__OMETRIA__FILESYSTEM__KWARGS", '{"requester_pays": true}')
    load_events(load, warehouse)
    assert len(aws.reads) > len(["a listing", "three files"])
    said = {headers.get("x-amz-request-payer") for headers in aws.reads}
    assert said == ({"requester"} if is_paid_by_requester else {None})
