"""What a site asks for with a signature: the password again, and what it means; in the browser, the API and the terminal."""
import re
import subprocess

import pytest
import requests

from drydock import PASSWORD, Drydock, program

FILES = {f"/docs/{c}.html": c for c in "abcdefgh"}


@pytest.fixture(scope="module")
def d():
    with Drydock(files=FILES, accounts=("alice",), site_config='\tsign_password = yes\n\tmeaning = {"approved <b>for</b> publication", "checked by law"}\n') as d:
        d.add_account("bob", "sign", "/")
        yield d


def newest(d):
    return d.must("GET", "/api/v1/sites/www/log?limit=1")["items"][0]


def test_the_api(d):
    bob = d.login("bob")
    before = newest(d)["seq"]
    sign = lambda **body: bob.post("/api/v1/sites/www/sign", json={"paths": ["/docs/a.html"], "as_staged": True, **body})
    assert bob.get("/api/v1/sites").json()["items"][0]["meanings"] == ["approved <b>for</b> publication", "checked by law"]
    for body, status, word in (({}, 403, "password again"), ({"password": ""}, 403, "password again"), ({"password": "wrong", "meaning": "checked by law"}, 403, "wrong"),
                               ({"password": PASSWORD}, 400, "means"), ({"password": PASSWORD, "meaning": "anything"}, 400, "anything"),
                               ({"password": 5}, 400, "string")):
        r = sign(**body)
        assert r.status_code == status and word in r.json()["detail"], (body, r.text)
    assert newest(d)["seq"] == before, "nothing was recorded"
    r = sign(password=PASSWORD, meaning="checked by law")
    assert r.status_code == 200, r.text
    record = newest(d)
    assert record["meaning"] == "checked by law" and record["user"] == "own:bob"
    assert f'"meaning":"checked by law"' in d.git("show", f"{d.log_ref}:record").stdout
    # a review asks for nothing, and has no meaning
    assert bob.post("/api/v1/sites/www/review", json={"paths": ["/docs/a.html"], "as_staged": True}).status_code == 200
    assert newest(d)["meaning"] is None
    assert PASSWORD not in d.log()


def test_who_has_no_password_here(d):
    alice = d.login("alice")
    token = alice.post("/api/v1/tokens", json={"label": "x", "role": "sign"}).json()["token"]
    r = requests.post(d.url + "/api/v1/sites/www/sign", headers={"Authorization": f"Bearer {token}"}, timeout=60,
                      json={"paths": ["/docs/b.html"], "as_staged": True, "password": PASSWORD, "meaning": "checked by law"})
    assert r.status_code == 403 and "token" in r.json()["detail"]
    # on the local socket too: a UNIX user, whose password nobody can check without root
    status, answer = d.api("POST", "/api/v1/sites/www/sign", {"paths": ["/docs/b.html"], "as_staged": True, "meaning": "checked by law", "password": "x"})
    assert status == 403 and "password is wrong" in answer["detail"]


def hidden(page, action):
    form = page[page.index(f'action="{action}"'):]
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form[:form.index("</form>")]))


def test_the_page_of_a_file(d):
    bob = d.login("bob")
    page = bob.get("/s/www/file/docs/c.html").text
    assert 'type="password"' in page and "approved &lt;b&gt;for&lt;/b&gt; publication" in page
    form = {**hidden(page, "/s/www/sign"), "note": "my words", "meaning": "checked by law"}
    before = newest(d)["seq"]
    r = bob.post("/s/www/sign", data={**form, "password": "wrong"}, allow_redirects=False)
    assert r.status_code == 409 and "The password is wrong" in r.text and "my words" in r.text and '<option value="checked by law" selected>' in r.text
    assert newest(d)["seq"] == before
    r = bob.post("/s/www/sign", data={**hidden(r.text, "/s/www/sign"), "note": "my words", "meaning": "checked by law", "password": PASSWORD}, allow_redirects=False)
    assert r.status_code == 303, r.text
    record = newest(d)
    assert record["note"] == "my words" and record["meaning"] == "checked by law"
    assert "checked by law" in bob.get(f"/s/www/record/{record['seq']}").text


def test_the_page_of_many(d):
    bob = d.login("bob")
    page = bob.post("/s/www/confirm", data={"csrf": bob.csrf, "act": "sign", "dir": "/docs", "path[]": ["/docs/d.html", "/docs/e.html"]}).text
    assert 'type="password"' in page
    form = {**hidden(page, "/s/www/sign"), "path[]": ["/docs/d.html", "/docs/e.html"], "meaning": "checked by law", "note": "both"}
    r = bob.post("/s/www/sign", data={**form, "password": "wrong"}, allow_redirects=False)
    assert r.status_code == 409 and "The password is wrong" in r.text
    form = {**hidden(r.text, "/s/www/sign"), "path[]": ["/docs/d.html", "/docs/e.html"], "meaning": "checked by law", "note": "both"}
    r = bob.post("/s/www/sign", data={**form, "password": PASSWORD}, allow_redirects=False)
    assert r.status_code == 303, r.text
    assert newest(d)["note"] == "both"


def test_the_terminal(d, tmp_path):
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    secret, bad = tmp_path / "secret", tmp_path / "bad"
    secret.write_text(PASSWORD + "\n")
    bad.write_text("wrong\n")

    def run(*argv):
        return subprocess.run([program("drydock"), "--server", d.url, *argv], capture_output=True, text=True, env=env, stdin=subprocess.DEVNULL)

    assert run("login", "bob", "--password-file", str(secret)).returncode == 0
    sign = ("sign", "--as-staged", "/docs/f.html")
    r = run(*sign, "--meaning", "checked by law")
    assert r.returncode == 1 and "password" in r.stderr, "no terminal to ask on"
    assert run(*sign, "--meaning", "checked by law", "--password-file", str(bad)).returncode == 3
    r = run(*sign, "--password-file", str(secret))
    assert r.returncode == 1 and "means" in r.stderr
    r = run(*sign, "--meaning", "checked by law", "--password-file", str(secret))
    assert r.returncode == 0, r.stderr
    assert newest(d)["meaning"] == "checked by law"


def test_guessing_slows_down(d):
    bob = d.login("bob")
    statuses = []
    for _ in range(8):
        r = bob.post("/api/v1/sites/www/sign", json={"paths": ["/docs/g.html"], "as_staged": True, "password": "wrong", "meaning": "checked by law"})
        statuses.append(r.status_code)
    assert statuses[0] == 403 and 429 in statuses


def test_a_site_that_asks_for_nothing():
    with Drydock(files={"/index.html": "x"}) as d:
        status, answer = d.api("POST", "/api/v1/sites/www/sign", {"paths": ["/index.html"], "as_staged": True, "meaning": "something"})
        assert status == 400 and "leave the meaning out" in answer["detail"]
        assert d.api("POST", "/api/v1/sites/www/sign", {"paths": ["/index.html"], "as_staged": True})[0] == 200
