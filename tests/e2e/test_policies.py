"""policies/*.hcl: each role can do its work, may not do a thing more, and has no rule that it does not need."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.site import CLIENT, POLICIES, ROLES, Site

GRANT, TICKET = "secret/{part}/ticket/{profile}/grant", "secret/{part}/ticket/{profile}/token"


def status_of(site: Site, role: str, method: str, path: str) -> int:
    body = {"data": {"x": 1}} if method == "POST" else None
    where = path.format(profile=site.profile)
    return site.bao.api(method, where, body, token=site.token_of(role))[0]


NEVER = [
    # Nobody browses, and `+` stands for one profile, not for a tree.
    *((role, "LIST", "secret/metadata/ticket") for role in ROLES),
    *((role, "LIST", "secret/metadata/ticket/{profile}") for role in ROLES),
    *((role, "GET", "secret/data/ticket/{profile}/deeper/token") for role in ROLES),
    *((role, "GET", "secret/data/ticket/{profile}/other") for role in ROLES),
    *((role, "POST", "secret/data/ticket/{profile}/other") for role in ROLES),
    *((role, "POST", "secret/data/elsewhere") for role in ROLES),
    *((role, "GET", "secret/config") for role in ROLES),
    *((role, "GET", "sys/mounts") for role in ROLES),
    *((role, "POST", "auth/token/create") for role in ROLES),
    # No version of a grant is ever deleted: its numbers are what check-and-set stands on.
    *((role, "DELETE", "secret/metadata/ticket/{profile}/grant") for role in ROLES),
    *((role, "DELETE", "secret/data/ticket/{profile}/grant") for role in ROLES),
    *((role, "POST", "secret/delete/ticket/{profile}/grant") for role in ROLES),
    *((role, "POST", "secret/destroy/ticket/{profile}/grant") for role in ROLES),
    *((role, "POST", "secret/metadata/ticket/{profile}/grant") for role in ROLES),
    *((role, "DELETE", "secret/metadata/ticket/{profile}/token") for role in ROLES),
    # I7: a refresh token is read by the helper alone.
    ("reader", "GET", "secret/data/ticket/{profile}/grant"),
    ("reader", "GET", "secret/metadata/ticket/{profile}/grant"),
    ("operator", "GET", "secret/data/ticket/{profile}/grant"),
    # A reader only reads.
    ("reader", "POST", "secret/data/ticket/{profile}/grant"),
    ("reader", "POST", "secret/data/ticket/{profile}/token"),
    ("reader", "DELETE", "secret/data/ticket/{profile}/token"),
    ("reader", "POST", "secret/metadata/ticket/{profile}/token"),
    ("reader", "POST", "secret/destroy/ticket/{profile}/token"),
    ("operator", "POST", "secret/destroy/ticket/{profile}/token"),
    # The helper keeps grants; a person makes them.
    ("refresher", "POST", "secret/data/ticket/{profile}-never-stored/grant"),
]


@pytest.mark.parametrize(("role", "method", "path"), NEVER, ids=lambda part: part)
def test_a_role_may_not(site: Site, role: str, method: str, path: str) -> None:
    site.put_grant({"refresh_token": "token"})
    site.put_ticket(left=3000)
    before = site.snapshot()
    assert status_of(site, role, method, path) == 403
    assert site.snapshot() == before


@pytest.mark.parametrize(
    ("role", "path", "readable"),
    [
        ("reader", "secret/data/ticket/{profile}/token", True),
        ("refresher", "secret/data/ticket/{profile}/token", True),
        ("refresher", "secret/data/ticket/{profile}/grant", True),
        ("operator", "secret/data/ticket/{profile}/grant", False),
    ],
)
def test_who_can_read_what(site: Site, role: str, path: str, readable: bool) -> None:
    site.put_grant({"refresh_token": "token"})
    site.put_ticket(left=3000)
    assert status_of(site, role, "GET", path) == (200 if readable else 403)


# -- no rule too many


# Where nothing is yet and then anew, in both ways of a lease: each needs other calls.
LEASES = ((True, "field"), (False, "delete"), (True, "delete"), (False, "field"))


def operator_works(site: Site) -> bool:
    for fresh, lease in LEASES:
        if fresh:
            site.remove_ticket()
        site.configure(site.operator, lease=lease)
        done = site.operator.run("store", site.profile, stdin=site.api.issue_grant(CLIENT))
        if done.code or not is_published(site, lease):
            return False
        site.put_ticket(left=100, lifetime=200)  # to be replaced by the next one
    return noted(site) == len(LEASES)


def noted(site: Site) -> int:
    """How many spent refresh tokens are noted beside the grant."""
    metadata = site.bao.api("GET", f"secret/metadata/{site.grant_path}")[1]["data"]
    return len(((metadata["custom_metadata"] or {}).get("vault_ticket_spent") or "").split())


def is_published(site: Site, lease: str) -> bool:
    ticket = site.ticket() or {}
    if not ticket.get("data") or not site.api.access_alive(ticket["data"]["access_token"]):
        return False
    return bool(ticket["metadata"]["deletion_time"]) == (lease == "delete")


def reader_works(site: Site) -> bool:
    """Reads the ticket; an agent with the reader's token renews that, too."""
    site.put_ticket(left=3000)
    renewed = site.bao.api("POST", "auth/token/renew-self", {}, token=site.reader.environ["VAULT_TOKEN"])[0]
    return renewed == 200 and site.reader.run("get", site.profile, "--wrap", "9s").code == 0


