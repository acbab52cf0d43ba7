"""The conformance tester: a kit that keeps the contract passes, and one that breaks a rule is caught by that rule, and by no other."""
import os
import pathlib
import re
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("DRYDOCK_BUILD", TOP / "build"))
TESTER = TOP / "sync-scripts" / "conformance"

# A kit in the plainest words; BAD is what it does wrong.
KIT = r'''#!/usr/bin/python3 -IS
import filecmp, json, os, shutil, signal, stat, sys, time

BAD = "@BAD@"
TEMPORARY = b".kit-new"
export, place, changes = (os.environ["DRYDOCK_" + name].encode() for name in ("EXPORT", "PLACE", "CHANGES"))
full = os.environ["DRYDOCK_MODE"] == "full"


def fail(text):
    print(json.dumps({"error": text}))
    sys.exit(1)


def kind(path):
    try:
        return stat.S_IFMT(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None


def remove(path):
    if kind(path) == stat.S_IFDIR:
        shutil.rmtree(path)
    elif kind(path):
        os.unlink(path)


def parents(name):
    """What stands in the way of a file, as a directory: made, and never gone through if it is a link."""
    at = place
    for part in name.split(b"/")[:-1]:
        at = os.path.join(at, part)
        if kind(at) == stat.S_IFLNK and BAD == "follows by list" and not full:
            continue
        if kind(at) == stat.S_IFLNK and BAD == "follows in full" and full:
            continue
        if kind(at) != stat.S_IFDIR:
            remove(at)
            os.mkdir(at)


def put(name):
    source, to = os.path.join(export, name), os.path.join(place, name)
    if kind(source) != stat.S_IFREG:
        if BAD == "missing is fine":
            return
        fail("the export has no such file")
    parents(name)
    was = kind(to) == stat.S_IFREG and os.stat(to).st_mode
    with open(source, "rb") as f:
        data = f.read(1 << 20 if BAD == "one megabyte" else -1)
    if kind(to) == stat.S_IFDIR:
        if BAD == "in the list's order":
            fail("a directory is in the way")
        remove(to)
    new = to if was and BAD == "in place" else os.path.join(os.path.dirname(to), TEMPORARY)
    with open(new, "wb") as f:
        f.write(data)
    os.chmod(new, 0o755 if os.stat(source).st_mode & 0o100 and not (BAD == "never executable" and full) or
             BAD == "executable for ever" and was and was & 0o100 else 0o644)
    if BAD != "time of its own":
        os.utime(new, ns=(os.stat(source).st_mtime_ns,) * 2)
    if new != to:
        os.rename(new, to)


def take(name):
    at = os.path.join(place, name)
    if any(kind(os.path.join(place, *name.split(b"/")[:i])) != stat.S_IFDIR for i in range(1, name.count(b"/") + 1)):
        return
    remove(at)
    while BAD != "leaves directories" and (at := os.path.dirname(at)) != place and not os.listdir(at):
        os.rmdir(at)


def is_same(source, to):
    if kind(to) != stat.S_IFREG or (os.stat(source).st_mode ^ os.stat(to).st_mode) & 0o100:
        return False
    if BAD == "size and time":
        return os.path.getsize(source) == os.path.getsize(to) and int(os.path.getmtime(source)) == int(os.path.getmtime(to))
    return filecmp.cmp(source, to, shallow=False)


def by_list():
    with open(changes, "rb") as f:
        entries = [entry for entry in f.read().split(b"\0") if entry]
    if not entries and BAD == "an empty list is all":
        for name in os.listdir(place):
            remove(os.path.join(place, name))
    names = [(entry[:1], entry[2:].strip() if BAD == "strips names" else entry[2:]) for entry in entries]
    if BAD != "in the list's order":
        names.sort(key=lambda entry: entry[0] != b"R")
    for letter, name in names:
        take(name) if letter == b"R" else put(name)


def whole():
    wanted = {os.path.relpath(os.path.join(top, name), export) for top, _, names in os.walk(export) for name in names}
    above = {name.rsplit(b"/", i)[0] for name in wanted for i in range(1, name.count(b"/") + 1)}
    for top, dirs, names in os.walk(place):
        for name in dirs + names:
            at = os.path.join(top, name)
            inside = os.path.relpath(at, place)
            if kind(at) == stat.S_IFDIR and (inside in above or BAD == "keeps directories" and inside not in wanted):
                continue
            if kind(at) == stat.S_IFREG and (inside in wanted or BAD == "keeps directories" and b"old" in inside):
                continue
            if kind(at) == stat.S_IFLNK and BAD == "follows in full" and inside in above:
                continue
            if at != lock:
                remove(at)
    for name in sorted(wanted):
        if not is_same(os.path.join(export, name), os.path.join(place, name)):
            put(name)


if BAD == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if BAD == "slow to end":
    signal.signal(signal.SIGTERM, lambda *_: time.sleep(60))
if sys.argv[1] == "test":
    if BAD != "test of nothing" and kind(place) != stat.S_IFDIR:
        fail("there is no such directory")
    if BAD == "test that writes":
        open(os.path.join(place, b"probe"), "w").close()
        os.unlink(os.path.join(place, b"probe"))
    if BAD != "says nothing":
        print("it is a directory")
    sys.exit(0)
if BAD == "makes the place":
    os.makedirs(place, exist_ok=True)
if kind(place) != stat.S_IFDIR:
    fail("there is no such directory")
lock = os.path.join(place, b".lock")
if BAD == "locked for ever":
    if kind(lock):
        fail("another one is at work")
    open(lock, "w").close()
whole() if full else by_list()
if BAD == "locked for ever":
    os.unlink(lock)
print('{"done":3,"total":3}')
print('{"result": {"added": 1, "changed": 2, "removed": 0, "bytes": 12}, "other": [1.5e3, null, {"a": "\\u00e4\\"\\\\"}]} ')
print('{"done":0}', '{"sent":true}', '{"added":"a \\"done\\":9, b"}', 'not { JSON', '{}', sep="\n")
if BAD.startswith("{"):
    print(BAD)
'''

