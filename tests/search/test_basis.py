"""Mean, PCA, whitening, product codes and int8 vectors."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest

pytest.importorskip("faiss")

from claid_ext.descriptors.basis import Basis, LayerBasis, default_dims
from claid_ext.descriptors.shipped import shipped_basis
from claid_ext.errors import DamagedRecordError
from claid_ext.vectors import decode_vectors, encode_vectors, unit
from hypothesis import given
from hypothesis import strategies as st

WEIGHTS = "ab" * 32


def made_cells(count, channels, seed=0):
    """Cells of unequal, correlated channels, off the origin."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(channels, channels)) * 0.97 ** np.arange(channels)
    return (rng.normal(size=(count, channels)) @ mix.T + 3 * mix[:, 0]).astype(np.float32)


@pytest.fixture(scope="module")
def cells():
    return made_cells(3000, 70), made_cells(1500, 90, seed=1)


@pytest.fixture(scope="module")
def basis(cells):
    return Basis.fit(cells, dims=(70, 40), network=WEIGHTS)


def test_whitening_makes_cells_uncorrelated_and_equal(basis, cells):
    layer = basis[0]
    centred = unit(cells[0]).astype(np.float64) - layer.mean
    axes = layer.axes.astype(np.float64)
    np.testing.assert_allclose(axes @ axes.T, np.eye(70), atol=1e-5)
    assert (np.diff(layer.variances) <= 0).all()
    white = centred @ (axes / np.sqrt(layer.variances)[:, None]).T
    np.testing.assert_allclose(white.T @ white / len(white), np.eye(70), atol=2e-2)
    np.testing.assert_allclose(layer.whiten(cells[0]), unit(white), atol=1e-3)


def test_maps_are_divided_by_the_fourth_root_of_the_variance(basis, cells):
    layer = basis[1]
    centred = unit(cells[1]).astype(np.float64) - layer.mean
    scaled = centred @ (layer.axes[:64] / layer.variances[:64, None] ** 0.25).T
    got = layer.project(cells[1].reshape(30, 50, 90))
    assert got.shape == (30, 50, 64)
    np.testing.assert_allclose(got.reshape(-1, 64), unit(scaled), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(got, axis=2), 1, atol=1e-5)


def test_a_cells_length_does_not_matter(basis, cells):
    for factor in (1e-12, 0.5, 1e12):
        np.testing.assert_allclose(
            basis[0].whiten(cells[0] * np.float32(factor)), basis[0].whiten(cells[0]), atol=1e-4
        )


def test_codes_are_the_nearest_centroids(basis, cells):
    layer = basis[0]
    some = cells[0][:50].reshape(5, 10, 70)
    codes, projected = layer.encode(some), layer.project(some)
    assert (codes.shape, codes.dtype) == ((5, 10, 16), np.uint8)
    for subspace in range(16):
        part = projected[..., [subspace, subspace + 16, subspace + 32, subspace + 48]]
        distance = ((part[..., None, :] - layer.centroids[subspace]) ** 2).sum(axis=-1)
        np.testing.assert_array_equal(codes[..., subspace], distance.argmin(axis=-1))


