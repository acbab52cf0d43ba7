"""Every row of the route tables against everybody: made from the tables themselves, so that a new row is tested too."""
import pathlib
import re

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
ROW = re.compile(r'^\s*ROUTE\(METHOD_(\w+), "([^"]+)", ROLE_(\w+), ([^,]+),', re.M)
FILL = {":site": "www", ":seq": "1", ":run": "1", ":number": "1", ":target": "production", ":group": "editors", ":op": "5d1c2e1e-0000-4000-8000-000000000001",
        ":id": "5d1c2e1e-0000-4000-8000-000000000001", "*path": "docs/index.html"}
NONE = {**FILL, ":site": "none"}


def rows():
    found = []
    for name in ("pages", "api"):
        text = (TOP / "server/web" / name / "routes.def").read_text()
        found += [(m, a, r, {n.strip() for n in needs.split("|")}) for m, a, r, needs in ROW.findall(text)]
    return found


ROWS = rows()
SITE = [r for r in ROWS if ":site" in r[1]]
WRITES = [r for r in ROWS if r[0] != "GET"]
name_of = lambda row: f"{row[0]} {row[1]}"


def address(row, fill=FILL):
    out = row[1]
    for k, v in fill.items():
        out = out.replace(k, v)
    return out


def ask(b, row, fill=FILL, **kw):
    """The status, without waiting for the end of a stream."""
    r = b.request(row[0], address(row, fill), allow_redirects=False, stream=True, timeout=30, **kw)
    status, headers = r.status_code, r.headers
    r.close()
    return status, headers


def history(d):
    return d.must("GET", "/api/v1/sites/www/log?limit=1")["items"][0]["seq"]


@pytest.fixture(scope="module")
def people(drydock):
    return {name: drydock.login(name) for name in ("alice", "bob", "carol")}


def test_there_are_rows():
    assert len(ROWS) > 40 and len(WRITES) > 10


@pytest.mark.parametrize("row", [r for r in ROWS if "NEED_NO_SESSION" not in r[3]], ids=name_of)
def test_nobody(drydock, row):
    status, headers = ask(drydock.browser(), row)
    if {"ROUTE_API", "ROUTE_STREAM"} & row[3]:
        assert status == 401
    else:
        assert status == 303 and headers["Location"].startswith("/login")


@pytest.mark.parametrize("row", SITE, ids=name_of)
def test_somebody_without_a_role(people, row):
    assert ask(people["carol"], row)[0] == 404
    assert ask(people["carol"], row, NONE)[0] == 404, "the same as for a site that does not exist"


@pytest.mark.parametrize("row", [r for r in ROWS if "ROUTE_ANY_SITE_ADMIN" in r[3]], ids=name_of)
def test_installation_wide(people, row):
    assert ask(people["bob"], row)[0] == 403
    assert ask(people["carol"], row)[0] == 403


@pytest.mark.parametrize("row", [r for r in SITE if "NEED_SITE_ADMIN" in r[3]], ids=name_of)
def test_whole_site(people, row):
    assert ask(people["bob"], row)[0] == 403
    assert ask(people["alice"], row)[0] not in (401, 403)


@pytest.mark.parametrize("row", WRITES, ids=name_of)
def test_writes_from_elsewhere(drydock, people, row):
    assert ask(people["alice"], row, headers={"Origin": "http://evil.example"})[0] == 403
    assert ask(people["alice"], row, headers={"Sec-Fetch-Site": "cross-site"})[0] == 403
    if "NEED_CSRF" in row[3]:
        assert ask(people["alice"], row, headers={"X-CSRF-Token": "x" * 43})[0] == 403
        assert ask(people["alice"], row, headers={"X-CSRF-Token": people["bob"].csrf})[0] == 403


@pytest.mark.parametrize("row", [r for r in WRITES if ":site" in r[1]], ids=name_of)
def test_a_viewer_changes_nothing(drydock, people, row):
    """bob may view /docs: no write of his is more than a refusal, whatever it is about."""
    before = history(drydock)
    paths = ["/docs", "/docs/index.html"]
    bodies = [{}, {"paths": paths, "recursive": True, "as_staged": True, "note": "n", "reason": "r"},
              {"path": "/docs", "principal": "own:bob", "role": "admin", "note": "n"}, {"path": "/", "note": "n", "remove": False}]
    for body in bodies:
        status, _ = ask(people["bob"], row, json=body)
        # looking at a selection is reading, and so is what a change of rules would do
        assert 400 <= status < 500 or row[1].endswith(("/selection", "/review", "/check", "/confirm")), (row, body, status)
    form = {"op": "00000000-0000-4000-8000-000000000000", "path": "/docs", "principal": "own:bob", "role": "admin", "note": "n", "reason": "r"}
    status, _ = ask(people["bob"], row, data=form)
    assert 400 <= status < 500 or row[1].endswith(("/check", "/confirm")), (row, status)
    assert history(drydock) == before


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_other_methods(people, row):
    fits = lambda pattern: re.fullmatch(re.sub(r"\*path", ".*", re.sub(r":\w+", "[^/]+", pattern)), address(row))
    takes = {m for m, a, _, _ in ROWS if fits(a)}
    for method in {"GET", "POST", "PUT", "DELETE"} - takes:
        status, headers = ask(people["alice"], (method, row[1]))
        assert status == 405
        assert set(headers["Allow"].replace("GET, HEAD", "GET").split(", ")) == takes
