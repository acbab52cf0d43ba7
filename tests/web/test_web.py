"""The frame around all pages: sessions, tokens and origins, headers, kept pages, previews, streams, start and stop."""
import hashlib
import http.client
import os
import pathlib
import re
import socket
import threading
import time

import pytest
import requests

from clock import Clock
from drydock import PASSWORD, Drydock

POLICY = ("default-src 'none'", "script-src 'self'", "style-src 'self'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'")


def sha(d, path):
    return d.must("GET", f"/api/v1/sites/www/file?path={path}")["sha256"]


def sign(d, *paths):
    return d.must("POST", "/api/v1/sites/www/sign", {"paths": list(paths), "recursive": True, "as_staged": True, "note": "test"})


# --- headers, sessions -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("path", ["/healthz", "/login", "/nothing", "/api/v1/whoami", "/static/drydock.css", "/s/www/tree/"])
def test_headers_are_on_everything(drydock, path):
    r = drydock.browser().get(path, allow_redirects=False)
    assert r.headers["X-Content-Type-Options"] == "nosniff"
    assert r.headers["Referrer-Policy"] == "same-origin"
    for part in POLICY:
        assert part in r.headers["Content-Security-Policy"]
    assert "unsafe" not in r.headers["Content-Security-Policy"]
    if not path.startswith("/static"):
        assert r.headers["Cache-Control"] == "no-store"


def test_without_a_session(drydock):
    b = drydock.browser()
    r = b.get("/s/www/tree/a%20b?show=x", allow_redirects=False)
    assert r.status_code == 303 and r.headers["Location"] == "/login?next=%2Fs%2Fwww%2Ftree%2Fa%2520b%3Fshow%3Dx"
    r = b.get("/api/v1/sites/www/status", allow_redirects=False)
    assert r.status_code == 401 and r.headers["Content-Type"] == "application/problem+json"
    assert r.json()["status"] == 401 and r.json()["request"]


def test_cookie(drydock):
    r = drydock.browser().post("/api/v1/login", json={"name": "alice", "password": PASSWORD})
    cookie = r.headers["Set-Cookie"]
    assert re.match(r"drydock=[A-Za-z0-9_-]{43}; Path=/; HttpOnly; SameSite=Lax$", cookie)
    token = cookie.split("=")[1].split(";")[0]
    ask = lambda value: drydock.browser().get("/api/v1/whoami", headers={"Cookie": value}).status_code
    assert ask(f"drydock={token}") == 200
    assert ask(f"a=b; drydock={token}; c=d") == 200
    assert ask(f"drydock={token}; drydock={token}") == 401, "two of them: one was planted"
    assert ask(f"drydock={token}x") == 401
    assert ask(f"drydock={token[:-1]}") == 401
    assert ask(f"Drydock={token}") == 401
    assert ask("drydock=" + "A" * 43) == 401


def test_session_ends(drydock):
    b = drydock.login()
    assert b.get("/api/v1/whoami").status_code == 200
    assert b.post("/api/v1/logout").status_code == 204
    assert b.get("/api/v1/whoami").status_code == 401


def test_socket_ignores_cookies(drydock):
    token = drydock.login("bob").cookies["drydock"]
    assert drydock.api("GET", "/api/v1/whoami", headers={"Cookie": f"drydock={token}"})[1]["user"] == f"unix:{drydock.user}"


def test_what_is_not_visible_does_not_exist(drydock):
    bob, carol = drydock.login("bob"), drydock.login("carol")
    assert bob.get("/s/www/tree/docs").status_code == 200
    assert bob.get("/s/www/tree/").status_code == 200, "an ancestor, by name only"
    assert "secret" not in bob.get("/s/www/tree/").text
    for path in ("/s/www/tree/secret", "/s/www/tree/secret/plan.html", "/s/www/tree/none", "/s/www/file/index.html", "/s/none/tree/"):
        r = bob.get(path)
        assert r.status_code == 404, path
        assert "secret" not in re.sub(r"/s/www/[^\"]*", "", r.text)
    for path in ("/s/www/", "/s/www/tree/", "/s/www/tree/docs", "/s/www/sync", "/s/www/history", "/api/v1/sites/www/status"):
        assert carol.get(path).status_code == 404, path
    assert "www" not in carol.get("/s/www/tree/").text.replace("/s/www", "").replace("www-data", "")


# --- writes from elsewhere -------------------------------------------------------------------------------------------

