"""What is generated in docs/ is fresh, and its settings are what is said."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from mailusers_plugin.settings import CONFIG_VARIABLE, ENVIRONMENT_PREFIX, Settings
from tests.generate_docs import DOCS, GENERATED, renew
from tests.test_docs import code


@pytest.mark.parametrize("name", GENERATED)
def test_generated_parts_are_fresh(name: str) -> None:
    """Settings and commands are described as they are; ``python -m tests.generate_docs`` mends it."""
    assert (DOCS / name).read_text(encoding="utf-8") == renew(name)


def test_the_settings_file_and_the_environment_in_the_documentation_say_the_same(tmp_path: Path) -> None:
    """Both examples load, change something each, and agree."""
    text = (DOCS / "settings.md").read_text(encoding="utf-8")
    (toml,), (shell,) = code(text, "toml"), code(text, "sh")
    file = tmp_path / "mailusers.toml"
    file.write_text(toml, encoding="utf-8")
    environment = dict(line.split("=", 1) for line in shlex.split(shell))
    by_file = Settings.load(environ={CONFIG_VARIABLE: str(file)})
    assert by_file == Settings.load(environ=environment) == Settings.load(environ={}, file=file)
    assert len(environment) == len(toml.splitlines())
    assert all(name.startswith(ENVIRONMENT_PREFIX) for name in environment)
