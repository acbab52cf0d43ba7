"""Rules, who gains and loses, explanations, pre-approvals."""
import pytest
from page import Page

RULES, CHECK, EXPLAIN, PRE = "/s/www/rules", "/s/www/rules/check", "/s/www/rules/explain", "/s/www/preapprovals"


@pytest.fixture(scope="module")
def alice(pages):
    return pages.login("alice")


def rules(pages):
    return {(r["principal"], r["path"]): r["role"] for r in pages.must("GET", "/api/v1/sites/www/roles")["items"]}


def ask(browser, principal, path, role):
    """The form that sets a rule, sent: the page that says who gains and loses."""
    page = Page(browser.get(RULES))
    form = next(f for f in page.forms if f.action == CHECK and f.fields.get("role") != "remove")
    return Page(Page.send(browser, form, principal=principal, path=path, role=role))


def test_rules_are_listed_to_who_may_see_their_path(pages, alice):
    page = Page(alice.get(RULES))
    for text in ("own:alice", "own:bob", "own:dora", "/docs", f"unix:{pages.user}"):
        assert text in page.text
    bob = pages.login("bob")
    page = Page(bob.get(RULES))
    assert "own:dora" in page.text and "own:alice" not in page.text
    assert not [f for f in page.forms if f.action in (CHECK, RULES) and f.method == "post"]  # nothing to change
    page = Page(alice.get(RULES, params={"path": "/docs/index.html"}))
    assert "own:bob" in page.text and "own:alice" in page.text
    page = Page(alice.get(RULES, params={"path": "/news"}))
    assert "own:bob" not in page.text


def test_a_rule_is_shown_before_it_is_saved(pages, alice):
    before = rules(pages)
    page = ask(alice, "carol", "/docs/guides", "review")
    assert page.status == 200 and page.h1 == "Give own:carol the role review on /docs/guides"
    assert "own:carol /docs/guides none review gains" in page.text
    assert rules(pages) == before  # nothing yet
    form = page.form(RULES)
    answer = Page.send(alice, form, note="she helps out")
    assert answer.status_code == 303
    assert rules(pages)[("own:carol", "/docs/guides")] == "review"
    page = Page(alice.get(answer.headers["Location"]))
    assert "You gave own:carol the role review on /docs/guides" in page.text
    # the same form again is the same act
    again = Page.send(alice, form, note="she helps out")
    assert again.headers["Location"] == answer.headers["Location"]
    # another request with that id is a conflict
    assert Page.send(alice, form, note="another note").status_code == 409
    # and away with it
    page = Page(alice.get(RULES))
    page = Page(Page.send(alice, page.form(CHECK, principal="own:carol", role="remove")))
    assert page.h1 == "Take away the rule of own:carol on /docs/guides"
    assert "loses" in page.text
    assert Page.send(alice, page.form(RULES)).status_code == 303
    assert ("own:carol", "/docs/guides") not in rules(pages)


def test_what_is_wrong_is_said_beside_the_form(pages, alice):
    for principal, path, role, status, words in (
            ("zed", "/docs", "view", 400, "nobody called"),
            ("", "/docs", "view", 400, "For whom"),
            ("bob", "", "view", 400, "For which path"),
            ("bob", "/docs", "king", 400, "A role is")):
        page = ask(alice, principal, path, role)
        assert page.status == status, (principal, page.text)
        assert words in page.text
        assert page.h1 == "Rules"
    assert ask(alice, "bob", "docs", "view").status == 400


def test_nobody_rises_above_himself(pages):
    before = rules(pages)
    erin = pages.login("erin")
    page = ask(erin, "bob", "/", "view")
    assert page.status in (403, 404)
    page = ask(erin, "bob", "/docs", "sign")
    assert page.status == 200 and page.form(RULES)
    # alice is admin there by a rule on "/": not erin's to lower
    page = ask(erin, "alice", "/docs", "view")
    assert page.status == 200
    assert not [f for f in page.forms if f.action == RULES]
    assert "message" in page.classes and "bad" in page.classes
    forced = erin.post(RULES, data={"principal": "own:alice", "path": "/docs", "role": "view"}, headers={"Origin": erin.base},
                       allow_redirects=False)
    assert forced.status_code == 403
    bob = pages.login("bob")
    assert bob.post(RULES, data={"principal": "own:bob", "path": "/docs", "role": "admin"}, headers={"Origin": bob.base},
                    allow_redirects=False).status_code == 403
    assert rules(pages) == before


