"""JSON lines keep every digit, level and row, or are refused with their line. All data is invented."""

from __future__ import annotations

import json
import math

import pyarrow as pa
import pytest
from examples import examples
from export_files import refusal, rows, table, tables
from hypothesis import given, settings
from hypothesis import strategies as st
from peak_memory import run_measured

from ometria_source.exceptions import UnreadableFileError
from ometria_source.export import compression
from ometria_source.export import jsonl as jsonl_reader
from ometria_source.export.row_keys import row_keys
from ometria_source.export.types import fitting, parse_text
from ometria_source.json_values import MAX_INTEGER_DIGITS, MAX_JSON_DEPTH, is_nested, json_text, parse_json

LONG = "123456789012345678901234567890"

# All that the parser takes, with and without the object that is the line.
PARSED_DEPTH = 1024


def deep_list(levels: int, core: str = "") -> str:
    return "[" * levels + core + "]" * levels


def deep_object(levels: int, core: str = "1") -> str:
    return '{"a":' * levels + core + "}" * levels


def mixed(levels: int, core: str = "1") -> str:
    return '[{"a":' * (levels // 2) + core + "}]" * (levels // 2)


def whole(text: str) -> object:
    """A stored value, with what was nested too deep put back, without recursion."""
    root = [json.loads(text)]
    waiting: list = [(root, 1)]
    while waiting:
        part, level = waiting.pop()
        for key, inner in list(part.items() if isinstance(part, dict) else enumerate(part)):
            if isinstance(inner, str) and level == MAX_JSON_DEPTH + 1 and inner.startswith(("[", "{")):
                part[key] = json.loads(inner)
                waiting.append((part[key], 2))
            elif isinstance(inner, dict | list):
                waiting.append((inner, level + 1))
    return root[0]


def line(value: str) -> str:
    return f'{{"a": {value}}}\n'


def stored(value: str) -> str:
    return table(line(value), "e.jsonl")["a"].to_pylist()[0]


@pytest.mark.parametrize(
    "value",
    [
        f"[{LONG}]",
        f"[-{LONG}]",
        f'{{"b":{LONG}}}',
        f'[[{{"b":[1,{LONG},"x"]}}]]',
        "[18446744073709551616,-9223372036854775809]",
        f"[{'7' * 400}]",
        f"[{'7' * MAX_INTEGER_DIGITS}]",
        f"[-{'7' * MAX_INTEGER_DIGITS}]",
        f'["{LONG}",{LONG}]',
        f'["\\"",{LONG},"\\\\",{LONG},"\\\\\\"[{LONG}"]',
        f'{{"{LONG}":{LONG}}}',
        deep_list(MAX_JSON_DEPTH, LONG),
    ],
)
def test_a_nested_integer_keeps_every_digit(value):
    """JSON text is what was written, a number where it was one."""
    assert stored(value) == value


def test_a_long_integer_is_the_same_text_wherever_its_row_stands():
    """Neighbours and the value's own kind of column change nothing."""
    alone = stored(f"[{LONG}]")
    texts = table(line('"x"') + line(f"[{LONG}]") + line(f"[{LONG}, 1.5e300]") + line("[1]"), "e.jsonl")["a"]
    assert texts.to_pylist() == ["x", alone, f"[{LONG},1.5e+300]", "[1]"]


def test_a_row_with_a_long_integer_keeps_its_other_values():
    """Only that value is read again, and floats stay floats."""
    text = f'{{"a": [{LONG}], "b": 0.5, "c": 1e300, "d": {LONG}, "e": null, "f": "x"}}\n'
    assert rows(text, "e.jsonl") == [
        {"a": f"[{LONG}]", "b": 0.5, "c": 1e300, "d": LONG, "e": None, "f": "x"},
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("[0.1234567890123456789]", "[0.12345678901234568]"),
        ("[12345678901234567890.5]", "[1.2345678901234567e+19]"),
        (f"[{LONG}e5]", "[1.234567890123457e+34]"),
        (f"[1.{LONG}]", f"[{float('1.' + LONG)!r}]"),
        (f"[1e-{'0' * 20}7]", "[1e-7]"),
        ("[-0]", "[0]"),
        ("[-0.0]", "[-0.0]"),
        ("[1e16, 1E+22]", "[1e+16,1e+22]"),
        ('{"b": 1, "b": [2], "b": 3}', '{"b":3}'),
        ('["\\u0000\\u2028"]', '["\\u0000\u2028"]'),
    ],
)
def test_what_is_documented_of_other_values(value, expected):
    """Fractions are doubles, of equal names the last counts, and NUL is text."""
    assert stored(value) == expected


