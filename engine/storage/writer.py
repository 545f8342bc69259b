"""Who may write to a workspace: one process at a time, after what a crash left is gone."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from engine.errors import UserError, inaccessible
from engine.storage import files
from engine.storage.store import Store


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Hold the workspace's writer lock, which the system frees when its holder dies.

    What a crash left half-written is dropped first. A folder that was made for a run that then failed, before
    anything was stored, is removed again.
    """
    is_new = not root.exists()
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(root / "lock")
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise UserError(
            f"another mneme is writing to {root}; wait until it ends (searching goes on)"
        ) from None
    except OSError as error:
        raise inaccessible(error, root, to="write to") from None
    try:
        files.refuse_links(root)
        files.drop_drafts(root)
        yield
    except (UserError, OSError) as error:
        if is_new and not _holds_rows(root):
            shutil.rmtree(root, ignore_errors=True)
        if isinstance(error, OSError) and error.errno is not None:  # the system refused
            raise inaccessible(error, root) from None
        raise
    finally:
        lock.release()


def _holds_rows(root: Path) -> bool:
    if not (root / "store").exists():
        return False
    with Store(root / "store") as store:
        return any(True for _ in store.rows())
