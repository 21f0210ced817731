"""Runs a command under what a unit's SystemCallFilter=, RestrictAddressFamilies= and MemoryDenyWriteExecute= allow.

python confined.py UNIT COMMAND ARGUMENT…
"""

import ctypes
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ALLOW, ERRNO, EQUAL = 0x7FFF0000, 0x00050000, 4  # seccomp.h
PR_SET_NO_NEW_PRIVS, PR_SET_MDWE, REFUSE_EXEC_GAIN = 38, 65, 1


class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def values(unit: Path, key: str) -> Iterator[str]:
    for line in unit.read_text().splitlines():
        name, _, value = line.partition("=")
        if name == key:
            yield value


def calls(names: list[str]) -> set[str]:
    """Sets like @system-service resolved to the names of system calls, as systemd here knows them."""
    found = set()
    for name in names:
        if not name.startswith("@"):
            found.add(name)
            continue
        said = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
        inner = [line.strip() for line in said.stdout.splitlines()[1:]]
        found |= calls([one for one in inner if one and not one.startswith("#")])
    return found


def allowed(unit: Path) -> set[str]:
    found: set[str] = set()
    for value in values(unit, "SystemCallFilter"):
        if value.startswith("~"):
            found -= calls(value[1:].split())
        else:
            found |= calls(value.split())
    return found | {"execve", "exit", "exit_group", "rt_sigreturn"}  # systemd leaves these open whatever is said


def confine(unit: Path) -> None:
    libc, seccomp = ctypes.CDLL(None, use_errno=True), ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(ERRNO | errno.EPERM))
    for name in allowed(unit) - {"socket"}:
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # others are of other machines
            assert seccomp.seccomp_rule_add(context, ALLOW, number, 0) == 0, name
    for family in next(values(unit, "RestrictAddressFamilies")).split():
        same = Compare(0, EQUAL, int(getattr(socket, family)), 0)
        number = seccomp.seccomp_syscall_resolve_name(b"socket")
        assert seccomp.seccomp_rule_add_array(context, ALLOW, number, 1, ctypes.byref(same)) == 0
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    if next(values(unit, "MemoryDenyWriteExecute")) == "yes":
        libc.prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0)  # Linux 6.3; not there, it is not tested
    assert seccomp.seccomp_load(context) == 0


if __name__ == "__main__":
    confine(Path(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
