#!/usr/bin/env python3
"""What it costs to bring a release to a target and to check it there, each beside a stock tool on the same tree and sshd.

    tests/bench/targets.py [COPIES]

The tree is COPIES times Debian's linux-doc (15,000 files each; 7 are over 100,000). Runs as an ordinary user; programs as in
tests/lib/drydock.py. Prints a row for each figure; nothing here is a test.
"""
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))
sys.path.insert(0, str(TOP / "tests" / "kits"))
from drydock import Drydock, program  # noqa: E402
from test_ssh import Production, user_name  # noqa: E402

TREE = "/usr/share/doc/linux-doc-6.1"
N = int(os.environ.get("N", "5"))


def row(name, ours, peer_name, theirs, limit):
    ratio = ours / theirs
    print(f"| {name} | {peer_name} | {ours * 1000:,.0f} ms | {theirs * 1000:,.0f} ms | {ratio:.3f} | ≤ {limit} | {'yes' if ratio <= limit else '**no**'} |", flush=True)


def timed(fn):
    start = time.perf_counter()
    fn()
    return time.perf_counter() - start


def sh(command):
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Largest(threading.Thread):
    """The largest memory of any process of drydock-receive."""

    def __init__(self, state):
        super().__init__(daemon=True)
        self.state, self.kib, self.over = str(state), 0, threading.Event()

    def run(self):
        while not self.over.wait(0.005):
            for entry in pathlib.Path("/proc").iterdir():
                try:
                    if entry.name.isdigit() and self.state in (line := (entry / "cmdline").read_text()) and line.split("\0")[0].endswith("drydock-receive"):
                        self.kib = max([self.kib] + [int(s.split()[1]) for s in (entry / "status").read_text().splitlines() if s.startswith("VmHWM")])
                except OSError:
                    continue


def confirmed(d, number=None):
    """Force, and wait until the only target has confirmed it."""
    d.must("POST", d.api_site("/sync/force"), {"reason": "bench"})
    while True:
        now = d.must("GET", d.api_site("/sync"))
        t = now["targets"][0]
        if t["state"] == "confirmed" and t["release"] == now["release"] and not now["running"] and not now["pending_since"]:
            return
        if t["state"] in ("failed", "unconfirmed", "sent"):
            raise RuntimeError(d.must("GET", d.api_site("/sync/runs"))["items"][0]["message"])
        time.sleep(0.002)


def bench(kit, tree, place):
    staging = place / "staging"
    sh(f"cp -a {tree} {staging}")
    with Drydock(staging=staging, accounts=(), start=False) as d:
        p = Production(d)
        other = p.dir / "other"
        sh(f"ssh-keygen -q -t ed25519 -N '' -f {other}")
        (p.dir / "authorized_keys").open("a").write("\n" + other.with_suffix(".pub").read_text())
        ssh = f"ssh -F none -o IdentitiesOnly=yes -o UserKnownHostsFile={p.dir}/known_hosts -o LogLevel=ERROR -i {other} -p {p.port}"
        host = f"{user_name(d)}@127.0.0.1"
        copy = place / "copy"
        try:
            text = d.conf.read_text()
            if kit != "local":
                begin, end = text.index("\ttarget "), text.rstrip().rindex("}")
                d.conf.write_text(text[:begin] + p.target(user_name(d), kit=kit) + text[end:])
            d.start()
            d.sign("/", recursive=True)
            memory = Largest(p.state)
            memory.start()
            first = timed(lambda: confirmed(d))
            if kit != "local":
                peer = timed(lambda: sh(f"mkdir {copy} && tar -C {staging} -c . | {ssh} {host} tar -C {copy} -x && sync -f {copy}"))
                row(f"first push, {kit}", first, "tar \\| ssh tar, sync", peer, 1.3)
            else:
                sh(f"rsync -a {staging}/ {copy}/")
            path = sorted(f.relative_to(staging) for f in staging.rglob("*.html"))[0]
            ours, theirs = [], []
            for i in range(N):
                (staging / path).write_text(f"change {i}")
                remote = f"-e '{ssh}' {staging}/ {host}:{copy}/" if kit != "local" else f"{staging}/ {copy}/"
                theirs.append(timed(lambda: sh(f"rsync -a --delete {remote}")))
                d.sign(f"/{path}")
                ours.append(timed(lambda: confirmed(d)))
            memory.over.set()
            memory.join()
            row(f"force to confirmed, one changed file, {kit}", statistics.median(ours), "rsync -a --delete" + (" -e ssh" if kit != "local" else ""),
                statistics.median(theirs), 0.1 if kit == "local" else 0.3)
            if kit == "local":
                signs(d, staging)
                verify(d, "drydock release verify", lambda: release_verify(d), d.production)
            else:
                print(f"| memory of the receiver, {kit} | | {memory.kib // 1024} MiB | | | at most 64 MB | {'yes' if memory.kib < 64000 else '**no**'} |", flush=True)
            if kit == "tar-ssh":
                verify(d, "drydock-receive verify", lambda: d.run(program("drydock-receive"), "verify", p.state), p.state / "live/")
        finally:
            p.stop()
    shutil.rmtree(staging)
    shutil.rmtree(copy, ignore_errors=True)


