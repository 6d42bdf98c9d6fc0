"""How much the default suite tries of what takes long: few examples, and few parameters; `.ci/run` tries all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest

# A guess: nothing of what these tests found needed more than a few dozen.
SHARE = 8


def examples(number: int) -> int:
    """`max_examples` of a test that is marked `thorough`."""
    return number if "ALL_EXAMPLES" in os.environ else max(1, number // SHARE)


def few(values: Sequence[Any], keep: int = 1) -> list[Any]:
    """Parameters of a test, of which the default suite tries some, evenly spread; the others are slow.

    Args:
        values: As for `pytest.mark.parametrize`.
        keep: How many are not slow.
    """
    kept = {index * len(values) // keep for index in range(keep)}

    def slow(value: Any) -> Any:
        parts = value if isinstance(value, tuple | list) else (value,)
        return pytest.param(*parts, marks=pytest.mark.slow)

    return [value if index in kept else slow(value) for index, value in enumerate(values)]
