"""Holds, take-downs, plans that were shown, and too many files that would go: with a real server and kits."""
import concurrent.futures
import contextlib
import json
import pathlib
import re
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))

sys.path.insert(0, str(TOP / "tests" / "kits"))

from drydock import Drydock  # noqa: E402
from test_kits import add_target, write_kit  # noqa: E402
from waiting import until  # noqa: E402


def ctl(d, *args, code=0):
    r = d.cli(*args)
    assert r.returncode == code, r.stdout + r.stderr
    return r.stdout + r.stderr


def sync_now(d):
    return d.must("GET", d.api_site("/sync"))


def runs(d):
    return d.must("GET", d.api_site("/sync/runs"))["items"]


def idle(d):
    until(lambda: not sync_now(d)["running"])


FILES = {"/index.html": "one", "/docs/a.html": "a one", "/docs/b.html": "b one", "/other.html": "other"}


def test_path_and_site():
    with Drydock(files=FILES, accounts=()) as d:
        d.add_account("ed", "sign", "/")
        d.add_account("doc", "admin", "/docs")
        d.sign("/", recursive=True)
        d.sync()
        ed, doc = d.login("ed"), d.login("doc")
        hold = {"path": "/docs", "until": "2h", "reason": "lawyers look at it"}
        assert ed.post(d.api_site("/holds"), json=hold).status_code == 403
        assert doc.post(d.api_site("/holds"), json={**hold, "path": "/"}).status_code == 404  # he sees nothing of it
        assert doc.post(d.api_site("/holds"), json={**hold, "until": "yesterday"}).status_code == 400
        assert doc.post(d.api_site("/holds"), json={**hold, "reason": ""}).status_code == 400
        assert doc.post(d.api_site("/holds"), json=hold).status_code == 200
        assert "lawyers look at it" in ctl(d, "hold", "list")
        page = ed.get("/s/www/sync").text
        assert "lawyers look at it" in page and 'name="remove"' not in page
        d.write("/index.html", "two")
        d.write("/docs/a.html", "a two")
        d.sign("/index.html", "/docs/a.html")
        d.revoke("/docs/b.html")
        shown = ctl(d, "sync", "plan")
        assert "/index.html" in shown and "/docs/" not in shown and "2 more changes are held back" in shown
        d.sync()
        assert d.live() == {"/index.html": b"two", "/docs/a.html": b"a one", "/docs/b.html": b"b one", "/other.html": b"other"}
        # In the history of the site everything holds together, offline too.
        assert all(line.startswith(("ok", "production holds release 2")) for line in ctl(d, "release", "verify", "2").splitlines())
        assert ctl(d, "release", "diff", "2") == "change  /index.html\n"
        d.stop()
        assert d.run(d.argv()[0], "fsck", "--data", d.data, check=False).returncode == 0
        d.start()
        # The whole site: no force gets through, and lifted by the browser it goes on.
        ctl(d, "site", "hold", "--until", "2h", "-m", "the election")
        assert "held" in ctl(d, "sync", "force", "-m", "please", code=3)
        until(lambda: sync_now(d)["held_until"])
        # A take-down does, with nothing else.
        d.write("/other.html", "other two")
        d.sign("/other.html")
        ctl(d, "revoke", "--take-down", "--as-staged", "/docs/a.html", code=1)
        ctl(d, "revoke", "--take-down", "--as-staged", "-m", "a court says so", "/docs/a.html")
        until(lambda: "/docs/a.html" not in d.live())
        idle(d)
        assert d.live() == {"/index.html": b"two", "/docs/b.html": b"b one", "/other.html": b"other"}
        assert (runs(d)[0]["trigger"], runs(d)[0]["reason"], runs(d)[0]["state"]) == ("take-down", "a court says so", "ok")
        ctl(d, "site", "lift")
        ctl(d, "site", "lift", code=2)
        ctl(d, "hold", "lift", "/docs")
        d.sync()
        assert d.live() == {"/index.html": b"two", "/other.html": b"other two"}
        d.stop()
        assert d.run(d.argv()[0], "fsck", "--data", d.data, check=False).returncode == 0


