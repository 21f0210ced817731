"""What each role may do, as text: the files in policies/, and a profile's own paths."""

from pathlib import Path

import pytest

from tests.support.cli import Host
from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.model import Location
from vault_ticket_plugin.settings.profile import Profile
from vault_ticket_plugin.vault import paths, policy

POLICIES = Path(__file__).parents[2] / "policies"
COMMON = {paths.RENEW_SELF: ("update",), paths.WRAP: ("update",)}
OWN = Profile("billing", grant=Location("team/kv", "a/grant"), ticket=Location("team/kv", "a/token"))


def granted(role: policy.Role, profile: Profile) -> dict[str, tuple[str, ...]]:
    return {rule.path: rule.capabilities for rule in policy.rules(role, profile)}


@pytest.mark.parametrize("role", policy.ROLES)
def test_the_files_are_what_is_printed_for_the_default_paths(role: policy.Role) -> None:
    printed = policy.hcl(role, Profile.standard(policy.ANY_PROFILE))
    assert (POLICIES / f"ticket-{role}.hcl").read_bytes() == printed.encode()


@pytest.mark.parametrize("role", policy.ROLES)
def test_a_profile_at_the_default_paths_has_the_same_rules_for_itself_alone(role: policy.Role) -> None:
    shared = policy.hcl(role, Profile.standard(policy.ANY_PROFILE))
    own = policy.hcl(role, Profile.standard("support"))
    assert own.splitlines()[2:] == shared.replace("/+/", "/support/").splitlines()[2:]


def test_own_paths_are_named_part_by_part() -> None:
    assert granted("reader", OWN) == {"team/kv/data/a/token": ("read",), **COMMON}
    assert "team/kv/metadata/a/grant" in granted("operator", OWN)
    assert "team/kv/destroy/a/token" in granted("refresher", OWN)


def test_a_ticket_on_kv_v1_has_one_path_and_no_metadata() -> None:
    profile = Profile("billing", grant=OWN.grant, ticket=Location("old", "a/token", 1))
    assert granted("reader", profile) == {"old/a/token": ("read",), **COMMON}
    assert granted("refresher", profile)["old/a/token"] == ("create", "read", "update", "delete")
    assert granted("operator", profile)["old/a/token"] == ("create", "read", "update")
    assert not [path for role in policy.ROLES for path in granted(role, profile) if path.startswith("old/metadata")]


def test_only_the_refresher_may_read_a_grant() -> None:
    readers = [role for role in policy.ROLES if "read" in granted(role, OWN).get("team/kv/data/a/grant", ())]
    assert readers == ["refresher"]


@pytest.mark.parametrize("path", ["a/*", "a/gr*nt", "+/grant", "{{identity.entity.id}}/grant"])
def test_a_path_that_would_match_others_is_refused(path: str) -> None:
    profile = Profile("billing", grant=Location("kv", path), ticket=OWN.ticket)
    with pytest.raises(ConfigError, match="would match other paths"):
        policy.hcl("refresher", profile)


def test_quotes_in_a_path_do_not_end_it() -> None:
    profile = Profile("billing", grant=OWN.grant, ticket=Location("kv", 'a" { capabilities = ["sudo"] } #'))
    assert 'path "kv/data/a\\" { capabilities = [\\"sudo\\"] } #" {' in policy.hcl("reader", profile)


def test_policies_are_named_after_role_and_profile() -> None:
    assert policy.name_for("reader", OWN) == "ticket-reader-billing"
    assert policy.name_for("reader", Profile.standard(policy.ANY_PROFILE)) == "ticket-reader"


def test_names_are_in_lower_case() -> None:
    """As Vault keeps them: whether it lowers a name before or after it looks makes no difference then."""
    assert policy.name_for("reader", Profile.standard("Support")) == "ticket-reader-support"


@pytest.mark.parametrize("role", policy.ROLES)
@pytest.mark.parametrize("profile", [OWN, Profile.standard(policy.ANY_PROFILE)], ids=lambda one: one.name)
def test_no_path_and_no_attribute_is_there_twice(role: policy.Role, profile: Profile) -> None:
    """Vault since 2.1 refuses that."""
    blocks = policy.hcl(role, profile).split("path ")[1:]
    assert len({block.partition(" {")[0] for block in blocks}) == len(blocks)
    assert [block.count("capabilities =") for block in blocks] == [1] * len(blocks)


def test_the_command_needs_no_server(host: Host) -> None:
    """A policy is written before anything else is there."""
    done = host.run("policy", "reader", "support")
    assert (done.code, done.out) == (0, policy.hcl("reader", Profile.standard("support")))


def test_the_command_goes_by_the_configured_paths(host: Host) -> None:
    where = {"mount": "team/kv", "path": "a/token", "kv_version": 1}
    host.configure({"profiles": {"billing": {"ticket": where}}})
    done = host.run("policy", "reader", "billing")
    assert 'path "team/kv/a/token"' in done.out
    assert host.run("policy", "reader", "support").code == 78


def test_the_command_prints_the_files_for_all_profiles(host: Host) -> None:
    done = host.run("policy", "operator", "--all-profiles")
    assert done.out == (POLICIES / "ticket-operator.hcl").read_text()