def refresher_works(site: Site) -> bool:
    """Publishes, notes what it spent first, wraps, withdraws, and gives its own token back."""
    before = accessors(site)
    log_in_by_approle(site)
    site.put_grant({"refresh_token": site.api.issue_grant(CLIENT), "client_id": CLIENT})
    for fresh, lease in LEASES:
        if fresh:
            site.remove_ticket()
        site.configure(site.helper, lease=lease, vault=approle(site))
        done = site.get("--no-cache", "--force")
        if done.code or done.err or not is_published(site, lease):
            return False
    if noted(site) != 1:
        return False
    if site.helper.run("revoke", site.profile).code != 0 or not accessors(site) <= before:
        return False
    if site.get("--wrap", "9s").code != 0:
        return False
    # An agent has the refresher's token: the first is its heartbeat, and it renews. `doctor` asks the others.
    token = site.bao.token_for(f"cut-{site.profile}", ttl="1m", no_default_policy=True)
    asked: list[tuple[str, str, dict[str, Any] | None]] = [
        ("GET", "auth/token/lookup-self", None),
        ("POST", "auth/token/renew-self", {}),
        ("POST", "sys/capabilities-self", {"paths": ["x"]}),
        ("GET", f"secret/metadata/{site.ticket_path}", None),
    ]
    return all(site.bao.api(*one, token=token)[0] == 200 for one in asked)


def accessors(site: Site) -> set[str]:
    return set(site.bao.api("LIST", "auth/token/accessors")[1]["data"]["keys"])


def log_in_by_approle(site: Site) -> None:
    """By AppRole, with the policy under test alone."""
    role_id, secret_id = site.bao.enable_approle(
        f"r-{site.profile}", [f"cut-{site.profile}"], token_ttl="10m", token_no_default_policy=True
    )
    site.helper.environ.pop("VAULT_TOKEN", None)
    site.helper.secret_file("role-id", role_id)
    site.helper.secret_file("secret-id", secret_id)


def approle(site: Site) -> dict[str, object]:
    folder = site.helper.folder
    role_id = (folder / "role-id").read_text()
    return {"auth": {"method": "approle", "role_id": role_id, "secret_id_file": str(folder / "secret-id")}}


WORK: dict[str, Callable[[Site], bool]] = {
    "operator": operator_works,
    "reader": reader_works,
    "refresher": refresher_works,
}
RULE = re.compile(r'path "([^"]+)" \{\s*capabilities = \[([^\]]+)\]\s*\}')


def rules(role: str) -> list[tuple[str, str]]:
    """(path, capability), one by one."""
    text = (POLICIES / f"ticket-{role}.hcl").read_text()
    found = [(path, one) for path, many in RULE.findall(text) for one in re.findall(r'"(\w+)"', many)]
    assert len(RULE.findall(text)) == text.count("path ")
    return found


def hcl(parts: list[tuple[str, str]]) -> str:
    paths = dict.fromkeys(path for path, _ in parts)
    lists = {path: ", ".join(f'"{one}"' for where, one in parts if where == path) for path in paths}
    return "\n".join(f'path "{path}" {{ capabilities = [{many}] }}' for path, many in lists.items())


def under(site: Site, role: str, parts: list[tuple[str, str]]) -> None:
    site.bao.write_policy(f"cut-{site.profile}", hcl(parts) or "# nothing at all")
    token = site.bao.token_for(f"cut-{site.profile}", ttl="10m", no_default_policy=True)
    (site.operator if role == "operator" else site.reader).environ["VAULT_TOKEN"] = token


@pytest.mark.parametrize("role", ROLES)
def test_a_role_can_do_its_work_with_its_policy_alone(site: Site, role: str) -> None:
    under(site, role, rules(role))
    assert WORK[role](site)


@pytest.mark.parametrize(
    ("role", "rule"),
    [(role, rule) for role in ROLES for rule in rules(role)],
    ids=lambda part: part if isinstance(part, str) else "-".join(part),
)
def test_a_role_needs_each_of_its_rules(site: Site, role: str, rule: tuple[str, str]) -> None:
    under(site, role, [one for one in rules(role) if one != rule])
    assert not WORK[role](site)


def test_what_a_denial_says_to_a_reader(site: Site) -> None:
    """It names the call that was denied, and does not send readers after a right that is not theirs."""
    site.put_grant({"refresh_token": "token"})
    done = site.reader.run("get", site.profile)
    assert (done.code, done.out) == (77, "")
    assert f"Vault denies GET secret/data/{site.grant_path}" in done.err
    assert "ticket-refresher.hcl" in done.err
    assert "need `read`" not in done.err


def test_an_operator_without_the_right_to_write_spends_nothing(site: Site) -> None:
    """With the server's `default` policy, which lets a token ask for its own rights."""
    token = site.api.issue_grant(CLIENT)
    site.operator.environ["VAULT_TOKEN"] = site.token_of("reader", no_default_policy=False)
    done = site.operator.run("store", site.profile, stdin=token)
    assert (done.code, done.out) == (77, "")
    assert site.api.stats().requests == 0
    assert site.api.refresh_current(token)
