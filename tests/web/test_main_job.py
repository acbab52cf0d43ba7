"""The main job, end to end, through the API, on a real tree of thousands of files: signed, sent, changed, signed again;
production never holds a byte that nobody signed, and everything can be checked with stock tools."""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from drydock import Drydock, real_tree
from waiting import until


def digests(place):
    """{path: (MD5, SHA-256)} by md5sum and sha256sum themselves."""
    place = os.path.realpath(place)
    names = subprocess.run(["find", ".", "-type", "f", "-print0"], cwd=place, capture_output=True, check=True).stdout
    found = {}
    for i, tool in enumerate(("md5sum", "sha256sum")):
        text = subprocess.run(["xargs", "-0r", tool, "-z"], input=names, cwd=place, capture_output=True, check=True).stdout
        for line in text.split(b"\0")[:-1]:
            digest, name = line.split(b"  ", 1)
            found.setdefault("/" + name.decode()[2:], [None, None])[i] = digest.decode()
    return {path: tuple(pair) for path, pair in found.items()}


def by_hand(data):
    return hashlib.md5(data).hexdigest(), hashlib.sha256(data).hexdigest()


def same_trees(a, b):
    r = subprocess.run(["diff", "-r", "-q", "--no-dereference", a, b], capture_output=True, text=True)
    assert r.returncode == 0, r.stdout[:4000] + r.stderr[:1000]


class Job:
    """One server on the real tree; `approved` is what has to be in production: {path: (MD5, SHA-256)}."""

    def __init__(self):
        self.d = Drydock()
        try:
            self.n = real_tree(self.d.staging)
        except BaseException:
            self.d.close()
            raise
        self.approved = {}

    def production_is_approved(self):
        assert digests(self.d.production) == self.approved


@pytest.fixture(scope="module")
def job():
    j = Job()
    yield j
    j.d.close()


def test_10_all_is_unsigned(job):
    assert job.n >= 5000
    status = job.d.status(recursive=1, limit=1, selection="sign")
    assert status["counts"]["unsigned"] == job.n and sum(status["counts"].values()) == job.n
    assert digests(job.d.production) == {}


def test_20_sign_everything_in_one_batch(job):
    d = job.d
    shown = d.selection("sign", "/", recursive=True)
    assert shown["files"] == job.n
    done = d.must("POST", d.api_site("/sign"), {"paths": ["/"], "recursive": True, "selection": shown["digest"], "note": "the first edition"})
    assert done["files"] == job.n
    # so many files are answered before the export directory has them; it follows by itself
    assert f"follows now, with {job.n} files" in done["pending"]
    until(lambda: not d.must("GET", d.api_site("/sync"))["export_behind"], 300)
    same_trees(d.staging, d.data / "sites" / "www" / "export")
    job.approved = digests(d.staging)
    counts = d.status(limit=1)["counts"]
    assert counts["signed"] == job.n and sum(counts.values()) == job.n
    # signing is not publishing
    assert digests(d.production) == {}
    assert len(d.must("GET", d.api_site("/sync/plan"))["items"]) == job.n


def test_30_sync_brings_it_to_production(job):
    run = job.d.sync("the first edition")
    assert run["release"] == 1 and run["added"] == job.n and run["changed"] == run["removed"] == 0
    same_trees(job.d.staging, job.d.production)
    job.production_is_approved()
    assert job.d.must("GET", job.d.api_site("/sync/plan"))["items"] == []


CHANGED = [f"/user/a{n:05}.html" for n in range(0, 30000) if os.path.exists(f"/usr/share/doc/libstdc++-12-doc/libstdc++/user/a{n:05}.html")][:40]


def test_40_staging_moves_on_production_does_not(job):
    d = job.d
    for i, path in enumerate(CHANGED):
        d.write(path, (d.staging / path[1:]).read_bytes() + b"<!-- edition 2, %d -->\n" % i)
    for i in range(30):
        d.write(f"/news/2026/{i:02}.html", f"<h1>News {i}</h1>\n" * (i + 1))
    for path in ("/faq.html", "/bk02.html"):
        d.remove(path)
    # a directory and a file swap names, and another pair the other way round
    d.write("/swap/dir/one.html", "one")
    d.write("/swap/dir/deep/two.html", "two")
    d.write("/swap/file", "a file")
    counts = d.status(limit=1, fresh=1)["counts"]
    assert counts["changed"] == len(CHANGED) and counts["missing"] == 2 and counts["unsigned"] == 33, counts
    # nobody signed any of it: a sync sends nothing
    run = d.sync("nothing to send", state=None)
    assert run["state"] == "nothing"
    job.production_is_approved()


