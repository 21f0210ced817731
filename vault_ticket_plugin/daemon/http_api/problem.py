"""What is answered where something is wrong: problem details (RFC 9457), never a secret in them."""

from __future__ import annotations

import json
import math
from http import HTTPStatus
from typing import Any, NamedTuple

from vault_ticket_plugin.errors import EndpointUnavailable, VaultTicketError

Headers = list[tuple[bytes, bytes]]
# Vault or the token endpoint is away or busy: later is better, and this is soon enough for a person to notice.
RETRY_SECONDS = 5


class Answer(NamedTuple):
    """`dated`: it has a Date header already."""

    status: int
    headers: Headers
    body: bytes = b""
    dated: bool = False

    def __repr__(self) -> str:
        return f"Answer({self.status})"


class Refused(Exception):
    """Carries what to answer; raised where the request is read."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def problem(status: int, detail: str, hint: str = "", headers: Headers | None = None, **more: Any) -> Answer:
    """`more` stands in the document beside RFC 9457's own members."""
    said = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, "hint": hint}
    return rendered(status, said | more, b"application/problem+json", headers)


def rendered(status: int, document: Any, kind: bytes = b"application/json", headers: Headers | None = None) -> Answer:
    body = json.dumps(document).encode()
    plain = [
        (b"content-type", kind),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    return Answer(status, plain + (headers or []), body)


def failed(error: VaultTicketError, status: int = 0, headers: Headers | None = None) -> Answer:
    """An error of ours, so that whoever asked can tell it as if it had happened there."""
    more: dict[str, Any] = {"title": type(error).__name__, "exit_code": error.exit_code}
    code = getattr(error, "code", "")
    if code:
        more["code"] = code
    status = status or (503 if error.exit_code in (69, 75) else 502)
    headers = list(headers or [])
    if status == 503:
        after = error.retry_after if isinstance(error, EndpointUnavailable) else None
        headers.append((b"retry-after", b"%d" % math.ceil(RETRY_SECONDS if after is None else after)))
    return problem(status, error.message, error.hint, headers, **more)
