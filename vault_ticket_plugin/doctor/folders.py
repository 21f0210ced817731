"""Our folders on this host, what waits in them, and the files of the login."""

from __future__ import annotations

import os
import stat

from vault_ticket_plugin import environment
from vault_ticket_plugin.doctor.context import DoctorContext
from vault_ticket_plugin.doctor.finding import Finding, failed, passed, skipped, warned
from vault_ticket_plugin.errors import SaveFailed
from vault_ticket_plugin.folder import Folder, FolderUnusable
from vault_ticket_plugin.places import places
from vault_ticket_plugin.refresh.journal import Journal

# In its folders systemd lets one user in by an access list, whose mask a file's mode shows as its group's rights.
SYSTEMD_CREDENTIALS = "/run/credentials/"


def runtime_folder(context: DoctorContext) -> Finding:
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


def journal(context: DoctorContext) -> Finding:
    """Rotated refresh tokens that Vault does not have yet."""
    address = context.settings.grant_address(context.profile)
    waiting = Journal(None, lambda: places(context.environ)).look()
    ours = [found for found in waiting if found.is_for(address)]
    for found in ours:
        if found.entry is None:
            raise found.trouble()
        return failed(
            f"{found.line(context.wiring.clock.wall())}: Vault does not have it yet",
            f"Run `vault-ticket get {context.profile.name}` here, as this user: it puts it into Vault.",
            SaveFailed.exit_code,
        )

    if waiting:
        return warned(
            "; ".join(found.line(context.wiring.clock.wall()) for found in waiting),
            "Run `vault-ticket get` with the configuration that it was made under. It may be the only good token.",
        )

    kept = places(context.environ).state
    if not any(_is_there(path) or _can_be_made(path) for path in kept):
        missing = f"{kept[0]} can't be made" if kept else "this user has no home folder"
        return warned(
            f"{missing}: a rotated token that Vault does not take would be kept in memory only",
            "Set XDG_STATE_HOME to a folder of this user's, on a disk.",
        )
    return passed("nothing waits to be saved")


def login_files(context: DoctorContext) -> Finding:
    if context.daemon_only:
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


def _can_be_made(path: str) -> bool:
    above = os.path.dirname(path)
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    return os.path.isdir(above) and os.access(above, os.W_OK | os.X_OK)


def _is_there(path: str) -> bool:
    try:
        Folder(path, create=False).close()
    except OSError:
        return False
    return True
