"""The scheduler of a real server while its clocks are set, go back, and stand still: base/clock.h, tests/lib/clock.py."""
import datetime
import json
import pathlib
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))

from clock import Clock  # noqa: E402
from drydock import Drydock  # noqa: E402
from waiting import until  # noqa: E402

DAY, HOUR = 86400, 3600


def started(files, **options):
    d = Drydock(files=files, accounts=(), start=False, **options)
    clock = Clock(d.dir / "clock", own=d._own)
    d.start(env=clock.env)
    return d, clock


def state(d):
    return d.must("GET", d.api_site("/sync"))


def seconds(d):
    """Until the next sync, by the server's own clock."""
    now = state(d)
    at = {k: datetime.datetime.fromisoformat(now[k].replace("Z", "+00:00")) for k in ("next", "now")}
    return (at["next"] - at["now"]).total_seconds()


def runs(d):
    time.sleep(0.4)  # the thread looks at the clock every 50 ms
    until(lambda: not state(d)["running"])
    return [r["trigger"] for r in d.must("GET", d.api_site("/sync/runs"))["items"]][::-1]


def test_the_wall_clock_moves_nothing():
    d, clock = started({"/a": "a"})
    with d:
        d.sign("/a")
        time.sleep(0.5)  # the scheduler has heard of it
        for jump in (DAY, -2 * DAY, DAY, 10 * 365 * DAY, -10 * 365 * DAY):
            clock.jump(jump)
            assert runs(d) == ["longest"] and 280 < seconds(d) <= 300, jump
        # Suspended for longer than that: once, and once only.
        clock.sleep(2 * DAY)
        until(lambda: d.live() == {"/a": b"a"})
        assert runs(d) == ["longest", "quiet"]
        clock.jump(-DAY)
        assert runs(d) == ["longest", "quiet"] and 3500 < seconds(d) <= HOUR
        clock.sleep(HOUR + 1)
        assert runs(d) == ["longest", "quiet", "longest"]


def test_what_is_stored():
    d, clock = started({"/a": "a"})
    with d:
        # The clock went back while the server was down: a stored time is taken as no later than now.
        d.sign("/a")
        d.stop()
        clock.jump(-30 * DAY)
        d.start(env=clock.env)
        assert runs(d) == ["longest"] and 280 < seconds(d) <= 300
        clock.sleep(301)
        until(lambda: d.live() == {"/a": b"a"})
        assert runs(d) == ["longest", "quiet"]
        # Due while it was down: once at the start.
        d.write("/a", "b")
        d.sign("/a")
        d.stop()
        clock.sleep(5 * HOUR)
        d.start(env=clock.env)
        until(lambda: d.live() == {"/a": b"b"})
        assert len(runs(d)) == 3


def test_pauses_between_tries_grow():
    d, clock = started({"/a": "a"})
    with d:
        def pause():
            """From the end of the last run to the target's next try."""
            last = d.must("GET", d.api_site("/sync/runs"))["items"][0]
            at = [datetime.datetime.fromisoformat(x.replace("Z", "+00:00")) for x in (last["finished_at"], state(d)["targets"][0]["retry_at"])]
            return round((at[1] - at[0]).total_seconds())

        away = d.production.with_suffix(".away")
        d.production.rename(away)
        d.sign("/a")
        d.sync(state="failed")
        for n, seconds_between in enumerate((15, 30, 60, 120, 240, 480, 960, 1800)):
            until(lambda: len(runs(d)) == n + 2)  # noqa: B023
            assert runs(d)[-1] == ("retry" if n else "forced") and abs(pause() - seconds_between) < 5, n
            if n < 7:
                clock.sleep(seconds_between + 1)
        # Half an hour at the most; and well again in between, it begins with the first pause.
        d.sync(state="failed")
        assert abs(pause() - 1800) < 5
        away.rename(d.production)
        assert d.sync()["state"] == "ok" and d.live() == {"/a": b"a"}
        d.production.rename(away)
        d.write("/a", "b")
        d.sign("/a")
        d.sync(state="failed")
        assert abs(pause() - 15) < 5


def test_a_hold_ends_by_the_wall_clock():
    """It is a time that somebody wrote; whoever sets the clock moves it, for the scheduler as for acts."""
    d, clock = started({"/a": "a"})
    with d:
        d.must("POST", d.api_site("/holds"), {"path": "/", "until": "2h", "reason": "a test"})
        d.sign("/a")
        clock.jump(-DAY)
        clock.sleep(3 * HOUR)  # long over, if it were so many hours
        assert runs(d) == ["longest"] and state(d)["held_until"]
        clock.jump(DAY)
        until(lambda: d.live() == {"/a": b"a"})
        assert not state(d)["held_until"]


def test_a_release_is_cut_again_before_it_expires():
    """A receiver that was away would refuse one that has run out. Half of that time is left then: not at each sync."""
    d, clock = started({"/a": "a"}, site_config='\trelease_expiry = "4h"\n')
    with d:
        heads = lambda: [json.loads(d.cli("release", "show", str(r["number"]), "--paper", "head").stdout)  # noqa: E731
                         for r in d.must("GET", d.api_site("/releases"))["items"]]
        d.sign("/a")
        assert d.sync()["release"] == 1
        clock.sleep(HOUR + 1)
        assert runs(d)[-1] == "longest" and len(heads()) == 1
        clock.sleep(HOUR + 1)
        until(lambda: len(heads()) == 2)
        new, old = heads()
        assert new["tree"] == old["tree"] and new["number"] == 2
        at = {h["number"]: [datetime.datetime.fromisoformat(h[k].replace("Z", "+00:00")) for k in ("at", "expires")] for h in (new, old)}
        assert all(abs((expires - cut).total_seconds() - 4 * HOUR) < 60 for cut, expires in at.values())
        assert at[2][0] - at[1][0] >= datetime.timedelta(hours=2)
        assert runs(d) and len(heads()) == 2


def test_sessions_and_a_clock_that_goes_back():
    d, clock = started({"/a": "a"})
    with d:
        d.add_account("alice")
        alice = d.login("alice")
        clock.jump(-DAY)
        assert alice.get("/s/www/sync", allow_redirects=False).status_code == 200
        clock.jump(DAY)
        assert alice.get("/s/www/sync", allow_redirects=False).status_code == 200
        # Not longer than it may last, whatever the clock did in between.
        clock.sleep(40 * DAY)
        alice.close()  # an idle connection does not last that long either
        assert alice.get("/s/www/sync", allow_redirects=False).status_code != 200
