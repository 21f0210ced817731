"""`vault-ticket setup` on a real server: what it makes works, it can run again, and it takes nothing over."""

import re
import stat
import subprocess
import tomllib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bao import DevServer, Server
from tests.support.cli import COMMAND, Host, Result
from tests.support.emulator import Emulator
from tests.support.flavour import binary

CLIENT = "client-1"


@pytest.fixture
def admin(bao: DevServer, tmp_path: Path) -> Host:
    return administrator(bao, tmp_path / "admin")


@pytest.fixture
def name() -> str:
    """Of a profile, a role and a login's place that only this test uses."""
    return f"s-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def new_server() -> Iterator[DevServer]:
    """With nothing in it, not even the dev server's KV mount."""
    with DevServer() as server:
        assert server.api("DELETE", "sys/mounts/secret")[0] == 204
        yield server


def administrator(bao: Server, folder: Path) -> Host:
    host = Host(folder)
    tools = f"{COMMAND.parent}:{binary().parent}"
    host.environ = dict(bao.env) | {"VAULT_TOKEN": bao.root_token, "PATH": f"{tools}:/usr/bin:/bin"}
    return host


def set_up(admin: Host, name: str, *more: str, code: int = 0) -> Result:
    done = admin.run("setup", name, "--role", name, "--approle", name, *more)
    assert done.code == code, done
    return done


def state(bao: Server) -> dict[str, Any]:
    """All that a setup could change."""
    found: dict[str, Any] = {path: bao.read(path) for path in ("sys/mounts", "sys/auth")}
    found["policies"] = {one: bao.read(f"sys/policies/acl/{one}") for one in listed(bao, "sys/policies/acl")}
    for mount in (path for path, one in found["sys/auth"].items() if one["type"] == "approle"):
        for role in listed(bao, f"auth/{mount}role"):
            where = f"auth/{mount}role/{role}"
            found[where] = (bao.read(where), listed(bao, f"{where}/secret-id"))
    return found


def listed(bao: Server, path: str) -> list[str]:
    keys: list[str] = bao.api("LIST", path)[1].get("data", {}).get("keys", [])
    return sorted(keys)


def commands(text: str) -> list[str]:
    return re.findall(r"^ *\$ (.*)$", text, re.MULTILINE)


