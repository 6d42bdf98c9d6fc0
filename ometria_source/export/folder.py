"""Walk a local folder: each file once, with links resolved inside the folder, and pruned by a glob.

Python's `glob` follows links without looking where they lead: a link to its own folder is followed forty times, two of
them until the end of time, and one that leads out of the folder brings the files of another one.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import takewhile
from pathlib import Path

from ometria_source.export.formats import is_hidden

LEADS_OUT = "is a link that leads out of `bucket_url`, and is not followed"
DANGLES = "is a link to nothing"
LOOPS = "is a link that leads in a circle"
NOT_TEXT = "has a name that is not UTF-8: rename it"
DENIED = "cannot be read: access is denied"

_MAGIC = frozenset("*?[")


class Glob:
    """A pattern for paths relative to a bucket, in the syntax of shells; `**` as a whole part matches any folders.

    Args:
        pattern: Such as `**`, `*.csv`, `2026/**/*.parquet`.
    """

    def __init__(self, pattern: str) -> None:
        # `./*.csv` and `events//*.csv`, as `glob` of Python takes them
        self._parts = [part for part in pattern.split("/") if part not in ("", ".")] or ["**"]

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
        """Whether the pattern matches this path."""
        return len(self._parts) in self.states(path)

    def may_hold(self, folder: str) -> bool:
        """Whether a match may lie below this folder."""
        return any(state < len(self._parts) for state in self.states(folder))

    def states(self, path: str) -> frozenset[int]:
        """How many parts of the pattern may be used up by a path: what lies below it is matched by the others."""
        states = self._skipping({0})
        for part in path.split("/") if path else ():
            states = self._skipping(
                state if self._parts[state] == "**" else state + 1
                for state in states
                if state < len(self._parts) and (self._parts[state] == "**" or fnmatchcase(part, self._parts[state]))
            )
        return states

    def _skipping(self, states: Iterable[int]) -> frozenset[int]:
        """These states, and those that follow where `**` stands for no folder."""
        result = set()
        for state in states:
            following = takewhile(lambda number: self._parts[number] == "**", range(state, len(self._parts)))
            result |= {state, *(number + 1 for number in following)}
        return frozenset(result)


@dataclass(frozen=True)
class FoundFile:
    """A file of a folder, or a link that cannot be followed.

    Attributes:
        relative_path: Below the folder, with `/` between its parts; bytes that are no UTF-8 are escaped.
        path: To open it by.
        size: In bytes.
        modified: Seconds since 1970.
        problem: Why it cannot be read; None: nothing is known against it.
        is_match: Whether the glob matches it; of a file always.
    """

    relative_path: str
    path: str
    size: int = 0
    modified: float = 0.0
    problem: str | None = None
    is_match: bool = True


def find_files(root: str, glob: Glob) -> Iterator[FoundFile]:
    """Find the files that a glob matches.

    A file is listed under the path of a link only if its own path does not match, or is hidden.

    Args:
        root: The folder; there are no files in one that does not exist.
        glob: For paths relative to the folder.

    Yields:
        Files, folder by folder in the order of their names; then what links lead to.
    """
    walk = _Walk(os.path.realpath(root), glob)
    yield from walk.tree("", walk.root)
    # those behind a link are found while it is followed
    while walk.links:
        yield from walk.behind(walk.links.popleft())


class _Walk:
    def __init__(self, root: str, glob: Glob) -> None:
        self.root = root
        self.links: deque[str] = deque()
        self._glob = glob
        self._found: set[str] = set()
        self._visited = {(root, glob.states(""))}

    def tree(self, relative: str, folder: str) -> Iterator[FoundFile]:
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
                yield FoundFile(_shown(relative or Path(folder).name), folder, problem=DENIED)
                continue
            below = []
            for entry in sorted_entries:
                path = f"{relative}/{entry.name}" if relative else entry.name
                if entry.is_symlink():
                    self.links.append(path)
                elif entry.is_dir(follow_symlinks=False):
                    # what is hidden is not listed: a link from elsewhere may lead to it
                    if self._glob.may_hold(path) and not is_hidden(path):
                        below.append((path, entry.path))
                elif entry.is_file(follow_symlinks=False):
                    yield from self._file(path, entry.path)
            folders += reversed(below)

    def behind(self, link: str) -> Iterator[FoundFile]:
        """What a link leads to."""
        if is_hidden(link):
            return
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
            # the same folder under the same rest of the pattern gives the same files again, without end in a circle
            visit = (target, self._glob.states(link))
            if self._glob.may_hold(link) and visit not in self._visited:
                self._visited.add(visit)
                yield from self.tree(link, target)
        elif stat.S_ISREG(status.st_mode):
            yield from self._file(link, target)

    def _file(self, relative: str, path: str) -> Iterator[FoundFile]:
        if not self._glob.matches(relative) or path in self._found:
            return
        try:
            status = Path(path).stat()
        except FileNotFoundError:
            return
        if not is_hidden(relative):
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
