"""Extra fields: what an admin asks for with sign, review and revoke, by path; checked on the server, versioned, kept in the records."""
import json

import pytest
from drydock import Drydock


@pytest.fixture(scope="module")
def d():
    files = {f"/{top}/{name}": f"{top} {name}" for top in ("docs", "legal", "open") for name in ("a.html", "b.html", "c.html", "d.html", "e.html")}
    with Drydock(files=files, accounts=("alice",)) as server:
        server.add_account("dora", "admin", "/docs")
        server.add_account("sid", "sign", "/docs")
        server.add_account("vic", "view", "/")
        server.role("own:vic", "none", "/legal")
        yield server


def define(d, path, name, who=None, **kw):
    """The number of the record that made this version."""
    body = {"path": path, "name": name, "label": kw.pop("label", name.title()), **kw}
    if who:
        return who.post(d.api_site("/fields"), json=body)
    return d.must("POST", d.api_site("/fields"), body)["seq"]


@pytest.fixture
def fields(d):
    """Each test lays down its own, and they are gone afterwards."""
    yield lambda *a, **kw: define(d, *a, **kw)
    for f in d.must("GET", d.api_site("/fields"))["items"]:
        d.must("POST", d.api_site("/fields"), {"path": f["path"], "name": f["name"], "remove": True})


def attempt(d, act, *paths, **body):
    return d.api("POST", d.api_site("/" + act), {"paths": list(paths), "as_staged": True, **body})


def detail(answer):
    return answer[1]["detail"]


def test_defined_changed_removed_are_records(d, fields):
    first = fields("/docs", "ticket", label="Ticket", required=True)
    second = fields("/docs", "ticket", label="Ticket number", type="choice", choices=["A-1", "B-2"], acts=["sign", "revoke"], place=7)
    assert second == first + 1
    f, = d.must("GET", d.api_site("/fields"))["items"]
    assert f == {"name": "ticket", "path": "/docs", "label": "Ticket number", "type": "choice", "choices": ["A-1", "B-2"], "required": False,
                 "acts": ["sign", "revoke"], "place": 7, "version": second}
    record = d.must("GET", d.api_site(f"/records/{second}"))
    assert record["act"] == "field"
    assert record["fields"] == {"path": "/docs", "name": "ticket", "label": "Ticket number", "type": "choice", "choices": ["A-1", "B-2"], "required": False,
                                "acts": ["sign", "revoke"], "place": 7, "before": first}
    gone = d.must("POST", d.api_site("/fields"), {"path": "/docs", "name": "ticket", "remove": True, "note": "enough"})["seq"]
    assert d.must("GET", d.api_site(f"/records/{gone}"))["fields"] == {"path": "/docs", "name": "ticket", "removed": True, "before": second}
    assert d.must("GET", d.api_site("/fields"))["items"] == []
    status, answer = d.api("POST", d.api_site("/fields"), {"path": "/docs", "name": "ticket", "remove": True})[:2]
    assert status == 404 and "There is no field “ticket” on /docs itself" in answer["detail"]


@pytest.mark.parametrize("body, words", [
    ({"name": "Ticket"}, "name has a to z"),
    ({"name": "token"}, "none that records use themselves"),
    ({"label": ""}, "label is a line"),
    ({"label": "a\nb"}, "label is a line"),
    ({"label": "x" * 201}, "label is a line"),
    ({"label": None}, '"label" is missing'),
    ({"type": "memo"}, "text, a choice, a checkbox or a date"),
    ({"type": "choice"}, "needs choices"),
    ({"choices": ["a"]}, "Only a field of the type choice"),
    ({"type": "choice", "choices": ["a", "a"]}, "named twice"),
    ({"type": "choice", "choices": ["a\u0000b"]}, "not allowed"),
    ({"type": "choice", "choices": [1]}, "list of strings"),
    ({"type": "choice", "choices": "a"}, "list of strings"),
    ({"type": "choice", "choices": [str(n) for n in range(101)]}, "at most 100 choices"),
    ({"acts": ["publish"]}, "sign, review or revoke"),
    ({"acts": "sign"}, "list of strings"),
    ({"place": 1000}, "from 0 to 999"),
    ({"place": -1}, "from 0 to 999"),
    ({"required": "yes"}, "true or false"),
    ({"path": "docs"}, ""),
])
def test_definitions_that_are_none(d, body, words):
    status, answer = d.api("POST", d.api_site("/fields"), {"path": "/docs", "name": "ticket", "label": "Ticket", **body})[:2]
    assert status == 400 and words in answer["detail"], answer


