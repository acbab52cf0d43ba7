"""A server that was restored from an older copy, and production that is ahead of it: an admin looks, and it goes on from there."""
import json
import shutil
import sys
import threading

import pytest

from test_report import release_first, verify
from test_ssh import TOP, Production, target, user_name, world

sys.path.insert(0, str(TOP / "tests" / "check"))

from drydock import program  # noqa: E402
from failpoints import Failpoints  # noqa: E402
from waiting import until  # noqa: E402
from world import sql  # noqa: E402


def release(d, text):
    d.write("/index.html", text)
    d.sign("/index.html")
    return d.sync()


def go_back_in_time(d, act):
    """What happens in act is lost to the server, and not to production."""
    d.stop()
    copy = d.dir / "copy"
    shutil.copytree(d.data, copy, symlinks=True, ignore=lambda _, names: [n for n in names if n.endswith(".sock")])
    d.start()
    act()
    d.stop()
    shutil.rmtree(d.data)
    copy.rename(d.data)
    d.start()


def turns(d, ticket):
    """The turn went from server to server so often: the queue is as it is then."""
    d.stop()
    d.start()
    server = sql(d, "SELECT members FROM counter WHERE id = 'publisher/www'")[0][0].split()[1]
    sql(d, f"UPDATE counter SET value = {ticket}, version = version + {ticket}, members = '{ticket} {server}\\n' WHERE id = 'publisher/www'")
    d.stop()
    d.start()


def term(d):
    return d.records(act="release")[0]["fields"]["term"]


def releases(d):
    return [r["number"] for r in d.must("GET", d.api_site("/releases"))["items"]]


def settled(d, number):
    until(lambda: target(d)["state"] == "confirmed" and target(d)["release"] == number, why=lambda: target(d))


def test_a_restored_server_goes_on():
    with world() as (d, p):
        d.add_account("alice")
        d.add_account("vera", "view", "/")
        release_first(d)
        release(d, "2")
        go_back_in_time(d, lambda: [release(d, t) for t in "345"])
        assert p.accepted()["number"] == 5 and releases(d) == [2, 1]
        # Production refuses, and says what it holds.
        d.write("/index.html", "other")
        d.sign("/index.html")
        run = d.sync(state="failed")
        assert "production holds release 5 already" in run["message"] and p.accepted()["number"] == 5
        held = target(d)["unknown"]
        assert held["release"] == 5 and held["head"] == p.accepted()["head"]
        alice = d.login("alice")
        page = alice.get("/s/www/sync").text
        assert "holds release 5, signed for" in page and "Go on after release 5" in page
        assert "holds release 5, which this server does not know" in alice.get("/s/www/").text
        assert "does not know" not in d.login("vera").get("/s/www/sync").text
        told = d.cli("target", "catch-up", "machine")
        assert told.returncode == 0 and "holds release 5" in told.stdout and "-m REASON" in told.stdout
        # Not without a reason, not for what was not shown, not by who may not.
        path = d.api_site("/targets/machine/catch-up")
        assert d.api("POST", path, {"reason": "", "head": held["head"]})[0] == 400
        assert d.api("POST", path, {"reason": "x", "head": "0" * 64})[0] == 409
        assert d.api("POST", d.api_site("/targets/production/catch-up"), {"reason": "x", "head": held["head"]})[0] == 409
        assert d.login("vera").post(path, json={"reason": "x", "head": held["head"]}).status_code in (403, 404)
        assert releases(d)[0] == 3
        done = d.cli("target", "catch-up", "machine", "-m", "compared, and right")
        assert done.returncode == 0, done.stdout + done.stderr
        settled(d, 6)
        assert p.live()["/index.html"] == b"other" and target(d)["unknown"] is None
        assert p.accepted()["number"] == 6 and p.accepted()["term"] >= 1
        # It is recorded with the receiver's own words, and everything that checks says yes.
        record = next(r for r in d.records() if r["act"] == "catch-up")
        assert record["fields"]["held-number"] == 5 and record["note"] == "compared, and right"
        assert "went on from release 5, which machine holds" in " ".join(alice.get("/s/www/history").text.split()).replace("</b> ", "")
        for number in ("6", "3", "2"):
            done = d.cli("release", "verify", number)
            assert done.returncode == 0, done.stdout
        head = json.loads(d.cli("release", "show", "6", "--paper", "head").stdout)
        assert head["previous"] == held["head"]
        # And on from there as ever, the restored database and one made again from the log included.
        assert release(d, "7")["release"] == 7
        settled(d, 7)
        fsck = d.run(program(), "fsck", "--data", d.data, check=False)
        assert fsck.returncode == 0, fsck.stdout + fsck.stderr
        d.stop()
        d.run(program(), "rebuild", "--replace", "--data", d.data)
        d.start()
        assert release(d, "8")["release"] == 8
        settled(d, 8)
        verify(d, p, 0)