def test_a_hold_ends_by_itself_also_while_the_server_is_down():
    with Drydock(files=FILES, accounts=(), quiet_period="1h") as d:
        d.sign("/", recursive=True)
        d.sync()
        d.must("POST", d.api_site("/holds"), {"path": "/docs", "until": "3s", "reason": "a moment"})
        d.write("/docs/a.html", "a two")
        d.sign("/docs/a.html")
        d.sync(state=None)
        assert d.live()["/docs/a.html"] == b"a one"
        until(lambda: d.live()["/docs/a.html"] == b"a two")
        assert runs(d)[0]["trigger"] == "released"
        d.must("POST", d.api_site("/holds"), {"path": "/docs", "until": "2s", "reason": "again"})
        d.write("/docs/a.html", "a three")
        d.sign("/docs/a.html")
        d.sync(state=None)
        over = time.monotonic() + 2
        d.stop()
        time.sleep(max(0, over - time.monotonic()))
        d.start()
        until(lambda: d.live()["/docs/a.html"] == b"a three")


@contextlib.contextmanager
def hanging():
    """Release 2 is under way, and a second target's kit does not come to its end before its file `go` is there: (server, the target's
    place, the number of the run)."""
    with Drydock(files=FILES, accounts=(), start=False) as d:
        copy = 'rsync -rlt --checksum --delete "$DRYDOCK_EXPORT/" "$DRYDOCK_PLACE/"'
        asked = 'if [ "$1" = test ]; then : >asked; until [ -e "$0.go" ]; do sleep 0.1; done; exit; fi'
        hanging = 'if [ "$DRYDOCK_RELEASE" = 2 ] && [ ! -e "$0.go" ]; then echo hanging; sleep 300; fi'
        write_kit(d, "slow", f"#!/bin/sh\n{asked}\n{hanging}\n{copy}\n")
        place = add_target(d, "slow", "slow")
        d.start()
        d.sign("/", recursive=True)
        d.sync()
        d.write("/index.html", "two")
        d.sign("/index.html")
        ctl(d, "sync", "force", "-m", "now")

        def hangs():
            now = sync_now(d)
            status, run = d.api("GET", d.api_site(f"/sync/runs/{now['run']}"))
            return status == 200 and run["release"] == 2 and now["running"] and "slow" in str(run["targets"]) and now["run"]
        yield d, place, until(hangs)


def test_a_take_down_ends_running_kits():
    with hanging() as (d, place, run):
        ctl(d, "revoke", "--take-down", "--as-staged", "-m", "at once", "/other.html")
        until(lambda: "/other.html" not in d.live() and not (place / "other.html").exists())
        until(lambda: next(r for r in runs(d) if r["trigger"] == "take-down")["state"] == "ok")
        assert next(r for r in runs(d) if r["run"] == run)["state"] == "interrupted"
        assert (place / "index.html").read_text() == "two"


def test_who_has_ended_is_seen_while_another_is_slow():
    """What one target confirmed stands in its own row and output; a crash of the daemon loses none of it."""
    with hanging() as (d, _, run):
        def targets():
            return {t["name"]: t for t in sync_now(d)["targets"]}
        until(lambda: targets()["production"]["state"] == "confirmed")
        now = targets()
        assert now["production"]["release"] == 2 and now["slow"]["state"] == "sending" and sync_now(d)["running"]
        of_run = d.must("GET", d.api_site(f"/sync/runs/{run}"))
        assert of_run["state"] == "running" and (of_run["added"], of_run["changed"], of_run["removed"]) == (0, 1, 0), of_run
        shown = {t["name"]: t for t in of_run["targets"]}
        assert shown["production"]["state"] == "confirmed" and shown["production"]["finished_at"] and shown["slow"]["state"] == "running"
        receipt = shown["production"]["receipt"]
        assert json.loads(receipt)["number"] == 2
        d.kill()
        (d.dir / "kits" / "slow.go").touch()
        d.start()
        assert targets()["production"]["state"] == "confirmed" and targets()["production"]["release"] == 2
        until(lambda: targets()["slow"]["state"] == "confirmed")
        # It was not sent to again.
        sent = [r["run"] for r in runs(d) for t in d.must("GET", d.api_site(f"/sync/runs/{r['run']}"))["targets"] if t["name"] == "production"]
        assert max(sent) == run


