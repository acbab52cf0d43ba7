"""drydockd backup beside a running server, restore, and what a restored one does before and after the loss is accepted."""
import os
import pathlib
import re
import shutil
import stat

import pytest

from world import FILES, PASSWORD, Drydock, fsck, git, history, log_ref, names, program, signing, sql
from test_rebuild import dump


@pytest.fixture(scope="module")
def d():
    with Drydock(files=FILES, config="check_hour = 24") as d:
        history(d)
        yield d


def restored(d, place, data):
    """The restored directory in place of the one that was lost; paths of the world stay."""
    r = d.run(program(), "restore", place, "--data", data)
    assert "starts read-only" in r.stdout
    d.stop()
    d.data.rename(d.dir / "lost")
    data.rename(d.data)


def put_back(d):
    d.stop()
    if (d.dir / "lost").exists():
        shutil.rmtree(d.data)
        (d.dir / "lost").rename(d.data)
    if not d.process:
        d.start()


def test_numbers_below_zero(d):
    """A kit that was killed: restored. Files from before 1970 and from long after: what is recorded of them is the same everywhere."""
    os.utime(d.write("/old.html", "from before 1970"), (-10**6, -10**6))
    os.utime(d.write("/far.html", "from long after"), (10**10, 10**10))
    d.sign("/old.html", "/far.html")
    fsck(d, status=0)
    sql(d, "UPDATE run_target SET exit_status = -1 LIMIT 1")
    # Which columns can be negative is written down in db/tables.c; other signed ones are times.
    signed = {c for c, in sql(d, "SELECT column_name FROM information_schema.columns WHERE table_schema = 'drydock' AND data_type IN ('int', 'bigint') "
                                 "AND column_type NOT LIKE '%unsigned%'")}
    assert {c for c in signed if not re.search("at$|pending|approval|start|until|since|ends|last|seen", c)} == {"mtime", "exit_status"}, signed
    asked = "SELECT mtime FROM record_file ORDER BY seq, ord", "SELECT COUNT(*) FROM run_target WHERE exit_status < 0"
    before = [sql(d, x) for x in asked]
    assert before[1] != [["0"]], before
    d.run(program(), "backup", d.dir / "below-zero", "--data", d.data)
    restored(d, d.dir / "below-zero", d.dir / "new")
    try:
        d.run(program(), "rebuild", "--replace", "--data", d.data)
        d.start()
        assert [sql(d, x) for x in asked] == before
        fsck(d, status=0)
    finally:
        put_back(d)
    d.revoke("/old.html", "/far.html")
    d.remove("/old.html")
    d.remove("/far.html")


def test_backup_beside_acts_and_restore(d):
    place, before = d.dir / "backup", None
    with signing(d):
        r = d.run(program(), "backup", place, "--data", d.data)
    assert "as you keep them" in r.stdout, "it is said what in it is secret"
    assert stat.S_IMODE(place.stat().st_mode) == 0o700 and stat.S_IMODE((place / "node.key").stat().st_mode) == 0o600
    assert d.run(program(), "backup", place, "--data", d.data, check=False).returncode == 4, "never over another one"
    d.sign("/a/c/d.css", note="after the backup")
    signed = d.file("/a/c/d.css")["state"]
    restored(d, place, d.dir / "new")
    try:
        # the database and the repositories are of one moment, whatever was signed meanwhile
        # the export is not in it: it is made from the approved tree
        assert names(fsck(d, "--deep", status=2)[1]) == ["export-behind"]
        d.start()
        fsck(d, "--deep", status=0)
        assert signed == "signed" and d.file("/a/c/d.css")["state"] == "unsigned"
        status, answer = d.api("POST", d.api_site("/sign"), {"paths": ["/a/c/d.css"], "as_staged": True})
        assert status == 503 and "restored from the backup of" in answer["detail"] and "accept-loss" in answer["detail"], answer
        d.login("alice")  # passwords are in the backup
        d.stop()
        assert d.run(program(), "accept-loss", "--data", d.data, check=False).returncode == 1, "a reason is wanted"
        d.run(program(), "accept-loss", "-m", "the disk broke; compared with production", "--data", d.data)
        assert d.run(program(), "accept-loss", "-m", "again", "--data", d.data, check=False).returncode == 2
        d.start()
        d.sign("/a/c/d.css")
        record = d.records(act="restore")[0]
        assert record["note"] == "the disk broke; compared with production" and record["user"] == "system:drydock" and record["fields"]["backup"]
        fsck(d, "--deep", status=0)
    finally:
        put_back(d)


