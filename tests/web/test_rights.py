"""What a person may not see does not exist for him: in no list, count, search, history, plan, error or file. Dan may view
everything but /secret; Vera /docs only; Nobody has no role. Each asks everything that can be asked."""
import re
import urllib.parse

import pytest

from drydock import Drydock

FILES = {"/index.html": "home", "/docs/a.html": "docs a", "/docs/b.html": "docs b", "/docs/inner/plan-x.html": "hidden below docs",
         "/secret/zebra.html": "quagga one", "/secret/deep/okapi.html": "quagga two", "/news/n.html": "news"}
HIDDEN = {
    "dan": ["zebra", "okapi", "quagga", "/secret/", "codename"],
    "vera": ["zebra", "okapi", "quagga", "secret", "codename", "index.html", "news", "plan-x", "inner"],
    "nobody": ["zebra", "okapi", "quagga", "secret", "codename", "index.html", "news", "plan-x", "docs", "a.html"],
}
# Ancestors of a visible path are shown by name only; that there is a rule of his own on a path he may know.
PATHS = ["/", "/docs", "/docs/a.html", "/docs/inner", "/docs/inner/plan-x.html", "/secret", "/secret/zebra.html", "/secret/deep", "/news", "/index.html", "/nothing"]


@pytest.fixture(scope="module")
def d():
    with Drydock(files=FILES, accounts=("alice",), site_config='\tlive_url = "http://localhost:1/"') as server:
        server.add_account("dan", "view", "/")
        server.role("own:dan", "none", "/secret")
        server.add_account("vera", "view", "/docs")
        server.role("own:vera", "none", "/docs/inner")
        server.add_account("nobody", None)
        server.sign("/", recursive=True, note="everything")
        server.sync("first, all")
        server.write("/secret/zebra.html", "quagga changed")
        server.sign("/secret/zebra.html", note="codename tapir again")
        server.write("/docs/a.html", "docs a changed")
        server.sign("/docs/a.html", note="seen by many")
        server.revoke("/secret/deep/okapi.html", note="codename gone")
        server.must("POST", server.api_site("/preapprovals"), {"path": "/secret/auto", "note": "codename auto"})
        server.write("/secret/new.html", "quagga new")
        server.write("/docs/new.html", "docs new")
        server.sessions = {name: server.login(name) for name in ("dan", "vera", "nobody")}
        yield server


def questions(d):
    last = max(r["seq"] for r in d.records())
    for path in PATHS:
        q = urllib.parse.quote(path)
        for tail in ("status?path={}", "status?path={}&recursive=1&limit=1000", "status?path={}&recursive=1&state=attention&selection=sign", "file?path={}",
                     "diff?path={}", "content?path={}&version=staged", "content?path={}&version=approved", "log?path={}", "log?path={}&below=1", "access?path={}",
                     "roles?path={}"):
            yield "/api/v1/sites/www/" + tail.format(q)
        yield f"/s/www/tree{q}"
        yield f"/s/www/file{q}"
        yield f"/s/www/history?path={q}"
        yield f"/s/www/history?path={q}&format=csv"
        yield f"/s/www/history?path={q}&format=json"
        yield f"/s/www/rules?path={q}"
        yield f"/s/www/rules/explain?path={q}"
    for seq in range(1, last + 1):
        yield f"/api/v1/sites/www/records/{seq}"
        yield f"/s/www/record/{seq}"
        for path in ("/secret/zebra.html", "/docs/inner/plan-x.html"):
            yield f"/api/v1/sites/www/content?path={path}&version={seq}"
    for word in ("zebra", "okapi", "plan", "html"):
        yield f"/api/v1/sites/www/status?match={word}&recursive=1"
        yield f"/s/www/tree/?q={word}"
    yield from ("/", "/s/www/", "/s/www/sync", "/s/www/sync/1", "/s/www/sync/2", "/s/www/preapprovals", "/api/v1/sites", "/api/v1/whoami",
                "/api/v1/sites/www/sync", "/api/v1/sites/www/sync/plan", "/api/v1/sites/www/sync/runs", "/api/v1/sites/www/sync/runs/1",
                "/api/v1/sites/www/sync/runs/2",
                "/s/www/targets/production", "/api/v1/sites/www/sync/runs?target=production", "/api/v1/sites/www/releases", "/api/v1/sites/www/releases/1", "/api/v1/sites/www/preapprovals",
                "/api/v1/sites/www/roles", "/api/v1/users", "/api/v1/groups", "/metrics")


