"""Every login, for real; and a token that a login brought is given back, however the command ends."""

import base64
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.e2e.site import Site
from tests.support.bao import DevServer, Server
from tests.support.cli import Result
from tests.support.emulator import Emulator
from tests.support.flavour import binary
from tests.support.process import Process, clean_env, free_port, wait_until
from tests.support.tls import loopback_certificate

# What no login may leave behind. A one-shot command gives its own token back.
OURS: dict[str, Any] = {"token_policies": ["ticket-refresher"], "token_no_default_policy": True, "token_ttl": "10m"}


def accessors(bao: Server) -> set[str]:
    return set(bao.api("LIST", "auth/token/accessors")[1]["data"]["keys"])


@contextmanager
def nothing_left(bao: Server) -> Iterator[None]:
    before = accessors(bao)
    yield
    wait_until(lambda: accessors(bao) <= before, "the login to be given back")


@pytest.fixture
def ready(site: Site) -> Site:
    """A grant is stored, and the helper has no token yet."""
    site.store(None, "--no-verify")
    del site.helper.environ["VAULT_TOKEN"]
    return site


def log_in_with(site: Site, **auth: Any) -> None:
    site.configure(site.helper, vault={"auth": auth})


def get(site: Site) -> Result:
    """One that has to ask Vault, and to spend."""
    return site.get("--force", "--no-cache")


def assert_works(site: Site) -> None:
    done = get(site)
    assert (done.code, done.err) == (0, "")
    assert site.api.access_alive(done.json()["AccessToken"])


# -- a token


@pytest.mark.parametrize(("good", "bad"), [("BAO_TOKEN", "VAULT_TOKEN"), ("VAULT_TOKEN", "HOME")])
def test_a_token_in_the_environment(ready: Site, good: str, bad: str) -> None:
    """BAO_X comes before VAULT_X, and both before ~/.vault-token."""
    (ready.helper.home / ".vault-token").write_text("s.wrong")
    ready.helper.environ |= {good: ready.token_of("refresher")}
    if bad != "HOME":
        ready.helper.environ[bad] = "s.wrong"
    with nothing_left(ready.bao):
        assert_works(ready)


def test_a_token_of_ours_is_not_revoked(ready: Site) -> None:
    """It was given to us; only what a login brought is ours to take back."""
    token = ready.helper.environ["VAULT_TOKEN"] = ready.token_of("refresher")
    assert_works(ready)
    assert ready.bao.token_valid(token)


def test_the_token_helpers_file(ready: Site) -> None:
    (ready.helper.home / ".vault-token").write_text(ready.token_of("refresher"))
    assert_works(ready)


def test_the_token_file_that_openbaos_own_clients_use(ready: Site) -> None:
    """`bao login` writes it there, and nothing into the home folder."""
    path = ready.helper.folder / "elsewhere"
    ready.helper.environ["BAO_TOKEN_PATH"] = str(path)
    token = ready.token_of("refresher", no_default_policy=False)
    done = ready.helper.run("login", "-no-print", "-method=token", token, command=binary())
    assert done.code == 0, done.err
    if not path.exists():
        pytest.skip("this server's own clients do not heed BAO_TOKEN_PATH yet")
    assert not (ready.helper.home / ".vault-token").exists()
    assert_works(ready)


def test_a_token_file_comes_before_the_environment(ready: Site) -> None:
    path = ready.helper.secret_file("token", f"{ready.token_of('refresher')}\n")
    ready.helper.environ["VAULT_TOKEN"] = "s.wrong"
    log_in_with(ready, method="token", token_file=path)
    assert_works(ready)


# -- AppRole


def approle(site: Site, **params: Any) -> dict[str, Any]:
    role_id, secret_id = site.bao.enable_approle(site.profile, [], **OURS | params)
    path = site.helper.secret_file("secret-id", f"{secret_id}\n")
    return {"method": "approle", "role_id": role_id, "secret_id_file": path}


def test_approle(ready: Site) -> None:
    log_in_with(ready, **approle(ready))
    with nothing_left(ready.bao):
        assert_works(ready)
        assert ready.helper.run("status").code == 0
        assert ready.helper.run("revoke", ready.profile).code == 0


def test_approle_gives_its_token_back_when_the_command_fails(ready: Site) -> None:
    log_in_with(ready, **approle(ready))
    ready.put_grant({"refresh_token": 7})
    with nothing_left(ready.bao):
        assert get(ready).code == 65