FORCE = "/api/v1/sites/www/selection"
BODY = {"act": "sign", "paths": ["/"], "recursive": True}


@pytest.mark.parametrize("headers,status", [
    ({}, 200),
    ({"Origin": "{url}"}, 200),
    ({"Origin": "http://evil.example"}, 403),
    ({"Origin": "null"}, 403),
    ({"Origin": "https://{host}"}, 403),
    ({"Origin": "http://{host}.evil.example"}, 403),
    ({"Origin": "http://0123456789abcdef0123456789abcdef.localhost"}, 403),
    ({"Origin": None}, 403),
    ({"Origin": None, "Sec-Fetch-Site": "same-origin"}, 200),
    ({"Sec-Fetch-Site": "cross-site"}, 403),
    ({"Sec-Fetch-Site": "same-site"}, 403),
    ({"Origin": None, "Referer": "{url}/s/www/"}, 200),
    ({"Origin": None, "Referer": "http://evil.example/{url}"}, 403),
    ({"Origin": None, "Referer": "/s/www/"}, 403),
    ({"X-CSRF-Token": "wrong"}, 403),
    ({"X-CSRF-Token": ""}, 403),
])
def test_origin_and_token(drydock, headers, status):
    b = drydock.login()
    host = f"127.0.0.1:{drydock.port}"
    headers = {k: v and v.format(url=drydock.url, host=host) for k, v in headers.items()}
    r = b.post(FORCE, json=BODY, headers=headers)
    assert r.status_code == status, r.text


def test_token_is_of_the_session(drydock):
    b, other = drydock.login(), drydock.login()
    b.csrf = other.csrf
    assert b.post(FORCE, json=BODY).status_code == 403
    b.csrf = None
    assert b.post(FORCE, json=BODY).status_code == 403
    # login has no session yet, but an origin
    assert drydock.browser().post("/api/v1/login", json={"name": "alice", "password": PASSWORD},
                                  headers={"Origin": "http://evil.example"}).status_code == 403


def test_no_write_by_get(drydock):
    alice = drydock.login()
    for path in ("/logout", "/s/www/sign", "/s/www/confirm", "/api/v1/sites/www/sign", "/api/v1/sites/www/sync/force"):
        assert alice.get(path).status_code == 405, path
        assert "GET" not in alice.get(path).headers["Allow"]


# --- static files, kept pages ----------------------------------------------------------------------------------------

def test_static(drydock):
    b = drydock.browser()
    plain = b.get("/static/drydock.css")
    assert plain.status_code == 200 and plain.headers["Content-Type"].startswith("text/css")
    assert plain.headers["Cache-Control"] == "public, no-cache"
    version = re.search(r'/static/drydock\.css\?v=([0-9a-f]+)', b.get("/login").text).group(1)
    kept = b.get(f"/static/drydock.css?v={version}")
    assert "immutable" in kept.headers["Cache-Control"] and kept.content == plain.content
    assert "immutable" not in b.get("/static/drydock.css?v=other").headers["Cache-Control"]
    same = b.get("/static/drydock.css", headers={"If-None-Match": plain.headers["ETag"]})
    assert same.status_code == 304 and not same.content
    assert b.get("/static/none.css").status_code == 404
    assert b.get("/static/").status_code == 404


def test_kept_pages_are_of_one_session_and_one_state(drydock):
    alice, bob = drydock.login(), drydock.login("bob")
    first = alice.get("/s/www/tree/docs")
    again = alice.get("/s/www/tree/docs")
    assert first.headers["ETag"] == again.headers["ETag"] or first.text != again.text  # the minute may have turned
    same = alice.get("/s/www/tree/docs", headers={"If-None-Match": again.headers["ETag"]})
    assert same.status_code in (200, 304)
    if same.status_code == 304:
        assert not same.content and same.headers["ETag"] == again.headers["ETag"]
        assert same.headers["Cache-Control"] == "no-store"
    theirs = bob.get("/s/www/tree/docs")
    assert theirs.headers["ETag"] != again.headers["ETag"] and "Alice" not in theirs.text
    second = drydock.login()
    assert second.csrf not in again.text and second.csrf in second.get("/s/www/tree/docs").text
    # a file that comes, and a rule that goes, are seen at once
    drydock.write("/docs/new.html", "new")
    end = time.monotonic() + 10
    while "new.html" not in alice.get("/s/www/tree/docs").text:
        assert time.monotonic() < end
        time.sleep(0.05)
    drydock.role("own:bob", "none", "/docs")
    assert bob.get("/s/www/tree/docs").status_code == 404
    drydock.role("own:bob", "view", "/docs")
    assert bob.get("/s/www/tree/docs").status_code == 200


