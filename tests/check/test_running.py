"""fsck against a running server, beside acts; the nightly check; what admins are told."""
import json
import threading

import pytest

from world import FILES, Drydock, fsck, git, history, log_ref, names, repository, signing, sql

from failpoints import Failpoints  # noqa: E402
from waiting import until  # noqa: E402


@pytest.fixture(scope="module")
def d():
    with Drydock(files=FILES, accounts=("alice", "vera"), config="check_hour = 24") as d:
        history(d)
        yield d


def test_fsck_asks_the_server_that_runs(d):
    _, items, answer = fsck(d, "--deep", status=0)
    assert items == [] and answer["records"] > 15 and answer["files"] == 3
    export = d.data / "sites" / "www" / "export"
    (export / "shell.php").write_bytes(b"<?php")
    git(d, "update-ref", log_ref(d), git(d, "rev-parse", log_ref(d) + "~1").decode().strip())
    assert names(fsck(d, status=2)[1]) == ["export-foreign", "log-ref"]
    _, items, _ = fsck(d, "--repair", status=1)
    assert all(f["repaired"] for f in items) and not (export / "shell.php").exists()
    fsck(d, status=0)
    assert fsck(d, "--site", "www", status=0)[2]["records"] < answer["records"]
    assert fsck(d, "--site", "other")[0] == 3


def test_only_admins(d):
    for who, place, status in (("vera", d.api_site("/check"), 403), ("vera", "/api/v1/check", 403)):
        d.must("POST", d.api_site("/roles"), {"principal": "own:vera", "path": "/", "role": "review"})
        session = d.login(who)
        assert session.get(place).status_code == status and session.post(place, json={}).status_code == status, place
    assert "drydock_check" not in d.login("vera").get("/metrics").text


def test_beside_acts(d):
    """Signing goes on while checks run: none of them sees a difference that is not there."""
    with signing(d):
        for i in range(12):
            fsck(d, *(["--deep"] if i % 3 == 0 else []), status=0)
    fsck(d, "--deep", status=0)


FORGED = [
    # approved by nobody, other bytes approved, an approval taken away
    "INSERT INTO file_state SELECT site, CONCAT(LEFT(path_key, 39), 'x'), '/forged.html', approval, md5, sha256, size, exec, blob_id, node, seq, at, actor, "
    "review_seq, reviewed FROM file_state WHERE site = 'www' AND path = '/index.html'",
    "UPDATE file_state SET sha256 = UNHEX(SHA2('other', 256)) WHERE site = 'www' AND path = '/a/b.html/index.html'",
    "DELETE FROM file_state WHERE site = 'www' AND path = '/data/prices.csv'",
    # somebody made himself an admin
    "UPDATE rule SET role = 4 WHERE site = 'www' AND path = '/' AND principal = 'own:vera'",
    "INSERT INTO membership VALUES ('editors', 'own:vera', 1)",
    "DELETE FROM own_group WHERE name = 'editors'",
    "UPDATE requirement SET reviews = 2 WHERE site = 'www'",
    "UPDATE field SET required = 0, label = 'forged' WHERE site = 'www'",
    "UPDATE preapproval SET path = '/none', largest = 1 WHERE site = 'www' LIMIT 1",
    "DELETE FROM hold WHERE site = 'www'",
]


def test_rows_are_put_right_beside_acts(d):
    """In tables and in what the server keeps of them, while somebody signs."""
    d.must("POST", d.api_site("/roles"), {"principal": "own:vera", "path": "/", "role": "review"})
    for statement in FORGED:
        sql(d, statement)
    d.restart()
    vera = d.login("vera")
    assert d.file("/forged.html")["state"] == "missing" and d.file("/a/b.html/index.html")["state"] == "changed"
    # Rules that no record was made under do not count, and no act signs them.
    assert "event=rules.foreign" in d.log() and vera.get(d.api_site("/check")).status_code == 403
    assert {f["label"] for f in d.must("GET", d.api_site("/fields"))["items"]} == {"Number of the “ticket”", "Kind"}
    before = git(d, "rev-parse", log_ref(d) + ":rules")
    with signing(d):
        _, items, answer = fsck(d, "--repair", status=1)
    assert all(f["repaired"] for f in items), items
    assert {f["subject"].split(":")[0] for f in items} == {
        "file_state", "rule", "membership", "own_group", "requirement", "field", "preapproval", "hold"}, items
    assert "event=check.alone" not in d.log(), "nobody had to wait: no act wrote these rows"
    # A row that acts write again and again, in a column that they leave alone.
    sql(d, "UPDATE file_state SET review_seq = 9999 WHERE site = 'www' AND path = '/index.html'")
    with signing(d):
        _, items, answer = fsck(d, "--repair", status=1)
    assert [(f["subject"].split(":")[0], f["repaired"]) for f in items] == [("file_state", True)], items
    fsck(d, status=0)
    assert git(d, "rev-parse", log_ref(d) + ":rules") == before
    assert d.api("GET", d.api_site("/file?path=/forged.html"))[0] == 404 and d.file("/a/b.html/index.html")["state"] == "signed"
    assert d.file("/data/prices.csv")["state"] in ("signed", "preapproved")
    assert [x["path"] for x in d.must("GET", d.api_site("/holds"))["items"]] == ["/legal"]
    # What was read again is what acts go by.
    d.write("/index.html", "after all that")
    d.sign("/index.html")
    d.restart()
    assert d.log().count("event=rules.foreign") == 1
    fsck(d, "--deep", status=0)


