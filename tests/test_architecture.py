"""The house as docs and code draw it: imports go downward, libraries and secrets stay where they belong."""

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import vault_ticket_plugin

NAME = vault_ticket_plugin.__name__
ROOT = Path(vault_ticket_plugin.__file__).parent
# From the ground up: a module imports from its own room and those before it. A folder is a room; flat modules that
# share a line are one too.
ROOMS = (
    "__init__ errors secret durations password_database environment places folder secret_file"
    " core_dump warm clock log jwt",
    "model events ports",
    "settings",
    "helpers",
    "transport",
    "formats",
    "refresh",
    "oauth",
    "vault",
    "agent",
    "host",
    "issuer",
    "wiring status",
    "doctor daemon",
    "cli entry __main__",
)
LIBRARIES = {
    "click": "cli",
    "hvac": "vault.logins.by_hvac vault.hvac_adapter",
    "prometheus_client": "daemon.metrics",
    "requests": "transport.proxy",
    "urllib3": "transport",
    "httptools": "daemon.http_api.connection",
    "uvicorn": "daemon.http_api",
    "uvloop": "daemon.http_api.server",
}
REVEALING = (
    "formats helpers secret_file host.cache refresh.journal_entry refresh.grant_document refresh.leased_path"
    " oauth.token_endpoint vault.logins vault.session vault.admin doctor.login doctor.ticket"
    " daemon.systemd_credentials"
)
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(path.read_bytes())
    for path in ROOT.rglob("*.py")
}


def among(module: str, names: str) -> bool:
    """Whether a list like those above names the module, or a room that it is in."""
    return any(f"{module}.".startswith(f"{name}.") for name in names.split())


def imports(module: str) -> Iterator[str]:
    """Full dotted names, of everything that the module imports anywhere in it."""
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            yield from (f"{node.module}.{one.name}" for one in node.names)


def ours(module: str) -> set[str]:
    """Those of our modules that it imports: `a.b` for a name in `a.b` too."""
    found = set()
    for name in imports(module):
        inner = name.removeprefix(f"{NAME}.")
        if inner != name:
            found.add(next(one for one in (inner, inner.rpartition(".")[0], "__init__") if one in MODULES))
    return found


def test_every_module_has_one_room() -> None:
    assert {module: sum(among(module, room) for room in ROOMS) for module in MODULES} == dict.fromkeys(MODULES, 1)
    assert {name for room in ROOMS for name in room.split()} <= set(MODULES), "the list names what is no more"


def test_imports_go_downward_only_and_never_in_a_circle() -> None:
    height = {module: level for level, room in enumerate(ROOMS) for module in MODULES if among(module, room)}
    upward = {(module, other) for module in MODULES for other in ours(module) if height[other] > height[module]}
    assert upward == set()
    assert list(TopologicalSorter({module: ours(module) - {module} for module in MODULES}).static_order())


def test_each_library_is_imported_where_it_belongs_and_no_other_is() -> None:
    for module in MODULES:
        foreign = {name.partition(".")[0] for name in imports(module)} - sys.stdlib_module_names - {NAME}
        assert {library for library in foreign if not among(module, LIBRARIES.get(library, ""))} == set(), module


def test_secrets_are_revealed_in_the_named_modules_only() -> None:
    uses = {
        (module, node.attr)
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("reveal", "_value") and module != "secret"
    }
    assert {module for module, name in uses if name == "_value"} == set()
    assert {module for module, _ in uses if not among(module, REVEALING)} == set()
    idle = [name for name in REVEALING.split() if not any(among(module, name) for module, _ in uses)]
    assert not idle, "the list names who no longer does"


def test_only_the_command_line_ends_the_process() -> None:
    """And the process that a spend has for itself, which is nobody else's."""
    for module, tree in MODULES.items():
        ends = [
            ast.unparse(node)
            for node in ast.walk(tree)
            if (isinstance(node, ast.Raise) and "SystemExit" in ast.unparse(node))
            or (isinstance(node, ast.Call) and ast.unparse(node.func) in ("sys.exit", "os._exit", "os.abort", "exit"))
        ]
        assert not ends or among(module, "cli entry __main__ host.detached"), (module, ends)


def test_every_module_says_what_it_is_and_stays_small() -> None:
    for path in ROOT.rglob("*.py"):
        text = path.read_text()
        assert ast.get_docstring(ast.parse(text)), path
        assert len(text.splitlines()) <= 300, path


def test_each_class_name_stands_once() -> None:
    names = [node.name for tree in MODULES.values() for node in tree.body if isinstance(node, ast.ClassDef)]
    assert sorted(names) == sorted(set(names))


def test_no_module_of_ours_needs_another_name_to_be_imported() -> None:
    """A module that collides with what its users call their variables has the wrong name."""
    for module, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == NAME:
                assert not [one.asname for one in node.names if one.asname], module


def test_every_body_of_many_lines_has_paragraphs() -> None:
    """Steps are set apart by a blank line. One statement, however long, is one step."""
    for path in ROOT.rglob("*.py"):
        text = path.read_text()
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                steps = node.body[1:] if ast.get_docstring(node) is not None else node.body
                body = lines[steps[0].lineno - 1 : node.end_lineno] if steps else []
                assert len(body) < 15 or len(steps) == 1 or "" in body, f"{path.name}: {node.name}"
