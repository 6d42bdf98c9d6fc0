"""What the documents say is what the code does."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ometria_source import ometria_source
from ometria_source.cli.options import parse_options

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def settings() -> dict[str, object]:
    return {name: parameter.default for name, parameter in inspect.signature(ometria_source).parameters.items()}


def test_the_settings_in_the_readme_are_those_of_the_code():
    command = [sys.executable, str(ROOT / "docs" / "write_settings.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert all(f"| `{name}` |" in README for name in settings())


def test_the_config_file_lists_every_setting_that_is_no_secret_with_its_default():
    text = (ROOT / ".dlt" / "config.toml").read_text(encoding="utf-8")
    section = text.split("[sources.ometria]", 1)[1]
    lines = {line.split(" = ")[0].lstrip("# "): line for line in section.splitlines() if " = " in line}
    assert list(lines) == [name for name in settings() if name not in ("api_key", "credentials", "pii_salt")]
    uncommented = "\n".join(line.removeprefix("# ") for line in lines.values())
    values = tomllib.loads(uncommented)
    for name, default in settings().items():
        if name in lines and default is not None:
            assert values[name] == default, name
        elif name in lines:
            assert "default:" in lines[name], name


def test_the_readme_lists_every_flag(capsys):
    with pytest.raises(SystemExit):
        parse_options(["--help"])
    flags = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    table = README.split("| flag |", 1)[1].split("\n\n", 1)[0]
    assert set(re.findall(r"--[a-z-]+", table)) - {"--"} >= flags


def test_the_first_two_shell_blocks_are_the_two_commands():
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    assert "--demo" in blocks[0]
    assert "pytest" in blocks[1]


def test_every_link_to_a_file_leads_somewhere():
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")]:
        for target, _, anchor in re.findall(
            r"\]\((?!https?:)([^)#]*)(#([^)]+))?\)", document.read_text(encoding="utf-8")
        ):
            place = document.parent / target if target else document
            assert place.exists(), f"{document.name}: {target}"
            assert not anchor or anchor in anchors(place), f"{document.name}: {target}#{anchor}"


def anchors(document: Path) -> set[str]:
    """The names under which a document's headings can be linked to, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
