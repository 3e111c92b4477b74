"""Programs that compute with complex numbers, written out in real ones: no target has kernels for all of them. Worker side.

A complex tensor becomes a pair of real ones. `program` replaces the operators that touch one by functions of pairs, one
family a module, and traces the program anew.
"""
