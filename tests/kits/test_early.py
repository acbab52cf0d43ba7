"""The connection to production is made while the release is cut: what comes of it when that goes otherwise than expected."""
import contextlib
import fcntl
import os
import pathlib
import signal
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))
sys.path.insert(0, str(TOP / "tests" / "kits"))

import pytest  # noqa: E402

from clock import Clock  # noqa: E402
from drydock import Drydock  # noqa: E402
from failpoints import Failpoints  # noqa: E402
from test_ssh import KITS, PAGES, Production, user_name  # noqa: E402
from waiting import until  # noqa: E402

CUTTING = "release_prepared"


@contextlib.contextmanager
def world(**options):
    """A site whose only target holds release 1, and a signed change: (server, production, failpoints, clock)."""
    with Drydock(files=PAGES, accounts=(), start=False) as d:
        fp, clock = Failpoints(d.dir / "failpoints", own=d._own), Clock(d.dir / "clock", own=d._own)
        p = Production(d)
        try:
            text = d.conf.read_text()
            d.conf.write_text(text[:text.index("\ttarget ")] + p.target(user_name(d), **options) + "}\n")
            d.start(env={**fp.env, **clock.env})
            d.sign("/", recursive=True)
            d.sync()
            d.write("/index.html", "two")
            d.sign("/index.html")
            yield d, p, fp, clock
        finally:
            p.stop()


def connections(p):
    return (p.dir / "sshd.log").read_text().count("Accepted publickey")


def force_while(d, p, fp, what=lambda: None, reason="a test"):
    """Force a sync; do `what` when the connection stands and the release is not cut yet: the run."""
    before, stood = d.newest_run(), connections(p)
    fp.delay(CUTTING, 3000)
    d.must("POST", d.api_site("/sync/force"), {"reason": reason})
    until(lambda: fp.happened)
    until(lambda: connections(p) > stood)
    assert d.newest_run() == before and d.must("GET", d.api_site("/sync"))["release"] == 1
    what()
    return d.forced_run(before, reason, state=None)


@pytest.mark.parametrize("kit", KITS)
def test_the_connection_is_there_before_the_release(kit):
    # To wait takes nothing off its deadline.
    with world(kit=kit, deadline="2s") as (d, p, fp, _):
        stood = connections(p)
        run = force_while(d, p, fp)
        assert run["state"] == "ok" and connections(p) == stood + 1, run
        assert p.live()["/index.html"] == b"two"
        # With what changed only, as from a kit that is started with the run.
        assert '"changed":1' in run["targets"][0]["output"] and run["targets"][0]["state"] == "confirmed"


def kits_of(d):
    """The processes of kits that run for this server."""
    def one(entry):
        try:
            kit = (entry / "cmdline").read_bytes().split(b"\0")[0].endswith(b"/tar-ssh")
            return kit and f"DRYDOCK_KEY_FILE={d.dir}/".encode() in (entry / "environ").read_bytes()
        except OSError:
            return False
    return [int(entry.name) for entry in pathlib.Path("/proc").iterdir() if entry.name.isdigit() and one(entry)]


def no_kit(d):
    until(lambda: not kits_of(d))


def test_nothing_to_send():
    """The connection is left at once, and production stays as it is."""
    with world() as (d, p, _, _):
        d.sync()
        held = p.accepted()
        run = d.sync("nothing new", state="nothing")
        assert run["targets"] == [] and p.accepted() == held
        no_kit(d)
        d.write("/index.html", "three")
        d.sign("/index.html")
        d.sync()
        assert p.live()["/index.html"] == b"three"


def test_a_kit_that_ended_meanwhile():
    """The run starts the kit as any other."""
    with world() as (d, p, fp, _):
        def end():
            kit, = kits_of(d)
            os.kill(kit, signal.SIGKILL)
            until(lambda: not pathlib.Path(f"/proc/{kit}").exists())
        stood = connections(p)
        run = force_while(d, p, fp, end)
        assert run["state"] == "ok" and p.live()["/index.html"] == b"two" and connections(p) == stood + 2, run


def test_a_release_that_takes_long():
    """A connection that nobody used for too long is not trusted."""
    with world() as (d, p, fp, clock):
        stood = connections(p)
        run = force_while(d, p, fp, lambda: clock.sleep(11))
        assert run["state"] == "ok" and p.live()["/index.html"] == b"two" and connections(p) == stood + 2, run


def test_held_while_it_is_cut():
    """Nothing goes out, and nobody is left behind."""
    with world() as (d, p, fp, _):
        run = force_while(d, p, fp, lambda: d.must("POST", d.api_site("/holds"), {"path": "/", "reason": "stop", "until": "1h"}))
        assert run["state"] in ("interrupted", "nothing") and p.live()["/index.html"] == b"<h1>one</h1>", run
        no_kit(d)


def test_a_release_that_is_not_cut():
    with world() as (d, p, fp, _):
        stood = connections(p)
        fp.error(CUTTING)
        d.must("POST", d.api_site("/sync/force"), {"reason": "a test"})
        until(lambda: fp.happened)
        # It is tried again by itself.
        until(lambda: p.live()["/index.html"] == b"two", wait=30)
        assert connections(p) > stood


def test_production_is_busy_meanwhile():
    """Somebody has the receiver's lock when the kit comes early, and not when the release is there."""
    with world() as (d, p, fp, _):
        with (p.state / "lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)

            def lift():
                no_kit(d)
                fcntl.flock(lock, fcntl.LOCK_UN)
            stood = connections(p)
            run = force_while(d, p, fp, lift)
        assert run["state"] == "ok" and p.live()["/index.html"] == b"two" and connections(p) == stood + 2, run


def test_production_goes_away_meanwhile():
    with world() as (d, p, fp, _):
        def away():
            p.stop()
            os.kill(*kits_of(d), signal.SIGKILL)
        run = force_while(d, p, fp, away)
        assert run["state"] == "failed" and "production cannot be reached" in run["message"], run
        p.start()
        until(lambda: p.live()["/index.html"] == b"two", wait=40)
