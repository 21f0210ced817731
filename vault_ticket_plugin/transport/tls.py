"""TLS as the configuration has it."""

from __future__ import annotations

import ssl
from typing import Any

import urllib3

from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.settings.vault import Tls


def pool_options(tls: Tls) -> dict[str, Any]:
    """One context for all connections, as urllib3's pools take it."""
    pool: dict[str, Any] = {"ssl_context": tls_context(tls)}
    if tls.server_name:
        pool["server_hostname"] = tls.server_name
    if not tls.verify:
        pool["assert_hostname"] = False
    return pool


def tls_context(tls: Tls) -> ssl.SSLContext:
    """ConfigError if the files that it names can't be used."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file, capath=tls.ca_path)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.client_cert:
            context.load_cert_chain(tls.client_cert, tls.client_key)
    except OSError as error:  # ssl.SSLError among them
        files = ", ".join(path for path in (tls.ca_file, tls.ca_path, tls.client_cert, tls.client_key) if path)
        raise ConfigError(f"the TLS files can't be used ({error.strerror or error}): {files}") from None
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        # It is what the configuration says in so many words; standard error is not the place to repeat it each time.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return context
