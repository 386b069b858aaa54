"""Network of a client, and the site that it belongs to.

The network is the address; of IPv6 the first 64 bits, since one caller has all addresses behind them. Providers and free
tunnels give one customer up to 65,536 such networks: a site of 48 bits (RFC 6177).
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Final

from starlette.requests import Request

SITE_BITS: Final = 48


def network_of(request: Request) -> str:
    """The network that a request comes from; empty where the server does not know it."""
    return _network(request.client.host if request.client is not None else "")


@lru_cache(maxsize=10_000)
def _network(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host[:64]
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped is not None else str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


@lru_cache(maxsize=10_000)
def site_of(network: str) -> str | None:
    """The site of an IPv6 network; None for other networks, which have none."""
    try:
        parsed = ipaddress.ip_network(network)
    except ValueError:
        return None
    if not isinstance(parsed, ipaddress.IPv6Network) or parsed.prefixlen < SITE_BITS:
        return None
    return str(parsed.supernet(new_prefix=SITE_BITS))
