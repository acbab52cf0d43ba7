"""An insider's hand in the tables and in the log: every edit is found, and its finding names the table, or the commit.

Columns come from information_schema, so that a new one cannot be missed. DRYDOCK_TAMPER=1000 makes that many edits more,
at random rows (and says with which seed).
"""
import os
import random
import re
import time

import pytest

from world import FILES, Drydock, git, history, log_ref, names, program, sql, tables_def

MORE = int(os.environ.get("DRYDOCK_TAMPER", "20"))
SEED = os.environ.get("DRYDOCK_TAMPER_SEED", str(time.time_ns()))


class Tables:
    """The database as it ought to be, and edits of it."""

    def __init__(self, d):
        self.d, self.tables = d, {}
        for table, entry in tables_def().items():
            if entry["kind"] in ("RECORDED", "DERIVED"):
                self.tables[table] = {"entry": entry, "columns": {}}
        for table, column, kind in sql(d, "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = DATABASE() "
                                          "ORDER BY table_name, ordinal_position"):
            if table in self.tables:
                self.tables[table]["columns"][column] = kind
        sql(d, "DROP DATABASE IF EXISTS good; CREATE DATABASE good; " +
            " ".join(f"CREATE TABLE good.{t} AS SELECT * FROM {t};" for t in self.tables))
        for table, t in self.tables.items():
            hexed = ", ".join(f"HEX({c})" for c in t["columns"])
            # Of counters only those of releases are in the logs: who queues is no record.
            only = " WHERE id LIKE 'release/%'" if table == "counter" else ""
            t["rows"] = [dict(zip(t["columns"], row)) for row in sql(d, f"SELECT {hexed} FROM {table}{only}")]

    def restore(self, *tables):
        sql(self.d, " ".join(f"DELETE FROM {t}; INSERT INTO {t} SELECT * FROM good.{t};" for t in tables))

    def literal(self, table, column, value):
        number = self.tables[table]["columns"][column] in ("bigint", "int", "tinyint")
        return str(int(value, 16)) if number else f"X'{value}'"

    def where(self, table, row):
        return " AND ".join(f"{c} = {self.literal(table, c, v)}" for c, v in row.items())

    def other(self, table, column, value, rng):
        """Another value of that column's type, as hex."""
        kind = self.tables[table]["columns"][column]
        if kind in ("bigint", "int", "tinyint"):
            return f"{int(value, 16) ^ (1 if kind == 'tinyint' else rng.choice((1, 2, 1 << 40 if kind == 'bigint' else 4))):X}"
        raw = bytearray.fromhex(value)
        if not raw:
            return b"x".hex()
        at = rng.randrange(len(raw))
        if kind in ("char", "varchar", "text"):
            raw[at] = ord("b") if raw[at] != ord("b") else ord("c")
        else:
            raw[at] ^= 1 << rng.randrange(7)
        return raw.hex().upper()

    def edit(self, table, column, row, rng):
        """Put another value there; one that a key does not allow is no edit: then another one."""
        for _ in range(20):
            value = self.other(table, column, row[column], rng)
            try:
                sql(self.d, f"UPDATE {table} SET {column} = {self.literal(table, column, value)} WHERE {self.where(table, row)}")
            except RuntimeError as e:
                if "Duplicate entry" not in str(e):
                    raise
            else:
                return value
        raise AssertionError(f"no other value for {table}.{column}: {row}")


def check(d):
    """Both checks beside the running server: all findings."""
    out = []
    for place in ("/api/v1/check", d.api_site("/check")):
        number = d.must("POST", place, {})["check"]
        end = time.monotonic() + 60
        while True:
            report = d.must("GET", place)
            if report["check"] >= number:
                break
            assert time.monotonic() < end, report
            time.sleep(0.005)
        assert report["state"] in ("clean", "damage"), (report["message"], [(f["name"], f["subject"], f["what"]) for f in report["items"]])
        out += report["items"]
    return out


@pytest.fixture(scope="module")
def d():
    with Drydock(files=FILES, config="check_hour = 24") as d:
        history(d)
        # Under a second key, too: history() itself does not stop the server.
        d.stop()
        d.run(program(), "key", "change", "-m", "the yearly change", "--data", d.data)
        d.start()
        d.write("/index.html", "<h1>three</h1>")
        d.sign("/index.html", note="with the second key")
        d.sync()
        yield d


