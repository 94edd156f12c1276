"""Which planes make a volume, and what is said of those that don't."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.media.geometry import Plane, Stack, stacks

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def plane(
    number: int, position: Sequence[float] | None, orientation: Sequence[float] | None = AXIAL, **more: Any
) -> Plane:
    traits = {name: more.pop(name) for name in tuple(more) if name[0].isupper()}
    return Plane(
        number, 0, (4, 5), position and tuple(position), orientation and tuple(orientation),
        more.pop("spacing", (2.0, 3.0)), number=number, traits=traits, **more,
    )  # fmt: skip


def row(zs: Sequence[float], **more: Any) -> list[Plane]:
    return [plane(number, (1.0, 2.0, z), **more) for number, z in enumerate(zs)]


def only(planes: list[Plane]) -> Stack:
    found = stacks(planes)
    assert len(found) == 1
    return found[0]


def test_the_affine_takes_indices_to_positions() -> None:
    stack = only(row([9.0, 3.0, 6.0]))
    assert [one.source for one in stack.planes[0] if one] == [1, 2, 0]
    assert stack.affine is not None
    assert stack.affine.tolist() == [[3, 0, 0, 1], [0, 2, 0, 2], [0, 0, 3, 3], [0, 0, 0, 1]]
    assert stack.notes == ()


def test_oblique_planes() -> None:
    turn = np.array([[0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    normal = np.cross(*turn)
    stack = only([plane(n, (n * 1.5 * normal).tolist(), turn.ravel().tolist()) for n in range(5)])
    assert stack.affine is not None
    assert np.allclose(stack.affine[:3, 2], 1.5 * normal)
    assert np.allclose(stack.affine[:3, 0], 3 * turn[0])
    assert stack.tilt_degrees == 0


def test_a_gap_is_found_and_can_be_filled() -> None:
    stack = only(row([0.0, 2.0, 6.0, 8.0, 14.0]))
    assert stack.gaps == (2, 5, 6)
    assert "3 slices are missing, at 2, 5, 6" in stack.notes
    filled = stack.filled()
    assert [one is None for one in filled.planes[0]] == [False, False, True, False, False, True, True, False]
    assert filled.affine is not None
    assert filled.affine[2, 2] == 2


def test_uneven_spacing_has_no_affine() -> None:
    stack = only(row([0.0, 2.0, 3.1, 5.3, 9.0]))
    assert stack.affine is None
    assert any(note.startswith("uneven: from 1.1 to 3.7 mm") for note in stack.notes)


def test_rounding_in_the_header_is_no_unevenness() -> None:
    stack = only(row([round(0.3333333 * n, 3) for n in range(100)]))
    assert stack.affine is not None
    assert not stack.gaps


def test_gantry_tilt_shears() -> None:
    stack = only([plane(n, (0.0, n * np.tan(np.radians(15)) * 2, n * 2.0)) for n in range(6)])
    assert stack.tilt_degrees == pytest.approx(15)
    assert any("tilted by 15.0 degrees" in note for note in stack.notes)
    assert stack.affine is not None
    assert np.allclose(stack.affine @ [0, 0, 5, 1], [0, 10 * np.tan(np.radians(15)), 10, 1])


def test_planes_off_the_line_are_uneven_though_their_distances_are_not() -> None:
    planes = [plane(n, (0.0, 3.0 * (n == 2), n * 2.0)) for n in range(6)]
    assert only(planes).affine is None


def test_duplicates_that_nothing_tells_apart() -> None:
    stack = only(row([0.0, 2.0, 2.0, 4.0]))
    assert stack.duplicates == 1
    assert any("1 planes lie where others lie" in note for note in stack.notes)
    less = stack.without_duplicates()
    assert [one.source for one in less.planes[0] if one] == [0, 1, 3]
    assert (less.duplicates, less.affine is not None) == (0, True)


def test_duplicates_of_every_step_are_left_out_and_no_step_is_lost() -> None:
    steps = [row([0.0, 2.0, 2.0, 6.0, 6.0], EchoTime=echo) for echo in (5.0, 10.0)]
    stack = only([*steps[0], *steps[1]])
    assert (stack.duplicates, len(stack.planes), stack.slices) == (4, 2, 5)
    bare = stack.without_duplicates()
    assert (bare.duplicates, len(bare.planes), bare.slices, bare.gaps) == (0, 2, 3, (2,))
    assert bare.values == (5.0, 10.0)
    assert [[plane.traits["EchoTime"] for plane in step if plane] for step in bare.planes] == [[5.0] * 3, [10.0] * 3]
    assert len(bare.notes) == len(set(bare.notes)) == 2


@pytest.mark.parametrize("edge", [0.9995, 0.3125, -0.0005])
@pytest.mark.parametrize("noise", [1e-8, 1e-6])
def test_last_digits_on_both_sides_of_a_rounding_make_no_other_volume(edge: float, noise: float) -> None:
    def turned(sign: float) -> tuple[float, ...]:
        cosine = edge + sign * noise
        sine = (1 - cosine**2) ** 0.5
        return (cosine, sine, 0.0, -sine, cosine, 0.0)

    stack = only([plane(n, (0.0, 0.0, 2.0 * n), turned(1 if n % 2 else -1)) for n in range(6)])
    assert stack.slices == 6
    spacing = (0.48825, 0.48825)
    assert only([plane(n, (0, 0, 2.0 * n), spacing=tuple(one + (-1) ** n * 1e-8 for one in spacing)) for n in range(6)])


@pytest.mark.parametrize(
    "name", ["EchoTime", "DiffusionBValue", "TemporalPositionIndex", "TriggerTime", "AcquisitionTime"]
)
def test_planes_in_the_same_place_make_a_fourth_dimension(name: str) -> None:
    planes = row([0.0, 2.0, 4.0], **{name: 20}) + row([0.0, 2.0, 4.0], **{name: 10})
    stack = only(planes)
    assert (stack.dimension, stack.values) == (name, (10, 20))
    assert [[one.traits[name] for one in step if one] for step in stack.planes] == [[10] * 3, [20] * 3]


def test_two_dimensions_are_one_of_pairs() -> None:
    planes = [p for echo in (1, 2) for b in (0, 800) for p in row([0.0, 2.0], EchoTime=echo, DiffusionBValue=b)]
    stack = only(planes)
    assert stack.dimension == "EchoTime DiffusionBValue"
    assert stack.values == ((1, 0), (1, 800), (2, 0), (2, 800))


def test_other_places_are_other_volumes() -> None:
    found = stacks(row([0.0, 2.0, 4.0], EchoTime=1) + row([0.0, 2.0], EchoTime=2))
    assert [stack.slices for stack in found] == [3, 2]
    assert found[0].notes == ("EchoTime 1",)


def test_another_image_type_is_another_volume() -> None:
    found = stacks(row([0.0, 2.0], ImageType=("M",)) + row([0.0, 2.0], ImageType=("P",)))
    assert len(found) == 2
    assert all(not stack.dimension for stack in found)


def test_a_localizer_is_a_volume_of_its_own() -> None:
    found = stacks([*row([0.0, 2.0, 4.0]), plane(9, (0, 0, 0), (0, 1, 0, 0, 0, -1))])
    assert [stack.slices for stack in found] == [3, 1]
    assert found[1].affine is not None
    assert any("unknown thickness" in note for note in found[1].notes)


def test_no_geometry_no_affine() -> None:
    stack = only([plane(n, None, None) for n in (2, 0, 1)])
    assert [one.number for one in stack.planes[0] if one] == [0, 1, 2]
    assert stack.affine is None
    assert stack.notes


@pytest.mark.parametrize("orientation", [(0.0,) * 6, (1.0, 0, 0, 1.0, 0, 0)])
def test_directions_that_are_none(orientation: tuple[float, ...]) -> None:
    assert only([plane(n, (0, 0, n), orientation) for n in range(3)]).affine is None


def test_a_mosaic_is_flagged() -> None:
    stack = only([plane(1, (0, 0, 0), ImageType=("ORIGINAL", "PRIMARY", "M", "MOSAIC"))])
    assert stack.affine is None
    assert any("mosaic" in note for note in stack.notes)


NUMBER = st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0, 2.0])


@given(st.lists(st.tuples(NUMBER, NUMBER, NUMBER, st.integers(0, 2), st.booleans()), max_size=30))
def test_no_plane_is_lost_whatever_they_say(given_: list[tuple[float, float, float, int, bool]]) -> None:
    planes = [
        plane(number, (x, y, z), AXIAL if flat else (0, 1, 0, 0, 0, 1), EchoTime=echo)
        for number, (x, y, z, echo, flat) in enumerate(given_)
    ]
    found = [one.source for stack in stacks(planes) for step in stack.planes for one in step if one is not None]
    assert sorted(found) == list(range(len(planes)))
