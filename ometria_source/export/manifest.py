"""The manifest: which files were read already, as far back as a file may still appear late.

The cursor alone cannot tell a file that appears late, or that is replaced, from one that was read. So every file inside
the lag leaves a fingerprint; older ones are forgotten, and older files are left alone.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from dlt.common.storages.fsspec_filesystem import FileItemDict

# 64 bits: with 100,000 files inside the lag, a new file is taken for a known one once in 10^14.
FINGERPRINT_BYTES = 8


class Manifest:
    """The fingerprints of the files that were read.

    Args:
        state: The resource state to keep them in.
        cutoff: Files modified before this instant are forgotten.
    """

    def __init__(self, state: dict[str, Any], cutoff: datetime) -> None:
        self._files: dict[str, int] = state.setdefault("files", {})
        if state.get("files_since") != cutoff.isoformat():
            state["files_since"] = cutoff.isoformat()
            for fingerprint, modified_at in list(self._files.items()):
                if modified_at < int(cutoff.timestamp()):
                    del self._files[fingerprint]

    def __contains__(self, item: FileItemDict) -> bool:
        return _fingerprint(item) in self._files

    def add(self, item: FileItemDict) -> None:
        """Note that a file was read to its end."""
        self._files[_fingerprint(item)] = int(item["modification_date"].timestamp())


def _fingerprint(item: FileItemDict) -> str:
    facts = (item["relative_path"], str(item["size_in_bytes"]), item["modification_date"].isoformat())
    return hashlib.blake2b("\n".join(facts).encode(), digest_size=FINGERPRINT_BYTES).hexdigest()
