"""API tokens and one's own sessions: made, used, bounded, ended; forged, cut and replayed ones."""
import json
import pathlib
import re
import subprocess
import uuid

import pytest
import requests

from drydock import PASSWORD, Drydock, program

ROUTES = pathlib.Path(__file__).resolve().parents[2] / "server/web/api/routes.def"
FILES = {"/index.html": "<h1>Home</h1>", "/docs/a.html": "a", "/docs/b.html": "b", "/ab.html": "x"}


@pytest.fixture(scope="module")
def d():
    with Drydock(files=FILES, accounts=("alice",)) as d:
        d.add_account("bob", "sign", "/docs")
        d.add_account("carol", None)
        yield d


def make(who, expect=200, **body):
    r = who.post("/api/v1/tokens", json={"label": "a test", **body})
    assert r.status_code == expect, r.text
    return r.json()


def bearer(d, text, **headers):
    s = requests.Session()
    s.trust_env = False
    s.headers.update({"Authorization": f"Bearer {text}", **headers})
    return lambda method, path, **kw: s.request(method, d.url + path, timeout=60, allow_redirects=False, **kw)


def why(d, text):
    """The reasons that the log gives for tokens that were refused."""
    return [line for line in d.log().splitlines() if "auth.token.refused" in line and text in line]


def test_a_token_is_its_owner_within_its_limits(d):
    alice = d.login("alice")
    t = make(alice, role="sign", site="www", path="/docs", expires="2d")
    ask = bearer(d, t["token"])
    me = ask("GET", "/api/v1/whoami").json()
    assert me["user"] == "own:alice" and me["token"] == t["token_id"] and "csrf" not in me
    # what is outside its path does not exist, its parent is there by name
    items = ask("GET", "/api/v1/sites/www/status?path=/&recursive=1").json()["items"]
    assert {i["path"] for i in items if i["type"] == "file"} == {"/docs/a.html", "/docs/b.html"}
    assert ask("GET", "/api/v1/sites/www/file?path=/index.html").status_code == 404
    assert ask("GET", "/api/v1/sites/www/file?path=/ab.html").status_code == 404
    assert ask("GET", "/api/v1/sites/-/file?path=/docs/a.html").json()["file"]["state"] == "unsigned"
    r = ask("POST", "/api/v1/sites/www/sign", json={"paths": ["/index.html"], "as_staged": True})
    assert r.status_code == 404
    # within it acts are his, and the record says by which token
    r = ask("POST", "/api/v1/sites/www/sign", json={"paths": ["/docs/a.html"], "as_staged": True, "note": "by a program"})
    assert r.status_code == 200, r.text
    record = d.record(r.json()["seq"])
    assert record["user"] == "own:alice" and record["fields"]["token"] == t["token_id"]
    # an admin's token that may sign is no admin
    assert ask("POST", "/api/v1/sites/www/roles", json={"principal": "own:carol", "path": "/docs", "role": "view"}).status_code == 403
    assert ask("POST", "/api/v1/sites/www/sync/force", json={"reason": "x"}).status_code == 403
    assert ask("GET", "/api/v1/users").status_code == 403


def test_a_token_gives_nothing_that_its_owner_lacks(d):
    ask = bearer(d, make(d.login("bob"), role="admin", path="/")["token"])
    assert ask("GET", "/api/v1/sites/www/file?path=/index.html").status_code == 404
    assert ask("GET", "/api/v1/sites/www/file?path=/docs/b.html").status_code == 200
    assert ask("POST", "/api/v1/sites/www/roles", json={"principal": "own:bob", "path": "/docs", "role": "admin"}).status_code == 403


