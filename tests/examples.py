"""How many examples tests of properties that take long try: few, or, with `ALL_EXAMPLES` in the environment, all."""

from __future__ import annotations

import os

# A guess: nothing of what these tests found needed more than a few dozen.
SHARE = 8


def examples(number: int) -> int:
    """`max_examples` of a test that is marked `thorough`."""
    return number if "ALL_EXAMPLES" in os.environ else max(1, number // SHARE)
