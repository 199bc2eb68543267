"""Everything MLflow: runs, checkpoints, the model registry.

May import every room but training.
"""
