"""`vault-ticket doctor`: each fault is made for real, and named by the right line and no other."""

import json
import re
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.rewriting import RewritingProxy
from tests.e2e.site import CLIENT, POLICIES, Site
from tests.support.bao import DevServer
from tests.support.cli import Host
from tests.support.emulator import Emulator
from tests.support.grants import jwt
from tests.support.process import free_port, wait_until
from tests.support.tls import loopback_certificate
from vault_ticket_plugin.folder import Folder
from vault_ticket_plugin.model import ClientIdentity
from vault_ticket_plugin.refresh.journal_entry import Entry, text_of
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.load import load_settings

Found = dict[str, dict[str, Any]]


@pytest.fixture
def well(site: Site) -> Site:
    """Nothing is wrong: a stored grant, a published ticket, and a helper with a login of its own."""
    role_id, secret_id = site.bao.enable_approle(
        f"r-{site.profile}",
        ["ticket-refresher"],
        token_type="batch",
        token_ttl="5m",
        token_no_default_policy=True,
    )
    site.helper.environ.pop("VAULT_TOKEN")
    site.helper.secret_file("role-id", role_id)
    site.helper.secret_file("secret-id", secret_id)
    site.configure(site.helper, vault=approle(site))
    site.put_grant({"refresh_token": site.api.issue_grant(CLIENT)})
    lease = {"delete_version_after": "3600s", "max_versions": 2}
    assert site.bao.api("POST", f"secret/metadata/{site.ticket_path}", lease)[0] == 204
    site.put_ticket(left=3600, token=jwt({"nbf": int(time.time())}))
    return site


def approle(site: Site, **more: Any) -> dict[str, Any]:
    folder = site.helper.folder
    auth = {"role_id": (folder / "role-id").read_text(), "secret_id_file": str(folder / "secret-id")}
    return {"auth": {"method": "approle", **auth, **more}}


def doctor(host: Host, profile: str, *more: str) -> tuple[int, Found]:
    """Exit code, and the findings by their check's name."""
    done = host.run("doctor", profile, "--format", "json", *more)
    assert done.err == "", done.err
    plain = done.json()
    assert plain["ok"] == (done.code == 0)
    return done.code, {one["check"]: one for one in plain["findings"]}


def wrong(found: Found) -> dict[str, str]:
    """What is not as it should be."""
    return {name: one["status"] for name, one in found.items() if one["status"] in ("warn", "fail")}


def lost(found: Found, because: str) -> set[str]:
    """What could not be tested because of that."""
    return {name for name, one in found.items() if one["message"] == f"not tested: see {because}"}


def token_with(site: Site, hcl: str, **params: Any) -> str:
    site.bao.write_policy(f"extra-{site.profile}", hcl)
    return site.token_of("refresher", policies=["ticket-refresher", f"extra-{site.profile}"], **params)


def by_token(site: Site, token: str, **changes: Any) -> None:
    """The helper with a token file, which something else is taken to renew."""
    file = site.helper.secret_file("token", token)
    site.configure(site.helper, vault={"auth": {"method": "token", "token_file": str(file)}}, **changes)


# -- nothing is wrong


def test_all_is_well(well: Site) -> None:
    code, found = doctor(well.helper, well.profile)
    assert (code, wrong(found)) == (0, {})
    assert [name for name, one in found.items() if one["status"] == "skip"] == ["daemon", "namespace"]


@pytest.mark.parametrize("role", ["reader", "operator"])
def test_all_is_well_for_other_roles(well: Site, role: str) -> None:
    """With the `default` policy, by which a token may ask for its rights."""
    host = well.reader if role == "reader" else well.operator
    host.environ["VAULT_TOKEN"] = well.token_of(role, no_default_policy=False)
    code, found = doctor(host, well.profile, "--role", role)
    assert (code, wrong(found)) == (0, {})
    assert found["rights"]["status"] == "pass"


