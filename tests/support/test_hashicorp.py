"""The server in HashiCorp's words beyond the recorded answers: what passes through it, and how it misbehaves."""

import http.client
import json
import socket
import threading
from collections.abc import Mapping
from urllib.parse import urlsplit

import pytest

from tests.support.bao import DiskServer
from tests.support.hashicorp import Hashicorp
from tests.support.hashicorp_limits import DEPTH, STRING, doubled_attribute, json_refusal
from tests.support.hashicorp_words import INVALID_TOKEN


def client(vault: Hashicorp) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(vault.address).netloc, timeout=10)


def raw(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, dict[str, str], bytes]:
    connection.request(method, f"/v1/{path}", body, dict(headers or {}))
    answer = connection.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def test_one_connection_carries_many_calls(hashicorp: Hashicorp, kv: str) -> None:
    """Answers of every framing in a row over one socket: with a body, without, of HEAD, refused, in pieces."""
    big = {"data": {"a": "x" * 300_000}}
    hashicorp.write(f"{kv}/data/x", big)
    token = {"X-Vault-Token": hashicorp.root_token}
    connection = client(hashicorp)
    ports = set()
    for method, path, body, status in (
        ("GET", "sys/health", None, 200),
        ("HEAD", "sys/health", None, 200),
        ("POST", f"{kv}/config", b"{}", 204),
        ("GET", f"{kv}/data/none", None, 404),
        ("POST", f"{kv}/data/y", b"{", 500),
        ("GET", f"{kv}/data/x", None, 200),
        ("LIST", f"{kv}/metadata", None, 200),
    ):
        found, headers, text = raw(connection, method, path, body, token)
        assert (found, "date" in headers) == (status, True), (method, path)
        if path == f"{kv}/data/x":
            assert json.loads(text)["data"]["data"] == big["data"]
        assert isinstance(connection.sock, socket.socket)
        ports.add(connection.sock.getsockname()[1])
    connection.close()
    assert len(ports) == 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_headers_and_framing_are_the_real_servers(hashicorp: Hashicorp, kv: str, method: str) -> None:
    hashicorp.write(f"{kv}/data/x", {"data": {"a": "x" * 300_000}})
    token = {"X-Vault-Token": hashicorp.root_token}
    real = http.client.HTTPConnection(urlsplit(hashicorp.real.address).netloc, timeout=10)
    through = client(hashicorp)
    status, headers, text = raw(real, method, f"{kv}/data/x", headers=token)
    found, other, body = raw(through, method, f"{kv}/data/x", headers=token)
    assert (found, set(other), len(body)) == (status, set(headers) - {"x-vault-index"}, len(text))
    assert other.get("content-length") == headers.get("content-length")
    real.close()
    through.close()


def test_a_request_in_pieces_is_forwarded_whole(hashicorp: Hashicorp, kv: str) -> None:
    connection = client(hashicorp)
    pieces = iter([b'{"data": ', b'{"a": 1}}'])
    connection.request("POST", f"/v1/{kv}/data/x", pieces, {"X-Vault-Token": hashicorp.root_token}, encode_chunked=True)
    assert connection.getresponse().status == 200
    connection.close()
    assert (hashicorp.read(f"{kv}/data/x") or {})["data"] == {"a": 1}


def test_many_at_once(hashicorp: Hashicorp, kv: str) -> None:
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(hashicorp.ask("GET", f"{kv}/config")[0])) for _ in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 50


def test_whose_403_it_is(hashicorp: Hashicorp, kv: str) -> None:
    """A dead token's, a policy's, a login's own, and that of no token at all."""
    hashicorp.write_policy(f"reader-{kv}", f'path "{kv}/data/x" {{ capabilities = ["read"] }}')
    token = hashicorp.token_for(f"reader-{kv}")

    def texts(method: str, path: str, given: str) -> list[str]:
        status, answer = hashicorp.ask(method, path, {} if method == "POST" else None, token=given)
        assert status == 403
        found: list[str] = answer["errors"]
        return found

    dead, no = [INVALID_TOKEN], ["1 error occurred:\n\t* permission denied\n\n"]
    assert texts("GET", f"{kv}/data/x", "wrong") == dead
    assert texts("POST", f"{kv}/data/x", token) == no
    assert texts("GET", f"{kv}/data/x", "") == ["permission denied"]
    assert texts("POST", "auth/nowhere/login", "") == ["permission denied"]
    assert texts("POST", "sys/namespaces/x", "wrong") == dead
    assert texts("POST", "sys/policies/acl/x", "wrong") == dead
    assert texts("PUT", "sys/audit/x", token) == no
    bearer = {"Authorization": "Bearer wrong"}
    assert hashicorp.ask("GET", f"{kv}/data/x", token="", headers=bearer)[1]["errors"] == dead


def test_what_it_refuses_leaves_nothing_behind(hashicorp: Hashicorp, kv: str) -> None:
    twice = 'path "x" {\n capabilities = ["read"]\n capabilities = ["list"]\n}'
    assert hashicorp.ask("PUT", f"sys/policies/acl/twice-{kv}", {"policy": twice})[0] == 400
    assert hashicorp.read(f"sys/policies/acl/twice-{kv}") is None
    assert hashicorp.ask("POST", f"sys/namespaces/{kv}", {})[0] == 404
    assert hashicorp.real.api("GET", f"sys/namespaces/{kv}")[0] == 404
    hashicorp.write(f"{kv}/data/x", {"data": {"a": 1}})
    assert hashicorp.ask("POST", f"{kv}/data/x/", {"data": {"a": 2}})[0] == 404
    assert (hashicorp.read(f"{kv}/data/x") or {})["data"] == {"a": 1}


