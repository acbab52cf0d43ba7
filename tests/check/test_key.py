"""The node's key changed: what both keys signed is checked by DryDock and by stock tools, and whoever has only one of them is found out."""
import base64
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from world import FILES, Drydock, fsck, git, history, log_ref, names, program, repository, sql

from failpoints import Failpoints  # noqa: E402

CHANGES = 2


def change(d, *options, code=0, reason="the yearly change"):
    r = d.run(program(), "key", "change", "-m", reason, *options, "--data", d.data, check=False)
    assert r.returncode == code, (r.returncode, r.stdout, r.stderr)
    return r


def keys(d):
    return json.loads(d.run(program(), "key", "list", "--json", "--data", d.data).stdout)["items"]


def fingerprint(place):
    return subprocess.run(["ssh-keygen", "-lf", place], capture_output=True, text=True, check=True).stdout.split()[1]


@pytest.fixture(scope="module")
def d():
    """A history under three keys: the first two are kept, for forgers."""
    with Drydock(files=FILES, config="check_hour = 24") as d:
        history(d)
        for n in range(CHANGES):
            d.stop()
            change(d, "--keep-old", reason=f"change {n + 1}")
            d.start()
            d.write("/index.html", f"after change {n + 1}")
            d.sign("/index.html", note=f"with key {n + 2}")
            d.sync()
        yield d


@pytest.fixture(autouse=True)
def clean_again(d):
    yield
    assert fsck(d)[1] == []


def of(d):
    """The key files, the oldest first."""
    place = {item["fingerprint"]: None for item in keys(d)}
    for file in (d.data / "node.key", *d.data.glob("node.key.*")):
        place[fingerprint(file)] = file
    return list(place.values())


# --- what is right -------------------------------------------------------------------------------------------------------


def test_everything_checks_itself(d):
    for options in ((), ("--deep",)):
        assert fsck(d, *options, status=0)[1] == []
    listed = keys(d)
    assert [item["reason"] for item in listed] == [None, "change 1", "change 2"]
    assert all(item["by"].startswith("unix:") and item["since"] for item in listed[1:])
    assert listed[-1]["fingerprint"] == fingerprint(d.data / "node.pub") == fingerprint(d.data / "node.key")
    for site in ("www", "installation"):
        assert len([r for r in sql(d, f"SELECT seq FROM record WHERE site = '{site}' AND act = 'key'")]) == CHANGES
    for record in d.records(act="key"):
        assert record["user"] == "system:drydock" and record["note"].startswith("change ") and "signatures" not in record["fields"]
        assert record["fields"]["key"].startswith("ssh-ed25519 ") and record["fields"]["by"].startswith("unix:")


def test_a_record_names_its_key(d):
    prints, log = [item["fingerprint"] for item in keys(d)], Log(d)
    for seq, n in ((1, 0), (log.changes[0], 0), (log.changes[0] + 1, 1), (log.changes[1], 1), (log.changes[1] + 1, 2)):
        assert d.must("GET", d.api_site(f"/records/{seq}"))["signed_with"] == prints[n]


def test_stock_git_believes_both(d):
    signers = f"gpg.ssh.allowedSignersFile={d.data / 'allowed_signers'}"
    for site in ("www", "installation"):
        ref = log_ref(d) if site == "www" else [line.split()[1] for line in git(d, "show-ref", site=site).decode().splitlines()][0]
        said = git(d, "-c", signers, "log", "--format=%G? %GF %ct", ref, site=site).decode().split("\n")[:-1]
        assert said and all(line.startswith("G ") for line in said), said
        used = [line.split()[1] for line in reversed(said)]
        # of the installation's log nothing has happened since the last change, which the key before signed
        assert [k for i, k in enumerate(used) if not i or used[i - 1] != k] == [item["fingerprint"] for item in keys(d)][:CHANGES + (site == "www")]
    main = git(d, "-c", signers, "log", "--format=%G?", "main").decode().split()
    assert len(main) >= 4 and set(main) == {"G"}
    tags = git(d, "tag").decode().split()
    for tag in tags:
        r = subprocess.run(["git", "--git-dir", repository(d), "-c", signers, "verify-tag", "--raw", tag], capture_output=True, text=True, check=True)
        assert 'Good "git" signature for node@drydock.invalid' in r.stderr, r.stderr
    # a key does not speak for the time of another
    lines = (d.data / "allowed_signers").read_text().splitlines()
    assert len(lines) == CHANGES + 1 and all('namespaces="git,drydock-release,drydock-receipt,drydock-key"' in line for line in lines)
    only = d.dir / "only-the-first"
    only.write_text(lines[0] + "\n")
    said = git(d, "-c", f"gpg.ssh.allowedSignersFile={only}", "log", "--format=%G?", log_ref(d)).decode().split()
    assert said[0] != "G" and said[-1] == "G"


