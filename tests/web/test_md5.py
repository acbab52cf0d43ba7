"""Two files with one MD5, as published: blocks of Wang, Feng, Lai and Yu (2004) and of Stevens (2012). MD5 is recorded and
shown because the record format promises it; nothing takes the two for equal."""
import hashlib
import os
import time

import pytest

from drydock import Drydock

WANG = bytes.fromhex(
    "d131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f8955ad340609f4b30283e488832571415a085125e8f7cdc99fd91dbdf280373c5b"
    "d8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306d248cda0e99f33420f577ee8ce54b67080a80d1ec69821bcb6a8839396f9652b6ff72a70")
STEVENS = bytes.fromhex(
    "4dc968ff0ee35c209572d4777b721587d36fa7b21bdc56b74a3dc0783e7b9518afbfa200a8284bf36e8e4b55b35f427593d849676da0d1555d8360fb5f07fea2")


def twin(block, flips):
    other = bytearray(block)
    for at, bit in flips.items():
        other[at] ^= bit
    return bytes(other)


PAIRS = {
    "wang": (WANG, twin(WANG, {19: 0x80, 45: 0x80, 59: 0x80, 83: 0x80, 109: 0x80, 123: 0x80})),
    "stevens": (STEVENS, twin(STEVENS, {35: 0x02, 55: 0x80})),
}
sha256 = lambda data: hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module", params=["yes", "no"], ids=["watched", "scanned"])
def d(request):
    with Drydock(site_config=f"\twatch = {request.param}", accounts=()) as server:
        yield server


def swap(d, path, data):
    """Other bytes, with the size and the times that the file had."""
    place = d.staging / path[1:]
    before = os.stat(place)
    with open(place, "r+b") as f:
        f.write(data)
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = os.stat(place)
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)


def becomes(d, path, state):
    """The watcher tells of a change a little later."""
    end = time.monotonic() + 30
    while d.file(path)["state"] != state and time.monotonic() < end:
        time.sleep(0.02)
    return d.file(path)


@pytest.mark.parametrize("name", PAIRS)
def test_the_pair(d, name):
    one, two = PAIRS[name]
    assert one != two and len(one) == len(two) and hashlib.md5(one).digest() == hashlib.md5(two).digest()
    path = f"/{name}.bin"
    sign = lambda data: d.api("POST", d.api_site("/sign"), {"files": [{"path": path, "sha256": sha256(data)}]})
    d.write(path, one)
    becomes(d, path, "unsigned")
    status, first = sign(one)
    assert status == 200 and d.file(path)["state"] == "signed"

    swap(d, path, two)
    now = becomes(d, path, "changed")
    assert (now["state"], now["md5"], now["sha256"], now["approved_sha256"]) == ("changed", hashlib.md5(one).hexdigest(), sha256(two), sha256(one))

    # what was shown as the first is not signed as the second
    assert sign(one)[0] == 409
    d.sync()
    assert d.live()[path] == one

    status, second = sign(two)
    assert status == 200 and second["seq"] > first["seq"] and d.file(path)["state"] == "signed"
    d.sync()
    assert d.live()[path] == two
    for seq, data in ((first["seq"], one), (second["seq"], two)):
        recorded = d.must("GET", d.api_site(f"/records/{seq}"))["files"][0]
        assert (recorded["md5"], recorded["sha256"]) == (hashlib.md5(data).hexdigest(), sha256(data))
        assert d.must("GET", d.api_site(f"/content?path={path}&version={seq}")) == data