@pytest.mark.parametrize("lost", (False, True))
def test_the_queue_is_older_too(lost):
    """Terms are tickets of the queue, and that came back with the database: production has seen higher ones."""
    with world() as (d, p):
        release_first(d)

        def later():
            release(d, "2")
            turns(d, 9)
            release(d, "3")
            assert term(d) == 9

        go_back_in_time(d, later)
        assert p.accepted()["term"] == 9 and p.accepted()["number"] == 3
        d.write("/index.html", "other")
        d.sign("/index.html")
        d.sync(state="failed")
        # A higher number alone does not help.
        assert term(d) == 1
        if lost:  # nothing leaves between: no release has that term yet
            d.must("POST", d.api_site("/holds"), {"path": "/", "until": "1d", "reason": "the queue is lost first"})
        assert d.cli("target", "catch-up", "machine", "-m", "compared").returncode == 0
        if lost:
            sql(d, "DELETE FROM counter WHERE id = 'publisher/www'")
            d.stop()
            d.start()
            assert p.accepted()["number"] == 3
            d.must("POST", d.api_site("/holds"), {"path": "/", "remove": True})
        # Its own ticket is lower than what production has seen; who joins the queue only now has one that is higher.
        settled(d, 4)
        expected = 10 if lost else 9
        assert term(d) == expected == p.accepted()["term"]
        # What is released later does not fall back to the queue's, and neither does a server that starts again.
        number = releases(d)[0]
        release(d, "5")
        settled(d, number + 1)
        d.stop()
        d.start()
        release(d, "6")
        settled(d, number + 2)
        assert term(d) == expected == p.accepted()["term"]
        for n in range(number, number + 3):
            assert d.cli("release", "verify", str(n)).returncode == 0
        fsck = d.run(program(), "fsck", "--data", d.data, check=False)
        assert fsck.returncode == 0, fsck.stdout + fsck.stderr


def test_of_two_targets_the_newest():
    """One production machine is behind the other. All get the same heads: going on from the older one would lock the newer one out."""
    with world() as (d, p):
        q = Production(d, "second-machine")
        try:
            d.stop()
            text = d.conf.read_text().rstrip()
            d.conf.write_text(text[:-1] + q.target(user_name(d)).replace('target "machine"', 'target "second"') + "}\n")
            d.start()
            release_first(d)

            def later():
                release(d, "2")
                q.stop()
                d.write("/index.html", "3")
                d.sign("/index.html")
                d.sync(state="failed")
                q.start()

            go_back_in_time(d, later)
            assert (p.accepted()["number"], q.accepted()["number"]) == (3, 2)
            d.write("/index.html", "other")
            d.sign("/index.html")
            d.sync(state="failed")
            heads = {name: target(d, name)["unknown"]["head"] for name in ("machine", "second")}
            # What would be refused is not offered, and says why.
            d.add_account("alice")
            alice = d.login("alice")
            page = alice.get("/s/www/sync").text
            assert "Go on after release 3" in page and "Go on after release 2" not in page
            assert "cannot go on from there: machine holds release 3, which is newer: go on from that one." in page
            assert target(d)["unknown"]["refused"] is None and "is newer" in target(d, "second")["unknown"]["refused"]
            assert "is newer" in d.cli("target", "catch-up", "second").stdout and "-m REASON" in d.cli("target", "catch-up", "machine").stdout
            go_on = lambda name: d.api("POST", d.api_site(f"/targets/{name}/catch-up"), {"reason": "compared", "head": heads[name]})  # noqa: E731
            code, body = go_on("second")[:2]
            assert code == 409 and "machine holds release 3, which is newer" in body["detail"], body
            assert go_on("machine")[0] == 202
            settled(d, 4)
            # The older one does not follow, and cannot be chosen any more.
            assert q.accepted()["number"] == 2
            d.must("POST", d.api_site("/targets/second/test"), {})
            page = alice.get("/s/www/sync").text
            assert "holds release 2, signed for" in page and "Go on after" not in page and "has gone on from release 3 already" in page
            code, body = go_on("second")[:2]
            assert code == 409 and "has gone on from release 3 already" in body["detail"] and "begin anew" in body["detail"], body
            assert [r["fields"]["held-target"] for r in d.records() if r["act"] == "catch-up"] == ["machine"]
            assert p.live()["/index.html"] == b"other"
        finally:
            q.stop()


