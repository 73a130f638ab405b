"""What `claid bench` and the folder bench/ measure with: machine, clocks, memory, features.

Times are compared only within one process, taken in turn (`timing`); peak memory is that of a
fresh process (`memory`); every result is written beside the machine it came from (`machine`).
"""