def shell(host: Host, command: str, **env: str) -> str:
    done = subprocess.run(
        ["/bin/sh", "-euc", command], env=host.env(env), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def kinds(done: Result) -> set[str]:
    """The first word of each step's line."""
    return {line.split("  ")[0] for line in done.out.partition("\n\n")[0].splitlines() if not line.startswith(" ")}


def test_a_new_server_is_ready_for_store_and_get(new_server: DevServer, emulator: Emulator, tmp_path: Path) -> None:
    """The whole tour with what it made and printed, and nothing else."""
    admin = administrator(new_server, tmp_path / "admin")
    token_url = f'token_url = "{emulator.token_url}"'
    done = admin.run("setup", "support", "--secret-id-file", str(tmp_path / "secret_id"))
    assert done.code == 0, done
    assert kinds(done) == {"made"}
    snippet = re.search(r"^  \[vault\].*?^  \[profiles\.support\]$", done.out, re.MULTILINE | re.DOTALL)
    assert snippet
    helper = Host(tmp_path / "helper")
    helper.configure(f"{snippet[0]}\n{token_url}\n")
    operator = Host(tmp_path / "operator")
    operator.environ = admin.environ | {"STORED": emulator.issue_grant(CLIENT)}
    operator.configure(f"[profiles.support]\n{token_url}\n")
    (store,) = commands(done.out)
    shell(operator, f'echo "$STORED" | ({store} --client-id {CLIENT})')
    for _ in range(2):  # the secret id is not used up
        got = helper.run("get", "support", "--no-cache", "--force", "--format", "token")
        assert got.code == 0, got.err
        assert emulator.access_alive(got.out.strip())
    doctor = helper.run("doctor", "support")
    assert doctor.code == 0, doctor.out
    reader = new_server.token_for("ticket-reader-support")
    assert new_server.api("GET", "secret/data/ticket/support/token", token=reader)[0] == 200
    assert new_server.api("GET", "secret/data/ticket/support/grant", token=reader)[0] == 403


def test_a_second_run_changes_nothing(bao: DevServer, admin: Host, name: str, tmp_path: Path) -> None:
    file = tmp_path / "secret_id"
    set_up(admin, name, "--secret-id-file", str(file))
    before, secret_id = state(bao), file.read_text()
    done = set_up(admin, name, "--secret-id-file", str(file))
    assert kinds(done) == {"there"}
    assert (state(bao), file.read_text()) == (before, secret_id)


def test_a_dry_run_only_reads(bao: DevServer, admin: Host, name: str, tmp_path: Path) -> None:
    before, mark = state(bao), bao.mark()
    done = set_up(admin, name, "--dry-run", "--secret-id-file", str(tmp_path / "secret_id"))
    assert {one.operation for one in bao.requests_seen(since=mark, root=True)} <= {"read", "list"}
    assert state(bao) == before
    assert not (tmp_path / "secret_id").exists()
    assert "to make" in kinds(done)


def test_the_commands_of_a_dry_run_do_the_same(bao: DevServer, admin: Host, name: str) -> None:
    """Typed in by hand they leave nothing for a later run to do; the wrapped secret id logs the helper in."""
    admin.configure({"profiles": {name: {"grant": {"mount": f"kv-{name}"}, "ticket": {"mount": f"kv-{name}"}}}})
    done = set_up(admin, name, "--dry-run")
    *plan, wrap, unwrap, _store = commands(done.out)
    assert len(plan) == 6
    for command in plan:
        shell(admin, command)
    assert kinds(set_up(admin, name)) == {"there"}
    file = admin.folder / "handed-over"
    wrapping_token = shell(admin, wrap)
    shell(admin, unwrap.replace("/etc/vault-ticket/secret_id", str(file)), WRAPPING_TOKEN=wrapping_token)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    role_id = (bao.read(f"auth/{name}/role/{name}/role-id") or {})["role_id"]
    body = {"role_id": role_id, "secret_id": file.read_text().strip()}
    status, login = bao.api("POST", f"auth/{name}/login", body, token="")
    assert (status, login["auth"]["policies"]) == (200, [f"ticket-refresher-{name}"])


def test_the_helpers_login_is_a_short_batch_token_without_the_default_policy(
    bao: DevServer, admin: Host, name: str
) -> None:
    set_up(admin, name)
    role = bao.read(f"auth/{name}/role/{name}") or {}
    assert (role["token_type"], role["token_ttl"], role["token_no_default_policy"]) == ("batch", 300, True)
    assert (role["secret_id_ttl"], role["secret_id_num_uses"]) == (0, 0)


def test_secret_ids_end_when_asked(bao: DevServer, admin: Host, name: str) -> None:
    """A later run that does not say for how long leaves that alone."""
    set_up(admin, name, "--secret-id-ttl", "90d")
    assert kinds(set_up(admin, name)) == {"there"}
    assert (bao.read(f"auth/{name}/role/{name}") or {})["secret_id_ttl"] == 90 * 86400


def test_the_secret_id_is_readable_by_its_owner_alone_and_never_shown(admin: Host, name: str, tmp_path: Path) -> None:
    file = tmp_path / "secret_id"
    done = set_up(admin, name, "-vv", "--secret-id-file", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().strip() not in done.out + done.err


def test_a_file_that_is_no_secret_id_is_not_written_over(admin: Host, name: str, tmp_path: Path) -> None:
    file = tmp_path / "other"
    file.write_text("somebody's own\n")
    done = set_up(admin, name, "--secret-id-file", str(file), code=78)
    assert f"{file} is there, and is no secret id" in done.err
    assert file.read_text() == "somebody's own\n"


def test_no_secret_id_is_made_where_its_file_can_not_be(bao: DevServer, admin: Host, name: str, tmp_path: Path) -> None:
    done = set_up(admin, name, "--secret-id-file", str(tmp_path / "missing" / "secret_id"), code=78)
    assert "no such file or directory" in done.err
    assert bao.api("LIST", f"auth/{name}/role/{name}/secret-id")[0] == 404


# -- what is there already


def test_a_second_profile_adds_its_policy_to_the_role(bao: DevServer, admin: Host, name: str) -> None:
    """One helper logs in once for all its profiles."""
    other = f"{name}-b"
    set_up(admin, name)
    done = admin.run("setup", other, "--role", name, "--approle", name)
    assert done.code == 0, done
    assert f"it gets ticket-refresher-{other} too" in done.out
    policies = (bao.read(f"auth/{name}/role/{name}") or {})["token_policies"]
    assert sorted(policies) == [f"ticket-refresher-{name}", f"ticket-refresher-{other}"]
    assert kinds(set_up(admin, name)) == {"there"}


def test_what_differs_is_told_and_left(bao: DevServer, admin: Host, name: str, tmp_path: Path) -> None:
    set_up(admin, name)
    bao.write_policy(f"ticket-reader-{name}", "# a person's own")
    bao.write(f"auth/{name}/role/{name}", {"token_ttl": "1h", "token_policies": ["payroll"]})
    before = state(bao)
    done = set_up(admin, name, "--secret-id-file", str(tmp_path / "secret_id"), code=78)
    assert f"differs  policy ticket-reader-{name}: its text is another" in done.out
    assert "token_ttl is 1h, not 5m; it has other policies (payroll); it lacks ticket-refresher-" in done.out
    assert "2 of these differ" in done.err
    assert state(bao) == before


def test_replace_changes_what_differs(bao: DevServer, admin: Host, name: str) -> None:
    set_up(admin, name)
    paths = f"auth/{name}/role/{name}", f"sys/policies/acl/ticket-reader-{name}"
    role, policy = (bao.read(path) or {} for path in paths)
    bao.write_policy(f"ticket-reader-{name}", "# a person's own")
    bao.write(f"auth/{name}/role/{name}", {"token_ttl": "1h", "token_policies": ["payroll"]})
    assert kinds(set_up(admin, name, "--replace")) == {"there", "changed"}
    assert bao.read(paths[0]) == role
    assert (bao.read(paths[1]) or {})["policy"] == policy["policy"]


@pytest.mark.parametrize(
    ("there", "profile", "said"),
    [
        ({"type": "kv", "options": {"version": "1"}}, {}, "is a KV v1 mount, and profile"),
        ({"type": "kv", "options": {"version": "2"}}, {"ticket": 1}, "is a KV v2 mount, and profile"),
        ({"type": "transit"}, {}, "is a mount of type transit, not kv"),
    ],
    ids=["v1-for-a-grant", "v2-for-a-v1-ticket", "not-kv"],
)
def test_a_mount_in_the_way_is_an_error_before_anything_is_changed(
    bao: DevServer, admin: Host, name: str, there: dict[str, Any], profile: dict[str, int], said: str
) -> None:
    taken, free = f"taken-{name}", f"free-{name}"
    bao.write(f"sys/mounts/{taken}", there)
    ticket = {"mount": taken, "kv_version": profile.get("ticket", 2)}
    grant = {"mount": free if "ticket" in profile else taken}
    admin.configure({"profiles": {name: {"grant": grant, "ticket": ticket}}})
    before = state(bao)
    assert said in set_up(admin, name, code=78).err
    assert state(bao) == before


def test_a_login_of_another_kind_in_the_way_is_an_error(bao: DevServer, admin: Host, name: str) -> None:
    bao.enable_auth("userpass", name)
    before = state(bao)
    assert f"auth/{name}/ has logins of type userpass" in set_up(admin, name, code=78).err
    assert state(bao) == before


def test_both_kv_versions_where_the_profile_has_both(bao: DevServer, admin: Host, name: str) -> None:
    ticket = {"mount": f"one-{name}", "kv_version": 1}
    admin.configure({"profiles": {name: {"grant": {"mount": f"two-{name}"}, "ticket": ticket}}})
    set_up(admin, name)
    mounts = bao.read("sys/mounts") or {}
    assert mounts[f"one-{name}/"]["options"] == {"version": "1"}
    assert mounts[f"two-{name}/"]["options"] == {"version": "2"}


@pytest.mark.usefixtures("needs_namespaces")
def test_a_namespace_gets_it_all_for_itself(bao: DevServer, admin: Host, name: str) -> None:
    assert bao.api("POST", f"sys/namespaces/{name}", {})[0] == 200
    before = state(bao)
    admin.environ["VAULT_NAMESPACE"] = name
    done = set_up(admin, name)
    assert (kinds(done), state(bao)) == ({"made"}, before)
    assert f'namespace = "{name}"' in done.out
    assert bao.api("GET", f"auth/{name}/role/{name}", namespace=name)[0] == 200
    assert kinds(set_up(admin, name)) == {"there"}


def test_it_takes_the_callers_token_and_not_the_helpers_login(bao: DevServer, admin: Host, name: str) -> None:
    admin.configure({"vault": {"auth": {"method": "approle", "role_id": "none", "mount": name}}})
    done = admin.run("setup", name)
    assert done.code == 0, done
    assert f"{name}/" in (bao.read("sys/auth") or {})  # at the place that the configuration names
    assert 'mount = "' in done.out


@pytest.mark.parametrize("token", ["", "wrong", "reader"])
def test_without_an_administrators_token_it_says_so(bao: DevServer, admin: Host, name: str, token: str) -> None:
    admin.environ["VAULT_TOKEN"] = bao.token_for("default") if token == "reader" else token
    done = set_up(admin, name, code=78)
    assert "VAULT_TOKEN" in done.err
    assert done.out == ""


def test_the_printed_configuration_is_toml_whatever_the_names_hold(bao: DevServer, admin: Host, name: str) -> None:
    quoted = f"{name}.x"
    done = admin.run("setup", quoted, "--approle", f'{name} "quoted"', "--secret-id-file", str(admin.folder / 'a"b'))
    assert done.code == 0, done
    snippet = done.out[done.out.index("  [vault]") : done.out.index("The refresh token")]
    found = tomllib.loads(snippet)
    assert found["vault"]["auth"]["mount"] == f'{name} "quoted"'
    assert found["vault"]["auth"]["secret_id_file"] == str(admin.folder / 'a"b')
    assert list(found["profiles"]) == [quoted]
    helper = Host(admin.folder / "helper")
    helper.configure(snippet)
    assert "no grant is stored" in helper.run("get", quoted).err  # logged in at that odd place
    assert bao.running
