"""How far a kit is: shown while it runs, to those who see the whole site, and not kept; whatever it prints."""
import json
import os
import pathlib
import pty
import shutil
import subprocess
import sys
import time

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))

from drydock import Drydock, program  # noqa: E402
from test_ssh import Production, user_name  # noqa: E402
from waiting import until  # noqa: E402

SH = "#!/bin/sh\n"
BUILD = pathlib.Path(program()).parent
# Each line of the gate is printed, until it is closed.
KIT = SH + '[ "$1" = test ] && exit 0\nwhile read -r line; do printf "%s\\n" "$line"; done <"$DRYDOCK_PLACE/gate"\n'


@pytest.fixture
def gated():
    """A server whose only kit prints what the test says."""
    with Drydock(files={"/index.html": "<h1>hi</h1>", "/docs/a.html": "a"}, start=False) as d:
        (d.dir / "kits").mkdir()
        (d.dir / "kits" / "own").write_text(KIT)
        (d.dir / "kits" / "own").chmod(0o755)
        os.mkfifo(d.production / "gate", 0o666)
        d.conf.write_text(f'kits = "{d.dir}/kits"\n' + d.conf.read_text().replace('kit = "local"', 'kit = "own"'))
        d.start()
        d.sign("/", recursive=True)
        d.must("POST", d.api_site("/sync/force"), {"reason": "look at it"})
        with open(d.production / "gate", "w", buffering=1) as gate:
            yield d, gate


def far(d, ask=None):
    t = (ask or (lambda path: d.must("GET", path)))(d.api_site("/sync"))["targets"][0]
    return t["done"], t["total"]


def test_shown_while_it_runs_and_not_kept(gated):
    d, gate = gated
    d.add_account("alice")
    d.add_account("carl", "view", "/docs")
    alice, carl = d.login("alice"), d.login("carl")
    run = until(lambda: d.must("GET", d.api_site("/sync")))["run"]
    assert far(d) == (None, None)
    page = alice.get("/s/www/sync").text
    assert 'data-far="production" hidden' in page
    gate.write('{"done":3,"total":12345}\n')
    until(lambda: far(d) == (3, 12345))
    run = d.must("GET", d.api_site("/sync"))["run"]
    target = d.must("GET", d.api_site(f"/sync/runs/{run}"))["targets"][0]
    assert (target["done"], target["total"]) == (3, 12345)
    for address in ("/s/www/sync", f"/s/www/sync/{run}"):
        page = alice.get(address).text
        assert '<progress aria-label="production" value="3" max="12345"></progress> <span data-count>3 of 12,345 when this page was made</span>' in page, page
    # How many files a release has is not for those who see a part of them.
    assert far(d, lambda path: carl.get(path).json()) == (None, None)
    assert "12,345" not in carl.get("/s/www/sync").text and "12,345" not in carl.get(f"/s/www/sync/{run}").text
    # Of nobody knows how many.
    gate.write('{"done":50000}\n')
    until(lambda: far(d) == (50000, None))
    assert '<progress aria-label="production"></progress> <span data-count>50,000 done when this page was made</span>' in alice.get("/s/www/sync").text
    # What makes no sense changes nothing, and is a line like any other.
    nonsense = ['{"done":9,"total":8}', '{"done":-1}', '{"done":"<script>"}', '{"done":1.5,"total":2}', '{"done":99999999999999999999,"total":1}',
                '{"done":1,"total":2', '{"done":{"done":1}}', '[{"done":1}]']
    both = '{"done":5001,"total":6000,"note":"kept"}'
    for line in [*nonsense, both]:
        gate.write(line + "\n")
    until(lambda: far(d) == (5001, 6000))
    # Very many of them cost no place in what is kept.
    for i in range(60000):
        gate.write(f'{{"done":{i},"total":60000}}\n')
    gate.write("the end\n")
    until(lambda: far(d) == (59999, 60000))
    gate.close()
    until(lambda: not d.must("GET", d.api_site("/sync"))["running"])
    target = d.must("GET", d.api_site(f"/sync/runs/{run}"))["targets"][0]
    assert target["output"].splitlines() == [*nonsense, both, "the end"] and (target["done"], target["total"]) == (None, None)
    assert "<progress" not in alice.get("/s/www/sync").text and "<progress" not in alice.get(f"/s/www/sync/{run}").text