def test_without_the_token_nothing_happens(pages, alice):
    before = rules(pages)
    b = pages.login("alice")
    b.csrf = None
    answer = b.post(RULES, data={"principal": "own:bob", "path": "/docs", "role": "admin"}, headers={"Origin": b.base})
    assert answer.status_code == 403
    answer = alice.post(RULES, data={"principal": "own:bob", "path": "/docs", "role": "admin"}, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert alice.get(RULES, params={"principal": "own:bob", "path": "/docs", "role": "admin"}).status_code == 200
    assert rules(pages) == before


def test_explain(pages, alice):
    page = Page(alice.get(EXPLAIN))
    assert "own:alice has the role admin on /" in page.text
    page = Page(alice.get(EXPLAIN, params={"user": "bob", "path": "/docs/index.html"}))
    assert "own:bob has the role view on /docs/index.html" in page.text
    assert "/docs: view – this decided" in page.text
    page = Page(alice.get(EXPLAIN, params={"user": "<script>", "path": "/docs"}))
    assert page.status == 400 and "nobody called “<script>”" in page.text
    bob = pages.login("bob")
    assert "has the role view" in Page(bob.get(EXPLAIN, params={"path": "/docs"})).text
    page = Page(bob.get(EXPLAIN, params={"user": "dora", "path": "/docs"}))
    assert page.status == 403 and "Only an admin" in page.text
    assert bob.get(EXPLAIN, params={"path": "/secret"}).status_code == 404


def test_preapprovals(pages, alice):
    page = Page(alice.get(PRE))
    form = next(f for f in page.forms if f.action == PRE and "remove" not in f.fields)
    answer = Page.send(alice, form, path="/news", note="the news desk\r\npublishes by itself  ")
    assert answer.status_code == 303
    page = Page(alice.get(answer.headers["Location"]))
    assert "You pre-approved /news" in page.text
    items = pages.must("GET", "/api/v1/sites/www/preapprovals")["items"]
    assert [(i["path"], i["user"], i["note"]) for i in items] == [("/news", "own:alice", "the news desk\npublishes by itself")]
    # nobody else's business
    bob = pages.login("bob")
    assert "/news" not in Page(bob.get(PRE)).text
    for path, status in (("/docs", 403), ("/news", 404)):
        answer = bob.post(PRE, data={"path": path}, headers={"Origin": bob.base}, allow_redirects=False)
        assert answer.status_code == status, path
    # wrong forms keep what was typed
    answer = Page(Page.send(alice, form, path="", note="kept"))
    assert answer.status == 400 and "Which file or directory" in answer.text
    assert next(f for f in answer.forms if f.action == PRE and "remove" not in f.fields).fields["note"] == "kept"
    assert Page.send(alice, form, path="/docs", note="x" * 9000).status_code == 400
    page = Page(alice.get(PRE))
    assert Page.send(alice, page.form(PRE, remove="1", path="/news")).status_code == 303
    assert pages.must("GET", "/api/v1/sites/www/preapprovals")["items"] == []
    again = Page(alice.get(PRE))
    assert "Nothing is pre-approved" in again.text


def test_preapprovals_by_name_and_size(pages, alice):
    form = next(f for f in Page(alice.get(PRE)).forms if f.action == PRE and "remove" not in f.fields)
    answer = Page(Page.send(alice, form, path="/news", pattern="a/b", largest="2MiB", until="90d"))
    assert answer.status == 400 and "no slash" in answer.text
    kept = next(f for f in answer.forms if f.action == PRE and "remove" not in f.fields)
    assert [kept.fields[k] for k in ("path", "pattern", "largest", "until")] == ["/news", "a/b", "2MiB", "90d"]
    assert Page.send(alice, form, path="/news", pattern="*<i>.jpg", largest="2MiB", until="90d").status_code == 303
    page = Page(alice.get(PRE))
    assert "*<i>.jpg, at most 2MiB" in page.text
    assert Page.send(alice, page.form(PRE, remove="1", path="/news")).status_code == 303
    assert pages.must("GET", "/api/v1/sites/www/preapprovals")["items"] == []
