"""Several servers on one database: one has the turn, the others wait, and no site is ever synced by two of them.

Real daemons, a MariaDB that none of them started, and a receiver behind a real sshd. Each has its own data directory;
`sites` lies on storage that they share. Each has a clock of its own, so that a minute need not be waited for.
"""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import sys
import threading
import time

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))
sys.path.insert(0, str(TOP / "tests" / "kits"))

from clock import Clock  # noqa: E402
from drydock import Drydock, free_ports, program  # noqa: E402
from failpoints import Failpoints  # noqa: E402
from mariadb import MariaDB, Proxy  # noqa: E402
from test_ssh import PAGES, Production, machine, staged, user_name  # noqa: E402
from waiting import until  # noqa: E402

# A kit that can be held up before it begins, to stop its server in the middle of a push.
SLOW = """#!/bin/sh
here=$(dirname "$0")
if [ "$1" = sync ] && [ -e "$here/hold" ]; then
    while [ ! -e "$here/go" ]; do sleep 0.05; done
fi
exec "$here/tar-ssh" "$@"
"""


class Server:
    """One of the daemons: its own data directory, ports, clock, log and way to the database."""

    def __init__(self, d, name, database, first=True, copy=False):
        self.d, self.name = d, name
        self.place = Drydock.__new__(Drydock)
        self.place.__dict__.update(d.__dict__)
        s = self.place
        s.process = None
        s.log_file = d.dir / f"{name}.log"
        self.clock = Clock(d.dir / f"{name}.clock", own=d._own)
        if not first:
            s.data = d.dir / name
            s.data.mkdir(mode=0o711)
            d._own(s.data)
            for f in ("node.key", "node.pub", "allowed_signers", "format", "drydock.conf", "password"):
                if (d.data / f).exists():
                    shutil.copy2(d.data / f, s.data / f)
                    d._own(s.data / f)
            if copy:
                d.run("cp", "-a", d.data / "sites", s.data / "sites")
            else:
                os.symlink(d.data / "sites", s.data / "sites")
            s.port, s.preview_port = free_ports(2)
        s.url, s.socket, s.conf = f"http://127.0.0.1:{s.port}", str(s.data / "drydock.sock"), s.data / "drydock.conf"
        text = s.conf.read_text()
        for option in ("port", "preview_port"):
            text = re.sub(rf"(?m)^{option} = .*$", f"{option} = {getattr(s, option)}", text)
        text = re.sub(r'(?m)^database = .*\n', "", text)
        s.conf.write_text(f'database = "mysql://outside@localhost/drydock?socket={database}"\n' + text)

    def start(self, env=(), **kw):
        self.place.start(env={**self.clock.env, **dict(env)}, **kw)
        return self

    def sync_state(self):
        return self.place.must("GET", self.place.api_site("/sync"))

    def trouble(self):
        """None: it does not answer now, since it is just opened again."""
        try:
            return self.sync_state()["trouble"] or ""
        except (OSError, AssertionError):
            return None

    def asked(self, *what):
        with contextlib.suppress(OSError):
            return self.place.api(*what)

    def may_write(self):
        trouble = self.trouble()
        return None if trouble is None else not trouble

    def terms(self):
        return [r["fields"]["term"] for r in self.place.records(act="release")][::-1]

    def records(self, act):
        return self.place.records(act=act)


