"""`bao agent` with what `vault-ticket agent-config` prints: a rendered file never holds an expired token."""

import contextlib
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.agents import AgentHost, Samples, expiry, repeated, sampled
from tests.e2e.site import CLIENT, Site
from tests.support import faults
from tests.support.bao import DevServer, DiskServer
from tests.support.emulator import Emulator
from tests.support.process import wait_until

MODES = ("plugin", "secret", "env", "exec")
LIFETIME = 10
SHORT: dict[str, Any] = {"default_lifetime": f"{LIFETIME}s"}


# Where another host refreshes them, its own pace and the agent's come one after the other.
SECRET: dict[str, Any] = {"lease": "field", "soft_window": f"{LIFETIME / 2}s"}


@contextlib.contextmanager
def short_lived(
    site: Site, mode: str = "plugin", *, options: tuple[str, ...] = (), without: str = "", **how: Any
) -> Iterator[AgentHost]:
    """A running agent, with tokens of ten seconds; in secret mode another host refreshes them.

    `without`: what its configuration is not to say.
    """
    site.api.behaviour.lifetime = LIFETIME
    secret = mode == "secret"
    policy = how.pop("policy", "ticket-reader" if secret else "ticket-refresher")
    profile = SHORT | (SECRET if secret else {}) | how.pop("profile", {})
    site.configure(site.helper, **profile)
    site.configure(site.operator, **profile)
    site.store()
    refreshing = repeated(0.7, lambda: site.get(timeout=30)) if secret else contextlib.nullcontext()
    with refreshing, AgentHost(site, mode, policy, profile=profile, options=options, **how) as agent:
        assert without in agent.config
        agent.config = agent.config.replace(without, "")
        agent.start()
        agent.wait_for_token()
        yield agent


def watch(agent: AgentHost, seconds: float) -> Samples:
    with sampled(agent) as samples:
        time.sleep(seconds)
    return samples


def facts(samples: Samples, agent: AgentHost | None = None) -> str:
    """What a failed sampling needs to be understood; no token."""
    seen = f"{samples.count} samples, {samples.expired} expired, {samples.unreadable} unreadable, "
    seen += f"{samples.least_left:.1f} s left at the least, {len(samples.tokens)} tokens"
    return f"{seen}\n{agent.last_words()}" if agent else seen


# -- the rule: never expired, never unreadable


