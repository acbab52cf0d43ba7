"""A site with a history of every kind of record, for the tests of fsck, rebuild, backup and evidence."""
import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))

from drydock import PASSWORD, Drydock, program  # noqa: E402

FILES = {"/index.html": b"<h1>one</h1>\n", "/a/b.html": b"<p>b\n", "/a/c/d.css": b"p{}\n", "/data/prices.csv": b"1;2\n", "/gone.html": b"gone\n"}


def history(d):
    """Sign, change, review, revoke, a file that becomes a directory, rules, pre-approval with pick-up, people, releases."""
    d.sign("/index.html", "/a/b.html", "/gone.html", note="the first")
    d.act("review", "/a/c/d.css", note="not signed yet")
    d.write("/index.html", b"<h1>two</h1>\n", executable=True)
    d.sign("/index.html", note="the second\nwith two lines")
    d.act("review", "/index.html")
    d.revoke("/gone.html", note="wrong")
    must = lambda path, body: d.must("POST", path, body)
    must("/api/v1/groups", {"name": "editors"})
    must("/api/v1/groups/editors/members", {"principal": "own:alice"})
    must("/api/v1/groups", {"name": "short"})
    must("/api/v1/groups", {"name": "short", "remove": True})
    must(d.api_site("/roles"), {"principal": "own:@editors", "path": "/a", "role": "sign"})
    must(d.api_site("/roles"), {"principal": "own:@editors", "path": "/a", "role": "review"})
    must(d.api_site("/roles"), {"principal": "own:@editors", "path": "/data", "role": "view"})
    must(d.api_site("/roles"), {"principal": "own:@editors", "path": "/data", "role": None})
    must(d.api_site("/requirements"), {"path": "/legal", "reviews": 2})
    must(d.api_site("/requirements"), {"path": "/legal", "reviews": 1, "not_alone": True})
    must(d.api_site("/requirements"), {"path": "/nothing", "not_alone": True})
    must(d.api_site("/requirements"), {"path": "/nothing"})
    field = {"path": "/a", "name": "ticket", "label": "Ticket", "required": True, "acts": ["sign", "revoke"]}
    must(d.api_site("/fields"), field)
    must(d.api_site("/fields"), {**field, "label": "Number of the “ticket”", "required": False, "place": 3})
    must(d.api_site("/fields"), {"path": "/a/c", "name": "kind", "label": "Kind", "type": "choice", "choices": ["new", "as it was"], "acts": ["review"]})
    must(d.api_site("/fields"), {"path": "/nothing", "name": "kind", "label": "Kind", "type": "checkbox"})
    must(d.api_site("/fields"), {"path": "/nothing", "name": "kind", "remove": True})
    d.act("review", "/a/c/d.css", fields={"kind": "as it was"})
    must(d.api_site("/preapprovals"), {"path": "/data", "note": "prices change by the hour"})
    must(d.api_site("/preapprovals"), {"path": "/nothing", "note": "for a moment"})
    must(d.api_site("/preapprovals"), {"path": "/nothing", "remove": True})
    must(d.api_site("/preapprovals"), {"path": "/data", "pattern": "*.csv", "largest": "2MiB", "until": "90d"})
    must(d.api_site("/preapprovals"), {"path": "/data", "pattern": "*.csv", "largest": "3MiB"})
    must(d.api_site("/preapprovals"), {"path": "/data", "pattern": "*.tmp", "until": "1d"})
    must(d.api_site("/preapprovals"), {"path": "/data", "pattern": "*.tmp", "remove": True})
    must(d.api_site("/holds"), {"path": "/legal", "until": "300d", "reason": "the court decides"})
    must(d.api_site("/holds"), {"path": "/nothing", "until": "3d", "reason": "for a moment"})
    must(d.api_site("/holds"), {"path": "/nothing", "remove": True})
    must("/api/v1/tokens", {"label": "a script", "role": "view", "expires": "300d"})
    d.sync()
    d.remove("/a/b.html")
    d.write("/a/b.html/index.html", b"<p>a directory now\n")
    d.sign("/a/b.html/index.html", note="a file became a directory", fields={"ticket": "A-8"})
    d.sync()


@contextlib.contextmanager
def signing(d):
    """Somebody signs one version after the other meanwhile, and is never refused."""
    stop, failed = threading.Event(), []

    def sign():
        n = 0
        while not stop.is_set():
            n += 1
            d.write("/index.html", f"version {n}")
            try:
                d.sign("/index.html")
            except AssertionError as e:
                failed.append(e)

    thread = threading.Thread(target=sign)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not failed, failed


def fsck(d, *options, status=None):
    """(exit status, findings, the whole answer)"""
    r = d.run(program(), "fsck", "--json", "--data", d.data, *options, check=False)
    assert status is None or r.returncode == status, (r.returncode, r.stdout, r.stderr)
    answer = json.loads(r.stdout) if r.stdout.strip() else None
    return r.returncode, answer["items"] if answer else r.stderr, answer


def names(items):
    return sorted({f["name"] for f in items})


def repository(d, site=None):
    return d.data / "sites" / (site or d.site) / "repo.git"


def git(d, *argv, site=None, check=True, stdin=None, env=None):
    r = subprocess.run(["git", "--git-dir", str(repository(d, site)), *argv], capture_output=True, input=stdin, check=False,
                       env={"PATH": os.environ["PATH"], "HOME": str(d.dir), "GIT_CONFIG_NOSYSTEM": "1",
                            "GIT_AUTHOR_NAME": "Eve", "GIT_AUTHOR_EMAIL": "eve@example.org",
                            "GIT_COMMITTER_NAME": "Eve", "GIT_COMMITTER_EMAIL": "eve@example.org", **(env or {})})
    assert not check or r.returncode == 0, (argv, r.stderr)
    return r.stdout


def log_ref(d):
    return [line.split()[1] for line in git(d, "show-ref").decode().splitlines() if "refs/drydock/log/" in line][0]


def sql(d, statement):
    """Rows of a statement, as the owner of the private database, while it runs."""
    r = d.run("/usr/bin/mariadb", "--no-defaults", "--socket", d.data / "db.sock", "--user", d.user, "--batch", "--raw", "--skip-column-names",
              "drydock", "-e", statement)
    return [line.split("\t") for line in r.stdout.splitlines()]


def tables_def():
    """{table: {kind, columns, loose}} of server/db/tables.def."""
    text = (pathlib.Path(__file__).resolve().parents[2] / "server" / "db" / "tables.def").read_text()
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    out = {}
    for kind, body in re.findall(r"^(RECORDED|DERIVED|KEPT|APART)\((.*?)\)\s*$", text.replace("CONCAT('release/', ?)", ""), flags=re.S | re.M):
        texts = re.findall(r'"([^"]*)"', body)
        out[texts[0]] = {"kind": kind, "columns": texts[1].split(", "), "loose": texts[-1].split(", ") if kind == "DERIVED" and texts[-1] else []}
    return out
