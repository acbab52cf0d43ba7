"""What a change of rules does everywhere below, rules that do nothing, and what signatures need: pages, API, terminal."""
import json

import pytest
from drydock import Drydock
from page import Page

FILES = {"/index.html": "home", "/docs/a.html": "a", "/docs/deep/b.html": "b", "/legal/terms.html": "terms", "/board/secret-plan.html": "s"}


@pytest.fixture(scope="module")
def d():
    with Drydock(files=FILES, accounts=("alice",)) as server:
        for name, role, path in (("sub", "admin", "/docs"), ("sig", "sign", "/"), ("rev", "review", "/"), ("second", "review", "/"), ("vera", "view", "/docs")):
            server.add_account(name, role, path)
        server.must("POST", "/api/v1/groups", {"name": "team"})
        server.add_account("mem", None)
        server.must("POST", "/api/v1/groups/team/members", {"principal": "own:mem"})
        server.role("own:@team", "view", "/docs")
        server.role("own:@team", "sign", "/docs/deep")
        yield server


def preview(b, principal, path, role, **query):
    return b.post("/api/v1/sites/www/roles/preview", params=query, json={"principal": principal, "path": path, "role": role})


def effects(answer):
    return {(i["user"], i["path"], i["before"], i["after"]) for i in answer.json()["items"]}


def test_a_preview_goes_everywhere_below_and_names_members(d):
    alice = d.login("alice")
    before = len(d.records())
    assert effects(preview(alice, "own:@team", "/docs", "none")) == {("own:mem", "/docs", "view", "none")}
    assert effects(preview(alice, "own:@team", "/docs/deep", None)) == {("own:mem", "/docs/deep", "sign", "view")}
    assert effects(preview(alice, "own:mem", "/", "review")) == {
        ("own:mem", "/", "none", "review"), ("own:mem", "/docs", "view", "review"), ("own:mem", "/docs/deep", "sign", "review")}
    # bounded and paged
    first = preview(alice, "own:mem", "/", "review", limit=2)
    rest = preview(alice, "own:mem", "/", "review", limit=2, **{"from": first.json()["next"]})
    assert len(first.json()["items"]) == 2 and len(rest.json()["items"]) == 1 and "next" not in rest.json()
    # what would be refused says so
    sub = d.login("sub")
    answer = preview(sub, "own:alice", "/docs", "none").json()
    assert answer["allowed"] is False and "take admin" in answer["refused"]
    assert preview(sub, "own:mem", "/docs", "sign").json()["allowed"] is True
    assert preview(sub, "own:mem", "/", "sign").status_code == 404
    assert preview(d.login("sig"), "own:mem", "/docs", "sign").status_code == 403
    assert preview(d.login("vera"), "own:mem", "/legal", "sign").status_code == 404
    assert preview(alice, "own:nobody-there", "/", "sign").status_code == 404
    assert preview(alice, "own:mem", "/", "king").status_code == 400
    assert len(d.records()) == before
    page = Page(alice.post("/s/www/rules/check", data={"principal": "own:mem", "path": "/", "role": "review"}, headers={"Origin": alice.base}))
    assert "own:mem /docs/deep sign review loses" in page.text and "own:mem / none review gains" in page.text


def test_a_preview_shows_nothing_of_a_part_that_is_hidden(d):
    d.role("own:sub", "none", "/docs/deep")
    sub = d.login("sub")
    assert effects(preview(sub, "own:mem", "/docs", "review")) == {("own:mem", "/docs", "view", "review")}
    assert "/docs/deep" not in sub.get("/api/v1/sites/www/roles/lint").text
    d.must("POST", d.api_site("/roles"), {"principal": "own:sub", "path": "/docs/deep", "role": None})


