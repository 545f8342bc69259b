"""The chunks of a PNG that make its picture, without those that only speak about it."""

KEPT = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf"))
MAX_CHUNKS = 1_000_000


def bare(data: bytes) -> bytes:
    """Return a PNG without texts, profiles and other chunks, which may be too large to unpack, or broken."""
    parts, start = [data[:8]], 8
    for _ in range(MAX_CHUNKS):
        length, name = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8]
        end = start + 12 + length
        if name in KEPT:
            parts.append(data[start:end])
        if name == b"IEND" or end >= len(data):
            break
        start = end
    return b"".join(parts)
