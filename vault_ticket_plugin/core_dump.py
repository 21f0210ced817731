"""No core file of ours: it would hold the tokens in memory. A program that we run gets its own limit back."""

from __future__ import annotations

# As whoever started us had it; None where it is not lowered.
_before: tuple[int, int] | None = None


def no_core_file() -> None:
    global _before
    try:
        import resource

        found = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, found[1]))
    except (ImportError, OSError, ValueError):
        return  # a system without such limits
    _before = found


def as_before() -> None:
    global _before
    if _before is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, _before)
        _before = None
