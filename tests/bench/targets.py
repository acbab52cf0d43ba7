#!/usr/bin/env python3
"""What it costs to bring a release to a target and to check it there, each beside a stock tool on the same tree and sshd.

    tests/bench/targets.py prepare [COPIES]      once: a site of COPIES times Debian's linux-doc (15,000 files each; 7, the default,
                                                 are over 100,000), signed and brought to a target of each kit
    tests/bench/targets.py measure [WHAT...]     local, tar-ssh, rsync-ssh: one changed file, from force to confirmed;
                                                 signs: how long they take while releases are cut; verify. Without a name: all
    tests/bench/targets.py first [KIT...]        a first push to a new receiver, beside tar through ssh

What was prepared is kept in $PLACE (/var/tmp/drydock-targets) and used again. Runs as an ordinary user; programs as in
tests/lib/drydock.py. Prints a row for each figure; nothing here is a test.
"""
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))
sys.path.insert(0, str(TOP / "tests" / "kits"))
from drydock import Drydock, program  # noqa: E402
from test_ssh import Production, user_name  # noqa: E402

TREE = "/usr/share/doc/linux-doc-6.1"
PLACE = pathlib.Path(os.environ.get("PLACE", "/var/tmp/drydock-targets"))
N = int(os.environ.get("N", "7"))
SSH_KITS = ("tar-ssh", "rsync-ssh")
HEADER = "| what | peer | DryDock | peer | ratio | limit | met |\n|---|---|---|---|---|---|---|"


def met(good):
    return "yes" if good else "**no**"


def row(name, ours, peer_name, theirs, limit):
    ratio = ours / theirs
    print(f"| {name} | {peer_name} | {ours * 1000:,.0f} ms | {theirs * 1000:,.0f} ms | {ratio:.3f} | ≤ {limit} | {met(ratio <= limit)} |", flush=True)


def timed(fn):
    start = time.perf_counter()
    fn()
    return time.perf_counter() - start


def sh(command):
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Largest(threading.Thread):
    """The largest memory of any process of drydock-receive. Looked for until it is found: to read all of /proc costs what is measured."""

    def __init__(self, state):
        super().__init__(daemon=True)
        self.state, self.kib, self.over = str(state), 0, threading.Event()

    def receiver(self):
        for entry in pathlib.Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and self.state in (line := (entry / "cmdline").read_text()) and line.split("\0")[0].endswith("drydock-receive"):
                    return entry / "status"
            except OSError:
                continue
        return None

    def run(self):
        found = None
        while not self.over.wait(0.005):
            found = found or self.receiver()
            try:
                if found:
                    self.kib = max([self.kib] + [int(s.split()[1]) for s in found.read_text().splitlines() if s.startswith("VmHWM")])
            except OSError:
                found = None

    def end(self, kit):
        self.over.set()
        self.join()
        print(f"| memory of the receiver, {kit} | | {self.kib // 1024} MiB | | | at most 64 MB | {met(self.kib < 64000)} |", flush=True)


def settle(d):
    """Until nothing runs and nothing waits."""
    while (now := d.must("GET", d.api_site("/sync")))["running"] or now["because"] in ("forced", "retry"):
        time.sleep(0.005)
    return now


def confirmed(d):
    """Force, and wait until the only target has confirmed what that run sent. To ask costs what is measured: seldom, where it takes long."""
    begun = time.monotonic()
    before = d.must("GET", d.api_site("/sync"))["run"]
    d.must("POST", d.api_site("/sync/force"), {"reason": "bench"})
    while True:
        now = d.must("GET", d.api_site("/sync"))
        t = now["targets"][0]
        if now["run"] > before and not now["running"] and t["state"] == "confirmed" and t["release"] == now["release"]:
            return
        if now["run"] > before and t["state"] in ("failed", "unconfirmed", "sent"):
            raise RuntimeError(d.must("GET", d.api_site("/sync/runs"))["items"][0]["message"])
        time.sleep(max(0.002, (time.monotonic() - begun) / 100))


