"""Configurations for agents and proxies of Vault and OpenBao, as `vault-ticket agent-config` prints them."""
