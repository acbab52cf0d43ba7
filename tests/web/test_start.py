"""What stands around the server: configuration, directories, port, disk, database. Wrong ones are named and nothing is
lost; what goes away while the server runs comes back, and then everything works again."""
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import threading
import time
import uuid

import pytest

from drydock import Drydock, program


@pytest.fixture
def stopped():
    """A data directory with its configuration; nothing runs."""
    with Drydock(start=False, accounts=()) as d:
        yield d


@pytest.fixture
def d():
    with Drydock(accounts=()) as server:
        yield server


def serve(d, timeout=60, **kw):
    """Run the server until it ends by itself: (exit status, what it said)."""
    r = d.run(program(), "serve", "--data", d.data, check=False, timeout=timeout, **kw)
    return r.returncode, r.stderr


def configure(d, change):
    d.conf.write_text(change(d.conf.read_text()))


# --- configuration -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line,named", [
    ("prot = 8087", "prot"), ("port = 70000", "port"), ("port = many", "port"), ('quiet_period = "5min"', "quiet_period"), ("workers = 0", "workers"),
    ('log_level = "loud"', "log_level"), ('idle = "75"', "idle"), ('address = "example.org"', "address"), ('address = "0.0.0.0"', "allow_plain_http"),
    ('public_url = "drydock"', "public_url"), ("port = 8087\nport = 8088", "port"), ('site "WWW!" {}', "WWW!"),
    ("port =", "drydock.conf"), ("} {", "drydock.conf"),
])
def test_wrong_configuration(stopped, line, named):
    configure(stopped, lambda text: "\n" + line + "\n" + ("\n".join(t for t in text.splitlines() if not t.startswith("port")) if line.startswith("port") else text))
    for command in ("check-config", "serve"):
        r = stopped.run(program(), command, "--data", stopped.data, check=False, timeout=30)
        assert r.returncode == 1, (command, r)
        assert named in r.stderr and f"{stopped.conf}" in r.stderr, r.stderr
        assert len(r.stderr.strip().splitlines()) == 1, r.stderr
    if "=" in line and named not in ("allow_plain_http",):
        assert f"{stopped.conf}:" in r.stderr, r.stderr


@pytest.mark.parametrize("line,named", [
    ('templates = "/nonexistent"', "/nonexistent"), ('static_files = "/nonexistent"', "/nonexistent"), ('sql = "/nonexistent"', "/nonexistent"),
    ('database = "postgres://x/y"', "mysql://"), ('database = "mysql://drydock@127.0.0.1:1/x"', "127.0.0.1"),
])
def test_configuration_that_leads_nowhere(stopped, line, named):
    configure(stopped, lambda text: line + "\n" + text)
    code, said = serve(stopped)
    assert code != 0 and named in said, said


def test_what_the_daemon_says_of_itself(stopped):
    """Help, every option of the configuration with its unit and default, and a sample that it takes itself."""
    said = stopped.run(program(), "--help").stdout
    for word in ("init", "serve", "fsck", "rebuild", "admin", "check-config", "backup", "restore", "--data", "--help-config", "--sample-config"):
        assert re.search(rf"(?m)(^|[ \[|]){re.escape(word)}\b", said), word
    sample = stopped.run(program(), "--sample-config").stdout
    options = set(re.findall(r"(?m)^\s*#? ?([a-z_]+) = ", sample))
    assert len(options) > 60, options
    described = stopped.run(program(), "--help-config").stdout
    assert not [name for name in options if not re.search(rf"(?m)^\s*{name}\b", described)], described
    assert re.fullmatch(r"drydock \d+\.\d+\.\d+\n", stopped.run(program(), "--version").stdout)
    for argv in ([], ["frobnicate"], ["--frobnicate"], ["serve", "--port", "1"], ["serve", "more"], ["init"], ["admin"], ["backup"]):
        r = stopped.run(program(), *argv, check=False)
        assert r.returncode == 1 and "\ndrydockd: " in "\n" + r.stderr and "Try `drydockd --help`" in r.stderr, (argv, r)
    sample = sample.replace("/srv/staging/www", str(stopped.staging)).replace("/srv/www", str(stopped.production))
    (stopped.data / "sample.conf").write_text(sample)
    assert stopped.run(program(), "check-config", "--conf", stopped.data / "sample.conf").stdout.endswith("is right: 1 site.\n")
    # with a mistake, the line is the one that an editor shows, however many comments stand before
    (stopped.data / "sample.conf").write_text(sample.replace("kit = \"local\"", "kot = \"local\""))
    line = sample[:sample.index("kit = \"local\"")].count("\n") + 1
    r = stopped.run(program(), "check-config", "--conf", stopped.data / "sample.conf", check=False)
    assert f"sample.conf:{line}: " in r.stderr and "kot" in r.stderr, r.stderr


