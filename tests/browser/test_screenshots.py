"""The pictures of the documentation can be taken."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.screenshots import FOLDER, PICTURES, take

pytestmark = pytest.mark.gen_test(timeout=300)


def size(file: Path) -> tuple[int, int]:
    """Width and height of a PNG file."""
    head = file.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", head[16:])
    return width, height


async def test_every_picture_can_be_taken(tmp_path: Path) -> None:
    """All states are reached and pictured, and the documentation has a picture of each in the same size."""
    taken = await take(tmp_path)
    assert len(taken) == sum(len(picture.schemes) for picture in PICTURES)
    for picture in PICTURES:
        for file in picture.files(tmp_path):
            assert size(file) == picture.size
            assert size(FOLDER / file.name) == picture.size