def test_dimension_d_is_in_subspace_d_mod_16(basis):
    layer = basis[0]
    codes = np.random.default_rng(0).integers(0, 256, (2, 3, 16), dtype=np.uint8)
    decoded = layer.decode(codes)
    assert decoded.shape == (2, 3, 64)
    for d in range(64):
        wanted = layer.centroids[d % 16, codes[..., d % 16], d // 16]
        np.testing.assert_array_equal(decoded[..., d], wanted)


def test_codes_keep_what_cells_look_like(basis, cells):
    projected = basis[0].project(cells[0])
    decoded = basis[0].decode(basis[0].encode(cells[0]))
    likeness = (projected * decoded).sum(axis=1) / np.linalg.norm(decoded, axis=1)
    assert likeness.mean() > 0.965  # 0.973; of centroids drawn from the cells 0.958
    assert abs(np.linalg.norm(decoded, axis=1).mean() - 1) < 0.1


def test_the_same_cells_and_seed_give_the_same_basis(basis, cells):
    again = Basis.fit(cells, dims=(70, 40), network=WEIGHTS)
    assert again.fingerprint == basis.fingerprint
    assert Basis.fit(cells, dims=(70, 40), network=WEIGHTS, seed=7).fingerprint != basis.fingerprint
    assert Basis.fit(cells, dims=(70, 40)).fingerprint != basis.fingerprint


def test_bytes_and_back(basis, cells):
    again = Basis.from_bytes(basis.to_bytes())
    assert again.to_bytes() == basis.to_bytes()
    assert (again.network, again.vector_dim) == (WEIGHTS, 110)
    np.testing.assert_array_equal(again[1].encode(cells[1]), basis[1].encode(cells[1]))
    np.testing.assert_array_equal(again[1].whiten(cells[1]), basis[1].whiten(cells[1]))


@given(st.data())
def test_damaged_bytes_are_refused(basis, data):
    content = bytearray(basis.to_bytes())
    place = data.draw(st.integers(0, 8 * len(content) - 1))
    content[place // 8] ^= 1 << place % 8
    with pytest.raises(DamagedRecordError, match="the basis of x"):
        Basis.from_bytes(bytes(content), "the basis of x")
    with pytest.raises(DamagedRecordError):
        Basis.from_bytes(basis.to_bytes()[: place // 8])


@pytest.mark.parametrize("count", [1, 3, 200, 300])
@pytest.mark.parametrize("channels", [1, 5, 64, 100])
def test_few_cells_and_few_channels(count, channels):
    some = np.random.default_rng(0).normal(size=(count, channels))
    layer = Basis.fit([some])[0]
    vectors, decoded = layer.whiten(some), layer.decode(layer.encode(some))
    assert vectors.shape == (count, default_dims([channels])[0])
    assert decoded.shape == (count, 64)
    assert np.isfinite(vectors).all()
    assert not decoded[:, channels:].any()
    if count <= 256:  # each cell is a centroid
        np.testing.assert_allclose(decoded, layer.project(some), atol=1e-3)


def test_cells_all_alike_have_no_direction():
    layer = Basis.fit([np.ones((500, 8))])[0]
    assert not layer.whiten(np.ones((2, 8))).any()
    assert np.isfinite(layer.whiten(np.arange(16).reshape(2, 8))).all()
    assert not Basis.fit([np.zeros((500, 8))])[0].project(np.zeros((2, 8))).any()


def test_default_dims_are_208_in_all():
    assert default_dims([112, 320]) == (112, 96)
    assert default_dims([384]) == (208,)
    assert default_dims([24, 50, 500]) == (24, 50, 96)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Basis.fit([]), "one or more layers"),
        (lambda: Basis.fit([np.zeros((2, 3, 4))]), "one or more layers"),
        (lambda: Basis.fit([np.zeros((0, 3))]), "at least one"),
        (lambda: Basis.fit([np.full((5, 3), np.nan)]), "must be finite"),
        (lambda: Basis.fit([np.ones((5, 3))], dims=(4,)), "from 1 to 3"),
        (lambda: Basis.fit([np.ones((5, 3))], dims=(1, 2)), "one for each of 1 layers"),
        (lambda: Basis.fit([np.ones((5, 3))], network="abcd").to_bytes(), "SHA-256"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_wrong_cells_and_codes(basis):
    with pytest.raises(ValueError, match=r"cells must be \(..., 70\)"):
        basis[0].whiten(np.zeros((3, 69)))
    for codes in (np.zeros((3, 16), np.int64), np.zeros((3, 15), np.uint8)):
        with pytest.raises(ValueError, match="codes must be uint8"):
            basis[0].decode(codes)
    with pytest.raises(TypeError, match="int8"):
        decode_vectors(np.zeros(3))


def test_int8_vectors_barely_change_a_ranking():
    rng = np.random.default_rng(0)
    things = rng.normal(size=(40, 208))
    vectors = unit(np.repeat(things, 50, axis=0) + 1.5 * rng.normal(size=(2000, 208)))
    queries = unit(things + rng.normal(size=(40, 208)))
    codes = encode_vectors(vectors)
    decoded = decode_vectors(codes)
    assert (codes.dtype, codes.shape) == (np.int8, vectors.shape)
    np.testing.assert_allclose(np.linalg.norm(decoded, axis=1), 1, atol=1e-5)
    exact, coded = queries @ vectors.T, queries @ decoded.T
    assert np.abs(exact - coded).max() < 0.006
    best = np.argsort(-exact, axis=1)[:, :50]
    coded_best = np.argsort(-coded, axis=1)[:, :50]
    same = [len(np.intersect1d(a, b)) for a, b in zip(best, coded_best, strict=True)]
    assert np.mean(same) > 48.5


def test_faiss_ranks_the_very_codes():
    import faiss

    rng = np.random.default_rng(1)
    codes = encode_vectors(unit(rng.normal(size=(500, 208))))
    query = unit(rng.normal(size=(1, 208)))
    index = faiss.IndexScalarQuantizer(
        208, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT
    )
    index.add(codes.astype(np.float32))
    assert index.sa_code_size() == 208
    scores, rows = index.search(query, 500)
    cosines = (decode_vectors(codes) @ query[0])[rows[0]]
    np.testing.assert_allclose(scores[0] / 254, cosines, atol=0.005)


def test_a_vector_of_few_large_components_keeps_its_direction():
    sparse = np.eye(6, dtype=np.float32) * [[1.0], [-1], [1], [1], [1], [1]]
    np.testing.assert_array_equal(decode_vectors(encode_vectors(sparse)), sparse)
    half = unit([[3, 4, 0, 0]])
    np.testing.assert_allclose(decode_vectors(encode_vectors(half)), half, atol=0.005)
    assert not encode_vectors(np.zeros((2, 5))).any()
    assert encode_vectors(np.zeros((0, 5))).shape == (0, 5)


def test_a_basis_needs_no_torch():
    code = "import sys, claid_ext.descriptors.basis; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_shipped_basis_is_found_by_its_networks_weights(real_descriptor):
    network = real_descriptor.network
    found = shipped_basis(network.fingerprint)
    assert found is not None
    assert [layer.channels for layer in found.layers] == [112, 320]
    assert found.vector_dim == 208
    assert len(found.to_bytes()) < 1_000_000
    assert shipped_basis("0" * 64) is shipped_basis("") is None


def test_a_layer_basis_fits_by_itself(cells, basis):
    layer = LayerBasis.fit(cells[0], 70)
    np.testing.assert_array_equal(layer.centroids, basis[0].centroids)


@pytest.mark.parametrize("fails", [False, True])
def test_fitting_uses_the_fast_kernel_and_leaves_faiss_as_it_was(cells, monkeypatch, fails):
    """faiss would take a slower one for fewer than 32,000 cells."""
    import faiss

    real, seen = faiss.Kmeans.train, []

    def train(kmeans, part):
        seen.append(faiss.cvar.distance_compute_blas_threshold)
        if fails:
            raise RuntimeError("out of memory")
        return real(kmeans, part)

    monkeypatch.setattr(faiss.Kmeans, "train", train)
    before = faiss.cvar.distance_compute_blas_threshold
    with pytest.raises(RuntimeError) if fails else nullcontext():
        LayerBasis.fit(cells[0], 70)
    assert set(seen) == {1}
    assert faiss.cvar.distance_compute_blas_threshold == before > 1