def test_forged_and_cut_tokens(d):
    text = make(d.login("alice"))["token"]
    assert re.fullmatch(r"ddt_[A-Za-z0-9_-]{43}", text)
    other = text[:-5] + ("A" if text[-5] != "A" else "B") + text[-4:]
    for bad in (text[:-1], text + "A", text[4:], other, "ddt_" + "A" * 43, "", "ddt_", text.upper(), text + "\x7f", "x" * 3000):
        r = bearer(d, bad)("GET", "/api/v1/whoami")
        assert r.status_code in (400, 401), bad
        if r.status_code == 401:
            assert r.headers["WWW-Authenticate"] == "Bearer"
            assert r.headers["Content-Type"] == "application/problem+json"
    assert len(why(d, "There is no such token")) >= 2 and why(d, "not a token of DryDock")
    assert text not in d.log() and other not in d.log()
    assert bearer(d, text)("GET", "/api/v1/whoami").status_code == 200


def test_a_token_is_not_a_cookie_and_a_cookie_does_not_count_beside_it(d):
    alice, bob = d.login("alice"), d.login("bob")
    text = make(bob, role="view")["token"]
    # as a cookie it is nothing
    assert requests.get(d.url + "/api/v1/whoami", headers={"Cookie": f"drydock={text}"}, timeout=60).status_code == 401
    # a session's text is no token
    cookie = alice.cookies.get("drydock")
    assert bearer(d, cookie)("GET", "/api/v1/whoami").status_code == 401
    # beside a token alice's cookie and CSRF token give nothing
    both = {"Cookie": f"drydock={cookie}", "X-CSRF-Token": alice.csrf}
    ask = bearer(d, text, **both)
    assert ask("GET", "/api/v1/whoami").json()["user"] == "own:bob"
    assert ask("POST", "/api/v1/sites/www/sign", json={"paths": ["/docs/b.html"], "as_staged": True}).status_code == 403
    # a bad token is not made good by a cookie, and lends no write its missing CSRF token
    for bad in ("ddt_" + "A" * 43, "", "x"):
        r = requests.post(d.url + "/api/v1/sites/www/sign", json={"paths": ["/docs/b.html"], "as_staged": True}, timeout=60,
                          headers={"Cookie": f"drydock={cookie}", "Authorization": f"Bearer {bad}"})
        assert r.status_code == 401, bad
    r = requests.post(d.url + "/api/v1/sites/www/sign", json={"paths": ["/docs/b.html"], "as_staged": True}, timeout=60,
                      headers={"Cookie": f"drydock={cookie}", "Authorization": "Basic YWxpY2U6eA=="})
    assert r.status_code == 403, "another scheme is between browser and proxy: the session counts, and its CSRF token is missing"
    # two tokens: it cannot be told which
    raw = (f"GET /api/v1/whoami HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {text}\r\nAuthorization: Bearer {text}\r\n"
           "Connection: close\r\n\r\n").encode()
    assert d.raw(raw)[0].startswith(b"HTTP/1.1 401")
    # a foreign page may not use it either
    assert ask("POST", "/api/v1/sites/www/review", headers={"Origin": "http://evil.example"}, json={"paths": []}).status_code == 403


def test_pages_do_not_take_tokens(d):
    ask = bearer(d, make(d.login("alice"), role="admin")["token"])
    for page in ("/", "/account", "/s/www/", "/s/www/tree/", "/s/www/events"):
        assert ask("GET", page).status_code == 401, page
    assert ask("GET", "/healthz").status_code == 200, "where it does not matter who asks"


def test_a_token_makes_no_tokens_and_changes_no_password(d):
    alice = d.login("alice")
    ask = bearer(d, make(alice, role="admin")["token"])
    for method, path, body in (("GET", "/api/v1/tokens", None), ("POST", "/api/v1/tokens", {"label": "more"}),
                               ("POST", "/api/v1/tokens/revoke", {"token": "0" * 12}), ("GET", "/api/v1/sessions", None),
                               ("POST", "/api/v1/sessions/end", {"all": True}), ("POST", "/api/v1/logout", {}),
                               ("POST", "/api/v1/users", {"name": "alice", "password": "another password"}),
                               ("POST", "/api/v1/users", {"name": "mallory", "password": "another password"})):
        r = ask(method, path, json=body)
        assert r.status_code == 403 and "token" in r.json()["detail"], (path, r.text)
    assert ask("GET", "/api/v1/users").status_code == 200, "an admin's token that may be admin lists accounts"
    assert alice.get("/api/v1/whoami").status_code == 200
    d.login("alice")


