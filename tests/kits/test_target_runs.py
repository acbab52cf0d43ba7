"""The history of one target: its runs and what became of each there, in the API, on its page and on the terminal; who is told what."""
import json
import pathlib
import subprocess
import sys

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))
sys.path.insert(0, str(TOP / "tests" / "kits"))

from drydock import Drydock, program  # noqa: E402
from page import Page  # noqa: E402
from test_kits import COPY, PAGES, add_target, write_kit  # noqa: E402
from waiting import until  # noqa: E402

SENTENCE = "the far side said no to /docs/b.html"


@pytest.fixture(scope="module")
def world():
    """production takes every release, odd fails the first two and lies once; then 19 more go to production and odd."""
    with Drydock(files=PAGES, accounts=(), start=False) as d:
        write_kit(d, "odd", f'#!/bin/sh\necho tried >>"$DRYDOCK_PLACE/.tries"\ncase $(wc -l <"$DRYDOCK_PLACE/.tries") in\n'
                            f'1 | 2) echo \'{{"error":"{SENTENCE}"}}\'; exit 3 ;;\n3) exit 0 ;;\nesac\n{COPY}')
        add_target(d, "odd", "odd")
        add_target(d, "idle", "odd")
        d.start()
        d.add_account("alice", role="admin")
        d.add_account("carl", role="view", path="/index.html")
        d.add_account("nora", role=None)
        yield d


def runs(d, **query):
    tail = "&".join(f"{k}={v}" for k, v in query.items())
    return d.must("GET", d.api_site("/sync/runs" + ("?" + tail if tail else "")))


def history(d, name):
    """What the list of all runs and each run's own answer say of a target: the newest first."""
    out = []
    for run in runs(d, limit=500)["items"]:
        there = {t["name"]: t["state"] for t in d.must("GET", d.api_site(f"/sync/runs/{run['run']}"))["targets"]}
        if name in there:
            out.append((run["run"], there[name]))
    return out


def listed(page):
    return [(item["run"], item["target"]["state"]) for item in page["items"]]


def test_nothing_yet(world):
    d = world
    assert runs(d, target="odd") == {"items": []}
    page = Page(d.login("alice").get("/s/www/targets/odd"))
    assert page.status == 200 and page.h1 == "Target odd"
    assert "No sync has sent anything to it yet." in page.text and "It is not known to hold any release." in page.text
    assert d.cli("sync", "log", "--target", "odd").stdout == "No run has sent anything to odd yet.\n"


def test_each_target_has_its_own(world):
    d = world
    d.sign("/", recursive=True)
    for i, state in enumerate(("failed", "failed", "failed", "ok")):
        d.sync(f"sync {i}", state=state)
    for i in range(3):  # nobody has to be tried again: production and the others get one each
        d.write("/index.html", f"<h1>{i}</h1>")
        d.sign("/index.html")
        d.sync(f"more {i}")
    odd = runs(d, target="odd")
    assert listed(odd) == history(d, "odd") and "next" not in odd
    assert {state for _, state in listed(odd)} == {"failed", "unconfirmed", "confirmed"}
    # production had all of it at the first: what was for odd alone is not its history
    production = listed(runs(d, target="production"))
    assert production == history(d, "production") and {state for _, state in production} == {"confirmed"}
    assert len(production) < len(odd["items"])
    first = odd["items"][-1]
    assert first["target"]["exit_status"] == 3 and first["target"]["name"] == "odd" and first["target"]["started_at"] <= first["target"]["finished_at"]
    assert (first["trigger"], first["reason"], first["state"], first["release"], first["user"]) == ("forced", "sync 0", "failed", 1, f"unix:{d.user}")
    assert f"odd: {SENTENCE}" in first["message"] and "output" not in first["target"]
    # a page at a time, none twice and none left out
    found, query = [], {"target": "odd", "limit": 2}
    while True:
        page = runs(d, **query)
        assert 0 < len(page["items"]) <= 2
        found += listed(page)
        if "next" not in page:
            break
        query["before"] = page["next"]
    assert found == listed(odd)


def test_what_is_asked_has_to_be_there(world):
    d = world
    for name in ("nothing", "ODD", "", "odd%27%20OR%201=1", "o" * 300):
        status, problem = d.api("GET", d.api_site(f"/sync/runs?target={name}"))
        assert status == 404 and "There is no target" in problem["detail"], (name, problem)
    assert d.api("GET", d.api_site("/sync/runs?target=odd&before=x"))[0] == 400
    assert d.api("GET", d.api_site("/sync/runs?target=odd&limit=501"))[0] == 400
    alice = d.login("alice")
    answer = alice.get("/s/www/targets/nothing")
    assert answer.status_code == 404 and "There is no target nothing." in Page(answer).text
    assert alice.get("/s/www/targets/odd?before=x").status_code == 400


