"""Kits that misbehave, thirty and more of them as targets of one site, in one run: each is told apart and named, production
and the export stay as they are, and nothing of them runs on."""
import os
import pathlib
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))

from drydock import Drydock  # noqa: E402
from waiting import until  # noqa: E402

PAGES = {"/index.html": "<h1>one</h1>", "/docs/a.html": "a", "/docs/b.html": "b"}
SH = "#!/bin/sh\n"
PY = f"#!{sys.executable}\n"
UNCONFIRMED, FAILED = "unconfirmed", "failed"

# name: (text of the kit, state afterwards, words of the message)
KITS = {
    "exit-1": (SH + "exit 1\n", FAILED, "the kit ended with status 1"),
    "exit-255": (SH + "exit 255\n", FAILED, "status 255"),
    "exit-after-sending": (SH + 'cp -a "$DRYDOCK_EXPORT/." "$DRYDOCK_PLACE/"; exit 1\n', FAILED, "status 1"),
    "term-self": (SH + "kill -TERM $$\n", FAILED, "ended by signal 15"),
    "kill-self": (SH + "kill -KILL $$\n", FAILED, "ended by signal 9"),
    "segv-self": (SH + "kill -SEGV $$\n", FAILED, "ended by signal 11"),
    "kill-group": (SH + "kill -KILL 0\n", FAILED, "ended by signal 9"),
    "hang": (SH + "sleep 300\n", FAILED, "longer than 2 s"),
    "hang-deaf": (SH + 'trap "" TERM HUP INT\nwhile :; do sleep 1; done\n', FAILED, "longer than 2 s"),
    "spin": (SH + "while :; do :; done\n", FAILED, "longer than 2 s"),
    "stop-self": (SH + "kill -STOP $$\n", FAILED, "longer than 2 s"),
    "read-input": (SH + "cat; exit 3\n", FAILED, "status 3"),
    "fork-and-leave": (SH + "sleep 300 & exit 0\n", UNCONFIRMED, ""),
    "exit-0-without-sending": (SH + "exit 0\n", UNCONFIRMED, ""),
    "fork-and-fail": (SH + "sleep 300 & exit 4\n", FAILED, "status 4"),
    "leave-in-own-group": (SH + "timeout 300 sleep 250 & sleep 0.2; exit 24\n", FAILED, "status 24"),
    "leave-with-output": (PY + "import os, time\nif os.fork() == 0:\n    os.setsid()\n    while True:\n        print('still here', flush=True)\n"
                               "        time.sleep(0.1)\nos._exit(5)\n", FAILED, "status 5"),
    "leave-in-own-session": (PY + "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(300)\n    os._exit(0)\n"
                                  "os._exit(6)\n", FAILED, "status 6"),
    "flood": (SH + "timeout 1 yes 'a line of nothing'; exit 7\n", FAILED, "status 7"),
    "flood-one-line": (SH + "head -c 100000000 /dev/zero | tr '\\0' x; exit 8\n", FAILED, "status 8"),
    "flood-errors": (SH + "head -c 100000000 /dev/zero >&2; exit 9\n", FAILED, "status 9"),
    "flood-for-ever": (SH + "exec yes\n", FAILED, "longer than 2 s"),
    "binary": (SH + "head -c 100000 /dev/urandom; printf '\\033]0;title\\007'; exit 10\n", FAILED, "status 10"),
    "broken-json": (SH + """echo '{"error":'; echo '{"error":7}'; echo '{{{'; exit 11\n""", FAILED, "status 11"),
    "deep-json": (PY + "import sys\nprint('{\"error\":' * 600)\nsys.exit(12)\n", FAILED, "status 12"),
    "long-error": (PY + "import sys\nprint('{\"error\":\"' + 'x' * 3000 + '\"}')\nsys.exit(13)\n", FAILED, "xxxxxxxx"),
    "hostile-error": (SH + """printf '{"error":"<script>alert(1)</script>\\\\u001b[31m\\\\n; rm -rf /"}\\n'; exit 14\n""", FAILED, "<script>"),
    "says-it-is-well": (SH + """echo '{"result":{"added":3}}'; echo '{"done":3,"total":3}'; exit 15\n""", FAILED, "status 15"),
    "writes-export": (SH + 'echo evil >"$DRYDOCK_EXPORT/index.html" || exit 16\n', FAILED, "status 16"),
    "writes-beside": (SH + 'echo evil >"$DRYDOCK_PLACE/../production/evil.html" || exit 17\n', FAILED, "status 17"),
    "removes-export": (SH + 'rm -rf "$DRYDOCK_EXPORT"/* || exit 18\n', FAILED, "status 18"),
    "reads-key": (SH + 'cat "$DRYDOCK_EXPORT/../../../node.key" "$HOME/../../../../node.key" || exit 19\n', FAILED, "status 19"),
    "kills-daemon": (SH + "kill -KILL $PPID; exit 20\n", FAILED, "status 20"),
    "signals-everybody": (SH + "kill -0 -1 && exit 1; exit 25\n", FAILED, "status 25"),
    "kills-database": (SH + '. "${0%/*}/pids"\nfor p in $PIDS; do for s in TERM KILL STOP; do kill -$s $p; kill -$s -$p; done; done; exit 26\n', FAILED, "status 26"),
    "kills-database-otherwise": (PY + """
import ctypes, fcntl, os, pathlib, resource, signal, struct, sys
SIGQUEUEINFO, TKILL, TGKILL, TGSIGQUEUEINFO, IOPRIO_SET = ((129, 200, 234, 297, 251) if os.uname().machine == "x86_64" else (138, 130, 131, 240, 30))
libc, KILL = ctypes.CDLL(None, use_errno=True), signal.SIGKILL
pids = [int(p) for p in pathlib.Path(sys.argv[0]).with_name("pids").read_text().strip().split("=")[1].strip("'").split()]
got = []

def call(*args):
    if libc.syscall(*args) < 0:
        raise OSError(ctypes.get_errno(), "")

def by_descriptor(p, owner):
    ours, theirs = os.pipe()
    owner(ours, p)
    fcntl.fcntl(ours, fcntl.F_SETSIG, KILL)
    fcntl.fcntl(ours, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    os.write(theirs, b"x")

info = struct.pack("iii", KILL, 0, -1).ljust(128, bytes(1))
for p in pids:
    for name, way in {
        "tkill": lambda: call(TKILL, p, KILL),
        "tgkill": lambda: call(TGKILL, p, p, KILL),
        "sigqueue": lambda: call(SIGQUEUEINFO, p, KILL, info),
        "tgsigqueue": lambda: call(TGSIGQUEUEINFO, p, p, KILL, info),
        "pidfd": lambda: signal.pidfd_send_signal(os.pidfd_open(p), KILL),
        "proc": lambda: signal.pidfd_send_signal(os.open(f"/proc/{p}", os.O_RDONLY | os.O_DIRECTORY), KILL),
        "setown": lambda: by_descriptor(p, lambda fd, p: fcntl.fcntl(fd, fcntl.F_SETOWN, p)),
        "setown_ex": lambda: by_descriptor(p, lambda fd, p: fcntl.fcntl(fd, 15, struct.pack("ii", 1, p))),
        "fiosetown": lambda: by_descriptor(p, lambda fd, p: fcntl.ioctl(fd, 0x8901, struct.pack("i", p))),
        "prlimit": lambda: resource.prlimit(p, resource.RLIMIT_CPU, (1, 1)),
        "affinity": lambda: os.sched_setaffinity(p, {0}),
        "scheduler": lambda: os.sched_setscheduler(p, os.SCHED_IDLE, os.sched_param(0)),
        "priority": lambda: os.setpriority(os.PRIO_PROCESS, p, 19),
        "priority of user": lambda: os.setpriority(os.PRIO_USER, os.getuid(), 19),
        "io priority": lambda: call(IOPRIO_SET, 1, p, 3 << 13),
    }.items():
        try:
            way()
            got.append((name, p))
        except OSError:
            pass
print("got through:", got)
sys.exit(1 if got else 27)
""", FAILED, "status 27"),
    # What is its own it may end: no refusal here.
    "ends-its-own": (PY + """
import os, resource, signal, subprocess, sys
a = subprocess.Popen(["sleep", "300"])
os.kill(a.pid, 0)
os.setpriority(os.PRIO_PROCESS, a.pid, 5)
resource.prlimit(a.pid, resource.RLIMIT_CORE, (0, 0))
a.terminate()
assert a.wait() == -signal.SIGTERM
b = subprocess.Popen(["sleep", "300"], process_group=0)
os.killpg(b.pid, signal.SIGINT)
assert b.wait() == -signal.SIGINT
assert subprocess.run(["timeout", "0.1", "sleep", "300"]).returncode == 124
assert subprocess.run(["nice", "-n", "3", "true"]).returncode == 0
try:
    os.kill(b.pid, 0)
except ProcessLookupError:
    os._exit(28)
""", FAILED, "status 28"),
    "fills-memory": (PY + "import sys\ntry:\n    x = bytearray(1 << 40)\nexcept MemoryError:\n    sys.exit(21)\n", FAILED, "status 21"),
    "closes-all": (PY + "import os\nos.closerange(0, 256)\nos._exit(22)\n", FAILED, "status 22"),
    "no-interpreter": ("#!/no/such/program\n", FAILED, ""),
    "no-header": ("\x7fELF but not quite", FAILED, ""),
    "empty": ("", FAILED, ""),
    "removes-itself": (SH + 'rm -f "$0"; exit 23\n', FAILED, "status 23"),
}
assert len([name for name in KITS if name != "ends-its-own"]) >= 30


