"""The security headers are on every answer: the route tables are walked, as everybody, and each kind of refusal."""
import re
import socket

import pytest
import requests

from drydock import PASSWORD, Drydock
from test_matrix import ROWS, address, name_of

FIXED = [("GET", a, "NONE", {"NEED_NO_SESSION"}) for a in ("/healthz", "/metrics", "/static/drydock.css", "/static/drydock.js", "/static/none", "/favicon.ico")]
POLICY = {"default-src": "'none'", "style-src": "'self'", "script-src": "'self'", "img-src": "'self' data:", "connect-src": "'self'",
          "form-action": "'self'", "base-uri": "'none'", "frame-ancestors": "'none'"}


def policy_of(text):
    return {d.strip().partition(" ")[0]: d.strip().partition(" ")[2] for d in text.split(";")}


def check(headers, what, public=False):
    """Of a page, a problem, a file, a redirect: all the same."""
    assert headers["X-Content-Type-Options"] == "nosniff", what
    assert headers["X-Frame-Options"] == "DENY", what
    assert headers["Referrer-Policy"] == "same-origin", what
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin", what
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin", what
    assert "camera=()" in headers["Permissions-Policy"], what
    policy = policy_of(headers["Content-Security-Policy"])
    assert {k: v for k, v in policy.items() if k != "frame-src"} == POLICY, what
    assert re.fullmatch(r"http://\*\.localhost:\d+", policy["frame-src"]), what
    assert headers["Cache-Control"].startswith("public") if public else headers["Cache-Control"] == "no-store", what
    assert "Server" not in headers and "X-Powered-By" not in headers, what
    assert "Access-Control-Allow-Origin" not in headers, what
    for cookie in [headers["Set-Cookie"]] if "Set-Cookie" in headers else []:
        assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Path=/" in cookie and "Domain" not in cookie, what


@pytest.fixture(scope="module")
def people(drydock):
    return {**{name: drydock.login(name) for name in ("alice", "bob", "carol")}, "nobody": drydock.browser()}


@pytest.mark.parametrize("row", ROWS + FIXED, ids=name_of)
def test_every_route(drydock, people, row):
    method, path = row[0], address(row)
    for who, b in people.items():
        if path.endswith("logout"):
            b = drydock.browser() if who == "nobody" else drydock.login(who)
        for kind, kw in (("plain", {}), ("embedded", {"headers": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}}),
                         ("foreign", {"headers": {"Origin": "https://evil.example"}}), ("head", {}), ("other method", {})):
            ask = {"head": "HEAD", "other method": "DELETE"}.get(kind, method)
            if kind == "head" and method != "GET":
                continue
            r = b.request(ask, path, allow_redirects=False, stream=True, timeout=30, **kw)
            public = path.startswith(("/static/", "/favicon")) and r.status_code in (200, 304)
            check(r.headers, (who, kind, r.status_code), public)
            r.close()


def head_of(answer):
    lines = answer.split(b"\r\n\r\n")[0].decode().split("\r\n")
    return int(lines[0].split(" ")[1]), requests.structures.CaseInsensitiveDict(line.split(": ", 1) for line in lines[1:])


