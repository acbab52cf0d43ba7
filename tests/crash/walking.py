"""A server that is broken at a named place, and what has to hold afterwards.

A World is a data directory, a database of an outside server, and a daemon that can be stopped at a failpoint. A scenario
prepares what it needs and says what is asked; strike() asks it with a failpoint armed; check() looks with the eyes of the
client: what was answered with success is there, what was refused left nothing, what was not answered is there or not, whole,
and asking again with the same id gives one record. Then fsck has to be clean.
"""
import contextlib
import errno
import http.client
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
import urllib.parse
import uuid

from drydock import Drydock, program
from failpoints import NAMES, WITH_ERROR, Failpoints
from mariadb import MariaDB
from sink import HookSink
from waiting import until

ERRNOS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EINTR": errno.EINTR, "EMFILE": errno.EMFILE, "short": 0}
FIXED = {"/fixed/a.html": b"<p>a</p>\n", "/fixed/b/c.html": b"<p>c</p>\n"}


class Violation(AssertionError):
    pass


class Sql:
    """One connection to the outside server, for questions that cost nothing."""

    def __init__(self, d, server):
        self.client = subprocess.Popen(["mariadb", "--no-defaults", f"--socket={server.socket}", "--batch", "--skip-column-names", "--unbuffered"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=d.dir,
                                       **({"user": d.uid, "group": d.gid, "extra_groups": []} if os.geteuid() == 0 else {}))

    def __call__(self, text):
        """All rows as lists of text."""
        self.client.stdin.write(text + "; SELECT 'end of it';\n")
        self.client.stdin.flush()
        rows = []
        while True:
            line = self.client.stdout.readline()
            if not line:
                raise RuntimeError(f"the database's client has ended: {text}")
            row = line.rstrip("\n").split("\t")
            if row == ["end of it"]:
                return rows
            rows.append(row)

    def close(self):
        self.client.stdin.close()
        self.client.wait(30)
        self.client.stdout.close()


class World:
    """One server; many strikes."""

    def __init__(self, files=FIXED, private=False, second=True, site_config="\trelease_keep = 2\n", mariadb=None, start=True):
        self.n = 0
        self.kills = self.errors = self.missed = 0
        self.struck = set()
        self.approved = {}
        self.d = Drydock(files=files, start=False, accounts=(), preview=False, site_config=site_config)
        self.stack = contextlib.ExitStack()
        self.stack.callback(self.d.close)
        self.server = self.sql = None
        try:
            self.fp = Failpoints(self.d.dir / "failpoints", self.d._own)
            self.broken = self.d.dir / "broken"
            if second:
                self.hook = self.stack.enter_context(HookSink())
                self._second_target()
            if not private:
                self.server = mariadb or self.stack.enter_context(MariaDB(self.d.dir, self.d))
                self.sql = Sql(self.d, self.server)
                self.stack.callback(self.sql.close)
                self.database = f"walk_{uuid.uuid4().hex[:12]}"
                self.new_database()
                secret = self.d.dir / "password"
                secret.write_text(self.server.password + "\n")
                secret.chmod(0o600)
                self.d._own(secret)
                self.d.conf.write_text(f'database = "mysql://outside@localhost/{self.database}?socket={self.server.socket}"\n'
                                       f'database_password_file = "{secret}"\n' + self.d.conf.read_text())
            if start:
                self.start()
        except BaseException:
            self.stack.close()
            raise

    def new_database(self):
        self.sql(f"DROP DATABASE IF EXISTS {self.database}; CREATE DATABASE {self.database} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin; "
                 f"GRANT ALL ON {self.database}.* TO outside@localhost")

    def _second_target(self):
        """Beside the directory on this machine one that wants papers, by a kit that says it is done, and somebody who is told if it fails."""
        kits = self.d.dir / "kits"
        kits.mkdir()
        (kits / "papers").write_text(f"#!/bin/sh\ntest ! -e {self.broken} && test -s \"$DRYDOCK_PAPERS/$DRYDOCK_RELEASE\" && test -e \"$DRYDOCK_PAPERS/list\"\n")
        (kits / "papers").chmod(0o755)
        for name in ("key", "known_hosts"):
            (kits / name).write_text("")
            self.d._own(kits / name)
        text = self.d.conf.read_text()
        assert text.count("\ttarget \"production\"") == 1
        self.d.conf.write_text(f'kits = "{kits}"\n' + text.replace("\ttarget \"production\"", f"""\twebhook = {{"http://127.0.0.1:{self.hook.port}/told"}}
	target "papers" {{
		kit = "papers"
		place = "x"
		host = "localhost"
		key_file = "{kits}/key"
		known_hosts = "{kits}/known_hosts"
	}}
	target "production\""""))

    def close(self):
        """An orderly end, and what sanitizers and leak checks said until then."""
        try:
            code = self.d.stop() if self.d.process else 0
            said = self.d.sanitized()
        finally:
            self.stack.close()
        if code or said:
            raise Violation(f"the server ended with {code}: {said}")

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            self.stack.close()
        else:
            self.close()

    # --- the process -------------------------------------------------------------------------------------------------

    def start(self):
        self.fp.off()
        self.d.start(env=self.fp.env)

    def dead(self, wait=20):
        """It has stopped itself, and is waited for."""
        self.d.process.wait(wait)
        self.d.process = None

    def fail(self, why):
        raise Violation(f"{why}\n{self.d.log()[-1500:]}")

    # --- asking ------------------------------------------------------------------------------------------------------

    def ask(self, method, path, body):
        """(status, answer), or (None, None) if the connection broke."""
        try:
            return self.d.api(method, path, body)
        except (OSError, http.client.HTTPException):
            return None, None

    def count(self, op):
        return int(self.sql(f"SELECT COUNT(*) FROM {self.database}.record WHERE op = UNHEX('{op.replace('-', '')}')")[0][0])

    def fsck(self):
        r = self.d.run(program(), "fsck", "--data", self.d.data, check=False)
        if r.returncode:
            self.fail(f"fsck: {r.returncode}\n{r.stdout}{r.stderr}")

    def settle(self, wait=60):
        """No sync runs, none is wanted, and the export is not behind. True if the server is there to say so."""
        end = time.monotonic() + wait
        while True:
            status, now = self.ask("GET", self.d.api_site("/sync"), None)
            if status is None:
                return False
            if status == 200 and not now["running"] and not now["export_behind"] and not self.wanted():
                return True
            if time.monotonic() > end:
                self.fail(f"the sync does not settle: {now}")
            time.sleep(0.01)

    def comes(self, what, wait=60, must=True):
        """Wait for it. False if the daemon is gone."""
        end = time.monotonic() + wait
        while not what():
            if self.d.process.poll() is not None:
                return False
            if time.monotonic() > end:
                if must:
                    self.fail("what was waited for does not come")
                break
            time.sleep(0.01)
        return True

    def wanted(self):
        rows = self.sql(f"SELECT forced_at FROM {self.database}.schedule WHERE site = 'www'")
        return bool(rows) and rows[0][0] != "0"

    # --- striking ----------------------------------------------------------------------------------------------------

    def disarm(self):
        """How often it happened; what was reached until here is in self.seen."""
        happened, self.seen = self.fp.happened, self.fp.hits()
        # What it does is done a moment after it says so.
        if happened and self.fp.stops and self.d.process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.d.process.wait(5)
        self.fp.off()
        return happened

    def tally(self, happened, name):
        if happened:
            self.struck.add(name)
            self.kills += 1
        else:
            self.missed += 1

    def strike(self, scenario, arm, name=None):
        """One scenario with something armed: what came of it, or None if that was not reached."""
        act = scenario(self)
        log = len(self.d.log())
        self.fp.reset()
        arm()
        status, answer = self.ask(*act.request)
        if act.sync and status is not None and not self.settle():
            status = None
        # What was refused, or failed on its way, brings it only once it was asked again: check() sees to that.
        if act.until and status is not None and status < 300 and not self.comes(lambda: act.until() or self.fp.happened, 5, False):
            status = None
        happened = self.disarm()
        killed = self.d.process.poll() is not None or status is None
        if killed:
            if not happened:
                self.fail("the daemon went away without being told to")
            self.dead()
            self.start()
            self.kills += 1
        elif happened:
            self.errors += 1
        else:
            self.missed += 1
        if happened and name:
            self.struck.add(name)
        try:
            self.check(act, status, answer, killed)
        except (AssertionError, RuntimeError, KeyError) as e:
            raise Violation(f"{scenario.__name__}, {name}: answered {status} {answer}\n{e}\n--- since it was asked:\n{self.d.log()[log:][-6000:]}") from e
        return happened

    def check(self, act, status, answer, killed=True):
        before = self.count(act.op)
        done = status is not None and 200 <= status < 300
        if done and before != 1:
            self.fail(f"it was acknowledged, and there are {before} records")
        if status is not None and not done and before:
            # The one answer that leaves it open says so.
            if "it is not known" not in answer.get("detail", ""):
                self.fail(f"it was refused with {status}, and there is a record: {answer}")
        if before > 1:
            self.fail(f"there are {before} records of one id")
        # The same again, with the same id: one record, whatever the first answer was.
        again, said = self.ask(*act.request)
        if again is None or not 200 <= again < 300 or said.get("repeated") is not bool(before):
            self.fail(f"asked again: {again} {said}, and there were {before} records")
        if self.count(act.op) != 1:
            self.fail(f"asked again, and there are {self.count(act.op)} records")
        if done and answer["seq"] != said["seq"]:
            self.fail(f"the number was {answer['seq']}, and is {said['seq']}")
        self.approved.update(act.approves)
        for path in act.revokes:
            self.approved.pop(path, None)
        if act.sync:
            self.delivered(killed)
        if act.until and not self.comes(act.until):
            self.fail("the daemon is gone")
        # What was pending goes with the next act.
        filler = sign(self)
        if self.ask(*filler.request)[0] != 200:
            self.fail("the next act fails")
        self.approved.update(filler.approves)
        if "/sites/" not in act.request[1] and self.ask(*group(self).request)[0] != 200:
            self.fail("the next act of the installation fails")
        if not self.settle():
            self.fail("the daemon is gone")
        exported = self.d.tree(self.d.data / "sites/www/export")
        if exported != self.approved:
            self.fail(f"export: {sorted(set(exported.items()) ^ set(self.approved.items()))[:5]}")
        self.fsck()

    def delivered(self, killed):
        """Production holds what is approved: by itself after a crash, with one more sync after a kit that failed."""
        if not self.settle():
            self.fail("the daemon is gone")
        # A take-down that was broken off goes again by itself, but no force waits that settle() could see.
        if killed:
            self.comes(lambda: self.d.live() == self.approved)
        elif self.d.live() != self.approved:
            must(self, Act(self, self.d.api_site("/sync/force"), {"reason": "once more"}))
            self.settle()
        live = self.d.live()
        if live != self.approved:
            self.fail(f"production: {sorted(set(live.items()) ^ set(self.approved.items()))[:5]}")

    # --- start and end -----------------------------------------------------------------------------------------------

    def strike_start(self, scenario, arm, name=None):
        """Stop, with whatever the scenario leaves behind; start with something armed; start again."""
        self.prepare_start(scenario)
        self.fp.reset()
        arm()
        log = len(self.d.log())
        try:
            self.d.start(env=self.fp.env)
            # Who asks is answered a little before the start is over.
            until(lambda: self.d.process.poll() is not None or "event=serve.ready" in self.d.log()[log:])
        except RuntimeError as e:
            if not self.fp.happened:
                raise Violation(f"{scenario.__name__}, {name}: it does not start: {e}") from e
        happened = self.disarm()
        if self.d.process is not None and happened:
            # what the start does beside the port, or an error that it could live with
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.dead(0.3)
        self.tally(happened, name)
        if self.d.process is None:
            self.start()
        self.after(scenario, name)
        return happened

    def prepare_start(self, scenario):
        scenario(self)
        if self.d.process is not None:
            self.d.stop()

    def strike_end(self, arm, name=None):
        """SIGTERM with something armed; start again."""
        self.settle()
        self.fp.reset()
        arm()
        self.d.process.terminate()
        self.dead(60)
        happened = self.disarm()
        self.tally(happened, name)
        self.start()
        self.after("end", name)
        return happened

    def after(self, scenario, name):
        try:
            self.settle()
            self.check(sign(self), None, None)
        except (AssertionError, RuntimeError, KeyError) as e:
            raise Violation(f"{getattr(scenario, '__name__', scenario)}, {name}: {e}") from e


class Act:
    """What is asked, and what it changes. sync: production has it soon afterwards; until: what else comes of it."""

    def __init__(self, world, path, body, approves=(), revokes=(), sync=False, until=None):
        self.op = str(uuid.uuid4())
        self.request = ("POST", path, {"id": self.op, **body})
        self.approves, self.revokes, self.sync, self.until = dict(approves), list(revokes), sync, until
        world.n += 1


def must(world, act):
    status, answer = world.ask(*act.request)
    assert status in (200, 202), (status, answer, world.d.log()[-2000:])
    world.approved.update(act.approves)
    for path in act.revokes:
        world.approved.pop(path, None)
    return answer


# --- the acts ------------------------------------------------------------------------------------------------------------

def staged(world, paths, text="page"):
    out = {}
    for path in paths:
        out[path] = f"{text} {world.n} {path} {uuid.uuid4()}\n".encode()
        world.d.write(path, out[path])
    return out


def signing(world, files):
    return Act(world, world.d.api_site("/sign"), {"paths": sorted(files), "as_staged": True, "note": "walked"}, approves=files)


def sign(world):
    """One file; the same name again and again, so that it is replaced."""
    return signing(world, staged(world, ["/page.html"]))


def sign_many(world):
    """Twenty files in three directories: past what is exported without a sync. Ten more in two that are new each time."""
    world.many = getattr(world, "many", 0) + 1
    return signing(world, staged(world, [f"/many/{i % 3}/f{i}.html" for i in range(20)] + [f"/many/new{world.many}/{i % 2}/f{i}.html" for i in range(10)]))


def sign_large(world):
    """Above 16 MiB: a loose object."""
    path, content = "/large.bin", (b"%08d" % world.n) * ((17 << 20) // 8)
    world.d.write(path, content)
    return signing(world, {path: content})


def sign_over(world):
    """A directory where a file was, and the other way round; something foreign lies in the export."""
    world.turn = not getattr(world, "turn", False)
    with contextlib.suppress(FileNotFoundError):
        world.d.remove("/swap")
    files = staged(world, ["/swap/in/it.html"] if world.turn else ["/swap"])
    for p in [p for p in world.approved if p == "/swap" or p.startswith("/swap/")]:
        files[p] = None
    foreign = world.d.data / "sites/www/export/foreign.html"
    foreign.parent.mkdir(parents=True, exist_ok=True)
    foreign.write_text("nobody signed this")
    extra = staged(world, ["/foreign.html"])
    if "/foreign.html" in world.approved:
        must(world, Act(world, world.d.api_site("/revoke"), {"paths": ["/foreign.html"], "as_staged": True, "note": ""}, revokes=["/foreign.html"]))
        foreign.write_text("nobody signed this")
        world.d._own(foreign)
    act = signing(world, {**{p: c for p, c in files.items() if c is not None}, **extra})
    act.revokes = [p for p, c in files.items() if c is None]
    return act


def review(world):
    return Act(world, world.d.api_site("/review"), {"paths": ["/fixed/a.html"], "as_staged": True, "note": f"read {world.n}"})


def revoke(world):
    """Two files, the last of their directories."""
    files = staged(world, ["/gone/x/1.html", "/gone/y/2.html"])
    must(world, signing(world, files))
    return Act(world, world.d.api_site("/revoke"), {"paths": sorted(files), "as_staged": True, "note": "wrong"}, revokes=files)


def rule(world):
    return Act(world, world.d.api_site("/roles"), {"principal": "unix:nobody", "path": f"/r{world.n}", "role": "view"})


def rule_gone(world):
    path = f"/r{world.n}"
    must(world, Act(world, world.d.api_site("/roles"), {"principal": "unix:nobody", "path": path, "role": "view"}))
    return Act(world, world.d.api_site("/roles"), {"principal": "unix:nobody", "path": path, "role": None})


def require(world):
    return Act(world, world.d.api_site("/requirements"), {"path": f"/q{world.n}", "reviews": 1, "not_alone": False})


def require_gone(world):
    path = f"/q{world.n}"
    must(world, Act(world, world.d.api_site("/requirements"), {"path": path, "reviews": 1, "not_alone": True}))
    return Act(world, world.d.api_site("/requirements"), {"path": path, "reviews": 0, "not_alone": False})


def preapproving(world, path, **kw):
    return Act(world, world.d.api_site("/preapprovals"), {"path": path, "note": "by a script", **kw})


def preapprove(world):
    must(world, preapprove_gone(world))
    return preapproving(world, f"/p{world.n}")


def preapprove_gone(world):
    path = f"/p{world.n}"
    must(world, preapproving(world, path))
    return preapproving(world, path, remove=True)


PEOPLE = {"password": "a long password", "display": "Somebody", "enabled": True}


def account(world):
    return Act(world, "/api/v1/users", {"name": f"u{world.n}", **PEOPLE})


def account_changed(world):
    name = f"u{world.n}"
    must(world, Act(world, "/api/v1/users", {"name": name, **PEOPLE}))
    return Act(world, "/api/v1/users", {"name": name, **PEOPLE, "password": "another long password"})


def group(world):
    return Act(world, "/api/v1/groups", {"name": f"g{world.n}"})


def group_gone(world):
    name = f"g{world.n}"
    must(world, Act(world, "/api/v1/groups", {"name": name}))
    return Act(world, "/api/v1/groups", {"name": name, "remove": True})


def member(world):
    name = f"g{world.n}"
    must(world, Act(world, "/api/v1/groups", {"name": name}))
    return Act(world, f"/api/v1/groups/{name}/members", {"principal": "unix:nobody"})


def member_gone(world):
    name = f"g{world.n}"
    must(world, Act(world, "/api/v1/groups", {"name": name}))
    must(world, Act(world, f"/api/v1/groups/{name}/members", {"principal": "unix:nobody"}))
    return Act(world, f"/api/v1/groups/{name}/members", {"principal": "unix:nobody", "remove": True})


def token(world):
    return Act(world, "/api/v1/tokens", {"label": f"t{world.n}", "role": "view", "path": "/", "expires": "1d"})


def token_gone(world):
    made = must(world, token(world))
    return Act(world, "/api/v1/tokens/revoke", {"token": made["token_id"]})


def force(world):
    """A sync, with something new: signed, and pre-approved."""
    path = "/auto/data.json"
    if not getattr(world, "automatic", False):
        must(world, preapproving(world, "/auto"))
        world.automatic = True
    must(world, sign(world))
    files = staged(world, [path])
    plan = world.d.must("GET", world.d.api_site("/sync/plan"))
    return Act(world, world.d.api_site("/sync/force"), {"reason": "walked", "plan": plan["digest"]}, approves=files, sync=True)


def force_without_lists(world):
    """The same, and the lists of files that are kept are lost."""
    shutil.rmtree(world.d.data / "sites/www/releases", ignore_errors=True)
    return force(world)


def field(world):
    return Act(world, world.d.api_site("/fields"), {"path": f"/f{world.n}", "name": "why", "label": "Why", "type": "text", "required": True, "acts": ["sign"]})


def field_gone(world):
    made = field(world)
    must(world, made)
    return Act(world, world.d.api_site("/fields"), {"path": made.request[2]["path"], "name": "why", "remove": True})


def sign_fields(world):
    """With what a field asks for."""
    path = "/asked/page.html"
    if not getattr(world, "asks", False):
        must(world, Act(world, world.d.api_site("/fields"), {"path": "/asked", "name": "why", "label": "Why", "type": "text", "required": True, "acts": ["sign"]}))
        world.asks = True
    act = signing(world, staged(world, [path]))
    act.request[2]["fields"] = {"why": f"because {world.n}"}
    return act


def hold(world):
    return Act(world, world.d.api_site("/holds"), {"path": f"/h{world.n}", "until": "1d", "reason": "lawyers look at it"})


def hold_gone(world):
    path = f"/h{world.n}"
    must(world, Act(world, world.d.api_site("/holds"), {"path": path, "until": "1d", "reason": "lawyers look at it"}))
    return Act(world, world.d.api_site("/holds"), {"path": path, "remove": True})


def released(world, files):
    """Signed, and in production."""
    must(world, signing(world, files))
    must(world, Act(world, world.d.api_site("/sync/force"), {"reason": "a release"}))
    world.settle()
    assert set(files) <= set(world.d.live())


def take_down(world):
    """Two files of production that leave at once."""
    files = staged(world, ["/down/x/1.html", "/down/2.html"])
    released(world, files)
    return Act(world, world.d.api_site("/revoke"), {"paths": sorted(files), "as_staged": True, "note": "a court says so", "take_down": True}, revokes=files, sync=True)


def removal(world):
    """More files leave than may go unseen; an admin has seen which."""
    files = staged(world, [f"/mass/{i}.html" for i in range(60)])
    released(world, files)
    must(world, Act(world, world.d.api_site("/revoke"), {"paths": sorted(files), "as_staged": True, "note": "all of them"}, revokes=files))
    plan = world.d.must("GET", world.d.api_site("/sync/plan"))
    assert plan["removed"] == len(files) and not plan["removal_confirmed"], plan
    return Act(world, world.d.api_site("/sync/removal"), {"reason": "the project is over", "list": plan["removal"]}, sync=True)


def told(world):
    """A target fails, or is well again: somebody is told, and told again rather than not."""
    failing = not world.broken.exists()
    world.broken.touch() if failing else world.broken.unlink()
    must(world, sign(world))

    def known():
        return world.fp.hits().get("notice_row") and world.sql(f"SELECT failing, tries FROM {world.database}.notice WHERE site = 'www'") == [["papers" if failing else "", "0"]]
    return Act(world, world.d.api_site("/sync/force"), {"reason": "walked"}, sync=True, until=known)


def reapprove(world):
    """A file as it was before."""
    first = staged(world, ["/back.html"], "first")
    seq = must(world, signing(world, first))["seq"]
    must(world, signing(world, staged(world, ["/back.html"], "second")))
    query = urllib.parse.urlencode({"path": "/back.html", "record": seq})
    shown = world.d.must("GET", world.d.api_site(f"/reapprove?{query}"))["digest"]
    return Act(world, world.d.api_site("/reapprove"), {"path": "/back.html", "record": seq, "shown": shown, "note": "as it was"}, approves=first)


def rollback(world):
    """The whole site as it was in the newest release, which something changed since. A hold would be in the way."""
    for held in world.d.must("GET", world.d.api_site("/holds"))["items"]:
        must(world, Act(world, world.d.api_site("/holds"), {"path": held["path"], "remove": True}))
    must(world, sign(world))
    must(world, Act(world, world.d.api_site("/sync/force"), {"reason": "a release"}))
    world.settle()
    number, before = world.d.must("GET", world.d.api_site("/sync"))["release"], dict(world.approved)
    must(world, signing(world, staged(world, ["/page.html", "/later/new.html"])))
    shown = world.d.must("GET", world.d.api_site(f"/releases/{number}/rollback"))["digest"]
    return Act(world, world.d.api_site(f"/releases/{number}/rollback"), {"reason": "walked", "shown": shown}, approves=before,
               revokes=[p for p in world.approved if p not in before], sync=True)


ACTS = [sign, sign_many, sign_large, sign_over, review, revoke, rule, rule_gone, require, require_gone, preapprove, preapprove_gone, account,
        account_changed, group, group_gone, member, member_gone, token, token_gone, field, field_gone, sign_fields, hold, hold_gone, reapprove]
SYNCS = [force, force_without_lists, rollback, take_down, removal, told]


# --- what a start finds ----------------------------------------------------------------------------------------------------

def cut_short(world, act, where):
    """Ask with the process stopped there: its start has to bring that to an end."""
    world.fp.stop(where)
    world.ask(*act.request)
    world.dead()
    world.fp.off()
    if world.count(act.op):
        world.approved.update(act.approves)
        for path in act.revokes:
            world.approved.pop(path, None)


def after_order(world):
    """An orderly end."""


def after_kill(world):
    """In the middle of an act that is decided: ref and export are behind."""
    cut_short(world, sign_many(world), "act_kept")


def after_lost_refs(world):
    """Refs and the newest index are torn, as a power failure leaves them; a lock of git lies about; nobody knows the export."""
    must(world, sign(world))
    must(world, Act(world, world.d.api_site("/sync/force"), {"reason": "a release"}))
    world.settle()
    world.d.stop()
    refs = world.d.repo / "refs"
    lock = refs / "heads/main.lock"
    lock.write_text("")
    world.d._own(lock)
    for tag in (refs / "tags/release").glob("*"):
        tag.unlink()
    (refs / "heads/main").write_text("")
    next((refs / "drydock/log").glob("*")).write_text("")
    newest = max((world.d.repo / "objects/pack").glob("*.idx"), key=lambda p: p.stat().st_mtime_ns)
    newest.chmod(0o600)
    newest.write_bytes(newest.read_bytes()[:100])
    (world.d.data / "sites/www/export.at").write_bytes(b"")


def after_release(world):
    """A release is decided, and no ref tells of it."""
    must(world, sign(world))
    act = Act(world, world.d.api_site("/sync/force"), {"reason": "a release"})
    world.fp.stop("release_decided")
    world.ask(*act.request)
    world.dead()
    world.fp.off()


def after_other_server(world):
    """Another server of this database stopped while it had the turn: it is taken over, as a record."""
    world.d.stop()
    world.sql(f"UPDATE {world.database}.publisher SET place = UNHEX(SHA2(CONCAT(site, RAND()), 256)), seen_at = 0")


STARTS = [after_order, after_kill, after_lost_refs, after_release, after_other_server]


# --- before there is anything ----------------------------------------------------------------------------------------------

def strike_fresh(world, arm, name=None):
    """An empty database and a site that was never opened: the migrations, repositories and first records."""
    d = world.d
    if d.process is not None:
        d.stop()
    world.new_database()
    for place in ("sites", "staging.tmp"):
        shutil.rmtree(d.data / place, ignore_errors=True)
    (d.data / "first-admins").write_text(f"unix:{d.user}\n")
    world.approved, world.automatic, world.turn, world.asks = {}, False, False, False
    world.fp.reset()
    arm()
    with contextlib.suppress(RuntimeError):
        d.start(env=world.fp.env)
    happened = world.disarm()
    if d.process is not None and happened:
        with contextlib.suppress(subprocess.TimeoutExpired):
            world.dead(0.3)
    world.tally(happened, name)
    if d.process is None:
        world.start()
    rows = world.sql(f"SELECT site, act, COUNT(*) FROM {world.database}.record WHERE act IN ('genesis', 'rule') GROUP BY site, act ORDER BY 1, 2")
    if rows != [["installation", "genesis", "1"], ["www", "genesis", "1"], ["www", "rule", "1"]]:
        world.fail(f"{name}: the first records are {rows}")
    world.after(strike_fresh, name)
    return happened


def strike_init(world, directory, arm, name=None):
    """`drydockd init`, stopped; then again."""
    d = world.d
    argv = [program(), "init", "--data", directory, "--site", "www", "--staging", d.staging, "--admin", f"unix:{d.user}"]
    world.fp.reset()
    arm()
    r = d.run(*argv, check=False, env={**os.environ, **world.fp.env})
    happened = world.disarm()
    if happened:
        world.struck.add(name)
        world.kills += 1
        if not r.returncode:
            world.fail(f"init was broken at {name} and says that all is well")
        d.run(*argv)
    else:
        world.missed += 1
    if (directory / "first-admins").read_text() != f"unix:{d.user}\n":
        world.fail(f"{name}: the first admin is lost")
    d.run(program(), "check-config", "--data", directory)
    shutil.rmtree(directory)
    return happened


# --- the key changed ---------------------------------------------------------------------------------------------------------

def strike_key(world, arm, name=None):
    """`drydockd key change`, stopped; the next start completes it, or it has not begun. Never does a log have two keys at once."""
    d = world.d
    d.stop()
    listed = lambda: json.loads(d.run(program(), "key", "list", "--json", "--data", d.data).stdout)["items"]
    before = len(listed())
    world.fp.reset()
    arm()
    r = d.run(program(), "key", "change", "-m", "a walk", "--data", d.data, check=False, env={**os.environ, **world.fp.env})
    happened = world.disarm()
    world.tally(happened, name)
    if not happened:
        assert r.returncode == 0, r.stdout + r.stderr
    begun = (d.data / "key-change").exists()
    if begun:
        # what is half done is no damage, and nothing to be kept for later: node.key may be the old key, or nothing
        tool = lambda *argv: d.run(program(), *argv, "--data", d.data, check=False).returncode
        if (tool("fsck"), tool("backup", d.dir / f"backup-{name}")) != (0, 6):
            world.fail(f"{name}: fsck finds damage in a change that was cut short, or a backup takes it for whole")
    world.start()
    left = sorted(p.name for p in d.data.glob("*key*") if p.name not in ("node.key", "node.keys"))
    if left:
        world.fail(f"{name}: left behind: {left}")
    keys = listed()
    rows = {int(n) for _, n in world.sql(f"SELECT site, COUNT(*) FROM {world.database}.record WHERE act = 'key' GROUP BY site")} or {0}
    if rows != {len(keys) - 1} or (begun or not happened) and len(keys) != before + 1:
        world.fail(f"{name}: {before} keys before, {len(keys)} now, records: {rows}")
    print_of = d.run("ssh-keygen", "-lf", d.data / "node.pub").stdout.split()[1]
    if print_of != keys[-1]["fingerprint"] or (d.data / "allowed_signers").read_text().count("ssh-ed25519 ") != len(keys):
        world.fail(f"{name}: node.pub or allowed_signers is not what node.keys says")
    # the log, whose first record names the first key
    shown = d.run("git", "--git-dir", d.repo, "-c", f"gpg.ssh.allowedSignersFile={d.data}/allowed_signers", "log", "--format=%G?", "--glob=refs/drydock/log/*").stdout.split()
    if set(shown) != {"G"}:
        world.fail(f"{name}: git does not believe {shown}")
    world.after(strike_key, name)
    return happened


# --- the repository put together -------------------------------------------------------------------------------------------

def strike_repack(world, arm, name=None):
    """The daemon would do it by night; here a program does that calls the same function."""
    d = world.d
    for _ in range(6):
        must(world, sign(world))
    d.stop()
    world.fp.reset()
    arm()
    r = d.run(program("repack_driver"), d.repo, "2", check=False, env={**os.environ, **world.fp.env})
    happened = world.disarm()
    world.tally(happened, name)
    if not happened:
        assert r.returncode == 0, r.stdout + r.stderr
    world.start()
    world.after(strike_repack, name)
    return happened


# --- the commands that write -------------------------------------------------------------------------------------------------

def run_armed(world, arm, name, *argv):
    """A command of drydockd, the server being stopped: (what it was, whether something happened). One that was broken says so."""
    world.fp.reset()
    arm()
    r = world.d.run(program(), *argv, check=False, env={**os.environ, **world.fp.env})
    happened = world.disarm()
    if not happened:
        world.missed += 1
        if r.returncode not in (0, 1 if argv[0] == "fsck" else 0):
            world.fail(f"{argv}: {r.returncode}\n{r.stdout}{r.stderr}")
    else:
        world.struck.add(name)
        if r.returncode == -signal.SIGKILL:
            world.kills += 1
        else:
            world.errors += 1
    return r, happened


def backup_of(world, place):
    world.d.run(program(), "backup", place, "--data", world.d.data)
    return place


def put_back(world, place):
    """A backup in place of what is lost, with an empty database."""
    shutil.rmtree(world.d.data, ignore_errors=True)
    world.new_database()
    world.d.run(program(), "restore", place, "--data", world.d.data)


def accept(world):
    world.d.run(program(), "accept-loss", "-m", "walked", "--data", world.d.data)


def away(world):
    """The server has ended with nothing under way: a place for a backup."""
    world.settle()
    world.d.stop()
    return world.d.dir / f"backup-{world.n}"


def restored(world, place):
    """From that backup, of which nothing is left; nobody has said yet that the loss is accepted."""
    put_back(world, place)
    shutil.rmtree(place)


def goes_on(world, strike, name):
    world.start()
    world.after(strike, name)


def writes_nothing(world, where):
    """Of what was restored, whole or half: it does not start, or takes no signature."""
    try:
        world.start()
    except RuntimeError:
        return
    status, answer = world.ask(*sign(world).request)
    if status is not None and status < 400:
        world.fail(f"{where}: signed before the loss was accepted: {status} {answer}")
    world.d.stop()


def strike_backup(world, arm, name=None):
    """A backup that ended early is none; one that is there is whole."""
    place = away(world)
    r, happened = run_armed(world, arm, name, "backup", place, "--data", world.d.data)
    kept = world.d.data.rename(world.d.dir / "kept")
    again = world.d.run(program(), "restore", place, "--data", world.d.dir / "never", check=False)
    if (place / "MANIFEST").exists() != ("rows already" in again.stderr):
        world.fail(f"{name}: {r.returncode}, and restored: {again.returncode} {again.stderr}")
    shutil.rmtree(world.d.dir / "never", ignore_errors=True)
    kept.rename(world.d.data)
    shutil.rmtree(place, ignore_errors=True)
    restored(world, backup_of(world, place))
    accept(world)
    goes_on(world, strike_backup, name)
    return happened


def strike_restore(world, arm, name=None):
    """What was restored by half never goes for the whole."""
    place = backup_of(world, away(world))
    shutil.rmtree(world.d.data)
    world.new_database()
    _, happened = run_armed(world, arm, name, "restore", place, "--data", world.d.data)
    if world.d.data.exists():
        writes_nothing(world, name)
    restored(world, place)
    accept(world)
    goes_on(world, strike_restore, name)
    return happened


def strike_accept(world, arm, name=None):
    """Said for all sites or not: until then nothing is written."""
    restored(world, backup_of(world, away(world)))
    _, happened = run_armed(world, arm, name, "accept-loss", "-m", "walked", "--data", world.d.data)
    if (world.d.data / "restored").exists():
        writes_nothing(world, name)
        accept(world)
    goes_on(world, strike_accept, name)
    return happened


def strike_rebuild(world, arm, name=None):
    """The tables are those of before, or those of the log, which are the same."""
    away(world)
    _, happened = run_armed(world, arm, name, "rebuild", "--replace", "--data", world.d.data)
    world.fsck()
    world.d.run(program(), "rebuild", "--replace", "--data", world.d.data)
    goes_on(world, strike_rebuild, name)
    return happened


def strike_repair(world, arm, name=None):
    """Everything that fsck can put right, at once."""
    must(world, rule(world))
    must(world, sign(world))
    away(world)
    site = world.d.data / "sites/www"
    (site / "repo.git").chmod(0o777)
    (site / "export/page.html").write_text("nobody signed this")
    (site / "export/foreign.html").write_text("nor this")
    for place in (site / "export").glob("*.html"):
        world.d._own(place)
    world.sql(f"DELETE FROM {world.database}.rule WHERE site = 'www' AND path <> '/'; DELETE FROM {world.database}.file_state WHERE site = 'www' LIMIT 1")
    ref = next((site / "repo.git/refs/drydock/log").glob("*"))
    ref.write_text(world.d.git("rev-parse", f"refs/drydock/log/{ref.name}^").stdout)
    world.d._own(ref)
    _, happened = run_armed(world, arm, name, "fsck", "--repair", "--data", world.d.data)
    r = world.d.run(program(), "fsck", "--repair", "--data", world.d.data, check=False)
    if r.returncode not in (0, 1):
        world.fail(f"{name}: {r.returncode}\n{r.stdout}{r.stderr}")
    world.fsck()
    goes_on(world, strike_repair, name)
    return happened


TOOLS = [strike_backup, strike_restore, strike_accept, strike_rebuild, strike_repair]


# --- the private database --------------------------------------------------------------------------------------------------

class Private(World):
    """With a MariaDB that the daemon installs, starts, watches and ends."""

    def __init__(self):
        super().__init__(private=True, second=False)

    def wanted(self):
        return False

    def database_gone(self):
        pid = self.d.database_pid()
        if pid:
            os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + 60
        while pid and pathlib.Path(f"/proc/{pid}").exists():
            assert time.monotonic() < end, "the database does not end"
            time.sleep(0.02)

    def again(self, name):
        """Whatever was broken: it starts, with one server, and works."""
        happened = self.disarm()
        if happened:
            self.dead()
            self.struck.add(name)
            self.kills += 1
        else:
            self.missed += 1
        if self.d.process is None:
            self.start()
        mine = [p for p in pathlib.Path("/proc").iterdir() if p.name.isdigit() and self.is_server(p)]
        if len(mine) != 1:
            self.fail(f"{name}: servers on one directory: {mine}")
        act = sign(self)
        for repeated in (False, True):
            status, answer = self.ask(*act.request)
            if status != 200 or answer["repeated"] is not repeated:
                self.fail(f"{name}: a signature afterwards: {status} {answer}")
        self.fsck()
        return happened

    def is_server(self, place):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return words[0] == b"mariadbd" and f"--datadir={self.d.data}/db".encode() in words

    def begin(self):
        """Start, which may end at once."""
        try:
            self.d.start(env=self.fp.env)
        except RuntimeError as e:
            if not self.fp.happened:
                raise Violation(f"it does not start: {e}") from e
            # it was reaped there
            self.d.process = subprocess.Popen(["true"])

    def strike_begin(self, arm, name=None):
        self.d.stop()
        self.fp.reset()
        arm()
        self.begin()
        return self.again(name)

    def strike_end(self, arm, name=None):
        self.fp.reset()
        arm()
        self.d.process.terminate()
        self.d.process.wait(60)
        self.d.process = None if not self.fp.happened else subprocess.Popen(["true"])
        return self.again(name)

    def strike_database(self, arm, name=None):
        """The database dies below the server."""
        self.fp.reset()
        arm()
        pid = self.d.database_pid()
        os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 60

        def well():
            try:
                return "private_ended" in self.d.log()[-20000:] and self.d.database_pid() not in (None, pid) and self.d.api("GET", self.d.api_site("/log"))[0] == 200
            except OSError:  # it ends just now
                return False

        while self.d.process.poll() is None and not well():
            assert time.monotonic() < end, self.d.log()[-3000:]
            time.sleep(0.05)
        return self.again(name)

    def strike_install(self, arm, name=None):
        """No database, no sites: everything for the first time."""
        self.d.stop()
        self.database_gone()
        for place in [*self.d.data.glob("db*"), self.d.data / "sites"]:
            if place.is_dir():
                shutil.rmtree(place)
            else:
                place.unlink()
        (self.d.data / "first-admins").write_text(f"unix:{self.d.user}\n")
        self.approved = {}
        self.fp.reset()
        arm()
        self.begin()
        end = time.monotonic() + 30
        # the first minute's work of the watcher
        while not self.fp.happened and not self.fp.hits().get("private_syncing") and self.d.process.poll() is None:
            assert time.monotonic() < end, self.d.log()[-3000:]
            time.sleep(0.05)
        return self.again(name)


def private_strikes(world):
    return [("end", world.strike_end), ("begin", world.strike_begin), ("database", world.strike_database), ("install", world.strike_install)]


# --- which failpoint belongs where -------------------------------------------------------------------------------------------

GROUPS = {
    "acts": "act files read approve rule require preapprove account group membership token force field rollback down removal sluice pack tx file dir".split(),
    "syncs": "pickup release manifest cycle papers run kit hold carry export ref notice".split(),
    "starts": "mend recover site open serve stop sync repack turn".split(),
    "fresh": "init genesis repo migrate".split(),
    "private": ["private"],
    "tools": "backup restore rebuild".split(),
    "key": ["key"],
}
# by the name, since the room has others
ELSEWHERE = {"hold_row": "acts", "hold_row_gone": "acts", "mend_mode": "tools", "mend_log_ref": "tools", "mend_compared": "tools", "mend_row": "tools", "mend_rows": "tools", "mend_export": "tools",
             "migrate_granted": "private", "open_admin_made": "fresh", "ref_setting": "starts", "export_directories": "starts", "export_opened": "starts", "export_closing": "starts", "export_swept": "starts"}


def group_of(name):
    """The test file that has to reach it; None: nobody has said."""
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    return next((g for g, rooms in GROUPS.items() if name.split("_")[0] in rooms), None)


def points_of(group):
    return [n for n in NAMES if group_of(n) == group]


def nothing():
    """Armed with nothing: a dry run."""


def reached(world, strike):
    """What a dry run of it reaches: {name: times}."""
    strike(nothing)
    return world.seen


def strikes(world):
    """Every way to break something, as functions of what arms: [(label, function)]."""
    out = [(s.__name__, lambda arm, name=None, s=s: world.strike(s, arm, name)) for s in ACTS + SYNCS]
    out += [(s.__name__, lambda arm, name=None, s=s: world.strike_start(s, arm, name)) for s in STARTS]
    out += [("end", lambda arm, name=None: world.strike_end(arm, name)),
            ("repack", lambda arm, name=None: strike_repack(world, arm, name)),
            ("key", lambda arm, name=None: strike_key(world, arm, name)),
            ("init", lambda arm, name=None: strike_init(world, world.d.dir / "second", arm, name)),
            ("fresh", lambda arm, name=None: strike_fresh(world, arm, name))]
    out += [(s.__name__[len("strike_"):], lambda arm, name=None, s=s: s(world, arm, name)) for s in TOOLS]
    return out


def share(world, group, labels, every=strikes):
    """Stop at each failpoint of a group once, by the first of these that reaches it. A bounded part of the walk."""
    todo = set(points_of(group))
    for label in labels:
        strike = dict(every(world))[label]
        if not todo:
            break
        # What only its first time reaches is left to another scenario.
        todo -= {name for name in sorted(todo & set(reached(world, strike))) if strike(lambda name=name: world.fp.stop(name), name)}
    assert not todo, f"no scenario reaches {sorted(todo)}"
