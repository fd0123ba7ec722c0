from regrow.registry.chain import data_version, package_digest


def test_data_version_prefers_dvc_and_fits_into_mlflow() -> None:
    directory = "0123456789abcdef0123456789abcdef.dir"
    assert data_version([{"name": "d", "digest": {"md5": directory, "sha256": "0" * 64}}]) == directory
    assert data_version([{"name": "d", "digest": {"sha256": "a" * 64}}]) == "a" * 36
    several = [{"name": "a", "digest": {"sha256": "a" * 64}}, {"name": "b", "digest": {"sha256": "b" * 64}}]
    assert len(data_version(several)) == 36
    assert data_version(several) != data_version(several[:1])
    assert data_version([]) == data_version([])


def test_package_digest_is_stable() -> None:
    assert package_digest() == package_digest()
    assert len(package_digest()) == 64
