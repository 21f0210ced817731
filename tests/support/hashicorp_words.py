"""How HashiCorp's Vault 2.1 answers where OpenBao answers otherwise: a table of small functions.

Each follows a row of tests/contract/server_answers.json, or says that it does not. BEFORE looks at a call, may
change it and may answer it; AFTER looks at OpenBao's answer and may change it. What an administrator's policy
refuses is OpenBao's to say, so a call that Vault would refuse for another reason reaches OpenBao in a form that
does no harm.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.hashicorp_limits import doubled_attribute, json_refusal

VERSION = "2.1.0-beta1"
LONGEST_TOKEN = 8192
DEFAULT_LEASE = 2764800  # 32 days
INVALID_TOKEN = "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"
NOT_VERSIONED = (
    "Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use. "
    "If using the Vault CLI, use 'vault kv get' for this operation."
)
OF_OPENBAO = {
    *("metadata_cas_required", "current_metadata_version"),
    *("allow_slashes_in_identity_templates", "allow_wildcards_in_identity_templates"),
    *("cas_required", "modified", "version", "expiration"),
}

Headers = list[tuple[str, str]]


@dataclass(slots=True)
class Asked:
    """A call on its way: `path` is what stands after /v1/, as it was sent."""

    method: str
    path: str
    query: str = ""
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    twice: str = ""  # the refusal of its policy, which OpenBao would take

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    def drop(self, *names: str) -> None:
        self.headers = [one for one in self.headers if one[0].lower() not in names]

    @property
    def token(self) -> str:
        return self.header("X-Vault-Token") or self.header("Authorization").removeprefix("Bearer ")


@dataclass(slots=True)
class Answer:
    """An answer on its way back."""

    status: int
    headers: Headers
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def data(self) -> dict[str, Any]:
        found = self.json.get("data")
        return found if isinstance(found, dict) else {}

    @property
    def errors(self) -> list[str]:
        return self.json.get("errors") or []

    def becomes(self, status: int, body: dict[str, Any] | None) -> None:
        self.status = status
        self.body = b"" if body is None else encoded(body)


def refusal(status: int, *errors: str) -> Answer:
    headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
    return Answer(status, headers, encoded({"errors": errors}))


def encoded(body: dict[str, Any]) -> bytes:
    """As the server writes it: without blanks, in UTF-8."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


# -- before OpenBao sees it


def long_token(asked: Asked) -> Answer | None:
    """Read in its sources, not recorded; the words are ours."""
    if len(asked.token) > LONGEST_TOKEN:
        return refusal(431, "request header fields too large")
    return None


def json_limits(asked: Asked) -> Answer | None:
    is_json = "form" not in asked.header("Content-Type")
    said = json_refusal(asked.body) if asked.method in {"POST", "PUT", "PATCH"} and is_json else ""
    return refusal(500, said) if said else None


def no_namespaces_and_no_index(asked: Asked) -> None:
    """Headers that mean nothing here."""
    asked.drop("x-vault-namespace", "x-vault-index")


def only_looked_at(asked: Asked) -> None:
    """Calls whose answer is the same whatever they say, but for a policy's no."""
    if _of_namespaces(asked) or _slash_at_the_end(asked):
        asked.method, asked.body = "GET", b""


def policy_given_twice(asked: Asked) -> None:
    """OpenBao gets one that it refuses too, so that nothing is written."""
    if asked.method not in {"POST", "PUT"} or not re.match(r"sys/polic(y|ies/acl)/", asked.path):
        return
    try:
        asked.twice = doubled_attribute(json.loads(asked.body)["policy"])
    except (ValueError, TypeError, KeyError):
        return
    if asked.twice:
        asked.body = json.dumps({"policy": "path {"}).encode()


# -- after OpenBao has answered


def invalid_token(asked: Asked, answer: Answer) -> None:
    """A dead token has a wording of its own; no token at all has not, nor what a login's own mount refuses."""
    login = re.fullmatch(r"auth/.+/login(/.*)?", asked.path)
    if answer.status == 403 and answer.errors == ["permission denied"] and asked.token and not login:
        answer.becomes(403, {"errors": [INVALID_TOKEN]})


def enterprise_only(asked: Asked, answer: Answer) -> None:
    if _of_namespaces(asked) and _let_through(answer):
        answer.becomes(404, {"errors": ["enterprise-only feature"]})


def slash_at_the_end(asked: Asked, answer: Answer) -> None:
    if _slash_at_the_end(asked) and _let_through(answer):
        nothing = dict.fromkeys(("data", "wrap_info", "auth"))
        found = {"request_id": "", "lease_id": "", "renewable": False, "lease_duration": 0, **nothing}
        answer.becomes(404, found | {"warnings": [NOT_VERSIONED]})


