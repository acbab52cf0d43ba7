"""Releases over a real sshd to drydock-receive: what arrives, with which receipt, and what is left of it when things break."""
import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))

from drydock import Drydock, free_ports, program  # noqa: E402
from waiting import until  # noqa: E402

KITS = ("tar-ssh", "rsync-ssh")
PAGES = {"/index.html": "<h1>one</h1>", "/docs/a b.html": "a", "/docs/b.html": "b", "/odd\\name": "odd"}


class Production:
    """A receiver behind an sshd of its own, bound to one key."""

    def __init__(self, d, name="production-machine"):
        self.d, self.dir = d, d.dir / name
        self.state, self.binary, self.sshd = self.dir / "state", program("drydock-receive"), None
        self.sshd_config = self.dir / "sshd_config"
        if self.sshd_config.exists():  # of a place that is kept
            self.port = int(self.sshd_config.read_text().split()[1])
        else:
            self._make()
        self.bind()
        self.start()

    def _make(self):
        d = self.d
        self.dir.mkdir()
        d._own(self.dir)
        d.run(program("drydock-receive"), "init", self.state, "--site", d.site, "--signers", d.data / "allowed_signers")
        config = self.state / "config"
        config.write_text(config.read_text().replace("rest 30", "rest 0"))
        for key in ("host", "client"):
            d.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.dir / key)
        self.port = free_ports(1)[0]
        (self.dir / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {(self.dir / 'host.pub').read_text()}")
        self.sshd_config.write_text(f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.dir}/host\nPidFile none\nUsePAM no\nStrictModes no\n"
                                    f"AuthorizedKeysFile {self.dir}/authorized_keys\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n")

    def bind(self, before=""):
        public = (self.dir / "client.pub").read_text()
        (self.dir / "authorized_keys").write_text(f'command="{before}{self.binary} receive {self.state}",restrict {public}')

    def start(self):
        # sshd wants its place for separation where it runs as root; here it runs as the daemon's user.
        kw = {"user": self.d.uid, "group": self.d.gid, "extra_groups": []} if os.geteuid() == 0 else {}
        self.log = open(self.dir / "sshd.log", "w")
        self.sshd = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", self.sshd_config], stderr=self.log, stdin=subprocess.DEVNULL, **kw)
        said = (self.dir / "sshd.log").read_text
        until(lambda: "Server listening" in said() or self.sshd.poll() is not None, why=said)
        assert self.sshd.poll() is None, said()

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


@pytest.mark.parametrize("kit", KITS)
def test_releases_arrive_with_receipts(kit):
    with world(kit=kit) as (d, p):
        d.sign("/", recursive=True)
        run = d.sync()
        assert machine(run)["state"] == "confirmed", machine(run)["output"]
        assert p.live() == staged(d) == d.live()
        assert p.accepted()["number"] == 1
        for i in range(2, 6):
            d.write("/index.html", f"<h1>{i}</h1>" * 20000)
            d.write(f"/new/{i}/" + "deep/" * 30 + "x", str(i), executable=True)
            d.sign("/", recursive=True)
            if i == 4:
                d.revoke("/docs/b.html")
                d.remove("/docs/b.html")
            text = machine(d.sync())["output"]
            assert "receipt" in text and "in the stream" not in text
            assert p.live() == staged(d)
            assert p.accepted()["number"] == i
        mode = os.stat(p.state / "live" / ("new/5/" + "deep/" * 30 + "x")).st_mode & 0o777
        assert mode == 0o755
        assert d.run(program("drydock-receive"), "verify", p.state).stdout.endswith("differences\n")


