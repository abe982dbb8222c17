"""Linux namespaces of one's own: no network, no files but Python's standard library, no other process in sight."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Sequence

SCRATCH = "/scratch"
NOBODY = 65534
libc = ctypes.CDLL(None, use_errno=True)
_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = (
    0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
)  # fmt: skip
_NOSUID, _NODEV, _BIND, _REC, _PRIVATE = 2, 4, 4096, 16384, 1 << 18
_RDONLY_NOSUID_NODEV, _AT_FDCWD, _AT_RECURSIVE, _MNT_DETACH, _PDEATHSIG = 1 | 2 | 4, -100, 0x8000, 2, 1
_MOUNT_SETATTR, _PIVOT_ROOT = 442, {"x86_64": 155, "aarch64": 41}
_STAGE = "/sys"  # the new root is put together over it, out of the way of every Python installation
_HIDDEN = ("site-packages", "dist-packages")  # below the standard library, but no part of it


def done(result: int, what: str) -> int:
    """`result` of a C call; raises OSError with its errno when that is negative."""
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def die_with_parent() -> None:
    """Has the kernel kill this process when its parent ends."""
    done(libc.prctl(_PDEATHSIG, 9, 0, 0, 0), "prctl")


class Namespaces:
    """Where this process lives once `enter` was called. `walls`: what is out of reach: network, files, processes."""

    def __init__(self) -> None:
        self.walls: tuple[str, ...] = ()
        self._pids = -1

    def enter(self, readable: Sequence[str]) -> None:
        """Moves in, as far as the system allows. readable: folders that stay visible, read-only.

        Where it is allowed it forks: what returns is process 1 in there; the process outside only waits for its end.
        """
        uid, gid = os.getuid(), os.getgid()
        try:
            _unshare(_NEWNS | _NEWNET | _NEWIPC | _NEWUTS | _NEWPID | (_NEWUSER if uid else 0))
            if uid:
                _become_nobody(uid, gid)
        except OSError:
            return
        if child := os.fork():
            os.waitpid(child, 0)
            os._exit(0)
        die_with_parent()
        self.walls = ("network",)
        try:
            self._pids = os.open("/proc/self/ns/pid_for_children", os.O_RDONLY)
            _new_root(readable)
            self.walls = ("network", "files", "processes")
        except OSError:
            return

    def fork(self) -> int:
        """As os.fork; the child is process 1 of its own, so that its end is the end of all that it started."""
        if "processes" not in self.walls:
            return os.fork()
        _unshare(_NEWPID)
        if child := os.fork():
            done(libc.setns(self._pids, _NEWPID), "setns")
        return child

    def scratch(self, size_mb: int) -> None:
        """Gives the child an empty scratch folder in memory that nobody else sees."""
        _unshare(_NEWNS | _NEWIPC)
        _mount("none", SCRATCH, "tmpfs", _NOSUID | _NODEV, f"size={size_mb}m,nr_inodes=1000,mode=0777")


def _unshare(flags: int) -> None:
    done(libc.unshare(flags), "unshare")


def _become_nobody(uid: int, gid: int) -> None:
    maps = {"setgroups": "deny", "uid_map": f"{NOBODY} {uid} 1", "gid_map": f"{NOBODY} {gid} 1"}
    for file, text in maps.items():
        with open(f"/proc/self/{file}", "w") as out:
            out.write(text)


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    texts = [text.encode() or None for text in (source, target, kind, options)]
    done(libc.mount(*texts[:3], ctypes.c_ulong(flags), texts[3]), f"mount {target}")


def _new_root(readable: Sequence[str]) -> None:
    """A root in which nothing is left but `readable`; all of it read-only."""
    _mount("none", "/", "", _REC | _PRIVATE)
    _mount("none", _STAGE, "tmpfs", _NOSUID | _NODEV, "size=1m,mode=0755")
    os.umask(0o022)
    os.mkdir(_STAGE + SCRATCH)
    for folder in readable:
        os.makedirs(_STAGE + folder, exist_ok=True)
        _mount(folder, _STAGE + folder, "", _BIND | _REC)
        for hidden in _HIDDEN:
            if os.path.isdir(f"{folder}/{hidden}"):
                _mount("none", f"{_STAGE}{folder}/{hidden}", "tmpfs", _NOSUID | _NODEV, "size=4k")
    locked = struct.pack("QQQQ", _RDONLY_NOSUID_NODEV, 0, 0, 0)
    done(libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, _STAGE.encode(), _AT_RECURSIVE, locked, 32), "mount_setattr")
    os.chdir(_STAGE)
    done(libc.syscall(_PIVOT_ROOT[platform.machine()], b".", b"."), "pivot_root")
    done(libc.umount2(b".", _MNT_DETACH), "umount")
    os.chdir("/")