def test_nothing_is_changed_anywhere(well: Site) -> None:
    """Not in Vault, where a write is only tried that must be refused; not on this host; and no token is spent."""
    fresh = Host(well.helper.folder / "fresh")
    fresh.environ = dict(well.helper.environ)
    fresh.configure(well.helper.config_file.read_text())
    files, before, asked, mark = set(tree(fresh)), well.snapshot(), well.api.stats().requests, well.bao.mark()
    assert doctor(fresh, well.profile)[0] == 0
    assert (set(tree(fresh)), well.snapshot(), well.api.stats().requests) == (files, before, asked)
    writes = [one for one in well.bao.requests_seen(since=mark) if one.operation not in ("read", "list")]
    done = {one.path for one in writes if not one.error}
    assert done == {"auth/approle/login", "sys/capabilities-self"}
    assert [one.path for one in writes if one.error] == [f"secret/data/{well.grant_path}"]


def tree(host: Host) -> Iterator[Path]:
    for place in (host.home, host.runtime, host.state, host.config):
        yield from place.rglob("*")


def test_no_secret_is_shown(well: Site) -> None:
    secrets = [
        (well.helper.folder / "secret-id").read_text(),
        well.refresh_token(),
        (well.ticket() or {})["data"]["access_token"],
    ]
    for more in ([], ["-vv"], ["--format", "json", "-vv"]):
        done = well.helper.run("doctor", well.profile, *more)
        assert done.code == 0
        assert not [one for one in secrets if one in done.out + done.err]


def test_piped_it_is_one_plain_line_a_check(well: Site) -> None:
    _, found = doctor(well.helper, well.profile)
    well.api.stop()
    done = well.helper.run("doctor", well.profile)
    lines = done.out.splitlines()
    assert len(lines) == len(found) + 1
    assert [line.split("  ")[1] for line in lines[:-1]] == list(found)
    assert "\x1b" not in done.out
    (failing,) = [line for line in lines if line.startswith("fail  ")]
    assert "connection refused. Check token_url" in failing
    assert lines[-1] == f"{len(found) - 4} passed, 1 failed, 3 skipped"


# -- this host


def test_a_configuration_with_a_typo(well: Site) -> None:
    well.helper.configure("[valt]\n")
    code, found = doctor(well.helper, well.profile)
    assert (code, wrong(found)) == (78, {"configuration": "fail"})
    assert "valt" in found["configuration"]["message"]
    assert lost(found, "configuration") == set(found) - {"configuration"}


def test_a_cache_folder_that_others_can_read(well: Site) -> None:
    folder = well.helper.runtime / "vault-ticket"
    folder.mkdir(mode=0o755)
    code, found = doctor(well.helper, well.profile)
    assert (code, wrong(found)) == (78, {"runtime folder": "fail"})
    assert "mode 0755, wanted 0700" in found["runtime folder"]["message"]
    assert f"chmod 0700 {folder}" in found["runtime folder"]["hint"]


def test_a_cached_ticket_that_others_can_read(well: Site) -> None:
    assert well.get().code == 0
    (ticket,) = (well.helper.runtime / "vault-ticket").glob("*.ticket")
    ticket.chmod(0o644)
    _, found = doctor(well.helper, well.profile)
    assert wrong(found) == {"runtime folder": "fail"}
    assert f"chmod 0600 {ticket}" in found["runtime folder"]["hint"]


def test_a_runtime_folder_that_can_not_be_made(well: Site) -> None:
    well.helper.environ["XDG_RUNTIME_DIR"] = str(well.helper.secret_file("file", "") / "not" / "there")
    _, found = doctor(well.helper, well.profile)
    assert wrong(found) == {"runtime folder": "warn"}
    well.helper.environ["XDG_RUNTIME_DIR"] = str(well.helper.folder / "not" / "there")
    assert wrong(doctor(well.helper, well.profile)[1]) == {}


def test_a_state_folder_that_can_not_be_made(well: Site) -> None:
    well.helper.environ["XDG_STATE_HOME"] = str(well.helper.secret_file("file", "") / "state")
    (well.helper.home / ".local").touch()  # nor is there one that follows from the user alone
    _, found = doctor(well.helper, well.profile)
    assert wrong(found) == {"journal": "warn"}
    assert "in memory only" in found["journal"]["message"]


