"""The steps as Kubeflow components: typed inputs and outputs and an image. Thin: each body imports the library.

Kubeflow writes a component's source out, so each function stands on its own and spells out what the step's
`StepSpec` says; a test holds the two together. ``params`` is the step's section of ``params.yaml`` as
canonical JSON, ``code_version`` is there so that changed code is never answered from Kubeflow's cache. Each gives its
``version``, which follows from what it made and by which code; the next ones take it as part of their ``code_version``.
What a cached step takes from `resolve`, which runs each time, comes by value (`regrow.steps.by_value`).
"""
