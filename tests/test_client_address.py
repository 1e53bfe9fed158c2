"""Where a request comes from: proxies that are believed, forged headers, odd addresses."""

from __future__ import annotations

import pytest

from mailusers_plugin.client_address import UNKNOWN, Proxies, network_of, wide_network_of

PROXY = "127.0.0.1"
OUTER = "10.1.2.3"
CLIENT = "198.51.100.7"
FORGED = "203.0.113.66"
TRUSTED = (PROXY, "10.0.0.0/8", "2001:db8:ffff::/48")


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        # Nobody believes a peer that is no proxy, whatever it claims.
        (CLIENT, "", CLIENT),
        (CLIENT, FORGED, CLIENT),
        (CLIENT, f"{FORGED}, {PROXY}", CLIENT),
        # The last entry is the proxy's own, those before it are the client's to choose.
        (PROXY, CLIENT, CLIENT),
        (PROXY, f"{FORGED}, {CLIENT}", CLIENT),
        (PROXY, f"{FORGED},{FORGED},{CLIENT}", CLIENT),
        # Two proxies, one behind the other.
        (PROXY, f"{FORGED}, {CLIENT}, {OUTER}", CLIENT),
        (PROXY, f"{PROXY}, {FORGED}, {CLIENT}, {OUTER}, {OUTER}", CLIENT),
        # A client that is a proxy's own machine.
        (PROXY, OUTER, OUTER),
        (PROXY, f"{PROXY}, {OUTER}", PROXY),
        # A proxy that said nothing, or nothing that is an address: it is as far as anybody knows.
        (PROXY, "", PROXY),
        (PROXY, "unknown", PROXY),
        (PROXY, f"{FORGED}, unknown", PROXY),
        (PROXY, f"{FORGED}, ", PROXY),
        (PROXY, f"{FORGED}, unknown, {OUTER}", OUTER),
        (PROXY, f"{FORGED}, 999.1.1.1", PROXY),
        (PROXY, f"{FORGED}, 1", PROXY),
        (PROXY, "٠.٠.٠.٠", PROXY),
        # What proxies write besides the address.
        (PROXY, f"{CLIENT}:51234", CLIENT),
        (PROXY, "[2001:db8::7]:443", "2001:db8::7"),
        (PROXY, "2001:DB8:0::07", "2001:db8::7"),
        (PROXY, f"::ffff:{CLIENT}", CLIENT),
        ("::ffff:127.0.0.1", CLIENT, CLIENT),
        ("2001:db8:ffff::1", CLIENT, CLIENT),
        # Text behind a percent sign would be anything at all.
        (PROXY, "fe80::1%eth0", "fe80::1"),
        (PROXY, "fe80::1%\nFailed login attempt from ip 203.0.113.66", "fe80::1"),
        # A Unix socket and no address.
        ("", CLIENT, UNKNOWN),
        ("nonsense", CLIENT, UNKNOWN),
        ("0.0.0.0", CLIENT, "0.0.0.0"),  # noqa: S104
    ],
)
def test_client(peer: str, forwarded: str, client: str) -> None:
    """The client is the first hop from the end that is no proxy, in its canonical form."""
    proxies = Proxies(TRUSTED)
    assert proxies.client(peer, forwarded) == client
    # Who asks once more, with what was found, is told the same.
    if client != UNKNOWN:
        assert proxies.client(client, forwarded) == client


def test_nobody_is_believed_by_default() -> None:
    """Without a setting every header is the sender's own invention."""
    assert Proxies().client(PROXY, FORGED) == PROXY
    assert not Proxies().trusts(PROXY)


def test_an_endless_header_costs_little() -> None:
    """Of a header of 64 KB with thousands of entries only the end is looked at."""
    forged = ", ".join([FORGED] * 5000)
    assert Proxies(TRUSTED).client(PROXY, f"{forged}, {CLIENT}") == CLIENT


@pytest.mark.parametrize(
    ("address", "network", "wide"),
    [
        ("198.51.100.7", "198.51.100.7", ""),
        ("::ffff:198.51.100.7", "198.51.100.7", ""),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64", "2001:db8:1::/48"),
        (UNKNOWN, UNKNOWN, ""),
    ],
)
def test_network(address: str, network: str, wide: str) -> None:
    """An IPv4 address stands for itself, one of IPv6 for the 2^64 that its owner has at the least."""
    assert (network_of(address), wide_network_of(address)) == (network, wide)
