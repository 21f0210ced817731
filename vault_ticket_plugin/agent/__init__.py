"""Configurations for Vault Agent and OpenBao Agent, as `vault-ticket agent-config` prints them."""
