"""From a checkout that DVC removes back to the repository that it was made from."""

from pathlib import Path

import pytest

from regrow.local.checkout import is_temporary, lasting


def checkout(root: Path, below: str) -> Path:
    """A checkout of the repository ``root`` as DVC makes one for the project in its folder ``below``."""
    (root / ".git").mkdir(parents=True)
    place = root / below / ".dvc/tmp/exps/standalone/tmpabc"
    (place / ".git").mkdir(parents=True)
    (place / "models").mkdir()
    return place


@pytest.mark.parametrize("below", ["", "models"])
def test_a_folder_of_the_checkout_is_that_of_the_repository(tmp_path: Path, below: str) -> None:
    place = checkout(tmp_path / "repository", below)
    (tmp_path / "repository/models").mkdir(exist_ok=True)
    assert lasting(place) == tmp_path / "repository"
    assert lasting(place / "models") == tmp_path / "repository/models"
    assert is_temporary(place)


def test_a_folder_that_the_repository_lacks_leads_to_its_root(tmp_path: Path) -> None:
    assert lasting(checkout(tmp_path / "repository", "") / "models") == tmp_path / "repository"


def test_over_a_link_too(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(checkout(tmp_path / "repository", ""))
    assert lasting(tmp_path / "link") == tmp_path / "repository"


def test_any_other_folder_stays_what_it_is(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / ".dvc/tmp", tmp_path / "tmp/exps/x"):
        place.mkdir(parents=True, exist_ok=True)
        assert lasting(place) == place
        assert not is_temporary(place)
