"""This host: our folders, what waits in them, the login's files, and the agent's pace."""

from __future__ import annotations

import os
import re
import stat

from vault_ticket_plugin import environment
from vault_ticket_plugin.clock import to_rfc3339
from vault_ticket_plugin.doctor.context import Context
from vault_ticket_plugin.doctor.finding import Finding, failed, passed, skipped, warned
from vault_ticket_plugin.durations import parse_duration, show_duration
from vault_ticket_plugin.errors import SaveFailed
from vault_ticket_plugin.folder import Folder, FolderUnusable
from vault_ticket_plugin.refresh.journal import Journal

# An agent reads a secret without a lease again after this share of its static_secret_render_interval, at the latest;
# and that interval, where its configuration has none.
AGENT_SHARE = 0.95
AGENT_INTERVAL = 300.0
# In its folders systemd lets one user in by an access list, whose mask a file's mode shows as its group's rights.
SYSTEMD_CREDENTIALS = "/run/credentials/"


def runtime_folder(context: Context) -> Finding:
    path = environment.runtime_path(context.environ)
    try:
        with Folder(path, create=False) as folder:
            for name in folder.names():
                folder.read(name)  # each is as private as the folder
    except (FileNotFoundError, NotADirectoryError):
        if _can_be_made(path):
            return passed(f"{path} is made by the first call")
        hint = "Set XDG_RUNTIME_DIR to a folder of this user's that memory keeps. Without one every call asks Vault."
        return warned(f"{path} can't be made", hint)
    except FolderUnusable as error:
        wanted = "0700" if error.filename == path else "0600"
        hint = (
            f"What is cached there may have been read: `chmod {wanted} {error.filename}`, or remove it, "
            f"then `vault-ticket revoke {context.profile.name}`. Nothing is cached meanwhile."
        )
        return failed(str(error), hint)
    except OSError as error:
        return failed(f"{path} can't be used: {(error.strerror or '').lower()}", "Correct or remove it.")
    return passed(f"{path}, open to this user alone")


def journal(context: Context) -> Finding:
    """A rotated refresh token that Vault does not have yet."""
    state = environment.state_path(context.environ)
    runtime = _open(environment.runtime_path(context.environ))
    try:
        names = set(runtime.names()) if runtime else set()
        identity = context.settings.grant_identity(context.profile)
        waiting = Journal(runtime, state).waiting(context.profile.name, identity)
    finally:
        if runtime:
            runtime.close()
    if waiting:
        return failed(
            f"a rotated refresh token waits on this host since {to_rfc3339(waiting[0].at)}: Vault does not have it yet",
            f"Run `vault-ticket get {context.profile.name}` here, as this user: it puts it into Vault.",
            SaveFailed.exit_code,
        )
    kept = _open(state)
    if kept:
        with kept:
            names |= set(kept.names())
    others = sorted(name for name in names if name.endswith(".journal"))
    if others:
        return warned(
            f"a journal of another profile, server or path waits: {others[0]}",
            "Run `vault-ticket get` with the configuration that it was made under. It may hold the only good token.",
        )
    if kept is None and not _can_be_made(state):
        return warned(
            f"{state} can't be made: a rotated token that Vault does not take would be kept in memory only",
            "Set XDG_STATE_HOME to a folder of this user's, on a disk.",
        )
    return passed("nothing waits to be saved")


def login_files(context: Context) -> Finding:
    if context.alone:
        return skipped("no Vault is configured to log in to")
    auth = context.settings.vault.auth
    found = [path for path in (auth.secret_id_file, auth.token_file) if path]
    if not found:
        return skipped(f"a {auth.method} login has no file to be kept secret")
    path = found[0]
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
        with open(path, "rb"):
            pass
    except OSError as error:
        hint = "Correct it in [vault] auth, or put the file there (`vault-ticket setup --secret-id-file`)."
        return failed(f"{path} can't be read: {(error.strerror or '').lower()}", hint)
    if mode & 0o077 and not path.startswith(SYSTEMD_CREDENTIALS):
        return warned(
            f"{path} is open to other users: mode {mode:04o}",
            f"`chmod 0600 {path}`; if others could read it, replace what it holds.",
        )
    return passed(f"{path}, mode {mode:04o}")


def agent_interval(context: Context) -> Finding:
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


def _can_be_made(path: str) -> bool:
    above = os.path.dirname(path)
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    return os.path.isdir(above) and os.access(above, os.W_OK | os.X_OK)


def _open(path: str) -> Folder | None:
    try:
        return Folder(path, create=False)
    except OSError:
        return None
