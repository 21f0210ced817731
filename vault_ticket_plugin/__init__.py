"""vault-ticket: access tokens for the Ticket API, kept fresh through HashiCorp Vault or OpenBao."""

__version__ = "0.1.0"
