"""The real server, three ways: a dev server, one that can be stopped and comes back, three raft nodes.

    with DevServer() as bao:
        mount = bao.new_kv()
        token = bao.token_for("reader", ttl="5m")
        mark = bao.mark()
        ...
        assert [r.path for r in bao.requests_seen(since=mark)] == [f"{mount}/data/x"]

It is OpenBao, or what VAULT_TICKET_TEST_SERVER names (flavour.py).
Nothing here uses the package under test. Each server has a HOME of its own and listens on loopback only.
"""

import http.client
import json
import re
import ssl
import subprocess
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from tests.support.flavour import binary, flavour
from tests.support.process import Process, clean_env, free_port, wait_until


class BaoError(Exception):
    """The server answered something that the caller did not expect."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that reached the server, as its audit device wrote it down."""

    operation: str
    path: str
    error: str
    time: str
    by: str
    root: bool


class Server:
    """One `bao server` process and what a test asks of it."""

    def __init__(self, folder: Path | None = None, *, scheme: str = "http") -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="bao-") if folder is None else None
        self.folder = folder or Path(self._temporary.name if self._temporary else "")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.scheme = scheme
        self.port = free_port()
        self.root_token = ""
        self.unseal_key = ""
        self.ca_file: Path | None = None
        self.audit_log = self.folder.absolute() / "audit.log"
        self._process: Process | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- its life

    def start(self) -> None:
        raise NotImplementedError

    def _launch(self, *args: str | Path) -> None:
        command = [binary(), "server", *args]
        env = clean_env(self.folder)
        self._process = Process(command, log=self.log, env=env, cwd=self.folder)
        wait_until(self._listening_or_dead, f"{self.address} listening")
        if not self._process.alive:
            self.stop()
            raise BaoError(f"bao ended at its start:\n{self.log.read_text()[-2000:]}")

    def _listening_or_dead(self) -> bool:
        return self._process is None or not self._process.alive or bool(self.health())

    def stop(self) -> None:
        """SIGTERM: an orderly end."""
        if self._process:
            self._process.stop()
            self._process = None

    def kill(self) -> None:
        """SIGKILL."""
        if self._process:
            self._process.kill()
            self._process = None

    def close(self) -> None:
        self.kill()
        if self._temporary:
            self._temporary.cleanup()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.alive

    @property
    def pids(self) -> set[int]:
        return self._process.pids if self._process else set()

    def seal(self) -> None:
        self._must("PUT", "sys/seal")

    def unseal(self) -> None:
        """Unseals with the kept key and waits until the server takes writes."""
        self._must("PUT", "sys/unseal", {"key": self.unseal_key}, token="")
        wait_until(lambda: self.active, f"{self.address} active")

    @property
    def address(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def env(self) -> dict[str, str]:
        """What a client needs in its environment to find this server."""
        found = {"VAULT_ADDR": self.address}
        return found | {"VAULT_CACERT": str(self.ca_file)} if self.ca_file else found

    def health(self) -> dict[str, Any]:
        """`sys/health`, or nothing where nobody answers."""
        try:
            return self.api("GET", "sys/health", token="")[1]
        except (OSError, http.client.HTTPException):
            return {}

    @property
    def active(self) -> bool:
        health = self.health()
        return health.get("sealed") is False and health.get("standby") is False

    # -- its API

    def api(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        token: str | None = None,
        namespace: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON of one request, whatever they are; as root unless another token (or "") is given."""
        sent = dict(headers or {})
        if token is None:
            token = self.root_token
        if token:
            sent["X-Vault-Token"] = token
        if namespace:
            sent["X-Vault-Namespace"] = namespace
        host = urlsplit(self.address).netloc
        connection = (
            http.client.HTTPSConnection(host, timeout=timeout, context=self._trust())
            if self.scheme == "https"
            else http.client.HTTPConnection(host, timeout=timeout)
        )
        try:
            connection.request(method, f"/v1/{path}", None if body is None else json.dumps(body), sent)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(text) if text.strip() else {}

    def _trust(self) -> ssl.SSLContext:
        # At its start the server has not written its CA yet: there is no one to trust.
        if self.ca_file is None or not self.ca_file.exists():
            raise ConnectionError("no certificate yet")
        return ssl.create_default_context(cafile=str(self.ca_file))

    def _must(self, method: str, path: str, body: Mapping[str, Any] | None = None, **how: Any) -> dict[str, Any]:
        status, answer = self.api(method, path, body, **how)
        if status >= 300:
            raise BaoError(f"{method} {path}: {status} {answer.get('errors')}")
        return answer

    def read(self, path: str) -> dict[str, Any] | None:
        """What root reads at an API path (`secret/data/x`); None where there is nothing (any more)."""
        status, answer = self.api("GET", path)
        if status == 404:
            return None
        if status != 200:
            raise BaoError(f"GET {path}: {status} {answer.get('errors')}")
        data: dict[str, Any] = answer["data"]
        return data

    def write(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What root writes at an API path; the answer."""
        return self._must("POST", path, body)

    def write_policy(self, name: str, hcl: str, namespace: str | None = None) -> None:
        self._must("PUT", f"sys/policies/acl/{name}", {"policy": hcl}, namespace=namespace)

    def token_for(self, *policies: str, namespace: str | None = None, **params: Any) -> str:
        """A new token with these policies; params as `auth/token/create` takes them (ttl="5m", num_uses=1 …)."""
        body = {"policies": policies, "no_parent": True, **params}
        token: str = self._must("POST", "auth/token/create", body, namespace=namespace)["auth"]["client_token"]
        return token

    def token_valid(self, token: str) -> bool:
        return self.api("GET", "auth/token/lookup-self", token=token)[0] == 200

    def enable_approle(self, role: str, policies: list[str], **params: Any) -> tuple[str, str]:
        """Makes or changes an AppRole; its role id and a new secret id."""
        self.enable_auth("approle")
        self._must("POST", f"auth/approle/role/{role}", {"token_policies": policies, **params})
        role_id = self._must("GET", f"auth/approle/role/{role}/role-id")["data"]["role_id"]
        return role_id, self.secret_id(role)

    def secret_id(self, role: str, *, wrap_ttl: str | None = None) -> str:
        """A new secret id, or the wrapping token of one."""
        headers = {"X-Vault-Wrap-TTL": wrap_ttl} if wrap_ttl else {}
        answer = self._must("POST", f"auth/approle/role/{role}/secret-id", {}, headers=headers)
        found: str = answer["wrap_info"]["token"] if wrap_ttl else answer["data"]["secret_id"]
        return found

    def enable_auth(self, kind: str, path: str | None = None) -> None:
        """Once is enough; another call changes nothing."""
        path = path or kind
        if f"{path}/" not in self._must("GET", "sys/auth")["data"]:
            self._must("POST", f"sys/auth/{path}", {"type": kind})

    def enable_kv(self, mount: str, version: int = 2, namespace: str | None = None) -> None:
        """A new KV mount, ready: just after it is made a v2 one refuses everything for a moment."""
        body = {"type": "kv", "options": {"version": str(version)}}
        self._must("POST", f"sys/mounts/{mount}", body, namespace=namespace)
        probe = f"{mount}/config" if version == 2 else f"{mount}/none"
        wait_until(
            lambda: self.api("GET", probe, namespace=namespace)[0] in {200, 404},
            f"{mount} ready",
            interval=0.01,
        )

    def has_namespaces(self) -> bool:
        """Whether it makes one when it is asked to. HashiCorp's has none without a licence, and ignores the header."""
        name = f"probe-{uuid.uuid4().hex[:8]}"
        made = self.api("POST", f"sys/namespaces/{name}", {})[0] == 200
        if made:
            self._must("DELETE", f"sys/namespaces/{name}")
        return made

    def new_kv(self, version: int = 2) -> str:
        """A KV mount that no other test uses; its name."""
        mount = f"kv-{uuid.uuid4().hex[:8]}"
        self.enable_kv(mount, version)
        return mount

    def cli(self, *args: str, token: str | None = None, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs the server's own command (`bao`) against it, as root unless another token is given."""
        env = clean_env(self.folder, **self.env, VAULT_TOKEN=self.root_token if token is None else token)
        return subprocess.run(
            [binary(), *args],
            env=env,
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    # -- what it saw

    def _enable_audit(self) -> None:
        """Where the configuration could not say it. The path is absolute, and of all nodes of a cluster."""
        if flavour().audit_by_api:
            self._must("PUT", "sys/audit/requests", {"type": "file", "options": {"file_path": str(self.audit_log)}})

    def mark(self) -> int:
        """A point in time for `requests_seen(since=…)`."""
        return self.audit_log.stat().st_size if self.audit_log.exists() else 0

    def requests_seen(self, since: int = 0, *, root: bool = False) -> list[Seen]:
        """Every answered request since the mark, in order; those of the root token only on request.

        The server writes each down before it answers. `sys/health` and the like are not audited.
        """
        if not self.audit_log.exists():
            return []
        with self.audit_log.open("rb") as log:
            log.seek(since)
            entries = [json.loads(line) for line in log if line.endswith(b"\n")]
        seen = [_seen(entry) for entry in entries if entry["type"] == "response"]
        return [one for one in seen if root or not one.root]


def _seen(entry: dict[str, Any]) -> Seen:
    request, auth = entry["request"], entry.get("auth") or {}
    return Seen(
        operation=request["operation"],
        path=request["path"],
        error=entry.get("error", ""),
        time=entry["time"],
        by=auth.get("display_name", ""),
        root="root" in auth.get("policies", ()),
    )


class DevServer(Server):
    """In memory and unsealed, with KV v2 at `secret/`. With `tls`, over HTTPS under a CA of its own.

    Without `audit` it writes no request down, and is faster.
    """

    def __init__(self, folder: Path | None = None, *, tls: bool = False, audit: bool = True) -> None:
        super().__init__(folder, scheme="https" if tls else "http")
        self._audit = audit
        if tls:
            self.ca_file = self.folder / "vault-ca.pem"

    def start(self) -> None:
        config = self.folder / "server.hcl"
        config.write_text(flavour().dev_config(audit=self._audit))
        self.root_token = f"root-{uuid.uuid4().hex}"
        how = [f"-dev-tls-cert-dir={self.folder}", "-dev-tls"] if self.ca_file else ["-dev"]
        for attempt in range(3):
            listen = f"-dev-listen-address=127.0.0.1:{self.port}"
            try:
                self._launch(
                    *how,
                    "-dev-no-store-token",
                    f"-dev-root-token-id={self.root_token}",
                    listen,
                    f"-config={config}",
                )
                break
            except BaoError as e:
                if attempt == 2 or "address already in use" not in str(e):
                    raise
                self.port = free_port()
        wait_until(lambda: "Root Token:" in self.log.read_text(), "the dev server's root token")
        found = re.search(r"^Unseal Key: (\S+)$", self.log.read_text(), re.MULTILINE)
        self.unseal_key = found[1] if found else ""
        if self._audit:
            self._enable_audit()


class DiskServer(Server):
    """A server whose data outlives its process: `stop()` or `kill()`, then `start()` on the same port.

    Raft with a single node, as OpenBao has no plain file storage any more.
    """

    def __init__(self, folder: Path | None = None, *, node: str = "node") -> None:
        super().__init__(folder)
        self.node = node
        self.cluster_port = free_port()
        self.join: list[str] = []

    def start(self) -> None:
        """Starts and unseals; the first time it initialises too."""
        self.launch()
        new = not self.root_token
        if new:
            answer = self._must("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1}, token="")
            self.unseal_key, self.root_token = answer["keys"][0], answer["root_token"]
        self.unseal()
        if new:
            self._enable_audit()

    def launch(self) -> None:
        """Starts it and leaves it sealed."""
        (self.folder / "data").mkdir(exist_ok=True)
        joins = "".join(f'  retry_join {{ leader_api_addr = "{address}" }}\n' for address in self.join)
        config = self.folder / "server.hcl"
        config.write_text(
            f'storage "raft" {{\n  path = "{self.folder}/data"\n  node_id = "{self.node}"\n'
            f"  performance_multiplier = 1\n{joins}}}\n"
            f'listener "tcp" {{\n  address = "127.0.0.1:{self.port}"\n'
            f'  cluster_address = "127.0.0.1:{self.cluster_port}"\n  tls_disable = true\n}}\n'
            f'api_addr = "{self.address}"\ncluster_addr = "https://127.0.0.1:{self.cluster_port}"\n'
            f"{flavour().disk_config()}"
        )
        self._launch(f"-config={config}")


class RaftCluster:
    """Three raft nodes on loopback, with KV v2 at `secret/`: use that one, not `new_kv()`.

    Ready to lose one when `start()` comes back: all three are voters.
    """

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="raft-")
        folder = Path(self._temporary.name)
        self.nodes = [DiskServer(folder / name, node=name) for name in ("a", "b", "c")]
        for node in self.nodes:
            node.join = [other.address for other in self.nodes if other is not node]

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        first, *others = self.nodes
        first.start()
        # Before the others join: on a standby, a KV v2 mount that is made later can go on answering
        # "Waiting for the primary to upgrade" for as long as it stays one (seen for ten minutes).
        first.enable_kv("secret")
        first.write("sys/storage/raft/autopilot/configuration", {"server_stabilization_time": "1s"})
        for node in others:
            node.root_token, node.unseal_key = first.root_token, first.unseal_key
            if flavour().audit_by_api:
                node.audit_log = first.audit_log
            node.launch()
        for node in others:
            self._unseal(node)
        wait_until(lambda: len(self.voters()) == 3, "three voters", timeout=60, interval=0.3)

    def _unseal(self, node: DiskServer) -> None:
        def unsealed() -> bool:
            if node.health().get("sealed") is not False:  # until it has joined, a node refuses the key
                node.api("PUT", "sys/unseal", {"key": node.unseal_key}, token="")
            return node.health().get("sealed") is False

        wait_until(unsealed, f"{node.node} unsealed", interval=0.3)

    def voters(self) -> list[str]:
        """The ids of the voting nodes, as the leader sees them."""
        status, answer = self.leader().api("GET", "sys/storage/raft/configuration")
        servers = answer["data"]["config"]["servers"] if status == 200 else []
        return [server["node_id"] for server in servers if server["voter"]]

    def leader(self, timeout: float = 30.0) -> DiskServer:
        """The active node; waits for one to be elected."""
        found: list[DiskServer] = []

        def elected() -> bool:
            found[:] = [node for node in self.nodes if node.running and node.active]
            return bool(found)

        wait_until(elected, "a leader", timeout)
        return found[0]

    def standbys(self) -> list[DiskServer]:
        """The running nodes that are unsealed and do not lead."""
        healths = [(node, node.health()) for node in self.nodes if node.running]
        return [node for node, health in healths if health.get("standby") and not health.get("sealed")]

    def kill_leader(self) -> DiskServer:
        """SIGKILL to the leader; returns it, to be restarted."""
        leader = self.leader()
        leader.kill()
        return leader

    def restart(self, node: DiskServer) -> None:
        """Starts a node that was ended, and waits until it is unsealed."""
        node.launch()
        self._unseal(node)

    def close(self) -> None:
        for node in self.nodes:
            node.close()
        self._temporary.cleanup()
