"""What `drydock-receive verify` found, on its way to people: with a sync, with a test, by `release verify`; and what is not believed."""
import contextlib
import json
import subprocess

import pytest
from test_ssh import Production, target, user_name, world  # noqa: F401  (found beside this file)

from delivery import Signer, sha, stamp
from drydock import program
from sink import HookSink, MailSink
from waiting import until


def verify(d, p, code=None):
    done = d.run(program("drydock-receive"), "verify", p.state, check=False)
    assert code is None or done.returncode == code, done.stdout + done.stderr
    return done.stdout


def release_first(d):
    d.sign("/", recursive=True)
    d.sync()


def ask(d):
    return d.must("POST", d.api_site("/targets/machine/test"), {})


def report_of(d):
    return target(d)["report"]


def damage(p):
    live = p.state / "live"
    (live / "index.html").write_text("<h1>0wn</h1>")
    (live / "docs" / "b.html").unlink()
    (live / "docs" / "shell.php").write_text("x")


def me(d):
    return d.must("GET", "/api/v1/whoami")["user"]


def test_it_comes_with_the_next_sync():
    with world() as (d, p):
        d.add_account("alice")
        d.add_account("vera", "view", "/docs")
        release_first(d)
        assert report_of(d) is None
        verify(d, p, 0)
        d.write("/index.html", "<h1>2</h1>")
        d.sign("/index.html")
        d.sync()
        report = report_of(d)
        assert report["differences"] == 0 and report["items"] == [] and report["release"] == 1 and report["since"] is None
        damage(p)
        told = verify(d, p, 1)
        assert "altered: /index.html (signed by" in told and "3 differences" in told
        d.write("/index.html", "<h1>3</h1>")
        d.sign("/index.html")
        d.sync()
        report = report_of(d)
        assert report["differences"] == 3 and report["release"] == 2 and report["since"] == report["at"]
        assert {(i["what"], i["path"], i["user"]) for i in report["items"]} == {
            ("altered", "/index.html", me(d)), ("missing", "/docs/b.html", me(d)), ("foreign", "/docs/shell.php", None)}
        page = d.login("alice").get("/s/www/sync").text
        assert "3 differences from what was signed in release 2, which is no longer live" in page and "altered" in page and "signed by" in page
        assert "altered: /index.html" in d.cli("sync", "status").stdout
        # It was about what is not live any more: the file's page does not say so of what is.
        assert "Production differs" not in d.login("alice").get("/s/www/file/index.html").text
        # Who sees a part is told of that part, without a number.
        page = d.login("vera").get("/s/www/sync").text
        assert "/docs/b.html" in page and "/index.html" not in page and "3 differences" not in page


