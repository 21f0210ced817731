"""The main job with django-oauth-toolkit, an authorization server that nobody here wrote; rotation is on."""

import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.site import Site
from tests.support.bao import DevServer
from tests.support.cli import Result
from tests.support.emulator import Emulator
from tests.support.toolkit import Toolkit


@pytest.fixture(scope="module")
def strict() -> Iterator[Toolkit]:
    """No grace, and a second use of a refresh token ends its family."""
    with Toolkit(reuse_protection=True) as server:
        yield server


@pytest.fixture(autouse=True)
def _server_of_the_module(strict: Toolkit) -> None:
    """Asked for by each test, so that it does not count as left behind by the first one."""


def use(site: Site, server: Toolkit, **changes: str) -> None:
    for host in (site.helper, site.operator):
        known: dict[str, Any] = {
            "token_url": server.token_url,
            "client_id": server.client_id,
            "revocation_url": server.revoke_url,
        }
        site.configure(host, **known | changes)


def store(site: Site, server: Toolkit) -> str:
    given = server.grant().refresh_token
    done = site.operator.run("store", site.profile, stdin=given)
    assert (done.code, done.out) == (0, ""), done.err
    return given


def works(server: Toolkit, done: Result) -> bool:
    """Whether the API behind that server takes the ticket."""
    assert done.code == 0, done.err
    token = done.json()["AccessToken"]
    request = urllib.request.Request(server.tickets_url, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False


def spend_elsewhere(server: Toolkit, refresh_token: str) -> int:
    """Somebody with a copy of a refresh token uses it; the status."""
    form = {"grant_type": "refresh_token", "client_id": server.client_id, "refresh_token": refresh_token}
    try:
        with urllib.request.urlopen(server.token_url, urllib.parse.urlencode(form).encode(), timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_store_get_refresh_and_revoke(site: Site, strict: Toolkit) -> None:
    use(site, strict)
    given = store(site, strict)
    seen = [given, site.refresh_token()]
    first = site.get()
    assert (first.err, works(strict, first)) == ("", True)
    for _ in range(3):
        done = site.get("--force")
        assert (done.err, works(strict, done)) == ("", True)
        seen.append(site.refresh_token())
    assert len(set(seen)) == 5  # each refresh rotated, and what it rotated to was saved and worked
    done = site.get()
    assert site.helper.run("revoke", site.profile).code == 0
    assert not works(strict, done)


def test_this_server_ends_the_grant_with_its_access_token(site: Site, strict: Toolkit) -> None:
    """As RFC 7009 section 2.1 allows: after `revoke` a person has to store another one."""
    use(site, strict)
    store(site, strict)
    assert site.helper.run("revoke", site.profile).code == 0
    done = site.get()
    assert (done.code, done.out) == (77, "")
    assert f"vault-ticket store {site.profile}" in done.err
    store(site, strict)
    assert works(strict, site.get("--force"))


def test_a_token_that_somebody_used_again_is_reported_dead(site: Site, strict: Toolkit) -> None:
    """The server ends the family; we say so, ask no more, and a new grant heals it."""
    use(site, strict)
    given = store(site, strict)
    assert spend_elsewhere(strict, given) == 400
    site.remove_ticket()
    done = site.get()
    assert (done.code, done.out) == (77, "")
    assert "not valid" in done.err
    assert f"vault-ticket store {site.profile}" in done.err
    (found,) = site.helper.run("status", "--format", "json").json()
    assert "not asked again" in found["problem"]
    store(site, strict)
    assert works(strict, site.get("--force"))


def test_while_a_ticket_is_usable_a_dead_grant_only_warns(site: Site, strict: Toolkit) -> None:
    use(site, strict)
    site.put_grant({"refresh_token": "dead", "client_id": strict.client_id})
    site.put_ticket(left=100)
    done = site.get()
    assert done.json()["AccessToken"] == "an-older-ticket"
    assert "not valid" in done.err


def test_an_unknown_client(site: Site, strict: Toolkit) -> None:
    """401, as RFC 6749 section 5.2 has it; the stored token stays, and the right Client ID is enough."""
    use(site, strict)
    store(site, strict)
    kept = site.refresh_token()
    use(site, strict, client_id="nobody")
    done = site.get("--force", "--min-ttl", "30m")
    assert "invalid_client" in done.err
    site.remove_ticket()
    site.helper.run("revoke", site.profile)
    done = site.get("--force")
    assert (done.code, done.out) == (78, "")
    assert "client_id" in done.err
    refused = site.operator.run("store", site.profile, stdin=strict.grant().refresh_token)
    assert (refused.code, refused.out) == (78, "")
    assert site.refresh_token() == kept
    use(site, strict)
    assert works(strict, site.get())


def test_inside_a_grace_the_same_pair_comes_again(bao: DevServer, emulator: Emulator, tmp_path: Path) -> None:
    """As after a crash before the save: the old token is still in Vault, and nothing is lost."""
    with Toolkit(grace=60, reuse_protection=True) as server:
        site = Site(bao, emulator, tmp_path)
        use(site, server)
        given = store(site, server)
        rotated = site.refresh_token()
        site.put_grant({"refresh_token": given, "client_id": server.client_id})
        assert works(server, site.get("--force"))
        assert site.refresh_token() == rotated != given
        assert works(server, site.get("--force"))