@pytest.fixture(scope="module")
def t(d):
    assert check(d) == []
    return Tables(d)


@pytest.fixture(autouse=True)
def clean_again(d):
    yield
    assert check(d) == []


def named(items, table):
    return any(f["subject"].startswith(table + ":") and re.match(r"(record|state)-row", f["name"]) for f in items)


def test_each_column_of_each_table(d, t):
    rng, edits = random.Random(1), 0
    for table, about in t.tables.items():
        assert about["rows"], f"the history has no row of {table}"
        for column in about["columns"]:
            if column in about["entry"]["loose"]:
                continue
            row = rng.choice(about["rows"])
            value = t.edit(table, column, row, rng)
            items = check(d)
            assert named(items, table), (table, column, row, value, items)
            edits += 1
            t.restore(table)
    assert edits > 80


def test_rows_deleted_inserted_exchanged_cut_off(d, t):
    rng = random.Random(2)
    for table, about in t.tables.items():
        recorded = about["entry"]["kind"] == "RECORDED"
        row = rng.choice(about["rows"])
        if table not in ("schedule", "token"):
            sql(d, f"DELETE FROM {table} WHERE {t.where(table, row)}")
            assert named(check(d), table), (table, "deleted", row)
            t.restore(table)
        if table not in ("schedule", "counter"):
            # One more, like another but for its key; of records, with numbers that are taken and that are not.
            key = {"site": "writer", "log_head": "node", "record": "seq", "record_file": "ord", "record_dir": "dir_hash", "act_id": "op",
                   "release_": "number", "account": "name", "own_group": "name", "membership": "principal", "token": "id", "file_state": "path_key"}.get(table, "path_hash")
            more = {"record_file": ["path_key"], "record": ["op"], "token": ["hash"]}.get(table, [])
            copy = {c: (t.other(table, c, v, rng) if c in (key, *more) else v) for c, v in row.items()}
            if table == "site":
                copy["site"] = b"elsewhere".hex()
            if key in ("seq", "number"):
                copy[key] = f"{int(row[key], 16) + 1000:X}"
            sql(d, f"INSERT INTO {table} ({', '.join(copy)}) VALUES ({', '.join(t.literal(table, c, v) for c, v in copy.items())})")
            items = check(d)
            assert named(items, table) or any(table + ":" in f["subject"] for f in items), (table, "inserted", copy, items)
            t.restore(table)
        if recorded and len(about["rows"]) > 2:
            # What two rows say, exchanged.
            one, two = rng.sample([r for r in about["rows"] if r["site"] == b"www".hex().upper()], 2)
            column = {"record": "body", "record_file": "sha256", "record_dir": "files", "act_id": "request_sha256", "release_": "log_commit"}[table]
            if one[column] != two[column]:
                sql(d, f"UPDATE {table} SET {column} = {t.literal(table, column, two[column])} WHERE {t.where(table, one)};"
                       f"UPDATE {table} SET {column} = {t.literal(table, column, one[column])} WHERE {t.where(table, two)}")
                assert named(check(d), table), (table, "exchanged", one, two)
                t.restore(table)
        if recorded:
            sql(d, f"DELETE FROM {table} WHERE site = 'www' AND seq > 3")
            assert named(check(d), table), (table, "cut off")
            t.restore(table)


def test_tables_cut_off_together(d, t):
    """All tables agree on an earlier end, and so does the ref: the log's commits, states and releases tell."""
    recorded = [n for n, about in t.tables.items() if about["entry"]["kind"] == "RECORDED"]
    seq = int(sql(d, "SELECT MAX(seq) FROM record WHERE site = 'www'")[0][0]) - 1
    sql(d, " ".join(f"DELETE FROM {n} WHERE site = 'www' AND seq > {seq};" for n in recorded) +
        f"UPDATE log_head h JOIN record r ON r.site = h.site AND r.node = h.node AND r.seq = {seq} SET h.seq = r.seq, h.record_sha256 = r.sha256, "
        "h.commit_id = r.commit_id WHERE h.site = 'www'")
    assert "database-behind" in names(check(d))
    ref, head = log_ref(d), git(d, "rev-parse", log_ref(d)).decode().strip()
    git(d, "update-ref", ref, f"{head}~1")
    assert {"state-row", "release-ref", "export-behind", "state-row-foreign", "state-row-missing"} & set(names(check(d)))
    git(d, "update-ref", ref, head)
    t.restore(*recorded, "log_head")


