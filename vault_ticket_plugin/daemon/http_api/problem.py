"""What is answered where something is wrong: problem details (RFC 9457), never a secret in them."""

from __future__ import annotations

import json
import math
from http import HTTPStatus
from typing import Any, NamedTuple

from vault_ticket_plugin.errors import VaultTicketError

Headers = list[tuple[bytes, bytes]]
# Vault or the token endpoint is away or busy: later is better, and this is soon enough for a person to notice.
RETRY_SECONDS = 5


class Response(NamedTuple):
    """What goes out."""

    status: int
    headers: Headers
    body: bytes = b""
    dated: bool = False
    """Whether it has a Date header already."""

    def __repr__(self) -> str:
        return f"Response({self.status})"


class Refused(Exception):
    """Carries what to answer; raised where the request is read."""

    def __init__(self, answer: Response) -> None:
        super().__init__(answer.status)
        self.answer = answer


def problem(status: int, message: str, advice: str = "", headers: Headers | None = None, **more: Any) -> Response:
    """`more` stands in the document beside RFC 9457's own members, or in their place."""
    said = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": message,
        "hint": advice,
    }
    return rendered(status, said | more, b"application/problem+json", headers)


def rendered(status: int, document: Any, kind: bytes = b"application/json", headers: Headers | None = None) -> Response:
    body = json.dumps(document).encode()
    plain = [
        (b"content-type", kind),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    return Response(status, plain + (headers or []), body)


def failed(error: VaultTicketError, status: int = 0, headers: Headers | None = None) -> Response:
    """An error of ours, so that whoever asked can tell it as if it had happened there (`from_plain`)."""
    status, headers = status or error.http_status, list(headers or [])
    if status == 503:
        after = RETRY_SECONDS if error.retry_after is None else error.retry_after
        headers.append((b"retry-after", b"%d" % math.ceil(after)))
    return problem(status, error.message, error.advice, headers, **error.to_plain())
