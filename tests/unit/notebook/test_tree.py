"""A cohort as a tree: every row once, in order, filtered, counted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dicomlab import Cohort
from dicomlab.notebook.tree import Tree


def cohort(count: int = 60, seed: int = 0) -> Cohort:
    random = np.random.default_rng(seed)
    series = random.integers(0, 9, count)
    frame = pd.DataFrame(
        {
            "PatientID": [f"P{s // 3}" for s in series],
            "StudyInstanceUID": [f"1.{s // 3}.{s // 2}" for s in series],
            "SeriesInstanceUID": [f"1.{s // 3}.{s // 2}.{s}" for s in series],
            "SOPInstanceUID": [f"1.9.{n}" for n in range(count)],
            "InstanceNumber": random.integers(1, 30, count),
            "Modality": ["CT" if s % 2 else None for s in series],
        }
    )
    return Cohort.from_dataframe(frame)


def opened(tree: Tree) -> list[tuple[int, int]]:
    depths, nodes = tree.seen()
    return list(zip(depths.tolist(), nodes.tolist(), strict=True))


def test_every_row_stands_once_under_its_own() -> None:
    tree = Tree(cohort())
    tree.open_all()
    seen = opened(tree)
    leaves = [node for depth, node in seen if depth == 3]
    assert sorted(leaves) == list(range(60))
    above: dict[int, int] = {}
    for depth, node in seen:
        above[depth] = node
        if depth:
            assert tree.branches[depth].parent[node] == above[depth - 1]


def test_closed_rows_hide_what_lies_in_them() -> None:
    tree = Tree(cohort())
    assert {depth for depth, _ in opened(tree)} == {0}
    tree.open[0].add(1)
    studies = int((tree.branches[1].parent == 1).sum())
    assert len(opened(tree)) == 3 + studies


@pytest.mark.parametrize("descending", [False, True])
def test_sorts_siblings_and_what_is_missing_comes_last(descending: bool) -> None:
    tree = Tree(cohort())
    tree.open_all()
    tree.sort("", descending=descending)
    numbers = tree.frame["InstanceNumber"].to_numpy()
    for node in range(len(tree.branches[2].row)):
        inside = numbers[tree.children(3, node)]
        assert (np.diff(inside) <= 0).all() if descending else (np.diff(inside) >= 0).all()


def test_filters_by_every_word() -> None:
    tree = Tree(cohort())
    tree.filter("p1 ct")
    wanted = (tree.frame["PatientID"] == "P1") & (tree.frame["Modality"] == "CT")
    assert (tree.mask == wanted.to_numpy()).all()
    tree.open_all()
    assert sum(depth == 3 for depth, _ in opened(tree)) == int(wanted.sum())
    tree.filter("no such thing")
    assert opened(tree) == []


def test_counts_are_those_of_the_mask() -> None:
    tree = Tree(cohort())
    counts = tree.counts(0, tree.frame["Modality"].notna().to_numpy())
    assert counts.sum() == int(tree.frame["Modality"].notna().sum())


def test_shows_masked_what_names_a_patient() -> None:
    tree = Tree(cohort())
    label, _ = tree.texts(0, 0)
    assert label == "•••"


def test_a_cohort_of_nothing_is_an_empty_tree() -> None:
    tree = Tree(cohort()[np.zeros(60, bool)])
    assert opened(tree) == []
    tree.sort("")
    tree.filter("x")
    assert opened(tree) == []
