"""Text by its Specific Character Set."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.charset import python_encoding

from dicomlab.part10.charset import codecs_of, decode_text

GERMAN = "Äneas^Rüdiger".encode("latin_1")
JAPANESE = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"  # PS3.5 H.3.1
KOREAN = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"  # PS3.5 I.2
CHINESE = "Wang^XiaoDong=王^小东".encode("gb18030")  # PS3.5 J.4


@pytest.mark.parametrize(
    ("terms", "octets", "text"),
    [
        (["ISO_IR 100"], GERMAN, "Äneas^Rüdiger"),
        (["ISO-IR 100"], GERMAN, "Äneas^Rüdiger"),
        (["ISO_IR 192"], "Äneas^Rüdiger".encode(), "Äneas^Rüdiger"),
        (["ISO_IR 144"], "Люкceмбypг".encode("iso8859_5"), "Люкceмбypг"),
        (["", "ISO 2022 IR 87"], JAPANESE, "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022-IR 87"], JAPANESE, "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], KOREAN, "Hong^Gildong=洪^吉洞=홍^길동"),
        (["GB18030"], CHINESE, "Wang^XiaoDong=王^小东"),
        (["GB18030", "ISO 2022 IR 87"], CHINESE, "Wang^XiaoDong=王^小东"),
        (["ISO_IR 192"], GERMAN, "�neas^R�diger"),
        (["no such term"], b"plain", "plain"),
        ([], GERMAN, "Äneas^Rüdiger"),
        ([""], b"\x1b$B;3ED\x1b(B", "\x1b$B;3ED"),
    ],
    ids=str,
)
def test_decode(terms: list[str], octets: bytes, text: str) -> None:
    assert decode_text(octets, codecs_of(terms), person=True) == text


def test_a_backslash_inside_a_multi_byte_character_separates_nothing() -> None:
    octets = "功\\業".encode("gb18030")  # 0x5C is the second octet of many characters of GBK and GB18030
    tricky = "俓".encode("gb18030")
    assert tricky[1] == 0x5C
    assert decode_text(tricky + b"\\" + octets, codecs_of(["GB18030"])).split("\\") == ["俓", "功", "業"]


@given(st.lists(st.sampled_from([*python_encoding, "nonsense", "ISO 2022IR 87"]), max_size=4), st.binary(max_size=60))
def test_never_fails(terms: list[str], octets: bytes) -> None:
    for person in (False, True):
        assert isinstance(decode_text(octets, codecs_of(terms), person=person), str)
