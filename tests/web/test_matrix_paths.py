"""The route tables against roles on paths: every row, everybody, every relation of a path to the one that a rule is about.

What comes out is compared with tests/rights/matrix.py, which is written without the program. A row that is not in its list
fails the test: whoever adds an address says there who may use it.

Writes are sent so that they come to nothing even where they are allowed (a digest of nothing, a rule that is not there), and
the log and the rules are the same at the end.

Everything is some 80,000 questions. The ordinary run takes a part of each row by a seed that is printed (DRYDOCK_SEED);
DRYDOCK_FULL=1 asks them all, in about two minutes.
"""
import http.client
import json
import os
import pathlib
import random
import re
import sys
import time
import urllib.parse

import pytest
from drydock import Drydock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "rights"))

from matrix import (CHANGED, FILES, GROUPS, OK, OP, PEOPLE, REVOKED, ROUTES, ROWS, SAID, SLASH, ZEROS, Who,  # noqa: E402
                    expected, in_address)

FULL = os.environ.get("DRYDOCK_FULL")
SEED = int(os.environ.get("DRYDOCK_SEED", time.time() // 86400))
PICK = random.Random(SEED)

# --- asking ----------------------------------------------------------------------------------------------------------------------


class Mouth:
    """Sends an address byte by byte as it is written here, which a library for browsers would tidy up."""

    def __init__(self, d, name):
        b = d.login(name) if name else d.browser()
        self.base, self.port = b.base, d.port
        self.headers = {"Cookie": "; ".join(f"{c.name}={c.value}" for c in b.cookies), "Origin": b.base}
        if name:
            self.headers["X-CSRF-Token"] = b.csrf
        self.connection = None

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def send(self, method, target, body, kind, stream):
        """(status, text, Location)"""
        headers = {**self.headers, **({"Content-Type": kind} if body is not None else {"Content-Length": "0"} if method != "GET" else {})}
        for again in (True, False):
            if not self.connection:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            try:
                self.connection.request(method, target, body, headers)
                answer = self.connection.getresponse()
                break
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                self.close()  # it was idle for too long
                if not again:
                    raise
        text = b"" if stream and answer.status == 200 else answer.read()
        if stream:
            self.close()
        return answer.status, text.decode(errors="replace"), answer.headers.get("Location", "")

    def ended(self, status, text, location):
        """A form's act that took long has a page of its own, which leads on to its answer."""
        until = time.monotonic() + 60
        page = location
        while "/acts/" in location or status == 200:
            assert time.monotonic() < until, page
            page = location or page
            status, text, location = self.send("GET", page, None, None, False)
            time.sleep(0.02 if status == 200 else 0)
        return status, text, location


def question(row, ask, said, records):
    """(target, body, content type)"""
    method, address = row[0], row[1]
    target = address.replace(":site", "www").replace(":group", "gview").replace(":op", OP).replace(":target", "production").replace(":id", OP)
    if ask.where == "record":
        target = re.sub(r":seq", str(records[said.means]), target)
    target = re.sub(r":(run|number)", "1", target)
    if ask.where == "target":
        return target.replace("/*path", in_address(said)), None, None
    if ask.where == "query":
        return target + "?path=" + (said.raw or urllib.parse.quote(said.text, safe="")), None, None
    body = dict(ask.body)
    if ask.where == "paths":
        body["paths"] = [said.text]
    elif ask.where == "files":
        body["files"] = [{"path": said.text, "sha256": ZEROS}]
    elif ask.where == "ticks":
        body["path[]"] = said.text
    elif ask.where in ("json", "form"):
        body["path"] = said.text
    if method == "GET":
        return target, None, None
    if ask.where in ("form", "ticks") or (ask.where == "none" and not address.startswith("/api/")):
        return target, urllib.parse.urlencode(body) or "nothing=1", "application/x-www-form-urlencoded"
    return target, json.dumps(body), "application/json"


def sayings(row, ask, records):
    if ask.where == "none":
        return [SAID[0]]
    if ask.where == "record":
        return [s for s in SAID if s.text in records and not s.raw]
    if ask.where in ("target", "query"):
        return SAID + [SLASH]
    return [s for s in SAID if not s.raw]


def verdict(row, ask, want, status, text, location):
    """What is wrong with an answer; None: nothing."""
    if status >= 500:
        return "it failed"
    if want == OK:
        if status not in ask.ok and not (row[1].endswith(("/login", "/")) and status == 303):
            return f"somebody who may got {status}"
        if ask.text and ask.text not in text:
            return f"the answer does not say: {ask.text}"
        return None
    if status != want:
        return f"{status}, not {want}"
    if ask.text and ask.text in text:
        return "refused in the words for somebody who may"
    if want == 303 and not location.startswith("/login"):
        return f"led to {location}"
    return None


# --- tests -----------------------------------------------------------------------------------------------------------------------


def taking_part():
    """Everybody, or a few of each kind."""
    names = sorted(PEOPLE)
    return names if FULL else sorted({"norole", "belowfile", *PICK.sample([n for n in names if n not in ("norole", "belowfile")], 12)})


@pytest.fixture(scope="module")
def d():
    with Drydock(files={p: f"first {p}" for p in FILES}, accounts=(), config="connections = 2200\nconnections_per_address = 2200\n") as server:
        server.taking_part = taking_part()
        for group, rules in GROUPS.items():
            server.must("POST", "/api/v1/groups", {"name": group})
            for path, role in rules.items():
                server.role(f"own:@{group}", role, path)
        if "norole" not in server.taking_part:
            server.add_account("norole", None)
        for name in server.taking_part:
            own, groups = PEOPLE[name]
            server.add_account(name, None)
            for path, role in own.items():
                server.role(f"own:{name}", role, path)
            for group in groups:
                server.must("POST", f"/api/v1/groups/{group}/members", {"principal": f"own:{name}"})
        server.about = {path: server.sign(path)["seq"] for path in FILES}
        server.revoke(*REVOKED)
        server.sync("the first")
        for path in CHANGED:
            server.write(path, f"second {path}")
        server.status("/", fresh=1)
        yield server


def test_the_oracle_knows_every_row():
    rows = {(m, a) for m, a, _, _ in ROWS}
    assert rows == set(ROUTES), f"new: {rows - set(ROUTES)}, gone: {set(ROUTES) - rows}"
    assert len(ROWS) == len(rows)


def state(d):
    return d.records()[0]["seq"], d.must("GET", d.api_site("/roles")), d.must("GET", d.api_site("/requirements")), d.must("GET", d.api_site("/fields")), d.must("GET", d.api_site("/preapprovals"))


def asked_of(who, records):
    """[(row, ask, said)]"""
    out = []
    for row in ROWS:
        for ask in ROUTES[row[0], row[1]]:
            all_of = sayings(row, ask, records)
            # a stream stays open on the server's side for a while after it was left: not too many of those
            most = 6 if "ROUTE_STREAM" in row[3] else len(all_of) if FULL else 6
            picked = PICK.sample(all_of, min(len(all_of), most))
            if who.name == "belowfile":  # of that file he knows the name, and nothing else, wherever he asks
                picked += [said for said in all_of if said.text == "/b/old.html" and said not in picked]
            out += [(row, ask, said) for said in picked]
    return out


def test_every_row_for_everybody(d):
    print(f"DRYDOCK_SEED={SEED}")
    before, wrong, seen, n = state(d), [], set(), 0
    for name in [None, *d.taking_part]:
        who, mouth = Who(name), Mouth(d, name)
        for row, ask, said in asked_of(who, d.about):
            target, body, kind = question(row, ask, said, d.about)
            want = expected(row, ask, who, said)
            status, text, location = mouth.send(row[0], target, body, kind, "ROUTE_STREAM" in row[3])
            if row[0] == "POST" and "/acts/" in location:
                status, text, location = mouth.ended(status, text, location)
            n += 1
            seen.add(want)
            fault = verdict(row, ask, want, status, text, location)
            if fault:
                wrong.append(f"{name or 'nobody'} ({PEOPLE.get(name)}): {row[0]} {target} {body or ''} [{said!r}]: {fault}; wanted {want}\n    {text[:200]!r}")
        mouth.close()
    print(f"{n} questions")
    assert not wrong, f"{len(wrong)} of {n}\n" + "\n".join(wrong[:40])
    assert seen >= {400, 401, 303, 403, 404, OK} and n > 2000
    assert state(d) == before, "nothing that was asked may change anything"
