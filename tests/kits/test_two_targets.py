"""A site of many files and two targets over real ssh, one by tar and one by rsync, through many releases with kills of daemon,
kit and receiver: in the end both are the approved tree, byte for byte, and each release has its receipt.

DRYDOCK_SOAK=1: 10,000 files and 20 releases. DRYDOCK_SEED: which changes and which kills.
"""
import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))
sys.path.insert(0, str(TOP / "tests" / "kits"))

from delivery import pack  # noqa: E402
from drydock import Drydock, program  # noqa: E402
from test_ssh import Production, user_name  # noqa: E402
from waiting import until  # noqa: E402

SOAK = "DRYDOCK_SOAK" in os.environ
FILES, RELEASES = (10000, 20) if SOAK else (500, 6)
SEED = int(os.environ.get("DRYDOCK_SEED", "5"))


def processes(d, *words):
    """Those of this test, by their environment, whose command line has one of the words."""
    out = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
                ours = os.fsencode(d.dir) in (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if ours and any(word in line for word in words):
                out.append(int(entry.name))
    return out


def kill_some(pids, dice):
    for pid in pids:
        if dice.random() < 0.7:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue


def change(d, files, dice, number):
    """About one file of a hundred: changed, new, or gone."""
    gone, paths = [], sorted(files)
    dice.shuffle(paths)
    for i, path in zip(range(max(4, FILES // 100)), paths):
        kind = dice.randrange(4)
        if kind == 0 and len(files) > FILES // 2:
            d.remove(path)
            del files[path]
            gone.append(path)
        else:
            path = f"/new{number}/{i}.html" if kind == 1 else path
            files[path] = dice.randbytes(dice.randrange(1, 20000 if i else 500000))
            d.write(path, files[path])
    d.sign("/", recursive=True)
    if gone:
        d.revoke(*gone)


def settled(now):
    return not now["running"] and not now["pending_since"] and now["release"] and \
        all(t["state"] == "confirmed" and t["release"] == now["release"] for t in now["targets"])


def through(d, machines, dice, kills):
    """One release to everywhere, while things are killed."""
    left = dice.randrange(1, 4)
    end = time.monotonic() + 300
    d.must("POST", d.api_site("/sync/force"), {"reason": "the next one"})
    while True:
        if left:
            # When it hits is left to chance: that is the test.
            time.sleep(dice.random() * 0.4)
            what = dice.choice(("daemon", "kit", "receiver"))
            if what == "daemon":
                d.kill()
                d.start()
            elif what == "kit":
                kill_some(processes(d, "sync-scripts/tar-ssh", "sync-scripts/rsync-ssh"), dice)
            else:
                kill_some(processes(d, *(f"receive {m.state}" for m in machines), *(f"receive\0{m.state}" for m in machines)), dice)
            kills[what] = kills.get(what, 0) + 1
            left -= 1
        now = d.must("GET", d.api_site("/sync"))
        if settled(now):
            return now["release"]
        assert time.monotonic() < end, now
        if not now["running"] and not left:
            d.must("POST", d.api_site("/sync/force"), {"reason": "again"})
        time.sleep(0.05)


def receipts_of(d, name, machine, tmp_path):
    """{release: head} of all receipts, each checked by ssh-keygen."""
    signers, signature = tmp_path / "signers", tmp_path / "signature"
    signers.write_text("receiver " + (machine.state / "node.pub").read_text())
    out, before = {}, None
    while True:
        page = d.must("GET", d.api_site("/sync/runs" + (f"?before={before}" if before else "")))
        for run in page["items"]:
            for t in d.must("GET", d.api_site(f"/sync/runs/{run['run']}"))["targets"]:
                if t["name"] != name or "receipt" not in t:
                    continue
                signature.write_text(t["signature"])
                subprocess.run(["ssh-keygen", "-Y", "verify", "-f", signers, "-I", "receiver", "-n", "drydock-receipt", "-s", signature],
                               input=t["receipt"].encode(), check=True, capture_output=True)
                receipt = json.loads(t["receipt"])
                assert receipt["number"] == run["release"] and receipt["site"] == d.site
                assert out.setdefault(receipt["number"], receipt["head"]) == receipt["head"]
        before = page.get("next")
        if not before:
            return out


def paper(d, number, what):
    return subprocess.run([program("drydock"), "--data", str(d.data), "--site", d.site, "release", "show", str(number), "--paper", what],
                          capture_output=True, check=True).stdout


def test_two_targets_through_everything(tmp_path):
    dice = random.Random(SEED)
    files = {f"/d{i % 97}/f{i}.html": b"%d " % i * dice.randrange(1, 300) for i in range(FILES)}
    began, kills = time.monotonic(), {}
    with Drydock(files=files, accounts=(), start=False) as d:
        machines = [Production(d)]
        try:
            machines.append(Production(d, "elsewhere"))
            blocks = machines[0].target(user_name(d)) + machines[1].target(user_name(d), kit="rsync-ssh").replace('"machine"', '"second"')
            d.conf.write_text(d.conf.read_text().rstrip()[:-1] + blocks + "}\n")
            d.start()
            d.sign("/", recursive=True)
            numbers = [through(d, machines, dice, kills)]
            then = {numbers[0]: dict(files)}
            for n in range(2, RELEASES + 1):
                change(d, files, dice, n)
                numbers.append(through(d, machines, dice, kills))
                then[numbers[-1]] = dict(files)
                for m in machines:
                    assert m.live() == files, n
            assert sorted(set(numbers)) == numbers and len(numbers) == RELEASES
            heads = {n: paper(d, n, "head") for n in numbers}
            for name, m in zip(("machine", "second"), machines):
                assert m.live() == files == d.live()
                # Unbroken: a receipt for each release, for its head, and each head names the one before.
                told = receipts_of(d, name, m, tmp_path)
                assert told == {n: hashlib.sha256(heads[n]).hexdigest() for n in numbers}
                assert d.run(program("drydock-receive"), "verify", m.state, check=False).stdout.endswith(" 0 differences\n")
                # An old release again, with everything that belongs to it.
                old = numbers[-2]
                replay = pack([(f"release/{old}", heads[old]), (f"release/{old}.sig", paper(d, old, "signature")), ("manifest", b"")])
                before = m.accepted()
                r = subprocess.run([program("drydock-receive"), "receive", m.state], input=replay, capture_output=True)
                answer = json.loads(r.stdout.splitlines()[-1])
                assert "is older" in answer["refused"] and m.accepted() == before and m.live() == files
            for x, y in zip(numbers, numbers[1:]):
                assert json.loads(heads[y])["previous"] == hashlib.sha256(heads[x]).hexdigest()
            # The way back is a release of its own.
            old = numbers[len(numbers) // 2]
            shown = d.must("GET", d.api_site(f"/releases/{old}/rollback"))["digest"]
            d.must("POST", d.api_site(f"/releases/{old}/rollback"), {"reason": "the test", "shown": shown})
            now = lambda: d.must("GET", d.api_site("/sync"))  # noqa: E731
            until(lambda: settled(now()) and now()["release"] != numbers[-1], why=now)
            for m in machines:
                assert m.live() == then[old] and m.accepted()["number"] > numbers[-1]
            runs = d.must("GET", d.api_site("/sync"))["run"]
            print(f"{FILES} files, {RELEASES} releases, {runs} runs, kills {kills}, {time.monotonic() - began:.0f} s")
        finally:
            for m in machines:
                m.stop()
