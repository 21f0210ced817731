#!/bin/sh
# The least that reads one field of one KV v2 document with curl and jq.
set -eu
curl -sSf -H "X-Vault-Token: $VAULT_TOKEN" "$VAULT_ADDR/v1/secret/data/$1" | jq -r .data.data.access_token
