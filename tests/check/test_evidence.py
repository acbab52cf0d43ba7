"""The archive of a path's history: what is in it, what stock tools say of it, and that `drydock verify` finds every edit."""
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
import zlib

import pytest

from world import FILES, Drydock, git, history, log_ref, program, sql

CTL = program("drydock")
ENV = {"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C.UTF-8"}


@pytest.fixture(scope="module")
def d():
    with Drydock(files=FILES) as d:
        history(d)
        # back to what stood there before: a file whose name is a directory's now, which has no blob in that record
        seq = sql(d, "SELECT MIN(seq) FROM record WHERE site = 'www' AND act = 'sign'")[0][0]
        shown = d.must("GET", d.api_site(f"/reapprove?path=/a&record={seq}"))["digest"]
        d.must("POST", d.api_site("/reapprove"), {"path": "/a", "record": int(seq), "shown": shown, "note": "the directory was a mistake"})
        yield d


@pytest.fixture(scope="module")
def archive(d, tmp_path_factory):
    to = tmp_path_factory.mktemp("evidence") / "index.tar.gz"
    export(d, "/index.html", to)
    return to


def export(d, path, to, *options, code=0):
    r = subprocess.run([CTL, "--data", d.data, "export-evidence", path, "-o", to, *options], capture_output=True, text=True, check=False)
    assert r.returncode == code, (r.returncode, r.stderr)
    return r.stderr


def verify(archive, *options, code=None):
    """(exit code, the answer, with the failures' names)"""
    r = subprocess.run([program("drydock-verify"), "--json", archive, *options], capture_output=True, check=False)
    assert code is None or r.returncode == code, (r.returncode, r.stdout, r.stderr)
    assert r.returncode in (0, 6), r
    answer = json.loads(r.stdout)
    assert answer["good"] == (r.returncode == 0) and bool(answer["items"]) != answer["good"]
    return r.returncode, answer, {item["name"] for item in answer["items"]}


def members(archive):
    with tarfile.open(archive) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers()}


def write(to, files):
    """As the server writes one: the same form, whatever is in it."""
    out = io.BytesIO()
    files = dict(files)
    files.pop("evidence/SHA256SUMS", None)
    files["evidence/SHA256SUMS"] = "".join(f"{hashlib.sha256(b).hexdigest()}  {n[len('evidence/'):]}\n" for n, b in files.items()).encode()
    for name, content in files.items():
        h = bytearray(512)
        h[:len(name)] = name.encode()
        h[100:108] = b"0000644\0"
        h[108:116] = h[116:124] = b"0000000\0"
        h[124:136] = b"%011o\0" % len(content)
        h[136:148] = b"%011o\0" % 946684800
        h[148:156] = b" " * 8
        h[156:157] = b"0"
        h[257:265] = b"ustar\00000"
        h[148:155] = b"%06o\0" % sum(h)
        out.write(h + content + b"\0" * (-len(content) % 512))
    out.write(b"\0" * 1024)
    return compress(to, out.getvalue())


def compress(to, tar):
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    body = packer.compress(tar) + packer.flush()
    to.write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + body + zlib.crc32(tar).to_bytes(4, "little") + (len(tar) % 2**32).to_bytes(4, "little"))
    return to


def unpack(archive, to):
    subprocess.run(["tar", "-xzf", archive, "-C", to], check=True, capture_output=True)
    return to / "evidence"


def fingerprint(d):
    return subprocess.run(["ssh-keygen", "-lf", d.data / "node.pub"], capture_output=True, text=True, check=True).stdout.split()[1]


def test_a_history_is_exported_and_good(d, archive):
    code, answer, _ = verify(archive)
    assert code == 0 and answer["records"] == answer["signatures"] == int(sql(d, "SELECT MAX(seq) FROM record WHERE site = 'www'")[0][0])
    assert answer["site"] == "www" and answer["path"] == "/index.html" and answer["versions"] == 2 and answer["keys"] == [fingerprint(d)]
    assert not answer["key_trusted"]
    names = list(members(archive))
    assert names[0] == "evidence/README" and names[-1] == "evidence/SHA256SUMS"
    versions = [json.loads(line) for line in members(archive)["evidence/versions"].splitlines()]
    assert [(v["act"], v["note"].split("\n")[0]) for v in versions] == [("sign", "the first"), ("sign", "the second"), ("review", "")]
    for v in versions:
        assert hashlib.sha256(members(archive)[f"evidence/files/{v['sha256']}"]).hexdigest() == v["sha256"]