def test_releases_of_all_keys(d):
    numbers = [int(row[0]) for row in sql(d, "SELECT number FROM release_ WHERE site = 'www' ORDER BY number")]
    assert len(numbers) >= 4
    for n in numbers:
        answer = d.must("GET", d.api_site(f"/releases/{n}/verify"))
        assert answer["items"] and all(c["ok"] for c in answer["items"]), (n, answer)


def test_a_lost_tag_is_the_same_again(d):
    before = git(d, "show-ref", "--tags")
    d.stop()
    for tag in git(d, "tag").decode().split():
        git(d, "update-ref", "-d", f"refs/tags/{tag}")
    d.start()
    assert git(d, "show-ref", "--tags") == before


def test_rebuilt_from_the_logs(d):
    tables = lambda: [sql(d, "SELECT HEX(commit_id), seq FROM log_head ORDER BY 1"), sql(d, "SELECT number, HEX(main_commit), HEX(log_commit) FROM release_ ORDER BY 1")]
    before = tables()
    d.stop()
    d.run(program(), "rebuild", "--replace", "--data", d.data)
    d.start()
    assert tables() == before
    d.write("/index.html", "after the rebuild")
    d.sign("/index.html")


# --- forgers ----------------------------------------------------------------------------------------------------------------


def sign(text, key, space="git"):
    return subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", space], input=text, capture_output=True, check=True).stdout


def canonical(record):
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Log:
    """The log of a site, to be written again: edit(n, record) may change the record, key(n) says who signs commit n (from 1)."""

    def __init__(self, d, site="www"):
        self.d, self.site, self.ref = d, site, log_ref(d)
        self.head = git(d, "rev-parse", self.ref).decode().strip()
        self.ids = git(d, "rev-list", "--reverse", self.head).decode().split()
        self.changes = [n for n, c in enumerate(self.ids, 1) if json.loads(git(d, "show", f"{c}:record"))["act"] == "key"]
        self.keys = of(d)

    def right(self, n):
        return self.keys[sum(n > c for c in self.changes)]

    def write(self, start, key=None, edit=None):
        parent, before = self.ids[start - 2] if start > 1 else None, None
        for n in range(start, len(self.ids) + 1):
            raw = git(self.d, "cat-file", "commit", self.ids[n - 1]).decode()
            body = git(self.d, "show", f"{self.ids[n - 1]}:record")
            record = json.loads(body)
            if before:
                record["prev"] = before
            if edit:
                edit(n, record)
            made = canonical(record)
            before = hashlib.sha256(made).hexdigest() if edit else None
            if made != body:
                blob = git(self.d, "hash-object", "-w", "--stdin", stdin=made).decode().strip()
                tree = re.sub(rb"(?m)^(100644 blob )\w+(\trecord)$", rb"\g<1>" + blob.encode() + rb"\2", git(self.d, "ls-tree", self.ids[n - 1]))
                raw = re.sub(r"^tree \w+", "tree " + git(self.d, "mktree", stdin=tree).decode().strip(), raw)
                raw = re.sub(r"(?m)^Record-SHA256: \w+", "Record-SHA256: " + before, raw)
            text = re.sub(r"(?ms)^gpgsig .*?-----END SSH SIGNATURE-----\n", "", raw, count=1)
            if parent:
                text = re.sub(r"(?m)^parent \w+", f"parent {parent}", text, count=1)
            signature = sign(text.encode(), (key or self.right)(n)).decode().rstrip("\n").replace("\n", "\n ")
            head, rest = text.split("\n\n", 1)
            text = f"{head}\ngpgsig {signature}\n\n{rest}"
            parent = git(self.d, "hash-object", "-t", "commit", "-w", "--stdin", stdin=text.encode()).decode().strip()
            if n == start:
                self.first = parent
        return parent

    def check(self, tip):
        """Findings with the ref there, and the database brought along."""
        git(self.d, "update-ref", self.ref, tip)
        sql(self.d, f"UPDATE log_head SET commit_id = X'{tip}' WHERE site = '{self.site}'")
        try:
            return fsck(self.d)[1]
        finally:
            git(self.d, "update-ref", self.ref, self.head)
            sql(self.d, f"UPDATE log_head SET commit_id = X'{self.head}' WHERE site = '{self.site}'")


