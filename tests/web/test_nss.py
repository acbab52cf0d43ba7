"""A user database that does not answer, and passwords of UNIX users where there is no PAM."""
import subprocess

import pytest
import requests

from drydock import Drydock
from waiting import until

# NSS as it is when its server is away: while the file is there, questions for a user do not come back.
HANG = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

static void hang(void)
{
	while (access(PLACE, F_OK) == 0)
		usleep(10000);
}
int getpwuid_r(uid_t u, struct passwd *p, char *b, size_t n, struct passwd **r)
{
	int (*real)(uid_t, struct passwd *, char *, size_t, struct passwd **) = dlsym(RTLD_NEXT, "getpwuid_r");
	hang();
	return real(u, p, b, n, r);
}
int getpwnam_r(const char *s, struct passwd *p, char *b, size_t n, struct passwd **r)
{
	int (*real)(const char *, struct passwd *, char *, size_t, struct passwd **) = dlsym(RTLD_NEXT, "getpwnam_r");
	hang();
	return real(s, p, b, n, r);
}
"""


def test_a_user_database_that_does_not_answer():
    with Drydock(files={"/index.html": "hi"}, config='workers = 2\nnss_deadline = "500ms"\ngroup_cache = "1s"', start=False) as d:
        place, library = d.dir / "hangs", d.dir / "hang.so"
        (d.dir / "hang.c").write_text(HANG)
        subprocess.run(["gcc", "-shared", "-fPIC", f'-DPLACE="{place}"', "-o", str(library), str(d.dir / "hang.c"), "-ldl"], check=True)
        d.start(env={"LD_PRELOAD": str(library)})
        d.add_account("alice")
        alice = d.login("alice")
        assert d.api("GET", "/api/v1/whoami")[0] == 200
        place.write_text("")
        # what was known is known for as long as it is remembered, then nobody is let in on the strength of it
        until(lambda: d.api("GET", "/api/v1/whoami")[0] == 503)
        for _ in range(20):
            status, answer = d.api("GET", "/api/v1/whoami")
            assert status == 503 and "users of this machine" in answer["detail"], answer
            assert alice.get("/s/www/tree/").status_code == 200
            assert alice.get("/s/www/history").status_code == 200, "both workers are not taken"
        r = requests.post(d.url + "/api/v1/login", json={"name": "somebody", "password": "x"}, timeout=60)
        assert r.status_code == 503
        d.login("alice")
        assert [line for line in d.log().splitlines() if "auth.nss.down" in line and "in time" in line]
        place.unlink()
        until(lambda: d.api("GET", "/api/v1/whoami")[0] == 200)
        assert "auth.nss.back" in d.log()
        # children that hung were ended by their own deadline
        assert "crew.killed" in d.log()


@pytest.fixture(scope="module")
def plain():
    with Drydock(files={"/index.html": "hi"}, accounts=("alice",)) as d:
        yield d


def test_unix_passwords_need_a_server_that_was_started_as_root(plain):
    d = plain
    sentences = set()
    for name, password in ((d.user, "x"), ("unix:" + d.user, "x"), ("alice", "wrong"), ("nobody-of-that-name", "x")):
        r = requests.post(d.url + "/api/v1/login", json={"name": name, "password": password}, timeout=60)
        assert r.status_code == 403
        sentences.add(r.json()["detail"])
    assert len(sentences) == 1, "all the same: nothing is said about a name"
    assert "not started as root" in sentences.pop()
    assert d.must("GET", "/api/v1/whoami")["user"] == f"unix:{d.user}", "the local socket works as before"
    assert [line for line in d.log().splitlines() if "auth.login.refused" in line and "no PAM: not started as root" in line]


def test_the_order_of_providers_is_configured():
    with Drydock(files={"/index.html": "hi"}, accounts=("alice",), config='login_order = "own"') as d:
        r = requests.post(d.url + "/api/v1/login", json={"name": d.user, "password": "x"}, timeout=60)
        assert r.json()["detail"] == "Name or password is wrong."
        d.login("own:alice")
    with Drydock(files={"/index.html": "hi"}, accounts=("alice",), config='login_order = "unix"') as d:
        assert requests.post(d.url + "/api/v1/login", json={"name": "alice", "password": "a long password"}, timeout=60).status_code == 403
