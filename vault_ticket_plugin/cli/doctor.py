"""`vault-ticket doctor`: what is wrong, and what to do about it."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter

import click

from vault_ticket_plugin.cli import common
from vault_ticket_plugin.cli.colour import Colour, on_terminal, paint, show, wrap_text
from vault_ticket_plugin.doctor.checks import CHECK_NAMES, examine
from vault_ticket_plugin.doctor.context import DoctorContext
from vault_ticket_plugin.doctor.finding import Finding, Status
from vault_ticket_plugin.vault import policy
from vault_ticket_plugin.wiring import wired

COLOURS: dict[str, Colour] = {"pass": "green", "warn": "yellow", "fail": "red"}
NAME_WIDTH = max(len(name) for name in CHECK_NAMES)
# What stands before a finding's message: its status, its name, and what is between them.
INDENT = len("pass") + 2 + NAME_WIDTH + 2


@click.command(short_help="Test everything that can be wrong, and say what to do.")
@common.profile_argument
@click.option(
    "--role",
    type=click.Choice(policy.ROLES),
    default="refresher",
    show_default=True,
    help="What this host is for: refresher, the helper itself; reader of the leased path; operator, who stores.",
)
@click.option("--agent-config", type=click.Path(), help="An agent's configuration file, to test its pace, too.")
@click.option("--format", "chosen", type=click.Choice(["text", "json"]), default="text", show_default=True)
@common.logging_options
def doctor(profile: str, role: policy.Role, agent_config: str | None, chosen: str) -> None:
    """Test for PROFILE, from here and in order, everything that is known to go wrong.

    One line each: pass, warn (it works, and should be mended), fail, or skip (does not apply, or an earlier failure
    makes it impossible to tell). Nothing is changed, no refresh token is spent, no secret is shown. The exit code is 0
    only if nothing failed or was warned of: else that of the first failure, or 78 for warnings alone.
    """
    findings = []
    with contextlib.ExitStack() as stack:

        def begin() -> DoctorContext:
            settings, wanted = common.load_profile(profile)
            wiring = stack.enter_context(wired(settings, os.environ))
            return DoctorContext(settings, wanted, role, wiring, os.environ, agent_config)

        for finding in examine(begin):
            findings.append(finding)
            if chosen == "text":
                show(_line(finding))

    if chosen == "json":
        show(_as_json(profile, role, findings))
    else:
        show(_sum(findings))
    raise click.exceptions.Exit(_exit_code(findings))


def _exit_code(findings: list[Finding]) -> int:
    """A failure's before a warning's."""
    return next((one.exit_code for kind in ("fail", "warn") for one in findings if one.status == kind), 0)


def _line(finding: Finding) -> str:
    """One line where it is piped; on a terminal it is broken to fit, and the hint stands below."""
    colour = COLOURS.get(finding.status)
    dim = finding.status == "skip"
    start = f"{paint(finding.status, colour, dim=dim, bold=finding.status == 'fail')}  {finding.check:<{NAME_WIDTH}}  "
    if not on_terminal():
        return f"{start}{_sentence(finding.message, finding.hint)}\n"
    text = start + paint(wrap_text(finding.message, INDENT), dim=dim) + "\n"
    if finding.hint:
        text += f"{' ' * (INDENT - 2)}{paint('→', colour)} {wrap_text(finding.hint, INDENT)}\n"
    return text


def _sentence(message: str, hint: str) -> str:
    return f"{message}. {hint}" if hint else message


def _sum(findings: list[Finding]) -> str:
    counts = Counter(one.status for one in findings)
    words: dict[Status, str] = {"pass": "passed", "warn": "warned", "fail": "failed", "skip": "skipped"}
    told = [f"{counts[kind]} {word}" for kind, word in words.items() if counts[kind]]
    return f"{', '.join(told)}\n"


def _as_json(profile: str, role: str, findings: list[Finding]) -> str:
    plain = {
        "profile": profile,
        "role": role,
        "ok": _exit_code(findings) == 0,
        "findings": [
            {"check": one.check, "status": one.status, "message": one.message, "hint": one.hint or None}
            for one in findings
        ],
    }
    return json.dumps(plain, indent=2, ensure_ascii=False) + "\n"
