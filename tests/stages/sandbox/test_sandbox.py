"""The sandbox: what runs in it cannot read, write, call, start or outlive anything; what it says is what it found."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.errors import EngineError
from stages.judges.workers import Program, Worker
from stages.sandbox import sandbox
from stages.sandbox.limits import Limits
from stages.sandbox.sandbox import Outcome, run_python

ROOT = Path(__file__).resolve().parents[3]
QUICK = Limits(cpu_s=1, wall_s=1.5, memory_mb=128, scratch_mb=4, output_bytes=10_000)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux system calls")

# Walls taken away, as systems do that do not have them.
WITHOUT = {
    "nothing": "",
    "namespaces": "import stages.sandbox.namespaces as n; n.Namespaces.enter = lambda self, readable: None; ",
    "landlock": "import stages.sandbox.rules as r; r.landlock_version = lambda: 0; ",
    "seccomp": "import stages.sandbox.rules as r; r.has_seccomp = lambda: False; ",
}


def program(patch: str) -> Program:
    *command, start, root = sandbox._SANDBOX.command
    head, main = start.split("from stages.sandbox.worker")
    return Program((*command, f"{head}{patch}from stages.sandbox.worker{main}", root), sandbox._SANDBOX.environment)


@pytest.fixture(scope="module", params=WITHOUT)
def worker(request: pytest.FixtureRequest) -> Iterator[Worker]:
    """A sandbox process that lacks a wall; whatever was tried in it, it must be as new at the end."""
    found = Worker(program(WITHOUT[request.param]))
    first = found.ask(QUICK.wall_s, list(QUICK), "1", None, [])
    if first is not None and "refused" in first:
        found.stop()
        pytest.skip(f"here, without {request.param}, {first['refused']}")
    yield found
    last = ask(found, "print('as new')")
    assert last.output == "as new\n"
    assert found.process is not None
    assert len(psutil.Process(found.process.pid).children(recursive=True)) == int("processes" in last.walls)
    found.stop()


def ask(worker: Worker, code: str, limits: Limits = QUICK) -> Outcome:
    reply = worker.ask(limits.wall_s, list(limits), code, None, [])
    assert reply is not None, "the sandbox process itself ended"
    return Outcome(reply["status"], reply["output"], reply.get("json"), reply.get("detail", ""), tuple(reply["walls"]))


ESCAPES = {
    "loopback": "import socket as s; l = s.create_server(('127.0.0.1', 0)); s.create_connection(l.getsockname(), 1)",
    "datagram": "import socket as s; s.socket(s.AF_INET, s.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
    "abstract socket": "import socket as s; s.socket(s.AF_UNIX).bind('\\0prefsynth')",
    "passwd": "open('/etc/passwd').read()",
    "project": f"open({str(ROOT / 'pyproject.toml')!r}).read()",
    "list the project": f"import os; os.listdir({str(ROOT)!r})",
    "site packages": f"import os; assert os.listdir({os.path.dirname(pytest.__file__)!r})",
    "climb up": "import os; os.chdir('/'); open('etc/passwd').read()",
    "symbolic link": "import os; os.symlink('/etc/passwd', 'link'); open('link').read()",
    "link to a folder": "import os; os.symlink('/', 'up'); open('up/etc/passwd').read()",
    "hard link": "import os; os.link('/etc/passwd', 'hard'); open('hard').read()",
    "write outside": "open('/tmp/prefsynth-escape', 'x').write('x')",
    "write to the library": "import os; open(os.__file__, 'r+')",
    "other processes": "import os; assert any(p != str(os.getpid()) for p in os.listdir('/proc') if p.isdigit())",
    "own memory": "open('/proc/self/mem', 'rb')",
    "environment": "import os; assert os.environ",
    "fork": "import os; os.fork() or os._exit(0)",
    "program": "import os; os.execv('/bin/true', ['true'])",
    "subprocess": "import subprocess; subprocess.run(['/bin/true'], check=True)",
    "thread": "import threading; t = threading.Thread(target=print); t.start(); t.join()",
    "pidfd": "import os; os.pidfd_open(os.getppid() or 1)",
    "foreign descriptor": "import os; [os.fstat(n) for n in range(4, 99)]",
    "become root": "import os; os.setuid(0)",
    "raise limits": "import resource as r; r.setrlimit(r.RLIMIT_CPU, (9, 9))",
    "priority": "import os; os.nice(-5)",
}
# System call by number (x86_64), past everything that Python checks.
RAW = {
    "fork": "57", "clone": "56, 17, 0, 0, 0, 0", "socket": "41, 2, 1, 0", "unshare": "272, 0x10000000", "setns": "308, 0, 0",
    "ptrace": "101, 0, 0, 0, 0", "mount": "165, 0, 0, 0, 0, 0", "chroot": "161, b'.'", "bpf": "321, 0, 0, 0",
    "memory file": "319, b'x', 0", "io_uring": "425, 1, b' ' * 120", "forget the parent": "157, 1, 0, 0, 0, 0",
    "new session": "112", "signals of a file": "72, 0, 8, 1", "input of a terminal": "16, 0, 0x5412, b'x'",
    "keys": "248, b'user', b'a', b'b', 1, -3", "userfaultfd": "323, 1",
}  # fmt: skip


# What is possible without seccomp, and what it comes to.
ONLY_SECCOMP = {
    "abstract socket", "socket",  # in a network of its own that has no device
    "pidfd", "ptrace", "new session", "unshare", "forget the parent", "signals of a file",  # of itself, the only process there
    "memory file", "io_uring", "keys", "userfaultfd",  # within its limits
}  # fmt: skip


@pytest.mark.parametrize("name", ESCAPES)
def test_an_escape_fails(worker: Worker, name: str) -> None:
    found = ask(worker, f"{ESCAPES[name]}\nprint('escaped')")
    if "seccomp" not in found.walls and name in ONLY_SECCOMP:
        assert {"network", "processes"} <= set(found.walls)
    else:
        assert (found.status, found.output, found.value) == ("error", "", None), found
    assert not Path("/tmp/prefsynth-escape").exists()


@pytest.mark.parametrize(
    "name", sorted(set(ESCAPES) - {"foreign descriptor", "become root", "priority", "write outside"})
)
def test_what_is_held_back_works_outside(name: str, tmp_path: Path) -> None:
    code = f"{ESCAPES[name].replace('(9, 9)', '(900, 900)')}\nprint('escaped')"
    outside = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    if name == "hard link" and "cross-device" in outside.stderr:
        pytest.skip("the temporary folder lies on another device")
    assert outside.stdout.endswith("escaped\n") or name == "program", outside.stderr


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86_64")
@pytest.mark.parametrize("name", RAW)
def test_a_raw_system_call_fails(worker: Worker, name: str) -> None:
    code = f"import ctypes\nr = ctypes.CDLL(None).syscall({RAW[name]})\nprint('escaped' if r >= 0 else 'held')"
    found = ask(worker, code)
    if "seccomp" not in found.walls and name in ONLY_SECCOMP:
        assert {"network", "processes"} <= set(found.walls)
    else:
        assert found.output == "held\n"


@pytest.mark.parametrize("target", ["os.getppid()", "-1", "1", "0"])
def test_no_signal_reaches_the_parent(worker: Worker, target: str) -> None:
    ask(worker, f"import os, ctypes\nctypes.CDLL(None).kill({target}, 9)\nos.kill({target}, 9)")
    assert ask(worker, "2 + 2").output == "4\n"


@pytest.mark.parametrize("worker", ["nothing", "namespaces"], indirect=True)
@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("while True: pass", "timeout"),
        ("import time; time.sleep(60)", "timeout"),
        ("10 ** 10 ** 9", "timeout"),
        ("import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass", "timeout"),
        ("try:\n    while True: pass\nfinally:\n    while True: pass", "timeout"),
        ("import os; os.close(1); os.close(3)\nwhile True: pass", "timeout"),
        ("x = bytearray(10 ** 9)", "limit"),
        ("x = []\nwhile True: x.append(bytes(10 ** 6))", "limit"),
        ("import mmap; mmap.mmap(-1, 10 ** 9)", "error"),
        ("while True: print('x' * 100)", "limit"),
        ("import os\nwhile True: os.write(2, b'x' * 100)", "limit"),
        ("with open('f', 'wb') as f:\n    while True: f.write(bytes(10 ** 6))", "error"),
        ("def f(): return f()\nf()", "error"),
        ("import os\nwhile True: os.fork()", "error"),
        ("import os\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        while True: pass", "error"),
        ("import ctypes; ctypes.string_at(0)", "error"),
        ("import os; os.abort()", "error"),
        ("import os; os._exit(0)", "error"),
        ("import os; os.write(3, b'{'); os._exit(0)", "error"),
        ("import os; os.write(3, b'ok true'); os.abort()", "error"),
        ("import os\nwhile True: os.write(3, b'x' * 100)", "limit"),
        ("raise SystemExit(2)", "error"),
        ("(" * 5000, "error"),
        ("x = '\\0", "error"),
    ],
)
def test_a_text_that_exceeds_or_breaks_something_has_a_status_and_no_value(
    worker: Worker, code: str, status: str
) -> None:
    found = ask(worker, code)
    assert (found.status, found.value) == (status, None), found
    assert found.detail
    assert len(found.output) <= QUICK.output_bytes


@pytest.mark.parametrize("worker", ["nothing"], indirect=True)
def test_all_files_of_a_call_share_one_limit_and_end_with_it(worker: Worker) -> None:
    if "files" not in ask(worker, "1").walls:
        pytest.skip("without namespaces each file has the limit")
    many = "for i in range(9):\n    with open(str(i), 'wb') as f: f.write(bytes(10 ** 6))"
    assert "No space left" in ask(worker, many).detail
    assert ask(worker, "import os; os.listdir('.')").output == "[]\n"


async def test_what_is_printed_and_returned_comes_back() -> None:
    found = await run_python("import math\nprint('é', math.pi)\n{'a': 6 * 7}")
    assert (found.status, found.output, found.value) == ("ok", "é 3.141592653589793\n{'a': 42}\n", None)
    assert set(found.walls) >= {"seccomp"} or set(found.walls) >= {"network"}
    checker = "def evaluate(text, n):\n    return len(text.split()) == n"
    assert [(await run_python(checker, function="evaluate", arguments=("a b", n))).value for n in (2, 3)] == [
        True,
        False,
    ]


async def test_the_scratch_folder_is_a_folder_like_any_other() -> None:
    code = """
