"""Where a text holds what should not be in it: e-mail addresses, telephone numbers, bank data, IP addresses, keys.

`clean` takes them out of what is trained on, and `evaluate` looks whether a model says them nevertheless.
"""
