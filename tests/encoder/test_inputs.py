"""What is kept in memory of the adapters that a training reads."""

from collections import Counter

import torch

from autolora.encoder.inputs import AdapterBatch, keeping


def test_as_many_adapters_as_fit_are_read_once() -> None:
    times = Counter[str]()

    def read(sha256: str) -> AdapterBatch:
        times[sha256] += 1
        factors = (torch.zeros(1, 2, 4, 8), torch.zeros(1, 2, 8, 4))
        return AdapterBatch((factors,), torch.ones(1, 2, dtype=torch.bool))

    read_or_take = keeping(read, max_bytes=2 * 512)
    for _ in range(3):
        assert {read_or_take(name).nbytes for name in "abc"} == {512}
    assert times == {"a": 1, "b": 1, "c": 3}
    assert AdapterBatch(torch.zeros(1, 3, 2, 2), torch.ones(1, 3)).nbytes == 48
