"""Mail and webhooks about targets that fail: real SMTP and HTTP on loopback, a sendmail command, and what goes wrong."""
import email
import email.policy
import hashlib
import hmac
import json
import pathlib
import sys
import time

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))

from clock import Clock  # noqa: E402
from drydock import Drydock, program  # noqa: E402
from sink import HookSink, MailSink, certificate  # noqa: E402
from waiting import until  # noqa: E402

TITLE = "Hafenbehörde “Süd” <b>&"
# Fails while the file `broken` is there; takes as long as `slow` is there; while `mute` is there all is handed over, and no answer comes.
KIT = '''#!/bin/sh
[ ! -e "$DRYDOCK_PLACE/broken" ] || { echo '{"error":"no route\\\\nto \\u202ehost"}'; exit 3; }
while [ -e "$DRYDOCK_PLACE/slow" ]; do echo "one more"; sleep 0.1; done
rm -rf "$DRYDOCK_PLACE/gone"
cp -R "$DRYDOCK_EXPORT/." "$DRYDOCK_PLACE/"
[ ! -e "$DRYDOCK_PLACE/mute" ] || { echo '{"sent":true}'; exit 1; }
'''


def text_of(raw):
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert not message.defects
    return message, message.get_content()


class Told:
    """A server whose site `www` has the targets a and b, and tells a mail server and a web hook."""

    def __init__(self, config="", site_config="", title=TITLE, mail=True, hook=True, **sink):
        self.mail, self.hook = MailSink(**sink), HookSink()
        self.d = Drydock(files={"/index.html": "one"}, accounts=(), start=False)
        d = self.d
        kits = d.dir / "kits"
        kits.mkdir()
        (kits / "maybe").write_text(KIT)
        (kits / "maybe").chmod(0o755)
        self.secret = d.dir / "hook.secret"
        self.secret.write_text("a secret of the hook\n")
        self.secret.chmod(0o600)
        d._own(self.secret)
        targets = ""
        for name in "ab":
            (d.dir / name).mkdir()
            d._own(d.dir / name)
            targets += f'\ttarget "{name}" {{\n\t\tkit = "maybe"\n\t\tplace = "{d.dir}/{name}"\n\t}}\n'
        text = d.conf.read_text().rstrip()
        assert text.endswith("}")
        site = f'\ttitle = "{title}"\n' + '\tmail_to = {"web@example.org", "night@example.org"}\n' * mail
        site += f'\twebhook = {{"http://127.0.0.1:{self.hook.port}/hooks/token-of-ours?x=1"}}\n\twebhook_secret_file = "{self.secret}"\n' * hook
        d.conf.write_text(f'kits = "{kits}"\nmail_from = "drydock@example.org"\n' +
                          (config or f'mail_server = "smtp://{sink.get("host", "127.0.0.1")}:{self.mail.port}"\n') + text[:-1] + site + site_config + targets + "}\n")

    def breaks(self, *names, how="broken"):
        for name in "ab":
            flag = self.d.dir / name / how
            if name in names:
                flag.touch()
                self.d._own(flag)
            else:
                flag.unlink(missing_ok=True)

    def subjects(self):
        """Of all mail, without what stands in each."""
        return [text_of(raw)[0]["Subject"].removeprefix(f"[DryDock] {TITLE}: ") for _, _, raw in self.mail.got]

    def knows(self, failing):
        """Waits until the first channel was told that these targets fail, and no others."""
        until(lambda: self.d.must("GET", self.d.api_site("/notices"))["items"][0]["failing"] == failing)

    def goes(self, state):
        self.d.write("/index.html", str(time.monotonic()))
        self.d.sign("/index.html")
        return self.d.sync(state=state)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.d.close()
        self.mail.__exit__()
        self.hook.__exit__()


