"""The measurements of doc/bench.md: each a ratio against a named peer, in the same run, the median of several.

Everything runs on a copy of a real tree (Debian's linux-doc, over 15,000 files, unless --tree names another), with a
real drydockd, its private MariaDB, and stock git, rsync, nginx and cgit beside it. Nothing here is a test: a figure
over its limit is printed as such, and the exit status stays 0.
"""
import argparse
import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/lib"))
import drydock as lib  # noqa: E402

TREE = "/usr/share/doc/linux-doc-6.1"
ROWS = []


def quiet(*argv, **kw):
    subprocess.run([str(a) for a in argv], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **kw)


def took(fn):
    start = time.perf_counter()
    fn()
    return time.perf_counter() - start


def median(fn, n=7):
    return statistics.median(took(fn) for _ in range(n))


def pair(ours, theirs, n=7):
    """Medians of n alternating runs, so that a slow moment of the machine meets both."""
    a, b = [], []
    for _ in range(n):
        b.append(took(theirs))
        a.append(took(ours))
    return statistics.median(a), statistics.median(b)


def row(name, peer, ours, theirs, limit, unit="ms", at_least=False):
    scale = 1000 if unit == "ms" else 1
    ratio = ours / theirs if theirs else 0
    good = ratio >= limit if at_least else ratio <= limit
    ROWS.append((name, peer, f"{ours * scale:,.1f} {unit}", f"{theirs * scale:,.1f} {unit}", f"{ratio:.3f}",
                 f"{'≥' if at_least else '≤'} {limit}", "yes" if good else "**no**"))
    print(f"{name}: {ours * scale:.2f} {unit}, {peer}: {theirs * scale:.2f} {unit}, ratio {ratio:.3f} ({'at least' if at_least else 'at most'} {limit})",
          flush=True)


def figure(name, value, limit, good):
    ROWS.append((name, "", value, "", "", limit, "yes" if good else "**no**"))
    print(f"{name}: {value} (limit {limit})", flush=True)


class Bench:
    def __init__(self, tree):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="drydock-bench-"))
        os.chmod(self.dir, 0o755)
        self.tree = tree
        user, uid, gid = lib.test_user()
        self.user, self.uid, self.gid = user, uid, gid
        self.as_user = {"user": uid, "group": gid, "extra_groups": []} if os.geteuid() == 0 else {}
        os.environ.update(GIT_CONFIG_COUNT="4", GIT_CONFIG_KEY_0="safe.directory", GIT_CONFIG_VALUE_0="*",
                          GIT_CONFIG_KEY_1="user.name", GIT_CONFIG_VALUE_1="b", GIT_CONFIG_KEY_2="user.email", GIT_CONFIG_VALUE_2="b@b.invalid",
                          GIT_CONFIG_KEY_3="gc.auto", GIT_CONFIG_VALUE_3="0")

    def copy(self, name):
        place = self.dir / name
        shutil.copytree(self.tree, place, symlinks=False, ignore_dangling_symlinks=True)
        quiet("chown", "-R", f"{self.uid}:{self.gid}", place)
        quiet("find", place, "-links", "+1", "-type", "f", "-delete")
        return place

    def git_tree(self, name="git"):
        place = self.copy(name)
        quiet("git", "init", "-q", place)
        quiet("git", "-C", place, "add", "-A")
        quiet("git", "-C", place, "commit", "-qm", "all")
        return place

    def files(self, place):
        return sum(len(names) for path, _, names in os.walk(place) if "/.git" not in path)

    @contextlib.contextmanager
    def server(self, signed=True, watch=True, staging=None):
        staging = staging or self.copy("staging" + str(time.monotonic_ns()))
        with lib.Drydock(staging=staging, site_config="" if watch else "\n\twatch = no") as d:
            self.wait_scanned(d)
            if os.geteuid() == 0:
                call(d, "POST", "/api/v1/sites/www/roles", {"principal": "unix:root", "path": "/", "role": "admin"})
            if signed:
                act(d, "sign", paths=["/"], recursive=True, as_staged=True)
                carried_out(d)
            yield d
        shutil.rmtree(staging, ignore_errors=True)

    def wait_scanned(self, d):
        want = self.files(d.staging)
        for _ in range(600):
            counts = call(d, "GET", "/api/v1/sites/www/status?limit=1")["counts"]
            if sum(counts.values()) >= want:
                return
            time.sleep(0.1)

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)


