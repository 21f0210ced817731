"""Vault's API: the session, logins, KV documents, policies. No other room knows it."""