# --- previews --------------------------------------------------------------------------------------------------------

def frames(b, path):
    """The addresses of the previews on a file's page."""
    r = b.get("/s/www/file" + path + "?view=preview")
    assert r.status_code == 200, r.text[-2000:]
    return re.findall(r'<iframe[^>]* src="([^"]+)"', r.text)


def fetch(d, address, path=None, headers=None, **kw):
    """As a browser would: TOKEN.localhost is this machine."""
    m = re.match(r"http://([0-9a-f]{32})\.localhost:(\d+)(/.*)$", address)
    assert m, address
    return requests.get(f"http://127.0.0.1:{m.group(2)}{path or m.group(3)}",
                        headers={"Host": f"{m.group(1)}.localhost:{m.group(2)}", **(headers or {})}, timeout=20, allow_redirects=False, **kw)


def test_preview(drydock):
    alice = drydock.login()
    drydock.write("/pre/page.html", "<h1>one</h1><link href=/pre/style.css rel=stylesheet>")
    drydock.write("/pre/style.css", "/* approved */")
    sign(drydock, "/pre")
    drydock.write("/pre/style.css", "/* staged */")
    drydock.write("/pre/page.html", "<h1>two</h1><link href=/pre/style.css rel=stylesheet>")
    drydock.must("GET", "/api/v1/sites/www/file?path=/pre/page.html")
    addresses = frames(alice, "/pre/page.html")
    bodies = [fetch(drydock, a) for a in addresses]
    assert sorted(b.text.split("</h1>")[0] for b in bodies) == ["<h1>one", "<h1>two"]
    for b in bodies:
        policy = b.headers["Content-Security-Policy"]
        assert policy.startswith("sandbox allow-scripts;") and "allow-same-origin" not in policy
        for part in ("connect-src 'none'", "form-action 'none'", "worker-src 'none'", "object-src 'none'"):
            assert part in policy
        assert b.headers["X-Content-Type-Options"] == "nosniff" and b.headers["Cache-Control"] == "no-store"
        assert b.headers["Referrer-Policy"] == "no-referrer" and "Set-Cookie" not in b.headers
        assert b.headers["Content-Type"] == "text/html; charset=utf-8"
    staged = next(a for a, b in zip(addresses, bodies) if "two" in b.text)
    linked = fetch(drydock, staged, "/pre/style.css")
    assert linked.text == "/* approved */" and linked.headers["Content-Type"].startswith("text/css")
    assert fetch(drydock, staged, "/docs/index.html").status_code == 404, "never approved"
    assert fetch(drydock, staged, "/pre/../docs/index.html").status_code in (400, 404)
    for path in ("/pre%00", "//pre/style.css", "/pre/%2e%2e/x", "/pre/a%2fb", "/.git/config", "/" + "a" * 5000):
        assert fetch(drydock, staged, path).status_code in (400, 404), path
    # the page of the frame lets nothing else be framed
    policy = alice.get("/s/www/file/pre/page.html").headers["Content-Security-Policy"]
    assert f"frame-src http://*.localhost:{drydock.preview_port};" in policy
    # what has changed since is not shown under the old fingerprint
    drydock.write("/pre/page.html", "<h1>three</h1>")
    changed = fetch(drydock, staged)
    assert changed.status_code == 409 and "three" not in changed.text
    assert "sandbox" in changed.headers["Content-Security-Policy"]
    # no token in the log
    token = re.match(r"http://([0-9a-f]{32})", staged).group(1)
    assert token not in drydock.log()


def test_preview_is_bound(drydock):
    drydock.write("/docs/bound.html", "<h1>bound</h1>")
    sign(drydock, "/docs/bound.html", "/secret")
    bob = drydock.login("bob")
    address = frames(bob, "/docs/bound.html")[0]
    assert fetch(drydock, address).status_code == 200
    assert fetch(drydock, address, "/secret/plan.html").status_code == 404, "approved, but not his to see"
    other = requests.post(f"http://127.0.0.1:{drydock.preview_port}/docs/bound.html",
                          headers={"Host": re.match(r"http://([^/]+)", address).group(1)}, timeout=10)
    assert other.status_code == 405
    # the role goes, and the preview with it
    drydock.role("own:bob", "none", "/docs")
    assert fetch(drydock, address).status_code == 404
    drydock.role("own:bob", "view", "/docs")
    assert fetch(drydock, address).status_code == 200
    # the session goes, by its own logout, or ended from elsewhere
    bob.post("/api/v1/logout")
    assert fetch(drydock, address).status_code == 404
    bob, elsewhere = drydock.login("bob"), drydock.login("bob")
    address = frames(bob, "/docs/bound.html")[0]
    assert fetch(drydock, address).status_code == 200
    assert elsewhere.post("/account/sessions", data={"csrf": elsewhere.csrf, "all": "1"}, allow_redirects=False).status_code == 303
    assert fetch(drydock, address).status_code == 404


