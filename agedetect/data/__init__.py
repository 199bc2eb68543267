"""Labelled faces: where they are read from, how they are split, and what is in them.

May import the runtime only.
"""
