"""A local folder of the export: links, odd names, and what the glob stands for. All files are invented."""

from __future__ import annotations

import glob
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ometria_source.export.folder import DANGLES, LEADS_OUT, LOOPS, NOT_TEXT, Glob, find_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bucket of three files in two folders."""
    bucket = tmp_path / "bucket"
    for name in ("a.csv", "one/b.csv", "one/two/c.csv"):
        path = bucket / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("id\n1\n")
    return bucket


def paths(folder: Path, pattern: str = "**") -> list[str]:
    return [found.relative_path for found in find_files(str(folder), Glob(pattern)) if found.problem is None]


def problems(folder: Path, pattern: str = "**") -> dict[str, tuple[str, bool]]:
    return {
        found.relative_path: (found.problem, found.is_match)
        for found in find_files(str(folder), Glob(pattern))
        if found.problem is not None
    }


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("**", {"a.csv", "one/b.csv", "one/two/c.csv"}),
        ("*", {"a.csv"}),
        ("*.csv", {"a.csv"}),
        ("**/*.csv", {"a.csv", "one/b.csv", "one/two/c.csv"}),
        ("one/**", {"one/b.csv", "one/two/c.csv"}),
        ("one/*", {"one/b.csv"}),
        ("*/*/*", {"one/two/c.csv"}),
        ("o[mn]e/?.csv", {"one/b.csv"}),
        ("**/two/*", {"one/two/c.csv"}),
        ("one/b.csv", {"one/b.csv"}),
        ("**.csv", {"a.csv"}),
        ("*.jsonl", set()),
    ],
)
def test_glob(folder, pattern, expected):
    """A pattern finds what Python's own `glob` finds."""
    assert set(paths(folder, pattern)) == expected
    found = glob.glob(str(folder / pattern), recursive=True)  # noqa: PTH207  what dlt lists by
    assert expected == {Path(path).relative_to(folder).as_posix() for path in found if Path(path).is_file()}


PARTS = st.sampled_from(["a", "b", "*", "?", "**", "[ab]", "a*"])
NAMES = st.sampled_from(["a", "b", "ab", "c"])


@given(st.lists(PARTS, min_size=1, max_size=4), st.lists(NAMES, min_size=1, max_size=4))
@settings(deadline=None)
def test_glob_prunes_no_match(pattern, path):
    """Where a path matches, each folder above it may hold a match, and it lies below the fixed part."""
    wanted = Glob("/".join(pattern))
    if wanted.matches("/".join(path)):
        assert all(wanted.may_hold("/".join(path[:end])) for end in range(1, len(path)))
        assert "/".join(path).startswith(wanted.folder)
        assert wanted.is_deep or len(path) == len(pattern)


def test_link_inside(folder):
    """A folder that a link leads to is visited once, by its own path."""
    (folder / "latest").symlink_to("one")
    (folder / "copy.csv").symlink_to("a.csv")
    assert paths(folder) == ["a.csv", "one/b.csv", "one/two/c.csv"]
    assert not problems(folder)


def test_link_that_alone_matches(folder):
    """A glob that stands for the path of a link, and not for the folder itself, finds the files behind it."""
    (folder / "latest").symlink_to("one")
    (folder / "current.csv").symlink_to("one/two/c.csv")
    assert paths(folder, "latest/*") == ["latest/b.csv"]
    assert paths(folder, "current.*") == ["current.csv"]


def test_links_to_their_own_folder(folder):
    """Two links to the folder that they are in end, and bring nothing twice."""
    (folder / "self").symlink_to(folder)
    (folder / "again").symlink_to(".")
    (folder / "one" / "up").symlink_to("..")
    assert paths(folder) == ["a.csv", "one/b.csv", "one/two/c.csv"]


@pytest.mark.parametrize("target", ["file", "folder"])
def test_link_out_of_the_bucket(folder, tmp_path, target):
    """A link that leads out of the bucket is not followed, and is named."""
    outside = tmp_path / "bucket-outside"
    outside.mkdir()
    (outside / "x.csv").write_text("id\n1\n")
    (folder / "link").symlink_to(outside if target == "folder" else outside / "x.csv")
    assert problems(folder) == {"link": (LEADS_OUT, True)}
    assert problems(folder, "one/*") == {"link": (LEADS_OUT, False)}
    assert "link/x.csv" not in paths(folder)


