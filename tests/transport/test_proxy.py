"""Which proxy is on the way, and what of a proxy's address can't be used."""

import subprocess
import sys

import pytest

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.environment import PROXY_NAMES
from vault_ticket_plugin.transport import proxy
from vault_ticket_plugin.transport.exchange import NotSent, Transport

URL = "https://vault.example:8200/v1/x"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in PROXY_NAMES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "Https_Proxy"])
def test_each_variable_that_requests_heeds_is_heeded(no_proxies: pytest.MonkeyPatch, name: str) -> None:
    no_proxies.setenv(name, "proxy.example:3128")
    assert proxy.on_the_way(URL) == "http://proxy.example:3128"


def test_none_is_on_the_way_where_none_is_named_for_it(no_proxies: pytest.MonkeyPatch) -> None:
    assert proxy.on_the_way(URL) is None
    no_proxies.setenv("HTTP_PROXY", "http://proxy.example:3128")
    assert proxy.on_the_way(URL) is None
    no_proxies.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    for exempt in ("vault.example", ".example", "other, vault.example:8200", "*"):
        no_proxies.setenv("NO_PROXY", exempt)
        assert proxy.on_the_way(URL) is None, exempt


@pytest.mark.parametrize("address", ["socks5://127.0.0.1:1080", "http://", "http://:8080", "http://127.0.0.1:port"])
def test_an_address_of_no_use_is_told_and_nothing_is_sent(no_proxies: pytest.MonkeyPatch, address: str) -> None:
    """Never without the proxy, where one is configured."""
    no_proxies.setenv("HTTPS_PROXY", address)
    with pytest.raises(NotSent, match="proxy's address can't be used"):
        Transport().exchange("GET", URL, {}, None, Deadline.after(5), 5)


def test_without_a_proxy_requests_is_not_imported() -> None:
    code = (
        "import sys; from vault_ticket_plugin.transport import exchange, proxy; "
        f"assert proxy.on_the_way({URL!r}) is None; "
        "assert 'urllib3' in sys.modules; assert 'requests' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={}, timeout=60)
