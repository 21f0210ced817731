"""The doctor's look at the way to a server, for what the servers of the tests can't show."""

import contextlib
import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.tls import Certificate
from vault_ticket_plugin.doctor import network
from vault_ticket_plugin.doctor.network import Target
from vault_ticket_plugin.settings.vault import Tls


def target(url: str, unix_socket: str | None = None) -> Target:
    return Target(url, Tls(), "Check it", 69, unix_socket)


def test_plain_http_is_warned_of_where_it_leaves_this_host() -> None:
    assert network.certificate(target("http://vault.example:8200")).status == "warn"
    assert network.certificate(target("http://127.0.0.1:8200")).status == "pass"
    assert network.certificate(target("http://localhost", "/run/agent.sock")).status == "pass"


def test_behind_a_proxy_nothing_is_looked_up_or_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret@proxy.invalid:3128")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    found = [test(target("https://vault.invalid")) for test in (network.name, network.connection, network.certificate)]
    assert [one.status for one in found] == ["skip"] * 3
    assert "secret" not in str(found)


def test_a_proxy_is_not_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    assert network.name(target("http://127.0.0.1:8200")).status == "pass"


def test_an_agents_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "agent.sock")
    through = target("http://localhost", path)
    assert network.name(through).status == "skip"
    missing = network.connection(through)
    assert (missing.status, missing.exit_code) == ("fail", 69)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        assert network.connection(through).status == "pass"


@pytest.mark.parametrize("url", ["https://[::1]:8200", "https://192.0.2.1", "https://[fe80::1%25eth0]:8200"])
def test_an_address_needs_no_look_up(url: str) -> None:
    assert network.name(target(url)).status == "pass"


def test_ports_that_are_meant_by_the_scheme() -> None:
    assert (target("https://vault.example").port, target("http://vault.example").port) == (443, 80)


@pytest.mark.parametrize(("days_left", "status"), [(60, "pass"), (5, "warn"), (-1, "fail")])
def test_a_certificate_that_should_have_been_renewed(tmp_path: Path, days_left: int, status: str) -> None:
    """It lived for 90 days. The last tenth of that is late."""
    made = certificate(tmp_path, days_left)
    with handshakes(made) as port:
        own = Target(f"https://localhost:{port}", Tls(ca_file=str(made.ca)), "Check it", 69)
        found = network.certificate(own)
    assert found.status == status
    assert ("expired" in found.message) == (status == "fail")


def certificate(folder: Path, days_left: int) -> Certificate:
    """For localhost, and its own CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days_left, hours=1)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ends - datetime.timedelta(days=90))
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    made = Certificate(folder / "cert.pem", folder / "cert.pem", folder / "key.pem")
    made.cert.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


@contextlib.contextmanager
def handshakes(made: Certificate) -> Iterator[int]:
    """A server that ends each connection after the handshake; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.cert, made.key)
    with socket.create_server(("localhost", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    context.wrap_socket(connection, server_side=True).close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)
