"""Releases over a real sshd to drydock-receive: what arrives, with which receipt, and what is left of it when things break."""
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))

from drydock import Drydock, free_ports, program  # noqa: E402

PAGES = {"/index.html": "<h1>one</h1>", "/docs/a b.html": "a", "/docs/b.html": "b", "/odd\\name": "odd"}


class Production:
    """A receiver behind an sshd of its own, bound to one key."""

    def __init__(self, d):
        self.d, self.dir = d, d.dir / "production-machine"
        self.dir.mkdir()
        d._own(self.dir)
        self.state = self.dir / "state"
        d.run(program("drydock-receive"), "init", self.state, "--site", d.site, "--signers", d.data / "allowed_signers")
        config = self.state / "config"
        config.write_text(config.read_text().replace("rest 30", "rest 0"))
        for key in ("host", "client"):
            d.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.dir / key)
        self.port = free_ports(1)[0]
        self.binary = program("drydock-receive")
        self.bind()
        (self.dir / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {(self.dir / 'host.pub').read_text()}")
        self.sshd_config = self.dir / "sshd_config"
        self.sshd_config.write_text(f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.dir}/host\nPidFile none\nUsePAM no\nStrictModes no\n"
                                    f"AuthorizedKeysFile {self.dir}/authorized_keys\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n")
        self.sshd = None
        self.start()

    def bind(self, before=""):
        public = (self.dir / "client.pub").read_text()
        (self.dir / "authorized_keys").write_text(f'command="{before}{self.binary} receive {self.state}",restrict {public}')

    def start(self):
        # sshd wants its place for separation where it runs as root; here it runs as the daemon's user.
        kw = {"user": self.d.uid, "group": self.d.gid, "extra_groups": []} if os.geteuid() == 0 else {}
        self.log = open(self.dir / "sshd.log", "w")
        self.sshd = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", self.sshd_config], stderr=self.log, stdin=subprocess.DEVNULL, **kw)
        end = time.monotonic() + 20
        while "Server listening" not in (self.dir / "sshd.log").read_text():
            assert time.monotonic() < end and self.sshd.poll() is None, (self.dir / "sshd.log").read_text()
            time.sleep(0.02)

    def stop(self):
        if self.sshd:
            self.sshd.terminate()
            self.sshd.wait()
            self.log.close()
        self.sshd = None

    def target(self, user, **options):
        key = (self.state / "node.pub").read_text().split()
        options = {"kit": "tar-ssh", "place": "production", "host": "127.0.0.1", "ssh_user": user, "key_file": self.dir / "client",
                   "known_hosts": self.dir / "known_hosts", "receiver_key": " ".join(key[:2]), **options}
        lines = "".join(f'\t\t{name} = "{value}"\n' for name, value in options.items()) + f"\t\tssh_port = {self.port}\n"
        return f'\ttarget "machine" {{\n{lines}\t}}\n'

    def live(self):
        top = self.state / "live"
        return {"/" + str(p.relative_to(top)): p.read_bytes() for p in top.rglob("*") if p.is_file()}

    def accepted(self):
        return json.loads((self.state / "accepted").read_text())


def user_name(d):
    import pwd
    return pwd.getpwuid(d.uid).pw_name


@contextlib.contextmanager
def world(**options):
    with Drydock(files=PAGES, accounts=(), start=False) as d:
        p = Production(d)
        try:
            text = d.conf.read_text().rstrip()
            d.conf.write_text(text[:-1] + p.target(user_name(d), **options) + "}\n")
            d.start()
            yield d, p
        finally:
            p.stop()


def machine(run):
    return next(t for t in run["targets"] if t["name"] == "machine")


def staged(d):
    return {"/" + str(p.relative_to(d.staging)): p.read_bytes() for p in d.staging.rglob("*") if p.is_file()}