def test_it_is_asked_for_and_told_everywhere(tmp_path):
    with world() as (d, p):
        d.add_account("alice")
        d.add_account("vera", "view", "/docs")
        release_first(d)
        done = d.cli("release", "verify", "1")
        assert done.returncode == 0 and "its files were never read" in done.stdout and "no receiver there" in done.stdout
        damage(p)
        verify(d, p, 1)
        # Nobody has synced since: the command asks the receiver.
        done = d.cli("release", "verify", "1")
        assert done.returncode == 6 and "FAILED  live on machine: 3 live files are not what was signed" in done.stdout, done.stdout
        assert f"altered: /index.html (signed by {me(d)})" in done.stdout and "foreign: /docs/shell.php" in done.stdout
        answer = json.loads(d.cli("--json", "release", "verify", "1").stdout)
        machine = next(t for t in answer["targets"] if t["name"] == "machine")
        assert machine["report"]["differences"] == 3
        # Anybody can check the receiver's own words.
        signers, signature = tmp_path / "signers", tmp_path / "signature"
        signers.write_text("receiver " + (p.state / "node.pub").read_text())
        signature.write_text(machine["report_signature"])
        subprocess.run(["ssh-keygen", "-Y", "verify", "-f", signers, "-I", "receiver", "-n", "drydock-receipt", "-s", signature],
                       input=machine["signed_report"].encode(), check=True, capture_output=True)
        # The file's page, and its state in API and terminal.
        alice, vera = d.login("alice"), d.login("vera")
        page = alice.get("/s/www/file/index.html").text
        assert "On machine this file is altered" in page and "Production differs since" in page
        assert "Production differs" not in alice.get("/s/www/file/docs/a%20b.html").text
        page = vera.get("/s/www/file/docs/b.html").text
        assert "On machine this file is missing" in page and "index.html" not in page
        reach = next(t for t in d.must("GET", d.api_site("/status?path=/index.html"))["targets"] if t["name"] == "machine")
        assert reach["differs"] == "altered" and reach["differs_since"]
        assert "altered there, as production found" in d.cli("status", "/index.html").stdout
        assert "live files differ from what was signed, since" in alice.get("/s/www/").text
        text = alice.get("/metrics").text
        assert 'drydock_production_differences{site="www",target="machine"} 3' in text
        # One event, however often it is found.
        first = report_of(d)["since"]
        verify(d, p, 1)
        assert ask(d)["ok"]
        assert report_of(d)["since"] == first and report_of(d)["at"] > first
        kinds = [e["kind"] for e in d.must("GET", "/api/v1/events")["items"]]
        assert kinds.count("production-differs") == 1
        assert "production differs" in alice.get("/events").text
        # The other image is new, and what is not sent is copied from this one: what that has not got is sent by the next try.
        d.write("/index.html", "2")
        d.sign("/index.html")
        run = d.sync(state="failed")
        assert "/docs/b.html was altered in the live image: the next delivery brings it again" in run["message"]
        assert p.accepted()["number"] == 1
        d.sync()
        assert target(d)["confirmed"] and target(d)["release"] == 2
        verify(d, p, 0)
        # And this one is mended in its turn.
        d.write("/index.html", "3")
        d.sign("/index.html")
        d.sync()
        # What no release names is found, and a person takes it away.
        assert "foreign: /docs/shell.php\n4 files, 1 differences" in verify(d, p, 1)
        (p.state / "live" / "docs" / "shell.php").unlink()
        verify(d, p, 0)
        assert ask(d)["ok"] and report_of(d)["since"] is None
        assert [e["kind"] for e in d.must("GET", "/api/v1/events")["items"]].count("production-well") == 1
        assert "drydock_production_differences{site=\"www\",target=\"machine\"} 0" in alice.get("/metrics").text
        # A receiver that cannot be reached is told of as it was known.
        p.stop()
        done = d.cli("release", "verify", "3")
        assert done.returncode == 0 and "machine could not be asked" in done.stderr and "ok      live on machine" in done.stdout


def test_who_rolled_back_by_hand_is_found_out():
    with world() as (d, p):
        d.add_account("alice")
        for text in "12":
            d.write("/index.html", text)
            d.sign("/", recursive=True)
            d.sync()
        d.run(program("drydock-receive"), "rollback-to-previous", p.state)
        assert (p.state / "live" / "index.html").read_text() == "1"
        verify(d, p, 0)
        ask(d)
        report = report_of(d)
        assert report["rolled_back"] and report["differences"] == 0 and report["since"]
        assert "made the release before release 2 live on machine by hand" in d.login("alice").get("/s/www/sync").text
        done = d.cli("release", "verify", "2")
        assert done.returncode == 6 and "by hand" in done.stdout


