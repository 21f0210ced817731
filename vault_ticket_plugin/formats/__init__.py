"""How a ticket is printed: one small pure function for each protocol, one registry.

A format gives the text without its last newline. The plain ones are one line and need nothing but the ticket, so
the cache keeps their text and the warm path prints it. docs/formats.md shows each with its client.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from vault_ticket_plugin.formats import aws, bazel, curl, github_actions, google, kubernetes, terraform
from vault_ticket_plugin.formats.plain import as_env, as_header, as_json, as_token
from vault_ticket_plugin.formats.shape import Context, Format
from vault_ticket_plugin.model import Ticket

Plain = Callable[[Ticket], str]

PLAIN: Mapping[str, Plain] = {
    "json": as_json,
    "token": as_token,
    "header": as_header,
    "env": as_env,
    "curl": curl.show,
    "google": google.show,
    "terraform": terraform.show,
}


def _plain(name: str) -> Callable[[Ticket, Context], str]:
    return lambda ticket, _context: PLAIN[name](ticket)


FORMATS: Mapping[str, Format] = {
    **{name: Format(_plain(name)) for name in ("json", "token", "header", "env", "curl")},
    "aws": Format(aws.show),
    "bazel": Format(bazel.show, early=bazel.early, asks=True),
    "github-actions": Format(github_actions.show, early=github_actions.early, appended=github_actions.appended),
    "google": Format(_plain("google"), fail=google.fail, quiet=True),
    "kubernetes": Format(kubernetes.show, early=kubernetes.early),
    "terraform": Format(_plain("terraform"), one_line=True),
}