@pytest.fixture(scope="module")
def foreign(d, tmp_path_factory):
    place = tmp_path_factory.mktemp("foreign") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place], check=True)
    return place


def found(items, name, subject, words=""):
    return any(f["name"] == name and subject in f["subject"] and words in f["what"] for f in items)


def test_written_again_with_the_right_keys_it_is_the_same(d):
    log = Log(d)
    assert log.write(1) == log.head and log.write(1, edit=lambda n, r: None) == log.head


@pytest.mark.parametrize("which", ["the old key after the change", "the new key before it", "the new key for the change itself", "a foreign key"])
def test_a_commit_by_the_wrong_key(d, foreign, which):
    log = Log(d)
    first, second = log.changes
    n, key = {"the old key after the change": (first + 1, log.keys[0]), "the new key before it": (first - 1, log.keys[1]),
              "the new key for the change itself": (first, log.keys[1]), "a foreign key": (second + 1, foreign)}[which]
    tip = log.write(n, key=lambda i: key if i == n else log.right(i))
    items = log.check(tip)
    assert found(items, "log-signature", log.first, "it is signed by the key " + fingerprint(key)), items


def statement(record, old):
    """What a record `key` says, as the text that its signature is over."""
    public = subprocess.run(["ssh-keygen", "-yf", old], capture_output=True, text=True, check=True).stdout.split()[:2]
    fields = record["fields"]
    return canonical({"v": 1, "site": record["site"], "node": record["node"], "seq": record["seq"], "at": record["at"], "from": " ".join(public),
                      "to": fields["key"], "release": fields["release"], "head": fields.get("head", "")}) + b"\n"


def raw_signature(armored):
    body = base64.b64decode("".join(armored.decode().split("\n")[1:-2]))
    return base64.b64encode(body[-64:]).decode()


def public_of(key):
    return " ".join(subprocess.run(["ssh-keygen", "-yf", key], capture_output=True, text=True, check=True).stdout.split()[:2])


def hand_over(log, to, signer, commit_by=None, at=None):
    """At the last change the log goes to another key; all that follows is signed with that one."""
    last = at or log.changes[-1]

    def edit(n, record):
        if n == last:
            record["fields"]["key"] = public_of(to)
            record["fields"]["signature"] = raw_signature(sign(statement(record, log.right(last)), signer, "drydock-key"))
    return log.write(last, key=lambda n: to if n > last else (commit_by or log.right(n)), edit=edit)


def test_a_change_that_the_old_key_did_not_sign(d, foreign):
    log = Log(d)
    items = log.check(hand_over(log, foreign, foreign))
    assert found(items, "log-key", log.first, "the change of the key"), items
    # and the record itself by the foreign key
    items = log.check(hand_over(log, foreign, foreign, commit_by=foreign))
    assert found(items, "log-signature", log.first), items