def test_failure_and_recovery_are_told_once_each():
    with Told() as t:
        d = t.d
        d.start()
        t.goes("ok")
        t.breaks("a", "b")
        run = t.goes("failed")
        until(lambda: t.mail.got and t.hook.got)
        # Both targets in one message; the next failure of the same is no news.
        sender, to, raw = t.mail.got[0]
        assert sender.startswith("<drydock@example.org>") and [x.split(" ")[0] for x in to] == ["<web@example.org>", "<night@example.org>"]
        message, text = text_of(raw)
        assert message["Subject"] == f"[DryDock] {TITLE}: 2 targets failed"
        assert message["To"] == "web@example.org, night@example.org" and message["Auto-Submitted"] == "auto-generated"
        assert text.splitlines()[0].startswith("a failed at ") and "It still has release 1." in text
        assert f"/s/www/sync/{run['run']}" in text
        # What a kit says is one line, and shows what it would hide.
        assert "no route␊to" in text
        assert all(len(line) < 998 for line in raw.split(b"\r\n")) and b"\n" not in raw.replace(b"\r\n", b"")
        path, headers, body = t.hook.got[0]
        assert path == "/hooks/token-of-ours?x=1" and headers["Content-Type"] == "application/json"
        key = t.secret.read_bytes().strip()
        assert headers["X-DryDock-Signature"] == "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()
        said = json.loads(body)
        assert said["event"] == "sync_failed" and said["site"] == "www" and said["run"] == run["run"]
        assert [(x["name"], x["failed"], x["release"]) for x in said["targets"]] == [("a", True, 1), ("b", True, 1)]
        t.goes("failed")
        # One is well again while the other is not: told, and only that.
        t.breaks("b")
        t.goes("failed")
        until(lambda: len(t.mail.got) > 1 and len(t.hook.got) > 1)
        assert text_of(t.mail.got[1][2])[0]["Subject"] == f"[DryDock] {TITLE}: a is well again"
        assert json.loads(t.hook.got[1][2])["event"] == "sync_recovered"
        # The server that was stopped in between knows what it has told.
        d.stop()
        t.breaks()
        d.start()
        t.goes("ok")
        until(lambda: len(t.mail.got) > 2 and len(t.hook.got) > 2)
        assert text_of(t.mail.got[2][2])[0]["Subject"] == f"[DryDock] {TITLE}: b is well again"
        t.goes("ok")
        listed = d.must("GET", d.api_site("/notices"))["items"]
        assert [x["failing"] for x in listed] == ["", ""] and all(x["told_at"] and not x["error"] for x in listed)
        # The path of a hook may be a secret.
        assert listed[1]["channel"] == f"webhook http://127.0.0.1:{t.hook.port}"
        assert len(t.mail.got) == 3 and len(t.hook.got) == 3
        assert "token-of-ours" not in d.log()


def test_sent_without_an_answer_is_a_failure():
    """It may be live: until somebody confirms it, nobody is told that all is well."""
    with Told(hook=False) as t:
        d = t.d
        d.start()
        t.goes("ok")
        t.breaks("a", how="mute")
        for _ in range(2):
            run = t.goes("failed")
            assert [x["state"] for x in run["targets"][:2]] == ["sent", "confirmed"], run
            t.knows("a")
        t.breaks("a")
        assert t.goes("failed")["targets"][0]["state"] == "failed"
        # b, so that something is told of this run in any case.
        t.breaks("b")
        assert [x["state"] for x in t.goes("failed")["targets"][:2]] == ["sent", "failed"]
        t.knows("a b")
        t.breaks()
        t.breaks(how="mute")
        t.goes("ok")
        t.knows("")
        assert t.subjects() == ["a failed", "b failed", "2 targets are well again"]


