"""kubectl and the Kubernetes clients: an exec credential plugin.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins: an
`ExecCredential` of exactly the version that `KUBERNETES_EXEC_INFO` asks for. A failure is a non-zero exit.
"""

from __future__ import annotations

import json

from vault_ticket_plugin.clock import to_rfc3339
from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.formats.interface import Format, FormatContext
from vault_ticket_plugin.model import Ticket

GROUP = "client.authentication.k8s.io/"
VERSIONS = (f"{GROUP}v1", f"{GROUP}v1beta1")
ASKED_IN = "KUBERNETES_EXEC_INFO"


def early(context: FormatContext) -> None:
    """A version that we don't know is refused before anything is asked of anybody."""
    _version(context)


def render(ticket: Ticket, context: FormatContext) -> str:
    return json.dumps(
        {
            "apiVersion": _version(context),
            "kind": "ExecCredential",
            "status": {
                "token": ticket.access_token.reveal(),
                "expirationTimestamp": to_rfc3339(ticket.expires_at),
            },
        }
    )


def _version(context: FormatContext) -> str:
    asked = context.environ.get(ASKED_IN)
    if not asked:
        return VERSIONS[0]  # by hand, or a client that tells nothing
    try:
        version = json.loads(asked)["apiVersion"]
    except (ValueError, KeyError, TypeError, RecursionError):
        version = None
    if version not in VERSIONS:
        raise ConfigError(
            f"{ASKED_IN} asks for no version of ExecCredential that is known here",
            f"Set apiVersion of the user's exec to {' or '.join(VERSIONS)} in the kubeconfig.",
        )
    return str(version)


FORMAT = Format(render, early=early)
