"""./quickstart as a stranger uses it."""
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
import requests

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))

from drydock import program  # noqa: E402
from quick import drydock, owner_of_daemon, place, port, quickstart, start  # noqa: E402, F401
from waiting import until  # noqa: E402

STATES = {"signed", "changed", "unsigned", "missing", "revoked", "preapproved", "unpublishable"}


def test_from_nothing_to_a_page_that_goes_live(place):
    r, url, live = start(place)
    assert requests.get(url + "healthz", timeout=10).text == "ok\n"
    assert "event=" in (place / "demo" / "drydockd.log").read_text()
    shown = drydock(place, "status", "-r").stdout
    assert STATES - {"signed", "preapproved"} <= {line.split()[1] for line in shown.splitlines() if line[:1] in "○◐⊘✕!"}, shown
    home = until(lambda: (lambda r: r.status_code == 200 and r.text)(requests.get(live, timeout=10)))
    assert "Welcome to Port Selwyn" in home
    assert requests.get(live + "notices/2026-042.html", timeout=10).status_code == 404
    assert "12.50" in requests.get(live + "dues.html", timeout=10).text, "staging has 13.00, unsigned"
    assert drydock(place, "sign", "--as-staged", "/dues.html").returncode == 0
    assert drydock(place, "sync", "force", "-m", "now").returncode == 0
    until(lambda: "13.00" in requests.get(live + "dues.html", timeout=10).text)
    # The passwords that were printed are good.
    name, password = re.search(r"account (alice) +password (\S+)", r.stdout).groups()
    s = requests.Session()
    page = s.get(url + "login", timeout=10)
    form = dict(re.findall(r'name="([a-z_]+)"[^>]*value="([^"]*)"', page.text))
    answer = s.post(url + "login", data={**form, "name": name, "password": password}, headers={"Origin": url.rstrip("/")}, timeout=10)
    assert answer.status_code == 200 and s.cookies, answer.text


def test_a_second_time_it_starts_what_is_there(place):
    first, url, _ = start(place)
    again = quickstart("--data", place / "demo", "--detach")
    assert url in again.stdout, "running: the same address"
    passwords = re.findall(r"password (\S+)", first.stdout)
    assert passwords and passwords == re.findall(r"password (\S+)", again.stdout)
    assert quickstart("--stop", "--data", place / "demo").stdout == "Stopped.\n"
    assert quickstart("--stop", "--data", place / "demo").stdout.startswith("Nothing runs")
    begun = time.monotonic()
    again = quickstart("--data", place / "demo", "--detach", "--quiet-period", "1")
    assert url in again.stdout
    assert time.monotonic() - begun < 20
    assert 'quiet_period = "1s"' in (place / "demo" / "drydock.conf").read_text()
    assert requests.get(url + "healthz", timeout=10).ok


def test_own_directories(place):
    staging, production = place / "mine", place / "public"
    (staging / "docs").mkdir(parents=True)
    (staging / "docs" / "a.html").write_text("<h1>a</h1>")
    _, _, live = start(place, "--staging", staging, "--production", production, "--quiet-period", "0")
    assert drydock(place, "sign", "-r", "--as-staged", "/").returncode == 0
    until(lambda: (production / "docs" / "a.html").exists())
    assert requests.get(live + "docs/a.html", timeout=10).text == "<h1>a</h1>"
    r = quickstart("--data", place / "demo", "--staging", place, "--detach", check=False)
    assert r.returncode and "was made for the staging tree" in r.stderr


@pytest.mark.parametrize("argv, said", [
    (["--prot", "1"], "is not an option"),
    (["--port"], "wants a value"),
    (["--port", "many"], "1 to 65535"),
    (["--port", "0"], "1 to 65535"),
    (["--port", "65536"], "1 to 65535"),
    (["--quiet-period", "-1"], "seconds"),
    (["--quiet-period", "604801"], "at most 604800"),
    (["--staging", "/nonexistent"], "not a directory"),
    (["--production", '/tmp/a"b'], "cannot be written into a configuration file"),
    (["--stop"], "is not a data directory"),
])
def test_wrong_options(place, argv, said):
    r = quickstart("--data", place / "demo", *argv, check=False)
    assert r.returncode == 1 and said in r.stderr
    assert not (place / "demo").exists()


def test_help(place):
    """Every option is in it, with what it means."""
    said = quickstart("--help").stdout
    for option in ("--data DIR", "--port N", "--staging DIR", "--production DIR", "--quiet-period SECONDS", "--detach", "--stop"):
        assert re.search(rf"(?m)^ +{option} +\w", said), said
    assert "default: ./demo" in said and "default: 8087" in said and "default: 300" in said


def test_places_that_do_not_fit(place):
    """Nothing of anybody's is taken over, emptied or moved: he is told, and what is there stays."""
    def refused(words, *argv):
        r = quickstart("--data", place / "demo", "--detach", *argv, check=False)
        assert r.returncode == 1 and words in r.stderr, r.stdout + r.stderr
    mine = place / "demo" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    refused("is not empty, and not a data directory: name another with --data")
    assert mine.read_text() == "mine"
    mine.unlink()
    mine.parent.rmdir()
    staged = place / "demo-site" / "staging" / "index.html"
    staged.parent.mkdir(parents=True)
    staged.write_text("an earlier one")
    refused("name it with --staging, or move it away")
    assert staged.read_text() == "an earlier one"
    (place / "file").write_text("")
    refused(f"{place}/file/public could not be made", "--staging", staged.parent, "--production", place / "file" / "public")
    if os.geteuid() != 0:
        (place / "closed").mkdir(mode=0o500)
        refused(f"{place}/closed cannot be written", "--staging", staged.parent, "--production", place / "closed")
    assert not (place / "demo" / "format").exists()
    start(place, "--staging", staged.parent, "--production", place / "public")
    refused("was made for production in", "--production", place / "elsewhere")


def test_port_in_use_and_again_with_another(place):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        taken = s.getsockname()[1]
        r = quickstart("--data", place / "demo", "--port", taken, "--detach", check=False)
        assert r.returncode == 1 and f"port {taken} is in use" in r.stderr and "--port" in r.stderr
        start(place)


def test_ctrl_c_stops_everything(place):
    process = subprocess.Popen([str(TOP / "quickstart"), "--data", str(place / "demo"), "--port", str(port())], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               env={**os.environ, "DRYDOCK_BUILD": str(pathlib.Path(program()).parent)}, start_new_session=True)
    for line in process.stdout:
        if "Ctrl-C" in line:
            break
    pid, _ = owner_of_daemon(place)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 0
    assert not pathlib.Path(f"/proc/{pid}").exists()
    assert subprocess.run(["pgrep", "-f", f"datadir={place}"], capture_output=True).returncode == 1, "the database is gone, too"


def test_interrupted_before_everything_was_there(place):
    process = subprocess.Popen([str(TOP / "quickstart"), "--data", str(place / "demo"), "--port", str(port())], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env={**os.environ, "DRYDOCK_BUILD": str(pathlib.Path(program()).parent)}, start_new_session=True)
    until((place / "demo" / "quickstart.unfinished").exists)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    process.wait(60)
    r, url, _ = start(place)
    assert len(re.findall(r"password (\S+)", r.stdout)) == 3
    assert requests.get(url + "healthz", timeout=10).ok
