"""What a model is worth on labelled faces: predictions, metrics, groups, age gates, comparison.

May import data, models and the runtime.
"""
