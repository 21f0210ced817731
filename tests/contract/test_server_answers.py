"""The recorded answers are what servers say: the real one, and the one in HashiCorp's words before it."""

import os
from typing import Any

import pytest

from tests.contract import recorded
from tests.contract.record import record
from tests.support.bao import DevServer
from tests.support.flavour import CHOICE, flavour
from tests.support.hashicorp import Hashicorp

Rows = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def server_name() -> str:
    """Of the real server; one that somebody chose may be none of those that were recorded."""
    if os.environ.get(CHOICE):
        if str(flavour()) not in recorded.SERVERS:
            pytest.skip(f"nobody recorded the answers of {flavour()}")
        return str(flavour())
    return "OpenBao 2.7.2"


@pytest.fixture(scope="module")
def real(server_name: str) -> Rows:  # noqa: ARG001 - not before it is known
    """From a server of its own: it ends up sealed."""
    with DevServer() as server:
        return record(server.address, server.root_token)


def expected(server: str, name: str) -> dict[str, Any]:
    row = recorded.of(server)[name]
    if name == "namespace create" and row["status"] == 200:  # the file kept one run's id of a namespace
        row["body"]["data"]["id"] = "«…»"
    return row


def test_the_same_calls_are_made(real: Rows) -> None:
    assert {name: row["call"] for name, row in real.items()} == {name: r["call"] for name, r in recorded.ROWS.items()}


@pytest.mark.parametrize("name", recorded.ROWS)
def test_the_real_server_answers_as_recorded(real: Rows, server_name: str, name: str) -> None:
    """Should a newer one answer otherwise: scripts/record-answers, and the table of what each answer means."""
    assert real[name] == expected(server_name, name)


@pytest.fixture(scope="module")
def worded() -> Rows:
    """The words are put before OpenBao's answers; others have their own."""
    if not flavour().is_openbao:
        pytest.skip(f"wants OpenBao behind it, and this is {flavour()}")
    with DevServer() as server, Hashicorp(server) as vault:
        return record(vault.address, vault.root_token)


@pytest.mark.parametrize("name", recorded.ROWS)
def test_the_server_in_hashicorps_words_answers_as_vault_did(worded: Rows, name: str) -> None:
    assert worded[name] == expected("Vault 2.1.0-beta1", name)
