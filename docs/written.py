"""What the scripts beside this have in common: they write a file, or check that it is what they would write."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path


def write_or_check(script: str, purpose: str, place: Path, make: Callable[[str], str]) -> int:
    """Write a file; with `--check`, only look.

    Args:
        script: The path of the script.
        purpose: Its docstring.
        place: The file, which is there.
        make: From its text to what it should be.

    Returns:
        The exit status: 1 where `--check` finds another text.
    """
    parser = argparse.ArgumentParser(description=purpose.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    text = place.read_text(encoding="utf-8")
    new = make(text)
    if not parser.parse_args().check:
        place.write_text(new, encoding="utf-8")
    elif new != text:
        print(f"{place} is not what the code says: run {Path(script).name}.", file=sys.stderr)
        return 1
    return 0