class World:
    def __init__(self, stack, proxy=False):
        self.d = d = stack.enter_context(Drydock(files=PAGES, accounts=(), start=False))
        self.production = Production(d)
        stack.callback(self.production.stop)
        self.database = stack.enter_context(MariaDB(d.dir, d))
        self.proxy = stack.enter_context(Proxy(self.database.socket, d.dir / "proxy.sock")) if proxy else None
        self.kits = d.dir / "kits"
        shutil.copytree(TOP / "sync-scripts", self.kits)
        shutil.copy2(program("sync-scripts/tar-ssh"), self.kits / "tar-ssh")
        (self.kits / "slow").write_text(SLOW)
        (self.kits / "slow").chmod(0o755)
        for p in (self.kits, *self.kits.iterdir()):
            d._own(p)
        password = d.data / "password"
        password.write_text(self.database.password)
        password.chmod(0o600)
        d._own(password)
        text = re.sub(r'(?s)\ttarget "[^"]*" \{.*?\n\t\}\n', "", d.conf.read_text()).rstrip()
        text = f'database_password_file = "{password}"\nkits = "{self.kits}"\nname = "pair"\n' + text
        d.conf.write_text(text[:-1] + self.production.target(user_name(d), kit="slow") + "}\n")
        self.a = Server(d, "a", self.proxy.path if proxy else self.database.socket)
        stack.callback(self.a.place.stop)
        self.b = None
        self.stack = stack

    def second(self, copy=False):
        self.b = Server(self.d, "b", self.database.socket, first=False, copy=copy)
        self.stack.callback(self.b.place.stop)
        return self.b

    def hold_kit(self):
        """The next kit waits before it sends anything."""
        (self.kits / "hold").touch()

    def kit_waits(self):
        """It does: the ones after it do not."""
        until(lambda: self.kit_processes())
        (self.kits / "hold").unlink()

    def kit_processes(self):
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if str(self.kits / "slow").encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
        return found

    def let_kit(self):
        (self.kits / "go").touch()


@contextlib.contextmanager
def world(**kw):
    with contextlib.ExitStack() as stack:
        w = World(stack, **kw)
        try:
            yield w
        except BaseException:
            for s in (w.a, w.b):
                if s:
                    print(f"--- {s.name}\n{s.place.log()[-6000:]}", file=sys.stderr)
            raise


def sign(server, path="/", **kw):
    return server.place.sign(path, recursive=path == "/", **kw)


def fsck_clean(w):
    r = w.d.run(program(), "fsck", "--data", w.d.data, check=False)
    assert r.returncode == 0, r.stdout + r.stderr


def pass_turn(w, winner, wait=60):
    """A minute goes by for the one that waits, which sees nothing of the other meanwhile."""
    end = time.monotonic() + wait
    while not winner.may_write():
        assert time.monotonic() < end, winner.place.log()[-4000:]
        winner.clock.sleep(61)
        time.sleep(0.3)


def test_who_waits_takes_over():
    with world() as w:
        a = w.a.start()
        sign(a)
        a.place.sync()
        assert "servers" not in a.sync_state() and "Server" not in a.place.cli("sync", "status").stdout
        b = w.second().start()
        # It shows what there is, and refuses to write, with the name of who does.
        assert b.place.status()["items"]
        assert not b.may_write() and "another server" in b.sync_state()["trouble"]
        status, answer = b.place.api("POST", b.place.api_site("/sign"), {"paths": ["/index.html"], "as_staged": True, "note": "", "id": "0" * 7 + "1-0000-4000-8000-000000000000"})
        assert status == 503 and "another server" in answer["detail"], answer
        # Its waiting disturbs nobody.
        for i in range(3):
            w.d.write("/index.html", f"a {i}")
            sign(a, "/index.html")
            assert machine(a.place.sync())["state"] == "confirmed"
        b.clock.sleep(3600)
        time.sleep(0.5)
        assert a.may_write() and not b.may_write()
        assert a.terms() == [1, 1, 1, 1]
        # Who has it is to be seen, from both.
        for server, here in ((a, 0), (b, 1)):
            until(lambda: len(server.sync_state().get("servers", ())) == 2)
            servers = server.sync_state()["servers"]
            assert [s["turn"] for s in servers] == [True, False] and servers[here]["here"] and servers[0]["ticket"] == 1, servers
            text = server.place.cli("sync", "status").stdout
            assert "publishes this site" in text and "waits for its turn" in text
        a.place.add_account("alice")
        # Rights are followed by the one that waits, and what was approved, within half a minute.
        until(lambda: 'site="www"' in b.place.login("alice").get("/metrics").text)
        b.clock.sleep(31)
        until(lambda: b.place.file("/index.html")["state"] == "signed")
        metrics = [s.place.login("alice").get("/metrics").text for s in (a, b)]
        assert all('drydock_servers{site="www"} 2\n' in m for m in metrics)
        assert [f'drydock_turn{{site="www"}} {v}\n' in m for v, m in zip((1, 0), metrics)] == [True, True]
        for server in (a, b):
            page = server.place.login("alice").get("/s/www/sync").text
            assert "publishes this site" in page and "waits" in page and "(this server)" in page
        # Killed: nobody takes over at once, and after a minute the other one does.
        a.place.kill()
        time.sleep(0.5)
        assert not b.may_write()
        pass_turn(w, b)
        turn, = b.records("turn")
        assert turn["user"] == "system:drydock" and turn["fields"]["ticket"] == 2
        assert turn["fields"]["removed"][0].startswith("1 ")
        w.d.write("/index.html", "b")
        sign(b, "/index.html")
        assert machine(b.place.sync())["state"] == "confirmed"
        assert b.terms()[-1] == 2 and w.production.accepted()["term"] == 2
        assert w.production.live() == staged(w.d)
        # It comes back, and waits now.
        a.start()
        assert not a.may_write()
        # One that stops says so: the other need not wait for a minute.
        assert b.place.stop() == 0
        until(a.may_write, why=lambda: a.place.log()[-3000:])
        w.d.write("/index.html", "a again")
        sign(a, "/index.html")
        assert machine(a.place.sync())["state"] == "confirmed"
        assert a.terms()[-1] == 3
        assert a.place.stop() == 0
        fsck_clean(w)


