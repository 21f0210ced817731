# The helper itself: spends the grant and publishes the ticket. The one identity that may read a refresh token.
# Default paths of a KV v2 mount named `secret`; `+` stands for the profile.

# The grant: read it, and write it under check-and-set (claim, save, release). It is never created here.
path "secret/data/ticket/+/grant" {
  capabilities = ["read", "update"]
}

# Note beside it which refresh token was spent, so that `vault-ticket store` refuses that one.
path "secret/metadata/ticket/+/grant" {
  capabilities = ["patch", "read"]
}

# The leased path: publish the ticket.
path "secret/data/ticket/+/token" {
  capabilities = ["create", "read", "update"]
}

# … let each version expire with its ticket (delete_version_after), and see that it does.
path "secret/metadata/ticket/+/token" {
  capabilities = ["create", "read", "update"]
}

# `vault-ticket revoke`.
path "secret/destroy/ticket/+/token" {
  capabilities = ["update"]
}

# What a token may know of itself: the heartbeat of an agent's template (`vault-ticket agent-config`) …
path "auth/token/lookup-self" {
  capabilities = ["read"]
}

# … and its rights, for `vault-ticket doctor`.
path "sys/capabilities-self" {
  capabilities = ["update"]
}

# Give back the token of a one-shot login.
path "auth/token/revoke-self" {
  capabilities = ["update"]
}

# An agent renews its token, and logs in far too often where it may not.
path "auth/token/renew-self" {
  capabilities = ["update"]
}

# `vault-ticket get --wrap`: hand a ticket over by a token that works once.
path "sys/wrapping/wrap" {
  capabilities = ["update"]
}
