"""The eight other networks of the paper's Tables I to III, one file each.

All share one convention, whatever range a network computes in:

- input: (N, 3, h, w) float in [-1, 1]. FR networks take n x n (the constructor's ``lr_size``), SASR networks take the
  native low resolution, h and w of any size, OR networks take I_LS at the size of the output;
- output: an object whose ``.sr`` is (N, 3, H, H) float, nominally in [-1, 1]: ``SROutput``, or a small dataclass of the
  network's own file where training needs more than the picture;
- each network converts to its own range and back inside (``to_unit``, ``to_255`` of ``common.py``);
- ``rate`` is taken for uniformity and not used;
- ``hr_size`` is H. Constructor arguments have the authors' values as defaults.

Parameters that the authors' releases allocate and never use are not built. Frozen values are buffers.
"""
