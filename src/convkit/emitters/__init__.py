"""What can be written beside a converted model for people to read. One module or package an emitter.

Its top level is its descriptor (`EMITTER`) and `files(output)`, which says what it writes. `emit(request)` runs in a worker: it
writes those files, and proves them.
"""
