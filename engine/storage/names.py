"""What files are called that belong to the names that people give."""

from urllib.parse import quote

from engine.storage.files import checksum

MOST_NAME = 60
"""Bytes of a file's name that was made of a person's: three of them and a draft's mark fit into the usual 255."""

RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
"""What Windows lets no file be called, whatever its suffix."""


def file_name(name: str) -> str:
    """Return what a file is called that belongs to a name of any script and length: ASCII, without a dot.

    It is percent-encoded, and `urllib.parse.unquote` gives the name back. One that is long or reserved, or has
    capitals, ends with `~` and its digest: no two names share a file, even where case is not told apart.
    """
    pieces = [_encoded(c) for c in name]
    if pieces and pieces[0] in "-_":  # an option of other programs, a file that they do not look at
        pieces[0] = f"%{ord(pieces[0]):02X}"
    whole, ending = "".join(pieces), f"~{checksum(name.encode(errors='surrogatepass'))[:16]}"
    has_capitals = any(c.isascii() and c.isupper() for c in name)
    if whole and len(whole) <= MOST_NAME and whole not in RESERVED and not has_capitals:
        return whole
    while len(whole) + len(ending) > MOST_NAME:
        whole = whole.removesuffix(pieces.pop())
    return whole + ending


def _encoded(character: str) -> str:
    quoted = quote(character, safe="+", errors="surrogatepass")
    return {".": "%2E", "~": "%7E"}.get(quoted, quoted)