def test_preview_hosts(drydock):
    address = frames(drydock.login(), "/docs/index.html")[0]
    token = re.match(r"http://([0-9a-f]{32})", address).group(1)
    def ask(host, port=drydock.preview_port):
        return requests.get(f"http://127.0.0.1:{port}/docs/index.html", headers={"Host": host}, timeout=10, allow_redirects=False).status_code
    assert ask(f"{token}.localhost:{drydock.preview_port}") == 200
    assert ask(f"{token}.localhost") == 200, "a proxy in front has another port"
    for host in ("localhost", f"{token}.localhost.", f"{token}.evil.example", f"{token.upper()}.localhost", f"x.{token}.localhost",
                 f"{token}localhost", f"{token}..localhost", "0" * 32 + ".localhost", token, f"{token}.localhost:x"):
        assert ask(host) in (400, 404), host
    # the other ports do not take it
    assert ask(f"{token}.localhost:{drydock.port}", drydock.port) == 421
    assert requests.get(f"{drydock.url}/preview/{token}/docs/index.html", timeout=10).status_code == 404
    # and the preview host has no pages and no session
    r = fetch(drydock, address, "/login")
    assert r.status_code == 404 and "password" not in r.text


def test_preview_without_a_host():
    with Drydock(files={"/a.html": "<h1>a</h1>", "/s.css": "x"}, preview=False) as d:
        sign(d, "/s.css")
        alice = d.login()
        address = frames(alice, "/a.html")[0]
        assert re.match(r"/preview/[0-9a-f]{32}/a\.html$", address)
        r = requests.get(d.url + address, timeout=10)
        assert r.text == "<h1>a</h1>" and r.headers["Content-Security-Policy"].startswith("sandbox allow-scripts;")
        assert requests.get(d.url + address.replace("a.html", "s.css"), timeout=10).text == "x"
        assert address.split("/")[2] not in d.log()
        assert "frame-src 'self';" in alice.get("/login").headers["Content-Security-Policy"]


def test_a_preview_of_a_large_file_takes_little_memory():
    def most(d):
        return int(re.search(r"VmHWM:\s*(\d+) kB", pathlib.Path(f"/proc/{d.process.pid}/status").read_text())[1])
    line = b"the quick brown fox jumps over the lazy dog, %08d times\n"
    one, two = (b"".join(line % (n + i) for i in range(580000))[:(32 << 20) - n] for n in (1, 2))
    with Drydock(files={"/long.txt": one}) as d:
        alice = d.login()
        sign(d, "/long.txt")
        d.write("/long.txt", two)
        d.must("GET", "/api/v1/sites/www/file?path=/long.txt")
        addresses = frames(alice, "/long.txt")
        assert sorted(hashlib.sha256(fetch(d, a).content).digest() for a in addresses) == sorted(hashlib.sha256(x).digest() for x in (one, two))
        assert most(d) < 64 << 10, "both stood in memory"
        # one byte too many is said, staged or approved
        d.write("/long.txt", two + b"xxx")
        d.must("GET", "/api/v1/sites/www/file?path=/long.txt")
        answers = [fetch(d, a) for a in frames(alice, "/long.txt")]
        assert sorted(a.status_code for a in answers) == [200, 413]
        assert "downloaded from its own page" in next(a.text for a in answers if a.status_code == 413)
        sign(d, "/long.txt")
        assert [fetch(d, a).status_code for a in frames(alice, "/long.txt")] == [413]


# --- the demo's listener ---------------------------------------------------------------------------------------------

