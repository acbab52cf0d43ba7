"""The database goes away, at every step and again and again; it deadlocks, waits, is old, cannot be written. Each time:
signing goes on by itself, nothing that was acknowledged is missing, nothing is there twice, and asking again with the
same id gives one record.

DRYDOCK_SOAK=100 kills it a hundred times under load instead of a few.
"""
import collections
import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
import uuid

import pytest

from drydock import Drydock, LocalConnection, program
from mariadb import MariaDB, Proxy
from waiting import until

KILLS = int(os.environ.get("DRYDOCK_SOAK", 3))
WRITERS = 4


def sign(d, path, op=None, **kw):
    """One request, once: (status, answer)."""
    return d.api("POST", d.api_site("/sign"), {"id": op or str(uuid.uuid4()), "paths": [path], "as_staged": True, "note": "", **kw})


def sign_until_done(d, path, op, wait=120):
    """The same request again until it is answered: (the answers on the way, the last one)."""
    refused, end = [], time.monotonic() + wait
    while True:
        status, answer = sign(d, path, op)
        if status == 200:
            return refused, answer
        refused.append((status, answer))
        assert status == 503 and time.monotonic() < end, (status, answer, d.log()[-3000:])
        time.sleep(0.05)


def whole(d, acknowledged):
    """All that was acknowledged is there, once, under its number; numbers have no gaps; log, database and export agree."""
    records = d.records()
    by_op = collections.Counter(r["op"] for r in records)
    assert not [op for op, n in by_op.items() if n > 1]
    assert sorted(r["seq"] for r in records) == list(range(1, len(records) + 1))
    seqs = {r["op"]: r["seq"] for r in records}
    assert {op: seqs.get(op) for op in acknowledged} == acknowledged
    d.stop()
    r = d.run(program(), "fsck", "--data", d.data, check=False)
    assert r.returncode == 0, r.stdout + r.stderr
    return seqs


def files(n):
    return {f"/f{i:03}.html": f"page {i}" for i in range(n)}


# --- the connection cut, statement by statement ------------------------------------------------------------------------

@pytest.fixture(scope="module")
def outside():
    """A server with a database that it does not start itself, and a proxy between them."""
    with Drydock(files=files(80), start=False, accounts=()) as d, MariaDB(d.dir, d) as m, Proxy(m.socket, d.dir / "proxy.sock") as proxy:
        secret = d.dir / "password"
        secret.write_text(m.password + "\n")
        secret.chmod(0o600)
        d._own(secret)
        d.conf.write_text(f'database = "mysql://outside@localhost/drydock?socket={proxy.path}"\n'
                          f'database_password_file = "{secret}"\n' + d.conf.read_text())
        d._start_on_free_ports()
        yield d, m, proxy
        d.stop()


def is_act(transaction):
    """Of those that go through the site's lock."""
    return len(transaction) < 2 or transaction[1].startswith("SELECT s.rules_version, s.writer")


def test_cut_before_and_after_every_statement(outside):
    d, _, proxy = outside
    paths = iter(sorted(files(80)))
    seen = len(proxy.transactions)
    acknowledged = {}

    def acknowledge(op, answer):
        acknowledged[op] = answer["seq"]

    op = str(uuid.uuid4())
    acknowledge(op, sign_until_done(d, next(paths), op)[1])
    steps = next(t for t in proxy.transactions[seen:] if is_act(t) and t[-1] == "COMMIT")
    assert len(steps) > 8 and any(s.startswith("INSERT INTO record ") for s in steps), steps
    for k, when in itertools.product(range(len(steps)), ("before", "unheard", "after")):
        path, op = next(paths), str(uuid.uuid4())
        cut = proxy.cut(lambda t: len(t) == k + 1 and is_act(t), when)  # noqa: B023
        status, answer = sign(d, path, op)
        assert cut.done.is_set(), (steps[k], when)
        if steps[k] == "COMMIT" and when == "before":
            # Not repeated by itself: that it was not recorded is known, and said.
            assert status == 503 and "nothing was recorded" in answer["detail"], answer
            assert op not in {r["op"] for r in d.records()}
        else:
            # Done again before COMMIT; settled by the id where COMMIT was not answered.
            assert status == 200 and not answer["repeated"], (steps[k], when, answer)
            acknowledge(op, answer)
        again = sign_until_done(d, path, op)[1]
        assert again["repeated"] == (status == 200) and acknowledged.setdefault(op, again["seq"]) == again["seq"]
        assert d.file(path)["state"] == "signed"
    # The id belongs to that request.
    assert sign(d, "/f000.html", op)[0] == 409
    whole(d, acknowledged)


