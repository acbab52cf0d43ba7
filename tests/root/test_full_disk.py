"""A real file system that is full: of the data directory, of a site (repository and export), of the private database. Filled to
the brim at many levels: each act is done or refused, whole; with room again the same request is recorded once, and fsck is
clean."""
import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import time
import uuid

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/lib"))
from drydock import Drydock, program  # noqa: E402

KIB = 1024
# what is left, in KiB; DRYDOCK_SOAK=10 looks at ten times as many
STEP = max(1, 10 // int(os.environ.get("DRYDOCK_SOAK", 1)))
LEVELS = [n for i, n in enumerate([*range(0, 100, 4), *range(100, 1000, 30), *range(1000, 4000, 200)]) if i % STEP == 0]


@contextlib.contextmanager
def small(d, place, size):
    """A tmpfs of that size at a place, with what was there."""
    place.mkdir(parents=True, exist_ok=True)
    for part in (place, *place.parents):
        if part == d.data or d.data not in part.parents:
            break
        d._own(part)
    mode, keep = place.stat().st_mode & 0o7777, d.dir / "kept"
    shutil.copytree(place, keep, symlinks=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode={mode:o},uid={d.uid},gid={d.gid}", "tmpfs", place], check=True)
    try:
        subprocess.run(["cp", "-a", f"{keep}/.", place], check=True)
        shutil.rmtree(keep)
        subprocess.run(["chown", "-R", f"{d.uid}:{d.gid}", place], check=True)
        yield
    finally:
        d.stop()
        pid = d.database_pid()
        if pid:
            os.kill(pid, 15)
            end = time.monotonic() + 60
            while pathlib.Path(f"/proc/{pid}").exists() and time.monotonic() < end:
                time.sleep(0.05)
        subprocess.run(["umount", place], check=True)


def fill(place, leave):
    """All of it but so many bytes."""
    st = os.statvfs(place)
    free = st.f_bavail * st.f_frsize
    with open(place / "filler", "wb") as f, contextlib.suppress(OSError):
        while free > leave:
            piece = min(free - leave, 1 << 20)
            f.write(bytes(piece))
            f.flush()
            free -= piece


def sign(d, files, op):
    with contextlib.suppress(OSError):
        return d.api("POST", d.api_site("/sign"), {"id": op, "paths": sorted(files), "as_staged": True, "note": "full"})
    return None, None


def until_done(d, files, op, wait=60):
    """With room again: whatever was down comes back by itself."""
    end = time.monotonic() + wait
    while True:
        status, answer = sign(d, files, op)
        if status == 200:
            return answer
        assert status in (None, 500, 503) and time.monotonic() < end, (status, answer, d.log()[-3000:])
        time.sleep(0.1)


@pytest.mark.parametrize("which", ["data", "site", "database"])
def test_full(which):
    with Drydock(files={"/a.html": "a"}, accounts=(), start=False) as d:
        if which == "database":
            d.start()
            d.stop()
        place = {"data": d.data, "site": d.data / f"sites/{d.site}", "database": d.data / "db"}[which]
        with small(d, place, {"data": "260m", "site": "24m", "database": "200m"}[which]):
            d.start()
            answers = {}
            for level in LEVELS[:: 2 if which == "database" else 1]:
                # many small ones make rows, a few larger ones bytes
                files = {f"/f{i}/{i}.txt": os.urandom(12).hex().encode() for i in range(700)} if which == "database" else {
                    f"/f{i}.bin": os.urandom(30000) for i in range(6)}
                for path, content in files.items():
                    d.write(path, content)
                op = str(uuid.uuid4())
                fill(place, level * KIB)
                status, answer = sign(d, files, op)
                refused = status is not None and status != 200 and "it is not known" not in answer["detail"]
                (place / "filler").unlink()
                answers[level] = status
                again = until_done(d, files, op)
                assert again["repeated"] is (status == 200) or not refused, (level, status, answer, again)
                if status == 200:
                    assert again["seq"] == answer["seq"]
                records = [r for r in d.must("GET", d.api_site("/log?limit=5"))["items"] if r["op"] == op]
                assert len(records) == 1, (level, status, answer, records)
                # the export follows with the next act, if it could not before
                d.write("/a.html", str(level))
                until_done(d, ["/a.html"], str(uuid.uuid4()))
                exported = d.tree(d.data / f"sites/{d.site}/export")
                assert {p: exported.get(p) for p in files} == files, level
                r = d.run(program(), "fsck", "--data", d.data, check=False)
                assert r.returncode == 0, (level, r.stdout + r.stderr)
            assert d.process.poll() is None
            print(which, answers)
            # It was full: some were refused, and with the most room none. The database makes room for itself in advance.
            assert answers[LEVELS[-1]] == 200 and (which == "database" or answers[LEVELS[0]] != 200), answers
