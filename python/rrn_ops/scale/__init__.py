"""Collections larger than a machine: embeddings, similar pairs and groups, on an existing distributed engine.

``rrn scale`` is the command line (:mod:`rrn_ops.scale.command`). Every stage is a list of tasks that are independent of
each other (:mod:`rrn_ops.scale.engines` runs them on Ray Data, Daft or processes), and every task writes one file and
then a manifest, so that what was finished is never done again (:mod:`rrn_ops.scale.storage`).
"""