def test_a_site_that_waits_for_an_admin_is_told_once_for_each_list():
    """Too many files would go: nothing is released, whatever the targets are like."""
    with Told(site_config='\tremoval_least = 2\n\tremoval_share = 20\n') as t:
        d = t.d
        paths = [f"/gone/{i}.html" for i in range(9)]
        for path in paths:
            d.write(path, path)
        d.start()
        d.sign("/gone", recursive=True)
        t.goes("ok")
        d.revoke(*paths[:4])
        run = t.goes("failed")
        assert not run["targets"] and run["message"].startswith("4 files would leave")
        t.knows("*")
        # Neither the next try of the same, nor a restart, nor a target that fails meanwhile and is well again.
        t.goes("failed")
        d.stop()
        d.start()
        t.goes("failed")
        assert t.subjects() == ["the sync itself failed"]
        assert "4 files would leave production at once: nothing is released until an admin has confirmed the list." in text_of(t.mail.got[0][2])[1]
        said = json.loads(t.hook.got[0][2])
        assert said["event"] == "sync_failed" and [(x["name"], x["failed"]) for x in said["targets"]] == [("*", True)]
        # It is confirmed where the link goes.
        assert said["url"].endswith("/s/www/sync")
        d.revoke(paths[4])
        t.goes("failed")
        until(lambda: len(t.mail.got) == 2)
        assert t.subjects()[1] == "the sync itself failed" and "5 files would leave" in text_of(t.mail.got[1][2])[1]
        t.knows("*")
        plan = d.must("GET", d.api_site("/sync/plan"))
        before = d.newest_run()
        d.must("POST", d.api_site("/sync/removal"), {"reason": "they are old", "list": plan["removal"]})
        d.forced_run(before, "they are old")
        t.knows("")
        t.breaks("a")
        t.goes("failed")
        t.knows("a")
        assert t.subjects()[2:] == ["the sync itself is well again", "a failed"]
        until(lambda: len(t.hook.got) == 4)
        assert json.loads(t.hook.got[2][2])["event"] == "sync_recovered"


def test_what_is_sent_while_a_site_waits_does_not_make_it_well():
    """A target that failed before gets what was cut before; the next release waits as it did."""
    with Told(hook=False, site_config='\tremoval_least = 2\n\tremoval_share = 20\n') as t:
        d = t.d
        paths = [f"/gone/{i}.html" for i in range(9)]
        for path in paths:
            d.write(path, path)
        clock = Clock(d.dir / "clock", own=d._own)
        d.start(env=clock.env)
        t.breaks("a")
        d.sign("/gone", recursive=True)
        t.goes("failed")
        t.knows("a")
        d.revoke(*paths)
        t.goes("failed")
        t.knows("a *")
        t.breaks()
        before = d.newest_run()
        clock.sleep(60)
        until(lambda: [r for r in d.must("GET", d.api_site("/sync/runs"))["items"] if r["run"] > before and (r["trigger"], r["state"]) == ("retry", "ok")])
        t.knows("*")
        assert t.subjects() == ["a failed", "the sync itself failed", "a is well again"]
        # What was revoked is signed again: nothing would go any more, and that is what makes it well.
        d.sign(*paths)
        t.goes("ok")
        t.knows("")
        assert t.subjects()[3:] == ["the sync itself is well again"]


def test_a_slow_target_keeps_nobody_from_knowing_of_another():
    """What ends within a minute is one message with what follows; then it is told while the run is on."""
    with Told(hook=False) as t:
        d = t.d
        clock = Clock(d.dir / "clock", own=d._own)
        d.start(env=clock.env)
        t.goes("ok")
        t.breaks("a")
        t.breaks("b", how="slow")
        d.write("/index.html", "two")
        d.sign("/index.html")
        before, began = d.newest_run(), clock.now()
        d.must("POST", d.api_site("/sync/force"), {"reason": "one is slow"})
        until(lambda: d.newest_run() > before and d.must("GET", d.api_site(f"/sync/runs/{before + 1}"))["targets"][0]["state"] == "failed")
        # The clock goes on faster than it does, and what kits print is heard in between.
        while not t.mail.got:
            assert clock.now() - began < 300
            clock.sleep(4)
            time.sleep(0.3)
        assert clock.now() - began >= 60
        t.knows("a")
        run = d.must("GET", d.api_site(f"/sync/runs/{before + 1}"))
        assert (run["state"], run["targets"][1]["state"]) == ("running", "running"), run
        message, text = text_of(t.mail.got[0][2])
        assert text.startswith("a failed at ") and "b" not in [line.split(" ")[0] for line in text.splitlines()]
        assert f"/s/www/sync/{before + 1}" in text
        # Its end has no news of a. The next one has news of b, and nothing to wait for.
        t.breaks("a", "b")
        t.breaks(how="slow")
        d.forced_run(before, "one is slow", state="failed")
        t.goes("failed")
        t.knows("a b")
        assert t.subjects() == ["a failed", "b failed"]


