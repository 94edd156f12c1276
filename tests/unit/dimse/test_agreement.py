"""The table of what was proposed and what came back."""

from __future__ import annotations

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, Verification

from dicomlab import trace
from dicomlab.dimse import pdu, tables
from dicomlab.dimse.agreement import NO_ANSWER, UNASKED
from dicomlab.dimse.items import Extended, Role, UserInformation
from dicomlab.dimse.node import Node
from dicomlab.errors import Refused, Unreachable, UsageError
from tests.unit.dimse.conftest import Pacs
from tests.unit.dimse.holdings import CT, EXPLICIT, IMPLICIT, JPEG, MR
from tests.unit.dimse.scripted import Script, playing


def test_each_context_has_its_answer_in_the_words_of_the_standard(filled: Pacs) -> None:
    agreed = filled.node.negotiate(["Verification", (CT, [JPEG, EXPLICIT]), (CT, "1.2.840.10008.1.2.1.99"), "1.2.3.4"])
    assert [(c.id, c.result, c.accepted) for c in agreed] == [
        (1, "acceptance", EXPLICIT),
        (3, "acceptance", JPEG),
        (5, "transfer syntaxes not supported", ""),
        (7, "abstract syntax not supported", ""),
    ]
    assert agreed
    table = agreed.to_dataframe()
    assert table["accepted"].isna().tolist() == [False, False, True, True]
    assert table["proposed"][1] == "JPEG Baseline (Process 1), Explicit VR Little Endian"
    assert table["roles granted"].tolist()[:2] == ["SCU", "SCU"]
    for shown in (repr(agreed), agreed._repr_html_()):
        assert "2 of 4 presentation contexts accepted" in shown
        assert "abstract syntax not supported" in shown


def test_the_default_shows_every_service_and_the_roles_of_a_get(filled: Pacs) -> None:
    plain, roles = filled.node.negotiate(), filled.node.negotiate(scp=True)
    assert len(plain) == len(roles) == 1 + len(tables.MODELS) + len(tables.COMMON_STORAGE)
    assert {c.roles_asked for c in plain} == {("SCU",)}
    assert {c.roles_granted for c in roles if c.abstract_syntax in tables.STORAGE} == {("SCP",)}
    assert {c.roles_granted for c in roles if c.abstract_syntax not in tables.STORAGE} == {("SCU",)}


def test_more_than_128_are_split_over_associations(filled: Pacs) -> None:
    asked = [(uid, [syntax]) for uid in list(tables.STORAGE)[:100] for syntax in (EXPLICIT, IMPLICIT)]
    with trace() as wire:
        agreed = filled.node.negotiate(asked)
    assert wire.counts()["A-ASSOCIATE-RQ"] == wire.counts()["A-RELEASE-RP"] == 2
    assert [c.association for c in agreed] == [1] * 128 + [2] * 72
    assert [c.abstract_syntax for c in agreed] == [uid for uid, _ in asked]
    assert all(c.accepted == syntax for c, (_, (syntax,)) in zip(agreed, asked, strict=True))


def test_answers_that_are_no_answers() -> None:
    """Missing, accepted in what was not proposed, a role that nobody asked for, extended negotiation, 0 = any number."""

    def play(script: Script) -> None:
        request = script.answer()
        first, second, third, *_ = request.contexts
        answers = (
            pdu.AnsweredContext(first.id, 0, JPEG),
            pdu.AnsweredContext(third.id, 0, EXPLICIT),
            pdu.AnsweredContext(77, 0, EXPLICIT),
        )
        user = UserInformation(
            0,
            "1.2.3",
            "",
            asynchronous=(0, 3),
            roles=(Role(MR, scu=True, scp=True),),
            extended=(Extended(MR, b"\1\0"),),
        )
        script.send(pdu.AssociateAccept(request.called, request.calling, answers, user))
        assert second.id == 3
        script.release()

    with playing(play) as address:
        agreed = Node(address).negotiate([CT, "1.2.3.4", MR])
    assert [c.result for c in agreed] == [UNASKED, NO_ANSWER, "acceptance"]
    assert [c.accepted for c in agreed] == ["", "", EXPLICIT]
    assert [c.roles_granted for c in agreed] == [(), (), ("SCU",)]
    assert agreed.contexts[2].extended == b"\1\0"
    assert agreed.to_dataframe()["extended"].tolist()[2] == "01 00"  # of no Query/Retrieve class
    assert dict(agreed.facts)["operations at a time"] == "any number invoked, 3 performed"
    assert dict(agreed.facts)["implementation"] == "not named"


def test_nothing_accepted_is_a_table_not_an_error(filled: Pacs) -> None:
    agreed = filled.node.negotiate(["1.2.3.4"])
    assert not agreed
    assert [c.result for c in agreed] == ["abstract syntax not supported"]


def test_as_pynetdicom_answers() -> None:
    ae = AE("PACS")
    ae.add_supported_context(Verification)
    ae.add_supported_context(CTImageStorage, [EXPLICIT, JPEG], scu_role=False, scp_role=True)
    server = ae.start_server(("127.0.0.1", 0), block=False)
    try:
        node = Node(f"PACS@127.0.0.1:{server.server_address[1]}")
        agreed = node.negotiate(["Verification", (CT, [JPEG]), (CT, [EXPLICIT]), MR], scp=True)
    finally:
        server.shutdown()
    assert [c.accepted for c in agreed] == [IMPLICIT, JPEG, EXPLICIT, ""]  # it takes the first that it has itself
    assert agreed.contexts[1].roles_granted == ("SCP",)
    assert agreed.contexts[3].result == "abstract syntax not supported"
    assert "PYNETDICOM" in dict(agreed.facts)["implementation"]


@pytest.mark.parametrize("contexts", [[], "Verification", ["NoSuchClass"], [(CT, [])], [(CT, ["nonsense"])]])
def test_what_is_no_list_of_contexts_is_said_before_anything_is_sent(contexts: object) -> None:
    with pytest.raises(UsageError):
        Node("PACS@pacs.invalid").negotiate(contexts)  # type: ignore[arg-type]


def test_rejection_and_silence_are_errors_as_for_every_verb(filled: Pacs) -> None:
    with pytest.raises(Refused, match="called AE title"):
        Node(f"OTHER@127.0.0.1:{filled.listener.port}").negotiate()
    with pytest.raises(Unreachable):
        Node("PACS@127.0.0.1:1").negotiate()