def test_of_equal_names_in_a_line_the_last_wins():
    """It decides the column's value and type, with long integers or without."""
    assert rows('{"a": "x", "a": 2}\n', "e.jsonl") == [{"a": 2}]
    assert rows(f'{{"a": [{LONG}], "a": [1], "b": {LONG}, "b": 3}}\n', "e.jsonl") == [{"a": "[1]", "b": 3}]


@pytest.mark.parametrize(
    "value",
    [
        "NaN", "[NaN]", "-Infinity", "1e999", "[1e999]", f"[{LONG}, 1e999]", f"[{LONG}, NaN]",
        '"\\ud800"', '["\\udc00"]', f'["\\ud800", {LONG}]', '{"\\ud800": 1}',
        f"0{LONG}", f"+{LONG}", f"--{LONG}", f"[1 {LONG}]", f"{{{LONG}: 1}}", f"{{{LONG} : 1}}", f"nul{LONG}",
        f'"x"{LONG}', f'{LONG}"x"', f"[{LONG},]", f"[{LONG}", f'["{LONG}]', f'["{LONG}\\"]', f"{LONG}.", f"{LONG}e",
        "7" * (MAX_INTEGER_DIGITS + 1), f"[{'7' * (MAX_INTEGER_DIGITS + 1)}]",
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused_with_its_line(value):
    """Long integers in a line excuse nothing else in it."""
    error = refusal(line("1") + line(value) + line("2"), "e.jsonl")
    assert error.line == 2
    assert LONG not in str(error)


@pytest.mark.parametrize("make", [deep_list, deep_object, mixed])
@pytest.mark.parametrize("levels", [250, 252, 254, 256, 258, 300, 508, 510, 600, PARSED_DEPTH - 2])
@pytest.mark.parametrize("core", ["1", LONG, '"é\\n"'])
def test_what_is_nested_deep_is_kept(make, levels, core):
    """Deeper than the limit it is JSON text, and nothing of it is lost."""
    value = make(levels, core)
    text = stored(value)
    assert not is_nested(parse_json(text), MAX_JSON_DEPTH + 1)
    if levels <= MAX_JSON_DEPTH:
        assert text == json.dumps(json.loads(value), ensure_ascii=False, separators=(",", ":"))
    found, wanted = whole(text), parse_json(value)
    for _ in range(levels):
        assert type(found) is type(wanted)
        found, wanted = (part["a"] if isinstance(part, dict) else part[0] for part in (found, wanted))
    assert found == wanted
    assert type(found) is type(wanted)


def test_the_limit_is_exact():
    """254 levels are JSON, and the 255th is text."""
    assert stored(deep_list(254, "1")) == deep_list(254, "1")
    assert stored(deep_list(255, "1")) == deep_list(254, '"[1]"')
    assert stored(deep_list(255)) == deep_list(254, '"[]"')
    assert stored(deep_object(255)) == deep_object(254, '"{\\"a\\":1}"')
    # many lists beside each other are not deep
    assert stored(f"[{'[],' * 300}1]") == f"[{'[],' * 300}1]"


@pytest.mark.parametrize("make", [deep_list, deep_object, mixed])
@pytest.mark.parametrize("levels", [PARSED_DEPTH, 2_000, 100_000])
@pytest.mark.parametrize("core", ["1", LONG])
@pytest.mark.parametrize("before", [0, 3])
def test_what_is_nested_deeper_than_the_parser_takes_is_refused(make, levels, core, before):
    """With its line, however many rows stand before it."""
    assert refusal(line("[1]") * before + line(make(levels, core)), "e.jsonl").line == before + 1


def test_deep_rows_are_many():
    """What one row may be, hundreds may be."""
    found = table(line(deep_list(300, LONG)) * 300, "e.jsonl")
    assert found["a"].unique().to_pylist() == [stored(deep_list(300, LONG))]


@pytest.mark.parametrize("levels", [100, 254, 255, 900])
def test_declared_and_fitting_json_follow_the_same_rule(levels):
    """A deep cell of csv that is declared `json` is stored as one of JSON lines is."""
    cell = deep_list(levels, LONG)
    assert parse_text(pa.array([cell, None, ""]), "json").to_pylist() == [stored(cell), None, None]
    assert fitting(pa.array([stored(cell)]), "json").to_pylist() == [stored(cell)]
    assert fitting(pa.array([cell]), "json").to_pylist() == [cell if levels <= MAX_JSON_DEPTH else None]


def test_a_cell_too_deep_for_the_parser_is_no_json():
    """It is an error of the cell, and never one of the program."""
    cell = pa.array([deep_list(5_000)])
    with pytest.raises(ValueError, match="not JSON"):
        parse_text(cell, "json")
    assert fitting(cell, "json").to_pylist() == [None]


@pytest.mark.parametrize("piece_bytes", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    "content",
    [
        '\ufeff\ufeff{"a": "x\u2028y"}\n{"a": 2}\n',
        '\ufeff\ufeff\n{"a": "x\u2028y"}\r\n{"a": 2}',
        '{"a": "x\u2028y"}\n   \n \t\r\n{"a": 2}\n  ',
        '\n\n\n{"a": "x\u2028y"}\r\n\r\n{"a": 2}\n',
    ],
)
def test_lines_end_at_line_feeds_alone(content, piece_bytes, monkeypatch):
    """Two BOMs count as one, blank lines for nothing."""
    monkeypatch.setattr(compression, "PIECE_BYTES", piece_bytes)
    assert [row["a"] for row in rows(content, "e.jsonl")] == ["x\u2028y", "2"]


@pytest.mark.parametrize("content", ['{"a": 1}\r{"a": 2}\n', '{"a": 1}\u2028{"a": 2}\n', '{"a": 1}\n\ufeff{"a": 2}\n'])
def test_nothing_else_ends_a_line(content):
    """Two objects on a line are refused."""
    assert "not one JSON object" in str(refusal(content, "e.jsonl"))


@pytest.mark.parametrize("piece_bytes", [1, 5, 30])
def test_a_line_may_be_as_long_as_the_limit_and_no_longer(piece_bytes, monkeypatch):
    """In whatever pieces it comes, ended or not."""
    monkeypatch.setattr(compression, "PIECE_BYTES", piece_bytes)
    monkeypatch.setattr(jsonl_reader, "MAX_RECORD_BYTES", 30)
    fits = '{"a": "' + "x" * 21 + '"}'
    assert len(rows(f"{fits}\n{fits}", "e.jsonl")) == 2
    for end in ("", "\n", '\n{"a": 1}\n'):
        error = refusal(f'{{"a": 1}}\n\n{fits} {end}', "e.jsonl")
        assert error.line == 3
        assert "longer than" in str(error)


_MEASURED = """
import io
from ometria_source.exceptions import UnreadableFileError
from ometria_source.export import read
from ometria_source.export.read import read_tables

read.MAX_COLUMNS = 20_001

def outcome(data):
    rows = 0
    try:
        for table in read_tables("e.jsonl", io.BytesIO(data)):
            rows += table.num_rows
    except UnreadableFileError as error:
        return f"line {error.line}"
    return f"{rows} rows"

print(outcome(b'{"a": "' + b"x" * (17 << 20)))
print(outcome(b'{"a": ' + b'"' * (17 << 20)))
print(outcome(b'{"a": 1234567890123456789012, "b": "' + b'\\"' * (5 << 20)))
print(outcome(b'{"a": [1234567890123456789012,' + b"[" * (10 << 20)))
print(outcome(b"\\n" * (1 << 20) + b"["))
print(outcome(b"".join(b'{"f%d": 1}\\n' % n for n in range(20_000))))
print(outcome(b'{"a": 1}\\n' * 19_999 + b"{" + b",".join(b'"f%d":1' % n for n in range(20_000)) + b"}"))
"""


@pytest.mark.slow
def test_hostile_lines_end_in_bounded_memory():
    """A line of 17 MiB, of quotes, escapes or brackets; a million blank lines; 20,000 fields: all below 1 GB."""
    _, outcomes, peak = run_measured(_MEASURED)
    assert outcomes == [*["line 1"] * 4, f"line {(1 << 20) + 1}", "20000 rows", "20000 rows"]
    assert peak < 953


def test_a_table_has_a_bounded_number_of_cells(monkeypatch):
    """Rows that share no field, and one row of many after many of few, come in order in small tables."""
    monkeypatch.setattr(jsonl_reader, "BATCH_CELLS", 100)
    expected = [{f"f{number}": number} for number in range(50)]
    expected += [{"a": number} for number in range(90)]
    expected += [{f"g{number}": 1 for number in range(30)}, {f"h{number}": 1 for number in range(200)}, {"a": 1}]
    parts = tables("".join(json.dumps(row) + "\n" for row in expected), "e.jsonl")
    found = [{name: value for name, value in row.items() if value is not None} for p in parts for row in p.to_pylist()]
    assert found == expected
    assert all(part.num_rows * part.num_columns <= 100 or part.num_rows == 1 for part in parts)


# Numbers at which digits are lost, or forms change.
_EDGES = [2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**18, 10**19, 10**308, 10**309, 10**400]
_NUMBERS = st.one_of(
    st.integers(),
    st.sampled_from([sign * (edge + step) for edge in _EDGES for sign in (1, -1) for step in (-1, 0, 1)]),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False, allow_infinity=False),
)
_TEXTS = st.text(max_size=8) | st.sampled_from([LONG, f'"{LONG}', f"\\{LONG}", '"', "\\", f"[{LONG}]", "e+", "\0"])
_SCALARS = st.none() | st.booleans() | _NUMBERS | _TEXTS
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=12,
)
_NESTED = st.lists(_VALUES, max_size=4) | st.dictionaries(_TEXTS, _VALUES, max_size=4)


