"""History and records: who sees what, filters, paging, CSV and JSON of exactly what is shown."""
import csv
import io
import re
import uuid

import pytest
from drydock import Drydock
from page import Page


@pytest.fixture(scope="module")
def alice(pages):
    return pages.login("alice")


@pytest.fixture(scope="module")
def bob(pages):
    return pages.login("bob")


def records(page):
    """The numbers of the records that a page shows, in order."""
    return [int(n) for n in re.findall(r'<a class="quiet" href="/s/www/record/(\d+)"', page.source)]


def history(browser, **query):
    return Page(browser.get("/s/www/history", params=query))


def test_all_of_it_for_an_admin(pages, alice):
    page = history(alice)
    assert page.status == 200 and page.h1 == "History of www"
    seen = records(page)
    assert seen == sorted(seen, reverse=True) and seen[-1] == 1
    assert {pages.signed, pages.reviewed, pages.revoked, pages.secret} <= set(seen)
    assert "second <b>line</b>" in page.text  # as text
    assert "<b>line" not in page.source
    assert "<script>alert(1)<.html" in page.text


def test_others_see_their_paths_only(pages, bob):
    page = history(bob)
    assert pages.signed in records(page)
    assert not {pages.secret, pages.reviewed, pages.revoked} & set(records(page))
    for hidden in ("/secret", "plan.html", "style.css", "/index.html "):
        assert hidden not in page.text.replace("/docs/index.html", ""), hidden
    # three of the five files are his: the five are nobody's business
    assert "5 files" not in page.text and "3 files" in page.text
    record = Page(bob.get(f"/s/www/record/{pages.signed}"))
    assert record.status == 200
    assert "/docs/index.html" in record.text and "style.css" not in record.text
    assert "Files 5" not in record.text
    assert not [link for link in record.links if link.endswith(f"/record/{pages.secret}")]
    assert bob.get(f"/s/www/record/{pages.secret}").status_code == 404
    assert bob.get(f"/s/www/record/{pages.revoked}").status_code == 404
    assert bob.get("/s/www/history?path=/secret").status_code == 404


def test_filters(pages, alice):
    assert records(history(alice, act="revoke")) == [pages.revoked]
    assert records(history(alice, path="/style.css")) == [pages.revoked, pages.signed]
    assert records(history(alice, path="/docs/")) == records(history(alice, path="/docs")) == [pages.signed]
    assert records(history(alice, since="2w", until="2w")) == []
    assert pages.signed in records(history(alice, since="1h"))
    assert records(history(alice, path="", act="", user="", since="", until="")) == records(history(alice))
    # who acted: over the local socket it is the daemon's own user
    mine = records(history(alice, user=f"unix:{pages.user}", act="sign"))
    assert mine == [pages.secret, pages.signed]
    # Written out, somebody who is no longer there can be asked for; a bare name has to be somebody's.
    for name, status in (("own:gone", 200), ("unix:was-here-once", 200), ("was-here-once", 400)):
        assert alice.get("/s/www/history", params={"user": name}).status_code == status, name


def test_wrong_filters_say_so_and_keep_what_was_typed(alice):
    for query, word in (({"act": "erase"}, "erase"), ({"since": "yesterdy"}, "Since"), ({"until": "2026-13-40"}, "Until"),
                        ({"user": "zz<top>"}, "zz<top>")):
        page = history(alice, **query)
        assert page.status == 400, query
        assert word in page.text
        name, value = next(iter(query.items()))
        assert name == "act" or page.form("/s/www/history").fields[name] == value
    assert alice.get("/s/www/history?path=docs").status_code == 400
    assert alice.get("/s/www/history?path=/../etc").status_code == 400


def test_csv_and_json_are_what_is_shown(pages, alice, bob):
    for browser in (alice, bob):
        page = history(browser)
        links = {fmt: next(a for a in page.links if f"format={fmt}" in a) for fmt in ("csv", "json")}
        answer = browser.get(links["csv"])
        assert answer.headers["Content-Type"].startswith("text/csv")
        assert "attachment" in answer.headers["Content-Disposition"]
        rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
        assert list(dict.fromkeys(int(row["record"]) for row in rows)) == records(page)
        items = browser.get(links["json"]).json()["items"]
        assert [item["seq"] for item in items] == records(page)
        files = [(item["seq"], f["path"], f["md5"], f["sha256"]) for item in items for f in item["files"]]
        assert files == [(int(r["record"]), r["path"], r["md5"], r["sha256"]) for r in rows if r["path"]]


def test_csv_runs_nothing_in_a_spreadsheet(pages, alice):
    text = alice.get("/s/www/history?act=revoke&format=csv").text
    row = next(csv.DictReader(io.StringIO(text, newline="")))
    assert row["note"] == "'=HYPERLINK(1)"
    for line in csv.reader(io.StringIO(alice.get("/s/www/history?format=csv").text, newline="")):
        for value in line:
            assert not value or value[0] not in "=+-@\t\r\n", value


def test_paging_shows_each_act_once(pages, alice):
    for n in range(55):
        pages.must("POST", "/api/v1/sites/www/review", {"paths": ["/index.html"], "as_staged": True, "note": f"round {n}",
                                                       "id": str(uuid.uuid4())})
    seen, address = [], "/s/www/history?path=/index.html&act=review"
    for _ in range(10):
        page = Page(alice.get(address))
        seen += records(page)
        more = [a for a in page.links if "before=" in a and "format" not in a]
        if not more:
            break
        address = more[0]
        assert "path=%2Findex.html" in address or "path=/index.html" in address
        assert "act=review" in address
    assert len(seen) == 56 == len(set(seen))
    assert seen == sorted(seen, reverse=True)


def test_record_page(pages, alice):
    page = Page(alice.get(f"/s/www/record/{pages.signed}"))
    assert page.h1 == f"Record {pages.signed}"
    assert "signed 5 files" in page.text and "Files 5" in page.text
    api = pages.must("GET", f"/api/v1/sites/www/records/{pages.signed}")
    for f in api["files"]:
        assert f["sha256"] in page.text and f["md5"] in page.text
    for value in (api["record_sha256"], api["commit"], api["op"]):
        assert value in page.text
    raw = alice.get(next(a for a in page.links if "format=raw" in a))
    assert raw.json()["seq"] == pages.signed
    assert "attachment" in raw.headers["Content-Disposition"]
    assert pages.login("dora").get(f"/s/www/record/{pages.signed}?format=raw").status_code == 403


def test_records_that_are_not_there(alice):
    for address in ("/s/www/record/999999", "/s/www/record/0", "/s/www/record/x", "/s/www/record/-1"):
        answer = alice.get(address)
        assert answer.status_code == 404
        assert Page(answer).h1


def test_a_name_that_was_a_file_and_is_a_directory():
    with Drydock(files={"/a": "file", "/b/x": "in b"}, accounts=("alice",)) as d:
        sign = lambda *paths: d.must("POST", "/api/v1/sites/www/sign",  # noqa: E731
                                     {"paths": list(paths), "recursive": True, "as_staged": True})["seq"]
        first = sign("/a", "/b")
        d.remove("/a")
        d.remove("/b")
        d.write("/b", "now a file")
        d.write("/a/x", "now below a directory")
        second = sign("/a", "/b")
        alice = d.login("alice")
        for path in ("/a", "/b"):
            page = history(alice, path=path)
            other = next(a for a in page.links if "below=" in a)
            both = records(page) + records(Page(alice.get(other)))
            assert {first, second} <= set(both), (path, both)
