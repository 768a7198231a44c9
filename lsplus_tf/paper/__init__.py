"""The papers behind this package: the numbers that they print and the files that were published.

The modules recompute the LS+ paper's numbers from its authors' files, for `lsplus-tf paper`, and
put an experiment's table beside the printed one. What the authors' code trained is in
`lsplus_tf.losses.released`. Nothing but the command line imports this package.
"""
