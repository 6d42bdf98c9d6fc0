"""Any table that pyarrow can write as Parquet is read with the same values, or refused.

What a cell must mean is derived here from the numbers, texts and bytes that it was made of, not from the code.
"""

from __future__ import annotations

import base64
import json
import math
import re
import uuid
from datetime import timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from export_files import as_parquet, tables
from hypothesis import HealthCheck, event, given, reject, settings
from hypothesis import strategies as st

from ometria_source.exceptions import UnreadableFileError
from ometria_source.export import parquet as parquet_reader
from ometria_source.export.json_text import is_json
from ometria_source.export.row_keys import row_keys

# Units of time, each with the number of them in a second.
A_SECOND = {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}
DAY_SECONDS = 86_400
ZONES = [None, "UTC", "Europe/Paris", "America/New_York", "+05:30"]
# Dates of Python (years 1 to 9999) in days from 1970, but for the first and last, which a zone may move beyond.
FIRST_DAY, LAST_DAY = -719_161, 2_932_895
NAMES = ["a", "b", "c"]

INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
TEXTS = [pa.string(), pa.large_string(), pa.string_view()]
BYTES = [pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(3)]
CLOCKS = [pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")]
LEAVES = st.one_of(
    st.sampled_from([*INTEGERS, *TEXTS, *BYTES, *CLOCKS]),
    st.sampled_from([pa.null(), pa.bool_(), pa.float16(), pa.float32(), pa.float64(), pa.date32(), pa.date64()]),
    st.builds(pa.timestamp, st.sampled_from(list(A_SECOND)), st.sampled_from(ZONES)),
    st.builds(pa.duration, st.sampled_from(list(A_SECOND))),
    st.integers(1, 38).flatmap(lambda digits: st.integers(0, digits).map(lambda scale: pa.decimal128(digits, scale))),
    st.integers(1, 76).flatmap(lambda digits: st.integers(0, digits).map(lambda scale: pa.decimal256(digits, scale))),
    st.sampled_from([pa.dictionary(pa.int8(), kind) for kind in (pa.string(), pa.binary(), pa.int64())]),
)


def nested(inner):
    """Lists, structs and maps of a kind."""
    return st.one_of(
        st.builds(pa.list_, inner),
        st.builds(pa.large_list, inner),
        st.builds(pa.list_, inner, st.integers(1, 2)),
        st.lists(inner, min_size=1, max_size=2).map(lambda kinds: pa.struct(list(zip(NAMES, kinds, strict=False)))),
        st.builds(pa.map_, inner.filter(lambda kind: not pa.types.is_null(kind)), inner),
    )


KINDS = st.one_of(LEAVES, nested(LEAVES), nested(nested(LEAVES) | LEAVES), nested(nested(nested(LEAVES))))


def whole(kind, far):
    """The integers that a type is made of; `far`: also those that Python's dates and durations cannot hold."""
    if pa.types.is_integer(kind):
        low = 0 if pa.types.is_unsigned_integer(kind) else -(2 ** (kind.bit_width - 1))
        return low, low + 2**kind.bit_width - 1
    if pa.types.is_time(kind):
        return 0, DAY_SECONDS * A_SECOND[kind.unit] - 1
    bits = 32 if pa.types.is_date32(kind) else 64
    if far:
        return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    if pa.types.is_date32(kind):
        return FIRST_DAY, LAST_DAY
    low, high = (day * DAY_SECONDS * A_SECOND[kind.unit] for day in (FIRST_DAY, LAST_DAY))
    return max(low, -(2**63)), min(high, 2**63 - 1)


def values(kind, far):
    """What cells of a type are made of."""
    if pa.types.is_null(kind):
        return st.none()
    return st.none() | present(kind, far)


def present(kind, far):  # noqa: C901 -- one branch a type
    if pa.types.is_dictionary(kind):
        return present(kind.value_type, far)
    if pa.types.is_boolean(kind):
        return st.booleans()
    if pa.types.is_floating(kind):
        return st.floats(width=kind.bit_width)
    if kind in TEXTS:
        return st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
    if pa.types.is_decimal(kind):
        digits = st.integers(1 - 10**kind.precision, 10**kind.precision - 1)
        return digits.map(lambda number: Decimal(f"{number}E-{kind.scale}"))
    if pa.types.is_fixed_size_binary(kind):
        return st.binary(min_size=kind.byte_width, max_size=kind.byte_width)
    if kind in BYTES:
        return st.binary(max_size=6) | st.text("aé", max_size=3).map(str.encode)
    if pa.types.is_date64(kind):
        return st.integers(FIRST_DAY, LAST_DAY).map(lambda day: day * DAY_SECONDS * 1000)
    if pa.types.is_struct(kind):
        return st.fixed_dictionaries({field.name: values(field.type, far) for field in kind})
    if pa.types.is_map(kind):
        # keys that repeat, too
        return st.lists(st.tuples(present(kind.key_type, far), values(kind.item_type, far)), max_size=3)
    if pa.types.is_fixed_size_list(kind):
        return st.lists(values(kind.value_type, far), min_size=kind.list_size, max_size=kind.list_size)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return st.lists(values(kind.value_type, far), max_size=3)
    return st.integers(*whole(kind, far))


@st.composite
def columns(draw, far=False):
    """Types, and as many cells of each."""
    rows = draw(st.integers(0, 5))
    kinds = draw(st.lists(KINDS, min_size=1, max_size=3))
    return [(kind, draw(st.lists(values(kind, far), min_size=rows, max_size=rows))) for kind in kinds]


FILES = st.fixed_dictionaries(
    {
        "version": st.sampled_from(["1.0", "2.4", "2.6"]),
        "data_page_version": st.sampled_from(["1.0", "2.0"]),
        "compression": st.sampled_from(["none", "snappy", "zstd"]),
        "use_dictionary": st.booleans(),
        "row_group_size": st.sampled_from([1, 3, 1000]),
        # without it, a reader has only what Parquet itself says of the columns
        "store_schema": st.booleans(),
        "write_page_checksum": st.booleans(),
    }
)


def written(made, options):
    """The cells as a Parquet file."""
    arrays = [pa.array(cells, kind) for kind, cells in made]
    return as_parquet(pa.Table.from_arrays(arrays, names=NAMES[: len(arrays)]), **options)


def read(content):
    """The cells of a file by column: JSON parsed, and what has a type for time as the number that it is made of."""
    found: dict[str, list] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet_reader, "BATCH_ROWS", 2)
        for part in tables(content, "events.parquet"):
            assert len(row_keys(part)) == part.num_rows
            for column in part.schema:
                cells = part[column.name]
                if any(matches(column.type) for matches in (pa.types.is_timestamp, pa.types.is_date, pa.types.is_time)):
                    cells = cells.cast(pa.int32() if pa.types.is_date(column.type) else pa.int64())
                parsed = [
                    strict_json(cell) if is_json(column) and cell is not None else cell for cell in cells.to_pylist()
                ]
                found.setdefault(column.name, []).extend(parsed)
    return found


