"""drydockd fsck without a server: what is damaged is found, named, and put right where it can be derived."""
import os
import pathlib
import subprocess

import pytest

from world import FILES, Drydock, fsck, git, history, log_ref, names, program, repository, sql


@pytest.fixture(scope="module")
def d():
    with Drydock(files=FILES) as d:
        history(d)
        d.stop()
        yield d


@pytest.fixture(autouse=True)
def clean_again(d):
    """Each test leaves the installation as it found it: or the next one would find that."""
    yield
    fsck(d, status=0)


def one(items, name):
    assert names(items) == [name], items
    return items[0]


def test_nothing_is_wrong(d):
    _, items, answer = fsck(d, "--deep", status=0)
    assert items == [] and answer["records"] > 15 and answer["files"] == 3 and answer["versions"] >= 6
    r = d.run(program(), "fsck", "--data", d.data)
    assert "nothing is wrong." in r.stdout
    # a site that there is not, options of others
    assert fsck(d, "--site", "other")[0] == 3
    assert d.run(program(), "admin", "x", "--deep", "--data", d.data, check=False).returncode == 1


def test_export_is_compared_and_put_right(d):
    export = d.data / "sites" / "www" / "export"
    index = export / "index.html"
    was = index.read_bytes()
    (export / "shell.php").write_bytes(b"<?php")
    os.symlink("/etc/passwd", export / "a" / "link")
    os.mkfifo(export / "fifo")
    (export / "data" / "prices.csv").unlink()
    index.chmod(0o644)
    index.write_bytes(was.replace(b"two", b"ewt"))
    _, items, _ = fsck(d, status=2)
    assert {(f["name"], f["subject"]) for f in items} == {
        ("export-foreign", "/shell.php"), ("export-foreign", "/a/link"), ("export-foreign", "/fifo"),
        ("export-differs", "/data/prices.csv"), ("export-differs", "/index.html")}, items
    _, items, _ = fsck(d, "--deep", status=2)
    assert any(f["subject"] == "/index.html" and "other bytes" in f["what"] for f in items)
    _, items, answer = fsck(d, "--repair", status=1)
    assert all(f["repaired"] for f in items) and answer["repaired"] == answer["findings"] == len(items)
    assert index.read_bytes() == was and index.stat().st_mode & 0o777 == 0o755
    assert not (export / "shell.php").exists() and len(list((export.parent / "export.foreign").iterdir())) == 3
    fsck(d, "--deep", status=0)


def test_log_ref_that_stands_elsewhere(d):
    ref, head = log_ref(d), git(d, "rev-parse", log_ref(d)).decode().strip()
    git(d, "update-ref", ref, head + "~2")
    assert "earlier record" in one(fsck(d, status=2)[1], "log-ref")["what"]
    assert fsck(d, "--repair", status=1)[1][0]["repaired"]
    git(d, "update-ref", "-d", ref)
    assert one(fsck(d, "--repair", status=1)[1], "log-ref")["what"] == "it is missing"
    assert git(d, "rev-parse", ref).decode().strip() == head


def test_foreign_commit_on_the_log(d):
    ref, head = log_ref(d), git(d, "rev-parse", log_ref(d)).decode().strip()
    # with the tree of a record, and with one of its own; on top of the log, and beside it
    for tree, parents in ((head + "^{tree}", [head]), (head + ":site", [head]), (head + "^{tree}", [])):
        foreign = git(d, "commit-tree", tree, *[w for p in parents for w in ("-p", p)], stdin=b"hello\n").decode().strip()
        git(d, "update-ref", ref, foreign)
        _, items, _ = fsck(d, "--repair", status=2)
        assert any(foreign in f["subject"] for f in items), items
        assert all(f["name"].startswith("log-") and not f["repaired"] for f in items), items
        assert git(d, "rev-parse", ref).decode().strip() == foreign, "what cannot be derived is not repaired"
    git(d, "update-ref", ref, head)
    git(d, "update-ref", "refs/heads/mine", head)
    assert one(fsck(d, status=2)[1], "ref-foreign")["subject"] == "refs/heads/mine"
    git(d, "update-ref", "-d", "refs/heads/mine")


def test_log_signed_by_another_key(d, tmp_path):
    ref, head = log_ref(d), git(d, "rev-parse", log_ref(d)).decode().strip()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    # The newest record once more, as the node would have written it, but for the signature.
    raw = git(d, "cat-file", "commit", head).decode()
    header, message = raw.split("\n\n", 1)
    lines = [line for line in header.split("\n") if not line.startswith(("gpgsig", " "))]
    unsigned = "\n".join(lines) + "\n\n" + message
    armored = subprocess.run(["ssh-keygen", "-Y", "sign", "-n", "git", "-f", str(tmp_path / "key")], input=unsigned.encode(),
                             capture_output=True, check=True).stdout.decode()
    signed = "\n".join(lines) + "\ngpgsig " + armored.strip().replace("\n", "\n ") + "\n\n" + message
    other = git(d, "hash-object", "-t", "commit", "-w", "--stdin", stdin=signed.encode()).decode().strip()
    git(d, "update-ref", ref, other)
    _, items, _ = fsck(d, status=2)
    assert "log-foreign" in names(items) and other in items[0]["subject"]
    git(d, "update-ref", ref, head)
    # and the log itself, checked with a key that did not sign it
    for name in ("node.key", "node.pub"):
        (d.data / name).rename(d.data / (name + ".away"))
    try:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(d.data / "node.key")], check=True)
        (d.data / "node.key.pub").rename(d.data / "node.pub")
        status, items, _ = fsck(d)
        assert status in (2, 3), items
    finally:
        for name in ("node.key", "node.pub"):
            (d.data / (name + ".away")).rename(d.data / name)