import os, pathlib, shutil, tempfile
with tempfile.NamedTemporaryFile("w+") as file, tempfile.TemporaryDirectory() as folder:
    file.write("kept")
    file.seek(0)
    path = pathlib.Path(folder) / "a" / "b.txt"
    path.parent.mkdir()
    path.write_text(file.read())
    shutil.copytree(folder, "copy")
os.rename("copy/a/b.txt", "c.txt")
print(open("c.txt").read(), sorted(os.listdir(".")))
"""
    assert (await run_python(code)).output == "kept ['c.txt', 'copy']\n"


@pytest.mark.parametrize(
    ("code", "detail"),
    [
        ("def evaluate(text):\n    return text + 1", "line 2: TypeError: can only concatenate"),
        ("def evaluate(text):\n    return {1}", "not JSON serializable"),
        ("def evaluate(text):\n    return float('nan')", "not JSON compliant"),
        ("x = 1", "KeyError: 'evaluate'"),
        ("def evaluate(text):\n    raise SystemExit", "SystemExit"),
        ("def evaluate(", "SyntaxError"),
    ],
)
async def test_a_checker_that_fails_has_no_value(code: str, detail: str) -> None:
    found = await run_python(code, QUICK, function="evaluate", arguments=("a",))
    assert (found.status, found.value) == ("error", None)
    assert detail in found.detail


@pytest.mark.parametrize("forged", ["ok [", "ok " + "[" * 90_000, "ok", "yes true", "ok nan true", "\\xff"])
async def test_a_value_that_is_no_json_is_an_error(forged: str) -> None:
    found = await run_python(f"import os\nos.write(3, {forged.encode()!r})\nos._exit(0)", QUICK)
    assert (found.status, found.value) == ("error", None)


async def test_nothing_is_left_of_an_earlier_call_and_chance_repeats() -> None:
    await run_python("import builtins, random\nbuiltins.left = 1\nopen('left', 'w').write('x')\nrandom.seed(5)")
    code = "import builtins, os, random\n(hasattr(builtins, 'left'), os.listdir('.'), random.random(), {'a', 'b', 'c'})"
    first, second = await run_python(code), await run_python(code)
    assert first.output.startswith("(False, [], 0.844")
    assert first == second


async def test_code_beyond_all_size_is_not_run() -> None:
    assert (await run_python("#" * 100_001)).status == "limit"


@pytest.mark.parametrize("lacking", [("namespaces", "landlock"), ("namespaces", "seccomp")])
async def test_a_system_without_walls_runs_nothing(lacking: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_SANDBOX", program("".join(WITHOUT[name] for name in lacking)))
    with pytest.raises(EngineError, match="cannot run Python in isolation"):
        await run_python("1")


def test_a_sandbox_ends_with_its_parent_whatever_runs_in_it() -> None:
    code = (
        "import asyncio; from stages.sandbox.sandbox import run_python\n"
        "async def main():\n"
        "    await run_python('1', workers=1)\n"
        "    print('started', flush=True)\n"
        "    await run_python('while True: pass', workers=1)\n"
        "asyncio.run(main())"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "started\n"
    handles: dict[int, Any] = {}
    while len(handles) < 2:
        below = psutil.Process(parent.pid).children(recursive=True)
        handles = {child.pid: os.pidfd_open(child.pid) for child in below if child.is_running()}
    with parent:
        parent.kill()
    for handle in handles.values():
        assert select.select([handle], [], [], 60)[0]
        os.close(handle)