class Machine(Production):
    """A receiver, and on the same sshd a second key that stock tools may use."""

    def bind(self, before=""):
        super().bind(before)
        self.other = self.dir / "other"
        if not self.other.exists():
            self.d.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.other)
        with (self.dir / "authorized_keys").open("a") as keys:
            keys.write("\n" + self.other.with_suffix(".pub").read_text())

    @property
    def ssh(self):
        return f"ssh -F none -o IdentitiesOnly=yes -o UserKnownHostsFile={self.dir}/known_hosts -o LogLevel=ERROR -i {self.other} -p {self.port}"

    @property
    def host(self):
        return f"{user_name(self.d)}@127.0.0.1"


class World:
    """The site that is kept, with the target of one kit. No clock: only what is forced is sent."""

    def __init__(self, kit, machine=None):
        self.kit = kit
        self.d = d = Drydock(staging=PLACE / "staging", accounts=(), start=False, keep=PLACE / "server", quiet_period="24h",
                             site_config='\n\tlongest_interval = "24h"')
        self.machine = Machine(d, machine or kit) if kit in SSH_KITS else None
        self.copy = PLACE / (machine or "copy")
        base = d.dir / "base.conf"
        if not base.exists():
            shutil.copy(d.conf, base)
        text = base.read_text()
        if self.machine:
            text = text[:text.index("\ttarget ")] + self.machine.target(user_name(d), kit=kit).replace('"machine"', f'"{machine or kit}"') + "}\n"
        d.conf.write_text(text)
        try:
            d._start_on_free_ports()
        except BaseException:
            self.close()
            raise

    def close(self):
        if self.machine:
            self.machine.stop()
        self.d.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def peer(self):
        to, by = (f"{self.machine.host}:{self.copy}/", f"-e '{self.machine.ssh}'") if self.machine else (f"{self.copy}/", "")
        sh(f"rsync -a --delete {by} {self.d.staging}/ {to}")


def first_push(w, copy):
    """Ours goes first: the peer finds the pages in memory that ours had to read."""
    memory = Largest(w.machine.state)
    memory.start()
    ours = timed(lambda: confirmed(w.d))
    memory.end(f"first push, {w.kit}")
    theirs = timed(lambda: sh(f"mkdir {copy} && tar -C {w.d.staging} -c . | {w.machine.ssh} {w.machine.host} tar -C {copy} -x && sync -f {copy}"))
    row(f"first push, {w.kit}", ours, "tar \\| ssh tar, sync", theirs, 1.3)


def prepare(copies):
    if (PLACE / "ready").exists():
        sys.exit(f"{PLACE} is prepared already: remove it first")
    staging = PLACE / "staging"
    for i in range(copies):
        sh(f"mkdir -p {staging} && cp -rL {TREE} {staging}/{i} && chmod -R u+w {staging}")
    sh(f"cp -a {staging} {PLACE}/copy")
    with World("local") as w:
        print(f"signed in {timed(lambda: w.d.sign('/', recursive=True)):.1f} s", flush=True)
        while w.d.must("GET", w.d.api_site("/sync"))["export_behind"]:
            time.sleep(0.1)
        print(f"first push, local: {timed(lambda: confirmed(w.d)):.1f} s", flush=True)
    for kit in SSH_KITS:
        with World(kit) as w:
            print(f"first push, {kit}: {timed(lambda: confirmed(w.d)):.1f} s", flush=True)
    (PLACE / "ready").write_text("")