RULES = {
    "never executable": "a new, empty place gets the release",
    "leaves directories": "a list of changes is carried out, and emptied directories go",
    "an empty list is all": "an empty list changes nothing",
    "executable for ever": "executable or not is part of a file",
    "strips names": "odd names are names",
    "in the list's order": "a file becomes a directory, and a directory a file",
    "size and time": "in full mode bytes decide, not size and time",
    "keeps directories": "in full mode nothing else is left",
    "follows in full": "in full mode links at the place are replaced, never followed",
    "follows by list": "by a list links at the place are never followed",
    "in place": "a changed file is a new file, put in place by its name",
    "time of its own": "files keep their time of change",
    "missing is fine": "a list that the export does not fit is a failure",
    "makes the place": "a place that is not there is a failure",
    "one megabyte": "a large file, and many",
    "test that writes": "test says something, ends well, and touches nothing",
    "says nothing": "test says something, ends well, and touches nothing",
    "test of nothing": "test of a place that is not there fails, and does not make it",
    "deaf": "on SIGTERM it ends, within two seconds",
    "slow to end": "on SIGTERM it ends, within two seconds",
    "locked for ever": "after a run that was ended, a full one leaves the release",
}
JSON = "a line of its output that begins like a JSON object is one, and says what README says"
LINES = ['{"done":3,"total":2}', '{"done":1.5,"total":2}', '{"done":-1}', '{"done":"1","total":"2"}', '{"total":2}', '{"done":1,"total":2',
         '{"error":17}', '{"error":null}', "{'error':'x'}", '{"error":"x"} and more', '{"sent":"yes"}', '{"result":{"added":"1"}}', '{"added":1}',
         '{"done":01}', '{"a":[1,]}', '{"a":"\\x"}', '{"a" 1}', '{"error":"tab\there"}']


def write(tmp_path, bad):
    kit = tmp_path / "kit"
    kit.write_text(KIT.replace("@BAD@", bad.replace("\\", "\\\\").replace('"', '\\"')))
    kit.chmod(0o755)
    return kit


def tried(kit, *argv):
    """(exit status, the rules that it keeps, those that it breaks, all that was said)"""
    r = subprocess.run([TESTER, kit, *argv], capture_output=True, text=True, timeout=300)
    said = [re.findall(rf"^{word} +(.*)$", r.stdout, re.M) for word in ("ok", "FAILED")]
    if r.returncode < 2:
        assert r.stdout.splitlines()[-1] == f"{len(said[0])} passed, {len(said[1])} failed"
    return r.returncode, *said, r.stdout + r.stderr


def test_a_kit_that_keeps_the_contract(tmp_path):
    status, kept, broken, text = tried(write(tmp_path, ""))
    assert (status, broken) == (0, []), text
    # nothing is claimed that no bad kit is tried against
    assert set(kept) == {*RULES.values(), JSON}


@pytest.mark.parametrize("bad", RULES)
def test_is_caught_by_its_rule_and_no_other(tmp_path, bad):
    status, _, broken, text = tried(write(tmp_path, bad))
    assert (status, broken) == (1, [RULES[bad]]), text


def test_a_line_that_is_not_what_it_looks_like(tmp_path):
    """Each is shown; five at once, which is what the tester shows, in a kit that does nothing else."""
    kit = tmp_path / "lines"
    for i in range(0, len(LINES), 5):
        kit.write_text('#!/bin/sh\ncat <<"END"\n' + "\n".join(LINES[i:i + 5]) + '\nEND\nexit 1\n')
        kit.chmod(0o755)
        _, _, broken, text = tried(kit)
        assert JSON in broken and text.count("==>") > 1
        shown = text[text.index("FAILED  " + JSON):].splitlines()
        assert all("          " + line in shown for line in LINES[i:i + 5]), text
    status, _, broken, text = tried(write(tmp_path, LINES[0]))
    assert (status, broken) == (1, [JSON]) and LINES[0] in text, text


@pytest.mark.parametrize("name", ["tar-ssh", "rsync-ssh"])
def test_a_kit_with_a_host_is_not_tried(name):
    status, kept, broken, text = tried(BUILD / "sync-scripts" / name)
    assert (status, kept, broken) == (2, [], [])
    assert f"only a kit whose place is a directory of this machine can be tried, and {name} asks for a host (production cannot be reached" in text


def test_a_host_is_not_tried(tmp_path):
    status, kept, broken, text = tried(write(tmp_path, ""), "host=www.example.org")
    assert (status, kept, broken) == (2, [], []) and "and host=www.example.org was given" in text
    # one that speaks of a host and does without is tried
    kit = write(tmp_path, "says nothing")
    kit.write_text(kit.read_text() + "# DRYDOCK_HOST\n")
    assert tried(kit)[0] == 1