def test_missing_configuration(stopped):
    stopped.conf.unlink()
    code, said = serve(stopped)
    assert code != 0 and str(stopped.conf) in said


def test_secrets_that_others_can_read(stopped):
    secret = stopped.dir / "password"
    secret.write_text("secret\n")
    stopped._own(secret)
    configure(stopped, lambda text: f'database = "mysql://drydock@127.0.0.1:1/x"\ndatabase_password_file = "{secret}"\n' + text)
    secret.chmod(0o644)
    code, said = serve(stopped)
    assert code == 1 and str(secret) in said, said
    secret.chmod(0o600)
    code, said = serve(stopped)
    assert code != 0 and "read" not in said.split("password")[0][-20:]
    # the node's key as well
    (stopped.data / "node.key").chmod(0o644)
    configure(stopped, lambda text: "\n".join(t for t in text.splitlines() if "database" not in t))
    code, said = serve(stopped)
    assert code != 0 and "node.key" in said, said
    (stopped.data / "node.key").rename(stopped.data / "elsewhere")
    code, said = serve(stopped)
    assert code != 0 and "node.key" in said and "put it back from a backup" in said, said


def test_directories_within_one_another(stopped):
    inside = stopped.data / "staging"
    inside.mkdir()
    stopped._own(inside)
    configure(stopped, lambda text: text.replace(str(stopped.staging), str(inside)))
    code, said = serve(stopped)
    assert code == 1 and "staging" in said
    configure(stopped, lambda text: text.replace(str(inside), str(stopped.production)))
    code, said = serve(stopped)
    assert code == 1, said


# --- places ------------------------------------------------------------------------------------------------------------


def test_data_directory_in_use(d):
    code, said = serve(d)
    assert code == 6 and "in use" in said and str(d.process.pid) in said, said
    r = d.run(program(), "admin", "--data", d.data, "unix:nobody", check=False)
    assert r.returncode == 6 and "in use" in r.stderr
    d.must("GET", "/api/v1/whoami")


def test_data_directory_of_another_version(stopped):
    stopped.start()
    stopped.write("/a.html", "a")
    stopped.sign("/a.html")
    assert stopped.stop() == 0
    before = (stopped.data / "format").read_text()
    (stopped.data / "format").write_text("drydock data directory, format 99\n")
    code, said = serve(stopped)
    assert code != 0 and "99" in said and "Nothing was changed" in said
    (stopped.data / "format").write_text("nonsense")
    code, said = serve(stopped)
    assert code != 0 and "damaged" in said
    (stopped.data / "format").write_text(before)
    stopped.start()
    assert stopped.file("/a.html")["state"] == "signed"


def test_no_data_directory(stopped):
    for place in (stopped.dir / "nothing", stopped.staging):
        r = stopped.run(program(), "serve", "--data", place, check=False)
        assert r.returncode in (1, 2) and str(place) in r.stderr, r


