"""Check of IP addresses: public unicast only, in every notation.

Python's `is_global` is not enough: it is true for NAT64 (`64:ff9b::7f00:1`), 6to4 (`2002:7f00:1::`), multicast and the old
site-local range. IPv6 is accepted only from 2000::/3 (RFC 4291 §2.4) without the ranges of the IANA special-purpose registry
(RFC 6890) in it, which excludes every tunnel into IPv4.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

IpAddress = IPv4Address | IPv6Address

_V4: tuple[tuple[IPv4Network, str], ...] = tuple(
    (IPv4Network(network), reason)
    for network, reason in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local, which clouds use for credentials"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "IETF protocol assignments"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_UNICAST = IPv6Network("2000::/3")
_V6: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(network), reason)
    for network, reason in (
        ("2001::/32", "Teredo tunnel"),
        ("2001::/23", "IETF protocol assignments"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4 tunnel"),
        ("3fff::/20", "documentation"),
    )
)
_OUTSIDE: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(network), reason)
    for network, reason in (
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("::/96", "IPv4-compatible"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "NAT64"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
_ISATAP = (0x00005EFE, 0x02005EFE)
"""The upper half of an interface identifier that carries an IPv4 address (RFC 5214 §6.1)."""


def why_not_public(address: IpAddress) -> str | None:
    """Why this address is not allowed, in a few words; None if it is."""
    if isinstance(address, IPv4Address):
        return next((reason for network, reason in _V4 if address in network), None)
    if address.scope_id is not None:
        return "an address with a zone"
    if address not in _UNICAST:
        return next((reason for network, reason in _OUTSIDE if address in network), "reserved")
    if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        return "ISATAP tunnel"
    return next((reason for network, reason in _V6 if address in network), None)


def ip_literal(host: str) -> IpAddress | None:
    """The IP address in a host, or None for a name. Raises ValueError for an unusual notation.

    Resolvers accept `127.1`, `0x7f.0.0.1`, `2130706433` and `017700000001` (`inet_aton`); only attackers use them. A host whose
    last label is a number is never a name (WHATWG URL §3.5).
    """
    if ":" in host:
        return ip_address(host)
    last = host.rpartition(".")[2]
    if last.isdigit() or last.lower().startswith("0x"):
        return IPv4Address(host)
    return None