def test_people_read_no_star():
    """The star of the API stands for the sync itself."""
    with Told(hook=False) as t:
        d = t.d
        d.start()
        t.breaks("a", "b")
        t.goes("failed")
        until(lambda: d.must("GET", d.api_site("/notices"))["items"][0]["failing"] == "a b")
        # Nothing more is told before the next try.
        with d.held("UPDATE notice SET failing = 'a * *0badcafe', tries = 1, retry_at = (UNIX_TIMESTAMP() + 300) * 1000000"):
            pass
        assert d.must("GET", d.api_site("/notices"))["items"][0]["failing"] == "a *"
        d.add_account("alice", "admin", "/")
        assert ": a, the sync itself failed" in d.login("alice").get("/s/www/notices").text
        assert "failing: a, the sync itself" in d.cli("notice", "list").stdout


def test_who_cannot_be_reached_is_told_later_what_holds_then():
    with Told() as t:
        d = t.d
        clock = Clock(d.dir / "clock", own=d._own)
        d.start(env=clock.env)
        t.goes("ok")
        t.mail.refuse, t.hook.status, t.hook.location = "550 no such mailbox", 302, "http://127.0.0.1:9/elsewhere"
        t.breaks("a")
        t.goes("failed")
        listed = until(lambda: [x for x in [d.must("GET", d.api_site("/notices"))["items"]] if all(y["error"] for y in x)])[0]
        assert "550" in listed[0]["error"] and listed[0]["retry_at"] and "redirections are not followed" in listed[1]["error"]
        assert listed[0]["failing"] == "" and listed[0]["told_at"] is None
        done = d.cli("notice", "list")
        assert done.returncode == 0 and "COULD NOT BE TOLD" in done.stdout
        # A test says the same, now.
        done = d.cli("notice", "test")
        assert done.returncode == 6 and "FAILED  mail to web@example.org" in done.stdout and "550" in done.stdout
        t.mail.refuse, t.hook.status, t.hook.location = None, 200, None
        done = d.cli("notice", "test")
        assert done.returncode == 0 and done.stdout.count("taken") == 2, done.stdout
        assert "Nothing has happened" in text_of(t.mail.got[-1][2])[1] and json.loads(t.hook.got[-1][2])["event"] == "test"
        tests = len(t.mail.got)
        clock.sleep(15)
        until(lambda: len(t.mail.got) > tests)
        assert text_of(t.mail.got[-1][2])[0]["Subject"].endswith("a failed")