def test_few_open_files(stopped):
    """Too few for the database are named, instead of failing somewhere in it; a low soft limit is raised."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for command in (("serve",), ("admin", "unix:nobody")):
        r = stopped.run(program(), *command, "--data", stopped.data, check=False, timeout=30,
                        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300)))
        assert r.returncode == 6 and "only 300 open files" in r.stderr and "at least 512" in r.stderr, r.stderr
        assert len(r.stderr.strip().splitlines()) == 1 and not (stopped.data / "db").exists(), r.stderr
    r = stopped.run(program(), "admin", "--data", stopped.data, "unix:nobody", check=False,
                    preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard)))
    assert r.returncode == 0, r.stderr


def test_port_in_use(stopped):
    with socket.socket() as s:
        s.bind(("127.0.0.1", stopped.port))
        s.listen()
        code, said = serve(stopped)
        assert code != 0 and str(stopped.port) in said.splitlines()[-1] and "in use" in said.splitlines()[-1], said
    # nothing is left running, and it starts when the port is free
    assert stopped.database_pid() is None
    stopped.start()
    stopped.must("GET", "/api/v1/whoami")


@pytest.mark.parametrize("how", ["missing", "a file", "unreadable"])
def test_staging_at_start(stopped, how):
    shutil.rmtree(stopped.staging)
    if how == "a file":
        stopped.staging.write_text("x")
    if how == "unreadable":
        stopped.staging.mkdir(mode=0)
        stopped._own(stopped.staging)
    code, said = serve(stopped)
    assert code == 1 and str(stopped.staging) in said.splitlines()[-1], said


def site_with_files(d):
    for n in range(20):
        d.write(f"/dir/{n}.html", f"page {n}")
    d.sign("/", recursive=True)
    d.sync()
    assert len(d.live()) == 20


def still_public(d):
    """Whatever happened to staging: a sync takes nothing from production."""
    d.sync(state=None)
    assert len(d.live()) == 20


@pytest.mark.parametrize("how", ["empty", "missing", "unreadable"])
def test_staging_goes_while_it_runs(d, how):
    site_with_files(d)
    away = d.dir / "away"
    if how == "unreadable":
        (d.staging / "dir").chmod(0)
        d.staging.chmod(0)
    else:
        d.staging.rename(away)
    if how == "empty":
        d.staging.mkdir()
        d._own(d.staging)
    time.sleep(0.3)
    status, answer = d.api("GET", d.api_site("/status?recursive=1&fresh=1"))
    # nothing is taken for missing: it may just not be mounted
    assert status == 200 and answer["trouble"] and answer["counts"]["missing"] == 0, (status, answer)
    assert d.api("POST", d.api_site("/sign"), {"paths": ["/"], "recursive": True, "as_staged": True})[0] >= 400
    still_public(d)
    assert d.login_page_works()
    if how == "unreadable":
        d.staging.chmod(0o755)
        (d.staging / "dir").chmod(0o755)
    else:
        if how == "empty":
            d.staging.rmdir()
        away.rename(d.staging)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        status, answer = d.api("GET", d.api_site("/status?fresh=1"))
        if status == 200 and answer["counts"]["signed"] == 20:
            break
        time.sleep(0.2)
    assert status == 200 and answer["counts"]["signed"] == 20 and not answer.get("trouble"), (status, answer)
    d.write("/dir/0.html", "page 0, again")
    d.sign("/dir/0.html")
    d.sync()
    assert d.live()["/dir/0.html"] == b"page 0, again"


def test_production_goes_while_it_runs(d):
    site_with_files(d)
    away = d.dir / "away"
    d.production.rename(away)
    d.write("/new.html", "new")
    d.sign("/new.html")
    run = d.sync(state=None)
    assert run["state"] == "failed" and run["targets"][0]["state"] == "failed" and run["message"], run
    assert d.must("GET", d.api_site("/sync"))["targets"][0]["retry_at"]
    away.rename(d.production)
    d.sync()
    assert d.live()["/new.html"] == b"new" and len(d.live()) == 21


# --- disk --------------------------------------------------------------------------------------------------------------


def on_small(size, place, *command):
    """The command, for which an empty file system of that size stands at a place."""
    return ["unshare", "--map-current-user", "--mount", "--keep-caps", "sh", "-c",
            f'mount -t tmpfs -o size={size},mode=0755 drydock "$0" && exec setpriv --ambient-caps=-all --inh-caps=-all "$@"', str(place), *map(str, command)]


@pytest.mark.parametrize("size,words", [("100m", "needs 160 MiB for its first start: make room"), ("20m", "less than 32 MiB are free on this disk: make room")])
def test_no_room_for_the_first_start(stopped, size, words):
    """Told before anything is installed, and what to do, instead of what the database says when it is in the middle."""
    place = stopped.dir / "small"
    place.mkdir()
    stopped._own(place)
    script = 'cp -a "$1" "$0"; "$2" serve --data "$0/data"; echo "$?"; ls -A "$0/data"'
    r = stopped.run(*on_small(size, place, "sh", "-c", script, place, stopped.data, program()), timeout=60)
    assert words in r.stderr and f"{place}/data" in r.stderr and "[ERROR]" not in r.stderr, r.stderr
    code, *left = r.stdout.split()
    assert code == "6" and not [name for name in left if name == "db" or name.startswith("db.new")], r.stdout


class Small(Drydock):
    """The part of the data directory that holds the sites is on a small file system of its own."""

    def argv(self):
        (self.data / "sites").mkdir(exist_ok=True)
        self._own(self.data / "sites")
        return on_small("24m", self.data / "sites", program(), "serve", "--data", self.data)

    @property
    def sites(self):
        return pathlib.Path(f"/proc/{self.process.pid}/root{self.data}/sites")


def test_full_disk():
    with Small(accounts=()) as d:
        d.write("/a.html", "a")
        d.sign("/a.html")
        d.sync()
        filler = d.sites / "filler"
        d.run("sh", "-c", 'cat /dev/zero >"$1"', "sh", filler, check=False)
        d.write("/big.bin", os.urandom(300000))
        before = len(d.records())
        for _ in range(3):
            status, problem = d.api("POST", d.api_site("/sign"), {"paths": ["/big.bin"], "as_staged": True})
            assert status == 503 and "disk" in problem["detail"] and "full" in problem["detail"], (problem, d.log()[-1500:])
        assert len(d.records()) == before and d.file("/big.bin")["state"] == "unsigned"
        # reading goes on
        assert d.status("/")["counts"]["signed"] == 1
        assert d.login_page_works()
        d.run("rm", filler)
        d.sign("/big.bin")
        d.sync()
        assert set(d.live()) == {"/a.html", "/big.bin"}
        d.run("cp", "-r", d.sites / "www/repo.git", d.dir / "copy.git")
        d.git("fsck", "--full", repo=d.dir / "copy.git")


# --- database ----------------------------------------------------------------------------------------------------------


def test_database_killed_under_load(d):
    """Acts fail cleanly, then work again; an act that was told to have failed is not there, one that succeeded is."""
    n, stop, out = 150, threading.Event(), {}
    for i in range(n):
        d.write(f"/load/{i}.html", f"page {i}")
    d.status("/load", fresh=1)
    ids = {i: str(uuid.uuid4()) for i in range(n)}

    def sign(i):
        return d.api("POST", d.api_site("/sign"), {"id": ids[i], "paths": [f"/load/{i}.html"], "as_staged": True})

    def worker(mine):
        for i in mine:
            if stop.is_set():
                return
            out[i] = sign(i)

    threads = [threading.Thread(target=worker, args=(range(k, n, 3),)) for k in range(3)]
    for t in threads:
        t.start()
    killed = 0
    while any(t.is_alive() for t in threads) and killed < 2:
        time.sleep(0.15)
        pid = d.database_pid()
        if pid and len(out) > 15 * (killed + 1):
            os.kill(pid, signal.SIGKILL)
            killed += 1
            time.sleep(1.5)
    for t in threads:
        t.join()
    assert killed and len(out) == n
    statuses = {s for s, _ in out.values()}
    assert statuses <= {200, 503}, [v for v in out.values() if v[0] not in (200, 503)][:3]
    end = time.monotonic() + 30
    while d.api("GET", d.api_site("/log"))[0] != 200 and time.monotonic() < end:
        time.sleep(0.2)
    recorded = {r["op"] for r in d.records(act="sign")}
    assert {ids[i] for i, (s, _) in out.items() if s == 200} <= recorded
    unknown = [i for i, (s, a) in out.items() if s != 200 and "not known" in a["detail"]]
    assert not {ids[i] for i, (s, _) in out.items() if s != 200 and i not in unknown} & recorded
    # asking again with the same ids ends in one record each
    for i in range(n):
        if out[i][0] != 200:
            status, answer = sign(i)
            assert status == 200, answer
    records = d.records(act="sign")
    assert sorted(r["op"] for r in records) == sorted(ids.values())
    seqs = sorted(r["seq"] for r in d.records())
    assert seqs == list(range(1, len(seqs) + 1))
    d.git("fsck", "--full")
    assert len(d.git("rev-list", d.log_ref).stdout.split()) == len(seqs)
    d.sync()
    assert len(d.live()) == n
    d.restart()
    assert d.status("/load")["counts"]["signed"] == n


def test_database_hangs(d):
    """A database that is there and does not answer: requests end in time, memory pages go on, then all is well again."""
    d.write("/a.html", "a")
    pid = d.database_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        start = time.monotonic()
        assert d.raw(b"GET /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")[0].startswith(b"HTTP/1.1 200 ")
        assert time.monotonic() - start < 2
    finally:
        os.kill(pid, signal.SIGCONT)
    d.sign("/a.html")


def test_killed_and_started_again(d):
    site_with_files(d)
    database = d.database_pid()
    d.kill()
    assert d.database_pid() == database
    d.start()
    assert d.database_pid() == database
    assert d.status("/", limit=1)["counts"]["signed"] == 20
    assert d.stop() == 0
    assert d.database_pid() is None
    # with the database gone as well
    d.start()
    d.kill()
    os.kill(d.database_pid(), signal.SIGKILL)
    d.start()
    assert d.status("/", limit=1)["counts"]["signed"] == 20