def test_a_state_folder_that_others_can_write(well: Site) -> None:
    """Somebody could put a token of theirs there."""
    (well.helper.state / "vault-ticket").mkdir()
    (well.helper.state / "vault-ticket").chmod(0o777)
    code, found = doctor(well.helper, well.profile)
    assert (code, wrong(found)) == (65, {"journal": "fail"})


@pytest.mark.parametrize("place", ["runtime", "state"])
def test_a_journal_that_waits(well: Site, place: str) -> None:
    """In memory, as after SIGKILL, or on disk, as after Vault was away."""
    settings = load_settings(well.helper.env())
    profile = settings.profile(well.profile)
    entry = Entry(
        kind="rotation",
        profile=profile.name,
        grant=settings.grant_key(profile),
        where=profile.grant,
        spent="0" * 16,
        refresh_token=Secret("the-only-good-one"),
        client=ClientIdentity(CLIENT),
        at=0.0,
        version=1,
    )
    folder = well.helper.runtime if place == "runtime" else well.helper.state
    with Folder(str(folder / "vault-ticket")) as kept:
        kept.write(entry.name, text_of(entry))
    code, found = doctor(well.helper, well.profile)
    assert (code, wrong(found)) == (74, {"journal": "fail"})
    assert f"vault-ticket get {well.profile}" in found["journal"]["hint"]
    assert "the-only-good-one" not in str(found)


def test_a_journal_of_another_grant(well: Site) -> None:
    state = well.helper.state / "vault-ticket"
    state.mkdir(mode=0o700)
    (state / "other-0123.journal").touch(mode=0o600)
    _, found = doctor(well.helper, well.profile)
    assert wrong(found) == {"journal": "warn"}
    assert "other-0123.journal" in found["journal"]["message"]


def test_a_secret_id_file_that_others_can_read(well: Site) -> None:
    (well.helper.folder / "secret-id").chmod(0o644)
    _, found = doctor(well.helper, well.profile)
    assert wrong(found) == {"login files": "warn"}


AGENT = 'template_config {\n  # static_secret_render_interval = "1s"\n  %s\n}\n'


@pytest.mark.parametrize(
    ("setting", "status"),
    [
        ('static_secret_render_interval = "30m"', "fail"),
        ('static_secret_render_interval = "1m"', "pass"),
        ("", "pass"),
        ('static_secret_render_interval = "soon"', "fail"),
    ],
)
def test_the_agents_interval_against_the_soft_window(well: Site, setting: str, status: str) -> None:
    file = well.helper.folder / "agent.hcl"
    file.write_text(AGENT % setting)
    _, found = doctor(well.helper, well.profile, "--agent-config", str(file))
    assert found["agent interval"]["status"] == status


def test_an_agents_default_interval_is_too_long_for_short_tickets(well: Site) -> None:
    """What `agent-config` prints for the profile is short enough."""
    well.configure(well.helper, vault=approle(well), soft_window="1m")
    file = well.helper.folder / "agent.hcl"
    file.write_text(AGENT % "")
    assert wrong(doctor(well.helper, well.profile, "--agent-config", str(file))[1]) == {"agent interval": "fail"}
    made = well.helper.run("agent-config", well.profile)
    file.write_text(made.out)
    assert wrong(doctor(well.helper, well.profile, "--agent-config", str(file))[1]) == {}


# -- the way to Vault


def test_a_wrong_address(well: Site) -> None:
    well.helper.environ["VAULT_ADDR"] = f"http://127.0.0.1:{free_port()}"
    code, found = doctor(well.helper, well.profile)
    assert (code, wrong(found)) == (69, {"address": "fail"})
    assert "connection refused" in found["address"]["message"]
    assert {"tls", "seal", "login", "rights", "check-and-set", "lease"} <= lost(found, "address")
    assert found["endpoint"]["status"] == "pass"


def test_a_name_that_nobody_knows(well: Site) -> None:
    well.helper.environ["VAULT_ADDR"] = "http://vault.invalid:8200"
    code, found = doctor(well.helper, well.profile)
    assert (code, wrong(found)) == (69, {"dns": "fail"})


def test_something_else_answers(well: Site, emulator: Emulator) -> None:
    well.helper.environ["VAULT_ADDR"] = emulator.url
    _, found = doctor(well.helper, well.profile)
    assert found["seal"]["status"] == "fail"
    assert "is not Vault" in found["seal"]["message"]


