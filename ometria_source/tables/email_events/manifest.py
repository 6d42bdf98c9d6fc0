"""The manifest: which files were read already, as far back as a file may still appear late.

The cursor alone cannot tell a file that appears late, or that is replaced, from one that was read. So every file inside
the lag leaves a fingerprint; older ones are forgotten, and older files are left alone.

dlt stores its state with every load that changes it, so the fingerprints are kept as little else than themselves:
`{"494321": ["Qq0f3kX_aZs1-9Hdm…", …]}` are those of the files that were modified in one hour, counted from 1970, joined
without a separator. A hundred thousand files take less than a megabyte.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from dlt.common.storages.fsspec_filesystem import FileItemDict

# Characters of base64, 54 bits: of a million new files beside 100,000 known ones, one is taken for known once in
# 180,000 times.
FINGERPRINT_LENGTH = 9

# So many fingerprints are joined to one text at most: each that is added copies the text.
JOINED = 100

SECONDS_AN_HOUR = 3600


class Manifest:
    """The fingerprints of the files that were read.

    Args:
        state: The resource state to keep them in.
        cutoff: Files modified before this instant may be forgotten, an hour of them at a time.
    """

    def __init__(self, state: dict[str, Any], cutoff: datetime) -> None:
        self._hours: dict[str, list[str]] = state.setdefault("manifest", {})
        self._first_hour = 0
        self.forget_before(cutoff)
        self._known = set(self._fingerprints())

    def __contains__(self, item: FileItemDict) -> bool:
        return _fingerprint(item) in self._known

    def add(self, item: FileItemDict) -> None:
        """Note that a file was read to its end."""
        fingerprint = _fingerprint(item)
        hour = _hour(item["modification_date"])
        if hour < self._first_hour or fingerprint in self._known:
            return
        self._known.add(fingerprint)
        texts = self._hours.setdefault(str(hour), [""])
        if len(texts[-1]) == JOINED * FINGERPRINT_LENGTH:
            texts.append("")
        texts[-1] += fingerprint

    def forget_before(self, cutoff: datetime) -> None:
        """Forget files that no later run asks for.

        Args:
            cutoff: Such a run leaves files alone that were modified earlier.
        """
        if _hour(cutoff) <= self._first_hour:
            return
        self._first_hour = _hour(cutoff)
        for hour in [hour for hour in self._hours if int(hour) < self._first_hour]:
            del self._hours[hour]

    def _fingerprints(self) -> Iterator[str]:
        for texts in self._hours.values():
            for text in texts:
                for start in range(0, len(text), FINGERPRINT_LENGTH):
                    yield text[start : start + FINGERPRINT_LENGTH]


def _hour(instant: datetime) -> int:
    return int(instant.timestamp() // SECONDS_AN_HOUR)


def _fingerprint(item: FileItemDict) -> str:
    facts = (item["relative_path"], str(item["size_in_bytes"]), item["modification_date"].isoformat())
    return urlsafe_b64encode(hashlib.blake2b("\n".join(facts).encode()).digest())[:FINGERPRINT_LENGTH].decode()