def test_who_is_told_what(world):
    """As in the list of all runs: files are named to those who see all of them."""
    d = world
    carl, nora = d.login("carl"), d.login("nora")
    answer = carl.get(d.api_site("/sync/runs?target=odd"))
    assert answer.status_code == 200 and listed(answer.json()) == listed(runs(d, target="odd"))
    assert all(item["message"] is None and "added" not in item for item in answer.json()["items"])
    page = Page(carl.get("/s/www/targets/odd"))
    assert "unconfirmed" in page.text and "b.html" not in answer.text + page.source and "Why not to me?" in page.text
    for address in (d.api_site("/sync/runs?target=odd"), "/s/www/targets/odd"):
        assert nora.get(address).status_code == 404
    assert d.browser().get(d.api_site("/sync/runs?target=odd")).status_code == 401


def test_its_page(world):
    d = world
    alice = d.login("alice")
    sync = Page(alice.get("/s/www/sync"))
    assert {"/s/www/targets/odd", "/s/www/targets/production"} <= set(sync.links)
    page = Page(alice.get("/s/www/targets/odd"))
    release = d.must("GET", d.api_site("/sync"))["release"]
    assert f"confirmed It holds release {release}." in page.text and f"odd: {SENTENCE}" in page.text
    for run, _ in history(d, "odd"):
        assert f"/s/www/sync/{run}" in page.links
    assert {"/s/www/sync#h-runs", "/s/www/sync"} <= set(page.links) and "h-runs" in sync.ids
    # what failed elsewhere is not about this one
    assert SENTENCE not in Page(alice.get("/s/www/targets/production")).text
    # and from a run back to the target
    assert '<a href="/s/www/targets/odd">odd</a>' in alice.get(f"/s/www/sync/{history(d, 'odd')[0][0]}").text


def test_the_terminal(world):
    d = world
    lines = d.cli("sync", "log", "--target", "odd").stdout.splitlines()
    seen = history(d, "odd")
    assert [line.split()[:2] for line in lines] == [["run", str(run)] for run, _ in seen]
    assert all(f"  {state} " in line for line, (_, state) in zip(lines, seen)), lines
    assert SENTENCE in lines[-1] and SENTENCE not in lines[0]
    assert SENTENCE not in d.cli("sync", "log", "--target", "production").stdout
    assert json.loads(d.cli("--json", "sync", "log", "--target", "odd", "--limit", "1").stdout) == runs(d, target="odd", limit=1)
    unknown = d.cli("sync", "log", "--target", "nothing")
    assert unknown.returncode == 2 and "There is no target nothing" in unknown.stderr
    for argv in (["sync", "log", "1", "--target", "odd"], ["sync", "status", "--target", "odd"], ["sync", "plan", "--target", "odd"]):
        assert d.cli(*argv).returncode == 1, argv
    assert "--target" in d.cli("sync", "--help").stdout


def test_completion(world):
    d = world
    script = TOP / "completion" / "drydock"
    line = f'. {script}; COMP_WORDS=({program("drydock")} sync log --target ""); COMP_CWORD=4; _drydock; printf "%s\\n" "${{COMPREPLY[@]}}"'
    said = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "DRYDOCK_SERVER": str(d.socket)}).stdout
    assert said.split() == ["production", "odd", "idle"]


def test_one_that_is_configured_no_longer(world):
    """Its history stays; and a long one comes a page at a time, each below 50 kB whatever stands in it."""
    d = world
    before = history(d, "idle")
    assert before
    d.stop()
    text = d.conf.read_text()
    at = text.index('\ttarget "idle"')
    d.conf.write_text(text[:at] + text[text.index("}", at) + 2:])
    d.start()
    until(lambda: not d.must("GET", d.api_site("/sync"))["running"])
    assert listed(runs(d, target="idle")) == before
    alice = d.login("alice")
    page = Page(alice.get("/s/www/targets/idle"))
    assert "It is configured no longer" in page.text and "/s/www/targets/idle" not in Page(alice.get("/s/www/sync")).links
    hostile = "<" + '"' * 900
    rows = "".join(f"INSERT INTO run VALUES ('www', {i}, 1, 'quiet', '', '', {i}, {i}, 'failed', 0, 0, 0, '{hostile}');"
                   f"INSERT INTO run_target VALUES ('www', {i}, 'idle', 'failed', {i}, {i}, 1, '');" for i in range(1000, 1045))
    d.run("mariadb", "--no-defaults", f"--socket={d.data}/db.sock", "--user", d.user, "drydock", "-e", rows)
    seen, address = [], "/s/www/targets/idle"
    while address:
        answer = alice.get(address)
        assert answer.status_code == 200 and len(answer.content) < 50_000
        page = Page(answer)
        seen += [link for link in page.links if link.removeprefix("/s/www/sync/").isdigit()]
        assert ("/s/www/targets/idle" in page.links) == (address != "/s/www/targets/idle")
        address = next((link for link in page.links if "targets/idle?before=" in link), None)
    assert seen == [f"/s/www/sync/{run}" for run in [*range(1044, 999, -1), *(run for run, _ in before)]]
