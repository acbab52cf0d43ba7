"""doc/openapi.json names exactly the addresses of the route table, and doc/api.md names each of them."""

import json
import pathlib
import re

TOP = pathlib.Path(__file__).resolve().parents[2]
ROW = re.compile(r'^ROUTE\(METHOD_(\w+), "/?([^"]+)"', re.M)


def rows():
    text = (TOP / "server/web/api/routes.def").read_text()
    found = {(method.lower(), "/" + re.sub(r":(\w+)", r"{\1}", address)) for method, address in ROW.findall(text)}
    assert len(found) > 20
    return found


def test_openapi_has_every_row():
    paths = json.loads((TOP / "doc/openapi.json").read_text())["paths"]
    described = {(method, address) for address, methods in paths.items() for method in methods}
    assert described == rows()


def test_every_reference_resolves():
    text = (TOP / "doc/openapi.json").read_text()
    schemas = json.loads(text)["components"]["schemas"]
    used = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert used <= schemas.keys()


def test_the_page_for_people_names_every_address():
    page = (TOP / "doc/api.md").read_text()
    for _, address in rows():
        last = [part for part in address.split("/") if part and not part.startswith("{")][-1]
        assert "/" + last in page, f"doc/api.md does not speak of {address}"