def test_a_server_that_was_away():
    """Suspended in the middle of a push, while a copy of its storage goes on elsewhere."""
    with world() as w:
        a = w.a.start()
        sign(a)
        a.place.sync()
        w.d.write("/index.html", "two")
        sign(a, "/index.html")
        w.hold_kit()
        a.place.must("POST", a.place.api_site("/sync/force"), {"reason": "the second"})
        w.kit_waits()
        pid = a.place.process.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            b = w.second(copy=True).start()
            assert not b.may_write()
            pass_turn(w, b)
            # What was under way is settled, and goes out by the new one.
            until(lambda: w.production.accepted()["number"] == 2)
            w.d.write("/index.html", "three")
            sign(b, "/index.html")
            assert machine(b.place.sync())["state"] == "confirmed"
            assert w.production.accepted()["number"] == 3 and w.production.accepted()["term"] == 2
            # The kit of the first goes on, before its server does.
            w.let_kit()
            until(lambda: not w.kit_processes())
            assert w.production.accepted()["number"] == 3 and w.production.live() == staged(w.d)
        finally:
            os.kill(pid, signal.SIGCONT)
            a.clock.sleep(120)
        # It notices: nothing that it was about is recorded, and it writes nothing.
        until(lambda: a.may_write() is False)
        assert "turn.lost" in a.place.log()
        status, answer = until(lambda: a.asked("POST", a.place.api_site("/sign"), {"paths": ["/docs/b.html"], "as_staged": True, "note": ""}))
        assert status == 503, answer
        runs = b.place.must("GET", b.place.api_site("/sync/runs"))["items"]
        # What was forced there was done here, once; the first one's run is known to have ended with it.
        assert [r["state"] for r in runs if r["reason"] == "the second"] == ["ok", "interrupted"]
        # Its own storage stayed behind: it does not go on from there, whatever happens to the other.
        b.place.kill()
        a.clock.sleep(61)
        time.sleep(0.5)
        a.clock.sleep(61)
        until(lambda: "is not in the repository here" in (a.trouble() or ""), why=a.place.log)
        assert not a.may_write()
        w.d.write("/index.html", "four")
        b.start()
        sign(b, "/index.html")
        assert machine(b.place.sync())["state"] == "confirmed"
        assert b.terms() == [1, 1, 2, 2]


