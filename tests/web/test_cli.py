"""The command line and the API behind it: each command, the shapes that --json promises, and the exit codes 0 to 6."""
import hashlib
import json
import os
import pathlib
import re
import subprocess
import uuid

import pytest

from drydock import PASSWORD, Drydock, program
from waiting import until

COMMANDS = ["status", "sign", "review", "revoke", "log", "diff", "show", "role", "access", "preapprove", "sync", "release", "user", "group", "site",
            "target", "counter", "queue", "whoami", "login", "logout", "export-evidence", "verify"]
FILES = {"/index.html": "<h1>Home</h1>\n", "/docs/a.html": "<h1>A</h1>\n", "/docs/b.html": "<h1>B</h1>\n", "/docs/deep/c.html": "c", "/news/1.html": "news"}


@pytest.fixture(scope="module")
def d():
    with Drydock(files=FILES, accounts=("alice",)) as server:
        server.add_account("bob", "view", "/docs")
        yield server


def ok(d, *argv, **kw):
    r = d.cli(*argv, **kw)
    assert r.returncode == 0, (argv, r.returncode, r.stdout, r.stderr)
    return r.stdout


def js(d, *argv, **kw):
    return json.loads(ok(d, "--json", *argv, **kw))


def fails(d, code, *argv, **kw):
    r = d.cli(*argv, **kw)
    assert r.returncode == code, (argv, r.returncode, r.stdout, r.stderr)
    assert r.stderr.strip() or r.stdout.strip()
    assert "\x1b" not in r.stderr and "(null)" not in r.stderr + r.stdout
    return r.stderr


# --- help and usage ----------------------------------------------------------------------------------------------------


def test_help(d):
    text = ok(d, "--help")
    for name in COMMANDS:
        assert f"\n  {name} " in text, name
        one = ok(d, name, "--help")
        assert one.startswith(f"Usage: drydock {name} ") and one.count("\n") >= 3
    assert re.match(r"drydock \d", ok(d, "--version"))
    assert d.cli().returncode == 1


def test_usage_is_1(d):
    for argv in (["nothing"], ["--nothing"], ["status", "a", "b"], ["diff"], ["status", "--note", "x"], ["sign"], ["sign", "--as-staged", "--selection", "0" * 64, "/a"],
                 ["role"], ["role", "set", "own:bob"], ["sync", "force"], ["sync", "nothing"], ["login", "alice"], ["sign", "--from", "/nonexistent"],
                 ["sign", "--selection", "xyz", "/index.html"], ["status", "/../x"], ["log", "--since", "soon"], ["--server", "ftp://x", "status"]):
        fails(d, 1, *argv)
    # off a terminal something has to say what was shown
    assert "--selection" in fails(d, 1, "sign", "/index.html")
    assert "--as-staged" in fails(d, 1, "sign", "-r", "/docs")


def test_not_found_is_2(d):
    fails(d, 2, "status", "/nothing")
    fails(d, 2, "diff", "/nothing.html")
    fails(d, 2, "show", "/nothing.html")
    fails(d, 2, "sign", "--as-staged", "/nothing.html")
    fails(d, 2, "sync", "log", "999")
    fails(d, 2, "release", "show", "999")
    fails(d, 2, "--site", "other", "status")


def test_cannot_reach_is_5(d):
    fails(d, 5, "whoami", env={"DRYDOCK_DATA": "/nonexistent"}, data=False)
    fails(d, 5, "--data", d.staging, "whoami")
    fails(d, 5, "--server", "http://127.0.0.1:1", "whoami")
    fails(d, 5, "--server", str(d.dir / "no.sock"), "whoami")


# --- files -------------------------------------------------------------------------------------------------------------