def test_a_rule_written_while_rows_are_put_right(d):
    """After the check has read the tables, and before the server reads them again."""
    pause = Failpoints(d.dir / "pause", own=d._own)
    rules = git(d, "rev-parse", log_ref(d) + ":rules")
    d.stop()
    d.start(env=pause.env)
    sql(d, "DELETE FROM hold WHERE site = 'www'")
    pause.delay("mend_rows", 5000)
    check = threading.Thread(target=fsck, args=(d, "--site", "www", "--repair"))
    check.start()
    until(lambda: pause.happened)
    sql(d, "UPDATE rule SET role = 4 WHERE site = 'www' AND path = '/' AND principal = 'own:vera'")
    check.join()
    assert d.login("vera").get(d.api_site("/check")).status_code == 403
    d.write("/index.html", "who signs this signs no rule")
    d.sign("/index.html")
    assert git(d, "rev-parse", log_ref(d) + ":rules") == rules
    assert [f["subject"].split(":")[0] for f in fsck(d, "--repair", status=1)[1]] == ["rule"]
    d.restart()
    fsck(d, "--deep", status=0)


def test_a_record_in_between_that_cannot_be_read(d):
    """What it wrote is not known then, and it may be the very row: that stays as the act has left it."""
    # So many that the server does not keep the list of them in memory.
    for i in range(500):
        d.write(f"/between/{i:0100}", "x")
    pause = Failpoints(d.dir / "between", own=d._own)
    d.stop()
    d.start(env=pause.env)
    sql(d, "UPDATE file_state SET size = 1 WHERE site = 'www' AND path = '/index.html'")
    packs = repository(d) / "objects" / "pack"
    there = set(packs.iterdir())
    pause.delay("mend_compared", 5000)
    check = threading.Thread(target=fsck, args=(d, "--site", "www", "--repair"))
    check.start()
    until(lambda: pause.happened)
    d.write("/index.html", "written in between")
    d.sign("/index.html", "/between", recursive=True)
    row = sql(d, "SELECT HEX(sha256), size, seq FROM file_state WHERE site = 'www' AND path = '/index.html'")
    files = git(d, "rev-parse", log_ref(d) + ":files").decode().strip()
    assert len(git(d, "cat-file", "blob", files)) > 64 * 1024
    aside = d.dir / "aside"
    aside.mkdir()
    for new in set(packs.iterdir()) - there:
        new.rename(aside / new.name)
    for pack in aside.glob("*.pack"):
        git(d, "unpack-objects", "-q", stdin=pack.read_bytes())
    lost = packs.parent / files[:2] / files[2:]
    lost.rename(aside / files)
    check.join()
    assert row == sql(d, "SELECT HEX(sha256), size, seq FROM file_state WHERE site = 'www' AND path = '/index.html'")
    assert names(fsck(d, status=2)[1]) == ["object-missing"]
    (aside / files).rename(lost)
    fsck(d, "--repair", status=0)


def test_asked_for_in_the_browser(d):
    d.must("POST", d.api_site("/roles"), {"principal": "own:alice", "path": "/", "role": "admin"})
    alice = d.login("alice")
    before = alice.get("/api/v1/sites/www/check").json()["check"]
    (d.data / "sites" / "www" / "export" / "<b>.php").write_bytes(b"<?php")
    assert alice.post("/s/www/check", data={"deep": "1"}, allow_redirects=False).headers["Location"] == "/s/www/check"
    assert alice.post("/s/www/check", data={}, headers={"X-CSRF-Token": ""}, allow_redirects=False).status_code == 403
    until(lambda: alice.get("/api/v1/sites/www/check").json()["check"] > before)
    page = alice.get("/s/www/check").text
    assert "export-foreign" in page and "/&lt;b&gt;.php" in page and "moves it to export.foreign/" in page
    fsck(d, "--repair", status=1)
    page = alice.get("/s/www/check").text
    assert "1 finding, all repaired." in page and "It is repaired." in page


def test_admins_are_told(d):
    sql(d, "UPDATE record SET note = 'other words' WHERE site = 'www' AND seq = 2")
    fsck(d, status=2)
    d.must("POST", d.api_site("/roles"), {"principal": "own:alice", "path": "/", "role": "admin"})
    alice = d.login("alice")
    page = alice.get("/s/www/").text
    assert "The last check found 1 fault: record-row." in page and 'href="/s/www/check"' in page
    page = alice.get("/s/www/check").text
    assert "1 finding, 0 repaired." in page and "record-row" in page and "Find out who could write to it." in page
    assert "and nothing is wrong." in page, "the installation's own check"
    assert d.login("vera").get("/s/www/check").status_code == 403 == d.login("vera").post("/s/www/check").status_code
    assert 'drydock_check_findings{site="www"} 1' in alice.get("/metrics").text
    assert "The last check" not in d.login("vera").get("/s/www/").text
    sql(d, "UPDATE record SET note = 'the first' WHERE site = 'www' AND note = 'other words'")
    _, items, _ = fsck(d)
    if items:  # the note of record 2 was another one
        note = json.loads(git(d, "show", f"{log_ref(d)}~{len(git(d, 'rev-list', log_ref(d)).split()) - 2}:record"))["note"]
        sql(d, f"UPDATE record SET note = '{note}' WHERE site = 'www' AND seq = 2")
    fsck(d, status=0)
    assert "The last check" not in alice.get("/s/www/").text
    assert 'drydock_check_findings{site="www"} 0' in alice.get("/metrics").text