def test_links_that_lead_nowhere(folder):
    """A link to nothing and a link to itself are named."""
    (folder / "gone.csv").symlink_to("missing.csv")
    (folder / "circle").symlink_to("circle")
    assert problems(folder) == {"circle": (LOOPS, True), "gone.csv": (DANGLES, True)}


def test_bucket_behind_a_link(folder, tmp_path):
    """A bucket that is itself reached by a link is read as if it were not."""
    (tmp_path / "link").symlink_to(folder)
    (folder / "latest").symlink_to("one")
    assert paths(tmp_path / "link") == ["a.csv", "one/b.csv", "one/two/c.csv"]


def test_name_that_is_not_utf_8(folder):
    """Such a file is named, with its bytes escaped, and the others are found."""
    (folder / os.fsdecode(b"caf\xe9.csv")).write_text("id\n1\n")
    assert problems(folder) == {"caf\\xe9.csv": (NOT_TEXT, True)}
    assert paths(folder) == ["a.csv", "one/b.csv", "one/two/c.csv"]


def test_what_is_no_file(folder, monkeypatch):
    """A pipe and a socket, which would never end, are left alone."""
    os.mkfifo(folder / "pipe.csv")
    with socket.socket(socket.AF_UNIX) as server:
        # the path of a socket must be short
        monkeypatch.chdir(folder)
        server.bind("s.csv")
    assert paths(folder) == ["a.csv", "one/b.csv", "one/two/c.csv"]


def test_missing_folder(tmp_path):
    """There are no files in a folder that does not exist."""
    assert list(find_files(str(tmp_path / "none"), Glob("**"))) == []


def test_links_to_hidden_files(tmp_path):
    """What lies in a hidden folder is listed under the names of the links to it, as in a volume of Kubernetes."""
    bucket = tmp_path / "volume"
    (bucket / "..2026_11_30").mkdir(parents=True)
    (bucket / "..2026_11_30" / "a.csv").write_text("id\n1\n")
    (bucket / "..data").symlink_to("..2026_11_30")
    (bucket / "a.csv").symlink_to("..data/a.csv")
    (bucket / ".store").mkdir()
    (bucket / ".store" / "b.csv").write_text("id\n1\n")
    (bucket / "b").symlink_to(".store")
    assert paths(bucket) == ["a.csv", "b/b.csv"]


def test_links_in_a_linked_folder(folder):
    """They are followed as well, and named where they cannot be."""
    (folder / "store").mkdir()
    (folder / "store" / "x.csv").write_text("id\n1\n")
    (folder / "v3").mkdir()
    (folder / "v3" / "y.csv").symlink_to("../store/x.csv")
    (folder / "v3" / "z.csv").symlink_to("missing")
    (folder / "current").symlink_to("v3")
    assert paths(folder, "current/*.csv") == ["current/y.csv"]
    assert problems(folder, "current/*.csv") == {"current/z.csv": (DANGLES, True)}


def test_folders_that_link_to_each_other(tmp_path):
    """The listing ends, and finds each file once, whatever the number of circles."""
    names = [f"f{number}" for number in range(8)]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.csv").write_text("id\n1\n")
        for other in names:
            (tmp_path / name / other).symlink_to(tmp_path / other)
    assert sorted(paths(tmp_path)) == [f"{name}/a.csv" for name in names]
    assert len(paths(tmp_path, "f0/f1/f2/f3/*.csv")) == 1


@pytest.mark.parametrize("pattern", ["./*.csv", "one//*.csv", "./one/*.csv"])
def test_spellings_of_a_glob(folder, pattern):
    """A pattern may be spelled as Python's own `glob` takes it."""
    found = glob.glob(str(folder / pattern), recursive=True)  # noqa: PTH207  what dlt lists by
    expected = {os.path.relpath(os.path.normpath(path), folder) for path in found}
    assert set(paths(folder, pattern)) == expected
