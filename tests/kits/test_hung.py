"""A target that fails or hangs holds up none of the others: with a real server, and kits that do as a file beside them says."""
import contextlib
import pathlib
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))
sys.path.insert(0, str(TOP / "tests" / "kits"))

from clock import Clock  # noqa: E402
from drydock import Drydock  # noqa: E402
from failpoints import Failpoints  # noqa: E402
from test_kits import add_target, runs, write_kit  # noqa: E402
from waiting import until  # noqa: E402

FILES = {"/index.html": "one", "/a.html": "a", "/b.html": "b"}
LATER = 60  # seconds: longer than it takes to the second try
KIT = """#!/bin/sh
does() { [ "$(cat "$0.does")" = "$1" ]; }
if does fail; then echo '{"error":"not today"}'; exit 1; fi
while does hang; do sleep 0.1; done
while does talk; do echo '{"done":1}'; sleep 0.2; done
rsync -rlt --checksum --delete "$DRYDOCK_EXPORT/" "$DRYDOCK_PLACE/"
"""


class World:
    def __init__(self, d, clock, names):
        self.d, self.clock = d, clock
        self.places = {name: self.add(name) for name in names}

    def add(self, name):
        self.let(name, "work")
        write_kit(self.d, name, KIT)
        return add_target(self.d, name, name, extra='silence = "2s"')

    def let(self, name, what):
        (self.d.dir / "kits").mkdir(exist_ok=True)
        (self.d.dir / "kits" / f"{name}.does").write_text(what)

    def now(self):
        return self.d.must("GET", self.d.api_site("/sync"))

    def idle(self):
        until(lambda: not self.now()["running"])

    def sign(self, text, path="/index.html"):
        self.d.write(path, text)
        self.d.sign(path)

    def live(self, text, path="/index.html"):
        """It is in production, and everywhere but where a kit does not work."""
        until(lambda: self.d.live().get(path) == text.encode())

    def at(self, name, path="/index.html"):
        file = self.places[name] / path[1:]
        return file.read_text() if file.exists() else None

    def target(self, name):
        return next(t for t in self.now()["targets"] if t["name"] == name)

    def state(self, name):
        return self.target(name)["state"]

    def under_way(self, release):
        """The number of the run that sends it and does not come to its end."""
        return until(lambda: next((r["run"] for r in runs(self.d) if r["state"] == "running" and r["release"] == release), None))


@contextlib.contextmanager
def world(*names, quiet="1s"):
    """A site with production and targets of these names, all of which hold release 1."""
    with Drydock(files=FILES, accounts=(), start=False, quiet_period=quiet) as d:
        w = World(d, Clock(d.dir / "clock", own=d._own), names)
        w.fp = Failpoints(d.dir / "failpoints", own=d._own)
        d.start(env={**w.clock.env, **w.fp.env})
        d.sign("/", recursive=True)
        d.sync()
        yield w


def test_what_is_signed_next_goes_out_to_the_others():
    with world("hung") as w:
        w.let("hung", "hang")
        w.sign("two")
        w.live("two")
        first = w.under_way(2)
        until(lambda: w.now()["pending_since"] is None)  # it is released, though its run is not over
        w.sign("three")
        w.live("three")
        ended = w.d.must("GET", w.d.api_site(f"/sync/runs/{first}"))
        assert ended["state"] == "failed", ended
        assert "hung: ended because it said nothing for 2 s, and the next sync was due" in ended["message"], ended
        assert {t["name"]: t["state"] for t in ended["targets"]} == {"production": "confirmed", "hung": "failed"}
        assert w.at("hung") == "one"
        w.let("hung", "work")
        until(lambda: w.at("hung") == "three")
        w.idle()
        assert w.state("hung") == "confirmed"


def test_while_it_is_tried_again_too():
    with world("hung") as w:
        w.let("hung", "fail")
        w.sign("two")
        until(lambda: w.state("hung") == "failed")
        w.idle()
        w.let("hung", "hang")
        w.clock.sleep(LATER)
        again = w.under_way(2)
        assert [t["name"] for t in w.d.must("GET", w.d.api_site(f"/sync/runs/{again}"))["targets"]] == ["hung"]
        w.sign("three")
        w.live("three")
        # Forced, with the next one hanging already.
        w.under_way(3)
        w.sign("four")
        w.d.must("POST", w.d.api_site("/sync/force"), {"reason": "now"})
        w.live("four")
        # One that failed is not waited for, whatever it says.
        w.under_way(4)
        w.let("hung", "talk")
        until(lambda: w.target("hung")["done"] == 1)
        w.sign("five")
        w.live("five")
        assert any("hung: ended because it was not done, and the next sync was due" in r["message"] for r in runs(w.d))