def test_the_same_history_gives_the_same_bytes(d, archive, tmp_path):
    export(d, "/index.html", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == archive.read_bytes()


@pytest.mark.parametrize("path, versions, kept_now", [("/", 6, 3), ("/a", 2, 1), ("/a/b.html", 2, 1), ("/gone.html", 1, 0), ("/data", 1, 1)])
def test_directories_and_what_is_gone(d, tmp_path, path, versions, kept_now):
    export(d, path, tmp_path / "all")
    assert verify(tmp_path / "all", code=0)[1]["versions"] == versions
    export(d, path, tmp_path / "now", "--current")
    answer = verify(tmp_path / "now", code=0)[1]
    assert answer["versions"] == kept_now and answer["current"]
    assert answer["records"] == answer["signatures"]


def test_whose_key_it_is(d, archive, tmp_path):
    human = subprocess.run([CTL, "verify", archive], capture_output=True, text=True, check=True).stdout
    assert json.loads(subprocess.run([CTL, "--json", "verify", archive, "--key", fingerprint(d)], capture_output=True, check=True).stdout)["key_trusted"]
    assert "BELIEVED" in human and fingerprint(d) in human and "good:" in human
    for trusted in (fingerprint(d), d.data / "node.pub", d.data / "allowed_signers"):
        assert verify(archive, "--key", trusted, code=0)[1]["key_trusted"]
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    assert verify(archive, "--key", tmp_path / "other.pub", code=6)[2] == {"key"}
    assert verify(archive, "--key", tmp_path / "other.pub", "--key", fingerprint(d), code=0)
    for wrong in ("SHA256:short", tmp_path / "none", archive):
        assert subprocess.run([CTL, "verify", archive, "--key", wrong], capture_output=True, check=False).returncode == 1
    assert subprocess.run([CTL, "verify", tmp_path / "none"], capture_output=True, check=False).returncode == 2
    assert subprocess.run([CTL, "verify"], capture_output=True, check=False).returncode == 1


def readme_commands(text):
    """The command lines of the README, by their number; what stands behind five blanks is for people."""
    out, step = {}, None
    for line in text.splitlines():
        m = re.match(r"^ (\d)\. (.*)", line)
        if m:
            step, line = int(m[1]), m[2]
        elif step and line.startswith("    "):
            line = line.strip()
        else:
            step = None
        if step and re.match(r"(sha256sum|cut|git|ssh-keygen|`?versions)", line):
            out.setdefault(step, []).append(re.split(r" {5,}", line)[0])
    return out


def test_readme_with_stock_tools(d, archive, tmp_path):
    place = unpack(archive, tmp_path)
    steps = readme_commands((place / "README").read_text())

    def sh(command, code=0):
        r = subprocess.run(["bash", "-ec", command], cwd=place, capture_output=True, text=True, check=False, env={**ENV, "HOME": str(tmp_path)})
        assert r.returncode == code, (command, r)
        return r.stdout + r.stderr

    assert sorted(steps) == [1, 2, 3, 4, 5, 6, 7], steps
    sh(steps[1][0])
    assert fingerprint(d) in sh(steps[2][0])
    said = sh(steps[3][0])
    assert "missing" not in said and "error" not in said, said
    log = sh(steps[4][0])
    records = verify(archive)[1]["records"]
    assert log.count('Good "git" signature for node@drydock.invalid') == records and "No principal" not in log
    versions = [json.loads(line) for line in (place / "versions").read_text().splitlines()]
    for v in versions:
        fill = lambda text, v=v: text.replace("COMMIT", v["commit"]).replace("PATH", v["path"][1:]).replace("SHA256", v["sha256"])
        record, files = [sh(c) for c in fill(steps[5][1]).split(" ; ")]
        assert v["note"] == json.loads(record)["note"] and v["sha256"] in files
        tree, blob = [sh(c) for c in fill(steps[5][2]).split(" ; ")]
        if v["act"] == "sign":
            assert blob.strip() == v["blob"] == tree.split()[2], (tree, blob)
        digest = sh(fill(steps[6][0])).split()[0]
        assert digest in sh(f"git -C repo.git cat-file commit {v['commit']}")
        assert 'Good "git" signature' in sh("; ".join(fill(c) for c in steps[7]))
    # a damaged byte of a file, and a signature that is not the node's, are noticed by the same steps
    file = next((place / "files").iterdir())
    file.write_bytes(file.read_bytes() + b"!")
    sh(steps[1][0], code=1)


def test_who_may(d, tmp_path):
    alice = d.login("alice")
    d.must("POST", d.api_site("/roles"), {"principal": "own:alice", "path": "/", "role": "sign"})
    for place in ("/api/v1/sites/www/evidence?path=/index.html", "/s/www/evidence?path=/index.html"):
        assert alice.get(place).status_code == 403
    d.must("POST", d.api_site("/roles"), {"principal": "own:alice", "path": "/", "role": "view"})
    d.must("POST", d.api_site("/roles"), {"principal": "own:alice", "path": "/a", "role": "admin"})
    # admin of a part sees no link and gets nothing
    assert alice.get("/api/v1/sites/www/evidence?path=/a").status_code == 403
    assert "evidence" not in alice.get("/s/www/history?path=/a").text
    d.must("POST", d.api_site("/roles"), {"principal": "own:alice", "path": "/", "role": "admin"})
    page = alice.get("/s/www/history?path=/index.html").text
    link = re.search(r'href="(/s/www/evidence[^"]*)"', page)[1].replace("&amp;", "&")
    answer = alice.get(link)
    assert answer.status_code == 200 and answer.headers["Content-Type"] == "application/gzip"
    assert "www-index.html.evidence.tar.gz" in answer.headers["Content-Disposition"]
    (tmp_path / "x").write_bytes(answer.content)
    verify(tmp_path / "x", code=0)
    for wrong in ("?path=/nothing/there", "?path=/index.html/x"):
        assert alice.get("/api/v1/sites/www/evidence" + wrong).status_code == 404
    assert alice.get("/api/v1/sites/www/evidence?path=/&current=yes").status_code == 400
    assert "Nothing was ever" in export(d, "/nothing", tmp_path / "none", code=2)
    assert not list(tmp_path.glob("none*"))


def test_over_http_and_to_standard_output(d, archive, tmp_path):
    r = subprocess.run([CTL, "--data", d.data, "export-evidence", "/gone.html", "-o", "-"], capture_output=True, check=True)
    (tmp_path / "out").write_bytes(r.stdout)
    verify(tmp_path / "out", code=0)
    token = d.must("POST", "/api/v1/tokens", {"label": "auditor", "role": "admin", "expires": "1d"})["token"]
    (tmp_path / "token").write_text(token)
    (tmp_path / "token").chmod(0o600)
    subprocess.run([CTL, "--server", d.url, "--token-file", tmp_path / "token", "export-evidence", "/gone.html", "-o", tmp_path / "http"], check=True,
                   capture_output=True)
    assert json.loads(subprocess.run([CTL, "--json", "verify", tmp_path / "http"], capture_output=True, check=True).stdout)["good"]
    # a name of its own, and nothing is written over
    for code in (0, 1):
        r = subprocess.run([CTL, "--data", d.data, "export-evidence", "/gone.html"], cwd=tmp_path, capture_output=True, check=False)
        assert r.returncode == code and (tmp_path / "gone.html.evidence.tar.gz").exists()


# --- hostile archives ----------------------------------------------------------------------------------------------------


def test_every_byte_of_the_archive(archive, tmp_path):
    """One bit at a time, spread over all of it and in all of its head and end."""
    was = archive.read_bytes()
    tar = gzip.decompress(was)
    bad = tmp_path / "bad"
    places = sorted({*range(0, 40), *range(len(was) - 24, len(was)), *range(40, len(was), max(1, len(was) // 150))})
    for i in places:
        now = bytearray(was)
        now[i] ^= 1 << (i % 8)
        bad.write_bytes(now)
        if verify(bad)[0] == 0:
            # bits between the compressed blocks may say nothing at all
            assert gzip.decompress(bytes(now)) == tar, i
    for end in (0, 5, 10, 11, 512, len(was) // 2, len(was) - 1):
        bad.write_bytes(was[:end])
        assert verify(bad, code=6)[2] == {"archive"}
    bad.write_bytes(was + b"\0")
    verify(bad, code=6)
    bad.write_bytes(was + was)
    verify(bad, code=6)


def test_every_byte_of_what_is_in_it(archive, tmp_path):
    """The same below the compression, whose checksum is made right: every edit is found."""
    tar = gzip.decompress(archive.read_bytes())
    for i in sorted({*range(0, 600, 7), *range(600, len(tar), max(1, len(tar) // 200)), *range(len(tar) - 1024, len(tar), 61)}):
        now = bytearray(tar)
        now[i] ^= 1 << (i % 8)
        verify(compress(tmp_path / "bad", bytes(now)), code=6)


def test_every_member_with_its_sums_made_right(archive, tmp_path):
    """A forger who can count: each member is changed, cut, taken out, doubled, and SHA256SUMS is made again."""
    was = members(archive)
    assert write(tmp_path / "same", was).read_bytes() and verify(tmp_path / "same", code=0)
    for name in [n for n in was if not n.endswith("SHA256SUMS")]:
        content = was[name]
        step = max(1, len(content) // 25)
        for i in range(0, len(content), step):
            now = bytearray(content)
            now[i] ^= 1 << (i % 8)
            verify(write(tmp_path / "bad", {**was, name: bytes(now)}), code=6)
        if content:
            verify(write(tmp_path / "bad", {**was, name: content[:-1]}), code=6)
        verify(write(tmp_path / "bad", {**was, name: content + b"\n"}), code=6)
        verify(write(tmp_path / "bad", {n: b for n, b in was.items() if n != name}), code=6)
        verify(write(tmp_path / "bad", {**was, name + "x": content}), code=6)
    for foreign in ("evidence/repo.git/hooks/post-checkout", "evidence/../../etc/x", "/etc/x", "evidence/files/" + "0" * 64, "evidence/zzz"):
        for first in (True, False):
            extra = {foreign: b"x"}
            verify(write(tmp_path / "bad", {**extra, **was} if first else {**was, **extra}), code=6)


def test_links_and_sizes_are_refused(archive, tmp_path):
    def tar_with(change):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            info = tarfile.TarInfo("evidence/README")
            change(info)
            tar.addfile(info, io.BytesIO(b"x" * info.size))
        return compress(tmp_path / "bad", out.getvalue())

    def make(**values):
        def change(info):
            for name, value in values.items():
                setattr(info, name, value)
        return change

    outside = tmp_path / "outside"
    for change in (make(type=tarfile.SYMTYPE, linkname="/etc/passwd"), make(type=tarfile.LNKTYPE, linkname="evidence/x"), make(type=tarfile.DIRTYPE),
                   make(type=tarfile.FIFOTYPE), make(type=tarfile.CHRTYPE), make(name=str(outside)), make(name="../outside"), make(uid=1), make(mode=0o4755)):
        verify(tar_with(change), code=6)
    assert not outside.exists() and not (tmp_path.parent / "outside").exists()
    # more than a terabyte that is not there, and zeros without an end
    tar = bytearray(gzip.decompress(archive.read_bytes()))
    for digits in (b"77777777777", b"\x80\0\0\0\0\xff\0\0\0\0\0", b"-0000000001"):
        tar[124:135] = digits
        tar[148:156] = b" " * 8
        tar[148:155] = b"%06o\0" % sum(tar[:512])
        verify(compress(tmp_path / "bad", bytes(tar)), code=6)
    compress(tmp_path / "bad", b"\0" * (64 << 20))
    verify(tmp_path / "bad", code=6)


def test_a_history_with_something_taken_out_of_it(d, archive, tmp_path):
    """What somebody can do who has the repository and not the key: every one of these is named."""
    was = members(archive)
    ref = log_ref(d)
    about = json.loads(was["evidence/evidence.json"])
    commits = git(d, "rev-list", about["logs"][0]["head"]).decode().split()
    assert about["logs"][0]["commits"] == len(commits)

    def with_about(**log):
        now = {**about, "logs": [{**about["logs"][0], **log}]}
        return (json.dumps(now, sort_keys=True, separators=(",", ":")) + "\n").encode()

    # the newest records cut off, with refs that agree: what is left is not what `versions` and the pack have
    head = commits[2]
    cut = {**was, "evidence/evidence.json": with_about(commits=len(commits) - 2, head=head), "evidence/repo.git/HEAD": head.encode() + b"\n",
           f"evidence/repo.git/{ref}": head.encode() + b"\n"}
    assert "object" in verify(write(tmp_path / "bad", cut), code=6)[2]
    # fewer or more records than there are
    for n in (len(commits) - 1, len(commits) + 1, 10**9):
        assert "sequence" in verify(write(tmp_path / "bad", {**was, "evidence/evidence.json": with_about(commits=n)}), code=6)[2]
    # another site, another path
    other = (json.dumps({**about, "site": "other"}, sort_keys=True, separators=(",", ":")) + "\n").encode()
    assert "record" in verify(write(tmp_path / "bad", {**was, "evidence/evidence.json": other}), code=6)[2]
    other = (json.dumps({**about, "path": "/a"}, sort_keys=True, separators=(",", ":")) + "\n").encode()
    assert {"versions", "bytes"} <= verify(write(tmp_path / "bad", {**was, "evidence/evidence.json": other}), code=6)[2]
    # a second log beside it, which the trusted key of the first would seem to vouch for
    second = (json.dumps({**about, "logs": about["logs"] * 2}, sort_keys=True, separators=(",", ":")) + "\n").encode()
    assert verify(write(tmp_path / "bad", {**was, "evidence/evidence.json": second}), "--key", fingerprint(d), code=6)[2] == {"archive"}
    # other bytes under their own name
    name = next(n for n in was if n.startswith("evidence/files/"))
    swapped = {("evidence/files/" + hashlib.sha256(b"forged").hexdigest() if n == name else n): (b"forged" if n == name else b) for n, b in was.items()}
    ordered = {n: swapped[n] for n in sorted(swapped, key=lambda n: (list(was).index(name) if n.startswith("evidence/files/") else list(was).index(n), n))}
    assert "bytes" in verify(write(tmp_path / "bad", ordered), code=6)[2]


# --- forgers with git, without the key and with it -------------------------------------------------------------------------


class Forger:
    """The archive's repository, opened, to be changed and packed again."""

    def __init__(self, archive, place):
        self.was = members(archive)
        place.mkdir()
        self.place = unpack(archive, place)
        self.repo = self.place / "repo.git"
        pack = next((self.repo / "objects/pack").glob("*.pack"))
        for old in (self.repo / "objects/pack").iterdir():
            old.rename(place / old.name)
        self.git("unpack-objects", "-q", stdin=(place / pack.name).read_bytes())
        self.objects = set(self.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)").decode().split())
        self.about = json.loads(self.was["evidence/evidence.json"])

    def git(self, *argv, stdin=None):
        return subprocess.run(["git", "-C", self.repo, *argv], input=stdin, capture_output=True, check=True, env={**ENV, "HOME": str(self.place)}).stdout

    def part(self, commit, name):
        return self.git("cat-file", "blob", f"{commit}:{name}")

    def put(self, kind, content):
        name = self.git("hash-object", "-w", "--literally", "-t", kind, "--stdin", stdin=content).decode().strip()
        self.objects.add(name)
        return name

    def commit(self, key, record, tree, parent, like):
        """As DryDock writes it, for that record; signed with that key."""
        raw = self.git("cat-file", "commit", like).decode()
        head, message = raw.split("\n\n", 1)
        lines = [line for line in head.split("\n") if not line.startswith(("gpgsig", " "))]
        lines = [f"tree {tree}" if line.startswith("tree ") else f"parent {parent}" if line.startswith("parent ") else line for line in lines]
        message = re.sub("Record-SHA256: .*", "Record-SHA256: " + hashlib.sha256(record).hexdigest(), message)
        unsigned = "\n".join(lines) + "\n\n" + message
        armored = subprocess.run(["ssh-keygen", "-Y", "sign", "-n", "git", "-f", key], input=unsigned.encode(), capture_output=True, check=True).stdout.decode()
        # ssh-keygen folds its lines elsewhere than DryDock
        begin, *middle, end = armored.strip().split("\n")
        text = "".join(middle)
        folded = [begin, *[text[i:i + 70] for i in range(0, len(text), 70)], end]
        return self.put("commit", ("\n".join(lines) + "\ngpgsig " + "\n ".join(folded) + "\n\n" + message).encode())

    def tree(self, **parts):
        return self.put("tree", b"".join((b"40000 " if n == "site" else b"100644 ") + n.encode() + b"\0" + bytes.fromhex(parts[n])
                                         for n in ("files", "record", "rules", "site")))

    def write(self, to, head, drop=()):
        names = "\n".join(sorted(self.objects - set(drop))) + "\n"
        pack = self.git("pack-objects", "--window=0", "--stdout", "-q", stdin=names.encode())
        (self.place / "p.pack").write_bytes(pack)
        self.git("index-pack", "-o", "../p.idx", "../p.pack")
        name = pack[-20:].hex()
        self.about["logs"][0]["head"] = head
        new = {"evidence/evidence.json": (json.dumps(self.about, sort_keys=True, separators=(",", ":")) + "\n").encode(),
               "evidence/repo.git/HEAD": head.encode() + b"\n"}
        out = {}
        for n, b in self.was.items():
            m = re.match(r"(.*/pack-)[0-9a-f]{40}(\..*)", n)
            if m:
                n, b = m[1] + name + m[2], {".pack": pack, ".idx": (self.place / "p.idx").read_bytes(), ".promisor": b""}[m[2]]
            elif "refs/drydock" in n:
                b = head.encode() + b"\n"
            out[n] = new.get(n, b)
        return write(to, out)


def parts_of(f, commit):
    out = {}
    for line in f.git("ls-tree", commit).decode().splitlines():
        out[line.split("\t")[1]] = line.split()[2]
    return out


@pytest.fixture
def forger(archive, tmp_path):
    return Forger(archive, tmp_path / "forger")


def changed(f, record, **values):
    return json.dumps({**json.loads(record), **values}, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def again(f, key, change):
    """The newest commit once more: change(record, parts) gives both as they shall be."""
    head = f.about["logs"][0]["head"]
    old = f.git("rev-parse", head + "^{tree}").decode().strip()
    parent = f.git("rev-parse", head + "^").decode().strip()
    was = parts_of(f, head)
    record, parts = change(f.part(head, "record"), dict(was))
    parts["record"] = f.put("blob", record)
    commit = f.commit(key, record, f.tree(**parts), parent, head)
    drop = {head} if commit != head else set()
    drop |= {old} if parts != was else set()
    return commit, drop | ({was["record"]} if parts["record"] != was["record"] else set())


def test_repacked_by_stock_git_it_is_still_good(d, forger, tmp_path):
    commit, drop = again(forger, d.data / "node.key", lambda record, parts: (record, parts))
    assert commit == forger.about["logs"][0]["head"] and not drop
    verify(forger.write(tmp_path / "same", commit), code=0)


def test_a_commit_signed_by_another_key(d, forger, tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    commit, drop = again(forger, tmp_path / "key", lambda record, parts: (record, parts))
    assert verify(forger.write(tmp_path / "bad", commit, drop), code=6)[2] == {"signature"}


@pytest.mark.parametrize("name, change", [
    ("chain", lambda f, r, p: (changed(f, r, prev="0" * 64), p)),
    ("sequence", lambda f, r, p: (changed(f, r, seq=json.loads(r)["seq"] + 1), p)),
    ("record", lambda f, r, p: (changed(f, r, site="other"), p)),
    ("record", lambda f, r, p: (r + b"\n", p)),
    ("rules", lambda f, r, p: (changed(f, r, policy="0" * 64), p)),
    ("files", lambda f, r, p: (changed(f, r, files={"count": 0, "sha256": "0" * 64}), p)),
    ("act", lambda f, r, p: (changed(f, r, act="publish", fields={"superseded": ["/index.html"]}), p)),
    ("tree", lambda f, r, p: (r, {**p, "site": f.put("tree", b"")})),
])
def test_what_the_key_itself_signed_wrongly(d, forger, tmp_path, name, change):
    commit, drop = again(forger, d.data / "node.key", lambda record, parts: change(forger, record, parts))
    assert name in verify(forger.write(tmp_path / "bad", commit, drop), code=6)[2]
