"""drydockd rebuild: the database from the repositories alone, compared table by table with the one that was lost."""
import pathlib
import re
import shutil

import pytest

from world import FILES, PASSWORD, Drydock, fsck, git, history, log_ref, program, sql, tables_def


@pytest.fixture(scope="module")
def d():
    with Drydock(files=FILES) as d:
        history(d)
        yield d


def dump(d):
    """{table: sorted rows of {column: value}}, columns read from the schema."""
    out = {}
    for table, column in sql(d, "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = DATABASE() ORDER BY 1, ordinal_position"):
        out.setdefault(table, []).append(column)
    return {table: sorted((dict(zip(columns, row)) for row in sql(d, f"SELECT {', '.join(f'HEX({c})' for c in columns)} FROM {table}")), key=repr)
            for table, columns in out.items()}


def compare(before, after):
    tables = tables_def()
    # A table that nobody lists fails here as well as in tests/db/schema_test.c.
    assert set(before) == set(after) == set(tables)
    compared = 0
    for table, entry in tables.items():
        if entry["kind"] in ("KEPT", "APART"):
            continue
        loose = set(entry["loose"])
        strip = lambda rows: sorted(({c: v for c, v in row.items() if c not in loose} for row in rows), key=repr)
        if table == "counter":  # only those of releases are in the logs; see below
            continue
        assert strip(before[table]) == strip(after[table]), table
        compared += len(before[table])
    number = lambda rows: {r["id"]: (int(r["value"], 16), int(r["version"], 16)) for r in rows}
    was, now = number(before["counter"]), number(after["counter"])
    for name, (value, version) in was.items():
        assert now[name][0] >= value and now[name][1] >= version, name
    return compared


def lose_database(d):
    for name in ("db", "db.log"):
        place = d.data / name
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)


def test_equal_table_by_table(d):
    before = dump(d)
    assert {"record", "record_file", "record_dir", "act_id", "release_", "file_state", "rule", "requirement", "field", "preapproval", "account", "own_group",
            "membership", "token", "log_head", "site", "schedule"} <= {t for t, rows in before.items() if rows}, "the history has all kinds of rows"
    key = "00000000-0000-4000-8000-000000000001"
    chosen = d.selection("sign", "/a/c/d.css")
    body = {"paths": ["/a/c/d.css"], "selection": chosen["digest"], "id": key}
    first = d.must("POST", d.api_site("/sign"), body)
    before = dump(d)
    d.stop()
    r = d.run(program(), "rebuild", "--data", d.data, check=False)
    assert r.returncode == 4 and "--replace" in r.stderr, "a database that has rows is not overwritten"
    lose_database(d)
    r = d.run(program(), "rebuild", "--data", d.data)
    assert "www: made again from" in r.stdout and "Passwords" in r.stdout
    fsck(d, "--deep", status=0)
    d.start()
    assert compare(before, dump(d)) > 100
    # the same request again is answered with the same record, another one with that id is refused
    again = d.must("POST", d.api_site("/sign"), body)
    assert again["repeated"] and again["seq"] == first["seq"]
    assert d.api("POST", d.api_site("/sign"), {**body, "note": "other"})[0] == 409
    # nobody gets in with a lost password, until a new one is set
    with pytest.raises(AssertionError):
        d.login("alice")
    d.must("POST", "/api/v1/users", {"name": "alice", "password": PASSWORD})
    d.login("alice")
    # and life goes on: the next release has the next number
    d.write("/index.html", b"after")
    d.sign("/index.html")
    number = max(int(r["number"], 16) for r in before["release_"])
    assert d.sync()["release"] == number + 1


def test_replace_keeps_passwords(d):
    d.must("POST", "/api/v1/users", {"name": "alice", "password": PASSWORD})
    before = dump(d)
    sql(d, "DELETE FROM record_file WHERE ord = 0 LIMIT 3")
    sql(d, "UPDATE record SET note = 'other words' WHERE seq = 2")
    d.stop()
    _, items, _ = fsck(d, status=2)
    assert {f["name"] for f in items} == {"record-row", "record-row-missing"}
    d.run(program(), "rebuild", "--replace", "--data", d.data)
    fsck(d, status=0)
    d.start()
    compare(before, dump(d))
    d.login("alice")


def test_an_older_database_is_read_only_until_it_is_made_again(d, tmp_path):
    d.stop()
    shutil.copytree(d.data / "db", tmp_path / "db")
    d.start()
    d.write("/index.html", b"signed after the copy was made")
    d.sign("/index.html")
    d.stop()
    lose_database(d)
    shutil.copytree(tmp_path / "db", d.data / "db")
    d.start()
    status, answer = d.api("POST", d.api_site("/revoke"), {"paths": ["/index.html"], "as_staged": True})
    assert status == 503 and "behind the log" in answer["detail"] and "drydockd rebuild" in answer["detail"], answer
    d.stop()
    _, items, _ = fsck(d, status=2)
    assert "database-behind" in {f["name"] for f in items}
    d.run(program(), "rebuild", "--replace", "--data", d.data)
    fsck(d, status=0)
    d.start()
    assert d.file("/index.html")["state"] == "signed"
    d.revoke("/index.html")


def test_a_damaged_log_makes_nothing(d):
    d.stop()
    ref = log_ref(d)
    head = git(d, "rev-parse", ref).decode().strip()
    foreign = git(d, "commit-tree", head + "^{tree}", "-p", head, stdin=b"hello\n").decode().strip()
    git(d, "update-ref", ref, foreign)
    r = d.run(program(), "rebuild", "--replace", "--data", d.data, check=False)
    assert r.returncode == 3 and foreign in r.stderr and "log-" in r.stderr, r.stderr
    git(d, "update-ref", ref, head)
    fsck(d, status=0)
    d.start()


def test_every_act_that_is_written_is_taken_up():
    """An act of server/acts/ that server/check/replay.c does not know would be damage to fsck, and would stop rebuild."""
    server = pathlib.Path(__file__).resolve().parents[2] / "server"
    written = set()
    for file in (server / "acts").glob("*.c"):
        written |= set(re.findall(r'\.act = "([a-z-]+)"', file.read_text()))
    replay = (server / "check" / "replay.c").read_text()
    known = set(re.findall(r'\{ "([a-z-]+)", add_\w+ \}', replay))
    assert len(written) >= 8 and written - known == set()
