"""What a process signs away before it runs a text: files, network, processes, memory. There is no way back.

Landlock: only given folders can be read, only the scratch folder written, no signal reaches outside. Seccomp: calls
that are not in syscalls.py do not exist. Beside them resource limits, no capabilities, and `nobody` in place of root.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
from collections.abc import Sequence

from stages.sandbox.limits import Limits
from stages.sandbox.namespaces import NOBODY, die_with_parent, done, libc
from stages.sandbox.syscalls import AUDIT, PARTLY, allowed

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_READ, _ALL_ABI1 = 1 << 2 | 1 << 3, (1 << 13) - 1  # files and folders; all rights of the first version
_CAPABILITIES = struct.pack("Ii", 0x20080522, 0)
_NO_NEW_PRIVS, _GET_SECCOMP, _SET_SECCOMP = 38, 21, 22
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # classic BPF: load a word, jump if equal, return
_TO_END = -1  # as a jump: to the last step, which allows the call
_ALLOW, _KILL, _ENOSYS = 0x7FFF0000, 0x80000000, 0x00050000 | 38


def landlock_version() -> int:
    """The version of Landlock that the kernel has; 0 for none."""
    version: int = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    return max(0, version)


def has_seccomp() -> bool:
    """Whether calls can be filtered on this kernel and machine."""
    return platform.machine() in AUDIT and libc.prctl(_GET_SECCOMP, 0, 0, 0, 0) == 0


def available() -> tuple[str, ...]:
    """Which of the two the system has."""
    return (*(["landlock"] if landlock_version() else []), *(["seccomp"] if has_seccomp() else []))


def sign_away(readable: Sequence[str], scratch: str, limits: Limits) -> None:
    """All of it, for this process. Raises OSError when one that the system has is refused.

    Call it when all descriptors that are needed are open.
    """
    for what, limit in (
        (resource.RLIMIT_CPU, limits.cpu_s),
        (resource.RLIMIT_AS, limits.memory_mb << 20),
        (resource.RLIMIT_FSIZE, limits.scratch_mb << 20),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_NPROC, 0),  # no process and no thread from here on
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (limit, limit))
    done(libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    if version := landlock_version():
        _landlock(readable, scratch, version)  # before the change of user, who may not see root's folders
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    done(libc.capset(_CAPABILITIES, bytes(24)), "capset")
    die_with_parent()  # after the change of user, which forgets it
    if has_seccomp():
        _filter_calls()


def _landlock(readable: Sequence[str], scratch: str, version: int) -> None:
    """version: 2 adds moving between folders, 3 truncation, 4 TCP, 5 ioctl, 6 signals and abstract sockets."""
    rights = _ALL_ABI1 | (version >= 2) << 13 | (version >= 3) << 14 | (version >= 5) << 15
    attributes = struct.pack("QQQ", rights, 3 * (version >= 4), 3 * (version >= 6))
    size = 8 if version < 4 else 16 if version < 6 else 24
    rules = done(libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(size), 0), "landlock")
    for path, given in [*((path, _READ) for path in readable), (scratch, rights & ~1)]:  # 1: to execute
        folder = os.open(path, os.O_PATH)
        given &= rights if os.path.isdir(path) else 1 << 2
        done(libc.syscall(_ADD_RULE, rules, 1, struct.pack("=Qi", given, folder), 0), f"landlock {path}")
        os.close(folder)
    done(libc.syscall(_RESTRICT_SELF, rules, 0), "landlock")
    os.close(rules)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def _filter_calls() -> None:
    """Anything else is ENOSYS, as on a kernel without it, so that the C library falls back where it can."""
    machine = platform.machine()
    steps = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, AUDIT[machine]), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    for number, commands in PARTLY[machine].items():  # the command is the second argument, 24 bytes in
        steps += [(_EQUAL, 0, len(commands) + 2, number), (_LOAD, 0, 0, 24)]
        steps += [(_EQUAL, _TO_END, 0, command) for command in commands] + [(_RETURN, 0, 0, _ENOSYS)]
    steps += [(_EQUAL, _TO_END, 0, number) for number in allowed(machine)]
    steps += [(_RETURN, 0, 0, _ENOSYS), (_RETURN, 0, 0, _ALLOW)]
    jumps = [len(steps) - 2 - at if step[1] == _TO_END else step[1] for at, step in enumerate(steps)]
    filters = [
        struct.pack("HBBI", code, jump, other, k) for (code, _, other, k), jump in zip(steps, jumps, strict=True)
    ]
    program = _Program(len(steps), b"".join(filters))
    done(libc.prctl(_SET_SECCOMP, 2, ctypes.byref(program), 0, 0), "seccomp")