def test_a_ca_that_is_not_known(host: Host) -> None:
    with DevServer(tls=True) as bao:
        host.environ = dict(bao.env) | {"VAULT_TOKEN": bao.root_token}
        _, trusted = doctor(host, "x")
        del host.environ["VAULT_CACERT"]
        code, found = doctor(host, "x")
    assert trusted["tls"]["status"] == "pass"
    assert "TLSv1." in trusted["tls"]["message"]
    assert (code, found["tls"]["status"]) == (69, "fail")
    assert "not trusted" in found["tls"]["message"]
    assert "ca_cert" in found["tls"]["hint"]
    assert found["address"]["status"] == "pass"


def test_a_certificate_for_another_name_and_one_that_is_not_verified(host: Host) -> None:
    with DevServer(tls=True) as bao:
        host.environ = dict(bao.env) | {"VAULT_TOKEN": bao.root_token, "VAULT_TLS_SERVER_NAME": "vault.example"}
        _, other = doctor(host, "x")
        host.environ = {"VAULT_ADDR": bao.address, "VAULT_TOKEN": bao.root_token, "VAULT_SKIP_VERIFY": "true"}
        _, unverified = doctor(host, "x")
    assert other["tls"]["status"] == "fail"
    assert unverified["tls"]["status"] == "warn"
    assert unverified["seal"]["status"] == "pass"


def test_sealed(host: Host) -> None:
    with DevServer() as bao:
        host.environ = dict(bao.env) | {"VAULT_TOKEN": bao.root_token}
        bao.seal()
        code, found = doctor(host, "x")
    assert (code, found["seal"]["status"]) == (69, "fail")
    assert {name for name, one in found.items() if one["status"] == "fail" and "endpoint" not in name} == {"seal"}
    assert {"login", "mounts", "grant"} <= lost(found, "seal")


@pytest.mark.parametrize(("version", "said"), [("1.7.0", {}), ("1.6.9", {"version": "warn"})])
def test_an_old_server(well: Site, version: str, said: dict[str, str]) -> None:
    def aged(body: bytes) -> bytes:
        return re.sub(rb'"version":"\d+\.[^"]*"', f'"version":"{version}"'.encode(), body)

    with RewritingProxy(well.bao.port, answer=aged) as proxy:
        well.helper.environ["VAULT_ADDR"] = proxy.address
        assert wrong(doctor(well.helper, well.profile)[1]) == said


@pytest.mark.parametrize(("skew", "status"), [(180, "fail"), (-180, "fail"), (20, "warn"), (2, "pass")])
def test_a_skewed_clock(well: Site, skew: int, status: str) -> None:
    """Vault's Date is `skew` seconds ahead of this host's clock."""
    with RewritingProxy(well.bao.port, date=lambda: formatdate(time.time() + skew, usegmt=True)) as proxy:
        well.helper.environ["VAULT_ADDR"] = proxy.address
        _, found = doctor(well.helper, well.profile)
    assert found["clock"]["status"] == status
    assert set(wrong(found)) <= {"clock"}
    if status != "pass":
        assert ("behind Vault's" if skew > 0 else "ahead of Vault's") in found["clock"]["message"]


# -- login, token and rights


def test_an_expired_token(well: Site) -> None:
    token = well.token_of("refresher", ttl="1s")
    by_token(well, token)
    wait_until(lambda: not well.bao.token_valid(token), "the token's end")
    code, found = doctor(well.helper, well.profile)
    assert (code, wrong(found)) == (77, {"login": "fail"})
    assert "does not accept our token" in found["login"]["message"]
    assert {"token", "mounts", "rights", "excess rights", "grant", "ticket"} <= lost(found, "login")


def test_a_wrong_secret_id(well: Site) -> None:
    (well.helper.folder / "secret-id").write_text("wrong")
    code, found = doctor(well.helper, well.profile)
    assert (code, wrong(found)) == (77, {"login": "fail"})


