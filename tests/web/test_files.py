"""Staging is hostile: special files, names and paths that somebody made up, files that change while they are read,
fingerprints that are no longer current, two people at once. Each is told clearly, and nothing is lost."""
import contextlib
import html
import json
import os
import socket
import threading
import time
import urllib.parse
import uuid

import pytest

from drydock import Drydock


@pytest.fixture(scope="module")
def d():
    with Drydock(accounts=("alice", "bob")) as server:
        yield server


def one(d, path):
    """The entry of a path in its directory's listing."""
    parent = path.rsplit("/", 1)[0] or "/"
    return {e["path"]: e for e in d.status(parent, fresh=1)["items"]}[path]


def refused(d, path):
    """A file that cannot be published: said so everywhere, and not signed in any way. The reason."""
    entry = one(d, path)
    assert entry["state"] == "unpublishable" and entry["reason"], entry
    for body in ({"paths": [path], "as_staged": True}, {"files": [{"path": path, "sha256": "0" * 64}]}):
        status, problem = d.api("POST", d.api_site("/sign"), body)
        assert status in (400, 409) and entry["reason"] in problem["detail"], (status, problem)
    # with its directory: the others are signed, this one is not
    chosen = d.selection("sign", path.rsplit("/", 1)[0], recursive=True)
    assert path not in [i["path"] for i in chosen["items"]]
    page = d.login().get(f"/s/www/file{urllib.parse.quote(path)}")
    assert page.status_code == 200 and html.escape(entry["reason"]) in page.text
    return entry["reason"]


# --- what is not a plain file ------------------------------------------------------------------------------------------


def test_symbolic_link(d):
    d.write("/special/plain.html", "plain")
    (d.staging / "special/link.html").symlink_to("/etc/passwd")
    assert "symbolic link" in refused(d, "/special/link.html")
    (d.staging / "special/linkdir").symlink_to("/etc")
    assert "symbolic link" in refused(d, "/special/linkdir")
    assert d.api("GET", d.api_site("/content?path=/special/link.html&version=staged"))[0] == 400
    assert d.api("GET", d.api_site("/file?path=/special/linkdir/passwd"))[0] == 404


def test_a_directory_replaced_by_a_link(d):
    """The door opens beneath staging only: a link put where a directory was leads nowhere."""
    d.write("/turned/a.html", "a")
    d.write("/elsewhere/a.html", "other bytes")
    shown = d.selection("sign", "/turned", recursive=True)
    (d.staging / "turned").rename(d.staging / "turned-away")
    (d.staging / "turned").symlink_to("elsewhere")
    status, problem = d.api("POST", d.api_site("/sign"), {"paths": ["/turned"], "recursive": True, "selection": shown["digest"]})
    assert status in (400, 404, 409), problem
    assert not [r for r in d.records(path="/turned/a.html")]


def test_fifo(d):
    os.mkfifo(d.staging / "special/pipe")
    assert "pipe" in refused(d, "/special/pipe")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as s:
        s.bind(str(d.staging / "special/socket"))
    assert "socket" in refused(d, "/special/socket")


def test_device(d):
    # a white-out: the one device that anybody may make
    os.mknod(d.staging / "special/device", 0o020644, os.makedev(0, 0))
    assert "device" in refused(d, "/special/device")


def test_hard_link(d):
    d.write("/special/original.html", "one")
    os.link(d.staging / "special/original.html", d.staging / "special/second.html")
    assert "hard link" in refused(d, "/special/second.html")
    os.unlink(d.staging / "special/original.html")
    # the second name gone, it is a plain file again
    assert one(d, "/special/second.html")["state"] == "unsigned"


def test_unreadable(d):
    place = d.write("/special/secret.html", "secret")
    place.chmod(0)
    assert "cannot be read" in refused(d, "/special/secret.html")
    place.chmod(0o644)
    assert one(d, "/special/secret.html")["state"] == "unsigned"


def test_5_gb(d):
    place = d.write("/special/large.iso", "")
    with open(place, "r+b") as f:
        f.truncate(5 << 30)
    start = time.monotonic()
    reason = refused(d, "/special/large.iso")
    assert "2 GiB" in reason and time.monotonic() - start < 3
    place.unlink()


