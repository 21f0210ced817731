"""`bao proxy` beside `bao agent`, with what `vault-ticket agent-config --listen …` prints for the two.

The proxy logs in, and lends its login to the helper that the agent calls.
"""

import http.client
import socket
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.agents import AgentHost, sampled
from tests.e2e.site import CLIENT, Site
from tests.e2e.test_agent import LIFETIME, SHORT, facts, short_lived, watch
from tests.support.process import free_port, wait_until

MODES = ("plugin", "env", "exec")


@pytest.fixture
def stored(site: Site) -> Site:
    """The grant is there, and no ticket."""
    site.put_grant({"refresh_token": site.api.issue_grant(CLIENT), "client_id": CLIENT})
    return site


def logins(site: Site, mark: int) -> int:
    return len([one for one in site.bao.requests_seen(mark) if one.path == "auth/approle/login"])


def ask(path: Path, headers: dict[str, str]) -> int:
    """The status of a `lookup-self` through a unix socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        lines = [f"{name}: {value}" for name, value in ({"Host": "x", "Connection": "close"} | headers).items()]
        connection.sendall("\r\n".join(["GET /v1/auth/token/lookup-self HTTP/1.1", *lines, "", ""]).encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status


# -- what is printed is started, and rendered


@pytest.mark.parametrize("mode", MODES)
def test_the_helper_needs_no_login_of_its_own(stored: Site, mode: str) -> None:
    """The proxy logs in, and the agent; and neither by anything that their makers will remove."""
    mark = stored.bao.mark()
    with AgentHost(stored, mode, listen="unix") as agent:
        agent.start()
        agent.wait_for_token()
        assert logins(stored, mark) == 2
        assert agent.deprecations() == []
    assert stored.api.stats().refreshes == 1


@pytest.mark.parametrize("mode", MODES)
def test_a_wrapped_secret_id_serves_them_all(stored: Site, mode: str) -> None:
    """The proxy alone uses it, once: the agent takes the proxy's token, the helper the proxy's listener."""
    mark = stored.bao.mark()
    with AgentHost(stored, mode, listen="unix", wrapped=True) as agent:
        agent.start()
        agent.wait_for_token()
        assert logins(stored, mark) == 1
        token = agent.socket.parent / "token"
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stored.api.stats().refreshes == 1


def test_over_tcp(stored: Site) -> None:
    with AgentHost(stored, "plugin", listen=f"127.0.0.1:{free_port()}") as agent:
        agent.start()
        agent.wait_for_token()


def test_the_socket_is_its_owners_alone_and_wants_its_header(stored: Site) -> None:
    """To connect takes the right to write. The header keeps out what can be made to ask, but not how (a browser)."""
    with AgentHost(stored, "plugin", listen="unix") as agent:
        agent.start_proxy()
        mode = agent.socket.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert mode & 0o022 == 0
        assert ask(agent.socket, {"X-Vault-Request": "true"}) == 200
        assert ask(agent.socket, {}) == 412


def test_without_the_sockets_folder_the_proxy_says_so(stored: Site) -> None:
    """Why docs/agent.md begins with `install -d`."""
    with AgentHost(stored, "plugin", listen="unix") as agent:
        agent.socket.parent.rmdir()
        agent.start_proxy(until="no such file or directory")
        assert not agent.socket.exists()


# -- never expired, never unreadable


@pytest.mark.parametrize("seconds", [pytest.param(14, id="14s"), pytest.param(65, id="65s", marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", MODES)
def test_a_short_lived_token_is_never_seen_expired(site: Site, mode: str, seconds: int) -> None:
    with short_lived(site, mode, listen="unix") as agent:
        samples = watch(agent, seconds)
    print(f"{mode}: {facts(samples)}")  # shown with -s or -rP
    assert samples.all_good(), facts(samples, agent)
    assert len(samples.tokens) >= seconds // LIFETIME


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_proxys_own_token_reaches_its_max_ttl(site: Site, wrapped: bool) -> None:
    """It logs in again, if need be with the unwrapped secret id that it remembers, and the file is good meanwhile."""
    mark = site.bao.mark()
    with short_lived(site, listen="unix", wrapped=wrapped, token_ttl="3s", token_max_ttl="4s") as agent:
        samples = watch(agent, 14)
    assert samples.all_good(), facts(samples, agent)
    assert 3 <= logins(site, mark) <= 40


# -- it recovers by itself


def test_an_agent_that_started_before_the_proxy(stored: Site) -> None:
    """With a wrapped secret id even its own login has to wait for the proxy's."""
    with AgentHost(stored, "plugin", listen="unix", wrapped=True) as agent:
        agent.start_agent()
        wait_until(lambda: "error reading token file" in agent.log.read_text(), "the agent's complaint")
        agent.start_proxy()
        agent.wait_for_token()


def test_an_agent_that_started_before_the_grant_was_stored(site: Site) -> None:
    with AgentHost(site, "plugin", listen="unix", profile=SHORT) as agent:
        agent.start()
        wait_until(lambda: "no grant is stored" in agent.log.read_text(), "the helper's complaint")
        assert not agent.rendered.exists()
        assert site.api.stats().requests == 0
        site.store()
        agent.wait_for_token()


def test_the_proxy_is_killed_and_comes_back(site: Site) -> None:
    """Its socket stays behind, and is no hindrance. The agent goes on with the last file meanwhile."""
    with short_lived(site, listen="unix") as agent:
        agent.kill_proxy()
        assert agent.socket.exists()
        wait_until(lambda: "gives no answer" in agent.log.read_text(), "the helper's complaint", timeout=60)
        assert agent.running
        last = agent.token()
        agent.start_proxy()
        agent.wait_for_token(other_than=last, timeout=60)
        with sampled(agent) as samples:
            time.sleep(5)
    assert samples.all_good(), facts(samples, agent)
    assert site.api.stats().reuses == 0


def test_another_caller_of_this_host_goes_through_the_same_listener(stored: Site) -> None:
    """`VAULT_TICKET_AGENT` serves whomever the socket admits."""
    with AgentHost(stored, "plugin", listen="unix", wrapped=True) as agent:
        agent.start()
        agent.wait_for_token()
        mark = stored.bao.mark()
        how: dict[str, Any] = {"env": {"VAULT_TICKET_AGENT": agent.listen}}
        done = agent.host.run("get", stored.profile, "--format", "token", **how)
        assert (done.code, done.out) == (0, f"{agent.token()}\n")
        assert logins(stored, mark) == 0
