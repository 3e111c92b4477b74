"""What can be written beside a converted model for people to read. One module or package an emitter.

Its top level is its descriptor (`EMITTER`) and `files(output)`; `emit(request)` runs in a worker, writes those files and proves them.
"""
