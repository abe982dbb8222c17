"""System calls that text in the sandbox may make: files, memory, clocks. No sockets, processes, signals, prctl."""

from __future__ import annotations

# Calls of which some commands are allowed: (numbers, commands). fcntl: duplicates and flags, no signals of its own;
# ioctl: close on exec.
PARTLY = {
    "x86_64": {72: (0, 1, 2, 3, 1030), 16: (0x5450, 0x5451)},
    "aarch64": {25: (0, 1, 2, 3, 1030), 29: (0x5450, 0x5451)},
}
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # machine -> what the kernel calls it

# name, number on x86_64, number on aarch64 (-: has none), from the kernel's unistd.h
_TABLE = """
read 0 63 | write 1 64 | open 2 - | openat 257 56 | close 3 57 | stat 4 - | fstat 5 80 | lstat 6 - | lseek 8 62
newfstatat 262 79 | statx 332 291 | pread64 17 67 | pwrite64 18 68 | readv 19 65 | writev 20 66 | sendfile 40 71
copy_file_range 326 285 | access 21 - | faccessat 269 48 | faccessat2 439 439 | readlink 89 - | readlinkat 267 78
getdents 78 - | getdents64 217 61 | getcwd 79 17 | chdir 80 49 | fchdir 81 50 | umask 95 166 | dup 32 23 | dup2 33 -
dup3 292 24 | pipe 22 - | pipe2 293 59 | flock 73 32 | close_range 436 436 | fsync 74 82 | fdatasync 75 83
truncate 76 45 | ftruncate 77 46 | rename 82 - | renameat 264 38 | renameat2 316 276 | mkdir 83 - | mkdirat 258 34
rmdir 84 - | creat 85 - | link 86 - | linkat 265 37 | unlink 87 - | unlinkat 263 35 | symlink 88 - | symlinkat 266 36
chmod 90 - | fchmod 91 52 | fchmodat 268 53 | utimensat 280 88 | statfs 137 43 | fstatfs 138 44
listxattr 194 11 | llistxattr 195 12
mmap 9 222 | munmap 11 215 | mremap 25 216 | mprotect 10 226 | madvise 28 233 | brk 12 214 | futex 202 98
set_robust_list 273 99 | set_tid_address 218 96 | rseq 334 293 | sigaltstack 131 132 | rt_sigaction 13 134
rt_sigprocmask 14 135 | rt_sigreturn 15 139 | restart_syscall 219 128 | alarm 37 - | getitimer 36 102
setitimer 38 103 | poll 7 - | ppoll 271 73 | select 23 - | pselect6 270 72 | sched_yield 24 124
sched_getaffinity 204 123 | nanosleep 35 101 | clock_nanosleep 230 115 | clock_gettime 228 113 | clock_getres 229 114
gettimeofday 96 169 | time 201 - | times 100 153 | getrandom 318 278 | getrusage 98 165 | getrlimit 97 163
getpid 39 172 | getppid 110 173 | gettid 186 178 | getpgrp 111 - | getuid 102 174 | geteuid 107 175 | getgid 104 176
getegid 108 177 | uname 63 160 | exit 60 93 | exit_group 231 94
"""


def allowed(machine: str) -> list[int]:
    """Numbers of the calls that are allowed on x86_64 or aarch64."""
    column = list(AUDIT).index(machine) + 1
    numbers = [entry.split()[column] for line in _TABLE.split("\n") if line for entry in line.split("|")]
    return [int(number) for number in numbers if number != "-"]
