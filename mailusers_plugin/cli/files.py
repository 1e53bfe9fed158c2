"""Files that commands write: the options that name one, and opening it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import click

from mailusers_plugin.errors import InvalidInputError, StorageError

F = TypeVar("F", bound=Callable[..., Any])


def file_options(*formats: str) -> Callable[[F], F]:
    """Add the options that say what kind of file is written, and where; the command gets ``form`` and ``output``.

    :param formats: the first one is written where none is named
    """

    def decorate(function: F) -> F:
        output = click.option(
            "--output",
            type=click.Path(path_type=Path, dir_okay=False),
            help="New file, readable by its owner; standard output without it.",
        )
        form = click.option(
            "--format",
            "form",
            type=click.Choice(list(formats)),
            default=formats[0],
            show_default=True,
            help="Of the file.",
        )
        return form(output(function))

    return decorate


@contextmanager
def written(path: Path | None) -> Iterator[BinaryIO]:
    """Give the file to write to; a new one that could not be written to its end is taken away again.

    :raises InvalidInputError: if it is there already, or cannot be made
    :raises StorageError: if it cannot be written
    """
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        file = open(path, "xb", opener=_private)  # noqa: SIM115 (closed below)
    except FileExistsError:
        raise InvalidInputError(f"{path} is there already, and is not written over.") from None
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be made: {error.strerror}.") from None
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise StorageError(f"{path} cannot be written: {error.strerror}.") from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
