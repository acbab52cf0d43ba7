"""Who is refused learns why: beside every button that is missing for lack of a right, and on the page of a refusal; and each
refused login is a line in the log with its reason."""
import html
import pathlib
import re

import pytest

from drydock import PASSWORD, Drydock, program
from page import Page

LINK = re.compile(r'<a href="([^"]*/rules/explain\?path=[^"]*)"[^>]*>([^<]*)</a>')


@pytest.fixture(scope="module")
def d():
    with Drydock(files={"/docs/a.html": "a", "/docs/b.html": "b", "/index.html": "home"}) as server:
        server.sign("/docs/a.html")
        server.write("/docs/a.html", "another a")
        server.must("POST", server.api_site("/preapprovals"), {"path": "/docs/auto", "note": "n"})
        server.must("POST", server.api_site("/requirements"), {"path": "/docs/law", "reviews": 1, "note": "n"})
        for role in ("view", "review", "sign"):
            server.add_account(role, role, "/")
        server.add_account("part", "admin", "/docs")
        server.role("own:part", "view", "/")
        server.sync("the first")
        yield server


PAGES = ["/s/www/", "/s/www/tree/", "/s/www/tree/docs", "/s/www/file/docs/a.html", "/s/www/file/docs/b.html", "/s/www/file/index.html", "/s/www/sync", "/s/www/sync/1",
         "/s/www/rules", "/s/www/rules?path=/docs", "/s/www/preapprovals", "/s/www/record/1", "/s/www/history", "/account"]


def buttons(page):
    """What there is to press or to follow that needs a right: names of forms with the path that they are about."""
    found = {(f.action, f.fields.get("path"), f.fields.get("principal"), b) for f in page.forms for b in [None, *(str(x) for x in f.buttons)] if f.method == "post"}
    return found | {link.split("?")[0] + "?raw" for link in page.links if "format=raw" in link}


def whys(source):
    """Addresses of explanations: links that ask."""
    return [html.unescape(href) for href, words in LINK.findall(source) if words.lower().startswith("why")]


@pytest.mark.parametrize("name", ["view", "review", "sign", "part"])
@pytest.mark.parametrize("address", PAGES)
def test_a_missing_button_says_why(d, name, address):
    admin, b = d.login("alice"), d.login(name)
    answer = b.get(address)
    assert answer.status_code == 200
    missing = buttons(Page(admin.get(address))) - buttons(Page(answer))
    links = whys(answer.text)
    if address == "/s/www/":
        missing = {m for m in missing if name == "part"}  # what waits for nobody needs no button
    if address == "/account":
        missing = set()  # sessions: everybody has his own
    assert links or not missing, missing
    for href in links:
        told = b.get(href)
        assert told.status_code == 200 and f"own:{name} has the role" in Page(told).text, href


def test_each_card_of_sync_says_why(d):
    """What a page lacks in several places it explains in each."""
    d.must("POST", d.api_site("/holds"), {"path": "/docs/held", "until": "300d", "reason": "a test"})
    try:
        for name in ("view", "review", "sign"):
            asked = re.findall(r'<a href="[^"]*/rules/explain[?][^"]*">(Why[^<]*)</a>', d.login(name).get("/s/www/sync").text)
            assert asked == ["Why not me?", "Why can I not test them?", "Why can I not lift it?", "Why can I not roll back?"], (name, asked)
        assert not whys(d.login("alice").get("/s/www/sync").text)
    finally:
        d.must("POST", d.api_site("/holds"), {"path": "/docs/held", "remove": True})


def test_pages_of_admins_say_why(d):
    b, admin = d.login("sign"), d.login("alice")
    for address in ("/s/www/notices", "/s/www/check", "/s/www/rollback/1"):
        assert admin.get(address).status_code == 200, address
        r = b.get(address)
        assert r.status_code == 403 and whys(r.text), (address, r.status_code)


def test_that_buttons_are_compared(d):
    """The test above would see it if a page had no button at all."""
    admin, view = d.login("alice"), d.login("view")
    without = [a for a in PAGES if not buttons(Page(admin.get(a))) - buttons(Page(view.get(a)))]
    assert set(without) <= {"/s/www/sync/1", "/s/www/history", "/account"}, without


def test_each_row_says_why(d):
    """part is admin of /docs: he has the buttons of rows there, and the question beside those on "/"."""
    source = d.login("part").get("/s/www/rules").text
    assert "/s/www/rules/explain?path=%2F" in whys(source) or "/s/www/rules/explain?path=/" in whys(source)
    assert "Remove…" in source
    source = d.login("view").get("/s/www/preapprovals").text
    assert any(href.endswith(("docs/auto", "docs%2Fauto")) for href in whys(source))