def test_a_history_written_again_with_an_old_key(d, foreign):
    """Whoever has the last key but one can write a history that is right in itself; node.key says that it is not this node's."""
    log = Log(d)
    items = log.check(hand_over(log, foreign, log.keys[1]))
    assert found(items, "log-key", log.ref, "its newest key is " + fingerprint(foreign)), items
    assert "log-signature" not in names(items), items
    # without the change at all, and what followed signed by the old key on and on
    git(d, "update-ref", log.ref, log.ids[log.changes[-1] - 2])
    sql(d, f"UPDATE log_head SET commit_id = X'{log.ids[log.changes[-1] - 2]}' WHERE site = 'www'")
    items = fsck(d)[1]
    assert found(items, "log-key", log.ref), items
    git(d, "update-ref", log.ref, log.head)
    sql(d, f"UPDATE log_head SET commit_id = X'{log.head}' WHERE site = 'www'")


def test_a_key_that_was_there_before(d):
    log = Log(d)
    items = log.check(hand_over(log, log.keys[0], log.keys[1]))
    assert found(items, "log-key", log.first, "was there before"), items


def test_rebuild_refuses_a_forged_one(d, foreign):
    log = Log(d)
    forged = hand_over(log, foreign, log.keys[1])
    d.stop()
    try:
        for tip, words in ((forged, "the node's key was"), (log.ids[log.changes[-1] - 2], "log-key")):
            git(d, "update-ref", log.ref, tip)
            r = d.run(program(), "rebuild", "--replace", "--data", d.data, check=False)
            assert r.returncode == 3 and words in r.stderr and "www: made again" not in r.stdout, r.stderr
    finally:
        git(d, "update-ref", log.ref, log.head)
        d.run(program(), "rebuild", "--replace", "--data", d.data)
        d.start()


def test_a_forged_row_of_the_table(d):
    """A row says that the key was changed to another one: fsck names it, and a server that starts with it writes nothing."""
    seq = sql(d, "SELECT MAX(seq) FROM record WHERE site = 'www' AND act = 'sign'")[0][0]
    sql(d, f"CREATE TABLE test_row AS SELECT * FROM record WHERE site = 'www' AND seq = {seq}; UPDATE record SET act = 'key' WHERE site = 'www' AND seq = {seq}")
    try:
        assert found(fsck(d)[1], "record-row", "record:"), fsck(d)[1]
        d.stop()
        d.start()
        status, answer = d.api("POST", d.api_site("/sign"), {"paths": ["/a/c/d.css"], "as_staged": True})
        assert status == 503 and "the keys of the log of www are not in order" in answer["detail"], answer
    finally:
        sql(d, f"UPDATE record SET act = 'sign' WHERE site = 'www' AND seq = {seq}; DROP TABLE test_row")
        d.stop()
        d.start()


# --- evidence ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def archive(d, tmp_path_factory):
    to = tmp_path_factory.mktemp("evidence") / "index.tar.gz"
    subprocess.run([program("drydock"), "--data", d.data, "export-evidence", "/index.html", "-o", to], capture_output=True, check=True)
    return to


def verify(archive, *options, code=0):
    r = subprocess.run([program("drydock-verify"), "--json", archive, *options], capture_output=True, check=False)
    assert r.returncode == code, (r.returncode, r.stdout, r.stderr)
    return json.loads(r.stdout)


def test_evidence_under_several_keys(d, archive):
    prints = [item["fingerprint"] for item in keys(d)]
    answer = verify(archive)
    assert answer["good"] and answer["keys"] == prints and not answer["key_trusted"] and answer["records"] == answer["signatures"]
    for n, key in enumerate(prints):
        answer = verify(archive, "--key", key)
        assert answer["key_trusted"] and answer["key_newest"] == (n == CHANGES)
    assert "was replaced" in subprocess.run([program("drydock-verify"), archive, "--key", prints[0]], capture_output=True, text=True, check=True).stdout
    said = subprocess.run([program("drydock-verify"), archive, "--key", prints[-1]], capture_output=True, text=True, check=True).stdout
    log = Log(d)
    assert "was replaced" not in said and all(p in said for p in prints) and f"key {prints[0]}, records 1 to {log.changes[0]}\n" in said, said
    # of a node of this id, but another key
    assert not verify(archive, "--key", "SHA256:" + "A" * 43, code=6)["key_trusted"]


