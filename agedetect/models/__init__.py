"""The network: backbone, head and conformal layer, its losses, and the form in which it is registered.

May import the runtime only.
"""
