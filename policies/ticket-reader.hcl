# Whoever only needs a valid access token: an agent's template, a CI job, a person.
# Default paths of a KV v2 mount named `secret`; `+` stands for the profile.

path "secret/data/ticket/+/token" {
  capabilities = ["read"]
}

# An agent renews its token, and logs in far too often where it may not.
path "auth/token/renew-self" {
  capabilities = ["update"]
}

# `vault-ticket get --wrap`: hand a ticket over by a token that works once.
path "sys/wrapping/wrap" {
  capabilities = ["update"]
}
