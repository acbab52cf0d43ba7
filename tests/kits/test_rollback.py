"""Going back: a rollback and earlier versions of files, in browser and terminal, with kits that send them."""
import json
import pathlib
import re
import sys
import time
import urllib.parse

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))

from drydock import Drydock  # noqa: E402

ONE = {"/index.html": "one", "/gone.html": "was here", "/same.html": "same", "/docs/a.html": "a one", "/docs/b.html": "b one"}


def ctl(d, *args, code=0):
    r = d.cli(*args)
    assert r.returncode == code, r.stdout + r.stderr
    return r.stdout


def two_releases(d):
    """Release 1 is ONE; in release 2 a file is changed, one new, one gone."""
    d.sign("/", recursive=True)
    d.sync()
    assert d.live() == {p: t.encode() for p, t in ONE.items()}
    d.write("/index.html", "two")
    d.write("/new.html", "new")
    d.write("/docs/a.html", "a two")
    d.revoke("/gone.html")
    d.sign("/index.html", "/new.html", "/docs/a.html")
    d.sync()
    assert d.live()["/index.html"] == b"two"


def wait_live(d, want, wait=30):
    end = time.monotonic() + wait
    while d.live() != want:
        assert time.monotonic() < end, (d.live(), d.log()[-2000:])
        time.sleep(0.05)


def wait_idle(d, wait=30):
    end = time.monotonic() + wait
    while d.must("GET", d.api_site("/sync"))["running"]:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_terminal():
    with Drydock(files=ONE, accounts=("alice",)) as d:
        two_releases(d)
        first = {p: t.encode() for p, t in ONE.items()}
        shown = ctl(d, "release", "rollback", "1")
        assert shown.splitlines()[:4] == ["change  /docs/a.html", "add     /gone.html", "change  /index.html", "remove  /new.html"]
        digest = re.search(r"--plan ([0-9a-f]{64})", shown)[1]
        # Something is signed between the look and the act: a conflict that shows what it would be now.
        d.write("/same.html", "changed")
        d.sign("/same.html")
        told = ctl(d, "release", "rollback", "1", "-m", "the prices are wrong", "--plan", digest, code=4)
        assert "/same.html" in told
        now = re.search(r"--plan ([0-9a-f]{64})", told)[1]
        assert now != digest and d.live()["/index.html"] == b"two"
        ctl(d, "release", "rollback", "1", "--plan", now, code=1)
        ctl(d, "release", "rollback", "9", "-m", "x", code=2)
        ctl(d, "release", "rollback", "1", "-m", "the prices are wrong", "--plan", now)
        wait_live(d, first)
        wait_idle(d)
        release = json.loads(ctl(d, "release", "show", "3", "--json"))["release"]
        run = json.loads(ctl(d, "sync", "log", "--json"))["items"][0]
        assert (run["release"], run["trigger"], run["reason"], run["state"]) == (3, "forced", "the prices are wrong", "ok")
        assert all(line.startswith(("ok", "production holds release 3")) for line in ctl(d, "release", "verify", "3").splitlines())
        assert ctl(d, "release", "diff", "1", "3") == "Nothing differs that you may see.\n"
        assert d.file("/index.html")["state"] == "changed" and d.file("/new.html")["state"] == "revoked"
        record = d.record(release["seq"])
        assert record["act"] == "rollback" and record["fields"]["to_release"] == 1 and len(record["files"]) == 5
        # Stock git: main has the tree of release 1 again, and the whole chain holds.
        assert d.git("rev-parse", "main^{tree}").stdout == d.git("rev-parse", "release/1^{tree}").stdout
        d.git("verify-tag", "release/3")
        # The next one goes on from there.
        d.sign("/index.html")
        d.sync()
        assert d.live() == {**first, "/index.html": b"two"}
        # One file, and a directory, whatever is staged.
        seq = d.record(release["seq"])["seq"]
        d.write("/docs/b.html", "b staged")
        ctl(d, "reapprove", f"/index.html@{seq}", "-m", "the old one after all")
        d.sync()
        assert d.live()["/index.html"] == b"one" and d.file("/index.html")["state"] == "changed"
        ctl(d, "reapprove", f"/index.html@{seq}", code=4)
        ctl(d, "reapprove", "/index.html", code=1)
        # Everything of it is in the log: database and repositories tell the same, and one can be made from the other.
        d.stop()
        d.run(d.argv()[0], "fsck", "--data", d.data)
        d.start()


def test_browser():
    with Drydock(files=ONE, accounts=("alice",)) as d:
        two_releases(d)
        d.add_account("ed", "sign", "/docs")
        d.add_account("root", "admin", "/")
        ed, root = d.login("ed"), d.login("root")
        page = root.get("/s/www/sync").text
        assert "/s/www/rollback/1" in page
        assert "/s/www/rollback/1" not in ed.get("/s/www/sync").text
        assert ed.get("/s/www/rollback/1").status_code == 403
        shown = root.get("/s/www/rollback/1").text
        assert "/new.html" in shown and "/same.html" not in shown and len(shown) < 50000

        def form(text, **kw):
            fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', text))
            return {**fields, **kw}

        posted = root.post("/s/www/rollback/1", data=form(shown))
        assert posted.status_code == 400 and "Say why" in posted.text
        assert ed.post("/s/www/rollback/1", data=form(shown, csrf=ed.csrf, note="x")).status_code == 403
        d.write("/same.html", "changed")
        d.sign("/same.html")
        stale = root.post("/s/www/rollback/1", data=form(shown, note="wrong prices"))
        assert stale.status_code == 409 and "Nothing was recorded" in stale.text and "/same.html" in stale.text and "wrong prices" in stale.text
        done = root.post("/s/www/rollback/1", data=form(stale.text, note="wrong prices"))
        assert done.status_code == 200 and "cut release 3 with the files of release 1" in done.text
        wait_live(d, {p: t.encode() for p, t in ONE.items()})
        wait_idle(d)
        # The editor takes his file back to the second version, from its history.
        history = ed.get("/s/www/history?path=/docs/a.html").text
        links = re.findall(r'<a href="(/s/www/reapprove[^"]*)">', history)
        assert len(links) == 2, history  # signed twice; what stands is not offered
        shown = ed.get(links[0].replace("&amp;", "&")).text
        assert "/docs/a.html" in shown
        assert ed.get("/s/www/reapprove?" + urllib.parse.urlencode({"path": "/index.html", "record": 3})).status_code == 404
        done = ed.post("/s/www/reapprove", data=form(shown))
        assert done.status_code == 200 and "approved again" in done.text
        d.sync()
        assert d.live()["/docs/a.html"] == b"a two"