def test_status_json(d):
    status = js(d, "status", "-r")
    assert {i["path"] for i in status["items"]} == set(FILES) and "next" not in status
    for item in status["items"]:
        data = FILES[item["path"]].encode()
        assert item["state"] == "unsigned" and item["size"] == len(data)
        assert (item["md5"], item["sha256"]) == (hashlib.md5(data).hexdigest(), hashlib.sha256(data).hexdigest())
        assert item["approved_sha256"] is None and item["reason"] is None
    assert status["selection"]["files"] == len(FILES)
    top = js(d, "status")
    assert [i["path"] for i in top["items"]] == ["/docs", "/news", "/index.html"]
    assert top["items"][0]["type"] == "directory" and top["items"][0]["counts"]["unsigned"] == 3
    # by pages, and all in one list where nobody asked for a page
    page = js(d, "status", "-r", "--limit", "2")
    assert len(page["items"]) == 2 and page["next"] == page["items"][-1]["path"]


def test_status_for_people(d):
    text = ok(d, "status", "-r", "/docs")
    assert "/docs/a.html" in text and "3 unsigned" in text and "--selection" in text
    assert "docs/" in ok(d, "status")
    assert "no files" not in ok(d, "status", "docs")


def test_sign_what_status_showed(d):
    text = ok(d, "status", "-r", "/docs")
    digest = re.search(r"--selection ([0-9a-f]{64})", text)[1]
    done = js(d, "sign", "-r", "-m", "first", "--selection", digest, "/docs")
    assert done["files"] == 3 and done["seq"] and done["id"] and not done["repeated"]
    # once more: it is not that selection any more
    assert d.cli("sign", "-r", "--selection", digest, "/docs").returncode == 4
    # a revoked file is taken up only if it is named
    ok(d, "revoke", "-m", "wrong", "--as-staged", "/docs/b.html")
    assert js(d, "status", "-r", "/docs")["counts"]["revoked"] == 1
    assert d.cli("sign", "-r", "--as-staged", "/docs").returncode in (1, 2)
    ok(d, "sign", "-m", "back", "--as-staged", "/docs/b.html")
    assert js(d, "status", "/docs/b.html")["items"][0]["state"] == "signed"


def test_sign_from_sha256sum(d):
    d.write("/sums/a.html", "a")
    d.write("/sums/b c.html", "b")
    d.write("/sums/back\\slash.html", "c")
    sums = subprocess.run(["sha256sum", *sorted(str(p.relative_to(d.staging)) for p in (d.staging / "sums").iterdir())], cwd=d.staging, capture_output=True, text=True).stdout
    assert len(sums.splitlines()) == 3
    (d.dir / "list").write_text(sums)
    os.chmod(d.dir / "list", 0o644)
    assert js(d, "sign", "--from", str(d.dir / "list"))["files"] == 3
    d.write("/sums/a.html", "a again")
    assert d.cli("sign", "--from", "-", input=sums.splitlines()[0] + "\n").returncode == 4
    assert "line 1" in d.cli("sign", "--from", "-", input="not a line\n").stderr


def test_review(d):
    ok(d, "review", "-m", "looks right", "--as-staged", "/docs/a.html")
    record = js(d, "log", "--act", "review")["items"][0]
    assert record["note"] == "looks right" and record["files"][0]["path"] == "/docs/a.html"
    shown = ok(d, "show", "/docs/a.html")
    assert "Reviewed" in shown and hashlib.sha256(FILES["/docs/a.html"].encode()).hexdigest() in shown


