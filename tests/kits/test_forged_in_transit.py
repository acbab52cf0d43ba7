"""What is forged on its way to production, over the real kit, ssh and receiver: each is refused, production stays as it is, and an
admin reads why: in the run, on the sync page and on the run's page."""
import html
import pathlib
import shutil
import subprocess
import sys

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))

from drydock import Drydock, program  # noqa: E402
from test_ssh import PAGES, Production, machine, staged, user_name  # noqa: E402

BUILD = pathlib.Path(program()).parent
REFUSED = "production refused it: "

# What forger.py does to it: what is said to people.
FORGED = {
    "older": REFUSED + "release 1 is older; this receiver holds release 2, term 1",
    "expired": " has expired; this receiver holds release 2",
    "foreign": " is of another site; this receiver holds release 2",
    "same number": REFUSED + "release 2 is another one with that number; this receiver holds release 2",
    "another number": " is not where a head belongs",
    "hole": " does not follow: heads between are missing, or it is of another history",
    "no term": "not the head of a release, or not as DryDock writes it",
    "head byte": "not the head of a release, or not as DryDock writes it",
    "no signature": REFUSED + "the signature of release ",
    "wrong key": REFUSED + "the signature is by another key",
    "list byte": REFUSED + "the list of files is not the one that release ",
    "list flood": REFUSED + "the list of files is larger than release ",
    "file altered": REFUSED + "/index.html is not what unix:",
    "file missing": REFUSED + "/index.html is missing in the delivery, or something else is in its place",
    "file longer": " bytes in the delivery, and ",
    "file more": " is missing in the delivery, or something else is in its place: files/extra",
    "file flood": " bytes in the delivery, and ",
    "file cut": REFUSED + "the stream was cut off",
    "link": " in the archive is a link, a directory or a device",
    "hard link": " in the archive is a link, a directory or a device",
    "device": " in the archive is a link, a directory or a device",
    "fifo": " in the archive is a link, a directory or a device",
    "absolute": "something else is in its place: /etc/passwd",
    "dotdot": "something else is in its place: files/../../x",
}


class World:
    def __init__(self, d, p):
        self.d, self.p, self.n = d, p, 0
        self.alice = d.login("alice")

    def next(self):
        """Something to send: more than fits into a small place."""
        self.n += 1
        self.d.write("/index.html", f"<h1>{self.n}</h1>".ljust(200000))
        self.d.sign("/index.html")

    def refused(self, *words):
        """The next release does not get there; what people are told has the words."""
        live, accepted = self.p.live(), self.p.accepted()
        self.next()
        run = self.d.sync(state="failed")
        assert machine(run)["state"] in ("failed", "sent"), run
        wrong = [w for w in words if w not in run["message"]]
        assert not wrong, (wrong, run["message"], machine(run)["output"])
        assert run["message"].startswith("machine: ") and "production:" not in run["message"]
        for address in ("/s/www/sync", f"/s/www/sync/{run['run']}"):
            assert html.escape(run["message"], quote=False) in self.alice.get(address).text.replace("&#39;", "'").replace("&quot;", '"'), (address, run["message"])
        assert self.p.live() == live and self.p.accepted() == accepted
        return run


@pytest.fixture(scope="module")
def world():
    with Drydock(files=PAGES, accounts=(), start=False) as d:
        p, kits = Production(d), d.dir / "kits"
        try:
            kits.mkdir()
            d._own(kits)
            shutil.copy(BUILD / "sync-scripts" / "tar-ssh", kits / "tar-ssh")
            (kits / "ssh").write_text(f"#!{sys.executable}\n" + (TOP / "tests" / "lib" / "forger.py").read_text())
            (kits / "forging").write_text('#!/bin/sh\nPATH="${0%/*}:$PATH"\nexport PATH\nexec "${0%/*}/tar-ssh" "$@"\n')
            for name in ("ssh", "forging"):
                (kits / name).chmod(0o755)
            d.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", kits / "other")
            d.conf.write_text(f'kits = "{kits}"\n' + d.conf.read_text().rstrip()[:-1] + p.target(user_name(d), kit="forging") + "}\n")
            d.start()
            d.add_account("alice")
            shutil.copy(d.data / "node.key", kits / "key")
            d._own(kits / "key")
            d.sign("/", recursive=True)
            d.sync()
            for name, paper in (("old", "head"), ("old.sig", "signature")):
                (kits / name).write_text(d.cli("release", "show", "1", "--paper", paper).stdout)
            (kits / "held").write_text("2")
            w = World(d, p)
            w.next()
            assert machine(d.sync())["state"] == "confirmed" and p.accepted()["number"] == 2
            w.next()  # one that production never gets by itself: a chain with something in it to be left out
            (kits / "mode").write_text("file missing")
            d.sync(state="failed")
            yield w
            # After all that the honest one is taken.
            (kits / "mode").write_text("honest")
            w.next()
            assert machine(d.sync())["state"] == "confirmed"
            assert p.live() == staged(d) == d.live() and p.accepted()["number"] > 2
            assert d.run(program("drydock-receive"), "verify", p.state).returncode == 0
        finally:
            p.stop()


@pytest.mark.parametrize("kind", FORGED)
def test_forged(world, kind):
    (world.d.dir / "kits" / "mode").write_text(kind)
    world.refused(FORGED[kind])


def test_not_forged_and_refused(world):
    """What is wrong on the way itself, or there."""
    d, p = world.d, world.p
    (d.dir / "kits" / "mode").write_text("honest")
    # Another delivery is running.
    other = subprocess.Popen([program("drydock-receive"), "receive", p.state], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert b'"receiver":1' in other.stdout.readline()
    world.refused(REFUSED + "another delivery is running")
    other.communicate()
    # The disk there is full.
    small = p.dir / "small"
    small.write_text("#!/bin/sh\nexec unshare --map-current-user --mount --keep-caps sh -c 'mount -t tmpfs -o size=64k,mode=0755 drydock \"$1\" && shift && exec \"$@\"' "
                     f'sh "{p.state}/incoming" "$@"\n')
    small.chmod(0o755)
    p.bind(f"{small} ")
    world.refused(REFUSED, "No space left on device")
    p.bind()
    # The key is not one that production knows; its host is not the one that is known here.
    authorized = (p.dir / "authorized_keys").read_text()
    (p.dir / "authorized_keys").write_text("")
    world.refused("production cannot be reached: ", "Permission denied (publickey)")
    (p.dir / "authorized_keys").write_text(authorized)
    known = (p.dir / "known_hosts").read_text()
    (p.dir / "known_hosts").write_text(f"[127.0.0.1]:{p.port} {(p.dir / 'client.pub').read_text()}")
    world.refused("production cannot be reached: Host key verification failed.")
    (p.dir / "known_hosts").write_text(known)
    # Nobody is there.
    p.stop()
    world.refused("production cannot be reached: ssh: connect to host 127.0.0.1 port ", "Connection refused")
    p.start()
