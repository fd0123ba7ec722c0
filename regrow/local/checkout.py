"""Temporary checkouts by DVC: finding the lasting folder from which an experiment was started."""

from pathlib import Path

from regrow.local.git import working_tree

EXPERIMENTS = (".dvc", "tmp", "exps")


def lasting(folder: Path) -> Path:
    """``folder``; in a checkout that DVC made for one experiment, the same folder of the repository it was made from.

    `dvc exp run --temp` and DVC's queue check a commit out below the repository's own ``.dvc/tmp/exps``, and remove
    that with all that the commit does not hold.
    """
    place = folder.resolve()
    checkout = working_tree(place)
    parts = place.parts if checkout is None else checkout.parts
    for end in range(len(parts) - len(EXPERIMENTS), 0, -1):
        if parts[end : end + len(EXPERIMENTS)] == EXPERIMENTS:
            dvc_root = Path(*parts[:end])
            root = working_tree(dvc_root) or dvc_root
            same = root / place.relative_to(checkout) if checkout is not None else root
            return same if same.is_dir() else dvc_root
    return folder


def is_temporary(folder: Path) -> bool:
    """Whether ``folder`` lies in a checkout that DVC removes when the experiment is over."""
    return lasting(folder) != folder
