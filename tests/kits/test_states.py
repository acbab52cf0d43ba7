"""What is said to be live, waiting or gone is what the tree of a release has: with holds, and beside take-downs, that is not all that was approved."""
import datetime
import json
import pathlib
import re
import sys
import urllib.parse

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))

sys.path.insert(0, str(TOP / "tests" / "kits"))

from drydock import Drydock  # noqa: E402
from test_kits import COPY, add_target, write_kit  # noqa: E402
from waiting import until  # noqa: E402

FILES = {"/index.html": "one", "/docs/a.html": "a one", "/docs/b.html": "b one", "/other.html": "other"}


def ctl(d, *args):
    r = d.cli(*args)
    assert r.returncode == 0, r.stdout + r.stderr
    return r.stdout


def of_file(d, path):
    """{target: what the API says of that file there}."""
    answer = d.must("GET", d.api_site("/status?" + urllib.parse.urlencode({"path": path})))
    return {t["name"]: t for t in answer["targets"]}


def at(d, path, target="production"):
    """What matters of that, and a look whether the words of `drydock status` and of the page go with it."""
    t = of_file(d, path)[target]
    told, page = ctl(d, "status", path), re.sub(r"<[^>]*>", "", d.ed.get(f"/s/www/file{path}").text)
    live = t["has_it"] and t["confirmed"]
    gone = t["gone"] and t["confirmed"]
    assert (f"  {target}: live since release {t['since']}, confirmed " in told) == live, told
    assert (f"  {target}: gone since release {t['since']}, confirmed " in told) == gone, told
    assert bool(re.search(rf"Live on {target} since [^.]* in release {t['since']}, confirmed\.", page)) == live, page
    assert bool(re.search(rf"Gone from {target}: release {t['since']}, confirmed [^.]*, does not have it\.", page)) == gone, page
    return t["state"], t["has_it"], t["gone"], t["since"]


def sync_now(d):
    return d.must("GET", d.api_site("/sync"))


def idle(d):
    until(lambda: not sync_now(d)["running"])


def unconfirmed(d, since):
    """Wait until the oldest approval that is not live was given then (None: there is none), in the status and for machines."""
    until(lambda: sync_now(d)["unconfirmed_since"] == since, 60, lambda: f"{sync_now(d)['unconfirmed_since']}, not {since}")
    metrics = d.ed.get("/metrics").text
    seconds = float(re.search(r"^drydock_oldest_unconfirmed_seconds ([0-9.]+)$", metrics, re.M)[1])
    assert (seconds > 0) == (since is not None), metrics


def begin(d):
    d.add_account("ed", "admin", "/")
    d.ed = d.login("ed")
    d.sign("/", recursive=True)
    d.sync()
    for path in FILES:
        assert at(d, path) == ("confirmed", True, False, 1)
    unconfirmed(d, None)


def sign(d, path, text):
    """By ed, so that his home page speaks of it: when."""
    d.write(path, text)
    answer = d.ed.post(d.api_site("/sign"), json={"paths": [path], "as_staged": True})
    assert answer.status_code == 200, answer.text
    return d.file(path)["approved"]["at"]


def not_yet_live(d):
    """What ed's home page lists as signed by him and not yet live."""
    page = d.ed.get("/s/www/").text
    section = page[page.index('id="h-pending"'):]
    return set(re.findall(r'class="path" href="[^"]*">([^<]*)<', section[:section.index("</section>")]))


def test_what_is_held_is_not_live():
    with Drydock(files=FILES, accounts=(), quiet_period="1h") as d:
        begin(d)
        d.must("POST", d.api_site("/holds"), {"path": "/docs", "until": "2h", "reason": "lawyers look at it"})
        (hold,) = d.must("GET", d.api_site("/holds"))["items"]
        held = sign(d, "/docs/a.html", "a two")
        sign(d, "/index.html", "two")
        d.revoke("/docs/b.html")
        d.sync()
        assert d.live()["/docs/a.html"] == b"a one" and d.live()["/index.html"] == b"two"
        # Release 2 is as of a record behind all three, and has one of them.
        for _ in range(2):
            assert at(d, "/index.html") == ("confirmed", True, False, 2)
            for path in ("/docs/a.html", "/docs/b.html"):
                assert at(d, path) == ("waiting", False, False, 0)
                assert of_file(d, path)["production"]["waits_until"] == hold["until"]
            assert "production: not yet confirmed (waiting until " in ctl(d, "status", "/docs/a.html")
            assert "production: not yet confirmed gone (waiting until " in ctl(d, "status", "/docs/b.html")
            assert "goes live when the hold ends" in d.ed.get("/s/www/file/docs/a.html").text
            assert "leaves production when the hold ends" in d.ed.get("/s/www/file/docs/b.html").text
            assert not_yet_live(d) == {"/docs/a.html"}
            unconfirmed(d, held)
            # What is public is said of what is public.
            there = json.loads(ctl(d, "release", "whence", "/docs/a.html", "--json"))
            assert there["since"] == 1 and there["targets"][0]["has_it"] and there["targets"][0]["since"] == 1
            d.stop()
            d.start()
            d.ed = d.login("ed")
        # Another release, and another version of it: the oldest approval that never came live is still the first.
        sign(d, "/other.html", "other two")
        sign(d, "/docs/a.html", "a three")
        d.sync()
        assert at(d, "/other.html") == ("confirmed", True, False, 3)
        assert at(d, "/docs/a.html") == ("waiting", False, False, 0)
        unconfirmed(d, held)
        ctl(d, "hold", "lift", "/docs")
        assert at(d, "/docs/a.html") == ("waiting", False, False, 0)
        d.sync()
        assert at(d, "/docs/a.html") == ("confirmed", True, False, 4)
        assert at(d, "/docs/b.html") == ("confirmed", False, True, 4)
        assert at(d, "/index.html") == ("confirmed", True, False, 2)
        assert not_yet_live(d) == set()
        unconfirmed(d, None)
        # Not by when it was approved: made again from the log all of that is the same.
        d.stop()
        assert d.run(d.argv()[0], "fsck", "--data", d.data, check=False).returncode == 0