def test_a_hold_of_the_site_ends_the_run():
    """What was not switched yet stays as it was, and goes out when the hold is lifted; a hold of a path comes too late for it."""
    with hanging() as (d, place, run), concurrent.futures.ThreadPoolExecutor(1) as beside:
        test = beside.submit(d.must, "POST", d.api_site("/targets/slow/test"), {})
        until(lambda: list(d.data.glob("**/slow.test/asked")))
        ctl(d, "hold", "add", "/docs", "--until", "1h", "-m", "only here")
        time.sleep(0.5)
        assert sync_now(d)["running"] and sync_now(d)["run"] == run
        ctl(d, "hold", "add", "/", "--until", "1h", "-m", "everything stops")
        until(lambda: not sync_now(d)["running"])
        ended = d.must("GET", d.api_site(f"/sync/runs/{run}"))
        assert ended["state"] == "interrupted" and "the site is held now" in ended["message"], ended
        assert (place / "index.html").read_text() == "one"
        (d.dir / "kits" / "slow.go").touch()
        time.sleep(1)
        assert (place / "index.html").read_text() == "one" and not sync_now(d)["running"]
        # What ended that run ends no test of a target, whenever it was begun.
        assert test.result()["ok"], test.result()
        assert d.must("POST", d.api_site("/targets/slow/test"), {})["ok"]
        ctl(d, "hold", "lift", "/")
        until(lambda: (place / "index.html").read_text() == "two")


def test_exactly_the_plan_that_was_shown():
    with Drydock(files=FILES, accounts=("alice",)) as d:
        d.add_account("ed", "sign", "/")
        ed = d.login("ed")
        status = ed.post(d.api_site("/sign"), json={"paths": ["/index.html"], "as_staged": True}).status_code
        assert status == 200
        shown = ctl(d, "sync", "plan")
        assert "own:ed" in shown
        digest = re.search(r"--plan ([0-9a-f]{64})", shown)[1]
        d.sign("/other.html")
        told = ctl(d, "sync", "force", "--plan", digest, "-m", "now", code=4)
        assert "/other.html" in told
        now = re.search(r"--plan ([0-9a-f]{64})", told)[1]
        ctl(d, "sync", "force", "--plan", now, "-m", "now")
        until(lambda: set(d.live()) == {"/index.html", "/other.html"})
        idle(d)
        # Recorded with that plan; and the server was asked with one that is none.
        record = next(r for r in d.records() if r["act"] == "force")
        assert record["fields"]["plan"] == now
        assert d.api("POST", d.api_site("/sync/force"), {"reason": "x", "plan": "0" * 64})[0] == 409


def test_many_files_at_once_and_an_empty_staging_tree():
    files = {f"/{'old' if n < 15 else 'new'}/{n}.html": f"file {n}" for n in range(40)}
    with Drydock(files=files, accounts=("alice",)) as d:
        d.must("POST", d.api_site("/preapprovals"), {"path": "/new", "note": "machines"})
        d.sign("/", recursive=True)
        d.sync()
        all_of_it = d.live()
        assert len(all_of_it) == 40
        # Staging is emptied, then gone: production keeps everything, pre-approved files too.
        for place in ("old", "new"):
            d.remove(f"/{place}")
        assert d.sync(state=None)["state"] == "nothing"
        aside = d.staging.with_name("aside")
        d.staging.rename(aside)
        d.sync(state=None)
        assert d.live() == all_of_it
        aside.rename(d.staging)
        d.sync(state=None)
        assert d.live() == all_of_it and d.file("/new/20.html")["state"] == "missing"
        # Fifteen of forty revoked: nothing goes until an admin has seen the list.
        d.revoke("/old", recursive=True)
        run = d.sync(state="failed")
        assert "15 files" in run["message"] and d.live() == all_of_it
        shown = ctl(d, "sync", "plan")
        digest = re.search(r"sync confirm ([0-9a-f]{64})", shown)[1]
        ctl(d, "sync", "confirm", "0" * 64, "-m", "yes", code=4)
        ctl(d, "sync", "confirm", digest, code=1)
        root = d.add_account("root", "admin", "/") or d.login("root")
        page = root.get("/s/www/sync").text
        assert "15 files would leave production" in page and digest in page
        ctl(d, "sync", "confirm", digest, "-m", "spring cleaning")
        until(lambda: len(d.live()) == 25)
        idle(d)
        assert json.loads(ctl(d, "sync", "log", "--json"))["items"][0]["state"] == "ok"
        d.stop()
        assert d.run(d.argv()[0], "fsck", "--data", d.data, check=False).returncode == 0