def test_it_is_cut_though_nothing_was_approved():
    with world() as (d, p):
        release_first(d)
        go_back_in_time(d, lambda: [release(d, t) for t in "23"])
        assert d.must("POST", d.api_site("/targets/machine/test"), {})["ok"]
        held = target(d)["unknown"]
        assert held["release"] == 3
        d.add_account("alice")
        alice = d.login("alice")
        page = alice.get("/s/www/sync").text
        op = page.split('action="/s/www/sync/catch-up"')[1].split('name="op" value="')[1].split('"')[0]
        form = {"csrf": alice.csrf, "op": op, "target": "machine", "head": held["head"], "reason": "compared"}
        assert alice.post("/s/www/sync/catch-up", data={**form, "reason": ""}).status_code == 400
        assert alice.post("/s/www/sync/catch-up", data=form).status_code == 200
        settled(d, 4)
        # Of what was approved and lost this server knows nothing: the page says so before.
        assert p.live()["/index.html"] == b"<h1>one</h1>"


def test_a_rollback_that_is_being_prepared():
    """It follows from what production holds too, or nothing would ever again."""
    with world() as (d, p):
        release_first(d)
        release(d, "2")
        go_back_in_time(d, lambda: [release(d, t) for t in "345"])
        d.write("/index.html", "other")
        d.sign("/index.html")
        d.sync(state="failed")
        head = target(d)["unknown"]["head"]
        pause = Failpoints(d.dir / "pause", own=d._own)
        d.stop()
        d.start(env=pause.env)
        shown = d.cli("--json", "release", "rollback", "1")
        digest = json.loads(shown.stdout)["digest"]
        pause.delay("rollback_prepared", 5000)
        done = []
        back = threading.Thread(target=lambda: done.append(d.cli("release", "rollback", "1", "-m", "as it was", "--plan", digest)))
        back.start()
        until(lambda: pause.happened)
        assert d.cli("target", "catch-up", "machine", "-m", "compared").returncode == 0
        back.join()
        assert done[0].returncode == 0, done[0]
        settled(d, 6)
        assert json.loads(d.cli("release", "show", "6", "--paper", "head").stdout)["previous"] == head
        fsck = d.run(program(), "fsck", "--data", d.data, check=False)
        assert fsck.returncode == 0, fsck.stdout + fsck.stderr


def test_only_what_the_receiver_signed():
    """What is kept of it is read again: an edited row raises nothing."""
    with world() as (d, p):
        release_first(d)
        go_back_in_time(d, lambda: release(d, "2"))
        d.must("POST", d.api_site("/targets/machine/test"), {})
        head = target(d)["unknown"]["head"]
        d.add_account("alice")
        alice = d.login("alice")
        before = sql(d, "SELECT receipt FROM target_held")[0][0]
        forged = json.loads(before)
        forged["number"] = 900
        for row in (f"receipt = '{json.dumps(forged, sort_keys=True, separators=(',', ':'))}\n'", "signature = ''"):
            sql(d, f"UPDATE target_held SET {row}")
            code, body = d.api("POST", d.api_site("/targets/machine/catch-up"), {"reason": "x", "head": head})[:2]
            assert code == 403 and "was not signed by its receiver_key" in body["detail"], body
            page = alice.get("/s/www/sync").text
            assert "was not signed by its receiver_key" in page and "Go on after" not in page
        assert "catch-up" not in [r["act"] for r in d.records()] and releases(d)[0] == 1