def can_be_asked():
    """Does the kernel ask the daemon about a kit's signals? Not where something outside listens already, such as a container:
    then a kit ends nobody, its own children neither."""
    probe = """
import ctypes, os, struct, sys
libc, allow = ctypes.CDLL(None), ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x7fff0000))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 1, ctypes.addressof(allow)))
libc.prctl(38, 1, 0, 0, 0)
sys.exit(libc.syscall(317 if os.uname().machine == "x86_64" else 277, 1, 8, program) < 0)
"""
    return subprocess.run([sys.executable, "-c", probe]).returncode == 0


def running(of):
    """Processes that carry this directory in their arguments or their environment."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if b"DRYDOCK_PLACE=" + of in pathlib.Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pathlib.Path(f"/proc/{pid}/cmdline").read_bytes())
        except OSError:
            pass
    return found


def test_each_is_named_and_nothing_is_touched():
    with Drydock(files=PAGES, accounts=(), start=False) as d:
        kits = d.dir / "kits"
        kits.mkdir()
        text = d.conf.read_text().rstrip()
        assert text.endswith("}")
        text = f'kits = "{kits}"\n' + text[:-1]
        for name, (source, _, why) in KITS.items():
            (kits / name).write_text(source)
            (kits / name).chmod(0o755)
            place = d.dir / f"place-{name}"
            place.mkdir()
            d._own(place)
            text += f'\ttarget "{name}" {{\n\t\tkit = "{name}"\n\t\tplace = "{place}"\n\t\tdeadline = "{2 if "longer" in why else 60}s"\n\t}}\n'
        (kits / "directory").mkdir()
        text += f'\ttarget "directory" {{\n\t\tkit = "directory"\n\t\tplace = "{d.dir}/kits/directory"\n\t}}\n'
        d.conf.write_text(text + "}\n")
        d.start()
        others = [d.process.pid, d.database_pid()]
        daemons = [int(p) for p in pathlib.Path(f"/proc/{d.process.pid}/task/{d.process.pid}/children").read_text().split()]
        (kits / "pids").write_text(f"PIDS='{' '.join(map(str, [*others, *daemons]))}'\n")
        d.sign("/", recursive=True)
        before = d.tree(d.data / "sites" / "www" / "export") if (d.data / "sites" / "www" / "export").exists() else None
        run = d.sync(state="failed", wait=90)
        # The run at the start may have brought it to those that are well already.
        states = {t["name"]: t["state"] for t in d.must("GET", d.api_site("/sync"))["targets"]}
        wrong = [(name, states[name], why) for name, (_, state, why) in KITS.items() if states[name] != state]
        assert not wrong, wrong
        assert states["production"] == "confirmed" and states["directory"] == "failed"
        log = d.log()
        lines = {name: next(x for x in log.splitlines() if f"target={name} " in x and "sync.target." in x) for name in KITS}
        expected = {name: why for name, (_, _, why) in KITS.items()}
        if not can_be_asked():
            expected.update({name: "status 1" for name in ("ends-its-own", "kill-self", "term-self", "segv-self", "stop-self")})
        wrong = [lines[name] for name, why in expected.items() if why not in lines[name]]
        assert not wrong, wrong
        # What this kernel has to keep kits in is told at the start; what follows needs it.
        assert "event=kits.confined" in log and "processes=yes" in log
        # Nobody else was ended, or is asleep.
        assert d.process.poll() is None and d.database_pid() == others[1]
        for pid in [*others, *daemons]:
            assert pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "SRD"
        # The site is as it was: production has what was signed, the export too, and the server serves.
        assert d.live() == {path: content.encode() for path, content in PAGES.items()}
        if before is not None:
            assert d.tree(d.data / "sites" / "www" / "export") == before
        assert d.must("GET", d.api_site("/sync"))["release"] == 1
        for t in run["targets"]:
            assert len(t["output"].encode()) <= 300 * 1024
        assert "\x1b" not in "".join(t["output"] for t in run["targets"])
        until(lambda: not running(os.fsencode(d.dir)), 10, lambda: running(os.fsencode(d.dir)))
        check = d.run(pathlib.Path(d.argv()[0]), "fsck", "--data", d.data, check=False)
        assert check.returncode == 0, check.stdout


def test_a_kit_ends_with_the_daemon():
    """A daemon that is killed leaves no kit behind that would work at a place beside the next one's."""
    with Drydock(files=PAGES, accounts=(), start=False) as d:
        kits = d.dir / "kits"
        kits.mkdir()
        (kits / "long").write_text(SH + 'echo "$$" >"$DRYDOCK_PLACE/pid"\nwhile :; do sleep 0.1; done\n')
        (kits / "long").chmod(0o755)
        place = d.dir / "place"
        place.mkdir()
        d._own(place)
        text = d.conf.read_text().rstrip()
        d.conf.write_text(f'kits = "{kits}"\n{text[:-1]}\ttarget "long" {{\n\t\tkit = "long"\n\t\tplace = "{place}"\n\t}}\n}}\n')
        d.start()
        d.sign("/index.html")
        d.must("POST", d.api_site("/sync/force"), {"reason": "a test"})
        pid = int(until(lambda: (place / "pid").exists() and (place / "pid").read_text()))
        d.kill()
        until(lambda: not pathlib.Path(f"/proc/{pid}").exists(), 30)
