"""The way to both servers: name, connection, certificate. Nothing is asked of either."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from vault_ticket_plugin.clock import HOST_CLOCK
from vault_ticket_plugin.doctor.context import PATIENCE, DoctorContext
from vault_ticket_plugin.doctor.finding import Finding, failed, passed, skipped, warned
from vault_ticket_plugin.durations import show_duration
from vault_ticket_plugin.errors import EndpointUnavailable, VaultUnreachable
from vault_ticket_plugin.settings.hosts import PORTS, is_loopback
from vault_ticket_plugin.settings.vault import Tls
from vault_ticket_plugin.transport import proxy
from vault_ticket_plugin.transport.exchange import reason_of
from vault_ticket_plugin.transport.tls import tls_context

# A certificate that has less than this share of its life left should have been renewed.
CERTIFICATE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Target:
    """One of the two servers."""

    url: str
    tls: Tls
    correct: str
    """What to say of where its address is configured."""
    exit_code: int
    unix_socket: str | None = None

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        parts = urlsplit(self.url)
        return parts.port or PORTS[parts.scheme]

    @property
    def secure(self) -> bool:
        return self.unix_socket is None and urlsplit(self.url).scheme == "https"

    @property
    def proxied(self) -> bool:
        return self.unix_socket is None and proxy.on_the_way(self.url) is not None

    def connect(self) -> socket.socket:
        if self.unix_socket is None:
            return socket.create_connection((self.host, self.port), PATIENCE)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.settimeout(PATIENCE)
        try:
            made.connect(self.unix_socket)
        except BaseException:
            made.close()
            raise
        return made


def vault(context: DoctorContext) -> Target | Finding:
    settings = context.settings.vault
    if context.daemon_only:
        return skipped("no Vault address is configured: the daemon is asked", blocks=True)
    correct = "Check VAULT_ADDR or `address` under [vault]"
    return Target(settings.address, settings.tls, correct, VaultUnreachable.exit_code, settings.unix_socket)


def endpoint(context: DoctorContext) -> Target | Finding:
    profile = context.profile
    if context.role == "reader" or context.daemon_only:
        whom = "a reader" if context.role == "reader" else "whoever asks a daemon"
        return skipped(f"{whom} never asks the token endpoint")
    correct = f"Check token_url of profile {profile.name}"
    return Target(profile.token_url, Tls(ca_file=profile.ca_cert), correct, EndpointUnavailable.exit_code)


def of(
    choose: Callable[[DoctorContext], Target | Finding], test: Callable[[Target], Finding]
) -> Callable[[DoctorContext], Finding]:
    """`choose` may find that there is nothing to test."""

    def run(context: DoctorContext) -> Finding:
        target = choose(context)
        return test(target) if isinstance(target, Target) else target

    return run


def name(target: Target) -> Finding:
    if target.unix_socket:
        return skipped("a unix socket has no name to look up")
    if target.proxied:
        return skipped("a proxy is configured: it looks names up")
    if _is_address(target.host):
        return passed(f"{target.host} is an address")
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except OSError as error:
        hint = f"{target.correct}, and this host's resolver (/etc/resolv.conf)."
        return failed(f"{target.host}: {reason_of(error)}", hint, target.exit_code)
    return passed(f"{target.host} is {found[0][4][0]}")


def connection(target: Target) -> Finding:
    where = f"unix://{target.unix_socket}" if target.unix_socket else f"{target.host}:{target.port}"
    if target.proxied:
        return skipped(f"a proxy is configured for {where}")
    try:
        target.connect().close()
    except OSError as error:
        hint = f"{target.correct}, that the server runs, and firewalls on the way."
        return failed(f"no connection to {where}: {reason_of(error)}", hint, target.exit_code)
    return passed(f"{where} takes connections")


def certificate(target: Target) -> Finding:
    if not target.secure:
        return _plain(target)
    return skipped("a proxy is configured") if target.proxied else _handshake(target)


def _plain(target: Target) -> Finding:
    if target.unix_socket or is_loopback(target.host):
        return passed("none, and none needed: nothing leaves this host")
    return warned("plain http: whoever is on the way reads every token", f"{target.correct}: use https.")


def _handshake(target: Target) -> Finding:
    tls = target.tls
    try:
        with contextlib.ExitStack() as stack:
            plain = stack.enter_context(target.connect())
            wrapped = stack.enter_context(
                tls_context(tls).wrap_socket(plain, server_hostname=tls.server_name or target.host)
            )
            found, version = wrapped.getpeercert() or {}, wrapped.version()
    except OSError as error:  # ssl.SSLError among them
        hint = f"{target.correct}, and {_ca_key(target)} if the server's CA is one of your own."
        return failed(reason_of(error), hint, target.exit_code)

    if not tls.verify:
        return warned("the certificate is not verified (skip_verify)", "Name the server's CA in ca_cert instead.")

    begins, ends = (ssl.cert_time_to_seconds(str(found[key])) for key in ("notBefore", "notAfter"))
    left = ends - HOST_CLOCK.wall()
    told = f"trusted, {version}, the certificate is valid for another {show_duration(left // 60 * 60)}"
    if left < (ends - begins) * CERTIFICATE_SHARE:
        return warned(told, "It should have been renewed by now: ask whoever runs the server.")
    return passed(told)


def _ca_key(target: Target) -> str:
    return "VAULT_CACERT or ca_cert" if target.exit_code == VaultUnreachable.exit_code else "the profile's ca_cert"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
