"""What the local cache of the Hugging Face Hub holds, and whether the Hub answers; nothing is downloaded here."""

from hashlib import sha256
from http.client import HTTPException
from pathlib import Path
from ssl import SSLError
from threading import Thread
from urllib.error import HTTPError
from urllib.request import Request, urlopen

SECONDS = 2.0
"""How long the network may take to show that it is there."""


def obstacle() -> str | None:
    """Return what stands between here and the Hugging Face Hub; None where it answers within SECONDS."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    answers: list[str] = []  # asked for in a thread, for looking up a name knows no time-out
    asking = Thread(target=_ask, args=(constants.ENDPOINT, answers), daemon=True)
    asking.start()
    asking.join(SECONDS)
    return None if answers else f"no network ({constants.ENDPOINT} does not answer)"


def _ask(url: str, answers: list[str]) -> None:
    try:
        urlopen(Request(url, method="HEAD"), timeout=SECONDS).close()
    except (OSError, ValueError, HTTPException) as error:
        # A refusal is an answer, and which certificates to trust is for the library that downloads to say.
        if not isinstance(error, HTTPError) and not isinstance(getattr(error, "reason", None), SSLError):
            return
    answers.append(url)


def cached(home: str) -> str | None:
    """Return the cached file of `repository/name`, None where there is none; without a name: its weights."""
    from huggingface_hub import try_to_load_from_cache

    repository, _, name = home.rpartition("/")
    name = name or "open_clip_pytorch_model.bin"
    safe = name.replace("open_clip_pytorch_model", "open_clip_model").replace(".bin", ".safetensors")
    paths = (try_to_load_from_cache(repository, file) for file in (safe, name))
    return next((path for path in paths if isinstance(path, str)), None)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file as `sha256:HEX`; the cache keeps what it downloaded under that name."""
    blob = path.resolve()
    if blob.parent.name == "blobs" and len(blob.name) == 64:
        return f"sha256:{blob.name}"
    sha = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return f"sha256:{sha.hexdigest()}"


def has_models() -> bool:
    """Say whether the local cache holds any model at all."""
    from huggingface_hub import constants

    return any(Path(constants.HF_HUB_CACHE).glob("models--*"))
