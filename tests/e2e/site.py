"""One profile on the shared server, with a host for each role, all of them under exactly policies/*.hcl."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.bao import Server
from tests.support.cli import Host, Result
from tests.support.emulator import Emulator
from tests.support.process import wait_until

POLICIES = Path(__file__).parents[2] / "policies"
ROLES = ("refresher", "reader", "operator")
CLIENT = "client-1"


def write_policies(bao: Server, namespace: str | None = None) -> None:
    for role in ROLES:
        hcl = (POLICIES / f"ticket-{role}.hcl").read_text()
        bao.write_policy(f"ticket-{role}", hcl, namespace=namespace)


class Site:
    """`helper`, `operator` and `reader` are three hosts, each with a token of its role's policy and of no other.

    Each test has a profile of its own in the server's mount `secret`, which is the one that the policies name.
    """

    def __init__(self, bao: Server, api: Emulator, folder: Path, namespace: str | None = None) -> None:
        write_policies(bao, namespace)
        self.bao = bao
        self.api = api
        self.namespace = namespace
        self.profile = f"p-{uuid.uuid4().hex[:10]}"
        self.grant_path = f"ticket/{self.profile}/grant"
        self.ticket_path = f"ticket/{self.profile}/token"
        self.helper, self.operator, self.reader = (
            self._host(folder / name, role)
            for name, role in (("helper", "refresher"), ("operator", "operator"), ("reader", "reader"))
        )

    def _host(self, folder: Path, role: str) -> Host:
        host = Host(folder)
        host.environ = dict(self.bao.env) | {"VAULT_TOKEN": self.token_of(role)}
        if self.namespace:
            host.environ["VAULT_NAMESPACE"] = self.namespace
        host.configure({"profiles": {self.profile: self.profile_config()}})
        return host

    def token_of(self, role: str, **params: Any) -> str:
        """A new Vault token with the role's policy, without even the server's `default` one."""
        how = {"ttl": "30m", "no_default_policy": True} | params
        return self.bao.token_for(f"ticket-{role}", namespace=self.namespace, **how)

    def profile_config(self, **changes: Any) -> dict[str, Any]:
        found = {"client_id": CLIENT, "token_url": self.api.token_url} | changes
        return {key: value for key, value in found.items() if value is not None}

    def configure(self, host: Host, vault: Mapping[str, Any] | None = None, **changes: Any) -> None:
        """The profile with these keys changed (None leaves one out), and perhaps a [vault] table."""
        tables: dict[str, Any] = {"vault": dict(vault)} if vault else {}
        host.configure(tables | {"profiles": {self.profile: self.profile_config(**changes)}})

    # -- the commands

    def store(self, token: str | None = None, *more: str) -> str:
        """As the operator, from standard input, and it must work; the refresh token that was given."""
        token = token or self.api.issue_grant(CLIENT)
        done = self.operator.run("store", self.profile, *more, stdin=f"{token}\n")
        assert done.code == 0, done.err
        return token

    def get(self, *more: str, **how: Any) -> Result:
        """As the helper."""
        return self.helper.run("get", self.profile, *more, **how)

    # -- what is in Vault, as root sees it

    def _read(self, path: str) -> dict[str, Any] | None:
        status, answer = self.bao.api("GET", path, namespace=self.namespace)
        assert status in (200, 404), answer
        return answer.get("data")

    def grant(self) -> dict[str, Any] | None:
        """The grant's data and metadata."""
        return self._read(f"secret/data/{self.grant_path}")

    def refresh_token(self) -> str:
        found = self.grant()
        assert found is not None
        return str(found["data"]["refresh_token"])

    def ticket(self) -> dict[str, Any] | None:
        """The leased path's data and metadata; `data` is None for a version that has ended."""
        return self._read(f"secret/data/{self.ticket_path}")

    def put_grant(self, data: Mapping[str, Any]) -> None:
        self._put(f"secret/data/{self.grant_path}", {"data": data})

    def put_ticket(self, left: float, lifetime: float = 3600.0, token: str = "an-older-ticket") -> None:
        """A ticket on the leased path that has so many seconds left."""
        expires = datetime.now(UTC) + timedelta(seconds=left)
        data = {
            "access_token": token,
            "token_type": "Bearer",
            "issued_at": (expires - timedelta(seconds=lifetime)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "expires_at": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        self._put(f"secret/data/{self.ticket_path}", {"data": data})

    def _put(self, path: str, body: Mapping[str, Any]) -> None:
        status, answer = self.bao.api("POST", path, body, namespace=self.namespace)
        assert status == 200, answer

    def remove_ticket(self) -> None:
        status, _ = self.bao.api("DELETE", f"secret/metadata/{self.ticket_path}", namespace=self.namespace)
        assert status == 204
        # A cached ticket on any host would still answer: this is about the leased path alone.

    def snapshot(self) -> tuple[Any, Any]:
        """What a failing command must not change: the grant apart from the notes, and the leased path."""
        grant, ticket = self.grant(), self.ticket()
        data = (grant or {}).get("data") or {}
        return {key: value for key, value in data.items() if key != "vault_ticket"}, ticket

    def wait_for_ticket_to_end(self) -> None:
        wait_until(lambda: (self.ticket() or {}).get("data") is None, "the leased version's deletion")


def seconds(rfc3339: str) -> float:
    return datetime.fromisoformat(rfc3339).timestamp()
