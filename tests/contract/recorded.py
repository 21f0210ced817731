"""The recorded answers of server_answers.json, one server at a time."""

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("server_answers.json")
SERVERS = ("OpenBao 2.7.2", "Vault 1.16.0-beta1", "Vault 2.1.0-beta1")
ROWS: dict[str, dict[str, Any]] = json.loads(FILE.read_text())["answers"]


def of(server: str) -> dict[str, dict[str, Any]]:
    """What this server answered: each call's name with `call`, `status`, `body` and perhaps `headers`."""
    found = {}
    for name, row in ROWS.items():
        (answer,) = (one for one in row["answers"] if one["servers"] == "all three" or server in one["servers"])
        found[name] = {"call": row["call"], **{key: value for key, value in answer.items() if key != "servers"}}
    return found


def differing(one: str, other: str) -> list[str]:
    """The names of the calls that these two answered differently."""
    mine, theirs = of(one), of(other)
    return [name for name in ROWS if mine[name] != theirs[name]]
