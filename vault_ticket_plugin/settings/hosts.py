"""Hosts and URLs as people write them: their one spelling, and whether they mean this host itself."""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit

# The ports that a host's name means by itself.
PORTS = {"https": 443, "http": 80}


def host_name(text: str, port: int | None = PORTS["https"]) -> str:
    """HOST or HOST:PORT in lower case, without the port that is meant anyway; empty if it is neither."""
    try:
        parts = urlsplit(f"//{text}")
        name, given = parts.hostname or "", parts.port
    except ValueError:
        return ""
    if parts.netloc != text or "@" in text or not name.isascii() or not name.isprintable() or " " in name:
        return ""
    if ":" in name:
        name = f"[{name}]"
    return name if given in (None, port) else f"{name}:{given}"


def is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def url_parts(text: str) -> SplitResult | None:
    """None if `text` is not a URL of a host, or has what would be lost or leaked: a user name, a fragment."""
    try:
        parts = urlsplit(text)
        sound = parts.hostname and parts.port != 0 and "@" not in parts.netloc and not parts.fragment
    except ValueError:  # a port that is no number, half an IPv6 address
        return None
    return parts if sound and " " not in text else None
