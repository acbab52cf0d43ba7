import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))

from drydock import Drydock  # noqa: E402

PAGES = {
    "/index.html": "<!doctype html><link rel=stylesheet href=/style.css><h1>Home</h1><a href=/docs/>docs</a>",
    "/style.css": "h1 { color: green }",
    "/docs/index.html": "<h1>Docs</h1>",
    "/docs/a b&c.html": "<h1>odd name</h1>",
    "/secret/plan.html": "<h1>Secret</h1>",
}


@pytest.fixture(scope="session")
def drydock():
    """One server for the tests that do not stop it. alice: admin; bob: view on /docs; nobody: no role."""
    with Drydock(files=PAGES, accounts=("alice",), demo=True,
                 config='header_deadline = "2s"\nbody_deadline = "3s"\nidle = "3s"\nconnections = 2200\nconnections_per_address = 2200\n') as d:
        d.add_account("bob", "view", "/docs")
        d.add_account("carol", None)
        yield d


@pytest.fixture(scope="session")
def pages():
    """A site with some history, for the tests of pages. alice: admin; bob: view on /docs; carol: no role; dora: signs
    in /docs; erin: admin of /docs. What they see of it: record `signed` of five files, `revoked` of /style.css."""
    files = {**PAGES, "/docs/<script>alert(1)</script>.html": "x", "/news/one.html": "<h1>one</h1>"}
    files = {path.replace("</script>", "<"): content for path, content in files.items()}
    with Drydock(files=files, accounts=("alice",)) as d:
        d.add_account("bob", "view", "/docs")
        d.add_account("carol", None)
        d.add_account("dora", "sign", "/docs")
        d.add_account("erin", "admin", "/docs")
        act = lambda what, **body: d.must("POST", f"/api/v1/sites/www/{what}", {"as_staged": True, **body})["seq"]  # noqa: E731
        d.signed = act("sign", paths=["/docs", "/index.html", "/style.css"], recursive=True, note="first line\nsecond <b>line</b>")
        d.secret = act("sign", paths=["/secret/plan.html"], note="only for some")
        d.reviewed = act("review", paths=["/index.html"])
        d.write("/docs/index.html", "<h1>Docs, new</h1>")
        d.revoked = act("revoke", paths=["/style.css"], note="=HYPERLINK(1)")
        yield d
