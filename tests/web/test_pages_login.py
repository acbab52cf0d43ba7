"""Login, logout and the account page, as a browser meets them."""
import re

from drydock import PASSWORD
from page import Page


def log_in(d, name="alice", password=PASSWORD, next_="/s/www/history", **kw):
    b = d.browser()
    page = Page(b.get("/login"))
    return b, Page.send(b, page.form("/login"), name=name, password=password, next=next_, **kw)


def account(b):
    return Page(b.get("/account"))


def test_pages_lead_to_login_and_back(pages):
    b = pages.browser()
    answer = b.get("/s/www/history?path=/docs/&act=sign", allow_redirects=False)
    assert answer.status_code == 303
    page = Page(b.get(answer.headers["Location"]))
    assert page.h1 == "Log in to DryDock"
    assert page.form("/login").fields["next"] == "/s/www/history?path=/docs/&act=sign"
    assert "Home" not in page.text  # nobody: no navigation
    answer = Page.send(b, page.form("/login"), name="alice", password=PASSWORD)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/s/www/history?path=/docs/&act=sign")
    assert Page(b.get("/login")).h1 != "Log in to DryDock"  # already in


def test_wrong_password_keeps_the_name(pages):
    name = '"><script>alert(1)</script>'
    _, answer = log_in(pages, name, "wrong password")
    page = Page(answer)
    assert page.status == 403
    assert page.form("/login").fields["name"] == name
    assert "Name or password is wrong" in page.text
    assert "Set-Cookie" not in answer.headers


def test_something_is_missing(pages):
    for fields in ({"name": ""}, {"password": ""}):
        _, answer = log_in(pages, **fields)
        assert answer.status_code == 400
        assert "Enter your name and your password" in Page(answer).text


def test_cookie(pages):
    _, answer = log_in(pages)
    cookie = answer.headers["Set-Cookie"]
    assert re.search(r"(?i);\s*HttpOnly", cookie) and re.search(r"(?i);\s*SameSite=Lax", cookie)


def test_next_stays_here(pages):
    for elsewhere in ("//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "/a\tb", ""):
        _, answer = log_in(pages, next_=elsewhere)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/"), elsewhere


def test_login_from_another_site_is_refused(pages):
    b = pages.browser()
    answer = b.post("/login", data={"name": "alice", "password": PASSWORD}, headers={"Origin": "https://evil.example"},
                    allow_redirects=False)
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers


def test_logout_ends_the_session(pages):
    b, _ = log_in(pages)
    cookies = dict(b.cookies)
    page = account(b)
    bad = b.post("/logout", data={"csrf": "x" * 43}, headers={"Origin": b.base}, allow_redirects=False)
    assert bad.status_code == 403
    assert account(b).h1 == "Your account"
    answer = Page.send(b, page.form("/logout"))
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")
    old = pages.browser()
    old.cookies.update(cookies)
    assert old.get("/account", allow_redirects=False).status_code == 303  # the old cookie is worth nothing


def test_login_again_ends_the_old_session(pages):
    b, _ = log_in(pages)
    old = pages.browser()
    old.cookies.update(dict(b.cookies))
    b.post("/login", data={"name": "bob", "password": PASSWORD}, headers={"Origin": b.base})
    assert "own:bob" in account(b).text
    assert old.get("/account", allow_redirects=False).status_code == 303


def test_account_and_sessions(pages):
    one, _ = log_in(pages, "dora")
    two, _ = log_in(pages, "dora")
    other, _ = log_in(pages, "erin")
    page = account(one)
    assert "own:dora" in page.text and "this one" in page.text
    assert "/s/www/" in page.links
    ends = [f for f in page.forms if f.action == "/account/sessions" and "id" in f.fields]
    assert ends  # of the other session
    # somebody else's session cannot be ended, whoever knows its id
    theirs = [f.fields["id"] for f in account(other).forms if "id" in f.fields]
    mine = {f.fields["id"] for f in ends}
    for session in theirs:
        assert session not in mine
        Page.send(one, ends[0], id=session)
    assert account(other).h1 == "Your account"
    for form in ends:
        assert Page.send(one, form).status_code == 303
    assert two.get("/account", allow_redirects=False).status_code == 303
    assert account(one).h1 == "Your account"
    answer = Page.send(one, page.form("/account/sessions", all="1"))
    assert answer.headers["Location"] == "/login"
    assert one.get("/account", allow_redirects=False).status_code == 303


def test_somebody_without_a_role(pages):
    b, _ = log_in(pages, "carol")
    assert "No site is open to you" in account(b).text
    for address in ("/s/www/history", "/s/www/rules", "/s/www/preapprovals", f"/s/www/record/{pages.signed}", "/s/none/history"):
        answer = b.get(address)
        assert answer.status_code == 404, address
        assert "www" not in Page(answer).h1
