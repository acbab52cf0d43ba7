"""A full disk on production: the run fails and says so, what is served stays whole, and the next one with room gets through."""
import contextlib
import os
import pathlib
import subprocess
import sys

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))

from delivery import Receiver, Release, Signer  # noqa: E402
from drydock import Drydock, program  # noqa: E402

UNSHARE = ["unshare", "--map-current-user", "--mount", "--keep-caps"]


class SmallProduction(Drydock):
    """Its production is a file system of 4 MB, which the daemon alone sees."""

    def argv(self):
        return [*UNSHARE, "sh", "-c",
                'mount -t tmpfs -o size=4m,mode=0755 drydock "$1" && exec setpriv --ambient-caps=-all --inh-caps=-all "$2" serve --data "$3"', "sh",
                str(self.production), program(), str(self.data)]

    @property
    def place(self):
        return pathlib.Path(f"/proc/{self.process.pid}/root{self.production}")

    def served(self):
        """Path and bytes, and nothing beside them that a visitor could ask for."""
        return {"/" + str(p.relative_to(self.place)): p.read_bytes() for p in self.place.rglob("*")
                if p.is_file() and not str(p.relative_to(self.place)).startswith(".drydock")}


def test_the_local_kit():
    with SmallProduction(files={"/index.html": "one", "/a/b.html": "b"}, accounts=()) as d:
        d.sign("/", recursive=True)
        d.sync()
        before = d.served()
        assert before == {"/index.html": b"one", "/a/b.html": b"b"}
        d.write("/index.html", "two")
        for i in range(3):
            d.write(f"/big{i}.bin", os.urandom(2_000_000))
        d.sign("/", recursive=True)
        run = d.sync(state="failed")
        assert "No space left on device" in run["message"], run
        # Each file is whole: the old one or the new one.
        for path, data in d.served().items():
            assert data == (d.staging / path[1:]).read_bytes() or data == before[path]
        # Somebody makes room, or less is published: the newest release gets there, whole.
        d.remove("/big1.bin")
        d.remove("/big2.bin")
        d.revoke("/big1.bin", "/big2.bin")
        d.sync()
        assert d.served() == {"/index.html": b"two", "/a/b.html": b"b", "/big0.bin": (d.staging / "big0.bin").read_bytes()}


@contextlib.contextmanager
def small_place(place, size):
    """The same directory, as a process sees it that has a small file system there."""
    holder = subprocess.Popen([*UNSHARE, "sh", "-c", 'mount -t tmpfs -o "size=$2,mode=0755" drydock "$1" && echo there && exec cat', "sh", place, str(size)],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"there\n"
        yield pathlib.Path(f"/proc/{holder.pid}/root{place}"), holder
    finally:
        holder.stdin.close()
        holder.wait(10)
        holder.stdout.close()


@pytest.mark.parametrize("spare", range(0, 2_400_000, 150_000))
def test_the_receiver_at_many_levels(tmp_path, spare):
    """What stands in the way is taken away before the next try: a delivery that did not fit is taken up, or given once more."""
    signer = Signer(tmp_path)
    one = Release(signer, 1, {"/index.html": b"one", "/old.bin": os.urandom(300_000)})
    two = Release(signer, 2, {"/index.html": b"two", "/new.bin": os.urandom(900_000), "/more/x.bin": os.urandom(200_000)}, one)
    place = tmp_path / "small"
    place.mkdir()
    with small_place(place, 6_000_000) as (top, _):
        r = Receiver(signer, at=top)
        assert "receipt" in r.deliver(one.members())
        assert r.live() == one.files
        free = os.statvfs(top)
        filler = top / "filler"
        filler.write_bytes(b"x" * max(0, free.f_bavail * free.f_bsize - spare - free.f_bsize))
        answer = r.deliver(two.members(one))
        if answer and "receipt" in answer:
            assert r.live() == two.files
        else:
            assert answer and "No space left on device" in str(answer), answer
            assert r.live() == one.files and r.accepted()["number"] == 1
            assert r.command("verify", code=None).stdout.endswith(b" 0 differences\n")
            filler.unlink()
            answer = r.take_up(two, one)
            assert "receipt" in answer, answer
            assert r.live() == two.files
        assert r.command("verify").returncode == 0