def test_diff_and_show(d):
    d.write("/docs/a.html", "<h1>A2</h1>\n")
    diff = ok(d, "diff", "/docs/a.html")
    assert "-<h1>A</h1>" in diff and "+<h1>A2</h1>" in diff
    digest = re.search(r"--selection ([0-9a-f]{64})", diff)[1]
    answer = js(d, "diff", "/docs/a.html")
    assert answer["selection"]["digest"] == digest and [i["kind"] for i in answer["items"]] == ["hunk", "removed", "added"]
    shown = js(d, "show", "/docs/a.html")
    assert shown["file"]["state"] == "changed" and shown["file"]["approved_sha256"] == hashlib.sha256(b"<h1>A</h1>\n").hexdigest()
    assert ok(d, "show", "--content", "/docs/a.html") == "<h1>A</h1>\n"
    assert ok(d, "show", "--staged", "--content", "/docs/a.html") == "<h1>A2</h1>\n"
    done = js(d, "sign", "--selection", digest, "/docs/a.html")
    assert ok(d, "show", "--content", f"/docs/a.html@{done['seq']}") == "<h1>A2</h1>\n"
    first = js(d, "log", "/docs/a.html", "--act", "sign")["items"][-1]["seq"]
    assert ok(d, "show", "--content", f"/docs/a.html@{first}") == "<h1>A</h1>\n"
    record = js(d, "show", f"/docs/a.html@{first}")
    assert record["seq"] == first and record["files"]


def test_id_makes_repetition_safe(d):
    d.write("/id.html", "id")
    op = str(uuid.uuid4())
    first, again = (js(d, "sign", "--as-staged", "--id", op, "/id.html") for _ in range(2))
    assert again == {**first, "repeated": True} and first["id"] == op
    assert d.cli("sign", "--as-staged", "--id", op, "/docs/b.html").returncode == 4


def test_log(d):
    items = js(d, "log")["items"]
    assert [i["seq"] for i in items] == sorted((i["seq"] for i in items), reverse=True)
    for item in items:
        assert set(item) >= {"seq", "op", "act", "user", "at", "note", "fields", "files"}
        for f in item["files"]:
            assert set(f) >= {"path", "md5", "sha256"}
    assert {i["act"] for i in js(d, "log", "--act", "revoke")["items"]} == {"revoke"}
    assert {i["user"] for i in js(d, "log", "--user", f"unix:{d.user}")["items"]} == {f"unix:{d.user}"}
    assert js(d, "log", "--since", "2099-01-01")["items"] == []
    assert js(d, "log", "--since", "1h")["items"] and js(d, "log", "--until", "1h")["items"] == []
    assert all(any(f["path"].startswith("/docs") for f in i["files"]) for i in js(d, "log", "/docs")["items"])
    page = js(d, "log", "--limit", "2")
    assert len(page["items"]) == 2 and page["next"]
    text = ok(d, "log", "/docs/a.html")
    assert "sign" in text and "first" in text


# --- rights ------------------------------------------------------------------------------------------------------------


def test_roles(d):
    ok(d, "role", "set", "own:bob", "/news", "review")
    assert {"principal": "own:bob", "path": "/news", "role": "review"} in js(d, "role", "list")["items"]
    assert [i["path"] for i in js(d, "role", "list", "/docs")["items"] if i["principal"] == "own:bob"] == ["/docs"]
    explained = js(d, "access", "explain", "own:bob", "/news/1.html")
    assert explained["role"] == "review" and explained["rule"]["path"] == "/news" and "/news" in explained["explanation"]
    assert "review" in ok(d, "access", "explain", "bob", "/news/1.html")
    ok(d, "role", "remove", "own:bob", "/news")
    assert js(d, "access", "explain", "own:bob", "/news/1.html")["role"] == "none"
    fails(d, 2, "role", "remove", "own:bob", "/news")
    fails(d, 1, "role", "set", "own:bob", "/news", "king")


def test_nobody_takes_the_last_admin_away(d):
    ok(d, "role", "set", "own:alice", "/", "view")
    refusal = fails(d, 3, "role", "set", f"unix:{d.user}", "/", "view")
    assert "admin" in refusal
    ok(d, "role", "set", "own:alice", "/", "admin")