def release_verify(d):
    r = d.cli("release", "verify", str(d.must("GET", d.api_site("/sync"))["release"]))
    assert r.returncode == 0, r


def verify(d, name, fn, place):
    fn()
    peer = min(timed(lambda: sh(f"find {place}/ -type f -print0 | xargs -0 sha256sum")) for _ in range(2))
    row(name, min(timed(fn) for _ in range(2)), "sha256sum of the files", peer, 1.3)


def signs(d, staging):
    """Signing goes on while releases are cut: the longest of many, beside those of a quiet server."""
    def some(n):
        out = []
        for i in range(n):
            d.write("/signed-meanwhile.html", f"{time.monotonic_ns()}")
            out.append(timed(lambda: d.must("POST", d.api_site("/sign"), {"paths": ["/signed-meanwhile.html"], "as_staged": True})))
        return out

    idle = some(100)
    busy, over = [], threading.Event()

    def cut():
        while not over.is_set():
            d.must("POST", d.api_site("/sync/force"), {"reason": "bench"})
            while not over.is_set() and d.must("GET", d.api_site("/sync"))["because"] == "forced":
                time.sleep(0.005)

    before = d.must("GET", d.api_site("/sync"))["release"]
    t = threading.Thread(target=cut)
    t.start()
    busy = some(200)
    over.set()
    t.join()
    cuts = d.must("GET", d.api_site("/sync"))["release"] - before
    longest, quiet = max(busy) * 1000, max(idle) * 1000
    print(f"| the longest of 200 signs while {cuts} releases were cut | the longest of 100 when idle | {longest:.0f} ms (median {statistics.median(busy) * 1000:.1f}) | "
          f"{quiet:.0f} ms (median {statistics.median(idle) * 1000:.1f}) | | at most 50 ms more | {'yes' if longest - quiet <= 50 else '**no**'} |", flush=True)


def main():
    copies = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    kits = sys.argv[2:] or ["local", "tar-ssh", "rsync-ssh"]
    place = pathlib.Path(tempfile.mkdtemp(prefix="drydock-bench-"))
    try:
        tree = place / "tree"
        for i in range(copies):
            sh(f"mkdir -p {tree} && cp -rL {TREE} {tree}/{i} && chmod -R u+w {tree}")
        count = sum(len(files) for _, _, files in os.walk(tree))
        print(f"{count} files, {sum(f.stat().st_size for f in tree.rglob('*') if f.is_file()) // 1000000} MB\n\n| what | peer | DryDock | peer | ratio | limit | met |\n|---|---|---|---|---|---|---|", flush=True)
        for kit in kits:
            bench(kit, tree, place)
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