def test_approle_gives_its_token_back_after_sigterm(ready: Site) -> None:
    """Once the spend has ended, which outlives the command."""
    ready.configure(ready.helper, vault={"auth": approle(ready)}, request_timeout="3s")
    ready.api.behaviour.delay_before = 20
    with nothing_left(ready.bao):
        process = ready.helper.start("get", ready.profile)
        try:
            wait_until(lambda: ready.api.stats().in_flight == 1, "the request")
            process.terminate()
            process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait()


def test_approle_without_a_secret_id(ready: Site) -> None:
    bound = {"bind_secret_id": False, "token_bound_cidrs": ["127.0.0.1/32"], "secret_id_bound_cidrs": None}
    ready.bao.enable_auth("approle")
    ready.bao.write(f"auth/approle/role/{ready.profile}", OURS | bound)
    role_id = ready.bao.api("GET", f"auth/approle/role/{ready.profile}/role-id")[1]["data"]["role_id"]
    log_in_with(ready, method="approle", role_id=role_id)
    with nothing_left(ready.bao):
        assert_works(ready)


@pytest.mark.usefixtures("needs_namespaces")
def test_a_namespace_that_is_not_there_is_not_taken_for_a_wrong_mount(ready: Site) -> None:
    log_in_with(ready, **approle(ready))
    ready.helper.environ["VAULT_NAMESPACE"] = "nowhere"
    done = get(ready)
    assert done.code == 78
    assert "namespace not found" in done.err
    assert "VAULT_NAMESPACE" in done.err


def test_approle_at_another_mount(ready: Site) -> None:
    mount = f"machines-{ready.profile}"
    ready.bao.write(f"sys/auth/{mount}", {"type": "approle"})
    ready.bao.write(f"auth/{mount}/role/r", OURS)
    role_id = ready.bao.api("GET", f"auth/{mount}/role/r/role-id")[1]["data"]["role_id"]
    secret_id = ready.bao.write(f"auth/{mount}/role/r/secret-id", {})["data"]["secret_id"]
    path = ready.helper.secret_file("secret-id", secret_id)
    log_in_with(ready, method="approle", role_id=role_id, secret_id_file=path, mount=mount)
    with nothing_left(ready.bao):
        assert_works(ready)


def test_a_wrong_secret_id_or_role_id(ready: Site) -> None:
    auth = approle(ready)
    log_in_with(ready, **auth | {"role_id": "nosuch"})
    done = get(ready)
    assert (done.code, done.out) == (77, "")
    assert "approle login" in done.err
    assert "role_id" in done.err
    ready.helper.secret_file("secret-id", "nosuch")
    log_in_with(ready, **auth)
    done = get(ready)
    assert (done.code, done.out) == (77, "")
    assert "secret_id_file" in done.err
    assert ready.api.stats().requests == 0


def test_a_login_that_is_not_enabled(ready: Site) -> None:
    log_in_with(ready, **approle(ready) | {"mount": "nosuch"})
    done = get(ready)
    assert done.code in (77, 78)
    assert "auth/nosuch" in done.err
    assert "mount" in done.err


def test_a_batch_token_works_and_has_no_lease(ready: Site) -> None:
    log_in_with(ready, **approle(ready, token_type="batch"))
    with nothing_left(ready.bao):
        assert_works(ready)


def test_a_wrapped_secret_id_is_good_for_one_use(ready: Site) -> None:
    """The second use is refused with a message that says what it may mean."""
    auth = approle(ready)
    ready.helper.secret_file("secret-id", ready.bao.secret_id(ready.profile, wrap_ttl="5m"))
    log_in_with(ready, **auth, wrapped=True)
    with nothing_left(ready.bao):
        assert_works(ready)
        done = get(ready)
        assert (done.code, done.out) == (77, "")
        assert str(auth["secret_id_file"]) in done.err
        assert "used already or has expired" in done.err
        assert "somebody else did" in done.err


def test_a_wrapping_token_of_something_else(ready: Site) -> None:
    auth = approle(ready)
    answer = ready.bao.api("POST", "sys/wrapping/wrap", {"a": "b"}, headers={"X-Vault-Wrap-TTL": "5m"})[1]
    ready.helper.secret_file("secret-id", answer["wrap_info"]["token"])
    log_in_with(ready, **auth, wrapped=True)
    done = get(ready)
    assert done.code == 77
    assert "it holds none" in done.err