ACTS = {
    "review": ("/review", {"paths": ["/f060.html"], "as_staged": True, "note": "read"}),
    "revoke": ("/revoke", {"paths": ["/f061.html"], "as_staged": True, "note": "wrong"}),
    "rule": ("/roles", {"principal": "own:ann-{when}", "path": "/", "role": "view"}),
    "preapprove": ("/preapprovals", {"path": "/{when}.html", "note": "made by a script"}),
    "force": ("/sync/force", {"reason": "now"}),
    "account": (None, {"name": "zoe-{when}", "password": "a long password", "display": "Zoe", "enabled": True}),
}


@pytest.mark.parametrize("when", ["before", "unheard", "after"])
@pytest.mark.parametrize("act", list(ACTS))
def test_every_kind_of_act_has_one_record(outside, act, when):
    """COMMIT not sent, sent and gone, answered and not heard: then asked again with the same id."""
    d, m, proxy = outside
    if d.process is None:
        d.start()
    tail, body = ACTS[act]
    op = str(uuid.uuid4())
    address = d.api_site(tail) if tail else "/api/v1/users"
    body = {"id": op, **{k: v.replace("{when}", when) if isinstance(v, str) else v for k, v in body.items()}}
    if act == "rule":
        d.add_account(body["principal"].removeprefix("own:"), role=None)
    if act == "revoke":
        sign_until_done(d, body["paths"][0], str(uuid.uuid4()))
    cut = proxy.cut(lambda t: t[-1] == "COMMIT" and any(s.startswith("INSERT INTO record ") for s in t), when)
    first, answer = d.api("POST", address, body)
    assert cut.done.is_set(), answer
    assert first == 503 if when == "before" else 200 <= first < 300, (first, answer)
    for _ in range(2):
        status, again = d.api("POST", address, body)
        assert 200 <= status < 300, again
    rows = m.sql(f"SELECT COUNT(*), MIN(seq) FROM record WHERE op = UNHEX('{op.replace('-', '')}')").stdout.split()
    assert rows[0] == "1", (rows, first, answer, again)
    repos = [r for r in d.data.rglob("*.git") if (r / "objects").is_dir()]
    found = sum(len(d.git("log", "--all", "--format=%H", f"--grep=^Op: {op}$", repo=r).stdout.split()) for r in repos)
    assert found == 1, (repos, found)


def test_database_away_for_longer(outside):
    d, m, proxy = outside
    acknowledged = {}
    if d.process is None:
        d.start()
    else:
        sign_until_done(d, "/f070.html", str(uuid.uuid4()))  # the site's first act is more than one
    # In the middle of COMMIT, and not back: the answer says that it is not known, and how to ask.
    op = str(uuid.uuid4())
    cut = proxy.cut(lambda t: t[-1] == "COMMIT" and is_act(t), "after")
    answered = []
    thread = threading.Thread(target=lambda: answered.append(sign(d, "/f071.html", op)))
    thread.start()
    assert cut.done.wait(30)
    m.kill()
    thread.join(60)
    status, answer = answered[0]
    assert status == 503 and "not known" in answer["detail"] and op in answer["detail"], answer
    # Others are refused meanwhile, with a reason.
    status, answer = sign(d, "/f072.html")
    assert status == 503, answer
    m.start()
    refused, answer = sign_until_done(d, "/f071.html", op)
    assert answer["repeated"]
    acknowledged[op] = answer["seq"]
    op = str(uuid.uuid4())
    acknowledged[op] = sign_until_done(d, "/f072.html", op)[1]["seq"]
    whole(d, acknowledged)


# --- killed under load -------------------------------------------------------------------------------------------------

