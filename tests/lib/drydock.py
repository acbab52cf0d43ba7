"""A real drydockd for tests: data directory, private MariaDB, staging tree and free ports of its own.

    from drydock import Drydock

    with Drydock(files={"/index.html": b"<h1>hi</h1>"}) as d:
        d.api("GET", "/api/v1/sites/www/status")          # as the UNIX user that runs it: an admin
        alice = d.login("alice")                          # a requests.Session with d.url in front, csrf token known
        alice.get("/s/www/tree/")
        d.write("/a.html", b"...")                        # staging
        d.raw(b"GET / HTTP/1.1\\r\\n...")                   # bytes over a socket

The program is $DRYDOCKD, or drydockd in the build directory. As root it runs as an ordinary user ($DRYDOCK_TEST_USER,
www-data), because the daemon is never root and uid 0 has no role.
"""
import contextlib
import http.client
import json
import os
import pathlib
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse

import requests

TOP = pathlib.Path(__file__).resolve().parents[2]
PASSWORD = "a long password"


def program(name="drydockd"):
    """The built program: $DRYDOCKD and friends, or in build/, or at the top."""
    named = os.environ.get(name.upper())
    places = [pathlib.Path(named)] if named else [
        pathlib.Path(os.environ.get("DRYDOCK_BUILD", TOP / "build")) / name, TOP / "build" / name, TOP / name]
    for place in places:
        if place.is_file():
            return str(place.resolve())
    raise RuntimeError(f"{name} is not built: looked for {', '.join(map(str, places))}")


def free_ports(n):
    """Ports that nobody has at this moment, all different. None of those that the kernel gives to connections: a client of
    anybody's could have it while a server starts again, and who connects to one that is closed may be connected with himself."""
    first = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    with contextlib.ExitStack() as stack:
        ports = set()
        while len(ports) < n:
            port, s = random.randrange(min(10000, first - 5000), first), stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                s.bind(("127.0.0.1", port))
                ports.add(port)
        return list(ports)


def test_user():
    """Who runs the daemon: (name, uid, gid)."""
    if os.geteuid() != 0:
        entry = pwd.getpwuid(os.geteuid())
    else:
        entry = pwd.getpwnam(os.environ.get("DRYDOCK_TEST_USER", "www-data"))
    return entry.pw_name, entry.pw_uid, entry.pw_gid


class Browser(requests.Session):
    """A session whose addresses may begin with "/", and whose writes carry the token."""

    def __init__(self, base):
        super().__init__()
        self.base = base
        self.csrf = None
        self.trust_env = False

    def request(self, method, url, **kw):
        if url.startswith("/"):
            url = self.base + url
        if method != "GET":
            # As a browser does, unless the test says otherwise (None: not at all). What is private is not said to other hosts.
            ours = {"Origin": self.base, **({"X-CSRF-Token": self.csrf} if self.csrf else {})} if url.startswith(self.base) else {}
            kw["headers"] = {**ours, **(kw.get("headers") or {})}
        kw.setdefault("timeout", 60)
        return super().request(method, url, **kw)


class LocalConnection(http.client.HTTPConnection):
    """HTTP over the local socket, connecting as a UNIX user: the kernel tells the server who it is."""

    identity = threading.Lock()
    patience = 120  # seconds

    def __init__(self, path, uid=None):
        super().__init__("localhost", timeout=self.patience)
        self.path, self.uid = path, uid

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        # Who a process is holds for all of its threads.
        with self.identity:
            change = self.uid is not None and os.geteuid() == 0 and self.uid != 0
            if change:
                os.seteuid(self.uid)
            try:
                self.sock.connect(self.path)
            finally:
                if change:
                    os.seteuid(0)


def real_tree(place):
    """Thousands of real pages, from Debian's package libstdc++-12-doc, as plain files: how many."""
    source = pathlib.Path("/usr/share/doc/libstdc++-12-doc/libstdc++")
    if not source.is_dir():
        raise RuntimeError("the package libstdc++-12-doc is missing (packages/test)")
    subprocess.run(["cp", "-rL", "--reflink=auto", "--", f"{source}/.", str(place)], check=True)
    if os.geteuid() == 0:
        name, uid, gid = test_user()
        subprocess.run(["chown", "-R", f"{uid}:{gid}", str(place)], check=True)
    return sum(len(files) for _, _, files in os.walk(place))


