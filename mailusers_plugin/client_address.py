"""Where a request comes from: the client's address behind proxies that are believed, and the network it is in.

What stands in ``X-Forwarded-For`` is the client's to choose, but for the entries that proxies have appended. So it is
read from its end, and only as far as those who wrote it are configured as proxies: the client is the first address
that is none of them. ``X-Real-Ip`` and ``Forwarded`` are never read; no proxy removes all of those by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address

UNKNOWN: Final = "unknown"
"""Stands for an address or a network that is none."""
_IPV6_BITS: Final = 64
"""What one customer has at the least (RFC 6177, section 2; RFC 4291 section 2.5.4): each of its 2^64 addresses costs
nothing."""
_WIDE_BITS: Final = 48
"""What one site had in RFC 3177, and what tunnel brokers and many hosters still give to anybody."""
_MOST_SAID: Final = 100


def parse(text: str) -> Address | None:
    """Return an address, ``None`` where there is none; one of IPv4 that came over IPv6 as what it is.

    :param text: as a proxy or the system wrote it, perhaps in brackets or with a port
    """
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        # Behind the percent sign Python takes any text, a line break as well.
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


@lru_cache(1024)
def network_of(address: str) -> str:
    """Return the network whose failures are counted together: an IPv4 address itself, of IPv6 its /64.

    :param address: as :meth:`Proxies.client` returns it
    """
    return _network(address, _IPV6_BITS)


@lru_cache(1024)
def wide_network_of(address: str) -> str:
    """Return the /48 of an IPv6 address, from which many networks can be had; empty for IPv4."""
    return _network(address, _WIDE_BITS) if isinstance(parse(address), IPv6Address) else ""


def _network(address: str, bits: int) -> str:
    found = parse(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((found, bits), strict=False))
    return UNKNOWN if found is None else str(found)


def parse_networks(texts: Iterable[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    """Return networks, an address being one as well.

    :raises ValueError: naming what is neither
    """
    return tuple(ip_network(text.strip()) for text in texts)


class Proxies:
    """The proxies that are believed."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        """Take their addresses.

        :param networks: addresses or networks; none for believing nobody
        :raises ValueError: if one is neither
        """
        self._networks = parse_networks(networks)
        self._said: set[str] = set()

    def trusts(self, peer: str) -> bool:
        """Tell whether an address is that of a proxy that is believed."""
        if not self._networks:
            return False
        found = parse(peer)
        return found is not None and self._includes(found)

    def is_news(self, peer: str) -> bool:
        """Tell whether a peer is asked about for the first time, so that something is said of it once only."""
        if peer in self._said or len(self._said) >= _MOST_SAID:
            return False
        self._said.add(peer)
        return True

    def client(self, peer: str, forwarded_for: str) -> str:
        """Return the client's address, in its one canonical form, and :data:`UNKNOWN` where it has none.

        :param peer: who is connected
        :param forwarded_for: ``X-Forwarded-For``, several of them joined by commas
        """
        found = parse(peer)
        if found is None:
            return UNKNOWN
        if not self._networks or not forwarded_for or not self._includes(found):
            return str(found)
        for hop in reversed(forwarded_for.split(",")):
            address = parse(hop)
            if address is None:
                # Whatever a believed proxy has put there: nobody is known beyond it.
                break
            found = address
            if not self._includes(address):
                break
        return str(found)

    def _includes(self, address: Address) -> bool:
        return any(address in network for network in self._networks)