def test_the_page_of_a_refusal(d):
    """403, with the way to the explanation of his role there; not where rights are not what was wrong."""
    view = d.login("view")
    head = {"Origin": view.base}
    tries = {"/s/www/sync/force": {"op": "00000000-0000-4000-8000-000000000001", "reason": "r", "plan": "0" * 64},
             "/s/www/confirm": {"dir": "/docs/", "act": "sign", "path[]": ["/docs/b.html"]}}
    for address, form in tries.items():
        r = view.post(address, data={**form, "csrf": view.csrf}, headers=head, allow_redirects=False)
        assert r.status_code == 403, (address, r.text)
        (href,) = whys(r.text)
        assert re.search(r"path=(/|%2F)" + ("docs$" if "dir" in form else "$"), href), href
        told = Page(view.get(href))
        assert "own:view has the role view" in told.text
    r = view.get("/s/www/record/1?format=raw")
    assert r.status_code == 403 and whys(r.text)
    r = view.post("/s/www/sync/force", data={}, headers={"Origin": "http://evil.example"})
    assert r.status_code == 403 and not whys(r.text)
    for address in ("/s/www/record/99999", "/s/none/"):
        assert view.get(address).status_code == 404 and not whys(view.get(address).text)


def test_an_act_that_was_refused_meanwhile(d):
    """The right was taken away between the page and the button."""
    d.add_account("late", "sign", "/")
    b = d.login("late")
    form = Page(b.get("/s/www/file/docs/b.html")).form("/s/www/sign")
    d.role("own:late", "view", "/")
    r = Page.send(b, form)
    assert r.status_code == 403 and whys(r.text), r.text
    assert "docs" in whys(r.text)[0]


# --- logins ------------------------------------------------------------------------------------------------------------


def lines(d, before, words):
    return [line for line in d.wait_log(before, words) if words in line]


def test_a_refused_login_is_a_line_with_its_reason(d):
    """Page and API: the line of the request says why it was refused, and another what was wrong with the login."""
    page = d.browser()
    for address, how in (("/login", {"data": {"name": "view", "password": "wrong"}}), ("/api/v1/login", {"json": {"name": "view", "password": "wrong"}})):
        before = len(d.log())
        r = page.post(address, headers={"Origin": page.base}, **how)
        assert r.status_code == 403 and "Retry-After" not in r.headers
        (line,) = lines(d, before, f"target={address} ")
        assert "status=403" in line and 'why="Name or password is wrong.' in line
        (line,) = lines(d, before, "auth.login.refused")
        assert 'why="wrong password"' in line and "user=own:view" in line and "from=127.0.0.1" in line
    before = len(d.log())
    page.post("/login", headers={"Origin": page.base}, data={"name": "my secret password", "password": "x"})
    (line,) = lines(d, before, "auth.login.refused")
    assert 'why="unknown name"' in line and "secret" not in d.log()[before:]
    before = len(d.log())
    page.post("/login", headers={"Origin": page.base}, data={"name": "view"})
    (line,) = lines(d, before, "target=/login status=400 ")
    assert "why=" in line


@pytest.mark.parametrize("name", ["review", "nobody-of-that-name"])
def test_a_login_that_comes_too_soon(d, name):
    """429 with the time to wait, for a name that nobody has too; a line each with the reason; nobody is told that he is wrong."""
    page = d.browser()
    for address, how in (("/login", "data"), ("/api/v1/login", "json")):
        for _ in range(8):
            before = len(d.log())
            r = page.post(address, headers={"Origin": page.base}, **{how: {"name": name, "password": "wrong"}})
            if r.status_code != 403:
                break
        assert r.status_code == 429 and 1 <= int(r.headers["Retry-After"]) <= 60
        assert "Try again in" in r.text and "Set-Cookie" not in r.headers
        if how == "json":
            assert r.json()["code"] == "wait"
        else:
            assert Page(r).form("/login").fields["name"] == name
        # The line of the try before may come late.
        (line,) = lines(d, before, f"target={address} status=429 ")
        assert 'why="Too many failed logins.' in line
        (line,) = lines(d, before, "auth.login.refused")
        assert 'why="too many failed logins"' in line and "from=127.0.0.1" in line
    # the right password is not tried either, until then
    assert page.post("/api/v1/login", headers={"Origin": page.base}, json={"name": name, "password": PASSWORD}).status_code == 429


# --- what admins see of it ---------------------------------------------------------------------------------------------


def events(b, **query):
    r = b.get("/api/v1/events", params=query)
    assert r.status_code == 200, r.text
    return r.json()


