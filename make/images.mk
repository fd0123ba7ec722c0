# Images of the components: docs/images.md. DOCKER=podman names another engine; DOCKER_HOST its socket.
REGISTRY ?=
TAG ?= $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' regrow/__init__.py)
BASE_IMAGE ?=
IMAGES ?=
GPU_IMAGES := train-gpu recover-gpu
BUILDING = $(BIN)/python -m regrow_components.building
IMAGE_OPTIONS = --tag "$(TAG)" $(if $(REGISTRY),--registry "$(REGISTRY)")

.PHONY: images gpu-images push-images push-gpu-images lock-images base-image test-containers

images: $(STAMP)  ## build the image of each component from the commit that is checked out
	$(BUILDING) build $(IMAGES) $(IMAGE_OPTIONS) $(if $(BASE_IMAGE),--base-image "$(BASE_IMAGE)") $(if $(DIRTY),--dirty)

gpu-images: $(STAMP)  ## the images with NVIDIA's libraries: 5 GB more
	$(BUILDING) build $(GPU_IMAGES) $(IMAGE_OPTIONS) $(if $(BASE_IMAGE),--base-image "$(BASE_IMAGE)") $(if $(DIRTY),--dirty)

push-images: $(STAMP)  ## push them to REGISTRY
	$(BUILDING) push $(IMAGES) $(IMAGE_OPTIONS)

push-gpu-images: $(STAMP)  ## push those with NVIDIA's libraries
	$(BUILDING) push $(GPU_IMAGES) $(IMAGE_OPTIONS)

lock-images: $(STAMP)  ## the images' requirements, from requirements.lock and pyproject.toml
	$(BIN)/python -m regrow_components.locking

base-image:  ## a base image from this machine's Debian packages, where none can be pulled
	components/make-base-image

test-containers: $(STAMP)  ## build and run the images: minutes; needs a container engine
	$(BIN)/python -m pytest -m containers tests/containers
