"""What two ends agreed on: each presentation context as it was proposed, and what came back for it.

Source
------
PS3.8 §9.3.2.2, §9.3.3.2, Table 9-18; PS3.7 §D.3.3.4 (roles), §D.3.3.5 (SOP Class extended negotiation).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from dicomlab.dimse import tables
from dicomlab.dimse.association import Association
from dicomlab.dimse.dissect import name_of
from dicomlab.dimse.extended import shown_options
from dicomlab.dimse.items import Role
from dicomlab.dimse.negotiation import Peer, Proposal
from dicomlab.dimse.pdu import MAX_CONTEXTS, AnsweredContext, ProposedContext
from dicomlab.errors import UsageError
from dicomlab.model.summary import Summarised, Summary

if TYPE_CHECKING:
    from pandas import DataFrame

Contexts = Iterable[str | tuple[str, Sequence[str]]] | None
"""SOP Classes by UID or PS3.6 keyword, or pairs of one and its transfer syntaxes."""

NO_ANSWER = "no answer"
UNASKED = "accepted in a transfer syntax that was not proposed, so of no use (PS3.8 §9.3.3.2)"
_SCU, _SCP = "SCU", "SCP"


@dataclass(frozen=True, slots=True)
class AgreedContext:
    """One presentation context: what was proposed, and what came back.

    Attributes
    ----------
    association : int
        Which association it was proposed on: 1, or more where 128 contexts were not enough.
    id : int
    abstract_syntax : str
        UID of the service.
    proposed : tuple of str
        UIDs of the transfer syntaxes offered.
    result : str
        In the words of PS3.8 Table 9-18: ``"acceptance"``, ``"abstract syntax not supported"``, ...
    accepted : str
        UID of the transfer syntax accepted; ``""`` if none is of use.
    roles_asked, roles_granted : tuple of str
        ``"SCU"``, ``"SCP"``: the roles that we who ask wanted to play, and may. Without role selection, SCU.
    extended : bytes, optional
        What came back of SOP Class extended negotiation; None where nothing did.
    """

    association: int
    id: int
    abstract_syntax: str
    proposed: tuple[str, ...]
    result: str
    accepted: str
    roles_asked: tuple[str, ...] = (_SCU,)
    roles_granted: tuple[str, ...] = ()
    extended: bytes | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Agreement(Summarised):
    """The table of what was proposed to a peer and what came back. Truthy if any context was accepted.

    Attributes
    ----------
    target : str
        Who was asked.
    contexts : tuple of AgreedContext
    facts : tuple of (name, value)
        What the peer told of itself: implementation, maximum PDU length, asynchronous operations.
    """

    target: str
    contexts: tuple[AgreedContext, ...]
    facts: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, target: str, association: Association, asked: Iterable[Role] = (), number: int = 1) -> Self:
        """Read it off an association that was established; `asked`: the roles proposed."""
        user = association.peer
        answers = {one.id: one for one in association.answered}
        roles = {one.sop_class_uid: one for one in asked}
        granted = {one.sop_class_uid: one for one in user.roles}
        extended = {one.sop_class_uid: one.information for one in user.extended}
        contexts = []
        for one in association.proposed:
            result, accepted = _answer(one, answers.get(one.id))
            uid = one.abstract_syntax
            contexts.append(
                AgreedContext(
                    number, one.id, uid, one.transfer_syntaxes, result, accepted,
                    _names(roles.get(uid)), _granted(roles.get(uid), granted.get(uid)) if accepted else (),
                    extended.get(uid) if accepted else None,
                )
            )  # fmt: skip
        invoked, performed = user.asynchronous or (1, 1)
        facts = (
            ("implementation", user.implementation_version_name or "not named"),
            ("implementation UID", user.implementation_class_uid),
            ("max PDU", str(user.max_pdu) if user.max_pdu else "no limit"),
            ("operations at a time", f"{invoked or 'any number'} invoked, {performed or 'any number'} performed"),
        )
        return cls(target, tuple(contexts), facts)

    def accepted(self, abstract_syntax: str) -> bool:
        """Whether a service, by UID, was accepted in any context."""
        return any(one.accepted for one in self.contexts if one.abstract_syntax == abstract_syntax)

    def __bool__(self) -> bool:
        return any(one.accepted for one in self.contexts)

    def __len__(self) -> int:
        return len(self.contexts)

    def __iter__(self) -> Iterator[AgreedContext]:
        return iter(self.contexts)

    def to_dataframe(self) -> DataFrame:
        """One row for each context, UIDs by their names in PS3.6; ``abstract syntax UID`` beside it."""
        import pandas as pd

        rows = [
            (
                one.association, one.id, name_of(one.abstract_syntax), one.abstract_syntax,
                ", ".join(map(name_of, one.proposed)), one.result, name_of(one.accepted) if one.accepted else None,
                ", ".join(one.roles_asked), ", ".join(one.roles_granted) or None, _options(one) or None,
            )
            for one in self.contexts
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=_COLUMNS)

    def _summary_(self) -> Summary:
        count = sum(bool(one.accepted) for one in self.contexts)
        rows = [
            (
                str(one.id), name_of(one.abstract_syntax), _few(one.proposed), one.result,
                name_of(one.accepted) if one.accepted else "", ", ".join(one.roles_granted), _options(one),
            )
            for one in self.contexts
        ]  # fmt: skip
        title = f"{self.target}: {count} of {len(self.contexts)} presentation contexts accepted"
        names = ("id", "abstract syntax", "proposed", "result", "accepted", "we may be", "extended")
        return Summary(title, self.facts, names, tuple(rows[:50]), max(0, len(rows) - 50))


_COLUMNS = (
    "association", "id", "abstract syntax", "abstract syntax UID", "proposed", "result", "accepted",
    "roles asked", "roles granted", "extended",
)  # fmt: skip


def negotiate(peer: Peer, contexts: Contexts, *, scp: bool) -> Agreement:
    """Propose contexts and release again; :meth:`dicomlab.dimse.node.Node.negotiate` documents it."""
    proposals = proposals_of(contexts, every_service=True)
    if scp:
        proposals = [one._replace(scp=one.abstract_syntax in tables.STORAGE) for one in proposals]
    parts = []
    for number, start in enumerate(range(0, len(proposals), MAX_CONTEXTS), start=1):
        part = proposals[start : start + MAX_CONTEXTS]
        with peer.associate(part, none_is_refused=False) as association:
            parts.append(Agreement.of(str(peer.address), association, roles_of(part), number))
    return Agreement(parts[0].target, tuple(one for part in parts for one in part), parts[0].facts)


def proposals_of(contexts: Contexts, *, every_service: bool = False) -> list[Proposal]:
    """Read what a caller gave; None stands for Verification, query (`every_service`: retrieve too) and Storage.

    Raises
    ------
    UsageError
        Nothing, no list, or a name that is neither a UID nor the keyword of one.
    """
    if contexts is None:
        models = [uid for (_, verb), uid in tables.MODELS.items() if every_service or verb == "FIND"]
        return [Proposal(uid, tables.UNCOMPRESSED) for uid in (tables.VERIFICATION, *models, *tables.COMMON_STORAGE)]
    if isinstance(contexts, str):
        raise UsageError(f"contexts takes a list: contexts=[{contexts!r}]")
    proposals = []
    for one in contexts:
        name, syntaxes = (one, tables.UNCOMPRESSED) if isinstance(one, str) else one
        if isinstance(syntaxes, str):
            syntaxes = (syntaxes,)
        proposals.append(Proposal(uid_of(name), tuple(map(uid_of, syntaxes))))
    if not proposals or not all(one.transfer_syntaxes for one in proposals):
        raise UsageError("at least one presentation context, with at least one transfer syntax (PS3.8 §9.3.2.2)")
    return proposals


def roles_of(proposals: Iterable[Proposal]) -> tuple[Role, ...]:
    """The roles that are asked for with proposals (PS3.7 §D.3.3.4)."""
    wanted = dict.fromkeys(one.abstract_syntax for one in proposals if one.scp)
    return tuple(Role(uid, scu=False, scp=True) for uid in wanted)


def uid_of(name: str) -> str:
    """A UID by itself, or by its keyword in PS3.6; ``UsageError`` where it is neither."""
    from pydicom._uid_dict import UID_dictionary

    found = next((uid for uid, entry in UID_dictionary.items() if entry[4] == name), str(name))
    if not found.replace(".", "").isdecimal() or len(found) > 64:
        raise UsageError(f"{name!r} is neither a UID nor the keyword of one (PS3.6 Table A-1)")
    return found


def _answer(asked: ProposedContext, answer: AnsweredContext | None) -> tuple[str, str]:
    if answer is None:
        return NO_ANSWER, ""
    if answer.result == 0 and answer.transfer_syntax not in asked.transfer_syntaxes:
        return UNASKED, ""
    return answer.meaning, answer.transfer_syntax if answer.result == 0 else ""


def _names(role: Role | None) -> tuple[str, ...]:
    """The roles that a proposal names; without role selection the one who asks is the SCU."""
    if role is None:
        return (_SCU,)
    return tuple(name for name, plays in ((_SCU, role.scu), (_SCP, role.scp)) if plays)


def _granted(asked: Role | None, answer: Role | None) -> tuple[str, ...]:
    """The roles that came back; nobody gets what was not asked for (PS3.7 §D.3.3.4)."""
    if asked is None or answer is None:
        return (_SCU,)
    return tuple(name for name in _names(answer) if name in _names(asked))


def _options(one: AgreedContext) -> str:
    return shown_options(one.extended, tables.VERB_OF.get(one.abstract_syntax, ""))


def _few(uids: Sequence[str]) -> str:
    more = f" and {len(uids) - 2} more" if len(uids) > 2 else ""
    return ", ".join(map(name_of, uids[:2])) + more