def test_demo(drydock):
    base = f"http://127.0.0.1:{drydock.demo_port}"
    target = drydock.production / "images" / "x"
    target.mkdir(parents=True)
    (target / "index.html").write_text("<h1>live</h1>")
    (target / "a b.css").write_text("x")
    os.symlink("/etc/passwd", target / "out")
    os.symlink("index.html", target / "in.html")
    os.symlink("x", drydock.production / "images" / "current")
    r = requests.get(f"{base}/images/x", timeout=5, allow_redirects=False)
    assert r.status_code == 301 and r.headers["Location"] == "/images/x/"
    r = requests.get(f"{base}/images/x/", timeout=5)
    assert r.text == "<h1>live</h1>" and r.headers["Content-Type"] == "text/html; charset=utf-8"
    assert r.headers["X-Content-Type-Options"] == "nosniff" and r.headers["Last-Modified"]
    assert requests.get(f"{base}/images/current/a%20b.css", timeout=5).headers["Content-Type"].startswith("text/css")
    assert requests.get(f"{base}/images/x/in.html", timeout=5).status_code == 200
    assert requests.get(f"{base}/images/x/out", timeout=5).status_code == 404
    same = requests.get(f"{base}/images/x/", headers={"If-Modified-Since": r.headers["Last-Modified"]}, timeout=5)
    assert same.status_code == 304 and not same.content
    assert requests.post(f"{base}/images/x/", timeout=5).status_code == 405
    for path in ("/../../../etc/passwd", "/images/%2e%2e/%2e%2e/data/drydock.conf", "/%00", "//etc/passwd", "/%ff"):
        answer, _ = drydock.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode(), port=drydock.demo_port)
        assert int(answer.split(b" ", 2)[1]) in (400, 404), path


# --- streams, stop ---------------------------------------------------------------------------------------------------

class Events(threading.Thread):
    """Reads a stream; what came is in text."""

    def __init__(self, d, b, path):
        super().__init__(daemon=True)
        self.connection = http.client.HTTPConnection("127.0.0.1", d.port, timeout=60)
        self.connection.request("GET", path, headers={"Cookie": f"drydock={b.cookies['drydock']}"})
        self.socket = self.connection.sock
        self.answer = self.connection.getresponse()
        self.text, self.over = "", False
        self.start()

    def run(self):
        try:
            while True:
                piece = self.answer.read1(4096)
                if not piece:
                    break
                self.text += piece.decode()
        except (OSError, http.client.HTTPException, ValueError, AttributeError):  # closed meanwhile
            pass
        self.over = True

    def close(self):
        """Whoever reads would be waited for by a mere close."""
        self.socket.shutdown(socket.SHUT_RDWR)
        self.join()

    def wait(self, what, seconds=20):
        end = time.monotonic() + seconds
        while what not in self.text and time.monotonic() < end and not self.over:
            time.sleep(0.02)
        return what in self.text


def test_stream(drydock):
    alice, bob = drydock.login(), drydock.login("bob")
    assert alice.get("/healthz").status_code == 200
    hers, his = Events(drydock, alice, "/s/www/events"), Events(drydock, bob, "/s/www/events")
    assert hers.answer.status == 200 and hers.answer.headers["Content-Type"] == "text/event-stream"
    assert hers.wait("retry:")
    start = time.monotonic()
    drydock.write("/secret/more.html", "x")
    assert hers.wait("event: changed", 5)
    assert time.monotonic() - start < 3
    time.sleep(0.7)
    assert "changed" not in his.text, "he does not see that file"
    drydock.write("/docs/more.html", "x")
    assert his.wait("event: changed", 5)
    # whoever may no longer look is cut off
    drydock.role("own:bob", "none", "/docs")
    drydock.write("/docs/more2.html", "x")
    end = time.monotonic() + 5
    while not his.over and time.monotonic() < end:
        time.sleep(0.05)
    assert his.over
    drydock.role("own:bob", "view", "/docs")
    hers.close()
    assert drydock.browser().get("/s/www/events", allow_redirects=False).status_code == 401


def test_stream_of_a_run(drydock):
    alice = drydock.login()
    drydock.write("/run.html", "x")
    sign(drydock, "/run.html")
    run = drydock.must("POST", "/api/v1/sites/www/sync/force", {"note": "test", "reason": "test"})
    end = time.monotonic() + 20
    while not (runs := drydock.must("GET", "/api/v1/sites/www/sync/runs")["items"]) or not runs[0].get("finished_at"):
        assert time.monotonic() < end, (run, runs)
        time.sleep(0.1)
    events = Events(drydock, alice, f"/s/www/sync/{runs[0]['run']}/events")
    assert events.wait("event: end", 10)
    end = time.monotonic() + 5
    while not events.over and time.monotonic() < end:
        time.sleep(0.05)
    assert events.over
    assert Events(drydock, alice, "/s/www/sync/0/events").answer.status == 404