def test_admins_see_logins_and_refusals(d):
    view, admin = d.login("view"), d.login("alice")
    assert view.post(d.api_site("/sign"), json={"paths": ["/docs/b.html"], "as_staged": True}).status_code == 403
    view.post("/api/v1/login", headers={"Origin": view.base}, json={"name": "sign", "password": "wrong"})
    view.post("/api/v1/login", headers={"Origin": view.base}, json={"name": "nobody-at-all", "password": "wrong"})
    items = events(admin)["items"]
    assert [i["id"] for i in items] == sorted((i["id"] for i in items), reverse=True)
    newest = {i["kind"]: i for i in reversed(items)}
    assert newest["refused"]["user"] == "own:view" and newest["refused"]["path"] == "/docs/b.html" and "/docs/b.html: you have not the right to sign it" in newest["refused"]["why"]
    failed = [i for i in items if i["kind"] == "login-failed"][:2]
    assert [(i["user"], i["why"], i["address"]) for i in failed] == [(None, "unknown name", "127.0.0.1"), ("own:sign", "wrong password", "127.0.0.1")]
    assert "nobody-at-all" not in str(items), "it may have been a password"
    page = Page(admin.get("/events"))
    assert "login refused" in page.text and "act refused" in page.text and "you have not the right to sign it" in page.text
    assert "/events" in Page(admin.get("/account")).links
    said = d.cli("event", "list", "--limit", "50")
    assert said.returncode == 0 and "login-failed  own:sign  from 127.0.0.1  wrong password" in said.stdout, said.stdout
    # paged
    first = events(admin, limit=2)
    assert [i["id"] for i in first["items"]] == [i["id"] for i in items[:2]]
    assert events(admin, limit=2, before=first["next"])["items"][0]["id"] == items[2]["id"]
    assert "next" not in events(admin, limit=1000)


def test_others_do_not(d):
    for name in ("view", "review", "sign", "part"):
        b = d.login(name)
        assert b.get("/api/v1/events").status_code == 403 and b.get("/events").status_code == 403
        assert "/events" not in Page(b.get("/account")).links


def test_events_of_a_part_that_is_hidden():
    """An admin of the site from whom a part is hidden: nothing of a refusal there, and no sentence of one elsewhere."""
    with Drydock(files={"/docs/a.html": "a", "/zqsecret/b.html": "b"}, accounts=("alice",)) as d:
        d.add_account("half", "admin", "/")
        d.role("own:half", "none", "/zqsecret")
        d.add_account("vera", "view", "/")
        vera = d.login("vera")
        for paths in (["/zqsecret/b.html"], ["/docs/a.html"], ["/docs/a.html", "/zqsecret/b.html"], ["/docs/a.html", "/zqsecret"]):
            assert vera.post(d.api_site("/sign"), json={"paths": paths, "recursive": True, "as_staged": True}).status_code == 403
        everything = [i for i in events(d.login("alice"))["items"] if i["kind"] == "refused"]
        assert len(everything) == 4 and "zqsecret" in str(everything)
        half = d.login("half")
        some = [i for i in events(half)["items"] if i["kind"] == "refused"]
        assert [i["path"] for i in some] == ["/docs/a.html"] * 3 and not any(i["why"] for i in some)
        assert "zqsecret" not in half.get("/events").text and "/docs/a.html" in half.get("/events").text


# --- the same work for who is there and who is not ----------------------------------------------------------------------


def test_a_login_of_nobody_takes_as_much_work(d):
    """A hash for each, whoever is named: processor time of the server, since the answers come at the same steps anyway."""
    d.add_account("slow", "view", "/")
    d.add_account("off", "view", "/")
    d.must("POST", "/api/v1/users", {"name": "off", "enabled": False})
    b = d.browser()

    def work(name):
        before = d.cpu()
        assert b.post("/api/v1/login", headers={"Origin": b.base}, json={"name": name, "password": "wrong"}).status_code == 403
        return d.cpu() - before

    spent = {"slow": [], "off": [], "nobody-%d": [], "bad name\x01%d": []}
    for i in range(2):  # three tries of one name are free, and one who is not there has as many names as he wants
        for name, list_ in spent.items():
            list_.append(work(name % i if "%" in name else name))
    least = {name: min(x) for name, x in spent.items()}
    print(least)
    assert min(least.values()) > 0.005, "a password hash is not to be had for less"
    assert max(least.values()) < 5 * min(least.values())


# --- what is refused costs nothing that stays ------------------------------------------------------------------------------

def test_refusals_leave_no_memory_behind():
    """A signature of what was not shown has the list of what would be signed with its refusal: 500 KiB here, forty times."""
    with Drydock(files={f"/d{i % 20}/{i:04}.html": "x" for i in range(2000)}, accounts=()) as d:
        def refused():
            answer = d.api("POST", d.api_site("/sign"), {"paths": ["/"], "recursive": True, "selection": "0" * 64, "note": ""}, expect=409)[1]
            assert answer["selection"]["items"]

        def resident():
            return int(re.search(r"VmRSS:\s*(\d+) kB", pathlib.Path(f"/proc/{d.process.pid}/status").read_text())[1])

        for _ in range(20):  # each worker and the allocator have what they keep
            refused()
        before = resident()
        for _ in range(40):
            refused()
        print("KiB more:", resident() - before)
        # AddressSanitizer keeps for a while what was freed, and looks for what was not at the end (Drydock.close).
        assert resident() - before < 10 * 1024 or b"AddressSanitizer" in pathlib.Path(program()).read_bytes()
