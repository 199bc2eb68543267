"""Evaluations and audits for people: HTML pages, figures, text, the model card.

May import evaluation, data and the runtime.
"""
