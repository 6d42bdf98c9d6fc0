"""Python programs that start at once: each is forked from a server that has imported what all of them need.

    subprocess.run([*warm_python(), program, *flags])

runs the program as `sys.executable` would: in a process of its own, with the caller's environment, current folder and
standard streams; signals, `SIGKILL` among them, and the exit status pass between caller and program. What the command
starts is a relay; see warm_relay.py and warm_server.py. A test of how a program starts uses `sys.executable`.
"""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


@functools.cache
def warm_python() -> tuple[str, ...]:
    """The beginning of a command; the server is started once in each process of the tests, and ends with it."""
    # elsewhere, a fork without exec is not safe, or there is none
    if sys.platform != "linux":
        return (sys.executable,)
    folder = tempfile.TemporaryDirectory(prefix="warm_python_")
    address = f"{folder.name}/socket"
    # a relay that connects before the imports are done waits in the backlog
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        number = listener.fileno()
        server = subprocess.Popen(
            [sys.executable, HERE / "warm_server.py", str(number)],
            # of which NumPy would start some
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
            pass_fds=[number],
            stdin=subprocess.PIPE,
        )
    # both are there for as long as this process
    _started.extend((folder, server))
    return (sys.executable, "-I", "-S", str(HERE / "warm_relay.py"), address)


_started: list[object] = []
