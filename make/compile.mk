.PHONY: pipelines check-pipelines

# Of the sources, not of a commit, so that a commit alone does not make it stale; images by their names without registry.
COMPILE_PIPELINE = env -u REGROW_REGISTRY -u REGROW_TAG $(BIN)/regrow compile --params params.yaml --manifest --no-commit \
  -o k8s/pipelines/prune-and-recover.yaml

pipelines: $(STAMP)  ## write the compiled pipeline that is checked in
	mkdir -p k8s/pipelines
	$(COMPILE_PIPELINE)

check-pipelines: $(STAMP)  ## fail if the compiled pipeline is out of date
	$(COMPILE_PIPELINE) --check
