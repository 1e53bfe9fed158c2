"""Whether there is a Postfix to look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailusers_plugin.mailserver.postfix import Postfix


def test_a_postfix_without_a_configuration_is_not_set_up(tmp_path: Path) -> None:
    """Debian can install Postfix without a main.cf; then there is nothing that could read the accounts."""
    postfix = Postfix(str(tmp_path))
    assert not postfix.is_set_up()
    (tmp_path / "main.cf").touch()
    assert postfix.is_set_up()


def test_a_machine_without_postfix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the programs are missing nothing is run."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not Postfix().is_set_up()
