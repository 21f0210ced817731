"""What HashiCorp's Vault 2.1 refuses to read and OpenBao takes: JSON beyond its limits, an attribute given twice."""

import re

STRING, DEPTH = 1024 * 1024, 500

_PIECE = re.compile(rb'"(?:[^"\\]++|\\.)*+(?P<end>"?)|(?P<open>[\[{])|[\]}]', re.DOTALL)
_HCL = re.compile(
    r"#[^\n]*|//[^\n]*|/\*.*?\*/|<<-?(?P<word>\w+)\n.*?\n\s*(?P=word)\b"
    r'|(?P<key>[A-Za-z_][\w.-]*|"(?:[^"\\]|\\.)*")(?=\s*=)|"(?:[^"\\]|\\.)*"|(?P<open>\{)|(?P<close>\})',
    re.DOTALL,
)


def json_refusal(body: bytes) -> str:
    """The server's words on a body that it does not even parse, or "".

    It counts brackets and looks at strings: whatever else is wrong is found by the parser after it.
    """
    depth = 0
    for piece in _PIECE.finditer(body):
        if piece["end"] is not None:
            if piece.end() - piece.start() - 2 > STRING:
                return "JSON string value exceeds allowed length"
            if not piece["end"]:
                return "malformed JSON, unclosed string"
        elif piece["open"]:
            depth += 1
            if depth > DEPTH:
                return "JSON input exceeds allowed nesting depth"
        else:
            depth -= 1
    return "malformed JSON, unclosed containers" if depth > 0 else ""


def doubled_attribute(policy: str) -> str:
    """The server's words on a policy that says an attribute twice in one block, or ""."""
    blocks: list[set[str]] = [set()]
    for piece in _HCL.finditer(policy):
        if piece["open"]:
            blocks.append(set())
        elif piece["close"]:
            blocks = blocks[:-1] or [set()]
        elif piece["key"]:
            name = piece["key"].strip('"')
            if name in blocks[-1]:
                before = policy[: piece.start()]
                where = f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
                return f'The argument "{name}" at {where} was already set. Each argument can only be defined once'
            blocks[-1].add(name)
    return ""
