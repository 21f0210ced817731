"""The least that reads one field of one KV v2 document through hvac."""

import os
import sys

import hvac

client = hvac.Client(url=os.environ["VAULT_ADDR"], token=os.environ["VAULT_TOKEN"])
found = client.secrets.kv.v2.read_secret_version(sys.argv[1], mount_point="secret", raise_on_deleted_version=False)
print(found["data"]["data"]["access_token"])
