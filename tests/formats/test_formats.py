"""The formats of others: what their readers want, by the text. tests/clients has the readers themselves."""

import base64
import contextlib
import json
import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_ticket_plugin.clock import from_rfc3339
from vault_ticket_plugin.errors import ConfigError, GrantRejected, VaultTicketError
from vault_ticket_plugin.formats import CACHEABLE, FORMATS, load
from vault_ticket_plugin.formats.interface import FormatContext
from vault_ticket_plugin.helpers import git
from vault_ticket_plugin.model import LiveTicket, Ticket
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.profile import Profile

PROFILE = Profile.standard("support")._replace(client_id="4711", hosts=("registry.example.org",))
KUBERNETES = "client.authentication.k8s.io"
# RFC 6749 appendix A.12, and far more: what nobody lets through today must do no harm either.
tokens = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)
anything = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def ticket(token: str = "abc.def", expires_at: float = 1_800_000_000.9) -> Ticket:
    return Ticket(Secret(token), "Bearer", 1_799_996_400.0, expires_at)


def context(environ: Mapping[str, str] | None = None, question: str = "", **changes: object) -> FormatContext:
    return FormatContext(PROFILE._replace(**changes), environ or {}, question)  # type: ignore[arg-type]


def jwt(claims: object) -> str:
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.x"


def test_what_each_prints() -> None:
    """Byte for byte: whoever changes one must want it."""
    environ = {"GITHUB_OUTPUT": "/tmp/output"}
    printed = {name: load(name).render(ticket(), context(environ)) for name in FORMATS if name not in OWN}
    assert printed == {
        "aws": '{"Version": 1, "AccessKeyId": "4711", "SecretAccessKey": "abc.def", "SessionToken": "abc.def", '
        '"Expiration": "2027-01-15T08:00:00Z"}',
        "bazel": '{"headers": {"Authorization": ["Bearer abc.def"]}, "expires": "2027-01-15T08:00:00Z"}',
        "curl": 'oauth2-bearer = "abc.def"',
        "github-actions": "::add-mask::abc.def",
        "google": '{"version": 1, "success": true, "token_type": "urn:ietf:params:oauth:token-type:jwt", '
        '"id_token": "abc.def", "expiration_time": 1800000000}',
        "kubernetes": '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", '
        '"status": {"token": "abc.def", "expirationTimestamp": "2027-01-15T08:00:00Z"}}',
        "terraform": '{"access_token": "abc.def", "token_type": "Bearer", "expires_at": "2027-01-15T08:00:00Z"}',
    }


OWN = ("json", "token", "header", "env")


@pytest.mark.parametrize("name", CACHEABLE)
@given(token=tokens)
def test_a_plain_format_is_one_line_without_a_tab(name: str, token: str) -> None:
    """The cache keeps it as a line of its own, and prints what the registry's format would."""
    text = load(name).render(ticket(token), FormatContext(Profile.standard("other")))
    assert not {"\n", "\t"} & set(text)
    assert load(name).render(ticket(token), context()) == text


def test_plain_formats_ask_nothing_and_need_no_more_than_the_ticket() -> None:
    for name in CACHEABLE:
        form = load(name)
        assert (form.asks, form.appended, form.early(context())) == (False, None, None)


# -- curl


def curl_reads(line: str) -> tuple[str, str]:
    """An option and its value as curl's parser of --config reads a quoted one."""
    option, _, quoted = line.partition(" = ")
    assert quoted[0] == '"'
    value, rest = "", iter(quoted[1:])
    for letter in rest:
        if letter == '"':
            assert list(rest) == [], "something stands after the quotes"
            return option, value
        if letter == "\\":
            escaped = next(rest)
            value += {"t": "\t", "n": "\n", "r": "\r", "v": "\v"}.get(escaped, escaped)
        else:
            value += letter
    raise AssertionError("the quotes never end")


@given(token=anything)
def test_whatever_a_token_is_curl_reads_one_option_with_one_value(token: str) -> None:
    text = load("curl").render(ticket(token), context())
    assert not re.search(r"[\n\r\0]", text)
    assert curl_reads(text) == ("oauth2-bearer", token.replace("\0", ""))


# -- aws


def test_the_access_key_is_the_profile_s_client_id_else_the_token_s_own() -> None:
    for given_id, token, expected in (("4711", jwt({"cid": "0815"}), "4711"), (None, jwt({"cid": "0815"}), "0815")):
        text = load("aws").render(ticket(token), context(client_id=given_id))
        assert json.loads(text)["AccessKeyId"] == expected


@pytest.mark.parametrize(
    "token",
    ["opaque", "a.b.c", "a.b", jwt({}), jwt([]), jwt("x"), jwt({"cid": 5}), jwt({"cid": ""}), jwt({"cid": "a\nb"})],
)
def test_without_any_client_id_aws_is_told_which_key_to_set(token: str) -> None:
    with pytest.raises(ConfigError, match="Client ID") as refused:
        load("aws").render(ticket(token), context(client_id=None))
    assert "client_id under [profiles.support]" in refused.value.hint


# -- kubernetes


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_kubernetes_gets_the_version_that_it_asks_for(version: str) -> None:
    environ = {"KUBERNETES_EXEC_INFO": json.dumps({"apiVersion": f"{KUBERNETES}/{version}", "spec": {}})}
    assert load("kubernetes").early(context(environ)) is None
    assert json.loads(load("kubernetes").render(ticket(), context(environ)))["apiVersion"] == f"{KUBERNETES}/{version}"


