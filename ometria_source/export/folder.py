"""Walk a local folder: each file once, with links resolved inside the folder, and pruned by a glob.

Python's `glob` follows links without looking where they lead: a link to its own folder is followed forty times, two of
them until the end of time, and one that leads out of the folder brings the files of another one.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

LEADS_OUT = "is a link that leads out of `bucket_url`, and is not followed"
DANGLES = "is a link to nothing"
LOOPS = "is a link that leads in a circle"
NOT_TEXT = "has a name that is not UTF-8: rename it"
DENIED = "cannot be read: access is denied"

_MAGIC = frozenset("*?[")


class Glob:
    """A pattern for paths relative to a bucket, in the syntax of shells; `**` as a whole part stands for any folders.

    Args:
        pattern: Such as `**`, `*.csv`, `2026/**/*.parquet`.
    """

    def __init__(self, pattern: str) -> None:
        self._parts = pattern.strip("/").split("/")

    @property
    def folder(self) -> str:
        """The folder that every match lies in, relative to the bucket; empty: the bucket itself."""
        fixed = 0
        while fixed < len(self._parts) - 1 and not _MAGIC & set(self._parts[fixed]):
            fixed += 1
        return "/".join(self._parts[:fixed])

    @property
    def is_deep(self) -> bool:
        """Whether a match may lie in any folder below `folder`."""
        return "**" in self._parts

    def matches(self, path: str) -> bool:
        """Whether the pattern stands for this path."""
        return _match(path.split("/"), self._parts)

    def may_hold(self, folder: str) -> bool:
        """Whether a match may lie below this folder."""
        parts = folder.split("/")
        for part, pattern in zip(parts, self._parts, strict=False):
            if pattern == "**":
                return True
            if not fnmatchcase(part, pattern):
                return False
        return len(parts) < len(self._parts)


def _match(parts: list[str], patterns: list[str]) -> bool:
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return len(patterns) == 1 or any(_match(parts[start:], patterns[1:]) for start in range(len(parts)))
    return bool(parts) and fnmatchcase(parts[0], patterns[0]) and _match(parts[1:], patterns[1:])


@dataclass(frozen=True)
class FoundFile:
    """A file of a folder, or a link that cannot be followed.

    Attributes:
        relative_path: Below the folder, with `/` between its parts; bytes that are no UTF-8 are escaped.
        path: To open it by.
        size: In bytes.
        modified: Seconds since 1970.
        problem: Why it cannot be read; None: nothing is known against it.
        is_match: Whether the glob stands for it; of a file always.
    """

    relative_path: str
    path: str
    size: int = 0
    modified: float = 0.0
    problem: str | None = None
    is_match: bool = True


def find_files(root: str, glob: Glob) -> Iterator[FoundFile]:
    """Find the files that a glob stands for.

    A folder that links lead to is visited once, by its own path. By the path of a link come only the files whose own
    path does not match.

    Args:
        root: The folder; there are no files in one that does not exist.
        glob: For paths relative to the folder.

    Yields:
        Files, folder by folder in the order of their names; then what links lead to.
    """
    walk = _Walk(os.path.realpath(root), glob)
    yield from walk.tree("", walk.root)
    for link in sorted(walk.links):
        yield from walk.behind(link)


class _Walk:
    def __init__(self, root: str, glob: Glob) -> None:
        self.root = root
        self.links: list[str] = []
        self._glob = glob
        self._found: set[str] = set()

    def tree(self, relative: str, folder: str, *, notes_links: bool = True) -> Iterator[FoundFile]:
        """The files of a folder and of those in it, under `relative`; links are put aside."""
        folders = [(relative, folder)]
        while folders:
            relative, folder = folders.pop()
            try:
                with os.scandir(folder) as entries:
                    sorted_entries = sorted(entries, key=lambda entry: entry.name)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError:
                yield FoundFile(_shown(relative or "."), folder, problem=DENIED)
                continue
            below = []
            for entry in sorted_entries:
                path = f"{relative}/{entry.name}" if relative else entry.name
                if entry.is_symlink():
                    if notes_links:
                        self.links.append(path)
                elif entry.is_dir(follow_symlinks=False):
                    if self._glob.may_hold(path):
                        below.append((path, entry.path))
                elif entry.is_file(follow_symlinks=False):
                    yield from self._file(path, entry.path)
            folders += reversed(below)

    def behind(self, link: str) -> Iterator[FoundFile]:
        """What a link leads to."""
        path = str(Path(self.root, link))
        target = os.path.realpath(path)
        try:
            status = Path(path).stat()
        except OSError as error:
            problem = {errno.ELOOP: LOOPS, errno.ENOENT: DANGLES}.get(error.errno or 0, DENIED)
            yield self._problem(link, path, problem)
            return
        if os.path.commonpath([self.root, target]) != self.root:
            yield self._problem(link, path, LEADS_OUT)
        elif stat.S_ISDIR(status.st_mode):
            if self._glob.may_hold(link):
                yield from self.tree(link, target, notes_links=False)
        elif stat.S_ISREG(status.st_mode):
            yield from self._file(link, target)

    def _file(self, relative: str, path: str) -> Iterator[FoundFile]:
        if not self._glob.matches(relative) or path in self._found:
            return
        try:
            status = Path(path).stat()
        except FileNotFoundError:
            return
        self._found.add(path)
        problem = None if _is_text(relative) else NOT_TEXT
        yield FoundFile(_shown(relative), path, status.st_size, status.st_mtime, problem)

    def _problem(self, relative: str, path: str, problem: str) -> FoundFile:
        return FoundFile(_shown(relative), path, problem=problem, is_match=self._glob.matches(relative))


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")