@pytest.mark.parametrize("seconds", [pytest.param(14, id="14s"), pytest.param(65, id="65s", marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", MODES)
def test_a_short_lived_token_is_never_seen_expired(site: Site, mode: str, seconds: int) -> None:
    """Sampled every 50 ms; each refresh brings one token, and each token at most one child."""
    with short_lived(site, mode) as agent:
        before = site.api.stats()
        samples = watch(agent, seconds)
        spent = site.api.stats()
    print(f"{mode}: {facts(samples)}; {spent.refreshes - before.refreshes} refreshes")  # shown with -s or -rP
    assert samples.all_good(), facts(samples, agent)
    assert len(samples.tokens) >= seconds // LIFETIME
    assert len(samples.tokens) <= 1 + spent.refreshes - before.refreshes
    assert spent.requests - before.requests == spent.successes - before.successes <= 1 + seconds / (LIFETIME / 3)
    assert len(samples.children) == (len(samples.tokens) if mode == "exec" else 1)


def test_a_rendered_file_is_its_owners_alone(site: Site) -> None:
    with short_lived(site, profile={"default_lifetime": "1h"}) as agent:
        assert stat.S_IMODE(agent.rendered.stat().st_mode) == 0o600
        assert agent.rendered.read_text() == agent.token()


def test_the_rendered_file_and_the_helpers_cache_share_a_units_folder(site: Site) -> None:
    """As in docs/agent.md: systemd names the unit's RuntimeDirectory= to the agent, and so to the helper."""
    site.store()
    with AgentHost(site, "plugin") as agent:
        folder = agent.rendered.parent
        folder.mkdir(mode=0o700)
        agent.host.environ |= {"XDG_RUNTIME_DIR": "", "RUNTIME_DIRECTORY": str(folder)}
        agent.start()
        agent.wait_for_token()
        assert set(folder.iterdir()) > {agent.rendered}


@pytest.mark.parametrize("mode", ["plugin", "env", "exec"])
def test_the_agent_and_the_helper_log_in_by_themselves(site: Site, mode: str) -> None:
    """… with one configured login, and by nothing that the agent's makers will remove."""
    site.put_grant({"refresh_token": site.api.issue_grant(CLIENT), "client_id": CLIENT})
    mark = site.bao.mark()
    with AgentHost(site, mode) as agent:
        agent.start()
        agent.wait_for_token()
        logins = [one for one in site.bao.requests_seen(mark) if one.path == "auth/approle/login"]
        assert agent.deprecations() == []
    assert site.api.stats().refreshes == 1
    assert len(logins) > 1


def test_a_command_runs_after_each_change_and_only_then(site: Site, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with short_lived(site, options=("--command", f"sh -c 'echo changed >>{notes}'")) as agent:
        samples = watch(agent, 9)
        wait_until(lambda: len(notes.read_text().split()) >= len(samples.tokens), "the last note")
        assert len(notes.read_text().split()) <= len(samples.tokens) + 1  # one change may come after the last sample


def test_kv_v1_with_its_ttl_is_never_seen_expired(site: Site) -> None:
    """The agent reads it as often as the `ttl` field says, whatever its own interval."""
    mount = site.bao.new_kv(version=1)
    ticket = {"mount": mount, "path": f"ticket/{site.profile}", "kv_version": 1}
    for role in ("reader", "refresher", "operator"):
        site.configure(site.helper, ticket=ticket)
        printed = site.helper.run("policy", role, site.profile)
        assert printed.code == 0, printed.err
        site.bao.write_policy(f"{role}-{site.profile}", printed.out)
    for host, role in ((site.helper, "refresher"), (site.operator, "operator")):
        host.environ["VAULT_TOKEN"] = site.bao.token_for(f"{role}-{site.profile}", ttl="10m", no_default_policy=True)
    how: dict[str, Any] = {"policy": f"reader-{site.profile}", "profile": {"ticket": ticket}}
    with short_lived(site, "secret", without='static_secret_render_interval = "1s"', **how) as agent:
        samples = watch(agent, 14)
    assert samples.all_good(), facts(samples, agent)
    assert len(samples.tokens) > 1


@pytest.mark.usefixtures("needs_openbao")
def test_this_agent_renders_no_version_that_has_a_deletion_time(site: Site) -> None:
    """Why `lease = "field"` exists. Should a newer agent render it, docs/agent.md has a row to change."""
    site.store()
    refused = site.helper.run("agent-config", site.profile, "--mode", "secret")
    assert refused.code == 78
    assert 'lease = "field"' in refused.err
    with AgentHost(site, "secret", "ticket-reader", options=("--for", "vault")) as agent:
        agent.start()
        wait_until(lambda: "no secret exists at" in agent.log.read_text(), "the agent's complaint")
        assert not agent.rendered.exists()


@pytest.mark.usefixtures("needs_hashicorps_agent")
def test_hashicorps_agent_renders_a_version_that_has_a_deletion_time(site: Site) -> None:
    site.store()
    with AgentHost(site, "secret", "ticket-reader") as agent:
        agent.start()
        agent.wait_for_token()


def test_secret_mode_shows_nothing_rather_than_an_expired_token(site: Site) -> None:
    """Nobody refreshes: the leased path keeps an old ticket in its `field` variant, and the file is empty."""
    site.configure(site.operator, lease="field")
    site.put_ticket(left=300, lifetime=600, token="a.e30.b")
    with AgentHost(site, "secret", "ticket-reader", profile={"lease": "field", "soft_window": "2s"}) as agent:
        agent.start()
        wait_until(lambda: agent.rendered.exists() and agent.rendered.read_text() == "a.e30.b", "the token")
        site.put_ticket(left=-1, lifetime=600, token="a.e30.b")
        wait_until(lambda: agent.rendered.read_text() == "", "an empty file")


def test_exit_after_auth_renders_once_and_exits_0(site: Site) -> None:
    site.store()
    with AgentHost(site, "plugin") as agent:
        agent.start("-exit-after-auth")
        assert agent.wait_for_end() == 0
        assert expiry(agent.token()) > time.time()


# -- it recovers by itself, and asks neither Vault nor the API too often


@pytest.mark.parametrize("mode", ["plugin", "exec"])
def test_an_agent_that_started_before_the_grant_was_stored(site: Site, mode: str) -> None:
    """It waits without a request to the API, with few to Vault, and has the token soon after."""
    site.api.behaviour.lifetime = LIFETIME
    site.configure(site.operator, **SHORT)
    mark = site.bao.mark()
    with AgentHost(site, mode, profile=SHORT) as agent:
        began = time.monotonic()
        agent.start()
        wait_until(lambda: any("grant" in one.path for one in site.bao.requests_seen(mark)), "a look for the grant")
        time.sleep(4)
        assert not agent.rendered.exists()
        seen = [one for one in site.bao.requests_seen(mark) if "auth/token" not in one.path]
        assert len(seen) <= 10 * (time.monotonic() - began)
        assert site.api.stats().requests == 0
        site.store()
        agent.wait_for_token(timeout=60)
        assert 1 <= site.api.stats().requests <= 3  # `store` proved it with one; that ticket may be over by now


@pytest.mark.parametrize("down", [pytest.param(4, id="4s"), pytest.param(20, id="20s", marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", ["plugin", "exec"])
def test_the_api_is_down_for_a_while(site: Site, mode: str, down: int) -> None:
    """A running agent, its last file kept; afterwards a valid token by itself. Each answer of the API is counted."""
    with short_lived(site, mode) as agent:
        site.api.behaviour.next = [faults.status(503) for _ in range(1000)]
        before = site.api.stats().requests
        wait_until(lambda: site.api.stats().requests > before, "the first try")  # the token's soft window has begun
        time.sleep(down)
        asked = site.api.stats().requests - before
        last = agent.token()
        site.api.behaviour.next = []
        agent.wait_for_token(other_than=last, timeout=60)
    assert asked <= 2 * down + 5, asked
    assert site.api.stats().rejected == 0


def test_vault_is_restarted(emulator: Emulator, tmp_path: Path) -> None:
    """Away for some seconds, with the agent's token and the grant still there afterwards."""
    with DiskServer() as bao:
        bao.enable_kv("secret")
        site = Site(bao, emulator, tmp_path)
        with short_lived(site) as agent:
            bao.stop()
            time.sleep(4)
            last = agent.token()  # only now: what was rendered after it came from the Vault that is back
            bao.start()
            agent.wait_for_token(other_than=last, timeout=60)
            samples = watch(agent, 8)
        assert samples.all_good(), facts(samples, agent)
        assert emulator.stats().reuses == 0


def test_the_agents_own_token_reaches_its_max_ttl(site: Site) -> None:
    """It logs in again, the templates begin anew, and the file is good all the while."""
    mark = site.bao.mark()
    with short_lived(site, token_ttl="3s", token_max_ttl="4s") as agent:
        samples = watch(agent, 14)
    assert samples.all_good(), facts(samples, agent)
    logins = [one for one in site.bao.requests_seen(mark) if one.path == "auth/approle/login"]
    assert 3 <= len(logins) <= 20


# -- the naive ways, and what the helper does about them


def test_a_hot_loop_reaches_neither_vault_nor_the_api(site: Site) -> None:
    """A failing plugin in an `env_template` is run again at once, for ever: the cooldown answers nearly all of it."""
    with AgentHost(site, "exec") as agent:
        agent.config = agent.config.replace(' "--wait"', "")
        mark = site.bao.mark()
        agent.start()
        wait_until(lambda: agent.log.read_text().count("no grant is stored") >= 12, "a dozen failures", timeout=60)
        grants = [one for one in site.bao.requests_seen(mark) if "/grant" in one.path]
        failures = agent.log.read_text().count("no grant is stored")
    assert len(grants) <= failures / 2
    assert len(grants) <= 8
    assert site.api.stats().requests == 0


def test_the_printed_exec_mode_does_not_run_the_helper_in_a_hot_loop(site: Site) -> None:
    with AgentHost(site, "exec") as agent:
        agent.start()
        wait_until(lambda: "template server error" in agent.log.read_text(), "the first failure", timeout=60)
        assert agent.log.read_text().count("template server error") == 1


def test_a_failing_helper_leaves_the_last_file(site: Site) -> None:
    """… and the agent neither ends nor starts its templates anew."""
    with short_lived(site) as agent:
        site.put_grant({"refresh_token": "a dead one", "client_id": CLIENT})
        wait_until(lambda: "not valid" in agent.log.read_text(), "the helper's complaint", timeout=60)
        assert agent.running
        assert agent.token()
        assert "template server error" not in agent.log.read_text()


def test_a_long_lived_token_costs_one_heartbeat_a_minute(bao: DevServer, site: Site) -> None:
    """With the defaults: after the first render the helper reads its cache, and only the agent talks to Vault."""
    site.store()
    with AgentHost(site, "plugin") as agent:
        assert 'static_secret_render_interval = "1m"' in agent.config
        agent.start()
        agent.wait_for_token()
        mark = bao.mark()
        time.sleep(3)
        assert [one.path for one in bao.requests_seen(mark)] == []