def test_changes_while_it_is_read(d):
    """A writer that never rests: signed is a whole version that existed, or nothing."""
    size = 3 << 20
    d.write("/busy.bin", b"a" * size)
    place, stop, written = d.staging / "busy.bin", threading.Event(), set()

    def writer():
        for n in range(10**6):
            if stop.is_set():
                return
            with open(place, "r+b") as f:
                f.write(bytes([97 + n % 26]) * size)

    thread = threading.Thread(target=writer)
    thread.start()
    try:
        answers = [d.api("POST", d.api_site("/sign"), {"paths": ["/busy.bin"], "as_staged": True}) for _ in range(5)]
    finally:
        stop.set()
        thread.join()
    for status, answer in answers:
        assert status in (200, 409, 503), answer
        if status != 200:
            assert "busy.bin" in answer["detail"] or "chang" in answer["detail"], answer
    for record in d.records(path="/busy.bin"):
        status, data = d.api("GET", d.api_site(f"/content?path=/busy.bin&version={record['seq']}"))
        assert status == 200 and len(data) == size == record["files"][0]["size"]
    # once it rests it is signed as it is
    d.sign("/busy.bin")
    assert one(d, "/busy.bin")["state"] == "signed"


# --- names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ['quo"te\'s.html', "<b>angle</b>.html".replace("/", "-"), "a&amp;b.html", "per%2e%2ecent.html", "semi;colon|pipe$(x)`y`.html",
                                  " leading and trailing ", "-rf", "--help", "ünïcödé-日本.html", "back\\slash.html", "#hash?query.html", "a+b.html",
                                  "*.html", "~", "..."])
def test_odd_names_work(d, name):
    path = f"/odd/{name}"
    d.write(path, f"content of {name}")
    assert d.sign(path, note=name)["files"] == 1
    entry = d.file(path)
    assert entry["state"] == "signed" and entry["path"] == path
    status, data = d.api("GET", d.api_site(f"/content?path={urllib.parse.quote(path)}&version=approved"))
    assert (status, data.decode()) == (200, f"content of {name}")
    page = d.login().get("/s/www/file" + urllib.parse.quote(path))
    assert page.status_code == 200 and "<b>angle" not in page.text
    shown = d.cli("--json", "status", f"./odd/{name}")
    assert shown.returncode == 0 and json.loads(shown.stdout)["items"][0]["path"] == path, shown


def test_odd_names_in_production(d):
    names = sorted(os.listdir(d.staging / "odd"))
    d.sync()
    assert sorted(os.listdir(d.production / "odd")) == names and len(names) > 10


def test_newline(d):
    d.write("/odd2/new\nline.html", "x")
    items = d.status("/odd2", fresh=1)["items"]
    assert [i["state"] for i in items] == ["unpublishable"] and "control characters" in items[0]["reason"]
    shown = d.cli("status", "/odd2")
    assert "new\nline" not in shown.stdout and shown.returncode == 0
    assert d.api("POST", d.api_site("/sign"), {"paths": ["/odd2/new\nline.html"], "as_staged": True})[0] == 400
    assert d.api("POST", d.api_site("/sign"), {"paths": ["/odd2"], "recursive": True, "as_staged": True})[0] == 400


def test_bad_utf8_on_disk(d):
    directory = os.fsencode(d.staging / "odd3")
    os.mkdir(directory)
    d._own(d.staging / "odd3")
    with open(directory + b"/bad\xff\xfe.html", "wb") as f:
        f.write(b"x")
    items = d.status("/odd3", fresh=1)["items"]
    assert [i["state"] for i in items] == ["unpublishable"] and "encoded" in items[0]["reason"]
    assert d.login().get("/s/www/tree/odd3").status_code == 200


@pytest.mark.parametrize("name", [".git", ".GIT", "git~1", ".git "])
def test_names_that_git_reserves(d, name):
    d.write(f"/reserved/{name}/config", "[core]")
    d.write(f"/reserved/x/{name}", "x")
    for item in d.status("/reserved", recursive=1, fresh=1, limit=500)["items"]:
        assert item["state"] == "unpublishable" and "reserved" in item["reason"], item
    assert d.api("POST", d.api_site("/sign"), {"paths": [f"/reserved/x/{name}"], "as_staged": True})[0] == 400


