"""The lines of a description that go into `.dlt/config.toml`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from ometria_source.tables.event_hints import KeyAdvice

# What TOML takes as a key without quotes.
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def config_lines(file_format: str | None, keys: Sequence[KeyAdvice], types: Mapping[str, str]) -> list[str]:
    """The settings that a sample suggests, as TOML.

    Args:
        file_format: None where every file tells its own.
        keys: The likeliest first; only that one is written, and as a comment where it is not sure.
        types: Data type by column name.

    Returns:
        Lines of a TOML document.
    """
    lines = ["[sources.ometria]"]
    if file_format is not None:
        lines.append(f"file_format = {_quoted(file_format)}")
    if keys:
        best = keys[0]
        setting = f"email_events_key = [{', '.join(map(_quoted, best.columns))}]"
        lines.append(setting if best.is_sure else f"# {setting}")
    if types:
        pairs = ", ".join(f"{_key(name)} = {_quoted(kind)}" for name, kind in types.items())
        lines.append(f"email_events_columns = {{ {pairs} }}")
    return lines


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _quoted(name)


def _quoted(text: str) -> str:
    # what JSON escapes, TOML's basic strings escape alike, but for DEL, which only TOML does
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
