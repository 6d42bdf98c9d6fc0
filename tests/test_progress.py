"""What a run shows of itself while it lasts: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
from threading import Event

import pytest
from machine import PROGRAM
from warm_python import warm_python

from ometria_source.loading import progress
from ometria_source.simulator import Behaviour

LINE_EVERY = progress.LINE_EVERY

# `run` is a fixture here
run_module = sys.modules["ometria_source.loading.run"]


def on_a_terminal(*flags: str, **settings: str) -> tuple[int, str, str]:
    """Run the program with a terminal for its standard error; status, what is on the terminal, standard output."""
    ours, theirs = pty.openpty()
    command = [*warm_python(), str(PROGRAM), *flags]
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "160"} | settings
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        # a terminal whose other side was closed is at its end, or fails, as the system likes
        while piece := _read(ours):
            shown += piece
        out = process.stdout.read()
    os.close(ours)
    return process.returncode, shown.decode(), out.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def test_a_terminal_shows_a_bar_for_each_table(account, ometria, export):
    status, shown, out = on_a_terminal()
    assert status == 0, shown
    assert re.search(r"profiles .*\d requests, 300 rows", shown)
    assert re.search(rf"member_lists .*{len(account.lists)}/{len(account.lists)} lists", shown)
    files = len(list(export.rglob("*.csv.gz")))
    assert re.search(rf"email_events .*{files}/{files} files", shown)
    assert "\x1b[" not in out
    assert "profiles" in out


def colours(shown: str) -> set[str]:
    """The codes for colours among all that a terminal was sent."""
    codes = {code for found in re.findall(r"\x1b\[([0-9;]*)m", shown) for code in found.split(";")}
    return codes & {"31", "32", "33", "34", "35", "36", "38"}


def test_no_color_is_heeded(ometria):
    _, shown, _ = on_a_terminal("--tables", "lists")
    assert colours(shown)
    _, shown, _ = on_a_terminal("--tables", "lists", NO_COLOR="1")
    assert "lists" in shown
    assert not colours(shown)


class Log(io.StringIO):
    """A file that tells when something was written."""

    def __init__(self) -> None:
        super().__init__()
        self.told = Event()

    def flush(self) -> None:
        self.told.set()


def test_elsewhere_a_line_comes_every_now_and_then(account, ometria, load, monkeypatch):
    assert LINE_EVERY == 30
    log = Log()
    monkeypatch.setattr(progress, "LINE_EVERY", 0.01)
    monkeypatch.setattr(run_module, "display", lambda _: progress.Lines(log))
    # what follows the second request has to wait for a line that comes after it
    ometria.after_request(2, lambda: (log.told.clear(), log.told.wait(10)))
    load("--tables", "profiles")
    line = r"^profiles: (\d+ requests, )?([\d,]+ rows, [\d,]+ a second, )?\d+ s$"
    assert re.search(line, log.getvalue(), re.MULTILINE), log.getvalue()


def test_a_short_run_says_nothing_besides_its_summary(ometria, export, run):
    assert run().err == ""


@pytest.mark.slow
@pytest.mark.parametrize("where", ["terminal", "elsewhere"])
def test_ctrl_c_ends_with_a_sentence(ometria, workspace, where):
    ometria.behaviour = Behaviour(latency=0.2)
    ours, theirs = pty.openpty()
    stream = theirs if where == "terminal" else subprocess.PIPE
    with subprocess.Popen([*warm_python(), str(PROGRAM)], stdout=subprocess.PIPE, stderr=stream) as process:
        os.close(theirs)
        ometria.after_request(2, lambda: process.send_signal(signal.SIGINT))
        shown = process.stderr.read() if process.stderr else b""
        while where == "terminal" and (piece := _read(ours)):
            shown += piece
    os.close(ours)
    assert process.returncode == 130
    assert "Interrupted. What was loaded before stays; the next run reads the rest again." in shown.decode()
    assert "Traceback" not in shown.decode()
