"""Write README's table of settings from the code: the arguments of `ometria_source`, their defaults and descriptions.

    python docs/write_settings.py [--check]

With `--check` nothing is written: it fails when the table is not what the code says.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from written import write_or_check

from ometria_source import ometria_source

PLACE = Path(__file__).parents[1] / "README.md"
BEGINNING = "<!-- settings: written by docs/write_settings.py -->\n"
END = "<!-- end of settings -->"

# Pages that say more, beside this script.
PAGES = {
    "privacy": "personal-data",
    "schema_contract": "schema-changes",
    "deletes": "history",
    "history": "history",
}


def _with_settings(text: str) -> str:
    before, rest = text.split(BEGINNING, 1)
    after = rest.split(END, 1)[1]
    return before + BEGINNING + "\n".join(_lines()) + "\n" + END + after


def _lines() -> Iterator[str]:
    descriptions = _descriptions(str(inspect.getdoc(ometria_source)))
    yield "| setting | default | meaning |"
    yield "|---|---|---|"
    for name, parameter in inspect.signature(ometria_source).parameters.items():
        default = "none" if parameter.default is None else f"`{parameter.default}`"
        more = f" See [docs/{PAGES[name]}.md](docs/{PAGES[name]}.md)." if name in PAGES else ""
        yield f"| `{name}` | {default} | {descriptions[name]}{more} |"


def _descriptions(docstring: str) -> dict[str, str]:
    """What the section `Args` of a Google-style docstring says of each argument."""
    section = docstring.split("\nArgs:\n", 1)[1].split("\n\n", 1)[0]
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


if __name__ == "__main__":
    sys.exit(write_or_check(__file__, str(__doc__), PLACE, _with_settings))
