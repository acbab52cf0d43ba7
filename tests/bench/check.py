#!/usr/bin/env python3
"""fsck and rebuild: what they cost.

    tests/bench/check.py [--keep DIR] [--prepare] [--runs N] FILES RECORDS

A site with FILES approved files (4 kB each on average) and then acts on single files, most of them signatures, until there are
RECORDS. Prints the time, and the processor time of everything that ran, of fsck, of fsck --deep beside that of sha256sum over the same
files, and of rebuild: the medians of N runs (3), of which each begins with what the one before left in the page cache. Then, with the
server running, how long somebody waits who signs one file after the other while fsck --repair puts a row right. --keep: the
site stays in DIR, and gets only what is missing when it is there already (also one of tests/bench/care.py); --prepare makes it and
measures nothing. In /dev/shm 100,000 acts take a quarter of an hour. Programs as in tests/lib/drydock.py.
"""
import argparse
import pathlib
import random
import resource
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import care  # noqa: E402
from drydock import Drydock, program  # noqa: E402


def used():
    r = resource.getrusage(resource.RUSAGE_CHILDREN)
    return r.ru_utime + r.ru_stime


def timed(fn, n):
    """Medians of n runs: seconds, and seconds of processors; and what the last one said."""
    times, cpu = [], []
    for _ in range(n):
        start, before = time.monotonic(), used()
        r = fn()
        times.append(time.monotonic() - start)
        cpu.append(used() - before)
        assert r.returncode == 0, (r.args, r.returncode, (r.stdout or "")[-2000:], (r.stderr or "")[-2000:])
    said = (r.stdout or "").strip().splitlines()
    return statistics.median(times), statistics.median(cpu), said[-1] if said else ""


def fill(d, n_files):
    rng = random.Random(1)
    words = [rng.randbytes(6).hex().encode() for _ in range(2000)]
    for i in range(n_files):
        place = d.staging / f"{i // 1000:03d}" / f"{i // 100 % 10}"
        if i % 100 == 0:
            place.mkdir(parents=True, exist_ok=True)
        (place / f"{i}.html").write_bytes(b" ".join(rng.choices(words, k=rng.randrange(30, 600))))
    start = time.monotonic()
    d.sign("/", recursive=True)
    while d.must("GET", d.api_site("/sync"))["export_behind"]:
        time.sleep(0.05)
    print(f"signing {n_files} files: {time.monotonic() - start:.1f} s", flush=True)


def measure(d, n):
    def daemon(*argv):
        return timed(lambda: d.run(program(), *argv, "--data", d.data, check=False), n)
    took, cpu, said = daemon("fsck")
    print(f"fsck: {took:.2f} s, {cpu:.2f} s of processors ({said})", flush=True)
    export = d.data / "sites" / "www" / "export"
    peer, peer_cpu, _ = timed(lambda: subprocess.run(f"find {export} -type f -print0 | xargs -0 sha256sum >/dev/null", shell=True), n)
    took, cpu, said = daemon("fsck", "--deep")
    print(f"fsck --deep: {took:.2f} s, {cpu:.2f} s of processors ({said})\n"
          f"sha256sum over the export: {peer:.2f} s, {peer_cpu:.2f} s of processors; fsck --deep takes {took / peer:.2f} times as long", flush=True)
    took, cpu, said = daemon("rebuild", "--replace")
    print(f"rebuild: {took:.2f} s, {cpu:.2f} s of processors ({said})", flush=True)


class Signing(threading.Thread):
    """Signs versions of one file, each after the other: how long each took."""

    def __init__(self, d):
        super().__init__()
        self.client, self.times, self.over = care.Client(d), [], False

    def run(self):
        while not self.over:
            start = time.monotonic()
            self.client.sign("/index.html", f"version {start}".encode())
            self.times.append(time.monotonic() - start)

    def end(self):
        self.over = True
        self.join()
        return f"{len(self.times)} signatures, median {statistics.median(self.times) * 1000:.0f} ms, longest {max(self.times) * 1000:.0f} ms"


def measure_repair(d, n):
    for what, options in (("nothing", None), ("fsck", ()), *[("fsck --repair", ("--repair",))] * n):
        sql = "UPDATE drydock.file_state SET size = size + 1 WHERE path <> '/index.html' LIMIT 1"
        if options:
            d.run("mariadb", "--no-defaults", f"--socket={d.data}/db.sock", "-e", sql)
        signing = Signing(d)
        signing.start()
        start = time.monotonic()
        r = d.run(program(), "fsck", *options, "--data", d.data, check=False) if options is not None else time.sleep(5)
        took = time.monotonic() - start
        print(f"beside {what} ({took:.1f} s): {signing.end()}", flush=True)
        assert not r or r.returncode == bool(options), (r.stdout[-2000:], r.stderr[-2000:])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--keep", type=pathlib.Path)
    p.add_argument("--prepare", action="store_true")
    p.add_argument("--runs", type=int, default=3)
    p.add_argument("files", type=int, nargs="?", default=100000)
    p.add_argument("records", type=int, nargs="?", default=0)
    o = p.parse_args()
    there = o.keep and (o.keep / "data" / "format").exists()
    staging = o.keep / "tree" if there and (o.keep / "tree").exists() else None
    with Drydock(files={} if there else {"/index.html": b"first"}, accounts=(), config="check_hour = 24", keep=o.keep, staging=staging) as d:
        if not there:
            fill(d, o.files)
        if care.newest(d) < o.records:
            care.make_acts(d, o.records)
        d.stop()
        if not o.prepare:
            measure(d, o.runs)
            d.start()
            measure_repair(d, o.runs)


if __name__ == "__main__":
    main()
