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
