"""Whatever is malformed, forged or repeated: refused, one line in the log with the reason, nothing lost and nothing recorded."""
import json

import pytest

from drydock import Drydock

JSON = "Content-Type: application/json"
FORM = "Content-Type: application/x-www-form-urlencoded"
SIGN = json.dumps({"paths": ["/index.html"], "as_staged": True})


@pytest.fixture(scope="module")
def d():
    with Drydock(files={"/index.html": "home"}) as server:
        server.alice = server.login()
        server.ended = server.login()
        server.replayed = server.ended.cookies["drydock"]
        assert server.ended.post("/api/v1/logout").status_code == 204
        made = server.alice.post("/api/v1/tokens", json={"label": "t", "role": "sign", "expires": "1h"}).json()
        server.token = made["token"]
        gone = server.alice.post("/api/v1/tokens", json={"label": "gone", "role": "sign", "expires": "1h"}).json()
        server.revoked = gone["token"]
        assert server.alice.post("/api/v1/tokens/revoke", json={"token": gone["token_id"]}).status_code == 200
        yield server


def request(line, *headers, body=""):
    head = [f"{line} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    if body or line.startswith("POST"):
        head.append(f"Content-Length: {len(body.encode())}")
    return "\r\n".join([*head, "", body]).encode()


WHOAMI = "GET /api/v1/whoami"
POST = "POST /api/v1/sites/www/sign"
CASES = {
    # name: (status, words of the reason, function of the server that makes the bytes)
    "a forged cookie": (401, "Log in first", lambda d: request(WHOAMI, "Cookie: drydock=" + "A" * 43)),
    "a cut cookie": (401, "Log in first", lambda d: request(WHOAMI, "Cookie: drydock=" + d.cookie[:-1])),
    "a longer cookie": (401, "", lambda d: request(WHOAMI, "Cookie: drydock=" + d.cookie + "A")),
    "a replayed cookie": (401, "", lambda d: request(WHOAMI, "Cookie: drydock=" + d.replayed)),
    "a replayed cookie at a page": (303, "no such session", lambda d: request("GET /account", "Cookie: drydock=" + d.replayed)),
    "a replayed cookie with a write": (401, "", lambda d: request(POST, "Cookie: drydock=" + d.replayed, "Origin: http://localhost", JSON, "X-CSRF-Token: " + d.csrf, body=SIGN)),
    "a forged token": (401, "", lambda d: request(WHOAMI, "Authorization: Bearer ddt_" + "A" * 43)),
    "a cut token": (401, "", lambda d: request(WHOAMI, "Authorization: Bearer " + d.token[:-1])),
    "a revoked token": (401, "", lambda d: request(WHOAMI, "Authorization: Bearer " + d.revoked)),
    "no CSRF token": (403, "token", lambda d: request(POST, *d.own, JSON, body=SIGN)),
    "a CSRF token cut": (403, "token", lambda d: request(POST, *d.own, JSON, "X-CSRF-Token: " + d.csrf[:-1], body=SIGN)),
    "a foreign Origin": (403, "another site", lambda d: request(POST, "Cookie: drydock=" + d.cookie, "X-CSRF-Token: " + d.csrf, JSON, "Origin: https://evil.example", body=SIGN)),
    "no Origin": (403, "", lambda d: request(POST, "Cookie: drydock=" + d.cookie, "X-CSRF-Token: " + d.csrf, JSON, body=SIGN)),
    "a method that does not exist": (501, "", lambda d: request("BREW /index.html")),
    "a method that the address does not take": (405, "", lambda d: request("DELETE /account", *d.own)),
    "a target that does not exist": (404, "", lambda d: request("GET /nothing/at/all", *d.own)),
    "a target that climbs": (400, "", lambda d: request("GET /s/www/file/../../etc/passwd", *d.own)),
    "a body too large": (413, "", lambda d: request("POST /api/v1/login", JSON, "Origin: http://localhost", body=json.dumps({"name": "a" * 8000}))),
    "a body of the wrong type": (415, "must be application/json", lambda d: request(POST, *d.write, "Content-Type: text/plain", body="hello")),
    "a body that is no JSON": (400, "", lambda d: request(POST, *d.write, JSON, body="{")),
    "a JSON body that is no object": (400, "", lambda d: request(POST, *d.write, JSON, body="[1]")),
    "a member of the wrong type": (400, "", lambda d: request(POST, *d.write, JSON, body='{"paths": "/index.html", "as_staged": true}')),
    "a member twice": (400, "duplicate", lambda d: request(POST, *d.write, JSON, body='{"paths": ["/index.html"], "paths": ["/index.html"], "as_staged": true}')),
    "a field of a form twice": (400, "twice", lambda d: request("POST /s/www/sign", *d.write, FORM, body="path=/index.html&path=/index.html&sha256=" + "0" * 64)),
    "the CSRF field twice": (400, "twice", lambda d: request("POST /s/www/sign", *d.own, FORM, body=f"csrf={d.csrf}&csrf={d.csrf}&path=/index.html")),
    "a field of a query twice": (400, "twice", lambda d: request("GET /api/v1/sites/www/status?path=/&path=/", *d.own)),
    "a length twice": (400, "", lambda d: request(POST, *d.write, JSON, "Content-Length: 3", body=SIGN)),
}


@pytest.mark.parametrize("case", CASES)
def test_refused_with_one_line(d, case):
    d.cookie, d.csrf = d.alice.cookies["drydock"], d.alice.csrf
    d.own = ("Cookie: drydock=" + d.cookie, "Origin: http://localhost")
    d.write = (*d.own, "X-CSRF-Token: " + d.csrf)
    status, words, make = CASES[case]
    records, before = d.records()[0]["seq"], len(d.log())
    data = make(d)
    answer, closed = d.raw(data, timeout=20)
    assert closed and int(answer.split(b" ", 2)[1]) == status, answer
    # those of the questions before it may come late
    lines = [line for line in d.wait_log(before, f" status={status} ") if "event=http " in line and "from=local" not in line and " status=200 " not in line]
    assert len(lines) == 1 and f" status={status} " in lines[0], lines
    assert ' why="' in lines[0] and 'why="-"' not in lines[0] and words in lines[0], lines[0]
    said = lines[0] + d.log()[before:]
    for secret in (d.cookie, d.csrf, d.token, d.replayed, d.revoked):
        assert secret not in said and secret[:-1] not in said
    # nothing is lost and nothing recorded: he goes on with the same session
    assert d.records()[0]["seq"] == records and d.file("/index.html")["state"] == "unsigned"
    assert d.alice.get("/api/v1/whoami").status_code == 200


def test_two_cookies_of_that_name(d):
    """One of them may be planted by a neighbour, and nobody can tell which: neither counts."""
    cookie = d.alice.cookies["drydock"]
    for value in (f"drydock={cookie}; drydock={'A' * 43}", f"drydock={'A' * 43}; drydock={cookie}"):
        answer, _ = d.raw(request(WHOAMI, "Cookie: " + value), timeout=20)
        assert answer.split(b" ", 2)[1] == b"401" and b"own:alice" not in answer