def policy_refused(asked: Asked, answer: Answer) -> None:
    if asked.twice and answer.status == 400:
        answer.becomes(400, {"errors": [f"failed to parse policy: {asked.twice}"]})


def audit_by_api(asked: Asked, answer: Answer) -> None:
    """It says yes, and nothing is enabled: OpenBao's own device goes on."""
    if asked.path.startswith("sys/audit/") and any("via API" in one for one in answer.errors):
        answer.becomes(204, None)


def other_texts(_: Asked, answer: Answer) -> None:
    for status, theirs, ours in (
        (500, r"missing role_id", "failed to determine alias name from login request"),
        (400, r"failed to decode JSON input: .*", "error parsing JSON"),  # as 1.16 has it; 2.1 was not asked
        (
            400,
            r'error converting input for field "(\w+)": \'\' expected type .*, got unconvertible type \'(\w+)\'',
            r"""error converting input for field "\1": '' expected a map, got '\2'""",
        ),
    ):
        if answer.status == status and len(answer.errors) == 1 and re.fullmatch(theirs, answer.errors[0]):
            answer.becomes(status, {"errors": [re.sub(theirs, ours, answer.errors[0])]})


def health(asked: Asked, answer: Answer) -> None:
    if asked.path == "sys/health" and "version" in answer.json:
        more = dict.fromkeys(("clock_skew_ms", "echo_duration_ms", "replication_primary_canary_age_ms"), 0)
        flags = {"enterprise": False, "performance_standby": False}
        answer.becomes(answer.status, answer.json | more | flags | {"version": VERSION})


def seal_status(asked: Asked, answer: Answer) -> None:
    if asked.path in {"sys/seal-status", "sys/unseal"} and "version" in answer.json:
        found = answer.json | {"version": VERSION}
        found.pop("commit_date", None)
        answer.becomes(answer.status, found)


def leader(asked: Asked, answer: Answer) -> None:
    if asked.path == "sys/leader" and answer.status == 200:
        standby = {"performance_standby": False, "performance_standby_last_remote_wal": 0}
        nobody = {"is_self": False, "active_time": "0001-01-01T00:00:00Z", "leader_address": ""}
        answer.becomes(200, nobody | standby | answer.json)


def without_openbaos_fields(asked: Asked, answer: Answer) -> None:
    """KV v2's configuration and metadata, and policies. `cas_required` is OpenBao's own in a policy alone."""
    policy = re.match(r"sys/polic(y|ies/acl)/.", asked.path)
    kv2 = re.search(r"./(config|metadata/.+)$", asked.path)
    if asked.method == "GET" and answer.status == 200 and (policy or kv2) and answer.data:
        dropped = OF_OPENBAO if policy else OF_OPENBAO - {"cas_required"}
        data = {name: value for name, value in answer.data.items() if name not in dropped}
        answer.becomes(200, answer.json | {"data": data})


def leases_of_a_mount(asked: Asked, answer: Answer) -> None:
    config = answer.data.get("config") if asked.path.startswith("sys/internal/ui/mounts/") else None
    if isinstance(config, dict):
        real = {name: config.get(name) or DEFAULT_LEASE for name in ("default_lease_ttl", "max_lease_ttl")}
        answer.becomes(answer.status, answer.json | {"data": answer.data | {"config": config | real}})


def no_index(_: Asked, answer: Answer) -> None:
    answer.headers = [one for one in answer.headers if one[0].lower() != "x-vault-index"]


def _of_namespaces(asked: Asked) -> bool:
    return asked.path.partition("/")[2].split("/")[0] == "namespaces" and asked.path.startswith("sys/")


def _slash_at_the_end(asked: Asked) -> bool:
    return bool(re.fullmatch(r".+/data/.+/", asked.path)) and asked.method != "LIST" and "list=true" not in asked.query


def _let_through(answer: Answer) -> bool:
    return answer.status in {200, 204, 400, 404, 405, 500}


BEFORE: tuple[Callable[[Asked], Answer | None], ...] = (
    long_token,
    json_limits,
    no_namespaces_and_no_index,
    only_looked_at,
    policy_given_twice,
)
AFTER: tuple[Callable[[Asked, Answer], None], ...] = (
    invalid_token,
    enterprise_only,
    slash_at_the_end,
    policy_refused,
    audit_by_api,
    other_texts,
    health,
    seal_status,
    leader,
    without_openbaos_fields,
    leases_of_a_mount,
    no_index,
)
