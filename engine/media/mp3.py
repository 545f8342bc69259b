"""Whether the bytes of an MP3 end early: by what its first frame says, and by whether its last frame is whole."""

TAIL = 16_384
BITRATES = {  # kbit/s by (MPEG-1 or not, layer III or II)
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
HAS_FRAMES, HAS_BYTES = 1, 2


def ends_early(data: bytes) -> bool:
    """Tell whether bytes of a whole MP3 are missing at its end."""
    start = _after_id3(data)
    promised = _promised(data[start : start + 200])
    if promised is not None:
        return len(data) - start < promised
    return _last_is_cut(data[-TAIL:])


def _after_id3(data: bytes) -> int:
    if data[:3] != b"ID3" or len(data) < 10:
        return 0
    return 10 + sum((byte & 0x7F) << 7 * (3 - i) for i, byte in enumerate(data[6:10]))


def _promised(first: bytes) -> int | None:
    """Return the bytes from the first frame on, as that frame tells (Xing, LAME), None where it does not."""
    at = max(first.find(b"Xing"), first.find(b"Info"))
    if at < 0 or not first[at + 7 : at + 8] or not first[at + 7] & HAS_BYTES:
        return None
    field = at + 8 + 4 * (first[at + 7] & HAS_FRAMES)
    return int.from_bytes(first[field : field + 4], "big")


def _last_is_cut(tail: bytes) -> bool:
    """Tell whether the frames at the end of a file stop within one: three in a row show where frames are."""
    for start in range(len(tail) - 4):
        place, met = start, 0
        while length := frame_length(tail, place):
            place, met = place + length, met + 1
        if met >= 3:
            return place > len(tail)
    return False


def frame_length(data: bytes, at: int) -> int:
    """Return how many bytes the frame takes whose header stands there, 0 where none does."""
    head = data[at : at + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bitrates, rates = BITRATES.get((version == 3, layer)), RATES.get(version)
    bitrate, rate = head[2] >> 4, head[2] >> 2 & 3
    if not bitrates or not rates or bitrate in (0, 15) or rate == 3:
        return 0
    samples = 72 if layer == 3 and version != 3 else 144
    return samples * bitrates[bitrate] * 1000 // rates[rate] + (head[2] >> 1 & 1)