def test_another_one_is_tried_again_meanwhile():
    with world("flaky", "hung", quiet="1h") as w:
        w.let("flaky", "fail")
        w.let("hung", "hang")
        w.sign("two")
        w.d.must("POST", w.d.api_site("/sync/force"), {"reason": "now"})
        until(lambda: w.state("flaky") == "failed" and w.d.live()["/index.html"] == b"two")
        w.let("flaky", "work")
        w.clock.sleep(LATER)
        until(lambda: w.at("flaky") == "two")
        assert w.at("hung") == "one"


def test_who_is_waited_for():
    """A kit that says how far it is, however slow; one that says nothing while nothing else is to be done; and the only target there is."""
    with world("slow", quiet="1h") as w:
        def still_runs(run):
            time.sleep(4)
            assert w.now()["running"] and w.now()["run"] == run

        w.let("slow", "hang")
        w.sign("two")
        w.d.must("POST", w.d.api_site("/sync/force"), {"reason": "silent"})
        run = w.under_way(2)
        still_runs(run)
        w.let("slow", "talk")
        until(lambda: w.target("slow")["done"] == 1)
        w.sign("three")
        w.d.must("POST", w.d.api_site("/sync/force"), {"reason": "it talks"})
        still_runs(run)
        w.let("slow", "work")
        until(lambda: w.at("slow") == "three" and w.d.live()["/index.html"] == b"three")
        w.idle()
        assert w.d.must("GET", w.d.api_site(f"/sync/runs/{run}"))["state"] == "ok"
        # What it sends itself is not the next sync: the end of a hold.
        w.d.must("POST", w.d.api_site("/holds"), {"path": "/a.html", "until": "1s", "reason": "a moment"})
        w.let("slow", "hang")
        w.sign("four", "/a.html")
        run = w.under_way(4)
        assert next(r["trigger"] for r in runs(w.d) if r["run"] == run) == "released"
        still_runs(run)
        w.let("slow", "work")
        until(lambda: w.at("slow", "/a.html") == "four")
    with Drydock(files=FILES, accounts=(), start=False, quiet_period="1h") as d:
        only = World(d, Clock(d.dir / "clock", own=d._own), ["only"])
        text = d.conf.read_text()
        d.conf.write_text(text[:text.index("\ttarget ")] + text[text.index('\ttarget "only"'):])
        only.let("only", "hang")
        d.start()
        d.sign("/", recursive=True)
        d.must("POST", d.api_site("/sync/force"), {"reason": "silent"})
        run = only.under_way(1)
        only.sign("two")
        d.must("POST", d.api_site("/sync/force"), {"reason": "again"})
        time.sleep(4)
        assert only.now()["running"] and only.now()["run"] == run
        only.let("only", "work")
        until(lambda: only.at("only") == "two")


def test_what_cannot_be_prepared_for_one():
    with world("other") as w:
        w.sign("two")
        w.fp.error("cycle_target", 2)
        w.live("two")
        until(lambda: w.state("other") == "failed")
        until(lambda: any("other: not sent: " in r["message"] for r in runs(w.d)), why=lambda: runs(w.d))
        w.clock.sleep(LATER)
        until(lambda: w.at("other") == "two")


def test_a_wall_clock_that_is_set_back():
    """The next try comes when it was to come, and nothing turns in circles until then."""
    with world("flaky", quiet="1h") as w:
        w.let("flaky", "fail")
        w.sign("two")
        w.d.must("POST", w.d.api_site("/sync/force"), {"reason": "now"})
        until(lambda: w.state("flaky") == "failed")
        w.idle()
        w.let("flaky", "work")
        w.clock.jump(-LATER * 60)
        w.fp.reset()
        time.sleep(1)
        w.clock.sleep(LATER)
        until(lambda: w.at("flaky") == "two")
        w.idle()
        assert w.fp.hits()["cycle_begun"] < 5


def take_down(w, path, **more):
    w.d.must("POST", w.d.api_site("/revoke"), {"paths": [path], "as_staged": True, "note": "at once", "take_down": True, **more})


def test_a_take_down_is_not_its_own_next_sync():
    with world("slow", quiet="1h") as w:
        w.let("slow", "hang")
        take_down(w, "/a.html")
        run = w.under_way(2)
        time.sleep(4)
        assert w.now()["running"] and w.now()["run"] == run
        # Another one is not kept waiting by it, though its kit says how far it is.
        w.let("slow", "talk")
        until(lambda: w.target("slow")["done"] == 1)
        take_down(w, "/b.html")
        until(lambda: "/b.html" not in w.d.live())
        assert w.d.must("GET", w.d.api_site(f"/sync/runs/{run}"))["state"] == "interrupted"
        # Broken off by the server, it has not failed: what says how far it is, is waited for.
        run = w.under_way(3)
        assert w.target("slow")["tries"] == 0
        w.sign("two")
        w.d.must("POST", w.d.api_site("/sync/force"), {"reason": "now"})
        time.sleep(4)
        assert w.now()["running"] and w.now()["run"] == run and w.now()["pending_since"]
        w.let("slow", "work")
        until(lambda: [p.name for p in w.places["slow"].iterdir()] == ["index.html"])


