"""What reaches the server raw: shapes that a proxy in front could read differently, bad targets, limits, deadlines."""
import re
import socket
import time

import pytest

from waiting import until

HOST = b"Host: localhost\r\n"
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"


def post(*lines, body=b""):
    return b"POST /login HTTP/1.1\r\n" + HOST + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def get(target=b"/healthz", *lines, version=b"HTTP/1.1"):
    return b"GET " + target + b" " + version + b"\r\n" + b"".join(line + b"\r\n" for line in lines or (b"Host: localhost",)) + b"\r\n"


def test_plain(drydock):
    answer, _ = drydock.raw(get(), timeout=1)
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"ok\n")


SMUGGLING = {
    "two lengths": post(b"Content-Length: 0", b"Content-Length: %d" % len(HIDDEN), body=HIDDEN),
    "the same length twice": post(b"Content-Length: 3", b"Content-Length: 3", body=b"a=b" + HIDDEN),
    "length and coding": post(b"Content-Length: %d" % (5 + len(HIDDEN)), b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + HIDDEN),
    "coding and length": post(b"Transfer-Encoding: chunked", b"Content-Length: 4", body=b"0\r\n\r\n" + HIDDEN),
    "blank before the colon": post(b"Content-Length : %d" % len(HIDDEN), body=HIDDEN),
    "tab before the colon": post(b"Transfer-Encoding\t: chunked", body=b"0\r\n\r\n" + HIDDEN),
    "two codings": post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=b"0\r\n\r\n" + HIDDEN),
    "unknown coding": post(b"Transfer-Encoding: gzip", body=HIDDEN),
    "coding in disguise": post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + HIDDEN),
    "coding list": post(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n" + HIDDEN),
    "coding in HTTP/1.0": post(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + HIDDEN).replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    "length with a sign": post(b"Content-Length: +%d" % len(HIDDEN), body=HIDDEN),
    "length list": post(b"Content-Length: 0, 0", body=HIDDEN),
    "length in hexadecimal": post(b"Content-Length: 0x0", body=HIDDEN),
    "negative length": post(b"Content-Length: -1", body=HIDDEN),
    "empty length": post(b"Content-Length:", body=HIDDEN),
    "huge length": post(b"Content-Length: 99999999999999999999", body=HIDDEN),
    "two hosts": get(b"/healthz", b"Host: localhost", b"Host: localhost") + HIDDEN,
    "no host": get(b"/healthz", b"X: y") + HIDDEN,
    "no host in HTTP/1.0": get(b"/healthz", b"X: y", version=b"HTTP/1.0") + HIDDEN,
    "bare line feeds": b"GET /healthz HTTP/1.1\nHost: localhost\n\n" + HIDDEN,
    "a bare line feed after the request line": b"GET /healthz HTTP/1.1\nHost: localhost\r\n\r\n" + HIDDEN,
    "a bare line feed between headers": b"GET /healthz HTTP/1.1\r\nX: a\nHost: localhost\r\n\r\n" + HIDDEN,
    "a bare line feed after an empty value": b"GET /healthz HTTP/1.1\r\nX:\nHost: localhost\r\n\r\n" + HIDDEN,
    "a folded header": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\r\n  b\r\n\r\n" + HIDDEN,
    "a folded coding": post(b"Transfer-Encoding:", b" chunked", body=b"0\r\n\r\n" + HIDDEN),
    "a fold of blanks": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\r\n \r\n\r\n" + HIDDEN,
    "a NUL in a value": b"GET /healthz HTTP/1.1\r\nX: a\0b\r\nHost: localhost\r\n\r\n" + HIDDEN,
    "a NUL in the last value": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n" + HIDDEN,
    "a NUL in the target": b"GET /healthz\0x HTTP/1.1\r\nHost: localhost\r\n\r\n" + HIDDEN,
    "a header without a colon": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX\r\n\r\n" + HIDDEN,
    "a body on GET": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
}


@pytest.mark.parametrize("shape", SMUGGLING)
def test_smuggling(drydock, shape):
    """One refusal, a closed connection, and the hidden request is never answered."""
    answer, closed = drydock.raw(SMUGGLING[shape], timeout=3)
    assert closed, answer
    status = int(answer.split(b" ", 2)[1])
    assert status in (400, 413, 501), answer
    assert b"404" not in answer and b"303" not in answer and b"\n200 " not in answer
    assert b"/hidden" not in drydock.log().encode()


