"""The pace of an agent that renders the ticket."""

from __future__ import annotations

import re

from vault_ticket_plugin.doctor.context import DoctorContext
from vault_ticket_plugin.doctor.finding import Finding, failed, passed, skipped
from vault_ticket_plugin.durations import parse_duration, show_duration

# An agent reads a secret without a lease again after this share of its static_secret_render_interval, at the latest;
# and that interval, where its configuration has none.
AGENT_SHARE = 0.95
AGENT_INTERVAL = 300.0


def agent_interval(context: DoctorContext) -> Finding:
    """Whether an agent that renders the ticket comes by at least once in each soft window."""
    profile = context.profile
    soft = profile.windows.soft_for(profile.default_lifetime)
    most = int(soft / AGENT_SHARE)

    if context.agent_config is None:
        if soft > AGENT_INTERVAL * AGENT_SHARE:
            return passed(f"an agent's default of {show_duration(AGENT_INTERVAL)} is within the soft window")
        return skipped(f"--agent-config names none; an agent needs static_secret_render_interval ≤ {most}s")

    try:
        with open(context.agent_config, encoding="utf-8") as file:
            text = re.sub(r"^\s*(#|//).*$", "", file.read(), flags=re.MULTILINE)
    except (OSError, UnicodeDecodeError) as error:
        reason = (getattr(error, "strerror", None) or "it is no text").lower()
        return failed(f"{context.agent_config} can't be read: {reason}", "Name the agent's configuration file.")

    said = re.search(r'\bstatic_secret_render_interval\s*=\s*"?([0-9a-z.]+)', text)
    try:
        interval = parse_duration(said[1]) if said else AGENT_INTERVAL
    except ValueError:
        return failed(f"static_secret_render_interval in {context.agent_config} is no duration", "Write it as 60s.")

    told = f"the agent renders each {show_duration(interval)}{'' if said else ' (its default)'}"
    if interval * AGENT_SHARE >= soft:
        return failed(
            f"{told}, the soft window is {show_duration(soft)}: the rendered ticket can end before a new one comes",
            f'template_config {{ static_secret_render_interval = "{max(1, int(soft / 4))}s" }}, as `vault-ticket '
            "agent-config` prints.",
        )
    return passed(f"{told}, the soft window is {show_duration(soft)}")
