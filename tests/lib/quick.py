"""Running ./quickstart in a directory of its own, with the programs that are built already."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest

from drydock import free_ports, program

TOP = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def place():
    place = pathlib.Path(tempfile.mkdtemp(prefix="drydock-quickstart-"))
    place.chmod(0o755)
    yield place
    quickstart("--stop", "--data", place / "demo", check=False)
    shutil.rmtree(place, ignore_errors=True)


def quickstart(*argv, check=True, env=None):
    r = subprocess.run([str(TOP / "quickstart"), *map(str, argv)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
                       env={**os.environ, "DRYDOCK_BUILD": str(pathlib.Path(program()).parent), **(env or {})})
    assert not check or r.returncode == 0, r.stdout + r.stderr
    return r


def drydock(place, *argv, **kw):
    return subprocess.run([program("drydock"), "--data", str(place / "demo"), *argv], capture_output=True, text=True, timeout=60, **kw)


def port():
    """The first of three in a row that are free, as quickstart takes the next ones."""
    return free_ports(1)[0]


def start(place, *argv, **kw):
    r = quickstart("--data", place / "demo", "--port", port(), "--detach", *argv, **kw)
    return r, re.search(r"DryDock: +(\S+)", r.stdout)[1], re.search(r"Public site: +(\S+)", r.stdout)[1]


def owner_of_daemon(place):
    pid = int((place / "demo" / "lock").read_text())
    return pid, pathlib.Path(f"/proc/{pid}").stat().st_uid
