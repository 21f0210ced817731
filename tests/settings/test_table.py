"""One table of the configuration: what is at the very edge of a rule, and what was never asked for."""

import os
from typing import Any

import pytest

from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.settings.table import Table


def table(**data: Any) -> Table:
    return Table("/etc/x.toml", "vault.", data)


def test_a_duration_at_its_least_is_allowed_and_below_it_is_not() -> None:
    assert table(timeout="1s").duration("timeout", 20.0, least=1.0) == 1.0
    with pytest.raises(ConfigError, match=r"^/etc/x\.toml: vault\.timeout: wanted at least 1s$"):
        table(timeout=0.999).duration("timeout", 20.0, least=1.0)


def test_a_span_that_may_be_left_out_is_never_nothing() -> None:
    assert table().optional_duration("soft_window") is None
    assert table(soft_window="1ms").optional_duration("soft_window") == 0.001
    with pytest.raises(ConfigError, match="at least"):
        table(soft_window=0).optional_duration("soft_window")


def test_what_is_left_out_is_the_default() -> None:
    found = table()
    assert found.text("a") is None
    assert found.text("a", "b") == "b"
    assert found.path("a") is None
    assert found.flag("a", True) is True
    assert found.duration("a", 7.0) == 7.0
    assert found.choice("a", 2, (1, 2)) == 2
    assert found.table("a").names() == []


def test_a_path_may_begin_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert table(ca_cert="~/ca.pem").path("ca_cert") == "/home/somebody/ca.pem"


def test_a_path_may_begin_at_systemd_s_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/a.service")
    found = table(secret_id_file="$CREDENTIALS_DIRECTORY/secret_id", ca_cert="$CREDENTIALS_DIRECTORY.pem")
    assert found.path("secret_id_file") == "/run/credentials/a.service/secret_id"
    assert found.path("ca_cert") == os.path.abspath("$CREDENTIALS_DIRECTORY.pem")


def test_a_path_is_absolute() -> None:
    """It is used by a process with another working directory."""
    assert table(ca_cert="ca.pem").path("ca_cert") == os.path.abspath("ca.pem")


@pytest.mark.parametrize("folder", [None, ""])
def test_a_file_that_names_systemd_s_credentials_can_be_read_outside_of_the_unit(
    folder: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another command with the same file may never need the secret id; one that does says what is not there."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    if folder is not None:
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", folder)
    assert table(a="$CREDENTIALS_DIRECTORY/secret_id").path("a") == "$CREDENTIALS_DIRECTORY/secret_id"


def test_a_key_that_was_read_is_known_whether_it_is_there_or_not() -> None:
    """The hint lists all that could be said here."""
    found = table(adress="a", more=1)
    found.text("address")
    found.flag("skip_verify", False)
    found.optional_duration("client_timeout")
    with pytest.raises(ConfigError, match=r"vault\.adress: there is no such key") as refused:
        found.reject_unknown_keys()
    assert refused.value.hint == "Did you mean address? Allowed here: address, client_timeout, skip_verify."


def test_nothing_unknown_is_no_error() -> None:
    found = table(address="a")
    found.text("address")
    found.reject_unknown_keys()
    table().reject_unknown_keys()


def test_an_inner_table_names_its_keys_in_full() -> None:
    with pytest.raises(ConfigError, match=r": vault\.auth\.method: wanted one of a, b$"):
        table(auth={"method": "c"}).table("auth").choice("method", "a", ("a", "b"))