def call(d, method, target, body=None):
    c = lib.LocalConnection(d.socket, d.uid)
    data = json.dumps(body) if body is not None else None
    c.request(method, target, data, {"Content-Type": "application/json"} if data else {})
    r = c.getresponse()
    text = r.read()
    c.close()
    if r.status >= 300:
        raise RuntimeError(f"{method} {target}: {r.status} {text[:400]!r}")
    return json.loads(text) if text else None


def act(d, name, **body):
    return call(d, "POST", f"/api/v1/sites/www/{name}", body)


def carried_out(d):
    """A large act is answered before the export directory follows: wait until it has."""
    while call(d, "GET", "/api/v1/sites/www/sync")["export_behind"]:
        time.sleep(0.01)  # the question itself costs processor time


def cli(d, *argv):
    """The terminal, started in the same way as its peer: to start a program as another user takes Python longer."""
    env = {"PATH": os.environ["PATH"], "DRYDOCK_DATA": str(d.data)}
    subprocess.run([lib.program("drydock"), *argv], check=True, stdout=subprocess.DEVNULL, env=env)


# --- the measurements ------------------------------------------------------------------------------------------------


def status(b):
    git = b.git_tree()
    quiet("git", "-C", git, "status")
    status_of = lambda *c: subprocess.run(["git", "-C", str(git), *c, "status"], check=True, stdout=subprocess.DEVNULL)  # noqa: E731
    with b.server(watch=False) as d:
        cli(d, "status", "-r")
        ours, theirs = pair(lambda: cli(d, "status", "-r", "--scan"), lambda: status_of(), 15)
        row("states of the whole tree, full scan", "git status", ours, theirs, 0.45)
    hook = b.dir / "no-op-fsmonitor"
    hook.write_text("#!/bin/sh\nprintf '%s\\0' \"token\"\n")
    hook.chmod(0o755)
    fast = ("-c", "core.untrackedCache=true", "-c", f"core.fsmonitor={hook}", "-c", "core.fsmonitorHookVersion=2")
    quiet("git", "-C", git, "update-index", "--untracked-cache")
    quiet("git", "-C", git, *fast[2:], "update-index", "--fsmonitor")
    for _ in range(3):
        status_of(*fast)
    with b.server() as d:
        cli(d, "status", "-r")
        ours, theirs = pair(lambda: cli(d, "status", "-r"), lambda: status_of(*fast), 15)
        row("states of the whole tree, watcher running", "git status, untracked cache and no-op fsmonitor hook", ours, theirs, 0.3)


def fingerprints(b):
    place = b.copy("prints")
    names = b.dir / "names"
    names.write_bytes(b"\0".join(str(p).encode() for p in sorted(place.rglob("*")) if p.is_file()) + b"\0")

    def sums():
        two = [subprocess.Popen(["xargs", "-0", "-a", str(names), tool], stdout=subprocess.DEVNULL) for tool in ("md5sum", "sha256sum")]
        for p in two:
            p.wait()

    def ours():
        out = subprocess.run([lib.program("stage_bench"), str(place), "1"], check=True, capture_output=True, text=True).stdout
        return float(re.search(r"fingerprints ([\d.]+) ms", out).group(1)) / 1000

    ours()
    a, c = [], []
    for _ in range(5):
        c.append(took(sums))
        a.append(ours())
    row("fingerprints of all files, both digests", "md5sum and sha256sum side by side", statistics.median(a), statistics.median(c), 0.35)


def syncs_in(pid, fn):
    """fsync, fdatasync and syncfs calls of a process while fn runs."""
    out = tempfile.NamedTemporaryFile(prefix="drydock-strace-")
    p = subprocess.Popen(["strace", "-f", "-qq", "-e", "trace=fsync,fdatasync,syncfs,sync,sync_file_range", "-o", out.name, "-p", str(pid)],
                         stderr=subprocess.DEVNULL)
    time.sleep(1)
    fn()
    time.sleep(0.3)
    p.terminate()
    p.wait()
    return len(re.findall(r"(?:fsync|fdatasync|syncfs)\(", pathlib.Path(out.name).read_text()))