def normal(value: object) -> object:
    """A value such that two are equal if they are the same JSON: 1 is not 1.0 nor true, but 0 and -0 are equal."""
    if isinstance(value, dict):
        return ("object", frozenset((key, normal(part)) for key, part in value.items()))
    if isinstance(value, list):
        return ("list", tuple(map(normal, value)))
    if isinstance(value, float):
        return ("float", value, math.copysign(1, value))
    return (type(value).__name__, value)


@pytest.mark.thorough
@settings(deadline=None, max_examples=examples(400))
@given(value=_VALUES, ascii_only=st.booleans())
def test_any_json_value_loads_equal(value, ascii_only):
    """What is stored is what Python's parser reads of the line."""
    try:
        found = table(json.dumps({"a": value, "b": 1}, ensure_ascii=ascii_only), "e.jsonl")["a"].to_pylist()[0]
    except UnreadableFileError as error:
        pytest.fail(str(error))
    if isinstance(value, dict | list):
        assert normal(json.loads(found)) == normal(value)
        assert json_text(parse_json(found)) == found
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        assert found == str(value)
    else:
        assert normal(found) == normal(value)


@pytest.mark.thorough
@settings(deadline=None, max_examples=examples(400))
@given(one=_NESTED, other=_NESTED, data=st.data())
def test_lines_that_differ_have_different_keys(one, other, data):
    """As nested values; at the top a number has the key of the text that csv would have."""
    other = data.draw(st.sampled_from([other, _changed(one)]))
    keys = [
        key
        for part in tables("".join(json.dumps({"a": value}) + "\n" for value in (one, other)), "e.jsonl")
        for key in row_keys(part).to_pylist()
    ]
    assert len(keys) == 2
    assert (keys[0] == keys[1]) == (normal(one) == normal(other))


