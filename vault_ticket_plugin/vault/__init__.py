"""Vault and OpenBao: the session that talks to it, the logins, and the KV documents."""
