"""Write README's table of settings from the code: the arguments of `ometria_source`, their defaults and descriptions.

    python docs/write_settings.py [--check]

With `--check` nothing is written: it fails when the table is not what the code says.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from ometria_source import ometria_source

PLACE = Path(__file__).parents[1] / "README.md"
BEGINNING = "<!-- settings: written by docs/write_settings.py -->\n"
END = "<!-- end of settings -->"

# Where README says more.
SECTIONS = {
    "privacy": "personal-data",
    "schema_contract": "when-the-schema-changes",
    "deletes": "history",
    "history": "history",
}


def main() -> int:
    """Write or check; the exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--check", action="store_true")
    text = PLACE.read_text(encoding="utf-8")
    before, rest = text.split(BEGINNING, 1)
    after = rest.split(END, 1)[1]
    new = before + BEGINNING + "\n".join(_lines()) + "\n" + END + after
    if not parser.parse_args().check:
        PLACE.write_text(new, encoding="utf-8")
    elif new != text:
        print(f"The settings in {PLACE} are not what the code says: run {Path(__file__).name}.", file=sys.stderr)
        return 1
    return 0


def _lines() -> Iterator[str]:
    descriptions = _descriptions(str(inspect.getdoc(ometria_source)))
    yield "| setting | default | meaning |"
    yield "|---|---|---|"
    for name, parameter in inspect.signature(ometria_source).parameters.items():
        default = "none" if parameter.default is None else f"`{parameter.default}`"
        more = f" [See below](#{SECTIONS[name]})." if name in SECTIONS else ""
        yield f"| `{name}` | {default} | {descriptions[name]}{more} |"


def _descriptions(docstring: str) -> dict[str, str]:
    """What the section `Args` of a Google-style docstring says of each argument."""
    section = docstring.split("\nArgs:\n", 1)[1].split("\n\n", 1)[0]
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


if __name__ == "__main__":
    sys.exit(main())
