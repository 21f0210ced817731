"""The container and Kubernetes files in docs/, as far as they can be tested without an engine or a cluster."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from click.testing import CliRunner
from kubernetes import client

from vault_ticket_plugin import environment
from vault_ticket_plugin.cli.daemon import daemon
from vault_ticket_plugin.settings.load import Settings, load_settings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "container"
# What `podman build` knows, that we use.
INSTRUCTIONS = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "HEALTHCHECK", "ENTRYPOINT", "CMD"}


def containerfile() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", (FOLDER / "Containerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.partition(" ") for line in text.splitlines() if line.strip()]
    return [(name, rest.strip()) for name, _, rest in lines]


def variables() -> dict[str, str]:
    (found,) = (rest for name, rest in containerfile() if name == "ENV")
    return dict(pair.split("=", 1) for pair in shlex.split(found))


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def one(name: str, kind: str) -> dict[str, Any]:
    (found,) = (each for each in documents(name) if each["kind"] == kind)
    return found


def understood(document: dict[str, Any]) -> Any:
    """What the API's own client makes of it: without any key that it does not know. ValueError for a wrong type."""
    model = getattr(client, model_name(document))
    return client.ApiClient().sanitize_for_serialization(model.from_dict(document))  # type: ignore[no-untyped-call]


def model_name(document: dict[str, Any]) -> str:
    group, _, version = document["apiVersion"].rpartition("/")
    assert version == "v1"
    assert group in ("", "apps", "batch")
    return f"V1{document['kind']}"


@pytest.mark.parametrize("name", ["sidecar.yaml", "cronjob.yaml"])
def test_every_key_of_a_manifest_is_one_of_the_api_s(name: str) -> None:
    for document in documents(name):
        assert understood(document) == document


def test_a_key_that_is_not_the_api_s_would_be_found() -> None:
    found = one("sidecar.yaml", "Deployment")
    spec = found["spec"]["template"]["spec"]
    spec["initContainers"][0]["livenesProbe"] = {}
    assert understood(found) != found
    spec["terminationGracePeriodSeconds"] = "60"
    with pytest.raises(ValueError, match="terminationGracePeriodSeconds"):
        understood(found)
    spec["terminationGracePeriodSeconds"] = 60
    del spec["containers"]
    with pytest.raises((ValueError, KeyError), match="containers"):
        understood(found)


def pods() -> list[dict[str, Any]]:
    job = one("cronjob.yaml", "CronJob")["spec"]["jobTemplate"]
    return [each["spec"]["template"]["spec"] for each in (one("sidecar.yaml", "Deployment"), job)]


def ours(pod: dict[str, Any]) -> dict[str, Any]:
    (found,) = (each for each in pod.get("initContainers", pod["containers"]) if each["name"] == "tickets")
    return dict(found)


def test_every_container_is_closed() -> None:
    for pod in pods():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in (*pod["containers"], *pod.get("initContainers", [])):
            limits = container["securityContext"]
            assert limits["readOnlyRootFilesystem"] is True
            assert limits["allowPrivilegeEscalation"] is False
            assert limits["capabilities"] == {"drop": ["ALL"]}
            assert limits["runAsUser"] > 0


def test_each_command_is_one_of_ours() -> None:
    """Asked for its help it ends before it does anything, and after it has read every option."""
    commands = []
    for pod in pods():
        container = ours(pod)
        commands.append(container["args"])
        commands += [
            container[probe]["exec"]["command"][1:]
            for probe in ("startupProbe", "readinessProbe", "livenessProbe")
            if probe in container
        ]
    health = next(rest for name, rest in containerfile() if name == "HEALTHCHECK")
    commands.append(yaml.safe_load(health.partition("CMD ")[2])[1:])
    assert len(commands) == 6
    for command, *options in commands:
        assert command == "daemon"
        done = CliRunner().invoke(daemon, [*options, "--help"])
        assert done.exit_code == 0, done.output
        unknown = CliRunner().invoke(daemon, [*options, "--unknown"])
        assert "--unknown" in unknown.output


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    path = tmp_path / "config.toml"
    path.write_text(one("sidecar.yaml", "ConfigMap")["data"]["config.toml"])
    return load_settings({"VAULT_TICKET_CONFIG": str(path), "HOME": str(tmp_path)})