def test_refused_is_3(d):
    # over HTTP as bob, who may look at /docs only
    secret = d.dir / "bob.password"
    secret.write_text(PASSWORD + "\n")
    secret.chmod(0o600)
    d._own(secret)
    env = {"XDG_CONFIG_HOME": str(d.dir / "config")}
    fails(d, 3, "--server", d.url, "status", "/docs", env=env)
    ok(d, "--server", d.url, "login", "--password-file", str(secret), "bob", env=env)
    assert "own:bob" in ok(d, "--server", d.url, "whoami", env=env)
    assert {i["path"] for i in js(d, "--server", d.url, "status", "-r", env=env)["items"]} == {p for p in FILES if p.startswith("/docs")}
    fails(d, 3, "--server", d.url, "sign", "--as-staged", "/docs/a.html", env=env)
    fails(d, 2, "--server", d.url, "sign", "--as-staged", "/index.html", env=env)
    fails(d, 3, "--server", d.url, "sync", "force", "-m", "me", env=env)
    fails(d, 3, "--server", d.url, "user", "list", env=env)
    kept = [p for p in (d.dir / "config/drydock").rglob("*") if p.is_file()]
    assert kept and all(p.stat().st_mode & 0o77 == 0 for p in kept)
    ok(d, "--server", d.url, "logout", env=env)
    fails(d, 3, "--server", d.url, "whoami", env=env)
    secret.write_text("wrong\n")
    fails(d, 3, "--server", d.url, "login", "--password-file", str(secret), "bob", env=env)


def test_uid_0_has_no_role(d):
    if os.geteuid() == 0:  # nobody else can connect as root
        assert js(d, "whoami", uid=0)["user"] == "unix:root"
        fails(d, 2, "status", uid=0)


def test_preapprove(d):
    ok(d, "preapprove", "add", "-m", "build output", "/auto")
    d.write("/auto/x.html", "x")
    assert js(d, "preapprove", "list")["items"][0]["path"] == "/auto"
    assert js(d, "status", "-r", "/auto")["items"][0]["state"] == "preapproved"
    d.sync()
    assert d.live()["/auto/x.html"] == b"x"
    record = js(d, "log", "/auto", "--act", "pickup")["items"][0]
    assert record["files"][0]["path"] == "/auto/x.html"
    d.write("/auto/x.html", "y")
    d.sync()
    assert d.live()["/auto/x.html"] == b"y"
    ok(d, "preapprove", "remove", "/auto")
    d.write("/auto/x.html", "z")
    d.sync(state=None)
    assert d.live()["/auto/x.html"] == b"y"
    fails(d, 2, "preapprove", "remove", "/auto")


def test_preapprove_by_name_size_and_time(d):
    ok(d, "preapprove", "add", "/pics", "--pattern", "*.jpg", "--largest", "4B", "--until", "90d")
    item = js(d, "preapprove", "list")["items"][0]
    assert (item["path"], item["pattern"], item["largest"], item["ended"]) == ("/pics", "*.jpg", 4, False) and item["until"] > "2026"
    assert "*.jpg" in ok(d, "preapprove", "list") and "at most 4 bytes" in ok(d, "preapprove", "list")
    d.write("/pics/a.jpg", "1234")
    d.write("/pics/b.jpg", "12345")
    d.write("/pics/a.gif", "1")
    states = {i["path"]: i["state"] for i in js(d, "status", "-r", "--all", "/pics")["items"]}
    assert states == {"/pics/a.jpg": "preapproved", "/pics/b.jpg": "unsigned", "/pics/a.gif": "unsigned"}
    d.sync()
    assert [p for p in d.live() if p.startswith("/pics")] == ["/pics/a.jpg"]
    fails(d, 2, "preapprove", "remove", "/pics")
    ok(d, "preapprove", "remove", "/pics", "--pattern", "*.jpg")
    assert js(d, "preapprove", "list")["items"] == []
    for argv in (["--pattern", "a/b"], ["--pattern", "*****"], ["--largest", "4"], ["--largest", "0B"], ["--until", "soon"], ["--until", "2001-01-01"]):
        fails(d, 1, "preapprove", "add", "/pics", *argv)


# --- sync --------------------------------------------------------------------------------------------------------------


