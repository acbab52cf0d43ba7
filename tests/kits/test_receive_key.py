"""drydock-receive after DryDock's key was changed: it follows the chain of statements, and believes an old key no longer."""
import json
import pathlib
import subprocess
import sys

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))

from delivery import Receiver, Release, Signer, sha, stamp  # noqa: E402

FILES = {"/index.html": b"<h1>one</h1>"}


class Next(Signer):
    """The key that a node's was changed to: its id stays that of the first."""

    def __init__(self, place, before):
        super().__init__(place)
        self.node, self.before = before.node, before

    def statement(self, n, last, seq, site="www", by=None, **members):
        """The members of a delivery that tell of it: it is the n-th change, after that release (None: none)."""
        text = {"v": 1, "site": site, "node": self.node, "seq": seq, "at": stamp(), "from": " ".join(self.before.public), "to": " ".join(self.public),
                "release": last.number if last else 0, "head": sha(last.head) if last else "", **members}
        text = json.dumps(text, sort_keys=True, separators=(",", ":")).encode() + b"\n"
        return [(f"key/{n}", text), (f"key/{n}.sig", (by or self.before).sign(text, "drydock-key"))]


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    first = Signer(tmp_path_factory.mktemp("keys"))
    second = Next(first.key.parent, first)
    third = Next(first.key.parent, second)
    return first, second, third


@pytest.fixture
def receiver(keys):
    r = Receiver(keys[0])
    yield r
    r.close()


def release(signer, number, before=None, text=None, **members):
    # record numbers of Release are number + 1: a change after release N is record N + 2
    return Release(signer, number, {"/index.html": text or b"release %d" % number}, before, **members)


def seq_after(rel):
    return rel.number + 2


@pytest.fixture(scope="module")
def story(keys):
    """Releases 1 and 2 by the first key, 3 and 4 by the second, 5 by the third; a record's number leaves room for the changes."""
    first, second, third = keys
    rec = lambda n: {"record": {"seq": 10 * n, "sha256": sha(b"%d" % n)}}
    one = release(first, 1, **rec(1))
    two = release(first, 2, one, **rec(2))
    three = release(second, 3, two, **rec(3))
    four = release(second, 4, three, **rec(4))
    five = release(third, 5, four, **rec(5))
    return {"releases": (one, two, three, four, five), "changes": (second.statement(1, two, 25), third.statement(2, four, 45)), "rec": rec}


def refused(answer, words):
    assert answer and "refused" in answer and words in answer["refused"], answer


def test_follows_a_change(receiver, story):
    one, two, three, four, five = story["releases"]
    first, second = story["changes"]
    assert "receipt" in receiver.deliver(one.members())
    assert "receipt" in receiver.deliver(two.members(one))
    refused(receiver.deliver(three.members(two)), "the signature is by another key")
    assert "receipt" in receiver.deliver(first + three.members(two)), "the statement and what it is for"
    assert "after 1 change of the key" in receiver.command("status").stdout.decode()
    assert "receipt" in receiver.deliver(four.members(three)), "it is remembered"
    # all from the first on, as a sender would who does not know what is known
    assert "receipt" in receiver.deliver(first + second + five.members(four))
    assert "after 2 changes of the key" in receiver.command("status").stdout.decode()
    assert receiver.live() == five.files


def test_missed_several(receiver, story):
    one, two, three, four, five = story["releases"]
    assert "receipt" in receiver.deliver(one.members())
    assert "receipt" in receiver.deliver(story["changes"][0] + story["changes"][1] + five.members(one, heads=[two, three, four]))
    assert receiver.live() == five.files


def test_a_new_receiver_in_the_middle(keys, story):
    first, second, third = keys
    five = story["releases"][4]
    for lines in (first.line(), first.line('namespaces="git,drydock-release",valid-before="20200101000000Z"') + second.line() + third.line(), third.line()):
        r = Receiver(first)
        (r.state / "allowed_signers").write_text(lines)
        assert "receipt" in r.deliver(story["changes"][0] + story["changes"][1] + five.members()), lines
        r.close()


def test_what_the_old_key_signs_later(receiver, keys, story):
    first, second, third = keys
    one, two, three, four, _ = story["releases"]
    rec, (change, _) = story["rec"], story["changes"]
    receiver.deliver(one.members())
    receiver.deliver(two.members(one))
    # the change is known, and the next release is not here yet
    refused(receiver.deliver(change + release(first, 3, two, b"forged", **rec(3)).members(two)), "the signature is by another key")
    forged = release(first, 3, two, b"forged", **{"record": {"seq": 24, "sha256": sha(b"x")}})
    refused(receiver.deliver(forged.members(two)), "that was changed after release 2")
    assert receiver.live() == two.files
    receiver.deliver(three.members(two))
    for seq in (1, 24, 25, 26, 31):
        refused(receiver.deliver(release(first, 4, three, b"forged", record={"seq": seq, "sha256": sha(b"x")}).members(three)),
                "another key" if seq > 25 else "that was changed after release 2")
    # the second key before its time
    refused(receiver.deliver(release(second, 4, three, b"early", record={"seq": 20, "sha256": sha(b"x")}).members(three)), "changed after release 2")
    assert receiver.live() == three.files


