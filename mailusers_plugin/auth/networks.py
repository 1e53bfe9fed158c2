"""From where somebody calls, and whether that is in one of some networks."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from mailusers_plugin.errors import InvalidInputError
from mailusers_plugin.texts import N_

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_NETWORKS: Final = 32
_MAPPED_BITS: Final = 96
"""So many bits stand before an IPv4 address that is written as one of IPv6 (RFC 4291, section 2.5.5.2)."""
_WRONG: Final = N_(
    "%(network)s is not a network. Write it as 192.0.2.0/24, 2001:db8::/32 or a single address."
)
_TOO_MANY: Final = N_("Those are too many networks. Name at most %(number)s.")


def parse_networks(texts: Iterable[str]) -> tuple[str, ...]:
    """Return networks as they are stored: ``ADDRESS/BITS``, each once.

    :param texts: networks or single addresses of IPv4 or IPv6
    :raises InvalidInputError: if one is none, or has bits behind its mask, or there are too many
    """
    found = dict.fromkeys(str(_network(text.strip())) for text in texts if text.strip())
    if len(found) > MAX_NETWORKS:
        raise InvalidInputError(_TOO_MANY, number=MAX_NETWORKS)
    return tuple(found)


def parse_address(text: str) -> Address | None:
    """Return a caller's address; one of IPv4 that was written as one of IPv6 as what it is.

    :returns: ``None`` where it is no address, as behind a Unix socket
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def is_inside(address: Address | None, networks: Iterable[str]) -> bool:
    """Tell whether an address is in one of some networks.

    :param networks: as they are stored
    """
    return address is not None and any(address in _stored(network) for network in networks)


@lru_cache(maxsize=1024)
def _stored(text: str) -> Network:
    # Reading one takes longer than looking its token up.
    return ipaddress.ip_network(text)


def _network(text: str) -> Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        raise InvalidInputError(_WRONG, network=ascii(text[:60])[1:-1]) from None
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network
