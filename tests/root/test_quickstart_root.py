"""./quickstart and drydockd as root and with sudo."""
import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess
import sys

import pytest
import requests

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))

from drydock import program  # noqa: E402
from quick import drydock, owner_of_daemon, place, port, quickstart, start  # noqa: E402, F401
from waiting import until  # noqa: E402


def test_as_root_the_daemon_is_another_user(place):
    _, url, _ = start(place)
    _, uid = owner_of_daemon(place)
    assert uid == pwd.getpwnam("drydock").pw_uid
    assert drydock(place, "whoami").stdout.startswith("unix:root")
    assert requests.get(url + "healthz", timeout=10).ok
    quickstart("--stop", "--data", place / "demo")


def test_with_sudo_the_caller_is_the_admin(place):
    os.chown(place, pwd.getpwnam("www-data").pw_uid, -1)
    r, _, _ = start(place, env={"SUDO_USER": "www-data"})
    assert "You (www-data)" in r.stdout
    assert drydock(place, "whoami", user="www-data").stdout.startswith("unix:www-data")
    assert (place / "demo-site" / "staging" / "index.html").stat().st_uid == pwd.getpwnam("www-data").pw_uid
    assert drydock(place, "sign", "--as-staged", "/dues.html", user="www-data").returncode == 0
    assert drydock(place, "sign", "--as-staged", "/dues.html", user="nobody").returncode != 0


def test_the_system_user_is_made(place):
    """On a machine without him, which is this one with another /etc."""
    etc = place / "etc"
    subprocess.run(["cp", "-a", "/etc", etc], check=True)
    for name in ("passwd", "shadow", "group", "gshadow"):
        text = (etc / name).read_text()
        (etc / name).write_text("".join(line for line in text.splitlines(True) if not line.startswith("drydock:")))
    there = ["unshare", "--mount", "sh", "-ec", 'mount --bind "$0" /etc; exec "$@"', str(etc)]
    assert subprocess.run([*there, "id", "drydock"], capture_output=True).returncode != 0
    argv = [str(TOP / "quickstart"), "--data", str(place / "demo"), "--port", str(port()), "--detach"]
    r = subprocess.run([*there, *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
                       env={**os.environ, "DRYDOCK_BUILD": str(pathlib.Path(program()).parent)})
    assert r.returncode == 0 and "The system user drydock was made" in r.stdout, r.stdout + r.stderr
    entry = next(line for line in (etc / "passwd").read_text().splitlines() if line.startswith("drydock:")).split(":")
    assert int(entry[2]) < 1000 and entry[6].endswith("nologin"), entry
    assert owner_of_daemon(place)[1] == int(entry[2])
    assert (place / "demo").stat().st_uid == int(entry[2])


def test_directories_that_the_user_cannot_use(place):
    staging, production = place / "staging", place / "public"
    staging.mkdir(mode=0o700)
    production.mkdir(mode=0o755)
    argv = ("--data", place / "demo", "--port", port(), "--detach", "--staging", staging, "--production", production)
    r = quickstart(*argv, check=False)
    assert r.returncode == 1 and f"the user drydock cannot read {staging}: give him r and x on it" in r.stderr, r.stderr
    staging.chmod(0o755)
    r = quickstart(*argv, check=False)
    assert r.returncode == 1 and f"the user drydock cannot write to {production}: chown drydock {production}" in r.stderr, r.stderr
    assert not (place / "demo" / "format").exists()
    shutil.chown(production, "drydock")
    quickstart(*argv)


def test_nobody_else_stops_it(place):
    start(place)
    nobody = pwd.getpwnam("nobody")
    r = subprocess.run([str(TOP / "quickstart"), "--stop", "--data", str(place / "demo")], capture_output=True, text=True, user=nobody.pw_uid, group=nobody.pw_gid,
                       extra_groups=[])
    assert r.returncode == 1 and "sudo" in r.stderr, r.stdout + r.stderr
    assert owner_of_daemon(place)


def test_the_monitor_starts_the_daemon_again(place):
    _, url, _ = start(place)
    pid, _ = owner_of_daemon(place)
    monitor = int(re.search(r"^PPid:\s*(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)[1])
    assert pathlib.Path(f"/proc/{monitor}").stat().st_uid == 0
    os.kill(pid, signal.SIGKILL)

    def back():
        try:
            return owner_of_daemon(place)[0] != pid and requests.get(url + "healthz", timeout=10).ok
        except (OSError, ValueError):
            return False
    until(back)
    # No capability, no way back to root.
    status = pathlib.Path(f"/proc/{owner_of_daemon(place)[0]}/status").read_text()
    assert re.search(r"^CapEff:\s*0+$", status, re.M) and re.search(r"^CapPrm:\s*0+$", status, re.M)
    os.kill(monitor, signal.SIGTERM)
    until(lambda: not pathlib.Path(f"/proc/{monitor}").exists())
    with pytest.raises(OSError):
        requests.get(url + "healthz", timeout=10)


def test_a_place_that_the_user_cannot_reach(place):
    (place / "closed").mkdir(mode=0o700)
    try:
        r = quickstart("--data", place / "closed" / "demo", "--port", port(), "--detach")
        assert "cannot reach" in r.stdout
        real = pathlib.Path(os.readlink(place / "closed" / "demo"))
        assert real.stat().st_uid == pwd.getpwnam("drydock").pw_uid
        assert subprocess.run([program("drydock"), "--data", str(place / "closed" / "demo"), "whoami"]).returncode == 0
        quickstart("--stop", "--data", place / "closed" / "demo")
    finally:
        link = place / "closed" / "demo"
        if link.is_symlink():
            shutil.rmtree(pathlib.Path(os.readlink(link)).parent, ignore_errors=True)


def test_root_without_a_user_is_refused(place):
    r = subprocess.run([program(), "init", "--data", str(place / "demo")], capture_output=True, text=True)
    assert r.returncode == 1 and "--user" in r.stderr
    r = subprocess.run([program(), "init", "--data", str(place / "demo"), "--user", "root"], capture_output=True, text=True)
    assert r.returncode == 1 and "does not run as root" in r.stderr
