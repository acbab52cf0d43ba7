"""Many people act on few paths at once while daemon and database are killed. What they saw has to fit into one order: the
log's. An act that was answered before another one was asked for stands before it; each act was possible where it stands;
what was refused could not be done; everything is there once.

DRYDOCK_SOAK=N: fifty people and N kills of each.
"""
import collections
import http.client
import itertools
import os
import random
import signal
import threading
import time
import uuid

import pytest

from drydock import Drydock, LocalConnection, program
from waiting import until

KILLS = int(os.environ.get("DRYDOCK_SOAK", 1))
PEOPLE = 50 if "DRYDOCK_SOAK" in os.environ else 10
PATHS = [f"/p{i:02}.html" for i in range(20)]


class Asked:
    """One act as somebody saw it, from the first time it was sent to its last answer."""

    def __init__(self, act, path):
        self.act, self.path, self.op = act, path, str(uuid.uuid4())
        self.began = time.monotonic()
        self.ended = self.status = self.answer = None
        self.unanswered = 0


class Person(threading.Thread):
    def __init__(self, d, seed, stop):
        super().__init__(daemon=True)
        self.d, self.dice, self.stop, self.asked, self.error = d, random.Random(seed), stop, [], None

    def run(self):
        try:
            while not self.stop.is_set():
                self.one(self.dice.choice(("sign", "sign", "revoke", "review")), self.dice.choice(PATHS))
        except BaseException as e:  # noqa: BLE001: told to the test
            self.error = e

    def one(self, act, path):
        if act == "sign":
            with LocalConnection.identity:  # as root the process is somebody else for a moment while it connects
                self.d.write(path, f"{path} {self.dice.randrange(1000)}")
        a = Asked(act, path)
        body = {"id": a.op, "paths": [path], "as_staged": True, "note": ""}
        end = time.monotonic() + 180
        while True:
            try:
                a.status, a.answer = self.d.api("POST", self.d.api_site(f"/{act}"), body)
                if a.status != 503:
                    break
            except (OSError, http.client.HTTPException):
                pass  # nobody there, or gone in the middle: not known
            a.unanswered += 1
            assert time.monotonic() < end, (act, path)
            time.sleep(0.05)
        a.ended = time.monotonic()
        self.asked.append(a)


def in_real_time(acts):
    """What was over before another began has the lower number."""
    latest, ends = 0, sorted(acts, key=lambda a: a.ended)
    over = iter(ends)
    waiting = next(over, None)
    for a in sorted(acts, key=lambda a: a.began):
        while waiting is not None and waiting.ended < a.began:
            latest = max(latest, waiting.answer["seq"])
            waiting = next(over, None)
        assert a.answer["seq"] > latest, (a.act, a.path, a.answer, latest)


def possible(records, acts):
    """Each act was possible where it stands: a revoke takes back what is approved, and nothing approved is missing."""
    approved, by_path = {}, collections.defaultdict(list)
    for r in sorted(records, key=lambda r: r["seq"]):
        a = acts.get(r["op"])
        if a is None:
            continue
        assert r["act"] == a.act and [f["path"] for f in r["files"]] == [a.path], r
        if a.act == "revoke":
            assert a.path in approved, r
            del approved[a.path]
        elif a.act == "sign":
            approved[a.path] = r["files"][0]["sha256"]
        by_path[a.path].append(a)
    return approved, by_path


def refused_rightly(refused, by_path):
    """A revoke that was refused is wrong if the path was approved from before it began until after it ended."""
    for r in refused:
        if r.act != "revoke":
            continue
        changes = [a for a in by_path[r.path] if a.act != "review"]
        for a, following in itertools.zip_longest(changes, changes[1:]):
            held = a.act == "sign" and a.ended < r.began and (following is None or following.began > r.ended)
            assert not held, (r.path, r.status, r.answer)


def seen(act, path, seq, began, ended):
    a = Asked(act, path)
    a.began, a.ended, a.answer = began, ended, {"seq": seq}
    return a


def test_the_checks_notice():
    """Histories that cannot have been."""
    in_real_time([seen("sign", "/a", 2, 0, 5), seen("sign", "/a", 1, 4, 6)])
    with pytest.raises(AssertionError):
        in_real_time([seen("sign", "/a", 2, 0, 1), seen("sign", "/b", 3, 0, 9), seen("sign", "/a", 1, 2, 3)])

    def history(*acts):
        records = [{"seq": a.answer["seq"], "op": a.op, "act": a.act, "files": [{"path": a.path, "sha256": "x"}]} for a in acts]
        return possible(records, {a.op: a for a in acts})

    sign, revoke = seen("sign", "/a", 1, 0, 1), seen("revoke", "/a", 2, 2, 3)
    assert history(revoke, sign)[0] == {}
    with pytest.raises(AssertionError):
        history(sign, revoke, seen("revoke", "/a", 3, 4, 5))
    _, by_path = history(sign, revoke)
    refused_rightly([seen("revoke", "/a", 0, 1.5, 2.5), seen("revoke", "/a", 0, 4, 5), seen("revoke", "/b", 0, 1, 2)], by_path)
    with pytest.raises(AssertionError):
        refused_rightly([seen("revoke", "/a", 0, 1.5, 1.9)], by_path)


def test_one_order_for_all():
    with Drydock(files={p: p for p in PATHS}, accounts=()) as d:
        stop = threading.Event()
        people = [Person(d, i, stop) for i in range(PEOPLE)]
        for p in people:
            p.start()

        def done():
            for p in people:
                if p.error:
                    raise p.error
            return sum(len(p.asked) for p in people)

        for kill in range(2 * KILLS):
            before = done()
            until(lambda: done() >= before + 3 * PEOPLE)  # noqa: B023
            if kill % 2:
                d.kill()
                d.start()
            else:
                os.kill(d.database_pid(), signal.SIGKILL)
        before = done()
        until(lambda: done() >= before + 3 * PEOPLE)
        stop.set()
        for p in people:
            p.join(240)
            assert not p.is_alive()
        done()

        asked = [a for p in people for a in p.asked]
        acts = {a.op: a for a in asked if a.status == 200}
        refused = [a for a in asked if a.status != 200]
        assert all(400 <= a.status < 500 for a in refused), [(a.status, a.answer) for a in refused if a.status >= 500]
        records = d.records()
        ops = collections.Counter(r["op"] for r in records)
        assert max(ops.values()) == 1
        assert all(ops[a.op] == 1 for a in acts.values()) and not any(ops[a.op] for a in refused)
        assert {r["op"]: r["seq"] for r in records if r["op"] in acts} == {op: a.answer["seq"] for op, a in acts.items()}
        in_real_time(list(acts.values()))
        approved, by_path = possible(records, acts)
        refused_rightly(refused, by_path)
        for path in PATHS:
            assert d.file(path)["approved_sha256"] == approved.get(path), path
        d.stop()
        r = d.run(program(), "fsck", "--data", d.data, check=False)
        assert r.returncode == 0, r.stdout + r.stderr
        print({"people": PEOPLE, "kills of daemon and of database": KILLS, "recorded": len(acts), "refused": len(refused),
               "asked again": sum(a.unanswered > 0 for a in asked)})
