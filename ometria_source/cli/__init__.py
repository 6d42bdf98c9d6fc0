"""The program behind `pipelines/ometria_pipeline.py`."""

from __future__ import annotations

from collections.abc import Sequence

from ometria_source.cli.console import replace_closed_streams
from ometria_source.cli.signals import ends_at_once

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: Without the program's name; None: those of this process.

    Returns:
        The exit status: 0 all loaded, 1 a table or the load failed, 2 something is wrong before anything is read, 130
        and 143 interrupted, by Ctrl-C or SIGTERM.
    """
    replace_closed_streams()
    with ends_at_once():
        from ometria_source.cli.program import run_program  # noqa: PLC0415  takes seconds

        return run_program(arguments)
