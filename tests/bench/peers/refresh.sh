#!/bin/sh
# What people write: spend the grant at PATH/grant, save what it rotated to, publish the ticket at PATH/token.
# No claim, no journal, no expiry: less than what it is compared with does.
set -eu
grant=$("$BAO" kv get -mount=secret -format=json "$1/grant")
version=$(printf %s "$grant" | jq -r .data.metadata.version)
refresh_token=$(printf %s "$grant" | jq -r .data.data.refresh_token)
answer=$(curl -sSf "$TOKEN_URL" -d grant_type=refresh_token -d "client_id=$CLIENT_ID" \
    --data-urlencode "refresh_token=$refresh_token")
printf %s "$answer" | jq '{refresh_token}' | "$BAO" kv put -mount=secret -cas="$version" "$1/grant" - >/dev/null
printf %s "$answer" | jq '{access_token, token_type}' | "$BAO" kv put -mount=secret "$1/token" - >/dev/null
printf %s "$answer" | jq -r .access_token
