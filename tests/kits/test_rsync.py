"""rsync beside a delivery: what drydock-receive lets a client ask for, and what becomes of what came that way."""
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))
sys.path.insert(0, str(TOP / "tests" / "kits"))

from delivery import Receiver, Release, Signer  # noqa: E402
from drydock import program  # noqa: E402
from test_receive import ONE, THREE, TWO, forged  # noqa: E402

ASKED = "rsync --server -rIe.iLsfxCIvu --timeout=120 . spool"  # what the kit asks for


@pytest.fixture(scope="module")
def signer(tmp_path_factory):
    return Signer(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def chain(signer):
    one = Release(signer, 1, ONE)
    two = Release(signer, 2, TWO, one)
    return one, two, Release(signer, 3, THREE, two)


@pytest.fixture
def receiver(signer):
    r = Receiver(signer)
    yield r
    r.close()


def raw(members):
    """Members of a tar that goes on."""
    out = b""
    for name, data in members:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        out += info.tobuf(tarfile.GNU_FORMAT) + data + b"\0" * (-len(data) % 512)
    return out


class Main:
    """The main stream of a delivery, spoken by hand."""

    def __init__(self, receiver):
        self.p = subprocess.Popen([program("drydock-receive"), "receive", receiver.state], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert b'"receiver":1' in self.p.stdout.readline()

    def say(self, data):
        with contextlib.suppress(BrokenPipeError):
            self.p.stdin.write(data)
            self.p.stdin.flush()

    def need(self):
        """The ranges that it asks for, or its answer."""
        line = self.p.stdout.readline()
        if line != b"need\n":
            return json.loads(line)
        out = []
        while (line := self.p.stdout.readline()) not in (b".\n", b""):
            out.append(line.decode().strip())
        return out

    def end(self, data=b""):
        self.say(data + b"\0" * 1024)
        with contextlib.suppress(BrokenPipeError):
            self.p.stdin.close()
        answer = self.p.stdout.readline()
        self.p.wait()
        return json.loads(answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(BrokenPipeError):
            self.p.stdin.close()
        self.p.stdout.close()
        self.p.wait()


def shell(receiver, tmp_path):
    script = tmp_path / "shell"
    script.write_text('#!/bin/sh\nwhile [ $# -gt 0 ] && [ "$1" != rsync ]; do shift; done\n'
                      f'SSH_ORIGINAL_COMMAND="$*" exec {program("drydock-receive")} receive {receiver.state}\n')
    script.chmod(0o755)
    return script


def rsync(receiver, tmp_path, files, *options):
    tree = tmp_path / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir()
    for name, data in files.items():
        (tree / name.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        (tree / name.lstrip("/")).write_bytes(data)
    return subprocess.run(["rsync", *(options or ("-rLI",)), "-e", shell(receiver, tmp_path), f"{tree}/", "receiver:spool"], capture_output=True, text=True)


def asks(receiver, command, data=b""):
    return subprocess.run([program("drydock-receive"), "receive", receiver.state], input=data, capture_output=True, timeout=30,
                          env={**os.environ, "SSH_ORIGINAL_COMMAND": command})


def test_files_by_rsync(receiver, chain, tmp_path):
    one, two, three = chain
    held = None
    for release in chain:
        with Main(receiver) as m:
            m.say(raw([member for member in release.members(held) if not member[0].startswith("files")]))
            assert m.need()
            files = {p: d for p, d in release.files.items() if held is None or held.files.get(p) != d}
            r = rsync(receiver, tmp_path, files)
            assert r.returncode == 0, r.stderr
            m.say(raw([("look", b"")]))
            assert m.need() == []
            assert "receipt" in m.end()
        assert receiver.live() == release.files
        held = release
    assert not (receiver.state / "incoming" / "tree").exists()
    assert receiver.command("verify").returncode == 0


def test_some_by_rsync_and_some_in_the_stream(receiver, chain, tmp_path):
    one = chain[0]
    with Main(receiver) as m:
        m.say(raw(one.members()[:3]))
        assert m.need() == ["0-4"]
        assert rsync(receiver, tmp_path, {"/docs/a.html": ONE["/docs/a.html"], "/docs/b.html": b"B"}).returncode == 0
        m.say(raw([("look", b"")]))
        assert m.need() == ["1-4"]
        assert rsync(receiver, tmp_path, {"/index.html": ONE["/index.html"]}).returncode == 0
        m.say(raw([("look", b"")]))
        left = m.need()
        assert left == ["1-1", "3-4"], left
        order = sorted(ONE, key=str.encode)
        answer = m.end(raw([("files" + order[i], ONE[order[i]]) for i in (1, 3, 4)]))
        assert "receipt" in answer, answer
    assert receiver.live() == ONE


def test_forged_by_rsync(signer, chain, tmp_path):
    """The same forgeries with the files beside the stream: refused, or what production has is the release, byte for byte."""
    one, two, three = chain
    cases = {name: d for name, (d, _) in forged(signer, Signer(tmp_path), chain).items()
             if isinstance(d, list) and d[:3] == three.members(two)[:3] and all(isinstance(m, tuple) for m in d)}
    assert len(cases) >= 10
    base = Receiver(signer)
    base.deliver(one.members())
    base.deliver(two.members(one))
    outcome = {}
    try:
        for name, members in cases.items():
            r = Receiver.__new__(Receiver)
            r.dir = tmp_path / "copy"
            shutil.rmtree(r.dir, ignore_errors=True)
            shutil.copytree(base.dir, r.dir, symlinks=True)
            r.state = r.dir / "state"
            with Main(r) as m:
                m.say(raw(members[:3]))
                assert m.need()
                with contextlib.suppress(OSError):
                    rsync(r, tmp_path, {n[5:]: d for n, d in members[3:] if n.startswith("files/") and ".." not in n})
                m.say(raw([("look", b"")]))
                m.need()
                answer = m.end()
            assert ("receipt" in answer and r.live() == THREE) or ("refused" in answer and r.live() == TWO), (name, answer)
            outcome[name] = "receipt" in answer
            assert not (tmp_path / "evil").exists()
        assert not outcome["file altered"] and not outcome["file missing"] and not outcome["no files"]
    finally:
        base.close()


REFUSED = [
    "rsync --server --sender -LIre.iLsfxCIvu . spool",
    "rsync --server -LIre.iLsfxCIvu . /etc",
    "rsync --server -LIre.iLsfxCIvu . ..",
    "rsync --server -LIre.iLsfxCIvu . spool /etc",
    "rsync --server -LIre.iLsfxCIvu / spool",
    "rsync --server -logDtpre.iLsfxCIvu . spool",
    "rsync --server -lIre.iLsfxCIvu . spool",
    "rsync --server -LIrRe.iLsfxCIvu . spool",
    "rsync --server -LIrKe.iLsfxCIvu . spool",
    "rsync --server -LIrse.iLsfxCIvu . spool",
    "rsync --server -re.iLsfxCIvu . spool",
    "rsync --server -LIre.iLsfxCIvu --delete . spool",
    "rsync --server -LIre.iLsfxCIvu --copy-dest=/etc . spool",
    "rsync --server -LIre.iLsfxCIvu --log-file=/tmp/x . spool",
    "rsync --server -LIre.iLsfxCIvu --timeout=120 --delete . spool",
    "rsync --server -LIre.iLsfxCIvu --log-format=%i . spool",
    "rsync --server -LIre.iLsfxCIvu --timeout=1;id . spool",
    "rsync --server -LIre.iLsfxCIvu --partial-dir=/tmp . spool",
    "rsync --server -LIre.iLs;id . spool",
    "rsync --server -LIre.i$(id) . spool",
    "rsync --server --daemon .",
    "rsync --server",
    "rsync --server ",
    "rsync --server -LIre.iLsfxCIvu . spool; id",
    "rsync --server " + "x" * 5000,
]


def test_what_else_is_asked_for(receiver, chain):
    one = chain[0]
    with Main(receiver) as m:
        m.say(raw(one.members()[:3]))
        assert m.need() == ["0-4"]
        for command in REFUSED:
            r = asks(receiver, command)
            assert r.returncode == 1 and (b"not for" in r.stderr or command.strip() == "rsync --server"), (command, r)
            assert not (receiver.state / "incoming" / "tree").exists(), command
        answer = m.end(raw([m_ for m_ in one.members()[3:]]))
        assert "receipt" in answer


def test_no_delivery_waits(receiver, chain, tmp_path):
    r = asks(receiver, ASKED)
    assert r.returncode == 1 and b"no delivery waits" in r.stderr
    receiver.deliver(chain[0].members())
    assert b"no delivery waits" in asks(receiver, ASKED).stderr
    assert rsync(receiver, tmp_path, ONE).returncode != 0
    assert not (receiver.state / "incoming" / "tree").exists()


def test_one_rsync_at_a_time(receiver, chain):
    with Main(receiver) as m:
        m.say(raw(chain[0].members()[:3]))
        m.need()
        hung = subprocess.Popen([program("drydock-receive"), "receive", receiver.state], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                env={**os.environ, "SSH_ORIGINAL_COMMAND": ASKED})
        assert hung.stdout.read(4)  # rsync speaks
        assert b"another rsync is running" in asks(receiver, ASKED).stderr
        # It is not looked at while somebody writes there.
        m.say(raw([("look", b"")]))
        assert "still running" in m.need()["refused"]
        hung.stdin.close()
        hung.wait()
        hung.stdout.close()
    assert "receipt" in receiver.deliver(chain[0].members())


def test_floods(receiver, chain, tmp_path):
    one = chain[0]
    with Main(receiver) as m:
        m.say(raw(one.members()[:3]))
        m.need()
        # One file larger than any that is needed, and many that are not.
        assert rsync(receiver, tmp_path, {"/index.html": os.urandom(100000)}).returncode != 0
        size = sum(f.stat().st_size for f in (receiver.state / "incoming").rglob("*") if f.is_file())
        assert size < 50000
        r = rsync(receiver, tmp_path, {f"/{os.urandom(120).hex()}": b"0123456789" for i in range(8000)})
        assert r.returncode != 0 and "more came by rsync" in r.stderr
        m.say(raw([("look", b"")]))
        assert m.need() == ["0-4"]
        assert not (receiver.state / "incoming" / "tree").exists()
        assert "receipt" in m.end(raw(one.members()[3:]))


def test_only_the_blocks_that_differ_travel(signer, tmp_path):
    big = os.urandom(3_000_000)
    changed = big[:1_500_000] + b"changed" + big[1_500_000:]
    one = Release(signer, 1, {"/big": big})
    two = Release(signer, 2, {"/big": changed}, one)
    r = Receiver(signer)
    try:
        r.deliver(one.members())
        with Main(r) as m:
            m.say(raw(two.members(one)[:3]))
            assert m.need() == ["0-0"]
            done = rsync(r, tmp_path, {"/big": changed}, "-rLI", "-v")
            sent = int(next(line for line in done.stdout.splitlines() if line.startswith("sent ")).split()[1].replace(",", ""))
            assert done.returncode == 0 and sent < 100_000, (sent, done)
            m.say(raw([("look", b"")]))
            assert m.need() == []
            assert "receipt" in m.end()
        assert r.live() == two.files
    finally:
        r.close()


def test_cut_off_and_taken_up_again(receiver, chain, tmp_path):
    """What rsync had brought whole when everything was cut off is not asked for again."""
    one = chain[0]
    with Main(receiver) as m:
        m.say(raw(one.members()[:3]))
        m.need()
        some = {p: d for p, d in ONE.items() if p.startswith("/docs")}
        assert rsync(receiver, tmp_path, some).returncode == 0
        m.p.kill()
    with Main(receiver) as m:
        m.say(raw(one.members()[:3]))
        assert m.need() == ["2-4"]
    # Planted in the tree by somebody else: not followed, not taken.
    tree = receiver.state / "incoming" / "tree"
    tree.mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.html").write_bytes(ONE["/docs/a.html"])
    (tree / "index.html").symlink_to(outside / "a.html")
    (tree / "docs").symlink_to(outside)
    with Main(receiver) as m:
        m.say(raw(one.members()[:3]))
        assert m.need() == ["2-4"]
        assert "receipt" in m.end(raw(one.members(need=set(sorted(ONE, key=str.encode)[2:]))[3:]))
    assert receiver.live() == ONE and (outside / "a.html").exists()