def test_told_to_pages_that_stay_open(gated):
    d, gate = gated
    d.add_account("alice")
    alice = d.login("alice")
    run = until(lambda: d.must("GET", d.api_site("/sync"))["run"])
    for address, n in (("/s/www/events", 3), (f"/s/www/sync/{run}/events", 5)):
        with alice.get(address, stream=True) as answer:
            lines = answer.iter_lines(decode_unicode=True)
            for line, expected in ((f'{{"done":{n},"total":12345}}', {"count": f"{n} of 12,345", "done": n, "total": 12345}),
                                   (f'{{"done":{n + 1}}}', {"count": f"{n + 1} done", "done": -1, "total": 0})):
                gate.write(line + "\n")
                # What was so before the stream began may come first.
                while json.loads(next(x[6:] for x in lines if x.startswith("data: ") and "count" in x)) != {"target": "production", **expected}:
                    pass


def test_on_the_terminal(gated):
    d, gate = gated
    ours, theirs = pty.openpty()
    kw = {"user": d.uid, "group": d.gid, "extra_groups": []} if os.geteuid() == 0 else {}
    call = subprocess.Popen([program("drydock"), "sync", "status", "--follow"], stdout=subprocess.PIPE, stderr=theirs, text=True, cwd=d.dir,
                            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(d.dir), "DRYDOCK_DATA": str(d.data)}, **kw)
    os.close(theirs)
    gate.write('{"done":3,"total":12345}\n')
    said = b""
    end = time.monotonic() + 20
    while b"production 3 of 12345" not in said:
        assert time.monotonic() < end, said
        said += os.read(ours, 4096)
    assert b"\n" not in said and b"\x1b[K\r" in said
    gate.close()
    # Once it is over it says how things are.
    out = call.communicate(timeout=30)[0]
    os.close(ours)
    assert call.returncode == 0 and "Newest release: 1." in out and "Running" not in out


# What takes a while: the way to production, whose end reads 3 MB/s; or what rsync says.
SLOW = {"tar-ssh": 1000000, "rsync-ssh": 6000}  # bytes of a file: more than fits into what lies between, or than rsync is too long a way for
READER = """#!/usr/bin/python3
import os, subprocess, sys, time
with subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE) as p:
    while piece := os.read(0, 65536):
        p.stdin.write(piece)
        p.stdin.flush()
        time.sleep(0.02)
    p.stdin.close()
sys.exit(p.returncode)
"""
RSYNC = SH + 'for i in 1 2 3 4 5 6; do printf "\\r  3,000  20%%  0.00kB/s  0:00:00 (xfr#$i, to-chk=4/6)\\r"; sleep 0.4; done; exec /usr/bin/rsync "$@"\n'


@pytest.mark.parametrize("mode,total", [("changes", 12), ("full", None)])
def test_the_local_kit_tells(tmp_path, mode, total):
    """In full it looks first into a place that may be somebody's, and then begins again: a file that is compared twice counts once."""
    for top in ("export", "place"):
        (tmp_path / top).mkdir()
        for i in range(12):
            (tmp_path / top / f"{i}.html").write_text("the same")
    (tmp_path / "list").write_text("".join(f"C {name}\0" for name in sorted(f"{i}.html" for i in range(12))))
    slow = ["strace", "-f", "-o", "/dev/null", "-e", "trace=openat2", "-e", "inject=openat2:delay_enter=150000"]
    kit = subprocess.run([*slow, BUILD / "sync-scripts/local", "sync"], cwd=tmp_path, capture_output=True, text=True, env={
        "PATH": os.environ["PATH"], "ASAN_OPTIONS": "detect_leaks=0", "DRYDOCK_PLACE": str(tmp_path / "place"), "DRYDOCK_EXPORT": str(tmp_path / "export"), "DRYDOCK_MODE": mode,
        "DRYDOCK_CHANGES": str(tmp_path / "list"), "DRYDOCK_PREVIOUS": "0"})
    told = [line for line in map(json.loads, kit.stdout.splitlines()) if "done" in line]
    assert kit.returncode == 0 and any(line["done"] for line in told), kit.stdout
    assert all(0 <= line["done"] <= 12 and line.get("total") == total for line in told), kit.stdout