@pytest.mark.parametrize(
    "info", [f'{{"apiVersion": "{KUBERNETES}/v1alpha1"}}', '{"apiVersion": []}', "5", "[" * 100_000]
)
def test_kubernetes_versions_that_we_do_not_know_are_refused_early(info: str) -> None:
    with pytest.raises(ConfigError, match="KUBERNETES_EXEC_INFO"):
        load("kubernetes").early(context({"KUBERNETES_EXEC_INFO": info}))


# -- google


@pytest.mark.parametrize(
    ("error", "message"),
    [(GrantRejected("it is dead", "Store another."), "it is dead. Store another."), (VaultTicketError("a"), "a")],
)
def test_google_reads_a_failure(error: VaultTicketError, message: str) -> None:
    fail = load("google").fail
    assert fail is not None
    expected = {"version": 1, "success": False, "code": type(error).__name__, "message": message}
    assert json.loads(fail(error)) == expected


def test_only_google_is_told_of_failures_on_standard_output() -> None:
    assert [name for name in FORMATS if load(name).fail or load(name).quiet] == ["google"]
    assert [name for name in FORMATS if load(name).one_line] == ["terraform"]


# -- bazel


def test_bazel_is_answered_early_for_hosts_that_are_not_the_profile_s() -> None:
    early = load("bazel").early
    assert early(context(question='{"uri": "https://registry.example.org/x?y#z"}')) is None
    for uri in ("https://other.example.org/", "http://registry.example.org", "https://u@registry.example.org", ""):
        assert early(context(question=json.dumps({"uri": uri}))) == '{"headers": {}}'


@given(question=st.text() | st.from_regex(r'\{"uri": .*\}'))
def test_no_question_of_bazel_s_brings_anything_but_an_answer_or_our_error(question: str) -> None:
    with contextlib.suppress(ConfigError):
        assert load("bazel").early(context(question=question)) in (None, '{"headers": {}}')


# -- github-actions


@given(token=anything)
def test_a_mask_is_one_command_that_the_runner_reads_back(token: str) -> None:
    text = load("github-actions").render(ticket(token), context())
    assert not {"\n", "\r"} & set(text)
    value = text.removeprefix("::add-mask::")
    assert value.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%") == token


def test_an_output_goes_to_the_step_s_file() -> None:
    appended = load("github-actions").appended
    assert appended is not None
    found = appended(ticket(), context({"GITHUB_OUTPUT": "/tmp/output"}))
    assert (found.path, found.line) == ("/tmp/output", "access_token=abc.def")
    assert "abc.def" not in repr(found)


@pytest.mark.parametrize("environ", [{}, {"GITHUB_OUTPUT": ""}])
def test_without_a_step_s_file_it_is_refused_early(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="GITHUB_OUTPUT"):
        load("github-actions").early(context(environ))


# -- git


def test_a_question_of_git_s_is_read_up_to_the_empty_line() -> None:
    asked = git.question("capability[]=authtype\ncapability[]=state\nhost=a\nhost=b\nwwwauth[]=x=y\nodd\n\nhost=c\n")
    assert asked == git.Question({"host": "b", "wwwauth[]": "x=y", "odd": ""}, frozenset({"authtype", "state"}))


@given(text=st.text())
def test_whatever_git_writes_is_read(text: str) -> None:
    assert not git.is_ours(git.question(text), PROFILE._replace(hosts=()))


def test_git_is_answered_as_it_can_read_it() -> None:
    expiry = "password_expiry_utc=1800000000"
    new = "capability[]=authtype\nauthtype=Bearer\ncredential=abc.def\nephemeral=1"
    assert git.answer(ticket(), git.Question({}, frozenset({"authtype"}))) == f"{new}\n{expiry}"
    assert git.answer(ticket(), git.Question()) == f"username=oauth2\npassword=abc.def\n{expiry}"
    assert git.answer(ticket(), git.Question({"username": "me"})) == f"username=me\npassword=abc.def\n{expiry}"


class TestPastEnd:
    """Programs here go by this host's clock, and take a ticket whose end is past by it for an expired one."""

    LIVE = LiveTicket(ticket(expires_at=1_800_000_000.0), ends=5_000.0)

    @pytest.mark.parametrize("ahead", [0.0, 1.0, 600.0, 86_400.0, 1e9])
    def test_is_never_printed(self, ahead: float) -> None:
        wall, now = 1_800_000_000.0 + ahead, 5_000.0 - 300.0

        told = self.LIVE.for_host(wall, now)

        assert told.expires_at == wall + 300.0
        for name in ("aws", "bazel", "google", "json", "kubernetes", "terraform"):
            text = load(name).render(told, context({"KUBERNETES_EXEC_INFO": ""}))
            ends = [from_rfc3339(one) for one in re.findall(r"\d{4}-\d\d-\d\dT[\d:]+Z", text)]
            ends += [float(one) for one in re.findall(r'"expiration_time": (\d+)', text)]
            assert ends, text
            assert all(end > wall for end in ends)
        assert f"password_expiry_utc={int(wall + 300)}" in git.answer(told, git.question(""))

    def test_a_clock_that_is_right_changes_nothing(self) -> None:
        assert self.LIVE.for_host(1_800_000_000.0 - 300.0, 5_000.0 - 300.0) == self.LIVE.ticket