TARGETS = {
    "encoded NUL": (b"/heal%00thz", 400),
    "encoded NUL in the query": (b"/healthz?a=%00", 400),
    "broken escape": (b"/heal%zz", 400),
    "short escape": (b"/heal%4", 400),
    "two slashes": (b"//healthz", 400),
    "slashes inside": (b"/s/www//tree", 400),
    "dot dot": (b"/static/../healthz", 400),
    "encoded dot dot": (b"/static/%2e%2e/healthz", 400),
    "half encoded dot dot": (b"/static/.%2E/healthz", 400),
    "dot": (b"/./healthz", 400),
    "encoded slash": (b"/static/a%2fb", 400),
    "doubly encoded dot dot": (b"/static/%252e%252e", 404),
    "bad UTF-8": (b"/static/%ff", 400),
    "overlong UTF-8": (b"/static/%c0%ae%c0%ae", 400),
    "surrogate": (b"/static/%ed%a0%80", 400),
    "raw UTF-8": ("/static/é".encode(), 400),
    "encoded line feed": (b"/static/a%0ab", 400),
    "backslash": (b"/static\\a", 400),
    "absolute": (b"http://localhost/healthz", 400),
    "blank": (b"/heal thz", 400),
    "20,000 bytes": (b"/" + b"a" * 20000, 414),
    "60,000 bytes": (b"/" + b"a" * 60000, 414),
}


@pytest.mark.parametrize("case", TARGETS)
def test_target(drydock, case):
    target, status = TARGETS[case]
    answer, _ = drydock.raw(get(target), timeout=1)
    assert int(answer.split(b" ", 2)[1]) == status, answer


@pytest.mark.parametrize("path,status", [
    ("/s/www/tree/" + "a/" * 2500 + "a", 400),
    ("/s/www/tree/" + "a" * 256, 400),
    ("/s/www/tree/.git/config", 400),
    ("/s/www/tree/a/%2e%2e/b", 400),
    ("/s/www/tree/a%00b", 400),
    ("/s/www/tree/a%0Ab", 400),
    ("/s/www/tree//a", 400),
    ("/s/www/tree/nothing", 404),
    ("/s/none/tree/", 404),
    ("/s/www/tree/", 200),
    ("/s/www/tree", 200),
    ("/s/www/tree/docs/", 200),
])
def test_paths(drydock, path, status):
    alice = drydock.login()
    answer, _ = drydock.raw(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: drydock=" +
                            alice.cookies["drydock"].encode() + b"\r\n\r\n", timeout=5)
    assert int(answer.split(b" ", 2)[1]) == status, answer[-500:]


@pytest.mark.parametrize("query,status", [
    ("a=1&a=2", 400), ("a=1&%61=2", 400), ("a=%ff", 400), ("a=%4", 400), ("path=/a/../b", 400), ("path=//a", 400),
    ("path=a", 400), ("path=/%00", 400), ("path=/" + "a" * 5000, 400),
])
def test_query(drydock, query, status):
    assert drydock.api("GET", "/api/v1/sites/www/status?" + query)[0] == status


@pytest.mark.parametrize("host,status", [
    ("localhost", 200), ("127.0.0.1:8087", 200), ("[::1]", 200), ("evil.example", 421), ("localhost.evil.example", 421),
    ("a@localhost", 400), ("a/b", 400), ("", 400), ("localhost:0", 400), ("localhost:99999", 400), ("[::1", 400),
])
def test_host(drydock, host, status):
    answer, _ = drydock.raw(get(b"/healthz", b"Host: " + host.encode()), timeout=1)
    assert int(answer.split(b" ", 2)[1]) == status, answer


def test_methods(drydock):
    answer, closed = drydock.raw(b"POST /healthz HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc", timeout=2)
    assert answer.startswith(b"HTTP/1.1 405 ") and b"\r\nAllow: GET, HEAD\r\n" in answer and closed
    answer, _ = drydock.raw(b"OPTIONS /login HTTP/1.1\r\n" + HOST + b"\r\n", timeout=2)
    assert answer.startswith(b"HTTP/1.1 405 ") and b"\r\nAllow: GET, HEAD, POST\r\n" in answer
    answer, _ = drydock.raw(b"TRACE /healthz HTTP/1.1\r\n" + HOST + b"\r\n", timeout=2)
    assert answer.startswith(b"HTTP/1.1 501 ")
    answer, _ = drydock.raw(b"HEAD /healthz HTTP/1.1\r\n" + HOST + b"\r\n", timeout=1)
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"\r\n\r\n") and b"Content-Length: 3\r\n" in answer


