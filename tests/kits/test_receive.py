"""drydock-receive: what it takes, what it refuses, and what is left of it when it is killed anywhere."""
import contextlib
import json
import os
import pathlib
import random
import re
import socket
import subprocess
import sys
import tarfile
import threading
import time

import pytest
import requests

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))

from clock import Clock  # noqa: E402
from delivery import Receiver, Release, Signer, pack, sha, stamp  # noqa: E402
from drydock import free_ports, program  # noqa: E402

ONE = {"/index.html": b"<h1>one</h1>", "/docs/a.html": b"a", "/docs/b.html": b"b", "/odd name\\": b"odd", "/" + "long/" * 60 + "x": b"deep"}
TWO = {**ONE, "/index.html": b"<h1>two</h1>", "/new/file": b"new"}
del TWO["/docs/b.html"]
THREE = {**TWO, "/index.html": b"<h1>three</h1>", "/docs": b"a file now"}
del THREE["/docs/a.html"]


@pytest.fixture(scope="module")
def signer(tmp_path_factory):
    return Signer(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def receiver(signer):
    r = Receiver(signer)
    yield r
    r.close()


@pytest.fixture(scope="module")
def chain(signer):
    one = Release(signer, 1, ONE)
    two = Release(signer, 2, TWO, one)
    return one, two, Release(signer, 3, THREE, two)


def test_takes_releases_in_order(receiver, chain):
    one, two, three = chain
    for i, (release, base) in enumerate(((one, None), (two, one), (three, two))):
        answer = receiver.deliver(release.members(base))
        assert "receipt" in answer, answer
        assert receiver.live() == release.files
        assert os.readlink(receiver.state / "live") == f"images/{'ba'[i % 2]}"
        receipt = receiver.dir / "receipt"
        receipt.write_text(answer["signature"])
        signers = receiver.dir / "receivers"
        signers.write_text("r " + (receiver.state / "node.pub").read_text())
        subprocess.run(["ssh-keygen", "-Y", "verify", "-f", signers, "-I", "r", "-n", "drydock-receipt", "-s", receipt], input=answer["receipt"].encode(),
                       check=True, capture_output=True)
        assert json.loads(answer["receipt"])["head"] == sha(release.head)
    assert receiver.command("verify").stdout.endswith(b"files, 0 differences\n")
    # The same again: the same receipt, and nothing is touched.
    again = receiver.deliver(three.members(three)[:2])
    assert (again["receipt"], again["signature"]) == (answer["receipt"], answer["signature"])


def test_catches_up_over_several(receiver, chain):
    one, two, three = chain
    receiver.deliver(one.members())
    assert "receipt" in receiver.deliver(three.members(one, heads=[two]))
    assert receiver.live() == three.files
    # A whole list in place of a difference.
    four = Release(three.signer, 4, ONE, three)
    assert "receipt" in receiver.deliver([m for m in four.members(need={p for p in ONE if ONE[p] != THREE.get(p)})])
    assert receiver.live() == ONE


def forged(signer, other, chain):
    """name: (members or bytes, part of the refusal). The receiver holds release 2."""
    one, two, three = chain
    good = three.members(two)
    body = [m for m in good if m[0].startswith("files")]
    diff = three.difference(two)
    info = lambda name, kind, link="": (lambda t: (setattr(t, "type", kind), setattr(t, "linkname", link), t)[2])(tarfile.TarInfo(name))  # noqa: E731

    def with_head(**members):
        return Release(signer, 3, THREE, two, **members).members(two)

    def swap(name, data):
        return [(n, data if n == name else d) for n, d in good]

    def flipped(name, at):
        return [(n, bytes([*d[:at], d[at] ^ 1, *d[at + 1:]]) if n == name else d) for n, d in good]

    head = json.loads(three.head)
    out = {
        "older": (one.members(), "older"),
        "older as the same chain": (Release(signer, 1, ONE).members(two), "older"),
        "expired": (with_head(expires=stamp(-5)), "expired"),
        "foreign site": (with_head(site="other"), "another site"),
        "same number, other release": (Release(signer, 2, THREE, one).members(one), "another one with that number"),
        "hole in the chain": (Release(signer, 4, THREE, three).members(two), "does not follow"),
        "no previous": (with_head(previous=""), "does not follow"),
        "previous of nothing": (with_head(previous="ab" * 32), "does not follow"),
        "other history": (Release(signer, 3, THREE, Release(signer, 2, ONE, one)).members(two), "does not follow"),
        "lower term": (with_head(term=0), "not the head"),
        "a record of nothing": (with_head(record={"seq": 0, "sha256": "0" * 64}), "not the head"),
        "unknown key": (Release(other, 3, THREE, two).members(two), "not in allowed_signers"),
        "another's signature": (swap("release/3.sig", other.sign(three.head)), "another key"),
        "signature of another head": (swap("release/3.sig", two.signature), "does not match"),
        "another namespace": (swap("release/3.sig", signer.sign(three.head, "git")), "another purpose"),
        "no signature": ([m for m in good if m[0] != "release/3.sig"], "signature of release 3 is missing"),
        "empty signature": (swap("release/3.sig", b""), "not an SSH signature"),
        "no head": (good[2:], "no head"),
        "no list": (good[:2] + body, "no list"),
        "empty delivery": ([], "no head"),
        "list and no head signature": ([good[2]] + body, "no head"),
        "head with another name": ([("release/4", three.head)] + good[1:], "not where a head belongs"),
        "head in other spelling": (swap("release/3", json.dumps(head).encode() + b"\n"), "not as DryDock writes it"),
        "head twice": (good[:2] + good, "another one with that number"),
        "head with more members": (swap("release/3", json.dumps({**head, "x": 1}, sort_keys=True, separators=(",", ":")).encode() + b"\n"), "not as"),
        "head that is enormous": (swap("release/3", b"x" * 100000), "too large"),
        "list that is enormous": (swap("difference", diff + b"-\t/x\n" * 2000000), "larger than"),
        "list with a link out": (swap("difference", diff + f"+\t{sha(b'')}\t0\t-\t1\t1\tu\t/../x\n".encode()), "not a path"),
        "list with an absolute double slash": (swap("difference", diff + f"+\t{sha(b'')}\t0\t-\t1\t1\tu\t//x\n".encode()), "not a path"),
        "list with git's own directory": (swap("difference", diff + f"+\t{sha(b'')}\t0\t-\t1\t1\tu\t/zz/.git/hooks\n".encode()), ""),
        "list unsorted": (swap("difference", b"".join(reversed(diff.splitlines(True)))), "sorted"),
        "list with a line twice": (swap("difference", diff.splitlines(True)[0] + diff), "twice"),
        "list with a line more": (swap("difference", diff + f"+\t{sha(b'')}\t0\t-\t1\t1\tu\t/zz\n".encode()), "not the one"),
        "list with a line less": (swap("difference", b"".join(diff.splitlines(True)[1:])), "not the one"),
        "list with another signer": (swap("difference", diff.replace(b"alice", b"mallory")), "not the one"),
        "list with another size": (swap("difference", diff.replace(b"\t14\t", b"\t15\t")), "not the one"),
        "list with executables": (swap("difference", diff.replace(b"\t-\t17", b"\tx\t17")), "not the one"),
        "list cut in a line": (swap("difference", diff[:-3]), "middle of a line"),
        "list with a NUL": (swap("difference", diff.replace(b"alice", b"a\0ice")), "NUL"),
        "list with notes": (swap("difference", b"".join(b"*\t1\t1\t1" + line[1:] if line[:1] == b"+" else line for line in diff.splitlines(True))), ""),
        "list as a whole that is a difference": ([(("manifest" if n == "difference" else n), d) for n, d in good], ""),
        "empty list": (swap("difference", b""), "not the one"),
        "file altered": (flipped(body[-1][0], 0), "is not what unix:alice signed"),
        "file longer": ([(n, d + b"x" if n == body[0][0] else d) for n, d in good], "bytes in the delivery"),
        "file shorter": ([(n, d[:-1] if n == body[0][0] else d) for n, d in good], "bytes in the delivery"),
        "file missing": (good[:-1], "missing in the delivery"),
        "no files": (good[:3], "missing in the delivery"),
        "file more": (good + [("files/extra", b"x")], "not asked for"),
        "file twice": (good + [good[-1]], "not asked for"),
        "files in another order": (good[:3] + body[::-1], "something else is in its place"),
        "file under another name": ([("files/evil" if n == body[0][0] else n, d) for n, d in good], "something else is in its place"),
        "absolute path": ([("/etc/passwd" if n == body[0][0] else n, d) for n, d in good], "something else is in its place"),
        "path with ..": ([("files/../../x" if n == body[0][0] else n, d) for n, d in good], "something else is in its place"),
        "a list behind the files": (good + [good[2]], "not asked for"),
        "symbolic link": (good[:3] + [info(body[0][0], tarfile.SYMTYPE, "/etc/passwd")] + body[1:], "link"),
        "hard link": (good[:3] + [info(body[0][0], tarfile.LNKTYPE, "release/3")] + body[1:], "link"),
        "character device": (good[:3] + [info(body[0][0], tarfile.CHRTYPE)] + body[1:], "device"),
        "block device": (good[:3] + [info(body[0][0], tarfile.BLKTYPE)] + body[1:], "device"),
        "fifo": (good[:3] + [info(body[0][0], tarfile.FIFOTYPE)] + body[1:], "device"),
        "directory": (good[:3] + [info("files/docs", tarfile.DIRTYPE)] + body, "directory"),
        "link in place of the list": (good[:2] + [info("difference", tarfile.SYMTYPE, "/etc/passwd")], "link"),
        "not a tar": (b"GET / HTTP/1.1\r\n\r\n" * 100, "not a tar"),
        "cut at once": (b"", "cut off"),
        "cut in a header": (pack(good)[:100], "cut off"),
        "cut in a file": (pack(good)[:-11000], "cut off"),
        "header with a wrong sum": (pack(good)[:2] + b"x" + pack(good)[3:], "not a tar"),
        "a member of a petabyte": ([*good[:3]] and pack(good[:3])[:-10240] + tarfile_huge(body[0][0]), "larger than"),
    }
    for at in (0, 5, len(three.head) // 2, len(three.head) - 3):
        out[f"head with byte {at} changed"] = (flipped("release/3", at), "")
    for at in (0, 30, len(diff) - 2):
        out[f"list with byte {at} changed"] = (flipped("difference", at), "")
    return out


def tarfile_huge(name):
    t = tarfile.TarInfo(name)
    t.size = 1 << 58
    return t.tobuf(tarfile.GNU_FORMAT)


def test_forged_deliveries(signer, tmp_path, chain):
    other = Signer(tmp_path)
    cases = forged(signer, other, chain)
    assert len(cases) >= 60
    one, two, three = chain
    r = Receiver(signer)
    try:
        r.deliver(one.members())
        r.deliver(two.members(one))
        before, link = r.accepted(), os.readlink(r.state / "live")
        wrong = []
        for name, (delivery, words) in cases.items():
            # What arrived of the one before would not be asked for again.
            for left in (r.state / "incoming").iterdir():
                left.unlink()
            answer = r.deliver(delivery)
            if not answer or words not in answer.get("refused", "") or "refused" not in answer or answer.get("number") != 2:
                wrong.append((name, words, answer))
            if r.accepted() != before or os.readlink(r.state / "live") != link or r.live() != TWO:
                wrong.append((name, "production changed"))
                break
        assert not wrong, wrong
        assert r.command("verify").returncode == 0
        # After all that the honest one is taken.
        assert "receipt" in r.deliver(three.members(two))
        assert r.live() == THREE
    finally:
        r.close()


def test_an_old_ticket(signer, receiver, chain):
    """A publisher that was away: a higher number and the right chain do not help, its term says that another had the turn since."""
    one, two, _ = chain
    receiver.deliver(one.members())
    three = Release(signer, 3, THREE, two, term=2)
    assert "receipt" in receiver.deliver(three.members(one, heads=[two])), "a term that rises between two heads"
    assert receiver.accepted()["term"] == 2
    late, also = Release(signer, 4, TWO, three, term=1), Release(signer, 4, TWO, three, term=3)
    between = Release(signer, 5, ONE, also, term=2)
    for delivery in (late.members(three), between.members(three, heads=[also])):
        answer = receiver.deliver(delivery)
        assert "has a lower term" in answer["refused"] and (answer["number"], answer["term"]) == (3, 2), answer
        assert receiver.live() == THREE and receiver.accepted()["number"] == 3
    assert "receipt" in receiver.deliver(also.members(three))


def test_one_at_a_time(receiver, chain):
    one = chain[0]
    first = subprocess.Popen([*map(str, [pathlib.Path(os.environ["DRYDOCK_BUILD"]) / "drydock-receive", "receive", receiver.state])], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
    assert b'"receiver":1' in first.stdout.readline()
    assert "another delivery" in receiver.deliver(one.members())["refused"]
    out, _ = first.communicate(pack(one.members()))
    assert b"receipt" in out and receiver.live() == ONE


def test_no_signer_with_another_purpose(signer, chain):
    today, tomorrow = (time.strftime("%Y%m%d", time.gmtime(time.time() + days * 86400)) for days in (0, 1))
    refused = ['namespaces="git"', 'valid-before="20200101000000Z"', 'valid-after="20990101000000Z"', "cert-authority", f'valid-before="{today}"',
               f'valid-after="{tomorrow}"', 'valid-before=""', 'valid-before="never"', 'valid-before="2099"', 'valid-after="soon"']
    for options in refused + [f'valid-before="{tomorrow}"', f'valid-after="{today}"', f'valid-before="{tomorrow}0000Z"']:
        r = Receiver(signer)
        (r.state / "allowed_signers").write_text(signer.line(options))
        answer = r.deliver(chain[0].members())
        assert "allowed_signers" in answer["refused"] if options in refused else "receipt" in answer, (options, answer)
        r.close()


STEPS = ["offered", "arrived", "dirty", "removed", "written", "synced", "brought", "accepted", "switched"]


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_each_step(signer, chain, step):
    one, two, three = chain
    r = Receiver(signer)
    try:
        r.deliver(one.members())
        r.deliver(two.members(one))
        assert r.deliver(three.members(two), name="drydock-receive-steps", env={"DRYDOCK_RECEIVE_STOP": step}) is None or True
        taken = r.accepted()["number"] == 3
        assert taken == (step in ("accepted", "switched"))
        # Whatever happened, what is served is one release or the other, whole.
        assert r.live() == (THREE if step == "switched" else TWO)
        # The same again: taken up, not refused. What had arrived is not asked for once more.
        members = three.members(two)
        if taken:
            members = members[:2]
        elif step != "offered":
            members = members[:3]
        if not taken and step in ("written", "synced", "brought"):
            members = three.members(two)  # moved into the image already: asked for again
        answer = r.deliver(members)
        assert "receipt" in answer, answer
        assert r.live() == THREE and r.command("verify").returncode == 0
        # And the other image is sound for the next.
        four = Release(signer, 4, ONE, three)
        assert "receipt" in r.deliver(four.members(three))
        assert r.live() == ONE and r.command("verify").returncode == 0
    finally:
        r.close()


class Disk:
    """What a traced delivery changed, and what of it is not known to be on disk yet."""

    def __init__(self, state):
        self.state, self.changed, self.syncfs, self.switched, self.durable = str(state), set(), 0, False, False

    def entry(self, dir, name):
        self.changed.add(dir)
        return f"{dir}/{name}"

    def need_nothing(self):
        below = tuple(f"{self.state}/{part}" for part in ("images", "accepted", "a.", "b."))
        lacking = {p for p in self.changed if p == self.state or p.startswith(below)}
        assert not lacking, lacking

    def call(self, line):
        name, rest = re.match(r"\d+ +(\w+)\((.*)", line).groups()
        if re.search(r"= -1 E", rest):
            return
        at = re.findall(r'<([^>]*)>, "([^"]*)"', rest)
        if name == "syncfs":
            self.syncfs += 1
            self.changed.clear()
        elif name == "fsync":
            self.changed.discard(path := re.search("<([^>]*)>", rest).group(1))
            self.durable |= self.switched and path == self.state
        elif name in ("write", "ftruncate", "fchmod", "utimensat"):
            self.changed.add(re.search("<([^>]*)>", rest).group(1))
        elif name == "openat" and "O_CREAT" in rest:
            self.changed.add(self.entry(*at[0]))
        elif name == "mkdirat":
            self.changed.add(self.entry(*at[0]))
        elif name == "unlinkat":
            if re.fullmatch(r"[ab]\.dirty", at[0][1]):
                self.need_nothing()
            self.changed.discard(self.entry(*at[0]))
        elif name == "renameat":
            if at[1] == (self.state, "live"):
                self.need_nothing()
                self.switched = True
            old, new = (self.entry(*x) for x in at)
            if old in self.changed:
                self.changed.discard(old)
                self.changed.add(new)


def traced(receiver, release, base):
    log = receiver.dir / "trace"
    calls = "trace=openat,mkdirat,unlinkat,renameat,write,ftruncate,fchmod,utimensat,fsync,syncfs"
    env = {**os.environ, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}  # which does not work when traced
    answer = json.loads(subprocess.run(["strace", "-f", "-y", "-s", "9999", "-e", calls, "-o", log, program("drydock-receive"), "receive", receiver.state],
                                       input=pack(release.members(base)), capture_output=True, env=env).stdout.splitlines()[-1])
    assert "receipt" in answer, answer
    disk = Disk(receiver.state)
    begun = {}  # of calls that another thread's came between
    for line in log.read_text().splitlines():
        who = line.split()[0]
        if line.endswith(" <unfinished ...>"):
            begun[who] = line.removesuffix(" <unfinished ...>")
        elif not re.match(r"\d+ +(\+\+\+|---)", line):
            disk.call(begun.pop(who) + line.split("resumed>", 1)[1] if re.match(r"\d+ +<\.\.\.", line) else line)
    assert disk.switched and disk.durable and receiver.live() == release.files
    return disk


def test_on_disk_before_the_switch(receiver, signer):
    """Whatever a release touches is synced before the link is renamed: few things one by one, many by one syncfs."""
    files = {f"/d/{i}": b"%d" % i for i in range(50)} | {"/gone/with/its/directories": b"x", "/gone/over": b"y", "/plain": b"p"}
    held = Release(signer, 1, files)
    assert traced(receiver, held, None).syncfs == 1
    steps = [({"/d/1": b"changed"}, ()), ({"/new/and/deeper/page": b"n", "/new/other": b"o"}, ()), ({}, ("/gone/with/its/directories",)),
             ({"/plain/page": b"a directory now"}, ("/plain",)), ({"/new/and": b"a file now"}, ("/new/and/deeper/page",)), ({}, ())]
    for n, (put, remove) in enumerate(steps, 2):
        files = {p: d for p, d in files.items() if p not in remove} | put
        release = Release(signer, n, files, held)
        # The idle image of the second release is empty still: everything is copied to it.
        assert traced(receiver, release, held).syncfs == (n == 2)
        held = release
    # Left half-way: what lies there may be somebody else's write, not on disk.
    release = Release(signer, n + 1, {**files, "/d/2": b"again"}, held)
    receiver.deliver(release.members(held), name="drydock-receive-steps", env={"DRYDOCK_RECEIVE_STOP": "written"})
    assert traced(receiver, release, held).syncfs == 1
    assert receiver.command("verify").returncode == 0


def test_an_altered_idle_image_is_mended(receiver, chain):
    one, two, three = chain
    receiver.deliver(one.members())
    receiver.deliver(two.members(one))
    idle = receiver.state / "images" / ("a" if os.readlink(receiver.state / "live") == "images/b" else "b")
    (idle / "odd name\\").write_bytes(b"ODD")
    answer = receiver.deliver(three.members(two))
    assert answer["mended"] == 1 and receiver.live() == THREE


def test_says_that_it_goes_on(receiver, signer):
    """An image that was left half-way is read as a whole, however large: DryDock ends a kit that says nothing for a minute."""
    files = {f"/{i}": b"x" * 1000 + str(i).encode() for i in range(3000)}
    one = Release(signer, 1, files)
    two = Release(signer, 2, {**files, "/new": b"new"}, one)
    receiver.deliver(one.members())
    for image in ("a", "b"):
        (receiver.state / f"dirty-{image}").touch()
    clock, over = Clock(receiver.dir / "clock"), threading.Event()

    def hurry():
        while not over.wait(0.002):
            clock.sleep(21)

    hand = threading.Thread(target=hurry)
    hand.start()
    try:
        r = receiver.command("receive", input=pack(two.members(one)), env={**os.environ, **clock.env})
    finally:
        over.set()
        hand.join()
    assert set(r.stderr.splitlines()) == {b"production is at work"} and b"receipt" in r.stdout, r
    assert receiver.command("verify").stderr == b"" and receiver.live() == two.files


def away(path, made):
    path.rename(path.with_name("moved"))
    made(path)


ALTERED = {
    "bytes": lambda top: (top / "odd name\\").write_bytes(b"ODD"),
    "time": lambda top: os.utime(top / "odd name\\"),
    "mode": lambda top: (top / ("long/" * 60 + "x")).chmod(0o666),
    "another link": lambda top: os.link(top / ("long/" * 60 + "x"), top / "second"),
    "gone": lambda top: (top / "docs/a.html").unlink(),
    "another file with its times": lambda top: away(top / "odd name\\", lambda p: subprocess.run(["cp", "-p", top / "moved", p], check=True)),
    "a link": lambda top: away(top / "odd name\\", lambda p: p.symlink_to("moved")),
    "a directory that is a link": lambda top: away(top / ("long/" * 50)[:-1], lambda p: p.symlink_to("moved")),
}


@pytest.mark.parametrize("how", ALTERED)
def test_what_a_delivery_leaves_alone_is_looked_at(receiver, chain, how):
    one = chain[0]
    two = Release(one.signer, 2, {**ONE, "/index.html": b"2"}, one)
    receiver.deliver(one.members())
    receiver.deliver(two.members(one))
    three = Release(one.signer, 3, ONE, two)
    assert receiver.deliver(three.members(two))["mended"] == 0
    four = Release(one.signer, 4, {**ONE, "/index.html": b"4"}, three)
    ALTERED[how](receiver.state / "images" / ("a" if os.readlink(receiver.state / "live") == "images/b" else "b"))
    # A path that leads through a link is neither read nor written.
    answer = receiver.deliver(four.members(three))
    assert answer.get("mended") == 1 or "cannot be written" in answer["refused"] and how == "a directory that is a link"


def test_what_a_delivery_leaves_alone_is_looked_at_when_it_counts(receiver, chain):
    """A look goes on beside the wait for bytes. One that is old by then, since the image had to rest, is repeated."""
    one, two, three = chain
    receiver.deliver(one.members())
    receiver.deliver(two.members(one))
    config = receiver.state / "config"
    config.write_text(config.read_text().replace("rest 0", "rest 7"))
    os.utime(receiver.state / "switched")
    idle = receiver.state / "images" / ("a" if os.readlink(receiver.state / "live") == "images/b" else "b")
    kw = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([program("drydock-receive"), "receive", receiver.state], **kw) as p:
        p.stdin.write(pack(three.members(two)))
        p.stdin.close()
        while p.stdout.readline() != b".\n":
            pass
        time.sleep(1)
        (idle / "odd name\\").write_bytes(b"ODD")
        assert json.loads(p.stdout.readline())["mended"] == 1
    assert receiver.live() == THREE


MANY = {f"/d{i % 3}/{i:02}": b"%d" % i * 300 for i in range(40)}


def cut_first(r, release, at):
    """A first delivery whose stream ends in the middle of that file. The image that it has begun to fill."""
    members = release.members()
    n = [name for name, _ in members].index("files" + at)
    whole = len(pack(members[:n])) // 512 * 512
    data = pack(members)
    start = data.index(("files" + at).encode())
    assert start < whole + 1024
    assert "the stream was cut off" in r.deliver(data[:start + 512 + 100])["refused"]
    assert not r.accepted()["number"] and not r.live()
    return r.state / "images/b"


def test_a_first_delivery_that_was_cut_off_is_taken_up(receiver, signer):
    """It writes into the image at once. What came whole is not asked for again; what was altered, planted or half-written since then is."""
    one = Release(signer, 1, MANY)
    order = sorted(MANY)
    image = cut_first(receiver, one, order[20])
    there = sorted("/" + str(p.relative_to(image)) for p in image.rglob("*") if p.is_file())
    assert there == order[:20]
    assert all((image / p[1:]).read_bytes() == MANY[p] for p in order[:20])
    outside = receiver.dir / "outside"
    outside.mkdir()
    (image / order[1][1:]).write_bytes(b"0wn" * 200)
    (image / order[2][1:]).unlink()
    (image / order[2][1:]).symlink_to(outside / "file")
    os.link(image / order[3][1:], outside / "also here")
    (image / order[4][1:]).chmod(0o666)
    (image / order[5][1:]).unlink()
    (image / order[5][1:] / "sub").mkdir(parents=True)
    (image / "d2").symlink_to(outside)
    (image / "planted").write_text("0wn")
    # A process that was killed leaves such a one.
    (image / order[20][1:]).parent.mkdir(exist_ok=True)
    (image / order[20][1:]).write_bytes(MANY[order[20]])
    assert receiver.asked(one) == [*order[1:6], *order[20:]]
    answer = receiver.take_up(one)
    assert "receipt" in answer and receiver.live() == MANY, answer
    assert os.listdir(outside) == ["also here"] and not (image / "d2").is_symlink()
    assert {(image / p[1:]).stat().st_mtime_ns for p in order} == {1700000000000001000} and not os.listdir(receiver.state / "incoming")
    receiver.command("verify")
    two = Release(signer, 2, {**MANY, "/new": b"n"}, one)
    assert "receipt" in receiver.deliver(two.members(one)) and receiver.live() == two.files


@pytest.mark.parametrize("step", ["offered", "placed", *STEPS[1:]])
def test_a_first_delivery_killed_at_each_step(receiver, signer, step):
    one = Release(signer, 1, MANY)
    assert "receipt" not in (receiver.deliver(one.members(), name="drydock-receive-steps", env={"DRYDOCK_RECEIVE_STOP": step}) or {})
    assert receiver.live() in ({}, MANY)
    answer = receiver.take_up(one)
    assert "receipt" in answer and receiver.live() == MANY, answer
    receiver.command("verify")
    two = Release(signer, 2, {**MANY, "/new": b"n"}, one)
    assert "receipt" in receiver.take_up(two, one) and receiver.live() == two.files


def test_a_first_delivery_with_wrong_bytes_leaves_none(receiver, signer):
    one = Release(signer, 1, MANY)
    order = sorted(MANY)
    members = [(name, b"x" * len(data) if name == "files" + order[7] else data) for name, data in one.members()]
    assert "is not what unix:alice signed" in receiver.deliver(members)["refused"]
    image = receiver.state / "images/b"
    assert (image / order[6][1:]).exists() and not (image / order[7][1:]).exists()
    assert receiver.asked(one) == order[7:]
    answer = receiver.take_up(one)
    assert "receipt" in answer and answer["written"] + answer["copied"] == len(MANY) - 7 and receiver.live() == MANY


def test_a_first_delivery_taken_up_by_the_next_release(receiver, signer):
    """What was begun of release 1 counts for release 2 where the bytes are the same, and goes where the path is not listed any more."""
    one = Release(signer, 1, MANY)
    order = sorted(MANY)
    cut_first(receiver, one, order[10])
    files = {p: MANY[p] for p in order if p not in (order[0], order[3])}
    two = Release(signer, 2, {**files, order[2]: b"changed", order[3] + "/sub": b"a directory now"}, one)
    assert receiver.asked(two) == [order[2], order[3] + "/sub", *order[10:]]
    answer = receiver.take_up(two)
    assert "receipt" in answer and receiver.live() == two.files, answer


def test_what_was_altered_in_the_live_image_is_asked_for(signer, tmp_path):
    """The idle image is empty before the second release: what does not change is copied from the live one, where that is as signed."""
    r = Receiver(signer, at=tmp_path)
    one = Release(signer, 1, {f"/d{i % 3}/{i:02}": b"%d" % i * 100 for i in range(40)})
    two = Release(signer, 2, {**one.files, "/new": b"new"}, before=one)
    assert "receipt" in r.deliver(one.members())
    live = r.state / "live"
    gone = [p for p in one.files if p.endswith(("1", "5"))]
    for p in gone:
        if p.endswith("1"):
            (live / p[1:]).unlink()
        else:
            (live / p[1:]).write_bytes(b"0wn")
    answer = r.deliver(two.members(one))
    assert "and other files were altered in the live image" in answer["refused"] and r.accepted()["number"] == 1
    # The kit's next try has the whole list, and is asked for just those.
    asked = r.asked(two)
    assert set(asked) - {"/new"} == set(gone)
    assert "receipt" in r.deliver(two.members(need=asked))
    assert r.live() == two.files
    three = Release(signer, 3, {**two.files, "/new": b"3"}, before=two)
    answer = r.deliver(three.members(two))
    assert "receipt" in answer and answer["mended"] == len(gone) and r.live() == three.files
    r.command("verify")


def test_verify_names_who_signed(receiver, chain):
    receiver.deliver(chain[0].members())
    live = receiver.state / "live"
    (live / "index.html").write_bytes(b"<h1>0wn</h1>")
    (live / "docs" / "a.html").unlink()
    (live / "docs" / "shell.php").write_bytes(b"x")
    (live / "docs" / "link").symlink_to("/etc/passwd")
    r = receiver.command("verify", code=1)
    lines = r.stdout.decode().splitlines()
    assert "altered: /index.html (signed by unix:alice, record 1)" in lines
    assert "missing: /docs/a.html (signed by unix:alice, record 1)" in lines
    assert "foreign: /docs/shell.php" in lines and "link or device: /docs/link" in lines
    assert lines[-1].endswith("4 differences")
    assert json.loads(json.loads(receiver.command("receive", code=None).stdout.splitlines()[0])["report"])["bad"] == 4


def test_roll_back_by_hand(receiver, chain):
    one, two, three = chain
    receiver.command("rollback-to-previous", code=1)
    receiver.deliver(one.members())
    receiver.deliver(two.members(one))
    receiver.command("rollback-to-previous")
    assert receiver.live() == ONE
    assert "older" in receiver.deliver(one.members())["refused"]
    assert receiver.live() == ONE
    assert "receipt" in receiver.deliver(three.members(two))
    assert receiver.live() == THREE and receiver.command("verify").returncode == 0


def test_memory_does_not_grow_with_the_site(signer, receiver):
    """20,000 files, and a thousand times as many bytes of list: the receiver's peak is that of its buffers."""
    files = {f"/d{i % 100}/{'x' * 60}{i}": b"%d" % i for i in range(20000)}
    one = Release(signer, 1, files)
    assert "receipt" in receiver.deliver(one.members())
    two = Release(signer, 2, {**files, "/d1/changed": b"new"}, one)
    r = subprocess.run(["/usr/bin/python3", "-c", "import resource,subprocess,sys\nsubprocess.run(sys.argv[1:])\n"
                        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)",
                        str(pathlib.Path(os.environ["DRYDOCK_BUILD"]) / "drydock-receive"), "receive", receiver.state],
                       input=pack(two.members(one)), capture_output=True)
    assert b"receipt" in r.stdout
    assert int(r.stdout.split()[-1]) < 64 * 1024
    assert len(receiver.live()) == 20001
    # What is written for one changed file is not the list over again.
    assert (receiver.state / "a.net").exists() or (receiver.state / "b.net").exists()


def test_a_web_server_never_serves_a_mixture(signer, receiver, tmp_path):
    """nginx on the link that is switched, a client asking all the time: each answer is of one release, and none an error."""
    port = free_ports(1)[0]
    conf = tmp_path / "nginx.conf"
    conf.write_text(f"daemon off;\nmaster_process off;\npid {tmp_path}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{ access_log off; "
                    + "".join(f"{kind}_temp_path {tmp_path}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
                    + f"server {{ listen 127.0.0.1:{port}; root {receiver.state}/live; }} }}\n")
    pages = lambda n: {f"/page{i}.html": b"%d " % n * 2000 for i in range(20)}  # noqa: E731
    releases = [Release(signer, 1, pages(1))]
    receiver.deliver(releases[0].members())
    nginx = subprocess.Popen(["/usr/sbin/nginx", "-c", str(conf), "-p", str(tmp_path)], stderr=subprocess.PIPE)
    wrong, asked, over = [], [0], threading.Event()

    def client():
        session, last = requests.Session(), 0
        session.trust_env = False
        while not over.is_set():
            for i in range(20):
                answer = session.get(f"http://127.0.0.1:{port}/page{i}.html", timeout=20)
                words = set(answer.content.split())
                number = int(next(iter(words), b"0"))
                asked[0] += 1
                if answer.status_code != 200 or len(words) != 1 or number < last:
                    wrong.append((answer.status_code, words, last))
                last = number

    try:
        for _ in range(400):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.02)
        thread = threading.Thread(target=client)
        thread.start()
        for n in range(2, 12):
            releases.append(Release(signer, n, pages(n), releases[-1]))
            assert "receipt" in receiver.deliver(releases[-1].members(releases[-2]))
            seen = asked[0]
            while asked[0] < seen + 40 and thread.is_alive():
                time.sleep(0.005)
        over.set()
        thread.join()
        assert not wrong and asked[0] >= 400
    finally:
        over.set()
        nginx.terminate()
        nginx.communicate()


def test_many_releases_with_cuts_and_kills(signer):
    """Random changes, streams cut anywhere, the receiver killed anywhere. DRYDOCK_SOAK=1: 10,000 files, 20 releases."""
    soak = os.environ.get("DRYDOCK_SOAK") == "1"
    n_files, n_releases = (10000, 20) if soak else (300, 8)
    chance = random.Random(int(os.environ.get("DRYDOCK_SEED", "5")))
    r = Receiver(signer)
    files = {f"/d{i % 37}/f{i}": b"%d" % i for i in range(n_files)}
    held = None
    receipts = []
    try:
        for number in range(1, n_releases + 1):
            for _ in range(max(3, n_files // 100)):
                path = chance.choice(sorted(files))
                kind = chance.randrange(4)
                if kind == 0:
                    del files[path]
                elif kind == 1:
                    files[f"/new{number}/{chance.randrange(10 ** 9)}"] = chance.randbytes(chance.randrange(5000))
                else:
                    files[path] = chance.randbytes(chance.randrange(5000))
            release = Release(signer, number, files, held)
            for _ in range(chance.randrange(3)):
                data = pack(release.members(held))
                if chance.random() < 0.5:
                    r.deliver(data[:chance.randrange(len(data))])
                else:
                    r.deliver(data, name="drydock-receive-steps", env={"DRYDOCK_RECEIVE_STOP": chance.choice(STEPS)})
                assert r.accepted()["number"] in (number - 1, number)
            answer = {}
            if r.accepted()["number"] == number:
                answer = r.deliver(release.members(held)[:2])
            else:
                answer = r.take_up(release, held)
            assert "receipt" in answer, answer
            receipts.append(json.loads(answer["receipt"])["number"])
            assert r.live() == files
            held = release
        assert receipts == list(range(1, n_releases + 1))
        assert r.command("verify").stdout.endswith(b" 0 differences\n")
    finally:
        r.close()
