"""JSON as other programs write it, and what is none, is read in linear time and in memory of the text's own size."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from ometria_source import json_values
from ometria_source.json_values import MAX_LOOSE_DEPTH, parse_any_json

# Levels of lists around a value that are cut off below it.
DEEP = MAX_LOOSE_DEPTH + 50

# Bytes of memory that each byte of a text may take, for all of its copies.
MOST_COPIES = 14


@pytest.mark.parametrize(
    "body",
    [
        b'<script>var a="' + b'\\"' * 60_000,
        b'[{"id": "1", "t": "' + b'\\"' * 60_000,
        b"[" * DEEP + b'"' + b'\\"' * 60_000,
        b"[" * DEEP + b'"' + b"\\\\" * 60_000,
        b"[" * DEEP + b'"' * 120_001,
        b'["\\ud83d", ' * DEEP + b'"' + b'\\"' * 60_000,
    ],
    ids=["html", "cut", "deep", "backslashes", "quotes", "halves"],
)
def test_a_text_without_an_end_is_refused_in_linear_time(body):
    began = time.process_time()
    with pytest.raises(ValueError, match="not JSON"):
        parse_any_json(body)
    assert time.process_time() - began < 1


@pytest.mark.parametrize("text", [b"x" * 2_000_000, b'\\"' * 1_000_000, b"\\\\" * 1_000_000], ids=["x", "quotes", "\\"])
@pytest.mark.parametrize("depth", [1, DEEP])
def test_a_long_text_takes_memory_of_its_own_size_only(text, depth):
    body = b"[" * depth + b'NaN, "' + text + b'"' + b"]" * depth
    tracemalloc.start()
    try:
        parse_any_json(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MOST_COPIES * len(body)


@pytest.mark.parametrize("text", [r"a\"]b", r"a\\", r"\\\"}", "[{", r"\\\\\"[", "ü]"])
def test_brackets_in_a_text_are_no_level(text):
    """What is cut off is all of a value, wherever quotes, backslashes and brackets are in its texts."""
    inner = f'["{text}", NaN, {{"{text}": [1]}}]'
    found = parse_any_json("[" * MAX_LOOSE_DEPTH + f'"{text}", {inner}' + "]" * MAX_LOOSE_DEPTH)
    for _ in range(MAX_LOOSE_DEPTH - 1):
        (found,) = found
    assert found == [parse_any_json(f'"{text}"'), inner]


@pytest.mark.parametrize("body", [b'[NaN, "a"]', '[NaN, "🌻"]'.encode(), b'[{"a": NaN}]' + b" " * 10])
def test_what_has_no_half_a_pair_is_parsed_once(body, monkeypatch):
    texts = []
    loads = json_values.json.loads
    monkeypatch.setattr(json_values.json, "loads", lambda text, **how: texts.append(text) or loads(text, **how))
    parse_any_json(body)
    assert len(texts) == 1
