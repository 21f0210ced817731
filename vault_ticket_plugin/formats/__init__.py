"""How a ticket is printed: one small pure function for each protocol, a module each, and one index.

A format gives the text without its last newline. docs/formats.md shows each with its client.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from vault_ticket_plugin.formats.interface import Format

# By its name the module that has it, as FORMAT. What these print depends on the ticket alone: the cache keeps their
# text, and the warm path prints it.
CACHEABLE: Mapping[str, str] = {
    "json": "json_document",
    "token": "token",
    "header": "header",
    "env": "env",
    "curl": "curl",
    "google": "google",
    "terraform": "terraform",
}
# These look at the profile, the environment or the caller's question, too.
CONTEXTUAL: Mapping[str, str] = {
    "aws": "aws",
    "bazel": "bazel",
    "github-actions": "github_actions",
    "kubernetes": "kubernetes",
}
FORMATS: Mapping[str, str] = {**CACHEABLE, **CONTEXTUAL}


def load(name: str) -> Format:
    """The format of that name. Its module is imported only now: no call needs all of them."""
    found: Format = import_module(f"{__name__}.{FORMATS[name]}").FORMAT
    return found
