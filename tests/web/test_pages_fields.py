"""Extra fields in the browser: the forms of a file and of a selection, what is kept after an error, records, and the page that defines them."""
import pytest
from drydock import Drydock
from page import Page

PAGES = ("a", "b", "c", "d", "e", "f")


@pytest.fixture(scope="module")
def d():
    with Drydock(files={f"/{top}/{name}.html": f"{top} {name}" for top in ("docs", "open") for name in PAGES}, accounts=("alice",)) as server:
        server.add_account("vic", "view", "/")
        server.role("own:vic", "none", "/docs")
        server.browser_of = {name: server.login(name) for name in ("alice", "vic")}
        yield server


@pytest.fixture
def b(d):
    """An admin; the fields of each test are gone after it."""
    yield d.browser_of["alice"]
    for f in d.must("GET", d.api_site("/fields"))["items"]:
        d.must("POST", d.api_site("/fields"), {"path": f["path"], "name": f["name"], "remove": True})


def define(d, path, name, **kw):
    return d.must("POST", d.api_site("/fields"), {"path": path, "name": name, "label": kw.pop("label", name.title()), **kw})["seq"]


def four(d, **kw):
    define(d, "/docs", "ticket", label="Ticket & number", required=True, place=1, **kw)
    define(d, "/docs", "kind", label="Kind", type="choice", choices=["small", "<b>large</b>"], place=2, **kw)
    define(d, "/docs", "due", label="Due", type="date", place=3, **kw)
    define(d, "/docs", "read", label="I have read it", type="checkbox", place=4, **kw)


def page_of(b, path):
    return Page(b.get(f"/s/www{path}"))


def led_on(b, answer):
    """The page that an act which was done leads to."""
    assert answer.status_code == 303, Page(answer).text
    return Page(b.get(answer.headers["Location"]))


def test_one_file(d, b):
    four(d, acts=["sign", "revoke"])
    page = page_of(b, "/file/docs/a.html")
    sign = page.form("/s/www/sign")
    assert [n for n in sign.fields if n[:2] in ("f-", "b-")] == ["f-ticket", "f-kind", "f-due", "b-read"]
    assert "Ticket & number (required)" in page.text and "<option>&lt;b&gt;large&lt;/b&gt;</option>" in page.source
    assert "f-ticket" not in page.form("/s/www/review").fields
    # Wrong: nothing is recorded, and what was typed is still there.
    before = d.records()[0]["seq"]
    answer = page.send(b, sign, note="a note", **{"f-ticket": "", "f-kind": "<b>large</b>", "f-due": "2026-02-30", "b-read": "1"})
    again = Page(answer)
    assert answer.status_code == 400 and "Nothing was recorded." in again.text and d.records()[0]["seq"] == before
    assert "is a day such as 2026-11-30" in again.text or "is missing" in again.text
    kept = again.form("/s/www/sign").fields
    assert (kept["note"], kept["f-kind"], kept["f-due"], kept["b-read"]) == ("a note", "<b>large</b>", "2026-02-30", ["1"])
    answer = again.send(b, again.form("/s/www/sign"), **{"f-ticket": "T\u20117 <x>", "f-due": "2026-02-28"})
    done = led_on(b, answer)
    assert "You signed /docs/a.html" in done.text
    assert "Ticket & number: T\u20117 <x>, Kind: <b>large</b>, Due: 2026-02-28, I have read it: yes" in done.text, done.text
    record = page_of(b, f"/record/{d.records()[0]['seq']}")
    assert "What was asked" in record.text and "asked on /docs since record" in record.text and "fields-asked" not in record.text
    # Asked with revoking too: its form is open when it comes back.
    revoke = page_of(b, "/file/docs/a.html")
    answer = revoke.send(b, revoke.form("/s/www/revoke"), note="why", **{"f-kind": "small"})
    back = Page(answer)
    assert answer.status_code == 400 and "“Ticket & number” is missing" in back.text and '<details class="card" open><summary>Revoke' in back.source
    assert back.form("/s/www/revoke").fields["note"] == "why" and back.form("/s/www/revoke").fields["f-kind"] == "small"
    assert "f-kind" not in back.form("/s/www/sign").fields if "/s/www/sign" in [f.action for f in back.forms] else True