def test_a_namespace_means_nothing_but_is_seen(hashicorp: Hashicorp, kv: str) -> None:
    hashicorp.write(f"{kv}/data/x", {"data": {"a": 1}})
    for where in ("nowhere", "a/b"):
        assert hashicorp.ask("GET", f"{kv}/data/x", namespace=where)[0] == 200
    assert hashicorp.ask("GET", "sys/health", token="", namespace="nowhere")[0] == 200
    assert [one.headers["x-vault-namespace"] for one in hashicorp.seen] == ["nowhere", "a/b", "nowhere"]
    assert [(one.method, one.path) for one in hashicorp.seen][-1] == ("GET", "sys/health")


def test_a_token_too_long_for_a_header(hashicorp: Hashicorp) -> None:
    assert hashicorp.ask("GET", "auth/token/lookup-self", token="x" * 8192)[0] == 403
    assert hashicorp.ask("GET", "auth/token/lookup-self", token="x" * 8193)[0] == 431


@pytest.mark.parametrize("retry_after", [None, 2])
def test_a_rate_limit_and_then_no_more(hashicorp: Hashicorp, kv: str, retry_after: int | None) -> None:
    hashicorp.rate_limited(2, retry_after, path=f"{kv}/*")
    connection, token = client(hashicorp), {"X-Vault-Token": hashicorp.root_token}
    assert raw(connection, "GET", "sys/health")[0] == 200
    for _ in range(2):
        status, headers, text = raw(connection, "GET", f"{kv}/config", headers=token)
        assert (status, headers.get("retry-after")) == (429, None if retry_after is None else "2")
        assert json.loads(text) == {"errors": [f'request path "{kv}/config": rate limit quota exceeded']}
    assert raw(connection, "GET", f"{kv}/config", headers=token)[0] == 200
    connection.close()


def test_it_misbehaves_in_order_and_until_it_is_told_to_behave(hashicorp: Hashicorp) -> None:
    hashicorp.answers(412, ["required index state not present"])
    hashicorp.answers(472, body={"standby": True}, path="sys/health")
    hashicorp.answers(502, times=None)
    asked = [hashicorp.ask("GET", "sys/health") for _ in range(4)]
    assert asked[0] == (412, {"errors": ["required index state not present"]})
    assert asked[1:] == [(472, {"standby": True}), (502, {"errors": []}), (502, {"errors": []})]
    assert hashicorp.health()["sealed"] is False  # a test's own look passes it by
    hashicorp.behave()
    assert hashicorp.ask("GET", "sys/health")[0] == 200


def test_an_answer_lost_after_the_work_was_done(hashicorp: Hashicorp, kv: str) -> None:
    hashicorp.answers(502, path=f"{kv}/*", processed=True)
    assert hashicorp.ask("POST", f"{kv}/data/x", {"data": {"a": 1}})[0] == 502
    assert (hashicorp.read(f"{kv}/data/x") or {})["data"] == {"a": 1}


def test_a_redacted_server_names_nothing(hashicorp: Hashicorp) -> None:
    hashicorp.redacted = True
    for path in ("sys/health", "sys/seal-status"):
        found = hashicorp.ask("GET", path, token="")[1]
        assert (found["version"], found["cluster_name"]) == ("", "")


def test_it_serves_the_command_line(hashicorp: Hashicorp) -> None:
    assert hashicorp.cli("token", "lookup").returncode == 0
    assert "invalid token" in hashicorp.cli("token", "lookup", token="wrong").stderr


def test_before_a_server_that_is_away_it_hangs_up() -> None:
    with DiskServer() as real, Hashicorp(real) as vault:
        assert vault.ask("GET", "sys/health", token="")[0] == 200
        vault.kill()
        with pytest.raises((http.client.HTTPException, OSError)):
            vault.ask("GET", "sys/health", token="")
        real.start()
        assert vault.ask("GET", "sys/health", token="")[0] == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", ""),
        (b'{"a": "\\"}}"}', ""),
        (b'{"a": "' + b"x" * STRING + b'"}', ""),
        (b'{"a": "' + b"x" * (STRING + 1) + b'"}', "JSON string value exceeds allowed length"),
        (b"[" * DEPTH + b"]" * DEPTH, ""),
        (b"[" * (DEPTH + 1) + b"]" * (DEPTH + 1), "JSON input exceeds allowed nesting depth"),
        (b'{"a": [', "malformed JSON, unclosed containers"),
        (b'{"a": "x', "malformed JSON, unclosed string"),
    ],
)
def test_the_limits_of_a_body(body: bytes, said: str) -> None:
    assert json_refusal(body) == said


@pytest.mark.parametrize(
    ("policy", "where"),
    [
        ('path "a" { capabilities = ["read"] }\npath "b" { capabilities = ["read"] }', ""),
        ('path "a" {\n  capabilities = ["read"] # capabilities = ["list"]\n}', ""),
        ('path "a" {\n  capabilities = ["read"]\n  capabilities = ["list"]\n}', '"capabilities" at 3:3'),
        ('path "capabilities = x" { capabilities = [] min_wrapping_ttl = "1s" min_wrapping_ttl = "2s" }', "at 1:69"),
    ],
)
def test_an_attribute_given_twice(policy: str, where: str) -> None:
    said = doubled_attribute(policy)
    assert where in said
    assert bool(said) == bool(where)
