#!/usr/bin/env python3
"""Files of 1 and 2 GiB: how much memory each thing that is done with them takes.

    tests/bench/big.py [GIB] [stores]

A site with a text file of GIB/2 GiB and a file of bytes of GIB GiB (default: 2). They are fingerprinted, shown, signed, sent,
changed, compared, previewed, signed again, backed up and restored, checked to the last byte, their tables made again, and
their history taken out and verified. For each step the time, and the largest resident memory (VmHWM, beside it what of it is
no file's) of any process of DryDock in it: the daemon, the command, git, kits; the database's server is not one of them.
`stores`: only signed once, backed up, checked, their tables made again, and restored. Exit status 1 if one had more than 64 MiB. Needs 15 times GIB GiB of disk. Programs as in tests/lib/drydock.py.
"""
import contextlib
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from drydock import Drydock, LocalConnection, program  # noqa: E402

LIMIT = 64 << 10  # KiB
BLOCK = 1 << 20


class Watch:
    """The largest memory of the processes below this one, by name, since begin()."""

    def __init__(self):
        self.most, self.lock = {}, threading.Lock()
        threading.Thread(target=self.run, daemon=True).start()

    def children(self):
        """Of this process, and of DryDock's daemons whose parent is gone."""
        todo, seen = [os.getpid()], []
        while todo:
            pid = todo.pop()
            with contextlib.suppress(OSError):
                for task in os.listdir(f"/proc/{pid}/task"):
                    below = [int(x) for x in pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
                    todo += below
                    seen += below
        return seen

    def run(self):
        while True:
            for pid in self.children():
                with contextlib.suppress(OSError, KeyError, ValueError):
                    said = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
                    name, high, own = said["Name"].strip(), *(int(said[x].split()[0]) for x in ("VmHWM", "RssAnon"))
                    if not name.startswith("mariadb"):
                        with self.lock:
                            was = self.most.get(name, (0, 0))
                            self.most[name] = (max(was[0], high), max(was[1], own))
            time.sleep(0.005)

    def begin(self):
        # What the daemon needed in the step before does not count.
        for pid in self.children():
            with contextlib.suppress(OSError):
                pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
        with self.lock:
            self.most = {}

    def end(self):
        with self.lock:
            return dict(self.most)


class Steps:
    def __init__(self):
        self.watch, self.over = Watch(), []

    def __call__(self, what, fn):
        self.watch.begin()
        start = time.monotonic()
        out = fn()
        took = time.monotonic() - start
        most = self.watch.end()
        told = ", ".join(f"{name} {high / 1024:.0f} MiB ({own / 1024:.0f})" for name, (high, own) in sorted(most.items(), key=lambda x: -x[1][0]))
        print(f"{what}: {took:.1f} s; {told}", flush=True)
        self.over += [f"{what}: {name}" for name, (high, _) in most.items() if high > LIMIT]
        return out


def write(place, size, text, change=None):
    """Bytes that no compression makes small, or numbered lines; change: another block in the middle."""
    noise, half = os.urandom(BLOCK), size // BLOCK // 2
    with open(place, "wb") as f:
        for i in range(size // BLOCK):
            if text:
                line = b"%010d the quick brown fox jumps over the lazy dog%s\n" % (i, b"!" if change and i == half else b"")
                f.write((line * (BLOCK // len(line) + 1))[:BLOCK - 1] + b"\n")
            else:
                f.write(b"%08d" % (-1 if change and i == half else i) + noise[8:])


def taken(browser, path, **kw):
    """All of an answer, piece by piece: how many bytes. A preview may be too large."""
    with browser.get(path, stream=True, timeout=1800, **kw) as r:
        assert r.status_code == 200 or kw and r.status_code == 413, (path, r.status_code)
        return sum(len(x) for x in r.iter_content(1 << 16))


def main():
    size = int(float(sys.argv[1] if len(sys.argv) > 1 else 2) * (1 << 30)) // (2 * BLOCK) * 2 * BLOCK
    step, LocalConnection.patience = Steps(), 3600
    with Drydock(files={"/index.html": b"<a href='/one.txt'>one</a> <a href='/two.bin'>two</a>"}, config="check_hour = 24", start=False) as d:
        one, two = d.staging / "one.txt", d.staging / "two.bin"

        def files(change):
            write(one, size // 2, True, change)
            write(two, size, False, change)

        def status():
            # While it reads that much it says so, and does not keep anybody waiting.
            while any(d.api("GET", d.api_site(f"/file?path={path}"))[0] != 200 for path in ("/one.txt", "/two.bin")):
                time.sleep(0.1)
            return d.status()

        def command(*argv):
            r = d.run(program(), *argv, "--data", d.data, check=False)
            assert r.returncode == 0, (argv, r.returncode, r.stdout[-2000:], r.stderr[-2000:])

        def ctl(*argv):
            r = d.cli(*argv, timeout=3600)
            assert r.returncode == 0, (argv, r.returncode, r.stdout[-2000:], r.stderr[-2000:])

        def shown(path, browser):
            page = browser.get(f"/s/www/file{path}", timeout=1800)
            assert page.status_code == 200, page.text[:500]
            d.api("GET", d.api_site(f"/diff?path={path}"))
            n = sum(taken(browser, f"/api/v1/sites/www/content?path={path}&version={which}") for which in ("staged", "approved"))
            # The page that links to both has a preview, whose addresses lead to them.
            view = browser.get("/s/www/file/index.html?view=preview", timeout=1800)
            for address in re.findall(r'<iframe[^>]* src="([^"]+)"', view.text):
                host = re.match(r"http://([^/]*)/", address)[1]
                n += taken(browser, f"http://127.0.0.1:{d.preview_port}{path}", headers={"Host": host})
            return n

        def published():
            d.add_account("alice", "sign", "/")
            alice = d.login("alice")
            step("sync", lambda: d.sync(wait=1800))
            print("  ", subprocess.run(["cmp", two, d.production / "two.bin"], capture_output=True, text=True).stdout or "production has it byte for byte")
            files(True)
            step("status after a change", status)
            for path in ("/one.txt", "/two.bin"):
                print("  ", step(f"shown, compared, previewed: {path}", lambda: shown(path, alice)), "bytes were served")  # noqa: B023
            step("sign the change", lambda: d.sign("/", recursive=True))
            step("sync the change", lambda: d.sync(wait=1800))
            step("export-evidence", lambda: ctl("export-evidence", "/two.bin", "-o", d.dir / "evidence.tar.gz"))
            step("drydock verify", lambda: ctl("verify", d.dir / "evidence.tar.gz"))
            (d.dir / "evidence.tar.gz").unlink()
            step("fsck --deep, in the server", lambda: command("fsck", "--deep"))

        files(False)
        step("start", d.start)
        step("status, fingerprints", status)
        step("sign", lambda: d.sign("/", recursive=True))
        if sys.argv[2:] != ["stores"]:
            published()
        step("backup, beside the server", lambda: command("backup", d.dir / "backup"))
        d.stop()
        step("fsck --deep", lambda: command("fsck", "--deep"))
        step("rebuild", lambda: command("rebuild", "--replace"))
        step("restore", lambda: d.run(program(), "restore", d.dir / "backup", "--data", d.dir / "new"))
        step("start again", d.start)
    for what in step.over:
        print(f"more than {LIMIT >> 10} MiB: {what}")
    sys.exit(1 if step.over else 0)


if __name__ == "__main__":
    main()