def test_50_revoke_some(job):
    d = job.d
    gone = ["/images"]
    n = sum(1 for p in job.approved if p.startswith("/images/"))
    assert n > 10
    done = d.revoke(*gone, recursive=True, note="the pictures are not ours")
    assert done["files"] == n
    done = d.revoke("/bk02.html", note="it is gone")
    assert done["files"] == 1
    job.production_is_approved()
    assert {e["path"] for e in d.must("GET", d.api_site("/sync/plan"))["items"]} == {p for p in job.approved if p.startswith("/images/")} | {"/bk02.html"}
    job.approved = {p: v for p, v in job.approved.items() if not p.startswith("/images/") and p != "/bk02.html"}


def test_60_sign_some_of_the_changes(job):
    d = job.d
    wanted = CHANGED[::2] + [f"/news/2026/{i:02}.html" for i in range(0, 30, 2)]
    d.sign(*wanted, note="half of it")
    d.sign("/swap", recursive=True)
    staged = digests(d.staging)
    for path in wanted + [p for p in staged if p.startswith("/swap/")]:
        job.approved[path] = staged[path]
    run = d.sync("half of it")
    assert run["state"] == "ok"
    job.production_is_approved()
    # what is changed and not signed is still public as it was signed
    assert digests(d.production)[CHANGED[1]] != staged[CHANGED[1]]
    assert digests(d.production)["/faq.html"] == job.approved["/faq.html"]


def swap(d, a, b):
    a, b, t = d.staging / a[1:], d.staging / b[1:], d.staging / "swap" / "t"
    a.rename(t)
    b.rename(a)
    t.rename(b)


def test_70_a_directory_and_a_file_swap_names(job):
    """In one batch, in both directions: "dir" becomes a file, "file" a directory; then back again."""
    d = job.d
    for turn in (1, 2):
        swap(d, "/swap/dir", "/swap/file")
        d.write("/swap/other.html", f"turn {turn}")
        done = d.sign("/swap", recursive=True, note=f"swapped, turn {turn}")
        # the file under its new name, the two of the directory under theirs, and the other one
        assert done["files"] == 4
        job.approved = {p: v for p, v in job.approved.items() if not p.startswith("/swap/")}
        job.approved.update({p: v for p, v in digests(d.staging).items() if p.startswith("/swap/")})
        assert sum(p.startswith("/swap/") for p in job.approved) == 4
        assert d.sync(f"swapped, turn {turn}")["state"] == "ok"
        job.production_is_approved()
        same_trees(d.staging / "swap", pathlib.Path(os.path.realpath(d.production)) / "swap")
        counts = d.status("/swap", limit=1)["counts"]
        assert counts["signed"] == 4 and sum(counts.values()) == 4, counts
    # once more, so that at the end the names are the other way round
    swap(d, "/swap/dir", "/swap/file")
    d.sign("/swap", recursive=True, note="swapped, turn 3")
    job.approved = {p: v for p, v in job.approved.items() if not p.startswith("/swap/")}
    job.approved.update({p: v for p, v in digests(d.staging).items() if p.startswith("/swap/")})
    d.sync("swapped, turn 3")
    job.production_is_approved()


def test_71_both_histories_of_the_swapped_names_stay_readable(job):
    d = job.d
    # now: /swap/dir is a file, /swap/file a directory; each was both
    notes = lambda **q: [r["note"] for r in d.records(**q) if r["act"] == "sign"]
    assert notes(path="/swap/dir", below=0) == ["swapped, turn 3", "swapped, turn 1"]
    assert notes(path="/swap/dir", below=1) == ["swapped, turn 2", ""]
    assert notes(path="/swap/file", below=0) == ["swapped, turn 2", ""]
    assert notes(path="/swap/file", below=1) == ["swapped, turn 3", "swapped, turn 1"]
    assert notes(path="/swap/dir/one.html") == ["swapped, turn 2", ""]
    # and the bytes of each version
    for record in d.records(path="/swap/dir", below=0):
        status, data = d.api("GET", d.api_site(f"/content?path=/swap/dir&version={record['seq']}"))
        assert (status, data) == (200, b"a file")
    for record in d.records(path="/swap/dir", below=1):
        if record["act"] == "sign":
            assert d.api("GET", d.api_site(f"/content?path=/swap/dir/deep/two.html&version={record['seq']}")) == (200, b"two")
    # pages of both lives
    alice = d.login()
    for path in ("/swap/dir", "/swap/file"):
        for below in (0, 1):
            page = alice.get(f"/s/www/history?path={path}&below={below}")
            assert page.status_code == 200 and "There was also a" in page.text