class Writer(threading.Thread):
    """Signs and revokes its own files, each request until it is answered."""

    def __init__(self, d, name, stop):
        super().__init__(daemon=True)
        self.d, self.name, self.stop = d, name, stop
        self.acknowledged, self.repeated, self.refused, self.error = {}, 0, 0, None

    def run(self):
        try:
            for i in itertools.count():
                if self.stop.is_set():
                    return
                path, op = f"/{self.name}/{i % 10}.html", str(uuid.uuid4())
                with LocalConnection.identity:  # as root the process is somebody else for a moment while it connects
                    self.d.write(path, f"{self.name} {i}")
                refused, answer = sign_until_done(self.d, path, op)
                self.acknowledged[op] = answer["seq"]
                self.refused += len(refused)
                self.repeated += answer["repeated"]
        except BaseException as e:  # noqa: BLE001: told to the test
            self.error = e


def test_killed_under_load():
    with Drydock(files={f"/w{w}/{i}.html": "" for w in range(WRITERS) for i in range(10)}, accounts=()) as d:
        stop, dice = threading.Event(), random.Random(1)
        writers = [Writer(d, f"w{w}", stop) for w in range(WRITERS)]
        for w in writers:
            w.start()

        def done():
            for w in writers:
                if w.error:
                    raise w.error
            return sum(len(w.acknowledged) for w in writers)

        for i in range(KILLS):
            # Under load: after so many more acknowledged acts, at no special moment.
            before, more = done(), dice.randrange(1, 40)
            until(lambda: done() >= before + more)  # noqa: B023
            pid = d.database_pid()
            os.kill(pid, signal.SIGKILL)
            if i % 3 == 2:
                # The next one at once, while it recovers.
                until(lambda: d.database_pid() not in (None, pid))  # noqa: B023
                again = d.database_pid()
                if again:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(again, signal.SIGKILL)
        before = done()
        until(lambda: done() > before + WRITERS)
        stop.set()
        for w in writers:
            w.join(120)
            assert not w.is_alive()
        done()
        acknowledged = {op: seq for w in writers for op, seq in w.acknowledged.items()}
        whole(d, acknowledged)
        text = d.log()
        print(json.dumps({"kills": KILLS, "acknowledged": len(acknowledged), "refused": sum(w.refused for w in writers),
                          "found recorded when asked again": sum(w.repeated for w in writers), "settled by itself": text.count("event=act.unknown"),
                          "log ends mended": text.count("event=db.private_log_end")}))


# --- deadlocks and locks -----------------------------------------------------------------------------------------------

