"""Terraform: its credentials helper with the real program, its external data source by the protocol's text."""

import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.caller import REASON, REASON_CODE, Caller
from tests.clients.server import Guarded, Page
from tests.support import faults
from tests.support.cli import Host, Result
from tests.support.tls import loopback_certificate

terraform = pytest.mark.skipif(not shutil.which("terraform"), reason="no terraform here")


@pytest.fixture
def registry(caller: Caller, tmp_path: Path) -> Iterator[Guarded]:
    """A private registry of modules with one module, for whoever has a token."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("main.tf", 'output "it" { value = "works" }\n')
    module, tls = "/modules/acme/network/generic", loopback_certificate(tmp_path)
    pages = {
        "/.well-known/terraform.json": Page(b'{"modules.v1": "/modules/"}', open=True),
        f"{module}/versions": Page(b'{"modules": [{"versions": [{"version": "1.0.0"}]}]}'),
        f"{module}/1.0.0/download": Page(b"", headers={"X-Terraform-Get": "/archive.zip"}),
        "/archive.zip": Page(archive.getvalue(), "application/zip", open=True),
    }
    with Guarded(caller.api, pages.get, tls=tls) as server:
        caller.configure(hosts=[server.host])
        caller.host.environ |= {"SSL_CERT_FILE": str(tls.ca), "CHECKPOINT_DISABLE": "1"}
        main = caller.host.home / "main.tf"
        main.write_text(f'module "it" {{\n  source  = "{server.host}/acme/network/generic"\n  version = "1.0.0"\n}}\n')
        caller.place("~/.terraformrc")
        caller.place("~/.terraform.d/plugins/terraform-credentials-vault-ticket")
        yield server


def init(caller: Caller) -> Result:
    shutil.rmtree(caller.host.home / ".terraform", ignore_errors=True)
    return caller.run("terraform", "init", "-no-color", "-input=false")


@terraform
def test_terraform_shows_the_token_and_after_its_death_the_next_one(caller: Caller, registry: Guarded) -> None:
    for _ in range(2):
        done = init(caller)
        assert done.code == 0, done.out + done.err
        caller.renew()
    asked = [one for one in registry.admitted if one.path.startswith("/modules/")]
    assert {one.scheme for one in asked} == {"Bearer"}
    assert len({one.token for one in asked}) == 2


@terraform
def test_terraform_goes_on_without_credentials_where_we_fail(caller: Caller, registry: Guarded) -> None:
    caller.break_grant()
    done = init(caller)
    assert done.code != 0
    assert registry.admitted == []
    assert 401 in {one.status for one in registry.seen}


@terraform
def test_terraform_sends_no_token_to_a_host_that_the_profile_does_not_name(caller: Caller, registry: Guarded) -> None:
    caller.configure(hosts=["registry.example.org"])
    assert init(caller).code != 0
    assert {one.token for one in registry.seen} == {""}


# -- the helper's text


def helper(host: Host, *words: str, stdin: str | None = None) -> Result:
    return host.run("terraform-credentials", "support", *words, stdin=stdin)


def test_another_host_has_no_credentials_and_vault_is_not_asked(alone: Host) -> None:
    """An empty object: an error would keep Terraform from the public registry."""
    assert helper(alone, "get", "registry.terraform.io") == Result(0, "{}\n", "")
    assert helper(alone, "forget", "registry.terraform.io") == Result(0, "", "")


@pytest.mark.parametrize(
    ("verb", "host"), [("store", "git.example.org"), ("forget", "git.example.org"), ("store", "app.terraform.io")]
)
def test_a_login_or_logout_is_told_that_nothing_is_kept_here(alone: Host, verb: str, host: str) -> None:
    """Whatever the host: a new token must not be lost silently."""
    done = helper(alone, verb, host, stdin='{"token": "mark-1"}')
    assert (done.code, done.out) == (78, "")
    assert "nothing to" in done.err
    assert "mark-1" not in done.err


# -- the external data source, as its provider calls it


def external(caller: Caller) -> Result:
    program = caller.snippet("external").partition("program = ")[2].partition("\n")[0]
    return caller.run(*json.loads(program), stdin="{}")


def test_the_external_data_source_gets_a_flat_map_of_texts(caller: Caller) -> None:
    tokens = []
    for _ in range(2):
        done = external(caller)
        assert (done.code, done.err) == (0, "")
        found = done.json()
        assert set(found) == {"access_token", "token_type", "expires_at"}
        assert all(isinstance(value, str) for value in found.values())
        assert caller.api.access_alive(found["access_token"])
        tokens.append(found["access_token"])
        caller.renew()
    assert tokens[0] != tokens[1]


def test_the_external_data_source_is_told_why_in_one_line(caller: Caller) -> None:
    caller.break_grant()
    done = external(caller)
    assert (done.code, done.out) == (REASON_CODE, "")
    assert REASON in done.err
    assert "store" in done.err  # what to do stands in the same line
    assert done.err.count("\n") == 1


def test_a_warning_is_no_failure_of_the_external_data_source(caller: Caller) -> None:
    caller.site.put_ticket(left=100)
    caller.api.behaviour.next += [faults.oauth("invalid_request")]
    done = external(caller)
    assert (done.code, done.json()["access_token"]) == (0, "an-older-ticket")
