"""A whole configuration for Vault Agent or OpenBao Agent that keeps a profile's ticket rendered. Settings in, HCL out.

What each pattern is for, and why the simpler ones fail, stands in docs/agent.md. The tests run what is printed here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from vault_ticket_plugin.agent.auto_auth import auto_auth_block, is_listener, quoted, strings, vault_block
from vault_ticket_plugin.durations import show_duration
from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.formats.env import ENVIRONMENT_NAME
from vault_ticket_plugin.model import Location
from vault_ticket_plugin.settings.load import DEFAULT_TIMEOUT, Settings
from vault_ticket_plugin.settings.profile import Profile
from vault_ticket_plugin.vault.paths import LOOKUP_SELF

Mode = Literal["plugin", "secret", "env", "exec"]
MODES: tuple[Mode, ...] = get_args(Mode)
Server = Literal["openbao", "vault"]
SERVERS: tuple[Server, ...] = get_args(Server)

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


@dataclass(frozen=True, slots=True)
class Plan:
    """What the configuration leaves open. `listen`: unix:///PATH or HOST:PORT; `command`: what to run, empty for none.

    `role_id_file`: agents take a role id from a file only.
    """

    mode: Mode = "plugin"
    server: Server = "openbao"
    listen: str = "unix:///run/vault-ticket-agent/agent.sock"
    destination: str = ""
    command: tuple[str, ...] = ()
    role_id_file: str = "/etc/vault-ticket/role_id"


def agent_config_text(settings: Settings, profile: Profile, plan: Plan) -> str:
    """ConfigError where the profile can't be used in this mode by this agent."""
    _check(settings, profile, plan)
    blocks = [
        _head(profile, plan),
        vault_block(settings.vault),
        auto_auth_block(settings.vault, plan.role_id_file),
        *([_listener(plan)] if _listens(plan) else []),
        _pace(profile, plan),
        *([_template(settings, profile, plan)] if plan.mode != "exec" else _supervised(settings, profile, plan)),
    ]
    return "\n".join("\n".join(block) + "\n" for block in blocks)


def heartbeat(profile: Profile) -> int:
    """Seconds between two passes of the templates."""
    return int(min(MAX_HEARTBEAT, max(MIN_HEARTBEAT, _soft(profile) / PASSES)))


def _soft(profile: Profile) -> float:
    return profile.windows.soft_for(profile.default_lifetime)


def _listens(plan: Plan) -> bool:
    # An agent refuses api_proxy beside env_template, and nothing in secret mode would use it.
    return plan.mode in ("plugin", "env")


def _check(settings: Settings, profile: Profile, plan: Plan) -> None:
    deletes = profile.ticket.kv_version == 2 and profile.lease == "delete"
    if plan.mode == "secret" and plan.server == "openbao" and deletes:
        raise ConfigError(
            "OpenBao Agent can't render a KV v2 secret whose version has a deletion time: "
            f'profile {profile.name} has lease = "delete"',
            'Set lease = "field" in the profile, or use --mode plugin. HashiCorp\'s agent can: --server vault.',
        )
    if plan.mode == "exec" and settings.vault.auth.wrapped:
        raise ConfigError(
            "in exec mode the agent and the helper log in separately, and a wrapped secret id serves only one of them",
            "Use --mode env, or a secret id that is not wrapped.",
        )


def _head(profile: Profile, plan: Plan) -> list[str]:
    name = "bao" if plan.server == "openbao" else "vault"
    what = {
        "plugin": "a file that holds a valid access token and nothing else, by the helper itself",
        "secret": "a file that holds a valid access token and nothing else, from the leased path",
        "env": f"a file that says {ENVIRONMENT_NAME}=…, for a service manager, a container or a shell",
        "exec": f"a command that runs with {ENVIRONMENT_NAME} in its environment, and anew when the token changes",
    }[plan.mode]
    needs = "ticket-reader" if plan.mode == "secret" else "ticket-refresher"
    return [
        f"# Profile {profile.name}: {what}.",
        f"# Made by `vault-ticket agent-config {profile.name} --mode {plan.mode} --server {plan.server}`. "
        f"Run: {name} agent -config=THIS_FILE",
        f"# The agent's role in Vault needs policies/{needs}.hcl and nothing else.",
        *(
            [
                "# Nothing here refreshes the ticket: something else must, on some host, each "
                f"{show_duration(max(1, _soft(profile) / 2))} or more often:",
                f"# `vault-ticket get {profile.name}` from a timer, or an agent in plugin mode.",
            ]
            if plan.mode == "secret"
            else []
        ),
    ]


def _listener(plan: Plan) -> list[str]:
    path = plan.listen.removeprefix("unix://")
    kind = "unix" if path != plan.listen else "tcp"
    guard = (
        "Only this agent's own user (and root) can connect: the socket is made 0755, and connecting needs `w`."
        if kind == "unix"
        else "Every user of this host can connect, and is served with the agent's token: prefer a unix socket."
    )
    return [
        "# The helper reaches Vault through here, so it needs no token of its own.",
        "api_proxy {",
        "  use_auto_auth_token = true",
        "}",
        "",
        f"# {guard}",
        f'listener "{kind}" {{',
        f"  address = {quoted(path)}",
        "  tls_disable = true",
        "  require_request_header = true",
        "}",
    ]


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
    destination = plan.destination or f"/run/vault-ticket-agent/{profile.name}.{suffix}"
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
            "# An agent has no api_proxy beside env_template, so the helper logs in as its own configuration says.",
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
    if _listens(plan) and not is_listener(settings.vault):
        listen = plan.listen if plan.listen.startswith("unix://") else f"http://{plan.listen}"
        surroundings.append(f"VAULT_TICKET_AGENT={listen}")
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
