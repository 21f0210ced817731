"""`vault-ticket daemon --check`: what a container's probes ask."""

from tests.daemon.daemons import Daemon
from tests.e2e.site import Site


def test_a_probe_tells_a_daemon_that_is_not_there_not_ready_and_ready_apart(site: Site, daemon: Daemon) -> None:
    """Without the login of the daemon: it asks nobody but the daemon."""

    def check(what: str) -> tuple[int, str]:
        done = site.helper.run(
            "daemon", "--check", what, env={"VAULT_TOKEN": "none", "VAULT_ADDR": "http://127.0.0.1:1"}
        )
        assert done.out == ""
        return done.code, done.err

    code, said = check("alive")
    assert (code, "gives no answer" in said) == (69, True)
    with daemon:
        assert check("alive") == (0, "")
        code, said = check("ready")
        assert (code, "no usable ticket for some profile" in said) == (75, True)
        site.store(None, "--no-verify")
        daemon.wait_until_ready()
        assert check("ready") == (0, "")


def test_there_must_be_a_unix_socket_to_ask_at(site: Site) -> None:
    done = site.helper.run("daemon", "--check", "ready")
    assert done.code == 78
    assert "no unix socket" in done.err
