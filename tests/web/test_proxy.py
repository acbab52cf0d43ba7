"""A trusted proxy on its own socket: real nginx in front, with TLS; what its headers say, and where nobody believes them."""
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest
import requests

from drydock import PASSWORD, Drydock, LocalConnection, free_ports

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")
FILES = {"/index.html": "<h1>Home</h1>", "/docs/a.html": "a"}

CONF = """
daemon off; pid {dir}/nginx.pid; error_log {dir}/error.log; worker_processes 1;
events {{ worker_connections 256; }}
http {{
    access_log off; client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3; uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
    map $http_x_test_login $who {{ default ""; "secret-of-alice" alice; "secret-of-bob" bob; "secret-of-at" "@docs"; }}
    map $http_x_test_login $groups {{ default ""; "secret-of-alice" "docs, staff"; }}
    upstream drydock {{ server unix:{socket}; keepalive 4; }}
    server {{
        listen 127.0.0.1:{port} ssl; ssl_certificate {dir}/cert.pem; ssl_certificate_key {dir}/key.pem;
        location / {{
            proxy_pass http://drydock; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            {headers}
        }}
    }}
}}
"""
NAMES = "proxy_set_header X-Remote-User $who; proxy_set_header X-Remote-Groups $groups;"


@contextlib.contextmanager
def nginx(d, port, headers=NAMES):
    assert NGINX, "nginx is missing (packages/test)"
    place = d.dir / "nginx"
    place.mkdir()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(place / "key.pem"), "-out", str(place / "cert.pem")],
                   check=True, capture_output=True)
    (place / "nginx.conf").write_text(CONF.format(dir=place, socket=d.data / "proxy.sock", port=port, headers=headers))
    kw = {}
    if os.geteuid() == 0:
        for path in (place, *place.iterdir()):
            os.chown(path, d.uid, d.gid)
        kw = {"user": d.uid, "group": d.gid, "extra_groups": []}
    p = subprocess.Popen([NGINX, "-p", str(place), "-c", str(place / "nginx.conf"), "-e", str(place / "error.log")], **kw)
    try:
        for _ in range(400):
            assert p.poll() is None, (place / "error.log").read_text()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield place / "cert.pem"
    finally:
        p.send_signal(signal.SIGTERM)
        p.wait(30)


def server(port, more=""):
    with_user = f'proxy_user = "{Drydock_user()}"\npublic_url = "https://127.0.0.1:{port}"\n'
    return Drydock(files=FILES, accounts=("alice",), config=with_user + more)


def Drydock_user():
    from drydock import test_user
    return test_user()[0]


@pytest.fixture(scope="module")
def proxied():
    [port] = free_ports(1)
    with server(port, 'proxy_user_header = "X-Remote-User"\nproxy_groups_header = "X-Remote-Groups"\ngroup_cache = "1s"\n') as d:
        d.add_account("carol")
        with nginx(d, port) as cert:
            d.https, d.cert = f"https://127.0.0.1:{port}", str(cert)
            d.role("proxy:@docs", "sign", "/docs")
            yield d


def https(d, login=None, **headers):
    s = requests.Session()
    s.trust_env, s.verify = False, d.cert
    s.headers.update(headers)
    if login:
        s.headers["X-Test-Login"] = f"secret-of-{login}"
    return s


def direct(d, target="/api/v1/whoami", method="GET", body=None, **headers):
    """Over the proxy's socket, as the user that the proxy runs as."""
    c = LocalConnection(str(d.data / "proxy.sock"), d.uid)
    c.request(method, target, body, {"Host": d.https[8:], **headers})
    r = c.getresponse()
    text = r.read()
    c.close()
    return r.status, text.decode()


def test_the_proxy_says_who_it_is(proxied):
    d = proxied
    alice = https(d, "alice")
    me = alice.get(d.https + "/api/v1/whoami").json()
    assert me["user"] == "proxy:alice" and me["groups"] == ["proxy:@docs", "proxy:@staff"]
    # not own:alice, who is an admin
    assert alice.get(d.https + "/api/v1/sites/www/file?path=/index.html").status_code == 404
    page = alice.get(d.https + "/s/www/file/docs/a.html").text
    form = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page[page.index('action="/s/www/sign"'):]))
    r = alice.post(d.https + "/s/www/sign", data={**form, "note": "through the proxy"}, allow_redirects=False, headers={"Origin": d.https})
    assert r.status_code == 303, r.text
    [record] = [x for x in d.records() if x["note"] == "through the proxy"]
    assert record["user"] == "proxy:alice" and record["rule"]["principal"] == "proxy:@docs"


def test_writes_through_the_proxy_need_their_token(proxied):
    d = proxied
    alice, bob = https(d, "alice"), https(d, "bob")
    body = {"paths": ["/docs/a.html"], "as_staged": True}
    url = d.https + "/api/v1/sites/www/review"
    assert alice.post(url, json=body).status_code == 403
    assert alice.post(url, json=body, headers={"X-CSRF-Token": bob.get(d.https + "/api/v1/whoami").json()["csrf"]}).status_code == 403
    csrf = alice.get(d.https + "/api/v1/whoami").json()["csrf"]
    assert alice.post(url, json=body, headers={"X-CSRF-Token": csrf, "Origin": "https://evil.example"}).status_code == 403
    assert alice.post(url, json=body, headers={"X-CSRF-Token": csrf, "Origin": d.https}).status_code == 200


