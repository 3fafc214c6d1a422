"""Quantities are read and summed as the API server means them."""

import pytest

from failoverd.core.quantities import amounts, largest, quantity, said, total


@pytest.mark.parametrize(
    ("resource", "text", "amount"),
    [
        ("cpu", "2", 2000),
        ("cpu", "500m", 500),
        ("cpu", "0.1", 100),
        ("cpu", "100n", 1),
        ("cpu", "1e1", 10_000),
        ("memory", "1.5Gi", 3 << 29),
        ("memory", "1G", 10**9),
        ("memory", "129e6", 129_000_000),
        ("memory", "1E", 10**18),
        ("memory", "128974848", 128_974_848),
        ("memory", "1500m", 2),
        ("nvidia.com/gpu", "1", 1),
        ("pods", "110", 110),
    ],
)
def test_a_quantity_is_what_kubernetes_means_by_it(resource, text, amount):
    assert quantity(resource, text) == amount


@pytest.mark.parametrize("text", ["", "x", "1Q", "1 Gi", "Gi", "NaN", "Infinity"])
def test_what_is_no_quantity_is_refused(text):
    with pytest.raises(ValueError, match="no quantity"):
        quantity("cpu", text)


@pytest.mark.parametrize("value", [None, True, {"a": 1}, ["1"]])
def test_what_is_no_text_is_refused(value):
    with pytest.raises(ValueError, match="no quantity"):
        amounts({"cpu": value})


def test_sums_and_maxima_go_resource_by_resource():
    one, other = amounts({"cpu": "1", "memory": "1Ki"}), amounts({"cpu": "250m", "pods": 1})
    assert total([one, other]) == (("cpu", 1250), ("memory", 1024), ("pods", 1))
    assert largest([one, other]) == (("cpu", 1000), ("memory", 1024), ("pods", 1))


@pytest.mark.parametrize(
    ("resource", "amount", "text"),
    [
        ("cpu", 2000, "2"),
        ("cpu", 1500, "1500m"),
        ("memory", 3 << 29, "1.5Gi"),
        ("memory", 100, "100"),
        ("nvidia.com/gpu", 2, "2"),
    ],
)
def test_people_read_what_they_would_have_written(resource, amount, text):
    assert said(resource, amount) == text
