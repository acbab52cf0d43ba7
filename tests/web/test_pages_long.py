"""An act that takes long: a page of its own at once, progress, left and found again, never done twice, and how it ends."""
import json
import os
import pty
import re
import subprocess
import time
import uuid

import pytest
from drydock import Drydock, program
from page import Page

SITE = "/s/www/"
# each test has a directory of its own
FILES = {f"/{name}/{i:02}.html": f"page {i}" for name in ("docs", "short", "moved", "left", "died", "stop", "share", "events", "tty") for i in range(12)}


@pytest.fixture(scope="module")
def site():
    with Drydock(files=FILES, accounts=("alice", "eve")) as d:
        yield d


def wait(what, seconds=60):
    """Until what() is true: its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = what()
        if value not in (None, False, ""):  # an answer that is a refusal counts as false
            return value
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def sign_form(browser, directory):
    """The form that signs everything in a directory."""
    tree = Page(browser.get(f"/s/www/tree{directory}"))
    return Page(Page.send(browser, tree.form("/s/www/confirm"), all="sign")).form("/s/www/sign")


def begin(browser, form, **values):
    """Send it; the address of the page that shows how far it is."""
    begun = time.monotonic()
    answer = Page.send(browser, form, wait=False, **values)
    assert answer.status_code == 303, answer.text
    assert re.fullmatch(r"/s/www/acts/[0-9a-f-]{36}", answer.headers["Location"]), answer.headers["Location"]
    return answer.headers["Location"], time.monotonic() - begun


def end_of(browser, address):
    """Where the page of an act leads when it is over."""
    def over():
        answer = browser.get(address, allow_redirects=False)
        return answer if answer.status_code != 200 else None
    return wait(over)


def count(d, directory):
    """Records of files there."""
    return len(d.records(path=directory, below=1))


def step_of(d, browser, address):
    return browser.get(f"/api/v1/sites/www{address[len(SITE) - 1:]}").json().get("step")


def test_a_long_act_is_shown_left_found_again_and_ends(site):
    alice = site.login("alice")
    form = sign_form(alice, "/docs")
    with site.held():
        address, took = begin(alice, form, note="the <b>docs</b>")
        assert took < 5  # 0.7 s on a machine that has nothing else to do
        page = Page(alice.get(address))
        assert page.h1 == "Signing 12 files in /docs" or "Signing files" in page.h1
        assert "the <b>docs</b>" in page.text and "You can leave this page" in page.text
        assert '<noscript><meta http-equiv="refresh" content="2"></noscript>' in page.source
        wait(lambda: step_of(site, alice, address) == "record")
        page = Page(alice.get(address))
        assert page.h1 == "Signing 12 files in /docs" and "recording" in page.text
        # from another browser of hers
        other = site.login("alice")
        home = Page(other.get(SITE))
        assert "Running now" in home.text and address in home.links and "Signing 12 files in /docs" in home.text
        # nobody else's business
        eve = site.login("eve")
        assert address not in Page(eve.get(SITE)).links
        assert eve.get(address).status_code == 404
        assert eve.get("/api/v1/sites/www" + address[len(SITE) - 1:]).status_code == 404
        state = alice.get("/api/v1/sites/www" + address[len(SITE) - 1:]).json()
        assert (state["state"], state["act"], state["total"]) == ("running", "sign", 12)
        # the form again, as a reload sends it: the same job
        assert begin(alice, form, note="the <b>docs</b>")[0] == address
        # its id for something else
        answer = Page.send(alice, form, wait=False, note="another note")
        assert answer.status_code == 409 and "another request" in answer.text
    answer = end_of(alice, address)
    assert answer.status_code == 303
    assert "You signed 12 files" in Page(alice.get(answer.headers["Location"])).text
    assert "Running now" not in Page(alice.get(SITE)).text
    assert count(site, "/docs") == 1
    # once more after the end: the same answer, and no second record
    again = Page.send(alice, form, note="the <b>docs</b>")
    assert again.status_code == 303 and again.headers["Location"] == answer.headers["Location"]
    assert count(site, "/docs") == 1
    state = alice.get("/api/v1/sites/www" + address[len(SITE) - 1:]).json()
    assert state["state"] == "recorded" and state["files"] == 12 and f"done={state['seq']}" in answer.headers["Location"]


def test_a_short_act_leads_to_its_result_directly(site):
    alice = site.login("alice")
    answer = Page.send(alice, sign_form(alice, "/short"))
    assert answer.headers["Location"].startswith("/s/www/tree/short?done=")


def test_what_changed_meanwhile_is_shown_when_it_ends(site):
    alice = site.login("alice")
    form = sign_form(alice, "/moved")
    ticked = Page(alice.get("/s/www/tree/moved")).form("/s/www/confirm")
    ticked = Page(Page.send(alice, ticked, **{"path[]": ["/moved/03.html", "/moved/04.html"], "act": "sign"})).form("/s/www/sign")
    with site.held():
        address, _ = begin(alice, form, note="kept")
        wait(lambda: step_of(site, alice, address) == "record")
        # it holds the site's writer, and these wait behind it, as shown now
        second, _ = begin(alice, ticked)
        wait(lambda: step_of(site, alice, second) == "wait")
    assert end_of(alice, address).status_code == 303
    answer = end_of(alice, second)
    page = Page(answer)
    assert answer.status_code == 409 and "signed already" in page.text
    assert count(site, "/moved") == 1
    # seen: not on Home any more
    assert "came to nothing" not in Page(alice.get(SITE)).text
    # the staged file moves on before the form is sent
    site.write("/moved/more/x.html", "x")
    form = sign_form(alice, "/moved/more")
    site.write("/moved/more/x.html", "moved on")
    page = Page(Page.send(alice, form, note="kept"))
    assert page.status == 409 and "Nothing was recorded" in page.text
    assert page.form("/s/www/sign").fields["note"].strip() == "kept"


def test_what_came_to_nothing_while_nobody_looked_is_on_home(site):
    alice = site.login("alice")
    form = sign_form(alice, "/left")
    one = Page(alice.get("/s/www/file/left/05.html")).form("/s/www/sign")
    with site.held():
        begin(alice, form)
        second, _ = begin(alice, one, note="mine too")
        assert Page(alice.get(second)).h1 == "Signing /left/05.html"
    home = wait(lambda: (p := Page(alice.get(SITE))) and "came to nothing" in p.text and p)
    assert second in home.links and "signed already" in home.text
    page = Page(alice.get(second))
    assert page.status == 409 and "Nothing was recorded" in page.text
    assert "came to nothing" not in Page(alice.get(SITE)).text


def test_the_daemon_dies_in_the_middle(site):
    """Before the COMMIT: the id says that nothing was recorded. After it: the id leads to the record."""
    alice = site.login("alice")
    form = sign_form(alice, "/died")
    with site.held():
        address, _ = begin(alice, form)
        wait(lambda: step_of(site, alice, address) == "record")
        site.kill()
    site.start()
    answer = alice.get(address, allow_redirects=False)
    assert answer.status_code == 404 and "Nothing was recorded under this id" in answer.text
    assert count(site, "/died") == 0
    # the same form once more, as its reload would send it
    answer = Page.send(alice, form)
    assert answer.status_code == 303 and count(site, "/died") == 1
    site.kill()
    site.start()
    answer = alice.get(address, allow_redirects=False)
    assert answer.status_code == 303 and re.fullmatch(r"/s/www/record/\d+", answer.headers["Location"])
    assert "signed 12 files" in Page(alice.get(answer.headers["Location"])).text
    assert Page.send(alice, form).status_code == 303 and count(site, "/died") == 1


def test_stop_waits_for_what_runs(site):
    alice = site.login("alice")
    form = sign_form(alice, "/stop")
    with site.held():
        address, _ = begin(alice, form)
        wait(lambda: step_of(site, alice, address) == "record")
        site.process.terminate()
        wait(lambda: "signal" in site.log() or "stop" in site.log())
        assert site.process.poll() is None
    assert site.process.wait(60) == 0
    site.process = None
    site.start()
    assert count(site, "/stop") == 1
    assert alice.get(address, allow_redirects=False).status_code == 303


def test_nobody_runs_more_than_his_share(site):
    alice = site.login("alice")
    forms = [Page(alice.get(f"/s/www/file/share/{i:02}.html")).form("/s/www/sign") for i in range(9)]
    with site.held():
        addresses = [begin(alice, f)[0] for f in forms[:8]]
        answer = Page.send(alice, forms[8])
        assert answer.status_code == 503 and "8 acts of yours are still running" in answer.text
        # somebody else is not held up by them
        eve = site.login("eve")
        assert begin(eve, Page(eve.get("/s/www/file/share/10.html")).form("/s/www/sign"))[0]
        assert len([x for x in Page(alice.get(SITE)).links if x in addresses]) == 8
    for address in addresses:
        assert end_of(alice, address).status_code == 303
    assert wait(lambda: count(site, "/share") == 9)


def test_events_of_a_running_act(site):
    alice = site.login("alice")
    form = sign_form(alice, "/events")
    with site.held():
        address, _ = begin(alice, form)
        stream = alice.get(address + "/events", stream=True, timeout=60)
        lines = (line.decode() for line in stream.iter_lines())
        seen = []
        for line in lines:
            if line.startswith("event: "):
                seen.append((line[7:], json.loads(next(lines)[6:])))
                if "recording" in seen[-1][1].get("step", ""):
                    break
        assert seen[-1][0] == "progress" and seen[-1][1]["step"].startswith("Step 4 of 5")
    rest = [line[7:] for line in lines if line.startswith("event: ")]
    assert rest[-1] == "end"
    # one that nobody runs ends at once
    stream = alice.get(f"/s/www/acts/{uuid.uuid4()}/events", stream=True, timeout=60)
    assert [line for line in stream.iter_lines() if line.startswith(b"event")] == [b"event: end"]


def test_ids_that_are_none(site):
    alice = site.login("alice")
    for op in ("x", "0" * 36, str(uuid.uuid4()).upper()):
        assert alice.get(f"/s/www/acts/{op}").status_code == 404
        assert alice.get(f"/api/v1/sites/www/acts/{op}").status_code == 404
    assert alice.get(f"/s/www/acts/{uuid.uuid4()}").status_code == 404


def on_terminal(d, *argv):
    """Run drydock with a terminal as its standard error: (process, what comes out there)."""
    ours, theirs = pty.openpty()
    kw = {"user": d.uid, "group": d.gid, "extra_groups": []} if os.geteuid() == 0 else {}
    process = subprocess.Popen([program("drydock"), *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs, text=True, cwd=d.dir,
                               env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(d.dir), "DRYDOCK_DATA": str(d.data)}, **kw)
    os.close(theirs)
    return process, ours


def said(terminal, until=None):
    """What was written to the terminal up to some words, or to its end."""
    text = b""
    while until is None or until not in text:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # the other side is closed
            piece = b""
        if not piece:
            assert until is None, text
            break
        text += piece
    return text


def test_the_terminal_shows_a_line_for_a_long_act(site):
    with site.held():
        process, terminal = on_terminal(site, "sign", "-r", "--as-staged", "/tty")
        assert b"drydock: recording" in said(terminal, b"recording")
        # the same act, seen from the browser of the same person; alice is another one
        assert "Running now" not in Page(site.login("alice").get(SITE)).text
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "Signed: 12 files" in out
    assert said(terminal).endswith(b"\x1b[K")  # taken away again
    os.close(terminal)
    # an act that is refused says so on a line of its own
    process, terminal = on_terminal(site, "sign", "--as-staged", "/tty/00.html")
    process.communicate(timeout=60)
    assert process.returncode == 4 and b"signed already" in said(terminal)
    os.close(terminal)
    # without a terminal nothing of it is said
    assert site.cli("revoke", "-r", "--as-staged", "/tty").stderr == ""