def test_evidence_by_stock_tools(archive, tmp_path):
    subprocess.run(["tar", "-xzf", archive, "-C", tmp_path], check=True)
    place = tmp_path / "evidence"
    said = subprocess.run(["git", "-C", place / "repo.git", "-c", f"gpg.ssh.allowedSignersFile={place}/allowed_signers", "log", "--all", "--format=%G?"], capture_output=True,
                          text=True, check=True).stdout.split()
    assert said and set(said) == {"G"}
    assert len((place / "allowed_signers").read_text().splitlines()) == CHANGES + 1


@pytest.mark.parametrize("which", ["an old key", "a foreign key", "a change that was not signed"])
def test_evidence_of_a_forger(d, foreign, tmp_path, which):
    """The server makes archives of whatever its repository has; the auditor is not deceived."""
    log = Log(d)
    if which == "a change that was not signed":
        tip, name = hand_over(log, foreign, foreign), "key"
    else:
        key = log.keys[0] if which == "an old key" else foreign
        tip, name = log.write(len(log.ids), key=lambda n: key), "signature"
    git(d, "update-ref", log.ref, tip)
    try:
        r = subprocess.run([program("drydock"), "--data", d.data, "export-evidence", "/index.html", "-o", tmp_path / "bad"], capture_output=True, text=True, check=False)
        assert r.returncode == 0, r
        assert name in {item["name"] for item in verify(tmp_path / "bad", code=6)["items"]}
    finally:
        git(d, "update-ref", log.ref, log.head)


# --- the command ----------------------------------------------------------------------------------------------------------------


def test_beside_a_server_it_is_refused(d):
    r = change(d, code=6)
    assert "while no server runs" in r.stderr and "in use by another drydockd" in r.stderr
    assert not (d.data / "key-change").exists()


def test_files_that_are_no_keys(d, tmp_path):
    d.stop()
    make = lambda name, *options: subprocess.run(["ssh-keygen", "-q", "-N", "", *options, "-f", tmp_path / name], check=True)
    make("open", "-t", "ed25519")
    (tmp_path / "open").chmod(0o644)
    make("rsa", "-t", "rsa", "-b", "2048")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", tmp_path / "locked"], check=True)
    (tmp_path / "text").write_text("no key\n")
    (tmp_path / "text").chmod(0o600)
    (tmp_path / "link").symlink_to(tmp_path / "rsa")
    for name, words, code in (("open", "chmod 600", 6), ("rsa", "not an Ed25519 key", 6), ("locked", "passphrase", 6), ("text", "not an OpenSSH private key", 6),
                              ("link", "link", 6), ("missing", "missing", 2)):
        r = change(d, "--new", tmp_path / name, code=code)
        assert words in r.stderr, (name, r.stderr)
    for old in of(d):
        r = change(d, "--new", old, code=4)
        assert "is, or was, the node's key" in r.stderr, r.stderr
    assert d.run(program(), "key", "change", "--data", d.data, check=False).returncode == 1, "a reason is wanted"
    assert d.run(program(), "key", "--data", d.data, check=False).returncode == 1
    assert change(d, code=1, reason="a\x01b").stderr
    assert not (d.data / "key-change").exists() and not (d.data / "node.key.next").exists()
    d.start()


def test_a_site_that_began_later_and_one_that_is_not_configured(d):
    """Its first record says how the node's first key led to the one that signs it. Out of the configuration, its log hears of a change all the same."""
    (d.dir / "second").mkdir()
    d._own(d.dir / "second")
    d.stop()
    text = d.conf.read_text()
    both = text + f'\nsite "second" {{\n\tstaging = "{d.dir / "second"}"\n}}\n'
    d.conf.write_text(both)
    d.start()
    d.stop()
    assert fsck(d, "--deep", status=0)[1] == []
    first = json.loads(git(d, "show", f"{log_ref(d)}~0:record", site="second"))
    assert first["act"] == "genesis" and len(first["fields"]["keys"]) == 2 * CHANGES
    d.conf.write_text(text)
    change(d, "--keep-old", reason="while a site was out of the configuration")
    assert fsck(d, "--deep", status=0)[1] == []
    last = json.loads(git(d, "show", f"{log_ref(d)}:record", site="second"))
    assert last["act"] == "key" and last["fields"]["release"] == 0
    d.conf.write_text(both)
    d.run(program(), "admin", f"unix:{d.user}", "--site", "second", "--data", d.data)
    d.start()
    assert fsck(d, "--deep", status=0)[1] == []
    # a forged chain in a first record: of another node, or with a link left out
    d.stop()
    d.conf.write_text(text)
    d.start()