def test_what_a_client_sends_is_not_believed(proxied):
    d = proxied
    forged = {"X-Remote-User": "alice", "X-Remote-Groups": "docs", "X-Forwarded-For": "203.0.113.9"}
    # nginx replaces them
    assert https(d, **forged).get(d.https + "/api/v1/whoami").status_code == 401
    assert https(d, "bob", **forged).get(d.https + "/api/v1/whoami").json()["user"] == "proxy:bob"
    # on the server's own port, and on the local socket, they are nothing
    assert requests.get(d.url + "/api/v1/whoami", headers=forged, timeout=60).status_code == 401
    assert d.api("GET", "/api/v1/whoami", headers=forged)[1]["user"] == f"unix:{d.user}"


def test_headers_that_cannot_be(proxied):
    d = proxied
    assert direct(d, **{"X-Remote-User": "dora"})[0] == 200, "the proxy's own user may connect"
    for name in ("@docs", "a:b", "a/b", " ", "x" * 129):
        assert direct(d, **{"X-Remote-User": name})[0] in (401, 403), name
    assert https(d, "at").get(d.https + "/api/v1/whoami").status_code == 403
    raw = (f"GET /api/v1/whoami HTTP/1.1\r\nHost: {d.https[8:]}\r\nX-Remote-User: dora\r\nX-Remote-User: root\r\nConnection: close\r\n\r\n")
    c = LocalConnection(str(d.data / "proxy.sock"), d.uid)
    c.connect()
    c.sock.sendall(raw.encode())
    assert c.sock.recv(4096).startswith(b"HTTP/1.1 400")
    c.close()
    assert "came twice" in d.log() and "cannot be named here" in d.log()


def test_a_header_counts_before_a_cookie(proxied):
    d = proxied
    r = https(d).post(d.https + "/api/v1/login", json={"name": "carol", "password": PASSWORD}, headers={"Origin": d.https})
    text = r.headers["Set-Cookie"].split(";")[0]
    assert r.status_code == 200 and text.startswith("__Host-drydock=")
    assert '"own:carol"' in direct(d, Cookie=text)[1], "without the header the session counts"
    assert '"proxy:bob"' in https(d, "bob", Cookie=text).get(d.https + "/api/v1/whoami").text
    assert https(d, "bob", Origin=d.https).post(d.https + "/api/v1/tokens", json={"label": "x"}, headers={
        "X-CSRF-Token": https(d, "bob").get(d.https + "/api/v1/whoami").json()["csrf"]}).status_code == 403, "no tokens for people of the proxy"


def test_only_the_proxy_may_connect():
    [port] = free_ports(1)
    other = "nobody" if Drydock_user() != "nobody" else "www-data"
    with Drydock(files=FILES, accounts=("alice",), config=f'proxy_user = "{other}"\nproxy_user_header = "X-Remote-User"\npublic_url = "https://127.0.0.1:{port}"\n') as d:
        d.https = f"https://127.0.0.1:{port}"
        status, text = direct(d, **{"X-Remote-User": "alice"})
        assert status == 403 and "proxy" in text
        assert direct(d, "/healthz")[0] == 403
        assert "this socket is the proxy" in d.log()


def test_tls_in_front_and_people_who_log_in_here():
    """The proxy speaks TLS and tells addresses; who people are is between them and DryDock."""
    [port] = free_ports(1)
    with server(port) as d, nginx(d, port, headers="") as cert:
        d.https, d.cert = f"https://127.0.0.1:{port}", str(cert)
        s = https(d)
        r = s.post(d.https + "/login", data={"name": "alice", "password": PASSWORD, "next": "/"}, allow_redirects=False, headers={"Origin": d.https})
        assert r.status_code == 303, r.text
        cookie = r.headers["Set-Cookie"]
        assert cookie.startswith("__Host-drydock=") and "Secure" in cookie and "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Path=/" in cookie
        assert s.get(d.https + "/api/v1/whoami").json()["user"] == "own:alice"
        assert https(d, **{"X-Remote-User": "root"}).get(d.https + "/api/v1/whoami").status_code == 401, "no header was configured"

        # two clients behind one proxy have addresses of their own: one who guesses slows down nobody else
        def login(address, password):
            with requests.Session() as x:
                x.trust_env, x.verify = False, d.cert
                adapter = requests.adapters.HTTPAdapter()
                adapter.init_poolmanager(4, 4, source_address=(address, 0))
                x.mount("https://", adapter)
                return x.post(d.https + "/api/v1/login", json={"name": "alice", "password": password}).status_code

        while login("127.0.0.7", "wrong") == 403:
            pass
        assert login("127.0.0.7", PASSWORD) == 429 and login("127.0.0.8", PASSWORD) == 200
        assert [x for x in d.log().splitlines() if "auth.login.refused" in x and "from=127.0.0.7" in x]
        mine = s.get(d.https + "/api/v1/sessions").json()["items"]
        assert {x["address"] for x in mine} >= {"127.0.0.1", "127.0.0.8"}
        # what a client puts in front of the list is not its address
        https(d, **{"X-Forwarded-For": "203.0.113.77"}).post(d.https + "/api/v1/login", json={"name": "alice", "password": "wrong"})
        assert "from=203.0.113.77" not in d.log()
