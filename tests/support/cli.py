"""A simulated host: folders of its own, a clean environment, and the installed `vault-ticket` as a real process."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.process import clean_env

COMMAND = Path(sys.executable).parent / "vault-ticket"
USERS_FOLDERS = Path(__file__).parent / "users_folders"


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class Host:
    """HOME, XDG_RUNTIME_DIR, XDG_STATE_HOME and XDG_CONFIG_HOME under one folder, each 0700.

    `environ` is what every command gets beside these: what an operator would have exported. `apart`: the user's own
    folders, which no variable names, are below `home` too (users_folders/sitecustomize.py).
    """

    def __init__(self, folder: Path, apart: bool = True) -> None:
        self.folder = folder
        self.apart = apart
        self.home = folder / "home"
        self.runtime = folder / "run"
        self.state = folder / "state"
        self.config = folder / "config"
        for place in (folder, self.home, self.runtime, self.state, self.config):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.environ: dict[str, str] = {}

    @property
    def config_file(self) -> Path:
        return self.config / "vault-ticket" / "config.toml"

    def configure(self, config: str | Mapping[str, Any]) -> Path:
        """Writes config.toml, from its text or from what it should say; its path."""
        self.config_file.parent.mkdir(mode=0o700, exist_ok=True)
        self.config_file.write_text(config if isinstance(config, str) else toml(config))
        return self.config_file

    def secret_file(self, name: str, content: str) -> Path:
        """A file that only its owner reads."""
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(content)
        return path

    def env(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        folders = {
            "XDG_RUNTIME_DIR": str(self.runtime),
            "XDG_STATE_HOME": str(self.state),
            "XDG_CONFIG_HOME": str(self.config),
        }
        if self.apart:
            folders |= {"PYTHONPATH": str(USERS_FOLDERS), "TEST_USERS_HOME": str(self.home)}
        return clean_env(self.home, **folders) | self.environ | dict(more or {})

    def run(
        self,
        *args: str,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        command: str | Path = COMMAND,
    ) -> Result:
        """Runs the command to its end. Without `stdin` it reads from an empty one."""
        done = subprocess.run(
            [command, *args],
            input=stdin or "",
            env=self.env(env),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def start(
        self, *args: str, env: Mapping[str, str] | None = None, command: str | Path = COMMAND, group: bool = False
    ) -> "subprocess.Popen[str]":
        """Starts the command with all three streams on pipes; `finish` waits for it.

        `group`: as the leader of a process group of its own.
        """
        return subprocess.Popen(
            [command, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.env(env),
            cwd=self.home,
            text=True,
            process_group=0 if group else None,
        )


def finish(process: "subprocess.Popen[str]", timeout: float = 60.0) -> Result:
    """Waits for what `Host.start` started; kills it where that takes too long."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return Result(process.returncode, out, err)


def toml(document: Mapping[str, Any]) -> str:
    """TOML for a configuration: tables of scalars, whose own tables are written inline."""
    lines = []
    for name, table in document.items():
        deeper = all(isinstance(value, Mapping) for value in table.values())
        for header, values in ((f"{name}.{k}", v) for k, v in table.items()) if deeper else [(name, table)]:
            lines += [f"[{header}]", *(f"{key} = {_value(value)}" for key, value in values.items()), ""]
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(str(value) if isinstance(value, Path) else value)