def test_a_site_that_begins_while_the_key_is_changed():
    """Nothing is signed with the old key at a time for which it does not speak: its log begins with the new one."""
    with Drydock(files=FILES) as d:
        d.stop()
        stop = Failpoints(d.dir / "stop", own=d._own)
        stop.stop("key_noted")
        r = d.run(program(), "key", "change", "-m", "cut short", "--data", d.data, check=False, env={**os.environ, **stop.env})
        assert r.returncode == -signal.SIGKILL, r
        (d.dir / "second").mkdir()
        d._own(d.dir / "second")
        with d.conf.open("a") as conf:
            conf.write(f'\nsite "second" {{\n\tstaging = "{d.dir / "second"}"\n}}\n')
        time.sleep(1.1)  # what git compares has seconds
        d.start()
        d.stop()
        assert fsck(d, "--deep", status=0)[1] == []
        assert [json.loads(git(d, "show", f"{c}:record", site="second"))["act"] for c in git(d, "rev-list", log_ref(d), site="second").decode().split()] == ["genesis"]
        said = git(d, "-c", f"gpg.ssh.allowedSignersFile={d.data / 'allowed_signers'}", "log", "--format=%G? %GF", log_ref(d), site="second").decode().split()
        assert said == ["G", keys(d)[-1]["fingerprint"]]


def test_destroyed_unless_told_otherwise():
    with Drydock(files=FILES) as d:
        d.sign("/index.html")
        d.stop()
        old = (d.data / "node.key").read_bytes()
        (d.dir / "hard").hardlink_to(d.data / "node.key")
        change(d)
        assert (d.dir / "hard").read_bytes() == bytes(len(old)), "what was in the file is written over"
        assert sorted(p.name for p in d.data.glob("node.k*")) == ["node.key", "node.keys"]
        assert "the first key" in d.run(program(), "key", "list", "--data", d.data).stdout
        # a key made elsewhere
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", d.dir / "mine"], check=True)
        d._own(d.dir / "mine")
        change(d, "--new", d.dir / "mine")
        assert keys(d)[-1]["fingerprint"] == fingerprint(d.dir / "mine") == fingerprint(d.data / "node.pub")
        # the file of before: the data directory is told from one with its own key
        (d.data / "node.key").write_bytes(old)
        r = d.run(program(), "fsck", "--data", d.data, check=False)
        assert r.returncode == 3 and "the node's key was changed to " + keys(d)[-1]["fingerprint"] in r.stderr, r
        # and without the list of changes too
        (d.data / "node.keys").rename(d.dir / "keys")
        names_ = names(fsck(d)[1])
        assert "log-key" in names_, names_
        (d.data / "node.key").write_bytes((d.dir / "mine").read_bytes())
        (d.dir / "keys").rename(d.data / "node.keys")
        assert fsck(d, status=0)[1] == []


def test_a_backup_from_before_the_change():
    with Drydock(files=FILES) as d:
        d.sign("/index.html")
        d.sync()
        d.stop()
        d.run(program(), "backup", d.dir / "before", "--data", d.data)
        change(d)
        d.run(program(), "backup", d.dir / "after", "--data", d.data)
        for name, n in (("before", 1), ("after", 2)):
            shutil.rmtree(d.data)
            d.run(program(), "restore", d.dir / name, "--data", d.data)
            assert len(keys(d)) == n
            d.start()
            assert fsck(d, status=0)[1] == []
            d.stop()
            assert "restored from the backup" in change(d, code=6).stderr
            d.run(program(), "accept-loss", "-m", "as it was", "--data", d.data)
            change(d)
            d.start()
            d.sign("/a/b.html") if name == "before" else None
            assert fsck(d, "--deep", status=0)[1] == []
            d.stop()