def test_releases_arrive_with_receipts():
    with world() as (d, p):
        d.sign("/", recursive=True)
        run = d.sync()
        assert machine(run)["state"] == "active", machine(run)["output"]
        assert p.live() == staged(d) == d.live()
        assert p.accepted()["number"] == 1
        for i in range(2, 6):
            d.write("/index.html", f"<h1>{i}</h1>")
            d.write(f"/new/{i}/" + "deep/" * 30 + "x", str(i), executable=True)
            d.sign("/", recursive=True)
            if i == 4:
                d.revoke("/docs/b.html")
                d.remove("/docs/b.html")
            assert "receipt" in machine(d.sync())["output"]
            assert p.live() == staged(d)
            assert p.accepted()["number"] == i
        mode = os.stat(p.state / "live" / ("new/5/" + "deep/" * 30 + "x")).st_mode & 0o777
        assert mode == 0o755
        assert d.run(program("drydock-receive"), "verify", p.state).stdout.endswith("differences\n")


def test_what_is_broken_is_told_and_mended():
    with world() as (d, p):
        d.sign("/", recursive=True)
        p.stop()
        assert "cannot be reached" in d.sync(state="failed")["message"]
        p.start()
        d.sync()
        assert p.live() == staged(d)
        # The host has another key than the one that is known.
        known = p.dir / "known_hosts"
        good = known.read_text()
        known.write_text(f"[127.0.0.1]:{p.port} {(p.dir / 'client.pub').read_text()}")
        d.write("/index.html", "two")
        d.sign("/index.html")
        d.sync(state="failed")
        known.write_text(good)
        assert p.accepted()["number"] == 1
        # Something else answers behind the key.
        p.bind("echo ")
        assert "something else" in d.sync(state="failed")["message"]
        # A receiver with another key: its receipts are not taken.
        p.bind()
        key = p.state / "node.key"
        real = key.read_bytes()
        d.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", p.dir / "other")
        key.write_bytes((p.dir / "other").read_bytes())
        assert "no receipt" in d.sync(state="failed")["message"]
        # What it accepted stands; with its own key again the next release is confirmed.
        key.write_bytes(real)
        d.write("/index.html", "three")
        d.sign("/index.html")
        d.sync()
        assert p.live() == staged(d)


STEPS = ["offered", "arrived", "dirty", "written", "brought", "accepted", "switched"]


def test_the_receiver_killed_at_its_steps():
    with world() as (d, p):
        d.sign("/", recursive=True)
        d.sync()
        honest, deadly = p.binary, program("drydock-receive-steps")
        for i, step in enumerate(STEPS):
            before = p.live()
            d.write("/index.html", f"step {step}")
            d.write(f"/file{i}", step)
            d.sign("/", recursive=True)
            p.binary = deadly
            p.bind(f"env DRYDOCK_RECEIVE_STOP={step} ")
            d.sync(state="failed")
            assert p.live() == (staged(d) if step == "switched" else before)
            p.binary = honest
            p.bind()
            d.sync()
            assert p.live() == staged(d) and p.accepted()["number"] == i + 2
        assert d.run(program("drydock-receive"), "verify", p.state).returncode == 0


def has_landlock():
    try:
        return "landlock" in pathlib.Path("/sys/kernel/security/lsm").read_text()
    except OSError:
        return True


def test_only_its_own_key():
    """The key of a target is readable for its kit, and for no other's."""
    with world() as (d, p):
        kits = d.dir / "kits"
        kits.mkdir()
        (kits / "curious").write_text(f'#!/bin/sh\ncat "{p.dir}/client" && echo read it\nexit 0\n')
        (kits / "curious").chmod(0o755)
        d.stop()
        text = d.conf.read_text().rstrip()
        place = d.dir / "other-place"
        place.mkdir()
        d._own(place)
        d.conf.write_text(f'kits = "{kits}"\n' + text[:-1] + f'\ttarget "curious" {{\n\t\tkit = "curious"\n\t\tplace = "{place}"\n\t}}\n}}\n')
        d.start()
        d.sign("/", recursive=True)
        run = d.sync()
        assert machine(run)["state"] == "active"
        if has_landlock():
            assert "read it" not in next(t for t in run["targets"] if t["name"] == "curious")["output"]
