"""Which address of a file was seen before, and where."""

from __future__ import annotations

from mailusers_plugin.store.seen_lines import SeenLines


def test_first_line() -> None:
    """Each address is known with the first line it stands on, however often it is asked for."""
    with SeenLines() as seen:
        assert [seen.first_line("anna@example.com", line) for line in (3, 7, 3)] == [3, 3, 3]
        assert seen.first_line("Anna@example.com", 8) == 8
        assert seen.first_line("\ud800", 9) == 9


def test_many() -> None:
    """Of many addresses every one is told from the others."""
    with SeenLines() as seen:
        for line in range(1, 20_001):
            assert seen.first_line(f"user{line}@example.com", line) == line
        assert seen.first_line("user12345@example.com", 99_999) == 12_345
