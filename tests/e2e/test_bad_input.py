"""Bad input of every kind: its exit code, a message that names the fact, a hint, and nothing changed in Vault."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.site import CLIENT, Site
from tests.support import faults
from tests.support.bao import DevServer
from tests.support.cli import Result
from tests.support.emulator import Emulator
from tests.support.faults import Fault
from tests.support.process import free_port, wait_until


def assert_refused(done: Result, code: int, *says: str) -> None:
    assert (done.code, done.out) == (code, ""), done.err
    for words in says:
        assert words in done.err
    first, *hint = done.err.splitlines()
    assert first.startswith("vault-ticket: ")
    assert "".join(hint).strip(), f"no hint: {done.err}"
    assert "Traceback" not in done.err


@pytest.fixture
def stored(site: Site) -> Site:
    """A grant is there, and no ticket."""
    site.store(None, "--no-verify")
    return site


# -- Vault


def test_no_server(stored: Site) -> None:
    before = stored.snapshot()
    address = f"http://127.0.0.1:{free_port()}"
    for command in ("get", "status", "revoke", "store"):
        host = stored.operator if command == "store" else stored.helper
        arguments = [] if command == "status" else [stored.profile]
        stored.configure(host, vault={"address": address})
        config = host.config_file.read_text()
        host.config_file.write_text(f'timeout = "1s"\n{config}')
        done = host.run(command, *arguments, stdin="token")
        assert done.code == 69
        assert f"Vault at {address} gives no answer: connection refused" in done.out + done.err
        if command != "status":
            assert_refused(done, 69, "VAULT_ADDR")
    assert stored.snapshot() == before
    assert stored.api.stats().requests == 0


def test_a_host_name_that_does_not_exist(stored: Site) -> None:
    stored.helper.environ["VAULT_ADDR"] = "http://nosuch.invalid:8200"
    assert_refused(stored.get("--timeout", "1s"), 69, "nosuch.invalid", "its host name is not known")


def test_a_server_that_is_no_vault(stored: Site) -> None:
    stored.helper.environ["VAULT_ADDR"] = stored.api.url
    assert_refused(stored.get(), 78, "is not Vault", "VAULT_ADDR")


@pytest.mark.parametrize("address", ["vault.example:8200", "ftp://vault", "http://", "https://a:b@vault", "unix://"])
def test_an_address_that_is_none(stored: Site, address: str) -> None:
    stored.helper.environ["VAULT_ADDR"] = address
    done = stored.get()
    assert_refused(done, 78, "VAULT_ADDR")
    assert "a:b" not in done.err


@pytest.mark.usefixtures("needs_namespaces")
def test_a_namespace_that_is_not_there(stored: Site) -> None:
    stored.helper.environ["VAULT_NAMESPACE"] = "nosuch"
    assert_refused(stored.get(), 78, "namespace not found", "VAULT_NAMESPACE")


@pytest.mark.parametrize("name", ["a\nb", "ä"])
def test_a_namespace_that_is_none(stored: Site, name: str) -> None:
    stored.helper.environ["VAULT_NAMESPACE"] = name
    assert_refused(stored.get(), 78, "wanted", "VAULT_NAMESPACE")


@pytest.mark.parametrize("proxy", ["::::", "http://[::1", "socks5://127.0.0.1:1"])
def test_a_proxy_that_can_not_be_used(stored: Site, proxy: str) -> None:
    stored.helper.environ["HTTPS_PROXY"] = proxy
    stored.configure(stored.helper, token_url="https://api.nosuch.invalid/token", request_timeout="1s")
    done = stored.get()
    assert_refused(done, 75, "can't be reached")
    assert "in_doubt" not in (stored.grant() or {})["data"]["vault_ticket"]


def test_sealed(emulator: Emulator, tmp_path: Path) -> None:
    with DevServer() as bao:
        site = Site(bao, emulator, tmp_path)
        site.store(None, "--no-verify")
        before = site.snapshot()
        bao.seal()
        assert_refused(site.get("--timeout", "1s"), 69, "is sealed", "Unseal it")
        site.operator.config_file.write_text('timeout = "1s"\n' + site.operator.config_file.read_text())
        assert_refused(site.operator.run("store", site.profile, stdin="token"), 69, "is sealed")
        bao.unseal()
        assert site.snapshot() == before
        assert emulator.stats().requests == 0
        assert site.get("--force").code == 0


def test_wrong_token(stored: Site) -> None:
    before = stored.snapshot()
    stored.helper.environ["VAULT_TOKEN"] = "s.nosuchtoken"
    assert_refused(stored.get(), 77, "does not accept our token", "get a new one")
    assert stored.snapshot() == before


@pytest.mark.parametrize("token", ["two words", "a\nb", "ä" * 10])
def test_a_token_that_can_not_be_one(stored: Site, token: str) -> None:
    """A line break would make a second header of it."""
    stored.helper.environ["VAULT_TOKEN"] = token
    done = stored.get()
    assert done.code in (77, 78)
    assert done.out == ""
    assert token not in done.err
    assert "bug" not in done.err


def test_expired_token(stored: Site) -> None:
    before, token = stored.snapshot(), stored.token_of("refresher", ttl="1s")
    wait_until(lambda: not stored.bao.token_valid(token), "the token's end")
    stored.helper.environ["VAULT_TOKEN"] = token
    assert_refused(stored.get(), 77, "does not accept our token", "expired")
    assert stored.snapshot() == before


def test_missing_grant(site: Site) -> None:
    assert_refused(site.get(), 66, f"no grant is stored at secret/{site.grant_path}", f"store {site.profile}")
    assert site.grant() is None


def test_deleted_grant(stored: Site) -> None:
    stored.bao.api("DELETE", f"secret/data/{stored.grant_path}")
    assert_refused(stored.get(), 66, "has been deleted", f"store {stored.profile}")
    stored.store()  # a version that is deleted does not stand in the way of a new one
    assert stored.get("--force").code == 0


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({}, "no refresh_token"),
        ({"refresh-token": "x"}, "no refresh_token"),
        ({"refresh_token": 7}, "no refresh_token"),
        ({"refresh_token": ["x"]}, "no refresh_token"),
        ({"refresh_token": None}, "no refresh_token"),
        ({"refresh_token": " "}, "no refresh_token"),
        ({"refresh_token": "a\nb"}, "control characters"),
        ({"refresh_token": "x", "client_id": [4711]}, "client_id"),
    ],
    ids=str,
)
def test_a_grant_that_is_none(site: Site, data: dict[str, Any], says: str) -> None:
    site.put_grant(data)
    before = site.snapshot()
    assert_refused(site.get(), 65, says, f"secret/{site.grant_path}", f"store {site.profile}")
    assert site.snapshot() == before
    assert site.api.stats().requests == 0


def test_no_client_id_anywhere(site: Site) -> None:
    site.configure(site.helper, client_id=None)
    site.put_grant({"refresh_token": "token"})
    assert_refused(site.get(), 78, "no Client ID", "client_id")
    assert site.api.stats().requests == 0


def everything_in(site: Site, mount: str) -> None:
    """The helper may do whatever it likes in that mount, so that it is not the policy that says no."""
    name = f"all-{uuid.uuid4().hex[:8]}"
    site.bao.write_policy(name, f'path "{mount}/*" {{ capabilities = ["create", "read", "update"] }}')
    site.helper.environ["VAULT_TOKEN"] = site.bao.token_for(name, "ticket-refresher", ttl="10m")


def test_a_kv_v1_mount_where_the_grant_needs_v2(stored: Site) -> None:
    mount = stored.bao.new_kv(version=1)
    everything_in(stored, mount)
    stored.bao.write(f"{mount}/{stored.grant_path}", {"refresh_token": "token"})
    stored.configure(stored.helper, grant={"mount": mount, "path": stored.grant_path})
    assert_refused(stored.get(), 78, f"{mount} is a KV v1 mount", "v2", "kv_version")
    stored.configure(stored.helper, grant={"mount": mount, "path": stored.grant_path, "kv_version": 1})
    assert_refused(stored.get(), 78, "grant.kv_version", "check-and-set")
    found = stored.bao.read(f"{mount}/{stored.grant_path}")
    assert found == {"refresh_token": "token"}


def test_a_kv_v2_mount_that_is_said_to_be_v1(stored: Site) -> None:
    mount = stored.bao.new_kv(version=2)
    everything_in(stored, mount)
    stored.configure(stored.helper, ticket={"mount": mount, "path": stored.ticket_path, "kv_version": 1})
    assert_refused(stored.get(), 78, f"{mount} is a KV v2 mount", "kv_version")


def test_a_mount_that_is_not_there(stored: Site) -> None:
    everything_in(stored, "nosuch")
    stored.configure(stored.helper, grant={"mount": "nosuch", "path": stored.grant_path})
    done = stored.get()
    assert_refused(done, 78, "nosuch")
    assert stored.api.stats().requests == 0


def test_a_mount_that_is_no_kv(stored: Site) -> None:
    stored.configure(stored.helper, ticket={"mount": "cubbyhole", "path": "x"})
    everything_in(stored, "cubbyhole")
    assert_refused(stored.get(), 78, "cubbyhole", "mount")
    assert stored.api.stats().requests == 0


# -- the token endpoint

ANSWERS: dict[str, tuple[Callable[[], Fault], int, str]] = {
    "HTML": (faults.html, 76, "not a JSON object"),
    "a list": (lambda: faults.status(200, "[]"), 76, "not a JSON object"),
    "nothing": (lambda: faults.status(200, ""), 76, "not a JSON object"),
    "no access_token": (lambda: faults.answer("access_token", processed=False), 76, "no access_token"),
    "an empty access_token": (lambda: faults.answer(processed=False, access_token=""), 76, "no access_token"),
    "a line break in the token": (
        lambda: faults.answer(processed=False, access_token="a\nHost: b"),
        76,
        "control characters",
    ),
    "a space in the token": (lambda: faults.answer(processed=False, access_token="a b"), 76, "spaces"),
    "another token_type": (lambda: faults.answer(processed=False, token_type="mac"), 76, "of type mac"),
    "10 MB": (lambda: faults.huge(processed=False), 76, "larger than 1 MiB"),
    "negative expires_in": (lambda: faults.answer(processed=False, expires_in=-5), 76, "expires_in"),
    "zero expires_in": (lambda: faults.answer(processed=False, expires_in=0), 76, "expires_in"),
    "no number for expires_in": (lambda: faults.answer(processed=False, expires_in=float("nan")), 76, "expires_in"),
    "expires_in in words": (lambda: faults.answer(processed=False, expires_in="soon"), 76, "expires_in"),
    "expires_in true": (lambda: faults.answer(processed=False, expires_in=True), 76, "expires_in"),
    "400 HTML": (lambda: faults.html(400), 76, "not OAuth (status 400)"),
    "404": (lambda: faults.status(404), 76, "not OAuth (status 404)"),
    "an unknown error": (lambda: faults.oauth("strange"), 76, "not OAuth"),
    "invalid_client": (lambda: faults.oauth("invalid_client", 401), 78, "invalid_client"),
    "unauthorized_client": (lambda: faults.oauth("unauthorized_client"), 78, "unauthorized_client"),
    "invalid_request": (lambda: faults.oauth("invalid_request"), 78, "invalid_request"),
    "invalid_grant": (lambda: faults.oauth("invalid_grant"), 77, "not valid"),
    "429 for long": (lambda: faults.busy(retry_after=60), 75, "busy (status 429)"),
    "503 for long": (lambda: faults.busy(retry_after=60, code=503), 75, "failed (status 503)"),
    "temporarily_unavailable": (
        lambda: faults.status(400, '{"error": "temporarily_unavailable"}', Retry_After="60"),
        75,
        "temporarily_unavailable",
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_bad_answer_changes_nothing(stored: Site, name: str) -> None:
    make, code, says = ANSWERS[name]
    before = stored.snapshot()
    stored.api.behaviour.next = [make()]
    assert_refused(stored.get(), code, says)
    assert stored.snapshot() == before
    assert stored.api.stats().requests == 1
    assert "claim" not in (stored.grant() or {})["data"]["vault_ticket"]


@pytest.mark.parametrize("name", ANSWERS)
def test_a_bad_answer_to_store_keeps_the_stored_grant(stored: Site, name: str) -> None:
    make, code, says = ANSWERS[name]
    before = stored.grant(), stored.ticket()
    stored.api.behaviour.next = [make()]
    assert_refused(stored.operator.run("store", stored.profile, stdin="another-token"), code, says)
    assert (stored.grant(), stored.ticket()) == before


@pytest.mark.parametrize(
    ("make", "code", "says"),
    [
        (lambda: faults.drip_body(0.2, processed=False), 75, "took too long"),
        (lambda: faults.drip_headers(0.2, processed=False), 75, "took too long"),
        (lambda: faults.late(30, processed=False), 75, "took too long"),
        (lambda: faults.reset(processed=False), 75, "answer was lost"),
        (lambda: faults.cut(processed=False), 75, "answer was lost"),
        (lambda: faults.status(500), 75, "failed (status 500)"),
        (lambda: faults.status(502, "<html>"), 75, "failed (status 502)"),
        (lambda: faults.status(503), 75, "failed (status 503)"),
        (lambda: faults.oauth("server_error", 503), 75, "failed (server_error)"),
        (lambda: faults.status(408), 75, "failed (status 408)"),
        (lambda: faults.html(401), 75, "failed (status 401)"),
        (lambda: faults.html(403), 75, "failed (status 403)"),
    ],
    ids=[
        *("drip body", "drip headers", "late", "reset", "cut", "500", "502", "503", "server_error", "408"),
        *("a firewall's 401", "a firewall's 403"),
    ],
)
def test_an_answer_that_does_not_come_is_in_doubt(
    stored: Site, make: Callable[[], Fault], code: int, says: str
) -> None:
    """It is tried once more, and then noted: the next holder knows."""
    stored.configure(stored.helper, request_timeout="1500ms")
    before = stored.snapshot()
    stored.api.behaviour.next = [make(), make()]
    assert_refused(stored.get(), code, says)
    assert stored.snapshot() == before
    assert stored.api.stats().requests <= 2
    notes = (stored.grant() or {})["data"]["vault_ticket"]
    assert "in_doubt" in notes
    assert "claim" not in notes


def test_a_redirect_is_not_followed(stored: Site) -> None:
    before = stored.snapshot()
    with Emulator() as other:
        for code in (301, 302, 303, 307, 308):
            stored.api.behaviour.next = [faults.redirect(other.token_url, code)]
            assert_refused(stored.get("--force"), 76, f"redirects (status {code})", "token_url")
        assert other.stats().requests == 0
    assert stored.snapshot() == before


def test_no_token_endpoint(stored: Site) -> None:
    before = stored.snapshot()
    stored.api.stop()
    stored.configure(stored.helper, request_timeout="1s")
    assert_refused(stored.get(), 75, "can't be reached: connection refused")
    assert stored.snapshot() == before
    assert "in_doubt" not in (stored.grant() or {})["data"]["vault_ticket"]


@pytest.mark.parametrize(
    "fault",
    [
        faults.answer("access_token"),
        faults.answer(token_type="mac"),
        faults.answer(expires_in=-5),
        faults.answer(access_token="a\nb"),
    ],
    ids=["no access_token", "token_type", "expires_in", "line break"],
)
def test_a_rotated_token_in_a_bad_answer_is_kept(stored: Site, fault: Fault) -> None:
    """The server has rotated all the same: nothing else changes, and the next get works."""
    given = stored.refresh_token()
    stored.api.behaviour.next = [fault]
    assert_refused(stored.get(), 76)
    assert stored.refresh_token() == stored.api.newest(given) != given
    assert stored.ticket() is None
    assert stored.get("--force").code == 0
    assert stored.api.stats().reuses == 0


# -- the configuration


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("[profiles.support]\nclient_di = 'x'", ("profiles.support.client_di", "no such key", "client_id")),
        ("[vault]\nadress = 'x'", ("vault.adress", "Did you mean address?")),
        ("[profile.support]", ("profile", "Did you mean profiles?")),
        ("[profiles.support.grant]\nmont = 'x'", ("profiles.support.grant.mont", "Did you mean mount?")),
        ("[vault]\nauth = { method = 'approl' }", ("vault.auth.method", "approle")),
        ("[vault]\nauth = { method = 'approle' }", ("vault.auth.role_id",)),
        ("[profiles.support]\nsoft_window = 'soon'", ("profiles.support.soft_window", "20m")),
        ("[profiles.support]\nsoft_window = '1m'\nhard_window = '2m'", ("hard_window", "less than soft_window")),
        ("[profiles.support]\ntoken_url = 'http://api.example/token'", ("token_url", "https://")),
        ("[profiles.support]\nclaim_time = '5s'\nrequest_timeout = '10s'", ("claim_time", "1.5 times")),
        ("profiles = 7", ("profiles", "a table")),
        ("[vault", ("is not TOML",)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_configuration_names_file_key_and_what_is_allowed(
    site: Site, config: str, says: tuple[str, ...]
) -> None:
    site.helper.configure(config)
    for command in (["get", "support"], ["status"], ["store", "support"], ["revoke", "support"]):
        assert_refused(site.helper.run(*command, stdin="token"), 78, str(site.helper.config_file), *says)


def test_a_configuration_that_is_named_and_not_there(site: Site) -> None:
    site.helper.environ["VAULT_TICKET_CONFIG"] = "/nosuch/config.toml"
    assert_refused(site.get(), 78, "/nosuch/config.toml", "no such file")


@pytest.mark.parametrize("file", ["nosuch", "empty"])
def test_a_file_of_a_login_that_can_not_be_used(site: Site, file: str) -> None:
    path = site.helper.folder / file
    if file == "empty":
        site.helper.secret_file(file, "\n")
    del site.helper.environ["VAULT_TOKEN"]
    site.configure(site.helper, vault={"auth": {"method": "token", "token_file": str(path)}})
    assert_refused(site.get(), 78, str(path), "Vault token")


def test_a_client_that_the_server_does_not_know(stored: Site) -> None:
    stored.configure(stored.helper, client_id="nobody")
    assert_refused(stored.get(), 78, "invalid_client", "client_id")
    stored.configure(stored.helper, client_id=CLIENT)
    assert stored.get().code == 0  # the correction is enough: nothing is remembered against it
