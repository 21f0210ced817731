"""The table of vault/judgement.py against every recorded answer of three servers: what each means to us."""

import json
from typing import Any

import pytest

from tests.contract.recorded import SERVERS, of
from vault_ticket_plugin.errors import ConfigError, StoredDataInvalid, VaultUnreachable
from vault_ticket_plugin.transport.exchange import MAX_ANSWER_BYTES, HttpResponse
from vault_ticket_plugin.vault.judgement import BadToken, Denied, Retry, Wrong, judge
from vault_ticket_plugin.vault.messages import Invalid, Missing, Ok, VaultRequest

SHOWN = "https://vault.example"
# What a status means unless the row is named below.
BY_STATUS = {
    200: Ok,
    204: Ok,
    400: Invalid,
    403: BadToken,
    404: Missing,
    307: Retry,
    301: Retry,
    503: Retry,
    429: Retry,
}
# A policy's no, or no token at all where a login would have brought one.
DENIED = {
    *("denied by policy", "denied by policy, metadata", "denied by policy, sys", "denied by policy, write"),
    *("mount of a path, none there", "mount of a path, of a reader, elsewhere"),
    *("login at no such mount", "unauthenticated jwt login, no such role", "no token", "no token, lookup-self"),
}
ANONYMOUS = {"no token", "no token, lookup-self", "health", "seal status", "sealed: health"}
# Statuses of 500 and above that no second try mends, and whose fault they are.
LASTING = {
    "approle login, nothing": ConfigError,
    "kv2 write, 1.2 MiB": StoredDataInvalid,
    "kv2 write, 40 MiB": StoredDataInvalid,
    "kv2 write, nested deep": StoredDataInvalid,
    "kv2 write, not JSON": StoredDataInvalid,
    "path with a trailing slash": ConfigError,
}
CASES = [(server, name) for server in SERVERS for name in of(server)]


def judged(row: dict[str, Any], name: str) -> object:
    method, _, path = row["call"].partition(" ")
    body = row["body"]
    content = b"" if body is None else (body if isinstance(body, str) else json.dumps(body)).encode()
    response = HttpResponse(row["status"], row.get("headers", {}), content)
    return judge(response, VaultRequest(method, path, anonymous=name in ANONYMOUS), SHOWN)


@pytest.mark.parametrize(("server", "name"), CASES)
def test_each_row_means_what_it_should(server: str, name: str) -> None:
    row = of(server)[name]
    found = judged(row, name)

    if (row["status"] >= 500 and name in LASTING) or row["status"] == 413:
        assert isinstance(found, Wrong)
        assert type(found.error) is LASTING[name]
    elif name in DENIED and row["status"] == 403:
        assert isinstance(found, Denied)
    else:
        assert isinstance(found, BY_STATUS[row["status"]])


@pytest.mark.parametrize(("server", "name"), CASES)
def test_what_fails_says_so_in_one_printable_line_with_a_hint(server: str, name: str) -> None:
    found = judged(of(server)[name], name)
    if isinstance(found, Retry | Wrong):
        assert found.error.message.isprintable()
        assert SHOWN in found.error.message
        assert found.error.hint


# What was read of other servers, and not recorded: (status, texts, whether it is tried again, what is said).
READ = [
    (412, ["required index state not present"], True, "has not caught up"),
    (413, [], False, "does not take a request of this size"),
    (429, ['request path "x": lease count quota exceeded'], True, "leases"),
    (429, [], True, "too much to do"),
    (431, [], False, "does not take a token as long as ours"),
    (472, [], True, "disaster recovery secondary"),
    (473, [], True, "performance standby"),
    (474, [], True, "does not reach its active node"),
    (500, ["local node not active but active cluster node not found"], True, "can't answer now"),
    (500, ["JSON payload exceeds allowed number of object entries"], False, "size or shape"),
    (500, ["Vault is sealed"], True, "is sealed"),
    (501, [], True, "is not initialised"),
    (502, [], True, "can't answer now"),
    (504, [], True, "can't answer now"),
    (530, [], True, "has been removed from its cluster"),
    (400, ["Upgrading from non-versioned to versioned data. This backend will be unavailable"], True, "preparing"),
    (400, ["Waiting for the primary to upgrade from non-versioned to versioned data"], True, "preparing"),
]


@pytest.mark.parametrize(("status", "texts", "again", "says"), READ)
@pytest.mark.parametrize("is_json", [True, False], ids=["json", "page"])
def test_each_other_status_has_an_answer_of_its_own(
    status: int, texts: list[str], again: bool, says: str, is_json: bool
) -> None:
    """A gateway that answers in Vault's place sends a page."""
    if not is_json and texts:
        pytest.skip("the text decides, and a page has none")
    content = json.dumps({"errors": texts}).encode() if is_json else b"<html>"
    found = judge(HttpResponse(status, {"retry-after": "7"}, content), VaultRequest("GET", "x"), SHOWN)
    assert isinstance(found, Retry if again else Wrong)
    assert says in found.error.message
    assert found.error.retry_after == 7
    assert isinstance(found.error, VaultUnreachable) is again


@pytest.mark.parametrize(
    "texts",
    [
        ["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"],
        ["permission denied and invalid token"],
        ["permission denied", "Invalid Token"],
        ["bad token"],
        ["1 error occurred:\n\t* bad token: lookup failed\n\n"],
    ],
)
@pytest.mark.parametrize("path", ["secret/data/x", "auth/approle/login"])
def test_an_invalid_token_is_the_tokens_own_in_any_wording(texts: list[str], path: str) -> None:
    response = HttpResponse(403, {}, json.dumps({"errors": texts}).encode())
    assert isinstance(judge(response, VaultRequest("GET", path), SHOWN), BadToken)


def test_an_answer_that_is_cut_is_not_taken_for_another_servers() -> None:
    """The transport reads a byte more than it takes."""
    found = judge(HttpResponse(200, {}, b"{" + b"x" * MAX_ANSWER_BYTES), VaultRequest("GET", "secret/data/x"), SHOWN)
    assert isinstance(found, Wrong)
    assert type(found.error) is StoredDataInvalid
    assert "larger than 1 MiB" in found.error.message
