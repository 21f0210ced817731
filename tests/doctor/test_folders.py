"""What the doctor says of this host's files. The whole doctor is tested in e2e/test_doctor.py."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from vault_ticket_plugin.doctor import folders
from vault_ticket_plugin.doctor.context import DoctorContext
from vault_ticket_plugin.settings.vault import Auth


def context(secret_id: Path) -> DoctorContext:
    auth = Auth(method="approle", secret_id_file=str(secret_id))
    return cast(
        DoctorContext, SimpleNamespace(daemon_only=False, settings=SimpleNamespace(vault=SimpleNamespace(auth=auth)))
    )


def test_a_secret_id_that_systemd_keeps_is_not_open_though_its_mode_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret_id"
    path.write_text("x\n")
    path.chmod(0o440)
    assert folders.login_files(context(path)).status == "warn"
    monkeypatch.setattr(folders, "SYSTEMD_CREDENTIALS", f"{tmp_path}/")
    assert folders.login_files(context(path)).status == "pass"