def sign_one(b):
    git = b.git_tree("git-one")
    some = sorted(p.relative_to(git) for p in git.rglob("*.html") if ".git/" not in str(p))[:40]
    n = iter(range(10**6))

    def commit():
        f = some[next(n) % len(some)]
        (git / f).write_text(f"changed {next(n)}\n")
        start = time.perf_counter()
        quiet("git", "-C", git, "add", f)
        quiet("git", "-C", git, "commit", "-qm", "one")
        return time.perf_counter() - start

    with b.server() as d:
        files = sorted(p.relative_to(d.staging) for p in d.staging.rglob("*.html"))[:40]

        def sign():
            f = files[next(n) % len(files)]
            body = f"changed {next(n)}\n".encode()
            (d.staging / f).write_bytes(body)
            time.sleep(0.3)
            start = time.perf_counter()
            act(d, "sign", files=[{"path": f"/{f}", "sha256": __import__("hashlib").sha256(body).hexdigest()}])
            return time.perf_counter() - start

        sign(), commit()
        a = [sign() for _ in range(15)]
        c = [commit() for _ in range(15)]
        row("sign one file, durable", "git add + git commit of one file", statistics.median(a), statistics.median(c), 0.1)
        calls = syncs_in(d.process.pid, sign)
        figure("fsync, fdatasync and syncfs calls to sign one file", str(calls), "at most 8", 0 < calls <= 8)


def first_files(place, n):
    out = []
    for path, dirs, names in os.walk(place):
        dirs.sort()
        for name in sorted(names):
            out.append(os.path.relpath(os.path.join(path, name), place))
            if len(out) == n:
                return out
    return out


def part_tree(b, n):
    """A tree of exactly n files of the real one."""
    if not hasattr(b, "whole"):
        b.whole = b.copy("whole")
    place = b.dir / f"part{time.monotonic_ns()}"
    for f in first_files(b.whole, n):
        (place / f).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(b.whole / f, place / f)
    quiet("chown", "-R", f"{b.uid}:{b.gid}", place)
    return place


def sign_batch(b):
    ours, theirs = [], []
    for _ in range(3):
        part = part_tree(b, 10000)
        git, copy, names = b.dir / "git-batch", b.dir / "git-copy", b.dir / "batch-names"
        shutil.copytree(part, git)
        copy.mkdir()
        names.write_text("\n".join(first_files(part, 10000)) + "\n")
        quiet("git", "init", "-q", git)
        quiet("sync")

        def peer():
            quiet("git", "-c", "core.fsync=all", "-C", git, "add", "-A")
            quiet("git", "-c", "core.fsync=all", "-C", git, "commit", "-qm", "all")
            quiet("rsync", "-a", f"--files-from={names}", f"{git}/", f"{copy}/")
            quiet("sync")

        theirs.append(took(peer))
        with b.server(signed=False, staging=part) as d:
            digest = call(d, "GET", "/api/v1/sites/www/status?recursive=1&state=changed&selection=sign")["selection"]["digest"]
            quiet("sync")
            ours.append(took(lambda: (act(d, "sign", paths=["/"], recursive=True, selection=digest), carried_out(d))))
        for place in (git, copy):
            shutil.rmtree(place)
    row("sign 10,000 files in one batch, all durable", "git add + commit (core.fsync=all), rsync, sync", statistics.median(ours), statistics.median(theirs), 0.6)


def sign_batch_large(b):
    """10,000 new files in a site, and in a repository, of 100,000."""
    new = part_tree(b, 10000)
    big = b.dir / "big"
    for i in range(10):
        shutil.copytree(new, big / f"copy{i}")
    for p in big.rglob("*"):
        if p.is_file():
            with open(p, "ab") as f:
                f.write(f"\n{p.parent.parent}\n".encode())
    quiet("chown", "-R", f"{b.uid}:{b.gid}", big)
    git = b.dir / "git-big"
    shutil.copytree(big, git)
    quiet("git", "init", "-q", git)
    quiet("git", "-C", git, "add", "-A")
    quiet("git", "-C", git, "commit", "-qm", "all")
    answered, carried, theirs = [], [], []
    with b.server(staging=big) as d:
        for name in ("new1", "new2", "new3"):
            for p in new.rglob("*"):
                if p.is_file():
                    with open(p, "ab") as f:
                        f.write(f"\n{name}\n".encode())
            shutil.copytree(new, git / name)
            shutil.copytree(new, big / name)
            quiet("chown", "-R", f"{b.uid}:{b.gid}", big / name)
            quiet("sync")
            b.wait_scanned(d)

            def peer():
                quiet("git", "-C", git, "add", "-A")
                quiet("git", "-C", git, "commit", "-qm", "new")

            theirs.append(took(peer))
            digest = call(d, "GET", f"/api/v1/sites/www/status?path=/{name}&recursive=1&state=changed&selection=sign")["selection"]["digest"]
            quiet("sync")
            start = time.perf_counter()
            act(d, "sign", paths=[f"/{name}"], recursive=True, selection=digest)  # noqa: B023
            answered.append(time.perf_counter() - start)
            carried_out(d)
            carried.append(time.perf_counter() - start)
    peer_name = "git add + git commit of the same, nothing synced"
    row("sign 10,000 new files of 100,000: recorded, durable, answered", peer_name, statistics.median(answered), statistics.median(theirs), 0.25)
    row("the same, until the export directory has them too", peer_name, statistics.median(carried), statistics.median(theirs), 0.25)