HOST = b"Host: localhost\r\n"
REFUSALS = {
    "404": (b"GET /nothing HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    "404 with a body": (b"POST /nothing HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\na", 404),
    "404 of the API": (b"GET /api/v1/nothing HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    "405": (b"DELETE /login HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "501": (b"BREW /login HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    "505": (b"GET /login HTTP/1.7\r\n" + HOST + b"\r\n", 505),
    "400 of the guard": (b"GET /login HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
    "400 of the target": (b"GET /a//b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "413": (b"POST /login HTTP/1.1\r\n" + HOST + b"Content-Length: 9999999\r\n\r\n", 413),
    "414": (b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "415": (b"POST /login HTTP/1.1\r\n" + HOST + b"Content-Type: text/plain\r\nContent-Length: 1\r\n\r\na", 415),
    "417": (b"GET /login HTTP/1.1\r\n" + HOST + b"Expect: the worst\r\n\r\n", 417),
    "421": (b"GET /login HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
    "431": (b"GET /login HTTP/1.1\r\n" + HOST + b"".join(b"X%d: y\r\n" % i for i in range(100)) + b"\r\n", 431),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_every_refusal(drydock, case):
    """The headers are there, and one line in the log says why."""
    data, status = REFUSALS[case]
    before = len(drydock.log())
    answer, _ = drydock.raw(data, timeout=10, wait_close=False)
    got, headers = head_of(answer)
    assert got == status
    check(headers, case)
    lines = [line for line in drydock.wait_log(before, f" status={status} ") if f" status={status} " in line]
    assert len(lines) == 1 and re.search(r' why=("[^"]{10,}|[^-\s])', lines[0]), lines


def test_answers_of_the_library_say_nothing(drydock):
    """What does not fit into its memory libmicrohttpd answers itself: constant text, nothing of ours, nothing sent back."""
    for data in (b"GET / HTTP/1.1\r\n" + HOST + b"Cookie: a=" + b"b<script>" * 9000 + b"\r\n\r\n", b"GET /" + b"<a" * 40000 + b" HTTP/1.1\r\n" + HOST + b"\r\n"):
        answer, closed = drydock.raw(data, timeout=10)
        status, headers = head_of(answer)
        assert closed and status in (400, 414, 431, 503) and len(answer) < 1000
        assert b"<a" not in answer.replace(b"<a ", b"") and b"script" not in answer and "Set-Cookie" not in headers


def test_busy(drydock):
    """A 503 too: one person follows at most 32 streams."""
    bob, held = drydock.login("bob"), []
    try:
        for _ in range(40):
            r = bob.get("/s/www/events", stream=True)
            held.append(r)
            check(r.headers, r.status_code)
            if r.status_code == 503:
                break
        assert [r.status_code for r in held] == [200] * (len(held) - 1) + [503] and len(held) <= 37
        assert drydock.login("alice").get("/s/www/events", stream=True).status_code == 200
    finally:
        for r in held:
            r.close()


def test_same_again(drydock):
    alice = drydock.login()
    for path, public in (("/static/drydock.css", True), ("/s/www/tree/docs", False)):
        r = alice.get(path)
        again = alice.get(path, headers={"If-None-Match": r.headers.get("ETag", '"x"')})
        assert again.status_code == 304
        check(again.headers, path, public)


def test_previews(drydock):
    alice = drydock.login()
    src = re.search(r'<iframe[^>]* src="([^"]*)"', alice.get("/s/www/file/docs/index.html").text).group(1)
    host = re.match(r"http://([^/]*)/", src).group(1)
    port = int(host.split(":")[1])

    def ask(target, *lines, host=host):
        head = f"GET {target} HTTP/1.1\r\nHost: {host}\r\n" + "".join(line + "\r\n" for line in lines) + "\r\n"
        return head_of(drydock.raw(head.encode(), port=port, timeout=10, wait_close=False)[0])
    for target, lines, status in (("/docs/index.html", [], 200), ("/none", [], 404), ("/docs/index.html", ["Cookie: drydock=" + alice.cookies["drydock"]], 200),
                                  ("/docs/index.html", ["Sec-Fetch-Dest: document"], 200)):
        got, headers = ask(target, *lines)
        assert got == status
        policy = policy_of(headers["Content-Security-Policy"])
        assert policy["sandbox"] == ("" if "Sec-Fetch-Dest: document" in lines else "allow-scripts")
        assert policy["connect-src"] == policy["form-action"] == policy["worker-src"] == policy["object-src"] == policy["base-uri"] == "'none'"
        assert policy["default-src"].split()[0] == f"http://{host}" and "*" not in policy["default-src"]
        assert policy["frame-ancestors"].split() == [f"http://localhost:{drydock.port}", f"http://127.0.0.1:{drydock.port}"]
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-store" and headers["Referrer-Policy"] == "no-referrer"
        assert "camera=()" in headers["Permissions-Policy"] and headers["X-DNS-Prefetch-Control"] == "off" and headers["Connection-Allowlist"] == "(response-origin)" and "Set-Cookie" not in headers
    got, headers = ask("/docs/index.html", host="0" * 32 + ".localhost:%d" % port)
    assert got == 404 and policy_of(headers["Content-Security-Policy"]) == {"sandbox": "", "default-src": "'none'"}
    for bad in ("x" + host[1:], host[:31] + host[32:], "a." + host, host.replace(".localhost", ".localhost.evil.example"), host.upper()):
        assert ask("/docs/index.html", host=bad)[0] == 404
    # and the application is not behind a preview's name, nor the preview behind the application's
    assert ask("/login")[0] == 404
    token = host.split(".")[0]
    assert alice.get(f"/preview/{token}/docs/index.html").status_code == 404


def test_https():
    """With an https address: Secure, the __Host- prefix, the scheme of the Origin, and the proxy's name as Host."""
    with Drydock(config='public_url = "https://drydock.test"\n', preview=False, files={"/index.html": "x"}) as d:
        for origin, status in (("https://drydock.test", 303), ("http://drydock.test", 403), (d.url, 403), ("https://drydock.test.evil.example", 403)):
            b = d.browser()
            r = b.post("/login", data={"name": "alice", "password": PASSWORD}, headers={"Host": "drydock.test", "Origin": origin}, allow_redirects=False)
            assert r.status_code == status, origin
            cookie = r.headers.get("Set-Cookie", "")
            if status == 303:
                assert re.fullmatch(r"__Host-drydock=[A-Za-z0-9_-]{40,}; Path=/; HttpOnly; SameSite=Lax; Secure", cookie)
                token = cookie.split(";")[0].split("=")[1]
            else:
                assert not cookie
            assert r.headers["Strict-Transport-Security"].startswith("max-age=")
        for name, status in (("__Host-drydock", 200), ("drydock", 401)):
            r = requests.get(d.url + "/api/v1/whoami", headers={"Host": "drydock.test", "Cookie": f"{name}={token}"})
            assert r.status_code == status, name


def test_listens_on_loopback_only():
    with pytest.raises(RuntimeError, match="allow_plain_http"):
        Drydock(config='address = "0.0.0.0"\n')


# --- Sec-Fetch-Site ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("site", ["cross-site", "same-site", "same-origin", "none"])
@pytest.mark.parametrize("mode,dest", [("navigate", "document"), ("navigate", "iframe"), ("navigate", "object"), ("no-cors", "image"), ("no-cors", "script"),
                                       ("cors", "empty"), ("websocket", "websocket")])
def test_reading_from_elsewhere(drydock, people, site, mode, dest):
    """A link may be followed; what is private is not embedded, whatever cookies come along."""
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
    inside = site in ("same-origin", "none")
    for path in ("/s/www/", "/s/www/tree/", "/api/v1/whoami", "/s/www/history?format=csv", "/s/www/events"):
        r = people["alice"].get(path, headers=headers, stream=True)
        assert r.status_code == (200 if inside or dest == "document" else 403), path
        r.close()
    for path in ("/login", "/healthz", "/static/drydock.css"):
        assert drydock.browser().get(path, headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/s/www/sign", "/api/v1/sites/www/selection", "/login", "/api/v1/login", "/logout"])
@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
def test_writing_from_elsewhere(drydock, path, site):
    """Also where the Origin, by whatever fault, is ours."""
    r = drydock.login().post(path, json={}, headers={"Sec-Fetch-Site": site})
    assert r.status_code == 403 and "another site" in r.text


def test_writing_from_nowhere(drydock):
    """Neither Origin nor Sec-Fetch-Site nor Referer: no cookie counts then, and no form."""
    alice = drydock.login()
    assert alice.post("/api/v1/sites/www/selection", json={"act": "sign", "paths": ["/"]}, headers={"Origin": None}).status_code == 403
    assert alice.get("/api/v1/whoami").status_code == 200
    b = drydock.browser()
    assert b.post("/login", data={"name": "alice", "password": PASSWORD}, headers={"Origin": None}, allow_redirects=False).status_code == 403
    assert b.post("/api/v1/login", data={"name": "alice", "password": PASSWORD}, headers={"Origin": None}).status_code == 403
    # a program that has no session yet, and says what no form of a page can say
    assert b.post("/api/v1/login", json={"name": "alice", "password": PASSWORD}, headers={"Origin": None}).status_code == 200
