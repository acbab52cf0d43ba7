#!/usr/bin/env python3
"""A site after many acts, beside one that is as it was on its first day: single signs and history.

    tests/bench/care.py [--prepare] DIR [ACTS]

Makes two sites of the same tree in DIR (Debian's linux-doc, over 15,000 files): `fresh`, signed once, with the few acts that a
list needs; and `old`, with ACTS (100,000) acts of single files more, each one a request of its own to a running server: most sign
a changed file, the others review it or revoke it. What is there already is kept, and acts that are missing are added, so that it
can be prepared early (--prepare) and measured later. Then both servers run, and are asked in turn.
"""
import argparse
import hashlib
import http.client
import json
import os
import pathlib
import shutil
import statistics
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import drydock as lib  # noqa: E402

TREE = "/usr/share/doc/linux-doc-6.1"
CLIENTS = 4
LIMIT = 1.3
ROWS = 20  # of a list: as many as the fresh site has of each kind


def site(place):
    """The server of a kept place; made first, with its whole tree signed, if there is none."""
    if not (place / "signed").exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        shutil.copytree(TREE, place / "tree", ignore_dangling_symlinks=True)
    d = lib.Drydock(keep=place, staging=place / "tree")
    if not (place / "signed").exists():
        d.must("POST", d.api_site("/sign"), {"paths": ["/"], "recursive": True, "as_staged": True})
        (place / "signed").touch()
    while d.must("GET", d.api_site("/sync"))["export_behind"]:
        time.sleep(0.05)
    return d


class Client:
    """One connection that stays open, to one server."""

    def __init__(self, d):
        self.d, self.connection = d, lib.LocalConnection(d.socket, d.uid)

    def ask(self, method, tail, body=None):
        data = json.dumps(body) if body is not None else None
        self.connection.request(method, self.d.api_site(tail), data, {"Content-Type": "application/json"} if data else {})
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {tail}: {answer.status} {text[:400]!r}")
        return json.loads(text)

    def sign(self, path, body):
        (self.d.staging / path[1:]).write_bytes(body)
        self.ask("POST", "/sign", {"files": [{"path": path, "sha256": hashlib.sha256(body).hexdigest()}]})

    def others(self, act, path):
        self.ask("POST", f"/{act}", {"paths": [path], "as_staged": True})


def html_files(d):
    return ["/" + str(p.relative_to(d.staging)) for p in sorted(d.staging.rglob("*.html"))]


def newest(d):
    return d.must("GET", d.api_site("/log?limit=1"))["items"][0]["seq"]


def one_round(client, path, mark):
    """Ten acts on one file, which is approved before and after."""
    for i in range(10):
        if i == 4:
            client.others("review", path)
        elif i == 7:
            client.others("revoke", path)
        else:
            client.sign(path, f"<p>{mark}, {i}, at {time.time_ns()}</p>\n".encode() * 20)


def make_acts(d, n):
    """Until the log has n records. Each client has files of its own."""
    have = newest(d)
    files = html_files(d)
    start = time.monotonic()
    failed = []

    def run(k):
        client, mine = Client(d), files[k::CLIENTS]
        try:
            for i in range(have // 10 + k, -(-n // 10), CLIENTS):
                one_round(client, mine[i // CLIENTS % len(mine)], i)
        except Exception as e:  # told by the thread that waits
            failed.append(e)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(CLIENTS)]
    for t in threads:
        t.start()
    while any(t.is_alive() for t in threads):
        time.sleep(10)
        print(f"{newest(d)} records, {time.monotonic() - start:.0f} s", flush=True)
    if failed:
        raise failed[0]


def lists(path):
    """What is asked of a history: everything; of a file, a directory, a person; signatures only."""
    directory = path.rsplit("/", 1)[0] or "/"
    return {
        "history of the site": {},
        "history of a file": {"path": path},
        "history of a directory": {"path": directory, "recursive": 1},
        "signatures of a person": {"user": None, "act": "sign"},
    }


def measure_pair(name, fresh, old, n):
    """n calls of each, in turn, so that a slow moment of the machine meets both."""
    a, b = [], []
    for i in range(n):
        for times, fn in ((a, fresh), (b, old)):
            start = time.perf_counter()
            fn(i)
            times.append(time.perf_counter() - start)
    f, o = statistics.median(a) * 1000, statistics.median(b) * 1000
    print(f"| {name} | {f:.2f} ms | {o:.2f} ms | {o / f:.3f} | ≤ {LIMIT} | {'yes' if o / f <= LIMIT else '**no**'} |", flush=True)


def cared_for(d):
    """The server puts packs together once a minute, where there are more than 500; before that it is not the site that people meet."""
    while len(list((d.repo / "objects" / "pack").glob("*.pack"))) > 500:
        time.sleep(1)


def measure(fresh, old):
    cared_for(old)
    path = html_files(fresh)[0]
    clients = [Client(fresh), Client(old)]
    for c in clients:
        for i in range(ROWS + 5):  # so that each list has that many rows on both
            c.sign(path, f"<p>{i}, {time.time_ns()}</p>\n".encode())
    print(f"fresh: {newest(fresh)} records, old: {newest(old)} records")
    print("| what | fresh | old | ratio | limit | met |\n|---|---|---|---|---|---|")

    def sign(c):
        return lambda i: c.sign(path, f"<p>measured {i}, {time.time_ns()}</p>\n".encode() * 20)

    measure_pair("sign one file, durable", sign(clients[0]), sign(clients[1]), 60)
    for name, query in lists(path).items():
        def ask(c, query=query):
            words = {**query, "limit": ROWS, **({"user": f"unix:{c.d.user}"} if "user" in query else {})}
            tail = "/log?" + urllib.parse.urlencode(words)
            assert len(c.ask("GET", tail)["items"]) == ROWS, tail
            return lambda i: c.ask("GET", tail)
        measure_pair(name, ask(clients[0]), ask(clients[1]), 100)
    sessions = [d.login("alice") for d in (fresh, old)]

    def page(s):
        return lambda i: s.get(f"/s/www/history?x={i}").raise_for_status()
    measure_pair("page of the history (made, not kept)", page(sessions[0]), page(sessions[1]), 60)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--prepare", action="store_true", help="make what is missing, and measure nothing")
    p.add_argument("dir", type=pathlib.Path)
    p.add_argument("acts", type=int, nargs="?", default=100000)
    o = p.parse_args()
    servers = []
    try:
        for name in ("fresh", "old"):
            servers.append(site(o.dir / name))
        if newest(servers[1]) < o.acts:
            make_acts(servers[1], o.acts)
        if not o.prepare:
            measure(*servers)
    finally:
        for d in servers:
            d.close()


if __name__ == "__main__":
    main()
