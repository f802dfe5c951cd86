"""The most that a GPU computes: dense matrix arithmetic in 16 bits, by its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

_TERA = 1e12

# Operations a second with sums in float32, from the data sheets of NVIDIA, those of the 40 and 30 series from its
# white papers on Ada and Ampere. Where a sheet tells of sparse matrices, half of it.
_BF16: Mapping[tuple[str, ...], float] = MappingProxyType(
    {
        ("B200",): 2250.0,
        ("H200", "NVL"): 835.5,
        ("H200",): 989.4,
        ("GH200",): 989.4,
        ("H100", "PCIe"): 756.5,
        ("H100", "NVL"): 835.5,
        ("H100",): 989.4,
        ("H800", "PCIe"): 756.5,
        ("H800",): 989.4,
        ("A100",): 311.9,
        ("A800",): 311.9,
        ("A40",): 149.7,
        ("A30",): 165.1,
        ("A10",): 125.0,
        ("L40S",): 362.1,
        ("L40",): 181.1,
        ("L4",): 121.0,
        ("RTX", "6000", "Ada"): 364.2,
        ("RTX", "A6000"): 154.8,
        ("RTX", "4090"): 165.2,
        ("RTX", "3090"): 71.0,
    }
)
# They have no matrix arithmetic in bf16.
_FP16: Mapping[tuple[str, ...], float] = MappingProxyType({("V100",): 125.0, ("T4",): 65.1})
# What is less than the whole of the card that it is named after.
_LESS = frozenset({"MIG", "Laptop", "Mobile", "D", "Ti", "SUPER"})


def peak_operations(device: str, precision: str) -> float | None:
    """Return the most operations a second of a GPU; None if it is not known.

    Args:
        device: its name, as its driver tells it.
        precision: that it computes in: bf16, fp16 or fp32, of which no peak is known here.
    """
    known = {"bf16": _BF16, "fp16": {**_BF16, **_FP16}}.get(precision, {})
    words = set(re.split(r"[\s_-]+", device))
    if words & _LESS:
        return None
    found = [(len(key), peak) for key, peak in known.items() if words.issuperset(key)]
    return max(found)[1] * _TERA if found else None