def test_what_was_signed_beside_a_take_down_is_not_live():
    with Drydock(files=FILES, accounts=(), quiet_period="1h", start=False) as d:
        write_kit(d, "far", "#!/bin/sh\nexit 0\n")
        add_target(d, "far", "far", extra=f'host = "far.example"\n\t\tkey_file = "{d.dir}/key"\n\t\tknown_hosts = "{d.dir}/hosts"')
        for name in ("key", "hosts"):
            (d.dir / name).touch(0o600)
            d._own(d.dir / name)
        d.start()
        begin(d)
        left = sign(d, "/index.html", "two")
        assert at(d, "/index.html") == ("waiting", False, False, 0)
        waits, due = (datetime.datetime.fromisoformat(t) for t in (of_file(d, "/index.html")["production"]["waits_until"], sync_now(d)["next"]))
        assert abs(waits - due) < datetime.timedelta(seconds=2)
        ctl(d, "revoke", "--take-down", "--as-staged", "-m", "a court says so", "/other.html")
        until(lambda: at(d, "/other.html") == ("confirmed", False, True, 2))
        idle(d)
        assert d.live()["/index.html"] == b"one"
        assert at(d, "/index.html") == ("waiting", False, False, 0)
        assert not_yet_live(d) == {"/index.html"}
        unconfirmed(d, left)
        # Of a target where nobody can confirm it, so much.
        there = of_file(d, "/other.html")["far"]
        assert (there["gone"], there["has_it"], there["since"], there["confirmed"]) == (True, False, 2, False)
        assert "  far: gone since release 2, as its kit says\n" in ctl(d, "status", "/other.html")
        assert "Gone from far with release 2, as its kit says" in d.ed.get("/s/www/file/other.html").text
        d.sync()
        assert at(d, "/index.html") == ("confirmed", True, False, 3)
        assert at(d, "/other.html") == ("confirmed", False, True, 2)
        assert of_file(d, "/index.html")["far"]["has_it"] and not of_file(d, "/index.html")["far"]["confirmed"]
        unconfirmed(d, None)


def test_back_as_it_was_there_is_nothing_to_bring():
    """Signed, and signed again as it had been, before any release: none is cut for it, and nothing waits for one."""
    with Drydock(files=FILES, accounts=(), quiet_period="1h") as d:
        begin(d)
        first = sign(d, "/index.html", "two")
        unconfirmed(d, first)
        sign(d, "/index.html", "one")
        assert at(d, "/index.html") == ("confirmed", True, False, 1)
        assert d.sync(state=None)["state"] == "nothing"
        unconfirmed(d, None)
        assert at(d, "/index.html") == ("confirmed", True, False, 1)


def test_what_nobody_knows_is_not_called_live():
    """A second version was handed over, and no answer came; the first is approved again, and cannot be brought: which of them is there?"""
    with Drydock(files=FILES, accounts=(), quiet_period="1h", start=False) as d:
        write_kit(d, "far", '#!/bin/sh\nif [ -e "$0.lost" ]; then echo \'{"sent":true}\'; exit 1; fi\n' + COPY)
        place = add_target(d, "far", "far")
        d.start()
        begin(d)
        (d.dir / "kits" / "far.lost").touch()
        sign(d, "/index.html", "two")
        d.sync(state="failed")
        assert at(d, "/index.html", "far") == ("sent", False, False, 0)
        # What was approved before that is in both.
        assert at(d, "/other.html", "far") == ("sent", True, False, 1)
        sign(d, "/index.html", "one")
        d.sync(state="failed")
        assert at(d, "/index.html", "far") == ("sent", False, False, 0) and (place / "index.html").read_text() == "one"
        assert sync_now(d)["unconfirmed_since"] is not None and at(d, "/index.html") == ("confirmed", True, False, 3)
        (d.dir / "kits" / "far.lost").unlink()
        d.sync()
        assert at(d, "/index.html", "far") == ("confirmed", True, False, 3)
        unconfirmed(d, None)


def test_the_first_of_many_releases():
    with Drydock(files=FILES, accounts=(), quiet_period="1h") as d:
        begin(d)
        d.must("POST", d.api_site("/holds"), {"path": "/docs", "until": "2h", "reason": "long"})
        for n in range(2, 7):
            if n == 3:
                sign(d, "/docs/a.html", "a two")
            sign(d, "/other.html", f"other {n}")
            d.sync()
        assert at(d, "/docs/a.html") == ("waiting", False, False, 0) and at(d, "/docs/b.html")[3] == 1
        ctl(d, "hold", "lift", "/docs")
        for n in range(7, 12):
            sign(d, "/index.html", f"{n}")
            d.sync()
            assert at(d, "/docs/a.html")[3] == 7 and at(d, "/other.html")[3] == 6 and at(d, "/index.html")[3] == n and at(d, "/docs/b.html")[3] == 1
