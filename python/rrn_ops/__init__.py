"""What runs a model as a service or a pipeline; each sub-package is one extra and imports none of the others."""