def test_a_secret_id_file_that_is_not_there(well: Site) -> None:
    (well.helper.folder / "secret-id").unlink()
    code, found = doctor(well.helper, well.profile)
    assert (code, wrong(found)) == (78, {"login files": "fail", "login": "fail"})


def test_a_wrapped_secret_id_is_looked_at_and_not_used_up(well: Site) -> None:
    file = well.helper.folder / "secret-id"
    file.write_text(well.bao.secret_id(f"r-{well.profile}", wrap_ttl="5m"))
    well.configure(well.helper, vault=approle(well, wrapped=True))
    code, found = doctor(well.helper, well.profile)
    assert (code, found["login"]["status"]) == (0, "skip")
    assert "grant" in lost(found, "login")
    assert well.get("--no-cache", "--force").code == 0  # it was still good; now it is not
    code, found = doctor(well.helper, well.profile)
    assert (code, wrong(found)) == (77, {"login": "fail"})


def test_a_static_token_that_ends_soon(well: Site) -> None:
    well.configure(well.helper)
    well.helper.environ["VAULT_TOKEN"] = well.token_of("refresher", ttl="30m")
    _, found = doctor(well.helper, well.profile)
    assert wrong(found) == {"token": "warn"}
    assert "nothing renews it" in found["token"]["message"]


def test_a_login_whose_tokens_are_too_short(well: Site) -> None:
    well.bao.enable_approle(f"r-{well.profile}", ["ticket-refresher"], token_ttl="10s")
    code, found = doctor(well.helper, well.profile)
    assert (code, wrong(found)) == (78, {"token": "fail"})


def test_a_token_with_few_uses(well: Site) -> None:
    by_token(well, well.token_of("refresher", num_uses=100))
    _, found = doctor(well.helper, well.profile)
    assert wrong(found) == {"token": "warn"}


def test_a_policy_that_lacks_a_right(well: Site) -> None:
    """The grant can be read, and not written."""
    hcl = (POLICIES / "ticket-refresher.hcl").read_text().replace('["read", "update"]', '["read"]', 1)
    well.bao.write_policy(f"cut-{well.profile}", hcl)
    by_token(well, well.bao.token_for(f"cut-{well.profile}", ttl="30m", no_default_policy=True))
    code, found = doctor(well.helper, well.profile)
    assert (code, wrong(found)) == (77, {"rights": "fail"})
    assert f"lacks update on secret/data/{well.grant_path}" in found["rights"]["message"]
    assert f"vault-ticket policy refresher {well.profile}" in found["rights"]["hint"]
    assert {"grant", "check-and-set"} <= lost(found, "rights")


def test_a_token_that_may_not_ask_for_its_rights(well: Site) -> None:
    by_token(well, well.token_of("reader"))
    code, found = doctor(well.helper, well.profile)
    assert (code, wrong(found)) == (77, {"token": "fail", "rights": "fail"})
    _, found = doctor(well.helper, well.profile, "--role", "reader")  # to whom nobody has promised that
    assert (found["rights"]["status"], found["excess rights"]["status"], wrong(found)) == ("skip", "skip", {})


def test_a_policy_that_gives_too_much(well: Site) -> None:
    by_token(well, token_with(well, 'path "secret/*" { capabilities = ["read", "list", "delete"] }'))
    _, found = doctor(well.helper, well.profile)
    assert wrong(found) == {"excess rights": "warn"}
    assert f"delete, list, read on secret/delete/{well.grant_path}" in found["excess rights"]["message"]
    assert "; and 4 more" in found["excess rights"]["message"]


def test_a_policy_that_lets_a_helper_make_policies(well: Site) -> None:
    by_token(well, token_with(well, 'path "sys/policies/acl/*" { capabilities = ["update"] }'))
    _, found = doctor(well.helper, well.profile)
    assert wrong(found) == {"excess rights": "warn"}
    assert "update on sys/policies/acl/" in found["excess rights"]["message"]