def test_backup_is_the_database(d):
    """Without anybody writing: what comes back is, row by row, what was backed up."""
    place = d.dir / "backup-still"
    d.stop()
    d.run(program(), "backup", place, "--data", d.data)
    d.start()
    was = dump(d)
    restored(d, place, d.dir / "new")
    try:
        d.start()
        now = dump(d)
        for table in was:
            if table in ("session", "meta", "event", "run", "schedule", "publisher"):
                continue
            if table == "counter":
                # Who has the turn of a site is another one now: a place of its own queues anew, behind what was.
                turns = [{r["id"]: (int(r["value"]), int(r["version"])) for r in t[table] if bytes.fromhex(r["id"]).startswith(b"publisher/")} for t in (was, now)]
                assert turns[0] and turns[0].keys() == turns[1].keys() and all(turns[1][k] > v for k, v in turns[0].items()), turns
                for t in (was, now):
                    t[table] = [r for r in t[table] if r["id"] not in turns[0]]
            assert was[table] == now[table], table
        keep = lambda rows: {repr(r) for r in rows}
        assert keep(was["event"]) <= keep(now["event"]) and keep(r for r in was["run"]) <= keep(now["run"])
    finally:
        put_back(d)


def test_beside_a_server_of_another_version(d):
    """One that was started before an upgrade: refused with what to do, and nothing is left behind."""
    place = d.dir / "backup-version"
    number = int(sql(d, "SELECT v FROM meta WHERE k = 'schema'")[0][0])
    for other, words in ((number - 1, ("an older DryDock's", "Start the server anew")), (number + 1, ("a newer DryDock",))):
        sql(d, f"UPDATE meta SET v = {other} WHERE k = 'schema'")
        try:
            r = d.run(program(), "backup", place, "--data", d.data, check=False)
        finally:
            sql(d, f"UPDATE meta SET v = {number} WHERE k = 'schema'")
        assert r.returncode == 4 and f"schema is number {other}" in r.stderr and all(w in r.stderr for w in words), r.stderr
        assert not place.exists()
    d.run(program(), "backup", place, "--data", d.data)


def test_a_backup_that_is_not_whole_is_refused(d):
    place = d.dir / "backup-short"
    d.run(program(), "backup", place, "--data", d.data)

    def refused(*words):
        r = d.run(program(), "restore", place, "--data", d.dir / "never", check=False)
        assert r.returncode == 1 and all(w in r.stderr for w in words), r.stderr
        assert not (d.dir / "never").exists(), "nothing is made from it"

    manifest = place / "MANIFEST"
    good = manifest.read_bytes()
    manifest.unlink()
    refused("MANIFEST", "cut short")
    for bad in (good[:len(good) // 2], good[:-1], good.replace(b"node.pub", b"node.pux"), b""):
        manifest.write_bytes(bad)
        refused("MANIFEST")
    manifest.write_bytes(good)
    files = [p for p in place.rglob("*") if p.is_file() and p.name != "MANIFEST"]
    pack = next(p for p in files if p.suffix == ".pack")
    for file in (place / "database", pack, place / "node.key"):
        file.chmod(0o600)
        whole = file.read_bytes()
        file.write_bytes(whole[:-1])
        refused(str(file.relative_to(place)), "is not what was backed up")
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        refused(str(file.relative_to(place)), "is not what was backed up")
        file.unlink()
        refused(str(file.relative_to(place)), "is missing")
        os.symlink("/etc/passwd", file)
        assert d.run(program(), "restore", place, "--data", d.dir / "never", check=False).returncode != 0
        file.unlink()
        file.write_bytes(whole)
    assert d.run(program(), "restore", place, "--data", d.data, check=False).returncode == 4, "never over what is there"
    assert d.run(program(), "restore", place, check=False).returncode == 1