def test_who_may_define(d, fields):
    dora, sid = d.login("dora"), d.login("sid")
    assert define(d, "/docs", "hers", who=dora).status_code == 200
    assert define(d, "/docs/sub", "hers2", who=dora).status_code == 200
    assert define(d, "/", "all", who=dora).status_code == 404  # which she does not see
    assert define(d, "/legal", "his", who=dora).status_code == 404
    answer = define(d, "/docs", "his", who=sid)
    assert answer.status_code == 403 and "laid down by its admins" in answer.json()["detail"]
    fields("/docs", "must", required=True)
    answer = dora.post(d.api_site("/fields"), json={"path": "/docs", "name": "must", "remove": True})
    assert answer.status_code == 403 and "Only an admin of the directory above" in answer.json()["detail"]
    fields("/", "top")
    assert define(d, "/docs", "top", who=dora).status_code == 403
    assert define(d, "/docs", "top") > 0


def test_asked_for_and_kept(d, fields):
    ticket = fields("/docs", "ticket", label="Ticket", required=True, place=1)
    kind = fields("/docs", "kind", label="Kind", type="choice", choices=["small", "large"], place=2)
    fields("/docs", "legal", label="Read by legal", type="checkbox", place=3)
    fields("/docs", "due", label="Due", type="date", place=4)
    for given, words in (({}, "“Ticket” is missing"), ({"ticket": "  "}, "“Ticket” is missing"), ({"ticket": 7}, "give a string"),
                         ({"ticket": "x", "kind": "huge"}, "not one of the choices"), ({"ticket": "x", "due": "2026-02-30"}, "a day such as"),
                         ({"ticket": "x", "legal": "yes"}, "give true or false"), ({"ticket": "x", "colour": "red"}, "Nobody asks here for a field “colour”"),
                         ({"ticket": "x" * 2001}, "too long"), ({"ticket": "a\u0007"}, "control characters"), ({"ticket": "x", "rules": "y"}, "Nobody asks")):
        before = d.records()[0]["seq"]
        answer = attempt(d, "sign", "/docs/a.html", fields=given)
        assert answer[0] == 400 and words in detail(answer), (given, answer)
        assert d.records()[0]["seq"] == before and d.file("/docs/a.html")["state"] == "unsigned"
    assert attempt(d, "sign", "/docs/a.html", fields=["ticket"])[0] == 400
    assert attempt(d, "review", "/docs/a.html", fields={"ticket": "x"})[0] == 400  # with a review nothing is asked for
    answer = attempt(d, "sign", "/docs/a.html", fields={"ticket": "=HYPERLINK(\"x\")", "kind": "large", "due": "2028-02-29"})
    assert answer[0] == 200
    record = d.must("GET", d.api_site(f"/records/{answer[1]['seq']}"))
    assert {k: v for k, v in record["fields"].items() if k != "fields-asked"} == {"ticket": "=HYPERLINK(\"x\")", "kind": "large", "due": "2028-02-29", "legal": False}
    assert f"ticket {ticket} /docs" in record["fields"]["fields-asked"]
    # A new version, a removed one: the record still says what was asked then.
    fields("/docs", "ticket", label="Number of the ticket", type="date")
    d.must("POST", d.api_site("/fields"), {"path": "/docs", "name": "kind", "remove": True})
    then = {f["name"]: f for f in d.must("GET", d.api_site(f"/records/{answer[1]['seq']}"))["asked"]}
    assert then["ticket"] == {"name": "ticket", "path": "/docs", "version": ticket, "label": "Ticket", "type": "text", "value": "=HYPERLINK(\"x\")"}
    assert then["kind"] == {"name": "kind", "path": "/docs", "version": kind, "label": "Kind", "type": "choice", "value": "large"}
    assert then["legal"]["value"] is False and then["due"]["value"] == "2028-02-29"
    # The CSV of the history keeps the cell from being run, also where the value stands inside JSON.
    csv = d.login("alice").get(f"/s/{d.site}/history?path=/docs/a.html&format=csv").text
    assert "HYPERLINK" in csv and '"=' not in csv.replace('""=', "")


def test_several_paths(d, fields):
    fields("/", "why", acts=["revoke"], label="Why", required=True)
    fields("/docs", "ticket", label="Ticket", required=True)
    fields("/legal", "case", label="Case", required=True)
    fields("/legal/b.html", "ticket", label="Ticket", type="date")
    assert attempt(d, "sign", "/open/a.html")[0] == 200
    answer = attempt(d, "sign", "/docs/b.html", "/open/b.html")
    assert answer[0] == 400 and "“Ticket” is missing" in detail(answer)
    answer = attempt(d, "sign", "/docs/b.html", "/legal/a.html", fields={"ticket": "x"})
    assert answer[0] == 400 and "“Case” is missing" in detail(answer)
    answer = attempt(d, "sign", "/docs/b.html", "/legal/b.html", fields={"ticket": "x", "case": "y"})
    assert answer[0] == 400 and "act on /legal/b.html separately" in detail(answer)
    shown = d.must("POST", d.api_site("/selection"), {"act": "sign", "paths": ["/docs", "/legal/a.html"], "recursive": True, "items": False})
    assert "items" not in shown and [f["name"] for f in shown["fields"]] == ["case", "ticket"]
    answer = d.api("POST", d.api_site("/sign"), {"paths": ["/docs", "/legal/a.html"], "recursive": True, "selection": shown["digest"], "asked": shown["asked"],
                                                 "fields": {"ticket": "T", "case": "C"}})
    assert answer[0] == 200, answer
    listed = [{"path": "/legal/a.html", "sha256": d.file("/legal/a.html")["sha256"]}]
    answer = d.api("POST", d.api_site("/revoke"), {"files": listed})
    assert answer[0] == 400 and "“Why” is missing" in detail(answer)
    assert d.api("POST", d.api_site("/revoke"), {"files": listed, "fields": {"why": "wrong"}})[0] == 200
    # Somebody who sees a part of a record sees a part of what was filled in.
    vic = d.login("vic")
    seq = d.records(path="/docs/b.html")[0]["seq"]
    for item in (vic.get(d.api_site(f"/records/{seq}")).json(), *[i for i in vic.get(d.api_site("/log")).json()["items"] if i["seq"] == seq]):
        assert item["fields"]["ticket"] == "T" and "case" not in json.dumps(item), item
    assert {f["path"] for f in vic.get(d.api_site("/fields")).json()["items"]} == {"/", "/docs"}


