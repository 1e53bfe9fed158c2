"""Small file systems of their own, for filling them up and for making them read-only under a running server."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec

P = ParamSpec("P")


def own_mounts(test: Callable[P, None]) -> Callable[P, None]:
    """Let a test mount: not as root, it is run once more as the root of a user and mount namespace of its own."""

    @functools.wraps(test)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        if os.geteuid() == 0:
            test(*args, **kwargs)
            return
        node = os.environ["PYTEST_CURRENT_TEST"].rpartition(" (")[0]
        inside = (
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
            sys.executable,
            "-m",
            "pytest",
            "-q",
            node,
        )
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        done = subprocess.run(inside, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout

    return wrapper


@contextmanager
def mounted(folder: Path, *, mebibytes: int) -> Iterator[None]:
    """Put a file system of this size, in memory, at a folder, which is made, until the end of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={mebibytes}m,mode=0755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Leave no byte free on a file system until the end of the block."""
    filler = folder / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            size = 64 * 1024
            while size:
                try:
                    file.write(b"x" * size)
                except OSError:
                    size //= 2
        yield
    finally:
        filler.unlink()


@contextmanager
def image(file: Path, folder: Path) -> Iterator[None]:
    """Put an ext4 file system that lies in a file at a folder until the end of the block; as root only."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-o", "loop", str(file), str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def make_image(file: Path, content: Path, *, mebibytes: int) -> None:
    """Make such a file from a folder."""
    with file.open("wb") as made:
        made.truncate(mebibytes * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-d", str(content), str(file)], check=True)


def break_off(folder: Path) -> None:
    """Let the kernel take a file system for damaged: from now on it can only be read, whoever has files open."""
    subprocess.run(["mount", "-o", "remount,abort", str(folder)], check=True)


def repaired(file: Path, target: Path) -> None:
    """Make a whole file system of one that was broken off, as another device."""
    shutil.copyfile(file, target)
    # 1: what was wrong is mended.
    assert subprocess.run(["e2fsck", "-fy", str(target)], capture_output=True, check=False).returncode in (
        0,
        1,
    )
