"""Print to standard output and error, which may be closed, full, or unable to write a name."""

from __future__ import annotations

import os
import sys
from typing import TextIO


def replace_closed_streams() -> None:
    """Lead streams that are closed to nowhere, or the next file that is opened would get what is written to them."""
    # in the order of their numbers: each takes the lowest that is free
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115  for good


def show(text: str) -> None:
    """Print to standard output.

    Args:
        text: One line or more.
    """
    _print(text, sys.stdout)


def complain(text: str) -> None:
    """Print to standard error.

    Args:
        text: One line or more.
    """
    _print(text, sys.stderr)


def _print(text: str, stream: TextIO) -> None:
    """Print, if it can be written: a closed pipe (`| head`) or a full disk takes nothing from what was loaded."""
    encoding = stream.encoding or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
    except OSError:
        # or Python would complain again when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
