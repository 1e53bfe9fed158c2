"""How far something is, on a terminal and in a log."""

from __future__ import annotations

import io
import sys

import pytest

from mailusers_plugin.cli.progress import progress


class Terminal(io.StringIO):
    """A terminal that keeps what is written to it."""

    def isatty(self) -> bool:
        """Say that it is one."""
        return True


def test_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a bar with counts, and lines go beside it, with nothing in them taken for markup."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress("Adding", 3, "users") as bar:
        bar.say("Line 2 [red]: it is wrong")
        bar.show(2)
        bar.show(4, 4)
    text = terminal.getvalue()
    assert "Adding" in text
    assert "4 of 4 users" in text
    assert "/s" in text
    assert "Line 2 [red]: it is wrong" in text


def test_without_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is counted the part that is done is shown."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress("Checking", 1000) as bar:
        bar.show(500)
    assert "50%" in terminal.getvalue()


def test_in_a_log(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere there is a line now and then, with rate and remaining time, and no control characters."""
    clock = [100.0]
    monkeypatch.setattr("mailusers_plugin.cli.progress.time.monotonic", lambda: clock[0])
    with progress("Adding", 1000, "users") as bar, progress("Checking", 1000) as other:
        for second in range(1, 26):
            clock[0] += 1
            bar.show(second * 10)
            other.show(second * 10, 500)
        bar.say("Line 2: it is wrong")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "Adding: 100 of 1000 users, 10/s, 0:01:30 left",
        "Checking: 20%, 0:00:40 left",
        "Adding: 200 of 1000 users, 10/s, 0:01:20 left",
        "Checking: 40%, 0:00:30 left",
        "Line 2: it is wrong",
    ]