def test_a_take_down_stays_one_until_all_have_it():
    """Two targets fail it; the one that comes back first does not end it, so that a hold does not keep it from the other."""
    with world("first", "second", quiet="1h") as w:
        for name in ("first", "second"):
            w.let(name, "fail")
        take_down(w, "/a.html")
        until(lambda: w.state("first") == w.state("second") == "failed" and not w.now()["running"])
        w.d.must("POST", w.d.api_site("/holds"), {"path": "/", "until": "10d", "reason": "the election"})
        # The second falls behind the first in its tries.
        with w.d.held("UPDATE target SET retry_at = retry_at + 3600000000 WHERE target = 'second'"):
            pass
        w.let("first", "work")
        w.clock.sleep(LATER)
        until(lambda: not (w.places["first"] / "a.html").exists() and not w.now()["running"])
        w.let("second", "work")
        w.clock.sleep(LATER * 60)
        until(lambda: not (w.places["second"] / "a.html").exists())


def test_a_take_down_takes_nothing_ordinary_through_a_hold():
    """One target has it and failed what came later; another has not. The site is held: only the other is sent to."""
    with world("first", "second") as w:
        w.let("second", "fail")
        take_down(w, "/a.html")
        until(lambda: not (w.places["first"] / "a.html").exists() and w.state("second") == "failed" and not w.now()["running"])
        w.let("first", "fail")
        w.sign("two")
        w.live("two")
        until(lambda: w.state("first") == "failed" and not w.now()["running"])
        w.d.must("POST", w.d.api_site("/holds"), {"path": "/", "until": "10d", "reason": "the election"})
        w.let("first", "work")
        w.let("second", "work")
        w.clock.sleep(LATER)
        until(lambda: not (w.places["second"] / "a.html").exists() and not w.now()["running"])
        w.clock.sleep(LATER * 60)
        time.sleep(1)
        assert w.at("first") == "one" and not w.now()["running"]
        w.d.must("POST", w.d.api_site("/holds"), {"path": "/", "remove": True})
        until(lambda: w.at("first") == "two")


def test_a_take_down_of_too_many():
    """It waits for an admin, as every release of so many does, and turns in no circles meanwhile."""
    files = {f"/{'old' if n < 15 else 'new'}/{n}.html": f"file {n}" for n in range(40)}
    with Drydock(files=files, accounts=(), quiet_period="1h") as d:
        d.sign("/", recursive=True)
        d.sync()
        d.must("POST", d.api_site("/revoke"), {"paths": ["/old"], "recursive": True, "as_staged": True, "note": "at once", "take_down": True})
        until(lambda: runs(d)[0]["trigger"] == "take-down" and runs(d)[0]["state"] == "failed")
        time.sleep(2)
        assert [r["trigger"] for r in runs(d)].count("take-down") == 1 and len(d.live()) == 40
        # With something else that goes, so that the list is not the take-down's.
        d.revoke("/new/20.html")
        plan = d.must("GET", d.api_site("/sync/plan"))
        d.must("POST", d.api_site("/sync/removal"), {"list": plan["removal"], "reason": "spring cleaning"})
        until(lambda: len(d.live()) == 24)
        until(lambda: not d.must("GET", d.api_site("/sync"))["running"])
        assert [r["trigger"] for r in runs(d)].count("take-down") <= 2


def test_a_take_down_that_fails_somewhere():
    """What is signed afterwards goes out to the others, the next take-down at once, and this one to where it failed with its next try."""
    with world("broken") as w:
        w.let("broken", "fail")
        take_down(w, "/a.html")
        until(lambda: "/a.html" not in w.d.live() and w.state("broken") == "failed")
        w.idle()
        w.sign("two")
        w.live("two")
        w.idle()
        for _ in range(3):  # the tries are minutes apart by now
            w.clock.sleep(LATER * 10)
            until(lambda: runs(w.d)[0]["trigger"] == "take-down" and not w.now()["running"])
        w.sign("three")
        w.live("three")
        take_down(w, "/b.html")
        until(lambda: "/b.html" not in w.d.live())
        assert w.at("broken", "/a.html") == "a" and w.at("broken") == "one"
        w.let("broken", "work")
        w.clock.sleep(LATER * 60)
        until(lambda: w.state("broken") == "confirmed" and not w.now()["running"])
        assert sorted(p.name for p in w.places["broken"].iterdir()) == ["index.html"] and w.at("broken") == "three"
        # It is over: nothing is taken down again.
        before = runs(w.d)[0]["run"]
        w.sign("four")
        w.live("four")
        w.idle()
        assert {r["trigger"] for r in runs(w.d) if r["run"] > before} == {"quiet"}