def _changed(value: object) -> object:
    """A value with each of its integers one greater."""
    if isinstance(value, dict):
        return {key: _changed(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_changed(part) for part in value]
    return value + 1 if type(value) is int else value


@pytest.mark.thorough
@settings(deadline=None, max_examples=examples(300))
@given(text=st.text(alphabet='0123456789{}[]",:.eE+-\\ "aun', max_size=60) | st.text(max_size=30))
def test_any_text_loads_equal_or_is_refused(text):
    """No text raises anything else, and what loads is what Python's parser reads."""
    content = f'{{"a": [{text}], "b": [{LONG}]}}\n'.encode(errors="surrogatepass")
    try:
        found = tables(content, "e.jsonl")
    except UnreadableFileError:
        return
    wanted = json.loads(content.split(b"\n")[0])
    for name in ("a", "b"):
        assert normal(json.loads(found[0][name].to_pylist()[0])) == normal(wanted[name])


def event(number: int, value: str) -> str:
    return f'{{"id": {number}, "meta": {value}}}\n'


@pytest.mark.parametrize("declared", [None, '{"meta": "json"}'])
def test_five_events_that_differ_in_the_last_digit_are_five_rows(bucket, load, warehouse, monkeypatch, declared):
    """With every digit in the warehouse, whether the column is declared or not."""
    if declared:
        monkeypatch.setenv("SOURCES__OMETRIA__EMAIL_EVENTS_COLUMNS", declared)
    values = [{"ids": [int(LONG) + number]} for number in range(5)]
    (bucket / "e.jsonl").write_text("".join(line(json.dumps(value)) for value in values))
    load()
    assert sorted(row["a"]["ids"][0] for row in warehouse.rows("email_events")) == [v["ids"][0] for v in values]


STRICT = {"SOURCES__OMETRIA__PRIVACY": "strict", "SOURCES__OMETRIA__PII_SALT": "an invented salt of the tests"}
HASHED_PATH = {**STRICT, "SOURCES__OMETRIA__HASH_COLUMNS": '["email_events.meta__first_name"]'}
DROPPED_PATH = {"SOURCES__OMETRIA__DROP_COLUMNS": '["email_events.meta__first_name"]'}
PERSON = '{"first_name":"Ada","email":"ada@shop.test"}'


@pytest.mark.parametrize("rules", [{}, STRICT, HASHED_PATH, DROPPED_PATH], ids=["none", "strict", "path", "drop"])
@pytest.mark.parametrize("name", ["e.jsonl", "e.csv"])
def test_deep_events_load_and_leak_nothing(bucket, load, warehouse, monkeypatch, rules, name):
    """Whatever the format and the rules; what cannot be looked into is hashed."""
    for key, value in rules.items():
        monkeypatch.setenv(key, value)
    cells = {levels: deep_list(levels, PERSON) for levels in (10, 253, 254, 300, 1000)} | {0: "[]"}
    if name == "e.jsonl":
        lines = [event(levels, cell) for levels, cell in cells.items()]
    else:
        lines = ["id,meta\n", *('{},"{}"\n'.format(levels, cell.replace('"', '""')) for levels, cell in cells.items())]
    (bucket / name).write_text("".join(lines))
    load()
    found = {int(row["id"]): json.dumps(row["meta"]) for row in warehouse.rows("email_events")}
    assert found.keys() == cells.keys()
    for levels in cells.keys() - {0}:
        assert ("Ada" in found[levels]) == (not rules), levels
        is_shown = not rules or (rules is DROPPED_PATH and levels < 253)
        assert ("ada@shop.test" in found[levels]) == is_shown, levels


@pytest.mark.parametrize("rules", [{}, STRICT], ids=["none", "strict"])
def test_an_event_too_deep_to_parse_fails_the_table_with_its_line(bucket, run, load, warehouse, monkeypatch, rules):
    """And is skipped where bad files are; never a traceback."""
    for key, value in rules.items():
        monkeypatch.setenv(key, value)
    (bucket / "bad.jsonl").write_text(event(1, "[1]") + event(2, deep_list(2_000, PERSON)))
    (bucket / "good.jsonl").write_text(event(3, "[1]"))
    result = run()
    assert result.status == 1
    assert "bad.jsonl, line 2: " in " ".join(result.out.split())
    assert "Traceback" not in result.out + result.err
    assert "Ada" not in result.out + result.err
    monkeypatch.setenv("SOURCES__OMETRIA__ON_BAD_FILE", "skip")
    load()
    assert [row["id"] for row in warehouse.rows("email_events")] == [3]


def test_text_that_is_nearly_json_leaks_nothing(bucket, load, warehouse, monkeypatch):
    """A cell of csv is text, however deep, and personal keys in it are hashed under `strict`."""
    for key, value in STRICT.items():
        monkeypatch.setenv(key, value)
    cells = [
        deep_list(2_000, PERSON),
        f'[{PERSON},NaN,"\\ud800"]',
        deep_list(400, f"{PERSON},NaN"),
        f"[{PERSON},{'7' * 5000}]",
    ]
    lines = ['{},"{}"\n'.format(number, cell.replace('"', '""')) for number, cell in enumerate(cells)]
    (bucket / "e.csv").write_text("".join(["id,meta\n", *lines]))
    load()
    rows = warehouse.rows("email_events")
    assert len(rows) == len(cells)
    for row in rows:
        assert "Ada" not in row["meta"]
        assert "ada@" not in row["meta"]


@pytest.mark.parametrize("levels", [300, 2_000])
def test_a_deep_export_is_described(bucket, run, levels):
    """What can be parsed is described; else the file is named with the line."""
    (bucket / "e.jsonl").write_text(event(1, deep_list(levels, PERSON)) + event(2, "[1]"))
    (bucket / "f.csv").write_text(f"id,meta\n1,{deep_list(levels, '1')}\n2,[1]\n")
    result = run("--describe")
    assert "Traceback" not in result.out + result.err
    assert "Ada" not in result.out + result.err
    assert ("e.jsonl, line 1: " in result.out + result.err) == (levels == 2_000)
