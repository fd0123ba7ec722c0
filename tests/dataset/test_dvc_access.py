"""What is said of DVC's faults."""

from regrow.dataset.dvc_access import REMOTE, reason


def test_a_password_in_an_address_is_not_said() -> None:
    error: Exception = FileNotFoundError("No storage files available: data/pets")
    error.add_note(f"{REMOTE}https://user:s3cret@store.example.org/dvc")
    assert reason(error).startswith("https://***@store.example.org/dvc lacks data/pets")
    error = ValueError("cannot open 'https://user:s3cret@store.example.org/dvc/files/md5/ab'")
    assert reason(error) == "cannot open 'https://***@store.example.org/dvc/files/md5/ab'"