def test_commits_of_the_log(d, t):
    """The newest commit changed in each part of it, with the tables brought along: its signature does not hold."""
    ref, head = log_ref(d), git(d, "rev-parse", log_ref(d)).decode().strip()
    raw = git(d, "cat-file", "commit", head).decode()
    tree = re.match(r"tree (\w+)", raw).group(1)
    other_tree = git(d, "rev-parse", f"{head}~1^{{tree}}").decode().strip()
    edits = {
        "tree": raw.replace(tree, other_tree, 1),
        "parent": raw.replace(git(d, "rev-parse", head + "~1").decode().strip(), git(d, "rev-parse", head + "~2").decode().strip(), 1),
        "author": re.sub(r"(?m)^author \S+", "author mallory", raw, count=1),
        "author time": re.sub(r"(?m)^(author .*> )(\d+)", lambda m: m.group(1) + str(int(m.group(2)) - 3600), raw, count=1),
        "committer": re.sub(r"(?m)^committer \S+", "committer Somebody", raw, count=1),
        "signature": re.sub(r"(?m)^ (U1NIU0lH\w)(.)", lambda m: " " + m.group(1) + ("A" if m.group(2) != "A" else "B"), raw, count=1),
        "no signature": re.sub(r"(?ms)^gpgsig .*?-----END SSH SIGNATURE-----\n", "", raw, count=1),
        "message": raw.replace("\n\n", "\n\nnot ", 1),
        "trailer": re.sub(r"(?m)^Seq: \d+", "Seq: 1", raw, count=1),
        "one more header": raw.replace("\ncommitter", "\nencoding UTF-8\ncommitter", 1),
        "one more line": raw + "Signed-off-by: me\n",
    }
    for what, text in edits.items():
        assert text != raw, what
        forged = git(d, "hash-object", "-t", "commit", "-w", "--stdin", "--literally", stdin=text.encode()).decode().strip()
        git(d, "update-ref", ref, forged)
        items = check(d)
        assert any(forged in f["subject"] for f in items), (what, "the ref", items)
        # and with the database brought along
        sql(d, f"UPDATE log_head SET commit_id = X'{forged}' WHERE site = 'www'; UPDATE record SET commit_id = X'{forged}' WHERE commit_id = X'{head}'")
        items = check(d)
        assert any(f["name"].startswith("log-") and forged in f["subject"] for f in items), (what, "with the database", items)
        git(d, "update-ref", ref, head)
        t.restore("log_head", "record")
    # a commit left out in the middle: those after it, made again without the node's key
    chain = git(d, "rev-list", "--reverse", head).decode().split()
    parent = chain[3]
    for commit in chain[5:]:
        parent = git(d, "commit-tree", commit + "^{tree}", "-p", parent, stdin=b"again\n").decode().strip()
    git(d, "update-ref", ref, parent)
    sql(d, f"UPDATE log_head SET commit_id = X'{parent}' WHERE site = 'www'")
    found = check(d)
    assert {"log-signature", "log-chain"} <= set(names(found)), found
    git(d, "update-ref", ref, head)
    t.restore("log_head")


def test_many_edits(d, t):
    print("seed", SEED)
    rng, edits = random.Random(SEED), 0
    tables = [n for n, about in t.tables.items() if about["rows"]]
    while edits < MORE:
        table = rng.choice(tables)
        about = t.tables[table]
        column = rng.choice([c for c in about["columns"] if c not in about["entry"]["loose"]])
        row = rng.choice(about["rows"])
        value = t.edit(table, column, row, rng)
        items = check(d)
        assert named(items, table), (SEED, table, column, row, value, items)
        edits += 1
        t.restore(table)
    print(edits, "edits, all found and named")
