"""What needs root: being somebody else on the local socket, the monitor that drops its rights, ./quickstart as root."""

import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess
import sys
import urllib.request

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/lib"))
from drydock import Drydock, free_ports, program  # noqa: E402
from waiting import until  # noqa: E402

assert os.geteuid() == 0, "these tests run as root: ./runtests root, as root or with sudo"


def answers(url):
    try:
        return urllib.request.urlopen(url, timeout=5).status
    except OSError:
        return None


def test_the_socket_knows_its_peer():
    with Drydock(files={"/index.html": "hi"}) as d:
        status, answer = d.api("GET", "/api/v1/sites/www/status", uid=1)
        assert status == 404, answer
        assert d.api("GET", "/api/v1/whoami", uid=65534)[0] == 403, "the overflow uid is nobody"
        assert d.api("GET", "/api/v1/whoami", uid=54321)[0] == 403, "a uid without a name is nobody"
        assert d.api("GET", "/api/v1/whoami", uid=0)[1]["user"] == "unix:root"
        assert d.api("GET", "/api/v1/sites/www/status", uid=0)[0] == 404, "uid 0 has no role of its own"


def test_a_check_beside_a_server_is_asked_for_by_who_called_it():
    """As root, fsck does not first become the daemon's user, who need not be anybody here; with sudo it is its caller."""
    with Drydock(files={"/index.html": "hi"}) as d:
        d.conf.write_text(f'user = "{d.user}"\n' + d.conf.read_text())

        def fsck(**env):
            return subprocess.run([program(), "fsck", "--data", str(d.data)], capture_output=True, text=True,
                                  env={"PATH": os.environ["PATH"], **env})

        r = fsck()
        assert r.returncode == 3 and "Only an admin" in r.stderr, "root has no role of its own: " + r.stdout + r.stderr
        r = fsck(SUDO_USER="games")
        assert r.returncode == 3 and "Only an admin" in r.stderr, r.stdout + r.stderr
        d.role("unix:root", "admin")
        r = fsck()
        assert r.returncode == 0, r.stdout + r.stderr
        assert fsck(SUDO_USER="games").returncode == 3
        r = fsck(SUDO_USER=d.user)
        assert r.returncode == 0, r.stdout + r.stderr
        d.stop()
        r = fsck(SUDO_USER="games")
        assert r.returncode == 0, "without a server root may look: " + r.stdout + r.stderr
        assert not [f for f in d.data.rglob("*") if f.lstat().st_uid == 0], "nothing there becomes root's"


def children(pid):
    return [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def uid_of(pid):
    return int(re.search(r"Uid:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1))


def test_started_as_root_the_daemon_is_not_root_and_comes_back():
    with Drydock(files={"/index.html": "hi"}, start=False) as d:
        d.conf.write_text(f'user = "{d.user}"\n' + d.conf.read_text())
        with open(d.log_file, "ab") as log:
            monitor = subprocess.Popen([program(), "serve", "--data", str(d.data)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            until(lambda: answers(d.url + "/healthz") == 200)
            assert uid_of(monitor.pid) == 0
            [daemon] = [p for p in children(monitor.pid) if "drydockd" in pathlib.Path(f"/proc/{p}/comm").read_text()]
            assert uid_of(daemon) == d.uid
            os.kill(daemon, signal.SIGKILL)
            [again] = until(lambda: [p for p in children(monitor.pid) if p != daemon and "drydockd" in pathlib.Path(f"/proc/{p}/comm").read_text()])
            until(lambda: answers(d.url + "/healthz") == 200)
            assert uid_of(again) == d.uid
        finally:
            monitor.terminate()
            assert monitor.wait(60) == 0, d.log()
        assert answers(d.url + "/healthz") is None


@pytest.fixture
def quick(tmp_path_factory):
    place = pathlib.Path("/var/tmp") / f"drydock-quick-{os.getpid()}"
    place.mkdir(mode=0o755)
    yield place
    subprocess.run([str(TOP / "quickstart"), "--data", str(place / "data"), "--stop"], capture_output=True)
    shutil.rmtree(place, ignore_errors=True)


def test_quickstart_as_root(quick):
    port = free_ports(1)[0]

    def start(*more):
        r = subprocess.run([str(TOP / "quickstart"), "--data", str(quick / "data"), "--port", str(port), "--detach", *more],
                           capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert r.returncode == 0, r.stdout + r.stderr
        return r.stdout

    text = start()
    assert re.search(r"account alice\s+password \S+", text) and "is an admin" in text.replace("are an admin", "is an admin"), text
    assert answers(f"http://127.0.0.1:{port}/healthz") == 200
    assert pwd.getpwnam("drydock")
    sock = quick / "data" / "drydock.sock"
    drydock = re.search(r"(\S+/drydock) --data", text).group(1)
    r = subprocess.run([drydock, "--server", str(sock), "--json", "status", "-r"], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    states = {item["state"] for item in json.loads(r.stdout)["items"]}
    assert {"signed", "changed", "revoked", "preapproved", "unsigned"} <= states
    r = subprocess.run([drydock + "d", "fsck", "--data", str(quick / "data")], capture_output=True, text=True)
    assert r.returncode == 0, "root is the admin here: " + r.stdout + r.stderr
    for p in pathlib.Path("/proc").iterdir():
        if p.name.isdigit():
            try:
                words = (p / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0].endswith(b"mariadbd") and any(str(quick).encode() in w for w in words):
                assert uid_of(int(p.name)) == pwd.getpwnam("drydock").pw_uid
    subprocess.run([str(TOP / "quickstart"), "--data", str(quick / "data"), "--stop"], check=True, capture_output=True)
    assert answers(f"http://127.0.0.1:{port}/healthz") is None
    # a second time it starts what is there, with the same accounts
    again = start()
    assert re.search(r"account alice\s+password \S+", again).group(0) == re.search(r"account alice\s+password \S+", text).group(0)
