# Tests against real servers on this machine: PostgreSQL (Debian's package), SeaweedFS's S3 and MLflow's server.
.PHONY: test-services

test-services: $(STAMP)  ## the tests against real PostgreSQL, S3 and MLflow servers
	$(BIN)/python -m tests.services.servers
	$(BIN)/python -m pytest -m services tests/services tests/k8s