def test_revoked_by_the_owner(d):
    bob = d.login("bob")
    t = make(bob)
    ask = bearer(d, t["token"])
    assert ask("GET", "/api/v1/whoami").status_code == 200
    assert bob.post("/api/v1/tokens/revoke", json={"token": t["token_id"]}).status_code == 200
    assert ask("GET", "/api/v1/whoami").status_code == 401
    assert why(d, "revoked")
    assert bob.post("/api/v1/tokens/revoke", json={"token": t["token_id"]}).status_code == 404


def test_who_revokes_for_others(d):
    bob, carol, alice = d.login("bob"), d.login("carol"), d.login("alice")
    t, u = make(bob), make(alice, role="view")
    for who in (carol, bob):
        assert who.post("/api/v1/tokens/revoke", json={"token": u["token_id"]}).status_code in (403, 404)
        assert u["token_id"] not in who.get("/api/v1/tokens?all=1").text
    listed = {x["id"]: x for x in alice.get("/api/v1/tokens?all=1").json()["items"]}
    assert listed[t["token_id"]]["user"] == "own:bob" and t["token"] not in json.dumps(listed)
    assert t["token_id"] not in alice.get("/api/v1/tokens").text
    assert alice.post("/api/v1/tokens/revoke", json={"token": t["token_id"]}).status_code == 200
    assert bearer(d, t["token"])("GET", "/api/v1/whoami").status_code == 401


def test_last_use_is_shown(d):
    bob = d.login("bob")
    t = make(bob)
    mine = lambda: next(x for x in bob.get("/api/v1/tokens").json()["items"] if x["id"] == t["token_id"])
    assert mine()["used_at"] is None and mine()["used_from"] is None
    bearer(d, t["token"])("GET", "/api/v1/whoami")
    assert mine()["used_at"] > mine()["created_at"] and mine()["used_from"] == "127.0.0.1"


def test_wishes_that_are_refused(d):
    alice = d.login("alice")
    for body, word in (({"label": ""}, "what the token is for"), ({"label": "x" * 65}, "64"), ({"role": "none"}, "role"), ({"role": "king"}, "role"),
                       ({"expires": "0"}, "ends"), ({"expires": "3000d"}, "two years"), ({"expires": "2020-01-01"}, "ends"),
                       ({"expires": "soon"}, "When"), ({"path": "docs"}, ""), ({"path": "/a/../b"}, ""), ({"label": 5}, "string")):
        r = alice.post("/api/v1/tokens", json={"label": "x", **body})
        assert r.status_code == 400 and word in r.json()["detail"], (body, r.text)
    assert make(alice, 404, site="nowhere")["status"] == 404


def test_shown_once_and_recorded_without_the_secret(d):
    alice = d.login("alice")
    op = str(uuid.uuid4())
    first = make(alice, id=op, expires="30d")
    again = make(alice, id=op, expires="30d")
    assert again["repeated"] and "token" not in again and again["seq"] == first["seq"]
    assert make(alice, 409, id=op, expires="31d")["status"] == 409
    log = d.git("log", "-p", "--all", repo=d.data / "sites/installation/repo.git").stdout
    assert first["token_id"] in log and first["token"] not in log


def test_the_end_of_its_owner(d):
    d.add_account("dave", "view", "/docs")
    text = make(d.login("dave"))["token"]
    ask = bearer(d, text)
    assert ask("GET", "/api/v1/whoami").status_code == 200
    d.must("POST", "/api/v1/users", {"name": "dave", "enabled": False})
    assert ask("GET", "/api/v1/whoami").status_code == 401
    assert why(d, "may not log in")
    d.must("POST", "/api/v1/users", {"name": "dave", "enabled": True})
    assert ask("GET", "/api/v1/whoami").status_code == 200