def test_sync(d):
    ok(d, "sign", "--as-staged", "-m", "news", "/news/1.html")
    plan = js(d, "sync", "plan")
    assert ("add", "/news/1.html") in [(i["change"], i["path"]) for i in plan["items"]]
    # The scheduler hears of it in its own time.
    status = until(lambda: (now := js(d, "sync", "status"))["pending_since"] and now)
    assert status["next"] <= status["at_latest"] and status["because"] == "quiet"
    assert d.cli("sync", "force", "--plan", "0" * 64, "-m", "no").returncode == 4
    before = d.newest_run()
    assert js(d, "sync", "force", "--plan", plan["digest"], "-m", "now")["seq"]
    # A second one that comes before the first began would be the same run, with its own reason.
    d.forced_run(before, "now")
    d.sync("and once more", state=None)
    assert d.live()["/news/1.html"] == b"news"
    runs = js(d, "sync", "log")["items"]
    assert {"ok"} <= {r["state"] for r in runs}
    mine = next(r for r in runs if r["reason"] == "now")
    one = js(d, "sync", "log", str(mine["run"]))
    assert one["targets"][0]["name"] == "production" and one["targets"][0]["exit_status"] == 0 and one["user"] == f"unix:{d.user}"
    assert "production" in ok(d, "sync", "log", str(mine["run"]))
    releases = js(d, "release", "list")["items"]
    assert [r["number"] for r in releases] == sorted((r["number"] for r in releases), reverse=True)
    assert js(d, "release", "show", "1")["release"]["number"] == 1
    assert js(d, "target", "list")["items"][0]["state"] == "confirmed"
    for argv in (["sync", "status"], ["sync", "plan"], ["sync", "log"], ["release", "list"], ["release", "show", "1"], ["target", "list"], ["site", "list"], ["whoami"]):
        assert ok(d, *argv).strip(), argv


def test_sites_and_people(d):
    assert js(d, "site", "list")["items"][0]["name"] == "www"
    assert js(d, "whoami")["user"] == f"unix:{d.user}"
    secret = d.dir / "carol.password"
    secret.write_text("a fine long password\n")
    secret.chmod(0o600)
    d._own(secret)
    ok(d, "user", "add", "--password-file", secret, "--display", "Carol C.", "carol")
    assert {"name": "carol", "display": "Carol C.", "enabled": True}.items() <= next(u for u in js(d, "user", "list")["items"] if u["name"] == "carol").items()
    assert d.login("carol", "a fine long password").get("/api/v1/whoami").status_code == 200
    ok(d, "user", "disable", "carol")
    assert d.browser().post("/api/v1/login", json={"name": "carol", "password": "a fine long password"}).status_code in (401, 403)
    ok(d, "user", "enable", "carol")
    ok(d, "group", "add", "editors")
    ok(d, "group", "join", "editors", "own:carol")
    assert js(d, "group", "list", "editors")["items"] == ["own:carol"]
    ok(d, "role", "set", "own:@editors", "/docs", "sign")
    assert js(d, "access", "explain", "own:carol", "/docs/a.html")["role"] == "sign"
    ok(d, "group", "leave", "editors", "own:carol")
    assert js(d, "access", "explain", "own:carol", "/docs/a.html")["role"] == "none"
    ok(d, "role", "remove", "own:@editors", "/docs")
    ok(d, "group", "remove", "editors")
    for name in ("@carol", "own:carol", "a/b", "new\nline", " carol", "c" * 200, ""):
        fails(d, 1, "user", "add", "--password-file", secret, name)
    for act in ("enable", "disable", "password"):
        fails(d, 2, "user", act, "--password-file", secret, "ghost")
    fails(d, 4, "user", "add", "--password-file", secret, "carol")
    assert "ghost" not in [u["name"] for u in js(d, "user", "list")["items"]]
    (d.dir / "short").write_text("x\n")
    fails(d, 1, "user", "add", "--password-file", d.dir / "short", "dave")


def test_failed_is_6(d):
    r = subprocess.run([program("drydock"), "--data", str(d.data), "release", "list", "--help"], stdout=open("/dev/full", "w"), stderr=subprocess.PIPE, text=True)
    assert r.returncode == 6, r


