"""The plain formats: one line each, exactly as their readers want it."""

import json
import shlex
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_ticket_plugin.formats import env, header, json_document, token
from vault_ticket_plugin.formats.interface import FormatContext
from vault_ticket_plugin.model import Ticket
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.profile import Profile

# RFC 6749 appendix A.12: what an access token is made of.
tokens = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)


CONTEXT = FormatContext(Profile.standard("support"))


def ticket(text: str = "abc.def", expires_at: float = 1_800_000_000.9) -> Ticket:
    return Ticket(Secret(text), "Bearer", 1_799_996_400.0, expires_at)


def test_json_has_the_shape_that_credential_processes_have() -> None:
    assert json_document.render(ticket(), CONTEXT) == (
        '{"Version": 1, "AccessToken": "abc.def", "TokenType": "Bearer", "Expiration": "2027-01-15T08:00:00Z"}'
    )


def test_an_expiry_is_rounded_down() -> None:
    """A reader shall not use a ticket for a part of a second longer than it lives."""
    read = json.loads(json_document.render(ticket(expires_at=1_800_000_059.999), CONTEXT))
    assert read["Expiration"] == "2027-01-15T08:00:59Z"


def test_token_header_and_env() -> None:
    assert token.render(ticket(), CONTEXT) == "abc.def"
    assert header.render(ticket(), CONTEXT) == "Authorization: Bearer abc.def"
    assert env.render(ticket(), CONTEXT) == "export TICKET_ACCESS_TOKEN=abc.def"
    assert env.render(ticket("a'b$(c)"), CONTEXT) == "export TICKET_ACCESS_TOKEN='a'\"'\"'b$(c)'"


READ_BACK: Mapping[Callable[[Ticket, FormatContext], str], Callable[[str], str]] = {
    json_document.render: lambda text: str(json.loads(text)["AccessToken"]),
    token.render: lambda text: text,
    header.render: lambda text: text.removeprefix("Authorization: Bearer "),
    env.render: lambda text: shlex.split(text)[1].removeprefix("TICKET_ACCESS_TOKEN="),
}


@pytest.mark.parametrize("show", READ_BACK)
@given(token=tokens)
def test_a_plain_format_is_one_line_that_gives_the_token_back(
    show: Callable[[Ticket, FormatContext], str], token: str
) -> None:
    """The cache keeps it as a line of its own."""
    text = show(ticket(token), CONTEXT)
    assert "\n" not in text
    assert "\t" not in text
    assert READ_BACK[show](text) == token


@pytest.mark.parametrize("token", ["$(touch pwned)", "`id`", "'; id; '", "a\\b", "!!", '"', "~", "*", "-n"])
def test_a_shell_that_evaluates_env_gets_the_token_and_runs_nothing(token: str, tmp_path: Path) -> None:
    script = f'{env.render(ticket(token), CONTEXT)}\nprintf %s "$TICKET_ACCESS_TOKEN"'
    shell = subprocess.run(
        ["/bin/sh"], input=script, capture_output=True, text=True, check=True, cwd=tmp_path, env={"PATH": "/bin"}
    )
    assert (shell.stdout, shell.stderr) == (token, "")