def one_file(w):
    """One changed file, alternating with the peer, after a round that counts for neither."""
    d = w.d
    page = sorted(f.relative_to(d.staging) for f in (d.staging / "0").rglob("*.html"))[0]
    memory = Largest(w.machine.state) if w.machine else None
    ours, theirs = [], []
    for i in range(N + 1):
        (d.staging / page).write_text(f"change {time.monotonic_ns()}")
        theirs.append(timed(w.peer))
        d.sign(f"/{page}")
        settle(d)
        if memory and i == N:
            memory.start()  # its looks would be measured too
        ours.append(timed(lambda: confirmed(d)))
    if memory:
        memory.end(w.kit)
        ours.pop()
    row(f"force to confirmed, one changed file, {w.kit}", statistics.median(ours[1:]), "rsync -a --delete" + (" -e ssh" if w.machine else ""),
        statistics.median(theirs[1:]), 0.3 if w.machine else 0.1)
    print("  ours " + " ".join(f"{t * 1000:.0f}" for t in ours) + " ms; peer " + " ".join(f"{t * 1000:.0f}" for t in theirs) + " ms", file=sys.stderr)


def verify(name, fn, place):
    fn()
    peer = min(timed(lambda: sh(f"find {place}/ -type f -print0 | xargs -0 sha256sum")) for _ in range(2))
    row(name, min(timed(fn) for _ in range(2)), "sha256sum of the files", peer, 1.3)


def release_verify(d):
    r = d.cli("release", "verify", str(d.must("GET", d.api_site("/sync"))["release"]))
    assert r.returncode == 0, r


def signs(d):
    """Signing goes on while releases are cut: the longest of many, beside those of a server that cuts none."""
    def one():
        d.write("/signed-meanwhile.html", f"{time.monotonic_ns()}")
        return timed(lambda: d.must("POST", d.api_site("/sign"), {"paths": ["/signed-meanwhile.html"], "as_staged": True}))

    over = threading.Event()

    def cut():
        while not over.is_set():
            d.must("POST", d.api_site("/sync/force"), {"reason": "bench"})
            while not over.is_set() and d.must("GET", d.api_site("/sync"))["because"] == "forced":
                time.sleep(0.005)

    one()
    idle = [one() for _ in range(200)]
    before = settle(d)["release"]
    t = threading.Thread(target=cut)
    t.start()
    busy = [one() for _ in range(400)]
    over.set()
    t.join()
    cuts = settle(d)["release"] - before
    longest, quiet = max(busy) * 1000, max(idle) * 1000
    print(f"| the longest of {len(busy)} signs while {cuts} releases were cut | the longest of {len(idle)} when idle | {longest:.0f} ms (median "
          f"{statistics.median(busy) * 1000:.1f}) | {quiet:.0f} ms (median {statistics.median(idle) * 1000:.1f}) | | at most 50 ms more | "
          f"{met(longest - quiet <= 50)} |", flush=True)


def measure(what):
    print(HEADER, flush=True)
    for kit in ("local",) + SSH_KITS:
        if kit in what:
            with World(kit) as w:
                one_file(w)
                if kit == "tar-ssh" and "verify" in what:
                    verify("drydock-receive verify", lambda: w.d.run(program("drydock-receive"), "verify", w.machine.state), w.machine.state / "live/")
    if "signs" in what or "verify" in what:
        with World("local") as w:
            if "signs" in what:
                signs(w.d)
            if "verify" in what:
                confirmed(w.d)
                verify("drydock release verify", lambda: release_verify(w.d), w.d.production)


def first(kits):
    """What was made is removed when all is measured: for six minutes after that new files are slow on ext4 (doc/bench.md)."""
    print(HEADER, flush=True)
    made = []
    try:
        for kit in kits:
            name = f"first-{kit}-{time.time_ns()}"
            made += [PLACE / "server" / name, PLACE / f"copy-{name}"]
            with World(kit, name) as w:
                first_push(w, made[-1])
    finally:
        for place in made:
            shutil.rmtree(place, ignore_errors=True)


def main():
    command, rest = (sys.argv + [""])[1], sys.argv[2:]
    if command == "prepare":
        prepare(int(rest[0]) if rest else 7)
    elif command == "measure":
        measure(rest or ["local", *SSH_KITS, "signs", "verify"])
    elif command == "first":
        first(rest or SSH_KITS)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
