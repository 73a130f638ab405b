"""The peers find planted objects, and what each promises of its regions."""

import numpy as np
import pytest
from claid_ext import RegionTree, reference
from claid_ext.baselines import (
    BASELINES,
    claid_ncut,
    deep_spectral,
    grid,
    lost,
    maskcut,
    tokencut,
)
from claid_ext.baselines.ncut import SOLVERS
from claid_ext.baselines.segments import Segments, component_of, components, largest_component
from hypothesis import example, given, settings
from hypothesis import strategies as st

SOLVED = [(name, s) for name in ("tokencut", "maskcut", "claid_ncut") for s in SOLVERS] + [
    ("deep_spectral", "eigh"),
    ("deep_spectral", "lanczos"),
]
PLAIN = [name for name in BASELINES if name != "ncut_pytorch"]


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def best_iou(tree, planted):
    return [max(iou(mask, found) for found in tree.masks()) for mask in planted.objects]


@pytest.mark.parametrize("solver", SOLVERS)
def test_tokencut_finds_the_object(one_object, solver):
    found = tokencut.segment(one_object.features, one_object.grid, solver=solver)
    assert found.cuts == 1
    assert np.array_equal(found.masks, one_object.objects)


def test_tokencut_on_a_device_is_the_same(one_object):
    pytest.importorskip("torch")
    found = tokencut.segment(one_object.features, one_object.grid, device="cpu")
    assert np.array_equal(found.masks, one_object.objects)


def test_tokencut_takes_one_of_two_equal_objects(three_objects):
    (mask,) = tokencut.segment(three_objects.features, three_objects.grid).masks
    assert max(iou(mask, planted) for planted in three_objects.objects) == 1


@pytest.mark.parametrize("solver", SOLVERS)
def test_maskcut_finds_an_object_a_cut(three_objects, solver):
    found = maskcut.segment(three_objects.features, three_objects.grid, solver=solver)
    assert found.cuts == 3
    assert sorted(mask.tobytes() for mask in found.masks) == sorted(
        mask.tobytes() for mask in three_objects.objects
    )


def test_maskcut_first_cut_is_tokencut(three_objects):
    first = maskcut.segment(three_objects.features, three_objects.grid, tau=0.2, cuts=1)
    other = tokencut.segment(three_objects.features, three_objects.grid, tau=0.2)
    assert np.array_equal(first.masks, other.masks)


def test_maskcut_turns_a_foreground_of_corners_round():
    # The frame is the smaller part and so the prominent one, but it holds all four corners.
    inside = np.zeros((12, 12), bool)
    inside[1:-1, 1:-1] = True
    features = np.where(inside.reshape(-1, 1), [[1.0, 0.0]], [[0.0, 1.0]])
    assert not tokencut.segment(features, inside.shape).masks[0][5, 5]
    assert np.array_equal(maskcut.segment(features, inside.shape, cuts=1).masks[0], inside)


def test_maskcut_rejects_specks_and_repeats():
    features = np.zeros((400, 3), np.float32)
    features[:, 0] = 1
    features[27] = [0, 1, 0]  # one patch of 400: under 1 %
    found = maskcut.segment(features, (20, 20), cuts=3)
    assert all(mask.mean() >= 0.01 for mask in found.masks)
    for earlier, later in zip(found.masks, found.masks[1:], strict=False):
        assert iou(earlier, later) <= 0.5


@pytest.mark.parametrize("solver", ["eigh", "lanczos"])
def test_deep_spectral_finds_all_segments(three_objects, solver):
    found = deep_spectral.segment(
        three_objects.features, three_objects.grid, min_patches=5, solver=solver
    )
    assert found.cuts == 1
    for planted in three_objects.objects:
        assert max(iou(planted, mask) for mask in found.masks) > 0.95


def test_deep_spectral_object_is_the_smaller_side(one_object):
    found = deep_spectral.segment(one_object.features, one_object.grid)
    assert np.array_equal(found.masks[0], one_object.objects[0])


def test_lost_grows_the_object(one_object):
    (mask,) = lost.segment(one_object.features, one_object.grid, tau=0.2).masks
    assert np.array_equal(mask, one_object.objects[0])


def test_lost_solves_no_eigenproblem(one_object):
    assert lost.segment(one_object.features, one_object.grid).cuts == 0


def test_grid_has_thirty_cells(one_object):
    found = grid.segment(one_object.features, one_object.grid)
    assert len(found.masks) == 30
    assert found.masks[0].all()
    for first, last in ((1, 5), (5, 14), (14, 30)):  # 2x2, 3x3, 4x4 each tile the image
        assert (found.masks[first:last].sum(axis=0) == 1).all()


def test_grid_leaves_out_cells_of_no_patch():
    assert len(grid.segment(np.ones((2, 3)), (1, 2)).masks) == 1 + 2 + 2 + 2


@pytest.mark.parametrize("solver", SOLVERS)
def test_claid_ncut_finds_every_object(three_objects, solver):
    tree = claid_ncut.detect(
        three_objects.features, three_objects.grid, min_patches=5, solver=solver
    )
    assert best_iou(tree, three_objects) == [1, 1, 1]
    assert tree.moves == 0
    # The first cut leaves two kinds on one side; objects apart need no cut between them.
    assert tree.cuts == 2


def test_claid_ncut_means_by_its_fields_what_the_reference_does(three_objects):
    options = {"min_patches": 5, "tau": 0.3, "energy_top": 0.2, "dominance": 0.5}
    tree = claid_ncut.detect(three_objects.features, three_objects.grid, **options)
    other = reference.detect(three_objects.features, three_objects.grid, **options)
    same = 0
    for i in range(len(tree)):
        for j in range(len(other)):
            if np.array_equal(tree.patches(i), other.patches(j)):
                assert tree.connectivity[i] == other.connectivity[j]
                assert tree.dominance[i] == other.dominance[j]
                assert tree.dummy[i] == other.dummy[j]
                same += 1
    assert same >= 3