def strict_json(text):
    """JSON as the standard has it, where NaN is no number."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def cut(number, unit):
    """Microseconds, finer digits cut off."""
    micros = abs(number) * 10**6 // A_SECOND[unit]
    return -micros if number < 0 else micros


DATE = r"([+-]?\d{4,})-(\d\d)-(\d\d)"
CLOCK = r"(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?"
OFFSET = r"Z|([+-])(\d\d):(\d\d)(?::(\d\d))?"


def days(text):
    """Days from 1970 to a date of any year, by the Gregorian calendar."""
    year, month, day = map(int, re.fullmatch(DATE, text).groups())
    year, month = (year - 1, month + 12) if month <= 2 else (year, month)
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day - 719_469


def clock(text):
    """Microseconds of a time of day."""
    hour, minute, second, fraction = re.fullmatch(CLOCK, text).groups()
    whole_seconds = int(hour) * 3600 + int(minute) * 60 + int(second or 0)
    return whole_seconds * 10**6 + int((fraction or "").ljust(6, "0"))


def instant(text):
    """Microseconds from 1970 in UTC, which is also what no zone means."""
    date, time, zone = re.fullmatch(rf"({DATE})[T ]({CLOCK})({OFFSET})?", text).group(1, 5, 10)
    sign, hours, minutes, seconds = re.fullmatch(OFFSET, zone or "Z").groups()
    offset = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    micros = days(date) * DAY_SECONDS * 10**6 + clock(time)
    return micros + offset * 10**6 * (1 if sign == "-" else -1)


def is_same(found, kind, made, nested=True):  # noqa: C901, PLR0912 -- one branch a type
    """Whether a cell means what it was made of."""
    if made is None:
        return found is None
    if pa.types.is_dictionary(kind):
        return is_same(found, kind.value_type, made, nested)
    if pa.types.is_map(kind):
        return is_same_map(found, kind, made)
    if pa.types.is_struct(kind):
        parts = [(found.get(field.name), field.type, made[field.name]) for field in kind]
        return found.keys() == made.keys() and all(is_same(*part) for part in parts)
    if pa.types.is_nested(kind):
        return len(found) == len(made) and all(is_same(a, kind.value_type, b) for a, b in zip(found, made, strict=True))
    if pa.types.is_floating(kind):
        if nested and not math.isfinite(made):
            return found == ("NaN" if math.isnan(made) else "Infinity" if made > 0 else "-Infinity")
        return type(found) is float and repr(found) == repr(made)
    if pa.types.is_decimal(kind):
        return Decimal(found) == made
    if pa.types.is_fixed_size_binary(kind) or kind in BYTES:
        if nested:
            return found == base64.b64encode(made).decode()
        return (found.encode() if isinstance(found, str) else found) == made
    if pa.types.is_date(kind):
        day = made // (DAY_SECONDS * 1000) if pa.types.is_date64(kind) else made
        return (days(found) if isinstance(found, str) else found) == day
    if pa.types.is_time(kind):
        return (clock(found) if isinstance(found, str) else found) == cut(made, kind.unit)
    if pa.types.is_timestamp(kind):
        return (instant(found) if isinstance(found, str) else found) == cut(made, kind.unit)
    if pa.types.is_duration(kind):
        micros = cut(made, kind.unit)
        # without Arrow's schema it is a number for Parquet, of its own unit
        return found in (micros, made, str(micros), text_of(micros))
    if pa.types.is_integer(kind):
        return found == made or (abs(made) >= 2**63 and found == str(made)) or (not nested and found == str(made))
    return type(found) is type(made) and found == made


def text_of(micros: int) -> str | None:
    """A duration as Python writes it; None: it has none that is so long."""
    try:
        return str(timedelta(microseconds=micros))
    except OverflowError:
        return None


def is_same_map(found, kind, made):
    """A map is an object, or where that would lose a key a list of its entries."""
    if isinstance(found, list):
        entries = [(one["key"], one["value"]) if isinstance(one, dict) else one for one in found]
        return len(entries) == len(made) and all(
            is_same(key, kind.key_type, own_key) and is_same(value, kind.item_type, own_value)
            for (key, value), (own_key, own_value) in zip(entries, made, strict=True)
        )
    matched = [
        [
            name
            for name in found
            if is_same_name(name, kind.key_type, key) and is_same(found[name], kind.item_type, value)
        ]
        for key, value in made
    ]
    return len(found) == len(made) and {name for names in matched for name in names} == set(found)


def is_same_name(name, kind, key):
    """Whether the name of a field is the key of a map."""
    if pa.types.is_dictionary(kind):
        return is_same_name(name, kind.value_type, key)
    if pa.types.is_boolean(kind):
        return name == str(key).lower()
    if pa.types.is_integer(kind):
        return name == str(key)
    if pa.types.is_floating(kind) and math.isfinite(key):
        return float(name) == key
    if pa.types.is_nested(kind):
        return False
    return is_same(name, kind, key) or (pa.types.is_duration(kind) and name == str(key))


def check(found, made):
    for name, (kind, cells) in zip(NAMES, made, strict=False):
        is_column_nested = pa.types.is_nested(kind)
        # a file without rows has its columns
        assert len(found[name]) == len(cells)
        for cell, own in zip(found[name], cells, strict=True):
            assert is_same(cell, kind, own, is_column_nested), f"{kind}: {own!r} is read as {cell!r}"


many = settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@pytest.mark.slow
@many
@given(made=columns(), options=FILES)
def test_a_table_of_any_types_loads_equal(made, options):
    """Whatever Python can hold is loaded, not refused."""
    try:
        content = written(made, options)
    except pa.ArrowException:
        # Parquet 1.0 and 2.4 have no nanoseconds
        reject()
    check(read(content), made)


@pytest.mark.slow
@many
@given(made=columns(far=True), options=FILES)
def test_a_table_of_any_values_loads_equal_or_is_refused(made, options):
    """Instants, dates and durations of any number."""
    try:
        content = written(made, options)
    except (pa.ArrowException, OverflowError):
        # Parquet has no seconds: some are too many for milliseconds
        reject()
    try:
        found = read(content)
    except UnreadableFileError:
        event("refused")
        return
    check(found, made)


@settings(many, max_examples=20)
@given(made=st.lists(st.none() | st.uuids(), min_size=1, max_size=5), store_schema=st.booleans())
def test_uuids_load_in_canonical_form(made, store_schema):
    """As text, whether Arrow's schema or Parquet's own says what they are."""
    storage = pa.array([None if one is None else one.bytes for one in made], pa.binary(16))
    array = pa.ExtensionArray.from_storage(pa.uuid(), storage)
    content = as_parquet(pa.table({"a": array}), store_schema=store_schema)
    assert read(content)["a"] == [None if one is None else str(uuid.UUID(bytes=one.bytes)) for one in made]


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Paris"])
def test_old_instants_have_no_nanoseconds(zone):
    """INT96, which Spark, Hive and Impala write: the same instants, nested ones too."""
    micros = [-(10**15), -1, 0, 1_706_962_800_250_000, None]
    instants = pa.array(micros, pa.timestamp("us", tz=zone))
    made = [(instants.type, micros), (pa.list_(instants.type), [[one] for one in micros])]
    content = written(made, {"use_deprecated_int96_timestamps": True})
    # they have no zone in Parquet
    check(read(content), made)


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_nested_times_keep_their_fraction(unit):
    """Also one that begins with a zero, such as .017."""
    micros = [0, 1000, 9000, 10_000, 17_000, 99_000, 100_000, 999_000, DAY_SECONDS * 10**6 - 1000]
    kind = pa.time32("ms") if unit == "ms" else pa.time64(unit)
    made = [(pa.list_(kind), [[one * A_SECOND[unit] // 10**6] for one in micros])]
    check(read(written(made, {})), made)


@pytest.mark.parametrize("zone", ["Europe/Paris", "America/New_York", "Asia/Kolkata", "Africa/Monrovia"])
def test_nested_instants_stay_the_same_where_an_offset_has_seconds(zone):
    """As zones have them before they were made by law: New York was 4:56:02 behind UTC until 1883."""
    seconds = [-(10**10), -3_000_000_000, -2_000_000_000, -1_000_000_000, 0]
    made = [(pa.list_(pa.timestamp("us", zone)), [[one * 10**6] for one in seconds])]
    check(read(written(made, {})), made)


@pytest.mark.parametrize("row_group_size", [1, 2, 1000])
@pytest.mark.parametrize("kind", [pa.string(), pa.binary()], ids=str)
def test_nested_dictionaries_are_read_from_every_row_group(row_group_size, kind):
    """As pandas and Polars write categories in lists and structs."""
    words = pa.dictionary(pa.int32(), kind)
    cells = [b"x", b"", None, b"y", b"z"]
    cells = [None if one is None else one.decode() for one in cells] if kind == pa.string() else cells
    made = [
        (pa.list_(words), [[one] for one in cells]),
        (pa.struct([("a", words)]), [{"a": one} for one in cells]),
        (pa.map_(pa.string(), words), [[("k", one)] for one in cells]),
    ]
    check(read(written(made, {"row_group_size": row_group_size})), made)


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("inner", [pa.list_(pa.null()), pa.large_list(pa.null())], ids=str)
def test_nested_lists_of_nulls_keep_their_length(rows, inner):
    """A list of three nulls, below one of fixed size, has three nulls."""
    nulls = [None, None, None]
    made = [
        (pa.list_(pa.struct([("a", inner)]), 1), [[{"a": nulls}], *[None] * (rows - 1)]),
        (pa.list_(inner, 1), [[nulls]] * rows),
    ]
    check(read(written(made, {})), made)