def test_headers_too_many_and_too_long(drydock):
    answer, _ = drydock.raw(get(b"/healthz", b"Host: localhost", *(b"X%d: y" % i for i in range(100))), timeout=2)
    assert answer.startswith(b"HTTP/1.1 431 ")
    answer, _ = drydock.raw(get(b"/healthz", b"Host: localhost", b"Cookie: a=" + b"b" * 60000), timeout=2)
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_body_limits(drydock):
    answer, closed = drydock.raw(post(b"Content-Length: 300000", body=b"a"), timeout=2)
    assert answer.startswith(b"HTTP/1.1 413 ") and closed
    # chunked: nobody said how much; what is too much is read for a while, and refused at the end
    chunk = b"1000\r\n" + b"a" * 4096 + b"\r\n"
    answer, _ = drydock.raw(post(b"Transfer-Encoding: chunked", body=chunk * 10 + b"0\r\n\r\n"), timeout=2)
    assert answer.startswith(b"HTTP/1.1 413 ")
    # and not for ever
    answer, closed = drydock.raw(post(b"Transfer-Encoding: chunked", body=chunk * 1000), timeout=3)
    assert closed and not answer.startswith(b"HTTP/1.1 2")


def test_body_types(drydock):
    status, problem = drydock.api("POST", "/api/v1/sites/www/selection", b"a=1", headers={"Content-Type": "text/plain"})
    assert status == 415 and problem["code"] == "type"
    status, problem = drydock.api("POST", "/api/v1/sites/www/selection", b"{", headers={"Content-Type": "application/json"})
    assert status == 400
    status, problem = drydock.api("POST", "/api/v1/sites/www/selection", b'{"paths":["/"],"paths":["/"]}')
    assert status == 400
    status, problem = drydock.api("POST", "/api/v1/sites/www/selection", b"a=1&a=2",
                                  headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert status == 400


def test_pipelined(drydock):
    answer, _ = drydock.raw(get() + get(b"/nothing") + get(), timeout=1)
    assert [a.split(b" ")[0] for a in answer.split(b"HTTP/1.1 ")[1:]] == [b"200", b"404", b"200"]


def ended_after(drydock, sent, more):
    """The seconds until the server ends a connection that sent this, and then a little more now and then."""
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", drydock.port)) as s:
        s.sendall(sent)
        s.settimeout(0.2)
        while time.monotonic() - start < 15:
            try:
                s.sendall(more)
                if s.recv(100) == b"":
                    break
            except socket.timeout:
                pass
            except OSError:
                break
    return time.monotonic() - start


@pytest.mark.parametrize("sent", [b"", b"GET", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"])
def test_slow_headers(drydock, sent):
    """One byte now and then renews the library's timeout, not ours (2 s here, looked at twice a second)."""
    assert 1 < ended_after(drydock, sent, sent and b"X") < 6


def test_slow_body(drydock):
    assert 2 < ended_after(drydock, post(b"Content-Length: 1000", b"Content-Type: application/x-www-form-urlencoded"), b"a") < 7


def test_2000_idle_and_slow(drydock):
    """They cost nothing but their place, and go away; others are served meanwhile."""
    crowd = []
    try:
        for i in range(2000):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(("127.0.0.1", drydock.port))
            crowd.append(s)
            if i % 100 == 99:
                time.sleep(0.02)
        time.sleep(0.3)
        for s in crowd[::2]:
            try:
                s.send(b"GET / HTTP/1.1\r\nHost: loc")
            except OSError:
                pass
        start = time.monotonic()
        answer, _ = drydock.raw(get(), timeout=5, wait_close=False)
        assert answer.startswith(b"HTTP/1.1 200 ") and time.monotonic() - start < 2
        until(lambda: re.search(rb"drydock_http_connections \d\d?\n", drydock.raw(get(b"/metrics", b"Host: localhost", b"Connection: close"))[0]), 15)
    finally:
        for s in crowd:
            s.close()