# -- JWT and Kubernetes

ISSUED_FOR = "vault-ticket-tests"


class Signer:
    """Makes JSON web tokens, RS256."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = self._key.public_key()
        self.public = public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode()

    def jwt(self, **claims: Any) -> str:
        now = int(time.time())
        known = {"iat": now, "nbf": now - 60, "exp": now + 600, "aud": [ISSUED_FOR]}
        parts = [json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT"}, known | claims)]
        signed = b".".join(_b64(part) for part in parts)
        return (signed + b"." + _b64(self._key.sign(signed, padding.PKCS1v15(), hashes.SHA256()))).decode()


def _b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def test_jwt(ready: Site) -> None:
    signer, mount = Signer(), f"jwt-{ready.profile}"
    ready.bao.write(f"sys/auth/{mount}", {"type": "jwt"})
    ready.bao.write(f"auth/{mount}/config", {"jwt_validation_pubkeys": [signer.public]})
    role = {"role_type": "jwt", "bound_audiences": [ISSUED_FOR], "user_claim": "sub", "bound_subject": "helper"}
    ready.bao.write(f"auth/{mount}/role/helper", role | OURS)
    path = ready.helper.secret_file("jwt", signer.jwt(sub="helper"))
    log_in_with(ready, method="jwt", role="helper", jwt_file=path, mount=mount)
    with nothing_left(ready.bao):
        assert_works(ready)
    ready.helper.secret_file("jwt", signer.jwt(sub="somebody else"))
    done = get(ready)
    assert (done.code, done.out) == (77, "")
    assert "jwt login" in done.err
    assert "jwt_file" in done.err
    ready.helper.secret_file("jwt", signer.jwt(sub="helper"))  # the file is read at each login
    assert_works(ready)


@contextmanager
def token_review_api(good: str) -> Iterator[str]:
    """The one call of Kubernetes that the server makes to check a service account's token."""
    user = {"username": "system:serviceaccount:apps:helper", "uid": "4711", "groups": ["system:serviceaccounts"]}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = self.path == "/apis/authentication.k8s.io/v1/tokenreviews" and asked["spec"]["token"] == good
            review = {
                "kind": "TokenReview",
                "apiVersion": "authentication.k8s.io/v1",
                "status": {"authenticated": True, "user": user, "audiences": [ISSUED_FOR]}
                if known
                else {"authenticated": False},
            }
            body = json.dumps(review).encode()
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_kubernetes(ready: Site, tmp_path: Path) -> None:
    """The server's own plugin, against a TokenReview API on loopback."""
    account = {"name": "helper", "uid": "4711"}
    claims = {
        "iss": "https://kubernetes.default.svc",
        "sub": "system:serviceaccount:apps:helper",
        "kubernetes.io": {"namespace": "apps", "serviceaccount": account},
    }
    signer, mount = Signer(), f"k8s-{ready.profile}"
    good = signer.jwt(**claims)
    with token_review_api(good) as api:
        ready.bao.write(f"sys/auth/{mount}", {"type": "kubernetes"})
        config = {"kubernetes_host": api, "token_reviewer_jwt": signer.jwt(), "disable_local_ca_jwt": True}
        config["kubernetes_ca_cert"] = loopback_certificate(tmp_path).ca.read_text()  # must be there; plain HTTP here
        ready.bao.write(f"auth/{mount}/config", config)
        role = {
            "bound_service_account_names": ["helper"],
            "bound_service_account_namespaces": ["apps"],
            "audience": ISSUED_FOR,
        }
        ready.bao.write(f"auth/{mount}/role/helper", role | OURS)
        path = ready.helper.secret_file("jwt", good)
        log_in_with(ready, method="kubernetes", role="helper", jwt_file=path, mount=mount)
        with nothing_left(ready.bao):
            assert_works(ready)
        ready.helper.secret_file("jwt", signer.jwt(**claims, more="x"))
        done = get(ready)
        assert (done.code, done.out) == (77, "")
        assert "kubernetes login" in done.err
        log_in_with(ready, method="kubernetes", role="nosuch", jwt_file=path, mount=mount)
        done = get(ready)
        assert done.code in (77, 78)
        assert "role" in done.err


