"""A part of tests/rights/differential, with another seed each day; a million sets are a command of their own."""
import importlib.machinery
import importlib.util
import os
import pathlib
import time

PLACE = pathlib.Path(__file__).resolve().parent
loader = importlib.machinery.SourceFileLoader("differential", str(PLACE / "differential"))
differential = importlib.util.module_from_spec(importlib.util.spec_from_loader("differential", loader))
loader.exec_module(differential)


def test_the_same_as_the_oracle():
    seed = int(os.environ.get("DRYDOCK_SEED", time.time() // 86400))
    print(f"DRYDOCK_SEED={seed}")
    assert differential.run(50_000, seed) is None


def test_the_comparison_sees_a_difference():
    """One answer turned round is found, and so is a wrong deciding rule."""
    case = ({("own:a", "/a"): 3}, "own:a", [], ["/a/b"])
    assert differential.compare(case, "sign own:a /a++\n", True) is None
    assert "instead of" in differential.compare(case, "none own:a /a++\n", True)
    assert "instead of" in differential.compare(case, "sign own:a /++\n", True)
    assert "below" in differential.compare(case, "sign own:a /a.+\n", True)
