"""Models measured on labelled pictures: from two CSV files to a report and a regression gate.

``rrn eval run`` is the command line (:mod:`rrn_ops.evaluation.command`); Snakemake decides which steps run
(:mod:`rrn_ops.evaluation.workflow`). Extension points: metrics and predictors (:mod:`rrn_ops.evaluation.interface`).
"""
