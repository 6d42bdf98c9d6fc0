"""S3 servers of other people's making, on loopback: each a process of its own, with its data in a folder of the test.

`SeaweedFS` is a whole store: it checks signatures, refuses with 403, pages its listings at 1,000 keys and gives
multipart uploads an ETag with a dash. What differs from Amazon's: a multipart upload gets the time at which it was
completed, not begun.

`Hadro` is the one that is slow and busy. It is no proxy but a read-only S3 server of its own, whose buckets are the
folders in a folder, so nothing has to pass a signature on: it is filled by writing files, which no fault reaches.
Which requests it answers with 503 is decided by a seed and the number of the request.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import requests
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

BUCKET = "ometria-export"
REGION = "eu-west-1"

# Seconds until a server must answer: it takes about four on an idle machine.
LONGEST_START = 60


@dataclass(frozen=True)
class Keys:
    access_key: str
    secret_key: str


OWNER = Keys("INVENTEDOWNER", "invented-secret-of-the-owner")
LISTER = Keys("INVENTEDLISTER", "invented-secret-of-the-lister")


def client(endpoint: str, keys: Keys = OWNER) -> Any:
    """A client that says at once when a request fails."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        config=Config(retries={"total_max_attempts": 1}, max_pool_connections=16),
    )


@contextmanager
def seaweedfs(folder: Path) -> Iterator[str]:
    """A SeaweedFS with an empty bucket, of which `OWNER` may do all and `LISTER` may list; its endpoint."""
    identities = folder / "identities.json"
    identities.write_text(
        json.dumps(
            {
                "identities": [
                    {
                        "name": name,
                        "credentials": [{"accessKey": keys.access_key, "secretKey": keys.secret_key}],
                        "actions": actions,
                    }
                    for name, keys, actions in (("owner", OWNER, ["Admin"]), ("lister", LISTER, [f"List:{BUCKET}"]))
                ]
            }
        )
    )
    data = folder / "data"
    data.mkdir()
    # each port for gRPC would be the other one plus 10,000, which may be taken or beyond the last
    names = [f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    command = [
        str(Path(sys.executable).with_name("weed")),
        "-logtostderr=true",
        "server",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=100",
        "-filer",
        "-s3",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.config={identities}",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]

    def is_ready() -> bool:
        try:
            # it takes requests before it has a place for data
            client(endpoint).put_object(Bucket=BUCKET, Key="ready", Body=b"")
        except (BotoCoreError, ClientError):
            return False
        return True

    try:
        with running(command, folder, is_ready):
            yield endpoint
    finally:
        # it leaves them behind, in a folder that cannot be chosen
        for port in ports.values():
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink(missing_ok=True)
        shutil.rmtree(data)


@dataclass(frozen=True)
class Hadro:
    """A store that answers late and is often busy.

    Attributes:
        bucket: The folder that it serves as the bucket.
    """

    endpoint: str
    bucket: Path
    log: Path

    def answers(self) -> list[int]:
        """The statuses of its answers so far, but those about its health."""
        return [
            int(status) for status in re.findall(r'"(?:GET|HEAD) /(?!health).* HTTP/1\.1" (\d+)', self.log.read_text())
        ]


@contextmanager
def hadro(folder: Path, *, latency_ms: int, error_rate: float, seed: int) -> Iterator[Hadro]:
    """A hadro with an empty bucket that takes the keys of `OWNER`."""
    bucket = folder / "data" / BUCKET
    bucket.mkdir(parents=True)
    (port,) = free_ports(1)
    endpoint = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "hadro", str(bucket.parent), "--host=127.0.0.1", f"--port={port}"]
    command += [f"--region={REGION}", f"--access-key={OWNER.access_key}", f"--secret-key={OWNER.secret_key}"]
    command += [f"--latency-ms={latency_ms}", f"--error-rate={error_rate}", f"--fault-seed={seed}"]

    def is_ready() -> bool:
        try:
            return requests.get(f"{endpoint}/health", timeout=1).ok
        except requests.RequestException:
            return False

    with running(command, folder, is_ready) as log:
        yield Hadro(endpoint, bucket, log)


def free_ports(number: int) -> list[int]:
    """Ports on loopback that nobody listens on."""
    with ExitStack() as stack:
        # all of them open at once, or one might be given twice
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def listens(port: int) -> bool:
    """Whether a server on loopback takes connections."""
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(
    command: list[str], folder: Path, is_ready, *, user: str | None = None, end: signal.Signals = signal.SIGKILL
) -> Iterator[Path]:
    """Run a server, from its first answer to the end of its process; its log."""
    log = folder / "log"
    # what the environment says about keys, proxies or hadro's settings is not for a server of the tests
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HADRO_", "WEED_"))
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, user=user
        )
    try:
        deadline = time.monotonic() + LONGEST_START
        while not is_ready():
            assert process.poll() is None, f"{command[0]} ended with {process.returncode}:\n{log.read_text()}"
            assert time.monotonic() < deadline, f"{command[0]} does not answer:\n{log.read_text()}"
            time.sleep(0.1)
        yield log
    finally:
        # not asked to end: SeaweedFS would take its time to put data in order that nobody needs any more
        process.send_signal(end)
        process.wait()