# -- a client certificate


def test_a_client_certificate(emulator: Emulator, tmp_path: Path) -> None:
    made = loopback_certificate(tmp_path)
    with DevServer(tls=True) as bao:
        site = Site(bao, emulator, tmp_path)
        site.store(None, "--no-verify")
        del site.helper.environ["VAULT_TOKEN"]
        bao.enable_auth("cert")
        bao.write("auth/cert/certs/helper", {"certificate": made.ca.read_text()} | OURS)
        for vault in (
            {"client_cert": made.cert, "client_key": made.key, "auth": {"method": "cert", "role": "helper"}},
            {"auth": {"method": "cert"}},
        ):
            site.configure(site.helper, vault=vault)
            with nothing_left(bao):
                assert_works(site)
            # the second time, the certificate is named in the environment
            site.helper.environ |= {"VAULT_CLIENT_CERT": str(made.cert), "BAO_CLIENT_KEY": str(made.key)}
        (tmp_path / "other").mkdir()
        other = loopback_certificate(tmp_path / "other")
        site.helper.environ |= {"VAULT_CLIENT_CERT": str(other.cert), "BAO_CLIENT_KEY": str(other.key)}
        done = get(site)
        assert (done.code, done.out) == (77, "")
        assert "cert login" in done.err


# -- none: a listener that adds its own token


@contextmanager
def listener(site: Site, kind: str) -> Iterator[Path]:
    """`bao agent` or `bao proxy` with auto-auth; yields its folder: `sock`, `sink` and `port` are in it."""
    with tempfile.TemporaryDirectory(prefix="listener-") as name:
        folder, port = Path(name), free_port()
        role_id, secret_id = site.bao.enable_approle(site.profile, [], **OURS)
        (folder / "role-id").write_text(role_id)
        (folder / "secret-id").write_text(secret_id)
        (folder / "port").write_text(str(port))
        (folder / "config.hcl").write_text(f"""
            vault {{ address = "{site.bao.address}" }}
            auto_auth {{
              method "approle" {{
                config = {{
                  role_id_file_path = "{folder}/role-id"
                  secret_id_file_path = "{folder}/secret-id"
                  remove_secret_id_file_after_reading = false
                }}
              }}
              sink "file" {{ config = {{ path = "{folder}/sink", mode = 0600 }} }}
            }}
            api_proxy {{ use_auto_auth_token = true }}
            listener "tcp" {{ address = "127.0.0.1:{port}", tls_disable = true }}
            listener "unix" {{ address = "{folder}/sock", tls_disable = true }}
        """)
        process = Process(
            [binary(), kind, f"-config={folder}/config.hcl"],
            log=folder / "log",
            env=clean_env(folder),
            cwd=folder,
        )
        try:
            wait_until(lambda: (folder / "sink").exists() and (folder / "sock").exists(), f"bao {kind}'s login")
            yield folder
        finally:
            process.stop()


@pytest.mark.parametrize("kind", ["agent", "proxy"])
def test_no_login_through_a_listener_with_auto_auth(ready: Site, kind: str) -> None:
    """Over TCP and a unix socket, named in the file or in the environment; and by the token in its sink."""
    helper = ready.helper
    with listener(ready, kind) as folder:
        tcp = f"http://127.0.0.1:{(folder / 'port').read_text()}"
        unix = f"unix://{folder}/sock"
        before = accessors(ready.bao)
        for address in (tcp, unix):
            del helper.environ["VAULT_ADDR"]
            ready.configure(helper, vault={"address": address, "auth": {"method": "none"}})
            assert_works(ready)
            ready.configure(helper)
            for variable in ("VAULT_AGENT_ADDR", "BAO_AGENT_ADDR"):
                helper.environ[variable] = address
                assert_works(ready)
                del helper.environ[variable]
            helper.environ["VAULT_ADDR"] = ready.bao.address
        log_in_with(ready, method="token", token_file=folder / "sink")
        assert_works(ready)
        assert accessors(ready.bao) <= before


def test_a_unix_socket_that_is_not_there(ready: Site) -> None:
    ready.configure(ready.helper, vault={"address": "unix:///nosuch/sock", "auth": {"method": "none"}})
    done = ready.get("--timeout", "1s")
    assert (done.code, done.out) == (69, "")
    assert "unix:///nosuch/sock" in done.err
    assert "no such file" in done.err
