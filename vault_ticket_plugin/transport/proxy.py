"""The proxy on the way to a server, by requests' rules for the environment; without one requests is not imported."""

from __future__ import annotations

import os
import sys
from typing import Any
from urllib.parse import urlsplit

import urllib3

from vault_ticket_plugin.settings.hosts import is_loopback


def on_the_way(url: str) -> str | None:
    """The proxy's URL. There is never one between us and this host itself."""
    # Beside the environment only macOS has a place of its own for proxies.
    named = sys.platform == "darwin" or any(name.lower().endswith("_proxy") for name in os.environ)
    if not named or is_loopback(urlsplit(url).hostname or ""):
        return None
    from requests.utils import get_environ_proxies, prepend_scheme_if_needed, select_proxy

    found = select_proxy(url, get_environ_proxies(url))
    return str(prepend_scheme_if_needed(found, "http")) if found else None  # type: ignore[no-untyped-call]


def manager(url: str, how: dict[str, Any]) -> urllib3.ProxyManager:
    """Its pools of connections, made as `how` says. ValueError if the proxy's URL can't be used."""
    from requests.utils import get_auth_from_url

    if not urllib3.util.parse_url(url).host:
        raise ValueError("no host")
    user, password = get_auth_from_url(url)
    headers = {}
    if user:
        headers["Proxy-Authorization"] = urllib3.make_headers(basic_auth=f"{user}:{password}")["authorization"]
    return urllib3.ProxyManager(url, proxy_headers=headers, **how)