def mounts(container: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["mountPath"]: each for each in container["volumeMounts"]}


def test_the_manifest_s_configuration_fits_its_volumes(settings: Settings) -> None:
    """The socket is where both see it, the application can't replace it, and it is the one whom the profile allows."""
    pod, _ = pods()
    (listener,) = settings.daemon.listen
    folder = str(Path(listener.path).parent)
    (app,) = pod["containers"]
    assert settings.socket == listener.path
    assert mounts(ours(pod))[folder].get("readOnly", False) is False
    assert mounts(app)[folder]["readOnly"] is True
    assert set(mounts(app)) == {folder}
    assert settings.profiles["support"].allow.users == {app["securityContext"]["runAsUser"]}
    names = {volume["name"] for volume in pod["volumes"]}
    assert {each["name"] for each in (*app["volumeMounts"], *ours(pod)["volumeMounts"])} == names


def test_logins_and_folders_are_mounted_where_they_are_looked_for(settings: Settings) -> None:
    for pod in pods():
        container = ours(pod)
        found = mounts(container)
        environ = variables() | {each["name"]: each["value"] for each in container.get("env", [])}
        assert environment.config_path(environ) == "/etc/vault-ticket/config.toml"
        assert found["/etc/vault-ticket"]["readOnly"] is True
        assert str(Path(settings.vault.auth.jwt_file or "").parent) in found
        for path in (environment.runtime_path(environ), environment.state_path(environ) or ""):
            above = [folder for folder in found if Path(path).is_relative_to(folder) and folder != path]
            assert above, f"nothing is mounted above {path}"  # a volume's own folder is not ours alone
            assert not found[above[0]].get("readOnly")


def test_what_a_cron_job_s_pod_leaves_is_found_by_the_next() -> None:
    """Each pod has a memory of its own: the journal is on the volume."""
    _, pod = pods()
    container = ours(pod)
    environ = variables() | {each["name"]: each["value"] for each in container["env"]}
    (state,) = (volume for volume in pod["volumes"] if "persistentVolumeClaim" in volume)
    (path,) = (each["mountPath"] for each in container["volumeMounts"] if each["name"] == state["name"])
    for folder in (environment.runtime_path(environ), environment.state_path(environ) or ""):
        assert folder.startswith(f"{path}/")
    assert (
        state["persistentVolumeClaim"]["claimName"] == one("cronjob.yaml", "PersistentVolumeClaim")["metadata"]["name"]
    )


# -- the image


def test_the_image_runs_as_nobody_and_needs_no_shell() -> None:
    lines = containerfile()
    assert {name for name, _ in lines} <= INSTRUCTIONS
    last = lines[max(at for at, (name, _) in enumerate(lines) if name == "FROM") :]
    (user,) = (rest for name, rest in last if name == "USER")
    assert all(int(number) > 0 for number in user.split(":"))
    for name, rest in lines:
        if name in ("RUN", "ENTRYPOINT", "CMD", "HEALTHCHECK"):
            command = yaml.safe_load(rest[rest.index("[") :])
            assert all(isinstance(word, str) for word in command), rest
        if name == "FROM":
            assert re.match(r"\S+/\S+:\d", rest), "a registry and a version"
    pod, _ = pods()
    assert user == f"{ours(pod)['securityContext']['runAsUser']}:{ours(pod)['securityContext']['runAsGroup']}"


def test_what_is_copied_is_enough_to_build_the_package(tmp_path: Path) -> None:
    """With the command's entry and the files that are no Python."""
    source = tmp_path / "source"
    source.mkdir()
    for name, rest in containerfile():
        if name == "COPY" and "--from" not in rest:
            *places, to = rest.split()
            for place in places:
                path = ROOT / place
                if path.is_dir():
                    shutil.copytree(path, source / to, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(path, source / to)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "out")]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=120)
    (wheel,) = (tmp_path / "out").glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"vault_ticket_plugin/daemon/service.py", "vault_ticket_plugin/daemon/http_api/openapi.json"} <= names
    extras = tomllib.loads((source / "pyproject.toml").read_text())["project"]["optional-dependencies"]["daemon"]
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (source / "constraints.txt").read_text().splitlines()
    }
    assert {re.split("[<>=~]", each)[0].lower() for each in extras} <= pinned
