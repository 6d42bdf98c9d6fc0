"""What the whole program takes in memory for hostile and extreme files, measured in a process of its own."""

from __future__ import annotations

import io
import os
import sys
import zipfile
from pathlib import Path

import pytest
from peak_memory import run_measured

sys.path.append(str(Path(__file__).parent / "export"))
from export_files import gzipped, zstandard

pytestmark = pytest.mark.slow

MIB = 1 << 20
# 1 GB
MOST_MIB = 953

PROGRAM = """
from ometria_source.cli import main
print("status", main(["--tables", "email_events"]))
"""


def zipped(content: bytes, method: int) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        archive.writestr("a.csv", content)
    return sink.getvalue()


def wide(columns: int) -> bytes:
    """A header and three rows."""
    names = ",".join(f"column_{number}" for number in range(columns))
    return (names + "\n" + 3 * (",".join("1" * columns) + "\n")).encode()


FILES = {
    "zip bomb": ("a.zip", lambda: zipped(bytes(256 * MIB), zipfile.ZIP_DEFLATED), "header of more than 1 MiB"),
    "bzip2 bomb": ("a.zip", lambda: zipped(bytes(512 * MIB), zipfile.ZIP_BZIP2), "bzip2, which is not read"),
    "gzip bomb": ("a.csv.gz", lambda: gzipped(b"a\n" + b"x" * (512 * MIB)), "longer than 16 MiB"),
    "zstd bomb": ("a.csv.zst", lambda: zstandard(b"a\n" + b"x" * (512 * MIB)), "longer than 16 MiB"),
    "zstd window": ("a.csv.zst", lambda: b"\x28\xb5\x2f\xfd\0\xa8\x0b\0\0a", "needs a zstd window"),
    "one byte a row": (f"{'p' * 220}.csv", lambda: b"a\n" + b"1\n" * (17 << 19), None),
    "1,000 columns": ("a.csv", lambda: wide(1_000), None),
    "2,000 columns": ("a.csv", lambda: wide(2_000), "more than 1,000 new columns"),
    "20,000 columns": ("a.csv", lambda: wide(20_000), "has more than 2,000 columns"),
    "long csv record": ("a.csv", lambda: b"a,b\n1," + b"x" * (17 * MIB) + b"\n", "longer than 16 MiB"),
    "long jsonl line": ("a.jsonl", lambda: b'{"a": "' + b"x" * (17 * MIB) + b'"}\n', "longer than 16 MiB"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_loaded_or_refused_within_a_gigabyte(name, bucket, workspace):
    """The sentence names what was found; the peak of the whole program stays below 1 GB."""
    path, content, problem = FILES[name]
    (bucket / path).write_bytes(content())
    source = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(source)}
    result, (*lines, status), peak = run_measured(PROGRAM, cwd=workspace, env=environment)
    assert "Traceback" not in result.stderr
    assert status == f"status {int(problem is not None)}"
    assert problem is None or problem in "\n".join(lines) + result.stderr
    assert peak < MOST_MIB, (name, peak)