def test_80_every_record_says_what_md5sum_and_sha256sum_say(job):
    d = job.d
    checked = 0
    expected = digests(d.production)
    for row in d.records():
        if row["act"] not in ("sign", "revoke"):
            continue
        record = d.record(row["seq"])
        assert record["files"] and record["files_count"] == len(record["files"])
        for f in record["files"]:
            if expected.get(f["path"], (None, None))[1] == f["sha256"]:
                assert f["md5"] == expected[f["path"]][0]
                checked += 1
    assert checked >= len(expected) and set(expected) == set(job.approved)
    # every version ever signed, from git, by the tools: the log's own lines
    log = d.git("log", "--format=%H %s", d.log_ref).stdout.splitlines()
    seen = {}
    for line in log:
        commit = line.split()[0]
        for text in d.git("show", f"{commit}:files").stdout.splitlines():
            f = json.loads(text)
            seen[f["blob"]] = (f["md5"], f["sha256"], f["size"])
    assert len(seen) > 5000
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda part: check_blobs(d, part), [dict(list(seen.items())[i::2]) for i in range(2)]))


def check_blobs(d, blobs):
    r = subprocess.run(["git", "-c", "safe.directory=*", "-C", str(d.repo), "cat-file", "--batch"], input="".join(b + "\n" for b in blobs).encode(),
                       capture_output=True, check=True)
    at = 0
    for blob, (md5, sha256, size) in blobs.items():
        head, rest = r.stdout[at:at + 200].split(b"\n", 1)
        name, kind, length = head.decode().split()
        assert (name, kind, int(length)) == (blob, "blob", size)
        start = at + len(head) + 1
        data = r.stdout[start:start + size]
        assert by_hand(data) == (md5, sha256)
        at = start + size + 1


def test_81_every_log_commit_verifies_with_stock_git(job):
    d = job.d
    shown = d.git("log", "--show-signature", "--format=commit %H", d.log_ref)
    commits = re.findall(r"(?m)^commit ([0-9a-f]{40})$", shown.stdout)
    good = re.findall(r'Good "git" signature for \S+ with ED25519 key', shown.stdout + shown.stderr)
    assert len(commits) == len(good) >= 12, shown.stdout[:3000] + shown.stderr[:3000]
    for commit in commits:
        d.git("verify-commit", commit)
    # the same for the installation's own log, and for releases
    own = d.data / "sites" / "installation" / "repo.git"
    if not own.exists():
        own = next(p for p in d.data.rglob("repo.git") if "installation" in str(p))
    shown = d.git("log", "--format=%G? %H", d.log_ref, repo=own).stdout.split("\n")[:-1]
    assert shown and all(line.startswith("G ") for line in shown), shown
    tags = d.git("tag", "-l", "release/*").stdout.split()
    assert len(tags) == d.must("GET", d.api_site("/sync"))["release"] >= 4
    for tag in tags:
        d.git("verify-tag", tag)


def test_82_the_chain_of_records(job):
    d = job.d
    previous = None
    for commit in d.git("rev-list", "--reverse", d.log_ref).stdout.split():
        stored = d.run("git", "-C", d.repo, "-c", "safe.directory=*", "cat-file", "blob", f"{commit}:record").stdout.encode()
        files = d.run("git", "-C", d.repo, "-c", "safe.directory=*", "cat-file", "blob", f"{commit}:files", check=False).stdout.encode()
        record = json.loads(stored)
        assert stored.rstrip(b"\n") == json.dumps(record, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
        assert record.get("prev") in ((previous,) if previous else (None, "", "0" * 64))
        assert record["files"]["count"] == files.count(b"\n") and record["files"]["sha256"] == hashlib.sha256(files).hexdigest()
        previous = hashlib.sha256(stored).hexdigest()
        message = d.git("log", "-1", "--format=%B", commit).stdout
        assert f"Seq: {record['seq']}\n" in message and f"Op: {record['op']}\n" in message and f"Record-SHA256: {previous}" in message


def test_83_git_finds_nothing_wrong(job):
    r = job.d.git("fsck", "--full", "--strict")
    assert "error" not in r.stderr and "missing" not in r.stdout
    # main's tree is what is in production
    with_main = pathlib.Path(job.d.dir) / "checkout"
    with_main.mkdir()
    job.d._own(with_main)
    job.d.git("--work-tree", with_main, "checkout", "-q", "-f", "main", "--", ".")
    same_trees(with_main, os.path.realpath(job.d.production))
    shutil.rmtree(with_main)


def test_90_the_same_after_a_restart_and_after_a_crash(job):
    d = job.d
    before = d.status(limit=1)["counts"]
    assert d.stop() == 0
    d.start()
    assert d.status(limit=1)["counts"] == before
    d.kill()
    d.start()
    assert d.status(limit=1)["counts"] == before
    d.write("/after.html", "after the crash")
    d.sign("/after.html")
    job.approved["/after.html"] = by_hand(b"after the crash")
    d.sync("after the crash")
    job.production_is_approved()