def test_selection(d, b):
    define(d, "/", "why", label="Why now", required=True)
    four(d)
    paths = {"dir": "/", "act": "sign", "path[]": ["/docs/b.html", "/open/b.html"]}
    page = Page(b.post("/s/www/confirm", data=paths))
    form = page.form("/s/www/sign")
    assert "Why now (required)" in page.text and "f-ticket" in form.fields
    answer = page.send(b, form, note="both", **{"f-ticket": "T-8", "b-read": "1"})
    again = Page(answer)
    assert answer.status_code == 400 and "“Why now” is missing" in again.text
    kept = again.form("/s/www/sign").fields
    assert kept["note"] == "both" and kept["f-ticket"] == "T-8" and kept["b-read"] == ["1"]
    # Somebody changes what is asked while the form is open: the new form, with what was typed.
    define(d, "/docs", "ticket", label="Other ticket", required=True)
    answer = again.send(b, again.form("/s/www/sign"), **{"f-why": "now"})
    moved = Page(answer)
    assert answer.status_code == 409 and "was changed since it was shown" in moved.text and "Other ticket (required)" in moved.text
    assert moved.form("/s/www/sign").fields["f-why"] == "now"
    assert moved.send(b, moved.form("/s/www/sign")).status_code == 303
    record = d.must("GET", d.api_site(f"/records/{d.records()[0]['seq']}"))
    assert record["fields"]["why"] == "now" and record["fields"]["ticket"] == "T-8" and len(record["files"]) == 2
    # "Show more" and a list that is made again keep what was typed.
    kept = Page(b.post("/s/www/confirm", data={**paths, "path[]": ["/docs/c.html"], "f-ticket": "typed", "b-read": "1"})).form("/s/www/sign").fields
    assert kept["f-ticket"] == "typed" and kept["b-read"] == ["1"]
    # A field that is asked for nowhere, or that was removed meanwhile.
    one = Page(b.post("/s/www/confirm", data={**paths, "path[]": ["/docs/c.html"]}))
    answer = one.send(b, one.form("/s/www/sign"), **{"f-ticket": "x", "f-why": "y", "f-nothing": "z"})
    assert answer.status_code == 400 and "Nobody asks here for a field “nothing”" in Page(answer).text
    answer = b.post("/s/www/sign", data={**one.form("/s/www/sign").fields, "asked": "x"})
    assert answer.status_code == 400


def test_two_meanings(d, b):
    define(d, "/docs", "when", type="date")
    define(d, "/open", "when", type="text")
    answer = b.post("/s/www/confirm", data={"dir": "/", "act": "sign", "path[]": ["/docs/d.html", "/open/d.html"]})
    assert answer.status_code == 400 and "act on /open separately" in Page(answer).text