def test_both_start_at_once():
    """And are killed and started again, while somebody signs wherever it is possible: one line of records, one of releases."""
    with world() as w:
        w.a.start()
        w.a.place.stop()
        b = w.second()
        w.a.place.process = w.b.place.process = None
        w.a.start(), b.start()
        assert sorted((w.a.may_write(), b.may_write())) == [False, True]
        done = 0
        for i in range(6):
            holder, waiter = (w.a, b) if w.a.may_write() else (b, w.a)
            w.d.write("/index.html", f"round {i}")
            sign(holder, "/index.html")
            done += 1
            if i % 3 == 0:
                holder.place.must("POST", holder.place.api_site("/sync/force"), {"reason": "in flight"})
            else:
                assert machine(holder.place.sync())["state"] == "confirmed"
            holder.place.kill()
            pass_turn(w, waiter)
            holder.start()
            assert not holder.may_write() and waiter.may_write()
        holder = w.a if w.a.may_write() else b
        holder.place.sync(state=None)
        assert w.production.live() == {"/index.html": b"round 5"}
        signs = [r for r in holder.records("sign")]
        assert len(signs) == done
        terms = holder.terms()
        assert terms == sorted(terms) and len(holder.records("turn")) == 6
        for s in (w.a, b):
            s.place.stop()
        fsck_clean(w)


def test_the_database_is_cut_off():
    """The holder cannot say that it lives: it sends nothing more, and the other one takes over."""
    with world(proxy=True) as w:
        a = w.a.start()
        sign(a)
        a.place.sync()
        b = w.second().start()
        w.d.write("/index.html", "two")
        sign(a, "/index.html")
        w.hold_kit()
        a.place.must("POST", a.place.api_site("/sync/force"), {"reason": "the second"})
        w.kit_waits()
        w.proxy.close()
        a.clock.sleep(50)
        until(lambda: not w.kit_processes())  # ended by its server, which does not know any more
        assert w.production.accepted()["number"] == 1
        pass_turn(w, b)
        until(lambda: w.production.accepted()["number"] == 2)
        w.d.write("/index.html", "three")
        sign(b, "/index.html")
        assert machine(b.place.sync())["state"] == "confirmed"
        os.unlink(w.proxy.path)
        with Proxy(w.database.socket, w.proxy.path):
            a.clock.sleep(60)
            until(lambda: "another server has the turn" in (a.trouble() or ""), why=lambda: a.place.log()[-3000:])
            assert b.may_write() and w.production.accepted()["term"] == 2
            b.place.stop()
            until(a.may_write)
            w.d.write("/index.html", "four")
            sign(a, "/index.html")
            assert machine(a.place.sync())["state"] == "confirmed"
            assert a.terms() == [1, 1, 2, 3]
            a.place.stop()


def test_what_is_refused():
    with world() as w:
        a = w.a.start()
        sign(a)
        # The same data directory.
        r = w.d.run(program(), "serve", "--data", w.d.data, check=False)
        assert r.returncode == 6 and "in use by another drydockd" in r.stderr
        # Another installation on this database.
        b = w.second()
        b.place.run(program(), "init", "--data", w.d.dir / "other", "--site", "www", "--staging", w.d.staging)
        shutil.copy2(w.d.dir / "other" / "node.key", b.place.data / "node.key")
        b.place._own(b.place.data / "node.key")
        r = w.d.run(program(), "serve", "--data", b.place.data, check=False)
        assert r.returncode == 6 and "belongs to another installation" in r.stderr, r.stderr
        assert w.a.may_write()
        # A command that writes, beside a server that runs.
        shutil.copy2(w.d.data / "node.key", b.place.data / "node.key")
        b.place._own(b.place.data / "node.key")
        r = w.d.run(program(), "admin", "--data", b.place.data, "unix:" + w.d.user, check=False)
        assert r.returncode == 6 and "another server of this database runs" in r.stderr, r.stderr
        assert w.a.may_write() and len(a.records("turn")) == 0
        a.place.stop()
        r = w.d.run(program(), "admin", "--data", b.place.data, "unix:" + w.d.user, check=False)
        assert r.returncode == 0, r.stderr
        a.start()
        until(a.may_write)


