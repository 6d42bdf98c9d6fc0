"""Print to standard output, which may be closed."""

from __future__ import annotations

import os
import sys


def show(text: str) -> None:
    """Print, if anybody still reads: a closed pipe (`| head`) takes nothing from what was loaded.

    Args:
        text: One line or more.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # or Python would complain again when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