def unpack(d):
    """All objects loose, so that one can be taken away: what was there."""
    packs = sorted((repository(d) / "objects" / "pack").glob("pack-*"))
    for pack in packs:
        pack.rename(repository(d) / pack.name)
    for pack in packs:
        if pack.suffix == ".pack":
            git(d, "unpack-objects", "-q", stdin=(repository(d) / pack.name).read_bytes())
    return packs


def pack_again(d, packs):
    for pack in packs:
        (repository(d) / pack.name).rename(pack)


def test_missing_object(d):
    ref = log_ref(d)
    packs = unpack(d)
    try:
        fsck(d, "--deep", status=0)
        wanted = {"commit": "rev-parse {}~5", "record": "rev-parse {}~4:record", "files": "rev-parse {}~7:files", "rules": "rev-parse {}:rules",
                  "tree": "rev-parse {}~3^{{tree}}", "site": "rev-parse {}:site", "version": "rev-parse {}:site/index.html"}
        for what, command in wanted.items():
            name = git(d, *command.format(ref).split()).decode().strip()
            place = repository(d) / "objects" / name[:2] / name[2:]
            place.rename(place.with_suffix(".away"))
            _, items, _ = fsck(d, status=2)
            assert any(name in f["subject"] + f["what"] or f["name"] == "object-missing" for f in items), (what, items)
            place.with_suffix(".away").rename(place)
        # an earlier version of a directory: only a deep check goes there
        name = git(d, "rev-parse", f"{ref}~12:site").decode().strip()
        place = repository(d) / "objects" / name[:2] / name[2:]
        place.rename(place.with_suffix(".away"))
        assert fsck(d, "--deep", status=2)[1]
        place.with_suffix(".away").rename(place)
    finally:
        pack_again(d, packs)


def test_flipped_bits(d):
    """In every pack, at many places: whatever is flipped is found, or was not part of any object."""
    found = 0
    for pack in sorted((repository(d) / "objects" / "pack").glob("*.pack"))[:3]:
        good = pack.read_bytes()
        pack.chmod(0o600)
        for at in (20, len(good) // 2, len(good) - 30):
            bad = bytearray(good)
            bad[at] ^= 0x10
            pack.write_bytes(bad)
            status, items, _ = fsck(d, "--deep")
            assert status == 2 and items, (pack.name, at)
            assert any(f["name"] in ("object-damaged", "object-missing", "log-missing", "release-ref") for f in items), items  # which: by what the pack holds
            found += 1
        pack.write_bytes(good)
    assert found == 9


def test_owners_and_modes(d):
    key, data = d.data / "node.key", d.data / "sites" / "www"
    data.chmod(0o777)
    assert one(fsck(d, status=2)[1], "mode")["subject"] == str(data)
    assert fsck(d, "--repair", status=1)[1]
    assert data.stat().st_mode & 0o022 == 0
    key.chmod(0o644)
    # the key is refused before anything is looked at, and the sentence says which file
    status, why, _ = fsck(d)
    assert status == 3 and str(key) in why
    key.chmod(0o600)
    assert pathlib.Path(d.data / "lock").exists()


def test_the_manual_names_every_finding():
    top = pathlib.Path(__file__).resolve().parents[2]
    text = (top / "doc" / "manual.md").read_text()
    found = [line.split('"')[1] for line in (top / "server" / "check" / "findings.def").read_text().splitlines() if line.startswith("FINDING(")]
    assert len(found) > 25 and [name for name in found if f"`{name}`" not in text] == []


def test_tags_of_releases_that_are_not_kept_are_not_missed():
    """release_keep drops old tags; one of the newest that is gone is found, and made again by a start."""
    with Drydock(files={"/a": "a"}, site_config="\trelease_keep = 2\n", accounts=()) as d:
        for i in range(4):
            d.write("/a", f"a {i}")
            d.sign("/a")
            d.sync()
        d.stop()
        assert d.git("tag").stdout.split() == ["release/3", "release/4"]
        # Numbers jump where a server goes on from what production holds (catch-up).
        d.start()
        sql(d, "UPDATE counter SET value = 8 WHERE id = 'release/www'")
        for i, kept in enumerate((["release/4", "release/9"], ["release/10", "release/9"], ["release/10", "release/11"])):
            d.write("/a", f"a later {i}")
            d.sign("/a")
            d.sync()
            assert d.git("tag").stdout.split() == kept
        d.stop()

        def fsck(expect):
            r = d.run(program(), "fsck", "--data", d.data, check=False)
            assert r.returncode == expect, r.stdout + r.stderr
            return r.stdout
        fsck(0)
        d.run(program(), "rebuild", "--replace", "--data", d.data)
        d.git("update-ref", "-d", "refs/tags/release/10")
        assert "refs/tags/release/10" in fsck(2)
        d.start()
        d.stop()
        fsck(0)
