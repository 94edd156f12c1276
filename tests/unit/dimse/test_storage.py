"""The Storage service on one association: dealing contexts out, choosing one, and encoding anew."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.filereader import read_dataset

from dicomlab.dimse.negotiation import Proposal, peer_of
from dicomlab.dimse.storage import batches, recode, send_instance
from dicomlab.errors import ServiceError
from dicomlab.model.values import uid_like
from dicomlab.part10.files import read_file_meta
from tests.unit.dimse.holdings import BIG_ENDIAN, CT, EXPLICIT, IMPLICIT, JPEG, instance, write
from tests.unit.dimse.scripted import Script, playing


def test_each_pair_has_a_context_of_its_own() -> None:
    ((proposals, dealt),) = batches(
        [("1.1", JPEG), ("1.1", EXPLICIT), ("1.1", JPEG), ("1.2", BIG_ENDIAN)], lambda one: one
    )
    assert dealt == [("1.1", JPEG), ("1.1", EXPLICIT), ("1.1", JPEG), ("1.2", BIG_ENDIAN)]
    assert {(p.abstract_syntax, p.transfer_syntaxes) for p in proposals} == {
        ("1.1", (JPEG,)), ("1.1", (EXPLICIT,)), ("1.1", (IMPLICIT,)),
        ("1.2", (BIG_ENDIAN,)), ("1.2", (EXPLICIT,)), ("1.2", (IMPLICIT,)),
    }  # fmt: skip
    assert not any(p.scp for p in proposals)


def test_more_than_128_pairs_need_several_associations() -> None:
    items = [(f"1.{n}", JPEG) for n in range(300)] + [(f"2.{n}", EXPLICIT) for n in range(100)]
    dealt = list(batches(items, lambda one: one))
    assert [one for _, part in dealt for one in part] == items
    for proposals, part in dealt:
        assert len(proposals) <= 128
        assert {(p.abstract_syntax, p.transfer_syntaxes[0]) for p in proposals} >= set(part)
    assert len(dealt) == 7
    for proposals, _ in dealt:  # the default transfer syntax for every abstract syntax, in a context of its own
        assert {p.abstract_syntax for p in proposals if p.transfer_syntaxes == (IMPLICIT,)} == {
            p.abstract_syntax for p in proposals
        }
    assert list(batches([], lambda one: one)) == []


def test_an_originator_beyond_ascii_is_passed_on_as_far_as_it_can_be() -> None:
    told: list[str] = []

    def play(script: Script) -> None:
        script.establish()
        command, _ = script.message()
        told.append(command.text("MoveOriginatorApplicationEntityTitle"))
        script.say(command.response(0))
        script.release()

    with playing(play) as address:
        peer = peer_of(address, "LAB1")
        with peer.associate([Proposal(CT, (EXPLICIT,))]) as association:
            status, _ = send_instance(association, association.contexts[1], "1.2.3", b"ab", originator=("L\ufffdB", 1))
    assert (status, told) == (0, ["L?B"])


@pytest.mark.parametrize("source", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
@pytest.mark.parametrize("target", [IMPLICIT, EXPLICIT])
def test_encoding_anew_keeps_every_value(tmp_path: Path, source: str, target: str) -> None:
    (path,) = write(tmp_path, instance(1, syntax=source))
    octets = path.read_bytes()[read_file_meta(path).length :]
    got = read_dataset(BytesIO(recode(octets, source, target)), target == IMPLICIT, is_little_endian=True)
    want = dcmread(path)
    pixels, expected = got.pop("PixelData").value, want.pop("PixelData").value
    assert got == want
    if source == BIG_ENDIAN:
        expected = b"".join(expected[i : i + 2][::-1] for i in range(0, len(expected), 2))
    assert pixels == expected


@pytest.mark.parametrize("source", [EXPLICIT, "1.2.840.10008.1.2.1.99"])
def test_what_is_broken_is_not_encoded_anew(source: str) -> None:
    with pytest.raises(ServiceError, match="can't be encoded anew") as caught:
        recode(b"\x08\0\x18\0UI\xff\x001.2", source, IMPLICIT)
    assert caught.value.status == 0xC000


@pytest.mark.parametrize(
    ("text", "ok"), [("1.2.3", True), ("", False), ("1" * 65, False), ("1.2/..", False), ("١", False)]
)
def test_what_can_be_a_uid(text: str, ok: bool) -> None:
    assert uid_like(text) is ok
