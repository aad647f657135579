"""The structure of a network, and the changes that edits make of it.

A network given by layers is changed in its list of layers, and then built again (:mod:`~driftline.networks.structure.layered`).
A user's own is changed in its submodules (:mod:`~driftline.networks.structure.module`).
"""
