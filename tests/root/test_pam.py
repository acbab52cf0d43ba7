"""UNIX users with their own passwords: real users of this machine, made here and removed, real PAM, NSS as it is."""

import contextlib
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

import pytest
import requests

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/lib"))
from drydock import Drydock, program  # noqa: E402
from test_root import answers, children, uid_of  # noqa: E402
from waiting import until  # noqa: E402

NAME = f"ddt{os.getpid() % 100000}"
USER, OTHER, GROUP, ROOT = NAME + "a", NAME + "b", NAME + "g", NAME + "r"
SECRET = "correct horse battery"
WRONG = "Name or password is wrong."


def run(*argv, **kw):
    return subprocess.run(argv, check=True, capture_output=True, text=True, **kw)


def add_user(name, *more):
    run("useradd", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/sh", "--comment", "Test of DryDock,,,", *more, name)
    run("chpasswd", input=f"{name}:{SECRET}\n")


@pytest.fixture(scope="module")
def users():
    try:
        run("groupadd", GROUP)
        add_user(USER, "--groups", GROUP)
        add_user(OTHER)
        add_user(ROOT, "--non-unique", "--uid", "0")
        yield
    finally:
        for name in (ROOT, USER, OTHER):
            subprocess.run(["userdel", "--force", name], capture_output=True)
        subprocess.run(["groupdel", "--force", GROUP], capture_output=True)


@contextlib.contextmanager
def service(text):
    """A PAM service of its own: its name."""
    with tempfile.NamedTemporaryFile("w", dir="/etc/pam.d", prefix=NAME) as file:
        file.write(text)
        file.flush()
        yield pathlib.Path(file.name).name


STOCK = (TOP / "packaging/drydock.pam").read_text()


@contextlib.contextmanager
def monitored(service, config=""):
    """A server started as root: the monitor, its helpers, the daemon as an ordinary user."""
    with Drydock(files={"/index.html": "hi", "/docs/a.html": "a"}, start=False) as d:
        d.conf.write_text(f'user = "{d.user}"\npam_service = "{service}"\ngroup_cache = "1s"\n{config}\n' + d.conf.read_text())
        with open(d.log_file, "ab") as log:
            d.monitor = subprocess.Popen([program(), "serve", "--data", str(d.data)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            until(lambda: answers(d.url + "/healthz") == 200)
            yield d
        finally:
            d.monitor.terminate()
            assert d.monitor.wait(60) == 0, d.log()


@pytest.fixture(scope="module")
def d(users):
    with service(STOCK) as name, monitored(name) as d:
        d.add_account("alice")
        d.role(f"unix:@{GROUP}", "sign", "/docs")
        yield d


class From(requests.adapters.HTTPAdapter):
    """Connections from another address of loopback: the throttle of one test is not that of the next."""

    here = "127.0.0.1"

    def init_poolmanager(self, *a, **kw):
        return super().init_poolmanager(*a, source_address=(self.here, 0), **kw)


@pytest.fixture(autouse=True)
def another_address():
    From.here = f"127.{random.randrange(1, 255)}.{random.randrange(1, 255)}.{random.randrange(1, 255)}"


def post_login(d, name, password=SECRET):
    with requests.Session() as s:
        s.trust_env = False
        s.mount("http://", From())
        return s.post(d.url + "/api/v1/login", json={"name": name, "password": password}, timeout=60)


def refusal(d, text):
    return [line for line in d.log().splitlines() if "auth.login.refused" in line and text in line]


def crews(d):
    return [p for p in children(d.monitor.pid) if "drydock-crew" in pathlib.Path(f"/proc/{p}/comm").read_text()]


def test_a_unix_user_logs_in_with_his_password_and_signs_what_his_group_may(d):
    b = d.browser()
    r = b.post("/login", data={"name": USER, "password": SECRET, "next": "/s/www/"}, allow_redirects=False)
    assert r.status_code == 303 and r.headers["Location"] == "/s/www/", r.text
    me = b.get("/api/v1/whoami").json()
    assert me["user"] == f"unix:{USER}" and f"unix:@{GROUP}" in me["groups"] and me["display"] == "Test of DryDock"
    # the form of the file's page, as a browser sends it
    page = b.get("/s/www/file/docs/a.html").text
    form = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page[page.index('action="/s/www/sign"'):]))
    r = b.post("/s/www/sign", data={**form, "note": "as a UNIX user"}, allow_redirects=False)
    assert r.status_code == 303, r.text
    [record] = [x for x in d.records() if x["note"] == "as a UNIX user"]
    assert record["user"] == f"unix:{USER}" and record["rule"] == {"principal": f"unix:@{GROUP}", "path": "/docs", "role": "sign"}
    assert [f["path"] for f in record["files"]] == ["/docs/a.html"]
    b.csrf = me["csrf"]
    assert b.post("/api/v1/sites/www/sign", json={"paths": ["/index.html"], "as_staged": True}).status_code == 404
    assert SECRET not in d.log()


def test_a_group_that_he_left(d):
    """Groups are remembered for group_cache (1 s here), in a session that goes on and for tokens; then its rules are no more his."""
    b = d.browser()
    b.csrf = b.post("/api/v1/login", json={"name": USER, "password": SECRET}).json()["csrf"]
    token = {"Authorization": "Bearer " + b.post("/api/v1/tokens", json={"label": "t", "role": "sign", "expires": "1h"}).json()["token"]}
    groups = lambda: b.get("/api/v1/whoami").json()["groups"], lambda: requests.get(d.url + "/api/v1/whoami", headers=token, timeout=60).json()["groups"]
    assert all(f"unix:@{GROUP}" in g() for g in groups)
    run("gpasswd", "--delete", USER, GROUP)
    try:
        for g in groups:
            until(lambda g=g: f"unix:@{GROUP}" not in g())
        assert b.post("/api/v1/sites/www/sign", json={"paths": ["/docs/a.html"], "as_staged": True}).status_code == 404
        assert b.get("/s/www/file/docs/a.html").status_code == 404
    finally:
        run("gpasswd", "--add", USER, GROUP)
    for g in groups:
        until(lambda g=g: f"unix:@{GROUP}" in g())


def test_the_daemon_is_not_root_and_its_helper_for_nss_neither(d):
    [daemon] = [p for p in children(d.monitor.pid) if "drydockd" in pathlib.Path(f"/proc/{p}/comm").read_text()]
    assert uid_of(d.monitor.pid) == 0 and uid_of(daemon) == d.uid
    assert sorted(uid_of(p) for p in crews(d)) == sorted([0, d.uid])


def test_who_is_wrong_learns_nothing(d):
    sentences, quickest = set(), 1000
    for name, password in ((USER, "wrong"), ("nobody-" + NAME, SECRET), ("alice", "wrong"), (ROOT, SECRET), ("root", "x"), (USER, SECRET[:-1]),
                           ("unix:" + OTHER, "no"), ("own:" + OTHER, SECRET), ("proxy:" + OTHER, SECRET), (f"@{GROUP}", SECRET), ("../" + USER, SECRET)):
        begun = time.monotonic()
        r = post_login(d, name, password)
        quickest = min(quickest, time.monotonic() - begun)
        assert r.status_code == 403, (name, r.text)
        sentences.add(r.json()["detail"])
    assert sentences == {WRONG}
    assert quickest > 0.2, "an answer that says no waits for a step of time"
    assert refusal(d, f"unix:{USER}") and refusal(d, "root does not log in") and refusal(d, "unknown name")
    assert "nobody-" + NAME not in "\n".join(refusal(d, "")), "a name that nobody has may be a password"
    assert post_login(d, USER).status_code == 200, "and nobody is locked out"


def test_an_account_that_pam_refuses(d):
    run("usermod", "--expiredate", "1", OTHER)
    try:
        r = post_login(d, OTHER)
        assert r.status_code == 403 and r.json()["detail"] == WRONG
        assert refusal(d, "the account is refused")
    finally:
        run("usermod", "--expiredate", "", OTHER)
    run("chage", "--lastday", "0", OTHER)
    try:
        r = post_login(d, OTHER)
        assert r.status_code == 403 and "expired" in r.json()["detail"], r.text
        assert post_login(d, OTHER, "wrong").json()["detail"] == WRONG, "only with the right password"
    finally:
        run("chage", "--lastday", "-1", OTHER)
    assert post_login(d, OTHER).status_code == 200


def test_an_own_account_never_takes_over_a_unix_name(d):
    d.add_account(OTHER, "view", "/", password="own password")
    own = post_login(d, OTHER, "own password")
    assert own.json()["user"] == f"own:{OTHER}" and own.json()["groups"] == []
    assert post_login(d, OTHER, SECRET).status_code == 403, "the first that has the name decides, and no other is tried"
    assert post_login(d, "unix:" + OTHER).json()["user"] == f"unix:{OTHER}"
    assert post_login(d, "unix:" + OTHER, "own password").status_code == 403
    assert d.api("POST", "/api/v1/sites/www/roles", {"principal": OTHER, "path": "/", "role": "view"})[0] == 400, "a short name of two is refused"


def test_many_at_once(d):
    results = []
    threads = [threading.Thread(target=lambda: results.append(post_login(d, USER).status_code)) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    # those beyond the free tries of one name and address may be asked to wait, none may be told that he is wrong
    assert set(results) <= {200, 429} and results.count(200) >= 3, results


def test_a_helper_that_is_killed_comes_back(d):
    for pid in crews(d):
        os.kill(pid, signal.SIGKILL)
    until(lambda: post_login(d, USER).status_code == 200)
    assert "monitor.helper" in d.log()


def test_someone_who_left(d):
    gone = NAME + "x"
    add_user(gone, "--groups", GROUP)
    try:
        b = d.browser()
        b.csrf = b.post("/api/v1/login", json={"name": gone, "password": SECRET}).json()["csrf"]
        token = b.post("/api/v1/tokens", json={"label": "x"}).json()["token"]
        by_token = lambda: requests.get(d.url + "/api/v1/whoami", headers={"Authorization": f"Bearer {token}"}, timeout=60).status_code
        assert by_token() == 200
        r = b.post("/api/v1/sites/www/sign", json={"paths": ["/docs/a.html"], "as_staged": True, "note": "before he left"})
        if r.status_code == 409:
            d.write("/docs/a.html", "new")
            r = b.post("/api/v1/sites/www/sign", json={"paths": ["/docs/a.html"], "as_staged": True, "note": "before he left"})
        assert r.status_code == 200, r.text
    finally:
        run("userdel", gone)
    until(lambda: b.get("/api/v1/whoami").status_code == 401)
    until(lambda: by_token() == 401)
    assert post_login(d, gone).status_code == 403
    assert any(x["user"] == f"unix:{gone}" and x["note"] == "before he left" for x in d.records()), "history keeps his name"
    # somebody else of that name starts anew
    add_user(gone)
    try:
        assert by_token() == 401 and b.get("/api/v1/whoami").status_code == 401
    finally:
        run("userdel", gone)


def test_without_its_service_file_nobody_is_let_in(users):
    with monitored(NAME + "none", 'password_deadline = "5s"') as d:
        d.add_account("alice")
        r = post_login(d, USER)
        assert r.status_code == 503 and "cannot be checked now" in r.json()["detail"]
        assert refusal(d, "no PAM service file")
        assert post_login(d, "nobody-" + NAME).status_code == 503, "the same for a name that nobody has"
        d.login("alice")


def test_a_module_that_asks_for_more_is_not_answered(users, tmp_path):
    with service("auth required pam_unix.so\nauth required pam_userdb.so db=/nonexistent\naccount required pam_permit.so\n") as name, monitored(name) as d:
        assert post_login(d, USER).status_code in (403, 503)
    with service("auth required pam_permit.so\naccount required pam_deny.so\n") as name, monitored(name) as d:
        assert post_login(d, USER).status_code == 403, "account counts, whatever auth said"
        assert post_login(d, "root").status_code == 403


def test_pam_that_hangs_holds_up_nobody_else(users):
    """Eight tries hang; somebody with an account of DryDock's own comes in and looks around meanwhile."""
    hang = "auth [success=1 default=ignore] pam_succeed_if.so quiet user = {0}\nauth requisite pam_exec.so quiet /usr/bin/sleep 1234.{1}\n"
    with service(hang.format(OTHER, os.getpid()) + STOCK) as name, monitored(name, 'password_deadline = "8s"\nworkers = 2') as d:
        d.add_account("alice")
        sleeping = lambda: [p for p in pathlib.Path("/proc").glob("[0-9]*") if f"1234.{os.getpid()}".encode() in read(p / "cmdline")]
        done = []
        # unknown names go through PAM too; names differ, so that the throttle of one name is not what is measured
        threads = [threading.Thread(target=lambda i=i: done.append(post_login(d, USER if not i else f"{NAME}-{i}"))) for i in range(8)]
        for t in threads:
            t.start()
        until(lambda: len(sleeping()) == 8)
        alice = d.login("alice")
        for page in ("/s/www/", "/s/www/tree/", "/s/www/history", "/account", "/s/www/sync"):
            assert alice.get(page).status_code == 200
        assert post_login(d, OTHER).status_code == 200, "nor a UNIX user whose modules do not hang"
        assert not done, "all that happened while they hung"
        for t in threads:
            t.join(60)
        assert [r.status_code for r in done] == [503] * 8
        until(lambda: not sleeping())
        assert "crew.killed" in d.log() and refusal(d, "did not") or refusal(d, "has ended")


def read(place):
    try:
        return place.read_bytes()
    except OSError:
        return b""
