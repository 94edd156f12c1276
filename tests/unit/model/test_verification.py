"""What verify() found out: truthy or not, and the same facts in its repr."""

from __future__ import annotations

from dicomlab.model.verification import Verification


def test_an_answer() -> None:
    found = Verification(True, "PACS@host:104", 0.0421, (("implementation", "OFFIS_DCMTK_367"),))
    assert found
    assert repr(found).splitlines() == [
        "PACS@host:104: ✓ answers",
        "  implementation  OFFIS_DCMTK_367",
        "  took            42 ms",
    ]


def test_no_answer_is_falsy_and_says_what_to_do() -> None:
    found = Verification(False, "PACS@host:104", 1.5, advice="start the peer\nor not")
    assert not found
    assert repr(found).splitlines()[0] == "PACS@host:104: ✗ does not answer as it should"
    assert repr(found).splitlines()[-1] == "! start the peer\\x0aor not"