def test_rsync_is_for_what_is_large():
    """Where rsync cannot be started the stream has it all, and the output says so: of what is little it is not tried."""
    with Drydock(files=PAGES, accounts=(), start=False) as d, contextlib.ExitStack() as end:
        p = Production(d)
        end.callback(p.stop)
        kits = d.dir / "kits"
        (kits / "bin").mkdir(parents=True)
        (kits / "bin" / "ssh").symlink_to("/usr/bin/ssh")
        for name in ("rsync-ssh", "local"):
            shutil.copy(program(f"sync-scripts/{name}"), kits / name)
        (kits / "wrapped").write_text(f'#!/bin/sh\nPATH={kits}/bin\nexport PATH\nexec {kits}/rsync-ssh "$@"\n')
        (kits / "wrapped").chmod(0o755)
        text = d.conf.read_text().rstrip()
        d.conf.write_text(f'kits = "{kits}"\n' + text[:-1] + p.target(user_name(d), kit="wrapped") + "}\n")
        d.start()
        d.sign("/", recursive=True)
        d.sync()
        for size, tried in ((100, False), (70000, True), (65535, False)):
            d.write("/index.html", "x" * size)
            d.sign("/index.html")
            run = machine(d.sync())
            assert run["state"] == "confirmed" and ("rsync cannot be started" in run["output"]) == tried, (size, run["output"])
            assert p.live() == staged(d)


@pytest.mark.parametrize("kit", KITS)
def test_what_is_broken_is_told_and_mended(kit):
    with world(kit=kit) as (d, p):
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


@pytest.mark.parametrize("kit", KITS)
def test_the_receiver_killed_at_its_steps(kit):
    with world(kit=kit) as (d, p):
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


LAST_WORDS = {
    "ends badly after it brought the receipt": ('"$K" "$@"; exit 7', "confirmed", ""),
    "ends itself after it": ('"$K" "$@"; kill -KILL $$', "confirmed", ""),
    "hangs after it": ('"$K" "$@"; sleep 300', "confirmed", ""),
    "sent all, and brings no answer": ("""{ "$K" "$@" || exit; } | grep -v '^{"receipt"'; exit 1""", "sent", "the kit ended with status 1"),
    "says all is well, and brings no receipt": ("""{ "$K" "$@" || exit; } | grep -v '^{"receipt"'; exit 0""", "unconfirmed", "brought no receipt of the receiver"),
}


def test_what_a_kit_says_in_the_end():
    """Production's signed word counts, and not how the kit ended: with it the release is there, and without it nobody knows."""
    with world(kit="last-words", deadline="8s") as (d, p):
        d.stop()
        kits = d.dir / "kits"
        kits.mkdir()
        shutil.copy(pathlib.Path(program()).parent / "sync-scripts" / "tar-ssh", kits / "tar-ssh")
        d.conf.write_text(f'kits = "{kits}"\n' + d.conf.read_text())
        kit = kits / "last-words"
        kit.write_text("#!/bin/sh\nexit 1\n")
        kit.chmod(0o755)
        d.start()
        d.add_account("alice")
        alice = d.login("alice")
        for i, (text, state, words) in enumerate(LAST_WORDS.values()):
            kit.write_text(f'#!/bin/sh\n[ "$1" = test ] && exit 0\nK="${{0%/*}}/tar-ssh"\n{text}\n')
            d.write("/index.html", text)
            d.sign("/", recursive=True)
            run = d.sync(state="ok" if state == "confirmed" else "failed")
            assert machine(run)["state"] == state == target(d)["state"], (text, run)
            assert words in run["message"] and ("receipt" in machine(run)) == (state == "confirmed")
            assert p.live() == staged(d)
            assert f'<span class="badge {"signed" if state == "confirmed" else "failed"}">{state}</span>' in alice.get("/s/www/sync").text
        # It was there all the time: the next try is given the same receipt.
        before = p.accepted()
        kit.write_text('#!/bin/sh\nexec "${0%/*}/tar-ssh" "$@"\n')
        assert machine(d.sync())["state"] == "confirmed" and p.accepted() == before


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
        (kits / "curious").write_text(f'#!/bin/sh\ncat "{p.dir}/client" && echo read it\ncp -a "$DRYDOCK_EXPORT/." "$DRYDOCK_PLACE/"\nexit 0\n')
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
        assert machine(run)["state"] == "confirmed"
        if has_landlock():
            assert "read it" not in next(t for t in run["targets"] if t["name"] == "curious")["output"]


def target(d, name="machine"):
    return next(t for t in d.must("GET", d.api_site("/sync"))["targets"] if t["name"] == name)