def test_ncut_pytorch_finds_the_object(one_object):
    pytest.importorskip("ncut_pytorch")
    tree = BASELINES["ncut_pytorch"].detect(one_object.features, one_object.grid)
    assert tree.cuts == 1
    assert best_iou(tree, one_object)[0] > 0.9


@pytest.mark.parametrize("name", PLAIN)
@settings(max_examples=15)
@given(
    shape=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    dim=st.integers(1, 8),
    kind=st.sampled_from(["random", "constant", "zeros", "two values"]),
    seed=st.integers(0, 100),
)
@example(shape=(2, 8), dim=1, kind="zeros", seed=0)  # LAPACK returned no eigenvector
def test_any_features_give_a_sound_tree(name, shape, dim, kind, seed):
    rng = np.random.default_rng(seed)
    n = shape[0] * shape[1]
    features = {
        "random": rng.standard_normal((n, dim)),
        "constant": np.ones((n, dim)),
        "zeros": np.zeros((n, dim)),
        "two values": np.repeat(rng.standard_normal((2, dim)), [1, n - 1], axis=0),
    }[kind]
    tree = BASELINES[name].detect(features, shape)
    assert isinstance(tree, RegionTree)
    masks = tree.masks()
    assert np.array_equal(tree.size, masks.sum(axis=(1, 2)))
    assert (tree.size >= 1).all()
    assert ((tree.connectivity >= 0) & (tree.connectivity <= 1)).all()
    assert ((tree.dominance >= 0) & (tree.dominance <= 1)).all()
    for mask, (x0, y0, x1, y1) in zip(masks, tree.boxes, strict=True):
        assert mask[y0:y1, x0:x1].sum() == mask.sum()
        assert mask[y0].any()
        assert mask[y1 - 1].any()
        assert mask[:, x0].any()
        assert mask[:, x1 - 1].any()
    assert tree == BASELINES[name].detect(features.astype(np.float32), shape)


@pytest.mark.parametrize("name", PLAIN)
def test_connectivity_and_dominance_are_the_contracts(name, three_objects):
    tree = BASELINES[name].detect(three_objects.features, three_objects.grid)
    X = three_objects.features
    tau = {"maskcut": 0.15, "deep_spectral": 0.0, "lost": 0.0}.get(name, 0.2)
    A = reference.affinity(reference.q15_rows(X).astype(np.float64), tau)
    high = reference.high_energy(reference.energy(X), 0.3)
    for i in range(len(tree)):
        patches = tree.patches(i).astype(np.int64)
        pairs = len(patches) * (len(patches) - 1)
        assert tree.connectivity[i] == A[np.ix_(patches, patches)].sum() / pairs
        assert tree.dominance[i] == high[patches].mean()


@pytest.mark.parametrize("name", [n for n in PLAIN if n != "claid_ncut"])
def test_flat_peers_have_one_level_and_no_dummies(name, three_objects):
    tree = BASELINES[name].detect(three_objects.features, three_objects.grid)
    found = BASELINES[name].segment(three_objects.features, three_objects.grid)
    assert isinstance(found, Segments)
    assert np.array_equal(found.masks, tree.masks())
    assert found.cuts == tree.cuts
    assert (tree.parent == -1).all()
    assert (tree.level == 1).all()
    assert not tree.dummy.any()


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize(
    ("features", "shape", "message"),
    [
        (np.ones((6, 4)), (2, 4), "grid 2 x 4 = 8 patches"),
        (np.ones((2, 6, 4)), (2, 3), "one image"),
        (np.full((6, 4), np.nan), (2, 3), "finite"),
        (np.ones(6), (2, 3), "2 dimensions"),
    ],
)
def test_bad_features_are_named(name, features, shape, message):
    with pytest.raises(ValueError, match=message):
        BASELINES[name].detect(features, shape)


@pytest.mark.parametrize("name", ["tokencut", "maskcut", "deep_spectral", "lost"])
def test_too_few_patches_are_an_error(name):
    with pytest.raises(ValueError, match="at least"):
        BASELINES[name].detect(np.ones((1, 4)), (1, 1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, g: maskcut.detect(f, g, cuts=0), "cuts must be at least 1"),
        (lambda f, g: deep_spectral.detect(f, g, eigenvectors=0), "eigenvectors"),
        (lambda f, g: deep_spectral.detect(f, g, solver="generalized"), "solver"),
        (lambda f, g: lost.detect(f, g, candidates=0), "candidates"),
        (lambda f, g: grid.detect(f, g, finest=0), "finest"),
        (lambda f, g: tokencut.detect(f, g, tau=2.0), "tau"),
        (lambda f, g: tokencut.detect(f, g, energy_top=-1.0), "energy_top"),
        (lambda f, g: tokencut.detect(f, g, solver="qr"), "solver"),
        (lambda f, g: claid_ncut.detect(f, g, connectivity=2.0), "connectivity"),
    ],
)
def test_bad_options_are_named(one_object, call, message):
    with pytest.raises(ValueError, match=message):
        call(one_object.features, one_object.grid)


def test_components_are_4_connected():
    mask = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 0], [1, 1, 0]], bool)
    assert [c.sum() for c in components(mask, 1)] == [1, 3, 2]
    assert [c.sum() for c in components(mask, 2)] == [3, 2]
    assert largest_component(mask).sum() == 3
    assert np.flatnonzero(component_of(mask, 9)).tolist() == [9, 10]