BAD_PATHS = ["/..", "/../etc/passwd", "/a/../b", "/a/./b", "/a//b", "//a", "a", "", "/a/", "/nul\0", "/bell\x07", "/" + "a" * 5000, "/" + "a" * 256,
             "/" + "/".join(["b" * 200] * 30), "/.git/config", "/\u007f"]


@pytest.mark.parametrize("path", BAD_PATHS, ids=lambda p: repr(p)[:20])
def test_bad_paths_in_json(d, path):
    for act in ("sign", "review", "revoke"):
        status, problem = d.api("POST", d.api_site(f"/{act}"), {"paths": [path], "as_staged": True})
        assert status == 400 and problem["detail"], (status, problem)
    assert d.api("POST", d.api_site("/sign"), {"files": [{"path": path, "sha256": "0" * 64}]})[0] == 400
    assert d.api("POST", d.api_site("/selection"), {"act": "sign", "paths": [path]})[0] == 400
    assert d.api("POST", d.api_site("/roles"), {"principal": "own:bob", "path": path, "role": "view"})[0] == 400
    assert d.api("POST", d.api_site("/preapprovals"), {"path": path})[0] == 400


@pytest.mark.parametrize("path", [p for p in BAD_PATHS if p not in ("", "/a/")])
@pytest.mark.parametrize("where", ["status", "file", "diff", "content", "log", "access"])
def test_bad_paths_in_queries(d, path, where):
    status, problem = d.api("GET", d.api_site(f"/{where}?path={urllib.parse.quote(path)}"))
    assert status == 400 and problem["detail"], (status, problem)


@pytest.mark.parametrize("target", [b"/s/www/tree/..", b"/s/www/tree/%2e%2e/", b"/s/www/file/a/%2e%2e/b", b"/s/www/tree/%00", b"/s/www/file/a%00.html",
                                    b"/s/www/tree//a", b"/s/www/tree/a//b", b"/s/www/tree/%2f", b"/s/www/file/%ff%fe", b"/s/www/file/%c0%ae%c0%ae/x",
                                    b"/s/www/file/" + b"a" * 5000, b"/s/www/tree/%252e%252e", b"/static/../../etc/passwd", b"/static/%2e%2e/%2e%2e/etc/passwd",
                                    b"/static/..%2f..%2fetc/passwd", b"/s/..%2fwww/"])