def test_changed_meanwhile_is_a_conflict(d, fields):
    fields("/open", "ticket", label="Ticket")
    shown = d.must("POST", d.api_site("/selection"), {"act": "sign", "paths": ["/open/c.html"]})
    body = {"paths": ["/open/c.html"], "selection": shown["digest"], "asked": shown["asked"], "fields": {"ticket": "x"}}
    fields("/open", "ticket", label="Ticket of the other kind")
    status, answer = d.api("POST", d.api_site("/sign"), body)[:2]
    assert status == 409 and "was changed since it was shown" in answer["detail"] and answer["selection"]["digest"] == shown["digest"]
    body["asked"] = d.must("POST", d.api_site("/selection"), {"act": "sign", "paths": ["/open/c.html"]})["asked"]
    assert d.api("POST", d.api_site("/sign"), {**body, "asked": "abc"})[0] == 400
    op = "7b0c6a52-1111-4222-8333-444455556666"
    status, first = d.api("POST", d.api_site("/sign"), {**body, "id": op})[:2]
    assert status == 200
    # The same request again has the same answer, also when something else is asked for now; with other values it is another.
    fields("/open", "ticket", label="Once more", required=True)
    status, again = d.api("POST", d.api_site("/sign"), {**body, "id": op})[:2]
    assert status == 200 and again["seq"] == first["seq"] and again["repeated"]
    assert d.api("POST", d.api_site("/sign"), {**body, "id": op, "fields": {"ticket": "y"}})[0] == 409


def test_preapproved_files_are_not_asked(d, fields):
    fields("/auto", "ticket", label="Ticket", required=True)
    d.write("/auto/x.html", b"x")
    d.must("POST", d.api_site("/preapprovals"), {"path": "/auto"})
    d.sync()
    record, = d.records(path="/auto/x.html")
    assert record["act"] == "pickup" and "fields-asked" not in record["fields"]


def test_terminal(d, fields):
    cli = lambda *argv, **kw: d.cli(*argv, **kw)
    r = cli("field", "set", "/legal", "kind", "--label", "Kind of text", "--type", "choice", "--choice", "contract", "--choice", "terms of use", "--required",
            "--place", "3", "-m", "legal wants it")
    assert r.returncode == 0 and "asked for now (record " in r.stdout, r
    assert cli("field", "set", "/legal", "read", "--type", "checkbox", "--act", "sign,review").returncode == 0
    assert "Kind of text  (choice, required, with sign; record" in cli("field", "list").stdout
    assert "contract | terms of use" in cli("field", "list", "/legal/c.html").stdout
    assert cli("field", "list", "/docs").stdout == "Acts ask for nothing beside the note.\n"
    r = cli("sign", "--as-staged", "/legal/c.html")
    assert r.returncode != 0 and "“Kind of text” is missing" in r.stderr, r
    for option, words in (("kind", "takes NAME=VALUE"), ("read=perhaps", "say yes or no"), ("nothing=x", "Nobody asks")):
        r = cli("sign", "--as-staged", "--field", option, "--field", "kind=contract", "/legal/c.html")
        assert r.returncode != 0 and words in r.stderr, r
    r = cli("sign", "--as-staged", "--field", "kind=terms of use", "--field", "read=yes", "/legal/c.html")
    assert r.returncode == 0, r
    seq = d.records(path="/legal/c.html")[0]["seq"]
    assert "kind: terms of use" in cli("log", "/legal/c.html").stdout and "read: yes" in cli("log", "/legal/c.html").stdout
    shown = cli("show", f"/legal/c.html@{seq}").stdout
    assert "Kind of text: terms of use  (asked on /legal since record" in shown and "read: yes" in shown
    assert cli("field", "remove", "/legal", "kind").returncode == 0
    assert "Kind of text: terms of use" in cli("show", f"/legal/c.html@{seq}").stdout
    assert cli("field", "remove", "/legal", "kind").returncode == 2
    assert cli("field", "set", "/legal").returncode == 1
