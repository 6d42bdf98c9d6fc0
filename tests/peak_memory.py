"""The peak memory of a program, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys

# Linux counts into `ru_maxrss` what the process was before it became this program: a fork of the tests.
_MEASURE = """
import pathlib, re, resource, sys
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> (20 if sys.platform == "darwin" else 10)
own = pathlib.Path("/proc/self/status")
if own.exists():
    peak = int(re.search(r"VmHWM:\\s*(\\d+) kB", own.read_text())[1]) >> 10
print("MiB", peak)
"""


def run_measured(program: str, *arguments: str, **options) -> tuple[subprocess.CompletedProcess[str], list[str], int]:
    """Run a Python program.

    Args:
        program: Its text. It must not end the process.
        *arguments: In its `sys.argv`.
        **options: Of `subprocess.run`.

    Returns:
        The process, the lines that the program printed, and its peak in MiB.
    """
    command = [sys.executable, "-c", program + _MEASURE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, **options)
    assert done.stdout.count("MiB "), done.stderr
    out, _, peak = done.stdout.rpartition("MiB ")
    return done, out.splitlines(), int(peak)