class Session:
    """Somebody else in the same private database, as its owner."""

    def __init__(self, d):
        kw = {"user": d.uid, "group": d.gid, "extra_groups": []} if os.geteuid() == 0 else {}
        self.client = subprocess.Popen(["mariadb", "--no-defaults", f"--socket={d.data}/db.sock", "--batch", "--skip-column-names", "--unbuffered",
                                        "drydock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=d.dir, **kw)

    def send(self, sql):
        self.client.stdin.write(sql + ";\nSELECT 'done';\n")
        self.client.stdin.flush()

    def wait(self):
        out = []
        for line in self.client.stdout:
            if line == "done\n":
                return out
            out.append(line.rstrip("\n"))
        raise AssertionError("the session has ended: " + "\n".join(out))

    def sql(self, sql):
        self.send(sql)
        return self.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(BrokenPipeError):
            self.client.stdin.close()
        self.client.wait(30)
        self.client.stdout.close()


@pytest.fixture(scope="module")
def private():
    with Drydock(files=files(20), accounts=()) as d:
        yield d


def in_background(*args):
    out = []
    thread = threading.Thread(target=lambda: out.append(sign(*args)))
    thread.start()
    return thread, out


def waiting(session, n=1):
    # InnoDB makes this table anew only if nobody has asked for a tenth of a second.
    return int(session.sql("SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'")[0]) >= n


def test_a_deadlock_that_the_act_loses(private):
    d = private
    op = str(uuid.uuid4())
    with Session(d) as rival, Session(d) as watch:
        before = int(watch.sql("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")[0].split()[1])
        # The heavier of two goes on: the other one has to be the act.
        rival.sql("CREATE TABLE IF NOT EXISTS heavy (id INT PRIMARY KEY); BEGIN; INSERT INTO heavy SELECT seq FROM seq_1_to_5000")
        assert rival.sql("SELECT seq FROM log_head WHERE site = 'www' FOR UPDATE")
        thread, answered = in_background(d, "/f000.html", op)
        until(lambda: waiting(watch), pause=0.25)
        assert rival.sql("SELECT 'mine' FROM site WHERE site = 'www' FOR UPDATE") == ["mine"]
        assert int(watch.sql("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")[0].split()[1]) == before + 1
        rival.sql("ROLLBACK; DROP TABLE heavy")
        thread.join(60)
    status, answer = answered[0]
    assert status == 200 and not answer["repeated"], answer
    assert [r["op"] for r in d.records()].count(op) == 1


ROW = "BEGIN; DO (SELECT rules_version FROM site WHERE site = 'www' FOR UPDATE)"


def test_a_lock_that_is_given_back(private):
    d = private
    op = str(uuid.uuid4())
    with d.held(ROW), Session(d) as owner:
        thread, answered = in_background(d, "/f001.html", op)
        while not answered and owner.sql("SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'") == ["0"]:
            time.sleep(0.02)
        assert not answered, answered
    thread.join(60)
    assert answered[0][0] == 200, answered
    assert [r["op"] for r in d.records()].count(op) == 1


def test_a_lock_that_is_kept(private):
    d = private
    op = str(uuid.uuid4())
    with d.held(ROW):
        status, answer = sign(d, "/f002.html", op)
        assert status == 503 and answer["detail"], answer
    assert op not in {r["op"] for r in d.records()}
    assert sign(d, "/f002.html", op)[1]["repeated"] is False
    assert [r["op"] for r in d.records()].count(op) == 1


def test_a_database_that_cannot_be_written(private):
    d = private
    op = str(uuid.uuid4())
    with Session(d) as owner:
        owner.sql("SET GLOBAL read_only = 1")
        try:
            status, answer = sign(d, "/f003.html", op)
            assert status == 503 and answer["detail"], answer
            # What only reads goes on.
            assert d.file("/f003.html")["state"] == "unsigned"
            assert op not in {r["op"] for r in d.records()}
        finally:
            owner.sql("SET GLOBAL read_only = 0")
    assert sign(d, "/f003.html", op)[1]["repeated"] is False
    assert d.file("/f003.html")["state"] == "signed"


# --- an older copy -----------------------------------------------------------------------------------------------------

def test_an_older_copy_is_read_only_and_says_so():
    with Drydock(files=files(5), accounts=()) as d:
        acknowledged = {}

        def acknowledge(path):
            op = str(uuid.uuid4())
            acknowledged[op] = sign_until_done(d, path, op)[1]["seq"]
            return op

        acknowledge("/f000.html")
        d.stop()
        d.run("cp", "-a", d.data / "db", d.dir / "older")
        d.start()
        newer = acknowledge("/f001.html")
        d.stop()
        shutil.rmtree(d.data / "db")
        (d.dir / "older").rename(d.data / "db")
        d.start()
        status, answer = sign(d, "/f002.html")
        assert status == 503 and "behind the log" in answer["detail"] and "rebuild" in answer["detail"], answer
        # The same request does not make a second record of what the log has.
        status, answer = sign(d, "/f001.html", newer)
        assert status == 503 and "behind the log" in answer["detail"], answer
        d.stop()
        log = d.git("rev-parse", d.log_ref).stdout
        r = d.run(program(), "fsck", "--data", d.data, check=False)
        assert r.returncode == 2 and "database-behind" in r.stdout, r.stdout + r.stderr
        # Somebody has looked: the way forward loses nothing.
        d.run(program(), "rebuild", "--replace", "--data", d.data)
        assert d.git("rev-parse", d.log_ref).stdout == log
        d.start()
        status, answer = sign(d, "/f001.html", newer)
        assert status == 200 and answer["repeated"] and answer["seq"] == acknowledged[newer], answer
        acknowledge("/f002.html")
        whole(d, acknowledged)