def test_a_login_at_the_mail_server_and_a_sendmail_command(tmp_path):
    with Told(hook=False, login=("drydock", "pass word")) as t:
        d = t.d
        password = d.dir / "mail.password"
        password.write_text("pass word\n")
        password.chmod(0o600)
        d._own(password)
        d.conf.write_text(f'mail_user = "drydock"\nmail_password_file = "{password}"\n' + d.conf.read_text())
        d.start()
        assert d.cli("notice", "test").returncode == 0 and len(t.mail.got) == 1
        assert b"pass word" not in t.mail.got[0][2] and "pass word" not in d.log()
        d.stop()
        kept = d.dir / "kept"
        command = d.dir / "sendmail"
        command.write_text(f'#!/bin/sh\n{{ printf "%s\\n" "$@"; echo; cat; }} >"{kept}.new" && mv "{kept}.new" "{kept}"\n')
        command.chmod(0o755)
        d._own(d.dir)
        d.conf.write_text(f'sendmail = "{command}"\n' + d.conf.read_text())
        d.start()
        assert d.cli("notice", "test").returncode == 0
        args, text = kept.read_bytes().split(b"\n\n", 1)
        assert args.split(b"\n") == [b"-i", b"-f", b"drydock@example.org", b"--", b"web@example.org", b"night@example.org"]
        assert b"\r" not in text and "Nothing has happened" in text_of(text)[1]
        command.write_text('#!/bin/sh\necho "mail system is down"; exit 75\n')
        done = d.cli("notice", "test")
        assert done.returncode == 6 and "mail system is down" in done.stdout


def test_nothing_crosses_a_network_in_the_clear():
    """127.0.0.2 stands for another machine: without STARTTLS nothing is sent."""
    with Told(hook=False, host="127.0.0.2") as t:
        d = t.d
        d.start()
        done = d.cli("notice", "test")
        assert done.returncode == 6 and "STARTTLS not supported" in done.stdout, done.stdout
        assert not t.mail.got and not any(c.upper().startswith(("MAIL", "AUTH")) for c in t.mail.commands)


@pytest.mark.parametrize("how", ["smtps", "starttls"])
def test_tls_with_an_authority_of_ones_own(how, tmp_path):
    """127.0.0.2 stands for another machine, to which smtp:// has to become TLS. A stranger's certificate is not taken."""
    host, scheme = "127.0.0.2", "smtps" if how == "smtps" else "smtp"
    own, stranger, elsewhere = (certificate(tmp_path, name, at) for name, at in (("own", host), ("stranger", host), ("elsewhere", "127.0.0.9")))
    for shown, trusted, works in ((own, None, False), (own, stranger, False), (elsewhere, elsewhere, False), (own, own, True)):
        with Told(hook=False, host=host, **{how: shown}) as t:
            d, ca = t.d, t.d.dir / "ca.crt"
            if trusted:
                ca.write_bytes(trusted[0].read_bytes())
            d.conf.write_text(f'notice_ca_file = "{ca}"\n' * bool(trusted) + d.conf.read_text().replace(f"smtp://{host}", f"{scheme}://{host}"))
            d.start()
            done = d.cli("notice", "test")
            assert done.returncode == (0 if works else 6), done.stdout
            assert len(t.mail.got) == works
            assert works or "SSL" in done.stdout or "certificate" in done.stdout.lower(), done.stdout


@pytest.mark.parametrize("line,says", [
    ('mail_to = {"a@b\\r\\nBcc: x@y"}', "mail_to"),
    ('mail_to = {"-oQ/tmp@example.org"}', "mail_to: \"-oQ/tmp@example.org\" is not a mail address"),
    ('mail_to = {"no address"}', "is not a mail address"),
    ('webhook = {"file:///etc/passwd"}', "does not begin with http:// or https://"),
    ('webhook = {' + ", ".join(['"http://h/"'] * 9) + "}", "at most"),
])
def test_what_is_not_an_address_does_not_start(line, says):
    with Drydock(files={}, accounts=(), start=False) as d:
        d.conf.write_text(d.conf.read_text().rstrip()[:-1] + f"\t{line}\n}}\n")
        done = d.run(program(), "check-config", "--conf", d.conf, check=False)
        assert done.returncode and says in done.stderr, done.stderr


def test_a_site_that_nobody_watches_over():
    with Drydock(files={"/a": "a"}) as d:
        assert d.must("GET", d.api_site("/notices"))["items"] == []
        assert "Nobody is told" in d.cli("notice", "test").stdout
        page = d.login().get("/s/www/notices").text
        assert "Nobody is told" in page and "Send a test" not in page