def test_what_the_old_key_signs_otherwise(receiver, keys, story):
    """A receiver that has missed the last release of the old key: another one with its number, or one that stays behind it."""
    first, _, _ = keys
    one, two, three, four, _ = story["releases"]
    rec, (change, _) = story["rec"], story["changes"]
    receiver.deliver(one.members())
    other = release(first, 2, one, b"forged", **rec(2))
    refused(receiver.deliver(change + other.members(one)), "another one than the last that the old key signed")
    refused(receiver.deliver(change + three.members(one, heads=[other])), "another one than the last that the old key signed")
    # in a long row: 2 is the last of the old key, and the forged one is a release before it
    early = release(first, 2, one, b"forged", **rec(2))
    long = Next(first.key.parent, first)
    seven = release(first, 7, two, **rec(7))
    r = Receiver(first)
    r.deliver(one.members())
    refused(r.deliver(long.statement(1, seven, 75) + early.members(one)), "from before a change of the key")
    r.close()
    assert receiver.live() == one.files


def test_a_change_that_denies_what_was_accepted(receiver, keys, story):
    first, _, _ = keys
    one, two = story["releases"][:2]
    receiver.deliver(one.members())
    receiver.deliver(two.members(one))
    thief = Next(first.key.parent, first)
    refused(receiver.deliver(thief.statement(1, one, 15) + release(thief, 3, two, b"forged", **story["rec"](3)).members(two)), "release 2 was accepted here")


def test_another_change_than_the_one_that_is_known(receiver, keys, story):
    first, second, _ = keys
    one, two, three = story["releases"][:3]
    receiver.deliver(one.members())
    receiver.deliver(story["changes"][0] + three.members(one, heads=[two]))
    thief = Next(first.key.parent, first)
    forged = release(thief, 4, three, b"forged", **story["rec"](4))
    refused(receiver.deliver(thief.statement(1, two, 25) + forged.members(three)), "another one than this receiver knows")
    refused(receiver.deliver(thief.statement(2, three, 35) + forged.members(three)), "is of another key than")
    refused(receiver.deliver(thief.statement(2, three, 35, by=second) + forged.members(three)), "is of another key than")


def test_a_change_to_another_key_than_the_file_names(receiver, keys, story):
    """Whoever wrote the file knew the change: with the old key alone nobody leads elsewhere."""
    first, second, _ = keys
    (receiver.state / "allowed_signers").write_text(first.line('namespaces="drydock-release",valid-before="20991231000000Z"') + second.line())
    one, two, three = story["releases"][:3]
    receiver.deliver(one.members())
    thief = Next(first.key.parent, first)
    refused(receiver.deliver(thief.statement(1, one, 15) + release(thief, 2, one, b"forged", **story["rec"](2)).members(one)), "goes to another one than stands there")
    assert "receipt" in receiver.deliver(story["changes"][0] + three.members(one, heads=[two]))
    # of a node that is not in the file at all
    (receiver.state / "allowed_signers").write_text(second.line())
    stranger = Signer(first.key.parent)
    heir = Next(stranger.key.parent, stranger)
    r = Receiver(first)
    refused(r.deliver(heir.statement(1, None, 5) + release(heir, 1, **story["rec"](1)).members()), "by a key that is not in allowed_signers")
    r.close()


@pytest.mark.parametrize("what", ["signature", "foreign signature", "node", "site", "gap", "no signature", "bytes", "loop", "two at once"])
def test_statements_that_are_wrong(receiver, keys, story, what):
    first, second, third = keys
    one, two, three = story["releases"][:3]
    receiver.deliver(one.members())
    receiver.deliver(two.members(one))
    good = story["changes"][0]
    bad = {
        "signature": [good[0], (good[1][0], first.sign(good[0][1], "drydock-release"))],
        "foreign signature": second.statement(1, two, 25, by=third),
        "node": second.statement(1, two, 25, node="0" * 64),
        "site": second.statement(1, two, 25, site="other"),
        "gap": third.statement(2, two, 25),
        "no signature": good[:1],
        "bytes": [(good[0][0], good[0][1].replace(b'"v":1', b'"v": 1')), good[1]],
        "loop": second.statement(1, two, 25, to=" ".join(first.public)),
        "two at once": good + good,
    }[what]
    answer = receiver.deliver(bad + three.members(two))
    assert answer and "refused" in answer, answer
    assert receiver.live() == two.files
    assert "receipt" in receiver.deliver(good + three.members(two)), "and nothing of it stuck"


def test_a_site_that_began_after_a_change(keys, story):
    """Its statements are the installation's, and hold from its first record on."""
    first, second, third = keys
    r = Receiver(first)
    change = second.statement(1, None, 25, site="installation")
    one = release(second, 1, **story["rec"](1))
    two = release(third, 2, one, **story["rec"](2))
    refused(r.deliver(change + release(first, 1, **story["rec"](1)).members()), "another key")
    assert "receipt" in r.deliver(change + one.members())
    assert "receipt" in r.deliver(third.statement(2, one, 15) + two.members(one))
    # one of another log cannot come later
    refused(r.deliver(Next(first.key.parent, third).statement(3, None, 99, site="installation") + release(third, 3, two).members(two)), "is not the first")
    r.close()


def test_a_damaged_file(receiver, story):
    one, two, three = story["releases"][:3]
    receiver.deliver(story["changes"][0] + three.members(heads=[one, two]))
    text = (receiver.state / "keys").read_text()
    assert (receiver.state / "keys").stat().st_mode & 0o777 == 0o600
    (receiver.state / "keys").write_text(text.replace("www", "wwx"))
    refused(receiver.deliver(three.members(two)), "keys is damaged")


def test_ssh_keygen_knows_the_statement(keys, story, tmp_path):
    text, signature = (part for _, part in story["changes"][0])
    (tmp_path / "signers").write_text(keys[0].line('namespaces="drydock-key"'))
    (tmp_path / "sig").write_bytes(signature)
    subprocess.run(["ssh-keygen", "-Y", "verify", "-f", tmp_path / "signers", "-I", "node@drydock.invalid", "-n", "drydock-key", "-s", tmp_path / "sig"], input=text,
                   check=True, capture_output=True)
