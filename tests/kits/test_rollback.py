"""Going back: a rollback and earlier versions of files, in browser and terminal, with kits that send them."""
import json
import pathlib
import re
import sys
import urllib.parse

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))

from drydock import Drydock  # noqa: E402
from waiting import until  # noqa: E402

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


def wait_live(d, want):
    until(lambda: d.live() == want, why=lambda: (d.live(), d.log()[-2000:]))


def wait_idle(d):
    until(lambda: not d.must("GET", d.api_site("/sync"))["running"])


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


def two_releases_with(d):
    d.write("/private/a.html", "1")
    d.write("/picture.png", b"\x89PNG\r\n\x1a\n\0one")
    d.sign("/", recursive=True)
    d.sync()
    d.write("/index.html", "two")
    d.write("/new.html", "new")
    d.write("/docs/a.html", "a two")
    d.write("/picture.png", b"\x89PNG\r\n\x1a\n\0two")
    d.write("/private/a.html", "2")
    d.revoke("/gone.html")
    d.sign("/index.html", "/new.html", "/docs/a.html", "/picture.png", "/private/a.html")
    d.sync()


def follow(text, base):
    """Links of the page that lead back to itself: {text: address}."""
    return {t: base + h.replace("&amp;", "&") for h, t in re.findall(r'<a[^>]* href="(\?[^"]*)"[^>]*>([^<]*)</a>', text)}


def test_what_would_come_back_is_shown_file_by_file():
    with Drydock(files=ONE, accounts=("alice",)) as d:
        two_releases_with(d)
        d.add_account("root", "admin", "/")
        d.add_account("ed", "sign", "/docs")
        d.role("own:root", "none", "/private")
        root, ed = d.login("root"), d.login("ed")
        links = follow(root.get("/s/www/rollback/1").text, "/s/www/rollback/1")
        page = root.get(links["/index.html"]).text
        assert "1 line removed, 1 added" in page and "two</del>" in page and "one</ins>" in page and 'href="/s/www/file/index.html"' in page
        page = root.get(links["/gone.html"]).text
        assert "0 lines removed, 1 added" in page and "was here" in page
        assert "1 line removed, 0 added" in root.get(links["/new.html"]).text
        assert "It is not text: " in root.get(links["/picture.png"]).text
        # The form below still has the digest of all of it.
        digest = re.search(r'name="plan" value="([0-9a-f]{64})"', page)[1]
        assert f'value="{digest}"' in root.get("/s/www/rollback/1").text
        # What does not change, is not there, or may not be seen is one answer.
        answers = {root.get(f"/s/www/rollback/1?file={p}").status_code for p in ("/same.html", "/nowhere", "/private/a.html")}
        assert answers == {404}
        assert root.get("/s/www/rollback/1?file=x/../y").status_code in (400, 404)
        # A directory as of a release, in browser and terminal.
        page = ed.get("/s/www/history?path=/docs").text
        assert 'action="/s/www/reapprove"' in page and "as of release" in page
        page = ed.get("/s/www/reapprove?path=/docs&release=1").text
        assert "/docs/a.html" in page and "/index.html" not in page and "release 1 has there" in page
        shown = ed.get(follow(page, "/s/www/reapprove")["/docs/a.html"]).text
        assert "1 line removed, 1 added" in shown and "two</del>" in shown and "one</ins>" in shown
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', shown))
        assert fields["release"] == "1" and "record" not in fields
        assert ed.get("/s/www/reapprove?path=/docs").status_code == 400 and ed.get("/s/www/reapprove?path=/docs&release=1&record=2").status_code == 400
        assert ed.get("/s/www/reapprove?path=/docs&release=77").status_code == 404
        assert ed.post("/s/www/reapprove", data=fields).status_code == 200
        assert d.file("/docs/a.html")["state"] == "changed"
        record = d.records()[0]
        assert record["act"] == "reapprove" and record["fields"]["to_release"] == 1 and [f["path"] for f in record["files"]] == ["/docs/a.html"]
        out = ctl(d, "reapprove", "--release", "2", "/docs")
        assert "/docs/a.html" in out and d.file("/docs/a.html")["state"] == "signed"
        assert "PATH@RECORD | --release N PATH" in d.cli("reapprove", "/docs").stderr


def test_what_would_come_back_does_not_depend_on_staging():
    with Drydock(files={"/index.html": "one\n", "/run.sh": "exit\n", "/list.txt": "one\n"}, accounts=()) as d:
        d.sign("/", recursive=True)
        d.sync()
        d.write("/index.html", "two\n")
        d.write("/list.txt", "two\n")
        d.write("/run.sh", "exit\n", executable=True)
        d.sign("/", recursive=True)
        d.sync()
        d.remove("/index.html")
        d.write("/index.html/inside.html", "a directory has taken its name")
        d.write("/list.txt", b"x" * (5 << 20))
        d.add_account("root", "admin", "/")
        root = d.login("root")
        for name in ("index.html", "list.txt"):
            page = root.get(f"/s/www/rollback/1?file=/{name}").text
            assert "1 line removed, 1 added" in page and "two</del>" in page and "one</ins>" in page, page
        assert "only the right to execute it differs" in root.get("/s/www/rollback/1?file=/run.sh").text


def test_a_long_preview_has_pages():
    with Drydock(files={f"/many/{i:04}{'x' * 60}.html": "1" for i in range(600)}, accounts=("root",)) as d:
        d.sign("/", recursive=True)
        d.sync()
        for i in range(600):
            d.write(f"/many/{i:04}{'x' * 60}.html", "2")
        d.sign("/", recursive=True)
        d.sync()
        root, at, seen = d.login("root"), "/s/www/rollback/1", []
        while at:
            page = root.get(at).text
            assert len(page) < 50000 and "600 to an earlier version" in page
            seen += re.findall(r'<a class="path" href="\?[^"]*">([^<]*)</a>', page)
            found = re.search(r'<a href="(\?after=[^"]*)" rel="next">', page)
            at = "/s/www/rollback/1" + found[1].replace("&amp;", "&") if found else None
        assert seen == sorted(set(seen)) and len(seen) == 600
