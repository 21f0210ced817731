"""A whole configuration for Vault Agent or OpenBao Agent that keeps a profile's ticket rendered. Settings in, HCL out.

What each pattern is for, and why the simpler ones fail, stands in docs/agent.md. The tests run what is printed here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from vault_ticket_plugin.agent.auto_auth import auto_auth_block, quoted, strings, vault_block
from vault_ticket_plugin.agent.plan import AGENT_FOLDER, Plan, check, command_line, shown
from vault_ticket_plugin.agent.proxy import proxy_blocks
from vault_ticket_plugin.durations import show_duration
from vault_ticket_plugin.formats.env import ENVIRONMENT_NAME
from vault_ticket_plugin.model import Location
from vault_ticket_plugin.settings.load import DEFAULT_TIMEOUT, Settings
from vault_ticket_plugin.settings.profile import Profile
from vault_ticket_plugin.vault.paths import LOOKUP_SELF

# Where a configuration is found without being named (environment.config_path).
SYSTEM_CONFIG = "/etc/vault-ticket/config.toml"
# Passes of the templates within a soft window: a refresh that fails has so many more chances.
PASSES = 4
# An agent cuts the interval to whole seconds, and 0 would be a busy loop; more often than once a minute is no use.
MIN_HEARTBEAT, MAX_HEARTBEAT = 1, 60
# The agent waits this long for more changes before it restarts its child, which then may take its time to stop.
EXEC_DEBOUNCE, EXEC_RESTART = 2, 3
# What any token may read of itself: every read of it makes the agent run its templates.
HEARTBEAT_PATH = LOOKUP_SELF


def agent_config_text(settings: Settings, profile: Profile, plan: Plan) -> str:
    """For the agent, or in proxy mode for the proxy beside it. ConfigError if the profile can't be used this way."""
    check(settings, profile, plan)
    if plan.mode == "proxy" and plan.listen:
        blocks = proxy_blocks(settings, profile, plan, plan.listen)
    else:
        blocks = _agent_blocks(settings, profile, plan)
    return "\n".join("\n".join(block) + "\n" for block in blocks)


def _agent_blocks(settings: Settings, profile: Profile, plan: Plan) -> list[list[str]]:
    return [
        _head(settings, profile, plan),
        vault_block(settings.vault),
        auto_auth_block(settings.vault, plan),
        _pace(profile, plan),
        *([_template(settings, profile, plan)] if plan.mode != "exec" else _supervised(settings, profile, plan)),
    ]


def heartbeat(profile: Profile) -> int:
    """Seconds between two passes of the templates."""
    return int(min(MAX_HEARTBEAT, max(MIN_HEARTBEAT, _soft(profile) / PASSES)))


def _soft(profile: Profile) -> float:
    return profile.windows.soft_for(profile.default_lifetime)


def _head(settings: Settings, profile: Profile, plan: Plan) -> list[str]:
    what = {
        "plugin": "a file that holds a valid access token and nothing else, by the helper itself",
        "secret": "a file that holds a valid access token and nothing else, from the leased path",
        "env": f"a file that says {ENVIRONMENT_NAME}=…, for a service manager, a container or a shell",
        "exec": f"a command that runs with {ENVIRONMENT_NAME} in its environment, and anew when the token changes",
    }[plan.mode]
    return [
        f"# Profile {profile.name}: {what}.",
        f"# Made by `{command_line(profile, plan)}`.",
        f"# Run: {plan.program} agent -config=THIS_FILE",
        *_company(settings, profile, plan),
    ]


def _company(settings: Settings, profile: Profile, plan: Plan) -> list[str]:
    """Who else is needed, and the policy of the role."""
    if plan.mode == "secret":
        return [
            "# The agent's role in Vault needs policies/ticket-reader.hcl and nothing else.",
            "# Nothing here refreshes the ticket: something else must, on some host, each "
            f"{show_duration(max(1, _soft(profile) / 2))} or more often:",
            f"# `vault-ticket get {profile.name}` from a timer, or an agent in plugin mode.",
        ]
    return [
        *_helpers_way(settings, profile, plan),
        "# The role in Vault needs policies/ticket-refresher.hcl and nothing else.",
    ]


def _helpers_way(settings: Settings, profile: Profile, plan: Plan) -> list[str]:
    auth = settings.vault.auth
    if plan.listen:
        return [
            "# The helper needs no login: it reaches Vault through a proxy beside the agent, of the same user:",
            f"# `{command_line(profile, plan, 'proxy')}`",
        ]
    if auth.method == "none":
        return ["# The helper needs no login: its configuration names a listener, which has to be there."]
    if auth.token:
        return [
            "# The helper logs in by itself, but its configuration has no login yet: VAULT_TOKEN is not the agent's."
        ]
    return ["# The agent and the helper that it calls log in separately, both as the helper's configuration says."]