def test_rules_that_do_nothing(d):
    d.role("own:vera", "view", "/docs/deep")
    d.role("own:mem", "view", "/docs/x")
    d.must("POST", "/api/v1/groups", {"name": "void"})
    d.role("own:@void", "sign", "/docs")
    lint = {(i["principal"], i["path"]): i["doubt"] for i in d.must("GET", d.api_site("/roles/lint"))["items"]}
    assert lint[("own:vera", "/docs/deep")] == "repeats"
    assert lint[("own:mem", "/docs/x")] == "shadowed"
    assert lint[("own:@void", "/docs")] == "empty"
    assert ("own:sig", "/") not in lint and ("own:@team", "/docs") not in lint
    d.must("POST", "/api/v1/groups", {"name": "void", "remove": True})
    lint = {(i["principal"], i["path"]): i["doubt"] for i in d.must("GET", d.api_site("/roles/lint"))["items"]}
    assert lint[("own:@void", "/docs")] == "gone"
    # only of what one may change
    assert d.login("sig").get("/api/v1/sites/www/roles/lint").json()["items"] == []
    assert {i["path"] for i in d.login("sub").get("/api/v1/sites/www/roles/lint").json()["items"]} <= {"/docs", "/docs/deep", "/docs/x"}
    page = Page(d.login("alice").get("/s/www/rules/lint"))
    assert "own:@void" in page.text and "does not exist" in page.text
    assert page.form("/s/www/rules/check", principal="own:@void")
    out = d.cli("role", "lint").stdout
    assert "own:@void" in out and "does not exist" in out
    for principal, path in (("own:vera", "/docs/deep"), ("own:mem", "/docs/x"), ("own:@void", "/docs")):
        d.must("POST", d.api_site("/roles"), {"principal": principal, "path": path, "role": None})
    assert not [i for i in d.must("GET", d.api_site("/roles/lint"))["items"] if i["principal"] in ("own:@void", "own:mem")]


def test_who_says_what_a_signature_needs(d):
    url = d.api_site("/requirements")
    sub = d.login("sub")
    assert sub.post(url, json={"path": "/", "reviews": 1}).status_code == 404
    assert sub.post(url, json={"path": "/legal", "reviews": 1}).status_code == 404
    assert d.login("sig").post(url, json={"path": "/docs", "reviews": 1}).status_code == 403
    assert sub.post(url, json={"path": "/docs/deep", "reviews": 10}).status_code == 400
    assert sub.post(url, json={"path": "/docs/deep", "reviews": "2"}).status_code == 400
    assert sub.post(url, json={"path": "/docs/deep"}).status_code == 404  # nothing to take back
    assert sub.post(url, json={"path": "/docs", "reviews": 1, "note": "four eyes"}).status_code == 200
    assert sub.post(url, json={"path": "/docs", "reviews": 0}).status_code == 403
    assert d.login("vera").get(url).json()["items"] == [{"path": "/docs", "reviews": 1, "not_alone": False}]
    d.must("POST", d.api_site("/requirements"), {"path": "/legal", "not_alone": True})
    assert d.login("vera").get(url).json()["items"] == [{"path": "/docs", "reviews": 1, "not_alone": False}], "what she does not see is not there"
    d.must("POST", d.api_site("/requirements"), {"path": "/legal", "reviews": 0})
    record = d.records(act="require")[-1]
    assert record["fields"] == {"path": "/docs", "reviews": 1, "not_alone": False} and record["note"] == "four eyes"


