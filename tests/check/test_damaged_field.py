"""A definition of a field that is not what the log says: named with its row and what to do, and made again from the log."""
import pytest

from world import Drydock, fsck, sql


@pytest.fixture(scope="module")
def d():
    with Drydock(files={"/docs/a.html": b"a", "/docs/b.html": b"b"}) as server:
        server.must("POST", server.api_site("/fields"), {"path": "/docs", "name": "ticket", "label": "Ticket", "required": True})
        server.must("POST", server.api_site("/sign"), {"paths": ["/docs/a.html"], "as_staged": True, "fields": {"ticket": "A-1"}})
        yield server


@pytest.mark.parametrize("damage", ["SET type = 'memo'", "SET name = 'rules'"])
def test_a_damaged_row(d, damage):
    before = d.must("GET", d.api_site("/fields"))["items"]
    sql(d, f"UPDATE field {damage}")
    d.stop()
    with pytest.raises(RuntimeError) as e:
        d.start()
    assert "a field of the site www is damaged: the row" in str(e.value) and "of the table field" in str(e.value) and "fsck --repair" in str(e.value), e.value
    _, items, _ = fsck(d, status=2)
    assert any(f["subject"].startswith("field") for f in items), items
    fsck(d, "--repair", status=1)
    d.start()
    assert d.must("GET", d.api_site("/fields"))["items"] == before
    status, answer = d.api("POST", d.api_site("/sign"), {"paths": ["/docs/b.html"], "as_staged": True})[:2]
    assert status == 400 and "“Ticket” is missing" in answer["detail"]


def test_a_row_that_is_gone(d):
    """Nothing is asked for while it is gone: fsck says so, beside the running server as well, and puts it back."""
    sql(d, "DELETE FROM field")
    _, items, _ = fsck(d, status=2)
    assert any("ticket" in f["what"] or "field" in f["subject"] for f in items), items
    d.stop()
    fsck(d, "--repair", status=1)
    d.start()
    assert [f["name"] for f in d.must("GET", d.api_site("/fields"))["items"]] == ["ticket"]
