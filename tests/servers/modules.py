"""Modules of a panel made for one test: a file and what tells the panel of it, without building a wheel."""

from __future__ import annotations

from pathlib import Path

HEAD = """
import os, sys, threading
from pathlib import Path
from mailusers_plugin import hookimpl

NOTES = Path(os.environ["NOTES"])

def note(event):
    with NOTES.open("a") as notes:
        notes.write(event.email + "\\n")

"""
"""What each begins with: ``note`` writes down of whom it was told, to the file of the variable ``NOTES``."""


def install(folder: Path, code: str) -> None:
    """Make a module known to a panel that has the folder on its path."""
    metadata = folder / "bad_module-1.dist-info"
    metadata.mkdir(parents=True)
    (folder / "bad_module.py").write_text(HEAD + code)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: bad-module\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[mailusers]\nbad = bad_module\n")