@pytest.mark.parametrize("role", ["reader", "operator"])
def test_a_reader_or_operator_that_could_read_the_refresh_token(well: Site, role: str) -> None:
    well.bao.write_policy(
        f"extra-{well.profile}", f'path "secret/data/{well.grant_path}" {{ capabilities = ["read"] }}'
    )
    policies = [f"ticket-{role}", f"extra-{well.profile}"]
    well.reader.environ["VAULT_TOKEN"] = well.bao.token_for(*policies, ttl="30m")
    code, found = doctor(well.reader, well.profile, "--role", role)
    assert (code, wrong(found)["excess rights"]) == (77, "fail")
    assert "may read the refresh token" in found["excess rights"]["message"]


def test_a_root_token(well: Site) -> None:
    by_token(well, well.bao.root_token)
    code, found = doctor(well.helper, well.profile)
    assert (code, wrong(found)) == (78, {"token": "warn", "excess rights": "warn"})


@pytest.mark.usefixtures("needs_namespaces")
def test_a_wrong_namespace(well: Site) -> None:
    """It is named before a login could fail for it."""
    by_token(well, well.bao.token_for("ticket-refresher", ttl="30m"))
    well.helper.environ["VAULT_NAMESPACE"] = "elsewhere"
    code, found = doctor(well.helper, well.profile)
    assert (code, wrong(found)) == (78, {"namespace": "fail"})
    assert "has no namespace elsewhere" in found["namespace"]["message"]
    assert {"login", "token", "mounts"} <= lost(found, "namespace")


@pytest.mark.usefixtures("needs_namespaces")
def test_another_teams_namespace(well: Site) -> None:
    """It is there, and a token of ours means nothing in it."""
    name = f"team-{well.profile}"
    well.bao.write(f"sys/namespaces/{name}", {})
    by_token(well, well.bao.token_for("ticket-refresher", ttl="30m"))
    well.helper.environ["VAULT_NAMESPACE"] = name
    code, found = doctor(well.helper, well.profile)
    assert (code, wrong(found)) == (78, {"mounts": "fail"})
    assert found["namespace"]["status"] == "pass"
    assert "no mount secret" in found["mounts"]["message"]


# -- mounts and documents


@pytest.mark.parametrize("what", ["grant", "ticket"])
def test_a_v1_mount_where_v2_is_needed(well: Site, what: str) -> None:
    mount = well.bao.new_kv(version=1)
    token = token_with(well, f'path "{mount}/*" {{ capabilities = ["create", "read", "update"] }}')
    by_token(well, token, **{what: {"mount": mount}})
    code, found = doctor(well.helper, well.profile)
    assert (code, found["mounts"]["status"]) == (78, "fail")
    assert f"{mount} is a KV v1 mount, and the profile says v2" in found["mounts"]["message"]
    assert "check-and-set" in lost(found, "mounts")


def test_a_mount_that_is_not_there(well: Site) -> None:
    well.configure(well.helper, vault=approle(well), ticket={"mount": "nowhere"})
    code, found = doctor(well.helper, well.profile)
    assert (code, wrong(found)) == (78, {"mounts": "fail"})
    assert "no mount nowhere" in found["mounts"]["message"]


def test_no_grant(well: Site) -> None:
    assert well.bao.api("DELETE", f"secret/metadata/{well.grant_path}")[0] == 204
    code, found = doctor(well.helper, well.profile)
    assert (code, wrong(found)) == (66, {"grant": "fail"})
    assert f"vault-ticket store {well.profile}" in found["grant"]["hint"]
    assert lost(found, "grant") == {"check-and-set"}


def test_a_grant_that_is_dead(well: Site) -> None:
    """Found once by a refresh; the doctor asks nobody."""
    well.api.revoke(well.refresh_token())
    assert well.get("--force", "--no-cache").code == 0  # what is usable is handed out
    code, found = doctor(well.helper, well.profile)
    assert (code, wrong(found)) == (77, {"grant": "fail"})
    assert "not valid" in found["grant"]["message"]