def test_within_a_large_file(tmp_path):
    for top in ("export", "place"):
        (tmp_path / top).mkdir()
    (tmp_path / "export/large").write_bytes(b"x" * 8_000_000)
    (tmp_path / "list").write_text("A large\0")
    slow = ["strace", "-f", "-o", "/dev/null", "-e", "trace=pread64", "-e", "inject=pread64:delay_enter=20000"]
    kit = subprocess.run([*slow, BUILD / "sync-scripts/local", "sync"], cwd=tmp_path, capture_output=True, text=True, env={
        "PATH": os.environ["PATH"], "ASAN_OPTIONS": "detect_leaks=0", "DRYDOCK_PLACE": str(tmp_path / "place"), "DRYDOCK_EXPORT": str(tmp_path / "export"), "DRYDOCK_MODE": "changes",
        "DRYDOCK_CHANGES": str(tmp_path / "list"), "DRYDOCK_PREVIOUS": "0"})
    told = [line for line in map(json.loads, kit.stdout.splitlines()) if "done" in line]
    assert kit.returncode == 0 and {"done": 0, "total": 1} in told, kit


@pytest.mark.parametrize("kit", SLOW)
def test_our_own_kits_tell(kit):
    files = {f"/docs/{i}": "x" * (SLOW[kit] + i) for i in range(12)}
    with Drydock(files={"/index.html": "x"}, accounts=(), start=False) as d:
        (d.dir / "kits").mkdir()
        p = Production(d)
        text = d.conf.read_text().rstrip()[:-1] + p.target(user_name(d), kit="slow") + "}\n"
        real = d.dir / "kits" / "real"  # here it may be run by another kit
        shutil.copy(BUILD / "sync-scripts" / kit, real)
        for name, content in (("slow", SH + f'PATH={d.dir}/kits:$PATH; export PATH; exec {real} "$@"\n'), ("reader", READER)):
            (d.dir / "kits" / name).write_text(content)
            (d.dir / "kits" / name).chmod(0o755)
        d.conf.write_text(f'kits = "{d.dir}/kits"\n' + text)
        try:
            d.start()
            d.sign("/", recursive=True)
            d.sync()
            (d.dir / "kits" / "rsync").write_text(RSYNC)
            (d.dir / "kits" / "rsync").chmod(0o755)
            if kit == "tar-ssh":
                p.bind(f"{d.dir}/kits/reader ")
            for path, content in files.items():
                d.write(path, content)
            d.sign("/", recursive=True)
            d.must("POST", d.api_site("/sync/force"), {"reason": "look at it"})
            told = until(lambda: [(t["done"], t["total"]) for t in d.must("GET", d.api_site("/sync"))["targets"] if t["done"]])
            assert 0 < told[0][0] < 12 and told[0][1] == 12, told
            until(lambda: not d.must("GET", d.api_site("/sync"))["running"])
            run = d.must("GET", d.api_site("/sync/runs"))["items"][0]
            run = d.must("GET", d.api_site(f"/sync/runs/{run['run']}"))
            assert run["state"] == "ok" and not [t for t in run["targets"] if '"done"' in t["output"] or "in the stream" in t["output"]], run
        finally:
            p.stop()


def test_a_push_that_takes_longer_than_its_deadline():
    """It goes on where it was ended, the first one as well as a later one: so no target needs a deadline that keeps others waiting."""
    first, later = ({f"/docs/{name}{i}": f"{name}{i}" * 250000 for i in range(16)} for name in "ab")
    with Drydock(files=first, accounts=(), start=False, quiet_period="1h") as d:
        (d.dir / "kits").mkdir()
        (d.dir / "kits" / "reader").write_text(READER)
        (d.dir / "kits" / "reader").chmod(0o755)
        shutil.copy(BUILD / "sync-scripts/tar-ssh", d.dir / "kits")  # from there it is not started early, for which there is more time
        p = Production(d)
        p.bind(f"{d.dir}/kits/reader ")
        text = d.conf.read_text()
        d.conf.write_text(f'kits = "{d.dir}/kits"\n' + text[:text.index("\ttarget ")] + p.target(user_name(d), deadline="2s") + "}\n")
        try:
            d.start()
            for files in (first, {**first, **later}):
                for path, content in files.items():
                    d.write(path, content)
                d.sign("/", recursive=True)
                tries = [d.sync(state=None)]
                while tries[-1]["state"] != "ok":
                    assert "longer than 2 s" in tries[-1]["message"] and len(tries) < 15, tries
                    tries.append(d.sync(state=None))
                assert len(tries) > 1
                assert p.live() == {path: content.encode() for path, content in files.items()}
        finally:
            p.stop()