@pytest.mark.parametrize("name", ["dan", "vera", "nobody"])
def test_nothing_shows_through(d, name):
    asked = answered = 0
    for target in questions(d):
        answer = d.sessions[name].get(target, allow_redirects=False)
        asked += 1
        answered += answer.status_code == 200
        assert answer.status_code < 500, (target, answer.text)
        text = answer.text
        # what he typed himself may come back to him
        typed = urllib.parse.parse_qs(urllib.parse.urlsplit(target).query)
        for echo in [target, urllib.parse.unquote(target)] + [p for p in PATHS if p != "/" and p in target] + typed.get("q", []) + typed.get("match", []):
            text = text.replace(echo, "").replace(urllib.parse.quote(echo, safe=""), "")
        for word in HIDDEN[name]:
            found = [text[max(0, m.start() - 100):m.end() + 60] for m in re.finditer(re.escape(word), text)]
            assert not found, (target, answer.status_code, word, found[0])
    assert asked > 150
    assert answered > {"dan": 90, "vera": 40, "nobody": 2}[name], answered


def test_counts_are_his(d):
    counts = lambda name, path="/": d.sessions[name].get(d.api_site("/status"), params={"path": path, "recursive": 1}).json()["counts"]
    assert counts("dan") == {"signed": 5, "unsigned": 1, "changed": 0, "missing": 0, "revoked": 0, "preapproved": 0, "unpublishable": 0}
    assert counts("vera") == {"signed": 2, "unsigned": 1, "changed": 0, "missing": 0, "revoked": 0, "preapproved": 0, "unpublishable": 0}
    assert [i["path"] for i in d.sessions["vera"].get(d.api_site("/status")).json()["items"]] == ["/docs"]
    for name in ("dan", "vera"):
        for run in d.sessions[name].get(d.api_site("/sync/runs")).json()["items"]:
            assert "added" not in run
        for release in d.sessions[name].get(d.api_site("/releases")).json()["items"]:
            assert "files" not in release
        for record in d.sessions[name].get(d.api_site("/log")).json()["items"]:
            if len(record["files"]) > 1:
                assert "files_count" not in record


def test_hidden_is_like_absent(d):
    """The same status and the same words, but for the path itself."""
    for name, hidden in (("dan", "/secret/zebra.html"), ("vera", "/index.html"), ("vera", "/docs/inner/plan-x.html")):
        absent = hidden.rsplit("/", 1)[0] + "/absent-absent.html"
        b = d.sessions[name]
        for tail in ("file", "diff", "content", "status", "log", "access"):
            answers = [b.get(d.api_site(f"/{tail}"), params={"path": p}) for p in (hidden, absent)]
            told = [(a.status_code, re.sub(r'"request":"[^"]*"', "", a.text).replace(p, "PATH")) for a, p in zip(answers, (hidden, absent))]
            assert told[0] == told[1], (tail, told)
        for act in ("sign", "review", "revoke"):
            for body in ({"as_staged": True}, {"selection": "0" * 64}):
                answers = [b.post(d.api_site(f"/{act}"), json={"paths": [p], **body}) for p in (hidden, absent)]
                told = [(a.status_code, re.sub(r'"request":"[^"]*"', "", a.text).replace(p, "PATH")) for a, p in zip(answers, (hidden, absent))]
                assert told[0] == told[1] and told[0][0] == 404, (act, body, told)
            answers = [b.post(d.api_site(f"/{act}"), json={"files": [{"path": p, "sha256": "0" * 64}]}) for p in (hidden, absent)]
            assert {a.status_code for a in answers} == {404}