def test_heartbeat_and_stop():
    """A stream that says nothing says so, every 15 seconds; and a server with streams, requests and idle connections stops at once."""
    with Drydock(files={"/a.html": "a"}, start=False) as d:
        clock = Clock(d.dir / "clock", own=d._own)
        d.start(env=clock.env)
        d.add_account("alice")
        alice = d.login()
        streams = [Events(d, alice, "/s/www/events") for _ in range(5)]
        assert streams[0].wait("retry:")
        clock.sleep(10)
        assert not streams[0].wait(": still here", 1)
        clock.sleep(5)
        assert streams[0].wait(": still here", 10)
        assert all(s.answer.status == 200 for s in streams)
        idle = [socket.create_connection(("127.0.0.1", d.port)) for _ in range(5)]
        idle[0].sendall(b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc")
        start = time.monotonic()
        assert d.stop() == 0
        assert time.monotonic() - start < 10
        assert not os.path.exists(d.socket)
        for s in idle:
            s.close()
        assert "aborted" not in d.log() and "PANIC" not in d.log().upper()


def test_stop_under_load():
    with Drydock(files={f"/d/{i}.html": str(i) for i in range(50)}) as d:
        alice = d.login()
        cookies = {"drydock": alice.cookies["drydock"]}
        going = True

        def ask():
            s = requests.Session()
            while going:
                try:
                    s.get(d.url + "/s/www/tree/d", cookies=cookies, timeout=5)
                    s.get(d.url + "/s/www/", cookies=cookies, timeout=5)
                except requests.RequestException:
                    time.sleep(0.01)

        threads = [threading.Thread(target=ask, daemon=True) for _ in range(8)]
        for t in threads:
            t.start()
        time.sleep(1)
        assert d.stop() == 0
        going = False
        for t in threads:
            t.join()
        assert "level=error" not in d.log()


# --- listening -------------------------------------------------------------------------------------------------------

def test_port_in_use():
    with Drydock(accounts=()) as d:
        other = Drydock(start=False)
        try:
            text = other.conf.read_text()
            other.conf.write_text(text.replace(f"port = {other.port}", f"port = {d.port}", 1))
            with pytest.raises(RuntimeError, match=f"port {d.port} is in use"):
                other.start()
        finally:
            other.close()


@pytest.mark.parametrize("config,reached", [
    ('address = "0.0.0.0"\n', None),
    ('address = "0.0.0.0"\nallow_plain_http = true\n', "127.0.0.1"),
    ('address = "::1"\npreview_host = "localhost"\n', "::1"),
])
def test_other_addresses(config, reached):
    with Drydock(config=config, start=False, accounts=()) as d:
        if reached:
            d.start(address=reached)
        else:
            with pytest.raises(RuntimeError, match="allow_plain_http"):
                d.start()


def test_public_url():
    """Behind a proxy with TLS: the cookie is bound to the host, and only that origin may write."""
    with Drydock(config='public_url = "https://drydock.example.org"\n') as d:
        b = d.browser()
        b.headers["Host"] = "drydock.example.org"
        r = b.post("/api/v1/login", json={"name": "alice", "password": PASSWORD}, headers={"Origin": "https://drydock.example.org"})
        assert r.status_code == 200
        cookie = r.headers["Set-Cookie"]
        assert cookie.startswith("__Host-drydock=") and cookie.endswith("; Path=/; HttpOnly; SameSite=Lax; Secure")
        token = cookie.split(";")[0]
        csrf = r.json()["csrf"]
        for origin, status in (("https://drydock.example.org", 200), ("http://drydock.example.org", 403), ("https://evil.example", 403),
                               (d.url, 403)):
            r = b.post(FORCE, json=BODY, headers={"Cookie": token, "Origin": origin, "X-CSRF-Token": csrf})
            assert r.status_code == status, (origin, r.text)
        assert b.get("/healthz", headers={"Host": "other.example.org"}).status_code == 421


def test_metrics(drydock):
    drydock.write("/docs/metric.html", "x")
    text = drydock.browser().get("/metrics").text
    assert "drydock_oldest_pending_seconds " in text and 'drydock_http_requests_total{class="2xx"}' in text
    assert "site=" not in text
    text = drydock.login().get("/metrics").text
    assert 'drydock_files{site="www",state="signed"}' in text and 'drydock_pending_seconds{site="www"}' in text
    assert "site=" not in drydock.login("bob").get("/metrics").text