def wrk(url, cookie=None, seconds=4):
    out = subprocess.run(["wrk", "-t1", "-c16", f"-d{seconds}s", *(["-H", f"Cookie: {cookie}"] if cookie else []), url], check=True,
                         capture_output=True, text=True).stdout
    if re.search(r"Non-2xx", out):
        raise RuntimeError(f"{url}: {out}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))


def page(b):
    listing = b.dir / "page"
    listing.mkdir()
    for i in range(200):
        (listing / f"page-{i:03}.html").write_text(f"<p>{i}</p>\n" * (i + 1))
    staging = b.copy("page-staging")
    shutil.copytree(listing, staging / "listing")
    quiet("chown", "-R", f"{b.uid}:{b.gid}", staging)
    os.chmod(listing, 0o755)
    git = b.git_tree("git-page")
    shutil.copytree(listing, git / "listing")
    quiet("git", "-C", git, "add", "-A")
    quiet("git", "-C", git, "commit", "-qm", "listing")
    nginx_port, cgit_port = lib.free_ports(2)
    conf = b.dir / "nginx.conf"
    fcgi = b.dir / "fcgi.sock"
    cgitrc = b.dir / "cgitrc"
    cgitrc.write_text(f"cache-size=0\nrepo.url=site\nrepo.path={git}/.git\n")
    conf.write_text(f"""daemon off; pid {b.dir}/nginx.pid; error_log {b.dir}/nginx.log; worker_processes auto; {'user root;' if os.geteuid() == 0 else ''}
events {{ worker_connections 512; }}
http {{ access_log off; client_body_temp_path {b.dir}/n1; proxy_temp_path {b.dir}/n2; fastcgi_temp_path {b.dir}/n3; uwsgi_temp_path {b.dir}/n4;
  scgi_temp_path {b.dir}/n5;
  server {{ listen 127.0.0.1:{nginx_port}; root {b.dir}/page; autoindex on; }}
  server {{ listen 127.0.0.1:{cgit_port}; location / {{ fastcgi_pass unix:{fcgi}; fastcgi_param SCRIPT_FILENAME /usr/lib/cgit/cgit.cgi;
    fastcgi_param CGIT_CONFIG {cgitrc}; fastcgi_param PATH_INFO $uri; fastcgi_param QUERY_STRING $args; fastcgi_param REQUEST_METHOD $request_method;
    fastcgi_param HTTP_HOST $host; }} }} }}
""")
    nginx = subprocess.Popen(["/usr/sbin/nginx", "-c", str(conf)], stderr=subprocess.DEVNULL)
    cgi = subprocess.Popen(["/usr/sbin/fcgiwrap", "-c", "2", "-s", f"unix:{fcgi}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           start_new_session=True)
    try:
        time.sleep(1)
        os.chmod(fcgi, 0o777)
        with b.server(staging=staging) as d:
            s = d.login("alice")
            cookie = "; ".join(f"{c.name}={c.value}" for c in s.cookies)
            ours_url = f"{d.url}/s/www/tree/listing"
            r = s.get(ours_url)
            # A page ends before 50 kB: what an editor sees of each file makes that a few rows less than 200.
            shown = sum(f"page-{i:03}.html</a>" in r.text for i in range(200))
            assert r.status_code == 200 and shown >= 180, (r.status_code, shown, r.text[:500])
            cgit_url = f"http://127.0.0.1:{cgit_port}/site/tree/listing"
            import requests
            text = requests.get(cgit_url, timeout=20).text
            assert "page-199" in text, text[:500]
            a, n, c = [], [], []
            for _ in range(3):
                n.append(wrk(f"http://127.0.0.1:{nginx_port}/"))
                a.append(wrk(ours_url, cookie))
                c.append(wrk(cgit_url))
            ours = statistics.median(a)
            print(f"page of {len(r.content)} bytes")
            row("directory page of 200 entries, 16 connections", "nginx autoindex", ours, statistics.median(n), 1, "requests/s", at_least=True)
            row("directory page of 200 entries, 16 connections", "cgit's tree page", ours, statistics.median(c), 50, "requests/s", at_least=True)
    finally:
        nginx.terminate()
        nginx.wait()
        os.killpg(cgi.pid, 15)  # its children do not end with it
        cgi.wait()


def force(b):
    copy = b.copy("rsync-copy")
    with b.server() as d:
        f = sorted(p.relative_to(d.staging) for p in d.staging.rglob("*.html"))[0]
        n = iter(range(10**6))

        def runs():
            return call(d, "GET", "/api/v1/sites/www/sync")

        def wait_idle():
            while (s := runs())["running"] or s["pending_since"]:
                time.sleep(0.02)

        def sync():
            wait_idle()
            body = f"synced {next(n)}\n".encode()
            (d.staging / f).write_bytes(body)
            time.sleep(0.3)
            act(d, "sign", paths=[f"/{f}"], as_staged=True)
            start = time.perf_counter()
            call(d, "POST", "/api/v1/sites/www/sync/force", {"reason": "bench"})
            while (d.production / f).read_bytes() != body:
                time.sleep(0.0002)
            took_ = time.perf_counter() - start
            wait_idle()
            return took_

        call(d, "POST", "/api/v1/sites/www/sync/force", {"reason": "first"})
        while not (d.production / f).exists():
            time.sleep(0.05)
        sync()
        a = [sync() for _ in range(9)]
        # what the run itself says, from its start to its end
        item = call(d, "GET", "/api/v1/sites/www/sync/runs?limit=1")["items"][0]
        print(f"  last run: {item['started_at']} to {item['finished_at']}")
        shutil.rmtree(copy)
        quiet("rsync", "-a", f"{d.staging}/", f"{copy}/")

        def peer():
            (d.staging / f).write_text(f"other {next(n)}\n")
            start = time.perf_counter()
            quiet("rsync", "-a", "--delete", f"{d.staging}/", f"{copy}/")
            return time.perf_counter() - start

        c = [peer() for _ in range(9)]
        row("forced sync of one changed file, kit local", "rsync -a --delete of the tree", statistics.median(a), statistics.median(c), 0.1)


def memory(b):
    with b.server() as d:
        s = d.login("alice")
        for _ in range(20):
            s.get("/s/www/tree/")
            s.get("/s/www/")
        cli(d, "status", "-r")
        rss = lambda pid: int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1)) / 1024  # noqa: E731
        time.sleep(2)
        ours, base = rss(d.process.pid), rss(d.database_pid())
        figure(f"memory of the daemon, {b.files(d.staging):,} files", f"{ours:.0f} MB", "at most 64 MB", ours <= 64)
        figure("memory of the private MariaDB", f"{base:.0f} MB", "at most 128 MB", base <= 128)

        def cpu():
            total = 0
            for pid in (d.process.pid, d.database_pid()):
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                total += int(fields[11]) + int(fields[12])
            return total * 1000 / os.sysconf("SC_CLK_TCK")

        before = cpu()
        time.sleep(20)
        used = cpu() - before
        figure("processor time of both when idle, in 20 s", f"{used:.0f} ms", "not measurable (at most 20 ms)", used <= 20)


def quickstart(b):
    env = {**os.environ, "HOME": str(b.dir)}
    port = lib.free_ports(1)[0]

    def run(data, *more):
        subprocess.run([str(TOP / "quickstart"), "--data", str(b.dir / data), *more], check=True, stdout=subprocess.DEVNULL, env=env)

    def start(data):
        return took(lambda: run(data, "--port", str(port), "--detach"))

    start("build")  # builds, if that was not done yet
    run("build", "--stop")
    first, times = [], []
    for data in ("one", "two", "three"):
        first.append(start(data))
        run(data, "--stop")
        times.append(start(data))
        run(data, "--stop")
    figure("./quickstart on a built tree, until the server answers",
           f"{statistics.median(times):.2f} s (with new data and the sample site: {statistics.median(first):.2f} s)", "at most 3 s",
           statistics.median(times) <= 3)



# Sixteen logins at once, again and again until its standard input ends; niced, so that they and not it are measured.
LOGINS = """
import http.client, json, os, select, sys, threading
os.nice(15)
port, names, password = int(sys.argv[1]), sys.argv[2].split(","), sys.argv[3]
def login(name):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    c.request("POST", "/api/v1/login", json.dumps({"name": name, "password": password}), {"Content-Type": "application/json"})
    r = c.getresponse(); text = r.read(); c.close()
    assert r.status == 200, (r.status, text)
n = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    ts = [threading.Thread(target=login, args=(x,)) for x in names]
    [t.start() for t in ts]; [t.join() for t in ts]
    n += len(names)
print(n)
"""


def small_site(b):
    place = b.dir / f"small{time.monotonic_ns()}"
    (place / "listing").mkdir(parents=True)
    for i in range(200):
        (place / "listing" / f"page-{i:03}.html").write_text(f"<p>{i}</p>\n" * (i + 1))
    quiet("chown", "-R", f"{b.uid}:{b.gid}", place)
    return place


def p99(d, cookie, seconds=4):
    """Pages that are made for each request (another query each time), one after the other on one connection."""
    c = http.client.HTTPConnection("127.0.0.1", d.port, timeout=60)
    times, end, i = [], time.monotonic() + seconds, 0
    pages = ("/s/www/tree/listing?x={}", "/s/www/history?x={}", "/s/www/?x={}", "/account?x={}")
    while time.monotonic() < end:
        i += 1
        begin = time.perf_counter()
        c.request("GET", pages[i % len(pages)].format(f"{seconds}{i}{time.monotonic_ns()}"), headers={"Cookie": cookie})
        r = c.getresponse()
        r.read()
        times.append(time.perf_counter() - begin)
        assert r.status == 200, r.status
    c.close()
    return sorted(times)[len(times) * 99 // 100]


def logins(b):
    with b.server(staging=small_site(b)) as d:
        names = [f"user{i}" for i in range(16)]
        for name in names:
            d.add_account(name, None)
        cookie = "; ".join(f"{c.name}={c.value}" for c in d.login("alice").cookies)
        p99(d, cookie, 1)
        idle, busy, done = [], [], 0
        for _ in range(5):
            idle.append(p99(d, cookie))
            p = subprocess.Popen([sys.executable, "-c", LOGINS, str(d.port), ",".join(names), lib.PASSWORD], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, text=True)
            time.sleep(0.5)
            busy.append(p99(d, cookie))
            done += int(p.communicate("x")[0])
        print(f"{done} logins in the meantime")
        row("p99 of pages while 16 log in at once, all the time", "the same pages on an idle server", statistics.median(busy), statistics.median(idle), 2)


def chain(b):
    """Session, CSRF and role, against the making of a directory page of 200 entries."""
    nanoseconds = float(re.search(r"chain (\d+) ns", subprocess.run([lib.program("auth_bench")], check=True, capture_output=True, text=True).stdout).group(1))
    with b.server(staging=small_site(b)) as d:
        s = d.login("alice")
        mark = f"?bench={time.monotonic_ns()}"
        for i in range(300):
            assert s.get(f"/s/www/tree/listing{mark}{i}").status_code == 200
        time.sleep(0.2)
        made = [int(us) for us in re.findall(re.escape(mark) + r"\d+\S* status=200 us=(\d+)", d.log())]
        assert len(made) >= 200, len(made)
        row("session, CSRF token and role on a path", "making a directory page of 200 entries", nanoseconds / 1e9, statistics.median(made) / 1e6, 0.1)


ALL = {f.__name__: f for f in (status, fingerprints, sign_one, sign_batch, sign_batch_large, page, force, memory, quickstart, logins, chain)}


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--tree", default=TREE)
    p.add_argument("--table", help="write the table to this file too")
    p.add_argument("names", nargs="*", help=", ".join(ALL))
    o = p.parse_args()
    b = Bench(o.tree)
    try:
        print(f"tree: {o.tree}", flush=True)
        for name in o.names or ALL:
            ALL[name](b)
    finally:
        b.close()
        table(o.table)


def table(file):
    lines = ["| what | peer | DryDock | peer | ratio | limit | met |", "|---|---|---|---|---|---|---|"]
    lines += ["| " + " | ".join(r) + " |" for r in ROWS]
    print("\n".join(lines))
    if file:
        pathlib.Path(file).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