@pytest.mark.parametrize("role", ["refresher", "operator"])
def test_a_grant_that_its_metadata_will_delete(well: Site, role: str) -> None:
    """Before a version ends, and whether or not the newest does already."""
    path = f"secret/metadata/{well.grant_path}"
    assert well.bao.api("POST", path, {"delete_version_after": "30m"})[0] == 204
    host = well.operator if role == "operator" else well.helper
    if role == "operator":
        host.environ["VAULT_TOKEN"] = well.token_of(role, no_default_policy=False)
    for _ in range(2):
        code, found = doctor(host, well.profile, "--role", role)
        assert (code, wrong(found)) == (78, {"grant": "fail"})
        assert "30m0s after it was written" in found["grant"]["message"]
        assert "-delete-version-after=0s" in found["grant"]["hint"]
        well.put_grant({"refresh_token": well.refresh_token(), "client_id": CLIENT})
    # What the hint says, and the next write, mend it.
    assert well.bao.api("POST", path, {"delete_version_after": "0s"})[0] == 204
    well.put_grant({"refresh_token": well.refresh_token(), "client_id": CLIENT})
    assert doctor(host, well.profile, "--role", role)[0] == 0


def test_a_grant_that_its_mount_will_delete(well: Site) -> None:
    mount = well.bao.new_kv()
    grant = {"mount": mount, "path": "g"}
    assert well.bao.api("POST", f"{mount}/config", {"delete_version_after": "1h"})[0] == 204
    well.bao.write(f"{mount}/data/g", {"data": {"refresh_token": well.refresh_token(), "client_id": CLIENT}})
    own = f'''
        path "{mount}/data/g" {{ capabilities = ["read", "update"] }}
        path "{mount}/metadata/g" {{ capabilities = ["read", "patch"] }}
    '''
    by_token(well, token_with(well, own), grant=grant)
    code, found = doctor(well.helper, well.profile)
    assert code == 78
    assert "fail" in found["grant"]["status"]
    assert f"the mount {mount}/ has a delete_version_after" in found["grant"]["message"]
    assert f"{mount}/config delete_version_after=0s" in found["grant"]["hint"]


def test_no_client_id_anywhere(well: Site) -> None:
    well.configure(well.helper, vault=approle(well), client_id=None)
    code, found = doctor(well.helper, well.profile)
    assert (code, wrong(found)) == (78, {"grant": "fail"})


def test_check_and_set_that_gets_lost_on_the_way(well: Site) -> None:
    """The write that should have been refused has put there what stood there."""

    def without_cas(body: bytes) -> bytes:
        plain = json.loads(body) if body else None
        return (
            body
            if not isinstance(plain, dict) or "options" not in plain
            else json.dumps({"data": plain["data"]}).encode()
        )

    before = (well.grant() or {})["data"]
    with RewritingProxy(well.bao.port, request=without_cas) as proxy:
        well.helper.environ["VAULT_ADDR"] = proxy.address
        _, found = doctor(well.helper, well.profile)
    assert wrong(found) == {"check-and-set": "fail"}
    assert (well.grant() or {})["data"] == before


def test_something_that_is_no_ticket(well: Site) -> None:
    well._put(f"secret/data/{well.ticket_path}", {"data": {"password": "x"}})
    code, found = doctor(well.helper, well.profile)
    assert (code, wrong(found)) == (65, {"ticket": "fail"})


def test_no_ticket_is_wrong_for_a_reader_alone(well: Site) -> None:
    """A helper publishes one when it is next asked."""
    well.remove_ticket()
    assert wrong(doctor(well.helper, well.profile)[1]) == {}
    well.reader.environ["VAULT_TOKEN"] = well.token_of("reader", no_default_policy=False)
    code, found = doctor(well.reader, well.profile, "--role", "reader")
    assert (code, wrong(found)) == (66, {"ticket": "fail"})


def test_a_version_that_outlives_its_ticket(well: Site) -> None:
    well.put_ticket(left=1800)  # the metadata says an hour
    code, found = doctor(well.helper, well.profile)
    assert (code, wrong(found)) == (78, {"lease": "fail"})
    assert "outlives its ticket" in found["lease"]["message"]


def test_a_version_that_is_deleted_too_early(well: Site) -> None:
    body = {"delete_version_after": "10m", "max_versions": 2}
    assert well.bao.api("POST", f"secret/metadata/{well.ticket_path}", body)[0] == 204
    well.put_ticket(left=3500)
    _, found = doctor(well.helper, well.profile)
    assert wrong(found) == {"lease": "warn"}
    assert "before its ticket ends" in found["lease"]["message"]


