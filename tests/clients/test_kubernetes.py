"""kubectl and the Kubernetes client for Python: an exec credential plugin."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.caller import REASON, Caller, Program
from tests.clients.server import Guarded, Page
from tests.support.cli import Host
from tests.support.tls import loopback_certificate

FIELDS = ("gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform")
VERSION = {"major": "1", "minor": "34"} | dict.fromkeys(FIELDS, "v1.34.0")
V1BETA1 = "client.authentication.k8s.io/v1beta1"

# Answers each line with what the API server said, or with the status of its refusal.
CLIENT = """
import json, logging, sys
from kubernetes import client, config
logging.disable()
loaded = False
for _ in sys.stdin:
    try:
        if not loaded:
            config.load_kube_config()
            loaded = True
        answer = client.VersionApi().get_code().git_version
    except client.ApiException as error:
        answer = error.status
    print(json.dumps(answer), flush=True)
"""

kubectl = pytest.mark.skipif(not shutil.which("kubectl"), reason="no kubectl here")


@pytest.fixture
def server(caller: Caller, tmp_path: Path) -> Iterator[Guarded]:
    page, tls = Page(json.dumps(VERSION).encode()), loopback_certificate(tmp_path)
    with Guarded(caller.api, lambda path: page if path.rstrip("/") == "/version" else None, tls=tls) as server:
        caller.places |= {"https://kube.example.org:6443": server.url, "/etc/kubernetes/ca.pem": str(tls.ca)}
        yield server


@kubectl
def test_kubectl_shows_the_token_and_after_its_death_the_next_one(caller: Caller, server: Guarded) -> None:
    caller.place("~/.kube/config")
    for _ in range(2):
        done = caller.run("kubectl", "get", "--raw", "/version")
        assert done.code == 0, done.err
        assert done.json() == VERSION
        caller.renew()
    assert len({one.token for one in server.admitted}) == 2
    assert {one.scheme for one in server.admitted} == {"Bearer"}


@kubectl
def test_kubectl_with_v1beta1(caller: Caller, server: Guarded) -> None:
    path = caller.place("~/.kube/config")
    path.write_text(path.read_text().replace("client.authentication.k8s.io/v1", V1BETA1))
    done = caller.run("kubectl", "get", "--raw", "/version")
    assert done.code == 0, done.err
    assert server.admitted


@kubectl
def test_kubectl_fails_with_our_reason(caller: Caller, server: Guarded) -> None:
    caller.place("~/.kube/config")
    caller.break_grant()
    done = caller.run("kubectl", "get", "--raw", "/version")
    assert done.code != 0
    assert REASON in done.err
    assert "exit code 77" in done.err
    assert server.seen == []


def test_the_python_client_asks_again_when_a_token_ends(caller: Caller, server: Guarded) -> None:
    """Five minutes before the expirationTimestamp that we gave, without loading its configuration anew."""
    caller.place("~/.kube/config")
    caller.api.behaviour.lifetime = 280
    caller.site.get("--force")
    with Program(caller, CLIENT) as program:
        assert program.ask() == VERSION["gitVersion"]
        caller.renew()
        assert program.ask() == VERSION["gitVersion"]
    first, second = (one.token for one in server.admitted)
    assert first != second


def test_the_python_client_goes_on_without_a_token_where_we_fail(caller: Caller, server: Guarded) -> None:
    caller.place("~/.kube/config")
    caller.break_grant()
    with Program(caller, CLIENT) as program:
        assert program.ask() == 401
    assert [one.token for one in server.seen] == [""]


@pytest.mark.parametrize("info", ['{"apiVersion": "client.authentication.k8s.io/v2"}', "{}", "not JSON"])
def test_a_version_that_we_do_not_know_is_refused_and_nobody_asked(alone: Host, info: str) -> None:
    done = alone.run("get", "support", "--format", "kubernetes", env={"KUBERNETES_EXEC_INFO": info})
    assert (done.code, done.out) == (78, "")
    assert "KUBERNETES_EXEC_INFO" in done.err
