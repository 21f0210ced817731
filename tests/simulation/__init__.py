"""A deterministic simulator of the fleet: hosts, Vault, token endpoints, people, and all that can go wrong."""