def test_told_by_mail_and_hook():
    with MailSink() as mail, HookSink() as hook, world() as (d, p):
        d.stop()
        text = d.conf.read_text().rstrip()
        d.conf.write_text(f'mail_from = "drydock@example.org"\nmail_server = "smtp://127.0.0.1:{mail.port}"\n' + text[:-1] +
                          f'\tmail_to = {{"web@example.org"}}\n\twebhook = {{"http://127.0.0.1:{hook.port}/"}}\n}}\n')
        d.start()
        release_first(d)
        damage(p)
        verify(d, p, 1)
        ask(d)
        said = until(lambda: [json.loads(b) for _, _, b in hook.got])
        assert [s["event"] for s in said] == ["production_differs"] and said[0]["targets"][0]["name"] == "machine"
        until(lambda: mail.got)
        assert b"production differs on machine" in mail.got[0][2] and b"3 live files" in mail.got[0][2]
        # Until it is read again nobody knows what of that holds for the next release.
        d.write("/index.html", "2")
        d.sign("/index.html")
        d.sync(state="failed")
        d.sync()
        assert [json.loads(b)["event"] for _, _, b in hook.got if b"production_" in b] == ["production_differs"]
        until(lambda: {(n["failing"], n["differing"]) for n in d.must("GET", d.api_site("/notices"))["items"]} == {("", "machine")})
        d.add_account("root", "admin", "/")
        assert "something else is live on machine" in d.login("root").get("/s/www/notices").text
        assert "something else is live on: machine" in d.cli("notice", "list").stdout
        verify(d, p, 0)
        ask(d)
        until(lambda: any(b"production_well" in b for _, _, b in hook.got))
        assert [json.loads(b)["event"] for _, _, b in hook.got if b"production_" in b] == ["production_differs", "production_well"]


def test_a_site_where_nothing_happens_asks_by_itself():
    """Each of its receivers, whatever the one before had to say."""
    with world() as (d, p), contextlib.ExitStack() as end:
        q = Production(d, "second-machine")
        end.callback(q.stop)
        d.stop()
        second = q.target(user_name(d)).replace('"machine"', '"second"')
        d.conf.write_text(d.conf.read_text().rstrip()[:-1] + second + "}\n")
        d.start()
        release_first(d)
        for production in (p, q):
            damage(production)
            verify(d, production, 1)
        d.stop()
        d.conf.write_text(d.conf.read_text().replace("\tstaging =", '\tlongest_interval = "2s"\n\tstaging =', 1))
        d.start()
        for name, production in (("machine", p), ("second", q)):
            until(lambda name=name: target(d, name)["report"])
            assert target(d, name)["report"]["differences"] == 3 and production.accepted()["number"] == 1


class Words:
    """A receiver's report, word by word: what it says and who signed it."""

    def __init__(self, p):
        self.p = p
        self.file = p.state / "report"
        self.honest = json.loads(self.file.read_text())
        self.key = Signer.__new__(Signer)
        self.key.key = p.dir / "copy-of-node.key"
        self.key.key.write_bytes((p.state / "node.key").read_bytes())
        self.key.key.chmod(0o600)

    def put(self, text, signer=None, space="drydock-receipt"):
        self.file.unlink(missing_ok=True)
        self.file.write_text(json.dumps({"report": text, "report_signature": (signer or self.key).sign(text.encode(), space).decode()}))

    def saying(self, **changes):
        return json.dumps({**json.loads(self.honest["report"]), **changes}, sort_keys=True, separators=(",", ":"))