def metric(d, name):
    lines = d.browser().get("/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith(name + " ")).split()[1])


def states(d):
    """{target: its state}, as /metrics has it for admins: one of them is 1."""
    text = d.login("alice").get("/metrics").text
    return {t: s for t, s in re.findall(r'(?m)^drydock_target_state\{site="www",target="(\w+)",state="(\w+)"\} 1$', text)}


def test_receipts_are_kept_and_checked_with_stock_tools(tmp_path):
    with world() as (d, p):
        assert target(d)["state"] == "waiting" and not target(d)["confirmed"]
        d.sign("/index.html")
        until(lambda: metric(d, "drydock_oldest_unconfirmed_seconds") > 0)  # the scheduler's thread learns of an act a moment after it
        # Nobody answers: what is approved is on one target and not on the other.
        p.stop()
        first = d.sync(state="failed")
        now = target(d)
        assert now["state"] == "failed" and now["release"] == 0 and now["waits_until"] == now["retry_at"] and not now["confirmed"]
        signed = next(r for r in d.records() if r["act"] == "sign")
        assert d.must("GET", d.api_site("/sync"))["unconfirmed_since"] == signed["at"]
        p.start()
        run = d.sync()
        until(lambda: metric(d, "drydock_oldest_unconfirmed_seconds") == 0)
        assert d.must("GET", d.api_site("/sync"))["unconfirmed_since"] is None
        told = machine(d.must("GET", d.api_site(f"/sync/runs/{run['run']}")))
        signers, signature = tmp_path / "signers", tmp_path / "signature"
        signers.write_text("receiver " + (p.state / "node.pub").read_text())
        signature.write_text(told["signature"])
        subprocess.run(["ssh-keygen", "-Y", "verify", "-f", signers, "-I", "receiver", "-n", "drydock-receipt", "-s", signature],
                       input=told["receipt"].encode(), check=True, capture_output=True)
        receipt = json.loads(told["receipt"])
        assert receipt["number"] == run["release"] == target(d)["release"] and receipt["site"] == d.site
        assert target(d)["confirmed_at"] == receipt["at"]
        # Of a place on this machine DryDock itself says that it has read it.
        mine = next(t for t in first["targets"] if t["name"] == "production")
        signers.write_text("node " + (d.data / "node.pub").read_text())
        signature.write_text(mine["signature"])
        subprocess.run(["ssh-keygen", "-Y", "verify", "-f", signers, "-I", "node", "-n", "drydock-receipt", "-s", signature],
                       input=mine["receipt"].encode(), check=True, capture_output=True)
        whence = d.must("GET", d.api_site("/whence?path=/index.html"))
        assert [(t["name"], t["confirmed"], t["since"]) for t in whence["targets"]] == [("production", True, 1), ("machine", True, 1)]
        # They outlive the server, and a rebuilt database asks for them again.
        d.restart()
        assert target(d)["confirmed"]
        assert "confirmed" in d.cli("target", "list").stdout and "confirmed" in d.cli("sync", "status").stdout


def test_a_target_that_was_away_for_long():
    """All heads since the release that it holds come along, however many; and if nobody knows that any more, it says so itself."""
    with world() as (d, p):
        d.sign("/index.html")
        d.sync()
        p.stop()
        for i in range(205):
            d.write("/index.html", f"{i}")
            d.sign("/index.html")
            last = d.sync(state="failed")["release"]
        assert last == 206 and target(d)["release"] == 1
        with d.held("UPDATE target SET number = 0 WHERE target = 'machine'"):
            pass
        p.start()
        first = d.sync(state="failed")
        assert "heads between are missing" in first["message"] and target(d)["release"] == 1
        assert d.sync()["release"] == last and p.live()["/index.html"] == b"204"


def test_states_of_a_file_on_its_page():
    with world() as (d, p):
        d.add_account("alice")
        alice = d.login("alice")
        d.sign("/index.html")
        assert "goes live with the next sync" in alice.get("/s/www/file/index.html").text
        assert states(d) == {"production": "waiting", "machine": "waiting"}
        p.stop()
        d.sync(state="failed")
        assert states(d) == {"production": "confirmed", "machine": "failed"}
        page = alice.get("/s/www/file/index.html").text
        assert "Live on production since " in page and " in release 1, confirmed." in page and "Not yet confirmed on machine (failed)." in page
        assert "machine" in alice.get("/s/www/").text and "could not be brought up to date" in alice.get("/s/www/").text
        told = d.cli("status", "/index.html").stdout
        assert "  production: live since release 1, confirmed " in told and "  machine: not yet confirmed (failed)" in told
        p.start()
        d.sync()
        assert "  machine: live since release 1, confirmed " in d.cli("status", "/index.html").stdout
        page = alice.get("/s/www/file/index.html").text
        assert "Live on machine since " in page and "Not yet confirmed" not in page
        assert "Confirmed on 2 of 2 targets." in alice.get("/s/www/").text
        assert states(d) == {"production": "confirmed", "machine": "confirmed"}
        metrics = alice.get("/metrics").text
        assert 'drydock_target_release{site="www",target="machine"} 1\n' in metrics and 'drydock_kits_confined{what="processes"} 1\n' in metrics
        # A second release: the first one's receipt is what the file stands on.
        d.sign("/docs/b.html")
        d.sync()
        page = alice.get("/s/www/file/index.html").text
        assert page.count(" in release 1, confirmed.") == 2


def every_file(top):
    return sorted((str(p.relative_to(top)), p.lstat().st_mtime_ns, p.lstat().st_ino) for p in top.rglob("*") if p.name != "lock")


def test_a_target_is_tested_and_nothing_is_touched():
    with world() as (d, p):
        d.add_account("alice")
        d.add_account("vera", "view", "/")
        alice = d.login("alice")
        d.sign("/", recursive=True)
        d.sync()
        d.write("/index.html", "changed")
        d.sign("/index.html")
        before, place = every_file(p.state), every_file(d.production)
        code, body = d.api("POST", d.api_site("/targets/machine/test"), {})[:2]
        assert code == 200 and body["ok"] and body["error"] is None and "production answers: site www, release 1" in body["output"]
        assert d.must("POST", d.api_site("/targets/production/test"), {})["ok"]
        assert "The test of machine went well" in alice.post("/s/www/sync/test", data={"csrf": alice.csrf, "target": "machine"}).text
        assert every_file(p.state) == before and every_file(d.production) == place and p.accepted()["number"] == 1
        run = d.cli("target", "test", "machine")
        assert run.returncode == 0 and "release 1" in run.stdout
        # What is wrong is said, and is a failure of the command.
        p.stop()
        body = d.must("POST", d.api_site("/targets/machine/test"), {})
        assert not body["ok"] and "cannot be reached" in body["error"]
        run = d.cli("target", "test", "machine")
        assert run.returncode == 6 and "FAILED: " in run.stdout
        assert "The test of machine failed: " in alice.post("/s/www/sync/test", data={"csrf": alice.csrf, "target": "machine"}).text
        p.start()
        p.bind("echo ")
        assert "something else" in d.must("POST", d.api_site("/targets/machine/test"), {})["error"]
        p.bind()
        d.production.rename(d.production.with_suffix(".away"))
        assert "there is no such directory" in d.must("POST", d.api_site("/targets/production/test"), {})["error"]
        d.production.with_suffix(".away").rename(d.production)
        assert d.api("POST", d.api_site("/targets/nowhere/test"), {})[0] == 404
        assert d.cli("target", "test", "nowhere").returncode == 2
        vera = d.login("vera")
        assert vera.post("/s/www/sync/test", data={"csrf": vera.csrf, "target": "machine"}).status_code in (403, 404)
        # The state of nothing changed by it.
        assert target(d)["state"] == "waiting" or target(d)["release"] == 1


def test_a_test_that_writes_or_hangs():
    with world() as (d, p):
        kits = d.dir / "kits"
        kits.mkdir()
        (kits / "bold").write_text('#!/bin/sh\n[ "$1" = test ] || exit 1\n(echo x >"$DRYDOCK_PLACE/written") 2>/dev/null && echo wrote it\nexit 0\n')
        (kits / "hung").write_text("#!/bin/sh\nsleep 300\n")
        d.stop()
        text = d.conf.read_text().rstrip()
        blocks = ""
        for kit in ("bold", "hung"):
            (kits / kit).chmod(0o755)
            place = d.dir / f"place-{kit}"
            place.mkdir()
            d._own(place)
            blocks += f'\ttarget "{kit}" {{\n\t\tkit = "{kit}"\n\t\tplace = "{place}"\n\t\tdeadline = "1s"\n\t}}\n'
        d.conf.write_text(f'kits = "{kits}"\n' + text[:-1] + blocks + "}\n")
        d.start()
        # The cycle that each server begins with may just be asking the machine.
        until(lambda: d.api("POST", d.api_site("/targets/bold/test"), {})[0] != 503)
        assert d.must("POST", d.api_site("/targets/bold/test"), {})["ok"]
        if has_landlock():
            assert not (d.dir / "place-bold" / "written").exists()
        assert "longer than 1 s" in d.must("POST", d.api_site("/targets/hung/test"), {})["error"]


def test_the_key_is_changed():
    """Production hears of it with the next release, which is cut though no file has changed, and believes the old key no longer."""
    with world() as (d, p):
        d.sign("/", recursive=True)
        assert machine(d.sync())["state"] == "confirmed" and p.accepted()["number"] == 1
        first = p.accepted()
        d.stop()
        old = (d.data / "node.key").read_bytes()
        d.run(program(), "key", "change", "-m", "yearly", "--data", d.data)
        d.start()
        run = d.sync()
        assert machine(run)["state"] == "confirmed" and p.accepted()["number"] == 2, machine(run)["output"]
        assert "after 1 change of the key" in d.run(program("drydock-receive"), "status", p.state).stdout
        # nothing new: nothing is cut again for that
        d.sync(state="nothing")
        # production is away for two more changes, and for releases between them
        p.stop()
        for n in (2, 3):
            d.stop()
            d.run(program(), "key", "change", "-m", f"change {n}", "--data", d.data)
            d.start()
            d.write("/index.html", f"change {n}")
            d.sign("/index.html")
            d.sync(state="failed")
        p.start()
        run = d.sync()
        assert machine(run)["state"] == "confirmed" and p.live() == staged(d), machine(run)["output"]
        assert "after 3 changes of the key" in d.run(program("drydock-receive"), "status", p.state).stdout
        # a receiver that is set up now, with the file that DryDock wrote
        accepted = p.accepted()
        assert accepted["head"] != first["head"]
        for n in range(1, accepted["number"] + 1):
            assert all(c["ok"] for c in d.must("GET", d.api_site(f"/releases/{n}/verify"))["items"]), n
        # and whoever has the old key, and production's ssh key, makes nothing of it
        assert old != (d.data / "node.key").read_bytes()


def connect(kit, host, port):
    """What the kit hands to ssh: (the connection or None, exit status, what it said)."""
    ours, its = socket.socketpair()
    with ours, its:
        r = subprocess.run([program(f"sync-scripts/{kit}"), "connect"], stdout=its, stderr=subprocess.PIPE, text=True, timeout=60,
                           env={"DRYDOCK_HOST": host, "DRYDOCK_PORT": str(port)})
        its.close()
        _, fds, _, _ = socket.recv_fds(ours, 1, 4)
    return socket.socket(fileno=fds[0]) if fds else None, r.returncode, r.stderr


@pytest.mark.parametrize("kit", KITS)
def test_the_connection_that_ssh_is_given(kit):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        made, status, said = connect(kit, "127.0.0.1", port)
        with made:
            assert (status, said) == (0, "") and made.getpeername() == ("127.0.0.1", port) and made.getblocking()
            assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            there, _ = server.accept()
            with there:
                made.sendall(b"x")
                assert there.recv(1) == b"x"
    assert connect(kit, "127.0.0.1", port) == (None, 1, f"ssh: connect to host 127.0.0.1 port {port}: Connection refused\n")
    nothing, status, said = connect(kit, "nowhere.invalid", 22)
    assert not nothing and status == 1 and said.startswith("ssh: connect to host nowhere.invalid port 22: "), said


def test_what_ssh_adds_is_not_the_reason():
    with world() as (d, p):
        d.sign("/", recursive=True)
        p.stop()
        text = machine(d.sync(state="failed"))
        run = d.must("GET", d.api_site("/sync/runs"))["items"][0]
        assert run["message"].endswith(f"production cannot be reached: ssh: connect to host 127.0.0.1 port {p.port}: Connection refused"), (run, text)
