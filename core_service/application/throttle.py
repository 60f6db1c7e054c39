"""How often something may be tried: by account, by source, or altogether, counted in the database."""

import ipaddress
import math
from datetime import datetime, timedelta

from core_service.errors import CoreError
from core_service.storage import access


def source_of(client_address: str | None) -> str | None:
    """Where a caller is, as a subject to count by: an address, or an IPv6 network of 64 bits."""
    if client_address is None:
        return None
    try:
        address = ipaddress.ip_address(client_address)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    bits = 32 if address.version == 4 else 64
    return f"source:{ipaddress.ip_network(f'{address}/{bits}', strict=False)}"


def count_try(subject: str, *, limit: int, window: timedelta, now: datetime) -> None:
    """Counts one more try before it is judged. Raises RATE_LIMITED beyond `limit` in a window."""
    tries = access.count_sign_in(subject, limit=limit, now=now, window_ends_at=now + window)
    if tries.count > limit:
        seconds = math.ceil((tries.window_ends_at - now).total_seconds())
        raise CoreError("RATE_LIMITED", retry_after_seconds=max(1, seconds))
