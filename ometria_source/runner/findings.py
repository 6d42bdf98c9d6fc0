"""What `--check` found out, check by check."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ometria_source.runner.show import show

OK, FAILED, UNKNOWN = "ok", "failed", "unknown"


@dataclass(frozen=True)
class Finding:
    """The result of one check. It holds nothing of anybody, so that it can be shown to anybody.

    Attributes:
        name: Of the check.
        status: `ok`, `failed` or `unknown`.
        finding: What was found.
        advice: What to do; only of a check that failed.
    """

    name: str
    status: str
    finding: str
    advice: str | None = None


class Findings:
    """All results of one check, printed as they come."""

    def __init__(self) -> None:
        self.all: list[Finding] = []

    def add(self, name: str, status: str, finding: str, advice: str | None = None) -> None:
        """Take in a result, and print it."""
        self.all.append(Finding(name, status, finding, advice))
        show("\n".join(self._lines(self.all[-1])))

    @property
    def exit_status(self) -> int:
        """1 where a check failed."""
        return 1 if any(finding.status == FAILED for finding in self.all) else 0

    def as_json(self, requests: int) -> dict[str, Any]:
        """For a file.

        Args:
            requests: How many requests were sent to Ometria.
        """
        return {"checks": [asdict(finding) for finding in self.all], "requests": requests}

    @staticmethod
    def _lines(finding: Finding) -> Iterator[str]:
        yield f"{finding.status} {finding.name}: {finding.finding}"
        if finding.advice:
            yield f"    {finding.advice}"
