"""What the whole program takes in memory for hostile and extreme files, measured in a process of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "export"))
from export_files import gzipped, zstandard

pytestmark = pytest.mark.slow

MIB = 1 << 20
MOST_MIB = 1024

# Linux counts into `ru_maxrss` what the process was before it became this program: a fork of the tests and their bombs.
PROGRAM = """
import pathlib, re, resource, sys
from ometria_source.cli import main
status = main(["--tables", "email_events"])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> (20 if sys.platform == "darwin" else 10)
own = pathlib.Path("/proc/self/status")
if own.exists():
    peak = int(re.search(r"VmHWM:\\s*(\\d+) kB", own.read_text())[1]) >> 10
print("MiB", peak)
sys.exit(status)
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
    "zip bomb": ("a.zip", lambda: zipped(bytes(256 * MIB), zipfile.ZIP_DEFLATED), "no end of line in its first MiB"),
    "bzip2 bomb": ("a.zip", lambda: zipped(bytes(512 * MIB), zipfile.ZIP_BZIP2), "bzip2, which is not read"),
    "gzip bomb": ("a.csv.gz", lambda: gzipped(b"a\n" + b"x" * (512 * MIB)), "longer than 16 MiB"),
    "zstd bomb": ("a.csv.zst", lambda: zstandard(b"a\n" + b"x" * (512 * MIB)), "longer than 16 MiB"),
    "zstd window": ("a.csv.zst", lambda: b"\x28\xb5\x2f\xfd\0\xa8\x0b\0\0a", "needs a zstd window"),
    "one byte a row": (f"{'p' * 220}.csv", lambda: b"a\n" + b"1\n" * (17 << 19), None),
    "2,000 columns": ("a.csv", lambda: wide(2_000), None),
    "20,000 columns": ("a.csv", lambda: wide(20_000), "has 20,000 columns"),
    "long csv record": ("a.csv", lambda: b"a,b\n1," + b"x" * (17 * MIB) + b"\n", "longer than 16 MiB"),
    "long jsonl line": ("a.jsonl", lambda: b'{"a": "' + b"x" * (17 * MIB) + b'"}\n', "longer than 16 MiB"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_loaded_or_refused_within_a_gigabyte(name, bucket, workspace):
    """The sentence names what was found; the peak of the whole program stays below 1 GB."""
    path, content, problem = FILES[name]
    (bucket / path).write_bytes(content())
    source = Path(__file__).parents[1]
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=workspace,
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in result.stderr
    if problem is None:
        assert result.returncode == 0, result
    else:
        assert result.returncode != 0
        assert problem in result.stdout + result.stderr
    peak = int(result.stdout.rpartition("MiB ")[2])
    assert peak < MOST_MIB, (name, peak)