def test_who_comes_back_while_it_is_taken_over():
    """It had stopped, and starts again when the other one has looked, and not yet removed it."""
    with world() as w:
        a = w.a.start()
        sign(a)
        a.place.stop()
        b = w.second()
        pause = Failpoints(w.d.dir / "pause", own=w.d._own)
        pause.delay("act_looked_up", 4000, nth=2)  # of the site, after the installation
        started = threading.Thread(target=b.start, kwargs={"env": pause.env})
        started.start()
        until(lambda: pause.happened)
        # Said when the other one reads, and true when that wants to remove it.
        w.database.sql("BEGIN; UPDATE publisher SET seen_at = CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED) WHERE site = 'www' AND seen_at = 0; DO SLEEP(6); COMMIT")
        started.join()
        assert "another server has the turn" in b.trouble() and b.records("turn") == []
        queue = lambda: w.database.sql("SELECT members FROM counter WHERE id = 'publisher/www'").stdout.strip()
        assert queue().count("\\n") == 2 and queue().startswith("1 "), queue()
        a.start()
        assert a.may_write()
        w.d.write("/index.html", "by the one that came back")
        sign(a, "/index.html")


def test_it_is_heard_of_while_it_opens_and_stops():
    """Longer than a minute, on a large site: nobody takes over meanwhile."""
    with world() as w:
        sign(w.a.start())
        w.a.place.stop()
        heard = lambda: w.database.sql("SELECT seen_at FROM publisher WHERE site = 'www'").stdout.strip()
        pause = Failpoints(w.d.dir / "pause", own=w.d._own)
        for name, go in (("recover_begun", lambda: w.a.start(env=pause.env)), ("stop_syncs_ended", w.a.place.stop)):
            pause.delay(name, 6000, nth=2 if name == "recover_begun" else 1)  # of the site, after the installation
            going = threading.Thread(target=go)
            going.start()
            until(lambda: pause.happened)
            first = until(heard)
            until(lambda: heard() != first)
            assert going.is_alive() and heard() != "0"
            going.join()
        assert heard() == "0"


def test_who_cannot_open_has_no_turn():
    with world() as w:
        a = w.a.start()
        sign(a)
        a.place.stop()
        heard = lambda: w.database.sql("SELECT MAX(seen_at) FROM publisher").stdout.strip()
        stop = Failpoints(w.d.dir / "stop", own=w.d._own)
        stop.error("open_installation_there")
        with pytest.raises(RuntimeError, match="ended with 6"):
            a.start(env=stop.env)
        assert heard() == "0"
        # One that runs, and cannot take over, neither: it would take the turn away from who can, time after time, each as a record.
        a.start()
        b = w.second().start()
        w.d.staging.rename(w.d.dir / "away")
        a.place.stop()
        until(lambda: "serve.again.failed" in b.place.log())
        assert "staging" in b.place.log().split("serve.again.failed")[1].split("\n")[0]
        until(lambda: heard() == "0")
        with pytest.raises(RuntimeError, match="staging"):
            a.start()
        assert heard() == "0" and w.database.sql("SELECT COUNT(*) FROM record WHERE act = 'turn'").stdout.strip() == "0"
        (w.d.dir / "away").rename(w.d.staging)
        until(b.may_write)
        assert len(b.records("turn")) == 1 and heard() != "0"


def test_first_admins_of_one_that_waits():
    """They are made now or not at all: whoever decides otherwise meanwhile has the last word."""
    with world() as w:
        a = w.a.start()
        sign(a)
        b = w.second()
        note = b.place.data / "first-admins"
        note.write_text("unix:nobody\n")
        w.d._own(note)
        b.start()
        assert not note.exists() and 'event=admin.elsewhere site=www principal=unix:nobody' in b.place.log()
        a.place.stop()
        until(b.may_write)
        assert b.records("admin") == [] and "unix:nobody" not in str(b.place.must("GET", b.place.api_site("/roles")))