def test_a_token_for_one_site_leads_to_no_other():
    with Drydock(files=FILES, accounts=("alice",), start=False) as d:
        tree = d.dir / "staging2"
        tree.mkdir()
        (tree / "index.html").write_text("the other site")
        for place in (tree, tree / "index.html"):
            d._own(place)
        d.conf.write_text(d.conf.read_text() + f'\nsite "other" {{\n\tstaging = "{tree}"\n}}\n')
        d.run(program(), "admin", f"unix:{d.user}", "--data", d.data)
        d.start()
        d.add_account("alice")
        d.must("POST", "/api/v1/sites/other/roles", {"principal": "own:alice", "path": "/", "role": "admin"})
        alice = d.login("alice")
        ask = bearer(d, make(alice, role="admin", site="www")["token"])
        assert alice.get("/api/v1/sites/other/file?path=/index.html").status_code == 200
        assert ask("GET", "/api/v1/sites/www/file?path=/index.html").status_code == 200
        assert ask("GET", "/api/v1/sites/other/file?path=/index.html").status_code == 404
        assert [x["name"] for x in ask("GET", "/api/v1/sites").json()["items"]] == ["www"]
        # accounts belong to no site
        r = ask("GET", "/api/v1/users")
        assert r.status_code == 403 and "for the site www only" in r.json()["detail"]
        assert bearer(d, make(alice, role="admin")["token"])("GET", "/api/v1/users").status_code == 200


def test_the_local_socket_takes_no_token(d):
    text = make(d.login("bob"))["token"]
    status, answer = d.api("GET", "/api/v1/whoami", headers={"Authorization": f"Bearer {text}"})
    assert status == 401 and "local socket" in answer["detail"]


API = [(m, re.sub(r":(site)", "www", re.sub(r":(seq|run|number)", "1", a)).replace(":group", "editors"), needs)
       for m, a, needs in re.findall(r'^ROUTE\(METHOD_(\w+), "([^"]+)", ROLE_\w+, ([^,]+),', ROUTES.read_text(), re.M)]


@pytest.mark.parametrize("row", API, ids=lambda r: f"{r[0]} {r[1]}")
def test_every_address_asks_for_a_token_that_counts(d, row):
    method, address, needs = row
    if "NEED_NO_SESSION" in needs:
        return
    cookie = {"Cookie": "drydock=" + d.login("alice").cookies.get("drydock")} if method == "GET" else {}
    assert bearer(d, "ddt_" + "A" * 43, **cookie)(method, address, json={} if method != "GET" else None).status_code == 401
    text = getattr(d, "viewer", None) or make(d.login("alice"), role="view")["token"]
    d.viewer = text
    status = bearer(d, text)(method, address, json={} if method != "GET" else None).status_code
    if "NEED_NO_TOKEN" in needs or "SITE_ADMIN" in needs:
        assert status == 403
    else:
        assert status != 401 and status < 500, "known, without any CSRF token"


# --- sessions ------------------------------------------------------------------------------------------------------------


def test_sessions_are_listed_and_ended(d):
    one, two, bob = d.login("alice"), d.login("alice"), d.login("bob")
    listed = one.get("/api/v1/sessions").json()["items"]
    here = [s for s in listed if s["here"]]
    assert len(here) == 1 and len(listed) >= 2
    other = next(s for s in two.get("/api/v1/sessions").json()["items"] if s["here"])["id"]
    assert bob.post("/api/v1/sessions/end", json={"id": other}).status_code == 404, "nobody ends another's"
    assert two.get("/api/v1/whoami").status_code == 200
    assert one.post("/api/v1/sessions/end", json={"id": other}).status_code == 204
    assert two.get("/api/v1/whoami").status_code == 401
    assert one.post("/api/v1/sessions/end", json={"id": "zz"}).status_code == 400
    assert one.post("/api/v1/sessions/end", json={}).status_code == 400
    third = d.login("alice")
    assert one.post("/api/v1/sessions/end", json={"all": True}).status_code == 204
    assert one.get("/api/v1/whoami").status_code == 401 and third.get("/api/v1/whoami").status_code == 401
    assert bob.get("/api/v1/whoami").status_code == 200


