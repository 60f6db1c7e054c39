"""Which address a request comes from: the peer's, or what trusted proxies say about it."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Networks = tuple[IPv4Network | IPv6Network, ...]


def client_address(peer: str | None, forwarded_for: list[bytes], trusted: Networks) -> str:
    """The right-most hop that is not a trusted proxy, as text; empty when the peer has no address (a Unix socket).

    `forwarded_for` are the values of X-Forwarded-For in the order received; they count only behind a trusted peer. An
    entry that is not an address ends the walk: what stands left of it was written by someone unknown.
    """
    address = _parse(peer or "")
    if address is None:
        return ""
    if not trusted or not forwarded_for:
        return str(address)
    hops = b",".join(forwarded_for).decode("latin-1").split(",")
    while hops and _is_trusted(address, trusted):
        hop = _parse(hops.pop().strip())
        if hop is None:
            break
        address = hop
    return str(address)


@lru_cache(maxsize=4096)
def _parse(text: str) -> Address | None:
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _is_trusted(address: Address, trusted: Networks) -> bool:
    return any(address in network for network in trusted)
