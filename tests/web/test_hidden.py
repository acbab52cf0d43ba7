"""What a person may not see does not exist for him, asked of every row of the route tables with every kind of parameter.

Three ways to look: no answer holds a marker of what is hidden; a question that names a hidden file is answered like one that
names an absent file in the same place, line by line; and what happens where he does not see changes no answer at all.

There are some 20,000 questions for each person. The ordinary run takes each row and path without parameters, and of the rest a
part by a seed that is printed (DRYDOCK_SEED); DRYDOCK_FULL=1 asks them all, in about five minutes.
"""
import html
import json
import os
import pathlib
import random
import re
import time
import urllib.parse

import pytest
from drydock import Drydock

TOP = pathlib.Path(__file__).resolve().parents[2]
ROW = re.compile(r'^\s*ROUTE\(METHOD_(\w+), "([^"]+)", ROLE_(\w+), ([^,]+),', re.M)
ROWS = [row for name in ("pages", "api") for row in ROW.findall((TOP / "server/web" / name / "routes.def").read_text())]
HIDDEN, ABSENT = "zqsecret", "zqabsent"
CLOSED = "zqclosed"  # directories: that they are closed to him he can find out by their name, not what is in them
DIR, SUB = f"/{CLOSED}dir", f"/docs/{CLOSED}sub"
FILE, DEEP = f"{DIR}/{HIDDEN}page.html", f"{SUB}/{HIDDEN}deep.html"
SHOWN = ["/", "/docs", "/docs/a.html"]
MASKED = [FILE, DEEP, FILE + "/", f"{DIR}/{HIDDEN}page.html/x"]
FULL = os.environ.get("DRYDOCK_FULL")
SEED = int(os.environ.get("DRYDOCK_SEED", time.time() // 86400))
USERS = {"dan": ("view", "/"), "rita": ("review", "/"), "vera": ("view", "/docs"), "nemo": (None, None)}
# The site's clock is one for everybody: that a sync was moved is seen, not by what.
CLOCK = ("/sync", "/events", "/s/:site/", "/metrics", "/acts")


@pytest.fixture(scope="module")
def d():
    with Drydock(files={"/index.html": "home", "/docs/a.html": "a", FILE: f"{HIDDEN}bytes one", DEEP: f"{HIDDEN}bytes deep"}, accounts=("alice",)) as server:
        for name, (role, path) in USERS.items():
            server.add_account(name, role, path)
        for name in ("dan", "rita"):
            server.role(f"own:{name}", "none", DIR)
        for name in ("dan", "rita", "vera"):
            server.role(f"own:{name}", "none", SUB)
        server.add_account(f"{HIDDEN}user", "sign", DIR)
        server.must("POST", "/api/v1/groups", {"name": f"{HIDDEN}group"})
        server.must("POST", "/api/v1/groups/zqsecretgroup/members", {"principal": "own:alice"})
        server.role(f"own:@{HIDDEN}group", "admin", DIR)
        # signs both what they see and what they do not: by a rule that stands where they do not look
        server.add_account("mixer", "sign", DIR)
        server.role("own:mixer", "sign", "/docs")
        act(server, 0)
        server.sync("the first")
        server.sessions = {name: server.login(name) for name in USERS}
        yield server


def act(d, n):
    """Everything that can happen in the hidden part, and in a batch with the visible one only the first time."""
    must = d.must
    d.write(DIR + f"/{HIDDEN}new{n}.html", f"{HIDDEN}bytes {n}")
    d.write(FILE, f"{HIDDEN}bytes {n}")
    if n == 0:
        must("POST", d.api_site("/requirements"), {"path": DIR, "reviews": 1, "note": f"{HIDDEN}note"})
        must("POST", d.api_site("/review"), {"paths": [FILE], "as_staged": True, "note": f"{HIDDEN}note"}, uid=None)
        must("POST", d.api_site("/requirements"), {"path": DIR, "reviews": 0, "note": f"{HIDDEN}note"})
        must("POST", d.api_site("/fields"), {"path": DIR, "name": f"{HIDDEN}field", "label": f"{HIDDEN}label", "acts": ["sign", "revoke"]})
        must("POST", d.api_site("/sign"), {"paths": ["/docs", "/index.html"], "recursive": True, "as_staged": True, "note": "all of docs"})
        mixer = d.login("mixer")
        assert mixer.post(d.api_site("/revoke"), json={"paths": ["/docs/a.html", DEEP], "as_staged": True, "note": "both"}).status_code == 200
        must("POST", d.api_site("/sign"), {"paths": [FILE], "as_staged": True, "note": f"{HIDDEN}note"})
        answer = mixer.post(d.api_site("/sign"), json={"paths": ["/docs/a.html", DIR + f"/{HIDDEN}new0.html"], "as_staged": True, "note": "both",
                                                        "fields": {f"{HIDDEN}field": f"{HIDDEN}value"}})
        assert answer.status_code == 200, answer.text
    else:
        must("POST", d.api_site("/sign"), {"paths": [FILE], "as_staged": True, "note": f"{HIDDEN}note"})
    must("POST", d.api_site("/review"), {"paths": [FILE], "as_staged": True, "note": f"{HIDDEN}note"})
    d.revoke(FILE, note=f"{HIDDEN}note")
    must("POST", d.api_site("/roles"), {"principal": f"own:{HIDDEN}user", "path": DIR + f"/{n}", "role": "review", "note": f"{HIDDEN}note"})
    must("POST", d.api_site("/preapprovals"), {"path": DIR + f"/auto{n}", "note": f"{HIDDEN}note"})
    must("POST", d.api_site("/requirements"), {"path": DIR + f"/law{n}", "reviews": 2, "note": f"{HIDDEN}note"})
    must("POST", d.api_site("/fields"), {"path": DIR + f"/field{n}", "name": f"{HIDDEN}field{n}", "label": f"{HIDDEN}label"})


# --- questions ---------------------------------------------------------------------------------------------------------


def queries(path):
    """Parameters that the handlers know, alone and with a path."""
    yield {}
    yield {"path": path}
    for name, value in (("user", "own:alice"), ("act", "sign"), ("act", "rule"), ("since", "2020-01-01"), ("before", "50"), ("limit", "3"), ("format", "csv"),
                        ("format", "json"), ("from", "0"), ("view", "source"), ("version", "staged"), ("version", "approved"), ("version", "4"), ("context", "9"),
                        ("recursive", "1"), ("state", "revoked"), ("state", "attention"), ("match", "e"), ("q", "html"), ("sort", "time"), ("below", "1"),
                        ("after", "/a"), ("selection", "sign"), ("selection", "revoke"), ("fresh", "1")):
        yield {"path": path, name: value}
        yield {"path": path, "recursive": "1", name: value}
    yield {"match": HIDDEN[:4], "recursive": "1"}
    yield {"q": HIDDEN[:4]}
    yield {"user": f"own:{HIDDEN}user", "path": path}
    yield {"user": f"{HIDDEN}user"}
    yield {"user": f"own:@{HIDDEN}group", "path": path}
    yield {"id": f"{HIDDEN}counter"}
    yield {"next": path}


def bodies(path):
    for act in ("sign", "review", "revoke"):
        for recursive in (False, True):
            yield {"act": act, "paths": [path], "recursive": recursive, "selection": "0" * 64, "note": "n"}
    yield {"files": [{"path": path, "sha256": "0" * 64}], "note": "n"}
    yield {"path": path, "principal": "own:alice", "role": "view", "note": "n"}
    yield {"path": path, "principal": f"own:{HIDDEN}user", "role": None, "note": "n"}
    yield {"path": path, "reviews": 0, "note": "n"}
    yield {"path": path, "name": "zq", "remove": True}
    yield {"act": "sign", "paths": [path], "items": False, "fields": {"zq": "x"}}
    yield {"path": path, "reason": "r", "remove": True}
    yield {"id": f"{HIDDEN}counter", "op": "get"}
    yield {"id": f"{HIDDEN}queue", "op": "join", "process_id": "1"}


def forms(path):
    yield {"dir": path, "act": "sign", "path[]": path, "selection": "0" * 64}
    yield {"dir": path, "all": "sign", "selection": "0" * 64}
    yield {"path": path, "sha256": "0" * 64}
    yield {"path": path, "name": "zq", "remove": "1"}
    yield {"path": path, "sha256": "0" * 64, "asked": "0" * 64, "f-zq": "x", "b-zq": "1"}
    yield {"path": path, "principal": f"own:{HIDDEN}user", "role": "view", "reviews": "0"}


def addresses(row, path, numbers):
    target = row[1].replace(":site", "www").replace(":group", f"{HIDDEN}group").replace(":op", "00000000-0000-4000-8000-000000000000")
    target = target.replace(":id", "00000000-0000-4000-8000-000000000000")
    if "/*path" in target:
        yield target.replace("/*path", urllib.parse.quote(path))
    elif re.search(r":(seq|run|number)", target):
        for n in numbers:
            yield re.sub(r":(seq|run|number)", str(n), target)
    else:
        yield target


def some(questions, part):
    """Those without parameters, and one of `part` of the others."""
    r = random.Random(SEED)
    print(f"DRYDOCK_SEED={SEED}")
    return [q for q in questions if FULL or q[2] == {"params": {}} or not r.randrange(part)]


def asked(paths, numbers, writes):
    """(row, address, what requests wants): every row; those that write by bodies and forms that nobody here may send."""
    for row in ROWS:
        if "ROUTE_STREAM" in row[3] or row[1].endswith(("/logout", "/account/sessions", "/sessions/end")):
            continue  # in tests of their own
        seen = set()
        for path in paths:
            for address in addresses(row, path, numbers):
                if row[0] == "GET":
                    for q in queries(path):
                        if "/*path" in row[1]:
                            q.pop("path", None)
                        key = (address, urllib.parse.urlencode(q))
                        if key not in seen:
                            seen.add(key)
                            yield row, address, {"params": q}
                elif writes and (":site" in row[1] or "/users" not in row[1]):
                    for body in bodies(path):
                        yield row, address, {"json": body}
                    for form in forms(path):
                        yield row, address, {"data": form, "headers": {"Origin": None}}


def ask(b, row, address, how):
    how = dict(how)
    if how.get("headers"):
        how["headers"] = {"Origin": b.base}
    return b.request(row[0], address, allow_redirects=False, **how)


CHANGING = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9a-f]{8}-\d+\b|20\d\d-\d\d-\d\d[T ][0-9:.]+Z?|\d+ (seconds?|minutes?) ago|in \d+ (seconds?|minutes?)|just now")


def told(answer):
    """What an answer tells, without ids and times."""
    headers = {k: v for k, v in answer.headers.items() if k not in ("Date", "ETag", "Content-Length", "Set-Cookie")}
    return answer.status_code, CHANGING.sub("~", html.unescape(str(sorted(headers.items())))), CHANGING.sub("~", answer.text)


def has(how, address, word):
    return word in urllib.parse.unquote(address) or word in str(how)


# --- tests -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", USERS)
def test_no_answer_holds_a_marker(d, name):
    b = d.sessions[name]
    last = max(r["seq"] for r in d.records())
    asked_for = good = 0
    for row, address, how in some(asked(SHOWN, range(1, last + 2), True), 40):
        if has(how, address, HIDDEN):
            continue
        answer = ask(b, row, address, how)
        asked_for += 1
        good += answer.status_code == 200
        assert answer.status_code < 500, (address, how, answer.text)
        for text in (answer.text, str(answer.headers)):
            for word in (HIDDEN, CLOSED):
                assert word not in text, (row, address, how, text[max(0, text.index(word) - 300):text.index(word) + 100])
    assert asked_for > 200 and good > {"dan": 60, "rita": 60, "vera": 40, "nemo": 2}[name], (asked_for, good)


def twin(value):
    if isinstance(value, str):
        return value.replace(HIDDEN, ABSENT)
    if isinstance(value, dict):
        return {k: twin(v) for k, v in value.items()}
    if isinstance(value, list):
        return [twin(v) for v in value]
    return value


@pytest.mark.parametrize("name", USERS)
def test_hidden_is_answered_like_absent(d, name):
    b = d.sessions[name]
    compared = 0
    for row, address, how in some(asked(MASKED, (), True), 16):
        if not has(how, address, HIDDEN):
            continue
        there, nowhere = told(ask(b, row, address, how)), told(ask(b, row, twin(address), twin(how)))
        pairs = zip([str(x) for x in (there[0], twin(there[1]), *twin(there[2]).splitlines())], [str(x) for x in (*nowhere[:2], *nowhere[2].splitlines())])
        differ = [(x, y) for x, y in pairs if x != y]
        assert not differ and there[2].count("\n") == nowhere[2].count("\n"), (row, address, how, differ[:2])
        compared += 1
    assert compared > 100


def test_records_that_are_hidden_are_like_absent_ones(d):
    every = d.records()
    last = max(r["seq"] for r in every)
    for name in USERS:
        b = d.sessions[name]
        visible = {i["seq"] for i in b.get(d.api_site("/log"), params={"limit": 500}).json().get("items", [])}
        hidden = {r["seq"] for r in every} - visible
        assert hidden, name
        for seq in hidden:
            for address in ("/api/v1/sites/www/records/{}", "/s/www/record/{}"):
                there, nowhere = (told(b.get(address.format(n))) for n in (seq, last + 1000))
                assert there[0] == 404 and there[2].replace(str(seq), "N") == nowhere[2].replace(str(last + 1000), "N").replace(str(seq), "N"), (name, seq)


def test_what_happens_out_of_sight_changes_no_answer(d):
    rows = [(row, address, how) for row, address, how in asked(SHOWN, (1, 2, 3), False) if row[0] == "GET" and not any(c in row[1] for c in CLOCK)]
    picked = some(rows, 16)
    look = lambda: {name: [told(ask(d.sessions[name], *q)) for q in picked] for name in ("dan", "vera", "nemo")}  # noqa: E731
    before = look()
    act(d, 1)
    d.write(DIR + f"/{HIDDEN}later.html", f"{HIDDEN}bytes")
    after = look()
    for name in before:
        for q, x, y in zip(picked, before[name], after[name]):
            # the footer of a page tells when the next sync is
            strip = lambda t: (t[0], re.sub(r"Sync in[^<]*|Sync</?[^<]*", "", t[2]))  # noqa: E731
            differ = [pair for pair in zip(strip(x)[1].splitlines(), strip(y)[1].splitlines()) if pair[0] != pair[1]]
            assert strip(x) == strip(y), (name, q, differ[:2])


def raw(d, b, method, address, body=None):
    """An answer as it comes over the line: (status line and headers, body), without what every answer has of its own."""
    head = [f"{method} {address} HTTP/1.1", "Host: localhost:%d" % d.port, "Cookie: drydock=" + b.cookies["drydock"], "Origin: " + b.base, "X-CSRF-Token: " + b.csrf]
    body = (json.dumps(body) if isinstance(body, dict) else body or "").encode()
    if body:
        head += ["Content-Type: application/" + ("json" if body[:1] == b"{" else "x-www-form-urlencoded")]
    head += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
    if method == "GET":
        head = [line for line in head if not line.startswith("Content-Length")]
    answer, closed = d.raw("\r\n".join(head).encode() + body, timeout=30)
    assert closed
    head, _, text = answer.partition(b"\r\n\r\n")
    said = re.search(rb"Content-Length: (\d+)", head)
    assert not said or int(said.group(1)) == len(text)
    head = re.sub(rb"(Date: |Content-Length: )[^\r]*", rb"\1", head)
    return tuple(CHANGING.sub("~", OWN.sub(b"~", part).decode()) for part in (head, text))


# ids of a request and of a form
OWN = re.compile(rb"\b[0-9a-f]{8}-\d+\b|[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


@pytest.mark.parametrize("name", USERS)
def test_hidden_and_missing_are_the_same_bytes(d, name):
    """Both words have eight letters: every byte of the answers is compared, headers and lengths too."""
    b, asked_for = d.sessions[name], 0
    quote = urllib.parse.quote
    for path in MASKED:
        questions = [("GET", f"/s/www/{page}{quote(path)}", None) for page in ("file", "tree")]
        questions += [("GET", f"/s/www/{page}?path={quote(path)}", None) for page in ("history", "rules", "rules/explain", "rules/lint", "preapprovals")]
        questions += [("GET", f"/api/v1/sites/www/{row}?path={quote(path)}", None)
                      for row in ("status", "file", "diff", "content", "log", "roles", "access", "requirements", "preapprovals", "whence", "roles/lint")]
        questions += [("POST", f"/api/v1/sites/www/{act}", body) for act in ("sign", "review", "revoke", "selection")
                      for body in ({"paths": [path], "as_staged": True, "act": "sign"}, {"files": [{"path": path, "sha256": "0" * 64}]})]
        questions += [("POST", f"/s/www/{act}", urllib.parse.urlencode({"path": path, "sha256": "0" * 64, "csrf": b.csrf})) for act in ("sign", "review", "revoke")]
        questions += [("POST", "/s/www/confirm", urllib.parse.urlencode({"dir": path.rpartition("/")[0], "act": "sign", "path[]": path, "csrf": b.csrf}))]
        questions += [("POST", "/api/v1/sites/www/roles", {"path": path, "principal": "own:alice", "role": "view"})]
        for method, address, body in questions:
            there, nowhere = raw(d, b, method, address, body), raw(d, b, method, twin(address), twin(body))
            assert [part.replace(ABSENT, HIDDEN) for part in nowhere] == [part.replace(ABSENT, HIDDEN) for part in there], (method, address, body)
            asked_for += 1
    assert asked_for > 100


def test_login_and_logout_tell_nothing(d):
    for name in USERS:
        for row in [row for row in ROWS if row[1].endswith(("/login", "/logout"))]:
            b = d.login(name)
            for how in ({"json": {"name": f"{HIDDEN}user", "password": "wrong"}}, {"data": {"name": f"{HIDDEN}user", "next": FILE}}) if row[0] == "POST" else ({"params": {"next": "/s/www/"}},):
                answer = b.request(row[0], row[1], allow_redirects=False, headers={"Origin": b.base}, **how)
                assert answer.status_code < 500
                told_ = answer.text.replace(f'value="{HIDDEN}user"', "").replace(f'value="{FILE}"', "")
                assert HIDDEN not in told_ and HIDDEN not in str(answer.headers), (row, answer.text)


def test_events_of_a_page_that_is_open(d):
    """A stream tells that something changed; never what, where or how much of what he does not see."""
    with d.sessions["dan"].get("/s/www/events", stream=True, timeout=20) as answer:
        assert answer.status_code == 200
        d.write(FILE, f"{HIDDEN}bytes again")
        d.must("POST", d.api_site("/sign"), {"paths": [FILE], "as_staged": True, "note": f"{HIDDEN}note"})
        d.write("/docs/seen.html", "seen")
        d.must("POST", d.api_site("/sign"), {"paths": ["/docs/seen.html"], "as_staged": True, "note": "seen by dan"})
        text = b""
        for piece in answer.iter_content(1):
            text += piece
            if text.count(b"\n\n") >= 2 or len(text) > 20000:
                break
        assert HIDDEN.encode() not in text
