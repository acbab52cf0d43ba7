"""Characters that cannot be seen, or that reorder what is around them, are told where people read, and unharmed where
programs do: two names that look the same are told apart, and a difference hides nothing."""
import re

import pytest

from drydock import Drydock
from page import Page

NAMES = {"/odd/photo\u202egpj.html": "U+202E", "/odd/in\u200bdex.html": "U+200B", "/odd/so\u00adft.html": "U+00AD", "/odd/\ufeffbom.html": "U+FEFF", "/odd/a\u2066b\u2069.html": "U+2066"}
SEEN = {"/odd/צ\u200dא.html": "צ\u200dא", "/odd/rl\u200fm.html": "rl\u200fm", "/odd/é漢😀.html": "é漢😀"}


@pytest.fixture(scope="module")
def odd():
    with Drydock(files={**{p: "<p>one</p>" for p in (*NAMES, *SEEN)}, "/odd/source.js": "if (a) { allow(); }\n"}) as d:
        d.sign("/odd/source.js")
        d.write("/odd/source.js", "if (a) { allow(); }\n/* \u202e } \u2066if (admin)\u2069 */\n")
        yield d


def test_lists_tell(odd):
    page = Page(odd.login().get("/s/www/tree/odd"))
    for path, told in NAMES.items():
        assert f"[{told}]" in page.text
        assert path.split("/")[2] not in page.text
    for name in SEEN.values():
        assert name in page.text
    # what goes back to the server is the name itself
    sent = {value.split("/")[-1] for value in re.findall(r'name="?path\[\]"? value="([^"]*)"', page.source)}
    assert {path.split("/")[-1] for path in (*NAMES, *SEEN)} <= sent


def test_a_file_with_such_a_name_is_signed(odd):
    alice = odd.login()
    for path in (next(iter(NAMES)), next(iter(SEEN))):
        page = Page(alice.get("/s/www/file" + path))
        r = page.send(alice, page.form("/s/www/sign"), note="a note with \u202e in it")
        assert r.status_code == 303, r.text
        assert odd.file(path)["state"] == "signed"
    page = Page(alice.get("/s/www/history?path=/odd"))
    assert "a note with [U+202E] in it" in page.text and "\u202e" not in page.text
    assert odd.records(limit=1)[0]["note"] == "a note with \u202e in it"


def test_differences_tell(odd):
    source = odd.login().get("/s/www/file/odd/source.js").text
    assert "\u202e" not in source and "\u2066" not in source
    for told in ("U+202E", "U+2066", "U+2069"):
        assert f'<b class="unseen">[{told}]</b>' in source
