"""The daemon against its own OpenAPI document: schemathesis asks the real server over TCP, and all its checks hold."""

import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig

from tests.daemon.serving import GOOD, Serving, access_token
from vault_ticket_plugin.clock import HOST_CLOCK, Deadline
from vault_ticket_plugin.daemon.http_api.request import MIN_TTL
from vault_ticket_plugin.durations import MAX_DURATION, parse_duration
from vault_ticket_plugin.model import Demand, LiveTicket, Ticket
from vault_ticket_plugin.secret import Secret

DOCUMENT = json.loads(resources.files("vault_ticket_plugin.daemon.http_api").joinpath("openapi.json").read_text())
CONFIG = SchemathesisConfig(
    seed=7, projects=ProjectsConfig(default=ProjectConfig(generation=GenerationConfig(deterministic=True)))
)
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT, config=CONFIG)


def issue_for_long(name: str, _demand: Demand, _until: Deadline) -> LiveTicket:
    """A ticket that meets every demand that can be made."""
    now = 1_800_000_000.0
    ticket = Ticket(Secret(access_token(name)), "Bearer", now, now + MAX_DURATION + 1)
    return LiveTicket.at(ticket, now, HOST_CLOCK.monotonic())


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with Serving(tmp_path_factory.mktemp("openapi"), issue=issue_for_long) as serving:
        yield serving


@SCHEMA.parametrize()
@settings(max_examples=25, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_the_daemon_does_what_its_document_says(case: schemathesis.Case[Any], it: Serving) -> None:
    """Good and bad data, other methods, missing credentials: statuses, types, headers and bodies are as documented."""
    case.call_and_validate(base_url=f"http://127.0.0.1:{it.port}", headers={"X-Vault-Token": GOOD})


def test_the_document_is_served_as_it_is_in_the_package(it: Serving) -> None:
    assert json.loads(it.get("/openapi.json").body) == DOCUMENT


def test_the_documents_durations_are_those_that_are_read() -> None:
    parameters = DOCUMENT["paths"]["/v1/tickets/{profile}"]["parameters"]
    [pattern] = [one["schema"]["pattern"] for one in parameters if one["name"] == "min_ttl"]
    assert pattern == f"^({MIN_TTL.pattern})$"
    longest = "9999.9d99999.9h9999999.9m999999999.9s999999999.9ms"
    assert MIN_TTL.fullmatch(longest)
    assert 0 < parse_duration(longest) < MAX_DURATION


def test_the_checks_see_an_answer_that_is_not_as_documented(it: Serving) -> None:
    changed = json.loads(json.dumps(DOCUMENT))
    answers = changed["paths"]["/healthz"]["get"]["responses"]["200"]["content"]["application/json"]
    answers["schema"]["properties"]["alive"] = {"const": "yes"}
    case = schemathesis.openapi.from_dict(changed)["/healthz"]["GET"].Case()
    with pytest.raises(schemathesis.core.failures.FailureGroup):
        case.call_and_validate(base_url=f"http://127.0.0.1:{it.port}")