def test_reports_that_are_not_taken(tmp_path):
    with world() as (d, p):
        release_first(d)
        verify(d, p, 0)
        w = Words(p)
        stranger = Signer(tmp_path)
        later = [stamp(i) for i in range(60)]
        honest, signature = w.honest["report"], w.honest["report_signature"]
        receipt = p.accepted()
        cases = {
            "another key": lambda: w.put(honest, stranger),
            "the key of the releases": lambda: w.file.write_text(json.dumps({"report": honest, "report_signature": ""})),
            "another purpose": lambda: w.put(honest, space="drydock-release"),
            "a byte of it": lambda: w.file.write_text(json.dumps({"report": honest.replace('"bad":0', '"bad":1'), "report_signature": signature})),
            "another site": lambda: w.put(w.saying(site="abc")),
            "a release that was never cut": lambda: w.put(w.saying(number=7)),
            "another release of that number": lambda: w.put(w.saying(release=sha(b"x"))),
            "no release": lambda: w.put(w.saying(release="")),
            "from next year": lambda: w.put(w.saying(at=stamp(366 * 86400))),
            "no time": lambda: w.put(w.saying(at="yesterday")),
            "a negative number": lambda: w.put(w.saying(bad=-1)),
            "a number too large": lambda: w.put(w.saying(bad=2**63)),
            "no list": lambda: w.put(w.saying(named="none")),
            "a receipt": lambda: w.file.write_text(json.dumps({"report": receipt["receipt"], "report_signature": receipt["signature"]})),
            "signed, and not JSON": lambda: w.put("all is well"),
            "not JSON": lambda: w.file.write_text("all is well"),
            "cut": lambda: w.file.write_text(json.dumps(w.honest)[:200]),
            "empty": lambda: w.file.write_text(""),
            "huge": lambda: w.put(w.saying(named=[{"what": "altered", "path": f"/{i}" + "x" * 200, "signer": "unix:a"} for i in range(400)])),
            "a gigabyte": lambda: w.file.open("r+").truncate(1 << 30),
            "a link": lambda: (w.file.unlink(), w.file.symlink_to("/dev/zero")),
        }
        taken = []
        for name, put in cases.items():
            w.file.unlink(missing_ok=True)
            w.file.write_text("")
            put()
            ask(d)
            if report_of(d) is not None:
                taken.append(name)
        assert taken == []
        # What was wrong with them has stopped nothing else.
        w.put(w.saying(at=later[20], bad=2))
        assert ask(d)["ok"] and report_of(d)["differences"] == 2
        w.put(w.saying(at=later[10], bad=0))
        ask(d)
        assert report_of(d)["differences"] == 2, "an older one replaced a newer one"
        w.file.write_text("{")
        d.write("/index.html", "2")
        d.sign("/index.html")
        d.sync()
        w.put(w.saying(at=later[30], number=8))
        assert "The report of production was not taken: it is about release 8, which this server has not cut" in ask(d)["output"]
        w.put(w.saying(at=later[40]))
        ask(d)
        assert report_of(d)["differences"] == 0


@pytest.mark.parametrize("name", ["\\" * 200, "ä" * 100])
def test_a_planted_crowd_of_files_does_not_silence_it(name):
    """The line that a report travels in has an end, and neither release nor report may be lost by it."""
    with world() as (d, p):
        release_first(d)
        for i in range(600):
            (p.state / "live" / f"{i}{name}").write_text("x")
        verify(d, p, 1)
        assert ask(d)["ok"]
        assert report_of(d)["differences"] == 600 and len(report_of(d)["items"]) > 50
        d.write("/index.html", "2")
        d.sign("/index.html")
        d.sync()
        assert target(d)["confirmed"] and target(d)["release"] == 2


def test_verify_beside_a_delivery(tmp_path):
    """Neither waits for the other; a release that comes meanwhile makes it read once more."""
    from delivery import Receiver, Release
    signer = Signer(tmp_path)
    r = Receiver(signer, at=tmp_path)
    one = Release(signer, 1, {f"/{i}": b"%d" % i * 5000 for i in range(3000)})
    assert "receipt" in r.deliver(one.members())
    busy = subprocess.Popen([program("drydock-receive"), "receive", r.state], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    busy.stdout.readline()
    assert "3000 files, 0 differences" in r.command("verify").stdout.decode()
    busy.stdin.close()
    busy.wait()
    running = subprocess.Popen([program("drydock-receive"), "verify", r.state], stdout=subprocess.PIPE)
    two = Release(signer, 2, {**one.files, "/new": b"new"}, before=one)
    assert "receipt" in r.deliver(two.members(one))
    out, _ = running.communicate()
    assert running.returncode == 0 and b"0 differences" in out
    assert json.loads(json.loads((r.state / "report").read_text())["report"])["number"] in (1, 2)