def _pace(profile: Profile, plan: Plan) -> list[str]:
    interval = show_duration(heartbeat(profile))
    what = "the leased path is read" if plan.mode == "secret" else "the heartbeat is read, and the helper run"
    return [
        "template_config {",
        f"  # How often {what}: {PASSES} times or more within the soft window of {_soft(profile):g}s.",
        f'  static_secret_render_interval = "{interval}"',
        "}",
    ]


def _template(settings: Settings, profile: Profile, plan: Plan) -> list[str]:
    suffix = "env" if plan.mode == "env" else "token"
    destination = plan.destination or f"{AGENT_FOLDER}/{profile.name}.{suffix}"
    body = _leased_contents(profile.ticket) if plan.mode == "secret" else _helper_contents(settings, profile, plan)

    return [
        "template {",
        *_contents(body),
        f"  destination = {quoted(destination)}",
        '  perms = "0600"',
        "  error_on_missing_key = true",
        "  # A helper that fails is asked again at the next heartbeat, and the last file stays. Without this line the",
        "  # agent starts all its templates anew each time.",
        "  error_fatal = false",
        *_post_render(plan),
        "}",
    ]


def _post_render(plan: Plan) -> list[str]:
    command = plan.command or ("systemctl", "reload", "my-service")
    lines = [
        "exec {",
        f"  command = {strings(command)}",
        '  timeout = "30s"',
        "}",
    ]
    note = "  # Run each time the file has changed. It must succeed: else the agent begins all its templates anew."
    return [note, *(f"  {'' if plan.command else '# '}{line}" for line in lines)]


def _supervised(settings: Settings, profile: Profile, plan: Plan) -> list[list[str]]:
    command = plan.command or ("/usr/local/bin/my-service",)

    return [
        [
            f'env_template "{ENVIRONMENT_NAME}" {{',
            *_contents(_helper_contents(settings, profile, plan)),
            "  error_on_missing_key = true",
            "  # Never error_fatal = false here: the agent would restart its child with an empty value.",
            "}",
        ],
        [
            "exec {",
            f"  command = {strings(command)}",
            "  # Only when the token has changed, with the agent's 2 s of waiting for more changes.",
            '  restart_on_secret_changes = "always"',
            '  restart_stop_signal = "SIGTERM"',
            "}",
        ],
    ]


def _contents(lines: Iterable[str]) -> list[str]:
    return ["  contents = <<EOT", *lines, "EOT"]


def _helper_contents(settings: Settings, profile: Profile, plan: Plan) -> list[str]:
    """The helper's call, in the heartbeat's arms: an early pass, without the agent's token, does not call it."""
    call = f"{{{{ plugin {' '.join(quoted(word) for word in _call(settings, profile, plan))} }}}}"
    return [
        f'{{{{ with secret "{HEARTBEAT_PATH}" -}}}}',
        *([f"{ENVIRONMENT_NAME}={call}", "{{ end -}}"] if plan.mode == "env" else [call, "{{- end -}}"]),
    ]


def _call(settings: Settings, profile: Profile, plan: Plan) -> list[str]:
    surroundings = []
    if settings.path and settings.path != SYSTEM_CONFIG:
        surroundings.append(f"VAULT_TICKET_CONFIG={settings.path}")
    if plan.listen:
        surroundings.append(f"VAULT_TICKET_AGENT={'' if plan.listen.path else 'http://'}{shown(plan.listen)}")

    call = ["vault-ticket", "get", profile.name, "--format", "token"]
    if settings.timeout > DEFAULT_TIMEOUT:
        call += ["--timeout", show_duration(DEFAULT_TIMEOUT)]  # agents kill a plugin after 30 s
    if plan.mode == "exec":
        call.append("--wait")
        needed = heartbeat(profile) + EXEC_DEBOUNCE + EXEC_RESTART
        if _soft(profile) < needed:
            call += ["--min-ttl", show_duration(math.ceil(needed))]
    return ["env", *surroundings, *call] if surroundings else call


def _leased_contents(where: Location) -> list[str]:
    path, data = f"{where.mount}/{where.path}", ".Data"
    if where.kv_version == 2:
        path, data = f"{where.mount}/data/{where.path}", ".Data.data"
    now = '(timestamp "2006-01-02T15:04:05Z")'
    return [
        f"{{{{ with secret {quoted(path)} -}}}}",
        "{{- /* an empty file rather than an expired token, where nobody has refreshed it */ -}}",
        f"{{{{ if gt {data}.expires_at {now} }}}}{{{{ {data}.access_token }}}}{{{{ end }}}}",
        "{{- end -}}",
    ]