def test_completion(d):
    """Every command and the words that the completion offers are those of the program."""
    top = pathlib.Path(__file__).resolve().parents[2]
    script = next(p for p in (top / "completion").iterdir() if p.is_file())
    source = f'PATH={pathlib.Path(program("drydock")).parent}:$PATH; . {script}; COMP_WORDS=(drydock ""); COMP_CWORD=1; COMP_LINE="drydock "; COMP_POINT=8; ' \
             '$(complete -p drydock | sed "s/.*-F \\([^ ]*\\).*/\\1/") drydock "" drydock; printf "%s\\n" "${COMPREPLY[@]}"'
    words = subprocess.run(["bash", "-c", source], capture_output=True, text=True).stdout.split()
    assert set(COMMANDS) <= set(words), words


# --- counters and queues -----------------------------------------------------------------------------------------------


def test_counter(d):
    fails(d, 2, "-i", "works", "counter", "get")
    assert [ok(d, "-i", "works", "counter", "next") for _ in range(3)] == ["1\n", "2\n", "3\n"]
    assert js(d, "-i", "works", "counter", "get") == {"id": "works", "region": "drydock", "table": "counter", "value": 3}
    same = str(uuid.uuid4())
    assert ok(d, "-i", "works", "--id", same, "counter", "next") == ok(d, "counter", "next", "-i", "works", "--id", same) == "4\n"
    fails(d, 4, "-i", "other", "--id", same, "counter", "next")
    ok(d, "-i", "works", "counter", "rm")
    fails(d, 2, "-i", "works", "counter", "rm")
    assert ok(d, "-i", "works", "counter", "next") == "1\n"
    assert "DryDock itself" in fails(d, 3, "-i", "release/www", "counter", "next")
    for argv in (["counter", "next"], ["-i", "a b", "counter", "next"], ["-i", "x", "counter", "nothing"], ["-i", "x", "counter"], ["-i", "", "counter", "get"]):
        fails(d, 1, *argv)


def test_queue(d):
    queue = lambda *argv: js(d, "-i", "line", "queue", *argv)
    fails(d, 2, "-i", "line", "queue", "list")
    first = queue("-p", "host-1:4", "join")
    assert first == {"id": "line", "region": "drydock", "table": "counter", "fencing_token": 1, "ticket": {"process_id": "host-1:4", "counter": 1, "position": 1}}
    assert queue("-p", "host-2:4", "join")["ticket"] == {"process_id": "host-2:4", "counter": 2, "position": 2}
    assert queue("-p", "host-1:4", "join")["ticket"]["counter"] == 1
    head, waiter = queue("-p", "host-1:4", "get"), queue("-p", "host-2:4", "get")
    assert head["fencing_token"] == waiter["fencing_token"] > first["fencing_token"]
    assert [t["process_id"] for t in queue("list")["tickets"]] == ["host-1:4", "host-2:4"]
    fails(d, 2, "-i", "line", "queue", "-p", "host-3:4", "get")
    fails(d, 2, "-i", "line", "queue", "-p", "host-3:4", "leave")
    queue("-p", "host-1:4", "leave")
    assert ok(d, "-i", "line", "queue", "list").split() == ["1", "ticket", "2", "host-2:4"]
    fails(d, 4, "-i", "line", "counter", "next")
    ok(d, "-i", "line", "queue", "rm")
    assert queue("-p", "host-1:4", "join")["ticket"] == {"process_id": "host-1:4", "counter": 3, "position": 1}
    queue("-p", "host-1:4", "leave")
    assert "Nobody" in ok(d, "-i", "line", "queue", "list")
    fails(d, 3, "-i", "publisher/www", "queue", "-p", "host-1:4", "join")
    for argv in (["queue", "list"], ["-i", "x", "queue", "join"], ["-i", "x", "-p", "a b", "queue", "join"]):
        fails(d, 1, *argv)
