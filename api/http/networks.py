"""Network of a client.

It is the address; of IPv6 the first 64 bits, since one caller has all addresses behind them.
"""

from __future__ import annotations

import ipaddress

from starlette.requests import Request


def network_of(request: Request) -> str:
    """The network that a request comes from; empty where the server does not know it."""
    host = request.client.host if request.client is not None else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host[:64]
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped is not None else str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