def test_each_site_is_checked_where_its_turn_is():
    """A lock of the one that waits keeps no act of the other back: it would take what is under way for a fault, and mend it."""
    with world() as w:
        a = w.a.start()
        sign(a)
        a.place.add_account("alice", role="admin")
        b = w.second().start()
        for name, target in (("installation", "/api/v1/check"), ("www", b.place.api_site("/check"))):
            for method in ("GET", "POST"):
                status, answer = b.place.api(method, target, *({"repair": True},) * (method == "POST"))
                assert status == 503 and f"Another server has the turn of {name} and checks it: ask there." in answer["detail"], answer
        page = b.place.login("alice").get("/s/www/check").text
        assert all(f"has the turn of {name} and checks it" in page for name in ("www", "installation"))
        r = w.d.run(program(), "fsck", "--repair", "--data", b.place.data, check=False)
        assert r.returncode == 3 and "ask there" in r.stderr and "admin" not in r.stderr, r
        fsck_clean(w)  # which asks the one that has it
        a.place.stop()
        until(b.may_write)
        assert w.d.run(program(), "fsck", "--data", b.place.data, check=False).returncode == 0


def test_what_repairs_asks_for_the_others():
    """The lock of a data directory keeps nobody out who has another one."""
    with world() as w:
        a = w.a.start()
        sign(a)
        b = w.second()
        drydockd = lambda *argv: w.d.run(program(), *argv, "--data", b.place.data, check=False)
        for status, argv in ((6, ("rebuild", "--replace")), (6, ("rebuild",)), (3, ("fsck", "--repair")), (3, ("fsck",))):
            r = drydockd(*argv)
            assert r.returncode == status and "uses this database too" in r.stderr and "stop it first" in r.stderr, (argv, r)
        w.d.write("/index.html", "meanwhile")
        sign(a, "/index.html")
        before = a.records("sign")
        # Killed: nobody knows for a minute.
        a.place.kill()
        assert drydockd("rebuild", "--replace").returncode == 6
        a.start().place.stop()
        assert drydockd("rebuild", "--replace").returncode == 0 and drydockd("fsck", "--repair").returncode == 0
        assert a.start().records("sign") == before


def test_the_key_was_changed_elsewhere():
    """A stand-in with the key of before takes no turn: what it would sign, every check would refuse for good."""
    with world() as w:
        a = w.a.start()
        sign(a)
        b = w.second()
        a.place.stop()
        w.d.run(program(), "key", "change", "-m", "yearly", "--data", w.d.data)
        b.start()
        assert "keys of the log of www are not in order" in b.trouble(), b.trouble()
        assert b.records("turn") == [] and b.place.status()["items"]
        b.place.stop()
        r = w.d.run(program(), "admin", "--data", b.place.data, "unix:" + w.d.user, check=False)
        assert r.returncode == 6 and "that is not the node's (node.key)" in r.stderr, r.stderr
        # While it waits, too.
        a.start()
        b.start()
        a.place.kill()
        for _ in range(3):
            b.clock.sleep(61)
            time.sleep(0.3)
        assert not b.may_write() and b.records("turn") == [] and "serve.again" not in b.place.log()
        b.place.stop()
        for f in ("node.key", "node.keys", "node.pub", "allowed_signers"):
            shutil.copy2(w.d.data / f, b.place.data / f)
            w.d._own(b.place.data / f)
        b.start()
        pass_turn(w, b)
        assert len(b.records("turn")) == 1
        w.d.write("/index.html", "by the new key")
        sign(b, "/index.html")
        b.place.stop()
        fsck_clean(w)


def test_a_change_of_the_key_that_a_boot_cut_short():
    """It is another server then, as far as the database knows. Nothing is signed before the change is complete, not even that it took over."""
    with world() as w:
        a = w.a.start()
        sign(a)
        a.place.stop()
        stop = Failpoints(w.d.dir / "stop", own=w.d._own)
        stop.stop("key_record")
        r = w.d.run(program(), "key", "change", "-m", "yearly", "--data", w.d.data, check=False, env={**os.environ, **stop.env})
        assert r.returncode == -signal.SIGKILL, r
        (w.d.data / "lock").rename(w.d.dir / "lock")
        a.start()
        assert "another server has the turn" in a.trouble() and "key.waits" in a.place.log()
        pass_turn(w, a)
        assert a.records("turn") == [] and [r["note"] for r in a.records("key")] == ["yearly"]
        w.d.write("/index.html", "by the new key")
        sign(a, "/index.html")
        a.place.stop()
        fsck_clean(w)
