#!/usr/bin/env python3
"""fsck and rebuild: what they cost.

    tests/bench/check.py FILES RECORDS

A site with FILES approved files (4 kB each on average) and then RECORDS acts on single files. Prints the time of fsck, of
fsck --deep beside that of sha256sum over the same files, and of rebuild. Programs as in tests/lib/drydock.py.
"""
import pathlib
import random
import resource
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from drydock import Drydock, program  # noqa: E402


def timed(d, *argv):
    start = time.monotonic()
    r = d.run(*argv, check=False)
    took = time.monotonic() - start
    assert r.returncode == 0, (argv, r.returncode, r.stdout[-2000:], r.stderr[-2000:])
    return took, r.stdout.strip().splitlines()[-1] if r.stdout.strip() else ""


def main():
    n_files, n_records = int(sys.argv[1]), int(sys.argv[2])
    rng = random.Random(1)
    with Drydock(files={"/index.html": b"first"}, accounts=(), config="check_hour = 24") as d:
        words = [rng.randbytes(6).hex().encode() for _ in range(2000)]
        for i in range(n_files):
            place = d.staging / f"{i // 1000:03d}" / f"{i // 100 % 10}"
            if i % 100 == 0:
                place.mkdir(parents=True, exist_ok=True)
            (place / f"{i}.html").write_bytes(b" ".join(rng.choices(words, k=rng.randrange(30, 600))))
        start = time.monotonic()
        d.sign("/", recursive=True)
        print(f"signing {n_files} files: {time.monotonic() - start:.1f} s", flush=True)
        start = time.monotonic()
        for i in range(n_records):
            d.must("POST", d.api_site("/review"), {"paths": ["/index.html"], "as_staged": True})
        print(f"{n_records} acts: {time.monotonic() - start:.1f} s", flush=True)
        d.stop()
        for name, argv in (("fsck", ["fsck"]), ("fsck --deep", ["fsck", "--deep"])):
            took, said = timed(d, program(), *argv, "--data", d.data)
            print(f"{name}: {took:.2f} s ({said})", flush=True)
        deep = took
        export = d.data / "sites" / "www" / "export"
        start = time.monotonic()
        subprocess.run(f"find {export} -type f -print0 | xargs -0 sha256sum >/dev/null", shell=True, check=True)
        peer = time.monotonic() - start
        print(f"sha256sum over the export: {peer:.2f} s; fsck --deep is {deep / peer:.2f} times that", flush=True)
        took, said = timed(d, program(), "rebuild", "--replace", "--data", d.data)
        print(f"rebuild: {took:.2f} s ({said})", flush=True)
        print(f"largest memory of a child: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024} MiB (the database's server is one)")


if __name__ == "__main__":
    main()
