"""Records what a server answers to the calls of calls.py, in the shape of server_answers.json.

    VAULT_TOKEN=… scripts/record-answers http://127.0.0.1:8200 "Vault 2.1.0"

CHANGES AND SEALS THE SERVER: give it a fresh dev server that is thrown away afterwards, and its root token.
"""

import argparse
import contextlib
import http.client
import json
import os
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from tests.contract import calls, normal


class Recorder:
    """One connection a call, as root; `answers` has the named ones."""

    def __init__(self, address: str, token: str) -> None:
        self._where = urlsplit(address)
        self._token = token
        self.answers: dict[str, dict[str, Any]] = {}

    def __call__(
        self,
        name: str,
        method: str,
        path: str,
        body: calls.Body = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> calls.Reply:
        sent = dict(headers or {})
        if used := self._token if token is None else token:
            sent["X-Vault-Token"] = used
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        secure = self._where.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(self._where.netloc, timeout=60)
        try:
            # A server that has read enough of a body answers before its end.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, f"/v1/{path}", data, sent)
            answer = connection.getresponse()
            text = answer.read()
            if name:
                found = normal.answer(answer.status, answer.getheader("location"), text)
                self.answers[name] = {"call": f"{method} {path}", **found}
        finally:
            connection.close()
        return calls.Reply(answer.status, text)


def record(address: str, token: str) -> dict[str, dict[str, Any]]:
    """Each call's name with `call`, `status`, `body` and perhaps `headers`."""
    recorder = Recorder(address, token)
    calls.make(recorder)
    return dict(sorted(recorder.answers.items()))


def document(recorded: Mapping[str, Mapping[str, Any]], server: str) -> dict[str, Any]:
    """The same as a file of its own, with one server in it."""
    rows = {}
    for name, row in recorded.items():
        answer = {key: value for key, value in row.items() if key != "call"}
        rows[name] = {"call": row["call"], "answers": [{"servers": [server], **answer}]}
    return {"what": f"What {server} answered (a dev server, one node; bodies without ids and times).", "answers": rows}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/record-answers",
        description="Prints what a server answers to the calls of tests/contract/calls.py, as JSON. "
        "It CHANGES the server AND SEALS IT: for a fresh dev server that is thrown away afterwards.",
        epilog="The server's root token comes from VAULT_TOKEN, never from an argument.",
    )
    parser.add_argument("address", help="http://127.0.0.1:8200")
    parser.add_argument("name", help='what the server is called in the output: "Vault 2.1.0"')
    asked = parser.parse_args()
    token = os.environ.get("VAULT_TOKEN", "")
    if not token:
        parser.error("VAULT_TOKEN is not set")
    json.dump(document(record(asked.address, token), asked.name), sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()
