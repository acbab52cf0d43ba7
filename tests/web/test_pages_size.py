"""Every page stays below 50 kB, however much there is to list, and nothing of it is lost: the next page has the rest."""
import urllib.parse

import pytest
from drydock import Drydock
from page import Page

LIMIT = 50_000
LONG = "a-rather-long-name-of-a-page-as-people-make-them-{:03}-with-a-date-2026-11-21-and-ümläuts-&-more.html"


@pytest.fixture(scope="module")
def site():
    files = {f"/short/page-{i:03}.html": f"short {i}" for i in range(200)}
    files |= {"/long/deep/" + LONG.format(i): f"long {i}" for i in range(260)}
    files |= {f"/dirs/d{i:03}/x.html": f"dir {i}" for i in range(220)}
    files |= {"/quotes/" + "'\"<&>" * 40 + f"{i:02}": "q" for i in range(40)}
    with Drydock(files=files, accounts=("alice",)) as d:
        yield d


def walk(browser, address):
    """All pages of a list: [(page, size)]."""
    pages = []
    while address:
        answer = browser.get(address)
        assert answer.status_code == 200
        assert len(answer.content) < LIMIT, (address, len(answer.content))
        page = Page(answer)
        pages.append(page)
        assert len(pages) < 100
        pager = page.source[page.source.index('<nav class="pager"'):]
        following = [link for link in Page(pager[:pager.index("</nav>") + 6]).links if "after=" in link or "from=" in link]
        address = following[-1] if following else None
    return pages


def rows(page):
    """The values of the boxes: what can be selected."""
    return page.source.count("name=path[]")


@pytest.mark.parametrize("directory, files", [("/short", 200), ("/long/deep", 260), ("/dirs", 220), ("/quotes", 40)])
@pytest.mark.parametrize("query", ["", "?sort=-size", "?show=unsigned", "?q=1"])
def test_lists(site, directory, files, query):
    alice = site.login("alice")
    pages = walk(alice, f"/s/www/tree{directory}{query}")
    shown = sum(rows(p) for p in pages)
    if query in ("", "?sort=-size"):
        assert shown == files
    if directory == "/short" and query == "":
        assert len(pages) == 1  # 200 entries of ordinary names are one page


def test_signed_files_too(site):
    site.must("POST", "/api/v1/sites/www/sign", {"paths": ["/short", "/quotes"], "recursive": True, "as_staged": True})
    alice = site.login("alice")
    for directory, files in (("/short", 200), ("/quotes", 40)):
        assert sum(rows(p) for p in walk(alice, f"/s/www/tree{directory}")) == files
    site.must("POST", "/api/v1/sites/www/revoke", {"paths": ["/short", "/quotes"], "recursive": True, "as_staged": True})


def test_the_page_before_a_batch_has_all_files_a_part_at_a_time(site):
    alice = site.login("alice")
    tree = Page(alice.get("/s/www/tree/long/deep"))
    answer = Page.send(alice, tree.form("/s/www/confirm"), all="sign")
    seen = []
    for part in range(20):
        assert answer.status_code == 200 and len(answer.content) < LIMIT, len(answer.content)
        page = Page(answer)
        assert page.h1 == "Sign 260 files"
        seen += [link for link in page.links if link.startswith("/s/www/file/long")]
        form = page.form("/s/www/sign")
        following = [v for name, v in form.buttons if name == "from" and v != "0"]
        if not following:
            break
        digest = form.fields["selection"]
        fields = {**form.fields, "note": "typed before", "from": following[0]}
        answer = alice.post("/s/www/confirm", data=fields, headers={"Origin": alice.base}, allow_redirects=False)
        assert Page(answer).form("/s/www/sign").fields["selection"] == digest
        assert Page(answer).form("/s/www/sign").fields["note"].strip() == "typed before"
    assert len(seen) == len(set(seen)) == 260 and part > 0
    # the last part signs all of them
    assert Page.send(alice, form).status_code == 303
    assert site.status("/long")["counts"]["signed"] == 260


def test_the_list_changes_between_two_parts(site):
    alice = site.login("alice")
    tree = Page(alice.get("/s/www/tree/dirs"))
    page = Page(Page.send(alice, tree.form("/s/www/confirm"), all="sign"))
    form = page.form("/s/www/sign")
    following = [v for name, v in form.buttons if name == "from" and v != "0"]
    assert following
    site.write("/dirs/d000/x.html", "moved on")
    answer = alice.post("/s/www/confirm", data={**form.fields, "from": following[0]}, headers={"Origin": alice.base})
    assert "have changed since the list was shown" in Page(answer).text
    assert Page(answer).form("/s/www/sign").fields["selection"] != form.fields["selection"]


def test_links_of_a_list_lead_to_its_files(site):
    """They are relative to the page; a file's leads on to its page, and no name of a file makes it lead elsewhere."""
    site.write("/odd/javascript:alert(1)", "x")
    site.write("/odd/..hidden", "x")
    site.write("/odd/a b?c#d%41.html", "x")
    site.write("/odd/sub:dir/y.html", "y")
    alice = site.login("alice")
    for address in ("/s/www/tree/odd", "/s/www/tree/odd/"):
        page = Page(alice.get(address))
        table = page.source[page.source.index("<tbody>"):page.source.index("</tbody>")]
        links = Page(table.replace("<tbody>", "<table><tbody>") + "</tbody></table>").links
        assert len(links) == 4
        found = {urllib.parse.unquote(alice.get(urllib.parse.urljoin(alice.base + address, link)).url[len(alice.base):]) for link in links}
        assert found == {"/s/www/file/odd/javascript:alert(1)", "/s/www/file/odd/..hidden", "/s/www/file/odd/a b?c#d%41.html", "/s/www/tree/odd/sub:dir/"}
    # and what is ticked is a name in that directory
    form = Page(alice.get("/s/www/tree/odd")).form("/s/www/confirm")
    page = Page(Page.send(alice, form, **{"path[]": ["javascript:alert(1)", "sub:dir"], "act": "sign"}))
    assert page.h1 == "Sign 2 files"
    for bad in ("../short", "..", "a/../../x", "."):
        assert Page.send(alice, form, **{"path[]": [bad], "act": "sign"}).status_code in (400, 404)
