"""What the configuration says of the daemon: every key, and every refusal with what would be allowed."""

import grp
import os
import pwd
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.settings.test_load import written
from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.settings.daemon import HOOKS, MAX_SOCKET_PATH, DaemonSettings, Listener
from vault_ticket_plugin.settings.load import Settings, load_settings
from vault_ticket_plugin.settings.profile import Allow

ADDRESS = {"address": "https://vault.example:8200"}
Load = Callable[..., Settings]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load_it(document: dict[str, Any], **environ: str) -> Settings:
        path = tmp_path / "config.toml"
        path.write_text(written(document))
        return load_settings({"HOME": str(tmp_path), "VAULT_TICKET_CONFIG": str(path)} | environ)

    return load_it


def of_daemon(load: Load, **keys: Any) -> DaemonSettings:
    return load({"vault": ADDRESS, "daemon": keys}).daemon


def allowed(load: Load, **keys: Any) -> Allow:
    return load({"vault": ADDRESS, "profiles": {"support": {"allow": keys}}}).profile("support").allow


# -- the socket that is asked


@pytest.mark.parametrize("text", ["unix:/run/vt/socket", "unix:///run/vt/socket"])
def test_who_names_a_socket_needs_no_vault(load: Load, text: str) -> None:
    found = load({"socket": text})
    assert (found.socket, found.vault.address, found.profile("any").name) == ("/run/vt/socket", "", "any")


def test_who_names_no_socket_does(load: Load) -> None:
    with pytest.raises(ConfigError, match="no Vault address"):
        load({"daemon": {"listen": "unix:/run/vt/socket"}})
    assert load({"vault": ADDRESS}).socket is None


def test_a_vault_beside_the_socket_is_asked_after_it(load: Load) -> None:
    found = load({"socket": "unix:/run/vt/socket"}, VAULT_ADDR="https://v:1")
    assert (found.socket, found.vault.address) == ("/run/vt/socket", "https://v:1")


def test_a_socket_may_have_the_longest_path_that_the_system_takes(load: Load) -> None:
    path = "/" + "x" * (MAX_SOCKET_PATH - 1)
    assert load({"socket": f"unix:{path}"}).socket == path
    for longer in (f"{path}x", path[:-1] + "é"):
        with pytest.raises(ConfigError, match=f"at most {MAX_SOCKET_PATH} bytes"):
            load({"socket": f"unix:{longer}"})


NO_SOCKETS = [
    "/run/vt/socket",
    "unix:",
    "unix:socket",
    "unix:./socket",
    "http://localhost",
    "127.0.0.1:8207",
    "",
    7,
    [],
]


