"""Cutting a release holds up nobody who signs: it is what was approved when it was begun, and says so."""
import pathlib
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))
sys.path.insert(0, str(TOP / "tests" / "check"))

from drydock import Drydock  # noqa: E402
from failpoints import Failpoints  # noqa: E402
from waiting import until  # noqa: E402
from world import fsck  # noqa: E402

LONG = 4  # seconds that the sums of a very large site might take


def begin_cut(d, fp):
    """Force a sync, and return when its sums are made and its record is not: it stays there for a while."""
    before = d.must("GET", d.api_site("/sync"))["run"]
    fp.delay("release_prepared", LONG * 1000)
    d.must("POST", d.api_site("/sync/force"), {"reason": "a test"})
    until(lambda: fp.happened)
    return before


def ended(d, before):
    def now():
        state = d.must("GET", d.api_site("/sync"))
        return None if state["running"] or state["run"] == before else state
    return until(now)


def since(d, path):
    """The first release that has the version which is public now."""
    return d.must("GET", d.api_site(f"/whence?path={path}"))["targets"][0]["since"]


def test_signing_while_a_release_is_cut():
    with Drydock(files={"/a.html": "1", "/b.html": "1", "/c.html": "1"}, accounts=(), start=False) as d:
        fp = Failpoints(d.dir / "failpoints", d._own)
        d.start(env=fp.env)
        d.sign("/", recursive=True)
        d.sync()
        d.write("/a.html", "2")
        d.sign("/a.html")
        run = begin_cut(d, fp)
        d.write("/b.html", "2")
        start = time.monotonic()
        seq = d.sign("/b.html")["seq"]
        took = time.monotonic() - start
        assert took < LONG / 2, took
        now = ended(d, run)
        assert d.live() == {"/a.html": b"2", "/b.html": b"1", "/c.html": b"1"}
        assert now["release"] == 2 and now["pending_since"], now
        cut = next(r for r in d.records() if r["act"] == "release")
        assert cut["seq"] == seq + 1 and cut["fields"]["as_of"] == seq - 1
        # It is known not to be live yet, and leaves with the next one.
        assert since(d, "/b.html") == 1
        d.sync()
        assert d.live()["/b.html"] == b"2" and since(d, "/b.html") == 3
        # What is revoked meanwhile does not leave any more: the release is made again.
        d.write("/a.html", "3")
        d.sign("/a.html")
        run = begin_cut(d, fp)
        d.revoke("/c.html")
        ended(d, run)
        assert d.live() == {"/a.html": b"3", "/b.html": b"2"}
        for number in (2, 3, 4):
            assert d.cli("release", "verify", str(number)).returncode == 0
        d.stop()
        fsck(d, status=0)
