"""The arithmetic of the experts and of the rows of fields, compiled by numba: pure functions of arrays, one file a member.

Every sum is added in a fixed order, the same for a row alone and in a batch, and nothing is reordered to be faster
(no ``fastmath``): the same arrays give the same bits on one machine. Arrays are C-contiguous; most are views of a module's
buffers (:class:`driftline.networks.kernels.views.BufferViews`).
"""