def test_a_deletion_that_agents_could_not_render(well: Site) -> None:
    well.configure(well.helper, vault=approle(well), lease="field")
    _, found = doctor(well.helper, well.profile)
    assert wrong(found) == {"lease": "warn"}
    assert "OpenBao Agent" in found["lease"]["message"]
    assert well.get("--force", "--no-cache").code == 0
    assert wrong(doctor(well.helper, well.profile)[1]) == {}


def test_too_many_versions_are_kept(well: Site) -> None:
    assert well.bao.api("POST", f"secret/metadata/{well.ticket_path}", {"max_versions": 20})[0] == 204
    _, found = doctor(well.helper, well.profile)
    assert wrong(found) == {"lease": "warn"}
    assert "20 versions are kept" in found["lease"]["message"]


@pytest.mark.parametrize(("ttl", "status"), [("30m", "fail"), ("5m", "pass"), (None, "fail")])
def test_the_promise_of_a_ticket_on_kv_v1(well: Site, ttl: str | None, status: str) -> None:
    mount = well.bao.new_kv(version=1)
    hcl = f'path "{mount}/ticket/+/token" {{ capabilities = ["create", "read", "update", "delete"] }}'
    by_token(well, token_with(well, hcl), ticket={"mount": mount, "kv_version": 1})
    well.put_ticket(left=3500)
    data = (well.ticket() or {})["data"] | ({"ttl": ttl} if ttl else {})
    assert well.bao.api("POST", f"{mount}/{well.ticket_path}", data)[0] == 204
    _, found = doctor(well.helper, well.profile)
    assert found["lease"]["status"] == status
    assert set(wrong(found)) <= {"lease", "excess rights"}  # the standard policy is for KV v2


@pytest.mark.parametrize(("skew", "status"), [(300, "fail"), (-300, "fail"), (30, "warn"), (4, "pass")])
def test_the_token_endpoints_clock(well: Site, skew: int, status: str) -> None:
    """As a JWT tells it, against what Vault's was when it was published."""
    ticket = well.ticket() or {}
    token = jwt({"nbf": time.time() + skew})
    well._put(f"secret/data/{well.ticket_path}", {"data": ticket["data"] | {"access_token": token}})
    _, found = doctor(well.helper, well.profile)
    assert found["ticket clock"]["status"] == status
    assert set(wrong(found)) <= {"ticket clock"}


def test_a_ticket_that_is_no_jwt_tells_no_time(well: Site) -> None:
    ticket = well.ticket() or {}
    well._put(f"secret/data/{well.ticket_path}", {"data": ticket["data"] | {"access_token": "opaque"}})
    code, found = doctor(well.helper, well.profile)
    assert (code, found["ticket clock"]["status"]) == (0, "skip")


# -- the token endpoint


def test_a_token_endpoint_that_is_away(well: Site) -> None:
    well.api.stop()
    code, found = doctor(well.helper, well.profile)
    assert (code, wrong(found)) == (75, {"endpoint": "fail"})
    assert lost(found, "endpoint") == {"endpoint tls"}


def test_a_token_endpoint_whose_name_nobody_knows(well: Site) -> None:
    well.configure(well.helper, vault=approle(well), token_url="https://api.invalid/token")
    code, found = doctor(well.helper, well.profile)
    assert (code, wrong(found)) == (75, {"endpoint dns": "fail"})


def test_a_token_endpoints_certificate(well: Site, tmp_path: Path) -> None:
    """A handshake and nothing more: no request gets there."""
    made = loopback_certificate(tmp_path)
    with Emulator(cert=made.cert, key=made.key) as api:
        well.configure(well.helper, vault=approle(well), token_url=api.token_url)
        code, found = doctor(well.helper, well.profile)
        assert (code, wrong(found)) == (75, {"endpoint tls": "fail"})
        assert "the profile's ca_cert" in found["endpoint tls"]["hint"]
        well.configure(well.helper, vault=approle(well), token_url=api.token_url, ca_cert=str(made.ca))
        code, found = doctor(well.helper, well.profile)
        assert (code, wrong(found)) == (0, {})
        assert api.stats().requests == 0