class Drydock:
    def __init__(self, files=None, config="", site_config="", site="www", accounts=("alice",), preview=True, demo=False,
                 quiet_period=None, start=True, staging=None, keep=None):
        """keep: a directory that stays, with everything in it; a second time what is there is started."""
        self.user, self.uid, self.gid = test_user()
        self.keep = keep
        self.dir = pathlib.Path(keep or tempfile.mkdtemp(prefix="drydock-test-"))
        again = (self.dir / "data" / "format").exists()
        self.dir.mkdir(parents=True, exist_ok=True)
        os.chmod(self.dir, 0o755)
        self.site = site
        self.data, self.production = self.dir / "data", self.dir / "production"
        self.staging = pathlib.Path(staging) if staging else self.dir / "staging"
        for place in (self.production,) + (() if staging else (self.staging,)):
            place.mkdir(exist_ok=again)
            self._own(place)
        self._own(self.dir)
        self.port, self.preview_port, self.demo_port = free_ports(3)
        if not preview:
            self.preview_port = 0
        self.url = f"http://127.0.0.1:{self.port}"
        self.socket = str(self.data / "drydock.sock")
        self.log_file = self.dir / "drydockd.log"
        self.process = None
        self.accounts = accounts
        for path, content in (files or {}).items():
            self.write(path, content)
        lines = [f"port = {self.port}", f"preview_port = {self.preview_port}"]
        if demo:
            lines += [f"demo_port = {self.demo_port}", f'demo_directory = "{self.production}"']
        if quiet_period is not None:
            site_config += f'\n\tquiet_period = "{quiet_period}"'
        try:
            if again:
                self._open()
            else:
                self._init("\n".join(lines) + "\n" + config, site_config)
            if start:
                self._start_on_free_ports()
                for name in () if again else accounts:
                    self.add_account(name)
        except BaseException:
            self.close()
            raise

    # --- the process ---------------------------------------------------------------------------------------------

    def _own(self, path):
        if os.geteuid() == 0:
            os.chown(path, self.uid, self.gid)

    def run(self, *argv, check=True, **kw):
        """Run a program as the daemon's user."""
        if os.geteuid() == 0:
            kw.update(user=self.uid, group=self.gid, extra_groups=[])
        kw.setdefault("cwd", self.dir)
        r = subprocess.run([str(a) for a in argv], capture_output=True, text=True, **kw)
        if check and r.returncode:
            raise RuntimeError(f"{argv}: {r.returncode}\n{r.stdout}{r.stderr}")
        return r

    def _init(self, config, site_config):
        self.run(program(), "init", "--data", self.data, "--site", self.site, "--staging", self.staging, "--production",
                 self.production, "--port", self.port, "--admin", f"unix:{self.user}")
        self.conf = self.data / "drydock.conf"
        text = re.sub(r"(?m)^port = .*\n", "", self.conf.read_text())
        if site_config:
            text = text.replace("\tstaging =", site_config.strip("\n") + "\n\tstaging =", 1)
        self.conf.write_text(config + "\n" + text)
        self._own(self.conf)

    def _open(self):
        """What a kept directory has: its ports may have been taken by others meanwhile, then _start_on_free_ports finds new ones."""
        self.conf = self.data / "drydock.conf"
        named = {name: int(port) for name, port in re.findall(r"(?m)^(\w*port) = (\d+)$", self.conf.read_text())}
        self.port, self.preview_port, self.demo_port = (named.get(name, 0) for name in ("port", "preview_port", "demo_port"))
        self.url = f"http://127.0.0.1:{self.port}"

    def argv(self):
        return [program(), "serve", "--data", str(self.data)]

    def _start_on_free_ports(self):
        """Between looking for free ports and listening on them somebody else may have taken one: then others."""
        for attempt in range(5):
            try:
                return self.start()
            except RuntimeError as e:
                if " is in use" not in str(e) or attempt == 4:
                    raise
            text = self.conf.read_text()
            for name, old, new in zip(("port", "preview_port", "demo_port"), (self.port, self.preview_port, self.demo_port), free_ports(3)):
                if old and f"\n{name} = {old}\n" in "\n" + text:
                    text = re.sub(rf"(?m)^{name} = {old}$", f"{name} = {new}", text)
                    setattr(self, name, new)
            self.conf.write_text(text)
            self.url = f"http://127.0.0.1:{self.port}"

    def start(self, wait=60, env=None, address="127.0.0.1"):
        assert self.process is None
        first = not (self.data / "sites").exists()
        kw = {"user": self.uid, "group": self.gid, "extra_groups": []} if os.geteuid() == 0 else {}
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(self.argv(), stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, cwd=self.dir, env={**os.environ, **(env or {})}, **kw)
        end = time.monotonic() + wait
        while time.monotonic() < end:
            if self.process.poll() is not None:
                code = self.process.returncode
                self.process = None
                raise RuntimeError(f"drydockd ended with {code}:\n{self.log()[-4000:]}")
            try:
                # Its own socket, too: somebody else may have the port.
                with socket.socket(socket.AF_UNIX) as own, socket.create_connection((address, self.port), 1):
                    own.connect(self.socket)
                break
            except OSError:
                time.sleep(0.02)
        else:
            raise RuntimeError(f"drydockd does not answer after {wait} s:\n{self.log()[-4000:]}")
        if first:
            self._first_cycle()
        return self

    def _first_cycle(self):
        """The one that every site begins with is over: it would take along what a quick test has signed already."""
        end = time.monotonic() + 10
        with contextlib.suppress(OSError, http.client.HTTPException):  # a test may stop it anywhere
            while time.monotonic() < end:
                status, now = self.api("GET", self.api_site("/sync"))
                if status != 200 or now["run"] and not now["running"]:
                    return
                time.sleep(0.01)

    def stop(self, wait=60):
        """SIGTERM; returns the exit status."""
        if self.process is None:
            return None
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(wait)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = -signal.SIGKILL
        self.process = None
        return code

    def kill(self):
        """SIGKILL to the daemon alone: its database goes on, and is found again at the next start."""
        self.process.kill()
        self.process.wait()
        self.process = None

    def restart(self):
        self.stop()
        return self.start()

    def database_pid(self):
        """The private MariaDB's process, None if there is none."""
        for name in ("db/mariadbd.pid", "db.pid", "db/db.pid"):
            with contextlib.suppress(OSError, ValueError):
                pid = int((self.data / name).read_text())
                os.kill(pid, 0)
                return pid
        return self._database_by_argument()

    def _database_by_argument(self):
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"mariadbd" in words[0] and any(str(self.data).encode() + b"/" in w for w in words):
                    return int(entry.name)
        return None

    @contextlib.contextmanager
    def held(self, statement="LOCK TABLES file_state WRITE"):
        """Acts wait inside their transaction while this lasts, for up to 30 s: somebody else holds a table that only acts use
        (or what the statement locks)."""
        kw = {"user": self.uid, "group": self.gid, "extra_groups": []} if os.geteuid() == 0 else {}
        client = subprocess.Popen(["mariadb", "--no-defaults", f"--socket={self.data}/db.sock", "--batch", "--skip-column-names",
                                   "--unbuffered", "drydock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=self.dir, **kw)
        try:
            client.stdin.write(f"{statement}; SELECT 'held';\n")
            client.stdin.flush()
            assert client.stdout.readline().strip() == "held"
            yield
        finally:
            with contextlib.suppress(BrokenPipeError):
                client.stdin.close()
            client.wait(30)
            client.stdout.close()

    def close(self):
        """Stop everything and remove the directory. Only processes of this data directory are touched."""
        self.stop()
        pid = self.database_pid()
        if pid:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGTERM)
            end = time.monotonic() + 15
            while time.monotonic() < end and pathlib.Path(f"/proc/{pid}").exists():
                time.sleep(0.05)
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        said = self.sanitized()
        if not self.keep and not os.environ.get("DRYDOCK_TEST_KEEP"):
            # what a test made unreadable goes too
            for path, dirs, _ in os.walk(self.dir):
                for name in dirs:
                    with contextlib.suppress(OSError):
                        if not os.path.islink(os.path.join(path, name)):
                            os.chmod(os.path.join(path, name), 0o700)
            shutil.rmtree(self.dir, ignore_errors=True)
        assert not said, said

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def cpu(self):
        """Seconds of processor time that the daemon has used, to the nanosecond (clock_getcpuclockid)."""
        return time.clock_gettime(~self.process.pid << 3 | 2)

    def log(self):
        with contextlib.suppress(OSError):
            return self.log_file.read_text(errors="replace")
        return ""

    def sanitized(self):
        """What AddressSanitizer and its like, and the look for leaks at the end, have said in a build with them."""
        text = self.log()
        return text[-20000:] if "Sanitizer" in text or "runtime error:" in text else ""

    def wait_log(self, since, words, wait=10):
        """The lines of the log from a position on, once these words are there: what is logged after an answer comes late."""
        end = time.monotonic() + wait
        while True:
            text = self.log()[since:]
            if words in text or time.monotonic() > end:
                return text.splitlines()
            time.sleep(0.02)

    # --- files ---------------------------------------------------------------------------------------------------

    def write(self, path, content=b"", executable=False):
        """A staged file; directories are made."""
        if isinstance(content, str):
            content = content.encode()
        place = self.staging / path.lstrip("/")
        missing = [p for p in reversed(place.relative_to(self.staging).parents) if not (self.staging / p).exists()]
        for part in missing:
            (self.staging / part).mkdir()
            self._own(self.staging / part)
        temporary = place.with_name(f".{os.getpid()}.{time.monotonic_ns()}.tmp")
        temporary.write_bytes(content)
        temporary.chmod(0o755 if executable else 0o644)
        self._own(temporary)
        temporary.rename(place)
        return place

    def remove(self, path):
        place = self.staging / path.lstrip("/")
        shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink()

    def tree(self, place):
        """{path: bytes} of the regular files below a directory, links followed at its top only."""
        place = pathlib.Path(os.path.realpath(place))
        return {"/" + str(p.relative_to(place)): p.read_bytes() for p in place.rglob("*") if p.is_file() and not p.is_symlink()}

    def live(self):
        """What production serves: the target's directory, or the image in it that is switched to."""
        current = self.production / "current"
        return self.tree(current if current.exists() else self.production)

    # --- talking -------------------------------------------------------------------------------------------------

    def api(self, method, path, body=None, uid=None, headers=None, expect=None):
        """Over the local socket, as the daemon's user or another uid: (status, decoded answer)."""
        connection = LocalConnection(self.socket, self.uid if uid is None else uid)
        data = None
        headers = dict(headers or {})
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        elif method != "GET":
            headers.setdefault("Content-Length", "0")
        try:
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        kind = answer.headers.get("Content-Type", "")
        value = json.loads(text) if "json" in kind and text else text
        if expect is not None:
            assert answer.status == expect, (method, path, answer.status, value)
        return answer.status, value

    def must(self, method, path, body=None, **kw):
        """The same, for what has to work: the decoded answer."""
        status, value = self.api(method, path, body, **kw)
        assert 200 <= status < 300, (method, path, status, value, self.log()[-2000:])
        return value

    def api_site(self, tail):
        return f"/api/v1/sites/{self.site}{tail}"

    def status(self, path="/", **query):
        return self.must("GET", self.api_site("/status?" + urllib.parse.urlencode({"path": path, **query})))

    def file(self, path):
        return self.must("GET", self.api_site("/file?" + urllib.parse.urlencode({"path": path})))["file"]

    def selection(self, act, *paths, recursive=False):
        return self.must("POST", self.api_site("/selection"), {"act": act, "paths": list(paths), "recursive": recursive})

    def act(self, act, *paths, recursive=False, note="", **kw):
        """Sign, review or revoke exactly what is there: first the selection, then the act with its digest."""
        chosen = self.selection(act, *paths, recursive=recursive)
        return self.must("POST", self.api_site(f"/{act}"), {"paths": list(paths), "recursive": recursive, "note": note,
                                                            "selection": chosen["digest"], **kw})

    def sign(self, *paths, **kw):
        return self.act("sign", *paths, **kw)

    def revoke(self, *paths, **kw):
        return self.act("revoke", *paths, **kw)

    def sync(self, reason="a test", wait=60, state="ok"):
        """Force a sync and wait until its run is over: the run."""
        before = self.newest_run()
        self.must("POST", self.api_site("/sync/force"), {"reason": reason})
        return self.forced_run(before, reason, wait, state)

    def newest_run(self):
        """Its number; the status has only those since the server started."""
        return max([run["run"] for run in self.must("GET", self.api_site("/sync/runs"))["items"]], default=0)

    def forced_run(self, before, reason, wait=60, state="ok"):
        """Wait until nothing runs and the run after BEFORE that was forced with this reason is over: the run."""
        end = time.monotonic() + wait
        looked = before
        while time.monotonic() < end:
            now = self.must("GET", self.api_site("/sync"))
            while not now["running"] and looked < now["run"]:
                run = self.must("GET", self.api_site(f"/sync/runs/{looked + 1}"))
                if run["state"] == "running":
                    break
                if (run["trigger"], run["reason"]) == ("forced", reason):
                    assert state is None or run["state"] == state, (run, self.log()[-2000:])
                    return run
                looked += 1
            time.sleep(0.02)
        raise AssertionError(f"no sync within {wait} s: {now}\n{self.log()[-3000:]}")

    def records(self, **query):
        """All records that fit, newest first, each with all of its files."""
        out, before = [], None
        while True:
            page = self.must("GET", self.api_site("/log?" + urllib.parse.urlencode({**query, "limit": 500, **({"before": before} if before else {})})))
            out += page["items"]
            before = page.get("next")
            if not before:
                break
        return out

    def record(self, seq):
        """One record with all of its files."""
        record, after = None, None
        while True:
            query = urllib.parse.urlencode({"limit": 10000, **({"after": after} if after else {})})
            page = self.must("GET", self.api_site(f"/records/{seq}?{query}"))
            if record is None:
                record = page
            else:
                record["files"] += page["files"]
            after = page.get("next")
            if not after:
                return record

    def cli(self, *argv, uid=None, data=True, env=None, input=None, timeout=120):
        """The command line as the daemon's user or another one: CompletedProcess, its text decoded."""
        kw = {}
        if os.geteuid() == 0 and uid != 0:
            kw = {"user": self.uid if uid is None else uid, "group": self.gid if uid is None else uid, "extra_groups": []}
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(self.dir), **(env or {})}
        if data:
            environment["DRYDOCK_DATA"] = str(self.data)
        return subprocess.run([program("drydock"), *map(os.fspath, argv)], capture_output=True, text=True, cwd=self.dir, env=environment,
                              timeout=timeout, **({"stdin": subprocess.DEVNULL} if input is None else {"input": input}), **kw)

    @property
    def repo(self):
        return self.data / "sites" / self.site / "repo.git"

    @property
    def log_ref(self):
        return "refs/drydock/log/" + self.node

    @property
    def node(self):
        """The name of this installation, as the log's ref has it."""
        return self.git("for-each-ref", "--format=%(refname:lstrip=3)", "refs/drydock/log").stdout.split()[0]

    def git(self, *argv, check=True, repo=None):
        """Stock git on the bare repository, as the daemon's user."""
        return self.run("git", "-C", repo or self.repo, "-c", "safe.directory=*", "-c",
                        f"gpg.ssh.allowedSignersFile={self.data / 'allowed_signers'}", *argv, check=check,
                        env={"PATH": os.environ["PATH"], "HOME": str(self.dir), "LC_ALL": "C.UTF-8", "GIT_CONFIG_NOSYSTEM": "1"})

    def add_account(self, name, role="admin", path="/", password=PASSWORD):
        """An own account with a role on a path (None: no role)."""
        self.must("POST", "/api/v1/users", {"name": name, "password": password, "display": name.title(), "enabled": True})
        if role:
            self.role(f"own:{name}", role, path)

    def role(self, principal, role, path="/"):
        self.must("POST", f"/api/v1/sites/{self.site}/roles", {"principal": principal, "path": path, "role": role})

    def browser(self):
        """Somebody who is not logged in."""
        return Browser(self.url)

    def login(self, name="alice", password=PASSWORD):
        b = self.browser()
        answer = b.post("/api/v1/login", json={"name": name, "password": password})
        assert answer.status_code == 200, answer.text
        b.csrf = answer.json()["csrf"]
        return b

    def login_page_works(self):
        return self.browser().get("/login").status_code == 200

    def raw(self, data, port=None, timeout=5, wait_close=True):
        """Bytes over a TCP socket: (everything that came back, whether the server closed)."""
        out, closed = b"", False
        with socket.create_connection(("127.0.0.1", port or self.port), timeout) as s:
            s.settimeout(timeout)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                s.sendall(data)
            try:
                while True:
                    piece = s.recv(65536)
                    if not piece:
                        closed = True
                        break
                    out += piece
                    if not wait_close and b"\r\n\r\n" in out:
                        break
            except socket.timeout:
                pass
            except ConnectionResetError:
                closed = True
        return out, closed
