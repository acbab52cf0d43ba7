"""Signing several files in a browser: what is shown is what is signed, and links lead somewhere."""
import pytest
from drydock import Drydock
from page import Page

TREE, CONFIRM, SIGN = "/s/www/tree/", "/s/www/confirm", "/s/www/sign"


@pytest.fixture
def site():
    with Drydock(files={"/docs/a.html": "a", "/docs/b.html": "b", "/docs/c.html": "c", "/index.html": "i"}, accounts=("alice",)) as d:
        d.must("POST", "/api/v1/sites/www/sign", {"paths": ["/docs/a.html"], "as_staged": True})
        yield d


def states(d):
    items = d.must("GET", "/api/v1/sites/www/status?recursive=1")["items"]
    return {f["path"]: f["state"] for f in items if f["type"] == "file"}


def confirm(browser, directory, ticked, act="sign"):
    page = Page(browser.get(f"/s/www/tree{directory}"))
    form = page.form(CONFIRM)
    assert form.fields["path[]"] == []  # nothing is ticked at first
    return Page(Page.send(browser, form, **{"path[]": ticked, "act": act}))


def test_ticking_everything_signs_what_can_be_signed(site):
    alice = site.login("alice")
    page = confirm(alice, "/docs", ["/docs/a.html", "/docs/b.html", "/docs/c.html"])
    assert page.h1 == "Sign 2 files"
    assert "1 file that you ticked is left as it is: signed already" in page.text
    form = page.form(SIGN)
    assert form.fields["path[]"] == ["/docs/b.html", "/docs/c.html"]
    answer = Page.send(alice, form, note="both")
    assert answer.status_code == 303
    assert "You signed 2 files" in Page(alice.get(answer.headers["Location"])).text or answer.headers["Location"].startswith("/s/www/tree/docs")
    assert states(site) == {"/docs/a.html": "signed", "/docs/b.html": "signed", "/docs/c.html": "signed", "/index.html": "unsigned"}
    again = confirm(alice, "/docs", ["/docs/a.html"])
    assert again.status == 400 and "nothing to sign" in again.text.lower()


def test_what_changed_meanwhile_is_not_signed(site):
    alice = site.login("alice")
    form = confirm(alice, "/docs", ["/docs/b.html", "/docs/c.html"]).form(SIGN)
    site.write("/docs/c.html", "changed while she read")
    page = Page(Page.send(alice, form, note="my words"))
    assert page.status == 409
    assert "Nothing was recorded" in page.text
    assert states(site)["/docs/b.html"] == "unsigned"
    again = page.form(SIGN)
    assert again.fields["note"].strip() == "my words"
    assert again.fields["selection"] != form.fields["selection"]
    assert Page.send(alice, again).status_code == 303
    assert states(site)["/docs/c.html"] == "signed"


def test_everything_below_and_a_state(site):
    alice = site.login("alice")
    page = Page(alice.get(TREE))
    page = Page(Page.send(alice, page.form(CONFIRM), all="sign"))
    assert page.h1 == "Sign 3 files" and "new in production" in page.text
    assert Page.send(alice, page.form(SIGN)).status_code == 303
    assert set(states(site).values()) == {"signed"}
    page = Page(alice.get(TREE + "?show=signed"))
    page = Page(Page.send(alice, page.form(CONFIRM), all="revoke"))
    assert page.h1 == "Revoke 4 files"
    assert Page.send(alice, page.form("/s/www/revoke"), note="all out").status_code == 303
    assert set(states(site).values()) == {"revoked"}


def test_a_file_that_is_signed_is_not_offered_for_signing_again(site):
    alice = site.login("alice")
    page = Page(alice.get("/s/www/file/docs/a.html"))
    assert SIGN not in [f.action for f in page.forms]
    assert "/s/www/review" in [f.action for f in page.forms]
    page = Page(alice.get("/s/www/file/docs/b.html"))
    assert Page.send(alice, page.form(SIGN)).status_code == 303
    # the form of an old page: the bytes moved on
    site.write("/docs/b.html", "new")
    page = Page(alice.get("/s/www/file/docs/b.html"))
    site.write("/docs/b.html", "newer")
    answer = Page(Page.send(alice, page.form(SIGN), note="kept"))
    assert answer.status == 409 and "Nothing was recorded" in answer.text
    assert answer.form(SIGN).fields["note"].strip() == "kept"


def test_no_link_leads_nowhere(site):
    alice = site.login("alice")
    seen, wait = set(), ["/"]
    while wait:
        address = wait.pop()
        if address in seen or len(seen) > 150:
            continue
        seen.add(address)
        answer = alice.get(address)
        assert answer.status_code == 200, address
        if not answer.headers["Content-Type"].startswith("text/html"):
            continue
        page = Page(answer)
        for link in page.links:
            link = link.split("#")[0]
            if link.startswith("?"):
                link = address.split("?")[0] + link
            if link.startswith("/"):
                wait.append(link)
    assert {"/s/www/sync", "/s/www/rules", "/account", "/s/www/history?path=%2Fdocs%2F"} <= seen, sorted(seen)
