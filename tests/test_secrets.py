"""What must never be seen: the key, an e-mail address outside the data, a URL's query."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

EMAIL = re.compile(rb"[\w.+-]+@[\w-]+\.test")


def leaks(folder: Path, key: str) -> list[str]:
    """Files outside the load packages that hold the key or an address."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and not {"jobs", "new_jobs", "completed_jobs", "failed_jobs", "started_jobs"} & set(
            path.parts
        ):
            content = path.read_bytes()
            if key.encode() in content or EMAIL.search(content):
                found.append(str(path))
    return found


@pytest.mark.parametrize("fault", [None, "html", "object", 500, "reset", "truncated"])
def test_neither_key_nor_address_nor_query_is_printed_or_kept(ometria, export, run, caplog, tmp_path, fault):
    caplog.set_level("DEBUG", logger="ometria_source")
    if fault is not None:
        ometria.fail("/unsubscribes", fault, times=None)
        ometria.fail("/profiles", fault, times=1)
    result = run("--verbose")
    seen = result.out + result.err + caplog.text
    assert ometria.api_key not in seen
    assert not EMAIL.search(seen.encode())
    assert "updateSince=" not in seen
    assert "since=" not in seen
    assert not leaks(tmp_path / "dlt", ometria.api_key)


def test_nothing_follows_a_redirect(ometria, run):
    ometria.fail("/profiles", "redirect", times=None)
    result = run("--tables", "profiles")
    assert result.status == 1
    assert "redirect" in result.out
    assert {request.path for request in ometria.requests} == {"/profiles"}
