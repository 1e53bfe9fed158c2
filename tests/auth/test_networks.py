"""From where an API token may be used."""

from __future__ import annotations

import pytest

from mailusers_plugin.auth.networks import MAX_NETWORKS, is_inside, parse_address, parse_networks
from mailusers_plugin.errors import InvalidInputError


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ([], ()),
        (["", "  "], ()),
        (["192.0.2.1"], ("192.0.2.1/32",)),
        ([" 192.0.2.0/24 ", "192.0.2.0/24"], ("192.0.2.0/24",)),
        (["192.0.2.0/255.255.255.0"], ("192.0.2.0/24",)),
        (["2001:DB8::/32", "::1"], ("2001:db8::/32", "::1/128")),
        (["::ffff:192.0.2.1"], ("192.0.2.1/32",)),
        (["::ffff:192.0.2.0/120"], ("192.0.2.0/24",)),
        (["::ffff:0:0/96"], ("0.0.0.0/0",)),
        (["::/0", "0.0.0.0/0"], ("::/0", "0.0.0.0/0")),
    ],
)
def test_networks(given: list[str], stored: tuple[str, ...]) -> None:
    """Networks and addresses are stored in one way, each once."""
    assert parse_networks(given) == stored


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "192.0.2.1/24",
        "192.0.2.0/33",
        "300.0.0.1",
        "192.0.2",
        "2001:db8::1/32",
        "10.0.0.1 10.0.0.2",
        "\n\x1b[",
    ],
)
def test_no_network(text: str) -> None:
    """What is no network, or has bits behind its mask, is named, with what one looks like."""
    with pytest.raises(InvalidInputError, match=r"is not a network\. Write it as 192\.0\.2\.0/24") as caught:
        parse_networks(["192.0.2.7", f"a{text}" if text.startswith("\n") else text])
    assert caught.value.message.isprintable()


def test_too_many() -> None:
    """A token has a few networks, for they are looked through with each request."""
    with pytest.raises(InvalidInputError, match=f"at most {MAX_NETWORKS}"):
        parse_networks(f"192.0.2.{number}" for number in range(MAX_NETWORKS + 1))


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("192.0.2.1", True),
        ("192.0.2.255", True),
        ("192.0.3.1", False),
        ("::ffff:192.0.2.9", True),
        ("::ffff:c000:209", True),
        ("::ffff:192.0.3.9", False),
        ("2001:db8:1::1", True),
        ("2001:db9::1", False),
        ("fe80::1%eth0", True),
        ("127.0.0.1", False),
        ("::1", False),
        ("", False),
        ("/run/panel.sock", False),
        ("192.0.2.1, 127.0.0.1", False),
    ],
)
def test_inside(address: str, inside: bool) -> None:
    """An address is in its network however it is written, and what is no address is nowhere."""
    networks = parse_networks(["192.0.2.0/24", "2001:db8::/32", "fe80::/10"])
    assert is_inside(parse_address(address), networks) is inside