@pytest.mark.parametrize("value", NO_SOCKETS)
def test_what_is_no_sockets_path_is_refused(load: Load, tmp_path: Path, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        load({"socket": value})
    assert caught.value.message.startswith(f"{tmp_path}/config.toml: socket: wanted ")
    with pytest.raises(ConfigError, match=r"daemon\.credentials: wanted "):
        of_daemon(load, credentials=value)


# -- the daemon's own table


def test_every_key_of_the_daemon(load: Load) -> None:
    hooks = {name: ["/usr/local/bin/tell", name] for name in HOOKS}
    assert of_daemon(
        load,
        listen=["unix:/run/vt/socket", "127.0.0.1:8207"],
        socket_mode="0660",
        credentials="unix:/run/vt/credentials",
        workers=3,
        rate=20,
        audit="/var/log/vt.json",
        hooks=hooks,
        hook_timeout="1m",
    ) == DaemonSettings(
        listen=(Listener(path="/run/vt/socket"), Listener(host="127.0.0.1", port=8207)),
        socket_mode=0o660,
        credentials="/run/vt/credentials",
        workers=3,
        rate=20.0,
        audit="/var/log/vt.json",
        hooks={name: ("/usr/local/bin/tell", name) for name in HOOKS},
        hook_timeout=60.0,
    )


def test_what_is_left_out_is_the_default(load: Load) -> None:
    assert of_daemon(load) == DaemonSettings() == load({"vault": ADDRESS}).daemon
    assert of_daemon(load).listen == ()
    assert of_daemon(load, hooks={"dead": ["x"]}).hooks == {"dead": ("x",)}
    assert of_daemon(load, audit="-").audit == "-"


@pytest.mark.parametrize(
    ("text", "listener"),
    [
        ("unix:/run/vt/socket", Listener(path="/run/vt/socket")),
        ("unix:///run/vt/socket", Listener(path="/run/vt/socket")),
        ("127.0.0.1:8207", Listener(host="127.0.0.1", port=8207)),
        ("127.0.0.2:1", Listener(host="127.0.0.2", port=1)),
        ("localhost:8207", Listener(host="localhost", port=8207)),
        ("[::1]:65535", Listener(host="::1", port=65535)),
        ("127.0.0.1:0", Listener(host="127.0.0.1", port=0)),
    ],
)
def test_where_it_may_listen(load: Load, text: str, listener: Listener) -> None:
    """One address needs no list."""
    assert of_daemon(load, listen=text).listen == of_daemon(load, listen=[text]).listen == (listener,)


@pytest.mark.parametrize(
    "text",
    [
        *("0.0.0.0:8207", "10.1.2.3:8207", "vault.example:8207", "[::]:8207", "[2001:db8::1]:8207", ":8207", "*:8207"),
        *("127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:x", "::1:8207", "http://127.0.0.1:8207"),
        *("127.0.0.1:8207/x", "user@127.0.0.1:8207", "127.0.0.1:٨", "localhost.evil.example:8207", "", "unix:x"),
        *(8207, True, {"host": "127.0.0.1"}, ["127.0.0.1:1", 7], [["127.0.0.1:1"]]),
    ],
)
def test_it_listens_to_this_host_alone(load: Load, text: object) -> None:
    with pytest.raises(ConfigError, match=r"daemon\.listen: wanted unix:/PATH"):
        of_daemon(load, listen=text)


@pytest.mark.parametrize("listen", [["127.0.0.1:1", "127.0.0.1:1"], ["unix:/a", "unix:///a"], ["[::1]:1", "[::1]:01"]])
def test_an_address_is_named_once(load: Load, listen: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"daemon\.listen: wanted each address once"):
        of_daemon(load, listen=listen)


def test_a_mode_is_octal_and_quoted(load: Load) -> None:
    assert [of_daemon(load, socket_mode=text).socket_mode for text in ("0600", "660", "0000")] == [0o600, 0o660, 0]
    for wrong in (600, 0o600, "rw-rw----", "0888", "06666", "66", "0o660", "", "٠٦٦٠", True):
        with pytest.raises(ConfigError, match=r'daemon\.socket_mode: wanted a file mode in quotes, like "0660"'):
            of_daemon(load, socket_mode=wrong)


@pytest.mark.parametrize(("key", "least", "most"), [("workers", 1, 64), ("rate", 1, 1_000_000)])
def test_a_number_has_its_bounds(load: Load, key: str, least: int, most: int) -> None:
    for value in (least, most):
        assert getattr(of_daemon(load, **{key: value}), key) == value
    for wrong in (least - 1, most + 1, 1.5, "8", True, [8]):
        with pytest.raises(ConfigError, match=rf"daemon\.{key}: wanted a whole number from {least} to {most}"):
            of_daemon(load, **{key: wrong})


@pytest.mark.parametrize("value", ["vt.json", "./vt.json", "", "--", 7, True])
def test_the_audit_goes_to_a_full_path_or_standard_error(load: Load, value: object) -> None:
    with pytest.raises(ConfigError, match=r"daemon\.audit: wanted "):
        of_daemon(load, audit=value)


@pytest.mark.parametrize("value", ["/usr/local/bin/tell", [], [""], ["x", 7], [["x"]], 7, {}])
def test_a_hook_is_a_command_and_its_arguments(load: Load, value: object) -> None:
    with pytest.raises(ConfigError, match=r'daemon\.hooks\.dead: wanted a command and its arguments, like \["'):
        of_daemon(load, hooks={"dead": value})


@pytest.mark.parametrize("value", ["0s", 0, 0.09, "soon", -1, True])
def test_a_hook_gets_some_time(load: Load, value: object) -> None:
    assert of_daemon(load, hook_timeout=0.1).hook_timeout == 0.1
    with pytest.raises(ConfigError, match=r"daemon\.hook_timeout: wanted "):
        of_daemon(load, hook_timeout=value)


@pytest.mark.parametrize(
    ("document", "name", "hint"),
    [
        ({"daemon": {"listenn": "x"}}, "daemon.listenn", "listen"),
        ({"daemon": {"hooks": {"died": ["x"]}}}, "daemon.hooks.died", "dead, failing, recovered, refreshed"),
        ({"profiles": {"support": {"allow": {"user": []}}}}, "profiles.support.allow.user", "users"),
        ({"sockets": "unix:/x"}, "sockets", "socket"),
    ],
)
def test_a_key_that_does_not_exist_is_told_with_those_that_do(
    load: Load, document: dict[str, Any], name: str, hint: str
) -> None:
    with pytest.raises(ConfigError, match=rf": {re.escape(name)}: there is no such key") as caught:
        load({"vault": ADDRESS} | document)
    assert hint in caught.value.hint


@pytest.mark.parametrize("document", [{"daemon": 7}, {"daemon": {"hooks": []}}, {"daemon": "unix:/x"}])
def test_a_table_is_a_table(load: Load, document: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="wanted a table"):
        load({"vault": ADDRESS} | document)


# -- a profile's `allow`


def test_nobody_is_allowed_unless_the_profile_says_so(load: Load) -> None:
    assert load({"vault": ADDRESS, "profiles": {"support": {}}}).profile("support").allow == Allow()
    assert allowed(load) == allowed(load, users=[], groups=[]) == Allow()


def test_users_and_groups_are_names_or_numbers(load: Load) -> None:
    me, mine = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    found = allowed(load, users=[me, 1001, 1001, 0], groups=[mine, 2000, 2**32 - 2])
    assert found.users == {os.geteuid(), 1001, 0}
    assert found.groups == {os.getegid(), 2000, 2**32 - 2}


@pytest.mark.parametrize("key", ["users", "groups"])
def test_a_name_that_this_host_does_not_know_is_refused(load: Load, key: str) -> None:
    """A typo must not let in whoever gets that name one day."""
    with pytest.raises(ConfigError, match=rf"profiles\.support\.allow\.{key}: wanted names .*'no-such-name'"):
        allowed(load, **{key: [0, "no-such-name"]})


@pytest.mark.parametrize("key", ["users", "groups"])
@pytest.mark.parametrize("value", ["root", 0, [True], [-1], [2**32 - 1], [2**32], [1.0], [[]], [{}]])
def test_what_names_nobody_is_refused(load: Load, key: str, value: object) -> None:
    """2³²-1 is what the kernel means by no user at all."""
    with pytest.raises(ConfigError, match=rf"profiles\.support\.allow\.{key}: wanted a list of names or numbers"):
        allowed(load, **{key: value})
