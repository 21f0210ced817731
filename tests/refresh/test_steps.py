"""The transaction reads as docs/protocol.md: the same steps, with the same numbers, in the same order."""

import inspect
import re
from pathlib import Path

from vault_ticket_plugin.refresh import claim, transaction
from vault_ticket_plugin.refresh.transaction import Transaction

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"


def documented() -> dict[int, str]:
    """Each numbered step's first bold word."""
    steps = DOCUMENT.read_text().partition("\n## The steps\n")[2].partition("\n## ")[0]
    return {int(number): word for number, word in re.findall(r"^(\d)\. \*\*(\w+)", steps, re.MULTILINE)}


def told(text: str) -> list[tuple[int, str]]:
    """`(n) Word` in a docstring or a comment."""
    return [(int(number), word) for number, word in re.findall(r"\((\d)\) (\w+)", text)]


class TestSteps:
    def test_the_docstring_lists_them(self) -> None:
        assert dict(told(transaction.__doc__ or "")) == documented()

    def test_each_stands_at_a_paragraph_of_the_body(self) -> None:
        lines = inspect.getsource(Transaction.refresh).splitlines()
        numbers = [number for number, _ in told("\n".join(line for line in lines if line.strip().startswith("#")))]
        assert numbers == [number for number in documented() if number > 1]  # (1) is the issuer's

    def test_the_claims_own_are_numbered_too(self) -> None:
        comments = "\n".join(line for line in inspect.getsource(claim.Claims.take).splitlines() if "# (" in line)
        assert [number for number, _ in told(comments)] == [2, 3]