def test_reviews_before_a_signature(d):
    d.must("POST", d.api_site("/requirements"), {"path": "/docs", "reviews": 2})
    sig, rev, second = d.login("sig"), d.login("rev"), d.login("second")
    body = {"paths": ["/docs/a.html"], "as_staged": True}
    refused = sig.post(d.api_site("/sign"), json=body)
    assert refused.status_code == 403 and "needs 2 reviews of this version by others, has 0" in refused.json()["detail"]
    page = Page(sig.get("/s/www/file/docs/a.html"))
    assert "needs 2 reviews of this version by others, has 0" in page.text
    assert not [f for f in page.forms if f.action == "/s/www/sign"] and any("/rules/explain" in link for link in page.links)
    assert rev.post(d.api_site("/review"), json=body).status_code == 200
    file = sig.get(d.api_site("/file"), params={"path": "/docs/a.html"}).json()
    assert file["needs"] == {"path": "/docs/a.html", "reviews": 2, "have": 1, "by": ["own:rev"], "text": "needs 2 reviews of this version by others, has 1: by own:rev"}
    chosen = sig.post(d.api_site("/selection"), json={"act": "sign", "paths": ["/docs", "/index.html"], "recursive": True}).json()
    assert chosen["lacking"] == 2 and {n["path"] for n in chosen["needs"]} == {"/docs/a.html", "/docs/deep/b.html"}
    confirm = Page(sig.post("/s/www/confirm", data={"act": "sign", "dir": "/docs", "path[]": "/docs/a.html"}, headers={"Origin": sig.base}))
    assert "1 file cannot be signed yet" in confirm.text and "has 1: by own:rev" in confirm.text
    assert not [b for f in confirm.forms for b in f.buttons if f.action == "/s/www/sign"]
    assert second.post(d.api_site("/review"), json=body).status_code == 200
    assert sig.post(d.api_site("/sign"), json=body).status_code == 200
    record = d.records(act="sign")[0]
    assert record["fields"]["required_reviews"] == 2 and sorted(record["fields"]["reviewed_by"]) == ["own:rev", "own:second"]
    # a byte more is another version
    d.write("/docs/a.html", "a, changed")
    assert sig.post(d.api_site("/sign"), json=body).status_code == 403
    why = sig.get(d.api_site("/access"), params={"path": "/docs/a.html"}).json()["explanation"]
    assert "a signature here also needs 2 reviews of the same bytes by others: laid down on /docs" in why
    page = Page(sig.get("/s/www/rules/explain", params={"path": "/docs/a.html"}))
    assert "also needs 2 reviews" in page.text
    assert sig.post(d.api_site("/preapprovals"), json={"path": "/docs"}).status_code == 403
    assert "Signatures need reviews" in d.api("POST", d.api_site("/preapprovals"), {"path": "/docs"})[1]["detail"]


def test_in_the_terminal(d):
    assert "2 reviews by others" in d.cli("role", "require").stdout
    refused = d.cli("sign", "--as-staged", "/docs/a.html")
    assert refused.returncode == 3 and "needs 2 reviews" in refused.stderr
    assert "needs 2 reviews" in d.cli("show", "/docs/a.html").stdout
    assert d.cli("role", "require", "/legal", "--reviews", "1", "--not-alone", "-m", "law").returncode == 0
    assert json.loads(d.cli("--json", "role", "require", "/legal").stdout)["items"] == [{"path": "/legal", "reviews": 1, "not_alone": True}]
    assert d.cli("role", "require", "/legal", "--reviews", "0").returncode == 0
    assert d.cli("role", "require", "/legal", "--reviews", "11").returncode == 1
    assert d.cli("role", "require", "--not-alone").returncode == 1
    out = d.cli("role", "preview", "own:@team", "/docs", "none").stdout
    assert "view    -> none    own:mem  /docs" in out
    assert d.cli("role", "preview", "own:@team", "/docs", "remove").returncode == 0


def test_the_form(d):
    alice = d.login("alice")
    page = Page(alice.get("/s/www/rules"))
    form = next(f for f in page.forms if f.action == "/s/www/rules/require" and f.fields.get("reviews") != "0")
    answer = Page.send(alice, form, path="/legal", reviews="1", not_alone="1", note="lawyers")
    assert answer.status_code == 303
    page = Page(alice.get(answer.headers["Location"]))
    assert "asked for 1 review before a signature on /legal, and that nobody signs his own files alone" in page.text
    assert "On /legal and below a signature needs: 1 review of the same bytes by others; nobody signs his own files alone." in page.text
    assert Page.send(alice, form, path="", reviews="1").status_code == 400
    assert Page.send(alice, page.form("/s/www/rules/require", path="/legal")).status_code == 303
    assert "/legal and below" not in Page(alice.get("/s/www/rules")).text
    assert d.login("vera").post("/s/www/rules/require", data={"path": "/docs", "reviews": "1"}, headers={"Origin": d.url}).status_code == 403