def test_a_session_is_new_at_login_and_gone_after_logout(d):
    s = d.login("bob")
    before, csrf = s.cookies.get("drydock"), s.csrf
    # logging in again in the same browser: another session, and the old one has ended
    r = s.post("/login", data={"name": "bob", "password": PASSWORD, "next": "/"}, allow_redirects=False)
    assert r.status_code == 303 and s.cookies.get("drydock") != before
    replay = lambda cookie: requests.get(d.url + "/api/v1/whoami", headers={"Cookie": f"drydock={cookie}"}, timeout=60).status_code
    assert replay(before) == 401
    now = s.cookies.get("drydock")
    assert replay(now) == 200
    assert replay(now[:-1]) == 401 and replay(now + "A") == 401 and replay(now[:-2] + ("AA" if now[-2:] != "AA" else "BB")) == 401
    s.csrf = s.get("/api/v1/whoami").json()["csrf"]
    assert s.csrf != csrf
    assert s.post("/logout", allow_redirects=False).status_code == 303
    assert replay(now) == 401


# --- pages and terminal ----------------------------------------------------------------------------------------------


def test_the_page(d):
    bob = d.login("bob")
    page = bob.get("/account").text
    assert "API tokens" in page
    op = re.search(r'name="op" value="([0-9a-f-]{36})"', page).group(1)
    form = {"csrf": bob.csrf, "op": op, "label": "from <the> page", "role": "review", "site": "www", "path": "/docs", "expires": "12h"}
    r = bob.post("/account/tokens", data=form)
    text = re.search(r"ddt_[A-Za-z0-9_-]{43}", r.text).group(0)
    assert r.status_code == 200 and r.headers["Cache-Control"] == "no-store"
    assert bearer(d, text)("GET", "/api/v1/whoami").json()["user"] == "own:bob"
    again = bob.post("/account/tokens", data=form)
    assert again.status_code == 200 and "ddt_" not in again.text and "from &lt;the&gt; page" in again.text
    bad = bob.post("/account/tokens", data={**form, "op": str(uuid.uuid4()), "expires": "never"})
    assert bad.status_code == 400 and "When does the token end?" in bad.text
    id_ = re.search(r"from &lt;the&gt; page <span class=\"quiet\">([0-9a-f]{12})", again.text).group(1)
    r = bob.post("/account/tokens/revoke", data={"csrf": bob.csrf, "id": id_})
    assert id_ not in r.text
    assert bearer(d, text)("GET", "/api/v1/whoami").status_code == 401


def test_the_terminal(d, tmp_path):
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}

    def run(*argv, code=0, **more):
        r = subprocess.run([program("drydock"), *argv], capture_output=True, text=True, env={**env, **more}, stdin=subprocess.DEVNULL)
        assert r.returncode == code, (argv, r.stdout, r.stderr)
        return r.stdout

    secret = tmp_path / "password"
    secret.write_text(PASSWORD + "\n")
    server = ("--server", d.url)
    run(*server, "login", "bob", "--password-file", str(secret))
    assert "(this one)" in run(*server, "session", "list")
    text = run(*server, "token", "add", "for the build", "--role", "review", "--path", "/docs", "--site", "www", "--expires", "3d").strip()
    listed = run(*server, "token", "list")
    assert "for the build" in listed and "at most review on www, /docs" in listed and "never used" in listed and text not in listed
    file = tmp_path / "token"
    file.write_text(text + "\n")
    file.chmod(0o644)
    run(*server, "whoami", "--token-file", str(file), code=1)
    file.chmod(0o600)
    assert run(*server, "whoami", "--token-file", str(file)).startswith("own:bob")
    assert run(*server, "whoami", DRYDOCK_TOKEN_FILE=str(file)).startswith("own:bob")
    run(*server, "--token-file", str(file), "token", "add", "more", code=3)
    id_ = next(line.split()[0] for line in listed.splitlines() if "for the build" in line)
    run(*server, "token", "revoke", id_)
    run(*server, "whoami", "--token-file", str(file), code=3)
    run(*server, "token", "revoke", id_, code=2)
    mine = next(line.split()[0] for line in run(*server, "session", "list").splitlines() if "(this one)" in line)
    run(*server, "session", "end", mine)
    run(*server, "session", "list", code=3)
    run(*server, "session", "end", code=1)
