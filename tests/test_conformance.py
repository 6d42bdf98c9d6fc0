"""The comparison with public conformance suites finds what it is there for; CI runs it on the suites themselves."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[1] / "tools" / "conformance.py"


@pytest.fixture(scope="module")
def conformance():
    spec = importlib.util.spec_from_file_location("conformance", TOOL)
    module = sys.modules["conformance"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["conformance"]


@pytest.fixture
def faults(conformance, tmp_path):
    """What is wrong with these files as a suite."""

    def compare(files, recorded=None, **fields):
        folder = tmp_path / "suite" / "data"
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        suite = conformance.Suite("suite", "1", "npm", "data/*", recorded or len(files), **fields)
        return list(conformance._compare(suite, folder.parent))

    return compare


def test_equal_files_are_no_fault(faults):
    """Nor is one that the other reader refuses, too."""
    assert faults({"a.csv": b'a,b\n"1\n2",\n', "b.tsv": b"a\n\n1\n", "ragged.csv": b"a,b\n1\n"}) == []


def test_fewer_files_than_recorded_are_a_fault(faults):
    (fault,) = faults({"a.csv": b"a\n1\n"}, recorded=2)
    assert "1 files, but 2 are recorded" in fault


def test_a_refusal_needs_a_recorded_reason(faults):
    (fault,) = faults({"nul.csv": b"a,b\n\0,1\n", "known.csv": b"a,b\n\0,1\n"}, refused={"known*": "a NUL byte"})
    assert "refused for no recorded reason: nul.csv, line 2" in fault


@pytest.mark.parametrize(
    ("problem", "change"),
    [("row 1", lambda cell: cell + " "), ("1 rows, but 2", lambda cell: f"{cell}\n2"), ("refuses it", str)],
)
def test_another_value_is_a_fault(faults, conformance, monkeypatch, problem, change):
    """Or another number of rows, or a file that the other reader refuses."""
    other = conformance._read_csv

    def read(path):
        if problem == "refuses it":
            raise ValueError(problem)
        path.write_text(change(path.read_text()))
        return other(path)

    monkeypatch.setattr(conformance, "_read_csv", read)
    (fault,) = faults({"a.csv": b"a\n1"})
    assert problem in fault


def test_a_traceback_is_a_fault(faults, conformance, monkeypatch):
    monkeypatch.setattr(conformance, "read_tables", lambda *_: 1 / 0)
    (fault,) = faults({"a.csv": b"a\n1\n"})
    assert "ZeroDivisionError" in fault


def test_json_keeps_every_digit(conformance):
    """An integer may come as its digits, never as a float."""
    huge = 123_123_123_123_123_123_123
    assert conformance._is_same([huge], [huge])
    assert conformance._is_same([str(huge)], [huge])
    assert not conformance._is_same([float(huge)], [huge])
    assert not conformance._is_same([1.0], [1])
    assert not conformance._is_same({"a": True}, {"a": 1})