def test_bad_addresses(d, target):
    cookie = d.login().cookies["drydock"].encode()
    answer, _ = d.raw(b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: drydock=" + cookie + b"\r\n\r\n")
    status = int(answer.split(b" ", 2)[1])
    assert status in (400, 404, 414) or status == 303 and b"root:" not in answer, answer[:300]
    assert b"root:x:" not in answer


# --- what changed meanwhile ----------------------------------------------------------------------------------------------


def test_stale_fingerprint_shows_the_new_difference(d):
    d.write("/stale.html", "version one\n")
    d.sign("/stale.html")
    d.write("/stale.html", "version two\n")
    shown = d.file("/stale.html")["sha256"]
    d.write("/stale.html", "version three\n")
    before = len(d.records())
    status, problem = d.api("POST", d.api_site("/sign"), {"files": [{"path": "/stale.html", "sha256": shown}]})
    assert status == 409 and problem["code"] == "stale"
    now = problem["selection"]["items"]
    assert [i["path"] for i in now] == ["/stale.html"] and now[0]["sha256"] == d.file("/stale.html")["sha256"] != shown
    assert len(d.records()) == before
    # the browser's form: 409, and the page shows the difference to what is staged now
    alice = d.login()
    answer = alice.post("/s/www/sign", data={"csrf": alice.csrf, "op": str(uuid.uuid4()), "path": "/stale.html", "sha256": shown, "exec": "0", "note": "my note"})
    assert answer.status_code == 409 and "Nothing was recorded" in answer.text and "three" in answer.text and "my note" in answer.text
    # the terminal
    result = d.cli("sign", "--from", "-", input=f"{shown}  stale.html\n")
    assert result.returncode == 4 and "As it is now" in result.stdout and now[0]["sha256"][:12] in result.stdout
    assert d.file("/stale.html")["approved_sha256"] != shown


def test_stale_selection(d):
    d.write("/sel/a.html", "a")
    shown = d.selection("sign", "/sel", recursive=True)
    d.write("/sel/b.html", "b")
    status, problem = d.api("POST", d.api_site("/sign"), {"paths": ["/sel"], "recursive": True, "selection": shown["digest"]})
    assert status == 409 and [i["path"] for i in problem["selection"]["items"]] == ["/sel/a.html", "/sel/b.html"]
    assert problem["selection"]["digest"] == d.selection("sign", "/sel", recursive=True)["digest"]
    assert one(d, "/sel/a.html")["state"] == "unsigned"
    # the executable bit counts
    (d.staging / "sel/b.html").chmod(0o755)
    status, answer = d.api("POST", d.api_site("/sign"), {"paths": ["/sel"], "recursive": True, "selection": problem["selection"]["digest"]})
    assert status == 409
    # a touch does not
    shown = d.selection("sign", "/sel", recursive=True)
    os.utime(d.staging / "sel/a.html", (1, 1))
    d.must("POST", d.api_site("/sign"), {"paths": ["/sel"], "recursive": True, "selection": shown["digest"]})


def test_all_or_nothing(d):
    d.write("/batch/a.html", "a")
    d.write("/batch/b.html", "b")
    files = [{"path": f"/batch/{n}.html", "sha256": d.file(f"/batch/{n}.html")["sha256"]} for n in "ab"]
    files[1]["sha256"] = "1" * 64
    status, problem = d.api("POST", d.api_site("/sign"), {"files": files})
    assert status == 409 and "/batch/b.html" in problem["detail"]
    assert one(d, "/batch/a.html")["state"] == "unsigned"


def test_same_id_twice(d):
    d.write("/twice.html", "x")
    op = str(uuid.uuid4())
    body = {"id": op, "files": [{"path": "/twice.html", "sha256": d.file("/twice.html")["sha256"]}], "note": "once"}
    first = d.must("POST", d.api_site("/sign"), body)
    again = d.must("POST", d.api_site("/sign"), body)
    assert again["repeated"] and not first["repeated"] and again["seq"] == first["seq"] and again["at"] == first["at"]
    assert len(d.records(path="/twice.html")) == 1
    # the same id for something else
    status, problem = d.api("POST", d.api_site("/sign"), {**body, "note": "another"})
    assert status == 409 and problem["detail"]
    status, problem = d.api("POST", d.api_site("/review"), body)
    assert status == 409
    # and somebody else with an id that he saw in the history
    answer = d.login("bob").post(d.api_site("/review"), json=body)
    assert answer.status_code == 409 and "id has been used" in answer.json()["detail"], answer.text
    for bad in ("", "x", op.upper() + "0", "{" + op + "}", 7, None, ["a"]):
        if bad is not None:
            assert d.api("POST", d.api_site("/sign"), {**body, "id": bad})[0] == 400, bad


def test_same_id_at_once(d):
    d.write("/once.html", "x")
    body = {"id": str(uuid.uuid4()), "files": [{"path": "/once.html", "sha256": d.file("/once.html")["sha256"]}]}
    answers = together(*[lambda: d.api("POST", d.api_site("/sign"), body)] * 6)
    assert [s for s, _ in answers] == [200] * 6 and len({a["seq"] for _, a in answers}) == 1
    assert sum(not a["repeated"] for _, a in answers) == 1
    assert len(d.records(path="/once.html")) == 1


def together(*calls):
    barrier, out = threading.Barrier(len(calls)), [None] * len(calls)

    def run(i, call):
        barrier.wait()
        out[i] = call()

    threads = [threading.Thread(target=run, args=(i, call)) for i, call in enumerate(calls)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return out


def test_two_people_at_once(d):
    alice, bob = d.login("alice"), d.login("bob")
    for n in range(10):
        path = f"/race/{n}.html"
        d.write(path, f"race {n}")
        files = [{"path": path, "sha256": d.file(path)["sha256"]}]
        answers = together(lambda: alice.post(d.api_site("/sign"), json={"files": files}), lambda: bob.post(d.api_site("/sign"), json={"files": files}))
        assert sorted(a.status_code for a in answers) == [200, 409], [a.text for a in answers]
        winner, loser = sorted(zip(answers, ("own:alice", "own:bob")), key=lambda x: x[0].status_code)
        assert "already" in loser[0].json()["detail"] and winner[1] in loser[0].json()["detail"], loser[0].text
        assert [r["user"] for r in d.records(path=path)] == [winner[1]]


def test_one_signs_what_another_revokes(d):
    alice, bob = d.login("alice"), d.login("bob")
    for n in range(6):
        path = f"/race2/{n}.html"
        d.write(path, "one")
        d.sign(path)
        old = d.file(path)["sha256"]
        d.write(path, "two")
        new = d.file(path)["sha256"]
        answers = together(lambda: alice.post(d.api_site("/sign"), json={"files": [{"path": path, "sha256": new}]}),
                           lambda: bob.post(d.api_site("/revoke"), json={"files": [{"path": path, "sha256": old}]}))
        codes = [a.status_code for a in answers]
        assert sorted(codes) in ([200, 409], [200, 200]), [a.text for a in answers]
        records = [r["act"] for r in d.records(path=path)]
        assert len(records) == 1 + codes.count(200)
        assert d.file(path)["state"] == {"sign": "signed", "revoke": "revoked"}[records[0]]


def test_directory_that_became_a_file(d):
    d.write("/was/dir/a.html", "a")
    d.sign("/was", recursive=True)
    d.write("/was/dir/b.html", "b")
    shown = d.selection("sign", "/was", recursive=True)
    d.remove("/was/dir")
    d.write("/was/dir", "now a file")
    assert d.api("POST", d.api_site("/sign"), {"paths": ["/was"], "recursive": True, "selection": shown["digest"]})[0] == 409
    states = {e["path"]: e["state"] for e in d.status("/was", recursive=1, fresh=1)["items"]}
    assert states == {"/was/dir": "unsigned", "/was/dir/a.html": "missing"}
    done = d.sign("/was/dir")
    record = d.record(done["seq"])
    assert record["fields"]["superseded"] == ["/was/dir/a.html"]
    assert {e["path"]: e["state"] for e in d.status("/was", recursive=1, fresh=1)["items"]} == {"/was/dir": "signed"}
    d.sync()
    assert (d.production / "was/dir").read_text() == "now a file"
    # and back
    d.remove("/was/dir")
    d.write("/was/dir/a.html", "a again")
    d.sign("/was", recursive=True)
    d.sync()
    assert (d.production / "was/dir/a.html").read_text() == "a again"
    for page in ("/s/www/tree/was", "/s/www/file/was/dir", "/s/www/history?path=/was/dir", "/s/www/history?path=/was/dir&below=0"):
        assert d.login().get(page).status_code == 200, page


def test_notes_are_kept_as_they_are(d):
    for n, note in enumerate(["<script>alert(1)</script>", "two\nlines", "ünïcödé 日本 🚢", "'; DROP TABLE record; --", '"quoted" \\ back', "x" * 8192]):
        d.write(f"/notes/{n}.html", str(n))
        done = d.sign(f"/notes/{n}.html", note=note)
        assert d.record(done["seq"])["note"] == note
        page = d.login().get(f"/s/www/record/{done['seq']}")
        assert page.status_code == 200 and "<script>alert" not in page.text
    for bad in ("x" * 8193, "nul\0", 7, ["a"]):
        assert d.api("POST", d.api_site("/sign"), {"paths": ["/notes"], "recursive": True, "as_staged": True, "note": bad})[0] in (400, 413)


def test_bodies_that_say_too_little_or_too_much(d):
    d.write("/body.html", "x")
    sha = d.file("/body.html")["sha256"]
    for body in ({}, {"paths": ["/body.html"]}, {"paths": [], "as_staged": True}, {"paths": "/body.html", "as_staged": True},
                 {"paths": ["/body.html"], "as_staged": True, "selection": "0" * 64}, {"paths": ["/body.html"], "selection": "0" * 63},
                 {"paths": ["/body.html"], "selection": "G" * 64}, {"files": []}, {"files": [{}]}, {"files": [{"path": "/body.html"}]},
                 {"files": [{"path": "/body.html", "sha256": sha}] * 2}, {"paths": ["/"], "as_staged": True}, {"paths": [7], "as_staged": True},
                 {"paths": ["/body.html"], "as_staged": "yes"}, [], "x", 7):
        status, problem = d.api("POST", d.api_site("/sign"), body)
        assert status == 400 and problem["detail"], (body, status, problem)
    assert d.file("/body.html")["state"] == "unsigned"
    assert d.api("POST", d.api_site("/sign"), {"paths": ["/nothing"], "as_staged": True})[0] == 404