def test_defining(d, b):
    page = page_of(b, "/fields")
    assert "Nothing is asked for" in page.text and page.h1 == "Fields"
    form = page.form("/s/www/fields")
    bad = Page(page.send(b, form, path="/docs", name="Kind!", label="Kind <of>", type="choice", choices="one\r\n two \r\n\r\n", required="1", place="7"))
    assert bad.status == 400 and "A field's name has a to z" in bad.text
    kept = bad.form("/s/www/fields").fields
    assert (kept["name"], kept["label"], kept["type"], kept["required"], kept["place"]) == ("Kind!", "Kind <of>", "choice", ["1"], "7")
    good = led_on(b, bad.send(b, bad.form("/s/www/fields"), name="kind"))
    assert "You defined the field “kind” on /docs" in good.text and "Kind <of> kind choice: one, two, required sign record" in good.text, good.text
    f, = d.must("GET", d.api_site("/fields"))["items"]
    assert f["choices"] == ["one", "two"] and f["place"] == 7 and f["acts"] == ["sign"]
    d.must("POST", d.api_site("/preapprovals"), {"path": "/docs/auto"})
    assert "what is pre-approved on /docs/auto goes out without it" in page_of(b, "/fields").text
    change = [f for f in page_of(b, "/fields?path=/docs&name=kind").forms if f.action == "/s/www/fields"][-1]
    assert change.fields["label"] == "Kind <of>" and change.fields["required"] == ["1"] and change.fields["path"] == "/docs"
    no_act = b.post("/s/www/fields", data={"path": "/docs", "name": "x", "label": "X", "csrf": change.fields["csrf"]})
    assert no_act.status_code == 400 and "Tick at least one" in Page(no_act).text
    vic = d.browser_of["vic"]
    hidden = page_of(vic, "/fields")
    assert "kind" not in hidden.text and "defined by admins" in hidden.text and not [f for f in hidden.forms if f.action == "/s/www/fields"]
    assert "Kind &lt;of" not in hidden.source and vic.get("/s/www/fields?path=/docs&name=kind").status_code == 404
    removed = b.post("/s/www/fields", data={"path": "/docs", "name": "kind", "remove": "1", "csrf": change.fields["csrf"]})
    assert "You removed the field “kind” on /docs" in Page(removed).text
    assert b.post("/s/www/fields", data={"path": "/docs", "name": "kind", "remove": "1", "csrf": change.fields["csrf"]}).status_code == 409


def test_the_record_of_a_definition_that_is_not_there(d, b):
    """Somebody took a record out of the database: the page of a signature says what it does not know, and what to do."""
    seq = define(d, "/open", "ticket", label="Ticket of old")
    d.must("POST", d.api_site("/sign"), {"paths": ["/open/e.html"], "as_staged": True, "fields": {"ticket": "T-9"}})
    define(d, "/open", "ticket", label="Ticket of now")
    record = d.records(path="/open/e.html")[0]["seq"]
    assert "Ticket of old" in page_of(b, f"/record/{record}").text
    sql = lambda text: d.run("/usr/bin/mariadb", "--no-defaults", "--socket", d.data / "db.sock", "--user", d.user, "drydock", "-e", text)
    sql(f"UPDATE record SET seq = seq + 1000000 WHERE site = 'www' AND seq = {seq}")
    try:
        text = page_of(b, f"/record/{record}").text
        assert "T-9" in text and f"by record {seq}, which is not there or says something else" in text and "drydockd fsck" in text
        assert "ask an admin for drydockd fsck" in d.cli("show", f"/open/e.html@{record}").stdout
    finally:
        sql(f"UPDATE record SET seq = seq - 1000000 WHERE site = 'www' AND seq = {seq + 1000000}")
    assert "Ticket of old" in page_of(b, f"/record/{record}").text


def test_pages_stay_small(d, b):
    """As much as may hold for one path, and a long list."""
    d.must("POST", d.api_site("/fields"), {"path": "/docs", "name": "much", "label": "Much", "type": "choice", "acts": ["sign", "review", "revoke"],
                                            "choices": [f"{n:070}" for n in range(100)]})
    for n in range(31):
        define(d, "/docs", f"f{n}", label="Label " + "x" * 20, acts=["sign", "review", "revoke"])
    for n in range(60):
        define(d, f"/open/{n}", "kind", label="L" * 200, type="choice", choices=["c" * 200, *(str(n) for n in range(99))])
    answer = d.api("POST", d.api_site("/fields"), {"path": "/docs", "name": "more", "label": "More"})
    assert answer[0] == 413 and "At most 32 fields" in answer[1]["detail"]
    for path in ("/file/docs/a.html", "/fields", "/fields?from=20"):
        assert len(b.get(f"/s/www{path}").content) < 50 * 1024, path
    page = Page(b.post("/s/www/confirm", data={"dir": "/docs", "all": "sign"}))
    assert len(page.source.encode()) < 50 * 1024