def test_a_site_of_which_he_sees_nothing_is_not_there(d):
    b = d.sessions["nobody"]
    assert b.get("/api/v1/sites").json()["items"] == []
    for target in ("/s/www/", "/s/www/sync", "/api/v1/sites/www/sync", "/api/v1/sites/www/releases", "/api/v1/sites/www/log", "/api/v1/sites/www/status"):
        here, nowhere = b.get(target), b.get(target.replace("www", "xxx"))
        assert here.status_code == nowhere.status_code == 404, target
        strip = lambda a: re.sub(r"[0-9a-f]{8}-\d+|csrf\" value=\"[^\"]*|20\d\d-[^\"<]*", "", a.text).replace("xxx", "www")
        assert strip(here) == strip(nowhere), target


def test_who_may_act(d):
    """By role: the acts that are refused say so with 403, and write nothing."""
    d.add_account("rev", "review", "/")
    d.add_account("sig", "sign", "/docs")
    before = len(d.records())
    rev, sig, dan = d.login("rev"), d.login("sig"), d.sessions["dan"]
    assert dan.post(d.api_site("/review"), json={"paths": ["/docs/a.html"], "as_staged": True}).status_code == 403
    assert rev.post(d.api_site("/sign"), json={"paths": ["/docs/new.html"], "as_staged": True}).status_code == 403
    assert rev.post(d.api_site("/revoke"), json={"paths": ["/docs/a.html"], "as_staged": True}).status_code == 403
    assert rev.post(d.api_site("/sync/force"), json={"reason": "x"}).status_code == 403
    assert sig.post(d.api_site("/roles"), json={"principal": "own:sig", "path": "/docs", "role": "admin"}).status_code == 403
    assert sig.post(d.api_site("/preapprovals"), json={"path": "/docs"}).status_code == 403
    assert sig.post("/api/v1/users", json={"name": "mine", "password": "a long password"}).status_code == 403
    for b in (rev, sig, dan):
        assert b.get("/api/v1/users").status_code == 403
    assert len(d.records()) == before
    assert rev.post(d.api_site("/review"), json={"paths": ["/docs/a.html"], "as_staged": True}).status_code == 200
    assert sig.post(d.api_site("/sign"), json={"paths": ["/docs/new.html"], "as_staged": True}).status_code == 200
    # without the token, or from elsewhere, nobody writes
    plain = {"paths": ["/docs/new.html"], "as_staged": True}
    token, sig.csrf = sig.csrf, None
    assert sig.post(d.api_site("/revoke"), json=plain).status_code == 403
    sig.csrf = token
    assert sig.post(d.api_site("/revoke"), json=plain, headers={"Origin": "http://evil.example"}).status_code == 403
    assert d.browser().post(d.api_site("/revoke"), json=plain).status_code in (401, 403)
    assert sig.post(d.api_site("/revoke"), json=plain, headers={"Origin": d.url}).status_code == 200


def test_a_recursive_act_names_what_it_may_not_take(d):
    d.role("own:sig", "view", "/docs/inner")
    sig = d.login("sig")
    d.write("/docs/inner/x.html", "x")
    d.write("/docs/y.html", "y")
    answer = sig.post(d.api_site("/sign"), json={"paths": ["/docs"], "recursive": True, "as_staged": True})
    assert answer.status_code == 403 and "/docs/inner/x.html" in answer.json()["detail"], answer.text
    assert d.file("/docs/y.html")["state"] == "unsigned"
    # what he may not even see is not in the way
    d.role("own:sig", "none", "/docs/inner")
    assert sig.post(d.api_site("/sign"), json={"paths": ["/docs"], "recursive": True, "as_staged": True}).status_code == 200
    assert d.file("/docs/y.html")["state"] == "signed" and d.file("/docs/inner/x.html")["state"] == "unsigned"
