"""The header of a safetensors file, read without trusting it, and whether its numbers are finite. Needs no torch and loads no tensor.

Layout: 8 bytes little-endian header length, a JSON header, then the bytes that the header's offsets cut up without gap or overlap.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from common.errors import BundleMismatch, DigestMismatch

MAX_HEADER_BYTES = 1 << 22
MAX_TENSORS = 20_000
MAX_FILE_BYTES = 1 << 31
ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
# Sign and mantissa masked away: all exponent bits set is infinity or NaN.
_EXPONENT = {"F32": ("<u4", 0x7F800000), "F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80)}
_CHUNK_ITEMS = 1 << 22


@dataclass(frozen=True, slots=True)
class TensorInfo:
    dtype: str
    shape: tuple[int, ...]
    start: int
    """Offset in the file, in bytes."""
    num_bytes: int


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Name -> where and what. Raises DigestMismatch when the file is not a safetensors file whose parts add up."""
    size = path.stat().st_size
    if not 8 <= size <= MAX_FILE_BYTES:
        raise DigestMismatch(f"{path.name}: {size} bytes; expected a safetensors file of at most {MAX_FILE_BYTES}")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(MAX_HEADER_BYTES, size - 8):
            raise DigestMismatch(
                f"{path.name}: claims an oversize header of {length} bytes; at most {min(MAX_HEADER_BYTES, size - 8)} can be right"
            )
        raw = file.read(length)
    try:
        header = orjson.loads(raw)
        header.pop("__metadata__", None)
        infos = {str(name): _info(entry, body=8 + length) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DigestMismatch(f"{path.name}: its header is not that of a safetensors file ({error!s:.100})") from error
    if len(infos) > MAX_TENSORS:
        raise DigestMismatch(f"{path.name}: {len(infos)} tensors; at most {MAX_TENSORS} are accepted")
    end = 8 + length
    for name, info in sorted(infos.items(), key=lambda item: (item[1].start, item[1].num_bytes)):
        wanted = math.prod(info.shape) * ITEM_BYTES[info.dtype]
        if info.start != end or info.num_bytes != wanted:
            raise DigestMismatch(f"{path.name}: tensor {name} lies at {info.start} with {info.num_bytes} bytes; expected {wanted} at {end}")
        end += info.num_bytes
    if end != size:
        raise DigestMismatch(f"{path.name}: {size - end} bytes behind the last tensor belong to nothing")
    return infos


def refuse_non_finite(path: Path, infos: dict[str, TensorInfo]) -> None:
    """Raises BundleMismatch naming the first tensor with a NaN or an infinity: such weights answer every request with noise."""
    with path.open("rb") as file:
        for name, info in infos.items():
            code, mask = _EXPONENT[info.dtype]
            kind = np.dtype(code)
            file.seek(info.start, os.SEEK_SET)
            left = info.num_bytes // kind.itemsize
            while left:
                bits = np.fromfile(file, kind, min(left, _CHUNK_ITEMS))
                left -= len(bits)
                if bool(((bits & mask) == mask).any()):
                    raise BundleMismatch(
                        f"{path.name}: tensor {name} holds NaN or infinity; expected finite weights. Train again from a good state."
                    )


def _info(entry: dict[str, object], *, body: int) -> TensorInfo:
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype not in ITEM_BYTES:
        raise ValueError(f"dtype {dtype!r}; expected one of {', '.join(ITEM_BYTES)}")
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
        raise ValueError("shape or data_offsets is no list")
    numbers = [*shape, *offsets]
    if not all(type(number) is int and 0 <= number < 1 << 48 for number in numbers) or len(shape) > 8:
        raise ValueError("shape or data_offsets holds something else than lengths")
    return TensorInfo(dtype=str(dtype), shape=tuple(shape), start=body + offsets[0], num_bytes=offsets[1] - offsets[0])
