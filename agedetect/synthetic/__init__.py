"""Synthetic faces with known ages, for the demo, the notebook and the tests.

May import the runtime only.
"""
