# The person who runs `vault-ticket store`. May put a refresh token there, and never read one back.
# Default paths of a KV v2 mount named `secret`; `+` stands for the profile.

path "secret/data/ticket/+/grant" {
  capabilities = ["create", "update"]
}

# The newest version's number, for check-and-set, and which refresh tokens were spent: nothing of the data.
path "secret/metadata/ticket/+/grant" {
  capabilities = ["patch", "read"]
}

# The ticket that proved the refresh token is published at once, so that a dead one does not stay.
path "secret/data/ticket/+/token" {
  capabilities = ["create", "read", "update"]
}

path "secret/metadata/ticket/+/token" {
  capabilities = ["create", "update"]
}
